"""Spans that a test's own process ends, kept in memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from deployments.telemetry import tracing


class KeptSpans:
    """The spans that have ended."""

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self._exporter = exporter

    @property
    def all(self) -> list[ReadableSpan]:
        return [*self._exporter.get_finished_spans()]

    def named(self, name: str) -> list[ReadableSpan]:
        return [span for span in self.all if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        [span] = self.named(name)
        return span

    def children(self, of: ReadableSpan) -> list[str]:
        """Names, in the order in which they began."""
        below = [span for span in self.all if span.parent is not None and span.parent.span_id == span_id(of)]
        return [span.name for span in sorted(below, key=lambda span: span.start_time or 0)]


def span_id(span: ReadableSpan) -> int:
    context = span.get_span_context()
    assert context is not None
    return context.span_id


def trace_id(span: ReadableSpan) -> str:
    context = span.get_span_context()
    assert context is not None
    return f"{context.trace_id:032x}"


@contextmanager
def kept_spans(*, ratio: float = 1.0, content: bool = False) -> Iterator[KeptSpans]:
    exporter = InMemorySpanExporter()
    tracing.use(SimpleSpanProcessor(exporter), "test", ratio=ratio, content=content)
    try:
        yield KeptSpans(exporter)
    finally:
        tracing.stop()
