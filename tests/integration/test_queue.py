"""Review queues on a real Label Studio: opened, filled, reviewed, and never pulled from under a reviewer.

Most tests share one project, its queue and the service that fills it; each looks at pictures of its own.
"""

import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import httpx
import pytest
from PIL import Image

from service.demo.annotator import Annotator, Json, region
from service.demo.label_studio import EMAIL, LabelStudioProcess
from service.demo.pictures import draw_field
from service.domain.geometry import Box
from service.domain.model import Agreement
from service.label_studio.labeling import PATCH, ROI_LABEL
from service.label_studio.labeling import ROI as ROI_CONTROL
from service.label_studio.queue_project import LINK, SOURCE_TASK
from service.label_studio.queues import ReviewedStudio
from tests.bucket import bucket
from tests.people import Colleague, sign_up
from tests.queues import connect, filled, judge, opened, review, run, shown, stand, tasks
from tests.service_process import ServiceProcess, wait_for
from tests.studio import FIELD, labelled_task

ROI = Box(620, 40, 1180, 640)
UPPER, LOWER = Box(620, 40, 1180, 330), Box(620, 340, 1180, 640)
SECONDS = 10.0
"""How long what comes by itself may take, on a busy machine; without webhooks it would be a minute."""


@pytest.fixture(scope="module")
def service(studio: LabelStudioProcess, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """One service for all of these tests."""
    with ServiceProcess(studio, tmp_path_factory.mktemp("service"), NEGATIVES_RECONCILE_SECONDS="60") as running:
        yield running


@pytest.fixture(scope="module")
def api(studio: LabelStudioProcess) -> Iterator[httpx.Client]:
    """Label Studio's API as who draws."""
    with studio.api() as client:
        yield client


@pytest.fixture(scope="module")
def ben(studio: LabelStudioProcess) -> Colleague:
    """A reviewer who drew nothing."""
    return sign_up(studio, f"ben-{uuid4().hex[:6]}@example.com")


@pytest.fixture(scope="module")
def as_ben(studio: LabelStudioProcess, ben: Colleague) -> Iterator[httpx.Client]:
    """Label Studio's API as the reviewer calls it."""
    with ben.api(studio) as client:
        yield client


@pytest.fixture(scope="module")
def source(service: ServiceProcess, api: httpx.Client) -> Annotator:
    """The project that most tests draw in."""
    return connect(service, api, "Blood cells")


@pytest.fixture(scope="module")
def queue(service: ServiceProcess, source: Annotator) -> Annotator:
    """Its review queue, opened when there was nothing to review yet."""
    return opened(service, source)


class Drawn(NamedTuple):
    """A task with an ROI: the ROI's annotation, and the ids of the patches on offer."""

    task: int
    roi: int
    patches: tuple[str, ...]


def draw(source: Annotator, folder: Path, roi: Box = ROI, patches: int = 5) -> Drawn:
    """Label a picture's cells and draw an ROI beside them; there are its patches."""
    task = labelled_task(source, folder)
    drawn = source.draw_roi(task, FIELD, roi, {"patches": patches})
    return Drawn(task, drawn, offered(source, task, patches))


def draw_second(source: Annotator, first: Drawn, patches: int = 3) -> Drawn:
    """Another ROI on a task that has one."""
    drawn = source.draw_roi(first.task, FIELD, LOWER, {"patches": patches})
    found = offered(source, first.task, len(first.patches) + patches)
    return Drawn(first.task, drawn, tuple(patch for patch in found if patch not in first.patches))


def offered(source: Annotator, task: int, count: int) -> tuple[str, ...]:
    """The ids of the patches on offer, once there are so many."""

    def there() -> tuple[str, ...] | None:
        prediction = source.prediction(task)
        found = tuple(patch["id"] for patch in prediction.patches) if prediction else ()
        return found if len(found) == count else None

    return wait_for(there, f"{count} patches")


def of(queue: Annotator, task: int) -> list[Json]:
    """The queue's tasks for a source task."""
    return [one for one in tasks(queue) if one["data"][SOURCE_TASK] == task]


def to_do(queue: Annotator, task: int) -> list[Json]:
    """Those of them that "Label All Tasks" still gives to somebody."""
    return [one for one in of(queue, task) if not one["is_labeled"]]


def shows(queue: Annotator, task: int, *wanted: Sequence[str]) -> list[Json]:
    """Wait until the tasks that are still to do show these patches, a sequence for each task; they are returned."""
    found: list[Json] = []

    def are_these() -> bool:
        found[:] = to_do(queue, task)
        return sorted(sorted(shown(one)) for one in found) == sorted(sorted(one) for one in wanted)

    wait_for(are_these, f"{wanted} to do", SECONDS)
    return found


def same_place(task: Json) -> tuple[int, int]:
    """What a reviewer's window refers to: the ids of the task and of its prediction."""
    return int(task["id"]), int(task["predictions"][0]["id"])


def delete_annotation(api: httpx.Client, annotation: int) -> None:
    """Take back what was submitted."""
    api.delete(f"/api/annotations/{annotation}/").raise_for_status()


def verdicts_of(source: Annotator, task: int, person: int) -> list[Json]:
    """A person's annotations of a task that hold patches."""
    found = source.api.get(f"/api/tasks/{task}/annotations/").raise_for_status().json()
    return [
        one
        for one in found
        if one["completed_by"] == person and any(item["from_name"] == PATCH for item in one["result"])
    ]


def settings_of(queue: Annotator) -> Json:
    """What a person can set in a project, and its webhooks."""
    project = queue.api.get(f"/api/projects/{queue.project_id}/").raise_for_status().json()
    hooks = queue.api.get("/api/webhooks/", params={"project": queue.project_id}).raise_for_status().json()
    names = ("title", "description", "label_config", "model_version", "maximum_annotations", "expert_instruction")
    return {name: project[name] for name in names} | {"hooks": hooks}


# One picture at a time


def test_what_is_drawn_is_queued_by_itself_and_its_verdicts_count(
    source: Annotator, queue: Annotator, reader: ReviewedStudio, as_ben: httpx.Client, tmp_path: Path
) -> None:
    """Prefilled, and linked to its source; what a reviewer takes out is rejected, the rest accepted.

    Who takes their annotation back is asked again, once.
    """
    task, _, patches = draw(source, tmp_path)
    (only,) = shows(queue, task, patches)
    assert tuple(shown(only)) == patches
    assert f"/projects/{source.project_id}/data?task={task}" in only["data"][LINK]

    said = review(as_ben, only, without=patches[:1], choices={patches[1]: "ambiguous", patches[2]: "unsure"})
    assert stand(reader, source, task) == {"accepted": 2, "rejected": 2, "unsure": 1}
    shows(queue, task)

    delete_annotation(as_ben, said)
    assert stand(reader, source, task) == {"pending": 5}
    shows(queue, task, patches)


def test_a_verdict_given_elsewhere_takes_the_patch_out_of_a_task_in_place(
    service: ServiceProcess,
    source: Annotator,
    queue: Annotator,
    reader: ReviewedStudio,
    as_ben: httpx.Client,
    tmp_path: Path,
) -> None:
    """The same task and prediction show the others; with none left the stream gives it to nobody.

    Who has it open all the same submits it, and that counts. A verdict that is taken back is asked for again.
    """
    task, _, patches = draw(source, tmp_path)
    (before,) = shows(queue, task, patches)
    project = ("--project", str(source.project_id))

    run(service, "review", "reject", *project, "--patch", patches[0])
    (now,) = shows(queue, task, patches[1:])
    assert same_place(now) == same_place(before)

    run(service, "review", "accept", *project, "--task", str(task))
    shows(queue, task)
    review(as_ben, before, without=(patches[1],))
    assert stand(reader, source, task) == {"accepted": 3, "rejected": 2}

    other, _, (patch,) = draw(source, tmp_path, patches=1)
    shows(queue, other, [patch])
    run(service, "review", "reject", *project, "--patch", patch)
    shows(queue, other)
    (said,) = verdicts_of(source, other, reader.whoami().id)
    delete_annotation(source.api, said["id"])
    shows(queue, other, [patch])


def test_a_deleted_roi_takes_its_patches_out_of_a_task_in_place(
    source: Annotator, queue: Annotator, reader: ReviewedStudio, as_ben: httpx.Client, tmp_path: Path
) -> None:
    """The same task and prediction show the other ROI's; with both gone the stream gives it to nobody.

    Who has it open all the same submits it, and that counts.
    """
    upper = draw(source, tmp_path, UPPER, patches=2)
    shows(queue, upper.task, upper.patches)
    lower = draw_second(source, upper)
    (before,) = shows(queue, upper.task, upper.patches + lower.patches)

    delete_annotation(source.api, lower.roi)
    (now,) = shows(queue, upper.task, upper.patches)
    assert same_place(now) == same_place(before)

    delete_annotation(source.api, upper.roi)
    shows(queue, upper.task)
    review(as_ben, before, choices={upper.patches[0]: "ambiguous"})
    assert stand(reader, source, upper.task) == {"accepted": 4, "rejected": 1}


def test_a_deleted_picture_is_given_to_nobody(source: Annotator, queue: Annotator, tmp_path: Path) -> None:
    """Its task in the queue stays for whoever has it open."""
    task, _, patches = draw(source, tmp_path)
    (before,) = shows(queue, task, patches)
    source.api.delete(f"/api/tasks/{task}/").raise_for_status()
    shows(queue, task)
    (now,) = of(queue, task)
    assert same_place(now) == same_place(before)


def draft(api: httpx.Client, task: Json) -> None:
    """Begin, and leave it."""
    body = {"result": filled(task), "lead_time": 1.0}
    api.post(f"/api/tasks/{task['id']}/drafts", json=body).raise_for_status()


def skip(api: httpx.Client, task: Json) -> None:
    """Say nothing."""
    review(api, task, was_cancelled=True)


BEGINNINGS: tuple[Callable[[httpx.Client, Json], object], ...] = (draft, skip, review)


def test_what_somebody_began_is_left_alone(
    service: ServiceProcess,
    source: Annotator,
    queue: Annotator,
    reader: ReviewedStudio,
    as_ben: httpx.Client,
    tmp_path: Path,
) -> None:
    """A draft, a skip, a submitted annotation: the task shows what it showed, whatever becomes of its patches.

    With nothing left to decide the stream gives it to nobody; who drafted something submits it, and that counts.
    """
    drawn = [draw(source, tmp_path) for _ in BEGINNINGS]
    before = []
    for begin, (task, _, patches) in zip(BEGINNINGS, drawn, strict=True):
        (only,) = shows(queue, task, patches)
        begin(as_ben, only)
        before += of(queue, task)

    rejected = [word for one in drawn for word in ("--patch", one.patches[0])]
    run(service, "review", "reject", "--project", str(source.project_id), "--state", "pending", *rejected[:4])
    run(service, "review", "reject", "--project", str(source.project_id), "--state", "accepted", *rejected[4:])
    looked_again(service, source, drawn)
    assert [one["predictions"] for task in drawn for one in of(queue, task.task)] == [
        one["predictions"] for one in before
    ]

    for one in drawn:
        delete_annotation(source.api, one.roi)
    looked_again(service, source, drawn)
    now = [one for task in drawn for one in of(queue, task.task)]
    assert [(one["id"], one["predictions"]) for one in now] == [(one["id"], one["predictions"]) for one in before]
    assert [one["drafts"] for one in now] == [one["drafts"] for one in before]
    assert not [one for task in drawn for one in to_do(queue, task.task)]
    review(as_ben, before[0])
    assert stand(reader, source, drawn[0].task) == {"accepted": 4, "rejected": 1}


def looked_again(service: ServiceProcess, source: Annotator, drawn: Sequence[Drawn]) -> None:
    """Have the service look at tasks once more; when this returns it has, after whatever was waiting for them."""
    words = [word for one in drawn for word in ("--task", str(one.task))]
    run(service, "propose", "--project", str(source.project_id), *words)


def test_patches_that_come_after_a_review_are_a_task_of_their_own(
    source: Annotator, queue: Annotator, reader: ReviewedStudio, as_ben: httpx.Client, tmp_path: Path
) -> None:
    """A reviewer is asked of the new patches only."""
    upper = draw(source, tmp_path, UPPER, patches=2)
    (first,) = shows(queue, upper.task, upper.patches)
    review(as_ben, first)
    lower = draw_second(source, upper)
    (second,) = shows(queue, upper.task, lower.patches)
    review(as_ben, second, without=lower.patches[:1])
    assert stand(reader, source, upper.task) == {"accepted": 4, "rejected": 1}


def test_opening_again_changes_nothing_but_what_is_wrong(
    service: ServiceProcess,
    source: Annotator,
    queue: Annotator,
    tmp_path: Path,
) -> None:
    """The same project, settings, webhook and tasks, to the moment of their last change.

    Where somebody deleted the webhook, the same project is found, and the webhook is there again.
    """
    task, _, patches = draw(source, tmp_path)
    (only,) = shows(queue, task, patches)
    before = settings_of(queue)
    assert opened(service, source).project_id == queue.project_id
    assert (settings_of(queue), of(queue, task)) == (before, [only])

    (hook,) = before["hooks"]
    queue.api.delete(f"/api/webhooks/{hook['id']}/").raise_for_status()
    assert opened(service, source).project_id == queue.project_id
    (again,) = settings_of(queue)["hooks"]
    assert {name: again[name] for name in ("url", "actions", "headers")} == {
        name: hook[name] for name in ("url", "actions", "headers")
    }
    run(service, "review", "reject", "--project", str(source.project_id), "--patch", patches[0])
    shows(queue, task, patches[1:])


# Verdicts by command


def test_verdicts_by_command_are_the_token_owners(
    service: ServiceProcess, source: Annotator, reader: ReviewedStudio, ben: Colleague, tmp_path: Path
) -> None:
    """Each command adds an annotation of theirs; each patch stands as the last of them said."""
    task, _, patches = draw(source, tmp_path)

    def said(verdict: str, *words: str) -> str:
        project = ("--project", str(source.project_id))
        return run(service, "review", verdict, *project, *words, NEGATIVES_LABEL_STUDIO_TOKEN=ben.token)

    assert "1 patches rejected" in said("reject", "--patch", patches[0], "--reason", "duplicate")
    assert "1 patches unsure" in said("unsure", "--patch", patches[1])
    assert "3 patches accepted" in said("accept", "--task", str(task))
    assert stand(reader, source, task) == {"accepted": 3, "rejected": 1, "unsure": 1}
    assert "1 patches accepted" in said("accept", "--patch", patches[1], "--state", "unsure")
    assert stand(reader, source, task) == {"accepted": 4, "rejected": 1}
    assert len(verdicts_of(source, task, ben.id)) == 4


def test_a_whole_image_is_called_empty_by_command(
    service: ServiceProcess, source: Annotator, reader: ReviewedStudio, ben: Colleague, tmp_path: Path
) -> None:
    """It becomes one accepted patch, the token owner's; an image with a labelled object is refused, and told of."""
    labelled = labelled_task(source, tmp_path)
    picture = tmp_path / "nothing.png"
    Image.new("RGB", (400, 300), "grey").save(picture)
    (task,) = source.upload([picture])
    told = run(
        service,
        *("review", "empty", "--project", str(source.project_id), "--task", str(task), "--task", str(labelled)),
        NEGATIVES_LABEL_STUDIO_TOKEN=ben.token,
        fails=True,
    )
    assert "1 whole images accepted" in told
    assert f"failed: task {labelled}" in told
    assert "objects are labelled in it" in told
    (annotation,) = verdicts_of(source, task, ben.id)
    (whole,) = (item["value"] for item in annotation["result"] if item["from_name"] == PATCH)
    assert (whole["x"], whole["y"], whole["width"], whole["height"]) == (0, 0, 100, 100)
    assert stand(reader, source, task) == {"accepted": 1}


# Several people


def test_more_approvals_asked_for_later_are_asked_of_the_same_queue(
    studio: LabelStudioProcess,
    api: httpx.Client,
    reader: ReviewedStudio,
    ben: Colleague,
    as_ben: httpx.Client,
    tmp_path: Path,
) -> None:
    """Opened again with another number, the queue asks so many; what it had let go of stays out of the stream.

    The same person twice isn't enough. Where two disagree, `negatives status` tells both, and what came of it.
    """
    with ServiceProcess(studio, tmp_path, NEGATIVES_RECONCILE_SECONDS="60") as service:
        source = connect(service, api, "Two of us")
        drawn, other = draw(source, tmp_path), draw(source, tmp_path)
        queue = opened(service, source)
        (first,) = shows(queue, drawn.task, drawn.patches)
        review(as_ben, first)
        run(service, "review", "reject", "--project", str(source.project_id), "--task", str(other.task))
        shows(queue, drawn.task)
        shows(queue, other.task)

        service.stop()
        service.environment["NEGATIVES_MIN_APPROVALS"] = "2"
        service.start()
        assert opened(service, source).project_id == queue.project_id

        assert settings_of(queue)["maximum_annotations"] == 2
        assert [(one["id"], shown(one)) for one in to_do(queue, drawn.task)] == [(first["id"], [*drawn.patches])]
        assert not to_do(queue, other.task)
        two = Agreement(2)
        assert stand(reader, source, agreement=two) == {"pending": 5, "rejected": 5}
        review(as_ben, first)
        assert stand(reader, source, drawn.task, agreement=two) == {"pending": 5}
        review(api, first, choices={drawn.patches[0]: "object inside"})
        assert stand(reader, source, drawn.task, agreement=two) == {"accepted": 4, "rejected": 1}
        told = service.run("status", "--project", str(source.project_id)).stdout
        (line,) = (line for line in told.splitlines() if f"task {drawn.task}:" in line)
        assert f"{ben.email} accepted, {EMAIL} rejected (object inside); it is rejected" in line
        assert "4 accepted, 6 rejected, 0 pending" in told


# One patch at a time


def test_two_queues_of_one_project_ask_nobody_twice(
    service: ServiceProcess, api: httpx.Client, reader: ReviewedStudio, as_ben: httpx.Client, tmp_path: Path
) -> None:
    """One of them a task per patch with a picture of its own, that every member may see; each word counts there, and is
    heard at once, also where somebody had deleted the queue's webhook before it was opened again.
    """
    source = connect(service, api, "Both ways")
    task, _, patches = draw(source, tmp_path)
    whole, single = opened(service, source), opened(service, source, "--layout", "patch")
    assert whole.project_id != single.project_id
    queued = tasks(single)
    assert [shown(one) for one in queued] == [[patch] for patch in patches]
    for one in queued:
        assert kind_of_picture(as_ben, one) == "JPEG"
    (hook,) = settings_of(single)["hooks"]
    api.delete(f"/api/webhooks/{hook['id']}/").raise_for_status()
    assert opened(service, source, "--layout", "patch").project_id == single.project_id

    for one, verdict in zip(queued, ("accepted", "rejected", "object inside", "unsure"), strict=False):
        judge(as_ben, one, verdict)
    assert stand(reader, source) == {"accepted": 1, "rejected": 2, "unsure": 1, "pending": 1}

    (left,) = shows(whole, task, patches[4:])
    shows(single, task, patches[4:])
    review(as_ben, left)
    shows(single, task)
    assert stand(reader, source) == {"accepted": 2, "rejected": 2, "unsure": 1}


def kind_of_picture(api: httpx.Client, task: Json) -> str | None:
    """The format of a task's picture as its reviewer gets it."""
    answer = api.get(task["data"]["image"], follow_redirects=True)
    assert answer.status_code == httpx.codes.OK, answer.text
    with Image.open(BytesIO(answer.content)) as picture:
        assert max(picture.size) > 200
        return picture.format


def test_a_picture_in_the_source_projects_storage_shows_in_the_queue(
    service: ServiceProcess, api: httpx.Client, as_ben: httpx.Client
) -> None:
    """The queue needs no storage of its own, whether the browser gets a presigned link or Label Studio's copy."""
    content = BytesIO()
    draw_field(3, *FIELD).image.save(content, "PNG")
    source = connect(service, api, "In the cloud")
    with bucket("scans/field.png", content.getvalue()) as address:
        for name, presign in (("signed", True), ("copied", False)):
            storage = {
                "project": source.project_id,
                "title": name,
                "bucket": name,
                "prefix": "",
                "use_blob_urls": True,
                "presign": presign,
                "presign_ttl": 15,
                "aws_access_key_id": "key",
                "aws_secret_access_key": "secret",
                "region_name": "us-east-1",
                "s3_endpoint": address,
            }
            api.post("/api/storages/s3", json=storage).raise_for_status()
            import_with_roi(source, f"s3://{name}/scans/field.png", 1)
        for layout, kind, count in (("proposal", "PNG", 2), ("patch", "JPEG", 10)):
            queued = tasks(opened(service, source, "--layout", layout))
            assert [kind_of_picture(as_ben, one) for one in queued] == [kind] * count


# In bulk


def import_with_roi(source: Annotator, image: str, count: int) -> list[int]:
    """So many tasks that show this image, each with an ROI that was drawn before; their ids."""
    drawn = [region(ROI_CONTROL, ROI_LABEL, ROI, FIELD)]
    listed = [{"data": {"image": image}, "annotations": [{"result": drawn}]} for _ in range(count)]
    answer = source.api.post(
        f"/api/projects/{source.project_id}/import", params={"return_task_ids": "true"}, json=listed
    )
    return [int(task) for task in answer.raise_for_status().json()["task_ids"]]


def test_a_service_killed_while_it_fills_a_queue_queues_each_proposal_once(
    studio: LabelStudioProcess, api: httpx.Client, tmp_path: Path
) -> None:
    """kill −9 when some of 300 are queued and others are not, twice; in the end all are, each with its five patches."""
    with ServiceProcess(studio, tmp_path, NEGATIVES_RECONCILE_SECONDS="60") as service:
        source = connect(service, api, "Hundreds")
        queue = opened(service, source)
        image = api.get(f"/api/tasks/{labelled_task(source, tmp_path)}/").json()["data"]["image"]
        service.stop()
        sources = import_with_roi(source, image, 300)

        def size() -> int:
            answer = api.get(f"/api/projects/{queue.project_id}/", params={"include": "task_number"})
            return int(answer.raise_for_status().json()["task_number"])

        for _ in range(2):
            grown = partial(lambda before: size() > before, size())
            service.start()
            wait_for(grown, "the first tasks")
            assert service.stop(signal.SIGKILL) == -signal.SIGKILL
        assert size() < len(sources)
        service.start()
        assert opened(service, source).project_id == queue.project_id  # returns when nothing is left to do
        queued = tasks(queue)
        assert Counter(task["data"][SOURCE_TASK] for task in queued) == Counter(sources)
        assert {len(shown(task)) for task in queued} == {5}
