import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from service.domain.geometry import Box
from service.errors import ExportError
from service.export.formats import Request
from service.export.formats.plain import FORMAT
from service.export.manifest import write_manifest
from service.export.model import Dataset, Row
from tests.export.formats.factories import content, row, subsets, tree, write_tree

FIELD = tuple(
    row(f"field_neg_{name}.jpg", box=box)
    for name, box in (("0a", Box(10, 20, 60, 80)), ("0b", Box(100, 100, 164, 148)))
)
OTHER_FIELD = row("field_neg_ff.jpg", source="field.png")
LAWN = row("lawn_neg_0c.jpg")
ROWS = (*FIELD, OTHER_FIELD, LAWN)
METADATA = "field_negative_metadata.json"


def dataset(into: Path, *classes: str) -> Dataset:
    """The plain folder in a folder."""
    return FORMAT.open(Request(into, classes=classes))


def exported(data: Dataset, ours: tuple[Row, ...], rows: tuple[Row, ...]) -> dict[str, Any]:
    """Write the metadata and the manifest as an export does that goes from some rows to others; what is there then."""
    root = Path(data.root)
    root.mkdir(parents=True, exist_ok=True)
    changed = [one for one in (*ours, *rows) if one not in ours or one not in rows]
    for index in data.indexes(changed):
        path = root / index.file
        after = content(index, path.read_bytes() if path.exists() else None, (*ours, *rows), rows)
        path.unlink(missing_ok=True)
        if after is not None:
            path.write_bytes(after)
    (root / "negatives.jsonl").write_bytes(write_manifest(rows))
    return {path.name: json.loads(path.read_bytes()) for path in sorted(root.glob("*_negative_metadata.json"))}


def test_the_guides_six_keys_come_first(tmp_path: Path) -> None:
    """In the guide's order; then where the rest stands."""
    document = exported(dataset(tmp_path, "cells"), (), FIELD)[METADATA]
    assert list(document) == ["source_image", "roi", "num_patches", "patches", "purpose", "description", "provenance"]
    assert document == {
        "source_image": "field.jpg",
        "roi": [5, 5, 390, 290],
        "num_patches": 2,
        "patches": [
            {"id": 1, "x": 10, "y": 20, "width": 50, "height": 60},
            {"id": 2, "x": 100, "y": 100, "width": 64, "height": 48},
        ],
        "purpose": "negative_samples",
        "description": "Background regions with no cells",
        "provenance": {
            "tool": "label-studio-negatives",
            "manifest": "negatives.jsonl",
            "files": ["field_neg_0a.jpg", "field_neg_0b.jpg"],
        },
    }


@pytest.mark.parametrize(("classes", "words"), [((), "objects"), (("red cell", "spore"), "red cell or spore")])
def test_what_there_is_none_of(tmp_path: Path, classes: tuple[str, ...], words: str) -> None:
    """The classes, if somebody named them."""
    document = exported(dataset(tmp_path, *classes), (), FIELD)[METADATA]
    assert document["description"] == f"Background regions with no {words}"


def test_places_are_those_of_the_pictures(tmp_path: Path) -> None:
    """What was cut, on the grid of a JPEG's blocks, not what was asked for; in an original, in its own pixels."""
    aligned = row("field_neg_0a.jpg", cut=Box(16, 32, 60, 80))
    original = row("lawn_neg_0c.jpg", cut=Box(80, 160, 480, 640))
    documents = exported(dataset(tmp_path), (), (aligned, original))
    assert documents[METADATA]["patches"] == [{"id": 1, "x": 16, "y": 32, "width": 44, "height": 48}]
    assert documents[METADATA]["roi"] == [5, 5, 390, 290]
    assert documents["lawn_negative_metadata.json"]["patches"] == [
        {"id": 1, "x": 80, "y": 160, "width": 400, "height": 480}
    ]
    assert documents["lawn_negative_metadata.json"]["roi"] == [80, 160, 400, 480]


def test_two_images_of_one_stem(tmp_path: Path) -> None:
    """Each has metadata of its own; the first goes by the stem alone, also when another was the first before."""
    data = dataset(tmp_path)
    both = exported(data, (), ROWS)
    assert [document["source_image"] for document in both.values()] == ["field.png", "field.jpg", "lawn.jpg"]
    assert list(both)[1] == METADATA
    assert exported(data, ROWS, (OTHER_FIELD,)) == {METADATA: both[next(iter(both))]}


@settings(max_examples=60)
@given(subsets(ROWS))
def test_any_history_comes_to_the_same(tmp_path_factory: pytest.TempPathFactory, history: list[list[Row]]) -> None:
    """Whatever was exported and taken out in between; without rows nothing of ours is left."""
    data = dataset(tmp_path_factory.mktemp("one"))
    now: tuple[Row, ...] = ()
    for step in [*history, list(ROWS)]:
        rows = tuple(sorted(step, key=lambda one: one.file))
        documents = exported(data, now, rows)
        now = rows
    assert documents == exported(
        dataset(tmp_path_factory.mktemp("clean")), (), tuple(sorted(ROWS, key=lambda one: one.file))
    )
    assert exported(data, now, ()) == {}


def test_the_desktop_tools_metadata_is_not_touched(tmp_path: Path) -> None:
    """Ours of the same stem lies beside it."""
    theirs = b'{"source_image": "field.jpg", "num_patches": 1}'
    write_tree(tmp_path, {f"negative_samples/{METADATA}": theirs, "negative_samples/field_neg_1.jpg": ""})
    data = dataset(tmp_path)
    documents = exported(data, (), FIELD)
    assert (tmp_path / "negative_samples" / METADATA).read_bytes() == theirs
    assert [document["num_patches"] for document in documents.values()] == [2, 1]
    assert exported(data, FIELD, ()) == {METADATA: json.loads(theirs)}


def test_metadata_that_somebody_puts_there_meanwhile(tmp_path: Path) -> None:
    """Is not overwritten."""
    (index,) = dataset(tmp_path).indexes(FIELD)
    for theirs in (b'{"source_image": "field.jpg"}', b"[]", b"no JSON"):
        assert content(index, theirs, FIELD, FIELD) == theirs


def test_each_image_has_an_empty_label(tmp_path: Path) -> None:
    """Beside it."""
    assert dataset(tmp_path).sidecar(LAWN) == ("lawn_neg_0c.txt", b"")


def test_what_it_holds(tmp_path: Path) -> None:
    """All its images; one with something in its label is no negative any more."""
    write_tree(
        tmp_path / "negative_samples",
        {"a.jpg": "a", "a.txt": "", "b.PNG": "bb", "c.jpg": "c", "c.txt": " \n", "d.jpg": "d", "d.txt": "0 1 1 1 1\n"},
    )
    data = dataset(tmp_path)
    (split,) = data.splits
    assert (data.root, split.name, split.images) == (tmp_path / "negative_samples", "train", ".")
    assert {one.file: (one.bytes, one.is_negative) for one in split.held} == {
        "a.jpg": (1, True),
        "b.PNG": (2, True),
        "c.jpg": (1, True),
        "d.jpg": (1, False),
    }
    assert data.taken == {"a", "b", "c", "d"}


def test_a_folder_that_is_not_there_yet(tmp_path: Path) -> None:
    """Is made by whoever writes, not by who looks; a file is none."""
    assert dataset(tmp_path / "new").splits[0].held == ()
    assert tree(tmp_path) == {}
    (tmp_path / "file").touch()
    with pytest.raises(ExportError, match="is no folder"):
        dataset(tmp_path / "file")
