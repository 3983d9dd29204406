"""One connection to the bridge: many requests in flight over one stream of frames.

The answer to each request is a series of messages. Exactly one of them is terminal: it is the last one.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Protocol

from rag.bridge.framing import Decoded, Framing, TooLarge, Truncated
from rag.bridge.messages import TERMINAL_TYPES, BadFrame, Id, Message, Request, encode, failure, is_id, parse, result

logger = logging.getLogger(__name__)
CANCEL = "cancel"
READ_BYTES = 256 * 1024
"""The largest number of bytes that one read of the input returns."""
MAX_UNWRITTEN_BYTES = 1024 * 1024
"""The number of unwritten bytes above which senders wait."""
STOP_TIMEOUT_S = 1
"""Seconds that a session may take, when it is stopped, to report the requests in flight as cancelled."""

Answer = Callable[[Request], AsyncGenerator[Message]]
"""Sends a request to the service, and yields the messages of its answer.

Closing the generator closes the connection to the service.
"""


class ReaderGone(Exception):
    """The client has closed its end of the output."""


class Output(Protocol):
    """Writes frames to the client."""

    async def send(self, frame: bytes) -> None:
        """Wait until there is room, then send the whole frame. If cancelled, send nothing of it. Raises ReaderGone."""


class Capacity:
    """Counts the requests in flight, over all sessions, up to a limit."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0

    def try_acquire(self) -> bool:
        """Count one more request. Returns False, and counts nothing, if the limit is reached."""
        if self.used >= self.limit:
            return False
        self.used += 1
        return True

    def release(self) -> None:
        """Count one request less."""
        self.used -= 1


@dataclass(frozen=True, slots=True)
class SessionLimits:
    """What a session may use."""

    max_frame_bytes: int
    """The largest frame, in both directions."""
    capacity: Capacity
    """Shared by all sessions."""


class Session:
    """Reads requests, forwards them to the service with `answer`, and writes the messages of the answers."""

    def __init__(self, answer: Answer, framing: Framing, output: Output, limits: SessionLimits) -> None:
        self._answer = answer
        self._framing = framing
        self._output = output
        self._limits = limits
        self._in_flight: dict[Id, asyncio.Task[None]] = {}
        """Id → the task that forwards the request. An entry is removed once the terminal message is sent."""
        self._tasks: set[asyncio.Task[None]] = set()
        """All forwarding tasks that run. A task may run on for a moment after its terminal message."""

    async def run(self, chunks: AsyncIterator[bytes]) -> None:
        """Run until the input has ended and every request has its terminal message. Raises ReaderGone.

        If cancelled, close the connections to the service, and report the requests in flight as cancelled.
        """
        try:
            await self._read(chunks)
            while self._tasks:
                await asyncio.wait(self._tasks)
        except asyncio.CancelledError:
            await self._cancel_forwarding()
            with suppress(TimeoutError, ReaderGone):
                async with asyncio.timeout(STOP_TIMEOUT_S):
                    for id in list(self._in_flight):
                        await self._send_terminal(id, failure(id, "cancelled", "the bridge was stopped"))
            raise
        finally:
            await self._cancel_forwarding()
            for id in list(self._in_flight):
                self._free(id)

    async def refuse(self, code: str, error: str) -> None:
        """Send an error instead of running the session. Raises ReaderGone."""
        await self._send(failure(None, code, error))

    async def _read(self, chunks: AsyncIterator[bytes]) -> None:
        decoder = self._framing.decoder(self._limits.max_frame_bytes)
        async for chunk in chunks:
            for item in decoder.feed(chunk):
                await self._handle(item)
        for item in decoder.end():
            await self._handle(item)

    async def _handle(self, item: Decoded) -> None:
        """Start to forward a request, or send an error, or cancel a request.

        The caller reads nothing more until this has returned.
        """
        request_or_error = self._check_frame(item)
        if not isinstance(request_or_error, Request):
            await self._send(request_or_error)
            return
        request = request_or_error
        if request.command == CANCEL:
            await self._cancel(request)
        elif not self._limits.capacity.try_acquire():
            detail = f"{self._limits.capacity.limit} requests are in flight (--max-in-flight); wait for one to end"
            await self._send(failure(request.id, "overloaded", detail))
        else:
            task = asyncio.create_task(self._forward(request))
            self._in_flight[request.id] = task
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _check_frame(self, item: Decoded) -> Request | Message:
        """The request that a frame holds, or the error message to send instead."""
        match item:
            case TooLarge():
                max_bytes = self._limits.max_frame_bytes
                detail = f"a frame may have {max_bytes} bytes (--max-frame-bytes); a longer one was discarded"
                return failure(None, "frame_too_large", detail)
            case Truncated():
                return failure(None, "bad_frame", "the input ended in the middle of a frame")
        try:
            request = parse(item)
        except BadFrame as error:
            return failure(error.id, "bad_frame", str(error))
        if request.id in self._in_flight:
            detail = f"the request {request.id!r} is still in flight; send another id"
            return failure(None, "duplicate_id", detail)  # no id: with it, the error would end the first request
        return request

    async def _forward(self, request: Request) -> None:
        """Send the messages of the answer. If it fails, send an error as the terminal message."""
        try:
            async with aclosing(self._answer(request)) as messages:
                async for message in messages:
                    if self._is_in_flight(request.id):
                        await self._forward_message(message, request.id)
            if self._is_in_flight(request.id):
                raise RuntimeError("the answer has no last message")
        except ReaderGone:
            pass  # nobody is left to read an error
        except Exception:
            logger.exception("request %r failed", request.id)
            if self._is_in_flight(request.id):
                detail = "an unexpected error; the bridge's log has the details"
                with suppress(ReaderGone):
                    await self._send_terminal(request.id, failure(request.id, "internal_error", detail))

    async def _forward_message(self, message: Message, id: Id) -> None:
        """Send one message, or an error if the message is too long for a frame. Raises ReaderGone."""
        body = encode(message)
        if len(body) > self._limits.max_frame_bytes:
            detail = f"a message of the answer is over {self._limits.max_frame_bytes} bytes (--max-frame-bytes)"
            await self._send_terminal(id, failure(id, "frame_too_large", detail))
            return
        await self._output.send(self._framing.encode(body))
        if message["type"] in TERMINAL_TYPES:
            self._free(id)

    def _is_in_flight(self, id: Id) -> bool:
        """Whether the request of the current task has no terminal message yet.

        The id alone does not tell this: after the terminal message another request may use the same id.
        """
        return self._in_flight.get(id) is asyncio.current_task()

    async def _cancel(self, request: Request) -> None:
        """Cancel the request that a `cancel` request names, send its terminal message, and report its state."""
        target = request.params.get("id")
        if len(request.params) != 1 or not is_id(target):
            detail = 'params: cancel takes {"id": the id of a request}'
            await self._send(failure(request.id, "bad_frame", detail))
            return
        state = "unknown"
        if (task := self._in_flight.get(target)) is not None:
            task.cancel()
            await asyncio.wait({task})
            if self._in_flight.get(target) is task:  # otherwise its terminal message was sent meanwhile
                state = "cancelled"
                await self._send_terminal(target, failure(target, "cancelled", "the request was cancelled"))
        await self._send(result(request.id, {"id": target, "state": state}))

    async def _send_terminal(self, id: Id, message: Message) -> None:
        """Send a request's terminal message, and free its id. Raises ReaderGone."""
        await self._send(message)
        self._free(id)

    async def _send(self, message: Message) -> None:
        await self._output.send(self._framing.encode(encode(message)))

    def _free(self, id: Id) -> None:
        """Free the request's id and its capacity. Does nothing if the id is free."""
        if self._in_flight.pop(id, None) is not None:
            self._limits.capacity.release()

    async def _cancel_forwarding(self) -> None:
        """Cancel all forwarding tasks, and wait until they have closed their connections to the service."""
        tasks = set(self._tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)
