"""`negatives sample IMAGES`: negatives from images with labels, without Label Studio and without anybody's review."""

import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
from service.export.formats import Request, formats
from service.export.model import Source
from service.export.plan import Action, Options, Plan, compare
from service.export.sources import SourceFile
from service.export.writing import Disk, Store
from service.exporting import Cutter, bring_in, opened
from service.pictures import size_upright
from service.sampling import sample_on_grid

SHEET = "contact_sheet.png"
OURS = "label-studio-negatives"
NOBODY = "negatives sample"
"""What stands in the manifest for the Label Studio where people reviewed; what the run was told comes after it."""
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
    """What came of a batch: negatives written into `folder`, those that were `there` from the same run before,
    `earlier` ones with other rules, and those `taken_out` because they would not be placed any more, as labels have
    changed; `unlabelled` images had no label file; image by image what is short, was passed over, or failed. `sheet` is
    None without negatives.
    """

    images: int
    written: int
    there: int
    earlier: int
    taken_out: int
    unlabelled: int
    folder: Path
    sheet: Path | None
    short: tuple[Found, ...] = ()
    passed_over: tuple[Found, ...] = ()
    failures: tuple[Found, ...] = ()


@dataclass(frozen=True, slots=True)
class _Picture:
    """An image, its size upright, the digest of its bytes, and its objects: None when nobody looked."""

    path: Path
    size: tuple[int, int]
    sha256: str
    objects: tuple[LabelledObject, ...] | None


@dataclass(slots=True)
class _Batch:
    """The pictures of one run, by the number that stands for their content, and what was noted of them."""

    pictures: dict[int, _Picture] = field(default_factory=dict)
    short: list[Found] = field(default_factory=list)
    passed_over: list[Found] = field(default_factory=list)
    failures: list[Found] = field(default_factory=list)

    def name(self, task: Task) -> str:
        """The picture's file name."""
        return self.pictures[task.id].path.name

    @contextmanager
    def take(self, task: Task, held: Sequence[Path]) -> Iterator[SourceFile]:  # noqa: ARG002 (it is a file already)
        """The picture's file. Raises `ImageError` when it isn't the one that was looked at."""
        picture = self.pictures[task.id]
        try:
            data = picture.path.read_bytes()
        except OSError as error:
            raise ImageError(_said(error)) from error
        if _digest(data) != picture.sha256:
            raise ImageError("changed while it was being sampled; run this again")
        source = Source(picture.path.name, task.source_reference, picture.sha256, len(data))
        yield SourceFile(picture.path, source, picture.size, picture.size, "original")


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
    kind = formats()["plain"]
    request = Request(into, classes=(object_name,))
    batch = _Batch()
    with opened(request, kind, Disk()) as place:
        for done, path in enumerate(paths):
            progress("reading labels", done, len(paths))
            try:
                if not (path.name == SHEET and _is_ours(path)):
                    _look_at(path, batch, labels, max_pixels)
            except (NegativesError, OSError) as error:
                batch.failures.append(Found(path, _said(error)))
        progress("reading labels", len(paths), len(paths))
        run = f"{NOBODY} {_digest(repr((seed, roi, rules)).encode())[:16]}"
        decided = list(_placed(batch, roi, rules, seed, takes_unlabelled, progress))
        difference = compare(decided, place.settled, studio=run)
        nobodys = [row for row in difference.lost if row.studio.startswith(NOBODY) and row.studio != run]
        difference = replace(
            difference,
            lost=tuple(row for row in difference.lost if row not in nobodys),
            out=(*difference.out, *((row, "an earlier run's, and lost") for row in nobodys)),
        )
        cutter = Cutter(batch, max_pixels, now, progress)
        memory = place.store.memory()
        plan, failures, memory = bring_in(difference, place, memory, kind=kind, options=Options(), cutter=cutter)
        place.store.remember(memory)
        batch.failures += [Found(batch.pictures[note.task_id].path, note.text) for note in failures]
        sheet = _write_sheet(plan, run, place.store, into / SHEET, batch)
    digests = {picture.sha256 for picture in batch.pictures.values()}
    return Sampled(
        images=len(paths),
        written=plan.count(Action.ADD, Action.RESTORE),
        there=sum(row.studio == run for row in plan.rows) - plan.count(Action.ADD, Action.RESTORE),
        earlier=sum(row.studio != run and row.source.sha256 in digests for row in plan.rows),
        taken_out=plan.count(Action.TAKE_OUT),
        unlabelled=sum(picture.objects is None for picture in batch.pictures.values()),
        folder=Path(place.dataset.root),
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
    digest = _digest(data)
    number = int(digest[:12], 16)
    size = size_upright(data, "it", max_pixels)
    objects = labels.of(path, size)
    before = batch.pictures.get(number)
    if before is None:
        batch.pictures[number] = _Picture(path, size, digest, objects)
        return
    batch.passed_over.append(Found(path, f"is the same picture as {before.path}; the labels of both count"))
    if objects is not None:
        batch.pictures[number] = replace(before, objects=(*(before.objects or ()), *objects))


def _placed(
    batch: _Batch, roi: Box | None, rules: Rules, seed: int, takes_unlabelled: bool, progress: Progress
) -> Iterator[tuple[Task, tuple[Decision, ...]]]:
    """Each picture that somebody labelled, and the patches placed in it, as an export takes them."""
    for done, (number, picture) in enumerate(batch.pictures.items(), 1):
        if picture.objects is None and not takes_unlabelled:
            text = "has no labels: nobody may have looked at it (--unlabelled takes such images as empty)"
            batch.passed_over.append(Found(picture.path, text))
        else:
            task = Task(id=number, project_id=0, image=picture.path.name, updated_at=LONG_AGO, size=picture.size)
            yield task, _place(picture, task, roi, rules, seed, batch)
        progress("placing patches", done, len(batch.pictures))


def _place(
    picture: _Picture, task: Task, roi: Box | None, rules: Rules, seed: int, batch: _Batch
) -> tuple[Decision, ...]:
    scene = Scene(*picture.size, tuple(thing.shape for thing in picture.objects or ()))
    box = roi or scene.frame
    own_seed = int.from_bytes(sha256(f"{seed}:{task.id}:{box}".encode()).digest()[:6], "big")
    found = sample_on_grid(scene, Roi("", Polygon.rectangle(*box.as_xywh())), rules, own_seed, grid=task.block_grid)
    if found.shortfall is not None:
        batch.short.append(Found(picture.path, found.shortfall.sentence, found.shortfall))
    provenance = Provenance(box, rules, {}, own_seed, __version__)
    patches = (Patch(patch_id(task.id, placed), placed, provenance) for placed in found.boxes)
    return tuple(Decision(patch, State.ACCEPTED) for patch in patches)


def _write_sheet(plan: Plan, run: str, store: Store, path: Path, batch: _Batch) -> Path | None:
    """All negatives of this run, or an even choice of them, on one picture; None when there is none to show."""
    rows = [row for row in plan.rows if row.studio == run]
    pictures = []
    for index in chosen(len(rows)):
        row = rows[index]
        try:
            with Image.open(store.path(row.file)) as image:
                size = f"{image.width} x {image.height} px"  # the sheet's font has no ×
                pictures.append((thumbnail(image), f"{row.stem}\n{size}"))
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
        Disk().replace(path, out.getvalue())
    except OSError as error:
        raise ExportError(f"{path} can't be written ({error.strerror})") from error
    return path


def _digest(data: bytes) -> str:
    return sha256(data).hexdigest()


def _is_ours(path: Path) -> bool:
    try:
        with Image.open(path) as image:
            return image.info.get("Software") == OURS
    except OSError:
        return False
