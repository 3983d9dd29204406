"""The queue of those who write to a SQLite file, in the order in which they came.

SQLite lets chance choose the next writer. One that waits here needs no connection.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from weakref import WeakKeyDictionary

from deployments.errors import Unavailable

_PARTS: Final = 10
"""In how many parts a wait is measured. A pause of the event loop counts as one of them at most."""


class _Queue:
    """An asyncio.Lock that has waited refers to its event loop, which could then never be collected. This does not."""

    def __init__(self) -> None:
        self._is_taken = False
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def take(self, timeout_s: float) -> None:
        """Raises TimeoutError."""
        if not self._is_taken:
            self._is_taken = True
            return
        turn = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        try:
            for _ in range(_PARTS):
                done, _ = await asyncio.wait([turn], timeout=timeout_s / _PARTS)
                if done:
                    return
            raise TimeoutError
        except BaseException:
            if turn.done():  # it came while this was cancelled
                self.leave()
            else:
                self._waiting.remove(turn)
            raise

    def leave(self) -> None:
        """Hand the turn to the next one."""
        if self._waiting:
            self._waiting.popleft().set_result(None)
        else:
            self._is_taken = False


_queues: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, _Queue]] = WeakKeyDictionary()
"""By the file's URL. All instances of Database in an event loop share them."""


@asynccontextmanager
async def turn_to_write(url: str, timeout_s: float) -> AsyncIterator[None]:
    """Wait for the writers of this event loop and file that came before.

    Raises Unavailable if they take longer than `timeout_s` seconds. While the event loop stands still, they can do
    nothing, so that time does not count.
    """
    queue = _queues.setdefault(asyncio.get_running_loop(), {}).setdefault(url, _Queue())
    try:
        await queue.take(timeout_s)
    except TimeoutError as error:
        raise Unavailable(
            f"the database is busy: those who write took longer than {timeout_s:g} s; try again"
        ) from error
    try:
        yield
    finally:
        queue.leave()
