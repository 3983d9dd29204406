"""Messages as server-sent events, or as lines of JSON."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, TypeVar

from deployments.errors import RagError
from serve_app.query.answer_events import AnswerEvent, Failure
from serve_app.schemas.queries import event_as_json

logger = logging.getLogger(__name__)
PING = b": ping\n\n"
EMPTY_LINE = b"\n"
StreamEvent = AnswerEvent | Mapping[str, Any]
"""An event of an answer, or another stream's as a JSON object with its `type`."""
E = TypeVar("E", bound=StreamEvent)


def event(message: StreamEvent, number: int) -> bytes:
    body = message if isinstance(message, Mapping) else event_as_json(message)
    return f"id: {number}\nevent: {body['type']}\ndata: {_json(body)}\n\n".encode()


def data(body: object) -> bytes:
    """An event without a name, as other APIs stream."""
    return f"data: {_json(body)}\n\n".encode()


def line(body: object) -> bytes:
    return f"{_json(body)}\n".encode()


def events(query_id: str, answer: AsyncGenerator[E], *, heartbeat_s: float) -> AsyncGenerator[bytes]:
    """Encode messages as they come; a comment after `heartbeat_s` of silence; an error is the last event.

    Closing this closes `answer`, whatever it is waiting for. `query_id`: what an error names.
    """
    return with_heartbeat(_encode_events(_ending_in_failure(query_id, answer)), heartbeat_s=heartbeat_s)


def lines(
    command_id: str, query_id: str, answer: AsyncGenerator[AnswerEvent], *, heartbeat_s: float
) -> AsyncGenerator[bytes]:
    """The same as lines of JSON, each with the command's id. JSON has no comments, so a heartbeat is an empty line."""
    return with_heartbeat(
        _encode_lines(command_id, _ending_in_failure(query_id, answer)), heartbeat_s=heartbeat_s, heartbeat=EMPTY_LINE
    )


async def with_heartbeat(
    blocks: AsyncGenerator[bytes], *, heartbeat_s: float, heartbeat: bytes = PING
) -> AsyncGenerator[bytes]:
    """The blocks of a stream as they come, with a `heartbeat` after `heartbeat_s` of silence.

    Closing this closes `blocks`, whatever they are waiting for.
    """
    async with aclosing(blocks):
        pending: asyncio.Task[bytes | None] | None = None
        try:
            while True:
                if pending is None:
                    pending = asyncio.ensure_future(anext(blocks, None))
                done, _ = await asyncio.wait({pending}, timeout=heartbeat_s)
                if not done:
                    yield heartbeat
                    continue
                block, pending = pending.result(), None
                if block is None:
                    return
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


async def _encode_events(stream: AsyncGenerator[E | Failure]) -> AsyncGenerator[bytes]:
    number = 0
    async with aclosing(stream) as messages:
        async for message in messages:
            number += 1
            yield event(message, number)


async def _encode_lines(command_id: str, stream: AsyncGenerator[AnswerEvent]) -> AsyncGenerator[bytes]:
    async with aclosing(stream) as messages:
        async for message in messages:
            yield line({**event_as_json(message), "id": command_id})


async def _ending_in_failure(query_id: str, answer: AsyncGenerator[E]) -> AsyncGenerator[E | Failure]:
    async with aclosing(answer) as messages:
        try:
            async for message in messages:
                yield message
        except Exception as error:
            failed = public_error(query_id, error)
            yield Failure(query_id, failed.message, failed.code, failed.retryable)


def public_error(query_id: str, error: Exception) -> RagError:
    """The error that the reader of a failed stream is sent: nothing internal."""
    if isinstance(error, RagError):
        return error
    logger.error("the stream of %s failed", query_id, exc_info=error)
    return RagError("an unexpected error; the service's log has the details")


def _json(body: object) -> str:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))
