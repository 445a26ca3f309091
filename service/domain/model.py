"""The words of the product as values: rules, ROIs, scenes, patches, proposals, decisions.

Everything is frozen and valid from birth. Lengths are source-image pixels unless a name says otherwise.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from urllib.parse import urlsplit

from service.domain.geometry import Box, Outline, Shape
from service.errors import InvalidRules

MAX_PATCHES = 20
SMALLEST_SIDE = 10
"""Pixels; trainers drop images with a shorter side (Ultralytics, `data/utils.py`)."""
LONGEST_SIDE = 1_000_000
"""Pixels; no image is longer."""
MODEL_VERSION = "negatives"
"""The one constant version of our predictions: the review stream prefills from no other."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What to draw in one ROI.

    `patches` 1–20; sizes in pixels, `1 ≤ min_size ≤ max_size`; two patches share less than `max_overlap` (a share,
    0–1) of the smaller one's area; `margin` pixels are kept free around every object, diagonally too; `square` patches
    are as wide as high; left and top edges are multiples of `align` pixels; `round` 1, 2, … asks for other patches.

    Raises `InvalidRules` with a sentence for the person who set the value: nothing is clamped in silence.
    """

    patches: int = 5
    min_size: int = 100
    max_size: int = 400
    max_overlap: float = 0.5
    margin: int = 0
    round: int = 1
    square: bool = False
    align: int = 1

    def __post_init__(self) -> None:
        complaints = []
        if not 1 <= self.patches <= MAX_PATCHES:
            complaints.append(f"patches is {self.patches}, but must be 1 to {MAX_PATCHES}")
        if self.min_size < 1:
            complaints.append(f"min_size is {self.min_size} px, but must be at least 1")
        if self.max_size < self.min_size:
            complaints.append(f"max_size is {self.max_size} px, but must be at least min_size ({self.min_size})")
        if not 0 < self.max_overlap <= 1:
            complaints.append(f"max_overlap is {self.max_overlap}, but must be above 0 and at most 1")
        if not 0 <= self.margin <= LONGEST_SIDE:
            complaints.append(f"margin is {self.margin} px, but must be 0 to {LONGEST_SIDE}")
        if not 1 <= self.align <= LONGEST_SIDE:
            complaints.append(f"align is {self.align} px, but must be 1 to {LONGEST_SIDE}")
        if self.round < 1:
            complaints.append(f"round is {self.round}, but must be at least 1")
        if complaints:
            raise InvalidRules("; ".join(complaints))

    def permits(self, box: Box) -> bool:
        """Whether a patch of this size may be drawn here."""
        is_fit = all(self.min_size <= side <= self.max_size for side in (box.width, box.height))
        is_aligned = box.left % self.align == box.top % self.align == 0
        return is_fit and is_aligned and (box.width == box.height or not self.square)

    def crowds(self, box: Box, other: Box) -> bool:
        """Whether the two overlap too much: not strictly below the share of the smaller one's area."""
        return box.shared_area(other) >= self.max_overlap * min(box.area, other.area)


RULE_FIELDS = ("patches", "min_size", "max_size", "round")
"""The rules that an ROI's own number fields and the labeling configuration may set."""
AGAIN = "again"
"""The field of an ROI that counts how often other patches were asked for: so many rounds more."""


@dataclass(frozen=True, slots=True)
class LiveAnswer:
    """What an ROI was answered while it was being drawn: the round, every patch with its place in pixels, by id, and a
    digest of the reference of the image, empty when not known.
    """

    round: int
    placed: Mapping[str, Box]
    image: str = ""


@dataclass(frozen=True, slots=True)
class Roi:
    """A region that a person drew to say "sample here".

    `fields` holds what the ROI's own fields say, unchecked: a wrong value must be refused where the person sees it.
    `answer` is what it was answered at once; None for one that is answered by a prediction.
    """

    region_id: str
    outline: Outline
    fields: Mapping[str, float] = field(default_factory=dict)
    answer: LiveAnswer | None = None

    @property
    def box(self) -> Box:
        """The bounding box in pixels."""
        return self.outline.bounds


@dataclass(frozen=True, slots=True)
class Scene:
    """All that the sampler needs to know of one task: the image's size and what no patch may touch."""

    width: int
    height: int
    exclusions: tuple[Shape, ...] = ()

    @property
    def frame(self) -> Box:
        """The whole image."""
        return Box(0, 0, self.width, self.height)


PATCH_PREFIX = "neg_"
ROI_PREFIX = "roi_"
LIVE_PREFIX = "live_"


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()[:16]


def patch_id(task_id: int, box: Box) -> str:
    """Same task, same box: same id, so a verdict never lands on another patch."""
    return PATCH_PREFIX + _digest(f"{task_id}:{box.as_xywh()}")


def roi_echo_id(task_id: int, roi: Roi) -> str:
    """The id under which a proposal repeats an ROI; never the id of the region that the person drew."""
    return ROI_PREFIX + _digest(f"{task_id}:{roi.outline.rounded}")


def roi_live_id(task_id: int, roi: Roi) -> str:
    """The id of an ROI that was answered at once: it takes the place of the region that the person drew."""
    return LIVE_PREFIX + _digest(f"{task_id}:{roi.outline.rounded}")


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a patch comes from; it travels with the patch, so it holds when ROI and prediction are gone.

    `image` is a digest of the reference of the image that it was drawn on, empty when not known.
    """

    roi: Box
    rules: Rules
    rules_from: Mapping[str, str]
    seed: int
    version: str
    image: str = ""


@dataclass(frozen=True, slots=True)
class Patch:
    """A placed box with an id; `provenance` is None for one that a person drew by hand."""

    id: str
    box: Box
    provenance: Provenance | None = None


class Cause(StrEnum):
    """Why there are fewer patches than asked."""

    ROI_TOO_SMALL = "roi_too_small"
    """No patch of the smallest size lies in the ROI, with or without objects."""
    BLOCKED = "blocked"
    """Objects leave no place for a patch of the smallest size."""
    JAMMED = "jammed"
    """Beside the patches that are there, none of the smallest size keeps the limit of overlap."""
    IMPOSSIBLE = "impossible"
    """So many can't be placed in any way: proved."""


@dataclass(frozen=True, slots=True)
class Shortfall:
    """Requested − placed, with the reason in a sentence that a person can act on.

    `largest_free_square` is the largest in the ROI that is clear of objects, None when not a pixel is. `at_most` is
    a proved limit to the number of patches, where one was proved.
    """

    requested: int
    placed: int
    cause: Cause
    reason: str
    largest_free_square: Box | None = None
    at_most: int | None = None

    @property
    def sentence(self) -> str:
        """The whole of it in words."""
        return f"{self.placed} of {self.requested} patches: {self.reason}."


@dataclass(frozen=True, slots=True)
class Explanation:
    """What the person who drew an ROI should know; with the figures, where it is a shortfall."""

    text: str
    shortfall: Shortfall | None = None


@dataclass(frozen=True, slots=True)
class RoiOutcome:
    """What came of one ROI: its patches, and why there are fewer than asked (or none: `refusal`).

    `rules` are those that held for it, None where it was refused. `is_gone` marks an ROI that was deleted and stays in
    the proposal only to remember what was said of its patches.
    """

    roi: Roi
    patches: tuple[Patch, ...] = ()
    shortfall: Shortfall | None = None
    refusal: str | None = None
    is_gone: bool = False
    rules: Rules | None = None

    @property
    def explanation(self) -> Explanation | None:
        """What the person who drew the ROI should know; None when all is as asked."""
        if self.refusal is not None:
            return Explanation(f"No patches: {self.refusal}.")
        return None if self.shortfall is None else Explanation(self.shortfall.sentence, self.shortfall)


@dataclass(frozen=True, slots=True)
class Memory:
    """What a prediction has to remember when it is changed, because nothing else in Label Studio does.

    `shown`: what the reviewer of an annotation was shown, by annotation id, where the annotation itself doesn't say.
    `rejected`: the boxes of rejected patches, by id, also of those no longer on offer. `before`: the ids on offer
    before the change.
    """

    shown: Mapping[int, frozenset[str]] = field(default_factory=dict)
    rejected: Mapping[str, Box] = field(default_factory=dict)
    before: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Proposal:
    """The patches offered for one task, ROI by ROI; travels as a prediction, or as the answer to a stroke.

    `is_unlabelled`: no object is labelled in the picture, so the patches are proved free of nothing.
    """

    task_id: int
    width: int
    height: int
    outcomes: tuple[RoiOutcome, ...]
    is_unlabelled: bool = False
    memory: Memory = field(default_factory=Memory, compare=False)

    @property
    def patches(self) -> tuple[Patch, ...]:
        """All patches, in the order of their ROIs."""
        return tuple(patch for outcome in self.outcomes for patch in outcome.patches)


class Verdict(StrEnum):
    """What one person said of one patch."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"


class State(StrEnum):
    """Where a patch stands once everybody's verdicts are counted."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    PENDING = "pending"
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class Review:
    """One person's annotation, read as verdicts: the patches it holds and the ids that it was shown.

    `reviewer` is Label Studio's user id, None when that user was deleted. `at` is when it was last submitted.
    `inferred`: the annotation has lost the ROI that says what was shown, so it was concluded. `reasons`: why patches
    that it holds are rejected, by id.
    """

    annotation_id: int
    reviewer: int | None
    at: datetime
    held: tuple[Patch, ...]
    shown: frozenset[str]
    inferred: bool = False
    reasons: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Decision:
    """Where one patch stands, who decided, and when; `patch.box` is where the reviewer left it.

    `reasons` are those that were given for a rejection.
    """

    patch: Patch
    state: State
    reviewers: tuple[int, ...] = ()
    annotations: tuple[int, ...] = ()
    at: datetime | None = None
    note: str | None = None
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class StandingPrediction:
    """One prediction of ours as Label Studio holds it: its id, its ROIs and patches, what it remembers, and its
    result's content for comparing.
    """

    id: int
    patches: tuple[Patch, ...]
    content: str
    explanations: tuple[Explanation, ...] = ()
    rois: tuple[Roi, ...] = ()
    memory: Memory = field(default_factory=Memory)


@dataclass(frozen=True, slots=True)
class Task:
    """One Label Studio task, read: everything that proposing and deciding need.

    `size` is (width, height) in pixels as its regions say, None when it has no region. `refusal` says why it can't be
    sampled at all (a labelled region that can't be understood, say); then no patch of it counts as proved.
    """

    id: int
    project_id: int
    image: str
    updated_at: datetime
    size: tuple[int, int] | None = None
    rois: tuple[Roi, ...] = ()
    exclusions: tuple[Shape, ...] = ()
    reviews: tuple[Review, ...] = ()
    standing: tuple[StandingPrediction, ...] = ()
    refusal: str | None = None

    @property
    def image_reference(self) -> str:
        """Where its image is, fit to be written down: a link without sign-in and query, which may be a signature."""
        parts = urlsplit(self.image) if self.image.startswith(("http://", "https://")) else None
        return self.image if parts is None else f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

    @property
    def image_digest(self) -> str:
        """A short digest of the reference: another image, another digest."""
        return _digest(self.image_reference)

    @property
    def scene(self) -> Scene:
        """The scene; only for a task whose size is known."""
        if self.size is None:
            raise ValueError(f"task {self.id} has no region, so no size")
        return Scene(*self.size, exclusions=self.exclusions)
