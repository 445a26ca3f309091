"""Small values for the tests of the formats, and the promises that every index makes."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from hashlib import sha256
from itertools import pairwise
from pathlib import Path, PurePosixPath

from hypothesis import strategies as st

from service.domain.geometry import Box
from service.export.model import Index, Row, Source

NOON = datetime(2026, 4, 1, 12, tzinfo=UTC)
LATER = datetime(2026, 4, 2, 8, 30, tzinfo=UTC)


def picture_of(row: Row) -> bytes:
    """Some bytes in the place of a row's image."""
    return f"the image of {row.name}".encode()


def row(
    file: str = "images/train/field_neg_1a2b3c4d.jpg",
    *,
    split: str = "train",
    source: str = "",
    of: str = "",
    box: Box = Box(10, 20, 60, 80),  # noqa: B008 (frozen)
    cut: Box | None = None,
    roi: Box = Box(5, 5, 395, 295),  # noqa: B008
    mode: str = "RGB",
    size: tuple[int, int] | None = None,
) -> Row:
    """A negative in this file; `of` tells apart sources of the same name."""
    path = PurePosixPath(file)
    name = source or f"{path.stem.partition('_neg_')[0]}.jpg"
    digest = sha256(f"{name}{of}".encode()).hexdigest()
    content = f"the image of {path.name}".encode()
    at = cut or box
    return Row(
        file=file,
        split=split,
        studio="https://studio.example",
        project=3,
        task=7,
        patch=path.stem,
        source=Source(name, f"/data/upload/3/{name}", digest, 123_456),
        box=box,
        cut=at,
        roi=roi,
        size=size or (at.width, at.height),
        mode=mode,
        pixels="lossless",
        sha256=sha256(content).hexdigest(),
        bytes=len(content),
        reviewers=(1, 4),
        annotations=(11, 12),
        accepted_at=NOON,
        exported_at=LATER,
        seed=1,
        rules={"patches": 4},
        rules_from={},
        proposed_by="0",
        exported_by="0",
    )


def rows_of(*files: str, split: str = "train") -> tuple[Row, ...]:
    """Rows in these files, in their order."""
    return tuple(sorted((row(file, split=split) for file in files), key=lambda one: one.file))


def content(index: Index, before: bytes | None, ours: Sequence[Row], rows: Sequence[Row]) -> bytes | None:
    """What an index should hold, as an export asks for it."""
    return index.content(before, ours, tuple(sorted(rows, key=lambda one: one.file)), picture_of)


def subsets(rows: Sequence[Row]) -> st.SearchStrategy[list[list[Row]]]:
    """Histories of exports: at each, some of these rows."""
    return st.lists(st.lists(st.sampled_from(rows), unique_by=lambda one: one.file), max_size=4)


def keeps_its_promises(
    index: Index, theirs: bytes | None, rows: Sequence[Row], history: Sequence[Sequence[Row]]
) -> bytes | None:
    """An index comes to the same, whatever was exported before; taking all out gives back what others wrote.

    Returns what it comes to.
    """
    wanted = content(index, theirs, (), rows)
    assert content(index, wanted, rows, rows) == wanted
    assert content(index, wanted, rows, ()) == theirs
    now = theirs
    for before, after in pairwise([(), *history, rows, ()]):
        now = content(index, now, list({one.file: one for one in (*before, *after)}.values()), after)
        assert now == content(index, theirs, (), after)
    assert now == theirs
    return wanted


def tree(folder: Path) -> dict[str, bytes]:
    """All files beneath a folder with their bytes."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def write_tree(folder: Path, files: Mapping[str, bytes | str]) -> Path:
    """Files beneath a folder."""
    for name, held in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(held.encode() if isinstance(held, str) else held)
    return folder
