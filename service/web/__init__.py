"""The web application, put together: routes for Label Studio, and pages for people."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Protocol

from flask import Flask, Response, current_app, g, jsonify, make_response, render_template, request
from flask_wtf.csrf import CSRFError, CSRFProtect
from werkzeug.exceptions import HTTPException, ServiceUnavailable
from werkzeug.wrappers import Response as AnyResponse

from service import __version__
from service.domain.model import Agreement, Rules
from service.domain.work import Work
from service.errors import LabelStudioUnavailable, NegativesError
from service.export.share import BAND
from service.ingest.ml_backend import ml_backend_blueprint
from service.ingest.webhook import webhook_blueprint
from service.web import directory, exports, overview, snapshot
from service.web.access import Access, Credential, PersonalClient, access_blueprint, is_script, wants_page
from service.web.crops import Crops, Images
from service.web.directory import Directory
from service.web.exports import Results, exports_blueprint
from service.web.gallery import EmptyImages, GiveVerdicts, gallery_blueprint
from service.web.overview import Surveys, check_visible, overview_blueprint
from service.web.snapshot import Snapshots

log = logging.getLogger(__name__)

HERE = Path(__file__).parent
FOR_LABEL_STUDIO = ("webhook", "ml_backend")
"""The blueprints that no person visits."""
SIGNED_IN_FOR = timedelta(days=8)
"""As long as a session of Label Studio's lasts at most."""
CONTENT_SECURITY_POLICY = (
    "default-src 'self'; img-src 'self' data:; frame-ancestors 'none'; form-action 'self'; base-uri 'none'"
)


class Studio(directory.Studio, snapshot.Studio, Protocol):
    """What the pages ask of Label Studio, signed in as the service."""


class Queue(overview.Queue, exports.Queue, Protocol):
    """The jobs."""


@dataclass(frozen=True, slots=True)
class Pages:
    """What the pages for people need.

    `secret_key` signs their cookie, `secure` keeps it to https. `label_studio_url` is for links that a browser follows.
    `connect` makes a client that is signed in as a person; `studio` gives the service's own, and is asked at the first
    page, as `images`, the source of images; `connected` tells the projects that call this service. `give` and `empty`
    write verdicts, `source_name` says what to call the image that a task names. `dataset` is the data.yaml to export
    into, or empty, `band` the share of negatives that helps there; `formats` are those that a ZIP can have, the usual
    one first, and `results` is what exports left. `timer` counts seconds, `patience` is how many an overview waits for
    a project that is being read. So many requests for pages and pictures are answered `at_a_time`; more are told to
    come back.
    """

    secret_key: str = field(repr=False)
    secure: bool
    label_studio_url: str
    connect: Callable[[Credential], PersonalClient]
    studio: Callable[[], Studio]
    connected: Callable[[], list[int]]
    images: Callable[[], Images]
    give: GiveVerdicts
    empty: EmptyImages
    source_name: Callable[[str], str]
    queue: Queue
    results: Results
    agreement: Agreement
    margin: int
    dataset: str
    formats: Sequence[str]
    band: tuple[float, float] = BAND
    timer: Callable[[], float] = time.monotonic
    patience: float = overview.PATIENCE_SECONDS
    at_a_time: int = 12


def create_app(
    *,
    secret: str,
    put: Callable[[Work], object],
    max_webhook_bytes: int,
    rules: Rules,
    basic_auth: bool = True,
    pages: Pages | None = None,
) -> Flask:
    """The Flask application; `put` makes work durable before it returns.

    `rules` hold for a stroke where neither its fields nor the labeling configuration say otherwise; `basic_auth` asks
    Label Studio to sign in with the secret before it is answered. Without `pages` there are none.
    """
    app = Flask("negatives", root_path=str(HERE), static_folder=None if pages is None else "static")
    app.config["MAX_CONTENT_LENGTH"] = max_webhook_bytes
    app.register_blueprint(webhook_blueprint(secret=secret, put=put))
    app.register_blueprint(ml_backend_blueprint(secret=secret if basic_auth else None, rules=rules))
    app.add_url_rule("/health", view_func=_health)
    if pages is not None:
        _add_pages(app, pages)
    app.register_error_handler(NegativesError, _our_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected)
    return app


def _add_pages(app: Flask, pages: Pages) -> None:
    app.config.update(
        SECRET_KEY=pages.secret_key,
        SESSION_COOKIE_NAME="negatives_session",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=pages.secure,
        PERMANENT_SESSION_LIFETIME=SIGNED_IN_FOR,
        SESSION_REFRESH_EACH_REQUEST=False,  # eight days from signing in, not from the last click
        WTF_CSRF_CHECK_DEFAULT=False,  # Label Studio calls us with its secret, and without a cookie
        WTF_CSRF_TIME_LIMIT=None,  # a page may stay open for as long as its session
        TEMPLATES_AUTO_RELOAD=False,
    )
    csrf = CSRFProtect(app)
    access = Access(pages.connect, timer=pages.timer)
    snapshots = Snapshots(pages.studio, clock=pages.timer)
    names = Directory(pages.studio, timer=pages.timer)
    surveys = Surveys(
        names,
        snapshots,
        connected=pages.connected,
        agreement=pages.agreement,
        margin=pages.margin,
        patience=pages.patience,
    )
    slots = threading.BoundedSemaphore(pages.at_a_time)

    def take_slot() -> None:
        if not slots.acquire(blocking=False):
            raise ServiceUnavailable("Too many people load pages at this moment: try again in a few seconds.")
        g.has_slot = True

    def give_slot_back(_error: BaseException | None) -> None:
        if g.pop("has_slot", False):
            slots.release()

    def protect() -> None:
        if not is_script():
            csrf.protect()

    for blueprint in (
        access_blueprint(access, pages.label_studio_url),
        overview_blueprint(
            access,
            surveys,
            queue=pages.queue,
            results=pages.results,
            dataset=pages.dataset,
            band=pages.band,
            formats=pages.formats,
            label_studio_url=pages.label_studio_url,
            timer=pages.timer,
        ),
        exports_blueprint(
            access,
            partial(check_visible, access, surveys),
            queue=pages.queue,
            results=pages.results,
            directory=names,
            dataset=pages.dataset,
            formats=pages.formats,
            label_studio_url=pages.label_studio_url,
        ),
        gallery_blueprint(
            access,
            snapshots,
            Crops(pages.images),
            directory=names,
            give=pages.give,
            empty=pages.empty,
            agreement=pages.agreement,
            margin=pages.margin,
            source_name=pages.source_name,
            label_studio_url=pages.label_studio_url,
        ),
    ):
        # Pages wait for Label Studio, and it waits a second for us when somebody submits: they never take all threads.
        blueprint.before_request(take_slot)
        blueprint.teardown_request(give_slot_back)
        # Another site's page, or Label Studio's own on this host, must not act for who is signed in.
        blueprint.before_request(protect)
        app.register_blueprint(blueprint)
    app.context_processor(lambda: {"visitor": g.get("visitor")})
    app.after_request(_protected)


def _protected(response: AnyResponse) -> AnyResponse:
    """What a browser is told of pages and pictures: to take them for what they are, and run nothing else."""
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    if response.mimetype == "text/html":
        response.headers.setdefault("Content-Security-Policy", CONTENT_SECURITY_POLICY)
        response.headers.setdefault("Referrer-Policy", "same-origin")
        response.headers["Cache-Control"] = "no-store"
    return response


def _health() -> Response:
    return jsonify(status="UP", model_class="Negatives", service="label-studio-negatives", version=__version__)


def _our_error(error: NegativesError) -> AnyResponse:
    if _is_page():
        return _error_page(str(error), error.http_status, is_label_studio=isinstance(error, LabelStudioUnavailable))
    return make_response(jsonify(error=str(error)), error.http_status)


def _http_error(error: HTTPException) -> AnyResponse:
    message, status = error.description or error.name, error.code or 500
    if isinstance(error, CSRFError):
        message = "This page is too old, or was sent from somewhere else: nothing was done. Load it anew and try again."
    answer = _error_page(message, status) if _is_page() else make_response(jsonify(error=message), status)
    # Some codes are nothing without their header: 405 without Allow, for one.
    answer.headers.extend([(name, value) for name, value in error.get_headers() if name.lower() != "content-type"])
    return answer


def _unexpected(error: Exception) -> AnyResponse:
    log.error("a request failed", exc_info=error)
    message = "something went wrong here; the service's log says what"
    return _error_page(message, 500) if _is_page() else make_response(jsonify(error=message), 500)


def _is_page() -> bool:
    """Whether a person's browser asked for a page, so that what went wrong is told on one."""
    if "access" not in current_app.blueprints:
        return False
    if request.blueprint is None:  # nobody's route
        return "text/html" in request.headers.get("Accept", "")
    return request.blueprint not in FOR_LABEL_STUDIO and wants_page()


def _error_page(message: str, status: int, *, is_label_studio: bool = False) -> AnyResponse:
    shown = render_template("error.html", message=message, status=status, is_label_studio=is_label_studio)
    return make_response(shown, status)
