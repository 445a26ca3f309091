"""Pascal VOC (http://host.robots.ox.ac.uk/pascal/VOC/voc2012/htmldoc/devkit_doc.html): a folder with `JPEGImages`,
`Annotations` and the lists of `ImageSets/Main`.

A negative is an image, an annotation without objects, and a line in the lists of its split: its name without extension
and, in the lists of one class (`person_train.txt`), -1 after it.
"""

import os
import posixpath
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from xml.sax.saxutils import escape

from service.errors import ExportError
from service.export.folders import IMAGE_SUFFIXES, Folders, content_of
from service.export.formats import Format, Request
from service.export.lines import BOM, with_own_lines
from service.export.model import Dataset, Held, Row, Split

IMAGES = "JPEGImages"
ANNOTATIONS = "Annotations"
LISTS = "ImageSets/Main"
SPLITS_OF = {
    "train": frozenset({"train"}),
    "val": frozenset({"val"}),
    "trainval": frozenset({"train", "val"}),
    "test": frozenset({"test"}),
}
"""Which splits each list tells of."""

_OF_A_CLASS = re.compile(r".+_(train|val|trainval|test)\.txt")
_CLASS_LINE = re.compile(rb"(.*\S)([ \t]+)(-1|0|1)[ \t]*")
_FOLDER = re.compile(rb"<folder>[^<]*</folder>")
_CHANNELS = {"1": 1, "L": 1, "P": 1, "I;16": 1, "LA": 2, "RGBA": 4, "CMYK": 4, "RGBA;16": 4}


@dataclass(frozen=True, slots=True)
class _List:
    """A list of a split: `splits` are those that it tells of, `is_of_a_class` whether it says of each image if it has
    objects of one class.
    """

    file: str
    splits: frozenset[str]
    is_of_a_class: bool = False

    def content(
        self,
        before: bytes | None,
        ours: Sequence[Row],
        rows: Sequence[Row],
        read: Callable[[Row], bytes],  # noqa: ARG002 (a list has no need of the images)
    ) -> bytes | None:
        """The list with a line for each of our images, written as the last line of others is."""
        told = [row for row in rows if row.split in self.splits]
        if before is None and not told:
            return None
        own = {name.encode() for row in (*ours, *rows) for name in (row.name, row.stem)}
        lines = _class_lines if self.is_of_a_class else _plain_lines
        return with_own_lines(
            before or b"",
            self.file,
            lambda line: self._subject(line) in own,
            lambda theirs: lines(theirs, told),
        )

    def _subject(self, line: bytes) -> bytes:
        """The image that a line tells of, without folders."""
        match = _CLASS_LINE.fullmatch(line) if self.is_of_a_class else None
        return (match[1] if match else line).strip().rpartition(b"/")[2]


def _plain_lines(theirs: Sequence[bytes], rows: Sequence[Row]) -> list[bytes]:
    """A stem each; or a file name, or a path, where others have that."""
    last = next((line.strip().decode(errors="replace") for line in reversed(theirs) if line.strip()), "")
    folder = last[: last.rfind("/") + 1]
    is_file = posixpath.splitext(last)[1].lower() in IMAGE_SUFFIXES
    return [(folder + (row.name if is_file else row.stem)).encode() for row in rows]


def _class_lines(theirs: Sequence[bytes], rows: Sequence[Row]) -> list[bytes]:
    """A stem and -1 each, if it is a list of a class by what others have in it."""
    said = [_CLASS_LINE.fullmatch(line) for line in theirs if line.strip()]
    matches = [match for match in said if match is not None]
    if len(matches) < len(said) or not matches:
        return []
    between = next((match[2] for match in reversed(matches) if match[3] == b"-1"), b" ")
    return [row.stem.encode() + between + b"-1" for row in rows]


def _annotation(row: Row, folder: str) -> bytes:
    """What tells that there is nothing in an image."""
    return f"""<annotation>
	<folder>{escape(folder)}</folder>
	<filename>{escape(row.name)}</filename>
	<source>
		<database>label-studio-negatives</database>
		<image>{escape(row.source.name)}</image>
	</source>
	<size>
		<width>{row.size[0]}</width>
		<height>{row.size[1]}</height>
		<depth>{_CHANNELS.get(row.mode, 3)}</depth>
	</size>
	<segmented>0</segmented>
</annotation>
""".encode()


@dataclass(frozen=True, slots=True)
class _Annotations:
    """The annotations of our images. One that is there and differs in nothing but the folder's name stays as it is: the
    dataset had another name when it was written.
    """

    root: Path

    def __call__(self, row: Row) -> tuple[str, bytes]:
        file = f"{ANNOTATIONS}/{row.stem}.xml"
        content = _annotation(row, self.root.resolve().name)
        try:
            there = (self.root / file).read_bytes()
        except OSError:
            return file, content
        is_same = _FOLDER.sub(b"", there, count=1) == _FOLDER.sub(b"", content, count=1)
        return file, there if is_same else content


def _list(name: str) -> _List | None:
    """The list in a file of `ImageSets/Main`, if it is one of a split."""
    stem = PurePosixPath(name).stem
    if name.endswith(".txt") and stem in SPLITS_OF:
        return _List(f"{LISTS}/{name}", SPLITS_OF[stem])
    of_a_class = _OF_A_CLASS.fullmatch(name)
    return _List(f"{LISTS}/{name}", SPLITS_OF[of_a_class[1]], is_of_a_class=True) if of_a_class else None


def _stems(path: Path) -> list[str]:
    """The images that a list names, each once, without folder and extension."""
    lines = content_of(path).removeprefix(BOM).decode(errors="surrogateescape").splitlines()
    names = [line.strip().rpartition("/")[2] for line in lines]
    stems = (os.path.splitext(name) for name in names if name)  # noqa: PTH122
    return list(dict.fromkeys(stem if suffix.lower() in IMAGE_SUFFIXES else stem + suffix for stem, suffix in stems))


def _stems_by_split(lists: Mapping[str, list[str]], images: Iterable[str]) -> dict[str, list[str]]:
    """The images of each split: as its list says, or else what is left of `trainval`, or of all images."""
    found = dict(lists)
    both = found.pop("trainval", None)
    if "train" not in found:
        elsewhere = {stem for stems in found.values() for stem in stems}
        found["train"] = [stem for stem in (images if both is None else both) if stem not in elsewhere]
    elif "val" not in found and both is not None:
        in_train = set(found["train"])
        found["val"] = [stem for stem in both if stem not in in_train]
    return {split: found[split] for split in ("train", "val", "test") if split in found}


def _claims(into: Path) -> bool:
    return (into / ANNOTATIONS).is_dir() and (into / IMAGES).is_dir()


def _open(request: Request) -> Dataset:
    root = request.into
    if root.exists() and not root.is_dir():
        raise ExportError(f"{root} is no folder: a Pascal VOC dataset is one with {IMAGES} and {ANNOTATIONS}")
    if not (_claims(root) or (root / LISTS).is_dir() or request.new):
        raise ExportError(f"{root} has no {IMAGES} and {ANNOTATIONS}: give the folder that does, or --new")
    folders = Folders()
    images = folders.images(root / IMAGES)
    annotations = folders.files(root / ANNOTATIONS)
    lists = [one for name in sorted(folders.files(root / LISTS)) if (one := _list(name)) is not None]
    makes: dict[str, bytes] = {}
    if request.new and not lists and not images:
        lists = [_List(f"{LISTS}/{name}.txt", SPLITS_OF[name]) for name in ("train", "trainval", "val")]
        makes = {one.file: b"" for one in lists}
    by_stem = {os.path.splitext(name)[0]: name for name in sorted(images, key=_is_jpg)}  # noqa: PTH122
    listed = {
        PurePosixPath(one.file).stem: [] if one.file in makes else _stems(root / one.file)
        for one in lists
        if not one.is_of_a_class
    }
    splits, said, warnings = [], [], []
    for split, stems in _stems_by_split(listed, sorted(by_stem)).items():
        there = [stem for stem in stems if stem in by_stem]
        held = [
            Held(f"{IMAGES}/{by_stem[stem]}", images[by_stem[stem]], not _has_objects(root, stem, annotations))
            for stem in there
        ]
        splits.append(Split(split, IMAGES, tuple(held)))
        names = [one.file for one in lists if split in one.splits and not one.is_of_a_class]
        said.append(f"{split}: {' and '.join(names) or f'images in no list of {LISTS}'}, new images go to {IMAGES}")
        if len(there) < len(stems):
            lost = next(stem for stem in stems if stem not in by_stem)
            warnings.append(f"{split}: {len(stems) - len(there)} images are not in {IMAGES}, the first: {lost}")
    return Dataset(
        root=root,
        splits=tuple(splits),
        taken=frozenset(PurePosixPath(name).stem.casefold() for name in (*images, *annotations)),
        said=tuple(said),
        warnings=tuple(warnings),
        makes=makes,
        sidecar=_Annotations(root),
        indexes=lambda rows: [one for one in lists if any(row.split in one.splits for row in rows)],
    )


def _is_jpg(name: str) -> bool:
    """Last among files of one stem, so that it is the one that counts: readers look for that."""
    return name.endswith(".jpg")


def _has_objects(root: Path, stem: str, annotations: Collection[str]) -> bool:
    name = f"{stem}.xml"
    return name in annotations and b"<object" in content_of(root / ANNOTATIONS / name)


FORMAT = Format(
    name="voc",
    what="the folder of a Pascal VOC dataset, which has JPEGImages and Annotations",
    claims=_claims,
    open=_open,
    suffixes=frozenset({".jpg"}),
    guidance=(
        "MMDetection's training configurations drop images without objects, and those below 32 px: set "
        "filter_cfg=dict(filter_empty_gt=False) in the training dataset, and no min_size that your patches fall below.",
        "torchvision's VOCDetection gives them an empty list of objects; its detectors want that as boxes of the shape "
        "(0, 4) and labels of the shape (0,), dtype int64.",
        "Detectron2 drops images without annotations: set DATALOADER.FILTER_EMPTY_ANNOTATIONS to False.",
    ),
    new="",
)
