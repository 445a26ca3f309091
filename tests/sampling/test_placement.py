from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache
from random import Random

import pytest

from service.domain.geometry import Box
from service.domain.model import Roi, Rules, Scene
from service.raster import boxes_of, left_over
from service.sampling import Sampling, sample, sample_on_grid
from service.sampling.chance import Chance
from tests.factories import cells, roi
from tests.sampling.judge import (
    RULES,
    Ground,
    Trial,
    at_random,
    evenness,
    ground_of,
    grounds,
    random_trial,
    violations,
)

BLANK = Scene(1600, 1200)


@cache
def trials() -> tuple[tuple[Trial, Sampling], ...]:
    """Crowded scenes with ROIs and objects of every kind; the module's own command draws any number of them."""
    return tuple((trial, trial.sampling) for trial in map(random_trial, range(350)))


# ---------------------------------------------------------------- what holds for every patch


def test_the_trials_are_hard() -> None:
    """The properties below prove something: there are many patches, and nearly all random boxes break a rule."""
    rng = Random(0)
    blind = [any(violations(trial, at_random(trial, rng, 1)).values()) for trial, _ in trials()]
    placed = sum(len(sampling.boxes) for _, sampling in trials())
    assert (sum(blind) > 0.9 * len(blind), placed > 700) == (True, True), (sum(blind), len(blind), placed)


def test_the_judge_sees_every_kind_of_fault() -> None:
    """Random boxes break each rule often."""
    rng = Random(1)
    faults = sum((violations(trial, at_random(trial, rng, 2)) for trial, _ in trials()[:200]), Counter[str]())
    assert all(faults[name] > 30 for name in RULES if name != "forbidden size"), faults


@pytest.mark.parametrize(
    "box", [(8, 8, 18, 19), (8, 8, 17, 18), (8, 9, 18, 19), (9, 8, 19, 18), (8, 8, 28, 29), (8, 8, 29, 29)]
)
def test_the_judge_sees_sizes_and_grid(box: tuple[int, int, int, int]) -> None:
    """Too small, too large, not square, off the grid."""
    rules = Rules(min_size=10, max_size=20, square=True, align=8)
    assert violations(Trial(BLANK, roi(), rules, 0), [Box(*box)])["forbidden size"] == 1


@pytest.mark.parametrize("name", RULES)
def test_no_patch_breaks_a_rule(name: str) -> None:
    """None leaves ROI or image, comes nearer to an object than the margin, is of a forbidden size or off the grid, or
    overlaps another one too much; judged by shapely.
    """
    for trial, sampling in trials():
        if sampling.boxes:
            assert not RULES[name](trial, sampling.boxes).any(), (trial, sampling)


def test_a_shortfall_counts_what_is_missing() -> None:
    """There is one exactly when there are fewer patches than asked, and its figures are right."""
    for trial, sampling in trials():
        placed, shortfall = len(trial.kept) + len(sampling.boxes), sampling.shortfall
        figures = (shortfall.requested, shortfall.placed) if shortfall else (placed, trial.rules.patches)
        assert figures == (trial.rules.patches, placed)


# ---------------------------------------------------------------- every place is as likely


HOLES = (Box(10, 10, 25, 20), Box(60, 30, 68, 60), Box(90, 90, 98, 98), Box(30, 100, 60, 109))
"""Places for a patch of 8 × 8 px: several rows, one column, a single one, two rows."""
WALLS = tuple(Box(*sides) for sides in left_over(Box(0, 0, 120, 120), boxes_of(HOLES)).tolist())
NEIGHBOURS = (Box(0, 0, 120, 108), Box(0, 90, 104, 120), Box(110, 112, 114, 120))
"""Patches that leave corners for 8 × 8 px in the lower right, with a step."""


@dataclass(frozen=True)
class Draw:
    """A patch of 8 × 8 px to be drawn in 120 × 120 px."""

    objects: tuple[Box, ...] = ()
    others: tuple[Box, ...] = ()
    align: int = 1

    @property
    def rules(self) -> Rules:
        """One patch of a fixed size."""
        return Rules(patches=1, min_size=8, max_size=8, align=self.align)

    @property
    def ground(self) -> Ground:
        """All of it, judged pixel by pixel."""
        ground = ground_of(Scene(120, 120, self.objects), roi(0, 0, 120, 120), self.rules)
        assert ground is not None
        return ground

    @property
    def places(self) -> list[tuple[int, int]]:
        """Brute force: all valid corners."""
        boxes = [Box.sized(x, y, 8, 8) for x, y in self.ground.corners(8, 8)]
        return [(box.left, box.top) for box in boxes if not any(self.rules.crowds(box, one) for one in self.others)]

    def times(self, draw: Callable[[int], tuple[int, int]]) -> list[int]:
        """How often each valid corner is drawn; any other one is an error."""
        times = dict.fromkeys(self.places, 0)
        for seed in range(25 * len(times)):
            times[draw(seed)] += 1
        return list(times.values())

    def sampled(self, seed: int) -> tuple[int, int]:
        """The corner that the sampler draws."""
        scene = Scene(120, 120, self.objects)
        (box,) = sample(scene, roi(0, 0, 120, 120), self.rules, seed, others=self.others).boxes
        return box.left, box.top


BLOCKS = (Box(0, 0, 120, 40), Box(0, 60, 90, 120), Box(95, 20, 120, 75))
HARD = [
    pytest.param(Draw(WALLS), id="few holes"),
    pytest.param(Draw(WALLS * 9), id="few holes among many objects"),
    pytest.param(Draw(WALLS * 9, align=2), id="few holes, on a grid"),
    pytest.param(Draw((), NEIGHBOURS), id="hardly any place beside patches"),
    pytest.param(Draw(WALLS, (Box(13, 8, 21, 14), Box(30, 100, 45, 103))), id="patches in the holes"),
    pytest.param(Draw((), NEIGHBOURS, align=2), id="hardly any place beside patches, on a grid"),
]


@pytest.mark.parametrize(
    "draw",
    [
        pytest.param(Draw(BLOCKS, align=5), id="an open scene"),
        pytest.param(Draw(BLOCKS, (Box(60, 30, 80, 60),), align=4), id="beside a patch"),
        *HARD,
    ],
)
def test_each_place_is_as_likely(draw: Draw) -> None:
    """Every valid corner is drawn as often as any other, by Pearson's chi-square, and nothing else is."""
    assert evenness(draw.times(draw.sampled)) < 1


@pytest.mark.parametrize("draw", HARD)
def test_hard_draws_are_not_a_matter_of_luck(draw: Draw) -> None:
    """What the test above draws there, tries don't find: of all corners less than one in fifty is valid."""
    assert 10 < len(draw.places) < 113**2 / draw.align**2 / 50


def test_a_favourite_would_be_noticed() -> None:
    """The test above proves something: to draw a hole, then a corner in it, is not even; nor is a double chance for one
    row.
    """
    draw = Draw(WALLS)
    places = draw.places

    def hole_by_hole(seed: int) -> tuple[int, int]:
        chance = Chance(seed)
        hole = HOLES[chance.below(len(HOLES))]
        return chance.between(hole.left, hole.right - 8), chance.between(hole.top, hole.bottom - 8)

    def with_a_favourite_row(seed: int) -> tuple[int, int]:
        twice = [place for place in places if place[1] == 100]
        return [*places, *twice][Chance(seed).below(len(places) + len(twice))]

    assert evenness(draw.times(hole_by_hole)) > 3
    assert evenness(draw.times(with_a_favourite_row)) > 1


@pytest.mark.parametrize(("square", "sizes"), [(False, 25), (True, 5)])
def test_each_size_is_as_likely(square: bool, sizes: int) -> None:
    """Where there is room: width and height from smallest to largest, one independent of the other; or squares."""
    rules, times = Rules(patches=1, min_size=6, max_size=10, square=square), Counter[tuple[int, int]]()
    for seed in range(40 * sizes):
        (box,) = sample(Scene(200, 200), roi(0, 0, 200, 200), rules, seed).boxes
        times[box.width, box.height] += 1
    assert len(times) == sizes
    assert evenness(list(times.values())) < 1


# ---------------------------------------------------------------- the same for everybody

LATTICE = tuple(Box.sized(x, y, 20, 20) for x in range(0, 400, 70) for y in range(x % 4 * 10, 300, 60))


@pytest.mark.parametrize(
    ("scene", "area", "rules", "expected"),
    [
        pytest.param(
            Scene(1600, 1200, (Box.sized(400, 400, 150, 150),)),
            roi(100, 100, 700, 700, rotation=10),
            Rules(patches=3),
            (Box(101, 392, 282, 634), Box(157, 188, 361, 540), Box(491, 618, 628, 860)),
            id="open",
        ),
        pytest.param(
            Scene(400, 300, LATTICE * 8),
            roi(10, 10, 380, 280),
            Rules(patches=4, min_size=36, max_size=60, margin=2),
            (Box(166, 175, 208, 213), Box(307, 120, 347, 160), Box(311, 149, 347, 186), Box(234, 97, 276, 137)),
            id="dense",
        ),
        pytest.param(
            BLANK,
            roi(10, 10, 160, 160),
            Rules(patches=5),
            (
                Box(70, 70, 170, 170),
                Box(70, 10, 170, 110),
                Box(10, 10, 110, 110),
                Box(40, 39, 140, 139),
                Box(10, 68, 110, 168),
            ),
            id="packed",
        ),
    ],
)
def test_the_stream_never_changes(scene: Scene, area: Roi, rules: Rules, expected: tuple[Box, ...]) -> None:
    """Same scene, ROI, rules and seed: these very patches, on every machine and in every version."""
    assert sample(scene, area, rules, seed=42).boxes == expected


def test_the_order_of_the_objects_does_not_matter() -> None:
    """Label Studio may list them in any: the patches are the same."""
    for trial, sampling in trials()[:100]:
        objects = list(trial.scene.exclusions)
        Random(trial.seed).shuffle(objects)
        assert replace(trial, scene=replace(trial.scene, exclusions=tuple(objects))).sampling == sampling


def test_another_seed_gives_other_patches() -> None:
    """Chance comes from the seed."""
    drawn = {sample(BLANK, roi(), Rules(), seed).boxes for seed in range(20)}
    assert len(drawn) == 20


# ---------------------------------------------------------------- as many as asked, wherever they fit


def square(side: int) -> Callable[[int], Roi]:
    """A square ROI, for any seed the same."""
    return lambda _: roi(10, 10, side, side)


def short(area: Callable[[int], Roi], rules: Rules, seeds: range) -> list[int]:
    """The seeds that give fewer patches than asked."""
    return [seed for seed in seeds if sample(BLANK, area(seed), rules, seed).shortfall]


@pytest.mark.parametrize("first", range(160, 600, 40))
def test_five_of_five_from_160_pixels_upward(first: int) -> None:
    """In a square ROI of any side without objects the default rules are always met."""
    for side in range(first, first + 40):
        assert short(square(side), Rules(), range(2)) == [], side


@pytest.mark.parametrize("side", [160, 161, 175, 200, 220, 280])
def test_five_of_five_is_no_luck(side: int) -> None:
    """With any seed, wherever the ROI lies."""
    assert short(lambda seed: roi(7 * seed, 5 * seed, side, side), Rules(), range(40)) == []


@pytest.mark.parametrize(("width", "height"), [(200, 600), (600, 200), (160, 1000), (110, 500), (300, 250)])
@pytest.mark.parametrize("square", [False, True])
def test_five_of_five_in_rectangles(width: int, height: int, square: bool) -> None:
    """Long ones, too, with free sizes and with squares."""
    assert short(lambda _: roi(10, 10, width, height), Rules(square=square), range(12)) == []


@pytest.mark.parametrize("side", [200, 208, 215, 240, 330])
@pytest.mark.parametrize("align", [8, 16])
@pytest.mark.parametrize("square", [False, True])
def test_five_of_five_on_a_grid(side: int, align: int, square: bool) -> None:
    """Wherever the grid lies to the ROI."""
    rules = Rules(align=align, square=square)
    assert short(lambda seed: roi(10 + seed, 10 + 3 * seed, side, side), rules, range(8)) == []


@pytest.mark.parametrize("side", [160, 200, 240, 300, 500])
def test_five_of_five_squares(side: int) -> None:
    """Squares are met as well."""
    assert short(square(side), Rules(square=True), range(12)) == []


@pytest.mark.parametrize("least", [40, 100])
@pytest.mark.parametrize(("times", "most"), [(1.5, 3), (1.6, 5), (1.75, 6), (2.0, 9)])
def test_the_fullest_filling_is_found(times: float, most: int, least: int) -> None:
    """As many squares as were ever fitted into a square ROI of so many times their width."""
    area, rules = roi(10, 10, times * least, times * least), Rules(patches=20, min_size=least, square=True)
    assert max(len(sample(BLANK, area, rules, seed).boxes) for seed in range(6)) == most


def test_a_patch_as_large_as_its_roi_fits() -> None:
    """Exactly the smallest size is enough for one."""
    assert sample(BLANK, roi(30, 40, 100, 100), Rules(patches=1), seed=0).boxes == (Box.sized(30, 40, 100, 100),)


def test_the_only_free_gap_is_found() -> None:
    """A patch fits between four objects without a pixel to spare: meeting at an edge is not touching."""
    gap = Box.sized(60, 70, 100, 100)
    above, below = Box(60, 0, 160, 70), Box(60, 170, 160, 240)
    before, after = Box(0, 70, 60, 170), Box(160, 70, 220, 170)
    scene = Scene(220, 240, (above, below, before, after))
    assert sample(scene, roi(59, 69, 102, 102), Rules(patches=1), seed=0).boxes == (gap,)


@pytest.mark.parametrize("seed", range(5))
def test_one_gap_in_a_large_image_is_found(seed: int) -> None:
    """One place in four hundred million: no number of tries would find it, and no seed misses it."""
    gap = Box.sized(12_345, 6_789, 100, 100)
    walls = tuple(Box(*sides) for sides in left_over(Box(0, 0, 20_000, 20_000), boxes_of([gap])).tolist())
    scene = Scene(20_000, 20_000, walls)
    assert sample(scene, roi(0, 0, 20_000, 20_000), Rules(patches=1), seed).boxes == (gap,)


def test_a_patch_is_found_wherever_one_fits() -> None:
    """If and only if the smallest size has a place, by brute force."""
    rng, fits = Random(6), 0
    for ground in grounds(rng, 100):
        side = rng.randint(5, 13)
        rules = replace(ground.rules, min_size=side, max_size=side + rng.choice([0, 9]))
        found = sample(ground.scene, ground.roi, rules, seed=1).boxes
        assert bool(found) == bool(ground.corners(side, side)), ground
        fits += bool(found)
    assert 35 < fits < 80


def test_sizes_come_down_step_by_step() -> None:
    """When a large first patch jams the ROI, the sizes become smaller, not the smallest at once."""
    smallest = Box.sized(0, 0, 100, 100).area
    drawn = [sample(BLANK, roi(0, 0, 300, 300), Rules(), seed).boxes for seed in range(30)]
    assert sum(all(box.area == smallest for box in boxes) for boxes in drawn) < 5


def test_large_patches_are_drawn_where_there_is_room() -> None:
    """Sizes spread over the whole range: the cap on the size comes down only after a jam."""
    sides = {box.width for seed in range(60) for box in sample(BLANK, roi(0, 0, 1600, 1200), Rules(), seed).boxes}
    assert (min(sides) < 130, max(sides) > 370) == (True, True)


def test_long_patches_are_drawn_in_a_long_roi() -> None:
    """Each side of a patch goes as far as the ROI's own."""
    boxes = [box for seed in range(30) for box in sample(BLANK, roi(0, 0, 700, 130), Rules(), seed).boxes]
    assert (max(box.width for box in boxes) > 350, max(box.height for box in boxes) > 120) == (True, True)


# ---------------------------------------------------------------- topping up


def test_only_what_is_missing_is_drawn() -> None:
    """Kept patches count towards the patches asked for."""
    kept = (Box.sized(100, 100, 200, 200), Box.sized(500, 500, 200, 200))
    assert len(sample(BLANK, roi(), Rules(), 1, kept=kept).boxes) == 3


def test_patches_of_other_rois_do_not_count() -> None:
    """They are only in the way."""
    others = (Box.sized(100, 100, 200, 200), Box.sized(500, 500, 200, 200))
    sampling = sample(BLANK, roi(), Rules(), 1, others=others)
    assert (len(sampling.boxes), sampling.shortfall) == (5, None)


@pytest.mark.parametrize("more", [0, 2])
def test_where_enough_are_kept_none_is_drawn(more: int) -> None:
    """Nor is anything missing, also when there are more than asked for."""
    kept = tuple(Box.sized(100 + 120 * number, 100, 100, 100) for number in range(3 + more))
    assert sample(BLANK, roi(), Rules(patches=3), 1, kept=kept) == Sampling(())


@pytest.mark.parametrize("wide", [30, 60])
def test_asking_again_for_what_is_missing_finds_nothing_more(wide: int) -> None:
    """A shortfall is final: what was drawn being kept, another run doesn't add a patch that the first one missed, and
    says the same; also where patches that were there before are larger than those asked for.
    """
    hard = Rules(patches=20, min_size=30, max_size=wide)
    for seed in range(15):
        rng = Random(seed)
        scene = Scene(150, 150, cells(rng.randint(0, 8), width=150, height=150, side=9, seed=seed))
        there = tuple(Box.sized(rng.randint(0, 40), rng.randint(0, 40), 50, 40) for _ in range(seed % 3))
        trial = Trial(scene, roi(0, 0, 64, 70), hard, seed, there[:1], there[1:])
        first = trial.sampling
        assert first.shortfall is not None
        assert replace(trial, kept=trial.kept + first.boxes).sampling == Sampling((), first.shortfall)


def test_a_shortfall_is_final_where_a_larger_patch_has_a_place() -> None:
    """The smallest may have none where a larger one, overlapped by several, shares less than half of its own area."""
    others = (Box(20, 27, 28, 34), Box(9, 9, 49, 27), Box(39, 27, 44, 37), Box(4, 4, 36, 28), Box(7, 25, 39, 35))
    rules = Rules(patches=8, min_size=14, max_size=38)
    trial = Trial(Scene(100, 100), roi(0, 0, 44, 44), rules, 2477, others=others)
    first = trial.sampling
    assert len(first.boxes) == 7
    assert replace(trial, kept=first.boxes).sampling == Sampling((), first.shortfall)


def test_a_shortfall_of_any_kind_is_final() -> None:
    """In the random scenes, too."""
    again = [(sampling.shortfall, replace(trial, kept=trial.kept + sampling.boxes).sampling)
             for trial, sampling in trials()[:200] if sampling.shortfall]  # fmt: skip
    assert len(again) > 40
    assert all(second == Sampling((), first) for first, second in again)


def on_grid(scene: Scene, area: Roi, rules: Rules, seed: int, kept: tuple[Box, ...] = ()) -> Sampling:
    """On a grid of 16 px as far as there is room."""
    return sample_on_grid(scene, area, rules, seed, grid=16, kept=kept)


def off_grid(boxes: Iterable[Box]) -> list[Box]:
    """Those whose left or top edge is on no line of the grid."""
    return [box for box in boxes if box.left % 16 or box.top % 16]


@pytest.mark.parametrize("align", [1, 4, 24])
def test_where_there_is_room_all_lie_on_the_grid(align: int) -> None:
    """And on the one that the rules ask for."""
    found = on_grid(Scene(1600, 1200), roi(), Rules(align=align), 7)
    assert (len(found.boxes), off_grid(found.boxes)) == (5, [])
    assert all(box.left % align == box.top % align == 0 for box in found.boxes)


@pytest.mark.parametrize("seed", range(20))
def test_no_patch_is_lost_for_the_grid(seed: int) -> None:
    """In an ROI as large as one patch, off the grid, it lies there; where some fit, no fewer do than anywhere."""
    exact = on_grid(Scene(1600, 1200), roi(101, 103, 100, 100), Rules(patches=1), seed)
    assert exact == Sampling((Box(101, 103, 201, 203),))
    scene, area, rules = Scene(1600, 1200), roi(101, 103, 230, 230), Rules(max_overlap=0.2)
    some, free = on_grid(scene, area, rules, seed), sample(scene, area, rules, seed)
    assert len(some.boxes) >= len(free.boxes)
    assert not [(one, two) for one in some.boxes for two in some.boxes if one != two and rules.crowds(one, two)]


@pytest.mark.parametrize("seed", range(5))
def test_asking_again_after_a_shortfall_finds_nothing_more(seed: int) -> None:
    """What is there counts as it lies, on the grid or off it."""
    scene, area, rules = Scene(1600, 1200), roi(101, 103, 150, 150), Rules(max_overlap=0.2)
    first = on_grid(scene, area, rules, seed)
    assert first.shortfall is not None
    assert on_grid(scene, area, rules, seed, kept=first.boxes).boxes == ()
