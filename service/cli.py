"""The command `negatives`.

Exit codes: 0 done; 1 failed; 2 wrong arguments or settings; 3 done, but something needs a person (the output says
what).
"""

import json
import logging
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO
from uuid import uuid4

import click
from click.core import ParameterSource

from service import __version__
from service.config import Settings, read_settings
from service.domain.model import MAX_PATCHES, Rules, State, Task
from service.errors import InvalidRules, NegativesError, NotFound, SetupError, UsageError
from service.label_studio.labeling import ROI, ROI_SHAPES

if TYPE_CHECKING:
    from service.batch.images import Sampled
    from service.domain.work import ProposeWork
    from service.export.plan import Note
    from service.jobs import JobQueue
    from service.label_studio.client import LabelStudioClient
    from service.label_studio.labeling import Labeling

NEEDS_A_PERSON = 3
RULES = Rules()


class _Command(click.Command):
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


def _roi_option(
    ctx: click.Context,  # noqa: ARG001
    param: click.Parameter,  # noqa: ARG001
    value: str | None,
) -> tuple[int, int, int, int] | None:
    """Four whole numbers, width and height above 0."""
    if value is None:
        return None
    try:
        x, y, width, height = (int(number) for number in value.split(","))
    except ValueError:
        raise UsageError(f"--roi is {value!r}, but must be four whole numbers of pixels: X,Y,W,H") from None
    if width < 1 or height < 1:
        raise UsageError(f"--roi is {value!r}, but width and height must be above 0")
    return x, y, width, height


project_option = click.option(
    "--project", "-p", "project_id", type=int, required=True, help="Label Studio's project id."
)


@negatives.command(
    cls=_Command,
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

    from service.ingest.events import SUBSCRIBED
    from service.ingest.ml_backend import USER
    from service.ingest.webhook import SECRET_HEADER
    from service.jobs import JobQueue
    from service.label_studio.live import Live
    from service.label_studio.setup import Subscription, set_up
    from service.label_studio.steps import Step
    from service.serving import webhook_url

    def tell(step: Step) -> None:
        click.echo(f"{step.outcome:>8}  {step.text}")

    settings = _settings()
    secret = settings.webhook_secret.get_secret_value()
    with (
        JobQueue(settings.database_url) as queue,
        closing(_studio(settings)) as studio,
        httpx.Client(timeout=5) as service,
    ):
        well = set_up(
            project_id,
            studio=studio,
            rules=settings.rules,
            wanted=Subscription(webhook_url(settings), {SECRET_HEADER: secret}, SUBSCRIBED),
            live=Live(settings.service_url, USER, secret, wanted=not no_live),
            service=service,
            looks_asked_for=queue.looks_asked_for,
            tell=tell,
            shapes=shapes,
        )
    if not well:
        sys.exit(NEEDS_A_PERSON)


@negatives.command(cls=_Command, epilog="negatives serve\nnegatives serve --role worker")
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

    serving.serve(_settings(), role)  # type: ignore[arg-type]


@negatives.command(
    cls=_Command, epilog="negatives propose --project 7\nnegatives propose --project 7 --task 12 --task 15"
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

    settings = _settings()
    with JobQueue(settings.database_url) as queue, closing(_studio(settings)) as studio:
        connected(project_id, studio)
        ids = list(task_ids) or [change.task_id for change in studio.changed_since(project_id, None)]
        work = work_for_tasks(project_id, ids, f"command:{uuid4()}", urgent=bool(task_ids))
        code, found = _wait_for(queue, work)
    if task_ids and code != 1 and found < len(set(task_ids)):
        raise NotFound(f"{len(set(task_ids)) - found} of the named tasks are not in project {project_id}")
    sys.exit(code)


def _wait_for(queue: "JobQueue", work: Sequence["ProposeWork"]) -> tuple[int, int]:
    """Put work in, wait for its end with a progress bar, tell what came of it: exit code and number of tasks read."""
    waiting = {queue.put(item): len(item.task_ids) for item in work}
    totals = {"tasks": 0, "created": 0, "changed": 0, "patches": 0}
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
                    totals[name] += outcome[name]
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
    for task_id, texts in sorted(explanations.items()):
        for text in texts:
            click.echo(f"  task {task_id}: {text}")
    for failure in dict.fromkeys(failures):
        click.echo(f"  failed: {failure}", err=True)
    return (1 if failures else NEEDS_A_PERSON if explanations else 0), totals["tasks"]


@negatives.command(
    cls=_Command,
    epilog="negatives export --project 7 --into ~/datasets/cells/data.yaml\nnegatives export --project 7 --into ./out",
)
@project_option
@click.option(
    "--into",
    type=click.Path(path_type=Path),
    required=True,
    help="A data.yaml (its train split gets the negatives), or a directory (they go into negative_samples/).",
)
def export(project_id: int, into: Path) -> None:
    """Write the accepted patches as images with zero-byte labels. Only what is new is added; nothing is overwritten."""
    from service import workflow
    from service.label_studio.images import ImageLimits, ImageSource

    settings = _settings()
    limits = ImageLimits(settings.max_image_bytes, settings.max_image_pixels)
    with closing(_studio(settings)) as studio, ExitStack() as shown:
        bar = _bars(shown)  # it comes with the first image: until then, the one of reading is on the screen
        done = workflow.export(
            project_id,
            into,
            studio=_Reading(studio),
            images=ImageSource(settings.label_studio_url, studio.http, limits),
            min_approvals=settings.min_approvals,
            margin=settings.margin,
            object_name=settings.object_name,
            now=lambda: datetime.now(UTC),
            progress=lambda written, total: bar("writing negatives", written, total),
        )
    click.echo(f"{done.written} negatives written, {done.there} were there already")
    click.echo(f"  images   {done.layout.images}")
    click.echo(f"  labels   {done.layout.labels}")
    click.echo(f"  metadata {done.layout.metadata}")
    if done.unlabelled:
        click.echo(f"  {done.unlabelled} of the source images have no labelled object: only the review says so")
    if into.is_dir() and list(into.glob("data.y*ml")):
        click.echo(f"  {into} holds a data.yaml: to train with these, give that file to --into")
    for note in done.notes:
        click.echo(f"  task {note.task_id}: {note.text}")
    for failure in done.failures:
        click.echo(f"  failed: task {failure.task_id}: {failure.text}", err=True)
    if done.failures:
        sys.exit(1)
    if done.notes:
        sys.exit(NEEDS_A_PERSON)


@negatives.command(
    cls=_Command,
    epilog="negatives sample --scene scene.json\nnegatives sample photos/ --labels photos/labels --into negatives/",
)
@click.argument("images", type=click.Path(path_type=Path, exists=True), nargs=-1)
@click.option("--scene", type=click.File("rb"), help="A scene in JSON (- for standard input); its patches are printed.")
@click.option(
    "--into", type=click.Path(path_type=Path), help="The negatives go into negative_samples/ in this directory."
)
@click.option(
    "--labels",
    type=click.Path(path_type=Path, exists=True),
    help="A directory of YOLO or Pascal VOC labels, or a COCO file; by default looked for beside the images.",
)
@click.option("--unlabelled", is_flag=True, help="Take images without labels as empty, instead of passing them over.")
@click.option("--roi", callback=_roi_option, metavar="X,Y,W,H", help="In pixels; by default the whole image.")
@click.option("--patches", default=RULES.patches, show_default=True, help=f"Per image, 1 to {MAX_PATCHES}.")
@click.option("--min-size", default=RULES.min_size, show_default=True, help="Smallest side of a patch, in pixels.")
@click.option("--max-size", default=RULES.max_size, show_default=True, help="Largest side of a patch, in pixels.")
@click.option(
    "--max-overlap",
    default=RULES.max_overlap,
    show_default=True,
    help="Two patches share less than this share of the smaller one's area.",
)
@click.option("--margin", default=RULES.margin, show_default=True, help="Pixels kept free around labelled objects.")
@click.option("--square", is_flag=True, help="Patches as wide as high.")
@click.option(
    "--align", default=RULES.align, show_default=True, help="Left and top edges are multiples of it, in pixels."
)
@click.option("--seed", default=1, show_default=True, help="Another seed gives other patches.")
@click.option(
    "--max-image-pixels",
    default=400_000_000,
    show_default=True,
    envvar="NEGATIVES_MAX_IMAGE_PIXELS",
    help="An image of more is refused.",
)
@click.option("--object-name", default="cells", show_default=True, help="What they are free of, for the metadata.")
@click.pass_context
def sample(
    ctx: click.Context, /, images: Sequence[Path], scene: BinaryIO | None, into: Path | None, **given: Any
) -> None:
    """Place patches without Label Studio: in a scene, or in images with labels. Needs no settings.

    IMAGES are files or folders of images. Nobody reviews what comes out: look at the contact sheet. Images without a
    label file are passed over, as nobody may have looked at them.
    """
    if scene is not None:
        set_by_hand = [name for name in ctx.params if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE]
        if others := [name for name in set_by_hand if name != "scene" and ctx.params[name] != ()]:
            raise UsageError(f"--scene goes alone: {', '.join(sorted(others))} is for images, a scene file has its own")
        from service.batch.scene import sample_scene

        click.echo(sample_scene(scene.read(), scene.name))
        return
    if not images or into is None:
        raise UsageError("give --scene, or images and --into; negatives sample --help shows both")
    _sample_images(images, into, **given)


def _bars(shown: ExitStack) -> Callable[[str, int, int], None]:
    """Show how far each step is, one bar after the other: told (what, done, of how many)."""
    bars: dict[str, Any] = {}

    def progress(what: str, done: int, total: int) -> None:
        if what not in bars:
            shown.close()  # the bar before
            bars[what] = shown.enter_context(click.progressbar(length=total, label=what, file=sys.stderr))
        bars[what].update(done - bars[what].pos)

    return progress


def _sample_images(
    images: Sequence[Path],
    into: Path,
    *,
    labels: Path | None,
    roi: tuple[int, int, int, int] | None,
    seed: int,
    unlabelled: bool,
    max_image_pixels: int,
    object_name: str,
    **rules: Any,
) -> None:
    from service.batch.images import sample_images
    from service.batch.labels import Labels, image_paths
    from service.domain.geometry import Box

    if into.suffix.lower() in (".yaml", ".yml"):
        raise UsageError(
            f"{into} is a repository's: only reviewed negatives go there (negatives export). Name a directory"
        )
    try:
        wanted = Rules(**rules)
    except InvalidRules as error:
        raise UsageError(str(error)) from error
    paths = [path for image in images for path in (image_paths(image) if image.is_dir() else (image,))]
    with ExitStack() as shown:
        done = sample_images(
            paths,
            into,
            labels=Labels(labels),
            roi=roi and Box.sized(*roi),
            rules=wanted,
            seed=seed,
            takes_unlabelled=unlabelled,
            object_name=object_name,
            max_pixels=max_image_pixels,
            now=lambda: datetime.now(UTC),
            progress=_bars(shown),
        )
    _tell_sampled(done)


def _tell_sampled(done: "Sampled") -> None:
    click.echo(f"{done.images} images: {done.written} negatives written, {done.there} were there already")
    click.echo(f"  negatives     {done.layout.images}")
    if done.sheet:
        click.echo(f"  contact sheet {done.sheet}")
    if done.unlabelled:
        click.echo(f"  {done.unlabelled} images have no label file")
    if done.earlier:
        click.echo(f"  {done.earlier} negatives of earlier runs with other options lie there, too")
    if done.short:
        causes = Counter(found.shortfall.cause.value for found in done.short if found.shortfall)
        counted = ", ".join(f"{count} {cause.replace('_', ' ')}" for cause, count in sorted(causes.items()))
        missing = sum(found.shortfall.requested - found.shortfall.placed for found in done.short if found.shortfall)
        click.echo(f"{missing} patches are short, in {len(done.short)} images: {counted}")
    for found in (*done.short, *done.passed_over):
        click.echo(f"  {found.path}: {found.text}")
    for found in done.failures:
        click.echo(f"  failed: {found.path}: {found.text}", err=True)
    if done.failures:
        sys.exit(1)
    if done.short or done.passed_over or done.unlabelled:
        sys.exit(NEEDS_A_PERSON)


@negatives.command(cls=_Command, epilog="negatives status\nnegatives status --project 7 --json")
@click.option("--project", "-p", "project_id", type=int, help="One project; by default every connected one.")
@click.option("--json", "as_json", is_flag=True, help="For scripts.")
def status(project_id: int | None, as_json: bool) -> None:
    """ROIs, patches, verdicts, work in flight, and what is wrong with it."""
    from service import workflow
    from service.jobs import JobQueue
    from service.serving import webhook_url

    settings = _settings()
    with JobQueue(settings.database_url) as queue, closing(_studio(settings)) as studio:
        projects = (
            [project_id] if project_id is not None else workflow.connected_projects(studio, webhook_url(settings))
        )
        found: dict[int, workflow.ProjectStatus] = {}
        troubles: dict[int, str] = {}
        for project in projects:
            try:
                found[project] = workflow.status(
                    project, studio=_Reading(studio), min_approvals=settings.min_approvals, margin=settings.margin
                )
            except (NotFound, SetupError) as error:  # of this project alone: the others are of interest all the same
                troubles[project] = str(error)
        jobs = queue.counts()
        up = _answers(settings)
    report: dict[str, Any] = {
        "projects": {
            project: {
                "tasks": one.tasks,
                "rois": one.rois,
                "unlabelled": one.unlabelled,
                **{state.value: one.states.get(state, 0) for state in State},
                "reasons": one.reasons,
                "notes": [_noted(note) for note in one.notes],
            }
            for project, one in found.items()
        }
        | {project: {"trouble": trouble} for project, trouble in troubles.items()},
        "service": {"url": settings.service_url, "up": up},
        "jobs": {
            "waiting": jobs.waiting,
            "running": jobs.running,
            "failed": [
                {
                    "project": job.project_id,
                    "tasks": list(job.task_ids),
                    "at": job.at.isoformat(),
                    "why": job.message,
                }
                for job in jobs.failed
            ],
            "last_look": jobs.look_failure or "ok",
        },
    }
    if as_json:
        click.echo(json.dumps(report, indent=2))
    else:
        _print_status(report)
    if troubles or jobs.failed or jobs.look_failure or any(one.notes for one in found.values()):
        sys.exit(NEEDS_A_PERSON)


def _noted(note: "Note") -> dict[str, Any]:
    """A note for scripts: with the figures, where patches fall short."""
    told = {"task": note.task_id, "text": note.text}
    if (short := note.shortfall) is None:
        return told
    free = short.largest_free_square
    figures = {
        "requested": short.requested,
        "placed": short.placed,
        "reason": short.cause.value,
        "largest_free_square": free and free.as_mapping(),
        "at_most": short.at_most,
    }
    return told | {"shortfall": figures}


def _print_status(report: dict[str, Any]) -> None:
    if not report["projects"]:
        click.echo("no project is connected: run negatives setup --project P")
    for project, one in report["projects"].items():
        if "trouble" in one:
            click.echo(f"project {project}: {one['trouble']}")
            continue
        click.echo(
            f"project {project}: {one['tasks']} tasks, {one['rois']} ROIs; patches: {one['accepted']} accepted, "
            f"{one['rejected']} rejected, {one['pending']} pending, {one['stale']} stale"
        )
        if one["reasons"]:
            given = ", ".join(f"{count} {reason}" for reason, count in sorted(one["reasons"].items()))
            click.echo(f"  why rejected, where somebody said: {given}")
        if one["unlabelled"]:
            click.echo(f"  {one['unlabelled']} tasks with patches have no labelled object: only the review says so")
        for note in one["notes"]:
            click.echo(f"  task {note['task']}: {note['text']}")
    service, jobs = report["service"], report["jobs"]
    click.echo(f"service: {service['url']} " + ("is up" if service["up"] else "doesn't answer: start negatives serve"))
    click.echo(f"jobs: {jobs['waiting']} waiting, {jobs['running']} running, {len(jobs['failed'])} failed")
    for job in jobs["failed"]:
        tasks = ", ".join(str(task) for task in job["tasks"][:5]) + (" …" if len(job["tasks"]) > 5 else "")
        click.echo(f"  {job['at'][:19]} project {job['project']}, task {tasks}: {job['why']}")
    if jobs["last_look"] != "ok":
        click.echo(f"  the last look for changes failed: {jobs['last_look']}")


@negatives.command(cls=_Command, epilog="negatives demo --once\nnegatives demo --images photos/ --labels photos/xml/")
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


def _answers(settings: Settings) -> bool:
    """Whether the service is up, as seen from here."""
    import httpx

    try:
        return httpx.get(f"{settings.service_url}/health", timeout=3).status_code == httpx.codes.OK
    except httpx.HTTPError:
        return False


class _QuietJobs(logging.Filter):
    """The engine logs a failed job with its whole traceback; what we raised on purpose is one sentence."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep the record, shortened."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, NegativesError):
            record.msg, record.args, record.exc_info, record.exc_text = f"a job failed: {error}", (), None, None
        return True


class _Reading:
    """A reader of tasks that shows how far it is."""

    def __init__(self, studio: "LabelStudioClient") -> None:
        self._studio = studio

    def labeling(self, project_id: int) -> "Labeling":
        """As Label Studio has it."""
        return self._studio.labeling(project_id)

    def tasks(self, project_id: int, labeling: "Labeling", task_ids: Sequence[int] | None = None) -> Iterator["Task"]:
        """The tasks, a progress bar moving with them."""
        count = self._studio.project(project_id).task_count
        found = self._studio.tasks(project_id, labeling, task_ids)
        with click.progressbar(found, length=count, label=f"reading project {project_id}", file=sys.stderr) as bar:
            yield from bar


def _settings() -> Settings:
    settings = read_settings()
    logging.basicConfig(
        level=settings.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    for chatty in ("dbos", "httpx", "waitress.queue", "alembic"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.getLogger("dbos").addFilter(_QuietJobs())
    return settings


def _studio(settings: Settings) -> "LabelStudioClient":
    from service.label_studio.client import LabelStudioClient

    return LabelStudioClient(settings.label_studio_url, settings.label_studio_token.get_secret_value())


if __name__ == "__main__":
    main()
