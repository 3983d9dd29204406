"""Sends a replica's reports to the limiter and applies its grants."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

from deployments.tasks import Background
from serve_app.admission.config import AdmissionConfig
from serve_app.admission.protocol import Grant, Report
from serve_app.admission.replica import ReplicaAdmission

logger = logging.getLogger(__name__)

_COUNT_ENGINES_EVERY_S: Final = 2.0
_REST_TO_WORK: Final = 4
_LIMITER_TIMEOUT_S: Final = 1.0


class LimiterSync(Background):
    """Syncs every `exchange_s` while there is work and every `idle_exchange_s` otherwise.

    A change that the admission signals is synced at once, at most four times per `exchange_s`. With thousands of
    tenants a sync takes tens of milliseconds. So between two of them there are at least four times as long as the last
    one took, but never so long that the lease ends. If the limiter does not answer, the admission continues with what
    it has.
    """

    def __init__(
        self,
        admission: ReplicaAdmission,
        replica: str,
        limiter: Callable[[Report], Awaitable[Grant]],
        count_engines: Callable[[], Awaitable[int]],
        slots_per_engine: int,
    ) -> None:
        """`count_engines` counts the generation replicas; each generates `slots_per_engine` answers at once."""
        super().__init__()
        self._admission = admission
        self._replica = replica
        self._limiter = limiter
        self._count_engines = count_engines
        self._slots_per_engine = slots_per_engine
        self._engine_slots = slots_per_engine
        self._limiter_answers = True

    async def sync(self, elapsed_s: float) -> None:
        """Report once and apply the grant. `elapsed_s`: the time since the last call. Never raises for the limiter."""
        try:
            async with asyncio.timeout(_LIMITER_TIMEOUT_S):
                grant = await self._limiter(self._admission.report(self._replica, self._engine_slots))
        except Exception as error:
            if self._limiter_answers:
                logger.warning("the limiter does not answer (%s); going on with what it granted last", error)
            self._limiter_answers = False
            self._admission.continue_without_grant(elapsed_s)
        else:
            self._limiter_answers = True
            self._admission.apply(grant)

    async def _run(self) -> None:
        counting = asyncio.create_task(self._keep_counting_engines())
        config, last_sync_at = self._admission.config, time.monotonic()
        try:
            while True:
                self._admission.changed.clear()
                now = time.monotonic()
                await self.sync(now - last_sync_at)
                last_sync_at = now
                await asyncio.sleep(rest_s(time.monotonic() - now, config))
                is_busy = self._admission.running or self._admission.waiting
                with suppress(TimeoutError):
                    async with asyncio.timeout(config.exchange_s if is_busy else config.idle_exchange_s):
                        await self._admission.changed.wait()
        finally:
            counting.cancel()
            await asyncio.wait([counting])

    async def _keep_counting_engines(self) -> None:
        while True:
            try:
                engines = await self._count_engines()
            except Exception as error:
                logger.warning("generation's replicas were not counted: %s", error)
                engines = 0
            self._engine_slots = self._slots_per_engine * engines or self._engine_slots
            await asyncio.sleep(_COUNT_ENGINES_EVERY_S)


def rest_s(took_s: float, config: AdmissionConfig) -> float:
    """The least time between two syncs, of which the last took `took_s` seconds."""
    return max(config.exchange_s / 4, min(_REST_TO_WORK * took_s, config.lease_s / 4))
