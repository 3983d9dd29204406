from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from deployments.stage_times import StageTimes, note_wait
from deployments.telemetry.metrics import QUEUE_SECONDS, SERVICE_SECONDS
from tests.support.recorder import RecordedMetrics

LABELS = {"stage": "s", "work": "w"}
FIRST = {"stage": "s", "work": "first_text"}


async def test_a_call_that_waits_in_two_queues_at_once_waited_as_long_as_in_the_longer_one() -> None:
    recorder = RecordedMetrics()

    async def wait(seconds: float) -> None:
        await asyncio.sleep(0.05)
        note_wait(seconds, shared=False)

    with StageTimes("s", recorder).call("w"):
        await asyncio.gather(wait(0.01), wait(0.02), wait(0.005))
    assert recorder.of(QUEUE_SECONDS) == [(LABELS, 0.02)]
    [(labels, service)] = recorder.of(SERVICE_SECONDS)
    assert labels == LABELS
    assert service >= 0.03


async def test_a_call_that_fails_is_not_recorded() -> None:
    recorder = RecordedMetrics()
    with pytest.raises(ValueError, match="bad"), StageTimes("s", recorder).call("w"):
        raise ValueError("bad")
    assert not recorder.values


async def test_an_answer_is_timed_until_its_first_text_and_closed_with_its_reader() -> None:
    recorder, closed = RecordedMetrics(), []

    async def answer() -> AsyncGenerator[str]:
        try:
            note_wait(0.001, shared=False)
            await asyncio.sleep(0.01)
            yield "first"
            await asyncio.sleep(0.1)
            yield "second"
            yield "third"
        finally:
            closed.append(True)

    with StageTimes("s", recorder).first_text(answer()) as deltas:
        assert [await anext(deltas), await anext(deltas)] == ["first", "second"]
        await deltas.aclose()
    assert recorder.of(QUEUE_SECONDS) == [(FIRST, 0.001)]
    [(labels, service)] = recorder.of(SERVICE_SECONDS)
    assert labels == FIRST
    assert service >= 0.008
    assert closed
