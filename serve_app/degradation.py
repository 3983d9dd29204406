"""What an answer can do without, and says so (`complete.degraded`).

Nothing makes up for a caller's own mistake, and nothing takes retrieval's place: an answer without passages is none.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable
from typing import TypeVar

from deployments.errors import Unavailable

T = TypeVar("T")
logger = logging.getLogger(__name__)


class Degraded:
    """The stages that one question went without, in the order in which they failed."""

    def __init__(self) -> None:
        self._stages: list[str] = []

    @property
    def stages(self) -> tuple[str, ...]:
        return tuple(self._stages)

    def note(self, stage: str, error: Unavailable) -> None:
        logger.warning("a question goes without %s: %s", stage, error)
        self._stages.append(stage)

    async def or_instead(self, stage: str, work: Awaitable[T], instead: T) -> T:
        """The result of `work`, or `instead` where the stage is down, full or late."""
        try:
            return await work
        except Unavailable as error:
            self.note(stage, error)
            return instead
