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


async def engine(*texts: str, last: TextDelta = LAST) -> AsyncGenerator[TextDelta]:
    for text in texts:
        yield TextDelta(text)
        await asyncio.sleep(0)
    yield last


@pytest.mark.parametrize(("answers", "seconds"), [(1, 0.0), (2, 0.02), (4, 0.025), (400, 0.025)])
def test_text_waits_the_longer_the_more_answers_there_are_up_to_the_bound(answers: int, seconds: float) -> None:
    config = GenerationConfig(coalesce_ms=25, pieces_per_s=100)
    assert pause_s(config, answers) == seconds
    assert pause_s(config.model_copy(update={"coalesce_ms": 0.0}), answers) == 0


async def test_the_first_piece_goes_out_at_once_and_the_others_with_what_came_meanwhile() -> None:
    pieces = [piece async for piece in coalesced(engine("a", "b", "c"), lambda: 0.02)]
    assert pieces == [TextDelta("a"), TextDelta("bc!", "stop", Usage(1, 4))]


async def test_who_reads_slowly_has_what_came_meanwhile_at_once() -> None:
    pieces = []
    async for piece in coalesced(engine("a", "b", "c"), lambda: 0):
        pieces.append(piece.text)
        await asyncio.sleep(0.02)
    assert pieces == ["a", "bc!"]


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


async def test_a_replica_s_answers_wait_for_each_other_and_a_lone_one_does_not(request_for: MakeRequest) -> None:
    stage = Generation(GenerationConfig(engine="fake", coalesce_ms=10_000, pieces_per_s=0.001))
    words = [f"w{number}" for number in range(50)]

    async def last(request: GenerationRequest) -> str:
        return "".join([piece.text async for piece in stage.generate(request)])

    async with asyncio.timeout(5):
        assert await last(request_for(" ".join(words))) == " ".join(words)
    async with aclosing(stage.generate(request_for("a b", query_id="other"))) as other:
        await anext(other)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.1):
                await last(request_for(" ".join(words)))
