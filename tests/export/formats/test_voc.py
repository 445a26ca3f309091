import re
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import ExportError
from service.export.formats import Request
from service.export.formats.voc import FORMAT
from service.export.model import Dataset, Row
from tests.export.formats.factories import content, keeps_its_promises, row, rows_of, subsets, tree, write_tree

LABELLED = "<annotation><filename>cells.jpg</filename><object><name>cell</name></object></annotation>"
MAIN = "ImageSets/Main"
FILES = {
    "JPEGImages/cells.jpg": "cells",
    "JPEGImages/bare.jpg": "bare",
    "JPEGImages/look.jpg": "look",
    "JPEGImages/in no list.jpg": "",
    "Annotations/cells.xml": LABELLED,
    "Annotations/bare.xml": "<annotation><filename>bare.jpg</filename></annotation>",
    f"{MAIN}/train.txt": "cells\nbare\n",
    f"{MAIN}/val.txt": "look\n",
    f"{MAIN}/trainval.txt": "cells\nbare\nlook\n",
    f"{MAIN}/cell_train.txt": "cells  1\nbare -1\n",
    f"{MAIN}/notes.txt": "nothing of a split\n",
}
TRAIN = rows_of("JPEGImages/field_neg_1a2b3c4d.jpg", "JPEGImages/lawn_neg_7f7f7f7f.jpg")
VAL = rows_of("JPEGImages/moss_neg_00000001.jpg", split="val")
ALL = (*TRAIN, *VAL)


def dataset(folder: Path, files: Mapping[str, str] = FILES) -> Dataset:
    """A dataset of these files."""
    return FORMAT.open(Request(write_tree(folder, files)))


def exported(folder: Path, data: Dataset) -> dict[str, str]:
    """All lists as they should be with the rows in them."""
    return {
        index.file: (content(index, (folder / index.file).read_bytes(), (), ALL) or b"").decode()
        for index in data.indexes(ALL)
    }


# ---------------------------------------------------------------- lists


def test_the_lists_of_the_splits(tmp_path: Path) -> None:
    """A line in each that tells of the split, and -1 where a list says which images have a class."""
    assert exported(tmp_path, dataset(tmp_path)) == {
        f"{MAIN}/train.txt": "cells\nbare\nfield_neg_1a2b3c4d\nlawn_neg_7f7f7f7f\n",
        f"{MAIN}/val.txt": "look\nmoss_neg_00000001\n",
        f"{MAIN}/trainval.txt": "cells\nbare\nlook\nfield_neg_1a2b3c4d\nlawn_neg_7f7f7f7f\nmoss_neg_00000001\n",
        f"{MAIN}/cell_train.txt": "cells  1\nbare -1\nfield_neg_1a2b3c4d -1\nlawn_neg_7f7f7f7f -1\n",
    }


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("cells.jpg\n", "field_neg_1a2b3c4d.jpg"),
        ("JPEGImages/cells.jpg\n", "JPEGImages/field_neg_1a2b3c4d.jpg"),
        ("./cells\n\n", "./field_neg_1a2b3c4d"),
        ("v1.5 cells\n", "field_neg_1a2b3c4d"),
    ],
)
def test_lines_look_like_those_of_others(tmp_path: Path, theirs: str, ours: str) -> None:
    """With extension and folder where they have them."""
    data = dataset(tmp_path, {**FILES, f"{MAIN}/train.txt": theirs})
    after = exported(tmp_path, data)[f"{MAIN}/train.txt"]
    assert after.splitlines()[-2] == ours
    assert after.startswith(theirs)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("cells  1\n", "field_neg_1a2b3c4d -1"),
        ("bare\t-1\ncells\t1\n", "field_neg_1a2b3c4d\t-1"),
        ("bare -1  \n", "field_neg_1a2b3c4d -1"),
    ],
)
def test_lines_of_a_class_look_like_those_of_others(tmp_path: Path, theirs: str, ours: str) -> None:
    """What stands before their -1 stands before ours."""
    data = dataset(tmp_path, {**FILES, f"{MAIN}/cell_train.txt": theirs})
    assert exported(tmp_path, data)[f"{MAIN}/cell_train.txt"].splitlines()[-2] == ours


@pytest.mark.parametrize("theirs", ["", "cells\nbare\n", "cells 1\nbare\n", "cells 2\n"])
def test_a_list_that_only_looks_like_one_of_a_class(tmp_path: Path, theirs: str) -> None:
    """Stays as it is."""
    data = dataset(tmp_path, {**FILES, f"{MAIN}/my_train.txt": theirs})
    assert exported(tmp_path, data)[f"{MAIN}/my_train.txt"] == theirs


@settings(max_examples=100)
@given(
    st.lists(st.sampled_from(["cells", "bare -1", "look  1", "a b\t0 ", "x.jpg", "d/y", ""]), max_size=4),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
    st.sampled_from(["train.txt", "trainval.txt", "val.txt", "cell_trainval.txt"]),
    subsets(ALL),
)
def test_any_history_comes_to_the_same_and_undoing_gives_back_every_byte(
    tmp_path_factory: pytest.TempPathFactory,
    lines: list[str],
    end: str,
    ends: bool,
    name: str,
    history: list[list[Row]],
) -> None:
    """Whatever the lists look like."""
    theirs = end.join([*lines, ""] if ends else lines).encode()
    folder = tmp_path_factory.mktemp("voc")
    data = dataset(folder, {**FILES, f"{MAIN}/{name}": "cells\n"})
    (index,) = [one for one in data.indexes(ALL) if one.file == f"{MAIN}/{name}"]
    keeps_its_promises(index, theirs, ALL, history)


# ---------------------------------------------------------------- annotations


def test_an_annotation_without_objects(tmp_path: Path) -> None:
    """What readers ask for, in the devkit's order."""
    sidecar = dataset(tmp_path / "VOC2012").sidecar(TRAIN[0])
    assert sidecar is not None
    file, xml = sidecar
    root = ElementTree.fromstring(xml)
    assert file == "Annotations/field_neg_1a2b3c4d.xml"
    assert [child.tag for child in root] == ["folder", "filename", "source", "size", "segmented"]
    assert [(child.tag, child.text) for child in root.findall("size/*")] == [
        ("width", "50"),
        ("height", "60"),
        ("depth", "3"),
    ]
    assert (root.findtext("folder"), root.findtext("filename")) == ("VOC2012", "field_neg_1a2b3c4d.jpg")
    assert (root.findtext("source/image"), root.findtext("segmented")) == ("field.jpg", "0")


@pytest.mark.parametrize(("mode", "depth"), [("L", "1"), ("RGB", "3"), ("RGBA", "4"), ("I;16", "1"), ("RGB;16", "3")])
def test_how_many_channels(tmp_path: Path, mode: str, depth: str) -> None:
    """The depth is that of the image."""
    sidecar = dataset(tmp_path).sidecar(row("JPEGImages/a_neg_1.jpg", mode=mode))
    assert sidecar is not None
    assert ElementTree.fromstring(sidecar[1]).findtext("size/depth") == depth


def test_names_that_xml_has_other_plans_for(tmp_path: Path) -> None:
    """Are escaped."""
    sidecar = dataset(tmp_path).sidecar(row("JPEGImages/a<b&c_neg_1.jpg"))
    assert sidecar is not None
    assert ElementTree.fromstring(sidecar[1]).findtext("filename") == "a<b&c_neg_1.jpg"


def test_annotations_of_a_dataset_that_was_renamed(tmp_path: Path) -> None:
    """Are ours as they are; others are not."""
    data = dataset(tmp_path / "before")
    sidecar = data.sidecar(TRAIN[0])
    assert sidecar is not None
    (tmp_path / "before" / sidecar[0]).write_bytes(sidecar[1])
    (tmp_path / "before").rename(tmp_path / "after")
    renamed = FORMAT.open(Request(tmp_path / "after"))
    assert renamed.sidecar(TRAIN[0]) == sidecar
    (tmp_path / "after" / sidecar[0]).write_text(LABELLED)
    other = renamed.sidecar(TRAIN[0])
    assert other is not None
    assert b"<folder>after</folder>" in other[1]


# ---------------------------------------------------------------- the survey


def test_what_each_split_holds(tmp_path: Path) -> None:
    """As its list says; a negative has no object, or no annotation."""
    data = dataset(tmp_path)
    assert {one.name: [(held.file, held.bytes, held.is_negative) for held in one.held] for one in data.splits} == {
        "train": [("JPEGImages/cells.jpg", 5, False), ("JPEGImages/bare.jpg", 4, True)],
        "val": [("JPEGImages/look.jpg", 4, True)],
    }
    assert [one.images for one in data.splits] == ["JPEGImages"] * 2
    assert data.taken == {"cells", "bare", "look", "in no list"}


@pytest.mark.parametrize(
    ("lists", "wanted"),
    [
        ({"trainval": "cells\nlook\n", "test": "bare\n"}, {"train": ["cells", "look"], "test": ["bare"]}),
        ({"trainval": "cells\nlook\n", "val": "look\n"}, {"train": ["cells"], "val": ["look"]}),
        ({"trainval": "cells\nlook\n", "train": "cells\n"}, {"train": ["cells"], "val": ["look"]}),
        ({"val": "look.jpg\n"}, {"train": ["bare", "cells", "in no list"], "val": ["look"]}),
        ({}, {"train": ["bare", "cells", "in no list", "look"]}),
    ],
)
def test_lists_that_are_missing(tmp_path: Path, lists: dict[str, str], wanted: dict[str, list[str]]) -> None:
    """What is left of `trainval`, or of all images, is the split."""
    files = {name: held for name, held in FILES.items() if not name.startswith(MAIN)}
    data = dataset(tmp_path, {**files, **{f"{MAIN}/{name}.txt": held for name, held in lists.items()}})
    assert {one.name: [Path(held.file).stem for held in one.held] for one in data.splits} == wanted


def test_images_that_are_listed_and_lost(tmp_path: Path) -> None:
    """Are told of."""
    data = dataset(tmp_path, {**FILES, f"{MAIN}/train.txt": "cells\nnowhere\nlost\n"})
    assert data.warnings == ("train: 2 images are not in JPEGImages, the first: nowhere",)


def test_a_new_dataset(tmp_path: Path) -> None:
    """Empty lists for train, val and both; afterwards it is understood the same way."""
    data = FORMAT.open(Request(tmp_path, new=True))
    assert data.makes == {f"{MAIN}/{name}.txt": b"" for name in ("train", "trainval", "val")}
    write_tree(tmp_path, data.makes)
    again = FORMAT.open(Request(tmp_path))
    assert (again.splits, again.makes) == (data.splits, {})
    assert [one.name for one in again.splits] == ["train", "val"]
    assert [one.file for one in again.indexes(VAL)] == [f"{MAIN}/trainval.txt", f"{MAIN}/val.txt"]


def test_a_dataset_without_lists_gets_none(tmp_path: Path) -> None:
    """Lists of negatives only would hide its images."""
    files = {name: held for name, held in FILES.items() if not name.startswith(MAIN)}
    data = FORMAT.open(Request(write_tree(tmp_path, files), new=True))
    assert (data.makes, data.indexes(ALL)) == ({}, [])


def test_what_is_no_dataset(tmp_path: Path) -> None:
    """The refusal says what is."""
    with pytest.raises(ExportError, match=re.escape("has no JPEGImages and Annotations")):
        FORMAT.open(Request(tmp_path))
    (tmp_path / "file").touch()
    with pytest.raises(ExportError, match="is no folder"):
        FORMAT.open(Request(tmp_path / "file"))


def test_looking_touches_nothing(tmp_path: Path) -> None:
    """Opening is no writing."""
    dataset(tmp_path)
    before = tree(tmp_path)
    FORMAT.open(Request(tmp_path, new=True))
    assert tree(tmp_path) == before


def test_what_looks_like_it(tmp_path: Path) -> None:
    """Both folders."""
    (tmp_path / "JPEGImages").mkdir()
    assert not FORMAT.claims(tmp_path)
    (tmp_path / "Annotations").mkdir()
    assert FORMAT.claims(tmp_path)
