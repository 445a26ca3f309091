"""The whole loop on one's own machine, with real parts: what `make demo` runs."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

import click
import httpx
from filelock import FileLock, Timeout
from PIL import Image, ImageOps

from service.batch.labels import LabelledObject, Labels, image_paths
from service.config import PREFIX
from service.demo.annotator import Annotator, Prediction, labeling_configuration
from service.demo.background import emptiest_rectangle
from service.demo.label_studio import EMAIL, PASSWORD, LabelStudioProcess, free_port
from service.demo.pictures import draw_field
from service.domain.geometry import Box
from service.errors import NegativesError, UsageError
from service.export.manifest import MANIFEST, read_manifest

T = TypeVar("T")

MARKER = ".negatives-demo"
SHOWN_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")  # Label Studio takes no TIFF
FIELDS_DRAWN = 6
MOST_PICTURES = 12
SMALLEST_ROI = 40  # pixels; no person would draw a smaller one
REJECT_EVERY = 4
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Picture:
    """An image with its true boxes, and the ROI that a person would draw, if there is background for one."""

    path: Path
    size: tuple[int, int]
    objects: tuple[LabelledObject, ...]
    roi: Box | None

    @property
    def fields(self) -> dict[str, float]:
        """The number fields that a person would set: in an ROI that is small for the defaults, smaller patches."""
        if self.roi is None or min(self.roi.width, self.roi.height) >= 200:
            return {}
        side = min(self.roi.width, self.roi.height)
        return {"min_size": max(20, side // 2), "max_size": side}


@dataclass(slots=True)
class Broken:
    """Promises that the run did not keep."""

    promises: list[str] = field(default_factory=list)

    def unless(self, kept: bool, promise: str) -> None:
        """Note the promise unless it was kept."""
        if not kept:
            self.promises.append(promise)


def run_demo(*, label_studio: Path, directory: Path, images: Path | None, labels: Path | None, once: bool) -> None:
    """Run the loop, tell what happened, and stay up until Ctrl-C unless `once`.

    Raises `UsageError` for pictures that can't be used, `NegativesError` when anything was not as promised.
    """
    started = time.monotonic()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)  # a closed terminal must leave nothing running either
    with ExitStack() as running:
        running.enter_context(_alone_in(directory))
        _fresh(directory)
        _headline("Pictures")
        pictures = _pictures(images, labels, directory / "pictures")
        objects = sum(len(picture.objects) for picture in pictures)
        _say(f"{len(pictures)} pictures with {objects} labelled objects")
        data_yaml = make_repository(pictures, directory / "yolo-repository")
        _say(f"a small YOLO repository that was there before: {data_yaml}")

        studio = LabelStudioProcess(label_studio, directory / "label-studio")
        running.callback(studio.close)
        _step("Label Studio (the first start takes about half a minute)", lambda: studio.start(_dot))
        api = running.enter_context(studio.api())
        environment = _environment(studio, directory, data_yaml)
        _step("The service", lambda: _start_service(environment, directory, running))

        project, left = _go_round(environment, api, pictures, data_yaml)
        accepted = len(_negatives(data_yaml))
        _summary(studio, environment, project, data_yaml, accepted, time.monotonic() - started)
        if once:
            click.echo("\nEverything is stopped now; without ONCE=1 it would stay up for clicking.")
        else:
            click.echo("\nEverything stays up for clicking. Press Ctrl-C to stop it. Try this task:")
            _say(f"{studio.url}/projects/{project}/data?task={left}")
            _say("Review: open the tab negatives, choose Duplicate Annotation in its menu (three dots), delete a patch")
            _say("(click, Backspace), Submit. Draw: press +, switch on Auto-Annotation and Auto-Accept below, pick the")
            _say("pink tool: one stroke around background brings patches at once. Submit.")
            _say("Review as others do: in the gallery, or in the project Review: Negatives demo, Label All Tasks.")
            _wait_for_ctrl_c()
            click.echo("\nStopping.")


def _go_round(
    environment: dict[str, str], api: httpx.Client, pictures: Sequence[Picture], data_yaml: Path
) -> tuple[int, int]:
    """Once round the loop, with the checks of what was promised; the project, and the task that is left to review."""
    names = sorted({thing.name for picture in pictures for thing in picture.objects}) or ["Object"]
    annotator = Annotator.in_new_project(api, "Negatives demo", labeling_configuration(names))
    project = annotator.project_id
    _headline("A project is created and connected: negatives setup")
    _command(environment, "setup", "--project", str(project))
    tasks = dict(zip(annotator.upload([picture.path for picture in pictures]), pictures, strict=True))
    for task, picture in tasks.items():
        if picture.objects:
            annotator.label_objects(task, picture.size, picture.objects)
    _say(f"{len(tasks)} pictures uploaded, their objects labelled")

    drawn = {task: picture for task, picture in tasks.items() if picture.roi is not None}
    before = time.monotonic()
    for task, picture in drawn.items():
        assert picture.roi is not None
        annotator.draw_roi(task, picture.size, picture.roi, picture.fields)
    predictions = _step(
        f"{len(drawn)} ROIs drawn; waiting for patches through the webhook",
        lambda: _wait_for_predictions(annotator, list(drawn)),
    )
    offered = sum(len(prediction.patches) for prediction in predictions.values())
    _say(f"{offered} patches came back in {time.monotonic() - before:.1f} s")

    *_, left = predictions
    reviewed = {task: one for task, one in predictions.items() if task != left or len(predictions) == 1}
    accepted, rejected = _review(annotator, reviewed)
    _say(f"{accepted} patches accepted, {rejected} rejected; what is pending is left for you")
    positives = _digests(data_yaml.parent)
    _headline("The accepted ones are exported: negatives export")
    _command(environment, "export", "--project", str(project), "--into", str(data_yaml))
    _command(environment, "status", "--project", str(project), may_need_a_person=True)
    _headline("A queue for reviewers who did not draw: negatives review open")
    _command(environment, "review", "open", "--project", str(project))

    broken = Broken()
    _check(broken, data_yaml, tasks, predictions, accepted, positives)
    _command(environment, "export", "--project", str(project), "--into", str(data_yaml), quiet=True)
    broken.unless(len(_negatives(data_yaml)) == accepted, "a second export with nothing new must add nothing")
    if broken.promises:
        raise NegativesError("the demo did not keep its promises:\n  " + "\n  ".join(broken.promises))
    return project, left


# ---------------------------------------------------------------- preparing


@contextmanager
def _alone_in(directory: Path) -> Iterator[None]:
    """One demo in one folder: the next would clear what this one stands on."""
    name = hashlib.sha256(str(directory.resolve()).encode()).hexdigest()[:16]
    lock = FileLock(Path(tempfile.gettempdir()) / f"negatives-demo-{name}.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise UsageError(f"a demo is running in {directory}: stop it, or name another with --directory") from error
    try:
        yield
    finally:
        lock.release()


def _fresh(directory: Path) -> None:
    """An empty folder; one that an earlier demo made is cleared, any other is left alone."""
    if directory.exists() and any(directory.iterdir()):
        if not (directory / MARKER).exists():
            raise UsageError(f"{directory} has files that are not the demo's: name another with --directory")
        shutil.rmtree(directory)
    directory.mkdir(parents=True, exist_ok=True)
    (directory / MARKER).touch()


def _pictures(images: Path | None, labels: Path | None, drawn_into: Path) -> tuple[Picture, ...]:
    if images is None:
        return tuple(_drawn(drawn_into))
    paths = image_paths(images, SHOWN_SUFFIXES)
    if len(paths) > MOST_PICTURES:
        _say(f"{images} has {len(paths)} pictures; the demo takes {MOST_PICTURES} of them, spread evenly")
        paths = tuple(paths[i * len(paths) // MOST_PICTURES] for i in range(MOST_PICTURES))
    found, labelled = [], Labels(labels)
    for path in paths:
        with Image.open(path) as image:
            size = ImageOps.exif_transpose(image).size
        objects = _as_boxes(labelled.of(path, size) or (), size)
        found.append(Picture(path, size, objects, _roi(size, objects)))
    if not any(picture.objects for picture in found):
        where = labels or "beside the pictures (LABELS=dir names another folder)"
        _say(f"no labels were found in {where}: every pixel counts as background, so look twice at the patches")
    if not any(picture.roi for picture in found):
        raise UsageError(f"no picture of {images} has background of {SMALLEST_ROI} px between its objects")
    return tuple(found)


def _as_boxes(objects: Sequence[LabelledObject], size: tuple[int, int]) -> tuple[LabelledObject, ...]:
    """Boxes in the image, whatever was drawn: what the demo's people draw, and its repository holds."""
    boxes = ((thing.name, thing.box.common(Box(0, 0, *size))) for thing in objects)
    return tuple(LabelledObject(name, box) for name, box in boxes if box)


def _drawn(into: Path) -> Sequence[Picture]:
    into.mkdir()
    found = []
    for number in range(1, FIELDS_DRAWN + 1):
        drawn = draw_field(number)
        path = into / f"field_{number:02}.jpg"
        drawn.image.save(path, quality=92)
        found.append(Picture(path, drawn.image.size, drawn.objects, _roi(drawn.image.size, drawn.objects)))
    return found


def _roi(size: tuple[int, int], objects: Sequence[LabelledObject]) -> Box | None:
    """The background that a person would draw around; a little generous, as hands are: its rim may touch objects."""
    found = emptiest_rectangle(*size, tuple(thing.box for thing in objects))
    if found is None or min(found.width, found.height) < SMALLEST_ROI:
        return None
    reach = 12
    return Box(
        max(0, found.left - reach),
        max(0, found.top - reach),
        min(size[0], found.right + reach),
        min(size[1], found.bottom + reach),
    )


def make_repository(pictures: Sequence[Picture], root: Path) -> Path:
    """A YOLO repository as a team has one: two thirds train, one third val."""
    names = sorted({thing.name for picture in pictures for thing in picture.objects}) or ["Object"]
    for split in ("train", "val"):
        (root / "images" / split).mkdir(parents=True)
        (root / "labels" / split).mkdir(parents=True)
    for number, picture in enumerate(pictures):
        split = "val" if number % 3 == 2 else "train"
        shutil.copyfile(picture.path, root / "images" / split / picture.path.name)
        width, height = picture.size
        lines = [
            f"{names.index(thing.name)} {(box.left + box.right) / 2 / width:.6f} "
            f"{(box.top + box.bottom) / 2 / height:.6f} {box.width / width:.6f} {box.height / height:.6f}\n"
            for thing in picture.objects
            for box in (thing.box,)
        ]
        (root / "labels" / split / f"{picture.path.stem}.txt").write_text("".join(lines))
    data_yaml = root / "data.yaml"
    listed = "".join(f"  {number}: {name}\n" for number, name in enumerate(names))
    data_yaml.write_text(f"# made by the demo\ntrain: images/train\nval: images/val\nnames:\n{listed}")
    return data_yaml


def _environment(studio: LabelStudioProcess, directory: Path, data_yaml: Path) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    return inherited | {
        "NEGATIVES_LABEL_STUDIO_URL": studio.url,
        "NEGATIVES_LABEL_STUDIO_TOKEN": studio.token,
        "NEGATIVES_WEBHOOK_SECRET": studio.token[::-1],
        "NEGATIVES_DATABASE_URL": f"sqlite:///{directory.resolve() / 'negatives.db'}",
        "NEGATIVES_PORT": str(free_port()),
        "NEGATIVES_CACHE": str(directory / "cache"),
        "NEGATIVES_DATASET": str(data_yaml.resolve()),
    }


def _start_service(environment: dict[str, str], directory: Path, running: ExitStack) -> None:
    log = running.enter_context((directory / "service.log").open("wb"))
    process = subprocess.Popen(
        [sys.executable, "-m", "service.cli", "serve"],
        env=environment,
        cwd=directory,
        stdout=log,
        stderr=log,
        start_new_session=True,  # Ctrl-C is for the demo, which stops it in order
    )

    def stop() -> None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            process.kill()

    running.callback(stop)
    health = f"http://127.0.0.1:{environment['NEGATIVES_PORT']}/health"

    def answers() -> bool | None:
        if process.poll() is not None:
            raise NegativesError(f"the service didn't start: see {directory / 'service.log'}")
        try:
            return httpx.get(health).status_code == httpx.codes.OK or None
        except httpx.TransportError:
            return None

    _wait(answers, "the service doesn't answer")


# ---------------------------------------------------------------- the people's part


def _wait_for_predictions(annotator: Annotator, tasks: Sequence[int]) -> dict[int, Prediction]:
    found: dict[int, Prediction] = {}

    def all_there() -> dict[int, Prediction] | None:
        for task in tasks:
            if task not in found and (prediction := annotator.prediction(task)) is not None:
                found[task] = prediction
        return found if len(found) == len(tasks) else None

    return _wait(all_there, "the webhook brought no patches")


def _review(annotator: Annotator, predictions: dict[int, Prediction]) -> tuple[int, int]:
    """A person looks through the proposals and takes out every fourth patch."""
    seen = rejected = 0

    def rejects(_patch: object) -> bool:
        nonlocal seen, rejected
        seen += 1
        rejected += seen % REJECT_EVERY == 0
        return seen % REJECT_EVERY == 0

    for task, prediction in predictions.items():
        annotator.review(task, prediction, rejects)
    return seen - rejected, rejected


# ---------------------------------------------------------------- what was promised


def _check(
    broken: Broken,
    data_yaml: Path,
    tasks: dict[int, Picture],
    predictions: dict[int, Prediction],
    accepted: int,
    positives: dict[Path, str],
) -> None:
    written = _negatives(data_yaml)
    broken.unless(accepted > 0, "some patches must have been placed and accepted")
    broken.unless(len(written) == accepted, f"every accepted patch must be exported: {len(written)} of {accepted} were")
    labels = [data_yaml.parent / "labels" / path.parent.name / f"{path.stem}.txt" for path in written]
    broken.unless(
        all(label.is_file() and label.stat().st_size == 0 for label in labels),
        "each negative must have a zero-byte label",
    )
    now = _digests(data_yaml.parent)
    broken.unless(
        all(now.get(path) == digest for path, digest in positives.items()), "what was there must be untouched"
    )
    touching = 0
    for row in read_manifest((data_yaml.parent / MANIFEST).read_bytes(), MANIFEST):
        touching += any(row.cut.touches(thing.box) for thing in tasks[row.task].objects)
    broken.unless(touching == 0, f"no exported patch may touch a labelled box, but {touching} do")
    broken.unless(all(prediction.result for prediction in predictions.values()), "every ROI must be answered")


def _negatives(data_yaml: Path) -> list[Path]:
    return sorted((data_yaml.parent / "images").glob("*/*_neg_*.jpg"))


def _digests(root: Path) -> dict[Path, str]:
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in root.rglob("*") if path.is_file()}


# ---------------------------------------------------------------- telling


def _summary(
    studio: LabelStudioProcess,
    environment: dict[str, str],
    project: int,
    data_yaml: Path,
    accepted: int,
    seconds: float,
) -> None:
    click.secho(f"\n{accepted} negatives are in the training repository, after {seconds:.0f} s.", bold=True)
    click.echo(f"  Label Studio   {studio.url}/projects/{project}/data")
    click.echo(f"  sign in        {EMAIL}   password {PASSWORD}")
    click.echo(f"  the gallery    http://127.0.0.1:{environment['NEGATIVES_PORT']}/projects/{project}/gallery")
    click.echo(f"  the repository {data_yaml}")
    click.echo(f"  the negatives  {data_yaml.parent / 'images'}/*/*_neg_*.jpg")
    click.echo(f"  the manifest   {data_yaml.parent / MANIFEST}")


def _headline(text: str) -> None:
    click.secho(f"\n{text}", bold=True)


def _say(text: str) -> None:
    click.echo(f"  {text}")


def _dot() -> None:
    click.echo(".", nl=False)


def _step(title: str, work: Callable[[], T]) -> T:
    click.secho(f"\n{title} ", bold=True, nl=False)
    started = time.monotonic()
    try:
        result = work()
    except BaseException:
        click.echo()  # the message that follows gets a line of its own
        raise
    click.echo(f" {time.monotonic() - started:.1f} s")
    return result


def _wait(ready: Callable[[], T | None], complaint: str) -> T:
    """Wait until `ready` returns something, with a dot a second; raises `NegativesError` when patience ends."""
    started = time.monotonic()
    dots = 0
    while (found := ready()) is None:
        passed = time.monotonic() - started
        if passed > PATIENCE_SECONDS:
            raise NegativesError(f"{complaint}, after {PATIENCE_SECONDS:.0f} s")
        if passed > dots + 1:
            dots += 1
            _dot()
        time.sleep(0.05)
    return found


def _command(
    environment: dict[str, str], *arguments: str, quiet: bool = False, may_need_a_person: bool = False
) -> None:
    """Run `negatives …` as a person would, its output indented."""
    if not quiet:
        _say("$ negatives " + " ".join(arguments))
    done = subprocess.run(
        [sys.executable, "-m", "service.cli", *arguments],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if not quiet:
        for line in done.stdout.splitlines():
            _say(f"  {line}")
    if done.returncode not in ((0, 3) if may_need_a_person else (0,)):
        raise NegativesError(f"negatives {arguments[0]} ended with {done.returncode}:\n{done.stderr or done.stdout}")


def _wait_for_ctrl_c() -> None:
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        return
