"""The extractive engine in the ingress itself, for when generation cannot answer. A port of the pipeline."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from deployments.generation.config import GenerationConfig
from deployments.generation.extractive import ExtractiveEngine
from deployments.types import GenerationRequest, StageStatus, TextDelta


class Extractive:
    """Quotes from the passages. It is over before anybody could abort it."""

    def __init__(self, config: GenerationConfig) -> None:
        self._engine = ExtractiveEngine(config)

    def generate(self, request: GenerationRequest) -> AsyncGenerator[TextDelta]:
        return self._engine.generate(request)

    def abort(self, tenant_id: str, query_id: str) -> None:
        pass

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return await self._engine.count_tokens(texts)

    async def status(self) -> StageStatus:
        return await self._engine.status()
