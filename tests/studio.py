"""A real Label Studio for the session, and for each test a connected project with a service of its own."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from service.demo.annotator import Annotator, labeling_configuration
from service.demo.label_studio import LabelStudioProcess
from service.demo.pictures import draw_field
from service.label_studio.queues import ReviewedStudio
from tests.service_process import ServiceProcess

LABEL_STUDIO = Path(__file__).resolve().parents[1] / ".venv-label-studio" / "bin" / "label-studio"


@pytest.fixture(scope="session")
def studio(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LabelStudioProcess]:
    """One Label Studio for all tests; each makes projects of its own."""
    with LabelStudioProcess(LABEL_STUDIO, tmp_path_factory.mktemp("label-studio")).start() as running:
        yield running


@pytest.fixture
def api(studio: LabelStudioProcess) -> Iterator[httpx.Client]:
    """Label Studio's API as its user."""
    with studio.api() as client:
        yield client


@pytest.fixture
def service(studio: LabelStudioProcess, tmp_path: Path) -> Iterator[ServiceProcess]:
    """The service, running."""
    # Looking for changes by the clock is as rare as it can be: what a test waits for has to come by webhook.
    with ServiceProcess(studio, tmp_path, NEGATIVES_RECONCILE_SECONDS="60") as running:
        yield running


@pytest.fixture
def new_project(api: httpx.Client) -> Callable[[str], Annotator]:
    """Create a project with a team's own labeling configuration, not connected yet."""
    return lambda title: Annotator.in_new_project(
        api, title, labeling_configuration(["RBC", "WBC", "Platelets", "Cell"])
    )


@pytest.fixture
def connected(service: ServiceProcess, new_project: Callable[[str], Annotator]) -> Annotator:
    """A project that `negatives setup` has connected to the running service."""
    annotator = new_project("Blood cells")
    done = service.run("setup", "--project", str(annotator.project_id))
    assert done.returncode == 0, done.stdout + done.stderr
    return annotator


@pytest.fixture(scope="session")
def reader(studio: LabelStudioProcess) -> Iterator[ReviewedStudio]:
    """Label Studio as the service reads it: what says how patches stand, without a command."""
    with closing(ReviewedStudio(studio.url, studio.token)) as client:
        yield client


FIELD = (1200, 900)
"""Width and height of the picture of a `labelled_task`."""


def labelled_task(annotator: Annotator, directory: Path) -> int:
    """Import a picture and label its cells; its task. The right half has none, from the top to three quarters."""
    field = draw_field(3, *FIELD)
    picture = directory / "field.png"
    field.image.save(picture)
    (task,) = annotator.upload([picture])
    annotator.label_objects(task, field.image.size, field.objects)
    return task


def counted(service: ServiceProcess, project_id: int) -> dict[str, int]:
    """What `negatives status` counts in a project: rois, and patches by where they stand."""
    told = service.run("status", "--project", str(project_id), "--json")
    counts = json.loads(told.stdout)["projects"][str(project_id)]
    return {name: counts[name] for name in ("rois", "accepted", "rejected", "unsure", "pending", "stale")}
