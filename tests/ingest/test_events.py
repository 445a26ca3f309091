"""Which work Label Studio's events ask for; what it sends was recorded (`tests/payloads/README.md`)."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.work import ProposeWork, ReconcileWork, Work
from service.errors import PayloadError
from service.ingest.events import DELETED, OF_NO_INTEREST, PROJECT_TOLD, SUBSCRIBED, TASKS_TOLD, Event, read_event
from service.label_studio.labeling import ROI_SHAPES

PAYLOADS = Path(__file__).parent.parent / "payloads"
PREFIX = "webhook_"

RECORDED: dict[str, tuple[str, Work]] = {
    "annotation_answered_live": (
        "ANNOTATION_CREATED",
        ProposeWork(project_id=1, task_ids=(3,), mark="2026-11-20T14:06:56.803816+00:00", urgent=True),
    ),
    "annotation_created": (
        "ANNOTATION_CREATED",
        ProposeWork(project_id=5, task_ids=(408,), mark="2026-11-20T07:55:29.033867+00:00", urgent=True),
    ),
    "annotation_skipped": (
        "ANNOTATION_CREATED",
        ProposeWork(project_id=5, task_ids=(410,), mark="2026-11-20T07:55:30.497860+00:00", urgent=True),
    ),
    "annotation_updated": (
        "ANNOTATION_UPDATED",
        ProposeWork(project_id=5, task_ids=(408,), mark="2026-11-20T07:55:30.102885+00:00", urgent=True),
    ),
    "annotations_created_bulk": (
        "ANNOTATIONS_CREATED",
        ProposeWork(project_id=5, task_ids=(408,), mark="2026-11-20T07:55:31.948684+00:00", urgent=True),
    ),
    "annotations_deleted": ("ANNOTATIONS_DELETED", ReconcileWork(project_id=5)),
    "project_updated": ("PROJECT_UPDATED", ReconcileWork(project_id=5)),
    "tasks_created": (
        "TASKS_CREATED",
        ProposeWork(project_id=5, task_ids=(411,), mark="2026-11-20T07:55:28.648652+00:00", urgent=True),
    ),
    "without_payload": ("ANNOTATION_CREATED", ReconcileWork(project_id=None)),
}


def recorded(name: str) -> Any:
    """A delivery as Label Studio sent it."""
    return json.loads((PAYLOADS / f"{PREFIX}{name}.json").read_text(encoding="utf-8"))


def delivery(action: str, *tasks: Mapping[str, Any], project: object = 5) -> dict[str, Any]:
    """A delivery that tells of these tasks."""
    key = "tasks" if action == "TASKS_CREATED" else "task"
    return {"action": action, "project": {"id": project}, key: list(tasks)}


def task(task_id: object = 12, updated_at: object = "2026-03-02T08:30:00.000000Z") -> dict[str, Any]:
    """A task as far as we read it."""
    return {"id": task_id, "updated_at": updated_at}


@pytest.mark.parametrize("name", RECORDED)
def test_recorded_deliveries_ask_for_their_work(name: str) -> None:
    """What a real Label Studio sends becomes one piece of work."""
    action, work = RECORDED[name]
    assert read_event(recorded(name)) == Event(action, (work,))


def test_every_recorded_delivery_is_in_the_table() -> None:
    """A payload that is recorded later isn't left untested."""
    assert {path.stem.removeprefix(PREFIX) for path in PAYLOADS.glob(f"{PREFIX}*.json")} == RECORDED.keys()


@pytest.mark.parametrize("action", sorted(OF_NO_INTEREST))
def test_what_cannot_change_a_proposal_asks_for_nothing(action: str) -> None:
    """Events that are known and of no interest are ignored, and said to be."""
    assert read_event({"action": action, "project": {"id": 5}}) == Event(action, ignored="it can't change a proposal")


def test_an_unknown_action_is_named_not_refused() -> None:
    """A later Label Studio may send what we haven't heard of; a refusal would make it switch the webhook off."""
    assert read_event({"action": "REVIEW_CREATED"}) == Event("REVIEW_CREATED", ignored="this version doesn't know it")


@pytest.mark.parametrize("action", SUBSCRIBED)
def test_without_its_payload_an_event_asks_to_look_at_everything(action: str) -> None:
    """With "send payload" off nothing tells which project it was."""
    assert read_event({"action": action}) == Event(action, (ReconcileWork(None),))


@pytest.mark.parametrize("action", sorted(PROJECT_TOLD))
def test_an_event_that_names_no_task_asks_to_look_at_its_project(action: str) -> None:
    """What changed in it has to be looked up."""
    assert read_event({"action": action, "project": {"id": 5}}).work == (ReconcileWork(5),)


def test_what_is_subscribed_is_what_asks_for_work() -> None:
    """Nothing is sent in vain, nothing of interest is missed."""
    assert set(SUBSCRIBED) == TASKS_TOLD | PROJECT_TOLD | {DELETED}


def test_every_action_of_label_studio_is_known() -> None:
    """All that version 1.23.2 lists at /api/webhooks/info/."""
    listed = {
        *("ANNOTATION_CREATED", "ANNOTATIONS_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_DELETED"),
        *("TASKS_CREATED", "TASKS_DELETED", "PROJECT_CREATED", "PROJECT_UPDATED", "PROJECT_DELETED"),
        *("LABEL_LINK_CREATED", "LABEL_LINK_UPDATED", "LABEL_LINK_DELETED"),
    }
    assert listed == TASKS_TOLD | PROJECT_TOLD | OF_NO_INTEREST | {DELETED}


def test_tasks_that_were_deleted_are_looked_at_once_more() -> None:
    """Review queues need not show them any more; those of a queue itself ask for nothing."""
    payload = {"action": "TASKS_DELETED", "project": {"id": 5}, "tasks": [{"id": 11}, {"id": 12}, {"id": 19}]}
    work = read_event(payload).work
    assert sorted(task for one in work if isinstance(one, ProposeWork) for task in one.task_ids) == [11, 12, 19]
    assert {one.project_id for one in work} == {5}
    assert (read_event(payload, 7).work, read_event(payload, 7).ignored) == ((), "nobody has said anything there")


def test_no_action_has_two_meanings() -> None:
    """Each is in one of the three lists."""
    assert len(TASKS_TOLD | PROJECT_TOLD | OF_NO_INTEREST) == len(TASKS_TOLD) + len(PROJECT_TOLD) + len(OF_NO_INTEREST)


@pytest.mark.parametrize("action", sorted(TASKS_TOLD))
def test_five_thousand_tasks_become_jobs_of_a_hundred_at_most(action: str) -> None:
    """A bulk event is neither one job that lasts for minutes nor thousands of jobs; each task is in one of them."""
    work = read_event(delivery(action, *map(task, range(1, 5001)))).work
    chunks = [one.task_ids for one in work if isinstance(one, ProposeWork)]
    assert (max(len(chunk) for chunk in chunks), len(chunks)) == (100, 56)
    assert sorted(task_id for chunk in chunks for task_id in chunk) == list(range(1, 5001))


@pytest.mark.parametrize(("count", "urgent"), [(1, True), (20, True), (21, False), (100, False)])
def test_few_tasks_are_urgent_and_many_are_not(count: int, urgent: bool) -> None:
    """Somebody waits for the patches of an ROI that was just drawn, and must not wait behind an import."""
    work = read_event(delivery("TASKS_CREATED", *map(task, range(1, count + 1)))).work
    assert {one.urgent for one in work if isinstance(one, ProposeWork)} == {urgent}


def labelled(*controls: str, total_predictions: object = 0) -> dict[str, Any]:
    """An annotation with a region of each of these controls was submitted."""
    result = [{"id": str(n), "from_name": control} for n, control in enumerate(controls)]
    told = delivery("ANNOTATION_CREATED")
    return told | {"annotation": {"result": result}, "task": task() | {"total_predictions": total_predictions}}


def test_everyday_labelling_makes_no_job_of_its_own() -> None:
    """Where nothing is on offer, labelled objects wait for the next look: what a team does all day costs nothing."""
    event = read_event(labelled("label", "label"))
    assert event.work == ()
    assert event.ignored is not None


@pytest.mark.parametrize(
    "payload",
    [
        *(pytest.param(labelled("label", name), id=f"an ROI: {shape}") for shape, name in ROI_SHAPES.items()),
        pytest.param(labelled("label", "roi_live"), id="a stroke that wasn't answered"),
        pytest.param(labelled("patch"), id="a verdict"),
        pytest.param(labelled("label", total_predictions=1), id="an object where patches are on offer"),
        pytest.param(labelled("label", total_predictions=None), id="a count that isn't there"),
        pytest.param(labelled("label") | {"annotation": {"result": "?"}}, id="regions that can't be read"),
        pytest.param(labelled("label") | {"annotation": {"result": ["?"]}}, id="a region that can't be read"),
        pytest.param(labelled("label") | {"annotation": None}, id="no annotation"),
    ],
)
def test_whatever_may_change_a_proposal_is_a_job_at_once(payload: dict[str, Any]) -> None:
    """An ROI, a verdict, an object in a task with patches, and all that is not certain."""
    assert len(read_event(payload).work) == 1


def test_the_same_change_is_the_same_job() -> None:
    """A delivery that is repeated, its keys in another order, its time in another zone, asks for the same job."""
    first = delivery("ANNOTATION_UPDATED", task(12, "2026-03-02T08:30:00.120000Z"))
    again = dict(reversed(delivery("ANNOTATION_UPDATED", task(12, "2026-03-02T09:30:00.120000+01:00")).items()))
    assert read_event(first) == read_event(again)


def test_the_next_change_is_another_job() -> None:
    """What is done already is no reason to leave out what has changed since."""
    first = delivery("ANNOTATION_UPDATED", task(12, "2026-03-02T08:30:00.120000Z"))
    after = delivery("ANNOTATION_UPDATED", task(12, "2026-03-02T08:30:00.120001Z"))
    assert read_event(first) != read_event(after)


def test_a_task_that_is_told_of_twice_is_worked_on_once() -> None:
    """Two annotations of one task arrive as two entries; the later moment counts."""
    early, late = "2026-03-02T08:30:00+00:00", "2026-03-02T08:31:00+00:00"
    told = delivery("ANNOTATIONS_CREATED", task(12, early), task(12, late), task(12, early))
    assert read_event(told).work == (ProposeWork(5, (12,), late),)


def test_a_list_without_tasks_asks_for_nothing() -> None:
    """An empty bulk is no mistake."""
    assert read_event(delivery("ANNOTATIONS_CREATED")) == Event("ANNOTATIONS_CREATED")


@pytest.mark.parametrize("payload", [None, 7, "ANNOTATION_CREATED", [], {}, {"action": None}, {"action": ["x"]}])
def test_what_is_no_webhook_is_refused(payload: object) -> None:
    """It isn't Label Studio's."""
    with pytest.raises(PayloadError, match="no webhook of Label Studio's"):
        read_event(payload)


BROKEN = {
    "no project id": {"action": "PROJECT_UPDATED", "project": {}},
    "a project without fields": {"action": "PROJECT_UPDATED", "project": 5},
    "a project id that is no number": delivery("ANNOTATION_CREATED", task(), project="five"),
    "no task": {"action": "ANNOTATION_CREATED", "project": {"id": 5}},
    "a task without fields": {"action": "ANNOTATION_CREATED", "project": {"id": 5}, "task": 12},
    "tasks that are no tasks": {"action": "TASKS_CREATED", "project": {"id": 5}, "tasks": [12]},
    "no task id": delivery("ANNOTATION_CREATED", {"updated_at": "2026-03-02T08:30:00Z"}),
    "an infinite task id": delivery("ANNOTATION_CREATED", task(float("inf"))),
    "a task id that is no number": delivery("ANNOTATION_CREATED", task(float("nan"))),
    "no time": delivery("ANNOTATION_CREATED", {"id": 12}),
    "a time that is none": delivery("ANNOTATION_CREATED", task(12, "yesterday")),
    "a time that is a number": delivery("ANNOTATION_CREATED", task(12, 1772440200)),
    "a time without a zone": delivery("ANNOTATION_CREATED", task(12, "2026-03-02T08:30:00")),
    "a time before all times": delivery("ANNOTATION_CREATED", task(12, "0001-01-01T00:00:00+10:00")),
}


@pytest.mark.parametrize("payload", BROKEN.values(), ids=BROKEN.keys())
def test_what_lacks_its_parts_is_refused(payload: object) -> None:
    """Half an event is not guessed at; the action is named."""
    with pytest.raises(PayloadError, match=r"with the action (ANNOTATION_CREATED|TASKS_CREATED|PROJECT_UPDATED) "):
        read_event(payload)


def test_a_refusal_repeats_nothing_of_the_payload() -> None:
    """What was sent may be private."""
    with pytest.raises(PayloadError) as raised:
        read_event(delivery("ANNOTATION_CREATED", task("patient-4711"), project="patient-4711"))
    assert "4711" not in str(raised.value)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.datetimes().map(str),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
times = st.builds(
    "{}{}".format, st.datetimes().map(lambda moment: moment.isoformat()), st.sampled_from(["", "Z", "+14:00", "-12:00"])
)
tasks = json_values | st.fixed_dictionaries({}, optional={"id": json_values, "updated_at": times | json_values})
deliveries = json_values | st.fixed_dictionaries(
    {"action": st.sampled_from(SUBSCRIBED) | json_values},
    optional={
        "project": json_values | st.fixed_dictionaries({"id": st.integers() | json_values}),
        "task": tasks | st.lists(tasks, max_size=3),
        "tasks": tasks | st.lists(tasks, max_size=3),
    },
)


@given(deliveries)
def test_nonsense_is_refused_and_never_trips_us(payload: object) -> None:
    """Whatever JSON comes in, it is an event or a `PayloadError`."""
    try:
        event = read_event(payload)
    except PayloadError:
        return
    assert isinstance(event, Event)


# ---------------------------------------------------------------- from a review queue

SOURCE = 3


def queue_task(source_task: object = 7, updated_at: str = "2026-03-02T08:30:00.000000Z") -> dict[str, Any]:
    """A task of a review queue as far as we read it."""
    return {"id": 500, "updated_at": updated_at, "data": {"source_project": SOURCE, "source_task": source_task}}


@pytest.mark.parametrize("action", ["ANNOTATION_CREATED", "ANNOTATIONS_CREATED", "ANNOTATION_UPDATED"])
def test_a_review_in_a_queue_asks_to_look_at_its_source(action: str) -> None:
    """At the source's task, at the moment of the review; somebody waits for it."""
    event = read_event(delivery(action, queue_task(), project=40), SOURCE)
    assert event.work == (ProposeWork(SOURCE, (7,), "2026-03-02T08:30:00+00:00", urgent=True),)


def test_a_review_in_a_queue_is_never_everyday_labelling() -> None:
    """Whatever it holds, or doesn't: it is a verdict."""
    payload = delivery("ANNOTATION_CREATED", project=40) | {"task": queue_task() | {"total_predictions": 0}}
    empty = payload | {"annotation": {"result": []}}
    assert len(read_event(empty, SOURCE).work) == 1
    assert read_event(empty).ignored is not None


def test_filling_a_queue_asks_for_nothing() -> None:
    """It was our own doing."""
    event = read_event(delivery("TASKS_CREATED", queue_task(), project=40), SOURCE)
    assert (event.work, bool(event.ignored)) == ((), True)


@pytest.mark.parametrize("action", sorted(PROJECT_TOLD))
def test_what_changed_in_a_queue_is_looked_up_by_its_source(action: str) -> None:
    """A verdict that was deleted, say."""
    assert read_event({"action": action, "project": {"id": 40}}, SOURCE).work == (ReconcileWork(SOURCE),)


@pytest.mark.parametrize("action", SUBSCRIBED)
def test_a_queue_s_event_without_payload_asks_to_look_at_its_source(action: str) -> None:
    """Which is known by the address."""
    assert read_event({"action": action}, SOURCE).work == (ReconcileWork(SOURCE),)


@pytest.mark.parametrize("action", sorted(OF_NO_INTEREST))
def test_what_is_of_no_interest_is_so_in_a_queue(action: str) -> None:
    """Tasks that we delete ourselves, say."""
    assert read_event({"action": action, "project": {"id": 40}}, SOURCE).work == ()


def test_what_others_put_into_a_queue_is_passed_over() -> None:
    """Their tasks name no source; ours beside them count."""
    alien = queue_task() | {"data": {"image": "x"}}
    assert read_event(delivery("ANNOTATIONS_CREATED", alien, project=40), SOURCE).work == ()
    (work,) = read_event(delivery("ANNOTATIONS_CREATED", alien, queue_task(), project=40), SOURCE).work
    assert isinstance(work, ProposeWork)
    assert work.task_ids == (7,)


def test_two_queue_tasks_of_one_source_are_one_work() -> None:
    """At the later moment."""
    later = queue_task(updated_at="2026-03-02T09:30:00Z")
    (work,) = read_event(delivery("ANNOTATIONS_CREATED", later, queue_task(), project=40), SOURCE).work
    assert isinstance(work, ProposeWork)
    assert (work.task_ids, work.mark) == ((7,), "2026-03-02T09:30:00+00:00")


@pytest.mark.parametrize("source_task", [None, "seven", []])
def test_a_queue_task_with_an_unreadable_source_is_refused(source_task: object) -> None:
    """Nobody else writes such a number."""
    with pytest.raises(PayloadError):
        read_event(delivery("ANNOTATION_CREATED", queue_task(source_task), project=40), SOURCE)


@given(deliveries, st.integers(1))
def test_nonsense_from_a_queue_never_trips_us(payload: object, source: int) -> None:
    """Whatever JSON comes in, its work is for the source, or it is a `PayloadError`."""
    try:
        event = read_event(payload, source)
    except PayloadError:
        return
    assert {work.project_id for work in event.work} <= {source}
