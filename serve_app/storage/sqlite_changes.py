"""Changes that other processes of this machine make in a SQLite file. SQLite tells nobody, but knows cheaply."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from typing import Final

from sqlalchemy import exc, text
from sqlalchemy.ext.asyncio import AsyncEngine

from deployments.tasks import Background
from serve_app.storage.changes import Tell

logger = logging.getLogger(__name__)

LOOK_S: Final = 0.1
"""Seconds between two looks at the file while anybody waits, for however many waiters."""
_RETRY_S: Final = 1.0
_DATA_VERSION: Final = text("PRAGMA data_version")


class SqliteFile(Background):
    """Wakes all waiters whenever another connection has committed something to the file.

    `PRAGMA data_version` tells one connection so. It reads no table: SQLite compares a number in memory that the
    processes share. What has changed it does not tell.
    """

    def __init__(self, connect: Callable[[], AsyncEngine], wake: Tell, is_watched: asyncio.Event) -> None:
        super().__init__()
        self.is_heard = False
        self._connect = connect
        self._wake = wake
        self._is_watched = is_watched

    def tell(self, keys: Collection[str]) -> None:
        """Nothing is to be done: the others look."""

    async def _run(self) -> None:
        while True:
            await self._is_watched.wait()
            try:
                await self._look()
            except (exc.DBAPIError, OSError) as error:
                self.is_heard = False
                logger.warning("changes of other processes are not seen for %g s: %s", _RETRY_S, error)
                await asyncio.sleep(_RETRY_S)

    async def _look(self) -> None:
        """While anybody waits."""
        engine = self._connect()
        try:
            async with engine.connect() as connection:
                await connection.execution_options(sqlite_begin=None)
                version = None
                while self._is_watched.is_set():
                    before, version = version, await connection.scalar(_DATA_VERSION)
                    self.is_heard = True
                    if version != before:  # also at first: what changed before was not seen
                        self._wake(None)
                    await asyncio.sleep(LOOK_S)
        finally:
            self.is_heard = False
            await engine.dispose()
