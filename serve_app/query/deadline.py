"""A query's time budget, shared by all stages."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from deployments.errors import DeadlineExceeded

T = TypeVar("T")
U = TypeVar("U")
V = TypeVar("V")


class Deadline:
    """Ends `seconds` from now. Work that does not finish in time raises DeadlineExceeded, which names the stage."""

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + seconds

    def remaining(self) -> float:
        return max(0.0, self._end - self._clock())

    async def wait(
        self, stage: str, work: Awaitable[T], *, at_most: float = math.inf, share: float = 1.0, setting: str = ""
    ) -> T:
        """The result of `work`. Waits for `share` of the time until the deadline, or `at_most` seconds if that is less.

        The error names the limit that was met, and the `setting` that `at_most` comes from, if that is given. A larger
        deadline helps against one of the limits only.
        """
        allowed = share * self.remaining()
        limit = min(at_most, allowed)
        if not limit and asyncio.iscoroutine(work):
            work.close()  # it never started, and nothing will await it
        try:
            if not limit:
                raise TimeoutError
            async with asyncio.timeout(limit):
                return await work
        except TimeoutError:
            if at_most < allowed:
                named = f" ({setting})" if setting else ""
                reason = f"{stage} took longer than the {at_most:g} s that the service waits{named}; try again later"
            else:
                reason = f"{stage} did not finish within the deadline; send a larger X-Deadline-Ms"
            raise DeadlineExceeded(reason) from None

    async def iterate(self, stage: str, stream: AsyncIterator[T], *, first_within: float) -> AsyncIterator[T]:
        """The items of `stream`; the first must come within `first_within` seconds."""
        limit = first_within
        while True:
            try:
                item = await self.wait(stage, anext(stream), at_most=limit, setting="api.first_token_s")
            except StopAsyncIteration:
                return
            limit = math.inf
            yield item


async def gather_three(first: Awaitable[T], second: Awaitable[U], third: Awaitable[V]) -> tuple[T, U, V]:
    """The three results. If one fails, the others are cancelled and its error is raised itself, not in a group."""
    tasks = asyncio.ensure_future(first), asyncio.ensure_future(second), asyncio.ensure_future(third)
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()


class Stopwatch:
    """Milliseconds by stage, in the order in which the stages ran."""

    def __init__(self, waited_s: float = 0.0) -> None:
        """`waited_s`: how long the query has waited for its slot. That is its first stage."""
        self._start = time.perf_counter() - waited_s
        self.timings: dict[str, float] = {"slot": round(1000 * waited_s, 2)} if waited_s else {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        began = time.perf_counter()
        try:
            yield
        finally:
            self.timings[name] = round(1000 * (time.perf_counter() - began), 2)

    def mark_once(self, name: str) -> None:
        if name not in self.timings:
            self.mark(name)

    def mark(self, name: str) -> None:
        """Milliseconds from the start of the query until now."""
        self.timings[name] = round(1000 * (time.perf_counter() - self._start), 2)
