"""A contact sheet: many patches on one picture, so that a person sees at a glance what was cut out."""

from collections.abc import Sequence
from math import ceil, sqrt

from PIL import Image, ImageDraw, ImageFont

CELL = 128
CAPTION = 26
GAP = 8
MOST = 600
"""Thumbnails on one sheet; more are thinned out evenly."""
PAPER, INK = "#ffffff", "#202020"


def thumbnail(image: Image.Image) -> Image.Image:
    """A copy that fits a cell; never enlarged."""
    small = image.convert("RGB")
    small.thumbnail((CELL, CELL))
    return small


def chosen(count: int) -> range | list[int]:
    """Which of so many patches come onto the sheet: all, or `MOST` of them, evenly spread."""
    return range(count) if count <= MOST else [number * count // MOST for number in range(MOST)]


def contact_sheet(pictures: Sequence[tuple[Image.Image, str]]) -> Image.Image:
    """Thumbnails with a caption of up to two lines each, row by row; there must be at least one."""
    columns = min(len(pictures), max(4, ceil(sqrt(len(pictures) * 1.4))))
    rows = ceil(len(pictures) / columns)
    wide, high = CELL + GAP, CELL + CAPTION + GAP
    sheet = Image.new("RGB", (columns * wide + GAP, rows * high + GAP), PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(size=10)
    for number, (small, caption) in enumerate(pictures):
        x, y = GAP + number % columns * wide, GAP + number // columns * high
        sheet.paste(small, (x + (CELL - small.width) // 2, y + (CELL - small.height) // 2))
        for line, text in enumerate(caption.splitlines()[:2]):
            # The end of a file's name tells more than its beginning.
            shortened = (text, *("…" + text[cut:] for cut in range(2, len(text))))
            fits = next((part for part in shortened if draw.textlength(part, font=font) <= CELL), "…")
            draw.text((x, y + CELL + 2 + line * 12), fits, fill=INK, font=font)
    return sheet
