"""Label Studio's JSON ⇄ our values. Pure: past this module no dictionary of Label Studio's travels.

Regions: https://labelstud.io/guide/task_format — `value` holds percents of `original_width` and `original_height` of
the upright image; rotation is in degrees clockwise about the top-left corner.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from math import atan2, degrees, hypot
from typing import Any

from service.domain.geometry import TOLERANCE, Box, Ellipse, Outline, Painted, Polygon, Shape, closed, inward, turned
from service.domain.model import (
    MODEL_VERSION,
    ROI_PREFIX,
    RULE_FIELDS,
    Cause,
    Explanation,
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
    patch_id,
    roi_echo_id,
)
from service.errors import NegativesError, PayloadError
from service.label_studio.brush import bitmask_alpha, brush_alpha, encode_brush
from service.label_studio.labeling import PATCH, PATCH_LABEL, ROI_LABELS, ROI_SHAPES, Labeling
from service.raster import painted

Json = Mapping[str, Any]
Offers = Sequence[tuple[StandingPrediction, datetime]]
"""Our predictions of a task, and when each was changed last."""

# What reading JSON of another shape, or numbers beyond all bounds, raises.
UNREADABLE = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError)

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
        updated_at = _moment(payload["updated_at"])
        annotations = [_mapping(item, "annotation") for item in payload.get("annotations") or ()]
        predictions = [_mapping(item, "prediction") for item in payload.get("predictions") or ()]
        image = str((payload.get("data") or {}).get(labeling.data_key) or "")
    except UNREADABLE as error:
        raise PayloadError(f"Label Studio sent something that is no task: {error!r}") from error
    try:
        ours = [item for item in predictions if item.get("model_version") == MODEL_VERSION]
        offers = [(_standing(item), _moment(item["updated_at"])) for item in ours]
    except UNREADABLE as error:
        raise PayloadError(f"task {task_id}: our prediction there can't be read: {error!r}") from error
    try:
        submitted = sorted(
            (item for item in annotations if not item.get("was_cancelled")),
            key=lambda item: (_moment(item["updated_at"]), int(item["id"])),
        )
    except UNREADABLE as error:
        raise PayloadError(f"task {task_id}: an annotation there can't be read: {error!r}") from error
    reader = _RegionReader(task_id, labeling, offers)
    refusal = None
    for annotation in submitted:
        try:
            reader.read(annotation)
        except NegativesError as error:
            refusal = f"annotation {annotation['id']}: {error}"
        except UNREADABLE as error:
            lacks = f"a region lacks {error}" if isinstance(error, KeyError) else "a region in it has no sense"
            refusal = f"annotation {annotation['id']} can't be read: {lacks}"
    if len(reader.sizes) > 1:
        sizes = " and ".join(f"{width} × {height}" for width, height in sorted(reader.sizes))
        refusal = f"its regions disagree about the image's size ({sizes} px): was the image replaced?"
    return Task(
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
    )


class _RegionReader:
    """Sorts the regions of a task's annotations into ROIs, exclusions and reviews."""

    def __init__(self, task_id: int, labeling: Labeling, offers: Offers) -> None:
        self.task_id = task_id
        self.labeling = labeling
        self.offers = offers
        self.sizes: set[tuple[int, int]] = set()
        self.rois: dict[str, Roi] = {}
        self.fields: dict[str, dict[str, float]] = {}
        self.exclusions: list[Shape] = []
        self.reviews: list[Review] = []

    @property
    def requests(self) -> tuple[Roi, ...]:
        """The ROIs, each with what its fields say, where it was drawn or in a copy of the proposal: the latest wins."""
        return tuple(replace(roi, fields=self.fields.get(echo, {})) for echo, roi in self.rois.items())

    def read(self, annotation: Json) -> None:
        """Read one submitted annotation; later ones win where two people drew the same ROI."""
        held: list[Patch] = []
        shown: set[str] | None = None
        results = [_mapping(item, "result") for item in annotation.get("result") or ()]
        fields = _roi_fields(results)
        rois: list[Roi] = []
        for result in results:
            if result.get("type") in NOT_DRAWN or result.get("to_name") != self.labeling.image:
                continue
            size = _size(result)
            self.sizes.add(size)
            name, region_id = result.get("from_name"), str(result.get("id") or "")
            if name in self.labeling.rois:
                if region_id.startswith(ROI_PREFIX):
                    shown = (shown or set()) | set(_meta(result).get("shown", ()))
                    self.fields.setdefault(region_id, {}).update(fields.get(region_id, {}))
                else:
                    rois.append(Roi(region_id, _roi_outline(result, size), fields.get(region_id, {})))
            elif name == PATCH:
                box = _patch_box(result, size)
                held.append(Patch(region_id or patch_id(self.task_id, box), box, _provenance(result)))
            elif (exclusion := _shape(result, size)) is not None:
                self.exclusions.append(exclusion)
        for roi in rois:
            echo = roi_echo_id(self.task_id, roi)
            self.rois[echo] = roi
            self.fields.setdefault(echo, {}).update(roi.fields)
        inferred = shown is None
        if shown is None:
            shown = _shown_otherwise(annotation, held, self.offers)
        if held or shown:
            self.reviews.append(
                Review(
                    annotation_id=int(annotation["id"]),
                    reviewer=_user_id(annotation.get("completed_by")),
                    at=_moment(annotation["updated_at"]),
                    held=tuple(held),
                    shown=frozenset(shown),
                    inferred=inferred,
                )
            )


def _shown_otherwise(annotation: Json, held: list[Patch], offers: Offers) -> set[str]:
    """What a reviewer was shown when their annotation has lost the ROI that lists it.

    If the annotation was made from our prediction: what the prediction remembers of it, else what is on offer, or was
    when they submitted: a patch that was added later was not rejected by them.
    """
    held_ids = {patch.id for patch in held}
    submitted = _moment(annotation["updated_at"])
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
        size, region_id = _size(result), str(result["id"])
        if result.get("from_name") == PATCH:
            patches.append(Patch(region_id, _patch_box(result, size), _provenance(result)))
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
        largest_free_square=None if largest is None else Box.sized(*largest),
        at_most=noted["at_most"],
    )


def _write_shortfall(shortfall: Shortfall) -> dict[str, Any]:
    largest = shortfall.largest_free_square
    return {**asdict(shortfall), "largest_free_square": None if largest is None else list(largest.as_xywh())}


def _read_memory(noted: Json) -> Memory:
    return Memory(
        shown={int(annotation): frozenset(ids) for annotation, ids in noted["shown"].items()},
        rejected={str(region): Box.sized(*box) for region, box in noted["rejected"].items()},
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
    return found


def _size(result: Json) -> tuple[int, int]:
    width, height = result.get("original_width"), result.get("original_height")
    if not isinstance(width, int) or not isinstance(height, int) or width < 1 or height < 1:
        raise PayloadError(f"region {result.get('id')} doesn't say how large its image is")
    if result.get("image_rotation"):
        raise PayloadError("the image was turned in Label Studio: turn it back and submit again")
    return width, height


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
    across, down = value["width"] * width / 100, value["height"] * height / 100
    shape = closed(turned(((0, 0), (across, 0), (across, down), (0, down)), (x, y), rotation))
    return shape if rotation % 360 else shape.bounds


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


def _provenance(result: Json) -> Provenance | None:
    meta = _meta(result)
    try:
        return Provenance(
            roi=Box.sized(*meta["roi"]),
            rules=Rules(**meta["rules"]),
            rules_from=meta["rules_from"],
            seed=int(meta["seed"]),
            version=str(meta["version"]),
            image=str(meta.get("image", "")),
        )
    except (KeyError, TypeError, ValueError, NegativesError):
        return None  # drawn by hand, or its note was rewritten: the box itself still counts


def write_prediction(proposal: Proposal, labeling: Labeling) -> dict[str, Any]:
    """The proposal as Label Studio stores it: `{task, model_version, result}`.

    Each ROI comes first, under an id of its own, and lists in its meta the ids of all patches shown: a copy of the
    prediction is a complete annotation that says what its reviewer was shown, even when one ROI is deleted from it.
    """
    results: list[dict[str, Any]] = []
    for outcome in proposal.outcomes:
        results.append(_roi_result(outcome, proposal, labeling))
        if len(results) == 1 and proposal.memory != Memory():
            results[0]["meta"]["negatives"]["memory"] = _write_memory(proposal.memory)
        results += [_patch_result(patch, proposal, labeling) for patch in outcome.patches]
    return {"task": proposal.task_id, "model_version": MODEL_VERSION, "result": results}


def _roi_result(outcome: RoiOutcome, proposal: Proposal, labeling: Labeling) -> dict[str, Any]:
    kind, value = _drawn(outcome.roi.outline, proposal)
    explanation = outcome.explanation
    text = explanation.text if explanation else f"{len(outcome.patches)} of {len(outcome.patches)} patches placed."
    if proposal.is_unlabelled:
        text += " No object is labelled in this picture: label them first, or be sure that there is none."
    if outcome.is_gone:
        text = "This ROI was deleted; what was said of its patches still counts."
    return {
        **_region(roi_echo_id(proposal.task_id, outcome.roi), kind, proposal, labeling),
        "from_name": ROI_SHAPES[kind],
        "value": {**value, f"{kind}labels": [ROI_LABELS[kind]]},
        "meta": {
            "text": [text],
            "negatives": {
                "shown": [patch.id for patch in proposal.patches],
                "explanation": explanation and explanation.text,
                "shortfall": _write_shortfall(outcome.shortfall) if outcome.shortfall else None,
            },
        },
    }


def _drawn(outline: Outline, proposal: Proposal) -> tuple[str, dict[str, Any]]:
    """What an ROI was drawn as, and the value of such a region."""
    match outline:
        case Painted():
            return "brush", {"format": "rle", "rle": encode_brush(outline, proposal.width, proposal.height)}
        case Ellipse(x, y, radius_x, radius_y, rotation):
            at = _percents((x, y, radius_x, radius_y), proposal)
            radii = {"radiusX": at["width"], "radiusY": at["height"]}
            return "ellipse", {"x": at["x"], "y": at["y"], **radii, "rotation": rotation}
        case Polygon(points) if outline.is_rectangle:
            (x, y), (x2, y2), *_, (x4, y4) = points
            at = _percents((x, y, hypot(x2 - x, y2 - y), hypot(x4 - x, y4 - y)), proposal)
            return "rectangle", {**at, "rotation": degrees(atan2(y2 - y, x2 - x))}
        case Polygon(points):
            places = [[x * 100 / proposal.width, y * 100 / proposal.height] for x, y in points]
            return "polygon", {"points": places, "closed": True}


def _patch_result(patch: Patch, proposal: Proposal, labeling: Labeling) -> dict[str, Any]:
    provenance = patch.provenance
    if provenance is None:
        raise ValueError(f"a proposed patch has provenance: {patch.id}")
    rules, (x, y, width, height) = provenance.rules, provenance.roi.as_xywh()
    text = (
        f"{patch.box.width} × {patch.box.height} px at ({patch.box.left}, {patch.box.top}); "
        f"ROI {width} × {height} px at ({x}, {y}); {rules.patches} patches of {rules.min_size}–{rules.max_size} px, "
        f"round {rules.round}; seed {provenance.seed}; label-studio-negatives {provenance.version}"
    )
    return {
        **_region(patch.id, "rectangle", proposal, labeling),
        "from_name": PATCH,
        "value": {
            **_percents(patch.box.as_xywh(), proposal),
            "rotation": 0,
            "rectanglelabels": [PATCH_LABEL],
        },
        "meta": {
            "text": [text],
            "negatives": {
                "roi": list(provenance.roi.as_xywh()),
                "rules": asdict(rules),
                "rules_from": dict(provenance.rules_from),
                "seed": provenance.seed,
                "version": provenance.version,
                **({"image": provenance.image} if provenance.image else {}),
            },
        },
    }


def _region(region_id: str, kind: str, proposal: Proposal, labeling: Labeling) -> dict[str, Any]:
    return {
        "id": region_id,
        "to_name": labeling.image,
        "type": f"{kind}labels",
        "original_width": proposal.width,
        "original_height": proposal.height,
        "image_rotation": 0,
    }


def _percents(xywh: tuple[float, float, float, float], proposal: Proposal) -> dict[str, float]:
    x, y, width, height = xywh
    return {
        "x": x * 100 / proposal.width,
        "y": y * 100 / proposal.height,
        "width": width * 100 / proposal.width,
        "height": height * 100 / proposal.height,
    }


# ---------------------------------------------------------------- small things


def _mapping(item: Any, what: str) -> Json:
    if not isinstance(item, Mapping):
        raise TypeError(f"{what} is a {type(item).__name__}")
    return item


def _moment(value: Any) -> datetime:
    moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    return moment


def _project_id(value: Any) -> int:
    return int(value["id"] if isinstance(value, Mapping) else value)


def _user_id(value: Any) -> int | None:
    if isinstance(value, Mapping):
        value = value.get("id")
    return None if value is None else int(value)
