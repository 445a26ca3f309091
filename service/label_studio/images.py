"""Fetching a task's source image and opening it upright.

A task names its image as `/data/upload/…`, `/data/local-files/?d=…`, `http(s)://…`, or a cloud link (`s3://`, `gs://`,
`azure-blob://`), which Label Studio turns into a link that works for a while.
"""

import re
from base64 import b64decode, urlsafe_b64encode
from binascii import Error as NoBase64
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import parsedate_to_datetime
from hashlib import sha256
from pathlib import Path
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

import httpx
from PIL import Image

from service.config import Settings
from service.domain.model import Task, is_cloud_link
from service.errors import ImageError, LabelStudioUnavailable
from service.pictures import upright

UPLOADED = re.compile(r"/data/upload/\d+/[0-9a-f]{8}-[^/?#]+")
"""How Label Studio names an upload: with digits of its own, so that it never stores another file by that name."""
AS_IT_IS = {"Accept-Encoding": "identity"}
"""Asks for the file's own bytes, so that what is announced is said of them."""
_ETAG_MD5 = re.compile(r'"([0-9a-f]{32})"')
_NAMED_DIGEST = re.compile(r"\b(md5|sha-256)=:?([A-Za-z0-9+/]+=*)", re.IGNORECASE)
_PART = re.compile(r"bytes (\d+)-(\d+)/(\d+)")
_SETTLED = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What a source image may weigh in bytes, and how many pixels it may have."""

    max_bytes: int
    max_pixels: int


def image_source(settings: Settings, http: httpx.Client) -> "ImageSource":
    """Source images under the limits of the settings; `http` as for `ImageSource`."""
    limits = ImageLimits(settings.max_image_bytes, settings.max_image_pixels)
    return ImageSource(settings.label_studio_url, http, limits)


@dataclass(frozen=True, slots=True)
class Validators:
    """By what a host tells whether a file is still the one that it gave: its `ETag`, and when it was changed last
    (`Last-Modified`), each as it came and empty where it doesn't say.
    """

    etag: str = ""
    changed: str = ""

    @property
    def condition(self) -> Mapping[str, str]:
        """What asks for the file only if it is another one by now; empty when nothing can tell.

        https://www.rfc-editor.org/rfc/rfc9110#name-conditional-requests
        """
        if self.etag:
            return {"If-None-Match": self.etag}
        return {"If-Modified-Since": self.changed} if self.changed else {}


@dataclass(frozen=True, slots=True)
class Announced:
    """What a host says of a file when it answers: how many bytes it has, None when it doesn't say; its digests in
    hexadecimal by name, `md5` or `sha256`; and its validators. `has_end`: a file that breaks off on the way can be told
    from a whole one.
    """

    bytes: int | None
    digests: Mapping[str, str]
    validators: Validators
    has_end: bool


@dataclass(frozen=True, slots=True)
class Download:
    """A file that was written whole: the digest of its bytes, how many they are, and what its host says of it."""

    sha256: str
    bytes: int
    announced: Announced = field(repr=False)


class ImageSource:
    """Source images of one Label Studio.

    `http` signs what goes to Label Studio's own host and nothing else, see `LabelStudioAuth`.
    """

    def __init__(self, url: str, http: httpx.Client, limits: ImageLimits) -> None:
        self.url = url
        self._http = http
        self.limits = limits

    def open(self, task: Task) -> Image.Image:
        """The task's image, upright, 8 bits a channel, grey or colour.

        Raises `ImageError` when it can't be fetched, is over the limits, isn't an image, or isn't of the size that
        its regions were drawn on; `LabelStudioUnavailable` when trying again can help.
        """
        return self.decode(task, self.fetch(task))

    def fetch(self, task: Task) -> bytes:
        """The task's image as it is stored. Raises as `open` does."""
        what = f"the image of task {task.id}"
        with self._asked(self.address(task, task.image), what) as response:
            return b"".join(self._chunks(response, what))

    def decode(self, task: Task, data: bytes) -> Image.Image:
        """What was fetched, as `open` gives it. Raises `ImageError`."""
        image = upright(data, f"the image of task {task.id}", self.limits.max_pixels)
        check_size(task, image.size)
        return image

    def address(self, task: Task, image: str) -> str:
        """Where to ask for an image that a task names: its own, or the original of it. It may hold a signature.

        Raises `ImageError` when the task names no place that is known here.
        """
        if _split(image).scheme in ("http", "https"):
            return image
        if is_cloud_link(image):
            link = urlsafe_b64encode(image.encode()).decode()
            return f"{self.url}/tasks/{task.id}/presign/?fileuri={link}"
        if image.startswith("/"):
            # A Label Studio under a path prefix writes its links with or without the prefix.
            prefix = urlsplit(self.url).path
            if prefix and not image.startswith(prefix + "/"):
                return self.url + image
            return urljoin(self.url, image)
        named = "image" if image == task.image else "original"
        raise ImageError(f"task {task.id}: its {named} can't be fetched from where its data says it is")

    def identity(self, task: Task, image: str) -> str:
        """What tells this image from all others, the same each time that it is asked for, whatever link a cloud gives
        for it. It may hold a signature, so it isn't fit to be written down.

        Raises as `address` does.
        """
        if is_cloud_link(image):
            # The same bucket's name may mean another place in another project's storage.
            return f"{self.url}/projects/{task.project_id} {image}"
        return self.address(task, image)

    def is_upload(self, address: str) -> bool:
        """Whether a file at this address was uploaded to Label Studio, which keeps it as it came."""
        return address.startswith(self.url) and UPLOADED.fullmatch(address.removeprefix(self.url)) is not None

    def download(self, address: str, what: str, into: Path) -> Download:
        """Write the file at an address to a new file, a piece at a time; when that fails, none is left.

        `what` names it in messages. Raises as `fetch` does, and `OSError` when the disk refuses.
        """
        # Label Studio announces an upload's size only to who asks for a part of it: for all of it, as a part.
        for asked in ({"Range": "bytes=0-"}, {}):
            with self._asked(address, what, asked | AS_IT_IS, also=(httpx.codes.PARTIAL_CONTENT, 416)) as response:
                if _is_whole(response):
                    return self._write(response, what, into)
        raise ImageError(f"{what} can't be fetched: its host sends only parts of it")

    def is_unchanged(self, address: str, what: str, validators: Validators) -> bool:
        """Whether its host says that the file at an address is still the one with these validators.

        Raises as `fetch` does.
        """
        if not validators.condition:
            return False
        # Without a Range: where Label Studio passes a cloud's file on, it answers to one or the other.
        asked = {**validators.condition, **AS_IT_IS}
        with self._asked(address, what, asked, also=(httpx.codes.NOT_MODIFIED,)) as response:
            return response.status_code == httpx.codes.NOT_MODIFIED

    def sample(self, address: str, what: str, start: int, count: int) -> tuple[Announced, bytes]:
        """What its host announces of the file at an address, and up to so many of its bytes from there on: none where
        it doesn't give them without those before.

        Raises as `fetch` does.
        """
        asked = {"Range": f"bytes={start}-{start + count - 1}"} | AS_IT_IS
        with self._asked(address, what, asked, also=(httpx.codes.PARTIAL_CONTENT, 416)) as response:
            announced, part = _announced(response), _part(response)
            if announced.bytes is not None and announced.bytes > self.limits.max_bytes:
                raise ImageError(self._too_large(what))
            begins = part[0] if part else 0
            if begins != start or response.status_code == 416:
                return announced, b""
            data = bytearray()
            for chunk in response.iter_bytes():
                data += chunk
                if len(data) >= count:
                    break
            return announced, bytes(data[:count])

    def _write(self, response: httpx.Response, what: str, into: Path) -> Download:
        announced, digest, count = _announced(response), sha256(), 0
        with into.open("xb") as file:
            try:
                for chunk in self._chunks(response, what):
                    file.write(chunk)
                    digest.update(chunk)
                    count += len(chunk)
                file.flush()  # the disk may be full
                if announced.bytes not in (None, count):
                    raise LabelStudioUnavailable(f"{what} broke off: {count:,} of {announced.bytes:,} bytes came")
            except BaseException:
                into.unlink(missing_ok=True)
                raise
        return Download(digest.hexdigest(), count, announced)

    def _too_large(self, what: str) -> str:
        return f"{what} is larger than {self.limits.max_bytes:,} bytes (NEGATIVES_MAX_IMAGE_BYTES)"

    def _chunks(self, response: httpx.Response, what: str) -> Iterator[bytes]:
        if int(response.headers.get("Content-Length") or 0) > self.limits.max_bytes:
            raise ImageError(self._too_large(what))
        count = 0
        for chunk in response.iter_bytes():
            count += len(chunk)
            if count > self.limits.max_bytes:
                raise ImageError(self._too_large(what))
            yield chunk

    @contextmanager
    def _asked(
        self, address: str, what: str, headers: Mapping[str, str] | None = None, also: Collection[int] = ()
    ) -> Iterator[httpx.Response]:
        """The answer to a request, its body not read yet: 200, or one of the statuses that are also fine."""
        try:
            with self._http.stream("GET", address, headers=headers) as response:
                if response.status_code >= 500 or response.status_code == httpx.codes.TOO_MANY_REQUESTS:
                    raise LabelStudioUnavailable(f"{what} can't be fetched now: {response.status_code}")
                if response.status_code != httpx.codes.OK and response.status_code not in also:
                    host = response.url.host
                    raise ImageError(
                        f"{what} can't be fetched: {host} answered {response.status_code}"
                        + (": has the file been deleted?" if response.status_code == httpx.codes.NOT_FOUND else "")
                    )
                yield response
        except httpx.TransportError as error:
            raise LabelStudioUnavailable(f"{what} can't be fetched: {type(error).__name__}") from error
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise ImageError(f"{what} can't be fetched: {type(error).__name__}") from error


def check_size(task: Task, found: tuple[int, int]) -> None:
    """Raises `ImageError` when the task's image isn't of the size, (width, height), that its regions were drawn on."""
    if task.size is not None and found != task.size:
        drawn, is_now = (f"{width} × {height} px" for width, height in (task.size, found))
        raise ImageError(
            f"task {task.id}: its regions were drawn on {drawn}, but the image is {is_now}: was the image replaced? "
            "Nothing was cut from it"
        )


def _part(response: httpx.Response) -> tuple[int, int, int] | None:
    """The first and the last byte that an answer holds, and how many the file has; None when it isn't a part."""
    if response.status_code != httpx.codes.PARTIAL_CONTENT:
        return None
    found = _PART.fullmatch(response.headers.get("Content-Range", ""))
    return (int(found[1]), int(found[2]), int(found[3])) if found else (-1, -1, -1)


def _is_encoded(response: httpx.Response) -> bool:
    return response.headers.get("Content-Encoding", "identity").lower() not in ("", "identity")


def _is_whole(response: httpx.Response) -> bool:
    """Whether an answer holds all of a file."""
    part = _part(response)
    if part is None:
        return response.status_code == httpx.codes.OK
    first, last, count = part
    return first == 0 and last == count - 1 and not _is_encoded(response)


def _announced(response: httpx.Response) -> Announced:
    headers, part, is_encoded = response.headers, _part(response), _is_encoded(response)
    told = str(part[2]) if part and part[2] > 0 else headers.get("Content-Length", "")
    is_of_file = response.status_code == httpx.codes.OK or (part is not None and part[2] > 0)
    is_chunked = "chunked" in headers.get("Transfer-Encoding", "").lower()
    return Announced(
        bytes=int(told) if is_of_file and not is_encoded and told.isdecimal() else None,
        digests={} if is_encoded else _digests(headers, is_part=part is not None),
        validators=Validators(headers.get("ETag", ""), _settled(headers)),
        has_end=is_chunked or "Content-Length" in headers,
    )


def _digests(headers: httpx.Headers, *, is_part: bool) -> Mapping[str, str]:
    """The digests of a file, not of a part, that an answer's headers tell.

    `ETag`: https://docs.aws.amazon.com/AmazonS3/latest/API/API_Object.html, for an object that came in one piece.
    `Repr-Digest`: https://www.rfc-editor.org/rfc/rfc9530, and `Digest` before it. `Content-MD5` is of what is sent.
    """
    told = {"md5": headers.get("x-ms-blob-content-md5") or ("" if is_part else headers.get("Content-MD5", ""))}
    for name in ("x-goog-hash", "Digest", "Repr-Digest"):
        told |= {found[1].lower(): found[2] for found in _NAMED_DIGEST.finditer(headers.get(name, ""))}
    digests = {}
    for name, (said, length) in {"md5": (told["md5"], 16), "sha256": (told.get("sha-256", ""), 32)}.items():
        try:
            digest = b64decode(said)
        except NoBase64:
            continue
        if len(digest) == length:
            digests[name] = digest.hex()
    tag = _ETAG_MD5.fullmatch(headers.get("ETag", ""))
    return {"md5": tag[1], **digests} if tag else digests


def _settled(headers: httpx.Headers) -> str:
    """When the file was changed last, if that was long enough ago: a moment told in seconds doesn't tell two changes
    of the same second apart.
    """
    changed = headers.get("Last-Modified", "")
    try:
        age = parsedate_to_datetime(headers.get("Date", "")) - parsedate_to_datetime(changed)
    except (ValueError, TypeError):
        return ""
    return changed if age >= _SETTLED else ""


def source_name(image: str) -> str:
    """The file's own name, for people: without folders, query, and the eight digits that Label Studio puts before an
    upload.

    >>> source_name("/data/upload/7/1a2b3c4d-field 3.jpg")
    'field 3.jpg'
    """
    parts = _split(image)
    path = parts.path
    if path.endswith("/data/local-files/"):
        path = next((value[2:] for value in parts.query.split("&") if value.startswith("d=")), path)
    name = unquote(path).replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    prefix, dash, rest = name.partition("-")
    uploaded = "/data/upload/" in image and dash and len(prefix) == 8 and set(prefix) <= set("0123456789abcdef")
    return rest if uploaded and rest else name


def _split(image: str) -> SplitResult:
    """The reference in its parts; one that is no address is all path."""
    try:
        return urlsplit(image)
    except ValueError:
        return SplitResult("", "", image, "", "")
