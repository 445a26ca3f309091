"""Live suggestions set up against Label Studio's HTTP as it was recorded from 1.23.2."""

import json
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from service.label_studio.live import Live, set_up_live
from service.label_studio.steps import Outcome, Step
from tests.label_studio.fake_studio import FakeStudio, page

P = 5
URL = "http://negatives.internal:9090"
PASSWORD = "a-secret-of-the-tests"
LIVE = Live(URL, "negatives", PASSWORD)
NO_LIVE = Live(URL, "negatives", PASSWORD, wanted=False)
HOOK = f"{URL}/webhook"

RESERVED = "URL resolves to a reserved network address (block: 127.0.0.0/8)"
OTHER_SECRET = (
    f"Successfully connected to {URL} but it doesn't look like a valid ML backend. Reason: 401 Client Error: "
    f"Unauthorized for url: {URL}/setup.\nCheck the ML backend server console logs to check the status."
)
OTHER_SECRET_FOR_HEALTH = (
    "Able to connect to ML Server, but authentication parameters were either not provided or are incorrect."
)
NO_ROUTE = (
    f"Can't connect to ML backend {URL}, health check failed. Make sure it is up and your firewall is properly "
    'configured. <a href="https://labelstud.io/guide/ml.html">Learn more</a> about how to set up an ML backend. '
    "Additional info: HTTPConnectionPool(host='negatives.internal', port=9090): Max retries exceeded with url: /health"
)
AN_OLDER_SERVICE = (
    f"Successfully connected to {URL} but it doesn't look like a valid ML backend. Reason: 404 Client Error: Not Found "
    f"for url: {URL}/setup.\nCheck the ML backend server console logs to check the status."
)


def invalid(sentence: str) -> httpx.Response:
    """How Label Studio says that an ML backend won't do."""
    said = {"detail": "Validation error", "validation_errors": {"non_field_errors": [sentence]}}
    return httpx.Response(400, json=said)


def backend(**more: Any) -> dict[str, Any]:
    """An ML backend as Label Studio gives it: ours, as it should be."""
    return {
        "id": 1,
        "state": "CO",
        "is_interactive": True,
        "url": URL,
        "error_message": None,
        "title": "negatives",
        "auth_method": "BASIC_AUTH",
        "basic_auth_user": "negatives",
        "basic_auth_pass_is_set": True,
        "model_version": "negatives",
        "project": P,
    } | more


def webhook(**more: Any) -> dict[str, Any]:
    """The webhook that Label Studio makes with an ML backend."""
    right = {"id": 1, "project": P, "url": HOOK, "send_payload": True, "send_for_all_actions": True}
    return right | {"headers": {}, "is_active": True, "actions": []} | more


@dataclass
class Studio:
    """ML backends and webhooks of one project, with memory.

    `refusal` is the answer to registering, `complaint` what Label Studio says when it tries a suggestion.
    """

    backends: list[dict[str, Any]] = field(default_factory=list)
    hooks: list[dict[str, Any]] = field(default_factory=list)
    tasks: Sequence[int] = (7,)
    refusal: httpx.Response | None = None
    complaint: str | None = None
    passwords: dict[int, str] = field(default_factory=dict)
    fake: FakeStudio = field(default_factory=FakeStudio)

    def __post_init__(self) -> None:
        self.fake.on("GET /api/ml/", lambda _: httpx.Response(200, json=self.backends))
        self.fake.on("POST /api/ml/", self._create)
        self.fake.on("GET /api/webhooks/", lambda _: httpx.Response(200, json=self.hooks))
        self.fake.on("GET /api/tasks/", page(*({"id": task} for task in self.tasks)))
        for kept in self.backends:
            self.fake.on(f"PATCH /api/ml/{kept['id']}", self._update)
        for hook in self.hooks:
            self.fake.on(f"PATCH /api/webhooks/{hook['id']}/", self._switch)

    def _create(self, request: httpx.Request) -> httpx.Response:
        if self.refusal is not None:
            return self.refusal
        sent = json.loads(request.content)
        number = len(self.backends) + 1
        self.passwords[number] = sent.pop("basic_auth_pass")
        self.backends.append(backend(id=number, **sent))
        self.hooks.append(webhook(id=len(self.hooks) + 1, url=sent["url"] + "/webhook"))
        self.fake.on(f"PATCH /api/webhooks/{self.hooks[-1]['id']}/", self._switch)
        self.fake.on(f"POST /api/ml/{number}/interactive-annotating", self._try)
        return httpx.Response(201, json=self.backends[-1])

    def _update(self, request: httpx.Request) -> httpx.Response:
        if self.refusal is not None:
            return self.refusal
        sent = json.loads(request.content)
        if not {"url", "project", "auth_method", "basic_auth_user", "basic_auth_pass"} <= sent.keys():
            return httpx.Response(500, json={"detail": "healthcheck_() missing 1 required positional argument: 'url'"})
        (kept,) = (kept for kept in self.backends if request.url.path.endswith(f"/{kept['id']}"))
        self.passwords[kept["id"]] = sent.pop("basic_auth_pass")
        kept |= {**sent, "state": "CO"}
        return httpx.Response(200, json=kept)

    def _switch(self, request: httpx.Request) -> httpx.Response:
        (hook,) = (hook for hook in self.hooks if request.url.path.endswith(f"/{hook['id']}/"))
        hook |= json.loads(request.content)
        return httpx.Response(200, json=hook)

    def _try(self, request: httpx.Request) -> httpx.Response:
        assert json.loads(request.content) == {"task": self.tasks[0], "context": {"result": []}}
        if self.complaint is not None:
            return httpx.Response(200, json={"errors": [self.complaint]})
        return httpx.Response(200, json={"data": {"result": [], "model_version": "negatives"}})

    def set_up(self, live: Live = LIVE) -> list[Step]:
        """Run it, and keep the list of writes to look at."""
        for kept in self.backends:
            self.fake.on(f"POST /api/ml/{kept['id']}/interactive-annotating", self._try)
        with closing(self.fake.client()) as client:
            return list(set_up_live(P, studio=client, live=live))

    @property
    def writes(self) -> list[str]:
        """What was changed, in order."""
        return [call for call in self.fake.calls() if not call.startswith("GET") and not call.endswith("annotating")]


def outcomes(steps: Sequence[Step]) -> list[str]:
    """How the steps ended."""
    return [step.outcome.value for step in steps]


# ---------------------------------------------------------------- registering


def test_the_service_is_registered_and_tried() -> None:
    """Interactive, with our title and the secret; its surplus webhook is off; Label Studio has tried it."""
    studio = Studio()
    steps = studio.set_up()
    assert [(step.outcome, step.text) for step in steps] == [
        (Outcome.CHANGED, f"registered as interactive ML backend at {URL}"),
        (Outcome.CHANGED, f"switched off {HOOK}, which Label Studio adds: one webhook is enough"),
        (Outcome.FINE, "Label Studio reaches it and it answers"),
    ]
    assert studio.backends == [backend()]
    assert studio.passwords == {1: PASSWORD}
    assert [hook["is_active"] for hook in studio.hooks] == [False]


def test_again_it_changes_nothing() -> None:
    """A second run finds it registered and tries it."""
    studio = Studio()
    studio.set_up()
    before = len(studio.writes)
    assert outcomes(studio.set_up()) == ["ok", "ok"]
    assert len(studio.writes) == before


def test_a_project_without_tasks_is_not_tried() -> None:
    """A suggestion needs a task; that Label Studio reaches the service is known all the same."""
    steps = Studio(tasks=()).set_up()
    assert steps[-1].outcome is Outcome.FINE
    assert "with a task in the project" in steps[-1].text


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "http://10.0.0.7:9090"},
        {"is_interactive": False},
        {"title": "my backend"},
        {"auth_method": "NONE"},
        {"basic_auth_user": "somebody"},
        {"state": "DI"},
        {"state": "ER", "error_message": "401 Client Error"},
    ],
    ids=["address", "not interactive", "title", "no sign-in", "user", "disconnected (an older secret)", "error"],
)
def test_what_is_wrong_is_set_right(wrong: dict[str, Any]) -> None:
    """In place, whatever it is; no second one is registered."""
    studio = Studio([backend(**wrong)])
    steps = studio.set_up()
    assert outcomes(steps) == ["done", "ok"]
    assert f"set the interactive ML backend right: {URL}" in steps[0].text
    assert [{**kept, "error_message": None} for kept in studio.backends] == [backend()]
    assert studio.passwords == {1: PASSWORD}


def test_where_it_was_before_is_told() -> None:
    """Who moved the service sees that it was noticed; the webhook of the old address is switched off, too."""
    old = "http://10.0.0.7:9090"
    studio = Studio([backend(url=old)], [webhook(url=f"{old}/webhook")])
    steps = studio.set_up()
    assert f"(it was at {old} until now)" in steps[0].text
    assert studio.hooks[0]["is_active"] is False


@pytest.mark.parametrize(
    "theirs",
    [{"url": "http://elsewhere.example/webhook"}, {"project": None}, {"url": f"{URL}/webhooks/label-studio"}],
    ids=["another address", "the organization's", "ours"],
)
def test_other_webhooks_are_left_on(theirs: dict[str, Any]) -> None:
    """Only the one that Label Studio makes with our backend is switched off."""
    studio = Studio([backend()], [webhook(**theirs)])
    studio.set_up()
    assert studio.writes == []


# ---------------------------------------------------------------- others' backends

SAM = {"id": 1, "url": "http://sam.internal:9090", "title": "SAM"}


def test_another_interactive_backend_goes_first() -> None:
    """Browsers ask only the first: ours isn't registered, and both ways out are told."""
    studio = Studio([backend(**SAM)])
    (step,) = studio.set_up()
    assert step.outcome is Outcome.TROUBLE
    for word in ("'SAM'", "http://sam.internal:9090", "interactive preannotations", f"--project {P} --no-live"):
        assert word in step.text
    assert studio.writes == []


def test_another_interactive_backend_before_ours() -> None:
    """Ours would never be asked, though it is there."""
    studio = Studio([backend(**SAM), backend(id=2)])
    assert outcomes(studio.set_up()) == ["trouble"]


def test_another_interactive_backend_behind_ours_is_no_trouble() -> None:
    """Ours is the one that browsers ask, however Label Studio lists them."""
    studio = Studio([backend(**SAM | {"id": 2}), backend()])
    assert outcomes(studio.set_up()) == ["ok", "ok"]


def test_ours_before_an_interactive_one_is_switched_on() -> None:
    """Once it is interactive again, it goes first."""
    studio = Studio([backend(is_interactive=False), backend(**SAM | {"id": 2})])
    assert outcomes(studio.set_up()) == ["done", "ok"]
    assert [kept["is_interactive"] for kept in studio.backends] == [True, True]


def test_ours_behind_an_interactive_one_is_not_switched_on() -> None:
    """One of ours that isn't interactive doesn't hide who goes first."""
    studio = Studio([backend(**SAM), backend(id=2, is_interactive=False)])
    assert outcomes(studio.set_up()) == ["trouble"]
    assert studio.writes == []


def test_backends_that_are_not_interactive_are_no_trouble() -> None:
    """They are for predictions in bulk; ours is registered beside them."""
    studio = Studio([backend(**SAM, is_interactive=False)])
    assert outcomes(studio.set_up()) == ["done", "done", "ok"]
    assert [kept["id"] for kept in studio.backends] == [1, 2]


# ---------------------------------------------------------------- refusals


@pytest.mark.parametrize("there", [[], [backend(state="DI")]], ids=["new", "there already"])
@pytest.mark.parametrize(
    ("refusal", "words"),
    [
        (httpx.Response(403, json={"detail": RESERVED}), ["refuses", "ML_BLOCK_LOCAL_IP=false", "USE_DEFAULT_BANNED"]),
        (invalid(OTHER_SECRET), ["another NEGATIVES_WEBHOOK_SECRET", "NEGATIVES_PUBLIC_URL"]),
        (invalid(OTHER_SECRET_FOR_HEALTH), ["another NEGATIVES_WEBHOOK_SECRET"]),
        (invalid(NO_ROUTE), ["doesn't reach", "answers from here", "NEGATIVES_PUBLIC_URL"]),
        (httpx.Response(500, json={"detail": "Can't resolve hostname negatives.internal"}), ["doesn't reach"]),
        (invalid(AN_OLDER_SERVICE), ["an older version of this service, restart it"]),
        (httpx.Response(403, json={"detail": "You may not."}), ["You may not.", "--no-live"]),
    ],
    ids=["private address", "secret", "secret, older", "no route", "no name", "older service", "unknown"],
)
def test_a_refusal_comes_with_what_to_do(
    there: list[dict[str, Any]], refusal: httpx.Response, words: list[str]
) -> None:
    """What Label Studio 1.23.2 says (recorded), as a cause and a cure; never as markup, nor with the secret."""
    (step,) = Studio([dict(kept) for kept in there], refusal=refusal).set_up()
    assert step.outcome is Outcome.TROUBLE
    assert [word for word in words if word not in step.text] == []
    assert "<a" not in step.text
    assert PASSWORD not in step.text


@pytest.mark.parametrize(
    ("complaint", "words"),
    [
        (RESERVED, ["ML_BLOCK_LOCAL_IP=false"]),
        ("401 Client Error: UNAUTHORIZED for url: http://x/predict", ["another NEGATIVES_WEBHOOK_SECRET"]),
        ("500 Server Error: INTERNAL SERVER ERROR for url: http://x/predict", ["500 Server Error", "--no-live"]),
    ],
    ids=["private address", "secret", "failure"],
)
def test_a_suggestion_that_fails_is_told(complaint: str, words: list[str]) -> None:
    """It is registered, but Label Studio's own try went wrong."""
    *_, step = Studio([backend()], complaint=complaint).set_up()
    assert step.outcome is Outcome.TROUBLE
    assert [word for word in words if word not in step.text] == []


def test_a_label_studio_that_fails_is_trouble_not_the_end() -> None:
    """What comes after this in the set-up still runs."""
    studio = Studio()
    studio.fake.on("GET /api/ml/", lambda _: httpx.Response(403, json={"detail": "no models here"}))
    (step,) = studio.set_up()
    assert (step.outcome, "no models here" in step.text) == (Outcome.TROUBLE, True)


# ---------------------------------------------------------------- without live suggestions


def test_without_it_nothing_is_registered() -> None:
    """Nor touched, whatever there is of others."""
    studio = Studio([backend(**SAM)])
    assert outcomes(studio.set_up(NO_LIVE)) == ["ok"]
    assert studio.writes == []


def test_without_it_ours_is_no_longer_interactive() -> None:
    """And says so; it stays registered, so that the review stream still prefills."""
    studio = Studio([backend()])
    (step,) = studio.set_up(NO_LIVE)
    assert (step.outcome, "no longer interactive" in step.text) == (Outcome.CHANGED, True)
    assert studio.backends == [backend(is_interactive=False)]
    assert outcomes(studio.set_up(NO_LIVE)) == ["ok"]


def test_the_password_is_not_shown() -> None:
    """Not where a dataclass is printed, either."""
    assert PASSWORD not in repr(LIVE)
