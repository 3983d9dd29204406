"""The embedding stage: many texts in one call, questions ahead of passages."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from deployments.checks import check_texts
from deployments.embedding.base import create
from deployments.embedding.batches import batches
from deployments.embedding.config import EmbeddingConfig
from deployments.errors import InvalidRequest, RagError, StageUnavailable
from deployments.startup import collector_paused
from deployments.types import EmbedderInfo, Embeddings, StageStatus, TextKind

PASSAGES_NICE = 10
"""How far passages stand back behind what else runs at the process's own priority; the kernel's scale ends at 19."""


class Embedding:
    """One embedder on threads of its own, so that the event loop stays free.

    Questions have one thread, which waits for no passage. Passages are embedded a batch at a time on as many threads as
    the embedder gains from; those stand back behind everything else that wants a core, so that a question beside much
    ingestion is embedded about as soon as alone.
    """

    def __init__(self, config: EmbeddingConfig) -> None:
        self._config = config
        with collector_paused():
            self._embedder = create(config)
            self._embedder.embed(["warm up"], "query")  # the first pass of a process takes far longer than later ones
        self._threads: dict[TextKind, ThreadPoolExecutor] = {
            "query": ThreadPoolExecutor(1, thread_name_prefix="questions"),
            "passage": ThreadPoolExecutor(self._embedder.lanes, thread_name_prefix="passages", initializer=_stand_back),
        }
        self._failed = False

    async def embed(self, texts: Sequence[str], kind: TextKind) -> Embeddings:
        """Unit vectors of shape (texts, dimension), in the order of the texts; none for no texts.

        Raises InvalidRequest for too many texts or one too long, StageUnavailable if the model fails.
        """
        self._check(texts)
        info, config = self._embedder.info, self._config
        tokens = [0]  # of a lone text, as questions are: it has its pass to itself, however long it is
        if len(texts) != 1:
            tokens = await asyncio.to_thread(self._embedder.count_tokens, texts, kind)
        parts = [*batches(tokens, most_texts=config.batch_size, most_tokens=config.batch_tokens)]
        passes = [asyncio.ensure_future(self._run([texts[at] for at in part], kind)) for part in parts]
        vectors = np.zeros((len(texts), info.dimension), dtype=np.float32)
        try:
            for part, found in zip(parts, await asyncio.gather(*passes), strict=True):
                vectors[part] = found.vectors
        finally:
            for each in passes:
                each.cancel()
        return Embeddings(vectors, info.fingerprint, info.languages)

    async def count_tokens(self, texts: Sequence[str], kind: TextKind) -> list[int]:
        """Tokens that the model reads of each text, special ones and those of a prompt included.

        Raises InvalidRequest as `embed` does.
        """
        self._check(texts)
        return await asyncio.to_thread(self._embedder.count_tokens, texts, kind)

    async def describe(self) -> EmbedderInfo:
        return self._embedder.info

    async def status(self) -> StageStatus:
        return StageStatus(
            ready=not self._failed,
            engine=self._config.backend,
            model=self._embedder.info.model,
            detail="the last call failed" if self._failed else None,
        )

    async def check_health(self) -> None:
        """Raises StageUnavailable if the model failed and fails again: a broken GPU context never recovers."""
        if self._failed:
            await self.embed(["health check"], "query")

    async def _run(self, texts: list[str], kind: TextKind) -> Embeddings:
        try:
            loop = asyncio.get_running_loop()
            embeddings = await loop.run_in_executor(self._threads[kind], self._embedder.embed, texts, kind)
        except RagError:
            raise
        except Exception as error:
            self._failed = True
            raise StageUnavailable(f"embedding.model {self._embedder.info.model!r} failed: {error}") from error
        self._failed = False
        return embeddings

    def _check(self, texts: Sequence[str]) -> None:
        if len(texts) > self._config.max_texts:
            raise InvalidRequest(
                f"texts: {len(texts):,} given, at most {self._config.max_texts:,} in one call; split them"
            )
        check_texts("texts", texts, self._config.max_text_characters)


def _stand_back() -> None:
    """Lower the calling thread's priority. Elsewhere than on Linux it would be the whole process's."""
    if sys.platform == "linux":
        os.nice(PASSAGES_NICE)
