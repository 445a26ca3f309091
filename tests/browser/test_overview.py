"""The overviews in a browser: the numbers of `negatives status`, and an export that tells what came of it."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import pytest
from playwright.sync_api import Page, ViewportSize, expect

from service.demo.annotator import Annotator
from service.demo.label_studio import EMAIL, LabelStudioProcess
from service.domain.geometry import Box
from tests.browser.labeling_screen import ARTIFACTS, LAPTOP
from tests.people import sign_up
from tests.service_process import ServiceProcess, wait_for
from tests.studio import FIELD

FREE = Box(620, 30, 1180, 640)
"""A part of the picture without a cell."""
CROWDED = Box(10, 10, 220, 200)
PHONE: ViewportSize = {"width": 390, "height": 844}
COLUMNS = ("ROIs", "Accepted", "Rejected", "Pending", "Unsure", "Stale", "Short", "Conflicts")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of forty training images, one of them empty."""
    root = tmp_path_factory.mktemp("dataset")
    for folder in ("images/train", "labels/train"):
        (root / folder).mkdir(parents=True)
    for number in range(40):
        (root / f"images/train/{number}.jpg").touch()
        (root / f"labels/train/{number}.txt").write_text("0 .5 .5 .1 .1\n" if number else "")
    (root / "data.yaml").write_text("path: .\ntrain: images/train\nval: images/train\nnames: [cell]\n")
    return root


@pytest.fixture(scope="module")
def service(
    studio: LabelStudioProcess, tmp_path_factory: pytest.TempPathFactory, dataset: Path
) -> Iterator[ServiceProcess]:
    """A service that knows the dataset."""
    settings = {"NEGATIVES_RECONCILE_SECONDS": "60", "NEGATIVES_DATASET": str(dataset / "data.yaml")}
    with ServiceProcess(studio, tmp_path_factory.mktemp("service"), **settings) as running:
        yield running


@pytest.fixture
def reviewed(studio: LabelStudioProcess, connected: Annotator, task: int) -> Annotator:
    """The connected project: its owner rejected one of five patches, a colleague disagrees on another, and where the
    cells are there is no room for any.
    """
    connected.draw_roi(task, FIELD, FREE)
    proposal = wait_for(lambda: connected.prediction(task), "the proposal")
    first, second = (patch["id"] for patch in proposal.patches[:2])
    connected.review(task, proposal, lambda region: bool(region["id"] == first))
    with sign_up(studio, f"{uuid4().hex}@example.com").api(studio) as api:
        Annotator(api, connected.project_id).review(task, proposal, lambda region: region["id"] in (first, second))
    connected.draw_roi(task, FIELD, CROWDED)
    return connected


def overview(page: Page, service: ServiceProcess) -> Page:
    """The overview, in the window of somebody who is signed in to Label Studio."""
    page.goto(service.url)
    page.get_by_role("button", name="Continue as").click()
    expect(page.get_by_role("heading", name="Projects")).to_be_visible()
    return page


def told(service: ServiceProcess, project_id: int) -> dict[str, int]:
    """What `negatives status` counts."""
    counts = json.loads(service.run("status", "--project", str(project_id), "--json").stdout)["projects"]
    return {name: counts[str(project_id)][name.lower()] for name in COLUMNS}


def shown(page: Page, project_id: int) -> dict[str, int]:
    """What the overview counts in a project."""
    row = page.get_by_role("row").filter(has=page.locator(f'a[href="/projects/{project_id}/"]'))
    return {name: int(row.locator(f'[data-label="{name}"]').inner_text().split()[-1]) for name in COLUMNS}


def keep(page: Page, name: str) -> None:
    """A picture of the whole page on a laptop and a phone, light and dark, in `artifacts`."""
    ARTIFACTS.mkdir(exist_ok=True)
    for kind, size, scheme in (
        ("", LAPTOP, "light"),
        ("-dark", LAPTOP, "dark"),
        ("-phone", PHONE, "light"),
        ("-phone-dark", PHONE, "dark"),
    ):
        page.set_viewport_size(size)
        page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
        page.screenshot(path=ARTIFACTS / f"{name}{kind}.png", full_page=True)
    page.emulate_media(color_scheme="light")
    page.set_viewport_size(LAPTOP)


def test_its_numbers_are_those_of_the_command(
    window: Callable[[str], Page], service: ServiceProcess, reviewed: Annotator
) -> None:
    """Project by project, and they lead to the gallery's patches of that state."""
    wait_for(lambda: told(service, reviewed.project_id)["Short"], "the shortfall")
    page = overview(window(EMAIL), service)
    wait_for(lambda: page.reload() and shown(page, reviewed.project_id) == told(service, reviewed.project_id), "them")
    found = shown(page, reviewed.project_id)
    assert (found["ROIs"], found["Conflicts"], found["Rejected"]) == (2, 1, 2)
    keep(page, "overview")
    page.locator(f'a[href="/projects/{reviewed.project_id}/gallery?state=rejected"]').click()
    expect(page.locator('main img[src*="/projects/"]')).to_have_count(found["Rejected"])


def test_a_project_says_what_people_should_know(
    window: Callable[[str], Page], service: ServiceProcess, studio: LabelStudioProcess, reviewed: Annotator, task: int
) -> None:
    """Who disagrees, and what is short and why, with the way to the task."""
    wait_for(lambda: told(service, reviewed.project_id)["Short"], "the shortfall")
    page = overview(window(EMAIL), service)
    page.goto(f"{service.url}/projects/{reviewed.project_id}/")
    expect(page.get_by_text(re.compile("people disagree on .* demo@example.com accepted"))).to_be_visible()
    expect(page.get_by_text(re.compile("of 5 patches: "))).to_be_visible()
    expect(page.get_by_role("link", name=f"Task {task}").first).to_have_attribute(
        "href", f"{studio.url}/projects/{reviewed.project_id}/data?task={task}"
    )


def test_an_export_tells_what_came_of_it(
    window: Callable[[str], Page], service: ServiceProcess, reviewed: Annotator, dataset: Path
) -> None:
    """Without loading the page again; the dataset's share is counted anew."""
    page = overview(window(EMAIL), service)
    project = f"{service.url}/projects/{reviewed.project_id}/"
    page.goto(project)
    expect(page.get_by_text("1 of 40")).to_be_visible()
    page.get_by_role("button", name="Export into the dataset").click()
    expect(page.get_by_role("heading", name="Export: into the dataset")).to_be_visible()
    keep(page, "exporting")
    page.evaluate("document.body.dataset.notLoadedAgain = 'yes'")
    expect(page.get_by_text("3 negatives written.")).to_be_visible()
    expect(page.get_by_role("status")).to_contain_text("All work is done")
    assert page.evaluate("document.body.dataset.notLoadedAgain") == "yes"
    page.goto(project)
    expect(page.get_by_text("4 of 43")).to_be_visible()
    expect(page.get_by_role("button", name="Export into the dataset")).to_be_enabled()
    assert len(list((dataset / "images/train").iterdir())) == 43
    keep(page, "project")


@pytest.mark.parametrize("width", [360, 390])
def test_nothing_is_cut_off_on_a_phone(
    window: Callable[[str], Page], service: ServiceProcess, reviewed: Annotator, width: int
) -> None:
    """No page is wider than the screen, and numbers have their names beside them."""
    page = window(EMAIL)
    page.set_viewport_size({"width": width, "height": 800})
    page.goto(service.url)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    overview(page, service)
    project = f"/projects/{reviewed.project_id}/"
    page.goto(service.url + project)
    page.get_by_role("button", name="Download a ZIP").click()
    expect(page.get_by_role("link", name="Download the ZIP")).to_be_visible()
    for path in (urlsplit(page.url).path, "/projects/", project):
        page.goto(service.url + path)
        assert page.evaluate("document.documentElement.scrollWidth") == width


@pytest.mark.usefixtures("connected")
def test_all_of_it_is_within_reach_of_the_keyboard(window: Callable[[str], Page], service: ServiceProcess) -> None:
    """Tab and Enter sign in, go to a project and out again; what has the focus is seen to have it."""
    page = window(EMAIL)
    page.goto(service.url)
    tab_to(page, "Continue as")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Projects")).to_be_visible()
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_in_viewport()
    page.keyboard.press("Enter")
    tab_to(page, "Blood cells")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Blood cells")).to_be_visible()
    tab_to(page, "Sign out")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def tab_to(page: Page, name: str) -> None:
    """Press Tab until something of this name has the focus, and shows it."""
    for _ in range(60):
        page.keyboard.press("Tab")
        text, outline = page.evaluate(
            "[document.activeElement.textContent, getComputedStyle(document.activeElement).outlineStyle]"
        )
        if name in text and outline != "none":
            return
    raise AssertionError(f"Tab never reaches {name}")
