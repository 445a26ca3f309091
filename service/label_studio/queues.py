"""Label Studio with its review queues: tasks come with what was said of their patches there, and queues are filled.

A queue is a project beside the source project; its webhook names the source (see `queue_project`).
"""

import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from typing import Any

from service.domain.model import MODEL_VERSION, Agreement, Patch, Queue, QueueLayout, QueueTask, Task
from service.errors import LabelStudioError, NotFound, PayloadError, SetupError
from service.label_studio.client import READ_PAGE, Change, LabelStudioClient, Project
from service.label_studio.images import source_name
from service.label_studio.labeling import ROI_SHAPES, Labeling, read_labeling
from service.label_studio.payloads import fingerprint
from service.label_studio.queue_project import (
    INSTRUCTIONS,
    SOURCE_TASK,
    Shown,
    marker,
    queue_config,
    queue_image,
    queue_of,
    queue_url,
    read_queue_task,
    write_queue_result,
    write_queue_task,
)
from service.label_studio.setup import Subscription, register_webhook
from service.label_studio.steps import Outcome, Step

log = logging.getLogger(__name__)


class ReviewedStudio(LabelStudioClient):
    """A Label Studio whose tasks come with what was said of their patches in review queues, too."""

    def queues(self, source: int) -> list[Queue]:
        """The review queues of a project; asked for each time, as a new one has to be filled at once."""
        found = (queue_of(hook.project, hook.url) for hook in self.webhooks())
        # An earlier address of the service may have left a webhook of its own.
        return list(dict.fromkeys(queue for queue in found if queue is not None and queue.source == source))

    def tasks(self, project_id: int, labeling: Labeling, task_ids: Sequence[int] | None = None) -> Iterator[Task]:
        """As without queues; each task with its tasks in the project's queues, and what was said there."""
        queues = self.queues(project_id)
        if not queues:
            yield from super().tasks(project_id, labeling, task_ids)
            return
        if task_ids is None:
            queued = self._by_source(queues, None)
            for task in super().tasks(project_id, labeling):
                yield _joined(task, queued.pop(task.id, []))
            return
        for start in range(0, len(task_ids), READ_PAGE):
            chunk = task_ids[start : start + READ_PAGE]
            queued = self._by_source(queues, chunk)
            for task in super().tasks(project_id, labeling, chunk):
                yield _joined(task, queued.get(task.id, []))

    def _by_source(self, queues: Iterable[Queue], task_ids: Sequence[int] | None) -> dict[int, list[QueueTask]]:
        found: dict[int, list[QueueTask]] = {}
        for queue in queues:
            for one in self.queued(queue, task_ids):
                found.setdefault(one.source, []).append(one)
        return found

    def queued(self, queue: Queue, task_ids: Sequence[int] | None) -> list[QueueTask]:
        """A queue's tasks for these source tasks, or (None) all of them."""
        found: list[QueueTask] = []
        for payload in self.raw_tasks(queue.project_id, f"data.{SOURCE_TASK}", task_ids):
            with suppress(PayloadError):  # no task at all
                if (one := read_queue_task(payload, queue)) is not None:
                    found.append(one)
        return found

    def queued_sources(self, source: int) -> set[int]:
        """The tasks of a project that its queues know, those that were deleted since, too."""
        everything = (self.queued(queue, None) for queue in self.queues(source))
        return {one.source for found in everything for one in found}

    def changed_since(self, project_id: int, moment: datetime | None, *, even_empty: bool = False) -> list[Change]:
        """As without queues; a task also changes when somebody reviews it in a queue."""
        changes = super().changed_since(project_id, moment, even_empty=even_empty)
        latest = {change.task_id: change for change in changes}
        for queue in self.queues(project_id):
            for change in self.reviewed_since(queue.project_id, SOURCE_TASK, moment):
                before = latest.setdefault(change.task_id, change)
                if change.updated_at > before.updated_at:
                    latest[change.task_id] = change
        return sorted(latest.values(), key=lambda change: (change.updated_at, change.task_id))

    def enqueue(self, queue: Queue, wanted: Sequence[Shown]) -> None:
        """Add tasks to a queue, in bulk."""
        if queue.layout is QueueLayout.PATCH:
            files = [(f"{one.patches[0].id}.jpg", one.picture) for one in wanted]
            images = self.upload_many(queue.project_id, files)
        else:
            images = [queue_image(one.task, self.url) for one in wanted]
        tasks = [
            write_queue_task(one, queue.layout, image, source_name(one.task.image), self.url)
            for one, image in zip(wanted, images, strict=True)
        ]
        self.import_tasks(queue.project_id, tasks)

    def show(self, task: QueueTask, source: Task, patches: Sequence[Patch]) -> bool:
        """Have a task of a queue show these patches, in place; whether that was a change."""
        result = write_queue_result(source, patches)
        if task.prediction is None or fingerprint(result) == task.content:
            return False
        with suppress(NotFound):  # somebody deleted it just now: the next filling sees that
            self.change_prediction(task.prediction, result, f"task {task.id} of the review queue")
        return True


def _joined(task: Task, queued: Sequence[QueueTask]) -> Task:
    """A source task with its tasks in queues. Where something there can't be read, nothing is proved of the task."""
    refusal = task.refusal or next(filter(None, (_problem(one, task) for one in queued)), None)
    said = tuple(replace(review, verdicts_only=True) for one in queued if _is_of(one, task) for review in one.reviews)
    size = task.size or next((one.size for one in queued if one.size is not None), None)
    return replace(task, reviews=task.reviews + said, queued=tuple(queued), refusal=refusal, size=size)


def _is_of(one: QueueTask, task: Task) -> bool:
    """Whether it shows the image that the task has now: what was said of another one says nothing of this."""
    return one.image == task.image_digest


def _problem(one: QueueTask, task: Task) -> str | None:
    if one.refusal is not None:
        return f"task {one.id} of the review queue, project {one.queue.project_id}: {one.refusal}"
    if one.is_touched and _is_of(one, task) and None not in (one.size, task.size) and one.size != task.size:
        return f"task {one.id} of the review queue shows an image of another size: was the image replaced?"
    return None


def open_queue(
    source: Project,
    layout: QueueLayout,
    *,
    studio: ReviewedStudio,
    agreement: Agreement,
    webhook: Subscription,
    tell: Callable[[Step], None],
) -> Queue:
    """Create the project's review queue, or set right what is there, telling each step; filling it is another matter.

    `webhook` is the one of the source project. Raises `SetupError` when Label Studio doesn't take it.
    """
    drawn_with = read_labeling(source.label_config).rois & {*ROI_SHAPES.values()}
    config = queue_config(source.id, layout, drawn_with)
    known = [queue.project_id for queue in studio.queues(source.id) if queue.layout is layout]
    if not known:  # somebody may have deleted its webhook
        known = [one.id for one in studio.projects() if marker(source.id, layout) in one.label_config]
    settings: dict[str, Any] = {
        "label_config": config,
        "maximum_annotations": agreement.overlap,
        "show_collab_predictions": True,
        "expert_instruction": INSTRUCTIONS[layout],
    }
    if known:
        queue = Queue(min(known), source.id, layout)
        changed = studio.settle_project(queue.project_id, settings)
        with suppress(LabelStudioError):  # it can't be set before a first task is there, and was given when created
            changed = studio.settle_project(queue.project_id, {"model_version": MODEL_VERSION}) or changed
        outcome = Outcome.CHANGED if changed else Outcome.FINE
        tell(Step(outcome, f"the review queue is project {queue.project_id}" + (": set right" if changed else "")))
    else:
        each = "" if layout is QueueLayout.PROPOSAL else ", one patch at a time"
        project_id = studio.create_project(
            {
                **settings,
                "title": f"Review: {source.title}"[: 50 - len(each)] + each,
                "description": f"Background patches of project {source.id}, {source.title!r}; filled by negatives",
                "model_version": MODEL_VERSION,  # the stream prefills from no other; later it couldn't be set
                "color": "#00a651",
            }
        )
        queue = Queue(project_id, source.id, layout)
        tell(Step(Outcome.CHANGED, f"created the review queue, project {project_id}"))
    wanted = Subscription(queue_url(webhook.url, source.id, layout), webhook.headers, webhook.actions)
    try:
        tell(register_webhook(queue.project_id, studio, wanted))
    except SetupError as error:
        raise SetupError(f"the review queue, project {queue.project_id}, hears of nothing: {error}") from error
    people = "one person" if agreement.overlap == 1 else f"{agreement.overlap} people"
    tell(Step(Outcome.FINE, f"each task is given to {people}"))
    return queue
