"""Joins an answer's text deltas, so that fewer are sent: each costs every hop to the reader the same, however long."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from deployments.generation.config import GenerationConfig
from deployments.types import TextDelta


def pause_s(config: GenerationConfig, active_answers: int) -> float:
    """Seconds to wait after a delta before the next one is sent, while a replica generates `active_answers` answers.

    A single answer never waits. Several wait so long that together they send `pieces_per_s` deltas a second, but no
    longer than `coalesce_ms`.
    """
    if active_answers <= 1:
        return 0.0
    return min(config.coalesce_ms / 1_000, active_answers / config.pieces_per_s)


async def coalesced(deltas: AsyncGenerator[TextDelta], pause: Callable[[], float]) -> AsyncGenerator[TextDelta, None]:
    """The same text in fewer deltas, for engines that do not join deltas themselves.

    The first delta is given as it comes. After each one, `pause()` seconds are waited, and what came meanwhile is the
    next one. Closing this closes `deltas`. An error of `deltas` is raised after the text that came before it.
    """
    buffer = _Buffer()
    reading = asyncio.create_task(buffer.fill(deltas))
    try:
        while (delta := await buffer.take()) is not None:
            yield delta
            await asyncio.sleep(pause())
        await reading
    finally:
        reading.cancel()
        await asyncio.wait([reading])


class _Buffer:
    """The deltas that came since the last `take`, joined into one."""

    def __init__(self) -> None:
        self._delta: TextDelta | None = None
        self._changed = asyncio.Event()
        self._ended = False

    async def fill(self, deltas: AsyncGenerator[TextDelta]) -> None:
        try:
            async with aclosing(deltas):
                async for delta in deltas:
                    self._delta = self._delta.joined(delta) if self._delta else delta
                    self._changed.set()
        finally:
            self._ended = True
            self._changed.set()

    async def take(self) -> TextDelta | None:
        """Wait for a delta and take it; None once all have been taken and no more will come."""
        while self._delta is None and not self._ended:
            self._changed.clear()
            await self._changed.wait()
        delta, self._delta = self._delta, None
        return delta
