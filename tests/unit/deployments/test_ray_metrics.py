from __future__ import annotations

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from deployments import ray_metrics
from deployments.errors import StageUnavailable

FIRST = """\
# HELP ray_rag_questions_total Questions
# TYPE ray_rag_questions_total counter
ray_rag_questions_total{replica="a"} 2.0
# HELP ray_tasks Tasks
# TYPE ray_tasks gauge
ray_tasks 1.0
# HELP ray_rag_question_seconds Time
# TYPE ray_rag_question_seconds histogram
ray_rag_question_seconds_bucket{le="+Inf",replica="a"} 2.0
ray_rag_question_seconds_sum{replica="a"} 0.5
ray_rag_question_seconds_count{replica="a"} 2.0
"""
SECOND = """\
# HELP ray_rag_questions_total Questions
# TYPE ray_rag_questions_total counter
ray_rag_questions_total{replica="b"} 3.0
"""


def test_the_nodes_series_are_put_together_by_metric() -> None:
    merged = ray_metrics.merge([FIRST, SECOND])
    families = list(text_string_to_metric_families(merged))
    assert [family.name for family in families] == ["ray_rag_questions", "ray_rag_question_seconds"]
    assert {sample.labels["replica"]: sample.value for sample in families[0].samples} == {"a": 2.0, "b": 3.0}
    assert len(families[1].samples) == 3
    assert merged.count("# TYPE ray_rag_questions_total") == 1


class Nodes:
    """Exporters of nodes: port → what it answers."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, answers: dict[int, httpx.Response]) -> None:
        nodes = [{"Alive": True, "NodeManagerAddress": "n", "MetricsExportPort": port} for port in answers]
        nodes.append({"Alive": False, "NodeManagerAddress": "gone", "MetricsExportPort": 1})
        monkeypatch.setattr("ray.nodes", lambda: nodes)
        transport = httpx.MockTransport(lambda request: answers[request.url.port or 0])
        client = httpx.AsyncClient
        monkeypatch.setattr(httpx, "AsyncClient", lambda **options: client(transport=transport, **options))


async def test_a_node_that_does_not_answer_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    Nodes(monkeypatch, {7: httpx.Response(200, text=SECOND), 8: httpx.Response(500)})
    assert 'replica="b"' in await ray_metrics.read_all_nodes()


async def test_too_much_of_one_node_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_metrics, "MAX_NODE_BYTES", len(SECOND))
    Nodes(monkeypatch, {7: httpx.Response(200, text=SECOND), 8: httpx.Response(200, text=FIRST)})
    text = await ray_metrics.read_all_nodes()
    assert 'replica="b"' in text
    assert 'replica="a"' not in text


async def test_it_is_said_if_no_node_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    Nodes(monkeypatch, {8: httpx.Response(500)})
    with pytest.raises(StageUnavailable, match="no node"):
        await ray_metrics.read_all_nodes()
