"""An export with everything around it: a Label Studio and its images with memory, and datasets to export into."""

import codecs
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from hashlib import sha256
from pathlib import Path
from threading import Lock

import numpy as np
from PIL import Image

from service.domain.geometry import Box
from service.domain.model import Agreement, Patch, Review, Task
from service.export.formats import Request, format_for
from service.export.model import Source
from service.export.plan import Options
from service.export.sources import SourceFile
from service.export.writing import Disk
from service.exporting import Cutter, Exported, Sources, Studio, export
from service.label_studio.images import source_name
from service.label_studio.labeling import OURS, Labeling
from tests.factories import NOON, patch, review, roi, task

P = 3
STUDIO_URL = "http://studio.internal"
LABELING = Labeling(image="image", data_key="image", controls=OURS)
SIZE = (120, 90)
BOXES = (Box(10, 12, 50, 44), Box(60, 20, 100, 70), Box(20, 50, 44, 80))


@dataclass(frozen=True, slots=True)
class Change:
    """A task that changed."""

    task_id: int
    updated_at: datetime


class FakeStudio:
    """A Label Studio with memory: its tasks, when each changed, and which were read."""

    def __init__(self, *tasks: Task, labeling: Labeling = LABELING) -> None:
        self.kept = {one.id: one for one in tasks}
        self.labels = labeling
        self.read: list[int] = []

    def labeling(self, project_id: int) -> Labeling:
        assert project_id == P
        return self.labels

    def tasks(self, project_id: int, labeling: Labeling, task_ids: Sequence[int] | None = None) -> Iterator[Task]:
        assert (project_id, labeling) == (P, self.labels)
        for one in list(self.kept.values()):
            if task_ids is None or one.id in task_ids:
                self.read.append(one.id)
                yield one

    def changed_since(self, project_id: int, moment: datetime | None, *, even_empty: bool = False) -> Sequence[Change]:
        assert (project_id, even_empty) == (P, True)
        return [
            Change(one.id, one.updated_at) for one in self.kept.values() if moment is None or one.updated_at > moment
        ]

    def put(self, *tasks: Task) -> None:
        """Somebody changed these, an hour after the last change of all."""
        at = max([one.updated_at for one in self.kept.values()], default=NOON) + timedelta(hours=1)
        self.kept |= {one.id: replace(one, updated_at=at) for one in tasks}


_studio: type[Studio] = FakeStudio


def draw_source(path: Path, number: int, size: tuple[int, int] = SIZE) -> Path:
    """A picture in which every place looks different, and that no other number has."""
    rows, columns = np.mgrid[: size[1], : size[0]]
    noise = np.random.default_rng(number).integers(0, 256, (size[1], size[0]))
    Image.fromarray(np.stack([columns * 2, rows * 2, noise], axis=2).astype(np.uint8)).save(path)
    return path


@dataclass
class FakeSources:
    """Source images in a folder, by the task's own file name, drawn when they are asked for; with memory. A task in
    `problems` has that one.
    """

    folder: Path
    problems: Mapping[int, Exception] = field(default_factory=dict)
    taken: list[int] = field(default_factory=list)
    held: dict[int, list[Path]] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)

    def name(self, task: Task) -> str:
        return source_name(task.image)

    @contextmanager
    def take(self, task: Task, held: Sequence[Path]) -> Iterator[SourceFile]:
        self.taken.append(task.id)
        self.held[task.id] = list(held)
        if task.id in self.problems:
            raise self.problems[task.id]
        path = self.folder / source_name(task.image)
        with self.lock:
            if not path.exists():
                draw_source(path, task.id)
        content = path.read_bytes()
        source = Source(path.name, task.source_reference, sha256(content).hexdigest(), len(content))
        yield SourceFile(path, source, SIZE, SIZE, "downloaded")


_sources: type[Sources] = FakeSources


def patches_of(task_id: int) -> tuple[Patch, ...]:
    """Three patches of a task, from an ROI that holds the whole picture."""
    return tuple(patch(box, of=roi(0, 0, *SIZE), task_id=task_id) for box in BOXES)


def reviewed(task_id: int, *accepted: int, exclusions: Sequence[Box] = (), by: int = 1, suffix: str = "png") -> Task:
    """A task with three patches on offer, of which one person accepted those with these numbers and took the others
    out; nobody has looked at it when there is no number.
    """
    offered = patches_of(task_id)
    said: tuple[Review, ...] = ()
    if accepted:
        said = (review([offered[number] for number in accepted], offered, by=by, annotation=task_id),)
    one = task(
        roi(0, 0, *SIZE),
        task_id=task_id,
        project_id=P,
        size=SIZE,
        standing=offered,
        reviews=said,
        exclusions=exclusions,
    )
    return replace(one, image=f"/data/upload/3/1a2b3c4d-field{task_id}.{suffix}")


def run(
    studio: FakeStudio,
    into: Path,
    sources: Sources,
    *,
    options: Options | None = None,
    kind: str | None = None,
    is_dry: bool = False,
    full: bool = False,
    new: bool = False,
    min_approvals: int = 1,
    at: datetime = NOON,
    disk: Disk | None = None,
) -> Exported:
    """Export as the command does."""
    return export(
        P,
        Request(into, new=new, classes=("cell",)),
        format_for(into, kind),
        studio=studio,
        studio_url=STUDIO_URL,
        cutter=Cutter(sources, 10_000_000, lambda: at, lambda _what, _done, _total: None),
        agreement=Agreement(min_approvals),
        margin=0,
        options=options or Options(),
        is_dry=is_dry,
        full=full,
        disk=disk,
    )


def yolo_repository(root: Path, *, splits: Sequence[str] = ("train", "val"), images: int = 2) -> Path:
    """A small repository with labelled images: directory splits, labels beside, a data.yaml with a comment."""
    for split in splits:
        (root / "images" / split).mkdir(parents=True)
        (root / "labels" / split).mkdir(parents=True)
        for number in range(images):
            draw_source(root / "images" / split / f"{split}{number}.png", 100 + number + 50 * len(split))
            (root / "labels" / split / f"{split}{number}.txt").write_text("0 0.5 0.5 0.2 0.2\n")
    lines = "".join(f"{split}: images/{split}\n" for split in splits)
    (root / "data.yaml").write_text(f"# ours\n{lines}names: [cell]\n")
    return root / "data.yaml"


def with_lists(root: Path) -> Path:
    """A YOLO repository of list files: one ends without a newline, the other has Windows' line ends."""
    into = yolo_repository(root)
    (root / "train.txt").write_bytes(b"./images/train/train0.png\n./images/train/train1.png")
    (root / "val.txt").write_bytes(b"images/val/val0.png\r\nimages/val/val1.png\r\n")
    into.write_text("train: train.txt\nval: [val.txt]\nnames: [cell]\npath: .\n")
    return into


def with_voc(root: Path) -> Path:
    """A Pascal VOC dataset with one list of stems and one of a class."""
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    draw_source(root / "JPEGImages" / "one.jpg", 99)
    (root / "Annotations" / "one.xml").write_text("<annotation><object><name>cell</name></object></annotation>")
    (root / "ImageSets" / "Main" / "train.txt").write_text("one\n")
    (root / "ImageSets" / "Main" / "cell_train.txt").write_text("one  1\n")
    return root


@contextmanager
def without_rights(folder: Path) -> Iterator[None]:
    """As somebody who may not write everywhere, as root may."""
    if os.geteuid() != 0:
        yield
        return
    codecs.lookup("utf-8-sig")  # Python's own folder may be its owner's alone, too
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)
    assert folder.exists()


def tree(root: Path) -> dict[str, bytes | None]:
    """Every file of a folder with its content, and every folder; what we remember for ourselves aside."""
    found: dict[str, bytes | None] = {}
    for folder, folders, files in os.walk(root):
        if ".negatives" in folders:
            folders.remove(".negatives")
        here = Path(folder).relative_to(root)
        found[f"{here}/"] = None
        found |= {str(here / file): (Path(folder) / file).read_bytes() for file in files}
    return found
