"""What happens to a task over time, as Label Studio tells it, and where its patches stand in the end."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest

from service.domain.geometry import Box
from service.domain.model import (
    Agreement,
    Decision,
    Memory,
    Patch,
    Proposal,
    Provenance,
    RoiOutcome,
    Rules,
    State,
    Verdict,
    patch_id,
)
from service.label_studio.labeling import OURS, Labeling
from service.label_studio.payloads import Said, read_task, write_live_answer, write_prediction, write_verdicts
from service.review import decide
from tests.factories import NOON, TASK_ID, roi, task

Json = dict[str, Any]

ACCEPTED, REJECTED, PENDING, STALE, UNSURE = State.ACCEPTED, State.REJECTED, State.PENDING, State.STALE, State.UNSURE
ANN, BEN, CEM, DORA, EVA = 1, 2, 3, 4, 5
"""Dora draws the ROI; the others review."""

LABELING = Labeling(image="image", data_key="image", controls=OURS)
SIZE = WIDTH, HEIGHT = 1600, 1200
AREA = roi(100, 100, 800, 800)


def proposed(box: Box, margin: int = 0) -> Patch:
    """A patch with all that the service notes of it."""
    rules = Rules(patches=2, min_size=50, margin=margin)
    return Patch(patch_id(TASK_ID, box), box, Provenance(AREA.box, rules, {}, 1, "0", task().image_digest))


ONE, TWO = proposed(Box.sized(200, 200, 100, 100)), proposed(Box.sized(400, 400, 100, 100))
NEW = proposed(Box.sized(700, 700, 100, 100))
CAREFUL = proposed(Box.sized(200, 200, 100, 100), margin=8)
BY_HAND = Patch("Xy12", Box.sized(1000, 950, 90, 90))
WHOLE = Patch(patch_id(TASK_ID, Box(0, 0, *SIZE)), Box(0, 0, *SIZE))

ELSEWHERE = Box.sized(600, 200, 100, 100)
FURTHER = Box.sized(600, 600, 120, 120)
OUT_OF_THE_ROI = Box.sized(1200, 200, 100, 100)
OUT_OF_THE_IMAGE = Box.sized(-10, 200, 100, 100)
CELL_ON_ONE = Box.sized(290, 290, 30, 30)
CELL_ELSEWHERE = Box.sized(690, 290, 30, 30)
CELL_7_PX_BESIDE_ONE = Box.sized(307, 200, 30, 30)
CELL_8_PX_BESIDE_ONE = Box.sized(308, 200, 30, 30)

TWO_PEOPLE = Agreement(2)
MAJORITY = Agreement(majority=True)
MAJORITY_OF_TWO = Agreement(2, majority=True)
NOT_WHO_DREW = Agreement(drawing_counts=False)


# ---------------------------------------------------------------- what regions an annotation holds


def placed(box: Box) -> Json:
    """A box as Label Studio writes it, in percents."""
    x, y, width, height = box.as_xywh()
    sides = {"x": x * 100 / WIDTH, "y": y * 100 / HEIGHT, "width": width * 100 / WIDTH, "height": height * 100 / HEIGHT}
    return {**sides, "rotation": 0}


def region(region_id: str, control: str, label: str, box: Box) -> Json:
    """A rectangle that a person draws."""
    return {
        "id": region_id,
        "from_name": control,
        "to_name": "image",
        "type": "rectanglelabels",
        "original_width": WIDTH,
        "original_height": HEIGHT,
        "image_rotation": 0,
        "value": {**placed(box), "rectanglelabels": [label]},
        "origin": "manual",
    }


def cell(box: Box) -> Json:
    """A labelled object."""
    return region(f"cell{box.left}", "label", "Cell", box)


def a_proposal(*patches: Patch, memory: Memory | None = None) -> Proposal:
    """What the service offers for the ROI."""
    return Proposal(TASK_ID, *SIZE, (RoiOutcome(AREA, patches, rules=Rules()),), memory=memory or Memory())


Kept = Sequence[Json]
"""One patch in an annotation: its region, and what was chosen for it."""


def kept(patch: Patch, *, at: Box | None = None, choice: str = "", note: bool = True) -> Kept:
    """The patch as it stands in a copy of its proposal; a person may have moved it, or chosen something for it."""
    drawn = region(patch.id, "patch", "Negative patch", patch.box)
    if patch.provenance is not None:
        drawn = write_prediction(a_proposal(patch), LABELING)["result"][1] | {"origin": "prediction"}
    if not note:
        drawn.pop("meta", None)
    if at is not None:
        drawn |= {"value": drawn["value"] | placed(at), "origin": "prediction-changed"}
    if not choice:
        return [drawn]
    said = {"from_name": "patch_verdict", "type": "choices", "value": {**placed(at or patch.box), "choices": [choice]}}
    return [drawn, {key: value for key, value in drawn.items() if key != "meta"} | said]


BOTH = [*kept(ONE), *kept(TWO)]


# ---------------------------------------------------------------- Label Studio, as far as one task goes


@dataclass
class Studio:
    """One task there; each event happens an hour after the one before."""

    annotations: list[Json] = field(default_factory=list)
    drafts: list[Json] = field(default_factory=list)
    predictions: list[Json] = field(default_factory=list)
    image: str = "/data/upload/3/field.jpg"
    hours: int = 0

    @property
    def now(self) -> str:
        """The time, as Label Studio writes it."""
        return (NOON + timedelta(hours=self.hours)).isoformat().replace("+00:00", ".000000Z")

    def annotate(self, who: int, result: Sequence[Json], **more: Any) -> None:
        """A person submits an annotation."""
        self.annotations.append(
            {
                "id": 500 + len(self.annotations),
                "completed_by": {"id": who, "email": f"{who}@example.com"},
                "created_at": self.now,
                "updated_at": self.now,
                "was_cancelled": False,
                "parent_prediction": None,
                "result": list(result),
                **more,
            }
        )

    def of(self, who: int, which: int = 0) -> Json:
        """Which annotation of a person's, in the order in which they were made."""
        return [one for one in self.annotations if (one["completed_by"] or {}).get("id") == who][which]

    @property
    def shown(self) -> list[str]:
        """The ids on offer."""
        return [item["id"] for one in self.predictions for item in one["result"] if item["from_name"] == "patch"]

    def payload(self) -> Any:
        """`GET /api/tasks/{id}`; Label Studio lists the newest annotation first, or as it likes."""
        return json.loads(
            json.dumps(
                {
                    "id": TASK_ID,
                    "project": 3,
                    "updated_at": self.now,
                    "data": {"image": self.image},
                    "annotations": self.annotations[::-1],
                    "drafts": self.drafts,
                    "predictions": self.predictions,
                }
            )
        )


Event = Callable[[Studio], None]


def draws(who: int, *, box: Box = AREA.box) -> Event:
    """Somebody submits an ROI."""
    return lambda studio: studio.annotate(who, [region("drawn", "roi", "Background ROI", box)])


def proposes(*patches: Patch) -> Event:
    """The service offers these for the ROI; it changes its standing prediction in place, if there is one."""

    def change(studio: Studio) -> None:
        memory = Memory(before=frozenset(studio.shown))
        written = write_prediction(a_proposal(*patches, memory=memory), LABELING)
        studio.predictions = [{"id": 70, **written, "created_at": studio.now, "updated_at": studio.now}]

    return change


def submits(who: int, *parts: Kept | Json, parent: int | None = None) -> Event:
    """Somebody submits an annotation that holds these regions and no ROI of ours."""
    return lambda studio: studio.annotate(who, flat(parts), parent_prediction=parent)


def reviews(who: int, *parts: Kept | Json) -> Event:
    """Somebody submits a copy of the prediction in which these regions are left."""
    return lambda studio: studio.annotate(
        who, [studio.predictions[0]["result"][0], *flat(parts)], parent_prediction=studio.predictions[0]["id"]
    )


def flat(parts: Sequence[Kept | Json]) -> list[Json]:
    """The regions of all parts, one after another."""
    return [item for part in parts for item in ([part] if isinstance(part, dict) else part)]


def skips(who: int, *parts: Kept) -> Event:
    """Somebody skips the task, and their prefilled annotation arrives with all that is in it."""
    return lambda studio: studio.annotate(
        who, [studio.predictions[0]["result"][0], *flat(parts)], was_cancelled=True, parent_prediction=70
    )


def drafts(who: int, *parts: Kept) -> Event:
    """Somebody's browser saves what they have not submitted."""
    return lambda studio: studio.drafts.append(
        {"id": 900, "user": who, "result": [studio.predictions[0]["result"][0], *flat(parts)]}
    )


def updates(who: int, *parts: Kept | Json, which: int = 0, by: int | None = None) -> Event:
    """Somebody's annotation is submitted again, with these patches and objects in it and the ROIs that it had."""

    def change(studio: Studio) -> None:
        one = studio.of(who, which)
        rois = [item for item in one["result"] if item["id"] == "drawn" or item["id"].startswith(("roi_", "live_"))]
        one |= {"result": [*rois, *flat(parts)], "updated_at": studio.now, "updated_by": by or who}

    return change


def deletes(who: int, which: int = 0) -> Event:
    """Somebody's annotation is deleted, or turned back into a draft."""
    return lambda studio: studio.annotations.remove(studio.of(who, which))


def skips_after_all(who: int) -> Event:
    """Somebody turns the annotation that they had submitted into a skip."""
    return lambda studio: studio.of(who).update(was_cancelled=True, updated_at=studio.now)


def takes_out(patch: Patch, *, of: int, which: int = 0) -> Event:
    """A patch is deleted from somebody's annotation, and everything that was chosen for it."""

    def change(studio: Studio) -> None:
        one = studio.of(of, which)
        one |= {"result": [item for item in one["result"] if item["id"] != patch.id], "updated_at": studio.now}

    return change


def loses_its_result(who: int) -> Event:
    """The result of somebody's annotation is null, as a script may have written it."""
    return lambda studio: studio.of(who).update(result=None)


def a_week_passes(studio: Studio) -> None:
    """Nothing happens."""
    studio.hours += 24 * 7


def copies(who: int, *, of: int) -> Event:
    """Somebody duplicates another person's annotation and submits it as it is."""
    return lambda studio: studio.annotate(who, studio.of(of)["result"])


def is_deleted(who: int) -> Event:
    """A user is deleted; their annotations stay."""

    def change(studio: Studio) -> None:
        for one in studio.annotations:
            if (one["completed_by"] or {}).get("id") == who:
                one["completed_by"] = None

    return change


def image_is_replaced(studio: Studio) -> None:
    """The task's data names another file."""
    studio.image = "/data/upload/3/another.jpg"


def is_answered(who: int, *patches: Kept) -> Event:
    """Somebody draws the ROI, ONE and TWO are suggested at once, and they submit these of them."""
    answer = write_live_answer(a_proposal(ONE, TWO), LABELING)
    rest = [item for item in answer if item["from_name"] != "patch"]
    return lambda studio: studio.annotate(who, [*rest, *flat(patches)])


def says(who: int, **verdicts: tuple[Verdict, str] | Verdict) -> Event:
    """Somebody gives verdicts on our own page: `one=`, `two=` and `whole=`, with a reason if they have one."""
    named = {"one": ONE, "two": TWO, "whole": WHOLE, "by_hand": BY_HAND}
    said = []
    for name, verdict in verdicts.items():
        what, reason = verdict if isinstance(verdict, tuple) else (verdict, "")
        said.append(Said(named[name], what, reason))
    return lambda studio: studio.annotate(who, write_verdicts(said, SIZE, LABELING))


def says_anew(who: int, **verdicts: tuple[Verdict, str] | Verdict) -> Event:
    """We write somebody's verdicts into the first annotation that they have."""

    def change(studio: Studio) -> None:
        says(who, **verdicts)(studio)
        studio.of(who).update(result=studio.annotations.pop()["result"], updated_at=studio.now)

    return change


YES, NO, CANT_TELL = Verdict.ACCEPTED, Verdict.REJECTED, Verdict.UNSURE
PROPOSED = (draws(DORA), proposes(ONE, TWO))


@dataclass(frozen=True)
class History:
    """What happens, one event after another, and how verdicts are counted."""

    events: Sequence[Event]
    agreement: Agreement = field(default_factory=Agreement)
    margin: int = 0
    start: Sequence[Event] = PROPOSED

    def decisions(self) -> tuple[Decision, ...]:
        """Read what Label Studio has in the end, and decide: ONE and TWO, then other patches."""
        studio = Studio()
        for event in (*self.start, *self.events):
            event(studio)
            studio.hours += 1
        found = decide(read_task(studio.payload(), LABELING), self.agreement, self.margin)
        order = {ONE.id: 0, TWO.id: 1}
        return tuple(sorted(found, key=lambda decision: order.get(decision.patch.id, 2)))


def row(name: str, events: Sequence[Event], *states: State, **more: Any) -> Any:
    """A history with its name, and the states of ONE and TWO, then of other patches, in the end.

    Where it is of interest: `note` and `box` are what is told of the first patch, `who` is who decided it, `whose` who
    decided the last patch.
    """
    told = {key: more.pop(key) for key in ("note", "box", "who", "whose") if key in more}
    return pytest.param(History(events, **more), states, told, id=name)


HISTORIES = [
    # Nobody has submitted anything yet.
    row("nobody looked", [], PENDING, PENDING),
    row("Ann has only a draft", [drafts(ANN, kept(ONE))], PENDING, PENDING),
    row("Ann skips, with all patches in it", [skips(ANN, kept(ONE), kept(TWO))], PENDING, PENDING),
    row("Ann labels a cell and says nothing of patches", [submits(ANN, cell(CELL_ELSEWHERE))], PENDING, PENDING),
    row("a cell lies on a patch that is pending", [submits(ANN, cell(CELL_ON_ONE))], PENDING, PENDING),
    # One person.
    row("Ann accepts both", [reviews(ANN, BOTH)], ACCEPTED, ACCEPTED, who=(ANN,)),
    row("Ann takes one out", [reviews(ANN, kept(TWO))], REJECTED, ACCEPTED, who=(ANN,)),
    row("Ann takes both out", [reviews(ANN)], REJECTED, REJECTED),
    row(
        "Ann keeps one with a reason against it",
        [reviews(ANN, kept(ONE, choice="ambiguous"), kept(TWO))],
        REJECTED,
        ACCEPTED,
    ),
    row("Ann accepts, and skips another time", [reviews(ANN, BOTH), skips(ANN, kept(TWO))], ACCEPTED, ACCEPTED),
    row("Ann rejects, and skips another time", [reviews(ANN, kept(TWO)), skips(ANN, BOTH)], REJECTED, ACCEPTED),
    row("Ann accepts, Ben skips", [reviews(ANN, BOTH), skips(BEN, kept(TWO))], ACCEPTED, ACCEPTED, who=(ANN,)),
    row(
        "Ann accepts, Ben's skip is no second approval",
        [reviews(ANN, BOTH), skips(BEN, BOTH)],
        PENDING,
        PENDING,
        agreement=TWO_PEOPLE,
        note="1 of 2 approvals",
    ),
    row("Ann turns her approval into a skip", [reviews(ANN, BOTH), skips_after_all(ANN)], PENDING, PENDING),
    row("Ann accepts, and has a draft without it", [reviews(ANN, BOTH), drafts(ANN, kept(TWO))], ACCEPTED, ACCEPTED),
    row("Ann accepts, and her annotation is deleted", [reviews(ANN, BOTH), deletes(ANN)], PENDING, PENDING),
    row("Ann rejects, and her annotation is deleted", [reviews(ANN), deletes(ANN)], PENDING, PENDING),
    row(
        "Ann accepts, rejects in a second annotation, and deletes that",
        [reviews(ANN, BOTH), reviews(ANN), deletes(ANN, 1)],
        ACCEPTED,
        ACCEPTED,
    ),
    # The latest word of a person.
    row("Ann accepts, then takes it out", [reviews(ANN, BOTH), updates(ANN, kept(TWO))], REJECTED, ACCEPTED),
    row("Ann takes it out, then brings it back", [reviews(ANN, kept(TWO)), updates(ANN, BOTH)], ACCEPTED, ACCEPTED),
    row(
        "Ann accepts, and rejects in a second annotation",
        [reviews(ANN, BOTH), reviews(ANN, kept(TWO))],
        REJECTED,
        ACCEPTED,
    ),
    row(
        "Ann rejects, accepts in a second annotation, then rejects in the first again",
        [reviews(ANN, kept(TWO)), reviews(ANN, BOTH), updates(ANN, kept(TWO))],
        REJECTED,
        ACCEPTED,
    ),
    row(
        "Ann rejects, rejects in a second annotation, then accepts in the first",
        [reviews(ANN), reviews(ANN), updates(ANN, BOTH)],
        ACCEPTED,
        ACCEPTED,
    ),
    row(
        "Ann gives a reason, then takes it back",
        [reviews(ANN, kept(ONE, choice="duplicate"), kept(TWO)), updates(ANN, BOTH)],
        ACCEPTED,
        ACCEPTED,
    ),
    row(
        "Ben changes Ann's annotation: it is Ben's word",
        [reviews(ANN, BOTH), updates(ANN, kept(TWO), by=BEN)],
        REJECTED,
        ACCEPTED,
        who=(BEN,),
    ),
    row(
        "it was exported when Ann had accepted it, and a week later Ben takes it out",
        [reviews(ANN, BOTH), a_week_passes, reviews(BEN, kept(TWO))],
        REJECTED,
        ACCEPTED,
        who=(BEN,),
    ),
    row(
        "it was exported when Ann had accepted it, and a week later she moves it",
        [reviews(ANN, BOTH), a_week_passes, updates(ANN, kept(ONE, at=ELSEWHERE), kept(TWO))],
        ACCEPTED,
        ACCEPTED,
        box=ELSEWHERE,
    ),
    # Several people, one rejection is enough.
    row("Ann accepts, Ben takes it out a day later", [reviews(ANN, BOTH), reviews(BEN, kept(TWO))], REJECTED, ACCEPTED),
    row("Ann takes it out, Ben accepts", [reviews(ANN, kept(TWO)), reviews(BEN, BOTH)], REJECTED, ACCEPTED, who=(ANN,)),
    row(
        "Ann takes it out, Ben accepts, Ann agrees with him",
        [reviews(ANN, kept(TWO)), reviews(BEN, BOTH), updates(ANN, BOTH)],
        ACCEPTED,
        ACCEPTED,
        who=(ANN, BEN),
    ),
    row("one of two people", [reviews(ANN, BOTH)], PENDING, PENDING, agreement=TWO_PEOPLE, note="1 of 2 approvals"),
    row("two of two people", [reviews(ANN, BOTH), reviews(BEN, BOTH)], ACCEPTED, ACCEPTED, agreement=TWO_PEOPLE),
    row(
        "the same person twice isn't two people",
        [reviews(ANN, BOTH), reviews(ANN, BOTH)],
        PENDING,
        PENDING,
        agreement=TWO_PEOPLE,
    ),
    row(
        "of two people one withdraws by deleting",
        [reviews(ANN, BOTH), reviews(BEN, BOTH), deletes(BEN)],
        PENDING,
        PENDING,
        agreement=TWO_PEOPLE,
        who=(ANN,),
    ),
    row(
        "of two people one takes it out in an update",
        [reviews(ANN, BOTH), reviews(BEN, BOTH), updates(BEN, kept(TWO))],
        REJECTED,
        ACCEPTED,
        agreement=TWO_PEOPLE,
    ),
    row(
        "Ben duplicates Ann's annotation: two people",
        [reviews(ANN, BOTH), copies(BEN, of=ANN)],
        ACCEPTED,
        ACCEPTED,
        agreement=TWO_PEOPLE,
        who=(ANN, BEN),
    ),
    # Deleted users.
    row("Ann accepts and her account goes", [reviews(ANN, BOTH), is_deleted(ANN)], ACCEPTED, ACCEPTED, who=()),
    row("Ann rejects and her account goes", [reviews(ANN), is_deleted(ANN), reviews(BEN, BOTH)], REJECTED, REJECTED),
    row(
        "two accounts that are gone were two people",
        [reviews(ANN, BOTH), reviews(BEN, BOTH), is_deleted(ANN), is_deleted(BEN)],
        ACCEPTED,
        ACCEPTED,
        agreement=TWO_PEOPLE,
    ),
    row(
        "Ann rejects, accepts anew, and her account goes: nobody knows that it was her",
        [reviews(ANN), reviews(ANN, BOTH), is_deleted(ANN)],
        REJECTED,
        REJECTED,
    ),
    # Patches that were moved.
    row(
        "Ann moves it inside its ROI",
        [reviews(ANN, kept(ONE, at=ELSEWHERE), kept(TWO))],
        ACCEPTED,
        ACCEPTED,
        box=ELSEWHERE,
    ),
    row(
        "Ann moves it out of its ROI",
        [reviews(ANN, kept(ONE, at=OUT_OF_THE_ROI), kept(TWO))],
        STALE,
        ACCEPTED,
        note="it was moved out of its ROI",
    ),
    row(
        "Ann moves it out of its ROI, and draws another around it",
        [
            reviews(ANN, kept(ONE, at=OUT_OF_THE_ROI), kept(TWO)),
            submits(ANN, region("drawn", "roi", "Background ROI", Box.sized(1100, 100, 400, 400))),
        ],
        ACCEPTED,
        ACCEPTED,
    ),
    row(
        "Ann moves it out of the image",
        [reviews(ANN, kept(ONE, at=OUT_OF_THE_IMAGE))],
        STALE,
        REJECTED,
        note="it leaves the image",
    ),
    row(
        "Ann moves it onto a cell",
        [submits(BEN, cell(CELL_ELSEWHERE)), reviews(ANN, kept(ONE, at=ELSEWHERE), kept(TWO))],
        STALE,
        ACCEPTED,
        note="a labelled object touches it",
    ),
    row(
        "Ann moves it off a cell",
        [submits(BEN, cell(CELL_ON_ONE)), reviews(ANN, kept(ONE, at=ELSEWHERE), kept(TWO))],
        ACCEPTED,
        ACCEPTED,
    ),
    row(
        "Ann moves it away, then back",
        [reviews(ANN, kept(ONE, at=OUT_OF_THE_ROI), kept(TWO)), updates(ANN, BOTH)],
        ACCEPTED,
        ACCEPTED,
        box=ONE.box,
    ),
    row(
        "Ann accepts it here, Ben there: two people, two places",
        [reviews(ANN, BOTH), reviews(BEN, kept(ONE, at=ELSEWHERE), kept(TWO))],
        PENDING,
        ACCEPTED,
        agreement=TWO_PEOPLE,
        note="1 of 2 approvals; it was moved since others accepted it",
    ),
    row(
        "Ben moves it, and Ann follows",
        [
            reviews(ANN, BOTH),
            reviews(BEN, kept(ONE, at=ELSEWHERE), kept(TWO)),
            updates(ANN, kept(ONE, at=ELSEWHERE), kept(TWO)),
        ],
        ACCEPTED,
        ACCEPTED,
        agreement=TWO_PEOPLE,
        box=ELSEWHERE,
    ),
    row(
        "Ben moved it, and only he is named",
        [reviews(ANN, BOTH), reviews(BEN, kept(ONE, at=ELSEWHERE), kept(TWO))],
        ACCEPTED,
        ACCEPTED,
        box=ELSEWHERE,
        who=(BEN,),
    ),
    row(
        "Ann accepts it, Ben moves it, Ann accepts a third place in a new annotation: hers was the last word",
        [
            reviews(ANN, BOTH),
            reviews(BEN, kept(ONE, at=ELSEWHERE), kept(TWO)),
            reviews(ANN, kept(ONE, at=FURTHER), kept(TWO)),
        ],
        ACCEPTED,
        ACCEPTED,
        box=FURTHER,
        who=(ANN,),
    ),
    row(
        "Ann moves it and gives a reason against it",
        [reviews(ANN, kept(ONE, at=ELSEWHERE, choice="poor quality"), kept(TWO))],
        REJECTED,
        ACCEPTED,
    ),
    # Objects that are labelled later.
    row(
        "Ben labels a cell on it after Ann accepted it",
        [reviews(ANN, BOTH), submits(BEN, cell(CELL_ON_ONE))],
        STALE,
        ACCEPTED,
        note="a labelled object touches it",
        who=(ANN,),
    ),
    row(
        "Ann labels a cell on it in the annotation that accepts it",
        [reviews(ANN, BOTH, cell(CELL_ON_ONE))],
        STALE,
        ACCEPTED,
    ),
    row(
        "Ben labels a cell on it, and deletes it again",
        [reviews(ANN, BOTH), submits(BEN, cell(CELL_ON_ONE)), deletes(BEN)],
        ACCEPTED,
        ACCEPTED,
    ),
    row(
        "Ben labels a cell on it, and skips",
        [reviews(ANN, BOTH), submits(BEN, cell(CELL_ON_ONE)), skips_after_all(BEN)],
        ACCEPTED,
        ACCEPTED,
    ),
    row("a cell on a patch that was taken out", [reviews(ANN), submits(BEN, cell(CELL_ON_ONE))], REJECTED, REJECTED),
    row(
        "a cell within the margin that the patch was placed with",
        [reviews(ANN, kept(CAREFUL)), submits(BEN, cell(CELL_7_PX_BESIDE_ONE))],
        STALE,
        start=(draws(DORA), proposes(CAREFUL)),
    ),
    row(
        "a cell within that margin, and the patch's note is lost: the proposal still knows",
        [reviews(ANN, kept(CAREFUL, note=False)), submits(BEN, cell(CELL_7_PX_BESIDE_ONE))],
        STALE,
        start=(draws(DORA), proposes(CAREFUL)),
    ),
    row(
        "a cell just outside of that margin",
        [reviews(ANN, kept(CAREFUL)), submits(BEN, cell(CELL_8_PX_BESIDE_ONE))],
        ACCEPTED,
        start=(draws(DORA), proposes(CAREFUL)),
    ),
    row(
        "a cell within today's margin, but the patch was placed with none",
        [reviews(ANN, BOTH), submits(BEN, cell(CELL_7_PX_BESIDE_ONE))],
        ACCEPTED,
        ACCEPTED,
        margin=8,
    ),
    # Unsure.
    row("Ann is unsure", [reviews(ANN, kept(ONE, choice="unsure"), kept(TWO))], UNSURE, ACCEPTED, who=(ANN,)),
    row(
        "Ann is unsure, Ben accepts",
        [reviews(ANN, kept(ONE, choice="unsure"), kept(TWO)), reviews(BEN, BOTH)],
        UNSURE,
        ACCEPTED,
        who=(ANN,),
    ),
    row(
        "Ann accepts, Ben is unsure",
        [reviews(ANN, BOTH), reviews(BEN, kept(ONE, choice="unsure"), kept(TWO))],
        UNSURE,
        ACCEPTED,
        who=(BEN,),
    ),
    row(
        "Ann is unsure, Ben takes it out",
        [reviews(ANN, kept(ONE, choice="unsure"), kept(TWO)), reviews(BEN, kept(TWO))],
        REJECTED,
        ACCEPTED,
        who=(BEN,),
    ),
    row(
        "Ann is unsure, then accepts",
        [reviews(ANN, kept(ONE, choice="unsure"), kept(TWO)), updates(ANN, BOTH)],
        ACCEPTED,
        ACCEPTED,
    ),
    row(
        "Ann accepts, then is unsure",
        [reviews(ANN, BOTH), updates(ANN, kept(ONE, choice="unsure"), kept(TWO))],
        UNSURE,
        ACCEPTED,
    ),
    row(
        "Ann is unsure, and her annotation is deleted",
        [reviews(ANN, kept(ONE, choice="unsure")), deletes(ANN)],
        PENDING,
        PENDING,
    ),
    row(
        "Ann is unsure, Ben and Cem accept: still not used",
        [reviews(ANN, kept(ONE, choice="unsure"), kept(TWO)), reviews(BEN, BOTH), reviews(CEM, BOTH)],
        UNSURE,
        ACCEPTED,
        agreement=TWO_PEOPLE,
    ),
    row(
        "Ann is unsure, by majority",
        [reviews(ANN, kept(ONE, choice="unsure"), kept(TWO))],
        UNSURE,
        ACCEPTED,
        agreement=MAJORITY,
    ),
    row(
        "Ann is unsure, Ben accepts, by majority",
        [reviews(ANN, kept(ONE, choice="unsure"), kept(TWO)), reviews(BEN, BOTH)],
        UNSURE,
        ACCEPTED,
        agreement=MAJORITY,
    ),
    row(
        "Ann is unsure, Ben takes it out, by majority",
        [reviews(ANN, kept(ONE, choice="unsure"), kept(TWO)), reviews(BEN, kept(TWO))],
        REJECTED,
        ACCEPTED,
        agreement=MAJORITY,
    ),
    row(
        "Ann is unsure, two accept, by majority: more than those who don't",
        [reviews(ANN, kept(ONE, choice="unsure"), kept(TWO)), reviews(BEN, BOTH), reviews(CEM, BOTH)],
        ACCEPTED,
        ACCEPTED,
        agreement=MAJORITY,
        who=(BEN, CEM),
    ),
    row(
        "two accept, one is unsure, one takes it out, by majority",
        [
            reviews(ANN, kept(ONE, choice="unsure"), kept(TWO)),
            reviews(BEN, BOTH),
            reviews(CEM, BOTH),
            reviews(EVA, kept(TWO)),
        ],
        UNSURE,
        ACCEPTED,
        agreement=MAJORITY,
    ),
    # By majority.
    row(
        "two accept, one takes it out",
        [reviews(ANN, BOTH), reviews(BEN, BOTH), reviews(CEM, kept(TWO))],
        ACCEPTED,
        ACCEPTED,
        agreement=MAJORITY,
        who=(ANN, BEN),
    ),
    row(
        "one accepts, two take it out",
        [reviews(ANN, BOTH), reviews(BEN, kept(TWO)), reviews(CEM, kept(TWO))],
        REJECTED,
        ACCEPTED,
        agreement=MAJORITY,
        who=(BEN, CEM),
    ),
    row(
        "one accepts, one takes it out",
        [reviews(ANN, BOTH), reviews(BEN, kept(TWO))],
        PENDING,
        ACCEPTED,
        agreement=MAJORITY,
        note="1 accepted, 1 rejected: another person's verdict is needed",
    ),
    row(
        "one accepts, one takes it out, and she is convinced",
        [reviews(ANN, BOTH), reviews(BEN, kept(TWO)), updates(BEN, BOTH)],
        ACCEPTED,
        ACCEPTED,
        agreement=MAJORITY,
    ),
    row("one takes it out", [reviews(ANN, kept(TWO))], REJECTED, ACCEPTED, agreement=MAJORITY),
    row(
        "two of two accept, by majority",
        [reviews(ANN, BOTH), reviews(BEN, BOTH)],
        ACCEPTED,
        ACCEPTED,
        agreement=MAJORITY_OF_TWO,
    ),
    row(
        "one takes it out, and two are asked",
        [reviews(ANN, kept(TWO))],
        PENDING,
        PENDING,
        agreement=MAJORITY_OF_TWO,
        note="0 accepted, 1 rejected: another person's verdict is needed",
    ),
    row(
        "two of two take it out, by majority",
        [reviews(ANN, kept(TWO)), reviews(BEN, kept(TWO))],
        REJECTED,
        ACCEPTED,
        agreement=MAJORITY_OF_TWO,
    ),
    row(
        "two to two, by majority",
        [reviews(ANN, BOTH), reviews(BEN, BOTH), reviews(CEM, kept(TWO)), reviews(EVA, kept(TWO))],
        PENDING,
        ACCEPTED,
        agreement=MAJORITY_OF_TWO,
        note="2 accepted, 2 rejected: another person's verdict is needed",
    ),
    row(
        "two accept at different places, one takes it out, by majority",
        [reviews(ANN, BOTH), reviews(BEN, kept(ONE, at=ELSEWHERE), kept(TWO)), reviews(CEM, kept(TWO))],
        PENDING,
        ACCEPTED,
        agreement=MAJORITY,
    ),
    row(
        "three accept, one of them at another place, two take it out, by majority: not the majority's rejection",
        [
            reviews(ANN, BOTH),
            reviews(BEN, BOTH),
            reviews(CEM, kept(ONE, at=ELSEWHERE), kept(TWO)),
            reviews(DORA, kept(TWO)),
            reviews(EVA, kept(TWO)),
        ],
        PENDING,
        ACCEPTED,
        agreement=MAJORITY,
    ),
    row(
        "the majority's patch gets a cell",
        [reviews(ANN, BOTH), reviews(BEN, BOTH), reviews(CEM, kept(TWO)), submits(EVA, cell(CELL_ON_ONE))],
        STALE,
        ACCEPTED,
        agreement=MAJORITY,
    ),
    # Who drew, where that doesn't count.
    row("Dora accepts patches of her own ROI", [reviews(DORA, BOTH)], ACCEPTED, ACCEPTED, who=(DORA,)),
    row(
        "Dora accepts patches of her own ROI, and that doesn't count",
        [reviews(DORA, BOTH)],
        PENDING,
        PENDING,
        agreement=NOT_WHO_DREW,
        who=(),
    ),
    row(
        "Dora rejects a patch of her own ROI",
        [reviews(DORA, kept(TWO))],
        REJECTED,
        PENDING,
        agreement=NOT_WHO_DREW,
        who=(DORA,),
    ),
    row(
        "Dora accepts what was answered at once, and that doesn't count",
        [is_answered(DORA, kept(ONE), kept(TWO))],
        PENDING,
        PENDING,
        agreement=NOT_WHO_DREW,
        start=(),
    ),
    row(
        "Dora accepts what was answered at once, and Ben copies it",
        [is_answered(DORA, kept(ONE), kept(TWO)), copies(BEN, of=DORA)],
        ACCEPTED,
        ACCEPTED,
        agreement=NOT_WHO_DREW,
        start=(),
        who=(BEN,),
    ),
    row(
        "Dora submits hers again after Ben copied it: she still is who drew",
        [
            is_answered(DORA, kept(ONE), kept(TWO)),
            copies(BEN, of=DORA),
            updates(DORA, kept(ONE), kept(TWO)),
        ],
        ACCEPTED,
        ACCEPTED,
        agreement=NOT_WHO_DREW,
        start=(),
        who=(BEN,),
    ),
    row(
        "Dora draws, answered at once, Ben accepts on our page",
        [is_answered(DORA, kept(ONE), kept(TWO)), says(BEN, one=YES)],
        ACCEPTED,
        PENDING,
        agreement=NOT_WHO_DREW,
        start=(),
        who=(BEN,),
    ),
    row(
        "Dora takes one of those that were answered at once out",
        [is_answered(DORA, kept(TWO))],
        REJECTED,
        PENDING,
        agreement=NOT_WHO_DREW,
        start=(),
    ),
    row(
        "Dora takes one that was answered at once out, and drawing counts",
        [is_answered(DORA, kept(TWO))],
        REJECTED,
        ACCEPTED,
        start=(),
    ),
    row(
        "Dora takes one that was answered at once out, Ben has it without a note: she drew its ROI, so he counts",
        [is_answered(DORA, kept(TWO)), submits(BEN, kept(ONE, note=False))],
        PENDING,
        PENDING,
        agreement=Agreement(majority=True, drawing_counts=False),
        start=(),
        note="1 accepted, 1 rejected: another person's verdict is needed",
    ),
    row("Ann accepts patches of Dora's ROI", [reviews(ANN, BOTH)], ACCEPTED, ACCEPTED, agreement=NOT_WHO_DREW),
    row(
        "Dora and Ann accept, two are asked, and Dora doesn't count",
        [reviews(DORA, BOTH), reviews(ANN, BOTH)],
        PENDING,
        PENDING,
        agreement=Agreement(2, drawing_counts=False),
        who=(ANN,),
        note="1 of 2 approvals",
    ),
    row(
        "Ann accepts and Dora moves it: her place doesn't count either",
        [reviews(ANN, BOTH), reviews(DORA, kept(ONE, at=ELSEWHERE), kept(TWO))],
        ACCEPTED,
        ACCEPTED,
        agreement=NOT_WHO_DREW,
        box=ONE.box,
    ),
    row(
        "Dora drew, and her account goes: what she accepted is somebody's word",
        [reviews(DORA, BOTH), is_deleted(DORA)],
        ACCEPTED,
        ACCEPTED,
        agreement=NOT_WHO_DREW,
    ),
    row(
        "Dora accepts her own by majority, one takes it out",
        [reviews(DORA, BOTH), reviews(ANN, kept(TWO))],
        REJECTED,
        ACCEPTED,
        agreement=Agreement(majority=True, drawing_counts=False),
    ),
    # Patches drawn by hand.
    row("Ann draws a patch by hand", [submits(ANN, kept(BY_HAND))], PENDING, PENDING, ACCEPTED),
    row(
        "Ann draws a patch by hand, outside of every ROI, on a cell",
        [submits(ANN, kept(BY_HAND)), submits(BEN, cell(Box.sized(1080, 1030, 30, 30)))],
        PENDING,
        PENDING,
        STALE,
    ),
    row(
        "Ann draws a patch by hand within the project's margin of a cell",
        [submits(ANN, kept(BY_HAND)), submits(BEN, cell(Box.sized(1095, 950, 30, 30)))],
        PENDING,
        PENDING,
        STALE,
        margin=6,
    ),
    row(
        "Ann draws a patch by hand, and that doesn't count",
        [submits(ANN, kept(BY_HAND))],
        PENDING,
        PENDING,
        PENDING,
        agreement=NOT_WHO_DREW,
    ),
    row(
        "Ann draws a patch by hand, and Ben accepts it on our page",
        [submits(ANN, kept(BY_HAND)), says(BEN, by_hand=YES)],
        PENDING,
        PENDING,
        ACCEPTED,
        agreement=NOT_WHO_DREW,
    ),
    row(
        "Ann draws a patch by hand, Ben keeps a copy of it with a reason against it",
        [submits(ANN, kept(BY_HAND)), submits(BEN, kept(BY_HAND, choice="object inside"))],
        PENDING,
        PENDING,
        REJECTED,
    ),
    row(
        "Ann draws a patch by hand and deletes it",
        [submits(ANN, kept(BY_HAND), cell(CELL_ELSEWHERE)), updates(ANN, cell(CELL_ELSEWHERE))],
        PENDING,
        PENDING,
    ),
    row(
        "Ann draws a patch by hand, and Ben's older annotation of verdicts is written anew with it: Ann drew",
        [says(BEN, one=YES), submits(ANN, kept(BY_HAND)), says_anew(BEN, by_hand=YES)],
        PENDING,
        PENDING,
        ACCEPTED,
        agreement=NOT_WHO_DREW,
        whose=(BEN,),
    ),
    # Proposals that change while somebody looks, and copies that have lost their ROI.
    row(
        "Ann's copy has lost its ROI, and the prediction says what she was shown",
        [submits(ANN, kept(TWO), parent=70)],
        REJECTED,
        ACCEPTED,
    ),
    row("without ROI and parent, a patch that it holds says it", [submits(ANN, kept(TWO))], REJECTED, ACCEPTED),
    row("Ann took out everything, the ROI too", [submits(ANN, parent=70)], REJECTED, REJECTED),
    row(
        "Ann took out everything, the ROI too, and the result is null",
        [submits(ANN, parent=70), loses_its_result(ANN)],
        REJECTED,
        REJECTED,
    ),
    row("Ann submits nothing at all, made of nothing", [submits(ANN)], PENDING, PENDING),
    row(
        "the proposal changed after Ann's copy that has lost its ROI: of the new one she says nothing",
        [submits(ANN, kept(TWO), parent=70), proposes(ONE, TWO, NEW)],
        REJECTED,
        ACCEPTED,
        PENDING,
    ),
    row(
        "the proposal changed while Ann looked at the old one with its ROI",
        [
            lambda studio: studio.annotate(ANN, [studio.predictions[0]["result"][0], *kept(TWO)]),
            proposes(ONE, TWO, NEW),
            updates(ANN, kept(ONE)),
        ],
        ACCEPTED,
        REJECTED,
        PENDING,
    ),
    row(
        "the proposal took a patch back that Ann has accepted",
        [reviews(ANN, BOTH), proposes(TWO)],
        ACCEPTED,
        ACCEPTED,
    ),
    row(
        "the proposal took a patch back that Ann has rejected: nobody knows it any more",
        [reviews(ANN, kept(TWO)), proposes(TWO)],
        ACCEPTED,
    ),
    row(
        "the proposal is new, and Ben looks at it after Ann did",
        [reviews(ANN, BOTH), proposes(ONE, TWO, NEW), reviews(BEN, kept(ONE), kept(TWO))],
        ACCEPTED,
        ACCEPTED,
        REJECTED,
    ),
    row("a note that was rewritten loses nothing", [reviews(ANN, kept(ONE, note=False))], ACCEPTED, REJECTED),
    row("Dora's ROI is gone, what Ann accepted stays", [reviews(ANN, BOTH), deletes(DORA)], ACCEPTED, ACCEPTED),
    row(
        "Dora's ROI is gone, and Ann moves a patch out of where it was",
        [deletes(DORA), reviews(ANN, kept(ONE, at=OUT_OF_THE_ROI), kept(TWO))],
        STALE,
        ACCEPTED,
    ),
    # Verdicts that we wrote.
    row("Ann accepts one on our page", [says(ANN, one=YES)], ACCEPTED, PENDING, who=(ANN,)),
    row("Ann rejects one plainly on our page", [says(ANN, one=NO)], REJECTED, PENDING),
    row("Ann rejects one with a reason on our page", [says(ANN, one=(NO, "duplicate"), two=YES)], REJECTED, ACCEPTED),
    row("Ann is unsure on our page", [says(ANN, one=CANT_TELL, two=YES)], UNSURE, ACCEPTED),
    row(
        "Ann accepts both, later she rejects one on our page: that alone changes",
        [reviews(ANN, BOTH), says(ANN, one=NO)],
        REJECTED,
        ACCEPTED,
    ),
    row(
        "Ann rejects both, later she accepts one on our page",
        [reviews(ANN), says(ANN, one=YES)],
        ACCEPTED,
        REJECTED,
    ),
    row(
        "Ann rejects on our page, later she accepts in Label Studio",
        [says(ANN, one=NO), reviews(ANN, BOTH)],
        ACCEPTED,
        ACCEPTED,
    ),
    row(
        "Ann gives two verdicts on our page, later one of them anew",
        [says(ANN, one=NO, two=NO), says(ANN, two=YES)],
        REJECTED,
        ACCEPTED,
    ),
    row("we write Ann's verdicts anew", [says(ANN, one=NO), says_anew(ANN, one=YES, two=NO)], ACCEPTED, REJECTED),
    row(
        "Ann accepts on our page, and somebody takes one out of that annotation",
        [says(ANN, one=YES, two=YES), takes_out(ONE, of=ANN)],
        REJECTED,
        ACCEPTED,
    ),
    row(
        "Ann is unsure on our page, and somebody takes it out of that annotation",
        [says(ANN, one=CANT_TELL, two=YES), takes_out(ONE, of=ANN)],
        REJECTED,
        ACCEPTED,
    ),
    row(
        "Ann accepts on our page, and the annotation is deleted",
        [says(ANN, one=YES, two=YES), deletes(ANN)],
        PENDING,
        PENDING,
    ),
    row(
        "Ann accepts in Label Studio, Ben on our page",
        [reviews(ANN, BOTH), says(BEN, one=YES)],
        ACCEPTED,
        PENDING,
        agreement=TWO_PEOPLE,
        who=(ANN, BEN),
    ),
    row(
        "Ann accepts in both places: one person",
        [reviews(ANN, BOTH), says(ANN, one=YES)],
        PENDING,
        PENDING,
        agreement=TWO_PEOPLE,
    ),
    row(
        "Dora accepts on our page, and that doesn't count",
        [says(DORA, one=YES, two=NO)],
        PENDING,
        REJECTED,
        agreement=NOT_WHO_DREW,
    ),
    row(
        "Ann moved it, and on our page she accepts it where it was offered",
        [reviews(ANN, kept(ONE, at=OUT_OF_THE_ROI), kept(TWO)), says(ANN, one=YES)],
        ACCEPTED,
        ACCEPTED,
        box=ONE.box,
    ),
    # The whole image as a patch.
    row("Ann accepts the whole image, nothing else is there", [says(ANN, whole=YES)], ACCEPTED, start=()),
    row(
        "Ann accepts the whole image, and Ben labels a cell in it",
        [says(ANN, whole=YES), submits(BEN, cell(CELL_ELSEWHERE))],
        STALE,
        start=(),
        note="a labelled object touches it",
    ),
    row("Ann rejects the whole image", [says(ANN, whole=(NO, "object inside"))], REJECTED, start=()),
    row(
        "Ann accepts the whole image, Ben is unsure",
        [says(ANN, whole=YES), says(BEN, whole=CANT_TELL)],
        UNSURE,
        start=(),
    ),
    row(
        "Ann accepts the whole image, beside a proposal",
        [says(ANN, whole=YES)],
        PENDING,
        PENDING,
        ACCEPTED,
    ),
    row(
        "Ann accepts the whole image, which nobody drew",
        [says(ANN, whole=YES)],
        ACCEPTED,
        start=(),
        agreement=NOT_WHO_DREW,
    ),
    # Another image.
    row(
        "the image is replaced after Ann accepted",
        [reviews(ANN, kept(ONE)), image_is_replaced],
        STALE,
        REJECTED,
        note="the image was replaced since",
    ),
    row(
        "the image is replaced after Dora accepted what was answered at once",
        [is_answered(DORA, kept(ONE), kept(TWO)), image_is_replaced],
        STALE,
        STALE,
        start=(),
    ),
    row(
        "the image is replaced after Ann accepted on our page",
        [says(ANN, one=YES, two=NO), image_is_replaced],
        STALE,
        REJECTED,
    ),
    row("the image is replaced while nobody looks", [image_is_replaced], PENDING, PENDING),
    row(
        "another size is told by a later annotation",
        [reviews(ANN, BOTH), submits(BEN, cell(CELL_ELSEWHERE) | {"original_width": 800})],
        STALE,
        STALE,
    ),
    row(
        "a later annotation can't be read: nothing counts as proved",
        [reviews(ANN, kept(TWO)), submits(BEN, cell(CELL_ELSEWHERE) | {"value": {"faces": []}})],
        REJECTED,
        STALE,
    ),
]


@pytest.mark.parametrize(("history", "states", "told"), HISTORIES)
def test_where_patches_stand_after_all_that_happened(
    history: History, states: Sequence[State], told: Mapping[str, object]
) -> None:
    """Only what people submitted counts, each person's latest word, at the place where the patch now lies."""
    decisions = history.decisions()
    first, last = decisions[0], decisions[-1]
    found = {"note": first.note, "box": first.patch.box, "who": first.reviewers, "whose": last.reviewers}
    assert ([one.state for one in decisions], {key: found[key] for key in told}) == (list(states), dict(told))
