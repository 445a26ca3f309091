"""Where a project stands: counts, and what people should know, task by task. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from service.domain.model import Agreement, Decision, State, Task, Vote
from service.export.plan import Note
from service.review.decisions import decide
from service.review.queue import counting


@dataclass(frozen=True, slots=True)
class ProjectStatus:
    """Where a project stands: its counts, and for each task what people should know.

    `unlabelled` counts tasks with patches but no labelled object: nothing but a person's eye says that they are empty.
    `short` counts patches that were asked for and couldn't be placed, `reasons` the reasons that were given for
    rejections, `conflicts` the patches that somebody accepted and somebody else rejected, `queued` the tasks that
    reviewers are still given, by review queue (its project).
    """

    tasks: int = 0
    rois: int = 0
    unlabelled: int = 0
    short: int = 0
    conflicts: int = 0
    states: Mapping[State, int] = field(default_factory=dict)
    reasons: Mapping[str, int] = field(default_factory=dict)
    queued: Mapping[int, int] = field(default_factory=dict)
    notes: tuple[Note, ...] = ()


def survey(tasks: Iterable[Task], agreement: Agreement, margin: int, names: Mapping[int, str]) -> ProjectStatus:
    """Count ROIs and patches by where they stand; told of are what is short, refused, stale, disputed or unsure.

    `names` says what to call people, by Label Studio's ids.
    """
    read = rois = unlabelled = short = conflicts = 0
    states: Counter[State] = Counter()
    reasons: Counter[str] = Counter()
    queued: Counter[int] = Counter()
    notes: list[Note] = []
    for task in tasks:
        read, rois = read + 1, rois + len(task.rois)
        for one in task.queued:
            queued[one.queue.project_id] += one.is_open
        told = [one for standing in task.standing[:1] for one in standing.explanations]
        notes += [Note(task.id, one.text, one.shortfall) for one in told]
        short += sum(one.shortfall.requested - one.shortfall.placed for one in told if one.shortfall)
        if task.refusal is not None and not any(task.refusal in one.text for one in told):
            notes.append(Note(task.id, task.refusal))
        decisions = decide(task, agreement, margin)
        unlabelled += bool(decisions and not task.exclusions)
        conflicts += sum(decision.is_conflict for decision in decisions)
        for decision in decisions:
            states[decision.state] += 1
            reasons.update(decision.reasons)
            notes += [Note(task.id, text) for text in _told(decision, names)]
    return ProjectStatus(
        read, rois, unlabelled, short, conflicts, dict(states), dict(reasons), dict(queued), tuple(notes)
    )


def _told(decision: Decision, names: Mapping[int, str]) -> Iterator[str]:
    """What a person should know of one patch."""
    where = decision.patch.box.words
    if decision.state is State.STALE:
        yield f"an accepted patch of {where} is stale: {decision.note}"
    if decision.is_conflict:
        yield f"people disagree on the patch of {where}: {who_said_what(decision.votes, names)}; it is {decision.state}"
    elif decision.state is State.PENDING and len(counting(decision)) < len(decision.votes):
        yield f"the patch of {where} still waits: {decision.note}; {who_said_what(decision.votes, names)}"
    elif decision.state is State.UNSURE:
        yield f"a patch is unsure: the one of {where}: {who_said_what(decision.votes, names)}"


def who_said_what(votes: Iterable[Vote], names: Mapping[int, str]) -> str:
    """Everybody's verdict in words, oldest first."""
    return ", ".join(
        f"{'somebody' if vote.reviewer is None else names.get(vote.reviewer, f'user {vote.reviewer}')} {_said(vote)}"
        for vote in votes
    )


def _said(vote: Vote) -> str:
    return f"{vote.verdict}" + (f" ({vote.reason})" if vote.reason else "")
