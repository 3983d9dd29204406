"""What wraps every request: its id, headers that are refused, its tenant's rate, and the limits on its body.

Plain ASGI, so that streams pass untouched.
"""

from __future__ import annotations

import asyncio
import logging
import re
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.errors import BadInput, BodyTooSlow, DocumentTooLarge, RagError, UnsupportedContent
from serve_app.admission.rate_limits import RateLimitStatus
from serve_app.api.body_flow import EXTENSION, request_body
from serve_app.api.errors import problem_of
from serve_app.api.routing import has_route

logger = logging.getLogger(__name__)
REQUEST_ID_HEADER = "X-Request-ID"
RATE = "rate"
"""Where a request's scope keeps the status of its tenant's rate limit."""
SERVE_HEADERS = ("x-request-timeout-seconds", "x-request-disconnect-disabled")
_VALID_ID = re.compile(r"[\w.:-]{1,128}", re.ASCII)


def request_id(scope: Scope) -> str:
    """The caller's own, if it is one that can be logged, or a new one."""
    own = Headers(scope=scope).get(REQUEST_ID_HEADER, "")
    return own if _VALID_ID.fullmatch(own) else uuid.uuid4().hex


class RequestId:
    """Takes the caller's X-Request-ID, or makes one; every answer carries it."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        scope["request_id"] = id_ = request_id(scope)

        async def with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)[REQUEST_ID_HEADER] = id_
            await send(message)

        return await self.app(scope, receive, with_id)


class HeadOfGet:
    """Answers HEAD, where a path has GET alone, with what GET sends before the body."""

    class _BodyBegun(Exception):
        pass

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            return await self.app(scope, receive, send)
        as_get = {**scope, "method": "GET"}
        if has_route(scope) or not has_route(as_get):
            return await self.app(scope, receive, send)

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.body":
                await send({"type": "http.response.body", "body": b"", "more_body": False})
                raise self._BodyBegun  # nothing more is made of it
            await send(message)

        with suppress(self._BodyBegun):
            await self.app(as_get, receive, send_head)
        return None


class RateLimitHeaders:
    """Adds the headers of draft-ietf-httpapi-ratelimit-headers-10 to each answer to a request that was counted,
    refusals too. Answers at and below `openai_paths` also have those that OpenAI's clients read."""

    def __init__(self, app: ASGIApp, openai_paths: Sequence[str]) -> None:
        self.app = app
        self.openai_paths = tuple(f"{path}/" for path in openai_paths)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def with_rate(message: Message) -> None:
            rate: RateLimitStatus | None = scope.get(RATE)
            if rate is not None and message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["RateLimit-Policy"] = f'"requests";q={rate.limit};w=60'
                headers["RateLimit"] = f'"requests";r={rate.remaining};t={rate.reset_s}'
                if f"{scope['path']}/".startswith(self.openai_paths):
                    headers["x-ratelimit-limit-requests"] = str(rate.limit)
                    headers["x-ratelimit-remaining-requests"] = str(rate.remaining)
                    headers["x-ratelimit-reset-requests"] = f"{rate.reset_s}s"
            await send(message)

        return await self.app(scope, receive, with_rate)


class RefuseHeaders:
    """Refuses a body that is compressed, and the headers by which a caller could switch off Serve's time limit, or its
    notice of a disconnect.

    Behind cluster/edge/http.py Serve's headers do not come this far. Without it a warning is logged once.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self.warned = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            if not self.warned and EXTENSION not in scope.get("extensions", {}):
                self.warned = True
                logger.warning(
                    "Serve's HTTP server has no bounds on silent clients and on bodies that are not asked for: "
                    "start Ray on every node with "
                    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH=cluster.edge.http:middlewares"
                )
            headers = Headers(scope=scope)
            for name in SERVE_HEADERS:
                if name in headers:
                    refused = BadInput(f"{name} is not a caller's to send; X-Deadline-Ms sets a request's time")
                    return await problem_of(Request(scope), refused)(scope, receive, send)
            encoding = headers.get("content-encoding", "identity").strip().lower()
            if encoding != "identity":
                compressed = UnsupportedContent(
                    f"Content-Encoding is {encoding[:40]}; send the body as it is, without this header"
                )
                return await problem_of(Request(scope), compressed)(scope, receive, send)
        return await self.app(scope, receive, send)


class BodyLimit:
    """Refuses a body over `limit(scope)` bytes, by its declared length and again while it is read.

    Also refuses a body that is incomplete `within_s` seconds after the service began to read it.
    """

    def __init__(self, app: ASGIApp, limit: Callable[[Scope], int], within_s: float) -> None:
        self.app = app
        self.limit = limit
        self.within_s = within_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        limit = self.limit(scope)
        declared = Headers(scope=scope).get("content-length", "0")
        too_large = DocumentTooLarge(f"body is limited to {limit} bytes; send less at once")
        if not declared.isdecimal() or int(declared) > limit:
            return await problem_of(Request(scope), too_large)(scope, receive, send)
        refused: RagError | None = None
        read, deadline, complete, started = 0, 0.0, False, False

        async def receive_limited() -> Message:
            nonlocal refused, read, deadline, complete
            if complete:  # the next message is a disconnect
                return await receive()
            if not deadline:
                deadline = asyncio.get_running_loop().time() + self.within_s
                await request_body(scope, send, limit)
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                refused = BodyTooSlow(
                    f"the body was not received whole within {self.within_s:g} s; send it faster, or less at once"
                )
                raise HTTPException(408) from None
            read += len(message.get("body", b""))
            if read > limit:
                refused = too_large
                raise HTTPException(413)
            complete = not message.get("more_body", False)
            return message

        async def send_unless_refused(message: Message) -> None:
            # Whatever the app made of the interrupted body, the caller is told what was wrong with it.
            nonlocal started
            if started or refused is None:
                started = True
                await send(message)

        try:
            await self.app(scope, receive_limited, send_unless_refused)
        except HTTPException:  # middleware read the body, not the app, which answers its own
            if refused is None:
                raise
        if refused is not None and not started:
            await problem_of(Request(scope), refused)(scope, receive, send)
        return None
