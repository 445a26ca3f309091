"""What a review queue's project says: its labeling configuration, what its tasks hold, what people said there. Pure.

The queue's own webhook names the source project in its address, so one list of webhooks tells all queues, and each
event tells where it belongs.
"""

from base64 import urlsafe_b64encode
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from service.domain.geometry import Box
from service.domain.model import (
    MODEL_VERSION,
    Patch,
    Proposal,
    Queue,
    QueueLayout,
    QueueTask,
    Review,
    RoiOutcome,
    Task,
)
from service.errors import PayloadError
from service.label_studio.labeling import (
    REASONS,
    REJECTED,
    ROI_SHAPES,
    UNSURE,
    VERDICTS,
    hidden_controls,
    read_labeling,
    verdict_row,
)
from service.label_studio.payloads import (
    UNREADABLE,
    Json,
    mapping,
    patch_meta,
    patch_result,
    problem_of,
    read_moment,
    read_provenance,
    read_task,
    read_user,
    roi_result,
)
from service.raster import holds

EVENTS_PATH = "/webhooks/label-studio"
"""Where this service takes Label Studio's events."""
REVIEWS, LAYOUT = "reviews", "layout"
"""What the webhook's address says of a queue."""
VERDICT = "verdict"
"""The choices on a single patch."""
ACCEPTED = "accepted"
KEYS = {ACCEPTED: "y", **REASONS, REJECTED: "n", UNSURE: "s"}
SOURCE_PROJECT, SOURCE_TASK, SOURCE_IMAGE = "source_project", "source_task", "source_image"
LINK, THE_PATCH = "source_link", "patch"  # $source would be the whole task, to Label Studio
"""What a queue's task holds beside its image."""


@dataclass(frozen=True, slots=True)
class Shown:
    """What a task of a queue shows: patches of a source task; of one patch alone its picture, too, as a JPEG file."""

    task: Task
    patches: Sequence[Patch]
    picture: bytes = b""


def queue_url(webhook_url: str, source: int, layout: QueueLayout) -> str:
    """What the queue's webhook calls."""
    return f"{webhook_url}?{urlencode({REVIEWS: source, LAYOUT: layout.value})}"


def queue_of(project_id: int | None, url: str) -> Queue | None:
    """The queue that a webhook of this project stands for; None for any other webhook."""
    parts = urlsplit(url)
    if not parts.path.endswith(EVENTS_PATH):
        return None
    asked = parse_qs(parts.query)
    try:
        source, layout = int(asked[REVIEWS][0]), QueueLayout(asked[LAYOUT][0])
    except (LookupError, ValueError):
        return None
    return None if project_id is None else Queue(project_id, source, layout)


MARKER = "<!-- label-studio-negatives: review of project "


def marker(source: int, layout: QueueLayout) -> str:
    """By what a queue is known where its webhook is gone: it stands in the labeling configuration."""
    return f"{MARKER}{source}, one {layout} per task -->"


def is_queue(label_config: str) -> bool:
    """Whether this is the labeling configuration of a queue."""
    return MARKER in label_config


def queue_config(source: int, layout: QueueLayout, rois: Iterable[str] = ()) -> str:
    """The labeling configuration of a queue; `rois` are the controls that the source project draws ROIs with."""
    shown = f'<Markdown value="${LINK}"/>'
    if layout is QueueLayout.PROPOSAL:
        image = '<Image name="image" value="$image"/>'
        controls = hidden_controls("image", rois)
        shown += "\n" + "\n".join(verdict_row("image"))
    else:
        image = '<Image name="image" value="$image" zoomControl="false" rotateControl="false"/>'
        choices = "".join(f'<Choice value="{said}" hotkey="{key}"/>' for said, key in KEYS.items())
        controls = [
            f'    <Choices name="{VERDICT}" toName="image" choice="single" showInline="true" required="true">'
            f"{choices}</Choices>"
        ]
    lines = "\n".join(controls)
    return (
        f"<View>\n  {marker(source, layout)}\n  <Style>{STYLE}  </Style>\n"
        f'  <View className="negatives-review">{shown}</View>\n  {image}\n'
        f'  <View className="negatives-review">\n{lines}\n  </View>\n</View>\n'
    )


STYLE = """
    .negatives-review, .negatives-row { display: flex; flex-wrap: wrap; align-items: center; gap: 2px 16px; }
    .negatives-review { min-height: 32px; }
    .negatives-review h4 { font-size: 13px !important; }
    .negatives-review h4, .negatives-review div { margin-top: 0 !important; margin-bottom: 0 !important; }
    .negatives-hidden { display: none; }
"""

LABELINGS = {layout: read_labeling(queue_config(0, layout, ROI_SHAPES.values())) for layout in QueueLayout}
"""What a queue's configuration says to us: we write it, so nobody has to be asked."""

INSTRUCTIONS = {
    QueueLayout.PROPOSAL: (
        "<h3>Review of background patches</h3><b>Is there really nothing in each magenta patch?</b><br>"
        "All good: <b>Ctrl+Enter</b> submits and brings the next picture.<br>"
        "A bad patch: click it and press <b>Backspace</b>; or a key for why: "
        + ", ".join(f"<b>{key.upper()}</b> {said}" for said, key in VERDICTS.items() if key)
        + ".<br>Can't tell at all: <b>Ctrl+Space</b> skips, and says nothing."
    ),
    QueueLayout.PATCH: (
        "<h3>Review of background patches</h3><b>Is there really nothing inside the frame?</b> What is around it is "
        "only shown to judge by.<br>One key, then <b>Ctrl+Enter</b>: "
        + ", ".join(f"<b>{key.upper()}</b> {said}" for said, key in KEYS.items())
        + ".<br><b>Ctrl+Space</b> skips, and says nothing."
    ),
}
"""What reviewers read behind the button "Instructions"."""


def queue_image(task: Task, studio_url: str) -> str:
    """The source task's image as a task of another project may name it.

    A cloud link goes through the source project, whose storage opens it: the queue needs none.
    """
    prefix = urlsplit(studio_url).path
    if task.is_in_cloud:
        link = urlsafe_b64encode(task.image.encode()).decode()
        return f"{prefix}/projects/{task.project_id}/resolve/?fileuri={quote(link)}"
    return task.image


def write_queue_task(shown: Shown, layout: QueueLayout, image: str, name: str, studio_url: str) -> dict[str, Any]:
    """A task for a queue, as Label Studio imports it: `image` is its address there, `name` the source's for people."""
    task, patches = shown.task, shown.patches
    address = f"{urlsplit(studio_url).path}/projects/{task.project_id}/data?task={task.id}"
    data: dict[str, Any] = {
        "image": image,
        LINK: f'<a href="{address}" target="_blank" rel="noopener">{_plain(name)} (task {task.id})</a>',
        SOURCE_PROJECT: task.project_id,
        SOURCE_TASK: task.id,
        SOURCE_IMAGE: task.image_digest,
    }
    if layout is QueueLayout.PROPOSAL:
        result = write_queue_result(task, patches)
        return {"data": data, "predictions": [{"model_version": MODEL_VERSION, "result": result}]}
    (patch,) = patches
    noted = {"id": patch.id, "box": list(patch.box.as_xywh()), **patch_meta(patch)["negatives"]}
    return {"data": {**data, THE_PATCH: noted}}


def _plain(name: str) -> str:
    """A name as it reads in Markdown that may hold HTML, whatever signs it has."""
    return "".join(sign if sign.isalnum() or sign in " ." else f"&#{ord(sign)};" for sign in name)


def write_queue_result(task: Task, patches: Sequence[Patch]) -> list[dict[str, Any]]:
    """The patches on the whole picture, with the ROIs that they lie in, as the result of a prediction."""
    labeling = LABELINGS[QueueLayout.PROPOSAL]
    if task.size is None:
        raise ValueError(f"the size of task {task.id} is not known")
    width, height = task.size
    rois = [roi for roi in task.rois if any(holds(roi.outline, patch.box) for patch in patches)]
    outcomes = [RoiOutcome(roi, tuple(patches) if number == 0 else ()) for number, roi in enumerate(rois)]
    proposal = Proposal(task.id, width, height, tuple(outcomes), not task.exclusions)
    results = []
    for patch in patches:
        region = patch_result(patch, (width, height), labeling)
        region["meta"]["negatives"]["shown"] = [one.id for one in patches]
        results.append(region)
    # Label Studio draws the first on top: an ROI there would get every click.
    return results + [roi_result(outcome, proposal, labeling) for outcome in outcomes]


def read_queue_task(payload: Json, queue: Queue) -> QueueTask | None:
    """A task of a queue as the task list returns it; None for one that we didn't put there.

    What can't be read in it becomes its `refusal`. Raises `PayloadError` for what is no task.
    """
    data = payload.get("data")
    try:
        if not isinstance(data, Mapping) or int(data[SOURCE_PROJECT]) != queue.source:
            return None
        source, patch = int(data[SOURCE_TASK]), _the_patch(data) if queue.layout is QueueLayout.PATCH else None
    except UNREADABLE:
        return None
    labeling, problem = LABELINGS[QueueLayout.PROPOSAL], None
    try:
        task = read_task(payload, labeling)
    except PayloadError as error:  # what can't be read may have been a rejection
        problem = str(error)
        task = read_task({**payload, "annotations": (), "predictions": ()}, labeling)
    standing = task.standing[0] if task.standing else None
    reviews = list(task.reviews)
    if patch is not None and problem is None:
        problem = problem_of(lambda: reviews.extend(_single(payload, patch)), "a verdict")
    return QueueTask(
        id=task.id,
        queue=queue,
        source=source,
        offers={one.id: one.box for one in ((patch,) if patch else standing.patches if standing else ())},
        image=str(data.get(SOURCE_IMAGE) or ""),
        is_open=not payload.get("is_labeled"),
        is_touched=bool(payload.get("annotations") or payload.get("drafts") or payload.get("draft_exists")),
        updated_at=task.updated_at,
        prediction=standing.id if standing else None,
        content=standing.content if standing else "",
        reviews=tuple(reviews),
        size=task.size,
        refusal=problem or task.refusal,
    )


def _the_patch(data: Json) -> Patch:
    noted = mapping(data[THE_PATCH], "patch")
    return Patch(str(noted["id"]), Box.sized(*map(int, noted["box"])), read_provenance(noted))


def _single(payload: Json, patch: Patch) -> Iterator[Review]:
    """What people said of the one patch that a task shows."""
    for annotation in payload.get("annotations") or ():
        said = [str(item["value"]["choices"][0]) for item in annotation["result"] if item.get("from_name") == VERDICT]
        if annotation.get("was_cancelled") or not said:
            continue
        is_against = said[0] not in (ACCEPTED, UNSURE)
        yield Review(
            annotation_id=int(annotation["id"]),
            reviewer=read_user(annotation.get("updated_by")) or read_user(annotation.get("completed_by")),
            at=read_moment(annotation["updated_at"]),
            held=(patch,),
            shown=frozenset((patch.id,)),
            reasons={patch.id: "" if said[0] == REJECTED else said[0]} if is_against else {},
            unsure=frozenset((patch.id,) if said[0] == UNSURE else ()),
        )
