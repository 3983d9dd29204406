"""Shares a model's forward passes among concurrent calls."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from deployments.errors import Overloaded
from deployments.inference.packing import PassLimits, PassQueue, Sized
from deployments.stage_times import note_wait
from deployments.telemetry import spans, tracing
from deployments.telemetry.metrics import BATCH_FILL, NO_RECORDER, Recorder
from deployments.telemetry.stage_spans import Caller, begin_shared

S = TypeVar("S", bound=Sized)
R = TypeVar("R")


class Batcher(Generic[S, R]):
    """Runs items (`S`) of many calls through a model, which gives one result (`R`) for each.

    All items wait in one queue. A free worker takes one pass's worth of them, from whichever calls, and never waits
    for more. Items of a cancelled call are taken out of the queue. Lives in one event loop.
    """

    def __init__(
        self,
        name: str,
        forward: Callable[[list[S]], Iterable[R]],
        threads: ThreadPoolExecutor,
        *,
        workers: int,
        limits: PassLimits,
        max_waiting: int,
        work: str = "",
        recorder: Recorder = NO_RECORDER,
    ) -> None:
        """`forward` computes one pass on one of `threads`; at most `workers` passes run at once. A call that finds more
        than `max_waiting` items in the queue is refused, with `name` in the error. `name` and `work` are the labels of
        what is recorded."""
        self.failed = False
        """Whether the last pass failed."""
        self._name = name
        self._forward = forward
        self._threads = threads
        self._max_workers = self._idle_workers = workers
        self._workers = set[asyncio.Task[None]]()
        self._open_workers = 0
        self._queue = PassQueue[_Item[S, R]](limits)
        self._limits = limits
        self._work_name = work
        self._recorder = recorder
        self._max_waiting = max_waiting

    def __len__(self) -> int:
        """Items that wait for a pass."""
        return len(self._queue)

    async def results(self, inputs: Sequence[S]) -> list[R]:
        """The model's result for each input, in order.

        Raises Overloaded if too many items wait already, else what `forward` raises. A pass that fails is run again
        for each of its calls alone, so that one call's input does not fail another call.
        """
        if not inputs:
            return []
        if len(self._queue) > self._max_waiting:
            raise Overloaded(f"{self._name} has {len(self._queue):,} texts waiting, more than it keeps; try again")
        done = asyncio.get_running_loop().create_future()
        call = _Call[R]([None] * len(inputs), len(inputs), done, Caller.current())
        items = [_Item(item, item.tokens, call, position) for position, item in enumerate(inputs)]
        self._queue.add(items)
        for _ in range(min(self._max_workers - self._open_workers, len(items))):
            self._start_worker()
        try:
            return await call.done
        finally:
            self._queue.remove(items)
            note_wait(call.waited_s, shared=call.is_shared)

    def _start_worker(self) -> None:
        self._open_workers += 1
        worker = asyncio.create_task(self._work())
        self._workers.add(worker)
        worker.add_done_callback(self._workers.discard)

    async def _work(self) -> None:
        """Run passes until the queue is empty."""
        try:
            # Idle workers share what waits, so that the passes of one large call end at about the same time.
            while batch := self._queue.take(shares=self._idle_workers):
                self._idle_workers -= 1
                self._note_pass(batch)
                try:
                    await self._run_pass(batch)
                finally:
                    self._idle_workers += 1
        finally:
            # Not in the task's callback: until that runs, a new call would count on this worker, which has ended.
            self._open_workers -= 1

    def _note_pass(self, batch: Sequence[_Item[S, R]]) -> None:
        now, calls = time.perf_counter(), {item.call for item in batch}
        for call in calls:
            call.first_pass_at = call.first_pass_at or now
            call.is_shared |= len(calls) > 1
        padded = len(batch) * max(item.tokens for item in batch)
        fill = max(len(batch) / self._limits.items, min(1.0, padded / self._limits.tokens))
        self._recorder.record(BATCH_FILL, fill, stage=self._name, work=self._work_name)

    async def _run_pass(self, batch: list[_Item[S, R]]) -> None:
        calls = dict.fromkeys(item.call for item in batch)
        with tracing.CurrentSpan(begin_shared(spans.PASS, [call.caller for call in calls], len(batch))) as span:
            for call in calls:
                call.caller = call.caller.served()
            failed = await self._compute(batch)
            tracing.mark(span, failed)
        if failed is None:
            return
        if len(calls) == 1:
            batch[0].call.fail(failed)
            return
        for call in calls:
            await self._run_pass([item for item in batch if item.call is call])

    async def _compute(self, batch: list[_Item[S, R]]) -> Exception | None:
        """Give each item of a pass its result, or return why the pass failed."""
        loop = asyncio.get_running_loop()
        try:
            results = await loop.run_in_executor(self._threads, self._forward, [item.input for item in batch])
        except Exception as error:
            self.failed = True
            return error
        self.failed = False
        for item, result in zip(batch, results, strict=True):
            item.call.put(item.position, result)
        return None


@dataclass(eq=False, slots=True)
class _Call(Generic[R]):
    """One caller's results. `done` is set with all of them once `remaining` is 0. `is_shared`: another call's items
    were in one of its passes."""

    results: list[Any]
    remaining: int
    done: asyncio.Future[list[R]]
    caller: Caller
    made_at: float = field(default_factory=time.perf_counter)
    first_pass_at: float = 0.0
    is_shared: bool = False

    @property
    def waited_s(self) -> float:
        """Until its first pass, or until now."""
        return (self.first_pass_at or time.perf_counter()) - self.made_at

    def put(self, position: int, result: R) -> None:
        self.results[position] = result
        self.remaining -= 1
        if not self.remaining and not self.done.done():
            self.done.set_result(self.results)

    def fail(self, error: Exception) -> None:
        if not self.done.done():
            self.done.set_exception(error)


@dataclass(frozen=True, eq=False, slots=True)
class _Item(Generic[S, R]):
    """One input of a call; `position` is its place among the call's inputs."""

    input: S
    tokens: int
    call: _Call[R]
    position: int
