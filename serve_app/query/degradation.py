"""What an answer can do without. `complete.degraded` names the stages that failed, and `index` where its vectors are of
another embedder than the one that runs.

A caller's own mistake is never made up for. Retrieval has no substitute: an answer needs passages.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from typing import TypeVar

from deployments.errors import Unavailable

T = TypeVar("T")
logger = logging.getLogger(__name__)


class Degraded:
    """The stages that one query does without, in the order in which they failed."""

    def __init__(self) -> None:
        self.errors: dict[str, Unavailable] = {}

    @property
    def stages(self) -> tuple[str, ...]:
        return tuple(self.errors)

    def record(self, stage: str, error: Unavailable) -> None:
        logger.warning("a question goes without %s: %s", stage, error)
        self.errors[stage] = error

    async def or_fallback(self, stage: str, work: Awaitable[T], fallback: T) -> T:
        """The result of `work`, or `fallback` if the stage is down, full or late."""
        try:
            return await work
        except Unavailable as error:
            self.record(stage, error)
            return fallback
