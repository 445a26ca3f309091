"""`negatives sample IMAGES`: negatives from images with labels, without Label Studio and without anybody's review."""

import io
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from service import __version__
from service.batch.labels import LabelledObject, Labels
from service.batch.sheet import chosen, contact_sheet, thumbnail
from service.domain.geometry import Box, Polygon
from service.domain.model import (
    SMALLEST_SIDE,
    Decision,
    Patch,
    Provenance,
    Roi,
    Rules,
    Scene,
    Shortfall,
    State,
    Task,
    patch_id,
)
from service.errors import ExportError, ImageError, NegativesError, UsageError
from service.export.plan import Existing, Origin, Plan, SourcePlan, plan_export
from service.export.repository import Layout, locate, read_existing
from service.export.yolo import forget_lost, replace_file, sole_exporter, write_source
from service.pictures import size_upright, upright
from service.sampling import sample

SHEET = "contact_sheet.png"
OURS = "label-studio-negatives"
AT_ONCE = 2
"""Images decoded at the same time: large ones take gigabytes."""
LONG_AGO = datetime.fromtimestamp(0, UTC)
Progress = Callable[[str, int, int], None]
"""Told what is being done, how many images are done, and of how many."""


@dataclass(frozen=True, slots=True)
class Found:
    """Something that a person should know of one image."""

    path: Path
    text: str
    shortfall: Shortfall | None = None


@dataclass(frozen=True, slots=True)
class Sampled:
    """What came of a batch: negatives written, those that were `there` from the same run before, and `earlier` ones
    with other rules; `unlabelled` images had no label file; image by image what is short, was passed over, or failed.
    `sheet` is None without negatives.
    """

    images: int
    written: int
    there: int
    earlier: int
    unlabelled: int
    layout: Layout
    sheet: Path | None
    short: tuple[Found, ...] = ()
    passed_over: tuple[Found, ...] = ()
    failures: tuple[Found, ...] = ()


@dataclass(frozen=True, slots=True)
class _Picture:
    """An image, its size upright, where it comes from, and its objects: None when nobody looked."""

    path: Path
    size: tuple[int, int]
    origin: Origin
    objects: tuple[LabelledObject, ...] | None


@dataclass(slots=True)
class _Batch:
    """The pictures of one run, by the number that stands for their content, and what was noted of them."""

    pictures: dict[int, _Picture] = field(default_factory=dict)
    short: list[Found] = field(default_factory=list)
    passed_over: list[Found] = field(default_factory=list)
    failures: list[Found] = field(default_factory=list)

    def origin(self, task: Task) -> Origin:
        """Where a task's picture comes from."""
        return self.pictures[task.id].origin


def sample_images(
    paths: Sequence[Path],
    into: Path,
    *,
    labels: Labels,
    roi: Box | None,
    rules: Rules,
    seed: int,
    takes_unlabelled: bool,
    object_name: str,
    max_pixels: int,
    now: Callable[[], datetime],
    progress: Progress,
) -> Sampled:
    """Place patches in each image, clear of its labelled objects, and write them as negatives in the plain layout.

    `roi` is in pixels of the upright image, None for the whole of it. An image without a label file is passed over, or
    taken as empty if `takes_unlabelled`: that nobody looked is no proof. One that can't be read doesn't stop the
    others. Run again with the same arguments nothing is added; nothing that exists is overwritten.

    Raises `ExportError` when the folder can't be used, `UsageError` for patches that no trainer keeps.
    """
    if rules.min_size < SMALLEST_SIDE:
        raise UsageError(f"min_size is {rules.min_size} px, but trainers drop images below {SMALLEST_SIDE} px")
    layout = locate(into)
    batch = _Batch()
    with sole_exporter(layout):
        for done, path in enumerate(paths):
            progress("reading labels", done, len(paths))
            try:
                if not (path.name == SHEET and _is_ours(path)):
                    _look_at(path, batch, labels, max_pixels)
            except (NegativesError, OSError) as error:
                batch.failures.append(Found(path, _said(error)))
        progress("reading labels", len(paths), len(paths))
        existing = read_existing(layout)
        plan = plan_export(_placed(batch, roi, rules, seed, takes_unlabelled, progress), existing, batch.origin)
        written = _write(plan, layout, batch, object_name, max_pixels, now, progress)
        sheet = _write_sheet(plan, layout, into / SHEET, batch)
    return Sampled(
        images=len(paths),
        written=written,
        there=plan.there,
        earlier=_earlier(plan, existing, batch),
        unlabelled=sum(picture.objects is None for picture in batch.pictures.values()),
        layout=layout,
        sheet=sheet,
        short=tuple(batch.short),
        passed_over=tuple(batch.passed_over),
        failures=tuple(batch.failures),
    )


def _said(error: Exception) -> str:
    return f"can't be read: {error.strerror}" if isinstance(error, OSError) else str(error)


def _look_at(path: Path, batch: _Batch, labels: Labels, max_pixels: int) -> None:
    """Read an image's size and labels. Its number is made of its content, so the same file is the same everywhere;
    what is labelled in one copy of it is labelled in all.
    """
    data = path.read_bytes()
    digest = sha256(data).hexdigest()
    number = int(digest[:12], 16)
    size = size_upright(data, "it", max_pixels)
    objects = labels.of(path, size)
    before = batch.pictures.get(number)
    if before is None:
        batch.pictures[number] = _Picture(path, size, Origin(path.name, sha256=digest), objects)
        return
    batch.passed_over.append(Found(path, f"is the same picture as {before.path}; the labels of both count"))
    if objects is not None:
        batch.pictures[number] = replace(before, objects=(*(before.objects or ()), *objects))


def _placed(
    batch: _Batch, roi: Box | None, rules: Rules, seed: int, takes_unlabelled: bool, progress: Progress
) -> Iterator[tuple[Task, str, tuple[Decision, ...]]]:
    """Each picture that somebody labelled, and the patches placed in it, as an export takes them."""
    for done, (number, picture) in enumerate(batch.pictures.items(), 1):
        if picture.objects is None and not takes_unlabelled:
            text = "has no labels: nobody may have looked at it (--unlabelled takes such images as empty)"
            batch.passed_over.append(Found(picture.path, text))
        else:
            task = Task(id=number, project_id=0, image=picture.path.name, updated_at=LONG_AGO, size=picture.size)
            yield task, picture.path.name, _place(picture, task, roi, rules, seed, batch)
        progress("placing patches", done, len(batch.pictures))


def _earlier(plan: Plan, existing: Existing, batch: _Batch) -> int:
    """How many negatives of these pictures are there that this run would not have made."""
    origins = {picture.origin for picture in batch.pictures.values()}
    kept = {source.origin: {negative.number for negative in source.negatives} for source in plan.sources}
    ours = (source for source in existing.sources.values() if source.owner in origins)
    return sum(len(source.present - kept.get(source.owner, set())) for source in ours if source.owner)


def _place(
    picture: _Picture, task: Task, roi: Box | None, rules: Rules, seed: int, batch: _Batch
) -> tuple[Decision, ...]:
    scene = Scene(*picture.size, tuple(thing.shape for thing in picture.objects or ()))
    box = roi or scene.frame
    own_seed = int.from_bytes(sha256(f"{seed}:{task.id}:{box}".encode()).digest()[:6], "big")
    found = sample(scene, Roi("", Polygon.rectangle(*box.as_xywh())), rules, own_seed)
    if found.shortfall is not None:
        batch.short.append(Found(picture.path, found.shortfall.sentence, found.shortfall))
    provenance = Provenance(box, rules, {}, own_seed, __version__)
    patches = (Patch(patch_id(task.id, placed), placed, provenance) for placed in found.boxes)
    return tuple(Decision(patch, State.ACCEPTED) for patch in patches)


def _write(
    plan: Plan,
    layout: Layout,
    batch: _Batch,
    object_name: str,
    max_pixels: int,
    now: Callable[[], datetime],
    progress: Progress,
) -> int:
    """Cut and write all that is new, several images at a time. Returns how many negatives."""
    for source in plan.sources:
        if source.has_lost and not source.new:
            forget_lost(source, layout, object_name=object_name, at=now())
    todo = [source for source in plan.sources if source.new]

    def cut(source: SourcePlan) -> int:
        path = batch.pictures[source.task.id].path
        try:
            data = path.read_bytes()
            if sha256(data).hexdigest() != source.origin.sha256:
                raise ImageError("changed while it was being sampled; run this again")
            return write_source(source, upright(data, "it", max_pixels), layout, object_name=object_name, at=now())
        except (NegativesError, OSError) as error:
            batch.failures.append(Found(path, _said(error)))
            return 0

    written = 0
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for done, count in enumerate(pool.map(cut, todo), 1):
            written += count
            progress("writing negatives", done, len(todo))
    return written


def _write_sheet(plan: Plan, layout: Layout, path: Path, batch: _Batch) -> Path | None:
    """All negatives of this run, or an even choice of them, on one picture; None when there is none to show."""
    negatives = [(source, negative) for source in plan.sources for negative in source.negatives]
    pictures = []
    for index in chosen(len(negatives)):
        source, negative = negatives[index]
        try:
            with Image.open(layout.images / f"{source.file_stem(negative)}.jpg") as image:
                size = f"{image.width} x {image.height} px"  # the sheet's font has no ×
                pictures.append((thumbnail(image), f"{source.file_stem(negative)}\n{size}"))
        except OSError:
            continue  # its source failed, and is told of
    if not pictures:
        return None
    if path.exists() and not _is_ours(path):
        batch.passed_over.append(Found(path, "is in the way and not ours: the contact sheet was not written"))
        return None
    out, info = io.BytesIO(), PngInfo()
    info.add_text("Software", OURS)
    contact_sheet(pictures).save(out, "PNG", pnginfo=info)
    try:
        replace_file(path, out.getvalue())
    except OSError as error:
        raise ExportError(f"{path} can't be written ({error.strerror})") from error
    return path


def _is_ours(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            return image.info.get("Software") == OURS
    except OSError:
        return False
