"""What an export costs: the first one, a second with nothing new, and one new patch among thousands of negatives.

The named alternative, in the same run: the same state exported from nothing into a fresh repository, which is what
tools without a manifest do at every run. All goes through the use case as the command runs it, with a Label Studio that
answers at once and sources that are small PNG files on disk, so the figures are our own work: reading decisions,
planning, cutting, writing each file through to the disk.

Run: make benchmarks; or python -m tests.benchmarks.bench_export --negatives 900
"""

import argparse
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from service.export.plan import Action
from service.exporting import Exported
from tests.exporting import FakeSources, FakeStudio, reviewed, run, yolo_repository

PATCHES = 3


def timed(work: Callable[[], Exported]) -> tuple[float, Exported]:
    """Seconds, and what came of it."""
    began = time.monotonic()
    done = work()
    return time.monotonic() - began, done


def measure(negatives: int, folder: Path) -> None:
    """The table."""
    (folder / "sources").mkdir()
    sources = FakeSources(folder / "sources")
    tasks = negatives // PATCHES
    studio = FakeStudio(*(reviewed(number, 0, 1, 2) for number in range(1, tasks + 1)))
    into = yolo_repository(folder / "repository", images=50)
    rows: list[tuple[str, float, int]] = []

    def note(what: str, into: Path) -> Exported:
        seconds, done = timed(lambda: run(studio, into, sources))
        rows.append((what, seconds, done.plan.count(Action.ADD, Action.TAKE_OUT)))
        return done

    note(f"first export of {tasks * PATCHES:,} negatives", into)
    studio.put(reviewed(tasks + 1))  # an hour later: the minute before the last look is empty
    note("again, a task nobody judged is new", into)
    note("again, nothing new", into)
    studio.put(reviewed(tasks + 1, 0))
    note("one new patch among them", into)
    studio.put(reviewed(tasks + 1))
    note("one patch withdrawn", into)
    studio.put(reviewed(tasks + 1, 0))
    fresh = yolo_repository(folder / "fresh", images=50)
    note("alternative: the same from nothing", fresh)
    whole = rows[-1][1]
    print(f"{'':42} {'files':>7} {'seconds':>9} {'of the alternative':>19}")
    for what, seconds, files in rows:
        print(f"{what:42} {files:>7,} {seconds:>9.3f} {seconds / whole:>19.4f}")
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--negatives", type=int, default=10_000)
    with tempfile.TemporaryDirectory() as scratch:
        measure(parser.parse_args().negatives, Path(scratch))
