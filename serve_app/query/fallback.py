"""The extractive engine inside the ingress, for when generation cannot answer. Implements ports.Generator."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence

from deployments.generation.base import SentenceScorer
from deployments.generation.config import GenerationConfig
from deployments.generation.extractive import ExtractiveEngine
from deployments.types import GenerationRequest, StageStatus, TextDelta


class Extractive:
    """Quotes from the passages. It ends at once, so an abort has nothing to do."""

    def __init__(self, config: GenerationConfig, scorer: SentenceScorer | None = None) -> None:
        self._engine = ExtractiveEngine(config, scorer)

    def generate(self, request: GenerationRequest) -> AsyncGenerator[TextDelta]:
        return self._engine.generate(request)

    def abort(self, tenant_id: str, query_id: str) -> None:
        pass

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        return await self._engine.count_tokens(texts)

    async def status(self) -> StageStatus:
        return await self._engine.status()
