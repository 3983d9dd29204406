"""Tells headings from other text: by what they say, and bold ones of the text's own size by what stands around them."""

from __future__ import annotations

import re
from collections.abc import Sequence

from deployments.ingestion.parsers.pdf.blocks import Table
from deployments.ingestion.parsers.pdf.paragraphs import BULLET, Paragraph
from deployments.ingestion.parsers.structure import is_heading

LARGE = 1.15
"""Type so many times larger than the text's is that of headings."""
_CHARACTERS = 300
_SENTENCE_WORDS = 12
_YEAR = r"(?:19|20)\d\d"
_FIGURE = re.compile(rf"(?:^|\s)(?!{_YEAR}$)[-+]?\d[\d.,]*(?<![.,])\s?(?:%|€|EUR|kn)?$")
"""A figure that ends a row of a table, or a total."""
_NUMBERED = re.compile(
    r"(?:Članak|Article|Poglavlje|Chapter|Dio|Part|Prilog|Annex|Glava|Odjeljak|Section)\s\d+", re.IGNORECASE
)
_SMALL = 0.95
_BOLD_WORDS, _BOLD_LINES = 12, 2
_SENTENCE_END = (".", ",", ";", ":", "?", "!")
_BEGINNING = re.compile(r"[^\W_]")
_TEXT_WORDS = 6
"""Text below a heading has at least so many words, unless it is a list. What follows a label is shorter."""
_FEWEST = 2
_SHARE = 0.75
_BOLD_LETTERS = 0.3
"""Where more of the text is bold, bold marks no headings."""


def may_be_heading(text: str) -> bool:
    """Whether a paragraph's words do not speak against a heading: they are no figure, no long sentence, no article."""
    if len(text) > _CHARACTERS or is_heading(text) or not any(map(str.isalpha, text)):
        return False
    if _FIGURE.search(text) and not _NUMBERED.fullmatch(text):
        return False
    return not (text.endswith((".", ";", ",")) and len(text.split()) > _SENTENCE_WORDS)


def bold_headings(pieces: Sequence[Paragraph | Table], body: float) -> frozenset[int]:
    """The numbers of the paragraphs that are headings by being bold, in about the size of the text.

    They are short, and normal text stands below them. A document has several of them, and hardly any bold line that is
    none. `body`: the size of most of the text.
    """
    outside = [piece for piece in pieces if isinstance(piece, Paragraph)]
    bold_letters = sum(len(piece.text) for piece in outside if piece.bold)
    if bold_letters > _BOLD_LETTERS * sum(len(piece.text) for piece in outside):
        return frozenset()
    lines = [number for number, piece in enumerate(pieces) if _is_bold_line(piece, body)]
    headings: set[int] = set()
    for number in reversed(lines):  # a heading may stand above another one
        following = pieces[number + 1] if number + 1 < len(pieces) else None
        if _is_title(pieces[number]) and (number + 1 in headings or _is_text(following)):
            headings.add(number)
    enough = len(headings) >= _FEWEST and len(headings) >= _SHARE * len(lines)
    return frozenset(headings) if enough else frozenset()


def _is_bold_line(piece: Paragraph | Table, body: float) -> bool:
    if isinstance(piece, Table) or not piece.bold or len(piece.parts) > _BOLD_LINES:
        return False
    return _SMALL * body <= piece.size <= LARGE * body and not is_heading(piece.text)


def _is_title(piece: Paragraph | Table) -> bool:
    text = "" if isinstance(piece, Table) else piece.text
    return (
        len(text.split()) <= _BOLD_WORDS
        and _BEGINNING.match(text) is not None
        and not text[0].islower()
        and not text.endswith(_SENTENCE_END)
        and may_be_heading(text)
    )


def _is_text(piece: Paragraph | Table | None) -> bool:
    if not isinstance(piece, Paragraph) or piece.bold or _FIGURE.search(piece.text):
        return False
    return len(piece.text.split()) >= _TEXT_WORDS or BULLET.match(piece.text) is not None
