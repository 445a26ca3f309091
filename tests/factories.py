"""Small values for tests: a task, its ROIs, patches and reviews, each valid with no argument given."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from math import cos, radians, sin
from random import Random

from service.domain.geometry import Box, Ellipse, Outline, Painted, Polygon, Shape
from service.domain.model import Patch, Provenance, Review, Roi, Rules, Scene, StandingPrediction, Task, patch_id

TASK_ID = 7
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def roi(
    x: float = 100,
    y: float = 100,
    width: float = 800,
    height: float = 800,
    rotation: float = 0.0,
    *,
    region_id: str = "drawn",
    **fields: float,
) -> Roi:
    """An ROI in pixels; keywords are what its own number fields say."""
    return Roi(region_id, Polygon.rectangle(x, y, width, height, rotation), fields)


def patch(box: Box, *, of: Roi | None = None, rules: Rules | None = None, task_id: int = TASK_ID) -> Patch:
    """A patch as it was proposed for the ROI."""
    provenance = Provenance((of or roi()).box, rules or Rules(), {}, seed=1, version="0")
    return Patch(patch_id(task_id, box), box, provenance)


def moved(one: Patch, box: Box) -> Patch:
    """The patch where a person left it: the id stays, the box does not."""
    return Patch(one.id, box, one.provenance)


def review(
    held: Iterable[Patch] = (), shown: Iterable[Patch] = (), *, by: int | None = 1, annotation: int = 1, hour: int = 0
) -> Review:
    """What one person submitted, so many hours after noon."""
    at = NOON + timedelta(hours=hour)
    return Review(annotation, by, at, tuple(held), frozenset(one.id for one in shown))


def task(
    *rois: Roi,
    exclusions: Iterable[Shape] = (),
    standing: Iterable[Patch] = (),
    reviews: Iterable[Review] = (),
    refusal: str | None = None,
    size: tuple[int, int] | None = (1600, 1200),
    task_id: int = TASK_ID,
    project_id: int = 3,
) -> Task:
    """A task as it was read from Label Studio; `standing` are the patches of its one prediction."""
    offered = tuple(standing)
    return Task(
        id=task_id,
        project_id=project_id,
        image="/data/upload/3/field.jpg",
        updated_at=NOON,
        size=size,
        rois=rois,
        exclusions=tuple(exclusions),
        reviews=tuple(reviews),
        standing=(StandingPrediction(1, offered, content=""),) if offered else (),
        refusal=refusal,
    )


def cells(count: int, *, width: int, height: int, side: int, seed: int) -> tuple[Box, ...]:
    """Labelled objects all over the image, some across its border."""
    rng = Random(seed)
    return tuple(
        Box.sized(
            rng.randint(-side // 2, width - side // 2),
            rng.randint(-side // 2, height - side // 2),
            rng.randint(side // 2, side),
            rng.randint(side // 2, side),
        )
        for _ in range(count)
    )


def dense_scene(seed: int, *, cells_of: int = 40) -> Scene:
    """1600 × 1200 px with a hundred or so objects."""
    return Scene(1600, 1200, cells(60 + seed % 60, width=1600, height=1200, side=cells_of, seed=seed))


def roi_of(outline: Outline, *, region_id: str = "drawn", **fields: float) -> Roi:
    """An ROI of any shape; keywords are what its own number fields say."""
    return Roi(region_id, outline, fields)


def outlines(x: int, y: int, radius: int) -> dict[str, Outline]:
    """One of each kind about a point: all reach so far to the left, right, up and down, and none into the corners of
    the box around it.

    Each holds the diamond between these four ends.
    """
    turns = [radians(45 * step) for step in range(8)]
    rows = [(row, round((radius**2 - (row - y) ** 2) ** 0.5)) for row in range(y - radius + 1, y + radius)]
    return {
        "turned rectangle": Polygon.rectangle(x, y - radius, radius * 2**0.5, radius * 2**0.5, 45),
        "polygon": Polygon(tuple((x + radius * cos(turn), y + radius * sin(turn)) for turn in turns)),
        "ellipse": Ellipse(x, y, radius, radius),
        "brush": Painted(tuple(Box(x - half, row, x + half, row + 1) for row, half in rows)),
    }
