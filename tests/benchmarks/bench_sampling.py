"""Placing patches by proof and by attempts: how many are placed, how long it takes, how much memory; then BCCD.

The named alternative, in the same run: the rule of most tools, a hundred attempts for each patch. Each seed is a scene
and a draw of its own, given to both in turn. Memory and the first call are those of a process of its own that samples
one scene (Linux: read from /proc).

Run: make benchmarks; or python -m tests.benchmarks.bench_sampling --write docs/placement-figures.md
"""

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import sin
from pathlib import Path
from random import Random
from statistics import mean, median
from textwrap import fill

import numpy as np

from service.domain.geometry import Box, Ellipse, Painted, Polygon, Shape
from service.domain.model import Roi, Rules, Scene
from service.raster import beyond, boxes_of, covered, meets, painted
from service.sampling import Sampling, sample

CELL = 40
RULES = Rules()
BCCD_SIZES = (48, 64, 100)
BCCD_PATCHES = 20
REPEATS = 3
IMPORTS = """
import time
begun = time.perf_counter()
import numpy
numpy_is_there = time.perf_counter()
import service.sampling
print(numpy_is_there - begun, time.perf_counter() - numpy_is_there)
"""

Given = tuple[Scene, Roi]
Rule = Callable[[Scene, Roi, Rules, int], tuple[Box, ...]]
"""A way of placing: the scene, the ROI, what is asked, the seed; the boxes placed."""


# ---------------------------------------------------------------- the scenes


@dataclass(frozen=True, slots=True)
class Case:
    """Scenes of a kind, one for each seed, and what was promised of them: milliseconds, and megabytes for sampling.

    Where a time is promised and more than one patch fits, so are all patches.
    """

    name: str
    given: Callable[[int], Given]
    seeds: int = 40
    milliseconds: float | None = None
    megabytes: float | None = None


def whole(scene: Scene) -> Given:
    """The scene with all of the image as the ROI."""
    return scene, Roi("drawn", Polygon.rectangle(0, 0, scene.width, scene.height))


def empty(side: int) -> Callable[[int], Given]:
    """A square without objects."""
    return lambda _: whole(Scene(side, side))


def crowd(count: int, width: int, height: int, cell: Callable[[Random, int, int], Shape]) -> Callable[[int], Given]:
    """So many cells anywhere in the image; each is made from its top-left corner."""

    def given(seed: int) -> Given:
        chance = Random(seed)
        at = ((chance.randint(0, width - CELL), chance.randint(0, height - CELL)) for _ in range(count))
        return whole(Scene(width, height, tuple(cell(chance, x, y) for x, y in at)))

    return given


def box(_: Random, x: int, y: int) -> Box:
    """A cell as a box."""
    return Box.sized(x, y, CELL, CELL)


def ellipse(chance: Random, x: int, y: int) -> Ellipse:
    """A cell as an ellipse of half the width, turned anyhow."""
    return Ellipse(x + CELL / 2, y + CELL / 2, CELL / 2, CELL / 4, chance.uniform(0, 180))


def polygon(chance: Random, x: int, y: int) -> Polygon:
    """A cell as a rectangle of half the width, turned anyhow."""
    return Polygon.rectangle(x + CELL / 2, y, CELL, CELL / 2, chance.uniform(0, 360))


def disc(_: Random, x: int, y: int) -> Painted:
    """A cell as a dab of the brush."""
    across = np.arange(CELL) - (CELL - 1) / 2
    dab = painted(across[:, None] ** 2 + across**2 <= (CELL / 2) ** 2)
    assert dab is not None
    return Painted(tuple(Box(one.left + x, one.top + y, one.right + x, one.bottom + y) for one in dab.boxes))


def brushed(seed: int) -> Given:
    """800 dabs of the brush as objects, a wavy stroke of 1000 px as the ROI."""
    scene, _ = crowd(800, 4000, 3000, disc)(seed)
    middle = 1500 + 700 * np.sin(np.arange(4000) / 600 + sin(seed))
    stroke = painted(np.abs(np.arange(3000)[:, None] - middle) < 500)
    assert stroke is not None
    return scene, Roi("drawn", stroke)


def cases() -> Iterator[Case]:
    """What is measured, in the order of the table."""
    for side in (100, 160, 200, 300, 400):
        yield Case(f"{side} × {side}, no objects", empty(side))
    yield Case("4000 × 3000, no objects", lambda _: whole(Scene(4000, 3000)), milliseconds=1)
    for count in (800, 1500):
        yield Case(f"4000 × 3000, {count:,} cells", crowd(count, 4000, 3000, box))
    yield Case("4000 × 3000, 3,000 cells", crowd(3000, 4000, 3000, box), milliseconds=30)
    yield Case("4000 × 3000, 3,000 ellipses", crowd(3000, 4000, 3000, ellipse), seeds=20)
    yield Case("4000 × 3000, 3,000 turned rectangles", crowd(3000, 4000, 3000, polygon), seeds=20)
    yield Case("4000 × 3000, a brush's ROI, 800 dabs", brushed, seeds=20)
    yield Case("20,000 × 20,000, no objects", empty(20_000), milliseconds=1)
    yield Case("20,000 × 20,000, 10 cells", crowd(10, 20_000, 20_000, box), milliseconds=1)
    for count in (1_000, 10_000, 30_000):
        yield Case(f"20,000 × 20,000, {count:,} cells", crowd(count, 20_000, 20_000, box), seeds=20)
    last = crowd(100_000, 20_000, 20_000, box)
    yield Case("20,000 × 20,000, 100,000 cells", last, seeds=10, milliseconds=500, megabytes=150)


# ---------------------------------------------------------------- the alternative


def attempted(scene: Scene, roi: Roi, rules: Rules, seed: int) -> tuple[Box, ...]:
    """A hundred attempts for each patch: width and height drawn independently, then a place; a size that the ROI
    doesn't hold burns an attempt, and so does a place that touches an object or crowds a patch.

    Not made slower than need be: all attempts are drawn at once, and each meets only the objects near it, at once.
    """
    room, count = roi.box.common(scene.frame), rules.patches * 100
    assert room is not None
    plain = [shape for shape in scene.exclusions if type(shape) is Box]
    solid = [boxes_of(plain)]
    if len(plain) < len(scene.exclusions):
        solid.append(covered(shape for shape in scene.exclusions if type(shape) is not Box))
    if isinstance(roi.outline, Painted):
        solid.append(beyond(roi.outline))
    taken = np.concatenate(solid)
    taken = taken[np.argsort(taken[:, 0])]
    left, widest = taken[:, 0], int((taken[:, 2] - taken[:, 0]).max(initial=0))

    chance = np.random.default_rng(seed)
    width, height = chance.integers(rules.min_size, rules.max_size, (2, count), endpoint=True)
    fits = (width <= room.width) & (height <= room.height)
    width, height = width[fits], height[fits]
    x = chance.integers(room.left, room.right - width, endpoint=True)
    y = chance.integers(room.top, room.bottom - height, endpoint=True)
    found: list[Box] = []
    for sides in np.stack([x, y, width, height], axis=1).tolist():
        one = Box.sized(*sides)
        first, after = np.searchsorted(left, (one.left - widest, one.right)) if len(left) else (0, 0)
        if meets(taken[first:after], one).any():
            continue
        if any(one.shared_area(other) > rules.max_overlap * min(one.area, other.area) for other in found):
            continue
        found.append(one)
        if len(found) == rules.patches:
            break
    return tuple(found)


# ---------------------------------------------------------------- measuring


@dataclass(frozen=True, slots=True)
class Figures:
    """What came of a case: patches and seconds, seed by seed, ours and by attempts."""

    ours: tuple[int, ...]
    naive: tuple[int, ...]
    our_seconds: tuple[float, ...]
    naive_seconds: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Alone:
    """What one process took that samples once: MB when all is imported, for the scene and for sampling beyond that;
    milliseconds of this first call.
    """

    imported: float
    scene: float
    sampling: float
    milliseconds: float


def proved(scene: Scene, roi: Roi, rules: Rules, seed: int) -> tuple[Box, ...]:
    """Our patches."""
    return sample(scene, roi, rules, seed).boxes


def clocked(rule: Rule, given: Given, seed: int) -> tuple[int, float]:
    """How many patches the rule places, and in how many seconds."""
    begun = time.perf_counter()
    boxes = rule(*given, RULES, seed)
    return len(boxes), time.perf_counter() - begun


def measure(case: Case) -> Figures:
    """Both rules in turn, so that both have the machine's good and bad moments."""
    ours: list[tuple[int, float]] = []
    naive: list[tuple[int, float]] = []
    for seed in range(case.seeds):
        given = case.given(seed)
        pairs = [(clocked(proved, given, seed), clocked(attempted, given, seed)) for _ in range(REPEATS)]
        ours.append(min(one for one, _ in pairs))  # the same patches each time, so the fastest
        naive.append(min(one for _, one in pairs))
    (our_counts, our_seconds), (naive_counts, naive_seconds) = zip(*ours, strict=True), zip(*naive, strict=True)
    return Figures(our_counts, naive_counts, our_seconds, naive_seconds)


def memory() -> tuple[float, float]:
    """This process's memory now, and at its highest since the last time; MB.

    Not `ru_maxrss`: Linux lets a process inherit that from the one that started it.
    """
    status = Path("/proc/self/status").read_text()
    now, highest = (int(re.findall(rf"{name}:\s+(\d+) kB", status)[0]) / 1024 for name in ("VmRSS", "VmHWM"))
    Path("/proc/self/clear_refs").write_text("5")  # the highest begins anew
    return now, highest


def sample_alone(case: Case) -> None:
    """What a process of its own does: sample one scene and print its figures."""
    imported, _ = memory()
    given = case.given(0)
    built, _ = memory()
    _, seconds = clocked(proved, given, 0)
    _, highest = memory()
    print(json.dumps((imported, built - imported, highest - built, seconds * 1000)))


def alone(case: Case) -> Alone:
    """The figures of a process that samples this case once."""
    command = [sys.executable, "-m", "tests.benchmarks.bench_sampling", "--alone", case.name]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return Alone(*json.loads(done.stdout))


def import_milliseconds() -> tuple[float, float]:
    """How long it takes to import numpy, and then the sampler; medians of five processes."""
    command = [sys.executable, "-c", IMPORTS]
    runs = [subprocess.run(command, check=True, capture_output=True, text=True).stdout.split() for _ in range(5)]
    numpys, ours = zip(*runs, strict=True)
    return median(map(float, numpys)) * 1000, median(map(float, ours)) * 1000


# ---------------------------------------------------------------- telling


def rows(*cells: tuple[str, ...]) -> str:
    """A table in Markdown; the first row names the columns, and all but the first column are figures."""
    first, *others = ("| " + " | ".join(row) + " |" for row in cells)
    return "\n".join([first, "|---|" + "---:|" * (len(cells[0]) - 1), *others])


def prose(text: str) -> str:
    """A paragraph, wrapped anew."""
    return fill(" ".join(text.split()), 140)


def quantity(number: float) -> str:
    """As many digits as mean something."""
    return f"{number:.0f}" if number >= 100 else f"{number:.1f}" if number >= 1 else f"{number:.2f}"


def promised(case: Case, figures: Figures, one: Alone) -> str:
    """What was promised of the case, and whether it was held."""
    if case.milliseconds is None:
        return ""
    kept = median(figures.our_seconds) * 1000 <= case.milliseconds and min(figures.ours) == RULES.patches
    text = f"{RULES.patches} of {RULES.patches} in ≤ {case.milliseconds:g} ms"
    if case.megabytes is not None:
        text, kept = f"{text} and ≤ {case.megabytes:g} MB", kept and one.sampling <= case.megabytes
    return f"{text}: {'held' if kept else '**missed**'}"


def told(case: Case, figures: Figures, one: Alone) -> tuple[str, ...]:
    """The case's row."""
    ours, naive = median(figures.our_seconds), median(figures.naive_seconds)
    full = (f"{sum(count == RULES.patches for count in counts)}" for counts in (figures.ours, figures.naive))
    ratios = [both[1] / both[0] for both in zip(figures.our_seconds, figures.naive_seconds, strict=True)]
    return (
        case.name,
        f"{mean(figures.ours):.2f}",
        f"{mean(figures.naive):.2f}",
        f"{' / '.join(full)} of {case.seeds}",
        quantity(ours * 1000),
        quantity(naive * 1000),
        quantity(median(ratios)),
        quantity(one.milliseconds),
        f"{max(one.sampling, 0):.1f}",
        f"{max(one.scene, 0):.1f}",
        promised(case, figures, one),
    )


COLUMNS = (
    "ROI and objects",
    "placed",
    "by attempts",
    "all five",
    "ms",
    "ms by attempts",
    "ratio",
    "first call, ms",
    "MB",
    "MB for the scene",
    "promised",
)


def scenes() -> str:
    """All cases measured, as text with a table."""
    table: list[tuple[str, ...]] = [COLUMNS]
    imported = 0.0
    for case in cases():
        print(f"  {case.name}", file=sys.stderr, flush=True)
        one = alone(case)
        imported = one.imported
        table.append(told(case, measure(case), one))
    numpys, ours = import_milliseconds()
    before = prose(
        f"""{RULES.patches} patches of {RULES.min_size} to {RULES.max_size} px, overlapping by less than
        {RULES.max_overlap:.0%}, in an ROI that is all of the image unless the table says otherwise; cells are {CELL} px
        wide and lie anywhere, also on one another. Ours against 100 attempts for each patch with the same test for
        objects. Each seed is another scene. *Placed* is the mean of the seeds, *all five* in how many of them nothing
        was missing (ours / by attempts), *ms* the median of the seeds, the fastest of {REPEATS} calls for each, with
        whatever explaining a shortfall takes, *ratio* the median of attempts ÷ ours, scene by scene: above 1 ours is
        faster, and where it is below, look at what attempts have placed by then. Into 100 × 100 goes one patch and no
        second: that is proved, and said."""
    )
    after = prose(
        f"""*First call* and memory are those of a fresh process that samples one such scene and ends: nothing is
        compiled at the first call. Importing takes {numpys:.0f} ms for numpy and {ours:.0f} ms for the sampler. *MB* is
        the highest that sampling takes beyond the process with its scene; the scene itself is in the next column, and
        Python with everything imported takes {imported:.0f} MB."""
    )
    return f"## Scenes\n\n{before}\n\n{rows(*table)}\n\n{after}\n"


def bccd() -> str:
    """The whole of BCCD's subset beside the checkout, as text with a table."""
    from tests.bccd import BCCD, photos  # a process that is measured needs none of this

    if not BCCD.is_dir():
        return "## BCCD\n\nNot beside this checkout, so not measured.\n"
    taken = photos(sys.maxsize, BCCD)
    columns = ("px", "placed", "per image", "images with all", "with none", "touching", "crowding", "by attempts")
    table: list[tuple[str, ...]] = [(*columns, "ms", "shortfalls")]
    for side in BCCD_SIZES:
        rules = Rules(patches=BCCD_PATCHES, min_size=side, max_size=side, square=True)
        found: list[Sampling] = []
        naive, seconds, touching, crowding = 0, [], 0, 0
        for seed, photo in enumerate(taken):
            scene, roi = whole(Scene(*photo.size, tuple(one.box for one in photo.objects)))
            begun = time.perf_counter()
            found.append(sample(scene, roi, rules, seed))
            seconds.append(time.perf_counter() - begun)
            touches, crowds = judged(found[-1].boxes, scene.exclusions, rules)
            touching, crowding = touching + touches, crowding + crowds
            naive += len(attempted(scene, roi, rules, seed))
        counts = [len(one.boxes) for one in found]
        causes = Counter(one.shortfall.cause.value for one in found if one.shortfall)
        table.append(
            (
                str(side),
                str(sum(counts)),
                f"{mean(counts):.1f}",
                str(counts.count(BCCD_PATCHES)),
                str(counts.count(0)),
                str(touching),
                str(crowding),
                str(naive),
                quantity(median(seconds) * 1000),
                ", ".join(f"{number} {cause}" for cause, number in causes.most_common()) or "none",
            )
        )
    before = prose(
        f"""The {len(taken)} microscope images of 640 × 480 px that lie beside the checkout, with every red cell, white
        cell and platelet as an object ({mean(len(photo.objects) for photo in taken):.1f} an image): up to
        {BCCD_PATCHES} squares of one size, anywhere in the image. *Touching* (an object) and *crowding* (another patch)
        are judged by shapely, *by attempts* is what 100 attempts for each patch place, *ms* the median of an image,
        *shortfalls* the images with fewer than {BCCD_PATCHES}, by cause."""
    )
    return f"## BCCD\n\n{before}\n\n{rows(*table)}\n"


def judged(boxes: tuple[Box, ...], objects: tuple[Shape, ...], rules: Rules) -> tuple[int, int]:
    """How many patches share area with an object, and how many pairs share too much; all of them boxes."""
    import shapely

    patches = [shapely.box(*_sides(one)) for one in boxes]
    taken = shapely.union_all([shapely.box(*_sides(one.bounds)) for one in objects])
    crowds = [
        one.intersection(other).area >= rules.max_overlap * min(one.area, other.area)
        for number, one in enumerate(patches)
        for other in patches[:number]
    ]
    return sum(one.intersection(taken).area > 0 for one in patches), sum(crowds)


def _sides(one: Box) -> tuple[int, int, int, int]:
    return one.left, one.top, one.right, one.bottom


def main() -> None:
    """Measure and print the tables; with `--write`, into a file as well."""
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--write", type=Path, help="the Markdown file to write")
    arguments.add_argument("--alone", help=argparse.SUPPRESS)
    asked = arguments.parse_args()
    if asked.alone is not None:
        sample_alone(next(case for case in cases() if case.name == asked.alone))
        return
    made = prose(
        f"""Written by `python -m tests.benchmarks.bench_sampling --write docs/placement-figures.md` on {os.cpu_count()}
        shared cores ({platform.machine()}) with Python {platform.python_version()} and numpy {np.__version__}; other
        work ran on them at the same time."""
    )
    text = f"# Placing patches: figures\n\n{made}\n\n{scenes()}\n{bccd()}"
    print(text)
    if asked.write is not None:
        asked.write.write_text(text)


if __name__ == "__main__":
    main()
