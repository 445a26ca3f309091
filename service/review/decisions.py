"""From what people submitted to one decision per patch. Pure.

A reviewer accepts what their annotation holds and rejects what they were shown and took out, or kept with a reason
against it; of what they were not shown they say nothing, and kept as unsure it is neither. Verdicts are matched by
region id alone. Each person's latest word on a patch counts, and how they add up is the `Agreement`. An accepted patch
is proved again where the reviewers left it.
"""

from collections.abc import Sequence

from service.domain.geometry import Box
from service.domain.model import Agreement, Decision, Patch, Review, State, Task, Verdict, Vote, patch_id
from service.raster import holds, touched


def decide(task: Task, agreement: Agreement, margin: int = 0) -> tuple[Decision, ...]:
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
    return tuple(_decision(task, patch, agreement, margin) for patch in known.values())


def _decision(task: Task, patch: Patch, agreement: Agreement, margin: int) -> Decision:
    latest: dict[object, tuple[Vote, Patch]] = {}
    own_work = None if agreement.drawing_counts else _drawn_by(task, patch)
    for review in sorted(task.reviews, key=lambda review: (review.at, review.annotation_id)):
        if (verdict := _verdict(review, patch.id)) is not None:
            person = ("annotation", review.annotation_id) if review.reviewer is None else review.reviewer
            left = next((held for held in review.held if held.id == patch.id), patch)
            is_own_work = verdict is Verdict.ACCEPTED and review.reviewer is not None and review.reviewer == own_work
            vote = Vote(
                review.reviewer,
                verdict,
                review.at,
                review.annotation_id,
                left.box,
                review.reasons.get(patch.id, ""),
                not is_own_work,
            )
            latest.pop(person, None)  # the oldest word comes first
            latest[person] = (vote, left)
    votes = tuple(vote for vote, _ in latest.values())
    approved = [(vote, left) for vote, left in latest.values() if vote.verdict is Verdict.ACCEPTED and vote.counts]
    last = approved[-1][1] if approved else patch
    # Whoever accepted it elsewhere approved other pixels.
    here = sum(left.box == last.box for _, left in approved)
    state, note = _counted(here, len(approved), votes, agreement)
    accepted = Patch(last.id, last.box, last.provenance or patch.provenance)
    if state is State.PENDING:
        return Decision(accepted, state, votes, note)  # whoever is asked next sees it where it was moved to
    if state is not State.ACCEPTED:
        return Decision(patch, state, votes, note)
    if problem := _no_longer_proved(task, accepted, margin):
        return Decision(accepted, State.STALE, votes, problem)
    return Decision(accepted, State.ACCEPTED, votes)


def _counted(here: int, anywhere: int, votes: Sequence[Vote], agreement: Agreement) -> tuple[State, str | None]:
    """What the votes come to, and what is missing where they come to no end; so many approve of it `here`, where it
    lies now, and `anywhere`.
    """
    against = sum(vote.verdict is Verdict.REJECTED for vote in votes)
    unsure = sum(vote.verdict is Verdict.UNSURE for vote in votes)
    enough = agreement.min_approvals
    if agreement.majority:
        is_rejected = against >= enough and against > anywhere
        is_accepted = here >= enough and here > against + unsure
    else:
        is_rejected = against > 0
        is_accepted = here >= enough and not unsure
    if is_rejected:
        return State.REJECTED, None
    if is_accepted:
        return State.ACCEPTED, None
    if unsure:
        return State.UNSURE, None
    return State.PENDING, _missing(here, anywhere, against, enough) if votes else None


def _missing(here: int, anywhere: int, against: int, enough: int) -> str:
    """What a patch that somebody has judged still waits for."""
    if against:
        return f"{here} accepted, {against} rejected: another person's verdict is needed"
    if not anywhere:
        return f"0 of {enough} approvals: who drew it doesn't count"
    return f"{here} of {enough} approvals" + ("; it was moved since others accepted it" if here < anywhere else "")


def _drawn_by(task: Task, patch: Patch) -> int | None:
    """Who drew the ROI that the patch was placed in, or the patch itself; None when not known."""
    if patch.provenance is None and not any(patch in standing.patches for standing in task.standing):
        answered = [roi.drawn_by for roi in task.rois if roi.answer and patch.id in roi.answer.placed]
        drawing = [review for review in task.reviews if not review.verdicts_only]
        holding = [review for review in drawing if any(held.id == patch.id for held in review.held)]
        first = min(holding, key=lambda review: review.annotation_id, default=None)
        return answered[0] if answered else first.reviewer if first else None
    origin = patch.provenance and patch.provenance.roi
    same = [roi for roi in task.rois if roi.box == origin]
    return next((roi.drawn_by for roi in same or task.rois if same or holds(roi.outline, patch.box)), None)


def _verdict(review: Review, region_id: str) -> Verdict | None:
    if any(patch.id == region_id for patch in review.held):
        if region_id in review.unsure:
            return Verdict.UNSURE
        return Verdict.REJECTED if region_id in review.reasons else Verdict.ACCEPTED
    return Verdict.REJECTED if region_id in review.shown else None


def _no_longer_proved(task: Task, patch: Patch, margin: int) -> str | None:
    if task.refusal is not None or task.size is None:
        return task.refusal or "no annotation of its task is left, so the size of the image isn't known"
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
