from typing import Any

import pytest

from service.domain.geometry import Box
from service.domain.model import (
    MODEL_VERSION,
    Proposal,
    Roi,
    RoiOutcome,
    Rules,
    Scene,
    Shortfall,
    patch_id,
    roi_echo_id,
)
from service.errors import InvalidRules
from tests.factories import patch, roi, task

# ---------------------------------------------------------------- Rules


def test_rules_by_default_are_the_guides() -> None:
    """Five patches of 100–400 px that share less than half of the smaller one."""
    assert Rules() == Rules(patches=5, min_size=100, max_size=400, max_overlap=0.5, margin=0, round=1)


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"patches": 0}, "patches is 0, but must be 1 to 20"),
        ({"patches": 21}, "patches is 21, but must be 1 to 20"),
        ({"min_size": 0}, "min_size is 0 px, but must be at least 1"),
        ({"max_size": 99}, "max_size is 99 px, but must be at least min_size (100)"),
        ({"min_size": 401}, "max_size is 400 px, but must be at least min_size (401)"),
        ({"max_overlap": 0.0}, "max_overlap is 0.0, but must be above 0 and at most 1"),
        ({"max_overlap": 1.01}, "max_overlap is 1.01, but must be above 0 and at most 1"),
        ({"max_overlap": float("nan")}, "max_overlap is nan, but must be above 0 and at most 1"),
        ({"margin": -1}, "margin is -1 px, but must be at least 0"),
        ({"round": 0}, "round is 0, but must be at least 1"),
    ],
)
def test_wrong_rules_are_refused_with_a_sentence(wrong: dict[str, Any], sentence: str) -> None:
    """The sentence names field, value and range."""
    with pytest.raises(InvalidRules) as refusal:
        Rules(**wrong)
    assert str(refusal.value) == sentence


def test_all_that_is_wrong_is_named_at_once() -> None:
    """Nobody has to submit three times to hear three complaints."""
    with pytest.raises(InvalidRules, match=r"^patches is 0.*; margin is -1.*; round is 0"):
        Rules(patches=0, margin=-1, round=0)


@pytest.mark.parametrize(
    "extreme",
    [
        {"patches": 1},
        {"patches": 20},
        {"min_size": 1, "max_size": 1},
        {"min_size": 400, "max_size": 400},
        {"max_overlap": 1.0},
    ],
)
def test_the_ends_of_each_range_are_valid(extreme: dict[str, Any]) -> None:
    """Ranges include their ends."""
    Rules(**extreme)


@pytest.mark.parametrize(
    ("width", "height", "permitted"),
    [(100, 400, True), (400, 100, True), (99, 200, False), (200, 99, False), (401, 200, False), (200, 401, False)],
)
def test_permitted_sizes(width: int, height: int, permitted: bool) -> None:
    """Both sides must lie in the range, its ends included."""
    assert Rules().permits(Box.sized(7, 7, width, height)) is permitted


@pytest.mark.parametrize(
    ("other", "crowded"),
    [
        (Box.sized(50, 0, 100, 100), True),  # exactly half
        (Box.sized(51, 0, 100, 100), False),
        (Box.sized(0, 0, 400, 400), True),  # all of the smaller, a sixteenth of the larger
        (Box.sized(100, 0, 100, 100), False),
    ],
)
def test_half_of_the_smaller_patch_is_too_much(other: Box, crowded: bool) -> None:
    """Overlap is a share of the smaller patch, and must be strictly below the limit; who is asked doesn't matter."""
    one = Box.sized(0, 0, 100, 100)
    assert (Rules().crowds(one, other), Rules().crowds(other, one)) == (crowded, crowded)


# ---------------------------------------------------------------- Scene


@pytest.mark.parametrize(("distance", "touched"), [(9, True), (10, False)])
def test_the_margin_is_kept_free(distance: int, touched: bool) -> None:
    """As many free pixels as the margin are enough, one fewer is not."""
    scene = Scene(500, 500, exclusions=(Box.sized(300, 300, 20, 20),))
    assert scene.touched(Box(200, 200, 300 - distance, 310), margin=10) is touched


# ---------------------------------------------------------------- ids: in the world already, so never to change


def test_the_id_of_a_patch_never_changes() -> None:
    """Verdicts are matched by it: another id would orphan every verdict that was ever given."""
    assert patch_id(7, Box.sized(10, 20, 100, 200)) == "neg_1ae4f7d15ebda015"


@pytest.mark.parametrize(
    ("task_id", "box"),
    [
        (8, Box.sized(10, 20, 100, 200)),
        (7, Box.sized(11, 20, 100, 200)),
        (7, Box.sized(10, 21, 100, 200)),
        (7, Box.sized(10, 20, 101, 200)),
        (7, Box.sized(10, 20, 100, 201)),
    ],
)
def test_another_task_or_box_is_another_patch(task_id: int, box: Box) -> None:
    """A verdict never lands on another patch."""
    assert patch_id(task_id, box) != patch_id(7, Box.sized(10, 20, 100, 200))


def test_the_id_of_an_roi_never_changes() -> None:
    """Proposals in people's hands repeat the ROI under it."""
    assert roi_echo_id(7, roi(10, 20, 300, 400, rotation=12.5)) == "roi_734f1ba94c998d3d"


@pytest.mark.parametrize(
    "same",
    [
        pytest.param(roi(10, 20, 300, 400, region_id="drawn by another"), id="another person"),
        pytest.param(roi(10, 20, 300, 400, patches=9), id="other fields"),
        pytest.param(roi(10 + 1e-9, 20, 300 - 1e-9, 400), id="what percents lose"),
    ],
)
def test_the_same_outline_is_the_same_roi(same: Roi) -> None:
    """Who drew it and what it asks for doesn't matter."""
    assert roi_echo_id(7, same) == roi_echo_id(7, roi(10, 20, 300, 400))


@pytest.mark.parametrize(
    ("task_id", "other"),
    [(8, roi(10, 20, 300, 400)), (7, roi(10, 20, 300, 401)), (7, roi(10, 20, 300, 400, rotation=1))],
)
def test_another_task_or_outline_is_another_roi(task_id: int, other: Roi) -> None:
    """Two ROIs don't share an echo."""
    assert roi_echo_id(task_id, other) != roi_echo_id(7, roi(10, 20, 300, 400))


def test_the_model_version_never_changes() -> None:
    """The review stream prefills from this one only, and standing predictions are found by it."""
    assert MODEL_VERSION == "negatives"


# ---------------------------------------------------------------- what people read


@pytest.mark.parametrize(
    ("outcome", "sentence"),
    [
        (RoiOutcome(roi()), None),
        (RoiOutcome(roi(), shortfall=Shortfall(5, 2, "no room")), "2 of 5 patches: no room."),
        (RoiOutcome(roi(), refusal="patches is 0"), "No patches: patches is 0."),
    ],
)
def test_an_outcome_explains_itself(outcome: RoiOutcome, sentence: str | None) -> None:
    """A sentence when something is missing, none when all is as asked."""
    assert outcome.explanation == sentence


def test_a_proposal_lists_its_patches_roi_by_roi() -> None:
    """In the order of the ROIs, each ROI's in the order of drawing."""
    first, second, third = (patch(Box.sized(left, 0, 100, 100)) for left in (500, 0, 250))
    outcomes = (RoiOutcome(roi(), (first, second)), RoiOutcome(roi(), (third,)))
    assert Proposal(7, 800, 600, outcomes).patches == (first, second, third)


# ---------------------------------------------------------------- Task


def test_the_scene_of_a_task_has_its_size_and_exclusions() -> None:
    """The whole image is the frame; every labelled object is an exclusion."""
    cell = Box(1, 2, 3, 4)
    scene = task(exclusions=[cell], size=(640, 480)).scene
    assert (scene.frame, scene.exclusions) == (Box(0, 0, 640, 480), (cell,))


def test_a_task_of_unknown_size_has_no_scene() -> None:
    """Nothing is proved about an image whose size nobody knows."""
    with pytest.raises(ValueError, match="task 7 has no region"):
        _ = task(size=None).scene
