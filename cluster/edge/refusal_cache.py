"""Repeats a refusal for a moment without asking the service, where the service says that it may be repeated.

A refusal costs Serve ten times what it costs the service. Without this cache, a flood of requests that are refused
would take the service's time from those that it can answer.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from cachetools import TTLCache
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.api import trace_context
from serve_app.api.middleware import REQUEST_ID_HEADER, request_id
from serve_app.api.refusals import CALLER_HEADERS, EXTENSION, HEADER, OF_CALLER

TTL_S = 0.1
"""Retry-After is at least ten times as long."""
MAX_CALLERS = 1024
MAX_BODY_BYTES = 4096
"""A longer answer is not cached."""

Caller = tuple[str, ...]
"""Method, path and the caller's headers."""


@dataclass(frozen=True, slots=True)
class _Refusal:
    start: Message
    body: bytes


class RefusalCache:
    """ASGI middleware. Caches a 429 in JSON with Retry-After that the service marked as the caller's.

    The mark, a header, is removed. Nothing else is cached: a 429 of a command is about the tenant in its body, and a
    503 may be about one request alone, whose replica died.
    """

    def __init__(self, app: ASGIApp, clock: Callable[[], float] = time.monotonic) -> None:
        self.app = app
        self._refusals: TTLCache[Caller, _Refusal] = TTLCache(MAX_CALLERS, TTL_S, timer=clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope) if scope["type"] == "http" else {}
        if "authorization" not in headers:
            return await self.app(scope, receive, send)
        scope = {**scope, "extensions": {**scope.get("extensions", {}), EXTENSION: {}}}
        caller = (scope["method"], scope["path"], *(headers.get(name, "") for name in CALLER_HEADERS))
        if (refusal := self._refusals.get(caller)) is not None:
            return await _repeat(refusal, scope, send)
        refusal_start: Message | None = None

        async def send_and_cache(message: Message) -> None:
            nonlocal refusal_start
            if message["type"] == "http.response.start":
                message, may_be_repeated = _without_mark(message)
                refusal_start = message if may_be_repeated and _is_refusal(message) else None
            elif refusal_start is not None:
                if not message.get("more_body") and len(body := message.get("body", b"")) <= MAX_BODY_BYTES:
                    self._refusals[caller] = _Refusal(refusal_start, body)
                refusal_start = None
            await send(message)

        return await self.app(scope, receive, send_and_cache)


def _without_mark(start: Message) -> tuple[Message, bool]:
    """The answer's start without the service's mark, and whether that lets its caller be told the same again."""
    name = HEADER.lower().encode()
    marks = [value for key, value in start["headers"] if key.lower() == name]
    if not marks:
        return start, False
    kept = [header for header in start["headers"] if header[0].lower() != name]
    return {**start, "headers": kept}, marks == [OF_CALLER.encode()]


def _is_refusal(start: Message) -> bool:
    headers = Headers(raw=start["headers"])
    return start["status"] == 429 and "retry-after" in headers and "json" in headers.get("content-type", "")


async def _repeat(refusal: _Refusal, scope: Scope, send: Send) -> None:
    """Send the cached refusal under this request's own ids."""
    trace_context.begin(scope)
    ids = {"request_id": request_id(scope), "trace_id": trace_context.trace_id_of(scope)}
    body: Any = json.loads(refusal.body)
    if isinstance(body, dict):
        body.update({name: id_ for name, id_ in ids.items() if name in body})
    content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    start = {**refusal.start, "headers": list(refusal.start["headers"])}
    headers = MutableHeaders(scope=start)
    headers.update({REQUEST_ID_HEADER: ids["request_id"], **trace_context.headers_of(scope)})
    headers["content-length"] = str(len(content))
    await send(start)
    await send({"type": "http.response.body", "body": content})
