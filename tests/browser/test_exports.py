"""Exports in a browser and by a script: what somebody sees while one runs, and what they have in the end."""

import io
import json
import os
import re
import subprocess
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread

import pytest
from playwright.sync_api import Page, expect

from service.demo.annotator import Annotator
from service.demo.label_studio import EMAIL, LabelStudioProcess
from service.demo.pictures import draw_field
from service.export.manifest import read_manifest
from tests.browser.test_overview import FREE, keep, overview
from tests.exporting import tree, yolo_repository
from tests.service_process import ServiceProcess, wait_for
from tests.studio import FIELD

HTTP = Path(__file__).parents[2] / "docs" / "http.md"


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with twenty labelled images in train, and as many in val."""
    return yolo_repository(tmp_path_factory.mktemp("dataset"), images=20)


@pytest.fixture(scope="module")
def service(
    studio: LabelStudioProcess, tmp_path_factory: pytest.TempPathFactory, dataset: Path
) -> Iterator[ServiceProcess]:
    """The web server; the worker is another process, which shares its database and the folder of exports."""
    folder = tmp_path_factory.mktemp("service")
    settings = {
        "NEGATIVES_RECONCILE_SECONDS": "60",
        "NEGATIVES_DATASET": str(dataset),
        "NEGATIVES_CACHE": str(folder / "cache"),
        "NEGATIVES_EXPORTS": str(folder / "results"),
    }
    with ServiceProcess(studio, folder, role="web", **settings) as web:
        settings["NEGATIVES_PORT"] = str(web.port)  # of the address that projects call
        with ServiceProcess(studio, folder, role="worker", **settings):
            yield web


@contextmanager
def slow_host(picture: bytes, let_go: Event) -> Iterator[str]:
    """Where a picture lies that is sent when it is let go; its address."""

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            assert let_go.wait(60)
            self.send_response(200)
            self.send_header("Content-Type", "image/png")
            self.send_header("Content-Length", str(len(picture)))
            self.end_headers()
            self.wfile.write(picture)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    thread = Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/slow.png"
    finally:
        let_go.set()
        server.shutdown()
        thread.join()
        server.server_close()


def accept(annotator: Annotator, task: int, *, rejected: int = 0) -> None:
    """Draw an ROI, and say of the patches that are proposed that they are empty, except so many."""
    annotator.draw_roi(task, FIELD, FREE)
    proposal = wait_for(lambda: annotator.prediction(task), "the proposal")
    out = [patch["id"] for patch in proposal.patches[:rejected]]
    annotator.review(task, proposal, lambda region: region["id"] in out)


@pytest.fixture
def reviewed(connected: Annotator, task: int) -> Annotator:
    """The connected project, three patches of one task accepted and two rejected."""
    accept(connected, task, rejected=2)
    return connected


@pytest.fixture
def let_go() -> Event:
    """Set when the slow picture may be sent."""
    return Event()


@pytest.fixture
def slow(reviewed: Annotator, let_go: Event) -> Iterator[Annotator]:
    """The same with a second task, five patches accepted, whose picture is slow to come."""
    field = draw_field(4, *FIELD)
    picture = io.BytesIO()
    field.image.save(picture, "png")
    with slow_host(picture.getvalue(), let_go) as address:
        path = f"/api/projects/{reviewed.project_id}/import?return_task_ids=true"
        (task,) = reviewed.api.post(path, json=[{"image": address}]).raise_for_status().json()["task_ids"]
        reviewed.label_objects(task, field.image.size, field.objects)
        accept(reviewed, task)
        yield reviewed


def on_project(window: Callable[[str], Page], service: ServiceProcess, project_id: int) -> Page:
    """The project's overview, in the window of its owner."""
    page = overview(window(EMAIL), service)
    page.goto(f"{service.url}/projects/{project_id}/")
    return page


def test_a_zip_is_asked_for_followed_and_downloaded(
    window: Callable[[str], Page], service: ServiceProcess, slow: Annotator, let_go: Event, tmp_path: Path
) -> None:
    """With its progress before one's eyes, on its own page and the project's; it holds what was accepted."""
    page = on_project(window, service, slow.project_id)
    page.get_by_label("in the format").select_option("coco")
    page.get_by_role("button", name="Download a ZIP").click()
    expect(page.get_by_role("heading", name="Export: ZIP, coco")).to_be_visible()
    expect(page.get_by_text("cutting patches: 1 of 2")).to_be_visible()
    expect(page.get_by_role("progressbar", name="How far it is")).to_have_attribute("max", "2")
    keep(page, "export-running")
    its_page = page.url
    page.goto(f"{service.url}/projects/{slow.project_id}/")
    expect(page.get_by_role("row").filter(has_text="ZIP, coco")).to_contain_text("cutting patches: 1 of 2")
    page.get_by_label("in the format").select_option("voc")
    page.evaluate("document.body.dataset.notLoadedAgain = 'yes'")
    keep(page, "exports")
    let_go.set()
    expect(page.get_by_role("row").filter(has_text="ZIP, coco")).to_contain_text("8 negatives written")
    assert page.evaluate("document.body.dataset.notLoadedAgain") == "yes"
    assert page.get_by_label("in the format").input_value() == "voc"
    page.goto(its_page)
    with page.expect_download() as downloading:
        page.get_by_role("link", name="Download the ZIP").click()
    name = f"negatives-project-{slow.project_id}-coco"
    assert downloading.value.suggested_filename == f"{name}.zip"
    downloading.value.save_as(tmp_path / "it.zip")
    with zipfile.ZipFile(tmp_path / "it.zip") as archive:
        assert archive.testzip() is None
        rows = read_manifest(archive.read(f"{name}/negatives.jsonl"), "")
        document = json.loads(archive.read(f"{name}/annotations/instances_train.json"))
        report = json.loads(archive.read(f"{name}/report.json"))
        pictures = [one for one in archive.namelist() if one.endswith(".png")]
    assert (len(rows), len(document["images"]), len(pictures)) == (8, 8, 8)
    assert (document["annotations"], report["counts"]["add"]) == ([], 8)
    keep(page, "export-done")


def test_one_looks_before_one_exports(
    window: Callable[[str], Page], service: ServiceProcess, reviewed: Annotator, dataset: Path
) -> None:
    """What would happen is told and doesn't happen; then it does, as it was told."""
    before = tree(dataset.parent)
    page = on_project(window, service, reviewed.project_id)
    page.get_by_role("button", name="What would happen").click()
    expect(page.get_by_role("heading", name="What would be done")).to_contain_text("3")
    expect(page.get_by_text("3 negatives would be written")).to_be_visible()
    files = page.locator("section[aria-labelledby=files] code").all_inner_texts()
    keep(page, "export-dry")
    assert tree(dataset.parent) == before
    page.goto(f"{service.url}/projects/{reviewed.project_id}/")
    page.get_by_role("button", name="Export into the dataset").click()
    expect(page.get_by_role("heading", name="What was done")).to_contain_text("3")
    assert page.locator("section[aria-labelledby=files] code").all_inner_texts() == files
    assert {file for file in files if not (dataset.parent / file).is_file()} == set()
    page.get_by_role("link", name="Report").click()
    report = json.loads(page.locator("body").inner_text())
    assert [file["file"] for file in report["files"]] == files


@pytest.mark.usefixtures("reviewed")
def test_a_failed_export_says_why(
    window: Callable[[str], Page], service: ServiceProcess, reviewed: Annotator, dataset: Path
) -> None:
    """On its page and in its report."""
    away = dataset.with_suffix(".away")
    page = on_project(window, service, reviewed.project_id)
    dataset.rename(away)
    try:
        page.get_by_role("button", name="Export into the dataset").click()
        expect(page.get_by_text("failed")).to_be_visible()
        expect(page.get_by_text(f"{dataset} doesn't exist")).to_be_visible()
    finally:
        away.rename(dataset)
    page.get_by_role("link", name="Report").click()
    assert str(dataset) in json.loads(page.locator("body").inner_text())["error"]


def test_a_script_does_as_the_documentation_says(
    service: ServiceProcess, studio: LabelStudioProcess, reviewed: Annotator, tmp_path: Path
) -> None:
    """The very lines of docs/http.md: start, follow, fetch."""
    (script,) = re.findall(r"```sh\n(.*?)```", HTTP.read_text(), re.DOTALL)
    ran = subprocess.run(
        ["bash", "-eu", "-o", "pipefail", "-c", script.replace("projects/7/", f"projects/{reviewed.project_id}/")],
        env=os.environ | {"SERVICE": service.url, "TOKEN": studio.token},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert '"state":"done"' in ran.stdout
    with zipfile.ZipFile(tmp_path / "negatives.zip") as archive:
        assert sum(name.endswith(".png") for name in archive.namelist()) == 3
    assert json.loads((tmp_path / "report.json").read_text())["counts"]["add"] == 3


def test_without_scripts_all_of_it_works(
    window: Callable[[str], Page], service: ServiceProcess, reviewed: Annotator, tmp_path: Path
) -> None:
    """The page loads itself again until the ZIP is there."""
    page = on_project(window, service, reviewed.project_id)
    assert page.context.browser is not None
    context = page.context.browser.new_context(java_script_enabled=False, storage_state=page.context.storage_state())
    try:
        page = context.new_page()
        page.goto(f"{service.url}/projects/{reviewed.project_id}/")
        page.get_by_role("button", name="Download a ZIP").click()
        with page.expect_download() as downloading:
            page.get_by_role("link", name="Download the ZIP").click()
        downloading.value.save_as(tmp_path / "it.zip")
        assert zipfile.ZipFile(tmp_path / "it.zip").testzip() is None
    finally:
        context.close()
