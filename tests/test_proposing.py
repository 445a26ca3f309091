from collections.abc import Iterable
from dataclasses import replace
from random import Random
from typing import Any

import pytest
import shapely

from service.domain.geometry import Box, Ellipse, Outline, Painted, Polygon, Shape
from service.domain.model import (
    Explanation,
    LiveAnswer,
    Patch,
    Proposal,
    Provenance,
    Review,
    Roi,
    Rules,
    StandingPrediction,
    Task,
    roi_live_id,
)
from service.label_studio.labeling import Labeling
from service.label_studio.payloads import read_task
from service.proposing import answer_live, seed_of, work_out_proposal
from tests.factories import NOON, cells, moved, outlines, patch, review, roi, roi_of, task


def propose(work: Task, **defaults: float) -> Proposal:
    """The proposal under the default settings; keywords are the labeling configuration's defaults."""
    return work_out_proposal(work, defaults, Rules())


def with_standing(work: Task, patches: Iterable[Patch]) -> Task:
    """The task after these patches have been published."""
    return replace(work, standing=(StandingPrediction(1, tuple(patches), content=""),))


def proposed(*rois: Roi, exclusions: Iterable[Shape] = ()) -> Task:
    """A task whose proposal has been worked out and published."""
    work = task(*rois, exclusions=exclusions)
    return with_standing(work, propose(work).patches)


def standing(work: Task) -> tuple[Patch, ...]:
    """What is on offer."""
    return work.standing[0].patches


def ids(patches: Iterable[Patch]) -> set[str]:
    """Which patches these are."""
    return {one.id for one in patches}


def crowded(one: Iterable[Patch], other: Iterable[Patch]) -> list[tuple[Patch, Patch]]:
    """Pairs that overlap too much, a patch with itself left out."""
    others = tuple(other)
    return [(a, b) for a in one for b in others if a.id != b.id and Rules().crowds(a.box, b.box)]


# ---------------------------------------------------------------- from nothing


def test_a_task_without_an_roi_gets_an_empty_proposal() -> None:
    """Nobody asked for anything."""
    assert propose(task()).outcomes == ()


def test_an_unknown_size_needs_no_proposal() -> None:
    """A task on which nobody has drawn has no size either, and that is no error."""
    assert propose(task(size=None)).patches == ()


def test_an_roi_gets_as_many_patches_as_its_rules_say() -> None:
    """Five by default, without a word of explanation."""
    (outcome,) = propose(task(roi())).outcomes
    assert (len(outcome.patches), outcome.explanation) == (5, None)


def test_the_same_task_gets_the_same_proposal() -> None:
    """Chance is the seed, and the seed is what the draw is about."""
    assert propose(task(roi(), exclusions=[Box(300, 300, 350, 350)])) == propose(
        task(roi(), exclusions=[Box(300, 300, 350, 350)])
    )


def test_a_patch_says_where_it_comes_from() -> None:
    """ROI, rules, their sources and the seed travel with each patch, so it explains itself when all else is gone."""
    area = roi(patches=3)
    work = task(area)
    rules = Rules(patches=3, max_size=300)
    for one in propose(work, max_size=300).patches:
        assert one.provenance is not None
        assert (one.provenance.roi, one.provenance.rules, one.provenance.seed, dict(one.provenance.rules_from)) == (
            Box(100, 100, 900, 900),
            rules,
            seed_of(work, area, rules),
            {"patches": "ROI", "min_size": "settings", "max_size": "labeling configuration", "round": "settings"},
        )


def test_a_shortfall_counts_the_patches_that_stay() -> None:
    """Requested and placed are the ROI's, not those of the last draw."""
    work = proposed(roi(0, 0, 120, 120, patches=1))
    (outcome,) = propose(replace(work, rois=(roi(0, 0, 120, 120, patches=6),))).outcomes
    assert outcome.shortfall is not None
    assert (outcome.shortfall.requested, outcome.shortfall.placed) == (6, len(outcome.patches))


# ---------------------------------------------------------------- what stands stays


def test_an_object_elsewhere_changes_nothing() -> None:
    """A label outside of all patches must not reshuffle what a reviewer is looking at."""
    work = proposed(roi())
    elsewhere = Box(1400, 1000, 1500, 1100)
    assert propose(replace(work, exclusions=(elsewhere,))).patches == standing(work)


def test_a_patch_that_an_object_touches_is_replaced_and_no_other() -> None:
    """The four that are still proved stay as they are; one is new, and clear of the object."""
    work = proposed(roi())
    cell = Box.sized(standing(work)[0].box.left, standing(work)[0].box.top, 4, 4)
    stay = tuple(one for one in standing(work) if not one.box.touches(cell))
    patches = propose(replace(work, exclusions=(cell,))).patches
    assert (len(stay), patches[:4], len(patches), patches[4].box.touches(cell)) == (4, stay, 5, False)


def test_an_object_within_the_margin_replaces_the_patch_too() -> None:
    """The proof covers the margin."""
    rules = Rules(patches=1, margin=6)
    work = task(roi())
    (only,) = work_out_proposal(work, {}, rules).patches
    cell = Box.sized(only.box.right + 5, only.box.top, 10, 10)
    (now,) = work_out_proposal(replace(with_standing(work, [only]), exclusions=(cell,)), {}, rules).patches
    assert now != only


def test_more_patches_are_added_to_those_that_stand() -> None:
    """From five to seven: the five stay, two are new and don't crowd them."""
    work = proposed(roi())
    patches = propose(replace(work, rois=(roi(patches=7),))).patches
    assert (patches[:5], len(patches), crowded(patches, patches)) == (standing(work), 7, [])


def test_fewer_patches_are_the_first_of_those_that_stand() -> None:
    """From five to three: the last two go."""
    work = proposed(roi())
    assert propose(replace(work, rois=(roi(patches=3),))).patches == standing(work)[:3]


def test_patches_of_a_size_no_longer_permitted_are_replaced() -> None:
    """Rules that change hold for what stands as well."""
    work = proposed(roi())
    patches = propose(replace(work, rois=(roi(max_size=150),))).patches
    assert (len(patches), max(max(one.box.width, one.box.height) for one in patches) <= 150) == (5, True)


def test_patches_outside_of_a_moved_roi_are_replaced() -> None:
    """What no longer lies in the ROI goes, what still does stays."""
    work = proposed(roi())
    area = roi(400, 100, 800, 800)
    patches = propose(replace(work, rois=(area,))).patches
    stays = tuple(one for one in standing(work) if area.box.holds(one.box))
    assert 0 < len(stays) < 5, "the scene proves nothing"
    assert (patches[: len(stays)], len(patches)) == (stays, 5)


def test_a_deleted_roi_leaves_nothing() -> None:
    """The proposal of a task whose ROI is gone is empty."""
    assert propose(replace(proposed(roi()), rois=())).patches == ()


def test_a_patch_without_provenance_is_not_kept() -> None:
    """A proposal offers only what can explain itself."""
    work = proposed(roi())
    bare = [replace(one, provenance=None) for one in standing(work)]
    patches = propose(with_standing(work, bare)).patches
    assert all(one.provenance is not None for one in patches)


# ---------------------------------------------------------------- another round


def test_another_round_gives_other_patches() -> None:
    """Round + 1 is how a person asks for something else."""
    work = proposed(roi())
    patches = propose(replace(work, rois=(roi(round=2),))).patches
    assert (len(patches), ids(patches) & ids(standing(work))) == (5, set())


def test_another_round_keeps_away_from_what_was_accepted() -> None:
    """Nobody is asked twice about one place: new patches share less than half with those that somebody holds."""
    for side in (500, 550, 600, 700):
        work = proposed(roi(0, 0, side, side))
        accepted = standing(work)[:3]
        again = replace(work, rois=(roi(0, 0, side, side, round=2),), reviews=(review(accepted, standing(work)),))
        assert crowded(propose(again).patches, accepted) == []


def test_another_round_keeps_away_from_where_the_reviewer_moved_a_patch() -> None:
    """It is the box in the annotation that counts, not the one that was proposed."""
    work = proposed(roi(0, 0, 420, 420, patches=1))
    there = moved(standing(work)[0], Box(10, 10, 410, 410))
    again = replace(work, rois=(roi(0, 0, 420, 420, round=2),), reviews=(review([there], standing(work)),))
    assert crowded(propose(again).patches, [Patch("moved", there.box)]) == []


def test_another_round_keeps_away_from_what_was_rejected() -> None:
    """Where somebody saw an object that nobody labelled, the next round must not ask again."""
    for side in (500, 550, 600, 700):
        work = proposed(roi(0, 0, side, side))
        rejected = standing(work)[:3]
        again = replace(work, rois=(roi(0, 0, side, side, round=2),), reviews=(review((), rejected),))
        assert crowded(propose(again).patches, rejected) == []


def test_a_wrong_default_sends_people_to_the_labeling_configuration() -> None:
    """Who set nothing in the ROI can change nothing there."""
    (outcome,) = work_out_proposal(task(roi()), {"patches": 25}, Rules()).outcomes
    assert outcome.refusal is not None
    assert "labeling configuration" in outcome.refusal


# ---------------------------------------------------------------- several ROIs


def test_two_rois_that_overlap_share_no_place() -> None:
    """A patch of one ROI doesn't crowd a patch of the other."""
    patches = propose(task(roi(0, 0, 500, 500), roi(100, 100, 500, 500, region_id="second"))).patches
    assert (len(patches), crowded(patches, patches)) == (10, [])


def test_no_patch_stands_in_two_rois() -> None:
    """Where one ROI lies in another, each patch is offered once."""
    work = proposed(roi(0, 0, 800, 800), roi(100, 100, 500, 500, region_id="inner"))
    patches = propose(work).patches
    assert (len(patches), len(ids(patches))) == (10, 10)


def test_what_a_deleted_roi_leaves_is_offered_once() -> None:
    """Patches that would fit in two of the remaining ROIs stay in one of them."""
    work = proposed(roi(200, 200, 500, 500))
    left = replace(work, rois=(roi(100, 100, 700, 700), roi(150, 150, 800, 800, region_id="second")))
    patches = propose(left).patches
    assert (len(patches), len(ids(patches)), ids(standing(work)) <= ids(patches)) == (10, 10, True)


def test_an_roi_that_asks_for_more_takes_none_from_another() -> None:
    """What was drawn for the ROI inside it stays that one's."""
    outer, inner = roi(0, 0, 800, 800), roi(100, 100, 500, 500, region_id="inner")
    work = proposed(outer, inner)
    more, as_before = propose(replace(work, rois=(roi(0, 0, 800, 800, patches=7), inner))).outcomes
    assert (len(more.patches), as_before.patches) == (7, standing(work)[5:])


@pytest.mark.parametrize("inner_first", [True, False])
def test_the_order_of_the_rois_reshuffles_nothing(inner_first: bool) -> None:
    """An annotation submitted again moves its ROI to the end of the list: each ROI keeps the patches drawn for it."""
    outer, inner = roi(0, 0, 800, 800), roi(100, 100, 500, 500, region_id="inner")
    order = (inner, outer) if inner_first else (outer, inner)
    work = proposed(*order)
    now = propose(replace(work, rois=order[::-1]))
    assert [one.patches for one in now.outcomes] == [standing(work)[5:], standing(work)[:5]]


def test_a_deleted_roi_takes_its_patches_along() -> None:
    """The ROI around it keeps its own, although those of the deleted one would fit."""
    outer, inner = roi(0, 0, 800, 800), roi(100, 100, 500, 500, region_id="inner")
    work = proposed(inner, outer)
    assert propose(replace(work, rois=(outer,))).patches == standing(work)[5:]


def test_a_changed_roi_keeps_its_patches_from_the_others() -> None:
    """Patches of an ROI that was made larger go on in it, not in a neighbour that has all of its own."""
    small, neighbour = roi(0, 0, 500, 500), roi(50, 50, 700, 700, region_id="neighbour")
    work = proposed(small, neighbour)
    now = propose(replace(work, rois=(neighbour, roi(0, 0, 510, 510))))
    assert [one.patches for one in now.outcomes] == [standing(work)[5:], standing(work)[:5]]


def test_the_roi_that_two_people_drew_is_one() -> None:
    """The very same rectangle in two annotations gets one set of patches."""

    def drawn(annotation: int, region: str) -> dict[str, object]:
        value = {"x": 10.0, "y": 10.0, "width": 50.0, "height": 60.0, "rotation": 0}
        size = {"original_width": 1600, "original_height": 1200, "image_rotation": 0}
        result = {"id": region, "type": "rectanglelabels", "from_name": "roi", "to_name": "image", "value": value}
        return {"id": annotation, "completed_by": annotation, "updated_at": NOON, "result": [result | size]}

    annotations = [drawn(1, "by the first"), drawn(2, "by the second")]
    payload = {"id": 7, "project": 3, "updated_at": NOON, "data": {"image": "a.jpg"}, "annotations": annotations}
    outcomes = propose(read_task(payload, Labeling(image="image", data_key="image"))).outcomes
    assert [len(outcome.patches) for outcome in outcomes] == [5]


# ---------------------------------------------------------------- ROIs and objects of any shape

SHAPES = sorted(outlines(0, 0, 10))
OF_ANY_SHAPE = pytest.mark.parametrize("shape", SHAPES)


def judged(shape: Shape) -> Any:
    """A shape for shapely; an ellipse a thousandth too small, which no pixel tells."""
    match shape:
        case Box():
            return shapely.box(*shape.corners[0], *shape.corners[2])
        case Polygon(points):
            return shapely.Polygon(points)
        case Painted(boxes):
            return shapely.union_all([judged(box) for box in boxes])
        case Ellipse(x, y, radius_x, radius_y, rotation):
            disc = shapely.Point(0, 0).buffer(1, quad_segs=200)
            scaled = shapely.affinity.scale(disc, radius_x, radius_y)
            return shapely.affinity.translate(shapely.affinity.rotate(scaled, rotation, origin=(0, 0)), x, y)


@OF_ANY_SHAPE
def test_an_roi_of_any_shape_gets_patches_that_lie_in_it(shape: str) -> None:
    """All corners, by another judge, among cells."""
    area = roi_of(outlines(700, 600, 500)[shape], patches=20, max_size=160)
    work = task(area, exclusions=cells(40, width=1600, height=1200, side=40, seed=3))
    patches = propose(work).patches
    outside = [one for one in patches if not judged(area.outline).buffer(1e-3).contains(judged(one.box))]
    assert (len(patches), outside) == (20, [])


@OF_ANY_SHAPE
def test_what_was_proposed_in_an_roi_of_any_shape_is_proposed_again(shape: str) -> None:
    """Run twice it ends in the same state, in a task that is crowded with several ROIs."""
    for side in (150, 300, 500):
        areas = [
            roi_of(outlines(600, 600, side)[shape], region_id="one", patches=12),
            roi_of(outlines(900, 650, side)[shape], region_id="other", patches=7),
        ]
        work = task(*areas, exclusions=cells(60, width=1600, height=1200, side=40, seed=side))
        first = propose(work)
        assert propose(with_standing(work, first.patches)) == first, side


@OF_ANY_SHAPE
def test_patches_in_the_corners_of_an_roi_that_was_drawn_anew_are_replaced(shape: str) -> None:
    """A rectangle was drawn again more exactly: what lies in the new one stays, the rest goes, though it lies in the
    box around it.
    """
    work = proposed(roi(100, 100, 1000, 1000, patches=20, max_size=200))
    area = roi_of(outlines(600, 600, 500)[shape], patches=20, max_size=200)
    stays = {one.id for one in standing(work) if judged(area.outline).buffer(1e-3).contains(judged(one.box))}
    patches = propose(replace(work, rois=(area,))).patches
    assert 0 < len(stays) < 20, "the scene proves nothing"
    assert (len(patches), ids(patches) & ids(standing(work))) == (20, stays)


def beside(box: Box, offset: int, shape: str) -> Outline:
    """An object that reaches 50 px far from its centre, which is so far to the right of the box's corner and below."""
    return outlines(box.right + offset, box.bottom + offset, 50)[shape]


@OF_ANY_SHAPE
def test_a_patch_in_the_corner_of_an_objects_bounding_box_stays(shape: str) -> None:
    """Only the object itself counts."""
    work = proposed(roi())
    (first, *_) = standing(work)
    thing = beside(first.box, 46, shape)
    assert thing.bounds.touches(first.box), "the scene proves nothing"
    assert propose(replace(work, exclusions=(thing,))).patches[0] == first


@OF_ANY_SHAPE
def test_a_patch_that_an_object_of_any_shape_touches_is_replaced(shape: str) -> None:
    """By a corner is enough."""
    work = proposed(roi())
    (first, *_) = standing(work)
    assert first not in propose(replace(work, exclusions=(beside(first.box, 20, shape),))).patches


@pytest.mark.parametrize(("margin", "stays"), [(4, True), (5, False)])
def test_the_margin_is_measured_from_the_object_itself(margin: int, stays: bool) -> None:
    """From the corner (40, 40) px off its centre to a disc of 50 px: clear of 4 px both ways, but not of 5."""
    rules = Rules(patches=1, margin=margin)
    work = task(roi())
    (only,) = work_out_proposal(work, {}, rules).patches
    labelled = replace(with_standing(work, [only]), exclusions=(beside(only.box, 40, "ellipse"),))
    assert (work_out_proposal(labelled, {}, rules).patches == (only,)) is stays


@OF_ANY_SHAPE
def test_new_patches_use_the_room_between_objects_and_touch_none(shape: str) -> None:
    """Among objects whose bounding boxes leave no room at all, patches are found, by another judge clear of them."""
    things = [outlines(100 * column + 50, 100 * row + 50, 50)[shape] for column in range(12) for row in range(12)]
    work = task(roi(0, 0, 1200, 1200, patches=20, min_size=12, max_size=30), exclusions=things)
    patches = propose(work).patches
    everything = shapely.union_all([judged(thing) for thing in things]).buffer(-1e-3)
    assert (len(patches), [one for one in patches if everything.intersects(judged(one.box))]) == (20, [])


# ---------------------------------------------------------------- squares and grids


def under(rules: Rules, work: Task) -> tuple[Patch, ...]:
    """The patches that stand under these rules."""
    return work_out_proposal(work, {}, rules).patches


@pytest.mark.parametrize("rules", [Rules(square=True), Rules(align=8), Rules(square=True, align=16)])
def test_patches_keep_to_squares_and_grid(rules: Rules) -> None:
    """As wide as high, corners on the grid."""
    patches = under(rules, task(roi(), exclusions=cells(60, width=1600, height=1200, side=40, seed=1)))
    assert len(patches) == 5
    assert all(rules.permits(one.box) for one in patches)


@pytest.mark.parametrize("rules", [Rules(square=True), Rules(align=8), Rules(square=True, align=16)])
def test_patches_on_squares_and_grid_stay(rules: Rules) -> None:
    """Run twice, the same."""
    work = task(roi(), exclusions=cells(60, width=1600, height=1200, side=40, seed=1))
    first = under(rules, work)
    assert under(rules, with_standing(work, first)) == first


def test_what_is_no_square_is_replaced_where_squares_are_asked_for() -> None:
    """And the squares among what stands stay."""
    square = under(Rules(patches=2, square=True), task(roi()))
    others = [one for one in standing(proposed(roi(round=1))) if not crowded([one], square)][:2]
    assert all(one.box.width != one.box.height for one in others), "the scene proves nothing"
    patches = under(Rules(square=True), with_standing(task(roi()), [*square, *others]))
    assert (patches[:2], len(patches), ids(patches) & ids(others)) == (square, 5, set())


def test_what_is_off_the_grid_is_replaced_where_one_is_asked_for() -> None:
    """And what lies on it stays."""
    on_grid = under(Rules(patches=2, align=32), task(roi()))
    others = [one for one in standing(proposed(roi())) if not crowded([one], on_grid)][:2]
    assert all(one.box.left % 32 or one.box.top % 32 for one in others), "the scene proves nothing"
    patches = under(Rules(align=32), with_standing(task(roi()), [*on_grid, *others]))
    assert (patches[:2], len(patches), ids(patches) & ids(others)) == (on_grid, 5, set())


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"patches": 0}, "No patches: patches is 0, but must be 1 to 20; change the ROI's field and submit again."),
        (
            {"patches": 2.5},
            "No patches: patches is 2.5, but must be a whole number; change the ROI's field and submit again.",
        ),
        (
            {"min_size": 500},
            "No patches: max_size is 400 px, but must be at least min_size (500); change the ROI's field and submit "
            "again.",
        ),
    ],
)
def test_a_field_out_of_range_is_refused_with_a_sentence(fields: dict[str, Any], sentence: str) -> None:
    """Nothing is clamped: no patches, and the person who set the field reads why."""
    (outcome,) = propose(task(roi(**fields))).outcomes
    assert (outcome.patches, outcome.explanation) == ((), Explanation(sentence))


def test_the_other_roi_is_served_all_the_same() -> None:
    """One wrong field doesn't stop the neighbours."""
    wrong, right = propose(task(roi(patches=99), roi(0, 0, 600, 600, region_id="right"))).outcomes
    assert (len(wrong.patches), len(right.patches), right.refusal) == (0, 5, None)


def test_a_refused_task_refuses_every_roi() -> None:
    """Where labels can't be understood, nothing is proved: what stood goes too."""
    work = replace(proposed(roi(), roi(0, 0, 600, 600, region_id="second")), refusal="annotation 4 can't be read")
    told = [(outcome.patches, outcome.explanation) for outcome in propose(work).outcomes]
    assert told == [((), Explanation("No patches: annotation 4 can't be read."))] * 2


# ---------------------------------------------------------------- run twice


def crowded_task(seed: int) -> Task:
    """One to three ROIs, some turned, some over each other, among up to 150 cells, with rules of their own."""
    rng = Random(seed)
    rois = []
    for number in range(rng.randint(1, 3)):
        wanted, smallest = rng.choice([(5, 100), (rng.randint(1, 12), rng.randint(60, 110))])
        place = (rng.randint(0, 500), rng.randint(0, 300), rng.randint(150, 600), rng.randint(150, 600))
        rotation = rng.choice([0.0, 0.0, rng.uniform(-40, 40)])
        rois.append(roi(*place, rotation, region_id=f"roi {number}", patches=wanted, min_size=smallest))
    return task(*rois, exclusions=cells(rng.randint(0, 150), width=1600, height=1200, side=40, seed=seed))


def test_what_was_proposed_is_proposed_again() -> None:
    """Run twice it ends in the same state: patches, order, provenance and explanations, shortfalls included."""
    for seed in range(16):
        work = crowded_task(seed)
        first = propose(work)
        assert propose(with_standing(work, first.patches)) == first, seed


def test_what_was_changed_is_proposed_again() -> None:
    """The same after objects were labelled on top of patches."""
    for seed in range(6):
        work = crowded_task(seed)
        patches = propose(work).patches
        hits = tuple(Box.sized(one.box.left, one.box.top, 30, 30) for one in patches[::2])
        labelled = replace(work, exclusions=work.exclusions + hits)
        second = propose(with_standing(labelled, patches))
        assert propose(with_standing(labelled, second.patches)) == second, seed


def test_what_was_proposed_for_a_changed_roi_is_proposed_again() -> None:
    """The patches that stayed and the new ones keep their order."""
    work = replace(proposed(roi()), rois=(roi(400, 100, 800, 800),))
    second = propose(work)
    assert propose(with_standing(work, second.patches)) == second


# ---------------------------------------------------------------- the seed

AREA = roi(10, 20, 300, 400)


@pytest.mark.parametrize(
    ("area", "seed"),
    [
        pytest.param(AREA, 252597101689313, id="rectangle"),
        pytest.param(roi_of(Polygon(((1.0, 2.0), (301.5, 4.0), (7.25, 207.0)))), 46308941785870, id="polygon"),
        pytest.param(roi_of(Ellipse(300.0, 200.0, 150.0, 99.5, 30.0)), 57532507959064, id="ellipse"),
        pytest.param(roi_of(Painted((Box(1, 2, 300, 200), Box(5, 200, 290, 310)))), 70809560478187, id="brush"),
    ],
)
def test_the_seed_never_changes(area: Roi, seed: int) -> None:
    """Same inputs, same seed, on every machine and in every version."""
    assert seed_of(task(area), area, Rules()) == seed


@pytest.mark.parametrize(
    ("work", "area", "rules"),
    [
        pytest.param(task(AREA, project_id=4), AREA, Rules(), id="project"),
        pytest.param(task(AREA, task_id=8), AREA, Rules(), id="task"),
        pytest.param(task(AREA), roi(10, 20, 300, 401), Rules(), id="ROI"),
        pytest.param(task(AREA), roi(10, 20, 300, 400, rotation=1), Rules(), id="rotation"),
        pytest.param(task(AREA), AREA, Rules(patches=6), id="patches"),
        pytest.param(task(AREA), AREA, Rules(min_size=99), id="min_size"),
        pytest.param(task(AREA), AREA, Rules(max_size=399), id="max_size"),
        pytest.param(task(AREA), AREA, Rules(max_overlap=0.4), id="max_overlap"),
        pytest.param(task(AREA), AREA, Rules(margin=1), id="margin"),
        pytest.param(task(AREA), AREA, Rules(square=True), id="square"),
        pytest.param(task(AREA), AREA, Rules(align=2), id="align"),
        pytest.param(task(AREA), AREA, Rules(round=2), id="round"),
    ],
)
def test_the_seed_depends_on_all_that_the_draw_is_about(work: Task, area: Roi, rules: Rules) -> None:
    """Project, task, ROI, each rule and the round give another draw."""
    assert seed_of(work, area, rules) != seed_of(task(AREA), AREA, Rules())


@pytest.mark.parametrize(
    ("work", "area"),
    [
        pytest.param(task(AREA, exclusions=[Box(0, 0, 9, 9)]), AREA, id="objects"),
        pytest.param(task(AREA), roi(10, 20, 300, 400, region_id="by another"), id="who drew the ROI"),
    ],
)
def test_the_seed_depends_on_nothing_else(work: Task, area: Roi) -> None:
    """What changes while people work doesn't change the draw."""
    assert seed_of(work, area, Rules()) == seed_of(task(AREA), AREA, Rules())


# ---------------------------------------------------------------- what a changed proposal remembers


def changed(work: Task, roi_now: Roi, *reviews: Review) -> Task:
    """The task after its ROI was set so, these reviews came in, and the proposal was changed accordingly."""
    asked = replace(work, rois=(roi_now,), reviews=reviews)
    proposal = propose(asked)
    return replace(asked, standing=(StandingPrediction(1, proposal.patches, "", memory=proposal.memory),))


def test_no_later_round_brings_a_rejected_place_again() -> None:
    """Not the next one, and not the one after: two rounds of rejections are both kept clear of."""
    for side in (400, 450, 500):
        small: dict[str, Any] = {"patches": 3, "min_size": 80, "max_size": 120}
        first = proposed(roi(0, 0, side, side, **small))
        no = review((), standing(first), annotation=1)
        second = changed(first, roi(0, 0, side, side, round=2, **small), no)
        again = review((), standing(second), annotation=2)
        third = changed(second, roi(0, 0, side, side, round=3, **small), no, again)
        assert crowded(standing(third), [*standing(first), *standing(second)]) == []


def test_what_was_concluded_of_a_review_is_remembered() -> None:
    """An annotation without the green ROI doesn't say what its reviewer was shown; the changed proposal does."""
    work = proposed(roi())
    inferred = replace(review((), standing(work), annotation=9), inferred=True)
    memory = propose(replace(work, rois=(roi(round=2),), reviews=(inferred,))).memory
    assert memory.shown == {9: inferred.shown}
    assert set(memory.rejected) == set(inferred.shown)
    assert memory.before == {patch.id for patch in standing(work)}


def test_a_deleted_roi_stays_to_remember_what_was_said_of_its_patches() -> None:
    """Else a rejection would be forgotten with it, and somebody else's acceptance would count alone."""
    work = proposed(roi())
    kept = (replace(work.standing[0], rois=(roi(),)),)
    (outcome,) = propose(replace(work, rois=(), standing=kept, reviews=(review((), standing(work)),))).outcomes
    assert (outcome.is_gone, outcome.patches, outcome.explanation) == (True, (), None)


def test_a_deleted_roi_of_which_nothing_was_said_is_gone() -> None:
    """Nothing to remember, nothing left."""
    work = proposed(roi())
    kept = (replace(work.standing[0], rois=(roi(),)),)
    assert propose(replace(work, rois=(), standing=kept)).outcomes == ()


def test_patches_of_a_replaced_image_are_drawn_anew() -> None:
    """They were placed on another picture."""
    work = replace(proposed(roi()), image="/data/upload/3/another.jpg", rois=(roi(),))
    sources = {one.provenance.image for one in propose(work).patches if one.provenance is not None}
    assert sources == {work.image_digest}


def test_a_picture_without_a_labelled_object_is_marked() -> None:
    """Its patches are proved free of nothing, and the person who drew the ROI has to hear it."""
    assert propose(task(roi())).is_unlabelled
    assert not propose(task(roi(), exclusions=[Box(0, 0, 9, 9)])).is_unlabelled


def test_patches_that_crowd_since_the_limit_was_lowered_go() -> None:
    """What stands may overlap no more than what is drawn: of two that crowd each other one stays."""
    first, second, apart = Box(100, 100, 220, 220), Box(150, 100, 270, 220), Box(400, 400, 520, 520)
    rules = Rules(patches=3)
    patches = [patch(box, of=roi(), rules=rules) for box in (first, second, apart)]
    work = task(roi(), standing=patches)
    assert {one.box for one in work_out_proposal(work, {}, Rules(patches=3, max_overlap=0.9)).patches} == {
        first,
        second,
        apart,
    }
    boxes = [one.box for one in work_out_proposal(work, {}, Rules(patches=3, max_overlap=0.1)).patches]
    assert {first, apart} <= set(boxes)
    assert second not in boxes
    assert len(boxes) == 3


# ---------------------------------------------------------------- answered at once, while it was drawn


def live(work: Task, *pending: Roi, taken: Iterable[Box] = (), **defaults: float) -> Proposal:
    """What strokes on a task are answered under the default settings."""
    return answer_live(work, pending, tuple(taken), defaults, Rules())


def answered(work: Task, area: Roi, *, keep: int = 20, by: int = 1) -> Task:
    """The task after somebody drew this ROI, accepted the answer, deleted all patches but so many, and submitted."""
    (outcome,) = live(work, area).outcomes
    assert outcome.rules is not None
    answer = LiveAnswer(outcome.rules.round, {one.id: one.box for one in outcome.patches})
    submitted = replace(area, region_id=roi_live_id(work.id, area), answer=answer)
    verdicts = review(outcome.patches[:keep], outcome.patches, by=by, annotation=by)
    return replace(work, rois=(*work.rois, submitted), reviews=(*work.reviews, verdicts))


def placed(work: Task) -> tuple[Patch, ...]:
    """What the ROIs of a task were answered at once."""
    answers = [area.answer for area in work.rois if area.answer is not None]
    return tuple(Patch(region_id, box) for answer in answers for region_id, box in answer.placed.items())


def changed_roi(work: Task, area: Roi) -> Task:
    """The task after its one answered ROI was set so."""
    (before,) = work.rois
    return replace(work, rois=(replace(area, region_id=before.region_id, answer=before.answer),))


AMONG_CELLS = task(exclusions=cells(60, width=1600, height=1200, side=40, seed=4))


def test_a_stroke_gets_what_a_proposal_would_bring() -> None:
    """The same patches, provenance and all: the draw is about the same."""
    work = replace(AMONG_CELLS, rois=(roi(),))
    assert live(AMONG_CELLS, roi()).patches == propose(work).patches


def test_the_same_stroke_gets_the_same_answer() -> None:
    """Whatever Label Studio calls it."""
    first, again = live(AMONG_CELLS, roi()), live(AMONG_CELLS, roi(region_id="again"))
    assert first.patches == again.patches


def test_a_stroke_over_an_roi_that_has_its_proposal_gets_patches_of_its_own() -> None:
    """As if nothing had been proposed for it: what is on offer is neither shown twice nor crowded."""
    work = proposed(roi())
    patches = live(work, roi(region_id="stroke")).patches
    assert (len(patches), ids(patches) & ids(standing(work)), crowded(patches, standing(work))) == (5, set(), [])


def test_a_stroke_where_patches_were_accepted_gets_patches_of_its_own() -> None:
    """The very same rectangle, drawn again, asks for as many more."""
    held = standing(proposed(roi()))
    patches = live(task(roi(), reviews=[review(held, held)]), roi(region_id="stroke")).patches
    assert (len(patches), crowded(patches, held)) == (5, [])


SMALL: dict[str, Any] = {"patches": 3, "min_size": 80, "max_size": 120}
SIDES = pytest.mark.parametrize("side", [400, 450, 500])


@SIDES
def test_a_stroke_keeps_clear_of_what_somebody_holds(side: int) -> None:
    """Moved or drawn by hand as well."""
    area = roi(0, 0, side, side, **SMALL)
    held = [Patch(f"by hand {x}", Box.sized(x, x, 110, 110)) for x in (20, 140, 260)]
    assert crowded(live(task(reviews=[review(held)]), area).patches, held) == []


@SIDES
def test_a_stroke_keeps_clear_of_what_was_rejected(side: int) -> None:
    """Of the last proposal, and of those before it."""
    area = roi(0, 0, side, side, **SMALL)
    first = proposed(area)
    second = changed(first, roi(0, 0, side, side, round=2, **SMALL), review((), standing(first)))
    rejected = [Patch(region_id, box) for region_id, box in second.standing[0].memory.rejected.items()]
    assert len(rejected) == 3, "the scene proves nothing"
    assert crowded(live(replace(second, rois=()), area).patches, rejected) == []


@SIDES
def test_a_stroke_keeps_clear_of_what_another_was_answered(side: int) -> None:
    """Accepted or rejected, by whomever."""
    area = roi(0, 0, side, side, **SMALL)
    work = answered(task(), area, keep=1)
    assert crowded(live(work, roi(0, 0, side + 1, side, **SMALL)).patches, placed(work)) == []


@SIDES
def test_a_stroke_keeps_clear_of_what_is_not_submitted_yet(side: int) -> None:
    """The patches in the draft."""
    area = roi(0, 0, side, side, **SMALL)
    taken = [one.box for one in live(task(), area).patches]
    patches = live(task(), roi(0, 0, side + 1, side, **SMALL), taken=taken).patches
    assert crowded(patches, [Patch(f"taken {n}", box) for n, box in enumerate(taken)]) == []


def test_strokes_that_wait_together_share_no_place() -> None:
    """Each is clear of the ones before it, in their order."""
    areas = (roi(0, 0, 500, 500), roi(100, 100, 500, 500, region_id="second"))
    proposal = live(task(), *areas)
    assert [len(outcome.patches) for outcome in proposal.outcomes] == [5, 5]
    assert [outcome.roi for outcome in proposal.outcomes] == list(areas)
    assert crowded(proposal.patches, proposal.patches) == []


def test_a_stroke_after_another_changes_nothing_in_the_first() -> None:
    """What somebody is looking at stays while they draw on."""
    first = live(task(), roi(0, 0, 500, 500)).patches
    both = live(task(), roi(0, 0, 500, 500), roi(100, 100, 500, 500, region_id="second"))
    assert both.outcomes[0].patches == first


def test_a_stroke_that_asks_again_gets_others() -> None:
    """Each entry is another round."""
    rounds = [live(task(), roi(again=n)) for n in range(3)]
    assert [outcome.rules and outcome.rules.round for one in rounds for outcome in one.outcomes] == [1, 2, 3]
    first, second, third = (ids(one.patches) for one in rounds)
    assert (first & second, second & third, first & third) == (set(), set(), set())


def test_a_stroke_on_objects_gets_none_that_touches_one() -> None:
    """Of everybody's; by another judge."""
    things = shapely.union_all([judged(thing) for thing in AMONG_CELLS.exclusions])
    patches = live(AMONG_CELLS, roi(patches=20, max_size=150)).patches
    assert (len(patches), [one for one in patches if things.buffer(-1e-3).intersects(judged(one.box))]) == (20, [])


def test_a_stroke_in_a_task_that_can_t_be_read_is_told_so() -> None:
    """And gets no patch."""
    (outcome,) = live(task(refusal="annotation 4 can't be read"), roi()).outcomes
    assert (outcome.patches, outcome.explanation) == ((), Explanation("No patches: annotation 4 can't be read."))


def test_a_stroke_with_a_wrong_field_is_told_so() -> None:
    """Its neighbour is served all the same."""
    wrong, right = live(task(), roi(patches=99), roi(0, 0, 600, 600, region_id="right")).outcomes
    assert (wrong.patches, wrong.rules, len(right.patches)) == ((), None, 5)


def test_a_stroke_where_fewer_fit_is_told_why() -> None:
    """As in a proposal."""
    (outcome,) = live(task(), roi(0, 0, 120, 120, patches=6)).outcomes
    assert outcome.shortfall is not None
    assert (outcome.shortfall.requested, outcome.shortfall.placed) == (6, len(outcome.patches))


def test_a_stroke_in_a_picture_without_objects_is_marked() -> None:
    """Its patches are proved free of nothing."""
    assert (live(task(), roi()).is_unlabelled, live(AMONG_CELLS, roi()).is_unlabelled) == (True, False)


def test_a_stroke_on_a_picture_of_unknown_size_asks_for_nothing() -> None:
    """There is none without a region, and no region without a size."""
    assert live(task(size=None)).outcomes == ()


# ---------------------------------------------------------------- what an answer leaves to propose


@pytest.mark.parametrize("keep", [5, 3, 0])
def test_what_was_answered_at_once_is_not_proposed(keep: int) -> None:
    """However many of the patches were kept: all five were delivered."""
    assert propose(answered(AMONG_CELLS, roi(), keep=keep)).outcomes == ()


def test_patches_that_somebody_holds_count_without_the_note_of_the_answer() -> None:
    """An ROI whose note was lost gets what is missing to five, elsewhere."""
    work = answered(AMONG_CELLS, roi(), keep=3)
    bare = replace(work, rois=(roi(),))
    held = work.reviews[0].held
    patches = propose(bare).patches
    assert (len(patches), ids(patches) & ids(held), crowded(patches, held)) == (2, set(), [])


@pytest.mark.parametrize(
    "provenance",
    [
        pytest.param(None, id="drawn by hand"),
        pytest.param(patch(Box(0, 0, 9, 9), of=roi(0, 0, 90, 90)).provenance, id="of another ROI"),
        pytest.param(patch(Box(0, 0, 9, 9), of=roi(), rules=Rules(round=2)).provenance, id="of another round"),
    ],
)
def test_what_somebody_holds_of_something_else_doesn_t_count(provenance: Provenance | None) -> None:
    """The ROI gets its five, clear of that."""
    held = Patch("theirs", Box(400, 400, 520, 520), provenance)
    patches = propose(task(roi(), reviews=[review([held])])).patches
    assert (len(patches), crowded(patches, [held])) == (5, [])


def test_what_stands_and_is_held_counts_once() -> None:
    """Three on offer, all accepted, and five wanted now: two are missing."""
    work = proposed(roi(patches=3))
    work = replace(work, rois=(roi(patches=5),), reviews=(review(standing(work), standing(work)),))
    assert (propose(work).patches[:3], len(propose(work).patches)) == (standing(work), 5)


def test_more_patches_are_proposed_beside_those_that_were_answered() -> None:
    """From five to seven: two, and they crowd none of the five, be they rejected."""
    work = answered(AMONG_CELLS, roi(), keep=2)
    patches = propose(changed_roi(work, roi(patches=7))).patches
    assert (len(patches), ids(patches) & ids(placed(work)), crowded(patches, placed(work))) == (2, set(), [])


def test_fewer_patches_than_were_answered_need_no_proposal() -> None:
    """Nothing is taken back from whom it was given to."""
    assert propose(changed_roi(answered(AMONG_CELLS, roi()), roi(patches=3))).outcomes == ()


def test_another_round_after_an_answer_brings_others() -> None:
    """Five, and none where somebody accepted or rejected."""
    for side in (550, 600, 700):
        work = answered(task(), roi(0, 0, side, side), keep=2)
        patches = propose(changed_roi(work, roi(0, 0, side, side, again=1))).patches
        assert ids(patches) & ids(placed(work)) == set()
        assert crowded(patches, placed(work)) == []
        assert len(patches) >= 3


def test_an_object_on_a_patch_that_was_answered_makes_room_for_another() -> None:
    """What is no longer proved wasn't delivered."""
    work = answered(AMONG_CELLS, roi())
    first = placed(work)[0].box
    cell = Box.sized(first.left, first.top, 4, 4)
    hit = [one for one in placed(work) if one.box.touches(cell)]
    patches = propose(replace(work, exclusions=(*work.exclusions, cell))).patches
    assert (len(patches), any(one.box.touches(cell) for one in patches)) == (len(hit), False)


def test_an_answered_roi_that_was_moved_keeps_what_still_lies_in_it() -> None:
    """The others are made up for."""
    work = answered(AMONG_CELLS, roi())
    area = roi(640, 100, 800, 800)
    inside = [one for one in placed(work) if area.box.holds(one.box)]
    assert 0 < len(inside) < 5, "the scene proves nothing"
    patches = propose(changed_roi(work, area)).patches
    assert (len(patches), crowded(patches, placed(work))) == (5 - len(inside), [])


def test_patches_of_a_size_no_longer_permitted_were_not_delivered() -> None:
    """Rules that change hold for what was answered as well."""
    work = answered(AMONG_CELLS, roi())
    small = [one for one in placed(work) if max(one.box.width, one.box.height) <= 200]
    assert len(small) < 5, "the scene proves nothing"
    assert len(propose(changed_roi(work, roi(max_size=200))).patches) == 5 - len(small)


def test_an_answered_roi_that_was_deleted_leaves_nothing() -> None:
    """Nobody asks any more."""
    assert propose(replace(answered(AMONG_CELLS, roi()), rois=())).outcomes == ()


def test_where_fewer_fitted_the_proposal_says_so_too() -> None:
    """Requested and placed are the ROI's: who looks later reads why."""
    work = answered(task(), roi(0, 0, 120, 120, patches=6))
    (outcome,) = propose(work).outcomes
    assert outcome.shortfall is not None
    assert (outcome.patches, outcome.shortfall.requested, outcome.shortfall.placed) == ((), 6, len(placed(work)))


def test_two_people_s_answers_are_two_rois() -> None:
    """Neither gets a proposal, nor did the second get what the first was given."""
    work = answered(answered(AMONG_CELLS, roi()), roi(110, 100, 800, 800), by=2)
    assert propose(work).outcomes == ()
    assert (len(placed(work)), crowded(placed(work), placed(work))) == (10, [])


def test_an_roi_beside_an_answered_one_is_proposed_clear_of_it() -> None:
    """One person draws live, another with the label alone."""
    work = answered(AMONG_CELLS, roi(0, 0, 600, 600), keep=2)
    other = roi(100, 100, 600, 600, region_id="other")
    (outcome,) = propose(replace(work, rois=(*work.rois, other))).outcomes
    assert (outcome.roi, len(outcome.patches), crowded(outcome.patches, placed(work))) == (other, 5, [])


def test_what_was_proposed_beside_answers_is_proposed_again() -> None:
    """Run twice it ends in the same state, in crowded tasks of which some ROIs were answered at once, with verdicts
    of all kinds, and objects labelled on patches since.
    """
    outcomes = 0
    for seed in range(16):
        rng = Random(seed)
        work = crowded_task(seed)
        first, *rest = work.rois
        work = answered(replace(work, rois=tuple(rest)), first, keep=rng.randint(0, 6))
        hits = tuple(Box.sized(one.box.left, one.box.top, 20, 20) for one in placed(work)[:: rng.randint(1, 4)])
        work = replace(work, exclusions=work.exclusions + hits)
        once = propose(work)
        outcomes += len(once.outcomes)
        kept = StandingPrediction(1, once.patches, "", memory=once.memory)
        assert propose(replace(work, standing=(kept,))) == once, seed
    assert outcomes > 16, "the scenes prove nothing"


def test_on_another_picture_nothing_was_delivered() -> None:
    """An image that was replaced is proposed for anew, live or not."""
    work = replace(answered(AMONG_CELLS, roi()), image="/data/upload/3/another.jpg")
    (area,) = work.rois
    assert area.answer is not None
    work = replace(work, rois=(replace(area, answer=replace(area.answer, image=AMONG_CELLS.image_digest)),))
    assert len(propose(work).patches) == 5
    held = standing(proposed(roi()))
    of_before = [replace(one, provenance=replace(one.provenance, image="another")) for one in held if one.provenance]
    assert len(propose(task(roi(), reviews=[review(of_before, of_before)])).patches) == 5


def test_a_patch_that_was_moved_out_of_its_roi_was_delivered_all_the_same() -> None:
    """Nobody gets a sixth patch for nudging one."""
    work = answered(AMONG_CELLS, roi())
    (verdicts,) = work.reviews
    nudged = moved(verdicts.held[0], Box.sized(0, 0, 50, 50))
    work = replace(work, reviews=(replace(verdicts, held=(nudged, *verdicts.held[1:])),))
    assert propose(work).patches == ()


def test_patches_that_were_accepted_while_the_stroke_waits_count() -> None:
    """A second answer to the same stroke brings only what is missing, clear of those."""
    (outcome,) = live(AMONG_CELLS, roi()).outcomes
    accepted = outcome.patches[:2]
    taken = tuple(one.box for one in accepted)
    again = answer_live(AMONG_CELLS, (roi(),), taken, {}, Rules(), accepted)
    assert (len(again.patches), ids(again.patches) & ids(accepted), crowded(again.patches, accepted)) == (3, set(), [])


@pytest.mark.parametrize(
    ("image", "original", "grid"),
    [
        ("/data/upload/3/field.JPG", "", 16),
        ("https://bucket/field.jpeg?signature=a.png", "", 16),
        ("/data/local-files/?d=set/field.jpg", "", 16),
        ("/data/upload/3/field.png", "", 1),
        ("/data/upload/3/preview.jpg", "slides/field.tif", 1),
    ],
)
def test_patches_of_a_jpeg_lie_on_its_blocks(image: str, original: str, grid: int) -> None:
    """So they can be cut out without being encoded again; a preview's own blocks don't matter."""
    work = replace(task(roi()), image=image, original=original)
    edges = [edge for one in propose(work).patches for edge in (one.box.left, one.box.top)]
    assert len(edges) == 10
    assert all(edge % grid == 0 for edge in edges)
    assert grid == 16 or any(edge % 2 for edge in edges)
