"""What a queue's project says: to Label Studio, to reviewers, and to us when it comes back."""

import json
from base64 import urlsafe_b64decode
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.geometry import Box
from service.domain.model import Agreement, Patch, Queue, QueueLayout, QueueTask, Roi, Verdict
from service.label_studio.labeling import REASONS, ROI_SHAPES, UNSURE, VERDICTS, read_labeling
from service.label_studio.payloads import Said, fingerprint, write_verdicts
from service.label_studio.queue_project import (
    INSTRUCTIONS,
    KEYS,
    LABELINGS,
    Shown,
    marker,
    queue_config,
    queue_image,
    queue_of,
    queue_url,
    read_queue_task,
    write_queue_result,
    write_queue_task,
)
from service.review import decide
from tests.factories import outlines, roi, roi_of, task
from tests.label_studio.queued import (
    ANN,
    AREA,
    BEN,
    MOMENT,
    ONE,
    PATCH,
    PROPOSAL,
    QUEUE,
    SOURCE,
    STUDIO,
    TWO,
    listed,
    proposed,
    said,
    submitted,
)

HOOK = "http://negatives.internal:9090/webhooks/label-studio"
SIZE = (1600, 1200)
PIECE = proposed(Box.sized(470, 470, 60, 60))
"""A patch that lies in each of the outlines below."""
SHAPES: dict[str, Roi] = {
    "rectangle": AREA,
    **{name: roi_of(outline) for name, outline in outlines(500, 500, 200).items()},
}


def queue(layout: QueueLayout = PROPOSAL) -> Queue:
    """The queue."""
    return Queue(QUEUE, SOURCE, layout)


def read(payload: dict[str, Any], layout: QueueLayout = PROPOSAL) -> QueueTask:
    """A task of ours, read."""
    found = read_queue_task(payload, queue(layout))
    assert found is not None
    return found


# ---------------------------------------------------------------- the address of its webhook


@given(st.integers(1), st.integers(1), st.sampled_from(QueueLayout))
def test_a_queue_is_known_by_its_webhook(project: int, source: int, layout: QueueLayout) -> None:
    """Which project it is of, and what a task of it shows."""
    assert queue_of(project, queue_url(HOOK, source, layout)) == Queue(project, source, layout)


@pytest.mark.parametrize("query", ["", "?reviews=3", "?layout=patch", "?reviews=x&layout=patch", "?reviews=3&layout=x"])
def test_any_other_webhook_is_none_of_a_queue(query: str) -> None:
    """A source project's own, or somebody else's."""
    assert queue_of(QUEUE, HOOK + query) is None


@pytest.mark.parametrize("url", ["http://x.example/hook", "http://x.example/webhooks/label-studio/more", "nonsense"])
def test_another_service_s_webhook_is_no_queue(url: str) -> None:
    """Whatever it is asked with."""
    assert queue_of(QUEUE, queue_url(url, SOURCE, PATCH)) is None


def test_a_service_below_a_prefix_has_queues() -> None:
    """Its address ends all the same."""
    assert queue_of(QUEUE, queue_url("https://x.example/negatives/webhooks/label-studio", SOURCE, PATCH)) is not None


def test_the_webhook_of_an_organization_is_no_queue() -> None:
    """It belongs to no project."""
    assert queue_of(None, queue_url(HOOK, 3, PATCH)) is None


@pytest.mark.parametrize("layout", QueueLayout)
def test_the_labeling_configuration_says_whose_queue_it_is(layout: QueueLayout) -> None:
    """Of one source and one layout only: not of project 11 for project 1."""
    assert marker(1, layout) in queue_config(1, layout)
    others = [queue_config(11, layout), *(queue_config(1, other) for other in QueueLayout if other is not layout)]
    assert [text for text in others if marker(1, layout) in text] == []


# ---------------------------------------------------------------- the labeling configuration


def config(layout: QueueLayout) -> str:
    """Of a queue whose source draws ROIs of every shape."""
    return queue_config(SOURCE, layout, ROI_SHAPES.values())


def controls(layout: QueueLayout) -> dict[str, ElementTree.Element]:
    """Its named tags."""
    found = [tag for tag in ElementTree.fromstring(config(layout)).iter() if tag.get("name")]
    assert len(found) == len({tag.get("name") for tag in found})
    return {str(tag.get("name")): tag for tag in found}


def accepts(named: dict[str, ElementTree.Element], result: dict[str, Any]) -> bool:
    """Whether Label Studio takes a result: its control is there, of its type, on its image, with its label."""
    control = named[result["from_name"]]
    chosen = [word for key, value in result["value"].items() if key in ("choices", result["type"]) for word in value]
    return (
        control.tag.lower() == result["type"]
        and control.get("toName") == result["to_name"]
        and named[result["to_name"]].tag == "Image"
        and len(chosen) == 1
        and chosen[0] in [child.get("value") for child in control]
    )


@pytest.mark.parametrize("shape", SHAPES)
def test_what_a_queue_shows_is_what_its_configuration_has(shape: str) -> None:
    """Label Studio stores on import what it can't show, without a word."""
    named = controls(PROPOSAL)
    results = write_queue_result(task(SHAPES[shape]), [PIECE])
    assert [accepts(named, result) for result in results] == [True, True]


def test_every_shape_of_an_roi_is_tried_above() -> None:
    """One that is added later isn't left untested."""
    drawn = {write_queue_result(task(drawn), [PIECE])[-1]["from_name"] for drawn in SHAPES.values()}
    assert drawn == set(ROI_SHAPES.values())


@pytest.mark.parametrize("choice", [*REASONS, "rejected", UNSURE])
def test_every_verdict_on_a_patch_is_what_the_configuration_has(choice: str) -> None:
    """As a person gives it there, and as we write it."""
    verdict = Verdict.UNSURE if choice == UNSURE else Verdict.REJECTED
    reason = choice if choice in REASONS else ""
    results = write_verdicts([Said(ONE, verdict, reason)], SIZE, LABELINGS[PROPOSAL])
    assert results[-1]["value"]["choices"] == [choice]
    assert [accepts(controls(PROPOSAL), result) for result in results] == [True, True]


def test_single_patches_have_every_verdict() -> None:
    """To accept, each reason, without a reason, and unsure; one at a time, and not without one."""
    control = controls(PATCH)["verdict"]
    assert [choice.get("value") for choice in control] == ["accepted", *REASONS, "rejected", "unsure"]
    assert (control.tag, control.get("toName"), control.get("choice")) == ("Choices", "image", "single")
    assert control.get("required") == "true"


@pytest.mark.parametrize("layout", QueueLayout)
def test_no_key_has_two_meanings(layout: QueueLayout) -> None:
    """On one screen."""
    root = ElementTree.fromstring(queue_config(SOURCE, layout))
    keys = [key for tag in root.iter() if (key := tag.get("hotkey"))]
    assert keys
    assert len(keys) == len(set(keys))


def test_reviewers_draw_nothing() -> None:
    """What would draw is out of sight, and has no key."""
    root = ElementTree.fromstring(config(PROPOSAL))
    (hidden,) = (tag for tag in root.iter("View") if tag.get("className") == "negatives-hidden")
    drawing = [tag for tag in root.iter() if tag.tag.endswith("Labels")]
    assert {tag.get("name") for tag in drawing} == {*ROI_SHAPES.values(), "patch"}
    assert set(drawing) <= set(hidden.iter())
    assert not [tag for tag in hidden.iter() if tag.get("hotkey")]
    assert ".negatives-hidden { display: none; }" in "".join(style.text or "" for style in root.iter("Style"))


@pytest.mark.parametrize("layout", QueueLayout)
def test_the_image_and_the_link_are_what_a_task_holds(layout: QueueLayout) -> None:
    """Each value that the configuration names is in every task of ours."""
    named = ElementTree.fromstring(queue_config(SOURCE, layout))
    shown = {tag.get("value", "")[1:] for tag in named.iter() if tag.get("value", "").startswith("$")}
    assert shown == {"image", "source_link"}
    assert shown <= listed(layout)["data"].keys()
    assert (LABELINGS[layout].image, LABELINGS[layout].data_key) == ("image", "image")
    assert LABELINGS[layout] == read_labeling(config(layout))


@pytest.mark.parametrize(("layout", "keys"), [(PROPOSAL, VERDICTS), (PATCH, KEYS)])
def test_the_instructions_name_every_key(layout: QueueLayout, keys: dict[str, str]) -> None:
    """With what it says."""
    for word, key in keys.items():
        assert not key or f"<b>{key.upper()}</b> {word}" in INSTRUCTIONS[layout]


# ---------------------------------------------------------------- a task, as it is imported


class Reader(HTMLParser):
    """The tags and the text of a piece of HTML."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


@pytest.mark.parametrize("studio", [STUDIO, f"{STUDIO}/labels"])
def test_a_task_links_to_its_source(studio: str) -> None:
    """In a tab of its own, on whatever host the reviewer's browser is."""
    data = write_queue_task(Shown(task(AREA), [ONE]), PROPOSAL, "/x.jpg", "field.jpg", studio)["data"]
    ((tag, attributes),) = Reader(data["source_link"]).tags
    prefix = "/labels" if "labels" in studio else ""
    assert (tag, attributes["href"]) == ("a", f"{prefix}/projects/3/data?task=7")
    assert (attributes["target"], attributes["rel"]) == ("_blank", "noopener")


@pytest.mark.parametrize("name", ["<img src=x onerror=alert(1)>.png", 'a"b.png', "a&b;&lt;.png", "</a><script>x"])
def test_a_file_s_name_is_text_and_nothing_else(name: str) -> None:
    """Label Studio shows HTML as it is."""
    html = write_queue_task(Shown(task(AREA), [ONE]), PROPOSAL, "/x.jpg", name, STUDIO)["data"]["source_link"]
    shown = Reader(html)
    assert ([tag for tag, _ in shown.tags], shown.text) == (["a"], f"{name} (task 7)")
    assert '"' not in html.partition(">")[2]


def test_a_task_says_whose_it_is_and_is_prefilled() -> None:
    """Its data by number, as Label Studio filters by the type that is stored; one prediction of ours."""
    payload = write_queue_task(Shown(task(AREA), [ONE, TWO]), PROPOSAL, "/x.jpg", "field.jpg", STUDIO)
    data = payload["data"]
    assert (data["image"], data["source_project"], data["source_task"]) == ("/x.jpg", 3, 7)
    assert data["source_image"] == task(AREA).image_digest
    assert [one["model_version"] for one in payload["predictions"]] == ["negatives"]
    assert [one["id"] for one in payload["predictions"][0]["result"]][:2] == [ONE.id, TWO.id]


def test_a_single_patch_has_no_prediction() -> None:
    """There is nothing to draw on its picture, and the verdict is the reviewer's own."""
    payload = write_queue_task(Shown(task(AREA), [ONE]), PATCH, "/x.jpg", "field.jpg", STUDIO)
    assert payload.keys() == {"data"}
    assert json.loads(json.dumps(payload)) == payload


# ---------------------------------------------------------------- its image


@pytest.mark.parametrize("link", ["s3://bucket/a b/ä+?.png", "gs://b/x.png", "azure-blob://c/x.png"])
@pytest.mark.parametrize(("studio", "prefix"), [(STUDIO, ""), (f"{STUDIO}/labels", "/labels")])
def test_a_cloud_image_goes_through_its_own_project(link: str, studio: str, prefix: str) -> None:
    """Its storage opens it, so the queue needs none; and the task may be deleted."""
    parts = urlsplit(queue_image(replace(task(AREA), image=link), studio))
    assert (parts.scheme, parts.netloc, parts.path) == ("", "", f"{prefix}/projects/3/resolve/")
    assert urlsafe_b64decode(parse_qs(parts.query, strict_parsing=True)["fileuri"][0]).decode() == link


@pytest.mark.parametrize(
    "address", ["/data/upload/3/a.jpg", "/data/local-files/?d=a.jpg", "https://x.example/a.jpg?s=1"]
)
def test_any_other_image_is_named_as_its_source_names_it(address: str) -> None:
    """Label Studio or the browser opens it everywhere."""
    assert queue_image(replace(task(AREA), image=address), STUDIO) == address


# ---------------------------------------------------------------- what a task shows


def test_only_rois_with_a_patch_that_waits_are_shown() -> None:
    """The others would only be in the way; and below its patches: Label Studio draws the first on top."""
    elsewhere = roi(1000, 100, 500, 500, region_id="other")
    results = write_queue_result(task(AREA, elsewhere), [ONE])
    assert [result["from_name"] for result in results] == ["patch", "roi"]


def test_each_roi_is_shown_that_holds_one_of_the_patches() -> None:
    """It need not hold all of them."""
    elsewhere = roi(1000, 100, 500, 500, region_id="other")
    results = write_queue_result(task(AREA, elsewhere), [ONE, proposed(Box.sized(1100, 200, 100, 100))])
    assert [result["from_name"] for result in results] == ["patch", "patch", "roi", "roi"]


def test_each_region_lists_what_was_shown() -> None:
    """So that an annotation says it, whichever of them is deleted."""
    other = roi(150, 150, 700, 700, region_id="other")
    results = write_queue_result(task(AREA, other), [ONE, TWO])
    assert len(results) == 4
    assert [result["meta"]["negatives"]["shown"] for result in results] == [[ONE.id, TWO.id]] * 4


def test_a_patch_whose_roi_is_gone_is_shown_all_the_same() -> None:
    """It says itself where it comes from."""
    (only,) = write_queue_result(task(), [ONE])
    assert only["id"] == ONE.id
    assert only["meta"]["negatives"]["shown"] == [ONE.id]


def test_a_patch_drawn_by_hand_is_shown_too() -> None:
    """It has no provenance."""
    by_hand = Patch("Xy12", Box.sized(600, 600, 80, 80))
    assert read(listed(PROPOSAL, by_hand)).offers == {"Xy12": by_hand.box}


# ---------------------------------------------------------------- a task, as it comes back


@pytest.mark.parametrize("shape", SHAPES)
def test_a_task_that_comes_back_is_as_it_was_written(shape: str) -> None:
    """So that filling again changes nothing."""
    source = task(SHAPES[shape])
    back = read(json.loads(json.dumps(listed(PROPOSAL, PIECE, of=source))))
    assert (back.offers, back.image) == ({PIECE.id: PIECE.box}, source.image_digest)
    assert back.content == fingerprint(write_queue_result(source, [PIECE]))
    assert back.content != fingerprint(write_queue_result(source, [PIECE, ONE]))
    assert (back.id, back.queue, back.source, back.prediction) == (500, queue(), 7, 1500)


def test_what_a_reviewer_keeps_has_its_provenance() -> None:
    """A patch explains itself wherever it was accepted."""
    payload = listed(PROPOSAL)
    payload["annotations"] = [submitted(payload["predictions"][0]["result"])]
    (review,) = read(payload).reviews
    assert review.held == (ONE, TWO)
    assert (review.reviewer, review.annotation_id) == (BEN, 900)
    assert review.shown == {ONE.id, TWO.id}
    assert not review.inferred


@given(
    st.builds(Box.sized, *[st.integers(0, 500)] * 2, *[st.integers(1, 500)] * 2),
    st.sampled_from(["accepted", "unsure", "rejected", "ambiguous"]),
)
def test_a_single_patch_keeps_box_and_provenance(box: Box, choice: str) -> None:
    """Its task holds what its picture can't: on the way there and back nothing is lost."""
    one = proposed(box)
    payload = json.loads(json.dumps(listed(PATCH, one, annotations=[said(choice)])))
    back = read(payload, PATCH)
    assert (back.offers, back.image) == ({one.id: one.box}, task().image_digest)
    assert [review.held for review in back.reviews] == [(one,)]


@pytest.mark.parametrize(
    ("choice", "verdict", "reason"),
    [
        ("accepted", Verdict.ACCEPTED, ""),
        ("unsure", Verdict.UNSURE, ""),
        ("rejected", Verdict.REJECTED, ""),
        *((reason, Verdict.REJECTED, reason) for reason in REASONS),
    ],
)
def test_every_key_on_a_single_patch_says_what_it_means(choice: str, verdict: Verdict, reason: str) -> None:
    """As a vote of the person who pressed it."""
    back = read(listed(PATCH, annotations=[said(choice)]), PATCH)
    assert back.refusal is None
    ((vote,),) = (one.votes for one in decide(task(AREA, reviews=back.reviews), Agreement()))
    assert (vote.verdict, vote.reason, vote.reviewer, vote.annotation_id) == (verdict, reason, BEN, 900)


def test_two_people_on_a_single_patch() -> None:
    """Each says their own."""
    back = read(listed(PATCH, annotations=[said("accepted", by=ANN, annotation=1), said("rejected")]), PATCH)
    assert [(one.reviewer, dict(one.reasons)) for one in back.reviews] == [(ANN, {}), (BEN, {ONE.id: ""})]


@pytest.mark.parametrize(
    "annotation",
    [said("rejected", was_cancelled=True), submitted([]), submitted([{"from_name": "other", "value": {}}])],
    ids=["skipped", "empty", "somebody else's control"],
)
def test_what_is_no_verdict_says_nothing(annotation: dict[str, Any]) -> None:
    """But the task was touched."""
    back = read(listed(PATCH, annotations=[annotation]), PATCH)
    assert (back.reviews, back.refusal, back.is_touched) == ((), None, True)


UNREADABLE: dict[str, Any] = {
    "no choice": submitted([{"from_name": "verdict", "value": {"choices": []}}]),
    "no value": submitted([{"from_name": "verdict"}]),
    "no result": {key: value for key, value in said("rejected").items() if key != "result"},
    "no list": said("rejected") | {"result": 7},
}


@pytest.mark.parametrize("annotation", UNREADABLE.values(), ids=UNREADABLE)
def test_a_verdict_that_cannot_be_read_is_told(annotation: dict[str, Any]) -> None:
    """It may have been a rejection: silence would accept."""
    back = read(listed(PATCH, annotations=[said("accepted", by=ANN, annotation=1), annotation]), PATCH)
    assert back.refusal is not None
    assert "a verdict" in back.refusal


def test_a_region_that_cannot_be_read_is_told() -> None:
    """On the whole picture, too."""
    payload = listed(PROPOSAL)
    broken = payload["predictions"][0]["result"][1] | {"original_width": None}
    back = read(payload | {"annotations": [submitted([broken])]})
    assert back.refusal is not None
    assert "annotation 900" in back.refusal


@pytest.mark.parametrize("layout", QueueLayout)
@pytest.mark.parametrize("moment", [None, "2026-03-01T12:00:00"], ids=["no time", "a time without a zone"])
def test_an_annotation_without_its_time_is_told(layout: QueueLayout, moment: str | None) -> None:
    """It may have been a rejection: silence would accept."""
    payload = listed(layout, ONE, annotations=[said("rejected", updated_at=moment)])
    assert read(payload, layout).refusal is not None


@pytest.mark.parametrize(
    ("more", "is_open", "is_touched"),
    [
        ({}, True, False),
        ({"is_labeled": True}, False, False),
        ({"annotations": [submitted([], was_cancelled=True)]}, True, True),
        ({"drafts": [{"id": 3, "result": []}]}, True, True),
        ({"draft_exists": True}, True, True),
        ({"annotations": None, "drafts": None}, True, False),
        ({"is_labeled": True, "annotations": [submitted([])]}, False, True),
    ],
    ids=["new", "retired", "skipped", "begun", "begun, told otherwise", "without the lists", "done"],
)
@pytest.mark.parametrize("layout", QueueLayout)
def test_what_becomes_of_a_task_is_seen(
    layout: QueueLayout, more: dict[str, Any], is_open: bool, is_touched: bool
) -> None:
    """Whether reviewers are given it, and whether somebody has begun."""
    back = read(listed(layout) | more, layout)
    assert (back.is_open, back.is_touched, back.updated_at.isoformat()) == (is_open, is_touched, MOMENT[:19] + "+00:00")


def test_the_size_is_what_reviewers_saw() -> None:
    """Known once somebody has submitted regions."""
    payload = listed(PROPOSAL)
    assert read(payload).size is None
    assert read(payload | {"annotations": [submitted(payload["predictions"][0]["result"])]}).size == SIZE


FOREIGN: dict[str, dict[str, Any]] = {
    "no data": {"data": None},
    "data of another kind": {"data": {"image": "/x.jpg"}},
    "another source": {"data": listed(PROPOSAL)["data"] | {"source_project": SOURCE + 1}},
    "no number": {"data": listed(PROPOSAL)["data"] | {"source_task": "seven"}},
}


@pytest.mark.parametrize("layout", QueueLayout)
@pytest.mark.parametrize("more", FOREIGN.values(), ids=FOREIGN)
def test_a_task_that_others_put_there_is_none_of_ours(layout: QueueLayout, more: dict[str, Any]) -> None:
    """Nothing of it is read, and nothing is done to it."""
    assert read_queue_task(listed(layout) | more, queue(layout)) is None


@pytest.mark.parametrize(
    "noted", [None, [], {}, {"id": "neg_1", "box": [1, 2, 3]}, {"id": "neg_1", "box": [1, 2, 0, 9]}]
)
def test_a_single_patch_that_does_not_say_where_it_lies_is_none_of_ours(noted: object) -> None:
    """Nothing can be said of it."""
    payload = listed(PATCH)
    assert read_queue_task(payload | {"data": payload["data"] | {"patch": noted}}, queue(PATCH)) is None


@pytest.mark.parametrize(
    ("layout", "name"), [(QueueLayout.PROPOSAL, "review.xml"), (QueueLayout.PATCH, "review_single.xml")]
)
def test_the_configurations_to_read_are_those_of_a_queue(layout: QueueLayout, name: str) -> None:
    """`label_config/` shows what `negatives review open` makes of project 1."""
    text = (Path(__file__).resolve().parents[2] / "label_config" / name).read_text(encoding="utf-8")
    assert text == queue_config(1, layout)
