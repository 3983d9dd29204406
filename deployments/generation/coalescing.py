"""How much of an answer is sent at a time: each piece costs every hop to the reader the same, whatever its length."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from deployments.generation.config import GenerationConfig
from deployments.types import TextDelta


def pause_s(config: GenerationConfig, answers: int) -> float:
    """How long an answer's text waits for more after a piece, while a replica generates so many answers.

    A lone one never does; of several, each as long as holds all of them together to `pieces_per_s`, and no longer than
    `coalesce_ms`.
    """
    return min(config.coalesce_ms / 1_000, answers / config.pieces_per_s) if answers > 1 else 0.0


async def gathered(deltas: AsyncGenerator[TextDelta], pause: Callable[[], float]) -> AsyncGenerator[TextDelta, None]:
    """The same text: its first piece as it comes, each later one with all that came since the one before, which is
    `pause` seconds ago at least. Closing this closes `deltas`. For engines that do not gather by themselves."""
    gathering = _Gathering()
    reading = asyncio.create_task(gathering.read(deltas))
    try:
        while (piece := await gathering.take()) is not None:
            yield piece
            await asyncio.sleep(pause())
        await reading
    finally:
        reading.cancel()
        await asyncio.wait([reading])


class _Gathering:
    def __init__(self) -> None:
        self._piece: TextDelta | None = None
        self._changed = asyncio.Event()
        self._over = False

    async def read(self, deltas: AsyncGenerator[TextDelta]) -> None:
        try:
            async with aclosing(deltas):
                async for delta in deltas:
                    text = self._piece.text + delta.text if self._piece else delta.text
                    self._piece = TextDelta(text, delta.finish_reason, delta.usage)
                    self._changed.set()
        finally:
            self._over = True
            self._changed.set()

    async def take(self) -> TextDelta | None:
        """What is there, waited for; None when there will be no more."""
        while self._piece is None and not self._over:
            self._changed.clear()
            await self._changed.wait()
        piece, self._piece = self._piece, None
        return piece
