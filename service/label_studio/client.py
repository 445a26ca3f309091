"""Label Studio's HTTP API in our words: the only module that knows the SDK.

https://api.labelstud.io — importing the SDK takes over a second, so import this module only where it is used.
"""

import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Any
from urllib.parse import urlsplit

import httpx
from label_studio_sdk import LabelStudio
from label_studio_sdk.core.api_error import ApiError
from label_studio_sdk.core.pagination import SyncPager
from label_studio_sdk.core.request_options import RequestOptions
from pydantic import ValidationError

from service.domain.model import MODEL_VERSION, Proposal, StandingPrediction, Task
from service.errors import (
    LabelStudioError,
    LabelStudioUnavailable,
    NotFound,
    PayloadError,
    PredictionsDropped,
    Unauthorized,
)
from service.label_studio.auth import LabelStudioAuth
from service.label_studio.labeling import Labeling, read_labeling
from service.label_studio.payloads import read_task, write_prediction

log = logging.getLogger(__name__)

READ_PAGE = 100  # whole tasks a page: 1,000 a page takes twice as long a task
LOOK_PAGE = 1000  # ids only
UPLOADS = 50  # files a request: from 100 on it fails
JUST_MADE = timedelta(seconds=2)
SECOND_TRY_CAN_HELP = frozenset((408, 409, 425, 429))
_ECHO = re.compile(r"\{.*\}", re.DOTALL)  # what we sent, quoted back in Label Studio's sentence
ONCE: RequestOptions = {"max_retries": 0}  # a write is retried by its job, which looks first whether it is still needed


@dataclass(frozen=True, slots=True)
class Project:
    """A project as far as we use it."""

    id: int
    title: str
    label_config: str
    task_count: int = 0
    instruction: str = ""
    shows_instruction: bool = False


@dataclass(frozen=True, slots=True)
class Webhook:
    """A webhook as Label Studio keeps it; `project` is None for one of the whole organization."""

    id: int
    project: int | None
    url: str
    is_active: bool
    send_payload: bool
    all_actions: bool
    actions: tuple[str, ...]
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class MlBackend:
    """An ML backend as Label Studio keeps it; `user` is whom it signs in as, None without signing in.

    `connected`: at Label Studio's last look it answered.
    """

    id: int
    url: str
    title: str
    is_interactive: bool
    user: str | None
    connected: bool


@dataclass(frozen=True, slots=True)
class Change:
    """A task that changed, and when."""

    task_id: int
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Person:
    """A user of Label Studio; `name` is what to call them: their name, or their e-mail address where they gave none."""

    id: int
    email: str
    name: str


class LabelStudioClient:
    """One Label Studio, signed in as one person: by a token, or by `auth` for one who has a session there.

    All methods raise `LabelStudioUnavailable` when trying again can help, `Unauthorized`, `NotFound`, or another
    `LabelStudioError` when it can't. Safe to share between threads.
    """

    def __init__(
        self,
        url: str,
        token: str = "",
        *,
        auth: httpx.Auth | None = None,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.url = url
        self._importing = Lock()  # two imports at once lock Label Studio's SQLite, and it waits for seconds
        self.http = httpx.Client(
            auth=auth or LabelStudioAuth(url, token),
            timeout=httpx.Timeout(60, connect=5),
            follow_redirects=True,
            transport=transport or httpx.HTTPTransport(retries=1),
        )
        # Signing is LabelStudioAuth's business: the SDK would refresh by the clock only, and not for files.
        self._sdk = LabelStudio(  # type: ignore[no-untyped-call]
            base_url=url, api_key="signed-below", httpx_client=self.http
        )

    def close(self) -> None:
        """Give the connections back."""
        self.http.close()

    def whoami(self) -> Person:
        """Who is signed in."""
        with _translated("who is signed in"):
            return _person(self._sdk.users.whoami().dict())

    def people(self) -> dict[int, Person]:
        """The members of the organization, by id."""
        with _translated("the members of the organization"):
            found = (_person(user.dict()) for user in self._sdk.users.list())
            return {person.id: person for person in found}

    def sees(self, project_id: int) -> bool:
        """Whether the person may see the project; of Label Studio's answers only this one is right for everybody.

        Raises as the other methods do when the question gets no answer.
        """
        with _translated(f"project {project_id}"):
            answer = self.http.get(f"{self.url}/api/projects/{project_id}/", params={"include": "id"})
            if answer.status_code in (httpx.codes.FORBIDDEN, httpx.codes.NOT_FOUND):
                return False
            answer.raise_for_status()
            return bool(answer.json()["id"] == project_id)

    def write_review(self, task_id: int, result: Sequence[Mapping[str, Any]]) -> None:
        """Add an annotation to a task, of whoever is signed in."""
        with _translated(f"the verdicts on task {task_id}"):
            self._sdk.annotations.create(task_id, result=list(result), request_options=ONCE)

    def project(self, project_id: int) -> Project:
        """One project."""
        with _translated(f"project {project_id}"):
            found = self._sdk.projects.get(project_id)
            if not isinstance(found.label_config, str):  # the SDK checks no types
                raise _nonsense(f"project {project_id}", "no labeling configuration")
            return Project(
                project_id,
                str(found.title),
                found.label_config,
                found.task_number or 0,
                found.expert_instruction or "",
                bool(found.show_instruction),
            )

    def labeling(self, project_id: int) -> Labeling:
        """What the project's labeling configuration says to us."""
        return read_labeling(self.project(project_id).label_config)

    def tasks(self, project_id: int, labeling: Labeling, task_ids: Sequence[int] | None = None) -> Iterator[Task]:
        """The project's tasks with all annotations and predictions, or those of them that exist, by id.

        A page of 100 is held at a time. A task that can't be read is logged and left out.
        """
        if task_ids is None:
            yield from self._read_tasks(project_id, labeling, None)
            return
        if len(task_ids) == 1:
            yield from self._read_task(project_id, task_ids[0], labeling)
            return
        for start in range(0, len(task_ids), READ_PAGE):
            yield from self._read_tasks(project_id, labeling, task_ids[start : start + READ_PAGE])

    def _read_task(self, project_id: int, task_id: int, labeling: Labeling) -> Iterator[Task]:
        """One call of 40 ms where the list takes three times as long: an annotator is waiting for this one."""
        try:
            with _translated(f"task {task_id}"):
                payload = self._sdk.tasks.get(str(task_id)).dict()
        except NotFound:
            return
        task = read_task(payload, labeling)
        if task.project_id == project_id:
            yield task

    def _read_tasks(self, project_id: int, labeling: Labeling, task_ids: Sequence[int] | None) -> Iterator[Task]:
        query = None if task_ids is None else _filter("id", "in_list", "Number", list(task_ids))
        for payload in self._task_pages(project_id, query, READ_PAGE, None):
            try:
                yield read_task(payload, labeling)
            except PayloadError as error:
                log.error("project %d: %s", project_id, error)

    def changed_since(self, project_id: int, moment: datetime | None, *, even_empty: bool = False) -> list[Change]:
        """Tasks with annotations or predictions that changed after the moment (None: all of them), oldest change
        first; `even_empty`: those that have neither, or no longer, too.
        """
        fields = "id,updated_at,total_annotations,total_predictions"
        found = [
            Change(int(item["id"]), _moment(item["updated_at"]))
            for item in self._task_pages(project_id, _changed_after(moment), LOOK_PAGE, fields)
            if even_empty or item.get("total_annotations") or item.get("total_predictions")
        ]
        return sorted(found, key=lambda change: (change.updated_at, change.task_id))

    def raw_tasks(self, project_id: int, column: str, values: Sequence[int] | None) -> Iterator[dict[str, Any]]:
        """A project's tasks as Label Studio gives them: those with one of these values in a column, or (None) all."""
        query = None if values is None else _filter(column, "in_list", "Number", list(values))
        yield from self._task_pages(project_id, query, READ_PAGE, None)

    def reviewed_since(self, project_id: int, key: str, moment: datetime | None) -> list[Change]:
        """Tasks with annotations that changed after the moment, by the number that they hold under the key; also those
        that have lost their annotations since they were made.
        """
        fields = "id,created_at,updated_at,total_annotations,data"
        found = []
        for item in self._task_pages(project_id, _changed_after(moment), LOOK_PAGE, fields):
            at, number = _moment(item["updated_at"]), (item.get("data") or {}).get(key)
            is_new = at - _moment(item["created_at"]) < JUST_MADE
            if isinstance(number, int) and (item.get("total_annotations") or not is_new):
                found.append(Change(number, at))
        return found

    def _task_pages(
        self, project_id: int, query: str | None, page_size: int, include: str | None
    ) -> Iterator[dict[str, Any]]:
        # Links must stay as they were stored: a presigned one would have run out by the time we use it.
        with _translated(f"the tasks of project {project_id}"):
            pages: SyncPager[Any, Any] = self._sdk.tasks.list(
                project=project_id,
                fields="all",
                page_size=page_size,
                query=query,
                include=include,
                resolve_uri=False,
            )
            if pages.items is None:  # another server's JSON must not look like a project without tasks
                raise _nonsense(f"the tasks of project {project_id}", "no list")
            for item in pages:
                yield item.dict()

    def publish(self, project_id: int, proposals: Sequence[Proposal], labeling: Labeling) -> None:
        """Create predictions in bulk, one per proposal.

        Raises `PredictionsDropped` naming the tasks for which Label Studio stored nothing: it drops what it dislikes
        without a word and answers 201; and it refuses all with 400 when one task is gone. Trying again reads anew.
        """
        if not proposals:
            return
        request = [write_prediction(proposal, labeling) for proposal in proposals]
        try:
            with self._importing, _translated(f"publishing proposals to project {project_id}"):
                answer = self._sdk.projects.import_predictions(project_id, request=request, request_options=ONCE)  # type: ignore[arg-type]
        except LabelStudioError as error:
            if error.retryable or isinstance(error, Unauthorized | NotFound):
                raise
            raise PredictionsDropped(f"{error} (was one of its tasks deleted just now?)") from error
        if answer.created == len(request):
            return
        ids = [proposal.task_id for proposal in proposals]
        stored = {task.id for task in self.tasks(project_id, labeling, ids) if task.standing}
        dropped = ", ".join(str(task_id) for task_id in ids if task_id not in stored)
        raise PredictionsDropped(
            f"Label Studio dropped the proposals for task {dropped} of project {project_id} without a word: does its "
            f"labeling configuration still have our controls? Run: negatives setup --project {project_id}"
        )

    def replace(self, project_id: int, standing: StandingPrediction, proposal: Proposal, labeling: Labeling) -> None:
        """Change a standing prediction in place: deleting it would strand a reviewer who has the task open."""
        result = write_prediction(proposal, labeling)["result"]
        self.change_prediction(standing.id, result, f"prediction {standing.id} of project {project_id}")

    def change_prediction(self, prediction_id: int, result: list[dict[str, Any]], what: str) -> None:
        """Give a prediction of ours another result, in place."""
        with _translated(what):
            self._sdk.predictions.update(
                prediction_id, result=result, model_version=MODEL_VERSION, request_options=ONCE
            )

    def import_tasks(self, project_id: int, tasks: Sequence[Mapping[str, Any]]) -> None:
        """Create tasks in bulk, with their predictions."""
        with self._importing, _translated(f"new tasks of project {project_id}"):
            answer = self._sdk.projects.import_tasks(
                project_id,
                request=list(tasks),  # type: ignore[arg-type]
                return_task_ids=True,
                request_options=ONCE,
            )
            told = answer.dict()  # the SDK's types know less than Label Studio says
            predictions = [
                {**prediction, "task": task_id}
                for task_id, task in zip(told["task_ids"], tasks, strict=True)
                for prediction in task.get("predictions", ())
            ]
            if predictions and not told["prediction_count"]:
                # While its SQLite is locked Label Studio tries again by itself, with tasks whose predictions it has
                # taken out the first time (`pop` below `retry_database_locked` in tasks/serializers.py).
                self._sdk.projects.import_predictions(project_id, request=predictions, request_options=ONCE)  # type: ignore[arg-type]

    def take_out_of_stream(self, task_id: int) -> None:
        """Give a task to nobody any more, if it is still there; whoever has it open can submit all the same."""
        with suppress(NotFound), _translated(f"task {task_id}"):
            # The SDK's own call doesn't know this field.
            self.http.patch(f"{self.url}/api/tasks/{task_id}/", json={"is_labeled": True}).raise_for_status()

    def delete_tasks(self, project_id: int, task_ids: Sequence[int]) -> None:
        """Delete tasks in bulk; those that are gone already don't matter."""
        with _translated(f"tasks of project {project_id}"):
            self.http.post(
                f"{self.url}/api/dm/actions",
                params={"id": "delete_tasks", "project": project_id},
                json={"selectedItems": {"all": False, "included": list(task_ids)}},
            ).raise_for_status()

    def projects(self) -> list[Project]:
        """All projects that the person sees."""
        with _translated("the projects"):
            found: SyncPager[Any, Any] = self._sdk.projects.list(include="id,title,label_config", page_size=LOOK_PAGE)
            return [Project(int(one.id), str(one.title), str(one.label_config)) for one in found]

    def create_project(self, settings: Mapping[str, Any]) -> int:
        """A new project; its id."""
        with _translated("a new project"):
            return int(self._sdk.projects.create(**settings, request_options=ONCE).id or 0)

    def settle_project(self, project_id: int, settings: Mapping[str, Any]) -> bool:
        """Give a project these settings; whether one of them was otherwise."""
        with _translated(f"project {project_id}"):
            there = self._sdk.projects.get(project_id).dict()
            if changed := {name: value for name, value in settings.items() if there.get(name) != value}:
                self._sdk.projects.update(project_id, **changed, request_options=ONCE)
            return bool(changed)

    def change_label_config(self, project_id: int, xml: str) -> None:
        """Check a labeling configuration against the project's annotations, then set it."""
        with _translated(f"the labeling configuration of project {project_id}"):
            self._sdk.projects.validate_label_config(project_id, label_config=xml)
            self._sdk.projects.update(project_id, label_config=xml, request_options=ONCE)

    def change_instruction(self, project_id: int, html: str, *, show: bool) -> None:
        """Set what annotators read as instructions, and whether they see it before they start."""
        with _translated(f"the instructions of project {project_id}"):
            self._sdk.projects.update(project_id, expert_instruction=html, show_instruction=show, request_options=ONCE)

    def upload(self, project_id: int, name: str, content: bytes) -> str:
        """Keep a file with the project, of which no task is made; its address on this host, for members' browsers."""
        with _translated(f"uploading {name} to project {project_id}"):
            answer = self.http.post(
                f"{self.url}/api/projects/{project_id}/import",
                params={"commit_to_project": "false"},
                files={"file": (name, content)},
            )
            (file_id,) = answer.raise_for_status().json()["file_upload_ids"]
            return f"{urlsplit(self.url).path}/data/{self._sdk.files.get(file_id).file}"

    def upload_many(self, project_id: int, files: Sequence[tuple[str, bytes]]) -> list[str]:
        """Keep files (name, content) with the project, of which no tasks are made; their addresses, in order."""
        addresses: list[str] = []
        for start in range(0, len(files), UPLOADS):
            chunk = files[start : start + UPLOADS]
            with _translated(f"uploading {len(chunk)} files to project {project_id}"):
                answer = self.http.post(
                    f"{self.url}/api/projects/{project_id}/import",
                    params={"commit_to_project": "false"},
                    # Under one name only the last would be kept.
                    files={f"f{number}": file for number, file in enumerate(chunk)},
                )
                ids = answer.raise_for_status().json()["file_upload_ids"]
                listed = self.http.get(
                    f"{self.url}/api/projects/{project_id}/file-uploads", params={"ids": json.dumps(ids)}
                )
                by_id = {int(one["id"]): str(one["file"]) for one in listed.raise_for_status().json()}
                addresses += [f"{urlsplit(self.url).path}/data/{by_id[one]}" for one in ids]
        return addresses

    def has_file(self, address: str) -> bool:
        """Whether the file is still there that `upload` gave this address."""
        with _translated(f"the file {address}"):
            # Only the path is taken from it: the token goes nowhere else.
            answer = self.http.get(httpx.URL(self.url).copy_with(raw_path=address.encode()))
            return answer.status_code == httpx.codes.OK

    def touch(self, project_id: int) -> None:
        """Set the project's title to what it is, so that Label Studio sends PROJECT_UPDATED to its webhooks."""
        project = self.project(project_id)
        with _translated(f"project {project.id}"):
            self._sdk.projects.update(project.id, title=project.title, request_options=ONCE)

    def webhooks(self, project_id: int | None = None) -> list[Webhook]:
        """The project's webhooks; without a project, all that the token may see."""
        with _translated("the webhooks"):
            found = self._sdk.webhooks.list(project=None if project_id is None else str(project_id))
            return [_webhook(item.dict()) for item in found]

    def create_webhook(self, project_id: int, url: str, actions: Sequence[str], headers: Mapping[str, str]) -> None:
        """Register a webhook that sends its payload for these actions."""
        with _translated(f"the webhook of project {project_id}"):
            self._sdk.webhooks.create(project=project_id, **_subscription(url, actions, headers))

    def update_webhook(self, webhook: Webhook, url: str, actions: Sequence[str], headers: Mapping[str, str]) -> None:
        """Set a webhook to these actions and headers, switched on."""
        with _translated(f"webhook {webhook.id}"):
            self._sdk.webhooks.update(webhook.id, **_subscription(url, actions, headers))

    def switch_off_webhook(self, webhook: Webhook) -> None:
        """Keep a webhook, but have nothing sent to it."""
        with _translated(f"webhook {webhook.id}"):
            self._sdk.webhooks.update(webhook.id, url=webhook.url, is_active=False, request_options=ONCE)

    def ml_backends(self, project_id: int) -> list[MlBackend]:
        """The project's ML backends, in the order in which browsers look for an interactive one; each is looked at."""
        with _translated(f"the ML backends of project {project_id}"):
            found = [_ml_backend(item.dict()) for item in self._sdk.ml.list(project=project_id)]
            return sorted(found, key=lambda backend: backend.id)

    def create_ml_backend(self, project_id: int, url: str, user: str, password: str) -> MlBackend:
        """Register an interactive ML backend; Label Studio calls it at once, and refuses one that doesn't answer.

        It also makes a webhook of it, for all actions, at `url`/webhook.
        """
        with _translated(f"the ML backend of project {project_id}"):
            return _ml_backend(self._sdk.ml.create(**_registration(project_id, url, user, password, True)).dict())

    def update_ml_backend(
        self, backend: MlBackend, project_id: int, url: str, user: str, password: str, *, is_interactive: bool = True
    ) -> MlBackend:
        """Set an ML backend to this; Label Studio calls it at once, and refuses one that doesn't answer."""
        with _translated(f"ML backend {backend.id}"):
            # All of it, always: what Label Studio isn't sent, it does without when it calls.
            registration = _registration(project_id, url, user, password, is_interactive)
            return _ml_backend(self._sdk.ml.update(backend.id, **registration).dict())

    def try_ml_backend(self, backend: MlBackend, task_id: int) -> str | None:
        """Have Label Studio call an ML backend as when somebody draws, with nothing drawn; its complaint, if any."""
        with _translated(f"trying ML backend {backend.id}"):
            answer = self.http.post(  # the SDK drops the answer
                f"{self.url}/api/ml/{backend.id}/interactive-annotating",
                json={"task": task_id, "context": {"result": []}},
            )
            said = answer.raise_for_status().json()
            return None if isinstance(said.get("data"), Mapping) else str(said["errors"][0])[:500]

    def task_moments(self, project_id: int) -> dict[int, datetime]:
        """All tasks of the project by id, with when each changed last: those without any annotation, too."""
        pages = self._task_pages(project_id, None, LOOK_PAGE, "id,updated_at")
        return {int(item["id"]): _moment(item["updated_at"]) for item in pages}

    def some_task(self, project_id: int) -> int | None:
        """A task of the project, whichever; None when it has none."""
        return next((int(item["id"]) for item in self._task_pages(project_id, None, 1, "id")), None)


def _person(user: Mapping[str, Any]) -> Person:
    email = str(user.get("email") or "")
    name = " ".join(part for part in (user.get("first_name"), user.get("last_name")) if part)
    return Person(int(user["id"]), email, name or email)


def _registration(project_id: int, url: str, user: str, password: str, is_interactive: bool) -> dict[str, Any]:
    """An ML backend of ours. Its title becomes the version of which the review stream prefills predictions."""
    return {
        "project": project_id,
        "url": url,
        "title": MODEL_VERSION,
        "is_interactive": is_interactive,
        "auth_method": "BASIC_AUTH",
        "basic_auth_user": user,
        "basic_auth_pass": password,
        "request_options": ONCE,
    }


def _ml_backend(item: Mapping[str, Any]) -> MlBackend:
    return MlBackend(
        id=int(item["id"]),
        url=str(item["url"]),
        title=str(item.get("title") or ""),
        is_interactive=bool(item.get("is_interactive")),
        user=item.get("basic_auth_user") if item.get("auth_method") == "BASIC_AUTH" else None,
        connected=item.get("state") not in ("DI", "ER"),
    )


def _subscription(url: str, actions: Sequence[str], headers: Mapping[str, str]) -> dict[str, Any]:
    """A webhook that sends its payload for these actions, switched on."""
    return {
        "url": url,
        "actions": list(actions),
        "headers": dict(headers),
        "send_for_all_actions": False,
        "send_payload": True,
        "is_active": True,
        "request_options": ONCE,
    }


def _webhook(item: Mapping[str, Any]) -> Webhook:
    return Webhook(
        id=int(item["id"]),
        project=item.get("project"),
        url=str(item["url"]),
        is_active=bool(item.get("is_active")),
        send_payload=bool(item.get("send_payload")),
        all_actions=bool(item.get("send_for_all_actions")),
        actions=tuple(str(action) for action in item.get("actions") or ()),
        headers=item.get("headers") or {},
    )


def _filter(column: str, operator: str, kind: str, value: object) -> str:
    return json.dumps(
        {
            "filters": {
                "conjunction": "and",
                "items": [{"filter": f"filter:tasks:{column}", "operator": operator, "type": kind, "value": value}],
            },
            "ordering": ["tasks:id"],
        }
    )


def _changed_after(moment: datetime | None) -> str | None:
    if moment is None:
        return None
    # Label Studio fails with 500 on a moment without its fraction of a second.
    text = moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    return _filter("updated_at", "greater", "Datetime", text)


def _moment(value: Any) -> datetime:
    return value if isinstance(value, datetime) else datetime.fromisoformat(str(value))


@contextmanager
def _translated(what: str) -> Iterator[None]:
    """What the SDK and the network raise, as our errors: without headers, bodies or tokens in the message."""
    try:
        yield
    except ApiError as error:
        # Not "from error": its text holds all headers and the body, and some logs print causes.
        raise _refused(what, error.status_code or 0, error.body) from None
    except httpx.HTTPStatusError as error:
        raise _refused(what, error.response.status_code, error.response.text) from error
    except httpx.TransportError as error:
        raise LabelStudioUnavailable(
            f"Label Studio can't be reached for {what} ({type(error).__name__}): is it running, and is "
            "NEGATIVES_LABEL_STUDIO_URL right?"
        ) from error
    except (ValidationError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise _nonsense(what, type(error).__name__) from error


def _nonsense(what: str, found: str) -> LabelStudioUnavailable:
    return LabelStudioUnavailable(
        f"Label Studio answered nonsense for {what} ({found}): is that really Label Studio, or a proxy's page?"
    )


def _refused(what: str, status: int, body: Any) -> LabelStudioError:
    if 0 < status < 400:
        return _nonsense(what, "no JSON")
    detail = _detail(body)
    if status == httpx.codes.UNAUTHORIZED:
        return Unauthorized(
            f"Label Studio doesn't accept the token for {what}: check NEGATIVES_LABEL_STUDIO_TOKEN "
            "(legacy tokens may be switched off in your organization; a personal access token works too)"
        )
    if status == httpx.codes.NOT_FOUND:
        return NotFound(f"Label Studio has no {what}, or this token may not see it")
    if status >= 500 or status == 0 or status in SECOND_TRY_CAN_HELP:
        return LabelStudioUnavailable(f"Label Studio failed with {status} for {what}: {detail}")
    return LabelStudioError(f"Label Studio refused {what} with {status}: {detail}")


def _detail(body: Any) -> str:
    """Label Studio's own sentence, cut short; a payload has no place in a message."""
    if isinstance(body, str):
        try:
            body = json.loads(body)
        except ValueError:
            return "no reason given"
    if isinstance(body, Mapping):
        errors = body.get("validation_errors")
        if isinstance(errors, Mapping) and errors:
            texts: Iterable[Any] = errors.values()
            said = "; ".join(str(text[0] if isinstance(text, list) and text else text) for text in texts)
            return _ECHO.sub("…", said)[:500]
        if body.get("detail"):
            return str(body["detail"])[:500]
        if isinstance(body.get("url"), list):
            return str(body["url"][0])[:500]
    return "no reason given"
