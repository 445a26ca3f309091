import json
from collections.abc import Callable

import httpx
import pytest

from service.errors import LabelStudioUnavailable, Unauthorized
from service.label_studio.auth import LabelStudioAuth, SessionAuth

STUDIO = "http://studio.internal:8080"
LEGACY = "1f" * 20
EXCHANGE = "/api/token/refresh/"
PERSONAL = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJtZSJ9.c2lnbmF0dXJl"
OTHER_ORIGINS = (
    "http://pictures.example/a.jpg",
    "https://studio.internal:8080/a.jpg",
    "http://studio.internal/a.jpg",
    "http://studio.internal:8081/a.jpg",
    "http://sub.studio.internal:8080/a.jpg",
    "http://studio.internal.example:8080/a.jpg",
    "http://studio.internal:8080@pictures.example/a.jpg",
)
ELSEWHERE = ("http://bucket.example/a.jpg?signature=1", "https://studio.internal/a.jpg", "//bucket.example/a.jpg")


class FakeStudio:
    """Label Studio's doors, with memory: exchanges personal tokens and lets in who has a fresh access token.

    `fresh` are the access tokens that it takes; each exchange makes a new one. `elsewhere` are redirects by path.
    """

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.exchanges = 0
        self.fresh: set[str] = set()
        self.elsewhere: dict[str, str] = {}
        self.exchange: Callable[[httpx.Request], httpx.Response] = self._exchange

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        # A copy: the same request is signed anew and sent again.
        self.requests.append(
            httpx.Request(request.method, request.url, headers=request.headers, extensions=request.extensions)
        )
        if request.url.path.endswith(EXCHANGE):
            return self.exchange(request)
        if request.url.path in self.elsewhere:
            return httpx.Response(302, headers={"Location": self.elsewhere[request.url.path]})
        if (request.url.scheme, request.url.host) != ("http", "studio.internal") or request.headers.get(
            "Authorization"
        ) == f"Token {LEGACY}":
            return httpx.Response(200, text="in")
        allowed = request.headers.get("Authorization") in {f"Bearer {token}" for token in self.fresh}
        return httpx.Response(200 if allowed else 401, text="in" if allowed else "out")

    def _exchange(self, request: httpx.Request) -> httpx.Response:
        assert json.loads(request.content) == {"refresh": PERSONAL}
        self.exchanges += 1
        self.fresh = {f"access-{self.exchanges}"}
        return httpx.Response(200, json={"access": f"access-{self.exchanges}"})

    def signatures(self) -> list[str | None]:
        """The Authorization of each request that wasn't an exchange."""
        return [
            request.headers.get("Authorization") for request in self.requests if not request.url.path.endswith(EXCHANGE)
        ]


def client(studio: FakeStudio, token: str, *, base: str = STUDIO) -> httpx.Client:
    """A client that signs as the service does."""
    return httpx.Client(
        auth=LabelStudioAuth(base, token), transport=httpx.MockTransport(studio), follow_redirects=True, timeout=7
    )


def test_a_legacy_token_goes_as_token() -> None:
    """`Authorization: Token …`, and nothing is exchanged."""
    studio = FakeStudio()
    assert client(studio, LEGACY).get(f"{STUDIO}/api/projects/1/").text == "in"
    assert (studio.signatures(), studio.exchanges) == ([f"Token {LEGACY}"], 0)


def test_a_personal_token_is_exchanged_first() -> None:
    """The personal token itself is sent to the exchange only; the access token goes as Bearer."""
    studio = FakeStudio()
    assert client(studio, PERSONAL).get(f"{STUDIO}/api/projects/1/").text == "in"
    assert (studio.signatures(), studio.exchanges) == (["Bearer access-1"], 1)


def test_an_access_token_is_used_until_it_runs_out() -> None:
    """Many requests, one exchange."""
    studio = FakeStudio()
    with client(studio, PERSONAL) as http:
        for _ in range(5):
            http.get(f"{STUDIO}/api/projects/1/")
    assert studio.exchanges == 1


@pytest.mark.parametrize("path", ["/api/projects/1/", "/data/upload/1/a.jpg", "/data/local-files/?d=a.jpg"])
def test_an_access_token_that_ran_out_is_renewed(path: str) -> None:
    """On 401 once more with a fresh one, for files too."""
    studio = FakeStudio()
    with client(studio, PERSONAL) as http:
        http.get(f"{STUDIO}{path}")
        studio.fresh.clear()
        assert http.get(f"{STUDIO}{path}").text == "in"
    assert studio.signatures() == ["Bearer access-1", "Bearer access-1", "Bearer access-2"]


def test_a_streamed_file_is_renewed_too() -> None:
    """Streaming, as images are fetched, renews like any other request."""
    studio = FakeStudio()
    with client(studio, PERSONAL) as http:
        http.get(f"{STUDIO}/api/projects/1/")
        studio.fresh.clear()
        with http.stream("GET", f"{STUDIO}/data/upload/1/a.jpg") as response:
            assert b"".join(response.iter_bytes()) == b"in"


def test_a_401_is_tried_once_more_only() -> None:
    """Where a fresh access token is not accepted either, the 401 comes back; there is no third try."""
    studio = FakeStudio()

    def useless(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"access": "useless"})

    studio.exchange = useless
    assert client(studio, PERSONAL).get(f"{STUDIO}/api/projects/1/").status_code == 401
    assert studio.signatures() == ["Bearer useless", "Bearer useless"]


def test_a_legacy_token_is_not_tried_again() -> None:
    """A legacy token that isn't accepted is just that."""
    studio = FakeStudio()
    assert client(studio, "2e" * 20).get(f"{STUDIO}/api/projects/1/").status_code == 401
    assert len(studio.requests) == 1


def test_the_exchange_keeps_the_clients_timeout() -> None:
    """A Label Studio that hangs while it exchanges a token doesn't hang us."""
    studio = FakeStudio()
    client(studio, PERSONAL).get(f"{STUDIO}/api/projects/1/")
    assert studio.requests[0].url.path == EXCHANGE
    assert studio.requests[0].extensions["timeout"]["read"] == 7


def test_the_exchange_is_under_the_path_prefix() -> None:
    """A Label Studio under a path exchanges tokens there."""
    studio = FakeStudio()
    client(studio, PERSONAL, base=f"{STUDIO}/labels/").get(f"{STUDIO}/labels/api/projects/1/")
    assert studio.requests[0].url == f"{STUDIO}/labels/api/token/refresh/"


@pytest.mark.parametrize("token", [LEGACY, PERSONAL])
@pytest.mark.parametrize("address", OTHER_ORIGINS)
def test_no_other_origin_gets_a_token(token: str, address: str) -> None:
    """Scheme, host and port must be Label Studio's own; a header that is there already is taken off."""
    studio = FakeStudio()
    client(studio, token).get(address, headers={"Authorization": f"Token {token}"})
    assert [request.headers.get("Authorization") for request in studio.requests] == [None]


def test_the_default_port_is_the_same_origin() -> None:
    """`http://host` and `http://host:80` are one place."""
    studio = FakeStudio()
    client(studio, LEGACY, base="http://studio.internal").get("http://studio.internal:80/api/projects/1/")
    assert studio.signatures() == [f"Token {LEGACY}"]


@pytest.mark.parametrize("token", [LEGACY, PERSONAL])
@pytest.mark.parametrize("target", ELSEWHERE)
def test_a_redirect_takes_no_token_elsewhere(token: str, target: str) -> None:
    """A presigned link is followed without the token."""
    studio = FakeStudio()
    studio.elsewhere["/tasks/1/presign/"] = target
    client(studio, token).get(f"{STUDIO}/tasks/1/presign/?fileuri=x")
    asked, followed = [request for request in studio.requests if not request.url.path.endswith(EXCHANGE)]
    assert asked.headers.get("Authorization")
    assert followed.url.host in ("bucket.example", "studio.internal")
    assert "Authorization" not in followed.headers


def test_a_redirect_from_elsewhere_gets_no_token() -> None:
    """Another host can't make us sign a request to Label Studio."""
    studio = FakeStudio()
    studio.elsewhere["/lure"] = f"{STUDIO}/api/users/1/"
    assert client(studio, LEGACY).get("http://other.example/lure").status_code == 401
    assert studio.signatures() == [None, None]


@pytest.mark.parametrize("token", ["eyJhbGciOiJIUzI1NiJ9.eyJzdWIi", "eyJh.b.c.d"])
def test_a_personal_token_that_was_cut_short_is_refused(token: str) -> None:
    """A token without its three parts is refused at once, saying how to get a whole one."""
    with pytest.raises(Unauthorized, match=r"cut short.*NEGATIVES_LABEL_STUDIO_TOKEN"):
        LabelStudioAuth(STUDIO, token)


@pytest.mark.parametrize("status", [400, 401, 403])
def test_a_personal_token_that_is_not_accepted_is_refused(status: int) -> None:
    """Revoked or run out: no retry can help, and the message says what does."""
    studio = FakeStudio()

    def refuse(_: httpx.Request) -> httpx.Response:
        return httpx.Response(status, json={"detail": PERSONAL})

    studio.exchange = refuse
    with pytest.raises(Unauthorized, match=r"revoked.*NEGATIVES_LABEL_STUDIO_TOKEN"):
        client(studio, PERSONAL).get(f"{STUDIO}/api/projects/1/")


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(503),
        httpx.Response(200, text="<html>"),
        httpx.Response(200, json={}),
        httpx.Response(200, json=["access"]),
    ],
)
def test_nonsense_from_the_exchange_can_be_tried_again(answer: httpx.Response) -> None:
    """A Label Studio that is starting or a proxy's page is no reason to call the token wrong."""
    studio = FakeStudio()

    def odd(_: httpx.Request) -> httpx.Response:
        return answer

    studio.exchange = odd
    with pytest.raises(LabelStudioUnavailable):
        client(studio, PERSONAL).get(f"{STUDIO}/api/projects/1/")


@pytest.mark.parametrize("token", [LEGACY, PERSONAL])
def test_repr_shows_no_token(token: str) -> None:
    """Logs and tracebacks show where, not with what."""
    assert repr(LabelStudioAuth(STUDIO, token)) == "LabelStudioAuth(studio.internal)"


@pytest.mark.parametrize("status", [401, 500])
def test_no_message_holds_the_token(status: int) -> None:
    """Not even when Label Studio says it back."""
    studio = FakeStudio()

    def echo(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, content=request.content)

    studio.exchange = echo
    with pytest.raises((Unauthorized, LabelStudioUnavailable)) as caught:
        client(studio, PERSONAL).get(f"{STUDIO}/api/projects/1/")
    assert PERSONAL not in str(caught.value)


def test_a_cut_tokens_message_does_not_hold_it() -> None:
    """The refusal of a cut token doesn't print what is there of it."""
    with pytest.raises(Unauthorized) as caught:
        LabelStudioAuth(STUDIO, PERSONAL[:30])
    assert PERSONAL[:10] not in str(caught.value)


# ---------------------------------------------------------------- by a session

SESSION = "0s3ssi0n1d"


class Door:
    """Hosts that answer with `headers`, or send on what is in `elsewhere` by path; `requests` remembers all."""

    def __init__(self, **elsewhere: str) -> None:
        self.requests: list[httpx.Request] = []
        self.elsewhere = elsewhere
        self.headers: dict[str, str] = {}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        self.requests.append(httpx.Request(request.method, request.url, headers=request.headers))
        target = self.elsewhere.get(request.url.path.strip("/"))
        if target is not None:
            return httpx.Response(302, headers={"Location": target, **self.headers})
        return httpx.Response(200, text="in", headers=self.headers)

    def cookies(self) -> list[str | None]:
        """The cookies of each request."""
        return [request.headers.get("Cookie") for request in self.requests]


def browser(door: Door, session: str = SESSION, *, base: str = STUDIO) -> httpx.Client:
    """A client that acts for somebody who has this session."""
    return httpx.Client(
        auth=SessionAuth(base, session), transport=httpx.MockTransport(door), follow_redirects=True, timeout=7
    )


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH", "DELETE"])
def test_a_session_goes_as_its_cookie(method: str) -> None:
    """Alone, on Label Studio's own origin, and no token beside it."""
    door = Door()
    headers = {"Authorization": "Token of-somebody", "Cookie": "sessionid=another; x=y"}
    browser(door).request(method, f"{STUDIO}/api/projects/1/", headers=headers)
    assert door.cookies() == [f"sessionid={SESSION}"]
    assert "Authorization" not in door.requests[0].headers


@pytest.mark.parametrize("address", OTHER_ORIGINS)
def test_no_other_origin_gets_a_session(address: str) -> None:
    """Scheme, host and port must be Label Studio's own; a cookie that is there already is taken off."""
    door = Door()
    browser(door).get(address, headers={"Cookie": f"sessionid={SESSION}"})
    assert door.cookies() == [None]


@pytest.mark.parametrize("target", ELSEWHERE)
def test_a_redirect_takes_no_session_elsewhere(target: str) -> None:
    """A presigned link is followed without it."""
    door = Door(presign=target)
    assert browser(door).get(f"{STUDIO}/presign").text == "in"
    assert door.cookies() == [f"sessionid={SESSION}", None]


def test_a_redirect_from_elsewhere_gets_no_session() -> None:
    """Another host can't make us act for somebody in Label Studio."""
    door = Door(lure=f"{STUDIO}/api/users/1/")
    browser(door).get("http://other.example/lure")
    assert door.cookies() == [None, None]


def test_cookies_that_label_studio_sets_are_not_sent_back() -> None:
    """A session is one person's: what an answer sets doesn't take its place, nor go beside it."""
    door = Door()
    door.headers = {"Set-Cookie": "sessionid=of-another; Path=/"}
    with browser(door) as http:
        http.get(f"{STUDIO}/api/projects/1/")
        http.get(f"{STUDIO}/api/projects/2/")
    assert door.cookies() == [f"sessionid={SESSION}"] * 2


def test_two_people_s_sessions_do_not_mix() -> None:
    """Each request goes with the session of whom it is for."""
    door = Door()
    with browser(door, "anns") as ann, browser(door, "bens") as ben:
        for http in (ann, ben, ann):
            http.get(f"{STUDIO}/api/users/1/")
    assert door.cookies() == ["sessionid=anns", "sessionid=bens", "sessionid=anns"]


def test_repr_shows_no_session() -> None:
    """Logs and tracebacks show where, not with what."""
    assert repr(SessionAuth(STUDIO, SESSION)) == "SessionAuth(studio.internal)"
