"""The embedding stage: many texts in one call, questions ahead of passages."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from deployments.checks import check_text
from deployments.embedding.base import TextKind, create
from deployments.embedding.config import EmbeddingConfig
from deployments.errors import InvalidRequest, RagError, StageUnavailable
from deployments.startup import collector_paused
from deployments.types import EmbedderInfo, Embeddings, StageStatus


class Embedding:
    """One embedder, used by one caller at a time on its own thread, so that the event loop stays free.

    Passages are embedded `batch_size` texts at a time, and of all passage work only one such slice may wait for the
    model or hold it. So a question waits for one slice at most, however much is being ingested, and since the locks
    are first come, first served, neither starves the other.
    """

    def __init__(self, config: EmbeddingConfig) -> None:
        self._config = config
        with collector_paused():
            self._embedder = create(config)
            self._embedder.embed(["warm up"], "query")  # the first pass of a process takes far longer than later ones
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="embedder")
        self._model_free = asyncio.Lock()
        self._passages_turn = asyncio.Lock()
        self._failed = False

    async def embed(self, texts: Sequence[str], kind: TextKind) -> Embeddings:
        """Unit vectors of shape (texts, dimension), in the order of the texts; none for no texts.

        Raises InvalidRequest for too many texts or one too long, StageUnavailable if the model fails.
        """
        self._check(texts)
        info = self._embedder.info
        vectors = np.zeros((len(texts), info.dimension), dtype=np.float32)
        # Texts of like length share a slice, so that little of a batch is padding.
        order = sorted(range(len(texts)), key=lambda at: len(texts[at]))
        for start in range(0, len(order), self._config.batch_size):
            places = order[start : start + self._config.batch_size]
            vectors[places] = (await self._embed_slice([texts[at] for at in places], kind)).vectors
        return Embeddings(vectors, info.fingerprint, info.languages)

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

    async def _embed_slice(self, texts: list[str], kind: TextKind) -> Embeddings:
        if kind == "query":
            return await self._run(texts, kind)
        async with self._passages_turn:
            return await self._run(texts, kind)

    async def _run(self, texts: list[str], kind: TextKind) -> Embeddings:
        async with self._model_free:
            try:
                loop = asyncio.get_running_loop()
                embeddings = await loop.run_in_executor(self._thread, self._embedder.embed, texts, kind)
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
        for at, text in enumerate(texts):
            check_text(f"texts[{at}]", text, self._config.max_text_characters)
