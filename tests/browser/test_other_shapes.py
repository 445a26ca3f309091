"""ROIs drawn at the browser as polygon, ellipse and with the brush: what only a real Chromium submits and copies."""

from collections.abc import Callable
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from service.demo.annotator import Annotator
from service.demo.label_studio import EMAIL, LabelStudioProcess
from service.label_studio.labeling import ROI_LABELS, ROI_SHAPES
from tests.browser.labeling_screen import LabelingScreen
from tests.browser.regions import counts
from tests.service_process import ServiceProcess, wait_for
from tests.studio import counted, labelled_task


def click_a_polygon(screen: LabelingScreen) -> None:
    """Its corners, and the first one again."""
    corners = ((0.1, 0.08), (0.9, 0.15), (0.8, 0.9), (0.2, 0.8))
    screen.page.evaluate("Konva.dblClickWindow = 0")  # or fast clicks would be double clicks
    for spot in (*corners, corners[0]):
        screen.page.mouse.click(*screen.on_screen(spot))
        screen.settle()


def drag_an_ellipse(screen: LabelingScreen) -> None:
    """From its centre."""
    screen.drag((0.5, 0.5), (0.9, 0.92))


def paint(screen: LabelingScreen) -> None:
    """Strokes that overlap: a brush's edge is soft."""
    for row in range(30):
        screen.drag((0.25, 0.3 + row * 0.012), (0.75, 0.3 + row * 0.012))


@pytest.mark.parametrize(
    ("shape", "draw"), [("polygon", click_a_polygon), ("ellipse", drag_an_ellipse), ("brush", paint)]
)
def test_an_roi_of_another_shape_comes_back_with_patches_and_a_deleted_one_is_rejected(
    studio: LabelStudioProcess,
    service: ServiceProcess,
    new_project: Callable[[str], Annotator],
    window: Callable[[str], Page],
    tmp_path: Path,
    shape: str,
    draw: Callable[[LabelingScreen], None],
) -> None:
    """Draw it, submit; copy the proposal, delete a patch, submit: four accepted, that one rejected, nothing changed."""
    annotator = new_project(shape)
    project = str(annotator.project_id)
    done = service.run("setup", "--project", project, "--roi-shape", shape, NEGATIVES_MIN_SIZE="40")
    assert done.returncode == 0, done.stdout + done.stderr
    task = labelled_task(annotator, tmp_path)
    screen = LabelingScreen(window(EMAIL), studio.url, annotator.project_id)

    screen.open(task).new_annotation()
    screen.label_button(ROI_LABELS[shape]).click()
    draw(screen)
    expect(screen.regions(ROI_LABELS[shape])).to_have_count(1)
    screen.press("Escape")
    screen.select(screen.regions(ROI_LABELS[shape]))
    expect(screen.field("patches")).to_be_visible()
    screen.submit()
    prediction = wait_for(lambda: annotator.prediction(task), "patches")
    assert (prediction.result[0]["from_name"], len(prediction.patches)) == (ROI_SHAPES[shape], 5)

    screen.open(task).copy_proposal()
    screen.see(5, dashed=False)
    screen.picture(f"proposal-{shape}")
    screen.select(screen.patches.first)
    screen.press("Backspace")
    screen.see(4, dashed=False)
    screen.submit()

    def decided() -> bool:
        return counted(service, annotator.project_id) == counts(rois=1, accepted=4, rejected=1)

    wait_for(decided, "four accepted, one rejected")
    again = service.run("propose", "--project", project)
    assert "0 proposals created, 0 changed" in again.stdout, again.stdout + again.stderr
