"""docs/placement.md tells what the sampler says."""

import re
from pathlib import Path

import pytest
from PIL import Image, ImageChops

from tests.docs.draw_placement import EXAMPLES, PICTURES, Example, draw

PAGE = (Path(__file__).parents[2] / "docs" / "placement.md").read_text(encoding="utf-8")
SHORT = [example for example in EXAMPLES if example.sampling.shortfall]


@pytest.mark.parametrize("example", SHORT, ids=lambda example: example.name)
def test_the_page_quotes_what_is_said(example: Example) -> None:
    """Who reads an explanation there will read the same one in Label Studio."""
    found = re.search(rf"<!-- {example.name} -->\n((?:> .*\n)+)", PAGE)
    assert found is not None
    quoted = " ".join(line.removeprefix("> ") for line in found[1].splitlines())
    assert example.sampling.shortfall is not None
    assert quoted == example.sampling.shortfall.sentence


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_the_pictures_show_what_is_placed(example: Example) -> None:
    """They were drawn by this very sampler: `python -m tests.docs.draw_placement` draws them anew."""
    with Image.open(PICTURES / f"{example.name}.png") as picture:
        difference = ImageChops.difference(picture.convert("RGB"), draw(example)).convert("L").point(bool)
    pixels = difference.width * difference.height
    assert sum(difference.histogram()[1:]) < 0.002 * pixels  # versions of Pillow round edges otherwise
