"""The reranking stage: the first candidates of a question in a better order."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from deployments.checks import check_text, check_texts
from deployments.errors import RagError, StageUnavailable
from deployments.inference.batching import Batching
from deployments.inference.packing import Room
from deployments.reranking.base import create
from deployments.reranking.blend import blend
from deployments.reranking.config import RerankingConfig
from deployments.startup import collector_paused
from deployments.types import Candidate, Language, Passage, StageStatus


class Reranking:
    """One reranker on threads of its own, so that the event loop stays free. What concurrent questions ask shares
    forward passes; a question whose asker is gone takes part in no further one.
    """

    def __init__(self, config: RerankingConfig) -> None:
        self._config = config
        with collector_paused():
            self._reranker = reranker = create(config)
            threads = ThreadPoolExecutor(reranker.lanes, thread_name_prefix="rerank")
            # The first pass of a process takes far longer than later ones.
            threads.submit(reranker.forward, reranker.items("warm up", ["warm up"])).result()
        self._beside = ThreadPoolExecutor(1, thread_name_prefix="read and score")
        self._passes = Batching[Any, Any](
            "reranking",
            reranker.forward,
            threads,
            lanes=reranker.lanes,
            room=Room(config.batch_size, config.batch_tokens),
            most_waiting=config.max_waiting,
        )

    async def rerank(self, query: str, language: Language, candidates: Sequence[Candidate]) -> list[Candidate]:
        """The same candidates, best first: the first `max_candidates` with `scores.rerank` (see `blend`), then the
        rest in the order they came, without it. Where the reranker has no weight, all of them as they came.

        The reranker reads a passage's title above its text. Raises InvalidRequest for a query or passage that is too
        long, Overloaded if too many wait already, StageUnavailable if the model fails.
        """
        if not (weight := self._weight(language)):
            return list(candidates)
        scored, rest = candidates[: self._config.max_candidates], candidates[self._config.max_candidates :]
        texts = [_read(candidate.passage) for candidate in scored]
        check_text("query", query, self._config.max_query_characters)
        check_texts("candidates", texts, self._config.max_text_characters)
        return [*blend(scored, await self._scores(query, texts), weight), *rest]

    async def score(self, query: str, texts: Sequence[str]) -> list[float]:
        """The reranker's own relevance of each text to the query in [0, 1], in the order of the texts.

        Raises InvalidRequest for a query or text that is too long, Overloaded if too many wait already,
        StageUnavailable if the model fails.
        """
        check_text("query", query, self._config.max_query_characters)
        check_texts("texts", texts, self._config.max_text_characters)
        return await self._scores(query, texts)

    async def status(self) -> StageStatus:
        return StageStatus(
            ready=not self._passes.failed,
            engine=self._config.backend,
            model=self._reranker.model,
            detail="the last call failed" if self._passes.failed else None,
        )

    async def check_health(self) -> None:
        """Raises StageUnavailable if the model failed and fails again: a broken GPU context never recovers."""
        if self._passes.failed:
            await self._scores("health check", ["health check"])

    async def _scores(self, query: str, texts: Sequence[str]) -> list[float]:
        reranker, beside = self._reranker, asyncio.get_running_loop().run_in_executor
        try:
            items = await beside(self._beside, reranker.items, query, texts)
            results = await self._passes.results(items)
            return await beside(self._beside, reranker.scores, len(texts), items, results)
        except RagError:
            raise
        except Exception as error:
            raise StageUnavailable(f"reranking.model {reranker.model!r} failed: {error}") from error

    def _weight(self, language: Language) -> float:
        known = not self._config.languages or language in self._config.languages
        return self._config.weight if known else self._config.weight_other


def _read(passage: Passage) -> str:
    """What the reranker sees of a passage: the title often says what the text is about, and the text doesn't."""
    return f"{passage.title}\n{passage.text}" if passage.title else passage.text
