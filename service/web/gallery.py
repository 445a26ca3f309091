"""The gallery: patches as pictures, a page at a time, and what people say of them; and images that may be empty."""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol
from urllib.parse import urlencode

from cachetools import LRUCache
from flask import Blueprint, Response, flash, jsonify, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from service.domain.model import Agreement, Task, Word
from service.errors import LabelStudioError, NegativesError, NotFound, UsageError
from service.label_studio.labeling import REASONS
from service.review.gallery import (
    PAGE_SIZES,
    TO_DO,
    Tile,
    may_be_empty,
    paged,
    shown,
    tiles_of,
)
from service.web.access import Access, PersonalClient, Visitor
from service.web.crops import SIDES, Crops, placeholder, version
from service.web.directory import Directory
from service.web.looks import asked, number_asked, selects, size_asked, states
from service.web.said import Words, sent, tasks_of_form, tasks_of_json, words_of_form, words_of_json
from service.web.shown import SIGNS, image_tile, patch_tile
from service.web.snapshot import Snapshots

MAX_BODY = 512 * 1024
"""Bytes of a request with verdicts: two thousand of them are a quarter of that."""
MOST_FAILURES = 10
"""So many are told one by one after a form was sent."""
FOREVER = "private, max-age=31536000, immutable"


class Told(Protocol):
    """A task, and what a person should know of it."""

    @property
    def task_id(self) -> int:
        """Its id."""

    @property
    def text(self) -> str:
        """The sentence."""


class Given(Protocol):
    """What became of verdicts."""

    @property
    def written(self) -> int:
        """How many are in Label Studio now."""

    @property
    def failures(self) -> Sequence[Told]:
        """For which tasks it failed, and why."""


class GiveVerdicts(Protocol):
    """Writes what a person says of patches: by task id, then by patch id."""

    def __call__(
        self, project_id: int, words: Mapping[int, Mapping[str, Word]], *, person: int, reviewer: PersonalClient
    ) -> Given:
        """Write them as the person who is signed in as `reviewer`."""


class EmptyImages(Protocol):
    """Writes that there is nothing in these whole images."""

    def __call__(self, project_id: int, task_ids: Sequence[int], *, person: int, reviewer: PersonalClient) -> Given:
        """Write it as the person who is signed in as `reviewer`."""


@dataclass(frozen=True, slots=True)
class Project:
    """A project as a page's head names it."""

    id: int
    title: str


class Tiles:
    """The tiles of projects, worked out once for each task as it was read. Safe to share between threads."""

    def __init__(self, agreement: Agreement, margin: int, source_name: Callable[[str], str]) -> None:
        self._agreement = agreement
        self._margin = margin
        self._source_name = source_name
        self._lock = threading.Lock()
        self._kept: LRUCache[int, dict[int, tuple[Task, tuple[Tile, ...]]]] = LRUCache(256)

    def of(self, project_id: int, tasks: Iterable[Task]) -> list[Tile]:
        """The tiles of all these, the project's tasks, in order."""
        with self._lock:
            before = self._kept.get(project_id, {})
        now: dict[int, tuple[Task, tuple[Tile, ...]]] = {}
        for task in tasks:
            known = before.get(task.id)
            now[task.id] = known if known is not None and known[0] is task else (task, self.of_task(task))
        with self._lock:
            self._kept[project_id] = now
        return [tile for _, tiles in now.values() for tile in tiles]

    def of_task(self, task: Task) -> tuple[Tile, ...]:
        """The tiles of one task."""
        with self._lock:
            known = self._kept.get(task.project_id, {}).get(task.id)
        if known is not None and known[0] is task:
            return known[1]
        return tiles_of(task, self._agreement, self._margin, self._source_name(task.image))

    def source(self, task: Task) -> str:
        """The name of a task's image, for people."""
        return self._source_name(task.image)


def gallery_blueprint(
    access: Access,
    snapshots: Snapshots,
    crops: Crops,
    *,
    directory: Directory,
    give: GiveVerdicts,
    empty: EmptyImages,
    agreement: Agreement,
    margin: int,
    source_name: Callable[[str], str],
    label_studio_url: str,
) -> Blueprint:
    """The pages `gallery` and `images` of a project, and their pictures.

    `give` and `empty` write for whoever is signed in. `source_name` says what to call the image that a task names;
    `label_studio_url` is where people's browsers find Label Studio.
    """
    tiles = Tiles(agreement, margin, source_name)
    pages = _Pages(access, snapshots, tiles, directory, label_studio_url, give, empty, agreement.min_approvals)
    blueprint = Blueprint("gallery", __name__)
    blueprint.before_request(_limit)
    project = "/projects/<int:project_id>"
    blueprint.add_url_rule(f"{project}/gallery", "gallery", pages.gallery)
    blueprint.add_url_rule(f"{project}/gallery", "say", pages.say, methods=["POST"])
    blueprint.add_url_rule(f"{project}/images", "images", pages.images)
    blueprint.add_url_rule(f"{project}/images", "say_empty", pages.say_empty, methods=["POST"])

    @blueprint.get(f"{project}/pictures/<int:task_id>/<int:longest>.jpg")
    def picture(project_id: int, task_id: int, longest: int) -> Response:
        pages.admitted(project_id)
        return _picture_of(snapshots.task(project_id, task_id), longest, tiles, crops)

    return blueprint


def _limit() -> None:
    """Before anything reads what was sent."""
    request.max_content_length = MAX_BODY


@dataclass(frozen=True, slots=True)
class _Pages:
    """The pages' routes, and what they need."""

    access: Access
    snapshots: Snapshots
    tiles: Tiles
    directory: Directory
    label_studio_url: str
    give: GiveVerdicts
    empty: EmptyImages
    min_approvals: int

    def admitted(self, project_id: int) -> Visitor:
        """Who is asking, where they may see the project."""
        visitor = self.access.visitor()
        self.access.check(visitor, project_id)
        return visitor

    def _people(self) -> Mapping[int, str]:
        """Names by Label Studio's ids; none while Label Studio doesn't tell them."""
        try:
            return self.directory.people()
        except LabelStudioError:
            return {}

    def _head(self, project_id: int) -> Project:
        return Project(project_id, self.directory.title(project_id))

    def gallery(self, project_id: int) -> ResponseReturnValue:
        visitor = self.admitted(project_id)
        look, person, people = asked(request.args), visitor.person.id, self._people()
        everything = self.tiles.of(project_id, self.snapshots.tasks(project_id))
        kept, counts = shown(everything, look.wanted, person)
        page = paged(kept, look.number, look.size)
        return render_template(
            "gallery.html",
            visitor=visitor,
            project=self._head(project_id),
            page=page,
            tiles=[patch_tile(project_id, tile, person, people, self.label_studio_url) for tile in page.items],
            look=look,
            states=states(project_id, look, everything, person),
            selects=selects(look.wanted, counts, people, person),
            address=replace(look, number=page.number).address(project_id),
            before=replace(look, number=page.number - 1).address(project_id) if page.number > 1 else "",
            after=replace(look, number=page.number + 1).address(project_id) if page.number < page.of else "",
            of_all_tasks=replace(look, wanted=replace(look.wanted, task=None), number=1).address(project_id),
            is_to_do=look.wanted == TO_DO,
            min_approvals=self.min_approvals,
            reasons=REASONS,
            signs=SIGNS,
            sizes=PAGE_SIZES,
        )

    def say(self, project_id: int) -> ResponseReturnValue:
        visitor = self.admitted(project_id)
        return _answered(lambda: self._say(project_id, visitor))

    def _say(self, project_id: int, visitor: Visitor) -> dict[str, Any]:
        words = words_of_json(sent()) if request.is_json else words_of_form()
        _check_tasks(project_id, words, self.snapshots.tasks(project_id))
        try:
            given = self.give(project_id, words, person=visitor.person.id, reviewer=visitor.client)
        finally:
            self.snapshots.forget(project_id, words)
        return _told(given) | {"tiles": self._now(project_id, visitor.person.id, words) if request.is_json else {}}

    def _now(self, project_id: int, person: int, words: Words) -> dict[str, dict[str, str]]:
        """Where the patches stand now; nothing when Label Studio doesn't tell: the verdicts are written all the
        same.
        """
        try:
            tasks = [task for task in self.snapshots.tasks(project_id) if task.id in words]
        except LabelStudioError:
            return {}
        people = self._people()
        found = (
            patch_tile(project_id, tile, person, people, self.label_studio_url)
            for task in tasks
            for tile in self.tiles.of_task(task)
            if tile.patch.id in words[task.id]
        )
        return {
            one.name: {
                "state": one.tile.state,
                "mine": one.mine,
                "reason": one.reason,
                "title": one.title,
                "seen": one.seen,
            }
            for one in found
        }

    def images(self, project_id: int) -> ResponseReturnValue:
        visitor = self.admitted(project_id)
        after, size = number_asked("after", 0), size_asked()
        waiting = [task for task in self.snapshots.tasks(project_id) if may_be_empty(task)]
        rest = [task for task in waiting if task.id > after]
        here = rest[:size]

        def address(after: int, size: int = size) -> str:
            query = {"after": after} if after else {}
            query |= {"size": size} if size != PAGE_SIZES[0] else {}
            path = url_for("gallery.images", project_id=project_id)
            return f"{path}?{urlencode(query)}" if query else path

        return render_template(
            "images.html",
            visitor=visitor,
            project=self._head(project_id),
            tiles=[image_tile(project_id, task, self.tiles.source(task), self.label_studio_url) for task in here],
            signs=SIGNS,
            total=len(waiting),
            skipped=len(waiting) - len(rest),
            address=address(after),
            first=address(0),
            after=address(here[-1].id) if len(rest) > len(here) else "",
            size=size,
            sizes=[(one, address(0, one)) for one in PAGE_SIZES],
        )

    def say_empty(self, project_id: int) -> ResponseReturnValue:
        visitor = self.admitted(project_id)
        return _answered(lambda: self._say_empty(project_id, visitor))

    def _say_empty(self, project_id: int, visitor: Visitor) -> dict[str, Any]:
        task_ids = tasks_of_json(sent()) if request.is_json else tasks_of_form()
        _check_tasks(project_id, task_ids, self.snapshots.tasks(project_id))
        try:
            given = self.empty(project_id, task_ids, person=visitor.person.id, reviewer=visitor.client)
        finally:
            self.snapshots.forget(project_id, task_ids)
        return _told(given) | {"tiles": {}}


def _picture_of(task: Task | None, longest: int, tiles: Tiles, crops: Crops) -> Response:
    """A picture of a task's image, or of one of its patches: kept by browsers for ever under the address of its
    version. What can't be had is a picture that says why.
    """
    if longest not in SIDES or task is None:
        raise NotFound("There is no such picture: load the page anew.")
    wanted = request.args.get("patch")
    boxes = {tile.patch.id: tile.patch.box for tile in tiles.of_task(task)}
    if wanted is not None and wanted not in boxes:
        raise NotFound(f"Task {task.id} has no such patch any more: load the page anew.")
    box = None if wanted is None else boxes[wanted]
    now = version(task.id, task.image_digest, box)
    etag = f"{now}-{longest}"
    # Under an old address the new picture must not be kept for ever.
    is_current = request.args.get("v") == now
    if is_current and etag in request.if_none_match:
        answer = Response(status=304)
    else:
        try:
            data = crops.whole(task, longest) if box is None else crops.patch(task, box, longest, boxes.values())
        except NegativesError as error:
            missing = placeholder(str(error))
            # Browsers show a picture whatever its status; the page's script accepts no patch that came with a bad one.
            uncached = {"Cache-Control": "no-store"}
            return Response(missing, error.http_status, mimetype="image/svg+xml", headers=uncached)
        # Under the address of another place or image it must not count as what was asked for.
        answer = Response(data, 200 if is_current else 409, mimetype="image/jpeg")
    if is_current:
        answer.set_etag(etag)
    answer.headers["Cache-Control"] = FOREVER if is_current else "no-store"
    return answer


def _check_tasks(project_id: int, task_ids: Iterable[int], tasks: Iterable[Task]) -> None:
    if strange := sorted(set(task_ids) - {task.id for task in tasks}):
        raise UsageError(f"Project {project_id} has no task {strange[0]}: look at the page again.")


def _told(given: Given) -> dict[str, Any]:
    failures = [{"task": one.task_id, "text": one.text} for one in given.failures]
    return {"written": given.written, "failures": failures}


def _answered(say: Callable[[], dict[str, Any]]) -> ResponseReturnValue:
    """What came of it: as JSON for a script, for a form as messages on the page that it came from."""
    if request.is_json:
        try:
            return jsonify(say())
        except NegativesError as error:
            return jsonify(error=str(error)), error.http_status
    said = say()
    if said["written"]:
        flash(f"{said['written']} written.", "good")
    for failure in said["failures"][:MOST_FAILURES]:
        flash(f"Task {failure['task']}: {failure['text']}", "bad")
    return redirect(request.full_path.rstrip("?"), 303)
