"""Questions that differ in nothing but their vectors, gathered into one call."""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
Q = TypeVar("Q")
A = TypeVar("A")


class Gathering(Generic[K, Q, A]):
    """Questions under one key share a call; questions under different keys never do.

    Nothing waits while fewer than `calls` calls are under way. What comes meanwhile gathers under its key, at most
    `most` to a call; keys take turns. `call` gets a key and the questions asked under it, and answers each in order;
    what it raises goes to those in that call, and to nobody else. Lives in one event loop.
    """

    def __init__(self, call: Callable[[K, Sequence[Q]], Awaitable[Sequence[A]]], *, most: int, calls: int) -> None:
        self._call = call
        self._most = most
        self._free = calls
        self._waiting: dict[K, list[tuple[Q, asyncio.Future[A]]]] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def ask(self, key: K, question: Q) -> A:
        """A caller that is cancelled while it waits is left out of the call."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[A] = loop.create_future()
        self._waiting.setdefault(key, []).append((question, answer))
        # Not at once: who asks in the same turn of the loop comes along. In a context of its own, because Serve cancels
        # what a request has started when the request ends.
        loop.call_soon(self._start, context=contextvars.Context())
        return await answer

    def _start(self) -> None:
        while self._free and self._waiting:
            key = next(iter(self._waiting))
            asked = [each for each in self._waiting.pop(key) if not each[1].done()]
            if rest := asked[self._most :]:
                self._waiting[key] = rest
            if some := asked[: self._most]:
                self._free -= 1
                task = asyncio.create_task(self._answer(key, some))
                self._running.add(task)
                task.add_done_callback(self._ended)

    async def _answer(self, key: K, asked: Sequence[tuple[Q, asyncio.Future[A]]]) -> None:
        try:
            answers = await self._call(key, [question for question, _ in asked])
            for (_, future), answer in zip(asked, answers, strict=True):
                if not future.done():
                    future.set_result(answer)
        except Exception as error:
            for _, future in asked:
                if not future.done():
                    future.set_exception(error)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._free += 1
        self._start()
