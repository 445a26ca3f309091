"""Where a person would draw an ROI: the roomiest rectangle of plain background."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from service.domain.geometry import Box


def emptiest_rectangle(width: int, height: int, objects: tuple[Box, ...], clearance: int = 4) -> Box | None:
    """The roomiest rectangle of a `width` × `height` px image that keeps clear of every object.

    Clear is `clearance` px (0 or more) away. Roomiest is the largest shorter side × area: patches need both
    sides, so a square of 300 px is worth more than a strip of 1600 × 60 px of greater area. The answer is
    exact; of equals, the one that ends first from the top, then from the left. None when the objects leave
    nothing free. Takes time as the square of the number of objects.
    """
    frame = Box(0, 0, width, height)
    taken = [box for box in (one.grown(clearance) for one in objects) if box.touches(frame)]
    # Nothing changes between two neighbouring edges: one cell of the grid of all edges stands for its pixels.
    xs = sorted({0, width} | {x for box in taken for x in (box.left, box.right) if 0 < x < width})
    ys = sorted({0, height} | {y for box in taken for y in (box.top, box.bottom) if 0 < y < height})
    free = np.ones((len(ys) - 1, len(xs) - 1), dtype=bool)
    for box in taken:
        left, right = np.searchsorted(xs, (box.left, box.right))
        top, bottom = np.searchsorted(ys, (box.top, box.bottom))
        free[top:bottom, left:right] = False
    return max(_maximal(free, xs, ys), key=_room, default=None)


def _room(box: Box) -> int:
    return min(box.width, box.height) * box.area


def _maximal(free: npt.NDArray[np.bool_], xs: list[int], ys: list[int]) -> Iterator[Box]:
    """Free rectangles of the grid, in pixels, among them all that can't be made larger.

    It is the largest rectangle under a histogram, row by row. For each row, the histogram says from which y
    on the columns have been free; bars wait on a stack for the first column that is free less far up, and end
    there.
    """
    starts = ys[:1] * free.shape[1]
    for row, bottom in zip(free.tolist(), ys[1:], strict=True):
        starts = [start if is_free else bottom for start, is_free in zip(starts, row, strict=True)]
        waiting: list[tuple[int, int]] = []  # (left, top), each reaching further up than the last
        for x, top in zip(xs, [*starts, bottom], strict=True):
            left = x
            while waiting and waiting[-1][1] < top:
                left, bar_top = waiting.pop()
                yield Box(left, bar_top, x, bottom)
            if top < bottom and not (waiting and waiting[-1][1] == top):
                waiting.append((left, top))
