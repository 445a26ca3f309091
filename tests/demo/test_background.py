from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.demo.background import emptiest_rectangle
from service.domain.geometry import Box

SIDES = st.integers(1, 11)


@st.composite
def boxes(draw: st.DrawFn) -> Box:
    """A small box in, at the border of, or beside a small image."""
    left, top = draw(st.integers(-3, 12)), draw(st.integers(-3, 12))
    return Box.sized(left, top, draw(st.integers(1, 6)), draw(st.integers(1, 6)))


scenes = st.tuples(
    SIDES, SIDES, st.lists(boxes(), max_size=7).map(tuple), st.integers(0, 2)
)  # width, height, objects, clearance
Scene = tuple[int, int, tuple[Box, ...], int]


def room(box: Box) -> int:
    """What is to be as large as possible, in cubic pixels."""
    return min(box.width, box.height) * box.area


def every_free_box(width: int, height: int, objects: tuple[Box, ...], clearance: int) -> list[Box]:
    """Brute force: all boxes of whole pixels in the image that keep clear of the objects."""
    grown = [box.grown(clearance) for box in objects]
    spans = [[(low, high) for low in range(side) for high in range(low + 1, side + 1)] for side in (width, height)]
    candidates = (Box(left, top, right, bottom) for (left, right), (top, bottom) in product(*spans))
    return [box for box in candidates if not any(box.touches(one) for one in grown)]


@given(scenes)
def test_no_free_rectangle_is_roomier(scene: Scene) -> None:
    """Exact: of all free rectangles of whole pixels, none has more room; None only when there is none."""
    found = emptiest_rectangle(*scene)
    candidates = every_free_box(*scene)
    if found is None:
        assert not candidates
    else:
        assert found in candidates
        assert room(found) == max(map(room, candidates))


@given(
    st.lists(
        st.builds(Box.sized, st.integers(-50, 1700), st.integers(-50, 1300), *[st.integers(1, 90)] * 2),
        min_size=10,
        max_size=40,
    ).map(tuple),
    st.integers(0, 30),
)
def test_it_keeps_clear_of_every_object(objects: tuple[Box, ...], clearance: int) -> None:
    """Inside the image, and no object comes nearer than the clearance."""
    found = emptiest_rectangle(1600, 1200, objects, clearance)
    assert found is not None
    assert Box(0, 0, 1600, 1200).holds(found)
    assert not any(found.grown(clearance).touches(one) for one in objects)


@given(scenes)
def test_the_order_of_the_objects_does_not_matter(scene: Scene) -> None:
    """The same objects in another order, or twice: the same rectangle."""
    width, height, objects, clearance = scene
    again = emptiest_rectangle(width, height, objects[::-1] + objects, clearance)
    assert again == emptiest_rectangle(*scene)


def test_an_image_without_objects_is_all_background() -> None:
    """No objects: the whole image."""
    assert emptiest_rectangle(640, 480, ()) == Box(0, 0, 640, 480)


@pytest.mark.parametrize("covered", [Box(0, 0, 640, 480), Box(-50, -50, 700, 500), Box(4, 4, 636, 476)])
def test_a_covered_image_has_none(covered: Box) -> None:
    """Nothing free, even if only because of the clearance: None."""
    assert emptiest_rectangle(640, 480, (covered,)) is None


def test_a_compact_rectangle_beats_a_strip_of_more_area() -> None:
    """A person draws around background that holds patches: 300 × 300 px rather than 1600 × 60 px."""
    objects = (Box(0, 60, 1600, 100), Box(300, 100, 1600, 400))
    assert emptiest_rectangle(1600, 400, objects, clearance=0) == Box(0, 100, 300, 400)
