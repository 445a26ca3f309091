"""From what people submitted to one decision per patch. Pure.

A reviewer accepts what their annotation holds and rejects what they were shown and took out, or kept with a reason
against it; of what they were not shown they say nothing. Verdicts are matched by region id alone. Each person's latest
word on a patch counts; any rejection wins, and `min_approvals` people must have accepted. An accepted patch is proved
again where the reviewer left it.
"""

from dataclasses import replace

from service.domain.geometry import Box
from service.domain.model import Decision, Patch, Review, State, Task, Verdict, patch_id
from service.raster import holds, touched


def decide(task: Task, min_approvals: int = 1, margin: int = 0) -> tuple[Decision, ...]:
    """One decision for every patch that is on offer, was answered live or is held by somebody, in a stable order.

    `margin` is in pixels, for patches that don't say their own.
    """
    known: dict[str, Patch] = {patch.id: patch for standing in task.standing for patch in standing.patches}
    for review in task.reviews:
        for patch in review.held:
            known.setdefault(patch.id, patch)
    for roi in task.rois:
        for region_id, box in (roi.answer.placed if roi.answer else {}).items():
            known.setdefault(region_id, Patch(region_id, box))
    return tuple(_decision(task, patch, min_approvals, margin) for patch in known.values())


def _decision(task: Task, patch: Patch, min_approvals: int, margin: int) -> Decision:
    latest: dict[object, tuple[Verdict, Review]] = {}
    for review in sorted(task.reviews, key=lambda review: (review.at, review.annotation_id)):
        if (verdict := _verdict(review, patch.id)) is not None:
            person = ("annotation", review.annotation_id) if review.reviewer is None else review.reviewer
            latest[person] = (verdict, review)
    rejections = [review for verdict, review in latest.values() if verdict is Verdict.REJECTED]
    approvals = [review for verdict, review in latest.values() if verdict is Verdict.ACCEPTED]
    if rejections:
        reasons = sorted({review.reasons[patch.id] for review in rejections if patch.id in review.reasons})
        return replace(_made(patch, State.REJECTED, rejections), reasons=tuple(reasons))
    if len(approvals) < min_approvals:
        note = f"{len(approvals)} of {min_approvals} approvals" if approvals else None
        return _made(patch, State.PENDING, approvals, note)
    last = max(approvals, key=lambda review: (review.at, review.annotation_id))
    left = next(held for held in last.held if held.id == patch.id)
    provenance = left.provenance or patch.provenance
    accepted = Patch(left.id, left.box, provenance)
    if problem := _no_longer_proved(task, accepted, margin):
        return _made(accepted, State.STALE, approvals, problem)
    return _made(accepted, State.ACCEPTED, approvals)


def _verdict(review: Review, region_id: str) -> Verdict | None:
    if any(patch.id == region_id for patch in review.held):
        return Verdict.REJECTED if region_id in review.reasons else Verdict.ACCEPTED
    return Verdict.REJECTED if region_id in review.shown else None


def _no_longer_proved(task: Task, patch: Patch, margin: int) -> str | None:
    if task.refusal is not None:
        return task.refusal
    if not task.scene.frame.holds(patch.box):
        return "it leaves the image"
    provenance = patch.provenance
    if provenance is not None:
        margin = provenance.rules.margin
        if provenance.image not in ("", task.image_digest):
            return "the image was replaced since"
        if patch.id != patch_id(task.id, patch.box) and not _in_roi(task, patch.box, provenance.roi):
            return "it was moved out of its ROI"
    if touched(task.scene, patch.box, margin):
        return "a labelled object touches it"
    return None


def _in_roi(task: Task, box: Box, last_known: Box) -> bool:
    """In one of the ROIs that are there; where none is left, in the one that the patch was drawn for."""
    return any(holds(roi.outline, box) for roi in task.rois) if task.rois else last_known.holds(box)


def _made(patch: Patch, state: State, reviews: list[Review], note: str | None = None) -> Decision:
    return Decision(
        patch=patch,
        state=state,
        reviewers=tuple(sorted({review.reviewer for review in reviews if review.reviewer is not None})),
        annotations=tuple(sorted(review.annotation_id for review in reviews)),
        at=max((review.at for review in reviews), default=None),
        note=note,
    )
