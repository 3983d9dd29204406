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
    async with aclosing(_until_failure(query_id, answer)) as messages:
        pending: asyncio.Task[M | Failure | None] | None = None
        try:
            while True:
                if pending is None:
                    pending = asyncio.ensure_future(anext(messages, None))
                done, _ = await asyncio.wait({pending}, timeout=heartbeat_s)
                if not done:
                    yield PING
                    continue
                message, pending = pending.result(), None
                if message is None:
                    return
                number += 1
                yield event(message, number)
        finally:
            if pending is not None:
                pending.cancel()
                await asyncio.wait({pending})


async def lines(command_id: str, query_id: str, answer: AsyncGenerator[Message]) -> AsyncGenerator[bytes]:
    """The same messages without comments, which lines of JSON cannot have; each carries the command's id too."""
    async with aclosing(_until_failure(query_id, answer)) as messages:
        async for message in messages:
            yield line({**wire(message), "id": command_id})


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
