"""How long Label Studio's Submit waits for us: the webhook's answer at 40 events a second, jobs running beside it.

The named alternative is the same server answering a route that does nothing (`/health`), in the same run: the ratio is
what checking the secret, reading the event and making the job durable cost.

Run: make benchmarks
"""

import statistics
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from service.demo.annotator import Annotator, labeling_configuration
from service.demo.label_studio import LabelStudioProcess
from tests.service_process import SECRET, ServiceProcess
from tests.studio import LABEL_STUDIO

RATE = 40  # events a second
SECONDS = 25


def at_a_steady_rate(
    call: Callable[[int], httpx.Response], rate: float = RATE, seconds: float = SECONDS
) -> list[float]:
    """Call at the rate, each call in its own thread so that a slow one delays no other; milliseconds, sorted."""
    taken: list[float] = []

    def one(number: int) -> None:
        begun = time.perf_counter()
        call(number).raise_for_status()
        taken.append((time.perf_counter() - begun) * 1000)

    threads = []
    start = time.perf_counter()
    for number in range(round(rate * seconds)):
        time.sleep(max(0.0, start + number / rate - time.perf_counter()))
        thread = threading.Thread(target=one, args=(number,))
        thread.start()
        threads.append(thread)
    for thread in threads:
        thread.join()
    return sorted(taken)


def events(client: httpx.Client, service: ServiceProcess, project: int) -> Callable[[int], httpx.Response]:
    """Delivers an event of its own for each number: a task that nobody has heard of, so a new job."""
    began = datetime.now(UTC)

    def event(number: int) -> httpx.Response:
        moment = (began + timedelta(milliseconds=number)).isoformat()
        body = {
            "action": "ANNOTATION_CREATED",
            "annotation": {"id": number, "result": [{"id": "x" * 100} for _ in range(40)]},
            "task": {"id": 1_000_000 + number, "updated_at": moment},
            "project": {"id": project},
        }
        return client.post(service.webhook_url, json=body, headers={"X-Negatives-Secret": SECRET})

    return event


def main() -> None:
    """Measure and print a table."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with (
            LabelStudioProcess(LABEL_STUDIO, folder / "label-studio").start() as studio,
            ServiceProcess(studio, folder) as service,
            studio.api() as api,
            httpx.Client(limits=httpx.Limits(max_keepalive_connections=50)) as client,
        ):
            project = Annotator.in_new_project(api, "benchmark", labeling_configuration(["Cell"])).project_id
            done = service.run("setup", "--project", str(project))
            assert done.returncode == 0, done.stdout
            nothing = at_a_steady_rate(lambda _: client.get(f"{service.url}/health"))
            webhook = at_a_steady_rate(events(client, service, project))
    print(f"{RATE} requests a second for {SECONDS} s; milliseconds")
    print(f"{'':24}{'median':>8}{'p99':>8}{'worst':>8}")
    for name, taken in (("nothing (/health)", nothing), ("webhook, made durable", webhook)):
        print(f"{name:24}{statistics.median(taken):8.1f}{taken[int(len(taken) * 0.99)]:8.1f}{taken[-1]:8.1f}")
    print(f"ratio of medians: {statistics.median(webhook) / statistics.median(nothing):.1f}")


if __name__ == "__main__":
    main()
