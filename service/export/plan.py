"""Deciding what becomes of each negative. Pure: what is there comes in as values, what to do goes out as values.

Two steps, because what an image holds is known only once it was cut. `compare` sets what people approved against the
manifest; `plan_export` gives what is new its split and its name, and leaves out what is there already.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from pathlib import PurePath, PurePosixPath

from service import __version__
from service.domain.geometry import Box
from service.domain.model import SMALLEST_SIDE, Decision, Shortfall, State, Task
from service.errors import ExportError
from service.export.model import Dataset, Held, Key, Row, Source
from service.export.share import BAND, DatasetShare

LONGEST_STEM = 150
"""Bytes; with what is added to it a name stays below the 255 of common file systems."""


@dataclass(frozen=True, slots=True)
class Options:
    """What an export may be told: the band of the share of negatives, whether to stay below its upper end, how source
    images that the dataset doesn't hold are spread over the splits, and whether negatives of tasks that Label Studio no
    longer has are taken out.
    """

    band: tuple[float, float] = BAND
    limit_to_band: bool = False
    shares: Mapping[str, float] = field(default_factory=lambda: {"train": 1.0})
    prune: bool = False


@dataclass(frozen=True, slots=True)
class Note:
    """Something that a person should know of one task; with the figures, where patches fall short."""

    task_id: int
    text: str
    shortfall: Shortfall | None = None


@dataclass(frozen=True, slots=True)
class Wanted:
    """An approved patch, as it should be in the dataset."""

    task: Task
    decision: Decision
    studio: str

    @property
    def box(self) -> Box:
        """What people approved."""
        return self.decision.patch.box

    @property
    def key(self) -> Key:
        """As a row's."""
        task = self.task
        return self.studio, task.project_id, task.id, self.decision.patch.id, self.box, task.source_reference


@dataclass(frozen=True, slots=True)
class Difference:
    """What people approved against the manifest: rows that stay, rows to take out with the reason, patches that are
    not there, and what people should know.
    """

    stay: tuple[Row, ...]
    out: tuple[tuple[Row, str], ...]
    new: tuple[Wanted, ...]
    notes: tuple[Note, ...]


def compare(
    decided: Iterable[tuple[Task, tuple[Decision, ...]]],
    rows: Sequence[Row],
    *,
    studio: str,
    present: Callable[[Row], bool],
    gone: Collection[int] = (),
    prune: bool = False,
) -> Difference:
    """Set the decisions of some tasks of one project against the rows of the manifest.

    `present` tells whether a row's image is there; `gone` are tasks that have rows, but that Label Studio no longer
    has. Rows of tasks that weren't looked at stay as they are.
    """
    by_task: dict[tuple[str, int, int], list[Row]] = {}
    for row in rows:
        by_task.setdefault((row.studio, row.project, row.task), []).append(row)
    stay: list[Row] = []
    out: list[tuple[Row, str]] = []
    new: list[Wanted] = []
    notes: list[Note] = []
    for task, decisions in decided:
        notes += _notes(task, decisions)
        accepted = {
            (one := Wanted(task, decision, studio)).key: one
            for decision in decisions
            if decision.state is State.ACCEPTED
            and min(decision.patch.box.width, decision.patch.box.height) >= SMALLEST_SIDE
        }
        for row in by_task.pop((studio, task.project_id, task.id), ()):
            wanted = accepted.get(row.key)
            if wanted is None:
                out.append((row, _reason(row, decisions)))
            elif present(row):
                del accepted[row.key]
                stay.append(_told_anew(row, wanted.decision))
        new += accepted.values()
    for row in (row for left in by_task.values() for row in left):
        if prune and row.studio == studio and row.task in gone:
            out.append((row, "its task is no longer in Label Studio"))
        else:
            stay.append(row)
    for task_id in sorted(gone):
        count = sum(row.task == task_id and row.studio == studio for row in stay)
        if count:
            text = f"it is no longer in Label Studio; its {count} negatives stay (--prune takes them out)"
            notes.append(Note(task_id, text))
    return Difference(tuple(stay), tuple(out), tuple(new), tuple(notes))


def _notes(task: Task, decisions: Iterable[Decision]) -> list[Note]:
    notes = []
    for decision in decisions:
        box = decision.patch.box
        if decision.state is State.STALE:
            notes.append(Note(task.id, f"accepted, but not exported: {decision.note} (patch {box.words})"))
        elif decision.state is State.ACCEPTED and min(box.width, box.height) < SMALLEST_SIDE:
            text = f"accepted, but smaller than {SMALLEST_SIDE} px, which trainers drop (patch {box.words})"
            notes.append(Note(task.id, text))
    return notes


def _reason(row: Row, decisions: Iterable[Decision]) -> str:
    state = next((decision.state for decision in decisions if decision.patch.id == row.patch), State.PENDING)
    return {
        State.ACCEPTED: "the patch was moved, or its image replaced",
        State.STALE: "it is no longer proved free of objects",
        State.REJECTED: "it was rejected",
    }.get(state, "it is no longer accepted")


def _told_anew(row: Row, decision: Decision) -> Row:
    """The row with what people say now: another may have approved since."""
    return replace(row, reviewers=decision.reviewers, annotations=decision.annotations, accepted_at=decision.at)


@dataclass(frozen=True, slots=True)
class Cutting:
    """A patch that was cut, or (`staged` None: a dry run that keeps nothing) would be: its source and its picture."""

    wanted: Wanted
    source: Source
    cut: Box
    size: tuple[int, int]
    mode: str
    pixels: str
    suffix: str
    sha256: str
    bytes: int
    staged: PurePath | None = None


class Action(StrEnum):
    """What becomes of a negative."""

    ADD = "add"
    RESTORE = "restore"
    MOVE = "move"
    KEEP = "keep"
    TAKE_OUT = "take out"
    LEAVE_OUT = "leave out"
    REPORT = "report"


@dataclass(frozen=True, slots=True)
class Item:
    """One negative in the plan: its file and split, why, what its name collided with, and what to look at."""

    action: Action
    file: str
    split: str
    task: int
    reason: str = ""
    collision: str = ""
    warning: str = ""


class Condition(StrEnum):
    """How a row's files are found."""

    AS_WRITTEN = "as written"
    MISSING = "missing"
    """Its image isn't there; what tells of it is as we wrote it, or isn't there either."""
    CHANGED = "changed"
    """Its image, or what tells of it, is somebody else's by now."""


@dataclass(frozen=True, slots=True)
class Placement:
    """A row to be written: from a staged file or, where it changes its split, from the row that it was."""

    row: Row
    staged: PurePath | None = None
    moved_from: Row | None = None


@dataclass(frozen=True, slots=True)
class SplitShare:
    """A split's share of negatives before and after."""

    split: str
    before: DatasetShare
    after: DatasetShare


@dataclass(frozen=True, slots=True)
class Plan:
    """All that an export will do, and what it won't and why.

    `rows` are those that the manifest will hold at the end, sorted by file; `write` those of them that must be written,
    `remove` those that are taken out. `again` are tasks that must be looked at again next time.
    """

    rows: tuple[Row, ...]
    write: tuple[Placement, ...]
    remove: tuple[Row, ...]
    items: tuple[Item, ...]
    shares: tuple[SplitShare, ...]
    warnings: tuple[str, ...] = ()
    again: frozenset[int] = frozenset()

    def count(self, *actions: Action) -> int:
        """How many negatives have one of these actions."""
        return sum(item.action in actions for item in self.items)


def plan_export(
    difference: Difference,
    cuttings: Sequence[Cutting],
    dataset: Dataset,
    manifest: Sequence[Row],
    *,
    options: Options,
    at: datetime,
    digest: Callable[[str], str],
    condition: Callable[[Row], Condition],
) -> Plan:
    """Plan an export: a split and a name for each new negative, and what must be taken out.

    `digest` gives the SHA-256 of a file of the dataset, `condition` how a row's files are found; both are asked only
    where something depends on it. The result depends on what people approved and on what others put into the dataset,
    not on the exports in between. Raises `ExportError` for shares of splits that there aren't.
    """
    for name in options.shares:
        if dataset.split(name) is None:
            there = ", ".join(split.name for split in dataset.splits)
            raise ExportError(f"shares: there is no split {name!r} in {dataset.root} ({there})")
    ours = {row.file for row in manifest}
    places = _Places(dataset, ours, difference.stay, options.shares)
    draft = _Draft(dataset, ours, condition)
    for row in difference.stay:
        draft.keep(row, places)
    for row, reason in difference.out:
        draft.take_out(row, reason)
    draft.add(cuttings, {row.key: row for row in manifest}, places, digest, options, at)
    return draft.plan(options)


class _Places:
    """Which split a source image belongs to."""

    def __init__(
        self, dataset: Dataset, ours: Collection[str], rows: Iterable[Row], shares: Mapping[str, float]
    ) -> None:
        self._names = {split.name for split in dataset.splits}
        self._held: dict[str, list[tuple[str, Held]]] = {}
        for split in dataset.splits:
            for held in split.held:
                if held.file not in ours:
                    self._held.setdefault(original_stem(held.file), []).append((split.name, held))
        self._of_rows: dict[str, str] = {}
        for row in sorted(rows, key=lambda row: row.file):
            self._of_rows.setdefault(row.source.sha256, row.split)
        self._shares = shares

    def holding(self, source: Source) -> tuple[str | None, str]:
        """The split that holds the image, and a warning where that isn't clear."""
        found = self._held.get(original_stem(source.name), [])
        splits = list(dict.fromkeys(split for split, _ in found))
        if len(splits) < 2:
            return (splits[0] if splits else None), ""
        same = list(dict.fromkeys(split for split, held in found if held.bytes == source.bytes))
        if len(same) == 1:
            return same[0], ""
        return splits[0], f"{source.name} is in several splits: {', '.join(splits)}"

    def split_for(self, source: Source, announced: Row | None) -> tuple[str, str, str]:
        """(split, reason, warning) for patches of this image; one that was `announced` keeps its own if it can."""
        split, warning = self.holding(source)
        if split is not None:
            return split, f"{source.name} is in {split}", warning
        if announced is not None and announced.split in self._names:
            return announced.split, "", ""
        if source.sha256 in self._of_rows:
            return self._of_rows[source.sha256], "with the image's other negatives", ""
        return _by_share(source.sha256, self._shares), "by share" if len(self._shares) > 1 else "", ""


def original_stem(file: str) -> str:
    """A file's stem, case-folded; without what Roboflow adds to it, as in `field_jpg.rf.0a1b…`."""
    stem, is_roboflow, _ = PurePosixPath(file).stem.partition(".rf.")
    if is_roboflow:
        name, underscore, suffix = stem.rpartition("_")
        stem = name if underscore and suffix.lower() in ("jpg", "jpeg", "png", "bmp", "webp", "tif", "tiff") else stem
    return stem.casefold()


def _by_share(digest: str, shares: Mapping[str, float]) -> str:
    """Always the same split for the same image: its digest, as a number from 0 to 1, against the shares' sums."""
    at = int(sha256(f"split:{digest}".encode()).hexdigest()[:12], 16) / 16**12 * sum(shares.values())
    for name, share in shares.items():
        at -= share
        if at < 0:
            return name
    return list(shares)[-1]


class _Draft:
    """A plan in the making."""

    def __init__(self, dataset: Dataset, ours: Collection[str], condition: Callable[[Row], Condition]) -> None:
        self._dataset = dataset
        self._ours = ours
        self._condition = condition
        self._held = {held.file: held for split in dataset.splits for held in split.held}
        self._rows: list[Row] = []
        self._write: list[Placement] = []
        self._remove: list[Row] = []
        self._items: list[Item] = []
        self._again: set[int] = set()
        self._added: Counter[str] = Counter()
        self._removed: Counter[str] = Counter()

    def _tell(self, action: Action, row: Row, reason: str = "", collision: str = "", warning: str = "") -> None:
        self._items.append(Item(action, row.file, row.split, row.task, reason, collision, warning))

    def keep(self, row: Row, places: _Places) -> None:
        """A row that stays; in another split, where its source image is by now."""
        held = self._held.get(row.file)
        if held is not None and not held.is_negative:
            self._rows.append(row)
            self._tell(Action.REPORT, row, "somebody labelled objects in it: it stays as it is, and is theirs now")
            return
        split, warning = places.holding(row.source)
        target = self._dataset.split(split) if split not in (None, row.split) and not warning else None
        if target is None or self._condition(row) is not Condition.AS_WRITTEN:
            self._rows.append(row)
            self._tell(Action.KEEP, row)
            return
        moved = replace(row, split=target.name, file=_joined(target.images, row.name))
        self._rows.append(moved)
        self._write.append(Placement(moved, moved_from=row))
        self._remove.append(row)
        self._added[moved.split] += 1
        self._removed[row.split] += 1
        self._tell(Action.MOVE, moved, f"from {row.split}: {row.source.name} is in {target.name}")

    def take_out(self, row: Row, reason: str) -> None:
        """A row that nobody wants any more: its files go if they are as we wrote them."""
        condition = self._condition(row)
        held = self._held.get(row.file)
        if condition is Condition.CHANGED or (held is not None and not held.is_negative):
            self._rows.append(row)
            self._again.add(row.task)
            text = f"{reason}, but its image or label was changed since: look at it, and remove both by hand"
            self._tell(Action.REPORT, row, text)
            return
        self._remove.append(row)
        if condition is Condition.AS_WRITTEN:
            self._removed[row.split] += 1
            self._tell(Action.TAKE_OUT, row, reason)

    def add(
        self,
        cuttings: Sequence[Cutting],
        known: Mapping[Key, Row],
        places: _Places,
        digest: Callable[[str], str],
        options: Options,
        at: datetime,
    ) -> None:
        """Rows for what was cut: those that an earlier run announced keep their names."""
        taken = _Taken(self._dataset, self._ours, self._rows, digest)
        room = {split.name: self._room(split.name, options) for split in self._dataset.splits}
        in_order = best_first(cuttings) if options.limit_to_band else sorted(cuttings, key=lambda one: one.wanted.key)
        for cutting in sorted(in_order, key=lambda one: one.wanted.key not in known):
            before = known.get(cutting.wanted.key)
            split, reason, warning = places.split_for(cutting.source, before)
            target = self._dataset.split(split)
            assert target is not None
            collision = ""
            if before is not None:
                name = before.stem
                if self._condition(before) is Condition.CHANGED:
                    self._rows.append(before)
                    self._again.add(before.task)
                    text = "its image is missing, and its label is somebody else's by now: look at it"
                    self._tell(Action.REPORT, before, text)
                    continue
            else:
                name, collision = taken.name_for(cutting)
            row = _row(cutting, split, _joined(target.images, name + cutting.suffix), at)
            if same := taken.twin(cutting):
                self._again.add(row.task)
                self._tell(Action.LEAVE_OUT, row, f"the same picture is there: {same}")
                continue
            if before is None and room[split] <= 0:
                self._again.add(row.task)
                self._tell(Action.LEAVE_OUT, row, f"{split} would have more negatives than {options.band[1]:.0%}")
                continue
            room[split] -= before is None
            taken.remember(row, cutting)
            if before is not None:
                row = replace(row, exported_at=before.exported_at)
                reason = "it was missing"
                if before.file != row.file:
                    self._remove.append(before)
            self._rows.append(row)
            self._write.append(Placement(row, cutting.staged))
            self._added[split] += 1
            self._tell(Action.ADD if before is None else Action.RESTORE, row, reason, collision, warning)

    def _room(self, split: str, options: Options) -> int:
        """How many negatives the split may still get."""
        if not options.limit_to_band:
            return 1 << 62
        share = self._share(split, after=True)
        high = options.band[1]
        # n more: (negatives + n) / (images + n) <= high
        return int((high * share.images - share.negatives) / (1 - high) + 1e-9) if high < 1 else 1 << 62

    def _share(self, name: str, *, after: bool) -> DatasetShare:
        split = self._dataset.split(name)
        assert split is not None
        images, negatives = len(split.held), sum(held.is_negative for held in split.held)
        if after:
            change = self._added[name] - self._removed[name]
            images, negatives = images + change, negatives + change
        return DatasetShare(images, negatives)

    def plan(self, options: Options) -> Plan:
        """All of it."""
        names = [split.name for split in self._dataset.splits]
        shares = tuple(
            SplitShare(name, self._share(name, after=False), self._share(name, after=True)) for name in names
        )
        return Plan(
            rows=tuple(sorted(self._rows, key=lambda row: row.file)),
            write=tuple(self._write),
            remove=tuple(self._remove),
            items=tuple(sorted(self._items, key=lambda item: (item.file, item.action))),
            shares=shares,
            warnings=tuple(_alarms(shares, options)),
            again=frozenset(self._again),
        )


class _Taken:
    """What names and pictures the dataset has already."""

    def __init__(
        self, dataset: Dataset, ours: Collection[str], rows: Iterable[Row], digest: Callable[[str], str]
    ) -> None:
        self._stems = {*dataset.taken, *(row.stem.casefold() for row in rows)}
        self._digest = digest
        self._by_size: dict[int, list[str]] = {}
        for split in dataset.splits:
            for held in split.held:
                if held.file not in ours:
                    self._by_size.setdefault(held.bytes, []).append(held.file)
        self._pictures = {row.sha256: row.file for row in rows}
        self._places = {(row.source.sha256, row.cut): row.file for row in rows}

    def name_for(self, cutting: Cutting) -> tuple[str, str]:
        """A stem that nobody has, and the one that somebody did have."""
        wished = candidate = negative_stem(cutting.source.name, cutting.wanted.key)
        number = 1
        while candidate.casefold() in self._stems:
            number += 1
            candidate = f"{wished}_{number}"
        return candidate, "" if number == 1 else f"{wished} is taken"

    def twin(self, cutting: Cutting) -> str | None:
        """A file with the same picture: the same bytes, or cut from the same place of the same image."""
        if same := self._places.get((cutting.source.sha256, cutting.cut)) or self._pictures.get(cutting.sha256):
            return same
        candidates = self._by_size.get(cutting.bytes, [])
        return next((file for file in candidates if self._digest(file) == cutting.sha256), None)

    def remember(self, row: Row, cutting: Cutting) -> None:
        """A row that will be there."""
        self._stems.add(row.stem.casefold())
        self._pictures[row.sha256] = row.file
        self._places[cutting.source.sha256, row.cut] = row.file


def negative_stem(source_name: str, key: Key) -> str:
    """A negative's name without extension: the source image's, and a digest of what it is. The same negative gets the
    same name, whatever was exported before.
    """
    studio, project, task, patch, box, reference = key
    digest = sha256(f"{studio}:{project}:{task}:{patch}:{box.as_xywh()}:{reference}".encode()).hexdigest()[:8]
    return f"{_fit(PurePosixPath(source_name).stem) or f'task{task}'}_neg_{digest}"


def _fit(stem: str) -> str:
    """A stem that every file system takes: no control characters, no leading dot (readers skip those), not too long."""
    printable = "".join(char if char.isprintable() else "_" for char in stem).lstrip(".")
    return printable.encode()[:LONGEST_STEM].decode(errors="ignore").strip()


def best_first(cuttings: Iterable[Cutting]) -> list[Cutting]:
    """In the order of what helps most, always the same: a patch of every source image before the second of any, because
    varied background teaches more; of one image those first that more people approved.
    """
    rank: Counter[str] = Counter()
    ranked = []
    for one in sorted(cuttings, key=lambda one: (-len(one.wanted.decision.deciding), _chance(one))):
        ranked.append((rank[one.source.sha256], _chance(one), one))
        rank[one.source.sha256] += 1
    return [one for _, _, one in sorted(ranked, key=lambda entry: entry[:2])]


def _chance(cutting: Cutting) -> str:
    return sha256(repr(cutting.wanted.key).encode()).hexdigest()


def _row(cutting: Cutting, split: str, file: str, at: datetime) -> Row:
    task, decision, provenance = cutting.wanted.task, cutting.wanted.decision, cutting.wanted.decision.patch.provenance
    return Row(
        file=file,
        split=split,
        studio=cutting.wanted.studio,
        project=task.project_id,
        task=task.id,
        patch=decision.patch.id,
        source=cutting.source,
        box=decision.patch.box,
        cut=cutting.cut,
        roi=provenance.roi if provenance else decision.patch.box,
        size=cutting.size,
        mode=cutting.mode,
        pixels=cutting.pixels,
        sha256=cutting.sha256,
        bytes=cutting.bytes,
        reviewers=decision.reviewers,
        annotations=decision.annotations,
        accepted_at=decision.at,
        exported_at=at,
        seed=provenance.seed if provenance else None,
        rules=asdict(provenance.rules) if provenance else None,
        rules_from=dict(provenance.rules_from) if provenance else None,
        proposed_by=provenance.version if provenance else None,
        exported_by=__version__,
    )


def _joined(folder: str, name: str) -> str:
    return str(PurePosixPath(folder) / name)


def _alarms(shares: Iterable[SplitShare], options: Options) -> Iterable[str]:
    for share in shares:
        after = share.after
        if after.images and after.negatives == after.images and after.negatives > share.before.negatives:
            yield f"{share.split} has nothing but negatives: trainers refuse that, add labelled images"
        elif after.share > options.band[1] and after.negatives > share.before.negatives:
            yield f"{share.split}: {after.share:.0%} negatives, {after.advice(options.band)}"


def plan_undo(manifest: Sequence[Row], dataset: Dataset, condition: Callable[[Row], Condition]) -> Plan:
    """Plan to take out everything that we ever added, and nothing that somebody changed since."""
    draft = _Draft(dataset, {row.file for row in manifest}, condition)
    for row in manifest:
        draft.take_out(row, "undo")
    return draft.plan(Options())
