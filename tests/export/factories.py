"""Small values for the tests of exporting."""

from datetime import UTC, datetime

import numpy as np
from PIL import Image

from service.domain.geometry import Box
from service.domain.model import Decision, Patch, Rules, State, Task, Verdict, Vote
from service.export.plan import Existing, Plan, SourcePlan, plan_export
from service.export.repository import Layout, read_existing
from service.export.yolo import write_source
from tests.factories import NOON, patch, roi
from tests.factories import task as any_task

LATER = datetime(2026, 4, 2, 8, 30, tzinfo=UTC)
SIZE = (400, 300)
BOXES = (Box(10, 20, 60, 80), Box(100, 100, 164, 148), Box(200, 40, 330, 170), Box(300, 200, 390, 290))


def task(task_id: int = 7, *, project_id: int = 3, image: str = "/data/upload/3/1a2b3c4d-field.jpg") -> Task:
    """A task of 400 × 300 px."""
    one = any_task(task_id=task_id, project_id=project_id, size=SIZE)
    return Task(id=one.id, project_id=one.project_id, image=image, updated_at=NOON, size=SIZE)


def offered(number: int = 0, task_id: int = 7) -> Patch:
    """The n-th of a few patches, from an ROI of 390 × 290 px at (5, 5)."""
    return patch(
        BOXES[number], of=roi(5, 5, 390, 290), rules=Rules(patches=4, min_size=40, max_size=200), task_id=task_id
    )


def decision(one: Patch | None = None, state: State = State.ACCEPTED, note: str | None = None) -> Decision:
    """What people decided of a patch."""
    placed = one or offered()
    said = {State.REJECTED: Verdict.REJECTED, State.UNSURE: Verdict.UNSURE}.get(state, Verdict.ACCEPTED)
    votes = tuple(Vote(by, said, NOON, 10 + number, placed.box) for number, by in enumerate((1, 4), 1))
    return Decision(placed, state, votes, note)


def planned(
    *decisions: Decision, of: Task | None = None, name: str = "field.jpg", there: Existing | None = None
) -> Plan:
    """The plan for one task."""
    return plan_export([(of or task(), name, decisions)], there or Existing())


def picture(size: tuple[int, int] = SIZE) -> Image.Image:
    """A picture in which every region looks different: red grows to the right, green downward."""
    width, height = size
    rows, columns = np.mgrid[:height, :width]
    return Image.fromarray(
        np.stack([columns * 255 // width, rows * 255 // height, np.full_like(rows, 90)], axis=2).astype(np.uint8)
    )


def export(
    layout: Layout,
    *decided: tuple[Task, str, tuple[Decision, ...]],
    image: Image.Image | None = None,
    object_name: str = "cells",
    at: datetime = LATER,
) -> Plan:
    """Plan and write, as the use case does."""
    plan = plan_export(decided, read_existing(layout))
    for source in plan.sources:
        if source.new:
            write_source(source, image or picture(), layout, object_name=object_name, at=at)
    return plan


def one_source(plan: Plan) -> SourcePlan:
    """The only source of a plan."""
    (source,) = plan.sources
    return source
