"""The gallery and the whole images: who sees which pictures, and what is written for whom."""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import unescape
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from flask.testing import FlaskClient
from PIL import Image
from werkzeug.test import TestResponse

from service.domain.geometry import Box
from service.domain.model import Agreement, Review, Rules, StandingPrediction, Task, Verdict, Word
from service.errors import ImageError, LabelStudioUnavailable, NegativesError
from service.export.plan import Note
from service.label_studio.labeling import REASONS
from service.web import create_app
from service.web.gallery import MAX_BODY
from service.web.said import MAX_VERDICTS
from tests.factories import NOON, patch, roi, task
from tests.web.visits import (
    ADA,
    ADAS_TOKEN,
    BOB,
    BOBS_TOKEN,
    HTML,
    FakeOffice,
    FakeQueue,
    FakeStudio,
    csrf_of,
    sign_in,
    some_pages,
)

GALLERY, IMAGES = "/projects/7/gallery", "/projects/7/images"
BOXES = [Box.sized(150 * number, 200, 100, 120) for number in range(1, 4)]
OBJECT = Box(1500, 1100, 1510, 1110)


def patches_of(task_id: int) -> list[Any]:
    """The three patches of a task."""
    return [patch(box, task_id=task_id) for box in BOXES]


@dataclass(frozen=True, slots=True)
class SomeGiven:
    """What became of verdicts."""

    written: int = 0
    failures: Sequence[Note] = ()


class FakeDesk:
    """Writes what people say into a studio's tasks, as the two use cases do; remembers it. Tasks in `fails` refuse."""

    def __init__(self, studio: FakeStudio) -> None:
        self.studio = studio
        self.written: list[tuple[int, object, int]] = []
        self.signed_in: set[int] = set()
        self.fails: set[int] = set()
        self.trouble: NegativesError | None = None

    def give(
        self, project_id: int, words: Mapping[int, Mapping[str, Word]], *, person: int, reviewer: Any
    ) -> SomeGiven:
        if self.trouble is not None:
            raise self.trouble
        self.signed_in.add(reviewer.whoami().id)
        done = {task_id: said for task_id, said in words.items() if task_id not in self.fails}
        self.written += [(task_id, dict(said), person) for task_id, said in done.items()]
        held = self.studio.held[project_id]
        self.studio.held[project_id] = [self.judged(one, done.get(one.id, {}), person) for one in held]
        failures = [Note(task_id, "its image is upside down") for task_id in words if task_id in self.fails]
        return SomeGiven(sum(map(len, done.values())), failures)

    def empty(self, project_id: int, task_ids: Sequence[int], *, person: int, reviewer: Any) -> SomeGiven:
        assert project_id == 7
        self.signed_in.add(reviewer.whoami().id)
        self.written += [(task_id, "empty", person) for task_id in task_ids if task_id not in self.fails]
        failures = [Note(task_id, "3 objects are labelled in it") for task_id in task_ids if task_id in self.fails]
        return SomeGiven(len(task_ids) - len(failures), failures)

    def judged(self, one: Task, said: Mapping[str, Word], person: int) -> Task:
        """A task with what a person says of it."""
        if not said:
            return one
        held = tuple(each for each in patches_of(one.id) if each.id in said)
        judged = Review(
            annotation_id=100 + len(self.written),
            reviewer=person,
            at=NOON,
            held=held,
            shown=frozenset(said),
            reasons={key: reason for key, (verdict, reason, _) in said.items() if verdict is Verdict.REJECTED},
            unsure=frozenset(key for key, (verdict, _, _) in said.items() if verdict is Verdict.UNSURE),
        )
        return replace(one, reviews=(*one.reviews, judged))


class FakeImages:
    """Source images; remembers which were opened."""

    def __init__(self) -> None:
        self.opened: list[int] = []
        self.trouble: NegativesError | None = None

    def fetch(self, task: Task) -> bytes:
        self.opened.append(task.id)
        if self.trouble is not None:
            raise self.trouble
        return b""

    def decode(self, task: Task, data: bytes) -> Image.Image:
        assert (task.id in self.opened, data) == (True, b"")
        return Image.new("RGB", (1600, 1200), (200, 180, 190))


@pytest.fixture
def office() -> FakeOffice:
    """Ada sees project 7, Bob doesn't."""
    return FakeOffice()


@pytest.fixture
def studio() -> FakeStudio:
    """Project 7: two tasks with three patches each, one with an object and nothing else, one with nothing at all."""
    studio = FakeStudio()
    drawn = [
        task(roi(), exclusions=[OBJECT], standing=patches_of(task_id), task_id=task_id, project_id=7)
        for task_id in (11, 12)
    ]
    plain = [task(exclusions=[OBJECT], task_id=13, project_id=7), task(task_id=14, size=None, project_id=7)]
    studio.held = {7: [*drawn, *plain], 8: [task(task_id=21, project_id=8)]}
    return studio


@pytest.fixture
def desk(studio: FakeStudio) -> FakeDesk:
    """Where verdicts are written."""
    return FakeDesk(studio)


@pytest.fixture
def images() -> FakeImages:
    """Where pictures come from."""
    return FakeImages()


@pytest.fixture
def browser(office: FakeOffice, studio: FakeStudio, desk: FakeDesk, images: FakeImages) -> FlaskClient:
    """A browser without a past."""
    return visiting(office, studio, desk, images)


def visiting(
    office: FakeOffice, studio: FakeStudio, desk: FakeDesk, images: FakeImages, agreement: Agreement | None = None
) -> FlaskClient:
    """A browser, where verdicts add up so."""
    pages = replace(
        some_pages(office, studio, FakeQueue()),
        images=lambda: images,
        give=desk.give,
        empty=desk.empty,
        source_name=lambda image: image.rpartition("/")[2],
        agreement=agreement or Agreement(),
    )
    app = create_app(
        secret="a secret of 8 or more", put=lambda _: None, max_webhook_bytes=10_000_000, rules=Rules(), pages=pages
    )
    return app.test_client()


@pytest.fixture
def ada(browser: FlaskClient) -> FlaskClient:
    """Ada's browser, signed in."""
    sign_in(browser, ADAS_TOKEN)
    return browser


@pytest.fixture
def bob(browser: FlaskClient) -> FlaskClient:
    """Bob's, who may not see the project."""
    sign_in(browser, BOBS_TOKEN)
    return browser


def look(browser: FlaskClient, path: str = GALLERY) -> TestResponse:
    """A page, as a browser asks for it."""
    return browser.get(path, headers=HTML)


def tiles_in(page: TestResponse) -> list[tuple[str, str]]:
    """The tiles of a page: name and state."""
    return re.findall(r'data-name="([^"]+)" data-state="([^"]+)"', page.text)


def pictures_in(page: TestResponse) -> list[str]:
    """The addresses of its pictures, for plain screens."""
    return [unescape(found) for found in re.findall(r'<img src="([^"]+)" srcset', page.text)]


def tell(browser: FlaskClient, path: str, body: object) -> TestResponse:
    """Post JSON as the page's script does."""
    token = csrf_of(look(browser, "/projects/"))
    return browser.post(path, json=body, headers={"X-CSRFToken": token, "Accept": "application/json"})


def submit(browser: FlaskClient, path: str, fields: Mapping[str, Any]) -> TestResponse:
    """Send the form as a browser without scripts does."""
    token = csrf_of(look(browser, "/projects/"))
    return browser.post(path, data={**fields, "csrf_token": token}, headers=HTML)


def said(task_id: int, number: int, verdict: str = "accepted", reason: str = "") -> dict[str, Any]:
    """One verdict of the script's."""
    return {"task": task_id, "patch": patches_of(task_id)[number].id, "verdict": verdict, "reason": reason}


def name(task_id: int, number: int) -> str:
    """What the page calls a patch."""
    return f"{task_id}:{patches_of(task_id)[number].id}"


# ---------------------------------------------------------------- the page


def test_it_shows_what_waits_for_me(ada: FlaskClient) -> None:
    """By task, then as one reads."""
    page = look(ada)
    assert page.status_code == 200
    assert tiles_in(page) == [(name(task_id, number), "pending") for task_id in (11, 12) for number in range(3)]
    assert "Blood cells" in page.text


def test_what_i_havejudged_waits_no_longer(ada: FlaskClient) -> None:
    """Although another person is still to be asked; it is there where all is asked for."""
    tell(ada, GALLERY, {"verdicts": [said(11, 0)]})
    assert name(11, 0) not in dict(tiles_in(look(ada)))
    assert dict(tiles_in(look(ada, f"{GALLERY}?state=all")))[name(11, 0)] == "accepted"
    assert dict(tiles_in(look(ada, f"{GALLERY}?state=accepted"))) == {name(11, 0): "accepted"}
    assert tiles_in(look(ada, f"{GALLERY}?state=all&by=me")) == [(name(11, 0), "accepted")]


def test_who_needs_another_approval_isnt_asked_again(
    office: FakeOffice, studio: FakeStudio, desk: FakeDesk, images: FakeImages
) -> None:
    """The patch stays pending for others."""
    ada = visiting(office, studio, desk, images, Agreement(min_approvals=2))
    sign_in(ada, ADAS_TOKEN)
    answer = tell(ada, GALLERY, {"verdicts": [said(11, 0)]}).get_json()
    assert answer["tiles"][name(11, 0)]["state"] == "pending"
    assert answer["tiles"][name(11, 0)]["mine"] == "accepted"
    assert name(11, 0) not in dict(tiles_in(look(ada)))
    assert name(11, 0) in dict(tiles_in(look(ada, f"{GALLERY}?state=pending&by=anyone")))


def test_who_said_what_is_told_by_name(ada: FlaskClient, desk: FakeDesk) -> None:
    """Where one points at a patch."""
    patch_id = patches_of(11)[0].id
    desk.studio.held[7][0] = desk.judged(
        desk.studio.held[7][0], {patch_id: Word(Verdict.REJECTED, "duplicate")}, person=BOB.id
    )
    page = look(ada, f"{GALLERY}?state=rejected")
    assert "Bob rejected (duplicate)" in page.text


def test_the_filters_say_how_many_they_show(ada: FlaskClient) -> None:
    """Each value with its count."""
    tell(ada, GALLERY, {"verdicts": [said(11, 0), said(11, 1, "rejected")]})
    text = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", "", look(ada, f"{GALLERY}?state=all").text))
    assert "pending 4 " in text
    assert "accepted 1 " in text
    assert "rejected 1 " in text
    assert "all 6 " in text
    assert "not yet by me (4)" in text
    assert "away from objects (6)" in text


def test_what_waits_for_me_leads_to_what_everybody_judged(ada: FlaskClient) -> None:
    """What I judged counts there, and the way back leads to what waits for me."""
    tell(ada, GALLERY, {"verdicts": [said(11, 0)]})
    chips = dict(re.findall(r'<a href="([^"]+)" class="chip (\w+)"', look(ada).text))
    accepted = next(unescape(address) for address, state in chips.items() if state == "accepted")
    page = look(ada, accepted)
    assert dict(tiles_in(page)) == {name(11, 0): "accepted"}
    chips = dict(re.findall(r'<a href="([^"]+)" class="chip (\w+)"', page.text))
    assert next(address for address, state in chips.items() if state == "pending") == GALLERY


def test_the_page_after_writing_has_the_same_filters(ada: FlaskClient) -> None:
    """Its script goes there."""
    page = look(ada, f"{GALLERY}?state=all&background=away")
    assert f'data-here="{GALLERY}?state=all&amp;background=away"' in page.text


@pytest.mark.parametrize(
    ("query", "count"),
    [("task=11", 3), ("background=away", 6), ("background=empty", 0), ("warning=tiny", 0), ("state=stale", 0)],
)
def test_filters_of_the_address(ada: FlaskClient, query: str, count: int) -> None:
    """They work without a script."""
    assert len(tiles_in(look(ada, f"{GALLERY}?{query}"))) == count


@pytest.mark.parametrize(
    "query",
    ["state=great", "background=x", "warning=x", "by=nobody", "task=x", "page=x", "page=-1", "size=61", "size=x"],
)
def test_what_an_address_cant_ask_for_is_refused_with_a_sentence(ada: FlaskClient, query: str) -> None:
    """A typing error must not look like an empty project."""
    page = look(ada, f"{GALLERY}?{query}")
    assert page.status_code == 400
    assert "<h1>" in page.text


def test_pages_have_so_many_tiles(ada: FlaskClient, studio: FakeStudio) -> None:
    """And lead to one another, with the filters that are set."""
    studio.held[7] = [
        task(roi(), exclusions=[OBJECT], standing=patches_of(number), task_id=number, project_id=7)
        for number in range(100, 130)
    ]
    first = look(ada, f"{GALLERY}?background=away")
    assert len(tiles_in(first)) == 60
    (after,) = re.findall(r'href="([^"]+)" rel="next"', first.text)
    second = look(ada, unescape(after))
    assert len(tiles_in(second)) == 30
    assert 'rel="next"' not in second.text
    assert not set(tiles_in(first)) & set(tiles_in(second))
    assert len(tiles_in(look(ada, f"{GALLERY}?size=120"))) == 90


def test_an_empty_gallery_says_so(ada: FlaskClient, studio: FakeStudio) -> None:
    """And what comes next."""
    studio.held[7] = []
    assert "Nothing is left for you to judge here" in look(ada).text
    assert "No patch is like that" in look(ada, f"{GALLERY}?state=stale").text


def test_pictures_are_laid_out_before_they_come(ada: FlaskClient) -> None:
    """Nothing jumps."""
    page = look(ada)
    sizes = re.findall(r'width="(\d+)" height="(\d+)"\s+loading="lazy" decoding="async"', page.text)
    assert len(sizes) == 6
    data = ada.get(pictures_in(page)[0])
    image = Image.open(io.BytesIO(data.data))
    assert image.size == tuple(map(int, sizes[0]))


def test_nothing_on_the_page_needs_another_host_or_an_inline_script(ada: FlaskClient) -> None:
    """The browser is told to refuse both."""
    for path in (GALLERY, IMAGES):
        text = look(ada, path).text
        assert " style=" not in text
        assert " onclick=" not in text
        assert all(urlsplit(unescape(one)).netloc == "" for one in re.findall(r' src="([^"]+)"', text))


# ---------------------------------------------------------------- pictures


def test_a_picture_may_be_kept_for_ever(ada: FlaskClient) -> None:
    """Its address names its version; asked for again, nothing is sent."""
    address = pictures_in(look(ada))[0]
    first = ada.get(address)
    assert (first.status_code, first.mimetype) == (200, "image/jpeg")
    assert first.headers["Cache-Control"] == "private, max-age=31536000, immutable"
    again = ada.get(address, headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status_code, again.data) == (304, b"")


def test_one_opening_gives_all_pictures_of_a_task(ada: FlaskClient, images: FakeImages) -> None:
    """Decoding takes longest."""
    for address in pictures_in(look(ada)):
        assert ada.get(address).status_code == 200
    assert images.opened == [11, 12]


def test_under_another_version_a_picture_isnt_kept(ada: FlaskClient) -> None:
    """Or a browser would show it for ever under an address that means something else; nor does it count as seen."""
    address = pictures_in(look(ada))[0]
    version = parse_qs(urlsplit(address).query)["v"][0]
    answer = ada.get(address.replace(version, "0" * 16))
    assert (answer.status_code, answer.headers["Cache-Control"]) == (409, "no-store")


@pytest.mark.parametrize(
    ("trouble", "status"),
    [(ImageError("task 11: the file is <gone>"), 422), (LabelStudioUnavailable("Label Studio is down"), 503)],
)
def test_a_picture_that_cant_be_had_says_why(
    ada: FlaskClient, images: FakeImages, trouble: NegativesError, status: int
) -> None:
    """As a picture, which isn't kept; its status tells the page's script."""
    images.trouble = trouble
    answer = ada.get(pictures_in(look(ada))[0])
    assert (answer.status_code, answer.mimetype) == (status, "image/svg+xml")
    assert answer.headers["Cache-Control"] == "no-store"
    assert str(trouble) in unescape(answer.text)


@pytest.mark.parametrize(
    "path",
    [
        "/projects/7/pictures/11/320.jpg?patch=neg_unknown&v=1",
        "/projects/7/pictures/99/320.jpg?v=1",
        "/projects/7/pictures/21/320.jpg?v=1",
        "/projects/7/pictures/11/321.jpg?v=1",
        "/projects/7/pictures/11/x.jpg",
    ],
)
def test_pictures_that_arent_there(ada: FlaskClient, path: str, images: FakeImages) -> None:
    """A task of another project neither."""
    assert ada.get(path).status_code == 404
    assert images.opened == []


# ---------------------------------------------------------------- who may


@pytest.mark.parametrize("path", [GALLERY, IMAGES, "/projects/7/pictures/11/320.jpg"])
def test_who_may_not_see_a_project_sees_nothing_of_it(bob: FlaskClient, path: str, images: FakeImages) -> None:
    """As for one that doesn't exist."""
    answer, nowhere = look(bob, path), look(bob, path.replace("/7/", "/99/"))
    assert answer.status_code == nowhere.status_code == 404
    assert answer.text.replace("7", "99") == nowhere.text.replace("7", "99")
    assert "Blood cells" not in answer.text
    assert images.opened == []


def test_who_may_not_see_a_project_writes_nothing_to_it(bob: FlaskClient, desk: FakeDesk) -> None:
    """By script and by form."""
    assert tell(bob, GALLERY, {"verdicts": [said(11, 0)]}).status_code == 404
    assert submit(bob, GALLERY, {"patch": name(11, 0), "verdict": "accepted"}).status_code == 404
    assert tell(bob, IMAGES, {"tasks": [14]}).status_code == 404
    assert desk.written == []


@pytest.mark.parametrize("path", [GALLERY, IMAGES])
def test_who_isnt_signed_in_is_asked_to(browser: FlaskClient, path: str, desk: FakeDesk) -> None:
    """A page leads to signing in; a picture isn't given, a script is told."""
    assert look(browser, path).status_code == 302
    assert browser.get("/projects/7/pictures/11/320.jpg", headers={"Accept": "image/*"}).status_code == 401
    token = csrf_of(look(browser, "/sign-in"))
    answer = browser.post(path, json={}, headers={"X-CSRFToken": token, "Accept": "application/json"})
    assert answer.status_code == 401
    assert desk.written == []


@pytest.mark.parametrize("path", [GALLERY, IMAGES])
@pytest.mark.parametrize("token", ["", "wrong"])
def test_another_sites_request_writes_nothing(ada: FlaskClient, path: str, token: str, desk: FakeDesk) -> None:
    """It lacks the token that only our pages have."""
    body = {"verdicts": [said(11, 0)], "tasks": [14]}
    assert ada.post(path, json=body, headers={"X-CSRFToken": token}).status_code == 400
    form = {"patch": name(11, 0), "verdict": "accepted", "task": "14", "csrf_token": token}
    assert ada.post(path, data=form, headers=HTML).status_code == 400
    assert desk.written == []


# ---------------------------------------------------------------- what is written


def test_verdicts_are_written_as_the_visitor(ada: FlaskClient, desk: FakeDesk) -> None:
    """By a client that is signed in as them; the answer says where the patches stand now."""
    body = [said(11, 0), said(11, 1, "rejected", "duplicate"), said(12, 2, "unsure"), said(12, 1, "rejected")]
    answer = tell(ada, GALLERY, {"verdicts": body})
    assert answer.status_code == 200
    first, second = patches_of(11), patches_of(12)
    assert desk.written == [
        (11, {first[0].id: Word(Verdict.ACCEPTED), first[1].id: Word(Verdict.REJECTED, "duplicate")}, ADA.id),
        (12, {second[2].id: Word(Verdict.UNSURE), second[1].id: Word(Verdict.REJECTED)}, ADA.id),
    ]
    assert desk.signed_in == {ADA.id}
    told = answer.get_json()
    assert (told["written"], told["failures"]) == (4, [])
    assert {key: one["state"] for key, one in told["tiles"].items()} == {
        name(11, 0): "accepted",
        name(11, 1): "rejected",
        name(12, 1): "rejected",
        name(12, 2): "unsure",
    }
    assert told["tiles"][name(11, 1)]["reason"] == "duplicate"
    assert "Ada rejected (duplicate)" in told["tiles"][name(11, 1)]["title"]


def seen_in(page: TestResponse) -> dict[str, str]:
    """What the page says that its visitor looks at, by tile."""
    return dict(re.findall(r'data-name="([^"]+)"[^>]* data-seen="([^"]+)"', page.text))


def test_a_page_says_what_its_visitor_looks_at(ada: FlaskClient, desk: FakeDesk) -> None:
    """And brings it back with each verdict, by script and by form; what was just said is a new sight."""
    page = look(ada)
    seen = seen_in(page)
    assert len(set(seen.values())) == 6
    assert set(re.findall(r'name="patch" value="([^"]+)"', page.text)) == {f"{one}:{seen[one]}" for one in seen}
    one, other = name(11, 0), name(12, 1)
    told = tell(ada, GALLERY, {"verdicts": [said(11, 0) | {"seen": seen[one]}]}).get_json()
    submit(ada, GALLERY, {"patch": f"{other}:{seen[other]}", "verdict": "unsure"})
    assert desk.written == [
        (11, {patches_of(11)[0].id: Word(Verdict.ACCEPTED, "", seen[one])}, ADA.id),
        (12, {patches_of(12)[1].id: Word(Verdict.UNSURE, "", seen[other])}, ADA.id),
    ]
    now = seen_in(look(ada, f"{GALLERY}?state=all"))
    assert told["tiles"][one]["seen"] == now[one] != seen[one]


def test_what_fails_is_told_and_the_others_are_written(ada: FlaskClient, desk: FakeDesk) -> None:
    """Task by task."""
    desk.fails = {12}
    told = tell(ada, GALLERY, {"verdicts": [said(11, 0), said(12, 0)]}).get_json()
    assert told["written"] == 1
    assert told["failures"] == [{"task": 12, "text": "its image is upside down"}]


def test_what_fails_at_all_is_told_in_a_sentence(ada: FlaskClient, desk: FakeDesk) -> None:
    """With a status that the script knows as a failure."""
    desk.trouble = LabelStudioUnavailable("Label Studio is down")
    answer = tell(ada, GALLERY, {"verdicts": [said(11, 0)]})
    assert (answer.status_code, answer.get_json()) == (503, {"error": "Label Studio is down"})


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        {"verdicts": []},
        {"verdicts": "all"},
        {"verdicts": [1]},
        {"verdicts": [{"task": 11}]},
        {"verdicts": [said(11, 0) | {"verdict": "great"}]},
        {"verdicts": [said(11, 0) | {"verdict": ["accepted"]}]},
        {"verdicts": [said(11, 0) | {"task": "11"}]},
        {"verdicts": [said(11, 0) | {"task": True}]},
        {"verdicts": [said(11, 0) | {"task": 21}]},
        {"verdicts": [said(11, 0) | {"task": 99}]},
        {"verdicts": [said(11, 0) | {"patch": ""}]},
        {"verdicts": [said(11, 0) | {"patch": "x" * 201}]},
        {"verdicts": [said(11, 0) | {"patch": {}}]},
        {"verdicts": [said(11, 0, "rejected", "ugly")]},
        {"verdicts": [said(11, 0, "accepted", "duplicate")]},
        {"verdicts": [said(11, 0) | {"reason": ["duplicate"]}]},
        {"verdicts": [said(11, 0) | {"seen": 7}]},
        {"verdicts": [said(11, 0) | {"seen": "x" * 101}]},
        {"verdicts": [said(11, 0) | {"patch": str(number)} for number in range(MAX_VERDICTS + 1)]},
    ],
)
def test_nonsense_is_refused_with_a_sentence(ada: FlaskClient, desk: FakeDesk, body: object) -> None:
    """All of it, before anything is written; a task of another project, too."""
    answer = tell(ada, GALLERY, body)
    assert answer.status_code == 400
    assert len(answer.get_json()["error"]) > 10
    assert desk.written == []


@pytest.mark.parametrize("path", [GALLERY, IMAGES])
@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{", "application/json", 400),
        (b"[" * 20_000, "application/json", 400),
        (b'"' + b"x" * MAX_BODY + b'"', "application/json", 413),
        (b"patch=1&" * (MAX_BODY // 8 + 1), "application/x-www-form-urlencoded", 413),
    ],
)
def test_what_cant_be_read_is_refused(
    ada: FlaskClient, desk: FakeDesk, path: str, content: bytes, kind: str, status: int
) -> None:
    """Too much of it, too."""
    token = csrf_of(look(ada, "/projects/"))
    answer = ada.post(path, data=content, content_type=kind, headers={"X-CSRFToken": token})
    assert answer.status_code == status
    assert desk.written == []


@pytest.mark.parametrize("verdict", ["accepted", "rejected", "unsure"])
def test_the_form_works_without_a_script(ada: FlaskClient, desk: FakeDesk, verdict: str) -> None:
    """It comes back to the page that it was sent from, with what came of it."""
    path = f"{GALLERY}?background=away"
    answer = submit(ada, path, {"patch": [name(11, 0), name(12, 1)], "verdict": verdict, "reason": "duplicate"})
    assert (answer.status_code, answer.headers["Location"]) == (303, path)
    word = Word(Verdict(verdict), "duplicate" if verdict == "rejected" else "")
    assert desk.written == [
        (11, {patches_of(11)[0].id: word}, ADA.id),
        (12, {patches_of(12)[1].id: word}, ADA.id),
    ]
    page = look(ada, path)
    assert "2 written." in page.text
    assert len(tiles_in(page)) == 4


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"verdict": "accepted"}, "Nothing is selected"),
        ({"patch": "x:1", "verdict": "accepted"}, "names a task by its number"),
        ({"patch": "11:a"}, "A verdict is"),
        ({"patch": "21:a", "verdict": "accepted"}, "no task 21"),
        ({"patch": "11:a", "verdict": "rejected", "reason": "ugly"}, "one of these reasons"),
    ],
)
def test_a_form_that_cant_be_is_refused_with_a_page(
    ada: FlaskClient, desk: FakeDesk, fields: Mapping[str, str], sentence: str
) -> None:
    """In a sentence."""
    answer = submit(ada, GALLERY, fields)
    assert answer.status_code == 400
    assert sentence in unescape(answer.text)
    assert desk.written == []


def test_the_form_tells_what_failed(ada: FlaskClient, desk: FakeDesk) -> None:
    """By task."""
    desk.fails = {12}
    submit(ada, GALLERY, {"patch": [name(11, 0), name(12, 0)], "verdict": "accepted"})
    page = look(ada)
    assert "1 written." in page.text
    assert "Task 12: its image is upside down" in page.text


def test_every_reason_can_be_given(ada: FlaskClient) -> None:
    """On the page, with its key."""
    text = look(ada).text
    for reason, key in REASONS.items():
        assert f"<option>{reason}</option>" in text
        assert f"<kbd>{key.upper()}</kbd></dt><dd>bad: {reason}" in text


# ---------------------------------------------------------------- whole images


def test_images_without_objects_are_offered(ada: FlaskClient, studio: FakeStudio) -> None:
    """And no others: not one with an object, not one that is refused."""
    studio.held[7].append(task(task_id=15, project_id=7, refusal="why"))
    assert tiles_in(look(ada, IMAGES)) == [("14", "pending")]
    assert ada.get(pictures_in(look(ada, IMAGES))[0]).mimetype == "image/jpeg"


def test_images_are_said_to_be_empty_as_the_visitor(ada: FlaskClient, desk: FakeDesk) -> None:
    """By script and by form."""
    told = tell(ada, IMAGES, {"tasks": [14]}).get_json()
    assert told == {"written": 1, "failures": [], "tiles": {}}
    answer = submit(ada, IMAGES, {"task": "14"})
    assert (answer.status_code, answer.headers["Location"]) == (303, IMAGES)
    assert desk.written == [(14, "empty", ADA.id)] * 2
    assert desk.signed_in == {ADA.id}


def test_an_image_that_isnt_empty_is_told_of(ada: FlaskClient, desk: FakeDesk) -> None:
    """Somebody may have labelled an object meanwhile."""
    desk.fails = {14}
    told = tell(ada, IMAGES, {"tasks": [14]}).get_json()
    assert told["failures"] == [{"task": 14, "text": "3 objects are labelled in it"}]


@pytest.mark.parametrize(
    "body", [{}, [], {"tasks": []}, {"tasks": "all"}, {"tasks": ["14"]}, {"tasks": [True]}, {"tasks": [21]}]
)
def test_nonsense_about_images_is_refused(ada: FlaskClient, desk: FakeDesk, body: object) -> None:
    """A task of another project, too."""
    assert tell(ada, IMAGES, body).status_code == 400
    assert desk.written == []


@pytest.mark.parametrize("fields", [{}, {"task": "x"}, {"task": "21"}])
def test_a_form_about_images_that_cant_be_is_refused(ada: FlaskClient, fields: Mapping[str, str]) -> None:
    """In a sentence."""
    assert submit(ada, IMAGES, fields).status_code == 400


def test_images_come_in_pages_that_skip_none(ada: FlaskClient, studio: FakeStudio) -> None:
    """The next page starts after the last one shown, whatever was said of those before."""
    studio.held[7] = [task(task_id=number, project_id=7, size=None) for number in range(100, 190)]
    first = look(ada, IMAGES)
    (after,) = re.findall(r'href="([^"]+)" rel="next"', first.text)
    studio.held[7] = studio.held[7][40:]
    second = look(ada, unescape(after))
    assert [one for one, _ in tiles_in(first)] == [str(number) for number in range(100, 160)]
    assert [one for one, _ in tiles_in(second)] == [str(number) for number in range(160, 190)]
    assert "From the start" in second.text
    assert "That was the last one" in look(ada, f"{IMAGES}?after=189").text


def test_where_every_image_has_an_object_it_says_so(ada: FlaskClient, studio: FakeStudio) -> None:
    """Not an empty page."""
    studio.held[7] = []
    assert "There is no such image" in look(ada, IMAGES).text


def test_names_are_asked_for_once(ada: FlaskClient, studio: FakeStudio) -> None:
    """Pages are many."""
    for _ in range(3):
        look(ada)
    assert studio.asked.count("people") == 1


def test_a_page_shows_without_names(ada: FlaskClient, studio: FakeStudio, monkeypatch: pytest.MonkeyPatch) -> None:
    """People are numbers then."""

    def down() -> Mapping[int, Any]:
        raise LabelStudioUnavailable("down")

    monkeypatch.setattr(studio, "people", down)
    assert len(tiles_in(look(ada))) == 6


def test_a_patch_that_was_moved_out_of_the_image_breaks_no_page(ada: FlaskClient, studio: FakeStudio) -> None:
    """There is nothing of it to look at; the others are there to be judged."""
    outside = patch(Box.sized(5000, 5000, 100, 100), task_id=11)
    studio.held[7][0] = replace(studio.held[7][0], standing=(StandingPrediction(1, (outside,), ""),))
    page = look(ada)
    assert page.status_code == 200
    assert len(tiles_in(page)) == 3
