"""Where the pixels of negatives come from: the repository itself, the folder of originals, or the place that a task
names, whose files are kept for the next time.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from hashlib import file_digest, sha256
from pathlib import Path, PurePosixPath
from stat import S_ISREG
from tempfile import mkdtemp
from threading import Lock
from urllib.parse import urlsplit
from uuid import uuid4

from service.domain.geometry import Box
from service.domain.model import Task, is_cloud_link, written_reference
from service.errors import ImageError
from service.export.cutting import size_of
from service.export.file_cache import FileCache, Kept
from service.export.model import Source
from service.label_studio.images import Announced, Download, ImageSource, check_size, source_name

SAMPLE = 65_536
"""Bytes that are compared where a file's size is all that is announced of it."""
SIZE_SAYS_LITTLE = frozenset((".bmp", ".tif", ".tiff"))
"""Kinds of files that may be as large as any other picture of as many pixels, and begin like it: an empty border."""
OF_LABEL_STUDIO = ("/data/upload/", "/data/local-files/", "/storage-data/uploaded/")
"""How the addresses begin, after Label Studio's own path, at which it gives files."""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A file to cut from. It stays until the `with` of `SourceFiles.take` ends, and must not be changed.

    `seen` is the size of the picture that people drew on, `size` that of this file, each (width, height) in pixels,
    upright: they differ for an original. `origin` tells where the file came from: `downloaded`, `cached`, `repository`
    or `original`.
    """

    path: Path
    source: Source
    seen: tuple[int, int]
    size: tuple[int, int]
    origin: str


@dataclass(frozen=True, slots=True)
class _Found:
    path: Path
    sha256: str
    bytes: int
    origin: str


def scaled_inward(box: Box, seen: tuple[int, int], size: tuple[int, int]) -> Box:
    """A box of a picture of the size `seen` in the same picture of another size, both (width, height) in pixels.

    Rounded inward: what lies in the result lies in the box. Raises `ImageError` when no whole pixel is left of it.
    """
    (width, height), (is_wide, is_high) = seen, size
    left, top = -(-box.left * is_wide // width), -(-box.top * is_high // height)
    right, bottom = box.right * is_wide // width, box.bottom * is_high // height
    if left >= right or top >= bottom:
        raise ImageError(f"nothing is left of {box.words} in the original, which is {is_wide} × {is_high} px")
    return Box(left, top, right, bottom)


class SourceFiles:
    """The files to cut from, for one run; several threads may take them at a time.

    `cache` is a folder for what was downloaded, None for a temporary one; it holds `cache_bytes` at most. `originals`
    is the folder that originals are in, None where there is none. What was asked for once is not asked for again in
    the same run, as long as it is kept. `close` removes what the run used; the end of the process does, too.
    """

    def __init__(self, images: ImageSource, cache: Path | None, cache_bytes: int, originals: Path | None) -> None:
        self._images = images
        self._originals = originals
        self._cache = FileCache(cache, cache_bytes)
        self._current: dict[str, str] = {}
        self._asking: defaultdict[str, Lock] = defaultdict(Lock)
        self._gate = Lock()

    def close(self) -> None:
        """Remove what this run used; nothing can be taken any more."""
        self._cache.close()

    def name(self, task: Task) -> str:
        """The name of the file that a task's negatives are cut from: of the original, where the task names one."""
        is_path = task.original and not _is_address(task.original, self._images)
        return PurePosixPath(task.original).name if is_path else source_name(task.original or task.image)

    @contextmanager
    def take(self, task: Task, held: Sequence[Path]) -> Iterator[SourceFile]:
        """The file that a task's negatives are cut from, until the `with` ends.

        `held` are images of the repository with the `name` of the file: one of them is used where it is the
        file that would be downloaded. Raises `ImageError` when the file can't be had, is none of the task's picture,
        or is over the limits; `LabelStudioUnavailable` when trying again can help.
        """
        with ExitStack() as pins:
            if not task.original:
                what = f"the image of task {task.id}"
                found = self._find(task, task.image, what, held, pins)
                size = size_of(found.path, what)
                check_size(task, size)
                yield self._told(task, found, size, size)
                return
            what = f"the original of task {task.id}"
            seen = task.size or self._seen(task)
            if _is_address(task.original, self._images):
                found = self._find(task, task.original, what, held, pins)
            else:
                found = self._original(task, what)
            size = size_of(found.path, what)
            _check_shape(task, seen, size)
            yield self._told(task, found, seen, size)

    def _told(self, task: Task, found: _Found, seen: tuple[int, int], size: tuple[int, int]) -> SourceFile:
        image = task.original or task.image
        source = Source(self.name(task), written_reference(image), found.sha256, found.bytes)
        return SourceFile(found.path, source, seen, size, "original" if task.original else found.origin)

    def _seen(self, task: Task) -> tuple[int, int]:
        """The size of the picture that people saw, where no region says it."""
        what = f"the image of task {task.id}"
        with ExitStack() as pins:
            return size_of(self._find(task, task.image, what, (), pins).path, what)

    def _find(self, task: Task, image: str, what: str, held: Sequence[Path], pins: ExitStack) -> _Found:
        address = self._images.address(task, image)
        if (agreeing := self._in_repository(address, what, held)) is not None:
            return agreeing
        # Nothing of an address is written down, which may hold a signature; nor is it left out: it may be what tells
        # two images apart.
        key = sha256(self._images.identity(task, image).encode()).hexdigest()
        with self._gate:
            asking = self._asking[key]
        with asking:
            return self._kept(key, address, image, what, pins) or self._downloaded(key, address, what, pins)

    def _kept(self, key: str, address: str, image: str, what: str, pins: ExitStack) -> _Found | None:
        """The file as it was kept, if it is still what its host has."""
        place = self._place(self._cache.room, pins)
        kept = self._cache.take(key, place)
        if kept is None:
            return None
        if self._current.get(key) != kept.sha256:
            if kept.validators.condition:
                is_current = self._images.is_unchanged(address, what, kept.validators)
            else:
                # Label Studio has no validators for uploads, but never stores another file under the name of one.
                is_upload = self._images.is_upload(address)
                is_current = is_upload and self._is_at(address, what, place, kept.bytes, source_name(image))
            if not is_current:
                return None
            self._current[key] = kept.sha256
        return _Found(place, kept.sha256, kept.bytes, "cached")

    def _downloaded(self, key: str, address: str, what: str, pins: ExitStack) -> _Found:
        place, download = self._download(address, what, pins)
        if download.announced.has_end:  # what broke off unnoticed must not be used for ever
            kept = Kept(download.sha256, download.bytes, download.announced.validators)
            self._cache.keep(key, place, kept)
            self._current[key] = download.sha256
        return _Found(place, download.sha256, download.bytes, "downloaded")

    def _download(self, address: str, what: str, pins: ExitStack) -> tuple[Path, Download]:
        place = self._place(self._cache.room, pins)
        try:
            return place, self._images.download(address, what, place)
        except OSError:
            # There is no room beside what is kept; there may be some elsewhere.
            spare = Path(mkdtemp(prefix="negatives-"))
        pins.callback(spare.rmdir)
        place = self._place(spare, pins)
        try:
            return place, self._images.download(address, what, place)
        except OSError as error:
            raise ImageError(
                f"{what} can't be put on a disk ({error.strerror}): make room in {spare.parent}, or in the folder of "
                "NEGATIVES_CACHE"
            ) from error

    def _place(self, folder: Path, pins: ExitStack) -> Path:
        """A path that isn't taken, and is free again when the pins are."""
        place = folder / uuid4().hex
        pins.callback(place.unlink, missing_ok=True)
        return place

    def _in_repository(self, address: str, what: str, held: Sequence[Path]) -> _Found | None:
        """The one of these files that is the one at an address."""
        sizes = {path: size for path in held if (size := _size_in_bytes(path))}
        if not sizes:
            return None
        announced, begin = self._images.sample(address, what, 0, SAMPLE)
        sizes = {path: size for path, size in sizes.items() if announced.bytes in (None, size)}
        try:
            agreeing = {path: _digest(path, "sha256") for path in sizes}
            if announced.digests:
                # An ETag may look like an MD5 and be none: then they differ, and it is downloaded.
                agreeing = {path: own for path, own in agreeing.items() if _has(path, announced.digests)}
            elif announced.bytes is None or len(set(agreeing.values())) != 1:
                return None
            else:
                path = next(iter(agreeing))
                if not self._is_at(address, what, path, sizes[path], path.name, (announced, begin)):
                    return None
        except OSError:
            return None
        return next((_Found(path, own, sizes[path], "repository") for path, own in agreeing.items()), None)

    def _is_at(
        self,
        address: str,
        what: str,
        file: Path,
        count: int,
        name: str,
        begun: tuple[Announced, bytes] | None = None,
    ) -> bool:
        """Whether the file at an address has so many bytes, and those that are compared are the same as in a file.

        `name` tells its kind. `begun` is its first sample, where it was taken before.
        """
        announced, begin = begun or self._images.sample(address, what, 0, SAMPLE)
        if announced.bytes != count or begin != _piece(file, 0):
            return False
        if Path(name).suffix.lower() not in SIZE_SAYS_LITTLE:
            return True
        starts = [start for start in (count // 2, count - SAMPLE) if start >= SAMPLE]
        return all(self._images.sample(address, what, start, SAMPLE)[1] == _piece(file, start) for start in starts)

    def _original(self, task: Task, what: str) -> _Found:
        """The file of an original in the folder of originals."""
        if self._originals is None:
            raise ImageError(
                f"task {task.id} names an original, but nothing says in which folder: set NEGATIVES_ORIGINALS"
            )
        named = repr(task.original[:200])
        try:
            root = self._originals.resolve(strict=True)
            path = (root / task.original).resolve(strict=True)
            if not path.is_relative_to(root):
                raise ImageError(
                    f"{what} lies outside of the folder of originals (NEGATIVES_ORIGINALS): name one in it, "
                    "by its path from there"
                )
            size = _size_in_bytes(path)
            if size is None:
                raise ImageError(f"{what} is no file, or an empty one: {named}")
            if size > self._images.limits.max_bytes:
                raise ImageError(
                    f"{what} is larger than {self._images.limits.max_bytes:,} bytes (NEGATIVES_MAX_IMAGE_BYTES)"
                )
            return _Found(path, _digest(path, "sha256"), size, "original")
        except FileNotFoundError as error:
            raise ImageError(f"{what} isn't in the folder of originals (NEGATIVES_ORIGINALS): {named}") from error
        except (OSError, ValueError, RuntimeError) as error:  # a name that can't be one; links that go round
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise ImageError(f"{what} can't be read ({reason}): {named}") from error


def _is_address(original: str, images: ImageSource) -> bool:
    """Whether an original is named by where Label Studio or a host has it, not by a path on our disk."""
    prefix = urlsplit(images.url).path
    path = original.removeprefix(prefix) if original.startswith(prefix + "/") else original
    return "://" in original or is_cloud_link(original) or path.startswith(OF_LABEL_STUDIO)


def _check_shape(task: Task, seen: tuple[int, int], size: tuple[int, int]) -> None:
    """Raises `ImageError` unless one factor scales the original to what people saw, each side less than a pixel off."""
    (width, height), (is_wide, is_high) = seen, size
    if (width - 1) * is_high < (height + 1) * is_wide and (height - 1) * is_wide < (width + 1) * is_high:
        return
    drawn, found = (f"{across} × {down} px" for across, down in (seen, size))
    raise ImageError(
        f"task {task.id}: its regions were drawn on {drawn}, but the original is {found}, which is another shape: "
        "does it belong to another image, or is it turned? Nothing was cut from it"
    )


def _size_in_bytes(path: Path) -> int | None:
    """How large a file is; None for one that is empty, can't be read, or is no plain file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return (status.st_size or None) if S_ISREG(status.st_mode) else None


def _digest(path: Path, name: str) -> str:
    with path.open("rb") as file:
        return file_digest(file, name).hexdigest()


def _has(path: Path, digests: Mapping[str, str]) -> bool:
    return all(_digest(path, name) == digest for name, digest in digests.items())


def _piece(path: Path, start: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(SAMPLE)
