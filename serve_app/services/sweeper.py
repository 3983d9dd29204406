"""Removes what has been kept long enough, in one of the ingress replicas at a time."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Final

from deployments.tasks import Background
from serve_app.platform.retention import ROWS, Progress, Retention
from serve_app.platform.stored_blobs import UPLOAD_S
from serve_app.platform.sweeps import LEASE_S, Sweeps
from serve_app.storage.blobs import Blobs

_LOOK_S: Final = 30.0
"""Interval of looking whether a round is due, or whether the replica that had one is gone."""
logger = logging.getLogger(__name__)


class Sweeper(Background):
    """Sweeps from `start` to `stop` or `close`. `holder` must be unique among replicas."""

    def __init__(self, retention: Retention, blobs: Blobs, holder: str) -> None:
        super().__init__()
        self._retention = retention
        self._blobs = blobs
        self._sweeps = Sweeps(retention.database, holder, clock=retention.clock)

    async def sweep(self) -> None:
        """Do what is due, if no other replica does it."""
        config = self._retention.config
        await self._round(ROWS, config.sweep_every_s, self._retention.expire)
        await self._round("bytes", config.compare_every_s, partial(self._retention.compare, self._blobs))
        await self._blobs.remove_unfinished(UPLOAD_S)

    async def _round(self, name: str, every_s: float, work: Callable[[str], AsyncIterator[Progress]]) -> None:
        """One round, or what another replica has left of it."""
        begin = await self._sweeps.claim(name, every_s=every_s)
        if begin is None:
            return
        since, total, clock = Counter[str](), Counter[str](), self._retention.clock
        told: datetime = clock()
        async for cursor, removed in work(begin):
            since.update(removed)
            total.update(removed)
            if clock() - told >= timedelta(seconds=LEASE_S / 4):
                if not await self._sweeps.go_on(name, cursor, since):
                    return
                since, told = Counter(), clock()
        await self._sweeps.end(name, since)
        if total:
            logger.info("removed what was kept long enough: %s", dict(total))

    async def _run(self) -> None:
        while True:
            try:
                await self.sweep()
            except Exception as error:
                logger.warning("what was kept long enough stays until the next round: %s", error)
            await asyncio.sleep(_LOOK_S)
