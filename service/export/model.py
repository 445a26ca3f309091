"""What an export deals in: the images that a dataset holds, and one row for each negative that we added. Pure.

Files are named as POSIX paths relative to the dataset's root, or absolute where they lie outside of it.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import PurePath, PurePosixPath
from typing import Protocol

from service.domain.geometry import Box

Key = tuple[str, int, int, str, Box, str]
"""A patch of Label Studio's at its place in an image: where that runs, project, task, patch, box, image's reference."""


@dataclass(frozen=True, slots=True)
class Source:
    """The image that a negative was cut from: the file's name, where Label Studio's task says that it is (without
    sign-in and query), the digest of its bytes, and how many they are.
    """

    name: str
    reference: str
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Row:
    """One negative of ours: a row of the manifest.

    `file` is its image. `box` is what people approved, in pixels of the picture that they saw; `cut` is what was cut,
    in pixels of the source, upright: the same, or on the block grid inside of it, or scaled to the original. `size` is
    the image's (width, height), `mode` Pillow's word for its pixels. `pixels` says how faithful they are. `dataset` is
    the format, and which of several datasets with this root.
    """

    file: str
    split: str
    studio: str
    project: int
    task: int
    patch: str
    source: Source
    box: Box
    cut: Box
    roi: Box
    size: tuple[int, int]
    mode: str
    pixels: str
    sha256: str
    bytes: int
    reviewers: tuple[int, ...]
    annotations: tuple[int, ...]
    accepted_at: datetime | None
    exported_at: datetime
    seed: int | None
    rules: Mapping[str, object] | None
    rules_from: Mapping[str, str] | None
    proposed_by: str | None
    exported_by: str
    dataset: str = ""

    @property
    def name(self) -> str:
        """The image's file name."""
        return PurePosixPath(self.file).name

    @property
    def stem(self) -> str:
        """Its file name without extension."""
        return PurePosixPath(self.file).stem

    @property
    def key(self) -> Key:
        """What makes it this negative and no other."""
        return self.studio, self.project, self.task, self.patch, self.box, self.source.reference


@dataclass(frozen=True, slots=True)
class Held:
    """An image that the dataset holds: its file, its size in bytes, and whether its label is empty or missing."""

    file: str
    bytes: int
    is_negative: bool


@dataclass(frozen=True, slots=True)
class Split:
    """A split: the folder where new images of it go, and all images that are there, ours among them, each once."""

    name: str
    images: str
    held: tuple[Held, ...]


class Index(Protocol):
    """A file that tells of many negatives: a list, a JSON of annotations, a shard."""

    @property
    def file(self) -> str:
        """Which."""

    def content(
        self, before: bytes | None, ours: Sequence[Row], rows: Sequence[Row], read: Callable[[Row], bytes]
    ) -> bytes | None:
        """What it should hold: what others wrote in it, byte for byte, and exactly these rows of ours.

        `before` is what it holds now, None when there is no such file. `ours` are the rows that it may tell of now,
        from earlier exports (also of one that was interrupted; one that changes its split comes as it was and as it
        will be). `rows` are all of ours whose images the dataset will hold, whatever the split, sorted by file. `read`
        gives a row's image. None: there should be no such file. The result depends on what others wrote and on `rows`,
        not on the way there; without rows it is what others wrote. Raises `ExportError` for a file that can't be
        understood.
        """


@dataclass(frozen=True, slots=True)
class Dataset:
    """A dataset of some format, understood.

    `root` holds the manifest; `id` tells two datasets with the same root apart, where there may be two. `splits` has
    `train` first. `taken` are the stems, case-folded, of all images and sidecars. `said` tells people what was
    understood and by which rule, `warnings` what they should look at. `makes` are files of a new dataset that are not
    there yet. `sidecar` gives the file that tells of one negative, and its content. `indexes` gives the files that tell
    of these rows. `caches` gives files that a trainer made of these splits and would not make anew.
    """

    root: PurePath
    splits: tuple[Split, ...]
    taken: frozenset[str]
    said: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    makes: Mapping[str, bytes] = field(default_factory=dict)
    sidecar: Callable[[Row], tuple[str, bytes] | None] = lambda _row: None
    indexes: Callable[[Sequence[Row]], Sequence[Index]] = lambda _rows: ()
    caches: Callable[[Collection[str]], Sequence[str]] = lambda _splits: ()
    id: str = ""

    def split(self, name: str) -> Split | None:
        """The split of this name."""
        return next((split for split in self.splits if split.name == name), None)
