"""The processes that copy a JPEG's blocks, and turning blocks."""

import io
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jpeglib
import numpy as np
import pytest
from PIL import Image

from service.export import jpeg_blocks
from service.export.jpeg_blocks import NotCopied, copied, turned

BOX = (16, 32, 101, 77)
ROOT = Path(__file__).parents[2]


def noise(size: tuple[int, int] = (128, 96), mode: str = "RGB") -> Image.Image:
    """A picture with something in every block."""
    pixels = np.random.default_rng(3).normal(128, 40, (size[1], size[0], 3))
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).convert(mode)


def copied_upright(source: Path) -> bytes:
    """One box, not turned."""
    (data,) = copied(source, [BOX], mirrored=False, flipped=False, transposed=False)
    return data


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A JPEG."""
    path = tmp_path / "source.jpg"
    noise().save(path, subsampling="4:2:0")
    return path


@pytest.fixture
def copiers(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[jpeg_blocks._Copier]]:
    """Two of the test's own, the one that is taken first at the end."""
    mine = [jpeg_blocks._Copier(), jpeg_blocks._Copier()]
    queue = type(jpeg_blocks._COPIERS)()
    for copier in mine:
        queue.put(copier)
    monkeypatch.setattr(jpeg_blocks, "_COPIERS", queue)
    yield mine
    for copier in mine:
        copier.close()


def process_of(copier: jpeg_blocks._Copier) -> int:
    """Its id."""
    assert copier._process is not None
    return copier._process.pid


@pytest.mark.parametrize("turn", range(8))
def test_a_turned_picture_looks_turned(turn: int, tmp_path: Path) -> None:
    """As numpy turns its pixels; a decoder's rounding may differ by one."""
    source = tmp_path / "source.jpg"
    noise((64, 48), "L").save(source, quality=90)
    mirrored, flipped, transposed = bool(turn & 1), bool(turn & 2), bool(turn & 4)
    (data,) = copied(source, [(0, 0, 64, 48)], mirrored=mirrored, flipped=flipped, transposed=transposed)
    with Image.open(source) as image, Image.open(io.BytesIO(data)) as found:
        expected = np.asarray(image).astype(int)[:: -1 if flipped else 1, :: -1 if mirrored else 1]
        assert np.abs(np.asarray(found).astype(int) - (expected.T if transposed else expected)).max() <= 1


@pytest.mark.parametrize("turn", range(8))
def test_turning_back_gives_the_same_blocks(turn: int) -> None:
    """Exactly: nothing is computed but signs."""
    blocks = np.random.default_rng(turn).integers(-1024, 1024, (3, 5, 8, 8)).astype(np.int16)
    mirrored, flipped, transposed = bool(turn & 1), bool(turn & 2), bool(turn & 4)
    there = turned(blocks, mirrored, flipped, transposed)
    back = turned(turned(there, False, False, transposed), mirrored, flipped, False)
    np.testing.assert_array_equal(back, blocks)


def test_tables_stay_with_their_colours(tmp_path: Path) -> None:
    """Also where each colour has its own, and where all share one."""
    for number, count in enumerate((1, 2, 3)):
        source, cropped = tmp_path / f"{number}.jpg", tmp_path / f"{number}_cut.jpg"
        tables = [[10 * (table + 1) + place for place in range(64)] for table in range(count)]
        noise().save(source, qtables=tables, subsampling="4:4:4")
        cropped.write_bytes(copied_upright(source))
        here, there = jpeglib.read_dct(str(cropped)), jpeglib.read_dct(str(source))
        for colour in range(3):
            np.testing.assert_array_equal(here.get_component_qt(colour), there.get_component_qt(colour))


@pytest.mark.parametrize("kept", [0, 1, 2, 3, 20, 200, 615, 1000, -1, -2])
def test_a_part_of_a_file_is_not_copied(kept: int, source: Path) -> None:
    """Wherever it was cut off, from its first byte to its last."""
    source.write_bytes(source.read_bytes()[:kept])
    with pytest.raises(NotCopied):
        copied_upright(source)


def test_a_process_serves_many(source: Path, copiers: list[jpeg_blocks._Copier]) -> None:
    """And a second is started only for a second thread."""
    first = copied_upright(source)
    process = process_of(copiers[-1])
    assert copied_upright(source) == first
    assert process_of(copiers[-1]) == process
    assert copiers[0]._process is None


def test_what_kills_a_process_costs_one_image(source: Path, tmp_path: Path, copiers: list[jpeg_blocks._Copier]) -> None:
    """Its own, which isn't copied; the next is, by another process."""
    pipe = tmp_path / "pipe.jpg"
    os.mkfifo(pipe)
    with ThreadPoolExecutor(1) as thread:
        waiting = thread.submit(copied_upright, pipe)
        with pipe.open("wb"):  # opened as soon as the process reads it
            os.kill(process_of(copiers[-1]), signal.SIGKILL)
            with pytest.raises(NotCopied, match="ends the process"):
                waiting.result()
    assert copied_upright(source)


def test_a_process_that_has_ended_is_started_again(source: Path, copiers: list[jpeg_blocks._Copier]) -> None:
    """As after a minute with nothing to do: nobody notices."""
    first = copied_upright(source)
    process = copiers[-1]._process
    assert process is not None
    process.kill()
    process.wait()
    assert copied_upright(source) == first
    assert process_of(copiers[-1]) != process.pid


def test_a_process_with_nothing_to_do_ends() -> None:
    """By itself, though nobody tells it to."""
    code = "from service.export import jpeg_blocks; jpeg_blocks.IDLE_SECONDS = 0.01; jpeg_blocks._serve()"
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdin=subprocess.PIPE) as idle:
        assert idle.wait() == 0


def test_an_interrupted_answer_is_nobody_elses(
    source: Path, copiers: list[jpeg_blocks._Copier], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks next gets an answer to its own question."""
    copied_upright(source)
    process = copiers[-1]._process
    assert process is not None
    assert process.stdout is not None

    def interrupted() -> str:
        raise InterruptedError

    with monkeypatch.context() as patch:
        patch.setattr(process.stdout, "readline", interrupted)
        with pytest.raises(InterruptedError):
            copied_upright(source)
    with pytest.raises(NotCopied):
        copied_upright(source.with_name("no.jpg"))
    assert copied_upright(source)


COPY = """
import sys, time
from pathlib import Path
from service.export import jpeg_blocks
jpeg_blocks.copied(Path(sys.argv[1]), [(16, 32, 101, 77)], mirrored=False, flipped=False, transposed=False)
print(jpeg_blocks._COPIERS.get()._process.pid, flush=True)
"""


def test_no_process_stays_behind(source: Path) -> None:
    """When the service ends, without a word."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", COPY, str(source)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert not is_alive(int(done.stdout))


def test_no_process_stays_behind_one_that_was_killed(source: Path) -> None:
    """It notices that nobody will ask any more."""
    code = COPY + "time.sleep(600)"
    with subprocess.Popen(
        [sys.executable, "-c", code, str(source)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as service:
        assert service.stdout is not None
        process = int(service.stdout.readline())
        assert is_alive(process)
        service.kill()
    while is_alive(process):  # the test's own timeout ends a wait that is in vain
        time.sleep(0.01)


def is_alive(process: int) -> bool:
    """Whether there is such a process, other than one that has ended and nobody asks about."""
    status = Path(f"/proc/{process}/status")
    return status.exists() and "State:\tZ" not in status.read_text()


def test_a_script_without_a_guard_is_not_run_again(source: Path, tmp_path: Path) -> None:
    """Whoever calls this need not be written for it."""
    script = tmp_path / "script.py"
    script.write_text("print('begun', flush=True)\n" + COPY)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, str(script), str(source)], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.count("begun") == 1
