"""Connecting a project: our controls, instructions, webhook and ML backend, and a check both ways.

Run again it changes nothing.
"""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import httpx

from service.domain.model import Rules
from service.errors import LabelStudioError, SetupError
from service.label_studio.client import LabelStudioClient, Project, Webhook
from service.label_studio.instructions import picture_in, with_instructions
from service.label_studio.labeling import connect, read_labeling
from service.label_studio.live import ELSEWHERE, Live, other_first, set_up_live
from service.label_studio.queue_project import is_queue
from service.label_studio.steps import CURE, Outcome, Step

WAIT_SECONDS = 5.0
PICTURE = Path(__file__).with_name("switch_on.png")
"""Where to switch live suggestions on; `python -m tests.docs.draw_switches` makes it."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """The webhook as it should be: what Label Studio calls, with which headers, for which actions."""

    url: str
    headers: Mapping[str, str]
    actions: Sequence[str]


def set_up(
    project_id: int,
    *,
    studio: LabelStudioClient,
    rules: Rules,
    wanted: Subscription,
    live: Live,
    service: httpx.Client,
    looks_asked_for: Callable[[int], frozenset[str]],
    tell: Callable[[Step], None],
    shapes: Collection[str] = (),
) -> bool:
    """Connect a project and check both ways, telling each step as it ends; True when all is well.

    `wanted` and `live` are the webhook and the ML backend as they should be; `service` calls this service as people on
    its machine do; `looks_asked_for` tells which events have come in; `shapes` are those that ROIs shall be drawn as,
    beside the rectangle: keys of `ROI_SHAPES`. Raises `SetupError` when the project can't be connected,
    `LabelStudioError` when Label Studio says no.
    """
    project = studio.project(project_id)
    tell(
        Step(
            Outcome.FINE,
            f"Label Studio answers, signed in as {studio.whoami().email}; the project is {project.title!r}",
        )
    )
    if is_queue(project.label_config):
        raise SetupError(
            f"project {project_id} is a review queue, filled from another project: connect that one, and this with "
            "negatives review open"
        )
    is_live = live.wanted and other_first(project_id, studio=studio, live=live) is None
    labeling = connect(project.label_config, rules, shapes, live=is_live)
    if labeling == project.label_config:
        tell(Step(Outcome.FINE, "the labeling configuration has our controls" + _other_defaults(labeling, rules)))
    else:
        studio.change_label_config(project_id, labeling)
        tell(Step(Outcome.CHANGED, _changed(project.label_config, labeling)))
    tell(instructed := _instruct(project, studio, is_live=is_live))
    tell(register_webhook(project_id, studio, wanted))
    if (trouble := _trouble_from_here(service, wanted)) is not None:
        tell(Step(Outcome.TROUBLE, trouble))
        return False
    tell(Step(Outcome.FINE, f"the service answers at {wanted.url} and knows the secret"))
    well = instructed.outcome is not Outcome.TROUBLE
    for step in set_up_live(project_id, studio=studio, live=live):
        tell(step)
        well = well and step.outcome is not Outcome.TROUBLE
    before = looks_asked_for(project_id)
    studio.touch(project_id)
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        if looks_asked_for(project_id) - before:
            tell(Step(Outcome.FINE, "an event from Label Studio reached the service and became a durable job"))
            return well
        time.sleep(0.1)
    tell(
        Step(
            Outcome.TROUBLE,
            f"no event from Label Studio reached the service at {wanted.url}, though it answers from here. {CURE}. "
            f"{ELSEWHERE}; and this command must see the service's database (NEGATIVES_DATABASE_URL)",
        )
    )
    return False


def _changed(xml: str, connected: str) -> str:
    """What connecting has done to the configuration."""
    before, after = read_labeling(xml).controls, read_labeling(connected).controls
    added = ", ".join(name for name in after if name not in before)
    return f"added to the labeling configuration: {added}" if added else "kept the smart tool for live suggestions"


def _other_defaults(xml: str, rules: Rules) -> str:
    """Where the configuration's defaults, which go first, are others than the settings'."""
    defaults = read_labeling(xml).defaults
    others = [
        f"{name} {value:g}" for name, value in defaults.items() if name != "round" and value != getattr(rules, name)
    ]
    return f"; its defaults go before the settings: {', '.join(others)}" if others else ""


def _instruct(project: Project, studio: LabelStudioClient, *, is_live: bool) -> Step:
    """Our part of the instructions; shown before people start only where there were none."""
    try:
        picture = _picture(project, studio) if is_live else None
        html = with_instructions(project.instruction, picture)
        if html == project.instruction:
            return Step(Outcome.FINE, "the project's instructions say how to get patches")
        none_before = not project.instruction.strip()
        studio.change_instruction(project.id, html, show=none_before or project.shows_instruction)
    except LabelStudioError as error:
        return Step(Outcome.TROUBLE, f"the project's instructions don't say yet how to get patches: {error}")
    shown = ", shown before labeling" if none_before else "; the team's own are as they were"
    return Step(Outcome.CHANGED, f"wrote into the project's instructions how to get patches{shown}")


def _picture(project: Project, studio: LabelStudioClient) -> str:
    """The address of the picture, which is uploaded once: Label Studio drops pictures that come within the HTML."""
    content = PICTURE.read_bytes()
    name = f"negatives-switch-on-{sha256(content).hexdigest()[:8]}.png"
    there = picture_in(project.instruction)
    if there is not None and there.startswith("/") and there.endswith(name) and studio.has_file(there):
        return there
    return studio.upload(project.id, name, content)


def register_webhook(project_id: int, studio: LabelStudioClient, wanted: Subscription) -> Step:
    """Register our webhook for a project, or set right what is there of ours.

    Raises `SetupError` when Label Studio doesn't take its address.
    """
    ours = [hook for hook in studio.webhooks(project_id) if hook.project == project_id and _is_ours(hook, wanted)]
    try:
        if not ours:
            studio.create_webhook(project_id, wanted.url, wanted.actions, wanted.headers)
            return Step(Outcome.CHANGED, f"registered the webhook {wanted.url}")
        first, *surplus = sorted(ours, key=lambda hook: (hook.url != wanted.url, hook.id))
        for hook in surplus:
            if hook.is_active:
                studio.switch_off_webhook(hook)
        changed = not _is_right(first, wanted)
        if changed:
            studio.update_webhook(first, wanted.url, wanted.actions, wanted.headers)
    except LabelStudioError as error:
        if "valid URL" in str(error):
            raise SetupError(
                f"Label Studio calls {wanted.url} no valid address: a host name needs a dot "
                "(negatives.internal, say); change NEGATIVES_PUBLIC_URL"
            ) from error
        if "reserved network address" in str(error):
            raise SetupError(f"Label Studio refuses the webhook address {wanted.url}. {CURE}") from error
        raise
    if changed:
        moved = f" (it called {first.url} until now)" if first.url != wanted.url else ""
        return Step(Outcome.CHANGED, f"set the webhook right: {wanted.url}{moved}")
    return Step(Outcome.FINE, f"the webhook {wanted.url} is registered and switched on")


def _is_ours(hook: Webhook, wanted: Subscription) -> bool:
    """Also one that points to where the service was before: it has our headers."""
    return hook.url == wanted.url or bool(wanted.headers.keys() & hook.headers.keys())


def _is_right(hook: Webhook, wanted: Subscription) -> bool:
    return (
        hook.url == wanted.url
        and hook.is_active
        and hook.send_payload
        and dict(hook.headers) == dict(wanted.headers)
        and (hook.all_actions or set(hook.actions) == set(wanted.actions))
    )


def _trouble_from_here(service: httpx.Client, wanted: Subscription) -> str | None:
    """What is wrong with the service as seen from this machine; None when nothing is."""
    try:
        answer = service.post(wanted.url, json={"action": "LABEL_LINK_CREATED"}, headers=dict(wanted.headers))
    except httpx.TransportError:
        return f"nothing answers at {wanted.url}: start the service (negatives serve), then run setup again"
    if answer.status_code == httpx.codes.UNAUTHORIZED:
        return (
            f"the service at {wanted.url} runs with another NEGATIVES_WEBHOOK_SECRET: restart it with this "
            "one, or set this one to its"
        )
    if answer.status_code != httpx.codes.OK or "ignored" not in answer.text:
        return (
            f"what answers at {wanted.url} is not this service (status {answer.status_code}): check "
            "NEGATIVES_PUBLIC_URL and NEGATIVES_PORT"
        )
    return None
