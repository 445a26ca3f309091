"""What lies in a YOLO or darknet repository, as its trainers find it: folders, lists, images, labels and caches.

Read in the source of Ultralytics (`data/utils.py`: `check_det_dataset`, `img2label_paths`; `data/base.py`:
`get_img_files`; `data/dataset.py`: `get_labels`) and of YOLOv5 (`utils/general.py`, `utils/dataloaders.py`). A split's
path is resolved, links followed, before images are looked for and before `images` is replaced by `labels`; links
beneath it are walked through, and stay in the path. Everything here only looks, and opens no image.
"""

import os
import posixpath
import subprocess
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from service.errors import ExportError
from service.export.folders import Folders, content_of, is_empty_label, is_image
from service.export.image_lists import ImageList, Reading, lines_of
from service.export.manifest import MANIFEST
from service.export.model import Dataset, Held, Index, Row, Split

GIT_SECONDS = 10
LabelRule = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Entry:
    """A folder of images, or a list of them, that makes a split: its path with links followed, and `shown`, the same
    as written under the root.
    """

    path: str
    shown: str
    is_list: bool


@dataclass(frozen=True, slots=True)
class Group:
    """The images that a trainer finds in one folder through one entry: `seen` is the folder as it has it, `folder` the
    same with links followed, `labels` where it looks for their labels.
    """

    entry: Entry
    seen: str
    folder: str
    labels: str
    names: tuple[str, ...]


def labels_for(path: str) -> str:
    """Where Ultralytics and YOLOv5 look for the labels of what lies in a folder: its path, which ends in a slash, with
    the last `/images/` replaced by `/labels/`; without one, the same.
    """
    head, found, tail = path.rpartition("/images/")
    return f"{head}/labels/{tail}" if found else path


def beside(path: str) -> str:
    """The rule by which labels lie beside their images."""
    return path


@dataclass(frozen=True, slots=True)
class Names:
    """How files are named in a `Dataset`: relative to the root where they lie in it, also where a link in the root
    leads to them, else absolute. `links` are pairs: where a link leads, and its own path in the root.
    """

    root: str
    links: tuple[tuple[str, str], ...] = ()

    def name(self, path: str) -> str:
        """The name of a path whose links were followed."""
        if within(path, self.root):
            return posixpath.relpath(path, self.root)
        for real, shown in self.links:
            if within(path, real) and within(shown, self.root):
                return posixpath.relpath(posixpath.join(shown, posixpath.relpath(path, real)), self.root)
        return path

    def path(self, name: str) -> str:
        """The path that a name stands for, links followed."""
        path = posixpath.normpath(posixpath.join(self.root, name))
        for real, shown in self.links:
            if within(path, shown):
                return posixpath.normpath(posixpath.join(real, posixpath.relpath(path, shown)))
        return path

    def folder(self, row: Row) -> str:
        """The folder of a row's image, links followed."""
        return posixpath.dirname(self.path(row.file))


def within(path: str, folder: str) -> bool:
    """Whether a path is a folder's or lies beneath it; both absolute."""
    return path == folder or path.startswith(posixpath.join(folder, ""))


def joined(root: str, entry: str) -> tuple[str, str]:
    """A path under a root: with links followed, and as it is written."""
    path = posixpath.join(root, entry)
    return os.path.realpath(path), posixpath.normpath(path)


@dataclass(frozen=True, slots=True)
class Repository:
    """The splits of a repository by name, `train` first, each the entries that make it, and how its trainer reads them.

    `reading` is how the relative lines of each list are read, `labels` where labels are looked for; `has_caches` tells
    whether the trainer keeps what it found in `*.cache` files.
    """

    root: str
    splits: Mapping[str, tuple[Entry, ...]]
    reading: Mapping[str, Reading]
    labels: LabelRule = labels_for
    has_caches: bool = True
    said: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    makes: Mapping[str, bytes] = field(default_factory=dict)
    id: str = ""


@dataclass(slots=True)
class _Survey:
    """A repository while it is looked at."""

    repository: Repository
    folders: Folders
    names: Names
    groups: dict[str, tuple[Group, ...]]
    warnings: list[str]


def survey(repository: Repository, folders: Folders) -> Dataset:
    """Look at all that the splits hold, and decide where new images of each go: to the folder that holds most of its
    images, but into none that another split reads as a whole.

    Raises `ExportError` for a split that can't be read or written to.
    """
    warnings = list(repository.warnings)
    groups = {
        name: tuple(group for entry in entries for group in _groups(repository, entry, folders, name, warnings))
        for name, entries in repository.splits.items()
    }
    names = Names(os.path.realpath(repository.root), _links(repository, folders))
    seen = _Survey(repository, folders, names, groups, warnings)
    targets = {name: target for name in groups if (target := _target(seen, name)) is not None}
    splits = tuple(_split(seen, name, target) for name, target in targets.items())
    _warn_of_overlaps(seen)
    if not repository.makes:
        warnings += _warn_of_backgrounds(splits)
    labels = {name: names.name(folders.real(target.labels)) for name, target in targets.items()}
    warnings += _ignored_by_git(names.root, splits, labels)
    return Dataset(
        root=Path(names.root),
        splits=splits,
        taken=_taken(seen, targets),
        said=(*repository.said, *(_said(split, labels[split.name]) for split in splits), *_said_of_links(seen)),
        warnings=tuple(dict.fromkeys(warnings)),
        makes=repository.makes,
        id=repository.id,
        sidecar=_empty_labels(seen, targets),
        indexes=_indexes(seen, targets),
        caches=partial(_caches, seen, targets) if repository.has_caches else _no_caches,
    )


def _empty_labels(seen: _Survey, targets: Mapping[str, Group]) -> Callable[[Row], tuple[str, bytes]]:
    """Files of no bytes, where trainers look for the labels of rows' images."""
    known: dict[tuple[str, str], str] = {}
    for split in {*seen.groups, *targets}:
        for group in (*seen.groups.get(split, ()), *([targets[split]] if split in targets else [])):
            known[split, group.folder] = group.labels  # the target's comes last, and counts
    named: dict[str, str] = {}

    def empty_label(row: Row) -> tuple[str, bytes]:
        folder = seen.names.folder(row)
        labels = known.get((row.split, folder))
        if labels is None:
            labels = posixpath.normpath(seen.repository.labels(posixpath.join(folder, "")))
        if labels not in named:
            named[labels] = seen.names.name(seen.folders.real(labels))
        return posixpath.join(named[labels], row.stem + ".txt"), b""

    return empty_label


def _no_caches(_splits: Collection[str]) -> tuple[str, ...]:
    return ()


# ---------------------------------------------------------------- what is there


def _groups(repository: Repository, entry: Entry, folders: Folders, split: str, warnings: list[str]) -> Iterator[Group]:
    if entry.is_list:
        yield from _listed(repository, entry, folders, split, warnings)
        return
    for folder in folders.beneath(entry.path):
        labels = repository.labels(posixpath.join(folder, ""))
        names = tuple(sorted(name for name in folders.files(folder) if is_image(name)))
        yield Group(entry, folder, folders.real(folder), posixpath.normpath(labels), names)


def _listed(repository: Repository, entry: Entry, folders: Folders, split: str, warnings: list[str]) -> Iterator[Group]:
    reading = repository.reading[entry.path]
    named: dict[str, list[str]] = {}
    there, missing = 0, list[str]()
    for prefix, names in by_prefix(lines_of(content_of(entry.path), entry.path)).items():
        files = folders.files(reading.folder(prefix))
        named[prefix] = [name for name in names if is_image(name) and name in files]
        missing += [prefix + name for name in names if not (is_image(name) and name in files)]
        there += len(named[prefix])
    if missing:
        backslashes = " (on Linux a path has slashes, no backslashes)" if "\\" in missing[0] else ""
        none_there = (
            f"{split}: none of the {len(missing)} images that {entry.path} lists is there, the first is "
            f"{missing[0]!r}{backslashes}: correct the list, or give --root the folder that its lines start from"
        )
        if not there and split == "train":
            raise ExportError(none_there)
        warnings.append(
            f"{split}: {len(missing)} of the {len(missing) + there} lines of {entry.path} name no image that is there, "
            f"the first is {missing[0]!r}{backslashes}: trainers leave those out or stop"
            if there
            else f"{none_there}; until then nothing goes to {split}"
        )
    for prefix, listed in named.items():
        if not listed:
            continue
        seen = reading.folder(prefix)
        labels = posixpath.join(reading.base, repository.labels(reading.path(prefix)))
        yield Group(entry, seen, folders.real(seen), posixpath.normpath(labels), tuple(sorted(set(listed))))


def by_prefix(lines: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    """The lines of a list, names by the folder that they are in as it is written."""
    names: dict[str, list[str]] = {}
    for prefix, name in lines:
        names.setdefault(prefix, []).append(name)
    return names


def reading_of(
    splits: Mapping[str, Sequence[Entry]], folders: Folders, starts: Sequence[str], *, dots: bool
) -> dict[str, Reading]:
    """How each list's relative lines are to be read: from where most of them lead to something. `starts` are where
    training may be started; `dots`: a leading `./` stands for the list's own folder.

    Raises `ExportError` where they would lead to other images from elsewhere.
    """
    readings = {}
    for path in dict.fromkeys(entry.path for entries in splits.values() for entry in entries if entry.is_list):
        dot = posixpath.dirname(path) if dots else None
        named = by_prefix(lines_of(content_of(path), path))
        found: dict[int, dict[str, Reading]] = {}
        for start in dict.fromkeys(map(os.path.realpath, starts)):
            reading = Reading(start, dot)
            there = {prefix: folders.files(reading.folder(prefix)) for prefix in named}
            count = sum(name in there[prefix] for prefix, names in named.items() for name in names)
            places = "\0".join(sorted(folders.real(reading.folder(prefix)) for prefix in named))
            found.setdefault(count, {}).setdefault(places, reading)
        best = list(found[max(found)].values())
        if len(best) > 1 and max(found) > 0:
            raise ExportError(
                f"the lines of {path} lead to images from {' and from '.join(one.base for one in best)}, and which are "
                "meant depends on where training is started: give the right one with --root"
            )
        readings[path] = best[0]
    return readings


def said_of_lists(readings: Mapping[str, Reading]) -> tuple[str, ...]:
    """From where lists' relative lines are read, if there are any."""
    return tuple(
        f"{path}: its lines start from {reading.base}, where training has to be started"
        for path, reading in readings.items()
        if any(reading.is_relative(prefix) for prefix in by_prefix(lines_of(content_of(path), path)))
    )


def _links(repository: Repository, folders: Folders) -> tuple[tuple[str, str], ...]:
    """Where the links in the splits' paths lead, for folders of images and for those of their labels."""
    links: dict[str, str] = {}
    for entries in repository.splits.values():
        for entry in entries:
            if entry.is_list or entry.path == entry.shown:
                continue
            links[entry.path] = entry.shown
            labels, shown = (
                posixpath.normpath(repository.labels(posixpath.join(path, ""))) for path in (entry.path, entry.shown)
            )
            if labels != shown and folders.real(shown) == labels:
                links[labels] = shown
    return tuple(links.items())


def _once(groups: Sequence[Group]) -> Iterator[tuple[Group, tuple[str, ...]]]:
    """Each image once, in the first group that has it."""
    known: dict[str, set[str]] = {}
    for group in groups:
        before = known.setdefault(group.folder, set())
        yield group, tuple(name for name in group.names if name not in before)
        before.update(group.names)


def _split(seen: _Survey, name: str, target: Group) -> Split:
    held = []
    for group, names in _once(seen.groups[name]):
        if not names:
            continue
        shown = seen.names.name(group.folder)
        sizes, labels = seen.folders.files(group.folder), seen.folders.files(group.labels)
        for image in names:
            label = image.rpartition(".")[0] + ".txt"
            is_negative = is_empty_label(posixpath.join(group.labels, label), labels.get(label, 0))
            held.append(Held(posixpath.normpath(posixpath.join(shown, image)), sizes[image], is_negative))
    held.sort(key=lambda one: one.file)
    return Split(name, seen.names.name(target.folder), tuple(held))


def _taken(seen: _Survey, targets: Mapping[str, Group]) -> frozenset[str]:
    """All stems in all folders of images and labels: also those of a label without image, and of `image.npy`, which
    Ultralytics would load in the place of a new image.
    """
    places = {group.folder for groups in seen.groups.values() for group in groups if group.names}
    places |= {group.labels for groups in seen.groups.values() for group in groups if group.names}
    places |= {place for target in targets.values() for place in (target.folder, target.labels)}
    return frozenset(
        (name.rpartition(".")[0] or name).casefold() for place in places for name in seen.folders.files(place)
    )


# ---------------------------------------------------------------- where new images go


def _target(seen: _Survey, name: str) -> Group | None:
    """Where new images of a split go; None for a split that has no place for any."""
    groups = seen.groups[name]
    if not groups:
        return None
    others = [entry.path for other, entries in _others(seen, name) for entry in entries if not entry.is_list]
    free = [group for group in groups if not any(within(group.folder, other) for other in others)] or list(groups)
    counts = Counter[str]()
    for group, names in _once(free):
        counts[group.folder] += len(names)
    folder = max(counts, key=lambda one: counts[one])
    here = [group for group in free if group.folder == folder]
    return max(here, key=lambda group: (not group.entry.is_list, len(group.names)))


def _others(seen: _Survey, name: str) -> Iterator[tuple[str, tuple[Entry, ...]]]:
    return ((other, entries) for other, entries in seen.repository.splits.items() if other != name)


def _warn_of_backgrounds(splits: Sequence[Split]) -> list[str]:
    return [
        f"{split.name} holds no image with labels: it can't be trained or validated with until there is one"
        for split in splits
        if all(one.is_negative for one in split.held)
    ]


def _warn_of_overlaps(seen: _Survey) -> None:
    """Images that two splits read, where a split isn't the same as another as a whole."""
    found = {
        name: {(group.folder, image) for group in groups for image in group.names}
        for name, groups in seen.groups.items()
    }
    names = list(found)
    for at, name in enumerate(names):
        for other in names[at + 1 :]:
            if both := len(found[name] & found[other]):
                seen.warnings.append(
                    f"{both} images are in {name} and in {other}: what is measured on {other} is not to be trusted"
                )


def _ignored_by_git(root: str, splits: Sequence[Split], labels: Mapping[str, str]) -> list[str]:
    """Warnings for what git would not keep. Nothing without git, or outside of a work tree."""
    if not any((above / ".git").exists() for above in (Path(root), *Path(root).parents)):
        return []
    asked = {MANIFEST: "the manifest"}
    for split in splits:
        asked[posixpath.join(split.images, "negative.png")] = f"images of {split.name} ({split.images})"
        asked[posixpath.join(labels[split.name], "negative.txt")] = f"labels of {split.name}"
    inside = {path: what for path, what in asked.items() if not path.startswith("/")}
    command = ["git", "-C", root, "-c", "core.fsmonitor=false", "check-ignore", "-z", "--stdin"]
    try:
        answer = subprocess.run(
            command,
            input="\0".join(inside).encode(errors="surrogateescape"),
            capture_output=True,
            timeout=GIT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return []
    ignored = [inside[path] for path in answer.stdout.decode(errors="surrogateescape").split("\0") if path in inside]
    if answer.returncode != 0 or not ignored:
        return []
    return [
        f"git ignores {', '.join(ignored)}: these won't be committed; where the images are kept otherwise (DVC, LFS, a "
        f"share) that is as it should be, but {MANIFEST} has to be kept with them"
    ]


# ---------------------------------------------------------------- what is said


def _said(split: Split, labels: str) -> str:
    where = "beside them" if labels == split.images else f"in {labels}"
    return f"{split.name}: {len(split.held)} images; new ones go to {split.images}, their labels {where}"


def _said_of_links(seen: _Survey) -> Iterator[str]:
    for entry in dict.fromkeys(entry for entries in seen.repository.splits.values() for entry in entries):
        shown = entry.shown
        if entry.path == shown:
            continue
        labels = posixpath.normpath(seen.repository.labels(posixpath.join(entry.path, "")))
        where = "" if entry.is_list else f", and labels in {labels}"
        yield f"{shown} is a link: trainers read {entry.path}{where}"
        apart = posixpath.normpath(labels_for(posixpath.join(shown, "")))
        if not entry.is_list and seen.folders.real(apart) != seen.folders.real(labels) and seen.folders.files(apart):
            seen.warnings.append(
                f"{shown} is a link to {entry.path}: the labels in {apart} are not read, trainers look for them in "
                f"{labels}"
            )


# ---------------------------------------------------------------- lists and caches


def _indexes(seen: _Survey, targets: Mapping[str, Group]) -> Callable[[Sequence[Row]], Sequence[Index]]:
    """The lists that rows belong in."""
    owners = {name: _owners(seen, name) for name in targets}

    def told_in(row: Row) -> str | None:
        return owners[row.split](seen.names.folder(row)) if row.split in owners else None

    paths = dict.fromkeys(entry.path for name in targets for entry in seen.repository.splits[name] if entry.is_list)
    lists = tuple(_list(seen, path, told_in) for path in paths)
    return lambda _rows: lists


def _owners(seen: _Survey, split: str) -> Callable[[str], str | None]:
    """Which list of a split tells of a folder's new images: the one that tells of most there, and the first one of
    a folder that none tells of; a list that is another split's too comes last. None does where the split reads the
    folder as a whole.
    """
    entries, groups = seen.repository.splits[split], seen.groups[split]
    whole = tuple(entry.path for entry in entries if not entry.is_list)
    covered = {group.folder for group in groups if not group.entry.is_list}
    elsewhere = {entry.path for _, others in _others(seen, split) for entry in others}
    lists = sorted((entry.path for entry in entries if entry.is_list), key=lambda path: path in elsewhere)
    counts = Counter[tuple[str, str]]()
    for group in groups:
        counts[group.folder, group.entry.path] += len(group.names)

    def owner(folder: str) -> str | None:
        if not lists or folder in covered or any(within(folder, one) for one in whole):
            return None
        return max(lists, key=lambda path: (counts[folder, path] > 0, path not in elsewhere, counts[folder, path]))

    return owner


def _list(seen: _Survey, path: str, told_in: Callable[[Row], str | None]) -> ImageList:
    reading = seen.repository.reading[path]
    prefixes = {prefix for prefix, _ in lines_of(content_of(path), path)}
    return ImageList(
        file=replace(seen.names, links=()).name(path),
        reading=reading,
        folders={prefix: seen.folders.real(reading.folder(prefix)) for prefix in prefixes},
        place=seen.names.folder,
        tells=lambda row: told_in(row) == path,
    )


def _caches(seen: _Survey, targets: Mapping[str, Group], splits: Collection[str]) -> Sequence[str]:
    """The cache that Ultralytics and YOLOv5 make beside the folder of the first image's label, by path; new images may
    be the first ones then; and the one that YOLOv5 makes of a list.
    """
    files = []
    for name in splits:
        if name not in targets:
            continue
        found = [group for group in seen.groups[name] if group.names]
        firsts = sorted((posixpath.join(group.seen, group.names[0]), group.labels) for group in found)
        folders = [labels for _, labels in firsts[:1]] + [targets[name].labels]
        lists = [entry.path for entry in seen.repository.splits[name] if entry.is_list]
        files += [
            str(candidate)
            for path in map(Path, dict.fromkeys([*folders, *lists]))
            for candidate in (path.with_suffix(".cache"), path.with_name(path.name + ".cache"))
        ]
    return tuple(seen.names.name(file) for file in dict.fromkeys(map(os.path.realpath, files)) if Path(file).is_file())
