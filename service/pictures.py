"""Opening a source image upright, wherever its bytes come from, and showing people a patch of it."""

import io
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from service.domain.geometry import Box
from service.errors import ImageError

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF")  # not all that Pillow knows: EPS runs Ghostscript
SIXTEEN_BIT = frozenset(("I", "I;16", "I;16L", "I;16B", "I;16N"))
TURNED = (5, 6, 7, 8)
"""EXIF orientations that swap width and height."""
MOST_ENLARGED = 2.0
DIMMED = 0.78
"""How bright the context is, next to the patch."""
FLOATING = "holds floating-point values, which have no brightness of their own: save it with 8 or 16 bits"
UNREADABLE = (UnidentifiedImageError, OSError, SyntaxError, ValueError, Image.DecompressionBombError)


def size_upright(data: bytes, what: str, max_pixels: int) -> tuple[int, int]:
    """Width and height of an image once its EXIF orientation is applied, without decoding it.

    Raises `ImageError`, naming it as `what`, when it is none or has more pixels than allowed.
    """
    (width, height), orientation = stored(_opened(data, what, max_pixels))
    return (height, width) if orientation in TURNED else (width, height)


def stored(image: Image.Image) -> tuple[tuple[int, int], int]:
    """Of a file that was opened: width and height of the picture as it is stored, and its EXIF orientation, 1 where it
    has none.
    """
    orientation = image.getexif().get(0x0112)
    size = image.size
    if image.format == "TIFF":  # Pillow tells the size that it will have upright
        tags = image.tag_v2  # type: ignore[attr-defined]
        size = tags[0x0100], tags[0x0101]
    return size, orientation if isinstance(orientation, int) else 1


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
        raise ImageError(f"{what} {FLOATING}")
    return _eight_bit(ImageOps.exif_transpose(image))


@dataclass(frozen=True, slots=True)
class Cut:
    """How a patch's picture is made: `context` of the source image in its pixels, scaled to `scaled` (width, height);
    in that the patch is `inner`, framed by a line of `line` pixels in each of two colours. `pad` more pixels are laid
    around all of it where the frame would lie outside.
    """

    context: Box
    scaled: tuple[int, int]
    inner: Box
    line: int
    pad: tuple[int, int, int, int]

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the picture."""
        left, top, right, bottom = self.pad
        return self.scaled[0] + left + right, self.scaled[1] + top + bottom


def plan_cut(box: Box, size: tuple[int, int], longest: int) -> Cut:
    """The picture of a patch in an image of this size, with half of the patch's longer side around it.

    Its longest side is `longest` pixels at most, and nothing is enlarged beyond `MOST_ENLARGED`. A patch that leaves
    the image is cut off at its edge. Raises `ImageError` for one that lies outside of it.
    """
    frame = Box(0, 0, *size)
    patch = frame.common(box)
    if patch is None:
        raise ImageError("a patch lies outside of the image")
    context = frame.common(patch.grown((max(patch.width, patch.height) + 1) // 2))
    assert context is not None
    line = max(1, longest // 320)
    scale = min(MOST_ENLARGED, (longest - 4 * line) / max(context.width, context.height))
    width, height = max(1, round(context.width * scale)), max(1, round(context.height * scale))
    across, down = width / context.width, height / context.height
    left, top = round((patch.left - context.left) * across), round((patch.top - context.top) * down)
    left, top = min(left, width - 1), min(top, height - 1)
    inner = Box(
        left,
        top,
        min(width, max(left + 1, round((patch.right - context.left) * across))),
        min(height, max(top + 1, round((patch.bottom - context.top) * down))),
    )
    wide = 2 * line
    pad = (
        max(0, wide - inner.left),
        max(0, wide - inner.top),
        max(0, wide - (width - inner.right)),
        max(0, wide - (height - inner.bottom)),
    )
    return Cut(context, (width, height), inner, line, pad)


def plan_whole(size: tuple[int, int], longest: int) -> tuple[int, int]:
    """Width and height of the picture of a whole image of this size."""
    scale = min(MOST_ENLARGED, longest / max(size))
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def draw_cut(image: Image.Image, cut: Cut) -> Image.Image:
    """The patch's picture: what is around it a little darker, and a line of two colours just outside of its pixels, so
    that one of them shows on any background.
    """
    context = cut.context
    region = image.crop((context.left, context.top, context.right, context.bottom)).convert("RGB")
    bright = region.resize(cut.scaled, Image.Resampling.LANCZOS, reducing_gap=2.0)
    inner = (cut.inner.left, cut.inner.top, cut.inner.right, cut.inner.bottom)
    left, top, _, _ = cut.pad
    canvas = Image.new("RGB", cut.size, (0, 0, 0))
    canvas.paste(bright.point(lambda value: int(value * DIMMED)), (left, top))
    for distance, colour in ((2 * cut.line, (0, 0, 0)), (cut.line, (255, 255, 255))):
        around = (inner[0] - distance, inner[1] - distance, inner[2] + distance, inner[3] + distance)
        canvas.paste(colour, (around[0] + left, around[1] + top, around[2] + left, around[3] + top))
    canvas.paste(bright.crop(inner), (inner[0] + left, inner[1] + top))
    return canvas


def jpeg(image: Image.Image) -> bytes:
    """For looking at, not for training."""
    file = io.BytesIO()
    image.save(file, "JPEG", quality=85)
    return file.getvalue()


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
