"""A plain folder `negative_samples`: each negative with an empty label beside it, and a JSON for each source image with
the keys that the guide to negative samples wants.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

from service.domain.geometry import Box, enclosing
from service.errors import ExportError
from service.export.folders import Folders, content_of, is_empty_label
from service.export.formats import Format, Request
from service.export.manifest import MANIFEST, read_manifest
from service.export.model import Dataset, Held, Row, Split

FOLDER = "negative_samples"
METADATA_SUFFIX = "_negative_metadata.json"
TOOL = "label-studio-negatives"


def _stem(row: Row) -> str:
    """The source image's name as it is in our file names: without extension, and fit for file systems."""
    return row.stem.rpartition("_neg_")[0] or PurePosixPath(row.source.name).stem


def _place(row: Row) -> tuple[str, str, str]:
    """Which source image: the name of its files, its own, and its bytes."""
    return _stem(row), row.source.name, row.source.sha256


def _is_ours(content: bytes) -> bool:
    """Whether metadata comes from an export by manifest; others, of the desktop tool for example, are left alone."""
    try:
        provenance = json.loads(content)["provenance"]
        return bool(provenance["tool"] == TOOL and provenance["manifest"] == MANIFEST)
    except (ValueError, KeyError, TypeError):
        return False


class _ByStem:
    """Rows by the source images' names. Those of one export are the same for all of its metadata, and sorted once."""

    def __init__(self) -> None:
        self._rows: Sequence[Row] = ()
        self._by_stem: dict[str, list[Row]] = {}

    def of(self, stem: str, rows: Sequence[Row]) -> list[Row]:
        """Those of these rows that have this stem."""
        if rows is not self._rows:
            self._rows, self._by_stem = rows, {}
            for row in rows:
                self._by_stem.setdefault(_stem(row), []).append(row)
        return self._by_stem.get(stem, [])


@dataclass(frozen=True, slots=True)
class _Metadata:
    """The metadata of one source image. Of several images of one stem, the first has the stem for its file's name, and
    the others have some of their digest added: `source` says for which of them this file is, None for the first.
    `is_taken`: somebody else's file has the name, so that all have the digest.
    """

    stem: str
    source: tuple[str, str, str] | None
    is_taken: bool
    words: str
    by_stem: _ByStem

    @property
    def file(self) -> str:
        """Beside the images."""
        if self.source is None:
            return self.stem + METADATA_SUFFIX
        _, name, digest = self.source
        return f"{self.stem}_{sha256(f'{name}:{digest}'.encode()).hexdigest()[:8]}{METADATA_SUFFIX}"

    def content(
        self,
        before: bytes | None,
        ours: Sequence[Row],  # noqa: ARG002 (the file is wholly ours, and made anew)
        rows: Sequence[Row],
        read: Callable[[Row], bytes],  # noqa: ARG002
    ) -> bytes | None:
        """All that the rows tell of the source image; no file without any."""
        if before is not None and not _is_ours(before):
            return before
        told = self.by_stem.of(self.stem, rows)
        first = None if self.is_taken else min(map(_place, told), default=None)
        if self.source is None:
            told = [row for row in told if _place(row) == first]
        else:
            told = [row for row in told if _place(row) == self.source != first]
        if not told:
            return None
        return (json.dumps(metadata(told, self.words), indent=2, ensure_ascii=False) + "\n").encode()


def metadata(rows: Sequence[Row], words: str) -> dict[str, Any]:
    """The metadata of one source image: the guide's six keys in the guide's order, then where the rest stands.

    Lengths are pixels of the upright source image; `words` say what there is none of. There must be at least one row.
    """
    roi = enclosing(tuple(_roi(row) for row in rows))
    return {
        "source_image": rows[0].source.name,
        "roi": list(roi.as_xywh()),
        "num_patches": len(rows),
        "patches": [{"id": number, **row.cut.as_mapping()} for number, row in enumerate(rows, 1)],
        "purpose": "negative_samples",
        "description": f"Background regions with no {words}",
        "provenance": {"tool": TOOL, "manifest": MANIFEST, "files": [row.name for row in rows]},
    }


def _roi(row: Row) -> Box:
    """The ROI in pixels of the source. Where people drew it on a smaller picture (the patch was cut elsewhere than they
    saw it), that is not known to the pixel: the patch alone is.
    """
    return row.roi if row.box.holds(row.cut) else row.cut


@dataclass(frozen=True, slots=True)
class _Indexes:
    """The metadata that these rows may change: of all source images with their stems, because one that comes or goes
    may change which of them is the first.
    """

    root: Path
    words: str

    def __call__(self, rows: Sequence[Row]) -> Sequence[_Metadata]:
        stems = {_stem(row) for row in rows}
        manifest = self.root / MANIFEST
        known = read_manifest(content_of(manifest), str(manifest)) if manifest.is_file() else ()
        sources: dict[str, set[tuple[str, str, str]]] = {stem: set() for stem in sorted(stems)}
        for row in (*known, *rows):
            if _stem(row) in sources:
                sources[_stem(row)].add(_place(row))
        indexes: list[_Metadata] = []
        by_stem = _ByStem()
        for stem, of_stem in sources.items():
            path = self.root / (stem + METADATA_SUFFIX)
            is_taken = path.is_file() and not _is_ours(content_of(path))
            if not is_taken:
                indexes.append(_Metadata(stem, None, is_taken, self.words, by_stem))
            if is_taken or len(of_stem) > 1:
                indexes += [_Metadata(stem, one, is_taken, self.words, by_stem) for one in sorted(of_stem)]
        return indexes


def _open(request: Request) -> Dataset:
    if request.into.exists() and not request.into.is_dir():
        raise ExportError(f"{request.into} is no folder, and no dataset of a known format")
    if not (request.new or request.into.absolute().parent.is_dir()):
        raise ExportError(f"{request.into.parent} isn't there: correct the path, or give --new to make all of it")
    root = request.into / FOLDER
    folders = Folders()
    sizes, images = folders.files(root), folders.images(root)

    def is_negative(name: str) -> bool:
        label = f"{PurePosixPath(name).stem}.txt"
        return is_empty_label(root / label, sizes.get(label, 0))

    held = tuple(Held(name, size, is_negative(name)) for name, size in images.items())
    labels = [name for name in sizes if name.endswith(".txt")]
    return Dataset(
        root=root,
        splits=(Split("train", ".", held),),
        taken=frozenset(PurePosixPath(name).stem.casefold() for name in (*images, *labels)),
        said=(f"a plain folder: images, empty labels, metadata and the manifest go to {root}",),
        sidecar=lambda row: (f"{row.stem}.txt", b""),
        indexes=_Indexes(root, " or ".join(request.classes) or "objects"),
    )


FORMAT = Format(
    name="plain",
    what=f"any folder: the negatives go into its {FOLDER}",
    claims=lambda _into: False,  # what nobody claims is this
    open=_open,
    guidance=(
        "A trainer finds these images once they are among its own: name the folder in a list of train in data.yaml, or "
        "copy images and empty labels together.",
        "Keep the empty .txt files: darknet, Datumaro and others leave out images without one.",
    ),
    new="",
)
