"""Questions that differ only in their vectors share one call to the index."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from deployments.stage_times import note_wait
from deployments.tasks import spawn_detached
from deployments.telemetry import spans, tracing
from deployments.telemetry.stage_spans import Caller, begin_shared

K = TypeVar("K", bound=Hashable)
Q = TypeVar("Q")
A = TypeVar("A")


class Coalescing(Generic[K, Q, A]):
    """Questions (`Q`) under one key (`K`) share a call, which gives each its answer (`A`). Other keys never share it.

    A question does not wait while fewer than `max_calls` calls are under way. Otherwise it waits with the others of
    its key; keys take turns. Lives in one event loop.
    """

    def __init__(
        self, call: Callable[[K, Sequence[Q]], Awaitable[Sequence[A]]], *, max_questions: int, max_calls: int
    ) -> None:
        """`call` gets a key and at most `max_questions` questions, and answers each in order. What it raises goes to
        the callers whose questions were in that call, and to no others."""
        self._call = call
        self._max_questions = max_questions
        self._free_calls = max_calls
        self._waiting: dict[K, list[_Asked[Q, A]]] = {}
        self._running: set[asyncio.Task[None]] = set()

    async def ask(self, key: K, question: Q) -> A:
        """The question's answer. A caller that is cancelled while it waits is left out of the call."""
        loop = asyncio.get_running_loop()
        asked: _Asked[Q, A] = _Asked(question, loop.create_future(), Caller.current())
        self._waiting.setdefault(key, []).append(asked)
        # Not at once: questions of the same turn of the loop are to share the call.
        loop.call_soon(self._start_calls)
        answer = await asked.answer
        note_wait(asked.waited_s, shared=asked.is_shared)
        return answer

    def _start_calls(self) -> None:
        while self._free_calls and self._waiting:
            key = next(iter(self._waiting))
            asked = [each for each in self._waiting.pop(key) if not each.answer.done()]
            batch, later = asked[: self._max_questions], asked[self._max_questions :]
            if later:
                self._waiting[key] = later
            if batch:
                self._free_calls -= 1
                # Detached: the call also answers questions of other requests than the one that starts it.
                task = spawn_detached(self._answer(key, batch))
                self._running.add(task)
                task.add_done_callback(self._call_ended)

    async def _answer(self, key: K, asked: Sequence[_Asked[Q, A]]) -> None:
        for each in asked:
            each.begin(shared=len(asked) > 1)
        try:
            with tracing.CurrentSpan(begin_shared(spans.INDEX_CALL, [each.caller for each in asked], len(asked))):
                results = await self._call(key, [each.question for each in asked])
            for each, result in zip(asked, results, strict=True):
                if not each.answer.done():
                    each.answer.set_result(result)
        except Exception as error:
            for each in asked:
                if not each.answer.done():
                    each.answer.set_exception(error)

    def _call_ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        self._free_calls += 1
        self._start_calls()


@dataclass(slots=True)
class _Asked(Generic[Q, A]):
    """A question, its answer to come, the call that asks it, and how long it waited."""

    question: Q
    answer: asyncio.Future[A]
    caller: Caller
    asked_at: float = field(default_factory=time.perf_counter)
    waited_s: float = 0.0
    is_shared: bool = False

    def begin(self, *, shared: bool) -> None:
        self.waited_s = time.perf_counter() - self.asked_at
        self.is_shared = shared
