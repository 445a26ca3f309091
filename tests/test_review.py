from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import product
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.geometry import Box, Ellipse, Outline, Shape
from service.domain.model import Agreement, Decision, LiveAnswer, Patch, Provenance, Review, Roi, Rules, State, Verdict
from service.review import decide
from tests.factories import NOON, moved, outlines, patch, review, roi, roi_of, task

AREA = roi(100, 100, 800, 800)
OTHER_AREA = roi(1000, 100, 500, 500, region_id="other")
ONE = patch(Box.sized(200, 200, 100, 100), of=AREA)
TWO = patch(Box.sized(400, 400, 100, 100), of=AREA)
BY_HAND = Patch("Xy12", Box.sized(600, 600, 80, 80))
CELL_ON_ONE = Box.sized(290, 290, 20, 20)
ANN, BEN, CEM = 1, 2, 3
ACCEPTED, REJECTED, PENDING, STALE, UNSURE = State.ACCEPTED, State.REJECTED, State.PENDING, State.STALE, State.UNSURE


def keeping_clear(margin: int) -> Patch:
    """ONE, proposed under rules with a margin."""
    return patch(ONE.box, of=AREA, rules=Rules(margin=margin))


@dataclass(frozen=True)
class History:
    """What happened on one task; by default ONE and TWO stand, and nobody has said anything."""

    reviews: tuple[Review, ...] = ()
    standing: tuple[Patch, ...] = (ONE, TWO)
    rois: tuple[Roi, ...] = (AREA,)
    exclusions: tuple[Shape, ...] = ()
    refusal: str | None = None
    min_approvals: int = 1
    majority: bool = False
    drawing_counts: bool = True
    margin: int = 0

    def decisions(self) -> dict[str, Decision]:
        """Every decision, by the patch's id."""
        work = task(
            *self.rois,
            exclusions=self.exclusions,
            standing=self.standing,
            reviews=self.reviews,
            refusal=self.refusal,
        )
        return {
            one.patch.id: one
            for one in decide(work, Agreement(self.min_approvals, self.majority, self.drawing_counts), self.margin)
        }


def says(by: int | None, held: Iterable[Patch], shown: Iterable[Patch] = (ONE, TWO), *, hour: int = 0) -> Review:
    """One person's annotation; hers alone, and one for each hour."""
    return review(held, shown, by=by, annotation=100 * (by or 9) + hour, hour=hour)


def histories(*cases: tuple[str, History, State | None]) -> pytest.MarkDecorator:
    """A table of named histories and what becomes of ONE (None: nobody knows such a patch)."""
    return pytest.mark.parametrize(
        ("history", "state"), [pytest.param(history, state, id=name) for name, history, state in cases]
    )


def state_of_one(history: History) -> State | None:
    """Where ONE stands, or its only stand-in in the histories without it."""
    decision = history.decisions().get(ONE.id)
    return decision.state if decision else None


@histories(
    ("nobody looked", History(), PENDING),
    ("kept", History((says(ANN, [ONE, TWO]),)), ACCEPTED),
    ("taken out", History((says(ANN, [TWO]),)), REJECTED),
    ("all taken out", History((says(ANN, []),)), REJECTED),
    ("not shown", History((says(ANN, [TWO], shown=[TWO]),)), PENDING),
    ("kept, though the list of what was shown is lost", History((says(ANN, [ONE], shown=[]),)), ACCEPTED),
    ("gone from the proposal but kept", History((says(ANN, [ONE]),), standing=(TWO,)), ACCEPTED),
    ("no proposal left, but kept", History((says(ANN, [ONE]),), standing=()), ACCEPTED),
    ("gone from the proposal and taken out", History((says(ANN, []),), standing=(TWO,)), None),
    ("its ROI was deleted", History((says(ANN, [ONE]),), rois=()), ACCEPTED),
    ("its ROI was moved away", History((says(ANN, [ONE]),), rois=(OTHER_AREA,)), ACCEPTED),
)
def test_one_persons_word(history: History, state: State | None) -> None:
    """Held is accepted; shown and not held is rejected; of what was not shown nothing is said."""
    assert state_of_one(history) == state


@histories(
    ("both keep", History((says(ANN, [ONE]), says(BEN, [ONE]))), ACCEPTED),
    ("the later one takes it out", History((says(ANN, [ONE]), says(BEN, [], hour=1))), REJECTED),
    ("the earlier one took it out", History((says(ANN, []), says(BEN, [ONE], hour=1))), REJECTED),
    ("one of three takes it out", History((says(ANN, [ONE]), says(BEN, []), says(CEM, [ONE]))), REJECTED),
    ("the other was not shown it", History((says(ANN, [ONE]), says(BEN, [TWO], shown=[TWO]))), ACCEPTED),
    ("the other looked at another proposal", History((says(ANN, []), says(BEN, [TWO], shown=[TWO]))), REJECTED),
)
def test_several_people(history: History, state: State | None) -> None:
    """Any rejection wins, whoever was last."""
    assert state_of_one(history) == state


@histories(
    ("nobody of two", History(min_approvals=2), PENDING),
    ("one of two", History((says(ANN, [ONE]),), min_approvals=2), PENDING),
    ("two of two", History((says(ANN, [ONE]), says(BEN, [ONE])), min_approvals=2), ACCEPTED),
    ("three of two", History((says(ANN, [ONE]), says(BEN, [ONE]), says(CEM, [ONE])), min_approvals=2), ACCEPTED),
    ("the same person twice", History((says(ANN, [ONE]), says(ANN, [ONE], hour=1)), min_approvals=2), PENDING),
    ("one of two, and a rejection", History((says(ANN, [ONE]), says(BEN, [])), min_approvals=2), REJECTED),
    ("two deleted users", History((says(None, [ONE]), says(None, [ONE], hour=1)), min_approvals=2), ACCEPTED),
    ("one of two, and an object", History((says(ANN, [ONE]),), exclusions=(CELL_ON_ONE,), min_approvals=2), PENDING),
)
def test_as_many_people_as_the_project_asks(history: History, state: State | None) -> None:
    """`min_approvals` counts people, not annotations; where a user was deleted, each annotation is somebody's."""
    assert state_of_one(history) == state


@histories(
    ("kept, then taken out", History((says(ANN, [ONE]), says(ANN, [], hour=1))), REJECTED),
    ("taken out, then kept", History((says(ANN, []), says(ANN, [ONE], hour=1))), ACCEPTED),
    ("read in the other order", History((says(ANN, [ONE], hour=1), says(ANN, []))), ACCEPTED),
    ("read in the other order, taken out", History((says(ANN, [], hour=1), says(ANN, [ONE]))), REJECTED),
    ("at the same moment", History((review([ONE], [ONE], annotation=8), review([], [ONE], annotation=9))), REJECTED),
    ("not shown the second time", History((says(ANN, [ONE]), says(ANN, [], shown=[TWO], hour=1))), ACCEPTED),
    ("a deleted user's rejection stays", History((says(None, []), says(None, [ONE], hour=1))), REJECTED),
    ("a deleted user is nobody else", History((says(None, [ONE]), says(ANN, [], hour=1))), REJECTED),
    ("a deleted user alone", History((says(None, [ONE]),)), ACCEPTED),
)
def test_the_same_person_again(history: History, state: State | None) -> None:
    """Each person's latest word on a patch counts, in whatever order Label Studio lists them."""
    assert state_of_one(history) == state


@histories(
    ("inside its ROI", History((says(ANN, [moved(ONE, Box.sized(500, 500, 100, 100))]),)), ACCEPTED),
    ("out of its ROI", History((says(ANN, [moved(ONE, Box.sized(850, 500, 100, 100))]),)), STALE),
    (
        "into another ROI",
        History((says(ANN, [moved(ONE, Box.sized(1100, 200, 100, 100))]),), rois=(AREA, OTHER_AREA)),
        ACCEPTED,
    ),
    ("where its ROI was, now gone", History((says(ANN, [moved(ONE, Box(500, 500, 600, 600))]),), rois=()), ACCEPTED),
    ("out of an ROI now gone", History((says(ANN, [moved(ONE, Box(850, 500, 950, 600))]),), rois=()), STALE),
    (
        "out of a turned ROI, inside its bounds",
        History((says(ANN, [moved(ONE, Box(105, 105, 205, 205))]),), rois=(roi(500, 0, 600, 600, rotation=45),)),
        STALE,
    ),
    ("out of the image", History((says(ANN, [moved(ONE, Box.sized(-1, 500, 100, 100))]),)), STALE),
    (
        "made larger, over an object",
        History((says(ANN, [moved(ONE, Box.sized(200, 200, 300, 300))]),), exclusions=(Box(450, 450, 460, 460),)),
        STALE,
    ),
    (
        "off an object",
        History((says(ANN, [moved(ONE, Box.sized(500, 500, 100, 100))]),), exclusions=(CELL_ON_ONE,)),
        ACCEPTED,
    ),
    (
        "out of the ROI by the first, back by the last",
        History((says(ANN, [moved(ONE, Box(850, 500, 950, 600))]), says(BEN, [ONE], hour=1))),
        ACCEPTED,
    ),
    (
        "out of the ROI by the last",
        History((says(ANN, [moved(ONE, Box(850, 500, 950, 600))], hour=1), says(BEN, [ONE]))),
        STALE,
    ),
)
def test_a_patch_that_was_moved(history: History, state: State | None) -> None:
    """It is proved again where the last reviewer left it: in the image, in an ROI, clear of objects."""
    assert state_of_one(history) == state


@histories(
    ("on an accepted patch", History((says(ANN, [ONE, TWO]),), exclusions=(CELL_ON_ONE,)), STALE),
    ("beside it", History((says(ANN, [ONE, TWO]),), exclusions=(Box(300, 200, 320, 220),)), ACCEPTED),
    ("on a rejected patch", History((says(ANN, [TWO]),), exclusions=(CELL_ON_ONE,)), REJECTED),
    ("on one that nobody has looked at", History(exclusions=(CELL_ON_ONE,)), PENDING),
    (
        "within the margin that the patch was drawn with",
        History((says(ANN, [keeping_clear(8)]),), standing=(keeping_clear(8),), exclusions=(Box(307, 200, 320, 220),)),
        STALE,
    ),
    (
        "just outside of that margin",
        History((says(ANN, [keeping_clear(8)]),), standing=(keeping_clear(8),), exclusions=(Box(308, 200, 320, 220),)),
        ACCEPTED,
    ),
    (
        "within a margin that other patches have",
        History((says(ANN, [ONE]),), exclusions=(Box(307, 200, 320, 220),), margin=8),
        ACCEPTED,
    ),
)
def test_an_object_that_was_labelled_later(history: History, state: State | None) -> None:
    """It makes an accepted patch stale, and changes nothing about the others."""
    assert state_of_one(history) == state


def shapes_beside(box: Box, offset: int) -> list[Any]:
    """Objects that reach 50 px far from a centre so far to the right of the box's corner and below, of every shape."""
    return [
        pytest.param(shape, id=name) for name, shape in outlines(box.right + offset, box.bottom + offset, 50).items()
    ]


@pytest.mark.parametrize("thing", shapes_beside(ONE.box, 46))
def test_an_object_whose_bounding_box_alone_reaches_into_a_patch(thing: Outline) -> None:
    """It doesn't touch it: accepted stays accepted."""
    assert thing.bounds.touches(ONE.box)
    assert state_of_one(History((says(ANN, [ONE]),), exclusions=(thing,))) == ACCEPTED


@pytest.mark.parametrize("thing", shapes_beside(ONE.box, 20))
def test_an_object_of_any_shape_that_touches_a_patch(thing: Outline) -> None:
    """By a corner is enough to make it stale."""
    assert state_of_one(History((says(ANN, [ONE]),), exclusions=(thing,))) == STALE


@pytest.mark.parametrize(("margin", "state"), [(4, ACCEPTED), (5, STALE)])
def test_the_margin_is_measured_from_the_object_itself(margin: int, state: State) -> None:
    """From the corner (40, 40) px off its centre to a disc of 50 px: clear of 4 px both ways, but not of 5."""
    one = keeping_clear(margin)
    disc = Ellipse(one.box.right + 40, one.box.bottom + 40, 50, 50)
    assert state_of_one(History((says(ANN, [one]),), standing=(one,), exclusions=(disc,))) == state


@pytest.mark.parametrize("outline", [pytest.param(one, id=name) for name, one in outlines(500, 500, 400).items()])
@pytest.mark.parametrize(
    ("left", "state"), [(450, ACCEPTED), (110, STALE)], ids=["inside", "in the corner of the box around it"]
)
def test_a_patch_that_was_moved_in_an_roi_of_any_shape(outline: Outline, left: int, state: State) -> None:
    """It must lie in what was drawn, not only in the box around it."""
    there = moved(ONE, Box.sized(left, left, 100, 100))
    assert state_of_one(History((says(ANN, [there]),), rois=(roi_of(outline),))) == state


@histories(
    ("accepted", History((says(ANN, [ONE]),), refusal="annotation 4 can't be read"), STALE),
    ("rejected", History((says(ANN, []),), refusal="annotation 4 can't be read"), REJECTED),
    ("pending", History(refusal="annotation 4 can't be read"), PENDING),
)
def test_a_task_that_cannot_be_understood(history: History, state: State | None) -> None:
    """Nothing of it counts as proved, so nothing accepted stays accepted."""
    assert state_of_one(history) == state


@pytest.mark.parametrize(
    ("history", "state"),
    [
        pytest.param(History((says(ANN, [BY_HAND]),)), ACCEPTED, id="in the ROI"),
        pytest.param(History((says(ANN, [BY_HAND]),), rois=(OTHER_AREA,)), ACCEPTED, id="outside of every ROI"),
        pytest.param(History((says(ANN, [BY_HAND]), says(BEN, [ONE]))), ACCEPTED, id="another person was not shown it"),
        pytest.param(History((says(ANN, [BY_HAND]),), min_approvals=2), PENDING, id="one of two"),
        pytest.param(History((says(ANN, [BY_HAND]),), exclusions=(Box(670, 670, 690, 690),)), STALE, id="an object"),
        pytest.param(
            History((says(ANN, [BY_HAND]),), exclusions=(Box(683, 600, 700, 700),), margin=4), STALE, id="the margin"
        ),
    ],
)
def test_a_patch_drawn_by_hand(history: History, state: State) -> None:
    """A person may put one where they like, but not on an object, nor within the project's margin."""
    assert history.decisions()[BY_HAND.id].state == state


# ---------------------------------------------------------------- a reason against a patch that is still there


def because(said: Review, /, **reasons: str) -> Review:
    """The same with a reason against ONE, TWO or BY_HAND; by the names of these."""
    named = {"one": ONE.id, "two": TWO.id, "by_hand": BY_HAND.id}
    return replace(said, reasons={named[name]: reason for name, reason in reasons.items()})


@histories(
    ("kept", History((because(says(ANN, [ONE, TWO]), one="ambiguous"),)), REJECTED),
    ("kept, and against another", History((because(says(ANN, [ONE, TWO]), two="ambiguous"),)), ACCEPTED),
    ("kept, not shown", History((because(says(ANN, [ONE], shown=[]), one="ambiguous"),)), REJECTED),
    ("not kept, not shown", History((because(says(ANN, [TWO], shown=[TWO]), one="ambiguous"),)), PENDING),
    ("kept by another", History((because(says(ANN, [ONE]), one="ambiguous"), says(BEN, [ONE], hour=1))), REJECTED),
    ("taken back later", History((because(says(ANN, [ONE]), one="ambiguous"), says(ANN, [ONE], hour=1))), ACCEPTED),
    ("given later", History((says(ANN, [ONE]), because(says(ANN, [ONE], hour=1), one="ambiguous"))), REJECTED),
    ("with an object on it", History((because(says(ANN, [ONE]), one="x"),), exclusions=(CELL_ON_ONE,)), REJECTED),
    ("moved", History((because(says(ANN, [moved(ONE, Box(500, 500, 600, 600))]), one="x"),)), REJECTED),
)
def test_a_reason_against_a_patch_rejects_it(history: History, state: State | None) -> None:
    """Though the annotation holds it, like taking it out."""
    assert state_of_one(history) == state


def test_a_patch_drawn_by_hand_may_be_rejected_with_a_reason_too() -> None:
    """By another person, or by who drew it."""
    history = History((because(says(ANN, [BY_HAND]), by_hand="poor quality"),))
    assert history.decisions()[BY_HAND.id].state == REJECTED


def test_a_rejection_says_its_reasons() -> None:
    """Each once, in the order of the alphabet; who took the patch out without a word adds none."""
    history = History(
        (
            because(says(ANN, [ONE]), one="poor quality"),
            because(says(BEN, [ONE]), one="ambiguous", two="duplicate"),
            because(says(CEM, [ONE]), one="ambiguous"),
            says(None, []),
        )
    )
    assert history.decisions()[ONE.id].reasons == ("ambiguous", "poor quality")


def test_a_reason_that_was_taken_back_is_not_told() -> None:
    """Only those that hold; of what wasn't rejected there is none."""
    taken_back = (because(says(ANN, [ONE]), one="ambiguous"), says(ANN, [ONE], hour=1))
    assert History(taken_back).decisions()[ONE.id].reasons == ()
    another = because(says(BEN, [ONE]), one="duplicate")
    assert History((*taken_back, another)).decisions()[ONE.id].reasons == ("duplicate",)


# ---------------------------------------------------------------- what was answered at once

ANSWERED = replace(AREA, answer=LiveAnswer(1, {ONE.id: ONE.box, TWO.id: TWO.box}))


@histories(
    ("kept", History((says(ANN, [ONE, TWO]),), standing=(), rois=(ANSWERED,)), ACCEPTED),
    ("taken out before it was submitted", History((says(ANN, [TWO]),), standing=(), rois=(ANSWERED,)), REJECTED),
    ("all taken out", History((says(ANN, []),), standing=(), rois=(ANSWERED,)), REJECTED),
    ("proposed as well", History((says(ANN, [TWO]),), rois=(ANSWERED,)), REJECTED),
    ("nobody said anything", History(standing=(), rois=(ANSWERED,)), PENDING),
    ("with an object on it", History((says(ANN, [ONE]),), (), (ANSWERED,), (CELL_ON_ONE,)), STALE),
    ("against it", History((because(says(ANN, [ONE]), one="x"),), standing=(), rois=(ANSWERED,)), REJECTED),
)
def test_verdicts_on_what_was_answered_at_once(history: History, state: State | None) -> None:
    """They are the same as on what was proposed: whoever draws decides with the same click."""
    assert state_of_one(history) == state


def test_a_patch_that_was_answered_at_once_is_decided_where_it_was_offered() -> None:
    """The ROI remembers the place of what was taken out."""
    decision = History((says(ANN, [TWO]),), standing=(), rois=(ANSWERED,)).decisions()[ONE.id]
    assert (decision.patch.box, decision.reviewers) == (ONE.box, (ANN,))


def test_what_is_known_of_a_patch_goes_before_what_an_answer_remembers() -> None:
    """Of a patch on offer the provenance counts, and what is held comes before what was taken out."""
    history = History((says(ANN, [TWO]),), standing=(), rois=(ANSWERED,))
    assert list(history.decisions()) == [TWO.id, ONE.id]
    assert History(rois=(ANSWERED,)).decisions()[ONE.id].patch == ONE


# ---------------------------------------------------------------- how verdicts of several people add up

THERE = Box.sized(500, 500, 120, 120)


@dataclass(frozen=True)
class Word:
    """What one person says of ONE, and in which hour."""

    by: int | None
    says: str
    hour: int

    def review(self, annotation: int) -> Review:
        """The annotation in which they say so."""
        held = {"moved": (moved(ONE, THERE),), "taken out": ()}.get(self.says, (ONE,))
        said = review(held, [ONE], by=self.by, annotation=annotation, hour=self.hour)
        reasons = {ONE.id: "duplicate"} if self.says == "duplicate" else {}
        return replace(said, reasons=reasons, unsure=frozenset({ONE.id} if self.says == "unsure" else ()))


REJECTING = ("taken out", "duplicate")
LATER = 24


def words(*says: str, people: tuple[int | None, ...] = (ANN, BEN, CEM, 4, 5)) -> st.SearchStrategy[list[Word]]:
    """What these people say in the course of a day, in any order, some more than once."""
    return st.lists(st.builds(Word, st.sampled_from(people), st.sampled_from(says), st.integers(0, 9)), max_size=8)


ANY_WORDS = words("kept", "moved", "taken out", "duplicate", "unsure", people=(ANN, BEN, CEM, 4, None))
IN_PLACE = words("kept", "taken out", "duplicate", "unsure")
ANY_REJECTION = st.builds(Agreement, st.integers(1, 3), st.just(False), st.booleans())
BY_MAJORITY = st.builds(Agreement, st.integers(1, 3), st.just(True), st.booleans())
AGREEMENTS = ANY_REJECTION | BY_MAJORITY
ANYBODY = st.sampled_from((ANN, BEN, CEM, 4, 5, 6))


def agreed(said: Iterable[Word], agreement: Agreement) -> Decision:
    """Where ONE stands after these words, in an ROI that Ann drew."""
    reviews = [word.review(number) for number, word in enumerate(said, 1)]
    (decision,) = decide(task(replace(AREA, drawn_by=ANN), standing=[ONE], reviews=reviews), agreement)
    return decision


@given(ANY_WORDS, AGREEMENTS, st.randoms(use_true_random=False))
def test_the_order_in_which_label_studio_lists_annotations_doesnt_matter(
    said: list[Word], agreement: Agreement, chance: Random
) -> None:
    """Nor what has an effect on it: time counts."""
    reviews = [word.review(number) for number, word in enumerate(said, 1)]
    work = task(replace(AREA, drawn_by=ANN), standing=[ONE], reviews=reviews)
    shuffled = replace(work, reviews=tuple(chance.sample(reviews, len(reviews))))
    assert decide(shuffled, agreement) == decide(work, agreement)


@given(ANY_WORDS, AGREEMENTS)
def test_everybody_has_one_vote_and_it_is_their_latest(said: list[Word], agreement: Agreement) -> None:
    """Oldest first; a deleted user is somebody else in each annotation."""
    latest: dict[object, tuple[int, int]] = {}
    for number, word in sorted(enumerate(said, 1), key=lambda one: (one[1].hour, one[0])):
        latest[word.by or f"annotation {number}"] = (word.hour, number)
    votes = agreed(said, agreement).votes
    assert [((vote.at - NOON).seconds // 3600, vote.annotation_id) for vote in votes] == sorted(latest.values())


@given(IN_PLACE.filter(bool), AGREEMENTS, st.data())
def test_saying_the_same_again_changes_nothing(said: list[Word], agreement: Agreement, data: st.DataObject) -> None:
    """Nobody counts twice."""
    before = agreed(said, agreement)
    vote = data.draw(st.sampled_from(before.votes))
    again = said[vote.annotation_id - 1]
    after = agreed([*said, replace(again, hour=LATER)], agreement)
    assert (after.state, after.patch, after.reviewers, after.reasons, after.note) == (
        before.state,
        before.patch,
        before.reviewers,
        before.reasons,
        before.note,
    )


@given(ANY_WORDS, ANY_REJECTION, ANYBODY, st.sampled_from(REJECTING))
def test_where_one_rejection_is_enough_it_always_is(said: list[Word], rule: Agreement, by: int, how: str) -> None:
    """Whoever says what besides, and how many are asked."""
    assert agreed([*said, Word(by, how, LATER)], rule).state is REJECTED


@given(IN_PLACE, BY_MAJORITY, ANYBODY, st.sampled_from((*REJECTING, "unsure")))
def test_by_majority_who_doesnt_accept_helps_no_patch(said: list[Word], rule: Agreement, by: int, how: str) -> None:
    """A rejection, or somebody who can't tell, never makes accepted what was not."""
    if agreed([*said, Word(by, how, LATER)], rule).state is ACCEPTED:
        assert agreed(said, rule).state is ACCEPTED


@given(ANY_WORDS, AGREEMENTS, ANYBODY)
def test_one_approval_more_at_its_place_takes_no_acceptance_away(said: list[Word], rule: Agreement, by: int) -> None:
    """Whoever gives it, also who drew."""
    before = agreed(said, rule)
    if before.state is ACCEPTED:
        how = "moved" if before.patch.box == THERE else "kept"
        after = agreed([*said, Word(by, how, LATER)], rule)
        assert (after.state, after.patch) == (ACCEPTED, before.patch)


@given(ANY_WORDS, ANY_REJECTION, ANYBODY)
def test_who_cant_tell_keeps_a_patch_from_being_used(said: list[Word], rule: Agreement, by: int) -> None:
    """As long as they say so; where somebody else rejects it, it is rejected."""
    state = agreed([*said, Word(by, "unsure", LATER)], rule).state
    assert state in (UNSURE, REJECTED)


@given(words("kept", "taken out"), st.integers(1, 3))
def test_a_majority_is_one_for_either_side(said: list[Word], enough: int) -> None:
    """If all who accept reject, and all who reject accept, the outcome is the opposite."""
    other_way = {"kept": "taken out", "taken out": "kept"}
    opposite = {ACCEPTED: REJECTED, REJECTED: ACCEPTED, PENDING: PENDING}
    rule = Agreement(enough, majority=True)
    turned = [replace(word, says=other_way[word.says]) for word in said]
    assert agreed(turned, rule).state is opposite[agreed(said, rule).state]


@given(ANY_WORDS, AGREEMENTS)
def test_what_is_accepted_rests_on_enough_people_who_accept_it_there(said: list[Word], rule: Agreement) -> None:
    """Only approvals that count, at the place where the patch lies; each of somebody else."""
    decision = agreed(said, rule)
    if decision.state is ACCEPTED:
        deciding = decision.deciding
        assert {(vote.verdict, vote.box, vote.counts) for vote in deciding} == {
            (Verdict.ACCEPTED, decision.patch.box, True)
        }
        assert len({vote.reviewer or f"annotation {vote.annotation_id}" for vote in deciding}) >= rule.min_approvals
        assert rule.drawing_counts or ANN not in decision.reviewers


@given(ANY_WORDS, AGREEMENTS)
def test_a_state_rests_on_votes_of_its_kind(said: list[Word], rule: Agreement) -> None:
    """Rejected on rejections, unsure on who is unsure, and pending on what approvals there are."""
    decision = agreed(said, rule)
    verdict = {REJECTED: Verdict.REJECTED, UNSURE: Verdict.UNSURE}.get(decision.state, Verdict.ACCEPTED)
    assert {vote.verdict for vote in decision.deciding} <= {verdict}
    assert decision.deciding or decision.state is PENDING


@given(ANY_WORDS, AGREEMENTS)
def test_the_drawers_word_counts_only_against(said: list[Word], rule: Agreement) -> None:
    """Where drawing doesn't count, an approval of theirs is told of and changes nothing."""
    quiet = replace(rule, drawing_counts=False)
    latest = {vote.reviewer: vote for vote in agreed(said, quiet).votes}
    if ANN in latest and latest[ANN].verdict is Verdict.ACCEPTED:
        assert not latest[ANN].counts
        others = [word if word.by != ANN else replace(word, by=7, says="kept") for word in said]
        without = [word for word in others if word.by != 7]
        assert agreed(said, quiet).state is agreed(without, quiet).state


@pytest.mark.parametrize("majority", [False, True])
@pytest.mark.parametrize("enough", [1, 2, 3])
def test_as_many_people_as_a_queue_asks_come_to_an_end(enough: int, majority: bool) -> None:
    """Whatever each says, unless one is unsure; one person fewer might come to none."""
    rule = Agreement(enough, majority)

    def outcomes(people: int) -> set[State]:
        ways = product(("kept", "taken out"), repeat=people)
        return {agreed([Word(by, says, 0) for by, says in enumerate(way, 1)], rule).state for way in ways}

    assert outcomes(rule.overlap) == {ACCEPTED, REJECTED}
    assert PENDING in outcomes(rule.overlap - 1)


@pytest.mark.parametrize(
    ("said", "is_conflict"),
    [
        pytest.param([(ANN, "kept"), (BEN, "taken out")], True, id="one accepts, one takes it out"),
        pytest.param([(ANN, "duplicate"), (BEN, "moved")], True, id="one has a reason against it, one moves it"),
        pytest.param([(BEN, "kept"), (CEM, "unsure"), (4, "taken out")], True, id="and one is unsure"),
        pytest.param([(ANN, "kept"), (BEN, "unsure")], False, id="one accepts, one is unsure"),
        pytest.param([(ANN, "taken out"), (BEN, "unsure")], False, id="one takes it out, one is unsure"),
        pytest.param([(ANN, "kept"), (BEN, "moved")], False, id="two accept, at two places"),
        pytest.param([(ANN, "taken out"), (BEN, "duplicate")], False, id="two reject"),
        pytest.param([(ANN, "kept"), (ANN, "taken out")], False, id="one changes her mind"),
        pytest.param([], False, id="nobody said anything"),
    ],
)
@pytest.mark.parametrize("rule", [Agreement(), Agreement(2, True), Agreement(drawing_counts=False)], ids=str)
def test_a_conflict_is_between_two_people(said: list[tuple[int, str]], is_conflict: bool, rule: Agreement) -> None:
    """One accepts what another rejects, however that is counted."""
    decision = agreed([Word(by, says, hour) for hour, (by, says) in enumerate(said)], rule)
    assert decision.is_conflict is is_conflict


@histories(
    ("two to one", History((says(ANN, [ONE]), says(BEN, [ONE]), says(CEM, [])), majority=True), ACCEPTED),
    ("one to two", History((says(ANN, [ONE]), says(BEN, []), says(CEM, [])), majority=True), REJECTED),
    ("one to one", History((says(ANN, [ONE]), says(BEN, [])), majority=True), PENDING),
    ("one, and two are asked", History((says(ANN, []),), min_approvals=2, majority=True), PENDING),
    ("two, and two are asked", History((says(ANN, []), says(BEN, [])), min_approvals=2, majority=True), REJECTED),
    (
        "two at two places, and two are asked",
        History(
            (says(ANN, [ONE]), says(BEN, [moved(ONE, THERE)], hour=1), says(CEM, [ONE])), min_approvals=2, majority=True
        ),
        PENDING,
    ),
)
def test_a_majority(history: History, state: State | None) -> None:
    """The side wins that has enough people and more than the other."""
    assert state_of_one(history) == state


def test_who_accepts_a_patch_elsewhere_rejects_it_for_nobody() -> None:
    """Three accept and two reject; a fourth who accepts it at another place leaves it open at most."""
    said = [*(Word(by, "kept", 0) for by in (ANN, BEN, CEM)), *(Word(by, "taken out", 1) for by in (4, 5))]
    rule = Agreement(majority=True)
    assert agreed(said, rule).state is ACCEPTED
    assert agreed([*said, Word(6, "moved", LATER)], rule).state is not REJECTED


def test_what_was_answered_at_once_and_taken_out_is_decided_where_drawing_doesnt_count() -> None:
    """Nobody holds it, and its ROI says who drew."""
    history = History((says(ANN, [TWO]),), standing=(), rois=(replace(ANSWERED, drawn_by=ANN),), drawing_counts=False)
    assert state_of_one(history) == REJECTED


@pytest.mark.parametrize("enough", [0, -1])
def test_nobody_is_not_enough(enough: int) -> None:
    """With no approvals asked, what nobody has looked at would be accepted."""
    with pytest.raises(ValueError, match=str(enough)):
        Agreement(enough)


@pytest.mark.parametrize(
    ("agreement", "people"),
    [
        (Agreement(), 1),
        (Agreement(3), 3),
        (Agreement(majority=True), 1),
        (Agreement(2, majority=True), 3),
        (Agreement(3, majority=True), 5),
    ],
    ids=str,
)
def test_how_many_people_a_queue_asks(agreement: Agreement, people: int) -> None:
    """As many as must accept; for a majority so many that it can't be prevented."""
    assert agreement.overlap == people


# ---------------------------------------------------------------- what a decision says


def test_every_patch_is_decided_once() -> None:
    """What is on offer comes first, in its order, then what somebody holds besides."""
    held = (says(ANN, [TWO, BY_HAND]), says(BEN, [BY_HAND, ONE, TWO], hour=1))
    assert list(History(held).decisions()) == [ONE.id, TWO.id, BY_HAND.id]


def test_a_decision_names_who_and_when() -> None:
    """People and annotations in the order of their ids, and the moment of the last word."""
    decision = History((says(CEM, [ONE], hour=2), says(ANN, [ONE], hour=1))).decisions()[ONE.id]
    moment = NOON.replace(hour=14)
    assert (decision.reviewers, decision.annotations, decision.at) == ((ANN, CEM), (101, 302), moment)


def test_a_rejection_names_only_those_who_rejected() -> None:
    """Who accepted had no part in it."""
    decision = History((says(ANN, [ONE]), says(BEN, []))).decisions()[ONE.id]
    assert (decision.reviewers, decision.annotations) == ((BEN,), (200,))


def test_a_deleted_user_is_not_named_but_the_annotation_is() -> None:
    """The trace stays, as far as there is one."""
    decision = History((says(None, [ONE]),)).decisions()[ONE.id]
    assert (decision.reviewers, decision.annotations) == ((), (900,))


def test_nobodys_decision_names_nobody() -> None:
    """A pending patch has no reviewer and no moment."""
    assert History().decisions()[ONE.id] == Decision(ONE, PENDING)


def test_an_accepted_patch_is_where_the_last_reviewer_left_it() -> None:
    """Of two who accepted, the later one's box is exported."""
    first, last = Box.sized(300, 300, 120, 120), Box.sized(500, 500, 140, 140)
    decision = History((says(ANN, [moved(ONE, last)], hour=1), says(BEN, [moved(ONE, first)]))).decisions()[ONE.id]
    assert decision.patch == moved(ONE, last)


def test_provenance_that_an_annotation_lost_comes_from_the_proposal() -> None:
    """A region's note can be rewritten by hand; what was proposed still knows."""
    bare = replace(ONE, provenance=None)
    assert History((says(ANN, [bare]),)).decisions()[ONE.id].patch == ONE


def test_provenance_of_the_annotation_goes_before_the_proposals() -> None:
    """It says under which rules the reviewer saw the patch."""
    seen = replace(ONE, provenance=Provenance(AREA.box, Rules(), {}, seed=77, version="0"))
    assert History((says(ANN, [seen]),)).decisions()[ONE.id].patch == seen


@pytest.mark.parametrize(
    ("history", "note"),
    [
        pytest.param(History((says(ANN, [ONE]),), min_approvals=3), "1 of 3 approvals", id="too few"),
        pytest.param(
            History((says(ANN, [ONE]),), exclusions=(CELL_ON_ONE,)), "a labelled object touches it", id="object"
        ),
        pytest.param(
            History((says(ANN, [moved(ONE, Box(850, 500, 950, 600))]),)), "it was moved out of its ROI", id="ROI"
        ),
        pytest.param(History((says(ANN, [moved(ONE, Box(-5, 500, 95, 600))]),)), "it leaves the image", id="image"),
        pytest.param(History((says(ANN, [ONE]),), refusal="unreadable"), "unreadable", id="refusal"),
        pytest.param(History((says(ANN, [ONE]),)), None, id="accepted"),
        pytest.param(History((says(ANN, []),)), None, id="rejected"),
        pytest.param(History(), None, id="nobody looked"),
    ],
)
def test_the_note_says_why_not(history: History, note: str | None) -> None:
    """A person reads why a patch isn't exported although somebody accepted it."""
    assert history.decisions()[ONE.id].note == note


def test_a_picture_that_was_replaced_proves_nothing() -> None:
    """What was accepted was another picture's."""
    one = patch(Box(200, 200, 300, 320))
    assert one.provenance is not None
    drawn_on = task().image_digest
    there = replace(one, provenance=replace(one.provenance, image=drawn_on))
    work = task(standing=[there], reviews=[review([there], [there])])
    (before,) = decide(work, Agreement())
    (after,) = decide(replace(work, image="/data/upload/3/another.jpg"), Agreement())
    assert (before.state, after.state, after.note) == (State.ACCEPTED, State.STALE, "the image was replaced since")
