"""Looking into folders of images, and naming what lies there from a dataset's root."""

import os
import posixpath
from collections.abc import Iterator, Mapping
from pathlib import Path

from service.errors import ExportError

IMAGE_SUFFIXES = frozenset(
    (
        *(".avif", ".bmp", ".dng", ".heic", ".heif", ".jp2", ".jpeg", ".jpg"),
        *(".mpo", ".pfm", ".png", ".tif", ".tiff", ".webp"),
    )
)


def named(path: Path, root: Path) -> str:
    """A file or folder as a dataset names it: from the root, or absolute where it lies outside. Links are as they are
    written.
    """
    absolute, base = Path(os.path.abspath(path)), Path(os.path.abspath(root))  # noqa: PTH100 (resolving follows links)
    return (absolute.relative_to(base) if absolute.is_relative_to(base) else absolute).as_posix()


def is_image(name: str) -> bool:
    """Whether trainers take a file of this name for an image."""
    return "." in name and "." + name.rpartition(".")[2].lower() in IMAGE_SUFFIXES


class Folders:
    """What lies in folders, each read once: names and sizes in bytes, links followed, dot-files aside.

    Raises `ExportError` for a folder that may not be read.
    """

    def __init__(self) -> None:
        self._files: dict[str, dict[str, int]] = {}
        self._folders: dict[str, list[str]] = {}
        self._real: dict[str, str] = {}

    def files(self, folder: str | Path) -> Mapping[str, int]:
        """The files in a folder; none where there is no folder."""
        self._read(str(folder))
        return self._files[str(folder)]

    def images(self, folder: str | Path) -> Mapping[str, int]:
        """The same, of images only."""
        return {name: size for name, size in self.files(folder).items() if is_image(name)}

    def size(self, path: Path) -> int | None:
        """The size of a file in bytes, None when there is none."""
        return self.files(path.parent).get(path.name)

    def beneath(self, folder: str, above: tuple[str, ...] = ()) -> Iterator[str]:
        """The folder and all beneath it; not again those above it, which a link may lead back to."""
        real = self.real(folder)
        if real in above:
            return
        self._read(folder)
        yield folder
        for name in self._folders[folder]:
            yield from self.beneath(posixpath.join(folder, name), (*above, real))

    def real(self, folder: str) -> str:
        """The folder's path with links followed."""
        if folder not in self._real:
            self._real[folder] = os.path.realpath(folder)
        return self._real[folder]

    def _read(self, folder: str) -> None:
        if folder in self._files:
            return
        files, folders = self._files.setdefault(folder, {}), self._folders.setdefault(folder, [])
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    if entry.name.startswith("."):
                        continue
                    if entry.is_dir():
                        folders.append(entry.name)
                    elif entry.is_file():
                        files[entry.name] = entry.stat().st_size
        except (FileNotFoundError, NotADirectoryError):
            return
        except OSError as error:
            raise ExportError(f"{folder} can't be read ({error.strerror}): may you read the dataset?") from error
        folders.sort()


def content_of(path: str | Path) -> bytes:
    """What a file holds. Raises `ExportError` when it can't be read."""
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ExportError(f"{path} can't be read ({error.strerror})") from error


def is_empty_label(label: str | Path, size: int) -> bool:
    """Whether a label file of so many bytes tells of no object: no annotation fits into four bytes; a byte order mark
    and a line end do.
    """
    if size == 0 or size > 4:
        return size == 0
    try:
        return not Path(label).read_text(encoding="utf-8-sig").strip()
    except (OSError, UnicodeDecodeError):
        return False
