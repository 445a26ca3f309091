"""Which pixels a shape covers, exactly. Pure.

Pixels come as an int64 array of shape (n, 4): boxes of left, top, right, bottom in source-image pixels, half-open. A
pixel is covered when it shares area with the shape, and lies beyond it when it isn't wholly inside; a border pixel is
both. So a patch keeps clear of a shape exactly when it holds no covered pixel, and lies in it exactly when it holds
none beyond: nothing is lost by counting in pixels. An extent of less than `TOLERANCE` is none.
"""

from collections.abc import Iterable, Sequence
from itertools import chain
from math import cos, hypot, isqrt, radians, sin
from operator import attrgetter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from service.domain.geometry import TOLERANCE, Box, Ellipse, Outline, Painted, Polygon, Shape
from service.domain.model import Scene

Boxes = NDArray[np.int64]
Runs = NDArray[np.int64]
"""Pixels side by side in a row, as an array of shape (4, n): number of the shape, row, first column, column after the
last.
"""
Index = NDArray[np.int64]
Rows = tuple[float, float]
"""From the first row to the one after the last."""
ALL_ROWS: Rows = (-np.inf, np.inf)

SIDES = attrgetter("left", "top", "right", "bottom")
AT_ONCE = 4096
"""Shapes worked on together: enough that numpy pays, few enough that memory doesn't."""
NO_BOXES: Boxes = np.empty((0, 4), dtype=np.int64)


def boxes_of(boxes: Iterable[Box]) -> Boxes:
    """Boxes as an array."""
    return np.fromiter(chain.from_iterable(map(SIDES, boxes)), dtype=np.int64).reshape(-1, 4)


def moved(boxes: Boxes, left: int = 0, top: int = 0, right: int = 0, bottom: int = 0) -> Boxes:
    """The boxes with each side moved by so many pixels, to the right and down."""
    sides = np.array((left, top, right, bottom), dtype=np.int64)
    return boxes + sides


def covered(shapes: Iterable[Shape], within: Box | None = None) -> Boxes:
    """The pixels that share area with any of the shapes; boxes of different shapes may overlap. Rows that lie outside
    of `within` may be left out.
    """
    rows = ALL_ROWS if within is None else (within.top, within.bottom)
    plain: list[Box] = []
    polygons: list[Polygon] = []
    ellipses: list[Ellipse] = []
    for shape in shapes:
        match shape:
            case Box():
                plain.append(shape)
            case Painted():
                plain += shape.boxes
            case Polygon():
                polygons.append(shape)
            case Ellipse():
                ellipses.append(shape)
    found = [boxes_of(plain)]
    for start in range(0, len(polygons), AT_ONCE):
        some = polygons[start : start + AT_ONCE]
        found.append(_boxes(np.hstack([_edge_runs(some, rows), _inside_runs(some, rows)])))
    for start in range(0, len(ellipses), AT_ONCE):
        found.append(_boxes(_ellipse_runs(ellipses[start : start + AT_ONCE], rows, inner=False)))
    return np.concatenate(found)


def beyond(outline: Outline) -> Boxes:
    """The pixels of its bounding box that aren't wholly inside; boxes may overlap.

    All lines of a polygon that crosses itself are its border: what lies across one is not inside.
    """
    match outline:
        case Painted():
            return left_over(outline.bounds, boxes_of(outline.boxes))
        case Ellipse():
            return left_over(outline.bounds, _boxes(_ellipse_runs([outline], inner=True)))
        case Polygon() if outline.is_upright:  # the commonest, and a row at a time would be long for a large image
            (left, top), _, (right, bottom), _ = outline.points
            first, last = np.ceil(np.array((left, top)) - TOLERANCE), np.floor(np.array((right, bottom)) + TOLERANCE)
            return left_over(outline.bounds, np.append(first, last).astype(np.int64)[None, :])
        case Polygon():
            outside = left_over(outline.bounds, _boxes(_inside_runs([outline])))
            return np.concatenate([outside, _boxes(_edge_runs([outline]))])


def touches(shape: Shape, box: Box) -> bool:
    """Whether the box holds a pixel that the shape covers."""
    return shape.bounds.touches(box) and bool(meets(covered([shape], box), box).any())


def holds(outline: Outline, box: Box) -> bool:
    """Whether the box lies wholly inside."""
    return outline.bounds.holds(box) and not meets(beyond(outline), box).any()


def touched(scene: Scene, box: Box, margin: int) -> bool:
    """Whether the box comes nearer than `margin` pixels to an exclusion."""
    grown = box.grown(margin)
    return any(touches(exclusion, grown) for exclusion in scene.exclusions)


def meets(boxes: Boxes, box: Box) -> NDArray[np.bool_]:
    """Which of the boxes share a pixel with this one: shape (n,)."""
    left, top, right, bottom = boxes.T
    found: NDArray[np.bool_] = (left < box.right) & (box.left < right) & (top < box.bottom) & (box.top < bottom)
    return found


# ---------------------------------------------------------------- what a set of boxes leaves

TABLE = 1 << 18
"""Entries of one table of the sweep: no more than stay in the processor's cache."""
WORTH = 20_000
"""Entries that take as long as it takes to begin another table."""


def left_over(domain: Box, taken: Boxes) -> Boxes:
    """What the boxes leave of the domain: disjoint boxes that cover all the rest, ordered by top, then left.

    `taken` may overlap and stick out. A sweep over the rows: between two neighbouring edges all rows are alike and
    make one band; in a band, the boxes that cross it are met from the left, and wherever one begins further right than
    all before it have reached there is a gap. Many bands and boxes are done at once, as a table. Time goes with the
    number of (band, box) pairs.
    """
    corner = (domain.left, domain.top) * 2
    width, height = domain.width, domain.height
    narrow = np.int16 if max(width, height) < 1 << 15 else np.int32  # the sweep is twice as fast with the former
    clipped: NDArray[Any] = np.clip(taken - corner, 0, (width, height) * 2).astype(narrow)
    clipped = clipped[(clipped[:, 0] < clipped[:, 2]) & (clipped[:, 1] < clipped[:, 3])]
    left, top, right, bottom = clipped[np.argsort(clipped[:, 0], kind="stable")].T
    edges = np.unique(np.concatenate([top, bottom, np.array((0, height), dtype=narrow)]))
    bands = len(edges) - 1
    first, last = (np.searchsorted(edges, side).astype(narrow) for side in (top, bottom))
    pairs = max(int((last.astype(np.int64) - first).sum()), 1)
    # Bands in one table: the more, the fewer tables, but the more boxes in it that cross few of its bands.
    rows = max(1, min(isqrt(WORTH * bands // max(len(left), 1)), TABLE * bands // pairs))
    tables = -(-bands // rows)
    members, starts = _by_table(first // rows, (last - 1) // rows, tables)
    found = []
    for number in range(tables):
        chosen = members[starts[number] : starts[number + 1]]
        band = np.arange(number * rows, min(number * rows + rows, bands), dtype=narrow)[:, None]
        crosses = np.ones((len(band), len(chosen) + 1), dtype=bool)  # the last column is the domain's right edge
        np.logical_and(first[chosen] <= band, band < last[chosen], out=crosses[:, :-1])
        reached = np.zeros(crosses.shape, dtype=narrow)
        np.multiply(crosses[:, :-1], right[chosen], out=reached[:, 1:])
        np.maximum.accumulate(reached, axis=1, out=reached)
        begins = np.append(left[chosen], narrow(width))
        crosses &= reached < begins
        gap = np.flatnonzero(crosses)
        row, box = np.divmod(gap, crosses.shape[1])
        above = number * rows + row
        found.append(np.stack([reached.ravel()[gap], edges[above], begins[box], edges[above + 1]], axis=1))
    return moved(np.concatenate(found), *corner)


def _by_table(first: NDArray[Any], last: NDArray[Any], tables: int) -> tuple[Index, Index]:
    """The boxes of each table, in their order: all members one after the other, and where each table's begin.

    A box is a member of the tables `first` to `last`.
    """
    count = last - first + 1
    members = np.repeat(np.arange(len(first)), count)
    table = np.arange(len(members)) + np.repeat(first - np.cumsum(count) + count, count)
    order = np.argsort(table.astype(np.uint16) if tables <= 1 << 16 else table, kind="stable")
    return members[order], np.searchsorted(table[order], np.arange(tables + 1))


# ---------------------------------------------------------------- shapes as rows of pixels


def painted(mask: NDArray[np.bool_]) -> Painted | None:
    """The pixels of a mask of shape (height, width); None when there is none."""
    edges = np.diff(np.pad(mask, ((0, 0), (1, 1))).astype(np.int8), axis=1)
    (row, start), (_, end) = np.nonzero(edges == 1), np.nonzero(edges == -1)
    boxes = _boxes(np.stack([np.zeros_like(row), row, start, end]))
    return Painted(tuple(Box(*box) for box in boxes.tolist())) if len(boxes) else None


def _edges(polygons: Sequence[Polygon]) -> NDArray[np.float64]:
    """All edges as an array of shape (5, n): number of the polygon, x and y of both ends."""
    counts = [len(polygon.points) for polygon in polygons]
    corners = np.array([point for polygon in polygons for point in polygon.points], dtype=np.float64)
    after = np.arange(1, len(corners) + 1)
    ends = np.cumsum(counts)
    after[ends - 1] = ends - counts
    return np.vstack([np.repeat(np.arange(len(counts)), counts), corners.T, corners[after].T])


def _rows(first: NDArray[np.float64], after: NDArray[np.float64], rows: Rows) -> tuple[Index, Index]:
    """Each item once for each of its rows: (its index, the row)."""
    first, after = np.maximum(first, rows[0]), np.minimum(after, rows[1])
    count = np.maximum(after - first, 0).astype(np.int64)
    item = np.repeat(np.arange(len(count)), count)
    return item, (first.astype(np.int64) - np.cumsum(count) + count)[item] + np.arange(len(item))


def _edge_runs(polygons: Sequence[Polygon], rows: Rows = ALL_ROWS) -> Runs:
    """The pixels that an edge runs through: in each row, from where it comes in to where it goes out."""
    number, x1, y1, x2, y2 = _edges(polygons)
    low, high = np.minimum(y1, y2), np.maximum(y1, y2)
    item, row = _rows(np.floor(low + TOLERANCE), np.ceil(high - TOLERANCE), rows)
    is_level = high - low < TOLERANCE
    slope = np.where(is_level, 0.0, (x2 - x1) / np.where(is_level, 1.0, y2 - y1))
    enters = x1[item] + (np.maximum(low[item], row) - y1[item]) * slope[item]
    leaves = x1[item] + (np.minimum(high[item], row + 1) - y1[item]) * slope[item]
    leaves = np.where(is_level[item], x2[item], leaves)
    start, end = np.minimum(enters, leaves), np.maximum(enters, leaves)
    return _runs(number[item], row, np.floor(start + TOLERANCE), np.ceil(end - TOLERANCE))


def _inside_runs(polygons: Sequence[Polygon], rows: Rows = ALL_ROWS) -> Runs:
    """The pixels whose centres lie inside: between crossings of the row's middle round which the polygon winds."""
    number, x1, y1, x2, y2 = _edges(polygons)
    item, row = _rows(np.ceil(np.minimum(y1, y2) - 0.5), np.ceil(np.maximum(y1, y2) - 0.5), rows)
    rise = (y2 - y1)[item]
    x = x1[item] + (row + 0.5 - y1[item]) * (x2 - x1)[item] / rise
    order = np.lexsort((x, row, number[item]))
    winding = np.cumsum(np.sign(rise[order]))  # 0 again behind the last crossing of a row
    inside = np.flatnonzero(winding)
    start, end = np.ceil(x[order] - 0.5)[inside], np.ceil(x[order] - 0.5)[inside + 1]
    return _runs(number[item][order][inside], row[order][inside], start, end)


def _ellipse_runs(ellipses: Sequence[Ellipse], rows: Rows = ALL_ROWS, *, inner: bool) -> Runs:
    """The pixels wholly inside (`inner`), or those that share area.

    In a row an ellipse reaches furthest at its leftmost or rightmost point if that is in it, else at one of the row's
    edges; what is inside at both edges is inside all the row, because an ellipse is convex.
    """
    terms = []
    for ellipse in ellipses:  # xx·dx² + xy·dx·dy + yy·dy² = 1 about its centre
        a, b, c, s = ellipse.radius_x, ellipse.radius_y, cos(radians(ellipse.rotation)), sin(radians(ellipse.rotation))
        xx, xy, yy = (c / a) ** 2 + (s / b) ** 2, 2 * c * s * (a**-2 - b**-2), (s / a) ** 2 + (c / b) ** 2
        terms.append((ellipse.x, ellipse.y, xx, xy, yy, hypot(a * c, b * s), hypot(a * s, b * c)))
    _, y, *_, half_height = np.array(terms).T
    item, row = _rows(np.floor(y - half_height + TOLERANCE), np.ceil(y + half_height - TOLERANCE), rows)
    x, y, xx, xy, yy, half_width, half_height = np.array(terms)[item].T

    def reach(dy: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """How far it goes to the left and to the right on this line, from its centre."""
        root = np.sqrt(np.maximum((xy * dy) ** 2 - 4 * xx * (yy * dy**2 - 1), 0))
        return (-xy * dy - root) / (2 * xx), (-xy * dy + root) / (2 * xx)

    above, below = np.maximum(row - y, -half_height), np.minimum(row + 1 - y, half_height)
    (left1, right1), (left2, right2) = reach(above), reach(below)
    if inner:
        is_whole = (above == row - y) & (below == row + 1 - y)
        start, end = x + np.maximum(left1, left2), x + np.minimum(right1, right2)
        return _runs(item, row, np.ceil(start - TOLERANCE), np.where(is_whole, np.floor(end + TOLERANCE), -np.inf))
    leftmost = xy * half_width / (2 * yy)  # where on the way down
    start = np.where((above <= leftmost) & (leftmost <= below), -half_width, np.minimum(left1, left2))
    end = np.where((above <= -leftmost) & (-leftmost <= below), half_width, np.maximum(right1, right2))
    return _runs(item, row, np.floor(x + start + TOLERANCE), np.ceil(x + end - TOLERANCE))


def _runs(*columns: NDArray[Any]) -> Runs:
    """Runs from their columns, without the empty ones."""
    number, row, start, end = columns
    some = start < end
    return np.stack([column[some].astype(np.int64) for column in (number, row, start, end)])


def _boxes(runs: Runs) -> Boxes:
    """The pixels of runs as disjoint boxes, shape by shape: runs that overlap or meet become one, and equal ones in
    rows that follow one another become one box.
    """
    if not runs.shape[1]:
        return NO_BOXES
    number, row, start, end = runs
    # All on one line: each row of each shape so far from the last that no run reaches over.
    high, wide = np.ptp(row) + 1, end.max() - start.min() + 1
    line = number * high + row - row.min()
    order = np.argsort(line * wide + start - start.min(), kind="stable")
    number, row, start, end, line = (column[order] for column in (number, row, start, end, line))
    reached = np.maximum.accumulate(line * wide + end)
    first = np.flatnonzero(np.append(True, (line * wide + start)[1:] > reached[:-1]))
    last = np.append(first[1:], len(start)) - 1
    number, row, start, line = number[first], row[first], start[first], line[first]
    end = reached[last] - line * wide

    if (np.diff(line) == 0).any():  # else equal runs of rows that follow one another are neighbours already
        order = np.lexsort((row, end, start, number))
        number, row, start, end = number[order], row[order], start[order], end[order]
    differs = [np.diff(column) != 0 for column in (number, start, end)]
    first = np.flatnonzero(np.append(True, np.logical_or.reduce([*differs, np.diff(row) != 1])))
    last = np.append(first[1:], len(row)) - 1
    return np.stack([start[first], row[first], end[first], row[last] + 1], axis=1)
