"""The reranking stage: the first candidates of a question in a better order."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from deployments.checks import check_text, check_texts
from deployments.errors import RagError, StageUnavailable
from deployments.reranking.base import create
from deployments.reranking.blend import blend
from deployments.reranking.config import RerankingConfig
from deployments.startup import collector_paused
from deployments.types import Candidate, Language, Passage, StageStatus


class Reranking:
    """One reranker on its own thread, so that the event loop stays free. Texts are scored `batch_size` at a time:
    questions take turns at the model, and one whose asker is gone stops after the batch it is in.
    """

    def __init__(self, config: RerankingConfig) -> None:
        self._config = config
        with collector_paused():
            self._reranker = create(config)
            self._reranker.score("warm up", ["warm up"])  # the first pass of a process takes far longer than later ones
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="reranker")
        self._model_free = asyncio.Lock()
        self._failed = False

    async def rerank(self, query: str, language: Language, candidates: Sequence[Candidate]) -> list[Candidate]:
        """The same candidates, best first: the first `max_candidates` with `scores.rerank` (see `blend`), then the
        rest in the order they came, without it. Where the reranker has no weight, all of them as they came.

        The reranker reads a passage's title above its text. Raises InvalidRequest for a query or passage that is too
        long, StageUnavailable if the model fails.
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

        Raises InvalidRequest for a query or text that is too long, StageUnavailable if the model fails.
        """
        check_text("query", query, self._config.max_query_characters)
        check_texts("texts", texts, self._config.max_text_characters)
        return await self._scores(query, texts)

    async def status(self) -> StageStatus:
        return StageStatus(
            ready=not self._failed,
            engine=self._config.backend,
            model=self._reranker.model,
            detail="the last call failed" if self._failed else None,
        )

    async def check_health(self) -> None:
        """Raises StageUnavailable if the model failed and fails again: a broken GPU context never recovers."""
        if self._failed:
            await self._scores("health check", ["health check"])

    async def _scores(self, query: str, texts: Sequence[str]) -> list[float]:
        # Texts of like length share a batch, so that little of it is padding.
        order = sorted(range(len(texts)), key=lambda at: len(texts[at]))
        scores = [0.0] * len(texts)
        for start in range(0, len(order), self._config.batch_size):
            places = order[start : start + self._config.batch_size]
            found = await self._run(query, [texts[at] for at in places])
            for at, score in zip(places, found, strict=True):
                scores[at] = score
        return scores

    async def _run(self, query: str, texts: list[str]) -> list[float]:
        async with self._model_free:
            try:
                loop = asyncio.get_running_loop()
                scores = await loop.run_in_executor(self._thread, self._reranker.score, query, texts)
            except RagError:
                raise
            except Exception as error:
                self._failed = True
                raise StageUnavailable(f"reranking.model {self._reranker.model!r} failed: {error}") from error
            self._failed = False
            return scores

    def _weight(self, language: Language) -> float:
        known = not self._config.languages or language in self._config.languages
        return self._config.weight if known else self._config.weight_other


def _read(passage: Passage) -> str:
    """What the reranker sees of a passage: the title often says what the text is about, and the text doesn't."""
    return f"{passage.title}\n{passage.text}" if passage.title else passage.text
