"""Label Studio with its review queues: what was said there comes with the tasks, and queues are opened and filled."""

import json
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from service.domain.geometry import Box
from service.domain.model import Agreement, Patch, Queue, QueueLayout, QueueTask, RoiOutcome, Rules, State, Task
from service.domain.model import Proposal as Offer
from service.errors import LabelStudioError, SetupError
from service.label_studio.client import Project
from service.label_studio.labeling import OURS, Labeling, connect
from service.label_studio.payloads import write_prediction
from service.label_studio.queue_project import (
    INSTRUCTIONS,
    Shown,
    queue_config,
    queue_url,
    read_queue_task,
    write_queue_result,
)
from service.label_studio.queues import ReviewedStudio, open_queue
from service.label_studio.setup import Subscription
from service.label_studio.steps import Outcome, Step
from service.review import decide
from service.reviewing import whole_image
from tests.factories import TASK_ID, task
from tests.label_studio.fake_studio import TOKEN, URL, FakeStudio, gives, page
from tests.label_studio.queued import (
    ANN,
    AREA,
    BEN,
    MOMENT,
    ONE,
    PATCH,
    PROPOSAL,
    QUEUE,
    SOURCE,
    TWO,
    listed,
    proposed,
    said,
    submitted,
)
from tests.label_studio.test_queue_project import SHAPES

HOOK = "http://negatives.internal:9090/webhooks/label-studio"
LABELING = Labeling(image="image", data_key="image", controls=OURS)
QUEUES = {PROPOSAL: Queue(QUEUE, SOURCE, PROPOSAL), PATCH: Queue(QUEUE, SOURCE, PATCH)}
WANTED = Subscription(HOOK, {"X-Negatives-Secret": "s3cret"}, ("ANNOTATION_CREATED",))


def hook(project: int | None, url: str, number: int = 1, **more: Any) -> dict[str, Any]:
    """A webhook of ours."""
    given: dict[str, Any] = {
        "id": number,
        "project": project,
        "url": url,
        "is_active": True,
        "send_payload": True,
        "actions": [],
    }
    return given | {"send_for_all_actions": True, "headers": {"X-Negatives-Secret": "s3cret"}} | more


def source_task(*patches: Patch, task_id: int = TASK_ID, objects: Sequence[Any] = (), **more: Any) -> dict[str, Any]:
    """A task of the source as it is listed: Ann drew the ROI, and these patches are on offer."""
    offer = Offer(task_id, 1600, 1200, (RoiOutcome(AREA, patches),))
    stored = write_prediction(offer, LABELING) | {"id": 1, "updated_at": MOMENT}
    drawn = stored["result"][0] | {"id": "drawn", "meta": {}}
    return {
        "id": task_id,
        "project": SOURCE,
        "updated_at": MOMENT,
        "data": {"image": "/data/upload/3/field.jpg"},
        "annotations": [submitted([drawn, *objects], by=ANN, annotation=1)],
        "predictions": [stored] if patches else [],
        "total_annotations": 1,
    } | more


class Studio:
    """A Label Studio with a source project and its queues, which filters its task list as the real one does."""

    def __init__(self, *sources: Any, queues: Mapping[int, Sequence[Any]], layouts: Mapping[int, QueueLayout]) -> None:
        self.http = FakeStudio()
        self.projects = {SOURCE: list(sources), **{number: list(tasks) for number, tasks in queues.items()}}
        hooks = [hook(number, queue_url(HOOK, SOURCE, layout), number) for number, layout in layouts.items()]
        self.http.on("GET /api/webhooks/", gives([hook(SOURCE, HOOK), *hooks]))
        self.http.on("GET /api/tasks/", self._list)
        for one in sources:
            self.http.on(f"GET /api/tasks/{one['id']}/", gives(one))

    def client(self) -> ReviewedStudio:
        """One that talks to it."""
        return ReviewedStudio(URL, TOKEN, transport=self.http.transport)

    def tasks(self, task_ids: Sequence[int] | None = None) -> list[Task]:
        """The source's tasks, read."""
        with closing(self.client()) as client:
            return list(client.tasks(SOURCE, LABELING, task_ids))

    def changed(self, moment: datetime | None = None) -> list[tuple[int, datetime]]:
        """What changed since."""
        with closing(self.client()) as client:
            return [(change.task_id, change.updated_at) for change in client.changed_since(SOURCE, moment)]

    def asked_for(self) -> list[tuple[int, list[int] | None]]:
        """Whose tasks were listed (first pages), and which of them."""
        asked = [request for request in self.http.requests if request.url.path == "/api/tasks/"]
        firsts = [request.url.params for request in asked if request.url.params.get("page", "1") == "1"]
        return [(int(one["project"]), self._wanted(one)[1]) for one in firsts]

    @staticmethod
    def _wanted(params: httpx.QueryParams) -> tuple[str, list[int] | None]:
        if "query" not in params:
            return "", None
        (item,) = json.loads(params["query"])["filters"]["items"]
        column = item["filter"].removeprefix("filter:tasks:")
        return column, item["value"] if item["operator"] == "in_list" else None

    def _list(self, request: httpx.Request) -> httpx.Response:
        column, wanted = self._wanted(request.url.params)
        found = self.projects[int(request.url.params["project"])]
        if wanted is not None:
            assert column in ("id", "data.source_task")
            found = [
                one for one in found if (one if column == "id" else one["data"]).get(column.split(".")[-1]) in wanted
            ]
        return page(*found)(request)


def studio_with(
    *queued: Any, layout: QueueLayout = PROPOSAL, sources: Sequence[Any] | None = None, **more: Any
) -> Studio:
    """One source task with two patches, and a queue with these tasks."""
    found = [source_task(ONE, TWO, **more)] if sources is None else sources
    return Studio(*found, queues={QUEUE: queued}, layouts={QUEUE: layout})


def kept(*patches: Patch, by: int | None = BEN, annotation: int = 900, **more: Any) -> dict[str, Any]:
    """Of the two patches that were shown somebody kept these."""
    result = listed(PROPOSAL)["predictions"][0]["result"]
    ids = {one.id for one in patches}
    return submitted(
        [one for one in result if one["from_name"] == "roi" or one["id"] in ids], by=by, annotation=annotation, **more
    )


def states(one: Task, agreement: Agreement | None = None) -> dict[str, State]:
    """Where its patches stand."""
    return {decision.patch.id: decision.state for decision in decide(one, agreement or Agreement())}


# ---------------------------------------------------------------- which queues there are


def queues_of(source: int, *hooks: Any) -> list[Queue]:
    """The queues of a project where these webhooks are."""
    studio = FakeStudio()
    studio.on("GET /api/webhooks/", gives(list(hooks)))
    with closing(ReviewedStudio(URL, TOKEN, transport=studio.transport)) as client:
        return client.queues(source)


def test_the_queues_of_a_project_are_those_whose_webhooks_name_it() -> None:
    """Neither its own webhook, nor another project's queue."""
    hooks = [
        hook(SOURCE, HOOK),
        hook(40, queue_url(HOOK, SOURCE, PROPOSAL)),
        hook(41, queue_url(HOOK, SOURCE, PATCH)),
        hook(42, queue_url(HOOK, SOURCE + 1, PATCH)),
        hook(None, queue_url(HOOK, SOURCE, PATCH)),
    ]
    assert queues_of(SOURCE, *hooks) == [Queue(40, SOURCE, PROPOSAL), Queue(41, SOURCE, PATCH)]


def test_a_queue_with_two_webhooks_is_one() -> None:
    """The service may have had another address before."""
    hooks = [hook(40, queue_url(url, SOURCE, PATCH)) for url in (HOOK, "http://before.internal/webhooks/label-studio")]
    assert queues_of(SOURCE, *hooks) == [Queue(40, SOURCE, PATCH)]


# ---------------------------------------------------------------- tasks come with what was said in queues


@pytest.mark.parametrize("task_ids", [None, [TASK_ID], [TASK_ID, 99]], ids=["all", "one", "some"])
def test_a_verdict_in_a_queue_counts(task_ids: list[int] | None) -> None:
    """What was taken out there is rejected, the rest accepted, however the task is asked for."""
    (found,) = studio_with(listed(PROPOSAL, annotations=[kept(ONE)])).tasks(task_ids)
    assert states(found) == {ONE.id: State.ACCEPTED, TWO.id: State.REJECTED}
    assert [one.id for one in found.queued] == [500]


def test_a_verdict_on_a_single_patch_counts() -> None:
    """As one in the other layout."""
    queued = [listed(PATCH, ONE, annotations=[said("accepted")]), listed(PATCH, TWO, task_id=501)]
    (found,) = studio_with(*queued, layout=PATCH).tasks()
    assert states(found) == {ONE.id: State.ACCEPTED, TWO.id: State.PENDING}
    assert [one.id for one in found.queued] == [500, 501]


def test_verdicts_of_the_project_and_of_its_queues_add_up() -> None:
    """Two queues and the source: three people."""
    by_ann = submitted([*write_queue_result(task(AREA), [ONE])], by=ANN, annotation=2)
    source = source_task(ONE, TWO)
    source["annotations"].append(by_ann)
    studio = Studio(
        source,
        queues={
            40: [listed(PROPOSAL, annotations=[kept(ONE)])],
            41: [listed(PATCH, annotations=[said("accepted", by=3, annotation=901)])],
        },
        layouts={40: PROPOSAL, 41: PATCH},
    )
    (found,) = studio.tasks()
    assert states(found, Agreement(3))[ONE.id] is State.ACCEPTED
    assert states(found, Agreement(4))[ONE.id] is State.PENDING
    assert sorted(one.annotation_id for one in found.reviews) == [2, 900, 901]
    assert {one.queue.project_id for one in found.queued} == {40, 41}


@pytest.mark.parametrize("layout", QueueLayout)
def test_who_reviews_in_a_queue_draws_nothing(layout: QueueLayout) -> None:
    """Their approval counts where who drew doesn't."""
    annotation = kept(ONE) if layout is PROPOSAL else said("accepted")
    (found,) = studio_with(listed(layout, annotations=[annotation]), layout=layout).tasks()
    assert [one.verdicts_only for one in found.reviews] == [True]


def test_an_empty_image_counts_where_drawing_does_not() -> None:
    """Nobody drew it, whoever accepted it first: in a queue, too."""
    whole = whole_image(task())
    agreement = Agreement(drawing_counts=False)
    queued = listed(PATCH, whole, annotations=[said("accepted")])
    (found,) = studio_with(queued, layout=PATCH, sources=[source_task() | {"annotations": []}]).tasks()
    found = replace(found, size=(1600, 1200))
    assert states(found, agreement) == {whole.id: State.ACCEPTED}


@pytest.mark.parametrize("layout", QueueLayout)
def test_what_was_said_of_another_image_says_nothing_of_this(layout: QueueLayout) -> None:
    """Somebody replaced it: neither a verdict, nor a refusal for its size."""
    annotation = with_size(kept(ONE), 800) if layout is PROPOSAL else said("accepted")
    queued = listed(layout, of=replace(task(AREA), image="/before.jpg"), annotations=[annotation])
    (found,) = studio_with(queued, layout=layout).tasks()
    assert (found.reviews, found.refusal) == ((), None)
    assert set(states(found).values()) == {State.PENDING}
    assert [one.id for one in found.queued] == [500], "it is there all the same, to be taken out"


def test_each_task_gets_what_was_said_of_it() -> None:
    """Two sources, a queue task each; a third has none."""
    sources = [source_task(proposed(ONE.box, number), task_id=number) for number in (7, 8, 9)]
    queued = [
        listed(PROPOSAL, proposed(ONE.box, number), of=task(AREA, task_id=number), task_id=500 + number)
        for number in (8, 7)
    ]
    for task_ids in (None, [7, 8, 9]):
        found = studio_with(*queued, sources=sources).tasks(task_ids)
        assert [(one.id, [there.id for there in one.queued]) for one in found] == [(7, [507]), (8, [508]), (9, [])]


def test_a_project_without_queues_is_read_as_ever() -> None:
    """One call for a task, beside the one for the webhooks."""
    studio = Studio(source_task(ONE), queues={}, layouts={})
    (found,) = studio.tasks([TASK_ID])
    assert found.queued == ()
    assert studio.http.calls() == ["GET /api/webhooks/", f"GET /api/tasks/{TASK_ID}/"]


def test_a_queue_is_asked_for_the_tasks_that_are_asked_for() -> None:
    """By the hundred, not task by task and not whole; the ids as numbers, as they are stored."""
    studio = studio_with(sources=[])
    assert studio.tasks(range(1, 251)) == []
    parts = [list(range(1, 101)), list(range(101, 201)), list(range(201, 251))]
    assert studio.asked_for() == [(project, part) for part in parts for project in (QUEUE, SOURCE)]


def test_what_others_put_into_a_queue_is_passed_over() -> None:
    """A task without our data, and one of another source."""
    alien = listed(PROPOSAL, annotations=[kept(ONE)])
    other_source = alien | {"data": alien["data"] | {"source_project": 99}}
    (found,) = studio_with(alien | {"data": {"image": "x"}}, other_source).tasks()
    assert (found.queued, found.refusal) == ((), None)
    assert set(states(found).values()) == {State.PENDING}


def test_a_verdict_that_cannot_be_read_makes_nothing_proved() -> None:
    """It may have been a rejection; told are task and project of the queue."""
    broken = submitted([{"from_name": "verdict", "value": {}}], annotation=901)
    queued = listed(PATCH, annotations=[said("accepted", by=ANN, annotation=900), broken])
    (found,) = studio_with(queued, layout=PATCH).tasks()
    assert "task 500 of the review queue, project 40: a verdict" in (found.refusal or "")
    assert states(found)[ONE.id] is State.STALE


def test_any_of_several_queue_tasks_may_be_unreadable() -> None:
    """Not only the first."""
    broken = listed(PATCH, TWO, task_id=501, annotations=[submitted([{"from_name": "verdict", "value": {}}])])
    (found,) = studio_with(listed(PATCH, ONE), broken, layout=PATCH).tasks()
    assert "task 501" in (found.refusal or "")


def test_the_source_s_own_refusal_goes_first() -> None:
    """It is what has to be set right first."""
    source = source_task(ONE)
    source["annotations"][0]["result"][0]["original_width"] = None
    broken = listed(PATCH, annotations=[submitted([{"from_name": "verdict", "value": {}}])])
    (found,) = studio_with(broken, layout=PATCH, sources=[source]).tasks()
    assert (found.refusal or "").startswith("annotation 1")


def with_size(annotation: dict[str, Any], width: int) -> dict[str, Any]:
    """The annotation on an image of another size."""
    return annotation | {"result": [region | {"original_width": width} for region in annotation["result"]]}


@pytest.mark.parametrize(("width", "is_refused"), [(1600, False), (800, True)])
def test_an_image_of_another_size_is_another_image(width: int, is_refused: bool) -> None:
    """Verdicts on it say nothing of this one."""
    (found,) = studio_with(listed(PROPOSAL, annotations=[with_size(kept(ONE, TWO), width)])).tasks()
    assert ("another size" in (found.refusal or "")) == is_refused
    assert states(found)[ONE.id] is (State.STALE if is_refused else State.ACCEPTED)


def test_a_verdict_without_any_region_has_no_size() -> None:
    """All was taken out: that is no other image."""
    empty = [region for region in kept()["result"] if region["from_name"] != "roi"]
    (found,) = studio_with(listed(PROPOSAL, annotations=[submitted(empty)])).tasks()
    assert found.refusal is None


def test_a_rejection_in_a_task_that_cannot_be_read_is_not_lost() -> None:
    """An annotation without its time: nothing is proved of the source, and it is told."""
    queued = listed(PROPOSAL, annotations=[kept(TWO, updated_at=None)])
    source = source_task(ONE, TWO)
    source["annotations"].append(submitted(write_queue_result(task(AREA), [ONE, TWO]), by=ANN, annotation=2))
    (found,) = studio_with(queued, sources=[source]).tasks()
    assert found.refusal is not None


@pytest.mark.parametrize("layout", QueueLayout)
def test_a_source_whose_annotation_was_deleted_after_a_review(layout: QueueLayout) -> None:
    """What was accepted in a queue is decided all the same; never a crash."""
    annotation = kept(ONE, TWO) if layout is PROPOSAL else said("accepted")
    queued = listed(layout, annotations=[annotation])
    (found,) = studio_with(queued, layout=layout, annotations=[]).tasks()
    assert ONE.id in states(found)


def test_an_object_that_is_labelled_later_makes_an_accepted_patch_stale() -> None:
    """Wherever it was accepted."""
    labelled = {"id": "c", "from_name": "label", "to_name": "image", "type": "rectanglelabels", "image_rotation": 0}
    labelled |= {"original_width": 1600, "original_height": 1200}
    labelled |= {"value": {"x": 14, "y": 20, "width": 3, "height": 3, "rectanglelabels": ["Cell"]}}
    (found,) = studio_with(listed(PROPOSAL, annotations=[kept(ONE, TWO)]), objects=[labelled]).tasks()
    assert states(found) == {ONE.id: State.STALE, TWO.id: State.ACCEPTED}


# ---------------------------------------------------------------- what changed


EARLY, LATE = "2026-03-01T12:00:00.000000Z", "2026-03-01T13:00:00.000000Z"


def moment(text: str) -> datetime:
    """As it is read."""
    return datetime.fromisoformat(text)


def test_a_review_in_a_queue_changes_its_source() -> None:
    """At the later of the two moments, oldest change first."""
    sources = [source_task(ONE, task_id=number) | {"updated_at": EARLY} for number in (7, 8)]
    queued = [listed(PROPOSAL, annotations=[kept(ONE)], updated_at=LATE)]
    assert studio_with(*queued, sources=sources).changed() == [(8, moment(EARLY)), (7, moment(LATE))]


def test_an_earlier_review_does_not_make_a_change_older() -> None:
    """The source changed after it."""
    queued = [listed(PROPOSAL, annotations=[kept(ONE)], updated_at=EARLY)]
    source = source_task(ONE) | {"updated_at": LATE}
    assert studio_with(*queued, sources=[source]).changed() == [(7, moment(LATE))]


def test_of_several_reviews_the_last_counts() -> None:
    """In whatever order they are listed."""
    queued = [
        listed(PATCH, task_id=n, annotations=[said("accepted")], updated_at=at) for n, at in ((1, LATE), (2, EARLY))
    ]
    for tasks in (queued, queued[::-1]):
        assert studio_with(*tasks, layout=PATCH, sources=[]).changed() == [(7, moment(LATE))]


def test_filling_a_queue_is_no_change() -> None:
    """Or each would cause the next."""
    assert studio_with(listed(PROPOSAL), sources=[]).changed() == []


def test_a_verdict_that_was_deleted_is_a_change() -> None:
    """The task has none left, but was not made just now."""
    assert studio_with(listed(PROPOSAL, updated_at=LATE), sources=[]).changed() == [(7, moment(LATE))]


def test_queues_are_asked_for_the_same_time() -> None:
    """Not for all that ever happened there."""
    studio = studio_with()
    studio.changed(datetime(2026, 3, 1, tzinfo=UTC))
    asked = {
        request.url.params["project"]: request.url.params["query"]
        for request in studio.http.requests
        if request.url.path == "/api/tasks/"
    }
    assert asked.keys() == {str(SOURCE), str(QUEUE)}
    assert len(set(asked.values())) == 1


# ---------------------------------------------------------------- filling


def test_tasks_are_added_in_one_call() -> None:
    """However many, with images and links of their own."""
    studio = Studio(queues={}, layouts={})
    call = f"POST /api/projects/{QUEUE}/import"
    studio.http.on(call, gives({"task_count": 2, "prediction_count": 2, "task_ids": [1, 2]}, 201))
    shown = [
        Shown(replace(task(AREA, task_id=7), image="s3://b/x.png"), [ONE]),
        Shown(replace(task(AREA, task_id=8), image="/data/upload/3/1a2b3c4d-my <b>.jpg"), [TWO]),
    ]
    with closing(studio.client()) as client:
        client.enqueue(QUEUES[PROPOSAL], shown)
    assert studio.http.calls() == [call]
    first, second = studio.http.sent(call)[0]
    assert first["data"]["image"].startswith("/projects/3/resolve/?fileuri=")
    assert second["data"]["image"] == "/data/upload/3/1a2b3c4d-my <b>.jpg"
    assert "my &#60;b&#62;.jpg (task 8)" in second["data"]["source_link"]
    assert [len(one["predictions"]) for one in (first, second)] == [1, 1]


def test_single_patches_come_with_their_pictures() -> None:
    """Uploaded first, each under its patch's id, in order."""
    studio = Studio(queues={}, layouts={})
    upload, importing = f"POST /api/projects/{QUEUE}/import", f"GET /api/projects/{QUEUE}/file-uploads"

    def stored(request: httpx.Request) -> httpx.Response:
        imported = {"task_count": 2, "prediction_count": 0, "task_ids": [1, 2]}
        is_upload = request.url.params.get("commit_to_project")
        return httpx.Response(201, json={"file_upload_ids": [5, 4]} if is_upload else imported)

    studio.http.on(upload, stored)
    studio.http.on(importing, gives([{"id": 4, "file": "upload/40/b.jpg"}, {"id": 5, "file": "upload/40/a.jpg"}]))
    with closing(studio.client()) as client:
        client.enqueue(QUEUES[PATCH], [Shown(task(AREA), [ONE], b"one"), Shown(task(AREA), [TWO], b"two")])
    files, _, tasks = studio.http.requests
    assert files.content.index(f'filename="{ONE.id}.jpg"'.encode()) < files.content.index(b"\r\none\r\n")
    assert files.content.index(b"\r\none\r\n") < files.content.index(f'filename="{TWO.id}.jpg"'.encode())
    sent = json.loads(tasks.content)
    assert [(one["data"]["image"], one["data"]["patch"]["id"]) for one in sent] == [
        ("/data/upload/40/a.jpg", ONE.id),
        ("/data/upload/40/b.jpg", TWO.id),
    ]


def there(payload: Any) -> QueueTask:
    """A task of the queue, read."""
    found = read_queue_task(payload, QUEUES[PROPOSAL])
    assert found is not None
    return found


@pytest.mark.parametrize("shape", SHAPES)
def test_what_is_shown_already_is_left_alone(shape: str) -> None:
    """No call, whatever the ROI was drawn as: somebody may have it open."""
    studio, source = FakeStudio(), task(SHAPES[shape])
    piece = proposed(Box.sized(470, 470, 60, 60))
    with closing(ReviewedStudio(URL, TOKEN, transport=studio.transport)) as client:
        assert not client.show(there(listed(PROPOSAL, piece, of=source)), source, [piece])
    assert studio.calls() == []


def test_what_is_shown_otherwise_is_changed_in_place() -> None:
    """Its prediction, of the same version; nothing is deleted."""
    studio = FakeStudio()
    studio.on("PATCH /api/predictions/1500/", gives({"id": 1500}))
    with closing(ReviewedStudio(URL, TOKEN, transport=studio.transport)) as client:
        assert client.show(there(listed(PROPOSAL, ONE)), task(AREA), [ONE, TWO])
    (sent,) = studio.sent("PATCH /api/predictions/1500/")
    assert sent["model_version"] == "negatives"
    assert [region["id"] for region in sent["result"]][:2] == [ONE.id, TWO.id]


def test_what_has_no_prediction_is_not_changed() -> None:
    """Somebody deleted it."""
    studio = FakeStudio()
    with closing(ReviewedStudio(URL, TOKEN, transport=studio.transport)) as client:
        assert not client.show(there(listed(PROPOSAL) | {"predictions": []}), task(AREA), [ONE])
    assert studio.calls() == []


# ---------------------------------------------------------------- opening


SOURCE_CONFIG = connect('<View><Image name="image" value="$image"/></View>', Rules())


class Opening:
    """A Label Studio in which a queue is opened; `projects` are there, `hooks` are its webhooks."""

    def __init__(self, *projects: dict[str, Any], hooks: Sequence[Any] = ()) -> None:
        self.http = FakeStudio()
        self.hooks = list(hooks)
        self.steps: list[Step] = []
        self.projects = {one["id"]: one for one in projects}
        self.http.on("GET /api/webhooks/", self._hooks)
        self.http.on("POST /api/webhooks/", self._new_hook)
        self.http.on("GET /api/projects/", self._listed)
        self.http.on("POST /api/projects/", self._created)
        for number in {QUEUE, 41, *self.projects}:
            self.http.on(f"GET /api/projects/{number}/", lambda _, number=number: self._gives(number))  # type: ignore[misc]
            self.http.on(f"PATCH /api/projects/{number}/", lambda request, number=number: self._set(number, request))  # type: ignore[misc]

    def open(self, layout: QueueLayout = PROPOSAL, agreement: Agreement | None = None, title: str = "Cells") -> Queue:
        """As `negatives review open` does."""
        with closing(ReviewedStudio(URL, TOKEN, transport=self.http.transport)) as client:
            return open_queue(
                Project(SOURCE, title, SOURCE_CONFIG),
                layout,
                studio=client,
                agreement=agreement or Agreement(),
                webhook=WANTED,
                tell=self.steps.append,
            )

    def written(self) -> list[str]:
        """What was changed in Label Studio."""
        return [call for call in self.http.calls() if not call.startswith("GET ")]

    def _hooks(self, request: httpx.Request) -> httpx.Response:
        project = request.url.params.get("project")
        return httpx.Response(200, json=[one for one in self.hooks if project in (None, str(one["project"]))])

    def _new_hook(self, request: httpx.Request) -> httpx.Response:
        self.hooks.append({**json.loads(request.content), "id": len(self.hooks) + 1})
        return httpx.Response(201, json=self.hooks[-1])

    def _gives(self, number: int) -> httpx.Response:
        return httpx.Response(200, json=self.projects[number])

    def _set(self, number: int, request: httpx.Request) -> httpx.Response:
        self.projects[number] |= json.loads(request.content)
        return self._gives(number)

    def _listed(self, request: httpx.Request) -> httpx.Response:
        results = list(self.projects.values()) if request.url.params.get("page", "1") == "1" else []
        return httpx.Response(200, json={"count": len(results), "next": None, "previous": None, "results": results})

    def _created(self, request: httpx.Request) -> httpx.Response:
        self.projects[QUEUE] = {"id": QUEUE, **json.loads(request.content)}
        return httpx.Response(201, json=self.projects[QUEUE])


@pytest.mark.parametrize("layout", QueueLayout)
def test_a_new_queue_is_a_project_beside_the_source(layout: QueueLayout) -> None:
    """Streamable and prefilled from the start, with instructions; and it tells us of every verdict."""
    opening = Opening()
    assert opening.open(layout, Agreement(2)) == Queue(QUEUE, SOURCE, layout)
    settings = opening.projects[QUEUE]
    assert settings["label_config"] == queue_config(SOURCE, layout)
    assert settings["expert_instruction"] == INSTRUCTIONS[layout]
    assert (settings["model_version"], settings["show_collab_predictions"]) == ("negatives", True)
    assert settings["title"] == "Review: Cells" + ("" if layout is PROPOSAL else ", one patch at a time")
    (made,) = opening.hooks
    assert (made["project"], made["url"]) == (QUEUE, queue_url(HOOK, SOURCE, layout))
    assert (made["headers"], made["actions"]) == (dict(WANTED.headers), list(WANTED.actions))
    assert {step.outcome for step in opening.steps[:2]} == {Outcome.CHANGED}


@pytest.mark.parametrize(
    ("agreement", "people", "told"),
    [
        (Agreement(), 1, "one person"),
        (Agreement(2), 2, "2 people"),
        (Agreement(2, majority=True), 3, "3 people"),
    ],
    ids=["one", "two", "majority of two"],
)
def test_each_task_is_given_to_as_many_people_as_agree(agreement: Agreement, people: int, told: str) -> None:
    """And that is told."""
    opening = Opening()
    opening.open(agreement=agreement)
    assert opening.projects[QUEUE]["maximum_annotations"] == people
    assert opening.steps[-1].text == f"each task is given to {told}"


def test_opened_again_nothing_is_changed() -> None:
    """And nothing is told to be."""
    opening = Opening()
    first = opening.open()
    opening.http.requests.clear()
    opening.steps.clear()
    assert opening.open() == first
    assert opening.written() == []
    assert {step.outcome for step in opening.steps} == {Outcome.FINE}


def test_opened_again_what_was_changed_is_set_right() -> None:
    """Only that: the team's own title stays."""
    opening = Opening()
    opening.open()
    opening.http.requests.clear()
    opening.projects[QUEUE] |= {"maximum_annotations": 5, "label_config": "<View/>", "title": "Ours"}
    opening.open()
    assert opening.written() == [f"PATCH /api/projects/{QUEUE}/"]
    (sent,) = opening.http.sent(f"PATCH /api/projects/{QUEUE}/")
    assert sent == {"maximum_annotations": 1, "label_config": queue_config(SOURCE, PROPOSAL)}
    assert any("set right" in step.text for step in opening.steps)


def test_a_queue_that_has_lost_its_webhook_is_found_again() -> None:
    """By what its labeling configuration says; no second one is made."""
    opening = Opening()
    opening.open()
    opening.hooks.clear()
    opening.http.requests.clear()
    assert opening.open().project_id == QUEUE
    assert opening.written() == ["POST /api/webhooks/"]


def test_each_layout_has_a_queue_of_its_own() -> None:
    """Known by webhook and by configuration."""
    of_patches = {"id": 41, "title": "x", "label_config": queue_config(SOURCE, PATCH)}
    of_another = {"id": 42, "title": "y", "label_config": queue_config(31, PROPOSAL)}
    hooks = [hook(41, queue_url(HOOK, SOURCE, PATCH)), hook(42, queue_url(HOOK, 31, PROPOSAL))]
    assert Opening(of_patches, of_another, hooks=hooks).open().project_id == QUEUE
    assert Opening(of_patches, of_another).open().project_id == QUEUE


def test_of_two_queues_the_older_one_is_kept() -> None:
    """Two people opened it at once."""
    both = [{"id": number, "title": "x", "label_config": queue_config(SOURCE, PROPOSAL)} for number in (41, QUEUE)]
    assert Opening(*both).open().project_id == QUEUE


def test_a_long_title_is_cut_as_label_studio_wants_it() -> None:
    """To 50 characters."""
    opening = Opening()
    opening.open(title="Cells " * 20)
    assert len(opening.projects[QUEUE]["title"]) == 50


def test_a_long_title_says_which_queue_it_is() -> None:
    """People choose between the two by it."""
    opening = Opening()
    opening.open(PATCH, title="Cells " * 20)
    assert opening.projects[QUEUE]["title"].endswith(", one patch at a time")


def test_a_webhook_that_label_studio_refuses_is_told() -> None:
    """With the queue that would hear of nothing."""
    opening = Opening()
    opening.http.on("POST /api/webhooks/", gives({"url": ["Enter a valid URL."]}, 400))
    with pytest.raises(SetupError, match=r"the review queue, project 40, hears of nothing: .*no valid address"):
        opening.open()


def test_a_project_that_label_studio_refuses_is_told() -> None:
    """With its reason."""
    opening = Opening()
    opening.http.on("POST /api/projects/", gives({"detail": "No more projects."}, 400))
    with pytest.raises(LabelStudioError, match=r"No more projects"):
        opening.open()
