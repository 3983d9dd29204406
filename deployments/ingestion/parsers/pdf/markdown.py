"""Writes paragraphs and tables as Markdown. Paragraphs in clearly larger type than most text become headings."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from deployments.ingestion.parsers import tables
from deployments.ingestion.parsers.pdf.blocks import Block, Table
from deployments.ingestion.parsers.pdf.paragraphs import BULLET, Paragraph, body_size, joined, paragraphs
from deployments.ingestion.parsers.pdf.segments import Segment
from deployments.ingestion.parsers.structure import is_heading

_LARGE = 1.15
_HEADING_CHARACTERS = 300
_SENTENCE_WORDS = 12
_LEVELS = 4
_YEAR = r"(?:19|20)\d\d"
_FIGURE = re.compile(rf"(?:^|\s)(?!{_YEAR}$)[-+]?\d[\d.,]*(?<![.,])\s?(?:%|€|EUR|kn)?$")
"""A figure that ends a row of a table, or a total."""
_NUMBERED = re.compile(
    r"(?:Članak|Article|Poglavlje|Chapter|Dio|Part|Prilog|Annex|Glava|Odjeljak|Section)\s\d+", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Piece:
    """A paragraph or table in Markdown, and its text by pages: (page, text) in order."""

    markdown: str
    parts: Sequence[tuple[int, str]]


def pieces(blocks: Sequence[Block]) -> Iterator[Piece]:
    body = body_size(blocks)
    found = [*paragraphs(blocks)]
    large = {round(p.size) for p in found if isinstance(p, Paragraph) and _is_heading(p, body)}
    sizes = sorted(large, reverse=True)
    for piece in found:
        if isinstance(piece, Table):
            markdown = _table(piece)
            yield Piece(markdown, [(piece.page, markdown)])
        elif _is_heading(piece, body):
            level = min(1 + sizes.index(round(piece.size)), _LEVELS)
            yield Piece(f"{'#' * level} {piece.text}", piece.parts)
        else:
            yield Piece(BULLET.sub("- ", piece.text, count=1) if BULLET.match(piece.text) else piece.text, piece.parts)


def _is_heading(paragraph: Paragraph, body: float) -> bool:
    text = paragraph.text
    if paragraph.size <= _LARGE * body or len(text) > _HEADING_CHARACTERS or is_heading(text):
        return False
    if not any(map(str.isalpha, text)) or (_FIGURE.search(text) and not _NUMBERED.fullmatch(text)):
        return False
    return not (text.endswith((".", ";", ",")) and len(text.split()) > _SENTENCE_WORDS)


def _table(table: Table) -> str:
    rows = (tables.row(_cell(cell) for cell in row) for row in table.rows)
    return "\n\n".join(tables.tables(row for row in rows if row))


def _cell(lines: Sequence[Segment]) -> str:
    text = ""
    for line in lines:
        text = joined(text, line.text, frozenset()) if text else line.text
    return text
