"""Boxes and other shapes in source-image pixels.

The frame is the image as Label Studio shows it: EXIF orientation applied, x to the right, y down. Boxes are integers
and half-open; other shapes are floats, because they come from percents.
"""

from dataclasses import dataclass
from math import ceil, cos, floor, hypot, isfinite, radians, sin

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
    def words(self) -> str:
        """Size and corner in pixels, for people: 250 × 180 px at (30, 4)."""
        return f"{self.width} × {self.height} px at ({self.left}, {self.top})"

    @property
    def bounds(self) -> "Box":
        """The box itself."""
        return self

    @property
    def corners(self) -> tuple[Point, Point, Point, Point]:
        """The four corners, clockwise from the top left."""
        return (
            (self.left, self.top),
            (self.right, self.top),
            (self.right, self.bottom),
            (self.left, self.bottom),
        )

    def common(self, other: "Box") -> "Box | None":
        """What both boxes cover; None when they don't share a pixel."""
        left, top = max(self.left, other.left), max(self.top, other.top)
        right, bottom = min(self.right, other.right), min(self.bottom, other.bottom)
        return Box(left, top, right, bottom) if left < right and top < bottom else None

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

    def as_mapping(self) -> dict[str, int]:
        """The same by name, as JSON that leaves us has it: x, y, width, height."""
        return {"x": self.left, "y": self.top, "width": self.width, "height": self.height}


def enclosing(boxes: tuple[Box, ...]) -> Box:
    """The smallest box that holds all of these; there must be at least one."""
    return Box(
        min(box.left for box in boxes),
        min(box.top for box in boxes),
        max(box.right for box in boxes),
        max(box.bottom for box in boxes),
    )


@dataclass(frozen=True, slots=True)
class Polygon:
    """A closed polygon in source-image pixels; a rectangle is one once it is rotated.

    It needs not be convex. Where it crosses itself it covers what winds round at all, as Label Studio shows it.
    """

    points: tuple[Point, ...]

    def __post_init__(self) -> None:
        if len(self.points) < 3 or not all(isfinite(value) for point in self.points for value in point):
            raise ValueError(f"a polygon needs three points: {self}")

    @classmethod
    def rectangle(cls, x: float, y: float, width: float, height: float, rotation: float = 0.0) -> "Polygon":
        """A rectangle in pixels, turned clockwise by `rotation` degrees about its top-left corner (as Label Studio
        does).
        """
        if not (width > 0 and height > 0 and all(isfinite(value) for value in (x, y, width, height, rotation))):
            raise ValueError(f"empty rectangle: {width} × {height} px at ({x}, {y}), turned by {rotation}")
        corners = ((0.0, 0.0), (width, 0.0), (width, height), (0.0, height))
        return cls(turned(corners, (x, y), rotation))

    @property
    def is_rectangle(self) -> bool:
        """Whether `rectangle` makes it: four right angles, clockwise."""
        if len(self.points) != 4:
            return False
        (x1, y1), (x2, y2), (x3, y3), (x4, y4) = self.points
        closes = abs(x1 + x3 - x2 - x4) < TOLERANCE and abs(y1 + y3 - y2 - y4) < TOLERANCE
        width, height = hypot(x2 - x1, y2 - y1), hypot(x4 - x1, y4 - y1)
        across = (x2 - x1) * (x4 - x1) + (y2 - y1) * (y4 - y1)
        turn = (x2 - x1) * (y4 - y1) - (y2 - y1) * (x4 - x1)
        return closes and turn > 0 and abs(across) < TOLERANCE * min(width, height)

    @property
    def is_upright(self) -> bool:
        """Whether it is a rectangle that isn't turned: its corners clockwise from the top left."""
        (x1, y1), (x2, y2) = self.points[:2]
        return self.is_rectangle and x1 < x2 and y1 == y2

    @property
    def bounds(self) -> Box:
        """The smallest box of whole pixels around it: rounded outward."""
        xs, ys = zip(*self.points, strict=True)
        return outward(min(xs), min(ys), max(xs), max(ys))

    @property
    def rounded(self) -> tuple[Point, ...]:
        """The corners to a hundredth of a pixel: what ids and seeds are made of."""
        return tuple((round(x, 2) + 0.0, round(y, 2) + 0.0) for x, y in self.points)  # never -0.0


@dataclass(frozen=True, slots=True)
class Ellipse:
    """An ellipse in source-image pixels, turned clockwise by `rotation` degrees about its centre (x, y)."""

    x: float
    y: float
    radius_x: float
    radius_y: float
    rotation: float = 0.0

    def __post_init__(self) -> None:
        numbers = (self.x, self.y, self.radius_x, self.radius_y, self.rotation)
        if not (self.radius_x > 0 and self.radius_y > 0 and all(isfinite(value) for value in numbers)):
            raise ValueError(f"empty ellipse: {self}")

    @property
    def bounds(self) -> Box:
        """The smallest box of whole pixels around it: rounded outward."""
        c, s = cos(radians(self.rotation)), sin(radians(self.rotation))
        half_width = hypot(self.radius_x * c, self.radius_y * s)
        half_height = hypot(self.radius_x * s, self.radius_y * c)
        return outward(self.x - half_width, self.y - half_height, self.x + half_width, self.y + half_height)

    @property
    def rounded(self) -> tuple[float, ...]:
        """Its numbers to a hundredth: what ids and seeds are made of."""
        return tuple(round(value, 2) + 0.0 for value in (self.x, self.y, self.radius_x, self.radius_y, self.rotation))


@dataclass(frozen=True, slots=True)
class Painted:
    """Painted pixels: whatever a brush or a mask covers, as boxes that don't share a pixel; at least one."""

    boxes: tuple[Box, ...]

    def __post_init__(self) -> None:
        if not self.boxes:
            raise ValueError("nothing is painted")

    @property
    def bounds(self) -> Box:
        """The smallest box around it."""
        return enclosing(self.boxes)

    @property
    def rounded(self) -> tuple[Box, ...]:
        """The boxes: what ids and seeds are made of."""
        return self.boxes


Outline = Polygon | Ellipse | Painted
"""What an ROI can be."""
Shape = Box | Outline
"""What an exclusion can be. `service.raster` says which pixels a shape covers."""


def turned(points: tuple[Point, ...], centre: Point, rotation: float) -> tuple[Point, ...]:
    """Points about the origin turned clockwise by `rotation` degrees, then about this centre."""
    c, s = cos(radians(rotation)), sin(radians(rotation))
    return tuple((centre[0] + u * c - v * s, centre[1] + u * s + v * c) for u, v in points)


def closed(points: tuple[Point, ...]) -> Polygon | Box:
    """The polygon with these corners; where it encloses nothing (a line, a point, two lobes of one size that wind
    against each other), the box of whole pixels around them. There must be at least one corner.
    """
    xs, ys = zip(*points, strict=True)
    bounds = outward(min(xs), min(ys), max(xs), max(ys))
    return Polygon(points) if abs(_signed_area(points)) > 2 * TOLERANCE * (bounds.width + bounds.height) else bounds


def _signed_area(points: tuple[Point, ...]) -> float:
    """Square pixels, by the shoelace formula; what winds the other way counts below 0."""
    return sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in zip(points, (*points[1:], points[0]), strict=True)) / 2


def outward(left: float, top: float, right: float, bottom: float) -> Box:
    """Whole pixels that cover this extent; an extent without width or height covers one pixel."""
    x1, y1 = floor(left + TOLERANCE), floor(top + TOLERANCE)
    return Box(x1, y1, max(ceil(right - TOLERANCE), x1 + 1), max(ceil(bottom - TOLERANCE), y1 + 1))


def inward(left: float, top: float, right: float, bottom: float) -> Box:
    """The whole pixels that lie wholly in this extent. Raises `ValueError` when there are none."""
    return Box(ceil(left - TOLERANCE), ceil(top - TOLERANCE), floor(right + TOLERANCE), floor(bottom + TOLERANCE))
