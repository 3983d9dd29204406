"""Parses XLSX: each sheet is a heading with its rows as tables below."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from datetime import datetime, time
from typing import Any

from openpyxl import load_workbook

from deployments.errors import BrokenDocument
from deployments.ingestion.base import ParsedDocument
from deployments.ingestion.parsers.archive import opened
from deployments.ingestion.parsers.limits import BoundedText, Limits
from deployments.ingestion.parsers.tables import Row, cell, tables
from deployments.ingestion.parsers.text import clean

_ROWS = 1_048_576


def parse_xlsx(data: bytes, limits: Limits) -> ParsedDocument:
    """A formula's cell gives its last value, if the workbook has it saved. Hidden sheets are left out."""
    text = BoundedText(limits.text_characters)
    with opened(data, limits.inflation, "XLSX"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are about features that do not matter here
        book = load_workbook(io.BytesIO(data), read_only=True, data_only=True, keep_links=False)
        for sheet in book.worksheets:
            if sheet.sheet_state == "visible":
                sheet.reset_dimensions()  # the size that a sheet states may be wrong
                for number, table in enumerate(tables(_rows(sheet))):
                    if number == 0:
                        text.add(f"## {cell(sheet.title)}")
                    text.add(table)
        title = clean(book.properties.title or "")
    return ParsedDocument(title=title, text=clean(str(text)))


def _rows(sheet: Any) -> Iterator[Row]:
    # A row with a high number comes after empty rows for all numbers before it.
    for number, values in enumerate(sheet.iter_rows(values_only=True)):
        if number >= _ROWS:
            raise BrokenDocument(f"a sheet of the XLSX has more than {_ROWS:,} rows; save it again in Excel")
        yield {
            column: text for column, value in enumerate(values) if value is not None and (text := cell(_text(value)))
        }


def _text(value: object) -> str:
    match value:
        case datetime() if value.time() == time():
            return value.date().isoformat()
        case datetime():
            return value.isoformat(" ", "seconds")
        case float():
            return f"{value:.15g}"  # a spreadsheet keeps 15 digits
        case _:
            return str(value)
