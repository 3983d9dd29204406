from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from deployments.errors import Overloaded
from deployments.generation.config import GenerationConfig
from deployments.generation.fake import FakeEngine
from deployments.types import GenerationLoad, GenerationRequest, StageStatus, TextDelta, Usage

MakeRequest = Callable[..., GenerationRequest]


async def collect(engine: FakeEngine, request: GenerationRequest) -> tuple[str, TextDelta]:
    deltas = [delta async for delta in engine.generate(request)]
    return "".join(delta.text for delta in deltas), deltas[-1]


async def test_echoes_the_question(request_for: MakeRequest) -> None:
    engine = FakeEngine(GenerationConfig(engine="fake"))
    text, last = await collect(engine, request_for("Koji je  rok\nza žalbu?"))
    assert text == "Koji je rok za žalbu?"
    assert last == TextDelta("", "stop", Usage(prompt_tokens=3, completion_tokens=5))


async def test_stops_at_its_limit(request_for: MakeRequest) -> None:
    engine = FakeEngine(GenerationConfig(engine="fake"))
    text, last = await collect(engine, request_for("a b c d", max_tokens=2))
    assert (text, last.finish_reason, last.usage) == ("a b", "length", Usage(3, 2))


async def test_more_than_its_slots_wait_and_then_run(request_for: MakeRequest) -> None:
    engine = FakeEngine(GenerationConfig(engine="fake", max_num_seqs=2, max_waiting=8))
    first, second = (engine.generate(request_for(query_id=f"r{n}")) for n in range(2))
    await anext(first)
    await anext(second)
    third = asyncio.create_task(collect(engine, request_for(query_id="w")))
    await asyncio.sleep(0)
    assert await engine.load() == GenerationLoad(running=2, waiting=1)
    await first.aclose()
    assert (await third)[0] == "a b c"
    await second.aclose()
    assert await engine.load() == GenerationLoad(running=0, waiting=0)


async def test_beyond_its_queue_it_is_overloaded(request_for: MakeRequest) -> None:
    engine = FakeEngine(GenerationConfig(engine="fake", max_num_seqs=1, max_waiting=1))
    running = engine.generate(request_for(query_id="r"))
    await anext(running)
    waiting = asyncio.create_task(collect(engine, request_for(query_id="w")))
    await asyncio.sleep(0)
    with pytest.raises(Overloaded, match=r"generation\.max_waiting"):
        await anext(engine.generate(request_for(query_id="x")))
    await running.aclose()
    assert (await waiting)[1].finish_reason == "stop"


async def test_an_abort_ends_a_running_query(request_for: MakeRequest) -> None:
    engine = FakeEngine(GenerationConfig(engine="fake"))
    stream = engine.generate(request_for("a b c"))
    await anext(stream)
    assert not await engine.abort("other", "q")
    assert await engine.abort("t", "q")
    assert [delta async for delta in stream] == [TextDelta("", "cancelled", Usage(3, 1))]


async def test_an_abort_ends_a_waiting_query_without_a_slot(request_for: MakeRequest) -> None:
    engine = FakeEngine(GenerationConfig(engine="fake", max_num_seqs=1))
    running = engine.generate(request_for(query_id="r"))
    await anext(running)
    waiting = asyncio.create_task(collect(engine, request_for(query_id="w")))
    await asyncio.sleep(0)
    assert await engine.abort("t", "w")
    text, last = await waiting
    assert (text, last.finish_reason) == ("", "cancelled")
    assert await engine.load() == GenerationLoad(running=1, waiting=0)
    await running.aclose()


async def test_an_abort_that_came_first(request_for: MakeRequest) -> None:
    engine = FakeEngine(GenerationConfig(engine="fake"))
    assert not await engine.abort("t", "q")
    text, last = await collect(engine, request_for())
    assert (text, last.finish_reason) == ("", "cancelled")


async def test_a_cancelled_task_frees_its_place_in_the_queue(request_for: MakeRequest) -> None:
    engine = FakeEngine(GenerationConfig(engine="fake", max_num_seqs=1))
    running = engine.generate(request_for(query_id="r"))
    await anext(running)
    waiting = asyncio.create_task(collect(engine, request_for(query_id="w")))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert await engine.load() == GenerationLoad(running=1, waiting=0)
    await running.aclose()


async def test_counts_words_and_says_what_it_is() -> None:
    engine = FakeEngine(GenerationConfig(engine="fake"))
    assert await engine.count_tokens(["", "a b"]) == [0, 2]
    assert await engine.status() == StageStatus(ready=True, engine="fake")
