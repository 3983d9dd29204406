"""An engine without a model: its answers are sentences quoted from the passages, so nothing is invented."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass

from deployments.generation.active_queries import ActiveQueries
from deployments.generation.config import GenerationConfig
from deployments.generation.sentences import split_sentences
from deployments.generation.stop_sequences import StopScanner
from deployments.lexical import terms
from deployments.types import GenerationLoad, GenerationRequest, Language, Passage, StageStatus, TextDelta, Usage

NO_ANSWER: Mapping[Language, str] = {
    "hr": "U dostupnim dokumentima nema odgovora na to pitanje.",
    "en": "The available documents do not answer that question.",
}

ASKING_WORDS: Mapping[Language, frozenset[str]] = {
    "hr": frozenset({"dugo", "često", "cesto", "puno", "daleko", "velik", "velika", "veliko"}),
    "en": frozenset({"long", "many", "much", "often", "far", "old", "big"}),
}
"""Words that belong to the question word: "how long" does not look for text about what is long."""

MIN_SAMPLE = 8
"""Document frequencies are taken among at least so many passages. Among two or three, every word looks common."""

HEADING_SHARE = 0.5
"""Weight of a question's term that is in the heading above a sentence, but not in the sentence."""

RANK_SHARE = 0.3
"""What rank adds to the coverage of a sentence in the first passage; in the n-th passage it is an n-th of that."""

RELATIVE_FLOOR = 0.6
"""Further sentences must cover at least this share of what the best one covers."""


@dataclass(frozen=True, slots=True)
class Quotation:
    """A sentence and the number of its passage, from 1."""

    text: str
    number: int


class ExtractiveEngine:
    """Quotes the sentences that hold most of the question's terms, and cites their passages as [n]."""

    def __init__(self, config: GenerationConfig) -> None:
        self._config = config
        self._queries = ActiveQueries(config)

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[TextDelta, None]:
        """Each delta is one quotation. Usage counts words, citation marks left out."""
        with self._queries.enter(request) as query:
            prompt_tokens = sum(_words(message.content) for message in request.messages)
            stop = StopScanner(request.stop)
            quotations = await asyncio.to_thread(quote, request, self._config)
            if not quotations and not query.cancelled:
                text, _ = _cut(NO_ANSWER[request.language], request.max_tokens)
                answer = stop.feed(text) + stop.rest()
                yield TextDelta(answer, "stop" if stop.met else "no_answer", Usage(prompt_tokens, _words(text)))
                return

            words_sent = 0
            for position, quotation in enumerate(quotations):
                if query.cancelled:
                    break
                text, finished = _cut(quotation.text, request.max_tokens - words_sent)
                words_sent += _words(text)
                if text and (delta := stop.feed(f"{' ' if position else ''}{text} [{quotation.number}]")):
                    yield TextDelta(delta)
                if stop.met:
                    break
                if not finished:
                    yield TextDelta(stop.rest(), "length", Usage(prompt_tokens, words_sent))
                    return
                # Let an abort or another question run between two sentences.
                await asyncio.sleep(0)
            rest = "" if query.cancelled else stop.rest()
            yield TextDelta(rest, "cancelled" if query.cancelled else "stop", Usage(prompt_tokens, words_sent))

    async def abort(self, tenant_id: str, query_id: str) -> bool:
        return self._queries.abort(tenant_id, query_id)

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [_words(text) for text in texts]

    async def load(self) -> GenerationLoad:
        return GenerationLoad(running=len(self._queries), waiting=0)

    async def status(self) -> StageStatus:
        return StageStatus(ready=True, engine="extractive")


def quote(request: GenerationRequest, config: GenerationConfig) -> list[Quotation]:
    """The sentences that answer the question, best first; empty when no passage holds enough of it.

    A term's weight is its inverse document frequency among the passages, ln(1 + (N - n + ½) / (n + ½)), so terms that
    all passages hold hardly count. A text's coverage is the share of the question's weight that it holds.
    """
    question = _Question(request)
    candidates: list[tuple[float, Quotation]] = []
    for number, passage in enumerate(request.passages, start=1):
        if question.coverage(passage, f"{passage.title} {passage.text}") < config.min_coverage:
            continue
        for sentence in split_sentences(passage.text, passage.language):
            coverage = question.coverage(passage, sentence.text, sentence.heading)
            # A question in a document answers nothing.
            if coverage > 0 and not sentence.text.endswith("?"):
                candidates.append((coverage, Quotation(sentence.text, number)))
    # The sort is stable: equal ones stay in reading order.
    candidates.sort(key=lambda candidate: -(candidate[0] + RANK_SHARE / candidate[1].number))

    chosen: list[Quotation] = []
    for coverage, quotation in candidates:
        if len(chosen) == config.max_sentences:
            break
        is_new = all(quotation.text not in other.text for other in chosen)
        if is_new and coverage >= RELATIVE_FLOOR * candidates[0][0]:
            chosen.append(quotation)
    return chosen


class _Question:
    """A question's terms, each as the set of its stems in both languages, with their weights."""

    def __init__(self, request: GenerationRequest) -> None:
        self._terms = _question_terms(request.question, request.language)
        held = [self._held(passage, f"{passage.title} {passage.text}") for passage in request.passages]
        sample = max(len(held), MIN_SAMPLE)
        self._weights = []
        for index in range(len(self._terms)):
            # A term in no passage weighs as one in a single passage: so few passages cannot tell them apart.
            frequency = max(sum(index in indexes for indexes in held), 1)
            self._weights.append(math.log1p((sample - frequency + 0.5) / (frequency + 0.5)))
        self._total = sum(self._weights)

    def coverage(self, passage: Passage, text: str, heading: str = "") -> float:
        """The share of the question's weight that a text of the passage holds. Terms only in `heading` count half."""
        in_text = self._held(passage, text)
        only_in_heading = self._held(passage, heading) - in_text
        return self._share(in_text) + HEADING_SHARE * self._share(only_in_heading)

    def _held(self, passage: Passage, text: str) -> set[int]:
        """The indexes of the question's terms that a text of the passage holds."""
        text_terms = set(terms(text, passage.language))
        return {index for index, stems in enumerate(self._terms) if stems & text_terms}

    def _share(self, indexes: set[int]) -> float:
        return sum(self._weights[index] for index in indexes) / self._total if self._total else 0.0


def _question_terms(question: str, language: Language) -> list[frozenset[str]]:
    """Each term of the question as its stem in both languages: a passage is stemmed in its own language."""
    other: Language = "en" if language == "hr" else "hr"
    stems: dict[str, frozenset[str]] = {}
    for word in question.split():
        if word.casefold().strip("?!.,") in ASKING_WORDS[language]:
            continue
        own, foreign = terms(word, language), terms(word, other)
        for index, term in enumerate(own):
            stems.setdefault(term, frozenset({term, foreign[index]} if len(own) == len(foreign) else {term}))
    return list(stems.values())


def _words(text: str) -> int:
    return len(text.split())


def _cut(text: str, words: int) -> tuple[str, bool]:
    """(the first `words` words of a text, whether that is all of it)."""
    all_words = text.split()
    return (text, True) if len(all_words) <= words else (" ".join(all_words[: max(words, 0)]), False)
