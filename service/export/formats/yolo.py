"""YOLO: a `data.yaml` as Ultralytics and YOLOv5 read it (`check_det_dataset`, `check_dataset`), which is never
rewritten, and a new one where there is none.
"""

import json
import os
import posixpath
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from service.errors import ExportError
from service.export.folders import Folders, is_image
from service.export.formats import Format, Request
from service.export.image_lists import lines_of
from service.export.manifest import MANIFEST
from service.export.model import Dataset
from service.export.yolo_repository import (
    Entry,
    Names,
    Repository,
    joined,
    reading_of,
    said_of_lists,
    survey,
    within,
)

SPLITS = ("train", "val", "test")
SPLIT_FOLDERS = ("train", "val", "valid", "validation", "test")
SUFFIXES = (".yaml", ".yml")
MADE_BY_US = "# Made by label-studio-negatives."
ELSEWHERE = re.compile(r"[a-z][a-z0-9+.-]+:/", re.IGNORECASE)
WINDOWS = re.compile(r"[a-z]:[\\/]", re.IGNORECASE)
LAYOUTS = (("images/train", "images/val"), ("train/images", "val/images"), ("train/images", "valid/images"))


@dataclass(frozen=True, slots=True)
class Described:
    """What a `data.yaml` says: the folder it is in, its `path`, and the entries of its splits as written. `lenient`:
    folders that aren't there yet are to be made.
    """

    file: Path
    folder: str
    path: str
    splits: Mapping[str, tuple[str, ...]]
    in_lists: frozenset[str]
    downloads: bool
    lenient: bool
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Root:
    """A folder that splits may be relative to, and the rule by which it is."""

    folder: str
    rule: str
    warning: str = ""


def open_yolo(request: Request) -> Dataset:
    """Understand the repository that a `data.yaml` describes, or a new one; see `Format.open`."""
    try:
        return _open(request)
    except OSError as error:
        raise ExportError(
            f"{error.filename or request.into} can't be read ({error.strerror}): may you read the dataset?"
        ) from error


def _open(request: Request) -> Dataset:
    folders = Folders()
    is_new = request.new and not request.into.exists()
    content = _new(request) if is_new else _read(request.into)
    described = _described(request, content)
    root = _root(request, described)
    splits, warnings = _splits(described, root.folder)
    home = root.folder if request.root is not None else _home(root.folder, splits)
    said = [f"root: {root.folder} ({root.rule})"]
    if home != root.folder:
        said.append(f"the manifest lies in {home}, where the images are")
    if is_new:
        folders_to_fill = " and ".join(entry.shown for entries in splits.values() for entry in entries)
        said.append(f"{request.into} is new; to train, put annotated images and their labels into {folders_to_fill}")
    starts = [root.folder] if request.root is not None else _starts(described, root.folder, splits)
    reading = reading_of(splits, folders, starts, dots=True)
    yaml_file = os.path.realpath(request.into)
    return survey(
        Repository(
            id=request.into.name,
            root=home,
            splits=splits,
            reading=reading,
            said=(*said, *said_of_lists(reading)),
            warnings=(*described.warnings, *filter(None, [root.warning]), *warnings),
            makes={Names(home).name(yaml_file): content} if is_new else {},
        ),
        folders,
    )


# ---------------------------------------------------------------- the file


def _new(request: Request) -> bytes:
    """A `data.yaml` for the images that are there already in one of the usual layouts, or to come."""
    if request.into.suffix.lower() not in SUFFIXES:
        raise ExportError(f"{request.into}: a new YOLO repository starts with a file like data.yaml")
    folder = Path(os.path.realpath(request.into)).parent
    at = request.root if request.root is not None else folder
    there = [tuple(part for part in layout if (at / part).is_dir()) for layout in LAYOUTS]
    train, val = LAYOUTS[max(range(len(LAYOUTS)), key=lambda number: len(there[number]))]
    values: dict[str, object] = {"train": train, "val": val}
    if os.path.realpath(at) != str(folder):
        values = {"path": os.path.realpath(at), **values}
    values["names"] = dict(enumerate(request.classes or ("object",)))
    body = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    return f"{MADE_BY_US} Yours to edit.\n{body}".encode()


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except FileNotFoundError as error:
        raise ExportError(f"{file} doesn't exist; give --new to start a YOLO repository there") from error
    except OSError as error:
        raise ExportError(f"{file} can't be read ({error.strerror})") from error


def _described(request: Request, content: bytes) -> Described:
    where = str(request.into)
    warnings: list[str] = []
    data = _parsed(where, content, warnings)
    path = data.get("path")
    if path is not None and not isinstance(path, str):
        raise ExportError(f"{where}: path must be text, not {path!r}: put it in quotes")
    if "val" not in data and "validation" in data:
        data["val"] = data["validation"]
    splits = {name: entries for name in SPLITS if (entries := _entries(where, name, data.get(name)))}
    if "train" not in splits:
        raise ExportError(f"{where} has no train split: add a line like train: images/train")
    if "val" not in data:
        warnings.append(f"{where} has no val split: Ultralytics and YOLOv5 refuse to train without one")
    warnings += _doubts_of_names(where, data.get("names"), data.get("nc"))
    return Described(
        file=request.into,
        folder=posixpath.dirname(os.path.abspath(request.into)),  # noqa: PTH100 (`..` as the trainers take it)
        path=path or "",
        splits=splits,
        in_lists=frozenset(name for name in splits if isinstance(data[name], list)),
        downloads=bool(data.get("download")),
        lenient=request.new or content.startswith(MADE_BY_US.encode()),
        warnings=tuple(warnings),
    )


def _parsed(where: str, content: bytes, warnings: list[str]) -> dict[str, Any]:
    if content.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise ExportError(f"{where} is UTF-16, which no trainer reads: save it as UTF-8")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("utf-8-sig", errors="ignore")
        warnings.append(f"{where} is not all UTF-8; trainers drop what isn't, so check the names: save it as UTF-8")
    try:
        data = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:
        raise ExportError(f"{where} can't be read as YAML: {error}") from error
    if not isinstance(data, dict):
        raise ExportError(f"{where} holds no settings: a data.yaml with train, val and names was expected")
    return {key: None if value == "None" else value for key, value in data.items()}


def _entries(where: str, name: str, value: object) -> tuple[str, ...]:
    """What a split is made of, as written."""
    entries = value if isinstance(value, list) else [] if value in (None, "") else [value]
    for entry in entries:
        if not isinstance(entry, str) or not entry or "\0" in entry:
            raise ExportError(f"{where}: {name} must be a path or a list of paths, not {entry!r}")
    return tuple(entries)


def _doubts_of_names(where: str, names: object, count: object) -> Iterator[str]:
    if names is None:
        if not isinstance(count, int):
            yield f"{where} has neither names nor a number of classes (nc): trainers refuse it"
        return
    if not isinstance(names, list | dict):
        yield f"{where}: names must be a list, or a mapping of numbers to names: trainers refuse it"
        return
    if isinstance(names, dict) and sorted(map(str, names)) != sorted(map(str, range(len(names)))):
        yield f"{where}: the numbers of names don't run from 0 to {len(names) - 1}: trainers refuse it"
    if isinstance(count, int) and count != len(names):
        yield f"{where}: nc is {count}, but there are {len(names)} names: trainers refuse it"
    if not names:
        yield f"{where} names no class: trainers refuse it"


# ---------------------------------------------------------------- the root


def _root(request: Request, described: Described) -> Root:
    """The first root under which all of the train split is there.

    Raises `ExportError` where there is none, or where another one would give another train split.
    """
    entries = described.splits["train"]
    _refuse_downloads(described, "train", entries)
    candidates = tuple(_candidates(request, described))
    found: dict[tuple[str, ...], Root] = {}
    for root in candidates:
        paths = tuple(_resolved(root.folder, entry, described, "train")[0] for entry in entries)
        if all(map(_exists, paths)):
            found.setdefault(paths, root)
    if len(found) > 1:
        several = "; ".join(f"{root.folder} ({root.rule})" for root in found.values())
        raise ExportError(
            f"{described.file}: its train split is there under more than one root, and which one is meant depends on "
            f"where training is started: {several}. Give the right one with --root"
        )
    if found:
        return next(iter(found.values()))
    if described.lenient and not any(map(_is_list, entries)):
        return candidates[-1]
    raise ExportError(_not_found(request, described, candidates))


def _candidates(request: Request, described: Described) -> Iterator[Root]:
    """Where the splits may be, in the order in which trainers look; the yaml's own folder for a relative `path` is no
    trainer's rule, but what happens when training is started there.
    """
    folder, path = described.folder, described.path
    if request.root is not None:
        yield Root(os.path.realpath(request.root), "--root")
        return
    if path and posixpath.isabs(path):
        yield Root(os.path.realpath(path), f"the absolute path in {described.file.name}")
        return
    checkouts = _checkout(folder)
    if not path:
        yield Root(os.path.realpath(folder), f"{described.file.name} is there and gives no path")
        for checkout in checkouts:
            yield Root(os.path.realpath(checkout), "the YOLOv5 checkout around the yaml, which gives no path")
        return
    places = [("the working directory, as Ultralytics reads it", os.getcwd(), "")]  # noqa: PTH109 (text is needed)
    places += [(f"{rule}, as Ultralytics reads it", place, "") for rule, place in _datasets_folders()]
    places += [("the YOLOv5 checkout around the yaml, as YOLOv5 reads it", checkout, "") for checkout in checkouts]
    only_there = (
        f"{described.file}: path {path!r} is found beside the yaml only; Ultralytics finds it when training is started "
        "in that folder, and from anywhere with an absolute path"
    )
    places.append(("the yaml's own folder", folder, only_there))
    for rule, place, warning in places:
        yield Root(os.path.realpath(posixpath.join(place, path)), f"path {path!r} from {rule}", warning)


def _checkout(folder: str) -> list[str]:
    """The YOLOv5 checkout that a folder is in, if it is in one."""
    above = (Path(folder), *Path(folder).parents)
    return [
        str(one)
        for one in above
        if (one / "train.py").is_file() and (one / "models").is_dir() and (one / "utils").is_dir()
    ][:1]


def _datasets_folders() -> Iterator[tuple[str, str]]:
    """Where Ultralytics keeps datasets: `datasets_dir` of its settings, or `datasets` where training is started."""
    settings = _settings_file()
    try:
        folder = json.loads(settings.read_text(encoding="utf-8"))["datasets_dir"]
    except (OSError, ValueError, KeyError, TypeError):
        folder = None
    if isinstance(folder, str) and folder:
        yield f"the datasets_dir of {settings}", folder
    else:
        yield "the folder datasets of the working directory", posixpath.join(os.getcwd(), "datasets")  # noqa: PTH109


def _settings_file() -> Path:
    """Ultralytics' rule (`get_user_config_dir`)."""
    if configured := os.environ.get("YOLO_CONFIG_DIR"):
        folder = Path(configured).expanduser()
    elif sys.platform == "darwin":
        folder = Path.home() / "Library" / "Application Support"
    elif sys.platform == "win32":
        folder = Path.home() / "AppData" / "Roaming"
    else:
        folder = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return folder / "Ultralytics" / "settings.json"


def _not_found(request: Request, described: Described, candidates: Sequence[Root]) -> str:
    """Why the train split isn't there, and what to do."""
    entries, where = described.splits["train"], described.file
    if any("\\" in one or WINDOWS.match(one) for one in (described.path, *entries)):
        return (
            f"{where} has paths of Windows ({', '.join(filter(None, (described.path, *entries)))}), which lead nowhere "
            "here: write them with slashes, relative to the yaml, or give --root"
        )
    looked = "; ".join(f"{root.folder} ({root.rule})" for root in candidates)

    def missing(root: str) -> list[str]:
        return [one for one in entries if not _exists(_resolved(root, one, described, "train")[0])]

    if described.downloads:
        advice = "It has a download: let the trainer fetch the dataset first"
    elif described.path.startswith("~"):
        advice = "Trainers don't take ~ for a home: write the path in full"
    elif request.root is None and not missing(described.folder):
        advice = f"It is there under --root {described.folder}"
    else:
        advice = "Correct the yaml, or give the dataset's folder with --root"
    first = min((missing(root.folder) for root in candidates), key=len)[0]
    return f"{where}: its train split {first!r} isn't there; looked under {looked}. {advice}"


def _exists(path: str) -> bool:
    return Path(path).exists()


# ---------------------------------------------------------------- the splits


def _resolved(root: str, entry: str, described: Described, split: str) -> tuple[str, str]:
    """An entry's path under a root, with links followed and as written; a `../` that leads nowhere is left out, as
    Roboflow's exports need it, unless it is one of several entries.
    """
    path, shown = joined(root, entry)
    if split not in described.in_lists and entry.startswith("../") and not _exists(path):
        return joined(root, entry[3:])
    return path, shown


def _is_list(entry: str) -> bool:
    return posixpath.splitext(entry)[1].lower() == ".txt"


def _refuse_downloads(described: Described, split: str, entries: Sequence[str]) -> None:
    for entry in entries:
        if ELSEWHERE.match(entry) and not WINDOWS.match(entry):
            what = "is on another machine, where nothing can be added"
        elif entry.lower().endswith(".ndjson"):
            what = "is an NDJSON file: export with --format ndjson"
        else:
            continue
        raise ExportError(
            f"{described.file}: {split} ({entry.split('?')[0]}) {what}; or download the dataset and give its own "
            "data.yaml"
        )


def _splits(described: Described, root: str) -> tuple[dict[str, tuple[Entry, ...]], list[str]]:
    """The splits that can take images, and what to say of the others."""
    splits: dict[str, tuple[Entry, ...]] = {}
    warnings: list[str] = []
    for name, entries in described.splits.items():
        try:
            _refuse_downloads(described, name, entries)
            splits[name] = tuple(_entry(described, root, name, entry) for entry in entries)
        except ExportError as error:
            if name == "train":
                raise
            warnings.append(f"{error}; until then nothing goes to {name}")
    for name in [name for name in splits if name != "train"]:
        twin = next(other for other in splits if set(splits[other]) == set(splits[name]))
        if twin != name:
            warnings.append(f"{described.file}: {name} is the same as {twin}; what goes to {twin} is in both")
            del splits[name]
    return splits, warnings


def _entry(described: Described, root: str, split: str, entry: str) -> Entry:
    path, shown = _resolved(root, entry, described, split)
    if Path(path).is_dir():
        return Entry(path, shown, is_list=False)
    if Path(path).is_file():
        if is_image(path):
            raise ExportError(f"{described.file}: {split} names a single image, {entry!r}: name its folder or a list")
        if not any(is_image(name) for _, name in lines_of(_read(Path(path)), path)):
            raise ExportError(
                f"{described.file}: the list of {split}, {entry!r}, names no image, so there is no folder to add to: "
                "let it name one"
            )
        return Entry(path, shown, is_list=True)
    if described.lenient and not _is_list(entry):
        return Entry(path, shown, is_list=False)
    raise ExportError(f"{described.file}: {split} ({entry!r}) isn't there under {root}, and trainers will stop at that")


def _home(root: str, splits: Mapping[str, tuple[Entry, ...]]) -> str:
    """Where the manifest goes: into the root, or where that holds none of the splits, into the one dataset that all of
    them are in.
    """
    entries = [entry for entries in splits.values() for entry in entries]
    if (Path(root) / MANIFEST).exists() or any(within(entry.shown, root) for entry in entries):
        return root
    datasets = set()
    for entry in entries:
        head, found, _ = posixpath.join(entry.path, "").rpartition("/images/")
        above = head if found else posixpath.dirname(entry.path)
        datasets.add(posixpath.dirname(above) if posixpath.basename(above) in SPLIT_FOLDERS else above)
    return datasets.pop() if len(datasets) == 1 and "" not in datasets else root


def _starts(described: Described, root: str, splits: Mapping[str, tuple[Entry, ...]]) -> list[str]:
    """Where training may be started, and a list's relative lines start from."""
    lists = [posixpath.dirname(entry.path) for entries in splits.values() for entry in entries if entry.is_list]
    return [os.getcwd(), root, described.folder, *_checkout(described.folder), *lists]  # noqa: PTH109


FORMAT = Format(
    name="yolo",
    what="the data.yaml of an Ultralytics or YOLOv5 repository",
    claims=lambda into: into.suffix.lower() in SUFFIXES,
    open=open_yolo,
    suffixes=frozenset((".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")),
    guidance=(
        "Ultralytics and YOLOv5 take an image with an empty label for background and need no setting for it; keep the "
        "zero-byte .txt files, other readers of the same repository lose images that have none.",
        "Ultralytics advises a share of 0 to 10 % of background images, the guide that this follows 10 to 20 %; a "
        "split of backgrounds only can't be trained or validated.",
        "With cache=ram or cache=disk start the training anew: a running one doesn't see what was added.",
    ),
    new="data.yaml",
)
