"""Messages as server-sent events, or as lines of JSON."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any, TypeVar

from deployments.errors import RagError
from serve_app.messages import Failure, Message, wire

logger = logging.getLogger(__name__)
PING = b": ping\n\n"
EMPTY = b"\n"
Told = Message | Mapping[str, Any]
"""A message of an answer, or another stream's, ready for JSON with its `type`."""
M = TypeVar("M", bound=Told)


def event(message: Told, number: int) -> bytes:
    body = message if isinstance(message, Mapping) else wire(message)
    return f"id: {number}\nevent: {body['type']}\ndata: {_json(body)}\n\n".encode()


def line(body: object) -> bytes:
    return f"{_json(body)}\n".encode()


async def events(query_id: str, answer: AsyncGenerator[M], *, heartbeat_s: float) -> AsyncGenerator[bytes]:
    """Encode messages as they come; a comment after `heartbeat_s` of silence; an error is the last event.

    Closing this closes `answer`, whatever it is waiting for. `query_id` is what an error is told of.
    """
    number = 0
    async with aclosing(_with_silence(query_id, answer, heartbeat_s)) as messages:
        async for message in messages:
            number += message is not None
            yield PING if message is None else event(message, number)


async def lines(
    command_id: str, query_id: str, answer: AsyncGenerator[Message], *, heartbeat_s: float
) -> AsyncGenerator[bytes]:
    """The same as lines, each with the command's id too. Lines of JSON have no comments: silence is an empty line."""
    async with aclosing(_with_silence(query_id, answer, heartbeat_s)) as messages:
        async for message in messages:
            yield EMPTY if message is None else line({**wire(message), "id": command_id})


async def _with_silence(
    query_id: str, answer: AsyncGenerator[M], heartbeat_s: float
) -> AsyncGenerator[M | Failure | None]:
    """The messages, and None after each `heartbeat_s` in which there was none."""
    async with aclosing(_until_failure(query_id, answer)) as messages:
        pending: asyncio.Task[M | Failure | None] | None = None
        try:
            while True:
                if pending is None:
                    pending = asyncio.ensure_future(anext(messages, None))
                done, _ = await asyncio.wait({pending}, timeout=heartbeat_s)
                if not done:
                    yield None
                    continue
                message, pending = pending.result(), None
                if message is None:
                    return
                yield message
        finally:
            if pending is not None:
                pending.cancel()
                await asyncio.wait({pending})


async def _until_failure(query_id: str, answer: AsyncGenerator[M]) -> AsyncGenerator[M | Failure]:
    async with aclosing(answer) as messages:
        try:
            async for message in messages:
                yield message
        except RagError as error:
            yield Failure(query_id, error.message, error.code, error.retryable)
        except Exception:
            logger.exception("the stream of %s failed", query_id)
            unexpected = RagError("an unexpected error; the service's log has the details")
            yield Failure(query_id, unexpected.message, unexpected.code, unexpected.retryable)


def _json(body: object) -> str:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"))
