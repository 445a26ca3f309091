from dataclasses import dataclass, replace
from functools import cache
from itertools import combinations
from random import Random

import pytest
import shapely
from shapely import affinity

from service.domain.geometry import Box
from service.domain.model import Roi, Rules, Scene
from service.sampling import Sampling, sample
from tests.factories import cells, roi

BLANK = Scene(1600, 1200)


@dataclass(frozen=True)
class Trial:
    """One random draw in a crowded image, with all that it was asked."""

    scene: Scene
    polygon: shapely.Polygon
    rules: Rules
    standing: tuple[Box, ...]
    sampling: Sampling


@cache
def trials() -> tuple[Trial, ...]:
    """Forty crowded scenes: most boxes drawn at random would break a rule in them (a test below counts)."""
    return tuple(trial(seed) for seed in range(40))


def trial(seed: int) -> Trial:
    """Up to 170 cells; the ROI hangs over the image's border in places, and is turned in two of three scenes."""
    rng = Random(seed)
    scene = Scene(1600, 1200, cells(rng.randint(110, 170), width=1600, height=1200, side=40, seed=seed))
    rules = Rules(
        patches=rng.randint(4, 10),
        min_size=rng.randint(60, 90),
        max_size=rng.randint(90, 300),
        margin=rng.choice([0, 1, 8]),
        max_overlap=rng.choice([0.5, 0.5, 0.2]),
    )
    x, y, width, height = rng.uniform(-100, 700), rng.uniform(-100, 400), rng.uniform(320, 800), rng.uniform(320, 800)
    rotation = rng.choice([0.0, rng.uniform(-90, 90), rng.uniform(-20, 20)])
    area = roi(x, y, width, height, rotation)
    standing = sample(scene, area, Rules(patches=2, min_size=60, max_size=90), seed + 1000).boxes
    polygon = affinity.rotate(shapely.box(x, y, x + width, y + height), rotation, origin=(x, y))
    return Trial(scene, polygon, rules, standing, sample(scene, area, rules, seed, standing))


def size_of_overlap(one: Box, other: Box) -> float:
    """The share of the smaller box that the two have in common, judged by shapely."""
    first, second = (shapely.box(box.left, box.top, box.right, box.bottom) for box in (one, other))
    return float(first.intersection(second).area / min(first.area, second.area))


# ---------------------------------------------------------------- what holds for every patch


def test_the_trials_are_hard() -> None:
    """The properties below prove something: there are many patches, and four of five random boxes break a rule."""
    rng, broken, boxes = Random(0), 0, 0
    for one in trials():
        left, top, right, bottom = (int(side) for side in one.polygon.bounds)
        for _ in range(50):
            side = rng.randint(one.rules.min_size, one.rules.max_size)
            box = Box.sized(rng.randint(left, right - one.rules.min_size), rng.randint(top, bottom), side, side)
            inside = one.polygon.covers(shapely.box(box.left, box.top, box.right, box.bottom))
            broken += not inside or not one.scene.frame.holds(box) or one.scene.touched(box, one.rules.margin)
            boxes += 1
    placed = sum(len(one.sampling.boxes) for one in trials())
    assert (broken > 0.8 * boxes, placed > 150) == (True, True), (broken, boxes, placed)


def test_no_patch_touches_an_object_or_its_margin() -> None:
    """Between a patch and every object lie at least as many pixels as the margin says."""
    for one in trials():
        for box in one.sampling.boxes:
            for cell in one.scene.exclusions:
                gap = max(cell.left - box.right, box.left - cell.right, cell.top - box.bottom, box.top - cell.bottom)
                assert gap >= one.rules.margin, (box, cell)


def test_every_patch_lies_in_the_roi() -> None:
    """Wholly, in a turned ROI too, to a hundredth of a pixel; judged by shapely."""
    for one in trials():
        area = one.polygon.buffer(0.01, join_style="mitre")
        for box in one.sampling.boxes:
            assert area.covers(shapely.box(box.left, box.top, box.right, box.bottom)), box


def test_every_patch_lies_in_the_image() -> None:
    """An ROI may hang over the border, a patch may not."""
    for one in trials():
        for box in one.sampling.boxes:
            assert one.scene.frame.holds(box), box


def test_every_size_is_permitted() -> None:
    """Width and height lie between smallest and largest size."""
    for one in trials():
        sides = {side for box in one.sampling.boxes for side in (box.width, box.height)}
        assert all(one.rules.min_size <= side <= one.rules.max_size for side in sides), sides


def test_patches_overlap_by_less_than_the_limit() -> None:
    """Strictly less than the share of the smaller patch, among each other."""
    for one in trials():
        for first, second in combinations(one.sampling.boxes, 2):
            assert size_of_overlap(first, second) < one.rules.max_overlap, (first, second)


def test_standing_patches_are_respected() -> None:
    """A new patch keeps the same distance from patches that are there already."""
    for one in trials():
        for box in one.sampling.boxes:
            assert all(size_of_overlap(box, there) < one.rules.max_overlap for there in one.standing), box


def test_a_shortfall_counts_what_is_missing() -> None:
    """There is a shortfall exactly when there are fewer patches than asked, and its figures are right."""
    for one in trials():
        placed, shortfall = len(one.sampling.boxes), one.sampling.shortfall
        figures = (shortfall.requested, shortfall.placed) if shortfall else (one.rules.patches, one.rules.patches)
        assert figures == (one.rules.patches, placed)


# ---------------------------------------------------------------- the same for everybody


def test_the_stream_never_changes() -> None:
    """Same scene, ROI, rules and seed: these very patches, on every machine and in every version."""
    cell = Box.sized(400, 400, 150, 150)
    sampling = sample(Scene(1600, 1200, (cell,)), roi(100, 100, 700, 700, rotation=10), Rules(patches=3), seed=42)
    assert sampling.boxes == (
        Box(left=216, top=617, right=363, bottom=828),
        Box(left=141, top=532, right=383, bottom=635),
        Box(left=216, top=203, right=464, bottom=343),
    )


def test_another_seed_gives_other_patches() -> None:
    """Chance comes from the seed."""
    drawn = {sample(BLANK, roi(), Rules(), seed).boxes for seed in range(20)}
    assert len(drawn) == 20


def test_asking_again_for_what_is_missing_finds_nothing_more() -> None:
    """A shortfall is final: another run with the same seed doesn't add a patch that the first one missed."""
    area, hard = roi(0, 0, 320, 320), Rules(patches=20)
    for seed in range(3):
        scene = Scene(320, 320, cells(10, width=320, height=320, side=24, seed=seed))
        found = sample(scene, area, hard, seed).boxes
        missing = replace(hard, patches=20 - len(found))
        assert sample(scene, area, missing, seed, standing=found).boxes == ()


# ---------------------------------------------------------------- as many as asked, wherever they fit


@pytest.mark.parametrize("side", [200, 210, 220, 240, 260, 280, 300, 320, 400, 600])
def test_five_of_five_from_200_pixels_upward(side: int) -> None:
    """In a square ROI without objects the default rules are always met."""
    short = [seed for seed in range(12) if sample(BLANK, roi(10, 10, side, side), Rules(), seed).shortfall]
    assert short == []


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


def test_sizes_come_down_step_by_step() -> None:
    """When a large first patch jams the ROI, the sizes become smaller, not the smallest at once."""
    smallest = Box.sized(0, 0, 100, 100).area
    drawn = [sample(BLANK, roi(0, 0, 300, 300), Rules(), seed).boxes for seed in range(30)]
    assert sum(all(box.area == smallest for box in boxes) for boxes in drawn) < 5


def test_large_patches_are_drawn_where_there_is_room() -> None:
    """Sizes spread over the whole range: the cap on the size comes down only after a jam."""
    sides = {box.width for seed in range(60) for box in sample(BLANK, roi(0, 0, 1600, 1200), Rules(), seed).boxes}
    assert (min(sides) < 130, max(sides) > 370) == (True, True)


# ---------------------------------------------------------------- why not


def reason(scene: Scene, area: Roi, rules: Rules, standing: tuple[Box, ...] = (), seed: int = 0) -> str:
    """What a person is told."""
    shortfall = sample(scene, area, rules, seed, standing).shortfall
    assert shortfall is not None
    return f"{shortfall.placed} of {shortfall.requested}: {shortfall.reason}"


@pytest.mark.parametrize(("width", "height"), [(99, 300), (300, 99)])
def test_an_roi_smaller_than_one_patch_says_so(width: int, height: int) -> None:
    """The sentence gives both sizes and what to do."""
    assert reason(BLANK, roi(10, 10, width, height), Rules()) == (
        f"0 of 5: the ROI is {width} × {height} px, smaller than one patch of 100 × 100 px; draw it larger or lower "
        "min_size"
    )


def test_an_roi_full_of_objects_says_so() -> None:
    """Every place is labelled: none is offered, and the objects are named as the reason."""
    grid = tuple(Box.sized(x, y, 20, 20) for x in range(0, 600, 90) for y in range(0, 600, 90))
    assert reason(Scene(600, 600, grid), roi(0, 0, 600, 600), Rules()).startswith("0 of 5: labelled objects leave no")


@pytest.mark.parametrize(
    "area",
    [
        pytest.param(roi(500, 500, 120, 120, rotation=45), id="tilted"),
        pytest.param(roi(500.5, 500.5, 99.4, 200), id="cut pixels"),
        pytest.param(roi(-90, 500, 180, 180), id="hanging over the border"),
    ],
)
def test_objects_are_not_blamed_where_there_are_none(area: Roi) -> None:
    """An ROI that is large enough only at first sight is the reason itself."""
    assert reason(BLANK, area, Rules()).startswith("0 of 5: no upright patch of 100 × 100 px was found that lies")


def test_objects_that_left_room_are_not_said_to_leave_none() -> None:
    """Where one patch was placed, objects can't be all the reason that there is no second."""
    frame = (Box(0, 0, 400, 150), Box(0, 254, 400, 400), Box(0, 150, 150, 254), Box(254, 150, 400, 254))
    told = [reason(Scene(400, 400, frame), roi(0, 0, 400, 400), Rules(patches=2), seed=seed) for seed in range(6)]
    assert {one[:30] for one in told} == {"0 of 2: labelled objects leave", "1 of 2: no further patch of 10"}


def test_patches_in_each_others_way_say_so() -> None:
    """When only the overlap hinders, the sentence gives its limit."""
    told = reason(BLANK, roi(10, 10, 120, 120), Rules(patches=5))
    assert "overlaps the patches there by less than 50%" in told


def test_an_roi_full_of_standing_patches_says_so() -> None:
    """Patches that are there already can be all the reason."""
    told = reason(BLANK, roi(10, 10, 100, 100), Rules(patches=1), standing=(Box.sized(10, 10, 100, 100),))
    assert told.startswith("0 of 1: no further patch of 100 × 100 px")
