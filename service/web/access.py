"""Who is asking, and what they may see: signing in to our pages is signing in to Label Studio.

A person pastes a token of theirs, or uses the session that their browser has at Label Studio: cookies know hosts but
no ports, so its `sessionid` arrives here too where both have the same host name. Either is checked with Label Studio
when it is first used and again each minute. Our own cookie is signed and holds the token, or the word that the session
is to be used; never the session itself. A script sends its token along with each request, where scripts are let in.
"""

import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, NoReturn, Protocol
from urllib.parse import urlsplit

from cachetools import TTLCache
from flask import (
    Blueprint,
    abort,
    flash,
    g,
    jsonify,
    make_response,
    redirect,
    render_template,
    request,
    session,
    url_for,
)
from werkzeug.wrappers import Response as AnyResponse

from service.errors import LabelStudioUnavailable, NegativesError, NotFound, Unauthorized

CHECKED_SECONDS = 60.0
"""How long an answer of Label Studio's about a person holds: a token that was revoked ends within it."""
MOST_PEOPLE = 256
MOST_CHECKS = 4096
LONGEST_TOKEN = 1000
"""A personal access token has about 250 characters, and a cookie has room for 4,000."""
LABEL_STUDIO_COOKIE = "sessionid"
SCRIPT_SCHEME = "Token"
"""As Label Studio's own API has it."""


class Person(Protocol):
    """A user of Label Studio."""

    @property
    def id(self) -> int:
        """Label Studio's id of them."""

    @property
    def email(self) -> str:
        """Their e-mail address."""

    @property
    def name(self) -> str:
        """What to call them."""


class PersonalClient(Protocol):
    """Label Studio, signed in as one person."""

    def whoami(self) -> Person:
        """Who that is."""

    def sees(self, project_id: int) -> bool:
        """Whether they may see the project."""

    def write_review(self, task_id: int, result: Sequence[Mapping[str, Any]]) -> None:
        """Add an annotation of theirs to a task."""

    def close(self) -> None:
        """Give the connections back."""


@dataclass(frozen=True, slots=True)
class Credential:
    """What a person signs in with: a token, or the session that their browser has at Label Studio."""

    token: str = field(default="", repr=False)
    session: str = field(default="", repr=False)

    @property
    def digest(self) -> str:
        """The same for the same credential, and tells nothing of it."""
        return sha256(f"{'token' if self.token else 'session'}:{self.token or self.session}".encode()).hexdigest()


@dataclass(frozen=True, slots=True, weakref_slot=True)
class Visitor:
    """A person who is signed in, and Label Studio as it answers them; the client ends when nobody holds the visitor."""

    person: Person
    client: PersonalClient


class Access:
    """Knows who is asking, by the cookie of the current request. Safe to share between threads."""

    def __init__(
        self, connect: Callable[[Credential], PersonalClient], *, timer: Callable[[], float] = time.monotonic
    ) -> None:
        """`connect` makes a client of its own for a credential: two people never share one; `timer` counts seconds."""
        self._connect = connect
        self._visitors: TTLCache[str, Visitor] = TTLCache(MOST_PEOPLE, CHECKED_SECONDS, timer=timer)
        self._seen: TTLCache[tuple[int, int], bool] = TTLCache(MOST_CHECKS, CHECKED_SECONDS, timer=timer)
        self._lock = threading.Lock()
        self._asking = tuple(threading.Lock() for _ in range(16))  # so that one person's many requests ask once

    def visitor(self) -> Visitor:
        """Who sent the current request.

        When nobody is signed in, or Label Studio no longer accepts them, the request ends here: a page is sent to the
        sign-in page, what a script asked for is answered with 401 in JSON. Raises `LabelStudioUnavailable` when Label
        Studio can't be asked; who was signed in stays so.
        """
        if (known := g.get("visitor")) is not None:
            assert isinstance(known, Visitor)
            return known
        credential = self._credential()
        if credential is None:
            _to_sign_in()
        try:
            g.visitor = self.recognize(credential)
        except Unauthorized:
            self._turn_away()
        if not is_script() and session.get("person", g.visitor.person.id) != g.visitor.person.id:
            name = g.visitor.person.name
            forget()
            _to_sign_in(f"Your browser is now signed in to Label Studio as {name}: sign in here again.")
        return g.visitor  # type: ignore[no-any-return]

    def let_scripts_in(self) -> None:
        """Before a request: who sends a token of Label Studio's along, `Authorization: Token …`, is its owner.

        Then no cookie counts, and no page of another site can have sent it: browsers add no such header by themselves.
        A header of another scheme is not for us: a proxy's password, for one, which browsers do send by themselves.
        Where nobody is signed in either way, the request ends here.
        """
        scheme, _, token = request.headers.get("Authorization", "").strip().partition(" ")
        if scheme.lower() == SCRIPT_SCHEME.lower():
            g.script_token = token.strip()
            if problem := _unfit(g.script_token):
                _refuse_script(problem)
        elif self._credential() is None:
            if not wants_page():
                _refuse_script("Nobody is signed in: send a token of Label Studio's along, Authorization: Token …")
            _to_sign_in()

    def check(self, visitor: Visitor, project_id: int) -> None:
        """Raise `NotFound` for a project that the visitor may not see, as for one that doesn't exist."""
        if not self.may_see(visitor, project_id):
            raise NotFound(f"There is no project {project_id}, or you may not see it.")

    def may_see(self, visitor: Visitor, project_id: int) -> bool:
        """Whether Label Studio lets the visitor see the project, as it said within the last minute."""
        key = visitor.person.id, project_id
        with self._asking[hash(key) % len(self._asking)]:
            with self._lock:
                known = self._seen.get(key)
            if known is None:
                try:
                    known = visitor.client.sees(project_id)
                except Unauthorized:
                    self._turn_away(visitor)
                with self._lock:
                    self._seen[key] = known
        return known

    def recognize(self, credential: Credential) -> Visitor:
        """Who Label Studio says it is. Raises `Unauthorized` when it says that it is nobody."""
        digest = credential.digest
        with self._asking[hash(digest) % len(self._asking)]:
            with self._lock:
                known = self._visitors.get(digest)
            if known is None:
                known = self._ask(credential)
                with self._lock:
                    self._visitors[digest] = known
        return known

    def _ask(self, credential: Credential) -> Visitor:
        client = self._connect(credential)
        try:
            visitor = Visitor(client.whoami(), client)
        except BaseException:
            client.close()
            raise
        # A minute later another client takes its place, while requests may still be using this one.
        weakref.finalize(visitor, client.close)
        return visitor

    def _turn_away(self, visitor: Visitor | None = None) -> NoReturn:
        """End the request of somebody whom Label Studio doesn't know any more."""
        with self._lock:
            for digest in list(self._visitors):
                if visitor is not None and self._visitors.get(digest) is visitor:
                    self._visitors.pop(digest, None)
        if is_script():
            _refuse_script("Label Studio doesn't accept this token: it is wrong, was revoked or has run out")
        is_token = "token" in session
        forget()
        _to_sign_in(
            "Label Studio doesn't accept your token any more: it was revoked or has run out. Paste another one."
            if is_token
            else "Your session in Label Studio has ended: sign in there again, then come back."
        )

    def _credential(self) -> Credential | None:
        if is_script():
            return Credential(token=g.script_token)
        if token := session.get("token"):
            return Credential(token=token)
        if session.get("by_session") and (theirs := request.cookies.get(LABEL_STUDIO_COOKIE)):
            return Credential(session=theirs)
        return None


def access_blueprint(access: Access, label_studio_url: str) -> Blueprint:
    """`/sign-in` and `/sign-out`; `label_studio_url` is for links that the browser follows."""
    blueprint = Blueprint("access", __name__)

    def page(problem: str = "", status: int = 200) -> AnyResponse:
        offered, trouble = _offered(access)
        shown = render_template(
            "sign_in.html",
            offered=offered,
            problem=problem or trouble,
            next=own_path(request.values.get("next", "")),
            label_studio_url=label_studio_url,
        )
        return make_response(shown, status)

    @blueprint.get("/sign-in")
    def sign_in() -> AnyResponse:
        return page()

    @blueprint.post("/sign-in")
    def signed_in() -> AnyResponse:
        by_session = "session" in request.form
        if by_session:
            credential = Credential(session=request.cookies.get(LABEL_STUDIO_COOKIE, ""))
            if not credential.session:
                return page("Your browser sends no session of Label Studio's any more: sign in there first.", 401)
        else:
            credential = Credential(token=request.form.get("token", "").strip())
            if problem := _unfit(credential.token):
                return page(problem, 400)
        try:
            person = access.recognize(credential).person
        except Unauthorized:
            return page(
                "Label Studio doesn't know this session any more: sign in there again, then come back."
                if by_session
                else "Label Studio doesn't accept this token: it is wrong, was revoked, or your organization has that "
                "kind switched off. Copy it anew and paste the whole of it.",
                401,
            )
        except LabelStudioUnavailable:
            return page(UNAVAILABLE, 503)
        wanted = own_path(request.form.get("next", ""))
        session.clear()  # nothing of whoever was here before, their CSRF token neither
        session.permanent = True
        session["person"] = person.id  # a session of Label Studio's may become somebody else's
        if by_session:
            session["by_session"] = True
        else:
            session["token"] = credential.token
        return redirect(wanted, 303)

    @blueprint.post("/sign-out")
    def sign_out() -> AnyResponse:
        forget()
        flash("You are signed out here. In Label Studio nothing has changed.", "good")
        return redirect(url_for("access.sign_in"), 303)

    return blueprint


UNAVAILABLE = (
    "Label Studio doesn't answer as it should now. Nothing is lost: try again in a moment. "
    "If it works for others, you may not be a member of an organization there any more."
)


def _offered(access: Access) -> tuple[Person | None, str]:
    """Whom the browser's session at Label Studio belongs to; beside it what is wrong, if it can't be asked."""
    theirs = request.cookies.get(LABEL_STUDIO_COOKIE)
    if not theirs:
        return None, ""
    try:
        return access.recognize(Credential(session=theirs)).person, ""
    except Unauthorized:  # an anonymous visitor of Label Studio's sign-in page has a session, too
        return None, ""
    except NegativesError:
        return None, UNAVAILABLE


def _unfit(token: str) -> str:
    """Why this can't be a token, if it can't; fit to be sent in a header otherwise."""
    if not token:
        return "Paste a token first."
    if not (token.isascii() and token.isprintable()) or " " in token or len(token) > LONGEST_TOKEN:
        return "This is no token: one has letters, digits and signs of ASCII, without spaces. Copy it anew."
    if token.startswith("ey") and "." in token and token.count(".") != 2:
        return (
            "This personal access token is cut short: Label Studio shows it whole only once, when it is made. "
            "Make a new one and paste the whole of it."
        )
    return ""


def own_path(wanted: str) -> str:
    """Where to go after signing in: the path that was wanted, if it is one of ours, else the overview.

    Browsers read `\\` as `/` and leave out tabs and newlines; an address that starts with `//` is another host's.
    """
    home = url_for("overview.overview")
    if not wanted.startswith("/") or wanted.startswith("//") or "\\" in wanted or not wanted.isprintable():
        return home
    try:
        path = urlsplit(wanted).path
    except ValueError:
        return home
    return home if path in (url_for("access.sign_in"), url_for("access.sign_out")) else wanted


def forget() -> None:
    """Whoever is signed in by the current request's cookie is so no longer."""
    session.clear()
    g.pop("visitor", None)


def is_script() -> bool:
    """Whether the current request is a script's that was let in."""
    return "script_token" in g


def _refuse_script(message: str) -> NoReturn:
    answer = make_response(jsonify(error=message), 401)
    answer.headers["WWW-Authenticate"] = SCRIPT_SCHEME
    abort(answer)


def wants_page() -> bool:
    """Whether the current request is a person's browser going somewhere, rather than a script or a picture."""
    if is_script():
        return False
    asked = request.headers.get("Accept", "")
    return not asked or "text/html" in asked


def _to_sign_in(message: str = "") -> NoReturn:
    """End the request: a page is sent to the sign-in page, and back from there; a script is told in JSON."""
    if not wants_page():
        answer = jsonify(error=message or "nobody is signed in: reload the page")
        abort(make_response(answer, 401))
    if message:
        flash(message, "bad")
    if request.method in ("GET", "HEAD"):
        wanted = request.full_path if request.query_string else request.path
    else:  # a form: back to the page that it is on
        referrer = urlsplit(request.referrer or "")
        wanted = referrer.path if referrer.netloc == request.host else ""
    abort(redirect(url_for("access.sign_in", next=wanted or None), 302 if request.method in ("GET", "HEAD") else 303))
