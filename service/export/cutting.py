"""Cutting patches out of an image file without changing their pixels.

A JPEG's blocks are copied, so that a patch is compressed once, as the pictures that it will train beside
(`service.export.jpeg_blocks`). Other formats keep depth, mode, palette and colour profile, in a lossless codec. What
comes out is upright, has no orientation tag, and nothing of the source's EXIF or XMP.

Memory, as a peak for the process and for each that copies blocks, with an image of 20,000 × 20,000 px: below 400 MB
for a JPEG with one scan (any camera's), PNG, TIFF and BMP. A JPEG with several scans (progressive), interlaced PNG,
palettes in PNG and TIFF, WebP and GIF are decoded whole.
"""

import io
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.domain.geometry import Box
from service.domain.model import SMALLEST_SIDE
from service.errors import ImageError
from service.export import jpeg_blocks
from service.export.jpeg_blocks import NotCopied
from service.pictures import FLOATING, FORMATS, UNREADABLE, stored

JPEG, PNG, TIFF = (".jpg", ".jpeg", ".jpe"), (".png",), (".tif", ".tiff")
SUFFIXES = {"JPEG": JPEG, "PNG": PNG, "TIFF": TIFF, "WEBP": (".webp",), "BMP": (".bmp", ".dib"), "GIF": PNG}
"""What files of a format may be called, the usual name first. GIF's 256 colours go into a PNG."""
HELD_BYTES = 300_000_000
"""Of decoded pictures held at the same time, by all threads; one that is larger is held alone."""
STRIP_BYTES = 8_000_000
COPIED_BYTES = 160_000_000
"""Of coefficients, two for each sample; jpeglib holds them twice. A JPEG with more is encoded again."""
Factors = tuple[tuple[int, int], ...]
"""How finely each of a JPEG's colours is sampled: across and down."""
SUBSAMPLINGS: dict[Factors, str] = {((2, 1), (1, 1), (1, 1)): "4:2:2", ((2, 2), (1, 1), (1, 1)): "4:2:0"}
"""Those that Pillow has words for."""
MODES = {1: "L", 2: "LA", 3: "RGB", 4: "RGBA"}
PNG_MODES = frozenset((*MODES.values(), "I;16", "LA;16", "RGB;16", "RGBA;16"))
LOSSLESS, EXACT = "lossless", "exact"
Pixels = NDArray[Any]
"""Of shape (height, width, channels)."""


@dataclass(frozen=True, slots=True)
class Crop:
    """One cut picture, in a file at `path` with this `suffix`. `cut` is what was cut, in pixels of the upright source:
    for a JPEG the box asked for, rounded inward to the grid of its blocks. `size` is width and height, `mode` Pillow's
    word ("RGB;16" for colour with 16 bits). `pixels` tells what became of them: "lossless" when a JPEG's blocks were
    copied, "exact" in a lossless codec, or "encoded again: …" with the reason. `sha256` and `bytes` are the file's.
    """

    path: Path
    suffix: str
    cut: Box
    size: tuple[int, int]
    mode: str
    pixels: str
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class _Picture:
    """What a crop's file will hold."""

    cut: Box
    mode: str
    pixels: str
    data: bytes


@dataclass(frozen=True, slots=True)
class _Turn:
    """How a stored picture becomes upright: mirrored (left to right), flipped (top to bottom), then transposed."""

    mirrored: bool = False
    flipped: bool = False
    transposed: bool = False

    @classmethod
    def of(cls, number: int) -> "_Turn":
        """By the numbers of EXIF 2.3, 4.6.4; any other is upright."""
        return cls(mirrored=number in (2, 3, 7, 8), flipped=number in (3, 4, 6, 7), transposed=number in (5, 6, 7, 8))

    def size(self, raw: tuple[int, int]) -> tuple[int, int]:
        """Width and height upright, of a stored picture of this size; or the reverse."""
        return (raw[1], raw[0]) if self.transposed else raw

    def raw(self, box: Box, size: tuple[int, int]) -> Box:
        """Where an upright box is in a stored picture of this size."""
        if self.transposed:
            box = Box(box.top, box.left, box.bottom, box.right)
        if self.mirrored:
            box = Box(size[0] - box.right, box.top, size[0] - box.left, box.bottom)
        if self.flipped:
            box = Box(box.left, size[1] - box.bottom, box.right, size[1] - box.top)
        return box

    def pixels(self, pixels: Pixels) -> Pixels:
        """Stored pixels, upright."""
        turned = pixels[:: -1 if self.flipped else 1, :: -1 if self.mirrored else 1]
        return turned.swapaxes(0, 1) if self.transposed else turned

    def image(self, image: Image.Image) -> Image.Image:
        """A stored picture, upright."""
        if self.mirrored:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        if self.flipped:
            image = image.transpose(Image.Transpose.FLIP_TOP_BOTTOM)
        return image.transpose(Image.Transpose.TRANSPOSE) if self.transposed else image


@dataclass(frozen=True, slots=True)
class _About:
    """What a file's header says. `size` is that of the stored picture; `is_tiled` tells that a TIFF can be read in any
    order. A JPEG's colours have these sampling `factors` and together these quantization `tables`.
    """

    path: Path
    what: str
    format: str
    mode: str
    size: tuple[int, int]
    turn: _Turn
    profile: bytes | None
    is_tiled: bool
    factors: Factors
    tables: tuple[tuple[int, ...], ...]

    @property
    def upright(self) -> Box:
        """The whole picture as people see it."""
        return Box(0, 0, *self.turn.size(self.size))

    @property
    def grid(self) -> tuple[int, int]:
        """Width and height of a JPEG's MCUs, in stored pixels."""
        return 8 * max(across for across, _ in self.factors), 8 * max(down for _, down in self.factors)

    @property
    def coefficient_bytes(self) -> int:
        """What a JPEG's coefficients take in memory."""
        in_mcu = 64 * sum(across * down for across, down in self.factors)
        (across, down), (width, height) = self.grid, self.size
        return 2 * in_mcu * -(-width // across) * -(-height // down)


class _Room:
    """So many bytes, which threads share."""

    def __init__(self, total: int) -> None:
        self._total = self._free = total
        self._changed = threading.Condition()

    @contextmanager
    def taken(self, wanted: int) -> Iterator[None]:
        """Wait until there is room for so many; for more than there is in all, until nobody else has any."""
        taken = min(wanted, self._total)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= taken)
            self._free -= taken
        try:
            yield
        finally:
            with self._changed:
                self._free += taken
                self._changed.notify_all()


_ROOM = _Room(HELD_BYTES)


def size_of(source: Path, what: str) -> tuple[int, int]:
    """Width and height of the upright picture, from the file's header alone.

    Raises `ImageError`, naming it as `what`, when it is none.
    """
    about = _look(source, what)
    return about.upright.width, about.upright.height


def cut(
    source: Path, boxes: Sequence[Box], into: Path, *, what: str, max_pixels: int, suffixes: frozenset[str] | None
) -> list[Crop]:
    """Cut these boxes, in pixels of the upright picture, each into a file of the folder `into` that is named by its
    number. The source is decoded once; a JPEG of whose boxes some are copied and some encoded again, twice.

    `suffixes` are those that image files may have, with their dots; a source of another format becomes PNG, or JPEG
    where PNG isn't among them either. A JPEG's boxes are rounded inward to the grid of its blocks at their left and
    top, as long as both sides keep `SMALLEST_SIDE` pixels; what would become smaller is cut as asked and encoded again,
    with the source's tables.

    Raises `ImageError`, naming the source as `what`: it is not an image, or not all of one; it has more than
    `max_pixels`; a box leaves it; no allowed format can hold its pixels. May be called by several threads; together
    they hold `HELD_BYTES` of decoded pictures, or one picture.
    """
    about = _look(source, what)
    found = f"{what} has {about.upright.width} × {about.upright.height} px"
    if about.upright.area > max_pixels:
        raise ImageError(f"{found}, more than {max_pixels:,} in all (NEGATIVES_MAX_IMAGE_PIXELS)")
    for box in boxes:
        if not about.upright.holds(box):
            raise ImageError(f"{found}: {box.words} leaves it; is this the image that was labelled?")
    if not boxes:
        return []
    suffix = _suffix(about, suffixes)
    try:
        pictures = _pictures(about, boxes, suffix)
    except UNREADABLE as error:
        raise ImageError(f"{what} can't be read whole: {_reason(error)}") from error
    return [_written(picture, into / f"{number}{suffix}", suffix) for number, picture in enumerate(pictures)]


def _written(picture: _Picture, path: Path, suffix: str) -> Crop:
    path.write_bytes(picture.data)
    size, digest = (picture.cut.width, picture.cut.height), sha256(picture.data).hexdigest()
    return Crop(path, suffix, picture.cut, size, picture.mode, picture.pixels, digest, len(picture.data))


def _suffix(about: _About, suffixes: frozenset[str] | None) -> str:
    wished = (*SUFFIXES[about.format], *PNG, *JPEG)
    return wished[0] if suffixes is None else next((suffix for suffix in wished if suffix in suffixes), JPEG[0])


def _pictures(about: _About, boxes: Sequence[Box], suffix: str) -> list[_Picture]:
    if about.format == "JPEG":
        return _from_jpeg(about, boxes, suffix)
    because = f"it is {about.format}, and JPEG is what is allowed" if suffix in JPEG else ""
    is_plain = about.format in ("PNG", "TIFF") and about.mode not in ("1", "P", "PA")
    return (_from_vips if is_plain else _from_pillow)(about, boxes, suffix, because)


def _reason(error: BaseException) -> str:
    said = str(error).strip().splitlines()
    return said[-1].strip() if said else type(error).__name__


# Headers


def _look(source: Path, what: str) -> _About:
    Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit is lower than ours, which is checked before decoding
    try:
        with Image.open(source, formats=FORMATS) as image:
            if image.mode == "F":
                raise ImageError(FLOATING)
            size, orientation = stored(image)
            name = "JPEG" if image.format == "MPO" else str(image.format)
            is_tiled = name == "TIFF" and 0x0142 in image.tag_v2  # type: ignore[attr-defined]
            factors, tables = _sampling(image) if name == "JPEG" else ((), ())
            _check_end(source, name, image)
            turn, profile = _Turn.of(orientation), image.info.get("icc_profile")
            return _About(source, what, name, image.mode, size, turn, profile, is_tiled, factors, tables)
    except ImageError as error:
        raise ImageError(f"{what} {error}") from error
    except UNREADABLE as error:
        raise ImageError(f"{what} can't be read: {type(error).__name__}") from error


def _sampling(image: Any) -> tuple[Factors, tuple[tuple[int, ...], ...]]:
    """A JPEG's sampling factors, and the quantization tables that its colours use, in their order."""
    factors = tuple((max(1, across), max(1, down)) for _, across, down, _ in image.layer)
    used = dict.fromkeys(number for *_, number in image.layer)
    tables = tuple(tuple(image.quantization[number]) for number in used if number in image.quantization)
    return factors if len(factors) > 1 else ((1, 1),), tables  # a single colour's factors mean nothing


def _check_end(source: Path, name: str, image: Image.Image) -> None:
    """Readers that take a part of a file don't notice when its end is missing. (JPEGs are read to their end.)"""
    length = source.stat().st_size
    end = 0
    if name == "PNG":
        with source.open("rb") as file:
            end = _png_end(file)
    elif name == "TIFF":
        tags = image.tag_v2  # type: ignore[attr-defined]
        starts, counts = (tags.get(tag, ()) for tag in ((0x0144, 0x0145) if 0x0142 in tags else (0x0111, 0x0117)))
        end = max((start + count for start, count in zip(starts, counts, strict=False)), default=0)
    elif name == "BMP" and (tile := _raw_tile(image)):
        end = tile[0] + tile[2] * image.height
    if end > length:
        raise ImageError("is not whole: the end of the file is missing")


def _png_end(file: BinaryIO) -> int:
    at = 8
    while True:
        file.seek(at)
        head = file.read(8)
        if len(head) < 8:
            return at + 12
        at += 12 + int.from_bytes(head[:4], "big")
        if head[4:] == b"IEND":
            return at


# JPEG


def _from_jpeg(about: _About, boxes: Sequence[Box], suffix: str) -> list[_Picture]:
    fits = {number: fit for number, box in enumerate(boxes) if suffix in JPEG and (fit := _on_grid(box, about))}
    because = f"on the grid of its blocks less than {SMALLEST_SIDE} px would be left"
    found: dict[int, _Picture] = {}
    try:
        found = dict(zip(fits, _copied(about, list(fits.values())), strict=True))
    except NotCopied as error:
        because = f"its blocks can't be copied, because it {error}"
    others = {number: box for number, box in enumerate(boxes) if number not in found}
    if others:
        again = _from_vips(about, list(others.values()), suffix, because)
        found |= dict(zip(others, again, strict=True))
    return [found[number] for number in range(len(boxes))]


def _copied(about: _About, boxes: Sequence[Box]) -> list[_Picture]:
    if about.coefficient_bytes > COPIED_BYTES:
        raise NotCopied(f"has {about.upright.area / 1e6:,.0f} megapixels, too many to be held as blocks")
    if not boxes:
        return []
    raws = [_sides(about.turn.raw(box, about.size)) for box in boxes]
    with _ROOM.taken(2 * about.coefficient_bytes):
        files = jpeg_blocks.copied(about.path, raws, **asdict(about.turn))
    pictures = [_Picture(box, about.mode, LOSSLESS, data) for box, data in zip(boxes, files, strict=True)]
    for box, picture in zip(boxes, pictures, strict=True):
        with Image.open(io.BytesIO(picture.data), formats=("JPEG",)) as image:
            found = image.size, image.mode, image.info.get("icc_profile")
        if found != ((box.width, box.height), about.mode, about.profile):
            raise NotCopied("loses its size, colours or profile on the way")
    return pictures


def _on_grid(box: Box, about: _About) -> Box | None:
    """The box with its left and top moved inward to where a copied block can begin; None when too little is left.

    Blocks are counted from the stored picture's left and top, so where it is mirrored the grid begins at what is left
    over on its other side.
    """
    across, down = about.grid
    offset = about.size[0] % across if about.turn.mirrored else 0, about.size[1] % down if about.turn.flipped else 0
    (step_x, step_y), (first_x, first_y) = about.turn.size((across, down)), about.turn.size(offset)
    left = box.left + (first_x - box.left) % step_x
    top = box.top + (first_y - box.top) % step_y
    if box.right - left < min(SMALLEST_SIDE, box.width) or box.bottom - top < min(SMALLEST_SIDE, box.height):
        return None
    return Box(left, top, box.right, box.bottom)


# All that Pillow decodes


def _from_pillow(about: _About, boxes: Sequence[Box], suffix: str, because: str) -> list[_Picture]:
    # Out of an open file: of one that it opens itself, Pillow 13 mixes the rows of turned TIFFs.
    with about.path.open("rb") as file, Image.open(file, formats=FORMATS) as image:
        tile = _raw_tile(image) if about.format == "BMP" else None
        if tile is not None:
            cropped = [_raw_rows(about, file, image, tile, about.turn.raw(box, about.size)) for box in boxes]
        else:
            of_pixel = 1 if image.mode in ("1", "L", "P") else 4
            with _ROOM.taken(image.width * image.height * of_pixel):
                image.load()
                # A TIFF's pixels are upright as soon as Pillow has loaded them.
                turn = _Turn() if about.format == "TIFF" else about.turn
                cropped = [image.crop(_sides(turn.raw(box, image.size))) for box in boxes]
                image.close()
                cropped = [turn.image(each) for each in cropped]
        return [_saved(each, box, about, suffix, because) for each, box in zip(cropped, boxes, strict=True)]


def _sides(box: Box) -> tuple[int, int, int, int]:
    return box.left, box.top, box.right, box.bottom


def _raw_tile(image: Image.Image) -> tuple[int, str, int, int] | None:
    """Where the rows of a picture that isn't compressed begin in the file, how a pixel is stored, how many bytes a row
    takes, and whether the first row is the top one (1) or not (-1). None for other pictures.
    """
    tiles: list[Any] = getattr(image, "tile", [])
    if len(tiles) != 1 or tiles[0].codec_name != "raw" or not isinstance(tiles[0].args, tuple):
        return None
    rawmode, stride, direction = tiles[0].args
    return tiles[0].offset, rawmode, stride, direction


def _raw_rows(
    about: _About, file: BinaryIO, image: Image.Image, tile: tuple[int, str, int, int], box: Box
) -> Image.Image:
    """A box of a stored picture that isn't compressed, upright; only its rows are read."""
    offset, rawmode, stride, direction = tile
    first = box.top if direction == 1 else image.height - box.bottom
    file.seek(offset + first * stride)
    data = file.read(stride * box.height)
    rows = Image.frombytes(image.mode, (image.width, box.height), data, "raw", rawmode, stride, direction)
    if image.mode == "P" and image.palette is not None:
        rows.palette = image.palette.copy()
    return about.turn.image(rows.crop((box.left, 0, box.right, box.height)))


def _saved(image: Image.Image, box: Box, about: _About, suffix: str, because: str) -> _Picture:
    """A crop in its file's format, with nothing of its source's information but profile and transparency. `because`
    says why it becomes a JPEG that is encoded again.
    """
    kept: dict[str | tuple[int, int], Any] = {
        key: image.info[key] for key in ("icc_profile", "transparency") if key in image.info
    }
    pixels, options = EXACT, dict[str, Any]()
    name = next(name for name, usual in SUFFIXES.items() if suffix in usual)
    if name == "JPEG":
        options = _jpeg_options(about)
        if image.has_transparency_data:
            because += ", without its transparency"
            kept.pop("transparency", None)
        pixels = f"encoded again: {because}"
    elif name == "PNG" and image.mode == "CMYK":
        kept.pop("icc_profile", None)  # it describes ink, not light
        pixels = "encoded again: PNG has no CMYK"
    elif name == "TIFF":
        options = {"compression": "tiff_adobe_deflate"}
    elif name == "WEBP":
        options = {"lossless": True, "exact": True}
    image.info = kept
    if pixels != EXACT and (name == "PNG" or image.mode not in ("L", "RGB", "CMYK")):
        image = image.convert("L" if image.mode in ("1", "LA") else "RGB")
    out = io.BytesIO()
    image.save(out, name, icc_profile=kept.get("icc_profile"), **options)
    return _Picture(box, image.mode, pixels, out.getvalue())


def _jpeg_options(about: _About) -> dict[str, Any]:
    """The tables of a source that is a JPEG, and its subsampling where Pillow has a word for it; else the finest."""
    if not about.tables:
        return {"quality": 95, "subsampling": "4:4:4"}
    factors, tables = about.factors, np.array(about.tables).reshape(-1, 8, 8)
    if about.turn.transposed:
        factors, tables = tuple((down, across) for across, down in factors), tables.transpose(0, 2, 1)
    return {"qtables": tables.reshape(-1, 64).tolist(), "subsampling": SUBSAMPLINGS.get(factors, "4:4:4")}


# All that libvips reads in parts


@cache
def _vips() -> Any:
    """libvips, set to take no memory for what isn't read again."""
    os.environ.setdefault("VIPS_CONCURRENCY", "1")  # sources are cut in parallel
    import pyvips  # noqa: PLC0415 - it takes a moment, and many exports need none of it

    pyvips.cache_set_max(0)
    return pyvips


def _from_vips(about: _About, boxes: Sequence[Box], suffix: str, because: str) -> list[_Picture]:
    vips = _vips()
    load = {"PNG": vips.Image.pngload, "TIFF": vips.Image.tiffload, "JPEG": vips.Image.jpegload}[about.format]
    width, height = about.size
    raws = [about.turn.raw(box, about.size) for box in boxes]
    room = 2 * STRIP_BYTES
    if about.format == "JPEG":
        raws.append(Box(0, height - 1, 1, height))  # a missing end shows there
        room = about.coefficient_bytes  # of a progressive one
    try:
        image = load(str(about.path), access="random" if about.is_tiled else "sequential", fail_on="error")
        if (image.width, image.height) != (width, height):
            raise ImageError(f"{about.what} can't be read: its header tells of two sizes")
        with _ROOM.taken(room):
            found = _in_any_order(image, raws) if about.is_tiled else _from_the_top(image, raws)
        turned = (about.turn.pixels(pixels) for pixels in found)
        return [_kept(image, pixels, box, about, suffix, because) for pixels, box in zip(turned, boxes, strict=False)]
    except vips.Error as error:
        raise ImageError(f"{about.what} can't be read whole: {_reason(error)}") from error


def _in_any_order(image: Any, boxes: Sequence[Box]) -> list[Pixels]:
    region = _vips().Region.new(image)
    return [_fetched(region, image, box) for box in boxes]


def _from_the_top(image: Any, boxes: Sequence[Box]) -> list[Pixels]:
    """The pixels of boxes, in one pass over the rows that hold any."""
    region = _vips().Region.new(image)
    left, right = min(box.left for box in boxes), max(box.right for box in boxes)
    dtype = np.dtype(_dtype(image))
    found = [np.empty((box.height, box.width, image.bands), dtype=dtype) for box in boxes]
    height = max(1, STRIP_BYTES // (image.width * image.bands * dtype.itemsize))
    top, last = min(box.top for box in boxes), max(box.bottom for box in boxes)
    while top < last:
        strip = Box(left, top, right, min(top + height, last))
        rows = _fetched(region, image, strip)
        for box, pixels in zip(boxes, found, strict=True):
            if (common := strip.common(box)) is not None:
                pixels[common.top - box.top : common.bottom - box.top] = rows[
                    common.top - top : common.bottom - top, box.left - left : box.right - left
                ]
        top = min((max(box.top, strip.bottom) for box in boxes if box.bottom > strip.bottom), default=last)
    return found


def _fetched(region: Any, image: Any, box: Box) -> Pixels:
    data = region.fetch(box.left, box.top, box.width, box.height)
    return np.frombuffer(data, dtype=_dtype(image)).reshape(box.height, box.width, image.bands)


def _dtype(image: Any) -> str:
    """numpy's word for libvips's."""
    return str(_vips().vimage.FORMAT_TO_TYPESTR[image.format])


def _kept(image: Any, pixels: Pixels, box: Box, about: _About, suffix: str, because: str) -> _Picture:
    """A crop in its file's format, as deep as its source where that can be."""
    height, width, bands = pixels.shape
    mode, name = _mode(image), "JPEG" if suffix in JPEG else "PNG"
    if suffix not in TIFF and mode not in PNG_MODES and mode != "CMYK":
        raise ImageError(
            f"{about.what} holds {mode}, which {name} can't hold: let the export write TIFF, or convert it"
        )
    if name == "JPEG" or (mode == "CMYK" and suffix not in TIFF):
        if pixels.dtype == np.uint16:
            pixels, because = pixels >> 8, f"{because}, with 8 of its 16 bits"
        plain = "L" if bands == 1 else mode.removesuffix(";16")
        picture = Image.frombytes(plain, (width, height), pixels.astype(np.uint8).tobytes())
        picture.info = {"icc_profile": about.profile} if about.profile else {}
        return _saved(picture, box, about, suffix, because)
    made = _vips().Image.new_from_memory(np.ascontiguousarray(pixels), width, height, bands, image.format)
    made = made.copy(interpretation=image.interpretation)
    if about.profile:
        made.set_type(_vips().GValue.blob_type, "icc-profile-data", about.profile)
    if suffix == ".png":
        data = made.pngsave_buffer(keep="icc")
    else:
        data = made.tiffsave_buffer(keep="icc", compression="deflate")
    return _Picture(box, mode, EXACT, data)


def _mode(image: Any) -> str:
    """Pillow's word for what libvips has read, or one in its manner."""
    if image.interpretation in ("b-w", "grey16", "srgb", "rgb16", "multiband", "rgb"):
        if image.format == "uchar" and image.bands in MODES:
            return MODES[image.bands]
        if image.format == "ushort" and image.bands in MODES:
            return "I;16" if image.bands == 1 else f"{MODES[image.bands]};16"
    if image.interpretation == "cmyk" and image.format == "uchar":
        return "CMYK"
    return f"{image.bands} × {image.format} ({image.interpretation})"
