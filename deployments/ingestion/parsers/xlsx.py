"""Parses XLSX: each sheet is a heading with its rows as tables below, and each cell is as a person sees it."""

from __future__ import annotations

import io
import re
import warnings
import zipfile
from collections.abc import Iterator
from itertools import repeat
from typing import Any

from openpyxl import load_workbook

from deployments.errors import BrokenDocument
from deployments.ingestion.base import ParsedDocument
from deployments.ingestion.parsers.archive import opened, transitional, with_parts
from deployments.ingestion.parsers.limits import BoundedText, Limits
from deployments.ingestion.parsers.tables import Row, cell, tables
from deployments.ingestion.parsers.text import clean
from deployments.ingestion.parsers.xlsx_formats import CROATIAN_FORMAT, shown

_ROWS = 1_048_576
_UNCACHED = re.compile(rb"</f>\s*(?:<v>\s*</v>|<v\s*/>)?\s*</c>")
"""The end of a formula's cell that has no last value, as libraries write them."""
_EMPTY_CELL = re.compile(rb"<c(?=[^>]*\sr=)\s[^>]*(?:/>|></c>)")
_EMPTY_ROW = re.compile(rb"<row(?=[^>]*\sr=)\s[^>]*(?:/>|>\s*</row>)")
_CROATIAN_LETTERS = re.compile(b"|".join(letter.encode() for letter in "čćđšžČĆĐŠŽ"))
_TEXTS = re.compile(r"xl/(?:worksheets/[^/]+|sharedStrings)\.xml")


def parse_xlsx(data: bytes, limits: Limits) -> ParsedDocument:
    """A formula's cell gives its last value, or the formula where the workbook has no value saved. Hidden sheets are
    left out."""
    text = BoundedText(limits.text_characters)
    with opened(data, limits.inflation, "XLSX"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are about features that do not matter here
        data, croatian, has_uncached = _prepared(transitional(data))
        book = _book(data, values=True)
        formulas = _book(data, values=False) if has_uncached else None
        for sheet in book.worksheets:
            if sheet.sheet_state == "visible":
                rows = _rows(sheet, None if formulas is None else formulas[sheet.title], croatian)
                for number, table in enumerate(tables(rows)):
                    if number == 0:
                        text.add(f"## {cell(sheet.title)}")
                    text.add(table)
        title = clean(book.properties.title or "")
    return ParsedDocument(title=title, text=clean(str(text)))


def _book(data: bytes, *, values: bool) -> Any:
    book = load_workbook(io.BytesIO(data), read_only=True, data_only=values, keep_links=False)
    for sheet in book.worksheets:
        sheet.reset_dimensions()  # the size that a sheet states may be wrong
    return book


def _prepared(data: bytes) -> tuple[bytes, bool, bool]:
    """The workbook without its empty cells and rows, whether it is Croatian, and whether it has formulas without a
    value. Sheets of a million empty rows are common, and the library is slow at them."""
    croatian = has_uncached = False
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
        if "xl/styles.xml" in names:
            formats = re.findall(r'formatCode="([^"]*)"', archive.read("xl/styles.xml").decode("utf-8", "replace"))
            croatian = any(map(CROATIAN_FORMAT.search, formats))
        sheets: dict[str, bytes] = {}
        for name in filter(_TEXTS.fullmatch, names):
            part = archive.read(name)
            croatian = croatian or _CROATIAN_LETTERS.search(part) is not None
            if name.startswith("xl/worksheets/"):
                has_uncached = has_uncached or _UNCACHED.search(part) is not None
                sheets[name] = _EMPTY_ROW.sub(b"", _EMPTY_CELL.sub(b"", part))
        return with_parts(archive, sheets), croatian, has_uncached


def _rows(sheet: Any, formulas: Any, croatian: bool) -> Iterator[Row]:
    # A row with a high number comes after empty rows for all numbers before it.
    formula_rows = repeat(()) if formulas is None else formulas.iter_rows(values_only=True)
    for number, (cells, own_formulas) in enumerate(zip(sheet.iter_rows(), formula_rows, strict=False)):
        if number >= _ROWS:
            raise BrokenDocument(f"a sheet of the XLSX has more than {_ROWS:,} rows; save it again in Excel")
        grid_row = {
            column: text
            for column, each in enumerate(cells)
            if each.value is not None and (text := cell(_text(each, croatian)))
        }
        for column, formula in enumerate(own_formulas):
            if column not in grid_row and isinstance(formula, str) and formula.startswith("="):
                grid_row[column] = cell(formula)
        yield grid_row


def _text(each: Any, croatian: bool) -> str:
    value = each.value
    return value if isinstance(value, str) else shown(value, each.number_format, croatian)
