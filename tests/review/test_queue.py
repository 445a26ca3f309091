"""What a queue should hold: laws for every state that it can be in, and the cases that a person would think of."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.geometry import Box
from service.domain.model import Decision, Patch, Queue, QueueLayout, QueueTask, State, Verdict, Vote
from service.review.queue import KEPT, QueueChange, plan_queue
from tests.factories import NOON, TASK_ID, moved, review

PROPOSAL, PATCH = QueueLayout.PROPOSAL, QueueLayout.PATCH
POOL = tuple(Patch(f"neg_{number}", Box.sized(100 * number, 0, 50, 50)) for number in range(6))
ONE, TWO = POOL[:2]
NOW, BEFORE = "its image", "the image that it had before"
A_SECOND = timedelta(seconds=1)
NEVER_MIND = NOON - KEPT - A_SECOND
"""Long enough ago for a needless task to go."""


def elsewhere(one: Patch) -> Patch:
    """Where somebody may have moved it."""
    return moved(one, Box.sized(one.box.left, 300, 50, 50))


def vote(number: int, verdict: Verdict = Verdict.ACCEPTED, box: Box = ONE.box, *, counts: bool = True) -> Vote:
    """Somebody's word."""
    return Vote(number, verdict, NOON, 100 + number, box, counts=counts)


def pending(one: Patch, people: int = 0) -> Decision:
    """A patch that so many have accepted, but not enough."""
    return Decision(one, State.PENDING, tuple(vote(number) for number in range(people)))


def queue_task(
    task_id: int,
    *shown: Patch,
    layout: QueueLayout = PROPOSAL,
    is_open: bool = True,
    is_touched: bool = False,
    at: datetime = NOON,
    image: str = NOW,
    is_answered: bool = False,
) -> QueueTask:
    """A task of the queue; somebody answered it, or only began or skipped it."""
    return QueueTask(
        task_id,
        Queue(9, 3, layout),
        TASK_ID,
        {one.id: one.box for one in shown},
        is_open,
        is_touched,
        at,
        prediction=task_id,
        image=image,
        reviews=(review(shown, shown),) if is_answered else (),
    )


def is_taken(task: QueueTask) -> bool:
    """Whether it stands for its patches: it is being reviewed, or was."""
    return task.is_touched and (task.is_open or bool(task.reviews))


@dataclass(frozen=True)
class Scene:
    """What has been decided, and what the queue holds."""

    decisions: tuple[Decision, ...]
    there: tuple[QueueTask, ...]
    layout: QueueLayout
    overlap: int

    def plan(self, at: datetime = NOON) -> QueueChange:
        """The difference."""
        return plan_queue(self.decisions, self.there, self.layout, self.overlap, at, NOW)

    @property
    def wanted(self) -> dict[str, Box]:
        """What waits for somebody's verdict, and where it lies."""
        return {
            one.patch.id: one.patch.box
            for one in self.decisions
            if one.state is State.PENDING
            and sum(
                said.counts and (said.verdict is not Verdict.ACCEPTED or said.box == one.patch.box)
                for said in one.votes
            )
            < self.overlap
        }

    def shown_by(self, task: QueueTask) -> set[str]:
        """What of that it shows where it lies now."""
        return {key for key, box in self.wanted.items() if task.image == NOW and task.offers.get(key) == box}

    def applied(self, at: datetime = NOON) -> "Scene":
        """What the queue holds once the difference was made."""
        change, left = self.plan(at), {task.id: task for task in self.there}
        for task, patches in change.show:
            left[task.id] = replace(task, offers={one.id: one.box for one in patches}, updated_at=at)
        for task_id in change.retire:
            left[task_id] = replace(left[task_id], is_open=False, updated_at=at)
        for task_id in change.drop:
            del left[task_id]
        numbers = count(1000)
        new = (queue_task(next(numbers), *patches, layout=self.layout, at=at) for patches in change.add)
        return replace(self, there=(*left.values(), *new))


patches = st.sampled_from([*POOL, *map(elsewhere, POOL)])
decisions = st.lists(
    st.builds(
        lambda one, state, said: Decision(
            one,
            state,
            tuple(
                vote(number, verdict, box or one.box, counts=counts)
                for number, (verdict, box, counts) in enumerate(said)
            ),
        ),
        patches,
        st.sampled_from([State.PENDING, State.PENDING, *State]),
        st.lists(
            st.tuples(st.sampled_from(Verdict), st.sampled_from([None, Box(0, 0, 9, 9)]), st.booleans()), max_size=3
        ),
    ),
    unique_by=lambda one: one.patch.id,
)


@st.composite
def scenes(draw: st.DrawFn) -> Scene:
    """Any state that a queue can be in, whoever has meddled with it."""
    layout = draw(st.sampled_from(QueueLayout))
    fewest, most = (1, 1) if layout is PATCH else (0, len(POOL))
    there = [
        queue_task(
            number,
            *draw(st.lists(patches, min_size=fewest, max_size=most, unique_by=lambda one: one.id)),
            layout=layout,
            is_open=draw(st.booleans()),
            is_touched=draw(st.booleans()),
            is_answered=draw(st.booleans()),
            at=NOON - draw(st.integers(0, 50)) * timedelta(hours=1),
            image=draw(st.sampled_from([NOW, NOW, BEFORE])),
        )
        for number in draw(st.lists(st.integers(1, 99), unique=True, max_size=7))
    ]
    return Scene(tuple(draw(decisions)), tuple(there), layout, draw(st.integers(1, 3)))


# ---------------------------------------------------------------- laws


@given(scenes())
def test_applied_there_is_no_difference_left(scene: Scene) -> None:
    """Run twice, it ends in the same state."""
    after = scene.applied()
    change = after.plan()
    shown = [(task.offers, {one.id: one.box for one in patches}) for task, patches in change.show]
    assert (change.add, change.retire, change.drop) == ((), (), ())
    assert [before for before, _ in shown] == [wanted for _, wanted in shown]


@given(scenes())
def test_nothing_is_pulled_from_under_a_reviewer(scene: Scene) -> None:
    """What somebody has touched is never shown otherwise or deleted."""
    change = scene.plan()
    changed = {task.id for task, _ in change.show} | {*change.drop}
    assert not changed & {task.id for task in scene.there if task.is_touched}


@given(scenes())
def test_what_is_touched_is_given_out_as_long_as_anything_in_it_waits(scene: Scene) -> None:
    """Where another touched task shows that, too, the older one stays."""
    touched = [task for task in scene.there if task.is_touched]
    retired = set(scene.plan().retire)
    for task in touched:
        if task.is_open:
            older = {key for other in touched if other.is_open and other.id < task.id for key in scene.shown_by(other)}
            assert (task.id in retired) == (scene.shown_by(task) <= older)


@given(scenes())
def test_every_patch_that_waits_is_given_out_once(scene: Scene) -> None:
    """By exactly one task that nobody has touched, where it lies; unless a touched one shows it, or showed it."""
    after = scene.applied()
    for region_id in scene.wanted:
        showing = [task for task in after.there if region_id in after.shown_by(task)]
        untouched = [task for task in showing if task.is_open and not task.is_touched]
        assert len(untouched) == (0 if any(map(is_taken, showing)) else 1)


@given(scenes())
def test_nothing_is_asked_in_vain(scene: Scene) -> None:
    """No task that nobody has touched gives out a patch that is decided, lies elsewhere now, is of another image, or
    that a touched one shows already.
    """
    after = scene.applied()
    touched = {region_id for task in after.there if is_taken(task) for region_id in after.shown_by(task)}
    for task in after.there:
        if task.is_open and not task.is_touched:
            assert task.offers
            assert task.offers.keys() == after.shown_by(task) - touched


@given(scenes())
def test_a_task_shows_as_much_as_its_layout_says(scene: Scene) -> None:
    """Of single patches each its own, of pictures one with all; and none shows a patch twice."""
    change = scene.plan()
    shown = [*change.add, *(patches for _, patches in change.show)]
    assert all(len({one.id for one in patches}) == len(patches) > 0 for patches in shown)
    if scene.layout is PATCH:
        assert {len(patches) for patches in shown} <= {1}
        assert change.show == ()
    else:
        assert len(shown) <= 1


@given(scenes())
def test_only_what_was_long_out_of_the_stream_is_deleted(scene: Scene) -> None:
    """Neither what is given out nor what somebody has touched, nor what may still be open in a browser."""
    long_gone = {
        task.id for task in scene.there if not task.is_open and not task.is_touched and NOON - task.updated_at > KEPT
    }
    assert set(scene.plan().drop) == long_gone


@given(scenes(), st.randoms(use_true_random=False))
def test_the_order_in_which_tasks_are_listed_does_not_matter(scene: Scene, chance: object) -> None:
    """Label Studio's list has no order that we could rely on."""
    shuffled = list(scene.there)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = scene.plan(), replace(scene, there=tuple(shuffled)).plan()
    assert (one.add, one.show, one.retire, set(one.drop)) == (other.add, other.show, other.retire, set(other.drop))


# ---------------------------------------------------------------- cases


def plan(
    waiting: Iterable[Decision], there: Sequence[QueueTask] = (), layout: QueueLayout = PROPOSAL, overlap: int = 1
) -> QueueChange:
    """The difference at noon."""
    return plan_queue(waiting, there, layout, overlap, NOON, NOW)


def test_a_picture_is_one_task_with_all_that_waits() -> None:
    """In the order of the decisions."""
    assert plan([pending(TWO), pending(ONE)]) == QueueChange(add=((TWO, ONE),))


def test_single_patches_are_a_task_each() -> None:
    """In the order of the decisions."""
    assert plan([pending(TWO), pending(ONE)], layout=PATCH) == QueueChange(add=((TWO,), (ONE,)))


def test_nothing_waits_nothing_is_there() -> None:
    """No task for a picture without patches."""
    assert plan([]) == QueueChange()


@pytest.mark.parametrize("state", [state for state in State if state is not State.PENDING])
@pytest.mark.parametrize("layout", QueueLayout)
def test_what_is_decided_is_taken_out_of_the_stream(state: State, layout: QueueLayout) -> None:
    """Accepted, rejected, unsure or stale: nobody has to look any more."""
    there = queue_task(4, ONE, layout=layout)
    assert plan([Decision(ONE, state)], [there], layout) == QueueChange(retire=(4,))


def test_a_new_patch_comes_into_the_task_that_nobody_has_begun() -> None:
    """In place; nobody has to open the picture twice."""
    there = queue_task(4, ONE)
    assert plan([pending(ONE), pending(TWO)], [there]) == QueueChange(show=((there, (ONE, TWO)),))


def test_a_new_patch_beside_a_task_that_somebody_has_begun_is_a_task_of_its_own() -> None:
    """What they see stays."""
    begun = queue_task(4, ONE, is_touched=True)
    assert plan([pending(ONE), pending(TWO)], [begun]) == QueueChange(add=((TWO,),))


def test_of_several_tasks_for_a_picture_the_oldest_stays() -> None:
    """The others are taken out of the stream."""
    there = [queue_task(number, ONE) for number in (6, 4, 5)]
    change = plan([pending(ONE)], there)
    assert ([task.id for task, _ in change.show], change.retire) == ([4], (5, 6))


def test_of_two_tasks_for_one_patch_the_older_stays() -> None:
    """One patch at a time, too."""
    there = [queue_task(number, ONE, layout=PATCH) for number in (6, 4)]
    assert plan([pending(ONE)], there, PATCH) == QueueChange(retire=(6,))


@pytest.mark.parametrize("layout", QueueLayout)
def test_who_has_answered_is_not_asked_the_same_again(layout: QueueLayout) -> None:
    """Whose approval doesn't count would only get it once more, and once more."""
    done = queue_task(4, ONE, layout=layout, is_open=False, is_touched=True, is_answered=True)
    drawn = Decision(ONE, State.PENDING, (vote(1, counts=False),))
    assert plan([drawn], [done], layout) == QueueChange()


@pytest.mark.parametrize("layout", QueueLayout)
def test_what_was_only_begun_is_asked_for_again(layout: QueueLayout) -> None:
    """It was taken out of the stream with nothing said; now its patch waits once more."""
    begun = queue_task(4, ONE, layout=layout, is_open=False, is_touched=True)
    assert plan([pending(ONE)], [begun], layout) == QueueChange(add=((ONE,),))


@pytest.mark.parametrize("layout", QueueLayout)
def test_who_is_still_to_be_asked_is_asked(layout: QueueLayout) -> None:
    """An older task that was answered doesn't take a newer one out of the stream."""
    older = queue_task(4, ONE, layout=layout, is_open=False, is_touched=True, is_answered=True)
    newer = queue_task(5, ONE, layout=layout, is_touched=True, is_answered=True)
    assert plan([pending(ONE)], [older, newer], layout, overlap=2) == QueueChange()


@pytest.mark.parametrize("layout", QueueLayout)
@pytest.mark.parametrize("is_open", [True, False])
def test_a_patch_that_was_moved_is_asked_for_where_it_lies_now(layout: QueueLayout, is_open: bool) -> None:
    """Who was asked before saw other pixels."""
    before = queue_task(4, ONE, layout=layout, is_open=is_open, is_touched=True)
    there = elsewhere(ONE)
    assert plan([pending(there)], [before], layout) == QueueChange(add=((there,),), retire=(4,) if is_open else ())


def test_where_a_patch_was_moved_a_task_that_nobody_has_begun_shows_it_there() -> None:
    """The picture in place; a single patch's picture is cut anew."""
    there, task, single = elsewhere(ONE), queue_task(4, ONE), queue_task(4, ONE, layout=PATCH)
    assert plan([pending(there)], [task]) == QueueChange(show=((task, (there,)),))
    assert plan([pending(there)], [single], PATCH) == QueueChange(add=((there,),), retire=(4,))


@pytest.mark.parametrize("layout", QueueLayout)
@pytest.mark.parametrize("is_touched", [True, False])
def test_of_another_image_nothing_is_given_out(layout: QueueLayout, is_touched: bool) -> None:
    """The source's was replaced: a task that shows it is made anew."""
    before = queue_task(4, ONE, layout=layout, is_touched=is_touched, image=BEFORE)
    assert plan([pending(ONE)], [before], layout) == QueueChange(add=((ONE,),), retire=(4,))


@pytest.mark.parametrize("layout", QueueLayout)
def test_what_somebody_has_begun_is_taken_out_when_nothing_in_it_waits(layout: QueueLayout) -> None:
    """Nobody else gets it; whoever has it open can submit all the same."""
    begun = queue_task(4, ONE, layout=layout, is_touched=True)
    assert plan([Decision(ONE, State.ACCEPTED)], [begun], layout) == QueueChange(retire=(4,))


def test_who_accepted_it_elsewhere_is_not_among_those_who_were_asked() -> None:
    """They approved other pixels; who rejected it did so wherever it lies."""
    there = elsewhere(ONE)
    assert plan([Decision(there, State.PENDING, (vote(1), vote(2, box=there.box)))], overlap=2).add == ((there,),)
    assert plan([Decision(there, State.PENDING, (vote(1, Verdict.REJECTED),))]).add == ()


@pytest.mark.parametrize(("people", "overlap", "is_asked"), [(0, 1, True), (1, 1, False), (1, 2, True), (2, 2, False)])
def test_no_more_people_are_asked_than_the_agreement_needs(people: int, overlap: int, is_asked: bool) -> None:
    """Where they disagree, they settle it themselves."""
    assert bool(plan([pending(ONE, people)], overlap=overlap).add) == is_asked


def test_who_drew_is_not_among_those_who_were_asked() -> None:
    """Where their approval doesn't count, another person's is still needed."""
    drawn = Decision(ONE, State.PENDING, (vote(1, counts=False),))
    assert plan([drawn]).add == ((ONE,),)


@pytest.mark.parametrize(("at", "is_dropped"), [(NOON - KEPT, False), (NEVER_MIND, True)])
def test_what_is_needless_stays_for_a_day(at: datetime, is_dropped: bool) -> None:
    """Somebody may have it open, and Label Studio refuses what is submitted to a task that is gone."""
    assert timedelta(days=1) == KEPT
    assert plan([], [queue_task(4, ONE, is_open=False, at=at)]).drop == ((4,) if is_dropped else ())


@pytest.mark.parametrize("layout", QueueLayout)
def test_what_waits_again_is_a_new_task(layout: QueueLayout) -> None:
    """What was taken out of the stream stays out of it."""
    retired = queue_task(4, ONE, layout=layout, is_open=False)
    assert plan([pending(ONE)], [retired], layout) == QueueChange(add=((ONE,),))


def test_a_task_without_its_prediction_shows_nothing() -> None:
    """Somebody deleted it; it is replaced."""
    empty = replace(queue_task(4), prediction=None)
    assert plan([pending(ONE)], [empty]) == QueueChange(add=((ONE,),), retire=(4,))
