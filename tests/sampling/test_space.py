"""All places, against brute force: shapely says which pixels are forbidden, then every corner is looked at."""

from random import Random

import numpy as np
import pytest

from service.domain.geometry import Box, Polygon
from service.domain.model import Roi, Rules, Scene
from service.raster import boxes_of
from service.sampling.chance import Chance
from service.sampling.space import Places, Space, crowded
from tests.factories import roi
from tests.sampling.judge import OBJECT_KINDS, ROI_KINDS, SMALL, Ground, evenness, grounds

SHARES = [0.5, 1.0, 0.1, 1 / 3]


def space_of(ground: Ground) -> Space:
    """The space in question."""
    return Space(ground.scene, ground.roi, ground.rules)


def every(places: Places) -> list[tuple[int, int]]:
    """All corners, (x, y), row by row."""
    return sorted((places.at(number) for number in range(places.total)), key=lambda corner: corner[::-1])


def sizes(rng: Random, wanted: int, *, least: int = 1, most: int = 11) -> list[tuple[int, int]]:
    """Widths and heights, most of them unequal."""
    return [(rng.randint(least, most), rng.randint(least, most)) for _ in range(wanted)]


def random_box(rng: Random, room: Box) -> Box:
    """One that may stick out of the room."""
    left, top = rng.randint(room.left - 4, room.right), rng.randint(room.top - 4, room.bottom)
    return Box.sized(left, top, rng.randint(2, 15), rng.randint(2, 15))


# ---------------------------------------------------------------- against brute force


@pytest.mark.parametrize("object_kind", OBJECT_KINDS)
@pytest.mark.parametrize("roi_kind", ROI_KINDS)
def test_the_places_are_all_valid_corners(roi_kind: str, object_kind: str) -> None:
    """Every corner of the grid at which the patch lies in ROI and image, clear of objects and their margin; no other,
    and each counted once.
    """
    rng = Random(f"{roi_kind} {object_kind}")
    found = 0
    for ground in grounds(rng, 15, roi_kind, object_kind):
        space = space_of(ground)
        for width, height in sizes(rng, 4):
            expected = ground.corners(width, height)
            found += len(expected)
            assert every(space.places(width, height)) == expected, (ground, width, height)
    assert found > 150


@pytest.mark.parametrize("roi_kind", ROI_KINDS)
def test_the_places_of_a_small_square_tell_those_of_larger_patches(roi_kind: str) -> None:
    """Worked out from the few places of the smallest square, the same are found."""
    rng = Random(roi_kind)
    for ground in grounds(rng, 40, roi_kind):
        space, side = space_of(ground), rng.randint(1, 6)
        assert every(space.rest_on(side)) == ground.corners(side, side)
        for width, height in [(side, side), (side, side + 1), *sizes(rng, 4, least=side)]:
            assert every(space.places(width, height)) == ground.corners(width, height), (ground, side, width, height)


def test_patches_smaller_than_the_square_are_found_too() -> None:
    """What the places of a square can't tell is worked out from the objects."""
    rng = Random(1)
    for ground in grounds(rng, 40):
        space = space_of(ground)
        space.rest_on(7)
        for width, height in ((6, 6), (3, 9), (9, 3)):
            assert every(space.places(width, height)) == ground.corners(width, height), (ground, width, height)


@pytest.mark.parametrize("is_resting", [False, True])
@pytest.mark.parametrize("share", SHARES)
def test_the_places_beside_patches_crowd_none(share: float, is_resting: bool) -> None:
    """Of the valid corners those at which the patch overlaps each other one by less than the share: `Rules.crowds`."""
    rng, left_out = Random(f"{share} {is_resting}"), 0
    for ground in grounds(rng, 30, rules=Rules(patches=1, min_size=1, max_size=99, max_overlap=share)):
        space = space_of(ground)
        if is_resting:
            space.rest_on(4)
        others = [random_box(rng, ground.room) for _ in range(rng.randint(4, 9))]
        for width, height in sizes(rng, 3, least=4):
            clear = ground.corners(width, height)
            boxes = [Box.sized(x, y, width, height) for x, y in clear]
            expected = [
                (box.left, box.top) for box in boxes if not any(ground.rules.crowds(box, one) for one in others)
            ]
            left_out += len(clear) - len(expected)
            found = space.places(width, height, crowded(ground.rules, width, height, others))
            assert every(found) == expected, (ground, width, height, others)
    assert left_out > 50


@pytest.mark.parametrize("share", [0.5, 1.0, 0.9, 0.1, 1 / 3, 2 / 3])
def test_the_crowded_corners_are_those_that_crowd(share: float) -> None:
    """Also of larger patches, where the share is met exactly, and where rounding decides."""
    rng, rules = Random(share), Rules(min_size=1, max_overlap=share)
    for _ in range(60):
        other = Box.sized(0, 0, rng.choice([10, 20, rng.randint(1, 30)]), rng.choice([9, 30, rng.randint(1, 30)]))
        width, height = rng.choice([10, 15, rng.randint(1, 30)]), rng.choice([6, 30, rng.randint(1, 30)])
        expected = {(x, y) for x in range(-width, other.right) for y in range(-height, other.bottom)
                    if rules.crowds(Box.sized(x, y, width, height), other)}  # fmt: skip
        runs = crowded(rules, width, height, [other])
        assert {
            (x, y) for left, top, right, bottom in runs for x in range(left, right) for y in range(top, bottom)
        } == expected


def test_a_box_is_clear_when_it_holds_no_forbidden_pixel() -> None:
    """Asked of one box, the same is said as of all."""
    rng, clear = Random(2), 0
    for ground in grounds(rng, 60):
        space, room = space_of(ground), ground.room
        for _ in range(20):
            width, height = rng.randint(1, min(8, room.width)), rng.randint(1, min(8, room.height))
            x, y = rng.randint(0, room.width - width), rng.randint(0, room.height - height)
            expected = not ground.forbidden[y : y + height, x : x + width].any()
            assert space.is_clear(Box.sized(room.left + x, room.top + y, width, height)) == expected
            clear += expected
    assert clear > 100


def test_the_largest_square_is_the_largest() -> None:
    """No larger one is free; it is the topmost of its size, on the grid, or None where not a pixel is free."""
    rng, told = Random(3), set()
    for ground in grounds(rng, 250):
        space = space_of(ground)
        if rng.random() < 0.3:
            space.rest_on(rng.randint(1, 9))
        side, corners = 0, ground.corners(1, 1)
        while larger := ground.corners(side + 1, side + 1):
            side, corners = side + 1, larger
        found = space.largest_square()
        if found is None:
            assert side == 0, ground
        else:
            assert (found.width, found.height, found.top) == (side, side, corners[0][1]), ground
            assert (found.left, found.top) in corners, ground
        told.add(side)
    assert len(told) > 15


def test_the_outermost_place_is_the_furthest() -> None:
    """In each direction; of equals the topmost, then the leftmost."""
    rng = Random(4)
    for ground in grounds(rng, 100):
        places, corners = space_of(ground).places(3, 3), ground.corners(3, 3)
        for dx, dy in ((rng.randint(-3, 3), rng.randint(-3, 3)) for _ in range(6 if corners else 0)):
            furthest = min(corners, key=lambda corner: (-corner[0] * dx - corner[1] * dy, corner[1], corner[0]))
            assert places.outermost(dx, dy) == furthest, (ground, dx, dy)


# ---------------------------------------------------------------- drawing


def test_each_place_is_drawn_as_often() -> None:
    """Whatever box it lies in, and on a grid, too."""
    places = Places(boxes_of([Box(0, 0, 1, 1), Box(5, 0, 29, 2), Box(-9, 4, -2, 11), Box(3, 13, 4, 14)]), align=2)
    chance, times = Chance(1), dict.fromkeys(every(places), 0)
    assert len(times) == 1 + 12 + 3 * 4
    for _ in range(5000):
        times[places.draw(chance)] += 1
    assert evenness(list(times.values())) < 1


def test_no_place_is_no_place() -> None:
    """Boxes that hold no corner of the grid count nothing."""
    assert [Places(boxes_of(boxes), align=8).total for boxes in ([], [Box(1, 0, 8, 8)], [Box(9, 9, 15, 15)])] == [
        0,
        0,
        0,
    ]


def test_places_are_counted_beyond_32_bits() -> None:
    """The corners of a large image are more than 2³²."""
    space = Space(Scene(100_000, 90_000), roi(0, 0, 100_000, 90_000), SMALL)
    assert space.places(1, 1).total == 9_000_000_000
    assert space.places(1, 1).at(8_999_999_999) == (99_999, 89_999)


# ---------------------------------------------------------------- where there is none


@pytest.mark.parametrize(("width", "height"), [(31, 5), (5, 21), (31, 21)])
def test_a_patch_larger_than_the_roi_has_no_corner(width: int, height: int) -> None:
    """Nor a place."""
    space = Space(Scene(100, 100), roi(10, 10, 30, 20), SMALL)
    assert (space.corners(width, height), space.places(width, height).total) == (None, 0)


def test_a_patch_as_large_as_the_roi_has_one_place() -> None:
    """Its only corner."""
    space = Space(Scene(100, 100), roi(10, 12, 30, 20), SMALL)
    assert every(space.places(30, 20)) == [(10, 12)]


def test_an_roi_outside_of_the_image_has_no_room() -> None:
    """No place, no square; nothing of it is asked of the objects."""
    outside = Roi("drawn", Polygon.rectangle(200, 10, 50, 50))
    space = Space(Scene(100, 100, (Box(0, 0, 9, 9), Box(210, 20, 220, 30))), outside, SMALL)
    assert (space.room, space.corners(1, 1), space.places(1, 1).total, space.largest_square()) == (None, None, 0, None)


def test_only_whole_pixels_of_the_image_count() -> None:
    """An ROI that hangs over the border ends there."""
    space = Space(Scene(40, 30), roi(-10, -10, 100, 100), SMALL)
    assert (space.room, space.places(40, 30).total) == (Box(0, 0, 40, 30), 1)


def test_an_object_beside_the_roi_keeps_its_margin_in_it() -> None:
    """The object itself need not touch the ROI."""
    rules = Rules(patches=1, min_size=1, max_size=99, margin=5)
    beside = Space(Scene(100, 100, (Box(41, 0, 50, 100), Polygon.rectangle(0, 33, 100, 9))), roi(10, 10, 30, 20), rules)
    assert beside.largest_square() == Box(10, 10, 28, 28)
    assert np.array_equal(beside.places(26, 18).boxes, [[10, 10, 11, 11]])
