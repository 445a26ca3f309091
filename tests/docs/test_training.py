from pathlib import Path

import pytest

from service.export.formats import formats

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("name", formats())
def test_the_page_says_what_the_end_of_an_export_says(name: str) -> None:
    """Every sentence of every format, under its name."""
    page = (DOCS / "training.md").read_text()
    section = page.partition(f"(`{name}`)\n")[2].partition("\n## ")[0]
    guidance = formats()[name].guidance
    assert guidance
    assert [line for line in guidance if f"- {line}\n" not in section] == []


@pytest.mark.parametrize("name", formats())
def test_the_page_on_exports_lists_every_format(name: str) -> None:
    """By the name that --format takes."""
    assert f"\n| `{name}` |" in (DOCS / "export.md").read_text()
