"""Makes an HTML page's tables plain grids: merged cells are undone, and tables that only lay out a page are opened."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from bs4 import BeautifulSoup
from bs4.element import Tag

_Merged = dict[int, tuple[int, str]]
"""Column → (rows that a merged cell still reaches into, its text there)."""
_CELLS = ["td", "th"]
_PARTS = ["thead", "tbody", "tfoot", "tr", "caption", "colgroup", *_CELLS]
_REPEATED_CHARACTERS = 200
"""A merged cell's text is repeated in each of its rows up to this length. A longer one is in the first row only."""
_MOST_COLUMNS = 1000


def make_plain(root: Tag | BeautifulSoup) -> None:
    """Change the tree's tables in place."""
    own_parts: defaultdict[int, list[Tag]] = defaultdict(list)
    # In one walk for all tables: one for each would take the square of their depth.
    for part in root.find_all(_PARTS):
        if (owner := part.find_parent("table")) is not None:
            own_parts[id(owner)].append(part)
    for table in root.find_all("table"):
        if _is_layout(table):
            _open(table, own_parts[id(table)])
        else:
            _undo_merged_cells(table)


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


def _undo_merged_cells(table: Tag) -> None:
    merged: _Merged = {}
    for row in table.find_all("tr"):
        grid: list[Tag | str] = []
        below: _Merged = {}
        for cell in row.find_all(_CELLS, recursive=False):
            _add_merged(grid, merged)
            rows, columns = _span(cell, "rowspan"), min(_span(cell, "colspan"), _MOST_COLUMNS)
            text = cell.get_text(" ", strip=True) if rows > 1 else ""
            for number in range(columns):
                if rows > 1:
                    shown = text if number == 0 and len(text) <= _REPEATED_CHARACTERS else ""
                    below[len(grid)] = (rows - 1, shown)
                grid.append(cell if number == 0 else "")
        _add_merged(grid, merged)
        merged |= below
        _fill(row, grid)


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
