"""A person at the browser without live suggestions, from the drawn ROI to the verdict."""

from playwright.sync_api import expect

from service.demo.annotator import Annotator
from service.label_studio.labeling import ROI_LABEL
from tests.browser.labeling_screen import LabelingScreen
from tests.browser.regions import counts
from tests.service_process import ServiceProcess, wait_for
from tests.studio import counted


def test_a_drawn_roi_comes_back_with_patches_and_a_deleted_one_is_rejected(
    screen: LabelingScreen, connected: Annotator, service: ServiceProcess, task: int
) -> None:
    """Draw with the mouse, submit; copy the proposal, delete a patch, submit: four accepted, that one rejected."""
    screen.open(task).new_annotation()
    screen.draw(ROI_LABEL, (0.06, 0.06), (0.94, 0.94))
    screen.select(screen.rois)
    expect(screen.field("patches")).to_be_visible()
    screen.submit()
    prediction = wait_for(lambda: connected.prediction(task), "patches")
    assert len(prediction.patches) == 5

    screen.open(task).copy_proposal()
    screen.see(5, dashed=False)
    screen.select(screen.patches.first)
    screen.press("Backspace")
    screen.see(4, dashed=False)
    screen.submit()

    def decided() -> bool:
        return counted(service, connected.project_id) == counts(rois=1, accepted=4, rejected=1)

    wait_for(decided, "four accepted, one rejected")
