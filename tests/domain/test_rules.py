from dataclasses import replace
from typing import Any

import pytest

from service.domain.model import RULE_FIELDS, Rules
from service.domain.rules import resolve_rules
from service.errors import InvalidRules

SETTINGS = Rules(patches=6, min_size=110, max_size=410, max_overlap=0.4, margin=3, round=1)
WRONG = [
    ("patches", 0),
    ("patches", 21),
    ("patches", -3),
    ("patches", 2.5),
    ("patches", float("nan")),
    ("patches", float("inf")),
    ("min_size", 0),
    ("min_size", 411),
    ("min_size", 110.001),
    ("max_size", 109),
    ("max_size", float("-inf")),
    ("round", 0),
    ("round", 1.5),
]


@pytest.mark.parametrize(
    ("in_roi", "in_labeling", "expected"),
    [
        pytest.param({}, {}, {}, id="settings alone"),
        pytest.param({}, {"patches": 7}, {"patches": 7}, id="labeling before settings"),
        pytest.param({"patches": 8}, {}, {"patches": 8}, id="ROI before settings"),
        pytest.param({"patches": 8}, {"patches": 7}, {"patches": 8}, id="ROI before labeling"),
        pytest.param(
            {"round": 2.0}, {"max_size": 500, "min_size": 50}, {"round": 2, "min_size": 50, "max_size": 500}, id="mixed"
        ),
        pytest.param({"min_size": 450, "max_size": 460}, {}, {"min_size": 450, "max_size": 460}, id="both sizes"),
    ],
)
def test_the_nearest_value_holds(
    in_roi: dict[str, float], in_labeling: dict[str, float], expected: dict[str, int]
) -> None:
    """The ROI's own field, else the labeling configuration's default, else the setting; field by field."""
    rules, _ = resolve_rules(in_roi, in_labeling, SETTINGS)
    values: dict[str, Any] = {"patches": 6, "min_size": 110, "max_size": 410, "round": 1, **expected}
    assert rules == Rules(**values, max_overlap=0.4, margin=3)


def test_each_value_says_where_it_comes_from() -> None:
    """A person can see which of the three to change."""
    _, sources = resolve_rules({"patches": 8}, {"patches": 7, "min_size": 120}, SETTINGS)
    assert sources == {
        "patches": "ROI",
        "min_size": "labeling configuration",
        "max_size": "settings",
        "round": "settings",
    }


def test_values_become_whole_numbers() -> None:
    """Label Studio sends floats; 8.0 patches are 8, and `8.0` must not get into seed or provenance."""
    rules, _ = resolve_rules({"patches": 8.0}, {"round": 2.0}, SETTINGS)
    assert (repr(rules.patches), repr(rules.round)) == ("8", "2")


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_an_rois_wrong_value_is_refused_not_clamped(name: str, value: float) -> None:
    """Whatever is fractional, no number or out of range is refused, and the sentence names the field."""
    with pytest.raises(InvalidRules, match=name):
        resolve_rules({name: value}, {}, SETTINGS)


@pytest.mark.parametrize(("name", "value"), WRONG)
def test_the_labelings_wrong_value_is_refused_not_clamped(name: str, value: float) -> None:
    """A project's defaults are no better than an ROI's field."""
    with pytest.raises(InvalidRules, match=name):
        resolve_rules({}, {name: value}, SETTINGS)


def test_a_good_value_hides_a_wrong_default() -> None:
    """Only the value that holds is judged."""
    rules, _ = resolve_rules({"patches": 8}, {"patches": 99}, SETTINGS)
    assert rules.patches == 8


@pytest.mark.parametrize("value", [2.5, float("nan"), float("inf")])
def test_a_value_that_is_no_whole_number_is_called_that(value: float) -> None:
    """The sentence shows the value as it was typed."""
    with pytest.raises(InvalidRules) as refusal:
        resolve_rules({"patches": value}, {}, SETTINGS)
    assert str(refusal.value) == f"patches is {value:g}, but must be a whole number"


@pytest.mark.parametrize(
    ("in_roi", "in_labeling", "settings", "expected"),
    [
        pytest.param({"again": 1}, {}, SETTINGS, 2, id="once"),
        pytest.param({"again": 3}, {}, SETTINGS, 4, id="three times"),
        pytest.param({"again": 2, "round": 5.0}, {}, SETTINGS, 7, id="beside a round"),
        pytest.param({"again": 2}, {"round": 4}, SETTINGS, 6, id="beside a default"),
        pytest.param({"again": 0}, {}, SETTINGS, 1, id="not at all"),
    ],
)
def test_each_time_that_an_roi_asked_again_is_one_round_more(
    in_roi: dict[str, float], in_labeling: dict[str, float], settings: Rules, expected: int
) -> None:
    """From whatever round it is in."""
    assert resolve_rules(in_roi, in_labeling, settings)[0] == replace(settings, round=expected)


@pytest.mark.parametrize(("again", "source"), [(1, "ROI"), (0, "labeling configuration")])
def test_a_round_that_was_asked_for_comes_from_the_roi(again: int, source: str) -> None:
    """Whatever the default is."""
    assert resolve_rules({"again": again}, {"round": 4}, SETTINGS)[1]["round"] == source


def test_nobody_s_default_asks_again() -> None:
    """Only who drew the ROI does."""
    assert resolve_rules({}, {"again": 3}, SETTINGS)[0] == SETTINGS


def test_asking_again_doesn_t_mend_a_wrong_round() -> None:
    """What is no whole number stays none."""
    with pytest.raises(InvalidRules, match=r"round is 0\.5"):
        resolve_rules({"round": 0.5, "again": 1}, {}, SETTINGS)


def test_a_field_that_is_no_rule_is_left_alone() -> None:
    """People have number fields of their own."""
    own: dict[str, Any] = {"cells_counted": -1.5, "margin": 99}
    assert resolve_rules(own, own, SETTINGS)[0] == SETTINGS


def test_only_these_fields_can_be_set_by_people() -> None:
    """Overlap and margin are the operator's: no field of an ROI loosens the proof."""
    assert RULE_FIELDS == ("patches", "min_size", "max_size", "round")
