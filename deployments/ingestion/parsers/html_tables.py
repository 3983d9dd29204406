"""Makes an HTML page's tables plain grids, and writes their cells.

Merged cells are undone, and tables that only lay out a page are opened.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from bs4 import BeautifulSoup
from bs4.element import Tag
from markdownify import MarkdownConverter

from deployments.errors import DocumentTooLarge
from deployments.ingestion.parsers import tables

_Merged = dict[int, tuple[int, str]]
"""Column → (rows that a merged cell still reaches into, its text there)."""
_CELLS = ["td", "th"]
_PARTS = ["thead", "tbody", "tfoot", "tr", "caption", "colgroup", *_CELLS]
_REPEATED_CHARACTERS = 200
"""A merged cell's text is repeated in each of its rows up to this length. A longer one is in the first row only."""
_MOST_COLUMNS = 1000
"""A merged cell reaches no further, however many columns it names."""
_MOST_MERGED = 100_000
"""Cells of one page's tables that merged cells cover. A few bytes of a page can name millions."""


class TableConverter(MarkdownConverter):
    """Writes cells so that a `|` in a text does not end its cell."""

    def convert_td(self, element: Any, text: str, parent_tags: set[str]) -> str:
        return f" {tables.cell(text)} |"

    def convert_th(self, element: Any, text: str, parent_tags: set[str]) -> str:
        return f" {tables.cell(text)} |"


def make_plain(root: Tag | BeautifulSoup) -> None:
    """Change the tree's tables in place. Raises DocumentTooLarge for merged cells that cover too many."""
    own_parts: defaultdict[int, list[Tag]] = defaultdict(list)
    # In one walk for all tables: one for each would take the square of their depth.
    for part in root.find_all(_PARTS):
        if (owner := part.find_parent("table")) is not None:
            own_parts[id(owner)].append(part)
    covered = 0
    for table in root.find_all("table"):
        if _is_layout(table):
            _open(table, own_parts[id(table)])
        else:
            _join_groups(table, own_parts[id(table)])
            covered = _undo_merged_cells(table, covered)


def _is_layout(table: Tag) -> bool:
    """Whether a table only arranges text: it holds other tables, or has one column with more than lines of text."""
    if table.get("role") == "presentation" or table.find("table") is not None:
        return True
    rows = [row.find_all(_CELLS, recursive=False) for row in table.find_all("tr")]
    return all(len(cells) <= 1 for cells in rows) and table.find(["p", "ul", "ol", "h1", "h2", "h3"]) is not None


def _open(table: Tag, own_parts: Iterable[Tag]) -> None:
    """Make a table's own parts ordinary blocks. Tables inside stay as they are."""
    for part in own_parts:
        part.name = "div"
    table.name = "div"


def _join_groups(table: Tag, own_parts: Iterable[Tag]) -> None:
    """Make a table's rows its only children, those of its foot last. Its caption becomes a paragraph above it.

    Each group of rows would have a header of its own otherwise, and a table with a caption none.
    """
    for part in own_parts:
        match part.name:
            case "caption":
                part.name = "p"
                table.insert_before(part.extract())
            case "colgroup":
                part.decompose()
            case "tfoot":
                table.append(part.extract())
                part.unwrap()
            case "thead" | "tbody":
                part.unwrap()


def _undo_merged_cells(table: Tag, covered: int) -> int:
    """Give each row a cell for each column. `covered`: cells that merged ones cover so far in the page; returns it
    with those of this table."""
    merged: _Merged = {}
    for row in table.find_all("tr"):
        grid: list[Tag | str] = []
        below: _Merged = {}
        for cell in row.find_all(_CELLS, recursive=False):
            _add_merged(grid, merged)
            rows, columns = _span(cell, "rowspan"), _span(cell, "colspan")
            columns = max(min(columns, _MOST_COLUMNS - len(grid)), 1)
            text = cell.get_text(" ", strip=True) if rows > 1 else ""
            for number in range(columns):
                if rows > 1:
                    shown = text if number == 0 and len(text) <= _REPEATED_CHARACTERS else ""
                    below[len(grid)] = (rows - 1, shown)
                grid.append(cell if number == 0 else "")
        _add_merged(grid, merged)
        merged |= below
        covered += sum(not isinstance(part, Tag) for part in grid)
        if covered > _MOST_MERGED:
            raise DocumentTooLarge(
                f"the document has tables whose merged cells cover more than {_MOST_MERGED:,} cells; "
                "split the document or the merged cells"
            )
        if grid:
            _fill(row, grid)
        else:
            row.decompose()
    return covered


def _add_merged(grid: list[Tag | str], merged: _Merged) -> None:
    """Add the cells that reach into this row at its next columns."""
    while (column := len(grid)) in merged:
        rows, text = merged.pop(column)
        if rows > 1:
            merged[column] = (rows - 1, text)
        grid.append(text)


def _fill(row: Tag, grid: list[Tag | str]) -> None:
    """Put a cell of its own into the row for each column of the grid."""
    name = grid[0].name if grid and isinstance(grid[0], Tag) else "td"
    before: Tag | None = None
    for part in grid:
        if isinstance(part, Tag):
            del part["rowspan"], part["colspan"]
            before = part
            continue
        cell = Tag(name=name)
        cell.string = part
        if before is None:
            row.insert(0, cell)
        else:
            before.insert_after(cell)
        before = cell


def _span(cell: Tag, name: str) -> int:
    value = str(cell.get(name, "1")).strip()
    return max(int(value[:5]), 1) if value.isascii() and value.isdigit() else 1
