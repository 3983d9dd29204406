"""A request's span: in its scope, and in the header `traceparent` of its answer."""

from __future__ import annotations

from typing import Final

from opentelemetry.trace import Span
from starlette.datastructures import Headers
from starlette.types import Scope

from deployments.telemetry import tracing

HEADER: Final = "traceparent"
ARRIVAL: Final = "rag.arrival"
"""The extension of a scope by which the edge tells when the request arrived: `at_ns`, since 1970."""
_SPAN: Final = "span"
_NOT_TRACED: Final = ("/health", "/healthz", "/readyz", "/metrics")
"""What machines ask for all the time."""


def begin(scope: Scope) -> Span:
    """Begin the request's span, below the caller's if it sent `traceparent`, and keep it in the scope."""
    sent = Headers(scope=scope)
    headers = {name: sent[name] for name in (HEADER, "tracestate") if name in sent}
    span = tracing.begin_trace(
        scope["method"], headers, may_record=scope["path"] not in _NOT_TRACED, at_ns=arrival_ns(scope)
    )
    scope[_SPAN] = span
    return span


def arrival_ns(scope: Scope) -> int | None:
    """When the request arrived at the edge; None where there is none."""
    at_ns: int | None = scope.get("extensions", {}).get(ARRIVAL, {}).get("at_ns")
    return at_ns


def headers_of(scope: Scope) -> dict[str, str]:
    """`traceparent` of the request's answer. Empty before the request has a span."""
    span: Span | None = scope.get(_SPAN)
    return {} if span is None else {HEADER: tracing.traceparent(span)}


def trace_id_of(scope: Scope) -> str:
    """32 hexadecimal digits; empty before the request has a span."""
    span: Span | None = scope.get(_SPAN)
    return "" if span is None else tracing.trace_id(span)
