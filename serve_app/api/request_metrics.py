"""Counts and times HTTP requests by their route."""

from __future__ import annotations

import time
from typing import Final

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.telemetry import REFUSALS, REQUEST_SECONDS, REQUESTS, Recorder
from serve_app.api.errors import ERROR_CODE

NO_ROUTE: Final = "none"
"""The label of requests that no route took, or that were refused before: without a key, or for their body's size.
Their paths are the callers' own, of which there is no end."""
HUNG_UP: Final = "499"
"""The status of a request whose caller hung up before the answer began, as nginx has it."""


class RequestMetrics:
    """Pure ASGI, so that streams pass untouched. A stream's time ends with its last byte."""

    def __init__(self, app: ASGIApp, recorder: Recorder) -> None:
        self.app = app
        self._recorder = recorder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        began = time.perf_counter()
        status = HUNG_UP

        async def send_and_look(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = str(message["status"])
            await send(message)

        try:
            await self.app(scope, receive, send_and_look)
        finally:
            route: str = getattr(scope.get("route"), "path_format", NO_ROUTE)
            method = scope["method"] if route != NO_ROUTE else NO_ROUTE
            record = self._recorder.record
            record(REQUESTS, 1, route=route, method=method, status=status)
            record(REQUEST_SECONDS, time.perf_counter() - began, route=route, method=method)
            if (code := scope.get(ERROR_CODE)) is not None:
                record(REFUSALS, 1, code=code)
