"""A real Label Studio for the session, and for each test a connected project with a service of its own."""

from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from service.demo.annotator import Annotator, labeling_configuration
from service.demo.label_studio import LabelStudioProcess
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
def connected(
    service: ServiceProcess, new_project: Callable[[str], Annotator], request: pytest.FixtureRequest
) -> Annotator:
    """A project that `negatives setup` has connected to the running service."""
    annotator = new_project(request.node.name[:50])
    done = service.run("setup", "--project", str(annotator.project_id))
    assert done.returncode == 0, done.stdout + done.stderr
    return annotator
