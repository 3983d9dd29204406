"""Reports from a replica's gate to the limiter, and grants back."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from deployments.tasks import Background
from serve_app.admission.protocol import Grant, Report
from serve_app.admission.replica import Gate

logger = logging.getLogger(__name__)

_COUNT_EVERY_S: Final = 2.0
"""How often generation's replicas are counted."""
_ANSWER_S: Final = 1.0
"""How long the limiter may take to answer."""


class Exchange(Background):
    """Goes on several times a second while there is work, seldom without; when the gate says that something has
    changed, at once, but no more than four times as often. Without an answer the gate goes on with what it has."""

    def __init__(
        self,
        gate: Gate,
        replica: str,
        limiter: Callable[[Report], Awaitable[Grant]],
        engines: Callable[[], Awaitable[int]],
        slots_each: int,
    ) -> None:
        """`engines` counts the generation replicas, each of which takes `slots_each` questions at once."""
        super().__init__()
        self._gate = gate
        self._replica = replica
        self._limiter = limiter
        self._engines = engines
        self._slots_each = slots_each
        self._slots = slots_each
        self._answered = True

    async def once(self, elapsed_s: float) -> None:
        """One exchange, whatever comes of it."""
        try:
            async with asyncio.timeout(_ANSWER_S):
                grant = await self._limiter(self._gate.report(self._replica, self._slots))
        except Exception as error:
            if self._answered:
                logger.warning("the limiter does not answer (%s); going on with what it granted last", error)
            self._answered = False
            self._gate.go_on(elapsed_s)
        else:
            self._answered = True
            self._gate.apply(grant)

    async def _run(self) -> None:
        counting = asyncio.create_task(self._count())
        config, last = self._gate.config, time.monotonic()
        try:
            while True:
                self._gate.changed.clear()
                now = time.monotonic()
                await self.once(now - last)
                last = now
                await asyncio.sleep(config.exchange_s / 4)
                busy = self._gate.running or self._gate.waiting
                with suppress(TimeoutError):
                    async with asyncio.timeout(config.exchange_s if busy else config.idle_exchange_s):
                        await self._gate.changed.wait()
        finally:
            counting.cancel()
            await asyncio.wait([counting])

    async def _count(self) -> None:
        while True:
            try:
                count = await self._engines()
            except Exception as error:
                logger.warning("generation's replicas were not counted: %s", error)
                count = 0
            self._slots = self._slots_each * count or self._slots
            await asyncio.sleep(_COUNT_EVERY_S)
