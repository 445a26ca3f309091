"""What every route of the web application promises: health, errors as JSON or as pages, and room for Label Studio."""

import ast
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.exceptions import TooManyRequests

from service import __version__, errors
from service.domain.model import Rules
from service.domain.work import Work
from service.errors import NegativesError
from service.web import create_app
from tests.web.visits import ADAS_TOKEN, HTML, SCRIPT, FakeOffice, FakeQueue, FakeStudio, sign_in, some_pages


def take(_work: Work) -> None:
    """Nothing here puts work in."""
    raise AssertionError


@pytest.fixture
def app() -> Flask:
    """The application."""
    return create_app(secret="a secret of 8 or more", put=take, max_webhook_bytes=1000, rules=Rules())


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    """Somebody who asks it."""
    return app.test_client()


def raising(app: Flask, error: Exception) -> FlaskClient:
    """A client of the application with one more route, `/broken`, that raises."""

    def broken() -> str:
        raise error

    app.add_url_rule("/broken", view_func=broken)
    return app.test_client()


def ours(kind: type[NegativesError] = NegativesError) -> Iterator[type[NegativesError]]:
    """The whole tree of errors."""
    yield kind
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from ours(child)


def test_health_is_told_to_anyone(client: FlaskClient) -> None:
    """Load balancers know no secret; they learn that it is up, and which version. Label Studio looks for the model."""
    answer = client.get("/health")
    assert answer.status_code == 200
    assert answer.json == {
        "status": "UP",
        "model_class": "Negatives",
        "service": "label-studio-negatives",
        "version": __version__,
    }


@pytest.mark.parametrize("kind", list(ours()))
def test_what_we_raise_on_purpose_is_answered_with_its_status(app: Flask, kind: type[NegativesError]) -> None:
    """Each class of the tree knows its status; its message is the answer."""
    answer = raising(app, kind("task 12 has no image")).get("/broken")
    assert (answer.status_code, answer.json) == (kind.http_status, {"error": "task 12 has no image"})


def test_what_nobody_expected_tells_nothing(app: Flask) -> None:
    """500; what it was is the log's."""
    answer = raising(app, ZeroDivisionError("in /srv/secret.py")).get("/broken")
    assert answer.status_code == 500
    assert answer.json == {"error": "something went wrong here; the service's log says what"}


def test_what_http_knows_is_answered_as_json(app: Flask) -> None:
    """Its own code and sentence, and the headers that belong to it."""
    answer = raising(app, TooManyRequests("slower, please", retry_after=7)).get("/broken")
    assert (answer.status_code, answer.json) == (429, {"error": "slower, please"})
    assert (answer.content_type, answer.headers["Retry-After"]) == ("application/json", "7")


def test_without_pages_there_are_none(client: FlaskClient) -> None:
    """Neither they nor their files."""
    assert [client.get(path, headers=HTML).status_code for path in ("/", "/sign-in", "/static/style.css")] == [404] * 3
    assert client.get("/nowhere", headers=HTML).mimetype == "application/json"


@pytest.fixture
def studio() -> FakeStudio:
    """Label Studio behind the pages."""
    return FakeStudio()


@pytest.fixture
def with_pages(studio: FakeStudio) -> Flask:
    """The application with pages, one at a time."""
    pages = replace(some_pages(FakeOffice(), studio, FakeQueue()), at_a_time=1, patience=10.0)
    return create_app(secret="a secret of 8 or more", put=take, max_webhook_bytes=1000, rules=Rules(), pages=pages)


@pytest.mark.parametrize("kind", list(ours()))
def test_on_pages_what_we_raise_is_a_page(with_pages: Flask, studio: FakeStudio, kind: type[NegativesError]) -> None:
    """With its status and its sentence, as text; a script gets JSON all the same."""
    browser = with_pages.test_client()
    sign_in(browser, ADAS_TOKEN)
    studio.trouble = kind("task 12 has no <image>")
    page = browser.get("/projects/7/", headers=HTML)
    assert (page.status_code, page.mimetype) == (kind.http_status, "text/html")
    assert "task 12 has no &lt;image&gt;" in page.text
    told = browser.get("/projects/7/", headers=SCRIPT)
    assert (told.status_code, told.json) == (kind.http_status, {"error": "task 12 has no <image>"})


def test_a_page_that_nobody_expected_to_fail_tells_nothing(with_pages: Flask, studio: FakeStudio) -> None:
    """As the other routes."""
    browser = with_pages.test_client()
    sign_in(browser, ADAS_TOKEN)

    def fails() -> None:
        raise ZeroDivisionError("in /srv/secret.py")

    studio.before_reading = fails
    page = browser.get("/projects/7/", headers=HTML)
    assert (page.status_code, page.mimetype) == (500, "text/html")
    assert "secret" not in page.text


def test_pages_leave_room_for_label_studio(with_pages: Flask, studio: FakeStudio) -> None:
    """Who visits one too many is told to come back; events and strokes are answered; afterwards pages are, too."""
    one, other = with_pages.test_client(), with_pages.test_client()
    sign_in(one, ADAS_TOKEN)
    started, go_on = threading.Event(), threading.Event()

    def slowly() -> None:
        started.set()
        go_on.wait(10)

    studio.before_reading = slowly
    visit = threading.Thread(target=lambda: one.get("/projects/7/", headers=HTML))
    visit.start()
    assert started.wait(10)
    refused = other.get("/sign-in", headers=HTML)
    assert (refused.status_code, refused.mimetype) == (503, "text/html")
    assert "try again in a few seconds" in refused.text
    assert other.get("/health").status_code == 200
    go_on.set()
    visit.join()
    for _ in range(3):
        assert other.get("/sign-in", headers=HTML).status_code == 200


def test_the_table_in_the_docstring_is_the_tree() -> None:
    """Class, exit code, HTTP status and whether to try again, as `errors.py` draws them."""
    text = ast.get_docstring(ast.parse(Path(errors.__file__).read_text(encoding="utf-8"))) or ""
    drawn = {
        words[0]: (words[1], words[2], "yes" in words[3:4])
        for line in text.splitlines()
        if len(words := line.strip("│├└─ ").split()) > 2 and words[2].isdigit()
    }
    told = {
        kind.__name__: (
            "-" if drawn[kind.__name__][0] == "-" else str(kind.exit_code),  # "-": it never ends a command
            str(kind.http_status),
            kind.retryable,
        )
        for kind in ours()
        if kind is not NegativesError
    }
    assert drawn == told
