"""Live suggestions: the service as the project's interactive ML backend, and a check from Label Studio's side.

https://labelstud.io/guide/ml — a browser asks the first interactive ML backend of a project, and no other.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from service.domain.model import MODEL_VERSION
from service.errors import LabelStudioError
from service.label_studio.client import LabelStudioClient, MlBackend
from service.label_studio.steps import CURE, Outcome, Step

ELSEWHERE = (
    "If Label Studio runs in a container or on another machine, NEGATIVES_PUBLIC_URL must be an address that works "
    "from there"
)


@dataclass(frozen=True, slots=True)
class Live:
    """The ML backend as it should be: what Label Studio calls, how it signs in, and whether browsers shall ask it."""

    url: str
    user: str
    password: str = field(repr=False)
    wanted: bool = True


def set_up_live(project_id: int, *, studio: LabelStudioClient, live: Live) -> Iterator[Step]:
    """Register the service, or set right what is there, and have Label Studio try it; each step as it ends.

    Where live suggestions aren't wanted, what is there of ours is no longer interactive. Never raises: an annotator
    can do without.
    """
    try:
        yield from _steps(project_id, studio, live)
    except LabelStudioError as error:
        yield Step(Outcome.TROUBLE, _explained(str(error), project_id, live))


def _steps(project_id: int, studio: LabelStudioClient, live: Live) -> Iterator[Step]:
    backends = studio.ml_backends(project_id)
    ours = _ours(backends, live)
    if not live.wanted:
        yield _switched_off(project_id, studio, live, ours)
        return
    if (other := _other_first(backends, live)) is not None:
        yield Step(
            Outcome.TROUBLE,
            f"live suggestions come from another ML backend, {other.title!r} at {other.url}: browsers ask only the "
            "first interactive one. Switch off its interactive preannotations (the project's Settings, Model), then "
            f"run setup again; or connect without: {_without(project_id)}",
        )
        return
    if ours is None:
        registered = studio.create_ml_backend(project_id, live.url, live.user, live.password)
        yield Step(Outcome.CHANGED, f"registered as interactive ML backend at {live.url}")
    elif _is_right(ours, live):
        registered = ours
        yield Step(Outcome.FINE, f"registered as interactive ML backend at {live.url}")
    else:
        registered = studio.update_ml_backend(ours, project_id, live.url, live.user, live.password)
        moved = f" (it was at {ours.url} until now)" if ours.url != live.url else ""
        yield Step(Outcome.CHANGED, f"set the interactive ML backend right: {live.url}{moved}")
    yield from _one_webhook(project_id, studio, {live.url, ours.url if ours else live.url})
    yield _tried(project_id, studio, live, registered)


def other_first(project_id: int, *, studio: LabelStudioClient, live: Live) -> MlBackend | None:
    """Whom the project's browsers ask instead of us, if anybody: then nothing of the project is changed for live.

    Never raises; `set_up_live` tells what is in the way.
    """
    try:
        return _other_first(studio.ml_backends(project_id), live)
    except LabelStudioError:
        return None


def _other_first(backends: Sequence[MlBackend], live: Live) -> MlBackend | None:
    ours = _ours(backends, live)
    first = next((backend for backend in backends if backend.is_interactive or backend is ours), None)
    return None if first is ours else first


def _ours(backends: Sequence[MlBackend], live: Live) -> MlBackend | None:
    return next((backend for backend in backends if _is_ours(backend, live)), None)


def _is_ours(backend: MlBackend, live: Live) -> bool:
    """Also one that points to where the service was before: it has our title."""
    return backend.url.rstrip("/") == live.url or backend.title == MODEL_VERSION


def _is_right(backend: MlBackend, live: Live) -> bool:
    """Its password can't be read, but with another one it wouldn't be connected."""
    return (
        backend.url == live.url
        and backend.title == MODEL_VERSION
        and backend.is_interactive
        and backend.user == live.user
        and backend.connected
    )


def _switched_off(project_id: int, studio: LabelStudioClient, live: Live, ours: MlBackend | None) -> Step:
    if ours is None or not ours.is_interactive:
        return Step(Outcome.FINE, "no live suggestions, as asked for")
    studio.update_ml_backend(ours, project_id, live.url, live.user, live.password, is_interactive=False)
    return Step(Outcome.CHANGED, "switched live suggestions off: the ML backend is no longer interactive")


def _one_webhook(project_id: int, studio: LabelStudioClient, urls: set[str]) -> Iterator[Step]:
    """Switch off the one that Label Studio makes with each ML backend: an annotator would wait for two of them."""
    surplus = {f"{url.rstrip('/')}/webhook" for url in urls}
    for hook in studio.webhooks(project_id):
        if hook.project == project_id and hook.url in surplus and hook.is_active:
            studio.switch_off_webhook(hook)
            yield Step(Outcome.CHANGED, f"switched off {hook.url}, which Label Studio adds: one webhook is enough")


def _tried(project_id: int, studio: LabelStudioClient, live: Live, registered: MlBackend) -> Step:
    task_id = studio.some_task(project_id)
    if task_id is None:
        return Step(Outcome.FINE, "Label Studio reaches it; with a task in the project, setup also tries a suggestion")
    complaint = studio.try_ml_backend(registered, task_id)
    if complaint is None:
        return Step(Outcome.FINE, "Label Studio reaches it and it answers")
    return Step(Outcome.TROUBLE, _explained(f"it says: {complaint}", project_id, live))


def _explained(said: str, project_id: int, live: Live) -> str:
    """What Label Studio said, as a cause and what to do about it, where we know it."""
    or_without = f"; or connect without live suggestions: {_without(project_id)}" if live.wanted else ""
    if "reserved network address" in said:
        return f"Label Studio refuses the ML backend's address {live.url}. {CURE}{or_without}"
    if "authentication parameters" in said or "401 Client Error" in said:
        return (
            f"what Label Studio finds at {live.url} runs with another NEGATIVES_WEBHOOK_SECRET: restart it with this "
            f"one. {ELSEWHERE}"
        )
    if "Can't connect to ML backend" in said or "Can't resolve hostname" in said:
        return f"Label Studio doesn't reach {live.url} as ML backend, though it answers from here. {ELSEWHERE}"
    if "valid ML backend" in said:
        return (
            f"what Label Studio finds at {live.url} doesn't answer as an ML backend: if it is an older version of this "
            f"service, restart it. {ELSEWHERE}"
        )
    return f"no live suggestions yet, {said}{or_without}"


def _without(project_id: int) -> str:
    return f"negatives setup --project {project_id} --no-live"
