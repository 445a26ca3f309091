from collections import Counter
from dataclasses import replace
from itertools import combinations, product
from random import Random

import pytest

from service.domain.geometry import Box, Ellipse, Polygon
from service.domain.model import Cause, Roi, Rules, Scene, Shortfall
from service.sampling import sample
from service.sampling.explanation import most_patches
from service.sampling.space import Space
from tests.factories import roi
from tests.sampling.judge import grounds, random_trial

BLANK = Scene(1600, 1200)


def told(
    scene: Scene, area: Roi, rules: Rules, *, kept: tuple[Box, ...] = (), others: tuple[Box, ...] = ()
) -> Shortfall:
    """What a person is told."""
    shortfall = sample(scene, area, rules, seed=0, kept=kept, others=others).shortfall
    assert shortfall is not None
    return shortfall


def said(cause: Cause, reason: str, largest: Box | None, at_most: int | None = 0, *, of: int = 5) -> Shortfall:
    """What should be said where no patch was placed."""
    return Shortfall(of, 0, cause, reason, largest, at_most)


# ---------------------------------------------------------------- the ROI is the reason


@pytest.mark.parametrize(
    ("area", "size", "advice", "largest"),
    [
        pytest.param(
            roi(10, 20, 90, 90), "90 × 90", ", or lower min_size to 90 or less", Box(10, 20, 100, 110), id="90 px"
        ),
        pytest.param(
            roi(10, 20, 99, 300), "99 × 300", ", or lower min_size to 99 or less", Box(10, 20, 109, 119), id="narrow"
        ),
        pytest.param(
            roi(10, 20, 300, 99), "300 × 99", ", or lower min_size to 99 or less", Box(10, 20, 109, 119), id="low"
        ),
        pytest.param(roi(10, 20, 9, 300), "9 × 300", "", Box(10, 20, 19, 29), id="smaller than trainers keep"),
        pytest.param(
            roi(-90, 20, 180, 180), "90 × 180", ", or lower min_size to 90 or less", Box(0, 20, 90, 110), id="cut off"
        ),
    ],
)
def test_an_roi_smaller_than_one_patch_says_so(area: Roi, size: str, advice: str, largest: Box) -> None:
    """The sentence gives both sizes and what would help; a size that no trainer keeps is not suggested."""
    what = "the ROI" if BLANK.frame.holds(area.box) else "the ROI's part in the image"
    reason = f"{what} is {size} px, smaller than one patch of 100 × 100 px; draw it larger{advice}"
    assert told(BLANK, area, Rules()) == said(Cause.ROI_TOO_SMALL, reason, largest)


def test_an_roi_outside_of_the_image_says_so() -> None:
    """It may be left from another image of other size."""
    reason = "the ROI lies outside of the image; draw it on the image"
    assert told(BLANK, roi(2000, 10, 300, 300), Rules()) == said(Cause.ROI_TOO_SMALL, reason, None)


@pytest.mark.parametrize(
    ("area", "rules", "grid", "largest"),
    [
        pytest.param(roi(500, 500, 120, 120, 45), Rules(), "", Box.sized(458, 542, 84, 84), id="tilted"),
        pytest.param(roi(500.5, 500.5, 99.4, 200), Rules(), "", Box.sized(501, 501, 98, 98), id="cut pixels"),
        pytest.param(
            Roi("drawn", Polygon(((500, 500), (700, 500), (500, 650)))),
            Rules(),
            "",
            Box.sized(500, 500, 85, 85),
            id="polygon",
        ),
        pytest.param(Roi("drawn", Ellipse(500, 500, 65, 65)), Rules(), "", Box.sized(455, 454, 90, 90), id="ellipse"),
        pytest.param(
            roi(1, 1, 105, 105),
            Rules(align=16),
            " with its corner on the grid of 16 px",
            Box.sized(16, 16, 90, 90),
            id="grid",
        ),
    ],
)
def test_an_roi_that_is_large_enough_only_at_first_sight_says_so(
    area: Roi, rules: Rules, grid: str, largest: Box
) -> None:
    """Objects are not blamed where there are none; the largest square that lies in it is named."""
    side = largest.width
    reason = (
        f"no upright patch of 100 × 100 px{grid} lies wholly in this ROI and in the image: the largest free square "
        f"there is {side} × {side} px, at ({largest.left}, {largest.top}); draw it larger or less tilted, or lower "
        f"min_size to {side} or less{', or lower align (16 px)' if grid else ''}"
    )
    assert told(BLANK, area, rules) == said(Cause.ROI_TOO_SMALL, reason, largest)


def test_an_roi_that_holds_no_pixel_names_no_square() -> None:
    """A sliver."""
    sliver = Roi("drawn", Polygon(((100, 100), (400, 400), (401, 400))))
    reason = "no upright patch of 100 × 100 px lies wholly in this ROI and in the image; draw it larger or less tilted"
    assert told(BLANK, sliver, Rules()) == said(Cause.ROI_TOO_SMALL, reason, None)


# ---------------------------------------------------------------- objects are the reason


def lattice(step: int, side: int) -> Scene:
    """600 × 600 px full of squares."""
    return Scene(600, 600, tuple(Box.sized(x, y, side, side) for x in range(0, 600, step) for y in range(0, 600, step)))


@pytest.mark.parametrize(
    ("scene", "rules", "found", "largest"),
    [
        pytest.param(
            lattice(90, 20),
            Rules(),
            "labelled objects leave no room for a patch of 100 × 100 px in this ROI: the largest free square there is "
            "70 × 70 px, at (20, 0); draw it elsewhere, or lower min_size to 70 or less",
            Box(20, 0, 90, 70),
            id="full of cells",
        ),
        pytest.param(
            lattice(90, 20),
            Rules(margin=10, align=8),
            "labelled objects and the 10 px kept free around them leave no room for a patch of 100 × 100 px with its "
            "corner on the grid of 8 px in this ROI: the largest free square there is 50 × 50 px, at (120, 0); draw it "
            "elsewhere, or lower min_size to 50 or less, or lower align (8 px)",
            Box(120, 0, 170, 50),
            id="margin and grid",
        ),
        pytest.param(
            lattice(16, 8),
            Rules(),
            "labelled objects leave no room for a patch of 100 × 100 px in this ROI: the largest free square there is "
            "8 × 8 px, at (8, 0); draw it elsewhere",
            Box(8, 0, 16, 8),
            id="gaps that no trainer keeps",
        ),
        pytest.param(
            Scene(600, 600, (Box(0, 0, 600, 600),)),
            Rules(),
            "labelled objects leave no room for a patch of 100 × 100 px in this ROI; draw it elsewhere",
            None,
            id="one object all over it",
        ),
    ],
)
def test_an_roi_full_of_objects_says_so(scene: Scene, rules: Rules, found: str, largest: Box | None) -> None:
    """The objects are named, with the largest free square and where it is."""
    assert told(scene, roi(0, 0, 600, 600), rules) == said(Cause.BLOCKED, found, largest)


def test_causes_and_largest_squares_agree_with_brute_force() -> None:
    """Asked for one pixel more than the largest free square, the objects are the reason exactly when a patch would fit
    without them; the square named is clear, the largest and the topmost.
    """
    rng, causes = Random(1), Counter[Cause]()
    for ground in grounds(rng, 200):
        side, corners = 0, ground.corners(1, 1)
        while larger := ground.corners(side + 1, side + 1):
            side, corners = side + 1, larger
        asked = replace(ground.rules, min_size=side + 1)
        shortfall = told(ground.scene, ground.roi, asked)
        bare = sample(replace(ground.scene, exclusions=()), ground.roi, asked, seed=0)
        assert shortfall.cause == (Cause.BLOCKED if bare.boxes else Cause.ROI_TOO_SMALL), ground
        largest = shortfall.largest_free_square
        assert (largest.width, largest.height) == (side, side) if largest else side == 0, ground
        assert largest is None or (largest.left, largest.top) in corners, ground
        assert largest is None or largest.top == corners[0][1], ground
        causes[shortfall.cause] += 1
    assert min(causes[cause] for cause in (Cause.BLOCKED, Cause.ROI_TOO_SMALL)) > 30, causes


def test_a_smaller_size_as_advised_helps() -> None:
    """With the smallest size lowered to the largest free square, a patch is placed."""
    rng, helped = Random(2), 0
    for ground in grounds(rng, 100):
        largest = told(ground.scene, ground.roi, replace(ground.rules, min_size=60)).largest_free_square
        if largest:
            rules = replace(ground.rules, min_size=largest.width)
            assert sample(ground.scene, ground.roi, rules, seed=0).boxes, ground
            helped += 1
    assert helped > 60


# ---------------------------------------------------------------- patches are the reason

ROOM = Box(0, 60, 160, 220)
WALLED = Scene(400, 400, (Box(0, 0, 400, 60), Box(0, 220, 400, 400), Box(160, 60, 400, 220)))
"""Objects leave 61 × 61 of 301 × 301 places."""
WHOLE = Box(10, 10, 200, 200)
IT = "100 × 100 px that overlaps it by less than 50%"
EACH = "100 × 100 px that overlaps each of them by less than 50%"
HALVES = (Box(10, 10, 200, 110), Box(10, 100, 200, 200))


@pytest.mark.parametrize(
    ("kept", "others", "found", "advice"),
    [
        pytest.param(HALVES, (), f"the 2 patches there leave no place for another of {EACH}", "ask for 2, ", id="own"),
        pytest.param((WHOLE,), (), f"the patch there leaves no place for another of {IT}", "ask for 1, ", id="own one"),
        pytest.param(
            (), HALVES, f"2 rejected or other ROIs' patches leave no place for one of {EACH}", "", id="those of others"
        ),
        pytest.param(
            (),
            (WHOLE, Box(900, 900, 1000, 1000)),
            f"1 rejected or other ROIs' patch leaves no place for one of {IT}",
            "",
            id="one of others, and one elsewhere",
        ),
        pytest.param(
            HALVES[:1],
            HALVES[1:],
            f"the patch there and 1 rejected or other ROIs' patch leave no place for another of {EACH}",
            "ask for 1, ",
            id="both",
        ),
    ],
)
def test_patches_in_the_way_say_so(kept: tuple[Box, ...], others: tuple[Box, ...], found: str, advice: str) -> None:
    """Without objects only the overlap hinders: the sentence says whose patches, how many, and the limit. Where none is
    this ROI's own, one can't ask for fewer.
    """
    assert told(BLANK, roi(10, 10, 190, 190), Rules(), kept=kept, others=others) == Shortfall(
        5, len(kept), Cause.JAMMED, f"{found}; {advice}draw the ROI larger or lower min_size", WHOLE
    )


def test_objects_that_leave_few_places_are_named_too() -> None:
    """With the share of the places that they leave."""
    assert told(WALLED, roi(0, 0, 400, 400), Rules(align=4), kept=(ROOM, ROOM)).reason == (
        "labelled objects leave 4% of the places in this ROI, and the 2 patches there leave no place for another of "
        "100 × 100 px with its corner on the grid of 4 px that overlaps each of them by less than 50%; ask for 2, draw "
        "the ROI larger or lower min_size, or lower align (4 px)"
    )


@pytest.mark.parametrize(
    ("wide", "share"),
    [
        pytest.param(109, "leave less than 1%", id="nearly none"),
        pytest.param(110, "leave 1%", id="one in a hundred"),
        pytest.param(598, "leave 50%", id="just below half"),
        pytest.param(600, None, id="half"),
    ],
)
def test_the_share_of_places_is_rounded_honestly(wide: int, share: str | None) -> None:
    """Something is never said to be nothing; objects that leave half of the places aren't blamed."""
    room = Box(0, 0, wide, 150)
    scene = Scene(1101, 150, (Box(wide, 0, 1101, 150),))
    reason = told(scene, roi(0, 0, 1101, 150), Rules(patches=1), others=(room,)).reason
    assert ("labelled objects" in reason) is (share is not None)
    assert f"labelled objects {share} of the places" in reason or share is None


def test_what_can_not_be_at_all_is_said_to_be_impossible() -> None:
    """20 in 150 × 150: with the proved limit, and what was placed as advice."""
    assert told(BLANK, roi(10, 10, 150, 150), Rules(patches=20, square=True)) == Shortfall(
        20,
        3,
        Cause.IMPOSSIBLE,
        "no more than 4 square patches of 100 × 100 px or more can lie in this ROI and overlap by less than 50%; ask "
        "for 3, draw it larger or lower min_size",
        Box(10, 10, 160, 160),
        4,
    )


def test_as_many_as_may_be_possible_are_not_said_to_be_impossible() -> None:
    """The limit is proved, not that it can be reached: asked for just as many, the patches there are the reason."""
    shortfall = told(BLANK, roi(10, 10, 150, 150), Rules(patches=4, square=True))
    assert (shortfall.cause, shortfall.placed, shortfall.at_most) == (Cause.JAMMED, 3, None)


def test_the_limit_is_larger_where_sizes_are_free() -> None:
    """A long patch may cross another where a square may not: what holds for squares isn't claimed for them."""
    shortfall = told(BLANK, roi(10, 10, 150, 150), Rules(patches=20))
    assert (shortfall.cause, shortfall.placed, shortfall.at_most) == (Cause.IMPOSSIBLE, 3, 15)
    assert shortfall.reason.startswith("no more than 15 patches of 100 × 100 px or more can lie in this ROI")


def test_nobody_is_told_to_ask_for_none() -> None:
    """Where many are impossible, and others' patches leave no place for a single one."""
    reason = told(BLANK, roi(10, 10, 150, 150), Rules(patches=20), others=(Box(10, 10, 160, 160),)).reason
    assert reason == (
        "no more than 15 patches of 100 × 100 px or more can lie in this ROI and overlap by less than 50%; draw it "
        "larger or lower min_size"
    )


def test_one_patch_is_spoken_of_as_one() -> None:
    """It overlaps nothing; read aloud, the sentence makes sense."""
    assert told(BLANK, roi(10, 10, 100, 100), Rules()).reason == (
        "no more than 1 patch of 100 × 100 px or more can lie in this ROI; ask for 1, draw it larger or lower min_size"
    )


def test_what_was_placed_can_be_asked_for() -> None:
    """As the sentence advises: then nothing is missing."""
    asked = 0
    for trial in map(random_trial, range(220)):
        shortfall = trial.sampling.shortfall
        if shortfall and shortfall.placed:
            fewer = replace(trial, rules=replace(trial.rules, patches=shortfall.placed))
            assert fewer.sampling.shortfall is None, trial
            asked += 1
    assert asked > 15


# ---------------------------------------------------------------- how many are possible


def fullest(boxes: list[Box], rules: Rules, enough: int) -> int:
    """The most of these boxes that don't crowd each other, found by looking at every layout (the largest clique, after
    Tomita and Seki 2003); no more than `enough` are looked for.
    """
    fits = [sum(1 << i for i, other in enumerate(boxes) if i != n and not rules.crowds(box, other))
            for n, box in enumerate(boxes)]  # fmt: skip
    best = 0

    def extend(candidates: int, size: int) -> None:
        nonlocal best
        best = max(best, size)
        coloured, colour, left = [], 0, candidates
        while left:  # boxes of one colour all crowd each other: at most one of them counts
            colour, same = colour + 1, left
            while same:
                number = same.bit_length() - 1
                same &= ~(fits[number] | 1 << number)
                left &= ~(1 << number)
                coloured.append((number, colour))
        for number, colours in reversed(coloured):
            if size + colours <= best or best >= enough:
                return
            extend(candidates & fits[number], size + 1)
            candidates &= ~(1 << number)

    extend((1 << len(boxes)) - 1, 0)
    return best


@pytest.mark.parametrize("square", [False, True])
@pytest.mark.parametrize("share", [0.1, 1 / 3, 0.4, 0.5, 0.55, 0.6, 0.75, 0.9, 1.0])
def test_no_layout_has_more_patches_than_are_said_to_be_possible(share: float, square: bool) -> None:
    """In small ROIs, with objects and on a grid, too: all layouts of all patches are looked at."""
    rng, met = Random(f"{share} {square}"), 0
    for wide, high, least, most in product((3, 4, 5, 6, 8), (3, 4, 5, 6, 7), (1, 2, 3, 4), (2, 3, 5, 8)):
        if least <= most <= max(wide, high) and least <= min(wide, high) and max(wide, high) <= least + 4:
            left, top = range(1, wide + 1), range(1, high + 1)
            objects = [Box.sized(rng.choice(left), rng.choice(top), 1, 1) for _ in range(rng.choice([0, 0, 1]))]
            scene, area = Scene(wide + 2, high + 1, tuple(objects)), roi(1, 1, wide, high)
            rules = Rules(min_size=least, max_size=most, max_overlap=share, square=square, align=rng.choice([1, 1, 2]))
            sizes = range(least, most + 1)
            boxes = [Box.sized(*sides) for sides in product(left, top, sizes, sizes)]
            boxes = [box for box in boxes if rules.permits(box) and area.box.holds(box)]
            boxes = [box for box in boxes if not any(map(box.touches, objects))]
            limit = most_patches(Space(scene, area, rules), rules)
            if limit is None:  # nothing was claimed
                continue
            possible = fullest(boxes, rules, limit + 1)
            assert possible <= limit, (scene, rules)
            met += possible == limit
    assert met > 3 or (share > 0.5 and not square) or share == 1


def test_what_was_placed_was_possible() -> None:
    """In random scenes of every kind: the limit is never below what lies there."""
    trials = [trial for trial in map(random_trial, range(400, 470)) if not trial.kept]
    for trial in trials:
        rules = replace(trial.rules, patches=20)
        boxes = sample(trial.scene, trial.roi, rules, trial.seed).boxes
        limit = most_patches(Space(trial.scene, trial.roi, rules), rules)
        assert limit is None or len(boxes) <= limit, trial


@pytest.mark.parametrize("share", [0.1, 1 / 3, 0.5, 0.6])
@pytest.mark.parametrize("square", [False, True])
def test_the_limit_is_of_use(share: float, square: bool) -> None:
    """In an ROI hardly larger than one patch no more than a few are said to be possible."""
    rules = Rules(max_overlap=share, square=square)
    limit = most_patches(Space(BLANK, roi(0, 0, 104, 104), rules), rules)
    assert limit is not None
    assert limit < 6


@pytest.mark.parametrize("area", [roi(0, 0, 99, 300), roi(2000, 0, 300, 300)])
def test_where_none_fits_none_is_possible(area: Roi) -> None:
    """In an ROI too small or outside of the image."""
    assert most_patches(Space(BLANK, area, Rules()), Rules()) == 0


def test_too_little_is_not_claimed_where_patches_may_share_a_corner() -> None:
    """A long one and a high one overlap little: twelve lie in 3 × 3 px, where only nine corners are."""
    rules = Rules(patches=12, min_size=1, max_size=2, max_overlap=0.6)
    long = [Box.sized(x, y, 2, 1) for x, y in product(range(2), range(3))]
    high = [Box.sized(x, y, 1, 2) for x, y in product(range(3), range(2))]
    assert not any(rules.crowds(one, other) for one, other in combinations(long + high, 2))
    limit = most_patches(Space(BLANK, roi(0, 0, 3, 3), rules), rules)
    assert limit is None or limit >= 12
