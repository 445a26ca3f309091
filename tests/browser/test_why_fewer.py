"""Why there are fewer patches than asked, where the annotator looks."""

from playwright.sync_api import expect

from service.demo.annotator import Annotator
from service.domain.geometry import Box
from tests.browser.labeling_screen import LabelingScreen
from tests.service_process import ServiceProcess, wait_for
from tests.studio import FIELD


def test_an_roi_that_is_too_small_says_so_where_one_looks(
    screen: LabelingScreen, connected: Annotator, service: ServiceProcess, task: int
) -> None:
    """The proposal's tab tells the sentence at once, the selected ROI's details tell it, and status does."""
    connected.draw_roi(task, FIELD, Box.sized(700, 200, 90, 90))
    wait_for(lambda: connected.prediction(task), "an answer")
    sentence = "0 of 5 patches: the ROI is 90 × 90 px, smaller than one patch of 100 × 100 px; draw it larger"

    screen.open(task).open_proposal()
    expect(screen.bar).to_contain_text(sentence)
    screen.select(screen.rois)
    expect(screen.details).to_contain_text(sentence)
    screen.picture("why-fewer")
    told = service.run("status", "--project", str(connected.project_id)).stdout
    assert f"task {task}: {sentence}" in told
