"""A stroke: what Label Studio's request says, and the answer as the regions that it suggests."""

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.geometry import Box
from service.domain.model import Cause, LiveAnswer, Proposal, Roi, RoiOutcome, Rules, Shortfall, Task, roi_live_id
from service.errors import NegativesError, PayloadError
from service.label_studio.interactive import Stroke, read_stroke
from service.label_studio.labeling import OURS, Labeling
from service.label_studio.payloads import read_regions, read_task, write_live_answer
from service.proposing import answer_live, work_out_proposal
from tests.factories import cells, patch, roi, task
from tests.label_studio.test_payloads import DRAWN, OUTLINES, Drawn, figures, near
from tests.payloads import recorded

Json = dict[str, Any]
LABELING = Labeling(image="image", data_key="image", controls=OURS)
CELL_OF_THE_FIRST = Box(164, 120, 214, 170)
CELL_OF_THE_SECOND = Box(199, 182, 222, 208)
CELL_IN_THE_DRAFT = Box(115, 63, 163, 116)
ACCEPTED = {Box(448, 126, 502, 205), Box(480, 102, 543, 200), Box(419, 129, 464, 216)}


def read(request: object) -> Stroke:
    """The stroke that a request tells of."""
    stroke = read_stroke(request)
    assert stroke is not None
    return stroke


def draft_of(request: Json) -> list[Json]:
    """The regions of the first draft in a request."""
    found: list[Json] = request["tasks"][0]["drafts"][0]["result"]
    return found


def drawn_in(request: Json) -> list[Json]:
    """The regions that were drawn and not accepted."""
    found: list[Json] = request["params"]["context"]["result"]
    return found


def rectangle(box: Box, **more: Any) -> Json:
    """A region of a picture of 640 × 480 px."""
    value = {"x": box.left / 6.4, "y": box.top / 4.8, "width": box.width / 6.4, "height": box.height / 4.8}
    size = {"original_width": 640, "original_height": 480, "image_rotation": 0}
    told = {"id": "r1", "from_name": "label", "to_name": "image", "type": "rectanglelabels", "value": value}
    return {**told, **size, **more}


# ---------------------------------------------------------------- what Label Studio asks


def test_recorded_stroke() -> None:
    """One rectangle waits for its patches, under the rules of the project's configuration."""
    stroke = read(recorded("predict_stroke"))
    assert [(area.region_id, area.box, dict(area.fields)) for area in stroke.pending] == [
        ("VQk4ANdLeB", Box(289, 240, 593, 444), {})
    ]
    assert (stroke.task.id, stroke.task.size, stroke.task.refusal) == (1, (640, 480), None)
    assert stroke.labeling.defaults == {"patches": 3, "min_size": 40, "max_size": 120, "round": 1}


def test_recorded_objects_of_all_people_and_of_the_draft_exclude() -> None:
    """What two people submitted, and what the one who draws hasn't yet."""
    exclusions = read(recorded("predict_stroke")).task.exclusions
    assert set(exclusions) == {CELL_OF_THE_FIRST, CELL_OF_THE_SECOND, CELL_IN_THE_DRAFT}


def test_recorded_patches_of_the_draft_are_taken() -> None:
    """They were accepted, and are not submitted yet."""
    stroke = read(recorded("predict_stroke"))
    assert (set(stroke.taken), len(stroke.taken)) == (ACCEPTED, 3)


def test_a_patch_that_was_deleted_from_the_draft_is_taken_all_the_same() -> None:
    """Whoever rejected a place must not be asked again by the next stroke: the ROI in the draft remembers it."""
    request = recorded("predict_stroke")
    regions = draft_of(request)
    regions[:] = [region for region in regions if not region["id"].startswith("neg_")]
    assert set(read(request).taken) == ACCEPTED


def test_a_patch_that_was_moved_in_the_draft_takes_both_places() -> None:
    """Where it was offered and where it lies."""
    request = recorded("predict_stroke")
    moved = next(region for region in draft_of(request) if region["id"].startswith("neg_"))
    moved["value"] |= {"x": 0.0, "y": 0.0, "width": 10.0, "height": 10.0}
    assert set(read(request).taken) == {*ACCEPTED, Box(0, 0, 64, 48)}


@pytest.mark.parametrize("params", [None, {}, {"context": None}, {"login": None, "password": None, "context": None}])
def test_a_task_that_was_merely_opened_asks_for_nothing(params: object) -> None:
    """Nobody draws, so there is no stroke."""
    assert read_stroke(recorded("predict_task_opened")) is None
    assert read_stroke({**recorded("predict_task_opened"), "params": params}) is None


def test_recorded_strokes_wait_in_their_order() -> None:
    """Two that nobody has accepted yet."""
    assert [area.box for area in read(recorded("predict_two_strokes")).pending] == [
        Box(320, 58, 593, 218),
        Box(289, 240, 593, 444),
    ]


def test_a_recorded_stroke_that_was_labelled_afterwards_is_one() -> None:
    """It comes twice under one id, and its fields count: seven patches, and other ones."""
    (area,) = read(recorded("predict_other_patches")).pending
    assert (area.box, dict(area.fields)) == (Box(320, 58, 593, 218), {"patches": 7.0, "again": 1})


def test_an_roi_that_was_answered_doesn_t_wait() -> None:
    """Selected and asked for other patches, it is answered once it is submitted; its patches are taken."""
    request = recorded("predict_stroke")
    drawn_in(request)[:] = [region for region in draft_of(request) if region["id"].startswith("live_")]
    request["tasks"][0]["drafts"] = []
    stroke = read(request)
    assert (stroke.pending, set(stroke.taken)) == ((), ACCEPTED)


@pytest.mark.parametrize("drafts", [None, []])
def test_a_task_without_drafts_will_do(drafts: object) -> None:
    """Label Studio sends either."""
    request = recorded("predict_stroke")
    request["tasks"][0]["drafts"] = drafts
    stroke = read(request)
    assert (set(stroke.task.exclusions), stroke.taken) == ({CELL_OF_THE_FIRST, CELL_OF_THE_SECOND}, ())


def test_on_an_empty_task_the_stroke_says_how_large_the_picture_is() -> None:
    """Nothing else does."""
    request = recorded("predict_stroke")
    request["tasks"][0] |= {"annotations": [], "drafts": []}
    stroke = read(request)
    assert (stroke.task.size, stroke.task.exclusions) == ((640, 480), ())


def test_an_object_that_was_drawn_with_a_smart_tool_of_the_team_s_excludes() -> None:
    """It waits to be accepted like the stroke, and is an object all the same."""
    request = recorded("predict_stroke")
    drawn_in(request).append(rectangle(Box(500, 400, 530, 430)))
    assert Box(500, 400, 530, 430) in read(request).task.exclusions


@pytest.mark.parametrize("context", [{}, {"result": []}, {"result": None}, {"something": "new"}])
def test_a_context_without_regions_has_no_stroke(context: Json) -> None:
    """Everything was accepted or taken back."""
    request = recorded("predict_stroke")
    request["params"]["context"] = context
    assert read(request).pending == ()


@pytest.mark.parametrize(
    ("where", "broken", "sentence"),
    [
        pytest.param(
            "annotations",
            {"value": {"points": "here"}},
            "annotation 6 can't be read: something in it has no sense",
            id="an annotation",
        ),
        pytest.param(
            "drafts",
            {"value": {"points": "here"}},
            "what you haven't submitted yet can't be read: something in it has no sense",
            id="the draft",
        ),
        pytest.param(
            "drafts",
            {"original_width": 800},
            "its regions disagree about the image's size (640 × 480 and 800 × 480 px): was the image replaced?",
            id="a draft of another size",
        ),
        pytest.param(
            "annotations",
            {"original_width": 800},
            "its regions disagree about the image's size (640 × 480 and 800 × 480 px): was the image replaced?",
            id="an annotation of another size",
        ),
    ],
)
def test_what_can_t_be_read_refuses_the_task(where: str, broken: Json, sentence: str) -> None:
    """With a sentence for the one who draws; the ROIs wait all the same, to be told."""
    request = recorded("predict_stroke")
    result = request["tasks"][0][where][-1]["result"]
    result[-1] = rectangle(Box(1, 1, 9, 9)) | broken
    stroke = read(request)
    assert (stroke.task.refusal, len(stroke.pending)) == (sentence, 1)


def test_a_stroke_of_another_size_refuses_the_task() -> None:
    """Percents of two sizes can't both be true."""
    request = recorded("predict_stroke")
    drawn_in(request)[0]["original_height"] = 481
    assert "disagree" in (read(request).task.refusal or "")


BROKEN: dict[str, Json] = {
    "no tasks": {"tasks": []},
    "two tasks": {"tasks": [{"id": 1}, {"id": 2}]},
    "tasks that are none": {"tasks": None},
    "a task that is a list": {"tasks": [[]]},
    "a task that is a text": {"tasks": "t"},
    "a task without its parts": {"tasks": [{}]},
    "drafts that are a number": {"tasks": [{"drafts": 7}]},
    "a draft that is a text": {"tasks": [{"drafts": ["d"]}]},
    "params that are a list": {"params": ["context"]},
    "a context that is a list": {"params": {"context": [1]}},
    "a context that is a text": {"params": {"context": ""}},
    "regions that are an object": {"params": {"context": {"result": {"a": 1}}}},
    "regions that are a number": {"params": {"context": {"result": 7}}},
    "a region that is a text": {"params": {"context": {"result": ["r"]}}},
    "a configuration that is none": {"label_config": None},
    "a configuration without an image": {"label_config": "<View/>"},
}


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
def test_what_label_studio_would_not_send_is_refused(broken: Json) -> None:
    """Half a request is not guessed at."""
    with pytest.raises(PayloadError):
        read_stroke({**recorded("predict_stroke"), **broken})


@pytest.mark.parametrize("key", ["tasks", "label_config"])
def test_a_request_without_its_parts_is_refused(key: str) -> None:
    """And what is no request at all."""
    request = recorded("predict_stroke")
    del request[key]
    with pytest.raises(PayloadError, match="no request of Label Studio's"):
        read_stroke(request)


@pytest.mark.parametrize("request_", [None, 7, "predict", []])
def test_what_is_no_request_is_refused(request_: object) -> None:
    """It isn't Label Studio's."""
    with pytest.raises(PayloadError, match="no request of Label Studio's"):
        read_stroke(request_)


# ---------------------------------------------------------------- what is answered

AREA = roi(200, 150, 700, 600)
PATCHES = (
    patch(Box(301, 203, 433, 334), of=AREA, rules=Rules(patches=2, round=2)),
    patch(Box(500, 500, 607, 611), of=AREA, rules=Rules(patches=2, round=2)),
)
DONE = RoiOutcome(AREA, PATCHES, rules=Rules(patches=2, round=2))
FEWER = RoiOutcome(
    roi(10, 20, 110, 120, region_id="other"),
    shortfall=Shortfall(5, 0, Cause.BLOCKED, "objects leave no room", None),
    rules=Rules(),
)
REFUSED = RoiOutcome(AREA, refusal="patches is 99, but must be 1 to 20")


def answer(*outcomes: RoiOutcome, labeling: Labeling = LABELING, is_unlabelled: bool = False) -> list[Json]:
    """What comes of these, as Label Studio gets it."""
    proposal = Proposal(7, 1600, 1200, outcomes, is_unlabelled)
    found: list[Json] = json.loads(json.dumps(write_live_answer(proposal, labeling), allow_nan=False))
    return found


def with_fields(outcome: RoiOutcome, **fields: float) -> RoiOutcome:
    """The same of an ROI whose fields say this."""
    return replace(outcome, roi=replace(outcome.roi, fields=fields))


def accepted(result: list[Json], more: Mapping[str, Any] | None = None) -> Task:
    """The task after a person accepted an answer and submitted."""
    annotation = {"id": 5, "result": result, "completed_by": 1, "updated_at": "2026-03-01T12:00:00Z"}
    payload = {"id": 7, "project": 3, "updated_at": "2026-03-01T12:00:00Z", "annotations": [annotation]}
    return read_task({**payload, "data": {"image": "/data/upload/3/field.jpg"}, **(more or {})}, LABELING)


def test_the_roi_comes_first_then_its_patches_then_what_came_of_it() -> None:
    """The order in which Label Studio lists them."""
    assert [region["from_name"] for region in answer(DONE)] == ["roi", "patch", "patch", "roi_answer"]


def test_the_roi_has_an_id_of_its_own() -> None:
    """It takes the place of the stroke, whose id Label Studio gives up; the same stroke has the same."""
    (first, *_), (again, *_) = answer(DONE), answer(replace(DONE, roi=replace(AREA, region_id="drawn again")))
    assert first["id"] == again["id"] == roi_live_id(7, AREA)
    assert first["id"].startswith("live_")


def test_the_roi_remembers_what_was_placed_in_it() -> None:
    """Round and places, in pixels: whatever is deleted later, it isn't proposed again."""
    note = answer(DONE)[0]["meta"]["negatives"]
    assert note == {
        "image": "",
        "round": 2,
        "placed": {PATCHES[0].id: [301, 203, 132, 131], PATCHES[1].id: [500, 500, 107, 111]},
    }


def test_the_roi_keeps_its_number_fields() -> None:
    """Accepted, it shows what it was asked for; each under its id, with its place."""
    region, patches, sides, *_ = answer(with_fields(DONE, patches=2.0, max_size=150.0))
    assert [(one["id"], one["from_name"], one["type"], one["value"]["number"]) for one in (patches, sides)] == [
        (region["id"], "patches", "number", 2.0),
        (region["id"], "max_size", "number", 150.0),
    ]
    place = region["value"].keys() - {"rectanglelabels"}
    assert {key: patches["value"][key] for key in place} == {key: region["value"][key] for key in place}


def test_each_time_that_it_asked_again_becomes_its_round() -> None:
    """The texts are gone with the stroke: the round says which patches these are."""
    (area,) = accepted(answer(with_fields(DONE, again=1))).rois
    assert dict(area.fields) == {"round": 2}


def test_a_refused_roi_comes_back_with_the_sentence() -> None:
    """And with no patch; what it was asked for stays, to be changed there."""
    result = answer(with_fields(REFUSED, patches=99.0))
    assert [one["from_name"] for one in result] == ["roi", "patches", "roi_answer"]
    told = "No patches: patches is 99, but must be 1 to 20."
    assert (result[0]["meta"]["text"], result[-1]["value"]["text"]) == ([told], [told])


def test_a_refused_roi_was_not_answered() -> None:
    """Once what was wrong is mended, it gets its patches as a proposal."""
    (area,) = accepted(answer(with_fields(REFUSED, patches=99.0))).rois
    assert (area.answer, dict(area.fields)) == (None, {"patches": 99.0})


@pytest.mark.parametrize("number", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_none_is_not_repeated(number: float) -> None:
    """No JSON can hold it."""
    assert [one["from_name"] for one in answer(with_fields(REFUSED, patches=number))] == ["roi", "roi_answer"]


def test_one_line_says_what_came_of_it() -> None:
    """Visible without selecting anything."""
    assert answer(DONE)[-1] == {
        "id": "roi_answer",
        "from_name": "roi_answer",
        "to_name": "image",
        "type": "textarea",
        "value": {"text": ["2 of 2 patches placed."]},
    }


def test_of_several_rois_the_line_says_which() -> None:
    """In the order of the strokes."""
    assert answer(FEWER, DONE)[-1]["value"]["text"] == [
        "ROI 1: 0 of 5 patches: objects leave no room. ROI 2: 2 of 2 patches placed."
    ]


def test_where_nothing_is_labelled_the_line_says_so() -> None:
    """The patches are proved free of nothing."""
    (told,) = answer(DONE, is_unlabelled=True)[-1]["value"]["text"]
    assert told.startswith("2 of 2 patches placed. No object is labelled in this picture")


def test_a_project_without_the_line_gets_none() -> None:
    """Label Studio would stumble over a region of no control."""
    labeling = replace(LABELING, controls=tuple(name for name in OURS if name != "roi_answer"))
    assert [one["from_name"] for one in answer(DONE, labeling=labeling)] == ["roi", "patch", "patch"]


def test_where_nobody_asked_nothing_is_answered() -> None:
    """Not even the line."""
    assert answer() == []


def test_the_answer_draws_on_the_project_s_own_image() -> None:
    """By its name."""
    result = answer(DONE, labeling=replace(LABELING, image="slide"))
    assert {one["to_name"] for one in result} == {"slide"}


@pytest.mark.parametrize("drawn", [pytest.param(drawn, id=drawn.shape) for drawn in DRAWN])
def test_a_stroke_of_any_shape_comes_back_as_one(drawn: Drawn) -> None:
    """Drawn with the control of its shape, which its fields repeat the place of."""
    region, number, _ = answer(RoiOutcome(Roi("drawn", drawn.outline, {"patches": 3.0}), rules=Rules()))
    kind = f"{drawn.shape}labels"
    assert (region["type"], region["value"].keys() - {kind}) == (kind, drawn.value.keys())
    assert number["value"].keys() - {"number"} == drawn.value.keys()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"image_rotation": 90}, "the image was turned in Label Studio"),
        ({"original_width": None}, "how large its image"),
    ],
)
def test_a_stroke_that_cant_be_read_goes_back_with_the_sentence(change: Json, sentence: str) -> None:
    """Accepting any answer, Label Studio deletes what was drawn and isn't in it; and the annotator reads why."""
    request = recorded("predict_stroke")
    drawn_in(request)[0].update(change)
    stroke = read(request)
    *back, line = stroke.unanswered
    assert (stroke.pending, back) == ((), drawn_in(request))
    assert sentence in line["value"]["text"][0]


def test_an_roi_that_was_accepted_is_not_suggested_again() -> None:
    """It is among what was drawn with the smart tool, and waits for nothing."""
    request = recorded("predict_stroke")
    drawn_in(request)[0]["id"] = "live_0123456789abcdef"
    stroke = read(request)
    assert (stroke.pending, list(stroke.unanswered)) == ((), [])


def test_what_no_reader_of_json_takes_does_not_go_back() -> None:
    """Label Studio couldn't read the answer, and nobody the sentence."""
    request = recorded("predict_stroke")
    drawn_in(request)[0]["original_width"] = float("inf")
    (line,) = read(request).unanswered
    assert line["from_name"] == "roi_answer"


def test_what_a_teams_own_smart_tool_drew_goes_back_as_it_is() -> None:
    """Or it would vanish with our answer, and the place count as free."""
    request = recorded("predict_stroke")
    drawn_in(request)[0].update({"from_name": "label", "type": "rectanglelabels"})
    drawn_in(request)[0]["value"]["rectanglelabels"] = ["Cell"]
    stroke = read(request)
    assert (stroke.pending, list(stroke.unanswered)) == ((), drawn_in(request))


@given(OUTLINES, st.integers(1, 9))
def test_an_answer_of_any_shape_comes_back_as_it_was_written(outline: Any, round_: int) -> None:
    """Through percents and JSON: outline, round, every place."""
    area = Roi("drawn", outline)
    outcome = RoiOutcome(area, PATCHES, rules=Rules(patches=2, round=round_))
    found = read_regions(answer(outcome), 7, LABELING)
    (again,) = found.rois
    assert type(again.outline) is type(outline)
    assert figures(again.outline) == near(outline)
    assert again.answer == LiveAnswer(round_, {one.id: one.box for one in PATCHES})
    assert found.held == PATCHES


def stroke_on(work: Task, *pending: Roi) -> list[Json]:
    """The answer to strokes on a task, as Label Studio gets it."""
    proposal = answer_live(work, pending, (), {}, Rules())
    result: list[Json] = json.loads(json.dumps(write_live_answer(proposal, LABELING), allow_nan=False))
    return result


@pytest.mark.parametrize("keeps", [5, 3, 0])
def test_what_was_answered_is_not_proposed_again(keeps: int) -> None:
    """However many of the patches the person keeps: accepted and submitted, the ROI needs nothing more."""
    region, *patches, line = stroke_on(task(exclusions=cells(40, width=1600, height=1200, side=40, seed=1)), AREA)
    assert len(patches) == 5, "the scene proves nothing"
    work = accepted([region, *patches[:keeps], line])
    assert [len(review.held) for review in work.reviews] == [keeps]
    assert work_out_proposal(work, {}, Rules()).outcomes == ()


def test_a_stroke_that_was_submitted_without_its_answer_gets_a_proposal() -> None:
    """Nobody was asked: what wasn't accepted in time comes as a prediction."""
    drawn = rectangle(Box(100, 50, 500, 400), from_name="roi_live", type="rectangle")
    (outcome,) = work_out_proposal(accepted([drawn]), {"min_size": 40, "max_size": 90}, Rules()).outcomes
    assert len(outcome.patches) == 5


def test_a_stroke_and_its_proposal_are_the_same_patches() -> None:
    """Whether it is answered at once or after it is submitted: the seed is what the draw is about."""
    work = task(AREA, exclusions=cells(40, width=1600, height=1200, side=40, seed=1))
    assert answer_live(replace(work, rois=()), (AREA,), (), {}, Rules()).patches == (
        work_out_proposal(work, {}, Rules()).patches
    )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@given(json_values | st.fixed_dictionaries({"params": json_values, "tasks": json_values, "label_config": json_values}))
def test_nonsense_is_refused_and_never_trips_us(payload: object) -> None:
    """Whatever JSON comes in, it is a stroke, nothing, or an error of ours."""
    try:
        stroke = read_stroke(payload)
    except NegativesError:
        return
    assert stroke is None or isinstance(stroke, Stroke)
