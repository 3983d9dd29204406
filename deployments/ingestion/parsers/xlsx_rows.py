"""Reads a sheet's rows from its XML. The library reads each cell, but not the file: it parses XML in Python, and twice
where a sheet does not state its size."""

from __future__ import annotations

import io
from collections.abc import Iterator
from copy import deepcopy
from functools import cache
from typing import Any
from xml.etree.ElementTree import Element, iterparse

from openpyxl.cell.read_only import ReadOnlyCell
from openpyxl.worksheet._reader import FORMULA_TAG, ROW_TAG, WorkSheetParser
from openpyxl.worksheet.formula import ArrayFormula

from deployments.errors import BrokenDocument
from deployments.ingestion.parsers.tables import Row, cell
from deployments.ingestion.parsers.xlsx_formats import shown
from deployments.ingestion.parsers.xlsx_view import View

EMPTY_SHEET = (
    b'<worksheet xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main">'
    b'<dimension ref="A1"/><sheetData/></worksheet>'
)
"""What the library is given in place of a sheet."""
_ROWS = 1_048_576


def read_rows(xml: bytes, sheet: Any, view: View, *, croatian: bool) -> Iterator[Row]:
    """The rows that are seen, as texts. Rows that the file leaves out give one empty row.

    Hidden rows and columns that hold something are counted in the view. `sheet`: the library's, for texts and formats.
    A cell without a value has its formula, if any. Raises BrokenDocument for a row beyond the last that a sheet can
    have, and the libraries' errors for XML that is none.
    """
    values, formulas = _parser(sheet), _Formulas(_parser(sheet))
    last = 0
    columns: set[int] = set()  # those that are hidden and hold something

    @cache
    def number_format(style: int) -> str:
        found: str = ReadOnlyCell(sheet, 1, 1, None, style_id=style).number_format
        return found

    for _, element in iterparse(io.BytesIO(xml)):
        if element.tag != ROW_TAG:
            continue
        number, cells = values.parse_row(element)
        is_hidden, hides_text = number in view.hidden_rows, False
        if number > _ROWS:
            raise BrokenDocument(f"a sheet of the XLSX has more than {_ROWS:,} rows; save it again in Excel")
        if number > last + 1 and any(left_out not in view.hidden_rows for left_out in range(last + 1, number)):
            yield {}
        last = number
        row: Row = {}
        for each, child in zip(cells, element, strict=True):
            value, column = each["value"], each["column"]
            if value is None and child.get("t") == "str":
                value = ""  # a formula whose last value is an empty text
            formula = formulas.read(child, is_asked=value is None) if value is None or len(child) > 1 else ""
            if is_hidden or view.hides_column(column):
                if value is not None or formula:
                    hides_text = True
                    columns.update(() if is_hidden else (column,))
                continue
            if text := cell(formula if value is None else shown(value, number_format(each["style_id"]), croatian)):
                row[column] = text
        if not is_hidden:
            yield row
        view.left_out["hidden_row"] += is_hidden and hides_text
        element.clear()
    view.left_out["hidden_column"] += len(columns)


def _parser(sheet: Any) -> WorkSheetParser:
    book = sheet.parent
    return WorkSheetParser(
        None,
        sheet._shared_strings,
        data_only=True,
        epoch=book.epoch,
        date_formats=book._date_formats,
        timedelta_formats=book._timedelta_formats,
    )


class _Formulas:
    """Reads formulas. One that several cells share stands in the first of them, and is written out for the others."""

    def __init__(self, parser: WorkSheetParser) -> None:
        self._parser = parser
        self._shared: dict[str, Element] = {}
        """The first cells whose formulas no cell has asked for yet. Writing formulas out takes time."""

    def read(self, child: Element, *, is_asked: bool) -> str:
        """The cell's formula if it is asked for, else empty."""
        formula = child.find(FORMULA_TAG)
        if formula is None:
            return ""
        shared = formula.get("si", "") if formula.get("t") == "shared" else ""
        if not is_asked:
            if shared and formula.text:
                self._shared[shared] = deepcopy(child)
            return ""
        if shared in self._shared:
            self._parser.parse_formula(self._shared.pop(shared))
        found = self._parser.parse_formula(child)
        text = found.text if isinstance(found, ArrayFormula) else found
        return text if isinstance(text, str) and text != "=" else ""
