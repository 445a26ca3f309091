"""Two people who draw on the same task at once, each at a browser of their own."""

from service.demo.annotator import Annotator
from service.domain.geometry import Box
from service.label_studio.labeling import ROI
from tests.browser.labeling_screen import LabelingScreen
from tests.browser.regions import boxes, counts, ids, submitted
from tests.service_process import ServiceProcess
from tests.studio import counted

CELL = "4"
"""The key for the label Cell."""


def test_each_keeps_their_own(
    screen: LabelingScreen, colleague: LabelingScreen, connected: Annotator, service: ServiceProcess, task: int
) -> None:
    """Both draw before either submits: what each submits is what they were shown, and all of it counts."""
    for person in (screen, colleague):
        person.open(task).new_annotation().switch_on(auto_accept=True)
    mine = screen.stroke((0.45, 0.05), (0.95, 0.38))
    screen.see(5, dashed=False)
    theirs = colleague.stroke((0.45, 0.42), (0.95, 0.72))
    colleague.see(5, dashed=False)
    for person, answer in ((screen, mine), (colleague, theirs)):
        result = submitted(connected, person.submit())
        assert (ids(result), ids(result, ROI)) == (ids(answer), ids(answer, ROI))
    assert counted(service, connected.project_id) == counts(rois=2, accepted=10)


def test_no_patch_touches_what_either_has_labelled(
    screen: LabelingScreen, colleague: LabelingScreen, connected: Annotator, task: int
) -> None:
    """An object that the other submitted since one's page was opened, and one's own that isn't submitted yet."""
    colleague.open(task).new_annotation()
    screen.open(task).new_annotation()
    screen.draw_with_key(CELL, (0.5, 0.15), (0.6, 0.3))
    theirs = submitted(connected, screen.submit())
    with colleague.draft_saved():
        colleague.draw_with_key(CELL, (0.75, 0.35), (0.85, 0.5))
    colleague.switch_on(auto_accept=True)
    answer = colleague.stroke((0.45, 0.1), (0.95, 0.7))
    colleague.see(5, dashed=False)
    colleague.picture("two-people")
    mine = submitted(connected, colleague.submit())
    objects = boxes(theirs, "label") + boxes(mine, "label")
    assert len(objects) == 2
    assert not [(patch, thing) for patch in boxes(answer) for thing in objects if patch.shared_area(thing)]


def test_patches_of_both_keep_apart(
    screen: LabelingScreen, colleague: LabelingScreen, connected: Annotator, service: ServiceProcess, task: int
) -> None:
    """The same ROI drawn by both: the second one's patches are others, and none crowds what the first accepted."""
    colleague.open(task).new_annotation().switch_on(auto_accept=True)
    screen.open(task).new_annotation().switch_on(auto_accept=True)
    mine = screen.stroke((0.45, 0.1), (0.95, 0.7))
    screen.see(5, dashed=False)
    screen.submit()
    theirs = colleague.stroke((0.46, 0.1), (0.95, 0.7))
    colleague.see(5, dashed=False)
    colleague.submit()
    crowded = [(one, other) for one in boxes(mine) for other in boxes(theirs) if _crowds(one, other)]
    assert not crowded
    assert counted(service, connected.project_id) == counts(rois=2, accepted=10)


def _crowds(one: Box, other: Box) -> bool:
    return one.shared_area(other) >= 0.5 * min(one.area, other.area)
