"""People's labels, read from where labelling tools leave them: Pascal VOC XML, YOLO text or a COCO file.

All shapes come out in pixels of the upright image, on which labels are taken to be made. Boxes are half-open, rounded
outward and clamped to the image; polygons and masks are exact. A box that is empty, or a shape that lies outside of the
image, is skipped; a polygon that encloses nothing, a line or a point, marks the box around it. A file that can't be
read for certain is refused with its name and the place in it: an object that we overlook would end up in a negative.

- VOC: `xmin … xmax` is taken as `[xmin, xmax)`. The original VOC counted from 1 and included xmax; most tools
  that write the format today count from 0. Taken so, a box of the old kind lacks its leftmost column and its
  topmost row of pixels.
- YOLO: `class x y width height`, centre and size as shares of the image. A longer line is a polygon,
  `class x1 y1 x2 y2 x3 y3 …`; a rotated box (OBB) is one of four points.
- COCO (https://cocodataset.org/#format-data): an annotation is its `segmentation`, polygons or a run-length encoded
  mask, else its `bbox`. Crowds are objects too. Images without annotations were looked at; images that aren't listed
  were not.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from math import isfinite
from pathlib import Path
from reprlib import repr as shortened
from typing import Any
from xml.etree import ElementTree
from xml.parsers import expat

import numpy as np
import yaml

from service.batch import strict_json
from service.domain.geometry import Box, Painted, Point, Shape, closed, outward
from service.errors import UsageError
from service.raster import painted

Json = dict[str, Any]

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
LABEL_FOLDERS = ("labels", "Labels", "annotations", "Annotations")
NAME_FILES = ("classes.txt", "data.yaml", "obj.names")
# Tools round shares to a few digits and let a box stick out a little; pixels in their place are far above 1.
SLACK_RELATIVE = 0.01
MOST = 1e9  # pixels: no image has a side as long


@dataclass(frozen=True, slots=True)
class LabelledObject:
    """An object's class name, and what it covers in pixels of the upright image."""

    name: str
    shape: Shape

    @property
    def box(self) -> Box:
        """The smallest box around it; it sticks out of the image where a polygon does."""
        return self.shape.bounds


def image_paths(directory: Path, suffixes: Sequence[str] = IMAGE_SUFFIXES) -> tuple[Path, ...]:
    """The images that lie directly in this folder, sorted by name, of these kinds (lower case, with their dot).

    Raises `UsageError` when there is none.
    """
    if not directory.is_dir():
        raise UsageError(f"{directory} is not a folder; name the folder that holds your images")
    found = (path for path in directory.iterdir() if path.suffix.lower() in suffixes)
    # Names with a leading dot are the file system's own ("._cell.jpg" of macOS).
    images = tuple(sorted(path for path in found if path.is_file() and not path.name.startswith(".")))
    if not images:
        kinds = ", ".join(suffix[1:] for suffix in suffixes)
        raise UsageError(
            f"no image in {directory} (looked for {kinds}; folders inside it are not searched); "
            "name the folder that holds your images"
        )
    return images


class Labels:
    """What people labelled: in the folder or the COCO file (.json) that is named, else beside each image.

    A COCO file is read once, here. Raises `UsageError` when it is malformed, or when `source` is something else.
    """

    def __init__(self, source: Path | None = None) -> None:
        self._folder = source
        self._coco = _Coco(source) if source and source.suffix.lower() == ".json" and not source.is_dir() else None
        self._about = cache(_about)  # read once for each folder
        self._taken: dict[Path, Path] = {}
        if source and self._coco is None and not source.is_dir():
            raise UsageError(f"{source} is neither a folder nor a COCO file (.json); name what holds your labels")

    def of(self, image: Path, size: tuple[int, int]) -> tuple[LabelledObject, ...] | None:
        """The objects in this image: () when somebody looked and there is none, None when nobody looked.

        Nobody looked when there is no label file for the image, or when the COCO file doesn't list it. `size` is the
        upright image's (width, height) in pixels.

        A label file has the image's stem and ends in .xml or .txt. It is looked for in the folder that was named, else
        beside the image, else in a folder beside the image's own that is called labels or annotations, else where YOLO
        looks (`…/images/train/a.jpg`, `…/labels/train/a.txt`). In a COCO file, `file_name` is the end of the image's
        path; a bare name fits in any folder.

        Raises `UsageError`, with file and line or id, for what is malformed, made for an image of another size, or
        ambiguous.
        """
        if self._coco:
            return self._coco.of(image, size)
        path = _sole_label(image, (self._folder,) if self._folder else _label_folders(image))
        if path is None:
            return None
        here = Path(os.path.abspath(image))  # noqa: PTH100 - by name, as below
        if (other := self._taken.setdefault(path, here)) != here:
            raise UsageError(
                f"{path} could be for {other} and {here}; labels go with one image: rename one, or label it"
            )
        return tuple(_voc(path, size) if path.suffix == ".xml" else _yolo(path, size, self._about(path.parent)))


def _sole_label(image: Path, folders: Iterable[Path]) -> Path | None:
    """The one label file of an image; refuses two, as nobody knows which one counts."""
    candidates = (folder / f"{image.stem}{suffix}" for folder in folders for suffix in (".xml", ".txt"))
    found = [path for path in dict.fromkeys(candidates) if path.exists()]
    if len(found) > 1:
        raise UsageError(f"{found[0]} and {found[1]} could both be its labels; keep one, or name the folder of one")
    if found and not found[0].is_file():
        raise UsageError(f"{found[0]} is no file; move it away, or put the labels there")
    return found[0] if found else None


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
    is_empty = left >= right or top >= bottom
    return None if is_empty else outward(left, top, right, bottom).common(Box(0, 0, *size))


def _outline(points: tuple[Point, ...], size: tuple[int, int]) -> Shape | None:
    """The polygon, or what it marks when it encloses nothing; None when nothing of it lies in the image."""
    shape = closed(points)
    inside = shape.bounds.common(Box(0, 0, *size))
    return inside if inside is None or isinstance(shape, Box) else shape


def _another_size(what: str, said: Sequence[object], size: tuple[int, int]) -> UsageError:
    return UsageError(
        f"{what} is for an image of {said[0]} × {said[1]} px, but its image has {size[0]} × {size[1]} px; "
        "label this image, or restore the one that was labelled"
    )


# Pascal VOC


def _voc(path: Path, size: tuple[int, int]) -> Iterator[LabelledObject]:
    data = path.read_bytes()
    try:
        lines = _object_lines(path, data)
        root = ElementTree.fromstring(data)
    except (expat.ExpatError, ElementTree.ParseError, ValueError, LookupError) as error:
        raise UsageError(f"{path} is not well-formed XML: {error}") from error
    if root.tag != "annotation":
        raise UsageError(f"{path}, line 1: Pascal VOC starts with <annotation>, not <{root.tag}>")
    _check_size(path, root, size)
    elements = list(root.iter("object"))
    if len(elements) != len(lines):
        raise UsageError(f"{path}: an <object> has an XML namespace of its own, which is not read; remove its xmlns")
    for line, element in zip(lines, elements, strict=True):
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
    try:
        width, height = map(float, said)
    except ValueError:
        return
    if min(width, height) > 0 and (width, height) != size:
        raise _another_size(str(path), [side[:20] for side in said], size)


def _voc_object(element: ElementTree.Element, size: tuple[int, int]) -> LabelledObject | None:
    name = (element.findtext("name") or "").strip()
    if not name:
        raise ValueError("the object has no <name>")
    sides = ("xmin", "ymin", "xmax", "ymax")
    left, top, right, bottom = (_number(element.findtext(f"bndbox/{side}"), side) for side in sides)
    if left > right or top > bottom:
        raise ValueError(f"the box of {name!r} is inside out: {left:g}, {top:g} to {right:g}, {bottom:g}")
    box = _clamped(left, top, right, bottom, size)
    return LabelledObject(name, box) if box else None


def _number(text: str | None, meaning: str) -> float:
    try:
        number = float(text or "")
    except ValueError:
        raise ValueError(f"{meaning} is {text!r}, not a number") from None
    if not isfinite(number):
        raise ValueError(f"{meaning} is {text!r}, not a number")
    return number


# YOLO


def _yolo(path: Path, size: tuple[int, int], about: "_About") -> Iterator[LabelledObject]:
    for line, text in enumerate(_text(path).splitlines(), 1):
        if not text.strip():
            continue
        try:
            index, shape = _yolo_line(text, size, has_keypoints=about.has_keypoints)
        except ValueError as error:
            raise UsageError(f"{path}, line {line}: {error}") from error
        if shape:
            yield LabelledObject(about.names.get(index) or f"class {index}", shape)


def _yolo_line(text: str, size: tuple[int, int], *, has_keypoints: bool) -> tuple[int, Shape | None]:
    """The class and what the line marks in pixels, if anything; keypoints follow a box and lie on the object."""
    words = text.split()[: 5 if has_keypoints else None]
    if len(words) < 5 or len(words) % 2 == 0:
        raise ValueError(f"{len(words)} words, but a box has 5 and a polygon 7, 9, 11, …")
    kind, *shares = (_number(word, "a value") for word in words)
    if kind < 0 or kind != int(kind):
        raise ValueError(f"the class is {words[0]}, not a whole number from 0")
    for word, share in zip(words[1:], shares, strict=True):
        if not -SLACK_RELATIVE <= share <= 1 + SLACK_RELATIVE:
            raise ValueError(f"{word} is not a share of the image's side, from 0 to 1")
    xs, ys = ([share * side for share in shares[axis::2]] for axis, side in enumerate(size))
    if len(shares) > 4:
        return int(kind), _outline(tuple(zip(xs, ys, strict=True)), size)
    (x, width), (y, height) = xs, ys
    return int(kind), _clamped(x - width / 2, y - height / 2, x + width / 2, y + height / 2, size)


@dataclass(frozen=True, slots=True)
class _About:
    """What stands beside YOLO labels about all of them: names by class number, and whether they have keypoints."""

    names: Mapping[int, str] = field(default_factory=dict)
    has_keypoints: bool = False


def _about(labels_dir: Path) -> _About:
    """From the first of `NAME_FILES` beside the labels or up to two folders above."""
    folder = Path(os.path.abspath(labels_dir))  # noqa: PTH100 - by name, as above
    for place in (folder, *folder.parents[:2]):
        for path in (place / name for name in NAME_FILES):
            if path.is_file():
                return _about_in_yaml(path) if path.suffix == ".yaml" else _About(_names_of_lines(path))
    return _About()


def _names_of_lines(path: Path) -> dict[int, str]:
    return {index: name.strip() for index, name in enumerate(_text(path).splitlines())}


def _about_in_yaml(path: Path) -> _About:
    """A data.yaml: `names` is a list or a mapping from class number to name, `kpt_shape` tells of keypoints."""
    try:
        content = yaml.safe_load(_text(path))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = mark.line + 1 if mark else 1
        raise UsageError(f"{path}, line {line}: not well-formed YAML; correct it, or move it away") from error
    names = content.get("names") if isinstance(content, dict) else None
    if isinstance(names, list):
        names = dict(enumerate(names))
    if isinstance(names, dict) and all(isinstance(index, int) for index in names):
        return _About({index: str(name) for index, name in names.items()}, "kpt_shape" in content)
    raise UsageError(f"{path}: `names` is neither a list nor numbers with names; correct it, or move it away")


# COCO


@dataclass(frozen=True, slots=True)
class _Listed:
    """An image that a COCO file lists.

    `size` is (width, height) in pixels as the file says, 0 where it doesn't; `annotations` are as they were read, each
    with its place in the file's list.
    """

    id: int | str
    file_name: str
    size: tuple[float, float]
    annotations: list[tuple[int, Json]] = field(default_factory=list)

    @property
    def parts(self) -> tuple[str, ...]:
        """Folders and name, whichever system wrote them."""
        return tuple(part for part in re.split(r"[/\\]", self.file_name) if part not in ("", "."))


class _Coco:
    """A COCO file, read once: its images by name with their annotations, which are decoded when they are asked for."""

    def __init__(self, path: Path) -> None:
        self._path = path
        content = _json(path)
        listed: dict[int | str, _Listed] = {}
        for index, item in enumerate(self._items(content, "images")):
            with self._refusing("image", item, index):
                image = _listed(item)
                if image.id in listed:
                    raise ValueError(f"another image, {listed[image.id].file_name}, has the same id")
            listed[image.id] = image
        for index, item in enumerate(self._items(content, "annotations")):
            with self._refusing("annotation", item, index):
                image_id, _ = _id(item, "image_id"), _id(item, "category_id")
                if image_id not in listed:
                    raise ValueError(f"its image_id is {shortened(image_id)}, but no such image is listed")
            listed[image_id].annotations.append((index, item))
        self._names: dict[int | str, str] = {}
        for index, item in enumerate(self._items(content, "categories") if "categories" in content else ()):
            with self._refusing("category", item, index):
                self._names[_id(item, "id")] = str(item.get("name") or "")
        self._by_name: dict[str, list[_Listed]] = {}
        for image in listed.values():
            self._by_name.setdefault(image.parts[-1], []).append(image)
        self._taken: dict[int | str, Path] = {}

    def of(self, image: Path, size: tuple[int, int]) -> tuple[LabelledObject, ...] | None:
        """As `Labels.of`."""
        listed = self._find(image)
        if listed is None:
            return None
        if min(listed.size) > 0 and listed.size != size:
            what = f"{self._path}, image {listed.id} ({listed.file_name})"
            raise _another_size(what, [f"{side:g}" for side in listed.size], size)
        return tuple(one for index, item in listed.annotations for one in self._objects(index, item, size))

    def _find(self, image: Path) -> _Listed | None:
        """What is listed for this image, by its path as far as that is told: the same name in another folder is another
        image.
        """
        path = Path(os.path.abspath(image))  # noqa: PTH100 - by name, as above
        named = self._by_name.get(path.name, [])
        by_path = [one for one in named if path.parts[-len(one.parts) :] == one.parts]
        found = [one for one in by_path if len(one.parts) == max(len(other.parts) for other in by_path)]
        if len(found) > 1:
            both = " and ".join(f"{one.id} ({one.file_name})" for one in found[:2])
            raise UsageError(
                f"{self._path}: images {both} could both be {image}; "
                "give the images the folders that the file's file_name has, or correct file_name"
            )
        if found and (other := self._taken.setdefault(found[0].id, path)) != path:
            raise UsageError(
                f"{self._path}: image {found[0].id} ({found[0].file_name}) could be {other} and {path}; "
                "take folders with images of the same names one at a time, each with its own labels"
            )
        return found[0] if found else None

    def _objects(self, index: int, item: Json, size: tuple[int, int]) -> Iterator[LabelledObject]:
        name = self._names.get(item["category_id"]) or f"category {item['category_id']}"
        with self._refusing("annotation", item, index):
            shapes = _coco_shapes(item, size)
        for shape in shapes:
            yield LabelledObject(name, shape)

    def _items(self, content: Any, key: str) -> list[Any]:
        found = content.get(key) if isinstance(content, dict) else None
        if not isinstance(found, list):
            raise UsageError(
                f"{self._path}: there is no list of {key}, as COCO's annotation files have; "
                "name one, or a folder of YOLO or Pascal VOC labels"
            )
        return found

    @contextmanager
    def _refusing(self, kind: str, item: Any, index: int) -> Iterator[None]:
        """Say where, when an item is malformed: by its id, or by its place in the list if it has none."""
        try:
            yield
        except ValueError as error:
            named = item.get("id") if isinstance(item, dict) else None
            where = f"{kind} {named}" if isinstance(named, int | str) else f"{kind} number {index + 1} of the list"
            raise UsageError(f"{self._path}, {where}: {error}; correct it, or export the file again") from error


def _listed(item: Any) -> _Listed:
    image_id = _id(item, "id")
    file_name = item.get("file_name")
    width, height = (_coordinate(item.get(side) or 0, side) for side in ("width", "height"))
    listed = _Listed(image_id, file_name if isinstance(file_name, str) else "", (width, height))
    if not listed.parts:
        raise ValueError(f"its file_name is {shortened(file_name)}, not the name of an image")
    return listed


def _id(item: Any, key: str) -> int | str:
    found = item.get(key) if isinstance(item, dict) else None
    if not isinstance(found, int | str) or isinstance(found, bool):
        raise ValueError(f"its {key} is {shortened(found)}, not a whole number or a text")
    return found


def _coordinate(value: Any, meaning: str) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not abs(value) < MOST:
        raise ValueError(f"its {meaning} has {shortened(value)}, not a number of pixels")
    return float(value)


def _coco_shapes(item: Json, size: tuple[int, int]) -> list[Shape]:
    """What an annotation marks: its polygons or its mask; if nothing of these is in the image, its box."""
    segmentation = item.get("segmentation") or []
    if isinstance(segmentation, dict):
        found: list[Shape | None] = [_mask(segmentation, size)]
    elif isinstance(segmentation, list):
        found = [_ring(ring, size) for ring in segmentation if ring != []]
    else:
        raise ValueError("its segmentation is neither a list of polygons nor a run-length encoding")
    shapes = [shape for shape in found if shape]
    box = None if shapes else _bbox(item.get("bbox"), size)
    return [box] if box else shapes


def _bbox(bbox: Any, size: tuple[int, int]) -> Box | None:
    if not isinstance(bbox, list) or len(bbox) != 4:
        raise ValueError(f"its bbox is {shortened(bbox)}, not x, y, width and height")
    x, y, width, height = (_coordinate(value, "bbox") for value in bbox)
    if width < 0 or height < 0:
        raise ValueError(f"its bbox is inside out: {width:g} × {height:g} px")
    if 0 < max(x + width, y + height) <= 1 and min(x, y) >= 0:
        raise ValueError("its bbox lies in the first pixel: are these shares? COCO counts in pixels")
    return _clamped(x, y, x + width, y + height, size)


def _ring(ring: Any, size: tuple[int, int]) -> Shape | None:
    if not isinstance(ring, list) or len(ring) % 2:
        raise ValueError("a polygon of its segmentation is not a list x1, y1, x2, y2, …")
    values = [_coordinate(value, "segmentation") for value in ring]
    points = tuple(zip(values[::2], values[1::2], strict=True))
    for x, y in points:
        if not (-size[0] <= x <= 2 * size[0] and -size[1] <= y <= 2 * size[1]):
            raise ValueError(f"its segmentation has {x:g}, {y:g}, far outside of its image of {size[0]} × {size[1]} px")
    return _outline(points, size)


def _mask(segmentation: Json, size: tuple[int, int]) -> Painted | None:
    """The pixels of a run-length encoded mask; None when there is none.

    Runs of pixels that are not, and are, the object's follow one another, down the columns from the left.
    """
    width, height = size
    if segmentation.get("size") != [height, width]:
        said = segmentation.get("size")
        raise ValueError(
            f"its mask's size is {shortened(said)}, but height and width of its image are {height} and {width}"
        )
    counts = segmentation.get("counts")
    if isinstance(counts, str):
        counts = _uncompressed(counts)
    if not isinstance(counts, list) or not all(type(count) is int and count >= 0 for count in counts):
        raise ValueError("its mask's counts are not whole numbers from 0")
    if (total := sum(counts)) != width * height:
        raise ValueError(f"its mask's counts add up to {shortened(total)} pixels, not {width} × {height}")
    turns = np.cumsum(counts)
    starts, ends = turns[: len(turns) // 2 * 2 : 2], turns[1::2]
    starts, ends = starts[starts < ends], ends[starts < ends]
    if not len(starts):
        return None
    left, right = int(starts[0]) // height, (int(ends[-1]) - 1) // height + 1
    # Only the columns that have any: most objects are small.
    steps = np.zeros((right - left) * height + 1, dtype=np.int8)
    steps[starts - left * height] = 1
    steps[ends - left * height] -= 1
    found = painted(np.cumsum(steps[:-1], dtype=np.int8).astype(bool).reshape(right - left, height).T)
    assert found is not None
    return Painted(tuple(Box(left + box.left, box.top, left + box.right, box.bottom) for box in found.boxes))


def _uncompressed(text: str) -> list[int]:
    """The counts that COCO's compressed form stands for.

    A character holds six bits, from "0" on. The first five are the number's, from the lowest on; the sixth says that
    more follow; the fifth of the last is the sign. From the fourth on, a number is the difference from the one two
    before. As `rleFrString` reads it: https://github.com/cocodataset/cocoapi/blob/master/common/maskApi.c
    """
    counts: list[int] = []
    number = shift = 0
    for character in text:
        bits = ord(character) - ord("0")
        if not 0 <= bits < 64:
            raise ValueError(f"its mask's counts have {character!r}, which is not of COCO's compressed form")
        number |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            number -= (bits & 16) << (shift - 4)
            counts.append(number + (counts[-2] if len(counts) > 2 else 0))
            number = shift = 0
    if shift:
        raise ValueError("its mask's counts are cut off")
    return counts


def _json(path: Path) -> Any:
    try:
        return strict_json.loads(_text(path))
    except json.JSONDecodeError as error:
        raise UsageError(f"{path}, line {error.lineno}: not well-formed JSON; export the file again") from error
    except RecursionError as error:
        raise UsageError(f"{path}: not well-formed JSON; export the file again") from error
    except ValueError as error:
        raise UsageError(f"{path}: not well-formed JSON ({error}); export the file again") from error
    except OSError as error:
        raise UsageError(f"{path} can't be read ({error.strerror}); name a COCO file") from error


def _text(path: Path) -> str:
    data = path.read_bytes()
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise UsageError(f"{path}, line {line}: not UTF-8; save the file as UTF-8") from error
