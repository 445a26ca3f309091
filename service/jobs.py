"""Durable jobs: the only module that knows the engine, dbos (https://docs.dbos.dev/python).

A job names the work, never its content: a project and some tasks. The worker reads the truth when it runs, so a job
that runs twice, late or out of order does no harm. Two jobs for one task never run at once; events go before
whole-project work.

The settings that keep jobs through crashes, each of them measured:

- the application version is pinned: by default it is a digest of the source, and an upgrade would orphan jobs in
  flight;
- the executor's id is unique per live process and the same after its restart: a slot that is locked while the process
  lives;
- jobs that have been silent for longer than the longest job may last are resumed: a machine that never returns loses
  nothing;
- SQLite in WAL mode, `synchronous` left at FULL; the database is migrated before the web server accepts;
- a job's id is made of what it is about, so a repeated event is the same job.
"""

import logging
import socket
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar, cast
from uuid import uuid4

from dbos import DBOS, DBOSClient, DBOSConfig, EnqueueOptions, WorkflowHandle, WorkflowStatus
from dbos import error as engine_error
from filelock import FileLock, Timeout
from sqlalchemy.exc import SQLAlchemyError

from service.domain.work import ExportJob, ExportState, ExportWork, Progress, ProposeWork, ReconcileWork, Work
from service.errors import NegativesError

log = logging.getLogger(__name__)

T = TypeVar("T")

APPLICATION = "negatives"
APPLICATION_VERSION = "1"  # raise it only when jobs of an older version could not be run by this one
PROPOSE, RECONCILE, UPKEEP, EXPORT, ZIP = "propose", "reconcile", "upkeep", "export", "zip"
POLL_SECONDS = 0.1
LONGEST_JOB = timedelta(minutes=5)
LONGEST_EXPORT = timedelta(hours=2)
ZIPS_AT_ONCE = 2
PROGRESS_SECONDS = 0.5
"""How often an export's progress is written down at most, beside the beginning of each of its parts."""
KEPT = timedelta(days=3)
FIRST, LATER = 1, 10  # priorities: an annotator waits for an event, nobody for a whole project
FIRST_PAUSE, PAUSE_GROWS, TRIES = 0.5, 2.0, 7  # seconds, factor, times: half a minute in all


@dataclass(frozen=True, slots=True)
class FailedJob:
    """A job that ended in an error: what it was about, when, and the sentence for people."""

    id: str
    project_id: int
    task_ids: tuple[int, ...]
    at: datetime
    message: str

    @property
    def pause(self) -> timedelta:
        """How long to leave it alone before it is put in again by itself: half a minute, doubling up to an hour."""
        attempt = int(self.id.partition("#")[2] or 1)
        return min(timedelta(seconds=15 * 2 ** min(attempt, 8)), timedelta(hours=1))


@dataclass(frozen=True, slots=True)
class JobCounts:
    """How many jobs are waiting and running, which failed, and why the last look for changes did, if it did."""

    waiting: int
    running: int
    failed: tuple[FailedJob, ...]
    look_failure: str | None


class JobQueue:
    """Where work is put in and looked at; any process with the database's URL may. Safe to share between threads."""

    def __init__(self, database_url: str) -> None:
        """Opens the database, creating and migrating it if needed."""
        prepare_database(database_url)
        self._client = DBOSClient(
            system_database_url=database_url, application_name=APPLICATION, retry_connection_errors=False
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections back."""
        self._client.destroy()

    def put(self, work: Work) -> str:
        """Make the work durable; when this returns it will be done. Returns the job's id."""
        if isinstance(work, ReconcileWork):
            return self._put_reconcile(work)
        if isinstance(work, ExportWork):
            return self._put_export(work)
        return self._put_propose(work, work.job_id)

    def _put_propose(self, work: ProposeWork, job_id: str) -> str:
        options: EnqueueOptions = {
            "workflow_name": PROPOSE,
            "queue_name": PROPOSE,
            "workflow_id": job_id,
            "app_version": APPLICATION_VERSION,
            "workflow_timeout": LONGEST_JOB.total_seconds(),
            "queue_partition_key": f"{work.project_id}:{work.lane}",
            "priority": FIRST if work.urgent else LATER,
        }
        self._client.enqueue(options, work.project_id, list(work.task_ids))
        return job_id

    def _put_reconcile(self, work: ReconcileWork) -> str:
        job_id = f"{RECONCILE}:{work.project_id or 'all'}:{uuid4()}"
        options: EnqueueOptions = {
            "workflow_name": RECONCILE,
            "queue_name": RECONCILE,
            "workflow_id": job_id,
            "app_version": APPLICATION_VERSION,
            "workflow_timeout": LONGEST_JOB.total_seconds(),
        }
        if work.project_id is None:
            # A look at everything that is waiting or under way sees this change too, or the next one by the clock does.
            options["deduplication_id"] = RECONCILE
            options["duplication_policy"] = "return-existing"
        handle: WorkflowHandle[Any] = self._client.enqueue(options, None, work.project_id)
        return handle.workflow_id

    def _put_export(self, work: ExportWork) -> str:
        name = ZIP if work.zip_format else EXPORT
        arguments = work.project_id, work.zip_format, work.limit_to_band, work.is_dry
        options: EnqueueOptions = {
            "workflow_name": name,
            "queue_name": name,
            "workflow_id": f"{name}-{work.project_id}-{uuid4().hex[:16]}",  # a file's name, and part of an address
            "app_version": APPLICATION_VERSION,
            "workflow_timeout": LONGEST_EXPORT.total_seconds(),
            "deduplication_id": ":".join(map(str, (name, *arguments))),  # pressing the button twice is one export
            "duplication_policy": "return-existing",
        }
        handle: WorkflowHandle[Any] = self._client.enqueue(options, *arguments)
        return handle.workflow_id

    def exports(self) -> tuple[ExportJob, ...]:
        """The exports of the last days, the newest first."""
        listed = self._client.list_workflows(name=[EXPORT, ZIP], sort_desc=True, limit=100)
        return tuple(_export(status) for status in listed)

    def export(self, job_id: str) -> ExportJob | None:
        """One export; None where there is none of this id (any more)."""
        listed = self._client.list_workflows(name=[EXPORT, ZIP], workflow_ids=[job_id])
        return _export(listed[0]) if listed else None

    def tell(self, job_id: str, progress: Progress) -> None:
        """Write down how far an export is."""
        self._client.update_workflow_attributes(
            job_id, {"what": progress.what, "done": progress.done, "total": progress.total}
        )

    def finished(self, job_ids: Sequence[str]) -> dict[str, Mapping[str, Any] | NegativesError]:
        """Of these jobs the ones that have ended: what they returned, or why they failed."""
        done: dict[str, Mapping[str, Any] | NegativesError] = {}
        for status in self._client.list_workflows(workflow_ids=list(job_ids)):
            if status.status == "SUCCESS":
                done[status.workflow_id] = cast(Mapping[str, Any], status.output or {})
            elif status.status not in ("ENQUEUED", "PENDING", "DELAYED"):
                done[status.workflow_id] = NegativesError(_message(status))
        return done

    def counts(self) -> JobCounts:
        """What is in flight and what failed."""
        listed = self._client.list_workflows(
            name=PROPOSE, status=["ENQUEUED", "DELAYED", "PENDING"], load_input=False, load_output=False
        )
        running = sum(status.status == "PENDING" for status in listed)
        looks = self._client.list_workflows(
            name=RECONCILE, status=["SUCCESS", "ERROR", "CANCELLED"], sort_desc=True, limit=1
        )
        failure = next(
            (f"{_message(look)} (at {_at(look):%H:%M:%S} UTC)" for look in looks if look.status != "SUCCESS"), None
        )
        return JobCounts(len(listed) - running, running, self.failed(), failure)

    def failed(self) -> tuple[FailedJob, ...]:
        """The jobs that gave up, the newest first."""
        listed = self._client.list_workflows(
            name=PROPOSE,
            status=["ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"],
            sort_desc=True,
            limit=1000,
        )
        return tuple(_failed(status) for status in listed)

    def try_again(self, jobs: Iterable[FailedJob]) -> int:
        """Put failed jobs in once more, each under a new id, and forget the failed ones. Returns how many."""
        count = 0
        for job in jobs:
            work = ProposeWork(job.project_id, job.task_ids, "", urgent=False)
            base, _, attempt = job.id.partition("#")
            self._put_propose(work, f"{base}#{int(attempt or 1) + 1}")
            self._client.delete_workflows([job.id])  # only now: between the two, the job exists twice, never not at all
            count += 1
        return count

    def last_seen(self) -> dict[int, datetime]:
        """Up to when each project's changes have been turned into jobs, by Label Studio's clock."""
        latest = self._client.list_workflows(name=RECONCILE, status="SUCCESS", sort_desc=True, limit=1)
        output = cast(Mapping[str, str], latest[0].output or {}) if latest else {}
        return {int(project): datetime.fromisoformat(moment) for project, moment in output.items()}

    def looks_asked_for(self, project_id: int) -> frozenset[str]:
        """The ids of the looks at this project that events have asked for lately: a new one means that an event came
        in.
        """
        listed = self._client.list_workflows(
            name=RECONCILE,
            workflow_id_prefix=f"{RECONCILE}:{project_id}:",
            load_input=False,
            load_output=False,
        )
        return frozenset(job.workflow_id for job in listed)

    def tidy(self, now: datetime) -> None:
        """Resume jobs whose process never came back; delete what is long done."""
        for name in (PROPOSE, RECONCILE, EXPORT, ZIP):
            silent_since = (now - _longest(name) - timedelta(minutes=1)).timestamp() * 1000
            pending = self._client.list_workflows(name=name, status="PENDING", load_input=False, load_output=False)
            silent = [job.workflow_id for job in pending if (job.updated_at or 0) < silent_since]
            if silent:
                log.warning("resuming %d jobs that went silent: %s", len(silent), ", ".join(silent))
                self._client.resume_workflows(silent, queue_name=name)
        old = self._client.list_workflows(
            status=["SUCCESS"],
            completed_before=(now - KEPT).isoformat(),
            limit=5000,
            load_input=False,
            load_output=False,
        )
        old += self._client.list_workflows(
            name=[EXPORT, ZIP],
            status=["ERROR", "CANCELLED", "MAX_RECOVERY_ATTEMPTS_EXCEEDED"],
            completed_before=(now - KEPT).isoformat(),
            limit=5000,
            load_input=False,
            load_output=False,
        )
        old += self._client.list_workflows(
            name=[RECONCILE, UPKEEP],
            completed_before=(now - timedelta(hours=1)).isoformat(),
            limit=5000,
            load_input=False,
            load_output=False,
        )
        latest = self._client.list_workflows(
            name=RECONCILE, status="SUCCESS", sort_desc=True, limit=1, load_output=False
        )
        keep = {job.workflow_id for job in latest}
        if ids := [job.workflow_id for job in old if job.workflow_id not in keep]:
            self._client.delete_workflows(ids)


class Propose(Protocol):
    """What a worker does for a `ProposeWork`; returns what `JobQueue.finished` tells."""

    def __call__(self, project_id: int, task_ids: tuple[int, ...]) -> Mapping[str, Any]:
        """Propose for these tasks."""


class Reconcile(Protocol):
    """What a worker does for a `ReconcileWork`: given up to when changes are known, returns up to when they are now."""

    def __call__(self, project_id: int | None, seen: Mapping[int, datetime]) -> Mapping[int, datetime]:
        """Put in jobs for what changed."""


class Export(Protocol):
    """What a worker does for an `ExportWork`; returns what came of it: a sentence, and whether something failed.

    `progress` may be told as often as one likes what is being done, how much of it is, and of how much.
    """

    def __call__(self, work: ExportWork, job_id: str, progress: Callable[[str, int, int], None]) -> tuple[str, bool]:
        """Export what is accepted."""


class Worker:
    """Runs jobs in threads of this process until closed; one per process.

    `sweep` removes what exports left behind before that moment; it is called once a minute.
    """

    def __init__(
        self,
        database_url: str,
        *,
        propose: Propose,
        reconcile: Reconcile,
        export: Export,
        sweep: Callable[[datetime], object],
        reconcile_seconds: int,
        log_level: str = "WARNING",
    ) -> None:
        self._queue = JobQueue(database_url)
        self._slot = take_slot(database_url)
        config: DBOSConfig = {
            "name": APPLICATION,
            "system_database_url": database_url,
            "application_version": APPLICATION_VERSION,
            "executor_id": self._slot.executor_id,
            "log_level": log_level,
            "scheduler_polling_interval_sec": 1.0,
        }
        DBOS(config=config)
        reconcile_job, upkeep_job = self._register(propose, reconcile, sweep)
        for name in (EXPORT, ZIP):
            self._register_export(name, export)
        DBOS.listen_queues([PROPOSE, RECONCILE, EXPORT, ZIP])
        DBOS.launch()
        DBOS.register_queue(PROPOSE, worker_concurrency=4, partition_concurrency=1, polling_interval_sec=POLL_SECONDS)
        DBOS.register_queue(EXPORT, global_concurrency=1, polling_interval_sec=1.0)
        DBOS.register_queue(ZIP, worker_concurrency=ZIPS_AT_ONCE, polling_interval_sec=1.0)
        DBOS.register_queue(RECONCILE, global_concurrency=1, polling_interval_sec=POLL_SECONDS)
        DBOS.apply_schedules(
            [
                {
                    "schedule_name": RECONCILE,
                    "workflow_fn": reconcile_job,
                    "schedule": f"*/{reconcile_seconds} * * * * *" if reconcile_seconds < 60 else "0 * * * * *",
                    "context": None,
                    "queue_name": RECONCILE,
                },
                {
                    "schedule_name": UPKEEP,
                    "workflow_fn": upkeep_job,
                    "schedule": "30 * * * * *",
                    "context": None,
                    "queue_name": RECONCILE,
                },
            ]
        )
        self._queue.try_again(self._queue.failed())  # a restart is often the cure
        self._queue.put(ReconcileWork(None))

    def _register(
        self, propose: Propose, reconcile: Reconcile, sweep: Callable[[datetime], object]
    ) -> tuple[Callable[[datetime, Any], None], Callable[[datetime, Any], None]]:
        """Tell the engine the jobs by name. Each is one step, so that its retries back off and its result is kept."""
        queue = self._queue

        @DBOS.step(name=PROPOSE, **_tried_again())
        def propose_step(project_id: int, task_ids: list[int]) -> dict[str, Any]:
            return dict(propose(project_id, tuple(task_ids)))

        @DBOS.step(name=RECONCILE)  # the clock tries again
        def reconcile_step(project_id: int | None) -> dict[str, str]:
            seen = queue.last_seen()
            seen.update(reconcile(project_id, seen))
            now = datetime.now(UTC)  # Label Studio answers, so what failed may succeed now
            due = (job for job in queue.failed() if job.project_id == project_id or job.at + job.pause < now)
            queue.try_again(due)  # whatever the cause was: a token or a set-up that was wrong may be right by now
            return {str(project): moment.isoformat() for project, moment in seen.items()}

        @DBOS.step(name=UPKEEP)
        def upkeep_step() -> None:
            now = datetime.now(UTC)
            queue.tidy(now)
            sweep(now - KEPT)

        @DBOS.workflow(name=PROPOSE)
        def propose_job(project_id: int, task_ids: list[int]) -> dict[str, Any]:
            return _with_our_error(lambda: propose_step(project_id, task_ids))

        @DBOS.workflow(name=RECONCILE)
        def reconcile_job(_at: datetime | None, project_id: int | None) -> dict[str, str]:
            return _with_our_error(lambda: reconcile_step(project_id))

        @DBOS.workflow(name=UPKEEP)
        def upkeep_job(_at: datetime, _context: Any) -> None:
            upkeep_step()

        _ = propose_job
        return cast(Callable[[datetime, Any], None], reconcile_job), upkeep_job

    def _register_export(self, name: str, export: Export) -> None:
        """Tell the engine a kind of export by its name."""
        queue = self._queue

        @DBOS.step(name=name, **_tried_again())
        def export_step(work: ExportWork, job_id: str) -> dict[str, Any]:
            message, failed = export(work, job_id, Throttled(lambda progress: queue.tell(job_id, progress)))
            return {"message": message, "failed": failed}

        @DBOS.workflow(name=name)
        def export_job(
            project_id: int, zip_format: str = "", limit_to_band: bool = False, is_dry: bool = False
        ) -> dict[str, Any]:
            work = ExportWork(project_id, zip_format, limit_to_band, is_dry)
            job_id = cast(str, DBOS.workflow_id)
            return _with_our_error(lambda: export_step(work, job_id))

    def close(self) -> None:
        """Let running jobs end, at most ten seconds, then stop."""
        DBOS.destroy(workflow_completion_timeout_sec=10, destroy_registry=True)
        self._queue.close()
        self._slot.release()


class Throttled:
    """Passes progress on, no more often than anybody looks: at the beginning of each part, and then twice a second.

    Progress that can't be passed on is lost, and nothing else.
    """

    def __init__(self, tell: Callable[[Progress], None], *, timer: Callable[[], float] = time.monotonic) -> None:
        """`timer` counts seconds."""
        self._tell = tell
        self._timer = timer
        self._what = ""
        self._next = 0.0

    def __call__(self, what: str, done: int, total: int) -> None:
        """What is being done, how much of it is, and of how much."""
        now = self._timer()
        if what == self._what and now < self._next:
            return
        self._what, self._next = what, now + PROGRESS_SECONDS
        try:
            self._tell(Progress(what, done, total))
        except SQLAlchemyError as error:
            log.warning("progress was not written down (%s)", type(error).__name__)


def _tried_again() -> dict[str, Any]:
    """How a step is tried again."""
    return {
        "retries_allowed": True,
        "interval_seconds": FIRST_PAUSE,
        "backoff_rate": PAUSE_GROWS,
        "max_attempts": TRIES,
        "should_retry": _worth_another_try,
    }


def _worth_another_try(error: BaseException) -> bool:
    return isinstance(error, NegativesError) and error.retryable


def _with_our_error(step: Callable[[], T]) -> T:
    """Run a step; when its tries are used up, raise what the last one said."""
    try:
        return step()
    except engine_error.DBOSMaxStepRetriesExceeded as error:
        raise error.errors[-1] from None


def _message(status: WorkflowStatus) -> str:
    if status.error is not None:
        text = str(status.error)
        return text if isinstance(status.error, NegativesError) else f"{type(status.error).__name__}: {text}"
    return {
        "CANCELLED": f"it took longer than {_longest(status.name).total_seconds():.0f} seconds and was stopped",
    }.get(status.status, "it crashed its worker again and again and was given up")


def _at(status: WorkflowStatus) -> datetime:
    return datetime.fromtimestamp((status.updated_at or 0) / 1000, UTC)


def _longest(name: str) -> timedelta:
    """How long a job of this name may last."""
    return LONGEST_EXPORT if name in (EXPORT, ZIP) else LONGEST_JOB


def _export(status: WorkflowStatus) -> ExportJob:
    work = ExportWork(*status.input["args"]) if status.input else ExportWork(0)
    message = ""
    if status.status in ("ENQUEUED", "DELAYED"):
        state = ExportState.WAITING
    elif status.status == "PENDING":
        state = ExportState.RUNNING
    elif status.status == "SUCCESS":
        output = cast(Mapping[str, Any], status.output or {})
        state = ExportState.FAILED if output.get("failed") else ExportState.DONE
        message = str(output.get("message", ""))
    else:
        state, message = ExportState.FAILED, _message(status)
    progress = Progress(**status.attributes) if status.attributes else None
    return ExportJob(status.workflow_id, work, _at(status), state, message, progress)


def _failed(status: WorkflowStatus) -> FailedJob:
    arguments = status.input["args"] if status.input else (0, [])
    return FailedJob(
        id=status.workflow_id,
        project_id=int(arguments[0]),
        task_ids=tuple(arguments[1]),
        at=_at(status),
        message=_message(status),
    )


def prepare_database(database_url: str) -> None:
    """Create or migrate the database; again is harmless. SQLite is put into WAL mode: one fsync a job instead of
    four. Raises `NegativesError` when it can't be opened.
    """
    try:
        if database_url.startswith("sqlite:///"):
            path = Path(database_url.removeprefix("sqlite:///"))
            path.parent.mkdir(parents=True, exist_ok=True)
            with closing(sqlite3.connect(path)) as connection:
                connection.execute("pragma journal_mode=wal")
        DBOS.migrate(database_url)
    except (OSError, ValueError, sqlite3.Error, SQLAlchemyError) as error:
        raise NegativesError(
            f"the database of NEGATIVES_DATABASE_URL can't be opened ({type(error).__name__}): is it running, and is "
            "the setting right?"
        ) from error


class Slot:
    """A place among the live workers of this machine and database; held by a lock that ends with the process."""

    def __init__(self, lock: FileLock, executor_id: str) -> None:
        self._lock = lock
        self.executor_id = executor_id

    def release(self) -> None:
        """Give the place back."""
        self._lock.release()


def take_slot(database_url: str) -> Slot:
    """The first free place: a process that died gets its own place, and so its own unfinished jobs, back."""
    if database_url.startswith("sqlite:///"):
        database_url = str(Path(database_url.removeprefix("sqlite:///")).resolve())
    where = sha256(database_url.encode()).hexdigest()[:16]
    number = 0
    while True:
        lock = FileLock(Path(tempfile.gettempdir()) / f"negatives-{where}-{number}.lock")
        try:
            lock.acquire(timeout=0)
        except (Timeout, PermissionError):
            number += 1
            continue
        return Slot(lock, f"{socket.gethostname()}-{number}")
