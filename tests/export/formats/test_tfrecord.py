import re
import struct
from pathlib import Path
from typing import Any

import pytest
from crc32c import crc32c
from hypothesis import given, settings
from hypothesis import strategies as st
from tfrecord import example_pb2
from tfrecord.writer import TFRecordWriter

from service.errors import ExportError
from service.export.formats import Request
from service.export.formats.tfrecord import FORMAT
from service.export.model import Dataset, Index, Row
from tests.export.formats.factories import content, keeps_its_promises, picture_of, rows_of, subsets, tree, write_tree

TRAIN = rows_of("negatives/train/field_neg_1a2b3c4d.jpg", "negatives/train/lawn_neg_7f7f7f7f.png")
VAL = rows_of("negatives/val/moss_neg_00000001.jpg", split="val")


def record(name: str = "cells.jpg", **more: bytes) -> bytes:
    """Somebody else's example, framed by the library's own writer."""
    features = {"image/filename": ([name.encode()], "byte"), **{key: ([value], "byte") for key, value in more.items()}}
    return framed(TFRecordWriter.serialize_tf_example(features))


def framed(data: bytes) -> bytes:
    """A record of a shard."""
    length = struct.pack("<Q", len(data))
    return b"".join((length, TFRecordWriter.masked_crc(length), data, TFRecordWriter.masked_crc(data)))


def dataset(folder: Path, **others: bytes) -> Dataset:
    """A folder with shards of others."""
    return FORMAT.open(Request(write_tree(folder, {"train.record-00000-of-00001": record(), **others})))


def index_of(data: Dataset, split: str = "train") -> Index:
    """Our shard of a split."""
    (index,) = [one for one in data.indexes((*TRAIN, *VAL)) if one.file == f"negatives-{split}.tfrecord"]
    return index


def examples(shard: bytes) -> list[dict[str, Any]]:
    """What a shard holds, by a reading of the format that is not the service's: checksums, then lists by name."""
    found = []
    while shard:
        (length,) = struct.unpack("<Q", shard[:8])
        data = shard[12 : 12 + length]
        for part, checksum in ((shard[:8], shard[8:12]), (data, shard[12 + length : 16 + length])):
            masked = crc32c(part)
            assert struct.unpack("<I", checksum)[0] == ((masked >> 15 | masked << 17) + 0xA282EAD8) % 2**32
        features = example_pb2.Example.FromString(data).features.feature
        found.append({name: list(getattr(one, one.WhichOneof("kind")).value) for name, one in features.items()})
        shard = shard[16 + length :]
    return found


def test_an_example_without_objects(tmp_path: Path) -> None:
    """The image with what is known of it; lists of objects that are there, and empty."""
    data = dataset(tmp_path)
    first, second = examples(content(index_of(data), None, (), (*TRAIN, *VAL)) or b"")
    assert first["image/encoded"] == [picture_of(TRAIN[0])]
    assert first["image/filename"] == [b"field_neg_1a2b3c4d.jpg"]
    assert (first["image/format"], second["image/format"]) == ([b"jpeg"], [b"png"])
    assert (first["image/width"], first["image/height"]) == ([50], [60])
    assert first["image/key/sha256"] == [TRAIN[0].sha256.encode()]
    assert int(first["image/source_id"][0]) >= 1_000_000_000
    assert first["image/source_id"] != second["image/source_id"]
    assert {name for name, values in first.items() if not values} == {
        *(f"image/object/bbox/{side}" for side in ("xmin", "xmax", "ymin", "ymax")),
        *(f"image/object/class/{kind}" for kind in ("text", "label")),
        *(f"image/object/{kind}" for kind in ("area", "is_crowd", "difficult", "truncated", "view")),
    }


def test_features_are_in_order(tmp_path: Path) -> None:
    """The order is not left to chance: the same image gives the same bytes everywhere."""
    (only,) = [content(index_of(dataset(tmp_path)), None, (), TRAIN[:1]) or b""]
    names = re.findall(rb"image/[a-z/_0-9]*[a-z]", only)
    assert len(names) == 18
    assert names == sorted(names)


def test_a_shard_for_each_split(tmp_path: Path) -> None:
    """With the rows of that split."""
    data = dataset(tmp_path)
    assert [one.file for one in data.indexes((*VAL, *TRAIN))] == ["negatives-train.tfrecord", "negatives-val.tfrecord"]
    (only,) = examples(content(index_of(data, "val"), None, (), (*TRAIN, *VAL)) or b"")
    assert only["image/filename"] == [VAL[0].name.encode()]


def test_images_in_the_shard_are_not_read_again(tmp_path: Path) -> None:
    """Only what is new."""
    index = index_of(dataset(tmp_path))
    before = content(index, None, (), TRAIN[:1])
    read: list[Row] = []

    def reading(row: Row) -> bytes:
        read.append(row)
        return picture_of(row)

    assert index.content(before, TRAIN, TRAIN, reading) == content(index, None, (), TRAIN)
    assert read == [TRAIN[1]]


@settings(max_examples=60)
@given(
    st.lists(st.sampled_from([record(), record("other.jpg"), record("", x=b"1"), framed(b"")]), max_size=3),
    subsets((*TRAIN, *VAL)),
)
def test_any_history_comes_to_the_same_and_undoing_gives_back_every_byte(
    tmp_path_factory: pytest.TempPathFactory, theirs: list[bytes], history: list[list[Row]]
) -> None:
    """Also what others put into our shard."""
    index = index_of(dataset(tmp_path_factory.mktemp("tfrecord")))
    keeps_its_promises(index, b"".join(theirs) or None, (*TRAIN, *VAL), history)


@pytest.mark.parametrize(
    "damage", [lambda shard: shard[:-1], lambda shard: shard[:5], lambda shard: shard[:30] + b"?" + shard[31:]]
)
def test_a_damaged_shard(tmp_path: Path, damage: Any) -> None:
    """Is refused by name: what others may have in it would be lost."""
    index = index_of(dataset(tmp_path))
    shard = content(index, None, (), TRAIN)
    with pytest.raises(ExportError, match=r"negatives-train\.tfrecord is damaged at byte"):
        content(index, damage(shard), TRAIN, TRAIN)


def test_a_shard_of_something_else(tmp_path: Path) -> None:
    """Is refused, too."""
    with pytest.raises(ExportError, match=r"negatives-train\.tfrecord holds something else than examples"):
        content(index_of(dataset(tmp_path)), framed(b"no message"), (), TRAIN)


def test_shards_of_others_are_counted_and_not_read(tmp_path: Path) -> None:
    """And people are told so."""
    data = dataset(tmp_path, **{"val.tfrecord": record() * 3, "packed.tfrecord.gz": b"\x1f\x8b gzip"})
    assert data.said[0] == ("3 shards of others with 4 examples, and 1 that can't be counted, which stay as they are")
    assert "can't be compared with ours" in data.warnings[0]
    assert [(one.name, one.images, one.held) for one in data.splits] == [
        ("train", "negatives/train", ()),
        ("val", "negatives/val", ()),
    ]


def test_what_it_holds_of_ours(tmp_path: Path) -> None:
    """The images in our folders."""
    write_tree(tmp_path, {"negatives/test/A.jpg": "aa"})
    data = dataset(tmp_path)
    assert [(one.name, [(held.file, held.bytes, held.is_negative) for held in one.held]) for one in data.splits] == [
        ("train", []),
        ("val", []),
        ("test", [("negatives/test/A.jpg", 2, True)]),
    ]
    assert data.taken == {"a"}


def test_a_new_dataset(tmp_path: Path) -> None:
    """Anywhere, if told so."""
    with pytest.raises(ExportError, match=r"has no shards .*--new"):
        FORMAT.open(Request(tmp_path))
    data = FORMAT.open(Request(tmp_path / "new", new=True))
    assert ([one.name for one in data.splits], data.warnings, tree(tmp_path)) == (["train", "val"], (), {})
    (tmp_path / "file").touch()
    with pytest.raises(ExportError, match="is a file"):
        FORMAT.open(Request(tmp_path / "file", new=True))


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("train.tfrecord", True),
        ("train.tfrecords", True),
        ("Train.TFRecord", True),
        ("train.record", True),
        ("train.record-00000-of-00010", True),
        ("train.tfrecord.gz", True),
        ("records.csv", False),
        ("a.recording", False),
    ],
)
def test_what_looks_like_it(tmp_path: Path, name: str, is_one: bool) -> None:
    """A folder with shards, by their names."""
    (tmp_path / name).touch()
    assert FORMAT.claims(tmp_path) is is_one
