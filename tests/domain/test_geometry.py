from collections.abc import Callable
from dataclasses import FrozenInstanceError
from itertools import product

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from shapely import affinity

from service.domain.geometry import Box, Outline, enclosing, inward, outward

small_boxes = st.builds(Box.sized, *[st.integers(-4, 6)] * 2, *[st.integers(1, 8)] * 2)
margins = st.integers(0, 5)
angles = st.floats(-360, 360)


def pixels(box: Box) -> set[tuple[int, int]]:
    """All pixels of the box, one by one."""
    return set(product(range(box.left, box.right), range(box.top, box.bottom)))


def turned(x: float, y: float, width: float, height: float, rotation: float) -> shapely.Polygon:
    """The rectangle as shapely sees it: with y down, its counter-clockwise is our clockwise."""
    upright = shapely.box(x, y, x + width, y + height)
    rotated: shapely.Polygon = affinity.rotate(upright, rotation, origin=(x, y))
    return rotated


# ---------------------------------------------------------------- Box


@pytest.mark.parametrize("sides", [(5, 0, 5, 9), (6, 0, 5, 9), (0, 9, 5, 9), (0, 10, 5, 9)])
def test_an_empty_box_cannot_be_built(sides: tuple[int, int, int, int]) -> None:
    """A box without a pixel is no box."""
    with pytest.raises(ValueError, match="empty box"):
        Box(*sides)


def test_a_box_is_frozen() -> None:
    """Nobody changes a box that others hold."""
    with pytest.raises(FrozenInstanceError):
        Box(0, 0, 1, 1).left = 5  # type: ignore[misc]


def test_sized_and_xywh_are_inverse() -> None:
    """Width and height count pixels, right and bottom are exclusive."""
    box = Box.sized(30, 40, 100, 200)
    assert (box, box.as_xywh()) == (Box(30, 40, 130, 240), (30, 40, 100, 200))


@given(small_boxes)
def test_area_counts_pixels(box: Box) -> None:
    """The area is the number of pixels."""
    assert box.area == len(pixels(box))


@given(small_boxes, small_boxes)
def test_shared_area_counts_common_pixels(one: Box, other: Box) -> None:
    """What two boxes share is the number of pixels in both."""
    assert one.shared_area(other) == len(pixels(one) & pixels(other))


@given(small_boxes, small_boxes)
def test_touching_is_sharing_a_pixel(one: Box, other: Box) -> None:
    """Boxes that only meet at an edge or a corner don't touch."""
    assert one.touches(other) == (not pixels(one).isdisjoint(pixels(other)))


@given(small_boxes, small_boxes)
def test_holding_is_having_every_pixel(one: Box, other: Box) -> None:
    """A box holds another when no pixel of it lies outside; a box holds itself."""
    assert one.holds(other) == (pixels(other) <= pixels(one))


@given(small_boxes, small_boxes, margins)
def test_a_grown_box_reaches_as_far_as_its_margin(one: Box, other: Box, margin: int) -> None:
    """A grown box touches what comes nearer than the margin, whichever of the two is grown."""
    gap_x = max(other.left - one.right, one.left - other.right)
    gap_y = max(other.top - one.bottom, one.top - other.bottom)
    near = max(gap_x, gap_y) < margin
    assert (one.grown(margin).touches(other), one.touches(other.grown(margin))) == (near, near)


@given(st.lists(small_boxes, min_size=1, max_size=5).map(tuple))
def test_the_enclosing_box_holds_all_and_no_more(boxes: tuple[Box, ...]) -> None:
    """It holds every pixel, and each of its sides has one."""
    xs, ys = zip(*set.union(*map(pixels, boxes)), strict=True)
    assert enclosing(boxes) == Box(min(xs), min(ys), max(xs) + 1, max(ys) + 1)


def test_corners_go_clockwise_from_the_top_left() -> None:
    """As the eye goes round, y down."""
    assert Box(1, 2, 5, 9).corners == ((1, 2), (5, 2), (5, 9), (1, 9))


# ---------------------------------------------------------------- Outline


def test_an_outline_needs_three_points() -> None:
    """Two points enclose nothing."""
    with pytest.raises(ValueError, match="three points"):
        Outline(((0.0, 0.0), (1.0, 1.0)))


@pytest.mark.parametrize(("width", "height"), [(0, 5), (5, 0), (-1, 5), (5, -1), (float("nan"), 5)])
def test_an_empty_rectangle_cannot_be_built(width: float, height: float) -> None:
    """A rectangle without extent, or with one that is no number, is refused."""
    with pytest.raises(ValueError, match="empty rectangle"):
        Outline.rectangle(0, 0, width, height)


def test_a_rectangle_turns_clockwise_about_its_top_left_corner() -> None:
    """Label Studio's way: a quarter turn lays the rectangle to the left of its corner."""
    assert Outline.rectangle(100, 100, 50, 20, rotation=90).bounds == Box(80, 100, 100, 150)


@given(small_boxes, small_boxes)
def test_an_upright_outline_holds_what_its_box_holds(one: Box, other: Box) -> None:
    """Without rotation an outline of whole pixels is just a box."""
    assert Outline.rectangle(*one.as_xywh()).holds(other) == one.holds(other)


@given(
    angles,
    st.integers(20, 200),
    st.integers(20, 200),
    st.floats(-0.3, 0.3),
    st.floats(-0.3, 0.3),
    st.floats(0.05, 1.0),
    st.floats(0.05, 1.0),
)
def test_a_rotated_outline_holds_what_shapely_says(
    rotation: float, width: int, height: int, right_by: float, down_by: float, wide: float, high: float
) -> None:
    """Wholly inside is held, a hundredth of a pixel outside is not; judged by another geometry library."""
    polygon = turned(33.3, -12.5, width, height, rotation)
    x, y = polygon.centroid.x + right_by * width, polygon.centroid.y + down_by * height
    box = Box.sized(round(x - wide * width / 2), round(y - high * height / 2), int(wide * width), int(high * height))
    judged = shapely.box(box.left, box.top, box.right, box.bottom)
    held = Outline.rectangle(33.3, -12.5, width, height, rotation).holds(box)
    if held:
        assert polygon.buffer(0.01, join_style="mitre").covers(judged)
    else:
        assert not polygon.buffer(-0.01, join_style="mitre").covers(judged)


@pytest.mark.parametrize(("width", "held"), [(99.9999, True), (99.99, False)])
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_an_outline_forgives_only_what_arithmetic_loses(width: float, held: bool, rotation: int) -> None:
    """A ten-thousandth of a pixel too small is large enough, a hundredth is not."""
    outline = Outline.rectangle(0, 0, width, width, rotation)
    left, top = {0: (0, 0), 90: (-100, 0), 180: (-100, -100), 270: (0, -100)}[rotation]
    assert outline.holds(Box.sized(left, top, 100, 100)) is held


@given(angles, st.floats(-500, 500), st.floats(1, 300), st.floats(1, 300))
def test_bounds_are_the_smallest_whole_pixels_around(rotation: float, x: float, width: float, height: float) -> None:
    """Each side of the bounds lies less than a pixel outside of the outline, and never inside of it."""
    bounds = Outline.rectangle(x, x / 2, width, height, rotation).bounds
    left, top, right, bottom = turned(x, x / 2, width, height, rotation).bounds
    slack = (left - bounds.left, top - bounds.top, bounds.right - right, bounds.bottom - bottom)
    assert all(-0.002 <= one < 1 for one in slack), slack


# ---------------------------------------------------------------- rounding


@given(st.data())
def test_whole_pixels_survive_label_studios_percents(data: st.DataObject) -> None:
    """A patch written in percents of the image is read back as the very same box: its id depends on it."""
    width, height = data.draw(st.integers(1, 30_000)), data.draw(st.integers(1, 30_000))
    left, top = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    box = Box(left, top, data.draw(st.integers(left + 1, width)), data.draw(st.integers(top + 1, height)))
    x, w = (pixel * 100 / width for pixel in (box.left, box.width))
    y, h = (pixel * 100 / height for pixel in (box.top, box.height))
    outline = Outline.rectangle(x * width / 100, y * height / 100, w * width / 100, h * height / 100)
    (left_read, top_read), _, (right_read, bottom_read), _ = outline.points
    assert (inward(left_read, top_read, right_read, bottom_read), outline.bounds) == (box, box)


def test_outward_covers_every_pixel_that_is_begun() -> None:
    """An exclusion only grows by rounding."""
    assert outward(9.6, 19.01, 30.01, 40.4) == Box(9, 19, 31, 41)


def test_inward_leaves_out_every_pixel_that_is_cut() -> None:
    """A patch only shrinks by rounding."""
    assert inward(9.6, 19.01, 30.99, 40.4) == Box(10, 20, 30, 40)


@pytest.mark.parametrize("rounded", [inward, outward])
def test_rounding_forgives_what_arithmetic_loses(rounded: Callable[[float, float, float, float], Box]) -> None:
    """A ten-thousandth of a pixel is no pixel."""
    assert rounded(9.9999, 20.0001, 29.9999, 40.0001) == Box(10, 20, 30, 40)


@pytest.mark.parametrize(("x", "y"), [(7.5, 8.5), (7.0, 8.5), (7.5, 8.0), (7.0, 8.0)])
def test_outward_of_a_point_is_one_pixel(x: float, y: float) -> None:
    """A label without extent still excludes the pixel under it."""
    assert outward(x, y, x, y) == Box(7, 8, 8, 9)


def test_inward_of_less_than_a_pixel_is_refused() -> None:
    """What holds no whole pixel is no patch."""
    with pytest.raises(ValueError, match="empty box"):
        inward(3.2, 3.2, 3.9, 9.0)
