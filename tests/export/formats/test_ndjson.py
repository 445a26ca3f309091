import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import ExportError
from service.export.formats import Request
from service.export.formats.ndjson import FORMAT
from service.export.model import Dataset, Index, Row
from tests.export.formats.factories import content, keeps_its_promises, rows_of, subsets, tree, write_tree

HEADER = {"type": "dataset", "task": "detect", "path": ".", "class_names": {"0": "cell"}}
CELLS = {
    "type": "image",
    "file": "cells.jpg",
    "width": 640,
    "height": 480,
    "split": "train",
    "annotations": {"boxes": [[0, 0.5, 0.5, 0.1, 0.1]]},
}
BARE = {**CELLS, "file": "bare.jpg", "annotations": {}}
LOOK = {**CELLS, "file": "look.jpg", "split": "val", "annotations": {"boxes": []}}
TRAIN = rows_of("images/train/field_neg_1a2b3c4d.jpg", "images/train/lawn_neg_7f7f7f7f.png")
ROWS = (*TRAIN, *rows_of("images/val/moss_neg_00000001.jpg", split="val"))


def ndjson(*lines: object, **style: Any) -> str:
    """Lines of JSON."""
    return "".join(json.dumps(line, **style) + "\n" for line in lines)


def dataset(folder: Path, text: str | None = None) -> Dataset:
    """A dataset with the images that its file names."""
    text = ndjson(HEADER, CELLS, BARE, LOOK) if text is None else text
    images = {"images/train/cells.jpg": "cells", "images/train/bare.jpg": "bare", "images/val/look.jpg": "look"}
    write_tree(folder, {"data.ndjson": text, **images})
    return FORMAT.open(Request(folder / "data.ndjson"))


def index_of(data: Dataset) -> Index:
    """The file."""
    (index,) = data.indexes(ROWS)
    return index


def merged(data: Dataset, text: str) -> list[str]:
    """The lines of the file with the rows in it."""
    after = content(index_of(data), text.encode(), (), ROWS)
    assert after is not None
    return after.decode().splitlines()


def test_a_line_for_each(tmp_path: Path) -> None:
    """After those of others: file, size, split, and no annotations."""
    text = ndjson(HEADER, CELLS, LOOK)
    lines = merged(dataset(tmp_path), text)
    assert lines[:3] == text.splitlines()
    assert lines[3] == (
        '{"type": "image", "file": "field_neg_1a2b3c4d.jpg", "width": 50, "height": 60, "split": "train", '
        '"annotations": {}}'
    )
    assert [json.loads(line)["split"] for line in lines[3:]] == ["train", "train", "val"]


def test_lines_look_like_those_of_others(tmp_path: Path) -> None:
    """Their keys in their order, their spaces, their letters."""
    header = json.dumps({**HEADER, "name": "Wörth"}, ensure_ascii=False)
    theirs = json.dumps({"split": "train", "file": "cells.jpg", "id": 7, "annotations": {}}, separators=(",", ":"))
    lines = merged(dataset(tmp_path), f"{header}\n{theirs}\n")
    assert lines[2] == '{"split":"train","file":"field_neg_1a2b3c4d.jpg","annotations":{}}'


def test_a_file_without_images_yet(tmp_path: Path) -> None:
    """Spaces are those of its first line."""
    lines = merged(dataset(tmp_path), ndjson(HEADER, separators=(",", ":")))
    assert lines[1].startswith('{"type":"image","file":"field_neg_1a2b3c4d.jpg","width":50,"height":60,')


def test_an_image_of_ours_that_somebody_labelled_is_theirs(tmp_path: Path) -> None:
    """Its line stays, and is not there twice, also when we no longer have it."""
    data = dataset(tmp_path)
    lines = merged(data, ndjson(HEADER, CELLS))
    lines[2] = json.dumps({**json.loads(lines[2]), "annotations": {"boxes": [[0, 0.5, 0.5, 1, 1]]}})
    there = "".join(f"{line}\n" for line in lines).encode()
    assert content(index_of(data), there, ROWS, ROWS) == there
    without = content(index_of(data), there, ROWS, ())
    assert without is not None
    assert without.decode().splitlines() == lines[:3]


@settings(max_examples=200)
@given(
    st.lists(st.sampled_from([CELLS, BARE, LOOK, {"file": "ü.jpg"}, [], 3, {}]), max_size=4),
    st.sampled_from([{}, {"separators": (",", ":")}, {"ensure_ascii": False}]),
    st.sampled_from(["\n", "\r\n", "\n\n"]),
    st.booleans(),
    subsets(ROWS),
)
def test_any_history_comes_to_the_same_and_undoing_gives_back_every_byte(
    tmp_path_factory: pytest.TempPathFactory,
    images: list[object],
    style: dict[str, Any],
    end: str,
    ends: bool,
    history: list[list[Row]],
) -> None:
    """Whatever the file looks like."""
    lines = [json.dumps(one, **style) for one in (HEADER, *images)]
    theirs = end.join([*lines, ""] if ends else lines).encode()
    keeps_its_promises(index_of(dataset(tmp_path_factory.mktemp("ndjson"))), theirs, ROWS, history)


def test_what_each_split_holds(tmp_path: Path) -> None:
    """A negative has no annotations of any kind."""
    data = dataset(tmp_path)
    assert {one.name: [(held.file, held.bytes, held.is_negative) for held in one.held] for one in data.splits} == {
        "train": [("images/train/cells.jpg", 5, False), ("images/train/bare.jpg", 4, True)],
        "val": [("images/val/look.jpg", 4, True)],
    }
    assert data.taken == {"cells", "bare", "look"}
    assert data.root == tmp_path


def test_images_elsewhere(tmp_path: Path) -> None:
    """The first line's path leads there."""
    write_tree(tmp_path, {"work/data.ndjson": ndjson({**HEADER, "path": "../disk"}, {**CELLS, "split": "test"})})
    write_tree(tmp_path, {"disk/images/test/cells.jpg": "cells"})
    data = FORMAT.open(Request(tmp_path / "work" / "data.ndjson"))
    assert [one.images for one in data.splits] == [
        (tmp_path / "disk" / "images" / split).as_posix() for split in ("train", "val", "test")
    ]
    assert len(data.splits[2].held) == 1


def test_images_that_are_lost(tmp_path: Path) -> None:
    """Are told of, and their names stay taken."""
    data = dataset(tmp_path, ndjson(HEADER, CELLS, {**BARE, "file": "Lost.jpg"}))
    assert data.warnings == ("data.ndjson names 1 images that are not there",)
    assert "lost" in data.taken


def test_a_new_dataset(tmp_path: Path) -> None:
    """A first line with the classes; afterwards it is understood the same way."""
    data = FORMAT.open(Request(tmp_path / "new.ndjson", new=True, classes=("red cell", "white cell")))
    assert json.loads(data.makes["new.ndjson"]) == {
        "type": "dataset",
        "task": "detect",
        "name": "new",
        "path": ".",
        "class_names": {"0": "red cell", "1": "white cell"},
    }
    assert [one.name for one in data.splits] == ["train", "val"]
    write_tree(tmp_path, data.makes)
    again = FORMAT.open(Request(tmp_path / "new.ndjson"))
    assert (again.splits, again.makes) == (data.splits, {})


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is empty"),
        ("{\n", "line 1, can't be read as JSON"),
        ("[]\n", "line 1, is no object"),
        (ndjson({**HEADER, "task": "classify"}), "for the task 'classify'"),
        (ndjson({"type": "dataset"}), "has no path in its first line"),
        (ndjson(HEADER, {**CELLS, "split": "valid"}), "'cells.jpg' needs a split"),
        (ndjson(HEADER, {"split": "train"}), "None needs a split"),
    ],
)
def test_what_ultralytics_would_not_read_either(tmp_path: Path, text: str, why: str) -> None:
    """The refusal names file and reason."""
    with pytest.raises(ExportError, match=rf"data\.ndjson.*{why}"):
        dataset(tmp_path, text)


def test_no_such_file(tmp_path: Path) -> None:
    """It can be made."""
    with pytest.raises(ExportError, match="--new"):
        FORMAT.open(Request(tmp_path / "data.ndjson"))


def test_looking_touches_nothing(tmp_path: Path) -> None:
    """Opening is no writing."""
    dataset(tmp_path)
    before = tree(tmp_path)
    FORMAT.open(Request(tmp_path / "data.ndjson", new=True))
    assert tree(tmp_path) == before


def test_what_looks_like_it(tmp_path: Path) -> None:
    """Its extension."""
    assert FORMAT.claims(tmp_path / "data.ndjson")
    assert not FORMAT.claims(tmp_path / "data.json")
