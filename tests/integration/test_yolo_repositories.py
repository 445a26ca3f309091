"""The table of repositories against the real reader: Ultralytics finds what we say is there, before and after."""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from service.export.formats.yolo import FORMAT
from service.export.model import Dataset, Row
from service.export.writing import Memory
from tests.export.repositories import REPOSITORIES, Repository, one_for_each, write

HERE = Path(__file__).resolve().parent
ULTRALYTICS = HERE.parents[1] / ".venv-readers" / "bin" / "python"

Found = dict[str, dict[str, list[str | bool]]]
"""By split and image: its label file, and whether it is background."""


@dataclass(frozen=True, slots=True)
class Built:
    """A repository where it was built, and what we understand of it."""

    repository: Repository
    here: Path
    cwd: Path
    yaml: Path
    dataset: Dataset
    added: tuple[Row, ...]

    def place(self, file: str) -> str:
        """Where a file of the dataset really is."""
        return os.path.realpath(Path(self.dataset.root) / file)


def build(row: Repository, here: Path, monkeypatch: pytest.MonkeyPatch, *, export: bool) -> Built:
    """A repository, with a negative in each split if there is an export."""
    here.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setenv("YOLO_CONFIG_DIR", str(here / "config"))
    request = row.build(here)
    dataset = FORMAT.open(request)
    added = one_for_each(dataset) if export else ()
    if export:
        write(dataset, added, (), Memory())
        dataset = FORMAT.open(request)
    return Built(row, here, Path.cwd(), request.into, dataset, added)


def read_with_ultralytics(built: list[Built], scratch: Path) -> list[Found]:
    """What Ultralytics finds in each, in a process of its own."""
    asked = []
    for one in built:
        settings = one.here / "config" / "Ultralytics" / "settings.json"
        datasets = json.loads(settings.read_text())["datasets_dir"] if settings.exists() else str(one.cwd / "datasets")
        asked.append({"yaml": str(one.yaml), "cwd": str(one.cwd), "datasets": datasets})
    done = subprocess.run(
        [ULTRALYTICS, HERE / "read_splits_with_ultralytics.py"],
        env={**os.environ, "YOLO_CONFIG_DIR": str(scratch), "YOLO_OFFLINE": "true", "YOLO_VERBOSE": "false"},
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    answer = json.loads(done.stdout.splitlines()[-1])
    assert answer["settings"] == str(scratch / "Ultralytics" / "settings.json")
    found: list[Found] = answer["found"]
    return found


def test_ultralytics_finds_the_images_labels_and_backgrounds_that_we_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In each repository that it reads, as it was and with a negative in each split; and the caches that it made are
    those that we would take away.
    """
    rows = [row for row in REPOSITORIES if not row.refused and row.trains]
    built = [
        build(row, tmp_path / f"{number}{'with' if export else 'without'}", monkeypatch, export=export)
        for number, row in enumerate(rows)
        for export in (False, True)
        if export or not row.new
    ]
    assert len(built) > 60
    for one, found in zip(built, read_with_ultralytics(built, tmp_path / "settings"), strict=True):
        name = one.repository.name
        ours = {
            split.name: {one.place(held.file): held.is_negative for held in split.held} for split in one.dataset.splits
        }
        theirs = {split: {image: empty for image, (_, empty) in images.items()} for split, images in found.items()}
        assert {split: images for split, images in theirs.items() if split in ours} == ours, name
        for row in one.added:
            sidecar = one.dataset.sidecar(row)
            assert sidecar is not None
            assert found[row.split][one.place(row.file)] == [one.place(sidecar[0]), True], name
        caches = {one.place(file) for file in one.dataset.caches(tuple(ours))}
        assert caches == {os.path.realpath(path) for path in one.here.rglob("*.cache")}, name
