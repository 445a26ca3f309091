"""Looking into folders of images, and naming what lies there from a dataset's root."""

import os
from collections.abc import Mapping
from pathlib import Path

from service.errors import ExportError

IMAGE_SUFFIXES = frozenset(
    (".bmp", ".dng", ".jpeg", ".jpg", ".mpo", ".png", ".tif", ".tiff", ".webp", ".pfm", ".heic", ".avif", ".jp2")
)


def named(path: Path, root: Path) -> str:
    """A file or folder as a dataset names it: from the root, or absolute where it lies outside. Links are as they are
    written.
    """
    absolute, base = Path(os.path.abspath(path)), Path(os.path.abspath(root))  # noqa: PTH100 (resolving follows links)
    return (absolute.relative_to(base) if absolute.is_relative_to(base) else absolute).as_posix()


class Folders:
    """Folders, each looked into once. Files that begin with a dot, and links to nothing, are not seen."""

    def __init__(self) -> None:
        self._sizes: dict[Path, dict[str, int]] = {}

    def sizes(self, folder: Path) -> Mapping[str, int]:
        """The files of a folder by name, with their size in bytes; nothing where there is no folder.

        Raises `ExportError` where it can't be looked into.
        """
        if folder not in self._sizes:
            self._sizes[folder] = _sizes(folder)
        return self._sizes[folder]

    def images(self, folder: Path) -> Mapping[str, int]:
        """The same, of images only."""
        return {
            name: size
            for name, size in self.sizes(folder).items()
            if os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122 (a Path for each takes ten times as long)
        }

    def size(self, path: Path) -> int | None:
        """The size of a file in bytes, None when there is none."""
        return self.sizes(path.parent).get(path.name)


def _sizes(folder: Path) -> dict[str, int]:
    found = {}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith(".") or not entry.is_file():
                    continue
                found[entry.name] = entry.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise ExportError(
            f"{error.filename or folder} can't be read ({error.strerror}): may you read the dataset?"
        ) from error
    return found


def content_of(path: Path) -> bytes:
    """What a file holds. Raises `ExportError` when it can't be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ExportError(f"{path} can't be read ({error.strerror})") from error
