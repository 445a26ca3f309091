"""What a review queue should hold for one source task, as a difference to what it holds. Pure.

Nothing is pulled from under a reviewer: what somebody has touched stays as it is, what nobody has touched is changed in
place, and what has become needless is taken out of the stream first. What nobody has touched is deleted when its source
is looked at a day later, because Label Studio tells nobody that somebody has a task open, and refuses what is submitted
to one that is gone.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from service.domain.geometry import Box
from service.domain.model import Decision, Patch, QueueLayout, QueueTask, State, Verdict, Vote

KEPT = timedelta(days=1)
"""How long a task that is no longer needed stays, out of the stream: nobody has it open for so long."""


@dataclass(frozen=True, slots=True)
class QueueChange:
    """What to do: tasks to add, each with the patches that it shows; tasks that shall show other patches; ids of tasks
    to take out of the stream (`retire`) and to delete (`drop`).
    """

    add: tuple[tuple[Patch, ...], ...] = ()
    show: tuple[tuple[QueueTask, tuple[Patch, ...]], ...] = ()
    retire: tuple[int, ...] = ()
    drop: tuple[int, ...] = ()


def plan_queue(
    decisions: Iterable[Decision],
    there: Sequence[QueueTask],
    layout: QueueLayout,
    overlap: int,
    at: datetime,
    image: str = "",
) -> QueueChange:
    """The difference for one source task.

    `there` are the queue's tasks for it, `overlap` is how many people are asked, `at` is the moment, `image` a digest
    of the reference of the source's image.

    Every pending patch that fewer people have judged is shown by one task, where it lies now. It is not shown again
    when those who answered don't count: they would only get it once more. Applied, there is no difference left.
    """
    wanted = {one.patch.id: one.patch for one in decisions if _wants_review(one, overlap)}
    free: list[QueueTask] = []
    retire: list[int] = []
    for task in sorted(there, key=lambda task: (not task.is_open, task.id)):
        is_current = task.image == image
        here = [region_id for region_id, box in task.offers.items() if is_current and _lies(wanted, region_id, box)]
        if task.is_touched and (task.is_open or task.reviews):
            # Who has answered it says nothing new; who is still to be asked is asked there.
            for region_id in here:
                wanted.pop(region_id)
            if task.is_open and not here:
                retire.append(task.id)
        elif task.is_open and is_current and (layout is QueueLayout.PATCH or task.prediction is not None):
            free.append(task)
        elif task.is_open:  # it shows another image, or somebody deleted what it showed
            retire.append(task.id)
    drop = tuple(task.id for task in there if not (task.is_open or task.is_touched) and task.updated_at + KEPT < at)
    if layout is QueueLayout.PATCH:
        for task in free:
            shown = next(iter(task.offers.items()), None)
            if shown is None or not _lies(wanted, *shown):
                retire.append(task.id)
            else:
                wanted.pop(shown[0])
        return QueueChange(tuple((patch,) for patch in wanted.values()), retire=tuple(retire), drop=drop)
    patches = tuple(wanted.values())
    kept = free[:1] if patches else []
    retire += [task.id for task in free if task not in kept]
    add = (patches,) if patches and not kept else ()
    return QueueChange(add, tuple((task, patches) for task in kept), tuple(retire), drop)


def _lies(wanted: Mapping[str, Patch], region_id: str, box: Box) -> bool:
    """Whether this patch is wanted, and where it is shown."""
    return region_id in wanted and wanted[region_id].box == box


def _wants_review(decision: Decision, overlap: int) -> bool:
    """Undecided, with somebody left to be asked: where people disagree, they settle it themselves, not the queue."""
    return decision.state is State.PENDING and len(counting(decision)) < overlap


def counting(decision: Decision) -> tuple[Vote, ...]:
    """The votes that hold for the patch where it lies now."""
    box = decision.patch.box
    return tuple(
        vote for vote in decision.votes if vote.counts and (vote.verdict is not Verdict.ACCEPTED or vote.box == box)
    )
