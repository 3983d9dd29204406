from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx
import pytest

QUERY_ID = "3f2a9c4e5b6d7f8091a2b3c4d5e6f708"
LOGGED: dict[str, Any] = {
    "query_id": QUERY_ID,
    "at": "2026-11-24T08:30:00+00:00",
    "outcome": "stop",
    "user": "",
    "key_id": "key_7",
    "request_id": "request-1",
    "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
    "language": "hr",
    "engine": "vllm",
    "model": "Qwen/Qwen3-8B",
    "sources": 3,
    "prompt_tokens": 1812,
    "cached_tokens": 640,
    "completion_tokens": 9,
    "degraded": [],
    "timings": {"embedding": 10.0, "retrieval": 20.0, "sources": 31.0, "first_token": 96.0, "total": 1410.2},
}


@pytest.fixture(autouse=True)
def _no_spans(service: Any, problem: Callable[..., httpx.Response]) -> None:
    """As where spans go to a collector."""
    service[f"GET /v1/queries/{QUERY_ID}/trace"] = problem(404, "Not found", "spans go to a collector")


def test_each_stage_has_its_time(service: Any, rag: Any) -> None:
    service[f"GET /v1/queries/{QUERY_ID}"] = httpx.Response(200, json=LOGGED)
    result = rag("trace", QUERY_ID)
    assert result.exit_code == 0
    assert f"{QUERY_ID}: stop, by vllm Qwen/Qwen3-8B, 2026-11-24T08:30:00+00:00" in result.stdout
    assert "key key_7, request request-1, trace 4bf92f3577b34da6a3ce929d0e0e4736" in result.stdout
    assert "tokens: 1,812 of the prompt (640 cached), 9 of the answer" in result.stdout
    bars = {words[0]: words[1:] for line in result.stdout.splitlines() if len(words := line.split()) == 3}
    assert bars["embedding"] == ["10.0", "█" * 15]
    assert bars["retrieval"] == ["20.0", "█" * 30]
    assert "From the start: sources 31.0 ms, first_token 96.0 ms, total 1,410.2 ms." in result.stdout


def test_without_an_id_it_is_the_last_question(service: Any, rag: Any) -> None:
    service["GET /v1/queries"] = httpx.Response(200, json={"queries": [LOGGED], "next": None})
    assert QUERY_ID in rag("trace").stdout
    service["GET /v1/queries"] = httpx.Response(200, json={"queries": [], "next": None})
    assert rag("trace").stderr == "Error: no question has ended yet; ask one: rag ask QUESTION\n"


def test_a_question_that_failed_has_no_stages(service: Any, rag: Any) -> None:
    failed = LOGGED | {"outcome": "overloaded", "engine": None, "model": None, "timings": {}, "degraded": ["reranking"]}
    service[f"GET /v1/queries/{QUERY_ID}"] = httpx.Response(200, json=failed)
    shown = rag("trace", QUERY_ID).stdout
    assert f"{QUERY_ID}: overloaded, 2026" in shown
    assert "without reranking" in shown
    assert "From the start" not in shown


def test_what_is_not_there_is_told(service: Any, rag: Any, problem: Callable[..., httpx.Response]) -> None:
    service[f"GET /v1/queries/{QUERY_ID}"] = problem(404, "Not found", "it is not in the log")
    assert rag("trace", QUERY_ID).stderr == "Error: Not found: it is not in the log\n"


def test_json_is_the_service_s_own(service: Any, rag: Any) -> None:
    service[f"GET /v1/queries/{QUERY_ID}"] = httpx.Response(200, json=LOGGED)
    assert json.loads(rag("trace", QUERY_ID, "--json").stdout) == LOGGED | {"spans": []}


def test_its_spans_are_a_waterfall_where_they_are_kept(service: Any, rag: Any) -> None:
    def span(name: str, depth: int, start: float, took: float, status: str = "unset") -> dict[str, Any]:
        return {"name": name, "service": "ingress", "depth": depth, "start_ms": start, "milliseconds": took,
                "status": status}  # fmt: skip

    found = [span("POST", 0, 0.0, 100.0), span("retrieval", 1, 50.0, 50.0), span("search", 2, -1.0, 0.1, "error")]
    service[f"GET /v1/queries/{QUERY_ID}"] = httpx.Response(200, json=LOGGED)
    service[f"GET /v1/queries/{QUERY_ID}/trace"] = httpx.Response(200, json={"spans": found})
    lines = rag("trace", QUERY_ID).stdout.splitlines()
    [request] = [line for line in lines if line.startswith("POST")]
    [retrieval] = [line for line in lines if line.startswith("  retrieval")]
    [search] = [line for line in lines if line.startswith("    search")]
    assert request.split() == ["POST", "ingress", "0.0", "100.0", "█" * 30]
    assert retrieval.split() == ["retrieval", "ingress", "50.0", "50.0", "█" * 15]
    assert retrieval.rstrip().endswith(" " * 15 + "█" * 15)
    assert search.split() == ["search", "ingress", "-1.0", "0.1", "█"]
    assert json.loads(rag("trace", QUERY_ID, "--json").stdout)["spans"] == found
