"""A session over standard input and output, whatever those are: pipes, sockets, files, a terminal.

Threads read and write. Making the descriptors non-blocking, as asyncio would, changes them for every process that
shares them, stderr on the same terminal included; and files cannot be waited for.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Semaphore, Thread

from rag.bridge import lifetime
from rag.bridge.session import MAX_UNWRITTEN_BYTES, READ_BYTES, STOP_TIMEOUT_S, Output, Session
from rag.bridge.streams import Streams

logger = logging.getLogger(__name__)
READER_GONE = 141
"""The exit code that a shell shows for a process which SIGPIPE ended."""


async def serve(streams: Streams, session: Callable[[Output], Session], stop: asyncio.Event) -> None:
    """Serve until the input has ended and every answer is written, or until `stop` is set.

    The process exits at once when the output has no reader any more.
    """
    lifetime.watch_reader(streams.output, exit_without_reader)
    output = Writer(streams.output)
    if not await lifetime.run_unless(_talk(session(output), streams, output), stop.wait()):
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_TIMEOUT_S):
                await output.written()


async def _talk(session: Session, streams: Streams, output: Writer) -> None:
    await session.run(chunks(streams.input))
    await output.written()


class Writer:
    """Writes whole frames in order, several at once if they wait."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._loop = asyncio.get_running_loop()
        self._lock = asyncio.Lock()
        self._progress = asyncio.Event()
        self._waiting: SimpleQueue[bytes] = SimpleQueue()
        self._unwritten = 0
        Thread(target=self._write, daemon=True, name="writer").start()

    async def send(self, frame: bytes) -> None:
        async with self._lock:
            while self._unwritten >= MAX_UNWRITTEN_BYTES:
                self._progress.clear()
                await self._progress.wait()
            self._unwritten += len(frame)
            self._waiting.put(frame)

    async def written(self) -> None:
        """Return when everything is written."""
        while self._unwritten:
            self._progress.clear()
            await self._progress.wait()

    def _write(self) -> None:
        with suppress(RuntimeError):  # the loop has ended
            while True:
                data = self._next()
                try:
                    _write_all(self._descriptor, data)
                except BrokenPipeError:
                    exit_without_reader()
                except OSError:
                    logger.exception("the output cannot be written")
                    os._exit(1)
                self._loop.call_soon_threadsafe(self._wrote, len(data))

    def _next(self) -> bytes:
        frames = [self._waiting.get()]
        size = len(frames[0])
        with suppress(Empty):
            while size < READ_BYTES:
                frames.append(self._waiting.get_nowait())
                size += len(frames[-1])
        return b"".join(frames)

    def _wrote(self, count: int) -> None:
        self._unwritten -= count
        self._progress.set()


async def chunks(descriptor: int) -> AsyncGenerator[bytes]:
    """Yield the input as it arrives; at most one chunk is read ahead."""
    loop = asyncio.get_running_loop()
    arrived: asyncio.Queue[bytes] = asyncio.Queue()
    room = Semaphore()

    def read() -> None:
        chunk = b"-"
        with suppress(RuntimeError):  # the loop has ended
            while chunk:
                room.acquire()
                try:
                    chunk = os.read(descriptor, READ_BYTES)
                except OSError:  # a terminal that hung up
                    chunk = b""
                loop.call_soon_threadsafe(arrived.put_nowait, chunk)

    Thread(target=read, daemon=True, name="reader").start()
    while chunk := await arrived.get():
        room.release()
        yield chunk


def _write_all(descriptor: int, data: bytes) -> None:
    left = memoryview(data)
    while left:
        left = left[os.write(descriptor, left) :]


def exit_without_reader() -> None:
    """Exit at once, as SIGPIPE would end the process."""
    os._exit(READER_GONE)
