"""GET /v1/queries/{id}/trace: a question's spans, from the files of the node."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from deployments.errors import StageUnavailable
from deployments.telemetry import exporters, span_files, spans, tracing
from deployments.telemetry.config import TelemetryConfig
from serve_app.services.query_traces import QueryTraces
from tests.integration.api.conftest import Api

QUESTION = {"query": "Koji je tajni rok?", "language": "hr", "stream": False}
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = {"traceparent": f"00-{TRACE}-{PARENT}-01"}


@pytest.fixture
def folder(api: Api, tmp_path: Path) -> Iterator[Path]:
    """Where spans are written, and read."""
    config = TelemetryConfig(exporter="file", folder=str(tmp_path / "traces"), max_file_bytes=4_096, max_files=20)
    exporter = exporters.create(config)
    assert exporter is not None
    tracing.use(SimpleSpanProcessor(exporter), "ingress")
    object.__setattr__(api.services, "query_traces", QueryTraces(api.stores.query_log, config))
    yield tmp_path / "traces"
    tracing.stop()


async def asked(api: Api, **headers: str) -> str:
    answer = await api.client.post("/v1/query", json=QUESTION, headers=headers)
    await api.stores.events.drain()
    return answer.headers["X-Query-ID"]


async def trace(api: Api, query_id: str, **headers: str) -> httpx.Response:
    return await api.client.get(f"/v1/queries/{query_id}/trace", headers=headers)


async def test_a_question_s_spans_are_a_waterfall_over_all_files(api: Api, folder: Path) -> None:
    api.stages.failures["reranking"] = StageUnavailable("away")
    query_id = await asked(api, **SAMPLED)
    assert (folder / "traces.1.jsonl").exists()
    found: dict[str, Any] = (await trace(api, query_id)).raise_for_status().json()
    assert (found["query_id"], found["trace_id"]) == (query_id, TRACE)
    request, *below = found["spans"]
    assert (request["name"], request["depth"], request["start_ms"], request["service"]) == (
        "POST /v1/query", 0, 0.0, "ingress",
    )  # fmt: skip
    assert {span["name"] for span in below} == {*spans.REQUEST_SPANS} - {spans.EDGE}
    assert {span["depth"] for span in below} == {1}
    starts = [span["start_ms"] for span in below]
    assert starts == sorted(starts)
    assert all(0 <= span["start_ms"] <= request["milliseconds"] for span in below)
    failed = {span["name"]: span["error"] for span in below if span["status"] == "error"}
    assert failed == {"reranking": "stage_unavailable"}
    assert "tajni" not in str(found)


async def test_a_request_of_the_same_trace_is_not_shown_with_it(api: Api, folder: Path) -> None:
    """A caller may give many requests one trace, and another tenant's trace is easily said to be one's own."""
    await api.stores.tenants.ensure("another")
    other = await asked(api, **(SAMPLED | await api.key("admin", tenant="another")))
    own = await asked(api, **SAMPLED)
    found = (await trace(api, own)).raise_for_status().json()
    assert [span["name"] for span in found["spans"]].count("POST /v1/query") == 1
    assert len(found["spans"]) == len(spans.REQUEST_SPANS)
    refused = await trace(api, other)
    assert (refused.status_code, TRACE in refused.text) == (404, False)


async def test_what_is_not_there_is_told_with_the_trace_s_id(api: Api, folder: Path) -> None:
    query_id = await asked(api, traceparent=f"00-{TRACE}-{PARENT}-00")
    refused = await trace(api, query_id)
    assert (refused.status_code, TRACE in refused.json()["detail"]) == (404, True)
    assert (await trace(api, "f" * 32)).status_code == 404


@pytest.mark.parametrize(
    ("config", "told"),
    [
        (TelemetryConfig(), "nowhere"),
        (TelemetryConfig(exporter="otlp_grpc", endpoint="http://collector:4317"), "to a collector"),
    ],
)
async def test_spans_that_go_elsewhere_are_looked_for_there(
    api: Api, folder: Path, config: TelemetryConfig, told: str
) -> None:
    object.__setattr__(api.services, "query_traces", QueryTraces(api.stores.query_log, config))
    refused = await trace(api, await asked(api, **SAMPLED))
    assert (refused.status_code, told in refused.json()["detail"]) == (404, True)


async def test_no_more_spans_are_read_than_a_page_has_room_for(
    api: Api, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(span_files, "MAX_SPANS", 3)
    found = (await trace(api, await asked(api, **SAMPLED))).raise_for_status().json()
    assert len(found["spans"]) == 3
    assert found["spans"][0]["name"] == "POST /v1/query"


async def test_a_request_that_says_it_is_below_another_one_is_not_shown_with_it(api: Api, folder: Path) -> None:
    own = await api.client.post("/v1/query", json=QUESTION, headers=SAMPLED)
    await api.stores.tenants.ensure("another")
    below = {"traceparent": own.headers["traceparent"]}
    other = await asked(api, **(below | await api.key("admin", tenant="another")))
    found = (await trace(api, own.headers["X-Query-ID"])).raise_for_status().json()
    assert len(found["spans"]) == len(spans.REQUEST_SPANS)
    assert found["spans"][0]["depth"] == 0
    assert (await trace(api, other)).status_code == 404


async def test_of_a_trace_of_very_many_requests_the_newest_spans_are_read(
    api: Api, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A caller may give one trace to all requests, and fill the files with it."""
    query_id = await asked(api, **SAMPLED)
    monkeypatch.setattr(span_files, "MAX_READ", 4)
    assert len(span_files.spans_of_query(folder, TRACE, query_id)) <= 4
