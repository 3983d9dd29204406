"""Chooses the sentences of an answer, and puts them in order with what they need to be understood."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from deployments.generation.candidates import QuotableSentence
from deployments.types import Passage

Kind = Literal["heading", "opening", "sentence"]
Section = tuple[str, str]
"""A document's id and a section of it."""


@dataclass(frozen=True, slots=True)
class Quotation:
    """Words of passage `number` (from 1), as they are there. `starts_section`: the first of a section.

    Headings and the opening lines of lists lead to the sentence or item after them.
    """

    text: str
    number: int
    kind: Kind = "sentence"
    starts_section: bool = False


class Selection:
    """Sentences chosen one after the other, best first, while their words and the words above them fit."""

    def __init__(self, passages: Sequence[Passage], *, max_words: int, max_sentences: int) -> None:
        self._passages = passages
        self._max_sentences = max_sentences
        self._words_left = max_words
        self._chosen: dict[Section, list[QuotableSentence]] = {}
        self._shown: set[tuple[Section, str]] = set()

    @property
    def is_full(self) -> bool:
        return sum(map(len, self._chosen.values())) >= self._max_sentences

    def add(self, sentence: QuotableSentence) -> bool:
        """Add a sentence. Returns False if it does not fit, or says nothing new.

        The first one always fits: an answer of one long sentence is better than none.
        """
        section = self._section(sentence)
        if self.is_full or self._is_known(sentence):
            return False
        leads = [lead for lead in _leads(sentence) if (section, lead) not in self._shown]
        words = sum(len(text.split()) for text in (*leads, sentence.text))
        if words > self._words_left and self._chosen:
            return False
        self._words_left -= words
        self._chosen.setdefault(section, []).append(sentence)
        self._shown.update((section, lead) for lead in leads)
        return True

    def quotations(self) -> Iterator[Quotation]:
        """The sections by their best sentences, each in reading order, below its article's reference."""
        for sentences in self._chosen.values():
            shown: set[str] = set()
            starts_section = True
            for sentence in sorted(sentences, key=self._place):
                for lead in _leads(sentence):
                    if lead not in shown:
                        shown.add(lead)
                        kind: Kind = "heading" if lead == sentence.article else "opening"
                        yield Quotation(lead, sentence.number, kind, starts_section)
                        starts_section = False
                yield Quotation(sentence.text, sentence.number, "sentence", starts_section)
                starts_section = False

    def _section(self, sentence: QuotableSentence) -> Section:
        passage = self._passages[sentence.number - 1]
        return passage.document_id, sentence.section or passage.id

    def _place(self, sentence: QuotableSentence) -> tuple[int, int]:
        return self._passages[sentence.number - 1].position, sentence.position

    def _is_known(self, sentence: QuotableSentence) -> bool:
        """Whether a chosen sentence says the same. Passages overlap, and documents repeat each other."""
        return any(
            sentence.text in chosen.text or chosen.text in sentence.text
            for sentences in self._chosen.values()
            for chosen in sentences
        )


def _leads(sentence: QuotableSentence) -> tuple[str, ...]:
    """What the sentence needs above it to be understood."""
    return (sentence.article, *sentence.openings) if sentence.article else sentence.openings
