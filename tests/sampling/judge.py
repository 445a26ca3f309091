"""An independent judge of shapes and patches: shapely, which knows nothing of rows, runs and sweeps.

Runs alone, too, over as many random scenes as one likes: `python -m tests.sampling.judge --scenes 100000`.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import cos, pi, radians, sin, sqrt
from random import Random
from typing import Any

import click
import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from service.domain.geometry import TOLERANCE, Box, Ellipse, Outline, Painted, Point, Polygon, Shape
from service.domain.model import Roi, Rules, Scene
from service.raster import painted
from service.sampling import Sampling, sample

Mask = NDArray[np.bool_]
"""One truth per pixel: shape (height, width)."""
Geometries = NDArray[Any]

SURELY = TOLERANCE * 1.01
"""What reaches so deep into a pixel is no rounding."""
BARELY = 1e-9

# ---------------------------------------------------------------- shapes, as shapely sees them


def seen(shape: Shape, *, outer: bool = False, corners: int = 256) -> BaseGeometry:
    """The shape; an ellipse is a polygon in it, or about it (`outer`)."""
    match shape:
        case Box():
            return shapely.box(*shape.corners[0], *shape.corners[2])
        case Painted():
            return shapely.union_all([seen(box) for box in shape.boxes])
        case Polygon():
            return wound_round(shape.points)
        case Ellipse():
            reach = 1 / cos(pi / corners) if outer else 1.0
            angle = np.linspace(0, 2 * pi, corners, endpoint=False)
            along, across = reach * shape.radius_x * np.cos(angle), reach * shape.radius_y * np.sin(angle)
            c, s = cos(radians(shape.rotation)), sin(radians(shape.rotation))
            return shapely.Polygon(np.stack([shape.x + c * along - s * across, shape.y + s * along + c * across], 1))


def ready(geometry: BaseGeometry) -> BaseGeometry:
    """The geometry, made ready to be asked often."""
    shapely.prepare(geometry)
    return geometry


def wound_round(points: Sequence[Point]) -> BaseGeometry:
    """All that the closed line through these points winds round: SVG's rule "nonzero"."""
    ring = shapely.LinearRing(points)
    if ring.is_simple:
        return shapely.Polygon(points)
    faces = shapely.get_parts(shapely.polygonize([shapely.union_all([ring])]))
    return shapely.union_all([face for face in faces if winding(points, face.representative_point())])


def winding(points: Sequence[Point], about: shapely.Point) -> int:
    """How often the closed line winds round a point that isn't on it."""
    times = 0
    for (x1, y1), (x2, y2) in pairwise([*points, points[0]]):
        if (y1 <= about.y) != (y2 <= about.y) and x1 + (about.y - y1) / (y2 - y1) * (x2 - x1) > about.x:
            times += 1 if y2 > y1 else -1
    return times


# ---------------------------------------------------------------- pixel by pixel


def squares(frame: Box, grown: float) -> Geometries:
    """Each pixel of the frame as a square, grown on each side: shape (height, width)."""
    x, y = np.meshgrid(np.arange(frame.left, frame.right), np.arange(frame.top, frame.bottom))
    squares: Geometries = shapely.box(x - grown, y - grown, x + 1 + grown, y + 1 + grown)
    return squares


def covers_of(shape: Shape, frame: Box, margin: int = 0) -> Mask | None:
    """Which pixels come nearer than `margin` to the shape; None when it is too close to tell from rounding."""
    near = shape.bounds.grown(margin + 1)
    return _told(
        near,
        frame,
        lambda cells, depth: shapely.intersects(
            ready(seen(shape, outer=depth == BARELY, corners=1024)), cells(margin - depth)
        ),
        elsewhere=False,
    )


def beyond_of(outline: Outline, frame: Box) -> Mask | None:
    """Which pixels aren't wholly inside; None when it is too close to tell from rounding."""
    return _told(
        outline.bounds.grown(1),
        frame,
        lambda cells, depth: ~shapely.covers(ready(seen(outline, outer=depth == SURELY, corners=1024)), cells(-depth)),
        elsewhere=True,
    )


def _told(
    near: Box, frame: Box, judged: Callable[[Callable[[float], Geometries], float], Mask], *, elsewhere: bool
) -> Mask | None:
    told: Mask = np.full((frame.height, frame.width), elsewhere)
    if part := near.common(frame):
        sure, possible = (judged(lambda grown: squares(part, grown), depth) for depth in (SURELY, BARELY))
        if (sure != possible).any():
            return None
        top, left = part.top - frame.top, part.left - frame.left
        told[top : top + part.height, left : left + part.width] = sure
    return told


def valid_corners(forbidden: Mask, width: int, height: int) -> Mask:
    """Brute force: at which corners a patch of this size holds no forbidden pixel."""
    rows, columns = forbidden.shape
    valid = np.ones((max(rows - height + 1, 0), max(columns - width + 1, 0)), dtype=bool)
    for y in range(height):
        for x in range(width):
            valid &= ~forbidden[y : y + valid.shape[0], x : x + valid.shape[1]]
    return valid


# ---------------------------------------------------------------- random shapes and scenes

SMALL = Rules(patches=1, min_size=1, max_size=99)
ROI_KINDS = ("rectangle", "rotated", "polygon", "ellipse", "brush")
OBJECT_KINDS = ("box", "rotated", "polygon", "ellipse", "brush", "keypoint")


def random_shape(kind: str, rng: Random, x: float, y: float, reach: float) -> Shape:
    """A shape of this kind about the point (x, y), that reaches about so far from it."""
    wide, high = (reach * rng.uniform(0.5, 1.0) for _ in range(2))
    match kind:
        case "box":
            return Box.sized(int(x - wide), int(y - high), max(int(2 * wide), 1), max(int(2 * high), 1))
        case "keypoint":
            return Ellipse(x, y, reach, reach)
    return random_outline(kind, rng, x, y, reach)


def random_outline(kind: str, rng: Random, x: float, y: float, reach: float) -> Outline:
    """As `random_shape`, of a kind that an ROI can be; a rectangle has whole pixels or cut ones."""
    wide, high = (reach * rng.uniform(0.5, 1.0) for _ in range(2))
    match kind:
        case "polygon":
            return random_polygon(rng, x, y, reach)
        case "ellipse":
            return Ellipse(x, y, wide, high, rng.uniform(-180, 180))
        case "brush":
            return random_brush(rng, x, y, reach)
        case "rotated":
            rotation = rng.uniform(-180, 180)
            c, s = cos(radians(rotation)), sin(radians(rotation))
            left, top = x - wide * c + high * s, y - wide * s - high * c
            return Polygon.rectangle(left, top, 2 * wide, 2 * high, rotation)
        case "rectangle" if rng.random() < 0.5:
            return Polygon.rectangle(round(x - wide), round(y - high), round(2 * wide + 1), round(2 * high + 1))
        case "rectangle":
            return Polygon.rectangle(x - wide, y - high, 2 * wide, 2 * high)
    raise ValueError(f"not a kind of ROI: {kind}")


def random_polygon(rng: Random, x: float, y: float, reach: float, way: str = "") -> Polygon:
    """Convex, a star, or with whole corners; it doesn't cross itself."""
    way = way or rng.choice(["convex", "star", "whole"])
    while True:
        angles = sorted(rng.uniform(0, 2 * pi) for _ in range(rng.randint(3, 9)))
        reaches = [reach * (1.0 if way == "convex" else rng.uniform(0.35, 1.0)) for _ in angles]
        points = [(x + r * cos(angle), y + r * sin(angle)) for r, angle in zip(reaches, angles, strict=True)]
        if way == "whole":
            points = [(round(a), round(b)) for a, b in points]
        if len(set(points)) == len(points) and shapely.Polygon(points).is_valid:
            return Polygon(tuple(points))


def crossing_polygon(rng: Random, x: float, y: float, reach: float) -> Polygon:
    """One that crosses itself."""
    while True:
        points = tuple(
            (x + rng.uniform(-reach, reach), y + rng.uniform(-reach, reach)) for _ in range(rng.randint(4, 8))
        )
        if not shapely.LinearRing(points).is_simple:
            return Polygon(points)


def random_brush(rng: Random, x: float, y: float, reach: float) -> Painted:
    """Strokes of a round brush, some of them rubbed out again."""
    side = 2 * int(reach) + 2
    column, row = np.meshgrid(np.arange(side), np.arange(side))
    while True:
        mask = np.zeros((side, side), dtype=bool)
        for stroke in range(rng.randint(3, 8)):
            radius = reach * rng.uniform(0.25, 0.6) if stroke % 3 < 2 else reach * 0.15
            a, b = (rng.uniform(radius, side - radius) for _ in range(2))
            mask[(column - a) ** 2 + (row - b) ** 2 <= radius**2] = stroke % 3 < 2
        if brush := painted(mask):
            left, top = int(x) - side // 2, int(y) - side // 2
            return Painted(tuple(Box(*(n + d for n, d in zip(sides_of(box), (left, top) * 2, strict=True)))
                                 for box in brush.boxes))  # fmt: skip


def sides_of(box: Box) -> tuple[int, int, int, int]:
    """Left, top, right, bottom."""
    return box.left, box.top, box.right, box.bottom


@dataclass(frozen=True)
class Trial:
    """One draw in a crowded scene, with all that was asked."""

    scene: Scene
    roi: Roi
    rules: Rules
    seed: int
    kept: tuple[Box, ...] = ()
    others: tuple[Box, ...] = ()

    @property
    def sampling(self) -> Sampling:
        """What the sampler answers."""
        return sample(self.scene, self.roi, self.rules, self.seed, kept=self.kept, others=self.others)


def random_trial(seed: int) -> Trial:
    """A small image with objects of every kind and an ROI of any, which may hang over the image's border."""
    rng = Random(seed)
    width, height = rng.randint(60, 200), rng.randint(60, 200)
    least = rng.randint(6, 20)
    room = rng.uniform(0.3, 0.6) * min(width, height)
    objects = tuple(
        random_shape(rng.choice(OBJECT_KINDS), rng, rng.uniform(0, width), rng.uniform(0, height), rng.uniform(1, 12))
        for _ in range(int(rng.uniform(0.5, 2.5) * width * height / (least + 12) ** 2))
    )
    outline = (
        crossing_polygon(rng, width / 2, height / 2, 1.5 * room)
        if rng.random() < 0.1
        else random_outline(
            rng.choice(ROI_KINDS), rng, rng.uniform(0.3, 0.7) * width, rng.uniform(0.3, 0.7) * height, room
        )
    )
    rules = Rules(
        patches=rng.randint(1, 6),
        min_size=least,
        max_size=rng.randint(least, 4 * least),
        max_overlap=rng.choice([0.5, 0.5, 0.5, 1.0, 0.9, 1 / 3, 0.1]),
        margin=rng.choice([0, 0, 0, 1, 2, 5]),
        square=rng.random() < 0.3,
        align=rng.choice([1, 1, 1, 2, 3, 8]),
    )
    trial = Trial(Scene(width, height, objects), Roi("drawn", outline), rules, seed)
    if rng.random() < 0.3:
        near = trial.roi.box.grown(least)
        corners = [(rng.randint(near.left, near.right), rng.randint(near.top, near.bottom)) for _ in range(2)]
        others = tuple(Box.sized(x, y, rng.randint(1, 2 * least), rng.randint(1, 2 * least)) for x, y in corners)
        trial = replace(trial, others=others)
    if rng.random() < 0.3:
        trial = replace(trial, kept=replace(trial, rules=replace(rules, patches=1), seed=seed + 1).sampling.boxes)
    return trial


@dataclass(frozen=True)
class Ground:
    """An ROI in a small image with objects, and which pixels of `room` no patch may hold, judged one by one."""

    scene: Scene
    roi: Roi
    rules: Rules
    room: Box
    forbidden: Mask

    def corners(self, width: int, height: int) -> list[tuple[int, int]]:
        """Brute force: all places for a patch of this size, (x, y), row by row."""
        rows, columns = np.nonzero(valid_corners(self.forbidden, width, height))
        found = zip((columns + self.room.left).tolist(), (rows + self.room.top).tolist(), strict=True)
        return [(x, y) for x, y in found if x % self.rules.align == y % self.rules.align == 0]


def ground_of(scene: Scene, roi: Roi, rules: Rules) -> Ground | None:
    """The ground, judged pixel by pixel; None when it is too close to tell, or no part of the ROI is in the image."""
    room = roi.box.common(scene.frame)
    if room is None:
        return None
    forbidden = beyond_of(roi.outline, room)
    for shape in scene.exclusions:
        if forbidden is None or (held := covers_of(shape, room, rules.margin)) is None:
            return None
        forbidden = forbidden | held
    return None if forbidden is None else Ground(scene, roi, rules, room, forbidden)


def grounds(
    rng: Random, wanted: int, roi_kind: str = "", object_kind: str = "", rules: Rules = SMALL
) -> Iterator[Ground]:
    """Random ones with an ROI and objects of these kinds (any, if empty), with a margin and a grid of any width."""
    while wanted:
        width, height = rng.randint(36, 52), rng.randint(36, 52)
        x, y = rng.uniform(0.3, 0.7) * width, rng.uniform(0.3, 0.7) * height
        outline = random_outline(roi_kind or rng.choice(ROI_KINDS), rng, x, y, rng.uniform(12, 26))
        objects = tuple(
            random_shape(object_kind or rng.choice(OBJECT_KINDS), rng, a, b, rng.uniform(0.5, 4))
            for a, b in ((rng.uniform(0, width), rng.uniform(0, height)) for _ in range(rng.randint(1, 10)))
        )
        own = replace(rules, margin=rng.choice([0, 0, 1, 2, 5]), align=rng.choice([1, 1, 3, 7, 8]))
        if ground := ground_of(Scene(width, height, objects), Roi("drawn", outline), own):
            wanted -= 1
            yield ground


# ---------------------------------------------------------------- verdicts


def evenness(times: Sequence[int]) -> float:
    """How uneven these counts are: Pearson's chi-square as a share of what chance alone exceeds once in a thousand
    (by Wilson and Hilferty's formula, good to some thousandths). 1 and more is suspicious.
    """
    freedom = len(times) - 1
    if not freedom:
        return 0.0
    mean = sum(times) / len(times)
    spread = 2 / (9 * freedom)
    rare = freedom * (1 - spread + 3.0902 * sqrt(spread)) ** 3
    return sum((each - mean) ** 2 for each in times) / mean / rare


def rectangles(boxes: Iterable[Box], grown: float = 0.0) -> Geometries:
    """The boxes as shapely's."""
    sides = np.array([sides_of(box) for box in boxes], dtype=float).reshape(-1, 4)
    left, top, right, bottom = sides.T
    found: Geometries = shapely.box(left - grown, top - grown, right + grown, bottom + grown)
    return found


def outside(trial: Trial, boxes: Sequence[Box]) -> Mask:
    """Which of the boxes leave ROI or image."""
    frame = shapely.box(0, 0, trial.scene.width, trial.scene.height)
    area = ready(seen(trial.roi.outline, outer=True))
    inside = shapely.covers(area, rectangles(boxes, -SURELY)) & shapely.covers(frame, rectangles(boxes))
    return np.logical_not(inside)


def touching(trial: Trial, boxes: Sequence[Box]) -> Mask:
    """Which of the boxes come nearer to an object than the margin."""
    objects = np.array([seen(shape) for shape in trial.scene.exclusions], dtype=object)
    grown = rectangles(boxes, trial.rules.margin - SURELY)
    found: Mask = np.any(shapely.intersects(objects[None, :], grown[:, None]), axis=1)
    return found


def forbidden_size(trial: Trial, boxes: Sequence[Box]) -> Mask:
    """Which of the boxes are of a size or at a corner that the rules don't allow."""
    rules = trial.rules
    left, top, right, bottom = np.array([sides_of(box) for box in boxes]).reshape(-1, 4).T
    width, height = right - left, bottom - top
    bad = (np.minimum(width, height) < rules.min_size) | (np.maximum(width, height) > rules.max_size)
    found: Mask = bad | (rules.square & (width != height)) | (left % rules.align != 0) | (top % rules.align != 0)
    return found


def crowding(trial: Trial, boxes: Sequence[Box]) -> Mask:
    """Which of the boxes overlap one before them, or one that was there, too much."""
    every = rectangles((*trial.kept, *trial.others, *boxes))
    area = shapely.area(every)
    shared = shapely.area(shapely.intersection(every[:, None], every[None, :]))
    too_much = np.greater_equal(shared, trial.rules.max_overlap * np.minimum(area[:, None], area[None, :]))
    found: Mask = np.any(np.tril(too_much, -1), axis=1)
    return found[len(every) - len(boxes) :]


RULES = {"outside": outside, "touching": touching, "forbidden size": forbidden_size, "crowding": crowding}


def violations(trial: Trial, boxes: Sequence[Box]) -> Counter[str]:
    """How many of the boxes break which rule."""
    return Counter({name: int(broken(trial, boxes).sum()) for name, broken in RULES.items()}) if boxes else Counter()


def at_random(trial: Trial, rng: Random, wanted: int) -> list[Box]:
    """Boxes of allowed sizes anywhere in the ROI's bounding box: what one would get without looking."""
    rules, room, boxes = trial.rules, trial.roi.box, []
    most = room.width, room.height
    for _ in range(wanted):
        width, height = (rng.randint(rules.min_size, max(rules.min_size, min(rules.max_size, side))) for side in most)
        height = width if rules.square else height
        left = rng.randint(room.left, max(room.left, room.right - width))
        top = rng.randint(room.top, max(room.top, room.bottom - height))
        boxes.append(Box.sized(left - left % rules.align, top - top % rules.align, width, height))
    return boxes


@click.command()
@click.option("--scenes", default=1000, show_default=True, help="how many")
@click.option("--first", default=0, show_default=True, help="the first one's seed")
def main(scenes: int, first: int) -> None:
    """Draw in random scenes and count the patches that break a rule: there must be none."""
    patches, broken, causes, blind = 0, Counter[str](), Counter[str](), Counter[bool]()
    for seed in range(first, first + scenes):
        trial = random_trial(seed)
        sampling = trial.sampling
        patches += len(sampling.boxes)
        broken += (found := violations(trial, sampling.boxes))
        if found.total():
            click.echo(f"seed {seed}: {dict(found)}")
        if sampling.shortfall:
            causes[sampling.shortfall.cause] += 1
        if seed % 10 == 0:
            blind[any(violations(trial, at_random(trial, Random(seed), 1)).values())] += 1
        if (seed + 1 - first) % 10_000 == 0:
            click.echo(f"{seed + 1 - first} scenes, {patches} patches, {broken.total()} violations")
    click.echo(f"scenes {scenes}, patches {patches}, violations {broken.total()}")
    click.echo(
        f"shortfalls {causes.total()}: " + ", ".join(f"{cause} {times}" for cause, times in causes.most_common())
    )
    click.echo(f"a box at random breaks a rule in {blind[True] / blind.total():.1%} of the scenes")


if __name__ == "__main__":
    main()
