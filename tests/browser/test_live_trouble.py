"""A service that is slow or down: the annotator can go on, and nothing is lost."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

from service.demo.annotator import Annotator
from tests.browser.labeling_screen import LabelingScreen
from tests.browser.regions import boxes, counts, submitted
from tests.service_process import ServiceProcess, wait_for
from tests.studio import counted

START, END = (0.45, 0.1), (0.95, 0.7)
CELL = "4"
"""The key for the label Cell."""
LONG = 120.0
"""Seconds; changes that no webhook told of are looked for once a minute."""


@contextmanager
def held(service: ServiceProcess) -> Iterator[None]:
    """The service accepts connections and answers nothing, as a very slow one would."""
    assert service.process is not None
    service.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        service.process.send_signal(signal.SIGCONT)


@contextmanager
def stopped(service: ServiceProcess) -> Iterator[None]:
    """There is no service."""
    service.stop()
    try:
        yield
    finally:
        service.start()


def label_and_submit(screen: LabelingScreen, connected: Annotator) -> None:
    """Label a cell beside the stroke that nobody answered, and submit both."""
    screen.draw_with_key(CELL, (0.3, 0.75), (0.4, 0.9))
    result = submitted(connected, screen.submit())
    assert len(boxes(result, "label")) == len(boxes(result, "roi_live")) == 1


def expect_a_proposal(service: ServiceProcess, connected: Annotator, task: int) -> None:
    """Its five patches wait for a review."""
    proposal = wait_for(lambda: connected.prediction(task), "patches", LONG)
    assert len(proposal.patches) == 5
    assert counted(service, connected.project_id) == counts(rois=1, accepted=0, pending=5)


def test_while_the_service_is_slow_one_can_draw_label_and_submit(
    screen: LabelingScreen, connected: Annotator, service: ServiceProcess, task: int
) -> None:
    """A stroke that gets no answer; a cell is labelled, all is submitted. Once the service is back, patches come."""
    screen.open(task).new_annotation().switch_on(auto_accept=True)
    with held(service):
        with screen.draft_saved():
            screen.drag(START, END)
        screen.picture("slow")
        label_and_submit(screen, connected)
    expect_a_proposal(service, connected, task)


def test_while_the_service_is_down_one_can_draw_label_and_submit(
    screen: LabelingScreen, connected: Annotator, service: ServiceProcess, task: int
) -> None:
    """A stroke that is answered with an error; all is submitted. Once the service runs again, patches come."""
    screen.open(task).new_annotation().switch_on(auto_accept=True)
    with stopped(service):
        screen.drag(START, END)
        screen.picture("down")
        label_and_submit(screen, connected)
    expect_a_proposal(service, connected, task)
