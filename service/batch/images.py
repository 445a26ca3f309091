"""`negatives sample IMAGES`: negatives from images with labels, without Label Studio and without anybody's review."""

import io
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from pathlib import Path

from PIL import Image
from PIL.PngImagePlugin import PngInfo

from service import __version__
from service.batch.labels import Labels
from service.batch.sheet import chosen, contact_sheet, thumbnail
from service.domain.geometry import Box, Polygon
from service.domain.model import Decision, Patch, Provenance, Roi, Rules, Scene, Shortfall, State, Task, patch_id
from service.errors import ExportError, ImageError, NegativesError
from service.export.plan import Origin, Plan, SourcePlan, plan_export
from service.export.repository import Layout, locate, read_existing
from service.export.yolo import replace_file, sole_exporter, write_source
from service.pictures import size_upright, upright
from service.sampling import sample

SHEET = "contact_sheet.png"
OURS = "label-studio-negatives"
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
    with other rules; image by image what is short, was passed over, or failed. `sheet` is None without negatives.
    """

    images: int
    written: int
    there: int
    earlier: int
    layout: Layout
    sheet: Path | None
    short: tuple[Found, ...] = ()
    passed_over: tuple[Found, ...] = ()
    failures: tuple[Found, ...] = ()


@dataclass(slots=True)
class _Batch:
    """The images of one run, by the number that stands for their content, and what was noted of them."""

    paths: dict[int, Path] = field(default_factory=dict)
    origins: dict[int, Origin] = field(default_factory=dict)
    short: list[Found] = field(default_factory=list)
    passed_over: list[Found] = field(default_factory=list)
    failures: list[Found] = field(default_factory=list)


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

    Raises `ExportError` when the folder can't be used.
    """
    layout = locate(into)
    batch = _Batch()
    with sole_exporter(layout):
        decided = []
        for done, path in enumerate(paths):
            progress("placing patches", done, len(paths))
            try:
                task = _look_at(path, batch, max_pixels)
                objects = labels.of(path, task.size or (0, 0))
                if objects is None and not takes_unlabelled:
                    text = "has no labels: nobody may have looked at it (--unlabelled takes such images as empty)"
                    batch.passed_over.append(Found(path, text))
                    continue
                scene = Scene(*(task.size or (0, 0)), tuple(thing.shape for thing in objects or ()))
                decided.append((task, path.name, _place(path, task, scene, roi, rules, seed, batch)))
            except _Duplicate as error:
                batch.passed_over.append(Found(path, str(error)))
            except (NegativesError, OSError) as error:
                batch.failures.append(Found(path, _said(error)))
        progress("placing patches", len(paths), len(paths))
        plan = plan_export(decided, read_existing(layout), lambda task: batch.origins[task.id])
        written = _write(plan, layout, batch, object_name, max_pixels, now, progress)
        sheet = _write_sheet(plan, layout, into / SHEET, batch)
    return Sampled(
        images=len(paths),
        written=written,
        there=plan.there,
        earlier=len(plan.notes),
        layout=layout,
        sheet=sheet,
        short=tuple(batch.short),
        passed_over=tuple(batch.passed_over),
        failures=tuple(batch.failures),
    )


class _Duplicate(Exception):
    """The same content was there before."""


def _said(error: Exception) -> str:
    return f"can't be read: {error.strerror}" if isinstance(error, OSError) else str(error)


def _look_at(path: Path, batch: _Batch, max_pixels: int) -> Task:
    """The image as a task of no project: its number is made of its content, so the same file is the same everywhere."""
    data = path.read_bytes()
    digest = sha256(data).hexdigest()
    number = int(digest[:12], 16)
    if number in batch.paths:
        raise _Duplicate(f"is the same picture as {batch.paths[number]}")
    size = size_upright(data, "it", max_pixels)
    batch.paths[number] = path
    batch.origins[number] = Origin(path.name, sha256=digest)
    changed = datetime.fromtimestamp(path.stat().st_mtime).astimezone()
    return Task(id=number, project_id=0, image=path.name, updated_at=changed, size=size)


def _place(
    path: Path, task: Task, scene: Scene, roi: Box | None, rules: Rules, seed: int, batch: _Batch
) -> tuple[Decision, ...]:
    box = roi or scene.frame
    own_seed = int.from_bytes(sha256(f"{seed}:{task.id}:{box}".encode()).digest()[:6], "big")
    found = sample(scene, Roi("", Polygon.rectangle(*box.as_xywh())), rules, own_seed)
    if found.shortfall is not None:
        batch.short.append(Found(path, found.shortfall.sentence, found.shortfall))
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
    todo = [source for source in plan.sources if source.new]

    def cut(source: SourcePlan) -> int:
        path = batch.paths[source.task.id]
        try:
            data = path.read_bytes()
            if sha256(data).hexdigest() != source.origin.sha256:
                raise ImageError("changed while it was being sampled; run this again")
            return write_source(source, upright(data, "it", max_pixels), layout, object_name=object_name, at=now())
        except (NegativesError, OSError) as error:
            batch.failures.append(Found(path, _said(error)))
            return 0

    written = 0
    with ThreadPoolExecutor(os.cpu_count()) as pool:
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
