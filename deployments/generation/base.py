"""What a generation engine is, and the lazy way from an engine's name to it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol, assert_never

from deployments.generation.config import GenerationConfig
from deployments.types import GenerationLoad, GenerationRequest, StageStatus, TextDelta


class Engine(Protocol):
    """Asynchronous and safe for concurrent callers."""

    def generate(self, request: GenerationRequest) -> AsyncGenerator[TextDelta, None]:
        """Stream the answer as text deltas; the last has a finish reason and usage. UTF-8 is never split
        inside a character. Closing the stream ends the query. One of the request's stop sequences ends the answer, is
        not part of it, and nothing after it is either; the finish reason is `stop`.
        Raises Overloaded before the first delta, StageUnavailable when the engine died."""
        ...

    async def abort(self, tenant_id: str, query_id: str) -> bool:
        """End the tenant's query wherever it is in the engine, or as soon as it arrives; its stream ends with
        finish reason `cancelled`. Returns whether it was running here. Another tenant's query is left alone."""
        ...

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        """Tokens of each text as the engine's model counts them, without special tokens."""
        ...

    async def load(self) -> GenerationLoad: ...

    async def status(self) -> StageStatus: ...


def create(config: GenerationConfig) -> Engine:
    """Engines that live in a plain deployment; vLLM lives inside `ray.serve.llm` (see vllm.py)."""
    match config.engine:
        case "extractive":
            from deployments.generation.extractive import ExtractiveEngine

            return ExtractiveEngine(config)
        case "fake":
            from deployments.generation.fake import FakeEngine

            return FakeEngine(config)
        case "vllm" | "auto":
            raise ValueError(f"generation.engine {config.engine!r} is not a plain engine: resolve it in build_app")
        case _:
            assert_never(config.engine)
