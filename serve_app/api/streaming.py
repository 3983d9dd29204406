"""Messages as server-sent events, or as lines of JSON.

What fails before the first byte of a stream, of which a heartbeat is one, is answered with a status of its own, as if
nothing were to be streamed. What fails later is the stream's last message.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from typing import Any, TypeVar

from starlette.responses import StreamingResponse
from starlette.types import Message, Send

from deployments.errors import RagError
from serve_app.api.errors import log_internal
from serve_app.query.answer_events import AnswerEvent, Failure
from serve_app.schemas.queries import event_as_json
from serve_app.services.queries import Ending

logger = logging.getLogger(__name__)
PING = b": ping\n\n"
EMPTY_LINE = b"\n"
_LINE_ENDS = {ord(sign): f"\\u{ord(sign):04x}" for sign in "\x85\u2028\u2029"}
StreamEvent = AnswerEvent | Mapping[str, Any]
"""An event of an answer, or another stream's as a JSON object with its `type`."""
E = TypeVar("E", bound=StreamEvent)


def event(message: StreamEvent, number: int) -> bytes:
    body = message if isinstance(message, Mapping) else event_as_json(message)
    return f"id: {number}\nevent: {body['type']}\ndata: {_json(body)}\n\n".encode()


def data(body: object) -> bytes:
    """An event without a name, as other APIs stream."""
    return f"data: {_json(body)}\n\n".encode()


def named(body: Mapping[str, Any]) -> bytes:
    """An event by its `type`, without an id, as OpenAI's responses stream."""
    return f"event: {body['type']}\ndata: {_json(body)}\n\n".encode()


def line(body: object) -> bytes:
    return f"{_json(body)}\n".encode()


class EventStream(StreamingResponse):
    """Sends its status with its first block. What the blocks raise before that is raised, and answered as an error.

    `ending`: of the answer that is streamed; None for a stream that is none.
    """

    def __init__(
        self, content: AsyncGenerator[bytes], status_code: int = 200, *, ending: Ending | None = None, **given: Any
    ) -> None:
        super().__init__(content, status_code, **given)
        self.blocks = content
        self.ending = ending

    async def stream_response(self, send: Send) -> None:
        start: Message | None = None

        async def send_with_first_block(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                start = message
                return
            if start is not None:
                await send(start)
                start = None
            await send(message)

        await super().stream_response(send_with_first_block)


def events(
    query_id: str,
    answer: AsyncGenerator[StreamEvent],
    *,
    heartbeat_s: float,
    encode: Callable[[StreamEvent, int], bytes] = event,
) -> AsyncGenerator[bytes]:
    """Encode messages as they come, as `stream` sends them. `query_id`: what an error names.

    Closing this closes `answer`, whatever it is waiting for.
    """
    return stream(
        _encode(answer, encode),
        lambda error, number: encode(_failure(query_id, error), number),
        heartbeat_s=heartbeat_s,
    )


def lines(
    command_id: str, query_id: str, answer: AsyncGenerator[AnswerEvent], *, heartbeat_s: float
) -> AsyncGenerator[bytes]:
    """The same as lines of JSON, each with the command's id. JSON has no comments, so a heartbeat is an empty line."""

    def encode(message: AnswerEvent, _: int) -> bytes:
        return line({**event_as_json(message), "id": command_id})

    return stream(
        _encode(answer, encode),
        lambda error, number: encode(_failure(query_id, error), number),
        heartbeat_s=heartbeat_s,
        heartbeat=EMPTY_LINE,
    )


async def stream(
    blocks: AsyncGenerator[bytes],
    last_block: Callable[[Exception, int], bytes],
    *,
    heartbeat_s: float,
    heartbeat: bytes = PING,
) -> AsyncGenerator[bytes]:
    """The blocks as they come, with a `heartbeat` after `heartbeat_s` of silence.

    Raises what `blocks` raise before anything was sent. Later, `last_block` is made of the error and of its block's
    number. Closing this closes `blocks`, whatever they are waiting for.
    """
    number, has_begun = 0, False
    async with aclosing(blocks):
        pending: asyncio.Task[bytes | None] | None = None
        try:
            while True:
                if pending is None:
                    pending = asyncio.ensure_future(anext(blocks, None))
                done, _ = await asyncio.wait({pending}, timeout=heartbeat_s)
                if not done:
                    has_begun = True
                    yield heartbeat
                    continue
                number += 1
                ended, pending = pending, None
                try:
                    block = ended.result()
                except Exception as error:
                    if not has_begun:
                        raise
                    yield last_block(error, number)
                    return
                if block is None:
                    return
                has_begun = True
                yield block
        finally:
            if pending is not None:
                await _end(pending)


async def _end(task: asyncio.Task[Any]) -> None:
    """Cancel a task and wait until it is over, even if the wait itself is cancelled repeatedly.

    Starlette's task groups cancel again and again until their tasks have ended.
    """
    task.cancel()
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None:
        raise cancelled


async def _encode(messages: AsyncGenerator[E], encode: Callable[[E, int], bytes]) -> AsyncGenerator[bytes]:
    """Each message as bytes; `encode` takes its number, from 1."""
    number = 0
    async with aclosing(messages):
        async for message in messages:
            number += 1
            yield encode(message, number)


def _failure(query_id: str, error: Exception) -> Failure:
    failed = public_error(query_id, error)
    return Failure(query_id, failed.message, failed.code, failed.retryable)


def public_error(query_id: str, error: Exception) -> RagError:
    """The error that the reader of a failed stream is sent: nothing internal."""
    if isinstance(error, RagError):
        log_internal(query_id, error)
        return error
    logger.error("the stream of %s failed", query_id, exc_info=error)
    return RagError("an unexpected error; the service's log has the details")


def _json(body: object) -> str:
    """On one line for every reader: some also end lines at what `_LINE_ENDS` names, which JSON lets stand in texts."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).translate(_LINE_ENDS)
