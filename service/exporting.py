"""Bringing approved patches into a dataset, and taking them out again."""

import logging
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from hashlib import sha256
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any, Protocol

import httpx
from platformdirs import user_cache_path

from service import __version__
from service.config import Settings, read_band, read_shares
from service.domain.model import Agreement, Task
from service.domain.work import LOOK_BACK
from service.errors import ExportError, ImageError, LabelStudioError
from service.export.cutting import cut
from service.export.formats import Format, Request
from service.export.manifest import MANIFEST
from service.export.model import Dataset, Row
from service.export.plan import (
    Action,
    Cutting,
    Difference,
    Note,
    Obstacle,
    Options,
    Plan,
    Settled,
    SplitShare,
    Wanted,
    compare,
    plan_export,
    plan_undo,
    room_in,
    settle,
)
from service.export.share import DatasetShare
from service.export.sources import SourceFile, SourceFiles, scaled_inward
from service.export.writing import Disk, Look, Memory, Store
from service.label_studio.images import image_source
from service.label_studio.labeling import Labeling
from service.review import decide
from service.workflow import Changed, TaskReader, connected

log = logging.getLogger(__name__)

AT_ONCE = 4
"""Source images fetched and cut at the same time."""
Progress = Callable[[str, int, int], None]
"""Told what is being done, how much of it is, and of how much."""


class Studio(TaskReader, Protocol):
    """What exporting asks of Label Studio."""

    def changed_since(self, project_id: int, moment: datetime | None, *, even_empty: bool = False) -> Sequence[Changed]:
        """Tasks that changed after the moment (None: all); `even_empty`: those without annotations, too."""


class Sources(Protocol):
    """Where source images come from."""

    def name(self, task: Task) -> str:
        """The name of the file that the task's patches are cut from."""

    def take(self, task: Task, held: Sequence[Path]) -> AbstractContextManager[SourceFile]:
        """That file; `held` are images of the dataset with its name."""


@dataclass(frozen=True, slots=True)
class Cutter:
    """How source images become pictures: where they come from, how many pixels one may have, and the clock."""

    sources: Sources
    max_pixels: int
    now: Callable[[], datetime]
    progress: Progress


@contextmanager
def cutter_of(settings: Settings, http: httpx.Client, progress: Progress) -> Iterator[Cutter]:
    """As the settings say; `http` as for `ImageSource`."""
    sources = SourceFiles(
        image_source(settings, http),
        cache=Path(settings.cache) if settings.cache else user_cache_path("label-studio-negatives"),
        cache_bytes=settings.cache_bytes,
        originals=Path(settings.originals) if settings.originals else None,
    )
    with closing(sources):
        yield Cutter(sources, settings.max_image_pixels, lambda: datetime.now(UTC), progress)


def options_of(
    settings: Settings,
    *,
    band: tuple[float, float] | None = None,
    shares: Mapping[str, float] | None = None,
    limit_to_band: bool = False,
    prune: bool = False,
) -> Options:
    """As the settings say, where nothing else is given."""
    return Options(
        band=band or read_band(settings.band),
        limit_to_band=limit_to_band,
        shares=shares or read_shares(settings.shares),
        is_strict=shares is not None,
        prune=prune,
    )


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export did, or, of a dry run, would do."""

    into: Path
    format: Format
    dataset: Dataset
    plan: Plan
    tasks: int
    unlabelled: int = 0
    notes: tuple[Note, ...] = ()
    failures: tuple[Note, ...] = ()
    is_dry: bool = False

    @property
    def needs_a_person(self) -> bool:
        """Whether somebody should look at something."""
        return bool(self.notes or self.plan.count(Action.REPORT))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What somebody should look at in the dataset as a whole."""
        return (*self.dataset.warnings, *self.plan.warnings)

    @property
    def sentence(self) -> str:
        """All of it in a sentence, with what the first failure says."""
        plan, would_be = self.plan, "would be " if self.is_dry else ""
        counts = [
            (plan.count(Action.KEEP), "there already"),
            (plan.count(Action.MOVE), f"{would_be}moved to another split"),
            (plan.count(Action.TAKE_OUT), f"{would_be}taken out"),
            (plan.count(Action.LEAVE_OUT), f"{would_be}left out"),
        ]
        text = f"{plan.count(Action.ADD, Action.RESTORE)} negatives {would_be}written"
        text += "".join(f", {count} {words}" for count, words in counts if count)
        if looks := len(self.notes) + plan.count(Action.REPORT):
            text += f"; {looks} need a look"
        if self.failures:
            text += f"; {len(self.failures)} tasks failed, the first: {self.failures[0].text}"
        return text

    @property
    def report(self) -> dict[str, Any]:
        """All of it, for scripts."""
        return {
            "into": str(self.into),
            "format": self.format.name,
            "root": str(self.dataset.root),
            "understood": list(self.dataset.said),
            "dry_run": self.is_dry,
            "tasks_looked_at": self.tasks,
            "counts": {action.value: self.plan.count(action) for action in Action},
            "files": [
                {
                    "action": item.action.value,
                    "file": item.file,
                    "split": item.split,
                    "task": item.task,
                    "reason": item.reason,
                    "collision": item.collision,
                    "warning": item.warning,
                }
                for item in self.plan.items
            ],
            "splits": [_share(one) for one in self.plan.shares],
            "warnings": list(self.warnings),
            "unlabelled_sources": self.unlabelled,
            "notes": [{"task": note.task_id, "text": note.text} for note in self.notes],
            "failures": [{"task": note.task_id, "text": note.text} for note in self.failures],
            "guidance": list(self.format.guidance),
        }


def _share(one: SplitShare) -> dict[str, Any]:
    def told(share: DatasetShare) -> dict[str, Any]:
        return {"images": share.images, "negatives": share.negatives, "share": round(share.share, 4)}

    return {"split": one.split, "before": told(one.before), "after": told(one.after)}


def export(
    project_id: int,
    request: Request,
    kind: Format,
    *,
    studio: Studio,
    studio_url: str,
    cutter: Cutter,
    agreement: Agreement,
    margin: int,
    options: Options,
    is_dry: bool = False,
    wait: bool = False,
    full: bool = False,
    disk: Disk | None = None,
) -> Exported:
    """Make a dataset hold what is approved in a project now: add what is new, take out what no longer is.

    Reads the tasks that changed since the last export (all of them if `full`), and costs what changed. A source image
    that can't be had is left out and told of; the others go on. `is_dry` writes nothing. Raises `ExportError` when the
    dataset can't be understood or written, `SetupError` for a project that isn't connected.
    """
    labeling = connected(project_id, studio)
    with opened(request, kind, disk or Disk(), is_dry=is_dry, wait=wait) as place:
        memory = place.store.memory()
        name = f"{studio_url} {project_id}"
        rests_on = sha256(repr((agreement, margin, labeling, __version__)).encode()).hexdigest()
        look = memory.looks.get(name)
        if full or options.prune or memory.is_writing or look is None or look.settings != rests_on:
            look = None
        own = [row for row in place.settled.rows if (row.studio, row.project) == (studio_url, project_id)]
        changes = studio.changed_since(project_id, look.until - LOOK_BACK if look else None, even_empty=True)
        lost = {row.task for row in own if not place.settled.has(row)}
        ids = _to_look_at(changes, look, lost, place.dataset, options)
        decided = [(task, decide(task, agreement, margin)) for task in _tasks(studio, project_id, labeling, ids)]
        asked_for = {row.task for row in own} if ids is None else lost
        gone = asked_for - {task.id for task, _ in decided}
        difference = compare(decided, place.settled, studio=studio_url, gone=gone, prune=options.prune)
        elsewhere = _known_elsewhere(place.settled.rows, project_id, studio_url) if not own else ()
        plan, failures, memory = bring_in(
            difference, place, memory, kind=kind, options=options, cutter=cutter, is_dry=is_dry, check_all=full
        )
        if not is_dry:
            again = {note.task_id for note in (*difference.notes, *failures)} | plan.again
            seen = _seen(changes, look, {task.id for task, _ in decided}, frozenset(again - gone), plan.left, rests_on)
            place.store.remember(replace(memory, looks={**memory.looks, name: seen}))
    return Exported(
        into=request.into,
        format=kind,
        dataset=place.dataset,
        plan=plan,
        tasks=len(decided),
        unlabelled=len({wanted.task.id for wanted in difference.new if not wanted.task.exclusions}),
        notes=(*difference.notes, *elsewhere),
        failures=failures,
        is_dry=is_dry,
    )


def _known_elsewhere(rows: Iterable[Row], project_id: int, studio_url: str) -> tuple[Note, ...]:
    """That negatives of this project are there under another address of Label Studio: then none of ours is known."""
    counts = Counter(row.studio for row in rows if row.project == project_id and row.studio.startswith("http"))
    return tuple(
        Note(
            row_of.task,
            f"{count} negatives of project {project_id} are there from {address}. If that is this Label Studio, set "
            f"NEGATIVES_LABEL_STUDIO_PUBLIC_URL to it: they are another's for {studio_url}",
        )
        for address, count in sorted(counts.items())
        for row_of in [next(row for row in rows if row.studio == address)]
    )


def undo(
    request: Request, kind: Format, *, is_dry: bool = False, wait: bool = False, disk: Disk | None = None
) -> Exported:
    """Take everything out of a dataset that exports ever brought in, and nothing else.

    What somebody changed since stays, and is told of. Raises `ExportError` when the dataset can't be understood or
    written.
    """
    with opened(request, kind, disk or Disk(), is_dry=is_dry, wait=wait) as place:
        store, dataset = place.store, place.dataset
        plan = plan_undo(place.settled, dataset, store.files(dataset))
        if not is_dry:
            memory = store.write(
                plan,
                replace(dataset, makes={}),
                place.manifest,
                store.memory(),
                lambda _done, _total: None,
                check_all=True,
            )
            if plan.rows:
                store.remember(replace(memory, looks={}))
            else:
                left = kind.open(replace(request, new=True))  # there may be nothing of it any more
                store.forget(memory, is_used=any(split.held for split in left.splits))
    return Exported(request.into, kind, dataset, plan, tasks=0, is_dry=is_dry)


@dataclass(frozen=True, slots=True)
class Place:
    """A dataset to export into, its files, and the rows of its manifest: as they stand, and where they are found."""

    dataset: Dataset
    store: Store
    manifest: tuple[Row, ...]
    settled: Settled


@contextmanager
def opened(request: Request, kind: Format, disk: Disk, *, is_dry: bool = False, wait: bool = False) -> Iterator[Place]:
    """The dataset, and the sole right to write into it; a dry run needs none.

    Raises `ExportError` when it can't be understood, when another export is running, unless told to wait, and when the
    manifest is another dataset's.
    """
    dataset = kind.open(request)
    store = Store(Path(dataset.root), disk)
    before = store.manifest()
    with ExitStack() as held:
        if not is_dry:
            held.enter_context(store.sole_exporter(wait=wait))
        manifest = store.manifest()
        if manifest != before:  # another export has ended between the look and the lock
            dataset = kind.open(request)
        own = words_of(kind, dataset)
        if others := sorted({row.dataset for row in manifest} - {own, ""}):
            raise ExportError(
                f"{store.path(MANIFEST)} tells of negatives in another dataset with the same root ({others[0]}; this "
                f"is {own}): go on exporting there, or undo that first"
            )
        yield Place(dataset, store, manifest, settle(manifest, dataset, is_there=store.is_there, digest=store.digest))


def words_of(kind: Format, dataset: Dataset) -> str:
    """What rows say of their dataset."""
    return f"{kind.name} {dataset.id}".strip()


def _to_look_at(
    changes: Iterable[Changed], look: Look | None, lost: Collection[int], dataset: Dataset, options: Options
) -> list[int] | None:
    """The tasks that must be read: None for all. Patches that were left out are looked at again when that for which
    they were has gone.
    """
    if look is None:
        return None
    changed = {change.task_id for change in changes if look.recent.get(change.task_id) != change.updated_at}
    held = {image.file for split in dataset.splits for image in split.held}
    full_ones = {
        one.name
        for one in dataset.splits
        if room_in(DatasetShare(len(one.held), sum(image.is_negative for image in one.held)), options.band[1]) <= 0
    }
    left = {
        task
        for task, obstacles in look.left.items()
        for split, file in obstacles
        if (file not in held if file else not options.limit_to_band or split not in full_ones)
    }
    return sorted(changed | look.again | left | set(lost))


def _tasks(studio: Studio, project_id: int, labeling: Labeling, ids: Sequence[int] | None) -> Iterable[Task]:
    return studio.tasks(project_id, labeling, ids) if ids is None or ids else ()


def _seen(
    changes: Sequence[Changed],
    look: Look | None,
    read: Collection[int],
    again: frozenset[int],
    left: Mapping[int, tuple[Obstacle, ...]],
    settings: str,
) -> Look:
    """Up to when changes are known now, once these tasks were `read`."""
    moments = {**(look.recent if look else {}), **{change.task_id: change.updated_at for change in changes}}
    until = max(
        [*moments.values(), *([look.until] if look else [])], default=datetime.min.replace(tzinfo=UTC) + LOOK_BACK
    )
    recent = {task: moment for task, moment in moments.items() if moment > until - LOOK_BACK}
    still_left = {task: files for task, files in (look.left if look else {}).items() if task not in read}
    return Look(until, recent, again, {**still_left, **left}, settings)


def bring_in(
    difference: Difference,
    place: Place,
    memory: Memory,
    *,
    kind: Format,
    options: Options,
    cutter: Cutter,
    is_dry: bool = False,
    check_all: bool = False,
) -> tuple[Plan, tuple[Note, ...], Memory]:
    """Cut what is new, plan, and, unless `is_dry`, write. Returns the plan, what could not be had, and what to
    remember. Raises `ExportError` when the disk refuses.
    """
    dataset, store = place.dataset, place.store
    with _staging(store, difference, is_dry=is_dry) as staging:
        cuttings, failures = _cut(difference, dataset, store, staging, kind, cutter)
        plan = plan_export(
            difference,
            cuttings,
            dataset,
            place.manifest,
            kind=words_of(kind, dataset),
            options=options,
            at=cutter.now(),
            files=store.files(dataset),
        )
        if not is_dry:
            written = partial(cutter.progress, "writing negatives")
            memory = store.write(plan, dataset, place.manifest, memory, written, check_all=check_all)
    return plan, failures, memory


@contextmanager
def _staging(store: Store, difference: Difference, *, is_dry: bool) -> Iterator[Path]:
    """Where pictures lie until the plan is made; outside of the dataset for a dry run."""
    if is_dry or not difference.new:
        with TemporaryDirectory(prefix="negatives-") as folder:
            yield Path(folder)
    else:
        with store.staging() as folder:
            yield folder


def _cut(
    difference: Difference, dataset: Dataset, store: Store, staging: Path, kind: Format, cutter: Cutter
) -> tuple[list[Cutting], tuple[Note, ...]]:
    """Cut what is new, several source images at a time, each opened once; and what could not be had."""
    by_task: dict[int, list[Wanted]] = {}
    for wanted in difference.new:
        by_task.setdefault(wanted.task.id, []).append(wanted)
    held: dict[str, list[Path]] = {}
    ours = {row.file for row in difference.stay}
    for split in dataset.splits:
        for image in split.held:
            if image.file not in ours:
                held.setdefault(PurePosixPath(image.file).name.casefold(), []).append(store.path(image.file))

    def cut_task(wanted: Sequence[Wanted]) -> list[Cutting] | Note:
        task = wanted[0].task
        folder = staging / str(task.id)
        try:
            folder.mkdir()
            with cutter.sources.take(task, held.get(cutter.sources.name(task).casefold(), ())) as file:
                boxes = [scaled_inward(one.box, file.seen, file.size) for one in wanted]
                crops = cut(
                    file.path,
                    boxes,
                    folder,
                    what=f"the image of task {task.id}",
                    max_pixels=cutter.max_pixels,
                    suffixes=kind.suffixes,
                )
                return [
                    Cutting(
                        one,
                        file.source,
                        crop.cut,
                        crop.size,
                        crop.mode,
                        crop.pixels,
                        crop.suffix,
                        crop.sha256,
                        crop.bytes,
                        crop.path,
                    )
                    for one, crop in zip(wanted, crops, strict=True)
                ]
        except (ImageError, LabelStudioError) as error:
            return Note(task.id, str(error))
        except OSError as error:
            raise ExportError(f"{error.filename or folder} can't be written ({error.strerror})") from error

    cuttings: list[Cutting] = []
    failures: list[Note] = []
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for done, result in enumerate(pool.map(cut_task, by_task.values()), 1):
            if isinstance(result, Note):
                failures.append(result)
            else:
                cuttings += result
            cutter.progress("cutting patches", done, len(by_task))
    return cuttings, tuple(failures)
