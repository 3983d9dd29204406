"""What wraps every request: its id, what is left of its tenant's rate, the bound on its body.

Plain ASGI, so that streams pass untouched.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.errors import DocumentTooLarge
from serve_app.admission.rates import Rate
from serve_app.api.errors import problem_of

REQUEST_ID = "X-Request-ID"
RATE = "rate"
"""Where a request's scope keeps what is left of its tenant's rate."""
_GIVEN = re.compile(r"[\w.:-]{1,128}", re.ASCII)


class RequestId:
    """Takes the caller's X-Request-ID, or makes one; every answer carries it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        given = Headers(scope=scope).get(REQUEST_ID, "")
        request_id = given if _GIVEN.fullmatch(given) else uuid.uuid4().hex
        scope["request_id"] = request_id

        async def with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[REQUEST_ID] = request_id
            await send(message)

        return await self.app(scope, receive, with_id)


class RateLimitHeaders:
    """Tells the tenant's rate with each answer to a request that counted against it, refusals too, as
    draft-ietf-httpapi-ratelimit-headers-10 names it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_rate(message: Message) -> None:
            rate: Rate | None = scope.get(RATE)
            if rate is not None and message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["RateLimit-Policy"] = f'"requests";q={rate.limit};w=60'
                headers["RateLimit"] = f'"requests";r={rate.remaining};t={rate.reset_s}'
            await send(message)

        return await self.app(scope, receive, with_rate)


class BodyLimit:
    """Refuses a body over `limit(path)` bytes, by its declared length and again while it is read."""

    def __init__(self, app: ASGIApp, limit: Callable[[str], int]) -> None:
        self.app = app
        self.limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        limit = self.limit(scope["path"])
        declared = Headers(scope=scope).get("content-length", "0")
        refusal = problem_of(Request(scope), DocumentTooLarge(f"body is limited to {limit} bytes; send less at once"))
        if not declared.isdecimal() or int(declared) > limit:
            return await refusal(scope, receive, send)
        read, started = 0, False

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > limit:
                raise HTTPException(413)
            return message

        async def checked(message: Message) -> None:
            # Whatever the app made of the interrupted body, the caller is told about its size.
            nonlocal started
            if started or read <= limit:
                started = True
                await send(message)

        await self.app(scope, counted, checked)
        if not started:
            await refusal(scope, receive, send)
        return None
