"""Writes paragraphs and tables as Markdown. Paragraphs in clearly larger type than most text become headings, and so do
bold lines where a document has them above its text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from deployments.ingestion.parsers import tables
from deployments.ingestion.parsers.pdf.blocks import Block, Table
from deployments.ingestion.parsers.pdf.headings import LARGE, bold_headings, may_be_heading
from deployments.ingestion.parsers.pdf.paragraphs import BULLET, Paragraph, body_size, joined, paragraphs
from deployments.ingestion.parsers.pdf.segments import Segment

_LEVELS = 4


@dataclass(frozen=True, slots=True)
class Piece:
    """A paragraph or table in Markdown, and its text by pages: (page, text) in order."""

    markdown: str
    parts: Sequence[tuple[int, str]]


def pieces(blocks: Sequence[Block]) -> Iterator[Piece]:
    body = body_size(blocks)
    found = [*paragraphs(blocks)]
    bold = bold_headings(found, body)
    large = {round(p.size) for p in found if isinstance(p, Paragraph) and _is_heading(p, body)}
    sizes = sorted(large, reverse=True)
    for number, piece in enumerate(found):
        if isinstance(piece, Table):
            yield _table(piece)
        elif _is_heading(piece, body):
            level = min(1 + sizes.index(round(piece.size)), _LEVELS)
            yield Piece(f"{'#' * level} {piece.text}", piece.parts)
        elif number in bold:
            yield Piece(f"{'#' * min(1 + len(sizes), _LEVELS)} {piece.text}", piece.parts)
        else:
            yield Piece(BULLET.sub("- ", piece.text, count=1) if BULLET.match(piece.text) else piece.text, piece.parts)


def _is_heading(paragraph: Paragraph, body: float) -> bool:
    return paragraph.size > LARGE * body and may_be_heading(paragraph.text)


def _table(table: Table) -> Piece:
    rows = [(_page(row, table.page), tables.row(map(_cell, row))) for row in table.rows]
    rows = [(page, row) for page, row in rows if row]
    pages = iter([page for page, _ in rows[1:]])
    page = rows[0][0] if rows else table.page
    parts: list[tuple[int, str]] = []
    blocks = [*tables.tables(row for _, row in rows)]
    for block in blocks:  # each begins with the header
        header, *lines = block.split("\n")
        parts.append((page, header))
        for line in lines:
            page = page if line.startswith(tables.SEPARATOR) else next(pages)
            parts.append((page, line))
    return Piece("\n\n".join(blocks), parts)


def _page(row: Sequence[Sequence[Segment]], default: int) -> int:
    return next((line.page for cell in row for line in cell), default)


def _cell(lines: Sequence[Segment]) -> str:
    text = ""
    for line in lines:
        text = joined(text, line.text, frozenset()) if text else line.text
    return text
