"""The words of the product as values: rules, ROIs, scenes, patches, proposals, decisions.

Everything is frozen and valid from birth. Lengths are source-image pixels unless a name says otherwise.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import NamedTuple
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
    `answer` is what it was answered at once; None for one that is answered by a prediction. `drawn_by` is Label
    Studio's id of the user who drew it, None when not known.
    """

    region_id: str
    outline: Outline
    fields: Mapping[str, float] = field(default_factory=dict)
    answer: LiveAnswer | None = None
    drawn_by: int | None = None

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


BLOCK_GRID = 16
"""Pixels: the largest grid of the blocks that a JPEG is made of; smaller ones divide it."""
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
    UNSURE = "unsure"
    """Not to be used, unless a majority decides and outvotes it; and worth another person's look."""


class State(StrEnum):
    """Where a patch stands once everybody's verdicts are counted."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    UNSURE = "unsure"
    PENDING = "pending"
    STALE = "stale"


@dataclass(frozen=True, slots=True)
class Agreement:
    """How verdicts of several people become one decision.

    `min_approvals` people must accept, at the place where the patch lies now. One rejection is enough, or, by
    `majority`, the side wins that has `min_approvals` people and more than the other. `drawing_counts`: who drew an ROI
    may be one of those who accept its patches. The same person never counts twice.
    """

    min_approvals: int = 1
    majority: bool = False
    drawing_counts: bool = True

    def __post_init__(self) -> None:
        if self.min_approvals < 1:
            raise ValueError(f"a patch that nobody accepted isn't accepted: min_approvals is {self.min_approvals}")

    @property
    def overlap(self) -> int:
        """How many people a review queue should ask: so many that they must come to an end, unless one is unsure."""
        return 2 * self.min_approvals - 1 if self.majority else self.min_approvals


@dataclass(frozen=True, slots=True)
class Review:
    """One person's annotation, read as verdicts: the patches it holds and the ids that it was shown.

    `reviewer` is Label Studio's user id, None when that user was deleted. `at` is when it was last submitted.
    `inferred`: the annotation has lost the ROI that says what was shown, so it was concluded. `reasons`: why patches
    that it holds are rejected, by id, empty where no reason was given; `unsure`: the ids of those that its author can't
    judge. `verdicts_only`: it holds what we write for people who judge, so its author drew nothing in it.
    """

    annotation_id: int
    reviewer: int | None
    at: datetime
    held: tuple[Patch, ...]
    shown: frozenset[str]
    inferred: bool = False
    reasons: Mapping[str, str] = field(default_factory=dict)
    unsure: frozenset[str] = frozenset()
    verdicts_only: bool = False


@dataclass(frozen=True, slots=True)
class Vote:
    """One person's latest word on one patch; `box` is where they accepted it. `counts` is False for the approval of
    who drew the ROI, where that isn't wanted.
    """

    reviewer: int | None
    verdict: Verdict
    at: datetime
    annotation_id: int
    box: Box
    reason: str = ""
    counts: bool = True


class Word(NamedTuple):
    """What a person says of a patch: the verdict, and the reason of a rejection, empty where none was given.

    `seen` is what they looked at (`sight`): where that has changed meanwhile, nothing is written. Empty doesn't ask.
    """

    verdict: Verdict
    reason: str = ""
    seen: str = ""


def sight(task: int, image: str, box: Box, vote: Vote | None) -> str:
    """A digest of what a person who judges a patch looks at: the picture (its digest), the place, and what they have
    said of it themselves until then.
    """
    own = "" if vote is None else f"{vote.verdict}:{vote.annotation_id}:{vote.at.isoformat()}"
    return _digest(f"{task}:{image}:{box.as_xywh()}:{own}")


@dataclass(frozen=True, slots=True)
class Decision:
    """Where one patch stands and what everybody said, oldest first; `patch.box` is where the reviewers left it."""

    patch: Patch
    state: State
    votes: tuple[Vote, ...] = ()
    note: str | None = None

    @property
    def deciding(self) -> tuple[Vote, ...]:
        """The votes that the state rests on: of a pending patch, the approvals that it has."""
        verdict = {State.REJECTED: Verdict.REJECTED, State.UNSURE: Verdict.UNSURE}.get(self.state, Verdict.ACCEPTED)
        is_placed = self.state in (State.ACCEPTED, State.STALE)
        return tuple(
            vote
            for vote in self.votes
            if vote.verdict is verdict and vote.counts and (vote.box == self.patch.box or not is_placed)
        )

    @property
    def reviewers(self) -> tuple[int, ...]:
        """Who decided, by Label Studio's user ids."""
        return tuple(sorted({vote.reviewer for vote in self.deciding if vote.reviewer is not None}))

    @property
    def annotations(self) -> tuple[int, ...]:
        """In which annotations they did."""
        return tuple(sorted(vote.annotation_id for vote in self.deciding))

    @property
    def at(self) -> datetime | None:
        """When the last of them did."""
        return max((vote.at for vote in self.deciding), default=None)

    @property
    def reasons(self) -> tuple[str, ...]:
        """The reasons that were given for a rejection."""
        if self.state is not State.REJECTED:
            return ()
        return tuple(sorted({vote.reason for vote in self.deciding if vote.reason}))

    def vote_of(self, person: int) -> Vote | None:
        """What a person says of the patch where it lies now: who accepted it elsewhere said nothing of this place."""
        own = (vote for vote in self.votes if vote.reviewer == person)
        return next((vote for vote in own if vote.verdict is not Verdict.ACCEPTED or vote.box == self.patch.box), None)

    @property
    def is_conflict(self) -> bool:
        """Whether somebody accepted what somebody else rejected."""
        return {Verdict.ACCEPTED, Verdict.REJECTED} <= {vote.verdict for vote in self.votes}


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


class QueueLayout(StrEnum):
    """What a review queue shows at a time."""

    PROPOSAL = "proposal"
    """All patches of a picture that wait for a verdict, on the whole picture."""
    PATCH = "patch"
    """One patch, cut out with what is around it."""


@dataclass(frozen=True, slots=True)
class Queue:
    """A Label Studio project in which the proposals of another one, the source, are reviewed."""

    project_id: int
    source: int
    layout: QueueLayout


@dataclass(frozen=True, slots=True)
class QueueTask:
    """A task of a review queue, as its reviewers get it.

    `source` is the task whose patches it shows, `offers` are their places in pixels by id, `content` is its
    prediction's for comparing. `is_open`: reviewers are still given it. `is_touched`: somebody has annotated, skipped
    or drafted something. `updated_at` is when Label Studio changed it last. `image` is a digest of the reference of the
    source's image that it shows. `size` is the image's, (width, height) in pixels, where known; `refusal` says what
    can't be read of what people said.
    """

    id: int
    queue: Queue
    source: int
    offers: Mapping[str, Box]
    is_open: bool
    is_touched: bool
    updated_at: datetime
    prediction: int | None = None
    content: str = ""
    image: str = ""
    reviews: tuple[Review, ...] = ()
    size: tuple[int, int] | None = None
    refusal: str | None = None


def written_reference(image: str) -> str:
    """Where an image is, fit to be written down: a link without sign-in and query, which may be a signature.

    Raises `ValueError` for a link that is none.
    """
    parts = urlsplit(image) if image.lower().startswith(("http://", "https://")) else None
    return image if parts is None else f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def is_cloud_link(image: str) -> bool:
    """Whether this is a place in a cloud, which only a storage of the task's own project opens."""
    return image.partition("://")[0] in ("s3", "gs", "azure-blob", "azure")


@dataclass(frozen=True, slots=True)
class Task:
    """One Label Studio task, read: everything that proposing and deciding need.

    `size` is (width, height) in pixels as its regions say, None when it has no region. `refusal` says why it can't be
    sampled at all (a labelled region that can't be understood, say); then no patch of it counts as proved. `queued` are
    the tasks of review queues that show its patches; what was said there is among its `reviews`. `original` says where
    the picture is that `image` is a smaller copy of, empty for an image that is none.
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
    queued: tuple[QueueTask, ...] = ()
    original: str = ""

    @property
    def image_reference(self) -> str:
        """Where its image is, fit to be written down: a link without sign-in and query, which may be a signature."""
        return _fit_to_be_written(self.image)

    @property
    def source_reference(self) -> str:
        """Where patches are cut from, fit to be written down: the original, or else the image."""
        return _fit_to_be_written(self.original or self.image)

    @property
    def block_grid(self) -> int:
        """Pixels between the places where a patch can be cut out without being encoded again: 16, the largest grid of
        a JPEG's blocks, where the image's name says that it is one that patches are cut from; else 1.
        """
        is_jpeg = self.image_reference.lower().endswith((".jpg", ".jpeg"))
        return BLOCK_GRID if is_jpeg and not self.original else 1

    @property
    def is_in_cloud(self) -> bool:
        """Whether its image is a cloud link, which only a storage of its own project opens."""
        return self.image.partition("://")[0] in ("s3", "gs", "azure-blob", "azure")

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


def _fit_to_be_written(reference: str) -> str:
    parts = urlsplit(reference) if reference.startswith(("http://", "https://")) else None
    return reference if parts is None else f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
