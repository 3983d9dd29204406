"""Turns grids of cells into Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from deployments.errors import DocumentTooLarge

Row = dict[int, str]
"""Column number → text of its cell; empty cells are left out."""

_ROWS = 500
"""Rows of one table below its header. More rows go into further tables, so that a grid is never held in full."""
_COLUMNS = 16_384
SEPARATOR = "| --- |"
"""The line below a header begins so."""


def cell(text: str) -> str:
    """A text as one table cell: one line, with each `|` escaped."""
    return " ".join(text.split()).replace("|", "\\|")


def row(cells: Iterable[str]) -> Row:
    return {column: text for column, content in enumerate(cells) if (text := cell(content))}


def tables(rows: Iterable[Row]) -> Iterator[str]:
    """The grid as Markdown tables. Empty rows separate tables, and a table's first row is its header.

    A long table is given in several, each with the header. A table of one column is given as lines of text. Columns
    without any text are left out. Raises DocumentTooLarge for more columns than a spreadsheet can have.
    """
    header: Row = {}
    body: list[Row] = []
    for grid_row in rows:
        if len(grid_row) > _COLUMNS:
            raise DocumentTooLarge(f"the document has a table with more than {_COLUMNS:,} columns; split it")
        if header and (not grid_row or len(body) == _ROWS):
            yield _markdown(header, body)
            body = []
        if not (header and grid_row):
            header = grid_row
        else:
            body.append(grid_row)
    if header:
        yield _markdown(header, body)


def _markdown(header: Row, body: list[Row]) -> str:
    columns = sorted({column for grid_row in (header, *body) for column in grid_row})
    if len(columns) == 1:
        return "\n".join(text for grid_row in (header, *body) for text in grid_row.values())
    lines = [_line(header, columns), "|" + " --- |" * len(columns), *(_line(grid_row, columns) for grid_row in body)]
    return "\n".join(lines)


def _line(cells: Row, columns: list[int]) -> str:
    return "| " + " | ".join(cells.get(column, "") for column in columns) + " |"
