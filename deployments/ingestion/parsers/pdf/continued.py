"""Joins the parts of tables that go on on the next page."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

from deployments.ingestion.parsers.pdf.blocks import Block, Table
from deployments.ingestion.parsers.pdf.geometry import around
from deployments.ingestion.parsers.pdf.segments import Segment

_PLACE = 3.0
"""How far apart the edges of a column may be on two pages, in points."""

_FIGURE = re.compile(r"(?!\d{4}\.?$)(?=.*\d)[\d.,:/%€$+\s\u2212-]+")
"""A cell that is a figure. Years are not: they stand in headers."""

Row = tuple[tuple[Segment, ...], ...]


def joined_tables(blocks: Iterable[Block]) -> list[Block]:
    """The blocks in order. A table that is first on its page may go on with the last one of the page before.

    It does if its columns stand at the same places, and its first row is the header again, or has figures where that
    one has them. A header that is repeated is left out: passages repeat it by themselves.
    """
    joined: list[Block] = []
    parts: list[Table] = []
    for block in blocks:
        if isinstance(block, Table) and parts and _continues(parts[-1], block):
            parts.append(block)
            continue
        joined += _whole(parts)
        parts = [block] if isinstance(block, Table) else []
        if not parts:
            joined.append(block)
    return [*joined, *_whole(parts)]


def _continues(above: Table, table: Table) -> bool:
    if table.page != above.page + 1 or len(above.rows[0]) != len(table.rows[0]):
        return False
    if not all(map(_is_same_place, _columns(above), _columns(table))):
        return False
    return _is_repeated_header(table.rows[0], above.rows[0]) or _has_same_figures(above.rows, table.rows)


def _has_same_figures(above: Sequence[Row], below: Sequence[Row]) -> bool:
    """Whether the first rows below have figures, and no words, where most rows above have figures. Another table's
    header has words there."""
    columns = [
        column
        for column, cells in enumerate(zip(*map(_text, above[1:]), strict=True))
        if 2 * sum(map(_is_figure, cells)) > len(cells)
    ]
    first = [_text(row) for row in below[: 2 if _is_rest(below[0]) else 1]]
    found = [text[column] for text in first for column in columns if text[column]]
    return bool(found) and all(map(_is_figure, found))


def _columns(table: Table) -> list[tuple[float, float] | None]:
    """Where the text of each column begins and ends; None for a column without any."""
    edges: list[tuple[float, float] | None] = []
    for cells in zip(*table.rows, strict=True):
        boxes = [segment.box for cell in cells for segment in cell]
        box = around(boxes) if boxes else None
        edges.append(None if box is None else (box.left, box.right))
    return edges


def _is_same_place(column: tuple[float, float] | None, other: tuple[float, float] | None) -> bool:
    """Whether two columns' texts have the same left or right edge, or the same middle."""
    if column is None or other is None:
        return True
    offsets = (column[0] - other[0], column[1] - other[1], (sum(column) - sum(other)) / 2)
    return min(map(abs, offsets)) <= _PLACE


def _whole(parts: Sequence[Table]) -> list[Table]:
    """The table of these parts, if there are any."""
    if not parts:
        return []
    rows = [*parts[0].rows]
    for part in parts[1:]:
        more = part.rows[1:] if _is_repeated_header(part.rows[0], rows[0]) else part.rows
        if more and _is_rest(more[0]) and not _is_rest(rows[-1]):
            rows[-1] = tuple((*cell, *rest) for cell, rest in zip(rows[-1], more[0], strict=True))
            more = more[1:]
        rows += more
    return [replace(parts[0], rows=tuple(rows))]


def _is_repeated_header(row: Row, header: Row) -> bool:
    """Whether a row is the header once more. Rows with figures may well be the same twice."""
    return _text(row) == _text(header) and not any(map(_is_figure, _text(row)))


def _is_figure(text: str) -> bool:
    return _FIGURE.fullmatch(text) is not None


def _is_rest(row: Row) -> bool:
    """Whether a row has no text in its first cell, as the rest of one that was cut at the end of a page."""
    return not row[0] and any(row)


def _text(row: Row) -> list[str]:
    return [" ".join(segment.text for segment in cell) for cell in row]
