import io
from base64 import urlsafe_b64decode
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from service.errors import ImageError, LabelStudioUnavailable
from service.label_studio.auth import LabelStudioAuth
from service.label_studio.images import ImageLimits, ImageSource, source_name
from tests.factories import task

STUDIO = "http://studio.internal:8080"
TOKEN = "1f" * 20
LIMITS = ImageLimits(max_bytes=1_000_000, max_pixels=10_000)


def picture(width: int = 40, height: int = 30, mode: str = "RGB") -> Image.Image:
    """A picture whose top-left quarter differs from the rest."""
    image = Image.new(mode, (width, height), {"RGB": (20, 30, 40), "RGBA": (20, 30, 40, 128)}.get(mode, 20))
    image.paste({"RGB": (200, 10, 10), "RGBA": (200, 10, 10, 255)}.get(mode, 200), (0, 0, width // 2, height // 2))
    return image


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    """The picture as a file."""
    out = io.BytesIO()
    image.save(out, kind, **options)
    return out.getvalue()


class FakeFiles:
    """A host of files with memory: what was asked for, and with which Authorization."""

    def __init__(self, answer: Callable[[httpx.Request], httpx.Response] | bytes) -> None:
        self.asked: list[tuple[str, str | None]] = []
        self.answer = answer

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        self.asked.append((str(request.url), request.headers.get("Authorization")))
        return httpx.Response(200, content=self.answer) if isinstance(self.answer, bytes) else self.answer(request)

    def open(
        self,
        image: str = "/data/upload/3/field.png",
        *,
        size: tuple[int, int] | None = None,
        url: str = STUDIO,
        limits: ImageLimits = LIMITS,
    ) -> Image.Image:
        """Open a task's image from here, as the service does."""
        one = replace(task(), image=image, size=size)
        with httpx.Client(
            auth=LabelStudioAuth(url, TOKEN), transport=httpx.MockTransport(self), follow_redirects=True
        ) as http:
            return ImageSource(url, http, limits).open(one)


def opened(data: bytes, **more: Any) -> Image.Image:
    """The image that these bytes are."""
    return FakeFiles(data).open(**more)


# ---------------------------------------------------------------- where images are


@pytest.mark.parametrize(
    ("image", "address"),
    [
        ("/data/upload/3/1a2b3c4d-field.png", f"{STUDIO}/data/upload/3/1a2b3c4d-field.png"),
        ("/data/local-files/?d=plates/a%20b.png", f"{STUDIO}/data/local-files/?d=plates/a%20b.png"),
        (f"{STUDIO}/data/upload/3/a.png", f"{STUDIO}/data/upload/3/a.png"),
    ],
)
def test_label_studios_own_files_are_fetched_signed(image: str, address: str) -> None:
    """Uploads and local files come from Label Studio, with the token."""
    files = FakeFiles(encoded(picture()))
    files.open(image)
    assert files.asked == [(address, f"Token {TOKEN}")]


@pytest.mark.parametrize("image", ["http://pictures.example/a.png?size=1", "https://studio.internal/a.png"])
def test_other_hosts_are_asked_without_the_token(image: str) -> None:
    """A picture elsewhere is fetched as anybody would."""
    files = FakeFiles(encoded(picture()))
    files.open(image)
    assert files.asked == [(image, None)]


def test_an_address_without_scheme_gets_no_token() -> None:
    """`//host/path` is another host's, though it starts with a slash."""
    files = FakeFiles(encoded(picture()))
    files.open("//pictures.example/a.png")
    assert files.asked == [("http://pictures.example/a.png", None)]


@pytest.mark.parametrize("link", ["s3://bucket/plates/ä 1.png", "gs://bucket/~~~???>>>.png", "azure-blob://box/a.png"])
def test_cloud_links_go_through_label_studio(link: str) -> None:
    """Label Studio makes a link that works for a while; the token goes to Label Studio, not along that link."""

    def presign(request: httpx.Request) -> httpx.Response:
        if request.url.host == "studio.internal":
            return httpx.Response(302, headers={"Location": "https://bucket.example/a.png?signature=1"})
        return httpx.Response(200, content=encoded(picture()))

    files = FakeFiles(presign)
    files.open(link)
    (asked, signed), followed = files.asked
    base, _, fileuri = asked.partition("?fileuri=")
    assert (base, signed) == (f"{STUDIO}/tasks/7/presign/", f"Token {TOKEN}")
    assert urlsafe_b64decode(fileuri).decode() == link
    assert not set("+/") & set(fileuri)
    assert followed == ("https://bucket.example/a.png?signature=1", None)


@pytest.mark.parametrize("image", ["/data/upload/3/a.png", "/labels/data/upload/3/a.png"])
def test_a_path_prefix_comes_once(image: str) -> None:
    """A Label Studio under a path writes its links with or without it."""
    files = FakeFiles(encoded(picture()))
    files.open(image, url=f"{STUDIO}/labels")
    assert files.asked == [(f"{STUDIO}/labels/data/upload/3/a.png", f"Token {TOKEN}")]


@pytest.mark.parametrize(
    "image", ["", "field.png", "ftp://host/a.png", "file:///etc/passwd", "data:image/png;base64,x", "http://[a.png"]
)
def test_what_cannot_be_fetched_is_refused(image: str) -> None:
    """Nothing is asked for where the data names no place that we know."""
    files = FakeFiles(b"")
    with pytest.raises(ImageError, match="task 7: its image can't be fetched from where its data says"):
        files.open(image)
    assert files.asked == []


# ---------------------------------------------------------------- limits


def test_a_file_that_says_it_is_too_large_is_not_read() -> None:
    """The size in the header is enough to refuse."""
    read = []

    def body() -> Iterator[bytes]:
        read.append("a chunk")
        yield b"x"

    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"Content-Length": "1000001"}, content=body())

    with pytest.raises(ImageError, match="larger than 1,000,000 bytes"):
        FakeFiles(answer).open()
    assert read == []


def test_a_file_that_grows_too_large_is_cut_off() -> None:
    """A file that doesn't say its size is read up to the limit and no further."""
    read = []

    def body() -> Iterator[bytes]:
        for number in range(100):
            read.append(number)
            yield b"x" * 100_000

    with pytest.raises(ImageError, match="NEGATIVES_MAX_IMAGE_BYTES"):
        FakeFiles(lambda _: httpx.Response(200, content=body())).open()
    assert len(read) <= 12


def test_a_file_of_just_the_limit_is_read() -> None:
    """The limit itself is allowed."""
    data = encoded(picture())
    assert opened(data, limits=ImageLimits(len(data), 10_000)).size == (40, 30)


def test_too_many_pixels_are_refused_before_decoding() -> None:
    """A small file of a huge image is refused by what its header says: its pixels aren't even there."""
    data = encoded(Image.new("1", (3000, 3000)))[:60]
    with pytest.raises(ImageError, match=r"task 7 has 3000 × 3000 px, more than 10,000 .*NEGATIVES_MAX_IMAGE_PIXELS"):
        opened(data)


def test_pixels_up_to_the_limit_are_allowed() -> None:
    """The limit itself is allowed."""
    assert opened(encoded(Image.new("L", (100, 100)))).size == (100, 100)


def test_our_limit_holds_and_not_pillows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow refuses 179 million pixels by itself; the setting may allow more."""
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    assert opened(encoded(Image.new("L", (100, 100)))).size == (100, 100)


# ---------------------------------------------------------------- upright, of the right size


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation: int) -> None:
    """However the camera was held, the picture is as Label Studio shows it."""
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    upright = picture()
    stored = upright.transpose(turns[orientation]) if orientation in turns else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = opened(encoded(stored, "PNG", exif=exif), size=(40, 30))
    assert np.array_equal(np.asarray(image), np.asarray(upright))


def test_no_orientation_is_left() -> None:
    """An upright image doesn't ask its reader to turn it again."""
    exif = Image.Exif()
    exif[0x0112] = 6
    assert opened(encoded(picture(), "JPEG", exif=exif)).getexif().get(0x0112) is None


def test_an_image_of_another_size_is_refused() -> None:
    """Where the picture was replaced, the regions mean nothing; the message says both sizes."""
    with pytest.raises(ImageError, match="task 7: its regions were drawn on 80 × 60 px, but the image is 40 × 30 px"):
        opened(encoded(picture()), size=(80, 60))


def test_an_image_turned_on_its_side_is_refused() -> None:
    """Width and height aren't interchangeable."""
    with pytest.raises(ImageError, match="was the image replaced"):
        opened(encoded(picture()), size=(30, 40))


# ---------------------------------------------------------------- kinds of images


@pytest.mark.parametrize(
    ("kind", "mode"), [("PNG", "RGB"), ("PNG", "L"), ("BMP", "RGB"), ("TIFF", "L"), ("WEBP", "RGB")]
)
def test_eight_bits_stay_as_they_are(kind: str, mode: str) -> None:
    """Grey and colour come through pixel by pixel."""
    image = opened(encoded(picture(mode=mode), kind, **({"lossless": True} if kind == "WEBP" else {})))
    assert image.mode == mode
    assert np.array_equal(np.asarray(image), np.asarray(picture(mode=mode)))


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_sixteen_bits_keep_the_high_byte(kind: str) -> None:
    """16 bits of grey look as on Label Studio's screen: 0x1234 is 0x12, white is white."""
    values = np.array([[0, 0x1234, 0x00FF], [0xFFFF, 0x8000, 0xFF00]], dtype=np.uint16)
    image = opened(encoded(Image.fromarray(values), kind))
    assert image.mode == "L"
    assert np.asarray(image).tolist() == [[0, 0x12, 0], [0xFF, 0x80, 0xFF]]


def test_a_palette_becomes_its_colours() -> None:
    """Indices aren't colours."""
    colours = picture().convert("P", palette=Image.Palette.ADAPTIVE, colors=2)
    image = opened(encoded(colours))
    assert image.mode == "RGB"
    assert np.array_equal(np.asarray(image), np.asarray(picture()))


def test_transparency_is_taken_off() -> None:
    """The colours beneath stay."""
    image = opened(encoded(picture(mode="RGBA")))
    assert image.mode == "RGB"
    assert np.array_equal(np.asarray(image), np.asarray(picture()))


def test_grey_with_transparency_is_grey() -> None:
    """Two channels become one."""
    grey = Image.merge("LA", (picture(mode="L"), Image.new("L", (40, 30), 77)))
    image = opened(encoded(grey))
    assert image.mode == "L"
    assert np.array_equal(np.asarray(image), np.asarray(picture(mode="L")))


def test_black_and_white_is_grey() -> None:
    """One bit becomes eight."""
    image = opened(encoded(picture(mode="L").point(lambda v: 255 * (v > 100)).convert("1")))
    assert image.mode == "L"
    assert set(np.unique(np.asarray(image))) == {0, 255}


def test_four_inks_become_colour() -> None:
    """CMYK, which trainers don't read, becomes RGB."""
    assert opened(encoded(picture().convert("CMYK"), "JPEG")).mode == "RGB"


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"<html>Sign in</html>",
        b"%PDF-1.7",
        b"\x89PNG\r\n\x1a\n" + b"\0" * 50,
        encoded(picture())[:-40],
        encoded(picture(), "JPEG")[:300],
        b"GIF89a",
    ],
)
def test_what_is_no_image_is_refused(data: bytes) -> None:
    """A page, another format or a cut file is refused with its task, never cut from."""
    with pytest.raises(ImageError, match="the image of task 7 can't be read"):
        opened(data)


# ---------------------------------------------------------------- answers


def test_a_file_that_is_gone() -> None:
    """404 says whose file and asks whether it was deleted."""
    with pytest.raises(ImageError, match=r"the image of task 7 can't be fetched: studio\.internal answered 404: has"):
        FakeFiles(lambda _: httpx.Response(404)).open()


@pytest.mark.parametrize("status", [401, 403, 410])
def test_a_file_that_is_refused(status: int) -> None:
    """Another refusal is told with its status, and never by the link's query, which may be signed."""
    with pytest.raises(ImageError, match=f"pictures.example answered {status}") as caught:
        FakeFiles(lambda _: httpx.Response(status)).open("http://pictures.example/a.png?signature=secret")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("status", [500, 502, 503, 429])
def test_a_host_that_fails_can_be_asked_again(status: int) -> None:
    """5xx and "too many" are worth a second try."""
    with pytest.raises(LabelStudioUnavailable, match=f"the image of task 7 can't be fetched now: {status}"):
        FakeFiles(lambda _: httpx.Response(status)).open()


@pytest.mark.parametrize("problem", [httpx.ConnectError("refused"), httpx.ReadTimeout("slow")])
def test_a_host_that_is_down_can_be_asked_again(problem: Exception) -> None:
    """What fails on the way is worth a second try."""

    def fail(_: httpx.Request) -> httpx.Response:
        raise problem

    with pytest.raises(LabelStudioUnavailable, match=type(problem).__name__):
        FakeFiles(fail).open()


def test_a_host_that_breaks_off_can_be_asked_again() -> None:
    """A connection that is cut in the middle of a file is worth a second try."""

    def body() -> Iterator[bytes]:
        yield b"half"
        raise httpx.ReadError("cut")

    with pytest.raises(LabelStudioUnavailable, match="ReadError"):
        FakeFiles(lambda _: httpx.Response(200, content=body())).open()


@pytest.mark.parametrize(
    "target", ["http://studio.internal:8080/data/upload/3/field.png", "ftp://host/a.png", "http://["]
)
def test_a_redirect_that_leads_nowhere_is_refused(target: str) -> None:
    """Round and round, or to what isn't the web."""
    with pytest.raises((ImageError, LabelStudioUnavailable)):
        FakeFiles(lambda _: httpx.Response(302, headers={"Location": target})).open()


def test_an_address_that_is_none_is_refused() -> None:
    """A broken address in the task's data is told, not raised."""
    with pytest.raises(ImageError, match="the image of task 7 can't be fetched: InvalidURL"):
        FakeFiles(b"").open("http://pictures.example:port/a.png")


# ---------------------------------------------------------------- names


@pytest.mark.parametrize(
    ("image", "name"),
    [
        ("/data/upload/7/1a2b3c4d-field 3.jpg", "field 3.jpg"),
        ("/data/upload/7/1a2b3c4d-field%203.jpg", "field 3.jpg"),
        ("/labels/data/upload/7/1a2b3c4d-a-b.jpg", "a-b.jpg"),
        ("/data/upload/7/1A2B3C4D-x.jpg", "1A2B3C4D-x.jpg"),
        ("/data/upload/7/field-3.jpg", "field-3.jpg"),
        ("/data/upload/7/1a2b3c4d-", "1a2b3c4d-"),
        ("/data/local-files/?d=plates/day%201/a.png", "a.png"),
        ("/data/local-files/?d=plates%2Fday%2Fb.png&x=1", "b.png"),
        ("/data/local-files/?d=plates\\c.png", "c.png"),
        ("http://pictures.example/1a2b3c4d-a.png?signature=secret", "1a2b3c4d-a.png"),
        ("http://pictures.example/set%2Fa.png#top", "a.png"),
        ("s3://bucket/plates/ä.tif", "ä.tif"),
        ("gs://bucket/a.b.c.png", "a.b.c.png"),
        ("http://pictures.example/folder/", "folder"),
        ("http://[broken/a.png", "a.png"),
        ("", ""),
    ],
)
def test_the_source_name_is_the_files_own(image: str, name: str) -> None:
    """No folders, no query, no eight digits of an upload: what a person called the file."""
    assert source_name(image) == name
