"""The command `negatives`.

Exit codes: 0 done; 1 failed; 2 wrong arguments or settings; 3 done, but something needs a person (the output says
what).
"""

import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import click

from service import __version__
from service.cli.exporting import export
from service.cli.parts import (
    NEEDS_A_PERSON,
    Command,
    project_option,
    settings_and_log,
    studio_of,
    subscription_of,
    tell,
    wait_for,
)
from service.cli.report import status
from service.cli.sampling import sample
from service.cli.verdicts import review
from service.errors import NegativesError, NotFound
from service.label_studio.labeling import ROI, ROI_SHAPES


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="negatives")
def negatives() -> None:
    """Background patches for object detectors: proposed, approved and exported from Label Studio.

    Settings come from the environment and .env (the README has the table). Exit codes: 0 done, 1 failed, 2 wrong
    arguments or settings, 3 done but something needs a person.
    """


def main() -> None:
    """Run the command; what we raise on purpose becomes one sentence and its exit code."""
    try:
        negatives.main(standalone_mode=False)
    except NegativesError as error:
        click.echo(f"negatives: {error}", err=True)
        sys.exit(error.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        click.echo("negatives: stopped", err=True)
        sys.exit(130)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)


@negatives.command(
    cls=Command,
    epilog=(
        "negatives setup --project 7\nnegatives setup --project 7 --roi-shape polygon --roi-shape brush\n"
        "negatives setup --project 7 --no-live"
    ),
)
@project_option
@click.option(
    "--roi-shape",
    "shapes",
    type=click.Choice([shape for shape, name in ROI_SHAPES.items() if name != ROI]),
    multiple=True,
    help="ROIs may be drawn as this, too, beside the rectangle; may be given again.",
)
@click.option(
    "--no-live", is_flag=True, help="Connect without live suggestions: patches come after Submit, by webhook only."
)
def setup(project_id: int, shapes: Sequence[str], no_live: bool) -> None:
    """Connect a Label Studio project: controls, instructions, webhook, live suggestions, and a check both ways.

    Run again it changes nothing.
    """
    import httpx

    from service.ingest.ml_backend import USER
    from service.jobs import JobQueue
    from service.label_studio.live import Live
    from service.label_studio.setup import set_up

    settings = settings_and_log()
    with (
        JobQueue(settings.database_url) as queue,
        closing(studio_of(settings)) as studio,
        httpx.Client(timeout=5) as service,
    ):
        well = set_up(
            project_id,
            studio=studio,
            rules=settings.rules,
            wanted=subscription_of(settings),
            live=Live(settings.service_url, USER, settings.webhook_secret.get_secret_value(), wanted=not no_live),
            service=service,
            looks_asked_for=queue.looks_asked_for,
            tell=tell,
            shapes=shapes,
        )
    if not well:
        sys.exit(NEEDS_A_PERSON)


@negatives.command(cls=Command, epilog="negatives serve\nnegatives serve --role worker")
@click.option(
    "--role",
    type=click.Choice(["web", "worker", "all"]),
    default="all",
    show_default=True,
    help="web answers webhooks, worker runs the jobs, all does both.",
)
def serve(role: str) -> None:
    """Answer Label Studio's webhooks and run the jobs, until stopped."""
    from service import serving

    serving.serve(settings_and_log(), role)  # type: ignore[arg-type]


@negatives.command(
    cls=Command, epilog="negatives propose --project 7\nnegatives propose --project 7 --task 12 --task 15"
)
@project_option
@click.option("--task", "task_ids", type=int, multiple=True, help="Only this task; may be given again.")
def propose(project_id: int, task_ids: Sequence[int]) -> None:
    """Work out the proposals of a whole project, or of named tasks, and publish what differs.

    The running worker does the work; this command waits and shows how far it is. Interrupt it and the work goes on.
    """
    from service.domain.work import work_for_tasks
    from service.jobs import JobQueue
    from service.workflow import connected

    settings = settings_and_log()
    with JobQueue(settings.database_url) as queue, closing(studio_of(settings)) as studio:
        connected(project_id, studio)
        ids = list(task_ids) or [change.task_id for change in studio.changed_since(project_id, None)]
        work = work_for_tasks(project_id, ids, f"command:{uuid4()}", urgent=bool(task_ids))
        code, found = wait_for(queue, work)
    if task_ids and code != 1 and found < len(set(task_ids)):
        raise NotFound(f"{len(set(task_ids)) - found} of the named tasks are not in project {project_id}")
    sys.exit(code)


@negatives.command(cls=Command, epilog="negatives demo --once\nnegatives demo --images photos/ --labels photos/xml/")
@click.option(
    "--label-studio",
    type=click.Path(path_type=Path),
    default=Path(".venv-label-studio/bin/label-studio"),
    show_default=True,
    help="The label-studio command of a virtual environment.",
)
@click.option(
    "--directory",
    type=click.Path(path_type=Path),
    default=Path("demo-run"),
    show_default=True,
    help="What the run makes goes here; an earlier run's is cleared.",
)
@click.option("--images", type=click.Path(path_type=Path, exists=True, file_okay=False), help="Your own pictures.")
@click.option(
    "--labels",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Their Pascal VOC or YOLO labels; by default looked for beside the pictures.",
)
@click.option("--once", is_flag=True, help="End when done, instead of staying up for clicking.")
def demo(label_studio: Path, directory: Path, images: Path | None, labels: Path | None, once: bool) -> None:
    """The whole loop on your own machine, with a real Label Studio. Needs no settings and touches none."""
    from service.demo.loop import run_demo

    run_demo(label_studio=label_studio, directory=directory, images=images, labels=labels, once=once)


for command in (export, review, sample, status):
    negatives.add_command(command)
