"""Working out the proposal that should stand for a task. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256

from service import __version__
from service.domain.geometry import Box
from service.domain.model import (
    Memory,
    Patch,
    Proposal,
    Provenance,
    Review,
    Roi,
    RoiOutcome,
    Rules,
    Task,
    patch_id,
)
from service.domain.rules import resolve_rules
from service.errors import InvalidRules
from service.raster import holds, touched
from service.sampling import sample_on_grid


def work_out_proposal(task: Task, labeling_defaults: Mapping[str, float], settings: Rules) -> Proposal:
    """The patches that should be on offer for this task now.

    Standing patches of the ROI's round that are still valid stay, each in the ROI that it was drawn for; only what is
    missing is drawn, clear of those and of every patch that somebody accepted or rejected. A patch whose ROI was
    changed may stay in any that holds it. What an ROI was answered at once, while it was drawn, is not offered again.
    A task without ROIs gets an empty proposal.
    """
    width, height = task.size or (1, 1)
    orders: list[_Order] = []
    kept: set[str] = set()
    for roi in task.rois:
        order = _order(task, roi, labeling_defaults, settings, claimed=kept)
        kept |= {patch.id for patch in order.kept}
        orders.append(order)
    memory = _memory(task)
    given = _given(task, memory) + [patch.box for order in orders for patch in order.kept]
    outcomes = [outcome for outcome in _filled(orders, task, given) if outcome.patches or outcome.explanation]
    if not outcomes and (memory.shown or memory.rejected):
        outcomes = [RoiOutcome(roi, is_gone=True) for standing in task.standing for roi in standing.rois[:1]][:1]
    return Proposal(task.id, width, height, tuple(outcomes), not task.exclusions, memory)


def answer_live(
    task: Task,
    pending: Sequence[Roi],
    taken: Sequence[Box],
    labeling_defaults: Mapping[str, float],
    settings: Rules,
    accepted: Sequence[Patch] = (),
) -> Proposal:
    """The patches for ROIs that somebody is drawing now, as if nothing had been proposed for these.

    They keep clear of all that is on offer, accepted or rejected in the task, and of `taken`, where patches lie in
    what the person hasn't submitted yet (boxes in pixels). Those that the person has `accepted` of these very ROIs
    count, so that only what is missing is drawn. The same stroke gets the same patches.
    """
    here = Review(0, None, task.updated_at, held=tuple(accepted), shown=frozenset())
    drawing = replace(task, rois=tuple(pending), standing=(), reviews=(here,))
    orders = [_order(drawing, roi, labeling_defaults, settings, claimed=set()) for roi in pending]
    given = [*_given(task, _memory(task)), *taken]
    given += [patch.box for standing in task.standing for patch in standing.patches]
    outcomes = tuple(_filled(orders, drawing, given))
    width, height = task.size or (1, 1)
    return Proposal(task.id, width, height, outcomes, not task.exclusions)


def _given(task: Task, memory: Memory) -> list[Box]:
    """Where patches lie that somebody accepted or rejected, or was answered at once."""
    given = [patch.box for review in task.reviews for patch in review.held]
    given += memory.rejected.values()
    given += [box for roi in task.rois if roi.answer for box in roi.answer.placed.values()]
    return given


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
    """What one ROI asks for, which standing patches already answer it, and what was delivered beside those."""

    roi: Roi
    rules: Rules | None = None
    sources: Mapping[str, str] | None = None
    kept: tuple[Patch, ...] = ()
    delivered: tuple[Box, ...] = ()
    refusal: str | None = None


def _order(task: Task, roi: Roi, labeling_defaults: Mapping[str, float], settings: Rules, claimed: set[str]) -> _Order:
    if task.refusal is not None:
        return _Order(roi, refusal=task.refusal)
    try:
        rules, sources = resolve_rules(roi.fields, labeling_defaults, settings)
    except InvalidRules as error:
        return _Order(roi, refusal=f"{error}; change {_where(roi)} and submit again")

    def is_valid(box: Box) -> bool:
        return rules.permits(box) and holds(roi.outline, box) and not touched(task.scene, box, rules.margin)

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
        and is_valid(patch.box)
    }
    # What was drawn for this very ROI goes before what an ROI that has changed or is gone left behind; what crowds
    # another, since the limit was lowered, goes.
    chosen: dict[str, Box] = {}
    for region_id in sorted(valid, key=lambda region_id: not valid[region_id][1]):
        box = valid[region_id][0].box
        if len(chosen) < rules.patches and not any(rules.crowds(box, other) for other in chosen.values()):
            chosen[region_id] = box
    return _Order(
        roi,
        rules,
        sources,
        kept=tuple(patch for region_id, (patch, _) in valid.items() if region_id in chosen),
        delivered=tuple(
            box
            for region_id, box in _delivered(task, roi, rules.round).items()
            if region_id not in chosen and is_valid(box)
        ),
    )


def _delivered(task: Task, roi: Roi, round_: int) -> dict[str, Box]:
    """What this round of the ROI was answered live, and those of its patches that somebody holds, by id."""
    of_this_picture = ("", task.image_digest)
    held = {
        patch.id: patch.box
        for review in task.reviews
        for patch in review.held
        if patch.provenance is not None
        and patch.provenance.roi == roi.box
        and patch.provenance.rules.round == round_
        and patch.provenance.image in of_this_picture
    }
    answer = roi.answer
    if answer is None or answer.round != round_ or answer.image not in of_this_picture:
        return held
    return {**held, **answer.placed}  # where it was placed, wherever somebody moved it


def _where(roi: Roi) -> str:
    """What a person has to change when the rules are wrong: nothing in an ROI that says nothing itself."""
    return "the ROI's field" if roi.fields else "the field's default in the project's labeling configuration"


def _filled(orders: Sequence[_Order], task: Task, given: Sequence[Box]) -> Iterator[RoiOutcome]:
    """The orders filled one after the other, each clear of what the ones before it got."""
    taken = [*given]
    for order in orders:
        outcome = _fill(order, task, tuple(taken))
        taken += [patch.box for patch in outcome.patches if patch not in order.kept]
        yield outcome


def _fill(order: _Order, task: Task, given: tuple[Box, ...]) -> RoiOutcome:
    rules, roi, kept = order.rules, order.roi, order.kept
    if rules is None:
        return RoiOutcome(roi, refusal=order.refusal)
    boxes = tuple(patch.box for patch in kept) + order.delivered
    if len(boxes) >= rules.patches:
        return RoiOutcome(roi, kept, rules=rules)
    seed = seed_of(task, roi, rules)
    provenance = Provenance(roi.box, rules, dict(order.sources or {}), seed, __version__, task.image_digest)
    others = tuple(box for box in given if box not in boxes)
    drawn = sample_on_grid(task.scene, roi, rules, seed, grid=task.block_grid, kept=boxes, others=others)
    patches = kept + tuple(Patch(patch_id(task.id, box), box, provenance) for box in drawn.boxes)
    return RoiOutcome(roi, patches, drawn.shortfall, rules=rules)


def seed_of(task: Task, roi: Roi, rules: Rules) -> int:
    """The seed is what the draw is about: project, task, ROI, rules and round. Same inputs, same patches."""
    text = f"{task.project_id}:{task.id}:{roi.outline.rounded}:{rules}"
    return int.from_bytes(sha256(text.encode()).digest()[:6], "big")
