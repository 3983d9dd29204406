"""Records what waits and what is stored."""

from __future__ import annotations

import asyncio
import logging
from typing import Final

from deployments.tasks import Background
from deployments.telemetry.metrics import GAUGES_EVERY_S, Recorder
from serve_app.platform import backlog
from serve_app.platform.backlog import Backlog
from serve_app.storage.database import Database

READ_EVERY: Final = 6
"""Records by one reading of the database."""
logger = logging.getLogger(__name__)


class BacklogGauges(Background):
    """Each replica records the whole service's numbers, so that they are there whichever of them lives."""

    def __init__(self, database: Database, recorder: Recorder) -> None:
        super().__init__()
        self._database = database
        self._recorder = recorder
        self._read: Backlog | None = None

    async def _run(self) -> None:
        while True:
            try:
                self._read = await backlog.read(self._database)
            except Exception as error:
                logger.warning("the metrics of what waits and is stored stay as they were: %s", error)
            for _ in range(READ_EVERY):
                if self._read is not None:
                    self._read.record(self._recorder)
                await asyncio.sleep(GAUGES_EVERY_S)
