"""What Label Studio holds, kept between requests: never older than it says, and read no more often than needed."""

import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.model import Rules, Task
from service.domain.work import LOOK_BACK
from service.errors import LabelStudioUnavailable, SetupError
from service.label_studio.labeling import Labeling, connect, read_labeling
from service.web.snapshot import Snapshots
from tests.factories import NOON, task
from tests.service_process import wait_for

P = 3
LABELING = read_labeling(connect('<View><Image name="image" value="$image"/></View>', Rules()))


@dataclass(frozen=True, slots=True)
class SomeChange:
    """A task that changed."""

    task_id: int
    updated_at: datetime


class FakeStudio:
    """A project's tasks in Label Studio; `calls` remembers what was asked, `quiet` are in no list of changes."""

    def __init__(self, *task_ids: int) -> None:
        self.held: dict[int, Task] = {}
        self.quiet: set[int] = set()
        self.calls: list[object] = []
        self.trouble: Exception | None = None
        self.view = LABELING
        self.now = NOON
        self.gate: threading.Event | None = None
        for task_id in task_ids:
            self.change(task_id)

    def change(self, task_id: int) -> None:
        """Something about the task changes, a second later."""
        self.now += timedelta(seconds=1)
        self.held[task_id] = replace(task(task_id=task_id, project_id=P), updated_at=self.now)

    def _asked(self, call: object) -> None:
        self.calls.append(call)
        if self.trouble is not None:
            raise self.trouble

    def labeling(self, project_id: int) -> Labeling:
        assert project_id == P
        return self.view

    def tasks(self, project_id: int, labeling: Labeling, task_ids: Sequence[int] | None = None) -> Iterator[Task]:
        self._asked("all" if task_ids is None else tuple(task_ids))
        if self.gate is not None:
            assert self.gate.wait(10)
        assert (project_id, labeling) == (P, self.view)
        yield from (one for one in list(self.held.values()) if task_ids is None or one.id in task_ids)

    def changed_since(self, project_id: int, moment: datetime | None) -> Sequence[SomeChange]:
        self._asked("changes")
        assert project_id == P
        return [
            SomeChange(one.id, one.updated_at)
            for one in self.held.values()
            if one.id not in self.quiet and (moment is None or one.updated_at > moment)
        ]

    def task_moments(self, project_id: int) -> Mapping[int, datetime]:
        self._asked("moments")
        assert project_id == P
        return {one.id: one.updated_at for one in self.held.values()}


class Clock:
    """Seconds, as a test wants them."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def studio() -> FakeStudio:
    """Three tasks."""
    return FakeStudio(1, 2, 3)


@pytest.fixture
def clock() -> Clock:
    """It stands still."""
    return Clock()


@pytest.fixture
def snapshots(studio: FakeStudio, clock: Clock) -> Snapshots:
    """Of that studio: asked at most every 2 seconds, listed every 30."""
    return Snapshots(lambda: studio, fresh_seconds=2, listed_seconds=30, clock=clock)


def held(snapshots: Snapshots) -> list[Task]:
    """What is given out."""
    return list(snapshots.tasks(P))


def test_the_first_time_all_is_read(snapshots: Snapshots, studio: FakeStudio) -> None:
    """By id."""
    assert held(snapshots) == [studio.held[number] for number in (1, 2, 3)]


def test_within_two_seconds_nothing_is_asked(snapshots: Snapshots, studio: FakeStudio, clock: Clock) -> None:
    """And the same object is given out."""
    first = snapshots.tasks(P)
    studio.calls.clear()
    clock.now += 1.9
    assert snapshots.tasks(P) is first
    assert studio.calls == []


def test_later_one_call_tells_that_nothing_changed(snapshots: Snapshots, studio: FakeStudio, clock: Clock) -> None:
    """What the look back finds again isn't read again."""
    first = snapshots.tasks(P)
    studio.calls.clear()
    clock.now += 2
    assert snapshots.tasks(P) is first
    assert studio.calls == ["changes"]


def test_only_what_changed_is_read(snapshots: Snapshots, studio: FakeStudio, clock: Clock) -> None:
    """And once."""
    held(snapshots)
    studio.change(2)
    studio.change(9)
    studio.calls.clear()
    for _ in range(3):
        clock.now += 2
        assert held(snapshots) == [studio.held[number] for number in (1, 2, 3, 9)]
    assert studio.calls == ["changes", (2, 9), "changes", "changes"]


def test_a_change_that_shows_late_is_found(snapshots: Snapshots, studio: FakeStudio, clock: Clock) -> None:
    """It bears an older moment than one that was seen before."""
    held(snapshots)
    moment = studio.now
    studio.change(1)
    clock.now += 2
    held(snapshots)
    late = moment - LOOK_BACK + timedelta(seconds=2)
    studio.held[3] = replace(studio.held[3], updated_at=late, image="/data/other.jpg")
    clock.now += 2
    assert held(snapshots)[2].image == "/data/other.jpg"


@pytest.mark.parametrize("seconds", [2, 30])
def test_what_was_deleted_goes(snapshots: Snapshots, studio: FakeStudio, clock: Clock, seconds: int) -> None:
    """No list of changes names it: the next listing does."""
    held(snapshots)
    del studio.held[2]
    clock.now += seconds
    assert [one.id for one in held(snapshots)] == ([1, 2, 3] if seconds == 2 else [1, 3])


def test_what_no_list_of_changes_names_comes_with_the_next_listing(
    snapshots: Snapshots, studio: FakeStudio, clock: Clock
) -> None:
    """A task that was imported, or that lost its last annotation."""
    held(snapshots)
    studio.quiet = {2, 8}
    studio.change(2)
    studio.change(8)
    clock.now += 30
    assert held(snapshots) == [studio.held[number] for number in (1, 2, 3, 8)]


def test_what_was_written_is_read_at_once(snapshots: Snapshots, studio: FakeStudio) -> None:
    """Within the two seconds, and nothing else."""
    held(snapshots)
    studio.quiet = {2}
    studio.change(2)
    studio.calls.clear()
    snapshots.forget(P, [2])
    assert held(snapshots)[1] == studio.held[2]
    assert studio.calls == [(2,)]
    held(snapshots)
    assert studio.calls == [(2,)]


def test_a_forgotten_task_that_is_gone_goes(snapshots: Snapshots, studio: FakeStudio) -> None:
    """Somebody deleted it while it was written to."""
    held(snapshots)
    del studio.held[2]
    snapshots.forget(P, [2])
    assert [one.id for one in held(snapshots)] == [1, 3]


def test_when_label_studio_fails_nothing_is_lost(snapshots: Snapshots, studio: FakeStudio, clock: Clock) -> None:
    """It is told, and what was to be read is read the next time."""
    held(snapshots)
    studio.change(2)
    snapshots.forget(P, [1])
    studio.trouble = LabelStudioUnavailable("down")
    clock.now += 2
    with pytest.raises(LabelStudioUnavailable):
        held(snapshots)
    studio.trouble = None
    studio.calls.clear()
    assert held(snapshots) == list(studio.held.values())
    assert studio.calls == ["changes", (1, 2)]


def test_when_the_first_reading_fails_it_is_done_again(snapshots: Snapshots, studio: FakeStudio) -> None:
    """Half a project is none."""
    studio.trouble = LabelStudioUnavailable("down")
    with pytest.raises(LabelStudioUnavailable):
        held(snapshots)
    studio.trouble = None
    assert len(held(snapshots)) == 3


def test_another_labeling_configuration_reads_all_anew(snapshots: Snapshots, studio: FakeStudio, clock: Clock) -> None:
    """The same annotations mean something else then."""
    held(snapshots)
    studio.view = replace(LABELING, image="photo", data_key="photo")
    studio.held[1] = replace(studio.held[1], image="/data/other.jpg")
    clock.now += 30
    assert held(snapshots)[0].image == "/data/other.jpg"


def test_an_empty_project(clock: Clock) -> None:
    """And its first task."""
    studio = FakeStudio()
    snapshots = Snapshots(lambda: studio, clock=clock)
    assert held(snapshots) == []
    studio.change(4)
    clock.now += 2
    assert held(snapshots) == [studio.held[4]]


def test_one_task_is_given_without_asking(snapshots: Snapshots, studio: FakeStudio, clock: Clock) -> None:
    """Two hundred pictures need two hundred of them."""
    held(snapshots)
    studio.calls.clear()
    clock.now += 60
    assert snapshots.task(P, 2) == studio.held[2]
    assert studio.calls == []
    assert snapshots.task(P, 99) is None


def test_many_that_ask_at_once_have_it_read_once(snapshots: Snapshots, studio: FakeStudio) -> None:
    """A page and its pictures arrive together."""
    studio.gate = threading.Event()
    with ThreadPoolExecutor(8) as pool:
        asked = [pool.submit(held, snapshots) for _ in range(8)]
        wait_for(lambda: "all" in studio.calls, "the reading")
        studio.gate.set()
        assert {len(one.result(10)) for one in asked} == {3}
    assert studio.calls.count("all") == 1


def test_a_project_that_is_not_connected_is_told(studio: FakeStudio, snapshots: Snapshots) -> None:
    """In a sentence, before anything is read."""
    studio.view = Labeling("image", "image")
    with pytest.raises(SetupError, match="negatives setup"):
        held(snapshots)
    assert studio.calls == []


def test_what_is_forgotten_during_a_reading_is_read_again(snapshots: Snapshots, studio: FakeStudio) -> None:
    """What was read may be from before it was written, and writing doesn't wait for the reading."""
    studio.gate = threading.Event()
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(held, snapshots)
        wait_for(lambda: "all" in studio.calls, "the reading")
        snapshots.forget(P, [1])
        studio.gate.set()
        reading.result(10)
    studio.calls.clear()
    held(snapshots)
    assert studio.calls == [(1,)]


@given(
    st.lists(
        st.tuples(st.sampled_from(["change", "import", "delete", "quiet", "forget", "look"]), st.integers(1, 6)),
        max_size=30,
    )
)
def test_after_a_listing_it_is_what_label_studio_holds(events: list[tuple[str, int]]) -> None:
    """Whatever happened before, in whatever order."""
    studio, clock = FakeStudio(1, 2, 3), Clock()
    snapshots = Snapshots(lambda: studio, clock=clock)
    for what, task_id in events:
        clock.now += task_id
        match what:
            case "change" | "import":
                studio.change(task_id)
            case "delete":
                studio.held.pop(task_id, None)
            case "quiet":
                studio.quiet ^= {task_id}
            case "forget":
                snapshots.forget(P, [task_id])
                assert studio.held.get(task_id) == {one.id: one for one in held(snapshots)}.get(task_id)
            case "look":
                held(snapshots)
    held(snapshots)
    clock.now += 30
    assert held(snapshots) == [studio.held[task_id] for task_id in sorted(studio.held)]
