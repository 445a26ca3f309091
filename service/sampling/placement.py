"""Placing patches in an ROI, one after the other: a size, then a place.

A patch's width and height are drawn uniformly from the sizes allowed, then its corner uniformly from all places that
this size has: clear of objects, in the ROI, not crowding another patch. A size without a place is drawn again from
smaller ones, down to the smallest. When that has none either, the patches that are there are in the way: the whole is
begun again with smaller ones, and the fullest of these fillings counts.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import repeat
from math import lcm

from service.domain.geometry import Box
from service.domain.model import Roi, Rules, Scene, Shortfall
from service.raster import boxes_of
from service.sampling.chance import Chance
from service.sampling.explanation import explain
from service.sampling.space import DENSE, OPEN, Places, Space, crowded

FEW = 4
"""Corners drawn blindly where objects seem to leave few places."""
TRIES = 16
"""Places drawn before those that crowd a patch are left out."""
AT_RANDOM = 3
"""Fillings with patches of the smallest size, before they are packed."""
PACKED = 20
"""Fillings with patches of the smallest size, each as far in some direction as there is a place. In a square ROI of
1.5, 1.6 or 1.75 times their width so many find the fullest filling, 3, 5 or 6 patches; in one of 2 times, 8 or 9.
"""
DIRECTIONS = 16
"""A direction is one of the points on a grid that reaches so far."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """The boxes placed in one ROI, in pixels, and why there are fewer than `rules.patches`, if so."""

    boxes: tuple[Box, ...]
    shortfall: Shortfall | None = None


def sample(
    scene: Scene,
    roi: Roi,
    rules: Rules,
    seed: int,
    *,
    kept: tuple[Box, ...] = (),
    others: tuple[Box, ...] = (),
) -> Sampling:
    """Place what is missing of `rules.patches` patches in the ROI.

    Each lies wholly in the ROI and in the image, is of a permitted size, stays `rules.margin` pixels clear of every
    exclusion, and shares less than `rules.max_overlap` of the smaller one's area with any other: those drawn now, the
    `kept` ones, which count towards `rules.patches`, and `others`, which don't. All lengths are pixels. The same
    arguments give the same boxes on every machine.
    """
    space = Space(scene, roi, rules)
    filling = _Filling(space, rules)
    near = tuple(other for other in others if space.room and other.touches(space.room))
    boxes: tuple[Box, ...] = ()
    # Once more after a shortfall, as if these patches had been there before: so asking again finds nothing more.
    while missing := max(rules.patches - len(kept) - len(boxes), 0):
        more = filling.fullest(missing, Chance(seed), (*kept, *near, *boxes))
        if not more:
            break
        boxes += more
    if not missing:
        return Sampling(boxes)
    return Sampling(boxes, explain(scene, roi, rules, space, there=len(kept) + len(boxes), others=len(near)))


def sample_on_grid(
    scene: Scene,
    roi: Roi,
    rules: Rules,
    seed: int,
    *,
    grid: int,
    kept: tuple[Box, ...] = (),
    others: tuple[Box, ...] = (),
) -> Sampling:
    """As `sample`, with left and top edges on multiples of `grid` pixels as far as there is room: what finds no place
    there lies anywhere that the rules allow, and no patch is lost for it.
    """
    if rules.align % grid == 0:
        return sample(scene, roi, rules, seed, kept=kept, others=others)
    aligned = sample(scene, roi, replace(rules, align=lcm(rules.align, grid)), seed, kept=kept, others=others)
    if aligned.shortfall is None:
        return aligned
    rest = sample(scene, roi, rules, seed, kept=(*kept, *aligned.boxes), others=others)
    found = Sampling(aligned.boxes + rest.boxes, rest.shortfall)
    if rest.shortfall is None or not aligned.boxes:
        return found
    return max(found, sample(scene, roi, rules, seed, kept=kept, others=others), key=lambda one: len(one.boxes))


class _Filling:
    """One ROI being filled, from the start and again."""

    def __init__(self, space: Space, rules: Rules) -> None:
        self.space = space
        self.rules = rules
        room = space.room
        self.most = (room.width, room.height) if room else (0, 0)
        self.is_ready = False

    def fullest(self, count: int, chance: Chance, others: tuple[Box, ...]) -> tuple[Box, ...]:
        """The first filling that has `count` patches, else the fullest."""
        best: tuple[Box, ...] = ()
        for cap, is_packed in self._ways():
            filling = self._fill(count, chance, cap, others, is_packed=is_packed)
            best = max(best, filling, key=len)
            if len(best) == count or not filling:
                break
        return best

    def _ways(self) -> Iterator[tuple[int, bool]]:
        """The largest size of each filling, less by three tenths from one to the next, and whether it is packed."""
        smallest = self.rules.min_size
        if min(self.most) < smallest:
            return
        cap = min(self.rules.max_size, max(self.most))
        while cap > smallest:
            yield cap, False
            cap = cap * 7 // 10
        yield from repeat((smallest, False), AT_RANDOM)
        yield from repeat((smallest, True), PACKED)

    def _fill(
        self, count: int, chance: Chance, cap: int, others: tuple[Box, ...], *, is_packed: bool
    ) -> tuple[Box, ...]:
        """Patches no larger than `cap`, until there are enough or the smallest has no place."""
        placed: tuple[Box, ...] = ()
        next_one = self._packed if is_packed else self._drawn
        while len(placed) < count and (box := next_one(chance, cap, (*others, *placed))):
            placed += (box,)
        return placed

    def _drawn(self, chance: Chance, cap: int, others: tuple[Box, ...]) -> Box | None:
        """A patch of a size drawn from those that have a place."""
        smallest, most_wide, most_high = self.rules.min_size, *self.most
        while True:
            if self.rules.square:
                width = height = chance.between(smallest, min(cap, most_wide, most_high))
            else:
                width = chance.between(smallest, min(cap, most_wide))
                height = chance.between(smallest, min(cap, most_high))
            box = self._placed(chance, width, height, others)
            if box or width == height == smallest:
                return box
            cap = max(smallest, cap * 7 // 10)

    def _packed(self, chance: Chance, cap: int, others: tuple[Box, ...]) -> Box | None:
        """A patch as far in a direction as there is a place: so less room is wasted between patches than by chance."""
        places = self.space.places(cap, cap, crowded(self.rules, cap, cap, others))
        if not places.total:
            return None
        dx, dy = (chance.between(-DIRECTIONS, DIRECTIONS) for _ in range(2))
        return Box.sized(*places.outermost(dx, dy), cap, cap)

    def _placed(self, chance: Chance, width: int, height: int, others: tuple[Box, ...]) -> Box | None:
        """A patch of this size, each place equally likely; None when there is none."""
        for x, y in self._draws(chance, width, height, others):
            box = Box.sized(x, y, width, height)
            if self.space.is_clear(box) and not any(self.rules.crowds(box, other) for other in others):
                return box
        return None

    def _draws(self, chance: Chance, width: int, height: int, others: tuple[Box, ...]) -> Iterator[tuple[int, int]]:
        """Corners to try, from ever better known places, at last from all valid ones and no others. Each is drawn
        uniformly from places that include all valid ones, so the first that is valid is uniform among these.
        """
        space = self.space
        corners = space.corners(width, height)
        if corners is None:
            return
        anywhere = Places(boxes_of([corners]), self.rules.align)
        is_open = space.coverage(width, height) < OPEN
        yield from _some(anywhere, space.tries if is_open else FEW, chance)
        if not self.is_ready:
            self.is_ready = True
            if space.coverage(self.rules.min_size, self.rules.min_size) > DENSE:
                space.rest_on(self.rules.min_size)
        places = space.places(width, height)
        yield from _some(places, TRIES, chance)
        if places.total and others:
            yield from _some(space.places(width, height, crowded(self.rules, width, height, others)), 1, chance)


def _some(places: Places, count: int, chance: Chance) -> Iterator[tuple[int, int]]:
    if places.total:
        yield from (places.draw(chance) for _ in range(count))
