"""Lists of images, one path a line: where the lines lead, and how lines of ours come in and go out. Pure.

Ultralytics and YOLOv5 (`get_img_files`, `LoadImagesAndLabels`) take a line's leading `./` for the list's own folder and
any other relative line from the working directory of the training run; darknet (`get_paths`) takes all from there.
"""

import posixpath
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from service.errors import ExportError
from service.export.lines import BOM, with_own_lines
from service.export.model import Row


@dataclass(frozen=True, slots=True)
class Reading:
    """From where a trainer reads relative lines: `base` is the folder that they start from, `dot` the one that a
    leading `./` stands for (None: no other than `base`).
    """

    base: str
    dot: str | None = None

    def path(self, prefix: str) -> str:
        """What the trainer makes of a line's folder, as text: what it looks for labels with."""
        if self.dot is not None and prefix.startswith("./"):
            return self.dot.rstrip("/") + "/" + prefix[2:]
        return prefix

    def is_relative(self, prefix: str) -> bool:
        """Whether where a line leads depends on `base`."""
        return not self.path(prefix).startswith("/")

    def folder(self, prefix: str) -> str:
        """The folder that a line's part up to its last slash leads to, links in it aside."""
        return posixpath.normpath(posixpath.join(self.base, self.path(prefix)))

    def prefix(self, folder: str, like: Mapping[str, int]) -> str:
        """How a line names a folder in the style of most of these prefixes, given with how often they are used."""
        styles = Counter[str]()
        for one, count in like.items():
            styles["/" if one.startswith("/") else "./" if one.startswith("./") else ""] += count
        style = max(sorted(styles), key=styles.__getitem__) if styles else "./" if self.dot is not None else ""
        if style == "/":
            return posixpath.join(folder, "")
        start = self.dot if style == "./" and self.dot is not None else self.base
        relative = posixpath.relpath(folder, start)
        return style + ("" if relative == "." else relative + "/")


def lines_of(content: bytes, where: str) -> list[tuple[str, str]]:
    """The lines of a list that say something, each as what leads to a folder (up to the last slash) and the name in it.

    Raises `ExportError`, naming the list by `where`, for what is no text of this kind.
    """
    if b"\0" in content:
        raise ExportError(f"{where} is no list of images in UTF-8 (is it UTF-16, or binary?): save it as UTF-8")
    return [_split(line) for line in content.removeprefix(BOM).splitlines() if line.strip()]


@dataclass(frozen=True, slots=True)
class ImageList:
    """A list of images of a dataset. `folders` gives the folder that a prefix of its lines leads to, links followed;
    `place` the folder of a row's image in the same words; `tells` which rows belong in this list.
    """

    file: str
    reading: Reading
    folders: Mapping[str, str]
    place: Callable[[Row], str]
    tells: Callable[[Row], bool]

    def content(
        self,
        before: bytes | None,
        ours: Sequence[Row],
        rows: Sequence[Row],
        read: Callable[[Row], bytes],  # noqa: ARG002 (a list has no need of the images)
    ) -> bytes | None:
        """The lines of others as they are, then ours, as those of others look: their folders, their line ends, and no
        end to the last line where they left it without.
        """
        told = [row for row in rows if self.tells(row)]
        if before is None and not told:
            return None
        mine = {(self.place(row), row.name) for row in ours}

        def is_own(line: bytes) -> bool:
            prefix, name = _split(line)
            return (self._folder(prefix), name) in mine

        def own(theirs: Sequence[bytes]) -> Sequence[bytes]:
            used = Counter(_split(line)[0] for line in theirs if line.strip())
            prefixes = {folder: self._prefix(folder, used) for folder in {self.place(row) for row in told}}
            return [(prefixes[self.place(row)] + row.name).encode(errors="surrogateescape") for row in told]

        return with_own_lines(before or b"", self.file, is_own, own)

    def _folder(self, prefix: str) -> str:
        return self.folders.get(prefix) or self.reading.folder(prefix)

    def _prefix(self, folder: str, used: Counter[str]) -> str:
        """How others name this folder most of the time, or would by the style of their lines."""
        same = [prefix for prefix in sorted(used) if self._folder(prefix) == folder]
        return max(same, key=used.__getitem__) if same else self.reading.prefix(folder, used)


def _split(line: bytes) -> tuple[str, str]:
    text = line.rstrip(b"\r\n").decode(errors="surrogateescape")
    at = text.rfind("/") + 1
    return text[:at], text[at:]
