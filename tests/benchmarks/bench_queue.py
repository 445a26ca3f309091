"""What reviewing 100 patches costs a person at the browser, and what opening a queue for 5,000 proposals takes.

A scripted person, who needs no time to think, reviews 20 pictures with 5 patches each, one in ten bad, in both layouts
of the queue. The named alternative, in the same run: reviewing in the source project, by copying each proposal
("Duplicate Annotation"); done for 5 pictures, and told for 20. Clicks and keys are those that the person makes; a key
with Ctrl is one.

The queue is opened by command, the proposals being there already, with the service running. The named alternative, in
the same run: making its tasks and their predictions one by one, done for 100 and told for all. Requests are those that
Label Studio logged meanwhile.

Run: make benchmarks; or python -m tests.benchmarks.bench_queue 1000 for fewer proposals
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
from playwright.sync_api import Browser, expect, sync_playwright

from service.demo.annotator import Annotator, Json, region
from service.demo.label_studio import EMAIL, PASSWORD, LabelStudioProcess
from service.demo.pictures import draw_field
from service.domain.geometry import Box
from service.label_studio.labeling import PATCH, ROI, ROI_LABEL
from tests.browser.conftest import QUIET
from tests.browser.labeling_screen import LAPTOP
from tests.browser.review_screen import ReviewScreen
from tests.queues import connect, tasks, told
from tests.service_process import ServiceProcess
from tests.studio import FIELD, LABEL_STUDIO

PROPOSALS = 5000
ONE_BY_ONE = 100
PICTURES = 20
COPIED = 5
BAD_EVERY = 10
BACKGROUND = Box(620, 40, 1180, 640)
REQUEST = re.compile(r"\[(?P<at>[^\]]+)\] \[django\.server[^\"]*\"(?P<what>(?:GET|POST|PATCH|PUT|DELETE) /api/\S+)")


@dataclass(slots=True)
class Work:
    """What reviewing so many patches took: seconds, clicks, keys."""

    patches: int = 0
    seconds: float = 0.0
    clicks: int = 0
    keys: int = 0

    def told_for(self, patches: int) -> "Work":
        """The same at this rate for so many patches."""
        times = patches / self.patches
        return Work(patches, self.seconds * times, round(self.clicks * times), round(self.keys * times))


class Bad:
    """Which patches the scripted person calls bad: each tenth that they see."""

    def __init__(self) -> None:
        self._seen = 0

    def among(self, count: int) -> int:
        """Of so many patches, how many are bad."""
        before = self._seen // BAD_EVERY
        self._seen += count
        return self._seen // BAD_EVERY - before


def whole_pictures(screen: ReviewScreen, queue: Annotator) -> Work:
    """Go through a queue that shows all patches on the picture: click and Backspace for a bad one, Ctrl+Enter."""
    work, bad = Work(), Bad()
    shown = {task["id"]: _patches(task) for task in tasks(queue)}
    begun = time.perf_counter()
    with screen.page.expect_response(lambda got: "id=next_task" in got.url) as given:
        screen.stream()
    work.clicks += 1
    while shown:
        there = shown.pop(given.value.json()["id"])
        screen.see_these(there)
        for patch in _on_top(there, bad.among(len(there))):
            screen.click_on(patch)
            screen.press("Backspace")
            work.clicks, work.keys = work.clicks + 1, work.keys + 1
        work.patches, work.keys = work.patches + len(there), work.keys + 1
        with screen.page.expect_response(lambda got: "id=next_task" in got.url) as given:
            screen.send()
    expect(screen.over).to_be_visible()
    work.seconds = time.perf_counter() - begun
    return work


def single_patches(screen: ReviewScreen, queue: Annotator) -> Work:
    """Go through a queue that shows one patch at a time: a key for the verdict, Ctrl+Enter."""
    work, bad = Work(), Bad()
    count = len(tasks(queue))
    begun = time.perf_counter()
    screen.stream()
    work.clicks += 1
    for _ in range(count):
        verdict, key = ("rejected", "n") if bad.among(1) else ("accepted", "y")
        box = screen.choice(verdict)
        expect(screen.chosen).to_have_count(0)
        expect(box).not_to_be_checked()
        screen.press(key)
        expect(box).to_be_checked()
        work.patches, work.keys = work.patches + 1, work.keys + 2
        screen.send()
    expect(screen.over).to_be_visible()
    work.seconds = time.perf_counter() - begun
    return work


def copies(screen: ReviewScreen, source: Annotator, listed: Sequence[int]) -> Work:
    """In the source project: open a task, its proposal, its menu, copy; a click and Backspace for a bad one; Submit."""
    work, bad = Work(), Bad()
    begun = time.perf_counter()
    for task in listed:
        there = _patches(source.api.get(f"/api/tasks/{task}/").json())
        screen.open(task).copy_proposal()
        screen.see_these(there)
        work.clicks += 4
        for _ in range(bad.among(len(there))):
            screen.select(screen.patches.first)
            screen.press("Backspace")
            work.clicks, work.keys = work.clicks + 1, work.keys + 1
        screen.submit()
        work.patches, work.clicks = work.patches + len(there), work.clicks + 1
    work.seconds = time.perf_counter() - begun
    return work


def _patches(task: Json) -> list[Json]:
    (prediction,) = (one for one in task["predictions"] if one["model_version"] == "negatives")
    return [item for item in prediction["result"] if item["from_name"] == PATCH]


def _on_top(patches: Sequence[Json], count: int) -> Sequence[Json]:
    return patches[:count]  # Label Studio draws the first on top


def reviewed(studio: LabelStudioProcess, folder: Path) -> None:
    """Measure the three ways and print a table."""
    with ServiceProcess(studio, folder) as service, studio.api() as api:
        ways: list[tuple[str, Work]] = []
        with _browser() as browser:
            for name, layout, go in (
                ("queue, whole pictures", "proposal", whole_pictures),
                ("queue, single patches", "patch", single_patches),
            ):
                source, _ = _source(service, api, folder, PICTURES)
                queue = Annotator(api, told(_run(service, "review", "open", source, "--layout", layout)))
                ways.append((name, go(_window(browser, studio, queue), queue)))
            source, listed = _source(service, api, folder, COPIED)
            _run(service, "propose", "", source)
            one_by_one = copies(_window(browser, studio, source), source, listed)
    other = one_by_one.told_for(PICTURES * 5)
    ways.append((f"source project, by copies (of {one_by_one.patches})", other))
    print(f"\n{PICTURES * 5} patches reviewed, {PICTURES * 5 // BAD_EVERY} of them bad, no time to think")
    print(f"{'':40}{'seconds':>9}{'clicks':>8}{'keys':>6}   of the copies' time")
    for name, work in ways:
        share = work.seconds / other.seconds
        print(f"{name:40}{work.seconds:9.1f}{work.clicks:8}{work.keys:6}{share:12.2f}")


@contextmanager
def _browser() -> Iterator[Browser]:
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path="/usr/bin/chromium", args=QUIET) as browser,
    ):
        yield browser


def _window(browser: Browser, studio: LabelStudioProcess, project: Annotator) -> ReviewScreen:
    page = browser.new_page(viewport=LAPTOP)
    page.goto(f"{studio.url}/user/login")
    page.fill("input[name=email]", EMAIL)
    page.fill("input[name=password]", PASSWORD)
    page.click("button[type=submit]")
    page.wait_for_url(lambda url: "login" not in url)
    return ReviewScreen(page, studio.url, project.project_id)


def _source(service: ServiceProcess, api: httpx.Client, folder: Path, count: int) -> tuple[Annotator, list[int]]:
    """A connected project with so many pictures, an ROI on each; and its tasks."""
    source = connect(service, api, "benchmark")
    return source, _imported(source, folder, count)


def _imported(source: Annotator, folder: Path, count: int) -> list[int]:
    picture = folder / "field.png"
    draw_field(3, *FIELD).image.save(picture)
    (task,) = source.upload([picture])
    image = source.api.get(f"/api/tasks/{task}/").json()["data"]["image"]
    drawn = {"data": {"image": image}, "annotations": [{"result": [region(ROI, ROI_LABEL, BACKGROUND, FIELD)]}]}
    listed: list[int] = []
    for start in range(0, count, 1000):
        answer = source.api.post(
            f"/api/projects/{source.project_id}/import",
            params={"return_task_ids": "true"},
            json=[drawn] * min(1000, count - start),
        )
        listed += answer.raise_for_status().json()["task_ids"]
    return listed


def _run(service: ServiceProcess, command: str, verb: str, source: Annotator, *more: str) -> str:
    """A command of the service's, however long it takes; what it prints."""
    words = [command, *([verb] if verb else []), "--project", str(source.project_id), *more]
    done = subprocess.run(
        [sys.executable, "-m", "service.cli", *words],
        env=service.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def opened_in_bulk(studio: LabelStudioProcess, folder: Path, count: int) -> None:
    """Measure the opening of a queue for so many proposals, and print a table."""
    service = ServiceProcess(studio, folder)
    with studio.api() as api:
        with service:
            source = connect(service, api, "benchmark")
        # While the service is away: by webhook each task would be a job of its own, beside the import of the next.
        _imported(source, folder, count)
        with service:
            propose, _ = _taken(studio, lambda: _run(service, "propose", "", source))
            seconds, requests = _taken(studio, lambda: _run(service, "review", "open", source))
            again, asked_again = _taken(studio, lambda: _run(service, "review", "open", source))
        found = api.get("/api/projects/", params={"page_size": 1000}).json()["results"]
        (queue,) = (one for one in found if f"of project {source.project_id}," in one["description"])
        assert queue["task_number"] == count, queue["task_number"]
        there = tasks(Annotator(api, int(queue["id"])))[:ONE_BY_ONE]
        empty = sum(not task["predictions"] for task in there)
        other = Annotator.in_new_project(api, "one by one", queue["label_config"])
        single, asked_singly = _taken(studio, lambda: _one_by_one(other, there))
    times = count / ONE_BY_ONE
    print(f"\na review queue of {count:,} proposals ({propose:.0f} s to propose them)")
    print(f"{'':40}{'seconds':>9}{'requests':>10}{'a 1,000':>9}")
    for name, taken, asked in (
        ("opened by command", seconds, requests),
        ("opened again", again, asked_again),
        (f"one by one (of {ONE_BY_ONE})", single * times, round(asked_singly * times)),
    ):
        print(f"{name:40}{taken:9.1f}{asked:10}{asked * 1000 / count:9.0f}")
    print(f"ratio of seconds: {single * times / seconds:.1f}; of the first {len(there)}, {empty} lack their patches")


def _one_by_one(project: Annotator, listed: Sequence[Json]) -> None:
    for task in listed:
        made = project.api.post("/api/tasks/", json={"project": project.project_id, "data": task["data"]})
        prediction = {"task": made.raise_for_status().json()["id"], "model_version": "negatives"}
        result = task["predictions"][0]["result"] if task["predictions"] else []
        project.api.post("/api/predictions/", json=prediction | {"result": result}).raise_for_status()


def _taken(studio: LabelStudioProcess, act: Callable[[], object]) -> tuple[float, int]:
    """Seconds, and how many requests Label Studio logged meanwhile."""
    start, begun = studio.log.stat().st_size, time.perf_counter()
    act()
    seconds = time.perf_counter() - begun
    with studio.log.open("rb") as log:
        log.seek(start)
        lines = log.read().decode(errors="replace").splitlines()
    found = [line for line in lines if REQUEST.search(line)]
    return seconds, sum(line != before for before, line in zip(["", *found], found, strict=False))  # it logs each twice


def main() -> None:
    """Measure and print the tables."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else PROPOSALS
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with LabelStudioProcess(LABEL_STUDIO, folder / "label-studio").start() as studio:
            for name in ("reviewed", "opened"):
                (folder / name).mkdir()
            reviewed(studio, folder / "reviewed")
            opened_in_bulk(studio, folder / "opened", count)
    print(f"\nload over the last 1, 5 and 15 minutes: {', '.join(f'{load:.1f}' for load in os.getloadavg())}")


if __name__ == "__main__":
    main()
