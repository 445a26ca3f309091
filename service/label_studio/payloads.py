"""Label Studio's JSON ⇄ our values. Pure: past this module no dictionary of Label Studio's travels.

Regions: https://labelstud.io/guide/task_format — `value` holds percents of `original_width` and `original_height` of
the upright image; rotation is in degrees clockwise about the top-left corner.
"""

import json
import re
from base64 import urlsafe_b64decode
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from functools import partial
from math import atan2, degrees, hypot, isfinite
from typing import Any
from urllib.parse import unquote

from service.domain.geometry import (
    TOLERANCE,
    Box,
    Ellipse,
    Outline,
    Painted,
    Polygon,
    Shape,
    closed,
    inward,
    outward,
    turned,
)
from service.domain.model import (
    AGAIN,
    LIVE_PREFIX,
    LONGEST_SIDE,
    MODEL_VERSION,
    ROI_PREFIX,
    RULE_FIELDS,
    Cause,
    Explanation,
    LiveAnswer,
    Memory,
    Patch,
    Proposal,
    Provenance,
    Review,
    Roi,
    RoiOutcome,
    Rules,
    Shortfall,
    StandingPrediction,
    Task,
    Verdict,
    patch_id,
    roi_echo_id,
    roi_live_id,
)
from service.errors import NegativesError, PayloadError
from service.label_studio.brush import bitmask_alpha, brush_alpha, encode_brush
from service.label_studio.labeling import (
    PATCH,
    PATCH_LABEL,
    PATCH_VERDICT,
    REJECTED,
    ROI_AGAIN,
    ROI_ANSWER,
    ROI_LABELS,
    ROI_SHAPES,
    UNSURE,
    Labeling,
)
from service.raster import painted

Json = Mapping[str, Any]
Offers = Sequence[tuple[StandingPrediction, datetime]]
"""Our predictions of a task, and when each was changed last."""

# What reading JSON of another shape, or numbers beyond all bounds, raises.
UNREADABLE = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)

REACH = Box(-LONGEST_SIDE, -LONGEST_SIDE, LONGEST_SIDE, LONGEST_SIDE)
"""As far as a region may reach, in pixels."""

_RESOLVED = re.compile(r"(?:.*)/(?:tasks|projects)/\d+/(?:resolve|presign)/\?fileuri=([^&]+)")
"""Where Label Studio opens a cloud link."""

ORIGINAL = "original"
"""The key of a task's data that names the picture of which its image is a smaller copy."""

HALF = 128
"""Of a brush's alpha, 0 to 255."""

# Results that say something of a region or of the whole task, but draw nothing themselves.
NOT_DRAWN = frozenset(
    ("choices", "textarea", "number", "rating", "datetime", "taxonomy", "pairwise", "ranker", "relation")
)


def read_task(payload: Json, labeling: Labeling) -> Task:
    """One task as `GET /api/tasks/{id}` or the task list with `fields=all` return it.

    What can't be read in it becomes the task's `refusal`, a sentence that names the annotation; only a payload that
    is no task at all raises `PayloadError`.
    """
    try:
        task_id, project_id = int(payload["id"]), _project_id(payload["project"])
        updated_at = read_moment(payload["updated_at"])
        annotations = [mapping(item, "annotation") for item in payload.get("annotations") or ()]
        predictions = [mapping(item, "prediction") for item in payload.get("predictions") or ()]
        image = _as_stored(str((payload.get("data") or {}).get(labeling.data_key) or ""))
        original = _original(payload.get("data") or {}, labeling.data_key)
    except UNREADABLE as error:
        raise PayloadError(f"Label Studio sent something that is no task: {error!r}") from error
    try:
        ours = [item for item in predictions if item.get("model_version") == MODEL_VERSION]
        offers = [(_standing(item), read_moment(item["updated_at"])) for item in ours]
    except UNREADABLE as error:
        raise PayloadError(f"task {task_id}: our prediction there can't be read: {error!r}") from error
    try:
        submitted = sorted(
            (item for item in annotations if not item.get("was_cancelled")),
            key=lambda item: (read_moment(item["updated_at"]), int(item["id"])),
        )
    except UNREADABLE as error:
        raise PayloadError(f"task {task_id}: an annotation there can't be read: {error!r}") from error
    reader = _RegionReader(task_id, labeling, offers)
    refusal = None
    for annotation in submitted:
        refusal = problem_of(partial(reader.read, annotation), f"annotation {annotation['id']}") or refusal
    refusal = disagreement(reader.sizes) or refusal
    task = Task(
        id=task_id,
        project_id=project_id,
        image=image,
        updated_at=updated_at,
        size=next(iter(reader.sizes)) if len(reader.sizes) == 1 else min(reader.sizes, default=None),
        rois=reader.requests,
        exclusions=tuple(dict.fromkeys(reader.exclusions)),
        reviews=tuple(reader.reviews),
        standing=tuple(standing for standing, _ in offers),
        refusal=refusal,
        original=original,
    )
    return replace(task, refusal=problem_of(lambda: task.image_digest, "the address of its image") or refusal)


def _original(data: Json, image_key: str) -> str:
    """Where the picture is that the image is a smaller copy of, where the task names it beside the image."""
    named = data.get(ORIGINAL) if image_key != ORIGINAL else None
    return _as_stored(named.strip()) if isinstance(named, str) else ""


def _as_stored(image: str) -> str:
    """A cloud link as the task holds it: a single task comes with an address in its place that opens it."""
    found = _RESOLVED.fullmatch(image)
    link = found[1] if found else ""
    try:
        stored = urlsafe_b64decode(unquote(link) + "=" * (-len(unquote(link)) % 4)).decode()
    except ValueError:  # something else that looks like it
        return image
    return stored if "://" in stored else image


def disagreement(sizes: Collection[tuple[int, int]]) -> str | None:
    """What is wrong when regions say that their image has different sizes."""
    if len(sizes) < 2:
        return None
    told = " and ".join(f"{width} × {height}" for width, height in sorted(sizes))
    return f"its regions disagree about the image's size ({told} px): was the image replaced?"


@dataclass(frozen=True, slots=True)
class Regions:
    """What an annotation, a draft or a stroke holds, sorted. `shown` is what the ROIs of a proposal,
    or patches that we wrote a verdict on say was shown with them, None without such a region; `fields` are by the id of
    the ROI, `reasons` against patches and `unsure` by the id of the patch.
    """

    sizes: frozenset[tuple[int, int]]
    rois: tuple[Roi, ...]
    held: tuple[Patch, ...]
    exclusions: tuple[Shape, ...]
    shown: frozenset[str] | None
    fields: Mapping[str, Mapping[str, float]]
    reasons: Mapping[str, str]
    unsure: frozenset[str]


def read_regions(result: Sequence[Json], task_id: int, labeling: Labeling) -> Regions:
    """Sort regions into ROIs that were drawn, patches, and whatever else excludes.

    Raises `PayloadError`, or what reading JSON of another shape raises (`UNREADABLE`).
    """
    results, draw_rois = [mapping(item, "result") for item in result], labeling.rois
    fields, choices = _roi_fields(results), _choices(results)
    # Whatever label is active when suggestions are accepted, Label Studio adds to all of them, even to our answer line.
    patch_ids = {_id(item) for item in results if item.get("from_name") == PATCH} - {""}
    not_regions = {_id(i) for i in results if i.get("from_name") == ROI_ANSWER and "original_width" not in i} - {""}
    sizes: set[tuple[int, int]] = set()
    rois: dict[str, Roi] = {}
    held: list[Patch] = []
    exclusions: list[Shape] = []
    shown: set[str] | None = None
    for item in results:
        name, region_id = item.get("from_name"), _id(item)
        if item.get("type") in NOT_DRAWN or item.get("to_name") != labeling.image or region_id in not_regions:
            continue
        size = _size(item)
        sizes.add(size)
        if name == PATCH and not _is_roi(region_id):
            box = _patch_box(item, size)
            _check_reach(item, box)
            held.append(Patch(region_id or patch_id(task_id, box), box, read_provenance(_meta(item))))
            shown = _shown(item, shown)
        elif name in draw_rois and (region_id not in patch_ids or _is_roi(region_id)):
            if region_id.startswith(ROI_PREFIX):
                shown = _shown(item, shown or set())
            else:
                # A stroke that was labelled afterwards comes twice, under one id.
                drawn = Roi(region_id, _roi_outline(item, size), fields.get(region_id, {}), _live_answer(item))
                _check_reach(item, drawn.box)
                rois[region_id or f"#{len(rois)}"] = drawn
        elif name != PATCH and name not in draw_rois and (exclusion := _shape(item, size)) is not None:
            _check_reach(item, exclusion.bounds)
            exclusions.append(exclusion)
    return Regions(
        sizes=frozenset(sizes),
        rois=tuple(rois.values()),
        held=tuple(held),
        exclusions=tuple(exclusions),
        shown=None if shown is None else frozenset(shown),
        fields=fields,
        reasons={region: "" if said == REJECTED else said for region, said in choices.items() if said != UNSURE},
        unsure=frozenset(region for region, said in choices.items() if said == UNSURE),
    )


class _RegionReader:
    """Gathers the regions of a task's annotations: ROIs, exclusions and reviews."""

    def __init__(self, task_id: int, labeling: Labeling, offers: Offers) -> None:
        self.task_id = task_id
        self.labeling = labeling
        self.offers = offers
        self.sizes: set[tuple[int, int]] = set()
        self.rois: dict[str, Roi] = {}
        self.drawn: dict[str, tuple[int, int | None]] = {}
        self.fields: dict[str, dict[str, float]] = {}
        self.exclusions: list[Shape] = []
        self.reviews: list[Review] = []

    @property
    def requests(self) -> tuple[Roi, ...]:
        """The ROIs, each with what its fields say, where it was drawn or in a copy of the proposal: the latest wins."""
        return tuple(
            replace(roi, fields=self.fields.get(echo, {}), drawn_by=self.drawn[echo][1])
            for echo, roi in self.rois.items()
        )

    def read(self, annotation: Json) -> None:
        """Read one submitted annotation; later ones win where two people drew the same ROI."""
        found = read_regions(annotation.get("result") or (), self.task_id, self.labeling)
        author = int(annotation["id"]), read_user(annotation.get("completed_by"))
        # Label Studio lets anybody change anybody's annotation: what it says is the word of who did so last.
        reviewer = read_user(annotation.get("updated_by")) or author[1]
        self.sizes |= found.sizes
        self.exclusions += found.exclusions
        for region_id, fields in found.fields.items():
            if region_id.startswith(ROI_PREFIX):
                self.fields.setdefault(region_id, {}).update(fields)
        for roi in found.rois:
            echo = roi_echo_id(self.task_id, roi)
            self.rois[echo] = replace(roi, answer=_both(self.rois.get(echo), roi))
            self.fields.setdefault(echo, {}).update(roi.fields)
            # Whoever copied the annotation has it, too.
            self.drawn[echo] = min(self.drawn.get(echo, author), author, key=lambda one: one[0])
        answered = {region_id for roi in found.rois if roi.answer for region_id in roi.answer.placed}
        guessed = set() if found.shown is not None else _shown_otherwise(annotation, found.held, self.offers)
        shown = frozenset((found.shown or set()) | answered | guessed)
        if found.held or shown:
            self.reviews.append(
                Review(
                    annotation_id=author[0],
                    reviewer=reviewer,
                    at=read_moment(annotation["updated_at"]),
                    held=found.held,
                    shown=shown,
                    inferred=found.shown is None and (bool(guessed) or not answered),
                    reasons=found.reasons,
                    unsure=found.unsure,
                    verdicts_only=_verdicts_only(annotation),
                )
            )


def _verdicts_only(annotation: Json) -> bool:
    """Whether it holds nothing but what `write_verdicts` writes."""
    results = annotation.get("result") or ()
    return bool(results) and all(
        item.get("from_name") == PATCH_VERDICT or (item.get("from_name") == PATCH and "shown" in _meta(item))
        for item in results
    )


def _both(before: Roi | None, roi: Roi) -> LiveAnswer | None:
    """What two ROIs of one outline were answered: the later one's, and the earlier one's of the same round."""
    first, later = before.answer if before else None, roi.answer
    if first is None or later is None:
        return later or first
    return replace(later, placed={**first.placed, **later.placed}) if first.round == later.round else later


def problem_of(read: Callable[[], object], where: str) -> str | None:
    """Why something can't be read, as a sentence that names where it stands; None when it can."""
    try:
        read()
    except NegativesError as error:
        return f"{where}: {error}"
    except UNREADABLE as error:
        lacks = f"a region lacks {error}" if isinstance(error, KeyError) else "something in it has no sense"
        return f"{where} can't be read: {lacks}"
    return None


def _shown_otherwise(annotation: Json, held: Sequence[Patch], offers: Offers) -> set[str]:
    """What a reviewer was shown when their annotation has lost the ROI that lists it.

    If the annotation was made from our prediction: what the prediction remembers of it, else what is on offer, or was
    when they submitted: a patch that was added later was not rejected by them.
    """
    held_ids = {patch.id for patch in held}
    submitted = read_moment(annotation["updated_at"])
    for ours, changed_at in offers:
        if (remembered := ours.memory.shown.get(int(annotation["id"]))) is not None:
            return set(remembered)
        ids = {patch.id for patch in ours.patches}
        if annotation.get("parent_prediction") == ours.id or held_ids & (ids | ours.memory.before):
            return ids if changed_at <= submitted else set(ours.memory.before)
    return set()


def _standing(prediction: Json) -> StandingPrediction:
    results = prediction.get("result") or []
    patches, explanations, rois, memory = [], [], [], Memory()
    for result in results:
        if result.get("from_name") == ROI_ANSWER:
            continue
        size, region_id = _size(result), str(result["id"])
        if result.get("from_name") == PATCH:
            patches.append(Patch(region_id, _patch_box(result, size), read_provenance(_meta(result))))
            continue
        rois.append(Roi(region_id, _roi_outline(result, size)))
        meta = _meta(result)
        if meta.get("explanation"):
            explanations.append(Explanation(str(meta["explanation"]), _read_shortfall(meta.get("shortfall"))))
        if meta.get("memory"):
            memory = _read_memory(meta["memory"])
    return StandingPrediction(
        id=int(prediction["id"]),
        patches=tuple(patches),
        content=fingerprint(results),
        explanations=tuple(explanations),
        rois=tuple(rois),
        memory=memory,
    )


def _read_shortfall(noted: Json | None) -> Shortfall | None:
    if noted is None:
        return None
    largest = noted["largest_free_square"]
    return Shortfall(
        requested=int(noted["requested"]),
        placed=int(noted["placed"]),
        cause=Cause(noted["cause"]),
        reason=str(noted["reason"]),
        largest_free_square=None if largest is None else _noted_box(largest),
        at_most=noted["at_most"],
    )


def _write_shortfall(shortfall: Shortfall) -> dict[str, Any]:
    largest = shortfall.largest_free_square
    return {**asdict(shortfall), "largest_free_square": None if largest is None else list(largest.as_xywh())}


def _read_memory(noted: Json) -> Memory:
    return Memory(
        shown={int(annotation): frozenset(ids) for annotation, ids in noted["shown"].items()},
        rejected={str(region): _noted_box(box) for region, box in noted["rejected"].items()},
        before=frozenset(noted["before"]),
    )


def _write_memory(memory: Memory) -> dict[str, Any]:
    return {
        "shown": {str(annotation): sorted(ids) for annotation, ids in sorted(memory.shown.items())},
        "rejected": {region: list(box.as_xywh()) for region, box in sorted(memory.rejected.items())},
        "before": sorted(memory.before),
    }


def fingerprint(results: Iterable[Json]) -> str:
    """What two results must share to show the same: ids, controls, geometry and meta. What is remembered doesn't count
    as a change, nor whatever else a version of Label Studio adds to a region.
    """
    return json.dumps(
        [
            [
                item.get("id"),
                item.get("from_name"),
                _rounded(item.get("value") or {}),
                {"text": (item.get("meta") or {}).get("text"), **_meta(item), "memory": None},
            ]
            for item in results
        ],
        sort_keys=True,
    )


def _rounded(value: Any) -> Any:
    """Numbers as far as they matter, wherever they stand."""
    if isinstance(value, Mapping):
        return {key: _rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_rounded(inner) for inner in value]
    return round(value, 6) if isinstance(value, float | int) else value


# ---------------------------------------------------------------- regions


def _roi_fields(results: list[Json]) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for result in results:
        if result.get("type") == "number" and result.get("from_name") in RULE_FIELDS:
            value = (result.get("value") or {}).get("number")
            if value is not None:
                found.setdefault(str(result["id"]), {})[result["from_name"]] = float(value)
        elif result.get("type") == "textarea" and result.get("from_name") == ROI_AGAIN:
            text = (result.get("value") or {}).get("text") or ()
            found.setdefault(str(result["id"]), {})[AGAIN] = 1 if isinstance(text, str) else len(text)
    return found


def _shown(result: Json, so_far: set[str] | None) -> set[str] | None:
    """What was shown, with what a region of ours says of it."""
    return so_far if (ids := _meta(result).get("shown")) is None else (so_far or set()) | {str(one) for one in ids}


def _choices(results: list[Json]) -> dict[str, str]:
    """What was chosen for patches that are still there, but not accepted."""
    found = {}
    for result in results:
        choices = (result.get("value") or {}).get("choices")
        if result.get("type") == "choices" and result.get("from_name") == PATCH_VERDICT and choices:
            found[str(result["id"])] = str(choices[0])
    return found


def _id(result: Json) -> str:
    return str(result.get("id") or "")


def _is_roi(region_id: str) -> bool:
    """Whether we gave it this id, and it is an ROI."""
    return region_id.startswith((ROI_PREFIX, LIVE_PREFIX))


def _size(result: Json) -> tuple[int, int]:
    width, height = result.get("original_width"), result.get("original_height")
    sides = range(1, LONGEST_SIDE + 1)
    if not isinstance(width, int) or not isinstance(height, int) or width not in sides or height not in sides:
        raise PayloadError(f"region {result.get('id')} doesn't say how large its image is")
    if result.get("image_rotation"):
        raise PayloadError("the image was turned in Label Studio: turn it back and submit again")
    return width, height


def _check_reach(result: Json, bounds: Box) -> None:
    """Raises `PayloadError` for a region that reaches farther than any image: its pixels would fill the memory."""
    if not REACH.holds(bounds):
        raise PayloadError(f"region {result.get('id')} lies more than {LONGEST_SIDE:,} px away from its image")


def _rectangle(result: Json, size: tuple[int, int]) -> Polygon:
    value, (width, height) = result["value"], size
    return Polygon.rectangle(
        value["x"] * width / 100,
        value["y"] * height / 100,
        value["width"] * width / 100,
        value["height"] * height / 100,
        value.get("rotation") or 0.0,
    )


def _patch_box(result: Json, size: tuple[int, int]) -> Box:
    """The whole pixels of a patch: rounded inward where a person moved it, so nothing comes in that they left out."""
    outline = _rectangle(result, size)
    if (result["value"].get("rotation") or 0) % 360:
        return outline.bounds  # pixels can't be cut out askew; the larger box is what gets checked
    (left, top), _, (right, bottom), _ = outline.points
    return inward(left, top, right, bottom)


def _roi_outline(result: Json, size: tuple[int, int]) -> Outline:
    """What an ROI was drawn as. Raises `PayloadError` when nothing was."""
    if "rle" in result["value"]:
        # A brush's edge is soft, and so is the seam between two strokes that meet: what is painted by half is inside.
        shape: Shape | None = painted(brush_alpha(result["value"]["rle"], *size) >= HALF)
    elif "width" in result["value"] and min(result["value"]["width"], result["value"]["height"]) > 0:
        shape = _rectangle(result, size)
    else:
        shape = _shape(result, size)
    if shape is None or isinstance(shape, Box):
        raise PayloadError(f"the ROI {result.get('id')} covers nothing: draw it anew")
    return shape


def _shape(result: Json, size: tuple[int, int]) -> Shape | None:
    """The pixels that a labelled region of any type covers at least; None for one that covers nothing.

    Raises `PayloadError` when it has an extent that we can't know: then no patch could be proved free of it.
    """
    value, (width, height) = result.get("value") or {}, size
    kind = str(result.get("type", ""))
    if "rle" in value:
        return painted(brush_alpha(value["rle"], *size) > 0)
    if "imageDataURL" in value:
        return painted(bitmask_alpha(value["imageDataURL"], *size) > 0)
    if points := value.get("points") or value.get("vertices"):
        places = [(x * width / 100, y * height / 100) for point in points for x, y in _positions(point)]
        shape = closed(tuple(places))
        # Of another curve the box around its control points, which it never leaves.
        return shape if kind.startswith("polygon") else shape.bounds
    if not {"x", "y"} <= value.keys() or not value.keys() & {"width", "radiusX"}:
        raise PayloadError(
            f"region {result.get('id')} is of the type {result.get('type')!r}, whose extent is unknown here, "
            "so nothing can be proved free of it"
        )
    x, y, rotation = value["x"] * width / 100, value["y"] * height / 100, value.get("rotation") or 0.0
    if "radiusX" in value:
        return _ellipse(x, y, value["radiusX"] * width / 100, value["radiusY"] * height / 100, rotation)
    if kind.startswith("keypoint"):
        radius = value["width"] * width / 200  # its width is the diameter in percent of the image's width
        return _ellipse(x, y, radius, radius, 0.0)
    return _rectangle_shape(x, y, value["width"] * width / 100, value["height"] * height / 100, rotation)


def _rectangle_shape(x: float, y: float, across: float, down: float, rotation: float) -> Shape:
    """A rectangle; most objects are upright ones, so their box comes without a polygon."""
    if rotation % 360:
        return closed(turned(((0, 0), (across, 0), (across, down), (0, down)), (x, y), rotation))
    return outward(min(x, x + across), min(y, y + down), max(x, x + across), max(y, y + down))


def _ellipse(x: float, y: float, radius_x: float, radius_y: float, rotation: float) -> Shape:
    """An ellipse; of one that is only a line or a point, the box of the pixels that it marks."""
    if min(radius_x, radius_y) < TOLERANCE:
        ends = (radius_x, 0.0), (0.0, radius_y), (-radius_x, 0.0), (0.0, -radius_y)
        return closed(turned(ends, (x, y), rotation)).bounds
    return Ellipse(x, y, radius_x, radius_y, rotation)


def _positions(point: Any) -> Iterator[tuple[float, float]]:
    """The point, and the control points of a Bézier vertex: the curve never leaves the hull of all of them."""
    if not isinstance(point, Mapping):
        yield point[0], point[1]
        return
    for position in (point, point.get("controlPoint1"), point.get("controlPoint2")):
        if position:
            yield position["x"], position["y"]


# ---------------------------------------------------------------- meta: what travels with a region


def _meta(result: Json) -> Json:
    found = (result.get("meta") or {}).get("negatives")
    return found if isinstance(found, Mapping) else {}


def _noted_box(xywh: Sequence[Any]) -> Box:
    """A box as we noted it, `[x, y, width, height]` in pixels; `ValueError` for one that no image has."""
    box = Box.sized(*map(int, xywh))
    if not REACH.holds(box):
        raise ValueError(f"far away: {box}")
    return box


def _live_answer(result: Json) -> LiveAnswer | None:
    meta = _meta(result)
    if "placed" not in meta:
        return None
    placed = {str(region): _noted_box(box) for region, box in meta["placed"].items()}
    return LiveAnswer(int(meta["round"]), placed, str(meta.get("image", "")))


def read_provenance(meta: Json) -> Provenance | None:
    """Where a patch comes from, as we noted it; None where that isn't noted, or can't be read."""
    try:
        return Provenance(
            roi=_noted_box(meta["roi"]),
            rules=Rules(**meta["rules"]),
            rules_from=meta["rules_from"],
            seed=int(meta["seed"]),
            version=str(meta["version"]),
            image=str(meta.get("image", "")),
        )
    except (*UNREADABLE, NegativesError):
        return None  # drawn by hand, or its note was rewritten: the box itself still counts


def write_prediction(proposal: Proposal, labeling: Labeling) -> dict[str, Any]:
    """The proposal as Label Studio stores it: `{task, model_version, result}`.

    Each ROI comes first, under an id of its own, and lists in its meta the ids of all patches shown: a copy of the
    prediction is a complete annotation that says what its reviewer was shown, even when one ROI is deleted from it.
    """
    results: list[dict[str, Any]] = []
    for outcome in proposal.outcomes:
        results.append(roi_result(outcome, proposal, labeling))
        if len(results) == 1 and proposal.memory != Memory():
            results[0]["meta"]["negatives"]["memory"] = _write_memory(proposal.memory)
        results += [_patch_result(patch, proposal, labeling) for patch in outcome.patches]
    if any(outcome.explanation for outcome in proposal.outcomes):
        results += _answer_line(proposal, labeling)
    return {"task": proposal.task_id, "model_version": MODEL_VERSION, "result": results}


def write_live_answer(proposal: Proposal, labeling: Labeling) -> list[dict[str, Any]]:
    """The answer to a stroke, as the regions that Label Studio suggests.

    Each ROI comes first: accepted, it takes the place of the stroke, keeps the stroke's fields, and remembers what was
    placed in it. The last is the line that says what came of it, if the project has one.
    """
    results: list[dict[str, Any]] = []
    for outcome in proposal.outcomes:
        results += _live_roi_results(outcome, proposal, labeling)
        results += [_patch_result(patch, proposal, labeling) for patch in outcome.patches]
    return results + (_answer_line(proposal, labeling) if results else [])


def _live_roi_results(outcome: RoiOutcome, proposal: Proposal, labeling: Labeling) -> Iterator[dict[str, Any]]:
    roi = outcome.roi
    fields = {name: number for name, number in roi.fields.items() if name in RULE_FIELDS and isfinite(number)}
    note: dict[str, Any] = {}
    if outcome.rules is not None:
        placed = {patch.id: list(patch.box.as_xywh()) for patch in outcome.patches}
        image = next((patch.provenance.image for patch in outcome.patches if patch.provenance), "")
        note = {"round": outcome.rules.round, "placed": placed, "image": image}
        if AGAIN in roi.fields:
            fields["round"] = outcome.rules.round
    drawn = _roi_region(roi_live_id(proposal.task_id, roi), outcome, proposal, labeling, note)
    yield drawn
    place = {key: value for key, value in drawn["value"].items() if not key.endswith("labels")}
    region = {key: value for key, value in drawn.items() if key != "meta"}
    for name, number in fields.items():
        yield {**region, "from_name": name, "type": "number", "value": {**place, "number": number}}


def _roi_region(
    region_id: str, outcome: RoiOutcome, proposal: Proposal, labeling: Labeling, note: Mapping[str, Any]
) -> dict[str, Any]:
    """An ROI as it was drawn, with what a person is told of it, and what we have to know of it later."""
    kind, value = _drawn(outcome.roi.outline, proposal)
    return {
        **_region(region_id, kind, (proposal.width, proposal.height), labeling),
        "from_name": ROI_SHAPES[kind],
        "value": {**value, f"{kind}labels": [ROI_LABELS[kind]]},
        "meta": {"text": [_said_of(outcome, proposal)], "negatives": note},
    }


def _answer_line(proposal: Proposal, labeling: Labeling) -> list[dict[str, Any]]:
    """What came of all ROIs, where the annotator sees it without selecting anything."""
    said = [_said_of(outcome, proposal) for outcome in proposal.outcomes]
    if len(said) > 1:
        said = [f"ROI {number}: {text}" for number, text in enumerate(said, 1)]
    return write_answer_line(" ".join(said), labeling)


def write_answer_line(text: str, labeling: Labeling) -> list[dict[str, Any]]:
    """The line for the annotator, if the project has one."""
    if ROI_ANSWER not in labeling.controls:
        return []
    line = {"id": ROI_ANSWER, "from_name": ROI_ANSWER, "to_name": labeling.image, "type": "textarea"}
    return [{**line, "value": {"text": [text]}}]


def _said_of(outcome: RoiOutcome, proposal: Proposal) -> str:
    """What a person is told of one ROI."""
    if outcome.is_gone:
        return "Nothing is on offer for this ROI any more; what was said of its patches still counts."
    explanation, count = outcome.explanation, len(outcome.patches)
    text = explanation.text if explanation else f"{count} of {count} patches placed." if count else "All are there."
    if proposal.is_unlabelled:
        text += " No object is labelled in this picture: label them first, or be sure that there is none."
    return text


def roi_result(outcome: RoiOutcome, proposal: Proposal, labeling: Labeling) -> dict[str, Any]:
    """An ROI as the first region of what is offered in it."""
    explanation = outcome.explanation
    note = {
        "shown": [patch.id for patch in proposal.patches],
        "explanation": explanation and explanation.text,
        "shortfall": _write_shortfall(outcome.shortfall) if outcome.shortfall else None,
    }
    return _roi_region(roi_echo_id(proposal.task_id, outcome.roi), outcome, proposal, labeling, note)


def _drawn(outline: Outline, proposal: Proposal) -> tuple[str, dict[str, Any]]:
    """What an ROI was drawn as, and the value of such a region."""
    size = (proposal.width, proposal.height)
    match outline:
        case Painted():
            return "brush", {"format": "rle", "rle": encode_brush(outline, proposal.width, proposal.height)}
        case Ellipse(x, y, radius_x, radius_y, rotation):
            at = _percents((x, y, radius_x, radius_y), size)
            radii = {"radiusX": at["width"], "radiusY": at["height"]}
            return "ellipse", {"x": at["x"], "y": at["y"], **radii, "rotation": rotation}
        case Polygon(points) if outline.is_rectangle:
            (x, y), (x2, y2), *_, (x4, y4) = points
            at = _percents((x, y, hypot(x2 - x, y2 - y), hypot(x4 - x, y4 - y)), size)
            return "rectangle", {**at, "rotation": degrees(atan2(y2 - y, x2 - x))}
        case Polygon(points):
            places = [[x * 100 / proposal.width, y * 100 / proposal.height] for x, y in points]
            return "polygon", {"points": places, "closed": True}


@dataclass(frozen=True, slots=True)
class Said:
    """One person's word on one patch, as it is to be written; `reason` is one of `REASONS`, or empty."""

    patch: Patch
    verdict: Verdict
    reason: str = ""


def write_verdicts(said: Sequence[Said], size: tuple[int, int], labeling: Labeling) -> list[dict[str, Any]]:
    """What one person says of some patches, as the result of an annotation that says nothing else.

    `size` is the image's, in pixels. Each patch is there with its choice, unless it is accepted, and lists all that are
    spoken of: one that somebody takes out later is rejected, as long as another is left, and of those not listed
    nothing is said.
    """
    shown = [one.patch.id for one in said]
    results: list[dict[str, Any]] = []
    for one in said:
        region = patch_result(one.patch, size, labeling)
        region["meta"]["negatives"]["shown"] = shown
        results.append(region)
        if one.verdict is not Verdict.ACCEPTED:
            choice = UNSURE if one.verdict is Verdict.UNSURE else one.reason or REJECTED
            place = {key: value for key, value in region["value"].items() if key != "rectanglelabels"}
            bare = {key: value for key, value in region.items() if key != "meta"}
            value = {**place, "choices": [choice]}
            results.append({**bare, "from_name": PATCH_VERDICT, "type": "choices", "value": value})
    return results


def _patch_result(patch: Patch, proposal: Proposal, labeling: Labeling) -> dict[str, Any]:
    if patch.provenance is None:
        raise ValueError(f"a proposed patch has provenance: {patch.id}")
    return patch_result(patch, (proposal.width, proposal.height), labeling)


def patch_result(patch: Patch, size: tuple[int, int], labeling: Labeling) -> dict[str, Any]:
    """A patch as a region; `size` is the image's, in pixels."""
    return {
        **_region(patch.id, "rectangle", size, labeling),
        "from_name": PATCH,
        "value": {**_percents(patch.box.as_xywh(), size), "rotation": 0, "rectanglelabels": [PATCH_LABEL]},
        "meta": patch_meta(patch),
    }


def patch_meta(patch: Patch) -> dict[str, Any]:
    """What a patch says of itself; of one without provenance only what a person sees anyway."""
    provenance = patch.provenance
    if provenance is None:
        return {"text": [patch.box.words], "negatives": {}}
    rules = provenance.rules
    text = (
        f"{patch.box.words}; ROI {provenance.roi.words}; {rules.patches} patches of {rules.min_size}–{rules.max_size} "
        f"px, round {rules.round}; seed {provenance.seed}; label-studio-negatives {provenance.version}"
    )
    return {
        "text": [text],
        "negatives": {
            "roi": list(provenance.roi.as_xywh()),
            "rules": asdict(rules),
            "rules_from": dict(provenance.rules_from),
            "seed": provenance.seed,
            "version": provenance.version,
            **({"image": provenance.image} if provenance.image else {}),
        },
    }


def _region(region_id: str, kind: str, size: tuple[int, int], labeling: Labeling) -> dict[str, Any]:
    return {
        "id": region_id,
        "to_name": labeling.image,
        "type": f"{kind}labels",
        "original_width": size[0],
        "original_height": size[1],
        "image_rotation": 0,
    }


def _percents(xywh: tuple[float, float, float, float], size: tuple[int, int]) -> dict[str, float]:
    x, y, width, height = xywh
    return {
        "x": x * 100 / size[0],
        "y": y * 100 / size[1],
        "width": width * 100 / size[0],
        "height": height * 100 / size[1],
    }


# ---------------------------------------------------------------- small things


def mapping(item: Any, what: str) -> Json:
    """The item, if it is an object; `TypeError` naming it otherwise."""
    if not isinstance(item, Mapping):
        raise TypeError(f"{what} is a {type(item).__name__}")
    return item


def read_moment(value: Any) -> datetime:
    """A time with its zone. Raises `ValueError` for one without."""
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    return moment


def _project_id(value: Any) -> int:
    return int(value["id"] if isinstance(value, Mapping) else value)


def read_user(value: Any) -> int | None:
    """A user's id, wherever Label Studio gives the user whole or only the id; None for a deleted one."""
    if isinstance(value, Mapping):
        value = value.get("id")
    return None if value is None else int(value)
