"""Judged by Label Studio's own encoder and decoder."""

from base64 import b64encode
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from label_studio_sdk.converter import brush
from numpy.typing import NDArray
from PIL import Image

from service.domain.geometry import Box, Painted
from service.errors import PayloadError
from service.label_studio.brush import bitmask_alpha, brush_alpha, encode_brush
from service.raster import painted

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


def test_faint_paint_is_read_as_faint() -> None:
    """The lowest opacity is neither nothing nor full paint: what counts is for the reader to say."""
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[5, 9] = 1
    assert np.array_equal(brush_alpha(encoded(mask), WIDTH, HEIGHT), mask)


def test_only_the_alpha_channel_counts() -> None:
    """Colour without opacity isn't paint."""
    pixels = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    pixels[..., 0] = 255
    pixels[7, 8, 3] = 200
    rle = brush.encode_rle(pixels.ravel())  # type: ignore[no-untyped-call]
    assert np.argwhere(brush_alpha(list(rle), WIDTH, HEIGHT)).tolist() == [[7, 8]]


def test_a_mask_of_another_size_is_refused() -> None:
    """A mask painted on an image of another size can't be placed."""
    rle = encoded(np.full((HEIGHT, WIDTH), 255, np.uint8))
    with pytest.raises(PayloadError, match="values, but"):
        brush_alpha(rle, HEIGHT, WIDTH + 1)


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


# ---------------------------------------------------------------- what we write

# Sparse and dense ones: runs of one pixel and of many, at both ends of a row.
MASKS = array_shapes(min_dims=2, max_dims=2, max_side=24).flatmap(
    lambda shape: st.one_of(arrays(bool, shape), arrays(bool, shape, elements=st.booleans(), fill=st.nothing()))
)


def shape_of(mask: NDArray[np.bool_]) -> Painted:
    """The pixels of a mask that has some."""
    shape = painted(mask)
    assert shape is not None
    return shape


@given(MASKS.filter(np.any))
def test_what_we_encode_is_read_back(mask: NDArray[np.bool_]) -> None:
    """Each pixel fully painted or not at all, in any image."""
    height, width = mask.shape
    assert np.array_equal(brush_alpha(encode_brush(shape_of(mask), width, height), width, height), mask * 255)


@given(MASKS.filter(np.any))
def test_label_studios_own_decoder_reads_what_we_encode(mask: NDArray[np.bool_]) -> None:
    """All four values of each pixel, so no reader sees another picture than we do."""
    height, width = mask.shape
    theirs = np.asarray(brush.decode_rle(encode_brush(shape_of(mask), width, height))).reshape(height, width, 4)
    assert np.array_equal(theirs, np.repeat(mask[:, :, None] * 255, 4, axis=2))


@pytest.mark.parametrize("width", [128, 200])
def test_a_run_longer_than_a_length_can_say_is_split(width: int) -> None:
    """A run holds 65536 values at most; 128 × 128 px are just so many, and 200 × 200 more."""
    whole = Painted((Box(0, 0, width, width),))
    theirs = brush.decode_rle(encode_brush(whole, width, width))
    assert np.array_equal(theirs, np.full(width * width * 4, 255))


def test_what_we_encode_is_made_of_bytes() -> None:
    """Whole numbers that JSON can say."""
    rle = encode_brush(Painted((Box(3, 4, 9, 11),)), WIDTH, HEIGHT)
    assert {type(value) for value in rle} == {int}
    assert bytes(rle)


# ---------------------------------------------------------------- BitMasks


def data_url(mask: Image.Image) -> str:
    """As the browser writes a canvas."""
    out = BytesIO()
    mask.save(out, "PNG")
    return "data:image/png;base64," + b64encode(out.getvalue()).decode()


@pytest.mark.parametrize(("mode", "empty", "paint"), [("RGBA", (0, 0, 0, 0), (9, 9, 9, 255)), ("L", 0, 200)])
def test_a_bitmask_is_painted_where_it_shows(mode: str, empty: Any, paint: Any) -> None:
    """Where the mask isn't transparent; without transparency, where it isn't black."""
    mask = Image.new(mode, (60, 40), empty)
    mask.paste(paint, (10, 5, 30, 25))
    expected = np.zeros((40, 60), bool)
    expected[5:25, 10:30] = True
    assert np.array_equal(bitmask_alpha(data_url(mask), 60, 40) > 0, expected)


def test_an_empty_bitmask_has_no_paint() -> None:
    """Wiped clean."""
    assert not bitmask_alpha(data_url(Image.new("RGBA", (60, 40))), 60, 40).any()


@pytest.mark.parametrize(
    "url", ["", "data:image/png;base64,????", "https://example/mask.png", data_url(Image.new("L", (9, 9)))]
)
def test_a_bitmask_that_cannot_be_read_is_refused(url: str) -> None:
    """Broken, elsewhere, or of another size: then nothing can be proved free of it."""
    with pytest.raises(PayloadError):
        bitmask_alpha(url, 60, 40)
