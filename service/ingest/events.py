"""A webhook's JSON → the work that it asks for. Pure.

https://labelstud.io/guide/webhook_reference — an event is a hint: it names tasks that may have changed, and the
worker reads the truth. Whether a person drew an ROI, labelled an object or gave a verdict makes no difference here.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from service.domain.work import ONE_BY_ONE, ReconcileWork, Work, work_for_changes, work_for_tasks
from service.errors import PayloadError
from service.label_studio.labeling import PATCH, ROI_LIVE, ROI_SHAPES
from service.label_studio.queue_project import SOURCE_TASK

TASKS_TOLD = frozenset(("ANNOTATION_CREATED", "ANNOTATIONS_CREATED", "ANNOTATION_UPDATED", "TASKS_CREATED"))
"""Events that name the tasks that changed."""

PROJECT_TOLD = frozenset(("ANNOTATIONS_DELETED", "PROJECT_UPDATED"))
"""Events that name a project only: what changed in it has to be looked up."""

OF_NO_INTEREST = frozenset(
    (
        "PROJECT_CREATED",
        "PROJECT_DELETED",
        "LABEL_LINK_CREATED",
        "LABEL_LINK_UPDATED",
        "LABEL_LINK_DELETED",
    )
)
"""Events that can't change what should be proposed."""

DELETED = "TASKS_DELETED"
"""The event that names tasks that are gone: review queues need not show them any more."""

SUBSCRIBED = tuple(sorted(TASKS_TOLD | PROJECT_TOLD | {DELETED}))
"""What `negatives setup` asks Label Studio to send."""


@dataclass(frozen=True, slots=True)
class Event:
    """One delivery: its action, the work that it asks for, and, when it asks for none, why not."""

    action: str
    work: tuple[Work, ...] = ()
    ignored: str | None = None


def read_event(payload: object, source: int | None = None) -> Event:
    """Read one delivery; from a review queue, `source` is the project whose patches are reviewed there.

    Raises `PayloadError` for what Label Studio would not send; unknown actions are named, not refused.
    """
    if not isinstance(payload, Mapping) or not isinstance(payload.get("action"), str):
        raise PayloadError("this is no webhook of Label Studio's: a JSON object with an action was expected")
    action: str = payload["action"]
    if action not in SUBSCRIBED:
        of_no_interest = "it can't change a proposal" if action in OF_NO_INTEREST else "this version doesn't know it"
        return Event(action, ignored=of_no_interest)
    if "project" not in payload:
        return Event(action, (ReconcileWork(source),))  # sent without its payload
    try:
        project_id = source or int(payload["project"]["id"])
        if action in PROJECT_TOLD:
            return Event(action, (ReconcileWork(project_id),))
        if why := _of_no_interest(action, payload, source):
            return Event(action, ignored=why)
        if action == DELETED:
            gone = [int(task["id"]) for task in _tasks(action, payload)]
            return Event(action, tuple(work_for_tasks(project_id, gone, "deleted")))
        changes = [
            (int(task["id"] if source is None else task["data"][SOURCE_TASK]), _moment(task["updated_at"]))
            for task in _tasks(action, payload)
            if source is None or SOURCE_TASK in task["data"]  # others may put tasks into a queue, too
        ]
    except KeyError as error:
        raise PayloadError(f"a webhook with the action {action} lacks what it should hold: {error}") from error
    except (TypeError, ValueError, OverflowError) as error:
        raise PayloadError(f"a webhook with the action {action} holds an id or a time that can't be read") from error
    latest: dict[int, datetime] = {}
    for task_id, at in changes:
        latest[task_id] = max(at, latest.get(task_id, at))
    urgent = len(latest) <= ONE_BY_ONE  # nobody waits for the patches of an import
    return Event(action, tuple(work_for_changes(project_id, sorted(latest.items()), urgent=urgent)))


AWAITED = (*ROI_SHAPES.values(), ROI_LIVE, PATCH)
"""Controls whose regions somebody waits for an answer to."""


def _of_no_interest(action: str, payload: Mapping[str, Any], source: int | None) -> str | None:
    """Why an event that names tasks asks for nothing; None when it does."""
    if source is not None:
        return "nobody has said anything there" if action in ("TASKS_CREATED", DELETED) else None
    if action != DELETED and _ordinary(payload):
        return "it holds no ROI and no patch, and nothing is on offer: the next look sees it"
    return None


def _ordinary(payload: Mapping[str, Any]) -> bool:
    """Whether this is a team's everyday labelling, which nobody waits for: the next look reads it with many others.

    Whatever is not certain counts as of interest.
    """
    annotation, task = payload.get("annotation"), payload.get("task")
    if not isinstance(annotation, Mapping) or not isinstance(task, Mapping) or task.get("total_predictions") != 0:
        return False
    result = annotation.get("result")
    return isinstance(result, list) and not any(
        not isinstance(region, Mapping) or region.get("from_name") in AWAITED for region in result
    )


def _tasks(action: str, payload: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    found = payload["tasks"] if action in ("TASKS_CREATED", DELETED) else payload["task"]
    return found if isinstance(found, list) else [found]


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    return moment.astimezone(UTC)
