"""An engine without a model: its answers are sentences quoted from the passages, so nothing is invented."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Mapping, Sequence

from deployments.errors import Unavailable
from deployments.generation.active_queries import ActiveQueries
from deployments.generation.base import SentenceScorer
from deployments.generation.config import GenerationConfig
from deployments.generation.extraction import ExtractedAnswer, Extraction
from deployments.generation.quotation_writer import QuotationWriter
from deployments.types import GenerationLoad, GenerationRequest, Language, Similarities, StageStatus, TextDelta, Usage

NO_ANSWER: Mapping[Language, str] = {
    "hr": "U dostupnim dokumentima nema odgovora na to pitanje.",
    "en": "The available documents do not answer that question.",
}
NOT_SURE: Mapping[Language, str] = {
    "hr": "Nije sigurno da dokumenti odgovaraju na to pitanje. Najbliže mu je ovo:",
    "en": "It is not certain that the documents answer that question. What comes nearest:",
}
logger = logging.getLogger(__name__)


class ExtractiveEngine:
    """Quotes the sentences that are nearest to the question, and cites their passages as [n]."""

    def __init__(self, config: GenerationConfig, scorer: SentenceScorer | None = None) -> None:
        self._config = config
        self._scorer = scorer
        self._queries = ActiveQueries(config)

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[TextDelta, None]:
        """Each delta is one quotation. Usage counts words, citation marks left out."""
        with self._queries.enter(request) as query:
            prompt_tokens = sum(_words(message.content) for message in request.messages)
            writer = QuotationWriter(request.max_tokens, request.stop)
            answer, degraded = await self._answer(request)
            if not query.cancelled and (notice := _notice(answer, request.language)):
                yield writer.write(notice)
            for quotation in answer.quotations:
                if query.cancelled or writer.is_full:
                    break
                if (delta := writer.quote(quotation)).text:
                    yield delta
                # Let an abort or another question run between two sentences.
                await asyncio.sleep(0)
            usage = Usage(prompt_tokens, writer.words)
            if query.cancelled:
                yield TextDelta("", "cancelled", usage, ())
            else:
                rest, reason = writer.end("stop" if answer.is_sure else "no_answer")
                yield TextDelta(rest.text, reason, usage, rest.citations, answer.confidence, degraded)

    async def _answer(self, request: GenerationRequest) -> tuple[ExtractedAnswer, tuple[str, ...]]:
        """The answer, and the stages that it does without: the sentences' vectors may be late or missing."""
        extraction = await asyncio.to_thread(Extraction, request, self._config)
        similarities: Similarities | None = None
        degraded: tuple[str, ...] = ()
        if self._scorer is not None and extraction.texts:
            try:
                async with asyncio.timeout(self._config.similarity_s):
                    similarities = await self._scorer.similarities(request.question, extraction.texts)
            except (Unavailable, TimeoutError) as error:
                logger.warning("an answer's sentences are chosen by terms alone: %s", error or "embedding is late")
                degraded = ("embedding",)
        return await asyncio.to_thread(extraction.answer, similarities), degraded

    async def abort(self, tenant_id: str, query_id: str) -> bool:
        return self._queries.abort(tenant_id, query_id)

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return [_words(text) for text in texts]

    async def load(self) -> GenerationLoad:
        return GenerationLoad(running=len(self._queries), waiting=0)

    async def status(self) -> StageStatus:
        return StageStatus(ready=True, engine="extractive")


def _notice(answer: ExtractedAnswer, language: Language) -> str:
    """What the answer begins with where it is not sure."""
    if answer.is_sure:
        return ""
    return f"{NOT_SURE[language]}\n" if answer.quotations else NO_ANSWER[language]


def _words(text: str) -> int:
    return len(text.split())
