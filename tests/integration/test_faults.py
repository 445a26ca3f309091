"""What goes wrong in real life: wrong secrets, lost and doubled events, crashes, refused addresses."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import httpx

from service.demo.annotator import Annotator
from service.demo.label_studio import LabelStudioProcess
from service.domain.geometry import Box
from tests.bccd import photos
from tests.service_process import ServiceProcess, wait_for
from tests.studio import LABEL_STUDIO

FIELDS = {"min_size": 20, "max_size": 60}


def draw(annotator: Annotator, tmp_path: Path, count: int) -> list[int]:
    """Upload so many photos and draw an ROI on each."""
    taken = photos(count, tmp_path)
    tasks = annotator.upload([photo.path for photo in taken])
    for task, photo in zip(tasks, taken, strict=True):
        annotator.draw_roi(task, photo.size, Box(0, 0, *photo.size), FIELDS)
    return tasks


def ours(api: httpx.Client, task: int) -> list[int]:
    """The ids of our predictions of a task."""
    found = api.get("/api/predictions/", params={"task": task}).raise_for_status().json()
    return [item["id"] for item in found if item["model_version"] == "negatives"]


def test_a_wrong_secret_is_refused_and_leaves_no_job(service: ServiceProcess) -> None:
    """Whoever doesn't know the secret gets 401 and can't make us work."""
    event = {"action": "ANNOTATIONS_DELETED", "annotations": [{"id": 1}], "project": {"id": 4711}}
    assert service.deliver(event, secret="guessed").status_code == 401
    assert httpx.post(service.webhook_url, json=event).status_code == 401
    with service.jobs() as queue:
        assert not queue.looks_asked_for(4711)
        assert service.deliver(event).status_code == 202
        assert len(queue.looks_asked_for(4711)) == 1


def test_rois_that_were_drawn_while_the_service_was_down_are_proposed_when_it_is_back(
    service: ServiceProcess, connected: Annotator, api: httpx.Client, tmp_path: Path
) -> None:
    """Label Studio does not deliver twice; looking for what changed does, without anyone doing anything."""
    service.stop()
    tasks = draw(connected, tmp_path, 3)
    assert not any(ours(api, task) for task in tasks)
    service.start()
    wait_for(lambda: all(ours(api, task) for task in tasks), "the three proposals")


def test_a_webhook_delivered_20_times_makes_one_prediction(
    service: ServiceProcess, connected: Annotator, api: httpx.Client, tmp_path: Path
) -> None:
    """Repetition does no harm: one job, one prediction."""
    (task,) = draw(connected, tmp_path, 1)
    wait_for(lambda: ours(api, task), "the proposal")
    truth = api.get(f"/api/tasks/{task}/").json()
    event = {
        "action": "ANNOTATION_CREATED",
        "annotation": truth["annotations"][0],
        "task": {"id": task, "updated_at": truth["updated_at"]},
        "project": {"id": connected.project_id},
    }
    assert {service.deliver(event).status_code for _ in range(20)} == {202}

    def idle() -> bool:
        with service.jobs() as queue:
            counts = queue.counts()
            return counts.waiting + counts.running == 0

    wait_for(idle, "all jobs")
    assert len(ours(api, task)) == 1


def test_a_service_killed_in_the_middle_of_a_job_finishes_it_after_its_restart(
    studio: LabelStudioProcess, service: ServiceProcess, connected: Annotator, api: httpx.Client, tmp_path: Path
) -> None:
    """Nothing is lost by kill −9, and nothing is proposed twice."""
    (photo,) = photos(1, tmp_path)
    (task,) = connected.upload([photo.path])
    event = {
        "action": "ANNOTATION_CREATED",
        "task": {"id": task, "updated_at": "2026-01-01T00:00:00Z"},
        "project": {"id": connected.project_id},
    }
    service.stop()
    connected.draw_roi(task, photo.size, Box(0, 0, *photo.size), FIELDS)
    with studio.paused():  # the job can begin, but not end
        service.start()
        assert service.deliver(event).status_code == 202

        def in_the_middle() -> bool:
            with service.jobs() as queue:
                return queue.counts().running == 1

        wait_for(in_the_middle, "the job's begin")
        assert service.stop(signal.SIGKILL) == -signal.SIGKILL
    assert not ours(api, task)
    service.start()
    wait_for(lambda: ours(api, task), "the proposal")
    assert len(ours(api, task)) == 1


def test_label_studio_out_of_reach_for_a_while_costs_nothing_but_time(
    studio: LabelStudioProcess, service: ServiceProcess, connected: Annotator, api: httpx.Client, tmp_path: Path
) -> None:
    """A job whose calls fail is tried again with growing pauses and succeeds when Label Studio answers again."""
    service.stop()
    (task,) = draw(connected, tmp_path, 1)
    with ServiceProcess(studio, tmp_path, NEGATIVES_LABEL_STUDIO_URL="http://127.0.0.1:1") as lost:
        event = {
            "action": "ANNOTATION_CREATED",
            "task": {"id": task, "updated_at": "2026-01-01T00:00:00Z"},
            "project": {"id": connected.project_id},
        }
        assert lost.deliver(event).status_code == 202

        def tried() -> bool:
            with lost.jobs() as queue:
                return queue.counts().running == 1

        wait_for(tried, "the first try")
        lost.stop(signal.SIGKILL)
    service.start()  # the same database, the right address
    wait_for(lambda: ours(api, task), "the proposal")


def test_setup_names_the_cure_when_label_studio_refuses_private_addresses(tmp_path: Path) -> None:
    """The biggest trap of a first run is recognised, and the message says which settings to change where."""
    with LabelStudioProcess(LABEL_STUDIO, tmp_path / "strict", allow_local=False).start() as strict:
        service = ServiceProcess(strict, tmp_path)
        with strict.api() as api:
            annotator = Annotator.in_new_project(api, "strict", '<View><Image name="image" value="$image"/></View>')
        done = service.run("setup", "--project", str(annotator.project_id))
    assert done.returncode == 1
    assert "SSRF_PROTECTION_ENABLED=false" in done.stderr
    assert "USER_ADDITIONAL_BANNED_SUBNETS" in done.stderr


def test_setup_disturbs_nothing_and_the_second_time_changes_nothing(
    service: ServiceProcess, new_project: Callable[[str], Annotator], api: httpx.Client, tmp_path: Path
) -> None:
    """A project with annotations keeps its configuration byte for byte but for ours; setup again is a check only."""
    annotator = new_project("setup")
    photo = photos(1, tmp_path)[0]
    (task,) = annotator.upload([photo.path])
    annotator.label_objects(task, photo.size, photo.objects)
    before = api.get(f"/api/projects/{annotator.project_id}/").json()["label_config"]

    first = service.run("setup", "--project", str(annotator.project_id))
    config, hooks = _state(api, annotator.project_id)
    second = service.run("setup", "--project", str(annotator.project_id))

    assert first.returncode == second.returncode == 0
    not_smart = ' smart="false"'  # the smart tool is kept for strokes
    assert config.replace(not_smart, "").startswith(before.rstrip().removesuffix("</View>"))
    assert "done" in first.stdout
    assert "done" not in second.stdout
    assert _state(api, annotator.project_id) == (config, hooks)
    assert [hook["url"] for hook in hooks if hook["is_active"]] == [service.webhook_url]


def _state(api: httpx.Client, project: int) -> tuple[str, list[dict[str, object]]]:
    config = api.get(f"/api/projects/{project}/").json()["label_config"]
    return config, api.get("/api/webhooks/", params={"project": project}).json()


def test_the_service_stops_in_order(service: ServiceProcess) -> None:
    """SIGTERM ends it with exit code 0."""
    assert service.stop() == 0


def states(service: ServiceProcess, annotator: Annotator) -> dict[str, int]:
    """How many patches of the project stand where."""
    told = json.loads(service.run("status", "--project", str(annotator.project_id), "--json").stdout)
    counts: dict[str, int] = told["projects"][str(annotator.project_id)]
    return {name: counts[name] for name in ("accepted", "rejected", "pending")}


def test_a_rejection_of_everything_outlives_a_change_of_the_proposal(
    service: ServiceProcess, connected: Annotator, tmp_path: Path
) -> None:
    """Who deletes all regions of their copy and submits has rejected all, also when another ROI is drawn later."""
    (photo,) = photos(1, tmp_path)
    (task,) = connected.upload([photo.path])
    width, height = photo.size
    connected.draw_roi(task, photo.size, Box(0, 0, width // 2, height), FIELDS)
    first = wait_for(lambda: connected.prediction(task), "patches")
    count = len(first.patches)
    connected.submit(task, [], parent_prediction=first.id)
    assert states(service, connected) == {"accepted": 0, "rejected": count, "pending": 0}

    connected.draw_roi(task, photo.size, Box(width // 2, 0, width, height), FIELDS)

    def changed() -> bool:
        now = connected.prediction(task)
        return now is not None and now.result != first.result

    wait_for(changed, "the second ROI's patches")
    assert states(service, connected) == {"accepted": 0, "rejected": count, "pending": 5}


def test_what_failed_for_a_wrong_token_is_done_when_the_token_is_right(
    connected: Annotator, service: ServiceProcess, api: httpx.Client, tmp_path: Path
) -> None:
    """A token that ran out is the likeliest outage; its cure and a restart are all that a person has to do."""
    service.stop()
    right = service.environment["NEGATIVES_LABEL_STUDIO_TOKEN"]
    service.environment["NEGATIVES_LABEL_STUDIO_TOKEN"] = "0" * 40
    service.start()
    (task,) = draw(connected, tmp_path, 1)

    def failed() -> bool:
        with service.jobs() as queue:
            return bool(queue.failed())

    wait_for(failed, "the failure")
    service.stop()
    assert "sessionid" not in service.log.read_text()
    assert "Traceback" not in service.log.read_text()
    service.environment["NEGATIVES_LABEL_STUDIO_TOKEN"] = right
    service.start()
    wait_for(lambda: ours(api, task), "the proposal")
    wait_for(lambda: not failed(), "the end of the failure")


def test_a_picture_that_was_replaced_after_its_review_is_not_exported(
    service: ServiceProcess, connected: Annotator, api: httpx.Client, tmp_path: Path
) -> None:
    """The reviewer said yes to other pixels."""
    one, other = photos(2, tmp_path)
    task, stranger = connected.upload([one.path, other.path])
    connected.draw_roi(task, one.size, Box(0, 0, *one.size), FIELDS)
    prediction = wait_for(lambda: connected.prediction(task), "patches")
    connected.review(task, prediction, lambda _: False)
    elsewhere = api.get(f"/api/tasks/{stranger}/").json()["data"]
    api.patch(f"/api/tasks/{task}/", json={"data": elsewhere}).raise_for_status()

    done = service.run("export", "--project", str(connected.project_id), "--into", str(tmp_path / "dataset"))

    assert done.returncode == 3
    assert "the image was replaced since" in done.stdout
    assert not list((tmp_path / "dataset").rglob("*.jpg"))
