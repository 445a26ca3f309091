"""Tasks of a review queue as Label Studio lists them."""

from collections.abc import Sequence
from typing import Any

from service.domain.geometry import Box
from service.domain.model import Patch, Provenance, QueueLayout, Rules, Task, patch_id
from service.label_studio.queue_project import Shown, write_queue_task
from tests.factories import TASK_ID, roi, task

SOURCE, QUEUE = 3, 40
"""The project whose patches are reviewed, and the one in which they are."""
STUDIO = "http://studio.internal:8080"
MOMENT = "2026-03-01T12:00:00.000000Z"
PROPOSAL, PATCH = QueueLayout.PROPOSAL, QueueLayout.PATCH
AREA = roi(100, 100, 800, 800)
ANN, BEN = 1, 2


def proposed(box: Box, task_id: int = TASK_ID) -> Patch:
    """A patch with all that the service notes of it."""
    rules = Rules(patches=2, min_size=50, max_size=300, max_overlap=0.25, margin=4, round=3, square=True, align=2)
    noted = Provenance(AREA.box, rules, {"patches": "roi"}, 2**47 + 1, "0.1.0", task().image_digest)
    return Patch(patch_id(task_id, box), box, noted)


ONE, TWO = proposed(Box.sized(200, 200, 100, 100)), proposed(Box.sized(400, 400, 100, 100))


def listed(
    layout: QueueLayout,
    *patches: Patch,
    of: Task | None = None,
    task_id: int = 500,
    annotations: Sequence[Any] = (),
    **more: Any,
) -> dict[str, Any]:
    """A task of the queue that shows these patches, with these annotations."""
    shown = Shown(of or task(AREA), patches or (ONE, TWO)[: 1 if layout is PATCH else 2])
    stored = write_queue_task(shown, layout, "/data/upload/40/x.jpg", "field.jpg", STUDIO)
    predictions = [
        one | {"id": task_id + 1000 + number, "task": task_id, "updated_at": MOMENT}
        for number, one in enumerate(stored.get("predictions", ()))
    ]
    return {
        "id": task_id,
        "project": QUEUE,
        "created_at": MOMENT,
        "updated_at": MOMENT,
        "is_labeled": False,
        "data": stored["data"],
        "predictions": predictions,
        "annotations": list(annotations),
        "drafts": [],
        "total_annotations": len(annotations),
    } | more


def submitted(result: Sequence[Any], *, by: int | None = BEN, annotation: int = 900, **more: Any) -> dict[str, Any]:
    """What somebody submitted."""
    return {"id": annotation, "completed_by": by, "updated_at": MOMENT, "result": list(result)} | more


def said(choice: str, *, by: int | None = BEN, annotation: int = 900, **more: Any) -> dict[str, Any]:
    """What somebody said of a single patch."""
    result = {
        "id": "Qw3",
        "from_name": "verdict",
        "to_name": "image",
        "type": "choices",
        "value": {"choices": [choice]},
    }
    return submitted([result], by=by, annotation=annotation, **more)
