"""The engine interface, and the choice of an engine by its name. An engine is imported only when it is chosen."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol, assert_never

from deployments.generation.config import GenerationConfig
from deployments.types import GenerationLoad, GenerationRequest, Similarities, StageStatus, TextDelta


class Engine(Protocol):
    """Asynchronous and safe for concurrent callers."""

    def generate(self, request: GenerationRequest) -> AsyncGenerator[TextDelta, None]:
        """Stream the answer as text deltas. Only the last has a finish reason and usage.

        No character is split between deltas. Closing the stream ends the query. The answer ends before the first of
        the request's stop sequences, with finish reason `stop`. Raises Overloaded before the first delta,
        InvalidRequest for a query id that is being answered already, StageUnavailable when the engine died.
        """
        ...

    async def abort(self, tenant_id: str, query_id: str) -> bool:
        """End the tenant's query, or remember to end it when it arrives. Returns whether it was here.

        Its stream ends with finish reason `cancelled`. A query of another tenant is never ended.
        """
        ...

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text as it stands in a prompt of the engine's model. It may give the bytes of texts that are
        longer than any prompt.
        """
        ...

    async def load(self) -> GenerationLoad: ...

    async def status(self) -> StageStatus: ...


class SentenceScorer(Protocol):
    async def similarities(self, question: str, sentences: Sequence[str]) -> Similarities:
        """How near each sentence is in meaning to the question. Raises Unavailable."""
        ...


def create(config: GenerationConfig, scorer: SentenceScorer | None = None) -> Engine:
    """The configured engine. The extractive one goes by terms alone without a `scorer`; others need none.

    Raises ValueError for `vllm`, which has a deployment of its own (`vllm.py`), and for `auto`, which `build_app` has
    replaced by then.
    """
    match config.engine:
        case "extractive":
            from deployments.generation.extractive import ExtractiveEngine

            return ExtractiveEngine(config, scorer)
        case "fake":
            from deployments.generation.fake import FakeEngine

            return FakeEngine(config)
        case "vllm" | "auto":
            raise ValueError(f"generation.engine {config.engine!r} is not a plain engine: resolve it in build_app")
        case _:
            assert_never(config.engine)
