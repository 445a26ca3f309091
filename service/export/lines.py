"""Lines of ours in text files of others. Pure."""

from collections import Counter
from collections.abc import Callable, Sequence

from service.errors import ExportError

BOM = b"\xef\xbb\xbf"


def with_own_lines(
    before: bytes, where: str, is_own: Callable[[bytes], bool], own: Callable[[Sequence[bytes]], Sequence[bytes]]
) -> bytes:
    """A text in which our lines are exactly those that `own` makes, at the end; all others stay byte for byte.

    `is_own` tells our lines by their content, `own` is given those of others; neither has line ends. Ours get the line
    end that most of the others have, and the last one none where others left the last line without. So taking our lines
    out again gives what others wrote. Raises `ExportError`, naming the text by `where`, for one that isn't in UTF-8.
    """
    if b"\0" in before:
        raise ExportError(f"{where} is no text in UTF-8 (is it UTF-16, or binary?): save it as UTF-8")
    bom = BOM if before.startswith(BOM) else b""
    lines = before[len(bom) :].splitlines(keepends=True)
    mine = [is_own(_said(line)) for line in lines]
    theirs = [line for line, is_mine in zip(lines, mine, strict=True) if not is_mine]
    if theirs and mine[-1] and not _end(lines[-1]):
        theirs[-1] = _said(theirs[-1])
    added = own([_said(line) for line in theirs])
    if not added:
        return bom + b"".join(theirs)
    ends = Counter(_end(line) for line in theirs if _end(line))
    end = ends.most_common(1)[0][0] if ends else b"\n"
    if theirs and not _end(theirs[-1]):
        return bom + b"".join(theirs) + b"".join(end + line for line in added)
    return bom + b"".join(theirs) + b"".join(line + end for line in added)


def _said(line: bytes) -> bytes:
    return line.rstrip(b"\r\n")


def _end(line: bytes) -> bytes:
    return line[len(_said(line)) :]
