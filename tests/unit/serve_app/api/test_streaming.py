from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import aclosing

import pytest

from deployments.errors import StageUnavailable
from serve_app.api.streaming import EMPTY_LINE, PING, event, events, lines
from serve_app.query.answer_events import AnswerEvent, Chunk, Failure
from serve_app.schemas.queries import EVENT_TYPES
from tests.support.waiting import BOUND_S


def decode(block: bytes) -> dict[str, str]:
    return dict(line.split(": ", 1) for line in block.decode().strip().splitlines())


async def silent_until(heard: asyncio.Event) -> AsyncGenerator[AnswerEvent]:
    """Says `a`, and `b` once the reader has set `heard`."""
    yield Chunk("q", "a")
    async with asyncio.timeout(BOUND_S):
        await heard.wait()
    yield Chunk("q", "b")


def test_every_message_has_a_type() -> None:
    assert set(EVENT_TYPES) == set(AnswerEvent.__args__)


def test_an_event_is_one_line_of_json_with_letters_kept() -> None:
    fields = decode(event(Chunk("q", "čćšžđ\nnovi red"), 7))
    assert (fields["id"], fields["event"]) == ("7", "chunk")
    assert json.loads(fields["data"]) == {"type": "chunk", "query_id": "q", "content": "čćšžđ\nnovi red"}
    assert "čćšžđ" in fields["data"]


async def test_no_reader_of_lines_finds_an_end_within_a_message() -> None:
    text = "a\x85b\u2028c\u2029d\x0be\x1cf"

    async def answer() -> AsyncGenerator[AnswerEvent]:
        yield Chunk("q", text)

    (line,) = [line async for line in lines("7", "q", answer(), heartbeat_s=5)]
    for block in (event(Chunk("q", text), 1), line):
        (data,) = [line for line in block.decode().splitlines() if "chunk" in line and not line.startswith("event")]
        assert json.loads(data.removeprefix("data: "))["content"] == text


async def test_silence_is_filled_with_comments_and_nothing_is_lost() -> None:
    blocks, pinged = list[bytes](), asyncio.Event()
    async for block in events("q", silent_until(pinged), heartbeat_s=0.02):
        blocks.append(block)
        if block == PING:
            pinged.set()
    chunks = [decode(b) for b in blocks if b != PING]
    assert [json.loads(c["data"])["content"] for c in chunks] == ["a", "b"]
    assert [c["id"] for c in chunks] == ["1", "2"]


async def test_silence_between_lines_is_filled_with_empty_ones() -> None:
    told, filled = list[bytes](), asyncio.Event()
    async for line in lines("7", "q", silent_until(filled), heartbeat_s=0.02):
        told.append(line)
        if line == EMPTY_LINE:
            filled.set()
    assert [json.loads(line) for line in told if line != EMPTY_LINE] == [
        {"type": "chunk", "query_id": "q", "content": content, "id": "7"} for content in "ab"
    ]


async def test_an_error_is_the_last_event() -> None:
    async def broken() -> AsyncGenerator[AnswerEvent]:
        yield Chunk("q", "a")
        raise StageUnavailable("generation is gone")

    blocks = [decode(block) async for block in events("q", broken(), heartbeat_s=5)]
    assert [b["event"] for b in blocks] == ["chunk", "error"]
    assert json.loads(blocks[-1]["data"]) == {
        "type": "error", "query_id": "q", "error": "generation is gone", "code": "stage_unavailable", "retryable": True,
    }  # fmt: skip
    assert Failure in EVENT_TYPES


async def test_an_error_before_the_first_message_is_raised_but_not_after_a_heartbeat() -> None:
    failing = asyncio.Event()

    async def broken() -> AsyncGenerator[AnswerEvent]:
        await failing.wait()
        for message in (StageUnavailable("generation is gone"), Chunk("q", "a")):
            if isinstance(message, Exception):
                raise message
            yield message

    stream = events("q", broken(), heartbeat_s=0.01)
    assert await anext(stream) == PING
    failing.set()
    assert [decode(block)["event"] async for block in stream if block != PING] == ["error"]
    with pytest.raises(StageUnavailable):
        await anext(events("q", broken(), heartbeat_s=60))


@pytest.mark.parametrize("read", [0, 1, 2])
async def test_closing_the_events_closes_the_answer(read: int) -> None:
    closed = asyncio.Event()

    async def answer() -> AsyncGenerator[AnswerEvent]:
        try:
            yield Chunk("q", "a")
            yield Chunk("q", "b")
            await asyncio.sleep(60)
        finally:
            closed.set()

    source = answer()
    stream = events("q", source, heartbeat_s=0.01)
    for _ in range(read):
        await anext(stream)
    await stream.aclose()
    assert closed.is_set() == (read > 0)
    await source.aclose()


async def test_cancelling_while_waiting_cancels_the_answer() -> None:
    pinged, cancelled = asyncio.Event(), asyncio.Event()

    async def answer() -> AsyncGenerator[AnswerEvent]:
        try:
            await asyncio.sleep(60)
            yield Chunk("q", "a")
        except asyncio.CancelledError:
            cancelled.set()
            raise

    async def read() -> None:
        async for block in events("q", answer(), heartbeat_s=0.01):
            assert block == PING
            pinged.set()

    task = asyncio.create_task(read())
    await pinged.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert cancelled.is_set()


async def test_a_reader_that_is_cancelled_again_and_again_closes_the_answer_to_its_end() -> None:
    began, steps = asyncio.Event(), 0

    async def answer() -> AsyncGenerator[AnswerEvent]:
        nonlocal steps
        try:
            began.set()
            await asyncio.sleep(60)
            yield Chunk("q", "a")
        finally:
            for _ in range(3):
                await asyncio.sleep(0.01)
                steps += 1

    async def read() -> None:
        async with aclosing(events("q", answer(), heartbeat_s=5)) as blocks:
            async for _ in blocks:
                pass

    reader = asyncio.create_task(read())
    await began.wait()
    while not reader.done():
        reader.cancel()
        await asyncio.sleep(0)
    assert reader.cancelled()
    assert steps == 3
