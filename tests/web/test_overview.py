"""Where projects stand, what is wrong, and exports: for who may see it."""

import re
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from service.domain.geometry import Box
from service.domain.model import Explanation, Rules, StandingPrediction, State, Task
from service.domain.work import ExportJob, ExportState, Progress
from service.errors import LabelStudioUnavailable
from service.web import create_app
from tests.factories import NOON, patch, review, roi, task
from tests.web.visits import (
    ADA,
    ADAS_TOKEN,
    BARE,
    BOB,
    BOBS_TOKEN,
    HTML,
    FakeOffice,
    FakeQueue,
    FakeStudio,
    SomeFailure,
    SomeProject,
    data_yaml,
    sign_in,
    some_export,
    some_pages,
    text_of,
)

BOXES = [Box.sized(100 + 150 * number, 100, 120, 120) for number in range(8)]
CELL = Box.sized(1000, 900, 40, 40)


@pytest.fixture
def studio() -> FakeStudio:
    """Label Studio with two connected projects, 7 and 8."""
    return FakeStudio()


@pytest.fixture
def queue() -> FakeQueue:
    """Nothing in flight."""
    return FakeQueue()


@pytest.fixture
def visit(studio: FakeStudio, queue: FakeQueue) -> Callable[..., FlaskClient]:
    """A browser of somebody who is signed in, by token; `settings` are those of `Pages`."""

    def visit(token: str = ADAS_TOKEN, **settings: object) -> FlaskClient:
        pages = replace(some_pages(FakeOffice(), studio, queue), **settings)  # type: ignore[arg-type]
        app = create_app(secret="x" * 8, put=lambda _: None, max_webhook_bytes=1000, rules=Rules(), pages=pages)
        browser = app.test_client()
        sign_in(browser, token)
        return browser

    return visit


def some_task(project_id: int, task_id: int) -> Task:
    """Two ROIs: three patches accepted, one rejected, two pending, one unsure, one stale, one disputed."""
    patches = [patch(box, task_id=task_id) for box in BOXES]
    kept, rejected, pending, unsure = patches[:3], patches[3], patches[4:6], patches[6]
    stale = patches[7]
    shown = [*kept, rejected, unsure, stale]
    mine = replace(review([*kept, unsure, stale], shown, by=1), unsure=frozenset([unsure.id]))
    theirs = review([], [kept[0]], by=2, annotation=2, hour=1)
    found = task(
        roi(),
        roi(region_id="second"),
        standing=[*kept, rejected, *pending, unsure, stale],
        reviews=[mine, theirs],
        exclusions=[CELL, BOXES[7]],
        task_id=task_id,
        project_id=project_id,
    )
    (standing,) = found.standing
    short = Explanation("2 of 5 patches: a <b>crowd</b> of cells.")
    return replace(found, standing=(StandingPrediction(1, standing.patches, "", (short,)),))


def row(page: str, title: str) -> dict[str, int]:
    """The counts of one project, by the column's name."""
    (found,) = [part for part in re.findall(r"<tr>.*?</tr>", page, re.DOTALL) if f">{title}</a>" in part]
    cells = re.findall(r'data-label="(\w+)">(.*?)</td>', found, re.DOTALL)
    return {name: int(text_of(cell)) for name, cell in cells}


def test_the_root_leads_to_the_overview(visit: Callable[..., FlaskClient]) -> None:
    """Whoever types only the host's name."""
    assert visit().get("/", headers=HTML).location == "/projects/"


def test_each_project_is_counted(visit: Callable[..., FlaskClient], studio: FakeStudio) -> None:
    """The numbers of `negatives status`, each with its way into the gallery."""
    studio.held[7] = [some_task(7, 70), some_task(7, 71)]
    page = visit().get("/projects/", headers=HTML).text
    assert row(page, "Blood cells") == {
        "ROIs": 4,
        "Patches": 16,
        "Accepted": 4,
        "Rejected": 4,
        "Pending": 4,
        "Unsure": 2,
        "Stale": 2,
        "Short": 0,
        "Conflicts": 2,
    }
    assert set(row(page, "Leaves").values()) == {0}
    links = set(re.findall(r'href="(/projects/7/[^"]*)"', page))
    states = {f"/projects/7/gallery?state={state}" for state in (*State, "conflict")}
    assert links == {"/projects/7/", "/projects/7/gallery", *states}
    assert 'href="http://studio.example:8080/projects/7/data"' in page


def test_numbers_are_those_of_now(visit: Callable[..., FlaskClient], studio: FakeStudio) -> None:
    """What is remembered is only what hasn't changed."""
    moments = [0.0]
    studio.held[7] = [some_task(7, 70)]
    browser = visit(timer=lambda: moments[-1])
    assert row(browser.get("/projects/", headers=HTML).text, "Blood cells")["Patches"] == 8
    studio.held[7].append(some_task(7, 71))
    moments.append(31.0)
    assert row(browser.get("/projects/", headers=HTML).text, "Blood cells")["Patches"] == 16


def test_one_sees_the_projects_that_one_sees_in_label_studio(
    visit: Callable[..., FlaskClient], studio: FakeStudio, queue: FakeQueue
) -> None:
    """Of others neither name nor number, work or trouble."""
    studio.held[7] = [some_task(7, 70)]
    queue.failed = [SomeFailure(7, (70,), "the image of Blood cells is gone")]
    queue.look_failure = "Label Studio failed with 500 for the tasks of project 7 (at 12:00:00 UTC)"
    queue.exported = [some_export(7, ExportState.RUNNING)]
    page = visit(BOBS_TOKEN).get("/projects/", headers=HTML).text
    assert "Leaves" in page
    assert "Blood" not in page
    assert "/projects/7" not in page
    assert "project 7" not in page
    assert "task 70" not in page
    assert "data-refresh" not in page


def test_who_sees_no_project_learns_nothing(
    visit: Callable[..., FlaskClient], studio: FakeStudio, queue: FakeQueue, tmp_path: Path
) -> None:
    """Anybody can make an account in an open Label Studio: the dataset and the jobs are not for them."""
    studio.connected = [9]
    queue.waiting, queue.look_failure = 5, "Label Studio is down"
    page = visit(dataset=str(tmp_path / "secret" / "data.yaml")).get("/projects/", headers=HTML).text
    assert "No project to show" in page
    assert "negatives setup --project" in page
    assert not {"secret", "waiting", "down"} & set(re.findall(r"\w+", text_of(page)))


def test_what_is_wrong_is_said_with_what_to_do(
    visit: Callable[..., FlaskClient], studio: FakeStudio, queue: FakeQueue
) -> None:
    """Failed jobs with their tasks, the last look, and a project that isn't set up."""
    studio.projects[8] = SomeProject("Leaves", BARE)
    queue.failed = [SomeFailure(7, (70, 71), "the image is gone")]
    queue.look_failure = "Label Studio doesn't accept the token (at 12:00:00 UTC)"
    page = visit().get("/projects/", headers=HTML).text
    text = text_of(page)
    assert "The last look for changes failed: Label Studio doesn&#39;t accept the token" in text
    assert "the image is gone" in text
    assert "negatives propose --project 7" in text
    assert 'href="http://studio.example:8080/projects/7/data?task=71"' in page
    assert "Run: negatives setup --project 8" in text
    assert row(page, "Blood cells")["Patches"] == 0


def test_a_project_that_fails_leaves_the_others_alone(visit: Callable[..., FlaskClient], studio: FakeStudio) -> None:
    """Its sentence stands where its numbers would."""
    studio.held[7], studio.held[8] = [some_task(7, 70)], [some_task(8, 80)]
    browser = visit()

    def fails() -> None:
        if studio.asked[-1] == "tasks 8":
            raise LabelStudioUnavailable("Label Studio failed with 500 for the tasks of project 8")

    studio.before_reading = fails
    page = browser.get("/projects/", headers=HTML).text
    assert row(page, "Blood cells")["Patches"] == 8
    assert row(page, "Leaves") == {}
    assert "failed with 500 for the tasks of project 8" in page


def test_when_label_studio_is_down_the_page_says_so(visit: Callable[..., FlaskClient], studio: FakeStudio) -> None:
    """With the status of it, as HTML, and keeps who is signed in."""
    browser = visit()
    studio.trouble = LabelStudioUnavailable("Label Studio can't be reached for project 7")
    answer = browser.get("/projects/7/", headers=HTML)
    assert (answer.status_code, answer.mimetype) == (503, "text/html")
    assert "reached for project 7" in answer.text
    studio.trouble = None
    assert browser.get("/projects/7/", headers=HTML).status_code == 200


def test_a_project_that_isn_t_connected_says_how(visit: Callable[..., FlaskClient], studio: FakeStudio) -> None:
    """To who may see it in Label Studio."""
    studio.connected = [7]
    answer = visit().get("/projects/8/", headers=HTML)
    assert answer.status_code == 409
    assert "Run: negatives setup --project 8" in answer.text
    assert "tasks 8" not in studio.asked


def test_a_large_project_is_read_while_people_wait_elsewhere(
    visit: Callable[..., FlaskClient], studio: FakeStudio
) -> None:
    """The page answers all the same, looks again by itself, and reads once however often it is loaded."""
    go_on = threading.Event()
    studio.before_reading = lambda: go_on.wait(10)
    studio.held[7] = [some_task(7, 70)]
    studio.connected = [7]
    browser = visit(patience=0.01)
    for _ in range(3):
        page = browser.get("/projects/", headers=HTML).text
        assert "Being read from Label Studio" in page
        assert "data-refresh" in page
    assert sum(thread.name == "survey" for thread in threading.enumerate()) == 1
    go_on.set()
    for _ in range(500):
        page = browser.get("/projects/", headers=HTML).text
        if "Being read" not in page:
            break
        threading.Event().wait(0.01)
    assert row(page, "Blood cells")["Patches"] == 8
    assert "data-refresh" not in page
    assert studio.asked.count("tasks 7") == 1


def test_a_page_looks_again_as_long_as_work_is_under_way(visit: Callable[..., FlaskClient], queue: FakeQueue) -> None:
    """And stops when nothing is."""
    browser = visit()
    for waiting, running, exports, looks in (
        (0, 0, [], False),
        (2, 0, [], True),
        (0, 1, [], True),
        (0, 0, [some_export(7, ExportState.RUNNING)], True),
        (0, 0, [some_export(7)], False),
    ):
        queue.waiting, queue.running, queue.exported = waiting, running, exports
        for path in ("/projects/", "/projects/7/"):
            assert ("data-refresh" in browser.get(path, headers=HTML).text) is looks
    queue.waiting, queue.running = 2, 1
    assert "1 job running, 2 waiting" in text_of(browser.get("/projects/", headers=HTML).text)


def test_a_project_tells_what_people_should_know(visit: Callable[..., FlaskClient], studio: FakeStudio) -> None:
    """Who said what, what is stale and why, what is refused; each with its task, and as text, whatever it holds."""
    studio.held[7] = [
        some_task(7, 70),
        task(roi(), refusal="a region can't be read", task_id=71, project_id=7),
    ]
    page = visit().get("/projects/7/", headers=HTML).text
    text = text_of(page)
    assert "people disagree on the patch of 120 × 120 px at (100, 100): Ada accepted, Bob rejected" in text
    assert "is stale" in text
    assert "a patch is unsure" in text
    assert "a region can&#39;t be read" in text
    assert "a &lt;b&gt;crowd&lt;/b&gt; of cells" in text
    for task_id in (70, 71):
        assert f'href="http://studio.example:8080/projects/7/data?task={task_id}"' in page
        assert f'href="/projects/7/gallery?task={task_id}"' in page


def test_who_has_just_joined_is_known_by_name(visit: Callable[..., FlaskClient], studio: FakeStudio) -> None:
    """Names are kept for a minute, unless somebody has said something who isn't among them."""
    studio.members = [ADA]
    browser = visit(timer=lambda: 0.0)
    browser.get("/projects/7/", headers=HTML)
    studio.members = [ADA, BOB]
    studio.held[8] = [some_task(8, 80)]
    assert "Ada accepted, Bob rejected" in browser.get("/projects/8/", headers=HTML).text
    for _ in range(3):
        browser.get("/projects/8/", headers=HTML)
    assert studio.asked.count("people") == 2


def test_the_dataset_s_share_is_told_against_the_band(visit: Callable[..., FlaskClient], tmp_path: Path) -> None:
    """With what to do about it."""
    browser = visit(dataset=data_yaml(tmp_path, objects=57, empty=3))
    for path in ("/projects/", "/projects/7/"):
        text = text_of(browser.get(path, headers=HTML).text)
        assert "5.0% of its training images are negatives: 3 of 60" in text
        assert "below the band of 10% to 20%: 4 more would reach it" in text


def test_the_dataset_is_counted_once_a_minute_and_after_an_export(
    visit: Callable[..., FlaskClient], queue: FakeQueue, tmp_path: Path
) -> None:
    """It may have a hundred thousand files; while an export is under way it isn't counted anew, and then it is. ZIPs
    and dry runs leave it as it was.
    """
    moments = [0.0]
    browser = visit(dataset=data_yaml(tmp_path, objects=57, empty=3), timer=lambda: moments[-1])

    def told() -> str:
        return text_of(browser.get("/projects/", headers=HTML).text)

    assert "3 of 60" in told()
    (tmp_path / "images/train/new.png").touch()
    queue.exported = [some_export(7, ExportState.RUNNING)]
    assert "3 of 60" in told()
    queue.exported = [some_export(7)]
    assert "4 of 61" in told()
    (tmp_path / "images/train/another.png").touch()
    queue.exported.insert(0, replace(some_export(7, zip_format="yolo"), at=NOON + timedelta(hours=1)))
    queue.exported.insert(0, replace(some_export(7, is_dry=True), at=NOON + timedelta(hours=2)))
    assert "4 of 61" in told()
    moments.append(61.0)
    assert "5 of 62" in told()


def test_a_dataset_that_can_t_be_read_is_told_of(visit: Callable[..., FlaskClient], tmp_path: Path) -> None:
    """In a sentence, on a page that shows the rest."""
    answer = visit(dataset=str(tmp_path / "data.yaml")).get("/projects/", headers=HTML)
    assert answer.status_code == 200
    assert str(tmp_path / "data.yaml") in answer.text
    assert row(answer.text, "Blood cells")["Patches"] == 0


def test_without_a_dataset_it_is_said_what_to_set(visit: Callable[..., FlaskClient]) -> None:
    """With the reason on the buttons; a ZIP needs none."""
    browser = visit()
    assert "NEGATIVES_DATASET" in browser.get("/projects/", headers=HTML).text
    page = browser.get("/projects/7/", headers=HTML).text
    assert re.search(r'<button[^>]*id="export-button"[^>]* disabled aria-describedby="why"', page)
    assert re.search(r'<button[^>]*id="look-button"[^>]* disabled aria-describedby="why"', page)
    assert '<button id="zip-button">' in page
    assert "Not now: no dataset is set." in text_of(page)


def test_a_project_s_exports_are_listed(visit: Callable[..., FlaskClient], queue: FakeQueue, tmp_path: Path) -> None:
    """Under way, done or failed, with what came of it; those of other projects are not."""
    queue.exported = [
        some_export(7, ExportState.RUNNING, progress=Progress("cutting patches", 1200, 4000), job_id="export-7-1"),
        some_export(8, message="8 negatives written", job_id="export-8-1"),
        some_export(7, ExportState.WAITING, zip_format="yolo", job_id="zip-7-1"),
        some_export(7, message="5 negatives written, 2 were there already", limit_to_band=True),
        some_export(7, ExportState.FAILED, "2 tasks failed", is_dry=True),
    ]
    page = visit(dataset=data_yaml(tmp_path, objects=9, empty=1)).get("/projects/7/", headers=HTML).text
    text = text_of(page)
    assert "1 Mar 12:00 UTC into the dataset cutting patches: 1,200 of 4,000 –" in text
    assert "1 Mar 12:00 UTC ZIP, yolo waiting –" in text
    assert "1 Mar 12:00 UTC into the dataset, within the band done 5 negatives written, 2 were there already" in text
    assert "1 Mar 12:00 UTC what would happen failed 2 tasks failed" in text
    assert "8 negatives written" not in text
    assert "export-8-1" not in page
    assert 'href="/projects/7/exports/zip-7-1"' in page


@pytest.mark.parametrize(
    ("job", "disabled", "why"),
    [
        (some_export(7, ExportState.RUNNING), {"export-button"}, "an export is under way"),
        (some_export(7, ExportState.WAITING, is_dry=True), {"look-button"}, "that is being looked at"),
        (some_export(7, ExportState.RUNNING, zip_format="yolo"), set(), None),
        (some_export(8, ExportState.RUNNING), set(), None),
        (some_export(7, ExportState.DONE), set(), None),
    ],
)
def test_what_is_under_way_can_t_be_pressed(
    visit: Callable[..., FlaskClient], queue: FakeQueue, tmp_path: Path, job: ExportJob, disabled: set[str], why: str
) -> None:
    """With the reason beside it."""
    queue.exported = [job]
    page = visit(dataset=data_yaml(tmp_path, objects=9, empty=1)).get("/projects/7/", headers=HTML).text
    assert set(re.findall(r'<button[^>]*id="([\w-]+)"[^>]* disabled', page)) == disabled
    assert (f"Not now: {why}." in text_of(page)) is bool(why)


def test_a_page_that_looks_again_does_so_without_scripts(visit: Callable[..., FlaskClient], queue: FakeQueue) -> None:
    """As long as it has to."""
    browser = visit()
    assert "http-equiv" not in browser.get("/projects/7/", headers=HTML).text
    queue.exported = [some_export(7, ExportState.RUNNING)]
    assert re.search(
        r'<noscript><meta http-equiv="refresh" content="\d">', browser.get("/projects/7/", headers=HTML).text
    )


def test_an_export_under_way_is_a_click_away(visit: Callable[..., FlaskClient], queue: FakeQueue) -> None:
    """From the overview of all projects, to who sees the project."""
    queue.exported = [some_export(7, ExportState.RUNNING, job_id="export-7-1")]
    assert 'href="/projects/7/exports/export-7-1"' in visit().get("/projects/", headers=HTML).text
    assert "export-7-1" not in visit(BOBS_TOKEN).get("/projects/", headers=HTML).text


def test_the_band_is_the_settings(visit: Callable[..., FlaskClient], tmp_path: Path) -> None:
    """What helps others differs."""
    text = text_of(
        visit(dataset=data_yaml(tmp_path, objects=57, empty=3), band=(0.02, 0.06))
        .get("/projects/7/", headers=HTML)
        .text
    )
    assert "3 of 60; within the band of 2% to 6%" in text
    assert "at most 6% negatives" in text


def test_titles_are_text(visit: Callable[..., FlaskClient], studio: FakeStudio) -> None:
    """Whoever names a project runs nothing in others' browsers."""
    studio.projects[7] = SomeProject("<script>alert(1)</script>")
    browser = visit()
    for path in ("/projects/", "/projects/7/"):
        page = browser.get(path, headers=HTML).text
        assert "<script>alert" not in page
        assert "&lt;script&gt;alert(1)" in page
