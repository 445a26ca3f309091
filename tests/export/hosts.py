"""Hosts of images with memory, each answering as the real one was seen to (Label Studio 1.23.2, S3)."""

from base64 import urlsafe_b64decode
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from email.utils import formatdate
from hashlib import md5
from pathlib import Path
from re import fullmatch
from threading import Lock
from urllib.parse import parse_qs, unquote, urlsplit

import httpx

from service.export.sources import SourceFiles
from service.label_studio.auth import LabelStudioAuth
from service.label_studio.images import ImageLimits, ImageSource

STUDIO = "http://studio.internal:8080"
TOKEN = "1f" * 20
LIMITS = ImageLimits(max_bytes=2_000_000, max_pixels=50_000_000)
NOW = 1_760_000_000


class Body(httpx.SyncByteStream):
    """A body that says how much of it went out, and may break off."""

    def __init__(self, hosts: "Hosts", data: bytes, end: Exception | None) -> None:
        self._hosts, self._data, self._end = hosts, data, end

    def __iter__(self) -> Iterator[bytes]:
        for start in range(0, len(self._data), 8192):
            piece = self._data[start : start + 8192]
            with self._hosts.gate:
                self._hosts.sent += len(piece)
            yield piece
        if self._end is not None:
            raise self._end


@dataclass
class Hosts:
    """Label Studio, an S3 that it signs links to, and a plain host; `files` are by address, `asked` without bodies.

    `breaks`: bodies end after so many bytes, in silence or with `broken`. `extra` headers go with every file. `fails`,
    if it isn't 0, is the status that everything is answered with. `is_mute`: the plain host says no length.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    asked: list[httpx.Request] = field(default_factory=list)
    sent: int = 0
    changed: dict[str, int] = field(default_factory=dict)
    extra: dict[str, str] = field(default_factory=dict)
    breaks: int | None = None
    broken: Exception | None = None
    fails: int = 0
    is_mute: bool = False
    gate: Lock = field(default_factory=Lock)

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        with self.gate:
            self.asked.append(request)
        if self.fails:
            return httpx.Response(self.fails)
        if request.url.host == "bucket.example":
            return self._bucket(request)
        if request.url.host == "pictures.example":
            return self._plain(request)
        if request.headers.get("Authorization") != f"Token {TOKEN}":
            return httpx.Response(401)
        parts = urlsplit(str(request.url))
        if parts.path.endswith("/presign/"):
            link = urlsafe_b64decode(parse_qs(parts.query)["fileuri"][0]).decode().partition("://")[2]
            signed = f"https://bucket.example/{link}?signature=hunter2-{len(self.asked)}"
            return httpx.Response(303, headers={"Location": signed})
        name = unquote(parts.path + ("?" + parts.query if parts.query else ""))
        return self._local(request, name) if parts.path == "/data/local-files/" else self._upload(request, name)

    def _upload(self, request: httpx.Request, name: str) -> httpx.Response:
        """Without validators; the size is only said of parts."""
        return self._file(request, name, {}, says_length=False)

    def _local(self, request: httpx.Request, name: str) -> httpx.Response:
        """With a weak ETag; the size is only said of parts."""
        if name not in self.files:
            return httpx.Response(404)
        etag = f'W/"{self.changed.get(name, 0):x}-{len(self.files[name]):x}"'
        if request.headers.get("If-None-Match") == etag:
            return httpx.Response(304, headers={"ETag": etag})
        return self._file(request, name, {"ETag": etag}, says_length=False)

    def _bucket(self, request: httpx.Request) -> httpx.Response:
        """With the MD5 as ETag, as long as a file came in one piece."""
        name = unquote("s3:/" + urlsplit(str(request.url)).path)
        if name not in self.files:
            return httpx.Response(404)
        etag = f'"{md5(self.files[name]).hexdigest()}"'
        if request.headers.get("If-None-Match") == etag:
            return httpx.Response(304)
        return self._file(request, name, {"ETag": etag}, says_length=True)

    def _plain(self, request: httpx.Request) -> httpx.Response:
        """Without ranges; with `Last-Modified` for what is in `changed`."""
        name = str(request.url)
        headers = {"Date": formatdate(NOW, usegmt=True)}
        if name in self.changed:
            headers["Last-Modified"] = formatdate(self.changed[name], usegmt=True)
            if request.headers.get("If-Modified-Since") == headers["Last-Modified"]:
                return httpx.Response(304)
        return self._file(request, name, headers, says_length=not self.is_mute, has_parts=False)

    def _file(
        self, request: httpx.Request, name: str, headers: dict[str, str], *, says_length: bool, has_parts: bool = True
    ) -> httpx.Response:
        if name not in self.files:
            return httpx.Response(404)
        data, status = self.files[name], 200
        part = fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("Range", "")) if has_parts else None
        headers = headers | self.extra
        if part:
            start, stop = int(part[1]), min(len(data), int(part[2] or len(data)) + 1)
            headers |= {"Content-Range": f"bytes {start}-{stop - 1}/{len(data)}"}
            data, status, says_length = data[start:stop], 206, True
        if says_length:
            headers |= {"Content-Length": str(len(data))}
        return httpx.Response(status, headers=headers, stream=Body(self, data[: self.breaks], self.broken))

    @contextmanager
    def run(
        self,
        cache: Path | None,
        *,
        originals: Path | None = None,
        cache_bytes: int = 50_000_000,
        url: str = STUDIO,
        limits: ImageLimits = LIMITS,
    ) -> Iterator[SourceFiles]:
        """One run of an export that takes its files from here."""
        with httpx.Client(
            auth=LabelStudioAuth(url, TOKEN), transport=httpx.MockTransport(self), follow_redirects=True
        ) as http:
            files = SourceFiles(ImageSource(url, http, limits), cache, cache_bytes, originals)
            with closing(files):
                yield files
