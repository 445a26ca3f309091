import re

import pytest

from service.label_studio.instructions import END, START, picture_in, with_instructions

PICTURE = "/data/upload/3/00000000-negatives-switch-on-1a2b3c4d.png"
KEPT_TAGS = {"h3", "p", "b", "i", "br", "img", "div"}
"""Of those that Label Studio 1.23.2 keeps (constants.py), the ones that ours may use."""


def test_ours_stands_alone_where_there_was_nothing() -> None:
    """Nothing around it, whatever blank space was there."""
    for nothing in ("", " \n"):
        html = with_instructions(nothing, PICTURE)
        assert (html.startswith(START), html.endswith(END)) == (True, True)


@pytest.mark.parametrize(
    "theirs", ["Be careful.", "<p>Be &amp; <b>careful</b></p>\n\n", "<div>in a <div>div</div></div>"]
)
def test_what_the_team_wrote_stays(theirs: str) -> None:
    """Byte for byte, with ours behind."""
    assert with_instructions(theirs, PICTURE).startswith(f"{theirs}\n{START}")


@pytest.mark.parametrize("before", ["", "<div>before</div>\n"])
@pytest.mark.parametrize("after", ["", "\n<div>after</div> "])
def test_only_our_part_is_replaced(before: str, after: str) -> None:
    """What the team added before and behind it stays where it is."""
    html = with_instructions(f"{before}{START}an older text{END}{after}", PICTURE)
    assert html == before + with_instructions("", PICTURE) + after


@pytest.mark.parametrize("picture", [PICTURE, None])
@pytest.mark.parametrize("theirs", ["", "Be careful."])
def test_again_it_is_the_same(theirs: str, picture: str | None) -> None:
    """A second time changes nothing."""
    once = with_instructions(theirs, picture)
    assert with_instructions(once, picture) == once


def test_the_picture_is_found_again() -> None:
    """In our part alone: the team's own pictures are none of ours."""
    theirs = '<img src="/data/upload/3/their.png">'
    assert picture_in(theirs + with_instructions("", PICTURE) + theirs) == PICTURE
    assert picture_in(theirs) is None
    assert picture_in(with_instructions(theirs, None)) is None


def test_without_live_suggestions_no_switch_is_named() -> None:
    """Who connected without them reads only what works."""
    html = with_instructions("", None)
    assert not re.search("Auto-|dashed|pink", html)
    assert "press <b>G</b>" not in html
    assert "Press <b>G</b>" in html


@pytest.mark.parametrize("picture", [PICTURE, None])
def test_it_is_html_that_label_studio_keeps_as_it_is(picture: str | None) -> None:
    """Tags and attributes that it allows, no line breaks (shown as such by some versions), and no <div> within."""
    html = with_instructions("", picture)
    assert set(re.findall(r"</?(\w+)", html)) <= KEPT_TAGS
    assert set(re.findall(r' (\w+)="', html)) <= {"class", "src", "alt"}
    assert ("\n" in html, html.count("<div"), html.count("</div>")) == (False, 1, 1)


def test_it_is_short() -> None:
    """Nobody reads more than a dozen lines of some 90 letters."""
    text = re.sub(r"<[^>]+>", "", with_instructions("", PICTURE))
    assert len(text) < 12 * 90
