"""The sentences of a request's passages that may be quoted, each with what it needs to be understood."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from deployments.generation.references import is_article_heading
from deployments.generation.sentences import split_sentences
from deployments.types import Passage

_PARAGRAPH_MARK = re.compile(r"\((\d{1,3}[a-z]?)\)\s")

_WORD = re.compile(r"[^\W\d_]{2}")


@dataclass(frozen=True, slots=True)
class QuotableSentence:
    """A sentence or list item of passage `number` (from 1), the `position`-th that may be quoted there (from 0).

    `openings` are the lines that open the lists that it is in, outermost first. `headings` are those above it,
    outermost first. `paragraph` is the number of the paragraph that it is in, as statutes number them, or empty.
    """

    number: int
    position: int
    text: str
    headings: tuple[str, ...] = ()
    openings: tuple[str, ...] = ()
    paragraph: str = ""

    @property
    def article(self) -> str:
        """The innermost heading that names an article, or empty."""
        return next((heading for heading in reversed(self.headings) if is_article_heading(heading)), "")

    @property
    def section(self) -> str:
        """What tells the sentence's section from others of its document: its article, else its innermost heading."""
        return self.article or (self.headings[-1] if self.headings else "")

    @property
    def in_context(self) -> str:
        """The sentence below its headings and the line that opens its list, as its meaning is compared."""
        headings = (heading if heading.endswith((".", ":", "?")) else f"{heading}:" for heading in self.headings[-2:])
        return " ".join([*headings, *self.openings[-1:], self.text])


def quotable_sentences(passages: Sequence[Passage]) -> list[QuotableSentence]:
    """The sentences of all passages in order. Questions are left out: a question in a document answers nothing."""
    return [
        sentence
        for number, passage in enumerate(passages, start=1)
        for sentence in _of_passage(number, passage)
        if not sentence.text.endswith("?")
    ]


def _of_passage(number: int, passage: Passage) -> Iterator[QuotableSentence]:
    above = passage.headings
    paragraph = ""
    sentences = split_sentences(passage.text, passage.language)
    openings = {opening for sentence in sentences for opening in sentence.openings}
    for position, sentence in enumerate(sentences):
        if sentence.text in openings:
            continue  # it says nothing without its items, and comes with them
        if not _WORD.search(sentence.text):
            continue  # the number of an item whose text is elsewhere
        if position == 0 and passage.position > 0 and sentence.text[0].islower() and not sentence.openings:
            continue  # the end of a sentence that begins in the passage before
        start = _PARAGRAPH_MARK.match(sentence.openings[0] if sentence.openings else sentence.text)
        paragraph = start[1] if start else paragraph
        headings = above if not sentence.heading or sentence.heading in above else (*above, sentence.heading)
        yield QuotableSentence(number, position, sentence.text, headings, sentence.openings, paragraph)
