import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import ExportError
from service.export.formats import Request
from service.export.formats.coco import FORMAT
from service.export.manifest import write_manifest
from service.export.model import Dataset, Index, Row
from tests.export.formats.factories import content, keeps_its_promises, row, rows_of, subsets, tree, write_tree

IMAGE = {"id": 1, "file_name": "cells.jpg", "width": 640, "height": 480}
BARE = {"id": 2, "file_name": "bare.jpg", "width": 64, "height": 48}
BOX = {"id": 9, "image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "area": 12, "iscrowd": 0}
THREE = rows_of(
    "images/train/field_neg_1a2b3c4d.jpg", "images/train/field_neg_00000001.jpg", "images/train/lawn_neg_7f7f7f7f.png"
)


def coco(*images: dict[str, Any], annotations: tuple[dict[str, Any], ...] = (BOX,), **more: Any) -> dict[str, Any]:
    """A small COCO document."""
    return {
        "info": {"year": 2026},
        "images": list(images),
        "annotations": list(annotations),
        "categories": [{"id": 1, "name": "cell"}],
        **more,
    }


def dataset(folder: Path, document: object = None, text: str | None = None) -> Dataset:
    """A dataset of one split, with the two images that its JSON names."""
    text = text if text is not None else json.dumps(document if document is not None else coco(IMAGE, BARE))
    write_tree(
        folder,
        {"annotations/instances_train.json": text, "images/train/cells.jpg": "cells", "images/train/bare.jpg": "bare"},
    )
    return FORMAT.open(Request(folder))


def index_of(data: Dataset, *rows: Row) -> Index:
    """The one index that tells of these rows."""
    (index,) = data.indexes(rows or THREE)
    return index


def merged(data: Dataset, text: str, *rows: Row) -> str:
    """The JSON with these rows in it, as text."""
    after = content(index_of(data, *rows), text.encode(), (), rows)
    assert after is not None
    return after.decode()


# ---------------------------------------------------------------- entries


def test_an_entry_without_annotations(tmp_path: Path) -> None:
    """Id, name, width and height, after those of others; annotations and everything else stay as they were."""
    text = json.dumps(coco(IMAGE, BARE))
    after = json.loads(merged(dataset(tmp_path, text=text), text, THREE[0]))
    before = json.loads(text)
    assert after["images"][:2] == before["images"]
    assert after["images"][2:] == [
        {"id": after["images"][2]["id"], "file_name": "field_neg_00000001.jpg", "width": 50, "height": 60}
    ]
    assert {**after, "images": None} == {**before, "images": None}


def test_ids_are_the_same_whoever_comes_or_goes(tmp_path: Path) -> None:
    """Above what datasets count up to, within 32 bits, and not by order."""
    text = json.dumps(coco(IMAGE, BARE))
    data = dataset(tmp_path, text=text)
    all_of_them = {one["file_name"]: one["id"] for one in json.loads(merged(data, text, *THREE))["images"]}
    alone = {one["file_name"]: one["id"] for one in json.loads(merged(data, text, THREE[1]))["images"]}
    assert alone.items() <= all_of_them.items()
    assert all(1_000_000_000 <= number < 2**31 for name, number in all_of_them.items() if "_neg_" in name)


def test_an_id_that_somebody_has_is_left_to_them(tmp_path: Path) -> None:
    """The next one is taken: no two images have one id."""
    text = json.dumps(coco(IMAGE, BARE))
    data = dataset(tmp_path, text=text)
    wished = json.loads(merged(data, text, THREE[0]))["images"][2]["id"]
    crowded = json.dumps(coco({**IMAGE, "id": wished}, {**BARE, "id": wished + 1}, annotations=()))
    ids = [one["id"] for one in json.loads(merged(data, crowded, THREE[0]))["images"]]
    assert ids == [wished, wished + 1, wished + 2]


def test_two_of_ours_whose_names_give_the_same_id(tmp_path: Path) -> None:
    """Once in a billion pairs; the second gets the next."""
    twins = rows_of("images/train/field_neg_00007815.jpg", "images/train/field_neg_0000fd2f.jpg")
    text = json.dumps(coco(IMAGE, BARE))
    data = dataset(tmp_path, text=text)
    alone = [json.loads(merged(data, text, one))["images"][2]["id"] for one in twins]
    assert alone[0] == alone[1]
    assert [one["id"] for one in json.loads(merged(data, text, *twins))["images"][2:]] == [alone[0], alone[0] + 1]


def test_a_file_that_was_written_anew_by_another_tool(tmp_path: Path) -> None:
    """Ours are found by their names, in whatever order, style and numbering they are by now."""
    text = json.dumps(coco(IMAGE, BARE))
    data = dataset(tmp_path, text=text)
    after = json.loads(merged(data, text, *THREE))
    after["images"] = [{**one, "id": number} for number, one in enumerate(reversed(after["images"]), 1)]
    after["annotations"] = [{**BOX, "image_id": 5}]
    anew = json.dumps(after, indent=1).encode()
    without = content(index_of(data), anew, THREE, ())
    assert without is not None
    assert [one["file_name"] for one in json.loads(without)["images"]] == ["bare.jpg", "cells.jpg"]


def test_an_image_of_ours_that_somebody_labelled_is_theirs(tmp_path: Path) -> None:
    """It stays with its annotation, and is not there twice, also when we no longer have it."""
    text = json.dumps(coco(IMAGE, BARE))
    data = dataset(tmp_path, text=text)
    labelled = json.loads(merged(data, text, *THREE))
    labelled["annotations"].append({**BOX, "id": 10, "image_id": labelled["images"][2]["id"]})
    there = json.dumps(labelled).encode()
    assert content(index_of(data), there, THREE, THREE) == there
    without = content(index_of(data), there, THREE, ())
    assert without is not None
    assert json.loads(without)["images"] == labelled["images"][:3]


def test_a_labelled_image_counts_as_such(tmp_path: Path) -> None:
    """A negative is an image whose id no annotation has."""
    (split,) = dataset(tmp_path).splits
    assert {one.file: (one.bytes, one.is_negative) for one in split.held} == {
        "images/train/cells.jpg": (5, False),
        "images/train/bare.jpg": (4, True),
    }


def test_nothing_of_ours_leaves_the_file_as_it_is(tmp_path: Path) -> None:
    """Not one byte, whatever it looks like."""
    text = ' \n{ "images" :[ ] ,\r\n\t"annotations":[],"x":"\\u00e9é"} \n\n'
    data = dataset(tmp_path, text=text)
    assert content(index_of(data), text.encode(), THREE, ()) == text.encode()


# ---------------------------------------------------------------- style


@pytest.mark.parametrize(
    ("style", "wanted"),
    [
        ({}, '"height": 48}, {"id": ID, "file_name": "field_neg_00000001.jpg", "width": 50, "height": 60}]'),
        (
            {"separators": (",", ":")},
            '"height":48},{"id":ID,"file_name":"field_neg_00000001.jpg","width":50,"height":60}]',
        ),
        (
            {"indent": 2},
            '"height": 48\n    },\n    {\n      "id": ID,\n      "file_name": "field_neg_00000001.jpg",\n'
            '      "width": 50,\n      "height": 60\n    }\n  ],',
        ),
    ],
)
def test_entries_look_like_those_of_others(tmp_path: Path, style: dict[str, Any], wanted: str) -> None:
    """Their spaces, lines and indents."""
    text = json.dumps(coco(IMAGE, BARE), **style)
    after = merged(dataset(tmp_path, text=text), text, THREE[0])
    number = json.loads(after)["images"][2]["id"]
    assert wanted.replace("ID", str(number)) in after


def test_keys_are_in_the_order_of_others(tmp_path: Path) -> None:
    """Roboflow's has the license first and the file name before the size."""
    theirs = {"width": 64, "license": 1, "height": 48, "file_name": "cells.jpg", "id": 1}
    text = json.dumps(coco(theirs))
    after = json.loads(merged(dataset(tmp_path, text=text), text, THREE[0]))
    assert list(after["images"][1]) == ["width", "height", "file_name", "id"]


def test_an_empty_list_gets_a_line_for_each(tmp_path: Path) -> None:
    """In a file with lines; so that changes can be read."""
    text = json.dumps(coco(annotations=()), indent=2)
    after = merged(dataset(tmp_path, text=text), text, *THREE)
    lines = [line for line in after.splitlines() if "_neg_" in line]
    assert [line[:5] for line in lines] == ["    {"] * 3
    assert '  "images": [\n    {"id": ' in after
    assert '}\n  ],\n  "annotations": []' in after


def test_letters_are_written_as_others_write_them(tmp_path: Path) -> None:
    """Escaped where all of the file is plain ASCII, else as they are."""
    umlaut = row("images/train/wäldchen_neg_1a2b3c4d.jpg")
    plain = json.dumps(coco(IMAGE, BARE))
    assert "w\\u00e4ldchen" in merged(dataset(tmp_path / "1", text=plain), plain, umlaut)
    written = json.dumps(coco(IMAGE, BARE, place="Wörth"), ensure_ascii=False)
    assert "wäldchen" in merged(dataset(tmp_path / "2", text=written), written, umlaut)


# ---------------------------------------------------------------- any text

SPACES = st.sampled_from(["", " ", "\n", "\r\n  ", "\t", "\n    "])
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(allow_nan=False) | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
IMAGES = st.lists(
    st.fixed_dictionaries(
        {
            "id": st.integers(1, 10**10) | st.text(max_size=3),
            "file_name": st.sampled_from(["a.jpg", "b ]},.jpg", "ü.png"]),
        },
        optional={"width": st.integers(1, 99), '"},{[': VALUES},
    )
    | VALUES,
    max_size=3,
)


@st.composite
def texts(draw: st.DrawFn) -> str:
    """COCO documents, with keys in any order and space anywhere."""
    images = draw(IMAGES)
    document: dict[str, Any] = {"images": images, "annotations": draw(st.sampled_from([[], [BOX], [{"id": 1}, 3]]))}
    document |= draw(st.dictionaries(st.text(max_size=3).filter(lambda key: key not in document), VALUES, max_size=2))
    keys = draw(st.permutations(list(document)))
    is_ascii = draw(st.booleans())
    is_random = draw(st.booleans())
    if not is_random:
        indent = draw(st.sampled_from([None, 0, 1, 2, "\t"]))
        text = json.dumps({key: document[key] for key in keys}, indent=indent, ensure_ascii=is_ascii)
        text = text.replace("\n", draw(st.sampled_from(["\n", "\r\n"])))
    else:
        text = _spaced({key: document[key] for key in keys}, draw, is_ascii=is_ascii)
    return draw(st.sampled_from(["", "\ufeff"])) + text + draw(st.sampled_from(["", "\n", " \r\n\n"]))


def _spaced(value: object, draw: st.DrawFn, *, is_ascii: bool) -> str:
    if isinstance(value, dict):
        members = [
            draw(SPACES)
            + json.dumps(key, ensure_ascii=is_ascii)
            + draw(SPACES)
            + ":"
            + _spaced(one, draw, is_ascii=is_ascii)
            for key, one in value.items()
        ]
        return draw(SPACES) + "{" + ",".join(members) + draw(SPACES) + "}" + draw(SPACES)
    if isinstance(value, list):
        inner = ",".join(_spaced(one, draw, is_ascii=is_ascii) for one in value)
        return draw(SPACES) + "[" + (inner or draw(SPACES)) + "]" + draw(SPACES)
    return draw(SPACES) + json.dumps(value, ensure_ascii=is_ascii) + draw(SPACES)


@settings(max_examples=300)
@given(text=texts(), history=subsets(THREE))
def test_any_history_comes_to_the_same_and_undoing_gives_back_every_byte(
    tmp_path_factory: pytest.TempPathFactory, text: str, history: list[list[Row]]
) -> None:
    """Whatever the file looks like, and whatever was exported and taken out in between."""
    folder = tmp_path_factory.mktemp("coco")
    index = index_of(dataset(folder))
    before = json.loads(text.removeprefix("\ufeff"))
    after = keeps_its_promises(index, text.encode(), THREE, history)
    assert after is not None
    document = json.loads(after.decode().removeprefix("\ufeff"))
    assert document["images"][: len(before["images"])] == before["images"]
    assert [one["file_name"] for one in document["images"][len(before["images"]) :]] == [one.name for one in THREE]
    assert {**document, "images": 0} == {**before, "images": 0}
    assert list(document) == list(before)


# ---------------------------------------------------------------- where things are


@pytest.mark.parametrize(
    ("files", "into", "images", "name"),
    [
        ({"annotations/instances_train2017.json": "a.jpg", "train2017/a.jpg": ""}, "", "train2017", "N"),
        ({"annotations/instances_train2017.json": "a.jpg", "images/train2017/a.jpg": ""}, "", "images/train2017", "N"),
        ({"annotations/instances_train.json": "train/a.jpg", "images/train/a.jpg": ""}, "", "images/train", "train/N"),
        ({"annotations/instances_default.json": "a.jpg", "images/a.jpg": ""}, "", "images", "N"),
        ({"annotations/train.json": "images/a.jpg", "images/a.jpg": ""}, "", "images", "images/N"),
        ({"train/_annotations.coco.json": "a.jpg", "train/a.jpg": ""}, "", "train", "N"),
        ({"_annotations.coco.json": "a.jpg", "a.jpg": ""}, "", ".", "N"),
        ({"labels.json": "a.jpg", "data/a.jpg": ""}, "labels.json", "data", "N"),
        ({"labels.json": "JPEGImages/a.jpg", "JPEGImages/a.jpg": ""}, "labels.json", "JPEGImages", "JPEGImages/N"),
        ({"coco.json": "one/a.jpg", "images/one/a.jpg": ""}, "coco.json", "images/one", "one/N"),
        ({"coco.json": "./a.jpg", "a.jpg": ""}, "coco.json", ".", "N"),
    ],
)
def test_images_are_found_where_they_usually_are(
    tmp_path: Path, files: dict[str, str], into: str, images: str, name: str
) -> None:
    """By where the file names lead; new ones go there, too, and are named alike."""
    documents = {
        file: json.dumps(coco({**IMAGE, "file_name": held})) if file.endswith(".json") else held
        for file, held in files.items()
    }
    data = FORMAT.open(Request(write_tree(tmp_path, documents) / into))
    (split,) = data.splits
    assert (split.name, split.images, len(split.held)) == ("train", images, 1)
    new = row(f"{images}/field_neg_1a2b3c4d.jpg")
    (file,) = [tmp_path / file for file in files if file.endswith(".json")]
    after = content(index_of(data, new), file.read_bytes(), (), (new,))
    assert after is not None
    assert json.loads(after)["images"][1]["file_name"] == name.replace("N", "field_neg_1a2b3c4d.jpg")
    assert data.root == tmp_path


def test_images_outside_of_the_dataset(tmp_path: Path) -> None:
    """By `--root`; they are named absolutely for us, and as before in the JSON."""
    write_tree(
        tmp_path, {"work/coco.json": json.dumps(coco({**IMAGE, "file_name": "one/a.jpg"})), "disk/one/a.jpg": ""}
    )
    data = FORMAT.open(Request(tmp_path / "work" / "coco.json", root=tmp_path / "disk"))
    (split,) = data.splits
    assert split.images == (tmp_path / "disk" / "one").as_posix()
    new = row(f"{split.images}/field_neg_1a2b3c4d.jpg")
    after = content(index_of(data, new), (tmp_path / "work" / "coco.json").read_bytes(), (), (new,))
    assert after is not None
    assert json.loads(after)["images"][1]["file_name"] == "one/field_neg_1a2b3c4d.jpg"


def test_absolute_file_names(tmp_path: Path) -> None:
    """Ours are absolute then, too."""
    image = tmp_path / "pictures" / "a.jpg"
    write_tree(tmp_path, {"coco.json": json.dumps(coco({**IMAGE, "file_name": str(image)})), "pictures/a.jpg": ""})
    data = FORMAT.open(Request(tmp_path / "coco.json"))
    assert data.splits[0].images == "pictures"
    new = row("pictures/field_neg_1a2b3c4d.jpg")
    after = content(index_of(data, new), (tmp_path / "coco.json").read_bytes(), (), (new,))
    assert after is not None
    assert json.loads(after)["images"][1]["file_name"] == str(tmp_path / "pictures" / "field_neg_1a2b3c4d.jpg")


def test_images_that_are_nowhere(tmp_path: Path) -> None:
    """The refusal tells of `--root`."""
    write_tree(tmp_path, {"coco.json": json.dumps(coco(IMAGE))})
    with pytest.raises(
        ExportError, match=r"none of the images that .*coco.json names is near it \('cells.jpg'.*--root"
    ):
        FORMAT.open(Request(tmp_path / "coco.json"))


def test_some_images_that_are_lost(tmp_path: Path) -> None:
    """They are told of, not counted, and their names stay taken."""
    data = dataset(tmp_path, coco(IMAGE, {**BARE, "file_name": "Lost.jpg"}))
    assert data.warnings == ("annotations/instances_train.json names 1 images that are not there",)
    assert len(data.splits[0].held) == 1
    assert {"lost", "cells", "bare"} <= data.taken


SPLITS = {
    "annotations/instances_val2017.json": json.dumps(coco({**IMAGE, "file_name": "v.jpg"})),
    "annotations/instances_train2017.json": json.dumps(coco({**IMAGE, "file_name": "t.jpg"})),
    "annotations/person_keypoints_train2017.json": "not looked at",
    "train2017/t.jpg": "",
    "val2017/v.jpg": "",
}


@pytest.mark.parametrize("into", ["", "annotations/instances_train2017.json", "annotations/instances_val2017.json"])
def test_the_splits_of_one_dataset_belong_together(tmp_path: Path, into: str) -> None:
    """Whichever file is given: else patches of an image in `val` would go to `train`."""
    data = FORMAT.open(Request(write_tree(tmp_path, SPLITS) / into))
    assert [(one.name, one.images, [held.file for held in one.held]) for one in data.splits] == [
        ("train", "train2017", ["train2017/t.jpg"]),
        ("val", "val2017", ["val2017/v.jpg"]),
    ]
    rows = (row("train2017/a_neg_1.jpg"), row("val2017/b_neg_2.jpg", split="val"))
    assert [one.file for one in data.indexes(rows)] == [
        "annotations/instances_train2017.json",
        "annotations/instances_val2017.json",
    ]
    after = content(data.indexes(rows)[1], SPLITS["annotations/instances_val2017.json"].encode(), rows, rows)
    assert after is not None
    assert [one["file_name"] for one in json.loads(after)["images"]] == ["v.jpg", "b_neg_2.jpg"]


def test_roboflows_folders(tmp_path: Path) -> None:
    """Its `valid` is val."""
    files = {
        f"{split}/{name}": json.dumps(coco(IMAGE)) if name.endswith("json") else ""
        for split in ("valid", "train", "test")
        for name in ("_annotations.coco.json", "cells.jpg")
    }
    data = FORMAT.open(Request(write_tree(tmp_path, files)))
    assert [(one.name, one.images) for one in data.splits] == [("train", "train"), ("val", "valid"), ("test", "test")]


def test_a_folder_with_two_datasets(tmp_path: Path) -> None:
    """Somebody has to say which."""
    write_tree(tmp_path, {f"annotations/instances_train{year}.json": json.dumps(coco()) for year in (2014, 2017)})
    with pytest.raises(ExportError, match=r"several COCO datasets .*: give one of these files"):
        FORMAT.open(Request(tmp_path))


def test_a_folder_without_a_train_split(tmp_path: Path) -> None:
    """Negatives have to go somewhere."""
    write_tree(tmp_path, {f"annotations/instances_{split}.json": json.dumps(coco()) for split in ("val", "test")})
    with pytest.raises(ExportError, match="has no train split"):
        FORMAT.open(Request(tmp_path))


def test_two_files_for_one_split(tmp_path: Path) -> None:
    """`val` and `valid` are the same."""
    write_tree(tmp_path, {f"annotations/{split}.json": json.dumps(coco()) for split in ("train", "val", "valid")})
    with pytest.raises(ExportError, match="both say that they are val"):
        FORMAT.open(Request(tmp_path))


def test_another_dataset_in_the_same_folder(tmp_path: Path) -> None:
    """One manifest can't tell of both: they would get each other's negatives."""
    ours = row("images/wäldchen_neg_1a2b3c4d.jpg")
    write_tree(
        tmp_path, {"a.json": json.dumps(coco({**IMAGE, "file_name": ours.name})), "b.json": json.dumps(coco(IMAGE))}
    )
    write_tree(tmp_path, {f"images/{name}": "" for name in (ours.name, "cells.jpg")})
    (tmp_path / "negatives.jsonl").write_bytes(write_manifest([ours]))
    assert FORMAT.open(Request(tmp_path / "a.json")).splits
    with pytest.raises(ExportError, match=r"negatives.jsonl tells of negatives in .*a\.json: .*a folder of its own"):
        FORMAT.open(Request(tmp_path / "b.json"))


# ---------------------------------------------------------------- new ones


def test_a_new_dataset(tmp_path: Path) -> None:
    """A JSON each for train and val, with the classes, which Roboflow and others number from 1."""
    data = FORMAT.open(Request(tmp_path / "new", new=True, classes=("red cell", "white cell")))
    assert list(data.makes) == ["annotations/instances_train.json", "annotations/instances_val.json"]
    document = json.loads(data.makes["annotations/instances_train.json"])
    assert (document["images"], document["annotations"]) == ([], [])
    assert [(one["id"], one["name"]) for one in document["categories"]] == [(1, "red cell"), (2, "white cell")]
    assert [(one.name, one.images) for one in data.splits] == [("train", "images/train"), ("val", "images/val")]
    assert not (tmp_path / "new").exists()


def test_a_new_dataset_is_understood_the_same_way_afterwards(tmp_path: Path) -> None:
    """Also while it has no image yet."""
    data = FORMAT.open(Request(tmp_path, new=True))
    write_tree(tmp_path, data.makes)
    again = FORMAT.open(Request(tmp_path))
    assert (again.splits, again.root, again.makes) == (data.splits, data.root, {})
    assert FORMAT.open(Request(tmp_path, new=True)).makes == {}


def test_a_new_file(tmp_path: Path) -> None:
    """One JSON, and its images in `images` beside it."""
    data = FORMAT.open(Request(tmp_path / "negatives.json", new=True))
    assert list(data.makes) == ["negatives.json"]
    assert [(one.name, one.images) for one in data.splits] == [("train", "images")]
    write_tree(tmp_path, data.makes)
    assert FORMAT.open(Request(tmp_path / "negatives.json")).splits == data.splits


# ---------------------------------------------------------------- what can't be understood


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "doesn't begin with an object"),
        ("[]", "doesn't begin with an object"),
        ('{"images": [], "annotations": []} x', "there is more after its end"),
        ('{"images": [{"id": 1}', "can't be read as JSON"),
        ('{"images": [,], "annotations": []}', "can't be read as JSON"),
        ('{"images": [1 2], "annotations": []}', "',' is missing at character 14"),
        ('{"images": [1,], "annotations": []}', "',' is too much at character 13"),
        ('{"images": [], "annotations": [],}', "',' is too much at character 32"),
        ('{"images" [], "annotations": []}', "':' is missing"),
        ('{"images": {}, "annotations": []}', "one that is no list"),
        ('{"images": [], "images": [], "annotations": []}', "several `images`"),
        ('{"images": []}', "needs lists `images` and `annotations`"),
        ('{"annotations": []}', "needs lists `images` and `annotations`"),
        ('{"images": [' + "[" * 100_000, "can't be read as JSON"),
    ],
)
def test_what_is_no_coco_json(tmp_path: Path, text: str, why: str) -> None:
    """The refusal names the file and says why."""
    with pytest.raises(ExportError, match=r"instances_train\.json.*" + why.replace("'", ".")):
        dataset(tmp_path, text=text)


def test_a_file_in_another_encoding(tmp_path: Path) -> None:
    """JSON is UTF-8."""
    (tmp_path / "coco.json").write_bytes(json.dumps(coco()).encode("utf-16"))
    with pytest.raises(ExportError, match="in UTF-8"):
        FORMAT.open(Request(tmp_path / "coco.json"))


def test_no_such_file(tmp_path: Path) -> None:
    """It can be made."""
    with pytest.raises(ExportError, match=r"coco\.json"):
        FORMAT.open(Request(tmp_path / "coco.json"))
    with pytest.raises(ExportError, match="--new"):
        FORMAT.open(Request(tmp_path))


def test_looking_touches_nothing(tmp_path: Path) -> None:
    """Opening is no writing."""
    dataset(tmp_path)
    before = tree(tmp_path)
    FORMAT.open(Request(tmp_path, new=True))
    assert tree(tmp_path) == before


@pytest.mark.parametrize(
    ("files", "into", "is_claimed"),
    [
        ({}, "coco.json", True),
        ({}, "data.ndjson", False),
        ({}, "", False),
        ({"annotations/instances_val.json": ""}, "", True),
        ({"valid/_annotations.coco.json": ""}, "", True),
        ({"other/_annotations.coco.json": ""}, "", False),
        ({"annotations/captions_train2017.json": ""}, "", False),
    ],
)
def test_what_looks_like_it(tmp_path: Path, files: dict[str, str], into: str, is_claimed: bool) -> None:
    """A JSON, or a folder that is laid out so."""
    assert FORMAT.claims(write_tree(tmp_path, files) / into) is is_claimed
