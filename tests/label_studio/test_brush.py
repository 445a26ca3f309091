"""Judged by Label Studio's own encoder and decoder."""

from base64 import b64encode
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from label_studio_sdk.converter import brush
from numpy.typing import NDArray
from PIL import Image

from service.domain.geometry import Box
from service.errors import PayloadError
from service.label_studio.brush import bitmask_bounds, brush_alpha, brush_bounds

WIDTH, HEIGHT = 61, 37


def masks() -> list[Any]:
    """A disc, noise, one pixel in each corner, lines, everything: runs of every length that the format knows."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    random = np.random.default_rng(1)
    corners = np.zeros((HEIGHT, WIDTH), bool)
    corners[0, 0] = corners[-1, -1] = corners[0, -1] = True
    found = {
        "disc": (columns - 30) ** 2 + (rows - 20) ** 2 < 100,
        "noise": random.random((HEIGHT, WIDTH)) < 0.3,
        "corners": corners,
        "last pixel": rows * WIDTH + columns == WIDTH * HEIGHT - 1,
        "column": columns == 17,
        "row": rows == 3,
        "all": np.ones((HEIGHT, WIDTH), bool),
    }
    return [pytest.param((mask * 255).astype(np.uint8), id=name) for name, mask in found.items()]


def encoded(mask: NDArray[np.uint8]) -> list[int]:
    """The mask as the SDK writes it."""
    return list(brush.mask2rle(mask))  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("mask", masks())
def test_the_alpha_is_what_label_studio_painted(mask: NDArray[np.uint8]) -> None:
    """What their encoder wrote is read back pixel by pixel."""
    assert np.array_equal(brush_alpha(encoded(mask), WIDTH, HEIGHT), mask)


@pytest.mark.parametrize("mask", masks())
def test_both_decoders_agree(mask: NDArray[np.uint8]) -> None:
    """Our decoder and theirs read the same values."""
    rle = encoded(mask)
    theirs = np.asarray(brush.decode_rle(rle)).reshape(HEIGHT, WIDTH, 4)[:, :, 3]
    assert np.array_equal(brush_alpha(rle, WIDTH, HEIGHT), theirs)


@pytest.mark.parametrize("mask", masks())
def test_the_bounds_hold_every_painted_pixel_and_no_empty_edge(mask: NDArray[np.uint8]) -> None:
    """The box is the smallest one around the paint."""
    box = brush_bounds(encoded(mask), WIDTH, HEIGHT)
    rows, columns = np.nonzero(mask)
    assert box == Box(int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1)


def test_faint_paint_counts() -> None:
    """A pixel painted with the lowest opacity is painted."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[5, 9] = 1
    assert brush_bounds(encoded(mask), WIDTH, HEIGHT) == Box(9, 5, 10, 6)


def test_nothing_painted_has_no_bounds() -> None:
    """A brush region that was wiped away covers nothing."""
    assert brush_bounds(encoded(np.zeros((HEIGHT, WIDTH), np.uint8)), WIDTH, HEIGHT) is None


def test_only_the_alpha_channel_counts() -> None:
    """Colour without opacity isn't paint."""
    pixels = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    pixels[..., 0] = 255
    pixels[7, 8, 3] = 200
    rle = brush.encode_rle(pixels.ravel())  # type: ignore[no-untyped-call]
    assert brush_bounds(list(rle), WIDTH, HEIGHT) == Box(8, 7, 9, 8)


def test_a_mask_of_another_size_is_refused() -> None:
    """A mask painted on an image of another size can't be placed."""
    rle = encoded(np.full((HEIGHT, WIDTH), 255, np.uint8))
    with pytest.raises(PayloadError, match="values, but"):
        brush_bounds(rle, HEIGHT, WIDTH + 1)


@pytest.mark.parametrize("length", [0, 3, 8, 20])
def test_bytes_that_end_too_early_are_refused(length: int) -> None:
    """A cut encoding is refused, not read as far as it goes."""
    rle = encoded((np.random.default_rng(2).random((HEIGHT, WIDTH)) < 0.5).astype(np.uint8))
    with pytest.raises(PayloadError, match="can't be read"):
        brush_alpha(rle[:length], WIDTH, HEIGHT)


def test_numbers_that_are_no_bytes_are_refused() -> None:
    """An encoding is made of bytes."""
    with pytest.raises(PayloadError, match="can't be read"):
        brush_alpha([0, 0, 300], 1, 1)


def data_url(mask: Image.Image) -> str:
    """As the browser writes a canvas."""
    out = BytesIO()
    mask.save(out, "PNG")
    return "data:image/png;base64," + b64encode(out.getvalue()).decode()


@pytest.mark.parametrize(("mode", "empty", "paint"), [("RGBA", (0, 0, 0, 0), (9, 9, 9, 255)), ("L", 0, 200)])
def test_a_bitmask_excludes_its_paint(mode: str, empty: Any, paint: Any) -> None:
    """Where the mask isn't transparent; without transparency, where it isn't black."""
    mask = Image.new(mode, (60, 40), empty)
    mask.paste(paint, (10, 5, 30, 25))
    assert bitmask_bounds(data_url(mask), 60, 40) == Box(10, 5, 30, 25)


def test_an_empty_bitmask_excludes_nothing() -> None:
    """Wiped clean."""
    assert bitmask_bounds(data_url(Image.new("RGBA", (60, 40))), 60, 40) is None


@pytest.mark.parametrize(
    "url", ["", "data:image/png;base64,????", "https://example/mask.png", data_url(Image.new("L", (9, 9)))]
)
def test_a_bitmask_that_cannot_be_read_is_refused(url: str) -> None:
    """Broken, elsewhere, or of another size: then nothing can be proved free of it."""
    with pytest.raises(PayloadError):
        bitmask_bounds(url, 60, 40)
