from __future__ import annotations

from dataclasses import asdict, replace
from itertools import cycle

import pytest

from deployments.telemetry.metrics import (
    DEGRADED,
    DOCUMENTS,
    FIRST_TOKEN_SECONDS,
    MAX_LABEL_SETS,
    QUESTION_SECONDS,
    QUESTIONS,
    STAGE_SECONDS,
    TENANT_QUESTIONS,
    TOKEN_SECONDS,
    TOKENS,
)
from serve_app.api.errors import STATUS
from serve_app.platform import telemetry
from serve_app.platform.events import Event
from serve_app.platform.query_log import QueryOutcome
from serve_app.platform.telemetry import DocumentMetrics, QueryMetrics, TenantLabels
from tests.support.recorder import RecordedLabelSets, RecordedMetrics

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
    assert recorder.of(QUESTIONS) == [({"outcome": "stop", "engine": "vllm"}, 1)]
    assert recorder.of(TENANT_QUESTIONS) == [({"result": "answered", "tenant": "other"}, 1)]
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
    assert [(metric, given) for metric, given, _ in recorder.values] == [
        (QUESTIONS, {"outcome": "stage_unavailable", "engine": "none"}),
        (TENANT_QUESTIONS, {"result": "failed", "tenant": "other"}),
    ]


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


OUTCOMES = ["stop", "length", "no_answer", "cancelled", *[error.code for error in STATUS]]
ENGINES = ["vllm", "extractive", "fake", None]


async def test_ten_thousand_tenants_with_all_outcomes_make_few_series() -> None:
    recorder, details = RecordedLabelSets(), cycle([
        asdict(replace(ANSWERED, outcome=outcome, engine=engine, degraded=("embedding", "reranking")))
        for outcome in OUTCOMES for engine in ENGINES
    ])  # fmt: skip
    questions, documents = QueryMetrics(recorder), DocumentMetrics(recorder)
    busy = [f"busy {number}" for number in range(2 * telemetry.MAX_TENANT_LABELS)]
    often = busy * max(telemetry.NAMED_FROM, len(OUTCOMES) * len(ENGINES))
    for tenants in ([f"visitor {number}" for number in range(10_000)], often):
        await questions.handle([Event("query.completed", tenant, "q", next(details)) for tenant in tenants])
        for event in ("document.indexed", "document.failed"):
            await documents.handle([Event(event, tenant, "d") for tenant in tenants])
    for metric in (TENANT_QUESTIONS, TOKENS, DOCUMENTS):
        assert len({dict(labels)["tenant"] for labels in recorder.of[metric]}) == telemetry.MAX_TENANT_LABELS + 1
    assert {dict(labels)["outcome"] for labels in recorder.of[QUESTIONS]} == {*OUTCOMES}
    assert max(map(len, recorder.of.values())) <= MAX_LABEL_SETS
