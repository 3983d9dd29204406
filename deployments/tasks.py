"""Tasks that outlive the request in which they were started."""

from __future__ import annotations

import asyncio
import contextvars
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


def spawn_detached(work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """Run `work` as a task that outlives the request that starts it. The caller must keep a reference to the task.

    A plain task inherits the request's context, and Serve cancels what runs in that context when the request ends.
    """
    return asyncio.get_running_loop().create_task(work, context=contextvars.Context())


class Background(ABC):
    """A service of one task, which runs from `start` to `stop` or `close`."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running: asyncio.Task[None] | None = None

    @abstractmethod
    async def _run(self) -> None: ...

    def start(self) -> None:
        """Start the task in the running loop. Idempotent."""
        if self._running is None:
            self._loop = asyncio.get_running_loop()
            self._running = spawn_detached(self._run())

    def stop(self) -> None:
        """Cancel the task, from any thread."""
        if self._running is not None:
            self._call_soon(self._running.cancel)

    async def close(self) -> None:
        """Cancel the task, and return once it has ended."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])

    def _call_soon(self, callback: Callable[[], object]) -> None:
        """Call back in the task's loop, from any thread. Does nothing before `start` and after the loop has closed."""
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(callback)
