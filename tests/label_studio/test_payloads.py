from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from math import hypot
from typing import Any

import numpy as np
import pytest
from label_studio_sdk.converter import brush

from service.domain.geometry import Box
from service.domain.model import Memory, Patch, Proposal, Review, RoiOutcome, Rules, Shortfall, Task, roi_echo_id
from service.domain.rules import resolve_rules
from service.errors import PayloadError
from service.label_studio.labeling import Labeling, read_labeling
from service.label_studio.payloads import fingerprint, read_task, write_prediction
from service.proposing import work_out_proposal
from tests.factories import patch, roi
from tests.payloads import recorded

Json = dict[str, Any]
WIDTH, HEIGHT = 640, 480
LABELING = Labeling(image="image", data_key="image")


def region(value: Mapping[str, Any], kind: str = "rectanglelabels", **more: Any) -> Json:
    """A labelled region of an image of 640 × 480 px."""
    return {
        "id": "r1",
        "from_name": "label",
        "to_name": "image",
        "type": kind,
        "original_width": WIDTH,
        "original_height": HEIGHT,
        "image_rotation": 0,
        "value": dict(value),
        **more,
    }


def rectangle(box: Box, **more: Any) -> Json:
    """A rectangle around the box."""
    return region(
        {
            "x": box.left * 100 / WIDTH,
            "y": box.top * 100 / HEIGHT,
            "width": box.width * 100 / WIDTH,
            "height": box.height * 100 / HEIGHT,
            "rotation": 0,
        },
        **more,
    )


def annotation(*results: Any, **more: Any) -> Json:
    """A submitted annotation."""
    return {
        "id": 5,
        "result": list(results),
        "was_cancelled": False,
        "completed_by": 1,
        "updated_at": "2026-03-01T12:00:00.000000Z",
        "parent_prediction": None,
        **more,
    }


def payload(*annotations: Any, predictions: tuple[Any, ...] = (), **more: Any) -> Json:
    """A task as the API gives it."""
    return {
        "id": 7,
        "project": 3,
        "updated_at": "2026-03-01T12:00:00.000000Z",
        "data": {"image": "/data/upload/3/field.jpg"},
        "annotations": list(annotations),
        "predictions": list(predictions),
        **more,
    }


def read(*results: Any) -> Task:
    """A task with one annotation that holds these results."""
    return read_task(payload(annotation(*results)), LABELING)


def exclusion(value: Mapping[str, Any], kind: str) -> Box:
    """The one exclusion that a region of this kind makes."""
    task = read(region(value, kind))
    assert task.refusal is None
    (box,) = task.exclusions
    return box


# ---------------------------------------------------------------- what labelled regions exclude


def test_a_rectangle_excludes_its_pixels() -> None:
    """Percents become the pixels that were drawn, though the arithmetic is of floats."""
    assert read(rectangle(Box(100, 101, 227, 333))).exclusions == (Box(100, 101, 227, 333),)


def test_half_covered_pixels_are_excluded() -> None:
    """A region's box is rounded outward."""
    value = {"x": 10.5 * 100 / WIDTH, "y": 20.2 * 100 / HEIGHT, "width": 30 * 100 / WIDTH, "height": 40 * 100 / HEIGHT}
    assert exclusion(value, "rectanglelabels") == Box(10, 20, 41, 61)


def test_a_rotated_rectangle_excludes_its_bounding_box() -> None:
    """Rotation is clockwise about the top-left corner: 90 degrees put the width below and the height to the left."""
    value = {"x": 50, "y": 50, "width": 10, "height": 10, "rotation": 90}
    assert exclusion(value, "rectanglelabels") == Box(320 - 48, 240, 320, 240 + 64)


def test_a_rectangle_turned_by_45_degrees() -> None:
    """Its bounding box spans the diagonal."""
    side = 100 / hypot(1, 1)
    value = {"x": 50, "y": 50, "width": side * 100 / WIDTH, "height": side * 100 / HEIGHT, "rotation": 45}
    assert exclusion(value, "rectanglelabels") == Box(270, 240, 370, 340)


def test_a_polygon_excludes_its_bounding_box() -> None:
    """The outermost points count."""
    value = {"points": [[10, 20], [30, 10], [20, 60]], "polygonlabels": ["Cell"]}
    assert exclusion(value, "polygonlabels") == Box(64, 48, 192, 288)


def test_an_ellipse_excludes_its_bounding_box() -> None:
    """Centre and radii, in percents of width and height."""
    value = {"x": 50, "y": 50, "radiusX": 10, "radiusY": 5, "rotation": 0}
    assert exclusion(value, "ellipselabels") == Box(256, 216, 384, 264)


def test_a_rotated_ellipse_turns_about_its_centre() -> None:
    """By 90 degrees its two radii change places, in pixels."""
    value = {"x": 50, "y": 50, "radiusX": 10, "radiusY": 5, "rotation": 90}
    assert exclusion(value, "ellipselabels") == Box(296, 176, 344, 304)


def test_an_ellipse_turned_by_45_degrees() -> None:
    """Its extent is that of the curve, not of its turned box."""
    value = {"x": 50, "y": 50, "radiusX": 30 * 100 / WIDTH, "radiusY": 40 * 100 / HEIGHT, "rotation": 45}
    half = hypot(30, 40) / hypot(1, 1)  # 35.36
    assert exclusion(value, "ellipselabels") == Box(284, 204, 356, 276)
    assert 35 < half < 36


def test_a_brush_excludes_its_paint() -> None:
    """A brush region's mask is decoded."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[40:60, 30:90] = 255
    value = {"format": "rle", "rle": brush.mask2rle(mask), "brushlabels": ["Cell"]}  # type: ignore[no-untyped-call]
    assert exclusion(value, "brushlabels") == Box(30, 40, 90, 60)


def test_a_wiped_brush_excludes_nothing() -> None:
    """A brush region without paint is no object."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    value = {"format": "rle", "rle": brush.mask2rle(mask)}  # type: ignore[no-untyped-call]
    task = read(region(value, "brushlabels"))
    assert (task.exclusions, task.refusal) == ((), None)


def test_a_keypoint_excludes_its_disc() -> None:
    """A keypoint's width is its diameter, in percents of the image's width both ways."""
    assert exclusion({"x": 50, "y": 50, "width": 2.5}, "keypointlabels") == Box(312, 232, 328, 248)


def test_a_vector_excludes_its_vertices() -> None:
    """A vector is a line through its vertices."""
    value = {"vertices": [{"id": "a", "x": 10, "y": 10}, {"id": "b", "x": 20, "y": 50}], "closed": False}
    assert exclusion(value, "vectorlabels") == Box(64, 48, 128, 240)


def test_a_curved_vector_excludes_its_control_points() -> None:
    """A Bézier curve bulges beyond its vertices, but never beyond its control points."""
    value = {
        "vertices": [
            {"x": 10, "y": 50, "isBezier": True, "controlPoint2": {"x": 10, "y": 10}},
            {"x": 20, "y": 50, "isBezier": True, "controlPoint1": {"x": 40, "y": 10}, "controlPoint2": None},
        ]
    }
    assert exclusion(value, "vectorlabels") == Box(64, 48, 256, 240)


def test_a_region_without_a_label_excludes() -> None:
    """Whoever drew a rectangle and chose no label meant something."""
    value = {"x": 50, "y": 50, "width": 10, "height": 10, "rotation": 0}
    assert exclusion(value, "rectangle") == Box(320, 240, 384, 288)


def test_a_click_without_extent_excludes_its_pixel() -> None:
    """A rectangle of no size still is a sign that something is there."""
    assert exclusion({"x": 50, "y": 50, "width": 0, "height": 0}, "rectanglelabels") == Box(320, 240, 321, 241)


def test_a_flat_rectangle_excludes_its_line() -> None:
    """A rectangle that was drawn without height still marks the pixels that it lies on."""
    assert exclusion({"x": 50, "y": 50, "width": 10, "height": 0}, "rectanglelabels") == Box(320, 240, 384, 241)


@pytest.mark.parametrize("kind", ["choices", "textarea", "number", "rating", "taxonomy", "datetime", "relation"])
def test_what_is_said_of_a_region_is_no_region(kind: str) -> None:
    """Results that draw nothing exclude nothing, even when they repeat a region's place."""
    value = {"x": 1, "y": 1, "width": 90, "height": 90, "choices": ["good"]}
    task = read(region(value, kind))
    assert (task.exclusions, task.refusal, task.size) == ((), None, None)


def test_an_unknown_kind_of_region_refuses_the_task() -> None:
    """What has an extent that can't be known is never taken for nothing: the refusal names it and its annotation."""
    task = read(region({"faces": [1, 2]}, "cuboidlabels", id="odd"))
    assert task.refusal is not None
    assert "annotation 5: region odd is of the type 'cuboidlabels'" in task.refusal


def test_regions_on_another_image_say_nothing() -> None:
    """A task's second picture has objects of its own."""
    task = read(rectangle(Box(1, 1, 50, 50), to_name="second", original_width=99), rectangle(Box(60, 60, 80, 80)))
    assert (task.exclusions, task.size, task.refusal) == ((Box(60, 60, 80, 80),), (WIDTH, HEIGHT), None)


def test_everybodys_objects_exclude_and_one_is_enough() -> None:
    """The objects of all annotators count; the same one drawn twice is one."""
    one, other = rectangle(Box(1, 1, 50, 50)), rectangle(Box(60, 60, 80, 80))
    task = read_task(payload(annotation(one), annotation(one, other, id=6)), LABELING)
    assert task.exclusions == (Box(1, 1, 50, 50), Box(60, 60, 80, 80))


# ---------------------------------------------------------------- what refuses a task


def test_sizes_that_disagree_refuse_the_task() -> None:
    """Percents of two sizes can't both be true."""
    task = read(rectangle(Box(1, 1, 50, 50)), rectangle(Box(60, 60, 80, 80), original_width=800))
    assert task.refusal == (
        "its regions disagree about the image's size (640 × 480 and 800 × 480 px): was the image replaced?"
    )


def test_an_image_turned_in_label_studio_refuses_the_task() -> None:
    """Label Studio's own rotation is not applied to the pixels that are exported."""
    task = read(rectangle(Box(1, 1, 50, 50), image_rotation=90))
    assert task.refusal == "annotation 5: the image was turned in Label Studio: turn it back and submit again"


@pytest.mark.parametrize("size", [None, "640", 0, -640, 640.5])
def test_a_region_without_the_images_size_refuses_the_task(size: object) -> None:
    """Percents of an unknown size place nothing."""
    task = read(rectangle(Box(1, 1, 50, 50), original_width=size))
    assert task.refusal == "annotation 5: region r1 doesn't say how large its image is"


@pytest.mark.parametrize(
    "broken",
    [
        "no mapping",
        {"type": "rectanglelabels"},
        region({}, from_name="roi"),
        region({"x": "left"}, from_name="roi"),
        region({"x": 1, "y": 1, "width": 0, "height": 5}, from_name="roi"),
        region({"x": 1, "y": 1, "width": 0.01, "height": 0.01}, from_name="patch"),
        region({"points": [["a", "b"]]}, "polygonlabels"),
        region({"points": [[1]]}, "polygonlabels"),
        region({"points": [[1e999, 1]]}, "polygonlabels"),
        region({"x": 1, "y": 1, "radiusX": None}, "ellipselabels"),
        region({"rle": "no bytes"}, "brushlabels"),
        region({"rle": [1, 2, 3]}, "brushlabels"),
        region({"x": 1, "y": 1}, "keypointlabels"),
        {"id": "n", "type": "number", "from_name": "patches", "value": {"number": "five"}},
    ],
)
def test_a_broken_region_refuses_the_task(broken: Any) -> None:
    """Nonsense in one annotation is a refusal that names the annotation, not a crash."""
    task = read(broken if isinstance(broken, str) else {"to_name": "image", **broken})
    assert task.refusal is not None
    assert task.refusal.startswith("annotation 5")


@pytest.mark.parametrize(
    "nonsense",
    [
        {},
        [],
        {"id": 7},
        payload(id="seven"),
        payload(id=None),
        payload(updated_at="yesterday"),
        payload(updated_at="2026-03-01T12:00:00"),
        payload(annotations="none"),
        payload(annotations=7),
        payload(predictions=("p",)),
        payload(data=["image"]),
        payload({"id": 5, "result": []}),
        payload(annotation(updated_at=None)),
        payload(annotation(id=None)),
        payload(predictions=({"model_version": "negatives", "result": [{"from_name": "patch"}]},)),
        payload(predictions=({"id": 1, "model_version": "negatives", "result": ["x"]},)),
    ],
)
def test_what_is_no_task_is_a_payload_error(nonsense: Any) -> None:
    """Nonsense is one kind of error, whatever is wrong with it."""
    with pytest.raises(PayloadError):
        read_task(nonsense, LABELING)


# ---------------------------------------------------------------- ROIs


def number(name: str, value: Any, region_id: str = "a") -> Json:
    """What a number field of a region says."""
    return region({"number": value}, "number", id=region_id, from_name=name)


def test_an_roi_is_read_with_its_own_fields() -> None:
    """The number results under an ROI's id are its fields, unchecked, whatever their order."""
    drawn = rectangle(Box(10, 20, 310, 420), id="a", from_name="roi")
    other = rectangle(Box(320, 20, 620, 420), id="b", from_name="roi")
    task = read(number("patches", 7), drawn, number("max_size", 12.5), other, number("round", 2, "b"))
    assert [(roi.region_id, roi.box, dict(roi.fields)) for roi in task.rois] == [
        ("a", Box(10, 20, 310, 420), {"patches": 7.0, "max_size": 12.5}),
        ("b", Box(320, 20, 620, 420), {"round": 2.0}),
    ]


@pytest.mark.parametrize("result", [number("magnification", 40), number("patches", None)])
def test_fields_that_say_nothing_to_us_are_no_fields(result: Json) -> None:
    """Another number control, or an emptied field, is no rule."""
    (roi,) = read(rectangle(Box(10, 20, 310, 420), id="a", from_name="roi"), result).rois
    assert dict(roi.fields) == {}


def test_a_rotated_roi_keeps_its_outline() -> None:
    """A turned ROI is its turned rectangle, not the box around it."""
    value = {"x": 50, "y": 50, "width": 10, "height": 10, "rotation": 45}
    (roi,) = read(region(value, from_name="roi")).rois
    assert not roi.outline.holds(roi.box)


def test_an_roi_is_no_exclusion() -> None:
    """ROIs and patches keep no patch away."""
    task = read(rectangle(Box(9, 9, 300, 300), from_name="roi"), rectangle(Box(10, 10, 50, 50), from_name="patch"))
    assert task.exclusions == ()


def test_of_the_same_roi_drawn_twice_the_later_one_holds() -> None:
    """Two people, one place: one ROI, with the fields of who submitted last."""
    drawn = rectangle(Box(10, 20, 310, 420), id="a", from_name="roi")
    early = annotation(drawn, number("patches", 3), id=9, updated_at="2026-03-01T11:00:00Z")
    late = annotation(drawn, number("patches", 9), id=8, updated_at="2026-03-01T12:00:00Z")
    (roi,) = read_task(payload(late, early), LABELING).rois
    assert dict(roi.fields) == {"patches": 9.0}


def test_a_skipped_annotation_says_nothing() -> None:
    """Skipped: neither ROI nor exclusion nor verdict nor refusal."""
    skipped = annotation(
        rectangle(Box(10, 20, 310, 420), from_name="roi"),
        rectangle(Box(10, 10, 50, 50), from_name="patch"),
        rectangle(Box(60, 60, 80, 80), original_width=1),
        was_cancelled=True,
    )
    task = read_task(payload(skipped), LABELING)
    assert (task.rois, task.exclusions, task.reviews, task.refusal, task.size) == ((), (), (), None, None)


def test_the_image_is_under_the_configurations_key() -> None:
    """The picture's reference is under the key that the Image tag shows."""
    labeling = replace(LABELING, data_key="photo")
    assert read_task(payload(data={"image": "other.jpg", "photo": "/data/p.jpg"}), labeling).image == "/data/p.jpg"


def test_a_project_may_come_as_an_object() -> None:
    """Label Studio names a task's project by id or by an object that has one."""
    assert read_task(payload(project={"id": 3, "title": "t"}), LABELING).project_id == 3


# ---------------------------------------------------------------- proposals, there and back


def proposal(*patches: Patch, drawn_with: float = 0.0) -> Proposal:
    """A proposal of one ROI."""
    return Proposal(7, 1600, 1200, (RoiOutcome(roi(200, 150, 700, 600, drawn_with), patches),))


PATCHES = (
    patch(Box(301, 203, 433, 334), rules=Rules(patches=3, min_size=99, margin=4, round=2)),
    patch(Box(500, 500, 607, 611)),
)


def as_prediction(offered: Proposal, **more: Any) -> Json:
    """The proposal as Label Studio gives it back."""
    stored = write_prediction(offered, LABELING)
    return {"id": 11, "updated_at": "2026-03-01T11:00:00Z", **stored, **more}


def test_a_written_prediction_reads_back_the_same() -> None:
    """Boxes, ids and provenance survive the percents."""
    (standing,) = read_task(payload(predictions=(as_prediction(proposal(*PATCHES)),)), LABELING).standing
    assert (standing.id, standing.patches) == (11, PATCHES)


def test_a_prediction_is_of_the_one_version_and_names_its_task() -> None:
    """`task` and `model_version` are what the bulk call wants."""
    written = write_prediction(proposal(*PATCHES), LABELING)
    assert (written["task"], written["model_version"]) == (7, "negatives")


def test_the_roi_comes_first_and_lists_its_patches() -> None:
    """A copy of the prediction says what was shown, and its ROI has an id of its own."""
    echo, *others = write_prediction(proposal(*PATCHES), LABELING)["result"]
    assert echo["from_name"] == "roi"
    assert echo["id"].startswith("roi_")
    assert echo["meta"]["negatives"]["shown"] == [patch.id for patch in PATCHES] == [item["id"] for item in others]


@pytest.mark.parametrize("rotation", [0.0, 30.0, 90.0, -45.0, 200.0])
def test_the_echo_is_the_roi(rotation: float) -> None:
    """A turned ROI is echoed where it was drawn."""
    offered = proposal(drawn_with=rotation)
    (echo,) = write_prediction(offered, LABELING)["result"]
    (again,) = read(echo | {"id": "drawn"}).rois
    for there, here in zip(offered.outcomes[0].roi.outline.points, again.outline.points, strict=True):
        assert there == pytest.approx(here)


def test_a_shortfall_is_told_in_the_prediction() -> None:
    """Why there are fewer patches than asked is shown with the ROI and read back for the status."""
    outcome = RoiOutcome(roi(), PATCHES[:1], Shortfall(5, 1, "the ROI is full"))
    offered = Proposal(7, 1600, 1200, (outcome,))
    prediction = as_prediction(offered)
    assert prediction["result"][0]["meta"]["text"] == ["1 of 5 patches: the ROI is full."]
    (standing,) = read_task(payload(predictions=(prediction,)), LABELING).standing
    assert standing.explanations == ("1 of 5 patches: the ROI is full.",)


def test_the_text_of_a_patch_explains_it() -> None:
    """What the UI shows is one string with box, ROI, rules and seed."""
    (text,) = write_prediction(proposal(PATCHES[0]), LABELING)["result"][1]["meta"]["text"]
    assert text == (
        "132 × 131 px at (301, 203); ROI 800 × 800 px at (100, 100); 3 patches of 99–400 px, round 2; seed 1; "
        "label-studio-negatives 0"
    )


def test_a_standing_prediction_needs_no_change() -> None:
    """What was written has the fingerprint of what is read back."""
    written = write_prediction(proposal(*PATCHES), LABELING)["result"]
    (standing,) = read_task(payload(predictions=(as_prediction(proposal(*PATCHES)),)), LABELING).standing
    assert standing.content == fingerprint(written)


def test_the_fingerprint_ignores_what_label_studio_adds() -> None:
    """Keys that we did not write, and the last digits of a percent, are no change."""
    written = write_prediction(proposal(*PATCHES), LABELING)["result"]
    stored = deepcopy(written)
    for item in stored:
        item |= {"origin": "prediction", "score": 0.5, "hidden": False}
        item["value"]["x"] += 1e-9
    assert fingerprint(stored) == fingerprint(written)


@pytest.mark.parametrize("change", ["id", "from_name", "value", "meta", "order", "missing"])
def test_the_fingerprint_sees_every_change_that_shows(change: str) -> None:
    """Another id, control, place, note, order or number of regions is a change."""
    written = write_prediction(proposal(*PATCHES), LABELING)["result"]
    stored = deepcopy(written)
    match change:
        case "value":
            stored[1]["value"]["x"] += 0.01
        case "meta":
            stored[1]["meta"]["text"] = ["something else"]
        case "order":
            stored.reverse()
        case "missing":
            del stored[2]
        case _:
            stored[1][change] = "other"
    assert fingerprint(stored) != fingerprint(written)


def test_what_label_studio_stored_needs_no_change() -> None:
    """The recorded prediction has the fingerprint of the proposal that it was made of: proposing again changes
    nothing.
    """
    labeling = read_labeling(recorded("project")["label_config"])
    task = read_task(recorded("task_proposed"), labeling)
    again = work_out_proposal(task, labeling.defaults, Rules())
    assert [standing.content for standing in task.standing] == [
        fingerprint(write_prediction(again, labeling)["result"])
    ]


def test_other_models_predictions_are_ignored() -> None:
    """A prediction of another version is neither standing nor in the way."""
    theirs = as_prediction(proposal(*PATCHES), model_version="yolo-v8", result=[{"nonsense": True}])
    task = read_task(payload(predictions=(theirs,)), LABELING)
    assert (task.standing, task.exclusions, task.refusal) == ((), (), None)


def test_a_patch_without_our_note_still_counts() -> None:
    """A patch that a person drew by hand, or whose note was rewritten, has its box and no provenance."""
    drawn = rectangle(Box(10, 10, 90, 90), id="by hand", from_name="patch", meta={"text": ["mine"]})
    (review,) = read(drawn).reviews
    assert review.held == (Patch("by hand", Box(10, 10, 90, 90)),)


def test_a_moved_patch_is_rounded_inward() -> None:
    """Nothing comes in that the reviewer left out."""
    value = {"x": 10.5 * 100 / WIDTH, "y": 20.2 * 100 / HEIGHT, "width": 30 * 100 / WIDTH, "height": 40 * 100 / HEIGHT}
    (review,) = read(region(value, from_name="patch")).reviews
    assert review.held[0].box == Box(11, 21, 40, 60)


def test_a_turned_patch_is_the_box_around_it() -> None:
    """Pixels can't be cut out askew: what gets checked is the larger box."""
    value = {"x": 50, "y": 50, "width": 10, "height": 10, "rotation": 90}
    (review,) = read(region(value, from_name="patch")).reviews
    assert review.held[0].box == Box(272, 240, 320, 304)


# ---------------------------------------------------------------- what a reviewer was shown

SHOWN = frozenset(patch.id for patch in PATCHES)


def review_of(task: Task) -> Review:
    """The one review of a task."""
    (review,) = task.reviews
    return review


def reviewed(*, echo: bool, **more: Any) -> Json:
    """An annotation made from the proposal, with its second patch rejected."""
    first, *patches = write_prediction(proposal(*PATCHES), LABELING)["result"]
    return annotation(*([first] if echo else []), patches[0], **more)


def test_an_echo_is_no_request() -> None:
    """The ROI in a copy of the proposal asks for nothing."""
    assert read_task(payload(reviewed(echo=True)), LABELING).rois == ()


def test_an_echo_lists_what_was_shown() -> None:
    """What the reviewer's own ROI lists was shown, whatever the prediction says by now."""
    changed = as_prediction(proposal(patch(Box(700, 500, 800, 600))), updated_at="2026-03-01T13:00:00Z")
    task = read_task(payload(reviewed(echo=True, parent_prediction=11), predictions=(changed,)), LABELING)
    assert review_of(task).shown == SHOWN
    assert review_of(task).held == PATCHES[:1]


def test_label_studios_snapshot_says_nothing() -> None:
    """It comes with every annotation of such a task, also of somebody who labelled a cell and rejected nothing."""
    snapshot = {"id": 11, "model_version": "negatives", "result": as_prediction(proposal(*PATCHES))["result"]}
    task = read_task(payload(annotation(prediction=snapshot)), LABELING)
    assert task.reviews == ()


@pytest.mark.parametrize("parent", [11, None])
def test_without_an_echo_the_unchanged_prediction_says_it(parent: int | None) -> None:
    """The standing prediction, when the annotation was made from it (by its parent, or by the patches it holds)."""
    one = reviewed(echo=False, parent_prediction=parent)
    task = read_task(payload(one, predictions=(as_prediction(proposal(*PATCHES)),)), LABELING)
    assert review_of(task).shown == SHOWN


def test_a_parent_alone_is_enough() -> None:
    """Who rejected every patch, and the ROI with them, was shown them all the same."""
    one = annotation(parent_prediction=11)
    task = read_task(payload(one, predictions=(as_prediction(proposal(*PATCHES)),)), LABELING)
    assert (review_of(task).held, review_of(task).shown) == ((), SHOWN)


def changed_since(memory: Memory) -> dict[str, Any]:
    """Our prediction, changed after every review and remembering this."""
    return as_prediction(replace(proposal(*PATCHES), memory=memory), updated_at="2026-03-01T12:00:01Z")


def test_a_prediction_changed_since_says_nothing_of_its_own() -> None:
    """A patch that was added after the review was not rejected by it."""
    one = reviewed(echo=False, parent_prediction=11)
    assert review_of(read_task(payload(one, predictions=(changed_since(Memory()),)), LABELING)).shown == frozenset()


def test_a_changed_prediction_remembers_what_a_reviewer_was_shown() -> None:
    """Whoever deleted everything and submitted has rejected it, whatever becomes of the proposal."""
    one = annotation(parent_prediction=11)
    memory = Memory(shown={int(one["id"]): frozenset({"neg_gone"})})
    assert review_of(read_task(payload(one, predictions=(changed_since(memory),)), LABELING)).shown == {"neg_gone"}


def test_a_review_that_came_while_the_prediction_was_being_changed() -> None:
    """It was of what stood before."""
    one = annotation(parent_prediction=11)
    task = read_task(payload(one, predictions=(changed_since(Memory(before=frozenset({"neg_old"}))),)), LABELING)
    assert review_of(task).shown == {"neg_old"}


def test_fields_that_a_reviewer_sets_in_their_copy_count() -> None:
    """The copy shows the same fields under the green ROI: a round that is raised there is meant."""
    drawn = rectangle(Box(10, 10, 300, 300), from_name="roi")
    alone = read_task(payload(annotation(drawn)), LABELING)
    echo = {**drawn, "id": roi_echo_id(alone.id, alone.rois[0])}
    number = {"id": echo["id"], "from_name": "round", "to_name": "image", "type": "number", "value": {"number": 2}}
    task = read_task(payload(annotation(drawn), annotation(echo, number, id=6)), LABELING)
    assert [dict(one.fields) for one in task.rois] == [{"round": 2}]


def test_an_annotation_of_something_else_is_no_review() -> None:
    """Labelling objects on a task with a proposal rejects nothing."""
    one = annotation(rectangle(Box(10, 10, 50, 50)))
    task = read_task(payload(one, predictions=(as_prediction(proposal(*PATCHES)),)), LABELING)
    assert task.reviews == ()


def test_a_reviewer_may_come_as_an_object_or_be_gone() -> None:
    """`completed_by` is an id, an object with one, or null after the person was deleted."""
    people = [3, {"id": 4, "email": "someone"}, None]
    annotations = [reviewed(echo=True, id=n, completed_by=who) for n, who in enumerate(people, 1)]
    task = read_task(payload(*annotations), LABELING)
    assert [(review.annotation_id, review.reviewer) for review in task.reviews] == [(1, 3), (2, 4), (3, None)]


# ---------------------------------------------------------------- recorded from a real Label Studio


def recorded_task(name: str) -> Task:
    """A recorded task, read with its project's own configuration."""
    return read_task(recorded(name), read_labeling(recorded("project")["label_config"]))


def test_recorded_roi_and_objects() -> None:
    """A person's ROI with a count of its own, and two labelled cells."""
    task = recorded_task("task_with_roi_and_objects")
    assert (task.size, task.refusal) == ((640, 480), None)
    assert [(roi.box, dict(roi.fields)) for roi in task.rois] == [(Box(20, 30, 420, 430), {"patches": 4.0})]
    assert task.exclusions == (Box(100, 100, 150, 160), Box(500, 50, 560, 120))


@pytest.mark.parametrize("name", ["task_reviewed_from_prediction", "task_reviewed_by_stream"])
def test_recorded_review(name: str) -> None:
    """Of three patches shown, the reviewer took one out."""
    task = recorded_task(name)
    review = review_of(task)
    (standing,) = task.standing
    assert review.shown == {patch.id for patch in standing.patches}
    assert (len(review.shown), len(review.held)) == (3, 2)


def test_recorded_skip() -> None:
    """A skip arrives with all its patches and accepts nothing."""
    task = recorded_task("task_skipped")
    assert task.reviews == ()
    assert len(task.rois) == 1


def test_recorded_patches_name_their_rules() -> None:
    """Provenance comes back from Label Studio with each rule's source."""
    task = recorded_task("task_proposed")
    provenance = task.standing[0].patches[0].provenance
    assert provenance is not None
    rules, sources = resolve_rules(
        {"patches": 4}, {"min_size": 40, "max_size": 120, "round": 1}, Rules(patches=9, min_size=9, max_size=9)
    )
    assert (provenance.rules, provenance.rules_from) == (rules, sources)
