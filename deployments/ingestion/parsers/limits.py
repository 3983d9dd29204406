"""How large a document may be."""

from __future__ import annotations

from dataclasses import dataclass

from deployments.errors import DocumentTooLarge


@dataclass(frozen=True, slots=True)
class Limits:
    """`text_characters` of the parsed text; `pages` of a PDF, or slides.

    `inflation`: how many times its own size a document may unpack to.
    """

    text_characters: int
    inflation: int
    pages: int

    def check_pages(self, pages: int) -> None:
        """Raises DocumentTooLarge for more pages than the limit."""
        if pages > self.pages:
            raise DocumentTooLarge(f"the document has more than {self.pages:,} pages, which is the limit; split it")


class BoundedText:
    """Collects parts of a text, so that a document that is too large is refused before all of it is read."""

    def __init__(self, characters: int) -> None:
        self.parts: list[str] = []
        self._characters = characters
        self._remaining = characters

    def add(self, part: str) -> None:
        """Raises DocumentTooLarge when all parts have more than `characters` characters."""
        self._remaining -= len(part)
        if self._remaining < 0:
            raise DocumentTooLarge(f"the document holds more than {self._characters:,} characters of text; split it")
        self.parts.append(part)

    def __str__(self) -> str:
        return "\n\n".join(self.parts)
