"""Subscribers that turn events into metrics."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Final

from cachetools import LRUCache

from deployments.telemetry.metrics import (
    DEGRADED,
    DOCUMENTS,
    FIRST_TOKEN_SECONDS,
    QUESTION_SECONDS,
    QUESTIONS,
    STAGE_SECONDS,
    TENANT_QUESTIONS,
    TOKEN_SECONDS,
    TOKENS,
    Recorder,
)
from deployments.telemetry.timings import MOMENTS
from serve_app.platform.events import Event
from serve_app.platform.query_log import QUERY_EVENTS, QueryOutcome

MAX_TENANT_LABELS: Final = 49
"""Tenants that a process names in its metrics. Ray keeps a series for as long as the process lives."""
NAMED_FROM: Final = 20
"""A tenant is named from its so manieth event on, so that rare visitors do not use up the names."""
OTHER: Final = "other"
_COUNTED: Final = 10_000
_RESULTS: Final = {"stop": "answered", "length": "answered", "no_answer": "answered", "cancelled": "cancelled"}
"""By the outcome. Others are errors' codes."""


class TenantLabels:
    """The label of each tenant: its id if it is among the busy ones, and `other` if not."""

    def __init__(self) -> None:
        self._named: set[str] = set()
        self._seen: LRUCache[str, int] = LRUCache(_COUNTED)

    def of(self, tenant_id: str) -> str:
        """Counts the call. A tenant that has a name keeps it."""
        if tenant_id in self._named:
            return tenant_id
        if len(self._named) >= MAX_TENANT_LABELS:
            return OTHER
        self._seen[tenant_id] = self._seen.get(tenant_id, 0) + 1
        if self._seen[tenant_id] < NAMED_FROM:
            return OTHER
        self._named.add(tenant_id)
        del self._seen[tenant_id]
        return tenant_id


class _Metrics(ABC):
    """A subscriber that only counts, so it takes many events at once."""

    batch_size = 256
    pause_s = 0.2

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._tenants = TenantLabels()

    async def handle(self, events: Sequence[Event]) -> None:
        for event in events:
            self._record(event, self._tenants.of(event.tenant_id))

    @abstractmethod
    def _record(self, event: Event, tenant: str) -> None: ...


class QueryMetrics(_Metrics):
    name = "the metrics of queries"
    types = QUERY_EVENTS

    def _record(self, event: Event, tenant: str) -> None:
        outcome, record = QueryOutcome(**event.details), self._recorder.record
        engine = outcome.engine or "none"
        record(QUESTIONS, 1, outcome=outcome.outcome, engine=engine)
        record(TENANT_QUESTIONS, 1, result=_RESULTS.get(outcome.outcome, "failed"), tenant=tenant)
        counts = {
            "prompt": outcome.prompt_tokens,
            "cached": outcome.cached_tokens,
            "completion": outcome.completion_tokens,
        }
        for kind, tokens in counts.items():
            if tokens:
                record(TOKENS, tokens, kind=kind, tenant=tenant)
        for stage in outcome.degraded:
            record(DEGRADED, 1, stage=stage)
        for name, milliseconds in outcome.timings.items():
            if name not in MOMENTS:
                record(STAGE_SECONDS, milliseconds / 1000, stage=name)
        for name, metric in (("total", QUESTION_SECONDS), ("first_token", FIRST_TOKEN_SECONDS)):
            if name in outcome.timings:
                record(metric, outcome.timings[name] / 1000, engine=engine)
        if outcome.completion_tokens > 1 and {"first_token", "total"} <= outcome.timings.keys():
            generating_s = (outcome.timings["total"] - outcome.timings["first_token"]) / 1000
            record(TOKEN_SECONDS, generating_s / (outcome.completion_tokens - 1), engine=engine)


class DocumentMetrics(_Metrics):
    name = "the metrics of documents"
    types = frozenset({"document.indexed", "document.failed"})

    def _record(self, event: Event, tenant: str) -> None:
        outcome = "failed" if event.type == "document.failed" else "indexed"
        self._recorder.record(DOCUMENTS, 1, outcome=outcome, tenant=tenant)
