"""The state of one query while it runs."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

from deployments.telemetry import tracing
from serve_app.query.deadline import Deadline, Stopwatch
from serve_app.query.degradation import Degraded
from serve_app.query.ports import Generator
from serve_app.query.request import Query

T = TypeVar("T")


class QueryRun:
    """A query with its deadline, its timings and the stages that it does without."""

    def __init__(self, query: Query) -> None:
        self.query = query
        self.deadline = Deadline(query.deadline_s)
        self.stopwatch = Stopwatch(query.waited_s)
        self.degraded = Degraded()
        self.asked: Generator | None = None
        """What has been sent the query and may be working on it."""
        self.is_complete = False

    async def wait_or(self, stage: str, work: Awaitable[T], *, fallback: T, at_most: float) -> T:
        """The result of `work`, or `fallback` if the stage is down, full or late.

        It is late after `at_most` seconds, or after half of the remaining deadline if that is less.
        """
        waiting = _traced(stage, self.deadline.wait(stage, work, at_most=at_most, share=0.5))
        return await self.degraded.or_fallback(stage, waiting, fallback)

    async def wait(self, stage: str, work: Awaitable[T]) -> T:
        """The result of `work`, which has until the deadline."""
        return await _traced(stage, self.deadline.wait(stage, work))


async def _traced(stage: str, work: Awaitable[T]) -> T:
    """The result of `work`, with a span of the stage's name, which is current while `work` runs."""
    with tracing.span(stage):
        return await work
