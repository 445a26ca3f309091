from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import ExportError
from service.export.lines import with_own_lines
from service.export.numbering import FIRST, image_number

OURS = [b"neg_1", b"neg_2", b"neg_3"]


def with_ours(before: bytes, ours: Sequence[bytes]) -> bytes:
    """A text with these lines of ours, whatever of them it has."""
    return with_own_lines(before, "train.txt", OURS.__contains__, lambda _theirs: ours)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"", b"neg_1\nneg_2\n"),
        (b"a\nb\n", b"a\nb\nneg_1\nneg_2\n"),
        (b"a\nb", b"a\nb\nneg_1\nneg_2"),
        (b"a\r\nb\r\n", b"a\r\nb\r\nneg_1\r\nneg_2\r\n"),
        (b"a\r\nb", b"a\r\nb\r\nneg_1\r\nneg_2"),
        (b"\xef\xbb\xbfa\n\n", b"\xef\xbb\xbfa\n\nneg_1\nneg_2\n"),
        (b"neg_1\na\nneg_2\n", b"a\nneg_1\nneg_2\n"),
    ],
)
def test_ours_come_after_those_of_others_with_their_line_ends(before: bytes, after: bytes) -> None:
    """And the last line stays without an end where it was without."""
    assert with_ours(before, OURS[:2]) == after


@given(
    st.lists(st.sampled_from([b"a\n", b"b\r\n", b"\n", b"\xff\r", b" c \n"])),
    st.sampled_from([b"", b"d"]),
    st.sampled_from([b"", b"\xef\xbb\xbf"]),
    st.lists(st.lists(st.sampled_from(OURS), unique=True), max_size=4),
)
def test_taking_ours_out_gives_back_every_byte(
    lines: list[bytes], last: bytes, bom: bytes, history: list[list[bytes]]
) -> None:
    """Whatever was put in and taken out in between."""
    theirs = now = bom + b"".join(lines) + last
    for ours in [*history, []]:
        now = with_ours(now, ours)
        assert now == with_ours(theirs, ours)
    assert now == theirs


def test_a_text_in_another_encoding() -> None:
    """UTF-8 put into UTF-16 would ruin it."""
    with pytest.raises(ExportError, match=r"train\.txt is no text in UTF-8"):
        with_ours("a\n".encode("utf-16"), OURS)


def test_a_number_for_each_name() -> None:
    """The same for the same name, above all usual ones, within 32 bits; the next one where it is taken."""
    number = image_number("a.jpg", ())
    assert FIRST <= number < 2 * FIRST < 2**31
    assert number == image_number("a.jpg", {1, "x"})
    assert image_number("a.jpg", {number}) == number + 1
    assert image_number("a.jpg", {number, number + 1}) == number + 2
    assert image_number("b.jpg", ()) != number
