"""A folder becomes one ZIP: the same bytes for the same files, whole or not at all, in little memory."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from service.errors import ExportError
from service.export.archive import pack


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two files, one of them deep, a folder without any, and what isn't to be packed."""
    root = tmp_path / "negatives"
    for name in ("images/train", "labels", ".state/labels"):
        (root / name).mkdir(parents=True)
    (root / "images/train/a ü.png").write_bytes(bytes(range(256)) * 10)
    (root / "data.yaml").write_text("train: images/train\n")
    (root / ".state/state.json").write_text("{}")
    (root / "images/.state").write_text("another")
    return root


def test_all_files_are_in_it(folder: Path, tmp_path: Path) -> None:
    """Under the folder's name, with their content, and folders that would be lost otherwise."""
    into = tmp_path / "it.zip"
    told: list[tuple[int, int]] = []
    assert pack(folder, into, leave_out=(".state",), progress=lambda done, total: told.append((done, total))) == 2
    with zipfile.ZipFile(into) as archive:
        assert archive.namelist() == [
            "negatives/data.yaml",
            "negatives/images/train/a ü.png",
            "negatives/labels/",
        ]
        assert archive.testzip() is None
        assert archive.read("negatives/images/train/a ü.png") == bytes(range(256)) * 10
        assert {info.compress_type for info in archive.infolist()} == {zipfile.ZIP_STORED}
    assert told == [(1, 2), (2, 2), (2, 2)]


def test_other_tools_read_it(folder: Path, tmp_path: Path) -> None:
    """With modes that people can use."""
    pack(folder, tmp_path / "it.zip")
    subprocess.run([sys.executable, "-m", "zipfile", "-t", tmp_path / "it.zip"], check=True, capture_output=True)
    subprocess.run(
        [sys.executable, "-m", "zipfile", "-e", tmp_path / "it.zip", tmp_path / "out"], check=True, capture_output=True
    )
    assert (tmp_path / "out/negatives/data.yaml").read_text() == "train: images/train\n"
    with zipfile.ZipFile(tmp_path / "it.zip") as archive:
        assert {info.external_attr >> 16 & 0o777 for info in archive.infolist()} == {0o644, 0o755}


def test_the_same_files_are_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    """However old they are, whoever may read them, and in whatever order they came."""
    pack(folder, tmp_path / "first.zip")
    (folder / "data.yaml").unlink()
    (folder / "data.yaml").write_text("train: images/train\n")
    os.utime(folder / "images/train/a ü.png", (0, 0))
    (folder / "images/train/a ü.png").chmod(0o600)
    pack(folder, tmp_path / "second.zip")
    assert (tmp_path / "first.zip").read_bytes() == (tmp_path / "second.zip").read_bytes()


def test_an_empty_folder_is_an_empty_zip(tmp_path: Path) -> None:
    """Nothing is nothing."""
    (tmp_path / "nothing").mkdir()
    assert pack(tmp_path / "nothing", tmp_path / "it.zip") == 0
    assert zipfile.ZipFile(tmp_path / "it.zip").namelist() == []


def test_links_don_t_lead_out_of_it(folder: Path, tmp_path: Path) -> None:
    """What lies elsewhere stays there."""
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret/file").write_text("secret")
    (folder / "file").symlink_to(tmp_path / "secret/file")
    (folder / "labels/there").symlink_to(tmp_path / "secret")
    pack(folder, tmp_path / "it.zip")
    assert b"secret" not in (tmp_path / "it.zip").read_bytes()


def test_what_can_t_be_packed_leaves_what_was_there(folder: Path, tmp_path: Path) -> None:
    """Whole or not at all, and nothing half beside it."""
    into = tmp_path / "it.zip"
    into.write_text("before")

    def fail(done: int, _total: int) -> None:
        if done == 2:
            raise OSError(28, "No space left on device", str(into))

    with pytest.raises(ExportError, match=r"it\.zip can't be packed \(No space left on device\)"):
        pack(folder, into, progress=fail)
    assert into.read_text() == "before"
    assert {path.name for path in tmp_path.iterdir()} == {"negatives", "it.zip"}


def test_a_folder_that_isn_t_there_is_told_of(tmp_path: Path) -> None:
    """Not packed as if it were empty."""
    with pytest.raises(ExportError, match="nowhere can't be packed"):
        pack(tmp_path / "nowhere", tmp_path / "it.zip")
    assert not (tmp_path / "it.zip").exists()


PACK = """
import resource, sys
from pathlib import Path
from service.export.archive import pack
pack(Path(sys.argv[1]), Path(sys.argv[2]))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_large_files_pass_through_little_memory(tmp_path: Path) -> None:
    """300 MB need no more than a small one."""
    peaks = []
    for name, size in (("small", 1), ("large", 300_000_000)):
        (tmp_path / name).mkdir()
        with (tmp_path / name / "file").open("wb") as file:
            file.truncate(size)
        ran = subprocess.run(
            [sys.executable, "-c", PACK, tmp_path / name, tmp_path / f"{name}.zip"],
            check=True,
            capture_output=True,
            text=True,
        )
        peaks.append(int(ran.stdout) * 1024)
        (tmp_path / f"{name}.zip").unlink()
    assert peaks[1] - peaks[0] < 30_000_000


def test_files_above_4_gb_have_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their size is known before they are written, so that the ZIP can say it. (The limit is lowered for this.)"""
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 1000)
    (tmp_path / "large").mkdir()
    (tmp_path / "large/file").write_bytes(b"x" * 5000)
    pack(tmp_path / "large", tmp_path / "it.zip")
    with zipfile.ZipFile(tmp_path / "it.zip") as archive:
        assert archive.read("large/file") == b"x" * 5000
