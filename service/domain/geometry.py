"""Boxes and outlines in source-image pixels.

The frame is the image as Label Studio shows it: EXIF orientation applied, x to the right, y down. Boxes are integers
and half-open; outlines are floats, because they come from percents.
"""

from dataclasses import dataclass
from itertools import pairwise
from math import ceil, cos, floor, isfinite, radians, sin

# Label Studio's percents are floats: 100 px of 640 come back as 99.99999999999999. A thousandth of a pixel is far below
# what a hand can draw and far above what the arithmetic loses.
TOLERANCE = 1e-3

Point = tuple[float, float]


@dataclass(frozen=True, slots=True, order=True)
class Box:
    """A rectangle in source-image pixels; right and bottom are exclusive."""

    left: int
    top: int
    right: int
    bottom: int

    def __post_init__(self) -> None:
        if self.left >= self.right or self.top >= self.bottom:
            raise ValueError(f"empty box: {self}")

    @classmethod
    def sized(cls, left: int, top: int, width: int, height: int) -> "Box":
        """The box with this top-left corner, width and height, in pixels."""
        return cls(left, top, left + width, top + height)

    @property
    def width(self) -> int:
        """Pixels from left to right."""
        return self.right - self.left

    @property
    def height(self) -> int:
        """Pixels from top to bottom."""
        return self.bottom - self.top

    @property
    def area(self) -> int:
        """Square pixels."""
        return self.width * self.height

    @property
    def corners(self) -> tuple[Point, Point, Point, Point]:
        """The four corners, clockwise from the top left."""
        return (
            (self.left, self.top),
            (self.right, self.top),
            (self.right, self.bottom),
            (self.left, self.bottom),
        )

    def shared_area(self, other: "Box") -> int:
        """Square pixels that both boxes cover."""
        width = min(self.right, other.right) - max(self.left, other.left)
        height = min(self.bottom, other.bottom) - max(self.top, other.top)
        return width * height if width > 0 and height > 0 else 0

    def touches(self, other: "Box") -> bool:
        """Whether the boxes share a pixel; boxes that only meet at an edge do not."""
        return self.shared_area(other) > 0

    def holds(self, other: "Box") -> bool:
        """Whether the other box lies wholly in this one."""
        return (
            self.left <= other.left
            and self.top <= other.top
            and other.right <= self.right
            and other.bottom <= self.bottom
        )

    def grown(self, margin: int) -> "Box":
        """The box with so many pixels more on each side."""
        return Box(self.left - margin, self.top - margin, self.right + margin, self.bottom + margin)

    def as_xywh(self) -> tuple[int, int, int, int]:
        """(x, y, width, height) in pixels."""
        return self.left, self.top, self.width, self.height


def enclosing(boxes: tuple[Box, ...]) -> Box:
    """The smallest box that holds all of these; there must be at least one."""
    return Box(
        min(box.left for box in boxes),
        min(box.top for box in boxes),
        max(box.right for box in boxes),
        max(box.bottom for box in boxes),
    )


@dataclass(frozen=True, slots=True)
class Outline:
    """A convex polygon in source-image pixels, corners clockwise (y down): what a rectangle is once it is rotated."""

    points: tuple[Point, ...]

    def __post_init__(self) -> None:
        if len(self.points) < 3:
            raise ValueError(f"an outline needs three points: {self}")

    @classmethod
    def rectangle(cls, x: float, y: float, width: float, height: float, rotation: float = 0.0) -> "Outline":
        """A rectangle in pixels, turned clockwise by `rotation` degrees about its top-left corner (as Label Studio
        does).
        """
        if not (width > 0 and height > 0 and all(isfinite(value) for value in (x, y, width, height, rotation))):
            raise ValueError(f"empty rectangle: {width} × {height} px at ({x}, {y}), turned by {rotation}")
        c, s = cos(radians(rotation)), sin(radians(rotation))
        corners = ((0.0, 0.0), (width, 0.0), (width, height), (0.0, height))
        return cls(tuple((x + u * c - v * s, y + u * s + v * c) for u, v in corners))

    @property
    def bounds(self) -> Box:
        """The smallest box of whole pixels around the outline: rounded outward."""
        xs, ys = zip(*self.points, strict=True)
        return outward(min(xs), min(ys), max(xs), max(ys))

    @property
    def rounded(self) -> tuple[Point, ...]:
        """The corners to a hundredth of a pixel: what ids and seeds are made of."""
        return tuple((round(x, 2), round(y, 2)) for x, y in self.points)

    def holds(self, box: Box) -> bool:
        """Whether the box lies wholly inside; for a convex outline its four corners decide."""
        return all(self._left_of_no_edge(corner) for corner in box.corners)

    def _left_of_no_edge(self, point: Point) -> bool:
        x, y = point
        for (x1, y1), (x2, y2) in pairwise((*self.points, self.points[0])):
            length = ((x2 - x1) ** 2 + (y2 - y1) ** 2) ** 0.5
            if (x2 - x1) * (y - y1) - (y2 - y1) * (x - x1) < -TOLERANCE * length:
                return False
        return True


def outward(left: float, top: float, right: float, bottom: float) -> Box:
    """Whole pixels that cover this extent; an extent without width or height covers one pixel."""
    x1, y1 = floor(left + TOLERANCE), floor(top + TOLERANCE)
    return Box(x1, y1, max(ceil(right - TOLERANCE), x1 + 1), max(ceil(bottom - TOLERANCE), y1 + 1))


def inward(left: float, top: float, right: float, bottom: float) -> Box:
    """The whole pixels that lie wholly in this extent. Raises `ValueError` when there are none."""
    return Box(ceil(left - TOLERANCE), ceil(top - TOLERANCE), floor(right + TOLERANCE), floor(bottom + TOLERANCE))
