"""Cutting five patches out of each of 500 images of 12 megapixels; then memory at 20,000 × 20,000 px.

The named alternatives, in the same run, image by image in turn: Pillow opened for each patch, OpenCV opened once for
an image, and SAHI, which slices a whole image (the last two where they are installed: the extra `benchmarks`). All get
the same boxes, on the grid of the JPEG's blocks, as the sampler aligns them.
PSNR is against the decoded source, at the pixels that are two or more from the rim. The images are so many files as
`--files` says, taken again and again: BCCD's, enlarged, with a sensor's noise. "CPU" is the processor's time, that of
the process which copies blocks included, which others on the machine don't lengthen. Memory is the peak of a process of
its own and of the one that copies for it (Linux).

Run: make benchmarks; or python -m tests.benchmarks.bench_cutting --images 50
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from random import Random
from shutil import rmtree
from statistics import mean, median
from typing import Any

import numpy as np
import pyvips
from PIL import Image

from service.domain.geometry import Box
from service.export.cutting import cut
from tests.bccd import photos

SIZE = (4000, 3000)
PATCHES, SIDE, GRID = 5, 250, 16
QUALITY = 95  # OpenCV's own
HUGE = 20_000
COPIED = 7_200
"""Width of about the largest JPEG whose blocks are copied."""
Way = Callable[[Path, Sequence[Box], Path], None]


def ours(source: Path, boxes: Sequence[Box], into: Path) -> None:
    """Blocks copied."""
    cut(source, boxes, into, what="it", max_pixels=10**9, suffixes=None)


def pillow_per_patch(source: Path, boxes: Sequence[Box], into: Path) -> None:
    """The usual loop over patches."""
    for number, box in enumerate(boxes):
        with Image.open(source) as image:
            image.crop((box.left, box.top, box.right, box.bottom)).save(into / f"{number}.jpg", quality=QUALITY)


def pillow_once(source: Path, boxes: Sequence[Box], into: Path) -> None:
    """The same, the image decoded once."""
    with Image.open(source) as image:
        for number, box in enumerate(boxes):
            image.crop((box.left, box.top, box.right, box.bottom)).save(into / f"{number}.jpg", quality=QUALITY)


def opencv_once(cv2: Any) -> Way:
    """The image decoded once."""

    def way(source: Path, boxes: Sequence[Box], into: Path) -> None:
        image = cv2.imread(str(source))
        for number, box in enumerate(boxes):
            cv2.imwrite(str(into / f"{number}.jpg"), image[box.top : box.bottom, box.left : box.right])

    return way


def sahi_slices(slice_image: Any) -> Way:
    """All slices of a grid: it takes no boxes."""

    def way(source: Path, boxes: Sequence[Box], into: Path) -> None:
        del boxes
        with redirect_stdout(StringIO()):
            slice_image(
                str(source), None, "slice", str(into), SIDE, SIDE, 0.0, 0.0, auto_slice_resolution=False, out_ext=".jpg"
            )

    return way


def ways() -> dict[str, Way]:
    """Those that can be measured here, ours first."""
    found: dict[str, Way] = {
        "blocks copied (this project)": ours,
        "Pillow, opened for each patch": pillow_per_patch,
        "Pillow, opened once": pillow_once,
    }
    try:
        import cv2

        found["OpenCV, opened once"] = opencv_once(cv2)
    except ImportError:
        print("OpenCV is not installed: left out")
    try:
        from sahi.slicing import slice_image

        found[f"SAHI, all slices of {SIDE} px"] = sahi_slices(slice_image)
    except ImportError:
        print("SAHI is not installed: left out")
    return found


def enlarged(path: Path, size: tuple[int, int], seed: int) -> Image.Image:
    """A photo with as many pixels as asked, and noise in them."""
    with Image.open(path) as image:
        large = np.asarray(image.convert("RGB").resize(size, Image.Resampling.LANCZOS)).astype(np.float32)
    large += np.random.default_rng(seed).normal(0, 4, large.shape).astype(np.float32)
    return Image.fromarray(large.clip(0, 255).astype(np.uint8))


def draw_boxes(random: Random) -> list[Box]:
    """Five, anywhere on the grid."""
    across, down = (SIZE[0] - SIDE) // GRID, (SIZE[1] - SIDE) // GRID
    corners = [(GRID * random.randint(0, across), GRID * random.randint(0, down)) for _ in range(PATCHES)]
    return [Box.sized(left, top, SIDE, SIDE) for left, top in corners]


def psnr(source: Path, boxes: Sequence[Box], into: Path) -> float:
    """Of the patches, in decibels; infinite when they are the same."""
    with Image.open(source) as image:
        whole = np.asarray(image).astype(float)
    errors = []
    for number, box in enumerate(boxes):
        with Image.open(into / f"{number}.jpg") as image:
            found = np.asarray(image).astype(float)
        errors.append(((found - whole[box.top : box.bottom, box.left : box.right])[2:-2, 2:-2] ** 2).mean())
    return float(10 * np.log10(255**2 / max(mean(errors), 1e-12)))


def children() -> list[Path]:
    """What the system tells of each process that this one has started."""
    found = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return [Path("/proc") / pid for pid in found]


def cpu_seconds() -> float:
    """Of this process and of those that it has started, dead or alive."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    ticks = sum(sum(map(int, (child / "stat").read_text().rpartition(")")[2].split()[11:13])) for child in children())
    return time.process_time() + ended.ru_utime + ended.ru_stime + ticks / os.sysconf("SC_CLK_TCK")


def measure_speed(images: int, files: int, folder: Path) -> None:
    """The first table."""
    sources = []
    for number, photo in enumerate(photos(files, folder)):
        sources.append(folder / f"source_{number}.jpg")
        enlarged(photo.path, SIZE, number).save(sources[-1], quality=90, subsampling="4:2:0")
    random = Random(6)
    found = ways()
    seconds: dict[str, list[float]] = {name: [] for name in found}
    of_cpu: dict[str, list[float]] = {name: [] for name in found}
    like: dict[str, float] = {}
    sizes: dict[str, float] = {}
    for number in range(images):
        source, boxes = sources[number % len(sources)], draw_boxes(random)
        names = list(found)
        for name in names[number % len(names) :] + names[: number % len(names)]:
            into = folder / "cut"
            into.mkdir()
            begun, begun_cpu = time.perf_counter(), cpu_seconds()
            found[name](source, boxes, into)
            seconds[name].append(time.perf_counter() - begun)
            of_cpu[name].append(cpu_seconds() - begun_cpu)
            if name not in like:
                like[name] = psnr(source, boxes, into) if "SAHI" not in name else np.nan
                sizes[name] = mean(path.stat().st_size for path in into.iterdir())
            rmtree(into)
    megabytes = mean(source.stat().st_size for source in sources) / 1e6
    width, height = SIZE
    print(
        f"{images} JPEGs of {width} × {height} px ({len(sources)} files of {megabytes:.1f} MB, again and again), "
        f"{PATCHES} patches of {SIDE} px each, one thread"
    )
    times = f"{'s in all':>10}{'ms/image':>10}{'slowest':>9}{'ratio':>7}{'CPU ms':>8}{'ratio':>7}"
    print(f"{'':34}{times}{'PSNR':>8}{'kB/patch':>10}")
    first, first_cpu = median(next(iter(seconds.values()))), mean(next(iter(of_cpu.values())))
    for name, taken in seconds.items():
        middle, cpu = median(taken), mean(of_cpu[name])  # the system counts CPU in steps of 10 ms
        print(
            f"{name:34}{sum(taken):10.1f}{middle * 1e3:10.1f}{max(taken) * 1e3:9.0f}{middle / first:7.2f}"
            f"{cpu * 1e3:8.1f}{cpu / first_cpu:7.2f}"
            f"{'same' if like[name] > 100 else '–' if np.isnan(like[name]) else f'{like[name]:.1f}':>8}"
            f"{sizes[name] / 1e3:10.1f}"
        )


CUT = """
import os, sys, tempfile, time
from pathlib import Path
from service.domain.geometry import Box
from service.export.cutting import cut
places = ((0.01, 0.02), (0.8, 0.1), (0.4, 0.5), (0.95, 0.95), (0.02, 0.8))
side = int(sys.argv[2])
boxes = [Box.sized(int(side * x) // 16 * 16 - 16, int(side * y) // 16 * 16, 250, 250) for x, y in places]
with tempfile.TemporaryDirectory() as folder:
    begun = time.perf_counter()
    crops = cut(Path(sys.argv[1]), boxes, Path(folder), what="it", max_pixels=10**9, suffixes=None)
    seconds = time.perf_counter() - begun
def peak(process):
    return next(int(line.split()[1]) // 1024 for line in open(f"/proc/{process}/status") if line.startswith("VmHWM"))

its = max(map(peak, open(f"/proc/self/task/{os.getpid()}/children").read().split()), default=0)
print(f"{peak('self'):9}{its:11}{seconds:9.1f}  {', '.join(sorted({crop.pixels for crop in crops}))}")
"""
PILLOW = """
import sys, time
from PIL import Image
Image.MAX_IMAGE_PIXELS = None
begun = time.perf_counter()
with Image.open(sys.argv[1]) as image:
    image.crop((48, 80, 298, 330)).load()
seconds = time.perf_counter() - begun
(own,) = (int(line.split()[1]) // 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(f"{own:9}{0:11}{seconds:9.1f}  decoded")
"""


def measure_memory(folder: Path) -> None:
    """The second table."""
    (photo,) = photos(1, folder)
    tile = pyvips.Image.new_from_array(np.asarray(enlarged(photo.path, (1600, 1200), 0)))
    huge = tile.replicate(13, 17)
    coarse = {"subsample_mode": "on"}
    tiles = {"tile": True, "tile_width": 256, "tile_height": 256}
    files: dict[str, tuple[str, int, Callable[[Any, str], None]]] = {
        "JPEG, copied": ("c.jpg", COPIED, lambda image, path: image.jpegsave(path, Q=90, **coarse)),
        "JPEG": ("a.jpg", HUGE, lambda image, path: image.jpegsave(path, Q=90, **coarse)),
        "JPEG with restart markers": (
            "b.jpg",
            HUGE,
            lambda image, path: image.jpegsave(path, Q=90, **coarse, restart_interval=999),
        ),
        "TIFF, strips": ("a.tif", HUGE, lambda image, path: image.tiffsave(path, compression="deflate")),
        "TIFF, strips, not compressed": ("b.tif", HUGE, lambda image, path: image.tiffsave(path)),
        "TIFF, tiles, a pyramid": (
            "c.tif",
            HUGE,
            lambda image, path: image.tiffsave(path, **tiles, compression="lzw", pyramid=True),
        ),
        "PNG": ("a.png", HUGE, lambda image, path: image.pngsave(path, compression=1)),
    }
    print(f"\nFive patches of {SIDE} px; peaks in MB")
    print(f"{'':34}{'width':>8}{'process':>9}{'its child':>11}{'seconds':>9}  pixels")
    for name, (file, side, save) in files.items():
        path = folder / file
        save(huge.crop(0, 0, side, side), str(path))
        print(f"{name:34}{side:8,}{in_a_process(CUT, path, side)}", flush=True)
        if name == "JPEG":
            print(f"{'  the same by Pillow, one patch':34}{side:8,}{in_a_process(PILLOW, path, side)}", flush=True)
        path.unlink()


def in_a_process(code: str, path: Path, side: int) -> str:
    """What a process of its own says that runs this on a file."""
    done = subprocess.run(
        [sys.executable, "-c", code, str(path), str(side)], capture_output=True, text=True, check=True
    )
    return done.stdout.rstrip()


def main() -> None:
    """Measure and print the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--files", type=int, default=10, help="so many different ones")
    parser.add_argument("--no-memory", action="store_true", help="leave the second table out")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        measure_speed(asked.images, asked.files, Path(scratch))
        if not asked.no_memory:
            measure_memory(Path(scratch))
    print(f"load over the last 1, 5 and 15 minutes: {', '.join(f'{load:.1f}' for load in os.getloadavg())}")


if __name__ == "__main__":
    main()
