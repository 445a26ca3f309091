"""What the commands share: settings, a reader with a progress bar, waiting for jobs."""

import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from service.config import Settings, read_settings
from service.domain.model import Task
from service.errors import NegativesError

if TYPE_CHECKING:
    from service.domain.work import ProposeWork
    from service.jobs import JobQueue
    from service.label_studio.labeling import Labeling
    from service.label_studio.queues import ReviewedStudio
    from service.label_studio.setup import Subscription
    from service.label_studio.steps import Step
    from service.workflow import Changed

NEEDS_A_PERSON = 3


class Command(click.Command):
    """Shows the example under a command's help as it was written."""

    def format_epilog(
        self,
        ctx: click.Context,  # noqa: ARG002
        formatter: click.HelpFormatter,
    ) -> None:
        """Write the epilog line by line."""
        if self.epilog:
            with formatter.section("Example"):
                formatter.write("\n".join(f"  {line}" for line in self.epilog.splitlines()) + "\n")


project_option = click.option(
    "--project", "-p", "project_id", type=int, required=True, help="Label Studio's project id."
)


def tell(step: "Step") -> None:
    """One step of a set-up."""
    click.echo(f"{step.outcome:>8}  {step.text}")


def bars(shown: ExitStack) -> Callable[[str, int, int], None]:
    """Show how far each step is, one bar after the other: told (what, done, of how many)."""
    bars: dict[str, Any] = {}

    def progress(what: str, done: int, total: int) -> None:
        if what not in bars:
            shown.close()  # the bar before
            bars[what] = shown.enter_context(click.progressbar(length=total, label=what, file=sys.stderr))
        bars[what].update(done - bars[what].pos)

    return progress


def wait_for(queue: "JobQueue", work: Sequence["ProposeWork"]) -> tuple[int, int]:
    """Put work in, wait for its end with a progress bar, tell what came of it: exit code and number of tasks read."""
    waiting = {queue.put(item): len(item.task_ids) for item in work}
    totals = {"tasks": 0, "created": 0, "changed": 0, "patches": 0, "queued": 0, "taken_out": 0}
    explanations: dict[int, Sequence[str]] = {}
    failures: list[str] = []
    started, hinted = time.monotonic(), False
    with click.progressbar(length=sum(waiting.values()), label="proposing", file=sys.stderr) as bar:
        while waiting:
            for job_id, outcome in queue.finished(list(waiting)).items():
                bar.update(waiting.pop(job_id))
                if isinstance(outcome, NegativesError):
                    failures.append(str(outcome))
                    continue
                for name in totals:
                    totals[name] += outcome.get(name, 0)  # a job of an earlier version may know less
                explanations |= outcome["explanations"]
            if waiting and not hinted and time.monotonic() - started > 10 and not queue.counts().running:
                hinted = True
                click.echo(
                    "\nno worker has taken this up yet: is `negatives serve` running, with the same "
                    "NEGATIVES_DATABASE_URL?",
                    err=True,
                )
            time.sleep(0.1)
    click.echo(
        f"{totals['tasks']} tasks: {totals['created']} proposals created, {totals['changed']} changed, "
        f"{totals['patches']} patches on offer"
    )
    if totals["queued"] or totals["taken_out"]:
        click.echo(f"review queues: {totals['queued']} tasks added, {totals['taken_out']} taken out")
    for task_id, texts in sorted(explanations.items()):
        for text in texts:
            click.echo(f"  task {task_id}: {text}")
    for failure in dict.fromkeys(failures):
        click.echo(f"  failed: {failure}", err=True)
    return (1 if failures else NEEDS_A_PERSON if explanations else 0), totals["tasks"]


class _QuietJobs(logging.Filter):
    """The engine logs a failed job with its whole traceback; what we raised on purpose is one sentence."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep the record, shortened."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, NegativesError):
            record.msg, record.args, record.exc_info, record.exc_text = f"a job failed: {error}", (), None, None
        return True


class Reading:
    """A reader of tasks that shows how far it is."""

    def __init__(self, studio: "ReviewedStudio") -> None:
        self._studio = studio

    def labeling(self, project_id: int) -> "Labeling":
        """As Label Studio has it."""
        return self._studio.labeling(project_id)

    def tasks(self, project_id: int, labeling: "Labeling", task_ids: Sequence[int] | None = None) -> Iterator["Task"]:
        """The tasks, a progress bar moving with them."""
        count = self._studio.project(project_id).task_count if task_ids is None else len(task_ids)
        found = self._studio.tasks(project_id, labeling, task_ids)
        with click.progressbar(found, length=count, label=f"reading project {project_id}", file=sys.stderr) as bar:
            yield from bar

    def changed_since(
        self, project_id: int, moment: datetime | None, *, even_empty: bool = False
    ) -> Sequence["Changed"]:
        """Which tasks changed."""
        return self._studio.changed_since(project_id, moment, even_empty=even_empty)


def settings_and_log() -> Settings:
    """The settings, and the log as they say."""
    settings = read_settings()
    logging.basicConfig(
        level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    for chatty in ("dbos", "httpx", "waitress.queue", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.getLogger("dbos").addFilter(_QuietJobs())
    return settings


def studio_of(settings: Settings) -> "ReviewedStudio":
    """Label Studio as the owner of the service's token."""
    from service.label_studio.queues import ReviewedStudio

    return ReviewedStudio(settings.label_studio_url, settings.label_studio_token.get_secret_value())


def subscription_of(settings: Settings) -> "Subscription":
    """The webhook by which a project calls this service."""
    from service.ingest.events import SUBSCRIBED
    from service.ingest.webhook import SECRET_HEADER
    from service.label_studio.setup import Subscription
    from service.serving import webhook_url

    return Subscription(webhook_url(settings), {SECRET_HEADER: settings.webhook_secret.get_secret_value()}, SUBSCRIBED)
