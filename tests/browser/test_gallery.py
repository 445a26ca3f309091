"""The gallery in a real browser over a real Label Studio: by click, by key, without a script, and when things fail."""

import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Literal

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Dialog, Page, StorageState, expect
from playwright.sync_api import Error as PlaywrightError

from service.demo.annotator import Annotator
from service.demo.label_studio import EMAIL
from service.domain.model import Agreement, Decision, State
from service.label_studio.queues import ReviewedStudio
from service.review import decide
from tests.browser.conftest import COLLEAGUE
from tests.browser.labeling_screen import ARTIFACTS
from tests.browser.wall import PATCHES, import_tasks, shown, sign_in
from tests.queues import connect, run
from tests.service_process import ServiceProcess, wait_for

NewWall = Callable[[int], Annotator]


@pytest.fixture
def new_wall(service: ServiceProcess, api: httpx.Client) -> NewWall:
    """Makes a project of so many tasks, with five patches each."""

    def made(tasks: int) -> Annotator:
        annotator = connect(service, api, "Blood cells")
        import_tasks(annotator, tasks, drawn=True)
        run(service, "propose", "--project", str(annotator.project_id))
        return annotator

    return made


def decisions(reader: ReviewedStudio, project_id: int) -> list[Decision]:
    """Where all patches of a project stand."""
    tasks = reader.tasks(project_id, reader.labeling(project_id))
    return [one for task in tasks for one in decide(task, Agreement())]


def states(reader: ReviewedStudio, project_id: int) -> Counter[State]:
    """How many patches stand where."""
    return Counter(one.state for one in decisions(reader, project_id))


def person_of(api: httpx.Client, email: str) -> int:
    """Label Studio's id of a user."""
    (found,) = [user["id"] for user in api.get("/api/users/").raise_for_status().json() if user["email"] == email]
    return int(found)


def opened(page: Page, service: ServiceProcess, project_id: int, path: str = "gallery") -> None:
    """Sign in and see all pictures of a page."""
    sign_in(page, service, f"/projects/{project_id}/{path}")
    all_there(page)


def all_there(page: Page) -> None:
    """Wait for all pictures."""
    tiles = page.locator(".tile")
    expect(tiles.first).to_be_visible()
    wait_for(lambda: shown(page) == tiles.count(), "all pictures")


def first_name(page: Page) -> str:
    """The first patch of a page; empty where none is left."""
    return str(page.evaluate("document.querySelector('.tile')?.dataset.name ?? ''"))


# In one question: between two, another page may come, that isn't whole yet.
IS_ANOTHER = """(before) =>
    document.readyState === "complete" && (document.querySelector(".tile")?.dataset.name ?? "") !== before"""


def next_page(page: Page, before: str) -> bool:
    """Wait for another page than the one that began with this patch; whether there is something on it."""

    def come() -> bool:
        # Between two pages there is none to ask.
        try:
            return bool(page.evaluate(IS_ANOTHER, before))
        except PlaywrightError:
            return False

    wait_for(come, "the next page")
    if not first_name(page):
        return False
    all_there(page)
    return True


def test_five_hundred_patches_reject_seven_and_confirm_the_rest(
    new_wall: NewWall,
    service: ServiceProcess,
    api: httpx.Client,
    reader: ReviewedStudio,
    window: Callable[[str], Page],
) -> None:
    """Seven clicks and a key a page; then each verdict in Label Studio is that of the person who gave it."""
    project = new_wall(100).project_id
    page = window(COLLEAGUE)
    opened(page, service, project)
    clicks = keys = 0
    rejected: set[str] = set()
    waited = 0.0
    begun = time.perf_counter()
    while True:
        while clicks < 7 and len(rejected) < 2 * (keys + 1):
            tile = page.locator(".tile").nth(5 * clicks + 1)
            tile.locator(".picture").click()
            rejected.add(str(tile.get_attribute("data-name")).partition(":")[2])
            clicks += 1
        before, sent = first_name(page), time.perf_counter()
        page.keyboard.press("c")
        keys += 1
        is_more = next_page(page, before)
        waited += time.perf_counter() - sent
        if not is_more:
            break
    seconds = time.perf_counter() - begun

    found = decisions(reader, project)
    assert Counter(one.state for one in found) == {State.ACCEPTED: 493, State.REJECTED: 7}
    assert {one.patch.id for one in found if one.state is State.REJECTED} == rejected
    colleague = person_of(api, COLLEAGUE)
    assert {vote.reviewer for one in found for vote in one.votes} == {colleague}
    assert colleague != person_of(api, EMAIL)
    written = api.get("/api/tasks", params={"project": project, "fields": "all", "page_size": 500}).json()["tasks"]
    ours = [one for task in written for one in task["annotations"] if one["completed_by"] == colleague]
    assert len(ours) == 100
    expect(page.locator("main")).to_contain_text("Nothing is left for you to judge here")
    tell(
        f"\n500 patches: {clicks} clicks, {keys} keys, {seconds:.1f} s in all, of which {waited:.1f} s from the key to "
        f"the next page with all of its pictures; {waited / 5:.2f} s per 100 patches"
    )


def test_by_keyboard_alone(
    new_wall: NewWall, service: ServiceProcess, reader: ReviewedStudio, window: Callable[[str], Page]
) -> None:
    """Move, give reasons, take one back, be unsure, look at one large, and confirm."""
    project = new_wall(2).project_id
    page = window(COLLEAGUE)
    opened(page, service, project)
    names = page.evaluate("[...document.querySelectorAll('.tile')].map((tile) => tile.dataset.name.split(':')[1])")
    press = page.keyboard.press
    press("ArrowRight")
    expect(page.locator(".tile").first.locator("input")).to_be_focused()
    press("i")
    expect(page.locator(".tile").first).to_contain_class("pending")
    expect(page.locator(".tile[data-mark=rejected]")).to_have_count(1)
    press("ArrowRight")
    press("d")
    press("j")
    press("s")
    press("j")
    press("Space")
    press("k")
    press("k")
    press("ArrowRight")
    press("ArrowRight")
    press("x")
    press("z")
    expect(page.locator("#large")).to_be_visible()
    press("Escape")
    expect(page.locator("#large")).to_be_hidden()
    press("?")
    expect(page.locator("#keys")).to_be_visible()
    press("Escape")
    expect(page.locator("#keys")).to_be_hidden()
    expect(page.locator("#confirm")).to_contain_text("2 rejected, 1 unsure, 7 accepted")
    press("c")
    expect(page.locator("main")).to_contain_text("Nothing is left for you to judge here")

    found = {one.patch.id: one for one in decisions(reader, project)}
    assert (found[names[0]].state, found[names[0]].reasons) == (State.REJECTED, ("object inside",))
    assert (found[names[1]].state, found[names[1]].reasons) == (State.REJECTED, ("duplicate",))
    assert found[names[2]].state is State.UNSURE
    assert Counter(one.state for one in found.values())[State.ACCEPTED] == 7


def test_a_verdict_is_changed_by_a_click(
    new_wall: NewWall, service: ServiceProcess, reader: ReviewedStudio, window: Callable[[str], Page]
) -> None:
    """Of what is judged already only what was clicked is written: nothing that is there is written over."""
    annotator = new_wall(1)
    page = window(COLLEAGUE)
    opened(page, service, annotator.project_id)
    page.keyboard.press("c")
    expect(page.locator("main")).to_contain_text("Nothing is left for you to judge here")
    page.goto(f"{service.url}/projects/{annotator.project_id}/gallery?state=accepted")
    all_there(page)
    expect(page.locator("#confirm")).to_contain_text("Nothing to confirm")
    page.locator(".tile .picture").nth(2).click()
    expect(page.locator("#confirm")).to_contain_text("Confirm: 1 rejected")
    before = first_name(page)
    with page.expect_request(lambda request: request.method == "POST") as sent:
        page.keyboard.press("c")
    body = sent.value.post_data_json
    assert body is not None
    assert len(body["verdicts"]) == 1
    expect(page.locator(".tile")).to_have_count(PATCHES - 1)
    assert first_name(page) == before
    assert states(reader, annotator.project_id) == {State.ACCEPTED: 4, State.REJECTED: 1}
    (task,) = annotator.api.get("/api/tasks", params={"project": annotator.project_id, "fields": "all"}).json()["tasks"]
    assert len(task["annotations"]) == 3  # what was drawn, what was confirmed, and the one that says otherwise now


def test_selected_ones_are_judged_by_buttons(
    new_wall: NewWall, service: ServiceProcess, reader: ReviewedStudio, window: Callable[[str], Page]
) -> None:
    """For those who work by mouse alone."""
    project = new_wall(1).project_id
    page = window(COLLEAGUE)
    opened(page, service, project)
    page.locator(".tile .picture").nth(0).click()
    page.locator(".tile .picture").nth(1).click()
    page.click("button[value=accepted]")
    expect(page.locator(".tile.done.accepted")).to_have_count(2)
    page.locator(".tile .picture").nth(2).click()
    page.select_option("#reason", "poor quality")
    page.click("button[value=rejected]")
    expect(page.locator(".tile.done.rejected")).to_have_count(1)
    assert states(reader, project) == {State.ACCEPTED: 2, State.REJECTED: 1, State.PENDING: 2}


def test_without_a_script_the_form_works(
    new_wall: NewWall,
    service: ServiceProcess,
    reader: ReviewedStudio,
    browser: Browser,
    signed_in: Mapping[str, StorageState],
) -> None:
    """Checkboxes and buttons; filters by a button, too."""
    project = new_wall(1).project_id
    with browser.new_context(java_script_enabled=False, storage_state=signed_in[COLLEAGUE]) as context:
        page = context.new_page()
        sign_in(page, service, f"/projects/{project}/gallery")
        expect(page.locator("#confirm")).to_be_hidden()
        page.locator(".tile input").nth(0).check()
        page.locator(".tile .picture").nth(1).click()
        page.select_option("#reason", "ambiguous")
        page.click("button[value=rejected]")
        expect(page.locator("#messages")).to_contain_text("2 written.")
        expect(page.locator(".tile")).to_have_count(PATCHES - 2)
        page.click(".chip.all")
        expect(page.locator(".tile")).to_have_count(PATCHES)
        page.locator("select[name=by]").select_option("me")
        page.click(".apply")
        expect(page.locator(".tile")).to_have_count(2)
        expect(page.locator(".tile.rejected")).to_have_count(2)
    assert states(reader, project) == {State.REJECTED: 2, State.PENDING: 3}


def test_what_couldnt_be_written_stays_marked_and_goes_out_the_next_time(
    new_wall: NewWall, service: ServiceProcess, reader: ReviewedStudio, window: Callable[[str], Page]
) -> None:
    """A connection that breaks, somebody signed out and in again in another tab: nothing is lost, nor written twice."""
    project = new_wall(1).project_id
    page = window(COLLEAGUE)
    opened(page, service, project)
    broken = ["POST"]
    page.route("**/gallery", lambda route: route.abort() if route.request.method in broken else route.continue_())
    page.reload()  # what a page sends right after it's told of a route may still pass by it
    all_there(page)
    page.locator(".tile .picture").nth(1).click()
    page.keyboard.press("c")
    expect(page.locator("#progress")).to_contain_text("The service can't be reached")
    expect(page.locator(".tile[data-mark]")).to_have_count(PATCHES)
    broken.clear()
    other = page.context.new_page()
    other.goto(f"{service.url}/projects/")
    other.click("text=Sign out")
    expect(other.locator("main")).to_contain_text("Sign in")
    page.keyboard.press("c")
    expect(page.locator("#progress")).to_contain_text("sign in again")
    assert states(reader, project) == {State.PENDING: PATCHES}
    sign_in(other, service, "/projects/")
    page.keyboard.press("c")
    expect(page.locator("main")).to_contain_text("Nothing is left for you to judge here")
    assert states(reader, project) == {State.ACCEPTED: PATCHES - 1, State.REJECTED: 1}


def test_leaving_with_marks_that_werent_sent_asks(
    new_wall: NewWall, service: ServiceProcess, window: Callable[[str], Page]
) -> None:
    """Once nothing is marked, it doesn't."""
    project = new_wall(1).project_id
    page = window(COLLEAGUE)
    opened(page, service, project)
    asked: list[str] = []

    def ask(dialog: Dialog) -> None:
        asked.append(dialog.type)
        dialog.accept()

    page.on("dialog", ask)
    page.locator(".tile .picture").nth(1).click()
    page.locator(".tile .picture").nth(1).click()
    page.reload()
    assert asked == []
    page.locator(".tile .picture").nth(1).click()
    page.reload()
    assert asked == ["beforeunload"]


def test_images_with_nothing_in_them(
    service: ServiceProcess, api: httpx.Client, reader: ReviewedStudio, window: Callable[[str], Page]
) -> None:
    """Two of three are marked, and become negatives as a whole."""
    annotator = connect(service, api, "Blood cells")
    import_tasks(annotator, 3, drawn=False)
    page = window(COLLEAGUE)
    opened(page, service, annotator.project_id, "images")
    page.locator(".tile .picture").nth(0).click()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("x")
    expect(page.locator("#confirm")).to_contain_text("Nothing in the 2 marked")
    picture(page, "whole-images")
    page.keyboard.press("c")
    expect(page.locator(".tile.done")).to_have_count(2)
    found = decisions(reader, annotator.project_id)
    assert [one.state for one in found] == [State.ACCEPTED, State.ACCEPTED]
    assert {vote.reviewer for one in found for vote in one.votes} == {person_of(api, COLLEAGUE)}
    page.goto(f"{service.url}/projects/{annotator.project_id}/images")
    expect(page.locator(".tile")).to_have_count(1)
    page.goto(f"{service.url}/projects/{annotator.project_id}/gallery?state=accepted")
    all_there(page)
    expect(page.locator(".tile.accepted")).to_have_count(2)


Opens = Callable[[Browser, StorageState, Literal["light", "dark"]], BrowserContext]
DEVICES: Mapping[str, Opens] = {
    "desktop": lambda browser, state, colours: browser.new_context(
        storage_state=state, color_scheme=colours, viewport={"width": 1366, "height": 768}
    ),
    "phone": lambda browser, state, colours: browser.new_context(
        storage_state=state,
        color_scheme=colours,
        viewport={"width": 360, "height": 780},
        device_scale_factor=2,
        has_touch=True,
        is_mobile=True,
    ),
}


@pytest.mark.parametrize("colours", ["light", "dark"])
@pytest.mark.parametrize("device", DEVICES)
def test_it_fits_and_shows_its_pictures(
    new_wall: NewWall,
    service: ServiceProcess,
    browser: Browser,
    signed_in: Mapping[str, StorageState],
    device: str,
    colours: Literal["light", "dark"],
) -> None:
    """On a laptop and a phone, light and dark: nothing is to be scrolled sideways, and no picture is missing."""
    project = new_wall(5).project_id  # so many that a phone loads all without being scrolled
    with DEVICES[device](browser, signed_in[COLLEAGUE], colours) as context:
        page = context.new_page()
        opened(page, service, project)
        for number in (1, 5):
            tile = page.locator(".tile .picture").nth(number)
            tile.tap() if device == "phone" else tile.click()
        expect(page.locator(".tile[data-mark=rejected] .said")).to_have_count(2)
        expect(page.locator(".tile[data-mark=rejected] .said").first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
        page.evaluate("window.scrollTo(0, 0)")
        picture(page, f"gallery-{device}-{colours}")


def tell(text: str) -> None:
    """Print figures: `pytest -s` shows them."""
    sys.stdout.write(text + "\n")


def picture(page: Page, name: str) -> None:
    """Keep a screenshot, to be looked at."""
    ARTIFACTS.mkdir(exist_ok=True)
    page.mouse.move(0, 0)
    page.screenshot(path=ARTIFACTS / f"{name}.png")
