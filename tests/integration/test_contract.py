"""What our adapter rests on, held against a real Label Studio: tokens, bulk calls, frames."""

import json
from collections.abc import Callable
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from service.demo.annotator import Annotator, region
from service.demo.label_studio import LabelStudioProcess
from service.demo.labels import LabelledBox
from service.domain.geometry import Box, Outline
from service.domain.model import Proposal, Roi, RoiOutcome
from service.errors import NotFound, PredictionsDropped
from service.label_studio.client import LabelStudioClient
from service.label_studio.labeling import ROI, ROI_LABEL, Labeling
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
    roi = Roi("r", Outline.rectangle(0, 0, 50, 50))
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
    outline = Outline.rectangle(300, 20, 280, 200, 40)
    for patch in prediction.patches:
        value = patch["value"]
        box = Box.sized(
            round(value["x"] * width / 100),
            round(value["y"] * height / 100),
            round(value["width"] * width / 100),
            round(value["height"] * height / 100),
        )
        assert outline.holds(box)
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
        annotator.label_objects(task, photo.size, [LabelledBox("RBC", Box(10, 10, 60, 60))])
        annotator.draw_roi(task, photo.size, Box(0, 0, *photo.size), {"min_size": 20, "max_size": 60})
        assert wait_for(lambda: annotator.prediction(task), "patches").patches
        status = json.loads(web.run("status", "--json").stdout)
        assert status["jobs"] == {"waiting": 0, "running": 0, "failed": [], "last_look": "ok"}


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
