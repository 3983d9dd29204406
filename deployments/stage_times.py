"""How long a call waits in a stage's replica, and how long the replica works on it.

With what its caller measures (CALL_SECONDS), this leaves the time that Serve and the network take.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

from deployments.telemetry.metrics import NO_RECORDER, QUEUE_SECONDS, SERVICE_SECONDS, SHARED_CALLS, Recorder

T = TypeVar("T")
FIRST_TEXT = "first_text"
"""The work of a call that is measured until the first text of an answer."""


@dataclass(slots=True)
class CallTimes:
    """What has become of one call in the replica. A call that waits in two queues at once waited as long as in the
    longer one."""

    waited_s: float = 0.0
    is_shared: bool = False


_CALL: ContextVar[CallTimes | None] = ContextVar("stage call", default=None)


def note_wait(seconds: float, *, shared: bool) -> None:
    """Tell that the running call waited so long for a pass or a search, and whether that was also others'."""
    if (times := _CALL.get()) is not None:
        times.waited_s = max(times.waited_s, seconds)
        times.is_shared |= shared


class StageTimes:
    """Records the calls of one replica of a stage. A call that fails is not recorded."""

    def __init__(self, stage: str, recorder: Recorder = NO_RECORDER) -> None:
        self._stage = stage
        self._recorder = recorder

    @contextmanager
    def call(self, work: str) -> Iterator[None]:
        """`work`: what the call asks for, of few kinds."""
        times, began = CallTimes(), time.perf_counter()
        token = _CALL.set(times)
        try:
            yield
        finally:
            _CALL.reset(token)
        self.record(work, times, time.perf_counter() - began)

    def record(self, work: str, times: CallTimes, took_s: float) -> None:
        """`took_s`: the wait included."""
        waited_s = min(times.waited_s, took_s)
        self._recorder.record(QUEUE_SECONDS, waited_s, stage=self._stage, work=work)
        self._recorder.record(SERVICE_SECONDS, took_s - waited_s, stage=self._stage, work=work)
        if times.is_shared:
            self._recorder.record(SHARED_CALLS, 1, stage=self._stage, work=work)

    @contextmanager
    def first_text(self, answer: AsyncGenerator[T]) -> Iterator[AsyncGenerator[T]]:
        """The same answer, as a call that is over with its first item. It is to be read in here, by the same task."""
        times = CallTimes()
        token = _CALL.set(times)
        try:
            yield self._until_first(answer, times)
        finally:
            _CALL.reset(token)

    async def _until_first(self, answer: AsyncGenerator[T], times: CallTimes) -> AsyncGenerator[T]:
        """Closing this closes `answer`."""
        began, is_first = time.perf_counter(), True
        async with aclosing(answer):
            async for item in answer:
                if is_first:
                    self.record(FIRST_TEXT, times, time.perf_counter() - began)
                    is_first = False
                yield item
