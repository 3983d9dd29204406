from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import suppress

import pytest

from rag.bridge.session import MAX_UNWRITTEN_BYTES, READ_BYTES
from rag.bridge.stdio import Writer
from tests.support.bridge import WAIT_S

FRAME = 100_000
PIPE = 64 * 1024


@pytest.fixture(name="pipe")
def _pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    yield reader, writer
    os.close(writer)
    os.close(reader)


async def read(descriptor: int, size: int) -> bytes:
    arrived = bytearray()
    async with asyncio.timeout(WAIT_S):
        while len(arrived) < size:
            arrived += await asyncio.to_thread(os.read, descriptor, size - len(arrived))
    return bytes(arrived)


async def test_what_waits_for_a_reader_is_bounded_and_a_sender_who_gave_up_has_sent_nothing(
    pipe: tuple[int, int],
) -> None:
    reader, writer = pipe
    output, sent = Writer(writer), 0
    with suppress(TimeoutError):
        async with asyncio.timeout(1):  # on a slow machine less is sent, which cannot fail here
            while sent < 100:
                await output.send(bytes([sent]) * FRAME)
                sent += 1
    assert sent * FRAME < MAX_UNWRITTEN_BYTES + READ_BYTES + PIPE + 2 * FRAME
    await output_is(reader, output, b"".join(bytes([number]) * FRAME for number in range(sent)))


async def test_many_senders_never_mix_their_frames(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    output = Writer(writer)

    async def send(number: int) -> None:
        for _ in range(10):
            await output.send(bytes([number]) * FRAME)

    sending = asyncio.gather(*(send(number) for number in range(5)))
    arrived = await read(reader, 50 * FRAME)
    await sending
    frames = [arrived[at : at + FRAME] for at in range(0, len(arrived), FRAME)]
    assert sorted(frames) == sorted(bytes([number]) * FRAME for number in range(5) for _ in range(10))
    await output.written()


async def output_is(reader: int, output: Writer, expected: bytes) -> None:
    """That, and nothing after it."""
    assert await read(reader, len(expected)) == expected
    async with asyncio.timeout(WAIT_S):
        await output.written()
    os.set_blocking(reader, False)
    with pytest.raises(BlockingIOError):
        os.read(reader, 1)
