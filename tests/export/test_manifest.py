import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import ExportError
from service.export.manifest import read_manifest, write_manifest
from service.export.model import Row
from tests.export.formats.factories import row

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


@given(file=TEXT, name=TEXT, reviewers=st.lists(st.integers(1), max_size=3), seed=st.none() | st.integers(0, 2**48))
def test_what_is_written_is_read(file: str, name: str, reviewers: list[int], seed: int | None) -> None:
    """Whatever the names are, line ends of any kind among them."""
    one = row("a_neg_0.jpg")
    one = replace(one, file=file, source=replace(one.source, name=name), reviewers=tuple(reviewers), seed=seed)
    assert read_manifest(write_manifest([one]), "") == (one,)


def rows() -> list[Row]:
    """Three, out of order."""
    return [row(f"{stem}.jpg") for stem in ("c_neg_1", "a_neg_2", "b_neg_3")]


def test_it_is_one_line_each_sorted_by_file() -> None:
    """So that it diffs well, whoever exported in which order."""
    content = write_manifest(rows())
    assert content == write_manifest(reversed(rows()))
    assert [json.loads(line)["file"] for line in content.splitlines()] == sorted(one.file for one in rows())
    assert content.endswith(b"}\n")


def test_no_rows_are_nothing() -> None:
    """An empty file is as good as none."""
    assert (write_manifest([]), read_manifest(b"", ""), read_manifest(b"\n\n", "")) == (b"", (), ())


def test_a_row_that_merging_left_twice_counts_once() -> None:
    """The last one does."""
    one = row("a_neg_0.jpg")
    later = replace(one, reviewers=(7, 8))
    assert read_manifest(write_manifest([one]) + write_manifest([later]), "") == (later,)


@pytest.mark.parametrize(
    "line",
    ["<<<<<<< HEAD", "{", "[]", "4", '{"file": "a.jpg"}', '{"file": ""}', "null"],
)
def test_a_line_that_cannot_be_read_is_named(line: str) -> None:
    """With what to do."""
    content = write_manifest([row("a_neg_0.jpg")]) + line.encode()
    with pytest.raises(ExportError, match=r"negatives\.jsonl, line 2, .* restore the file"):
        read_manifest(content, "negatives.jsonl")


def test_a_row_that_lacks_something_is_refused() -> None:
    """Each of its keys is needed."""
    document = json.loads(write_manifest([row("a_neg_0.jpg")]))
    for key in document.keys() - {"dataset"}:
        less = {name: value for name, value in document.items() if name != key}
        with pytest.raises(ExportError, match="line 1"):
            read_manifest(json.dumps(less).encode(), "m")
