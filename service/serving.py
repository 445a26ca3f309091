"""`negatives serve`: the web server and the worker, wired together in this one place."""

import logging
import signal
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, Literal

from service import delivering, exporting, reviewing, workflow
from service.config import Settings, read_band
from service.domain.model import Word
from service.domain.work import ExportWork
from service.errors import SettingsError
from service.export.results import Results
from service.jobs import JobQueue, Worker
from service.label_studio.auth import SessionAuth
from service.label_studio.images import ImageSource, image_source, source_name
from service.label_studio.queue_project import EVENTS_PATH
from service.web import Pages, create_app
from service.web.access import Credential, PersonalClient

if TYPE_CHECKING:
    from service.label_studio.queues import ReviewedStudio

log = logging.getLogger(__name__)

Role = Literal["web", "worker", "all"]
WEB_THREADS = 64
FOR_LABEL_STUDIO = 16
"""Of the threads so many are never busy with pages."""


def webhook_url(settings: Settings) -> str:
    """The address that Label Studio calls."""
    return settings.service_url + EVENTS_PATH


def serve(settings: Settings, role: Role) -> None:
    """Serve until SIGTERM or SIGINT; then let what is running end and return."""
    stop = threading.Event()

    def stopped(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stopped)
    with ExitStack() as running:
        queue = running.enter_context(JobQueue(settings.database_url))
        if role in ("web", "all"):
            start_web(settings, queue, running)
        if role in ("worker", "all"):
            start_worker(settings, queue, running)
        log.info("ready as %s", role)
        stop.wait()
        log.info("stopping")


def start_web(settings: Settings, queue: JobQueue, running: ExitStack) -> None:
    """Answer webhooks and show pages, from threads, until `running` ends."""
    from waitress.server import create_server

    app = create_app(
        secret=settings.webhook_secret.get_secret_value(),
        put=queue.put,
        max_webhook_bytes=settings.max_webhook_bytes,
        rules=settings.rules,
        basic_auth=settings.basic_auth,
        pages=pages_of(settings, queue, running),
    )
    try:
        server = create_server(
            app,
            host=settings.host,
            port=settings.port,
            threads=WEB_THREADS,
            connection_limit=1000,  # a browser keeps six open
            max_request_body_size=settings.max_webhook_bytes,
            ident="negatives",
        )
    except OSError as error:
        raise SettingsError(
            f"can't listen on {settings.host}:{settings.port} ({error.strerror}): is another one running there? "
            "NEGATIVES_HOST and NEGATIVES_PORT set where"
        ) from error
    thread = threading.Thread(target=server.run, name="web", daemon=True)
    thread.start()
    running.callback(thread.join, 5)
    running.callback(server.close)
    log.info("listening on http://%s:%s", settings.host, settings.port)


def pages_of(settings: Settings, queue: JobQueue, running: ExitStack) -> Pages:
    """What the pages need. Label Studio is first asked, and its SDK imported (a second), when somebody visits one."""
    studio = StudioOnFirstUse(settings)
    running.callback(studio.close)  # pushed before the server's, so it ends after it

    def connect(credential: Credential) -> PersonalClient:
        from service.label_studio.client import LabelStudioClient

        if credential.token:
            return LabelStudioClient(settings.label_studio_url, credential.token)
        auth = SessionAuth(settings.label_studio_url, credential.session)
        return LabelStudioClient(settings.label_studio_url, auth=auth)

    def give(
        project_id: int, words: Mapping[int, Mapping[str, Word]], *, person: int, reviewer: PersonalClient
    ) -> reviewing.Given:
        return reviewing.give_verdicts(
            project_id, words, person=person, studio=studio(), reviewer=reviewer, agreement=settings.agreed
        )

    def empty(project_id: int, task_ids: Sequence[int], *, person: int, reviewer: PersonalClient) -> reviewing.Given:
        return reviewing.empty_images(
            project_id,
            task_ids,
            person=person,
            studio=studio(),
            images=images(),
            reviewer=reviewer,
            agreement=settings.agreed,
        )

    def images() -> ImageSource:
        return image_source(settings, studio().http)

    return Pages(
        secret_key=cookie_key(settings.label_studio_token.get_secret_value()),
        secure=settings.service_url.startswith("https:"),
        label_studio_url=settings.people_url,
        connect=connect,
        studio=studio,
        connected=lambda: workflow.connected_projects(studio(), webhook_url(settings)),
        images=images,
        give=give,
        empty=empty,
        source_name=source_name,
        queue=queue,
        results=Results(Path(settings.exports)),
        agreement=settings.agreed,
        margin=settings.margin,
        dataset=settings.dataset,
        formats=tuple(delivering.zip_formats()),
        band=read_band(settings.band),
        at_a_time=WEB_THREADS - FOR_LABEL_STUDIO,
    )


def cookie_key(token: str) -> str:
    """What signs the pages' cookie: the same in every web process of a service, without a setting of its own."""
    return sha256(f"negatives: the pages' cookie: {token}".encode()).hexdigest()


class StudioOnFirstUse:
    """The service's own client: made when it is first called for, and closed if it was made."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._client: ReviewedStudio | None = None

    def __call__(self) -> "ReviewedStudio":
        """The client."""
        with self._lock:
            if self._client is None:
                from service.label_studio.queues import ReviewedStudio

                settings = self._settings
                self._client = ReviewedStudio(settings.label_studio_url, settings.label_studio_token.get_secret_value())
            return self._client

    def close(self) -> None:
        """Give the connections back."""
        if self._client is not None:
            self._client.close()


def start_worker(settings: Settings, queue: JobQueue, running: ExitStack) -> None:
    """Run jobs, in threads, until `running` ends."""
    from service.label_studio.queues import ReviewedStudio
    from service.reviewing import fill_queues

    studio = ReviewedStudio(settings.label_studio_url, settings.label_studio_token.get_secret_value())
    running.callback(studio.close)
    images = image_source(settings, studio.http)

    def propose(project_id: int, task_ids: tuple[int, ...]) -> Mapping[str, Any]:
        done = workflow.propose(project_id, task_ids, studio=studio, rules=settings.rules)
        queued = fill_queues(
            project_id,
            task_ids,
            done.offered,
            studio=studio,
            images=images,
            agreement=settings.agreed,
            at=datetime.now(UTC),
        )
        return {
            "queued": queued.added,
            "taken_out": queued.retired,
            "tasks": done.tasks,
            "created": done.created,
            "changed": done.changed,
            "patches": done.patches,
            "explanations": dict(done.explanations),
        }

    def reconcile(project_id: int | None, seen: Mapping[int, datetime]) -> Mapping[int, datetime]:
        return workflow.reconcile(project_id, seen, studio=studio, put=queue.put, webhook_url=webhook_url(settings))

    results = Results(Path(settings.exports))

    def export(work: ExportWork, job_id: str, progress: Callable[[str, int, int], None]) -> tuple[str, bool]:
        with exporting.cutter_of(settings, studio.http, progress) as cutter:
            return delivering.deliver(
                work,
                job_id,
                dataset=Path(settings.dataset) if settings.dataset else None,
                object_name=settings.object_name,
                results=results,
                studio=studio,
                studio_url=settings.people_url,
                cutter=cutter,
                agreement=settings.agreed,
                margin=settings.margin,
                options=exporting.options_of(settings),
            )

    worker = Worker(
        settings.database_url,
        propose=propose,
        reconcile=reconcile,
        export=export,
        sweep=results.sweep,
        reconcile_seconds=settings.reconcile_seconds,
    )
    running.callback(worker.close)
