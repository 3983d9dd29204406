from __future__ import annotations

from typing import Any

import httpx
import pytest

from rag.cli.exposition import Change, Look

READY = {
    "ready": False,
    "stages": {
        "retrieval": {"ready": True, "engine": "embedded", "model": None, "replicas": 2, "detail": None},
        "generation": {"ready": False, "engine": "vllm", "model": None, "replicas": 0, "detail": "no replica answers"},
    },
}


def exposition(times: int) -> str:
    """As two ingress replicas and one of retrieval export it, after so many rounds of work."""
    return f"""\
# TYPE ray_rag_requests_total counter
ray_rag_requests_total{{route="/v1/query",status="200",replica="a"}} {40.0 * times}
ray_rag_requests_total{{route="/v1/query",status="503",replica="a"}} {10.0 * times}
ray_rag_requests_total{{route="/v1/query",status="200",replica="b"}} {50.0 * times}
# TYPE ray_rag_first_token_seconds histogram
ray_rag_first_token_seconds_bucket{{le="0.1",replica="a"}} {50.0 * times}
ray_rag_first_token_seconds_bucket{{le="0.5",replica="a"}} {90.0 * times}
ray_rag_first_token_seconds_bucket{{le="+Inf",replica="a"}} {100.0 * times}
ray_rag_first_token_seconds_sum{{replica="a"}} {20.0 * times}
ray_rag_first_token_seconds_count{{replica="a"}} {100.0 * times}
# TYPE ray_rag_slots gauge
ray_rag_slots{{replica="a"}} 4.0
ray_rag_slots{{replica="b"}} 4.0
# TYPE ray_rag_slots_used gauge
ray_rag_slots_used{{replica="a"}} 3.0
ray_rag_slots_used{{replica="b"}} 4.0
# TYPE ray_rag_documents_waiting gauge
ray_rag_documents_waiting{{tenant_class="light",replica="a"}} 2.0
ray_rag_documents_waiting{{tenant_class="heavy",replica="a"}} 1000.0
ray_rag_documents_waiting{{tenant_class="heavy",replica="b"}} 1000.0
# TYPE ray_rag_ingestion_lag_seconds gauge
ray_rag_ingestion_lag_seconds{{replica="a"}} 300.0
# TYPE ray_rag_stage_service_seconds histogram
ray_rag_stage_service_seconds_bucket{{le="+Inf",stage="retrieval",work="search",replica="r"}} {100.0 * times}
ray_rag_stage_service_seconds_sum{{stage="retrieval",work="search",replica="r"}} {0.4 * times}
ray_rag_stage_service_seconds_count{{stage="retrieval",work="search",replica="r"}} {100.0 * times}
"""


def change(before: int, after: int, seconds: float = 10.0) -> Change:
    return Change(Look.of(exposition(before), 0.0), Look.of(exposition(after), seconds))


def test_counters_grow_and_what_began_again_counts_from_nothing() -> None:
    assert change(1, 2).rate("ray_rag_requests_total") == 10.0
    assert change(1, 2).rate("ray_rag_requests_total", status="503") == 1.0
    assert change(5, 2).grown("ray_rag_requests_total") == 200.0
    assert Change(Look(0.0), Look.of(exposition(1), 10.0)).grown("ray_rag_requests_total") == 100.0


@pytest.mark.parametrize(("share", "expected"), [(0.25, 0.05), (0.5, 0.1), (0.9, 0.5), (0.99, 0.5)])
def test_quantiles_are_prometheus_ones(share: float, expected: float) -> None:
    assert change(1, 2).quantile(share, "ray_rag_first_token_seconds") == pytest.approx(expected)


def test_what_was_not_observed_has_no_time() -> None:
    assert change(2, 2).quantile(0.5, "ray_rag_first_token_seconds") is None
    assert change(2, 2).mean("ray_rag_stage_service_seconds", stage="retrieval") is None


def test_it_shows_what_the_service_does(service: Any, rag: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([exposition(1), exposition(2)])
    service["GET /metrics"] = lambda request: httpx.Response(200, text=next(answers))
    service["GET /readyz"] = httpx.Response(503, json=READY)
    moments = iter([0.0, 10.0])
    monkeypatch.setattr("rag.cli.top.time.monotonic", lambda: next(moments))
    monkeypatch.setattr("rag.cli.top.time.sleep", lambda _: None)
    shown = rag("top", "--once").stdout
    assert "10.0/s, 1.0/s of them with 5xx" in shown
    assert "p50 100 ms, p95 500 ms" in shown
    assert "7 of 8 in use" in shown
    assert "1,002 wait, the oldest for 5 min" in shown
    lines = {words[0]: words[1:] for line in shown.splitlines() if (words := line.split())}
    assert lines["retrieval"] == ["2", "10.0", "–", "4", "ms", "0"]
    assert lines["generation"][0] == "0"
    assert "no replica answers" in shown


def test_another_key_than_a_platform_key_is_told(service: Any, rag: Any, problem: Any) -> None:
    service["GET /metrics"] = problem(403, "Forbidden", "a platform key is needed")
    result = rag("top", "--once")
    assert result.exit_code == 1
    assert "--role platform" in result.stderr
