"""Pictures of patches and whole images, for people's eyes."""

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from service.domain.geometry import Box
from service.errors import ImageError
from service.pictures import MOST_ENLARGED, draw_cut, plan_cut, plan_whole, size_upright, upright

SIZE = (1600, 1200)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_the_size_is_that_of_the_upright_picture(name: str, orientation: int) -> None:
    """Told from the header: width and height are swapped where people see them swapped, and only once."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = io.BytesIO()
    Image.new("RGB", (40, 30)).save(file, name, exif=exif)
    size = size_upright(file.getvalue(), "it", 10**6)
    assert size == ((30, 40) if orientation > 4 else (40, 30))
    assert size == upright(file.getvalue(), "it", 10**6).size


@st.composite
def boxes_in_images(draw: st.DrawFn) -> tuple[Box, tuple[int, int]]:
    """A patch that shares a pixel with its image, and may leave it."""
    width, height = draw(st.integers(1, 5000)), draw(st.integers(1, 5000))
    left, top = draw(st.integers(-50, width - 1)), draw(st.integers(-50, height - 1))
    right, bottom = draw(st.integers(max(left, 0) + 1, width + 50)), draw(st.integers(max(top, 0) + 1, height + 50))
    return Box(left, top, right, bottom), (width, height)


@given(boxes_in_images(), st.sampled_from((320, 640, 900)))
def test_a_cut_keeps_its_limits(given_: tuple[Box, tuple[int, int]], longest: int) -> None:
    """In the image, no longer than asked, not enlarged beyond twice, the frame on the picture."""
    box, size = given_
    cut = plan_cut(box, size, longest)
    frame = Box(0, 0, *size)
    patch = frame.common(box)
    assert patch is not None
    assert frame.holds(cut.context)
    assert cut.context.holds(patch)
    around = patch.grown((max(patch.width, patch.height) + 1) // 2)
    assert cut.context == frame.common(around)
    assert max(cut.size) <= longest
    assert cut.scaled[0] <= max(1, cut.context.width * MOST_ENLARGED)
    assert cut.scaled[1] <= max(1, cut.context.height * MOST_ENLARGED)
    left, top, right, bottom = cut.pad
    canvas = Box(-left, -top, cut.scaled[0] + right, cut.scaled[1] + bottom)
    assert canvas.holds(cut.inner.grown(2 * cut.line))


def test_a_patch_shows_half_of_its_longer_side_around_it() -> None:
    """On each side."""
    assert plan_cut(Box(600, 600, 700, 800), (1600, 1200), 320).context == Box(500, 500, 800, 900)


@pytest.mark.parametrize("value", [0, 128, 255])
def test_the_frame_shows_on_any_background(value: int) -> None:
    """One of its two colours differs from it, and the patch's own pixels stay as they are."""
    image = Image.new("L", SIZE, value)
    cut = plan_cut(Box(600, 600, 700, 700), (1600, 1200), 320)
    drawn = np.asarray(draw_cut(image, cut)).astype(int)
    inner = cut.inner
    assert (drawn[inner.top : inner.bottom, inner.left : inner.right] == value).all()
    frame = drawn[inner.top - 2 : inner.top, inner.left : inner.right]
    assert np.abs(frame - value).max() > 100
    context = drawn[0, 0]
    assert (context <= value).all()


def test_a_patch_at_the_edge_has_its_frame_around_it() -> None:
    """None of its pixels is painted over."""
    image = Image.new("RGB", SIZE, (200, 10, 10))
    cut = plan_cut(Box(0, 0, *SIZE), (1600, 1200), 320)
    drawn = np.asarray(draw_cut(image, cut))
    left, top, _, _ = cut.pad
    width, height = cut.scaled
    assert (drawn[top : top + height, left : left + width] == (200, 10, 10)).all()
    assert tuple(drawn[0, 0]) == (0, 0, 0)
    assert tuple(drawn[1, 1]) == (255, 255, 255)


def test_a_patch_outside_of_its_image_has_no_picture() -> None:
    """Who asks for one has to know."""
    with pytest.raises(ImageError, match="outside"):
        plan_cut(Box(2000, 0, 2100, 100), (1600, 1200), 320)


@pytest.mark.parametrize(("size", "fits"), [((1600, 1200), (320, 240)), ((10, 5), (20, 10)), ((20000, 1), (320, 1))])
def test_a_whole_image_fits(size: tuple[int, int], fits: tuple[int, int]) -> None:
    """Its longest side is as asked, and it isn't enlarged beyond twice."""
    assert plan_whole(size, 320) == fits
