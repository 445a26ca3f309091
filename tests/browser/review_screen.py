"""A review queue's stream of tasks, in the words of the person who goes through it."""

from collections.abc import Sequence
from typing import Self

from playwright.sync_api import Locator, Page, expect

from service.domain.model import PATCH_PREFIX
from service.label_studio.queue_project import KEYS
from tests.browser.labeling_screen import SUBMITTED, Json, LabelingScreen

# The picture needn't fill the canvas, so Konva is asked where it drew the patch.
MIDDLE = """(id) => {
    const stage = Konva.stages.at(-1)
    const patch = stage.find("._transformable").find((shape) => shape.name().startsWith(id))
    const {x, y, width, height} = patch.getClientRect()
    const all = stage.container().getBoundingClientRect()
    return [all.x + x + width / 2, all.y + y + height / 2]
}"""


# Between two tasks there is no stage.
DRAWN = f"""(ids) => {{
    const shapes = globalThis.Konva?.stages.at(-1)?.find("._transformable") ?? []
    const drawn = shapes.map((shape) => shape.name().split("#")[0]).filter((id) => id.startsWith("{PATCH_PREFIX}"))
    return drawn.length === ids.length && ids.every((id) => drawn.includes(id))
}}"""


class ReviewScreen(LabelingScreen):
    """One person's window on one review queue."""

    def __init__(self, page: Page, studio_url: str, project_id: int) -> None:
        super().__init__(page, studio_url, project_id)
        self.link = page.locator(".negatives-review a")
        self._selected = page.locator(".lsf-tree-treenode-selected")
        self.over = page.get_by_text("No More Tasks Left in Queue")
        self.chosen = page.locator(", ".join(f'input[name="{verdict}"]:checked' for verdict in KEYS))
        """The box that is ticked, of those for a single patch."""

    def stream(self) -> Self:
        """Take the first task that wants a verdict."""
        self.page.goto(self._tasks)
        self.page.get_by_role("button", name="Label All Tasks").click()
        expect(self._canvas).to_be_visible()
        return self

    def see_these(self, patches: Sequence[Json]) -> None:
        """Wait until these patches are drawn in the picture, and no others."""
        self.page.wait_for_function(DRAWN, arg=[patch["id"] for patch in patches])

    def send(self) -> Json:
        """Ctrl+Enter: submit, on to the next; the annotation."""
        with self.page.expect_response(
            lambda got: got.request.method == "POST" and SUBMITTED.search(got.url) is not None
        ) as answer:
            self.press("Control+Enter")
        assert answer.value.ok, answer.value.text()
        said: Json = answer.value.json()
        return said

    def click_on(self, patch: Json) -> None:
        """Click the middle of a patch in the picture."""
        self.page.mouse.click(*self.page.evaluate(MIDDLE, patch["id"]))
        expect(self._selected).to_be_visible()

    def select_line(self, number: int) -> None:
        """Click a patch's line in the region list, counted from 0."""
        self.patches.nth(number).click()
        expect(self._selected).to_be_visible()

    def leave(self) -> None:
        """Escape: no patch is selected any more."""
        self.press("Escape")
        expect(self._selected).to_have_count(0)

    def choice(self, verdict: str) -> Locator:
        """The box for a verdict."""
        return self.page.locator(f'input[name="{verdict}"]')
