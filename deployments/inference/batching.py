"""What concurrent calls ask of a model → its forward passes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from deployments.errors import Overloaded
from deployments.inference.packing import Room, Sized, Waiting

S = TypeVar("S", bound=Sized)
R = TypeVar("R")


class Batching(Generic[S, R]):
    """A lane that is free takes what fills one pass from all that waits, whoever asked for it; it never waits for more.

    What waits is shared among the lanes, so that the passes of one large call end at about the same time. What a call
    that is gone had waiting is not computed. For one event loop.
    """

    def __init__(
        self,
        name: str,
        forward: Callable[[list[S]], Iterable[R]],
        threads: ThreadPoolExecutor,
        *,
        lanes: int,
        room: Room,
        most_waiting: int,
    ) -> None:
        """`forward`: one pass, called on one of `threads`; `lanes` of them run at the same time. `most_waiting`: a call
        that finds more items waiting is refused, and the refusal says `name`."""
        self.failed = False
        """Whether the last pass did."""
        self._name = name
        self._forward = forward
        self._threads = threads
        self._lanes = self._idle = lanes
        self._open = 0
        self._tasks = set[asyncio.Task[None]]()
        self._waiting = Waiting[_Asked[S, R]](room)
        self._most_waiting = most_waiting

    def __len__(self) -> int:
        """Items that wait for a pass."""
        return len(self._waiting)

    async def results(self, items: Sequence[S]) -> list[R]:
        """What the model makes of each item.

        Raises Overloaded if too many wait already, else what `forward` raises. A pass that fails is tried again for
        each call apart: what one of them sent must not fail the others.
        """
        if not items:
            return []
        if len(self._waiting) > self._most_waiting:
            raise Overloaded(f"{self._name} has {len(self._waiting):,} texts waiting, more than it keeps; try again")
        call = _Call[R]([None] * len(items), len(items), asyncio.get_running_loop().create_future())
        asked = [_Asked(item, item.tokens, call, at) for at, item in enumerate(items)]
        self._waiting.add(asked)
        for _ in range(min(self._lanes - self._open, len(asked))):
            self._open += 1
            lane = asyncio.create_task(self._lane())
            self._tasks.add(lane)
            lane.add_done_callback(self._tasks.discard)
        try:
            return await call.done
        finally:
            self._waiting.remove(asked)

    async def _lane(self) -> None:
        try:
            while taken := self._waiting.take(self._idle):
                self._idle -= 1
                try:
                    await self._pass(taken)
                finally:
                    self._idle += 1
        finally:
            self._open -= 1  # at once: what comes now has no lane that looks again

    async def _pass(self, taken: list[_Asked[S, R]]) -> None:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._threads, self._forward, [asked.item for asked in taken])
        except Exception as error:
            self.failed = True
            calls = {asked.call for asked in taken}
            if len(calls) == 1:
                calls.pop().fail(error)
                return
            for call in calls:
                await self._pass([asked for asked in taken if asked.call is call])
        else:
            self.failed = False
            for asked, result in zip(taken, found, strict=True):
                asked.call.put(asked.at, result)


@dataclass(eq=False, slots=True)
class _Call(Generic[R]):
    found: list[Any]
    left: int
    done: asyncio.Future[list[R]]

    def put(self, at: int, result: R) -> None:
        self.found[at] = result
        self.left -= 1
        if not self.left and not self.done.done():
            self.done.set_result(self.found)

    def fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)


@dataclass(frozen=True, eq=False, slots=True)
class _Asked(Generic[S, R]):
    item: S
    tokens: int
    call: _Call[R]
    at: int
    """Its place in the call."""
