"""Review by people: queues are filled, and what people say on our pages and by command is written as annotations of
their own.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Protocol

from service import __version__
from service.domain.geometry import Box
from service.domain.model import (
    Agreement,
    Patch,
    Provenance,
    Queue,
    QueueLayout,
    QueueTask,
    Rules,
    State,
    Task,
    Verdict,
    Word,
    patch_id,
    sight,
)
from service.errors import ImageError, LabelStudioUnavailable, NegativesError, SetupError
from service.export.plan import Note
from service.label_studio.labeling import REASONS, REJECTED, UNSURE, Labeling
from service.label_studio.payloads import Said, write_verdicts
from service.label_studio.queue_project import Shown
from service.pictures import draw_cut, jpeg, plan_cut
from service.review import decide
from service.review.queue import plan_queue
from service.workflow import Images, TaskReader, connected

log = logging.getLogger(__name__)

CUT_SIDE = 900
"""Pixels: the longer side of a single patch's picture with what is around it."""


class QueuedStudio(Protocol):
    """What filling review queues asks of Label Studio."""

    def queues(self, source: int) -> Sequence[Queue]:
        """The review queues of a project."""

    def queued(self, queue: Queue, task_ids: Sequence[int]) -> Sequence[QueueTask]:
        """The queue's tasks for these source tasks."""

    def enqueue(self, queue: Queue, wanted: Sequence[Shown]) -> None:
        """Add tasks to a queue."""

    def show(self, task: QueueTask, source: Task, patches: Sequence[Patch]) -> bool:
        """Have a task show these patches, in place; whether that was a change."""

    def take_out_of_stream(self, task_id: int) -> None:
        """Give a task to nobody any more; whoever has it open can submit all the same."""

    def delete_tasks(self, project_id: int, task_ids: Sequence[int]) -> None:
        """Delete tasks."""


@dataclass(frozen=True, slots=True)
class Filled:
    """What filling the queues did to their tasks."""

    added: int = 0
    changed: int = 0
    retired: int = 0
    dropped: int = 0


def fill_queues(
    project_id: int,
    task_ids: Sequence[int],
    tasks: Sequence[Task],
    *,
    studio: QueuedStudio,
    images: Images,
    agreement: Agreement,
    at: datetime,
) -> Filled:
    """Make the project's review queues hold what of these tasks waits for a verdict: of `task_ids`, `tasks` are those
    that are still there.

    An image that can't be used is logged and left out; the others are queued. Run twice, it ends in the same state.
    Raises `LabelStudioUnavailable` at the end where trying again can help.
    """
    filled = Filled()
    unavailable: LabelStudioUnavailable | None = None
    gone = sorted(set(task_ids) - {task.id for task in tasks})
    for queue in studio.queues(project_id):
        new: list[Shown] = []
        changed = 0
        orphans = studio.queued(queue, gone) if gone else ()
        changes = [plan_queue((), orphans, queue.layout, agreement.overlap, at)]
        for task in tasks:
            there = [one for one in task.queued if one.queue == queue]
            decisions = decide(task, agreement) if task.size else ()
            changes.append(plan_queue(decisions, there, queue.layout, agreement.overlap, at, task.image_digest))
            try:
                shown = _shown(task, changes[-1].add, queue.layout, images)
            except LabelStudioUnavailable as error:
                shown, unavailable = [], error
            new += shown
            if shown and queue.layout is QueueLayout.PATCH:  # pictures weigh more than a task: image by image
                studio.enqueue(queue, shown)
            changed += sum(studio.show(one, task, patches) for one, patches in changes[-1].show)
        retire = [task_id for change in changes for task_id in change.retire]
        for task_id in retire:
            studio.take_out_of_stream(task_id)
        drop = [task_id for change in changes for task_id in change.drop]
        if new and queue.layout is QueueLayout.PROPOSAL:
            studio.enqueue(queue, new)
        if drop:
            studio.delete_tasks(queue.project_id, drop)
        if new or retire or drop:
            told = project_id, queue.project_id, len(new), len(retire), len(drop)
            log.info("project %d: its review queue %d: %d tasks added, %d taken out, %d deleted", *told)
        filled = Filled(
            filled.added + len(new), filled.changed + changed, filled.retired + len(retire), filled.dropped + len(drop)
        )
    if unavailable is not None:
        raise unavailable  # all the others are queued; this one is tried again
    return filled


def _shown(task: Task, add: Sequence[Sequence[Patch]], layout: QueueLayout, images: Images) -> list[Shown]:
    """What a queue's new tasks show; none for an image that can't be had, which is told in the log."""
    if layout is QueueLayout.PROPOSAL or not add:
        return [Shown(task, patches) for patches in add]
    try:
        with images.open(task) as image:
            cuts = [plan_cut(patch.box, image.size, CUT_SIDE) for (patch,) in add]
            return [Shown(task, patches, jpeg(draw_cut(image, cut))) for patches, cut in zip(add, cuts, strict=True)]
    except ImageError as error:
        log.warning("not queued: %s", error)
        return []


WRITERS = 4
"""Annotations that are written at a time; with more, Label Studio on SQLite gets slower."""


class Reviewer(Protocol):
    """Label Studio, signed in as the person whose verdicts are written."""

    def write_review(self, task_id: int, result: Sequence[Mapping[str, Any]]) -> None:
        """Add an annotation of theirs to a task."""


@dataclass(frozen=True, slots=True)
class Given:
    """What became of verdicts: how many are in Label Studio now, and for which tasks that failed, and why."""

    written: int = 0
    failures: tuple[Note, ...] = ()


def give_verdicts(
    project_id: int,
    words: Mapping[int, Mapping[str, Word]],
    *,
    person: int,
    studio: TaskReader,
    reviewer: Reviewer,
    agreement: Agreement,
    progress: Callable[[int], None] = lambda _: None,
) -> Given:
    """Write what a person says of patches: by task id, then by patch id.

    `person` is Label Studio's id of the one who is signed in as `reviewer`, `agreement` is the one under which they saw
    where the patches lie. What they say of a task becomes one more annotation of theirs, which speaks of these patches
    only: nothing that is there is written over. Where what they saw has changed since, nothing is written for that
    task. What fails is told, task by task, and the others are written. `progress` is told how many verdicts are done.
    Raises `SetupError` for a project that isn't connected, or lacks a verdict.
    """
    labeling = connected(project_id, studio)
    if missing := {REJECTED, UNSURE, *REASONS} - labeling.verdicts:
        # Label Studio's editor drops a choice that it doesn't know, and an accepted patch would be left.
        raise SetupError(
            f"project {project_id} lacks the verdicts {', '.join(sorted(missing))}: run negatives setup --project "
            f"{project_id}"
        )
    found = {task.id: task for task in studio.tasks(project_id, labeling, list(words))}

    def write(task: Task) -> int:
        return _write(task, words[task.id], person, labeling, reviewer, agreement)

    return _each(words, found, write, progress)


def empty_images(
    project_id: int,
    task_ids: Sequence[int],
    *,
    person: int,
    studio: TaskReader,
    images: Images,
    reviewer: Reviewer,
    agreement: Agreement,
    progress: Callable[[int], None] = lambda _: None,
) -> Given:
    """Say that there is nothing in these whole images: each becomes one patch, accepted by the person.

    An image with a labelled object, or in which a patch was rejected, is told of, and left alone. Otherwise like
    `give_verdicts`.
    """
    labeling = connected(project_id, studio)
    found = {task.id: task for task in studio.tasks(project_id, labeling, list(task_ids))}

    def write(task: Task) -> int:
        if task.refusal is not None:
            raise NegativesError(task.refusal)
        if task.exclusions:
            raise NegativesError(f"{len(task.exclusions)} objects are labelled in it")
        if any(one.state in (State.REJECTED, State.UNSURE) for one in decide(task, agreement)):
            raise NegativesError("a patch of it was rejected, or somebody is unsure: it isn't empty for everybody")
        if task.size is None:
            with images.open(task) as image:
                task = replace(task, size=image.size)
        whole = whole_image(task)
        return _write(task, {whole.id: Word(Verdict.ACCEPTED)}, person, labeling, reviewer, agreement, (whole,))

    return _each(task_ids, found, write, progress)


def whole_image(task: Task) -> Patch:
    """The patch that is the task's whole image. Raises `ValueError` when its size isn't known."""
    if task.size is None:
        raise ValueError(f"the size of task {task.id} is not known")
    frame = Box(0, 0, *task.size)
    rules = Rules(patches=1, min_size=min(task.size), max_size=max(task.size))
    return Patch(patch_id(task.id, frame), frame, Provenance(frame, rules, {}, 0, __version__, task.image_digest))


def _each(
    task_ids: Iterable[int], found: Mapping[int, Task], write: Callable[[Task], int], progress: Callable[[int], None]
) -> Given:
    """A few at a time; what fails doesn't keep the others from it."""
    written, failures = 0, []

    def tried(task_id: int) -> int | Note:
        if task_id not in found:
            return Note(task_id, "it isn't in the project any more")
        try:
            return write(found[task_id])
        except NegativesError as error:
            return Note(task_id, str(error))

    with ThreadPoolExecutor(WRITERS) as pool:
        for outcome in pool.map(tried, dict.fromkeys(task_ids)):
            if isinstance(outcome, Note):
                failures.append(outcome)
                continue
            written += outcome
            progress(written)
    return Given(written, tuple(failures))


def _write(
    task: Task,
    words: Mapping[str, Word],
    person: int,
    labeling: Labeling,
    reviewer: Reviewer,
    agreement: Agreement,
    more: Sequence[Patch] = (),
) -> int:
    """One more annotation of one task. Each person's latest word on a patch counts, so it says only what is new."""
    decisions = {one.patch.id: one for one in decide(task, agreement)}
    patches = {patch.id: patch for patch in more} | {region_id: one.patch for region_id, one in decisions.items()}
    if unknown := words.keys() - patches.keys():
        raise NegativesError(f"it has no patch {', '.join(sorted(unknown))} any more: look at the page again")
    if task.size is None:  # patches without a size can't be
        raise NegativesError("its size is not known")
    for region_id, word in words.items():
        vote = decisions[region_id].vote_of(person) if region_id in decisions else None
        if word.seen and word.seen != sight(task.id, task.image_digest, patches[region_id].box, vote):
            raise NegativesError("it has changed since you looked, or you judged it elsewhere: load the page anew")
    said = [Said(patches[region_id], word.verdict, word.reason) for region_id, word in words.items()]
    reviewer.write_review(task.id, write_verdicts(said, task.size, labeling))
    return len(words)
