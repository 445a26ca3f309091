from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import httpx
import pytest

from service.domain.model import Rules
from service.errors import LabelStudioError, NotFound, SetupError
from service.ingest.events import SUBSCRIBED
from service.ingest.webhook import SECRET_HEADER
from service.label_studio import setup
from service.label_studio.client import LabelStudioClient, MlBackend, Person, Project, Webhook
from service.label_studio.instructions import END, START, picture_in
from service.label_studio.labeling import read_labeling
from service.label_studio.live import Live
from service.label_studio.setup import PICTURE, Subscription, set_up
from service.label_studio.steps import Outcome, Step

ROOT = "http://negatives.internal:9090"
URL = f"{ROOT}/webhooks/label-studio"
SECRET = "a-secret-of-the-tests"
THEIRS = '<View>\n  <Image name="image" value="$image"/>\n</View>\n'


class FakeStudio(LabelStudioClient):
    """One project of a Label Studio, with memory; what it says to any webhook address, ML backend, upload: refusals."""

    def __init__(
        self,
        hooks: Sequence[Webhook] = (),
        refusal: str | None = None,
        *,
        refuses_live: str | None = None,
        refuses_files: str | None = None,
        instruction: str = "",
    ) -> None:
        self.kept = Project(3, "Cells", THEIRS, instruction=instruction)
        self.hooks = list(hooks)
        self.refusal = refusal
        self.refuses_live = refuses_live
        self.refuses_files = refuses_files
        self.files: dict[str, bytes] = {}
        self.backends: list[MlBackend] = []
        self.changes: list[str] = []
        self.touched = 0

    def whoami(self) -> Person:
        return Person(1, "demo@example.com", "demo@example.com")

    def project(self, project_id: int) -> Project:
        if project_id != self.kept.id:
            raise NotFound(f"Label Studio has no project {project_id}, or this token may not see it")
        return self.kept

    def change_label_config(self, project_id: int, xml: str) -> None:
        assert project_id == self.kept.id
        self.kept = replace(self.kept, label_config=xml)
        self.changes.append("labeling")

    def change_instruction(self, project_id: int, html: str, *, show: bool) -> None:
        assert project_id == self.kept.id
        self.kept = replace(self.kept, instruction=html, shows_instruction=show)
        self.changes.append("instructions")

    def upload(self, project_id: int, name: str, content: bytes) -> str:
        assert project_id == self.kept.id
        if self.refuses_files is not None:
            raise LabelStudioError(self.refuses_files)
        address = f"/data/upload/3/{len(self.files):08x}-{name}"
        self.files[address] = content
        self.changes.append("uploaded")
        return address

    def has_file(self, address: str) -> bool:
        return address in self.files

    def touch(self, project_id: int) -> None:
        assert project_id == self.kept.id
        self.touched += 1

    def webhooks(self, project_id: int | None = None) -> list[Webhook]:
        # Label Studio's list holds the organization's webhooks too.
        return [hook for hook in self.hooks if hook.project in (project_id, None)]

    def create_webhook(self, project_id: int, url: str, actions: Sequence[str], headers: Mapping[str, str]) -> None:
        self._look_at(url)
        self.hooks.append(webhook(id=len(self.hooks) + 1, project=project_id, url=url))
        assert (self.hooks[-1].actions, self.hooks[-1].headers) == (tuple(actions), headers)
        self.changes.append("created webhook")

    def update_webhook(self, webhook: Webhook, url: str, actions: Sequence[str], headers: Mapping[str, str]) -> None:
        self._look_at(url)
        right = replace(
            webhook,
            url=url,
            actions=tuple(actions),
            headers=headers,
            is_active=True,
            send_payload=True,
            all_actions=False,
        )
        self.hooks[self.hooks.index(webhook)] = right
        self.changes.append(f"updated webhook {webhook.id}")

    def ml_backends(self, project_id: int) -> list[MlBackend]:
        assert project_id == self.kept.id
        return self.backends

    def create_ml_backend(self, project_id: int, url: str, user: str, password: str) -> MlBackend:
        assert (project_id, url, user, password) == (self.kept.id, ROOT, "negatives", SECRET)
        if self.refuses_live is not None:
            raise LabelStudioError(f"Label Studio refused the ML backend of project 3 with 400: {self.refuses_live}")
        self.backends.append(MlBackend(1, url, "negatives", True, user, True))
        self.changes.append("created ML backend")
        return self.backends[-1]

    def some_task(self, project_id: int) -> int | None:
        assert project_id == self.kept.id
        return None

    def _look_at(self, url: str) -> None:
        if self.refusal is not None:
            raise LabelStudioError(f"Label Studio refused the webhook of project 3 with 400: {self.refusal}")
        assert url == URL


def webhook(**more: Any) -> Webhook:
    """A webhook as it should be."""
    right: dict[str, Any] = {
        "id": 1,
        "project": 3,
        "url": URL,
        "is_active": True,
        "send_payload": True,
        "all_actions": False,
        "actions": SUBSCRIBED,
        "headers": {SECRET_HEADER: SECRET},
    }
    return Webhook(**(right | more))


def service(request: httpx.Request) -> httpx.Response:
    """The service as it answers a webhook that asks for nothing."""
    assert str(request.url) == URL
    if request.headers.get(SECRET_HEADER) != SECRET:
        return httpx.Response(401, json={"error": "the header is missing or wrong"})
    return httpx.Response(200, json={"action": "LABEL_LINK_CREATED", "ignored": "it can't change a proposal"})


@dataclass
class Attempt:
    """One run of the set-up: how it ended and what it told."""

    fine: bool = False
    steps: list[Step] = field(default_factory=list)

    @property
    def troubles(self) -> list[str]:
        """What it told of trouble."""
        return [step.text for step in self.steps if step.outcome is Outcome.TROUBLE]


def connect(
    studio: FakeStudio,
    *,
    answer: Callable[[httpx.Request], httpx.Response] = service,
    events_arrive: bool = True,
    secret: str = SECRET,
    project: int = 3,
    shapes: Sequence[str] = (),
    live: bool = True,
) -> Attempt:
    """Set up the project; when `events_arrive`, the fake's touch becomes a job of the service."""
    attempt = Attempt()

    def looks(project_id: int) -> frozenset[str]:
        assert project_id == project
        new = range(studio.touched if events_arrive else 0)
        return frozenset({"an event of before", *(f"event {n}" for n in new)})

    with httpx.Client(transport=httpx.MockTransport(answer)) as http:
        attempt.fine = set_up(
            project,
            studio=studio,
            rules=Rules(patches=7),
            wanted=Subscription(URL, {SECRET_HEADER: secret}, SUBSCRIBED),
            live=Live(ROOT, "negatives", secret, wanted=live),
            service=http,
            looks_asked_for=looks,
            tell=attempt.steps.append,
            shapes=shapes,
        )
    return attempt


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setup, "WAIT_SECONDS", 0.3)


# ---------------------------------------------------------------- connecting


def test_a_new_project_is_connected() -> None:
    """Our controls, with the settings' rules as defaults, instructions, the webhook with its secret, the ML backend."""
    studio = FakeStudio()
    attempt = connect(studio)
    assert attempt.fine
    assert studio.changes == ["labeling", "uploaded", "instructions", "created webhook", "created ML backend"]
    labeling = read_labeling(studio.kept.label_config)
    assert (labeling.missing, labeling.defaults["patches"]) == ((), 7)
    assert studio.hooks == [webhook()]


def test_the_steps_are_told_as_they_end() -> None:
    """Who reads along sees what was there, what was done, and that both ways work."""
    told = [step.outcome.value for step in connect(FakeStudio()).steps]
    assert told == ["ok", "done", "done", "done", "ok", "done", "ok", "ok"]


def test_again_it_changes_nothing() -> None:
    """A second run finds everything there and says so."""
    studio = FakeStudio()
    connect(studio)
    studio.changes.clear()
    before = (studio.kept, list(studio.hooks), list(studio.backends), dict(studio.files))
    attempt = connect(studio)
    assert attempt.fine
    assert (studio.changes, (studio.kept, studio.hooks, studio.backends, studio.files)) == ([], before)
    assert {step.outcome for step in attempt.steps} == {Outcome.FINE}


def told_of_labeling(attempt: Attempt) -> list[str]:
    """What was told of the labeling configuration."""
    return [step.text for step in attempt.steps if "labeling configuration" in step.text]


def test_what_was_added_is_named() -> None:
    """Each control, the shapes that were asked for among them."""
    assert told_of_labeling(connect(FakeStudio(), shapes=["ellipse"])) == [
        "added to the labeling configuration: roi, roi_ellipse, patch, roi_live, patches, min_size, max_size, round, "
        "roi_again, patch_verdict, roi_answer"
    ]


def test_shapes_for_rois_are_added_to_a_connected_project() -> None:
    """Those that are asked for and not there yet, and nothing else is changed."""
    studio = FakeStudio()
    connect(studio, shapes=["polygon"])
    studio.changes.clear()
    attempt = connect(studio, shapes=["brush", "polygon"])
    assert attempt.fine
    assert (studio.changes, told_of_labeling(attempt)) == (
        ["labeling"],
        ["added to the labeling configuration: roi_brush"],
    )
    assert read_labeling(studio.kept.label_config).rois == {"roi", "roi_polygon", "roi_brush", "roi_live"}


@pytest.mark.parametrize("shapes", [("polygon", "brush"), ("polygon",), ()], ids=["the same", "one of them", "none"])
def test_again_with_shapes_that_are_there_it_changes_nothing(shapes: Sequence[str]) -> None:
    """Neither adding twice nor taking away."""
    studio = FakeStudio()
    connect(studio, shapes=["polygon", "brush"])
    studio.changes.clear()
    attempt = connect(studio, shapes=shapes)
    assert attempt.fine
    assert (studio.changes, {step.outcome for step in attempt.steps}) == ([], {Outcome.FINE})


def test_a_project_that_is_not_there() -> None:
    """The refusal names the project, and nothing is changed."""
    studio = FakeStudio()
    with pytest.raises(NotFound, match="project 4"):
        connect(studio, project=4)
    assert studio.changes == []


# ---------------------------------------------------------------- the webhook


@pytest.mark.parametrize(
    "wrong",
    [
        {"url": "http://10.0.0.7:9090/webhooks/label-studio"},
        {"is_active": False},
        {"send_payload": False},
        {"headers": {SECRET_HEADER: "an older secret"}},
        {"headers": {}},
        {"headers": {SECRET_HEADER: SECRET, "X-Other": "1"}},
        {"actions": ("ANNOTATION_CREATED",)},
        {"actions": ()},
    ],
    ids=["address", "switched off", "no payload", "secret", "no secret", "other header", "actions", "no actions"],
)
def test_a_webhook_that_is_wrong_is_set_right(wrong: dict[str, Any]) -> None:
    """An older address (known by our header), a switch, a header, actions: set right in place, none added."""
    studio = FakeStudio([webhook(**wrong)])
    attempt = connect(studio)
    assert studio.hooks == [webhook()]
    assert [step.text for step in attempt.steps if step.text.startswith(f"set the webhook right: {URL}")]


def test_a_webhook_for_all_actions_is_right() -> None:
    """Whoever chose "all actions" gets what we need."""
    studio = FakeStudio([webhook(all_actions=True, actions=())])
    connect(studio)
    assert not [change for change in studio.changes if "webhook" in change]


@pytest.mark.parametrize(
    "theirs",
    [
        {"url": "http://elsewhere.example/hook", "headers": {}},
        {"project": None},
        {"project": None, "url": "http://10.0.0.7/x"},
    ],
    ids=["another tool's", "the organization's", "the organization's, older"],
)
def test_other_webhooks_are_left_alone(theirs: dict[str, Any]) -> None:
    """Another tool's webhook, or the whole organization's, stays; ours is added beside it."""
    there = webhook(id=9, **theirs)
    studio = FakeStudio([there])
    connect(studio)
    assert studio.hooks[0] == there
    assert len(studio.hooks) == 2


def test_a_private_address_that_is_refused() -> None:
    """Label Studio's most likely refusal comes with its cure: both ways to allow the address."""
    studio = FakeStudio(refusal="URL resolves to a reserved network address (block: 127.0.0.0/8)")
    with pytest.raises(SetupError) as caught:
        connect(studio)
    assert URL in str(caught.value)
    assert "SSRF_PROTECTION_ENABLED=false" in str(caught.value)
    assert "ML_BLOCK_LOCAL_IP=false" in str(caught.value)
    assert "USE_DEFAULT_BANNED_SUBNETS=false" in str(caught.value)


def test_a_host_name_that_is_refused() -> None:
    """Label Studio wants a dot in a host name; the message says so."""
    with pytest.raises(SetupError, match=r"needs a dot.*NEGATIVES_PUBLIC_URL"):
        connect(FakeStudio(refusal="Enter a valid URL."))


def test_another_refusal_stays_label_studios() -> None:
    """What we have no cure for is told as it was said."""
    with pytest.raises(LabelStudioError, match="You may not") as caught:
        connect(FakeStudio(refusal="You may not."))
    assert not isinstance(caught.value, SetupError)


# ---------------------------------------------------------------- instructions


def told_of_instructions(attempt: Attempt) -> list[str]:
    """What was told of the instructions."""
    return [step.text for step in attempt.steps if "instructions" in step.text]


def test_the_picture_is_uploaded_and_shown() -> None:
    """The one of the package, by the address that Label Studio gave it."""
    studio = FakeStudio()
    connect(studio)
    ((address, content),) = studio.files.items()
    assert content == PICTURE.read_bytes()
    assert picture_in(studio.kept.instruction) == address


def test_a_project_without_instructions_shows_ours_before_labeling() -> None:
    """Nobody had anything to say, so nobody is surprised."""
    studio = FakeStudio(instruction=" ")
    attempt = connect(studio)
    assert studio.kept.shows_instruction
    assert told_of_instructions(attempt) == [
        "wrote into the project's instructions how to get patches, shown before labeling"
    ]


@pytest.mark.parametrize("shows", [True, False])
def test_the_teams_own_instructions_are_kept(shows: bool) -> None:
    """Ours come behind theirs, and whether they are shown before labeling stays as the team chose."""
    theirs = "<p>Only <b>whole</b> cells.</p>\n  "
    studio = FakeStudio(instruction=theirs)
    studio.kept = replace(studio.kept, shows_instruction=shows)
    attempt = connect(studio)
    assert studio.kept.instruction.startswith(theirs)
    assert studio.kept.shows_instruction is shows
    (told,) = told_of_instructions(attempt)
    assert told.endswith("; the team's own are as they were")


def test_an_older_text_or_picture_of_ours_is_replaced() -> None:
    """Our part alone; a picture of another content is uploaded anew."""
    older = f'before{START}<img src="/data/upload/3/0-negatives-switch-on-00000000.png">older{END}after'
    studio = FakeStudio(instruction=older)
    studio.files["/data/upload/3/0-negatives-switch-on-00000000.png"] = b""
    connect(studio)
    kept = studio.kept.instruction
    assert (kept.startswith(f"before{START}"), kept.endswith(f"{END}after"), "older" in kept) == (True, True, False)
    assert studio.changes[:3] == ["labeling", "uploaded", "instructions"]


def test_a_picture_that_is_gone_is_uploaded_again() -> None:
    """Somebody tidied up; the instructions point to the new one."""
    studio = FakeStudio()
    connect(studio)
    (gone,) = studio.files
    studio.files = {"/data/upload/3/another.png": b""}
    studio.changes.clear()
    connect(studio)
    assert studio.changes == ["uploaded", "instructions"]
    assert picture_in(studio.kept.instruction) not in (None, gone)


def test_instructions_that_are_refused_do_not_stop_the_rest() -> None:
    """The project is connected all the same; the person is told."""
    studio = FakeStudio(refuses_files="Label Studio refused it with 403: no files here")
    attempt = connect(studio)
    (trouble,) = attempt.troubles
    assert not attempt.fine
    assert "no files here" in trouble
    assert studio.changes == ["labeling", "created webhook", "created ML backend"]
    assert studio.touched == 1


# ---------------------------------------------------------------- live suggestions


def test_without_live_suggestions() -> None:
    """Neither the ML backend, nor its control, nor a word about it in the instructions."""
    studio = FakeStudio()
    attempt = connect(studio, live=False)
    assert attempt.fine
    assert studio.changes == ["labeling", "instructions", "created webhook"]
    assert "roi_live" not in studio.kept.label_config
    assert "Auto-Annotation" not in studio.kept.instruction


def test_a_refused_ml_backend_does_not_stop_the_rest() -> None:
    """Patches still come by webhook, and that is checked; but all isn't well."""
    studio = FakeStudio(refuses_live="it is full")
    attempt = connect(studio)
    (trouble,) = attempt.troubles
    assert not attempt.fine
    assert "it is full" in trouble
    assert attempt.steps[-1].text == "an event from Label Studio reached the service and became a durable job"


def test_a_service_that_is_not_running_is_not_registered() -> None:
    """Label Studio would refuse it anyway; how to start it is told once."""
    studio = FakeStudio()
    attempt = connect(studio, answer=lambda _: httpx.Response(502))
    assert len(attempt.troubles) == 1
    assert studio.backends == []


# ---------------------------------------------------------------- the check both ways


def test_a_service_that_is_not_running() -> None:
    """The project is connected, but the service doesn't answer: trouble, and how to start it."""

    def refuse(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("refused")

    studio = FakeStudio()
    attempt = connect(studio, answer=refuse)
    assert (attempt.fine, studio.touched) == (False, 0)
    assert attempt.troubles == [f"nothing answers at {URL}: start the service (negatives serve), then run setup again"]


def test_a_service_with_another_secret() -> None:
    """401 from the service: the two secrets differ, and neither is printed."""

    def other(_: httpx.Request) -> httpx.Response:
        return httpx.Response(401, json={"error": "the header X-Negatives-Secret is missing or wrong"})

    attempt = connect(FakeStudio(), answer=other)
    (trouble,) = attempt.troubles
    assert not attempt.fine
    assert "another NEGATIVES_WEBHOOK_SECRET" in trouble


@pytest.mark.parametrize("answer", [httpx.Response(200, text="<html>"), httpx.Response(404), httpx.Response(502)])
def test_something_else_at_the_address(answer: httpx.Response) -> None:
    """Another server at that address is not taken for the service."""
    attempt = connect(FakeStudio(), answer=lambda _: answer)
    (trouble,) = attempt.troubles
    assert not attempt.fine
    assert f"is not this service (status {answer.status_code})" in trouble


def test_no_event_arrives() -> None:
    """Label Studio sends in silence or not at all: after a while trouble is told, with the cure and what else to
    check.
    """
    attempt = connect(FakeStudio(), events_arrive=False)
    (trouble,) = attempt.troubles
    assert not attempt.fine
    for word in ("no event from Label Studio", "SSRF_PROTECTION_ENABLED", "NEGATIVES_PUBLIC_URL", "NEGATIVES_DATABASE"):
        assert word in trouble


@pytest.mark.parametrize("events_arrive", [True, False])
def test_the_secret_is_never_told(events_arrive: bool) -> None:
    """What is printed can be pasted into an issue."""
    attempt = connect(FakeStudio(), events_arrive=events_arrive)
    assert SECRET not in " ".join(step.text for step in attempt.steps)


def test_where_another_backend_answers_the_browsers_nothing_is_changed_for_live() -> None:
    """The team's smart tool stays theirs, and nobody is told of switches that ask somebody else."""
    studio = FakeStudio()
    studio.backends.append(MlBackend(7, "http://sam.internal:9090", "SAM", True, None, True))
    attempt = connect(studio)
    assert not attempt.fine
    assert 'smart="false"' not in studio.kept.label_config.partition("<Style>")[0]
    assert "roi_live" not in studio.kept.label_config
    assert "Auto-Annotation" not in studio.kept.instruction


def test_a_picture_of_another_host_is_not_looked_for() -> None:
    """Whoever edited our part of the instructions doesn't stop the set-up."""
    studio = FakeStudio()
    connect(studio)
    (address,) = studio.files
    studio.kept = replace(studio.kept, instruction=studio.kept.instruction.replace(address, f"http://[{address}"))
    assert connect(studio).fine
    assert len(studio.files) == 2
