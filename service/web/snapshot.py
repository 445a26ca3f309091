"""What Label Studio holds now, kept between requests: read whole once, then only what changed."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from cachetools import LRUCache

from service.domain.model import Task
from service.domain.work import LOOK_BACK
from service.label_studio.labeling import Labeling

FRESH_SECONDS = 2.0
"""For so long nothing is asked again."""
LISTED_SECONDS = 30.0
"""How often the ids are listed: what was deleted, imported or lost its last annotation is in no list of changes."""
MOST_PROJECTS = 256


class Changed(Protocol):
    """A task that changed."""

    @property
    def task_id(self) -> int:
        """Its id."""

    @property
    def updated_at(self) -> datetime:
        """When, by Label Studio's clock."""


class Studio(Protocol):
    """What a snapshot asks of Label Studio."""

    def labeling(self, project_id: int) -> Labeling:
        """What the project's labeling configuration says to us."""

    def tasks(self, project_id: int, labeling: Labeling, task_ids: Sequence[int] | None = None) -> Iterator[Task]:
        """The project's tasks, or those of them that exist."""

    def changed_since(self, project_id: int, moment: datetime | None) -> Sequence[Changed]:
        """Tasks that changed after the moment, oldest change first."""

    def task_moments(self, project_id: int) -> Mapping[int, datetime]:
        """All tasks by id, with when each changed last."""


@dataclass(slots=True)
class _Held:
    """One project's tasks by id, and how far they are known. What is said of them is changed under `lock`."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    labeling: Labeling | None = None
    tasks: dict[int, Task] = field(default_factory=dict)
    seen: dict[int, datetime] = field(default_factory=dict)
    until: datetime | None = None
    looked_at: float = 0.0
    listed_at: float = 0.0
    view: tuple[Task, ...] = ()
    forgotten: set[int] = field(default_factory=set)


class Snapshots:
    """The tasks of projects as Label Studio holds them now. Safe to share between threads.

    `studio` gives the client that reads, and is asked only when something has to be read. A project's tasks are read
    whole the first time, and then what changed, at most every `fresh_seconds`; `clock` counts seconds. Many that ask at
    the same time have it read once.
    """

    def __init__(
        self,
        studio: Callable[[], Studio],
        *,
        fresh_seconds: float = FRESH_SECONDS,
        listed_seconds: float = LISTED_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._studio = studio
        self._fresh = fresh_seconds
        self._listed = listed_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._projects: LRUCache[int, _Held] = LRUCache(MOST_PROJECTS)

    def tasks(self, project_id: int) -> Sequence[Task]:
        """The project's tasks, by id. Raises what the client does when Label Studio can't be asked, and `SetupError`
        for a project that isn't connected.
        """
        held = self._held(project_id)
        with held.lock:
            now = self._clock()
            if held.labeling is None:
                self._read_all(project_id, held)
                held.looked_at = held.listed_at = now
            elif held.forgotten or now - held.looked_at >= self._fresh:
                self._look(project_id, held, now)
            return held.view

    def task(self, project_id: int, task_id: int) -> Task | None:
        """One task as it was read last; Label Studio is asked only for one that isn't known yet."""
        held = self._held(project_id)
        known = held.tasks.get(task_id)
        if known is not None:
            return known
        return next((task for task in self.tasks(project_id) if task.id == task_id), None)

    def forget(self, project_id: int, task_ids: Iterable[int]) -> None:
        """Have these read anew before they are given out again: something was written to them."""
        held = self._held(project_id)
        with self._lock:
            held.forgotten |= set(task_ids)

    def _held(self, project_id: int) -> _Held:
        with self._lock:
            held: _Held | None = self._projects.get(project_id)
            if held is None:
                held = self._projects[project_id] = _Held()
            return held

    def _read_all(self, project_id: int, held: _Held) -> None:
        studio = self._studio()
        forgotten = self._take_forgotten(held)
        try:
            labeling = studio.labeling(project_id)
            labeling.check(project_id)
            # Listed before they are read: what changes meanwhile is found by the next look.
            moments = dict(studio.task_moments(project_id))
            tasks = {task.id: task for task in studio.tasks(project_id, labeling)}
        except BaseException:
            self._give_back(held, forgotten)
            raise
        held.labeling, held.tasks, held.seen = labeling, tasks, moments
        held.until = max(moments.values(), default=None)
        held.view = tuple(tasks[task_id] for task_id in sorted(tasks))

    def _look(self, project_id: int, held: _Held, now: float) -> None:
        studio = self._studio()
        forgotten = self._take_forgotten(held)
        try:
            is_listing = now - held.listed_at >= self._listed
            if is_listing:
                labeling = studio.labeling(project_id)
                if labeling != held.labeling:  # every task reads differently now
                    self._read_all(project_id, held)
                    held.looked_at = held.listed_at = now
                    return
            # Within the time in which nothing is asked, only what was written by us is read.
            is_looking = is_listing or now - held.looked_at >= self._fresh
            since = held.until and held.until - LOOK_BACK
            changes = studio.changed_since(project_id, since) if is_looking else ()
            moments = {change.task_id: change.updated_at for change in changes}
            listed = studio.task_moments(project_id) if is_listing else None
            for task_id, moment in (listed or {}).items():
                if task_id not in held.seen or moment > held.seen[task_id]:
                    moments[task_id] = max(moment, moments.get(task_id, moment))
            wanted = forgotten | {task_id for task_id, moment in moments.items() if held.seen.get(task_id) != moment}
            assert held.labeling is not None
            read = list(studio.tasks(project_id, held.labeling, sorted(wanted))) if wanted else []
        except BaseException:
            self._give_back(held, forgotten)
            raise
        gone = wanted - {task.id for task in read}
        if listed is not None:
            gone |= held.tasks.keys() - listed.keys()
        if read or gone & held.tasks.keys():
            tasks = {task_id: task for task_id, task in held.tasks.items() if task_id not in gone}
            tasks |= {task.id: task for task in read}
            held.tasks = tasks  # a new one: others may be reading the old one
            held.view = tuple(tasks[task_id] for task_id in sorted(tasks))
        held.seen |= moments
        held.until = max([*moments.values(), *([held.until] if held.until else [])], default=None)
        if is_looking:
            held.looked_at = now
        if is_listing:
            held.listed_at = now

    def _take_forgotten(self, held: _Held) -> set[int]:
        with self._lock:
            forgotten, held.forgotten = held.forgotten, set()
            return forgotten

    def _give_back(self, held: _Held, forgotten: set[int]) -> None:
        with self._lock:
            held.forgotten |= forgotten
