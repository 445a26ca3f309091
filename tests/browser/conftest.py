"""A browser, and windows in it that are signed in to Label Studio."""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, StorageState, expect, sync_playwright

from service.demo.annotator import Annotator
from service.demo.label_studio import EMAIL, PASSWORD, LabelStudioProcess
from tests.browser.labeling_screen import LAPTOP, LabelingScreen
from tests.people import Colleague, sign_up
from tests.service_process import ServiceProcess
from tests.studio import labelled_task

COLLEAGUE = "colleague@example.com"
# Without these Chromium calls home, many times a minute.
QUIET = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
expect.set_options(timeout=30_000)  # how long a busy machine may take


@pytest.fixture(scope="package")
def service(studio: LabelStudioProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """One service for all browser tests, as one serves all projects of a team."""
    with ServiceProcess(studio, tmp_path_factory.mktemp("service"), NEGATIVES_RECONCILE_SECONDS="60") as running:
        yield running


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """One browser for all tests; each gets windows without a past."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=QUIET)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def hired(studio: LabelStudioProcess) -> Colleague:
    """The colleague has an account, once, however often these tests are begun anew."""
    return sign_up(studio, COLLEAGUE)


@pytest.fixture(scope="package")
def signed_in(studio: LabelStudioProcess, browser: Browser, hired: Colleague) -> Mapping[str, StorageState]:
    """What the browser keeps of two people who signed in: Label Studio's first user, and a colleague."""
    kept: dict[str, StorageState] = {}
    for email in (EMAIL, hired.email):
        page = browser.new_page()
        page.goto(f"{studio.url}/user/login")
        page.fill("input[name=email]", email)
        page.fill("input[name=password]", PASSWORD)
        page.click("button[type=submit]")
        page.wait_for_url(lambda url: "/user/" not in url)
        kept[email] = page.context.storage_state()
        page.close()
    return kept


@pytest.fixture
def window(browser: Browser, signed_in: Mapping[str, StorageState]) -> Iterator[Callable[[str], Page]]:
    """Open a window of one of the two, by e-mail address, on a laptop's screen."""
    contexts: list[BrowserContext] = []

    def window(email: str) -> Page:
        contexts.append(browser.new_context(viewport=LAPTOP, storage_state=signed_in[email]))
        return contexts[-1].new_page()

    yield window
    for context in contexts:
        context.close()


@pytest.fixture
def screen(window: Callable[[str], Page], studio: LabelStudioProcess, connected: Annotator) -> LabelingScreen:
    """The connected project in the window of its owner, for whom `connected` acts, too."""
    return LabelingScreen(window(EMAIL), studio.url, connected.project_id)


@pytest.fixture
def colleague(window: Callable[[str], Page], studio: LabelStudioProcess, connected: Annotator) -> LabelingScreen:
    """The connected project in the window of another annotator."""
    return LabelingScreen(window(COLLEAGUE), studio.url, connected.project_id)


@pytest.fixture
def task(connected: Annotator, tmp_path: Path) -> int:
    """A task of the connected project, its cells labelled."""
    return labelled_task(connected, tmp_path)
