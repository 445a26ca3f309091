"""Exports over HTTP, for people and for scripts: `/projects/<id>/exports`, and under it each export with its report and
its ZIP.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from flask import Blueprint, jsonify, redirect, render_template, request, send_file, url_for
from werkzeug.wrappers import Response

from service.domain.work import NO_DATASET, ExportJob, ExportState, ExportWork
from service.errors import NotFound, SetupError, UsageError
from service.web.access import Access, wants_page
from service.web.directory import Directory

REFRESH_SECONDS = 2
MOST_FILES = 200
"""Files of a report that its page shows; the report itself has all."""
FLAGS = ("limit_to_band", "dry_run")
FIELDS = frozenset({"kind", "format", "csrf_token", *FLAGS})
YES, NO = frozenset({"yes", "true", "1", "on"}), frozenset({"", "no", "false", "0", "off"})
_JOB = re.compile(r"[A-Za-z0-9:-]{1,100}")


class Queue(Protocol):
    """The jobs."""

    def put(self, work: ExportWork) -> str:
        """Make the work durable; the job's id."""

    def exports(self) -> Sequence[ExportJob]:
        """The exports of the last days, the newest first."""

    def export(self, job_id: str) -> ExportJob | None:
        """One export; None where there is none of this id."""


class Results(Protocol):
    """What exports left to be fetched, by the ids of jobs."""

    def report(self, job_id: str) -> Path | None:
        """An export's report, JSON, if it is there."""

    def zip(self, job_id: str) -> Path | None:
        """An export's ZIP, if it is there."""


@dataclass(frozen=True, slots=True)
class Shown:
    """An export as pages show it: with the addresses of its own page, its report and its ZIP (empty: there is none),
    and how many bytes the ZIP has.
    """

    job: ExportJob
    page: str
    report: str = ""
    zip: str = ""
    zip_bytes: int = 0


def shown(job: ExportJob, results: Results) -> Shown:
    """An export as it is now."""
    where: dict[str, Any] = {"project_id": job.project_id, "job_id": job.id}
    page = url_for("exports.one", **where)
    if not job.is_over:
        return Shown(job, page)
    has_report = job.failed or results.report(job.id) is not None
    size = _size(results.zip(job.id))
    return Shown(
        job,
        page,
        report=url_for("exports.report", **where) if has_report else "",
        zip="" if size is None else url_for("exports.zip_file", **where),
        zip_bytes=size or 0,
    )


def _size(path: Path | None) -> int | None:
    try:
        return None if path is None else path.stat().st_size
    except FileNotFoundError:  # swept away this very moment
        return None


def exports_blueprint(
    access: Access,
    check: Callable[[int], object],
    *,
    queue: Queue,
    results: Results,
    directory: Directory,
    dataset: str,
    formats: Sequence[str],
    label_studio_url: str,
) -> Blueprint:
    """Exports of the projects that the visitor may see, which `check` raises unless they may.

    `dataset` is what to export into, empty when there is none; `formats` are those that a ZIP can have.
    """
    blueprint = Blueprint("exports", __name__)
    blueprint.before_request(access.let_scripts_in)

    def job_of(project_id: int, job_id: str) -> ExportJob:
        """The project's export of this id. Raises `NotFound`."""
        check(project_id)
        job = queue.export(job_id) if _JOB.fullmatch(job_id) else None
        if job is None or job.project_id != project_id:
            raise NotFound(f"There is no such export of project {project_id}: the list goes back three days.")
        return job

    @blueprint.post("/projects/<int:project_id>/exports")
    def start(project_id: int) -> Response:
        check(project_id)
        work = _work(project_id, formats)
        if not work.zip_format and not dataset:
            raise SetupError(NO_DATASET)
        job_id = queue.put(work)
        address = url_for("exports.one", project_id=project_id, job_id=job_id)
        if wants_page():
            return redirect(address, 303)
        answer = _as_json(shown(job_of(project_id, job_id), results))
        answer.status_code = 202
        answer.headers["Location"] = address
        return answer

    @blueprint.get("/projects/<int:project_id>/exports")
    def listing(project_id: int) -> Response:
        check(project_id)
        if wants_page():
            return redirect(url_for("overview.project", project_id=project_id, _anchor="export"))
        found = [job for job in queue.exports() if job.project_id == project_id]
        return _fresh(jsonify(exports=[_told(shown(job, results)) for job in found]))

    @blueprint.get("/projects/<int:project_id>/exports/<job_id>")
    def one(project_id: int, job_id: str) -> Response | str:
        export = shown(job_of(project_id, job_id), results)
        if not wants_page():
            return _as_json(export)
        report = _read(results.report(job_id)) if export.job.is_over else {}
        files = [file for file in report.get("files", ()) if file["action"] != "keep"]
        return render_template(
            "export.html",
            project={"id": project_id, "title": directory.title(project_id)},
            export=export,
            job=export.job,
            report=report,
            files=files,
            most_files=MOST_FILES,
            label_studio_url=label_studio_url,
            refresh=0 if export.job.is_over else REFRESH_SECONDS,
        )

    @blueprint.get("/projects/<int:project_id>/exports/<job_id>/report")
    def report(project_id: int, job_id: str) -> Response:
        job = job_of(project_id, job_id)
        path = results.report(job.id) if job.is_over else None
        if path is None and job.failed:
            return _fresh(jsonify(project=project_id, sentence=job.message, error=job.message))
        return _file(path, "report", job, f"{job.id}.json", "application/json")

    @blueprint.get("/projects/<int:project_id>/exports/<job_id>/zip")
    def zip_file(project_id: int, job_id: str) -> Response:
        job = job_of(project_id, job_id)
        path = results.zip(job.id) if job.is_over else None
        name = f"negatives-project-{project_id}-{job.work.zip_format}.zip"
        return _file(path, "ZIP", job, name, "application/zip")

    return blueprint


def _work(project_id: int, formats: Sequence[str]) -> ExportWork:
    """What a form asks for. Raises `UsageError` for what makes no sense, and for names that mean nothing here: a
    misspelt `dry_run` would write.
    """
    if unknown := sorted(set(request.form) - FIELDS):
        told = ", ".join(unknown)[:200]
        raise UsageError(f"Nothing here is called {told}: there are kind, format, {' and '.join(FLAGS)}.")
    kind = request.form.get("kind")
    limit_to_band, dry_run = map(_flag, FLAGS)
    if kind == "dataset":
        if request.form.get("format"):
            raise UsageError("The dataset has its own format: format is for a ZIP.")
        return ExportWork(project_id, limit_to_band=limit_to_band, is_dry=dry_run)
    if kind != "zip":
        raise UsageError("Say what to export into, in a form's field: kind=dataset, or kind=zip.")
    name = request.form.get("format") or formats[0]
    if name not in formats:
        raise UsageError(f"A ZIP's format is one of these: {', '.join(formats)}.")
    if limit_to_band or dry_run:
        raise UsageError("limit_to_band and dry_run are for the dataset: a ZIP holds nothing but negatives.")
    return ExportWork(project_id, name)


def _flag(name: str) -> bool:
    said = request.form.get(name, "").lower()
    if said not in YES | NO:
        raise UsageError(f"{name} is yes or no.")
    return said in YES


def _told(export: Shown) -> dict[str, Any]:
    """An export for scripts."""
    job, work = export.job, export.job.work
    return {
        "id": job.id,
        "project": job.project_id,
        "kind": "zip" if work.zip_format else "dataset",
        "format": work.zip_format or None,
        "limit_to_band": work.limit_to_band,
        "dry_run": work.is_dry,
        "state": job.state,
        "at": job.at.isoformat(),
        "progress": {"what": job.progress.what, "done": job.progress.done, "total": job.progress.total}
        if job.progress and job.state is ExportState.RUNNING
        else None,
        "sentence": job.message,
        "page": export.page,
        "report": export.report or None,
        "zip": export.zip or None,
    }


def _as_json(export: Shown) -> Response:
    return _fresh(jsonify(_told(export)))


def _fresh(answer: Response) -> Response:
    """Kept by nobody: the same address tells something else in a second, and to a browser a page."""
    answer.headers["Cache-Control"] = "no-store"
    answer.headers["Vary"] = "Accept"
    return answer


def _file(path: Path | None, what: str, job: ExportJob, name: str, mimetype: str) -> Response:
    if path is not None:
        try:
            # Whole, never a part: the server sends a whole file without a thread of its own, so that many who download
            # slowly don't keep Label Studio waiting. A part it would not.
            answer = send_file(
                path, mimetype, download_name=name, as_attachment=mimetype == "application/zip", conditional=False
            )
        except FileNotFoundError:  # swept away this very moment
            pass
        else:
            answer.headers["Cache-Control"] = "private, no-cache"
            return answer
    if not job.is_over:
        raise NotFound(f"The {what} isn't there yet: the export is under way.")
    raise NotFound(f"This export has no {what}, or no longer: results are kept for three days.")


def _read(path: Path | None) -> Mapping[str, Any]:
    """What a report says; nothing when it isn't there, or broken."""
    try:
        found = {} if path is None else json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
