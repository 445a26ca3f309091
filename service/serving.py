"""`negatives serve`: the web server and the worker, wired together in this one place."""

import logging
import signal
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import datetime
from types import FrameType
from typing import Any, Literal

from service import workflow
from service.config import Settings
from service.errors import SettingsError
from service.ingest.webhook import PATH
from service.jobs import JobQueue, Worker
from service.web import create_app

log = logging.getLogger(__name__)

Role = Literal["web", "worker", "all"]
WEB_THREADS = 16


def webhook_url(settings: Settings) -> str:
    """The address that Label Studio calls."""
    return settings.service_url + PATH


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
    """Answer webhooks, from threads, until `running` ends."""
    from waitress.server import create_server

    app = create_app(
        secret=settings.webhook_secret.get_secret_value(),
        put=queue.put,
        max_webhook_bytes=settings.max_webhook_bytes,
        rules=settings.rules,
        basic_auth=settings.basic_auth,
    )
    try:
        server = create_server(
            app,
            host=settings.host,
            port=settings.port,
            threads=WEB_THREADS,
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


def start_worker(settings: Settings, queue: JobQueue, running: ExitStack) -> None:
    """Run jobs, in threads, until `running` ends."""
    from service.label_studio.client import LabelStudioClient

    studio = LabelStudioClient(settings.label_studio_url, settings.label_studio_token.get_secret_value())
    running.callback(studio.close)

    def propose(project_id: int, task_ids: tuple[int, ...]) -> Mapping[str, Any]:
        done = workflow.propose(project_id, task_ids, studio=studio, rules=settings.rules)
        return {
            "tasks": done.tasks,
            "created": done.created,
            "changed": done.changed,
            "patches": done.patches,
            "explanations": dict(done.explanations),
        }

    def reconcile(project_id: int | None, seen: Mapping[int, datetime]) -> Mapping[int, datetime]:
        return workflow.reconcile(project_id, seen, studio=studio, put=queue.put, webhook_url=webhook_url(settings))

    worker = Worker(
        settings.database_url,
        propose=propose,
        reconcile=reconcile,
        reconcile_seconds=settings.reconcile_seconds,
    )
    running.callback(worker.close)
