"""What `service/jobs.py` promises: one contract, run unchanged on SQLite and on PostgreSQL."""

import os
import re
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count, pairwise
from pathlib import Path
from typing import Any, TypeVar

import pytest
from dbos import EnqueueOptions
from sqlalchemy.exc import OperationalError

from service import jobs
from service.domain.work import LANES, ExportJob, ExportState, ExportWork, Progress, ProposeWork, ReconcileWork
from service.errors import ExportError, LabelStudioUnavailable, NegativesError, SetupError
from service.jobs import FailedJob, JobQueue, Throttled, Worker, prepare_database, take_slot
from tests.conftest import DATABASES

T = TypeVar("T")

TRIES = 3
FIRST_PAUSE = 0.2
DOWN = "Label Studio can't be reached for task 12"
UNCONNECTED = "project 7 isn't connected: run negatives setup --project 7"
MONDAY = datetime(2026, 3, 2, 8, 30, tzinfo=UTC)
TUESDAY = MONDAY + timedelta(days=1)


def wait_for(what: str, look: Callable[[], T], seconds: float = 20) -> T:
    """What `look` returns as soon as it is something."""
    deadline = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < deadline, f"waited {seconds} s for {what}"
        time.sleep(0.01)
    return found


Plan = Callable[[tuple[int, ...]], Mapping[str, Any]]


class Proposing:
    """A `Propose` that remembers its calls and does for each project what it was told to do."""

    def __init__(self) -> None:
        self.calls: list[tuple[int, tuple[int, ...]]] = []
        self.plans: dict[int, Plan] = {}

    def __call__(self, project_id: int, task_ids: tuple[int, ...]) -> Mapping[str, Any]:
        self.calls.append((project_id, task_ids))
        plan = self.plans.get(project_id)
        return plan(task_ids) if plan else {}

    def tasks_of(self, project_id: int) -> list[tuple[int, ...]]:
        """The tasks that it was called with, in the order of the calls."""
        return [task_ids for project, task_ids in self.calls if project == project_id]

    def fails(self, project_id: int, *errors: Exception) -> list[float]:
        """Let the first calls fail with these errors, in turn. Returns when it was called, as it happens."""
        at: list[float] = []
        left = list(errors)

        def plan(_task_ids: tuple[int, ...]) -> Mapping[str, Any]:
            at.append(time.monotonic())
            if left:
                raise left.pop(0)
            return {"tasks": 1}

        self.plans[project_id] = plan
        return at

    def waits(self, project_id: int) -> threading.Event:
        """Let the calls wait until the event that this returns is set."""
        gate = threading.Event()

        def plan(_task_ids: tuple[int, ...]) -> Mapping[str, Any]:
            assert gate.wait(20)
            return {}

        self.plans[project_id] = plan
        return gate


class Looking:
    """A `Reconcile` that remembers its calls and returns `answer`."""

    def __init__(self) -> None:
        self.calls: list[tuple[int | None, Mapping[int, datetime]]] = []
        self.answer: Mapping[int, datetime] = {}
        self.error: Exception | None = None
        self._free = threading.Event()
        self._free.set()

    def __call__(self, project_id: int | None, seen: Mapping[int, datetime]) -> Mapping[int, datetime]:
        self.calls.append((project_id, dict(seen)))
        assert self._free.wait(20)
        if self.error is not None:
            raise self.error
        return self.answer

    @contextmanager
    def failing(self, error: Exception) -> Iterator[None]:
        """Let every look fail, until the block ends."""
        self.error = error
        try:
            yield
        finally:
            self.error = None

    @contextmanager
    def held(self) -> Iterator[None]:
        """Let no look end before the block does."""
        self._free.clear()
        try:
            yield
        finally:
            self._free.set()


Export = Callable[[str, Callable[[str, int, int], None]], tuple[str, bool]]


class Exporting:
    """What the worker calls for an export: remembers, and does for each project what the test planned."""

    def __init__(self) -> None:
        self.calls: list[ExportWork] = []
        self.plans: dict[int, Export] = {}

    def __call__(self, work: ExportWork, job_id: str, progress: Callable[[str, int, int], None]) -> tuple[str, bool]:
        self.calls.append(work)
        plan = self.plans.get(work.project_id)
        return plan(job_id, progress) if plan else ("3 negatives written", False)

    def count(self, project_id: int) -> int:
        """How often it was called for the project."""
        return sum(work.project_id == project_id for work in self.calls)

    def waits(self, project_id: int) -> threading.Event:
        """Let the calls wait until the event that this returns is set."""
        gate = threading.Event()

        def plan(_job_id: str, _progress: Callable[[str, int, int], None]) -> tuple[str, bool]:
            assert gate.wait(20)
            return "3 negatives written", False

        self.plans[project_id] = plan
        return gate

    def fails(self, project_id: int, error: Exception) -> None:
        """Let the calls fail with this error."""

        def plan(_job_id: str, _progress: Callable[[str, int, int], None]) -> tuple[str, bool]:
            raise error

        self.plans[project_id] = plan


@dataclass(frozen=True, slots=True)
class Crew:
    """A queue, a worker on it, and what the worker calls. Each test takes a project of its own."""

    queue: JobQueue
    proposing: Proposing = field(default_factory=Proposing)
    exporting: Exporting = field(default_factory=Exporting)
    looking: Looking = field(default_factory=Looking)
    swept: list[datetime] = field(default_factory=list)

    def end_of(self, job_id: str) -> Mapping[str, Any] | NegativesError:
        """What the job returned or why it failed, when it has ended."""
        return wait_for(f"the end of {job_id}", lambda: self.queue.finished([job_id]))[job_id]

    def failed(self, project_id: int) -> list[FailedJob]:
        """The project's failed jobs."""
        return [job for job in self.queue.failed() if job.project_id == project_id]

    def export(self, job_id: str) -> ExportJob:
        """An export, as another process sees it."""
        found = self.queue.export(job_id)
        assert found is not None
        return found

    def running(self, job_id: str) -> ExportJob:
        """An export, when it runs."""
        wait_for(f"{job_id} to run", lambda: self.export(job_id).state is ExportState.RUNNING)
        return self.export(job_id)

    def look(self, project_id: int) -> Mapping[int, datetime]:
        """Have the project looked at, whether the look then succeeds or fails. Returns what it was told."""
        self.end_of(self.queue.put(ReconcileWork(project_id)))
        return [seen for project, seen in self.looking.calls if project == project_id][-1]


BEFORE_THE_WORKER = ProposeWork(1, (11,), "before there was a worker")


@pytest.fixture(scope="module", params=DATABASES)
def crew(
    request: pytest.FixtureRequest, new_database: Callable[[str], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Crew]:
    """One worker for many tests: the engine allows one a process. Its clock looks every second, its tries are few."""
    url = new_database(request.param)
    with pytest.MonkeyPatch.context() as patch, JobQueue(url) as queue:
        patch.setattr(tempfile, "tempdir", str(tmp_path_factory.mktemp("slots")))
        patch.setattr(jobs, "TRIES", TRIES)
        patch.setattr(jobs, "FIRST_PAUSE", FIRST_PAUSE)
        patch.setattr(jobs, "POLL_SECONDS", 0.02)
        crew = Crew(queue)
        queue.put(BEFORE_THE_WORKER)
        with closing(
            Worker(
                url,
                propose=crew.proposing,
                reconcile=crew.looking,
                export=crew.exporting,
                sweep=crew.swept.append,
                reconcile_seconds=1,
                log_level="CRITICAL",
            )
        ):
            yield crew


projects = count(100)


@pytest.fixture
def project() -> int:
    """A project that no other test has."""
    return next(projects)


# Work that is put in


def test_work_is_done_and_finished_tells_what_it_returned(crew: Crew, project: int) -> None:
    """What `propose` returns for a job is what `finished` tells of it."""
    crew.proposing.plans[project] = lambda tasks: {"tasks": len(tasks), "explanations": {12: ["too small"]}}
    job_id = crew.queue.put(ProposeWork(project, (12, 20), "a"))
    assert crew.end_of(job_id) == {"tasks": 2, "explanations": {12: ["too small"]}}


def test_work_reaches_propose_as_it_was_put(crew: Crew, project: int) -> None:
    """`propose` is given the project and the tasks, in their order."""
    crew.end_of(crew.queue.put(ProposeWork(project, (20, 12), "a")))
    assert crew.proposing.tasks_of(project) == [(20, 12)]


def test_the_same_work_put_twenty_times_runs_once(crew: Crew, project: int) -> None:
    """However often an event is delivered, before or after its job is done: one job."""
    work = ProposeWork(project, (12,), "the same change")
    job_ids = {crew.queue.put(work) for _ in range(10)}
    crew.end_of(work.job_id)
    job_ids |= {crew.queue.put(work) for _ in range(10)}
    crew.end_of(crew.queue.put(ProposeWork(project, (12,), "the next change")))
    assert (job_ids, len(crew.proposing.tasks_of(project))) == ({work.job_id}, 2)


def test_work_put_before_any_worker_is_done_later(crew: Crew) -> None:
    """A web server may take events before a worker has ever run."""
    assert crew.end_of(BEFORE_THE_WORKER.job_id) == {}


def test_what_is_not_done_is_not_finished(crew: Crew, project: int) -> None:
    """`finished` leaves out what is waiting, running or unknown."""
    gate = crew.proposing.waits(project)
    running = crew.queue.put(ProposeWork(project, (12,), "a"))
    waiting = crew.queue.put(ProposeWork(project, (20,), "a"))
    wait_for("the first to run", lambda: crew.proposing.tasks_of(project))
    finished = crew.queue.finished([running, waiting, "propose:1:1:unheard of"])
    gate.set()
    assert finished == {}


def test_counts_tell_what_waits_and_what_runs(crew: Crew, project: int) -> None:
    """Of three jobs of one lane one runs and two wait."""
    wait_for("all others to end", lambda: not (crew.queue.counts().running or crew.queue.counts().waiting))
    gate = crew.proposing.waits(project)
    job_ids = [crew.queue.put(ProposeWork(project, (task,), "a")) for task in (12, 20, 28)]
    wait_for("the first to run", lambda: crew.proposing.tasks_of(project))
    counts = crew.queue.counts()
    gate.set()
    crew.end_of(job_ids[-1])
    assert (counts.running, counts.waiting) == (1, 2)


# What may run beside what


def test_jobs_of_one_lane_never_overlap(crew: Crew, project: int) -> None:
    """Two jobs that publish for the same task at the same time would publish twice."""
    inside, most = 0, 0

    def plan(_tasks: tuple[int, ...]) -> Mapping[str, Any]:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        time.sleep(0.15)
        inside -= 1
        return {}

    crew.proposing.plans[project] = plan
    for job_id in [crew.queue.put(ProposeWork(project, (task,), "a")) for task in range(0, 5 * LANES, LANES)]:
        crew.end_of(job_id)
    assert most == 1


def test_jobs_of_two_lanes_run_side_by_side(crew: Crew, project: int) -> None:
    """A busy project's people don't wait for each other."""
    meeting = threading.Barrier(2, timeout=10)

    def plan(_tasks: tuple[int, ...]) -> Mapping[str, Any]:
        meeting.wait()
        return {"met": True}

    crew.proposing.plans[project] = plan
    job_ids = [crew.queue.put(ProposeWork(project, (task,), "a")) for task in (12, 13)]
    assert [crew.end_of(job_id) for job_id in job_ids] == [{"met": True}] * 2


def test_jobs_of_two_projects_run_side_by_side(crew: Crew, project: int) -> None:
    """A long job of one project does not keep another project's people waiting."""
    other = next(projects)
    meeting = threading.Barrier(2, timeout=10)

    def plan(_tasks: tuple[int, ...]) -> Mapping[str, Any]:
        meeting.wait()
        return {"met": True}

    crew.proposing.plans |= {project: plan, other: plan}
    job_ids = [crew.queue.put(ProposeWork(one, (12,), "a")) for one in (project, other)]
    assert [crew.end_of(job_id) for job_id in job_ids] == [{"met": True}] * 2


def test_urgent_work_goes_first(crew: Crew, project: int) -> None:
    """An annotator's event does not wait behind a whole project's proposals that were put in before."""
    gate = crew.proposing.waits(project)
    crew.queue.put(ProposeWork(project, (0,), "a"))
    wait_for("the first to run", lambda: crew.proposing.tasks_of(project))
    patient = [crew.queue.put(ProposeWork(project, (task,), "a", urgent=False)) for task in (LANES, 2 * LANES)]
    crew.queue.put(ProposeWork(project, (3 * LANES,), "a"))
    gate.set()
    for job_id in patient:
        crew.end_of(job_id)
    assert crew.proposing.tasks_of(project)[:2] == [(0,), (3 * LANES,)]


# Failures


def test_what_can_get_better_is_tried_again(crew: Crew, project: int) -> None:
    """A retryable error is followed by another try, whose result counts."""
    crew.proposing.fails(project, *[LabelStudioUnavailable(DOWN)] * (TRIES - 1))
    assert crew.end_of(crew.queue.put(ProposeWork(project, (12,), "a"))) == {"tasks": 1}


def test_pauses_between_tries_grow(crew: Crew, project: int) -> None:
    """Who is down is not hammered: each pause is twice the one before."""
    at = crew.proposing.fails(project, *[LabelStudioUnavailable(DOWN)] * (TRIES - 1))
    crew.end_of(crew.queue.put(ProposeWork(project, (12,), "a")))
    first, second = at[1] - at[0], at[2] - at[1]
    assert (first >= FIRST_PAUSE, second >= 2 * FIRST_PAUSE) == (True, True)


def test_what_cannot_get_better_is_not_tried_again(crew: Crew, project: int) -> None:
    """An error that isn't retryable fails the job at the first try."""
    at = crew.proposing.fails(project, SetupError(UNCONNECTED))
    crew.end_of(crew.queue.put(ProposeWork(project, (12,), "a")))
    assert len(at) == 1


def test_a_failed_job_says_what_it_was_about_and_why(crew: Crew, project: int) -> None:
    """`failed` holds project, tasks, the moment, our sentence, and whether trying again may help."""
    began = datetime.now(UTC) - timedelta(seconds=1)
    crew.proposing.fails(project, SetupError(UNCONNECTED))
    job_id = crew.queue.put(ProposeWork(project, (12, 20), "a"))
    crew.end_of(job_id)
    (failed,) = crew.failed(project)
    assert began <= failed.at <= datetime.now(UTC) + timedelta(seconds=1)
    assert failed == FailedJob(job_id, project, (12, 20), failed.at, UNCONNECTED)


def test_finished_tells_why_a_job_failed(crew: Crew, project: int) -> None:
    """The command that waits for a job gets the sentence to show."""
    crew.proposing.fails(project, SetupError(UNCONNECTED))
    error = crew.end_of(crew.queue.put(ProposeWork(project, (12,), "a")))
    assert isinstance(error, NegativesError)
    assert str(error) == UNCONNECTED


def test_after_all_tries_the_job_fails_with_our_sentence(crew: Crew, project: int) -> None:
    """Not with the engine's, which counts retries and says nothing about Label Studio."""
    at = crew.proposing.fails(project, *[LabelStudioUnavailable(DOWN)] * 99)
    crew.end_of(crew.queue.put(ProposeWork(project, (12,), "a")))
    (failed,) = crew.failed(project)
    assert (len(at), failed.message) == (TRIES, DOWN)


def test_a_mistake_of_ours_is_named_with_its_kind(crew: Crew, project: int) -> None:
    """What nobody raised on purpose is no sentence, so its type is told too; and it is not tried again."""
    at = crew.proposing.fails(project, KeyError("patches"))
    crew.end_of(crew.queue.put(ProposeWork(project, (12,), "a")))
    (failed,) = crew.failed(project)
    assert (len(at), failed.message) == (1, "KeyError: 'patches'")


def test_a_job_that_lasts_too_long_is_stopped(crew: Crew, project: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It fails with a sentence that says so, and may be tried again."""
    monkeypatch.setattr(jobs, "LONGEST_JOB", timedelta(seconds=0.6))
    gate = crew.proposing.waits(project)
    job_id = crew.queue.put(ProposeWork(project, (12,), "a"))
    crew.end_of(job_id)
    gate.set()
    (failed,) = crew.failed(project)
    assert failed.message == "it took longer than 1 seconds and was stopped"


def test_trying_again_does_the_work_under_a_new_id(crew: Crew, project: int) -> None:
    """The new job is the same work; its id counts the attempts."""
    crew.proposing.fails(project, SetupError(UNCONNECTED))
    job_id = crew.queue.put(ProposeWork(project, (12, 20), "a"))
    crew.end_of(job_id)
    crew.queue.try_again(crew.failed(project))
    assert crew.end_of(f"{job_id}#2") == {"tasks": 1}
    assert crew.proposing.tasks_of(project) == [(12, 20)] * 2


def test_trying_again_forgets_the_failure(crew: Crew, project: int) -> None:
    """What is being done again is no longer listed as failed; how many there were is told."""
    crew.proposing.fails(project, SetupError(UNCONNECTED))
    crew.end_of(crew.queue.put(ProposeWork(project, (12,), "a")))
    assert (crew.queue.try_again(crew.failed(project)), crew.failed(project)) == (1, [])


def test_attempts_are_counted_on(crew: Crew, project: int) -> None:
    """A second attempt that fails is followed by a third."""
    crew.proposing.fails(project, SetupError(UNCONNECTED), SetupError(UNCONNECTED))
    job_id = crew.queue.put(ProposeWork(project, (12,), "a"))
    crew.end_of(job_id)
    crew.queue.try_again(crew.failed(project))
    crew.end_of(f"{job_id}#2")
    crew.queue.try_again(crew.failed(project))
    assert crew.end_of(f"{job_id}#3") == {"tasks": 1}


@pytest.mark.parametrize(
    ("job_id", "seconds"),
    [("propose:7:12:a", 30), ("propose:7:12:a#2", 60), ("propose:7:12:a#3", 120), ("propose:7:12:a#99", 3600)],
)
def test_the_pause_before_trying_again_doubles_up_to_an_hour(job_id: str, seconds: int) -> None:
    """Half a minute after the first failure, then twice as long each time."""
    assert FailedJob(job_id, 7, (12,), MONDAY, DOWN).pause == timedelta(seconds=seconds)


def test_a_look_puts_in_again_what_has_paused_long_enough(
    crew: Crew, project: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When Label Studio is back, what failed because it was down is done without anyone doing anything."""
    monkeypatch.setattr(FailedJob, "pause", timedelta(0))
    crew.proposing.fails(project, *[LabelStudioUnavailable(DOWN)] * TRIES)
    job_id = crew.queue.put(ProposeWork(project, (12,), "a"))
    assert crew.end_of(f"{job_id}#2") == {"tasks": 1}


def test_a_look_leaves_alone_what_has_just_failed_elsewhere(crew: Crew, project: int) -> None:
    """The pause is kept, however often is looked."""
    crew.proposing.fails(project, *[LabelStudioUnavailable(DOWN)] * TRIES)
    job_id = crew.queue.put(ProposeWork(project, (12,), "a"))
    crew.end_of(job_id)
    crew.look(next(projects))
    assert [job.id for job in crew.failed(project)] == [job_id]


def test_a_look_that_an_event_of_the_project_asks_for_tries_again_at_once(crew: Crew, project: int) -> None:
    """After `negatives setup`, which sends such an event, what failed because the project wasn't connected is done."""
    crew.proposing.fails(project, SetupError(UNCONNECTED))
    job_id = crew.queue.put(ProposeWork(project, (12,), "a"))
    crew.end_of(job_id)
    crew.look(project)
    assert crew.end_of(f"{job_id}#2") == {"tasks": 1}
    assert crew.failed(project) == []


# Looking for changes


def test_the_clock_looks_at_everything(crew: Crew) -> None:
    """Nobody asks, and yet every connected project is looked at, again and again."""
    before = len(crew.looking.calls)
    calls = wait_for("three looks", lambda: crew.looking.calls[before:][:3][2:] and crew.looking.calls[before:])
    assert {project for project, _ in calls} == {None}


def test_a_look_is_told_what_the_last_one_returned(crew: Crew, project: int) -> None:
    """So each change is fetched once."""
    crew.looking.answer = {project: MONDAY}
    crew.look(project)
    assert crew.look(project)[project] == MONDAY


def test_a_look_at_one_project_keeps_what_is_known_of_the_others(crew: Crew, project: int) -> None:
    """What a look returns is added to what was known, not put in its place."""
    other = next(projects)
    crew.looking.answer = {project: MONDAY}
    crew.look(project)
    crew.looking.answer = {other: TUESDAY}
    crew.look(other)
    seen = crew.look(other)
    assert (seen[project], seen[other]) == (MONDAY, TUESDAY)


def test_last_seen_tells_what_the_last_look_returned(crew: Crew, project: int) -> None:
    """Any process may ask up to when changes are known."""
    crew.looking.answer = {project: TUESDAY}
    crew.look(project)
    assert crew.queue.last_seen()[project] == TUESDAY


def test_a_failing_look_is_told(crew: Crew, project: int) -> None:
    """`counts` has our sentence as long as the last look failed, however many succeeded before."""
    crew.look(project)
    with crew.looking.failing(LabelStudioUnavailable(DOWN)):
        crew.look(project)
        assert (crew.queue.counts().look_failure or "").startswith(DOWN)


def test_a_look_that_succeeds_makes_up_for_those_that_failed(crew: Crew, project: int) -> None:
    """When Label Studio is back, `counts` has nothing to complain of."""
    with crew.looking.failing(LabelStudioUnavailable(DOWN)):
        crew.look(project)
    crew.look(project)
    assert crew.queue.counts().look_failure is None


def test_a_failing_look_forgets_nothing(crew: Crew, project: int) -> None:
    """The next one starts from the last that succeeded."""
    crew.looking.answer = {project: MONDAY}
    crew.look(project)
    with crew.looking.failing(LabelStudioUnavailable(DOWN)):
        crew.look(project)
        assert crew.look(project)[project] == MONDAY


def test_a_look_at_one_project_can_be_asked_for(crew: Crew, project: int) -> None:
    """As for an event that names a project, but no task."""
    crew.queue.put(ReconcileWork(project))
    wait_for("the look", lambda: [one for one, _ in crew.looking.calls if one == project])


def test_it_is_told_which_looks_were_asked_for(crew: Crew, project: int) -> None:
    """`negatives setup` sees by it that a webhook came in."""
    before = crew.queue.looks_asked_for(project)
    job_id = crew.queue.put(ReconcileWork(project))
    assert (before, crew.queue.looks_asked_for(project)) == (frozenset(), frozenset((job_id,)))


def test_many_wishes_to_look_at_everything_become_one_look(crew: Crew) -> None:
    """A thousand deliveries without payload must not ask Label Studio a thousand times."""
    with crew.looking.held():
        job_ids = {crew.queue.put(ReconcileWork(None)) for _ in range(20)}
    assert len(job_ids) == 1


def test_a_look_at_everything_that_is_asked_for_is_done(crew: Crew) -> None:
    """The id that is returned is that of the look which will see the change, also when it had been asked for before."""
    with crew.looking.held():
        job_ids = [crew.queue.put(ReconcileWork(None)) for _ in range(3)]
    assert not isinstance(crew.end_of(job_ids[-1]), NegativesError)


# Tidying up


def test_what_is_long_done_is_deleted(crew: Crew, project: int) -> None:
    """The database doesn't grow for ever."""
    job_id = crew.queue.put(ProposeWork(project, (12,), "a"))
    crew.end_of(job_id)
    crew.queue.tidy(datetime.now(UTC) + jobs.KEPT + timedelta(hours=1))
    assert crew.queue.finished([job_id]) == {}


def test_what_is_done_is_kept_for_days(crew: Crew, project: int) -> None:
    """So a delivery that comes again late is still the same job."""
    job_id = crew.queue.put(ProposeWork(project, (12,), "a"))
    crew.end_of(job_id)
    crew.queue.tidy(datetime.now(UTC) + jobs.KEPT - timedelta(hours=1))
    assert crew.queue.finished([job_id]) == {job_id: {}}


def test_failures_are_kept_for_their_person(crew: Crew, project: int) -> None:
    """Nobody has looked at them yet."""
    crew.proposing.fails(project, SetupError(UNCONNECTED))
    crew.end_of(crew.queue.put(ProposeWork(project, (12,), "a")))
    crew.queue.tidy(datetime.now(UTC) + timedelta(days=365))
    assert [job.message for job in crew.failed(project)] == [UNCONNECTED]


def test_looks_are_deleted_after_an_hour(crew: Crew, project: int) -> None:
    """There are thousands a day."""
    crew.look(project)
    crew.look(next(projects))
    crew.queue.tidy(datetime.now(UTC) + timedelta(hours=2))
    assert crew.queue.looks_asked_for(project) == frozenset()


def test_the_last_look_is_never_deleted(crew: Crew, project: int) -> None:
    """Else everything would be looked at from the beginning."""
    crew.looking.answer = {project: MONDAY}
    crew.look(project)
    crew.queue.tidy(datetime.now(UTC) + timedelta(days=365))
    assert crew.queue.last_seen()[project] == MONDAY


# Exports


def test_an_export_is_one_however_often_it_is_asked_for(crew: Crew, project: int) -> None:
    """While it waits or runs, asking again is the same export; its end is told, and afterwards it may run again."""
    gate = crew.exporting.waits(project)
    first = crew.queue.put(ExportWork(project))
    waiting_or_running = crew.queue.put(ExportWork(project))
    running = crew.running(first)
    assert waiting_or_running == crew.queue.put(ExportWork(project)) == first
    assert (running.work, running.is_over, running.message) == (ExportWork(project), False, "")
    gate.set()
    crew.end_of(first)
    over = crew.export(first)
    assert (over.state, over.is_over, over.message) == (ExportState.DONE, True, "3 negatives written")
    assert over in crew.queue.exports()
    crew.end_of(crew.queue.put(ExportWork(project)))
    assert crew.exporting.count(project) == 2


def test_exports_of_different_kinds_are_different_exports(crew: Crew, project: int) -> None:
    """Each is done as it was asked for, and says afterwards what it was."""
    gate = crew.exporting.waits(project)
    kinds = [
        ExportWork(project),
        ExportWork(project, limit_to_band=True),
        ExportWork(project, is_dry=True),
        ExportWork(project, "yolo"),
        ExportWork(project, "coco"),
    ]
    job_ids = [crew.queue.put(work) for work in kinds]
    gate.set()
    for job_id in job_ids:
        crew.end_of(job_id)
    assert len(set(job_ids)) == len(kinds)
    assert [crew.export(job_id).work for job_id in job_ids] == kinds
    assert sorted(map(repr, crew.exporting.calls[-len(kinds) :])) == sorted(map(repr, kinds))


def test_an_export_s_id_is_fit_for_a_file_and_an_address(crew: Crew, project: int) -> None:
    """Its results are called by it."""
    for work, kind in ((ExportWork(project), "export"), (ExportWork(project, "yolo"), "zip")):
        assert re.fullmatch(rf"{kind}-{project}-[0-9a-f]{{16}}", crew.queue.put(work))


def test_one_export_at_a_time_writes_into_the_dataset(crew: Crew, project: int) -> None:
    """Whichever project it is of: the others wait, and are seen to."""
    gate = crew.exporting.waits(project)
    first = crew.queue.put(ExportWork(project))
    crew.running(first)
    second, third = crew.queue.put(ExportWork(next(projects))), crew.queue.put(ExportWork(project, is_dry=True))
    time.sleep(1.5)  # the queue is looked at each second
    states = [crew.export(job_id).state for job_id in (first, second, third)]
    gate.set()
    assert states == [ExportState.RUNNING, ExportState.WAITING, ExportState.WAITING]
    for job_id in (second, third):
        crew.end_of(job_id)


def test_zips_are_made_beside_an_export(crew: Crew, project: int) -> None:
    """They have nothing to do with the dataset, nor with each other."""
    gate = crew.exporting.waits(project)
    into_dataset = crew.queue.put(ExportWork(project))
    crew.running(into_dataset)
    zips = [crew.queue.put(ExportWork(project, name)) for name in ("yolo", "coco")]
    for job_id in zips:
        crew.running(job_id)
    elsewhere = crew.queue.put(ExportWork(next(projects), "yolo"))
    gate.set()
    for job_id in (into_dataset, *zips, elsewhere):
        crew.end_of(job_id)


def test_how_far_an_export_is_can_be_seen_by_others(crew: Crew, project: int) -> None:
    """While it runs, by any process with the database's URL; before the first word there is nothing to see."""
    told, go_on = threading.Event(), threading.Event()

    def plan(_job_id: str, progress: Callable[[str, int, int], None]) -> tuple[str, bool]:
        assert told.wait(20)
        progress("cutting patches", 12, 40)
        assert go_on.wait(20)
        return "3 negatives written", False

    crew.exporting.plans[project] = plan
    job_id = crew.queue.put(ExportWork(project))
    assert crew.running(job_id).progress is None
    told.set()
    seen = wait_for("progress", lambda: crew.export(job_id).progress)
    (listed,) = (job for job in crew.queue.exports() if job.id == job_id)
    go_on.set()
    crew.end_of(job_id)
    assert seen == listed.progress == Progress("cutting patches", 12, 40)


def test_an_export_knows_by_which_id_it_is_asked_for(crew: Crew, project: int) -> None:
    """What it leaves has to be found by it."""
    given: list[str] = []

    def plan(job_id: str, _progress: Callable[[str, int, int], None]) -> tuple[str, bool]:
        given.append(job_id)
        return "3 negatives written", False

    crew.exporting.plans[project] = plan
    job_id = crew.queue.put(ExportWork(project, "yolo"))
    crew.end_of(job_id)
    assert given == [job_id]


def test_an_export_that_fails_says_why(crew: Crew, project: int) -> None:
    """In our words; nothing is tried again that can't succeed."""
    crew.exporting.fails(project, ExportError("the dataset is gone: bring it back"))
    job_id = crew.queue.put(ExportWork(project))
    crew.end_of(job_id)
    over = crew.export(job_id)
    assert (over.state, over.failed, over.message) == (ExportState.FAILED, True, "the dataset is gone: bring it back")
    assert crew.exporting.count(project) == 1


def test_an_export_is_tried_again_where_that_helps(crew: Crew, project: int) -> None:
    """As other jobs are."""
    crew.exporting.fails(project, LabelStudioUnavailable(DOWN))
    job_id = crew.queue.put(ExportWork(project))
    crew.end_of(job_id)
    assert (crew.exporting.count(project), crew.export(job_id).message) == (TRIES, DOWN)


def test_an_export_that_wrote_less_has_failed(crew: Crew, project: int) -> None:
    """What it says is what it did."""
    crew.exporting.plans[project] = lambda _job_id, _progress: ("2 negatives written, 1 task failed", True)
    job_id = crew.queue.put(ExportWork(project))
    crew.end_of(job_id)
    over = crew.export(job_id)
    assert (over.state, over.message) == (ExportState.FAILED, "2 negatives written, 1 task failed")


def test_an_export_that_lasts_too_long_is_stopped(crew: Crew, project: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says how long it may last."""
    monkeypatch.setattr(jobs, "LONGEST_EXPORT", timedelta(seconds=1))
    gate = crew.exporting.waits(project)
    job_id = crew.queue.put(ExportWork(project, "yolo"))
    crew.end_of(job_id)
    gate.set()
    over = crew.export(job_id)
    assert (over.state, over.message) == (ExportState.FAILED, "it took longer than 1 seconds and was stopped")


@pytest.mark.parametrize("job_id", ["export-1-00", "", "a'b", "%"])
def test_an_export_that_nobody_asked_for_is_none(crew: Crew, job_id: str) -> None:
    """Nor is a job of another kind one."""
    assert crew.queue.export(job_id) is None
    assert crew.queue.export(BEFORE_THE_WORKER.job_id) is None


def test_an_export_of_an_older_version_is_done(crew: Crew, project: int) -> None:
    """It was put in before there were kinds, and the service was upgraded meanwhile."""
    options: EnqueueOptions = {
        "workflow_name": jobs.EXPORT,
        "queue_name": jobs.EXPORT,
        "workflow_id": f"export:{project}:0a1b-2c",
        "app_version": jobs.APPLICATION_VERSION,
    }
    crew.queue._client.enqueue(options, project)
    crew.end_of(f"export:{project}:0a1b-2c")
    assert crew.exporting.calls[-1] == ExportWork(project)
    assert crew.export(f"export:{project}:0a1b-2c").work == ExportWork(project)


@pytest.mark.parametrize("zip_format", ["", "yolo"])
@pytest.mark.parametrize("error", [None, ExportError("the dataset is gone: bring it back")])
def test_exports_are_forgotten_after_days(crew: Crew, project: int, zip_format: str, error: Exception | None) -> None:
    """Those that failed, too: their reports go, and nobody waits for them any more."""
    if error is not None:
        crew.exporting.fails(project, error)
    job_id = crew.queue.put(ExportWork(project, zip_format))
    crew.end_of(job_id)
    crew.queue.tidy(datetime.now(UTC) + jobs.KEPT - timedelta(hours=1))
    assert crew.queue.export(job_id) is not None
    crew.queue.tidy(datetime.now(UTC) + jobs.KEPT + timedelta(hours=1))
    assert crew.queue.export(job_id) is None


def test_what_exports_left_is_swept_with_them(crew: Crew) -> None:
    """By the upkeep, as old as the jobs that are deleted."""
    options: EnqueueOptions = {
        "workflow_name": jobs.UPKEEP,
        "queue_name": jobs.RECONCILE,
        "workflow_id": "upkeep at once",
        "app_version": jobs.APPLICATION_VERSION,
    }
    began = datetime.now(UTC)
    crew.queue._client.enqueue(options, began, None)
    crew.end_of("upkeep at once")
    assert began - jobs.KEPT <= crew.swept[-1] <= datetime.now(UTC) - jobs.KEPT


def test_progress_is_passed_on_now_and_then() -> None:
    """The beginning of each part at once, the rest twice a second, however often it is told."""
    now, told = [10.0], list[Progress]()
    throttled = Throttled(told.append, timer=lambda: now[0])
    for done in range(1, 1001):
        throttled("cutting patches", done, 1000)
        now[0] += 1 / 1024
    throttled("writing negatives", 1, 1000)
    throttled("writing negatives", 2, 1000)
    assert told == [
        Progress("cutting patches", 1, 1000),
        Progress("cutting patches", 513, 1000),
        Progress("writing negatives", 1, 1000),
    ]


def test_progress_that_can_t_be_written_down_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """An export is not lost for it."""

    def fails(_progress: Progress) -> None:
        raise OperationalError("update", {}, Exception("database is locked"))

    Throttled(fails)("cutting patches", 1, 1000)
    assert "progress was not written down" in caplog.text


# Processes: they die, come back, and work beside each other

WORKER = """
import os, sys, time
from service.jobs import Worker

url, diary, hold = sys.argv[1:]

def note(*words):
    with open(diary, "a") as file:
        print(os.getpid(), *words, file=file)

def propose(project_id, task_ids):
    note("begin", project_id, *task_ids)
    time.sleep(0.1)
    while os.path.exists(hold):
        time.sleep(0.01)
    note("end", project_id, *task_ids)
    return {"tasks": len(task_ids)}

def export(work, job_id, progress):
    propose(work.project_id, ("all",))
    return "written", False

def reconcile(project_id, seen):
    note("look", project_id)
    return {}

worker = Worker(
    url, propose=propose, reconcile=reconcile, export=export, sweep=lambda before: None, reconcile_seconds=59
)
note("up")
sys.stdin.read()
worker.close()
"""

SLOT = """
import sys
from service.jobs import take_slot

slot = take_slot(sys.argv[1])
print(slot.executor_id, flush=True)
sys.stdin.read()
"""


class Processes:
    """Starts scripts that run until their stdin is closed; `diary` has what the workers noted, in its order."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._diary = folder / "diary"
        self._diary.touch()
        self._started: list[subprocess.Popen[str]] = []

    def start(self, script: str, *arguments: str) -> subprocess.Popen[str]:
        """Run a script."""
        process = subprocess.Popen(
            [sys.executable, "-c", script, *arguments],
            env={**os.environ, "TMPDIR": str(self._folder)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._started.append(process)
        return process

    def start_worker(self, url: str, *, held: bool = False) -> subprocess.Popen[str]:
        """Run a worker, whose jobs don't end before `release` if it is held; returns when it is up."""
        hold = self._folder / ("hold" if held else "no hold")
        if held:
            hold.touch()
        process = self.start(WORKER, url, str(self._diary), str(hold))
        wait_for("the worker", lambda: self.noted(process, "up"))
        return process

    def release(self) -> None:
        """Let the jobs of held workers end."""
        (self._folder / "hold").unlink()

    def take_slot(self, url: str) -> tuple[str, subprocess.Popen[str]]:
        """Take a slot in a process of its own; returns the executor's id and who holds it."""
        process = self.start(SLOT, url)
        assert process.stdout is not None
        return process.stdout.readline().strip(), process

    def noted(self, process: subprocess.Popen[str] | None, words: str) -> list[int]:
        """The lines of the diary where the process (or any) noted this."""
        lines = [line.partition(" ") for line in self._diary.read_text().splitlines()]
        return [
            at for at, (pid, _, rest) in enumerate(lines) if rest == words and (not process or int(pid) == process.pid)
        ]

    def kill(self, process: subprocess.Popen[str]) -> None:
        """As by kill -9, or a power cut."""
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            assert stream is not None
            stream.close()

    def clear(self) -> None:
        """Kill what is left."""
        for process in self._started:
            self.kill(process)


@pytest.fixture
def processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Processes]:
    """Processes that end with the test; their slots are this test's own."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    processes = Processes(tmp_path)
    yield processes
    processes.clear()


@pytest.fixture
def queue(database_url: str) -> Iterator[JobQueue]:
    """A queue without a worker."""
    with JobQueue(database_url) as queue:
        yield queue


def ended(queue: JobQueue, job_id: str) -> Mapping[str, Any] | NegativesError:
    """What came of the job, when it has ended."""
    return wait_for(f"the end of {job_id}", lambda: queue.finished([job_id]))[job_id]


def test_a_job_whose_worker_was_killed_is_done_after_its_restart(
    database_url: str, queue: JobQueue, processes: Processes
) -> None:
    """kill -9 in the middle of a job loses nothing: the same slot gets its job back at once."""
    job_id = queue.put(ProposeWork(7, (12,), "a"))
    first = processes.start_worker(database_url, held=True)
    wait_for("the job to begin", lambda: processes.noted(first, "begin 7 12"))
    processes.kill(first)
    processes.release()
    processes.start_worker(database_url)
    assert ended(queue, job_id) == {"tasks": 1}


@pytest.mark.parametrize(
    ("work", "longest", "begun"),
    [
        (ProposeWork(7, (12,), "a"), jobs.LONGEST_JOB, "begin 7 12"),
        (ExportWork(7), jobs.LONGEST_EXPORT, "begin 7 all"),
        (ExportWork(7, "yolo"), jobs.LONGEST_EXPORT, "begin 7 all"),
    ],
    ids=["a proposal", "an export", "a ZIP"],
)
def test_a_job_whose_worker_never_came_back_is_resumed(
    database_url: str,
    queue: JobQueue,
    processes: Processes,
    work: ProposeWork | ExportWork,
    longest: timedelta,
    begun: str,
) -> None:
    """After as long as the longest may take, and a minute, `tidy` gives it to a worker that lives; not before."""
    job_id = queue.put(work)
    first = processes.start_worker(database_url, held=True)
    wait_for("the job to begin", lambda: processes.noted(first, begun))
    processes.kill(first)
    slot_of_the_dead = take_slot(database_url)
    try:
        processes.start_worker(database_url)
        ended(queue, queue.put(ProposeWork(8, (12,), "a")))
        assert queue.finished([job_id]) == {}
        queue.tidy(datetime.now(UTC) + longest)
        assert len(processes.noted(None, begun)) == 1
        processes.release()
        queue.tidy(datetime.now(UTC) + longest + timedelta(minutes=2))
        ended(queue, job_id)
        assert len(processes.noted(None, begun)) == 2
    finally:
        slot_of_the_dead.release()


def test_a_job_that_is_being_done_is_not_taken_for_silent(
    database_url: str, queue: JobQueue, processes: Processes
) -> None:
    """`tidy` leaves alone what has been running for less than the longest job may."""
    job_id = queue.put(ProposeWork(7, (12,), "a"))
    worker = processes.start_worker(database_url, held=True)
    wait_for("the job to begin", lambda: processes.noted(worker, "begin 7 12"))
    queue.tidy(datetime.now(UTC) + jobs.LONGEST_JOB)
    processes.release()
    ended(queue, job_id)
    ended(queue, queue.put(ProposeWork(7, (13,), "a")))
    assert len(processes.noted(worker, "begin 7 12")) == 1


def test_a_starting_worker_leaves_alone_what_another_is_doing(
    database_url: str, queue: JobQueue, processes: Processes
) -> None:
    """Only its own unfinished jobs are taken up again by a process that starts."""
    job_id = queue.put(ProposeWork(7, (12,), "a"))
    wait_for(
        "the job to begin", partial(processes.noted, processes.start_worker(database_url, held=True), "begin 7 12")
    )
    processes.start_worker(database_url)
    time.sleep(1)  # nothing tells that it has taken up nothing
    processes.release()
    ended(queue, job_id)
    assert len(processes.noted(None, "begin 7 12")) == 1


def test_jobs_of_one_lane_do_not_overlap_across_processes(
    database_url: str, queue: JobQueue, processes: Processes
) -> None:
    """Two workers beside each other still publish for a task one after the other."""
    for _ in range(2):
        processes.start_worker(database_url)
    tasks = range(0, 8 * LANES, LANES)
    for job_id in [queue.put(ProposeWork(7, (task,), "a")) for task in tasks]:
        ended(queue, job_id)
    spans = sorted(
        (*processes.noted(None, f"begin 7 {task}"), *processes.noted(None, f"end 7 {task}")) for task in tasks
    )
    assert all(end < begin for (_, end), (begin, _) in pairwise(spans))


def test_a_worker_that_is_closed_lets_its_job_end(database_url: str, queue: JobQueue, processes: Processes) -> None:
    """Stopping the service does not throw away what is nearly done."""
    job_id = queue.put(ProposeWork(7, (12,), "a"))
    worker = processes.start_worker(database_url, held=True)
    wait_for("the job to begin", lambda: processes.noted(worker, "begin 7 12"))
    assert worker.stdin is not None
    worker.stdin.close()
    time.sleep(0.5)  # by now it is closing
    processes.release()
    worker.wait(20)
    assert queue.finished([job_id]) == {job_id: {"tasks": 1}}


def test_a_worker_looks_at_everything_when_it_starts(database_url: str, processes: Processes) -> None:
    """What happened while the service was down is made good at once, not at the clock's next turn."""
    wait_out_the_clock()
    worker = processes.start_worker(database_url)
    wait_for("the look", lambda: processes.noted(worker, "look None"), seconds=5)


def wait_out_the_clock() -> None:
    """Until the schedule of `WORKER`, the seconds 59 and 0, is five seconds away."""
    if (second := datetime.now(UTC).second) >= 52:
        time.sleep(61 - second)


# Slots: who is who among the workers of a machine

URL = "postgresql://negatives@localhost/negatives"


def test_live_processes_have_different_executor_ids(processes: Processes) -> None:
    """Two with the same would take each other's jobs for their own."""
    (first, _), (second, _) = processes.take_slot(URL), processes.take_slot(URL)
    assert first != second


def test_who_dies_leaves_the_executor_id_to_who_comes_next(processes: Processes) -> None:
    """So unfinished jobs are taken up again, even after kill -9, even when others live."""
    first, process = processes.take_slot(URL)
    processes.take_slot(URL)
    processes.kill(process)
    assert processes.take_slot(URL)[0] == first


def test_executor_ids_are_counted_per_database(processes: Processes) -> None:
    """Another installation on the same machine does not move our slots."""
    assert processes.take_slot(URL)[0] == processes.take_slot(f"{URL}_of_others")[0]


def test_a_slot_that_is_given_back_is_free(processes: Processes) -> None:
    """As after an orderly end."""
    first = take_slot(URL)
    first.release()
    assert processes.take_slot(URL)[0] == first.executor_id


def test_a_sqlite_file_is_the_same_by_any_path(
    processes: Processes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker started from another folder does not get a name that is in use."""
    monkeypatch.chdir(tmp_path)
    (first, _), (second, _) = (
        processes.take_slot("sqlite:///negatives.db"),
        processes.take_slot(f"sqlite:///{tmp_path}/negatives.db"),
    )
    assert first != second


# The database


def test_sqlite_writes_ahead(tmp_path: Path) -> None:
    """One fsync a job instead of four."""
    path = tmp_path / "negatives.db"
    prepare_database(f"sqlite:///{path}")
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("pragma journal_mode").fetchone() == ("wal",)


def test_folders_of_a_sqlite_file_are_made(tmp_path: Path) -> None:
    """A first start needs no preparation."""
    prepare_database(f"sqlite:///{tmp_path / 'state' / 'of' / 'negatives.db'}")
    assert (tmp_path / "state" / "of" / "negatives.db").is_file()


def test_preparing_a_prepared_database_loses_nothing(database_url: str, queue: JobQueue) -> None:
    """Every process does it when it starts."""
    queue.put(ProposeWork(7, (12,), "a"))
    prepare_database(database_url)
    assert queue.counts().waiting == 1


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://negatives:pa55word@127.0.0.1:1/negatives",
        "postgresql://negatives:pa55word@127.0.0.1:port/negatives",
        "sqlite:////proc/negatives.db",
        "sqlite:////proc/there/is/no/negatives.db",
    ],
)
def test_a_database_that_cannot_be_opened_is_said_in_a_sentence(url: str) -> None:
    """It names the setting, and not the password."""
    with pytest.raises(NegativesError, match="NEGATIVES_DATABASE_URL") as raised:
        JobQueue(url)
    assert "pa55word" not in f"{raised.value}{raised.value.__cause__}"
