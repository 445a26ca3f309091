"""Why there are fewer patches than asked, and what would help. Pure: works out anew what it says, and claims nothing
that isn't proved.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from service.domain.geometry import Box
from service.domain.model import SMALLEST_SIDE, Cause, Roi, Rules, Scene, Shortfall
from service.raster import left_over
from service.sampling.space import Space

SLACK = 1e-6
"""Square pixels, against rounding: what is claimed holds with so much to spare."""


def explain(scene: Scene, roi: Roi, rules: Rules, space: Space, *, there: int, others: int) -> Shortfall:
    """The shortfall of an ROI that holds `there` patches, too few, and in which `others` lie that don't count."""
    bare = Space(replace(scene, exclusions=()), roi, rules)
    side = rules.min_size
    possible, free = bare.places(side, side).total, space.places(side, side).total
    most = most_patches(space, rules) if free else 0
    at_most = most if most is not None and there <= most < rules.patches else None
    largest = space.largest_square()
    if not possible:
        cause, reason = Cause.ROI_TOO_SMALL, _too_small(rules, roi.box, bare.room, largest)
    elif not free:
        cause, reason = Cause.BLOCKED, _blocked(rules, largest)
    elif at_most is not None:
        cause, reason = Cause.IMPOSSIBLE, _impossible(rules, at_most, there)
    else:
        cause, reason = Cause.JAMMED, _jammed(rules, there, others, free / possible)
    return Shortfall(rules.patches, there, cause, reason, largest, at_most)


def _too_small(rules: Rules, drawn: Box, room: Box | None, largest: Box | None) -> str:
    if room is None:
        return "the ROI lies outside of the image; draw it on the image"
    if min(room.width, room.height) < rules.min_size:
        what = "the ROI" if room == drawn else "the ROI's part in the image"
        found = f"{what} is {room.width} × {room.height} px, smaller than one patch of {_size(rules)}"
        return f"{found}; draw it larger{_or_smaller(largest)}"
    found = f"no upright patch of {_size(rules)}{_grid(rules)} lies wholly in this ROI and in the image"
    return f"{found}{_where(largest)}; draw it larger or less tilted{_or_smaller(largest)}{_or_align(rules)}"


def _blocked(rules: Rules, largest: Box | None) -> str:
    margin = f" and the {rules.margin} px kept free around them" if rules.margin else ""
    found = f"labelled objects{margin} leave no room for a patch of {_size(rules)}{_grid(rules)} in this ROI"
    return f"{found}{_where(largest)}; draw it elsewhere{_or_smaller(largest)}{_or_align(rules)}"


def _impossible(rules: Rules, at_most: int, there: int) -> str:
    kind = f"{'square ' if rules.square else ''}patch{'es' if at_most > 1 else ''} of {_size(rules)} or more"
    limit = f" and overlap by less than {rules.max_overlap:.0%}" if at_most > 1 else ""
    found = f"no more than {at_most} {kind} can lie in this ROI{limit}"
    return f"{found}; {_ask_for(there)}draw it larger or lower min_size"


def _jammed(rules: Rules, there: int, others: int, share_free: float) -> str:
    objects = (
        f"labelled objects leave {_percent(share_free)} of the places in this ROI, and " if share_free < 0.5 else ""
    )
    ours = ["the patch there" if there == 1 else f"the {there} patches there"] if there else []
    foreign = [f"{others} rejected or other ROIs' patch{'es' if others > 1 else ''}"] if others else []
    leave, them = ("leaves", "it") if there + others == 1 else ("leave", "each of them")
    one = f"{'another' if there else 'one'} of {_size(rules)}{_grid(rules)}"
    limit = f"overlaps {them} by less than {rules.max_overlap:.0%}"
    found = f"{' and '.join(ours + foreign)} {leave} no place for {one} that {limit}"
    return f"{objects}{found}; {_ask_for(there)}draw the ROI larger or lower min_size{_or_align(rules)}"


def _ask_for(there: int) -> str:
    return f"ask for {there}, " if there else ""


def _size(rules: Rules) -> str:
    return f"{rules.min_size} × {rules.min_size} px"


def _grid(rules: Rules) -> str:
    return f" with its corner on the grid of {rules.align} px" if rules.align > 1 else ""


def _or_align(rules: Rules) -> str:
    return f", or lower align ({rules.align} px)" if rules.align > 1 else ""


def _percent(share: float) -> str:
    return "less than 1%" if share < 0.01 else f"{share:.0%}"


def _where(largest: Box | None) -> str:
    if largest is None:
        return ""
    return (
        f": the largest free square there is {largest.width} × {largest.height} px, at ({largest.left}, {largest.top})"
    )


def _or_smaller(largest: Box | None) -> str:
    if largest is None or largest.width < SMALLEST_SIDE:
        return ""
    return f", or lower min_size to {largest.width} or less"


def most_patches(space: Space, rules: Rules) -> int | None:
    """A proved limit to the number of patches in this ROI that overlap as little as they must; not always reached.
    None when none is proved, as where even patches with the same corner may overlap little enough.

    Two patches whose corners are near enough to each other overlap too much, whatever their sizes: so of all patches
    with their corners in a cell of such a width and height there is at most one, and no more patches than cells with a
    place for the smallest square.
    """
    smallest = rules.min_size
    corners = space.corners(smallest, smallest)
    if space.room is None or corners is None:
        return 0
    cells = [(width, height, -(-corners.width // width), -(-corners.height // height))
             for width, height in _cells(rules, space.room)]  # fmt: skip
    if not cells:
        return None
    width, height, columns, rows = min(cells, key=lambda cell: cell[2] * cell[3])
    first = space.places(smallest, smallest).boxes - (corners.left, corners.top) * 2
    held = np.column_stack([first[:, :2] // (width, height), -(-first[:, 2:] // (width, height))])
    empty = left_over(Box(0, 0, columns, rows), held)
    return columns * rows - int((empty[:, 2:] - empty[:, :2]).prod(axis=1).sum())


def _cells(rules: Rules, room: Box) -> Iterator[tuple[int, int]]:
    """Widths and heights of cells for one corner: for each width the greatest height."""
    dy = rules.min_size - 1
    for dx in range(rules.min_size):
        while dy >= 0 and not _always_crowd(rules, room, dx, dy):
            dy -= 1
        if dy < 0:
            return
        yield dx + 1, dy + 1


def _always_crowd(rules: Rules, room: Box, dx: int, dy: int) -> bool:
    """Whether any two patches overlap too much if their corners are no further apart than this.

    With m the smallest side, a the lesser width and b the lesser height of the two, they share at least
    (a − dx) (b − dy). The smaller one's area is at most b W and at most a H, with the room's W × H as far as sizes go;
    say b W. Then, as b ≥ m, they share at least (m − dx) (m − dy) b / m, and this is too much for all a and b if it is
    for m. Of squares the smaller one is a × a, which is worst for a = m, too.
    """
    least = rules.min_size
    longest = least if rules.square else min(rules.max_size, room.width, room.height)
    return (least - dx) * (least - dy) >= rules.max_overlap * least * longest + SLACK
