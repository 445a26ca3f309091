"""What Label Studio really sent; README.md says which version and how it was recorded."""

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent


def recorded(name: str) -> Any:
    """One recorded payload, parsed anew: a test may change its copy."""
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
