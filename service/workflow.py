"""The use cases, a paragraph each. What they need comes by keyword, named by role."""

import errno
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Protocol

from PIL import Image

from service.domain.model import Agreement, Proposal, Rules, StandingPrediction, Task
from service.domain.work import LOOK_BACK, ProposeWork, work_for_changes
from service.errors import ExportError, ImageError, LabelStudioError
from service.export.plan import Note, plan_export
from service.export.repository import Layout, locate, read_existing
from service.export.yolo import forget_lost, sole_exporter, write_source
from service.label_studio.images import source_name
from service.label_studio.labeling import Labeling
from service.label_studio.payloads import fingerprint, write_prediction
from service.proposing import work_out_proposal
from service.review import decide
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


NO_USE_GOING_ON = (errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT)
"""What the disk says when no file of the dataset can be written."""


class Images(Protocol):
    """Where source images come from."""

    def open(self, task: Task) -> Image.Image:
        """The task's image, upright."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export did: images written, those that were there, by what name, and what people should know."""

    written: int
    there: int
    layout: Layout
    unlabelled: int = 0
    notes: tuple[Note, ...] = ()
    failures: tuple[Note, ...] = ()

    @property
    def sentence(self) -> str:
        """All of it in a sentence, with what the first failure says."""
        text = f"{self.written} negatives written, {self.there} were there already"
        if self.notes:
            text += f"; {len(self.notes)} notes (negatives export tells them)"
        if self.failures:
            text += f"; {len(self.failures)} tasks failed, the first: {self.failures[0].text}"
        return text


def export(
    project_id: int,
    into: Path,
    *,
    studio: TaskReader,
    images: Images,
    agreement: Agreement,
    margin: int,
    object_name: str,
    now: Callable[[], datetime],
    progress: Callable[[int, int], None],
) -> Exported:
    """Bring the project's accepted patches into a dataset: plan what is new, then write it source by source.

    A source image that can't be had is left out and told of; the others go on. `progress` is told (done, of how many)
    images.
    """
    layout = locate(into)
    labeling = connected(project_id, studio)
    with sole_exporter(layout):
        decided = (
            (task, source_name(task.image), decide(task, agreement, margin))
            for task in studio.tasks(project_id, labeling)
        )
        plan = plan_export(decided, read_existing(layout))
        written, failures = 0, []
        for source in plan.sources:
            try:
                if source.new:
                    image = images.open(source.task)
                    written += write_source(source, image, layout, object_name=object_name, at=now())
                    progress(written, plan.new)
                elif source.has_lost:
                    forget_lost(source, layout, object_name=object_name, at=now())
            except (ImageError, LabelStudioError, ExportError) as error:
                failures.append(Note(source.task.id, str(error)))
                if isinstance(error.__cause__, OSError) and error.__cause__.errno in NO_USE_GOING_ON:
                    break
    unlabelled = sum(not source.task.exclusions for source in plan.sources if source.negatives)
    return Exported(written, plan.there, layout, unlabelled, plan.notes, tuple(failures))


def status(
    project_id: int, *, studio: TaskReader, agreement: Agreement, margin: int, names: Mapping[int, str]
) -> ProjectStatus:
    """Count a project's ROIs and patches by where they stand, with the reasons for what is short, refused or stale.

    `names` says what to call people, by Label Studio's ids.
    """
    labeling = connected(project_id, studio)
    return survey(studio.tasks(project_id, labeling), agreement, margin, names)
