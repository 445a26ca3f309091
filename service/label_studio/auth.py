"""Signing requests to Label Studio, and to nobody else: by a token, or by a session that a browser has there.

https://labelstud.io/guide/access_tokens — a legacy token goes as `Token …`; a personal access token is a refresh
token that is exchanged for an access token, which lives for minutes and goes as `Bearer …`.
"""

from collections.abc import Generator

import httpx

from service.errors import LabelStudioUnavailable, Unauthorized


class LabelStudioAuth(httpx.Auth):
    """Signs every request to Label Studio's own origin, files too; a request to another host goes out unsigned.

    A personal access token is exchanged at first need and again whenever the answer is 401.
    """

    def __init__(self, base_url: str, token: str) -> None:
        self._base = httpx.URL(base_url)
        self._refresh_url = base_url.rstrip("/") + "/api/token/refresh/"
        self._token = token
        self._personal = token.startswith("ey") and "." in token
        if self._personal and token.count(".") != 2:
            raise Unauthorized(
                "the personal access token is cut short: Label Studio shows it whole only once, when it is made. "
                "Make a new one in Account & Settings and set NEGATIVES_LABEL_STUDIO_TOKEN"
            )
        self._access = ""

    def __repr__(self) -> str:
        return f"LabelStudioAuth({self._base.host})"

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Sign, send, and once more with a fresh access token if the first one had run out."""
        request.headers.pop("Authorization", None)
        if _origin(request.url) != _origin(self._base):
            yield request
            return
        if not self._personal:
            request.headers["Authorization"] = f"Token {self._token}"
            yield request
            return
        if not self._access:
            yield from self._refresh(request)
        request.headers["Authorization"] = f"Bearer {self._access}"
        response = yield request
        if response.status_code == httpx.codes.UNAUTHORIZED:
            yield from self._refresh(request)
            request.headers["Authorization"] = f"Bearer {self._access}"
            yield request

    def _refresh(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        # The extensions carry the client's timeouts: without them this one call would wait for ever.
        response = yield httpx.Request(
            "POST", self._refresh_url, json={"refresh": self._token}, extensions=request.extensions
        )
        response.read()
        if response.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN, httpx.codes.BAD_REQUEST):
            raise Unauthorized(
                "Label Studio doesn't accept the personal access token: has it been revoked, or run out? "
                "Make a new one in Account & Settings and set NEGATIVES_LABEL_STUDIO_TOKEN"
            )
        try:
            self._access = str(response.raise_for_status().json()["access"])
        except (httpx.HTTPError, ValueError, KeyError, TypeError) as error:
            raise LabelStudioUnavailable("Label Studio answered nonsense when asked for an access token") from error


class SessionAuth(httpx.Auth):
    """Signs every request to Label Studio's own origin with a session: what its cookie `sessionid` holds.

    Label Studio asks no more of whoever writes (its `DisableCSRF`): pages that act for a session need a protection of
    their own.
    """

    def __init__(self, base_url: str, session: str) -> None:
        self._base = httpx.URL(base_url)
        self._session = session

    def __repr__(self) -> str:
        return f"SessionAuth({self._base.host})"

    def sync_auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Sign and send."""
        request.headers.pop("Authorization", None)
        request.headers.pop("Cookie", None)
        if _origin(request.url) == _origin(self._base):
            request.headers["Cookie"] = f"sessionid={self._session}"
        yield request


def _origin(url: httpx.URL) -> tuple[str, str, int | None]:
    return url.scheme, url.host, url.port or {"http": 80, "https": 443}.get(url.scheme)
