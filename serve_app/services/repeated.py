"""An answer that many callers share, so that their number does not decide what it costs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

from deployments.tasks import spawn_detached

T = TypeVar("T")


class Repeated(Generic[T]):
    """Calls `ask` for the first caller. Others get the same answer, while it is awaited and for `keep_s` seconds after.

    A failure is given to those who wait for it, and is not kept. For callers of one event loop.
    """

    def __init__(
        self, ask: Callable[[], Coroutine[Any, Any, T]], keep_s: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ask = ask
        self._keep_s = keep_s
        self._clock = clock
        self._asking: asyncio.Task[T] | None = None
        self._ended_at = 0.0

    async def __call__(self) -> T:
        if self._asking is None or self._is_old(self._asking):
            self._asking = spawn_detached(self._timed())
        return await asyncio.shield(self._asking)  # a caller who leaves takes nothing from the others

    def _is_old(self, asking: asyncio.Task[T]) -> bool:
        if not asking.done():
            return False
        return asking.cancelled() or asking.exception() is not None or self._clock() - self._ended_at >= self._keep_s

    async def _timed(self) -> T:
        try:
            return await self._ask()
        finally:
            self._ended_at = self._clock()
