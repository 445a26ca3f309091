"""`negatives sample --scene`: a scene in JSON, its patches in JSON. Pure: text in, text out.

The scene: `{"width", "height", "rois", "exclusions", "patches", "min_size", "max_size", "max_overlap", "margin",
"square", "align", "seed"}`; all but width and height may be left out. A form is `[x, y, width, height]` or
`{"polygon": [[x, y], …]}`, in pixels. Each ROI gets `patches` patches; without ROIs the whole image is one.
"""

import json
from dataclasses import dataclass
from difflib import get_close_matches
from hashlib import sha256
from math import isfinite
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from service.batch import strict_json
from service.domain.geometry import Box, Point, Polygon, closed, outward
from service.domain.model import LONGEST_SIDE, Roi, Rules, Scene, Shortfall
from service.errors import InvalidRules, UsageError
from service.sampling import sample

DEFAULTS = Rules()


@dataclass(frozen=True, slots=True)
class _Form:
    """A rectangle as (x, y) and (width, height), or the points of a polygon."""

    points: tuple[Point, ...]
    is_rectangle: bool

    @classmethod
    def read(cls, value: Any) -> "_Form":
        match value:
            case [_, _, _, _]:
                x, y, width, height = (_number(item) for item in value)
                if width <= 0 or height <= 0:
                    raise ValueError(f"width and height must be above 0, not {width:g} and {height:g}")
                return cls(((x, y), (width, height)), is_rectangle=True)
            case {"polygon": list(points), **rest} if not rest:
                if len(points) < 3 or not all(isinstance(point, list) and len(point) == 2 for point in points):
                    raise ValueError("a polygon has three or more points [x, y]")
                return cls(tuple((_number(x), _number(y)) for x, y in points), is_rectangle=False)
        raise ValueError('must be [x, y, width, height] or {"polygon": [[x, y], …]}')

    def as_roi(self) -> Polygon:
        if self.is_rectangle:
            return Polygon.rectangle(*self.points[0], *self.points[1])
        shape = closed(self.points)
        if isinstance(shape, Box):
            raise ValueError("encloses nothing: its points lie on a line, or its lobes wind against each other")
        return shape

    def as_exclusion(self) -> Polygon | Box:
        if self.is_rectangle:
            (x, y), (width, height) = self.points
            return outward(x, y, x + width, y + height)
        return closed(self.points)


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        raise ValueError(f"{value!r} is no number")
    if abs(value) > LONGEST_SIDE:
        raise ValueError(f"{value:g} is more than {LONGEST_SIDE:,} px away")
    return value


RoiForm = Annotated[Any, BeforeValidator(_Form.read), AfterValidator(_Form.as_roi)]
ExclusionForm = Annotated[Any, BeforeValidator(_Form.read), AfterValidator(_Form.as_exclusion)]


class _SceneFile(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid")

    width: int = Field(ge=1, le=LONGEST_SIDE)
    height: int = Field(ge=1, le=LONGEST_SIDE)
    rois: list[RoiForm] | None = Field(default=None, min_length=1)
    exclusions: list[ExclusionForm] = Field(default=[])
    patches: int = DEFAULTS.patches
    min_size: int = DEFAULTS.min_size
    max_size: int = DEFAULTS.max_size
    max_overlap: float = DEFAULTS.max_overlap
    margin: int = DEFAULTS.margin
    square: bool = DEFAULTS.square
    align: int = DEFAULTS.align
    seed: int = 1


def sample_scene(text: str | bytes, name: str) -> str:
    """The patches of a scene, as JSON: `{"patches": [{"x", "y", "width", "height"}], "requested", "shortfall",
    "reason", "explanation", "largest_free_square"}`.

    `shortfall` is requested − placed, over all ROIs. Without one the last three are null; otherwise they are the cause
    (see `Cause`), a sentence, and the largest square clear of objects (null when not a pixel is), of the first ROI that
    falls short; the sentence tells of all of them.

    Raises `UsageError`, one line, for a value that is unknown or impossible; `name` is what it calls the file.
    """
    read = _read(text, name)
    scene = Scene(read.width, read.height, tuple(read.exclusions))
    outlines = read.rois or [Polygon.rectangle(0, 0, read.width, read.height)]
    try:
        rules = Rules(**{field: getattr(read, field) for field in Rules.__dataclass_fields__ if field != "round"})
    except InvalidRules as error:
        raise UsageError(f"{name}: {error}") from error
    placed: tuple[Box, ...] = ()
    short: dict[int, Shortfall] = {}
    for number, outline in enumerate(outlines):
        found = sample(scene, Roi(str(number), outline), rules, _seed_of(read.seed, number), others=placed)
        placed += found.boxes
        if found.shortfall is not None:
            short[number + 1] = found.shortfall
    result = _result(placed, rules.patches * len(outlines), short, several=len(outlines) > 1)
    return json.dumps(result, ensure_ascii=False)


def _seed_of(seed: int, roi: int) -> int:
    """Each ROI has chance of its own."""
    return int.from_bytes(sha256(f"{seed}:{roi}".encode()).digest()[:8], "big")


def _result(placed: tuple[Box, ...], requested: int, short: dict[int, Shortfall], *, several: bool) -> dict[str, Any]:
    first = next(iter(short.values()), None)
    free = first and first.largest_free_square
    sentences = [f"ROI {number}: {one.sentence}" if several else one.sentence for number, one in short.items()]
    return {
        "patches": [box.as_mapping() for box in placed],
        "requested": requested,
        "shortfall": requested - len(placed),
        "reason": first and first.cause.value,
        "explanation": " ".join(sentences) or None,
        "largest_free_square": free and free.as_mapping(),
    }


def _read(text: str | bytes, name: str) -> _SceneFile:
    try:
        return _SceneFile.model_validate(strict_json.loads(text))
    except (json.JSONDecodeError, RecursionError) as error:
        raise UsageError(f"{name} is no JSON object: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) if str(part).isprintable() else repr(part) for part in first["loc"])
        match first["type"]:
            case "extra_forbidden":
                near = get_close_matches(field, _SceneFile.model_fields, 1)
                hint = f"did you mean {near[0]}?" if near else f"known are {', '.join(_SceneFile.model_fields)}"
                raise UsageError(f"{name}: {field} is unknown; {hint}") from error
            case "missing":
                raise UsageError(f"{name}: {field} is missing") from error
            case "too_short":
                raise UsageError(f"{name}: {field} is empty; leave it out, and the whole image is the ROI") from error
            case "model_type":
                raise UsageError(f"{name} is no JSON object, but {type(first['input']).__name__}") from error
        says = first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
        given = json.dumps(first["input"], ensure_ascii=False)
        shown = given if len(given) <= 60 else given[:57] + "…"
        is_ours = first["type"] == "value_error"
        raise UsageError(f"{name}: {field} is {shown}, but {says if is_ours else 'must be ' + says}") from error
    except ValueError as error:
        raise UsageError(f"{name}: {error}") from error
