"""Label Studio's HTTP at the transport: recorded answers, and a memory of what was asked."""

import json
from collections.abc import Callable
from typing import Any

import httpx

from service.label_studio.client import LabelStudioClient

URL = "http://studio.internal:8080"
TOKEN = "1f" * 20
Answer = Callable[[httpx.Request], httpx.Response]


def gives(body: Any, status: int = 200, **headers: str) -> Answer:
    """An answer with this JSON."""
    return lambda _: httpx.Response(status, json=body, headers=headers)


def page(*tasks: Any) -> Answer:
    """The task list: the first page holds these, past it there is none, as Label Studio says it."""

    def answer(request: httpx.Request) -> httpx.Response:
        if int(request.url.params.get("page") or 1) > 1:
            return httpx.Response(404, json={"detail": "Invalid page."})
        body = {"tasks": list(tasks), "total": len(tasks), "total_annotations": 0, "total_predictions": 0}
        return httpx.Response(200, json=body)

    return answer


class FakeStudio:
    """Answers by method and path; whatever isn't prepared is a 404, as in Label Studio. `requests` remembers all."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.answers: dict[str, Answer] = {}
        self.transport = httpx.MockTransport(self._answer)

    def on(self, call: str, answer: Answer) -> None:
        """Prepare the answer to `METHOD /path`."""
        self.answers[call] = answer

    def client(self, url: str = URL, token: str = TOKEN) -> LabelStudioClient:
        """A client that talks to this."""
        return LabelStudioClient(url, token, transport=self.transport)

    def calls(self) -> list[str]:
        """`METHOD /path` of all that was asked, in order."""
        return [f"{request.method} {request.url.path}" for request in self.requests]

    def sent(self, call: str) -> list[Any]:
        """The JSON bodies that were sent to `METHOD /path`."""
        return [
            json.loads(request.content)
            for request in self.requests
            if f"{request.method} {request.url.path}" == call and request.content
        ]

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self.answers.get(f"{request.method} {request.url.path}")
        return answer(request) if answer else httpx.Response(404, json={"detail": "Not found."})
