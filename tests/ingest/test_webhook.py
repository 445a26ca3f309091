"""The webhook's entrance, over HTTP, without a network."""

import io
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from service.domain.model import Rules
from service.domain.work import ProposeWork, ReconcileWork, Work
from service.errors import LabelStudioUnavailable
from service.ingest.webhook import SECRET_HEADER
from service.label_studio.queue_project import EVENTS_PATH
from service.web import create_app

SECRET = "a secret of 8 or more"
LIMIT = 20_000
CREATED = (Path(__file__).parent.parent / "payloads" / "webhook_annotation_created.json").read_bytes()


class Desk:
    """Takes work and remembers it; refuses it with `error`, if there is one."""

    def __init__(self) -> None:
        self.taken: list[Work] = []
        self.error: Exception | None = None

    def put(self, work: Work) -> None:
        if self.error is not None:
            raise self.error
        self.taken.append(work)


class UnreadBody(io.BytesIO):
    """A body that remembers whether it was read."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.was_read = False

    def read(self, size: int | None = -1, /) -> bytes:
        self.was_read = True
        return super().read(size)

    def readinto(self, buffer: Any, /) -> int:
        self.was_read = True
        return super().readinto(buffer)


@pytest.fixture
def desk() -> Desk:
    """Where the work arrives."""
    return Desk()


@pytest.fixture
def client(desk: Desk) -> FlaskClient:
    """Label Studio's side."""
    return create_app(secret=SECRET, put=desk.put, max_webhook_bytes=LIMIT, rules=Rules()).test_client()


def deliver(client: FlaskClient, body: bytes | object, secret: str | None = SECRET) -> TestResponse:
    """Post a delivery."""
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return client.post(EVENTS_PATH, data=data, headers={} if secret is None else {SECRET_HEADER: secret})


def test_a_delivery_is_accepted_with_the_number_of_its_jobs(client: FlaskClient) -> None:
    """202: it will be done."""
    answer = deliver(client, CREATED)
    assert (answer.status_code, answer.json) == (202, {"action": "ANNOTATION_CREATED", "jobs": 1})


def test_a_delivery_is_durable_before_it_is_answered(client: FlaskClient, desk: Desk) -> None:
    """Its work was put in, as `read_event` read it."""
    deliver(client, CREATED)
    (work,) = desk.taken
    assert isinstance(work, ProposeWork)
    assert (work.project_id, work.task_ids) == (5, (408,))


def test_all_work_of_a_delivery_is_put_in(client: FlaskClient, desk: Desk) -> None:
    """Three tasks, three jobs."""
    tasks = [{"id": task_id, "updated_at": "2026-03-02T08:30:00Z"} for task_id in (12, 13, 14)]
    deliver(client, {"action": "TASKS_CREATED", "project": {"id": 5}, "tasks": tasks})
    assert [work.task_ids for work in desk.taken if isinstance(work, ProposeWork)] == [(12,), (13,), (14,)]


def test_without_payload_everything_is_looked_at(client: FlaskClient, desk: Desk) -> None:
    """With "send payload" off the webhook still works."""
    deliver(client, {"action": "ANNOTATION_CREATED"})
    assert desk.taken == [ReconcileWork(None)]


@pytest.mark.parametrize("action", ["PROJECT_DELETED", "REVIEW_CREATED"])
def test_what_is_of_no_interest_is_fine_and_named(client: FlaskClient, desk: Desk, action: str) -> None:
    """200, or a later Label Studio would count failures and switch the webhook off."""
    answer = deliver(client, {"action": action, "project": {"id": 5}})
    assert answer.json is not None
    assert (answer.status_code, answer.json["action"], bool(answer.json["ignored"])) == (200, action, True)
    assert desk.taken == []


WRONG_SECRETS = {
    "none": None,
    "empty": "",
    "another": "a secret of 8 or less",
    "its beginning": SECRET[:-1],
    "with more behind": f"{SECRET}!",
    "in capitals": SECRET.upper(),
    "not ASCII": "ein Geheimnis für 8",
    "not Latin": "секрет",
}


@pytest.mark.parametrize("secret", WRONG_SECRETS.values(), ids=WRONG_SECRETS.keys())
def test_without_the_secret_nothing_is_put_in(client: FlaskClient, desk: Desk, secret: str | None) -> None:
    """401, whatever the delivery says."""
    if secret is not None:
        secret = secret.encode().decode("latin-1")  # as a WSGI server hands on any bytes
    assert deliver(client, CREATED, secret).status_code == 401
    assert desk.taken == []


def test_a_secret_that_is_not_ascii_is_known(desk: Desk) -> None:
    """Its letters are compared, not only those of ASCII."""
    client = create_app(secret="Geheimnis für 8", put=desk.put, max_webhook_bytes=LIMIT, rules=Rules()).test_client()
    assert deliver(client, CREATED, "Geheimnis für 8").status_code == 202


def test_the_secret_is_not_repeated(client: FlaskClient) -> None:
    """A refusal tells the header, neither what it held nor what it should hold."""
    text = deliver(client, CREATED, "guess-4711").text
    assert (SECRET_HEADER in text, "4711" in text, SECRET in text) == (True, False, False)


def test_a_stranger_s_body_is_not_read(client: FlaskClient) -> None:
    """Who doesn't know the secret makes us neither read nor parse."""
    body = UnreadBody(CREATED)
    client.post(EVENTS_PATH, input_stream=body, content_length=len(CREATED))
    assert not body.was_read


def test_our_own_body_is_read(client: FlaskClient) -> None:
    """The test above can fail."""
    body = UnreadBody(CREATED)
    client.post(EVENTS_PATH, input_stream=body, content_length=len(CREATED), headers={SECRET_HEADER: SECRET})
    assert body.was_read


def test_a_body_above_the_limit_is_refused(client: FlaskClient, desk: Desk) -> None:
    """413, before it fills the memory."""
    answer = deliver(client, {"action": "PROJECT_DELETED", "padding": "x" * LIMIT})
    assert (answer.status_code, desk.taken) == (413, [])


NO_DELIVERIES: dict[str, Any] = {
    "nothing": b"",
    "no JSON": b"action=ANNOTATION_CREATED",
    "half of it": CREATED[:-10],
    "no UTF-8": b'{"action": "\xff\xfe"}',
    "an endless number": b'{"action": ' + b"1" * 5000 + b"}",
    "deeply nested": b"[" * 10_000,
    "no object": ["ANNOTATION_CREATED"],
    "no action": {"event": "ANNOTATION_CREATED"},
    "an action without its parts": {"action": "ANNOTATION_CREATED", "project": {}},
}


@pytest.mark.parametrize("body", NO_DELIVERIES.values(), ids=NO_DELIVERIES.keys())
def test_what_is_no_delivery_is_refused(client: FlaskClient, desk: Desk, body: Any) -> None:
    """400 with a sentence, and nothing is put in."""
    answer = deliver(client, body)
    assert answer.json is not None
    assert (answer.status_code, list(answer.json), desk.taken) == (400, ["error"], [])


def test_another_method_is_refused_as_json(client: FlaskClient) -> None:
    """405, with the method that would do."""
    answer = client.get(EVENTS_PATH)
    assert answer.json is not None
    assert (answer.status_code, list(answer.json)) == (405, ["error"])
    assert "POST" in answer.headers["Allow"]


def test_another_address_is_refused_as_json(client: FlaskClient) -> None:
    """404 for scripts, too."""
    answer = client.post(f"{EVENTS_PATH}/7", headers={SECRET_HEADER: SECRET})
    assert answer.json is not None
    assert (answer.status_code, list(answer.json)) == (404, ["error"])


def test_a_failure_of_ours_tells_strangers_nothing(client: FlaskClient, desk: Desk) -> None:
    """500 without traceback, type or message."""
    desk.error = RuntimeError("/srv/negatives.db is full")
    answer = deliver(client, CREATED)
    assert answer.status_code == 500
    assert answer.json == {"error": "something went wrong here; the service's log says what"}


def test_a_failure_of_ours_is_in_the_log(client: FlaskClient, desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """With all that helps."""
    desk.error = RuntimeError("/srv/negatives.db is full")
    with caplog.at_level(logging.ERROR):
        deliver(client, CREATED)
    assert "RuntimeError: /srv/negatives.db is full" in caplog.text


def test_what_we_raise_on_purpose_has_its_own_status(client: FlaskClient, desk: Desk) -> None:
    """Its sentence is fit to be shown."""
    desk.error = LabelStudioUnavailable("the database is busy")
    answer = deliver(client, CREATED)
    assert (answer.status_code, answer.json) == (503, {"error": "the database is busy"})


# ---------------------------------------------------------------- from a review queue


def deliver_from_queue(client: FlaskClient, query: str, secret: str = SECRET) -> TestResponse:
    """A review in project 40, whose webhook's address has this query."""
    task = {"id": 500, "updated_at": "2026-03-02T08:30:00Z", "data": {"source_project": 3, "source_task": 7}}
    body = {"action": "ANNOTATION_CREATED", "project": {"id": 40}, "task": task}
    return client.post(f"{EVENTS_PATH}?{query}", json=body, headers={SECRET_HEADER: secret})


def asked_for(desk: Desk) -> list[tuple[int, tuple[int, ...]]]:
    """Of which tasks of which project it was."""
    return [(work.project_id, work.task_ids) for work in desk.taken if isinstance(work, ProposeWork)]


@pytest.mark.parametrize("layout", ["proposal", "patch"])
def test_a_queue_s_address_says_of_which_project_it_is(client: FlaskClient, desk: Desk, layout: str) -> None:
    """The work is for the source's task."""
    assert deliver_from_queue(client, f"reviews=3&layout={layout}").status_code == 202
    assert asked_for(desk) == [(3, (7,))]


@pytest.mark.parametrize("query", ["", "reviews=three&layout=patch", "reviews=3", "reviews=&layout=patch"])
def test_any_other_address_is_no_queue_s(client: FlaskClient, desk: Desk, query: str) -> None:
    """Its events are of the project that sends them."""
    assert deliver_from_queue(client, query).status_code == 202
    assert asked_for(desk) == [(40, (500,))]


def test_a_queue_s_delivery_needs_the_secret_too(client: FlaskClient, desk: Desk) -> None:
    """An address is no proof."""
    assert deliver_from_queue(client, "reviews=3&layout=patch", "a guess").status_code == 401
    assert desk.taken == []
