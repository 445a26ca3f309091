"""Label Studio's ML backend protocol: a drawn ROI is answered within the request.

https://labelstud.io/guide/ml_create — everything that an answer needs comes with the request, so Label Studio is never
called from here, and any web process can answer.
"""

import json
from base64 import b64decode
from hmac import compare_digest

from flask import Blueprint, Response, jsonify, request

from service.domain.model import MODEL_VERSION, Rules
from service.errors import PayloadError
from service.label_studio.interactive import read_stroke
from service.label_studio.payloads import write_live_answer
from service.proposing import answer_live

USER = "negatives"
"""Whom Label Studio signs in as; the password is the webhook's secret."""

NOTHING_TO_DO = ("webhook", "train", "validate", "duplicate_model", "delete", "job_status")
"""What Label Studio may also call on an ML backend. Nothing here is trained, and events come by our own webhook."""


def ml_backend_blueprint(*, secret: str | None, rules: Rules) -> Blueprint:
    """The entrance for strokes; `secret` None asks for no sign-in, `rules` hold where nothing else says otherwise."""
    blueprint = Blueprint("ml_backend", __name__)

    @blueprint.before_request
    def signed_in() -> tuple[Response, int, dict[str, str]] | None:
        if secret is None or request.endpoint == f"{blueprint.name}.nothing_to_do":
            return None
        if _knows(secret, request.headers.get("Authorization", "")):
            return None
        told = jsonify(error=f"sign in as {USER!r} with the webhook's secret, or run negatives setup again")
        return told, 401, {"WWW-Authenticate": 'Basic realm="negatives"'}

    @blueprint.post("/setup")
    def setup() -> Response:
        return jsonify(model_version=MODEL_VERSION)

    @blueprint.get("/versions")
    def versions() -> Response:
        return jsonify(versions=[MODEL_VERSION])

    @blueprint.post("/predict")
    def predict() -> Response:
        try:
            payload = json.loads(request.get_data(cache=False))
        except (ValueError, RecursionError) as error:
            raise PayloadError("the body is no JSON") from error
        stroke = read_stroke(payload)
        if stroke is None:
            return jsonify(results=[])  # an empty prediction would be stored, and clutter every task
        result = stroke.unanswered
        if stroke.pending:
            task, defaults = stroke.task, stroke.labeling.defaults
            proposal = answer_live(task, stroke.pending, stroke.taken, defaults, rules, stroke.accepted)
            result = write_live_answer(proposal, stroke.labeling)
        return jsonify(results=[{"result": result or None, "model_version": MODEL_VERSION}])

    for name in NOTHING_TO_DO:
        blueprint.add_url_rule(f"/{name}", "nothing_to_do", nothing_to_do, methods=["GET", "POST"])
    return blueprint


def _knows(secret: str, authorization: str) -> bool:
    """Whether the header signs in as our user with the secret."""
    scheme, _, credentials = authorization.partition(" ")
    try:
        given = b64decode(credentials, validate=True) if scheme.lower() == "basic" else b""
    except ValueError:
        return False
    return compare_digest(given, f"{USER}:{secret}".encode())


def nothing_to_do() -> Response:
    """Fine, but nothing happens."""
    return jsonify(ignored="nothing is trained here, and events come by the webhook that negatives setup registers")
