from functools import cache

import numpy as np
import numpy.typing as npt
import pytest

from service.demo.background import emptiest_rectangle
from service.demo.pictures import Field, draw_background, draw_field

SEEDS = range(8)
SMALL = (640, 480)


@cache
def field(seed: int) -> Field:
    """A field of the usual size, drawn once."""
    return draw_field(seed)


@cache
def cell_pixels(seed: int) -> npt.NDArray[np.bool_]:
    """Where a cell changed a pixel: the field against the same field without its cells."""
    with_cells, without = np.asarray(field(seed).image), np.asarray(draw_background(seed))
    return np.asarray((with_cells != without).any(axis=2))


def test_the_same_seed_gives_the_same_field() -> None:
    """Same seed, same pixels and boxes."""
    once, again = draw_field(3, *SMALL), draw_field(3, *SMALL)
    assert once.objects == again.objects
    assert np.array_equal(np.asarray(once.image), np.asarray(again.image))


def test_another_seed_gives_another_field() -> None:
    """Another seed, other cells and another background."""
    assert draw_field(3, *SMALL).objects != draw_field(4, *SMALL).objects
    assert draw_background(3, *SMALL).tobytes() != draw_background(4, *SMALL).tobytes()


@pytest.mark.parametrize("size", [(1600, 1200), (640, 480), (300, 500), (1201, 403)])
def test_the_picture_has_the_size_that_was_asked_for(size: tuple[int, int]) -> None:
    """RGB of the width and height asked for, every box inside, whatever the shape of the picture."""
    drawn = draw_field(1, *size)
    assert (drawn.image.mode, drawn.image.size) == ("RGB", size)
    assert all(0 <= one.box.left < one.box.right <= size[0] for one in drawn.objects)
    assert all(0 <= one.box.top < one.box.bottom <= size[1] for one in drawn.objects)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_field_holds_12_to_30_cells(seed: int) -> None:
    """12 to 30 objects, all called Cell, each large enough to be seen."""
    objects = field(seed).objects
    assert 12 <= len(objects) <= 30
    assert {one.name for one in objects} == {"Cell"}
    assert all(one.box.area > 400 for one in objects)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_pixel_outside_of_the_boxes_stems_from_a_cell(seed: int) -> None:
    """Background is background: cover all boxes, and nothing of any cell is left."""
    left_over = cell_pixels(seed).copy()
    assert left_over.any()
    for one in field(seed).objects:
        left_over[one.box.top : one.box.bottom, one.box.left : one.box.right] = False
    assert not left_over.any()


@pytest.mark.parametrize("seed", SEEDS)
def test_boxes_are_no_larger_than_their_cells(seed: int) -> None:
    """On each of a box's four outermost rows and columns of pixels something of a cell can be seen."""
    seen = cell_pixels(seed)
    for one in field(seed).objects:
        inside = seen[one.box.top : one.box.bottom, one.box.left : one.box.right]
        assert all(edge.any() for edge in (inside[0], inside[-1], inside[:, 0], inside[:, -1])), one


def test_a_wide_stretch_stays_without_cells() -> None:
    """There is room for an ROI of 500 × 500 px of background: drawn at a quarter, to try many seeds."""
    for seed in range(100):
        drawn = draw_field(seed, 400, 300)
        roomiest = emptiest_rectangle(400, 300, tuple(one.box for one in drawn.objects), clearance=0)
        assert roomiest is not None
        assert min(roomiest.width, roomiest.height) >= 125, seed


@pytest.mark.parametrize("seed", SEEDS)
def test_the_background_is_worth_learning_from(seed: int) -> None:
    """The background isn't blank: light falls off, and things lie about that are darker than the glass."""
    grey = np.asarray(draw_background(seed).convert("L"), dtype=float)
    assert 190 < np.median(grey) < 250
    blocks = grey.reshape(12, 100, 16, 100)
    assert np.ptp(np.median(blocks, axis=(1, 3))) > 10
    assert (np.median(blocks, axis=(1, 3)) - blocks.min(axis=(1, 3)) > 40).sum() >= 5


def test_cells_are_stained() -> None:
    """Cells can be told from the background by colour: less green than red and blue, as stained cells are."""
    for seed in SEEDS:
        pixels = np.asarray(field(seed).image, dtype=float)[cell_pixels(seed)]
        red, green, blue = pixels.mean(axis=0)
        assert green < red - 30
        assert green < blue - 30
