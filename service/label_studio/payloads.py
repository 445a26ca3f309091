"""Label Studio's JSON ⇄ our values. Pure: past this module no dictionary of Label Studio's travels.

Regions: https://labelstud.io/guide/task_format — `value` holds percents of `original_width` and `original_height` of
the upright image; rotation is in degrees clockwise about the top-left corner.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import datetime
from math import atan2, cos, degrees, hypot, radians, sin
from typing import Any

from service.domain.geometry import Box, Outline, inward, outward
from service.domain.model import (
    MODEL_VERSION,
    ROI_PREFIX,
    RULE_FIELDS,
    Memory,
    Patch,
    Proposal,
    Provenance,
    Review,
    Roi,
    RoiOutcome,
    Rules,
    StandingPrediction,
    Task,
    patch_id,
    roi_echo_id,
)
from service.errors import NegativesError, PayloadError
from service.label_studio.brush import bitmask_bounds, brush_bounds
from service.label_studio.labeling import PATCH, PATCH_LABEL, ROI, ROI_LABEL, Labeling

Json = Mapping[str, Any]
Offers = Sequence[tuple[StandingPrediction, datetime]]
"""Our predictions of a task, and when each was changed last."""

# What reading JSON of another shape, or numbers beyond all bounds, raises.
UNREADABLE = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError)

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
        self.exclusions: list[Box] = []
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
            if name == ROI:
                if region_id.startswith(ROI_PREFIX):
                    shown = (shown or set()) | set(_meta(result).get("shown", ()))
                    self.fields.setdefault(region_id, {}).update(fields.get(region_id, {}))
                else:
                    rois.append(Roi(region_id, _outline(result, size), fields.get(region_id, {})))
            elif name == PATCH:
                box = _patch_box(result, size)
                held.append(Patch(region_id or patch_id(self.task_id, box), box, _provenance(result)))
            elif (exclusion := _extent(result, size)) is not None:
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
        rois.append(Roi(region_id, _outline(result, size)))
        meta = _meta(result)
        if meta.get("explanation"):
            explanations.append(str(meta["explanation"]))
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
                {
                    key: round(value, 6) if isinstance(value, float | int) else value
                    for key, value in (item.get("value") or {}).items()
                },
                {"text": (item.get("meta") or {}).get("text"), **_meta(item), "memory": None},
            ]
            for item in results
        ],
        sort_keys=True,
    )


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


def _outline(result: Json, size: tuple[int, int]) -> Outline:
    value, (width, height) = result["value"], size
    return Outline.rectangle(
        value["x"] * width / 100,
        value["y"] * height / 100,
        value["width"] * width / 100,
        value["height"] * height / 100,
        value.get("rotation") or 0.0,
    )


def _patch_box(result: Json, size: tuple[int, int]) -> Box:
    """The whole pixels of a patch: rounded inward where a person moved it, so nothing comes in that they left out."""
    outline = _outline(result, size)
    if (result["value"].get("rotation") or 0) % 360:
        return outline.bounds  # pixels can't be cut out askew; the larger box is what gets checked
    (left, top), _, (right, bottom), _ = outline.points
    return inward(left, top, right, bottom)


def _extent(result: Json, size: tuple[int, int]) -> Box | None:
    """The box of whole pixels around a labelled region of any type; None for one that covers nothing.

    Raises `PayloadError` when it has an extent that we can't know: then no patch could be proved free of it.
    """
    value, (width, height) = result.get("value") or {}, size
    rotation = value.get("rotation") or 0.0
    if "rle" in value or "imageDataURL" in value:
        in_runs = "rle" in value
        return brush_bounds(value["rle"], *size) if in_runs else bitmask_bounds(value["imageDataURL"], *size)
    if "radiusX" in value:
        return _ellipse_bounds(value, rotation, width, height)
    points = value.get("points") or value.get("vertices")
    if points:
        xs, ys = zip(*(position for point in points for position in _positions(point)), strict=True)
        return outward(min(xs) * width / 100, min(ys) * height / 100, max(xs) * width / 100, max(ys) * height / 100)
    if str(result.get("type", "")).startswith("keypoint"):
        # A keypoint's width is its diameter in percent of the image's width.
        x, y, radius = value["x"] * width / 100, value["y"] * height / 100, value["width"] * width / 200
        return outward(x - radius, y - radius, x + radius, y + radius)
    if {"x", "y", "width", "height"} <= value.keys():
        if not (value["width"] > 0 and value["height"] > 0):
            x, y = value["x"] * width / 100, value["y"] * height / 100  # a line or a point still marks pixels
            return outward(x, y, x + value["width"] * width / 100, y + value["height"] * height / 100)
        return _outline(result, size).bounds
    raise PayloadError(
        f"region {result.get('id')} is of the type {result.get('type')!r}, whose extent is unknown here, "
        "so nothing can be proved free of it"
    )


def _positions(point: Any) -> Iterator[tuple[float, float]]:
    """The point, and the control points of a Bézier vertex: the curve never leaves the hull of all of them."""
    if not isinstance(point, Mapping):
        yield point[0], point[1]
        return
    for position in (point, point.get("controlPoint1"), point.get("controlPoint2")):
        if position:
            yield position["x"], position["y"]


def _ellipse_bounds(value: Json, rotation: float, width: int, height: int) -> Box:
    x, y = value["x"] * width / 100, value["y"] * height / 100
    a, b = value["radiusX"] * width / 100, value["radiusY"] * height / 100
    c, s = cos(radians(rotation)), sin(radians(rotation))
    half_width, half_height = hypot(a * c, b * s), hypot(a * s, b * c)
    return outward(x - half_width, y - half_height, x + half_width, y + half_height)


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
    (x, y), (x2, y2), *_, (x4, y4) = outcome.roi.outline.points
    width, height = hypot(x2 - x, y2 - y), hypot(x4 - x, y4 - y)
    explanation = outcome.explanation
    text = explanation or f"{len(outcome.patches)} of {len(outcome.patches)} patches placed."
    if proposal.is_unlabelled:
        text += " No object is labelled in this picture: label them first, or be sure that there is none."
    if outcome.is_gone:
        text = "This ROI was deleted; what was said of its patches still counts."
    return {
        **_region(roi_echo_id(proposal.task_id, outcome.roi), ROI, proposal, labeling),
        "value": {
            **_percents((x, y, width, height), proposal),
            "rotation": degrees(atan2(y2 - y, x2 - x)),
            "rectanglelabels": [ROI_LABEL],
        },
        "meta": {
            "text": [text],
            "negatives": {
                "shown": [patch.id for patch in proposal.patches],
                "explanation": explanation,
            },
        },
    }


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
        **_region(patch.id, PATCH, proposal, labeling),
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


def _region(region_id: str, control: str, proposal: Proposal, labeling: Labeling) -> dict[str, Any]:
    return {
        "id": region_id,
        "from_name": control,
        "to_name": labeling.image,
        "type": "rectanglelabels",
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
