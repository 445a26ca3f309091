"""The screenshots in the documentation: `make test ARGS=tests/browser`, then `python -m tests.docs.keep_screenshots`.

The browser tests take them, of a real Label Studio, and leave them in artifacts/.
"""

from pathlib import Path

from PIL import Image

from tests.browser.labeling_screen import ARTIFACTS

PICTURES = Path(__file__).parents[2] / "docs" / "pictures"
WORK_AREA = (240, 90, 1046, 768)
"""Where one draws, without the list of tasks and the panels beside it: left, top, right, bottom in the window."""
REVIEW_AREA = (0, 48, 1046, 768)
KEPT = {
    "drawing": ("drawing", WORK_AREA),
    "suggestions": ("suggestions", WORK_AREA),
    "review": ("review", WORK_AREA),
    "why-fewer": ("why-fewer", None),
    "queue": ("queue", REVIEW_AREA),
    "gallery": ("gallery-desktop-light", None),
    "images": ("whole-images", (0, 0, 1366, 350)),
    "sign-in": ("sign-in", (383, 60, 983, 620)),
    "overview": ("project", (0, 0, 1366, 375)),
}
"""What the documentation shows: of which screenshot, and which part of it."""


def keep() -> None:
    """Copy them in 256 colours, a quarter of the size."""
    for name, (screenshot, part) in KEPT.items():
        with Image.open(ARTIFACTS / f"{screenshot}.png") as taken:
            picture = taken.convert("RGB").crop(part) if part else taken.convert("RGB")
        # Rare colours must survive: the red cross among all that magenta. The second step adds the fine shades.
        colours = picture.quantize(256, method=Image.Quantize.MAXCOVERAGE, kmeans=5)
        picture.quantize(palette=colours).save(PICTURES / f"{name}.png", optimize=True)


if __name__ == "__main__":
    keep()
