"""The web application, put together."""

import logging
from collections.abc import Callable

from flask import Flask, Response, jsonify
from werkzeug.exceptions import HTTPException

from service import __version__
from service.domain.model import Rules
from service.domain.work import Work
from service.errors import NegativesError
from service.ingest.ml_backend import ml_backend_blueprint
from service.ingest.webhook import webhook_blueprint

log = logging.getLogger(__name__)


def create_app(
    *, secret: str, put: Callable[[Work], object], max_webhook_bytes: int, rules: Rules, basic_auth: bool = True
) -> Flask:
    """The Flask application; `put` makes work durable before it returns.

    `rules` hold for a stroke where neither its fields nor the labeling configuration say otherwise; `basic_auth` asks
    Label Studio to sign in with the secret before it is answered.
    """
    app = Flask("negatives")
    app.config["MAX_CONTENT_LENGTH"] = max_webhook_bytes
    app.register_blueprint(webhook_blueprint(secret=secret, put=put))
    app.register_blueprint(ml_backend_blueprint(secret=secret if basic_auth else None, rules=rules))
    app.add_url_rule("/health", view_func=_health)
    app.register_error_handler(NegativesError, _our_error)
    app.register_error_handler(HTTPException, _http_error)
    app.register_error_handler(Exception, _unexpected)
    return app


def _health() -> Response:
    return jsonify(status="UP", model_class="Negatives", service="label-studio-negatives", version=__version__)


def _our_error(error: NegativesError) -> tuple[Response, int]:
    return jsonify(error=str(error)), error.http_status


def _http_error(error: HTTPException) -> tuple[Response, int, list[tuple[str, str]]]:
    # Some codes are nothing without their header: 405 without Allow, for one.
    headers = [(name, value) for name, value in error.get_headers() if name.lower() != "content-type"]
    return jsonify(error=error.description or error.name), error.code or 500, headers


def _unexpected(error: Exception) -> tuple[Response, int]:
    log.error("a request failed", exc_info=error)
    return jsonify(error="something went wrong here; the service's log says what"), 500
