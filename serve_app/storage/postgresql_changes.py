"""Changes told between processes by PostgreSQL's LISTEN and NOTIFY.

LISTEN belongs to a connection to the server. A pooler in transaction mode, such as PgBouncer, accepts it and forwards
nothing. So each listener sends itself a word through the pool. While that does not arrive, nothing is heard, and the
log says so once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Iterator
from typing import Any, Final
from uuid import uuid4

from sqlalchemy import exc
from sqlalchemy.ext.asyncio import AsyncEngine

from deployments.errors import Unavailable
from deployments.tasks import Background, spawn_detached
from serve_app.storage.changes import Tell

logger = logging.getLogger(__name__)

CHANNEL: Final = "rag_changes"
GATHER_S: Final = 0.1
"""A process sends at most once in this time: one short transaction for all that changed meanwhile."""
MAX_GATHERED: Final = 10_000
"""Keys that may wait to be sent. Of more, every listener is told that anything may have changed."""
_EVERYTHING: Final = "*"
_IN_ONE: Final = 100
"""Keys in one notification. PostgreSQL takes 8,000 bytes, and a job's id has at most 64."""
PROBE_S: Final = 5.0
"""How long a listener's own word may take."""
PROBE_EVERY_S: Final = 30.0
RETRY_S: Final = 5.0
"""Seconds until the next attempt to listen."""
Send = Callable[[list[str]], Coroutine[Any, Any, None]]
"""Sends the payloads through the database's pool. Raises Unavailable."""


class _NotHeard(Exception):
    """Nothing arrives on a connection that listens."""


class PostgresqlNotices(Background):
    """`connect`: an engine whose connection may listen. `remedy`: what to do if nothing is heard by it."""

    def __init__(self, connect: Callable[[], AsyncEngine], send: Send, wake: Tell, remedy: str) -> None:
        super().__init__()
        self.is_heard = False
        self._connect = connect
        self._send = send
        self._wake = wake
        self._remedy = remedy
        self._name = uuid4().hex
        self._gathered: set[str] = set()
        self._sending: asyncio.Task[None] | None = None
        self._was_told = False
        """Whether the log says that nothing is heard."""
        self._probed = asyncio.Event()

    def tell(self, keys: Collection[str]) -> None:
        self._gathered |= set(keys)
        if len(self._gathered) > MAX_GATHERED:
            self._gathered = {_EVERYTHING}
        if self._sending is None or self._sending.done():
            self._sending = spawn_detached(self._send_gathered())

    async def close(self) -> None:
        if self._sending is not None:
            self._sending.cancel()
            await asyncio.wait([self._sending])
            await self._send_now()
        await super().close()

    async def _send_gathered(self) -> None:
        while self._gathered:
            await self._send_now()
            await asyncio.sleep(GATHER_S)

    async def _send_now(self) -> None:
        keys, self._gathered = sorted(self._gathered), set()
        if keys:
            try:
                await self._send([f"{self._name} {' '.join(some)}" for some in _pieces(keys)])
            except asyncio.CancelledError:  # `close` sends them
                self._gathered |= set(keys)
                raise
            except Unavailable as error:  # those who wait look by themselves after a while
                logger.warning("%d changes were not told to other replicas: %s", len(keys), error)

    async def _run(self) -> None:
        from asyncpg import InterfaceError, PostgresError  # SQLite needs no driver of PostgreSQL

        lost = (_NotHeard, exc.DBAPIError, PostgresError, InterfaceError, OSError, TimeoutError, Unavailable)
        while True:
            try:
                await self._listen()
            except lost as error:
                self._lose(error)
            finally:
                self.is_heard = False
            await asyncio.sleep(RETRY_S)

    async def _listen(self) -> None:
        """Until the connection ends, or nothing is heard on it. Then it raises."""
        engine = self._connect()
        try:
            async with engine.connect() as connection:
                driver: Any = (await connection.get_raw_connection()).driver_connection
                ended = asyncio.Event()
                driver.add_termination_listener(lambda _: ended.set())
                await driver.add_listener(CHANNEL, self._hear)
                while not ended.is_set():
                    await self._probe()
                    await _set_within(ended, PROBE_EVERY_S if self.is_heard else RETRY_S)
                raise _NotHeard("the connection that listens has ended")
        finally:
            await engine.dispose()

    async def _probe(self) -> None:
        """Raises _NotHeard. A word that cannot be sent (the pool may be exhausted) says nothing of what arrives."""
        self._probed.clear()
        try:
            await self._send([self._name])
        except Unavailable as error:
            logger.info("whether changes are heard was not probed: %s", error)
            return
        if not await _set_within(self._probed, PROBE_S):
            raise _NotHeard("what is sent does not arrive")
        if not self.is_heard:
            self.is_heard = True
            if self._was_told:
                logger.warning("changes of other replicas are heard again")
            self._was_told = False
            self._wake(None)  # what was told meanwhile was not heard

    def _lose(self, error: Exception) -> None:
        if not self._was_told:
            logger.warning(
                "changes of other replicas are not heard (%s), so jobs that are followed are read every "
                "api.job_poll_s: %s",
                error,
                self._remedy,
            )
        self._was_told = True
        self.is_heard = False
        self._wake(None)

    def _hear(self, connection: object, pid: int, channel: str, payload: object) -> None:
        sender, *keys = str(payload).split()
        if sender != self._name:
            self._wake(None if _EVERYTHING in keys else keys)
        elif not keys:
            self._probed.set()


def _pieces(keys: list[str]) -> Iterator[list[str]]:
    for start in range(0, len(keys), _IN_ONE):
        yield keys[start : start + _IN_ONE]


async def _set_within(event: asyncio.Event, within_s: float) -> bool:
    try:
        async with asyncio.timeout(within_s):
            await event.wait()
    except TimeoutError:
        return False
    return True
