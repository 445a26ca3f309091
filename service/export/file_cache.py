"""Files that are kept in a folder for the next time: bounded, shared by threads and processes, and never relied on.

```text
folder/files/    the files and an index of them (`diskcache`)
folder/runs/     a folder for each process that works with them, which holds what it uses now
```

A file is handed out as a hard link of its own (or a copy, where the file system has none), so nobody loses it when it
is thrown out. Whatever goes wrong with the folder, a file is only not there.
"""

import fcntl
import json
import logging
import os
import shutil
import sqlite3
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import asdict, dataclass
from hashlib import file_digest
from pathlib import Path
from tempfile import mkdtemp
from typing import Any
from uuid import uuid4
from weakref import finalize

import diskcache  # type: ignore[import-untyped]

from service.errors import ExportError
from service.label_studio.images import Validators

log = logging.getLogger(__name__)

BROKEN = (OSError, sqlite3.Error, diskcache.Timeout)
"""What a folder raises that is full, gone, damaged, not writable, or too busy."""
OURS_ONLY = 0o700
"""The pictures may be confidential."""


@dataclass(frozen=True, slots=True)
class Kept:
    """What is known of a file that is kept: the digest of its bytes, how many they are, and its host's validators."""

    sha256: str
    bytes: int
    validators: Validators


class FileCache:
    """Files by key in a folder, `max_bytes` of them at most; the one that was used longest ago goes first.

    Without a folder, or with one that can't be used, they are kept in a temporary one; raises `ExportError` when that
    can't be used either. `room` is a folder on the same disk, for files of this process alone: `close` removes it, or
    the end of the process, or the next one to come.
    """

    def __init__(self, folder: Path | None, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._is_told = False
        if folder is not None:
            try:
                self._open(folder, is_temporary=False)
                return
            except BROKEN as error:
                log.warning("images can't be kept in %s (%s): this run keeps them elsewhere", folder, _reason(error))
        try:
            self._open(Path(mkdtemp(prefix="negatives-")), is_temporary=True)
        except BROKEN as error:
            raise ExportError(
                f"there is no place for source images ({_reason(error)}): make room on the disk of temporary files, or "
                "set NEGATIVES_CACHE to a folder that has some"
            ) from error

    def _open(self, folder: Path, *, is_temporary: bool) -> None:
        held = -1
        try:
            for part in (folder, folder / "files", folder / "runs"):
                part.mkdir(mode=OURS_ONLY, parents=True, exist_ok=True)
            self.room, held = _claimed(folder / "runs")
            self._index = diskcache.Cache(
                folder / "files",
                disk=_LinkedFiles,
                size_limit=self._max_bytes,
                eviction_policy="least-recently-used",
                cull_limit=0,
            )
            self._index.close()
        except BROKEN:
            _release(self.room if held >= 0 else None, held, folder if is_temporary else None)
            raise
        self.close = finalize(self, _release, self.room, held, folder if is_temporary else None)

    def take(self, key: str, into: Path) -> Kept | None:
        """Put the file of this key at a new place; None when it isn't there, or not as it was kept."""
        try:
            with closing(self._index) as index:
                found, tag = index.get(key, tag=True)
            if found is None:
                return None
            kept = _read(str(tag))
            link(Path(found), into)
            with into.open("rb") as file:
                is_whole = file_digest(file, "sha256").hexdigest() == kept.sha256
        except (*BROKEN, ValueError, LookupError, TypeError):
            is_whole = False
        if not is_whole:
            into.unlink(missing_ok=True)
        return kept if is_whole else None

    def keep(self, key: str, file: Path, kept: Kept) -> None:
        """Keep a file, which must not be changed any more, in place of what this key had."""
        if kept.bytes > self._max_bytes:
            return
        try:
            with closing(self._index) as index:
                index.set(key, file, tag=json.dumps(asdict(kept)))
                index.cull()
        except BROKEN as error:
            if not self._is_told:
                log.warning("images can't be kept in %s (%s): going on without", self._index.directory, _reason(error))
            self._is_told = True


class _LinkedFiles(diskcache.Disk):  # type: ignore[misc]
    """Files are stored and found by their paths, without copying. Nothing is ever unpickled."""

    def store(self, value: Path, read: bool, key: object = None) -> tuple[int, int, str, None]:  # noqa: ARG002
        name, path = self.filename()
        Path(path).parent.mkdir(mode=OURS_ONLY, parents=True, exist_ok=True)
        link(value, Path(path))
        return value.stat().st_size, diskcache.core.MODE_BINARY, name, None

    def fetch(self, mode: int, filename: str, value: object, read: bool) -> str:  # noqa: ARG002
        if mode != diskcache.core.MODE_BINARY:
            raise OSError("not a file of ours")
        return str(Path(self._directory, filename))

    def get(self, key: Any, raw: bool) -> str:
        if not raw:
            raise OSError("not a key of ours")
        return str(key)


def link(file: Path, into: Path) -> None:
    """Let a file be at a second, new place; copied where the file system doesn't link. Raises `OSError`."""
    try:
        os.link(file, into)
    except (FileNotFoundError, FileExistsError):
        raise
    except OSError:
        try:
            shutil.copyfile(file, into)
        except BaseException:
            into.unlink(missing_ok=True)
            raise


def _read(tag: str) -> Kept:
    said: Mapping[str, Any] = json.loads(tag)
    return Kept(str(said["sha256"]), int(said["bytes"]), Validators(**said["validators"]))


def _claimed(runs: Path) -> tuple[Path, int]:
    """A new folder that is ours as long as the descriptor is open; those of processes that are gone are removed."""
    gate = os.open(runs, os.O_RDONLY)
    try:
        fcntl.flock(gate, fcntl.LOCK_EX)
        for left in runs.iterdir():
            if _is_left(left):
                shutil.rmtree(left, ignore_errors=True)
        own = runs / uuid4().hex
        own.mkdir(mode=OURS_ONLY)
        held = os.open(own, os.O_RDONLY)
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return own, held
    finally:
        os.close(gate)


def _is_left(run: Path) -> bool:
    try:
        probe = os.open(run, os.O_RDONLY)
    except FileNotFoundError:  # its process has just removed it
        return False
    try:
        fcntl.flock(probe, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(probe)
    return True


def _release(room: Path | None, held: int, temporary: Path | None) -> None:
    for folder in (room, temporary):
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)
    if held >= 0:
        with suppress(OSError):
            os.close(held)


def _reason(error: BaseException) -> str:
    return getattr(error, "strerror", None) or type(error).__name__
