"""Long work on all tenants, which one replica at a time does under a lease, and which another one goes on with.

A round begins `every_s` seconds after the last one began. `cursor` is the last tenant that is done in it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from serve_app.storage.database import Database, insert
from serve_app.storage.declarative import utc_now
from serve_app.storage.tables import Sweep

LEASE_S: Final = 60.0
"""How long a replica may work on a round without a sign of it, before another one goes on."""


class Sweeps:
    """`holder` must be unique among replicas."""

    def __init__(self, database: Database, holder: str, *, clock: Callable[[], datetime] = utc_now) -> None:
        self.database = database
        self.holder = holder
        self.clock = clock

    async def claim(self, name: str, *, every_s: float) -> str | None:
        """The cursor to go on from, empty for a new round. None: nothing is to do, or another replica does it."""
        now = self.clock()
        async with self.database.transaction() as session:
            new = insert(session, Sweep).values(name=name, holder="", removed={}).on_conflict_do_nothing()
            await session.execute(new)
            row = await session.scalar(select(Sweep).where(Sweep.name == name).with_for_update())
            assert row is not None
            if row.lease_until is not None and row.lease_until > now:
                return None
            if row.cursor is None:
                if row.began_at is not None and now < row.began_at + timedelta(seconds=every_s):
                    return None
                row.cursor, row.began_at, row.removed = "", now, {}
            row.holder, row.lease_until = self.holder, now + timedelta(seconds=LEASE_S)
            await session.flush()
            return row.cursor

    async def go_on(self, name: str, cursor: str, removed: Counter[str]) -> bool:
        """Record how far the round is, and renew the lease. False if another replica has it by now."""
        return await self._record(name, cursor, removed)

    async def end(self, name: str, removed: Counter[str]) -> None:
        """End the round."""
        await self._record(name, None, removed)

    async def _record(self, name: str, cursor: str | None, removed: Counter[str]) -> bool:
        now = self.clock()
        async with self.database.transaction() as session:
            this = (Sweep.name == name, Sweep.holder == self.holder, Sweep.lease_until.is_not(None))
            row = await session.scalar(select(Sweep).where(*this).with_for_update())
            if row is None:
                return False
            row.removed = dict(Counter(row.removed) + removed)
            row.cursor = cursor
            row.lease_until = None if cursor is None else now + timedelta(seconds=LEASE_S)
            row.ended_at = now if cursor is None else row.ended_at
            await session.flush()
            return True


async def last(session: AsyncSession, name: str) -> Sweep | None:
    """The row of the round that goes on, or of the last one."""
    return await session.get(Sweep, name)
