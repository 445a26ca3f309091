"""What exports leave to be fetched, reports and ZIPs: a folder that writers and readers of them share."""

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from service.errors import ExportError

_OURS = re.compile(r"(export|zip)[-:]\d+[-:][0-9a-f-]+\.(json|zip)")
"""A result, by its name; the folder may hold what is somebody else's."""
_LEFT = re.compile(r"\.(export|zip)[-:]\d+[-:].+")
"""What a killed process left unfinished."""


class Results:
    """The folder, made when something is first put into it. Job ids become file names: give those that a queue made,
    never what somebody sent.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder.resolve()

    def report(self, job_id: str) -> Path | None:
        """An export's report, JSON, if it is there."""
        return self._there(f"{job_id}.json")

    def zip(self, job_id: str) -> Path | None:
        """An export's ZIP, if it is there."""
        return self._there(f"{job_id}.zip")

    def _there(self, name: str) -> Path | None:
        path = self._folder / name
        return path if path.is_file() else None

    def place_of_zip(self, job_id: str) -> Path:
        """Where an export's ZIP goes."""
        return self._folder / f"{job_id}.zip"

    def keep_report(self, job_id: str, report: Mapping[str, Any]) -> None:
        """Leave a report, whole or not at all. Raises `ExportError` when it can't be written."""
        part = self._folder / f".{job_id}.json.part"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with part.open("wb") as file:
                file.write(as_json(report))
                file.flush()
                os.fsync(file.fileno())
            part.replace(self._folder / f"{job_id}.json")
        except OSError as error:
            raise self._refused(error) from error

    @contextmanager
    def staging(self, job_id: str) -> Iterator[Path]:
        """A folder to make a ZIP's content in; it is gone afterwards, and what a killed process left of the same job is
        gone now. Raises `ExportError` when it can't be made.
        """
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            for left in self._folder.glob(f".{job_id}.*/"):
                shutil.rmtree(left, ignore_errors=True)
            staging = TemporaryDirectory(prefix=f".{job_id}.", dir=self._folder, ignore_cleanup_errors=True)
        except OSError as error:
            raise self._refused(error) from error
        with staging:
            yield Path(staging.name)

    def _refused(self, error: OSError) -> ExportError:
        return ExportError(
            f"{error.filename or self._folder} can't be written ({error.strerror}): NEGATIVES_EXPORTS names the folder "
            "for reports and ZIPs"
        )

    def sweep(self, before: datetime) -> int:
        """Remove results, and what killed processes left, that are older than this; how many. Nothing else is touched,
        and what can't be removed stays.
        """
        removed = 0
        for path in [*self._folder.iterdir()] if self._folder.is_dir() else []:
            if not (_OURS.fullmatch(path.name) or _LEFT.fullmatch(path.name)):
                continue
            try:
                if path.lstat().st_mtime >= before.timestamp():
                    continue
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                else:
                    path.unlink()
            except OSError:
                continue
            removed += 1
        return removed


def as_json(report: Mapping[str, Any]) -> bytes:
    """A report as it stands in a file. File names that are no UTF-8 lose the bytes that can't be told."""
    return json.dumps(report, indent=2, ensure_ascii=False).encode(errors="replace") + b"\n"
