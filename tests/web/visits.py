"""People who visit the pages, and the Label Studio, the jobs and the clock behind them: fakes with memory."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from flask.testing import FlaskClient
from PIL import Image
from werkzeug.test import TestResponse

from service.domain.model import Agreement, Rules, Task, Word
from service.domain.work import ExportJob, ExportState, ExportWork, Progress
from service.errors import LabelStudioUnavailable, NegativesError, NotFound, Unauthorized
from service.label_studio.labeling import Labeling, connect, read_labeling
from service.web import Pages
from service.web.access import Credential, PersonalClient
from tests.factories import NOON

HTML = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
"""What a browser sends that goes somewhere."""
SCRIPT = {"Accept": "*/*"}
CONFIG = connect(
    '<View><Image name="image" value="$image"/><RectangleLabels name="label" toName="image"><Label value="Cell"/>'
    "</RectangleLabels></View>",
    Rules(),
)
BARE = '<View><Image name="image" value="$image"/></View>'


@dataclass(frozen=True, slots=True)
class SomePerson:
    """A user of Label Studio."""

    id: int
    email: str
    name: str


ADA = SomePerson(1, "ada@example.com", "Ada")
BOB = SomePerson(2, "bob@example.com", "Bob")
ADAS_TOKEN, BOBS_TOKEN = "a" * 40, "b" * 40
ADAS_SESSION = "eyJ1aWQiOiIxIn0:1abc:signature"


class FakeClient:
    """Label Studio, signed in as one person; remembers what was asked and whether it was closed."""

    def __init__(self, office: "FakeOffice", credential: Credential) -> None:
        self.office = office
        self.credential = credential
        self.is_closed = False

    def whoami(self) -> SomePerson:
        self.office.asked.append("whoami")
        return self.office.person(self)

    def sees(self, project_id: int) -> bool:
        self.office.asked.append(f"sees {project_id}")
        if self.office.person(self).id in self.office.fails_for:
            raise LabelStudioUnavailable(f"Label Studio failed with 500 for project {project_id}")
        return project_id in self.office.sees.get(self.office.person(self).id, ())

    def write_review(self, task_id: int, result: Sequence[Mapping[str, Any]]) -> None:
        raise AssertionError(task_id, result)

    def close(self) -> None:
        self.is_closed = True


class FakeOffice:
    """Who is who at Label Studio, and who may see which project."""

    def __init__(self) -> None:
        self.people = {ADAS_TOKEN: ADA, BOBS_TOKEN: BOB, ADAS_SESSION: ADA}
        self.sees = {ADA.id: {7, 8}, BOB.id: {8}}
        self.is_down = False
        self.fails_for: set[int] = set()
        self.asked: list[str] = []
        self.clients: list[FakeClient] = []

    def connect(self, credential: Credential) -> PersonalClient:
        self.clients.append(FakeClient(self, credential))
        return self.clients[-1]

    def person(self, client: FakeClient) -> SomePerson:
        assert not client.is_closed
        if self.is_down:
            raise LabelStudioUnavailable("Label Studio can't be reached")
        found = self.people.get(client.credential.token or client.credential.session)
        if found is None:
            raise Unauthorized("Label Studio doesn't accept the token")
        return found


@dataclass(slots=True)
class SomeProject:
    """A project of Label Studio's."""

    title: str
    label_config: str = CONFIG


class FakeStudio:
    """Label Studio as the service's own token sees it; `asked` remembers the calls."""

    def __init__(self) -> None:
        self.projects = {7: SomeProject("Blood cells"), 8: SomeProject("Leaves"), 9: SomeProject("Apart")}
        self.held: dict[int, list[Task]] = {}
        self.connected = [7, 8]
        self.members = [ADA, BOB]
        self.trouble: NegativesError | None = None
        self.before_reading: Callable[[], object] = lambda: None
        self.asked: list[str] = []

    def _asked(self, call: str) -> None:
        self.asked.append(call)
        if self.trouble is not None:
            raise self.trouble

    def project(self, project_id: int) -> SomeProject:
        self._asked(f"project {project_id}")
        if project_id not in self.projects:
            raise NotFound(f"Label Studio has no project {project_id}")
        return self.projects[project_id]

    def people(self) -> Mapping[int, SomePerson]:
        self._asked("people")
        return {person.id: person for person in self.members}

    def labeling(self, project_id: int) -> Labeling:
        return read_labeling(self.project(project_id).label_config)

    def tasks(self, project_id: int, labeling: Labeling, task_ids: Sequence[int] | None = None) -> Iterator[Task]:
        self._asked(f"tasks {project_id}")
        self.before_reading()
        assert not labeling.missing
        found = self.held.get(project_id, [])
        yield from (task for task in found if task_ids is None or task.id in task_ids)

    def changed_since(self, project_id: int, _moment: datetime | None) -> Sequence[Any]:
        self._asked(f"changes {project_id}")
        return ()

    def task_moments(self, project_id: int) -> Mapping[int, datetime]:
        self._asked(f"moments {project_id}")
        return {task.id: NOON for task in self.held.get(project_id, [])}


@dataclass(frozen=True, slots=True)
class SomeFailure:
    """A job that gave up."""

    project_id: int
    task_ids: tuple[int, ...]
    message: str
    at: datetime = NOON


def some_export(
    project_id: int,
    state: ExportState = ExportState.DONE,
    message: str = "",
    *,
    job_id: str = "export-7-a0",
    progress: Progress | None = None,
    **work: Any,
) -> ExportJob:
    """An export; `work` is what else an `ExportWork` says."""
    return ExportJob(job_id, ExportWork(project_id, **work), NOON, state, message, progress)


@dataclass(slots=True)
class FakeQueue:
    """The jobs: what is in flight is what a test says; `work` remembers what was put in."""

    waiting: int = 0
    running: int = 0
    failed: list[SomeFailure] = field(default_factory=list)
    look_failure: str | None = None
    exported: list[ExportJob] = field(default_factory=list)
    work: list[ExportWork] = field(default_factory=list)
    looked_up: list[str] = field(default_factory=list)

    def put(self, work: ExportWork) -> str:
        self.work.append(work)
        job_id = f"{'zip' if work.zip_format else 'export'}-{work.project_id}-{len(self.work):02x}"
        self.exported.insert(0, ExportJob(job_id, work, NOON, ExportState.WAITING))
        return job_id

    def counts(self) -> "FakeQueue":
        return self

    def exports(self) -> Sequence[ExportJob]:
        return self.exported

    def export(self, job_id: str) -> ExportJob | None:
        self.looked_up.append(job_id)
        return next((job for job in self.exported if job.id == job_id), None)


class NoResults:
    """Exports that left nothing."""

    def report(self, job_id: str) -> Path | None:
        """None."""
        assert job_id
        return None

    def zip(self, job_id: str) -> Path | None:
        """None."""
        assert job_id
        return None


class NoImages:
    def fetch(self, task: Task) -> bytes:
        raise AssertionError(task)

    def decode(self, task: Task, data: bytes) -> Image.Image:
        raise AssertionError(task, data)


def no_verdicts(project_id: int, words: Mapping[int, Mapping[str, Word]], *, person: int, reviewer: Any) -> Any:
    """Nothing here gives verdicts."""
    raise AssertionError(project_id, words, person, reviewer)


def no_empties(project_id: int, task_ids: Sequence[int], *, person: int, reviewer: Any) -> Any:
    """Nor says that images are empty."""
    raise AssertionError(project_id, task_ids, person, reviewer)


def some_pages(office: FakeOffice, studio: FakeStudio, queue: FakeQueue, *, secure: bool = False) -> Pages:
    """All that the pages need."""
    return Pages(
        secret_key="a key of the tests",
        secure=secure,
        label_studio_url="http://studio.example:8080",
        connect=office.connect,
        studio=lambda: studio,
        connected=lambda: studio.connected,
        images=NoImages,
        give=no_verdicts,
        empty=no_empties,
        source_name=str,
        queue=queue,
        results=NoResults(),
        agreement=Agreement(),
        margin=0,
        dataset="",
        formats=("yolo", "coco"),
    )


def csrf_of(page: TestResponse) -> str:
    """The token that a page puts into its forms."""
    found = re.search(r'name="csrf-token" content="([^"]+)"', page.text)
    assert found is not None, page.text
    return found[1]


def post(browser: FlaskClient, path: str, on: str, **fields: str) -> TestResponse:
    """Send a form as the page `on` has it."""
    fields["csrf_token"] = csrf_of(browser.get(on, headers=HTML))
    return browser.post(path, data=fields, headers=HTML)


def sign_in(browser: FlaskClient, token: str, **fields: str) -> TestResponse:
    """Paste a token."""
    return post(browser, "/sign-in", "/sign-in", token=token, **fields)


def text_of(page: str) -> str:
    """What a reader reads."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page)).strip()


def data_yaml(directory: Path, *, objects: int, empty: int) -> str:
    """A dataset with so many training images with objects and without."""
    for folder in ("images/train", "labels/train"):
        (directory / folder).mkdir(parents=True)
    for number in range(objects + empty):
        (directory / f"images/train/{number}.png").touch()
        (directory / f"labels/train/{number}.txt").write_text("" if number < empty else "0 .5 .5 .1 .1\n")
    found = directory / "data.yaml"
    found.write_text("path: .\ntrain: images/train\nval: images/train\nnames: [cell]\n")
    return str(found)
