"""Label Studio asking, while somebody draws: what its request says. Pure.

https://labelstud.io/guide/ml_create — `POST /predict` brings the task with everybody's annotations, the drafts of the
one who draws, and in `params.context` the regions that were drawn with the smart tool and are not accepted yet.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from service.domain.geometry import Box
from service.domain.model import LIVE_PREFIX, Patch, Roi, Task
from service.errors import PayloadError
from service.label_studio.labeling import Labeling, read_labeling
from service.label_studio.payloads import (
    UNREADABLE,
    Json,
    Regions,
    disagreement,
    mapping,
    problem_of,
    read_regions,
    read_task,
    write_answer_line,
)


@dataclass(frozen=True, slots=True)
class Stroke:
    """What an annotator asks with a stroke: the task with what they haven't submitted yet among its exclusions, the
    ROIs that wait for an answer, oldest first, the patches that they hold by now, and the boxes (pixels) of all that
    they have accepted or rejected meanwhile. `unanswered` is what goes back when no ROI waits.
    """

    task: Task
    pending: tuple[Roi, ...]
    accepted: tuple[Patch, ...]
    taken: tuple[Box, ...]
    labeling: Labeling
    unanswered: Sequence[Json]


def read_stroke(payload: object) -> Stroke | None:
    """Read one request for predictions; None when nobody draws, because a task was merely opened.

    What can't be read in the task becomes its `refusal`, for the annotator to see. Raises `PayloadError` for what
    Label Studio would not send.
    """
    try:
        request = mapping(payload, "request")
        context = mapping(request.get("params") or {}, "params").get("context")
        if context is None:
            return None
        drawn = [mapping(region, "region") for region in mapping(context, "context").get("result") or ()]
        (task_payload,) = request["tasks"]
        drafts = [mapping(draft, "draft") for draft in task_payload.get("drafts") or ()]
        label_config = str(request["label_config"])
    except UNREADABLE as error:
        raise PayloadError(f"this is no request of Label Studio's for predictions: {error!r}") from error
    labeling = read_labeling(label_config)
    task = read_task(task_payload, labeling)
    found: list[Regions] = []

    def read(regions: Sequence[Json]) -> None:
        found.append(read_regions(regions, task.id, labeling))

    problem = problem_of(partial(read, drawn), "what you drew")
    pending = () if problem else tuple(roi for roi in found[0].rois if not roi.region_id.startswith(LIVE_PREFIX))
    ours = () if problem else {roi.region_id for roi in found[0].rois}
    theirs = [region for region in drawn if str(region.get("id")) not in ours and _is_plain(region)]
    refusal = task.refusal
    for draft in drafts:
        refusal = problem_of(partial(read, draft.get("result") or ()), "what you haven't submitted yet") or refusal
    sizes = {size for one in found for size in one.sizes} | ({task.size} if task.size else set())
    # A stroke that an object's label was active for is an object, too: its own shape leaves no place in it.
    exclusions = (*task.exclusions, *(shape for one in found for shape in one.exclusions))
    answered = {roi.box: roi.answer for one in found for roi in one.rois if roi.answer}
    held = {patch.id: patch for one in found for patch in one.held}
    taken = [patch.box for patch in held.values()] + [box for one in answered.values() for box in one.placed.values()]
    # What belongs to an ROI that was accepted itself doesn't count for another stroke around the same place.
    accepted = [one for one in held.values() if one.provenance is None or one.provenance.roi not in answered]
    return Stroke(
        task=replace(
            task,
            size=min(sizes, default=None),
            exclusions=tuple(dict.fromkeys(exclusions)),
            refusal=disagreement(sizes) or refusal,
        ),
        pending=pending,
        accepted=tuple(accepted),
        taken=tuple(dict.fromkeys(taken)),
        labeling=labeling,
        # Accepting an answer, Label Studio deletes what was drawn with a smart tool and isn't in it: a team's own
        # object, too.
        unanswered=[*theirs, *(write_answer_line(f"No patches: {problem}.", labeling) if problem else ())],
    )


def _is_plain(region: Json) -> bool:
    """Whether it can be written as any reader of JSON takes it: no endless numbers, no endless nesting."""
    try:
        json.dumps(region, allow_nan=False)
    except (ValueError, RecursionError):
        return False
    return True
