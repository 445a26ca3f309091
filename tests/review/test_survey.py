"""Where a project stands, counted and told."""

from dataclasses import replace

from service.domain.geometry import Box
from service.domain.model import (
    Agreement,
    Cause,
    Explanation,
    Patch,
    Queue,
    QueueLayout,
    QueueTask,
    Review,
    Shortfall,
    StandingPrediction,
    State,
    Task,
    Verdict,
    Vote,
)
from service.review.survey import ProjectStatus, survey, who_said_what
from tests.factories import NOON, moved, patch, review, roi, task

AREA = roi(100, 100, 800, 800)
ONE = patch(Box.sized(200, 200, 100, 90), of=AREA)
TWO = patch(Box.sized(400, 400, 100, 100), of=AREA)
CELL, CELL_ON_ONE = Box.sized(1300, 900, 20, 20), Box.sized(290, 280, 20, 20)
NAMES = {1: "Ann", 2: "Ben"}
SHORT = Shortfall(5, 2, Cause.JAMMED, "the two are in the way")


def counted(*tasks: Task, agreement: Agreement | None = None, margin: int = 0) -> ProjectStatus:
    """Where a project with these tasks stands."""
    return survey(tasks, agreement or Agreement(), margin, NAMES)


def reviewed(*reviews: Review, exclusions: tuple[Box, ...] = (CELL,)) -> Task:
    """A task with two patches, and what was said of them."""
    return task(AREA, exclusions=exclusions, standing=(ONE, TWO), reviews=reviews)


def told(one: Task, explanations: tuple[Explanation, ...]) -> Task:
    """The task with a proposal that says this."""
    return replace(one, standing=(StandingPrediction(1, (), content="", explanations=explanations),))


def texts(status: ProjectStatus) -> list[str]:
    """What people should know."""
    return [note.text for note in status.notes]


def test_nothing_is_nothing() -> None:
    """A project without tasks."""
    assert counted() == ProjectStatus()


def test_tasks_rois_and_patches_are_counted() -> None:
    """Each patch by where it stands."""
    second = replace(AREA, region_id="b")
    status = counted(
        reviewed(review([ONE], [ONE, TWO])), task(AREA, second, exclusions=[CELL], task_id=8), task(task_id=9)
    )
    assert (status.tasks, status.rois) == (3, 3)
    assert status.states == {State.ACCEPTED: 1, State.REJECTED: 1}
    assert status.notes == ()


def test_what_nobody_looked_at_is_pending() -> None:
    """It is no matter to tell of."""
    status = counted(reviewed())
    assert (status.states, status.notes) == ({State.PENDING: 2}, ())


def test_a_disagreement_is_told_with_who_said_what() -> None:
    """By name, oldest first, and what it comes to."""
    status = counted(reviewed(review([ONE, TWO], [ONE, TWO]), review([TWO], [ONE, TWO], by=2, annotation=2, hour=1)))
    assert status.conflicts == 1
    assert texts(status) == [
        "people disagree on the patch of 100 × 90 px at (200, 200): Ann accepted, Ben rejected; it is rejected"
    ]
    assert [note.task_id for note in status.notes] == [7]


def test_an_unsure_patch_is_told_with_who_is() -> None:
    """Another person's look is wanted."""
    status = counted(reviewed(replace(review([ONE, TWO], [ONE, TWO], by=2), unsure=frozenset([TWO.id]))))
    assert (status.states[State.UNSURE], status.conflicts) == (1, 0)
    assert texts(status) == ["a patch is unsure: the one of 100 × 100 px at (400, 400): Ben unsure"]


def test_a_disputed_patch_is_told_once() -> None:
    """Not as unsure, too."""
    said = review([ONE], [ONE]), review([], [ONE], by=2, annotation=2, hour=1)
    unsure = replace(review([ONE], [ONE], by=3, annotation=3, hour=2), unsure=frozenset([ONE.id]))
    (text,) = texts(counted(reviewed(*said, unsure), agreement=Agreement(2, majority=True)))
    assert text.endswith("Ann accepted, Ben rejected, user 3 unsure; it is unsure")


def test_a_stale_patch_is_told_with_its_reason() -> None:
    """An object was labelled over it since."""
    status = counted(reviewed(review([ONE, TWO], [ONE, TWO]), exclusions=(CELL_ON_ONE,)))
    assert status.states == {State.STALE: 1, State.ACCEPTED: 1}
    assert texts(status) == ["an accepted patch of 100 × 90 px at (200, 200) is stale: a labelled object touches it"]


def test_the_margin_is_for_patches_that_do_not_say_their_own() -> None:
    """A patch drawn by hand, five pixels beside an object."""
    by_hand = Patch("Xy12", Box.sized(600, 600, 80, 80))
    beside = Box.sized(685, 600, 20, 20)
    one = task(AREA, exclusions=[beside], reviews=[review([by_hand], [by_hand])])
    assert counted(one, margin=5).states == {State.ACCEPTED: 1}
    assert counted(one, margin=6).states == {State.STALE: 1}


def test_the_agreement_counts() -> None:
    """One of two approvals is not enough."""
    once = reviewed(review([ONE, TWO], [ONE, TWO]))
    assert counted(once, agreement=Agreement(2)).states == {State.PENDING: 2}


def test_a_patch_that_waits_although_somebody_accepted_it_is_told() -> None:
    """Where who drew it doesn't count, or it was moved since: no queue asks that person again."""
    by_hand = Patch("Xy12", Box.sized(600, 600, 80, 80))
    drawn = task(AREA, exclusions=[CELL], reviews=[review([by_hand], [by_hand])])
    assert texts(counted(drawn, agreement=Agreement(drawing_counts=False))) == [
        "the patch of 80 × 80 px at (600, 600) still waits: 0 of 1 approvals: who drew it doesn't count; Ann accepted"
    ]
    there = moved(ONE, Box.sized(250, 200, 100, 90))
    twice = reviewed(review([ONE], [ONE]), review([there], [ONE], by=2, annotation=2, hour=1))
    (text,) = texts(counted(twice, agreement=Agreement(2)))
    assert text.startswith("the patch of 100 × 90 px at (250, 200) still waits: 1 of 2 approvals; it was moved since")
    once = reviewed(review([ONE], [ONE]))
    assert texts(counted(once, agreement=Agreement(2))) == []


def test_tasks_in_queues_are_counted_by_queue() -> None:
    """Those that reviewers are still given."""
    there = [
        QueueTask(n, Queue(q, 3, QueueLayout.PATCH), 7, {}, n != 2, False, NOON) for n, q in ((1, 40), (2, 40), (3, 41))
    ]
    assert counted(replace(reviewed(), queued=tuple(there)), reviewed()).queued == {40: 1, 41: 1}


def test_tasks_without_a_labelled_object_are_counted() -> None:
    """Those with patches: nothing but a person's eye says that they are empty."""
    assert counted(reviewed(exclusions=()), task(AREA, task_id=8), reviewed()).unlabelled == 1


def test_reasons_of_rejections_are_counted() -> None:
    """Of rejected patches, where somebody gave one."""
    said = replace(review([ONE, TWO], [ONE, TWO]), reasons={ONE.id: "ambiguous", TWO.id: ""})
    other = replace(review([ONE], [ONE], by=2, annotation=2), reasons={ONE.id: "ambiguous"})
    assert counted(reviewed(said), reviewed(other)).reasons == {"ambiguous": 2}


def test_what_is_short_is_counted_and_told_with_its_figures() -> None:
    """Three of five are missing, here and there."""
    status = counted(*(told(task(AREA, exclusions=[CELL]), (Explanation("2 of 5", SHORT),)) for _ in range(2)))
    assert status.short == 6
    assert [(note.text, note.shortfall) for note in status.notes] == [("2 of 5", SHORT)] * 2


def test_of_two_predictions_of_ours_one_is_told() -> None:
    """They say the same."""
    one = told(task(AREA), (Explanation("2 of 5", SHORT),))
    assert counted(replace(one, standing=one.standing * 2)).short == 3


def test_a_refusal_is_told() -> None:
    """Where no proposal says so already."""
    refused = task(AREA, refusal="annotation 3 can't be read")
    assert texts(counted(refused)) == ["annotation 3 can't be read"]
    said = told(refused, (Explanation("No patches: annotation 3 can't be read."),))
    assert texts(counted(said)) == ["No patches: annotation 3 can't be read."]


def test_what_else_is_wrong_is_told_beside_a_refusal() -> None:
    """Another sentence doesn't take its place."""
    refused = told(task(AREA, refusal="annotation 3 can't be read"), (Explanation("No patches: round is 0."),))
    assert texts(counted(refused)) == ["No patches: round is 0.", "annotation 3 can't be read"]


def test_people_without_a_name_are_told_by_number_or_as_somebody() -> None:
    """Who left the organization, and whose account was deleted; with the reason, where there is one."""
    votes = [
        Vote(9, Verdict.REJECTED, NOON, 1, ONE.box, "ambiguous"),
        Vote(None, Verdict.ACCEPTED, NOON, 2, ONE.box),
        Vote(1, Verdict.UNSURE, NOON, 3, ONE.box),
    ]
    assert who_said_what(votes, NAMES) == "user 9 rejected (ambiguous), somebody accepted, Ann unsure"
