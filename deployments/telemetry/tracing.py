"""Spans of this process: a stage's or the ingress's. OpenTelemetry makes them; here they are started and joined.

The current span is OpenTelemetry's, and so follows the request's tasks. What a request starts in a context of its own
(`deployments.tasks.spawn_detached`) is not of its trace. Between processes the context travels as plain data, the
headers of W3C, beside a call's other arguments: Serve's own tracing is not used (decision 56).

Only a trace that is sampled costs more than its ids: below a span that does not record, no span is made.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import os
import socket
import threading
from collections.abc import Coroutine, Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any, Literal

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, Sampler, SamplingResult, TraceIdRatioBased
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    format_span_id,
    format_trace_id,
)
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from opentelemetry.trace.span import TraceState
from opentelemetry.util.types import Attributes

from deployments.errors import RagError
from deployments.telemetry import exporters
from deployments.telemetry.config import TelemetryConfig

TraceHeaders = Mapping[str, str]
"""W3C's `traceparent` and `tracestate`: how a span's context travels to another process."""
_TRACESTATE = "tracestate"
MAX_TRACESTATE = 512
"""Characters of `tracestate`. A longer one is dropped, as it would travel with each stage's call and lie in the table
of jobs. W3C asks to keep as many: https://www.w3.org/TR/trace-context/#tracestate-limits."""
_PROPAGATOR = TraceContextTextMapPropagator()
_QUOTING_LOGGERS = ("opentelemetry.trace.span", "opentelemetry.trace.propagation.tracecontext")
"""They warn of a header that is malformed, and quote it: text of a caller who is not even known yet."""
for _name in _QUOTING_LOGGERS:
    logging.getLogger(_name).setLevel(logging.ERROR)
_EXPORT_EVERY_MS = 1_000
_LAST_EXPORT_S = 3.0
"""How long the end of a replica waits for its last spans to be exported. `rag up` gives a replica five seconds."""
_EXPORT_NOW_S = 0.5
_SCOPE = "rag"
_UNSAMPLED = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False).get_tracer(_SCOPE)
_provider: TracerProvider | None = None
_tracer = _UNSAMPLED
_content = False
_is_replica = False
_exporting: _Export | None = None
logger = logging.getLogger(__name__)


class _Export:
    """One of all spans that wait, in a thread of its own, so that it takes none from the process's work."""

    def __init__(self, provider: TracerProvider) -> None:
        self.is_late = False
        self._done = threading.Event()
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        threading.Thread(target=self._run, args=[provider], name="export", daemon=True).start()

    def _run(self, provider: TracerProvider) -> None:
        try:
            provider.force_flush()
        finally:
            self._done.set()
            with suppress(RuntimeError):  # the loop is closed
                self._loop.call_soon_threadsafe(self._ended.set)

    def done(self) -> bool:
        return self._done.is_set()

    async def ended(self) -> None:
        await self._ended.wait()


class _RootSampler(Sampler):
    """A root that is linked to other spans is sampled if one of them is; others by the ratio."""

    def __init__(self, ratio: float) -> None:
        self._by_ratio = TraceIdRatioBased(ratio)

    def should_sample(
        self,
        parent_context: Context | None,
        trace_id: int,
        name: str,
        kind: SpanKind | None = None,
        attributes: Attributes = None,
        links: Sequence[Link] | None = None,
        trace_state: TraceState | None = None,
    ) -> SamplingResult:
        if links:
            is_sampled = any(link.context.trace_flags.sampled for link in links)
            sampler = TraceIdRatioBased(1.0 if is_sampled else 0.0)
            return sampler.should_sample(parent_context, trace_id, name, kind, attributes, links)
        return self._by_ratio.should_sample(parent_context, trace_id, name, kind, attributes, links)

    def get_description(self) -> str:
        return f"RootSampler({self._by_ratio.get_description()})"


def start(config: TelemetryConfig | None, service: str, *, replica: str = "") -> None:
    """Trace from here on in this process. `service` is the deployment's name. Does nothing the second time."""
    if config is None or _provider is not None or (exporter := exporters.create(config)) is None:
        return
    use(
        BatchSpanProcessor(exporter, config.max_waiting, _EXPORT_EVERY_MS),
        service,
        replica=replica,
        ratio=config.sampling_ratio,
        content=config.content,
    )


def use(
    processor: SpanProcessor, service: str, *, replica: str = "", ratio: float = 1.0, content: bool = False
) -> None:
    """Hand spans to the processor. What `start` does with the one that is configured, and tests with their own."""
    global _provider, _tracer, _content, _is_replica, _exporting
    _exporting = None
    resource = Resource.create(
        {
            "service.name": f"rag-{service}",
            "service.instance.id": replica or str(os.getpid()),
            "host.name": socket.gethostname(),
        }
    )
    sampler = ParentBased(_RootSampler(ratio))
    _provider = TracerProvider(sampler=sampler, resource=resource, shutdown_on_exit=False)
    _provider.add_span_processor(processor)
    _tracer, _content, _is_replica = _provider.get_tracer(_SCOPE), content, bool(replica)
    atexit.register(stop)


def stop() -> None:
    """Export what waits, and trace no more. Blocks until that is done. Does nothing the second time."""
    global _provider, _tracer, _content, _is_replica
    provider, _provider, _tracer, _content, _is_replica = _provider, None, _UNSAMPLED, False, False
    if provider is not None:
        atexit.unregister(stop)
        provider.shutdown()


async def export_now() -> None:
    """Export what waits, for a process that may be killed at any time. Never raises, and returns after _EXPORT_NOW_S at
    the latest. While a collector that is away holds one thread up, it waits no more and takes no other thread: that one
    goes on with all that waits. Does nothing where this process traces nothing."""
    global _exporting
    if (provider := _provider) is None or (_exporting is not None and not _exporting.done() and _exporting.is_late):
        return
    try:
        async with asyncio.timeout(_EXPORT_NOW_S):
            while _exporting is not None and not _exporting.done():
                await _exporting.ended()
            _exporting = _Export(provider)
            await _exporting.ended()
    except TimeoutError:
        if _exporting is not None:
            _exporting.is_late = True


def end_of_replica() -> Coroutine[Any, Any, None] | None:
    """What a deployment's `__del__` returns: Serve awaits it, and then kills the process, which runs no `atexit`.

    None where no replica traces, so that a deployment that is merely dropped ends nobody's traces.
    """
    return _stop_off_loop() if _is_replica else None


async def _stop_off_loop() -> None:
    try:
        async with asyncio.timeout(_LAST_EXPORT_S):
            await asyncio.to_thread(stop)
    except TimeoutError:
        logger.warning("the last spans were not exported within %g s, and are lost", _LAST_EXPORT_S)


def keeps_content() -> bool:
    """Whether spans may hold questions, passages and answers."""
    return _content


def current() -> Span:
    return trace.get_current_span()


def headers(of: Span | None = None) -> TraceHeaders:
    """The context of a span, by default the current one, for another process. Empty unless the span records."""
    span = of if of is not None else trace.get_current_span()
    carrier: dict[str, str] = {}
    if span.is_recording():
        _PROPAGATOR.inject(carrier, trace.set_span_in_context(span, Context()))
    return carrier


def origin() -> TraceHeaders:
    """The context of the request at hand, sampled or not, for work that is done later. Empty outside of a request, and
    while this process traces nothing."""
    carrier: dict[str, str] = {}
    if _provider is not None:
        _PROPAGATOR.inject(carrier)
    return carrier


def trace_id(of: Span | None = None) -> str:
    """32 hexadecimal digits; empty outside of a request."""
    context = (of if of is not None else trace.get_current_span()).get_span_context()
    return format_trace_id(context.trace_id) if context.is_valid else ""


def traceparent(span: Span) -> str:
    """The header that names the span, whether it records or not."""
    context = span.get_span_context()
    flags = context.trace_flags & 0x01
    return f"00-{format_trace_id(context.trace_id)}-{format_span_id(context.span_id)}-{flags:02x}"


def remote(sent: TraceHeaders) -> Span:
    """Another process's span, to be a parent. INVALID_SPAN if it sent nothing that can be read."""
    return trace.get_current_span(_context_of(sent)) if sent else INVALID_SPAN


def _context_of(sent: TraceHeaders) -> Context:
    if len(sent.get(_TRACESTATE, "")) > MAX_TRACESTATE:
        sent = {name: value for name, value in sent.items() if name != _TRACESTATE}
    return _PROPAGATOR.extract(sent, Context())


def begin(
    name: str,
    *,
    kind: SpanKind = SpanKind.INTERNAL,
    parent: Span | None = None,
    links: Sequence[SpanContext | None] = (),
    at_ns: int | None = None,
) -> Span:
    """A span that is not made current: for what goes on in several tasks. The caller ends it, by `end`.

    `parent`: by default the current span. One that is not sampled has no children.
    """
    found = parent if parent is not None else trace.get_current_span()
    if not found.get_span_context().trace_flags.sampled:
        return INVALID_SPAN
    return _tracer.start_span(
        name,
        trace.set_span_in_context(found, Context()),
        kind,
        links=[Link(each) for each in links if each is not None],
        start_time=at_ns,
    )


def begin_trace(
    name: str,
    sent: TraceHeaders,
    *,
    links: Sequence[SpanContext] = (),
    may_record: bool = True,
    at_ns: int | None = None,
) -> Span:
    """The first span of a trace here: below the caller's, if `sent` names one. It has ids, whether it records or not.

    `may_record`: false for what is not worth a trace, whatever the caller wants.
    """
    tracer = _tracer if may_record else _UNSAMPLED
    context = _context_of(sent)
    linked = [Link(each) for each in links]
    return tracer.start_span(name, context, SpanKind.SERVER, links=linked, start_time=at_ns)


def end(span: Span, error: BaseException | None = None, *, at_ns: int | None = None) -> None:
    """End a span. An error gives it a status and a code. Its text stays out: it may quote what the caller sent."""
    mark(span, error)
    span.end(at_ns)


def mark(span: Span, error: BaseException | None) -> None:
    """Tell a span's error without ending it; None for none."""
    if error is not None and span.is_recording():
        if isinstance(error, asyncio.CancelledError | GeneratorExit):
            span.set_attribute("rag.cancelled", True)
        else:
            span.set_status(Status(StatusCode.ERROR))
            span.set_attribute("error.type", error.code if isinstance(error, RagError) else type(error).__name__)


class CurrentSpan:
    """Makes a span the current one within the block, and ends it after. One that does not record is left out, unless
    it is to be `kept`, for its ids. `marked`: whether the block's error is the span's."""

    __slots__ = ("_is_current", "_marked", "_span", "_token")

    def __init__(self, span: Span, *, kept: bool = False, marked: bool = True) -> None:
        self._span = span
        self._marked = marked
        self._is_current = kept or span.is_recording()

    def __enter__(self) -> Span:
        if self._is_current:
            self._token = contexts.attach(trace.set_span_in_context(self._span))
        return self._span

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trail: TracebackType | None
    ) -> Literal[False]:
        if self._is_current:
            contexts.detach(self._token)
            end(self._span, error if self._marked else None)
        return False


def span(name: str, *, kind: SpanKind = SpanKind.INTERNAL) -> CurrentSpan:
    """`with span(NAME):` a child of the current span, current within the block, which is to be in one task."""
    return CurrentSpan(begin(name, kind=kind))
