"""Gold ids, and which of them a source is.

A gold id is `document` or `document#art20`.

- The document is the service's document id, or that id without its suffix, or only its file name without a suffix.
  So the gold document `act-1` is the service's `act-1`, `act-1.md` and `laws/act-1.pdf`.
- The article is the number after `#art`. A source is of the article that its `metadata.headings` name: the innermost
  heading that begins like "Članak 20.", "Čl. 20.", "Article 20" or "Art. 20" decides. What a passage's text says does
  not count: texts cite other articles.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

_GOLD = re.compile(r"(?P<document>.+)#art(?P<article>\d+[a-z]?)")
_HEADING = re.compile(r"(?:članak|clanak|čl\.|cl\.|article|art\.)\s*(?P<article>\d+)\.?(?P<letter>[a-z](?!\w))?")


@dataclass(frozen=True, slots=True)
class Gold:
    """A document, or one article of it, that answers a question."""

    document: str
    article: str | None = None

    @classmethod
    def parse(cls, text: str) -> Gold:
        """`document#art20` is an article; anything else is a document's id, whatever it holds. The service's ids are
        composed, so these are too."""
        text = unicodedata.normalize("NFC", text)
        match = _GOLD.fullmatch(text)
        return cls(match["document"], match["article"]) if match else cls(text)

    def __str__(self) -> str:
        return self.document if self.article is None else f"{self.document}#art{self.article}"


@dataclass(frozen=True, slots=True)
class Located:
    """Where a source is: its document's id and the headings above it, outermost first."""

    document_id: str
    headings: tuple[str, ...] = ()

    @property
    def article(self) -> str | None:
        """The number of the article that the headings name, for example `20` or `20a`."""
        for heading in reversed(self.headings):
            match = _HEADING.match(unicodedata.normalize("NFKC", heading).casefold().strip())
            if match:
                return match["article"] + (match["letter"] or "")
        return None

    def is_of(self, gold: Gold) -> bool:
        return gold.document in _names(self.document_id) and gold.article in (None, self.article)


def rank_labels(sources: Iterable[Located], golds: Sequence[Gold]) -> list[str]:
    """What was found, best first, each once: the gold id of a source that is one, else a label of its own.

    Several passages of one gold id count once, at the best one's rank. What is no gold is told apart as finely as gold
    is: by articles if a gold id names one, else by documents.
    """
    by_article = any(gold.article is not None for gold in golds)
    labels: dict[str, None] = {}
    for source in sources:
        matches = [str(gold) for gold in golds if source.is_of(gold)]
        # An article comes before its whole document, if both are gold.
        labels.setdefault(max(matches, key=len) if matches else _own_label(source, by_article))
    return list(labels)


def _own_label(source: Located, by_article: bool) -> str:
    if not by_article:
        return source.document_id
    return f"{source.document_id}#{source.article or ' › '.join(source.headings)}"


def _names(document_id: str) -> set[str]:
    path = PurePosixPath(document_id)
    return {document_id, path.with_suffix("").as_posix() if path.name else document_id, path.stem}
