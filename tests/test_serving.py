"""How the web server is put together: what its settings say reaches those who call it."""

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
