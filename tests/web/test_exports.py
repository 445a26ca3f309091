"""Exports over HTTP: started, followed and fetched by people in a browser and by scripts with a token."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import pytest
from flask.testing import FlaskClient

from service.domain.model import Rules
from service.domain.work import ExportState, ExportWork, Progress
from service.web import create_app
from tests.web.visits import (
    ADAS_TOKEN,
    BOBS_TOKEN,
    HTML,
    SCRIPT,
    FakeOffice,
    FakeQueue,
    FakeStudio,
    csrf_of,
    post,
    sign_in,
    some_export,
    some_pages,
    text_of,
)

JSON = {"Accept": "application/json"}
DATASET = "/there/is/none/data.yaml"
ADDRESS = "/projects/7/exports"
REPORT = {
    "project": 7,
    "sentence": "2 negatives written",
    "dry_run": False,
    "understood": ["root: /data (the folder of the yaml)"],
    "files": [
        {"action": "add", "file": "images/train/a_neg_1.png", "split": "train", "task": 70}
        | {"reason": "by share", "collision": "a_neg_0 is taken", "warning": "<b>look</b>"},
        {"action": "keep", "file": "images/train/b_neg_1.png", "split": "train", "task": 71}
        | {"reason": "", "collision": "", "warning": ""},
    ],
    "splits": [
        {
            "split": "train",
            "before": {"images": 40, "negatives": 1, "share": 0.025},
            "after": {"images": 43, "negatives": 4, "share": 0.093},
        }
    ],
    "warnings": ["val is a link"],
    "notes": [{"task": 72, "text": "accepted, but not exported: it is stale"}],
    "failures": [{"task": 73, "text": "the image of task 73 is gone"}],
    "guidance": ["Keep the empty files."],
}


@dataclass
class SomeResults:
    """What exports left, in a folder."""

    folder: Path

    def report(self, job_id: str) -> Path | None:
        return self._there(f"{job_id}.json")

    def zip(self, job_id: str) -> Path | None:
        return self._there(f"{job_id}.zip")

    def _there(self, name: str) -> Path | None:
        return self.folder / name if (self.folder / name).exists() else None


@pytest.fixture
def office() -> FakeOffice:
    """Ada sees projects 7 and 8, Bob only 8."""
    return FakeOffice()


@pytest.fixture
def studio() -> FakeStudio:
    """Label Studio with two connected projects, 7 and 8."""
    return FakeStudio()


@pytest.fixture
def queue() -> FakeQueue:
    """Nothing in flight."""
    return FakeQueue()


@pytest.fixture
def results(tmp_path: Path) -> SomeResults:
    """Nothing there yet."""
    return SomeResults(tmp_path)


@pytest.fixture
def visit(office: FakeOffice, studio: FakeStudio, queue: FakeQueue, results: SomeResults) -> Callable[..., FlaskClient]:
    """A browser, of somebody who is signed in by this token, or of nobody."""

    def visit(token: str = ADAS_TOKEN, dataset: str = DATASET) -> FlaskClient:
        pages = replace(some_pages(office, studio, queue), results=results, dataset=dataset)
        app = create_app(secret="x" * 8, put=lambda _: None, max_webhook_bytes=1000, rules=Rules(), pages=pages)
        browser = app.test_client()
        if token:
            sign_in(browser, token)
        return browser

    return visit


def with_token(token: str, **more: str) -> dict[str, str]:
    """What a script sends."""
    return {**SCRIPT, "Authorization": f"Token {token}", **more}


def test_the_button_leads_to_the_export_s_page(visit: Callable[..., FlaskClient], queue: FakeQueue) -> None:
    """Where it is told what comes of it."""
    browser = visit()
    answer = post(browser, ADDRESS, "/projects/7/", kind="dataset")
    assert (answer.status_code, answer.location) == (303, f"{ADDRESS}/export-7-01")
    assert queue.work == [ExportWork(7)]
    page = browser.get(answer.location, headers=HTML)
    assert "Export: into the dataset" in text_of(page.text)
    assert "waiting" in text_of(page.text)


@pytest.mark.parametrize(
    ("fields", "work"),
    [
        ({"kind": "dataset"}, ExportWork(7)),
        ({"kind": "dataset", "format": "", "dry_run": "", "limit_to_band": "no"}, ExportWork(7)),
        ({"kind": "dataset", "dry_run": "yes"}, ExportWork(7, is_dry=True)),
        ({"kind": "dataset", "limit_to_band": "true"}, ExportWork(7, limit_to_band=True)),
        ({"kind": "dataset", "limit_to_band": "1", "dry_run": "On"}, ExportWork(7, "", True, True)),
        ({"kind": "zip"}, ExportWork(7, "yolo")),
        ({"kind": "zip", "format": "coco", "dry_run": "false"}, ExportWork(7, "coco")),
    ],
)
def test_a_form_says_what_is_wanted(
    visit: Callable[..., FlaskClient], queue: FakeQueue, fields: dict[str, str], work: ExportWork
) -> None:
    """What isn't said is as usual."""
    post(visit(), ADDRESS, "/projects/7/", **fields)
    assert queue.work == [work]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({}, "kind=dataset, or kind=zip"),
        ({"kind": "tar"}, "kind=dataset, or kind=zip"),
        ({"kind": "dataset", "dryrun": "yes"}, "Nothing here is called dryrun"),
        ({"kind": "dataset", "dry_run": "maybe"}, "dry_run is yes or no"),
        ({"kind": "dataset", "format": "yolo"}, "The dataset has its own format"),
        ({"kind": "zip", "format": "../../etc"}, "one of these: yolo, coco"),
        ({"kind": "zip", "dry_run": "yes"}, "are for the dataset"),
        ({"kind": "zip", "limit_to_band": "yes"}, "are for the dataset"),
    ],
)
def test_what_makes_no_sense_is_refused(
    visit: Callable[..., FlaskClient], queue: FakeQueue, fields: dict[str, str], words: str
) -> None:
    """In a sentence; a misspelt `dry_run` doesn't write."""
    answer = visit("").post(ADDRESS, data=fields, headers=with_token(ADAS_TOKEN))
    assert (answer.status_code, answer.mimetype) == (400, "application/json")
    assert words in answer.json["error"]  # type: ignore[index]
    assert queue.work == []


def test_without_a_dataset_there_are_zips(visit: Callable[..., FlaskClient], queue: FakeQueue) -> None:
    """Who wants the dataset is told what to set."""
    browser = visit(dataset="")
    answer = post(browser, ADDRESS, "/projects/7/", kind="dataset")
    assert answer.status_code == 409
    assert "NEGATIVES_DATASET" in answer.text
    assert post(browser, ADDRESS, "/projects/7/", kind="zip").status_code == 303
    assert queue.work == [ExportWork(7, "yolo")]


# Following it


@pytest.mark.parametrize(
    ("state", "words", "looks_again"),
    [
        (ExportState.WAITING, "waiting", True),
        (ExportState.RUNNING, "cutting patches: 12 of 40", True),
        (ExportState.DONE, "done 3 written.", False),
        (ExportState.FAILED, "failed 3 written.", False),
    ],
)
def test_its_page_tells_how_far_it_is(
    visit: Callable[..., FlaskClient], queue: FakeQueue, state: ExportState, words: str, looks_again: bool
) -> None:
    """And looks again until it is over."""
    message = "3 written" if state in (ExportState.DONE, ExportState.FAILED) else ""
    queue.exported = [some_export(7, state, message, progress=Progress("cutting patches", 12, 40))]
    page = visit().get(f"{ADDRESS}/export-7-a0", headers=HTML).text
    assert words in text_of(page)
    assert ("data-refresh" in page) is looks_again
    assert ('value="12" max="40"' in page) is (state is ExportState.RUNNING)
    assert ("<progress" in page) is looks_again


def test_its_page_tells_what_came_of_it(
    visit: Callable[..., FlaskClient], queue: FakeQueue, results: SomeResults
) -> None:
    """Shares, files with reasons, what failed and what trainers need; as text, whatever it holds."""
    queue.exported = [some_export(7, message="2 negatives written")]
    (results.folder / "export-7-a0.json").write_text(json.dumps(REPORT))
    page = visit().get(f"{ADDRESS}/export-7-a0", headers=HTML).text
    text = text_of(page)
    for words in (
        "2 negatives written.",
        "val is a link",
        "accepted, but not exported: it is stale",
        "the image of task 73 is gone",
        "1 of 40 (2.5%)",
        "4 of 43 (9.3%)",
        "images/train/a_neg_1.png by share; a_neg_0 is taken; &lt;b&gt;look&lt;/b&gt;",
        "Keep the empty files.",
        "Root: /data",
    ):
        assert words in text
    assert "b_neg_1" not in page
    for task_id in (70, 72, 73):
        assert f'href="http://studio.example:8080/projects/7/data?task={task_id}"' in page


@pytest.mark.parametrize("content", ["", "{", "[]", "5", "{}", "[" * 100_000])
def test_a_report_that_can_t_be_read_spoils_nothing(
    visit: Callable[..., FlaskClient], queue: FakeQueue, results: SomeResults, content: str
) -> None:
    """The page tells what the job told."""
    queue.exported = [some_export(7, message="2 negatives written")]
    (results.folder / "export-7-a0.json").write_text(content)
    answer = visit().get(f"{ADDRESS}/export-7-a0", headers=HTML)
    assert answer.status_code == 200
    assert "2 negatives written." in text_of(answer.text)


def test_a_script_follows_it(visit: Callable[..., FlaskClient], queue: FakeQueue, results: SomeResults) -> None:
    """From start to ZIP, as JSON, without a cookie or a page."""
    script, headers = visit(""), with_token(ADAS_TOKEN)
    answer = script.post(ADDRESS, data={"kind": "zip"}, headers=headers)
    assert (answer.status_code, answer.location) == (202, f"{ADDRESS}/zip-7-01")
    waiting: dict[str, Any] = {
        "id": "zip-7-01",
        "project": 7,
        "kind": "zip",
        "format": "yolo",
        "limit_to_band": False,
        "dry_run": False,
        "state": "waiting",
        "at": "2026-03-01T12:00:00+00:00",
        "progress": None,
        "sentence": "",
        "page": f"{ADDRESS}/zip-7-01",
        "report": None,
        "zip": None,
    }
    assert answer.json == waiting
    (job,) = queue.exported
    queue.exported = [replace(job, state=ExportState.RUNNING, progress=Progress("cutting patches", 12, 40))]
    running = script.get(answer.location, headers=headers)
    assert running.headers["Cache-Control"] == "no-store"
    assert running.json == waiting | {
        "state": "running",
        "progress": {"what": "cutting patches", "done": 12, "total": 40},
    }
    queue.exported = [replace(job, state=ExportState.DONE, message="3 written")]
    for suffix in ("zip", "json"):
        (results.folder / f"zip-7-01.{suffix}").write_text("{}")
    done = script.get(answer.location, headers=headers).json
    assert done == waiting | {
        "state": "done",
        "sentence": "3 written",
        "report": f"{ADDRESS}/zip-7-01/report",
        "zip": f"{ADDRESS}/zip-7-01/zip",
    }
    with script.get(done["zip"], headers=headers) as fetched:
        assert fetched.data == b"{}"
    assert script.get(ADDRESS, headers=headers).json == {"exports": [done]}


def test_who_asks_for_json_gets_it_with_a_cookie_too(visit: Callable[..., FlaskClient], queue: FakeQueue) -> None:
    """And a browser, at the same address, a page."""
    queue.exported = [some_export(7), some_export(8, job_id="export-8-a0")]
    browser = visit()
    assert browser.get(f"{ADDRESS}/export-7-a0", headers=JSON).json["kind"] == "dataset"  # type: ignore[index]
    assert browser.get(f"{ADDRESS}/export-7-a0", headers=HTML).mimetype == "text/html"
    (listed,) = browser.get(ADDRESS, headers=JSON).json["exports"]  # type: ignore[index]
    assert listed["id"] == "export-7-a0"
    assert browser.get(ADDRESS, headers=HTML).location == "/projects/7/#export"


# Fetching what it left


def test_the_zip_is_fetched(visit: Callable[..., FlaskClient], queue: FakeQueue, results: SomeResults) -> None:
    """As a file with a name, kept by nobody in between."""
    queue.exported = [some_export(7, zip_format="coco", job_id="zip-7-a0")]
    (results.folder / "zip-7-a0.zip").write_bytes(b"PK all of it")
    browser = visit()
    address = f"{ADDRESS}/zip-7-a0/zip"
    with browser.get(address, headers=HTML) as answer:
        assert (answer.status_code, answer.mimetype, answer.data) == (200, "application/zip", b"PK all of it")
        assert answer.headers["Content-Disposition"] == "attachment; filename=negatives-project-7-coco.zip"
        assert "private" in answer.headers["Cache-Control"]
    assert (
        '<a class="button primary" href="/projects/7/exports/zip-7-a0/zip" download>'
        in browser.get(f"{ADDRESS}/zip-7-a0", headers=HTML).text
    )
    assert "12 Bytes" in text_of(browser.get("/projects/7/", headers=HTML).text)


def test_downloads_take_no_thread(visit: Callable[..., FlaskClient], queue: FakeQueue, results: SomeResults) -> None:
    """The file is handed to the server, which sends it while others are answered; whoever asks for a part gets all, as
    a part would keep a thread for as long as it takes.
    """
    queue.exported = [some_export(7, zip_format="coco")]
    (results.folder / "export-7-a0.zip").write_bytes(b"PK all of it")
    handed: list[bytes] = []

    def hand_over(file: IO[bytes], _block: int = 0) -> list[bytes]:
        with file:
            handed.append(file.read())
        return handed

    for more in ({}, {"Range": "bytes=3-5"}):
        with visit().get(
            f"{ADDRESS}/export-7-a0/zip", headers=HTML | more, environ_overrides={"wsgi.file_wrapper": hand_over}
        ) as answer:
            assert (answer.status_code, answer.headers["Content-Length"]) == (200, "12")
        assert handed.pop() == b"PK all of it"


def test_the_report_is_fetched(visit: Callable[..., FlaskClient], queue: FakeQueue, results: SomeResults) -> None:
    """Whole, byte for byte."""
    queue.exported = [some_export(7)]
    content = json.dumps(REPORT)
    (results.folder / "export-7-a0.json").write_text(content)
    with visit().get(f"{ADDRESS}/export-7-a0/report", headers=HTML) as answer:
        assert (answer.status_code, answer.mimetype, answer.data) == (200, "application/json", content.encode())


def test_a_failed_export_s_report_says_why(visit: Callable[..., FlaskClient], queue: FakeQueue) -> None:
    """Even when it failed before it could write one."""
    queue.exported = [some_export(7, ExportState.FAILED, "/data/data.yaml doesn't exist")]
    browser = visit()
    page = browser.get(f"{ADDRESS}/export-7-a0", headers=HTML).text
    assert f'href="{ADDRESS}/export-7-a0/report"' in page
    answer = browser.get(f"{ADDRESS}/export-7-a0/report", headers=HTML)
    assert answer.json == {
        "project": 7,
        "sentence": "/data/data.yaml doesn't exist",
        "error": "/data/data.yaml doesn't exist",
    }


@pytest.mark.parametrize(
    ("state", "words"),
    [(ExportState.RUNNING, "isn&#39;t there yet"), (ExportState.DONE, "kept for three days")],
)
@pytest.mark.parametrize("what", ["zip", "report"])
def test_what_isn_t_there_is_not_found(
    visit: Callable[..., FlaskClient],
    queue: FakeQueue,
    results: SomeResults,
    what: str,
    state: ExportState,
    words: str,
) -> None:
    """Nothing of an earlier try is given out before the end, and afterwards no link leads nowhere."""
    queue.exported = [some_export(7, state, zip_format="yolo")]
    if state is ExportState.RUNNING:
        for suffix in ("zip", "json"):
            (results.folder / f"export-7-a0.{suffix}").touch()
    browser = visit()
    answer = browser.get(f"{ADDRESS}/export-7-a0/{what}", headers=HTML)
    assert answer.status_code == 404
    assert words in answer.text
    for page in ("/projects/7/", f"{ADDRESS}/export-7-a0"):
        assert f"export-7-a0/{what}" not in browser.get(page, headers=HTML).text


# Who may


@pytest.mark.parametrize("path", ["", "/export-7-a0", "/export-7-a0/report", "/export-7-a0/zip"])
@pytest.mark.parametrize("headers", [HTML, JSON, with_token(BOBS_TOKEN)])
def test_one_sees_exports_of_projects_that_one_sees(
    visit: Callable[..., FlaskClient],
    queue: FakeQueue,
    results: SomeResults,
    path: str,
    headers: dict[str, str],
) -> None:
    """Of others not even whether there are any."""
    queue.exported = [some_export(7, zip_format="yolo")]
    for suffix in ("zip", "json"):
        (results.folder / f"export-7-a0.{suffix}").write_text("secret")
    answer = visit(BOBS_TOKEN).get(ADDRESS + path, headers=headers)
    assert answer.status_code == 404
    assert "secret" not in answer.text
    assert queue.looked_up == []


def test_nobody_exports_what_they_may_not_see(visit: Callable[..., FlaskClient], queue: FakeQueue) -> None:
    """As for a project that doesn't exist."""
    assert post(visit(BOBS_TOKEN), ADDRESS, "/projects/", kind="dataset").status_code == 404
    assert visit("").post(ADDRESS, data={"kind": "zip"}, headers=with_token(BOBS_TOKEN)).status_code == 404
    assert queue.work == []


def test_a_project_that_isn_t_connected_has_no_exports(
    visit: Callable[..., FlaskClient], studio: FakeStudio, queue: FakeQueue
) -> None:
    """It says how."""
    studio.connected = [8]
    answer = visit("").post(ADDRESS, data={"kind": "zip"}, headers=with_token(ADAS_TOKEN))
    assert answer.status_code == 409
    assert "negatives setup --project 7" in answer.text
    assert queue.work == []


@pytest.mark.parametrize(
    "job_id",
    ["export-8-a0", "export-7-a1", "..", "..%2Fsecret", "%2e%2e%2fsecret", "a%00b", "a.b", "ä", "x" * 101],
)
@pytest.mark.parametrize("what", ["", "/report", "/zip"])
def test_only_a_project_s_own_jobs_are_found(
    visit: Callable[..., FlaskClient], queue: FakeQueue, results: SomeResults, tmp_path: Path, job_id: str, what: str
) -> None:
    """Ada sees project 8, and yet its export isn't one of project 7's. What can't be an id isn't even looked up."""
    results.folder = tmp_path / "exports"
    results.folder.mkdir()
    for name in ("secret.json", "secret.zip", "exports/export-8-a0.json", "exports/export-8-a0.zip"):
        (tmp_path / name).write_text("secret")
    queue.exported = [some_export(8, zip_format="yolo", job_id="export-8-a0")]
    answer = visit().get(f"{ADDRESS}/{job_id}{what}", headers=HTML)
    assert answer.status_code == 404
    assert "secret" not in answer.text.replace("%2Fsecret", "")
    assert set(queue.looked_up) <= {"export-8-a0", "export-7-a1"}


def test_a_page_of_another_site_starts_nothing(visit: Callable[..., FlaskClient], queue: FakeQueue) -> None:
    """A cookie alone is not enough; nor is one with a password that the browser sends along by itself."""
    browser = visit()
    for headers in (HTML, JSON, HTML | {"Authorization": "Basic YTpi"}, HTML | {"Authorization": "Bearer x"}):
        answer = browser.post(ADDRESS, data={"kind": "dataset"}, headers=headers)
        assert answer.status_code == 400, headers
        assert "sent from somewhere else" in answer.text
    assert queue.work == []


def test_a_page_s_script_starts_one_with_the_page_s_token(visit: Callable[..., FlaskClient], queue: FakeQueue) -> None:
    """As the other forms."""
    browser = visit()
    headers = JSON | {"X-CSRFToken": csrf_of(browser.get("/projects/7/", headers=HTML))}
    assert browser.post(ADDRESS, data={"kind": "dataset"}, headers=headers).status_code == 202
    assert queue.work == [ExportWork(7)]


def test_a_token_that_is_sent_along_is_who_asks(visit: Callable[..., FlaskClient], queue: FakeQueue) -> None:
    """Whoever the browser is signed in as: no cookie adds to what a token may."""
    browser = visit(ADAS_TOKEN)
    assert browser.post(ADDRESS, data={"kind": "zip"}, headers=with_token(BOBS_TOKEN)).status_code == 404
    assert queue.work == []
    assert browser.get(ADDRESS, headers=JSON).status_code == 200


@pytest.mark.parametrize("scheme", ["Token", "token", "TOKEN"])
def test_a_scheme_s_case_doesn_t_matter(visit: Callable[..., FlaskClient], scheme: str) -> None:
    """As HTTP has it."""
    headers = {**SCRIPT, "Authorization": f"{scheme}  {ADAS_TOKEN} "}
    assert visit("").get(ADDRESS, headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("token", "words", "is_asked"),
    [
        ("c" * 40, "doesn't accept this token", True),
        ("", "Paste a token first", False),
        ("two words", "This is no token", False),
        ("x" * 1001, "This is no token", False),
    ],
)
@pytest.mark.parametrize("accept", [SCRIPT, HTML])
def test_a_wrong_token_is_told_of(
    visit: Callable[..., FlaskClient],
    office: FakeOffice,
    queue: FakeQueue,
    token: str,
    words: str,
    is_asked: bool,
    accept: dict[str, str],
) -> None:
    """With 401 in JSON, never with the sign-in page; whoever is signed in by a cookie stays so."""
    browser = visit()
    office.asked.clear()
    for send in (browser.get, browser.post):
        answer = send(ADDRESS, headers={**with_token(token), **accept})
        assert (answer.status_code, answer.mimetype) == (401, "application/json")
        assert words in answer.json["error"]  # type: ignore[index]
        assert answer.headers["WWW-Authenticate"] == "Token"
        assert token not in answer.text or not token
    assert bool(office.asked) is is_asked
    assert queue.work == []
    assert browser.get("/projects/", headers=HTML).status_code == 200


def test_a_token_that_was_revoked_meanwhile_is_told_of(visit: Callable[..., FlaskClient], office: FakeOffice) -> None:
    """Also when that shows only at the project."""
    script = visit("")
    assert script.get("/projects/8/exports", headers=with_token(ADAS_TOKEN)).status_code == 200
    del office.people[ADAS_TOKEN]
    answer = script.get(ADDRESS, headers=with_token(ADAS_TOKEN))
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Token")


def test_who_isn_t_signed_in_is_told_so(visit: Callable[..., FlaskClient], queue: FakeQueue) -> None:
    """A browser is sent to sign in, a script gets 401; neither hears of a page that is too old."""
    for method in ("GET", "POST"):
        answer = visit("").open(ADDRESS, method=method, headers=HTML)
        assert answer.location.startswith("/sign-in")
        answer = visit("").open(ADDRESS, method=method, headers=SCRIPT)
        assert (answer.status_code, answer.mimetype) == (401, "application/json")
        assert "Authorization: Token" in answer.text
    assert queue.work == []


def test_tokens_are_for_exports_alone(visit: Callable[..., FlaskClient]) -> None:
    """Other pages know a cookie, and nothing else."""
    script = visit("")
    for path in ("/projects/", "/projects/7/", "/projects/7/gallery"):
        assert script.get(path, headers=with_token(ADAS_TOKEN)).status_code == 401
        assert script.get(path, headers={**with_token(ADAS_TOKEN), **HTML}).status_code == 302


def test_when_label_studio_is_down_a_script_is_told(visit: Callable[..., FlaskClient], office: FakeOffice) -> None:
    """With 503, in JSON."""
    office.is_down = True
    answer = visit("").get(ADDRESS, headers=with_token(ADAS_TOKEN))
    assert (answer.status_code, answer.mimetype) == (503, "application/json")
