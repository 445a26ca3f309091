"""Where in a dataset negatives belong, and what is there already.

Ultralytics' rule (`data/utils.py`, `img2label_paths`): an image's label is its path with the last component named
exactly `images` replaced by `labels`, and the extension by `.txt`; without such a component the label lies beside the
image.
"""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from service.domain.geometry import Box
from service.errors import ExportError
from service.export.plan import Existing, ExportedSource, Origin, negative_stem

PLAIN_FOLDER = "negative_samples"
METADATA_SUFFIX = "_negative_metadata.json"
IMAGE_SUFFIXES = frozenset(
    (".bmp", ".dng", ".jpeg", ".jpg", ".mpo", ".png", ".tif", ".tiff", ".webp", ".pfm", ".heic", ".avif", ".jp2")
)


@dataclass(frozen=True, slots=True)
class Layout:
    """The three folders of an export; in the plain layout they are one."""

    images: Path
    labels: Path
    metadata: Path


def locate(into: Path) -> Layout:
    """The folders for `--into`: a directory, or the `data.yaml` of a YOLO repository (its train split).

    Raises `ExportError` saying what to change when the repository can't be understood; touches nothing.
    """
    if into.suffix.lower() in (".yaml", ".yml"):
        return _yolo_layout(into)
    if into.exists() and not into.is_dir():
        raise ExportError(f"{into} is neither a directory nor a data.yaml")
    folder = into / PLAIN_FOLDER
    return Layout(folder, folder, folder)


def _yolo_layout(data_yaml: Path) -> Layout:
    try:
        data = yaml.safe_load(data_yaml.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ExportError(
            f"{data_yaml} doesn't exist; give a directory to start a plain folder of negatives"
        ) from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ExportError(f"{data_yaml} can't be read as YAML: {error}") from error
    if not isinstance(data, dict):
        raise ExportError(f"{data_yaml} holds no settings: a data.yaml with train, val and names was expected")
    root = _root(data_yaml, data.get("path"))
    train = data.get("train")
    if not train:
        raise ExportError(f"{data_yaml} has no train split: add a line like train: images/train")
    entries = train if isinstance(train, list) else [train]
    folders = [entry for entry in entries if isinstance(entry, str) and not entry.endswith(".txt")]
    if not folders:
        raise ExportError(
            f"{data_yaml}: its train split names no image folder (a list file can't take new images by itself): "
            "add a folder to train, or export into a plain directory"
        )
    images = _split_folder(root, folders[0], data_yaml)
    return Layout(images, labels_for(images), root / PLAIN_FOLDER)


def _root(data_yaml: Path, path: object) -> Path:
    here = data_yaml.resolve().parent
    if path is None or path == "":
        return here
    root = here / str(path)
    if not root.is_dir():
        raise ExportError(f"{data_yaml}: its path {str(path)!r} is no directory ({root} doesn't exist)")
    return root.resolve()


def _split_folder(root: Path, entry: str, data_yaml: Path) -> Path:
    for candidate in (root / entry, root / entry.removeprefix("../")):
        if candidate.is_dir():
            return candidate.resolve()
    raise ExportError(f"{data_yaml}: its train folder {entry!r} doesn't exist under {root}")


def labels_for(images: Path) -> Path:
    """The folder of the labels that belong to a folder of images."""
    parts = list(images.parts)
    for at in range(len(parts) - 1, -1, -1):
        if parts[at] == "images":
            return Path(*parts[:at], "labels", *parts[at + 1 :])
    return images


def read_existing(layout: Layout) -> Existing:
    """Look at what the dataset holds in these folders.

    Raises `ExportError` for a metadata file of ours that can't be read: without it an export would write everything
    again.
    """
    try:
        images = {path.stem.casefold() for path in files(layout.images) if path.suffix.lower() in IMAGE_SUFFIXES}
        labels = {path.stem.casefold(): path for path in files(layout.labels) if path.suffix.lower() == ".txt"}
        noted = [path for path in files(layout.metadata) if path.name.endswith(METADATA_SUFFIX)]
    except OSError as error:
        raise ExportError(f"{error.filename} can't be read ({error.strerror}): may you read the dataset?") from error
    sources = [_read_source(path, images, labels) for path in noted]
    return Existing({source.stem.casefold(): source for source in sources}, frozenset(images | labels.keys()))


def files(folder: Path) -> list[Path]:
    """What lies in a folder, hidden files aside; nothing where there is no folder."""
    if not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return [Path(entry.path) for entry in entries if not entry.name.startswith(".")]


def _origin(provenance: Any) -> Origin:
    if "file" in provenance:
        return Origin(str(provenance["file"]["name"]), sha256=str(provenance["file"]["sha256"]))
    studio = provenance["label_studio"]
    return Origin(str(studio["image"]), int(studio["project"]), int(studio["task"]))


def _read_source(path: Path, images: set[str], labels: Mapping[str, Path]) -> ExportedSource:
    stem = path.name.removesuffix(METADATA_SUFFIX)
    try:
        document: Any = json.loads(path.read_text(encoding="utf-8"))
        provenance = document.get("provenance")
        if provenance is None:
            return ExportedSource(stem, owner=None)  # the desktop tool's: not ours to add to
        patches = {
            int(item["id"]): (str(item["region"]), Box.sized(*map(int, item["box"]))) for item in provenance["patches"]
        }
        names = {number: negative_stem(stem, number).casefold() for number in patches}
        return ExportedSource(
            stem=stem,
            owner=_origin(provenance),
            patches=patches,
            present=frozenset(number for number, name in names.items() if name in images),
            blocked=frozenset(
                number
                for number, name in names.items()
                if name not in images and name in labels and labels[name].stat().st_size
            ),
        )
    except (OSError, UnicodeDecodeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ExportError(
            f"{path} can't be read ({type(error).__name__}): restore it from your version control, or move it and its "
            "negatives away"
        ) from error
