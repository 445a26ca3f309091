import posixpath
from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import ExportError
from service.export.image_lists import ImageList, Reading, lines_of
from service.export.model import Row
from tests.export.repositories import negative

ROOT = "/data/set"
READING = Reading(ROOT, f"{ROOT}/lists")
FOLDERS = ("/data/set/images", "/data/set/lists/images", "/other")
PREFIXES = ("", "./", "./images/", "images/", "../images/", "/data/set/images/", "/view/images/", "/other/")

lines = st.tuples(
    st.sampled_from((*PREFIXES, "#", "no/")), st.sampled_from(("a.jpg", "b.png", "c", "ä.jpg", "", " ")), st.just("")
).map("".join)
ends = st.sampled_from(("\n", "\n", "\r\n", "\r"))
contents = st.tuples(
    st.sampled_from((b"", b"\xef\xbb\xbf")),
    st.lists(st.tuples(lines, ends).map("".join), max_size=6).map("".join),
    lines,
).map(lambda parts: parts[0] + parts[1].encode() + parts[2].encode())
rows = st.sets(st.tuples(st.sampled_from(FOLDERS), st.integers(0, 4)), max_size=5).map(
    lambda chosen: tuple(negative(f"{folder}/neg_{number}.jpg", "train") for folder, number in sorted(chosen))
)


def image_list(reading: Reading = READING) -> ImageList:
    """A list in a folder of the root; `/view` is a link to the root."""
    return ImageList(
        file="lists/train.txt",
        reading=reading,
        folders={"/view/images/": f"{ROOT}/images"},
        place=lambda row: posixpath.dirname(row.file),
        tells=lambda row: row.split == "train",
    )


def content(before: bytes | None, ours: Sequence[Row], wanted: Sequence[Row]) -> bytes | None:
    """What the list holds with these rows, where it held that."""
    return image_list().content(before, ours, wanted, lambda _row: b"")


@given(contents, rows)
def test_what_others_wrote_comes_back_byte_for_byte(before: bytes, ours: tuple[Row, ...]) -> None:
    """Whatever they wrote: with our lines taken out again, it is the same."""
    after = content(before, (), ours)
    assert after is not None
    assert content(after, ours, ()) == before
    assert content(before, ours, ()) == before


@given(contents, rows, rows, rows)
def test_what_a_list_holds_does_not_depend_on_the_way_there(
    before: bytes, first: tuple[Row, ...], second: tuple[Row, ...], last: tuple[Row, ...]
) -> None:
    """Through other exports, or at once."""
    at_first = content(before, (), first)
    then = content(at_first, first, second)
    assert content(then, (*first, *second), last) == content(before, (), last)
    assert content(then, (*first, *second, *last), last) == content(before, (), last)


@given(contents, rows)
def test_each_row_is_listed_once_and_leads_to_its_image(before: bytes, wanted: tuple[Row, ...]) -> None:
    """As a trainer reads the lines."""
    listed = image_list()
    after = content(before, (), wanted)
    assert after is not None
    found = [
        posixpath.join(listed.folders.get(prefix) or listed.reading.folder(prefix), name)
        for prefix, name in lines_of(after, "train.txt")
        if name.startswith("neg_")
    ]
    assert found == [row.file for row in wanted]


@pytest.mark.parametrize(
    ("before", "folder", "after"),
    [
        (b"./images/a.jpg\n", "/data/set/lists/images", b"./images/a.jpg\n./images/n.jpg\n"),
        (b"/view/images/a.jpg\n", "/data/set/images", b"/view/images/a.jpg\n/view/images/n.jpg\n"),
        (b"/view/images/a.jpg\n", "/other", b"/view/images/a.jpg\n/other/n.jpg\n"),
        (b"./images/a.jpg\n", "/data/set/images", b"./images/a.jpg\n./../images/n.jpg\n"),
        (b"x/a.jpg\n", "/data/set/images", b"x/a.jpg\nimages/n.jpg\n"),
        (b"a.jpg\r\nb.jpg\r\n", "/data/set", b"a.jpg\r\nb.jpg\r\nn.jpg\r\n"),
        (b"a.jpg\r\nb.jpg", "/data/set", b"a.jpg\r\nb.jpg\r\nn.jpg"),
        (b"", "/data/set/lists", b"./n.jpg\n"),
        (None, "/data/set/lists/images", b"./images/n.jpg\n"),
    ],
)
def test_a_line_looks_as_those_of_others(before: bytes | None, folder: str, after: bytes) -> None:
    """Their prefix for the same folder, else their style; their line ends; theirs only."""
    assert content(before, (), (negative(f"{folder}/n.jpg", "train"),)) == after


def test_darknet_takes_a_leading_dot_for_the_working_directory() -> None:
    """As any program does."""
    listed = image_list(Reading(ROOT))
    row = negative(f"{ROOT}/images/n.jpg", "train")
    assert listed.content(b"./images/a.jpg\n", (), (row,), lambda _row: b"") == b"./images/a.jpg\n./images/n.jpg\n"
    assert listed.content(b"", (), (row,), lambda _row: b"") == b"images/n.jpg\n"


def test_a_row_of_another_split_is_not_listed_and_a_list_that_is_not_there_not_made() -> None:
    """Nor is one of ours left that went to another split."""
    row = negative(f"{ROOT}/images/n.jpg", "train")
    elsewhere = replace(row, split="val")
    assert content(None, (row,), (elsewhere,)) is None
    assert content(b"images/n.jpg\n", (row,), (elsewhere,)) == b""


def test_a_line_of_ours_that_others_wrote_too_is_listed_once() -> None:
    """Somebody lists the folder anew, and finds our images."""
    row = negative(f"{ROOT}/images/n.jpg", "train")
    assert (
        content(b"images/n.jpg\nimages/a.jpg\n./../images/n.jpg\n", (row,), (row,)) == b"images/a.jpg\nimages/n.jpg\n"
    )


def test_what_is_no_text_is_refused() -> None:
    """UTF-16, for instance."""
    with pytest.raises(ExportError, match="UTF-8"):
        content("./a.jpg\n".encode("utf-16"), (), ())
