"""What a reranker is, and the lazy way from a backend's name to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, assert_never

from deployments.reranking.config import RerankingConfig


class Reranker(Protocol):
    """Synchronous; the deployment keeps it off the event loop."""

    model: str

    def score(self, query: str, texts: Sequence[str]) -> list[float]:
        """Relevance of each text to the query in [0, 1], in the order of the texts."""
        ...


def create(config: RerankingConfig) -> Reranker:
    match config.backend:
        case "cross_encoder":
            from deployments.reranking.cross_encoder import CrossEncoderReranker

            return CrossEncoderReranker(config)
        case "late_interaction":
            from deployments.reranking.late_interaction import LateInteractionReranker

            return LateInteractionReranker(config)
        case "fake":
            from deployments.reranking.fake import FakeReranker

            return FakeReranker(config)
        case _:
            assert_never(config.backend)
