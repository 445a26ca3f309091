"""What an address of the gallery asks for, and the filter bar that leads to others."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlencode

from flask import request, url_for

from service.domain.model import State
from service.errors import UsageError
from service.review.gallery import (
    PAGE_SIZES,
    TO_DO,
    Background,
    Concern,
    Counts,
    Filter,
    Standing,
    Tile,
    Whose,
    count_states,
)


@dataclass(frozen=True, slots=True)
class Choice:
    """One value of a filter, how many tiles it shows, and, where it is a link, the address of the page."""

    value: str
    words: str
    count: int
    is_chosen: bool
    address: str = ""


@dataclass(frozen=True, slots=True)
class Look:
    """What an address asks for: a filter, and which page of how many tiles."""

    wanted: Filter
    number: int
    size: int

    def address(self, project_id: int) -> str:
        """The address that asks for it."""
        given = _written(self.wanted) | {
            "size": str(self.size) if self.size != PAGE_SIZES[0] else "",
            "page": str(self.number) if self.number > 1 else "",
        }
        query = urlencode({key: value for key, value in given.items() if value})
        path = url_for("gallery.gallery", project_id=project_id)
        return f"{path}?{query}" if query else path


def number_asked(name: str, default: int) -> int:
    """A number of the address. Raises `UsageError` where it is something else."""
    text = request.args.get(name, "")
    if not text:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 16):
        raise UsageError(f"{name} must be a number, not {text[:40]!r}.")
    return int(text)


def size_asked() -> int:
    """How many tiles a page shall have."""
    size = number_asked("size", PAGE_SIZES[0])
    if size not in PAGE_SIZES:
        raise UsageError(f"A page has {', '.join(map(str, PAGE_SIZES))} tiles, not {size}.")
    return size


def asked(given: Mapping[str, str]) -> Look:
    """What the query asks for: what waits for the visitor, unless it says otherwise. Raises `UsageError` for what isn't
    a value.
    """
    state = given.get("state", "pending")
    reviewer = given.get("by") or ("not-me" if state == "pending" and "by" not in given else "")
    background, warning = given.get("background", ""), given.get("warning", "")
    try:
        wanted = Filter(
            None if state in ("", "all") else "conflict" if state == "conflict" else State(state),
            _whose(reviewer),
            Background(background) if background else None,
            Concern(warning) if warning else None,
            number_asked("task", 0) or None,
        )
    except ValueError as error:
        raise UsageError(f"The address asks for something that isn't there: {error}.") from error
    return Look(wanted, number_asked("page", 1), size_asked())


def _whose(text: str) -> Whose | None:
    if text in ("", "anyone"):
        return None
    named: dict[str, Whose] = {"me": "me", "not-me": "not-me"}
    return named[text] if text in named else int(text)


def _written(wanted: Filter) -> dict[str, str]:
    """A filter as an address says it."""
    state = "all" if wanted.state is None else str(wanted.state)
    by = "" if wanted.reviewer is None else str(wanted.reviewer)
    if wanted.state is State.PENDING:
        state = "" if wanted.reviewer == TO_DO.reviewer else state
        by = "" if wanted.reviewer == TO_DO.reviewer else by or "anyone"
    return {
        "state": state,
        "by": by,
        "background": wanted.background or "",
        "warning": wanted.warning or "",
        "task": str(wanted.task or ""),
    }


STANDINGS: tuple[tuple[Standing | None, str], ...] = (
    (State.PENDING, "pending"),
    (State.ACCEPTED, "accepted"),
    (State.REJECTED, "rejected"),
    (State.UNSURE, "unsure"),
    (State.STALE, "stale"),
    ("conflict", "disagreed on"),
    (None, "all"),
)
ALWAYS = (State.PENDING, State.ACCEPTED, State.REJECTED, None)
"""The others are offered where there are some."""


def states(project_id: int, look: Look, tiles: Sequence[Tile], person: int) -> list[Choice]:
    """The values of the state filter, each with the page that shows it.

    Pending ones are first of all those that wait for the person who looks; all others are everybody's.
    """
    wanted = look.wanted
    to_do = wanted if wanted.state is State.PENDING or wanted.reviewer else replace(wanted, reviewer=TO_DO.reviewer)
    others = replace(wanted, reviewer=None) if wanted.state is State.PENDING and wanted.reviewer == "not-me" else wanted
    filters = {value: replace(to_do if value is State.PENDING else others, state=value) for value, _ in STANDINGS}
    pending = count_states(tiles, to_do, person)
    counts = count_states(tiles, others, person) | {State.PENDING: pending.get(State.PENDING, 0)}
    return [
        Choice(
            value or "all",
            words,
            counts.get(value, 0),
            value == wanted.state,
            replace(look, wanted=filters[value], number=1).address(project_id),
        )
        for value, words in STANDINGS
        if value in ALWAYS or value == wanted.state or counts.get(value)
    ]


def selects(
    wanted: Filter, counts: Counts, people: Mapping[int, str], person: int
) -> list[tuple[str, str, list[Choice]]]:
    """The other filters: name, title, values."""
    others = {key for key in counts.reviewer if isinstance(key, int)}
    if isinstance(wanted.reviewer, int):
        others.add(wanted.reviewer)
    whose: list[tuple[Whose | None, str]] = [
        (None, "anyone or nobody"),
        ("not-me", "not yet by me"),
        ("me", "me"),
        *((key, people.get(key, f"user {key}")) for key in sorted(others - {person})),
    ]
    backgrounds: list[tuple[Background | None, str]] = [(None, "any"), *((one, one.words) for one in Background)]
    warnings: list[tuple[Concern | None, str]] = [(None, "with or without"), *((one, one.words) for one in Concern)]
    return [
        ("by", "Judged by", _choices(whose, counts.reviewer, wanted.reviewer, "anyone")),
        ("background", "Background", _choices(backgrounds, counts.background, wanted.background, "")),
        ("warning", "Warning", _choices(warnings, counts.warning, wanted.warning, "")),
    ]


def _choices(values: Iterable[tuple[Any, str]], counts: Mapping[Any, int], chosen: object, every: str) -> list[Choice]:
    return [
        Choice(str(value or every), words, counts.get(value, 0), value == chosen)
        for value, words in values
        if value is None or value == chosen or counts.get(value)
    ]
