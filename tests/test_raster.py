"""Pixels of shapes, judged by shapely; and what boxes leave of others, judged pixel by pixel."""

from collections.abc import Iterable, Iterator
from itertools import pairwise
from random import Random

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from shapely import affinity

from service.domain.geometry import Box, Ellipse, Outline, Painted, Polygon, Shape
from service.domain.model import Scene
from service.raster import Boxes, beyond, boxes_of, covered, holds, left_over, moved, painted, touched, touches
from tests.sampling.judge import (
    ROI_KINDS,
    Mask,
    beyond_of,
    covers_of,
    crossing_polygon,
    random_outline,
    random_polygon,
    seen,
    squares,
)

FRAME = Box(-50, -50, 50, 50)
"""Holds every random shape here."""
KINDS = (*ROI_KINDS, "star", "whole corners")


def outlines(kind: str, wanted: int, *, seed: int = 0, reach: float = 30) -> Iterator[Outline]:
    """Random outlines of a kind about the origin, large and small."""
    rng = Random(f"{kind} {seed}")
    for _ in range(wanted):
        x, y, r = rng.uniform(-5, 5), rng.uniform(-5, 5), reach * rng.choice([1.0, 0.5, 0.1])
        match kind:
            case "star":
                yield random_polygon(rng, x, y, r, "star")
            case "whole corners":
                yield random_polygon(rng, round(x), round(y), max(r, 5), "whole")
            case _:
                yield random_outline(kind, rng, x, y, r)


def mask_of(boxes: Boxes, frame: Box = FRAME) -> Mask:
    """The pixels of the frame that the boxes hold."""
    mask = np.zeros((frame.height, frame.width), dtype=bool)
    for left, top, right, bottom in np.clip(boxes, (frame.left, frame.top) * 2, (frame.right, frame.bottom) * 2):
        mask[top - frame.top : bottom - frame.top, left - frame.left : right - frame.left] = True
    return mask


def within(box: Box, frame: Box = FRAME) -> tuple[slice, slice]:
    """The box's part of a mask of the frame."""
    return slice(box.top - frame.top, box.bottom - frame.top), slice(box.left - frame.left, box.right - frame.left)


def random_box(rng: Random, frame: Box = FRAME) -> Box:
    """Anywhere in the frame, of any size up to half of it."""
    left, top = rng.randrange(frame.left, frame.right), rng.randrange(frame.top, frame.bottom)
    width, height = rng.randint(1, frame.width // 2), rng.randint(1, frame.height // 2)
    return Box(left, top, min(left + width, frame.right), min(top + height, frame.bottom))


# ---------------------------------------------------------------- which pixels a shape covers


@pytest.mark.parametrize("kind", KINDS)
def test_what_shares_area_with_a_shape_is_covered(kind: str) -> None:
    """Exactly these pixels and no others; those too close to tell from rounding don't count."""
    told = [(shape, covers_of(shape, FRAME)) for shape in outlines(kind, 60)]
    clear = [(shape, expected) for shape, expected in told if expected is not None]
    assert len(clear) > 30
    for shape, expected in clear:
        assert (mask_of(covered([shape])) == expected).all(), shape


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_not_wholly_inside_an_outline_is_beyond(kind: str) -> None:
    """Exactly these pixels of its bounding box and no others."""
    told = [(shape, beyond_of(shape, shape.bounds)) for shape in outlines(kind, 60, seed=1)]
    clear = [(shape, expected) for shape, expected in told if expected is not None]
    assert len(clear) > 30
    for shape, expected in clear:
        assert (mask_of(beyond(shape), shape.bounds) == expected).all(), shape


def test_a_polygon_of_whole_corners_covers_every_pixel_it_has_a_part_of() -> None:
    """However small the part is: measured, not tested with a tolerance."""
    for shape in outlines("whole corners", 60, seed=2):
        frame = shape.bounds.grown(1)
        shared = shapely.area(shapely.intersection(seen(shape), squares(frame, 0.0)))
        assert (mask_of(covered([shape]), frame) == (shared > 1e-9)).all(), shape


def test_a_polygon_that_crosses_itself_covers_what_it_winds_round() -> None:
    """Also where it winds round twice, as Label Studio shows it: no object has a hole where its outline crosses."""
    rng, clear = Random(3), 0
    for _ in range(60):
        shape = crossing_polygon(rng, 0, 0, 35)
        if (expected := covers_of(shape, FRAME)) is not None:
            clear += 1
            assert (mask_of(covered([shape])) == expected).all(), shape
    assert clear > 30


def test_all_lines_of_a_polygon_are_its_border() -> None:
    """Where one crosses itself, both sides of an inner line are inside, but no patch lies across it."""
    star = Polygon(((0, -35), (22, 32), (-34, -10.5), (34, -10.5), (-22, 32)))
    sides = Box(-4, -16, 4, -11), Box(-4, -10, 4, -5)
    assert (*(holds(star, side) for side in sides), holds(star, Box(-4, -14, 4, -6))) == (True, True, False)


def test_many_shapes_cover_what_each_covers() -> None:
    """Nothing of one is lost, nothing joined with another's."""
    rng = Random(4)
    for _ in range(20):
        shapes: list[Shape] = [
            shape for kind in KINDS for shape in outlines(kind, 2, seed=rng.randrange(999), reach=15)
        ]
        rng.shuffle(shapes)
        alone = np.logical_or.reduce([mask_of(covered([shape])) for shape in shapes])
        assert (mask_of(covered(shapes)) == alone).all()


@pytest.mark.parametrize("rotation", [0, 90, 180, 270, 360, -90])
def test_an_upright_rectangle_is_its_box(rotation: int) -> None:
    """Arithmetic that turns it by right angles neither adds nor takes a pixel."""
    rectangle = Polygon.rectangle(3, 5, 20, 11, rotation)
    box = rectangle.bounds
    assert (mask_of(covered([rectangle])) == mask_of(boxes_of([box]))).all()
    assert len(beyond(rectangle)) == 0


def test_a_box_covers_itself() -> None:
    """Its pixels, and no others."""
    assert covered([Box(1, 2, 3, 4), Box(-5, 0, 9, 1)]).tolist() == [[1, 2, 3, 4], [-5, 0, 9, 1]]


def test_nothing_covers_nothing() -> None:
    """A scene without objects has none."""
    assert covered([]).shape == (0, 4)


@pytest.mark.parametrize(
    ("line", "pixels"),
    [
        pytest.param(((2.5, 3.5), (6.5, 3.5), (4.0, 3.5)), Box(2, 3, 7, 4), id="level"),
        pytest.param(((2.5, 3.5), (2.5, 6.5), (2.5, 4.0)), Box(2, 3, 3, 7), id="upright"),
    ],
)
def test_a_polygon_without_extent_still_covers_its_line(line: tuple[tuple[float, float], ...], pixels: Box) -> None:
    """A label that somebody drew is not lost because it is thin."""
    assert (mask_of(covered([Polygon(line)])) == mask_of(boxes_of([pixels]))).all()


def test_a_slanting_line_covers_the_pixels_it_runs_through() -> None:
    """As many in a row as it needs to get to the next."""
    line = Polygon(((0.5, 0.5), (6.5, 3.5), (2.5, 1.5)))
    runs = [Box(0, 0, 2, 1), Box(1, 1, 4, 2), Box(3, 2, 6, 3), Box(5, 3, 7, 4)]
    assert (mask_of(covered([line])) == mask_of(boxes_of(runs))).all()


def test_an_ellipse_smaller_than_a_pixel_covers_that_pixel() -> None:
    """A keypoint of a tenth of a pixel is an object."""
    assert covered([Ellipse(4.5, 7.5, 0.1, 0.1)]).tolist() == [[4, 7, 5, 8]]


def test_an_ellipse_turns_clockwise_about_its_centre() -> None:
    """Label Studio's way, y down: turned by a twelfth, its right end goes down."""
    ellipse = Ellipse(100, 50, 40, 2, rotation=30)
    assert (touches(ellipse, Box(130, 67, 134, 70)), touches(ellipse, Box(130, 31, 134, 34))) == (True, False)


@pytest.mark.parametrize(
    "thin",
    [Polygon(((2.5, 3.5), (6.5, 3.5), (4.0, 3.5))), Ellipse(4.5, 7.5, 0.4, 0.4), Polygon.rectangle(0.2, 0.2, 20, 0.6)],
)
def test_a_shape_thinner_than_a_pixel_holds_none(thin: Outline) -> None:
    """All its bounding box lies beyond."""
    assert mask_of(beyond(thin), thin.bounds).all()


# ---------------------------------------------------------------- touches, holds, touched


@pytest.mark.parametrize("kind", KINDS)
def test_touching_is_holding_a_covered_pixel(kind: str) -> None:
    """Boxes that only meet the shape do not touch it; judged by shapely."""
    rng, touching = Random(kind), 0
    for shape in outlines(kind, 30, seed=5):
        if (expected := covers_of(shape, FRAME)) is not None:
            for box in (random_box(rng) for _ in range(10)):
                assert touches(shape, box) == expected[within(box)].any(), (shape, box)
                touching += touches(shape, box)
    assert touching > 20


@pytest.mark.parametrize("kind", KINDS)
def test_holding_is_having_no_pixel_beyond(kind: str) -> None:
    """And none outside of the bounding box; judged by shapely."""
    rng, held = Random(kind), 0
    for shape in outlines(kind, 40, seed=6):
        if (expected := beyond_of(shape, FRAME)) is not None:
            for box in (random_box(rng, shape.bounds.grown(1)) for _ in range(30)):
                assert holds(shape, box) != expected[within(box)].any(), (shape, box)
                held += holds(shape, box)
    assert held > 20


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("margin", [0, 1, 4])
def test_the_margin_of_a_shape_is_kept_free(kind: str, margin: int) -> None:
    """A box touches what comes nearer to it than the margin, diagonally too; judged by shapely."""
    rng, near = Random(kind), 0
    for shape in outlines(kind, 12, seed=7):
        if (expected := covers_of(shape, FRAME, margin)) is not None:
            scene = Scene(80, 80, (shape,))
            for box in (random_box(rng) for _ in range(10)):
                assert touched(scene, box, margin) == expected[within(box)].any(), (shape, box)
                near += touched(scene, box, margin)
    assert near > 5


@pytest.mark.parametrize(("distance", "is_near"), [(9, True), (10, False)])
def test_as_many_free_pixels_as_the_margin_are_enough(distance: int, is_near: bool) -> None:
    """One fewer is not."""
    scene = Scene(500, 500, exclusions=(Box.sized(300, 300, 20, 20),))
    assert touched(scene, Box(200, 200, 300 - distance, 310), margin=10) is is_near


def test_any_object_can_be_touched() -> None:
    """Not only the first of them."""
    scene = Scene(500, 500, (Box(0, 0, 5, 5), Ellipse(50, 50, 5, 5), Polygon.rectangle(90, 90, 9, 9, 45)))
    assert [touched(scene, Box.sized(at, at, 9, 9), 0) for at in (3, 20, 45, 70, 92)] == [
        True,
        False,
        True,
        False,
        True,
    ]


@given(
    st.floats(-360, 360),
    st.integers(20, 200),
    st.integers(20, 200),
    st.floats(-0.3, 0.3),
    st.floats(-0.3, 0.3),
    st.floats(0.05, 1.0),
    st.floats(0.05, 1.0),
)
def test_a_rotated_rectangle_holds_what_shapely_says(
    rotation: float, width: int, height: int, right_by: float, down_by: float, wide: float, high: float
) -> None:
    """Wholly inside is held, a hundredth of a pixel outside is not; shapely turns the rectangle, too."""
    upright = shapely.box(33.3, -12.5, 33.3 + width, -12.5 + height)
    polygon = affinity.rotate(upright, rotation, origin=(33.3, -12.5))
    x, y = polygon.centroid.x + right_by * width, polygon.centroid.y + down_by * height
    box = Box.sized(round(x - wide * width / 2), round(y - high * height / 2), int(wide * width), int(high * height))
    judged = shapely.box(box.left, box.top, box.right, box.bottom)
    held = holds(Polygon.rectangle(33.3, -12.5, width, height, rotation), box)
    assert held == polygon.buffer(0.01 if held else -0.01, join_style="mitre").covers(judged)


@pytest.mark.parametrize(("width", "held"), [(99.9999, True), (99.99, False)])
@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
def test_an_outline_forgives_only_what_arithmetic_loses(width: float, held: bool, rotation: int) -> None:
    """A ten-thousandth of a pixel too small is large enough, a hundredth is not."""
    outline = Polygon.rectangle(0, 0, width, width, rotation)
    left, top = {0: (0, 0), 90: (-100, 0), 180: (-100, -100), 270: (0, -100)}[rotation]
    assert holds(outline, Box.sized(left, top, 100, 100)) is held


@pytest.mark.parametrize(("x", "is_touched"), [(10.0001, False), (10.01, True), (9.9999, False)])
def test_touching_forgives_only_what_arithmetic_loses(x: float, is_touched: bool) -> None:
    """An object that reaches a ten-thousandth of a pixel into a box doesn't touch it, a hundredth does."""
    object_ = Polygon(((x, 0), (x, 20), (0, 10)))
    assert touches(object_, Box(10, 0, 20, 20)) is is_touched


# ---------------------------------------------------------------- painted


@given(arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=9)))
def test_painting_a_mask_keeps_every_pixel(mask: Mask) -> None:
    """What was in it is in the boxes, each pixel once; a mask without any is nothing."""
    found = painted(mask)
    boxes = () if found is None else found.boxes
    count = np.zeros(mask.shape, dtype=int)
    for box in boxes:
        count[box.top : box.bottom, box.left : box.right] += 1
    assert ((count == mask).all(), found is None) == (True, not mask.any())


def test_a_painted_rectangle_is_one_box() -> None:
    """Rows alike are one box: a brush of many rows stays small."""
    mask = np.zeros((50, 60), dtype=bool)
    mask[10:40, 20:50] = True
    assert painted(mask) == Painted((Box(20, 10, 50, 40),))


def test_the_boxes_of_a_mask_never_change() -> None:
    """An ROI's id and seed are made of them: these very boxes, in this order."""
    rows = ["##.##", "##.#.", ".#...", "#####"]
    found = painted(np.array([[letter == "#" for letter in row] for row in rows]))
    assert found == Painted((Box(0, 0, 2, 2), Box(0, 3, 5, 4), Box(1, 2, 2, 3), Box(3, 1, 4, 2), Box(3, 0, 5, 1)))


# ---------------------------------------------------------------- what a set of boxes leaves


def assert_left_over(domain: Box, taken: Boxes) -> None:
    """Exactly what isn't taken, each pixel once, ordered by top, then left."""
    rest = left_over(domain, taken)
    count = np.zeros((domain.height, domain.width), dtype=np.int8)
    for left, top, right, bottom in moved(rest, *(-domain.left, -domain.top) * 2):
        assert 0 <= left < right <= domain.width
        assert 0 <= top < bottom <= domain.height
        count[top:bottom, left:right] += 1
    assert (count == ~mask_of(taken, domain)).all()
    assert all((one[1], one[0]) < (other[1], other[0]) for one, other in pairwise(rest.tolist()))


def some_boxes(
    most: int, reach: int, side: int, least: int = 0
) -> st.SearchStrategy[Boxes]:  # a numpy array of shape (n, 4)
    """Boxes that overlap each other and stick out of what they are about."""
    one = st.builds(Box.sized, *[st.integers(-reach, reach)] * 2, *[st.integers(1, side)] * 2)
    return st.lists(one, min_size=least, max_size=most).map(boxes_of)


@given(st.builds(Box.sized, *[st.integers(-6, 6)] * 2, *[st.integers(1, 14)] * 2), some_boxes(8, 10, 12))
def test_what_is_left_over_is_the_rest(domain: Box, taken: Boxes) -> None:
    """The law: disjoint boxes that hold exactly what isn't taken, in order."""
    assert_left_over(domain, taken)


@given(some_boxes(8, 10, 12), st.sampled_from([(1, 1), (2340, 1), (1, 2341), (40_000, 30_000)]))
def test_the_size_of_the_domain_does_not_matter(taken: Boxes, scale: tuple[int, int]) -> None:
    """Drawn large, the same is left: also where the sides don't fit into sixteen bits."""
    small = left_over(Box(-7, -7, 7, 7), taken)
    x, y = scale
    assert (left_over(Box(-7 * x, -7 * y, 7 * x, 7 * y), taken * (x, y, x, y)) == small * (x, y, x, y)).all()


@pytest.mark.parametrize("width", [32_767, 32_768, 40_000])
@pytest.mark.parametrize("is_tall", [False, True])
def test_a_domain_as_wide_as_numbers_get(width: int, is_tall: bool) -> None:
    """Sixteen bits and more, wide or tall, with boxes at both ends."""
    rng = Random(width)
    rows = [(0, 0, 3, 2), (width - 3, 1, width + 9, 3)]
    rows += [(x, y, x + rng.randint(1, width // 3), y + rng.randint(1, 4))
             for x, y in ((rng.randint(-9, width), rng.randint(-3, 5)) for _ in range(12))]  # fmt: skip
    taken = np.array(rows, dtype=np.int64)
    assert_left_over(
        Box(0, 0, 6, width) if is_tall else Box(0, 0, width, 6), taken[:, [1, 0, 3, 2]] if is_tall else taken
    )


@pytest.mark.parametrize(
    ("boxes", "wide", "high"),
    [
        pytest.param(500, 60, 60, id="some in every row"),
        pytest.param(2500, 12, 12, id="many small ones"),
        pytest.param(3000, 1, 700, id="many in every row"),
        pytest.param(40, 900, 2, id="wide ones"),
    ],
)
def test_many_boxes_leave_the_same_rest_as_few(boxes: int, wide: int, high: int) -> None:
    """However many tables the sweep needs."""
    rng = np.random.default_rng(boxes)
    corner = rng.integers(-20, (900, 800), size=(boxes, 2))
    size = np.stack([rng.integers(1, wide + 1, boxes), rng.integers(1, high + 1, boxes)], axis=1)
    assert_left_over(Box(5, -5, 885, 790), np.hstack([corner, corner + size]))


def test_nothing_is_left_of_what_is_all_taken() -> None:
    """By one box or by several that meet."""
    domain = Box(0, 0, 10, 10)
    whole: Iterable[list[Box]] = ([domain], [Box(-5, -5, 4, 20), Box(4, -1, 11, 6), Box(3, 6, 10, 10)])
    assert [left_over(domain, boxes_of(boxes)).shape for boxes in whole] == [(0, 4), (0, 4)]


def test_all_is_left_where_nothing_is_taken() -> None:
    """As one box, whatever lies beside it."""
    domain = Box(3, 4, 60_000, 70_000)
    beside = [Box(0, 0, 3, 70_000), Box(0, 0, 60_000, 4), Box(60_000, 0, 60_001, 9), Box(9, 70_000, 99, 70_001)]
    assert left_over(domain, boxes_of(beside)).tolist() == [[3, 4, 60_000, 70_000]]
