"""The picture in a project's instructions: `python -m tests.docs.draw_switches` makes it anew.

From a real Label Studio. Three numbers mark what an annotator switches on once, for live suggestions.
"""

from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image, ImageDraw, ImageFont
from playwright.sync_api import Locator, Page, ViewportSize, expect, sync_playwright

from service.demo.annotator import Annotator
from service.demo.label_studio import EMAIL, PASSWORD, LabelStudioProcess
from service.demo.pictures import draw_field
from service.ingest.ml_backend import USER
from service.label_studio.client import LabelStudioClient
from service.label_studio.setup import PICTURE
from tests.browser.conftest import QUIET
from tests.service_process import SECRET, ServiceProcess
from tests.studio import LABEL_STUDIO

WINDOW: ViewportSize = {"width": 1180, "height": 440}  # so low that the tool comes near to the bottom bar
SCALE = 1.2
FINE = 4  # marks are drawn so many times larger: smooth edges
AROUND, MARGIN, ABOVE, RADIUS = 5, 12, 36, 16
RED = "#d6001c"
CONFIGURATION = """<View>
  <Image name="image" value="$image"/>
  <RectangleLabels name="roi" toName="image" smart="false"><Label value="Background ROI"/></RectangleLabels>
  <Rectangle name="roi_live" toName="image" smart="true" smartOnly="true"/>
</View>"""
"""As setup leaves it, without what would stand in the picture's corner."""


def shown(page: Page) -> Mapping[str, Locator]:
    """What to switch on, by its number, switched on."""
    switches = {"1": page.get_by_text("Auto-Annotation").first, "3": page.get_by_text("Auto-Accept Suggestions").first}
    for switch in switches.values():
        switch.click()
    tool = page.locator(".lsf-tool_smart").first
    tool.click()
    page.mouse.move(700, 150)  # or the tool's name would hide the tool's neighbours
    expect(page.locator(".lsf-tool_smart.lsf-tool_active").first).to_be_visible()
    toggles = {number: switch.locator("xpath=ancestor::label") for number, switch in switches.items()}
    page.wait_for_timeout(1000)
    return {**toggles, "2": tool}


def draw(screenshot: Path, things: Mapping[str, tuple[float, float, float, float]]) -> Image.Image:
    """The part of the screen around these (left, top, width, height), each in a frame with its number."""
    with Image.open(screenshot) as opened:
        screen = opened.convert("RGBA")
    marks = Image.new("RGBA", (screen.width * FINE, screen.height * FINE))
    pen, font = ImageDraw.Draw(marks), ImageFont.load_default(RADIUS * 1.4 * FINE)
    frames = {}
    for number, box in things.items():
        x, y, width, height = (side * SCALE for side in box)
        frames[number] = (x - AROUND, y - AROUND, x + width + AROUND, y + height + AROUND)
        pen.rounded_rectangle([at * FINE for at in frames[number]], 8 * FINE, outline=RED, width=3 * FINE)
    for number, (left, top, _, bottom) in frames.items():
        # Beside what is high, above what is wide: where nothing else is.
        x, y = (left - RADIUS * 1.6, (top + bottom) / 2) if number == "2" else (left + RADIUS * 2, top - RADIUS)
        pen.circle((x * FINE, y * FINE), RADIUS * FINE, fill=RED)
        pen.text((x * FINE, y * FINE), number, fill="white", font=font, anchor="mm")
    screen.alpha_composite(marks.resize(screen.size, Image.Resampling.BOX))
    left, top = min(frame[0] for frame in frames.values()), min(frame[1] for frame in frames.values())
    right, bottom = max(frame[2] for frame in frames.values()), max(frame[3] for frame in frames.values())
    part = (left - MARGIN, top - ABOVE, right + MARGIN, min(bottom + MARGIN, screen.height))
    picture = screen.crop((round(part[0]), round(part[1]), round(part[2]), round(part[3]))).convert("RGB")
    ImageDraw.Draw(picture).rectangle((0, 0, picture.width - 1, picture.height - 1), outline="#c8c8c8")
    return picture.quantize(128)


def main() -> None:
    """Start everything, take the picture, write it."""
    with TemporaryDirectory() as name, sync_playwright() as playwright:
        directory = Path(name)
        with (
            LabelStudioProcess(LABEL_STUDIO, directory / "studio").start() as studio,
            ServiceProcess(studio, directory) as service,
            studio.api() as api,
            closing(LabelStudioClient(studio.url, studio.token)) as client,
        ):
            annotator = Annotator.in_new_project(api, "switches", CONFIGURATION)
            client.create_ml_backend(annotator.project_id, service.url, USER, SECRET)
            draw_field(3, 600, 900).image.save(directory / "field.png")
            annotator.upload([directory / "field.png"])
            browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=QUIET)
            page = browser.new_page(viewport=WINDOW, device_scale_factor=SCALE)
            page.goto(f"{studio.url}/user/login")
            page.fill("input[name=email]", EMAIL)
            page.fill("input[name=password]", PASSWORD)
            page.click("button[type=submit]")
            page.wait_for_url(lambda url: "login" not in url)
            page.goto(f"{studio.url}/projects/{annotator.project_id}/data?labeling=1")
            expect(page.locator(".konvajs-content canvas").first).to_be_visible(timeout=20_000)
            boxes = {number: found.bounding_box() for number, found in shown(page).items()}
            page.screenshot(path=directory / "screen.png")
            browser.close()
        sides = {n: (box["x"], box["y"], box["width"], box["height"]) for n, box in boxes.items() if box is not None}
        draw(directory / "screen.png", sides).save(PICTURE, optimize=True)


if __name__ == "__main__":
    main()
