"""Whatever was exported, approved, withdrawn, undone and killed before: the dataset ends where one clean export of what
is approved now ends, and undo gives back what was there before the first.
"""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.model import Task
from service.export.formats import Request, format_for
from service.export.writing import PART, Disk
from service.exporting import undo
from tests.exporting import (
    FakeSources,
    FakeStudio,
    draw_source,
    reviewed,
    run,
    tree,
    with_lists,
    with_voc,
    yolo_repository,
)

ROOT = Path(__file__).parent.parent


class Killed(BaseException):
    """The process would be gone here."""


class MortalDisk(Disk):
    """Dies at its so-manieth deed, before doing it, with a half-written file left behind, or right after."""

    def __init__(self, at: int, how: str) -> None:
        self._left = at
        self._how = how

    @contextmanager
    def _deed(self, path: Path, *, writes: bool = False) -> Iterator[None]:
        self._left -= 1
        if self._left == 0 and self._how != "after":
            if writes and self._how == "halfway":
                path.with_name(f".0123456789ab{PART}").write_bytes(b"half")
            raise Killed
        yield
        if self._left == 0:
            raise Killed

    def create(self, path: Path, content: bytes | Path) -> None:
        with self._deed(path, writes=True):
            super().create(path, content)

    def replace(self, path: Path, content: bytes) -> None:
        with self._deed(path, writes=True):
            super().replace(path, content)

    def remove(self, path: Path) -> None:
        with self._deed(path):
            super().remove(path)

    def make_folder(self, path: Path) -> None:
        with self._deed(path):
            super().make_folder(path)

    def remove_folder(self, path: Path) -> None:
        with self._deed(path):
            super().remove_folder(path)


def with_coco(root: Path) -> Path:
    """A COCO dataset whose one image has an object."""
    (root / "images").mkdir(parents=True)
    (root / "annotations").mkdir()
    draw_source(root / "images" / "one.png", 99)
    document = {
        "images": [{"id": 4, "file_name": "one.png", "width": 120, "height": 90}],
        "annotations": [{"id": 1, "image_id": 4, "category_id": 1, "bbox": [1, 2, 3, 4], "area": 12, "iscrowd": 0}],
        "categories": [{"id": 1, "name": "cell"}],
    }
    path = root / "annotations" / "instances_train.json"
    path.write_text(json.dumps(document, indent=1))
    return path


def empty(root: Path) -> Path:
    """A folder with somebody's notes in it."""
    root.mkdir(parents=True)
    (root / "notes.txt").write_text("mine")
    return root


def into_folder(root: Path, number: int) -> None:
    """Somebody adds the source image of a task to val, labelled."""
    draw_source(root / "images" / "val" / f"field{number}.png", number)
    (root / "labels" / "val" / f"field{number}.txt").write_text("0 0.5 0.5 0.2 0.2\n")


def into_voc(root: Path, number: int) -> None:
    """The same; its line is the first of the list."""
    draw_source(root / "JPEGImages" / f"field{number}.jpg", number)
    (root / "Annotations" / f"field{number}.xml").write_text(
        "<annotation><object><name>cell</name></object></annotation>"
    )
    listed = root / "ImageSets" / "Main" / "val.txt"
    lines = [f"field{number}", *(listed.read_text().splitlines() if listed.exists() else [])]
    own = sorted(line for line in lines if "_neg_" not in line)
    listed.write_text("".join(f"{line}\n" for line in (*own, *(line for line in lines if "_neg_" in line))))


@dataclass(frozen=True)
class Kind:
    """A dataset to export into: how it is made, what is said of it, and how somebody adds a task's image to val."""

    make: Callable[[Path], Path]
    format: str | None = None
    new: bool = False
    add_own: Callable[[Path, int], None] | None = None


KINDS = {
    "yolo folders": Kind(yolo_repository, add_own=into_folder),
    "yolo lists": Kind(with_lists),
    "yolo new": Kind(lambda root: root / "data.yaml", new=True),
    "coco": Kind(with_coco),
    "voc": Kind(with_voc, add_own=into_voc),
    "tfrecord": Kind(empty, "tfrecord", new=True),
    "ndjson": Kind(lambda root: empty(root) / "data.ndjson", new=True),
    "plain": Kind(empty),
}

KILLS = st.none() | st.tuples(st.integers(1, 40), st.sampled_from(["before", "halfway", "after"]))
SAID = st.tuples(st.just("say"), st.integers(1, 3), st.sets(st.integers(0, 2)))
OWN = st.tuples(st.just("own"), st.integers(1, 3))
STEPS = st.lists(SAID | OWN | st.tuples(st.sampled_from(["export", "export", "undo"]), KILLS), min_size=2, max_size=8)


@pytest.mark.parametrize("name", KINDS)
def test_any_history_ends_where_one_clean_export_ends(name: str) -> None:
    """And undo gives the first tree back, byte for byte."""
    kind = KINDS[name]

    @given(steps=STEPS)
    def any_history(steps: list[tuple[object, ...]]) -> None:
        with TemporaryDirectory() as folder:
            live_through(kind, steps, Path(folder))

    any_history()


def live_through(kind: Kind, steps: list[tuple[object, ...]], folder: Path) -> None:
    """Do all the steps, then compare."""
    (folder / "sources").mkdir()
    sources = FakeSources(folder / "sources")
    live, clean = folder / "live", folder / "clean"  # a repository of the same name in each: VOC writes it down
    live.mkdir()
    clean.mkdir()
    into, fresh = kind.make(live / "repository"), kind.make(clean / "repository")
    added: list[int] = []
    studio = FakeStudio(*(answer(number, {0}) for number in range(1, 4)))
    for step in steps:
        if step[0] == "say":
            _, number, accepted = step
            studio.put(answer(number, accepted))  # type: ignore[arg-type]
            continue
        if step[0] == "own":
            if kind.add_own is not None and step[1] not in added:
                added.append(step[1])  # type: ignore[arg-type]
                kind.add_own(live / "repository", step[1])  # type: ignore[arg-type]
                kind.add_own(clean / "repository", step[1])  # type: ignore[arg-type]
            continue
        disk = MortalDisk(*step[1]) if step[1] else Disk()  # type: ignore[misc]
        with suppress(Killed):
            if step[0] == "export":
                run(studio, into, sources, kind=kind.format, new=kind.new, disk=disk)
            else:
                undo(Request(into, new=kind.new), format_for(into, kind.format), disk=disk)
    run(studio, into, sources, kind=kind.format, new=kind.new)
    run(FakeStudio(*studio.kept.values()), fresh, sources, kind=kind.format, new=kind.new)
    assert tree(live) == tree(clean)
    undo(Request(into, new=kind.new), format_for(into, kind.format))
    shutil.rmtree(clean)
    clean.mkdir()
    kind.make(clean / "repository")
    for number in added:
        assert kind.add_own is not None
        kind.add_own(clean / "repository", number)
    assert tree(live) == tree(clean)


def answer(number: int, accepted: set[int]) -> Task:
    """A task of which these patches are accepted."""
    return reviewed(number, *sorted(accepted))


def test_a_killed_process_leaves_nothing_that_the_next_one_does_not_finish(tmp_path: Path) -> None:
    """Killed by signal again and again at any moment: each time every label has its image's name, and no list names an
    image that is not there; at the end the dataset is as after one clean export.
    """
    chance = random.Random(1)
    (tmp_path / "sources").mkdir()
    into = with_lists(tmp_path / "repository")
    kills = 0
    for _ in range(8):
        command = [sys.executable, "-c", EXPORTING, str(tmp_path), str(into)]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.readline()  # it has imported all, and begins
            time.sleep(chance.uniform(0, 0.25))
            process.send_signal(signal.SIGKILL)
        kills += process.returncode == -signal.SIGKILL
        for line in (into.parent / "train.txt").read_text().splitlines():
            assert (into.parent / line).is_file()
    assert kills >= 4, "it was never killed at work"
    subprocess.run([sys.executable, "-c", EXPORTING, tmp_path, into], cwd=ROOT, check=True, stdout=subprocess.PIPE)
    clean = tmp_path / "elsewhere"
    shutil.copytree(tmp_path / "sources", clean / "sources")
    fresh = with_lists(clean / "repository")
    subprocess.run([sys.executable, "-c", EXPORTING, clean, fresh], cwd=ROOT, check=True, stdout=subprocess.PIPE)
    assert tree(into.parent) == tree(fresh.parent)
    assert not [path for path in into.parent.rglob(f".*{PART}") if os.path.lexists(path)]


EXPORTING = """
import sys
from pathlib import Path
from tests.exporting import FakeSources, FakeStudio, reviewed, run
studio = FakeStudio(*(reviewed(number, 0, 1, 2) for number in range(1, 41)))
print("ready", flush=True)
run(studio, Path(sys.argv[2]), FakeSources(Path(sys.argv[1]) / "sources"))
"""
