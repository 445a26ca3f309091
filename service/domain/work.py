"""Work as it is handed to the job queue: what to look at, never its content."""

from dataclasses import dataclass
from hashlib import sha256


@dataclass(frozen=True, slots=True)
class ProposeWork:
    """Proposing for some tasks of one project.

    `mark` tells this occasion from others: work with the same project, tasks and mark is one job, however often it is
    put in.
    """

    project_id: int
    task_ids: tuple[int, ...]
    mark: str
    urgent: bool = True

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


Work = ProposeWork | ReconcileWork
