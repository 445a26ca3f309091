"""Suggestions while somebody draws, at the browser, as annotators see and use them."""

from itertools import combinations

from playwright.sync_api import expect

from service.demo.annotator import Annotator, Prediction
from service.domain.geometry import Box
from service.domain.model import LIVE_PREFIX
from service.label_studio.labeling import PATCH_VERDICT, ROI
from tests.browser.labeling_screen import LabelingScreen
from tests.browser.regions import boxes, counts, ids, submitted
from tests.service_process import ServiceProcess, wait_for
from tests.studio import FIELD, counted

START, END = (0.45, 0.1), (0.95, 0.7)
"""A stroke around background, in which there is room for all patches."""


def test_what_is_accepted_counts_and_what_was_crossed_out_is_rejected(
    screen: LabelingScreen, connected: Annotator, service: ServiceProcess, task: int
) -> None:
    """Draw: five dashed patches. Cross one out, accept the others, submit: exactly those are accepted."""
    screen.open(task).new_annotation().switch_on(auto_accept=False)
    answer = screen.stroke(START, END, before_release=lambda: screen.picture("drawing"))
    screen.see(5, dashed=True)
    screen.point_at_one(answer)
    screen.picture("suggestions")
    crossed_out = screen.reject_one(answer)
    screen.see(4, dashed=True)
    screen.accept_all()
    screen.see(4, dashed=False)
    result = submitted(connected, screen.submit())
    assert ids(result) == ids(answer) - {crossed_out}
    assert [region[: len(LIVE_PREFIX)] for region in ids(result, ROI)] == [LIVE_PREFIX]
    assert counted(service, connected.project_id) == counts(rois=1, accepted=4, rejected=1)


def test_accepted_at_once_a_stroke_is_an_roi_with_patches(
    screen: LabelingScreen, connected: Annotator, service: ServiceProcess, task: int
) -> None:
    """With Auto-Accept nothing is left to click; Ctrl+Z takes stroke and patches back; another stroke counts alone."""
    screen.open(task).new_annotation().switch_on(auto_accept=True)
    screen.stroke(START, (0.8, 0.6))
    screen.see(5, dashed=False)
    screen.press("Control+z")
    screen.see(0, dashed=False)
    expect(screen.rois).to_have_count(0)
    answer = screen.stroke(START, END)
    screen.see(5, dashed=False)
    assert ids(submitted(connected, screen.submit())) == ids(answer)
    assert counted(service, connected.project_id) == counts(rois=1, accepted=5)


def test_a_prefilled_task_is_reviewed_with_backspace(
    colleague: LabelingScreen, connected: Annotator, service: ServiceProcess, task: int
) -> None:
    """A colleague's next task opens filled with the proposal: Backspace on a patch, submit; the others are accepted."""
    connected.api.patch(f"/api/projects/{connected.project_id}/", json={"maximum_annotations": 3}).raise_for_status()
    connected.draw_roi(task, FIELD, Box.sized(540, 90, 600, 540))
    proposal = wait_for(lambda: connected.prediction(task), "patches")

    colleague.label_all_tasks()
    colleague.see(5, dashed=False)
    colleague.select(colleague.patches.first)
    colleague.press("Backspace")
    colleague.see(4, dashed=False)
    accepted = ids(submitted(connected, colleague.submit()))
    assert len(accepted) == 4
    assert accepted < ids(proposal.result)
    assert counted(service, connected.project_id) == counts(rois=1, accepted=4, rejected=1)


def test_the_count_is_set_before_anything_is_accepted(
    screen: LabelingScreen, connected: Annotator, service: ServiceProcess, task: int
) -> None:
    """Select the pending stroke, say that it is an ROI, set 7, ask again: seven other patches; accepted, they count."""
    screen.open(task).new_annotation().switch_on(auto_accept=False)
    first = screen.stroke(START, END)
    screen.select(screen.pending)
    screen.asking(lambda: screen.press("g"))
    screen.field("patches").fill("7")
    answer = screen.ask_again()
    screen.see(7, dashed=True)
    expect(screen.bar).to_contain_text("7 of 7 patches placed.")
    assert not ids(answer) & ids(first)
    screen.press("Escape")
    screen.accept_all()
    assert ids(submitted(connected, screen.submit())) == ids(answer)
    assert counted(service, connected.project_id) == counts(rois=1, accepted=7)


def test_the_count_of_an_accepted_roi_is_raised_and_the_rest_is_proposed(
    screen: LabelingScreen, connected: Annotator, service: ServiceProcess, task: int
) -> None:
    """Five were accepted at once; with the count at 7, two more come as a proposal when it is submitted."""
    screen.open(task).new_annotation().switch_on(auto_accept=True)
    screen.stroke(START, END)
    screen.see(5, dashed=False)
    screen.select(screen.rois)
    screen.field("patches").fill("7")
    screen.submit()
    proposal = wait_for(lambda: connected.prediction(task), "two more")
    assert len(proposal.patches) == 2
    assert counted(service, connected.project_id) == counts(rois=1, accepted=5, pending=2)


def test_other_patches_are_asked_for_and_the_accepted_one_stays(
    screen: LabelingScreen, connected: Annotator, service: ServiceProcess, task: int
) -> None:
    """Accept one, ask again: other patches for the same ROI, clear of the one that was accepted, which counts."""
    screen.open(task).new_annotation().switch_on(auto_accept=False)
    first = screen.stroke(START, END)
    with screen.draft_saved():
        accepted = screen.accept_one(first)
    screen.see(1, dashed=False)
    screen.select(screen.pending)
    screen.asking(lambda: screen.press("g"))
    answer = screen.ask_again()
    screen.see(1, dashed=False)
    screen.see(5, dashed=True)
    assert not ids(answer) & ids(first)
    (kept,) = boxes([item for item in first if item["id"] == accepted])
    for one, other in combinations([kept, *boxes(answer)], 2):
        assert one.shared_area(other) < 0.5 * min(one.area, other.area)
    screen.press("Escape")
    screen.accept_all()
    assert ids(submitted(connected, screen.submit())) == ids(answer) | {accepted}
    assert counted(service, connected.project_id) == counts(rois=1, accepted=6)


def test_the_next_round_is_proposed_and_the_accepted_ones_stay(
    screen: LabelingScreen, connected: Annotator, service: ServiceProcess, task: int
) -> None:
    """Raise the round of an ROI that was accepted, update: five others come as a proposal; the five still count."""
    screen.open(task).new_annotation().switch_on(auto_accept=True)
    first = screen.stroke(START, END)
    screen.see(5, dashed=False)
    screen.submit()
    screen.open(task)  # until then, Label Studio's Update would not notice the first change after Auto-Accept
    screen.select(screen.rois)
    screen.field("round").fill("2")
    screen.update()
    proposal = wait_for(lambda: connected.prediction(task), "the next round")
    assert len(proposal.patches) == 5
    assert not ids(proposal.result) & ids(first)
    assert counted(service, connected.project_id) == counts(rois=1, accepted=5, pending=5)


def test_a_verdict_by_hotkey_rejects_and_says_why(
    screen: LabelingScreen, connected: Annotator, service: ServiceProcess, task: int
) -> None:
    """Select a patch, press D, submit: it is kept with its reason, and rejected."""
    screen.open(task).new_annotation().switch_on(auto_accept=True)
    screen.stroke(START, END)
    screen.see(5, dashed=False)
    screen.select(screen.patches.first)
    screen.press("d")
    expect(screen.verdict("duplicate")).to_be_checked()
    screen.picture("review")
    result = submitted(connected, screen.submit())
    assert [item["value"]["choices"] for item in result if item["from_name"] == PATCH_VERDICT] == [["duplicate"]]
    assert counted(service, connected.project_id) == counts(rois=1, accepted=4, rejected=1)


def test_an_answer_covers_all_strokes_that_are_pending(
    screen: LabelingScreen, connected: Annotator, service: ServiceProcess, task: int
) -> None:
    """A second stroke before the first is accepted: the first one's patches stay, both are accepted together."""
    screen.open(task).new_annotation().switch_on(auto_accept=False)
    first = screen.stroke((0.45, 0.05), (0.95, 0.38))
    screen.see(5, dashed=True)
    both = screen.stroke((0.45, 0.42), (0.95, 0.72))
    screen.see(10, dashed=True)
    assert ids(first) < ids(both)
    screen.accept_all()
    result = submitted(connected, screen.submit())
    assert (ids(result), len(ids(result, ROI))) == (ids(both), 2)
    assert counted(service, connected.project_id) == counts(rois=2, accepted=10)


def test_an_roi_that_is_too_small_says_so_at_once(
    screen: LabelingScreen, connected: Annotator, service: ServiceProcess, task: int
) -> None:
    """The answer line explains why there is no patch; submitted all the same, status tells it, too."""
    screen.open(task).new_annotation().switch_on(auto_accept=True)
    screen.stroke((0.6, 0.1), (0.65, 0.2))
    sentence = "smaller than one patch of 100 × 100 px; draw it larger"
    expect(screen.bar).to_contain_text("0 of 5 patches: the ROI is")
    expect(screen.bar).to_contain_text(sentence)
    screen.picture("too-small")
    screen.submit()
    wait_for(lambda: connected.prediction(task), "the explanation")
    assert sentence in service.run("status", "--project", str(connected.project_id)).stdout


def test_suggestions_follow_a_stroke_that_is_resized(screen: LabelingScreen, task: int) -> None:
    """Drag a corner of the pending stroke: the patches that come are within its new bounds."""
    screen.open(task).new_annotation().switch_on(auto_accept=False)
    screen.stroke(START, END)
    screen.see(5, dashed=True)
    screen.select(screen.pending)
    screen.press("v")
    answer = screen.asking(lambda: screen.drag(END, (0.8, 0.5)))
    screen.see(5, dashed=True)
    (roi,) = boxes(answer, ROI)
    assert roi.width < 0.4 * FIELD[0]
    assert all(roi.holds(patch) for patch in boxes(answer))


def test_a_stroke_that_is_deleted_is_not_answered_again(
    screen: LabelingScreen, connected: Annotator, service: ServiceProcess, task: int
) -> None:
    """Delete one of two pending strokes and draw a third: the answer covers the second and the third."""
    screen.open(task).new_annotation().switch_on(auto_accept=False)
    first = screen.stroke((0.45, 0.05), (0.95, 0.25))
    two = screen.stroke((0.45, 0.28), (0.95, 0.48))
    screen.see(10, dashed=True)
    screen.select(screen.pending.first)
    screen.press("Backspace")
    expect(screen.pending).to_have_count(1)
    answer = screen.stroke((0.45, 0.51), (0.95, 0.72))
    screen.see(10, dashed=True)
    assert not ids(answer, ROI) & ids(first, ROI)
    assert ids(answer, ROI) > ids(two, ROI) - ids(first, ROI)
    screen.accept_all()
    assert ids(submitted(connected, screen.submit())) == ids(answer)
    assert counted(service, connected.project_id) == counts(rois=2, accepted=10)


def test_what_is_crossed_out_altogether_leaves_nothing(
    screen: LabelingScreen, connected: Annotator, service: ServiceProcess, task: int
) -> None:
    """The cross in the bottom bar clears stroke and patches; another stroke is answered alone."""
    screen.open(task).new_annotation().switch_on(auto_accept=False)
    screen.stroke(START, (0.8, 0.6))
    screen.see(5, dashed=True)
    screen.reject_all()
    screen.see(0, dashed=True)
    expect(screen.pending).to_have_count(0)
    answer = screen.stroke(START, END)
    screen.accept_all()
    assert ids(submitted(connected, screen.submit())) == ids(answer)
    assert counted(service, connected.project_id) == counts(rois=1, accepted=5)


def test_the_proposal_follows_an_roi_that_is_moved(
    screen: LabelingScreen, connected: Annotator, service: ServiceProcess, task: int
) -> None:
    """Drag a submitted ROI elsewhere, update: the patches on offer are within its new bounds."""
    screen.open(task).new_annotation()
    screen.draw("Background ROI", START, (0.7, 0.4))
    screen.submit()
    (before,) = boxes(wait_for(lambda: connected.prediction(task), "patches").result, ROI)
    screen.select(screen.rois)
    screen.drag((0.5, 0.2), (0.77, 0.5))
    screen.update()

    def followed() -> Prediction | None:
        now = connected.prediction(task)
        return now if now is not None and boxes(now.result, ROI) != [before] else None

    now = wait_for(followed, "a proposal for the ROI where it is now")
    (roi,) = boxes(now.result, ROI)
    assert not roi.shared_area(before)
    assert len(now.patches) == 5
    assert all(roi.holds(patch) for patch in boxes(now.result))
    assert counted(service, connected.project_id) == counts(rois=1, accepted=0, pending=5)


def test_the_proposal_goes_with_an_roi_that_is_deleted(
    screen: LabelingScreen, connected: Annotator, service: ServiceProcess, task: int
) -> None:
    """Delete one of two submitted ROIs, update: its patches are no longer on offer, the other one's are."""
    screen.open(task).new_annotation()
    screen.draw("Background ROI", (0.45, 0.05), (0.95, 0.38))
    screen.draw("Background ROI", (0.45, 0.42), (0.95, 0.72))
    screen.submit()
    wait_for(lambda: counted(service, connected.project_id) == counts(rois=2, accepted=0, pending=10), "ten patches")
    screen.select(screen.rois.first)
    screen.press("Backspace")
    expect(screen.rois).to_have_count(1)
    screen.update()
    wait_for(lambda: counted(service, connected.project_id) == counts(rois=1, accepted=0, pending=5), "five patches")


def test_a_laptop_shows_it_all_without_scrolling(screen: LabelingScreen, task: int) -> None:
    """At 1366 × 768 the labels, the fields of a selected ROI and the verdicts on a selected patch are on the screen.

    So are the team's own labels, as long as nothing is selected.
    """
    screen.open(task).new_annotation().switch_on(auto_accept=True)
    for label in ("Cell", "Background ROI", "Negative patch"):
        screen.expect_in_window(screen.label_button(label))
    screen.stroke(START, END)
    screen.see(5, dashed=False)
    screen.select(screen.rois)
    screen.picture("roi-selected")
    for name in ("patches", "min_size", "max_size", "round", "roi_again"):
        screen.expect_in_window(screen.field(name))
    screen.select(screen.patches.first)
    for reason in ("object inside", "ambiguous", "duplicate", "poor quality"):
        screen.expect_in_window(screen.verdict(reason))
    for label in ("Background ROI", "Negative patch"):
        screen.expect_in_window(screen.label_button(label))
    screen.expect_in_window(screen.submit_button)


def test_a_cell_that_a_teams_own_smart_tool_draws_stays(
    screen: LabelingScreen, connected: Annotator, task: int
) -> None:
    """It isn't ours to answer; accepting an answer without it, Label Studio would delete it in silence."""
    project = f"/api/projects/{connected.project_id}/"
    ours = connected.api.get(project).json()["label_config"]
    theirs = ours.replace('name="label" toName="image" smart="false"', 'name="label" toName="image" smart="true"')
    assert theirs != ours
    connected.api.patch(project, json={"label_config": theirs}).raise_for_status()
    screen.open(task).new_annotation().switch_on(auto_accept=True)
    screen.label_button("Cell").click()
    screen.asking(lambda: screen.drag((0.5, 0.1), (0.6, 0.2)))
    expect(screen.regions("Cell")).to_have_count(1)
    assert [region["from_name"] for region in submitted(connected, screen.submit())] == ["label"]
