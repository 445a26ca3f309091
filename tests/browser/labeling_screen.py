"""Label Studio's page of one task, in the words of the person who works there."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

from playwright.sync_api import Locator, Page, Response, ViewportSize, expect

from service.domain.model import PATCH_PREFIX
from service.label_studio.labeling import PATCH, PATCH_LABEL, ROI_LABEL

ARTIFACTS = Path(__file__).resolve().parents[2] / "artifacts"
LAPTOP: ViewportSize = {"width": 1366, "height": 768}
"""The window of all browser tests."""
ASKED = re.compile(r"/api/ml/\d+/interactive-annotating")
SUBMITTED = re.compile(r"/api/tasks/\d+/annotations\b")
UPDATED = re.compile(r"/api/annotations/\d+\b")
# Label Studio draws with Konva, whose stages every page can ask.
PATCHES_DRAWN = f"""([count, dashed]) => Konva.stages[0].find("._transformable").filter(
    (shape) => shape.name().startsWith("{PATCH_PREFIX}") && Boolean(shape.dash()?.length) === dashed
).length === count"""
LIES_ON_TOP = """(element) => {
    const {x, y, width, height} = element.getBoundingClientRect();
    const hit = document.elementFromPoint(x + width / 2, y + height / 2);
    return element.contains(hit) || element.parentElement.contains(hit);
}"""

Json = dict[str, Any]
Spot = tuple[float, float]
"""A place in the picture, as shares of its width and height."""


class LabelingScreen:
    """One person's window on the tasks of one project."""

    def __init__(self, page: Page, studio_url: str, project_id: int) -> None:
        self.page = page
        self.bar = page.locator(".negatives-bar")
        self.details = page.get_by_test_id("detailed-region")
        self.suggestions = page.locator(".lsf-auto-accept__info")
        self.submit_button = page.get_by_test_id("bottombar-submit-button")
        self.update_button = page.get_by_test_id("bottombar-update-button")
        self._tasks = f"{studio_url}/projects/{project_id}/data"

    # Coming and going

    def open(self, task_id: int) -> Self:
        """Open a task; its picture is there."""
        self.page.goto(f"{self._tasks}?task={task_id}")
        expect(self._canvas).to_be_visible()
        return self

    def label_all_tasks(self) -> Self:
        """Take the next task that wants an annotation, as reviewers do; the instructions were read."""
        self.page.goto(self._tasks)
        self.page.get_by_role("button", name="Label All Tasks").click()
        expect(self.page.get_by_text("Labeling Instructions")).to_be_visible()
        self.page.get_by_role("button", name="Close modal").click()
        expect(self.page.get_by_text("Labeling Instructions")).to_be_hidden()
        expect(self._canvas).to_be_visible()
        return self

    def new_annotation(self) -> Self:
        """Begin an annotation of one's own."""
        self.page.get_by_label("Create an annotation").click()
        expect(self.submit_button).to_be_visible()
        return self

    def switch_on(self, *, auto_accept: bool) -> Self:
        """Live suggestions, as the instructions say: the two switches and the pink tool."""
        self._switch("bottombar-auto-annotation-toggle", on=True)
        self._switch("bottombar-auto-accept-toggle", on=auto_accept)
        self.press("m")
        expect(self.page.locator(".lsf-tool_smart.lsf-tool_active").first).to_be_visible()
        return self

    def _switch(self, name: str, *, on: bool) -> None:
        switch = self.page.get_by_test_id(name)
        expect(switch).to_be_visible()
        if switch.is_checked() is not on:
            switch.locator("xpath=ancestor-or-self::label").first.click()
        expect(switch).to_be_checked(checked=on)

    def submit(self) -> int:
        """Submit; the new annotation's id."""
        with self.page.expect_response(lambda got: _is(got, "POST", SUBMITTED)) as answer:
            self.submit_button.click()
        assert answer.value.ok, answer.value.status
        return int(answer.value.json()["id"])

    def update(self) -> int:
        """Submit changes to an annotation that was submitted before; its id."""
        with self.page.expect_response(lambda got: _is(got, "PATCH", UPDATED)) as answer:
            self.update_button.click()
        assert answer.value.ok, answer.value.status
        return int(answer.value.json()["id"])

    def open_proposal(self) -> Locator:
        """Look at the prediction; its tab."""
        tab = self.page.locator(".lsf-annotation-button", has_text="negatives")
        tab.click()
        return tab

    def copy_proposal(self) -> Self:
        """Make an annotation of the prediction, to review it."""
        self.open_proposal().locator(".lsf-annotation-button__trigger").click()
        self.page.get_by_text("Duplicate Annotation").click()
        expect(self.submit_button).to_be_visible()
        return self

    # On the picture

    @property
    def _canvas(self) -> Locator:
        return self.page.locator(".konvajs-content canvas").first

    def on_screen(self, spot: Spot) -> Spot:
        """Where in the window a place of the picture is, in pixels."""
        box = self._canvas.bounding_box()
        assert box is not None
        return box["x"] + spot[0] * box["width"], box["y"] + spot[1] * box["height"]

    def drag(self, start: Spot, end: Spot, *, before_release: Callable[[], None] = lambda: None) -> None:
        """Press the mouse here and let it go there."""
        self.page.mouse.move(*self.on_screen(start))
        self.page.mouse.down()
        self.page.mouse.move(*self.on_screen(((start[0] + end[0]) / 2, (start[1] + end[1]) / 2)), steps=4)
        self.page.mouse.move(*self.on_screen(end), steps=4)
        self.settle()
        before_release()
        self.page.mouse.up()

    def draw(self, label: str, start: Spot, end: Spot) -> None:
        """Draw a rectangle with a label, as everybody does."""
        before = self.regions(label).count()
        self.label_button(label).click()
        self.drag(start, end)
        expect(self.regions(label)).to_have_count(before + 1)

    def draw_with_key(self, key: str, start: Spot, end: Spot) -> None:
        """Draw a rectangle with the label that has this key."""
        self.press(key)
        self.drag(start, end)
        self.press("Escape")

    def stroke(self, start: Spot, end: Spot, **more: Callable[[], None]) -> list[Json]:
        """One stroke with the pink tool; the regions that come as the answer."""
        return self.asking(lambda: self.drag(start, end, **more))

    def asking(self, act: Callable[[], object]) -> list[Json]:
        """What is answered to something that makes the browser ask for patches, once it shows."""
        with self.page.expect_response(lambda got: _is(got, "POST", ASKED)) as answer:
            act()
        said = answer.value.json()
        assert "data" in said, said
        self.settle()
        return list(said["data"]["result"])

    def settle(self) -> None:
        """Wait until the window has been painted anew."""
        self.page.evaluate("() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")

    # Suggestions

    def accept_all(self) -> None:
        """The tick in the bottom bar."""
        self.page.get_by_test_id("bottombar-accept-suggestions-button").click()
        expect(self.suggestions).to_have_count(0)

    def reject_all(self) -> None:
        """The cross in the bottom bar."""
        self.page.get_by_test_id("bottombar-reject-suggestions-button").click()
        expect(self.suggestions).to_have_count(0)

    def reject_one(self, answer: Sequence[Json]) -> str:
        """Click the cross under a suggested patch; its id."""
        return self._click_under_one(answer, -16)

    def accept_one(self, answer: Sequence[Json]) -> str:
        """Click the tick under a suggested patch; its id."""
        return self._click_under_one(answer, 16)

    def point_at_one(self, answer: Sequence[Json], beside_middle: int = -16) -> str:
        """Move the mouse over the cross under a suggested patch, so that it can be read; the patch's id.

        The cross and the tick are drawn 10 pixels below the suggestion, as a pill of 64 × 32 pixels.
        """
        patch = [item for item in answer if item["from_name"] == PATCH][-1]  # drawn last, it lies on top
        at = patch["value"]
        middle, lower = self.on_screen(((at["x"] + at["width"] / 2) / 100, (at["y"] + at["height"]) / 100))
        self.page.mouse.move(middle + beside_middle, lower + 26)
        self.settle()
        return str(patch["id"])

    def _click_under_one(self, answer: Sequence[Json], beside_middle: int) -> str:
        patch_id = self.point_at_one(answer, beside_middle)
        self.page.mouse.down()
        self.page.mouse.up()
        return patch_id

    # Regions and their fields

    def regions(self, label: str) -> Locator:
        """The lines of the region list with this label."""
        return self.page.locator(".lsf-outliner-item__title", has_text=re.compile(rf"^{re.escape(label)}$"))

    @property
    def rois(self) -> Locator:
        """The ROIs in the region list."""
        return self.regions(ROI_LABEL)

    @property
    def patches(self) -> Locator:
        """The patches in the region list."""
        return self.regions(PATCH_LABEL)

    def see(self, patches: int, *, dashed: bool) -> None:
        """Wait until so many patches are drawn in the picture: dashed while they are suggestions.

        The region list can't be counted: it holds no more lines than fit on the screen.
        """
        self.page.wait_for_function(PATCHES_DRAWN, arg=[patches, dashed])

    def select(self, line: Locator) -> None:
        """Click a line of the region list."""
        line.click()
        expect(self.page.locator(".lsf-tree-treenode-selected", has=line)).to_be_visible()

    @property
    def pending(self) -> Locator:
        """Strokes in the region list that have no label yet: their suggestions are neither accepted nor rejected."""
        return self.page.locator(".lsf-outliner-item__title", has_not_text=re.compile(r"\S"))

    def press(self, key: str) -> None:
        """Press a key that is for the page, not for the field or switch that was used last."""
        self.page.evaluate("document.activeElement.blur()")
        self.page.keyboard.press(key)

    def label_button(self, label: str) -> Locator:
        """The button that picks a label."""
        return self.page.locator(".lsf-label", has=self.page.get_by_text(label, exact=True))

    def field(self, name: str) -> Locator:
        """A field of the selected ROI."""
        return self.bar.locator(f"input[name={name}]")

    def verdict(self, reason: str) -> Locator:
        """The box that rejects the selected patch for this reason."""
        return self.bar.get_by_role("checkbox", name=reason)

    def ask_again(self) -> list[Json]:
        """Type into the selected ROI's field for other patches; the regions that come as the answer."""
        self.field("roi_again").fill("again")
        return self.asking(lambda: self.page.keyboard.press("Enter"))

    @contextmanager
    def draft_saved(self) -> Iterator[None]:
        """Wait until Label Studio has saved what was done meanwhile."""
        with self.page.expect_response(lambda got: "/drafts" in got.url and got.request.method in ("POST", "PATCH")):
            yield

    def expect_in_window(self, element: Locator) -> None:
        """All of it is on the screen as it stands, and nothing lies over its middle."""
        expect(element).to_be_in_viewport(ratio=1)
        assert element.evaluate(LIES_ON_TOP)

    # Pictures

    def picture(self, name: str) -> None:
        """Keep a screenshot, to be looked at."""
        ARTIFACTS.mkdir(exist_ok=True)
        self.page.screenshot(path=ARTIFACTS / f"{name}.png")


def _is(response: Response, method: str, url: re.Pattern[str]) -> bool:
    return response.request.method == method and url.search(response.url) is not None
