"""Connecting a project: our controls, the webhook, and a check both ways. Run again it changes nothing."""

import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

import httpx

from service.domain.model import Rules
from service.errors import LabelStudioError, SetupError
from service.label_studio.client import LabelStudioClient, Webhook
from service.label_studio.labeling import ROI_SHAPES, connect, read_labeling

CURE = (
    "Label Studio refuses private and loopback addresses for webhooks by default. On Label Studio's side set "
    "SSRF_PROTECTION_ENABLED=false, or tighter: USE_DEFAULT_BANNED_SUBNETS=false and USER_ADDITIONAL_BANNED_SUBNETS "
    "naming all networks but the one that this service is in (docker-compose.yml shows how); restart Label Studio, "
    "then run setup again"
)
WAIT_SECONDS = 5.0


class Outcome(StrEnum):
    """How one step of the set-up ended."""

    FINE = "ok"
    CHANGED = "done"
    TROUBLE = "trouble"


@dataclass(frozen=True, slots=True)
class Step:
    """One step, how it ended, and the sentence for the person who runs it."""

    outcome: Outcome
    text: str


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
    service: httpx.Client,
    looks_asked_for: Callable[[int], frozenset[str]],
    tell: Callable[[Step], None],
    shapes: Collection[str] = (),
) -> bool:
    """Connect a project and check both ways, telling each step as it ends; True when all is well.

    `service` calls this service as people on its machine do; `looks_asked_for` tells which events have come in;
    `shapes` are those that ROIs shall be drawn as, beside the rectangle: keys of `ROI_SHAPES`. Raises `SetupError` when
    the project can't be connected, `LabelStudioError` when Label Studio says no.
    """
    project = studio.project(project_id)
    tell(
        Step(
            Outcome.FINE,
            f"Label Studio answers, signed in as {studio.whoami()}; the project is {project.title!r}",
        )
    )
    labeling = connect(project.label_config, rules, shapes)
    if labeling == project.label_config:
        tell(Step(Outcome.FINE, "the labeling configuration has our controls" + _other_defaults(labeling, rules)))
    else:
        added = ", ".join(_added(project.label_config, labeling))
        studio.change_label_config(project_id, labeling)
        tell(Step(Outcome.CHANGED, f"added to the labeling configuration: {added}"))
    tell(_register(project_id, studio, wanted))
    if (trouble := _trouble_from_here(service, wanted)) is not None:
        tell(Step(Outcome.TROUBLE, trouble))
        return False
    tell(Step(Outcome.FINE, f"the service answers at {wanted.url} and knows the secret"))
    before = looks_asked_for(project_id)
    studio.touch(project_id)
    deadline = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < deadline:
        if looks_asked_for(project_id) - before:
            tell(Step(Outcome.FINE, "an event from Label Studio reached the service and became a durable job"))
            return True
        time.sleep(0.1)
    tell(
        Step(
            Outcome.TROUBLE,
            f"no event from Label Studio reached the service at {wanted.url}, though it answers from here. {CURE}. "
            "If Label Studio runs in a container or on another machine, NEGATIVES_PUBLIC_URL must be an address that "
            "works from there; and this command must see the service's database (NEGATIVES_DATABASE_URL)",
        )
    )
    return False


def _added(xml: str, connected: str) -> list[str]:
    """Our controls that connecting has brought."""
    before, after = read_labeling(xml), read_labeling(connected)
    shapes = [name for name in ROI_SHAPES.values() if name in after.rois - before.rois]
    return [*dict.fromkeys((*shapes, *before.missing))]


def _other_defaults(xml: str, rules: Rules) -> str:
    """Where the configuration's defaults, which go first, are others than the settings'."""
    defaults = read_labeling(xml).defaults
    others = [
        f"{name} {value:g}" for name, value in defaults.items() if name != "round" and value != getattr(rules, name)
    ]
    return f"; its defaults go before the settings: {', '.join(others)}" if others else ""


def _register(project_id: int, studio: LabelStudioClient, wanted: Subscription) -> Step:
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
