"""Filling review queues, and writing what people say as annotations of their own: a Label Studio with memory."""

import io
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from threading import Lock
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from service.domain.geometry import Box
from service.domain.model import (
    Agreement,
    Decision,
    Patch,
    Queue,
    QueueLayout,
    QueueTask,
    Review,
    State,
    Task,
    Verdict,
    Word,
    patch_id,
    sight,
)
from service.errors import ImageError, LabelStudioError, LabelStudioUnavailable, NegativesError, SetupError
from service.label_studio.labeling import OURS, REASONS, VERDICTS, Labeling
from service.label_studio.payloads import Said, read_task, write_verdicts
from service.label_studio.queue_project import Shown
from service.review import decide
from service.review.queue import KEPT
from service.reviewing import (
    Filled,
    Given,
    QueuedStudio,
    Reviewer,
    empty_images,
    fill_queues,
    give_verdicts,
    whole_image,
)
from service.workflow import Images, TaskReader
from tests.factories import NOON, moved, patch, review, roi, task

P, QUEUE = 3, 40
LABELING = Labeling("image", "image", controls=OURS, verdicts=frozenset(VERDICTS))
AREA = roi(100, 100, 800, 800)
ANN, BEN = 1, 2
YES, NO, UNSURE = Word(Verdict.ACCEPTED), Word(Verdict.REJECTED), Word(Verdict.UNSURE)
INSIDE = Word(Verdict.REJECTED, "object inside")
SIZE = (1600, 1200)


def offered(task_id: int) -> tuple[Patch, Patch]:
    """Two patches of a task."""
    boxes = Box.sized(200, 200, 100, 100), Box.sized(400, 400, 100, 100)
    one, two = (patch(box, of=AREA, task_id=task_id) for box in boxes)
    return one, two


def source(task_id: int, *reviews: Review, **more: Any) -> Task:
    """A task with two patches on offer."""
    return replace(task(AREA, standing=offered(task_id), reviews=reviews, task_id=task_id), **more)


class Pictures:
    """Source images: grey, of the tasks' size; `broken` raise this."""

    def __init__(self, broken: Mapping[int, NegativesError] | None = None) -> None:
        self.opened: list[int] = []
        self.broken = broken or {}

    def open(self, task: Task) -> Image.Image:
        self.opened.append(task.id)
        if task.id in self.broken:
            raise self.broken[task.id]
        return Image.new("RGB", task.size or (640, 480), "#404040")


_images: type[Images] = Pictures


# ---------------------------------------------------------------- filling queues


class Queues:
    """Label Studio's queues, with memory: they hold what was added, changed, retired and deleted."""

    def __init__(self, *layouts: QueueLayout) -> None:
        self.there = [Queue(QUEUE + number, P, layout) for number, layout in enumerate(layouts)]
        self.tasks: dict[int, QueueTask] = {}
        self.shown: list[Shown] = []
        self.calls: list[str] = []
        self.now = NOON
        self.next_id = 500

    def queues(self, source: int) -> Sequence[Queue]:
        assert source == P
        return self.there

    def queued(self, queue: Queue, task_ids: Sequence[int]) -> Sequence[QueueTask]:
        return [one for one in self.tasks.values() if one.queue == queue and one.source in task_ids]

    def enqueue(self, queue: Queue, wanted: Sequence[Shown]) -> None:
        self.calls.append("enqueue")
        self.shown += wanted
        for one in wanted:
            offers, image = {shown.id: shown.box for shown in one.patches}, one.task.image_digest
            self.put(
                QueueTask(self.next_id, queue, one.task.id, offers, True, False, self.now, self.next_id, image=image)
            )
            self.next_id += 1

    def put(self, one: QueueTask) -> QueueTask:
        """Something that is there."""
        self.tasks[one.id] = one
        return one

    def show(self, task: QueueTask, source: Task, patches: Sequence[Patch]) -> bool:
        assert task.source == source.id
        offers = {one.id: one.box for one in patches}
        if task.offers == offers:
            return False
        self.calls.append("show")
        self.put(replace(task, offers=offers, updated_at=self.now))
        return True

    def take_out_of_stream(self, task_id: int) -> None:
        self.calls.append("retire")
        self.put(replace(self.tasks[task_id], is_open=False, updated_at=self.now))

    def delete_tasks(self, project_id: int, task_ids: Sequence[int]) -> None:
        self.calls.append("delete")
        for task_id in task_ids:
            assert self.tasks.pop(task_id).queue.project_id == project_id

    def fill(
        self,
        *tasks: Task,
        images: Images | None = None,
        agreement: Agreement | None = None,
        gone: Sequence[int] = (),
    ) -> Filled:
        """As a job does once it has proposed: the tasks come with what the queues hold; `gone` were deleted."""
        self.calls.clear()
        joined = [
            replace(one, queued=tuple(there for there in self.tasks.values() if there.source == one.id))
            for one in tasks
        ]
        return fill_queues(
            P,
            [*(one.id for one in tasks), *gone],
            joined,
            studio=self,
            images=images or Pictures(),
            agreement=agreement or Agreement(),
            at=self.now,
        )

    def holds(self) -> list[tuple[int, set[str]]]:
        """What is given out: source, and ids of patches."""
        return [(one.source, set(one.offers)) for one in self.tasks.values() if one.is_open]


_queues: type[QueuedStudio] = Queues


def ids(task_id: int) -> set[str]:
    """Of both patches."""
    return {one.id for one in offered(task_id)}


def test_a_queue_gets_what_waits_in_one_call() -> None:
    """However many tasks, and told how many."""
    queues = Queues(QueueLayout.PROPOSAL)
    assert queues.fill(*(source(number) for number in (7, 8, 9))) == Filled(added=3)
    assert queues.calls == ["enqueue"]
    assert queues.holds() == [(number, ids(number)) for number in (7, 8, 9)]


def test_run_twice_it_ends_in_the_same_state() -> None:
    """Nothing is called in vain."""
    queues = Queues(QueueLayout.PROPOSAL, QueueLayout.PATCH)
    queues.fill(source(7), source(8))
    before = dict(queues.tasks)
    assert queues.fill(source(7), source(8)) == Filled()
    assert (queues.tasks, queues.calls) == (before, [])


def test_what_shows_patches_of_a_deleted_task_is_taken_out() -> None:
    """Its picture may be gone, too; what somebody has begun stays for who has it open, and is given to nobody else."""
    queues = Queues(QueueLayout.PROPOSAL)
    queues.fill(source(7), source(8))
    begun = next(one for one in queues.tasks.values() if one.source == 8)
    queues.put(replace(begun, is_touched=True))
    assert queues.fill(gone=(7, 8)) == Filled(retired=2)
    assert queues.holds() == []
    queues.now += KEPT + timedelta(seconds=1)
    assert queues.fill(gone=(7, 8)) == Filled(dropped=1)
    assert list(queues.tasks) == [begun.id]


def test_without_a_queue_nothing_is_done() -> None:
    """Nor opened."""
    queues, images = Queues(), Pictures()
    assert queues.fill(source(7), images=images) == Filled()
    assert images.opened == []


def test_each_queue_is_filled_by_its_layout() -> None:
    """One task for the picture, and one for each patch; each counts for its own queue only."""
    queues = Queues(QueueLayout.PROPOSAL, QueueLayout.PATCH)
    assert queues.fill(source(7)) == Filled(added=3)
    layouts = [(one.queue.layout, len(one.offers)) for one in queues.tasks.values()]
    assert layouts == [(QueueLayout.PROPOSAL, 2), (QueueLayout.PATCH, 1), (QueueLayout.PATCH, 1)]


def test_what_was_decided_elsewhere_is_taken_out() -> None:
    """And deleted when a day has gone by; both are told."""
    queues = Queues(QueueLayout.PROPOSAL)
    queues.fill(source(7))
    decided = source(7, review(offered(7), offered(7)))
    assert queues.fill(decided) == Filled(retired=1)
    queues.now += KEPT + timedelta(seconds=1)
    assert queues.fill(decided) == Filled(dropped=1)
    assert queues.tasks == {}


def test_what_nobody_has_begun_is_changed_in_place() -> None:
    """And counted where it was a change."""
    queues = Queues(QueueLayout.PROPOSAL)
    queues.fill(source(7))
    one, two = offered(7)
    assert queues.fill(source(7, review([one], [one]))) == Filled(changed=1)
    assert queues.holds() == [(7, {two.id})]


def test_the_agreement_says_what_waits() -> None:
    """One of two approvals is not enough."""
    queues, accepted = Queues(QueueLayout.PROPOSAL), source(7, review(offered(7), offered(7)))
    assert queues.fill(accepted, agreement=Agreement(1)) == Filled()
    assert queues.fill(accepted, agreement=Agreement(2)) == Filled(added=1)


def test_single_patches_come_with_their_pictures() -> None:
    """Cut from the source, which is opened once."""
    queues, images = Queues(QueueLayout.PATCH), Pictures()
    queues.fill(source(7), images=images)
    assert images.opened == [7]
    assert [[one.id for one in shown.patches] for shown in queues.shown] == [[one.id] for one in offered(7)]
    assert [Image.open(io.BytesIO(shown.picture)).format for shown in queues.shown] == ["JPEG", "JPEG"]


def test_the_picture_of_a_large_patch_fits_a_screen() -> None:
    """900 pixels at most, with what is around it and its frame."""
    queues, large = Queues(QueueLayout.PATCH), patch(Box.sized(500, 300, 600, 600), of=AREA)
    queues.fill(task(AREA, standing=[large]))
    (picture,) = (Image.open(io.BytesIO(shown.picture)) for shown in queues.shown)
    assert 880 <= max(picture.size) <= 900


def test_whole_pictures_are_not_opened() -> None:
    """Label Studio shows them itself."""
    images = Pictures()
    Queues(QueueLayout.PROPOSAL).fill(source(7), images=images)
    assert images.opened == []


def test_pictures_of_what_is_there_are_not_cut_again() -> None:
    """A source is opened for new patches only."""
    queues, images = Queues(QueueLayout.PATCH), Pictures()
    queues.fill(source(7))
    queues.fill(source(7), images=images)
    assert images.opened == []


def test_an_image_that_cannot_be_used_keeps_no_other_out(caplog: pytest.LogCaptureFixture) -> None:
    """It is told in the log, and tried again when its task is looked at."""
    queues, error = Queues(QueueLayout.PATCH), ImageError("the image of task 7 is gone")
    with caplog.at_level(logging.WARNING):
        done = queues.fill(source(7), source(8), images=Pictures({7: error}))
    assert done == Filled(added=2)
    assert {number for number, _ in queues.holds()} == {8}
    assert str(error) in caplog.text
    assert queues.fill(source(7), source(8)) == Filled(added=2)


def test_an_image_that_is_not_to_be_had_now_is_tried_again() -> None:
    """The others are queued before the job fails, and is put in once more."""
    queues, error = Queues(QueueLayout.PATCH), LabelStudioUnavailable("503 for task 7")
    with pytest.raises(LabelStudioUnavailable, match="503"):
        queues.fill(source(7), source(8), images=Pictures({7: error}))
    assert {number for number, _ in queues.holds()} == {8}
    assert queues.fill(source(7), source(8)) == Filled(added=2)


def test_pictures_are_sent_image_by_image() -> None:
    """They weigh more than a task: not those of a whole project in one request."""
    queues = Queues(QueueLayout.PATCH)
    queues.fill(source(7), source(8), source(9))
    assert queues.calls == ["enqueue"] * 3


@pytest.mark.parametrize("layout", QueueLayout)
def test_of_a_replaced_image_the_queue_shows_the_new_one(layout: QueueLayout) -> None:
    """The old one's tasks are taken out of the stream."""
    queues = Queues(layout)
    count = queues.fill(source(7)).added
    another = source(7, image="/data/upload/3/another.jpg")
    assert queues.fill(another) == Filled(added=count, retired=count)
    assert {one.image for one in queues.tasks.values() if one.is_open} == {another.image_digest}
    assert queues.fill(another) == Filled()


def test_a_patch_beyond_the_image_does_not_keep_the_others_out() -> None:
    """Somebody wrote it by the API, and one more approval is wanted."""
    beyond = Patch("Xy12", Box.sized(5000, 10, 80, 80))
    stray = source(7, review([beyond], [beyond]))
    queues = Queues(QueueLayout.PATCH)
    queues.fill(stray, source(8), agreement=Agreement(2))
    assert (8, {offered(8)[0].id}) in queues.holds()


# ---------------------------------------------------------------- verdicts


@dataclass
class Annotation:
    """One of Label Studio's."""

    id: int
    task_id: int
    by: int | None
    result: list[Any]
    at: datetime = NOON


@dataclass
class Studio:
    """Label Studio's tasks and annotations, as one person (`me`) is signed in there; it fails for the tasks in `fails`.

    What is written is read back from its very JSON.
    """

    me: int
    tasks_there: Sequence[Task]
    fails: Mapping[int, NegativesError] = field(default_factory=dict)
    controls: tuple[str, ...] = OURS
    annotations: list[Annotation] = field(default_factory=list)
    verdicts: frozenset[str] = LABELING.verdicts
    meanwhile: Callable[[], object] = lambda: None
    asked: list[list[int] | None] = field(default_factory=list)
    next_id: int = 900
    lock: Lock = field(default_factory=Lock)

    def labeling(self, project_id: int) -> Labeling:
        assert project_id == P
        return replace(LABELING, controls=self.controls, verdicts=self.verdicts)

    def tasks(self, project_id: int, labeling: Labeling, task_ids: Sequence[int] | None = None) -> Iterator[Task]:
        assert (project_id, labeling) == (P, LABELING)
        self.asked.append(task_ids if task_ids is None else list(task_ids))
        for one in self.tasks_there:
            if task_ids is None or one.id in task_ids:
                yield replace(one, reviews=one.reviews + self._said(one.id))

    def _said(self, task_id: int) -> tuple[Review, ...]:
        found = [
            {"id": one.id, "completed_by": one.by, "updated_at": one.at.isoformat(), "result": one.result}
            for one in self.annotations
            if one.task_id == task_id
        ]
        payload = {"id": task_id, "project": P, "updated_at": NOON.isoformat(), "annotations": found}
        return read_task(payload, LABELING).reviews

    def write_review(self, task_id: int, result: Sequence[Mapping[str, Any]]) -> None:
        if task_id in self.fails:
            raise self.fails[task_id]
        meanwhile, self.meanwhile = self.meanwhile, lambda: None
        meanwhile()
        with self.lock:
            at = NOON + timedelta(hours=self.next_id)
            self.annotations.append(Annotation(self.next_id, task_id, self.me, list(result), at))
            self.next_id += 1

    def give(self, words: Mapping[int, Mapping[str, Word]], agreement: Agreement | None = None) -> Given:
        """Say this of patches."""
        return give_verdicts(P, words, person=self.me, studio=self, reviewer=self, agreement=agreement or Agreement(5))

    def empty(self, *task_ids: int, images: Images | None = None) -> Given:
        """Say that there is nothing in these images."""
        return empty_images(
            P,
            task_ids,
            person=self.me,
            studio=self,
            images=images or Pictures(),
            reviewer=self,
            agreement=Agreement(),
        )

    def decisions(self, task_id: int = 7, agreement: Agreement | None = None) -> dict[str, Decision]:
        """Every decision, by the patch's id."""
        (one,) = self.tasks(P, LABELING, [task_id])
        return {decision.patch.id: decision for decision in decide(one, agreement or Agreement(5))}

    def words(self, task_id: int = 7) -> dict[str, dict[int | None, Word]]:
        """What everybody says, patch by patch."""
        return {
            region_id: {vote.reviewer: Word(vote.verdict, vote.reason) for vote in one.votes}
            for region_id, one in self.decisions(task_id).items()
        }


_reader: type[TaskReader] = Studio
_reviewer: type[Reviewer] = Studio
ONE, TWO = offered(7)


@pytest.mark.parametrize("word", [YES, NO, INSIDE, UNSURE], ids=["yes", "no", "with a reason", "unsure"])
def test_a_verdict_is_an_annotation_of_whoever_gives_it(word: Word) -> None:
    """It says just that, and nothing of the other patch."""
    studio = Studio(BEN, [source(7)])
    assert studio.give({7: {ONE.id: word}}) == Given(written=1)
    assert studio.words() == {ONE.id: {BEN: word}, TWO.id: {}}
    assert [(one.task_id, one.by) for one in studio.annotations] == [(7, BEN)]


def test_verdicts_on_a_task_are_one_annotation() -> None:
    """However many patches, and each counts."""
    studio = Studio(BEN, [source(7)])
    assert studio.give({7: {ONE.id: YES, TWO.id: INSIDE}}) == Given(written=2)
    assert len(studio.annotations) == 1
    assert studio.words() == {ONE.id: {BEN: YES}, TWO.id: {BEN: INSIDE}}


def test_what_is_said_later_is_one_more_annotation() -> None:
    """Of these patches only; what was said before of others stays, and isn't renewed."""
    studio = Studio(BEN, [source(7)])
    studio.give({7: {ONE.id: INSIDE}})
    first = studio.decisions()[ONE.id].votes
    studio.give({7: {TWO.id: YES}})
    assert [one.result[-1]["id"] for one in studio.annotations] == [ONE.id, TWO.id]
    assert studio.words() == {ONE.id: {BEN: INSIDE}, TWO.id: {BEN: YES}}
    assert studio.decisions()[ONE.id].votes == first


@pytest.mark.parametrize("second", [ONE, TWO], ids=["the same patch", "another patch"])
def test_two_requests_at_once_lose_nothing(second: Patch) -> None:
    """Both read before either wrote: each word is there, and the later one counts."""
    studio = Studio(BEN, [source(7)])
    studio.meanwhile = lambda: studio.give({7: {second.id: NO}})
    assert studio.give({7: {ONE.id: YES}}) == Given(written=1)
    assert len(studio.annotations) == 2
    kept = {ONE.id: {BEN: YES}, TWO.id: {}} if second is ONE else {ONE.id: {BEN: YES}, TWO.id: {BEN: NO}}
    assert studio.words() == kept


said = st.dictionaries(st.sampled_from([ONE.id, TWO.id]), st.sampled_from([YES, NO, INSIDE, UNSURE]), min_size=1)


@given(st.lists(st.tuples(st.sampled_from([ANN, BEN, 3]), said), max_size=8))
def test_everybody_s_last_word_counts_and_nobody_else_s_is_touched(story: list[tuple[int, dict[str, Word]]]) -> None:
    """One more annotation each time, whatever they say in whatever order; what was there stays as it was."""
    studio = Studio(ANN, [source(7)])
    expected: dict[str, dict[int | None, Word]] = {ONE.id: {}, TWO.id: {}}
    for person, words in story:
        studio.me, before = person, [repr(one) for one in studio.annotations]
        assert studio.give({7: words}) == Given(written=len(words))
        assert [repr(one) for one in studio.annotations[:-1]] == before
        for region_id, word in words.items():
            expected[region_id][person] = word
    assert studio.words() == expected
    assert [one.by for one in studio.annotations] == [person for person, _ in story]


def own_drawing(by: int | None = BEN, **more: Any) -> Review:
    """An annotation that says more than verdicts."""
    return replace(review([ONE], [ONE], by=by, annotation=5), **more)


def test_what_somebody_drew_is_never_rewritten() -> None:
    """Their annotation with the ROI stays as it is; the verdict is one of its own."""
    studio = Studio(BEN, [source(7, own_drawing())])
    studio.give({7: {ONE.id: NO}})
    assert studio.words()[ONE.id] == {BEN: NO}


def by_hand(number: int, person: int, *words: Said) -> Annotation:
    """Verdicts that were written before."""
    at = NOON + timedelta(hours=number)
    return Annotation(number, 7, person, write_verdicts(words, SIZE, LABELING), at)


def test_what_somebody_has_said_elsewhere_since_is_not_taken_back() -> None:
    """Renewed, an old word would be newer than theirs in the queue."""
    in_the_queue = replace(review([], [ONE], by=BEN, annotation=20, hour=20))
    studio = Studio(BEN, [source(7, in_the_queue)])
    studio.annotations.append(by_hand(10, BEN, Said(ONE, Verdict.ACCEPTED)))
    studio.give({7: {TWO.id: YES}})
    assert studio.words() == {ONE.id: {BEN: NO}, TWO.id: {BEN: YES}}
    assert {region["id"] for region in studio.annotations[-1].result} == {TWO.id}


def test_a_verdict_is_on_the_patch_where_it_lies_now() -> None:
    """Ann moved it; Ben saw it there, under the agreement that the page was made with."""
    elsewhere = moved(ONE, Box.sized(600, 200, 100, 100))
    studio = Studio(BEN, [source(7, review([elsewhere, TWO], [ONE, TWO], by=ANN, annotation=5))])
    studio.give({7: {ONE.id: YES}}, Agreement())
    (annotation,) = studio.annotations
    (held,) = studio._said(7)[0].held
    assert (annotation.by, held.id, held.box) == (BEN, ONE.id, elsewhere.box)
    assert held.provenance == ONE.provenance


def test_where_somebody_moved_a_patch_before_it_stays() -> None:
    """Another word of theirs on another patch doesn't move it back."""
    elsewhere = moved(ONE, Box.sized(600, 200, 100, 100))
    studio = Studio(BEN, [source(7)])
    studio.annotations.append(by_hand(10, BEN, Said(elsewhere, Verdict.ACCEPTED)))
    studio.give({7: {TWO.id: YES}})
    assert {vote.box for vote in studio.decisions()[ONE.id].votes} == {elsewhere.box}


# ---------------------------------------------------------------- what the person looked at


ELSEWHERE = moved(ONE, Box.sized(600, 200, 100, 100))
CHANGES: dict[str, Callable[[Task], Task]] = {
    "moved": lambda one: replace(one, reviews=(review([ELSEWHERE], [ONE], by=ANN, annotation=5),)),
    "another image": lambda one: replace(one, image="/data/upload/3/another.jpg"),
    "own verdict": lambda one: replace(one, reviews=(review([], [ONE], by=BEN, annotation=5),)),
}


def looked(seen: Task, word: Word, one: Patch = ONE, person: int = BEN) -> Word:
    """A word of who saw this."""
    (vote,) = (found.vote_of(person) for found in decide(seen, Agreement()) if found.patch.id == one.id)
    return word._replace(seen=sight(seen.id, seen.image_digest, one.box, vote))


@pytest.mark.parametrize("change", CHANGES)
def test_what_has_changed_since_somebody_looked_is_told(change: str) -> None:
    """Nothing is written for that task, what else they said of it neither; the others' verdicts are."""
    before = source(7)
    studio = Studio(BEN, [CHANGES[change](before), source(8)])
    given = studio.give({7: {ONE.id: looked(before, YES), TWO.id: YES}, **accept(8)}, Agreement())
    assert [(note.task_id, "changed since you looked" in note.text) for note in given.failures] == [(7, True)]
    assert (given.written, [one.task_id for one in studio.annotations]) == (2, [8])


@pytest.mark.parametrize("change", CHANGES)
def test_who_doesn_t_say_what_they_saw_isn_t_asked(change: str) -> None:
    """The command line accepts what waits, wherever it lies."""
    studio = Studio(BEN, [CHANGES[change](source(7))])
    assert studio.give({7: {ONE.id: YES}}, Agreement()) == Given(written=1)


def test_what_somebody_else_said_since_is_no_change() -> None:
    """Nor is what the person said of another patch."""
    before = source(7)
    after = replace(before, reviews=(review([ONE], [ONE], by=ANN), review([TWO], [TWO], by=BEN, annotation=2)))
    assert Studio(BEN, [after]).give({7: {ONE.id: looked(before, NO)}}, Agreement()) == Given(written=1)


def test_a_verdict_sent_twice_is_written_once() -> None:
    """By a form that is submitted again, say."""
    studio, word = Studio(BEN, [source(7)]), looked(source(7), NO)
    assert studio.give({7: {ONE.id: word}}) == Given(written=1)
    assert [note.task_id for note in studio.give({7: {ONE.id: word}}).failures] == [7]
    assert len(studio.annotations) == 1


# ---------------------------------------------------------------- what fails


def several(*, fails: Mapping[int, NegativesError] | None = None, me: int = BEN) -> Studio:
    """Nine tasks."""
    return Studio(me, [source(number) for number in range(1, 10)], fails=fails or {})


def accept(*task_ids: int) -> dict[int, dict[str, Word]]:
    """Both patches of these tasks."""
    return {number: dict.fromkeys((one.id for one in offered(number)), YES) for number in task_ids}


@pytest.mark.parametrize(
    "error", [LabelStudioUnavailable("503 for task 5"), LabelStudioError("refused"), NegativesError("no")]
)
def test_what_fails_does_not_keep_the_others_from_it(error: NegativesError) -> None:
    """It is told, with its task."""
    studio = several(fails={5: error})
    given = studio.give(accept(*range(1, 10)))
    assert [(note.task_id, note.text) for note in given.failures] == [(5, str(error))]
    assert given.written == 16
    assert sorted(one.task_id for one in studio.annotations) == [1, 2, 3, 4, 6, 7, 8, 9]


def test_a_patch_that_is_gone_is_told() -> None:
    """None of that task's verdicts is written, as the person saw another picture; the others' are."""
    studio = several()
    words = accept(1, 2, 3)
    words[2]["neg_gone"] = NO
    given = studio.give(words)
    assert [note.task_id for note in given.failures] == [2]
    assert "neg_gone" in given.failures[0].text
    assert (given.written, sorted(one.task_id for one in studio.annotations)) == (4, [1, 3])


def test_a_task_that_is_gone_is_told() -> None:
    """With its project."""
    given = several().give({**accept(1), 99: {"neg_1": YES}})
    assert [(note.task_id, note.text) for note in given.failures] == [(99, "it isn't in the project any more")]
    assert given.written == 2


def test_tasks_are_read_together() -> None:
    """Not one by one."""
    studio = several()
    studio.give(accept(3, 1, 2))
    assert studio.asked == [[3, 1, 2]]


def test_nothing_said_nothing_written() -> None:
    """And nothing fails."""
    studio = several()
    assert studio.give({}) == Given()
    assert studio.annotations == []


@pytest.mark.parametrize("what", ["verdicts", "empty images"])
def test_progress_is_told(what: str) -> None:
    """How many verdicts are done, after each task; not of what failed."""
    studio, told = several(fails={2: LabelStudioUnavailable("503")}), list[int]()
    if what == "verdicts":
        words = accept(1, 2, 3)
        give_verdicts(P, words, person=BEN, studio=studio, reviewer=studio, agreement=Agreement(), progress=told.append)
        assert told == [2, 4]
    else:
        empty_images(
            P,
            [1, 2, 3],
            person=BEN,
            studio=studio,
            images=Pictures(),
            reviewer=studio,
            agreement=Agreement(),
            progress=told.append,
        )
        assert told == [1, 2]


@pytest.mark.parametrize("what", ["verdicts", "empty images"])
def test_a_project_that_is_not_connected_is_an_error(what: str) -> None:
    """Of all, not task by task."""
    studio = Studio(BEN, [source(7)], controls=())
    with pytest.raises(SetupError, match="negatives setup"):
        studio.give({7: {ONE.id: YES}}) if what == "verdicts" else studio.empty(7)


@pytest.mark.parametrize("missing", ["rejected", "unsure", *REASONS])
def test_a_project_that_lacks_a_verdict_is_an_error(missing: str) -> None:
    """Label Studio's editor would drop the choice, and an accepted patch would be left."""
    studio = Studio(BEN, [source(7)], verdicts=LABELING.verdicts - {missing})
    with pytest.raises(SetupError, match=f"lacks the verdicts {missing}: run negatives setup"):
        studio.give({7: {ONE.id: YES}})
    assert studio.annotations == []


def test_a_patch_without_a_size_is_told() -> None:
    """Whose annotations are all gone: nobody knows where it lies."""
    given = Studio(BEN, [source(7, size=None), source(8)]).give({7: {ONE.id: YES}, **accept(8)})
    assert ([note.task_id for note in given.failures], given.written) == ([7], 2)


# ---------------------------------------------------------------- whole images


def bare(task_id: int, **more: Any) -> Task:
    """A task in which nothing was ever drawn."""
    return replace(task(task_id=task_id), **more)


def whole(task_id: int, size: tuple[int, int] = SIZE) -> str:
    """The id of its whole image."""
    return patch_id(task_id, Box(0, 0, *size))


def test_a_whole_image_becomes_one_accepted_patch() -> None:
    """By the person who says so."""
    studio = Studio(BEN, [bare(7), bare(8)])
    assert studio.empty(7, 8) == Given(written=2)
    for number in (7, 8):
        ((region_id, one),) = studio.decisions(number, Agreement()).items()
        assert (region_id, one.state, one.reviewers) == (whole(number), State.ACCEPTED, (BEN,))
        assert one.patch.box == Box(0, 0, *SIZE)


def test_an_image_whose_size_is_not_known_is_opened() -> None:
    """Others are not."""
    studio, images = Studio(BEN, [bare(7, size=None), bare(8)]), Pictures()
    assert studio.empty(7, 8, images=images) == Given(written=2)
    assert images.opened == [7]
    region = studio.annotations[[one.task_id for one in studio.annotations].index(7)].result[0]
    assert (region["id"], region["original_width"], region["original_height"]) == (whole(7, (640, 480)), 640, 480)


@pytest.mark.parametrize(
    ("refused", "text"),
    [
        (bare(7, exclusions=(Box(1, 1, 5, 5), Box(7, 7, 9, 9))), "2 objects are labelled in it"),
        (bare(7, refusal="annotation 3 can't be read"), "annotation 3 can't be read"),
    ],
    ids=["objects", "refused"],
)
def test_an_image_with_something_in_it_is_left_alone(refused: Task, text: str) -> None:
    """And told of; the others are written."""
    studio = Studio(BEN, [refused, bare(8)])
    given = studio.empty(7, 8, 99)
    assert [(note.task_id, note.text) for note in given.failures] == [
        (7, text),
        (99, "it isn't in the project any more"),
    ]
    assert [one.task_id for one in studio.annotations] == [8]


@pytest.mark.parametrize("error", [ImageError("no image"), LabelStudioUnavailable("503")])
def test_an_image_that_cannot_be_opened_is_told(error: NegativesError) -> None:
    """And the others are written."""
    studio = Studio(BEN, [bare(7, size=None), bare(8)])
    given = studio.empty(7, 8, images=Pictures({7: error}))
    assert ([(note.task_id, note.text) for note in given.failures], given.written) == ([(7, str(error))], 1)


def test_named_twice_it_is_one_annotation() -> None:
    """Said twice, it is one person's one word."""
    studio = Studio(BEN, [bare(7)])
    studio.empty(7, 7)
    assert len(studio.annotations) == 1
    studio.empty(7)
    assert studio.words() == {whole(7): {BEN: YES}}


def test_a_replaced_image_is_not_empty_any_more() -> None:
    """The patch says of which image it was said."""
    studio = Studio(BEN, [bare(7)])
    studio.empty(7)
    studio.tasks_there = [bare(7, image="/data/upload/3/another.jpg")]
    assert studio.decisions(7, Agreement())[whole(7)].state is State.STALE


def test_who_says_that_an_image_is_empty_has_drawn_nothing() -> None:
    """Their approval counts where drawing doesn't."""
    studio = Studio(BEN, [bare(7)])
    studio.empty(7)
    one = studio.decisions(7, Agreement(drawing_counts=False))[whole(7)]
    assert (one.state, one.reviewers) == (State.ACCEPTED, (BEN,))


@pytest.mark.parametrize("word", [NO, UNSURE], ids=["rejected", "unsure"])
def test_an_image_with_a_doubtful_patch_is_left_alone(word: Word) -> None:
    """Somebody saw something in it; the whole image has to be judged by its patches."""
    studio = Studio(BEN, [source(7), bare(8)])
    studio.give({7: {ONE.id: word}})
    given = studio.empty(7, 8)
    assert ([note.task_id for note in given.failures], given.written) == ([7], 1)
    assert "isn't empty for everybody" in given.failures[0].text


def test_what_was_said_of_patches_stays() -> None:
    """The whole image comes beside it."""
    studio = Studio(BEN, [source(7)])
    studio.give({7: {ONE.id: YES}})
    studio.empty(7)
    assert studio.words() == {ONE.id: {BEN: YES}, TWO.id: {}, whole(7): {BEN: YES}}


def test_an_empty_image_can_be_taken_back() -> None:
    """By a verdict on its patch."""
    studio = Studio(BEN, [bare(7)])
    studio.empty(7)
    studio.give({7: {whole(7): NO}})
    assert studio.words() == {whole(7): {BEN: NO}}


def test_a_whole_image_has_a_size() -> None:
    """Without one there is no patch; it says of which image it is."""
    found = whole_image(bare(7))
    assert (found.id, found.box) == (whole(7), Box(0, 0, *SIZE))
    assert found.provenance is not None
    assert found.provenance.image == bare(7).image_digest
    with pytest.raises(ValueError, match="task 7"):
        whole_image(bare(7, size=None))
