"""The use cases, a paragraph each. What they need comes by keyword, named by role."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Protocol

from PIL import Image

from service.domain.model import Agreement, Proposal, Rules, StandingPrediction, Task
from service.domain.work import LOOK_BACK, ProposeWork, work_for_changes
from service.errors import LabelStudioError
from service.label_studio.labeling import Labeling
from service.label_studio.payloads import fingerprint, write_prediction
from service.proposing import work_out_proposal
from service.review.survey import ProjectStatus, survey

log = logging.getLogger(__name__)


class TaskReader(Protocol):
    """What the use cases that only look ask of Label Studio."""

    def labeling(self, project_id: int) -> Labeling:
        """What the project's labeling configuration says to us."""

    def tasks(self, project_id: int, labeling: Labeling, task_ids: Sequence[int] | None = None) -> Iterator[Task]:
        """The project's tasks, or those of them that exist."""


class Studio(TaskReader, Protocol):
    """What proposing asks of Label Studio."""

    def publish(self, project_id: int, proposals: Sequence[Proposal], labeling: Labeling) -> None:
        """Create predictions in bulk."""

    def replace(self, project_id: int, standing: StandingPrediction, proposal: Proposal, labeling: Labeling) -> None:
        """Change a standing prediction in place."""


@dataclass(frozen=True, slots=True)
class Proposed:
    """What `propose` did: tasks read, proposals created and changed, and what people should know, task by task.

    `offered` are the tasks as they stand now.
    """

    tasks: int = 0
    created: int = 0
    changed: int = 0
    patches: int = 0
    explanations: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    offered: tuple[Task, ...] = ()


def propose(project_id: int, task_ids: Sequence[int], *, studio: Studio, rules: Rules) -> Proposed:
    """Make Label Studio hold the proposals that should stand for these tasks.

    Reads the tasks, works out what should stand, publishes the difference. Run twice, out of order or after a crash,
    it ends in the same state. Raises `SetupError` for a project that isn't connected.
    """
    labeling = connected(project_id, studio)
    new: list[Proposal] = []
    changed = tasks = patches = 0
    explanations: dict[int, tuple[str, ...]] = {}
    offered: list[Task] = []
    for task in studio.tasks(project_id, labeling, task_ids):
        proposal = work_out_proposal(task, labeling.defaults, rules)
        tasks, patches = tasks + 1, patches + len(proposal.patches)
        if why := tuple(outcome.explanation.text for outcome in proposal.outcomes if outcome.explanation):
            explanations[task.id] = why
        offered.append(replace(task, standing=(StandingPrediction(0, proposal.patches, content=""),)))
        if not task.standing:
            new += [proposal] if proposal.outcomes else []
            continue
        wanted = fingerprint(write_prediction(proposal, labeling)["result"])
        for standing in task.standing:
            if standing.content != wanted:
                studio.replace(project_id, standing, proposal, labeling)
                changed += 1
    studio.publish(project_id, new, labeling)
    if new or changed:
        log.info(
            "project %d: %d proposals made, %d changed; %d patches on offer", project_id, len(new), changed, patches
        )
    return Proposed(tasks, len(new), changed, patches, explanations, tuple(offered))


def connected(project_id: int, studio: TaskReader) -> Labeling:
    """The labeling of a project that has our controls. Raises `SetupError` for one that hasn't."""
    labeling = studio.labeling(project_id)
    labeling.check(project_id)
    return labeling


class Hooked(Protocol):
    """A webhook as far as reconciling asks."""

    @property
    def project(self) -> int | None:
        """Its project; None for the whole organization's."""

    @property
    def url(self) -> str:
        """What it calls."""


class Changed(Protocol):
    """A task that changed."""

    @property
    def task_id(self) -> int:
        """Its id."""

    @property
    def updated_at(self) -> datetime:
        """When, by Label Studio's clock."""


class HookedStudio(Protocol):
    """What finding the connected projects asks of Label Studio."""

    def webhooks(self, project_id: int | None = None) -> Sequence[Hooked]:
        """All webhooks that the token may see."""


class ChangedStudio(HookedStudio, Protocol):
    """What reconciling asks of Label Studio."""

    def changed_since(self, project_id: int, moment: datetime | None) -> Sequence[Changed]:
        """Tasks that changed after the moment, oldest change first."""


def connected_projects(studio: HookedStudio, webhook_url: str) -> list[int]:
    """The projects whose webhook calls this service."""
    return sorted({hook.project for hook in studio.webhooks() if hook.url == webhook_url and hook.project is not None})


def reconcile(
    project_id: int | None,
    seen: Mapping[int, datetime],
    *,
    studio: ChangedStudio,
    put: Callable[[ProposeWork], object],
    webhook_url: str,
) -> dict[int, datetime]:
    """Put in jobs for all tasks that changed since the last look, in one project or in every connected one.

    Returns up to when each project's changes are known now. A project that can't be looked at doesn't keep the others
    from it; what Label Studio says is raised only when none can.
    """
    projects = [project_id] if project_id is not None else connected_projects(studio, webhook_url)
    if not projects:
        log.info("no webhook of Label Studio's calls %s: run negatives setup for a project", webhook_url)
    known: dict[int, datetime] = {}
    failed: LabelStudioError | None = None
    for project in projects:
        since = seen.get(project)
        try:
            changes = studio.changed_since(project, since and since - LOOK_BACK)
        except LabelStudioError as error:
            log.warning("not reconciled: %s", error)
            failed = error
            continue
        for work in work_for_changes(project, [(change.task_id, change.updated_at) for change in changes]):
            put(work)
        moments = [change.updated_at for change in changes]
        if moments or since:
            known[project] = max([*moments, *([since] if since else [])])
    if failed is not None and failed.retryable and not known:
        raise failed  # Label Studio itself is in trouble, not one project
    return known


class Images(Protocol):
    """Where source images come from."""

    def open(self, task: Task) -> Image.Image:
        """The task's image, upright."""


def status(
    project_id: int, *, studio: TaskReader, agreement: Agreement, margin: int, names: Mapping[int, str]
) -> ProjectStatus:
    """Count a project's ROIs and patches by where they stand, with the reasons for what is short, refused or stale.

    `names` says what to call people, by Label Studio's ids.
    """
    labeling = connected(project_id, studio)
    return survey(studio.tasks(project_id, labeling), agreement, margin, names)
