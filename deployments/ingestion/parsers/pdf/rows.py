"""Lines of a column, and the tables between them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from deployments.ingestion.parsers.pdf.blocks import Block, Line, Table, is_running_text, text_lines
from deployments.ingestion.parsers.pdf.borderless import Row, table_at, table_of
from deployments.ingestion.parsers.pdf.geometry import Box, around
from deployments.ingestion.parsers.pdf.rules import Rules
from deployments.ingestion.parsers.pdf.segments import Segment, segment_of

_LIST_MARK = re.compile(r"[•▪●○◦‣*–—-]|\(?(?:\d{1,3}|[^\W\d_]|[ivxIVX]{1,5})[.)]")
_MARK_GAP = 5.0
_EVEN = 0.15
_FEW_ROWS = 3
_FULL = 0.9
_RUN, _RUN_WORDS = 3, 5
_RUN_STEP = 2.0
_SAME_SIZE = 0.05


def lines_and_tables(items: Sequence[Segment | Table], rules: Rules, column: Box) -> Iterator[Block]:
    """What stands in one column, top to bottom. `column` tells where its lines end."""
    rows = [_without_wide_spaces(row) for row in text_lines([item for item in items if isinstance(item, Segment)])]
    bordered = sorted((item for item in items if isinstance(item, Table)), key=lambda table: table.box.top)
    start = 0
    for table in bordered:
        end = next((n for n in range(start, len(rows)) if rows[n][0].box.top > table.box.top), len(rows))
        yield from _between_tables(rows[start:end], rules, column)
        yield table
        start = end
    yield from _between_tables(rows[start:], rules, column)


def _between_tables(rows: Sequence[Row], rules: Rules, column: Box) -> Iterator[Block]:
    """Lines, and tables without borders."""
    first = position = 0
    while position < len(rows):
        found = table_at(rows, position, first)
        if found is None or _are_in_paragraph(found[2], rows[: found[0]][-1:], rows[found[1] : found[1] + 1], column):
            position += 1
            continue
        start, position, taken, columns = found
        yield from _lines(rows[first:start], column)
        yield table_of(taken, columns, rules)
        first = position
    yield from _lines(rows[first:], column)


def _are_in_paragraph(table: Sequence[Row], above: Sequence[Row], below: Sequence[Row], column: Box) -> bool:
    """Whether a few rows are lines of a paragraph with wide spaces: from edge to edge, close to a line without any."""
    if len(table) > _FEW_ROWS:
        return False
    for neighbour, row in [*((line, table[0]) for line in above), *((line, table[-1]) for line in below)]:
        step = abs(neighbour[0].box.bottom - row[0].box.bottom)
        if len(neighbour) == 1 and step < _RUN_STEP * row[0].size and neighbour[0].box.width > _FULL * column.width:
            return all(around(segment.box for segment in line).width > _FULL * column.width for line in table)
    return False


def _without_wide_spaces(row: Row) -> Row:
    """A row as one segment if it is a list's mark and its item, or a line whose spaces were widened to fill it."""
    if len(row) < 2 or not (_is_list_item(row) or _is_justified(row)):
        return row
    return [segment_of([word for segment in row for word in segment.words], row[0].page)]


def _is_list_item(row: Row) -> bool:
    if len(row) != 2:
        return False
    mark, item = reversed(row) if row[0].right_to_left or row[1].right_to_left else row
    near = row[1].box.left - row[0].box.right < _MARK_GAP * item.size
    return near and _LIST_MARK.fullmatch(mark.text) is not None


def _is_justified(row: Row) -> bool:
    """Whether a line's spaces are all the same, and wide because it has few words."""
    words = sorted((word for segment in row for word in segment.words), key=lambda word: word.box.left)
    gaps = [following.box.left - word.box.right for word, following in pairwise(words)]
    size = row[0].size
    letters = sum(any(map(str.isalpha, word.text)) for word in words)
    return len(gaps) > 1 and 2 * letters > len(words) and max(gaps) - min(gaps) < _EVEN * size and max(gaps) < 3 * size


def _lines(rows: Sequence[Row], column: Box) -> Iterator[list[Line]]:
    """The rows as lines, each with its column: that of the running text that it is part of, else the whole one."""
    if not rows:
        return
    lines = [segment_of([word for segment in row for word in segment.words], row[0].page) for row in rows]
    runs: list[list[Segment]] = []
    for line in lines:
        if runs and _is_run(runs[-1][-1], line):
            runs[-1].append(line)
        else:
            runs.append([line])
    result: list[Line] = []
    for run in runs:
        own = len(run) >= _RUN and is_running_text(run) and _words_a_line(run) >= _RUN_WORDS
        box = around(line.box for line in run) if own else column
        result += [Line(line, box) for line in run]
    yield result


def _words_a_line(lines: Sequence[Segment]) -> float:
    return sum(len(line.words) for line in lines) / len(lines)


def _is_run(line: Segment, following: Segment) -> bool:
    step = following.box.bottom - line.box.bottom
    near = abs(following.box.left - line.box.left) < 2 * line.size or abs(following.box.right - line.box.right) < 2.0
    return near and step < _RUN_STEP * line.size and abs(following.size - line.size) <= _SAME_SIZE * line.size
