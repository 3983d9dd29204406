"""Finds the columns of a page and the order in which its parts are read: column after column, tables row by row."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median

from deployments.ingestion.parsers.pdf.blocks import Block, Item, is_running_text, text_lines
from deployments.ingestion.parsers.pdf.geometry import Box, around
from deployments.ingestion.parsers.pdf.rows import lines_and_tables
from deployments.ingestion.parsers.pdf.rules import Rules
from deployments.ingestion.parsers.pdf.segments import Segment

_GUTTERS = 12
"""Places tried, those with the most lines first."""
_BESIDE, _ALIGNED = 0.5, 0.2
"""Lines are in one row, or on one baseline, if their middles differ by less than so many sizes."""
_GUTTER = 0.7
"""The space between columns is at least so many sizes wide."""
_DEPTH = 12
_ITEMS = 3000
"""A page with more is a drawing."""
_SHORT_LINES = 0.6
"""If no line is so wide in parts of the page, its margins tell where long lines would end."""
_EDGE = 0.5
_SAME_PLACE = 2.0
_TABLE_ROWS, _CELL_LINES = 3, 4
_WORDS = 3
"""Cells of a row that are shorter tell it from lines of columns."""
_NO_HEADING = 1.1
_APART = 1.6


@dataclass(frozen=True, slots=True)
class _Split:
    """Items between two that cross the gutter, above or below: those left and right of it."""

    crossing: Sequence[Item]
    left: Sequence[Item]
    right: Sequence[Item]


def reading_order(items: Sequence[Item], rules: Rules, page: Box) -> Iterator[Block]:
    """The page's blocks in the order in which they are read. `page` is the box of the whole page."""
    if not items:
        return
    right_to_left = sum(item.right_to_left for item in items) * 2 > len(items)
    column = around(item.box for item in items)
    if column.width < _SHORT_LINES * page.width and not _best_gutter(items, rules):
        yield from lines_and_tables(items, rules, _with_equal_margins(column, page))
    else:
        yield from _in_order(list(items), rules, right_to_left, 0)


def _with_equal_margins(column: Box, page: Box) -> Box:
    """The column as it would be if long lines were on the page."""
    margin = max(min(column.left - page.left, page.right - column.right), 0.0)
    return replace(column, left=min(column.left, page.left + margin), right=max(column.right, page.right - margin))


def _in_order(items: list[Item], rules: Rules, right_to_left: bool, depth: int) -> Iterator[Block]:
    splits = _best_gutter(items, rules) if depth < _DEPTH and len(items) < _ITEMS else []
    if not splits:
        yield from lines_and_tables(items, rules, around(item.box for item in items))
        return
    pending: list[Item] = []  # what is not in columns, until the next columns begin
    for split in splits:
        pending += split.crossing
        if not (split.left and split.right):
            pending += (*split.left, *split.right)
            continue
        if pending:
            yield from _in_order(pending, rules, right_to_left, depth + 1)
            pending = []
        for side in (split.right, split.left) if right_to_left else (split.left, split.right):
            yield from _in_order(list(side), rules, right_to_left, depth + 1)
    if pending:
        yield from _in_order(pending, rules, right_to_left, depth + 1)


def _best_gutter(items: Sequence[Item], rules: Rules) -> list[_Split]:
    """The items split at the gutter with the most lines beside it; empty if there are no columns."""
    places = [(x, [*_zones(items, x)]) for x in _edges(items)]
    cells = {id(item) for x, zones in places for zone, _ in zones if _is_table(zone, x, rules) for item in zone}
    best: list[_Split] = []
    most = 0
    for x, zones in places:
        splits = _split(zones, x, cells)
        lines = sum(len(split.left) + len(split.right) for split in splits if split.left and split.right)
        if lines > most:
            best, most = splits, lines
    return best


def _edges(items: Sequence[Item]) -> list[float]:
    """Where a gutter may be: just left of what begins at one place, and just right of what ends at one place."""
    lefts = _shared([item.box.left for item in items])
    rights = _shared([-item.box.right for item in items])
    return [*(left - _EDGE for left in lefts), *(_EDGE - right for right in rights)]


def _shared(places: Sequence[float]) -> list[float]:
    """Places that two items share, or nearly: the least of each group."""
    groups: list[list[float]] = []
    for place in sorted(places):
        if groups and place - groups[-1][-1] < _SAME_PLACE:
            groups[-1].append(place)
        else:
            groups.append([place])
    groups = sorted((group for group in groups if len(group) > 1), key=len, reverse=True)
    return [group[0] for group in groups[:_GUTTERS]]


def _split(zones: Sequence[tuple[list[Item], list[Item]]], x: float, cells: Collection[int]) -> list[_Split]:
    """The zones split at x where they stand in columns, else whole. `cells` are ids of what is in tables."""
    splits: list[_Split] = []
    waiting: list[Item] = []
    for zone, above in zones:
        waiting += above
        if any(id(item) in cells for item in zone):
            waiting += zone
            continue
        for part in _parts(zone, x):
            left = [item for item in part if item.box.right <= x]
            right = [item for item in part if item.box.left >= x]
            if _are_columns(left, right):
                splits.append(_Split(waiting, left, right))
                waiting = []
            else:
                waiting += part
    if waiting:
        splits.append(_Split(waiting, (), ()))
    return splits


def _zones(items: Sequence[Item], x: float) -> Iterator[tuple[list[Item], list[Item]]]:
    """(items beside a gutter at x, those above them that cross it), top to bottom."""
    crossing = sorted((item for item in items if item.box.left < x < item.box.right), key=lambda item: item.box.top)
    beside = sorted((i for i in items if not i.box.left < x < i.box.right), key=lambda item: item.box.middle)
    zone: list[Item] = []
    above: list[Item] = []
    position = 0
    for item in crossing:
        while position < len(beside) and beside[position].box.middle < item.box.middle:
            zone.append(beside[position])
            position += 1
        if zone:
            yield zone, above
            zone, above = [], []
        above.append(item)
    yield list(beside[position:]), above


def _is_table(zone: Sequence[Item], x: float, rules: Rules) -> bool:
    """Whether what stands on both sides are cells of rows, though each may be a paragraph.

    Lines are drawn between the rows, or the rows begin at the same heights although their cells have different numbers
    of lines.
    """
    if len(zone) < 2 * _TABLE_ROWS:
        return False
    box = around(item.box for item in zone)
    ruled = [r for r in rules.across if r.left < x < r.right and box.top < r.middle < box.bottom]
    if len(ruled) > 1 and len(zone) <= 2 * _CELL_LINES * (len(ruled) + 1):
        return True
    different = False
    bands = _bands(zone)
    for band in bands:
        left = [item for item in band if item.box.right <= x]
        right = [item for item in band if item.box.left >= x]
        if not left or not right or abs(left[0].box.top - right[0].box.top) > _SAME_PLACE:
            return False
        different = different or len(left) != len(right)
    return different and len(bands) >= _TABLE_ROWS


def _parts(zone: Sequence[Item], x: float) -> Iterator[list[Item]]:
    """A zone in parts: what stands in columns, and what stands in rows above or below it, behind a wide space."""
    bands = _bands(zone)
    first = 1 if len(bands) > 1 and _is_apart(bands[0], bands[1]) else 0
    last = len(bands) - 1 if len(bands) - first > 1 and _is_apart(bands[-1], bands[-2]) else len(bands)
    yield from bands[:first]
    part: list[Item] = []
    undecided: list[Item] = []
    columns: bool | None = None
    for band in bands[first:last]:
        kind = _kind(band, x)
        if kind is None:
            undecided += band
            continue
        if columns is not None and kind != columns:
            # What stands between rows and columns belongs to the rows: a heading above, or a line below.
            yield part if columns else part + undecided
            part, undecided = ([], undecided) if columns else ([], [])
        part += undecided + band
        undecided = []
        columns = kind
    if part or undecided:
        yield part + undecided
    yield from bands[last:]


def _kind(band: Sequence[Item], x: float) -> bool | None:
    """Whether a band stands in columns, not in rows; None if there is too little to tell."""
    left = [item for item in band if item.box.right <= x]
    right = [item for item in band if item.box.left >= x]
    if min(len(left), len(right)) > 1:
        return _are_columns(left, right)
    texts = _texts(left, right)
    if not left or not right or len(text_lines(texts)) > 1:
        return None
    cells = [sum(any(map(str.isalpha, word.text)) for word in item.words) for item in texts]
    return False if len(cells) > 2 or not all(cells) or max(cells, default=0) < _WORDS else None


def _is_apart(band: Sequence[Item], inner: Sequence[Item]) -> bool:
    """Whether a band at the edge of a zone is a single row, such as a date or a page number, and no part of columns.

    It is farther from the rest than paragraphs are, and in no larger type, as headings of columns are.
    """
    row, rest = _texts(band), _texts(inner)
    if not row or not rest or len(row) < len(band) or any(not row[0].box.shares_line(item.box) for item in row):
        return False
    size = max(item.size for item in rest)
    space = max(rest[0].box.top - row[0].box.bottom, row[0].box.top - max(item.box.bottom for item in rest))
    own_size = max(item.size for item in row)
    return own_size <= _NO_HEADING * size and space > _APART * min(own_size, size)


def _bands(items: Sequence[Item]) -> list[list[Item]]:
    """The items between white spaces that go across all of them and are higher than between lines."""
    bands: list[list[Item]] = []
    bottom = 0.0
    for item in sorted(items, key=lambda item: item.box.top):
        space = item.size if isinstance(item, Segment) else 10.0
        if bands and item.box.top - bottom < space:
            bands[-1].append(item)
            bottom = max(bottom, item.box.bottom)
        else:
            bands.append([item])
            bottom = item.box.bottom
    return bands


def _are_columns(left: Sequence[Item], right: Sequence[Item]) -> bool:
    """Whether these are columns, each read to its end, and not the cells of rows."""
    if len(left) < 2 or len(right) < 2:
        return False
    size = median(item.size for item in (*left, *right) if isinstance(item, Segment)) if _texts(left, right) else 10.0
    if min(item.box.left for item in right) - max(item.box.right for item in left) < _GUTTER * size:
        return False
    left_runs, right_runs = is_running_text(_texts(left)), is_running_text(_texts(right))
    if left_runs and right_runs:
        return True
    fewer, more = sorted((_texts(left), _texts(right)), key=len)
    if not fewer:
        return left_runs or right_runs
    middles = sorted(item.box.middle for item in more)
    distances = [(_distance(item.box.middle, middles) / item.size) for item in fewer]
    beside = sum(distance < _BESIDE for distance in distances)
    aligned = sum(distance < _ALIGNED for distance in distances)
    if left_runs or right_runs:
        return beside > 1 and aligned < 0.5 * beside
    return beside > 2 and aligned < 0.34 * beside


def _distance(place: float, places: Sequence[float]) -> float:
    """How far the nearest of the places, which are in order, is."""
    position = bisect_left(places, place)
    return min(abs(place - near) for near in places[max(position - 1, 0) : position + 1])


def _texts(*sides: Sequence[Item]) -> list[Segment]:
    return [item for side in sides for item in side if isinstance(item, Segment)]
