"""Tables without drawn borders: lines whose parts stand below each other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from deployments.ingestion.parsers.pdf.blocks import Table
from deployments.ingestion.parsers.pdf.geometry import Box, around, merged
from deployments.ingestion.parsers.pdf.rules import Rules
from deployments.ingestion.parsers.pdf.segments import Segment, segment_of

Row = list[Segment]
"""The segments of one line, from left to right."""
Cell = Sequence[Segment]
Columns = list[tuple[float, float]]
"""Where the text of each column begins and ends, from left to right."""

_COLUMN_GAP, _NARROW_GAP = 0.3, 0.1
_ROW_STEP = 3.5
_TIGHT, _APART = 1.15, 1.3
_WRAPPED_STEP = 1.45
_ALIGNED = 2.0


def table_at(rows: Sequence[Row], position: int, first: int) -> tuple[int, int, list[Row], Columns] | None:
    """The table that the row at `position` is part of: where it begins and ends, its rows and its columns.

    None if there is none. It begins at `first` or later: a header may come to it whose cells stand close.
    """
    if len(rows[position]) < 2:
        return None
    columns = _intervals(rows[position])
    taken = [rows[position]]
    for row in rows[position + 1 :]:
        added = _added(taken[-1], row, columns)
        if added is not None:
            row, columns = added
            taken.append(row)
        elif (refined := _refined(taken, row, columns)) is not None:
            taken, columns = refined
        else:
            break
    while len(taken) > 1 and len(taken[-1]) == 1 and not _is_wrapped(taken[-1][0], taken[-2], columns):
        taken.pop()
    if len(taken) < 2 or sum(len(row) > 1 for row in taken) < 2:
        return None
    columns = merged([interval for row in taken for interval in _intervals(row)], 0.01)
    end = position + len(taken)
    while position > first:  # a header, or a row whose cells stand close
        added = _added(taken[0], rows[position - 1], columns)
        if added is None or len(added[0]) < 2:
            break
        row, columns = added
        taken.insert(0, row)
        position -= 1
    return position, end, taken, columns


def _added(neighbour: Row, row: Row, columns: Columns) -> tuple[Row, Columns] | None:
    """A row as a further one of a table, and the columns with it; None if it does not fit."""
    size = max(segment.size for segment in neighbour)
    bottoms = [max(segment.box.bottom for segment in part) for part in (neighbour, row)]
    if abs(bottoms[1] - bottoms[0]) > _ROW_STEP * size:
        return None
    wider = merged([*columns, *_intervals(row)], _COLUMN_GAP * size)
    if len(wider) >= len(columns) and len({_nearest(segment.box, wider) for segment in row}) == len(row):
        return row, wider
    parts = _by_columns(row, columns)
    if len(parts) < max(2, len(row)):
        return None
    wider = merged([*columns, *_intervals(parts)], _NARROW_GAP * size)
    return (parts, wider) if len(wider) == len(columns) else None


def _is_wrapped(line: Segment, above: Row, columns: Columns) -> bool:
    """Whether a last line goes on with a cell other than a row's first, close below it."""
    first = len(columns) - 1 if line.right_to_left else 0
    step = line.box.bottom - max(segment.box.bottom for segment in above)
    return _nearest(line.box, columns) != first and step < _WRAPPED_STEP * line.size


def _refined(taken: Sequence[Row], row: Row, columns: Columns) -> tuple[list[Row], Columns] | None:
    """The rows of a table with one that has more cells than they seem to have, if theirs can be cut likewise."""
    if len(row) <= len(columns):
        return None
    columns = _intervals(row)
    rows = [row]
    for above in reversed(taken):
        added = _added(rows[0], above, columns)
        if added is None:
            return None
        above, columns = added
        rows.insert(0, above)
    return rows, columns


def _by_columns(row: Row, columns: Columns) -> Row:
    """A row cut between words where the columns are, if each part stands right in its column; else empty."""
    words = sorted((word for segment in row for word in segment.words), key=lambda word: word.box.left)
    anchors = [
        (number, column)
        for number, word in enumerate(words)
        for column, (start, end) in enumerate(columns)
        if word.box.left < end and word.box.right > start
    ]
    if len({number for number, _ in anchors}) < len(anchors) or anchors != sorted(anchors, key=lambda a: (a[1], a[0])):
        return []  # a word stands in two columns, or the columns are not in order
    cells: list[int] = []
    cuts: list[int] = []
    for (number, column), (following, next_column) in pairwise(anchors):
        if column == next_column:
            continue
        # Between words that stand in columns, the cut is where the next column begins, or else at the widest space.
        gaps = range(number + 1, following + 1)
        aligned = [gap for gap in gaps if abs(words[gap].box.left - columns[next_column][0]) <= _ALIGNED]
        cuts.append(max(aligned or gaps, key=lambda gap: words[gap].box.left - words[gap - 1].box.right))
        cells.append(column)
    if not cuts:
        return []
    cells.append(anchors[-1][1])
    bounds = [0, *cuts, len(words)]
    parts = [segment_of(words[start:end], row[0].page) for start, end in pairwise(bounds)]
    for column, part in zip(cells, parts, strict=True):
        start, end = columns[column]
        offsets = (part.box.left - start, part.box.right - end, part.box.centre - (start + end) / 2)
        if min(map(abs, offsets)) > _ALIGNED:
            return []
    return parts


def _intervals(row: Row) -> Columns:
    return [(segment.box.left, segment.box.right) for segment in row]


def _nearest(box: Box, columns: Columns) -> int:
    """The column that a box's centre is in, or is nearest to."""
    centre = box.centre
    return min(range(len(columns)), key=lambda c: max(columns[c][0] - centre, centre - columns[c][1], 0.0))


def table_of(rows: Sequence[Row], columns: Columns, rules: Rules) -> Table:
    """The table of these rows. Lines that go on with the cells above them are joined to those."""
    box = around(segment.box for row in rows for segment in row)
    right_to_left = sum(segment.right_to_left for row in rows for segment in row) * 2 > sum(map(len, rows))
    cells: list[list[list[Segment]]] = []
    for row in rows:
        row_cells: list[list[Segment]] = [[] for _ in columns]
        for segment in row:
            row_cells[_nearest(segment.box, columns)].append(segment)
        cells.append(row_cells[::-1] if right_to_left else row_cells)
    return Table(rows[0][0].page, box, tuple(_without_wrapped_lines(cells, _gaps(rows, box, rules))))


@dataclass(frozen=True, slots=True)
class _Gaps:
    """Between each line of a table and the next: the step in points, and whether a drawn line is there."""

    steps: Sequence[float]
    ruled: Sequence[bool]


def _gaps(rows: Sequence[Row], table: Box, rules: Rules) -> _Gaps:
    bottoms = [max(segment.box.bottom for segment in row) for row in rows]
    across = [
        rule.middle
        for rule in rules.across
        if min(rule.right, table.right) - max(rule.left, table.left) > 0.5 * table.width
    ]
    return _Gaps(
        steps=[below - above for above, below in pairwise(bottoms)],
        ruled=[any(above - 1.0 <= rule <= below for rule in across) for above, below in pairwise(bottoms)],
    )


def _without_wrapped_lines(lines: Sequence[Sequence[Cell]], gaps: _Gaps) -> Iterator[tuple[tuple[Segment, ...], ...]]:
    """The rows of a table: lines that go on with the cells of the line above are joined to it."""
    ruled = _are_rows_ruled(lines, gaps.ruled)
    apart = sum(step >= _TIGHT * min(gaps.steps) for step in gaps.steps) * 3 >= len(gaps.steps)
    row: list[list[Segment]] = []
    for index, line in enumerate(lines):
        if row and _continues(row, line, index - 1, gaps, ruled, apart):
            for cell, more in zip(row, line, strict=True):
                cell += more
            continue
        if row:
            yield tuple(map(tuple, row))
        row = [list(cell) for cell in line]
    yield tuple(map(tuple, row))


def _are_rows_ruled(lines: Sequence[Sequence[Cell]], ruled: Sequence[bool]) -> bool:
    """Whether each row is between two drawn lines, and not only the header and the total."""
    groups: list[int] = [0]  # lines with text in each column
    for line, after_rule in zip(lines, (False, *ruled), strict=True):
        if after_rule:
            groups.append(0)
        groups[-1] += all(line)
    return len(groups) > 2 and (max(groups) < 2 or (len(groups) > 4 and len(lines) <= 3 * len(groups)))


def _continues(row: Sequence[Cell], line: Sequence[Cell], step: int, gaps: _Gaps, ruled: bool, apart: bool) -> bool:
    """Whether a line holds further lines of the cells in the row before it, and is no row of its own."""
    if ruled:
        return not gaps.ruled[step] and not (all(line) and gaps.steps[step] > _APART * min(gaps.steps))
    if gaps.steps[step] >= _TIGHT * min(gaps.steps):
        return False
    if all(line):
        return apart and _goes_on(row, line)
    if apart:
        return True
    further = [(cell, more) for cell, more in zip(row, line, strict=True) if more]
    has_figure = any(not any(map(str.isalpha, more[0].text)) for _, more in further)
    return not line[0] and not has_figure and all(_is_full(cell, more) for cell, more in further)


def _goes_on(row: Sequence[Cell], line: Sequence[Cell]) -> bool:
    """Whether the cells of a line are further words of those above, and none a figure."""
    cells = [(cell[-1].text, more[0].text) for cell, more in zip(row, line, strict=True) if cell and more]
    return any(more[:1].islower() for _, more in cells) and all(
        any(map(str.isalpha, text)) for pair in cells for text in pair
    )


def _is_full(cell: Cell, more: Cell) -> bool:
    """Whether the first word of further lines would not have fitted on the last line of a cell."""
    if not cell:
        return False
    return cell[-1].box.width + more[0].first_word + 0.3 * more[0].size > max(s.box.width for s in (*cell, *more))
