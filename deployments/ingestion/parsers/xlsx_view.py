"""How a person sees a sheet: which of its rows and columns are hidden, and what is drawn over its cells."""

from __future__ import annotations

import re
import zipfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import unescape

from openpyxl.utils.cell import range_boundaries

from deployments.ingestion.omissions import Omission
from deployments.ingestion.parsers import charts
from deployments.ingestion.parsers.archive import comments, related, xml

_TRUE = rb"=[\"'](?:1|true)[\"']"
_ROW = re.compile(rb"<row(?=\s)[^>]*\shidden" + _TRUE + rb"[^>]*>")
_COLUMN = re.compile(rb"<col(?=\s)[^>]*\shidden" + _TRUE + rb"[^>]*>")
_NUMBER = re.compile(rb"\s(r|min|max|outlineLevel)=[\"'](\d{1,7})[\"']")
_FILTER = re.compile(rb"<autoFilter(?=\s)[^>]*\sref=[\"']([A-Z0-9:$]+)[\"'][^>]*>\s*<filterColumn")
_MARGINS = re.compile(rb"<(?:odd|even|first)(?:Header|Footer)>([^<]+)</")
_MARGIN_CODE = re.compile(r"&(?:([LCR])|\"[^\"]*\"|K[0-9A-Fa-f+-]{6}|\d+|([DTPNFAGZ])(?:[+-]\d+)?|(&)|.)", re.DOTALL)
"""Codes within a header or footer: its three parts, what programs fill in, and how it looks."""
_COUNTED = 3
"""A part of a header with so few words, beside what programs fill in, counts pages."""
_TABLE, _DRAWING = "xl/tables/", "xl/drawings/drawing"
_NOTES, _THREADS = re.compile(r"xl/comments\w*(?:/\w+)?\.xml"), re.compile(r"xl/threadedComments/\w+\.xml")
"""Notes on cells, and the comments that younger programs keep in threads, with a note for each thread."""


@dataclass(frozen=True, slots=True)
class View:
    """Rows and columns count from 1. `margins` are the texts of the printed pages' headers and footers, and `drawn`
    those of boxes and the titles of charts. `left_out` counts the comments, the pictures, and the charts without
    titles: the figures of charts are in the cells. Hidden rows and columns are added to it where rows are read.

    What a filter or a closed group hides counts as seen: a reader opens those with a click.
    """

    hidden_rows: frozenset[int]
    hidden_columns: tuple[range, ...]
    margins: tuple[str, ...]
    drawn: tuple[str, ...]
    left_out: Counter[Omission]

    def hides_column(self, column: int) -> bool:
        return any(column in columns for columns in self.hidden_columns)


class ViewReader:
    """Reads a sheet's view from its XML, in blocks of whole elements."""

    def __init__(self) -> None:
        self._rows: list[int] = []
        self._columns: list[range] = []
        self._filters: list[bytes] = []
        self._margins: list[bytes] = []

    def read(self, block: bytes) -> None:
        if b"headerFooter" in block:
            self._margins += _MARGINS.findall(block)
        self._filters += _FILTER.findall(block)
        if b"hidden" in block:
            self._rows += (first for first, _ in _hidden(_ROW, block, b"r", b"r"))
            self._columns += (range(first, last + 1) for first, last in _hidden(_COLUMN, block, b"min", b"max"))

    def view(self, archive: zipfile.ZipFile, name: str) -> View:
        """The view of the sheet in this member of a workbook, all of whose blocks were read."""
        parts = related(archive, name).values()
        present = [part for part in parts if part in archive.NameToInfo]
        tables = (archive.read(part) for part in parts if part.startswith(_TABLE))
        filters = [*self._filters, *(found for table in tables for found in _FILTER.findall(table))]
        filtered = [range_boundaries(found.decode()) for found in filters]
        rows = (row for row in self._rows if not any(top <= row <= bottom for _, top, _, bottom in filtered))
        left_out: Counter[Omission] = Counter()
        drawn = [*drawn_in(archive, name, left_out)]
        left_out["comment"] += max(comments(archive, filter(kind.fullmatch, present)) for kind in (_NOTES, _THREADS))
        margins = dict.fromkeys(text for margin in self._margins for text in _margin_texts(margin))
        return View(frozenset(rows), tuple(self._columns), tuple(margins), tuple(drawn), left_out)


def _margin_texts(margin: bytes) -> Iterator[str]:
    """The parts of a printed page's header or footer, without page numbers, names of files, dates and times."""
    parts: list[tuple[str, bool]] = []
    text, is_filled_in, end = "", False, 0
    written = unescape(margin.decode("utf-8", "replace"))
    for code in _MARGIN_CODE.finditer(written):
        text += written[end : code.start()] + (code[3] or "")
        is_filled_in, end = is_filled_in or code[2] is not None, code.end()
        if code[1]:
            parts.append((text, is_filled_in))
            text, is_filled_in = "", False
    for part, counts in (*parts, (text + written[end:], is_filled_in)):
        line = " ".join(part.split())
        if any(map(str.isalnum, line)) and not (counts and len(line.split()) <= _COUNTED):
            yield line


def _hidden(tag: re.Pattern[bytes], block: bytes, first: bytes, last: bytes) -> Iterator[tuple[int, int]]:
    """(first, last) of the rows or columns that are hidden and in no group."""
    for found in tag.finditer(block):
        numbers: Mapping[bytes, int] = {key: int(value) for key, value in _NUMBER.findall(found[0])}
        if first in numbers and last in numbers and not numbers.get(b"outlineLevel"):
            yield numbers[first], numbers[last]


def drawn_in(archive: zipfile.ZipFile, name: str, left_out: Counter[Omission]) -> Iterator[str]:
    """The texts that are drawn on the sheet in this member of a workbook. What has none is counted."""
    for part in related(archive, name).values():
        if part.startswith(_DRAWING):
            yield from _drawn(archive, part, left_out)


def _drawn(archive: zipfile.ZipFile, name: str, left_out: Counter[Omission]) -> Iterator[str]:
    targets = related(archive, name)
    for element in xml(archive.read(name)).iter("{*}txBody", "{*}chart", "{*}pic"):
        if element.tag.endswith("}txBody"):
            yield from charts.paragraphs(element)
        elif element.tag.endswith("}pic"):
            left_out["picture"] += 1
        else:
            part = targets.get(element.get(f"{{{charts.NAMESPACES['r']}}}id", ""))
            titles = [*charts.titles(xml(archive.read(part)))] if part in archive.namelist() else []
            left_out["chart"] += not titles
            yield from titles
