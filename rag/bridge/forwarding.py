"""One request → POST /v1/commands → the messages of its answer."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from http import HTTPStatus
from typing import Any

import httpx

from rag.bridge.framing import LineDecoder
from rag.bridge.messages import TERMINAL_TYPES, Message, Request, encode, failure
from rag.bridge.upstream import Unreachable, Upstream, explain

END_TIMEOUT_S = 1
"""How long an answer may take to end after its last message. If the bridge hung up earlier, the service would record a
client that went away."""
FIXED_ID = "1"
"""The id of every command with an idempotency key. A repeated request must be the same, and the parent's ids differ."""
_RETRYABLE_STATUSES = frozenset({429, 502, 503, 504})
_SECONDS = re.compile(r"[0-9]{1,9}")


class _UnusableAnswer(Exception):
    """The rest of the answer cannot be used. `code` says why."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Forwarder:
    def __init__(self, upstream: Upstream, max_frame_bytes: int) -> None:
        self._upstream = upstream
        self._max = max_frame_bytes

    async def answer(self, request: Request) -> AsyncGenerator[Message]:
        """The messages as they arrive. Only the last one is terminal. Closing the generator hangs up on the service."""
        try:
            client = await self._upstream.client()
        except Unreachable as error:
            yield failure(request.id, "unreachable", str(error))
            return
        try:
            async with aclosing(self._messages(client, request)) as messages:
                async for message in messages:
                    yield message
        except httpx.TransportError as error:
            code, detail = explain(error, client.base_url)
            yield failure(request.id, code, detail)
        except _UnusableAnswer as error:
            yield failure(request.id, error.code, str(error))

    async def _messages(self, client: httpx.AsyncClient, request: Request) -> AsyncGenerator[Message]:
        headers = {"Content-Type": "application/json", **request.headers}
        sent_id = FIXED_ID if "Idempotency-Key" in headers else str(request.id)
        body = encode({"id": sent_id, "command": request.command, "params": request.params})
        async with client.stream("POST", "/v1/commands", content=body, headers=headers) as response:
            del body
            if response.status_code != HTTPStatus.OK:
                yield await self._refusal(response, request)
                return
            chunks = response.aiter_raw()
            async with aclosing(self._lines(chunks)) as lines:
                async for line in lines:
                    message = _message(line, request, sent_id)
                    yield message
                    if message["type"] in TERMINAL_TYPES:
                        await _finish(chunks)
                        return
        raise _UnusableAnswer("connection_lost", f"the answer of {client.base_url} broke off before its end; ask again")

    async def _lines(self, chunks: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        decoder = LineDecoder(self._max)
        async for chunk in chunks:
            for line in decoder.feed(chunk):
                if line != b"":  # else a heartbeat
                    yield self._within_bound(line)
            if decoder.overflowing:
                break
        for line in decoder.end():
            if _json_object(last := self._within_bound(line)) is not None:  # else it was cut off
                yield last

    def _within_bound(self, line: object) -> bytes:
        if not isinstance(line, bytes):
            raise _UnusableAnswer(
                "frame_too_large", f"a message of the answer is over {self._max} bytes (--max-frame-bytes)"
            )
        return line

    async def _refusal(self, response: httpx.Response, request: Request) -> Message:
        status = response.status_code
        problem = _json_object(await self._body(response)) or {}
        retryable = problem.get("retryable")
        wait = response.headers.get("Retry-After", "")
        return failure(
            request.id,
            _text_or_none(problem.get("code")) or f"http_{status}",
            _text_or_none(problem.get("detail")) or f"the service answered {status} {response.reason_phrase}".rstrip(),
            retryable=retryable if isinstance(retryable, bool) else status in _RETRYABLE_STATUSES,
            status=status,
            request_id=_text_or_none(problem.get("request_id")) or response.headers.get("X-Request-ID"),
            retry_after=int(wait) if _SECONDS.fullmatch(wait) else None,
        )

    async def _body(self, response: httpx.Response) -> bytes:
        """The body; empty if it is too large."""
        body = bytearray()
        async for chunk in response.aiter_raw():
            body += chunk
            if len(body) > self._max:
                return b""
        return bytes(body)


def _message(line: bytes, request: Request, sent_id: str) -> Message:
    found = _json_object(line)
    if found is None or not isinstance(found.get("type"), str):
        raise _UnusableAnswer("bad_answer", "what answered is not this service; check --url")
    # Where there is no query, the service uses the command's id as the query's.
    about = {"query_id": request.id} if found.get("query_id") == sent_id else {}
    return {**found, **about, "id": request.id}


def _json_object(body: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _text_or_none(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


async def _finish(chunks: AsyncIterator[bytes]) -> None:
    with suppress(TimeoutError, httpx.TransportError):
        async with asyncio.timeout(END_TIMEOUT_S):
            async for _ in chunks:
                pass
