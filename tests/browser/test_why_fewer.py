"""Why there are fewer patches than asked, where the annotator looks."""

from pathlib import Path

from playwright.sync_api import Page, expect

from service.demo.annotator import Annotator
from service.demo.label_studio import LabelStudioProcess
from service.demo.pictures import draw_field
from service.domain.geometry import Box
from tests.browser.test_drawing_and_reviewing import open_task, page, picture_of, regions
from tests.service_process import ServiceProcess, wait_for

__all__ = ["page"]


def test_an_roi_that_is_too_small_says_so_where_it_is_selected(
    studio: LabelStudioProcess, service: ServiceProcess, connected: Annotator, page: Page, tmp_path: Path
) -> None:
    """The proposal repeats the ROI; selected, its details tell the sentence, and status tells the same one."""
    picture = tmp_path / "field.png"
    draw_field(3, 1200, 900).image.save(picture)
    (task,) = connected.upload([picture])
    connected.draw_roi(task, (1200, 900), Box.sized(300, 200, 90, 90))
    wait_for(lambda: connected.prediction(task), "an answer")
    sentence = "0 of 5 patches: the ROI is 90 × 90 px, smaller than one patch of 100 × 100 px; draw it larger"

    open_task(page, f"{studio.url}/projects/{connected.project_id}/data?task={task}")
    page.locator(".lsf-annotation-button", has_text="negatives").click()
    regions(page, "Background ROI").click()
    expect(page.get_by_text(sentence)).to_be_visible()
    picture_of(page, "why-fewer")
    told = service.run("status", "--project", str(connected.project_id)).stdout
    assert f"task {task}: {sentence}" in told
