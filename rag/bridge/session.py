"""Many requests in flight over one framed stream of bytes, each ending with exactly one terminal message."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Protocol

from rag.bridge.framing import Decoded, Framing, TooLarge, Truncated
from rag.bridge.messages import TERMINAL, BadFrame, Id, Message, Request, encode, failure, is_id, parse, result

logger = logging.getLogger(__name__)
CANCEL = "cancel"
CHUNK = 256 * 1024
"""Bytes read at once."""
HIGH_WATER = 1024 * 1024
"""Unwritten bytes above which senders wait."""
STOP_TIMEOUT_S = 1
"""How long a session that is being stopped may take to report the requests in flight as cancelled."""

Answer = Callable[[Request], AsyncGenerator[Message]]


class ReaderGone(Exception):
    """The output has no reader any more."""


class Output(Protocol):
    async def send(self, frame: bytes) -> None:
        """Send a whole frame, when there is room for it; nothing of it if cancelled. Raises ReaderGone."""


class Capacity:
    """The number of requests in flight, over all sessions."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0

    def take(self) -> bool:
        if self.used >= self.limit:
            return False
        self.used += 1
        return True

    def give_back(self) -> None:
        self.used -= 1


@dataclass(frozen=True, slots=True)
class Bounds:
    frame_bytes: int
    capacity: Capacity


class Session:
    def __init__(self, answer: Answer, framing: Framing, output: Output, bounds: Bounds) -> None:
        self._answer = answer
        self._framing = framing
        self._output = output
        self._bounds = bounds
        self._in_flight: dict[Id, asyncio.Task[None]] = {}
        """Requests without a terminal message so far."""
        self._tasks: set[asyncio.Task[None]] = set()

    async def run(self, chunks: AsyncIterator[bytes]) -> None:
        """Run until the input has ended and every request is answered. Raises ReaderGone.

        If cancelled, hang up on the service and report the requests in flight as cancelled.
        """
        try:
            await self._read(chunks)
            while self._tasks:
                await asyncio.wait(self._tasks)
        except asyncio.CancelledError:
            await self._hang_up()
            with suppress(TimeoutError, ReaderGone):
                async with asyncio.timeout(STOP_TIMEOUT_S):
                    for id in list(self._in_flight):
                        await self._send_last(id, failure(id, "cancelled", "the bridge was stopped"))
            raise
        finally:
            await self._hang_up()
            for id in list(self._in_flight):
                self._release(id)

    async def refuse(self, code: str, error: str) -> None:
        """Send the reason why this session does not start. Raises ReaderGone."""
        await self._send(failure(None, code, error))

    async def _read(self, chunks: AsyncIterator[bytes]) -> None:
        decoder = self._framing.decoder(self._bounds.frame_bytes)
        async for chunk in chunks:
            for item in decoder.feed(chunk):
                await self._take(item)
        for item in decoder.end():
            await self._take(item)

    async def _take(self, item: Decoded) -> None:
        """Forward a request, or answer it here; then nothing more is read until that answer is taken."""
        admitted = self._admit(item)
        if not isinstance(admitted, Request):
            await self._send(admitted)
        elif admitted.command == CANCEL:
            await self._cancel(admitted)
        elif not self._bounds.capacity.take():
            detail = f"{self._bounds.capacity.limit} requests are in flight (--max-in-flight); wait for one to end"
            await self._send(failure(admitted.id, "overloaded", detail))
        else:
            task = asyncio.create_task(self._forward(admitted))
            self._in_flight[admitted.id] = task
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _admit(self, item: Decoded) -> Request | Message:
        """The request, or the error to answer with."""
        match item:
            case TooLarge():
                detail = (
                    f"a frame may have {self._bounds.frame_bytes} bytes (--max-frame-bytes); a longer one was discarded"
                )
                return failure(None, "frame_too_large", detail)
            case Truncated():
                return failure(None, "bad_frame", "the input ended in the middle of a frame")
        try:
            request = parse(item)
        except BadFrame as error:
            return failure(error.id, "bad_frame", str(error))
        if request.id in self._in_flight:
            detail = f"the request {request.id!r} is still in flight; send another id"
            return failure(None, "duplicate_id", detail)
        return request

    async def _forward(self, request: Request) -> None:
        try:
            async with aclosing(self._answer(request)) as messages:
                async for message in messages:
                    if self._is_unanswered(request.id):
                        await self._forward_message(message, request.id)
            if self._is_unanswered(request.id):
                raise RuntimeError("the answer has no last message")
        except ReaderGone:
            pass  # `run` ends by itself
        except Exception:
            logger.exception("request %r failed", request.id)
            if self._is_unanswered(request.id):
                detail = "an unexpected error; the bridge's log has the details"
                with suppress(ReaderGone):
                    await self._send_last(request.id, failure(request.id, "internal_error", detail))

    async def _forward_message(self, message: Message, id: Id) -> None:
        body = encode(message)
        if len(body) > self._bounds.frame_bytes:
            detail = f"a message of the answer is over {self._bounds.frame_bytes} bytes (--max-frame-bytes)"
            await self._send_last(id, failure(id, "frame_too_large", detail))
            return
        await self._output.send(self._framing.encode(body))
        if message["type"] in TERMINAL:
            self._release(id)

    def _is_unanswered(self, id: Id) -> bool:
        return self._in_flight.get(id) is asyncio.current_task()

    async def _cancel(self, request: Request) -> None:
        target = request.params.get("id")
        if len(request.params) != 1 or not is_id(target):
            detail = 'params: cancel takes {"id": the id of a request}'
            await self._send(failure(request.id, "bad_frame", detail))
            return
        state = "unknown"
        if (task := self._in_flight.get(target)) is not None:
            task.cancel()
            await asyncio.wait({task})
            if self._in_flight.get(target) is task:  # unless its last message was on its way already
                state = "cancelled"
                await self._send_last(target, failure(target, "cancelled", "the request was cancelled"))
        await self._send(result(request.id, {"id": target, "state": state}))

    async def _send_last(self, id: Id, message: Message) -> None:
        await self._send(message)
        self._release(id)

    async def _send(self, message: Message) -> None:
        await self._output.send(self._framing.encode(encode(message)))

    def _release(self, id: Id) -> None:
        """Free the request's id and its capacity."""
        if self._in_flight.pop(id, None) is not None:
            self._bounds.capacity.give_back()

    async def _hang_up(self) -> None:
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
