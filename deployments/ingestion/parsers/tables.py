"""Grids of cells as Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from deployments.errors import DocumentTooLarge

Row = dict[int, str]
"""Column → text, without the empty ones."""

_ROWS = 500
"""Rows of one table below its header; what is more goes on in another, so that a grid is never held whole."""
_COLUMNS = 16_384


def cell(text: str) -> str:
    """A text as one line that no `|` in it ends."""
    return " ".join(text.split()).replace("|", "\\|")


def row(cells: Iterable[str]) -> Row:
    return {column: text for column, each in enumerate(cells) if (text := cell(each))}


def tables(rows: Iterable[Row]) -> Iterator[str]:
    """A table for each run of rows without an empty one among them, the run's first row as its header.

    A long run gives several, each with the header again. A run of a single column is lines of text. Columns that
    are empty in all of a table are left out. Raises DocumentTooLarge for more columns than a spreadsheet can have.
    """
    header: Row = {}
    body: list[Row] = []
    for each in rows:
        if len(each) > _COLUMNS:
            raise DocumentTooLarge(f"the document has a table with more than {_COLUMNS:,} columns; split it")
        if header and (not each or len(body) == _ROWS):
            yield _markdown(header, body)
            body = []
        if not (header and each):
            header = each
        else:
            body.append(each)
    if header:
        yield _markdown(header, body)


def _markdown(header: Row, body: list[Row]) -> str:
    columns = sorted({column for each in (header, *body) for column in each})
    if len(columns) == 1:
        return "\n".join(text for each in (header, *body) for text in each.values())
    lines = [_line(header, columns), "|" + " --- |" * len(columns), *(_line(each, columns) for each in body)]
    return "\n".join(lines)


def _line(cells: Row, columns: list[int]) -> str:
    return "| " + " | ".join(cells.get(column, "") for column in columns) + " |"
