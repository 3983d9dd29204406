from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from deployments.errors import StageUnavailable
from deployments.generation.coalescing import coalesced, pause_s
from deployments.generation.config import GenerationConfig
from deployments.generation.deployment import Generation
from deployments.types import GenerationRequest, TextDelta, Usage
from tests.unit.deployments.generation.test_deployment import MakeRequest

LAST = TextDelta("!", "stop", Usage(1, 4))


@pytest.mark.parametrize(("answers", "seconds"), [(1, 0.0), (2, 0.02), (4, 0.025), (400, 0.025)])
def test_text_waits_the_longer_the_more_answers_there_are_up_to_the_bound(answers: int, seconds: float) -> None:
    config = GenerationConfig(coalesce_ms=25, pieces_per_s=100)
    assert pause_s(config, answers) == seconds
    assert pause_s(config.model_copy(update={"coalesce_ms": 0.0}), answers) == 0


class Engine:
    """Gives its first text, and the others once it may go on."""

    def __init__(self, first: str, *others: str) -> None:
        self._first, self._others = first, others
        self.may_go_on = asyncio.Event()
        self.ended = asyncio.Event()

    async def deltas(self) -> AsyncGenerator[TextDelta]:
        yield TextDelta(self._first)
        await self.may_go_on.wait()
        for text in self._others:
            yield TextDelta(text)
        yield LAST
        self.ended.set()


async def test_the_first_delta_goes_out_at_once_and_the_next_after_the_pause_with_what_came_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    engine = Engine("a", "b", "c")
    pauses = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        engine.may_go_on.set()
        await engine.ended.wait()

    monkeypatch.setattr(asyncio, "sleep", sleep)
    deltas = [delta async for delta in coalesced(engine.deltas(), lambda: 0.02)]
    assert deltas == [TextDelta("a"), TextDelta("bc!", "stop", Usage(1, 4))]
    assert pauses == [0.02, 0.02]


async def test_a_slow_reader_gets_what_came_meanwhile_at_once() -> None:
    engine = Engine("a", "b", "c")
    texts = []
    async for delta in coalesced(engine.deltas(), lambda: 0):
        texts.append(delta.text)
        engine.may_go_on.set()
        await engine.ended.wait()
    assert texts == ["a", "bc!"]


async def test_what_came_before_a_failure_is_told() -> None:
    async def failing() -> AsyncGenerator[TextDelta]:
        yield TextDelta("a")
        yield TextDelta("b")
        raise StageUnavailable("gone")

    pieces = coalesced(failing(), lambda: 0)
    assert await anext(pieces) == TextDelta("ab")
    with pytest.raises(StageUnavailable, match="gone"):
        await anext(pieces)


@pytest.mark.parametrize("read", [0, 1])
async def test_closing_closes_the_engine_s_stream(read: int) -> None:
    closed = asyncio.Event()

    async def endless() -> AsyncGenerator[TextDelta]:
        try:
            while True:
                yield TextDelta("a")
                await asyncio.sleep(0)
        finally:
            closed.set()

    async with aclosing(coalesced(endless(), lambda: 0)) as pieces:
        for _ in range(read):
            await anext(pieces)
    assert closed.is_set() is (read > 0)


async def test_a_replica_s_answers_wait_for_each_other_and_a_lone_one_does_not(
    request_for: MakeRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Generation(GenerationConfig(engine="fake", coalesce_ms=10_000, pieces_per_s=0.001))
    words = " ".join(f"w{number}" for number in range(50))
    sleep, pauses = asyncio.sleep, set[float]()

    async def recorded(seconds: float) -> None:
        pauses.add(seconds)
        await sleep(0)

    async def text(request: GenerationRequest) -> str:
        return "".join([delta.text async for delta in stage.generate(request)])

    monkeypatch.setattr(asyncio, "sleep", recorded)
    assert await text(request_for(words)) == words
    assert pauses == {0.0}
    async with aclosing(stage.generate(request_for("a b", query_id="other"))) as other:
        await anext(other)
        assert await text(request_for(words)) == words
    assert pauses == {0.0, 10.0}
