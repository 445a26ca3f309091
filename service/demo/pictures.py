"""Microscope fields to try the product on: stained cells with true boxes, and what else lies on a slide.

Everything is summed up as optical density, as light does it in a slide (Beer-Lambert): what lies on top of
something makes it darker. Lengths are pixels of a 1600 × 1200 field; a field of another size shows the same
at its own scale.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil, cos, pi, sin

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from service.batch.labels import LabelledObject
from service.domain.geometry import Box

Array = npt.NDArray[np.float32]
Tint = tuple[float, float, float]

CELL = "Cell"
# What each dye takes from red, green and blue.
EOSIN: Tint = (0.06, 0.46, 0.20)
HAEMATOXYLIN: Tint = (1.05, 1.15, 0.48)
# Density below this is three grey levels or less: it is cut off, so that a cell ends where its box says.
FAINTEST = 0.015


@dataclass(frozen=True, slots=True)
class Field:
    """A picture and the true extents, in its pixels, of all the cells in it."""

    image: Image.Image
    objects: tuple[LabelledObject, ...]


def draw_field(seed: int, width: int = 1600, height: int = 1200) -> Field:
    """A field of `width` × `height` px with 12 to 30 cells in clusters.

    Same seed (0, 1, …) and size, same pixels. A wide stretch is left without cells: 520 px or more each way,
    at 1600 × 1200 px. Nothing outside of the boxes stems from a cell, and no box is larger than what can be
    seen of its cell; cells at the border are cut off by it.
    """
    density = _background(seed, width, height)
    objects = _add_cells(density, _chance(seed, "cells"))
    return Field(_exposed(density, seed), objects)


def draw_background(seed: int, width: int = 1600, height: int = 1200) -> Image.Image:
    """The same field without its cells: light, debris, fibres, bubbles and grain as in `draw_field`."""
    return _exposed(_background(seed, width, height), seed)


def _chance(seed: int, purpose: str) -> np.random.Generator:
    """Chance of its own for each purpose, so that one thing more of one kind moves none of another."""
    return np.random.default_rng([seed, *purpose.encode()])


def _exposed(density: Array, seed: int) -> Image.Image:
    """What the camera makes of the density (height × width × RGB): light that is left, and grain."""
    chance = _chance(seed, "grain")
    levels = np.exp(-density)
    levels *= 255
    levels += 1.6 * chance.standard_normal((*density.shape[:2], 1), dtype=np.float32)
    np.clip(levels, 0, 254.5, out=levels)
    return Image.fromarray((levels + 0.5).astype(np.uint8))


# Shapes: arrays of strength, 0 to 1


def _mottle(chance: np.random.Generator, shape: tuple[int, ...], grain: float) -> Array:
    """Random texture with spots of about `grain` px; mean 0, deviation about 1; `shape` is height, width."""
    height, width = shape
    coarse = chance.standard_normal((ceil(height / grain) + 3, ceil(width / grain) + 3), dtype=np.float32)
    smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
    return 1.4 * np.asarray(smooth, dtype=np.float32)


def _blob(
    chance: np.random.Generator,
    radius: float,
    *,
    soft: float,
    wobble: float,
    stretch: float = 1.0,
    reach: int | None = None,
    centre: tuple[float, float] = (0.0, 0.0),
) -> Array:
    """A roundish, uneven thing in a square of 2 × `reach` + 1 px, its edge fading over `soft` px."""
    reach = reach or ceil(radius * stretch * (1 + 3 * wobble)) + 1
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1].astype(np.float32)
    x, y = x - np.float32(centre[0]), y - np.float32(centre[1])
    turn = chance.uniform(0, pi)
    along, across = (x * cos(turn) + y * sin(turn)) / stretch, y * cos(turn) - x * sin(turn)
    angle = np.arctan2(across, along)
    edge = np.full_like(angle, radius)
    for waves in range(2, 7):
        height, phase = radius * wobble * chance.normal() / (waves - 1), chance.uniform(0, 2 * pi)
        edge += height * np.cos(waves * angle + phase)
    share = np.clip((edge - np.hypot(along, across)) / soft, 0, 1)
    return np.asarray(share * share * (3 - 2 * share), dtype=np.float32)


def _stamp(density: Array, x: int, y: int, strength: Array, tint: Tint) -> None:
    """Add a shape to the density, its middle at (x, y); what sticks out of the picture is lost."""
    height, width = density.shape[:2]
    rows, columns = strength.shape
    top, left = y - rows // 2, x - columns // 2
    seen = strength[max(-top, 0) : max(height - top, 0), max(-left, 0) : max(width - left, 0)]
    place = density[max(top, 0) : max(top + rows, 0), max(left, 0) : max(left + columns, 0)]
    place += seen[..., None] * np.asarray(tint, dtype=np.float32)


# What lies on a slide besides cells


def _background(seed: int, width: int, height: int) -> Array:
    """Light and everything that isn't a cell, as density: height × width × RGB."""
    density = _light(_chance(seed, "light"), width, height)
    scale = min(width / 1600, height / 1200)
    for kind, least, most in ((_speck, 5, 10), (_debris, 25, 45), (_fibre, 2, 5), (_bubble, 1, 4)):
        chance = _chance(seed, kind.__name__)
        for _ in range(chance.integers(least, most + 1)):
            x, y = int(chance.integers(width)), int(chance.integers(height))
            strength, tint = kind(chance, scale)
            _stamp(density, x, y, strength, tint)
    return density


def _light(chance: np.random.Generator, width: int, height: int) -> Array:
    """The lamp, brightest near the middle, through glass and thin mounting medium that is not quite even."""
    y = np.linspace(-1, 1, height, dtype=np.float32)[:, None] - np.float32(chance.uniform(-0.25, 0.25))
    x = np.linspace(-1, 1, width, dtype=np.float32)[None, :] - np.float32(chance.uniform(-0.25, 0.25))
    shade = np.float32(chance.uniform(0.06, 0.12)) * (x * x + y * y)
    shade += np.float32(chance.uniform(-0.04, 0.04)) * x + np.float32(chance.uniform(-0.04, 0.04)) * y
    scale = min(width / 1600, height / 1200)
    medium = np.zeros((height, width), dtype=np.float32)
    for grain, weight in ((380, 0.014), (90, 0.007), (18, 0.004), (3, 0.004)):
        medium += np.float32(weight) * _mottle(chance, medium.shape, max(grain * scale, 1))
    density = medium[..., None] * np.array((0.7, 1.3, 0.8), dtype=np.float32)
    density += shade[..., None]
    density += (np.array((0.055, 0.08, 0.06)) + chance.uniform(-0.02, 0.02, 3)).astype(np.float32)
    return density


def _speck(chance: np.random.Generator, scale: float) -> tuple[Array, Tint]:
    """Dirt far out of focus: a faint grey disc."""
    radius = chance.uniform(18, 60) * scale
    disc = _blob(chance, radius, soft=radius * chance.uniform(0.35, 0.9), wobble=0.02)
    faint = chance.uniform(0.04, 0.12)
    return disc, (faint, faint * 1.05, faint * 0.9)


def _debris(chance: np.random.Generator, scale: float) -> tuple[Array, Tint]:
    """A pale crumb: brown, grey, or faintly stained like a cell, ragged and grainy."""
    radius = min(chance.lognormal(2.0, 0.6), 30) * scale
    crumb = _blob(chance, radius, soft=max(radius * 0.5, 1.5), wobble=0.14, stretch=chance.uniform(1, 2.2))
    crumb *= np.clip(0.9 + 0.3 * _mottle(chance, crumb.shape, max(radius / 3, 1.5)), 0.2, 1.6)
    tints: tuple[Tint, ...] = ((0.5, 0.65, 0.9), (0.6, 0.6, 0.55), (0.2, 0.6, 0.3), (0.7, 0.75, 0.35))
    red, green, blue = tints[chance.integers(len(tints))]
    depth = chance.uniform(0.12, 0.45)
    return crumb, (red * depth, green * depth, blue * depth)


def _fibre(chance: np.random.Generator, scale: float) -> tuple[Array, Tint]:
    """A bent thread of cotton or paper, more or less in focus."""
    reach = ceil(chance.uniform(90, 260) * scale) + 4
    sheet = Image.new("L", (2 * reach + 1, 2 * reach + 1))
    x = y = float(reach)
    heading, bend = chance.uniform(0, 2 * pi), chance.normal(0, 0.02)
    middle: list[tuple[float, float]] = []
    while 3 < x < 2 * reach - 3 and 3 < y < 2 * reach - 3 and len(middle) < 120:
        middle.append((x, y))
        x, y = x + 5 * scale * cos(heading), y + 5 * scale * sin(heading)
        bend = 0.93 * bend + chance.normal(0, 0.016)
        heading += bend
    width = max(round(chance.uniform(3, 7) * scale), 1)
    ImageDraw.Draw(sheet).line(middle, fill=255, width=width, joint="curve")
    soft = sheet.filter(ImageFilter.GaussianBlur(chance.uniform(1.0, 3.5) * scale))
    thick = np.asarray(soft) / 255
    # A thread refracts: its edges are darker than its middle.
    edges = (thick - 0.6 * thick * thick).astype(np.float32)
    depth = chance.uniform(0.25, 0.6)
    return edges, (depth * chance.uniform(0.6, 1.1), depth * 0.8, depth * chance.uniform(0.4, 0.9))


def _bubble(chance: np.random.Generator, scale: float) -> tuple[Array, Tint]:
    """Air under the cover glass: a dark rim, a bright ring within, and almost clear inside."""
    radius = chance.uniform(14, 48) * scale
    soft = max(2.5 * scale, 1.0)
    reach = ceil(radius + 4 * soft)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    distance = (np.hypot(x, y) - radius) / soft
    rim = np.exp(-(distance**2)) * (1 + 0.35 * (x + y) / radius)
    strength = rim - 0.35 * np.exp(-((distance + 2.6) ** 2)) - 0.05 * (distance < -2.6)
    return strength.astype(np.float32), (0.55, 0.52, 0.45)


# Cells


def _add_cells(density: Array, chance: np.random.Generator) -> tuple[LabelledObject, ...]:
    """Stain clusters of cells into the density, and say where each cell can be seen."""
    height, width = density.shape[:2]
    objects = []
    for x, y, radius in _places(chance, width, height):
        stain = _cell(chance, radius)
        reach = stain.shape[0] // 2
        top, left = max(y - reach, 0), max(x - reach, 0)
        seen = stain[top - y + reach : height - y + reach, left - x + reach : width - x + reach]
        density[top : top + seen.shape[0], left : left + seen.shape[1]] += seen
        rows, columns, _ = np.nonzero(seen)
        x1, y1, x2, y2 = (int(edge) for edge in (columns.min(), rows.min(), columns.max(), rows.max()))
        objects.append(LabelledObject(CELL, Box(left + x1, top + y1, left + x2 + 1, top + y2 + 1)))
    return tuple(objects)


def _places(chance: np.random.Generator, width: int, height: int) -> Iterator[tuple[int, int, float]]:
    """Centres (x, y) and radii of 12 to 30 cells in clusters, all well outside of one wide quiet stretch."""
    scale = min(width / 1600, height / 1200)
    side = np.array((chance.uniform(520, 700), chance.uniform(520, 700))) * scale
    field = np.array((width, height))
    quiet = chance.uniform(0, 1, 2) * (field - side)

    def crowds_quiet(spot: npt.NDArray[np.float64], room: float) -> bool:
        return bool(((spot > quiet - room) & (spot < quiet + side + room)).all())

    clusters: list[npt.NDArray[np.float64]] = []
    wanted_clusters = chance.integers(3, 5)
    while len(clusters) < wanted_clusters:
        spot = chance.uniform(0.08, 0.92, 2) * field
        if not crowds_quiet(spot, 60 * scale):
            clusters.append(spot)

    placed: list[tuple[npt.NDArray[np.float64], float]] = []
    wanted, spread = chance.integers(12, 31), 70 * scale
    while len(placed) < wanted:
        spread *= 1.01  # until the next cell finds room
        radius = float(np.clip(chance.normal(44, 8), 28, 62)) * scale
        spot = np.round(clusters[chance.integers(len(clusters))] + chance.normal(0, spread, 2))
        inside = ((spot >= 0) & (spot < field)).all()
        alone = all(np.hypot(*(spot - other)) > 0.85 * (radius + far) for other, far in placed)
        if inside and alone and not crowds_quiet(spot, _reach(radius) + 1):
            placed.append((spot, radius))
            yield int(spot[0]), int(spot[1]), radius


def _reach(radius: float) -> int:
    """How far from its centre a cell of this radius may get, in px."""
    return ceil(1.7 * radius)


def _cell(chance: np.random.Generator, radius: float) -> Array:
    """A cell as density, square × RGB: pink cytoplasm, a bluish purple nucleus, and zero around them."""
    reach = _reach(radius)
    focus = radius * chance.uniform(0.06, 0.14)
    body = _blob(chance, radius, soft=focus, wobble=0.06, stretch=chance.uniform(1, 1.3), reach=reach)
    granules = _mottle(chance, body.shape, max(radius / 9, 1))
    folds = _mottle(chance, body.shape, max(radius / 2, 1))
    cytoplasm = body * (chance.uniform(0.45, 0.85) + 0.05 * granules + 0.09 * folds)

    kernel = radius * chance.uniform(0.27, 0.48)
    shift = chance.normal(0, 0.1, 2) * radius
    nucleus = _blob(
        chance,
        kernel,
        soft=max(focus * 1.2, 1.0),
        wobble=0.05,
        stretch=chance.uniform(1, 1.35),
        reach=reach,
        centre=(float(shift[0]), float(shift[1])),
    )
    chromatin = _mottle(chance, body.shape, max(kernel / 5, 1))
    nucleus *= body * np.clip(chance.uniform(0.6, 1.0) + 0.12 * chromatin, 0.2, 1.3)

    blueness = chance.uniform(0.02, 0.14)  # some cytoplasm takes up the nuclear dye as well
    stain = np.multiply.outer(cytoplasm, np.array(EOSIN) + blueness * np.array(HAEMATOXYLIN))
    stain += np.multiply.outer(nucleus, np.array(HAEMATOXYLIN))
    stain[stain.max(axis=2) < FAINTEST] = 0
    return stain.astype(np.float32)
