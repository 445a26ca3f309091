"""Tiles as the templates show them."""

from collections.abc import Mapping
from dataclasses import dataclass

from flask import url_for

from service.domain.model import State, Task
from service.pictures import plan_cut, plan_whole
from service.review.gallery import (
    Background,
    Tile,
)
from service.review.survey import who_said_what
from service.web.crops import SIDES, version

SIGNS = {
    State.ACCEPTED: "✓",
    State.REJECTED: "✕",
    State.UNSURE: "?",
    State.PENDING: "○",
    State.STALE: "!",
}


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture on a page: its addresses, for plain and for fine screens, and its size in pixels."""

    address: str
    fine: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class PatchTile:
    """A tile as the template shows it; `name` is what a form calls it, `seen` stands for what the visitor looks at, and
    `mine` is what they say of it.
    """

    name: str
    seen: str
    tile: Tile
    picture: Picture
    sign: str
    mine: str
    reason: str
    title: str
    said: str
    warnings: tuple[str, ...]
    link: str


@dataclass(frozen=True, slots=True)
class ImageTile:
    """A whole image as the template shows it."""

    task: Task
    picture: Picture
    title: str
    link: str


def patch_tile(project_id: int, tile: Tile, person: int, people: Mapping[int, str], label_studio_url: str) -> PatchTile:
    """A patch as the person sees it."""
    said = who_said_what(tile.votes, people)
    vote = tile.vote_of(person)
    warnings = tuple(tile.warnings.values())
    parts = [
        f"{tile.state}" + (f": {said}" if said else ""),
        *((tile.note,) if tile.note and tile.state is not State.STALE else ()),
        f"{tile.patch.box.words} of {tile.source}",
        *((tile.background.words,) if tile.background is not Background.EMPTY else ()),
        *warnings,
    ]
    return PatchTile(
        f"{tile.task_id}:{tile.patch.id}",
        tile.sight(person),
        tile,
        _patch_picture(project_id, tile),
        SIGNS[tile.state],
        vote.verdict.value if vote else "",
        vote.reason if vote else "",
        "; ".join(parts),
        said,
        warnings,
        _in_label_studio(label_studio_url, project_id, tile.task_id),
    )


def _patch_picture(project_id: int, tile: Tile) -> Picture:
    width, height = plan_cut(tile.patch.box, tile.size, SIDES[0]).size
    return _addressed(
        project_id, tile.task_id, version(tile.task_id, tile.image, tile.patch.box), width, height, tile.patch.id
    )


def image_tile(project_id: int, task: Task, source: str, label_studio_url: str) -> ImageTile:
    """A whole image."""
    # Where nobody has drawn anything, the size isn't known before the picture comes; the tile keeps its place anyway.
    width, height = plan_whole(task.size, SIDES[0]) if task.size else (SIDES[0], SIDES[0] * 3 // 4)
    picture = _addressed(project_id, task.id, version(task.id, task.image_digest, None), width, height)
    size = f", {task.size[0]} × {task.size[1]} px" if task.size else ""
    return ImageTile(task, picture, f"{source}{size}", _in_label_studio(label_studio_url, project_id, task.id))


def _addressed(project_id: int, task_id: int, which: str, width: int, height: int, patch: str | None = None) -> Picture:
    small, large = (
        url_for("gallery.picture", project_id=project_id, task_id=task_id, longest=longest, patch=patch, v=which)
        for longest in SIDES
    )
    return Picture(small, large, width, height)


def _in_label_studio(url: str, project_id: int, task_id: int) -> str:
    return f"{url}/projects/{project_id}/data?task={task_id}"
