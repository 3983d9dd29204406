"""Records what waits and what is stored."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from deployments.tasks import Background
from deployments.telemetry.metrics import Recorder
from serve_app.platform import backlog
from serve_app.storage.database import Database

EVERY_S: Final = 30.0
logger = logging.getLogger(__name__)


class BacklogGauges(Background):
    """Each replica records the whole service's numbers, so that they are there whichever of them lives."""

    def __init__(self, database: Database, recorder: Recorder) -> None:
        super().__init__()
        self._database = database
        self._recorder = recorder

    async def record(self) -> None:
        (await backlog.read(self._database)).record(self._recorder)

    async def _run(self) -> None:
        while True:
            try:
                await self.record()
            except Exception as error:
                logger.warning("the metrics of what waits and is stored stay as they were: %s", error)
            await asyncio.sleep(EVERY_S)
