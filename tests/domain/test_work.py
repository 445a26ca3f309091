from datetime import UTC, datetime, timedelta, timezone

import pytest

from service.domain.work import (
    LANES,
    ExportWork,
    Progress,
    ProposeWork,
    lane_of,
    mark_of,
    work_for_changes,
    work_for_tasks,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def test_work_is_of_one_lane() -> None:
    """Jobs of two lanes may run at once, so no task's work may be in a job of another lane."""
    with pytest.raises(ValueError, match="one lane"):
        ProposeWork(1, (8, 9), "a")


def test_work_without_tasks_cannot_be_made() -> None:
    """A job names what it is about."""
    with pytest.raises(ValueError, match="one lane"):
        ProposeWork(1, (), "a")


def test_the_same_task_is_always_in_the_same_lane() -> None:
    """Alone or among many, by event or by command."""
    (alone,) = work_for_changes(1, [(83, NOON)])
    (among,) = [work for work in work_for_tasks(1, range(500), "a") if 83 in work.task_ids]
    assert alone.lane == among.lane == lane_of(83)


def test_every_task_is_in_one_job() -> None:
    """Nothing is left out and nothing is done twice."""
    work = work_for_tasks(1, range(1000), "a")
    assert sorted(task for one in work for task in one.task_ids) == list(range(1000))
    assert max(len(one.task_ids) for one in work) <= 100


def test_the_id_says_what_the_job_is_about() -> None:
    """Project, task and occasion; so a repeated event is the same job. The text is part of what is stored."""
    assert ProposeWork(3, (7,), "m").job_id == "propose:3:7:m"
    many = [ProposeWork(3, tuple(range(start, start + 5 * LANES, LANES)), "m").job_id for start in (0, 1, 0)]
    assert many[0] == many[2] != many[1]


def test_one_moment_is_one_mark() -> None:
    """However its zone was written."""
    elsewhere = NOON.astimezone(timezone(timedelta(hours=5)))
    assert mark_of(NOON) == mark_of(elsewhere) == "2026-03-01T12:00:00+00:00"


@pytest.mark.parametrize("more", [{"limit_to_band": True}, {"is_dry": True}])
def test_a_zip_is_made_whole_or_not_at_all(more: dict[str, bool]) -> None:
    """There is no share to keep to in it, and nothing to look ahead to."""
    with pytest.raises(ValueError, match="ZIP"):
        ExportWork(1, "yolo", **more)


@pytest.mark.parametrize(
    ("work", "words"),
    [
        (ExportWork(1), "into the dataset"),
        (ExportWork(1, limit_to_band=True), "into the dataset, within the band"),
        (ExportWork(1, is_dry=True), "what would happen"),
        (ExportWork(1, limit_to_band=True, is_dry=True), "what would happen, within the band"),
        (ExportWork(1, "coco"), "ZIP, coco"),
    ],
)
def test_exports_of_different_kinds_are_called_differently(work: ExportWork, words: str) -> None:
    """In a list, people tell them apart."""
    assert work.words == words


def test_progress_is_told_as_far_as_it_is_known() -> None:
    """Where nobody knows how much there is, only what is done."""
    assert Progress("cutting patches", 1200, 4000).words == "cutting patches: 1,200 of 4,000"
    assert Progress("reading tasks", 1200, 0).words == "reading tasks: 1,200"
