"""The formats that negatives are exported in: one file each, found by being here."""

import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path

from service.errors import UsageError
from service.export.model import Dataset
from service.export.share import DatasetShare

DESCRIPTIONS = (".yaml", ".yml", ".data")
"""What describes a dataset in the folder that it lies in."""


@dataclass(frozen=True, slots=True)
class Request:
    """What somebody wants to export into: a file or a folder, with the root if they gave one. `new`: make what is not
    there. `classes` are the names for a new dataset.
    """

    into: Path
    root: Path | None = None
    new: bool = False
    classes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Format:
    """One format. `what` says in a line what is given to `--into`; `claims` tells whether that looks like it; `open`
    understands the dataset, touches nothing, and raises `ExportError` saying what to change when it can't. `suffixes`
    are the image files that its readers read (in lower case, with the dot), None for all that we write. `guidance`
    says, a sentence each, what trainers need to keep the empty images. `new` is what `--into` names for a new dataset,
    within its folder (empty: the folder itself), None for a format of which there are no new ones.
    """

    name: str
    what: str
    claims: Callable[[Path], bool]
    open: Callable[[Request], Dataset]
    suffixes: frozenset[str] | None = None
    guidance: tuple[str, ...] = ()
    new: str | None = None


@cache
def formats() -> Mapping[str, Format]:
    """All formats by name: each module of this folder has one as `FORMAT`."""
    found = [import_module(f"{__name__}.{module.name}").FORMAT for module in pkgutil.iter_modules(__path__)]
    return {one.name: one for one in sorted(found, key=lambda one: str(one.name))}


def format_for(into: Path, name: str | None) -> Format:
    """The format of this name, or else the one that claims the place; a folder that none claims is `plain`.

    Raises `UsageError` for a name that there isn't, and a file that nothing claims.
    """
    known = formats()
    if name is not None:
        if name not in known:
            raise UsageError(f"there is no format {name!r}: {', '.join(known)}")
        return known[name]
    claiming = [one for one in known.values() if one.claims(into)]
    described = sorted(path.name for path in into.iterdir() if path.suffix in DESCRIPTIONS) if into.is_dir() else []
    if described and not claiming:
        raise UsageError(f"{into} holds {described[0]}: give that file to --into, or say --format plain")
    if not claiming and (into.is_dir() or not into.suffix):
        return known["plain"]
    if len(claiming) != 1:
        found = "several formats do" if claiming else "no format does"
        raise UsageError(f"{into}: say by --format what it is ({', '.join(known)}); by its looks {found}")
    return claiming[0]


def dataset_share(into: Path) -> DatasetShare:
    """How many of a dataset's training images are negatives. Raises `ExportError` when it can't be understood, and
    `UsageError` where nothing tells what it is.
    """
    train = format_for(into, None).open(Request(into)).splits[0]
    return DatasetShare(len(train.held), sum(held.is_negative for held in train.held))
