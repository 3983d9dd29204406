"""Answers made only of sentences quoted from the passages: no model, nothing invented."""

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
"""Words that with "koliko" or "how" only ask: "how long" is not about what is long."""

MIN_SAMPLE = 8
"""Passages that document frequencies are taken to come from at least: with two or three, every word looks common."""

HEADING_SHARE = 0.5
"""What a question's term counts when it is in the heading above a sentence and not in the sentence."""

RANK_SHARE = 0.3
"""What the first passage's rank adds to the coverage of its sentences; the n-th passage's adds an n-th of it."""

RELATIVE_FLOOR = 0.6
"""A further sentence must cover at least this share of what the best one covers."""


@dataclass(frozen=True, slots=True)
class Quotation:
    """A sentence and the number of its passage, from 1."""

    text: str
    number: int


class ExtractiveEngine:
    """Picks the sentences that hold most of the question's terms and cites their passages."""

    def __init__(self, config: GenerationConfig) -> None:
        self._config = config
        self._queries = ActiveQueries(config)

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[TextDelta, None]:
        """One delta a quotation. Usage counts words; citation marks are not words."""
        with self._queries.enter(request) as query:
            prompt_tokens = sum(_words(message.content) for message in request.messages)
            stop = StopScanner(request.stop)
            quotations = await asyncio.to_thread(quote, request, self._config)
            if not quotations and not query.cancelled:
                text, _ = _cut(NO_ANSWER[request.language], request.max_tokens)
                said = stop.feed(text) + stop.rest()
                yield TextDelta(said, "stop" if stop.met else "no_answer", Usage(prompt_tokens, _words(text)))
                return

            spent = 0
            for position, quotation in enumerate(quotations):
                if query.cancelled:
                    break
                text, finished = _cut(quotation.text, request.max_tokens - spent)
                spent += _words(text)
                if text and (said := stop.feed(f"{' ' if position else ''}{text} [{quotation.number}]")):
                    yield TextDelta(said)
                if stop.met:
                    break
                if not finished:
                    yield TextDelta(stop.rest(), "length", Usage(prompt_tokens, spent))
                    return
                # Lets an abort, or another question, in between two sentences.
                await asyncio.sleep(0)
            rest = "" if query.cancelled else stop.rest()
            yield TextDelta(rest, "cancelled" if query.cancelled else "stop", Usage(prompt_tokens, spent))

    async def abort(self, tenant_id: str, query_id: str) -> bool:
        return self._queries.abort(tenant_id, query_id)

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [_words(text) for text in texts]

    async def load(self) -> GenerationLoad:
        return GenerationLoad(running=len(self._queries), waiting=0)

    async def status(self) -> StageStatus:
        return StageStatus(ready=True, engine="extractive")


def quote(request: GenerationRequest, config: GenerationConfig) -> list[Quotation]:
    """The sentences that answer, best first; empty when no passage holds enough of the question.

    A term weighs its inverse document frequency among the passages, ln(1 + (N - n + ½) / (n + ½)), so that what
    all of them speak about decides nothing. Coverage is the held share of the question's weight.
    """
    question = _Question(request)
    candidates: list[tuple[float, Quotation]] = []
    for number, passage in enumerate(request.passages, start=1):
        if question.coverage(passage, f"{passage.title} {passage.text}") < config.min_coverage:
            continue
        for sentence in split_sentences(passage.text, passage.language):
            coverage = question.coverage(passage, sentence.text, sentence.heading)
            # A question in a document does not answer ours.
            if coverage > 0 and not sentence.text.endswith("?"):
                candidates.append((coverage, Quotation(sentence.text, number)))
    # A stable sort: of equals, the one read first.
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
    """A question's terms, each as the set of its stems in both languages, with their weights among the passages."""

    def __init__(self, request: GenerationRequest) -> None:
        self._terms = _question_terms(request.question, request.language)
        held = [self._held(passage, f"{passage.title} {passage.text}") for passage in request.passages]
        sample = max(len(held), MIN_SAMPLE)
        self._weights = []
        for index in range(len(self._terms)):
            # A term in no passage weighs like one in a single passage: a sample this small cannot tell them apart.
            frequency = max(sum(index in indexes for indexes in held), 1)
            self._weights.append(math.log1p((sample - frequency + 0.5) / (frequency + 0.5)))
        self._total = sum(self._weights)

    def coverage(self, passage: Passage, text: str, heading: str = "") -> float:
        """The share of the question's weight that a text of the passage holds, and half of what its heading adds."""
        inside = self._held(passage, text)
        above = self._held(passage, heading) - inside
        return self._share(inside) + HEADING_SHARE * self._share(above)

    def _held(self, passage: Passage, text: str) -> set[int]:
        found = set(terms(text, passage.language))
        return {index for index, stems in enumerate(self._terms) if stems & found}

    def _share(self, indexes: set[int]) -> float:
        return sum(self._weights[index] for index in indexes) / self._total if self._total else 0.0


def _question_terms(question: str, language: Language) -> list[frozenset[str]]:
    """Word by word, because a passage is stemmed in its own language and may not be in the question's."""
    other: Language = "en" if language == "hr" else "hr"
    found: dict[str, frozenset[str]] = {}
    for word in question.split():
        if word.casefold().strip("?!.,") in ASKING_WORDS[language]:
            continue
        own, foreign = terms(word, language), terms(word, other)
        for index, term in enumerate(own):
            found.setdefault(term, frozenset({term, foreign[index]} if len(own) == len(foreign) else {term}))
    return list(found.values())


def _words(text: str) -> int:
    return len(text.split())


def _cut(text: str, words: int) -> tuple[str, bool]:
    """The first words of a text, and whether that is all of it."""
    kept = text.split()
    return (text, True) if len(kept) <= words else (" ".join(kept[: max(words, 0)]), False)
