"""What the gallery shows: patches as tiles, filtered, counted and in pages; and images that may be empty. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Generic, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from service.domain.geometry import Box
from service.domain.model import (
    PATCH_PREFIX,
    SMALLEST_SIDE,
    Agreement,
    Decision,
    Patch,
    State,
    Task,
    Verdict,
    Vote,
    patch_id,
    sight,
)
from service.review.decisions import decide

T = TypeVar("T")
PAGE_SIZES = (60, 120, 200)
"""Tiles a page, the first where nothing is asked for."""


class Background(StrEnum):
    """What a patch shows, judged by where the labelled objects of its image are.

    Negatives teach a detector where their background differs from what surrounds the objects.
    """

    BESIDE = "beside"
    """The nearest labelled object is closer than the patch is long."""
    AWAY = "away"
    """There are objects in the image, and none is that close."""
    EMPTY = "empty"
    """No object is labelled in the image."""

    @property
    def words(self) -> str:
        """For people."""
        return {"beside": "beside objects", "away": "away from objects", "empty": "no objects in the picture"}[self]


class Concern(StrEnum):
    """Why a patch is worth a second look."""

    UNLABELLED = "unlabelled"
    MOVED = "moved"
    STALE = "stale"
    CONFLICT = "conflict"
    TINY = "tiny"
    REFUSED = "refused"

    @property
    def words(self) -> str:
        """For people."""
        return {
            "unlabelled": "nothing labelled in the picture",
            "moved": "moved by a reviewer",
            "stale": "stale",
            "conflict": "people disagree",
            "tiny": f"shorter than {SMALLEST_SIDE} px: not exported",
            "refused": "its task is refused",
        }[self]


@dataclass(frozen=True, slots=True)
class Tile:
    """One patch as the gallery shows it.

    `size` is the image's, (width, height) in pixels; `source` is its name for people, `image` a digest of its
    reference. `warnings` say in a sentence what to look at twice.
    """

    task_id: int
    patch: Patch
    state: State
    votes: tuple[Vote, ...]
    background: Background
    size: tuple[int, int]
    source: str
    image: str
    warnings: Mapping[Concern, str] = field(default_factory=dict)
    note: str = ""

    @property
    def is_conflict(self) -> bool:
        """Whether people disagree."""
        return Concern.CONFLICT in self.warnings

    def vote_of(self, person: int) -> Vote | None:
        """What a person, by Label Studio's id, says of it where it lies now; None when nothing."""
        return Decision(self.patch, self.state, self.votes).vote_of(person)

    def sight(self, person: int) -> str:
        """What the person looks at, for telling whether it has changed when they judge it."""
        return sight(self.task_id, self.image, self.patch.box, self.vote_of(person))


def tiles_of(task: Task, agreement: Agreement, margin: int, source: str) -> tuple[Tile, ...]:
    """The tiles of a task in reading order, one per patch that is on offer or that somebody judged."""
    decisions = decide(task, agreement, margin)
    if not decisions or task.size is None:
        return ()
    frame = Box(0, 0, *task.size)
    objects = _bounds(task)
    tiles = [
        Tile(
            task.id,
            one.patch,
            one.state,
            one.votes,
            _background(one.patch.box, objects),
            task.size,
            source,
            task.image_digest,
            _warnings(task, one),
            one.note or "",
        )
        for one in decisions
        if frame.common(one.patch.box) is not None  # what lies outside of its image can't be shown
    ]
    return tuple(sorted(tiles, key=lambda tile: (tile.patch.box.top, tile.patch.box.left, tile.patch.id)))


def _bounds(task: Task) -> NDArray[np.int64]:
    """The boxes around the labelled objects: left, top, right, bottom."""
    boxes = [shape.bounds for shape in task.exclusions]
    sides = [(box.left, box.top, box.right, box.bottom) for box in boxes]
    return np.array(sides, dtype=np.int64).reshape(-1, 4)


def _background(box: Box, objects: NDArray[np.int64]) -> Background:
    if not len(objects):
        return Background.EMPTY
    across = np.maximum(0, np.maximum(objects[:, 0] - box.right, box.left - objects[:, 2]))
    down = np.maximum(0, np.maximum(objects[:, 1] - box.bottom, box.top - objects[:, 3]))
    nearest = int((across**2 + down**2).min())
    return Background.BESIDE if nearest < max(box.width, box.height) ** 2 else Background.AWAY


def _warnings(task: Task, decision: Decision) -> dict[Concern, str]:
    found: dict[Concern, str] = {}
    box = decision.patch.box
    is_ours = decision.patch.id.startswith(PATCH_PREFIX)
    if not task.exclusions:
        found[Concern.UNLABELLED] = Concern.UNLABELLED.words
    if is_ours and (
        decision.patch.id != patch_id(task.id, box)
        or any(vote.verdict is Verdict.ACCEPTED and vote.box != box for vote in decision.votes)
    ):
        found[Concern.MOVED] = Concern.MOVED.words
    if decision.state is State.STALE:
        found[Concern.STALE] = f"stale: {decision.note}"
    if decision.is_conflict:
        found[Concern.CONFLICT] = Concern.CONFLICT.words
    if min(box.width, box.height) < SMALLEST_SIDE:
        found[Concern.TINY] = Concern.TINY.words
    if task.refusal is not None:
        found[Concern.REFUSED] = f"its task is refused: {task.refusal}"
    return found


Whose = int | Literal["me", "not-me"]
Standing = State | Literal["conflict"]


@dataclass(frozen=True, slots=True)
class Filter:
    """Which tiles to show; None wants all.

    `state`: where they stand, or "conflict": people disagree. `reviewer`: who gave a verdict, by Label Studio's id;
    "me" is the person who looks, "not-me" asks for those that this person said nothing of.
    """

    state: Standing | None = None
    reviewer: Whose | None = None
    background: Background | None = None
    warning: Concern | None = None
    task: int | None = None

    def keeps(self, tile: Tile, person: int) -> bool:
        """Whether a tile is to be shown to the person."""
        return (
            self.state in (None, *_standings(tile))
            and self.reviewer in (None, *_reviewers(tile, person))
            and self.background in (None, tile.background)
            and self.warning in (None, *tile.warnings)
            and self.task in (None, tile.task_id)
        )


TO_DO = Filter(state=State.PENDING, reviewer="not-me")
"""What waits for the person who looks."""


def _standings(tile: Tile) -> tuple[Standing, ...]:
    return (tile.state, "conflict") if tile.is_conflict else (tile.state,)


def _reviewers(tile: Tile, person: int) -> tuple[Whose, ...]:
    found: set[Whose] = {vote.reviewer for vote in tile.votes if vote.reviewer is not None}
    return (*found, "me" if tile.vote_of(person) else "not-me")


@dataclass(frozen=True, slots=True)
class Counts:
    """How many tiles each value of a filter would show, the rest of it being as it is; None is all of them."""

    reviewer: Mapping[Whose | None, int]
    background: Mapping[Background | None, int]
    warning: Mapping[Concern | None, int]


def shown(tiles: Iterable[Tile], wanted: Filter, person: int) -> tuple[tuple[Tile, ...], Counts]:
    """The tiles that a filter keeps, in their order, and the counts for its bar."""
    keep: list[Tile] = []
    reviewers: Counter[Whose | None] = Counter()
    backgrounds: Counter[Background | None] = Counter()
    warnings: Counter[Concern | None] = Counter()
    but_reviewer = replace(wanted, reviewer=None)
    but_background, but_warning = replace(wanted, background=None), replace(wanted, warning=None)
    for tile in tiles:
        if but_reviewer.keeps(tile, person):
            reviewers.update((None, *_reviewers(tile, person)))
        if but_background.keeps(tile, person):
            backgrounds.update((None, tile.background))
        if but_warning.keeps(tile, person):
            warnings.update((None, *tile.warnings))
        if wanted.keeps(tile, person):
            keep.append(tile)
    return tuple(keep), Counts(dict(reviewers), dict(backgrounds), dict(warnings))


def count_states(tiles: Iterable[Tile], wanted: Filter, person: int) -> dict[Standing | None, int]:
    """How many tiles each value of `state` would show, the rest of the filter being as it is; None is all of them."""
    but_state = replace(wanted, state=None)
    states: Counter[Standing | None] = Counter()
    for tile in tiles:
        if but_state.keeps(tile, person):
            states.update((None, *_standings(tile)))
    return dict(states)


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page: which number `of` how many, counted from 1, and how many items all of them hold."""

    items: tuple[T, ...]
    number: int
    of: int
    total: int


def paged(items: Sequence[T], number: int, size: int) -> Page[T]:
    """The page with this number, or the last one there is; there is always a first."""
    of = max(1, -(-len(items) // size))
    number = min(max(1, number), of)
    return Page(tuple(items[(number - 1) * size : number * size]), number, of, len(items))


def may_be_empty(task: Task) -> bool:
    """Whether "nothing in this whole image" may be said of it: no object is labelled, it isn't refused, and nobody has
    said anything of the whole image, or against a patch of it.
    """
    if task.exclusions or task.refusal is not None:
        return False
    if task.size is None:
        return True
    frame = Box(0, 0, *task.size)
    decisions = decide(task, Agreement())
    return all(one.patch.box != frame and one.state not in (State.REJECTED, State.UNSURE) for one in decisions)
