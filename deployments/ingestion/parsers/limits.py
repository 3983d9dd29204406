"""How much of a document is read."""

from __future__ import annotations

from dataclasses import dataclass

from deployments.errors import DocumentTooLarge


@dataclass(frozen=True, slots=True)
class Limits:
    """`text_characters`: of the parsed text. `inflation`: how many times its own size a document may unpack to.
    `pages`: of a PDF, or slides."""

    text_characters: int
    inflation: int
    pages: int

    def check_pages(self, pages: int) -> None:
        if pages > self.pages:
            raise DocumentTooLarge(f"the document has more than {self.pages:,} pages, which is the limit; split it")


class BoundedText:
    """Pieces of text in order. One more than `characters` in all raises DocumentTooLarge, before the rest is read."""

    def __init__(self, characters: int) -> None:
        self.pieces: list[str] = []
        self._characters = characters
        self._room = characters

    def add(self, piece: str) -> None:
        self._room -= len(piece)
        if self._room < 0:
            raise DocumentTooLarge(f"the document holds more than {self._characters:,} characters of text; split it")
        self.pieces.append(piece)

    def __str__(self) -> str:
        return "\n\n".join(self.pieces)
