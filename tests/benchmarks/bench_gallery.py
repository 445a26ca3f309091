"""How long a page of 200 patches takes until its pictures are painted: the first time, and once they are cached; beside
it Label Studio's own Data Manager with the same tasks.

`python -m tests.benchmarks.bench_gallery`; it starts a Label Studio and a service of its own.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Browser, Page, StorageState, ViewportSize, sync_playwright

from service.demo.label_studio import EMAIL, PASSWORD, LabelStudioProcess
from tests.browser.conftest import QUIET
from tests.browser.wall import import_tasks, sign_in
from tests.queues import connect, run
from tests.service_process import ServiceProcess
from tests.studio import LABEL_STUDIO

PATCHES, TASKS = 200, 40
TIMES = 7
LAPTOP: ViewportSize = {"width": 1366, "height": 768}
SHOWN = """
() => {
  const seen = [...document.querySelectorAll('.tile img')].filter((image) => {
    const box = image.getBoundingClientRect();
    return box.top < innerHeight && box.bottom > 0;
  });
  return seen.length > 0 && seen.every((image) => image.complete && image.naturalWidth > 0);
}
"""
ALL_SHOWN = """
() => [...document.querySelectorAll('.tile img')].every((image) => image.complete && image.naturalWidth > 0)
"""
PAINTED = "() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => done(true))))"
LISTED = """
() => {
  const rows = document.querySelectorAll('[class*="table"] [class*="row"]');
  const seen = [...document.images].filter((image) => image.getBoundingClientRect().top < innerHeight);
  return rows.length > 5 && seen.every((image) => image.complete);
}
"""


def until(page: Page, ready: str) -> None:
    """Wait until this holds in the page, and has been painted."""
    deadline = time.perf_counter() + 60
    while not page.evaluate(ready):
        assert time.perf_counter() < deadline, f"not within a minute: {ready}"
        page.wait_for_timeout(10)
    page.evaluate(PAINTED)


def opening(page: Page, address: str, ready: str) -> float:
    """Seconds from going to an address until what it shows is painted."""
    page.goto("about:blank")
    begun = time.perf_counter()
    page.goto(address, wait_until="commit")
    until(page, ready)
    return time.perf_counter() - begun


def opening_without_a_past(browser: Browser, state: StorageState, address: str) -> float:
    """The same in a window that has only its cookies."""
    with browser.new_context(viewport=LAPTOP, storage_state=state) as context:
        return opening(context.new_page(), address, SHOWN)


def times(measure: Callable[[], float]) -> list[float]:
    """Several of them, sorted."""
    return sorted(measure() for _ in range(TIMES))


def report(name: str, taken: list[float], other: list[float] | None = None) -> None:
    """A line of the table."""
    ratio = f"{statistics.median(taken) / statistics.median(other):8.2f}" if other else ""
    print(f"{name:58}{statistics.median(taken):8.2f}{taken[0]:9.2f}{taken[-1]:9.2f}{ratio}")


def main() -> None:
    """Measure and print the table."""
    with tempfile.TemporaryDirectory() as scratch, sync_playwright() as playwright:
        folder = Path(scratch)
        (folder / "service").mkdir()
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=QUIET)
        with (
            LabelStudioProcess(LABEL_STUDIO, folder / "label-studio").start() as studio,
            ServiceProcess(studio, folder / "service", NEGATIVES_RECONCILE_SECONDS="60") as service,
            studio.api() as api,
        ):
            project = connect(service, api, "benchmark")
            import_tasks(project, TASKS, drawn=True)
            run(service, "propose", "--project", str(project.project_id))
            page = browser.new_page(viewport=LAPTOP)
            page.goto(f"{studio.url}/user/login")
            page.fill("input[name=email]", EMAIL)
            page.fill("input[name=password]", PASSWORD)
            page.click("button[type=submit]")
            page.wait_for_url(lambda url: "/user/" not in url)
            sign_in(page, service, "/projects/")
            gallery = f"{service.url}/projects/{project.project_id}/gallery?size=200"
            first = opening(page, gallery, SHOWN)
            assert page.locator(".tile").count() == PATCHES
            page.evaluate("document.querySelectorAll('.tile img').forEach((image) => { image.loading = 'eager' })")
            until(page, ALL_SHOWN)
            cached = times(lambda: opening(page, gallery, SHOWN))
            state = page.context.storage_state()
            fresh = times(lambda: opening_without_a_past(browser, state, gallery))
            print(f"medians: {statistics.median(fresh):.2f} and {statistics.median(cached):.2f}, first {first:.2f}")
            manager = f"{studio.url}/projects/{project.project_id}/data"
            listed = times(lambda: opening(page, manager, LISTED))
            browser.close()
    print(f"a page of {PATCHES} patches of {TASKS} tasks, {TIMES} times each; seconds until all visible is painted")
    print(f"{'':58}{'median':>8}{'fastest':>9}{'slowest':>9}   ratio")
    print(f"{'the first time: tasks read, images decoded':58}{first:8.2f}")
    report("pictures cached here, not in the browser", fresh, listed)
    report("cached in the browser, too", cached, listed)
    report("Label Studio's Data Manager, the same tasks, cached", listed, listed)
    print(f"load over the last 1, 5 and 15 minutes: {', '.join(f'{load:.1f}' for load in os.getloadavg())}")


if __name__ == "__main__":
    main()
