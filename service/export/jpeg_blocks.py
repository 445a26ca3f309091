"""JPEG files as blocks of DCT coefficients: cut along their grid and turned, without loss.

A JPEG is cut without loss by copying its blocks (ITU T.81), which jpeglib reads and writes. Its C code serves one
thread, and a wrong file may end its process. So it runs in processes of its own, which are this file, started as a
program: a request a line on stdin, an answer a line on stdout, both JSON. Who has nothing to do for a minute ends, as
does who loses the service that started it. What a file holds is left to jpeglib to find out.

"Raw" is the frame of the stored picture, before EXIF's orientation.
"""

import atexit
import io
import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import redirect_stdout, suppress
from pathlib import Path
from queue import LifoQueue
from tempfile import TemporaryDirectory, TemporaryFile
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

Blocks = NDArray[np.int16]
"""Of shape (rows, columns, 8, 8): coefficients as the file has them, still divided by the quantization table."""
PROCESSES = 2
IDLE_SECONDS = 60
ICC = b"ICC_PROFILE\0"
CUT_SHORT = "Premature end"
"""libjpeg's remark on a file that isn't whole, which it fills up with grey."""


class NotCopied(Exception):
    """This JPEG's blocks can't be copied; the message ends "… because it". It may still be a readable picture."""


# In the service


class _Copier:
    """A process that copies blocks, started when it is needed, and anew when it has ended."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def ask(self, request: dict[str, Any]) -> str:
        """Why it could not do this; nothing when it did. Raises `NotCopied` when it has died of it."""
        answer = ""
        try:
            if self._process is None or self._process.poll() is not None:
                self._start()
            assert self._process is not None
            assert self._process.stdin is not None
            assert self._process.stdout is not None
            with suppress(BrokenPipeError):
                print(json.dumps(request), file=self._process.stdin, flush=True)
                answer = self._process.stdout.readline()
        finally:
            if not answer.endswith("\n"):  # dead, or interrupted: what it would say later is no answer to others
                self.close()
        if not answer:
            raise NotCopied("ends the process that reads it")
        return str(json.loads(answer))

    def _start(self) -> None:
        self.close()
        self._process = subprocess.Popen(
            [sys.executable, "-P", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,  # Ctrl-C is for the service
        )
        atexit.register(self.close)

    def close(self) -> None:
        """End the process; the next request starts another."""
        atexit.unregister(self.close)
        if self._process is not None:
            with suppress(BrokenPipeError), self._process:
                self._process.kill()
            self._process = None


_COPIERS: LifoQueue[_Copier] = LifoQueue()
"""Those that nobody uses at the moment."""
for _ in range(PROCESSES):
    _COPIERS.put(_Copier())


def copied(
    path: Path, boxes: Sequence[tuple[int, int, int, int]], *, mirrored: bool, flipped: bool, transposed: bool
) -> list[bytes]:
    """Complete JPEG files of these boxes (left, top, right, bottom; raw pixels), mirrored (left to right), flipped (top
    to bottom), then transposed: the same coefficients, tables, subsampling and ICC profile; nothing else of the file.

    A box's left has to be on the grid of the MCUs, or its right if the picture is mirrored; the same for its top and
    bottom. Raises `NotCopied`, also when the file isn't whole. May be called by several threads.
    """
    with TemporaryDirectory() as folder:
        into = [str(Path(folder) / str(number)) for number in range(len(boxes))]
        copier = _COPIERS.get()
        try:
            turn = mirrored, flipped, transposed
            said = copier.ask({"path": str(path.absolute()), "boxes": list(boxes), "turn": turn, "into": into})
        finally:
            _COPIERS.put(copier)
        if said:
            raise NotCopied(said)
        return [Path(file).read_bytes() for file in into]


# In a process of its own


def _serve() -> None:
    """Answer requests until there are none."""
    answers = os.fdopen(os.dup(1), "w")
    with TemporaryFile() as remarks:
        os.dup2(remarks.fileno(), 2)  # libjpeg's
        while True:
            idle = threading.Timer(IDLE_SECONDS, os._exit, (0,))
            idle.daemon = True
            idle.start()
            line = sys.stdin.readline()
            idle.cancel()
            if not line:
                return
            with redirect_stdout(io.StringIO()):  # jpeglib's
                said = _said(json.loads(line), remarks)
            print(json.dumps(said), file=answers, flush=True)


def _said(request: dict[str, Any], remarks: IO[bytes]) -> str:
    remarks.seek(0)
    remarks.truncate()
    why = ""
    try:
        _copy(**request)
    except NotCopied as error:
        why = str(error)
    except Exception as error:  # whatever the file holds
        why = f"can't be read as blocks: {type(error).__name__}"
    remarks.seek(0)
    heard = remarks.read().decode(errors="replace").strip().splitlines()
    if any(CUT_SHORT in remark for remark in heard):
        return "ends too early"
    return f"{why} ({heard[-1]})" if why and heard else why


def _copy(path: str, boxes: list[list[int]], turn: list[bool], into: list[str]) -> None:
    import jpeglib  # noqa: PLC0415 - the service itself never loads it

    jpeglib.version.set("turbo210")
    jpeg = jpeglib.read_dct(path)
    space = jpeg.jpeg_color_space.name  # all of these words are "equal" to each other
    if space not in ("JCS_GRAYSCALE", "JCS_YCbCr"):
        raise NotCopied(f"has its colours as {space.removeprefix('JCS_')}, which jpeglib doesn't write")
    colours = [jpeg.Y, jpeg.Cb, jpeg.Cr] if space == "JCS_YCbCr" else [jpeg.Y]
    factors = jpeg.samp_factor if len(colours) > 1 else np.ones((1, 2), dtype=int)  # a single colour's mean nothing
    used = list(dict.fromkeys(jpeg.quant_tbl_no.tolist()))
    tables = jpeg.qt[used]
    most_down, most_across = (8 * factors.max(axis=0)).tolist()
    profile = [marker for marker in jpeg.markers if marker.content.startswith(ICC)]
    for (left, top, right, bottom), file in zip(boxes, into, strict=True):
        found = []
        for blocks, (down, across) in zip(colours, factors.tolist(), strict=True):
            rows = slice(top // most_down * down, -(-bottom // most_down) * down)
            columns = slice(left // most_across * across, -(-right // most_across) * across)
            piece = turned(blocks[rows, columns], *turn)
            height, width = -(-(bottom - top) * down // most_down), -(-(right - left) * across // most_across)
            found.append(piece[:width, :height] if turn[2] else piece[:height, :width])
        made = jpeglib.from_dct(*found, qt=tables, quant_tbl_no=[used.index(table) for table in jpeg.quant_tbl_no])
        made.height, made.width, made.samp_factor, made.markers = bottom - top, right - left, factors, profile
        if turn[2]:
            made.height, made.width = made.width, made.height
            made.samp_factor, made.qt = factors[:, ::-1], tables.transpose(0, 2, 1)
        made.write_dct(file, flags=["+OPTIMIZE_CODING"])


def turned(blocks: Blocks, mirrored: bool, flipped: bool, transposed: bool) -> Blocks:
    """Blocks of whole MCUs mirrored (left to right), flipped (top to bottom), then transposed, exactly: what mirrors a
    picture changes the signs of its odd frequencies. What transposes it transposes its tables, too.
    """
    odd = np.where(np.arange(8) % 2, -1, 1).astype(np.int16)
    if mirrored:
        blocks = blocks[:, ::-1] * odd
    if flipped:
        blocks = blocks[::-1] * odd[:, None]
    return blocks.transpose(1, 0, 3, 2) if transposed else blocks


if __name__ == "__main__":
    _serve()
