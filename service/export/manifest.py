"""The manifest: one row for each negative that we added, as JSON Lines sorted by file. Pure.

It lies at the dataset's root, belongs under version control, and is all that is needed to add, take out and undo.
"""

import json
from collections.abc import Iterable
from dataclasses import fields
from datetime import datetime
from typing import Any

from service.domain.geometry import Box
from service.errors import ExportError
from service.export.model import Row, Source

MANIFEST = "negatives.jsonl"
COLUMNS = tuple(field.name for field in fields(Row))
OF_SOURCE = tuple(field.name for field in fields(Source))


def write_manifest(rows: Iterable[Row]) -> bytes:
    """The rows as they stand in the file: one line each, sorted by file."""
    return b"".join(_line(row) for row in sorted(rows, key=lambda row: row.file))


def read_manifest(content: bytes, where: str) -> tuple[Row, ...]:
    """The rows of a file; `where` names it. Of two rows for the same file, as merging may leave them, the last counts.

    Raises `ExportError` naming the line that can't be read: without it an export would take what is there for
    somebody else's.
    """
    rows: dict[str, Row] = {}
    for number, line in enumerate(content.splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = _row(json.loads(line))
            rows[row.file] = row
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ExportError(
                f"{where}, line {number}, can't be read ({type(error).__name__}): restore the file from your version "
                "control; after a merge, keep the lines of both sides, each once"
            ) from error
    return tuple(rows.values())


def _line(row: Row) -> bytes:
    document = _as_json(row)
    try:
        return json.dumps(document, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:  # a file's name that is no text
        return json.dumps(document).encode() + b"\n"


def _as_json(row: Row) -> dict[str, Any]:
    document: dict[str, Any] = {name: getattr(row, name) for name in COLUMNS}
    document["source"] = {name: getattr(row.source, name) for name in OF_SOURCE}
    for name in ("box", "cut", "roi"):
        document[name] = list(document[name].as_xywh())
    document["accepted_at"] = row.accepted_at.isoformat() if row.accepted_at else None
    document["exported_at"] = row.exported_at.isoformat()
    return document


def _row(document: dict[str, Any]) -> Row:
    values = dict(document)
    for name in ("box", "cut", "roi"):
        values[name] = Box.sized(*map(int, values[name]))
    width, height = values["size"]
    values["size"] = int(width), int(height)
    values["source"] = Source(**values["source"])
    values["reviewers"] = tuple(map(int, values["reviewers"]))
    values["annotations"] = tuple(map(int, values["annotations"]))
    values["accepted_at"] = datetime.fromisoformat(values["accepted_at"]) if values["accepted_at"] else None
    values["exported_at"] = datetime.fromisoformat(values["exported_at"])
    row = Row(**values)
    if not (isinstance(row.file, str) and row.file and isinstance(row.sha256, str)):
        raise ValueError(row.file)
    return row
