from collections.abc import Callable
from dataclasses import FrozenInstanceError
from itertools import product

import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from shapely import affinity

from service.domain.geometry import Box, Ellipse, Painted, Polygon, enclosing, inward, outward
from tests.sampling.judge import seen

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


@given(small_boxes, small_boxes)
def test_what_two_boxes_have_in_common_is_a_box(one: Box, other: Box) -> None:
    """Every pixel of both and no other; None when there is none."""
    common = one.common(other)
    assert (pixels(common) if common else set()) == pixels(one) & pixels(other)


# ---------------------------------------------------------------- Polygon


@pytest.mark.parametrize("points", [(), ((0.0, 0.0), (1.0, 1.0)), ((0.0, 0.0), (1.0, 1.0), (float("nan"), 2.0))])
def test_a_polygon_needs_three_points(points: tuple[tuple[float, float], ...]) -> None:
    """Two points enclose nothing, and a point that is no number is none."""
    with pytest.raises(ValueError, match="three points"):
        Polygon(points)


@pytest.mark.parametrize(("width", "height"), [(0, 5), (5, 0), (-1, 5), (5, -1), (float("nan"), 5), (float("inf"), 5)])
def test_an_empty_rectangle_cannot_be_built(width: float, height: float) -> None:
    """A rectangle without extent, or with one that is no number, is refused."""
    with pytest.raises(ValueError, match="empty rectangle"):
        Polygon.rectangle(0, 0, width, height)


def test_a_rectangle_turns_clockwise_about_its_top_left_corner() -> None:
    """Label Studio's way: a quarter turn lays the rectangle to the left of its corner."""
    assert Polygon.rectangle(100, 100, 50, 20, rotation=90).bounds == Box(80, 100, 100, 150)


@given(angles, st.floats(-500, 500), st.floats(1, 300), st.floats(1, 300))
def test_what_was_drawn_as_a_rectangle_is_one(rotation: float, x: float, width: float, height: float) -> None:
    """However it is turned: it goes back to Label Studio as a rectangle."""
    assert Polygon.rectangle(x, x / 2, width, height, rotation).is_rectangle


@pytest.mark.parametrize(
    "points",
    [
        pytest.param(((0, 0), (9, 0), (9, 5)), id="three corners"),
        pytest.param(((0, 0), (9, 0), (9, 5), (4, 5), (0, 5)), id="five corners"),
        pytest.param(((0, 0), (9, 0), (9, 5), (0, 5.1)), id="sides of unequal length"),
        pytest.param(((0, 0), (9, 0), (10, 5), (1, 5)), id="no right angles"),
        pytest.param(((0, 0), (10, 0), (11.9, 20_000), (1.9, 20_000)), id="slanting by less than a degree, long"),
        pytest.param(((0, 0), (0, 5), (9, 5), (9, 0)), id="counter-clockwise"),
        pytest.param(((0, 0), (9, 0), (9, 0), (0, 0)), id="a line there and back"),
        pytest.param(((0, 0), (0, 0), (0, 0), (0, 0)), id="a point"),
    ],
)
def test_what_is_no_rectangle_is_not_taken_for_one(points: tuple[tuple[float, float], ...]) -> None:
    """It would come back as another shape than was drawn."""
    assert not Polygon(points).is_rectangle


@pytest.mark.parametrize(
    ("outline", "is_upright"),
    [
        (Polygon.rectangle(3.5, 4.5, 20, 10), True),
        (Polygon.rectangle(3.5, 4.5, 20, 10, rotation=0.01), False),
        (Polygon.rectangle(3.5, 4.5, 20, 10, rotation=90), False),
        (Polygon(((9, 0), (9, 5), (0, 5), (0, 0))), False),
        (Polygon(((9, 5), (0, 5), (0, 0), (9, 0))), False),
        (Polygon(((0, 0), (9, 0), (9, 5))), False),
        (Polygon(((0, 0), (9, 0), (10, 5), (1, 5))), False),
    ],
)
def test_a_rectangle_that_is_not_turned_is_upright(outline: Polygon, is_upright: bool) -> None:
    """Then its first corner is the top left one, and its third the opposite."""
    assert outline.is_upright is is_upright


def test_the_bounds_of_a_line_are_a_row_of_pixels() -> None:
    """A polygon without extent still lies somewhere."""
    assert Polygon(((2.0, 5.0), (6.0, 5.0), (4.0, 5.0))).bounds == Box(2, 5, 6, 6)


def test_a_polygon_is_known_by_its_corners_to_a_hundredth() -> None:
    """What percents lose is no other shape."""
    near = Polygon(((0.001, 1e-9), (9.996, 0), (0, 10)))
    assert near.rounded == ((0.0, 0.0), (10.0, 0.0), (0.0, 10.0))


@given(angles, st.floats(-500, 500), st.floats(1, 300), st.floats(1, 300))
def test_bounds_are_the_smallest_whole_pixels_around(rotation: float, x: float, width: float, height: float) -> None:
    """Each side of the bounds lies less than a pixel outside of the rectangle, and never inside of it."""
    bounds = Polygon.rectangle(x, x / 2, width, height, rotation).bounds
    left, top, right, bottom = turned(x, x / 2, width, height, rotation).bounds
    slack = (left - bounds.left, top - bounds.top, bounds.right - right, bounds.bottom - bottom)
    assert all(-0.002 <= one < 1 for one in slack), slack


# ---------------------------------------------------------------- Ellipse and Painted


@pytest.mark.parametrize(
    "wrong", [{"radius_x": 0.0}, {"radius_y": -1.0}, {"x": float("nan")}, {"rotation": float("inf")}]
)
def test_an_empty_ellipse_cannot_be_built(wrong: dict[str, float]) -> None:
    """Without extent, or with a number that is none."""
    with pytest.raises(ValueError, match="empty ellipse"):
        Ellipse(**{"x": 5.0, "y": 5.0, "radius_x": 2.0, "radius_y": 3.0} | wrong)


@given(angles, st.floats(-500, 500), st.floats(1, 300), st.floats(1, 300))
def test_the_bounds_of_an_ellipse_are_the_smallest_whole_pixels_around(
    rotation: float, x: float, radius_x: float, radius_y: float
) -> None:
    """Each side lies less than a pixel outside of the ellipse, and never inside of it."""
    bounds = Ellipse(x, x / 2, radius_x, radius_y, rotation).bounds
    left, top, right, bottom = seen(Ellipse(x, x / 2, radius_x, radius_y, rotation), corners=4096).bounds
    slack = (left - bounds.left, top - bounds.top, bounds.right - right, bounds.bottom - bottom)
    assert all(-0.002 <= one < 1.001 for one in slack), slack


def test_an_ellipse_is_known_by_its_numbers_to_a_hundredth() -> None:
    """What percents lose is no other shape."""
    assert Ellipse(1.001, 2, 3, 4.004, 5.0001).rounded == (1.0, 2.0, 3.0, 4.0, 5.0)


def test_what_is_painted_has_a_pixel() -> None:
    """An empty brush is no shape."""
    with pytest.raises(ValueError, match="nothing is painted"):
        Painted(())


def test_what_is_painted_is_known_by_its_pixels() -> None:
    """Its bounds are the smallest box around them."""
    boxes = (Box(5, 1, 9, 2), Box(2, 2, 4, 7))
    assert (Painted(boxes).bounds, Painted(boxes).rounded) == (Box(2, 1, 9, 7), boxes)


# ---------------------------------------------------------------- rounding


@given(st.data())
def test_whole_pixels_survive_label_studios_percents(data: st.DataObject) -> None:
    """A patch written in percents of the image is read back as the very same box: its id depends on it."""
    width, height = data.draw(st.integers(1, 30_000)), data.draw(st.integers(1, 30_000))
    left, top = data.draw(st.integers(0, width - 1)), data.draw(st.integers(0, height - 1))
    box = Box(left, top, data.draw(st.integers(left + 1, width)), data.draw(st.integers(top + 1, height)))
    x, w = (pixel * 100 / width for pixel in (box.left, box.width))
    y, h = (pixel * 100 / height for pixel in (box.top, box.height))
    outline = Polygon.rectangle(x * width / 100, y * height / 100, w * width / 100, h * height / 100)
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


def test_a_box_is_told_by_size_and_corner() -> None:
    """In words that people read everywhere."""
    assert Box(200, 200, 300, 290).words == "100 × 90 px at (200, 200)"
    assert Box(1, 2, 31, 42).words == "30 × 40 px at (1, 2)"
