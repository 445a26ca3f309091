"""What our adapter rests on, held against a real Label Studio: tokens, bulk calls, frames."""

import json
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path

import httpx
import numpy as np
import pytest
from label_studio_sdk.converter import brush
from PIL import Image

from service.batch.labels import LabelledObject
from service.demo.annotator import Annotator, Json, region
from service.demo.label_studio import LabelStudioProcess
from service.domain.geometry import Box, Polygon
from service.domain.model import Proposal, Roi, RoiOutcome, Rules, Task
from service.errors import NotFound, PredictionsDropped
from service.label_studio.client import LabelStudioClient
from service.label_studio.labeling import ROI, ROI_LABEL, ROI_LABELS, ROI_SHAPES, Labeling
from service.label_studio.payloads import fingerprint, write_prediction
from service.proposing import work_out_proposal
from service.raster import holds
from tests.bccd import photos
from tests.postgresql import PostgreSQL
from tests.service_process import ServiceProcess, wait_for


def test_a_personal_access_token_works_everywhere(
    service: ServiceProcess, connected: Annotator, api: httpx.Client, tmp_path: Path
) -> None:
    """Setup, the worker's calls and the download of images run with it, too."""
    personal = api.post("/api/token/").raise_for_status().json()["token"]
    (photo,) = photos(1, tmp_path)
    (task,) = connected.upload([photo.path])
    connected.draw_roi(task, photo.size, Box(0, 0, *photo.size), {"min_size": 20, "max_size": 60})
    prediction = wait_for(lambda: connected.prediction(task), "patches")
    connected.review(task, prediction, lambda _: False)
    project = str(connected.project_id)

    setup = service.run("setup", "--project", project, NEGATIVES_LABEL_STUDIO_TOKEN=personal)
    export = service.run(
        "export", "--project", project, "--into", str(tmp_path / "out"), NEGATIVES_LABEL_STUDIO_TOKEN=personal
    )

    assert setup.returncode == 0, setup.stderr
    assert export.returncode == 0, export.stderr
    assert len(list((tmp_path / "out").rglob("*.jpg"))) == len(prediction.patches)
    assert personal not in setup.stdout + setup.stderr + export.stdout + export.stderr


def test_what_label_studio_drops_without_a_word_is_noticed_and_named(
    studio: LabelStudioProcess, new_project: Callable[[str], Annotator], tmp_path: Path
) -> None:
    """A project that lost our controls answers 201 and stores nothing; the tasks are named."""
    annotator = new_project("dropped")
    (photo,) = photos(1, tmp_path)
    (task,) = annotator.upload([photo.path])
    roi = Roi("r", Polygon.rectangle(0, 0, 50, 50))
    proposal = Proposal(task, *photo.size, (RoiOutcome(roi, refusal="no reason"),))
    client = LabelStudioClient(studio.url, studio.token)
    with pytest.raises(PredictionsDropped, match=f"task {task} of project {annotator.project_id}"):
        client.publish(annotator.project_id, [proposal], Labeling("image", "image"))
    client.close()


def test_a_project_that_is_not_there_is_named(studio: LabelStudioProcess) -> None:
    """A wrong id is told as such."""
    client = LabelStudioClient(studio.url, studio.token)
    with pytest.raises(NotFound, match="project 987654"):
        client.project(987654)
    client.close()


def test_a_photo_that_lies_on_its_side_is_cut_upright(
    service: ServiceProcess, connected: Annotator, tmp_path: Path
) -> None:
    """Label Studio shows a photo by its EXIF orientation; the patches are cut from what the person saw."""
    pixels = np.zeros((300, 500, 3), np.uint8)
    pixels[:, :250] = (250, 120, 0)  # as stored: orange to the left, blue to the right
    pixels[:, 250:] = (0, 120, 250)
    image = Image.fromarray(pixels)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn clockwise: orange is shown above blue, 300 × 500
    path = tmp_path / "sideways.jpg"
    image.save(path, quality=95, exif=exif)
    (task,) = connected.upload([path])
    connected.draw_roi(task, (300, 500), Box(0, 260, 300, 500), {"patches": 2, "min_size": 60, "max_size": 100})
    prediction = wait_for(lambda: connected.prediction(task), "patches")
    connected.review(task, prediction, lambda _: False)

    done = service.run("export", "--project", str(connected.project_id), "--into", str(tmp_path / "out"))

    assert done.returncode == 0, done.stderr
    negatives = sorted((tmp_path / "out").rglob("*.jpg"))
    assert len(negatives) == 2
    for negative in negatives:
        with Image.open(negative) as cut:
            assert not cut.getexif()
            red, _, blue = np.asarray(cut).reshape(-1, 3).mean(axis=0)
        assert blue > 200
        assert red < 50


def test_patches_of_a_rotated_roi_lie_inside_it(connected: Annotator, tmp_path: Path) -> None:
    """A rectangle that was turned in Label Studio holds its patches with all four corners."""
    (photo,) = photos(1, tmp_path)
    width, height = photo.size
    (task,) = connected.upload([photo.path])
    drawn = region(ROI, ROI_LABEL, Box.sized(300, 20, 280, 200), photo.size)
    drawn["value"]["rotation"] = 40
    sizes = [
        {**drawn, "from_name": name, "type": "number", "value": {"number": value}}
        for name, value in (("min_size", 40), ("max_size", 90))
    ]
    connected.submit(task, [drawn, *sizes])
    prediction = wait_for(lambda: connected.prediction(task), "patches")
    outline = Polygon.rectangle(300, 20, 280, 200, 40)
    for patch in prediction.patches:
        value = patch["value"]
        box = Box.sized(
            round(value["x"] * width / 100),
            round(value["y"] * height / 100),
            round(value["width"] * width / 100),
            round(value["height"] * height / 100),
        )
        assert holds(outline, box)
    assert len(prediction.patches) == 5
    echo = prediction.result[0]["value"]
    assert echo["rotation"] == pytest.approx(40)


def test_a_whole_project_is_proposed_in_bulk(
    service: ServiceProcess, new_project: Callable[[str], Annotator], api: httpx.Client, tmp_path: Path
) -> None:
    """250 tasks that held their ROIs before the project was connected are served by one command."""
    annotator = new_project("bulk")
    (photo,) = photos(1, tmp_path)
    (first,) = annotator.upload([photo.path])
    image = api.get(f"/api/tasks/{first}/").json()["data"]["image"]
    project = str(annotator.project_id)
    assert service.run("setup", "--project", project).returncode == 0
    service.stop()
    roi = region(ROI, ROI_LABEL, Box(0, 0, *photo.size), photo.size)
    tasks = [{"data": {"image": image}, "annotations": [{"result": [roi]}]} for _ in range(250)]
    api.post(f"/api/projects/{project}/import", json=tasks).raise_for_status()
    service.environment["NEGATIVES_RECONCILE_SECONDS"] = "60"
    service.start()

    done = service.run("propose", "--project", project)

    assert done.returncode == 0, done.stdout + done.stderr
    assert "250 tasks" in done.stdout
    found = api.get(f"/api/projects/{project}/").json()
    assert found["total_predictions_number"] == 250
    again = service.run("propose", "--project", project)
    assert "0 proposals created, 0 changed, 1250 patches on offer" in again.stdout


def test_web_and_worker_apart_on_postgresql_as_the_compose_file_runs_them(
    studio: LabelStudioProcess, new_project: Callable[[str], Annotator], tmp_path: Path
) -> None:
    """The two roles as processes of their own, one PostgreSQL between them, do what the one process does."""
    (tmp_path / "worker").mkdir()
    with (
        PostgreSQL() as database,
        ServiceProcess(studio, tmp_path, role="web", NEGATIVES_DATABASE_URL=database.url) as web,
        ServiceProcess(
            studio,
            tmp_path / "worker",
            role="worker",
            NEGATIVES_DATABASE_URL=database.url,
            NEGATIVES_PUBLIC_URL=web.url,
        ),
    ):
        annotator = new_project("two roles")
        setup = web.run("setup", "--project", str(annotator.project_id))
        assert setup.returncode == 0, setup.stdout + setup.stderr
        (photo,) = photos(1, tmp_path)
        (task,) = annotator.upload([photo.path])
        annotator.label_objects(task, photo.size, [LabelledObject("RBC", Box(10, 10, 60, 60))])
        annotator.draw_roi(task, photo.size, Box(0, 0, *photo.size), {"min_size": 20, "max_size": 60})
        assert wait_for(lambda: annotator.prediction(task), "patches").patches
        status = json.loads(web.run("status", "--json").stdout)
        assert status["jobs"] == {"waiting": 0, "running": 0, "failed": [], "last_look": "ok", "exports": []}


def test_a_prediction_comes_back_as_it_was_sent(
    connected: Annotator, studio: LabelStudioProcess, tmp_path: Path
) -> None:
    """Ids, geometry and meta survive Label Studio, so nothing is ever changed for no reason."""
    (photo,) = photos(1, tmp_path)
    (task,) = connected.upload([photo.path])
    connected.draw_roi(task, photo.size, Box(0, 0, *photo.size), {"min_size": 20, "max_size": 60})
    wait_for(lambda: connected.prediction(task), "patches")
    client = LabelStudioClient(studio.url, studio.token)
    labeling = client.labeling(connected.project_id)
    (one,) = client.tasks(connected.project_id, labeling, [task])
    (same, *_) = client.tasks(connected.project_id, labeling)
    client.close()
    assert one.standing == same.standing
    assert len(one.standing[0].patches) == 5
    assert all(patch.provenance is not None for patch in one.standing[0].patches)


# ---------------------------------------------------------------- ROIs of every shape

SHAPE_OPTIONS = [option for shape in ROI_SHAPES if shape != "rectangle" for option in ("--roi-shape", shape)]


@pytest.fixture
def any_shape(service: ServiceProcess, new_project: Callable[[str], Annotator]) -> Annotator:
    """A connected project where ROIs may be drawn as a rectangle, polygon, ellipse or with the brush."""
    annotator = new_project("any shape")
    done = service.run("setup", "--project", str(annotator.project_id), *SHAPE_OPTIONS)
    assert done.returncode == 0, done.stdout + done.stderr
    return annotator


def drawn(size: tuple[int, int]) -> dict[str, Json]:
    """An ROI of every shape in a photo of at least 400 × 400 px, as the browser submits it."""
    painted = np.zeros(size[::-1], np.uint8)
    rows, columns = np.mgrid[: size[1], : size[0]]
    painted[(columns - 290) ** 2 + (rows - 290) ** 2 < 90**2] = 255
    across, down = 100 / size[0], 100 / size[1]
    points = [[x * across, y * down] for x, y in ((210, 10), (390, 30), (333.3, 180), (220, 150))]
    box = {"x": 10 * across, "y": 40 * down, "width": 150 * across, "height": 120 * down}
    ellipse = {"x": 105 * across, "y": 290 * down, "radiusX": 95 * across, "radiusY": 80 * down}
    values: dict[str, Json] = {
        "rectangle": {**box, "rotation": -12.5},
        "polygon": {"points": points, "closed": True},
        "ellipse": {**ellipse, "rotation": 33},
        "brush": {"format": "rle", "rle": brush.mask2rle(painted)},  # type: ignore[no-untyped-call]
    }
    regions = {}
    for shape, value in values.items():
        one = region(ROI_SHAPES[shape], ROI_LABELS[shape], Box(0, 0, 1, 1), size)
        kind = f"{shape}labels"
        regions[shape] = {**one, "type": kind, "value": {**value, kind: [ROI_LABELS[shape]]}}
    return regions


def with_fields(roi: Json, **fields: float) -> list[Json]:
    """An ROI and what its number fields say."""
    place = {key: value for key, value in roi["value"].items() if key != roi["type"]}
    numbers = [
        {**roi, "from_name": name, "type": "number", "value": {**place, "number": value}}
        for name, value in fields.items()
    ]
    return [roi, *numbers]


def read(studio: LabelStudioProcess, project_id: int, task_id: int) -> tuple[Labeling, Task]:
    """A task as the service reads it."""
    with closing(LabelStudioClient(studio.url, studio.token)) as client:
        labeling = client.labeling(project_id)
        (task,) = client.tasks(project_id, labeling, [task_id])
    return labeling, task


def test_setup_adds_every_shape_and_then_nothing(service: ServiceProcess, any_shape: Annotator) -> None:
    """Label Studio takes the controls, and gives them back so that we know them again."""
    again = service.run("setup", "--project", str(any_shape.project_id), *SHAPE_OPTIONS)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "the labeling configuration has our controls" in again.stdout
    assert "done" not in again.stdout


def test_an_roi_of_every_shape_gets_its_patches(
    studio: LabelStudioProcess, any_shape: Annotator, tmp_path: Path
) -> None:
    """Label Studio stores the ROI in our prediction with the control of its shape, and its patches lie in it."""
    (photo,) = photos(1, tmp_path)
    (task_id,) = any_shape.upload([photo.path])
    rois = drawn(photo.size)
    submitted = [item for roi in rois.values() for item in with_fields(roi, patches=3, min_size=20, max_size=50)]
    any_shape.submit(task_id, submitted)
    prediction = wait_for(lambda: any_shape.prediction(task_id), "patches")

    echoes = {item["from_name"]: item["type"] for item in prediction.result if item["from_name"] != "patch"}
    assert echoes == {name: f"{shape}labels" for shape, name in ROI_SHAPES.items()}
    _, task = read(studio, any_shape.project_id, task_id)
    (standing,) = task.standing
    outlines = {roi.box: roi.outline for roi in task.rois}
    assert len(standing.patches) == 12
    for one in standing.patches:
        assert one.provenance is not None
        assert holds(outlines[one.provenance.roi], one.box)


def test_an_roi_of_each_shape_is_served_at_once(any_shape: Annotator, tmp_path: Path) -> None:
    """The webhook alone is enough, whatever was drawn: nobody waits for the next look by the clock."""
    (photo,) = photos(1, tmp_path)
    rois = drawn(photo.size)
    tasks = dict(zip(any_shape.upload([photo.path] * len(rois)), rois.values(), strict=True))
    for task_id, roi in tasks.items():
        any_shape.submit(task_id, with_fields(roi, min_size=20))
    for task_id, roi in tasks.items():
        prediction = wait_for(partial(any_shape.prediction, task_id), f"patches for an ROI of {roi['type']}", 15)
        assert (prediction.result[0]["from_name"], len(prediction.patches)) == (roi["from_name"], 5)


def test_proposing_again_changes_nothing_whatever_the_shape(
    studio: LabelStudioProcess, service: ServiceProcess, any_shape: Annotator, tmp_path: Path
) -> None:
    """What Label Studio gives back has the fingerprint of what we would send: no prediction is changed for ever."""
    (photo,) = photos(1, tmp_path)
    (task_id,) = any_shape.upload([photo.path])
    any_shape.submit(task_id, [item for roi in drawn(photo.size).values() for item in with_fields(roi, min_size=20)])
    wait_for(lambda: any_shape.prediction(task_id), "patches")

    labeling, task = read(studio, any_shape.project_id, task_id)
    wanted = write_prediction(work_out_proposal(task, labeling.defaults, Rules()), labeling)
    assert [standing.content for standing in task.standing] == [fingerprint(wanted["result"])]
    again = service.run("propose", "--project", str(any_shape.project_id))
    assert "0 proposals created, 0 changed" in again.stdout, again.stdout + again.stderr


def test_a_copy_of_a_proposal_of_every_shape_is_a_review(
    studio: LabelStudioProcess, any_shape: Annotator, tmp_path: Path
) -> None:
    """What a reviewer submits of it says what they were shown, and asks for nothing new."""
    (photo,) = photos(1, tmp_path)
    (task_id,) = any_shape.upload([photo.path])
    rois = drawn(photo.size)
    any_shape.submit(task_id, [item for roi in rois.values() for item in with_fields(roi, patches=2, min_size=20)])
    prediction = wait_for(lambda: any_shape.prediction(task_id), "patches")
    out = prediction.patches[0]["id"]
    any_shape.review(task_id, prediction, lambda patch: bool(patch["id"] == out))

    _, task = read(studio, any_shape.project_id, task_id)
    (review,) = task.reviews
    assert review.shown - {patch.id for patch in review.held} == {out}
    assert (len(task.rois), task.exclusions, task.refusal) == (4, (), None)
