import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from PIL import Image

from service.batch import labels as module
from service.batch.labels import LabelledObject, Labels, image_paths
from service.domain.geometry import Box, Painted, Polygon, Shape
from service.errors import UsageError
from service.raster import covered

BCCD = Path(__file__).resolve().parents[2].parent / "shared/data/bccd"
SIZE = (200, 100)


def write(path: Path, content: str | bytes) -> Path:
    """The file with this content, its folders made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def voc(*objects: str, head: str = "") -> str:
    """A VOC file with one object a line, the first on line 2."""
    return f"<annotation>\n{head}" + "".join(f"{one}\n" for one in objects) + "</annotation>\n"


def voc_object(left: object, top: object, right: object, bottom: object, *, name: str = "WBC") -> str:
    """One object, its box as given, right or wrong."""
    sides = zip(("xmin", "ymin", "xmax", "ymax"), (left, top, right, bottom), strict=True)
    corners = "".join(f"<{side}>{value}</{side}>" for side, value in sides)
    return f"<object><name>{name}</name><bndbox>{corners}</bndbox></object>"


def objects(image: Path) -> tuple[LabelledObject, ...]:
    """What is labelled in this image of `SIZE`, which somebody looked at."""
    found = Labels().of(image, SIZE)
    assert found is not None
    return found


# Images


def test_images_are_listed_sorted_whatever_the_case_of_their_suffix(tmp_path: Path) -> None:
    """All kinds of images in any case, sorted by name; nothing hidden, no folder, no other file."""
    for name in ("b.JPG", "a.jpeg", "d.Png", "c.bmp", "e.webp", "h.tif", "g.TIFF", "f.txt", "._a.jpg", "inner/x.jpg"):
        write(tmp_path / name, "")
    (tmp_path / "folder.jpg").mkdir()
    names = [path.name for path in image_paths(tmp_path)]
    assert names == ["a.jpeg", "b.JPG", "c.bmp", "d.Png", "e.webp", "g.TIFF", "h.tif"]


def test_only_the_kinds_that_were_asked_for_are_listed(tmp_path: Path) -> None:
    """Who can't use every kind names those it can; the message names them too."""
    write(tmp_path / "a.tif", "")
    with pytest.raises(UsageError, match=r"looked for jpg, png;"):
        image_paths(tmp_path, (".jpg", ".png"))
    write(tmp_path / "b.PNG", "")
    assert [path.name for path in image_paths(tmp_path, (".jpg", ".png"))] == ["b.PNG"]


def test_a_folder_without_images_is_refused(tmp_path: Path) -> None:
    """No image: the message names the folder and says what to do."""
    write(tmp_path / "notes.txt", "")
    with pytest.raises(UsageError, match=r"no image in .*; name the folder that holds your images"):
        image_paths(tmp_path)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """A path that is no folder: the message says what to do."""
    with pytest.raises(UsageError, match="nowhere is not a folder; name the folder"):
        image_paths(tmp_path / "nowhere")


# Where labels are looked for


@pytest.mark.parametrize(
    ("image", "label"),
    [
        ("a.jpg", "a.xml"),
        ("set/pictures/a.jpg", "set/labels/a.xml"),
        ("set/pictures/a.jpg", "set/Labels/a.xml"),
        ("set/pictures/a.jpg", "set/annotations/a.xml"),
        ("set/JPEGImages/a.jpg", "set/Annotations/a.xml"),
        ("set/images/train/a.jpg", "set/labels/train/a.xml"),
        ("images/set/images/train/a.jpg", "images/set/labels/train/a.xml"),
    ],
)
def test_labels_are_found_where_tools_leave_them(tmp_path: Path, image: str, label: str) -> None:
    """Beside the image, in a sibling folder for labels, or where YOLO replaces the last /images/."""
    write(tmp_path / label, voc(voc_object(1, 2, 30, 40)))
    assert objects(write(tmp_path / image, "")) == (LabelledObject("WBC", Box(1, 2, 30, 40)),)


def test_a_path_relative_to_the_current_folder_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`../images/a.jpg`, seen from elsewhere, has the same labels."""
    write(tmp_path / "labels/a.xml", voc(voc_object(1, 2, 30, 40)))
    write(tmp_path / "images/inner/x", "")
    monkeypatch.chdir(tmp_path / "images/inner")
    assert len(objects(Path("../a.jpg"))) == 1


def test_a_folder_that_was_named_is_the_only_one(tmp_path: Path) -> None:
    """With a folder named, labels beside the image don't count."""
    image = write(tmp_path / "a.jpg", "")
    write(tmp_path / "a.xml", voc(voc_object(1, 2, 30, 40)))
    mine = tmp_path / "mine"
    mine.mkdir()
    assert Labels(mine).of(image, SIZE) is None
    write(mine / "a.txt", "0 0.5 0.5 0.5 0.5\n")
    assert Labels(mine).of(image, SIZE) == (LabelledObject("class 0", Box(50, 25, 150, 75)),)


@pytest.mark.parametrize("name", ["nowhere", "labels.csv", "nowhere.json"])
def test_what_can_hold_no_labels_is_refused(tmp_path: Path, name: str) -> None:
    """A source that isn't there, or is neither a folder nor JSON: refused at once, and not found empty."""
    write(tmp_path / "labels.csv", "a.jpg,1,2,3,4")
    with pytest.raises(UsageError, match=rf"{name}.*; name (what holds your labels|a COCO file)"):
        Labels(tmp_path / name)


@pytest.mark.parametrize(("name", "empty"), [("a.txt", "\n"), ("a.txt", ""), ("a.xml", "<annotation/>")])
def test_unlabelled_is_not_the_same_as_empty(tmp_path: Path, name: str, empty: str) -> None:
    """No label file: None, because nobody looked. An empty one: no objects, because somebody looked."""
    assert Labels().of(tmp_path / "a.jpg", SIZE) is None
    write(tmp_path / name, empty)
    assert Labels().of(tmp_path / "a.jpg", SIZE) == ()


def test_an_object_tells_its_box() -> None:
    """The box is the smallest of whole pixels around the shape."""
    assert LabelledObject("WBC", Polygon(((1.5, 2), (9.2, 3), (4, 8.1)))).box == Box(1, 2, 10, 9)


# Pascal VOC


@pytest.mark.skipif(not BCCD.is_dir(), reason="BCCD doesn't lie beside the checkout")
def test_real_voc_labels_are_read() -> None:
    """BCCD as published: every object, inside its image; the one empty box among them is skipped."""
    images = image_paths(BCCD / "images")
    labels, found = Labels(), {}
    for image in images:
        with Image.open(image) as opened:
            found[image.stem] = labels.of(image, opened.size) or ()
    everything = [one for objects in found.values() for one in objects]
    assert len(images) == 46
    assert len(everything) == 645 - 1
    assert {one.name for one in everything} == {"RBC", "WBC", "Platelets"}
    assert all(Box(0, 0, 640, 480).holds(one.box) for one in everything)
    assert found["BloodImage_00000"][0] == LabelledObject("WBC", Box(260, 177, 491, 376))


@pytest.mark.parametrize(
    ("sides", "expected"),
    [
        ((-5, -5, 30, 40), Box(0, 0, 30, 40)),
        ((150, 50, 900, 900), Box(150, 50, 200, 100)),
        ((1.4, 2.6, 30.2, 39.5), Box(1, 2, 31, 40)),
        ((10, 10, 10, 40), None),
        ((10, 10, 40, 10), None),
        ((200, 10, 260, 40), None),
        ((10, -30, 40, 0), None),
        ((199.9995, 10, 200, 40), None),
    ],
)
def test_voc_boxes_are_half_open_and_clamped(tmp_path: Path, sides: tuple[float, ...], expected: Box | None) -> None:
    """xmin to xmax is [xmin, xmax), cut to the image, rounded outward; nothing left of it: skipped."""
    write(tmp_path / "a.xml", voc(voc_object(*sides)))
    found = [one.shape for one in objects(tmp_path / "a.jpg")]
    assert found == ([expected] if expected else [])


GOOD = voc_object(1, 2, 30, 40)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (voc(GOOD, voc_object("ten", 2, 30, 40)), "line 3: xmin is 'ten', not a number"),
        (voc(GOOD, voc_object("nan", 2, 30, 40)), "line 3: xmin is 'nan', not a number"),
        (voc(GOOD, GOOD, "<object><name>WBC</name></object>"), "line 4: xmin is None, not a number"),
        (voc(voc_object(1, 2, 30, 40, name=" ")), "line 2: the object has no <name>"),
        (voc(voc_object(30, 2, 1, 40)), "line 2: the box of 'WBC' is inside out"),
        (voc(GOOD)[:-8], "not well-formed XML: .*line 3"),
        ("", "not well-formed XML: .*line 1"),
        ("<slide/>", "line 1: Pascal VOC starts with <annotation>, not <slide>"),
        ("<annotation>\xe9</annotation>".encode("latin-1"), "not well-formed XML: .*line 1"),
        ("<?xml version='1.0' encoding='klingon'?><annotation/>", "not well-formed XML"),
    ],
)
def test_malformed_voc_is_refused_with_file_and_line(tmp_path: Path, content: str | bytes, complaint: str) -> None:
    """An object that can't be read isn't overlooked: the message names file and line."""
    write(tmp_path / "a.xml", content)
    with pytest.raises(UsageError, match=rf"a\.xml.*{complaint}"):
        objects(tmp_path / "a.jpg")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("doctype", ['<!DOCTYPE annotation [<!ENTITY a "aaaa">]>', "<!DOCTYPE annotation>"])
def test_a_document_type_is_refused(tmp_path: Path, doctype: str, encoding: str) -> None:
    """No DTD and no entity is read, in whatever encoding it hides."""
    write(tmp_path / "a.xml", f"{doctype}\n{voc(GOOD)}".encode(encoding))
    with pytest.raises(UsageError, match=r"a\.xml, line 1: a <!DOCTYPE> is not read"):
        objects(tmp_path / "a.jpg")


def test_labels_of_another_size_are_refused(tmp_path: Path) -> None:
    """Labels of an image before it was resized would lie elsewhere."""
    write(tmp_path / "a.xml", voc(GOOD, head="<size><width>400</width><height>200</height></size>"))
    with pytest.raises(UsageError, match=r"a\.xml is for an image of 400 × 200 px, .* has 200 × 100 px"):
        objects(tmp_path / "a.jpg")


@pytest.mark.parametrize("said", [("200", "100"), ("0", "0"), ("", "")])
def test_the_right_size_or_none_is_fine(tmp_path: Path, said: tuple[str, str]) -> None:
    """Many tools write 0 for a size that they don't know."""
    head = f"<size><width>{said[0]}</width><height>{said[1]}</height></size>"
    write(tmp_path / "a.xml", voc(GOOD, head=head))
    assert len(objects(tmp_path / "a.jpg")) == 1


# YOLO


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("0 0.5 0.5 0.5 0.5", Box(50, 25, 150, 75)),
        ("0 0.5 0.5 0.501 0.501", Box(49, 24, 151, 76)),
        ("0 0.05 0.5 0.2 0.5", Box(0, 25, 30, 75)),
        ("0.0 0.5 0.5 1.0 1.0", Box(0, 0, 200, 100)),
        ("0 0.5 0.5 0 0.5", None),
        ("0 0.25 0.25 0.5 0.25 0.5 0.75 0.25 0.5", Polygon(((50, 25), (100, 25), (100, 75), (50, 50)))),
        ("0 0.25 0.25 0.5 0.25 0.25 1.01", Polygon(((50, 25), (100, 25), (50, 101)))),
        ("0 0.25 0.5 0.5 0.5 0.75 0.5", Box(50, 50, 150, 51)),
        ("0 0.25 0.5 0.25 0.5 0.25 0.5", Box(50, 50, 51, 51)),
        ("0 0.25 0.5 0.5 0.5 1.01 0.5", Box(50, 50, 200, 51)),
        ("0 1 0.2 1 0.4 1.01 0.2", None),
    ],
)
def test_yolo_lines_become_pixels(tmp_path: Path, line: str, expected: Shape | None) -> None:
    """A box is rounded outward and cut to the image, a polygon exact; a flat one marks the box around it. What is an
    empty box, or outside of the image, is skipped.
    """
    write(tmp_path / "a.txt", line)
    found = [one.shape for one in objects(tmp_path / "a.jpg")]
    assert found == ([expected] if expected else [])


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("0 0.5 0.5 0.5", "4 words, but a box has 5"),
        ("0 0.5 0.5 0.5 0.5 0.9", "6 words, but a box has 5"),
        ("0 0.5 0.5 wide 0.5", "a value is 'wide', not a number"),
        ("0 0.5 0.5 inf 0.5", "a value is 'inf', not a number"),
        ("-1 0.5 0.5 0.5 0.5", "the class is -1"),
        ("1.5 0.5 0.5 0.5 0.5", "the class is 1.5"),
        ("0 120 50 30 30", "120 is not a share"),
        ("0 0.5 0.5 -0.5 0.5", "-0.5 is not a share"),
        (b"0 0.5 0.5 0.5 0.5 \xff", "not UTF-8"),
    ],
)
def test_malformed_yolo_is_refused_with_file_and_line(tmp_path: Path, line: str | bytes, complaint: str) -> None:
    """A line that can't be read isn't overlooked: the message names file and line."""
    content = line if isinstance(line, bytes) else line.encode()
    write(tmp_path / "a.txt", b"0 0.5 0.5 0.5 0.5\n\n" + content)
    with pytest.raises(UsageError, match=rf"a\.txt, line 3: {complaint}"):
        objects(tmp_path / "a.jpg")


@pytest.mark.parametrize("place", ["set/labels/train", "set/labels", "set"])
@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("classes.txt", "RBC\r\nWBC\r\n"),
        ("obj.names", "\ufeffRBC\nWBC"),
        ("data.yaml", "nc: 2\nnames: [RBC, WBC]\n"),
        ("data.yaml", "names:\n  0: RBC\n  1: WBC\n"),
    ],
)
def test_yolo_class_names_are_found(tmp_path: Path, place: str, name: str, content: str) -> None:
    """Names come from beside the labels or up to two folders above; a class without one has its number."""
    write(tmp_path / place / name, content)
    write(tmp_path / "set/labels/train/a.txt", "1 0.5 0.5 0.5 0.5\n0 0.5 0.5 0.5 0.5\n7 0.5 0.5 0.5 0.5\n")
    assert [one.name for one in objects(tmp_path / "set/images/train/a.jpg")] == ["WBC", "RBC", "class 7"]


@pytest.mark.parametrize(
    ("content", "complaint"), [("a: [\nb: {", "line 2: not well-formed"), ("names: 3", "`names` is neither")]
)
def test_malformed_class_names_are_refused(tmp_path: Path, content: str, complaint: str) -> None:
    """A data.yaml that can't be read is named, not guessed around."""
    write(tmp_path / "data.yaml", content)
    write(tmp_path / "a.txt", "0 0.5 0.5 0.5 0.5")
    with pytest.raises(UsageError, match=rf"data\.yaml.*{complaint}"):
        objects(tmp_path / "a.jpg")


def test_each_folder_has_its_own_class_names(tmp_path: Path) -> None:
    """Names are read once for each folder: those of one aren't taken for another's."""
    for folder, name in (("one", "RBC"), ("two", "WBC")):
        write(tmp_path / folder / "classes.txt", name)
        write(tmp_path / folder / "a.txt", "0 0.5 0.5 0.5 0.5")
    labels = Labels()
    found = [labels.of(tmp_path / folder / "a.jpg", SIZE) for folder in ("one", "two", "one")]
    assert [one.name for objects in found for one in objects or ()] == ["RBC", "WBC", "RBC"]


# COCO

TRIANGLE = [10, 10, 50, 10, 10, 30.5]
AS_POLYGON = Polygon(((10, 10), (50, 10), (10, 30.5)))


def image_entry(number: object = 1, file_name: object = "a.jpg", **more: object) -> dict[str, Any]:
    """An image of `SIZE` as COCO lists it."""
    return {"id": number, "file_name": file_name, "width": SIZE[0], "height": SIZE[1], **more}


def annotation(**more: object) -> dict[str, Any]:
    """Annotation 7, of image 1, right but for what is given."""
    return {"id": 7, "image_id": 1, "category_id": 2, "bbox": [10, 20, 30, 40], **more}


def coco(path: Path, *annotations: object, images: object = None, **more: object) -> Path:
    """A COCO file with these annotations, of image 1 unless other images are given."""
    listed = [image_entry()] if images is None else images
    categories = [{"id": 2, "name": "WBC", "supercategory": "cell"}]
    content = {"info": {}, "images": listed, "annotations": annotations, "categories": categories, **more}
    return write(path, json.dumps(content))


def in_coco(tmp_path: Path, *annotations: object, **more: object) -> tuple[LabelledObject, ...]:
    """What a COCO file with these annotations says of image 1."""
    found = Labels(coco(tmp_path / "coco.json", *annotations, **more)).of(tmp_path / "a.jpg", SIZE)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, [Box(10, 20, 40, 60)]),
        ({"bbox": [10.4, 20.6, 30, 40]}, [Box(10, 20, 41, 61)]),
        ({"bbox": [-5, 90, 30, 40]}, [Box(0, 90, 25, 100)]),
        ({"bbox": [10, 20, 0, 40]}, []),
        ({"bbox": [200, 20, 30, 40]}, []),
        ({"segmentation": None}, [Box(10, 20, 40, 60)]),
        ({"segmentation": []}, [Box(10, 20, 40, 60)]),
        ({"segmentation": [[]]}, [Box(10, 20, 40, 60)]),
        ({"segmentation": [TRIANGLE]}, [AS_POLYGON]),
        ({"segmentation": [TRIANGLE], "bbox": None}, [AS_POLYGON]),
        ({"segmentation": [TRIANGLE, [60, 60, 70, 60, 70, 70]]}, [AS_POLYGON, Polygon(((60, 60), (70, 60), (70, 70)))]),
        ({"segmentation": [[-3, 10, 50, 10, 10, 104]]}, [Polygon(((-3, 10), (50, 10), (10, 104)))]),
        ({"segmentation": [[10, 10, 50, 10]]}, [Box(10, 10, 50, 11)]),
        ({"segmentation": [[10, 10.5, 50, 10.5, 30, 10.5]]}, [Box(10, 10, 50, 11)]),
        ({"segmentation": [[10, 10, 50, 30, 30, 20]]}, [Box(10, 10, 50, 30)]),
        ({"segmentation": [[10, 10]]}, [Box(10, 10, 11, 11)]),
        ({"segmentation": [[-30, 10, -10, 10, -10, 30]]}, [Box(10, 20, 40, 60)]),
        ({"segmentation": [[-30, 10, -10, 10, -10, 30], TRIANGLE]}, [AS_POLYGON]),
        ({"segmentation": {"size": [100, 200], "counts": [20000]}}, [Box(10, 20, 40, 60)]),
        ({"segmentation": {"size": [100, 200], "counts": [0, 20000]}}, [Painted((Box(0, 0, 200, 100),))]),
        ({"segmentation": {"size": [100, 200], "counts": [203, 5, 19792]}}, [Painted((Box(2, 3, 3, 8),))]),
        (
            {"segmentation": {"size": [100, 200], "counts": [203, 5, 19792]}, "iscrowd": 1},
            [Painted((Box(2, 3, 3, 8),))],
        ),
        ({"iscrowd": 1}, [Box(10, 20, 40, 60)]),
    ],
)
def test_coco_annotations_become_shapes(tmp_path: Path, given: dict[str, Any], expected: list[Shape]) -> None:
    """Polygons and masks are exact, one object for each polygon; without any in the image the box counts, rounded
    outward and cut. Flat polygons mark the box around them. Crowds are objects.
    """
    assert in_coco(tmp_path, annotation(**given)) == tuple(LabelledObject("WBC", shape) for shape in expected)


def test_coco_names_come_from_the_categories(tmp_path: Path) -> None:
    """A category that isn't listed, or has no name, is told by its number; without categories all are."""
    listed = [{"id": 2, "name": "WBC"}, {"id": 3, "name": ""}]
    marked = [annotation(category_id=number) for number in (7, 2, 3)]
    assert [one.name for one in in_coco(tmp_path, *marked, categories=listed)] == ["category 7", "WBC", "category 3"]
    content = {"images": [image_entry()], "annotations": marked[1:2]}
    labels = Labels(write(tmp_path / "bare.JSON", json.dumps(content)))
    assert labels.of(tmp_path / "a.jpg", SIZE) == (LabelledObject("category 2", Box(10, 20, 40, 60)),)


def test_listed_without_annotations_is_not_the_same_as_not_listed(tmp_path: Path) -> None:
    """Of a listed image somebody said that it is empty; of another nobody said anything, whatever lies beside it."""
    labels = Labels(
        coco(tmp_path / "coco.json", annotation(image_id=5), images=[image_entry(), image_entry(5, "b.jpg")])
    )
    write(tmp_path / "c.txt", "")
    assert labels.of(tmp_path / "a.jpg", SIZE) == ()
    assert len(labels.of(tmp_path / "b.jpg", SIZE) or ()) == 1
    assert labels.of(tmp_path / "c.jpg", SIZE) is None
    assert labels.of(tmp_path / "a.png", SIZE) is None


@pytest.mark.parametrize(
    ("listed", "image", "expected"),
    [
        (["a.jpg"], "set/a.jpg", 0),
        (["train/a.jpg"], "set/train/a.jpg", 0),
        (["train/a.jpg", "./val/a.jpg"], "set/val/a.jpg", 1),
        (["train\\a.jpg"], "set/train/a.jpg", 0),
        (["train/a.jpg", "val/a.jpg"], "set/val/a.jpg", 1),
        (["train/a.jpg", "val/a.jpg"], "set/train/a.jpg", 0),
        (["a.jpg", "val/a.jpg"], "set/val/a.jpg", 1),
        (["a.jpg", "val/a.jpg"], "set/a.jpg", 0),
        (["a/b/a.jpg", "b/a.jpg"], "a/b/a.jpg", 0),
        (["/home/me/pictures/a.jpg"], "elsewhere/a.jpg", None),
        (["C:\\pictures\\a.jpg"], "elsewhere/a.jpg", None),
        (["train/a.jpg", "val/b.jpg"], "set/val/a.jpg", None),
        (["train/a.jpg", "x/val/b.jpg"], "x/val/a.jpg", None),
        (["b.jpg"], "set/a.jpg", None),
        (["xa.jpg"], "a.jpg", None),
    ],
)
def test_coco_images_are_found_by_path(tmp_path: Path, listed: list[str], image: str, expected: int | None) -> None:
    """The longest path that fits counts; the same name in another folder is another image."""
    entries = [image_entry(number, file_name) for number, file_name in enumerate(listed)]
    marked = [annotation(image_id=number, bbox=[number, 0, 10, 10]) for number in range(len(listed))]
    found = Labels(coco(tmp_path / "coco.json", *marked, images=entries)).of(tmp_path / image, SIZE)
    assert (found and found[0].box.left) == expected


def test_a_coco_path_relative_to_the_current_folder_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`a.jpg` in the folder val is val/a.jpg, and so is `../val/a.jpg`."""
    (tmp_path / "val").mkdir()
    monkeypatch.chdir(tmp_path / "val")
    entries = [image_entry(1, "train/a.jpg"), image_entry(2, "val/a.jpg")]
    labels = Labels(coco(tmp_path / "coco.json", annotation(image_id=2), images=entries))
    for image in ("a.jpg", "../val/a.jpg"):
        assert len(labels.of(Path(image), SIZE) or ()) == 1


@pytest.mark.parametrize("listed", [["a.jpg", "a.jpg"]])
def test_an_image_that_could_be_either_is_refused(tmp_path: Path, listed: list[str]) -> None:
    """Two images of its path: the message names both."""
    entries = [image_entry(number, file_name) for number, file_name in enumerate(listed, 3)]
    labels = Labels(coco(tmp_path / "coco.json", images=entries))
    with pytest.raises(UsageError, match=rf"coco\.json: images 3 \({listed[0]}\) and 4 \({listed[1]}\) could both be"):
        labels.of(tmp_path / "a.jpg", SIZE)


def test_labels_are_one_images_only(tmp_path: Path) -> None:
    """Two images of one name in two folders can't both be the one that is listed; the same image may be asked twice."""
    labels = Labels(coco(tmp_path / "coco.json"))
    for _ in range(2):
        assert labels.of(tmp_path / "train/a.jpg", SIZE) == ()
    with pytest.raises(UsageError, match=r"image 1 \(a\.jpg\) could be .*train/a\.jpg and .*val/a\.jpg; take folders"):
        labels.of(tmp_path / "val/a.jpg", SIZE)


def test_coco_labels_of_another_size_are_refused(tmp_path: Path) -> None:
    """Labels of an image before it was resized would lie elsewhere; the message tells both sizes."""
    labels = Labels(coco(tmp_path / "coco.json", images=[image_entry(width=100, height=200)]))
    complaint = r"coco\.json, image 1 \(a\.jpg\) is for an image of 100 × 200 px, .* has 200 × 100 px"
    with pytest.raises(UsageError, match=complaint):
        labels.of(tmp_path / "a.jpg", SIZE)


@pytest.mark.parametrize("side", [0, None])
def test_a_coco_size_that_is_not_told_is_fine(tmp_path: Path, side: int | None) -> None:
    """Some tools write no size, or 0."""
    assert in_coco(tmp_path, images=[image_entry(width=side, height=side)]) == ()


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"bbox": None}, "its bbox is None, not x, y, width and height"),
        ({"bbox": [1, 2, 3]}, r"its bbox is \[1, 2, 3\], not x"),
        ({"bbox": [1, 2, -3, 4]}, "its bbox is inside out: -3 × 4 px"),
        ({"bbox": [1, 2, "3", 4]}, "its bbox has '3', not a number of pixels"),
        ({"bbox": [1, 2, float("nan"), 4]}, "its bbox has nan"),
        ({"bbox": [1, 2, float("inf"), 4]}, "its bbox has inf"),
        ({"bbox": [1, 2, 10**400, 4]}, "its bbox has 1000"),
        ({"bbox": [1, 2, True, 4]}, "its bbox has True"),
        ({"segmentation": [TRIANGLE[:5]]}, "a polygon of its segmentation is not a list"),
        ({"segmentation": TRIANGLE}, "a polygon of its segmentation is not a list"),
        ({"segmentation": [[*TRIANGLE[:5], float("nan")]]}, "its segmentation has nan"),
        (
            {"segmentation": [[*TRIANGLE, 500, 10]]},
            "its segmentation has 500, 10, far outside of its image of 200",
        ),
        ({"segmentation": [[*TRIANGLE, 50, -101]]}, "its segmentation has 50, -101, far outside"),
        ({"segmentation": "a1b2"}, "its segmentation is neither a list of polygons nor"),
        ({"segmentation": {"counts": [20000]}}, "its mask's size is None, but height and width .* are 100 and 200"),
        ({"segmentation": {"size": [200, 100], "counts": [20000]}}, r"its mask's size is \[200, 100\], but"),
        ({"segmentation": {"size": [100, 200]}}, "its mask's counts are not whole numbers"),
        ({"segmentation": {"size": [100, 200], "counts": [5.5, 19994.5]}}, "its mask's counts are not whole numbers"),
        ({"segmentation": {"size": [100, 200], "counts": [20001, -1]}}, "its mask's counts are not whole numbers"),
        (
            {"segmentation": {"size": [100, 200], "counts": [5, 6]}},
            "its mask's counts add up to 11 pixels, not 200 × 100",
        ),
        ({"segmentation": {"size": [100, 200], "counts": []}}, "its mask's counts add up to 0 pixels"),
        ({"segmentation": {"size": [100, 200], "counts": [5, 10**400]}}, "its mask's counts add up to"),
        ({"segmentation": {"size": [100, 200], "counts": "b0 0"}}, "its mask's counts have ' ', which"),
        ({"segmentation": {"size": [100, 200], "counts": "b0ä"}}, "its mask's counts have 'ä', which"),
        ({"segmentation": {"size": [100, 200], "counts": "P"}}, "its mask's counts are cut off"),
        ({"segmentation": {"size": [100, 200], "counts": "O1"}}, "its mask's counts are not whole numbers"),
    ],
)
def test_a_malformed_coco_annotation_is_refused_with_its_id(
    tmp_path: Path, given: dict[str, Any], complaint: str
) -> None:
    """An object that can't be read isn't overlooked: the message names the file, the annotation and what to do."""
    with pytest.raises(UsageError, match=rf"coco\.json, annotation 7: {complaint}.*; correct it, or export"):
        in_coco(tmp_path, annotation(id=6), annotation(**given))


@pytest.mark.parametrize(
    ("images", "annotations", "complaint"),
    [
        ([image_entry()], [annotation(image_id=5)], "annotation 7: its image_id is 5, but no such image is listed"),
        ([image_entry()], [annotation(image_id="1")], "annotation 7: its image_id is '1', but no such image is listed"),
        ([image_entry()], [annotation(image_id=[1])], r"annotation 7: its image_id is \[1\], not a whole number"),
        ([image_entry()], [annotation(image_id=True)], "annotation 7: its image_id is True, not a whole number"),
        ([image_entry()], [annotation(category_id=None)], "annotation 7: its category_id is None, not a whole number"),
        ([image_entry()], [annotation(), {"bbox": []}], "annotation number 2 of the list: its image_id is None"),
        ([image_entry()], [3], "annotation number 1 of the list: its image_id is None"),
        ([image_entry(), image_entry(1, "b.jpg")], [], "image 1: another image, a.jpg, has the same id"),
        ([image_entry(None)], [], "image number 1 of the list: its id is None"),
        ([image_entry(file_name=None)], [], "image 1: its file_name is None, not the name of an image"),
        ([image_entry(file_name="/")], [], "image 1: its file_name is '/', not the name of an image"),
        ([image_entry(width="200")], [], "image 1: its width has '200', not a number of pixels"),
        ([image_entry(height=float("nan"))], [], "image 1: its height has nan, not a number of pixels"),
        (["a.jpg"], [], "image number 1 of the list: its id is None"),
    ],
)
def test_a_coco_file_that_does_not_hold_together_is_refused_at_once(
    tmp_path: Path, images: list[object], annotations: list[object], complaint: str
) -> None:
    """Objects that belong to no certain image would be overlooked: refused before any image is looked at."""
    path = coco(tmp_path / "coco.json", *annotations, images=images)
    with pytest.raises(UsageError, match=rf"coco\.json, {complaint}.*; correct it, or export"):
        Labels(path)


def test_an_annotation_without_an_id_is_told_by_its_place(tmp_path: Path) -> None:
    """Also where it is decoded only when its image's turn comes."""
    with pytest.raises(UsageError, match=r"annotation number 2 of the list: its bbox is \[\]"):
        in_coco(tmp_path, annotation(), annotation(id=None, bbox=[]))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ('{"images": [],\n"annotations": [}', "line 2: not well-formed JSON"),
        ("", "line 1: not well-formed JSON"),
        ("[" * 100_000, "not well-formed JSON"),
        ('{"images": ' + "1" * 5000 + "}", "not well-formed JSON"),
        (b'{"images":\n"\xff"}', "line 2: not UTF-8"),
        ("[]", "there is no list of images"),
        ('{"images": {}, "annotations": []}', "there is no list of images"),
        ('{"images": []}', "there is no list of annotations"),
        ('{"images": [], "annotations": [], "categories": {}}', "there is no list of categories"),
    ],
)
def test_what_is_no_coco_file_is_refused(tmp_path: Path, content: str | bytes, complaint: str) -> None:
    """A list of images without annotations, too: nobody looked at these."""
    path = write(tmp_path / "coco.json", content)
    with pytest.raises(UsageError, match=rf"coco\.json.*{complaint}.*; "):
        Labels(path)


def pixels(shape: Shape, width: int, height: int) -> NDArray[np.bool_]:
    """The mask that a shape covers, by painting its pixels one box after the other."""
    mask = np.zeros((height, width), bool)
    for left, top, right, bottom in covered([shape]).tolist():
        assert not mask[top:bottom, left:right].any()
        mask[top:bottom, left:right] = True
    return mask


def column_counts(mask: NDArray[np.bool_]) -> list[int]:
    """COCO's counts, pixel by pixel down the columns: how many aren't the object's, how many are, and so on."""
    counts, last = [0], False
    for pixel in mask.T.ravel().tolist():
        if pixel != last:
            counts.append(0)
        counts[-1], last = counts[-1] + 1, pixel
    return counts


def compressed(counts: list[int]) -> str:
    """COCO's compressed counts, written digit by digit in base 32 from its description: not as our reader does it."""
    text = ""
    for index, count in enumerate(counts):
        number = count - counts[index - 2] if index > 2 else count
        digits = 1
        while not -(32**digits) // 2 <= number < 32**digits // 2:
            digits += 1
        places = [(number % 32**digits) // 32**place % 32 for place in range(digits)]
        text += "".join(chr(48 + digit + 32 * (place < digits - 1)) for place, digit in enumerate(places))
    return text


MASKS = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12))


@given(MASKS, st.booleans(), st.lists(st.integers(0, 143), max_size=3))
def test_a_mask_comes_back_pixel_by_pixel(mask: NDArray[np.bool_], is_compressed: bool, splits: list[int]) -> None:
    """Whatever is encoded, compressed or not, with empty runs in between or not, is painted; nothing for nothing."""
    height, width = mask.shape
    counts = column_counts(mask)
    for split in splits:  # one run becomes two, with an empty one in between
        place = split % len(counts)
        first = split % (counts[place] + 1)
        counts[place : place + 1] = [first, 0, counts[place] - first]
    given = compressed(counts) if is_compressed else counts
    found = module._mask({"size": [height, width], "counts": given}, (width, height))
    if found is None:
        assert not mask.any()
    else:
        assert np.array_equal(pixels(found, width, height), mask)


@given(st.lists(st.integers(0, 2**40), max_size=8))
def test_compressed_counts_come_back(counts: list[int]) -> None:
    """Counts of any size and number."""
    assert module._uncompressed(compressed(counts)) == counts


ROWS, COLUMNS = np.mgrid[:7, :11]
BIG_ROWS, BIG_COLUMNS = np.mgrid[:100, :200]
WIDE = (BIG_COLUMNS >= 60) & (BIG_COLUMNS < 140) & (BIG_ROWS >= 3) & (BIG_ROWS < 97)
NARROW = (BIG_COLUMNS == 50) & (BIG_ROWS >= 20) & (BIG_ROWS < 70)


@pytest.mark.parametrize(
    ("counts", "mask"),
    [
        ("f0520000000d0", (COLUMNS - 5) ** 2 + (ROWS - 3) ** 2 <= 8),
        ("0]2", ROWS >= 0),
        ("0150j10VN0", np.isin(ROWS * 11 + COLUMNS, [0, 10, 66, 76])),
        ("77700000000", COLUMNS % 2 == 1),
        ("ll4b1Um0\\1QSO" + "0" * 157 + "]P1SM\\j3", WIDE | NARROW | ((BIG_COLUMNS == 150) & (BIG_ROWS == 40))),
    ],
)
def test_masks_are_read_as_cocos_own_tools_write_them(tmp_path: Path, counts: str, mask: NDArray[np.bool_]) -> None:
    """The counts were written by pycocotools 2.0.11, `mask.encode`."""
    height, width = mask.shape
    marked = annotation(segmentation={"size": [height, width], "counts": counts})
    path = coco(tmp_path / "coco.json", marked, images=[image_entry(width=width, height=height)])
    (found,) = Labels(path).of(tmp_path / "a.jpg", (width, height)) or ()
    assert np.array_equal(pixels(found.shape, width, height), mask)


QUARTERS = st.integers(-8, 80).map(lambda number: number / 4)


@given(st.lists(st.tuples(QUARTERS, QUARTERS), min_size=1, max_size=6))
@example([(5, 0), (5, 5), (10, 5), (5, 5)])
def test_no_polygon_marks_nothing(points: list[tuple[float, float]]) -> None:
    """A polygon with a corner in the image, not just on its edge, marks a pixel, however flat it is."""
    shape = module._outline(tuple(points), (20, 20))
    if any(0 < x < 20 and 0 < y < 20 for x, y in points):
        assert shape is not None
        assert len(covered([shape]))


# ---------------------------------------------------------------- never somebody else's labels


def test_two_label_files_of_one_image_are_refused(tmp_path: Path) -> None:
    """An empty one would hide the objects of the other."""
    write(tmp_path / "a.xml", "<annotation/>")
    write(tmp_path / "a.txt", "0 0.5 0.5 1 1")
    with pytest.raises(UsageError, match=r"a\.xml and .*a\.txt could both be its labels"):
        Labels().of(tmp_path / "a.jpg", SIZE)


def test_a_label_file_serves_one_image(tmp_path: Path) -> None:
    """Asked again for the same one it answers; for another of the same stem it doesn't."""
    write(tmp_path / "l" / "a.txt", "0 0.5 0.5 1 1")
    labels = Labels(tmp_path / "l")
    assert labels.of(tmp_path / "x" / "a.jpg", SIZE) == labels.of(tmp_path / "x" / "a.jpg", SIZE)
    with pytest.raises(UsageError, match="labels go with one image"):
        labels.of(tmp_path / "y" / "a.jpg", SIZE)


def test_a_folder_in_the_place_of_labels_is_refused(tmp_path: Path) -> None:
    """It doesn't count as no labels."""
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(UsageError, match="is no file"):
        Labels().of(tmp_path / "a.jpg", SIZE)


def test_keypoints_are_no_polygon(tmp_path: Path) -> None:
    """Where data.yaml tells of keypoints, a line's box counts, not the points that follow it."""
    write(tmp_path / "data.yaml", "names: [cell]\nkpt_shape: [2, 2]")
    write(tmp_path / "a.txt", "0 0.5 0.5 1 1 0.45 0.45 0.46 0.46")
    (found,) = Labels().of(tmp_path / "a.jpg", SIZE) or ()
    assert found.shape == Box(0, 0, *SIZE)


def test_a_size_told_with_a_fraction_is_compared(tmp_path: Path) -> None:
    """Boxes for an image of another size would lie elsewhere."""
    write(tmp_path / "a.xml", "<annotation><size><width>4000.0</width><height>3000.0</height></size></annotation>")
    with pytest.raises(UsageError, match="is for an image of"):
        Labels().of(tmp_path / "a.jpg", SIZE)


@pytest.mark.parametrize(
    "inner",
    ['<object xmlns="http://x"><name>a</name></object>', f"<size><width>{'9' * 5000}</width><height>1</height></size>"],
)
def test_odd_xml_is_refused_with_a_sentence(tmp_path: Path, inner: str) -> None:
    """Not with a traceback that ends the whole batch."""
    write(tmp_path / "a.xml", f"<annotation>{inner}</annotation>")
    with pytest.raises(UsageError, match=r"a\.xml"):
        Labels().of(tmp_path / "a.jpg", SIZE)


def test_a_coco_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    """The second list would silently replace the first, objects and all."""
    write(tmp_path / "c.json", '{"images": [], "annotations": [{"id": 1}], "annotations": []}')
    with pytest.raises(UsageError, match="'annotations' stands twice"):
        Labels(tmp_path / "c.json")


def test_coco_shares_are_refused(tmp_path: Path) -> None:
    """A box within the first pixel was meant as shares of the image."""
    labels = Labels(coco(tmp_path / "c.json", annotation(bbox=[0.1, 0.1, 0.5, 0.5])))
    with pytest.raises(UsageError, match="COCO counts in pixels"):
        labels.of(tmp_path / "a.jpg", SIZE)
