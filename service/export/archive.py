"""A folder as one file to carry away: a ZIP whose files are stored as they are, since pictures don't get smaller."""

import os
import shutil
from collections.abc import Callable, Collection
from pathlib import Path, PurePosixPath
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from service.errors import ExportError

PART = ".part"
COPIED_AT_ONCE = 1 << 20
UNIX = 3
FILE_MODE, FOLDER_MODE = 0o100644, 0o040755


def pack(
    folder: Path, into: Path, *, leave_out: Collection[str] = (), progress: Callable[[int, int], None] | None = None
) -> int:
    """Pack a folder under its own name; how many files that were.

    The same files with the same content become the same bytes, whatever their age and owner. Files and folders whose
    name is to be left out don't go in, links neither. `into` is whole or as it was; the memory that this
    takes doesn't depend on the files' sizes. `progress` is told how many files are done, and of how many. Raises
    `ExportError` when something can't be read or written.
    """
    part = into.with_name(f".{into.name}{PART}")
    try:
        names = _names(folder, frozenset(leave_out))
        files = sum(not name.endswith("/") for name in names)
        try:
            with part.open("wb") as written:
                with ZipFile(written, "w", ZIP_STORED) as archive:
                    done = 0
                    for name in names:
                        _add(archive, folder, name)
                        done += not name.endswith("/")
                        if progress is not None:
                            progress(done, files)
                written.flush()
                os.fsync(written.fileno())
            part.replace(into)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise ExportError(f"{error.filename or into} can't be packed ({error.strerror})") from error
    return files


def _names(folder: Path, leave_out: frozenset[str]) -> list[str]:
    """What goes in, relative to the folder and in the order of the ZIP: files, and folders without any, with a slash
    at their end.
    """
    found: list[str] = []
    for at, folders, files in os.walk(folder, onerror=_raise):
        here = Path(at)
        folders[:] = [name for name in folders if name not in leave_out and not (here / name).is_symlink()]
        plain = [name for name in files if name not in leave_out and not (here / name).is_symlink()]
        found += [(here / name).relative_to(folder).as_posix() for name in plain]
        if not plain and not folders and here != folder:
            found.append(f"{here.relative_to(folder).as_posix()}/")
    return sorted(found)


def _raise(error: OSError) -> None:
    raise error


def _add(archive: ZipFile, folder: Path, name: str) -> None:
    info = ZipInfo(str(PurePosixPath(folder.name) / name) + ("/" if name.endswith("/") else ""))  # of 1980
    info.create_system = UNIX
    if name.endswith("/"):
        info.external_attr = FOLDER_MODE << 16
        archive.writestr(info, b"")
        return
    info.external_attr = FILE_MODE << 16
    with (folder / name).open("rb") as source:
        info.file_size = os.fstat(source.fileno()).st_size  # so that room is left for the sizes of a file above 4 GB
        with archive.open(info, "w") as target:
            shutil.copyfileobj(source, target, COPIED_AT_ONCE)
