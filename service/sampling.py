"""Placing patches in an ROI. Pure: chance is the seed.

Each patch is drawn uniformly: width and height from the sizes allowed, then a corner from the ROI; what leaves the ROI,
touches an exclusion or crowds another patch is drawn again. When a large first patch jams a small ROI, the whole is
begun again with a lower cap on the size (× 0.7), down to the smallest size, and with that a few times more; the fullest
of these fillings is filled up in the same way until nothing more is found.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import repeat
from random import Random

import numpy as np
from numpy.typing import NDArray

from service.domain.geometry import Box
from service.domain.model import Roi, Rules, Scene, Shortfall

TRIES = 2000
"""In one filling; the same however few patches are asked for, so that asking again for the missing ones meets the same
candidates and gives the same reason.
"""
SHRINK = 0.7
LAST_FILLINGS = 3
"""With the smallest size as cap. One filling jams in a 200 × 200 px ROI for 1 of 80 seeds, two for none of 400."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """The boxes placed in one ROI, in pixels, and why there are fewer than `rules.patches`, if so."""

    boxes: tuple[Box, ...]
    shortfall: Shortfall | None = None


def sample(scene: Scene, roi: Roi, rules: Rules, seed: int, standing: tuple[Box, ...] = ()) -> Sampling:
    """Place up to `rules.patches` patches in the ROI.

    Each lies wholly in the ROI and in the image, is of a permitted size, stays `rules.margin` pixels clear of every
    exclusion, and shares less than `rules.max_overlap` of the smaller one's area with any other, `standing` ones
    included. The same arguments give the same boxes on every machine.
    """
    ground = _Ground(scene, roi, rules)
    room = roi.box
    if min(room.width, room.height) < rules.min_size:
        return Sampling(
            (),
            Shortfall(
                rules.patches,
                0,
                f"the ROI is {room.width} × {room.height} px, smaller than one patch of {rules.min_size} × "
                f"{rules.min_size} px; draw it larger or lower min_size",
            ),
        )
    boxes: tuple[Box, ...] = ()
    while len(boxes) < rules.patches:
        more, found_free = ground.fullest(rules.patches - len(boxes), Random(seed), (*standing, *boxes))
        if not more:
            return Sampling(boxes, Shortfall(rules.patches, len(boxes), ground.reason(found_free)))
        boxes += more
    return Sampling(boxes)


class _Ground:
    """One ROI made ready for many tries."""

    def __init__(self, scene: Scene, roi: Roi, rules: Rules) -> None:
        self.rules = rules
        self.roi = roi
        self.frame = scene.frame
        near = [box for box in (b.grown(rules.margin) for b in scene.exclusions) if box.touches(roi.box)]
        self.exclusions: NDArray[np.int64] = np.array(
            [(box.left, box.top, box.right, box.bottom) for box in near], dtype=np.int64
        ).reshape(-1, 4)

    def fullest(self, count: int, rng: Random, others: tuple[Box, ...]) -> tuple[tuple[Box, ...], bool]:
        """The first filling that has `count` patches, else the fullest; and whether any try found a free place."""
        best: tuple[Box, ...] = ()
        found_free = False
        for cap in self._caps():
            placed, free = self._fill(count, rng, cap, others)
            found_free |= free
            if len(placed) > len(best):
                best = placed
            if len(best) == count:
                break
        return best, found_free

    def _caps(self) -> Iterator[int]:
        """The largest size of each filling: lower and lower, then the smallest several times, as chance can jam it."""
        smallest = self.rules.min_size
        cap = min(self.rules.max_size, max(self.roi.box.width, self.roi.box.height))
        while cap > smallest:
            yield cap
            cap = int(cap * SHRINK)
        yield from repeat(smallest, LAST_FILLINGS)

    def reason(self, found_free: bool) -> str:
        """Why there is no further patch, and what to do."""
        smallest = f"{self.rules.min_size} × {self.rules.min_size} px"
        if found_free:
            return (
                f"no further patch of {smallest} or more was found that stays clear of objects and overlaps the "
                f"patches there by less than {self.rules.max_overlap:.0%}; draw the ROI larger, lower min_size or ask "
                "for fewer"
            )
        if not len(self.exclusions):
            return (
                f"no upright patch of {smallest} was found that lies wholly in this ROI and in the image; draw it "
                "larger or less tilted, or lower min_size"
            )
        return (
            f"labelled objects leave no room for a patch of {smallest} in this ROI (as far as {TRIES} tries can tell); "
            "draw it elsewhere or lower min_size"
        )

    def _fill(self, count: int, rng: Random, cap: int, others: tuple[Box, ...]) -> tuple[tuple[Box, ...], bool]:
        """Patches no larger than `cap`, and whether any try at all was clear of ROI's edge and objects."""
        placed: list[Box] = []
        found_free = False
        for _ in range(TRIES):
            box = self._draw(rng, cap)
            if not self._is_free(box):
                continue
            found_free = True
            if any(self.rules.crowds(box, other) for other in (*others, *placed)):
                continue
            placed.append(box)
            if len(placed) == count:
                break
        return tuple(placed), found_free

    def _draw(self, rng: Random, cap: int) -> Box:
        room = self.roi.box
        most_wide, most_high = min(cap, room.width), min(cap, room.height)
        width = rng.randint(self.rules.min_size, most_wide)
        height = rng.randint(self.rules.min_size, most_high)
        left = rng.randint(room.left, room.right - width)
        top = rng.randint(room.top, room.bottom - height)
        return Box.sized(left, top, width, height)

    def _is_free(self, box: Box) -> bool:
        if not self.frame.holds(box) or not self.roi.outline.holds(box):
            return False
        left, top, right, bottom = self.exclusions.T
        return not bool(np.any((box.left < right) & (left < box.right) & (box.top < bottom) & (top < box.bottom)))
