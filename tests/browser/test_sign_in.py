"""Signing in to the pages with what Label Studio knows people by; who may not see a project sees nothing of it."""

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from urllib.parse import urljoin

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, expect

from service.demo.annotator import Annotator
from service.demo.label_studio import EMAIL, LabelStudioProcess
from service.domain.geometry import Box
from tests.browser.conftest import COLLEAGUE
from tests.browser.labeling_screen import ARTIFACTS, LAPTOP
from tests.people import Colleague, sign_up
from tests.service_process import ServiceProcess, wait_for
from tests.studio import FIELD, LABEL_STUDIO

OTHER_ORGANIZATION = """
from organizations.models import Organization
from users.models import User
person = User.objects.get(email="{email}")
other = Organization.create_organization(created_by=person, title="Other")
Organization.objects.first().remove_user(person)
person.refresh_from_db()
person.active_organization = other
person.save(update_fields=["active_organization"])
other.jwt.legacy_api_tokens_enabled = True
other.jwt.save()
print("moved")
"""


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A window of somebody who is signed in nowhere."""
    context = browser.new_context(viewport=LAPTOP)
    yield context.new_page()
    context.close()


def paste(page: Page, token: str) -> None:
    """Sign in with a token."""
    page.get_by_label("Your token").fill(token)
    page.get_by_role("button", name="Sign in", exact=True).click()


def test_a_token_signs_in_and_leads_to_what_was_wanted(
    page: Page, service: ServiceProcess, studio: LabelStudioProcess, connected: Annotator
) -> None:
    """Who follows a link to a project is there after signing in, by name, until they sign out."""
    project = f"{service.url}/projects/{connected.project_id}/"
    page.goto(project)
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    expect(page.get_by_text("Continue as")).to_have_count(0)
    paste(page, studio.token)
    expect(page).to_have_url(project)
    expect(page.get_by_role("heading", name="Blood cells")).to_be_visible()
    expect(page.get_by_role("banner")).to_contain_text(EMAIL)
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.goto(project)
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


@pytest.mark.parametrize("wrong", ["0123456789abcdef0123456789abcdef01234567", "eyJhbGciOiJIUzI1NiJ9.eyJqdGkiOiIx"])
def test_a_wrong_token_is_refused(page: Page, service: ServiceProcess, wrong: str) -> None:
    """With a sentence; nothing is open afterwards either."""
    page.goto(service.url)
    paste(page, wrong)
    expect(page.get_by_role("alert")).to_contain_text(re.compile("accept this token|cut short"))
    page.goto(f"{service.url}/projects/")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()


def test_a_personal_access_token_signs_in(page: Page, service: ServiceProcess, studio: LabelStudioProcess) -> None:
    """But one that was revoked does not."""
    person = sign_up(studio, "personal@example.com")
    with person.api(studio) as api:
        revoked = api.post("/api/token/").raise_for_status().json()["token"]
        api.post("/api/token/blacklist/", json={"refresh": revoked}).raise_for_status()
        token = api.post("/api/token/").raise_for_status().json()["token"]
    page.goto(service.url)
    paste(page, revoked)
    expect(page.get_by_role("alert")).to_contain_text("accept this token")
    paste(page, token)
    expect(page.get_by_role("banner")).to_contain_text(person.email)


@pytest.mark.parametrize("email", [EMAIL, COLLEAGUE])
def test_who_is_signed_in_to_label_studio_continues_with_one_click(
    window: Callable[[str], Page], service: ServiceProcess, connected: Annotator, email: str
) -> None:
    """Cookies know no ports: the browser brings its session at Label Studio along. Signing out here leaves it there."""
    page = window(email)
    page.goto(f"{service.url}/projects/{connected.project_id}/")
    button = page.get_by_role("button", name=f"Continue as {email}")
    expect(button).to_be_visible()
    ARTIFACTS.mkdir(exist_ok=True)
    page.screenshot(path=ARTIFACTS / "sign-in.png")
    button.click()
    expect(page.get_by_role("heading", name="Blood cells")).to_be_visible()
    expect(page.get_by_role("banner")).to_contain_text(email)
    page.get_by_role("button", name="Sign out").click()
    expect(button).to_be_visible()


def test_a_page_of_label_studio_s_can_t_act_here(
    window: Callable[[str], Page], service: ServiceProcess, studio: LabelStudioProcess, connected: Annotator
) -> None:
    """It is of the same site, so the browser sends our cookie with its forms."""
    page = window(EMAIL)
    page.goto(service.url)
    page.get_by_role("button", name="Continue as").click()
    expect(page.get_by_role("heading", name="Projects")).to_be_visible()
    page.goto(f"{studio.url}/user/login")
    with page.expect_navigation(url=f"{service.url}/**") as going:
        page.evaluate(
            """(action) => {
                const form = document.createElement("form");
                Object.assign(form, {method: "post", action});
                document.body.append(form);
                form.submit();
            }""",
            f"{service.url}/projects/{connected.project_id}/exports",
        )
    assert going.value is not None
    assert going.value.status == 400
    expect(page.get_by_text("nothing was done")).to_be_visible()


def removed(studio: LabelStudioProcess, api: httpx.Client) -> Colleague:
    """Somebody who is no member any more."""
    person = sign_up(studio, "removed@example.com")
    assert api.delete(f"/api/organizations/1/memberships/{person.id}/").status_code == 204
    return person


def of_another_organization(studio: LabelStudioProcess, _api: httpx.Client) -> Colleague:
    """Somebody who is a member elsewhere in the same Label Studio."""
    person = sign_up(studio, "elsewhere@example.com")
    data = studio.log.parent / "data"
    done = subprocess.run(
        [LABEL_STUDIO, "shell"],
        input=OTHER_ORGANIZATION.format(email=person.email),
        env=os.environ | {"LABEL_STUDIO_BASE_DATA_DIR": str(data)},
        cwd=studio.log.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "moved" in done.stdout, done.stdout + done.stderr
    return person


Outsider = Callable[[LabelStudioProcess, httpx.Client], Colleague]


@pytest.fixture(scope="module", params=[removed, of_another_organization], ids=["removed", "elsewhere"])
def outsider(request: pytest.FixtureRequest, studio: LabelStudioProcess) -> Colleague:
    """Somebody who may not see the first organization's projects."""
    make: Outsider = request.param
    with studio.api() as api:
        return make(studio, api)


@pytest.fixture
def pictures(
    window: Callable[[str], Page], service: ServiceProcess, connected: Annotator, task: int
) -> tuple[str, ...]:
    """The addresses of pictures on the gallery of the connected project, as its owner sees them."""
    connected.draw_roi(task, FIELD, Box(620, 30, 1180, 640))
    wait_for(lambda: connected.prediction(task), "the proposal")
    page = window(EMAIL)
    page.goto(f"{service.url}/projects/{connected.project_id}/gallery")
    page.get_by_role("button", name="Continue as").click()
    images = page.locator('main img[src*="/projects/"]')
    expect(images).not_to_have_count(0)
    found = {urljoin(service.url, image.get_attribute("src") or "") for image in images.all()}
    assert all(page.request.get(address).status == 200 for address in found)
    return tuple(found)


@pytest.mark.parametrize("by", ["token", "session"])
def test_who_may_not_see_a_project_sees_nothing_of_it(
    browser: Browser,
    service: ServiceProcess,
    connected: Annotator,
    outsider: Colleague,
    pictures: tuple[str, ...],
    by: str,
) -> None:
    """It is in no list, and its pages and pictures are as if they weren't there."""
    context = browser.new_context(viewport=LAPTOP)
    try:
        page = _signed_in(context, service, outsider, by)
        expect(page.get_by_role("heading", name="No project to show")).to_be_visible()
        expect(page.get_by_text("Blood cells")).to_have_count(0)
        project = f"{service.url}/projects/{connected.project_id}/"
        for path in ("", "gallery", "images"):
            answer = page.goto(project + path)
            assert answer is not None
            assert answer.status == 404
            expect(page.get_by_role("heading", name="Not found")).to_be_visible()
            expect(page.get_by_text("Blood cells")).to_have_count(0)
        for address in pictures:
            assert page.request.get(address).status == 404
    finally:
        context.close()


def _signed_in(context: BrowserContext, service: ServiceProcess, person: Colleague, by: str) -> Page:
    page = context.new_page()
    if by == "token":
        page.goto(service.url)
        paste(page, person.token)
    else:
        context.add_cookies([{"name": "sessionid", "value": person.session, "url": service.url}])
        page.goto(service.url)
        page.get_by_role("button", name="Continue as").click()
    return page
