"""Opening a source image upright, wherever its bytes come from."""

import io

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from service.errors import ImageError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")  # not all that Pillow knows: EPS runs Ghostscript
SIXTEEN_BIT = frozenset(("I", "I;16", "I;16L", "I;16B", "I;16N"))
TURNED = (5, 6, 7, 8)
"""EXIF orientations that swap width and height."""
UNREADABLE = (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError)


def size_upright(data: bytes, what: str, max_pixels: int) -> tuple[int, int]:
    """Width and height of an image once its EXIF orientation is applied, without decoding it.

    Raises `ImageError`, naming it as `what`, when it is none or has more pixels than allowed.
    """
    image = _opened(data, what, max_pixels)
    is_turned = image.getexif().get(0x0112) in TURNED
    return (image.height, image.width) if is_turned else image.size


def upright(data: bytes, what: str, max_pixels: int) -> Image.Image:
    """The image with its EXIF orientation applied: grey or colour with 8 bits a channel; 16 bits by the high byte, as
    Label Studio's screen shows them.

    Raises `ImageError`, naming it as `what`, when it is none or has more pixels than allowed.
    """
    image = _opened(data, what, max_pixels)
    try:
        image.load()
    except UNREADABLE as error:
        raise ImageError(f"{what} can't be read: {type(error).__name__}") from error
    if image.mode == "F":
        raise ImageError(
            f"{what} holds floating-point values, which have no brightness of their own: save it with 8 or 16 bits"
        )
    return _eight_bit(ImageOps.exif_transpose(image))


def _opened(data: bytes, what: str, max_pixels: int) -> Image.Image:
    Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit is lower than ours, which is checked before decoding
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
    except UNREADABLE as error:
        raise ImageError(f"{what} can't be read: {type(error).__name__}") from error
    if image.width * image.height > max_pixels:
        found, limit = f"{image.width} × {image.height} px", f"{max_pixels:,} in all (NEGATIVES_MAX_IMAGE_PIXELS)"
        raise ImageError(f"{what} has {found}, more than {limit}")
    return image


def _eight_bit(image: Image.Image) -> Image.Image:
    if image.mode in SIXTEEN_BIT:
        return Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).clip(0, 255).astype(np.uint8))
    if image.mode in ("L", "RGB"):
        return image
    if image.mode in ("1", "LA"):
        return image.convert("L")
    converted = image.convert("RGB")
    if image.mode == "CMYK":
        converted.info.pop("icc_profile", None)  # it describes ink, not light
    return converted
