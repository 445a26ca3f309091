"""Darknet: an `obj.data` with the lists of its images; every path in it starts from where darknet is started.

Where labels lie is not the same in all of them (`replace_image_to_label`): AlexeyAB's takes `labels` for the folder
`images` of COCO's layouts and for `JPEGImages`, the first one for any `images`, Hank.ai's looks beside the image alone.
So the labels that are there decide, and without any they go beside the images.
"""

import os
import posixpath
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from service.errors import ExportError
from service.export.folders import Folders, is_image
from service.export.formats import Format, Request
from service.export.image_lists import Reading, lines_of
from service.export.lines import BOM
from service.export.model import Dataset
from service.export.yolo_repository import (
    Entry,
    LabelRule,
    Repository,
    beside,
    by_prefix,
    joined,
    labels_for,
    reading_of,
    said_of_lists,
    survey,
)

SUFFIX = ".data"
COCO = re.compile(r"(.*)/images/((?:train|val)20(?:14|17)/.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Described:
    """What an `obj.data` says: its own folder, and its settings."""

    file: Path
    folder: str
    settings: Mapping[str, str]


def open_darknet(request: Request) -> Dataset:
    """Understand the repository that an `obj.data` describes; see `Format.open`."""
    try:
        return _open(request)
    except OSError as error:
        raise ExportError(
            f"{error.filename or request.into} can't be read ({error.strerror}): may you read the dataset?"
        ) from error


def _open(request: Request) -> Dataset:
    folders = Folders()
    described = _described(request.into)
    root, rule = _root(request, described)
    entries, warnings = _entries(described, root)
    reading = reading_of(entries, folders, [root], dots=False)
    rule_of_labels, said_of_labels = _label_rule(entries, reading, folders)
    warnings += _doubts_of_names(described, root)
    warnings += [
        f"{path} starts with a byte order mark, which darknet takes for a part of the first path: save it without"
        for path in reading
        if Path(path).read_bytes().startswith(BOM)
    ]
    return survey(
        Repository(
            id=request.into.name,
            root=root,
            splits=entries,
            reading=reading,
            labels=rule_of_labels,
            has_caches=False,
            said=(f"root: {root} ({rule})", *said_of_lists(reading), said_of_labels),
            warnings=tuple(warnings),
        ),
        folders,
    )


def _described(file: Path) -> Described:
    """The settings, one `key = value` a line, as `read_data_cfg` reads them."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise ExportError(
            f"{file} doesn't exist; a new repository starts with a data.yaml (--into data.yaml --new)"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ExportError(f"{file} can't be read as UTF-8: {error}") from error
    lines = (line.strip() for line in text.splitlines())
    pairs = (line.partition("=") for line in lines if line and line[0] not in "#;")
    settings = {key.strip(): value.strip() for key, found, value in pairs if found}
    if not settings.get("train"):
        raise ExportError(f"{file} names no list of images to train on: add a line like train = data/train.txt")
    return Described(file, posixpath.dirname(os.path.abspath(file)), settings)  # noqa: PTH100


def _root(request: Request, described: Described) -> tuple[str, str]:
    """Where darknet is started: the first folder from which the list of the train split is there.

    Raises `ExportError` where there is none, or where another one would give another list.
    """
    train = described.settings["train"]
    if request.root is not None:
        candidates = [(str(request.root), "--root")]
    elif posixpath.isabs(train):
        candidates = [(described.folder, f"the folder of {described.file.name}, which has absolute paths")]
    else:
        above = Path(described.folder)
        candidates = [
            (os.getcwd(), "the working directory"),  # noqa: PTH109
            *((str(folder), f"a folder above {described.file.name}") for folder in list(above.parents)[:2]),
            (described.folder, f"the folder of {described.file.name}"),
        ]
    found: dict[str, tuple[str, str]] = {}
    for folder, rule in candidates:
        path, _ = joined(os.path.realpath(folder), train)
        if Path(path).is_file():
            found.setdefault(path, (os.path.realpath(folder), rule))
    if len(found) == 1:
        return next(iter(found.values()))
    if found:
        several = "; ".join(f"{folder} ({rule})" for folder, rule in found.values())
        raise ExportError(
            f"{described.file}: {train} is there from more than one folder, and which one is meant depends on where "
            f"darknet is started: {several}. Give the right one with --root"
        )
    backslashes = "; paths have slashes here, no backslashes" if "\\" in train else ""
    looked = ", ".join(dict.fromkeys(folder for folder, _ in candidates))
    raise ExportError(
        f"{described.file}: the list {train!r} of the train split isn't there; looked from {looked}{backslashes}: give "
        "the folder where darknet is started with --root"
    )


def _entries(described: Described, root: str) -> tuple[dict[str, tuple[Entry, ...]], list[str]]:
    """The lists by split, and what to say of those that can't be used."""
    entries: dict[str, tuple[Entry, ...]] = {}
    warnings = []
    for split, key in (("train", "train"), ("val", "valid")):
        written = described.settings.get(key)
        if not written:
            warnings.append(f"{described.file} has no {key}: darknet can't say how good a training is")
            continue
        path, shown = joined(root, written)
        trouble = _trouble(path)
        if trouble and split == "train":
            raise ExportError(f"{described.file}: {key} ({written}) {trouble}")
        if trouble:
            warnings.append(f"{described.file}: {key} ({written}) {trouble}; until then nothing goes to {split}")
        else:
            entries[split] = (Entry(path, shown, is_list=True),)
    if entries["train"] == entries.get("val"):
        warnings.append(f"{described.file}: valid is the same list as train; what goes to train is in both")
        del entries["val"]
    return entries, warnings


def _trouble(path: str) -> str:
    if not Path(path).is_file():
        return "is no list of images: darknet reads a file with one path a line"
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        return f"can't be read ({error.strerror})"
    if not any(is_image(name) for _, name in lines_of(content, path)):
        return "names no image, so there is no folder to add to: let it name one"
    return ""


def _label_rule(
    entries: Mapping[str, tuple[Entry, ...]], readings: Mapping[str, Reading], folders: Folders
) -> tuple[LabelRule, str]:
    """The rule by which most labels are found, and how to say so; on a tie labels lie beside the images."""
    rules = {
        "labels lie beside the images": beside,
        "labels lie in labels for images in images": _images,
        "labels lie in labels for images in JPEGImages": _voc,
        "labels lie as in COCO, in labels for images in images/train2017 and its like": _coco,
    }
    found = dict.fromkeys(rules, 0)
    for path in dict.fromkeys(entry.path for split in entries.values() for entry in split):
        reading = readings[path]
        for prefix, names in by_prefix(lines_of(Path(path).read_bytes(), path)).items():
            for said, rule in rules.items():
                labels = folders.files(posixpath.normpath(posixpath.join(reading.base, rule(reading.path(prefix)))))
                found[said] += sum(name.rpartition(".")[0] + ".txt" in labels for name in names)
    said = max(found, key=found.__getitem__)
    if not found[said]:
        return _coco, "there are no labels yet; they go where AlexeyAB's darknet looks for them"
    return rules[said], said


def _images(path: str) -> str:
    return "labels/" + path.removeprefix("images/") if path.startswith("images/") else labels_for(path)


def _voc(path: str) -> str:
    head, found, tail = path.partition("/JPEGImages/")
    return f"{head}/labels/{tail}" if found else path


def _coco(path: str) -> str:
    found = COCO.fullmatch(path)
    return f"{found[1]}/labels/{found[2]}" if found else _voc(path)


def _doubts_of_names(described: Described, root: str) -> Iterator[str]:
    names, classes = described.settings.get("names"), described.settings.get("classes", "")
    if not names:
        yield f"{described.file} has no names: darknet can't say what it finds"
        return
    path, _ = joined(root, names)
    try:
        lines = Path(path).read_text(encoding="utf-8-sig", errors="replace").splitlines()
    except OSError:
        yield f"{described.file}: the names {names!r} aren't there under {root}"
        return
    count = sum(bool(line.strip()) for line in lines)
    if classes != str(count):
        yield f"{described.file}: classes is {classes or 'missing'}, but {names} has {count} names"


FORMAT = Format(
    name="darknet",
    what="the obj.data of a darknet repository",
    claims=lambda into: into.suffix.lower() == SUFFIX,
    open=open_darknet,
    suffixes=frozenset((".bmp", ".jpeg", ".jpg", ".png")),
    guidance=(
        "Darknet needs both for a negative: its line in the list and its empty .txt; without the file it takes the "
        "label for lost, and notes the image in bad.list.",
        "AlexeyAB's advice is as many negatives as images with objects, a share of up to 50 %.",
    ),
)
