"""Signing in with what Label Studio knows people by, and seeing no more than there."""

import gc
from collections.abc import Iterator
from dataclasses import replace

import pytest
from flask import Flask
from flask.testing import FlaskClient

from service.domain.model import Rules
from service.web import create_app
from service.web.access import Credential
from tests.web.visits import (
    ADA,
    ADAS_SESSION,
    ADAS_TOKEN,
    BOB,
    BOBS_TOKEN,
    HTML,
    SCRIPT,
    FakeOffice,
    FakeQueue,
    FakeStudio,
    csrf_of,
    post,
    sign_in,
    some_pages,
)

SECRET = "a secret of 8 or more"


class Clock:
    """Seconds, as a test wants them."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def office() -> FakeOffice:
    """Ada and Bob at Label Studio: Ada sees projects 7 and 8, Bob only 8."""
    return FakeOffice()


@pytest.fixture
def clock() -> Clock:
    """It stands still."""
    return Clock()


def application(office: FakeOffice, clock: Clock, *, secure: bool = False) -> Flask:
    """The application with pages, and a clock that stands still."""
    pages = replace(some_pages(office, FakeStudio(), FakeQueue(), secure=secure), timer=clock)
    return create_app(secret=SECRET, put=lambda _: None, max_webhook_bytes=10_000, rules=Rules(), pages=pages)


@pytest.fixture
def app(office: FakeOffice, clock: Clock) -> Flask:
    """The application with pages."""
    return application(office, clock)


@pytest.fixture
def browser(app: Flask) -> Iterator[FlaskClient]:
    """A browser that keeps cookies."""
    with app.test_client() as browser:
        yield browser


def name_shown(browser: FlaskClient) -> str | None:
    """Who the overview says is signed in; None when it sends to the sign-in page."""
    answer = browser.get("/projects/", headers=HTML)
    if answer.status_code == 302:
        assert answer.location.startswith("/sign-in")
        return None
    assert answer.status_code == 200, answer.text
    return next(name for name in ("Ada", "Bob") if f">{name}</span>" in answer.text)


def our_cookie(browser: FlaskClient) -> str:
    """What the browser keeps for us."""
    found = browser.get_cookie("negatives_session")
    return "" if found is None else found.value


def test_a_token_signs_in_whom_it_belongs_to(browser: FlaskClient) -> None:
    """By Label Studio's word; spaces around a pasted one don't matter."""
    assert sign_in(browser, f"  {ADAS_TOKEN}\n").status_code == 303
    assert name_shown(browser) == "Ada"


@pytest.mark.parametrize(
    ("token", "status", "words"),
    [
        ("c" * 40, 401, "accept this token"),
        ("", 400, "Paste a token"),
        ("two words", 400, "This is no token"),
        ("tökén", 400, "This is no token"),
        ("x\r\nCookie: sessionid=1", 400, "This is no token"),
        ("x" * 1001, 400, "This is no token"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJleHAiOjF9", 400, "cut short"),
    ],
)
def test_what_is_no_token_of_anybody_s_signs_in_nobody(
    browser: FlaskClient, token: str, status: int, words: str
) -> None:
    """It is said what to do; what can't be a token isn't sent anywhere."""
    answer = sign_in(browser, token)
    assert answer.status_code == status
    assert words in answer.text
    assert token not in our_cookie(browser) or not token
    assert name_shown(browser) is None


def test_unfit_tokens_are_not_sent(browser: FlaskClient, office: FakeOffice) -> None:
    """Label Studio isn't asked about them."""
    sign_in(browser, "two words")
    assert office.asked == []


def test_a_token_that_was_refused_leaves_no_client_open(browser: FlaskClient, office: FakeOffice) -> None:
    """Whoever guesses doesn't use up connections."""
    sign_in(browser, "c" * 40)
    assert [client.is_closed for client in office.clients] == [True]


def test_while_label_studio_is_down_nobody_is_turned_away_for_good(browser: FlaskClient, office: FakeOffice) -> None:
    """Neither who signs in nor who is signed in: it says so, and later goes on."""
    office.is_down = True
    answer = sign_in(browser, ADAS_TOKEN)
    assert answer.status_code == 503
    assert "try again in a moment" in answer.text
    office.is_down = False
    sign_in(browser, ADAS_TOKEN)
    assert name_shown(browser) == "Ada"


def test_who_is_signed_in_stays_so_while_label_studio_is_down(
    browser: FlaskClient, office: FakeOffice, clock: Clock
) -> None:
    """Nobody has to sign in anew for it."""
    sign_in(browser, ADAS_TOKEN)
    office.is_down, clock.now = True, 61
    answer = browser.get("/projects/", headers=HTML)
    assert answer.status_code == 503
    assert "<h1>" in answer.text
    assert "Nothing is lost" in answer.text
    office.is_down = False
    assert name_shown(browser) == "Ada"


def test_a_browser_that_is_signed_in_at_label_studio_is_offered_to_continue(browser: FlaskClient) -> None:
    """With one button, which says as whom."""
    browser.set_cookie("sessionid", ADAS_SESSION)
    assert "Continue as ada@example.com" in browser.get("/sign-in", headers=HTML).text
    assert post(browser, "/sign-in", "/sign-in", session="yes").status_code == 303
    assert name_shown(browser) == "Ada"


def test_an_anonymous_session_is_offered_nothing(browser: FlaskClient) -> None:
    """Label Studio gives its cookie to everybody who opens its sign-in page."""
    browser.set_cookie("sessionid", "anonymous")
    assert "Continue as" not in browser.get("/sign-in", headers=HTML).text
    assert post(browser, "/sign-in", "/sign-in", session="yes").status_code == 401
    assert name_shown(browser) is None


def test_a_session_cookie_alone_signs_in_nobody(browser: FlaskClient) -> None:
    """Somebody has to press the button: who was never here is asked first."""
    browser.set_cookie("sessionid", ADAS_SESSION)
    assert name_shown(browser) is None


def test_the_offer_needs_label_studio(browser: FlaskClient, office: FakeOffice) -> None:
    """The page is there without it and says what is wrong."""
    browser.set_cookie("sessionid", ADAS_SESSION)
    office.is_down = True
    answer = browser.get("/sign-in", headers=HTML)
    assert answer.status_code == 200
    assert "answer as it should" in answer.text


def test_the_session_itself_is_not_copied(browser: FlaskClient) -> None:
    """Our cookie holds the word that it is to be used; without the session it is worth nothing."""
    browser.set_cookie("sessionid", ADAS_SESSION)
    post(browser, "/sign-in", "/sign-in", session="yes")
    with browser.session_transaction() as kept:
        assert ADAS_SESSION not in str(dict(kept))
    browser.delete_cookie("sessionid")
    assert name_shown(browser) is None


@pytest.mark.parametrize(
    ("wanted", "path"),
    [
        ("/projects/7/", "/projects/7/"),
        ("/projects/7/gallery?state=pending&page=2", "/projects/7/gallery?state=pending&page=2"),
        ("", "/projects/"),
        ("//evil.example", "/projects/"),
        ("///evil.example", "/projects/"),
        ("https://evil.example/projects/", "/projects/"),
        ("/\\evil.example", "/projects/"),
        ("\\/evil.example", "/projects/"),
        ("/\t/evil.example", "/projects/"),
        ("/\n/evil.example", "/projects/"),
        (" //evil.example", "/projects/"),
        ("javascript:alert(1)", "/projects/"),
        ("evil.example", "/projects/"),
        ("/sign-in?next=/sign-in", "/projects/"),
        ("/sign-out", "/projects/"),
    ],
)
def test_after_signing_in_one_goes_where_one_wanted_here(browser: FlaskClient, wanted: str, path: str) -> None:
    """To a path of ours, never to another host, however it is written."""
    assert sign_in(browser, ADAS_TOKEN, next=wanted).location == path


def test_who_isn_t_signed_in_comes_back_after_it(browser: FlaskClient) -> None:
    """The sign-in page knows where from."""
    answer = browser.get("/projects/7/?a=b", headers=HTML)
    assert answer.status_code == 302
    form = browser.get(answer.location, headers=HTML)
    assert 'name="next" value="/projects/7/?a=b"' in form.text


def test_a_script_is_told_in_json(browser: FlaskClient) -> None:
    """fetch() would follow a redirect and read a page as its answer."""
    answer = browser.get("/projects/", headers=SCRIPT)
    assert (answer.status_code, answer.mimetype) == (401, "application/json")


def test_a_form_of_who_isn_t_signed_in_any_more_leads_back_to_its_page(browser: FlaskClient) -> None:
    """Not to the address of the form, which only takes POST."""
    sign_in(browser, ADAS_TOKEN)
    token = csrf_of(browser.get("/projects/7/", headers=HTML))
    with browser.session_transaction() as kept:
        del kept["token"]
    answer = browser.post(
        "/projects/7/exports",
        data={"csrf_token": token},
        headers=HTML | {"Referer": "http://localhost/projects/7/?x=1"},
    )
    assert (answer.status_code, answer.location) == (303, "/sign-in?next=/projects/7/")


def test_the_cookie_is_for_the_server_alone(browser: FlaskClient) -> None:
    """Scripts don't read it, other sites don't send it, and it lasts for eight days."""
    cookie = sign_in(browser, ADAS_TOKEN).headers["Set-Cookie"]
    assert cookie.startswith("negatives_session=")
    assert {"HttpOnly", "SameSite=Lax", "Path=/"} <= set(cookie.split("; "))
    assert "Expires=" in cookie
    assert "Secure" not in cookie


def test_behind_https_the_cookie_stays_there(office: FakeOffice, clock: Clock) -> None:
    """Where the service is called by https."""
    browser = application(office, clock, secure=True).test_client()
    cookies = browser.get("/sign-in", base_url="https://localhost", headers=HTML).headers["Set-Cookie"]
    assert "Secure" in cookies.split("; ")


def test_a_cookie_that_was_changed_is_nobody_s(browser: FlaskClient) -> None:
    """It is signed."""
    sign_in(browser, ADAS_TOKEN)
    cookie = our_cookie(browser)
    browser.set_cookie("negatives_session", cookie[:-4] + ("AAAA" if cookie[-4:] != "AAAA" else "BBBB"))
    assert name_shown(browser) is None


def test_signing_out_ends_it(browser: FlaskClient) -> None:
    """The token is no longer in the browser, and says so."""
    sign_in(browser, ADAS_TOKEN)
    answer = post(browser, "/sign-out", "/projects/")
    assert (answer.status_code, answer.location) == (303, "/sign-in")
    with browser.session_transaction() as kept:
        assert "token" not in kept
    assert "You are signed out" in browser.get("/sign-in", headers=HTML).text
    assert name_shown(browser) is None


def test_signing_in_takes_over_nothing_from_before(browser: FlaskClient) -> None:
    """Not even the CSRF token: who gave somebody a cookie of theirs knows nothing of what comes."""
    before = csrf_of(browser.get("/sign-in", headers=HTML))
    sign_in(browser, ADAS_TOKEN)
    assert browser.post("/sign-out", data={"csrf_token": before}, headers=HTML).status_code == 400


def test_label_studio_is_asked_once_a_minute(browser: FlaskClient, office: FakeOffice, clock: Clock) -> None:
    """Not at each picture of a page."""
    sign_in(browser, ADAS_TOKEN)
    for _ in range(3):
        name_shown(browser)
    assert sorted(office.asked) == ["sees 7", "sees 8", "whoami"]
    clock.now = 61
    name_shown(browser)
    assert sorted(office.asked) == ["sees 7"] * 2 + ["sees 8"] * 2 + ["whoami"] * 2


def test_a_revoked_token_ends_within_a_minute(browser: FlaskClient, office: FakeOffice, clock: Clock) -> None:
    """With a sentence; what is left of the cookie holds no token."""
    sign_in(browser, ADAS_TOKEN)
    assert name_shown(browser) == "Ada"
    office.people.clear()
    assert name_shown(browser) == "Ada"
    clock.now = 61
    assert name_shown(browser) is None
    with browser.session_transaction() as kept:
        assert "token" not in kept
    assert "revoked or has run out" in browser.get("/sign-in", headers=HTML).text


def test_a_token_that_ends_between_two_questions_signs_out_too(
    browser: FlaskClient, office: FakeOffice, clock: Clock
) -> None:
    """Whichever question it is that Label Studio answers so."""
    sign_in(browser, ADAS_TOKEN)
    office.people.clear()
    answer = browser.get("/projects/7/", headers=HTML)
    assert (answer.status_code, answer.location) == (302, "/sign-in?next=/projects/7/")
    with browser.session_transaction() as kept:
        assert "token" not in kept
    assert clock.now == 0


def test_a_session_that_ended_is_told_of(browser: FlaskClient, office: FakeOffice, clock: Clock) -> None:
    """And what to do about it."""
    browser.set_cookie("sessionid", ADAS_SESSION)
    post(browser, "/sign-in", "/sign-in", session="yes")
    office.people.clear()
    clock.now = 61
    assert name_shown(browser) is None
    assert "Your session in Label Studio has ended" in browser.get("/sign-in", headers=HTML).text


def test_a_session_that_became_somebody_else_s_is_nobody_s(browser: FlaskClient, office: FakeOffice) -> None:
    """Somebody signed in at Label Studio as Bob in Ada's browser: nothing is done in his name until he says so here."""
    browser.set_cookie("sessionid", ADAS_SESSION)
    post(browser, "/sign-in", "/sign-in", session="yes")
    assert name_shown(browser) == "Ada"
    token = csrf_of(browser.get("/projects/", headers=HTML))
    office.people["another session"] = BOB
    browser.set_cookie("sessionid", "another session")
    answer = browser.post("/projects/8/exports", data={"csrf_token": token}, headers=HTML)
    assert (answer.status_code, answer.location.partition("?")[0]) == (303, "/sign-in")
    assert name_shown(browser) is None
    assert "signed in to Label Studio as Bob" in browser.get("/sign-in", headers=HTML).text
    post(browser, "/sign-in", "/sign-in", session="yes")
    assert name_shown(browser) == "Bob"


def test_each_person_has_a_client_of_their_own(app: Flask, office: FakeOffice) -> None:
    """Label Studio sets cookies at each answer: a shared client would answer one as the other."""
    ada, bob = app.test_client(), app.test_client()
    sign_in(ada, ADAS_TOKEN)
    sign_in(bob, BOBS_TOKEN)
    assert (name_shown(ada), name_shown(bob), name_shown(ada)) == ("Ada", "Bob", "Ada")
    assert [client.credential for client in office.clients] == [Credential(ADAS_TOKEN), Credential(BOBS_TOKEN)]


def test_a_client_is_closed_when_another_took_its_place(browser: FlaskClient, office: FakeOffice, clock: Clock) -> None:
    """A minute later: it isn't needed any more, and nobody else uses it."""
    sign_in(browser, ADAS_TOKEN)
    clock.now = 61
    name_shown(browser)
    browser.get("/sign-in", headers=HTML)  # the test client keeps the request before the last
    gc.collect()
    assert [client.is_closed for client in office.clients] == [True, False]


def test_what_one_may_not_see_is_as_what_doesn_t_exist(browser: FlaskClient, office: FakeOffice) -> None:
    """The same page for both, whatever is asked of it."""
    sign_in(browser, BOBS_TOKEN)
    pages = [
        browser.get(f"/projects/{project}/{page}", headers=HTML)
        for project in (7, 12345)
        for page in ("", "gallery", "images")
    ]
    assert [page.status_code for page in pages] == [404] * 6
    texts = {page.text.replace("12345", "7") for page in pages}
    heads = {text.partition("<main")[2] for text in texts}
    assert len(heads) == 1
    assert "Blood cells" not in "".join(texts)
    assert post(browser, "/projects/7/exports", "/projects/").status_code == 404
    assert office.sees[ADA.id] == {7, 8}


def test_what_one_person_may_see_says_nothing_of_another(app: Flask) -> None:
    """Answers are kept for a minute, each for who it was about."""
    ada, bob = app.test_client(), app.test_client()
    sign_in(ada, ADAS_TOKEN)
    sign_in(bob, BOBS_TOKEN)
    assert [who.get("/projects/7/", headers=HTML).status_code for who in (ada, bob, ada)] == [200, 404, 200]


def test_a_script_that_asks_for_what_it_may_not_see_is_told_in_json(browser: FlaskClient) -> None:
    """As for every other error."""
    sign_in(browser, BOBS_TOKEN)
    answer = browser.get("/projects/7/", headers=SCRIPT)
    assert (answer.status_code, answer.mimetype) == (404, "application/json")


def test_when_label_studio_can_t_say_who_may_see_it_nobody_does(browser: FlaskClient, office: FakeOffice) -> None:
    """A person who was removed from the organization gets 500 for everything there."""
    sign_in(browser, ADAS_TOKEN)
    office.fails_for.add(ADA.id)
    for path in ("/projects/", "/projects/7/"):
        answer = browser.get(path, headers=HTML)
        assert answer.status_code == 503
        assert "Blood cells" not in answer.text


@pytest.mark.parametrize(
    "path", ["/sign-in", "/sign-out", "/projects/7/exports", "/projects/7/gallery", "/projects/7/images"]
)
@pytest.mark.parametrize("token", [None, "made up"])
def test_no_form_is_taken_that_isn_t_ours(browser: FlaskClient, path: str, token: str | None) -> None:
    """Label Studio's own pages are on the same site, so the browser sends our cookie with what they post."""
    sign_in(browser, ADAS_TOKEN)
    answer = browser.post(path, data={} if token is None else {"csrf_token": token}, headers=HTML)
    assert answer.status_code == 400
    assert "nothing was done" in answer.text
    assert name_shown(browser) == "Ada"


def test_pages_run_nothing_but_what_is_ours(browser: FlaskClient) -> None:
    """Nor are they shown in another's frame, kept in a cache, or told of to others."""
    sign_in(browser, ADAS_TOKEN)
    for path in ("/sign-in", "/projects/", "/projects/7/", "/projects/12345/"):
        headers = browser.get(path, headers=HTML).headers
        policy = {part.strip() for part in headers["Content-Security-Policy"].split(";")}
        assert {"default-src 'self'", "img-src 'self' data:", "frame-ancestors 'none'"} <= policy
        assert "unsafe" not in headers["Content-Security-Policy"]
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "same-origin"
        assert headers["Cache-Control"] == "no-store"


def test_what_label_studio_calls_needs_neither_cookie_nor_token_of_ours(browser: FlaskClient) -> None:
    """Its secret is enough, and a cookie is no secret."""
    told = browser.post("/webhooks/label-studio", json={"action": "x"}, headers={"X-Negatives-Secret": SECRET})
    assert told.status_code in (200, 400)
    assert "csrf" not in told.text
    sign_in(browser, ADAS_TOKEN)
    assert browser.post("/webhooks/label-studio", json={"action": "x"}).status_code == 401
    health = browser.get("/health", headers=HTML)
    assert (health.status_code, health.mimetype) == (200, "application/json")


def test_errors_of_machine_routes_stay_json(browser: FlaskClient) -> None:
    """Even to a browser: whoever calls them is a program."""
    answer = browser.post("/webhooks/label-studio", headers=HTML)
    assert (answer.status_code, answer.mimetype) == (401, "application/json")


def test_an_address_that_nobody_has_is_told_as_one_asked(browser: FlaskClient) -> None:
    """A page for a person, JSON for a program."""
    page, told = browser.get("/nowhere", headers=HTML), browser.get("/nowhere", headers=SCRIPT)
    assert (page.status_code, page.mimetype) == (404, "text/html")
    assert (told.status_code, told.mimetype) == (404, "application/json")


def test_a_credential_shows_nothing_of_itself() -> None:
    """Neither in logs nor as a key."""
    one = Credential(ADAS_TOKEN)
    assert ADAS_TOKEN not in f"{one} {one!r} {one.digest}"
    assert one.digest != Credential(session=ADAS_TOKEN).digest
