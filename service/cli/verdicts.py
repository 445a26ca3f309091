"""`negatives review …`."""

import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import click

from service.cli.parts import (
    Command,
    Reading,
    bars,
    project_option,
    settings_and_log,
    studio_of,
    subscription_of,
    tell,
    wait_for,
)
from service.domain.model import QueueLayout, State, Verdict, Word
from service.errors import NotFound, UsageError
from service.label_studio.labeling import REASONS

if TYPE_CHECKING:
    from service.reviewing import Given


@click.group()
def review() -> None:
    """Review by people: a queue in Label Studio, and verdicts in bulk."""


@review.command(
    "open",
    cls=Command,
    epilog="negatives review open --project 7\nnegatives review open --project 7 --layout patch",
)
@project_option
@click.option(
    "--layout",
    type=click.Choice([layout.value for layout in QueueLayout]),
    default=QueueLayout.PROPOSAL.value,
    show_default=True,
    help="What a task of the queue shows: all patches on the whole picture, or one patch and what is around it.",
)
def open_review(project_id: int, layout: str) -> None:
    """Create a review queue beside the project, or top it up: another project, to go through with Label All Tasks.

    From then on it fills by itself. Run again it sets right what was changed, and adds what is missing.
    """
    from service.domain.work import work_for_tasks
    from service.jobs import JobQueue
    from service.label_studio.queues import open_queue
    from service.workflow import connected

    settings = settings_and_log()
    with JobQueue(settings.database_url) as jobs, closing(studio_of(settings)) as studio:
        connected(project_id, studio)
        queue = open_queue(
            studio.project(project_id),
            QueueLayout(layout),
            studio=studio,
            agreement=settings.agreed,
            webhook=subscription_of(settings),
            tell=tell,
        )
        ids = {change.task_id for change in studio.changed_since(project_id, None)} | studio.queued_sources(project_id)
        code, _ = wait_for(jobs, work_for_tasks(project_id, sorted(ids), f"command:{uuid4()}"))
    click.echo(f"review at {settings.people_url}/projects/{queue.project_id}/data, Label All Tasks")
    sys.exit(1 if code == 1 else 0)


def _verdict_options(command: Callable[..., None]) -> Callable[..., None]:
    """The selection of patches, for each command that gives a verdict."""
    for option in (
        click.option("--all", "everything", is_flag=True, help="All of the project that are in --state."),
        click.option(
            "--state",
            type=click.Choice([state.value for state in State]),
            default=State.PENDING.value,
            show_default=True,
            help="Only those that stand so.",
        ),
        click.option("--patch", "patch_ids", multiple=True, help="This patch, by its region's id; may be given again."),
        click.option("--task", "task_ids", type=int, multiple=True, help="Those of this task; may be given again."),
        project_option,
    ):
        command = option(command)
    return command


@review.command(cls=Command, epilog="negatives review accept --project 7 --all\nnegatives review accept -p 7 --task 12")
@_verdict_options
def accept(**selection: Any) -> None:
    """Accept patches, as the owner of the token."""
    _give(Verdict.ACCEPTED, "", **selection)


@review.command(
    cls=Command, epilog='negatives review reject --project 7 --task 12 --state accepted --reason "object inside"'
)
@_verdict_options
@click.option("--reason", type=click.Choice([*REASONS]), help="Why; may be left out.")
def reject(reason: str | None, **selection: Any) -> None:
    """Reject patches, as the owner of the token."""
    _give(Verdict.REJECTED, reason or "", **selection)


@review.command(cls=Command, epilog="negatives review unsure --project 7 --patch neg_3a5fc0b1d2e49687")
@_verdict_options
def unsure(**selection: Any) -> None:
    """Mark patches as unsure, as the owner of the token: they aren't exported, and are listed."""
    _give(Verdict.UNSURE, "", **selection)


def _give(
    verdict: Verdict,
    reason: str,
    *,
    project_id: int,
    task_ids: Sequence[int],
    patch_ids: Sequence[str],
    state: str,
    everything: bool,
) -> None:
    from service.review import decide
    from service.reviewing import give_verdicts

    if everything == bool(task_ids or patch_ids):
        raise UsageError("say which patches: --task, --patch (both may be given again), or --all alone")
    settings = settings_and_log()
    with closing(studio_of(settings)) as studio, ExitStack() as shown:
        labeling = studio.labeling(project_id)
        words: dict[int, dict[str, Word]] = {}
        reader = Reading(studio)
        for task in reader.tasks(project_id, labeling, list(task_ids) or None):
            chosen = [
                one.patch.id
                for one in decide(task, settings.agreed, settings.margin)
                if one.state == state and (not patch_ids or one.patch.id in patch_ids)
            ]
            if chosen:
                words[task.id] = dict.fromkeys(chosen, Word(verdict, reason))
        found = {region_id for one in words.values() for region_id in one}
        if not found and not everything:
            raise NotFound(f"project {project_id} has no {state} patch there; --state asks for others")
        if missing := set(patch_ids) - found:
            raise NotFound(f"project {project_id} has no {state} patch {', '.join(sorted(missing))}")
        bar = bars(shown)
        given = give_verdicts(
            project_id,
            words,
            person=studio.whoami().id,
            studio=studio,
            reviewer=studio,
            agreement=settings.agreed,
            progress=lambda written: bar("writing verdicts", written, len(found)),
        )
    _tell_given(given, f"{given.written} patches {verdict}")


@review.command(cls=Command, epilog="negatives review empty --project 7 --task 12 --task 15")
@project_option
@click.option("--task", "task_ids", type=int, multiple=True, required=True, help="This image; may be given again.")
def empty(project_id: int, task_ids: Sequence[int]) -> None:
    """Say that there is nothing in these whole images: each becomes a negative itself, as the owner of the token."""
    from service.label_studio.images import image_source
    from service.reviewing import empty_images

    settings = settings_and_log()
    with closing(studio_of(settings)) as studio, ExitStack() as shown:
        bar = bars(shown)
        given = empty_images(
            project_id,
            task_ids,
            person=studio.whoami().id,
            studio=studio,
            images=image_source(settings, studio.http),
            reviewer=studio,
            agreement=settings.agreed,
            progress=lambda written: bar("writing verdicts", written, len(task_ids)),
        )
    _tell_given(given, f"{given.written} whole images accepted")


def _tell_given(given: "Given", told: str) -> None:
    click.echo(told)
    for failure in given.failures:
        click.echo(f"  failed: task {failure.task_id}: {failure.text}", err=True)
    if given.failures:
        sys.exit(1)
