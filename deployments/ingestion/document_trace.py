"""The trace of one attempt to index a document."""

from __future__ import annotations

from deployments.ingestion.base import DocumentTask
from deployments.telemetry import spans, tracing


def document_span(task: DocumentTask) -> tracing.CurrentSpan:
    """The first span of the document's trace, current within the block. It is linked to the request that handed the
    document in, and is sampled as that was."""
    request = tracing.remote(task.trace).get_span_context()
    span = tracing.begin_trace(spans.DOCUMENT, {}, links=[request] if request.is_valid else [])
    if span.is_recording():
        span.set_attribute("rag.tenant", task.tenant_id)
        span.set_attribute("rag.document_id", task.document_id)
        span.set_attribute("rag.job_id", task.job_id)
        span.set_attribute("rag.attempt", task.attempts)
    return tracing.CurrentSpan(span)
