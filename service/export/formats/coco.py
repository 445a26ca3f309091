"""COCO JSON (https://cocodataset.org/#format-data): one file of annotations for each split, new or there already.

A negative is an entry of `images` that no annotation refers to. Ours are put in after those of others as text, so that
no other byte of the file changes, and found again by their file name, so that a file that was written anew by some
other tool is understood as well.
"""

import json
import os
import posixpath
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from service.errors import ExportError
from service.export.folders import Folders, content_of, named
from service.export.formats import Format, Request
from service.export.manifest import MANIFEST, read_manifest
from service.export.model import Dataset, Held, Row, Split
from service.export.numbering import image_number

ANNOTATIONS = "annotations"
ROBOFLOW = "_annotations.coco.json"
SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
_SPLIT_WORD = re.compile(r"(?<![a-z])(train|validation|valid|val|test)(?![a-z])", re.IGNORECASE)
_SPACE = re.compile(r"[ \t\n\r]*")
_COMMA = re.compile(r"[ \t\n\r]*,[ \t\n\r]*")
_COLON = re.compile(r"[ \t\n\r]*:[ \t\n\r]*")
_decode = json.JSONDecoder().raw_decode
SAMPLE = 64
"""So many file names tell where the images are."""


# ---------------------------------------------------------------- the text


@dataclass(frozen=True, slots=True)
class _Entry:
    """One element of `images`: its file name (in one spelling of several) and id, if it has them, from where to where
    it is in the text, and where the one before it ends.
    """

    name: str | None
    number: object
    start: int
    end: int
    after: int


@dataclass(frozen=True, slots=True)
class _Document:
    """A COCO JSON as text. `start` is where the elements of `images` begin, after the bracket, and `end` where they
    end; `annotated` are the ids of images with annotations.
    """

    text: str
    start: int
    end: int
    entries: tuple[_Entry, ...]
    annotated: frozenset[object]


def _parse(content: bytes, where: str) -> _Document:
    """Understand a file. Raises `ExportError`, naming it by `where`."""
    try:
        return _document(content.decode(), where)
    except (ValueError, RecursionError) as error:
        raise ExportError(f"{where} can't be read as JSON in UTF-8: {error}") from error


def _document(text: str, where: str) -> _Document:
    at = _space(text, 1 if text.startswith("\ufeff") else 0)
    if text[at : at + 1] != "{":
        raise ExportError(f"{where} is no COCO JSON: it doesn't begin with an object")
    lists: dict[str, tuple[int, int]] = {}
    entries: list[_Entry] = []
    annotated: set[object] = set()
    at = _space(text, at + 1)
    while text[at : at + 1] != "}":
        key, at = _decode(text, at)
        at = _after(text, at, ":")
        if key in ("images", "annotations"):
            if key in lists or text[at : at + 1] != "[":
                raise ExportError(f"{where} has several `{key}`, or one that is no list: it is no COCO JSON")
            start = end = at + 1
            for value, first, last in _elements(text, start):
                if key == "annotations":
                    annotated.add(_number(value, "image_id"))
                else:
                    entries.append(_Entry(_name(value), _number(value, "id"), first, last, end))
                end = last
            end = _space(text, end)
            lists[key] = start, end
            at = end + 1
        else:
            _, at = _decode(text, at)
        at = _space(text, at)
        if text[at : at + 1] != "}":
            at = _after(text, at, ",", last="}")
    if text[at + 1 :].strip(" \t\n\r"):
        raise ValueError("there is more after its end")
    if len(lists) < 2:
        raise ExportError(f"{where} is no COCO JSON of labelled objects: it needs lists `images` and `annotations`")
    return _Document(text, *lists["images"], tuple(entries), frozenset(annotated - {None}))


def _elements(text: str, at: int) -> Iterator[tuple[Any, int, int]]:
    """The elements of a list that begins before `at`, one after another: each may be large."""
    at = _space(text, at)
    while text[at : at + 1] != "]":
        value, end = _decode(text, at)
        yield value, at, end
        at = _space(text, end)
        if text[at : at + 1] != "]":
            at = _after(text, at, ",", last="]")


def _name(value: object) -> str | None:
    name = value.get("file_name") if isinstance(value, dict) else None
    return posixpath.normpath(name) if isinstance(name, str) and name else None


def _number(value: object, key: str) -> object:
    number = value.get(key) if isinstance(value, dict) else None
    return number if isinstance(number, int | str) else None


def _space(text: str, at: int) -> int:
    return _SPACE.match(text, at).end()  # type: ignore[union-attr] # it matches nothing, too


def _after(text: str, at: int, sign: str, last: str = "") -> int:
    """Where something begins after a sign, which is there, and is not followed by what would end it all."""
    at = _space(text, at)
    if text[at : at + 1] != sign:
        raise ValueError(f"{sign!r} is missing at character {at}")
    after = _space(text, at + 1)
    if last and text[after : after + 1] == last:
        raise ValueError(f"{sign!r} is too much at character {at}")
    return after


@dataclass(frozen=True, slots=True)
class _Style:
    """How others write an entry: what stands after `{`, around `:` and `,`, before `}`, and their order of keys."""

    opening: str
    colon: str
    comma: str
    closing: str
    keys: tuple[str, ...]
    is_ascii: bool

    def entry(self, values: Mapping[str, object]) -> str:
        """An entry with these values."""
        order = sorted(values, key=lambda key: self.keys.index(key) if key in self.keys else len(self.keys))
        members = [
            json.dumps(key, ensure_ascii=self.is_ascii)
            + self.colon
            + json.dumps(values[key], ensure_ascii=self.is_ascii)
            for key in order
        ]
        return "{" + self.opening + self.comma.join(members) + self.closing + "}"


def _style(document: _Document, entries: Sequence[_Entry]) -> _Style:
    """As the last of these entries is written; without one, as the file is."""
    text = document.text
    others = chain((text[: document.start], text[document.end :]), (text[one.start : one.end] for one in entries))
    is_ascii = all(part.isascii() for part in others)
    like = next((one for one in reversed(entries) if one.name is not None), None)
    if like is None:
        is_dense = text[: document.start].endswith('":[')
        return _Style("", ":" if is_dense else ": ", "," if is_dense else ", ", "", (), is_ascii)
    first = _space(text, like.start + 1)
    opening = text[like.start + 1 : first]
    colon = _COLON.match(text, _decode(text, first)[1])
    assert colon is not None
    comma = _COMMA.match(text, _decode(text, colon.end())[1])
    closing = text[len(text[: like.end - 1].rstrip(" \t\n\r")) : like.end - 1]
    between = comma.group() if comma else "," + (opening or " ")
    return _Style(opening, colon.group(), between, closing, tuple(_decode(text, like.start)[0]), is_ascii)


def _frame(document: _Document, entries: Sequence[_Entry]) -> tuple[str, str, str]:
    """What stands before the first element, between elements that are added, and after the last one, when these entries
    of others stay.

    Where none does, an empty list is to come back as it was: it had either nothing in it, or only space, which then
    stands before our first element, with nothing after our last.
    """
    text = document.text
    all_of_them = document.entries
    if not all_of_them:
        lead, tail = text[document.start : document.end], ""
    else:
        lead, tail = text[document.start : all_of_them[0].start], text[all_of_them[-1].end : document.end]
    if len(entries) > 1:
        return lead, text[entries[-1].after : entries[-1].start], tail
    if entries:
        return lead, "," + lead if lead else _style(document, entries).comma, tail
    if lead and not tail:
        return lead, "," + lead, ""
    line = text[text.rfind("\n", 0, document.start) + 1 : document.start]
    indent = line[: len(line) - len(line.lstrip(" \t"))]
    if indent and line.lstrip(" \t").startswith('"'):
        newline = "\r\n" if "\r\n" in text[: document.start] else "\n"
        return newline + indent * 2, "," + newline + indent * 2, newline + indent
    return "", _style(document, ()).comma, ""


@dataclass(frozen=True, slots=True)
class _Annotations:
    """The JSON of one split. `name` gives the name that an image has in it."""

    file: str
    split: str
    name: Callable[[Row], str]

    def content(
        self,
        before: bytes | None,
        ours: Sequence[Row],
        rows: Sequence[Row],
        read: Callable[[Row], bytes],  # noqa: ARG002 (it tells of images, and holds none)
    ) -> bytes | None:
        """The file with an entry for each of our images, but for those that others have labelled objects in since:
        these are theirs, and stay as they are.
        """
        if before is None:
            if any(row.split == self.split for row in rows):
                raise ExportError(f"{self.file} is gone: restore it, or export with --new")
            return None
        document = _parse(before, self.file)
        own = {posixpath.normpath(self.name(row)) for row in (*ours, *rows)}
        stay = [one for one in document.entries if one.name not in own or one.number in document.annotated]
        there = {one.name for one in stay}
        names = {self.name(row): row for row in rows if row.split == self.split}
        new = [(name, row) for name, row in names.items() if posixpath.normpath(name) not in there]
        if len(stay) == len(document.entries) and not new:
            return before
        return _with(document, stay, new).encode()


def _with(document: _Document, stay: Sequence[_Entry], new: Sequence[tuple[str, Row]]) -> str:
    """The text with those entries of others that stay, and new ones after them."""
    lead, between, tail = _frame(document, stay)
    style = _style(document, stay)
    numbers = {one.number for one in stay}
    parts: list[str] = []
    for one in stay:
        parts += [document.text[one.after : one.start] if parts else "", document.text[one.start : one.end]]
    for name, row in new:
        number = image_number(name, numbers)
        numbers.add(number)
        values = {"id": number, "file_name": name, "width": row.size[0], "height": row.size[1]}
        parts += [between if parts else "", style.entry(values)]
    if not parts:
        lead, tail = (lead, "") if document.entries and not tail else ("", "")
    return document.text[: document.start] + lead + "".join(parts) + tail + document.text[document.end :]


# ---------------------------------------------------------------- the files


def _pattern(path: Path) -> tuple[str, str | None]:
    """What the files of one dataset have in common in their names, and the split that this one's name says."""
    if path.name == ROBOFLOW:
        split = SPLITS.get(path.parent.name.casefold())
        return (str(path.parent.parent / "*" / ROBOFLOW), split) if split else (str(path), None)
    word = _SPLIT_WORD.search(path.stem)
    if word is None:
        return str(path), None
    return str(path.with_name(f"{path.stem[: word.start()]}*{path.stem[word.end() :]}.json")), SPLITS[
        word[0].casefold()
    ]


def _is_roboflow(path: Path) -> bool:
    return path.name == ROBOFLOW and path.parent.name.casefold() in SPLITS


def _files_beside(path: Path) -> list[Path]:
    """The file and those of the other splits: they say which images may not go into this one's."""
    pattern, _ = _pattern(path)
    candidates = path.parent.parent.glob(f"*/{ROBOFLOW}") if _is_roboflow(path) else path.parent.glob("*.json")
    return sorted({path, *(one for one in candidates if _pattern(one)[0] == pattern)})


def _files_in(folder: Path) -> list[Path]:
    """The COCO files of a folder that is laid out as those usually are."""
    named_so = [
        one
        for one in folder.glob(f"{ANNOTATIONS}/*.json")
        if one.name.startswith("instances_") or one.stem.casefold() in SPLITS
    ]
    return sorted([*named_so, *filter(_is_roboflow, folder.glob(f"*/{ROBOFLOW}")), *folder.glob(ROBOFLOW)])


def _claims(into: Path) -> bool:
    return into.suffix.lower() == ".json" or (into.is_dir() and bool(_files_in(into)))


def _by_split(files: Iterable[Path], into: Path) -> dict[str, Path]:
    """The files by split, `train` first; a single file is `train`."""
    files = list(files)
    if len({_pattern(one)[0] for one in files}) > 1:
        raise ExportError(f"{into} has several COCO datasets ({_listed(files)}): give one of these files")
    found: dict[str, Path] = {}
    for one in files:
        split = _pattern(one)[1] or "train"
        if split in found:
            raise ExportError(f"{found[split]} and {one} both say that they are {split}: move one of them away")
        found[split] = one
    if len(found) == 1:
        return {"train": files[0]}
    if "train" not in found:
        raise ExportError(f"{into} has no train split ({_listed(files)}): negatives have to go into one")
    return {split: found[split] for split in ("train", "val", "test") if split in found}


def _listed(files: Iterable[Path]) -> str:
    return ", ".join(one.name if one.name != ROBOFLOW else f"{one.parent.name}/{one.name}" for one in files)


def _root(path: Path) -> Path:
    """The folder of the whole dataset."""
    return path.parent.parent if path.parent.name == ANNOTATIONS or _is_roboflow(path) else path.parent


def _bases(path: Path, split: str, root: Path | None) -> list[Path]:
    """Folders that file names may be relative to, the most usual ones first."""
    token = path.stem.removeprefix("instances_")
    leaves = ["", token, split, "valid" if split == "val" else split, "images", f"images/{token}", f"images/{split}"]
    near = [root] if root else [path.parent] if path.name == ROBOFLOW else [path.parent, path.parent.parent]
    return list(dict.fromkeys(folder / leaf for folder in near for leaf in (*leaves, "data")))


def _base(path: Path, split: str, root: Path | None, names: Sequence[str], *, is_one_of_several: bool) -> Path:
    """The folder that the file names of a JSON are relative to. Raises `ExportError` when none of the images is found.

    Without an image that tells it is the folder that is there by one of the usual names, or will be.
    """
    bases = _bases(path, split, root)
    if names:
        sample = [names[at * len(names) // SAMPLE] for at in range(SAMPLE)] if len(names) > SAMPLE else names
        found = {base: sum((base / name).is_file() for name in sample) for base in bases}
        best = max(bases, key=found.__getitem__)
        if found[best] == 0:
            raise ExportError(
                f"none of the images that {path} names is near it ({names[0]!r}, for example): say by --root to which "
                "folder its file names are relative"
            )
        return best
    if root is not None:
        return root
    if path.name == ROBOFLOW:
        return path.parent
    home = _root(path)
    token = path.stem.removeprefix("instances_")
    default = home / "images" / split if is_one_of_several else home / "images"
    usual = (home / token, home / "images" / token, home / split, home / "images" / split, default)
    return next((folder for folder in usual if folder.is_dir()), default)


def _new_file(classes: Sequence[str]) -> bytes:
    """A COCO JSON without images: one line each for what belongs together, so that it can be compared."""
    document = {
        "info": {"description": "", "version": "1.0"},
        "licenses": [],
        "images": [],
        "annotations": [],
        "categories": [{"id": number, "name": name, "supercategory": ""} for number, name in enumerate(classes, 1)],
    }
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


# ---------------------------------------------------------------- the survey


def _open(request: Request) -> Dataset:
    into = request.into
    makes: dict[Path, bytes] = {}
    if into.suffix.lower() == ".json":
        files = _by_split(_files_beside(into), into) if into.is_file() or not request.new else {"train": into}
    elif found := _files_in(into):
        files = _by_split(found, into)
    elif request.new:
        files = {split: into / ANNOTATIONS / f"instances_{split}.json" for split in ("train", "val")}
    else:
        raise ExportError(
            f"{into} has neither {ANNOTATIONS}/instances_*.json nor */{ROBOFLOW}: give the JSON itself, or --new"
        )
    if request.new:
        makes = {path: _new_file(request.classes) for path in files.values() if not path.exists()}
    root = _root(files["train"])
    survey = _Survey(root, request.root, is_one_of_several=len(files) > 1)
    for split, path in files.items():
        survey.add(split, path, makes[path] if path in makes else content_of(path))
    _refuse_two(root, files.values(), survey.names)
    return Dataset(
        root=root,
        splits=tuple(survey.splits),
        taken=frozenset(survey.taken),
        said=tuple(survey.said),
        warnings=tuple(survey.warnings),
        makes={named(path, root): content for path, content in makes.items()},
        indexes=survey.indexes,
    )


def _refuse_two(root: Path, files: Collection[Path], names: Collection[str]) -> None:
    """Our manifest in a folder tells of one dataset: two of them would get each other's negatives."""
    path = root / MANIFEST
    if not path.is_file():
        return
    elsewhere = {row.name for row in read_manifest(content_of(path), str(path))} - set(names)
    spellings = [
        json.dumps(name, ensure_ascii=is_ascii).encode()[1:] for name in elsewhere for is_ascii in (True, False)
    ]
    beside = {one for file in files for one in file.parent.glob("*.json")} - set(files) if elsewhere else ()
    for other in sorted(beside):
        content = content_of(other)
        if any(spelling in content for spelling in spellings):
            raise ExportError(
                f"{path} tells of negatives in {other}: name the files of one dataset alike but for train, val and "
                "test, and keep another dataset in a folder of its own"
            )


class _Survey:
    """What the JSONs of a dataset and the folders that they name hold."""

    def __init__(self, root: Path, base: Path | None, *, is_one_of_several: bool) -> None:
        self.splits: list[Split] = []
        self.taken: set[str] = set()
        self.names: set[str] = set()
        self.said: list[str] = []
        self.warnings: list[str] = []
        self._root = root
        self._given = base
        self._is_one_of_several = is_one_of_several
        self._folders = Folders()
        self._told: dict[str, _Annotations] = {}

    def add(self, split: str, path: Path, content: bytes) -> None:
        """Look at the JSON of one split."""
        document = _parse(content, str(path))
        is_annotated: dict[str, bool] = {}
        for one in document.entries:
            if one.name is not None:
                is_annotated[one.name] = is_annotated.get(one.name, False) or one.number in document.annotated
        names = list(is_annotated)
        base = _base(path, split, self._given, names, is_one_of_several=self._is_one_of_several)
        images = base / _common_folder(names)
        held: dict[str, Held] = {}
        lost = 0
        places: dict[str, tuple[str, Mapping[str, int]]] = {}
        for name in names:
            inner, _, last = name.rpartition("/")
            if inner not in places:
                folder = Path(os.path.normpath(base / ("/" if name.startswith("/") and not inner else inner)))
                prefix = named(folder, self._root)
                places[inner] = "" if prefix == "." else f"{prefix.rstrip('/')}/", self._folders.files(folder)
            prefix, sizes = places[inner]
            if last in sizes:
                held[prefix + last] = Held(prefix + last, sizes[last], not is_annotated[name])
            else:
                lost += 1
        self.names |= {posixpath.basename(name) for name in names}
        self.taken |= {posixpath.splitext(name)[0].casefold() for name in self.names}
        self.taken |= {os.path.splitext(name)[0].casefold() for name in self._folders.files(images)}  # noqa: PTH122
        self.splits.append(Split(split, named(images, self._root), tuple(held.values())))
        file = named(path, self._root)
        is_absolute = bool(names) and all(name.startswith("/") for name in names)
        self._told[split] = _Annotations(file, split, _Namer(self._root, None if is_absolute else base))
        by = "absolute file names" if is_absolute else f"file names relative to {named(base, self._root)}"
        self.said.append(f"{split}: {file}, {by}, new images go to {named(images, self._root)}")
        if lost:
            self.warnings.append(f"{file} names {lost} images that are not there")

    def indexes(self, rows: Sequence[Row]) -> Sequence[_Annotations]:
        """The JSONs that tell of these rows."""
        return [self._told[split] for split in sorted({row.split for row in rows} & self._told.keys())]


@dataclass(frozen=True, slots=True)
class _Namer:
    """How the images of a JSON are named: relative to a folder, or (None) absolute."""

    root: Path
    base: Path | None

    def __call__(self, row: Row) -> str:
        image = os.path.abspath(self.root / row.file)  # noqa: PTH100 (links stay as they are written)
        return image if self.base is None else posixpath.relpath(image, os.path.abspath(self.base))  # noqa: PTH100


def _common_folder(names: Sequence[str]) -> str:
    """The folder that all images are in, however deep."""
    folders = {posixpath.dirname(name) for name in names}
    try:
        return posixpath.commonpath(folders) if folders else ""
    except ValueError:  # absolute and relative ones
        return ""


FORMAT = Format(
    name="coco",
    what="a COCO JSON, or the folder of annotations/instances_*.json or Roboflow's */_annotations.coco.json",
    claims=_claims,
    open=_open,
    guidance=(
        "Detectron2 drops images without annotations: set DATALOADER.FILTER_EMPTY_ANNOTATIONS to False.",
        "MMDetection's training configurations drop them, and images below 32 px: set "
        "filter_cfg=dict(filter_empty_gt=False) in the training dataset, and no min_size that your patches fall below.",
        "torchvision's detectors take them with a target whose boxes have the shape (0, 4) and labels the shape (0,), "
        "dtype int64: a tensor made of CocoDetection's empty list has the shape (0,) and is refused.",
    ),
    new="annotations/instances_train.json",
)
