"""Fetching a task's source image and opening it upright.

A task names its image as `/data/upload/…`, `/data/local-files/?d=…`, `http(s)://…`, or a cloud link (`s3://`, `gs://`,
`azure-blob://`), which Label Studio turns into a link that works for a while.
"""

from base64 import urlsafe_b64encode
from dataclasses import dataclass
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

import httpx
from PIL import Image

from service.config import Settings
from service.domain.model import Task
from service.errors import ImageError, LabelStudioUnavailable
from service.pictures import upright


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What a source image may weigh in bytes, and how many pixels it may have."""

    max_bytes: int
    max_pixels: int


def image_source(settings: Settings, http: httpx.Client) -> "ImageSource":
    """Source images under the limits of the settings; `http` as for `ImageSource`."""
    limits = ImageLimits(settings.max_image_bytes, settings.max_image_pixels)
    return ImageSource(settings.label_studio_url, http, limits)


class ImageSource:
    """Source images of one Label Studio.

    `http` signs what goes to Label Studio's own host and nothing else, see `LabelStudioAuth`.
    """

    def __init__(self, url: str, http: httpx.Client, limits: ImageLimits) -> None:
        self._url = url
        self._http = http
        self._limits = limits

    def open(self, task: Task) -> Image.Image:
        """The task's image, upright, 8 bits a channel, grey or colour.

        Raises `ImageError` when it can't be fetched, is over the limits, isn't an image, or isn't of the size that
        its regions were drawn on; `LabelStudioUnavailable` when trying again can help.
        """
        return self.decode(task, self.fetch(task))

    def fetch(self, task: Task) -> bytes:
        """The task's image as it is stored. Raises as `open` does."""
        return self._fetch(self._address(task), f"the image of task {task.id}")

    def decode(self, task: Task, data: bytes) -> Image.Image:
        """What was fetched, as `open` gives it. Raises `ImageError`."""
        image = upright(data, f"the image of task {task.id}", self._limits.max_pixels)
        if task.size is not None and image.size != task.size:
            drawn, found = (f"{width} × {height} px" for width, height in (task.size, image.size))
            raise ImageError(
                f"task {task.id}: its regions were drawn on {drawn}, but the image is {found}: was the image replaced? "
                "Nothing was cut from it"
            )
        return image

    def _address(self, task: Task) -> str:
        if _split(task.image).scheme in ("http", "https"):
            return task.image
        if task.is_in_cloud:
            link = urlsafe_b64encode(task.image.encode()).decode()
            return f"{self._url}/tasks/{task.id}/presign/?fileuri={link}"
        if task.image.startswith("/"):
            # A Label Studio under a path prefix writes its links with or without the prefix.
            prefix = urlsplit(self._url).path
            if prefix and not task.image.startswith(prefix + "/"):
                return self._url + task.image
            return urljoin(self._url, task.image)
        raise ImageError(f"task {task.id}: its image can't be fetched from where its data says it is")

    def _fetch(self, address: str, what: str) -> bytes:
        too_large = f"{what} is larger than {self._limits.max_bytes:,} bytes (NEGATIVES_MAX_IMAGE_BYTES)"
        try:
            with self._http.stream("GET", address) as response:
                if response.status_code >= 500 or response.status_code == httpx.codes.TOO_MANY_REQUESTS:
                    raise LabelStudioUnavailable(f"{what} can't be fetched now: {response.status_code}")
                if response.status_code != httpx.codes.OK:
                    host = response.url.host
                    raise ImageError(
                        f"{what} can't be fetched: {host} answered {response.status_code}"
                        + (": has the file been deleted?" if response.status_code == httpx.codes.NOT_FOUND else "")
                    )
                if int(response.headers.get("Content-Length") or 0) > self._limits.max_bytes:
                    raise ImageError(too_large)
                data = bytearray()
                for chunk in response.iter_bytes():
                    data += chunk
                    if len(data) > self._limits.max_bytes:
                        raise ImageError(too_large)
                return bytes(data)
        except httpx.TransportError as error:
            raise LabelStudioUnavailable(f"{what} can't be fetched: {type(error).__name__}") from error
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            raise ImageError(f"{what} can't be fetched: {type(error).__name__}") from error


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
