"""Counts, times, logs and traces HTTP requests."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any, Final

from opentelemetry.trace import Span, StatusCode
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.errors import RagError
from deployments.telemetry import spans, tracing
from deployments.telemetry.logs import REQUEST_LOG
from deployments.telemetry.metrics import FAILED_REQUESTS, REFUSALS, REQUEST_SECONDS, REQUESTS, Recorder
from serve_app.api import trace_context
from serve_app.api.authentication import PRINCIPAL
from serve_app.api.errors import ERROR_CODE
from serve_app.platform.keys import Principal
from serve_app.storage.declarative import PLATFORM

NO_ROUTE: Final = "none"
"""The label of requests that no route took, or that were refused before: without a key, or for their body's size.
Their paths are the callers' own, of which there is no end."""
HUNG_UP: Final = "499"
"""The status of a request whose caller hung up before the answer began, as nginx has it."""
UNEXPECTED: Final = "500"
UNEXPECTED_FROM: Final = 500
"""From this status on a request has failed. Below it, the caller has."""
logger = logging.getLogger(REQUEST_LOG)


class RequestRecords:
    """Pure ASGI, so that streams pass untouched. A stream's time ends with its last byte."""

    def __init__(self, app: ASGIApp, recorder: Recorder) -> None:
        self.app = app
        self._recorder = recorder

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        with tracing.CurrentSpan(trace_context.begin(scope), kept=True, marked=False) as span:
            if (arrived := trace_context.arrival_ns(scope)) is not None:
                tracing.end(tracing.begin(spans.EDGE, at_ns=arrived))
            await self._record(scope, receive, send, span)
        return None

    async def _record(self, scope: Scope, receive: Receive, send: Send, span: Span) -> None:
        began = time.perf_counter()
        status, query_id, traceparent = HUNG_UP, "", tracing.traceparent(span)

        async def send_and_look(message: Message) -> None:
            nonlocal status, query_id
            if message["type"] == "http.response.start":
                status = str(message["status"])
                query_id = Headers(raw=message["headers"]).get("X-Query-ID", "")
                MutableHeaders(scope=message)[trace_context.HEADER] = traceparent
            await send(message)

        try:
            await self.app(scope, receive, send_and_look)
        except (ClientDisconnect, asyncio.CancelledError):
            # A caller who hung up: nothing here has failed.
            span.set_attribute("rag.cancelled", True)
            raise
        except Exception:
            # The framework answers it, outside of this: that is said here, as nothing comes through again.
            scope[ERROR_CODE] = RagError.code
            status = UNEXPECTED if status == HUNG_UP else status
            span.set_status(StatusCode.ERROR)
            raise
        finally:
            seconds = time.perf_counter() - began
            self._count(scope, status, seconds)
            if logger.isEnabledFor(logging.INFO) or span.is_recording():
                facts = _facts(scope, status, query_id, seconds)
                _log(facts)
                _trace(span, facts)

    def _count(self, scope: Scope, status: str, seconds: float) -> None:
        route = _route(scope)
        method = scope["method"] if route != NO_ROUTE else NO_ROUTE
        record = self._recorder.record
        record(REQUESTS, 1, status=status)
        if int(status) >= UNEXPECTED_FROM:
            record(FAILED_REQUESTS, 1, route=route, method=method)
        record(REQUEST_SECONDS, seconds, route=route, method=method)
        if (code := scope.get(ERROR_CODE)) is not None:
            record(REFUSALS, 1, code=code)


def _route(scope: Scope) -> str:
    route: str = getattr(scope.get("route"), "path_format", NO_ROUTE)
    return route


def _facts(scope: Scope, status: str, query_id: str, seconds: float) -> dict[str, Any]:
    """What is known of the request, by the names of LOG_FIELDS."""
    principal: Principal | None = scope.get(PRINCIPAL)
    fields: dict[str, Any] = {
        "http_route": _route(scope),
        "http_method": scope["method"],
        "http_status": int(status),
        "milliseconds": round(seconds * 1_000, 1),
        "rag_request_id": scope.get("request_id", ""),
        "query_id": query_id,
        "trace_id": trace_context.trace_id_of(scope),
        "tenant": _tenant(scope, principal),
        "key_id": principal.key_id if principal is not None else "",
        "error": scope.get(ERROR_CODE) or "",
    }
    return {name: value for name, value in fields.items() if value != ""}


def _log(told: dict[str, Any]) -> None:
    """One line of a request."""
    # Serve prints what it logs on the terminal too, unless it is told not to.
    logger.info(" ".join(f"{name}={value}" for name, value in told.items()), extra={**told, "log_to_stderr": False})


def _trace(span: Span, told: dict[str, Any]) -> None:
    """Tell the span of the request what its line in the log says."""
    if span.is_recording():
        span.update_name(f"{told['http_method']} {told['http_route']}")
        span.set_attributes({spans.OF_REQUEST[name]: value for name, value in told.items() if name in spans.OF_REQUEST})
        if told["http_status"] >= UNEXPECTED_FROM:
            span.set_status(StatusCode.ERROR)


def _tenant(scope: Scope, principal: Principal | None) -> str:
    """The tenant of the key. For a platform key it is the one that the request names, if its header does."""
    if principal is None:
        return ""
    if principal.tenant_id != PLATFORM:
        return principal.tenant_id
    named = Headers(scope=scope).get("X-Tenant-ID", "")
    return named if named.isascii() and named.isprintable() and len(named) <= 64 and " " not in named else ""
