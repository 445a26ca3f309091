"""Pictures of patches and of whole images, small enough to look at two hundred at a time."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from hashlib import sha256
from typing import Protocol
from xml.sax.saxutils import escape

from cachetools import LRUCache, TTLCache
from PIL import Image

from service.domain.geometry import Box
from service.domain.model import Task
from service.errors import ImageError, NegativesError
from service.pictures import draw_cut, jpeg, plan_cut, plan_whole

SIDES = (320, 640)
"""Pixels of a picture's longest side: for a plain screen, and for a fine one or a large view."""
CACHE_BYTES = 256 * 1024 * 1024
DECODINGS = 2
"""Source images that are decoded at a time: each may need hundreds of megabytes."""
FAILED_SECONDS = 5.0
"""For so long an image that couldn't be had isn't asked for again: a page asks for all its patches."""
LONGEST_WAIT = 60.0
LOOK = "1"
"""Part of every picture's version: pictures that look otherwise get other addresses."""


class Images(Protocol):
    """Where source images come from."""

    def fetch(self, task: Task) -> bytes:
        """The task's image as it is stored."""

    def decode(self, task: Task, data: bytes) -> Image.Image:
        """What was fetched, upright."""


def version(task_id: int, image: str, box: Box | None) -> str:
    """What changes when a picture does: a digest of the image's own digest and the patch's place (None: the whole)."""
    place = "whole" if box is None else str(box.as_xywh())
    return sha256(f"{LOOK}:{task_id}:{image}:{place}".encode()).hexdigest()[:16]


def placeholder(sentence: str) -> bytes:
    """An SVG picture that says why there is none."""
    lines: list[str] = [""]
    for word in sentence.split():
        if lines[-1] and len(lines[-1]) + len(word) > 34:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    shown = lines[:9]
    spans = "".join(
        f'<text x="160" y="{160 + 22 * (number - (len(shown) - 1) / 2):.0f}" font-family="sans-serif" font-size="16" '
        f'text-anchor="middle" fill="#5b5b5b">{escape(line[:40])}</text>'
        for number, line in enumerate(shown)
    )
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 320 320" width="320" height="320" role="img">'
        f"<title>{escape(sentence)}</title>"
        f'<rect width="320" height="320" fill="#e4e4e4"/>{spans}</svg>'
    ).encode()


Key = tuple[str, int]
"""A picture's version and longest side."""


class Crops:
    """Pictures as JPEG, cut once and remembered within bounds. Safe to share between threads.

    `images` gives the source of images and is asked only when one is needed. When an image is opened, every patch of
    it that is known is cut: decoding is what takes the time. An image is opened by one at a time.
    """

    def __init__(
        self, images: Callable[[], Images], *, cache_bytes: int = CACHE_BYTES, decodings: int = DECODINGS
    ) -> None:
        self._images = images
        self._lock = threading.Lock()
        self._made: LRUCache[Key, bytes] = LRUCache(cache_bytes, getsizeof=len)
        self._failed: TTLCache[str, str] = TTLCache(1024, FAILED_SECONDS)
        self._opening: dict[str, Future[None]] = {}
        self._decoding = threading.Semaphore(decodings)

    def patch(self, task: Task, box: Box, longest: int, known: Iterable[Box] = ()) -> bytes:
        """The picture of the patch in this box; `known` are the boxes of all patches of the task.

        Raises `ImageError` or `LabelStudioError` when the image can't be had.
        """
        return self._picture(task, box, longest, (box, *known))

    def whole(self, task: Task, longest: int) -> bytes:
        """The picture of a task's whole image. Raises as `patch` does."""
        return self._picture(task, None, longest, (None,))

    def _picture(self, task: Task, box: Box | None, longest: int, known: Iterable[Box | None]) -> bytes:
        key, image = (_version(task, box), longest), _version(task, None)
        for _ in range(3):  # another may have been cutting patches that were known then
            with self._lock:
                if (made := self._made.get(key)) is not None:
                    return bytes(made)
                if (failure := self._failed.get(image)) is not None:
                    raise ImageError(failure)
                opening = self._opening.get(image)
                is_ours = opening is None
                if opening is None:
                    opening = self._opening[image] = Future()
            if is_ours:
                return self._cut(task, key, longest, dict.fromkeys(known), opening)
            try:
                opening.result(LONGEST_WAIT)
            except TimeoutError:
                break
        raise ImageError(f"the image of task {task.id} takes long: look again in a minute")

    def _cut(self, task: Task, key: Key, longest: int, wanted: Iterable[Box | None], opening: "Future[None]") -> bytes:
        try:
            data = self._images().fetch(task)  # however slow its host is, nobody else waits
            with self._decoding:
                source = self._images().decode(task, data)
                made = {(_version(task, box), longest): _jpeg(source, box, longest) for box in wanted}
        except NegativesError as error:
            with self._lock:
                self._failed[_version(task, None)] = str(error)
            raise
        else:
            with self._lock:
                for each, data in made.items():
                    if len(data) <= self._made.maxsize:
                        self._made[each] = data
            return made[key]
        finally:
            with self._lock:
                del self._opening[_version(task, None)]
            opening.set_result(None)


def _version(task: Task, box: Box | None) -> str:
    return version(task.id, task.image_digest, box)


def _jpeg(source: Image.Image, box: Box | None, longest: int) -> bytes:
    if box is None:
        small = source.resize(plan_whole(source.size, longest), Image.Resampling.LANCZOS, reducing_gap=2.0)
        picture = small.convert("RGB")
    else:
        picture = draw_cut(source, plan_cut(box, source.size, longest))
    return jpeg(picture)
