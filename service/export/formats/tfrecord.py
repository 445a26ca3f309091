"""TFRecord for the TensorFlow Object Detection API (`data_decoders/tf_example_decoder.py`): a shard of ours for each
split, beside those of others, which stay as they are.

A negative is an example whose lists of boxes and classes are empty. The images lie in a folder, too, where people can
look at them; the shards are made from those.
"""

import os
import re
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from crc32c import crc32c

from service.errors import ExportError
from service.export.folders import Folders
from service.export.formats import Format, Request
from service.export.model import Dataset, Held, Row, Split
from service.export.numbering import image_number

IMAGES = "negatives"
SPLITS = ("train", "val", "test")
FORMATS = {".jpg": b"jpeg", ".png": b"png"}
_SHARD = re.compile(r".*\.(tfrecords?|records?)(-\d+-of-\d+)?|.*\.(tfrecords?|records?)\..*", re.IGNORECASE)
_EMPTY = {
    **{f"image/object/bbox/{side}": "float_list" for side in ("xmin", "xmax", "ymin", "ymax")},
    "image/object/class/text": "bytes_list",
    "image/object/class/label": "int64_list",
    "image/object/area": "float_list",
    "image/object/is_crowd": "int64_list",
    "image/object/difficult": "int64_list",
    "image/object/truncated": "int64_list",
    "image/object/view": "bytes_list",
}
"""The lists of objects, as the makers of TFRecords in the Object Detection API write them: none is left out."""


def shard(split: str) -> str:
    """The name of our shard of a split."""
    return f"negatives-{split}.tfrecord"


@dataclass(frozen=True, slots=True)
class _Record:
    """An example as it stands in a shard, length and checksums included, and which image it is."""

    framed: bytes
    name: str
    sha256: str
    number: int | None


@dataclass(frozen=True, slots=True)
class _Shard:
    """Our shard of one split."""

    split: str

    @property
    def file(self) -> str:
        """At the root."""
        return shard(self.split)

    def content(
        self, before: bytes | None, ours: Sequence[Row], rows: Sequence[Row], read: Callable[[Row], bytes]
    ) -> bytes | None:
        """Examples of others, should there be any, then ours. An image that is in the shard already isn't read again:
        the same image always gives the same example.
        """
        told = [row for row in rows if row.split == self.split]
        own = {row.name for row in (*ours, *rows)}
        records = list(_records(before or b"", self.file))
        theirs = [record for record in records if record.name not in own]
        there = {(record.name, record.sha256): record for record in records if record.name in own}
        numbers = {record.number for record in theirs}
        parts = [record.framed for record in theirs]
        for row in told:
            number = image_number(row.name, numbers)
            numbers.add(number)
            record = there.get((row.name, row.sha256))
            is_same = record is not None and record.number == number
            parts.append(record.framed if record is not None and is_same else _framed(example(row, number, read(row))))
        return b"".join(parts) if parts or before == b"" else None


def example(row: Row, number: int, image: bytes) -> bytes:
    """A negative as a serialised `tf.train.Example`, always the same bytes for the same image.

    The `source_id` is a number, because some readers (EfficientDet, Model Garden) take it for one.
    """
    words = _words()
    lists = {"bytes_list": words.BytesList, "float_list": words.FloatList, "int64_list": words.Int64List}
    values: dict[str, tuple[str, list[Any]]] = {
        "image/encoded": ("bytes_list", [image]),
        "image/format": ("bytes_list", [FORMATS[PurePosixPath(row.file).suffix.lower()]]),
        "image/filename": ("bytes_list", [row.name.encode()]),
        "image/source_id": ("bytes_list", [str(number).encode()]),
        "image/key/sha256": ("bytes_list", [row.sha256.encode()]),
        "image/width": ("int64_list", [row.size[0]]),
        "image/height": ("int64_list", [row.size[1]]),
        **{name: (kind, []) for name, kind in _EMPTY.items()},
    }
    features = {name: words.Feature(**{kind: lists[kind](value=value)}) for name, (kind, value) in values.items()}
    whole = words.Example(features=words.Features(feature=features))
    serialised: bytes = whole.SerializeToString(deterministic=True)
    return serialised


def _words() -> Any:
    """TensorFlow's messages. The package brings PyTorch along where that is installed: only for who needs it."""
    from tfrecord import example_pb2  # noqa: PLC0415

    return example_pb2


def _framed(record: bytes) -> bytes:
    """A record with its length and checksums (https://www.tensorflow.org/tutorials/load_data/tfrecord)."""
    length = struct.pack("<Q", len(record))
    return b"".join((length, _checksum(length), record, _checksum(record)))


def _checksum(data: bytes) -> bytes:
    checksum = crc32c(data)
    return struct.pack("<I", ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _records(content: bytes, where: str) -> Iterator[_Record]:
    """The records of a shard. Raises `ExportError` for one that is damaged or holds something else."""
    from google.protobuf.message import DecodeError  # noqa: PLC0415

    at = 0
    words = _words()
    while at < len(content):
        length = content[at : at + 8]
        end = at + 16 + (struct.unpack("<Q", length)[0] if len(length) == 8 else len(content))
        record = content[at + 12 : end - 4]
        sums = content[at + 8 : at + 12], content[end - 4 : end]
        if end > len(content) or sums != (_checksum(length), _checksum(record)):
            raise ExportError(
                f"{where} is damaged at byte {at}: restore it, or delete it, and an export with --full makes it anew"
            )
        try:
            features = words.Example.FromString(record).features.feature
        except DecodeError as error:
            raise ExportError(f"{where} holds something else than examples: move it away") from error
        number = _first(features, "image/source_id")
        yield _Record(
            content[at:end],
            _first(features, "image/filename"),
            _first(features, "image/key/sha256"),
            int(number) if number.isdecimal() else None,
        )
        at = end


def _first(features: Any, name: str) -> str:
    values = features[name].bytes_list.value if name in features else ()
    return values[0].decode(errors="replace") if values else ""


def _is_shard(name: str) -> bool:
    return _SHARD.fullmatch(name) is not None


def _claims(into: Path) -> bool:
    return into.is_dir() and any(_is_shard(path.name) for path in into.iterdir())


def _counted(path: Path) -> int | None:
    """How many records a shard has, told by their lengths alone; None for what is no shard, or packed."""
    count = 0
    try:
        with path.open("rb") as file:
            end = file.seek(0, os.SEEK_END)
            at = 0
            while at < end:
                file.seek(at)
                at += 16 + struct.unpack("<Q", file.read(8))[0]
                count += 1
    except (OSError, struct.error, OverflowError, ValueError):
        return None
    return count if at == end else None


def _open(request: Request) -> Dataset:
    root = request.into
    if root.exists() and not root.is_dir():
        raise ExportError(f"{root} is a file: give the folder that the shards are in")
    if not (request.new or _claims(root)):
        raise ExportError(f"{root} has no shards (*.tfrecord, *.record-00000-of-00010): give their folder, or --new")
    folders = Folders()
    shards = [name for name in sorted(folders.files(root)) if _is_shard(name)]
    others = [name for name in shards if name not in map(shard, SPLITS)]
    splits = []
    taken: set[str] = set()
    for split in SPLITS:
        folder = f"{IMAGES}/{split}"
        images = folders.images(root / folder)
        if split == "test" and not images and not any("test" in name.casefold() for name in others):
            continue
        held = tuple(Held(f"{folder}/{name}", size, is_negative=True) for name, size in images.items())
        splits.append(Split(split, folder, held))
        taken |= {PurePosixPath(name).stem.casefold() for name in images}
    counts = [_counted(root / name) for name in others]
    records = sum(count or 0 for count in counts)
    unread = f", and {counts.count(None)} that can't be counted" if None in counts else ""
    return Dataset(
        root=root,
        splits=tuple(splits),
        taken=frozenset(taken),
        said=(
            f"{len(others)} shards of others with {records} examples{unread}, which stay as they are",
            f"new images go to {IMAGES}/, their examples to {', '.join(shard(split.name) for split in splits)}: name "
            "these in the input_path of your input readers",
        ),
        warnings=(
            "the images in shards of others can't be compared with ours: the shares count negatives only, and whether "
            "a source image is in train or val is not known",
        )
        if others
        else (),
        indexes=lambda rows: [_Shard(split) for split in sorted({row.split for row in rows})],
    )


FORMAT = Format(
    name="tfrecord",
    what="the folder of the shards (*.tfrecord, *.record) of a dataset",
    claims=_claims,
    open=_open,
    suffixes=frozenset(FORMATS),
    guidance=(
        "TensorFlow's Object Detection API: name our shards in tf_record_input_reader, input_path: "
        '["….record", "negatives-train.tfrecord"]; they hold only negatives, so shuffle files and examples together.',
        "Where its configuration has a hard_example_miner (SSD), set min_negatives_per_image to more than 0 (3, for "
        "example): with the default of 0 an image without objects teaches nothing.",
    ),
    new="",
)
