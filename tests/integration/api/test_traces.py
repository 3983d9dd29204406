"""A request's trace as the ingress makes it: its spans, its ids on every answer, and what it leaves out."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest
from opentelemetry.trace import StatusCode

from deployments.errors import Overloaded, StageUnavailable
from deployments.ingestion.document_trace import document_span
from deployments.telemetry import spans, tracing
from tests.integration.api.conftest import Api
from tests.support.traces import KeptSpans, kept_spans, span_id, trace_id

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
QUESTION = {"query": "Koji je tajni rok?", "language": "hr", "stream": False}
SAMPLED = {"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "shop=1"}
STAGES = [
    spans.EMBEDDING, spans.LEXICAL, spans.VISIBILITY, spans.RETRIEVAL, spans.RERANKING, spans.SECTIONS, spans.PROMPT,
    spans.GENERATION,
]  # fmt: skip


@pytest.fixture
def kept() -> Iterator[KeptSpans]:
    with kept_spans() as made:
        yield made


def ids(answer: httpx.Response) -> tuple[str, str, str]:
    _, trace, span, flags = answer.headers["traceparent"].split("-")
    return trace, span, flags


@pytest.mark.parametrize("stream", [False, True])
async def test_a_question_s_trace_has_each_stage_below_the_request(api: Api, kept: KeptSpans, stream: bool) -> None:
    answer = await api.client.post("/v1/query", json={**QUESTION, "stream": stream}, headers=SAMPLED)
    request = kept.one("POST /v1/query")
    assert request.parent is not None
    assert (trace_id(request), f"{request.parent.span_id:016x}") == (TRACE, PARENT)
    assert ids(answer) == (TRACE, f"{span_id(request):016x}", "01")
    assert {trace_id(span) for span in kept.all} == {TRACE}
    assert sorted(kept.children(request)) == sorted([spans.AUTHENTICATION, spans.ADMISSION, *STAGES])
    assert request.attributes is not None
    assert request.attributes["rag.query_id"] == answer.headers["X-Query-ID"]
    assert request.attributes["rag.request_id"] == answer.headers["X-Request-ID"]
    assert (request.attributes["rag.tenant"], request.attributes["http.response.status_code"]) == ("t", 200)
    generation = kept.one(spans.GENERATION)
    assert generation.attributes is not None
    assert generation.attributes["gen_ai.usage.output_tokens"] == 2
    assert generation.attributes["gen_ai.response.finish_reasons"] == ("stop",)
    assert [event.name for event in generation.events] == [spans.FIRST_TOKEN]
    assert request.get_span_context().trace_state == {"shop": "1"}  # type: ignore[union-attr]


async def test_stages_that_run_at_once_do_not_nest(api: Api, kept: KeptSpans) -> None:
    api.stages.delays |= {"embedding": 0.02, "lexical": 0.01, "visibility": 0.03}
    await api.client.post("/v1/query", json=QUESTION)
    first = [kept.one(name) for name in (spans.EMBEDDING, spans.LEXICAL, spans.VISIBILITY)]
    assert {span.parent.span_id for span in first if span.parent} == {span_id(kept.one("POST /v1/query"))}
    assert max(span.start_time or 0 for span in first) < min(span.end_time or 0 for span in first)


async def test_a_request_without_a_trace_begins_one(api: Api, kept: KeptSpans) -> None:
    answer = await api.client.get("/v1/jobs")
    request = kept.one("GET /v1/jobs")
    assert request.parent is None
    assert ids(answer) == (trace_id(request), f"{span_id(request):016x}", "01")


@pytest.mark.parametrize("sent", ["nonsense", f"00-{'0' * 32}-{PARENT}-01", f"00-{TRACE}-01", "ž" * 55])
async def test_a_traceparent_that_is_none_begins_a_trace(api: Api, kept: KeptSpans, sent: str) -> None:
    answer = await api.client.get("/v1/jobs", headers=[(b"traceparent", sent.encode())])
    assert answer.status_code == 200
    assert kept.one("GET /v1/jobs").parent is None


@pytest.mark.parametrize("sent", ["secret words,=", f"secret={'x' * 300}", "ž=secret"])
async def test_a_caller_s_malformed_tracestate_is_not_in_the_log(
    api: Api, kept: KeptSpans, caplog: pytest.LogCaptureFixture, sent: str
) -> None:
    headers = [(b"traceparent", SAMPLED["traceparent"].encode()), (b"tracestate", sent.encode())]
    await api.client.get("/v1/jobs", headers=headers)
    assert trace_id(kept.one("GET /v1/jobs")) == TRACE
    assert [record.getMessage() for record in caplog.records if record.name.startswith("opentelemetry")] == []


@pytest.mark.parametrize(("length", "is_kept"), [(tracing.MAX_TRACESTATE, True), (tracing.MAX_TRACESTATE + 1, False)])
async def test_a_long_tracestate_goes_no_further(api: Api, kept: KeptSpans, length: int, is_kept: bool) -> None:
    sent = f"a={'1' * 255},b="
    sent += "2" * (length - len(sent))
    headers = {**SAMPLED, "tracestate": sent}
    await api.client.post("/v1/query", json=QUESTION, headers=headers)
    assert trace_id(kept.one("POST /v1/query")) == TRACE
    assert api.stages.requests[0].trace.get("tracestate") == (sent if is_kept else None)
    await api.client.post("/v1/documents", json={"text": "a"}, headers=headers)
    [task] = await api.stores.jobs.queue.claim("w", lease_s=30, limit=1)
    assert task.trace.get("tracestate") == (sent if is_kept else None)


async def test_a_caller_s_trace_that_is_not_sampled_is_only_named(api: Api, kept: KeptSpans) -> None:
    answer = await api.client.post("/v1/query", json=QUESTION, headers={"traceparent": f"00-{TRACE}-{PARENT}-00"})
    trace, span, flags = ids(answer)
    assert (trace, flags, kept.all) == (TRACE, "00", [])
    assert span != PARENT
    await api.stores.events.drain()
    logged = (await api.client.get(f"/v1/queries/{answer.headers['X-Query-ID']}")).json()
    assert logged["trace_id"] == TRACE


@pytest.mark.parametrize("flags", ["00", "01"])
async def test_a_document_is_traced_if_the_request_was_that_handed_it_in(api: Api, kept: KeptSpans, flags: str) -> None:
    headers = {"traceparent": f"00-{TRACE}-{PARENT}-{flags}"}
    accepted = await api.client.post("/v1/documents", json={"text": "a"}, headers=headers)
    assert accepted.status_code == 202
    [task] = await api.stores.jobs.queue.claim("w", lease_s=30, limit=1)
    with document_span(task) as span:
        assert span.is_recording() == (flags == "01")
    assert len(kept.named(spans.DOCUMENT)) == int(flags)


async def test_the_ratio_decides_where_the_caller_does_not(api: Api) -> None:
    with kept_spans(ratio=0) as kept:
        await api.client.get("/v1/jobs")
        assert kept.all == []
        await api.client.get("/v1/jobs", headers=SAMPLED)
        assert [span.name for span in kept.all if span.name.startswith("GET")] == ["GET /v1/jobs"]


async def test_what_machines_ask_for_all_the_time_has_no_trace(api: Api, kept: KeptSpans) -> None:
    for path in ("/healthz", "/health", "/readyz"):
        assert ids(await api.client.get(path))[2] == "00"
    assert kept.all == []


async def test_every_error_names_its_trace(api: Api, kept: KeptSpans) -> None:
    api.stages.failures["retrieval"] = StageUnavailable("retrieval is away")
    refused = [
        await api.client.post("/v1/query", json=QUESTION),
        await api.client.post("/v1/query", json={"query": ""}),
        await api.client.get("/nowhere"),
        await api.client.put("/v1/query"),
        await api.client.get("/v1/jobs", headers={"Authorization": "Bearer wrong"}),
        await api.client.post("/v1/query", content=b"x" * 50_000),
        await api.client.post("/v1/query", headers={"Content-Encoding": "gzip"}),
    ]
    assert [answer.status_code for answer in refused] == [503, 422, 404, 405, 401, 413, 415]
    for answer in refused:
        trace, _, _ = ids(answer)
        assert answer.json()["trace_id"] == trace
        [request] = [span for span in kept.all if trace_id(span) == trace and span.parent is None]
        assert request.attributes is not None
        assert request.attributes["error.type"] == answer.json()["code"]
        assert (request.status.status_code is StatusCode.ERROR) == (answer.status_code >= 500)


async def test_an_unexpected_error_names_its_trace(api: Api, kept: KeptSpans) -> None:
    async def broken(*_: object) -> object:
        raise ValueError("secret words")

    api.stages.retrieve = broken  # type: ignore[method-assign, assignment]
    answer = await api.client.post("/v1/query", json=QUESTION, headers=SAMPLED)
    assert (answer.status_code, answer.json()["trace_id"], ids(answer)[0]) == (500, TRACE, TRACE)
    retrieval = kept.one(spans.RETRIEVAL)
    assert (retrieval.attributes or {})["error.type"] == "ValueError"
    assert (kept.one("POST /v1/query").attributes or {})["error.type"] == "internal_error"
    assert "secret" not in "".join(span.to_json() for span in kept.all)


@pytest.mark.parametrize("stage", ["lexical", "reranking"])
async def test_a_stage_that_an_answer_goes_without_has_failed_in_the_trace(
    api: Api, kept: KeptSpans, stage: str
) -> None:
    api.stages.failures[stage] = StageUnavailable(f"{stage} is away")
    assert (await api.client.post("/v1/query", json=QUESTION)).json()["degraded"] == [stage]
    span = kept.one(stage)
    assert (span.status.status_code, (span.attributes or {})["error.type"]) == (StatusCode.ERROR, "stage_unavailable")
    assert kept.one("POST /v1/query").status.status_code is StatusCode.UNSET


@pytest.mark.parametrize(
    ("stage", "error"),
    [
        ("embedding", StageUnavailable("away")),
        ("visibility", StageUnavailable("away")),
        ("retrieval", StageUnavailable("away")),
        ("generation", Overloaded("too much")),
    ],
)
async def test_a_stage_without_which_there_is_no_answer_ends_the_trace(
    api: Api, kept: KeptSpans, stage: str, error: StageUnavailable | Overloaded
) -> None:
    api.stages.failures[stage] = error
    answer = await api.client.post("/v1/query", json=QUESTION)
    assert answer.status_code == 503
    span, request = kept.one(stage), kept.one("POST /v1/query")
    assert span.parent is not None
    assert (span.parent.span_id, span.status.status_code) == (span_id(request), StatusCode.ERROR)
    assert (span.attributes or {})["error.type"] == (request.attributes or {})["error.type"] == error.code


async def test_no_text_is_in_a_trace_unless_it_is_wanted(api: Api) -> None:
    with kept_spans() as kept:
        await api.client.post("/v1/query", json=QUESTION)
        told = "".join(span.to_json() for span in kept.all)
        assert "tajni" not in told
        assert "15 dana" not in told
        assert "odlomka" not in told
    with kept_spans(content=True) as kept:
        await api.client.post("/v1/query", json=QUESTION)
        attributes = kept.one(spans.GENERATION).attributes or {}
        prompt = json.loads(str(attributes["gen_ai.input.messages"]))
        assert "tajni" in prompt[-1]["parts"][0]["content"]
        assert "15 dana" in str(attributes["gen_ai.output.messages"])
        assert (kept.one(spans.RETRIEVAL).attributes or {})["gen_ai.retrieval.query.text"] == QUESTION["query"]
