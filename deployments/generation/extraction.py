"""Chooses an answer's sentences from a request's passages, and judges whether they answer the question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from deployments.generation.candidates import QuotableSentence, quotable_sentences
from deployments.generation.confidence import Signals, confidence
from deployments.generation.config import GenerationConfig
from deployments.generation.question import Question, text_terms
from deployments.generation.references import articles
from deployments.generation.selection import Quotation, Selection
from deployments.types import GenerationRequest, Matrix, Passage, Similarities

RANK_SHARE_BY_TERMS = 0.3
"""By terms alone: what rank adds to the coverage of a sentence in the first passage. In the n-th passage it is an n-th
of that."""
RELATIVE_FLOOR = 0.6
"""By terms alone, a quoted sentence covers at least this share of what the best one covers."""
COVERAGE_SHARE = 0.4
"""With vectors: what full coverage of the question's terms adds to a sentence's cosine, which is stretched over the
candidates, from 0 to 1."""
RANK_SHARE_BY_VECTORS = 1.0
"""With vectors: what rank adds to the stretched cosine and the coverage. It falls with the passage's number in the same
way. Passages are in a good order, by late interaction where the index has token vectors."""
NEAREST_PASSAGES = 4
"""So many first passages count for confidence: how near are the question's tokens to those of their sentences?"""
NAMED_ARTICLE = 0.95
"""Confidence where the question names an article, and only one of the passages' documents has it."""
ONE_OF_SEVERAL = 0.6
"""The same where several documents have an article of that number."""


@dataclass(frozen=True, slots=True)
class ExtractedAnswer:
    """`confidence` is the probability that the quotations answer the question. `is_sure`: it is at least
    `generation.sure_from`."""

    quotations: tuple[Quotation, ...]
    confidence: float
    is_sure: bool


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A sentence, and the share of the question's weighted terms that it holds with its headings."""

    sentence: QuotableSentence
    coverage: float

    @property
    def score(self) -> float:
        """By terms and rank alone."""
        return self.coverage + RANK_SHARE_BY_TERMS / self.sentence.number


class Extraction:
    """The sentences of a request that may be in its answer."""

    def __init__(self, request: GenerationRequest, config: GenerationConfig) -> None:
        """Blocks for milliseconds."""
        self._request = request
        self._config = config
        self._question = Question(request.question, request.language)
        sentences = quotable_sentences(request.passages)
        named = [sentence for sentence in sentences if self._is_named(sentence)]
        self._named = [] if self._asks_for_more(named) else named
        self._candidates = [] if self._named else self._by_terms(named or sentences)
        self.texts = [candidate.sentence.in_context for candidate in self._candidates]
        """What the question is to be compared with, at most `max_candidates` texts."""

    def answer(self, similarities: Similarities | None) -> ExtractedAnswer:
        """The answer by the cosines of `texts` with the question, or by terms alone. Blocks for milliseconds."""
        if self._named:
            return self._named_article()
        if similarities is None:
            floor = RELATIVE_FLOOR * max((candidate.coverage for candidate in self._candidates), default=0.0)
            ranked = [(each.score, each) for each in self._candidates if each.coverage and each.coverage >= floor]
        else:
            ranked = [
                (
                    cosine + COVERAGE_SHARE * candidate.coverage + RANK_SHARE_BY_VECTORS / candidate.sentence.number,
                    candidate,
                )
                for cosine, candidate in zip(_stretched(similarities.cosines), self._candidates, strict=True)
            ]
        ranked.sort(key=lambda scored: -scored[0])  # stable: equal ones stay as they are by terms
        if not ranked:
            return ExtractedAnswer((), 0.0, is_sure=False)
        selection = self._selection()
        for _, candidate in ranked:
            selection.add(candidate.sentence)
        return self._judged(selection, self._confidence(ranked, similarities))

    def _named_article(self) -> ExtractedAnswer:
        """The article that the question names, from its beginning, of the document that fits the question best."""
        coverage = {sentence.number: self._title_coverage(sentence.number) for sentence in self._named}
        best = max(coverage.values())
        sentences = [sentence for sentence in self._named if coverage[sentence.number] == best]
        document_ids = [self._passage(sentence).document_id for sentence in sentences]
        selection = self._selection()
        for sentence, document_id in zip(sentences, document_ids, strict=True):
            if document_id == document_ids[0]:
                selection.add(sentence)
        return self._judged(selection, NAMED_ARTICLE if len({*document_ids}) == 1 else ONE_OF_SEVERAL)

    def _judged(self, selection: Selection, certainty: float) -> ExtractedAnswer:
        certainty = round(certainty, 3)
        return ExtractedAnswer(tuple(selection.quotations()), certainty, certainty >= self._config.sure_from)

    def _is_named(self, sentence: QuotableSentence) -> bool:
        question = self._question
        if not question.articles & articles(sentence.article):
            return False
        return not question.paragraphs or not sentence.paragraph or sentence.paragraph in question.paragraphs

    def _asks_for_more(self, named: Sequence[QuotableSentence]) -> bool:
        """Whether the question has terms beside an article and a document's title."""
        everything = frozenset(range(len(self._question.terms)))
        return all(self._held_by_title(sentence.number) < everything for sentence in named)

    def _title_coverage(self, number: int) -> int:
        return len(self._held_by_title(number))

    def _held_by_title(self, number: int) -> frozenset[int]:
        passage = self._request.passages[number - 1]
        return self._question.held(text_terms(passage.title, passage.language))

    def _by_terms(self, sentences: Sequence[QuotableSentence]) -> list[_Candidate]:
        """The `max_candidates` best sentences by terms and rank, best first."""
        held = [self._question.held(self._terms(sentence)) for sentence in sentences]
        weights = self._question.weights(held)
        candidates = [_Candidate(each, weights.share(of)) for each, of in zip(sentences, held, strict=True)]
        candidates.sort(key=lambda candidate: -candidate.score)  # stable: equal ones stay in reading order
        return candidates[: self._config.max_candidates]

    def _terms(self, sentence: QuotableSentence) -> frozenset[str]:
        passage = self._passage(sentence)
        return text_terms(f"{passage.title} {sentence.in_context}", passage.language)

    def _passage(self, sentence: QuotableSentence) -> Passage:
        return self._request.passages[sentence.number - 1]

    def _selection(self) -> Selection:
        return Selection(
            self._request.passages, max_words=self._config.max_words, max_sentences=self._config.max_sentences
        )

    def _confidence(self, ranked: Sequence[tuple[float, _Candidate]], similarities: Similarities | None) -> float:
        best = [candidate for _, candidate in ranked[:5]]
        document_ids = [self._passage(candidate.sentence).document_id for candidate in best]
        agreement = document_ids.count(document_ids[0]) / len(document_ids)
        # A question of invisible characters alone has no tokens.
        if similarities is None or similarities.nearest is None or not similarities.nearest.size:
            return confidence(Signals(agreement, best[0].coverage))
        return confidence(
            Signals(agreement, best[0].coverage, self._nearness(similarities.nearest), similarities.model)
        )

    def _nearness(self, nearest: Matrix) -> float:
        """How near the question's tokens are, in the mean, to those of the first passages' sentences."""
        numbers = np.array([candidate.sentence.number for candidate in self._candidates])
        first = nearest[numbers <= max(NEAREST_PASSAGES, numbers.min())]
        return float(first.max(axis=0).mean())


def _stretched(cosines: Sequence[float]) -> list[float]:
    """From 0 to 1. Cosines of one question differ by hundredths."""
    lowest = min(cosines, default=0.0)
    span = max(cosines, default=0.0) - lowest
    return [(cosine - lowest) / span if span else 0.0 for cosine in cosines]
