"""How the web server is put together: what its settings say reaches those who call it."""

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.demo.label_studio import LabelStudioProcess
from tests.payloads import recorded
from tests.service_process import SECRET, ServiceProcess

Serve = Callable[..., str]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Starts the web server under these settings; returns its address. No Label Studio is there, and none is called."""
    nowhere = LabelStudioProcess(tmp_path / "label-studio", tmp_path)
    nowhere.url = "http://127.0.0.1:9"
    with ExitStack() as running:
        yield lambda **settings: running.enter_context(ServiceProcess(nowhere, tmp_path, role="web", **settings)).url


def stroke() -> Any:
    """A stroke in a project whose labeling configuration leaves the rules to the settings."""
    found = recorded("predict_stroke")
    found["label_config"] = found["label_config"].replace("defaultValue", "hint")
    return found


def test_strokes_are_for_who_knows_the_webhook_s_secret(serve: Serve) -> None:
    """As the user that setup registers."""
    url = serve()
    codes = [
        httpx.post(f"{url}/predict", json=stroke(), auth=("negatives", password)).status_code
        for password in (f"not {SECRET}", SECRET)
    ]
    assert codes == [401, 200]


def test_strokes_are_answered_under_the_settings_rules(serve: Serve) -> None:
    """And for anybody, if the settings say so."""
    url = serve(NEGATIVES_BASIC_AUTH="false", NEGATIVES_PATCHES="2", NEGATIVES_MIN_SIZE="20", NEGATIVES_MAX_SIZE="30")
    (answer,) = httpx.post(f"{url}/predict", json=stroke()).json()["results"]
    assert [region["from_name"] for region in answer["result"]] == ["roi", "patch", "patch", "roi_answer"]


def csrf(page: httpx.Response) -> str:
    """The token in a page's forms."""
    found = re.search(r'name="csrf-token" content="([^"]+)"', page.text)
    assert found is not None
    return found[1]


def test_whoever_serves_the_web_serves_pages(serve: Serve) -> None:
    """With what they need; people are asked to sign in, and told when Label Studio can't be asked who they are."""
    with httpx.Client(base_url=serve(), follow_redirects=True, headers={"Accept": "text/html"}) as browser:
        page = browser.get("/")
        assert (page.status_code, page.url.path) == (200, "/sign-in")
        files = re.findall(r'(?:href|src)="(/static/[^"]+)"', page.text)
        assert files
        assert all(browser.get(file).status_code == 200 for file in files)
        answer = browser.post("/sign-in", data={"csrf_token": csrf(page), "token": "a-token"})
        assert answer.status_code == 503
        assert "Nothing is lost" in answer.text


@pytest.mark.parametrize(("token", "status"), [("", 503), ("another-token", 400)])
def test_web_processes_of_one_service_share_their_visitors(serve: Serve, token: str, status: int) -> None:
    """What one has signed the other accepts, if they have the same token for Label Studio."""
    mine, other = serve(), serve(**({"NEGATIVES_LABEL_STUDIO_TOKEN": token} if token else {}))
    with httpx.Client(headers={"Accept": "text/html"}) as browser:
        form = {"csrf_token": csrf(browser.get(f"{mine}/sign-in")), "token": "a-token"}
        assert browser.post(f"{other}/sign-in", data=form).status_code == status


@pytest.mark.parametrize(("url", "is_kept"), [("https://negatives.example", True), ("http://negatives.example", False)])
def test_behind_https_the_cookie_is_for_https_alone(serve: Serve, url: str, is_kept: bool) -> None:
    """As NEGATIVES_PUBLIC_URL says."""
    cookie = httpx.get(f"{serve(NEGATIVES_PUBLIC_URL=url)}/sign-in").headers["Set-Cookie"]
    assert ("Secure" in cookie.split("; ")) is is_kept
