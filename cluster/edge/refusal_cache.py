"""A tenant that was told to try again later, because it asks too much, is told so again for a moment, without asking
the service.

A refusal costs Serve ten times what it costs the service, and whoever floods is refused most: without this the refusals
alone would take the service's time from those whom it answers.
"""

from __future__ import annotations

import json
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from serve_app.api.middleware import REQUEST_ID, request_id

AGAIN_S = 0.1
"""Retry-After is ten times that at least."""
REMEMBERED = 1024
"""Callers; of more the oldest are forgotten."""
BODY_BYTES = 4096
"""A longer answer is no refusal."""
_WHO = ("authorization", "x-tenant-id", "x-deadline-ms")

Who = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Refusal:
    until: float
    start: Message
    body: bytes


class Refusals:
    """ASGI middleware. A refusal is a 429 in JSON with Retry-After, and is repeated for the same path, key, tenant and
    deadline. No other error is: a 503 may be about one request alone, whose replica died."""

    def __init__(self, app: ASGIApp, clock: Callable[[], float] = time.monotonic) -> None:
        self.app = app
        self._clock = clock
        self._refusals: OrderedDict[Who, _Refusal] = OrderedDict()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope) if scope["type"] == "http" else {}
        if "authorization" not in headers:
            return await self.app(scope, receive, send)
        who = (scope["method"], scope["path"], *(headers.get(name, "") for name in _WHO))
        if (refusal := self._of(who)) is not None:
            return await _repeat(refusal, request_id(scope), send)
        started: Message | None = None

        async def noted(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = message if _refuses(message) else None
            elif started is not None:
                if not message.get("more_body") and len(body := message.get("body", b"")) <= BODY_BYTES:
                    self._remember(who, _Refusal(self._clock() + AGAIN_S, started, body))
                started = None
            await send(message)

        return await self.app(scope, receive, noted)

    def _of(self, who: Who) -> _Refusal | None:
        refusal = self._refusals.get(who)
        if refusal is not None and refusal.until <= self._clock():
            del self._refusals[who]
            return None
        return refusal

    def _remember(self, who: Who, refusal: _Refusal) -> None:
        self._refusals[who] = refusal
        self._refusals.move_to_end(who)
        if len(self._refusals) > REMEMBERED:
            self._refusals.popitem(last=False)


def _refuses(start: Message) -> bool:
    headers = Headers(raw=start["headers"])
    return start["status"] == 429 and "retry-after" in headers and "json" in headers.get("content-type", "")


async def _repeat(refusal: _Refusal, named: str, send: Send) -> None:
    body: Any = json.loads(refusal.body)
    if isinstance(body, dict) and "request_id" in body:
        body["request_id"] = named
    content = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    start = {**refusal.start, "headers": list(refusal.start["headers"])}
    headers = MutableHeaders(scope=start)
    headers[REQUEST_ID] = named
    headers["content-length"] = str(len(content))
    await send(start)
    await send({"type": "http.response.body", "body": content})
