"""What exports leave to be fetched: kept for a while, swept away after it, and nothing else with it."""

import json
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from service.errors import ExportError
from service.export.results import Results

MONDAY = datetime(2026, 3, 2, 8, 30, tzinfo=UTC)


def test_what_is_kept_is_found(tmp_path: Path) -> None:
    """By another process, too, which knows the folder and the job's id; what isn't there is None."""
    folder = tmp_path / "made" / "exports"
    Results(folder).keep_report("export-7-a0", {"sentence": "3 für alle"})
    Results(folder).place_of_zip("zip-7-a0").write_text("PK")
    found = Results(folder)
    report = found.report("export-7-a0")
    assert report is not None
    assert json.loads(report.read_bytes()) == {"sentence": "3 für alle"}
    assert found.zip("zip-7-a0") == folder / "zip-7-a0.zip"
    assert (found.zip("export-7-a0"), found.report("zip-7-a0")) == (None, None)
    assert Results(tmp_path / "nowhere").report("export-7-a0") is None


def test_paths_are_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative folder starts at where the process was started, whoever sends the file."""
    monkeypatch.chdir(tmp_path)
    results = Results(Path("exports"))
    results.keep_report("export-7-a0", {})
    assert results.report("export-7-a0") == tmp_path / "exports/export-7-a0.json"


def test_others_may_read_it(tmp_path: Path) -> None:
    """The web server may be another user than the worker."""
    results = Results(tmp_path)
    results.keep_report("export-7-a0", {})
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / "export-7-a0.json").stat().st_mode & 0o777 == 0o666 & ~mask


def test_names_that_are_no_text_spoil_no_report(tmp_path: Path) -> None:
    """A dataset's folder may be called anything."""
    Results(tmp_path).keep_report("export-7-a0", {"root": os.fsdecode(b"/data/\xff")})
    assert json.loads((tmp_path / "export-7-a0.json").read_bytes()) == {"root": "/data/?"}


def test_a_staging_folder_is_gone_afterwards(tmp_path: Path) -> None:
    """Also after a failure."""

    def stage() -> None:
        with Results(tmp_path).staging("zip-7-a0") as folder:
            (folder / "file").touch()
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        stage()
    assert list(tmp_path.iterdir()) == []


def test_a_job_that_is_done_again_clears_up_after_itself(tmp_path: Path) -> None:
    """Its worker was killed: what was half made goes, and that of other jobs stays."""
    for left in (".zip-7-a0.x1y2", ".zip-7-a01.x1y2"):
        (tmp_path / left / "images").mkdir(parents=True)
    (tmp_path / "zip-7-a0.zip").touch()
    with Results(tmp_path).staging("zip-7-a0") as folder:
        found = {path.name for path in tmp_path.iterdir()}
    assert found == {folder.name, ".zip-7-a01.x1y2", "zip-7-a0.zip"}


def test_a_folder_that_can_t_be_written_is_told_of(tmp_path: Path) -> None:
    """With the setting that names it."""
    (tmp_path / "file").touch()
    results = Results(tmp_path / "file")
    with pytest.raises(ExportError, match=r"can't be written .*NEGATIVES_EXPORTS"):
        results.keep_report("export-7-a0", {})
    with pytest.raises(ExportError, match=r"can't be written .*NEGATIVES_EXPORTS"), results.staging("zip-7-a0"):
        pass


def aged(path: Path, age: timedelta) -> None:
    """Let it be so old."""
    at = (MONDAY - age).timestamp()
    os.utime(path, (at, at), follow_symlinks=False)


def test_what_is_old_is_swept_away(tmp_path: Path) -> None:
    """Results and what killed processes left, and not what is younger."""
    old = [
        "export-7-00ff.json",
        "zip-7-00ff.zip",
        "export:7:0a1b-2c.json",
        ".zip-7-00ff.zip.part",
        ".export-7-f.json.part",
    ]
    for name in (*old, "zip-8-00ff.zip"):
        (tmp_path / name).touch()
    left = tmp_path / ".zip-7-00ff.k3j_4a"
    (left / "images").mkdir(parents=True)
    (left / "images/1.png").touch()
    for name in (*old, left.name):
        aged(tmp_path / name, timedelta(days=3, seconds=1))
    aged(tmp_path / "zip-8-00ff.zip", timedelta(days=2))
    assert Results(tmp_path).sweep(MONDAY - timedelta(days=3)) == 6
    assert [path.name for path in tmp_path.iterdir()] == ["zip-8-00ff.zip"]


def test_what_is_somebody_else_s_stays(tmp_path: Path) -> None:
    """The setting may name a folder that holds other things, however old they are."""
    others = [
        "thesis.zip",
        "export.json",
        "export-7.json",
        "export-7-00ff.json.bak",
        "export-summary-00.zip",
        ".bashrc",
    ]
    for name in others:
        (tmp_path / name).touch()
    (tmp_path / "zip-7-00ff").mkdir()
    outside = tmp_path / "thesis"
    outside.mkdir()
    (outside / "chapter").touch()
    (tmp_path / ".zip-7-00ff.link").symlink_to(outside)
    for path in tmp_path.iterdir():
        aged(path, timedelta(days=365))
    assert Results(tmp_path).sweep(MONDAY) == 1  # the link, and not what it leads to
    assert {path.name for path in tmp_path.iterdir()} == {*others, "zip-7-00ff", "thesis"}
    assert (outside / "chapter").exists()


def test_where_nothing_was_ever_kept_nothing_is_swept(tmp_path: Path) -> None:
    """Upkeep begins before the first export."""
    assert Results(tmp_path / "nowhere").sweep(MONDAY) == 0
    assert not (tmp_path / "nowhere").exists()
