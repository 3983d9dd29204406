"""When keys were last used. No request waits for it to be written."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime
from typing import Final, cast

from sqlalchemy import Table, bindparam, or_, update

from deployments.tasks import Background
from serve_app.storage.database import Database, chunks
from serve_app.storage.declarative import utc_now
from serve_app.storage.tables import ApiKey

WRITE_EVERY_S: Final = 60.0
"""Interval of writing. A replica writes a key's time once in it at most, and keys that were not used not at all."""
MAX_KEYS: Final = 10_000
"""Keys whose use is remembered until it is written. Uses of more keys in one interval are not recorded."""
_BATCH: Final = 500
"""Keys in one transaction."""
logger = logging.getLogger(__name__)


class KeyUses(Background):
    """One replica's. What was not written when it stops is lost."""

    def __init__(self, database: Database, *, clock: Callable[[], datetime] = utc_now) -> None:
        super().__init__()
        self._database = database
        self._clock = clock
        self._times: dict[str, datetime] = {}

    def note(self, key_id: str) -> None:
        """A key is used now."""
        if key_id in self._times or len(self._times) < MAX_KEYS:
            self._times[key_id] = self._clock()

    async def write(self) -> None:
        """Write what was noted since the last time. Raises Unavailable; what is not written then waits for the next."""
        times, self._times = self._times, {}
        for batch in chunks(sorted(times), _BATCH):  # in one order, so that two replicas cannot deadlock
            try:
                await self._write([{"key": key_id, "at": times[key_id]} for key_id in batch])
            except BaseException:
                self._times = times | self._times
                raise
            for key_id in batch:
                del times[key_id]

    async def _write(self, rows: list[dict[str, object]]) -> None:
        row = ApiKey
        is_later = or_(row.last_used_at.is_(None), row.last_used_at < bindparam("at"))
        change = update(cast(Table, row.__table__)).where(row.id == bindparam("key"), is_later)
        async with self._database.transaction() as session:
            connection = await session.connection()
            await connection.execute(change.values(last_used_at=bindparam("at")), rows)

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(WRITE_EVERY_S)
            try:
                await self.write()
            except Exception as error:
                logger.warning("the last uses of keys are written later: %s", error)
