"""ROIs drawn at the browser as polygon, ellipse and with the brush: what only a real Chromium submits and copies."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from service.demo.annotator import Annotator
from service.demo.label_studio import LabelStudioProcess
from service.demo.pictures import draw_field
from service.label_studio.labeling import ROI_LABELS, ROI_SHAPES
from tests.browser.test_drawing_and_reviewing import open_task, page, picture_of, regions
from tests.service_process import ServiceProcess, wait_for

__all__ = ["page"]

Spot = tuple[float, float]
"""A place in the picture, as shares of its width and height."""


def on_screen(page: Page, spot: Spot) -> Spot:
    """Where on the screen a place is, in pixels."""
    box = page.locator(".konvajs-content canvas").first.bounding_box()
    assert box is not None
    return box["x"] + spot[0] * box["width"], box["y"] + spot[1] * box["height"]


def drag(page: Page, start: Spot, end: Spot) -> None:
    """Press the mouse here and let it go there."""
    page.mouse.move(*on_screen(page, start))
    page.mouse.down()
    page.mouse.move(*on_screen(page, ((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)), steps=4)
    page.mouse.move(*on_screen(page, end), steps=4)
    page.mouse.up()


def click_a_polygon(page: Page) -> None:
    """Its corners, and the first one again."""
    corners = ((0.1, 0.08), (0.9, 0.15), (0.8, 0.9), (0.2, 0.8))
    for spot in (*corners, corners[0]):
        page.mouse.click(*on_screen(page, spot))
        page.wait_for_timeout(400)  # faster ones would be a double click


def drag_an_ellipse(page: Page) -> None:
    """From its centre."""
    drag(page, (0.5, 0.5), (0.9, 0.92))


def paint(page: Page) -> None:
    """Strokes that overlap: a brush's edge is soft."""
    for row in range(30):
        drag(page, (0.25, 0.3 + row * 0.012), (0.75, 0.3 + row * 0.012))


@pytest.mark.parametrize(
    ("shape", "draw"), [("polygon", click_a_polygon), ("ellipse", drag_an_ellipse), ("brush", paint)]
)
def test_an_roi_of_another_shape_comes_back_with_patches_and_a_deleted_one_is_rejected(
    studio: LabelStudioProcess,
    service: ServiceProcess,
    new_project: Callable[[str], Annotator],
    page: Page,
    tmp_path: Path,
    shape: str,
    draw: Callable[[Page], None],
) -> None:
    """Draw it, submit; copy the proposal, delete a patch, submit: four accepted, that one rejected, nothing changed."""
    annotator = new_project(shape)
    project = str(annotator.project_id)
    done = service.run("setup", "--project", project, "--roi-shape", shape, NEGATIVES_MIN_SIZE="40")
    assert done.returncode == 0, done.stdout + done.stderr
    field = draw_field(3, 1200, 900)
    picture = tmp_path / "field.png"
    field.image.save(picture)
    (task,) = annotator.upload([picture])
    annotator.label_objects(task, field.image.size, field.objects)
    there = f"{studio.url}/projects/{project}/data?task={task}"

    open_task(page, there)
    page.get_by_label("Create an annotation").click()
    expect(page.get_by_role("button", name="Submit")).to_be_visible()
    page.get_by_text(ROI_LABELS[shape], exact=True).click()
    draw(page)
    expect(regions(page, ROI_LABELS[shape])).to_have_count(1)
    page.keyboard.press("Escape")
    regions(page, ROI_LABELS[shape]).click()
    expect(page.get_by_text("Patches in this ROI (1–20)")).to_be_visible()
    page.get_by_role("button", name="Submit").click()
    prediction = wait_for(lambda: annotator.prediction(task), "patches")
    assert (prediction.result[0]["from_name"], len(prediction.patches)) == (ROI_SHAPES[shape], 5)

    open_task(page, there)
    tab = page.locator(".lsf-annotation-button", has_text="negatives")
    tab.click()
    expect(regions(page, "Negative patch")).to_have_count(5)
    picture_of(page, f"proposal-{shape}")
    tab.locator(".lsf-annotation-button__trigger").click()
    page.get_by_text("Duplicate Annotation").click()
    expect(page.get_by_role("button", name="Submit")).to_be_visible()
    regions(page, "Negative patch").first.click()
    page.keyboard.press("Backspace")
    expect(regions(page, "Negative patch")).to_have_count(4)
    page.get_by_role("button", name="Submit").click()

    def decided() -> bool:
        told = json.loads(service.run("status", "--project", project, "--json").stdout)["projects"][project]
        return (told["rois"], told["accepted"], told["rejected"], told["pending"]) == (1, 4, 1, 0)

    wait_for(decided, "four accepted, one rejected")
    again = service.run("propose", "--project", project)
    assert "0 proposals created, 0 changed" in again.stdout, again.stdout + again.stderr
