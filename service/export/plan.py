"""Deciding which file each negative becomes. Pure: what is there comes in as values, what to write goes out as
values.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePath

from service.domain.geometry import Box
from service.domain.model import SMALLEST_SIDE, Decision, Patch, Shortfall, State, Task

LONGEST_STEM = 150
"""Bytes; with what is added to it a name stays below the 255 of common file systems."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where a source image comes from: a task of a Label Studio project, or else a file with this digest."""

    image: str
    project: int | None = None
    task: int | None = None
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class ExportedSource:
    """One metadata file that is there already: whose it is, and which patch became which number.

    `patches` holds region id and box by number, `present` the numbers whose images are really there, `blocked` those
    whose label is no longer empty: somebody else's by now.
    """

    stem: str
    owner: Origin | None
    patches: Mapping[int, tuple[str, Box]] = field(default_factory=dict)
    present: frozenset[int] = frozenset()
    blocked: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Existing:
    """What the dataset holds: our metadata by stem, and the stems of all images and labels, both case-folded."""

    sources: Mapping[str, ExportedSource] = field(default_factory=dict)
    taken: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Negative:
    """One accepted patch and the number that its file gets (or has)."""

    number: int
    decision: Decision
    is_new: bool


@dataclass(frozen=True, slots=True)
class SourcePlan:
    """What one task's image contributes. `negatives` is in the order of numbers, those that are there included;
    `has_metadata` tells that its metadata file is there already, `has_lost` that it announces images that are not there
    and no longer accepted: an interrupted run's.
    """

    task: Task
    origin: Origin
    source_name: str
    stem: str
    negatives: tuple[Negative, ...]
    has_metadata: bool = False
    has_lost: bool = False

    @property
    def new(self) -> tuple[Negative, ...]:
        """Those that have to be written."""
        return tuple(negative for negative in self.negatives if negative.is_new)

    def file_stem(self, negative: Negative) -> str:
        """The name of its image and label, without extension."""
        return negative_stem(self.stem, negative.number)


@dataclass(frozen=True, slots=True)
class Note:
    """Something that a person should know of one task; with the figures, where patches fall short."""

    task_id: int
    text: str
    shortfall: Shortfall | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """All that an export will do, in the order of the tasks, and what it won't and why."""

    sources: tuple[SourcePlan, ...]
    notes: tuple[Note, ...] = ()

    @property
    def new(self) -> int:
        """How many images will be written."""
        return sum(len(source.new) for source in self.sources)

    @property
    def there(self) -> int:
        """How many accepted patches are in the dataset already."""
        return sum(len(source.negatives) - len(source.new) for source in self.sources)


def origin_in_label_studio(task: Task) -> Origin:
    """Project, task and image reference."""
    return Origin(task.image_reference, task.project_id, task.id)


def negative_stem(stem: str, number: int) -> str:
    """The guide's naming: `{stem}_neg_{k}`."""
    return f"{stem}_neg_{number}"


def plan_export(
    decided: Iterable[tuple[Task, str, tuple[Decision, ...]]],
    existing: Existing,
    origin_of: Callable[[Task], Origin] = origin_in_label_studio,
) -> Plan:
    """Plan an export of (task, the source image's file name, its decisions).

    Accepted patches get the first free number of their source image; what is there keeps its number. Nothing that
    exists is ever planned over: a stem that another image or label has is passed by.
    """
    taken = set(existing.taken)
    claimed = dict(existing.sources)
    own = {source.owner: source for source in existing.sources.values() if source.owner is not None}
    plans: list[SourcePlan] = []
    notes: list[Note] = []
    for task, name, decisions in decided:
        accepted = []
        for decision in decisions:
            which = f"(patch {decision.patch.box.words})"
            if decision.state is State.STALE:
                notes.append(Note(task.id, f"accepted, but not exported: {decision.note} {which}"))
            elif decision.state is State.ACCEPTED and _too_small(decision.patch):
                text = f"accepted, but smaller than {SMALLEST_SIDE} px, which trainers drop"
                notes.append(Note(task.id, f"{text} {which}"))
            elif decision.state is State.ACCEPTED:
                accepted.append(decision)
        stem = _fit(PurePath(name).stem) or f"task{task.id}"
        origin = origin_of(task)
        source = own.get(origin) or _claim(origin, stem, claimed, create=bool(accepted))
        if source is None:
            continue
        negatives = tuple(_numbered(source, accepted, taken))
        notes += _withdrawn(task, source, negatives, decisions)
        lost = bool(source.patches.keys() - source.present - {negative.number for negative in negatives})
        if negatives or lost:
            is_ours = source is own.get(origin)
            plans.append(SourcePlan(task, origin, name, source.stem, negatives, is_ours, lost))
    return Plan(tuple(plans), tuple(notes))


def _claim(origin: Origin, stem: str, claimed: dict[str, ExportedSource], *, create: bool) -> ExportedSource | None:
    """A metadata file for a source that has none yet: the first name that nobody has."""
    if not create:
        return None
    attempt, candidate = 1, stem
    while candidate.casefold() in claimed:
        attempt += 1
        of_task = f"_task{origin.task}" if origin.task is not None else ""
        candidate = stem + of_task + (f"_{attempt - 1}" if attempt > 2 or not of_task else "")
    source = ExportedSource(candidate, origin)
    claimed[candidate.casefold()] = source
    return source


def _fit(stem: str) -> str:
    """A stem that every file system takes: no control characters, no leading dot (readers skip those), not too long."""
    printable = "".join(char if char.isprintable() else "_" for char in stem).lstrip(".")
    return printable.encode()[:LONGEST_STEM].decode(errors="ignore").strip()


def _numbered(source: ExportedSource, accepted: list[Decision], taken: set[str]) -> list[Negative]:
    """A number for each: its own from before, if that is still the same place and free, else the first that is."""
    known = {patch: number for number, patch in source.patches.items() if number not in source.blocked}
    negatives = []
    number = 0
    for decision in accepted:
        before = known.get((decision.patch.id, decision.patch.box))
        if before is not None:
            negatives.append(Negative(before, decision, is_new=before not in source.present))
            continue
        number += 1
        while number in source.patches or negative_stem(source.stem, number).casefold() in taken:
            number += 1
        taken.add(negative_stem(source.stem, number).casefold())
        negatives.append(Negative(number, decision, is_new=True))
    return sorted(negatives, key=lambda negative: negative.number)


def _withdrawn(
    task: Task, source: ExportedSource, negatives: tuple[Negative, ...], decisions: tuple[Decision, ...]
) -> list[Note]:
    """Negatives that are in the dataset and should not be: a person is told, nothing is removed."""
    still = {negative.number for negative in negatives}
    states = {decision.patch.id: decision.state for decision in decisions}
    notes = []
    for number, (region, _) in sorted(source.patches.items()):
        if number in still or number not in source.present:
            continue
        why = {
            State.ACCEPTED: "but the patch was moved since: remove the old one by hand",
            State.STALE: "but is no longer proved (see above): look at it, and remove it by hand if need be",
        }.get(states.get(region, State.PENDING), "and is no longer accepted: remove it by hand")
        notes.append(Note(task.id, f"{negative_stem(source.stem, number)} was exported before {why}"))
    return notes


def _too_small(patch: Patch) -> bool:
    return min(patch.box.width, patch.box.height) < SMALLEST_SIDE
