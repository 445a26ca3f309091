"""Working out the proposal that should stand for a task. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

from service import __version__
from service.domain.geometry import Box
from service.domain.model import (
    Memory,
    Patch,
    Proposal,
    Provenance,
    Roi,
    RoiOutcome,
    Rules,
    Task,
    patch_id,
)
from service.domain.rules import resolve_rules
from service.errors import InvalidRules
from service.raster import holds, touched
from service.sampling import sample


def work_out_proposal(task: Task, labeling_defaults: Mapping[str, float], settings: Rules) -> Proposal:
    """The patches that should be on offer for this task now.

    Standing patches of the ROI's round that are still valid stay, each in the ROI that it was drawn for; only what is
    missing is drawn, clear of those and of every patch that somebody accepted or rejected. A patch whose ROI was
    changed may stay in any that holds it. A task without ROIs gets an empty proposal.
    """
    width, height = task.size or (1, 1)
    orders: list[_Order] = []
    kept: set[str] = set()
    for roi in task.rois:
        order = _order(task, roi, labeling_defaults, settings, claimed=kept)
        kept |= {patch.id for patch in order.kept}
        orders.append(order)
    memory = _memory(task)
    given = [patch.box for review in task.reviews for patch in review.held]
    given += memory.rejected.values()
    given += [patch.box for order in orders for patch in order.kept]
    outcomes = []
    for order in orders:
        outcome = _fill(order, task, tuple(given))
        given += [patch.box for patch in outcome.patches if patch.id not in kept]
        outcomes.append(outcome)
    if not outcomes and (memory.shown or memory.rejected):
        outcomes = [RoiOutcome(roi, is_gone=True) for standing in task.standing for roi in standing.rois[:1]][:1]
    return Proposal(task.id, width, height, tuple(outcomes), not task.exclusions, memory)


def _memory(task: Task) -> Memory:
    """What the proposal has to remember of the reviews until now, should it be changed: no later look could tell.

    Rejected places stay known for all rounds, so that none brings them again.
    """
    taken_out = {
        region_id for review in task.reviews for region_id in review.shown - {patch.id for patch in review.held}
    }
    boxes: dict[str, Box] = {}
    for standing in task.standing:
        boxes |= standing.memory.rejected
        boxes |= {patch.id: patch.box for patch in standing.patches}
    return Memory(
        shown={review.annotation_id: review.shown for review in task.reviews if review.inferred},
        rejected={region_id: box for region_id, box in boxes.items() if region_id in taken_out},
        before=frozenset(patch.id for standing in task.standing for patch in standing.patches),
    )


@dataclass(frozen=True, slots=True)
class _Order:
    """What one ROI asks for, and which standing patches already answer it."""

    roi: Roi
    rules: Rules | None = None
    sources: Mapping[str, str] | None = None
    kept: tuple[Patch, ...] = ()
    refusal: str | None = None


def _order(task: Task, roi: Roi, labeling_defaults: Mapping[str, float], settings: Rules, claimed: set[str]) -> _Order:
    if task.refusal is not None:
        return _Order(roi, refusal=task.refusal)
    try:
        rules, sources = resolve_rules(roi.fields, labeling_defaults, settings)
    except InvalidRules as error:
        return _Order(roi, refusal=f"{error}; change {_where(roi)} and submit again")
    elsewhere = {other.box for other in task.rois} - {roi.box}
    valid = {
        patch.id: (patch, patch.provenance.roi == roi.box)
        for standing in task.standing
        for patch in standing.patches
        if patch.id not in claimed
        and patch.provenance is not None
        and patch.provenance.image in ("", task.image_digest)
        and patch.provenance.roi not in elsewhere
        and patch.provenance.rules.round == rules.round
        and rules.permits(patch.box)
        and holds(roi.outline, patch.box)
        and not touched(task.scene, patch.box, rules.margin)
    }
    # What was drawn for this very ROI goes before what an ROI that has changed or is gone left behind; what crowds
    # another, since the limit was lowered, goes.
    chosen: dict[str, Box] = {}
    for region_id in sorted(valid, key=lambda region_id: not valid[region_id][1]):
        box = valid[region_id][0].box
        if len(chosen) < rules.patches and not any(rules.crowds(box, other) for other in chosen.values()):
            chosen[region_id] = box
    return _Order(roi, rules, sources, tuple(patch for region_id, (patch, _) in valid.items() if region_id in chosen))


def _where(roi: Roi) -> str:
    """What a person has to change when the rules are wrong: nothing in an ROI that says nothing itself."""
    return "the ROI's field" if roi.fields else "the field's default in the project's labeling configuration"


def _fill(order: _Order, task: Task, given: tuple[Box, ...]) -> RoiOutcome:
    rules, roi, kept = order.rules, order.roi, order.kept
    if rules is None:
        return RoiOutcome(roi, refusal=order.refusal)
    if len(kept) == rules.patches:
        return RoiOutcome(roi, kept)
    boxes = tuple(patch.box for patch in kept)
    seed = seed_of(task, roi, rules)
    provenance = Provenance(roi.box, rules, dict(order.sources or {}), seed, __version__, task.image_digest)
    others = tuple(box for box in given if box not in boxes)
    drawn = sample(task.scene, roi, rules, seed, kept=boxes, others=others)
    patches = kept + tuple(Patch(patch_id(task.id, box), box, provenance) for box in drawn.boxes)
    return RoiOutcome(roi, patches, drawn.shortfall)


def seed_of(task: Task, roi: Roi, rules: Rules) -> int:
    """The seed is what the draw is about: project, task, ROI, rules and round. Same inputs, same patches."""
    text = f"{task.project_id}:{task.id}:{roi.outline.rounded}:{rules}"
    return int.from_bytes(sha256(text.encode()).digest()[:6], "big")
