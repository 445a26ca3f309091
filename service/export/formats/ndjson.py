"""Ultralytics NDJSON (`convert_ndjson_to_yolo` in `ultralytics/data/converter.py`): a line for the dataset, then one
for each image.

Images on disk are found as `<path>/images/<split>/<file>` from the file's own folder, where `path` stands in the first
line and `file` is a name without folders; without a `path` every line needs a URL. `"annotations": {}` is a negative.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from service.errors import ExportError
from service.export.folders import Folders, content_of, named
from service.export.formats import Format, Request
from service.export.lines import BOM, with_own_lines
from service.export.model import Dataset, Held, Row, Split

SPLITS = ("train", "val", "test")
TASKS = ("detect", "segment", "pose", "obb")
"""The others have no images without labels."""


@dataclass(frozen=True, slots=True)
class _File:
    """The file with its lines."""

    file: str

    def content(
        self,
        before: bytes | None,
        ours: Sequence[Row],
        rows: Sequence[Row],
        read: Callable[[Row], bytes],  # noqa: ARG002 (it tells of images, and holds none)
    ) -> bytes | None:
        """The file with a line for each of our images, written as the last one of others is. A line of ours that others
        have put objects in is theirs, and stays.
        """
        if before is None:
            if rows:
                raise ExportError(f"{self.file} is gone: restore it, or export with --new")
            return None
        own = {row.name for row in (*ours, *rows)}
        theirs_by_now = {
            image.get("file") for line in before.splitlines() if (image := _image(line)) and not _is_negative(image)
        }

        def is_own(line: bytes) -> bool:
            image = _image(line)
            return image is not None and image.get("file") in own and _is_negative(image)

        told = [row for row in rows if row.name not in theirs_by_now]
        return with_own_lines(before, self.file, is_own, lambda theirs: _lines(theirs, told))


def _image(line: bytes) -> dict[str, Any] | None:
    """What a line says of an image, if it does."""
    try:
        found = json.loads(line.removeprefix(BOM)) if line.strip() else None
    except ValueError:
        return None
    return found if isinstance(found, dict) and "file" in found and found.get("type") != "dataset" else None


def _is_negative(image: Mapping[str, Any]) -> bool:
    annotations = image.get("annotations")
    return not annotations or (isinstance(annotations, dict) and not any(annotations.values()))


def _lines(theirs: Sequence[bytes], rows: Sequence[Row]) -> list[bytes]:
    """Lines with the keys, their order and the spaces of the last one of others."""
    last = next((line for line in reversed(theirs) if _image(line) is not None), None)
    style = last if last is not None else next((line for line in theirs if line.strip()), b"{}")
    colon = ":" if re.match(rb'\s*\{\s*"[^"]*":\S', style) else ": "
    comma = "," if colon == ":" else ", "
    like = list(_image(last) or ()) if last is not None else ["type", "file", "width", "height", "split", "annotations"]
    is_ascii = all(line.isascii() for line in theirs)
    lines = []
    for row in rows:
        values = {
            "type": "image",
            "file": row.name,
            "width": row.size[0],
            "height": row.size[1],
            "split": row.split,
            "annotations": {},
        }
        keys = [key for key in like if key in values]
        keys += [key for key in ("file", "split", "annotations") if key not in keys]
        line = json.dumps({key: values[key] for key in keys}, ensure_ascii=is_ascii, separators=(comma, colon))
        lines.append(line.encode())
    return lines


def _new_file(name: str, classes: Sequence[str]) -> bytes:
    header = {
        "type": "dataset",
        "task": "detect",
        "name": name,
        "path": ".",
        "class_names": {str(number): one for number, one in enumerate(classes)},
    }
    return (json.dumps(header, ensure_ascii=False) + "\n").encode()


def _read(path: Path, content: bytes) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The first line, and the images. Raises `ExportError` where Ultralytics would not read it either."""
    documents = []
    for number, line in enumerate(content.splitlines(), 1):
        try:
            found = json.loads(line) if line.strip() else None
        except ValueError as error:
            raise ExportError(f"{path}, line {number}, can't be read as JSON in UTF-8: {error}") from error
        if found is None:
            continue
        if not isinstance(found, dict):
            raise ExportError(f"{path}, line {number}, is no object: every line has to tell of the dataset or an image")
        documents.append(found)
    if not documents:
        raise ExportError(f"{path} is empty: its first line has to tell of the dataset (--new makes a file)")
    header, images = documents[0], documents[1:]
    task = header.get("task", "detect")
    if task not in TASKS:
        raise ExportError(f"{path} is for the task {task!r}: only {', '.join(TASKS)} have images without objects")
    if not header.get("path"):
        raise ExportError(
            f"{path} has no path in its first line, so all its images come from URLs, and new ones have none: upload "
            "the negatives instead (--format plain makes a folder of them)"
        )
    for image in images:
        if image.get("split") not in SPLITS or not isinstance(image.get("file"), str) or not image["file"]:
            raise ExportError(f"{path}: the image {image.get('file')!r} needs a split ({', '.join(SPLITS)}) and a file")
    return header, images


def _open(request: Request) -> Dataset:
    path = request.into
    if not path.is_file() and not request.new:
        raise ExportError(f"{path} doesn't exist; --new makes it")
    root = path.parent
    makes = {} if path.is_file() else {path.name: _new_file(path.stem, request.classes)}
    header, images = _read(path, makes.get(path.name) or content_of(path))
    folders = Folders()
    splits = []
    said = []
    taken: set[str] = set()
    lost = 0
    for split in SPLITS:
        folder = root / str(header["path"]) / "images" / split
        there = folders.images(folder)
        in_split = {image["file"]: image for image in images if image["split"] == split}
        if split == "test" and not (in_split or there):
            continue
        name = named(folder, root)
        held = tuple(
            Held(str(PurePosixPath(name) / file), there[file], _is_negative(image))
            for file, image in in_split.items()
            if file in there
        )
        lost += len(in_split) - len(held)
        taken |= {PurePosixPath(file).stem.casefold() for file in (*in_split, *there)}
        splits.append(Split(split, name, held))
        said.append(f"{split}: lines with this split, new images go to {name}")
    return Dataset(
        root=root,
        splits=tuple(splits),
        taken=frozenset(taken),
        said=tuple(said),
        warnings=(f"{path.name} names {lost} images that are not there",) if lost else (),
        makes=makes,
        id=path.name,
        indexes=lambda rows: [_File(path.name)] if rows else [],
    )


FORMAT = Format(
    name="ndjson",
    what="an Ultralytics NDJSON file whose images are on disk",
    claims=lambda into: into.suffix.lower() == ".ndjson",
    open=_open,
    guidance=(
        "Ultralytics keeps images without objects as they are: yolo train data=….ndjson needs no setting for them.",
        "Ultralytics copies the dataset anew whenever the file changes: older copies in its datasets folder can go.",
    ),
    new="negatives.ndjson",
)
