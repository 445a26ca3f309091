"""A project with many patches, made quickly: tasks are imported with their annotations and proposed in bulk."""

import io
from collections.abc import Sequence

from playwright.sync_api import Page

from service.demo.annotator import OBJECTS, Annotator, Json, region
from service.demo.pictures import draw_background, draw_field
from service.domain.geometry import Box
from service.label_studio.labeling import ROI, ROI_LABEL
from tests.service_process import ServiceProcess

SIZE = (1200, 900)
ROI_BOX = Box(620, 20, 1180, 660)
"""A part of each picture without a cell."""
FIELDS = {"patches": 5, "min_size": 80, "max_size": 160}
PATCHES = 5
"""Of each task."""
PICTURES = 8


def import_tasks(annotator: Annotator, tasks: int, *, drawn: bool) -> None:
    """Import so many tasks over a few pictures: with cells and an ROI where `drawn`, else with nothing in them."""
    pictures = []
    for number in range(min(PICTURES, tasks)):
        field = draw_field(number, *SIZE)
        out = io.BytesIO()
        (field.image if drawn else draw_background(number, *SIZE)).save(out, "JPEG", quality=90)
        path = _uploaded(annotator, f"field {number}.jpg", out.getvalue())
        cells = [region(OBJECTS, thing.name, thing.box, SIZE) for thing in field.objects]
        pictures.append((path, [{"result": [*cells, *_roi()]}] if drawn else []))
    body = [
        {"data": {"image": path}, "annotations": annotations}
        for path, annotations in (pictures[number % len(pictures)] for number in range(tasks))
    ]
    annotator.api.post(f"/api/projects/{annotator.project_id}/import", json=body).raise_for_status()


def _roi() -> Sequence[Json]:
    drawn = region(ROI, ROI_LABEL, ROI_BOX, SIZE)
    place = {key: value for key, value in drawn["value"].items() if key != "rectanglelabels"}
    return [
        drawn,
        *(
            {**drawn, "from_name": name, "type": "number", "value": {**place, "number": number}}
            for name, number in FIELDS.items()
        ),
    ]


def _uploaded(annotator: Annotator, name: str, data: bytes) -> str:
    """Upload a picture of which no task is made; where it is."""
    answer = annotator.api.post(
        f"/api/projects/{annotator.project_id}/import",
        params={"commit_to_project": "false"},
        files={"file": (name, data, "image/jpeg")},
    )
    (file_id,) = answer.raise_for_status().json()["file_upload_ids"]
    found = annotator.api.get(f"/api/import/file-upload/{file_id}").raise_for_status().json()
    return f"/data/{found['file']}"


def sign_in(page: Page, service: ServiceProcess, path: str) -> None:
    """Go to one of our pages by the session that the window has at Label Studio."""
    page.goto(f"{service.url}/sign-in?next={path}")
    page.click("button[name=session]")
    page.wait_for_url(f"{service.url}{path}*")


def shown(page: Page) -> int:
    """How many pictures are there, decoded."""
    return int(page.evaluate("[...document.querySelectorAll('.tile img')].filter((i) => i.naturalWidth > 0).length"))
