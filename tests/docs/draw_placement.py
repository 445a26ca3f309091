"""The pictures of docs/placement.md: `python -m tests.docs.draw_placement` draws them anew."""

from dataclasses import dataclass
from math import cos, radians, sin
from pathlib import Path
from random import Random

import numpy as np
from PIL import Image, ImageDraw

from service.domain.geometry import Box, Ellipse, Painted, Polygon, Shape
from service.domain.model import Roi, Rules, Scene
from service.raster import painted
from service.sampling import Sampling, sample

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
SCALE = 2
PAPER, CELL, ROI, PATCH, FREE = "#f4f1ec", "#c9a3ad", "#00a651", "#ff00ff", "#e07b00"


@dataclass(frozen=True)
class Example:
    """A scene for the page, and what came of it."""

    name: str
    scene: Scene
    outline: Polygon | Ellipse
    rules: Rules
    seed: int = 1

    @property
    def sampling(self) -> Sampling:
        """What the sampler says."""
        return sample(self.scene, Roi("drawn", self.outline), self.rules, self.seed)


def cells(count: int, width: int, height: int, seed: int) -> tuple[Shape, ...]:
    """Round cells all over a picture."""
    rng = Random(seed)
    return tuple(
        Ellipse(
            rng.uniform(0, width), rng.uniform(0, height), rng.uniform(16, 24), rng.uniform(14, 20), rng.uniform(0, 90)
        )
        for _ in range(count)
    )


def stroke(width: int, height: int) -> Painted:
    """A thing that somebody painted over: a bent fibre."""
    y, x = np.mgrid[:height, :width]
    found = painted(np.abs(y - 120 - 60 * np.sin(x / 90)) + 4 * (x > 330) * (x - 330) < 12)
    assert found is not None
    return found


EXAMPLES = (
    Example(
        "placement-mixed",
        Scene(640, 420, (*cells(26, 640, 420, 3), stroke(640, 420), Polygon.rectangle(470, 60, 90, 40, 35))),
        Polygon.rectangle(110, 20, 480, 300, 9),
        Rules(patches=5, min_size=60, max_size=200),
    ),
    Example("placement-too-small", Scene(320, 220, cells(6, 320, 220, 1)), Polygon.rectangle(110, 60, 90, 90), Rules()),
    Example("placement-blocked", Scene(480, 320, cells(70, 480, 320, 2)), Polygon.rectangle(40, 30, 400, 260), Rules()),
    Example("placement-impossible", Scene(320, 220), Polygon.rectangle(85, 35, 150, 150), Rules(patches=20)),
)


def draw(example: Example) -> Image.Image:
    """The scene, its ROI, the patches, and the largest free square where patches fall short."""
    scene, found = example.scene, example.sampling
    sheet = Image.new("RGB", (scene.width * SCALE, scene.height * SCALE), PAPER)
    pen = ImageDraw.Draw(sheet, "RGBA")
    for shape in scene.exclusions:
        match shape:
            case Painted():
                for box in shape.boxes:
                    pen.rectangle(_sides(box), fill=CELL)
            case _:
                pen.polygon(_points(shape), fill=CELL)
    pen.polygon(_points(example.outline), outline=ROI, width=3)
    for box in found.boxes:
        pen.rectangle(_sides(box), fill="#ff00ff30", outline=PATCH, width=3)
    if found.shortfall and found.shortfall.largest_free_square and not found.boxes:
        pen.rectangle(_sides(found.shortfall.largest_free_square), fill="#e07b0060", outline=FREE, width=3)
    return sheet


def _sides(box: Box) -> tuple[int, int, int, int]:
    return box.left * SCALE, box.top * SCALE, box.right * SCALE - 1, box.bottom * SCALE - 1


def _points(shape: Shape) -> list[tuple[float, float]]:
    match shape:
        case Ellipse(x, y, a, b, turned):
            c, s = cos(radians(turned)), sin(radians(turned))
            around = [(a * cos(radians(t)), b * sin(radians(t))) for t in range(0, 360, 5)]
            points = [(x + u * c - v * s, y + u * s + v * c) for u, v in around]
        case Polygon():
            points = list(shape.points)
        case _:
            points = [corner for box in ((shape,) if isinstance(shape, Box) else shape.boxes) for corner in box.corners]
    return [(x * SCALE, y * SCALE) for x, y in points]


def main() -> None:
    """Write all pictures."""
    for example in EXAMPLES:
        draw(example).save(PICTURES / f"{example.name}.png", optimize=True)


if __name__ == "__main__":
    main()
