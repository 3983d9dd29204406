from __future__ import annotations

from collections import defaultdict
from dataclasses import asdict, replace

import pytest

from deployments.telemetry.metrics import (
    DEGRADED,
    DOCUMENTS,
    FIRST_TOKEN_SECONDS,
    QUESTION_SECONDS,
    QUESTIONS,
    STAGE_SECONDS,
    TOKEN_SECONDS,
    TOKENS,
    Metric,
)
from serve_app.platform import telemetry
from serve_app.platform.events import Event
from serve_app.platform.query_log import QueryOutcome
from serve_app.platform.telemetry import DocumentMetrics, QueryMetrics, TenantLabels
from tests.support.recorder import RecordedMetrics

ANSWERED = QueryOutcome(
    user="",
    language="hr",
    outcome="stop",
    engine="vllm",
    model="tiny",
    sources=3,
    prompt_tokens=100,
    cached_tokens=60,
    completion_tokens=21,
    degraded=("reranking",),
    timings={"embedding": 5.0, "retrieval": 7.0, "sources": 15.0, "first_token": 120.0, "total": 900.0},
    trace_id="",
)
FAILED = QueryOutcome(
    user="", language="hr", outcome="stage_unavailable", engine=None, model=None, sources=0, prompt_tokens=0,
    cached_tokens=0, completion_tokens=0, degraded=(), timings={}, trace_id="",
)  # fmt: skip


async def test_an_answer_moves_the_metrics_of_its_stages_tokens_and_times() -> None:
    recorder = RecordedMetrics()
    await QueryMetrics(recorder).handle([Event("query.completed", "t", "q", asdict(ANSWERED))])
    assert recorder.of(QUESTIONS) == [({"outcome": "stop", "engine": "vllm", "tenant": "other"}, 1)]
    assert recorder.of(TOKENS) == [
        ({"kind": "prompt", "tenant": "other"}, 100),
        ({"kind": "cached", "tenant": "other"}, 60),
        ({"kind": "completion", "tenant": "other"}, 21),
    ]
    assert recorder.of(STAGE_SECONDS) == [({"stage": "embedding"}, 0.005), ({"stage": "retrieval"}, 0.007)]
    assert recorder.of(QUESTION_SECONDS) == [({"engine": "vllm"}, 0.9)]
    assert recorder.of(FIRST_TOKEN_SECONDS) == [({"engine": "vllm"}, 0.12)]
    [(labels, between)] = recorder.of(TOKEN_SECONDS)
    assert labels == {"engine": "vllm"}
    assert between == pytest.approx(0.039)
    assert recorder.of(DEGRADED) == [({"stage": "reranking"}, 1)]


async def test_an_answer_of_one_token_has_no_time_between_tokens() -> None:
    recorder = RecordedMetrics()
    outcome = asdict(replace(ANSWERED, completion_tokens=1))
    await QueryMetrics(recorder).handle([Event("query.completed", "t", "q", outcome)])
    assert not recorder.of(TOKEN_SECONDS)


async def test_a_question_that_failed_has_no_times() -> None:
    recorder = RecordedMetrics()
    await QueryMetrics(recorder).handle([Event("query.failed", "t", "q", asdict(FAILED))])
    labels = {"outcome": "stage_unavailable", "engine": "none", "tenant": "other"}
    assert [(metric, given) for metric, given, _ in recorder.values] == [(QUESTIONS, labels)]


async def test_documents_are_counted_by_what_became_of_them() -> None:
    recorder = RecordedMetrics()
    events = [Event("document.indexed", "t", "d"), Event("document.failed", "t", "e")]
    await DocumentMetrics(recorder).handle(events)
    assert [labels["outcome"] for labels, _ in recorder.of(DOCUMENTS)] == ["indexed", "failed"]


def test_busy_tenants_are_named_and_visitors_are_not() -> None:
    labels = TenantLabels()
    assert {labels.of(f"visitor {number}") for number in range(10_000)} == {"other"}
    busy = [f"busy {number}" for number in range(2 * telemetry.MAX_TENANT_LABELS)]
    for _ in range(telemetry.NAMED_FROM):
        given = {tenant_id: labels.of(tenant_id) for tenant_id in busy}
    named = [tenant_id for tenant_id, label in given.items() if label == tenant_id]
    assert named == busy[: telemetry.MAX_TENANT_LABELS]
    assert labels.of(busy[-1]) == "other"


class LabelSets:
    """Keeps the sets of labels that each metric was given."""

    def __init__(self) -> None:
        self.of: dict[Metric, set[tuple[tuple[str, str], ...]]] = defaultdict(set)

    def record(self, metric: Metric, value: float, **labels: str) -> None:
        self.of[metric].add(tuple(labels.items()))


async def test_ten_thousand_tenants_that_ask_once_make_few_series() -> None:
    recorder, details = LabelSets(), asdict(ANSWERED)
    metrics = QueryMetrics(recorder)
    busy = [f"busy {number}" for number in range(2 * telemetry.MAX_TENANT_LABELS)]
    for tenants in ([f"visitor {number}" for number in range(10_000)], busy * telemetry.NAMED_FROM):
        await metrics.handle([Event("query.completed", tenant, "q", details) for tenant in tenants])
    assert len({dict(labels)["tenant"] for labels in recorder.of[QUESTIONS]}) == 50
    assert max(map(len, recorder.of.values())) <= 200
