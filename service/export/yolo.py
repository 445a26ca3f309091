"""Writing negatives: an image, a zero-byte label, and the source's metadata. Each file appears whole or not at all.

The order is that of a reader's interest: metadata first (it records the intent, so an interrupted run is finished by
the next one under the same names), then the label, then the image. Nothing that exists is overwritten, but our own
metadata.
"""

import fcntl
import io
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import uuid4

from PIL import Image

from service import __version__
from service.domain.geometry import Box, enclosing
from service.errors import ExportError
from service.export.plan import Negative, Origin, SourcePlan
from service.export.repository import METADATA_SUFFIX, Layout

JPEG_QUALITY = 95
PART = ".part"


@contextmanager
def sole_exporter(layout: Layout) -> Iterator[None]:
    """Keep other exports out of the same dataset, and clear what a killed one left half-written.

    The lock is on the dataset's own folder, so it holds for everybody who sees that folder, from containers too, and
    leaves no file. Raises `ExportError` when another export is running.
    """
    folder = layout.metadata
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = os.open(folder, os.O_RDONLY)
    except OSError as error:
        raise ExportError(f"{error.filename or folder} can't be opened ({error.strerror})") from error
    try:
        _lock(held, folder)
        for part in {layout.images, layout.labels, layout.metadata}:
            for left in part.glob(f".*_neg*{PART}"):
                left.unlink(missing_ok=True)
        yield
    finally:
        os.close(held)  # and with it the lock


def _lock(held: int, folder: Path) -> None:
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ExportError(f"another export into {folder} is running; wait for it and run this again") from error


def write_source(plan: SourcePlan, image: Image.Image, layout: Layout, *, object_name: str, at: datetime) -> int:
    """Write the new negatives of one source image (upright, 8 bits a channel). Returns how many.

    Raises `ExportError` when a file is in the way or the disk refuses; what was written until then is whole.
    """
    try:
        for folder in {layout.images, layout.labels, layout.metadata}:
            folder.mkdir(parents=True, exist_ok=True)
        pictures = {negative.number: _jpeg(image, negative) for negative in plan.new}
        path = _metadata_path(plan, layout)
        known = _known_records(path, layout)
        document = metadata(plan, known, pictures, image.size, object_name=object_name, at=at)
        write = replace_file if plan.has_metadata else _create
        write(path, _as_json(document))
        for negative in plan.new:
            stem = plan.file_stem(negative)
            label = layout.labels / f"{stem}.txt"
            if not (label.exists() and label.stat().st_size == 0):
                _create(label, b"")
            _create(layout.images / f"{stem}.jpg", pictures[negative.number])
    except OSError as error:
        raise ExportError(
            f"{error.filename or layout.images} can't be written ({error.strerror}); what is there is whole, "
            "run the export again when that is cured"
        ) from error
    return len(plan.new)


def forget_lost(plan: SourcePlan, layout: Layout, *, object_name: str, at: datetime) -> None:
    """Write the metadata of a source anew without the images that an interrupted run announced and nobody wants now.

    Raises `ExportError` when the disk refuses.
    """
    path = _metadata_path(plan, layout)
    known = _known_records(path, layout)
    try:
        if not known:
            path.unlink(missing_ok=True)
            return
        document = metadata(plan, known, {}, plan.task.size or (0, 0), object_name=object_name, at=at)
        replace_file(path, _as_json(document))
    except OSError as error:
        raise ExportError(f"{error.filename or path} can't be written ({error.strerror})") from error


def _metadata_path(plan: SourcePlan, layout: Layout) -> Path:
    return layout.metadata / f"{plan.stem}{METADATA_SUFFIX}"


def _as_json(document: Mapping[str, Any]) -> bytes:
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def metadata(
    plan: SourcePlan,
    known: Mapping[int, dict[str, Any]],
    pictures: Mapping[int, bytes],
    size: tuple[int, int],
    *,
    object_name: str,
    at: datetime,
) -> dict[str, Any]:
    """The metadata of one source image: the guide's six keys in the guide's order, then where everything comes from.

    Lengths are pixels of the upright source image. `known` holds the records of negatives that were exported before,
    by number: they stay, also when they are no longer accepted, because their files do.
    """
    records = dict(known)
    for negative in plan.new:
        records[negative.number] = _record(plan, negative, pictures[negative.number], at)
    ordered = [records[number] for number in sorted(records)]
    roi = enclosing(tuple(Box.sized(*record["roi"]) for record in ordered))
    return {
        "source_image": plan.source_name,
        "roi": list(roi.as_xywh()),
        "num_patches": len(ordered),
        "patches": [
            {
                "id": record["id"],
                **dict(zip(("x", "y", "width", "height"), record["box"], strict=True)),
            }
            for record in ordered
        ],
        "purpose": "negative_samples",
        "description": f"Background regions with no {object_name}",
        "provenance": {
            "tool": "label-studio-negatives",
            "version": __version__,
            **_origin(plan.origin),
            "image_size": list(size),
            "patches": ordered,
        },
    }


def _origin(origin: Origin) -> dict[str, Any]:
    if origin.task is None:
        return {"file": {"name": origin.image, "sha256": origin.sha256}}
    return {"label_studio": {"project": origin.project, "task": origin.task, "image": origin.image}}


def _record(plan: SourcePlan, negative: Negative, picture: bytes, at: datetime) -> dict[str, Any]:
    decision, patch = negative.decision, negative.decision.patch
    provenance = patch.provenance
    return {
        "id": negative.number,
        "file": f"{plan.file_stem(negative)}.jpg",
        "sha256": sha256(picture).hexdigest(),
        "region": patch.id,
        "box": list(patch.box.as_xywh()),
        "roi": list((provenance.roi if provenance else patch.box).as_xywh()),
        "accepted_by": list(decision.reviewers),
        "accepted_at": decision.at.isoformat() if decision.at else None,
        "annotations": list(decision.annotations),
        "seed": provenance.seed if provenance else None,
        "rules": asdict(provenance.rules) if provenance else None,
        "rules_from": dict(provenance.rules_from) if provenance else None,
        "version": provenance.version if provenance else None,
        "exported_at": at.isoformat(),
    }


def _known_records(path: Path, layout: Layout) -> dict[int, dict[str, Any]]:
    """The records of negatives whose images are there, in the folder of images or, from a plain export into the same
    place, beside the metadata; one that an interrupted run announced and lost is forgotten.
    """
    if not path.exists():
        return {}
    document = json.loads(path.read_text(encoding="utf-8"))
    records = document["provenance"]["patches"]
    return {int(record["id"]): record for record in records if _is_there(record["file"], layout)}


def _is_there(name: str, layout: Layout) -> bool:
    return (layout.images / name).exists() or (layout.metadata / name).exists()


def _jpeg(image: Image.Image, negative: Negative) -> bytes:
    box = negative.decision.patch.box
    out = io.BytesIO()
    crop = image.crop((box.left, box.top, box.right, box.bottom))
    crop.save(out, "JPEG", quality=JPEG_QUALITY, subsampling=0, icc_profile=image.info.get("icc_profile"))
    return out.getvalue()


def _create(path: Path, content: bytes) -> None:
    """A new file, whole or absent; never over one that is there."""
    temporary = _temporary(path, content)
    try:
        os.link(temporary, path)
    except FileExistsError as error:
        raise ExportError(f"{path} appeared while exporting; it was left alone, run the export again") from error
    except OSError:
        # A file system without hard links: nobody else of ours is here (sole_exporter), so look, then rename.
        if path.exists():
            raise ExportError(f"{path} appeared while exporting; it was left alone, run the export again") from None
        temporary.rename(path)
        return
    finally:
        temporary.unlink(missing_ok=True)


def replace_file(path: Path, content: bytes) -> None:
    """Our own metadata anew, whole: the old content or the new one, never a part."""
    temporary = _temporary(path, content)
    try:
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _temporary(path: Path, content: bytes) -> Path:
    """A dot-file beside the path, written through to the disk: readers of images don't see it."""
    temporary = path.with_name(f".{path.name}.{uuid4().hex[:8]}{PART}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    return temporary
