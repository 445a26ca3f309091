"""A person at the browser, from the drawn ROI to the verdict: what only a real Chromium shows."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Locator, Page, expect, sync_playwright

from service.demo.annotator import Annotator
from service.demo.label_studio import EMAIL, PASSWORD, LabelStudioProcess
from service.demo.pictures import draw_field
from tests.service_process import ServiceProcess, wait_for

ARTIFACTS = Path(__file__).resolve().parents[2] / "artifacts"
WINDOW = {"width": 1366, "height": 1000}
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


@pytest.fixture
def page(studio: LabelStudioProcess) -> Iterator[Page]:
    """A browser window, signed in."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=QUIET)
        page = browser.new_page(viewport=WINDOW)  # type: ignore[arg-type]
        page.goto(f"{studio.url}/user/login")
        page.fill("input[name=email]", EMAIL)
        page.fill("input[name=password]", PASSWORD)
        page.click("button[type=submit]")
        page.wait_for_url(lambda url: "login" not in url)
        yield page
        browser.close()


def test_a_drawn_roi_comes_back_with_patches_and_a_deleted_one_is_rejected(
    studio: LabelStudioProcess, service: ServiceProcess, connected: Annotator, page: Page, tmp_path: Path
) -> None:
    """Draw with the mouse, submit; copy the proposal, delete a patch, submit: four accepted, that one rejected."""
    field = draw_field(3, 1200, 900)
    picture = tmp_path / "field.png"
    field.image.save(picture)
    (task,) = connected.upload([picture])
    connected.label_objects(task, field.image.size, field.objects)
    there = f"{studio.url}/projects/{connected.project_id}/data?task={task}"

    open_task(page, there)
    page.get_by_label("Create an annotation").click()
    expect(page.get_by_role("button", name="Submit")).to_be_visible()
    draw_rectangle(page, "Background ROI", (0.06, 0.06), (0.94, 0.94))
    expect(regions(page, "Background ROI")).to_have_count(1)
    regions(page, "Background ROI").click()
    expect(page.get_by_text("Patches in this ROI (1–20)")).to_be_visible()
    picture_of(page, "drawing")
    page.get_by_role("button", name="Submit").click()
    prediction = wait_for(lambda: connected.prediction(task), "patches")
    assert len(prediction.patches) == 5

    open_task(page, there)
    tab = page.locator(".lsf-annotation-button", has_text="negatives")
    tab.click()
    expect(regions(page, "Negative patch")).to_have_count(5)
    picture_of(page, "proposal")
    tab.locator(".lsf-annotation-button__trigger").click()
    page.get_by_text("Duplicate Annotation").click()
    expect(page.get_by_role("button", name="Submit")).to_be_visible()
    regions(page, "Negative patch").first.click()
    page.keyboard.press("Backspace")
    expect(regions(page, "Negative patch")).to_have_count(4)
    picture_of(page, "review")
    page.get_by_role("button", name="Submit").click()

    def decided() -> bool:
        told = json.loads(service.run("status", "--project", str(connected.project_id), "--json").stdout)
        counts = told["projects"][str(connected.project_id)]
        return bool((counts["accepted"], counts["rejected"], counts["pending"]) == (4, 1, 0))

    wait_for(decided, "four accepted, one rejected")


def open_task(page: Page, url: str) -> None:
    """Open a task and wait until its image is on the canvas."""
    page.goto(url)
    expect(page.locator(".konvajs-content canvas").first).to_be_visible(timeout=20_000)


def draw_rectangle(page: Page, label: str, start: tuple[float, float], end: tuple[float, float]) -> None:
    """Pick a label and drag a rectangle; positions as shares of the picture."""
    page.get_by_text(label, exact=True).first.click()
    box = page.locator(".konvajs-content canvas").first.bounding_box()
    assert box is not None
    (x1, y1), (x2, y2) = (
        (box["x"] + share_x * box["width"], box["y"] + share_y * box["height"]) for share_x, share_y in (start, end)
    )
    page.mouse.move(x1, y1)
    page.mouse.down()
    page.mouse.move((x1 + x2) / 2, (y1 + y2) / 2, steps=4)
    page.mouse.move(x2, y2, steps=4)
    page.mouse.up()


def regions(page: Page, label: str) -> Locator:
    """The lines of the region list with this label."""
    return page.locator(".lsf-outliner-item__title", has_text=label)


def picture_of(page: Page, name: str) -> None:
    """Keep a screenshot, to be looked at."""
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / f"{name}.png")
