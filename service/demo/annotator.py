"""What a person does in Label Studio, done through its API as their browser would submit it.

The demo and the tests use it: importing pictures, labelling objects, drawing ROIs, giving verdicts.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4
from xml.sax.saxutils import quoteattr

import httpx

from service.batch.labels import LabelledObject
from service.domain.geometry import Box
from service.label_studio.labeling import PATCH, ROI, ROI_LABEL

Json = dict[str, Any]
OBJECTS = "label"


def labeling_configuration(names: Sequence[str]) -> str:
    """A team's own configuration, before ours is added: an image and rectangles for these objects."""
    labels = "".join(f"\n    <Label value={quoteattr(name)}/>" for name in names)
    return (
        '<View>\n  <Image name="image" value="$image" zoom="true" zoomControl="true"/>\n'
        f'  <RectangleLabels name="{OBJECTS}" toName="image">{labels}\n  </RectangleLabels>\n</View>\n'
    )


@dataclass(frozen=True, slots=True)
class Prediction:
    """A prediction as the browser gets it."""

    id: int
    result: tuple[Json, ...]

    @property
    def patches(self) -> tuple[Json, ...]:
        """Its patch regions."""
        return tuple(region for region in self.result if region["from_name"] == PATCH)


class Annotator:
    """A person at work in one project; `api` is signed in as them."""

    def __init__(self, api: httpx.Client, project_id: int) -> None:
        self.api = api
        self.project_id = project_id

    @classmethod
    def in_new_project(cls, api: httpx.Client, title: str, label_config: str) -> "Annotator":
        """Create a project and start working in it."""
        project = _answer(api.post("/api/projects/", json={"title": title, "label_config": label_config}))
        return cls(api, int(project["id"]))

    def upload(self, pictures: Sequence[Path]) -> list[int]:
        """Upload pictures; the ids of their tasks, in the same order."""
        ids = []
        for picture in pictures:
            files = {"file": (picture.name, picture.read_bytes(), _media_type(picture))}
            answer = _answer(self.api.post(f"/api/projects/{self.project_id}/import?return_task_ids=true", files=files))
            ids += [int(task) for task in answer["task_ids"]]
        return ids

    def label_objects(self, task_id: int, size: tuple[int, int], objects: Sequence[LabelledObject]) -> int:
        """Submit an annotation with these objects' boxes; its id."""
        return self.submit(task_id, [region(OBJECTS, thing.name, thing.box, size) for thing in objects])

    def draw_roi(self, task_id: int, size: tuple[int, int], roi: Box, fields: Mapping[str, float] | None = None) -> int:
        """Submit an annotation with an ROI whose number fields were set so; its id."""
        drawn = region(ROI, ROI_LABEL, roi, size)
        numbers = [
            {**drawn, "from_name": name, "type": "number", "value": {**_place(drawn), "number": number}}
            for name, number in (fields or {}).items()
        ]
        return self.submit(task_id, [drawn, *numbers])

    def prediction(self, task_id: int) -> Prediction | None:
        """The prediction that stands for a task, if there is one."""
        found = _answer(self.api.get("/api/predictions/", params={"task": task_id}))
        ours = [item for item in found if item["model_version"] == "negatives"]
        return Prediction(int(ours[0]["id"]), tuple(ours[0]["result"])) if ours else None

    def review(self, task_id: int, prediction: Prediction, rejects: Callable[[Json], bool]) -> int:
        """Submit a copy of the prediction without the patches that were rejected; the annotation's id."""
        kept = [item for item in prediction.result if item["from_name"] != PATCH or not rejects(item)]
        return self.submit(task_id, kept, parent_prediction=prediction.id)

    def submit(self, task_id: int, result: Sequence[Json], **more: Any) -> int:
        """Submit an annotation; its id."""
        body = {"result": list(result), "lead_time": 4.2, "was_cancelled": False, **more}
        answer = _answer(
            self.api.post(f"/api/tasks/{task_id}/annotations/", params={"project": self.project_id}, json=body)
        )
        return int(answer["id"])


def region(control: str, label: str, box: Box, size: tuple[int, int]) -> Json:
    """A rectangle as the browser submits it: percents of the image's size."""
    width, height = size
    return {
        "id": uuid4().hex[:10],
        "from_name": control,
        "to_name": "image",
        "type": "rectanglelabels",
        "origin": "manual",
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": {
            "x": box.left * 100 / width,
            "y": box.top * 100 / height,
            "width": box.width * 100 / width,
            "height": box.height * 100 / height,
            "rotation": 0,
            "rectanglelabels": [label],
        },
    }


def _place(drawn: Json) -> Json:
    return {key: value for key, value in drawn["value"].items() if key != "rectanglelabels"}


def _media_type(picture: Path) -> str:
    return "image/jpeg" if picture.suffix.lower() in (".jpg", ".jpeg") else f"image/{picture.suffix[1:].lower()}"


def _answer(response: httpx.Response) -> Any:
    if response.is_error:
        raise RuntimeError(
            f"{response.request.method} {response.request.url.path}: {response.status_code} {response.text[:300]}"
        )
    return response.json()
