"""What a reranker is, and the lazy way from a backend's name to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, TypeVar, assert_never

from deployments.inference.packing import Sized
from deployments.reranking.config import RerankingConfig

S = TypeVar("S", bound=Sized)
R = TypeVar("R")


class Reranker(Protocol[S, R]):
    """A query and texts → items, which share forward passes with those of other queries → scores.

    Synchronous and thread-safe; the deployment keeps it off the event loop. `lanes`: how many passes gain from running
    at the same time.
    """

    model: str
    lanes: int

    def items(self, query: str, texts: Sequence[str]) -> list[S]:
        """What the model has to read, each item in one piece."""
        ...

    def forward(self, items: Sequence[S]) -> Sequence[R]:
        """What it makes of each, by one forward pass."""
        ...

    def scores(self, texts: int, items: Sequence[S], results: Sequence[R]) -> list[float]:
        """Relevance in [0, 1] of each of so many texts to their query, in the order of the texts."""
        ...


def create(config: RerankingConfig) -> Reranker[Any, Any]:
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
