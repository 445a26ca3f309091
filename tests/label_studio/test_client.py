import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import httpx
import pytest

from service.domain.geometry import Box
from service.domain.model import Proposal, RoiOutcome
from service.errors import (
    LabelStudioError,
    LabelStudioUnavailable,
    NegativesError,
    NotFound,
    PayloadError,
    PredictionsDropped,
    Unauthorized,
)
from service.label_studio.client import LabelStudioClient, MlBackend, Person, Webhook
from service.label_studio.labeling import Labeling, read_labeling
from service.label_studio.payloads import read_task
from tests.factories import patch, roi
from tests.label_studio.fake_studio import TOKEN, URL, FakeStudio, gives, page
from tests.payloads import recorded

P = 5
PROJECT = f"/api/projects/{P}/"
IMPORT = f"POST /api/projects/{P}/import/predictions"
LABELING = read_labeling(recorded("project")["label_config"])
ML_BACKEND = MlBackend(9, "http://x.example", "negatives", True, "negatives", True)
SECRET_BODY = "a-body-that-no-message-may-hold"


def proposal(task_id: int) -> Proposal:
    """A proposal of one patch."""
    drawn = roi()
    return Proposal(
        task_id, 1600, 1200, (RoiOutcome(drawn, (patch(Box(200, 200, 300, 300), of=drawn, task_id=task_id),)),)
    )


CALLS = [
    pytest.param(lambda c: c.whoami(), id="whoami"),
    pytest.param(lambda c: c.project(P), id="project"),
    pytest.param(lambda c: list(c.tasks(P, LABELING)), id="tasks"),
    pytest.param(lambda c: list(c.tasks(P, LABELING, [1, 2])), id="two tasks"),
    pytest.param(lambda c: c.changed_since(P, None), id="changed_since"),
    pytest.param(lambda c: c.publish(P, [proposal(1)], LABELING), id="publish"),
    pytest.param(
        lambda c: c.replace(P, read_task(recorded("task_proposed"), LABELING).standing[0], proposal(1), LABELING),
        id="replace",
    ),
    pytest.param(lambda c: c.webhooks(P), id="webhooks"),
    pytest.param(lambda c: c.create_webhook(P, "http://x.example/", ["TASKS_CREATED"], {}), id="create_webhook"),
    pytest.param(lambda c: c.ml_backends(P), id="ml_backends"),
    pytest.param(lambda c: c.create_ml_backend(P, "http://x.example", "u", "p"), id="create_ml_backend"),
    pytest.param(lambda c: c.update_ml_backend(ML_BACKEND, P, "http://x.example", "u", "p"), id="update_ml_backend"),
    pytest.param(lambda c: c.try_ml_backend(ML_BACKEND, 1), id="try_ml_backend"),
    pytest.param(lambda c: c.some_task(P), id="some_task"),
    pytest.param(lambda c: c.change_instruction(P, "<p>", show=True), id="change_instruction"),
    pytest.param(lambda c: c.upload(P, "x.png", b"x"), id="upload"),
]
LATER_CALLS = [
    pytest.param(lambda c: c.people(), id="people"),
    pytest.param(lambda c: c.sees(P), id="sees"),
    pytest.param(lambda c: list(c.raw_tasks(P, "id", [1])), id="raw_tasks"),
    pytest.param(lambda c: c.reviewed_since(P, "source_task", None), id="reviewed_since"),
    pytest.param(lambda c: c.projects(), id="projects"),
]
LATER_WRITES = [
    pytest.param(lambda c: c.write_review(1, []), id="write_review"),
    pytest.param(lambda c: c.import_tasks(P, [{}]), id="import_tasks"),
    pytest.param(lambda c: c.take_out_of_stream(1), id="take_out_of_stream"),
    pytest.param(lambda c: c.delete_tasks(P, [1]), id="delete_tasks"),
    pytest.param(lambda c: c.create_project({"title": "x"}), id="create_project"),
    pytest.param(lambda c: c.upload_many(P, [("a.jpg", b"a")]), id="upload_many"),
    pytest.param(lambda c: c.change_prediction(1, [], "prediction 1"), id="change_prediction"),
]
Call = Callable[[LabelStudioClient], object]


def failing(answer: httpx.Response | Exception) -> FakeStudio:
    """A Label Studio that answers everything with this."""
    studio = FakeStudio()

    def fail(_: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    studio.transport = httpx.MockTransport(fail)
    return studio


def error_of(call: Call, answer: httpx.Response | Exception) -> NegativesError:
    """What a call raises when Label Studio answers so."""
    with pytest.raises(NegativesError) as caught, closing(failing(answer).client()) as client:
        call(client)
    return caught.value


# ---------------------------------------------------------------- errors


@pytest.mark.parametrize("call", [*CALLS, *LATER_CALLS, *LATER_WRITES])
def test_a_token_that_is_not_accepted(call: Call) -> None:
    """401 is Unauthorized, whatever was asked, and names the setting."""
    error = error_of(call, httpx.Response(401, json=recorded("refused_token")))
    assert type(error) is Unauthorized
    assert "NEGATIVES_LABEL_STUDIO_TOKEN" in str(error)


@pytest.mark.parametrize("call", [CALLS[1], CALLS[5], CALLS[6], CALLS[7]])
def test_what_is_not_there(call: Call) -> None:
    """404 is NotFound."""
    assert type(error_of(call, httpx.Response(404, json=recorded("refused_no_project")))) is NotFound


def test_a_project_that_is_not_there_is_named() -> None:
    """The message of a 404 says which project."""
    assert "Label Studio has no project 5" in str(error_of(lambda c: c.project(P), httpx.Response(404, json={})))


@pytest.mark.parametrize("status", [500, 502, 503, 429, 408])
def test_a_label_studio_that_fails_can_be_asked_again(status: int) -> None:
    """5xx and "too many" are worth a second try, and the message has the status."""
    error = error_of(lambda c: c.publish(P, [proposal(1)], LABELING), httpx.Response(status, text=SECRET_BODY))
    assert type(error) is LabelStudioUnavailable
    assert str(status) in str(error)


def test_a_refusal_is_no_reason_to_ask_again() -> None:
    """400 is Label Studio's no, with its own sentence."""
    answer = httpx.Response(400, json={"detail": "The project is locked."})
    error = error_of(lambda c: c.project(P), answer)
    assert type(error) is LabelStudioError
    assert "with 400: The project is locked." in str(error)


def test_a_refused_bulk_call_is_worth_another_look() -> None:
    """One task that is gone makes Label Studio refuse them all with 400; the job reads anew and leaves it out."""
    answer = httpx.Response(400, json=recorded("refused_unknown_task"))
    error = error_of(lambda c: c.publish(P, [proposal(1)], LABELING), answer)
    assert type(error) is PredictionsDropped
    assert error.retryable


HTML = f"<html>Sign in here {SECRET_BODY}</html>"
NONSENSE = [
    pytest.param(httpx.Response(200, text=HTML, headers={"Content-Type": "text/html"}), id="html"),
    pytest.param(httpx.Response(200, text=""), id="empty"),
    pytest.param(httpx.Response(200, json=[SECRET_BODY]), id="list"),
    pytest.param(httpx.Response(200, json=None), id="null"),
    pytest.param(httpx.Response(302, text=HTML), id="redirect to nowhere"),
]


@pytest.mark.parametrize("call", CALLS[:6])
@pytest.mark.parametrize("answer", NONSENSE)
def test_nonsense_can_be_asked_again(call: Call, answer: httpx.Response) -> None:
    """A proxy's page is "unavailable", never a crash nor an empty answer."""
    error = error_of(call, answer)
    assert type(error) is LabelStudioUnavailable
    assert SECRET_BODY not in str(error)


@pytest.mark.parametrize("call", [CALLS[1], CALLS[2], CALLS[3], CALLS[4]])
def test_another_servers_json_is_no_empty_project(call: Call) -> None:
    """JSON of another shape never passes for a project without tasks."""
    assert type(error_of(call, httpx.Response(200, json={"status": "UP"}))) is LabelStudioUnavailable


@pytest.mark.parametrize("call", CALLS[5:7])  # writes, which the SDK doesn't repeat: it waits seconds between tries
@pytest.mark.parametrize(
    "problem", [httpx.ConnectError("refused"), httpx.ReadTimeout("slow"), httpx.RemoteProtocolError("cut")]
)
def test_a_label_studio_that_is_down_or_slow(call: Call, problem: Exception) -> None:
    """What fails on the way is "unavailable", and the message names the setting to look at."""
    error = error_of(call, problem)
    assert type(error) is LabelStudioUnavailable
    assert f"({type(problem).__name__})" in str(error)
    assert "NEGATIVES_LABEL_STUDIO_URL" in str(error)


@pytest.mark.parametrize("call", [*CALLS, *LATER_CALLS, *LATER_WRITES])
@pytest.mark.parametrize("status", [400, 401, 403, 404, 405])
def test_no_message_holds_token_headers_or_body(call: Call, status: int) -> None:
    """What people and logs see is our sentence alone."""
    answer = httpx.Response(
        status, json={"unexpected": SECRET_BODY, "token": TOKEN}, headers={"X-Secret": "a-header-value"}
    )
    with closing(failing(answer).client()) as client:
        try:
            call(client)
        except NegativesError as error:
            said = str(error)
        else:
            said = ""
    for secret in (TOKEN, SECRET_BODY, "a-header-value", "X-Secret"):
        assert secret not in said


def test_a_refusal_does_not_quote_what_was_sent() -> None:
    """Label Studio's sentence about an unknown task quotes the whole prediction; ours keeps the sentence only."""
    error = error_of(
        lambda c: c.publish(P, [proposal(1)], LABELING), httpx.Response(400, json=recorded("refused_unknown_task"))
    )
    assert "corresponding task ID couldn't be retrieved" in str(error)
    assert "99999999" not in str(error)


def test_why_a_labeling_configuration_was_refused() -> None:
    """Label Studio's reason for refusing a configuration reaches the person."""
    studio = FakeStudio()
    studio.on(f"POST {PROJECT}validate/", gives(recorded("refused_labeling"), 400))
    with pytest.raises(LabelStudioError, match="from_name=patch"), closing(studio.client()) as client:
        client.change_label_config(P, "<View/>")
    assert studio.calls() == [f"POST {PROJECT}validate/"]


def test_a_configuration_is_checked_then_set() -> None:
    """The dry run comes first, with the same text."""
    studio = FakeStudio()
    studio.on(f"POST {PROJECT}validate/", gives({"config_essential_data_has_changed": None}))
    studio.on(f"PATCH {PROJECT}", gives(recorded("project")))
    with closing(studio.client()) as client:
        client.change_label_config(P, "<View/>")
    assert studio.calls() == [f"POST {PROJECT}validate/", f"PATCH {PROJECT}"]
    assert [request.content for request in studio.requests] == [b'{"label_config":"<View/>"}'] * 2


# ---------------------------------------------------------------- reading


def test_a_project_as_label_studio_gives_it() -> None:
    """Id, title, labeling configuration and instructions of the recorded project."""
    studio = FakeStudio()
    studio.on(f"GET {PROJECT}", gives(recorded("project")))
    with closing(studio.client()) as client:
        project = client.project(P)
        assert (project.id, project.title) == (P, "recording payloads")
        assert (project.instruction, project.shows_instruction) == ("", False)
        assert client.labeling(P) == LABELING


def test_who_the_token_belongs_to() -> None:
    """The owner's address."""
    studio = FakeStudio()
    studio.on("GET /api/current-user/whoami", gives(recorded("whoami")))
    with closing(studio.client()) as client:
        assert client.whoami() == Person(1, "demo@example.com", "demo@example.com")


def test_the_whole_project_as_label_studio_gives_it() -> None:
    """Every task of the recorded page is read as from its raw JSON."""
    studio, recording = FakeStudio(), recorded("tasks_page")
    studio.on("GET /api/tasks/", page(*recording["tasks"]))
    with closing(studio.client()) as client:
        assert list(client.tasks(P, LABELING)) == [read_task(item, LABELING) for item in recording["tasks"]]


def test_the_list_keeps_links_as_they_are_stored() -> None:
    """Whole tasks, a hundred a page, cloud links not resolved: a presigned one would have run out."""
    studio = FakeStudio()
    studio.on("GET /api/tasks/", page())
    with closing(studio.client()) as client:
        assert list(client.tasks(P, LABELING)) == []
    asked = studio.requests[0].url.params
    assert (asked["project"], asked["fields"], asked["page_size"], asked["resolve_uri"]) == ("5", "all", "100", "false")


def test_one_task_is_one_call() -> None:
    """An annotator is waiting: the single task is read by itself."""
    studio, recording = FakeStudio(), recorded("task_with_roi_and_objects")
    call = f"/api/tasks/{recording['id']}/"
    studio.on(f"GET {call}", gives(recording))
    with closing(studio.client()) as client:
        assert list(client.tasks(P, LABELING, [recording["id"]])) == [read_task(recording, LABELING)]
    assert studio.calls() == [f"GET {call}"]


def test_a_task_that_is_gone_is_left_out() -> None:
    """A deleted task is no error: there is nothing to propose."""
    with closing(FakeStudio().client()) as client:
        assert list(client.tasks(P, LABELING, [99])) == []


def test_a_task_of_another_project_is_left_out() -> None:
    """A task that isn't the project's is not read with its labeling, and so never written to."""
    studio, recording = FakeStudio(), recorded("task_with_roi_and_objects")
    studio.on(f"GET /api/tasks/{recording['id']}/", gives(recording))
    with closing(studio.client()) as client:
        assert list(client.tasks(P + 1, LABELING, [recording["id"]])) == []


def test_named_tasks_are_asked_for_by_the_hundred() -> None:
    """Many ids go through the filtered list, in parts."""
    studio = FakeStudio()
    studio.on("GET /api/tasks/", page())
    with closing(studio.client()) as client:
        list(client.tasks(P, LABELING, range(1, 251)))
    parts = [
        json.loads(request.url.params["query"])["filters"]["items"]
        for request in studio.requests
        if request.url.params.get("page", "1") == "1"
    ]
    assert [(part["filter"], part["operator"], len(part["value"])) for (part,) in parts] == [
        ("filter:tasks:id", "in_list", 100),
        ("filter:tasks:id", "in_list", 100),
        ("filter:tasks:id", "in_list", 50),
    ]


def test_a_task_that_cannot_be_read_is_logged_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    """One broken task doesn't stop a project."""
    studio, (one, other, *_) = FakeStudio(), recorded("tasks_page")["tasks"]
    one["annotations"][0]["updated_at"] = None
    studio.on("GET /api/tasks/", page(one, other))
    with closing(studio.client()) as client:
        assert [task.id for task in client.tasks(P, LABELING)] == [other["id"]]
    assert f"task {one['id']}" in caplog.text


def test_a_list_that_breaks_off_is_an_error() -> None:
    """A page that fails is never taken for the end of the list."""
    studio, recording = FakeStudio(), recorded("tasks_page")

    def second_page_fails(request: httpx.Request) -> httpx.Response:
        if int(request.url.params.get("page") or 1) > 1:
            raise httpx.ReadTimeout("slow")
        return httpx.Response(200, json=recording)

    studio.on("GET /api/tasks/", second_page_fails)
    with pytest.raises(LabelStudioUnavailable), closing(studio.client()) as client:
        list(client.tasks(P, LABELING))


def test_changes_as_label_studio_gives_them() -> None:
    """The recorded list of changes, oldest change first."""
    studio, recording = FakeStudio(), recorded("changes_page")
    studio.on("GET /api/tasks/", page(*recording["tasks"]))
    with closing(studio.client()) as client:
        changes = client.changed_since(P, None)
    assert [change.task_id for change in changes] == [409, 408, 410, 411]
    assert changes[0].updated_at == datetime(2026, 11, 20, 7, 55, 29, 877559, tzinfo=UTC)


def test_a_task_that_nobody_touched_is_no_change() -> None:
    """Ten thousand imported tasks without annotations are nothing to look at."""
    untouched = {"id": 1, "updated_at": "2026-03-01T12:00:00.5Z", "total_annotations": 0, "total_predictions": 0}
    predicted = untouched | {"id": 2, "total_predictions": 1}
    studio = FakeStudio()
    studio.on("GET /api/tasks/", page(untouched, predicted))
    with closing(studio.client()) as client:
        assert [change.task_id for change in client.changed_since(P, None)] == [2]


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2026, 3, 1, 12, 0, 0, 250000, tzinfo=UTC), "2026-03-01T12:00:00.250000Z"),
        (datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC), "2026-03-01T12:00:00.000000Z"),
        (datetime(2026, 3, 1, 14, 0, 0, tzinfo=timezone(timedelta(hours=2))), "2026-03-01T12:00:00.000000Z"),
    ],
)
def test_the_moment_is_written_as_label_studio_reads_it(moment: datetime, text: str) -> None:
    """UTC with a fraction of a second: without one, Label Studio 1.23.2 fails with 500 (tried)."""
    studio = FakeStudio()
    studio.on("GET /api/tasks/", page())
    with closing(studio.client()) as client:
        client.changed_since(P, moment)
    (item,) = json.loads(studio.requests[0].url.params["query"])["filters"]["items"]
    assert item == {
        "filter": "filter:tasks:updated_at",
        "operator": "greater",
        "type": "Datetime",
        "value": text,
    }


def test_webhooks_as_label_studio_gives_them() -> None:
    """The recorded webhook."""
    studio, recording = FakeStudio(), recorded("webhooks")
    studio.on("GET /api/webhooks/", gives(recording))
    with closing(studio.client()) as client:
        (hook,) = client.webhooks(P)
    assert hook == Webhook(
        id=recording[0]["id"],
        project=P,
        url=recording[0]["url"],
        is_active=True,
        send_payload=True,
        all_actions=True,
        actions=(),
        headers={"X-Negatives-Secret": "not-a-real-secret"},
    )


def ml_backend(**more: Any) -> dict[str, Any]:
    """An ML backend as Label Studio 1.23.2 gives it."""
    given = {"id": 9, "state": "CO", "is_interactive": True, "url": "http://x.example", "title": "negatives"}
    return given | {"project": P, "auth_method": "BASIC_AUTH", "basic_auth_user": "negatives"} | more


@pytest.mark.parametrize(
    ("given", "read"),
    [
        ({}, ML_BACKEND),
        ({"state": "DI"}, replace(ML_BACKEND, connected=False)),
        ({"state": "ER", "error_message": "no"}, replace(ML_BACKEND, connected=False)),
        ({"state": "TR"}, ML_BACKEND),
        ({"auth_method": "NONE"}, replace(ML_BACKEND, user=None)),
        ({"title": None, "is_interactive": False}, replace(ML_BACKEND, title="", is_interactive=False)),
    ],
    ids=["connected", "disconnected", "error", "training", "without sign-in", "somebody's"],
)
def test_an_ml_backend_as_label_studio_gives_it(given: dict[str, Any], read: MlBackend) -> None:
    """What it calls, whether browsers ask it, whom it signs in as, and whether it answered."""
    studio = FakeStudio()
    studio.on("GET /api/ml/", gives([ml_backend(**given)]))
    with closing(studio.client()) as client:
        assert client.ml_backends(P) == [read]
    assert studio.requests[0].url.params["project"] == str(P)


def test_ml_backends_come_in_the_order_in_which_they_were_registered() -> None:
    """Browsers ask the first interactive one."""
    studio = FakeStudio()
    studio.on("GET /api/ml/", gives([ml_backend(id=3), ml_backend(id=2)]))
    with closing(studio.client()) as client:
        assert [backend.id for backend in client.ml_backends(P)] == [2, 3]


@pytest.mark.parametrize(("tasks", "found"), [([{"id": 7}], 7), ([], None)], ids=["some", "none"])
def test_some_task(tasks: list[dict[str, Any]], found: int | None) -> None:
    """The first that comes; a project without tasks has none."""
    studio = FakeStudio()
    studio.on("GET /api/tasks/", page(*tasks))
    with closing(studio.client()) as client:
        assert client.some_task(P) == found
    assert studio.requests[0].url.params["page_size"] == "1"


@pytest.mark.parametrize(
    ("answer", "complaint"),
    [
        ({"data": {"result": [], "model_version": "negatives"}}, None),
        ({"errors": ["Model is not set to be used for interactive preannotations"]}, "Model is not set"),
        ({"errors": ["x" * 900]}, "xxx"),
    ],
    ids=["well", "refused", "long"],
)
def test_trying_an_ml_backend(answer: Any, complaint: str | None) -> None:
    """Label Studio answers 200 in any case: its complaint is in the body, and is cut short."""
    studio = FakeStudio()
    call = "POST /api/ml/9/interactive-annotating"
    studio.on(call, gives(answer))
    with closing(studio.client()) as client:
        said = client.try_ml_backend(ML_BACKEND, 7)
    assert (said is None) == (complaint is None)
    assert (said or "").startswith(complaint or "")
    assert len(said or "") <= 500
    assert studio.sent(call) == [{"task": 7, "context": {"result": []}}]


@pytest.mark.parametrize("answer", [{}, {"errors": []}, {"data": None}, []])
def test_an_answer_of_no_ml_backend_is_nonsense(answer: Any) -> None:
    """Neither data nor errors: that isn't Label Studio."""
    studio = FakeStudio()
    studio.on("POST /api/ml/9/interactive-annotating", gives(answer))
    with pytest.raises(LabelStudioUnavailable), closing(studio.client()) as client:
        client.try_ml_backend(ML_BACKEND, 7)


@pytest.mark.parametrize(("status", "there"), [(200, True), (404, False), (403, False)])
@pytest.mark.parametrize("address", ["/data/upload/5/a.png", "//elsewhere.example/a.png"])
def test_a_file_that_may_be_there(address: str, status: int, there: bool) -> None:
    """Its address is one on Label Studio's host, whatever it says: the token goes to no other."""
    studio = FakeStudio()
    studio.on(f"GET {address}", gives({}, status))
    with closing(studio.client()) as client:
        assert client.has_file(address) is there
    assert [request.url.host for request in studio.requests] == ["studio.internal"]


# ---------------------------------------------------------------- writing


@pytest.fixture
def storing() -> Iterator[FakeStudio]:
    """A Label Studio that stores what it is sent; at the end nothing may have been deleted."""
    studio = FakeStudio()
    studio.on(IMPORT, lambda request: httpx.Response(201, json={"created": len(json.loads(request.content))}))
    yield studio
    assert not [call for call in studio.calls() if call.startswith("DELETE")]


def test_publish_is_one_call(storing: FakeStudio) -> None:
    """However many proposals, one bulk call with one prediction each."""
    with closing(storing.client()) as client:
        client.publish(P, [proposal(task) for task in range(1, 121)], LABELING)
    assert storing.calls() == [IMPORT]
    (sent,) = storing.sent(IMPORT)
    assert [(item["task"], item["model_version"]) for item in sent] == [(task, "negatives") for task in range(1, 121)]


def test_publish_of_nothing_calls_nobody(storing: FakeStudio) -> None:
    """Nothing new, no call."""
    with closing(storing.client()) as client:
        client.publish(P, [], LABELING)
    assert storing.calls() == []


def dropping(studio: FakeStudio, ids: Sequence[int], stored: Sequence[int]) -> str:
    """What publish says when Label Studio stores these only."""
    template = recorded("task_proposed")

    def listed(request: httpx.Request) -> httpx.Response:
        asked = json.loads(request.url.params["query"])["filters"]["items"][0]["value"]
        return page(
            *(template | {"id": n, "predictions": template["predictions"] if n in stored else []} for n in asked)
        )(request)

    studio.on(IMPORT, gives({"created": len(stored)}, 201))
    studio.on("GET /api/tasks/", listed)
    with pytest.raises(PredictionsDropped) as caught, closing(studio.client()) as client:
        client.publish(P, [proposal(task) for task in ids], LABELING)
    return str(caught.value)


def test_a_dropped_prediction_is_noticed_and_its_task_named(storing: FakeStudio) -> None:
    """Label Studio answers 201 and drops what it dislikes; the tasks left without are named, and the cure."""
    said = dropping(storing, [1, 2, 3, 4], stored=[1, 3])
    assert "task 2, 4 of project 5" in said
    assert "negatives setup --project 5" in said


def test_one_dropped_prediction_of_one(storing: FakeStudio) -> None:
    """As recorded: a single prediction dropped answers 201 with nothing created."""
    recording = recorded("task_with_roi_and_objects")
    storing.on(IMPORT, gives(recorded("import_dropped"), 201))
    storing.on(f"GET /api/tasks/{recording['id']}/", gives(recording))
    with pytest.raises(PredictionsDropped, match=f"task {recording['id']} of"), closing(storing.client()) as client:
        client.publish(P, [proposal(recording["id"])], LABELING)


def test_a_dropped_prediction_can_be_sent_again() -> None:
    """The job that published is worth a retry: it looks first at what is there."""
    assert PredictionsDropped.retryable


def test_replace_changes_in_place(storing: FakeStudio) -> None:
    """A standing prediction keeps its id: one PATCH with the new result, and nothing is deleted or created."""
    (standing,) = read_task(recorded("task_proposed"), LABELING).standing
    call = f"PATCH /api/predictions/{standing.id}/"
    storing.on(call, gives(recorded("prediction_of_ours")))
    with closing(storing.client()) as client:
        client.replace(P, standing, proposal(408), LABELING)
    assert storing.calls() == [call]
    (body,) = storing.sent(call)
    assert body["model_version"] == "negatives"
    assert [item["from_name"] for item in body["result"]] == ["roi", "patch"]


@pytest.mark.parametrize("call", [CALLS[5], CALLS[6], CALLS[8], *CALLS[10:13], *CALLS[14:], *LATER_WRITES])
def test_a_write_is_sent_once(call: Call) -> None:
    """A write that failed may have been done: it isn't repeated blindly, its job looks first."""
    studio = FakeStudio()

    def fail(request: httpx.Request) -> httpx.Response:
        studio.requests.append(request)
        return httpx.Response(503)

    studio.transport = httpx.MockTransport(fail)
    with pytest.raises(LabelStudioUnavailable), closing(studio.client()) as client:
        call(client)
    assert len(studio.requests) == 1


def test_a_webhook_is_registered_switched_on_with_its_payload() -> None:
    """Address, actions and the secret header, sent for these actions only."""
    studio = FakeStudio()
    studio.on("POST /api/webhooks/", gives(recorded("webhooks")[0], 201))
    with closing(studio.client()) as client:
        client.create_webhook(P, "http://negatives.internal/hook", ["TASKS_CREATED"], {"X-Negatives-Secret": "s"})
    assert studio.sent("POST /api/webhooks/") == [
        {
            "project": P,
            "url": "http://negatives.internal/hook",
            "send_payload": True,
            "send_for_all_actions": False,
            "headers": {"X-Negatives-Secret": "s"},
            "is_active": True,
            "actions": ["TASKS_CREATED"],
        }
    ]


def test_an_ml_backend_is_registered_with_all_that_label_studio_calls_it_by() -> None:
    """Interactive, signed in, and with the title of our predictions' version, so that the stream prefills them."""
    studio = FakeStudio()
    studio.on("POST /api/ml/", gives(ml_backend(), 201))
    with closing(studio.client()) as client:
        assert client.create_ml_backend(P, "http://x.example", "negatives", "s") == ML_BACKEND
    assert studio.sent("POST /api/ml/") == [
        {
            "project": P,
            "url": "http://x.example",
            "title": "negatives",
            "is_interactive": True,
            "auth_method": "BASIC_AUTH",
            "basic_auth_user": "negatives",
            "basic_auth_pass": "s",
        }
    ]


@pytest.mark.parametrize("is_interactive", [True, False])
def test_an_ml_backend_is_changed_as_a_whole(is_interactive: bool) -> None:
    """Label Studio 1.23.2 calls it with what it is sent only: without its address it fails with 500 (tried)."""
    studio = FakeStudio()
    call = "PATCH /api/ml/9"
    studio.on(call, gives(ml_backend(is_interactive=is_interactive)))
    with closing(studio.client()) as client:
        changed = client.update_ml_backend(
            ML_BACKEND, P, "http://x.example", "negatives", "s", is_interactive=is_interactive
        )
    assert changed == replace(ML_BACKEND, is_interactive=is_interactive)
    (sent,) = studio.sent(call)
    assert sent.keys() > {"project", "url", "auth_method", "basic_auth_user", "basic_auth_pass"}
    assert sent["is_interactive"] is is_interactive


def test_instructions_are_set() -> None:
    """With whether they are shown before labeling."""
    studio = FakeStudio()
    studio.on(f"PATCH {PROJECT}", gives(recorded("project")))
    with closing(studio.client()) as client:
        client.change_instruction(P, "<p>x</p>", show=False)
    assert studio.sent(f"PATCH {PROJECT}") == [{"expert_instruction": "<p>x</p>", "show_instruction": False}]


@pytest.mark.parametrize("prefix", ["", "/labels"])
def test_an_uploaded_file_becomes_no_task(prefix: str) -> None:
    """It is kept only; its address is for browsers, so it names no host: theirs may be another than ours."""
    studio = FakeStudio()
    call = f"POST {prefix}/api/projects/{P}/import"
    studio.on(call, gives({"task_count": 1, "file_upload_ids": [4]}, 201))
    studio.on(f"GET {prefix}/api/import/file-upload/4", gives({"id": 4, "file": "upload/5/30dc59c7-x.png", "size": 3}))
    with closing(studio.client(url=URL + prefix)) as client:
        assert client.upload(P, "x.png", b"abc") == f"{prefix}/data/upload/5/30dc59c7-x.png"
    upload = studio.requests[0]
    assert upload.url.params["commit_to_project"] == "false"
    assert b'filename="x.png"' in upload.content
    assert b"\r\nabc\r\n" in upload.content


def test_touching_a_project_changes_nothing() -> None:
    """The title is set to what it is."""
    studio = FakeStudio()
    studio.on(f"GET {PROJECT}", gives(recorded("project")))
    studio.on(f"PATCH {PROJECT}", gives(recorded("project")))
    with closing(studio.client()) as client:
        client.touch(P)
    assert studio.sent(f"PATCH {PROJECT}") == [{"title": "recording payloads"}]


@pytest.mark.parametrize("call", [CALLS[1], CALLS[3], CALLS[5], CALLS[7]])
def test_every_call_is_signed_with_our_token(call: Call) -> None:
    """The SDK's own signature never goes out."""
    studio = FakeStudio()
    with suppress(NegativesError), closing(studio.client()) as client:
        call(client)
    assert studio.requests
    assert {request.headers["Authorization"] for request in studio.requests} == {f"Token {TOKEN}"}


def test_a_path_prefix_is_kept() -> None:
    """A Label Studio under a path is called there."""
    studio = FakeStudio()
    studio.on(f"GET /labels{PROJECT}", gives(recorded("project")))
    with closing(studio.client(url=f"{URL}/labels")) as client:
        assert client.project(P).id == P


def test_a_configuration_that_is_no_xml_is_said_to_be() -> None:
    """A project whose configuration can't be read is a PayloadError, not an outage."""
    studio = FakeStudio()
    studio.on(f"GET {PROJECT}", gives(recorded("project") | {"label_config": "<View>"}))
    with pytest.raises(PayloadError), closing(studio.client()) as client:
        client.labeling(P)


def test_the_labeling_of_a_project_without_our_controls() -> None:
    """Reading it is no error; it says what is missing."""
    studio = FakeStudio()
    theirs = '<View><Image name="i" value="$photo"/></View>'
    studio.on(f"GET {PROJECT}", gives(recorded("project") | {"label_config": theirs}))
    with closing(studio.client()) as client:
        assert client.labeling(P) == Labeling(
            image="i",
            data_key="photo",
            controls=(),
        )


def test_the_moments_of_all_tasks() -> None:
    """Tasks without annotations and predictions are among them."""
    studio = FakeStudio()
    moment = "2026-11-20T13:44:32.084153Z"
    studio.on("GET /api/tasks/", page({"id": 7, "updated_at": moment}, {"id": 9, "updated_at": moment}))
    with closing(studio.client()) as client:
        assert client.task_moments(P) == dict.fromkeys((7, 9), datetime.fromisoformat(moment))
    assert studio.requests[0].url.params["include"] == "id,updated_at"


# ---------------------------------------------------------------- people


def test_the_members_by_their_ids() -> None:
    """Each with a name to call them by: the e-mail address where they gave none."""
    studio = FakeStudio()
    ann = {"id": 1, "email": "ann@example.com", "first_name": "Ann", "last_name": ""}
    ben = {"id": 2, "email": "ben@example.com", "first_name": "", "last_name": ""}
    cem = {"id": 3, "email": "cem@example.com", "first_name": "Cem", "last_name": "Er"}
    studio.on("GET /api/users/", gives([recorded("whoami") | one for one in (ann, ben, cem)]))
    with closing(studio.client()) as client:
        assert client.people() == {
            1: Person(1, "ann@example.com", "Ann"),
            2: Person(2, "ben@example.com", "ben@example.com"),
            3: Person(3, "cem@example.com", "Cem Er"),
        }


@pytest.mark.parametrize(
    ("answer", "sees"),
    [(gives({"id": P}), True), (gives({}, 404), False), (gives({}, 403), False), (gives({"id": 6}), False)],
)
def test_whether_somebody_sees_a_project(answer: Callable[[httpx.Request], httpx.Response], sees: bool) -> None:
    """Label Studio's own answer for whoever is signed in; little is asked for."""
    studio = FakeStudio()
    studio.on(f"GET {PROJECT}", answer)
    with closing(studio.client()) as client:
        assert client.sees(P) is sees
    assert studio.requests[0].url.params["include"] == "id"


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx.Response(401), Unauthorized),
        (httpx.Response(500), LabelStudioUnavailable),
        (httpx.Response(200, text="<html>Sign in"), LabelStudioUnavailable),
        (httpx.Response(200, json={}), LabelStudioUnavailable),
        (httpx.ConnectError("down"), LabelStudioUnavailable),
    ],
    ids=["signed out", "fails", "a page", "nothing", "down"],
)
def test_a_question_without_an_answer_is_no_no(answer: httpx.Response | Exception, error: type[NegativesError]) -> None:
    """Nor a yes: it is raised."""
    assert type(error_of(lambda c: c.sees(P), answer)) is error


def test_a_client_may_be_signed_in_otherwise() -> None:
    """By whatever signs its requests, and by nothing else."""
    studio = FakeStudio()
    studio.on(f"GET {PROJECT}", gives({"id": P}))
    signed = httpx.BasicAuth("ann", "pw")
    with closing(LabelStudioClient(URL, auth=signed, transport=studio.transport)) as client:
        assert client.sees(P)
    assert studio.requests[0].headers["Authorization"].startswith("Basic ")


# ---------------------------------------------------------------- reviews and queues


RESULT = [{"id": "neg_1", "from_name": "patch"}]


def test_a_review_is_an_annotation_of_whoever_is_signed_in() -> None:
    """Nobody is named in it: Label Studio knows who asks."""
    studio = FakeStudio()
    studio.on("POST /api/tasks/7/annotations/", gives({"id": 900}, 201))
    with closing(studio.client()) as client:
        client.write_review(7, RESULT)
    assert studio.sent("POST /api/tasks/7/annotations/") == [{"result": RESULT}]


def filters(studio: FakeStudio) -> list[dict[str, Any]]:
    """By what the first list was filtered."""
    found: list[dict[str, Any]] = json.loads(studio.requests[0].url.params["query"])["filters"]["items"]
    return found


def test_tasks_by_what_they_hold() -> None:
    """As they are, links unresolved; the numbers as numbers: in_list finds nothing of another type (tried)."""
    studio, held = FakeStudio(), {"id": 500, "data": {"source_task": 7, "image": "s3://b/x"}}
    studio.on("GET /api/tasks/", page(held))
    with closing(studio.client()) as client:
        (found,) = client.raw_tasks(P, "data.source_task", [7, 8])
    assert found["data"] == held["data"]
    assert [(one["filter"], one["operator"], one["value"]) for one in filters(studio)] == [
        ("filter:tasks:data.source_task", "in_list", [7, 8])
    ]
    assert (studio.requests[0].url.params["project"], studio.requests[0].url.params["resolve_uri"]) == ("5", "false")


def test_all_tasks_as_they_are() -> None:
    """Without a filter; no value at all is no filter, either."""
    studio = FakeStudio()
    studio.on("GET /api/tasks/", page({"id": 500}))
    with closing(studio.client()) as client:
        assert [one["id"] for one in client.raw_tasks(P, "data.source_task", None)] == [500]
        list(client.raw_tasks(P, "data.source_task", []))
    firsts = [request for request in studio.requests if request.url.params.get("page", "1") == "1"]
    assert ["query" in request.url.params for request in firsts] == [False, True]


def reviewed(**more: Any) -> dict[str, Any]:
    """A task of a queue that was made at noon and reviewed a second later."""
    noon = "2026-03-01T12:00:00.000000Z"
    given: dict[str, Any] = {"id": 500, "created_at": noon, "updated_at": "2026-03-01T12:00:01.000000Z"}
    return given | {"total_annotations": 1, "cancelled_annotations": 0, "data": {"source_task": 7}} | more


@pytest.mark.parametrize(
    ("task", "is_change"),
    [
        (reviewed(), True),
        (reviewed(total_annotations=0), False),
        (reviewed(total_annotations=0, updated_at="2026-03-01T12:00:01.999Z"), False),
        (reviewed(total_annotations=0, updated_at="2026-03-01T12:00:02.000Z"), True),
        (reviewed(data={"image": "x"}), False),
        (reviewed(data=None), False),
        (reviewed(data={"source_task": "7"}), False),
    ],
    ids=["reviewed", "just made", "being made", "has lost its review", "somebody's", "without data", "no number"],
)
def test_what_was_reviewed(task: dict[str, Any], is_change: bool) -> None:
    """By the number that the task holds; one that was only made is no change."""
    studio = FakeStudio()
    studio.on("GET /api/tasks/", page(task))
    with closing(studio.client()) as client:
        found = client.reviewed_since(P, "source_task", None)
    assert [(one.task_id, one.updated_at) for one in found] == (
        [(7, datetime.fromisoformat(task["updated_at"]))] if is_change else []
    )


def test_what_was_reviewed_since_is_asked_for_by_the_moment() -> None:
    """And with no more than is needed: not with every region."""
    studio = FakeStudio()
    studio.on("GET /api/tasks/", page())
    with closing(studio.client()) as client:
        client.reviewed_since(P, "source_task", datetime(2026, 3, 1, 12, tzinfo=UTC))
    assert filters(studio)[0]["value"] == "2026-03-01T12:00:00.000000Z"
    asked = studio.requests[0].url.params["include"].split(",")
    assert {"created_at", "updated_at", "total_annotations", "data"} <= set(asked)
    assert not {"annotations", "predictions"} & set(asked)


IMPORTED: list[dict[str, Any]] = [
    {"data": {"image": "a"}, "predictions": [{"result": []}]},
    {"data": {"image": "b"}},
]


def test_tasks_are_imported_in_one_call() -> None:
    """As they are given, predictions and all."""
    studio, call = FakeStudio(), f"POST /api/projects/{P}/import"
    studio.on(call, gives({"task_count": 2, "prediction_count": 1, "task_ids": [7, 8]}, 201))
    with closing(studio.client()) as client:
        client.import_tasks(P, IMPORTED)
    assert studio.calls() == [call]
    assert studio.sent(call) == [IMPORTED]


def test_predictions_that_were_lost_on_import_are_sent_again() -> None:
    """Label Studio on SQLite loses all of them where it was locked (tried); each goes to the task that was made."""
    studio, call = FakeStudio(), f"POST /api/projects/{P}/import"
    studio.on(call, gives({"task_count": 2, "prediction_count": 0, "task_ids": [7, 8]}, 201))
    studio.on(IMPORT, gives({"created": 1}, 201))
    with closing(studio.client()) as client:
        client.import_tasks(P, IMPORTED)
    assert studio.calls() == [call, IMPORT]
    assert studio.sent(IMPORT) == [[{"result": [], "task": 7}]]


def test_tasks_without_predictions_lost_none() -> None:
    """Nothing more is sent."""
    studio, call = FakeStudio(), f"POST /api/projects/{P}/import"
    studio.on(call, gives({"task_count": 1, "prediction_count": 0, "task_ids": [8]}, 201))
    with closing(studio.client()) as client:
        client.import_tasks(P, IMPORTED[1:])
    assert studio.calls() == [call]


def test_a_task_is_taken_out_of_the_stream() -> None:
    """By the one field that a lock doesn't outdo (tried); nothing else of it is changed."""
    studio = FakeStudio()
    studio.on("PATCH /api/tasks/500/", gives({"id": 500}))
    with closing(studio.client()) as client:
        client.take_out_of_stream(500)
    assert studio.sent("PATCH /api/tasks/500/") == [{"is_labeled": True}]


def test_tasks_are_deleted_in_one_call() -> None:
    """Those that are named, of this project; never all."""
    studio, call = FakeStudio(), "POST /api/dm/actions"
    studio.on(call, gives({"processed_items": 1}))
    with closing(studio.client()) as client:
        client.delete_tasks(P, [500, 501])
    assert studio.sent(call) == [{"selectedItems": {"all": False, "included": [500, 501]}}]
    assert dict(studio.requests[0].url.params) == {"id": "delete_tasks", "project": "5"}


def test_all_projects_that_somebody_sees() -> None:
    """With their labeling configurations, by which queues are known."""
    studio = FakeStudio()

    def listed(request: httpx.Request) -> httpx.Response:
        there = [{"id": n, "title": f"t{n}", "label_config": "<View/>"} for n in (3, 4)]
        found = there if request.url.params.get("page", "1") == "1" else []
        return httpx.Response(200, json={"count": 2, "next": None, "previous": None, "results": found})

    studio.on("GET /api/projects/", listed)
    with closing(studio.client()) as client:
        assert [(one.id, one.title, one.label_config) for one in client.projects()] == [
            (3, "t3", "<View/>"),
            (4, "t4", "<View/>"),
        ]
    assert studio.requests[0].url.params["include"] == "id,title,label_config"


def test_a_project_is_created_with_all_its_settings() -> None:
    """In one call: some can't be set later (tried)."""
    studio = FakeStudio()
    studio.on("POST /api/projects/", gives({"id": 40}, 201))
    settings = {"title": "Review", "label_config": "<View/>", "model_version": "negatives", "maximum_annotations": 2}
    with closing(studio.client()) as client:
        assert client.create_project(settings) == 40
    assert studio.sent("POST /api/projects/") == [settings]


@pytest.mark.parametrize(
    ("there", "sent"),
    [
        ({"title": "a", "maximum_annotations": 2}, []),
        ({"title": "a", "maximum_annotations": 1}, [{"maximum_annotations": 2}]),
        ({"title": "b"}, [{"title": "a", "maximum_annotations": 2}]),
    ],
    ids=["as wanted", "one is otherwise", "all are"],
)
def test_only_settings_that_are_otherwise_are_written(there: dict[str, Any], sent: list[Any]) -> None:
    """A number of people that is set anew brings every task back into the stream (tried)."""
    studio = FakeStudio()
    studio.on(f"GET {PROJECT}", gives({"id": P, **there}))
    studio.on(f"PATCH {PROJECT}", gives({"id": P}))
    with closing(studio.client()) as client:
        assert client.settle_project(P, {"title": "a", "maximum_annotations": 2}) is bool(sent)
    assert studio.sent(f"PATCH {PROJECT}") == sent


@pytest.mark.parametrize("prefix", ["", "/labels"])
def test_many_files_are_uploaded_by_the_fifty(prefix: str) -> None:
    """Each under a name of its own, as Label Studio keeps only the last of one name; the addresses in order."""
    studio, numbers = FakeStudio(), iter(range(1, 200))

    def kept(request: httpx.Request) -> httpx.Response:
        names = [part.split(b'"')[0] for part in request.content.split(b'name="')[1::2]]
        assert len(set(names)) == len(names) <= 50
        return httpx.Response(201, json={"file_upload_ids": [next(numbers) for _ in names]})

    def listed(request: httpx.Request) -> httpx.Response:
        asked = json.loads(request.url.params["ids"])
        return httpx.Response(200, json=[{"id": n, "file": f"upload/5/{n}.jpg"} for n in reversed(asked)])

    studio.on(f"POST {prefix}/api/projects/{P}/import", kept)
    studio.on(f"GET {prefix}/api/projects/{P}/file-uploads", listed)
    with closing(studio.client(url=URL + prefix)) as client:
        addresses = client.upload_many(P, [(f"{n}.jpg", b"x%d" % n) for n in range(1, 121)])
    assert addresses == [f"{prefix}/data/upload/5/{n}.jpg" for n in range(1, 121)]
    uploads = [request for request in studio.requests if request.method == "POST"]
    assert [request.content.count(b'filename="') for request in uploads] == [50, 50, 20]
    assert {request.url.params["commit_to_project"] for request in uploads} == {"false"}
    assert uploads[0].content.index(b'filename="1.jpg"') < uploads[0].content.index(b"\r\nx1\r\n")


def test_nothing_to_upload_is_no_call() -> None:
    """Nor an address."""
    studio = FakeStudio()
    with closing(studio.client()) as client:
        assert client.upload_many(P, []) == []
    assert studio.calls() == []


def test_a_file_that_was_not_kept_is_nonsense() -> None:
    """No address is made up."""
    studio = FakeStudio()
    studio.on(f"POST /api/projects/{P}/import", gives({"file_upload_ids": [4]}, 201))
    studio.on(f"GET /api/projects/{P}/file-uploads", gives([]))
    with pytest.raises(LabelStudioUnavailable), closing(studio.client()) as client:
        client.upload_many(P, [("a.jpg", b"a")])


def test_a_prediction_is_changed_in_place() -> None:
    """With the version from which the stream prefills."""
    studio = FakeStudio()
    studio.on("PATCH /api/predictions/15/", gives({"id": 15}))
    with closing(studio.client()) as client:
        client.change_prediction(15, RESULT, "prediction 15")
    assert studio.sent("PATCH /api/predictions/15/") == [{"result": RESULT, "model_version": "negatives"}]
