"""Spans inside a stage's replica: those of calls, and of the work that several calls share."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine, Sequence
from functools import wraps
from typing import Any, NamedTuple, TypeVar, cast

from opentelemetry.trace import INVALID_SPAN, Span, SpanKind

from deployments.telemetry import spans, tracing
from deployments.telemetry.tracing import TraceHeaders

M = TypeVar("M", bound=Callable[..., Coroutine[Any, Any, Any]])
TRACE = "trace"
"""The argument by which a call brings its caller's trace. A call of a trace that is not sampled lacks it."""


def brought() -> dict[str, TraceHeaders]:
    """The arguments that bring the current span to another process's method that is `traced`."""
    headers = tracing.headers()
    return {TRACE: headers} if headers else {}


def traced(name: str) -> Callable[[M], M]:
    """Decorates a method of a stage: a call that brings a trace is a span there, with all that the method does."""

    def decorate(method: M) -> M:
        @wraps(method)
        async def call(*args: Any, trace: TraceHeaders | None = None, **kwargs: Any) -> Any:
            if not trace:
                return await method(*args, **kwargs)
            with tracing.CurrentSpan(begin_call(name, trace)):
                return await method(*args, **kwargs)

        return cast(M, call)

    return decorate


def begin_call(name: str, trace: TraceHeaders) -> Span:
    """The span of a call that brought this trace. It does not record if the trace is not sampled, or is none."""
    span = tracing.begin(name, kind=SpanKind.SERVER, parent=tracing.remote(trace))
    if span.is_recording():
        span.set_attribute("gen_ai.operation.name", spans.OPERATIONS.get(name, name))
    return span


class Caller(NamedTuple):
    """A call's span, and since when it has waited: ns since 1970, 0 once it waits no more."""

    span: Span
    since_ns: int

    @classmethod
    def current(cls) -> Caller:
        return cls(tracing.current(), time.time_ns())

    def served(self) -> Caller:
        return self._replace(since_ns=0)


def begin_shared(name: str, callers: Sequence[Caller], size: int) -> Span:
    """Work on `size` items that the callers share: below the first of them that is traced, and linked to each.

    Each caller's wait, which ends now, becomes a span below its own.
    """
    traced_callers = [caller for caller in callers if caller.span.is_recording()]
    if not traced_callers:
        return INVALID_SPAN
    for span, since_ns in traced_callers:
        if since_ns:
            tracing.end(tracing.begin(spans.QUEUE, parent=span, at_ns=since_ns))
    traced_calls = [caller.span for caller in traced_callers]
    contexts = [span.get_span_context() for span in traced_calls]
    shared = tracing.begin(name, parent=traced_calls[0], links=contexts)
    shared.set_attribute("rag.batch.size", size)
    shared.set_attribute("rag.batch.calls", len(callers))
    for span in traced_calls:
        span.add_link(shared.get_span_context())
    return shared
