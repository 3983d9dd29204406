from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from deployments.errors import StageUnavailable
from deployments.generation.engine_watch import ASK_AFTER_S, EngineWatch

HUNG_S = 60.0


class Engine:
    """Answers calls while it `runs`; the calls so far, and the time."""

    def __init__(self) -> None:
        self.runs = asyncio.Event()
        self.runs.set()
        self.calls = 0
        self.now = 1_000.0
        self.watch = EngineWatch(self.ask, HUNG_S, lambda: self.now)

    async def ask(self) -> None:
        self.calls += 1
        await self.runs.wait()

    async def checked_after(self, seconds: float) -> None:
        self.now += seconds
        self.watch.check()
        for _ in range(3):
            await asyncio.sleep(0)


@pytest.fixture
async def engine() -> AsyncIterator[Engine]:
    engine = Engine()
    yield engine
    engine.watch.close()


async def test_an_engine_that_has_nothing_to_do_is_asked_and_is_healthy_for_ever(engine: Engine) -> None:
    for _ in range(100):
        await engine.checked_after(10 * HUNG_S)  # however seldom it is checked
    assert engine.calls == 100


async def test_an_engine_that_reports_steps_is_not_asked(engine: Engine) -> None:
    for _ in range(100):
        engine.watch.heard()
        await engine.checked_after(ASK_AFTER_S)
    assert engine.calls == 0


async def test_an_engine_that_neither_steps_nor_answers_hangs(engine: Engine) -> None:
    engine.runs.clear()
    await engine.checked_after(ASK_AFTER_S + 1)
    for _ in range(10):
        await engine.checked_after(HUNG_S / 10)
    assert (engine.calls, engine.watch.is_hung) == (1, False)
    with pytest.raises(StageUnavailable, match=r"not moved on for 60 s \(generation.hung_s\)"):
        await engine.checked_after(1)
    with pytest.raises(StageUnavailable):  # until it moves
        await engine.checked_after(1)
    assert engine.watch.is_hung
    engine.watch.heard()
    await engine.checked_after(1)


async def test_a_long_step_is_no_hang(engine: Engine) -> None:
    """The engine takes up calls between steps only."""
    for _ in range(3):
        engine.runs.clear()
        await engine.checked_after(HUNG_S / 2)
        await engine.checked_after(HUNG_S)
        engine.runs.set()
        await asyncio.sleep(0)
        await engine.checked_after(0)
        assert not engine.watch.is_hung
    assert engine.calls == 3


async def test_an_engine_that_fails_on_the_call_is_left_to_its_own_health_check(
    engine: Engine, caplog: pytest.LogCaptureFixture
) -> None:
    async def dead() -> None:
        raise RuntimeError("dead")

    watch = EngineWatch(dead, HUNG_S, lambda: engine.now)
    for _ in range(3):
        engine.now += HUNG_S + 1
        watch.check()
        await asyncio.sleep(0)
    assert "the engine failed on a call" in caplog.text
