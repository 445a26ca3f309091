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
from typing import NamedTuple

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
    images that the dataset doesn't hold are spread over the splits (`is_strict`: each of these must be there), and
    whether negatives of tasks that Label Studio no longer has are taken out.
    """

    band: tuple[float, float] = BAND
    limit_to_band: bool = False
    shares: Mapping[str, float] = field(default_factory=lambda: {"train": 1.0})
    is_strict: bool = False
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
class Settled:
    """The rows of a manifest as their files are found: one for each negative. `surplus` are those that an interrupted
    move, or a merge of two branches, left of a negative beside.
    """

    rows: tuple[Row, ...]
    surplus: tuple[Row, ...]
    missing: frozenset[str]

    def has(self, row: Row) -> bool:
        """Whether the row's image is there."""
        return row.file not in self.missing


def settle(
    manifest: Iterable[Row], dataset: Dataset, *, is_there: Callable[[Row], bool], digest: Callable[[str], str]
) -> Settled:
    """Look where the negatives of the manifest are by now: one that somebody moved within the dataset, without changing
    it, is found again. `is_there` tells whether a row's image is where the row says, `digest` gives a file's SHA-256.
    """
    held = {image.file for split in dataset.splits for image in split.held}
    rows = list(manifest)
    missing = {row.file for row in rows if row.file not in held and not is_there(row)}
    if missing:
        elsewhere: dict[tuple[str, int], list[tuple[str, str]]] = {}
        for split in dataset.splits:
            for image in split.held:
                name = PurePosixPath(image.file).name
                elsewhere.setdefault((name, image.bytes), []).append((image.file, split.name))
        taken = {row.file for row in rows}
        for number, row in enumerate(rows):
            candidates = elsewhere.get((row.name, row.bytes), ()) if row.file in missing else ()
            for file, name in candidates:
                if file not in taken and digest(file) == row.sha256:
                    rows[number] = replace(row, file=file, split=name)
                    break
    by_key: dict[Key, list[Row]] = {}
    for row in rows:
        by_key.setdefault(row.key, []).append(row)
    chosen: list[Row] = []
    surplus: list[Row] = []
    for same in by_key.values():
        first, *others = sorted(same, key=lambda row: (row.file in missing, row.file not in held, row.file))
        chosen.append(first)
        surplus += others
    return Settled(tuple(chosen), tuple(surplus), frozenset(missing & {row.file for row in rows}))


@dataclass(frozen=True, slots=True)
class Difference:
    """What people approved against the manifest: rows that stay, rows that should and whose images are missing, rows to
    take out with the reason, patches that must be cut, and what people should know.
    """

    stay: tuple[Row, ...] = ()
    lost: tuple[Row, ...] = ()
    out: tuple[tuple[Row, str], ...] = ()
    new: tuple[Wanted, ...] = ()
    notes: tuple[Note, ...] = ()


def compare(
    decided: Iterable[tuple[Task, tuple[Decision, ...]]],
    settled: Settled,
    *,
    studio: str,
    gone: Collection[int] = (),
    prune: bool = False,
) -> Difference:
    """Set the decisions of some tasks of one project against the rows.

    `gone` are tasks that have rows, but that Label Studio no longer has: their negatives stay unless `prune`. Rows of
    tasks that weren't looked at stay as they are.
    """
    by_task: dict[tuple[str, int, int], list[Row]] = {}
    for row in settled.rows:
        by_task.setdefault((row.studio, row.project, row.task), []).append(row)
    stay: list[Row] = []
    lost: list[Row] = []
    out = [(row, "it is there twice") for row in settled.surplus]
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
            elif settled.has(row):
                del accepted[row.key]
                stay.append(_told_anew(row, wanted.decision))
            else:
                lost.append(row)
        new += accepted.values()
    left = Counter[int]()
    for row in (row for rows in by_task.values() for row in rows):
        is_gone = row.studio == studio and row.task in gone
        if is_gone and (prune or not settled.has(row)):
            out.append((row, "its task is no longer in Label Studio"))
            continue
        left[row.task] += is_gone
        (stay if settled.has(row) else lost).append(row)
    for task_id, count in sorted(left.items()):
        if count:
            text = f"it is no longer in Label Studio; its {count} negatives stay (--prune takes them out)"
            notes.append(Note(task_id, text))
    return Difference(tuple(stay), tuple(lost), tuple(out), tuple(new), tuple(notes))


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


class Obstacle(NamedTuple):
    """Why a patch was left out: a file with the same picture, or (empty) that the split has no room."""

    split: str
    file: str


@dataclass(frozen=True, slots=True)
class Plan:
    """All that an export will do, and what it won't and why.

    `rows` are those that the manifest will hold at the end, sorted by file; of these `write` must be written, and the
    images of `absent` files are missing and stay so. `remove` are taken out. `changed` are rows, as they were and as
    they will be, for which lists must be looked at; `theirs` are files that were ours, and are somebody else's now.
    `again` are tasks that must be looked at next time; those that had patches `left` out, when an obstacle has gone.
    """

    rows: tuple[Row, ...]
    write: tuple[Placement, ...] = ()
    remove: tuple[Row, ...] = ()
    changed: tuple[Row, ...] = ()
    absent: frozenset[str] = frozenset()
    theirs: frozenset[str] = frozenset()
    items: tuple[Item, ...] = ()
    shares: tuple[SplitShare, ...] = ()
    warnings: tuple[str, ...] = ()
    again: frozenset[int] = frozenset()
    left: Mapping[int, tuple[Obstacle, ...]] = field(default_factory=dict)

    def count(self, *actions: Action) -> int:
        """How many negatives have one of these actions."""
        return sum(item.action in actions for item in self.items)


@dataclass(frozen=True, slots=True)
class Files:
    """How files are found: the SHA-256 of one, what became of a row's, and whether what tells of a row is missing. Each
    is asked only where something depends on it.
    """

    digest: Callable[[str], str]
    condition: Callable[[Row], Condition]
    is_bare: Callable[[Row], bool]


def plan_export(
    difference: Difference,
    cuttings: Sequence[Cutting],
    dataset: Dataset,
    manifest: Sequence[Row],
    *,
    kind: str,
    options: Options,
    at: datetime,
    files: Files,
) -> Plan:
    """Plan an export: a split and a name for each new negative, and what must be moved or taken out.

    `kind` is what the rows say of the dataset. The result depends on what people approved and on what others put into
    the dataset, not on the exports in between; but of two patches with the same picture the one that came first stays.
    Raises `ExportError` for shares of splits that there aren't.
    """
    shares = _shares(options, dataset)
    ours = {row.file for row in (*manifest, *difference.stay)}
    places = _Places(dataset, ours, difference.stay, shares)
    draft = _Draft(dataset, ours, files)
    for row in difference.stay:
        draft.keep(row, places)
    for row, reason in difference.out:
        draft.take_out(row, reason)
    draft.add(cuttings, difference.lost, places, options, at, kind)
    return draft.plan(options)


def _shares(options: Options, dataset: Dataset) -> Mapping[str, float]:
    there = [split.name for split in dataset.splits]
    strangers = [name for name in options.shares if name not in there]
    if strangers and options.is_strict:
        raise ExportError(f"shares: there is no split {strangers[0]!r} in {dataset.root} ({', '.join(there)})")
    return {name: share for name, share in options.shares.items() if name in there} or {there[0]: 1.0}


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


class _Draft:
    """A plan in the making."""

    def __init__(self, dataset: Dataset, ours: Collection[str], files: Files) -> None:
        self._dataset = dataset
        self._ours = ours
        self._files = files
        self._held: dict[str, dict[str, Held]] = {}
        self._others: dict[str, set[str]] = {}
        for split in dataset.splits:
            for held in split.held:
                self._held.setdefault(held.file, {})[split.name] = held
                if held.file not in ours:
                    self._others.setdefault(PurePosixPath(held.file).stem.casefold(), set()).add(held.file)
        self._rows: list[Row] = []
        self._write: list[Placement] = []
        self._remove: list[Row] = []
        self._changed: list[Row] = []
        self._absent: set[str] = set()
        self._theirs: set[str] = set()
        self._items: list[Item] = []
        self._again: set[int] = set()
        self._left: dict[int, tuple[Obstacle, ...]] = {}
        self._added: Counter[str] = Counter()
        self._removed: Counter[str] = Counter()

    def _tell(self, action: Action, row: Row, reason: str = "", collision: str = "", warning: str = "") -> None:
        self._items.append(Item(action, row.file, row.split, row.task, reason, collision, warning))

    def keep(self, row: Row, places: _Places) -> None:
        """A row whose image is there and stays: in the split where its source image is by now, and told of."""
        held = self._held.get(row.file, {})
        if self._is_labelled(row.file):
            self._hand_over(row)
            return
        wanted, warning = places.holding(row.source)
        if wanted is None or warning:
            wanted = row.split if row.split in held or not held else next(iter(held))
        target = self._dataset.split(wanted)
        if target is None:
            self._stay(row, Action.REPORT, f"there is no split {wanted} any more: move it by hand")
            return
        if target.name in held and row.split == target.name:
            self._keep_in_place(row)
            return
        moved = replace(row, split=target.name)
        if target.name in held or PurePosixPath(row.file).parent == PurePosixPath(target.images):
            self._changed += [row, moved, *(replace(row, split=name) for name in held)]
            self._stay(moved, *self._words_of_move(row, moved, places))
            return
        moved = replace(moved, file=_joined(target.images, row.name))
        if self._files.condition(row) is not Condition.AS_WRITTEN or self._is_blocked(moved):
            self._again.add(row.task)
            text = f"it belongs in {target.name}, but it was changed, or something is in its way: move it by hand"
            self._stay(row, Action.REPORT, text)
            return
        self._write.append(Placement(moved, moved_from=row))
        self._remove.append(row)
        self._changed += [row, moved]
        self._stay(moved, *self._words_of_move(row, moved, places))

    def _keep_in_place(self, row: Row) -> None:
        if self._files.is_bare(row):
            self._write.append(Placement(row))
            self._stay(row, Action.RESTORE, "its label was missing")
        else:
            self._stay(row, Action.KEEP)

    def _words_of_move(self, row: Row, moved: Row, places: _Places) -> tuple[Action, str]:
        if row.split == moved.split:
            return Action.RESTORE, "it was in no split any more"
        self._added[moved.split] += 1
        self._removed[row.split] += 1
        because = f": {row.source.name} is in {moved.split}" if places.holding(row.source)[0] == moved.split else ""
        return Action.MOVE, f"from {row.split}{because}"

    def _stay(self, row: Row, action: Action, reason: str = "") -> None:
        self._rows.append(row)
        self._tell(action, row, reason)

    def _is_labelled(self, file: str) -> bool:
        return any(not held.is_negative for held in self._held.get(file, {}).values())

    def _hand_over(self, row: Row) -> None:
        self._theirs.add(row.file)
        self._tell(Action.REPORT, row, "somebody labelled objects in it: from now on it is theirs, and stays")

    def _is_blocked(self, row: Row) -> bool:
        """Whether something of others is where a row's files should go."""
        return bool(self._others.get(row.stem.casefold())) or self._files.condition(row) is Condition.CHANGED

    def take_out(self, row: Row, reason: str) -> None:
        """A row that nobody wants any more: its files go if they are as we wrote them."""
        if self._is_labelled(row.file):
            self._hand_over(row)
            return
        condition = self._files.condition(row)
        if condition is Condition.CHANGED:
            self._again.add(row.task)
            text = f"{reason}, but its image or label was changed since: look at it, and remove both by hand"
            self._stay(row, Action.REPORT, text)
            return
        self._remove.append(row)
        self._changed.append(row)
        if condition is Condition.AS_WRITTEN:
            self._removed[row.split] += 1
            self._tell(Action.TAKE_OUT, row, reason)

    def add(
        self,
        cuttings: Sequence[Cutting],
        lost: Sequence[Row],
        places: _Places,
        options: Options,
        at: datetime,
        kind: str,
    ) -> None:
        """Rows for what was cut: those whose image is missing come back under their names, the others are new."""
        taken = _Taken(self._dataset, self._ours, self._rows, self._files.digest)
        waiting = {row.key: row for row in lost}
        for cutting in cuttings:
            if (before := waiting.get(cutting.wanted.key)) is not None:
                del waiting[before.key]
                self._restore(cutting, before, taken, places, at, kind)
        for row in waiting.values():
            self._miss(row, "its image is missing, and could not be cut anew: see that its project is exported")
        there = Counter(row.source.sha256 for row in self._rows)
        known = {row.key for row in lost}
        new = [one for one in cuttings if one.wanted.key not in known]
        room = {split.name: self._room(split.name, options) for split in self._dataset.splits}
        for cutting in best_first(new, there) if options.limit_to_band else sorted(new, key=lambda one: one.wanted.key):
            split, reason, warning = places.split_for(cutting.source, None)
            name, collision = taken.name_for(cutting)
            row = self._placed(cutting, split, name, at, kind)
            if (same := taken.twin(cutting)) is not None:
                if self._is_ours_after_all(same, cutting):
                    self._adopt(row, same)
                else:
                    self._leave_out(row, f"the same picture is there: {same}", obstacle=same)
            elif room[split] <= 0:
                self._leave_out(row, f"{split} would have more negatives than {options.band[1]:.0%}", obstacle="")
            else:
                room[split] -= 1
                self._bring(row, cutting, taken)
                self._tell(Action.ADD, row, reason, collision, warning)

    def _restore(self, cutting: Cutting, before: Row, taken: _Taken, places: _Places, at: datetime, kind: str) -> None:
        split, _, warning = places.split_for(cutting.source, before)
        row = replace(self._placed(cutting, split, before.stem, at, kind), exported_at=before.exported_at)
        if (same := taken.twin(cutting)) is not None:
            self._give_up(before)
            if same in self._held and same not in self._ours and not self._is_labelled(same):
                self._adopt(row, same)
            else:
                self._leave_out(row, f"the same picture is there: {same}", obstacle=same)
            return
        if self._files.condition(before) is Condition.CHANGED or self._is_blocked(row):
            self._miss(before, "its image is missing, and its label or its name is somebody else's by now: look at it")
            return
        if before.file != row.file:
            self._give_up(before)
        self._bring(row, cutting, taken)
        self._tell(Action.RESTORE, row, "it was missing", warning=warning)

    def _give_up(self, before: Row) -> None:
        """What may be left of a row under its old name goes."""
        self._remove.append(before)
        self._changed.append(before)

    def _miss(self, row: Row, reason: str) -> None:
        self._absent.add(row.file)
        self._changed.append(row)
        self._again.add(row.task)
        self._stay(row, Action.REPORT, reason)

    def _placed(self, cutting: Cutting, split: str, stem: str, at: datetime, kind: str) -> Row:
        target = self._dataset.split(split)
        assert target is not None
        return _row(cutting, split, _joined(target.images, stem + cutting.suffix), at, kind)

    def _bring(self, row: Row, cutting: Cutting, taken: _Taken) -> None:
        taken.remember(row, cutting)
        self._rows.append(row)
        self._changed.append(row)
        self._write.append(Placement(row, cutting.staged))
        self._added[row.split] += 1

    def _is_ours_after_all(self, file: str, cutting: Cutting) -> bool:
        """Whether a picture that is there has the very name that we would give it: its row was lost."""
        stem = negative_stem(cutting.source.name, cutting.wanted.key)
        is_named = PurePosixPath(file).stem == stem and file not in self._ours
        return is_named and file in self._held and not self._is_labelled(file)

    def _adopt(self, row: Row, file: str) -> None:
        split = row.split if row.split in self._held[file] else next(iter(self._held[file]))
        self._stay(replace(row, file=file, split=split), Action.KEEP, "it was there, and its row is again")

    def _leave_out(self, row: Row, reason: str, *, obstacle: str) -> None:
        self._left[row.task] = (*self._left.get(row.task, ()), Obstacle(row.split, obstacle))
        self._tell(Action.LEAVE_OUT, row, reason)

    def _room(self, split: str, options: Options) -> int:
        """How many negatives the split may still get."""
        if not options.limit_to_band:
            return 1 << 62
        return room_in(self._share(split, after=True), options.band[1])

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
            changed=tuple(self._changed),
            absent=frozenset(self._absent),
            theirs=frozenset(self._theirs),
            items=tuple(sorted(self._items, key=lambda item: (item.file, item.action))),
            shares=shares,
            warnings=tuple(_alarms(shares, options)),
            again=frozenset(self._again),
            left=self._left,
        )


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


def best_first(cuttings: Iterable[Cutting], there: Mapping[str, int] | None = None) -> list[Cutting]:
    """In the order of what helps most, always the same: a patch of every source image before the second of any, because
    varied background teaches more; of one image those first that more people approved. `there` counts what is there
    already, by the digest of the source.
    """
    rank = Counter(there or {})
    ranked = []
    for one in sorted(cuttings, key=lambda one: (-len(one.wanted.decision.deciding), _chance(one))):
        ranked.append((rank[one.source.sha256], _chance(one), one))
        rank[one.source.sha256] += 1
    return [one for _, _, one in sorted(ranked, key=lambda entry: entry[:2])]


def _chance(cutting: Cutting) -> str:
    return sha256(repr(cutting.wanted.key).encode()).hexdigest()


def _row(cutting: Cutting, split: str, file: str, at: datetime, kind: str) -> Row:
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
        dataset=kind,
    )


def room_in(share: DatasetShare, high: float) -> int:
    """How many negatives more a split takes without having a larger share of them than `high`."""
    # n more: (negatives + n) / (images + n) <= high
    return int((high * share.images - share.negatives) / (1 - high) + 1e-9) if high < 1 else 1 << 62


def _joined(folder: str, name: str) -> str:
    return str(PurePosixPath(folder) / name)


def _alarms(shares: Iterable[SplitShare], options: Options) -> Iterable[str]:
    for share in shares:
        after = share.after
        if after.images and after.negatives == after.images and after.negatives > share.before.negatives:
            yield f"{share.split} has nothing but negatives: trainers refuse that, add labelled images"
        elif after.share > options.band[1] and after.negatives > share.before.negatives:
            yield f"{share.split}: {after.share:.0%} negatives, {after.advice(options.band)}"


def plan_undo(settled: Settled, dataset: Dataset, files: Files) -> Plan:
    """Plan to take out everything that we ever added, and nothing that somebody changed since."""
    rows = (*settled.rows, *settled.surplus)
    draft = _Draft(dataset, {row.file for row in rows}, files)
    for row in rows:
        draft.take_out(row, "undo")
    return draft.plan(Options())
