from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import suppress

import pytest

from serve_app.bridge.stdio import CHUNK, HIGH_WATER, Writer, chunks

FRAME = 100_000
PIPE = 64 * 1024


@pytest.fixture(name="pipe")
def _pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        with suppress(OSError):
            os.close(end)


async def test_what_waits_for_a_reader_is_bounded_and_all_of_it_arrives_in_order(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    output, taken = Writer(writer), 0
    with suppress(TimeoutError):
        async with asyncio.timeout(1):
            while taken < 100:
                await output.send(bytes([taken]) * FRAME)
                taken += 1
    assert HIGH_WATER < taken * FRAME < HIGH_WATER + CHUNK + PIPE + 2 * FRAME
    arrived = bytearray()
    async for chunk in chunks(reader):
        arrived += chunk
        if len(arrived) == taken * FRAME:
            break
    async with asyncio.timeout(5):
        await output.written()
    assert arrived == b"".join(bytes([number]) * FRAME for number in range(taken))
    os.close(writer)  # the thread that reads ends with it


async def test_many_senders_never_mix_their_frames(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    output = Writer(writer)

    async def send(number: int) -> None:
        for _ in range(20):
            await output.send(bytes([number]) * FRAME)

    sending = asyncio.gather(*(send(number) for number in range(5)))
    arrived = bytearray()
    async for chunk in chunks(reader):
        arrived += chunk
        if len(arrived) == 100 * FRAME:
            break
    await sending
    frames = [arrived[at : at + FRAME] for at in range(0, len(arrived), FRAME)]
    assert all(len(set(frame)) == 1 for frame in frames)
    await output.written()
    os.close(writer)


async def test_a_sender_who_is_cancelled_has_sent_nothing(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    output = Writer(writer)
    for _ in range(HIGH_WATER // FRAME + 1):
        await output.send(b"a" * FRAME)
    await asyncio.sleep(0)
    waiting = asyncio.create_task(output.send(b"b" * 10 * HIGH_WATER))
    await asyncio.sleep(0)
    waiting.cancel()
    with suppress(asyncio.CancelledError):
        await waiting
    if waiting.cancelled():
        arrived = bytearray()
        async for chunk in chunks(reader):
            arrived += chunk
            if len(arrived) == (HIGH_WATER // FRAME + 1) * FRAME:
                break
        await output.written()
        assert set(arrived) == {ord("a")}
    os.close(writer)
