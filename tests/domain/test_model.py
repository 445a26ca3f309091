from typing import Any

import pytest

from service.domain.geometry import Box, Ellipse, Outline, Painted, Polygon
from service.domain.model import (
    MODEL_VERSION,
    Cause,
    Explanation,
    Proposal,
    Roi,
    RoiOutcome,
    Rules,
    Shortfall,
    patch_id,
    roi_echo_id,
)
from service.errors import InvalidRules
from tests.factories import patch, roi, task

# ---------------------------------------------------------------- Rules


def test_rules_by_default_are_the_guides() -> None:
    """Five patches of 100–400 px, of any shape and anywhere, that share less than half of the smaller one."""
    assert Rules() == Rules(
        patches=5, min_size=100, max_size=400, max_overlap=0.5, margin=0, round=1, square=False, align=1
    )


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
        ({"margin": -1}, "margin is -1 px, but must be 0 to 1000000"),
        ({"align": 0}, "align is 0 px, but must be 1 to 1000000"),
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


@pytest.mark.parametrize(("height", "permitted"), [(100, True), (101, False), (99, False)])
def test_squares_are_as_wide_as_high(height: int, permitted: bool) -> None:
    """Where the rules ask for squares, nothing else is one."""
    assert Rules(min_size=50, square=True).permits(Box.sized(7, 7, 100, height)) is permitted


@pytest.mark.parametrize(
    ("left", "top", "permitted"), [(16, 32, True), (17, 32, False), (16, 31, False), (0, -16, True)]
)
def test_left_and_top_edges_lie_on_the_grid(left: int, top: int, permitted: bool) -> None:
    """Both of them; the size may be any."""
    assert Rules(align=16).permits(Box.sized(left, top, 101, 103)) is permitted


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
    ("outline", "echo"),
    [
        (Polygon(((10.0, 20.0), (30.0, 20.0), (25.0, 44.5))), "roi_c8565301388a358d"),
        (Ellipse(50.0, 60.0, 20.0, 10.0, 12.5), "roi_1e18834a06111dd0"),
        (Painted((Box(1, 2, 3, 4), Box(5, 6, 7, 8))), "roi_0d9163209bf7a70c"),
    ],
)
def test_the_id_of_an_roi_of_any_shape_never_changes(outline: Outline, echo: str) -> None:
    """Of each kind that a person can draw."""
    assert roi_echo_id(7, Roi("drawn", outline)) == echo


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


JAMMED = Shortfall(5, 2, Cause.JAMMED, "no room", Box(1, 2, 3, 4), at_most=4)


@pytest.mark.parametrize(
    ("outcome", "explanation"),
    [
        (RoiOutcome(roi()), None),
        (RoiOutcome(roi(), shortfall=JAMMED), Explanation("2 of 5 patches: no room.", JAMMED)),
        (RoiOutcome(roi(), refusal="patches is 0"), Explanation("No patches: patches is 0.")),
    ],
)
def test_an_outcome_explains_itself(outcome: RoiOutcome, explanation: Explanation | None) -> None:
    """A sentence when something is missing, with the figures where there are some; none when all is as asked."""
    assert outcome.explanation == explanation


def test_causes_are_words_that_stay() -> None:
    """They stand in predictions and in what `status` prints."""
    assert [str(cause) for cause in Cause] == ["roi_too_small", "blocked", "jammed", "impossible"]


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
