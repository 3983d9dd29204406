"""Tables whose cells have drawn borders."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from deployments.ingestion.parsers.pdf.blocks import Table, text_lines
from deployments.ingestion.parsers.pdf.geometry import Box, around
from deployments.ingestion.parsers.pdf.rules import Rules, joined
from deployments.ingestion.parsers.pdf.segments import Segment, is_right_to_left, segments
from deployments.ingestion.parsers.pdf.words import Word

_APART = 3.0
"""Drawn lines nearer than this are one; a cell's border is often drawn with the next one's."""


@dataclass(frozen=True, slots=True)
class _Grid:
    """Lines that cross each other: (place, start, end) of those across (place is their height) and down."""

    across: tuple[tuple[float, float, float], ...]
    down: tuple[tuple[float, float, float], ...]

    @property
    def box(self) -> Box:
        return around(
            (
                *(Box(left, y, right, y) for y, left, right in self.across),
                *(Box(x, top, x, bottom) for x, top, bottom in self.down),
            )
        )

    def cell(self, box: Box) -> tuple[float, float]:
        """The upper and the left line of the cell that the box's centre is in."""
        tops = (y for y, left, right in self.across if y <= box.middle and left <= box.centre <= right)
        lefts = (x for x, top, bottom in self.down if x <= box.centre and top <= box.middle <= bottom)
        return max(tops, default=self.across[0][0]), max(lefts, default=-math.inf)


def ruled_tables(words: Sequence[Word], rules: Rules, page: int) -> tuple[list[Table], list[Word]]:
    """Tables with lines between columns and rows, and the words outside of them."""
    tables: list[Table] = []
    outside = list(words)
    for grid in _grids(rules):
        box = grid.box
        inside = [word for word in outside if box.holds(word.box)]
        table = _ruled_table(inside, grid, page)
        if table is not None:
            tables.append(table)
            outside = [word for word in outside if not box.holds(word.box)]
    return tables, outside


def _ruled_table(words: Sequence[Word], grid: _Grid, page: int) -> Table | None:
    cells: dict[tuple[float, float], list[Word]] = defaultdict(list)
    for word in words:
        cells[grid.cell(word.box)].append(word)
    columns = sorted({left for _, left in cells})
    tops = sorted({top for top, _ in cells})
    if len(columns) < 2 or sum(len({left for top, left in cells if top == row}) > 1 for row in tops) < 2:
        return None
    if is_right_to_left(word.text for word in words):
        columns.reverse()
    rows: list[tuple[tuple[Segment, ...], ...]] = []
    for top in tops:
        lines = [_lines(cells.get((top, left), ()), page) for left in columns]
        rows += _rows_without_lines(lines) if len(tops) < 4 else [tuple(lines)]
    return Table(page, grid.box, tuple(rows))


def _rows_without_lines(cells: Sequence[tuple[Segment, ...]]) -> list[tuple[tuple[Segment, ...], ...]]:
    """The rows between two lines: one for each text line, if each column that has any has as many; else one row."""
    counts = {len(cell) for cell in cells if cell}
    if len(counts) != 1 or counts <= {1, 2}:
        return [tuple(cells)]
    return [tuple((cell[number],) if cell else () for cell in cells) for number in range(counts.pop())]


def _lines(words: Sequence[Word], page: int) -> tuple[Segment, ...]:
    """A cell's segments, line by line."""
    lines = text_lines(segments(words, page))
    return tuple(segment for line in lines for segment in line)


def _grids(rules: Rules) -> list[_Grid]:
    """Lines that cross, in groups that have at least two rows and two columns."""
    across = joined([(box.middle, box.left, box.right) for box in rules.across], _APART)
    down = joined([(box.centre, box.top, box.bottom) for box in rules.down], _APART)
    groups: list[tuple[list[tuple[float, float, float]], list[tuple[float, float, float]]]] = []
    waiting = list(down)
    for line in across:
        touching = [other for other in waiting if _cross(line, other)]
        waiting = [other for other in waiting if not _cross(line, other)]
        merged_across, merged_down = [line], touching
        apart = []
        for group in groups:
            if any(_cross(line, other) for other in group[1]):
                merged_across = group[0] + merged_across
                merged_down = group[1] + merged_down
            else:
                apart.append(group)
        groups = [*apart, (merged_across, merged_down)]
    grids = [_Grid(tuple(sorted(across)), tuple(sorted(down))) for across, down in groups]
    return [grid for grid in grids if _distinct(grid.across) > 2 and _distinct(grid.down) > 2]


def _cross(across: tuple[float, float, float], down: tuple[float, float, float]) -> bool:
    y, left, right = across
    x, top, bottom = down
    return left - _APART <= x <= right + _APART and top - _APART <= y <= bottom + _APART


def _distinct(lines: Sequence[tuple[float, float, float]]) -> int:
    return len({place for place, _, _ in lines})
