"""What `negatives setup` does in a real Label Studio for live suggestions, and what it says when it can't."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

from service.demo.annotator import Annotator, labeling_configuration
from service.demo.label_studio import LabelStudioProcess
from service.label_studio.instructions import START, picture_in
from service.label_studio.setup import PICTURE
from tests.bccd import photos
from tests.service_process import ServiceProcess
from tests.studio import LABEL_STUDIO

THEIRS = "<p>Only <b>whole</b> cells &amp; no debris.</p>\n\nThanks "


def set_up(service: ServiceProcess, annotator: Annotator, *options: str, code: int = 0) -> list[str]:
    """Run `negatives setup`; what it told, a line a step."""
    done = service.run("setup", "--project", str(annotator.project_id), *options)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout.splitlines() or done.stderr.splitlines()


def backends(annotator: Annotator) -> list[dict[str, Any]]:
    """The project's ML backends."""
    found = annotator.api.get("/api/ml/", params={"project": annotator.project_id}).raise_for_status().json()
    assert isinstance(found, list)
    return found


def project(annotator: Annotator) -> dict[str, Any]:
    """The project as Label Studio gives it."""
    found = annotator.api.get(f"/api/projects/{annotator.project_id}/").raise_for_status().json()
    assert isinstance(found, dict)
    return found


def webhooks_that_are_on(annotator: Annotator) -> list[str]:
    """What Label Studio calls when something happens in the project."""
    found = annotator.api.get("/api/webhooks/", params={"project": annotator.project_id}).raise_for_status().json()
    return [hook["url"] for hook in found if hook["is_active"] and hook["project"] == annotator.project_id]


def test_the_service_is_registered_and_tried(
    service: ServiceProcess, new_project: Callable[[str], Annotator], tmp_path: Path
) -> None:
    """One interactive ML backend that Label Studio reaches, one webhook, our version for the review stream."""
    annotator = new_project("live")
    (photo,) = photos(1, tmp_path)
    annotator.upload([photo.path])
    told = set_up(service, annotator)
    (backend,) = backends(annotator)
    assert (backend["url"], backend["title"], backend["is_interactive"]) == (service.url, "negatives", True)
    assert (backend["state"], backend["auth_method"], backend["basic_auth_user"]) == ("CO", "BASIC_AUTH", "negatives")
    assert webhooks_that_are_on(annotator) == [service.webhook_url]
    assert project(annotator)["model_version"] == "negatives"
    assert f"    done  registered as interactive ML backend at {service.url}" in told
    assert "      ok  Label Studio reaches it and it answers" in told


def test_a_second_run_changes_nothing(
    service: ServiceProcess, new_project: Callable[[str], Annotator], api: httpx.Client
) -> None:
    """Every step is fine at once, and Label Studio holds what it held: no second picture, either."""

    def kept(annotator: Annotator) -> list[Any]:
        files = api.get(f"/api/projects/{annotator.project_id}/file-uploads", params={"all": "true"}).json()
        assert len(files) == 1
        ids = [backend["id"] for backend in backends(annotator)]
        return [project(annotator), files, ids, webhooks_that_are_on(annotator)]

    annotator = new_project("twice")
    set_up(service, annotator)
    before = kept(annotator)
    told = set_up(service, annotator)
    assert {line.split()[0] for line in told} == {"ok"}
    assert kept(annotator) == before


def test_a_service_that_moved_and_got_another_secret_is_set_right(
    studio: LabelStudioProcess, service: ServiceProcess, new_project: Callable[[str], Annotator], tmp_path: Path
) -> None:
    """The one ML backend calls the new address with the new secret; nothing calls the old one."""
    annotator = new_project("moved")
    set_up(service, annotator)
    (old,) = backends(annotator)
    (tmp_path / "moved").mkdir()
    with ServiceProcess(studio, tmp_path / "moved", NEGATIVES_WEBHOOK_SECRET="another-secret") as moved:
        told = set_up(moved, annotator)
        (backend,) = backends(annotator)
        assert (backend["id"], backend["url"], backend["state"]) == (old["id"], moved.url, "CO")
        assert any(f"(it was at {service.url} until now)" in line for line in told)
        assert webhooks_that_are_on(annotator) == [moved.webhook_url]


def test_another_interactive_ml_backend_is_left_alone(
    studio: LabelStudioProcess, service: ServiceProcess, new_project: Callable[[str], Annotator], tmp_path: Path
) -> None:
    """A team's own model goes first: ours isn't registered, the way out is told, and patches come by webhook."""
    annotator = new_project("theirs")
    (tmp_path / "theirs").mkdir()
    with ServiceProcess(studio, tmp_path / "theirs", NEGATIVES_BASIC_AUTH="false") as theirs:
        body = {"project": annotator.project_id, "url": theirs.url, "title": "SAM", "is_interactive": True}
        annotator.api.post("/api/ml/", json=body).raise_for_status()
        told = set_up(service, annotator, code=3)
        assert [backend["title"] for backend in backends(annotator)] == ["SAM"]
        (trouble,) = (line for line in told if line.split()[0] == "trouble")
        assert f"'SAM' at {theirs.url}" in trouble
        assert told[-1] == "      ok  an event from Label Studio reached the service and became a durable job"
        assert service.webhook_url in webhooks_that_are_on(annotator)
        set_up(service, annotator, "--no-live")


def test_without_live_suggestions(service: ServiceProcess, new_project: Callable[[str], Annotator]) -> None:
    """Nothing is registered; and what was before is no longer asked by browsers."""
    annotator = new_project("no live")
    set_up(service, annotator, "--no-live")
    assert backends(annotator) == []
    set_up(service, annotator)
    told = set_up(service, annotator, "--no-live")
    assert [backend["is_interactive"] for backend in backends(annotator)] == [False]
    assert any("no longer interactive" in line for line in told)
    assert {line.split()[0] for line in set_up(service, annotator, "--no-live")} == {"ok"}
    set_up(service, annotator)
    assert [backend["is_interactive"] for backend in backends(annotator)] == [True]


# ---------------------------------------------------------------- instructions


def test_instructions_are_added_to_what_the_team_wrote(
    service: ServiceProcess, new_project: Callable[[str], Annotator]
) -> None:
    """Theirs stay byte for byte, before and behind; Label Studio keeps ours as they were sent."""
    annotator = new_project("instructions")
    annotator.api.patch(f"/api/projects/{annotator.project_id}/", json={"expert_instruction": THEIRS})
    set_up(service, annotator)
    after = project(annotator)
    assert after["expert_instruction"].startswith(f"{THEIRS}\n{START}")
    assert after["show_instruction"] is False
    behind = "<p>And ask.</p> \n"
    own = after["expert_instruction"].replace("Auto-Annotation", "something older") + behind
    annotator.api.patch(f"/api/projects/{annotator.project_id}/", json={"expert_instruction": own})
    set_up(service, annotator)
    assert project(annotator)["expert_instruction"] == after["expert_instruction"] + behind


def test_the_picture_is_there_for_members_and_is_no_task(
    studio: LabelStudioProcess, service: ServiceProcess, new_project: Callable[[str], Annotator]
) -> None:
    """Label Studio hands it out to whoever is signed in, and to nobody else."""
    annotator = new_project("picture")
    set_up(service, annotator)
    found = project(annotator)
    assert (found["task_number"], found["show_instruction"]) == (0, True)
    address = picture_in(found["expert_instruction"])
    assert address is not None
    assert annotator.api.get(address).raise_for_status().content == PICTURE.read_bytes()
    assert httpx.get(studio.url + address).status_code == 401


# ---------------------------------------------------------------- private addresses


class WebhooksOnly(LabelStudioProcess):
    """A Label Studio where private addresses are allowed for webhooks, but not for ML backends."""

    def _environment(self) -> dict[str, str]:
        return super()._environment() | {"SSRF_PROTECTION_ENABLED": "false"}


def test_a_label_studio_that_refuses_private_addresses_for_models_is_explained(tmp_path: Path) -> None:
    """Who once allowed our webhook has done half: the cure is told, the rest is connected, and --no-live is enough."""
    with (
        WebhooksOnly(LABEL_STUDIO, tmp_path / "studio", allow_local=False).start() as studio,
        ServiceProcess(studio, tmp_path) as service,
        studio.api() as api,
    ):
        annotator = Annotator.in_new_project(api, "webhooks only", labeling_configuration(["Cell"]))
        told = set_up(service, annotator, code=3)
        (trouble,) = (line for line in told if line.split()[0] == "trouble")
        for word in (f"refuses the ML backend's address {service.url}", "ML_BLOCK_LOCAL_IP=false", "--no-live"):
            assert word in trouble
        assert told[-1] == "      ok  an event from Label Studio reached the service and became a durable job"
        assert backends(annotator) == []
        set_up(service, annotator, "--no-live")
