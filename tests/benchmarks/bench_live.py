"""From the drawn stroke to patches on the screen, in a real Chromium, 20 times; and `/predict` beside webhooks.

The clock of the strokes runs in the page: from the moment that the browser gave the release of the mouse button (the
event's own time) until the frame is painted in which the button that accepts suggestions is there. The named
alternative, in the same run: an ROI of the same rules submitted by the API, and its prediction stored, as told by the
webhook. That one leaves out that the annotator has to open the task again to see it.

`/predict` is called as Label Studio calls it, with a task of 100 or of 3,000 labelled objects in two annotations; the
named alternatives are the same calls without webhooks beside them, and a route that does nothing (`/health`).

Run: make benchmarks
"""

import json
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from playwright.sync_api import sync_playwright

from service.demo.annotator import OBJECTS, Annotator, labeling_configuration, region
from service.demo.label_studio import EMAIL, PASSWORD, LabelStudioProcess
from service.domain.geometry import Box
from service.domain.model import Rules
from service.ingest.ml_backend import USER
from service.label_studio.labeling import PATCH_LABEL, ROI_LIVE, connect
from tests.bccd import Photo, photos
from tests.benchmarks.bench_roi import FIELDS, TIMES, waits
from tests.benchmarks.bench_webhook import RATE, at_a_steady_rate, events
from tests.browser.conftest import QUIET
from tests.browser.labeling_screen import LAPTOP, LabelingScreen
from tests.service_process import SECRET, ServiceProcess, wait_for
from tests.studio import LABEL_STUDIO

STROKES = 400
STARTS = 5

WATCH = """() => {
    // By default no more than 250 are kept, and Label Studio loads more than that.
    performance.setResourceTimingBufferSize(10000)
    const isShown = () => {
        const button = document.querySelector("[data-testid=bottombar-accept-suggestions-button]")
        return button !== null && button.checkVisibility()
    }
    let released = null
    window.strokes = []
    addEventListener("mouseup", event => {
        if (event.target.closest(".konvajs-content")) released = event.timeStamp
    }, true)
    new MutationObserver(() => {
        if (released === null || !isShown()) return
        const stroke = {released}
        released = null
        requestAnimationFrame(() => {
            const painted = new MessageChannel()  // its message comes right after the frame is painted
            painted.port1.onmessage = () => strokes.push({...stroke, shown: performance.now()})
            painted.port2.postMessage(null)
        })
    }).observe(document.body, {childList: true, subtree: true, attributes: true})
}"""
ASKED = """() => performance.getEntriesByType("resource")
    .filter(entry => entry.name.includes("/interactive-annotating"))
    .map(entry => ({asked: entry.startTime, answered: entry.responseEnd}))"""


@dataclass(frozen=True, slots=True)
class Stroke:
    """When what happened, in seconds by the page's clock: mouse button released, Label Studio asked, its answer there,
    suggestions painted.
    """

    released: float
    asked: float
    answered: float
    shown: float

    @property
    def wait(self) -> float:
        """What the annotator waits."""
        return self.shown - self.released


@contextmanager
def window(studio: LabelStudioProcess, project: int) -> Iterator[LabelingScreen]:
    """A browser window on the project, signed in."""
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path="/usr/bin/chromium", args=QUIET) as browser,
    ):
        page = browser.new_page(viewport=LAPTOP)
        page.goto(f"{studio.url}/user/login")
        page.fill("input[name=email]", EMAIL)
        page.fill("input[name=password]", PASSWORD)
        page.click("button[type=submit]")
        page.wait_for_url(lambda url: "login" not in url)
        yield LabelingScreen(page, studio.url, project)


def strokes(screen: LabelingScreen, task: int) -> list[Stroke]:
    """Draw with the smart tool over nearly all of the picture, and reject what is suggested, again and again."""
    screen.open(task).new_annotation().switch_on(auto_accept=False)
    screen.page.evaluate(WATCH)
    for number in range(TIMES):
        time.sleep(1)
        screen.drag((0.02 + number / 500, 0.02), (0.98, 0.98 - number / 500))
        screen.page.wait_for_function("count => strokes.length > count", arg=number)
        screen.reject_all()
    found, asked = screen.page.evaluate("strokes"), screen.page.evaluate(ASKED)
    assert len(found) == len(asked), f"{len(found)} strokes, but Label Studio was asked {len(asked)} times"
    return [
        Stroke(**{name: moment / 1000 for name, moment in (drawn | request).items()})
        for drawn, request in zip(found, asked, strict=True)
    ]


def drawn_and_submitted(studio: LabelStudioProcess, folder: Path, taken: Sequence[Photo]) -> None:
    """Measure both ways to patches and print the table."""
    settings = {f"NEGATIVES_{name.upper()}": str(value) for name, value in FIELDS.items()}
    with ServiceProcess(studio, folder, **settings) as service, studio.api() as api:
        annotator = connected(service, api)
        tasks = annotator.upload([photo.path for photo in taken])
        for task, photo in zip(tasks, taken, strict=True):
            annotator.label_objects(task, photo.size, photo.objects)
        with window(studio, annotator.project_id) as screen:
            live = strokes(screen, tasks[0])
        submitted = waits(annotator, tasks, list(taken))
    drawn = [stroke.wait for stroke in live]
    print(f"an ROI drawn → its patches there, {TIMES} times each; seconds")
    print(f"{'':48}{'median':>8}{'fastest':>9}{'slowest':>9}")
    for name, found in (
        ("mouse button released → suggestions painted", drawn),
        ("  of which: until the browser asks", [stroke.asked - stroke.released for stroke in live]),
        ("  of which: until Label Studio has answered it", [stroke.answered - stroke.asked for stroke in live]),
        ("  of which: until they are painted", [stroke.shown - stroke.answered for stroke in live]),
        ("submitted → prediction stored (by webhook)", submitted),
    ):
        print(f"{name:48}{statistics.median(found):8.2f}{min(found):9.2f}{max(found):9.2f}")
    print(f"ratio of medians: {statistics.median(submitted) / statistics.median(drawn):.1f}")


def connected(service: ServiceProcess, api: httpx.Client) -> Annotator:
    """A person at work in a new project that `negatives setup` has connected."""
    annotator = Annotator.in_new_project(api, "benchmark", labeling_configuration(["RBC", "WBC", "Platelets", "Cell"]))
    done = service.run("setup", "--project", str(annotator.project_id))
    assert done.returncode == 0, done.stdout + done.stderr
    return annotator


# ---------------------------------------------------------------- /predict


@dataclass(frozen=True, slots=True)
class Crowd:
    """A task with so many labelled objects, half of them in each of two annotations, and how many strokes a second it
    gets; `size` and `sides` are those of the image and, from and to, of the objects in pixels.
    """

    objects: int
    size: tuple[int, int]
    sides: tuple[int, int]
    rate: int

    @property
    def name(self) -> str:
        """As the table says it."""
        return f"/predict, {self.objects:,} objects"


# A stroke in the larger takes most of a tenth of a second of one core: at a higher rate, the queue is what is measured.
CROWDS = (Crowd(100, (1200, 900), (30, 90), rate=10), Crowd(3000, (4000, 3000), (12, 30), rate=2))


def asking(client: httpx.Client, service: ServiceProcess, crowd: Crowd) -> Callable[[int], httpx.Response]:
    """Asks for patches as Label Studio does while somebody draws; each number is another stroke."""
    configuration = connect(labeling_configuration(["Cell"]), Rules())
    head = json.dumps({"tasks": [_task(crowd)], "project": "1.1", "label_config": configuration}).removesuffix("}")

    def ask(number: int) -> httpx.Response:
        drawn = region(ROI_LIVE, "", Box(0, 0, 1, 1), crowd.size)
        place = {"x": number % 100 / 10, "y": 5.0, "width": 85.0, "height": 85.0, "rotation": 0}
        context = {"result": [drawn | {"type": "rectangle", "value": place}]}
        answer = client.post(
            f"{service.url}/predict",
            content=f'{head}, "params": {json.dumps({"login": None, "password": None, "context": context})}}}'.encode(),
            headers={"Content-Type": "application/json"},
            auth=(USER, SECRET),
        )
        assert PATCH_LABEL in answer.text, answer.text
        return answer

    return ask


def _task(crowd: Crowd) -> dict[str, Any]:
    """As Label Studio 1.23.2 sends it."""
    chance = random.Random(crowd.objects)
    moment = "2026-11-20T13:44:32.084153Z"

    def anywhere() -> dict[str, Any]:
        width, height = chance.randint(*crowd.sides), chance.randint(*crowd.sides)
        left, top = chance.randint(0, crowd.size[0] - width), chance.randint(0, crowd.size[1] - height)
        return region(OBJECTS, "Cell", Box.sized(left, top, width, height), crowd.size)

    annotations: list[dict[str, Any]] = [
        {
            "id": 19 + number,
            "completed_by": 1 + number,
            "result": [anywhere() for _ in range(crowd.objects // 2)],
            "was_cancelled": False,
            "ground_truth": False,
            "created_at": moment,
            "updated_at": moment,
            "draft_created_at": None,
            "lead_time": 4.2,
            "prediction": {},
            "result_count": crowd.objects // 2,
            "task": 17,
            "project": 1,
            "parent_prediction": None,
            "parent_annotation": None,
        }
        for number in range(2)
    ]
    return {
        "id": 17,
        "annotations": annotations,
        "drafts": [],
        "predictions": [],
        "data": {"image": "/data/upload/1/1d9123fd-field.png"},
        "meta": {},
        "created_at": moment,
        "updated_at": moment,
        "inner_id": 1,
        "total_annotations": 2,
        "project": 1,
    }


def first_answers(studio: LabelStudioProcess, folder: Path, crowd: Crowd) -> list[float]:
    """What the first stroke after a start of the service waits, start by start; milliseconds, sorted."""
    taken = []
    for _ in range(STARTS):
        with ServiceProcess(studio, folder) as service, httpx.Client(timeout=60) as client:
            ask = asking(client, service, crowd)
            begun = time.perf_counter()
            ask(0)
            taken.append((time.perf_counter() - begun) * 1000)
    return sorted(taken)


def answers(studio: LabelStudioProcess, folder: Path) -> None:
    """Measure `/predict` alone and beside webhooks, and print the tables."""
    first = first_answers(studio, folder, CROWDS[0])
    with (
        ServiceProcess(studio, folder) as service,
        studio.api() as api,
        httpx.Client(limits=httpx.Limits(max_keepalive_connections=50), timeout=60) as client,
        service.jobs() as jobs,
    ):
        project = connected(service, api).project_id

        def idle() -> bool:
            counts = jobs.counts()
            return not counts.waiting + counts.running

        rate = CROWDS[0].rate
        nothing = at_a_steady_rate(lambda _: client.get(f"{service.url}/health"), rate, STROKES / rate)
        strokes_taken = [("nothing (/health)", nothing)]
        webhooks_taken = [("webhook, alone", at_a_steady_rate(events(client, service, project)))]
        for crowd in CROWDS:
            ask, seconds = asking(client, service, crowd), STROKES / crowd.rate
            wait_for(idle, "the end of the jobs", 300)
            alone = at_a_steady_rate(ask, crowd.rate, seconds)
            with ThreadPoolExecutor() as beside:
                delivered = beside.submit(at_a_steady_rate, events(client, service, project), RATE, seconds)
                both = at_a_steady_rate(ask, crowd.rate, seconds)
            strokes_taken += [(f"{crowd.name}, alone", alone), (f"{crowd.name}, beside webhooks", both)]
            webhooks_taken.append((f"webhook, beside {crowd.name}", delivered.result()))
    rates = " or ".join(str(crowd.rate) for crowd in CROWDS)
    print(f"\n{STROKES} strokes, {rates} a second, beside {RATE} webhooks a second; milliseconds")
    print(f"{'':44}{'median':>8}{'p99':>8}{'worst':>8}   ratio of medians")
    for name, taken in strokes_taken:
        _print(name, taken, nothing, "to nothing")
    _print(f"{CROWDS[0].name}, first after a start", first, strokes_taken[1][1], f"to those alone ({STARTS} starts)")
    for name, taken in webhooks_taken:
        _print(name, taken, webhooks_taken[0][1], "to the webhook alone")


def _print(name: str, taken: list[float], other: list[float], against: str) -> None:
    p99, ratio = taken[int(len(taken) * 0.99)], statistics.median(taken) / statistics.median(other)
    print(f"{name:44}{statistics.median(taken):8.1f}{p99:8.1f}{taken[-1]:8.1f}{ratio:7.1f} {against}")


def main() -> None:
    """Measure and print the tables."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with LabelStudioProcess(LABEL_STUDIO, folder / "label-studio").start() as studio:
            (folder / "drawn").mkdir()
            (folder / "asked").mkdir()
            drawn_and_submitted(studio, folder / "drawn", photos(TIMES, folder))
            answers(studio, folder / "asked")
    print(f"\nload over the last 1, 5 and 15 minutes: {', '.join(f'{load:.1f}' for load in os.getloadavg())}")


if __name__ == "__main__":
    main()
