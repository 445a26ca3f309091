"""Exports that somebody asked the service for: into its dataset, or as a ZIP; a report is left for them."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from service.domain.model import Agreement, Task
from service.domain.work import NO_DATASET, ExportWork
from service.errors import ExportError, SetupError, UsageError
from service.export.archive import pack
from service.export.formats import Request, format_for, formats
from service.export.plan import Options
from service.export.results import Results, as_json
from service.export.writing import STATE_FOLDER
from service.exporting import Cutter, Exported, Progress, Studio, export
from service.label_studio.labeling import Labeling
from service.workflow import Changed

REPORT = "report.json"
USUAL = "yolo"


def zip_formats() -> Mapping[str, str]:
    """The formats that a ZIP can have, the usual one first, and what a new dataset of each is, within its folder."""
    new = {name: one.new for name, one in formats().items() if one.new is not None}
    return {USUAL: new.pop(USUAL), **new}


def deliver(
    work: ExportWork,
    job_id: str,
    *,
    dataset: Path | None,
    object_name: str,
    results: Results,
    studio: Studio,
    studio_url: str,
    cutter: Cutter,
    agreement: Agreement,
    margin: int,
    options: Options,
) -> tuple[str, bool]:
    """Do what was asked for; what came of it in a sentence, and whether it wrote less than it should have.

    `dataset` is the one to export into, `object_name` the class of a new one. Raises `SetupError` without a dataset,
    `UsageError` for a format that a ZIP can't have, and what `export` raises.
    """
    options = replace(options, limit_to_band=work.limit_to_band)
    studio = _Read(studio, cutter.progress)

    def exported(request: Request, format_name: str | None, options: Options) -> Exported:
        return export(
            work.project_id,
            request,
            format_for(request.into, format_name),
            studio=studio,
            studio_url=studio_url,
            cutter=cutter,
            agreement=agreement,
            margin=margin,
            options=options,
            is_dry=work.is_dry,
            wait=True,
        )

    if not work.zip_format:
        if dataset is None:
            raise SetupError(NO_DATASET)
        done = exported(Request(dataset), None, options)
        sentence = done.sentence
        try:
            results.keep_report(job_id, _report(done, work, studio_url))
        except ExportError as error:  # what was asked for is done
            sentence += f"; its report is lost: {error}"
        return sentence, bool(done.failures)

    kinds = zip_formats()
    if work.zip_format not in kinds:
        raise UsageError(f"a ZIP can't be {work.zip_format!r}: {', '.join(kinds)}")
    with results.staging(job_id) as folder:
        root = folder / f"negatives-project-{work.project_id}-{work.zip_format}"
        request = Request(root / kinds[work.zip_format], new=True, classes=(object_name,))
        there = [split.name for split in formats()[work.zip_format].open(request).splits]
        shares = {name: share for name, share in options.shares.items() if name in there}
        done = exported(request, work.zip_format, replace(options, shares=shares or {there[0]: 1.0}))
        report = _without(folder, _report(done, work, studio_url))
        _write_beside(root, report)
        pack(
            root,
            results.place_of_zip(job_id),
            leave_out=(STATE_FOLDER,),
            progress=lambda done, total: cutter.progress("packing files", done, total),
        )
        results.keep_report(job_id, report)
    return done.sentence, bool(done.failures)


def _report(done: Exported, work: ExportWork, studio_url: str) -> dict[str, Any]:
    """What an export tells of itself. Negatives of other projects are counted and not named: who may read this may not
    see those projects.
    """
    others = {row.file for row in done.plan.rows if (row.studio, row.project) != (studio_url, work.project_id)}
    report = done.report
    files = [file for file in report["files"] if file["file"] not in others]
    return {"project": work.project_id, "sentence": done.sentence, **report, "files": files}


def _without(folder: Path, told: Any) -> Any:
    """The same with paths as they are in the ZIP, not as they were where it was made."""
    if isinstance(told, str):
        return told.replace(f"{folder}/", "")
    if isinstance(told, dict):
        return {name: _without(folder, value) for name, value in told.items()}
    return [_without(folder, one) for one in told] if isinstance(told, list) else told


def _write_beside(root: Path, report: Mapping[str, Any]) -> None:
    path = root / REPORT
    try:
        root.mkdir(exist_ok=True)  # nothing may have come of the export
        path.write_bytes(as_json(report))
    except OSError as error:
        raise ExportError(f"{path} can't be written ({error.strerror})") from error


class _Read:
    """A Label Studio that tells how far the reading of its tasks is."""

    def __init__(self, studio: Studio, progress: Progress) -> None:
        self._studio = studio
        self._progress = progress
        self._changed = 0

    def labeling(self, project_id: int) -> Labeling:
        """As Label Studio has it."""
        return self._studio.labeling(project_id)

    def changed_since(self, project_id: int, moment: datetime | None, *, even_empty: bool = False) -> Sequence[Changed]:
        """Which tasks changed; where all of them are asked for, their number is that of all tasks."""
        changes = self._studio.changed_since(project_id, moment, even_empty=even_empty)
        self._changed = len(changes)
        return changes

    def tasks(self, project_id: int, labeling: Labeling, task_ids: Sequence[int] | None = None) -> Iterator[Task]:
        """The tasks, each of which is told of."""
        total = self._changed if task_ids is None else len(task_ids)
        for done, task in enumerate(self._studio.tasks(project_id, labeling, task_ids), 1):
            yield task
            self._progress("reading tasks", done, max(done, total))
