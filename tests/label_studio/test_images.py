import io
from base64 import b64encode, urlsafe_b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import md5, sha256
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from service.errors import ImageError, LabelStudioUnavailable
from service.label_studio.auth import LabelStudioAuth
from service.label_studio.images import Announced, ImageLimits, ImageSource, Validators, source_name
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
        with self.source(url, limits) as source:
            return source.open(replace(task(), image=image, size=size))

    @contextmanager
    def source(self, url: str = STUDIO, limits: ImageLimits = LIMITS) -> Iterator[ImageSource]:
        """Images from here."""
        with httpx.Client(
            auth=LabelStudioAuth(url, TOKEN), transport=httpx.MockTransport(self), follow_redirects=True
        ) as http:
            yield ImageSource(url, http, limits)


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


# ---------------------------------------------------------------- into a file

ADDRESS = f"{STUDIO}/data/upload/3/field.png"
DATA = bytes(range(256)) * 400


class Silent(httpx.SyncByteStream):
    """A body of which no header says how long it is."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    def __iter__(self) -> Iterator[bytes]:
        yield self.data


def part(request: httpx.Request, **headers: str) -> httpx.Response:
    """What a host answers to who asks for a part of the file."""
    first, _, last = request.headers["Range"].removeprefix("bytes=").partition("-")
    start, stop = int(first), min(len(DATA), int(last or len(DATA)) + 1)
    told = {"Content-Range": f"bytes {start}-{stop - 1}/{len(DATA)}", **headers}
    return httpx.Response(206, content=DATA[start:stop], headers=told)


def test_a_download_is_the_file_and_its_digest(tmp_path: Path) -> None:
    """Written to a new file; what its host says of it comes along."""
    files = FakeFiles(lambda request: part(request, ETag='"1"'))
    with files.source() as source:
        download = source.download(ADDRESS, "the image", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == DATA
    assert (download.sha256, download.bytes) == (sha256(DATA).hexdigest(), len(DATA))
    assert download.announced == Announced(len(DATA), {}, Validators('"1"'), has_end=True)
    assert len(files.asked) == 1


@pytest.mark.parametrize(
    "answer",
    [
        lambda _: httpx.Response(200, content=DATA),
        lambda _: httpx.Response(200, content=iter([DATA[:99], DATA[99:]])),
        lambda request: part(request) if "Range" in request.headers else httpx.Response(500),
        lambda request: httpx.Response(416 if "Range" in request.headers else 200, content=DATA),
        # Only the beginning, or one that doesn't say which part, or one that is packed: asked again for all of it.
        lambda request: (
            httpx.Response(206, content=DATA[:99], headers={"Content-Range": f"bytes 0-98/{len(DATA)}"})
            if "Range" in request.headers
            else httpx.Response(200, content=DATA)
        ),
        lambda request: httpx.Response(206 if "Range" in request.headers else 200, content=DATA),
    ],
)
def test_a_download_is_whole_however_a_host_sends_it(
    tmp_path: Path, answer: Callable[[httpx.Request], httpx.Response]
) -> None:
    """At once, in pieces, or as a part that is all of it; a part that isn't all is never taken for the file."""
    with FakeFiles(answer).source() as source:
        assert source.download(ADDRESS, "the image", tmp_path / "a").bytes == len(DATA)
    assert (tmp_path / "a").read_bytes() == DATA


def test_a_host_that_sends_only_parts_is_refused(tmp_path: Path) -> None:
    """Half an image is none."""

    def half(_: httpx.Request) -> httpx.Response:
        return httpx.Response(206, content=DATA[:99], headers={"Content-Range": f"bytes 0-98/{len(DATA)}"})

    with FakeFiles(half).source() as source, pytest.raises(ImageError, match=r"the image can't be fetched: .* parts"):
        source.download(ADDRESS, "the image", tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def breaks_off() -> Iterator[bytes]:
    """A body that ends in the middle."""
    yield DATA
    raise httpx.ReadError("cut")


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (httpx.Response(200, content=breaks_off()), LabelStudioUnavailable, "the image can't be fetched: ReadError"),
        (
            httpx.Response(200, headers={"Content-Length": "200000"}, stream=Silent(DATA)),
            LabelStudioUnavailable,
            "the image broke off: 102,400 of 200,000 bytes came",
        ),
        (httpx.Response(200, stream=Silent(bytes(1_000_001))), ImageError, "larger than 1,000,000 bytes"),
        (httpx.Response(404), ImageError, "answered 404"),
        (httpx.Response(503), LabelStudioUnavailable, "can't be fetched now: 503"),
    ],
)
def test_a_download_that_fails_leaves_no_file(
    tmp_path: Path, answer: httpx.Response, error: type[Exception], message: str
) -> None:
    """Not even half of one."""
    with FakeFiles(lambda _: answer).source() as source, pytest.raises(error, match=message):
        source.download(ADDRESS, "the image", tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_a_download_never_takes_another_files_place(tmp_path: Path) -> None:
    """Two that chose one path would mix their pictures up."""
    (tmp_path / "a").write_bytes(b"another")
    with FakeFiles(DATA).source() as source, pytest.raises(FileExistsError):
        source.download(ADDRESS, "the image", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == b"another"


def test_a_body_without_end_is_told(tmp_path: Path) -> None:
    """Where nothing says how long a file is, nobody knows whether it is all of it."""
    with FakeFiles(lambda _: httpx.Response(200, stream=Silent(DATA))).source() as source:
        announced = source.download(ADDRESS, "the image", tmp_path / "a").announced
    assert (announced.bytes, announced.has_end) == (None, False)


# ---------------------------------------------------------------- what a host says of a file


@pytest.mark.parametrize(
    ("validators", "header"),
    [
        (Validators('"1"', "Mon, 01 Jan 2024 00:00:00 GMT"), ("if-none-match", '"1"')),
        (Validators('W/"1"'), ("if-none-match", 'W/"1"')),
        (Validators("", "Mon, 01 Jan 2024 00:00:00 GMT"), ("if-modified-since", "Mon, 01 Jan 2024 00:00:00 GMT")),
    ],
)
@pytest.mark.parametrize("status", [200, 304])
def test_a_file_is_unchanged_if_its_host_says_so(validators: Validators, header: tuple[str, str], status: int) -> None:
    """Asked by its ETag, or else by the date; a body that comes all the same isn't read."""
    read: list[int] = []

    def body() -> Iterator[bytes]:
        read.append(1)
        yield DATA

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers[header[0]] == header[1]
        assert ("if-none-match" in request.headers) != ("if-modified-since" in request.headers)
        assert "range" not in request.headers
        return httpx.Response(status, content=body())

    with FakeFiles(answer).source() as source:
        assert source.is_unchanged(ADDRESS, "the image", validators) == (status == 304)
    assert read == []


def test_without_validators_nobody_is_asked() -> None:
    """Every answer would be the whole file."""
    files = FakeFiles(DATA)
    with files.source() as source:
        assert not source.is_unchanged(ADDRESS, "the image", Validators())
    assert files.asked == []


MD5, SHA256 = md5(DATA), sha256(DATA)
BASE64_MD5, BASE64_SHA256 = (b64encode(one.digest()).decode() for one in (MD5, SHA256))


@pytest.mark.parametrize(
    ("headers", "digests"),
    [
        ({}, {}),
        ({"ETag": f'"{MD5.hexdigest()}"'}, {"md5": MD5.hexdigest()}),
        ({"ETag": f'W/"{MD5.hexdigest()}"'}, {}),
        ({"ETag": f'"{MD5.hexdigest()}-3"'}, {}),
        ({"ETag": '"abc"'}, {}),
        ({"Content-MD5": BASE64_MD5}, {"md5": MD5.hexdigest()}),
        ({"Content-MD5": "nonsense"}, {}),
        ({"Content-MD5": BASE64_SHA256}, {}),
        ({"x-ms-blob-content-md5": BASE64_MD5}, {"md5": MD5.hexdigest()}),
        ({"x-goog-hash": f"crc32c=n03x6A==, md5={BASE64_MD5}"}, {"md5": MD5.hexdigest()}),
        ({"Digest": f"SHA-256={BASE64_SHA256}"}, {"sha256": SHA256.hexdigest()}),
        ({"Repr-Digest": f"sha-256=:{BASE64_SHA256}:"}, {"sha256": SHA256.hexdigest()}),
        ({"Repr-Digest": f"sha-512=:{BASE64_SHA256}:"}, {}),
        (
            {"ETag": f'"{"0" * 32}"', "Content-MD5": BASE64_MD5, "Digest": f"sha-256={BASE64_SHA256}"},
            {"md5": MD5.hexdigest(), "sha256": SHA256.hexdigest()},
        ),
    ],
)
def test_digests_that_a_host_tells(headers: dict[str, str], digests: dict[str, str]) -> None:
    """S3's ETag of an object in one piece, and the headers that say so in words; what isn't one is none."""
    with FakeFiles(lambda _: httpx.Response(200, content=DATA, headers=headers)).source() as source:
        assert source.sample(ADDRESS, "the image", 0, 10)[0].digests == digests


def test_the_digest_of_a_part_is_not_the_files() -> None:
    """`Content-MD5` is of what is sent."""
    with FakeFiles(lambda request: part(request, **{"Content-MD5": BASE64_MD5})).source() as source:
        assert source.sample(ADDRESS, "the image", 0, 10)[0].digests == {}


@pytest.mark.parametrize(
    ("changed", "age", "kept"),
    [
        ("Mon, 01 Jan 2024 00:00:00 GMT", "Mon, 01 Jan 2024 00:01:00 GMT", True),
        ("Mon, 01 Jan 2024 00:00:00 GMT", "Mon, 01 Jan 2024 00:00:59 GMT", False),
        ("Mon, 01 Jan 2024 00:00:00 GMT", "", False),
        ("yesterday", "Mon, 01 Jan 2024 00:01:00 GMT", False),
        ("Mon, 01 Jan 2024 00:00:00 -0000", "Mon, 01 Jan 2024 00:01:00 GMT", False),
    ],
)
def test_a_date_counts_when_it_is_settled(changed: str, age: str, kept: bool) -> None:
    """A file may be changed twice in a second, so a minute must have passed."""
    headers = {"Last-Modified": changed, "Date": age}
    with FakeFiles(lambda _: httpx.Response(200, content=DATA, headers=headers)).source() as source:
        validators = source.sample(ADDRESS, "the image", 0, 10)[0].validators
    assert validators == Validators("", changed if kept else "")


@pytest.mark.parametrize(("start", "count"), [(0, 10), (500, 1000), (len(DATA) - 5, 10)])
def test_a_sample_is_that_piece_of_the_file(start: int, count: int) -> None:
    """With the size of all of it."""
    with FakeFiles(part).source() as source:
        announced, data = source.sample(ADDRESS, "the image", start, count)
    assert (announced.bytes, data) == (len(DATA), DATA[start : start + count])


def test_a_host_that_sends_no_parts_gives_the_beginning() -> None:
    """The rest isn't read; another piece than the first it can't give."""
    with FakeFiles(DATA).source() as source:
        announced, data = source.sample(ADDRESS, "the image", 0, 10)
        assert (announced.bytes, data) == (len(DATA), DATA[:10])
        assert source.sample(ADDRESS, "the image", 10, 10)[1] == b""


def test_the_length_of_a_packed_answer_is_not_the_files() -> None:
    """Nor is its digest."""
    headers = {"Content-Encoding": "x-packed", "ETag": f'"{MD5.hexdigest()}"'}
    with FakeFiles(lambda _: httpx.Response(200, content=DATA, headers=headers)).source() as source:
        announced, _ = source.sample(ADDRESS, "the image", 0, 10)
    assert (announced.bytes, announced.digests) == (None, {})


def test_a_file_that_is_too_large_is_not_even_sampled() -> None:
    """The size that is announced is enough."""
    with FakeFiles(part).source(limits=ImageLimits(len(DATA) - 1, 1)) as source, pytest.raises(ImageError):
        source.sample(ADDRESS, "the image", 0, 10)


@pytest.mark.parametrize(
    ("address", "is_one"),
    [
        (f"{STUDIO}/data/upload/3/1a2b3c4d-field.png", True),
        (f"{STUDIO}/data/upload/3/field.png", False),
        (f"{STUDIO}/data/upload/3/1a2b3c4d-field.png?x=1", False),
        (f"{STUDIO}/data/local-files/?d=/data/upload/3/1a2b3c4d-field.png", False),
        ("http://pictures.example/data/upload/3/1a2b3c4d-field.png", False),
    ],
)
def test_uploads_are_known_by_their_address(address: str, is_one: bool) -> None:
    """Only Label Studio's own, with its digits, are never replaced."""
    with FakeFiles(b"").source() as source:
        assert source.is_upload(address) == is_one


def test_the_originals_place_is_told_by_its_own_name() -> None:
    """A task whose original can't be asked for says so, not that its image can't."""
    with FakeFiles(b"").source() as source, pytest.raises(ImageError, match="task 7: its original can't be fetched"):
        source.address(replace(task(), original="ftp://host/a.tif"), "ftp://host/a.tif")


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
