"""What an answer can do without, and says so (`complete.degraded`).

Nothing makes up for a caller's own mistake, and nothing takes retrieval's place: an answer without passages is none.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from dataclasses import replace
from typing import TypeVar

from deployments.errors import Unavailable
from deployments.types import Embeddings
from serve_app.query.ports import Embed

T = TypeVar("T")
logger = logging.getLogger(__name__)


class Degraded:
    """The stages that one question went without, in the order in which they failed."""

    def __init__(self) -> None:
        self.errors: dict[str, Unavailable] = {}

    @property
    def stages(self) -> tuple[str, ...]:
        return tuple(self.errors)

    def note(self, stage: str, error: Unavailable) -> None:
        logger.warning("a question goes without %s: %s", stage, error)
        self.errors[stage] = error

    async def or_instead(self, stage: str, work: Awaitable[T], instead: T) -> T:
        """The result of `work`, or `instead` where the stage is down, full or late."""
        try:
            return await work
        except Unavailable as error:
            self.note(stage, error)
            return instead


class LastEmbedder:
    """The embedder that questions met last: a search without a vector still has to say whose passages it means."""

    def __init__(self) -> None:
        self.without_vector: Embeddings | None = None
        """None before the first question."""

    async def embed(self, stage: Embed, text: str) -> Embeddings:
        found = await stage.embed_query(text)
        self.without_vector = replace(found, vectors=found.vectors[:0])
        return found
