"""How an annotator finds out what to switch on."""

from PIL import Image
from playwright.sync_api import expect

from service.label_studio.setup import PICTURE
from tests.browser.labeling_screen import LabelingScreen


def test_the_instructions_and_their_picture_stand_behind_a_button(colleague: LabelingScreen, task: int) -> None:
    """Beside every task, for somebody else than who ran setup: whole, and large enough to be read."""
    colleague.open(task)
    colleague.page.get_by_role("button", name="Instructions").click()
    expect(colleague.page.get_by_text("one stroke around background")).to_be_visible()
    picture = colleague.page.get_by_alt_text("Where the three switches are")
    expect(picture).to_be_visible()
    with Image.open(PICTURE) as ours:
        assert picture.evaluate("image => [image.naturalWidth, image.naturalHeight]") == list(ours.size)
    box = picture.bounding_box()
    assert box is not None
    assert box["width"] > 500
    colleague.picture("instructions")
