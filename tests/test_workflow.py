from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from service.domain.geometry import Box
from service.domain.model import (
    Agreement,
    Cause,
    LiveAnswer,
    Patch,
    Proposal,
    Review,
    Roi,
    Rules,
    Shortfall,
    StandingPrediction,
    State,
    Task,
)
from service.domain.work import CHUNK, LANES, LOOK_BACK, ONE_BY_ONE, ProposeWork
from service.errors import LabelStudioUnavailable, NotFound, SetupError
from service.ingest.events import read_event
from service.label_studio.labeling import OURS, Labeling, read_labeling
from service.label_studio.payloads import read_task, write_prediction
from service.proposing import answer_live
from service.workflow import (
    ChangedStudio,
    Studio,
    propose,
    reconcile,
    status,
)
from tests.factories import NOON, outlines, patch, review, roi, roi_of, task
from tests.payloads import recorded

P = 3
LABELING = Labeling(image="image", data_key="image", controls=OURS)
RULES = Rules(patches=3, min_size=40, max_size=120)
URL = "http://negatives.internal:9090/webhooks/label-studio"


class FakeStudio:
    """A Label Studio with memory: its tasks, and what was published and replaced.

    What is published stands from then on, read back from the very JSON that Label Studio would store.
    """

    def __init__(self, *tasks: Task, labeling: Labeling = LABELING) -> None:
        self.kept = {one.id: one for one in tasks}
        self.labels = labeling
        self.bulk: list[list[int]] = []
        self.replaced: list[int] = []
        self.next_id = 100

    def labeling(self, project_id: int) -> Labeling:
        assert project_id == P
        return self.labels

    def tasks(self, project_id: int, labeling: Labeling, task_ids: Sequence[int] | None = None) -> Iterator[Task]:
        assert (project_id, labeling) == (P, self.labels)
        yield from [one for one in self.kept.values() if task_ids is None or one.id in task_ids]

    def publish(self, project_id: int, proposals: Sequence[Proposal], labeling: Labeling) -> None:
        assert (project_id, labeling) == (P, self.labels)
        if proposals:
            self.bulk.append([one.task_id for one in proposals])
        for one in proposals:
            self._stand(one, self.next_id)
            self.next_id += 1

    def replace(self, project_id: int, standing: StandingPrediction, proposal: Proposal, labeling: Labeling) -> None:
        assert (project_id, labeling) == (P, self.labels)
        self.replaced.append(standing.id)
        self._stand(proposal, standing.id)

    def _stand(self, proposal: Proposal, prediction_id: int) -> None:
        stored = write_prediction(proposal, self.labels) | {"id": prediction_id, "updated_at": NOON.isoformat()}
        task_json = {"id": proposal.task_id, "project": P, "updated_at": NOON.isoformat(), "predictions": [stored]}
        (standing,) = read_task(task_json, self.labels).standing
        one = self.kept[proposal.task_id]
        others = tuple(there for there in one.standing if there.id != prediction_id)
        self.kept[one.id] = replace(one, standing=tuple(sorted((*others, standing), key=lambda there: there.id)))

    def draw(self, task_id: int, *rois: Roi) -> None:
        """A person drew these ROIs, and no others are left."""
        self.kept[task_id] = replace(self.kept[task_id], rois=rois)


_typed: type[Studio] = FakeStudio


def drawn(task_id: int, *rois: Roi) -> Task:
    """A task with ROIs."""
    return task(*(rois or (roi(),)), task_id=task_id, project_id=P)


def ids(studio: FakeStudio, task_id: int) -> list[list[str]]:
    """The patches of each standing prediction of a task."""
    return [[one.id for one in standing.patches] for standing in studio.kept[task_id].standing]


# ---------------------------------------------------------------- propose


def test_propose_publishes_new_proposals_in_bulk() -> None:
    """However many tasks, one call, and the counts are told."""
    studio = FakeStudio(*(drawn(n) for n in range(1, 6)))
    done = propose(P, range(1, 6), studio=studio, rules=RULES)
    assert studio.bulk == [[1, 2, 3, 4, 5]]
    assert (done.tasks, done.created, done.changed, done.patches) == (5, 5, 0, 15)


def test_propose_again_publishes_nothing() -> None:
    """The same event twenty times is one prediction."""
    studio = FakeStudio(drawn(1))
    propose(P, [1], studio=studio, rules=RULES)
    for _ in range(20):
        done = propose(P, [1], studio=studio, rules=RULES)
    assert (studio.bulk, studio.replaced) == ([[1]], [])
    assert (done.created, done.changed, done.patches) == (0, 0, 3)


@pytest.mark.parametrize("shape", sorted(outlines(0, 0, 10)))
def test_propose_again_publishes_nothing_whatever_the_roi_is(shape: str) -> None:
    """Turned rectangle, polygon, ellipse or brush: what stands is what should stand, so nothing is ever changed."""
    area = roi_of(outlines(600, 600, 300)[shape], patches=20)
    studio = FakeStudio(task(area, size=(1601, 1203), task_id=1, project_id=P))
    propose(P, [1], studio=studio, rules=RULES)
    done = propose(P, [1], studio=studio, rules=RULES)
    assert (studio.bulk, studio.replaced, done.patches) == ([[1]], [], 20)


def test_propose_looks_at_the_named_tasks_only() -> None:
    """Work names its tasks."""
    studio = FakeStudio(drawn(1), drawn(2))
    propose(P, [2], studio=studio, rules=RULES)
    assert studio.bulk == [[2]]


def test_a_task_that_is_gone_is_no_error() -> None:
    """A task deleted before its job ran."""
    assert propose(P, [9], studio=FakeStudio(), rules=RULES).tasks == 0


def test_a_task_without_rois_gets_nothing() -> None:
    """Labelling objects asks for no patches."""
    studio = FakeStudio(task(task_id=1, project_id=P))
    propose(P, [1], studio=studio, rules=RULES)
    assert (studio.bulk, studio.replaced) == ([], [])


def test_what_was_answered_at_once_is_not_published() -> None:
    """A task whose ROI got all its patches while it was drawn stays without a prediction of ours."""
    (outcome,) = answer_live(drawn(1), [roi()], (), {}, RULES).outcomes
    answer = LiveAnswer(1, {one.id: one.box for one in outcome.patches})
    studio = FakeStudio(drawn(1, replace(roi(), answer=answer)))
    done = propose(P, [1], studio=studio, rules=RULES)
    assert (studio.bulk, done.created, done.explanations) == ([], 0, {})


def test_what_is_short_is_published_once_with_our_line() -> None:
    """And looked at again it needs no change."""
    studio = FakeStudio(drawn(1, roi(0, 0, 20, 20)))
    for _ in range(3):
        propose(P, [1], studio=studio, rules=RULES)
    assert (studio.bulk, studio.replaced) == ([[1]], [])
    assert "roi_answer" in studio.kept[1].standing[0].content


def test_a_change_is_made_in_place() -> None:
    """Another ROI changes the standing prediction, under its id; patches still valid stay."""
    studio = FakeStudio(drawn(1))
    propose(P, [1], studio=studio, rules=RULES)
    (before,) = ids(studio, 1)
    studio.draw(1, roi(), roi(1000, 100, 500, 500, region_id="another"))
    done = propose(P, [1], studio=studio, rules=RULES)
    assert (studio.replaced, done.changed, done.created) == ([100], 1, 0)
    (after,) = ids(studio, 1)
    assert after[:3] == before
    assert len(after) == 6


def test_an_roi_that_was_taken_away_empties_its_prediction() -> None:
    """The prediction stays, because somebody may have it open, but it offers nothing."""
    studio = FakeStudio(drawn(1))
    propose(P, [1], studio=studio, rules=RULES)
    studio.draw(1)
    propose(P, [1], studio=studio, rules=RULES)
    assert (studio.replaced, ids(studio, 1)) == ([100], [[]])


def test_a_doubled_prediction_is_healed() -> None:
    """Two of ours on one task are brought to the same content, and then need nothing more."""
    studio = FakeStudio(drawn(1))
    propose(P, [1], studio=studio, rules=RULES)
    one = studio.kept[1]
    older = StandingPrediction(50, (patch(Box(300, 300, 350, 350), rules=RULES, task_id=1),), content="another")
    studio.kept[1] = replace(one, standing=(older, *one.standing))
    done = propose(P, [1], studio=studio, rules=RULES)
    first, second = ids(studio, 1)
    assert done.changed >= 1
    assert first == second
    assert propose(P, [1], studio=studio, rules=RULES).changed == 0


def test_a_doubled_prediction_of_the_same_content_is_left() -> None:
    """Twice the same needs no write."""
    studio = FakeStudio(drawn(1))
    propose(P, [1], studio=studio, rules=RULES)
    one = studio.kept[1]
    studio.kept[1] = replace(one, standing=(*one.standing, replace(one.standing[0], id=101)))
    assert propose(P, [1], studio=studio, rules=RULES).changed == 0


def test_what_is_short_is_explained() -> None:
    """A shortfall and a refusal reach the person, in the result and in the prediction; the others say nothing."""
    studio = FakeStudio(drawn(1), drawn(2, roi(0, 0, 20, 20)), drawn(3, roi(patches=99)))
    done = propose(P, [1, 2, 3], studio=studio, rules=RULES)
    assert list(done.explanations) == [2, 3]
    assert done.explanations[2][0].startswith("0 of 3 patches: the ROI is 20 × 20 px")
    assert done.explanations[3][0].startswith("No patches: patches is 99, but must be 1 to 20")
    for task_id in (2, 3):
        told = studio.kept[task_id].standing[0].explanations
        assert tuple(one.text for one in told) == done.explanations[task_id]


def test_the_labelings_defaults_come_before_the_settings() -> None:
    """What the project says holds for its ROIs."""
    studio = FakeStudio(drawn(1), labeling=replace(LABELING, defaults={"patches": 2}))
    assert propose(P, [1], studio=studio, rules=RULES).patches == 2


UNCONNECTED = replace(LABELING, controls=("patch", "patches", "min_size", "max_size"))


def test_a_project_that_is_not_connected_is_refused() -> None:
    """Naming what is missing and the command; nothing is written."""
    studio = FakeStudio(drawn(1), labeling=UNCONNECTED)
    with pytest.raises(SetupError, match="project 3 lacks the controls roi, round: run negatives setup --project 3"):
        propose(P, [1], studio=studio, rules=RULES)
    assert studio.bulk == []


# ---------------------------------------------------------------- reconcile


@dataclass(frozen=True)
class Hook:
    """A webhook as far as reconciling asks."""

    project: int | None
    url: str = URL


@dataclass(frozen=True)
class Change:
    """A task that changed."""

    task_id: int
    updated_at: datetime


@dataclass
class FakeChanges:
    """A Label Studio that knows what changed; `asked` remembers since when it was asked for which project."""

    changes: dict[int, list[Change]]
    hooks: list[Hook] = field(default_factory=list)
    asked: list[tuple[int, datetime | None]] = field(default_factory=list)

    def webhooks(self, project_id: int | None = None) -> Sequence[Hook]:
        return [hook for hook in self.hooks if project_id is None or hook.project == project_id]

    def changed_since(self, project_id: int, moment: datetime | None) -> Sequence[Change]:
        self.asked.append((project_id, moment))
        if project_id not in self.changes:
            raise NotFound(f"Label Studio has no project {project_id}, or this token may not see it")
        found = [change for change in self.changes[project_id] if moment is None or change.updated_at > moment]
        return sorted(found, key=lambda change: change.updated_at)


_typed_changes: type[ChangedStudio] = FakeChanges


def later(seconds: float) -> datetime:
    """So many seconds after noon."""
    return NOON + timedelta(seconds=seconds)


def look(
    studio: FakeChanges, seen: dict[int, datetime] | None = None, project: int | None = P
) -> tuple[list[ProposeWork], dict[int, datetime]]:
    """One look: the work that was put in, and what is known then."""
    put: list[ProposeWork] = []
    known = reconcile(project, seen or {}, studio=studio, put=put.append, webhook_url=URL)
    return put, known


def test_a_first_look_sees_everything() -> None:
    """Without a last look, every task that somebody touched is looked at."""
    studio = FakeChanges({P: [Change(1, later(-9999)), Change(2, later(5))]})
    put, known = look(studio)
    assert [work.task_ids for work in put] == [(1,), (2,)]
    assert (studio.asked, known) == ([(P, None)], {P: later(5)})


def test_the_next_look_sees_what_changed_since() -> None:
    """From a minute before the last change on: one may become visible after a later one."""
    studio = FakeChanges({P: [Change(1, later(0)), Change(2, later(120)), Change(3, later(500))]})
    put, known = look(studio, {P: later(150)})
    assert [work.task_ids for work in put] == [(2,), (3,)]
    assert (studio.asked, known) == ([(P, later(150) - LOOK_BACK)], {P: later(500)})


def test_the_watermark_never_falls_back() -> None:
    """Seeing an older change again, or nothing at all, doesn't move it."""
    assert look(FakeChanges({P: [Change(1, later(100))]}), {P: later(150)})[1] == {P: later(150)}
    assert look(FakeChanges({P: []}), {P: later(150)})[1] == {P: later(150)}


def test_a_project_without_changes_has_no_watermark_yet() -> None:
    """Until something changed, the next look is a first look."""
    assert look(FakeChanges({P: []}))[1] == {}


def test_the_same_change_is_the_same_job() -> None:
    """Looked at twice, a change asks for one job."""
    studio = FakeChanges({P: [Change(1, later(100))]})
    assert [work.job_id for work in look(studio)[0]] == [work.job_id for work in look(studio, {P: later(100)})[0]]


def test_reconciling_makes_the_very_job_of_the_event() -> None:
    """As recorded: the webhook of an annotation, and the task as the API then gave it, are one job."""
    stored = read_task(recorded("task_with_roi_and_objects"), read_labeling(recorded("project")["label_config"]))
    (heard,) = read_event(recorded("webhook_annotation_created")).work
    studio = FakeChanges({stored.project_id: [Change(stored.id, stored.updated_at)]})
    ((found,), _) = look(studio, project=stored.project_id)
    assert isinstance(heard, ProposeWork)
    assert heard.job_id == found.job_id


def test_a_moment_in_another_zone_is_the_same_job() -> None:
    """One way of writing a moment."""
    moment = later(1.25).astimezone(timezone(timedelta(hours=5, minutes=30)))
    ((one,), _) = look(FakeChanges({P: [Change(1, moment)]}))
    ((other,), _) = look(FakeChanges({P: [Change(1, moment.astimezone(UTC))]}))
    assert one.job_id == other.job_id


def test_a_later_change_is_another_job() -> None:
    """The same task, changed again."""
    ((one,), _) = look(FakeChanges({P: [Change(1, later(1))]}))
    ((other,), _) = look(FakeChanges({P: [Change(1, later(2))]}))
    assert one.job_id != other.job_id


def test_few_changes_are_a_job_each_and_many_are_put_together() -> None:
    """Up to 20 one by one; more by the hundred, each task once."""
    few, _ = look(FakeChanges({P: [Change(n, later(n)) for n in range(ONE_BY_ONE)]}))
    assert {len(work.task_ids) for work in few} == {1}
    many, _ = look(FakeChanges({P: [Change(n, later(n)) for n in range(LANES * (CHUNK + 5))]}))
    assert [len(work.task_ids) for work in many] == [CHUNK, 5] * LANES
    assert sorted(task for work in many for task in work.task_ids) == list(range(LANES * (CHUNK + 5)))


def test_reconciling_is_not_urgent() -> None:
    """Nobody waits for it: the annotator's own event goes first."""
    put, _ = look(FakeChanges({P: [Change(1, NOON)]}))
    assert [work.urgent for work in put] == [False]


def test_without_a_project_all_connected_ones_are_looked_at() -> None:
    """Connected is who has our webhook: neither other tools' nor the whole organization's."""
    hooks = [Hook(5), Hook(4), Hook(5), Hook(6, "http://elsewhere.example/"), Hook(None)]
    studio = FakeChanges({4: [], 5: [], 6: []}, hooks)
    look(studio, project=None)
    assert [project for project, _ in studio.asked] == [4, 5]


def test_a_project_that_is_gone_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """A deleted project is logged, and the others are looked at."""
    studio = FakeChanges({5: [Change(1, NOON)]}, [Hook(4), Hook(5)])
    put, known = look(studio, {4: NOON}, project=None)
    assert [work.project_id for work in put] == [5]
    assert known == {5: NOON}
    assert "project 4" in caplog.text


def test_what_fails_moves_no_watermark() -> None:
    """When work can't be made durable the look fails as a whole: the next one sees it all again."""

    def full(_: ProposeWork) -> None:
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        reconcile(P, {}, studio=FakeChanges({P: [Change(1, NOON)]}), put=full, webhook_url=URL)


def patches_of(task_id: int) -> tuple[Patch, ...]:
    """Two patches of a task."""
    return tuple(patch(box, task_id=task_id) for box in (Box(200, 200, 300, 320), Box(500, 500, 640, 610)))


def reviewed(task_id: int, *reviews: Review, exclusions: Sequence[Box] = ()) -> Task:
    """A task with two patches on offer, and what people said."""
    one = task(
        roi(),
        task_id=task_id,
        project_id=P,
        size=(1000, 1000),
        standing=patches_of(task_id),
        reviews=reviews,
        exclusions=exclusions,
    )
    return replace(one, image=f"/data/upload/3/1a2b3c4d-field{task_id}.jpg")


def both(task_id: int) -> Review:
    """Somebody accepted both."""
    return review(patches_of(task_id), patches_of(task_id))


def one_of(task_id: int) -> Review:
    """Somebody accepted the first and took the second out."""
    return review(patches_of(task_id)[:1], patches_of(task_id))


# ---------------------------------------------------------------- status


def stand(studio: FakeStudio, min_approvals: int = 1) -> tuple[int, int, dict[State, int], list[tuple[int, str]]]:
    """Tasks, ROIs, patches by state, and notes."""
    found = status(P, studio=studio, agreement=Agreement(min_approvals), margin=0, names={})
    return found.tasks, found.rois, dict(found.states), [(note.task_id, note.text) for note in found.notes]


def test_status_counts_by_state() -> None:
    """Tasks, ROIs, and each patch once."""
    studio = FakeStudio(reviewed(1, both(1)), reviewed(2, one_of(2)), reviewed(3), task(task_id=4, project_id=P))
    assert stand(studio) == (4, 3, {State.ACCEPTED: 3, State.REJECTED: 1, State.PENDING: 2}, [])


def test_status_counts_the_reasons_of_rejections() -> None:
    """Each reason of each patch once, whoever said it: they tell what the objects' labels or the ROIs lack."""

    def doubted(task_id: int, *reasons: str) -> Task:
        one = reviewed(task_id, both(task_id))
        (said,) = one.reviews
        against = dict(zip((held.id for held in said.held), reasons, strict=False))
        return replace(one, reviews=(replace(said, reasons=against),))

    studio = FakeStudio(doubted(1, "ambiguous", "duplicate"), doubted(2, "ambiguous"), doubted(3))
    assert status(P, studio=studio, agreement=Agreement(), margin=0, names={}).reasons == {
        "ambiguous": 2,
        "duplicate": 1,
    }


def test_status_tells_what_is_stale() -> None:
    """With the reason."""
    *_, states, notes = stand(FakeStudio(reviewed(1, both(1), exclusions=[Box(210, 210, 220, 220)])))
    assert states == {State.STALE: 1, State.ACCEPTED: 1}
    assert notes == [(1, "an accepted patch of 100 × 120 px at (200, 200) is stale: a labelled object touches it")]


def test_status_tells_what_is_short() -> None:
    """What the predictions say is short or refused, once each."""
    studio = FakeStudio(drawn(1, roi(0, 0, 20, 20)), drawn(2))
    propose(P, [1, 2], studio=studio, rules=RULES)
    one = studio.kept[1]
    studio.kept[1] = replace(one, standing=(*one.standing, replace(one.standing[0], id=101)))
    *_, notes = stand(studio)
    assert [task_id for task_id, _ in notes] == [1]
    assert notes[0][1].startswith("0 of 3 patches: the ROI is 20 × 20 px")


def test_status_has_the_figures_of_what_is_short() -> None:
    """For scripts: of a shortfall all of them, of a refusal none."""
    studio = FakeStudio(drawn(1, roi(0, 0, 20, 20)), drawn(2, roi(patches=99)))
    propose(P, [1, 2], studio=studio, rules=RULES)
    short, refused = status(P, studio=studio, agreement=Agreement(), margin=0, names={}).notes
    sentence = short.text.removeprefix("0 of 3 patches: ").removesuffix(".")
    assert short.shortfall == Shortfall(3, 0, Cause.ROI_TOO_SMALL, sentence, Box(0, 0, 20, 20), at_most=0)
    assert refused.shortfall is None


def test_status_tells_why_a_task_is_refused() -> None:
    """Also when no prediction says it yet; and once only when one does."""
    studio = FakeStudio(replace(drawn(1), refusal="its regions disagree"))
    assert stand(studio)[3] == [(1, "its regions disagree")]
    propose(P, [1], studio=studio, rules=RULES)
    assert stand(studio)[3] == [(1, "No patches: its regions disagree.")]


def test_status_of_a_project_that_is_not_connected() -> None:
    """Refused like proposing."""
    with pytest.raises(SetupError, match="negatives setup --project 3"):
        stand(FakeStudio(labeling=UNCONNECTED))


def test_one_project_in_trouble_does_not_keep_the_others_from_being_looked_at() -> None:
    """What fails for one project alone is logged; the others' changes become jobs."""
    broken = LabelStudioUnavailable("Label Studio failed with 500 for the tasks of project 4")

    class OneBroken(FakeChanges):
        def changed_since(self, project_id: int, moment: datetime | None) -> Sequence[Change]:
            if project_id == 4:
                raise broken
            return super().changed_since(project_id, moment)

    studio = OneBroken({P: [Change(1, later(5))]}, [Hook(P, URL), Hook(4, URL)])
    put, known = look(studio, project=None)
    assert ([work.task_ids for work in put], known) == ([(1,)], {P: later(5)})
    with pytest.raises(LabelStudioUnavailable):
        look(studio, project=4)
