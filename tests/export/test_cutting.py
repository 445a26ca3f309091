"""Cutting patches out of image files: what goes in comes out, pixel by pixel and block by block."""

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from time import sleep
from typing import Any

import jpeglib
import numpy as np
import pytest
import pyvips
from numpy.typing import NDArray
from PIL import Image, ImageCms, ImageOps

from service.domain.geometry import Box
from service.errors import ImageError
from service.export import cutting
from service.export.cutting import Crop, cut, size_of
from tests.bccd import photos

SIZE = (333, 251)  # no multiple of any grid
BOX = Box(48, 32, 171, 143)
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
GREY_PROFILE = PROFILE[:16] + b"GRAY" + PROFILE[20:]
ENOUGH = 10**9


@pytest.fixture(scope="module")
def photo(tmp_path_factory: pytest.TempPathFactory) -> Image.Image:
    """A real photo with noise on it, so that no two blocks are the same."""
    (one,) = photos(1, tmp_path_factory.mktemp("photo"))
    with Image.open(one.path) as image:
        pixels = np.asarray(image.convert("RGB").resize(SIZE)).astype(float)
    noise = np.random.default_rng(7).normal(0, 9, pixels.shape)
    return Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8))


def cut_one(source: Path, box: Box = BOX, suffixes: frozenset[str] | None = None) -> Crop:
    """One box into a folder beside the source."""
    into = source.parent / f"cut_{len(list(source.parent.iterdir()))}"
    into.mkdir()
    (crop,) = cut(source, [box], into, what="it", max_pixels=ENOUGH, suffixes=suffixes)
    return crop


def pixels_of(crop: Crop) -> NDArray[Any]:
    """As a reader of the file sees them."""
    with Image.open(crop.path) as image:
        return np.asarray(image)


def within(pixels: NDArray[Any], box: Box) -> NDArray[Any]:
    """A box of an array of pixels."""
    return pixels[box.top : box.bottom, box.left : box.right]


# JPEG

Save = Callable[[Image.Image, Path], None]


def saved(**options: Any) -> Save:
    """Saved by Pillow."""
    return lambda image, path: image.save(path, "JPEG", **options)


def saved_grey(image: Image.Image, path: Path) -> None:
    """In one colour."""
    image.convert("L").save(path, "JPEG", quality=88)


def saved_by_libjpeg(subsampling: str) -> Save:
    """With a subsampling that Pillow has no word for."""

    def save(image: Image.Image, path: Path) -> None:
        jpeg = jpeglib.from_spatial(np.asarray(image))
        jpeg.samp_factor = subsampling
        jpeg.write_spatial(str(path), qt=85)

    return save


KINDS: dict[str, Save] = {
    "4:4:4": saved(subsampling="4:4:4", quality=90),
    "4:2:2": saved(subsampling="4:2:2", quality=90),
    "4:2:0": saved(subsampling="4:2:0", quality=90),
    "4:4:0": saved_by_libjpeg("4:4:0"),
    "4:1:1": saved_by_libjpeg("4:1:1"),
    "grey": saved_grey,
    "progressive 4:2:0": saved(subsampling="4:2:0", quality=80, progressive=True),
    "progressive 4:4:4": saved(subsampling="4:4:4", quality=80, progressive=True),
    "progressive grey": lambda image, path: image.convert("L").save(path, "JPEG", progressive=True),
    "every row restarts": saved(restart_marker_rows=1),
    "five blocks restart": saved(restart_marker_blocks=5),
    "optimized": saved(optimize=True, quality=60),
    "finest": saved(quality=100, subsampling="4:4:4"),
    "coarse": saved(quality=4),
}


def coefficients(path: Path) -> list[NDArray[np.int16]]:
    """Of each colour, as jpeglib's own reader sees them: (rows, columns, 8, 8)."""
    jpeg = jpeglib.read_dct(str(path))
    jpeg.load()
    return [jpeg.Y, *((jpeg.Cb, jpeg.Cr) if jpeg.has_chrominance else ())]


def grid_of(path: Path) -> tuple[int, int]:
    """The width and height of its MCUs, in pixels."""
    factors = jpeglib.read_dct(str(path)).samp_factor
    down, across = factors.max(axis=0).tolist()
    return (8 * across, 8 * down) if len(factors) > 1 else (8, 8)


def assert_copied(crop: Crop, source: Path) -> None:
    """Every block of the crop is the source's at its place, tables and subsampling too."""
    here, there = jpeglib.read_dct(str(crop.path)), jpeglib.read_dct(str(source))
    assert (here.width, here.height) == crop.size
    assert here.qt.tolist() == there.qt.tolist()
    if here.has_chrominance:
        assert here.samp_factor.tolist() == there.samp_factor.tolist()
    across, down = grid_of(source)
    for ours, theirs, (rows_down, columns_across) in zip(
        coefficients(crop.path), coefficients(source), there.samp_factor, strict=True
    ):
        step_x, step_y = (columns_across, rows_down) if there.has_chrominance else (1, 1)
        left, top = crop.cut.left // across * step_x, crop.cut.top // down * step_y
        rows, columns = ours.shape[:2]
        assert rows * columns > 0
        np.testing.assert_array_equal(ours, theirs[top : top + rows, left : left + columns])


@pytest.mark.parametrize("kind", KINDS)
def test_a_jpegs_blocks_are_copied(kind: str, photo: Image.Image, tmp_path: Path) -> None:
    """The DCT coefficients of crop and source are equal, whatever the kind of JPEG."""
    source = tmp_path / "source.jpg"
    KINDS[kind](photo, source)
    step_x, step_y = grid_of(source)
    for box in (BOX, Box(step_x, step_y, *SIZE), Box(0, 0, *SIZE), Box(0, 0, 17, 19)):
        fits = Box(-(-box.left // step_x) * step_x, -(-box.top // step_y) * step_y, box.right, box.bottom)
        crop = cut_one(source, box)
        assert (crop.pixels, crop.suffix, crop.cut) == ("lossless", ".jpg", fits)
        assert crop.size == (fits.width, fits.height)
        assert_copied(crop, source)


def test_a_box_is_rounded_inward_to_the_grid(photo: Image.Image, tmp_path: Path) -> None:
    """Left and top move to the next corner of a block; right and bottom stay."""
    source = tmp_path / "source.jpg"
    photo.save(source, subsampling="4:2:0")
    crop = cut_one(source, Box(33, 47, 100, 101))
    assert crop.cut == Box(48, 48, 100, 101)
    assert crop.size == (52, 53)
    assert_copied(crop, source)


def test_a_crop_looks_as_its_source(photo: Image.Image, tmp_path: Path) -> None:
    """Its pixels are the source's; where chroma is subsampled, a decoder smooths a pixel at the rim."""
    for subsampling, rim in (("4:4:4", 0), ("4:2:0", 1)):
        source = tmp_path / f"{rim}.jpg"
        photo.save(source, quality=90, subsampling=subsampling)
        crop = cut_one(source)
        with Image.open(source) as whole:
            expected = within(np.asarray(whole), crop.cut)
        inner = slice(rim, -rim or None)
        np.testing.assert_array_equal(pixels_of(crop)[inner, inner], expected[inner, inner])


def test_a_box_too_small_for_the_grid_is_encoded_again(photo: Image.Image, tmp_path: Path) -> None:
    """Exactly where it was asked for, with the source's tables and subsampling, and with the reason."""
    source = tmp_path / "source.jpg"
    photo.save(source, quality=92, subsampling="4:2:2", icc_profile=PROFILE)
    box = Box(33, 33, 57, 45)
    crop = cut_one(source, box)
    assert crop.cut == box
    assert crop.pixels.startswith("encoded again: ")
    with Image.open(source) as whole, Image.open(crop.path) as cropped:
        assert cropped.size == (24, 12)
        assert getattr(cropped, "quantization", None) == getattr(whole, "quantization", 0)
        assert cropped.info["icc_profile"] == PROFILE
        difference = np.asarray(cropped).astype(int) - within(np.asarray(whole).astype(int), box)
    assert "less than 10 px" in crop.pixels
    assert jpeglib.read_dct(str(crop.path)).samp_factor.tolist() == jpeglib.read_dct(str(source)).samp_factor.tolist()
    assert np.abs(difference).mean() < 6


def test_what_is_small_but_on_the_grid_is_copied(photo: Image.Image, tmp_path: Path) -> None:
    """A patch that isn't larger to begin with loses nothing to the grid."""
    source = tmp_path / "source.jpg"
    photo.save(source, subsampling="4:2:0")
    crop = cut_one(source, Box(32, 32, 40, 39))
    assert (crop.pixels, crop.size) == ("lossless", (8, 7))


def test_a_profile_stays_and_nothing_else(photo: Image.Image, tmp_path: Path) -> None:
    """ICC survives, also in several segments; place, camera, comment, thumbnail and XMP don't."""
    exif = Image.Exif()
    exif[0x010F], exif[0x9286] = "CAMERA-NAME", "USER-COMMENT"
    exif.get_ifd(0x8825).update({1: "N", 2: (48.0, 8.0, 5.5)})
    profile = PROFILE + bytes(range(256)) * 300  # longer than a segment
    source = tmp_path / "source.jpg"
    photo.save(source, exif=exif, icc_profile=profile, comment=b"A-COMMENT", xmp=b"<x:xmpmeta>SOME-XMP</x:xmpmeta>")
    crop = cut_one(source)
    assert crop.pixels == "lossless"
    with Image.open(crop.path) as image:
        assert image.info["icc_profile"] == profile
        assert not dict(image.getexif())
    data = crop.path.read_bytes()
    assert not [word for word in (b"CAMERA", b"USER-", b"A-COMMENT", b"SOME-XMP", b"Exif") if word in data]


def test_a_thumbnail_does_not_stay(photo: Image.Image, tmp_path: Path) -> None:
    """The small picture of the whole that a JFIF header may hold."""
    source = tmp_path / "source.jpg"
    photo.save(source)
    data = source.read_bytes()
    assert data[2:6] == b"\xff\xe0\0\x10"
    source.write_bytes(data[:4] + b"\0\x1c" + data[6:18] + b"\2\2" + b"THUMB-PIXELS" + data[20:])
    crop = cut_one(source)
    assert crop.pixels == "lossless"
    assert b"THUMB" not in crop.path.read_bytes()


def test_a_crop_is_a_complete_file(photo: Image.Image, tmp_path: Path) -> None:
    """It ends as a JPEG does, and is told with its digest and length."""
    source = tmp_path / "source.jpg"
    photo.save(source)
    crop = cut_one(source)
    data = crop.path.read_bytes()
    assert data.endswith(b"\xff\xd9")
    assert (crop.sha256, crop.bytes) == (sha256(data).hexdigest(), len(data))
    assert crop.path.name == "0.jpg"


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["grey", "4:4:4", "4:2:2", "4:2:0", "progressive 4:2:0"])
def test_a_turned_jpeg_is_cut_upright_without_loss(
    kind: str, orientation: int, photo: Image.Image, tmp_path: Path
) -> None:
    """Where people see the box, with the source's coefficients, and no orientation tag."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    plain, source = tmp_path / "plain.jpg", tmp_path / "source.jpg"
    KINDS[kind](photo, plain)
    data = plain.read_bytes()
    tag = b"\xff\xe1" + (len(exif.tobytes()) + 2).to_bytes(2, "big") + exif.tobytes()
    source.write_bytes(data[:2] + tag + data[2:])
    with Image.open(source) as image:
        upright = ImageOps.exif_transpose(image)
    assert size_of(source, "it") == upright.size
    box = Box(37, 41, 170, 149)
    crop = cut_one(source, box)
    step = max(grid_of(source))
    assert box.holds(crop.cut)
    assert (crop.cut.left - box.left < step, crop.cut.top - box.top < step) == (True, True)
    assert (crop.cut.right, crop.cut.bottom) == (box.right, box.bottom)
    assert crop.pixels == "lossless"
    with Image.open(crop.path) as image:
        assert image.size == crop.size == (crop.cut.width, crop.cut.height)
        assert image.getexif().get(0x0112) is None
        found = np.asarray(image).astype(int)
    expected = within(np.asarray(upright).astype(int), crop.cut)
    # A decoder rounds columns before rows, so a turned block may differ by one, and colours by what is made of it.
    assert np.abs(found - expected)[2:-2, 2:-2].max() <= (1 if kind == "grey" else 4)
    assert magnitudes(crop.path) <= magnitudes(source)


def magnitudes(path: Path) -> set[tuple[int, ...]]:
    """Each block of each colour, its coefficients without sign and order, which no turning changes."""
    return {
        (number, *sorted(block))
        for number, colour in enumerate(coefficients(path))
        for block in np.abs(colour.reshape(-1, 64)).tolist()
    }


@pytest.mark.parametrize(("mode", "options"), [("CMYK", {}), ("RGB", {"keep_rgb": True})])
def test_colours_that_jpeglib_does_not_write_are_encoded_again(
    mode: str, options: dict[str, Any], photo: Image.Image, tmp_path: Path
) -> None:
    """A CMYK JPEG stays one, and one that holds red, green and blue looks as it did; it is said why."""
    source = tmp_path / "source.jpg"
    photo.convert(mode).save(source, quality=95, **options)
    crop = cut_one(source)
    assert (crop.cut, crop.mode) == (BOX, mode)
    assert f"encoded again: its blocks can't be copied, because it has its colours as {mode}" in crop.pixels
    with Image.open(source) as whole:
        difference = pixels_of(crop).astype(int) - within(np.asarray(whole).astype(int), BOX)
    assert np.abs(difference).mean() < 3


@pytest.mark.parametrize("orientation", [1, 6])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_a_jpeg_too_large_for_blocks_is_encoded_again(
    subsampling: str, orientation: int, photo: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exactly where it was asked for, with the source's tables, profile, and subsampling; nothing else of the file."""
    monkeypatch.setattr(cutting, "COPIED_BYTES", 0)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = orientation, "CAMERA-NAME"
    source = tmp_path / "source.jpg"
    photo.save(source, quality=92, subsampling=subsampling, icc_profile=PROFILE, exif=exif)
    crop = cut_one(source)
    assert crop.cut == BOX
    assert crop.pixels.startswith("encoded again: its blocks can't be copied, because it has 0 megapixels, too many")
    assert b"CAMERA" not in crop.path.read_bytes()
    with Image.open(source) as whole, Image.open(crop.path) as cropped:
        difference = np.asarray(cropped).astype(int) - within(np.asarray(ImageOps.exif_transpose(whole)), BOX)
        assert cropped.info["icc_profile"] == PROFILE
        tables, kept = (np.array(list(getattr(image, "quantization", {}).values())) for image in (whole, cropped))
    if orientation == 1:
        assert jpeglib.read_dct(str(crop.path)).samp_factor.tolist() == (
            jpeglib.read_dct(str(source)).samp_factor.tolist()
        )
    else:
        tables = tables.reshape(-1, 8, 8).transpose(0, 2, 1).reshape(-1, 64)
    np.testing.assert_array_equal(kept, tables)
    assert np.abs(difference).mean() < 6


def test_a_jpeg_coded_arithmetically_is_copied(photo: Image.Image, tmp_path: Path) -> None:
    """Its coefficients come out in Huffman codes, which every trainer reads."""
    plain, source = tmp_path / "plain.jpg", tmp_path / "source.jpg"
    photo.save(plain, quality=90)
    with jpeglib.version("turbo210"):
        jpeg = jpeglib.read_dct(str(plain))
        jpeg.load()
        jpeg.content = None
        jpeg.write_dct(str(source), flags=["+ARITH_CODE"])
    assert b"\xff\xc9" in source.read_bytes()
    crop = cut_one(source)
    assert crop.pixels == "lossless"
    assert b"\xff\xc9" not in crop.path.read_bytes()
    assert_copied(crop, plain)


@pytest.mark.parametrize("rows", [1, 7, 64, 1000])
def test_several_boxes_come_in_their_order(
    rows: int, photo: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each in a file named by its number, overlapping or not, however many rows are read at once."""
    monkeypatch.setattr(cutting, "STRIP_BYTES", rows * 3 * SIZE[0])
    source = tmp_path / "source.png"
    photo.save(source)
    boxes = [Box(200, 150, 250, 200), Box(0, 0, 20, 30), BOX, Box(160, 100, 333, 251), BOX]
    crops = cut(source, boxes, tmp_path, what="it", max_pixels=ENOUGH, suffixes=None)
    assert [crop.path.name for crop in crops] == ["0.png", "1.png", "2.png", "3.png", "4.png"]
    for crop, box in zip(crops, boxes, strict=True):
        np.testing.assert_array_equal(pixels_of(crop), within(np.asarray(photo), box))
    assert cut(source, [], tmp_path, what="it", max_pixels=ENOUGH, suffixes=None) == []


# Other formats


def in_mode(photo: Image.Image, mode: str) -> Image.Image:
    """The photo in one of Pillow's modes, with an alpha that isn't trivial."""
    if mode == "I;16":
        return Image.fromarray((np.asarray(photo.convert("L")).astype(np.uint16) * 257) ^ 0x2A5)
    if mode == "P":
        return photo.quantize(200)
    image = photo.convert(mode)
    if mode in ("LA", "RGBA"):
        image.putalpha(Image.fromarray(np.asarray(photo)[:, :, 1]))
    return image


FORMATS = [
    *[("PNG", mode, {}) for mode in ("1", "P", "L", "LA", "RGB", "RGBA", "I;16")],
    *[("TIFF", mode, {}) for mode in ("1", "P", "L", "LA", "RGB", "RGBA", "I;16", "CMYK")],
    ("TIFF", "RGB", {"compression": "tiff_lzw"}),
    ("TIFF", "1", {"compression": "group4"}),
    *[("WEBP", mode, {"lossless": True, "exact": True}) for mode in ("RGB", "RGBA")],
    *[("WEBP", mode, {"quality": 70}) for mode in ("RGB", "RGBA")],
    *[("BMP", mode, {}) for mode in ("1", "P", "L", "RGB", "RGBA")],
    ("GIF", "P", {}),
]


@pytest.mark.parametrize(("name", "mode", "options"), FORMATS)
def test_other_formats_stay_as_they_are(
    name: str, mode: str, options: dict[str, Any], photo: Image.Image, tmp_path: Path
) -> None:
    """Format, mode and every pixel, in a lossless codec."""
    source = tmp_path / f"source.{name.lower()}"
    in_mode(photo, mode).save(source, name, **options)
    crop = cut_one(source)
    suffix = {"TIFF": ".tif", "GIF": ".png"}.get(name, f".{name.lower()}")
    assert (crop.suffix, crop.pixels, crop.cut, crop.size) == (suffix, "exact", BOX, (BOX.width, BOX.height))
    with Image.open(source) as whole, Image.open(crop.path) as cropped:
        assert (cropped.format, cropped.mode, crop.mode) == ("PNG" if name == "GIF" else name, whole.mode, whole.mode)
        np.testing.assert_array_equal(np.asarray(cropped), within(np.asarray(whole), BOX))
        assert cropped.getpalette() == whole.getpalette()
    if name == "WEBP":
        assert b"VP8L" in crop.path.read_bytes()[:64]


def sixteen_bit(bands: int) -> NDArray[np.uint16]:
    """Values of 16 bits whose low bytes matter."""
    return np.random.default_rng(bands).integers(0, 65536, (SIZE[1], SIZE[0], bands), dtype=np.uint16)


DEEP: dict[str, tuple[int, Callable[[Any, str], None], str]] = {
    "PNG, colour": (3, lambda image, path: image.pngsave(path), "RGB;16"),
    "PNG, colour and alpha": (4, lambda image, path: image.pngsave(path), "RGBA;16"),
    "PNG, interlaced": (3, lambda image, path: image.pngsave(path, interlace=True), "RGB;16"),
    "PNG, grey": (1, lambda image, path: image.pngsave(path), "I;16"),
    "TIFF, colour": (3, lambda image, path: image.tiffsave(path), "RGB;16"),
    "TIFF, tiles": (3, lambda image, path: image.tiffsave(path, tile=True, tile_width=64, tile_height=48), "RGB;16"),
    "TIFF, a pyramid": (
        3,
        lambda image, path: image.tiffsave(
            path, tile=True, tile_width=32, tile_height=32, pyramid=True, compression="deflate"
        ),
        "RGB;16",
    ),
    "TIFF, big": (3, lambda image, path: image.tiffsave(path, bigtiff=True, compression="lzw"), "RGB;16"),
    "TIFF, grey": (1, lambda image, path: image.tiffsave(path, tile=True, tile_width=64, tile_height=64), "I;16"),
}


@pytest.mark.parametrize("kind", DEEP)
def test_sixteen_bits_stay_sixteen(kind: str, tmp_path: Path) -> None:
    """In grey, colour and alpha; in strips, tiles, and the first level of a pyramid."""
    bands, save, mode = DEEP[kind]
    values = sixteen_bit(bands)
    source = tmp_path / f"source{'.png' if kind.startswith('PNG') else '.tif'}"
    wide = "rgb16" if bands > 1 else "grey16"
    image = pyvips.Image.new_from_memory(values, *SIZE, bands, "ushort").copy(interpretation=wide)
    profile = PROFILE if bands > 1 else GREY_PROFILE
    image.set_type(pyvips.GValue.blob_type, "icc-profile-data", profile)
    save(image, str(source))
    crop = cut_one(source)
    assert (crop.suffix, crop.mode, crop.pixels) == (source.suffix, mode, "exact")
    found = pyvips.Image.new_from_file(str(crop.path))
    np.testing.assert_array_equal(found.numpy().reshape(111, 123, bands), within(values, BOX))
    assert found.format == "ushort"
    assert found.get("icc-profile-data") == profile


def test_values_with_a_point_are_refused(tmp_path: Path) -> None:
    """They have no white: nobody saw what would come out."""
    source = tmp_path / "source.tif"
    Image.fromarray(np.zeros((SIZE[1], SIZE[0]), dtype=np.float32)).save(source)
    with pytest.raises(ImageError, match=r"^it holds floating-point values, .* with 8 or 16 bits"):
        cut_one(source)


def test_the_first_of_several_pages_is_cut(photo: Image.Image, tmp_path: Path) -> None:
    """It is what Label Studio shows."""
    source = tmp_path / "source.tif"
    photo.save(source, save_all=True, append_images=[ImageOps.invert(photo)])
    np.testing.assert_array_equal(pixels_of(cut_one(source)), within(np.asarray(photo), BOX))


def test_a_tiff_of_jpeg_tiles_is_decoded_once(photo: Image.Image, tmp_path: Path) -> None:
    """As whole-slide scanners write them: what comes out isn't compressed with loss again."""
    source = tmp_path / "source.tif"
    made = pyvips.Image.new_from_array(np.asarray(photo))
    made.tiffsave(str(source), compression="jpeg", Q=90, tile=True, tile_width=64, tile_height=64, pyramid=True)
    crop = cut_one(source)
    expected = pyvips.Image.tiffload(str(source)).numpy()
    np.testing.assert_array_equal(pixels_of(crop), within(expected, BOX))
    with Image.open(crop.path) as image:
        assert image.info["compression"] == "tiff_adobe_deflate"


@pytest.mark.parametrize("name", ["PNG", "TIFF", "WEBP", "JPEG"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_what_is_turned_comes_out_upright(name: str, orientation: int, photo: Image.Image, tmp_path: Path) -> None:
    """In every format that knows orientations."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    source = tmp_path / f"source.{name.lower()}"
    options: dict[str, Any] = {"lossless": True, "exact": True} if name == "WEBP" else {}
    photo.save(source, name, exif=exif, **options)
    upright = ImageOps.exif_transpose(Image.open(source))
    assert size_of(source, "it") == upright.size
    crop = cut_one(source, suffixes=frozenset((".png", ".tif", ".webp")))
    assert crop.pixels == "exact"
    with Image.open(crop.path) as image:
        assert image.getexif().get(0x0112, 1) == 1
        np.testing.assert_array_equal(np.asarray(image), within(np.asarray(upright), BOX))


@pytest.mark.parametrize("mode", ["1", "P"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_palettes_are_turned_too(mode: str, orientation: int, photo: Image.Image, tmp_path: Path) -> None:
    """A TIFF whose pixels Pillow turns by itself."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    source = tmp_path / "source.tif"
    in_mode(photo, mode).save(source, exif=exif)
    crop = cut_one(source)
    with source.open("rb") as file, Image.open(file) as image:
        image.load()
        assert size_of(source, "it") == image.size
        np.testing.assert_array_equal(pixels_of(crop), within(np.asarray(image), BOX))


def test_profile_and_transparency_stay_with_palettes(photo: Image.Image, tmp_path: Path) -> None:
    """Nothing else does: no text, no EXIF."""
    source = tmp_path / "source.png"
    exif = Image.Exif()
    exif[0x010F] = "CAMERA-NAME"
    photo.quantize(64).save(source, transparency=bytes(range(64)), icc_profile=PROFILE, exif=exif)
    crop = cut_one(source)
    with Image.open(source) as whole, Image.open(crop.path) as cropped:
        assert set(cropped.info) == {"transparency", "icc_profile"}
        assert cropped.info["transparency"] == whole.info["transparency"]
        np.testing.assert_array_equal(
            np.asarray(cropped.convert("RGBA")), within(np.asarray(whole.convert("RGBA")), BOX)
        )
    assert b"CAMERA" not in crop.path.read_bytes()


@pytest.mark.parametrize("name", ["PNG", "TIFF", "WEBP", "BMP"])
def test_nothing_of_a_source_leaks_but_its_profile(name: str, photo: Image.Image, tmp_path: Path) -> None:
    """Names and places of people stay where they are."""
    exif = Image.Exif()
    exif[0x010F] = "CAMERA-NAME"
    source = tmp_path / "source"
    photo.save(source, name, exif=exif, icc_profile=PROFILE)
    crop = cut_one(source)
    assert b"CAMERA" not in crop.path.read_bytes()
    with Image.open(crop.path) as image:
        assert image.info.get("icc_profile") == (None if name == "BMP" else PROFILE)


@pytest.mark.parametrize(
    ("name", "suffixes", "suffix"),
    [
        ("JPEG", {".jpg", ".png"}, ".jpg"),
        ("JPEG", {".jpeg", ".png"}, ".jpeg"),
        ("JPEG", {".png"}, ".png"),
        ("TIFF", {".tiff", ".png"}, ".tiff"),
        ("TIFF", {".jpg", ".png"}, ".png"),
        ("WEBP", {".jpg", ".png"}, ".png"),
        ("BMP", {".jpg", ".png"}, ".png"),
        ("GIF", {".gif", ".png"}, ".png"),
    ],
)
def test_a_format_that_is_not_allowed_becomes_png(
    name: str, suffixes: set[str], suffix: str, photo: Image.Image, tmp_path: Path
) -> None:
    """Every pixel as the source's reader sees it."""
    source = tmp_path / "source"
    photo.save(source, name)
    crop = cut_one(source, suffixes=frozenset(suffixes))
    assert crop.suffix == suffix == crop.path.suffix
    with Image.open(source) as whole:
        expected = within(np.asarray(whole.convert("RGB")), BOX)
    with Image.open(crop.path) as cropped:
        inner = slice(1, -1) if crop.pixels == "lossless" else slice(None)
        np.testing.assert_array_equal(np.asarray(cropped.convert("RGB"))[inner, inner], expected[inner, inner])


@pytest.mark.parametrize(("name", "mode", "options"), FORMATS)
def test_what_may_only_be_a_jpeg_becomes_one(
    name: str, mode: str, options: dict[str, Any], photo: Image.Image, tmp_path: Path
) -> None:
    """As Pascal VOC wants it: finely encoded, with every colour of its own, and it is said that it was done."""
    source = tmp_path / "source"
    in_mode(photo, mode).save(source, name, **options)
    crop = cut_one(source, suffixes=frozenset((".jpg",)))
    assert (crop.suffix, crop.cut) == (".jpg", BOX)
    assert crop.pixels.startswith(f"encoded again: it is {name}, and JPEG is what is allowed")
    with Image.open(source) as whole, Image.open(crop.path) as cropped:
        assert crop.pixels.endswith("without its transparency") == whole.has_transparency_data
        assert ("16 bits" in crop.pixels) == (whole.mode == "I;16")
        colours = {"1": "L", "L": "L", "LA": "L", "I;16": "L", "CMYK": "CMYK"}.get(whole.mode, "RGB")
        assert (cropped.format, cropped.mode, crop.mode) == ("JPEG", colours, colours)
        pixels = np.asarray(whole if mode == "I;16" else whole.convert(colours)).astype(int)
        difference = np.asarray(cropped).astype(int) - within(pixels >> 8 if mode == "I;16" else pixels, BOX)
        assert {tuple(layer[1:3]) for layer in getattr(cropped, "layer", [])} == {(1, 1)}
    assert np.abs(difference).mean() < 4


def test_sixteen_bits_of_colour_become_eight_in_a_jpeg(tmp_path: Path) -> None:
    """By their high bytes, with their profile, and it is said."""
    values = np.full((SIZE[1], SIZE[0], 3), (0x10FF, 0x80FF, 0xF0FF), dtype=np.uint16)
    source = tmp_path / "source.tif"
    image = pyvips.Image.new_from_memory(values, *SIZE, 3, "ushort").copy(interpretation="rgb16")
    image.set_type(pyvips.GValue.blob_type, "icc-profile-data", PROFILE)
    image.tiffsave(str(source))
    crop = cut_one(source, suffixes=frozenset((".jpeg",)))
    assert (crop.suffix, crop.mode) == (".jpeg", "RGB")
    assert crop.pixels == "encoded again: it is TIFF, and JPEG is what is allowed, with 8 of its 16 bits"
    assert np.abs(pixels_of(crop).astype(int) - (0x10, 0x80, 0xF0)).max() <= 1
    with Image.open(crop.path) as cropped:
        assert cropped.info["icc_profile"] == PROFILE


# What is wrong


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # Pillow's word on a TIFF without tags
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.95])
@pytest.mark.parametrize("name", ["JPEG", "large", "progressive", "PNG", "TIFF", "tiled", "WEBP", "BMP", "GIF"])
def test_half_a_file_is_told(
    name: str, kept: float, photo: Image.Image, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the part that a patch needs is there: who cut a file short may have done more."""
    whole, source = tmp_path / "whole", tmp_path / "source"
    if name == "tiled":
        pyvips.Image.new_from_array(np.asarray(photo)).tiffsave(str(whole), tile=True, tile_width=64, tile_height=64)
    elif name == "progressive":
        photo.save(whole, "JPEG", progressive=True)
    elif name == "large":
        monkeypatch.setattr(cutting, "COPIED_BYTES", 0)
        photo.save(whole, "JPEG")
    else:
        photo.save(whole, name)
    data = whole.read_bytes()
    source.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(ImageError, match=r"^it .*(whole|read)"):
        cut_one(source, Box(0, 0, 40, 40))


@pytest.mark.parametrize("data", [b"", b"\xff\xd8", b"<svg/>", b"\x89PNG\r\n\x1a\n", b"II*\0", b"%PDF-1.4", b"GIF89a"])
def test_what_is_no_image_is_told(data: bytes, tmp_path: Path) -> None:
    """With its name, from both questions."""
    source = tmp_path / "source.jpg"
    source.write_bytes(data)
    for ask in (
        lambda: size_of(source, "task 7"),
        lambda: cut(source, [BOX], tmp_path, what="task 7", max_pixels=ENOUGH, suffixes=None),
    ):
        with pytest.raises(ImageError, match=r"^task 7 can't be read"):
            ask()


def test_too_many_pixels_are_told_before_decoding(photo: Image.Image, tmp_path: Path) -> None:
    """With the setting that allows more."""
    source = tmp_path / "source.png"
    photo.save(source)
    with pytest.raises(ImageError, match=r"333 × 251 px.*NEGATIVES_MAX_IMAGE_PIXELS"):
        cut(source, [BOX], tmp_path, what="it", max_pixels=333 * 251 - 1, suffixes=None)
    assert cut(source, [BOX], tmp_path, what="it", max_pixels=333 * 251, suffixes=None)


@pytest.mark.parametrize("box", [Box(300, 0, 334, 30), Box(-1, 0, 30, 30), Box(0, 240, 30, 252), Box(900, 0, 999, 30)])
@pytest.mark.parametrize("name", ["JPEG", "PNG"])
def test_a_box_outside_of_the_image_is_told(name: str, box: Box, photo: Image.Image, tmp_path: Path) -> None:
    """It isn't the image that was labelled, and no file is written."""
    source = tmp_path / "source"
    photo.save(source, name)
    with pytest.raises(ImageError, match=r"it has 333 × 251 px: .* leaves it"):
        cut_one(source, box)


def test_broken_codes_end_no_process(photo: Image.Image, tmp_path: Path) -> None:
    """Damaged JPEGs give a crop or an `ImageError`; the C code inside takes a process down at many of them."""
    source = tmp_path / "source.jpg"
    photo.resize((80, 60)).save(source)
    photo.resize((80, 60)).save(tmp_path / "progressive.jpg", progressive=True, subsampling="4:4:4")
    code = f"from tests.export.test_cutting import damage; damage({str(tmp_path)!r})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "done"), done.stderr[-2000:]


def damage(folder: str) -> None:
    """What that process does."""
    chance = np.random.default_rng(5)
    for name in ("source.jpg", "progressive.jpg"):
        data = (Path(folder) / name).read_bytes()
        for number in range(400):
            broken = bytearray(data)
            for _ in range(chance.integers(1, 4)):
                limit = 700 if number % 4 else len(broken)
                broken[chance.integers(2, limit)] = int(chance.choice(np.array([0, 1, 2, 255, chance.integers(256)])))
            source = Path(folder) / "damaged.jpg"
            source.write_bytes(broken)
            try:
                cut(source, [Box(3, 3, 37, 41)], Path(folder), what="it", max_pixels=10**8, suffixes=None)
            except ImageError:
                continue
    sys.stdout.write("done")


# Many at once, and large ones


def test_threads_cut_as_one_does(photo: Image.Image, tmp_path: Path) -> None:
    """Files and pixels are the same, whoever cuts beside."""
    sources = []
    for number in range(12):
        name, options = (("JPEG", {"subsampling": number % 3}), ("PNG", {}), ("TIFF", {}))[number % 3]
        sources.append(tmp_path / f"{number}.{name.lower()}")
        photo.rotate(number).save(sources[-1], name, **options)
    boxes = [BOX, Box(0, 0, 100, 100), Box(30, 30, 333, 251)]

    def digests(numbered: tuple[int, Path]) -> list[str]:
        into = tmp_path / f"into_{numbered[0]}"
        into.mkdir()
        return [each.sha256 for each in cut(numbered[1], boxes, into, what="it", max_pixels=ENOUGH, suffixes=None)]

    alone = [digests(numbered) for numbered in enumerate(sources)]
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(digests, enumerate(sources * 3, 100))) == alone * 3


def test_room_is_shared() -> None:
    """Nobody gets what others hold; what is larger than all of it is held alone."""
    room = cutting._Room(100)
    inside: list[int] = []
    most: list[int] = []

    def hold(wanted: int) -> None:
        with room.taken(wanted):
            inside.append(min(wanted, 100))
            sleep(0.001)  # long enough for others to come in, if they can
            most.append(sum(inside))
            inside.remove(min(wanted, 100))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(hold, [30, 80, 500, 10, 60, 100] * 50))
    assert max(most) <= 100
    assert not inside


@pytest.mark.parametrize("name", ["JPEG", "TIFF", "PNG"])
def test_a_large_image_is_never_held_whole(name: str, photo: Image.Image, tmp_path: Path) -> None:
    """One that takes 300 MB decoded leaves the process below 160 MB (read from /proc)."""
    source = tmp_path / "large"
    large = pyvips.Image.new_from_array(np.asarray(photo)).replicate(31, 40).crop(0, 0, 10_000, 10_000)
    saves = {"JPEG": large.jpegsave, "TIFF": large.tiffsave, "PNG": large.pngsave}
    saves[name](str(source), **({"compression": 0} if name == "PNG" else {}))
    own, its, pixels = cut_alone(source, Box(9600, 9600, 10000, 10000), Box(16, 5008, 300, 5200))
    assert "100 megapixels, too many" in pixels if name == "JPEG" else pixels == "exact"
    assert own < 160
    assert its == 0


def test_the_largest_image_that_is_copied_takes_four_hundred_megabytes(photo: Image.Image, tmp_path: Path) -> None:
    """In the process that copies its blocks; hardly any in the service (read from /proc)."""
    source = tmp_path / "large.jpg"
    large = pyvips.Image.new_from_array(np.asarray(photo)).replicate(22, 30).crop(0, 0, 7296, 7296)
    large.jpegsave(str(source), Q=90, subsample_mode="on")
    own, its, pixels = cut_alone(source, Box(6400, 6400, 7000, 7000), Box(16, 5008, 300, 5200))
    assert pixels == "lossless"
    assert own < 160
    assert 100 < its < 400


def cut_alone(source: Path, *boxes: Box) -> tuple[int, int, str]:
    """What a process that cuts these boxes takes at its peak, and the largest that it starts, in MB; and what becomes
    of the pixels.
    """
    asked = repr([(box.left, box.top, box.right, box.bottom) for box in boxes])
    code = [sys.executable, "-c", CUT_ALONE, str(source), asked]
    own, its, pixels = subprocess.run(code, capture_output=True, text=True, check=True).stdout.split(maxsplit=2)
    return int(own), int(its), pixels.strip()


CUT_ALONE = """
import ast, os, sys, tempfile
from pathlib import Path
from service.domain.geometry import Box
from service.export.cutting import cut
boxes = [Box(*sides) for sides in ast.literal_eval(sys.argv[2])]
with tempfile.TemporaryDirectory() as folder:
    (crop, *_) = cut(Path(sys.argv[1]), boxes, Path(folder), what="it", max_pixels=10**9, suffixes=None)

def peak(process):
    return next(int(line.split()[1]) // 1024 for line in open(f"/proc/{process}/status") if line.startswith("VmHWM"))

started = open(f"/proc/self/task/{os.getpid()}/children").read().split()
print(peak("self"), max(map(peak, started), default=0), crop.pixels)
"""
