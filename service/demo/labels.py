"""A person's own labels, read from where labelling tools leave them: Pascal VOC XML or YOLO text.

Both kinds of box come out in image pixels, half-open, clamped to the image. A box that is empty, or lies
outside of the image, is skipped. A file that can't be read for certain is refused with its name and line: an
object that we overlook would end up in a negative.

- VOC: `xmin … xmax` is taken as `[xmin, xmax)`. The original VOC counted from 1 and included xmax; most tools
  that write the format today count from 0. Taken so, a box of the old kind lacks its leftmost column and its
  topmost row of pixels.
- YOLO: `class x y width height`, centre and size as shares of the image, rounded outward to whole pixels. A
  longer line is a polygon, `class x1 y1 x2 y2 x3 y3 …`, of which the bounds count.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from xml.etree import ElementTree
from xml.parsers import expat

import yaml

from service.domain.geometry import Box, outward
from service.errors import UsageError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
LABEL_FOLDERS = ("labels", "Labels", "annotations", "Annotations")
NAME_FILES = ("classes.txt", "data.yaml", "obj.names")
# Tools round shares to a few digits and let a box stick out a little; pixels in their place are far above 1.
SLACK_RELATIVE = 0.01


@dataclass(frozen=True, slots=True)
class LabelledBox:
    """An object's class name and its extent in image pixels."""

    name: str
    box: Box


def image_paths(directory: Path) -> tuple[Path, ...]:
    """The images that lie directly in this folder, sorted by name; raises `UsageError` when there is none."""
    if not directory.is_dir():
        raise UsageError(f"{directory} is not a folder; name the folder that holds your images")
    found = (path for path in directory.iterdir() if path.suffix.lower() in IMAGE_SUFFIXES)
    # Names with a leading dot are the file system's own ("._cell.jpg" of macOS).
    images = tuple(sorted(path for path in found if path.is_file() and not path.name.startswith(".")))
    if not images:
        kinds = ", ".join(suffix[1:] for suffix in IMAGE_SUFFIXES)
        raise UsageError(
            f"no image in {directory} (looked for {kinds}; folders inside it are not searched); "
            "name the folder that holds your images"
        )
    return images


def find_labels(image: Path, labels_dir: Path | None, size: tuple[int, int]) -> tuple[LabelledBox, ...]:
    """The objects that a person labelled in this image; none when there is no label file.

    `size` is the image's (width, height) in pixels. The label file has the image's stem and ends in .xml or
    .txt. It is looked for in `labels_dir` if that is given, else beside the image, else in a folder beside
    the image's own that is called labels or annotations, else where YOLO looks (`…/images/train/a.jpg`,
    `…/labels/train/a.txt`).

    Raises `UsageError`, with file and line, for a file that is malformed.
    """
    for folder in (labels_dir,) if labels_dir else _label_folders(image):
        voc, yolo = folder / f"{image.stem}.xml", folder / f"{image.stem}.txt"
        if voc.is_file():
            return tuple(_voc(voc, size))
        if yolo.is_file():
            return tuple(_yolo(yolo, size))
    return ()


def _label_folders(image: Path) -> tuple[Path, ...]:
    # By name, not through links: beside a linked folder is where the link lies.
    folder = Path(os.path.abspath(image)).parent  # noqa: PTH100
    found = [folder, *(folder.parent / name for name in LABEL_FOLDERS)]
    if "images" in folder.parts:
        last = len(folder.parts) - 1 - folder.parts[::-1].index("images")
        found.append(Path(*folder.parts[:last], "labels", *folder.parts[last + 1 :]))
    return tuple(found)


def _clamped(left: float, top: float, right: float, bottom: float, size: tuple[int, int]) -> Box | None:
    """Whole pixels of the image that cover this extent; None when there are none."""
    left, top = max(left, 0.0), max(top, 0.0)
    right, bottom = min(right, float(size[0])), min(bottom, float(size[1]))
    return outward(left, top, right, bottom) if left < right and top < bottom else None


# Pascal VOC


def _voc(path: Path, size: tuple[int, int]) -> Iterator[LabelledBox]:
    data = path.read_bytes()
    try:
        lines = _object_lines(path, data)
        root = ElementTree.fromstring(data)
    except (expat.ExpatError, ElementTree.ParseError, ValueError, LookupError) as error:
        raise UsageError(f"{path} is not well-formed XML: {error}") from error
    if root.tag != "annotation":
        raise UsageError(f"{path}, line 1: Pascal VOC starts with <annotation>, not <{root.tag}>")
    _check_size(path, root, size)
    for line, element in zip(lines, root.iter("object"), strict=True):
        try:
            labelled = _voc_object(element, size)
        except ValueError as error:
            raise UsageError(f"{path}, line {line}: {error}") from error
        if labelled:
            yield labelled


def _object_lines(path: Path, data: bytes) -> list[int]:
    """The line of each <object>, which ElementTree doesn't tell; refuses entities unexpanded."""
    lines: list[int] = []
    parser = expat.ParserCreate()

    def note(tag: str, _: object) -> None:
        if tag == "object":
            lines.append(parser.CurrentLineNumber)

    def refuse(*_: object) -> None:
        raise UsageError(
            f"{path}, line {parser.CurrentLineNumber}: a <!DOCTYPE> is not read, because it can hide a trap; "
            "remove it if you trust the file"
        )

    parser.StartElementHandler = note
    parser.StartDoctypeDeclHandler = refuse
    parser.Parse(data, True)
    return lines


def _check_size(path: Path, root: ElementTree.Element, size: tuple[int, int]) -> None:
    """Refuse labels of another size's image: its boxes would lie elsewhere. Many tools write 0, or none."""
    said = tuple((root.findtext(f"size/{side}") or "").strip() for side in ("width", "height"))
    if all(side.isdecimal() and int(side) > 0 for side in said) and said != tuple(map(str, size)):
        raise UsageError(
            f"{path} is for an image of {' × '.join(said)} px, but its image has {size[0]} × {size[1]} px; "
            "label this image, or restore the one that was labelled"
        )


def _voc_object(element: ElementTree.Element, size: tuple[int, int]) -> LabelledBox | None:
    name = (element.findtext("name") or "").strip()
    if not name:
        raise ValueError("the object has no <name>")
    sides = ("xmin", "ymin", "xmax", "ymax")
    left, top, right, bottom = (_number(element.findtext(f"bndbox/{side}"), side) for side in sides)
    if left > right or top > bottom:
        raise ValueError(f"the box of {name!r} is inside out: {left:g}, {top:g} to {right:g}, {bottom:g}")
    box = _clamped(left, top, right, bottom, size)
    return LabelledBox(name, box) if box else None


def _number(text: str | None, meaning: str) -> float:
    try:
        number = float(text or "")
    except ValueError:
        raise ValueError(f"{meaning} is {text!r}, not a number") from None
    if not isfinite(number):
        raise ValueError(f"{meaning} is {text!r}, not a number")
    return number


# YOLO


def _yolo(path: Path, size: tuple[int, int]) -> Iterator[LabelledBox]:
    names = _class_names(path.parent)
    for line, text in enumerate(_text(path).splitlines(), 1):
        if not text.strip():
            continue
        try:
            index, extent = _yolo_line(text)
        except ValueError as error:
            raise UsageError(f"{path}, line {line}: {error}") from error
        width, height = size
        left, top, right, bottom = extent
        box = _clamped(left * width, top * height, right * width, bottom * height, size)
        if box:
            yield LabelledBox(names.get(index) or f"class {index}", box)


def _yolo_line(text: str) -> tuple[int, tuple[float, float, float, float]]:
    """The class and the extent, left, top, right and bottom as shares of the image."""
    words = text.split()
    if len(words) < 5 or len(words) % 2 == 0:
        raise ValueError(f"{len(words)} words, but a box has 5 and a polygon 7, 9, 11, …")
    kind, *shares = (_number(word, "a value") for word in words)
    if kind < 0 or kind != int(kind):
        raise ValueError(f"the class is {words[0]}, not a whole number from 0")
    for word, share in zip(words[1:], shares, strict=True):
        if not -SLACK_RELATIVE <= share <= 1 + SLACK_RELATIVE:
            raise ValueError(f"{word} is not a share of the image's side, from 0 to 1")
    if len(shares) == 4:
        x, y, width, height = shares
        return int(kind), (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
    xs, ys = shares[::2], shares[1::2]
    return int(kind), (min(xs), min(ys), max(xs), max(ys))


def _class_names(labels_dir: Path) -> dict[int, str]:
    """Names by class number from the first of `NAME_FILES` beside the labels or up to two folders above."""
    folder = Path(os.path.abspath(labels_dir))  # noqa: PTH100 - by name, as above
    for place in (folder, *folder.parents[:2]):
        for path in (place / name for name in NAME_FILES):
            if path.is_file():
                return _names_of_yaml(path) if path.suffix == ".yaml" else _names_of_lines(path)
    return {}


def _names_of_lines(path: Path) -> dict[int, str]:
    return {index: name.strip() for index, name in enumerate(_text(path).splitlines())}


def _names_of_yaml(path: Path) -> dict[int, str]:
    """`names` of a data.yaml, which is a list or a mapping from class number to name."""
    try:
        content = yaml.safe_load(_text(path))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        raise UsageError(f"{path}, line {line}: not well-formed YAML; correct it, or move it away") from error
    names = content.get("names") if isinstance(content, dict) else None
    if isinstance(names, list):
        return {index: str(name) for index, name in enumerate(names)}
    if isinstance(names, dict) and all(isinstance(index, int) for index in names):
        return {index: str(name) for index, name in names.items()}
    raise UsageError(f"{path}: `names` is neither a list nor numbers with names; correct it, or move it away")


def _text(path: Path) -> str:
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UsageError(f"{path}, line {line}: not UTF-8; save the file as UTF-8") from error
