"""People at the browser go through a review queue: prefilled, by keys, several at once, never disturbed."""

from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from playwright.sync_api import Page, expect

from service.demo.annotator import Annotator, Json
from service.demo.label_studio import EMAIL, LabelStudioProcess
from service.domain.geometry import Box
from service.domain.model import Agreement
from service.label_studio.labeling import PATCH, REJECTED, UNSURE, VERDICTS
from service.label_studio.queue_project import KEYS, SOURCE_TASK
from service.label_studio.queues import ReviewedStudio
from tests.browser.conftest import COLLEAGUE
from tests.browser.labeling_screen import LabelingScreen
from tests.browser.regions import ids, submitted
from tests.browser.review_screen import ReviewScreen
from tests.people import sign_up
from tests.queues import connect, opened, review, stand, tasks, to_do
from tests.service_process import ServiceProcess, wait_for
from tests.studio import FIELD, labelled_task

ROI = Box(620, 40, 1180, 640)


@pytest.fixture
def windows(window: Callable[[str], Page], studio: LabelStudioProcess) -> Callable[[str, Annotator], ReviewScreen]:
    """Open a window on a queue, of one of the two people."""
    return lambda email, queue: ReviewScreen(window(email), studio.url, queue.project_id)


def draw(connected: Annotator, tmp_path: Path, pictures: int = 1) -> list[int]:
    """So many tasks with an ROI and its five patches, without waiting for them; the ROIs' annotations."""
    return [connected.draw_roi(labelled_task(connected, tmp_path), FIELD, ROI) for _ in range(pictures)]


def queued(service: ServiceProcess, connected: Annotator, count: int, *more: str) -> Annotator:
    """The project's review queue, with so many tasks to do."""
    queue = opened(service, connected, *more)
    wait_for(lambda: len(to_do(queue)) == count, f"{count} tasks in the queue")
    return queue


def patches(task: Json) -> list[Json]:
    """The patches that a task of the queue shows, the one on top first."""
    return [item for item in task["predictions"][0]["result"] if item["from_name"] == PATCH]


ONE_OUT = {"accepted": 4, "rejected": 1}
TIE = {"accepted": 4, "pending": 1}
RULES = [
    pytest.param("any-rejection", Agreement(2), 2, ONE_OUT, id="any-rejection"),
    pytest.param("majority", Agreement(2, majority=True), 3, TIE, id="majority"),
]


@pytest.mark.parametrize(("rule", "agreement", "people", "after_two"), RULES)
def test_two_people_at_once_disagree_and_the_rule_decides(
    rule: str,
    agreement: Agreement,
    people: int,
    after_two: dict[str, int],
    studio: LabelStudioProcess,
    api: httpx.Client,
    reader: ReviewedStudio,
    windows: Callable[[str, Annotator], ReviewScreen],
    tmp_path: Path,
) -> None:
    """Both get the task before either submits; one takes a patch out, the other accepts all. A third ends a tie."""
    settings = {"NEGATIVES_AGREEMENT": rule, "NEGATIVES_MIN_APPROVALS": "2", "NEGATIVES_RECONCILE_SECONDS": "60"}
    with ServiceProcess(studio, tmp_path, **settings) as service:
        source = connect(service, api, "Blood cells")
        draw(source, tmp_path)
        queue = queued(service, source, 1)
        (task,) = tasks(queue)
        assert task["overlap"] == people
        ann, bob = windows(EMAIL, queue).stream(), windows(COLLEAGUE, queue).stream()
        for screen in (ann, bob):
            screen.see_these(patches(task))
        ann.click_on(patches(task)[0])
        ann.press("Backspace")
        ann.see_these(patches(task)[1:])

        assert len(ids(ann.send()["result"])) == 4
        assert len(ids(bob.send()["result"])) == 5

        assert stand(reader, source, agreement=agreement) == after_two
        if people > 2:
            with sign_up(studio, f"third-{uuid4().hex[:6]}@example.com").api(studio) as third:
                review(third, task)
            assert stand(reader, source, agreement=agreement) == {"accepted": 5}


def test_a_bad_patch_takes_a_click_and_a_key(
    service: ServiceProcess,
    connected: Annotator,
    reader: ReviewedStudio,
    studio: LabelStudioProcess,
    windows: Callable[[str, Annotator], ReviewScreen],
    tmp_path: Path,
) -> None:
    """The stream's task is filled in; click, Backspace, Ctrl+Enter, and the next one is there.

    There keys say why it is bad, or that nobody can tell. Then it is over.
    """
    draw(connected, tmp_path, 2)
    queue = queued(service, connected, 2)
    first, second = tasks(queue)
    screen = windows(COLLEAGUE, queue).stream()
    screen.see_these(patches(first))
    expect_the_source_in_a_tab_of_its_own(screen, studio, connected, first)
    screen.click_on(patches(first)[0])
    screen.expect_in_window(screen.choice("object inside"))
    screen.expect_in_window(screen.choice(UNSURE))
    screen.picture("queue")
    screen.press("Backspace")
    screen.see_these(patches(first)[1:])
    said = screen.send()
    assert (said["task"], len(ids(said["result"]))) == (first["id"], 4)

    screen.see_these(patches(second))
    screen.click_on(patches(second)[0])
    screen.press(VERDICTS["object inside"])
    expect(screen.choice("object inside")).to_be_checked()
    screen.leave()
    screen.select_line(1)  # by the list: the first may lie over its middle
    screen.press(VERDICTS[UNSURE])
    expect(screen.choice(UNSURE)).to_be_checked()
    screen.settle()
    expect(screen.choice(UNSURE)).to_be_checked()  # still: the key isn't one of Label Studio's own
    assert len(ids(screen.send()["result"])) == 5
    expect(screen.over).to_be_visible()
    assert stand(reader, connected) == {"accepted": 7, "rejected": 2, "unsure": 1}


def expect_the_source_in_a_tab_of_its_own(
    screen: ReviewScreen, studio: LabelStudioProcess, source: Annotator, task: Json
) -> None:
    """The link opens the very task; the review stays where it was."""
    screen.expect_in_window(screen.link)
    with screen.page.context.expect_page() as tab:
        screen.link.click()
    beside = LabelingScreen(tab.value, studio.url, source.project_id)
    expect(beside.page.locator(".lsf-annotation-button", has_text="negatives")).to_be_visible()
    assert f"/projects/{source.project_id}/data" in beside.page.url
    assert f"task={task['data'][SOURCE_TASK]}" in beside.page.url
    beside.page.close()
    screen.see_these(patches(task))


def test_single_patches_take_a_key_each(
    service: ServiceProcess,
    connected: Annotator,
    reader: ReviewedStudio,
    windows: Callable[[str, Annotator], ReviewScreen],
    tmp_path: Path,
) -> None:
    """Without a click: a key, then Ctrl+Enter."""
    draw(connected, tmp_path)
    queue = queued(service, connected, 5, "--layout", "patch")
    screen = windows(COLLEAGUE, queue).stream()
    for number, verdict in enumerate(("accepted", REJECTED, "object inside", UNSURE, "accepted")):
        box = screen.choice(verdict)
        expect(screen.chosen).to_have_count(0)
        expect(box).not_to_be_checked()
        screen.expect_in_window(box)
        screen.press(KEYS[verdict])
        expect(box).to_be_checked()
        if number == 0:  # later, what Label Studio says of the last one lies over the verdicts
            screen.picture("queue-single")
        screen.send()
    expect(screen.over).to_be_visible()
    assert stand(reader, connected) == {"accepted": 2, "rejected": 2, "unsure": 1}


def test_nothing_is_pulled_from_under_a_reviewer(
    service: ServiceProcess,
    connected: Annotator,
    reader: ReviewedStudio,
    windows: Callable[[str, Annotator], ReviewScreen],
    tmp_path: Path,
) -> None:
    """The ROI is deleted while somebody looks at its patches: their Submit succeeds, and counts."""
    (drawn,) = draw(connected, tmp_path)
    queue = queued(service, connected, 1)
    (task,) = tasks(queue)
    screen = windows(COLLEAGUE, queue).stream()
    screen.see_these(patches(task))
    connected.api.delete(f"/api/annotations/{drawn}/").raise_for_status()
    wait_for(lambda: not to_do(queue), "the end of the stream")
    said = screen.send()
    assert len(ids(submitted(connected, int(said["id"])))) == 5
    expect(screen.over).to_be_visible()
    assert stand(reader, connected) == {"accepted": 5}
