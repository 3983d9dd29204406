"""Parses CSV and TSV files: each is one table, and its first row is the header."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice

from deployments.errors import BrokenDocument
from deployments.ingestion.base import ParsedDocument
from deployments.ingestion.parsers.limits import BoundedText
from deployments.ingestion.parsers.tables import Row, row, tables
from deployments.ingestion.parsers.text import clean, decode

_DELIMITERS = "\t;|,"
"""The delimiters to guess from, in order of preference. The comma is last: Croatian numbers contain it (`1,50`)."""
_SAMPLE_LINES = 50
"""The number of lines that the guess looks at."""
_SEPARATOR_LINE = re.compile(r"sep=([^\r\n]?)\r?\n", re.IGNORECASE)
"""The first line `sep=;`, which Excel writes to name the delimiter. It is not part of the table."""


def parse_delimited(data: bytes, max_text_characters: int) -> ParsedDocument:
    """The table as Markdown. A long table is given in parts, each with the header.

    Raises DocumentTooLarge if the Markdown has more than `max_text_characters` characters or the table has too many
    columns, and BrokenDocument if the file is not valid CSV.
    """
    content = decode(data)
    separator_line = _SEPARATOR_LINE.match(content)
    table_start = separator_line.end() if separator_line else 0
    lines_before_table = 1 if separator_line else 0
    content = content[table_start:]
    # `sep=` may name no delimiter, or a quotation mark, which cannot be one.
    if separator_line and separator_line[1] not in ("", '"'):
        delimiter = separator_line[1]
    else:
        delimiter = _guess_delimiter(content)
    text = BoundedText(max_text_characters)
    for part in tables(_rows(content, delimiter, lines_before_table)):
        text.add(part)
    return ParsedDocument(title="", text=clean(str(text)))


def _guess_delimiter(content: str) -> str:
    """Guess the delimiter from the first lines.

    Choose the first of _DELIMITERS that gives all rows the same number of cells, and at least two. If there is none,
    as below a title, choose the one that gives the most rows the same number of cells, and more than half of them. Else
    choose the one that gives the first row the most cells.
    """
    sample = list(islice(io.StringIO(content, newline=""), _SAMPLE_LINES))
    cell_counts = {delimiter: _count_cells(sample, delimiter) for delimiter in _DELIMITERS}
    for delimiter, counts in cell_counts.items():
        if counts and counts[0] > 1 and len(set(counts)) == 1:
            return delimiter
    return max(_DELIMITERS, key=lambda delimiter: _rows_alike(cell_counts[delimiter]))


def _rows_alike(counts: list[int]) -> tuple[int, int, int]:
    """How many rows have the most common number of cells above one, and that number, if most rows have it; and how
    many cells the first row has."""
    first = next(iter(counts), 0)
    for width, alike in Counter(count for count in counts if count > 1).most_common(1):
        if 2 * alike > len(counts):
            return alike, width, first
    return 0, 0, first


def _count_cells(lines: list[str], delimiter: str) -> list[int]:
    """The number of cells of each row that is not empty. The list is empty if the lines are not valid CSV.

    The last row is left out of a full sample, because the sample may end in the middle of that row.
    """
    try:
        counts = [len(cells) for cells in csv.reader(lines, delimiter=delimiter) if cells]
    except csv.Error:
        return []
    return counts[:-1] if len(lines) == _SAMPLE_LINES else counts


def _rows(content: str, delimiter: str, lines_before: int) -> Iterator[Row]:
    """The rows with at least one cell that is not empty; an empty row would end the table, as it does below a title.

    A title is a first row with one cell, where the next one has more. `lines_before`: how many lines of the file come
    before `content`, so that errors name the file's line.

    Raises BrokenDocument.
    """
    reader = csv.reader(io.StringIO(content, newline=""), delimiter=delimiter)
    width = 0  # of the rows above
    try:
        for cells in reader:
            if not (read := row(cells)):
                continue
            if width == 1 and len(cells) > 1:
                yield {}
            width = max(width, len(cells))
            yield read
    except csv.Error as error:
        line = lines_before + reader.line_num
        if "field larger" in str(error):  # the module tells its errors apart by their texts only
            raise BrokenDocument(
                f"a cell at line {line:,} of the CSV is longer than {csv.field_size_limit():,} characters; "
                "see whether a quotation mark is left open before it"
            ) from error
        raise BrokenDocument(f"line {line:,} of the CSV cannot be read: {error}") from error
