"""Parses XLSX: each sheet is a heading with its rows as tables below, and each cell is as a person sees it."""

from __future__ import annotations

import io
import re
import warnings
import zipfile
from collections import Counter
from collections.abc import Iterator
from itertools import chain

from openpyxl import load_workbook

from deployments.errors import BrokenDocument
from deployments.ingestion.base import ParsedDocument
from deployments.ingestion.omissions import Omission
from deployments.ingestion.parsers.archive import opened, transitional, with_parts
from deployments.ingestion.parsers.limits import BoundedText, Limits
from deployments.ingestion.parsers.tables import cell, tables
from deployments.ingestion.parsers.text import clean
from deployments.ingestion.parsers.xlsx_formats import CROATIAN_FORMAT
from deployments.ingestion.parsers.xlsx_rows import EMPTY_SHEET, read_rows
from deployments.ingestion.parsers.xlsx_view import View, ViewReader, drawn_in

_EMPTY_CELL = re.compile(rb"<c(?=[^>]*\sr=)\s[^>]*(?:/>|></c>)")
_EMPTY_ROW = re.compile(rb"<row(?=[^>]*\sr=)\s[^>]*(?:/>|>\s*</row>)")
_CROATIAN_LETTERS = re.compile(b"|".join(letter.encode() for letter in "čćđšžČĆĐŠŽ"))
_SHEET = re.compile(r"xl/worksheets/[^/]+\.xml")
_CHART_SHEET = re.compile(r"xl/chartsheets/[^/]+\.xml")
_STRINGS = "xl/sharedStrings.xml"
_BLOCK = 2**20


def parse_xlsx(data: bytes, limits: Limits) -> ParsedDocument:
    """A formula's cell gives its last value, or the formula where the workbook has no value saved. Hidden sheets, rows
    and columns are left out. Text boxes and titles of charts come after the cells, and then the headers and footers of
    the printed pages."""
    text = BoundedText(limits.text_characters)
    left_out: Counter[Omission] = Counter()
    with opened(data, limits.inflation, "XLSX"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # they are about features that do not matter here
        data, croatian, sheets, views = _prepared(transitional(data))
        book = load_workbook(io.BytesIO(data), read_only=True, data_only=True, keep_links=False)
        for sheet in book.worksheets:
            if sheet.sheet_state != "visible":
                left_out["hidden_sheet"] += 1
            else:
                part = sheet._worksheet_path
                rows = read_rows(sheets.pop(part), sheet, views[part], croatian=croatian)
                for number, block in enumerate(chain(tables(rows), views[part].drawn, views[part].margins)):
                    if number == 0:
                        text.add(f"## {cell(sheet.title)}")
                    text.add(block)
                left_out.update(views[part].left_out)
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            for name in filter(_CHART_SHEET.fullmatch, archive.namelist()):
                for title in drawn_in(archive, name, left_out):
                    text.add(title)
        title = clean(book.properties.title or "")
    return ParsedDocument(title=title, text=clean(str(text)), left_out=left_out)


def _prepared(data: bytes) -> tuple[bytes, bool, dict[str, bytes], dict[str, View]]:
    """The workbook with empty sheets, whether it is Croatian, and by their names in it: each sheet's XML without empty
    cells and rows, and its view. Sheets of a million empty rows are common."""
    croatian = False
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = archive.namelist()
        if "xl/styles.xml" in names:
            formats = re.findall(r'formatCode="([^"]*)"', archive.read("xl/styles.xml").decode("utf-8", "replace"))
            croatian = any(map(CROATIAN_FORMAT.search, formats))
        if _STRINGS in names:
            croatian = croatian or _CROATIAN_LETTERS.search(archive.read(_STRINGS)) is not None
        sheets: dict[str, bytes] = {}
        views: dict[str, View] = {}
        for name in filter(_SHEET.fullmatch, names):
            reader, kept = ViewReader(), list[bytes]()
            for block in _blocks(archive, name):
                if b"<!DOCTYPE" in block:
                    raise BrokenDocument("a sheet of the XLSX has entities of its own; save it again in Excel")
                croatian = croatian or _CROATIAN_LETTERS.search(block) is not None
                reader.read(block)
                kept.append(_EMPTY_ROW.sub(b"", _EMPTY_CELL.sub(b"", block)))
            views[name], sheets[name] = reader.view(archive, name), b"".join(kept)
        return with_parts(archive, dict.fromkeys(sheets, EMPTY_SHEET)), croatian, sheets, views


def _blocks(archive: zipfile.ZipFile, name: str) -> Iterator[bytes]:
    """A sheet in pieces of whole rows, so that a million empty ones are never held at once."""
    rest = b""
    with archive.open(name) as sheet:
        while block := sheet.read(_BLOCK):
            rest += block
            end = rest.rfind(b"<row")
            if end > 0:
                yield rest[:end]
                rest = rest[end:]
    yield rest
