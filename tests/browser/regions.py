"""Regions as Label Studio keeps them, and what they should come to."""

from collections.abc import Sequence
from typing import Any

from service.demo.annotator import Annotator
from service.domain.geometry import Box
from service.label_studio.labeling import PATCH
from tests.studio import FIELD

Json = dict[str, Any]


def ids(result: Sequence[Json], control: str = PATCH) -> set[str]:
    """The ids of the regions that a control drew; of patches, if none is named."""
    return {item["id"] for item in result if item["from_name"] == control}


def boxes(result: Sequence[Json], control: str = PATCH) -> list[Box]:
    """The regions that a control drew, in pixels; patches, if none is named."""
    width, height = FIELD
    values = [item["value"] for item in result if item["from_name"] == control]
    return [
        Box.sized(
            round(value["x"] * width / 100),
            round(value["y"] * height / 100),
            round(value["width"] * width / 100),
            round(value["height"] * height / 100),
        )
        for value in values
    ]


def submitted(annotator: Annotator, annotation: int) -> list[Json]:
    """An annotation's result, as Label Studio keeps it."""
    result: list[Json] = annotator.api.get(f"/api/annotations/{annotation}/").raise_for_status().json()["result"]
    return result


def counts(rois: int, accepted: int, rejected: int = 0, pending: int = 0) -> dict[str, int]:
    """What `counted` finds when nothing is stale."""
    return {"rois": rois, "accepted": accepted, "rejected": rejected, "pending": pending, "unsure": 0, "stale": 0}
