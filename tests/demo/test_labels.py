from pathlib import Path

import pytest
from PIL import Image

from service.demo.labels import LabelledBox, find_labels, image_paths
from service.domain.geometry import Box
from service.errors import UsageError

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


# Images


def test_images_are_listed_sorted_whatever_the_case_of_their_suffix(tmp_path: Path) -> None:
    """jpg, jpeg, png, bmp and webp in any case, sorted by name; nothing hidden, no folder, no other file."""
    for name in ("b.JPG", "a.jpeg", "d.Png", "c.bmp", "e.webp", "f.txt", "._a.jpg", "inner/x.jpg"):
        write(tmp_path / name, "")
    (tmp_path / "folder.jpg").mkdir()
    assert [path.name for path in image_paths(tmp_path)] == ["a.jpeg", "b.JPG", "c.bmp", "d.Png", "e.webp"]


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
    found = find_labels(write(tmp_path / image, ""), None, SIZE)
    assert found == (LabelledBox("WBC", Box(1, 2, 30, 40)),)


def test_a_path_relative_to_the_current_folder_works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`../images/a.jpg`, seen from elsewhere, has the same labels."""
    write(tmp_path / "labels/a.xml", voc(voc_object(1, 2, 30, 40)))
    write(tmp_path / "images/inner/x", "")
    monkeypatch.chdir(tmp_path / "images/inner")
    assert len(find_labels(Path("../a.jpg"), None, SIZE)) == 1


def test_a_folder_that_was_named_is_the_only_one(tmp_path: Path) -> None:
    """With `labels_dir`, labels beside the image don't count."""
    image = write(tmp_path / "a.jpg", "")
    write(tmp_path / "a.xml", voc(voc_object(1, 2, 30, 40)))
    mine = tmp_path / "mine"
    assert find_labels(image, mine, SIZE) == ()
    write(mine / "a.txt", "0 0.5 0.5 0.5 0.5\n")
    assert find_labels(image, mine, SIZE) == (LabelledBox("class 0", Box(50, 25, 150, 75)),)


def test_an_image_without_labels_has_no_objects(tmp_path: Path) -> None:
    """No label file, or an empty one: no objects, because such images exist."""
    assert find_labels(tmp_path / "a.jpg", None, SIZE) == ()
    write(tmp_path / "a.txt", "\n")
    assert find_labels(tmp_path / "a.jpg", None, SIZE) == ()


# Pascal VOC


def test_real_voc_labels_are_read() -> None:
    """BCCD as published: every object, inside its image; the one empty box among them is skipped."""
    images = image_paths(BCCD / "images")
    found = {}
    for image in images:
        with Image.open(image) as opened:
            found[image.stem] = find_labels(image, None, opened.size)
    everything = [one for labels in found.values() for one in labels]
    assert len(images) == 46
    assert len(everything) == 645 - 1
    assert {one.name for one in everything} == {"RBC", "WBC", "Platelets"}
    assert all(Box(0, 0, 640, 480).holds(one.box) for one in everything)
    assert found["BloodImage_00000"][0] == LabelledBox("WBC", Box(260, 177, 491, 376))


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
    ],
)
def test_voc_boxes_are_half_open_and_clamped(tmp_path: Path, sides: tuple[float, ...], expected: Box | None) -> None:
    """xmin to xmax is [xmin, xmax), cut to the image, rounded outward; nothing left of it: skipped."""
    write(tmp_path / "a.xml", voc(voc_object(*sides)))
    found = [one.box for one in find_labels(tmp_path / "a.jpg", None, SIZE)]
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
        find_labels(tmp_path / "a.jpg", None, SIZE)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
@pytest.mark.parametrize("doctype", ['<!DOCTYPE annotation [<!ENTITY a "aaaa">]>', "<!DOCTYPE annotation>"])
def test_a_document_type_is_refused(tmp_path: Path, doctype: str, encoding: str) -> None:
    """No DTD and no entity is read, in whatever encoding it hides."""
    write(tmp_path / "a.xml", f"{doctype}\n{voc(GOOD)}".encode(encoding))
    with pytest.raises(UsageError, match=r"a\.xml, line 1: a <!DOCTYPE> is not read"):
        find_labels(tmp_path / "a.jpg", None, SIZE)


def test_labels_of_another_size_are_refused(tmp_path: Path) -> None:
    """Labels of an image before it was resized would lie elsewhere."""
    write(tmp_path / "a.xml", voc(GOOD, head="<size><width>400</width><height>200</height></size>"))
    with pytest.raises(UsageError, match=r"a\.xml is for an image of 400 × 200 px, .* has 200 × 100 px"):
        find_labels(tmp_path / "a.jpg", None, SIZE)


@pytest.mark.parametrize("said", [("200", "100"), ("0", "0"), ("", "")])
def test_the_right_size_or_none_is_fine(tmp_path: Path, said: tuple[str, str]) -> None:
    """Many tools write 0 for a size that they don't know."""
    head = f"<size><width>{said[0]}</width><height>{said[1]}</height></size>"
    write(tmp_path / "a.xml", voc(GOOD, head=head))
    assert len(find_labels(tmp_path / "a.jpg", None, SIZE)) == 1


# YOLO


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("0 0.5 0.5 0.5 0.5", Box(50, 25, 150, 75)),
        ("0 0.5 0.5 0.501 0.501", Box(49, 24, 151, 76)),
        ("0 0.05 0.5 0.2 0.5", Box(0, 25, 30, 75)),
        ("0.0 0.5 0.5 1.0 1.0", Box(0, 0, 200, 100)),
        ("0 0.1 0.2 0.3 0.2 0.301 0.6 0.2 0.7", Box(20, 20, 61, 70)),
        ("0 0.1 0.2 0.3 0.2 0.2 1.005", Box(20, 20, 60, 100)),
        ("0 0.5 0.5 0 0.5", None),
    ],
)
def test_yolo_lines_become_pixels(tmp_path: Path, line: str, expected: Box | None) -> None:
    """Boxes, and the bounds of polygons, rounded outward and cut to the image; an empty one is skipped."""
    write(tmp_path / "a.txt", line)
    found = [one.box for one in find_labels(tmp_path / "a.jpg", None, SIZE)]
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
        find_labels(tmp_path / "a.jpg", None, SIZE)


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
    found = find_labels(tmp_path / "set/images/train/a.jpg", None, SIZE)
    assert [one.name for one in found] == ["WBC", "RBC", "class 7"]


@pytest.mark.parametrize(
    ("content", "complaint"), [("a: [\nb: {", "line 2: not well-formed"), ("names: 3", "`names` is neither")]
)
def test_malformed_class_names_are_refused(tmp_path: Path, content: str, complaint: str) -> None:
    """A data.yaml that can't be read is named, not guessed around."""
    write(tmp_path / "data.yaml", content)
    write(tmp_path / "a.txt", "0 0.5 0.5 0.5 0.5")
    with pytest.raises(UsageError, match=rf"data\.yaml.*{complaint}"):
        find_labels(tmp_path / "a.jpg", None, SIZE)
