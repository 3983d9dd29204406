"""Parses CSV and TSV: one table, with the first row as its header."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator

from deployments.errors import BrokenDocument
from deployments.ingestion.base import ParsedDocument
from deployments.ingestion.parsers.limits import BoundedText
from deployments.ingestion.parsers.tables import Row, row, tables
from deployments.ingestion.parsers.text import clean, decode

_DELIMITERS = "\t;|,"
"""In order of preference. The comma is last, because Croatian writes it in numbers."""
_SAMPLE_LINES = 50
_DECLARED = re.compile(r"sep=(.)\r?\n", re.IGNORECASE)


def parse_delimited(data: bytes, text_characters: int) -> ParsedDocument:
    content = decode(data)
    declared = _DECLARED.match(content)  # Excel writes this line to declare the delimiter
    delimiter = declared[1] if declared else _delimiter(content)
    text = BoundedText(text_characters)
    for table in tables(_rows(content[declared.end() if declared else 0 :], delimiter)):
        text.add(table)
    return ParsedDocument(title="", text=clean(str(text)))


def _delimiter(content: str) -> str:
    """The first delimiter by which all rows have the same number of columns, at least 2. Else the one by which the
    first row has most."""
    sample = [line for line, _ in zip(io.StringIO(content, newline=""), range(_SAMPLE_LINES), strict=False)]
    widths = {delimiter: _widths(sample, delimiter) for delimiter in _DELIMITERS}
    consistent = (delimiter for delimiter, columns in widths.items() if len(set(columns)) == 1 and columns[0] > 1)
    return next(consistent, max(_DELIMITERS, key=lambda delimiter: widths[delimiter][:1]))


def _widths(lines: list[str], delimiter: str) -> list[int]:
    """The number of columns of each row. The last row is left out where the sample may have cut it off."""
    try:
        widths = [len(cells) for cells in csv.reader(lines, delimiter=delimiter) if cells]
    except csv.Error:
        return []
    return widths[:-1] if len(lines) == _SAMPLE_LINES else widths


def _rows(content: str, delimiter: str) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter)
    try:
        for cells in reader:
            if any(cells):
                yield row(cells)
    except csv.Error as error:
        if "field larger" in str(error):
            raise BrokenDocument(
                f"a cell at line {reader.line_num:,} of the CSV is longer than {csv.field_size_limit():,} characters; "
                "see whether a quotation mark is left open before it"
            ) from error
        raise BrokenDocument(f"line {reader.line_num:,} of the CSV cannot be read: {error}") from error
