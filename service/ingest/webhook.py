"""`POST /webhooks/label-studio`: answers as soon as the work is durable, and never calls Label Studio."""

import json
import logging
from collections.abc import Callable
from hmac import compare_digest

from flask import Blueprint, Response, jsonify, request

from service.domain.work import Work
from service.errors import NegativesError
from service.ingest.events import read_event
from service.label_studio.queue_project import EVENTS_PATH, queue_of

log = logging.getLogger(__name__)

SECRET_HEADER = "X-Negatives-Secret"


def webhook_blueprint(*, secret: str, put: Callable[[Work], object]) -> Blueprint:
    """The entrance for Label Studio's events; `put` makes work durable before it returns.

    A review queue's webhook says in its address of which project it is (see `queue_project`).
    """
    blueprint = Blueprint("webhook", __name__)

    @blueprint.post(EVENTS_PATH)
    def receive() -> tuple[Response, int]:
        given = request.headers.get(SECRET_HEADER, "")
        if not compare_digest(given.encode(), secret.encode()):
            return jsonify(error=f"the header {SECRET_HEADER} is missing or wrong"), 401
        try:
            payload = json.loads(request.get_data(cache=False))
        except (ValueError, RecursionError):
            return jsonify(error="the body is no JSON"), 400
        try:
            queue = queue_of(0, request.full_path)
            event = read_event(payload, queue.source if queue else None)
        except NegativesError as error:
            log.warning("refused: %s", error)
            return jsonify(error=str(error)), 400
        if event.ignored is not None:
            log.info("%s ignored: %s", event.action, event.ignored)
            return jsonify(action=event.action, ignored=event.ignored), 200
        for work in event.work:
            put(work)
        return jsonify(action=event.action, jobs=len(event.work)), 202

    return blueprint
