"""What changed in the database, told to those who wait for it, in place of their asking again and again.

A transaction marks keys, such as a job's id, and they are told once it is committed. In the same process that is at
once. Other processes are told by `NOTIFY` on PostgreSQL (postgresql_changes.py). On SQLite they look whether the file
has changed (sqlite_changes.py). What is told may be lost, so a waiter looks by itself from time to time, too.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from typing import Final, Protocol
from weakref import WeakKeyDictionary

from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Session

_MARKED: Final = "changes"
Tell = Callable[[Collection[str] | None], None]
"""Wakes those who wait for the keys, or for any key where it is None."""


class OtherProcesses(Protocol):
    """How other processes that use the database are told, and tell. `is_heard`: whether their changes arrive."""

    is_heard: bool

    def start(self) -> None:
        """Begin to listen. Idempotent."""

    def tell(self, keys: Collection[str]) -> None:
        """Never waits."""

    async def close(self) -> None: ...


def mark(session: AsyncSession | Session, key: str) -> None:
    """Have a key told when the session's transaction has been committed. It may hold no blanks."""
    session.info.setdefault(_MARKED, set()).add(key)


def marked(session: AsyncSession | Session) -> Collection[str]:
    """The keys that were marked in the session's transaction."""
    keys: Collection[str] = session.info.get(_MARKED, ())
    return keys


class Watch:
    """A waiter for one key."""

    def __init__(self) -> None:
        self.told = asyncio.Event()

    async def changed(self, within_s: float) -> None:
        """Return once the key was told after the last call, or after `within_s` seconds."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self.told.wait()
        self.told.clear()


class _OfLoop:
    """The waiters of one event loop."""

    def __init__(self, connect: Callable[[Tell, asyncio.Event], OtherProcesses]) -> None:
        self.watches: defaultdict[str, set[Watch]] = defaultdict(set)
        self.is_watched = asyncio.Event()
        self.others = connect(self.wake, self.is_watched)

    def wake(self, keys: Collection[str] | None) -> None:
        for key in self.watches if keys is None else keys:
            for watch in self.watches.get(key, ()):
                watch.told.set()


class Changes:
    """`connect`: makes the way to other processes, of what wakes this one's waiters, and of an event that is set while
    there are any. There is one for each event loop."""

    def __init__(self, connect: Callable[[Tell, asyncio.Event], OtherProcesses]) -> None:
        self._connect = connect
        self._loops: WeakKeyDictionary[asyncio.AbstractEventLoop, _OfLoop] = WeakKeyDictionary()

    @property
    def are_heard(self) -> bool:
        """Whether other processes' changes arrive, as far as is known."""
        return self._of_loop().others.is_heard

    def tell(self, keys: Collection[str]) -> None:
        """Tell all processes. Call after what has changed is committed."""
        if keys:
            self._of_loop().wake(keys)
            self._of_loop().others.tell(keys)

    @contextmanager
    def watch(self, key: str) -> Iterator[Watch]:
        """Begin this before you read. Then no change after the read is missed."""
        of_loop, watch = self._of_loop(), Watch()
        of_loop.watches[key].add(watch)
        of_loop.is_watched.set()
        of_loop.others.start()
        try:
            yield watch
        finally:
            of_loop.watches[key].discard(watch)
            if not of_loop.watches[key]:
                del of_loop.watches[key]
            if not of_loop.watches:
                of_loop.is_watched.clear()

    async def close(self) -> None:
        """End what runs in this event loop. The next use begins anew."""
        of_loop = self._loops.pop(asyncio.get_running_loop(), None)
        if of_loop is not None:
            await of_loop.others.close()

    def _of_loop(self) -> _OfLoop:
        loop = asyncio.get_running_loop()
        if loop not in self._loops:
            self._loops[loop] = _OfLoop(self._connect)
        return self._loops[loop]
