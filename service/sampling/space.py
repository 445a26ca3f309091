"""Where the top-left corner of a patch may lie: all places, counted exactly. Pure.

A patch of w × h px with its corner at (x, y) holds a pixel of the box [a, b) × [c, d) exactly when a − w < x < b and
c − h < y < d. So each box that no patch may touch forbids a box of corners, each patch that is there forbids a run of
corners in every row that it crosses, and what all these leave of the ROI's corners are the places. When nothing is
left, there is none: that is a proof.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from math import ceil

import numpy as np
from numpy.typing import NDArray

from service.domain.geometry import Box
from service.domain.model import Roi, Rules, Scene
from service.raster import NO_BOXES, Boxes, beyond, boxes_of, covered, left_over, meets, moved
from service.sampling.chance import Chance

OPEN = 6
"""Up to so much `coverage` a place is looked for at random, before all are counted."""
DENSE = 1.5
"""From so much `coverage` of the smallest size on, the places of others are worked out from those of the smallest."""


@dataclass(frozen=True)
class Places:
    """Free corners as disjoint boxes; only those count whose x and y are multiples of `align`."""

    boxes: Boxes
    align: int

    @cached_property
    def _columns_and_rows(self) -> NDArray[np.int64]:
        """How many multiples of `align` each box holds: shape (n, 2)."""
        ends = -(-self.boxes // self.align)
        return ends[:, 2:] - ends[:, :2]

    @cached_property
    def _counted(self) -> NDArray[np.int64]:
        return np.cumsum(self._columns_and_rows.prod(axis=1))

    @property
    def total(self) -> int:
        """How many there are."""
        return int(self._counted[-1]) if len(self.boxes) else 0

    def at(self, number: int) -> tuple[int, int]:
        """One of them, (x, y), by a number from 0 to `total` − 1."""
        box = int(np.searchsorted(self._counted, number, side="right"))
        columns, rows = (int(count) for count in self._columns_and_rows[box])
        row, column = divmod(number - int(self._counted[box]) + columns * rows, columns)
        left, top = (-(-int(side) // self.align) for side in self.boxes[box, :2])
        return (left + column) * self.align, (top + row) * self.align

    def draw(self, chance: Chance) -> tuple[int, int]:
        """Any of them, (x, y), each as likely as the others."""
        return self.at(chance.below(self.total))

    def outermost(self, dx: int, dy: int) -> tuple[int, int]:
        """The one that lies furthest in this direction, (x, y); of equals the topmost, then the leftmost."""
        held = self.boxes[self._columns_and_rows.all(axis=1)]
        first, last = -(-held[:, :2] // self.align), -(-held[:, 2:] // self.align) - 1
        x, y = np.concatenate([[first[:, 0], first[:, 1]], [first[:, 0], last[:, 1]],
                               [last[:, 0], first[:, 1]], [last[:, 0], last[:, 1]]], axis=1)  # fmt: skip
        best = np.lexsort((x, y, -(x * dx + y * dy)))[0]
        return int(x[best]) * self.align, int(y[best]) * self.align


class Space:
    """One ROI with the objects in it, made ready to be asked for places of any size."""

    def __init__(self, scene: Scene, roi: Roi, rules: Rules) -> None:
        self.align = rules.align
        self.room = roi.box.common(scene.frame)
        self._base: tuple[int, Boxes] | None = None
        solid = np.concatenate([beyond(roi.outline), _objects(scene, roi.box, rules.margin)])
        solid = solid[meets(solid, self.room)] if self.room else NO_BOXES
        self._solid = solid[np.argsort(solid[:, 0], kind="stable")]
        sizes = solid[:, 2:] - solid[:, :2]
        self._widest = int(sizes[:, 0].max(initial=0))
        self._sums = len(solid), *map(int, sizes.sum(axis=0)), int(sizes.prod(axis=1).sum())

    def corners(self, width: int, height: int) -> Box | None:
        """Where the corner of a patch of this size can be, the patch lying in ROI's bounding box and image."""
        room = self.room
        if room is None or room.width < width or room.height < height:
            return None
        return Box(room.left, room.top, room.right - width + 1, room.bottom - height + 1)

    @property
    def tries(self) -> int:
        """How many blind draws cost about a tenth of counting all places."""
        return 16 + len(self._solid) // 64

    def coverage(self, width: int, height: int) -> float:
        """How often, on average, a corner is forbidden; if objects lie at random, exp(−coverage) of them are free.

        The ROI must be large enough for this size.
        """
        corners = self.corners(width, height)
        assert corners is not None
        count, widths, heights, areas = self._sums
        return (areas + (height - 1) * widths + (width - 1) * (heights + (height - 1) * count)) / corners.area

    def is_clear(self, box: Box) -> bool:
        """Whether the box touches no object and, if it lies in ROI's bounding box, lies in the ROI."""
        left = self._solid[:, 0]
        first, after = np.searchsorted(left, (box.left - self._widest, box.right))
        return not meets(self._solid[first:after], box).any()

    def places(self, width: int, height: int, crowded: Boxes = NO_BOXES) -> Places:
        """All places for a patch of this size, but for these corners."""
        corners = self.corners(width, height)
        if corners is None:
            return Places(NO_BOXES, self.align)
        if self._base and width == height == self._base[0] and not len(crowded):
            return Places(self._base[1], self.align)
        return Places(left_over(corners, np.concatenate([self._taken(corners, width, height), crowded])), self.align)

    def rest_on(self, side: int) -> Places:
        """The places for a square of this side; those for larger patches will be worked out from them.

        A patch is clear exactly when all squares in it are. Where objects are dense hardly any place is left even for a
        small square, and the rest follows from these few.
        """
        places = self.places(side, side)
        self._base = side, places.boxes
        return places

    def _taken(self, corners: Box, width: int, height: int) -> Boxes:
        """Boxes that together hold exactly the corners that objects or the ROI's edge forbid: of two ways to say it,
        the one that is less work for the sweep.
        """
        if self._base and min(width, height) >= self._base[0]:
            side, free = self._base
            count, _, heights, _ = self._sums
            work = heights + count * (height - 1)
            wide = moved(free[free[:, 2] - free[:, 0] > width - side], right=side - width)
            if len(wide) * (height - side) <= work:
                all_rows = Box(corners.left, corners.top, corners.right, corners.bottom + height - side)
                derived = moved(left_over(all_rows, wide), top=side - height)
                if int((derived[:, 3] - derived[:, 1]).sum()) <= work:
                    return derived
        return moved(self._solid, 1 - width, 1 - height)

    def largest_square(self) -> Box | None:
        """The largest square in the ROI that is clear of objects, the topmost of its size; None when no pixel is.

        If a square fits, so does any smaller one at its corner: halving finds the largest.
        """
        if self.room is None:
            return None
        most = min(self.room.width, self.room.height)
        fits, fails, side = 0, most + 1, min(self._base[0] if self._base else most, most)
        found: tuple[int, int] | None = None
        while fits + 1 < fails:
            places = self.places(side, side)
            if places.total:
                fits, found, self._base = side, places.at(0), (side, places.boxes)
            else:
                fails = side
            # Downward by a third until one fits; from there upward, never far, as each rests on the last that fitted.
            side = min((fits + fails) // 2, fits * 7 // 5 + 1) if fits else fails * 7 // 10
            if not side:
                break
        return Box.sized(*found, fits, fits) if found else None


def crowded(rules: Rules, width: int, height: int, others: Iterable[Box]) -> Boxes:
    """The corners at which a patch of this size would overlap one of the others too much: see `Rules.crowds`.

    In a row, the height of the overlap is given; so a least width of it, and a run of corners, are too much.
    """
    found = [NO_BOXES]
    for other in others:
        limit = ceil(rules.max_overlap * min(width * height, other.area))
        y = np.arange(other.top - height + 1, other.bottom)
        overlap = np.minimum(y + height, other.bottom) - np.maximum(y, other.top)
        least = -(-limit // overlap)
        is_too_much = least <= min(width, other.width)
        y, least = y[is_too_much], least[is_too_much]
        first = np.flatnonzero(np.diff(least, prepend=-1))  # rows with the same run are one box
        after = np.append(first[1:], len(y)) - 1
        y, least, end = y[first], least[first], (y[after] + 1 if len(y) else y)
        found.append(np.stack([other.left + least - width, y, other.right - least + 1, end], axis=1))
    return np.concatenate(found)


def _objects(scene: Scene, room: Box, margin: int) -> Boxes:
    """What objects and their margins cover near the room; plain boxes are many, so they aren't looked at one by one."""
    plain = boxes_of(shape for shape in scene.exclusions if type(shape) is Box)
    near = room.grown(margin)
    others = covered((one for one in scene.exclusions if type(one) is not Box and one.bounds.touches(near)), near)
    return moved(np.concatenate([plain, others]), -margin, -margin, margin, margin)
