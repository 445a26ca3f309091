"""Carrying out a plan. Each file appears whole or not at all, and a run that was killed anywhere leaves a dataset that
trainers can read and that the next run finishes.

The order is that of the readers' interest. First the manifest announces every file, so that none is ever taken for
somebody else's; then come labels, images, and the files that name the images; then goes what is taken out; at last the
manifest says what is there. What must be known for that, and can't be in the manifest, lies in `.negatives/`, which
hides itself from git.
"""

import fcntl
import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from hashlib import file_digest, sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

from service.errors import ExportError
from service.export.manifest import MANIFEST, read_manifest, write_manifest
from service.export.model import Dataset, Index, Row
from service.export.plan import Condition, Files, Obstacle, Placement, Plan

PART = ".part"
OURS = re.compile(r"\.[0-9a-f]{12}\.part")
STATE_FOLDER = ".negatives"
STATE_FILE = "state.json"
IGNORE_FILE = ".gitignore"
EMPTY = sha256(b"").hexdigest()
"""The digest of a file that we made and others may have written into: it goes when nothing is left in it."""


@dataclass(frozen=True, slots=True)
class Look:
    """Up to when one project was looked at: the moment of the last change, the tasks that changed shortly before it
    with theirs, those that must be looked at again, those that had patches left out and why, and a digest of all that
    the decisions rest on beside the tasks.
    """

    until: datetime
    recent: Mapping[int, datetime]
    again: frozenset[int]
    left: Mapping[int, tuple[Obstacle, ...]]
    settings: str


@dataclass(frozen=True, slots=True)
class Memory:
    """What an export remembers beside the manifest: the looks by project, the folders and files that exports made
    (files with their digest), whether a run has begun to write and not ended, and the digest of the manifest that all
    this goes with. `is_known`: it was read, and not made up.
    """

    looks: Mapping[str, Look] = field(default_factory=dict)
    folders: tuple[str, ...] = ()
    files: Mapping[str, str] = field(default_factory=dict)
    is_writing: bool = False
    manifest: str = ""
    is_known: bool = True


class Disk:
    """What is done to a dataset's files. Each either happens or doesn't."""

    def create(self, path: Path, content: bytes | Path) -> None:
        """A new file, never over one that is there: raises `FileExistsError`."""
        temporary = self._temporary(path, content)
        try:
            os.link(temporary, path)
        except FileExistsError:
            raise
        except OSError:
            # A file system without hard links: nobody else of ours is here (`sole_exporter`), so look, then rename.
            if path.exists():
                raise FileExistsError(17, "File exists", str(path)) from None
            temporary.rename(path)
            return
        finally:
            temporary.unlink(missing_ok=True)

    def replace(self, path: Path, content: bytes) -> None:
        """A file's content anew; where the path is a link, that of the file that it leads to. Its mode stays."""
        path = path.resolve()
        temporary = self._temporary(path, content)
        try:
            if path.exists():
                shutil.copymode(path, temporary)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def remove(self, path: Path) -> None:
        """No file any more; none before is fine."""
        path.unlink(missing_ok=True)

    def make_folder(self, path: Path) -> None:
        """One folder more."""
        path.mkdir(exist_ok=True)

    def remove_folder(self, path: Path) -> None:
        """An empty folder less."""
        path.rmdir()

    def _temporary(self, path: Path, content: bytes | Path) -> Path:
        """A dot-file beside the path, written through to the disk: readers of images don't see it."""
        temporary = path.with_name(f".{uuid4().hex[:12]}{PART}")
        try:
            with temporary.open("wb") as file:
                if isinstance(content, bytes):
                    file.write(content)
                else:
                    with content.open("rb") as staged:
                        shutil.copyfileobj(staged, file)
                file.flush()
                if file.tell():
                    os.fsync(file.fileno())
        except OSError:
            temporary.unlink(missing_ok=True)
            raise
        return temporary


class Store:
    """One dataset's files: what is there by our own account, and the writing of plans.

    `root` is the dataset's; relative names are relative to it.
    """

    def __init__(self, root: Path, disk: Disk | None = None) -> None:
        self._root = root
        self._disk = disk or Disk()
        self._made: tuple[str, ...] = ()
        self._manifest: tuple[bytes, tuple[Row, ...]] = b"", ()

    def path(self, file: str) -> Path:
        """Where a file of the dataset is."""
        return Path(os.path.normpath(self._root / file))

    @contextmanager
    def sole_exporter(self, *, wait: bool) -> Iterator[None]:
        """Keep other exports out of the dataset.

        The lock is on the root itself, so it holds for everybody on this machine who sees that folder, from containers
        too, and leaves no file; in a network's file system it may hold for one machine only. Raises `ExportError` when
        another export is running, unless told to wait.
        """
        try:
            missing = [folder for folder in (self._root, *self._root.parents) if not folder.exists()]
            if self._is_just_made():
                missing = [self._root]
            self._root.mkdir(parents=True, exist_ok=True)
            held = os.open(self._root, os.O_RDONLY)
        except OSError as error:
            raise ExportError(f"{error.filename or self._root} can't be opened ({error.strerror})") from error
        self._made = tuple(os.path.relpath(folder, self._root) for folder in missing)
        try:
            try:
                fcntl.flock(held, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            except BlockingIOError as error:
                raise ExportError(
                    f"another export into {self._root} is running; run this again when it is done, or with --wait"
                ) from error
            except OSError as error:
                raise ExportError(f"{self._root} can't be kept for this export alone ({error.strerror})") from error
            yield
        finally:
            self._remove_empty(self._made)  # nothing came of it
            os.close(held)  # and with it the lock

    def _manifest_digest(self) -> str:
        return sha256(self._read(MANIFEST) or b"").hexdigest()

    def _is_just_made(self) -> bool:
        """Whether the root is what a run made that was killed before it could remember having made it."""
        state = self._root / STATE_FOLDER
        return state.is_dir() and not (state / STATE_FILE).exists() and [*self._root.iterdir()] == [state]

    def manifest(self) -> tuple[Row, ...]:
        """The rows of all negatives of ours. Raises `ExportError` when they can't be read."""
        path = self._root / MANIFEST
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise ExportError(f"{path} can't be read ({error.strerror})") from error
        if content != self._manifest[0]:
            self._manifest = content, read_manifest(content, str(path))
        return self._manifest[1]

    def memory(self) -> Memory:
        """What earlier exports remember. Where nothing can be read, all is looked at anew, as after a killed run; where
        the manifest is another one by now (a branch was changed), the looks say nothing of it.
        """
        try:
            memory = _memory(json.loads((self._root / STATE_FOLDER / STATE_FILE).read_bytes()))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return Memory(is_writing=True, is_known=False)
        return memory if memory.manifest == self._manifest_digest() else replace(memory, looks={})

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """A folder for what is cut, on the dataset's own disk; it is gone afterwards."""
        folder = self._root / STATE_FOLDER
        try:
            self._make_state_folder()
            for left in folder.glob("cut-*"):
                shutil.rmtree(left, ignore_errors=True)
            staging = TemporaryDirectory(prefix="cut-", dir=folder, ignore_cleanup_errors=True)
        except OSError as error:
            raise ExportError(f"{error.filename or folder} can't be written ({error.strerror})") from error
        with staging:
            yield Path(staging.name)

    def digest(self, file: str) -> str:
        """The SHA-256 of a file."""
        try:
            with self.path(file).open("rb") as opened:
                return file_digest(opened, "sha256").hexdigest()
        except OSError as error:
            raise ExportError(f"{self.path(file)} can't be read ({error.strerror})") from error

    def is_there(self, row: Row) -> bool:
        """Whether a row's image is."""
        return self.path(row.file).is_file()

    def condition(self, dataset: Dataset, row: Row) -> Condition:
        """How a row's files are found."""
        sidecar = dataset.sidecar(row)
        if sidecar is not None and not self._tells(*sidecar):
            return Condition.CHANGED
        if not self.is_there(row):
            return Condition.MISSING
        return Condition.AS_WRITTEN if self.digest(row.file) == row.sha256 else Condition.CHANGED

    def _tells(self, file: str, content: bytes) -> bool:
        """Whether a file is as we wrote it, or isn't there."""
        path = self.path(file)
        return not path.exists() or (path.is_file() and self._read(file) == content)

    def is_bare(self, dataset: Dataset, row: Row) -> bool:
        """Whether the file that should tell of a row is missing."""
        sidecar = dataset.sidecar(row)
        return sidecar is not None and not self.path(sidecar[0]).exists()

    def files(self, dataset: Dataset) -> Files:
        """How the dataset's files are found, for planning."""
        return Files(self.digest, partial(self.condition, dataset), partial(self.is_bare, dataset))

    def write(
        self,
        plan: Plan,
        dataset: Dataset,
        manifest: Sequence[Row],
        memory: Memory,
        progress: Callable[[int, int], None],
        *,
        check_all: bool = False,
    ) -> Memory:
        """Carry out a plan; `manifest` and `memory` are what was there before. Returns what to remember.

        `check_all` looks at every file that tells of negatives, not only at those of what changed.

        Nothing is touched where there is nothing to do. Raises `ExportError` when a file is in the way or the disk
        refuses: what is there is whole, and the next run goes on from there.
        """
        is_told = plan.rows == tuple(sorted(manifest, key=lambda row: row.file))
        if is_told and not (
            plan.write or plan.remove or plan.changed or dataset.makes or memory.is_writing or check_all
        ):
            return memory
        by_file = {row.file: row for row in (*manifest, *plan.rows)}
        ours = [row for row in (*manifest, *plan.changed, *plan.rows) if row.file not in plan.theirs]
        rows = [row for row in plan.rows if row.file not in plan.absent]
        looked_at = ours if memory.is_writing or check_all else plan.changed
        touched = {row.split for row in (ours if memory.is_writing and memory.is_known else plan.changed)}
        indexes = dataset.indexes(looked_at)
        try:
            self._check_rights(plan, dataset, indexes)
            if memory.is_writing:
                self._clear(dataset, ours)
            memory = self._begin(plan, dataset, indexes, memory)
            self._write_manifest(by_file.values())
            for file in dataset.caches(touched):
                self._disk.remove(self.path(file))
            for done, placement in enumerate(plan.write, 1):
                self._place(placement, dataset)
                progress(done, len(plan.write))
            for index in indexes:
                self._write_index(index, ours, rows, memory)
            self._take_out(plan, dataset)
            self._write_manifest(plan.rows)
            self._remove_empty(memory.folders)
        except OSError as error:
            where = error.filename2 or error.filename or self._root
            if isinstance(error, FileExistsError):
                text = f"{where} appeared while exporting and was left alone; run the export again"
            else:
                text = f"{where} can't be written ({error.strerror}); what is there is whole, run the export again then"
            raise ExportError(text) from error
        return replace(
            memory,
            folders=tuple(folder for folder in memory.folders if self.path(folder).is_dir()),
            files={file: digest for file, digest in memory.files.items() if self.path(file).is_file()},
            is_writing=False,
        )

    def remember(self, memory: Memory) -> None:
        """Write down what to remember, if that is anything new. Raises `ExportError` when the disk refuses."""
        memory = replace(memory, manifest=self._manifest_digest())
        content = json.dumps(_as_json(memory), indent=1, sort_keys=True).encode() + b"\n"
        file = f"{STATE_FOLDER}/{STATE_FILE}"
        try:
            if self._read(file) != content:
                self._make_state_folder()
                self._disk.replace(self.path(file), content)
        except OSError as error:
            raise ExportError(f"{error.filename or self.path(file)} can't be written ({error.strerror})") from error

    def forget(self, memory: Memory, *, is_used: bool) -> None:
        """After an undo: take away what exports made beside the negatives, and what they remember. What somebody
        changed since stays, and all of it if the dataset `is_used`: there are images of others. Raises `ExportError`
        when the disk refuses.
        """
        try:
            for file, digest in memory.files.items():
                if not is_used and self.path(file).is_file() and self.digest(file) == digest:
                    self._disk.remove(self.path(file))
            self._remove_empty(memory.folders)
            for name in (STATE_FILE, IGNORE_FILE):
                self._disk.remove(self._root / STATE_FOLDER / name)
            self._remove_empty((STATE_FOLDER, *memory.folders))  # the root, too, if it was made
        except OSError as error:
            raise ExportError(f"{error.filename or self._root} can't be removed ({error.strerror})") from error

    def _check_rights(self, plan: Plan, dataset: Dataset, indexes: Sequence[Index]) -> None:
        """Raises `ExportError` unless all that will be written may be: before anything is."""
        told_in = [self.path(index.file) for index in indexes]
        for path in told_in:
            if path.exists() and not path.stat().st_mode & 0o222:
                leads = f", which leads to {path.resolve()}," if path.is_symlink() else ""
                raise ExportError(
                    f"{path}{leads} is read-only, as a version control for data (DVC, git-annex) leaves files that it "
                    "shares: unprotect or unlock it first"
                )
        made = [self.path(file) for file in self._files_of(plan, dataset)]
        for folder in {path.resolve().parent for path in (*told_in, *made)}:
            there = next(one for one in (folder, *folder.parents) if one.exists())
            effective = os.access in os.supports_effective_ids
            if not os.access(there, os.W_OK | os.X_OK, effective_ids=effective):
                raise ExportError(f"{there} can't be written into: ask for the right to, or export as its owner")

    @staticmethod
    def _files_of(plan: Plan, dataset: Dataset) -> list[str]:
        """What will be made: images, what tells of them, and the files of a new dataset."""
        sidecars = [sidecar[0] for one in plan.write if (sidecar := dataset.sidecar(one.row)) is not None]
        return [*dataset.makes, *sidecars, *(one.row.file for one in plan.write)]

    def _begin(self, plan: Plan, dataset: Dataset, told_in: Sequence[Index], memory: Memory) -> Memory:
        """Say that writing has begun and what will be made, then make folders and the files of a new dataset."""
        indexes = [index.file for index in told_in]
        files = [*self._files_of(plan, dataset), *indexes]
        folders = {folder for file in files for folder in self.path(file).parents}
        missing = sorted(folder for folder in folders if not folder.exists())
        made = dict(memory.files)
        made |= {file: sha256(content).hexdigest() for file, content in dataset.makes.items()}
        made |= {file: EMPTY for file in indexes if file not in made and not self.path(file).exists()}
        names = (*memory.folders, *self._made, *(os.path.relpath(folder, self._root) for folder in missing))
        memory = replace(memory, folders=tuple(dict.fromkeys(names)), files=made, is_writing=True)
        self.remember(memory)
        for folder in missing:
            self._disk.make_folder(folder)
        for file, content in dataset.makes.items():
            if not self.path(file).exists():
                self._disk.create(self.path(file), content)
        return memory

    def _place(self, placement: Placement, dataset: Dataset) -> None:
        """Write what tells of a negative, then its image: what is there already is as it should be."""
        row = placement.row
        sidecar = dataset.sidecar(row)
        if sidecar is not None and self._read(sidecar[0]) != sidecar[1]:
            self._disk.create(self.path(sidecar[0]), sidecar[1])
        source = self.path(placement.moved_from.file) if placement.moved_from else placement.staged
        if source is not None and not (self.is_there(row) and self.digest(row.file) == row.sha256):
            self._disk.create(self.path(row.file), Path(source))

    def _write_index(self, index: Index, ours: Sequence[Row], rows: Sequence[Row], memory: Memory) -> None:
        before = self._read(index.file)
        content = index.content(before, ours, rows, lambda row: self.path(row.file).read_bytes())
        path = self.path(index.file)
        if content is None or (not content.strip() and memory.files.get(index.file) == EMPTY):
            self._disk.remove(path)
        elif content != before:
            self._disk.replace(path, content)

    def _take_out(self, plan: Plan, dataset: Dataset) -> None:
        """Images first, then what tells of them, unless that tells of one that stays."""
        if not plan.remove:
            return
        kept = {row.file for row in plan.rows}
        told = {sidecar[0] for row in plan.rows if (sidecar := dataset.sidecar(row)) is not None}
        for row in plan.remove:
            if row.file not in kept:
                self._disk.remove(self.path(row.file))
            if (sidecar := dataset.sidecar(row)) is not None and sidecar[0] not in told:
                self._disk.remove(self.path(sidecar[0]))

    def _clear(self, dataset: Dataset, rows: Sequence[Row]) -> None:
        """Remove what a killed run left half-written."""
        sidecars = [sidecar[0] for row in rows if (sidecar := dataset.sidecar(row)) is not None]
        indexes = [index.file for index in dataset.indexes(rows)]
        files = [MANIFEST, f"{STATE_FOLDER}/{STATE_FILE}", *indexes, *sidecars, *(row.file for row in rows)]
        for folder in {self.path(file).resolve().parent for file in files}:
            for left in folder.iterdir() if folder.is_dir() else ():
                if OURS.fullmatch(left.name) and left.is_file():
                    left.unlink()

    def _write_manifest(self, rows: Iterable[Row]) -> None:
        content = write_manifest(rows)
        if not content:
            self._disk.remove(self._root / MANIFEST)
        elif self._read(MANIFEST) != content:
            self._disk.replace(self._root / MANIFEST, content)

    def _make_state_folder(self) -> None:
        folder = self._root / STATE_FOLDER
        self._disk.make_folder(folder)
        if not (folder / IGNORE_FILE).exists():
            self._disk.replace(folder / IGNORE_FILE, b"*\n")

    def _remove_empty(self, folders: Iterable[str]) -> None:
        for folder in sorted({self.path(name) for name in folders}, key=lambda path: len(path.parts), reverse=True):
            if folder.is_dir() and not any(folder.iterdir()):
                self._disk.remove_folder(folder)

    def _read(self, file: str) -> bytes | None:
        try:
            return self.path(file).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise ExportError(f"{self.path(file)} can't be read ({error.strerror})") from error


def _as_json(memory: Memory) -> dict[str, Any]:
    looks = {
        project: {
            "until": look.until.isoformat(),
            "recent": {str(task): moment.isoformat() for task, moment in look.recent.items()},
            "again": sorted(look.again),
            "left": {str(task): [list(one) for one in obstacles] for task, obstacles in look.left.items()},
            "settings": look.settings,
        }
        for project, look in memory.looks.items()
    }
    return {
        "looks": looks,
        "folders": list(memory.folders),
        "files": dict(memory.files),
        "is_writing": memory.is_writing,
        "manifest": memory.manifest,
    }


def _memory(document: Mapping[str, Any]) -> Memory:
    looks = {
        str(project): Look(
            until=datetime.fromisoformat(look["until"]),
            recent={int(task): datetime.fromisoformat(moment) for task, moment in look["recent"].items()},
            again=frozenset(map(int, look["again"])),
            left={
                int(task): tuple(Obstacle(str(split), str(file)) for split, file in obstacles)
                for task, obstacles in look["left"].items()
            },
            settings=str(look["settings"]),
        )
        for project, look in document["looks"].items()
    }
    files = {str(file): str(digest) for file, digest in document["files"].items()}
    return Memory(
        looks, tuple(map(str, document["folders"])), files, bool(document["is_writing"]), str(document["manifest"])
    )
