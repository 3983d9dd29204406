from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx

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
    assert json.loads(rag("trace", QUERY_ID, "--json").stdout) == LOGGED
