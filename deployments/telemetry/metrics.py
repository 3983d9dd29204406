"""What the service measures: each metric is declared here and nowhere else.

A port records metrics.
Prometheus sees a name with the prefix `ray_`, and a counter's with the suffix `_total`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
"""Upper bounds of a histogram's buckets, unless it has its own."""
SHORT_SECONDS = (0.001, 0.0025, 0.005, *SECONDS[:-2])
"""Of what may take a few milliseconds."""
SHARES = (0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 1.0)

GAUGES_EVERY_S = 5.0
"""How often a gauge is to be set, changed or not. Ray exports every 10 s what was set since, and its agent forgets what
did not come for 20 s (`gauge_metric_ttl_seconds`)."""


@dataclass(frozen=True, slots=True)
class Metric:
    """`labels`: the names of its labels, beside those that Serve adds: deployment, replica and application."""

    name: str
    kind: Literal["counter", "histogram", "gauge"]
    description: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = SECONDS

    @property
    def exported_name(self) -> str:
        """Its name in Prometheus; a histogram's series end in _bucket, _count and _sum besides."""
        return f"ray_{self.name}_total" if self.kind == "counter" else f"ray_{self.name}"


MAX_LABEL_SETS = 200
"""Sets of labels that a metric may have, not counting those that Serve adds. So none has both the route and the status,
or both the tenant and the outcome."""

REQUESTS = Metric("rag_requests", "counter", "HTTP requests that were answered", ("status",))
FAILED_REQUESTS = Metric("rag_requests_failed", "counter", "HTTP requests that failed with 5xx", ("route", "method"))
REQUEST_SECONDS = Metric(
    "rag_request_seconds", "histogram", "Time until the last byte of an HTTP answer", ("route", "method")
)
REFUSALS = Metric("rag_refusals", "counter", "Requests that were answered with an error, by its code", ("code",))
QUESTIONS = Metric("rag_questions", "counter", "Questions that have ended", ("outcome", "engine"))
TENANT_QUESTIONS = Metric(
    "rag_tenant_questions", "counter", "Questions of a tenant that have ended, and how", ("result", "tenant")
)
QUESTION_SECONDS = Metric("rag_question_seconds", "histogram", "Time until the end of an answer", ("engine",))
FIRST_TOKEN_SECONDS = Metric(
    "rag_first_token_seconds", "histogram", "Time until the first text of an answer", ("engine",)
)
TOKEN_SECONDS = Metric(
    "rag_token_seconds", "histogram", "Mean time between the tokens of an answer", ("engine",), SHORT_SECONDS
)
STAGE_SECONDS = Metric("rag_stage_seconds", "histogram", "Time that a question spent in a stage", ("stage",))
TOKENS = Metric("rag_tokens", "counter", "Tokens of prompts and of answers", ("kind", "tenant"))
DEGRADED = Metric("rag_degraded", "counter", "Answers that went without a stage", ("stage",))
_OF_CALL = ("stage", "work")
CALL_SECONDS = Metric(
    "rag_stage_call_seconds", "histogram", "Time of a call to a stage, as its caller sees it", _OF_CALL, SHORT_SECONDS
)
QUEUE_SECONDS = Metric(
    "rag_stage_queue_seconds", "histogram", "Time that a call waited in the stage's replica", _OF_CALL, SHORT_SECONDS
)
SERVICE_SECONDS = Metric(
    "rag_stage_service_seconds", "histogram", "Time that the stage's replica worked on a call", _OF_CALL, SHORT_SECONDS
)
BATCH_FILL = Metric(
    "rag_batch_fill", "histogram", "How full a model's pass was, as a share of the largest one", _OF_CALL, SHARES
)
SHARED_CALLS = Metric("rag_shared_calls", "counter", "Calls that shared a pass or a search with others", _OF_CALL)
SLOTS = Metric("rag_slots", "gauge", "Slots in generation that the ingress replica may hand out")
SLOTS_USED = Metric("rag_slots_used", "gauge", "Slots in generation that answers hold now")
SLOTS_WAITED_FOR = Metric("rag_slots_waited_for", "gauge", "Questions that wait for a slot in generation now")
DOCUMENTS = Metric("rag_documents", "counter", "Documents that were indexed, or failed", ("outcome", "tenant"))
DOCUMENTS_WAITING = Metric("rag_documents_waiting", "gauge", "Documents that wait to be indexed", ("tenant_class",))
INGESTION_LAG = Metric("rag_ingestion_lag_seconds", "gauge", "How long the oldest waiting document has waited")
DOCUMENTS_STORED = Metric("rag_documents_stored", "gauge", "Documents that tenants have")
INDEX_PASSAGES = Metric("rag_index_passages", "gauge", "Passages that searches may find")
BLOB_BYTES = Metric("rag_blob_bytes", "gauge", "Bytes in the blob store")
WEBHOOKS_WAITING = Metric(
    "rag_webhooks_waiting", "gauge", "Messages to webhooks of active tenants that are due, or are being sent"
)

METRICS = (
    REQUESTS, FAILED_REQUESTS, REQUEST_SECONDS, REFUSALS, QUESTIONS, TENANT_QUESTIONS, QUESTION_SECONDS,
    FIRST_TOKEN_SECONDS, TOKEN_SECONDS, STAGE_SECONDS, TOKENS, DEGRADED, CALL_SECONDS, QUEUE_SECONDS, SERVICE_SECONDS,
    BATCH_FILL, SHARED_CALLS, SLOTS, SLOTS_USED, SLOTS_WAITED_FOR, DOCUMENTS, DOCUMENTS_WAITING, INGESTION_LAG,
    DOCUMENTS_STORED, INDEX_PASSAGES, BLOB_BYTES, WEBHOOKS_WAITING,
)  # fmt: skip


class Recorder(Protocol):
    """Where values of metrics go. `record` never waits, and never raises for a metric of this module."""

    def record(self, metric: Metric, value: float, **labels: str) -> None:
        """Add to a counter, observe in a histogram, or set a gauge. `labels`: a value for each of the metric's."""


class _NoRecorder:
    def record(self, metric: Metric, value: float, **labels: str) -> None: ...


NO_RECORDER: Recorder = _NoRecorder()
"""Records nothing: for tests, and for code that runs outside of the service."""
