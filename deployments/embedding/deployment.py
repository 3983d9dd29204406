"""The embedding stage: many texts in one call, questions ahead of passages."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from deployments.checks import check_texts
from deployments.embedding.averaging import mean
from deployments.embedding.base import Embedder, create
from deployments.embedding.config import EmbeddingConfig
from deployments.errors import InvalidRequest, RagError, StageUnavailable
from deployments.inference.batching import Batching
from deployments.inference.packing import Room
from deployments.inference.windows import Window
from deployments.startup import collector_paused
from deployments.types import EmbedderInfo, Embeddings, Matrix, StageStatus, TextKind, Vector

PASSAGES_NICE = 10
"""How far passages stand back behind what else runs at the process's own priority; the kernel's scale ends at 19."""


class Embedding:
    """One embedder on threads of its own, so that the event loop stays free. What concurrent calls ask shares passes.

    Questions have their own, which wait for no passage. Passages have as many at once as the embedder gains from; their
    threads stand back behind everything else that wants a core, so that a question beside much ingestion is embedded
    about as soon as alone.
    """

    def __init__(self, config: EmbeddingConfig) -> None:
        self._config = config
        with collector_paused():
            self._embedder = embedder = create(config)
            self._work: dict[TextKind, _Work] = {
                "query": _Work(embedder, config, "query", lanes=1),
                "passage": _Work(embedder, config, "passage", lanes=embedder.lanes, initializer=_stand_back),
            }
            for work in self._work.values():
                work.warm_up()

    async def embed(self, texts: Sequence[str], kind: TextKind) -> Embeddings:
        """Unit vectors of shape (texts, dimension), in the order of the texts; none for no texts.

        A text longer than the model reads is embedded in windows, never silently cut. Raises InvalidRequest for too
        many texts or one too long, Overloaded if too many wait already, StageUnavailable if the model fails.
        """
        self._check(texts)
        info = self._embedder.info
        try:
            vectors = await self._work[kind].vectors(texts)
        except RagError:
            raise
        except Exception as error:
            raise StageUnavailable(f"embedding.model {info.model!r} failed: {error}") from error
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

    @property
    def _failed(self) -> bool:
        return any(work.passes.failed for work in self._work.values())

    def _check(self, texts: Sequence[str]) -> None:
        if len(texts) > self._config.max_texts:
            raise InvalidRequest(
                f"texts: {len(texts):,} given, at most {self._config.max_texts:,} in one call; split them"
            )
        check_texts("texts", texts, self._config.max_text_characters)


class _Work:
    """Of one kind of text: cutting it, and its passes, each on threads of their own."""

    def __init__(
        self,
        embedder: Embedder,
        config: EmbeddingConfig,
        kind: TextKind,
        *,
        lanes: int,
        initializer: Callable[[], None] | None = None,
    ) -> None:
        self._cut = partial(embedder.cut, kind=kind)
        self._forward = partial(embedder.forward, kind=kind)
        self._dimension = embedder.info.dimension
        self._cutting = ThreadPoolExecutor(1, thread_name_prefix=f"cut {kind}", initializer=initializer)
        self._threads = ThreadPoolExecutor(lanes, thread_name_prefix=kind, initializer=initializer)
        self.passes = Batching[Window, Vector](
            "embedding",
            self._forward,
            self._threads,
            lanes=lanes,
            room=Room(config.batch_size, config.batch_tokens),
            most_waiting=config.max_waiting,
        )

    def warm_up(self) -> None:
        """The first pass of a process takes far longer than later ones; it runs where those will."""
        windows = [window for each in self._cut(["warm up"]) for window in each]
        self._threads.submit(self._forward, windows).result()

    async def vectors(self, texts: Sequence[str]) -> Matrix:
        loop = asyncio.get_running_loop()
        cut = await loop.run_in_executor(self._cutting, self._cut, texts)
        found = await self.passes.results([window for each in cut for window in each])
        vectors: Matrix = np.array(found, dtype=np.float32).reshape(-1, self._dimension)
        return await loop.run_in_executor(self._cutting, mean, cut, vectors) if len(vectors) > len(cut) else vectors


def _stand_back() -> None:
    """Lower the calling thread's priority. Elsewhere than on Linux it would be the whole process's."""
    if sys.platform == "linux":
        os.nice(PASSAGES_NICE)
