"""What people say, as a page or its script sends it: read, and refused with a sentence where it makes no sense."""

from flask import request

from service.domain.model import Verdict, Word
from service.errors import UsageError
from service.label_studio.labeling import REASONS

MAX_VERDICTS = 2000


Words = dict[int, dict[str, Word]]


def sent() -> object:
    """The JSON that a script sent."""
    try:
        return request.get_json()
    except RecursionError as error:
        raise UsageError("What was sent can't be read: it is nested too deeply.") from error


def words_of_json(body: object) -> Words:
    """{"verdicts": [{"task": 7, "patch": "neg_…", "verdict": "rejected", "reason": "duplicate", "seen": "3f…"}, …]}."""
    given = body.get("verdicts") if isinstance(body, dict) else None
    if not isinstance(given, list) or not given:
        raise UsageError("Nothing was said: verdicts must be a list.")
    words: Words = {}
    for one in given[: MAX_VERDICTS + 1]:
        if not isinstance(one, dict):
            raise UsageError("A verdict must name task, patch and verdict.")
        _add(words, one.get("task"), one.get("patch"), one.get("verdict"), one.get("reason", ""), one.get("seen", ""))
    _check_count(sum(map(len, words.values())))
    return words


def words_of_form() -> Words:
    """What the page's form says of the patches that are ticked."""
    chosen = request.form.getlist("patch")
    if not chosen:
        raise UsageError("Nothing is selected: tick the patches first.")
    words: Words = {}
    verdict, reason = request.form.get("verdict"), request.form.get("reason", "")
    for one in chosen:
        task, patch, seen = [*one.split(":", 2), "", ""][:3]
        is_number = task.isascii() and task.isdigit() and len(task) < 16
        _add(words, int(task) if is_number else None, patch, verdict, reason if verdict == "rejected" else "", seen)
    _check_count(len(chosen))
    return words


def _add(words: Words, task: object, patch: object, verdict: object, reason: object, seen: object) -> None:
    if isinstance(task, bool) or not isinstance(task, int) or not isinstance(patch, str) or not 0 < len(patch) <= 200:
        raise UsageError("A verdict names a task by its number and a patch by its id.")
    if verdict not in tuple(Verdict):
        raise UsageError(f"A verdict is {', '.join(Verdict)}, not {str(verdict)[:40]!r}.")
    said = Verdict(str(verdict))
    if reason not in ("", *REASONS) or (reason and said is not Verdict.REJECTED):
        raise UsageError(f"A rejection has one of these reasons or none: {', '.join(REASONS)}.")
    if not isinstance(seen, str) or len(seen) > 100:
        raise UsageError("What was seen is a short text, as the page has it.")
    words.setdefault(task, {})[patch] = Word(said, str(reason), seen)


def tasks_of_json(body: object) -> list[int]:
    """{"tasks": [7, …]}."""
    given = body.get("tasks") if isinstance(body, dict) else None
    if not isinstance(given, list) or not given:
        raise UsageError("Nothing was said: tasks must be a list.")
    if not all(isinstance(one, int) and not isinstance(one, bool) for one in given):
        raise UsageError("A task is named by its number.")
    _check_count(len(given))
    return list(dict.fromkeys(given))


def tasks_of_form() -> list[int]:
    """The images that are ticked."""
    chosen = request.form.getlist("task")
    if not chosen:
        raise UsageError("Nothing is selected: tick the images first.")
    if not all(one.isascii() and one.isdigit() and len(one) < 16 for one in chosen):
        raise UsageError("A task is named by its number.")
    _check_count(len(chosen))
    return list(dict.fromkeys(map(int, chosen)))


def _check_count(count: int) -> None:
    if count > MAX_VERDICTS:
        raise UsageError(f"Say at most {MAX_VERDICTS} verdicts at a time.")
