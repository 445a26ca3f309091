import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from io import BytesIO
from math import cos, hypot, radians, sin
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st
from label_studio_sdk.converter import brush
from numpy.typing import NDArray
from PIL import Image

from service.domain.geometry import Box, Ellipse, Outline, Painted, Polygon, Shape
from service.domain.model import (
    Cause,
    Explanation,
    LiveAnswer,
    Memory,
    Patch,
    Proposal,
    Review,
    Roi,
    RoiOutcome,
    Rules,
    Shortfall,
    Task,
    Verdict,
    roi_echo_id,
)
from service.domain.rules import resolve_rules
from service.errors import PayloadError
from service.label_studio.labeling import OURS, REASONS, ROI_LABELS, ROI_SHAPES, Labeling, connect, read_labeling
from service.label_studio.payloads import (
    Said,
    fingerprint,
    read_task,
    write_live_answer,
    write_prediction,
    write_verdicts,
)
from service.proposing import work_out_proposal
from service.raster import covered, painted
from tests.factories import patch, roi
from tests.payloads import recorded

Json = dict[str, Any]
Mask = NDArray[np.bool_]
WIDTH, HEIGHT = 640, 480
LABELING = Labeling(image="image", data_key="image", controls=OURS)


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


def exclusion(value: Mapping[str, Any], kind: str) -> Shape:
    """The one exclusion that a region of this kind makes."""
    task = read(region(value, kind))
    assert task.refusal is None
    (shape,) = task.exclusions
    return shape


def disc(x: int, y: int, radius: int) -> Mask:
    """A painted disc in an image of 640 × 480 px."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    found: Mask = (columns - x) ** 2 + (rows - y) ** 2 < radius**2
    return found


def in_runs(alpha: NDArray[np.uint8]) -> Json:
    """A brush region's value, as Label Studio's own encoder writes it."""
    return {"format": "rle", "rle": list(brush.mask2rle(alpha))}  # type: ignore[no-untyped-call]


def pixels(shape: Outline | Shape) -> Mask:
    """Which pixels of an image of 640 × 480 px a shape covers."""
    found = np.zeros((HEIGHT, WIDTH), bool)
    for left, top, right, bottom in covered([shape]).tolist():
        found[top:bottom, left:right] = True
    return found


# ---------------------------------------------------------------- what labelled regions exclude


def test_a_rectangle_excludes_its_pixels() -> None:
    """Percents become the pixels that were drawn, though the arithmetic is of floats."""
    assert read(rectangle(Box(100, 101, 227, 333))).exclusions == (Box(100, 101, 227, 333),)


def test_half_covered_pixels_are_excluded() -> None:
    """A region's box is rounded outward."""
    value = {"x": 10.5 * 100 / WIDTH, "y": 20.2 * 100 / HEIGHT, "width": 30 * 100 / WIDTH, "height": 40 * 100 / HEIGHT}
    assert exclusion(value, "rectanglelabels") == Box(10, 20, 41, 61)


def test_a_rotated_rectangle_excludes_itself() -> None:
    """Rotation is clockwise about the top-left corner: 90 degrees put the width below and the height to the left."""
    value = {"x": 50, "y": 50, "width": 10, "height": 10, "rotation": 90}
    shape = exclusion(value, "rectanglelabels")
    assert isinstance(shape, Polygon)
    corners = [(320, 240), (320, 304), (272, 304), (272, 240)]
    assert np.asarray(shape.points) == pytest.approx(np.asarray(corners))


def test_a_rectangle_turned_by_45_degrees_is_its_diamond() -> None:
    """Its corners, not the box that spans its diagonal."""
    side = 100 / hypot(1, 1)
    value = {"x": 50, "y": 50, "width": side * 100 / WIDTH, "height": side * 100 / HEIGHT, "rotation": 45}
    shape = exclusion(value, "rectanglelabels")
    assert isinstance(shape, Polygon)
    assert np.asarray(shape.points) == pytest.approx(np.asarray([(320, 240), (370, 290), (320, 340), (270, 290)]))


def test_a_rectangle_turned_all_the_way_round_is_a_box() -> None:
    """360 degrees are none."""
    value = {"x": 50, "y": 50, "width": 10, "height": 10, "rotation": 360}
    assert exclusion(value, "rectanglelabels") == Box(320, 240, 384, 288)


def test_a_polygon_excludes_itself() -> None:
    """Its points in pixels, in their order."""
    value = {"points": [[10, 20], [30, 10], [20, 60]], "polygonlabels": ["Cell"]}
    assert exclusion(value, "polygonlabels") == Polygon(((64, 96), (192, 48), (128, 288)))


def test_an_ellipse_excludes_itself() -> None:
    """Centre and radii, in percents of width and height."""
    value = {"x": 50, "y": 50, "radiusX": 10, "radiusY": 5, "rotation": 0}
    assert exclusion(value, "ellipselabels") == Ellipse(320, 240, 64, 24)


def test_a_rotated_ellipse_turns_about_its_centre() -> None:
    """By 90 degrees its two radii change places, in pixels."""
    value = {"x": 50, "y": 50, "radiusX": 10, "radiusY": 5, "rotation": 90}
    assert exclusion(value, "ellipselabels").bounds == Box(296, 176, 344, 304)


def test_an_ellipse_keeps_its_rotation() -> None:
    """Degrees, clockwise; what isn't said is none."""
    value = {"x": 50, "y": 50, "radiusX": 10, "radiusY": 5}
    assert exclusion({**value, "rotation": 45}, "ellipselabels") == Ellipse(320, 240, 64, 24, 45)
    assert exclusion(value, "ellipselabels") == Ellipse(320, 240, 64, 24, 0)


def test_a_brush_excludes_its_paint() -> None:
    """Pixel by pixel, not the box around it."""
    mask = disc(300, 200, 40)
    shape = exclusion({**in_runs(mask.astype(np.uint8) * 255), "brushlabels": ["Cell"]}, "brushlabels")
    assert isinstance(shape, Painted)
    assert np.array_equal(pixels(shape), mask)


def test_the_soft_edge_of_a_brush_excludes() -> None:
    """What is painted ever so faintly may be part of the object."""
    mask = disc(300, 200, 40)
    assert np.array_equal(pixels(exclusion(in_runs(mask.astype(np.uint8)), "brushlabels")), mask)


def test_a_wiped_brush_excludes_nothing() -> None:
    """A brush region without paint is no object."""
    task = read(region(in_runs(np.zeros((HEIGHT, WIDTH), np.uint8)), "brushlabels"))
    assert (task.exclusions, task.refusal) == ((), None)


def test_a_bitmask_excludes_its_paint() -> None:
    """A mask in a data URL, pixel by pixel."""
    mask, out = disc(300, 200, 40), BytesIO()
    Image.fromarray(mask.astype(np.uint8) * 255).save(out, "PNG")
    value = {"imageDataURL": "data:image/png;base64," + b64encode(out.getvalue()).decode()}
    shape = exclusion(value, "bitmasklabels")
    assert isinstance(shape, Painted)
    assert np.array_equal(pixels(shape), mask)


def test_a_keypoint_excludes_its_disc() -> None:
    """A keypoint's width is its diameter, in percents of the image's width both ways."""
    assert exclusion({"x": 50, "y": 50, "width": 2.5}, "keypointlabels") == Ellipse(320, 240, 8, 8)


def test_a_vector_excludes_the_box_around_its_vertices() -> None:
    """A vector is a line through its vertices: what it means to enclose is its drawer's to know."""
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


@pytest.mark.parametrize(
    ("value", "kind", "place"),
    [
        pytest.param({"points": [[50, 50]]}, "polygonlabels", (320, 240), id="a polygon of one point"),
        pytest.param({"points": [[50, 50], [60, 50]]}, "polygonlabels", (350, 240), id="a polygon of two points"),
        pytest.param({"points": [[50, 50], [60, 50], [55, 50]]}, "polygonlabels", (350, 240), id="a level polygon"),
        pytest.param({"points": [[50, 50], [60, 60], [55, 55]]}, "polygonlabels", (336, 252), id="a slanting polygon"),
        pytest.param({"x": 50, "y": 50, "radiusX": 0, "radiusY": 5}, "ellipselabels", (320, 250), id="a flat ellipse"),
        pytest.param({"x": 50, "y": 50, "radiusX": 0, "radiusY": 0}, "ellipselabels", (320, 240), id="an empty one"),
        pytest.param({"x": 50, "y": 50, "width": 0}, "keypointlabels", (320, 240), id="a keypoint without width"),
        pytest.param(
            {"x": 50, "y": 50, "width": 0, "height": 5, "rotation": 0}, "rectanglelabels", (320, 250), id="a rectangle"
        ),
    ],
)
def test_what_has_no_area_still_marks_its_pixels(value: Json, kind: str, place: tuple[int, int]) -> None:
    """A line or a point is a sign that something is there: its pixels are excluded."""
    column, row = place
    assert pixels(exclusion(value, kind))[row, column]


def test_a_region_without_a_label_excludes() -> None:
    """Whoever drew a rectangle and chose no label meant something."""
    value = {"x": 50, "y": 50, "width": 10, "height": 10, "rotation": 0}
    assert exclusion(value, "rectangle") == Box(320, 240, 384, 288)


def test_a_click_without_extent_excludes_its_pixel() -> None:
    """A rectangle of no size still is a sign that something is there."""
    assert exclusion({"x": 50, "y": 50, "width": 0, "height": 0}, "rectanglelabels") == Box(320, 240, 321, 241)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("rectangle", {"x": 50, "y": 50, "width": 10, "height": 0, "rotation": 90}),
        ("ellipse", {"x": 50, "y": 60, "radiusX": 10, "radiusY": 0, "rotation": 90}),
    ],
)
def test_a_flat_shape_that_was_turned_excludes_where_it_lies(kind: str, value: Json) -> None:
    """Drawn to the right and turned by a right angle it goes down."""
    (found,) = read(region(value, f"{kind}labels")).exclusions
    assert (found.bounds.width, found.bounds.left) == (1, WIDTH // 2)
    assert found.bounds.top <= HEIGHT // 2 + 2
    assert found.bounds.height >= 60


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


@pytest.mark.parametrize("size", [None, "640", 0, -640, 640.5, 1_000_001, 10**30])
def test_a_region_without_the_images_size_refuses_the_task(size: object) -> None:
    """Percents of an unknown size place nothing."""
    task = read(rectangle(Box(1, 1, 50, 50), original_width=size))
    assert task.refusal == "annotation 5: region r1 doesn't say how large its image is"


@pytest.mark.parametrize("side", ["original_width", "original_height"])
def test_the_largest_image_is_still_read(side: str) -> None:
    """A million pixels."""
    assert read(rectangle(Box(1, 1, 50, 50), **{side: 1_000_000})).refusal is None


@pytest.mark.parametrize("control", ["label", "roi", "patch"])
@pytest.mark.parametrize(
    "value",
    [
        pytest.param({"x": 1e12}, id="right"),
        pytest.param({"y": 1e12}, id="below"),
        pytest.param({"x": -1e12}, id="left"),
        pytest.param({"y": -1e12}, id="above"),
        pytest.param({"width": 1e12}, id="wide"),
        pytest.param({"height": 1e12}, id="high"),
    ],
)
def test_what_reaches_farther_than_any_image_refuses_the_task(control: str, value: Json) -> None:
    """Its pixels would fill the memory."""
    task = read(region({"x": 10, "y": 10, "width": 10, "height": 10, "rotation": 0} | value, from_name=control))
    assert task.refusal == "annotation 5: region r1 lies more than 1,000,000 px away from its image"


def test_what_reaches_as_far_as_an_image_may_is_read() -> None:
    """People drag corners far out of the picture."""
    value = {"x": -1_000_000 * 100 / WIDTH, "y": -900, "width": 2_000_000 * 100 / WIDTH, "height": 2000}
    assert read(region(value)).refusal is None


@pytest.mark.parametrize("image", ["http://[", "https://[/a.png?key=1", "\ud800.png"])
def test_an_image_s_address_that_is_none_refuses_the_task(image: str) -> None:
    """What patches remember their image by can't be made of it."""
    task = read_task(payload(annotation(rectangle(Box(1, 1, 50, 50))), data={"image": image}), LABELING)
    assert task.refusal == "the address of its image can't be read: something in it has no sense"


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


def text(control: str, *entries: str, region_id: str = "a") -> Json:
    """What was typed into a text of a region."""
    return region({"text": list(entries)}, "textarea", id=region_id, from_name=control)


@pytest.mark.parametrize(
    ("result", "again"),
    [
        pytest.param(text("roi_again", "x"), 1, id="one entry"),
        pytest.param(text("roi_again", "x", "other ones", "x"), 3, id="three entries"),
        pytest.param(text("roi_again"), 0, id="all taken back"),
        pytest.param(region({"text": "others"}, "textarea", id="a", from_name="roi_again"), 1, id="a text alone"),
        pytest.param(region({}, "textarea", id="a", from_name="roi_again"), 0, id="nothing"),
    ],
)
def test_each_entry_asks_again(result: Json, again: int) -> None:
    """Whatever was typed."""
    (roi,) = read(rectangle(Box(10, 20, 310, 420), id="a", from_name="roi"), result).rois
    assert dict(roi.fields) == {"again": again}


def test_other_texts_ask_for_nothing() -> None:
    """A comment of the team's is none of our fields, nor is another ROI's entry."""
    drawn = rectangle(Box(10, 20, 310, 420), id="a", from_name="roi")
    (roi,) = read(drawn, text("comment", "x"), text("roi_again", "x", region_id="b")).rois
    assert dict(roi.fields) == {}


def test_a_rotated_roi_keeps_its_outline() -> None:
    """A turned ROI is its turned rectangle, not the box around it."""
    value = {"x": 50, "y": 50, "width": 10, "height": 10, "rotation": 45}
    (roi,) = read(region(value, from_name="roi")).rois
    assert not pixels(roi.outline)[roi.box.top, roi.box.left]


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


@dataclass(frozen=True)
class Drawn:
    """An ROI as a person drew it: the value and type of its region, and what that is in pixels."""

    shape: str
    value: Json
    outline: Outline

    def region(self, region_id: str = "drawn", **more: Any) -> Json:
        """The region as Label Studio sends it."""
        kind = f"{self.shape}labels"
        value = {**self.value, kind: [ROI_LABELS[self.shape]]}
        return region(value, kind, id=region_id, from_name=ROI_SHAPES[self.shape], **more)

    def number(self, name: str, value: float) -> Json:
        """What a number field of the ROI says; Label Studio repeats the region's place in it."""
        return region({**self.value, "number": value}, "number", id="drawn", from_name=name)


BLOB = disc(320, 240, 180) & ~disc(400, 240, 60)
PAINT = painted(BLOB)
assert PAINT is not None
DRAWN = [
    Drawn(
        "rectangle",
        {"x": 37.5, "y": 12.5, "width": 50, "height": 62.5, "rotation": 20},
        Polygon.rectangle(240, 60, 320, 300, 20),
    ),
    Drawn(
        "polygon",
        {"points": [[10, 10], [90, 10], [90, 40], [50, 40], [50, 90], [10, 90]], "closed": True},
        Polygon(((64, 48), (576, 48), (576, 192), (320, 192), (320, 432), (64, 432))),
    ),
    Drawn(
        "ellipse",
        {"x": 50, "y": 50, "radiusX": 40, "radiusY": 25, "rotation": 30},
        Ellipse(320, 240, 256, 120, 30),
    ),
    Drawn("brush", in_runs(BLOB.astype(np.uint8) * 255), PAINT),
]
OF_EVERY_SHAPE = pytest.mark.parametrize("drawn", [pytest.param(drawn, id=drawn.shape) for drawn in DRAWN])


def figures(outline: Outline) -> NDArray[np.float64]:
    """All numbers that an outline is made of."""
    match outline:
        case Polygon(points):
            return np.asarray(points)
        case Ellipse(x, y, radius_x, radius_y, rotation):
            return np.asarray((x, y, radius_x, radius_y, rotation))
        case Painted(boxes):
            return np.asarray([box.corners for box in boxes], dtype=float)


def near(outline: Outline) -> Any:
    """The numbers of an outline, as far as they matter."""
    return pytest.approx(figures(outline), abs=1e-6)


@OF_EVERY_SHAPE
def test_an_roi_is_what_was_drawn(drawn: Drawn) -> None:
    """Rectangle, polygon, ellipse and brush, each exactly, and none is an exclusion."""
    task = read(drawn.region())
    (roi,) = task.rois
    assert (type(roi.outline), task.exclusions, task.refusal) == (type(drawn.outline), (), None)
    assert figures(roi.outline) == near(drawn.outline)


@OF_EVERY_SHAPE
def test_the_fields_of_an_roi_count_whatever_its_shape(drawn: Drawn) -> None:
    """They stand under the region's id."""
    (roi,) = read(drawn.region(), drawn.number("patches", 7), drawn.number("round", 2)).rois
    assert dict(roi.fields) == {"patches": 7.0, "round": 2.0}


def lies_in(box: Box, drawn: Drawn) -> bool:
    """Whether a box lies in what was drawn, as another judge sees it."""
    match drawn.outline:
        case Polygon(points):
            return bool(shapely.Polygon(points).buffer(1e-6).contains(shapely.box(*box.corners[0], *box.corners[2])))
        case Painted():
            return bool(BLOB[box.top : box.bottom, box.left : box.right].all())
        case Ellipse(x, y, radius_x, radius_y, rotation):
            c, s = cos(radians(rotation)), sin(radians(rotation))
            turned = [((u - x) * c + (v - y) * s, (v - y) * c - (u - x) * s) for u, v in box.corners]
            return all((u / radius_x) ** 2 + (v / radius_y) ** 2 <= 1 + 1e-6 for u, v in turned)  # it is convex


@OF_EVERY_SHAPE
def test_patches_lie_in_what_was_drawn(drawn: Drawn) -> None:
    """Whatever its shape, an ROI gets all its patches, and each lies wholly inside: read, sampled, judged by others."""
    fields = {"patches": 20, "min_size": 24, "max_size": 60}
    for again in range(1, 6):
        task = read(drawn.region(), *(drawn.number(*said) for said in {**fields, "round": again}.items()))
        patches = work_out_proposal(task, {}, Rules()).patches
        assert (len(patches), [one.box for one in patches if not lies_in(one.box, drawn)]) == (20, [])


@pytest.mark.parametrize(
    "control",
    [
        '<BrushLabels name="roi_polygon" toName="image"><Label value="Background ROI"/></BrushLabels>',
        '<PolygonLabels name="roi_polygon" toName="image"><Label value="Cell"/></PolygonLabels>',
        "",
    ],
    ids=["of another type", "of another label", "gone from the configuration"],
)
def test_a_region_of_a_control_that_only_is_called_like_ours_excludes(control: str) -> None:
    """What a team calls its own control is its business: its regions are objects, never ROIs."""
    xml = f'<View><Image name="image" value="$image"/>{control}</View>'
    labeling = read_labeling(connect(xml, Rules()))
    drawn = DRAWN[1]
    task = read_task(payload(annotation(drawn.region())), labeling)
    assert (task.rois, task.exclusions) == ((), (drawn.outline,))


@pytest.mark.parametrize(
    ("shape", "value"),
    [
        pytest.param("polygon", {"points": [[10, 10], [60, 10]]}, id="a polygon of two points"),
        pytest.param("polygon", {"points": [[10, 10], [60, 10], [30, 10]]}, id="a level polygon"),
        pytest.param("ellipse", {"x": 50, "y": 50, "radiusX": 0, "radiusY": 9, "rotation": 0}, id="a flat ellipse"),
        pytest.param("brush", in_runs(np.zeros((HEIGHT, WIDTH), np.uint8)), id="a wiped brush"),
        pytest.param("brush", in_runs(np.where(BLOB, 127, 0).astype(np.uint8)), id="faint paint alone"),
        pytest.param("rectangle", {"x": 5, "y": 5, "width": 0, "height": 9, "rotation": 30}, id="a flat rectangle"),
    ],
)
def test_an_roi_that_covers_nothing_is_refused(shape: str, value: Json) -> None:
    """The person who drew it hears so, and which one it is."""
    task = read(region(value, f"{shape}labels", id="odd", from_name=ROI_SHAPES[shape]))
    assert task.refusal == "annotation 5: the ROI odd covers nothing: draw it anew"


def test_of_a_brush_what_is_painted_by_half_is_inside() -> None:
    """Its soft edge is outside; the faint seam between two strokes that meet doesn't cut the ROI in two."""
    alpha = np.where(BLOB, 255, 0).astype(np.uint8)
    alpha[:, 320:] //= 2
    alpha[:, 300:302] = np.minimum(alpha[:, 300:302], 192)
    (roi,) = read(region(in_runs(alpha), "brushlabels", from_name="roi_brush")).rois
    assert np.array_equal(pixels(roi.outline), alpha > 127)


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
    """A turned ROI is echoed where it was drawn, as a rectangle."""
    offered = proposal(drawn_with=rotation)
    (echo,) = write_prediction(offered, LABELING)["result"]
    (again,) = read(echo | {"id": "drawn"}).rois
    assert echo["type"] == "rectanglelabels"
    assert figures(again.outline) == near(offered.outcomes[0].roi.outline)


@OF_EVERY_SHAPE
def test_the_echo_is_drawn_with_the_control_of_its_shape(drawn: Drawn) -> None:
    """Label Studio shows a region only where control, type and label fit together."""
    (echo,) = write_prediction(Proposal(7, WIDTH, HEIGHT, (RoiOutcome(Roi("drawn", drawn.outline)),)), LABELING)[
        "result"
    ]
    kind = f"{drawn.shape}labels"
    assert (echo["from_name"], echo["type"], echo["value"][kind]) == (
        ROI_SHAPES[drawn.shape],
        kind,
        [ROI_LABELS[drawn.shape]],
    )
    assert echo["value"].keys() - {kind} == drawn.value.keys()


POINTS = st.tuples(st.floats(-100, 800), st.floats(-100, 600))
# Those that enclose something, by more than the width of a line.
POLYGONS = st.lists(POINTS, min_size=3, max_size=9, unique=True).filter(lambda points: shapely.Polygon(points).area > 5)
RECTANGLES = st.builds(
    Polygon.rectangle,
    st.floats(-100, 800),
    st.floats(-100, 600),
    st.floats(0.5, 900),
    st.floats(0.5, 700),
    st.floats(-360, 360),
)
ELLIPSES = st.builds(
    Ellipse, st.floats(-100, 800), st.floats(-100, 600), st.floats(0.5, 900), st.floats(0.5, 700), st.floats(-360, 360)
)
SPOTS = st.tuples(st.integers(0, WIDTH), st.integers(0, HEIGHT), st.integers(1, 90))
PAINTED = st.lists(SPOTS, min_size=1, max_size=6).map(lambda spots: np.any([disc(*spot) for spot in spots], axis=0))
OUTLINES = st.one_of(
    RECTANGLES,
    POLYGONS.map(lambda points: Polygon(tuple(points))),
    ELLIPSES,
    PAINTED.filter(np.any).map(painted),
)


@given(OUTLINES)
def test_an_roi_of_any_shape_comes_back_as_it_was_written(outline: Outline) -> None:
    """Through percents and JSON, in a prediction and in a person's copy of it."""
    offered = Proposal(7, WIDTH, HEIGHT, (RoiOutcome(Roi("drawn", outline)),))
    prediction = json.loads(json.dumps(as_prediction(offered)))
    drawn = prediction["result"][0] | {"id": "drawn"}
    task = read_task(payload(annotation(drawn), predictions=(prediction,)), LABELING)
    assert task.refusal is None
    for (found,) in (task.rois, task.standing[0].rois):
        assert type(found.outline) is type(outline)
        assert figures(found.outline) == near(outline)


@given(RECTANGLES)
def test_every_rectangle_is_echoed_as_one(outline: Polygon) -> None:
    """A project without the polygon's control could show no other: its prediction would be dropped."""
    (echo,) = write_prediction(Proposal(7, WIDTH, HEIGHT, (RoiOutcome(Roi("drawn", outline)),)), LABELING)["result"]
    assert (echo["from_name"], echo["type"]) == ("roi", "rectanglelabels")


@OF_EVERY_SHAPE
def test_proposing_again_changes_nothing_whatever_the_shape(drawn: Drawn) -> None:
    """What stands has the fingerprint of what is worked out anew, after a way through JSON."""
    one = annotation(drawn.region(), drawn.number("max_size", 130))
    first = work_out_proposal(read_task(payload(one), LABELING), {}, Rules())
    stored = json.loads(json.dumps(as_prediction(first)))
    task = read_task(payload(one, predictions=(stored,)), LABELING)
    again = work_out_proposal(task, {}, Rules())
    assert len(again.patches) == 5
    assert [standing.content for standing in task.standing] == [
        fingerprint(write_prediction(again, LABELING)["result"])
    ]


@OF_EVERY_SHAPE
def test_a_copy_says_what_was_shown_whatever_the_shape(drawn: Drawn) -> None:
    """The ROI in a copy asks for nothing, and lists the patches that its reviewer saw."""
    offered = Proposal(7, WIDTH, HEIGHT, (RoiOutcome(Roi("drawn", drawn.outline), PATCHES),))
    echo, kept, _ = write_prediction(offered, LABELING)["result"]
    task = read_task(payload(annotation(echo, kept)), LABELING)
    (review,) = task.reviews
    assert (task.rois, task.exclusions, task.refusal) == ((), (), None)
    assert (review.shown, review.held, review.inferred) == (SHOWN, PATCHES[:1], False)


@OF_EVERY_SHAPE
def test_fields_set_in_a_copy_count_whatever_the_shape(drawn: Drawn) -> None:
    """A round that is raised in a copy is raised in the ROI that it is a copy of."""
    task = read(drawn.region())
    offered = Proposal(7, WIDTH, HEIGHT, (RoiOutcome(task.rois[0]),))
    (echo,) = write_prediction(offered, LABELING)["result"]
    raised = {**drawn.number("round", 2), "id": echo["id"]}
    both = payload(annotation(drawn.region()), annotation(json.loads(json.dumps(echo)), raised, id=6))
    assert [dict(one.fields) for one in read_task(both, LABELING).rois] == [{"round": 2}]


# ---------------------------------------------------------------- strokes, and what was answered to them


def test_a_stroke_without_a_label_is_an_roi() -> None:
    """Drawn for live suggestions and submitted unanswered: it asks all the same, and is no object."""
    task = read(rectangle(Box(10, 20, 310, 420), id="a", from_name="roi_live", type="rectangle"), number("patches", 3))
    assert [(roi.region_id, roi.box, dict(roi.fields)) for roi in task.rois] == [
        ("a", Box(10, 20, 310, 420), {"patches": 3.0})
    ]
    assert (task.exclusions, task.refusal) == ((), None)


def test_a_stroke_that_was_labelled_afterwards_is_one_roi() -> None:
    """It comes twice under one id."""
    stroke = rectangle(Box(10, 20, 310, 420), id="a", from_name="roi_live", type="rectangle")
    task = read(stroke, {**stroke, "from_name": "roi", "type": "rectanglelabels"})
    assert ([roi.region_id for roi in task.rois], task.exclusions) == (["a"], ())


def test_strokes_without_an_id_are_as_many_as_there_are() -> None:
    """Written by a script, perhaps."""
    boxes = [Box(10, 20, 110, 120), Box(200, 20, 310, 120)]
    task = read(*(rectangle(box, id=None, from_name="roi_live", type="rectangle") for box in boxes))
    assert [roi.box for roi in task.rois] == boxes


def test_a_patch_without_an_id_hides_no_roi_without_one() -> None:
    """They aren't the same region."""
    task = read(
        rectangle(Box(10, 20, 310, 320), id=None, from_name="roi"),
        rectangle(Box(20, 30, 90, 90), id=None, from_name="patch"),
    )
    assert [roi.box for roi in task.rois] == [Box(10, 20, 310, 320)]


def test_without_the_control_a_stroke_of_that_name_is_an_object() -> None:
    """What a team calls its own control is its business."""
    labeling = replace(LABELING, controls=tuple(name for name in OURS if name != "roi_live"))
    drawn = rectangle(Box(10, 20, 110, 120), from_name="roi_live", type="rectangle")
    task = read_task(payload(annotation(drawn)), labeling)
    assert (task.rois, task.exclusions) == ((), (Box(10, 20, 110, 120),))


LIVE_AREA = roi(20, 40, 500, 400)
LIVE = RoiOutcome(
    LIVE_AREA, (patch(Box(30, 50, 90, 110), of=LIVE_AREA), patch(Box(200, 90, 300, 190), of=LIVE_AREA)), rules=Rules()
)


LIVE_PLACED = {one.id: one.box for one in LIVE.patches}


def live() -> list[Json]:
    """The answer to a stroke as it stands in an annotation once it was accepted: ROI, two patches, our line."""
    result: list[Json] = json.loads(json.dumps(write_live_answer(Proposal(7, WIDTH, HEIGHT, (LIVE,)), LABELING)))
    return result


def test_an_answer_that_was_accepted_is_a_request_and_a_review() -> None:
    """One annotation: the ROI with what was placed, the patches that are held, and all that was shown."""
    area, first, second, line = live()
    task = read(area, first, line)
    assert [(one.box, one.answer) for one in task.rois] == [
        (LIVE_AREA.box, LiveAnswer(1, {one.id: one.box for one in LIVE.patches}))
    ]
    (review,) = task.reviews
    assert (review.held, review.shown, review.inferred) == (
        LIVE.patches[:1],
        frozenset((first["id"], second["id"])),
        False,
    )
    assert (task.exclusions, task.refusal) == ((), None)


def labelled(item: Json, control: str, label: str) -> Json:
    """What Label Studio adds to a region where this label is active when suggestions are accepted."""
    return {
        **item,
        "from_name": control,
        "type": "rectanglelabels",
        "value": {**item["value"], "rectanglelabels": [label]},
    }


def test_a_patch_that_is_labelled_as_an_roi_too_is_a_patch() -> None:
    """The ROI was selected when the suggestions were accepted; nobody drew an ROI there."""
    plain, mixed = live(), []
    for item in plain:
        mixed += [item, labelled(item, "roi", "Background ROI")]
    assert read(*mixed).rois == read(*plain).rois
    assert read(*mixed).reviews == read(*plain).reviews
    assert (read(*mixed).exclusions, read(*mixed).refusal) == ((), None)


@pytest.mark.parametrize("first", [True, False])
def test_an_roi_that_is_labelled_as_a_patch_too_is_an_roi(first: bool) -> None:
    """The patch's label was active; the ROI isn't a patch to be exported, and remembers what was placed in it."""
    plain = live()
    both = [plain[0], labelled(plain[0], "patch", "Negative patch")]
    mixed = [*(both if first else reversed(both)), *plain[1:]]
    assert read(*mixed).rois == read(*plain).rois
    assert read(*mixed).reviews == read(*plain).reviews


def test_a_copy_s_roi_that_is_labelled_as_a_patch_too_still_says_what_was_shown() -> None:
    """The same in a copy of a prediction."""
    plain = write_prediction(Proposal(7, WIDTH, HEIGHT, (LIVE,)), LABELING)["result"]
    mixed = [plain[0], labelled(plain[0], "patch", "Negative patch"), *plain[1:]]
    assert read(*mixed).reviews == read(*plain).reviews
    assert read(*mixed).rois == ()


@pytest.mark.parametrize("label", ["label", "roi"])
def test_our_line_with_a_label_is_no_region(label: str) -> None:
    """It has no place."""
    line = live()[-1]
    mixed = {**line, "from_name": label, "type": "rectanglelabels", "value": {"rectanglelabels": ["Cell"]}}
    task = read(*live(), mixed)
    assert (task.exclusions, task.refusal, len(task.rois)) == ((), None, 1)


def test_a_line_without_an_id_hides_no_object() -> None:
    """Neither does one of an object's own id."""
    line = {**live()[-1], "id": None}
    assert read(rectangle(Box(1, 1, 50, 50), id=None), line).exclusions == (Box(1, 1, 50, 50),)


def test_a_patch_that_is_labelled_as_an_object_too_is_not_free_of_it() -> None:
    """Better no negative than a wrong one: who gave the label may have meant it."""
    plain = live()
    task = read(*plain, labelled(plain[1], "label", "Cell"))
    assert task.exclusions == (LIVE.patches[0].box,)


@pytest.mark.parametrize(
    "note",
    [
        {"placed": 7},
        {"placed": {"neg_1": [1, 2]}},
        {"placed": {"neg_1": ["a", "b", "c", "d"]}},
        {"placed": {"neg_1": [1, 2, 3, 1e9]}},
        {"placed": {"neg_1": [1, 2, 3, float("inf")]}},
        {"placed": {}, "round": "two"},
    ],
)
def test_a_broken_note_of_an_answer_refuses_the_task(note: Json) -> None:
    """What was placed can't be known."""
    area, *_ = live()
    area["meta"]["negatives"] |= note
    refusal = read(area).refusal
    assert refusal is not None
    assert refusal.startswith("annotation 5")


def verdict(region_id: str, *choices: str, control: str = "patch_verdict") -> Json:
    """What was chosen for a region."""
    return region({"choices": list(choices)}, "choices", id=region_id, from_name=control)


def test_a_verdict_is_a_reason_against_its_patch() -> None:
    """By the patch's id; the patch is still held."""
    plain = live()
    (review,) = read(*plain, verdict(plain[1]["id"], "duplicate")).reviews
    assert (review.held, dict(review.reasons)) == (LIVE.patches, {plain[1]["id"]: "duplicate"})


@pytest.mark.parametrize(
    "said",
    [
        pytest.param([], id="nothing"),
        pytest.param([verdict("neg_1")], id="taken back"),
        pytest.param([verdict("neg_1", "good", control="quality")], id="a choice of the team's"),
    ],
)
def test_without_a_verdict_there_is_no_reason(said: list[Json]) -> None:
    """Whoever chose nothing has kept it."""
    (review,) = read(rectangle(Box(10, 10, 90, 90), id="neg_1", from_name="patch"), *said).reviews
    assert dict(review.reasons) == {}


def test_of_one_roi_answered_and_drawn_again_the_answer_is_remembered() -> None:
    """A second person's annotation with the very same rectangle takes nothing back."""
    area, *_ = live()
    drawn = {**area, "id": "drawn", "meta": {}}
    (one,) = read_task(payload(annotation(area), annotation(drawn, id=6)), LABELING).rois
    assert (one.region_id, one.answer is not None) == ("drawn", True)


def test_of_one_roi_answered_twice_the_later_answer_counts() -> None:
    """It was submitted last."""
    early, late = live()[0], live()[0]
    late["meta"]["negatives"] = {"round": 2, "placed": {}}
    (one,) = read_task(payload(annotation(early), annotation(late, id=6)), LABELING).rois
    assert one.answer == LiveAnswer(2, {})


def test_a_prediction_says_what_is_to_be_explained() -> None:
    """In our line, last; where all went well there is none."""
    fewer = replace(LIVE, shortfall=SHORTFALLS[0])
    (*_, line) = write_prediction(Proposal(7, WIDTH, HEIGHT, (fewer,)), LABELING)["result"]
    assert (line["from_name"], line["value"]) == ("roi_answer", {"text": ["1 of 5 patches: the ROI is full."]})
    names = [item["from_name"] for item in write_prediction(Proposal(7, WIDTH, HEIGHT, (LIVE,)), LABELING)["result"]]
    assert names == ["roi", "patch", "patch"]


def test_a_project_without_our_line_gets_a_prediction_without_it() -> None:
    """Label Studio would drop the whole prediction."""
    labeling = replace(LABELING, controls=tuple(name for name in OURS if name != "roi_answer"))
    fewer = replace(LIVE, shortfall=SHORTFALLS[0])
    names = [item["from_name"] for item in write_prediction(Proposal(7, WIDTH, HEIGHT, (fewer,)), labeling)["result"]]
    assert names == ["roi", "patch", "patch"]


def test_a_prediction_with_our_line_needs_no_change() -> None:
    """It is read past the line, and has the fingerprint of what was written."""
    offered = Proposal(7, WIDTH, HEIGHT, (replace(LIVE, shortfall=SHORTFALLS[0]),))
    stored = json.loads(json.dumps(as_prediction(offered)))
    (standing,) = read_task(payload(predictions=(stored,)), LABELING).standing
    assert (standing.patches, len(standing.rois)) == (LIVE.patches, 1)
    assert standing.content == fingerprint(write_prediction(offered, LABELING)["result"])


def test_the_fingerprint_sees_another_sentence_in_our_line() -> None:
    """What the annotator reads is brought up to date."""
    offered = Proposal(7, WIDTH, HEIGHT, (replace(LIVE, shortfall=SHORTFALLS[0]),))
    written = write_prediction(offered, LABELING)["result"]
    stored = deepcopy(written)
    stored[-1]["value"]["text"] = ["something else"]
    assert fingerprint(stored) != fingerprint(written)


SHORTFALLS = [
    Shortfall(5, 1, Cause.JAMMED, "the ROI is full", Box.sized(30, 40, 120, 120)),
    Shortfall(5, 0, Cause.BLOCKED, "objects leave no room", Box.sized(3, 4, 9, 9)),
    Shortfall(20, 2, Cause.IMPOSSIBLE, "no more than 2 can lie in it", Box.sized(3, 4, 150, 150), at_most=2),
    Shortfall(5, 0, Cause.ROI_TOO_SMALL, "the ROI lies outside of the image", None),
]


def with_shortfall(shortfall: Shortfall) -> Json:
    """A prediction whose ROI has one, as Label Studio gives it back."""
    outcome = RoiOutcome(roi(), PATCHES[: shortfall.placed], shortfall)
    prediction: Json = json.loads(json.dumps(as_prediction(Proposal(7, 1600, 1200, (outcome,)))))
    return prediction


def explanations(prediction: Json) -> tuple[Explanation, ...]:
    """What is read of a prediction's shortfalls and refusals."""
    (standing,) = read_task(payload(predictions=(prediction,)), LABELING).standing
    return standing.explanations


def test_a_shortfall_is_told_in_the_prediction() -> None:
    """Why there are fewer patches than asked is shown with the ROI."""
    (text,) = with_shortfall(SHORTFALLS[0])["result"][0]["meta"]["text"]
    assert text == "1 of 5 patches: the ROI is full."


@pytest.mark.parametrize("shortfall", SHORTFALLS, ids=[shortfall.cause for shortfall in SHORTFALLS])
def test_a_shortfall_comes_back_with_all_its_figures(shortfall: Shortfall) -> None:
    """The status tells them from what stands, without working anything out."""
    assert explanations(with_shortfall(shortfall)) == (Explanation(shortfall.sentence, shortfall),)


def test_a_refusal_comes_back_without_figures() -> None:
    """There are none."""
    outcome = RoiOutcome(roi(), refusal="patches is 99, but must be 1 to 20")
    (told,) = explanations(as_prediction(Proposal(7, 1600, 1200, (outcome,))))
    assert told == Explanation("No patches: patches is 99, but must be 1 to 20.", None)


def test_a_prediction_from_before_there_were_figures_is_still_read() -> None:
    """Its sentence counts."""
    prediction = with_shortfall(SHORTFALLS[0])
    del prediction["result"][0]["meta"]["negatives"]["shortfall"]
    assert explanations(prediction) == (Explanation("1 of 5 patches: the ROI is full.", None),)


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
    """The recorded prediction, with an ROI of every shape, has the fingerprint of the proposal that it was made of:
    proposing again changes nothing.
    """
    task, labeling = recorded_shapes()
    again = work_out_proposal(task, labeling.defaults, Rules())
    assert [standing.content for standing in task.standing] == [
        fingerprint(write_prediction(again, labeling)["result"])
    ]


def test_what_an_earlier_version_proposed_stays() -> None:
    """A newer service reads the patches that people are looking at, and offers the same ones."""
    labeling = read_labeling(recorded("project")["label_config"])
    task = read_task(recorded("task_proposed"), labeling)
    assert len(task.standing[0].patches) == 4
    assert work_out_proposal(task, labeling.defaults, Rules()).patches == task.standing[0].patches


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


@pytest.mark.parametrize(
    "roi", [None, 7, ["a", "b", "c", "d"], [1, 2, 3], [1, 2, 0, 0], [0, 0, 1e999, 1], [0, 0, 1e9, 1]]
)
def test_a_patch_whose_note_was_rewritten_still_counts(roi: Any) -> None:
    """Its box does; where it comes from is no longer known."""
    _, stored, *_ = write_prediction(proposal(*PATCHES), LABELING)["result"]
    stored["meta"]["negatives"]["roi"] = roi
    (review,) = read(stored).reviews
    assert review.held == (replace(PATCHES[0], provenance=None),)


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


def test_an_annotation_is_the_word_of_who_changed_it_last() -> None:
    """Label Studio lets anybody change anybody's; who drew the ROI in it stays who drew it."""
    editors = [4, {"id": 4, "email": "someone"}, None]
    annotations = [reviewed(echo=True, id=n, completed_by=3, updated_by=who) for n, who in enumerate(editors, 1)]
    task = read_task(payload(*annotations), LABELING)
    assert [review.reviewer for review in task.reviews] == [4, 4, 3]
    assert drew(annotation(DRAWN[0].region(), completed_by=3, updated_by=4)) == [3]


@pytest.mark.parametrize("link", ["s3://bucket/a b/ä+?.png", "gs://b/x.png", "azure-blob://c/~~?.png"])
@pytest.mark.parametrize("is_padded", [True, False])
@pytest.mark.parametrize("prefix", ["", "/labels", "http://studio.internal:8080"])
def test_a_cloud_image_that_comes_resolved_is_read_as_it_is_stored(link: str, is_padded: bool, prefix: str) -> None:
    """A single task comes with an address that opens it, a list of tasks with the link: it is one image."""
    encoded = urlsafe_b64encode(link.encode()).decode()
    address = f"{prefix}/tasks/1/resolve/?fileuri={quote(encoded if is_padded else encoded.rstrip('='))}"
    task = read_task(payload(data={"image": address}), LABELING)
    assert task.image == link
    assert task.image_digest == read_task(payload(data={"image": link}), LABELING).image_digest


@pytest.mark.parametrize(
    "address",
    ["/data/upload/3/field.jpg", "/data/local-files/?d=a.jpg", "https://x.example/fileuri=/a.jpg", "/x?fileuri="],
)
def test_any_other_image_is_read_as_it_comes(address: str) -> None:
    """Nothing in it is undone."""
    assert read_task(payload(data={"image": address}), LABELING).image == address


# ---------------------------------------------------------------- the original


@pytest.mark.parametrize(
    ("named", "original"),
    [
        ("plates/field.tif", "plates/field.tif"),
        (" s3://scans/field.tif\n", "s3://scans/field.tif"),
        ("/data/upload/3/1a2b3c4d-field.tif", "/data/upload/3/1a2b3c4d-field.tif"),
        ("", ""),
        ("  ", ""),
        (None, ""),
        (17, ""),
        (["a.tif"], ""),
        ({"path": "a.tif"}, ""),
    ],
)
def test_a_task_may_name_the_original_of_its_image(named: object, original: str) -> None:
    """Beside it, as a text; what is none names nothing. What tells the image from others stays the image's own."""
    task = read_task(payload(data={"image": "/data/upload/3/small.jpg", "original": named}), LABELING)
    alone = read_task(payload(data={"image": "/data/upload/3/small.jpg"}), LABELING)
    assert (task.original, alone.original) == (original, "")
    assert (task.image, task.image_reference, task.image_digest) == (
        "/data/upload/3/small.jpg",
        alone.image_reference,
        alone.image_digest,
    )


def test_a_cloud_original_that_comes_resolved_is_read_as_it_is_stored() -> None:
    """A single task comes with an address in its place that opens it, as its image does."""
    link = "s3://scans/ä 1.tif"
    address = f"/tasks/1/resolve/?fileuri={quote(urlsafe_b64encode(link.encode()).decode())}"
    task = read_task(payload(data={"image": "/data/upload/3/small.jpg", "original": address}), LABELING)
    assert task.original == link


def test_an_image_is_not_its_own_original() -> None:
    """Where the labeling configuration shows the key `original`, that is the image, and there is no other."""
    labeling = replace(LABELING, data_key="original")
    task = read_task(payload(data={"original": "/data/upload/3/field.jpg"}), labeling)
    assert (task.image, task.original) == ("/data/upload/3/field.jpg", "")


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


def recorded_shapes() -> tuple[Task, Labeling]:
    """The recorded task with an ROI of every shape, and the labeling of its project."""
    theirs = '<View><Image name="image" value="$image"/></View>'
    labeling = read_labeling(connect(theirs, Rules(patches=1, min_size=40, max_size=120), ROI_SHAPES))
    return read_task(recorded("task_with_rois_of_every_shape"), labeling), labeling


def test_recorded_rois_of_every_shape() -> None:
    """A turned rectangle, a polygon with a count of its own, a turned ellipse, and what was fully painted."""
    task, _ = recorded_shapes()
    assert (task.size, task.refusal) == ((640, 480), None)
    rectangle, polygon, ellipse, brushed = task.rois
    assert figures(rectangle.outline) == near(Polygon.rectangle(20, 30, 250, 180, 5))
    assert figures(polygon.outline) == near(Polygon(((330, 20), (620, 40), (560, 240), (350, 200))))
    assert figures(ellipse.outline) == near(Ellipse(160, 350, 140, 100, 20))
    assert figures(brushed.outline) == near(Painted((Box(340, 290, 600, 340), Box(500, 340, 560, 360))))
    assert [dict(one.fields) for one in task.rois] == [{}, {"patches": 2.0}, {}, {}]


def test_recorded_review_of_every_shape() -> None:
    """Of five patches shown, the reviewer took the first one out; the ROIs of their copy are neither ROIs nor
    objects.
    """
    task, _ = recorded_shapes()
    review, offered = review_of(task), [one.id for one in task.standing[0].patches]
    assert (len(offered), review.shown, [one.id for one in review.held]) == (5, frozenset(offered), offered[1:])
    assert (len(task.rois), len(task.exclusions)) == (4, 1)


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


LIVE_LABELING = read_labeling(recorded("predict_stroke")["label_config"])


def answered_live(name: str) -> Task:
    """A recorded task whose ROI was answered at once, read with its project's own configuration."""
    return read_task(recorded(name), LIVE_LABELING)


def test_recorded_answer_with_a_rejection_and_a_verdict() -> None:
    """Of three patches one was deleted before it was submitted, and one has a reason against it."""
    task = answered_live("task_answered_live")
    review = review_of(task)
    (area,) = task.rois
    assert area.answer is not None
    assert (task.exclusions, task.refusal) == ((Box(164, 120, 214, 170),), None)
    assert (len(review.shown), len(review.held), review.shown) == (3, 2, frozenset(area.answer.placed))
    assert dict(review.reasons) == {review.held[0].id: "duplicate"}


@pytest.mark.parametrize("name", ["task_answered_live_roi_selected", "task_answered_live_patch_label_active"])
def test_recorded_answer_with_labels_that_nobody_meant(name: str) -> None:
    """One ROI, the three patches that were placed in it, and the one cell: whatever was active has no say."""
    task = answered_live(name)
    review = review_of(task)
    (area,) = task.rois
    assert area.answer is not None
    assert (task.exclusions, task.refusal) == ((Box(164, 120, 214, 170),), None)
    assert {one.id: one.box for one in review.held} == area.answer.placed
    assert (len(review.held), review.shown, review.reasons) == (3, frozenset(area.answer.placed), {})


@pytest.mark.parametrize(
    "name",
    ["task_answered_live", "task_answered_live_roi_selected", "task_answered_live_patch_label_active"],
)
def test_recorded_answers_leave_nothing_to_propose(name: str) -> None:
    """All three patches that the project asks for were delivered."""
    assert work_out_proposal(answered_live(name), LIVE_LABELING.defaults, Rules()).outcomes == ()


def test_who_rejects_a_proposal_and_draws_a_stroke_instead_has_rejected_it() -> None:
    """The live ROI says what was placed in it, and nothing of the proposal that the annotation was made from."""
    area, first, _, _ = live()
    one = annotation(area, first, parent_prediction=11)
    review = review_of(read_task(payload(one, predictions=(as_prediction(proposal(*PATCHES)),)), LABELING))
    assert (review.shown, review.inferred) == (SHOWN | set(LIVE_PLACED), True)


def test_two_people_who_drew_the_same_keep_what_either_was_answered() -> None:
    """A stroke over the whole picture ends at its border, whoever draws it."""
    area, *rest = live()
    other = json.loads(json.dumps(area))
    other["meta"]["negatives"]["placed"] = {"neg_of the other": [0, 0, 30, 30]}
    task = read_task(payload(annotation(area, *rest), annotation(other, id=6, completed_by=2)), LABELING)
    (roi,) = task.rois
    assert roi.answer is not None
    assert roi.answer.placed == {**LIVE_PLACED, "neg_of the other": Box(0, 0, 30, 30)}


def test_a_text_about_an_object_doesnt_hide_the_object() -> None:
    """Only our own line, which has no place in the picture, is no region."""
    drawn = rectangle(Box(10, 10, 50, 50), id="cell", from_name="label", rectanglelabels=["Cell"])
    text = {**drawn, "from_name": "roi_answer", "type": "textarea"}
    assert read(text, drawn).exclusions == (Box(10, 10, 50, 50),)


# ---------------------------------------------------------------- verdicts that we write, there and back


@st.composite
def boxes_in(draw: st.DrawFn, width: int, height: int) -> Box:
    """A box in an image of this size."""
    left, top = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
    return Box(left, top, draw(st.integers(left + 1, width)), draw(st.integers(top + 1, height)))


@st.composite
def spoken(draw: st.DrawFn) -> tuple[tuple[int, int], list[Said]]:
    """An image's size, and what somebody says of some patches in it, with and without provenance."""
    size = draw(st.tuples(st.integers(1, 1_000_000), st.integers(1, 1_000_000)) | st.just((WIDTH, HEIGHT)))
    places = draw(st.lists(boxes_in(*size), min_size=1, max_size=6, unique=True))
    rules = Rules(patches=3, min_size=9, max_size=77, max_overlap=0.3, margin=4, round=2, square=True, align=8)
    said = []
    for box in places:
        known = patch(box, of=roi(3, 4, 500, 600), rules=rules)
        assert known.provenance is not None
        origin = replace(known.provenance, rules_from={"margin": "settings"}, image=draw(st.sampled_from(("", "abc"))))
        verdict = draw(st.sampled_from(Verdict))
        reason = draw(st.sampled_from(("", *REASONS))) if verdict is Verdict.REJECTED else ""
        said.append(Said(replace(known, provenance=draw(st.sampled_from((origin, None)))), verdict, reason))
    return size, said


@given(spoken())
def test_written_verdicts_come_back_as_they_were_said(written: tuple[tuple[int, int], list[Said]]) -> None:
    """Ids, boxes to the pixel, provenance, verdicts and reasons; they ask for nothing and exclude nothing."""
    size, said = written
    result = json.loads(json.dumps(write_verdicts(said, size, LABELING)))
    task = read_task(payload(annotation(*result, completed_by=3)), LABELING)
    assert (task.size, task.rois, task.exclusions, task.refusal) == (size, (), (), None)
    assert review_of(task) == Review(
        annotation_id=5,
        reviewer=3,
        at=task.updated_at,
        held=tuple(one.patch for one in said),
        shown=frozenset(one.patch.id for one in said),
        inferred=False,
        reasons={one.patch.id: one.reason for one in said if one.verdict is Verdict.REJECTED},
        unsure=frozenset(one.patch.id for one in said if one.verdict is Verdict.UNSURE),
        verdicts_only=True,
    )


@given(spoken())
def test_verdicts_that_are_read_and_written_again_are_the_same(written: tuple[tuple[int, int], list[Said]]) -> None:
    """Another verdict more, and those from before haven't moved by a hair."""
    size, said = written
    first = write_verdicts(said, size, LABELING)
    held = review_of(read_task(payload(annotation(*first)), LABELING)).held
    again = [replace(one, patch=patch) for one, patch in zip(said, held, strict=True)]
    assert fingerprint(write_verdicts(again, size, LABELING)) == fingerprint(first)


def spoken_of(*verdicts: Verdict) -> list[Json]:
    """An annotation's result in which we wrote these verdicts on the patches of the proposal."""
    said = [Said(one, verdict) for one, verdict in zip(PATCHES, verdicts, strict=False)]
    result: list[Json] = json.loads(json.dumps(write_verdicts(said, (1600, 1200), LABELING)))
    return result


@pytest.mark.parametrize(
    ("said", "choices"),
    [
        pytest.param(Said(PATCHES[0], Verdict.ACCEPTED), [], id="accepted"),
        pytest.param(Said(PATCHES[0], Verdict.REJECTED), ["rejected"], id="rejected"),
        pytest.param(Said(PATCHES[0], Verdict.REJECTED, "duplicate"), ["duplicate"], id="rejected with a reason"),
        pytest.param(Said(PATCHES[0], Verdict.UNSURE), ["unsure"], id="unsure"),
    ],
)
def test_a_verdict_is_the_choice_that_a_person_would_make(said: Said, choices: list[str]) -> None:
    """On the patch's own region, at its place, so that Label Studio shows it."""
    region, *rest = write_verdicts([said], (1600, 1200), LABELING)
    assert (region["id"], region["from_name"], region["type"]) == (said.patch.id, "patch", "rectanglelabels")
    assert [(one["id"], one["from_name"], one["type"]) for one in rest] == [
        (said.patch.id, "patch_verdict", "choices") for _ in choices
    ]
    assert [one["value"].pop("choices") for one in rest] == [[choice] for choice in choices]
    place = {key: value for key, value in region["value"].items() if key != "rectanglelabels"}
    assert all(one["value"] == place and one["to_name"] == "image" and "meta" not in one for one in rest)


def test_of_patches_not_spoken_of_nothing_is_said() -> None:
    """Though they stand in the prediction that both are of."""
    offered = as_prediction(proposal(*PATCHES))
    review = review_of(read_task(payload(annotation(*spoken_of(Verdict.REJECTED)), predictions=(offered,)), LABELING))
    assert (review.shown, review.inferred) == (frozenset({PATCHES[0].id}), False)


@pytest.mark.parametrize("gone", [0, 1])
def test_a_patch_that_is_taken_out_of_written_verdicts_was_shown(gone: int) -> None:
    """Each of them lists all, so it is rejected."""
    result = spoken_of(Verdict.ACCEPTED, Verdict.ACCEPTED)
    del result[gone]
    review = review_of(read_task(payload(annotation(*result)), LABELING))
    assert (review.shown, review.held) == (SHOWN, (PATCHES[1 - gone],))


def no_verdicts() -> list[Any]:
    """Annotations in which a person did something besides."""
    echo, first, second = write_prediction(proposal(*PATCHES), LABELING)["result"]
    said = spoken_of(Verdict.ACCEPTED, Verdict.UNSURE)
    by_hand = rectangle(Box(10, 10, 90, 90), id="Xy12", from_name="patch", original_width=1600, original_height=1200)
    cell = {**by_hand, "id": "cell", "from_name": "label"}
    return [
        pytest.param([echo, first, second], id="a copy of the proposal"),
        pytest.param([first, second], id="a copy that has lost its ROI"),
        pytest.param([first, verdict(first["id"], "unsure")], id="a choice of theirs"),
        pytest.param([by_hand], id="a patch drawn by hand"),
        pytest.param(live(), id="an answer that was accepted"),
        pytest.param([*said, by_hand], id="verdicts, and a patch drawn by hand"),
        pytest.param([*said, cell], id="verdicts, and a cell"),
        pytest.param([*said, {**cell, "from_name": "roi"}], id="verdicts, and an ROI"),
        pytest.param([*said, text("comment", "look!", region_id=said[0]["id"])], id="verdicts, and a comment"),
        pytest.param(
            [],
            id="all of a proposal taken out, the ROI too",
        ),
    ]


@pytest.mark.parametrize("result", no_verdicts())
def test_what_a_person_submitted_is_not_ours_to_write_anew(result: list[Json]) -> None:
    """Only what we wrote, and nothing else, may be replaced."""
    offered = as_prediction(proposal(*PATCHES))
    task = read_task(payload(annotation(*result, parent_prediction=11), predictions=(offered,)), LABELING)
    assert not review_of(task).verdicts_only


@pytest.mark.parametrize("name", ["task_reviewed_from_prediction", "task_reviewed_by_stream", "task_answered_live"])
def test_no_recorded_review_is_ours_to_write_anew(name: str) -> None:
    """They are what people submitted in a browser."""
    labeling = LIVE_LABELING if name == "task_answered_live" else read_labeling(recorded("project")["label_config"])
    assert not review_of(read_task(recorded(name), labeling)).verdicts_only


@pytest.mark.parametrize("nothing", [{"result": None}, {}], ids=["null", "missing"])
def test_a_result_that_is_null_is_an_empty_one(nothing: Json) -> None:
    """Somebody who took everything out of a proposal has rejected it, whoever wrote it down."""
    one = {key: value for key, value in annotation(parent_prediction=11).items() if key != "result"} | nothing
    task = read_task(payload(one, predictions=(as_prediction(proposal(*PATCHES)),)), LABELING)
    assert (task.refusal, [(review.held, review.shown) for review in task.reviews]) == (None, [((), SHOWN)])


# ---------------------------------------------------------------- who drew an ROI

EARLY, LATE = "2026-03-01T11:00:00Z", "2026-03-01T13:00:00Z"


def drew(*annotations: Json) -> list[int | None]:
    """Who drew each ROI of a task with these annotations."""
    return [one.drawn_by for one in read_task(payload(*annotations), LABELING).rois]


@pytest.mark.parametrize(("who", "by"), [(3, 3), ({"id": 3, "email": "c@example.com"}, 3), (None, None)])
def test_who_drew_an_roi_is_who_made_the_annotation(who: object, by: int | None) -> None:
    """However Label Studio names them; of a deleted user nobody knows."""
    assert drew(annotation(DRAWN[0].region(), completed_by=who)) == [by]


@pytest.mark.parametrize(("first", "second"), [(EARLY, LATE), (LATE, EARLY), (EARLY, EARLY)])
@OF_EVERY_SHAPE
def test_whoever_copies_an_roi_has_not_drawn_it(drawn: Drawn, first: str, second: str) -> None:
    """The lowest id of an annotation tells, whichever was submitted last, and in whatever order they are listed."""
    original = annotation(drawn.region(), id=8, completed_by=3, updated_at=first)
    copy = annotation(drawn.region("copied"), id=9, completed_by=1, updated_at=second)
    assert drew(original, copy) == drew(copy, original) == [3]


def test_everybody_drew_their_own() -> None:
    """One annotation each."""
    one, other = (rectangle(Box(left, 20, left + 200, 220), id=f"a{left}", from_name="roi") for left in (10, 300))
    assert drew(annotation(one, completed_by=3), annotation(other, id=6, completed_by=4)) == [3, 4]
    assert drew(annotation(one, other, completed_by=3), annotation(other, id=6, completed_by=4)) == [3, 3]


def test_a_copy_of_a_deleted_users_roi_is_nobodys() -> None:
    """Who copied it didn't draw it."""
    original = annotation(DRAWN[0].region(), id=8, completed_by=None)
    assert drew(original, annotation(DRAWN[0].region(), id=9, completed_by=1)) == [None]


def test_who_drew_a_stroke_is_known_too() -> None:
    """Also when somebody duplicated the whole answer."""
    assert drew(annotation(*live(), completed_by=3), annotation(*live(), id=6, completed_by=1)) == [3]


def test_a_copy_of_the_proposal_draws_nothing() -> None:
    """Its reviewer may be the first who submitted anything after the ROI's drawer, and has no ROI."""
    offered = Proposal(7, WIDTH, HEIGHT, (RoiOutcome(read(DRAWN[0].region()).rois[0], LIVE.patches),))
    copied = write_prediction(offered, LABELING)["result"]
    drawn = annotation(DRAWN[0].region(), id=8, completed_by=3)
    assert drew(annotation(*copied, id=4, completed_by=1), drawn) == [3]
