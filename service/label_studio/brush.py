"""Painted regions: Label Studio's run-length encoding and its BitMasks, read as far as needed. Pure.

The encoding is the one of thi.ng/rle-pack (https://docs.thi.ng/umbrella/rle-pack/): a bit stream of 32 bits element
count, 5 bits word size − 1, four times 4 bits run-length size − 1, then runs: 1 bit "repeats", 2 bits which
run-length size, the length − 1, and one word (repeats) or as many words as the length says. Label Studio packs the
RGBA bytes of the canvas.
"""

from base64 import b64decode
from collections.abc import Sequence
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL.PngImagePlugin import PngImageFile

from service.domain.geometry import Painted
from service.errors import PayloadError

RUN_BITS = (3, 4, 8, 16)
"""The four run-length sizes that we write; runs as long as a row of pixels take the last."""


def brush_alpha(rle: Sequence[int], width: int, height: int) -> NDArray[np.uint8]:
    """The painted mask as a (height, width) array of alpha values, 0 = not painted.

    Raises `PayloadError` when the bytes aren't such an encoding of an image of this size.
    """
    try:
        bits = _Bits(bytes(rle))
        count = bits.read(32)
        if count != width * height * 4:
            raise PayloadError(
                f"a brush region encodes {count} values, but {width} × {height} px need {width * height * 4}"
            )
        word = bits.read(5) + 1
        sizes = [bits.read(4) + 1 for _ in range(4)]
        values = np.zeros(count, dtype=np.uint8)
        at = 0
        while at < count:
            repeats = bits.read(1)
            length = bits.read(sizes[bits.read(2)]) + 1
            if repeats:
                values[at : at + length] = bits.read(word)
            else:
                values[at : at + length] = [bits.read(word) for _ in range(length)]
            at += length
    except (ValueError, IndexError, OverflowError) as error:
        raise PayloadError("a brush region's encoding can't be read") from error
    return values.reshape(height, width, 4)[:, :, 3]


def encode_brush(shape: Painted, width: int, height: int) -> list[int]:
    """The encoding of these pixels, fully painted, in an image of this size: what `brush_alpha` reads.

    As `brush_alpha`'s own readers expect it, all four values of a pixel are the same.
    """
    mask = np.zeros((height, width), dtype=bool)
    for box in shape.boxes:
        mask[box.top : box.bottom, box.left : box.right] = True
    turns = np.flatnonzero(np.diff(mask.ravel())) + 1
    edges = np.concatenate([[0], turns, [mask.size]]) * 4
    head = f"{mask.size * 4:032b}{8 - 1:05b}" + "".join(f"{size - 1:04b}" for size in RUN_BITS)
    runs, is_painted = [head], bool(mask[0, 0])
    for length in np.diff(edges).tolist():
        for part in range(length, 0, -(1 << RUN_BITS[-1])):
            runs.append(f"111{min(part, 1 << RUN_BITS[-1]) - 1:0{RUN_BITS[-1]}b}{255 * is_painted:08b}")
        is_painted = not is_painted
    bits = "".join(runs)
    return list(int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big"))


def bitmask_alpha(data_url: str, width: int, height: int) -> NDArray[np.uint8]:
    """A BitMask region as a (height, width) array, 0 = not painted: a PNG of the image's size in a data URL, painted
    where it isn't transparent (or, without transparency, not black).

    Raises `PayloadError` for anything else.
    """
    try:
        head, _, encoded = data_url.partition(",")
        if not head.startswith("data:image/png;base64"):
            raise ValueError(head[:30])
        image = PngImageFile(BytesIO(b64decode(encoded, validate=True)))
        if image.size != (width, height):
            raise ValueError(f"{image.size}")
        mask = image.convert("RGBA").getchannel("A")
        if mask.getextrema() == (255, 255):
            mask = image.convert("L")
    except (ValueError, OSError, SyntaxError) as error:
        raise PayloadError(f"a BitMask region is no PNG of {width} × {height} px") from error
    return np.asarray(mask)


class _Bits:
    """Bits of a byte string, most significant first."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def read(self, count: int) -> int:
        start, self._at = self._at, self._at + count
        if self._at > len(self._data) * 8:
            raise IndexError("past the end")
        first, last = start // 8, (self._at + 7) // 8
        window = int.from_bytes(self._data[first:last], "big")
        return (window >> (last * 8 - self._at)) & ((1 << count) - 1)
