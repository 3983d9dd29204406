"""The reranker interface, and the choice of a backend by its name. A backend is imported only when it is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar, assert_never

from deployments.inference.packing import Sized
from deployments.reranking.config import RerankingConfig

S = TypeVar("S", bound=Sized)
R = TypeVar("R")


class Reranker(Protocol[S, R]):
    """Scores texts against a query in three steps: `items`, `forward`, `scores`.

    Items (`S`) of different queries may share a forward pass, which gives a result (`R`) for each. Synchronous and
    thread-safe; the deployment calls it on threads of its own.
    """

    model: str
    """The model's name as callers may see it."""
    concurrent_passes: int
    """How many forward passes should run at the same time."""

    def items(self, query: str, texts: Sequence[str]) -> list[S]:
        """What the model must read to score the texts; each item fits into one pass."""
        ...

    def forward(self, items: Sequence[S]) -> Sequence[R]:
        """The model's result for each item, by one forward pass."""
        ...

    def scores(self, text_count: int, items: Sequence[S], results: Sequence[R]) -> list[float]:
        """The relevance of each text to the query, in [0, 1], in the order of the texts."""
        ...


def create(config: RerankingConfig) -> Reranker[Any, Any]:
    """The configured backend, loaded. Raises StageUnavailable if its model is missing or cannot be used."""
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
