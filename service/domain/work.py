"""Work as it is handed to the job queue: what to look at, never its content."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from hashlib import sha256

LANES = 8
"""Jobs of one lane run one after the other, and a task is always in the same lane: two jobs for one task never run at
once, and jobs of many tasks and of one need no other lock between them.
"""
ONE_BY_ONE = 20
CHUNK = 100
"""Tasks in one job of many: a page of Label Studio's list, and a second's wait at most for the event behind it."""

LOOK_BACK = timedelta(seconds=60)
"""Whoever asks what changed asks for so much before the last answer: a change may become visible a little after a later
one did. What is known already costs nothing: it is the same work, and is not read again.
"""

NO_DATASET = "No dataset is set: NEGATIVES_DATASET names the dataset to export into."
"""Said to who asks for an export into the dataset of the settings."""


def lane_of(task_id: int) -> int:
    """The lane that all work for this task runs in."""
    return task_id % LANES


@dataclass(frozen=True, slots=True)
class ProposeWork:
    """Proposing for some tasks of one project, all of one lane.

    `mark` tells this occasion from others: work with the same project, tasks and mark is one job, however often it is
    put in. `urgent` work goes first: somebody waits for it.
    """

    project_id: int
    task_ids: tuple[int, ...]
    mark: str
    urgent: bool = True

    def __post_init__(self) -> None:
        if len({lane_of(task_id) for task_id in self.task_ids}) != 1:
            raise ValueError(f"work is for tasks of one lane: {self.task_ids}")

    @property
    def lane(self) -> int:
        """The lane that it runs in."""
        return lane_of(self.task_ids[0])

    @property
    def job_id(self) -> str:
        """The same for the same work."""
        if len(self.task_ids) == 1:
            return f"propose:{self.project_id}:{self.task_ids[0]}:{self.mark}"
        digest = sha256(f"{self.task_ids}".encode()).hexdigest()[:16]
        return f"propose:{self.project_id}:{digest}:{self.mark}"


@dataclass(frozen=True, slots=True)
class ReconcileWork:
    """Looking for what changed in one project, or (None) in every connected one."""

    project_id: int | None


@dataclass(frozen=True, slots=True)
class ExportWork:
    """Bringing what is accepted in one project into the dataset of the settings, or (`zip_format` names the format)
    into a new dataset that is packed as a ZIP. `limit_to_band` and `is_dry`, which writes nothing, are for the former.
    """

    project_id: int
    zip_format: str = ""
    limit_to_band: bool = False
    is_dry: bool = False

    def __post_init__(self) -> None:
        if self.zip_format and (self.limit_to_band or self.is_dry):
            raise ValueError("a ZIP has no band to be limited to, and none is made by a dry run")

    @property
    def words(self) -> str:
        """What it is, for people."""
        if self.zip_format:
            return f"ZIP, {self.zip_format}"
        kind = "what would happen" if self.is_dry else "into the dataset"
        return f"{kind}, within the band" if self.limit_to_band else kind


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is: what it does, how much of it is done, and of how much (0: nobody knows)."""

    what: str
    done: int
    total: int

    @property
    def words(self) -> str:
        """For people."""
        return f"{self.what}: {self.done:,}" + (f" of {self.total:,}" if self.total else "")


class ExportState(StrEnum):
    """Where an export stands. FAILED: it wrote less than it should have, or nothing."""

    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ExportJob:
    """An export that was asked for: what it is, when it changed last, where it stands, what came of it in a sentence
    (empty until it is over), and how far it is.
    """

    id: str
    work: ExportWork
    at: datetime
    state: ExportState
    message: str = ""
    progress: Progress | None = None

    @property
    def project_id(self) -> int:
        """Its project."""
        return self.work.project_id

    @property
    def failed(self) -> bool:
        """Whether it wrote less than it should have."""
        return self.state is ExportState.FAILED

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.state in (ExportState.DONE, ExportState.FAILED)


Work = ProposeWork | ReconcileWork | ExportWork


def work_for_tasks(project_id: int, task_ids: Iterable[int], mark: str, *, urgent: bool = False) -> list[ProposeWork]:
    """Many tasks as few jobs: lane by lane, a hundred tasks each at most."""
    lanes: dict[int, list[int]] = {}
    for task_id in task_ids:
        lanes.setdefault(lane_of(task_id), []).append(task_id)
    return [
        ProposeWork(project_id, tuple(lane[start : start + CHUNK]), mark, urgent)
        for _, lane in sorted(lanes.items())
        for start in range(0, len(lane), CHUNK)
    ]


def work_for_changes(
    project_id: int, changes: Sequence[tuple[int, datetime]], *, urgent: bool = False
) -> list[ProposeWork]:
    """Few changes (task, when) become a job each, the very job that their event would have made; many go together."""
    if len(changes) <= ONE_BY_ONE:
        return [ProposeWork(project_id, (task_id,), mark_of(at), urgent) for task_id, at in changes]
    latest = max(at for _, at in changes)
    return work_for_tasks(project_id, [task_id for task_id, _ in changes], mark_of(latest), urgent=urgent)


def mark_of(moment: datetime) -> str:
    """A moment as it stands in a job's id: one way of writing it, whoever heard of it."""
    return moment.astimezone(UTC).isoformat()
