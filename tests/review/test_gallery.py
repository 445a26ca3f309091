"""What the gallery shows of which patch, and how it is filtered, counted and put on pages."""

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.geometry import Box, Ellipse
from service.domain.model import Agreement, Patch, Review, State, Task, Verdict
from service.review.gallery import (
    TO_DO,
    Background,
    Concern,
    Filter,
    Page,
    Tile,
    count_states,
    may_be_empty,
    paged,
    shown,
    tiles_of,
)
from tests.factories import NOON, moved, patch, review, roi, task

ME, ANN, BEN = 1, 2, 3
BOX = Box(200, 200, 300, 320)
ONE = patch(BOX)


def tile(of: Task, agreement: Agreement | None = None) -> Tile:
    """The one tile of a task."""
    (found,) = tiles_of(of, agreement or Agreement(), 0, "field.jpg")
    return found


def said(verdict: Verdict, one: Patch, by: int, reason: str = "", hour: int = 0) -> Review:
    """What one person said of one patch on our pages."""
    return Review(
        annotation_id=10 * by + hour,
        reviewer=by,
        at=NOON.replace(hour=12 + hour),
        held=(one,),
        shown=frozenset((one.id,)),
        reasons={one.id: reason} if verdict is Verdict.REJECTED else {},
        unsure=frozenset((one.id,)) if verdict is Verdict.UNSURE else frozenset(),
        verdicts_only=True,
    )


# ---------------------------------------------------------------- tiles


def test_a_tile_says_where_its_patch_stands_and_what_everybody_said() -> None:
    """With everything that its picture needs."""
    reviews = [said(Verdict.REJECTED, ONE, ANN, "duplicate"), said(Verdict.UNSURE, ONE, ME)]
    of = task(roi(), exclusions=[Box(0, 0, 10, 10)], standing=[ONE], reviews=reviews)
    found = tile(of)
    assert (found.task_id, found.patch, found.state) == (of.id, ONE, State.REJECTED)
    assert (found.size, found.source, found.image) == (of.size, "field.jpg", of.image_digest)
    by_ann, by_me = found.vote_of(ANN), found.vote_of(ME)
    assert by_ann is not None
    assert by_me is not None
    assert (by_ann.verdict, by_ann.reason) == (Verdict.REJECTED, "duplicate")
    assert (by_me.verdict, found.vote_of(BEN)) == (Verdict.UNSURE, None)


def test_who_accepted_it_elsewhere_says_nothing_of_where_it_lies_now() -> None:
    """Ann moved it after me: I am asked again; a rejection says something wherever it lies."""
    there = moved(ONE, Box(210, 200, 310, 320))
    of = task(roi(), standing=[ONE], reviews=[review([ONE], [ONE], by=ME), review([there], [ONE], by=ANN, hour=1)])
    found = tile(of, Agreement(3))
    assert (found.patch.box, found.vote_of(ME)) == (there.box, None)
    assert found.vote_of(ANN) is not None
    rejected = replace(of, reviews=(review([], [ONE], by=ME), of.reviews[1]))
    assert tile(rejected, Agreement(3, majority=True)).vote_of(ME) is not None


SEEN: Mapping[str, Task] = {
    "as it was": task(roi(), standing=[ONE]),
    "moved": task(roi(), standing=[ONE], reviews=[review([moved(ONE, Box(210, 200, 310, 320))], [ONE], by=ANN)]),
    "another image": replace(task(roi(), standing=[ONE]), image="/another.jpg"),
    "judged by me": task(roi(), standing=[ONE], reviews=[review([ONE], [ONE], by=ME)]),
    "judged by me again": task(roi(), standing=[ONE], reviews=[review([ONE], [ONE], by=ME, annotation=2, hour=1)]),
    "another task": task(roi(), standing=[ONE], task_id=8),
}


def test_what_a_person_looks_at_is_told_apart() -> None:
    """The picture, the place, and what they have said themselves; not what others said."""
    assert len({tile(of).sight(ME) for of in SEEN.values()}) == len(SEEN)
    assert (
        tile(SEEN["judged by me"]).sight(BEN) == tile(SEEN["as it was"]).sight(BEN) == tile(SEEN["as it was"]).sight(ME)
    )


def test_tiles_come_in_reading_order() -> None:
    """Rows from the top, each from the left, whatever the order of the proposal."""
    boxes = [Box.sized(x, y, 100, 100) for y in (100, 400) for x in (100, 300, 500)]
    of = task(roi(), standing=[patch(box) for box in reversed(boxes)])
    assert [one.patch.box for one in tiles_of(of, Agreement(), 0, "")] == boxes


def test_what_lies_outside_of_its_image_is_no_tile() -> None:
    """A picture of it can't be cut."""
    outside = patch(Box(2000, 2000, 2100, 2100))
    assert [one.patch for one in tiles_of(task(roi(), standing=[ONE, outside]), Agreement(), 0, "")] == [ONE]


def test_a_task_without_patches_has_no_tiles() -> None:
    """Neither has one of which nothing is known."""
    assert tiles_of(task(roi()), Agreement(), 0, "") == ()
    assert tiles_of(task(size=None), Agreement(), 0, "") == ()


@pytest.mark.parametrize(
    ("exclusions", "background"),
    [
        pytest.param([], Background.EMPTY, id="nothing is labelled"),
        pytest.param([Box(419, 200, 430, 210)], Background.BESIDE, id="closer than the longer side, 120 px"),
        pytest.param([Box(420, 200, 430, 210)], Background.AWAY, id="as far as the longer side"),
        pytest.param([Box(230, 439, 240, 450)], Background.BESIDE, id="closer downwards"),
        pytest.param([Box(385, 405, 400, 420)], Background.AWAY, id="corner to corner, 85 px each way"),
        pytest.param([Box(384, 404, 400, 420)], Background.BESIDE, id="corner to corner, 84 px each way"),
        pytest.param([Ellipse(460, 250, 50, 50)], Background.BESIDE, id="another shape, by the box around it"),
        pytest.param([Box(900, 900, 950, 950), Box(310, 200, 320, 210)], Background.BESIDE, id="the nearest counts"),
    ],
)
def test_the_kind_of_background(exclusions: list[Any], background: Background) -> None:
    """By how far the nearest labelled object is, measured in the patch's longer side."""
    assert tile(task(roi(), exclusions=exclusions, standing=[ONE])).background is background


AWAY = Box(1500, 1100, 1510, 1110)
SMALL = patch(Box(200, 200, 209, 300))
WARNED: Mapping[str, tuple[Task, Concern | None, str]] = {
    "nothing to say": (task(roi(), exclusions=[AWAY], standing=[ONE]), None, ""),
    "nothing is labelled": (task(roi(), standing=[ONE]), Concern.UNLABELLED, "nothing labelled in the picture"),
    "accepted elsewhere": (
        task(roi(), exclusions=[AWAY], standing=[ONE], reviews=[review([moved(ONE, Box(210, 200, 310, 320))], [ONE])]),
        Concern.MOVED,
        "moved by a reviewer",
    ),
    "stale, and why": (
        task(roi(), exclusions=[AWAY, Box(210, 210, 220, 220)], standing=[ONE], reviews=[review([ONE], [ONE])]),
        Concern.STALE,
        "stale: a labelled object touches it",
    ),
    "disputed": (
        task(
            roi(),
            exclusions=[AWAY],
            standing=[ONE],
            reviews=[said(Verdict.REJECTED, ONE, ANN), said(Verdict.ACCEPTED, ONE, BEN)],
        ),
        Concern.CONFLICT,
        "people disagree",
    ),
    "tiny": (task(roi(), exclusions=[AWAY], standing=[SMALL]), Concern.TINY, "shorter than 10 px: not exported"),
    "refused": (
        task(roi(), exclusions=[AWAY], standing=[ONE], refusal="it can't be read"),
        Concern.REFUSED,
        "its task is refused: it can't be read",
    ),
}


@pytest.mark.parametrize("of", WARNED)
def test_warnings(of: str) -> None:
    """Each says in a sentence what to look at twice."""
    found, concern, sentence = WARNED[of]
    assert dict(tile(found).warnings) == ({} if concern is None else {concern: sentence})


def test_a_patch_that_somebody_drew_was_not_moved() -> None:
    """Its id doesn't come from its place."""
    drawn = Patch("Ab3_-9", BOX)
    of = task(roi(), exclusions=[AWAY], reviews=[review([drawn])])
    assert tile(of).warnings == {}


# ---------------------------------------------------------------- filters, counts, pages


def wall() -> list[Tile]:
    """Tiles of every kind."""
    where = [Box.sized(100 + 150 * number, 100, 100, 100) for number in range(5)]
    patches = [patch(box, task_id=8) for box in where]
    told = [
        said(Verdict.ACCEPTED, patches[0], ME),
        said(Verdict.REJECTED, patches[1], ANN, "duplicate"),
        said(Verdict.ACCEPTED, patches[2], ANN),
        said(Verdict.REJECTED, patches[2], BEN, hour=1),
        said(Verdict.UNSURE, patches[3], BEN, hour=2),
    ]
    of = task(roi(), exclusions=[Box(90, 90, 99, 99)], standing=patches, reviews=told, task_id=8)
    plain = task(roi(), standing=[patch(BOX, task_id=9), SMALL], task_id=9)
    return [*tiles_of(of, Agreement(), 0, "a"), *tiles_of(plain, Agreement(min_approvals=2), 0, "b")]


WALL = wall()


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        (Filter(), 7),
        (TO_DO, 3),
        (Filter(state=State.PENDING), 3),
        (Filter(state=State.ACCEPTED), 1),
        (Filter(state=State.REJECTED), 2),
        (Filter(state=State.UNSURE), 1),
        (Filter(state="conflict"), 1),
        (Filter(reviewer="me"), 1),
        (Filter(reviewer="not-me"), 6),
        (Filter(reviewer=ANN), 2),
        (Filter(reviewer=BEN), 2),
        (Filter(reviewer=99), 0),
        (Filter(background=Background.EMPTY), 2),
        (Filter(warning=Concern.TINY), 1),
        (Filter(task=9), 2),
        (Filter(state=State.REJECTED, reviewer=BEN), 1),
    ],
)
def test_what_a_filter_keeps(wanted: Filter, count: int) -> None:
    """Everything that it doesn't speak of, too."""
    assert len(shown(WALL, wanted, ME)[0]) == count


@st.composite
def filters(draw: st.DrawFn) -> Filter:
    """Any filter."""
    return Filter(
        draw(st.sampled_from([None, "conflict", *State])),
        draw(st.sampled_from([None, "me", "not-me", ME, ANN, BEN])),
        draw(st.sampled_from([None, *Background])),
        draw(st.sampled_from([None, *Concern])),
        draw(st.sampled_from([None, 8, 9, 10])),
    )


@given(filters(), st.sampled_from([ME, ANN, 99]), st.permutations(WALL))
def test_the_counts_are_what_the_filters_would_show(wanted: Filter, person: int, tiles: list[Tile]) -> None:
    """For every value of every filter, and for no other."""
    _, counts = shown(tiles, wanted, person)
    told: dict[str, Mapping[Any, int]] = {field.name: getattr(counts, field.name) for field in fields(counts)}
    told["state"] = count_states(tiles, wanted, person)
    possible: Mapping[str, Iterable[Any]] = {
        "state": [*State, "conflict"],
        "background": Background,
        "warning": Concern,
    }
    for name, found in told.items():
        for value in {*found, *possible.get(name, ())}:
            kept, _ = shown(tiles, replace(wanted, **{name: value}), person)
            assert found.get(value, 0) == len(kept)


@given(filters(), st.permutations(WALL))
def test_filters_keep_the_order(wanted: Filter, tiles: list[Tile]) -> None:
    """What is shown is a part of what was given, in its order."""
    kept, _ = shown(tiles, wanted, ME)
    positions = [tiles.index(one) for one in kept]
    assert positions == sorted(positions)


@given(st.lists(st.integers()), st.integers(1, 9))
def test_pages_partition_what_there_is(items: list[int], size: int) -> None:
    """Every item is on one page, none is on two, and no page but the last is short."""
    of = paged(items, 1, size).of
    pages = [paged(items, number, size) for number in range(1, of + 1)]
    assert [item for page in pages for item in page.items] == items
    assert all(len(page.items) == size for page in pages[:-1])
    assert {(page.of, page.total) for page in pages} == {(of, len(items))}


@pytest.mark.parametrize(("asked", "given_"), [(-1, 1), (0, 1), (1, 1), (2, 2), (3, 2), (99, 2)])
def test_a_page_that_isnt_there_is_the_nearest_one(asked: int, given_: int) -> None:
    """Verdicts of others may have taken it away meanwhile."""
    assert paged([1, 2, 3], asked, 2).number == given_


def test_without_anything_there_is_one_empty_page() -> None:
    """Number 1 of 1."""
    page: Page[int] = paged([], 1, 60)
    assert (page.items, page.number, page.of, page.total) == ((), 1, 1, 0)


# ---------------------------------------------------------------- whole images

WHOLE = patch(Box(0, 0, 1600, 1200))


@pytest.mark.parametrize(
    ("of", "may"),
    [
        pytest.param(task(size=None), True, id="nobody has touched it"),
        pytest.param(task(roi(), standing=[ONE]), True, id="patches, and no object"),
        pytest.param(task(exclusions=[AWAY]), False, id="an object is labelled"),
        pytest.param(task(refusal="why"), False, id="refused"),
        pytest.param(task(reviews=[review([WHOLE])]), False, id="said to be empty"),
        pytest.param(task(reviews=[said(Verdict.REJECTED, WHOLE, ANN)]), False, id="said not to be"),
    ],
)
def test_which_images_may_be_empty(of: Task, may: bool) -> None:
    """Those of which nobody has said it, where nothing speaks against it."""
    assert may_be_empty(of) is may
