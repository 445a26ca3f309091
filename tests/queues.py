"""Review queues as the people in them see and use them, through Label Studio's API."""

import os
import re
from collections import Counter
from collections.abc import Mapping
from contextlib import chdir
from itertools import count
from typing import Any

import httpx
from click.testing import CliRunner

from service.cli import negatives
from service.config import PREFIX
from service.demo.annotator import Annotator, Json, labeling_configuration
from service.domain.model import Agreement
from service.label_studio.labeling import PATCH, PATCH_VERDICT
from service.label_studio.queue_project import VERDICT
from service.label_studio.queues import ReviewedStudio
from service.review import decide
from tests.service_process import ServiceProcess

PAGE = 500


def run(service: ServiceProcess, *words: str, fails: bool = False, **more: str) -> str:
    """A `negatives` command with the service's settings; what it prints. In this process: to start one takes longer
    than most commands do.
    """
    ours = {name: None for name in os.environ if name.startswith(PREFIX)}
    with chdir(service.log.parent):  # a developer's .env is none of these tests' business
        done = CliRunner().invoke(negatives, words, env=ours | service.environment | more)
    assert (done.exit_code == 0) is not fails, done.output
    return done.output


def connect(service: ServiceProcess, api: httpx.Client, title: str) -> Annotator:
    """A new project that is connected to the service."""
    made = Annotator.in_new_project(api, title, labeling_configuration(["RBC", "WBC", "Platelets", "Cell"]))
    run(service, "setup", "--project", str(made.project_id))
    return made


def opened(service: ServiceProcess, source: Annotator, *more: str) -> Annotator:
    """The source's review queue, opened by command; who acts there is the source's annotator."""
    return Annotator(source.api, told(run(service, "review", "open", "--project", str(source.project_id), *more)))


def stand(
    studio: ReviewedStudio, source: Annotator, *task_ids: int, agreement: Agreement | None = None
) -> dict[str, int]:
    """How many patches of these tasks, or of all, stand how."""
    found = studio.tasks(source.project_id, studio.labeling(source.project_id), task_ids or None)
    return dict(Counter(one.state.value for task in found for one in decide(task, agreement or Agreement())))


def told(stdout: str) -> int:
    """The queue's project, as `negatives review open` ends with it."""
    found = re.search(r"/projects/(\d+)/data", stdout)
    assert found, stdout
    return int(found[1])


def tasks(queue: Annotator) -> list[Json]:
    """All tasks of a queue, whole, in the order in which they were added."""
    found: list[Json] = []
    for page in count(1):
        query: dict[str, str | int] = {"project": queue.project_id, "fields": "all", "page_size": PAGE, "page": page}
        answer = queue.api.get("/api/tasks", params=query).raise_for_status().json()
        found += answer["tasks"]
        if len(found) >= answer["total"]:
            break
    return sorted(found, key=lambda task: int(task["id"]))


def to_do(queue: Annotator) -> list[Json]:
    """The tasks that "Label All Tasks" still gives to somebody."""
    return [task for task in tasks(queue) if not task["is_labeled"]]


def shown(task: Json) -> list[str]:
    """The ids of the patches that a task of a queue shows."""
    if "patch" in task["data"]:
        return [task["data"]["patch"]["id"]]
    return [item["id"] for item in task["predictions"][0]["result"] if item["from_name"] == PATCH]


def filled(task: Json, *, without: tuple[str, ...] = (), choices: Mapping[str, str] | None = None) -> list[Json]:
    """What a reviewer's window holds once these patches were deleted and these choices made on others."""
    result = [item for item in task["predictions"][0]["result"] if item["id"] not in without]
    for region_id, choice in (choices or {}).items():
        (kept,) = (item for item in result if item["id"] == region_id)
        value = {**kept["value"], "choices": [choice]}
        result.append({**kept, "from_name": PATCH_VERDICT, "type": "choices", "value": value})
    return result


def review(
    api: httpx.Client,
    task: Json,
    *,
    without: tuple[str, ...] = (),
    choices: Mapping[str, str] | None = None,
    **more: Any,
) -> int:
    """Submit a task of a queue as somebody, without these patches and with these choices on others; the annotation."""
    body = {
        "result": filled(task, without=without, choices=choices),
        "parent_prediction": task["predictions"][0]["id"],
        "lead_time": 1.0,
        **more,
    }
    return _id(api.post(f"/api/tasks/{task['id']}/annotations/", json=body))


def judge(api: httpx.Client, task: Json, verdict: str) -> int:
    """Submit a task that shows a single patch; the annotation."""
    chosen = {
        "id": "chosen",
        "from_name": VERDICT,
        "to_name": "image",
        "type": "choices",
        "origin": "manual",
        "value": {"choices": [verdict]},
    }
    return _id(api.post(f"/api/tasks/{task['id']}/annotations/", json={"result": [chosen], "lead_time": 1.0}))


def _id(answer: httpx.Response) -> int:
    assert answer.is_success, answer.text
    return int(answer.json()["id"])
