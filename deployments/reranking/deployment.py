"""The reranking stage as a deployment: puts the first candidates of a question into a better order."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from deployments.errors import RagError, StageUnavailable
from deployments.inference.batching import Batcher
from deployments.inference.input_checks import check_text, check_texts
from deployments.inference.packing import PassLimits
from deployments.replica import replica_id
from deployments.reranking.base import create
from deployments.reranking.blend import blend
from deployments.reranking.config import RerankingConfig
from deployments.stage_times import StageTimes
from deployments.startup import gc_paused
from deployments.telemetry import spans, tracing
from deployments.telemetry.config import TelemetryConfig
from deployments.telemetry.metrics import NO_RECORDER, Recorder
from deployments.telemetry.stage_spans import traced
from deployments.types import Candidate, Language, Passage, StageStatus

WORK = "text"
"""What the stage's calls are about, in metrics."""


class Reranking:
    """One reranker, on threads of its own. Concurrent questions share forward passes.

    A question whose caller has gone takes part in no further pass.
    """

    def __init__(
        self, config: RerankingConfig, recorder: Recorder = NO_RECORDER, telemetry: TelemetryConfig | None = None
    ) -> None:
        tracing.start(telemetry, "reranking", replica=replica_id())
        self._config = config
        self._times = StageTimes("reranking", recorder)
        with gc_paused():
            self._reranker = reranker = create(config)
            threads = ThreadPoolExecutor(reranker.concurrent_passes, thread_name_prefix="rerank")
            # The first pass of a process takes far longer than later ones.
            threads.submit(reranker.forward, reranker.items("warm up", ["warm up"])).result()
        self._helper_thread = ThreadPoolExecutor(1, thread_name_prefix="tokenize and score")
        """Makes items and scores, so that the event loop stays free."""
        self._batcher = Batcher[Any, Any](
            "reranking",
            reranker.forward,
            threads,
            workers=reranker.concurrent_passes,
            limits=PassLimits(config.batch_size, config.batch_tokens),
            max_waiting=config.max_waiting,
            work=WORK,
            recorder=recorder,
        )

    @traced(spans.RERANK)
    async def rerank(self, query: str, language: Language, candidates: Sequence[Candidate]) -> list[Candidate]:
        """The candidates, best first. The first `max_candidates` get `scores.rerank` (see `blend`); the rest follow
        in their old order, without it. Where the reranker has no weight, all of them keep their order.

        Raises InvalidRequest for a query or passage that is too long, Overloaded if too many texts wait already,
        StageUnavailable if the model fails.
        """
        if not (weight := self._config.weight_for(language)):
            return list(candidates)
        scored, rest = candidates[: self._config.max_candidates], candidates[self._config.max_candidates :]
        texts = [_text_with_title(candidate.passage) for candidate in scored]
        check_text("query", query, self._config.max_query_characters)
        check_texts("candidates", texts, self._config.max_text_characters)
        with self._times.call(WORK):
            return [*blend(scored, await self._scores(query, texts), weight), *rest]

    @traced(spans.RERANK)
    async def score(self, query: str, texts: Sequence[str]) -> list[float]:
        """The reranker's own score of each text for the query, in [0, 1], in the order of the texts.

        Raises InvalidRequest for a query or text that is too long, Overloaded if too many texts wait already,
        StageUnavailable if the model fails.
        """
        check_text("query", query, self._config.max_query_characters)
        check_texts("texts", texts, self._config.max_text_characters)
        with self._times.call(WORK):
            return await self._scores(query, texts)

    async def status(self) -> StageStatus:
        return StageStatus(
            ready=not self._batcher.failed,
            engine=self._config.backend,
            model=self._reranker.model,
            detail="the last call failed" if self._batcher.failed else None,
        )

    async def check_health(self) -> None:
        """Raises StageUnavailable if the model failed and fails again: a broken GPU context never recovers."""
        if self._batcher.failed:
            await self._scores("health check", ["health check"])

    def __del__(self) -> Coroutine[Any, Any, None] | None:
        """Serve calls this after the replica's last request, before it ends the process."""
        return tracing.end_of_replica()

    async def _scores(self, query: str, texts: Sequence[str]) -> list[float]:
        reranker, run = self._reranker, asyncio.get_running_loop().run_in_executor
        try:
            items = await run(self._helper_thread, reranker.items, query, texts)
            results = await self._batcher.results(items)
            return await run(self._helper_thread, reranker.scores, len(texts), items, results)
        except RagError:
            raise
        except Exception as error:
            raise StageUnavailable(
                f"reranking.model {reranker.model!r} failed; try again", internal=f"{type(error).__name__}: {error}"
            ) from error


def _text_with_title(passage: Passage) -> str:
    """What the reranker reads of a passage. The title often says what the text is about where the text does not."""
    return f"{passage.title}\n{passage.text}" if passage.title else passage.text
