"""Exports that the service was asked for: into its dataset or as a ZIP, each with a report for who asked."""

import json
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from service.delivering import deliver, zip_formats
from service.domain.model import Agreement
from service.domain.work import ExportWork
from service.errors import ExportError, LabelStudioUnavailable, SetupError, UsageError
from service.export.formats import Request, formats
from service.export.manifest import MANIFEST, read_manifest, write_manifest
from service.export.plan import Options
from service.export.results import Results
from service.exporting import Cutter
from tests.exporting import STUDIO_URL, FakeSources, FakeStudio, P, reviewed, tree, yolo_repository
from tests.factories import NOON

JOB = "zip-3-a0"
Deliver = Callable[..., tuple[str, bool]]


@pytest.fixture
def studio() -> FakeStudio:
    """Three of six patches of two tasks are accepted; nobody has looked at a third task."""
    return FakeStudio(reviewed(1, 0, 1), reviewed(2, 2), reviewed(4))


@pytest.fixture
def results(tmp_path: Path) -> Results:
    """Nothing there yet."""
    return Results(tmp_path / "exports")


@pytest.fixture
def told() -> list[tuple[str, int, int]]:
    """The progress that was told."""
    return []


@pytest.fixture
def ask(tmp_path: Path, studio: FakeStudio, results: Results, told: list[tuple[str, int, int]]) -> Deliver:
    """Ask for an export, as a worker does."""
    (tmp_path / "sources").mkdir()

    def ask(
        work: ExportWork,
        dataset: Path | None = None,
        options: Options | None = None,
        problems: Mapping[int, Exception] | None = None,
    ) -> tuple[str, bool]:
        sources = FakeSources(tmp_path / "sources", problems or {})
        return deliver(
            work,
            JOB,
            dataset=dataset,
            object_name="cell",
            results=results,
            studio=studio,
            studio_url=STUDIO_URL,
            cutter=Cutter(sources, 10_000_000, lambda: NOON, lambda *progress: told.append(progress)),
            agreement=Agreement(),
            margin=0,
            options=options or Options(),
        )

    return ask


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """A repository with train and val, two labelled images each."""
    return yolo_repository(tmp_path / "repository")


def report_of(results: Results) -> dict[str, Any]:
    """The report that was left."""
    path = results.report(JOB)
    assert path is not None
    found = json.loads(path.read_bytes())
    assert isinstance(found, dict)
    return found


def unpacked(results: Results, into: Path) -> Path:
    """The folder that the ZIP holds."""
    path = results.zip(JOB)
    assert path is not None
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        archive.extractall(into)
    (root,) = into.iterdir()
    return root


def test_the_dataset_gets_what_is_accepted(ask: Deliver, results: Results, dataset: Path) -> None:
    """And the report tells of it."""
    assert ask(ExportWork(P), dataset) == ("3 negatives written", False)
    assert len(list((dataset.parent / "images/train").iterdir())) == 5
    report = report_of(results)
    assert (report["project"], report["sentence"], report["dry_run"]) == (P, "3 negatives written", False)
    assert [file["task"] for file in report["files"]] == [1, 1, 2]
    assert results.zip(JOB) is None


def test_a_dry_run_writes_nothing_but_its_report(ask: Deliver, results: Results, dataset: Path) -> None:
    """What would happen."""
    before = tree(dataset.parent)
    assert ask(ExportWork(P, is_dry=True), dataset) == ("3 negatives would be written", False)
    assert tree(dataset.parent) == before
    assert report_of(results)["dry_run"] is True
    assert report_of(results)["counts"]["add"] == 3


def test_the_band_is_kept_where_that_was_asked_for(ask: Deliver, dataset: Path) -> None:
    """Two labelled images leave room for two negatives below a half."""
    options = Options(band=(0.1, 0.5))
    assert ask(ExportWork(P, limit_to_band=True, is_dry=True), dataset, options)[0].startswith(
        "2 negatives would be written, 1 would be left out"
    )
    assert ask(ExportWork(P), dataset, replace(options, limit_to_band=True))[0] == "3 negatives written"


def test_without_a_dataset_it_is_said_what_to_set(ask: Deliver) -> None:
    """Somebody may have taken it out of the settings meanwhile."""
    with pytest.raises(SetupError, match="NEGATIVES_DATASET"):
        ask(ExportWork(P))


def test_what_others_see_is_counted_and_not_named(ask: Deliver, results: Results, dataset: Path) -> None:
    """Who may read the report may not see the other projects that export into the same dataset."""
    ask(ExportWork(P), dataset)
    manifest = dataset.parent / MANIFEST
    rows = read_manifest(manifest.read_bytes(), "")
    theirs = [replace(row, project=9) if row.task == 1 else row for row in rows]
    elsewhere = [replace(row, studio="http://elsewhere") if row.task == 2 else row for row in theirs]
    manifest.write_bytes(write_manifest(elsewhere))
    ask(ExportWork(P, is_dry=True), dataset)
    report = report_of(results)
    assert report["counts"]["keep"] == 3
    names = {row.file for row in rows}
    assert not names & {file["file"] for file in report["files"] if file["action"] == "keep"}


def test_a_report_that_can_t_be_kept_undoes_nothing(
    ask: Deliver, results: Results, dataset: Path, tmp_path: Path
) -> None:
    """The dataset has what was asked for; the sentence says what is missing."""
    (tmp_path / "exports").touch()
    sentence, failed = ask(ExportWork(P), dataset)
    assert sentence.startswith("3 negatives written; its report is lost: ")
    assert "NEGATIVES_EXPORTS" in sentence
    assert (failed, results.report(JOB)) == (False, None)


def test_what_failed_is_in_the_report(ask: Deliver, results: Results, dataset: Path) -> None:
    """Task by task; the others went through."""
    sentence, failed = ask(ExportWork(P), dataset, problems={1: LabelStudioUnavailable("no answer for task 1")})
    assert failed
    assert "1 tasks failed, the first: no answer for task 1" in sentence
    assert report_of(results)["failures"] == [{"task": 1, "text": "no answer for task 1"}]


def test_how_far_it_is_is_told_part_by_part(ask: Deliver, told: list[tuple[str, int, int]], dataset: Path) -> None:
    """With how much there is of each."""
    ask(ExportWork(P), dataset)
    assert [progress for progress in told if progress[0] == "reading tasks"] == [
        ("reading tasks", number, 3) for number in (1, 2, 3)
    ]
    assert ("cutting patches", 2, 2) in told
    assert ("writing negatives", 3, 3) in told
    assert list(dict.fromkeys(what for what, _, _ in told)) == ["reading tasks", "cutting patches", "writing negatives"]


# ZIPs


def test_every_format_that_can_be_made_new_can_be_a_zip() -> None:
    """A format that was added is in the table, or can't be made anew."""
    assert set(formats()) - set(zip_formats()) == {"darknet"}
    assert next(iter(zip_formats())) == "yolo"


@pytest.mark.parametrize("name", zip_formats())
def test_a_zip_holds_a_dataset_of_its_format(
    ask: Deliver, results: Results, tmp_path: Path, name: str, told: list[tuple[str, int, int]]
) -> None:
    """Which the format itself understands again: three negatives, its manifest and the report, and nothing of where it
    was made.
    """
    assert ask(ExportWork(P, name), options=Options(shares={"train": 0.5, "val": 0.5})) == (
        "3 negatives written",
        False,
    )
    root = unpacked(results, tmp_path / "unpacked")
    assert root.name == f"negatives-project-3-{name}"
    dataset = formats()[name].open(Request(root / zip_formats()[name]))
    rows = read_manifest((Path(dataset.root) / MANIFEST).read_bytes(), "")
    assert [row.task for row in rows] == [1, 1, 2]
    assert all((Path(dataset.root) / row.file).is_file() for row in rows)
    held = [image for split in dataset.splits for image in split.held]
    assert (len(held), all(image.is_negative for image in held)) == (3, True)
    assert json.loads((root / "report.json").read_bytes()) == report_of(results)
    assert report_of(results)["root"] == str(dataset.root.relative_to(tmp_path / "unpacked"))
    for path in (results.report(JOB), *(path for path in root.rglob("*") if path.is_file())):
        assert path is not None
        assert str(tmp_path).encode() not in path.read_bytes(), path
    assert not list(root.rglob(".*"))
    assert told[-1][0] == "packing files"
    assert told[-1][1] == told[-1][2] > 3


def test_a_zip_leaves_nothing_beside_it(ask: Deliver, results: Results, tmp_path: Path) -> None:
    """Nor does the service's dataset change."""
    dataset = yolo_repository(tmp_path / "repository")
    before = tree(dataset.parent)
    ask(ExportWork(P, "yolo"), dataset)
    assert tree(dataset.parent) == before
    assert {path.name for path in (tmp_path / "exports").iterdir()} == {f"{JOB}.zip", f"{JOB}.json"}
    assert results.zip(JOB) is not None


def test_a_zip_with_failures_has_the_rest(ask: Deliver, results: Results, tmp_path: Path) -> None:
    """And its report says what is missing."""
    _, failed = ask(ExportWork(P, "yolo"), problems={1: LabelStudioUnavailable("no answer for task 1")})
    root = unpacked(results, tmp_path / "unpacked")
    assert failed
    assert len(list((root / "images/train").iterdir())) == 1
    assert report_of(results)["failures"] == [{"task": 1, "text": "no answer for task 1"}]


@pytest.mark.parametrize("name", zip_formats())
def test_where_nothing_is_accepted_the_zip_says_so(
    ask: Deliver, studio: FakeStudio, results: Results, tmp_path: Path, name: str
) -> None:
    """By its report."""
    studio.kept = {4: reviewed(4)}
    assert ask(ExportWork(P, name)) == ("0 negatives written", False)
    root = unpacked(results, tmp_path / "unpacked")
    assert json.loads((root / "report.json").read_bytes())["sentence"] == "0 negatives written"


def test_only_formats_of_zips_are_made(ask: Deliver, tmp_path: Path) -> None:
    """What an older job or another program asks for is no path."""
    with pytest.raises(UsageError, match="yolo, coco"):
        ask(ExportWork(P, "../darknet"))
    assert not (tmp_path / "exports").exists()


def test_a_folder_that_can_t_be_written_is_told_of_at_once(
    ask: Deliver, tmp_path: Path, told: list[tuple[str, int, int]]
) -> None:
    """Before anything is read."""
    (tmp_path / "exports").touch()
    with pytest.raises(ExportError, match="NEGATIVES_EXPORTS"):
        ask(ExportWork(P, "yolo"))
    assert told == []
