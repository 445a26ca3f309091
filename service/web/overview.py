"""Where projects stand, what is being done for them, and what is wrong: `/projects/` and `/projects/<id>/`."""

import re
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol

from cachetools import LRUCache, TTLCache, cached
from flask import Blueprint, redirect, render_template, url_for
from werkzeug.wrappers import Response

from service.domain.model import Agreement, State, Task
from service.domain.work import NO_DATASET, ExportJob
from service.errors import NegativesError, NotFound, SetupError
from service.export.formats import dataset_share
from service.export.share import DatasetShare
from service.label_studio.labeling import read_labeling
from service.review.survey import ProjectStatus, survey
from service.web.access import Access
from service.web.directory import Directory
from service.web.exports import Results, shown

PATIENCE_SECONDS = 2.0
"""A page waits so long for a project to be read; a large one takes half a minute the first time."""
SHARE_SECONDS = 60.0
MOST_PROJECTS = 32
MOST_NOTES = 200
MOST_EXPORTS = 10
REFRESH_SECONDS = 3
STATES = (State.ACCEPTED, State.REJECTED, State.PENDING, State.UNSURE, State.STALE)
"""In the order of the pages."""


class Tasks(Protocol):
    """Where the tasks of projects come from."""

    def tasks(self, project_id: int) -> Sequence[Task]:
        """What Label Studio holds now; the same object as long as nothing has changed."""


class FailedJob(Protocol):
    """A job that ended in an error."""

    @property
    def project_id(self) -> int:
        """Its project."""

    @property
    def task_ids(self) -> tuple[int, ...]:
        """The tasks that it was about."""

    @property
    def at(self) -> datetime:
        """When it ended."""

    @property
    def message(self) -> str:
        """Why, for people."""


class Counts(Protocol):
    """What is in flight."""

    @property
    def waiting(self) -> int:
        """Jobs that wait."""

    @property
    def running(self) -> int:
        """Jobs under way."""

    @property
    def failed(self) -> Sequence[FailedJob]:
        """Jobs that gave up, the newest first."""

    @property
    def look_failure(self) -> str | None:
        """Why the last look for changes failed, if it did."""


class Queue(Protocol):
    """The jobs."""

    def counts(self) -> Counts:
        """What is in flight and what failed."""

    def exports(self) -> Sequence[ExportJob]:
        """The exports of the last days, the newest first."""


@dataclass(frozen=True, slots=True)
class Standing:
    """One project as its visitors see it: where it stands, or why that can't be told (`trouble`).

    `is_being_read`: it takes longer than a page should.
    """

    id: int
    title: str
    status: ProjectStatus | None = None
    trouble: str = ""
    is_being_read: bool = False

    @property
    def patches(self) -> int:
        """All of them, wherever they stand."""
        return sum(self.status.states.values()) if self.status else 0

    def count(self, state: State) -> int:
        """The patches in a state."""
        return self.status.states.get(state, 0) if self.status else 0


@dataclass(frozen=True, slots=True)
class Share:
    """The dataset's share of negatives, or why there is none (`trouble`)."""

    dataset: str
    found: DatasetShare | None = None
    trouble: str = ""


class Surveys:
    """Where projects stand, worked out again only when something has changed. Safe to share between threads."""

    def __init__(
        self,
        directory: Directory,
        tasks: Tasks,
        *,
        connected: Callable[[], Collection[int]],
        agreement: Agreement,
        margin: int,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        """`patience`: how many seconds a caller waits for a project that is being read."""
        self._directory = directory
        self._tasks = tasks
        self._agreement = agreement
        self._margin = margin
        self._patience = patience
        self._lock = threading.Lock()
        self._reading: dict[int, _Reading] = {}
        self._worked_out: LRUCache[int, tuple[Sequence[Task], Mapping[int, str], ProjectStatus]] = LRUCache(
            MOST_PROJECTS
        )
        self.connected = connected
        """The projects that call this service."""

    def check(self, project_id: int) -> None:
        """Raise `SetupError` for a project that doesn't call this service."""
        if project_id not in self.connected():
            raise SetupError(
                f"Project {project_id} isn't connected to this service. Run: negatives setup --project {project_id}"
            )

    def standing(self, project_id: int) -> Standing:
        """Where a project stands, or why that can't be told. Raises what Label Studio says when it doesn't even tell
        the project's name.
        """
        project = self._directory.project(project_id)
        try:
            if missing := read_labeling(project.label_config).missing:
                raise SetupError(
                    f"Its labeling configuration lacks {', '.join(missing)}. "
                    f"Run: negatives setup --project {project_id}"
                )
            status = self._status(project_id)
        except NegativesError as error:
            return Standing(project_id, project.title, trouble=str(error))
        return Standing(project_id, project.title, status, is_being_read=status is None)

    def _status(self, project_id: int) -> ProjectStatus | None:
        """None when it takes too long; then it goes on, and a later call gets it."""
        with self._lock:
            reading = self._reading.get(project_id)
            if reading is None:
                reading = self._reading[project_id] = _Reading(lambda: self._work_out(project_id))
        if not reading.ended.wait(self._patience):
            return None
        with self._lock:
            if self._reading.get(project_id) is reading:
                del self._reading[project_id]
        if reading.error is not None:
            raise reading.error
        return reading.status

    def _work_out(self, project_id: int) -> ProjectStatus:
        tasks = self._tasks.tasks(project_id)
        reviewers = {review.reviewer for task in tasks for review in task.reviews if review.reviewer is not None}
        names = self._directory.people(reviewers)
        with self._lock:
            known = self._worked_out.get(project_id)
        if known is not None and known[0] is tasks and known[1] is names:
            return known[2]
        status = survey(tasks, self._agreement, self._margin, names)
        with self._lock:
            self._worked_out[project_id] = tasks, names, status
        return status


class _Reading:
    """One project's reading, in a thread of its own: whoever asks meanwhile waits for the same one."""

    def __init__(self, read: Callable[[], ProjectStatus]) -> None:
        self.ended = threading.Event()
        self.status: ProjectStatus | None = None
        self.error: BaseException | None = None

        def run() -> None:
            try:
                self.status = read()
            except BaseException as error:
                self.error = error
            finally:
                self.ended.set()

        threading.Thread(target=run, name="survey", daemon=True).start()


def overview_blueprint(
    access: Access,
    surveys: Surveys,
    *,
    queue: Queue,
    results: Results,
    dataset: str,
    band: tuple[float, float],
    formats: Sequence[str],
    label_studio_url: str,
    timer: Callable[[], float] = time.monotonic,
) -> Blueprint:
    """The overview of all projects and of each.

    `dataset` is the data.yaml to export into, empty when there is none, `band` the share of negatives that helps there,
    and `formats` are those that a ZIP can have.
    """
    blueprint = Blueprint("overview", __name__)

    @cached(TTLCache(1, SHARE_SECONDS, timer=timer), lock=threading.Lock())
    def share(_exported: datetime | None) -> Share:
        if not dataset:
            return Share("", trouble=NO_DATASET)
        try:
            return Share(dataset, dataset_share(Path(dataset)))
        except NegativesError as error:
            return Share(dataset, trouble=str(error))

    @blueprint.get("/")
    def home() -> Response:
        return redirect(url_for("overview.overview"))

    @blueprint.get("/projects/")
    def overview() -> str:
        visitor = access.visitor()
        seen = [project_id for project_id in sorted(surveys.connected()) if access.may_see(visitor, project_id)]
        standings = []
        for project_id in seen:
            try:
                standings.append(surveys.standing(project_id))
            except NotFound:  # deleted this very moment
                continue
        jobs, exports = queue.counts(), queue.exports()
        exporting = {
            job.project_id: shown(job, results) for job in exports if not job.is_over and job.project_id in seen
        }
        return render_template(
            "overview.html",
            standings=standings,
            states=STATES,
            share=share(_last(exports)) if seen else None,
            band=band,
            jobs=jobs if seen else None,
            failed=[job for job in jobs.failed if job.project_id in seen],
            look_failure=_fit_for(seen, jobs.look_failure) if seen else None,
            exporting=exporting,
            label_studio_url=label_studio_url,
            refresh=REFRESH_SECONDS
            if seen and (jobs.waiting or jobs.running or exporting or any(one.is_being_read for one in standings))
            else 0,
        )

    @blueprint.get("/projects/<int:project_id>/")
    def project(project_id: int) -> str:
        check_visible(access, surveys, project_id)
        standing = surveys.standing(project_id)
        jobs, all_exports = queue.counts(), queue.exports()
        exports = [job for job in all_exports if job.project_id == project_id][:MOST_EXPORTS]
        notes = standing.status.notes if standing.status else ()
        under_way = [job.work for job in exports if not job.is_over]
        return render_template(
            "project.html",
            project=standing,
            states=STATES,
            share=share(_last(all_exports)),
            band=band,
            jobs=jobs,
            failed=[job for job in jobs.failed if job.project_id == project_id],
            look_failure=_fit_for([project_id], jobs.look_failure),
            exports=[shown(job, results) for job in exports],
            is_exporting=any(not work.zip_format and not work.is_dry for work in under_way),
            is_looking_ahead=any(work.is_dry for work in under_way),
            formats=formats,
            attention=[note for note in notes if note.shortfall is None],
            short=[note for note in notes if note.shortfall is not None],
            most_notes=MOST_NOTES,
            label_studio_url=label_studio_url,
            refresh=REFRESH_SECONDS if jobs.waiting or jobs.running or under_way or standing.is_being_read else 0,
        )

    return blueprint


def check_visible(access: Access, surveys: Surveys, project_id: int) -> None:
    """Raise unless the visitor may see the project and it calls this service."""
    access.check(access.visitor(), project_id)
    surveys.check(project_id)


def _last(exports: Sequence[ExportJob]) -> datetime | None:
    """When the last of them ended that wrote into the dataset: it is another one since."""
    return max(
        (job.at for job in exports if job.is_over and not (job.work.zip_format or job.work.is_dry)), default=None
    )


def _fit_for(seen: Collection[int], failure: str | None) -> str | None:
    """What a look for changes failed with, unless that names a project that isn't the visitor's to know of."""
    if failure is None or {int(number) for number in re.findall(r"\bproject (\d+)", failure)} <= set(seen):
        return failure
    return "a project that isn't shown here could not be looked at"
