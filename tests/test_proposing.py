from collections.abc import Iterable
from dataclasses import replace
from random import Random
from typing import Any

import pytest
import shapely

from service.domain.geometry import Box, Ellipse, Outline, Painted, Polygon, Shape
from service.domain.model import Explanation, Patch, Proposal, Review, Roi, Rules, StandingPrediction, Task
from service.label_studio.labeling import Labeling
from service.label_studio.payloads import read_task
from service.proposing import seed_of, work_out_proposal
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
    cell = Box.sized(standing(work)[1].box.left, standing(work)[1].box.top, 4, 4)
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
