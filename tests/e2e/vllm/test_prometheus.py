"""A real Prometheus, set up as the documents say, scrapes the service while it is asked, refused and broken."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest
import ray

from deployments.telemetry.metrics import METRICS
from serve_app.storage.declarative import PLATFORM
from tests.support.on_vllm import QUESTION, Vllm, vllm
from tests.support.prometheus import Prometheus, named, panels, prometheus, rules
from tests.support.service import Running, make_key, replicas

SERVICE = vllm
pytestmark = pytest.mark.timeout(900)
WINDOW = "1m"
"""What Grafana fills in for a rate's window, at least four scrapes."""
WITHIN_S = 420
NO_GPU = frozenset({"ray_node_gpus_utilization", "ray_node_gram_used"})
"""Ray exports them on a node with a GPU, which the machine of the tests need not have."""
ASKERS = 8
ENGLISH = "What is the deadline of an appeal?"
"""The reranker knows no other language, and is asked nothing else."""
GAUGES = sorted(metric.exported_name for metric in METRICS if metric.kind == "gauge")
MOST = 0.9
"""Of the scrapes. An alert begins to wait anew whenever its series is not there."""


@pytest.fixture
def running(shared: Vllm) -> Running:
    return shared.running


@pytest.fixture
def scraping(running: Running, tmp_path: Path) -> Iterator[Prometheus]:
    key = asyncio.run(make_key(running.args, PLATFORM, "platform"))
    nodes = [f"{node['NodeManagerAddress']}:{node['MetricsExportPort']}" for node in ray.nodes() if node["Alive"]]
    with prometheus(tmp_path, running.url, key, nodes) as started:
        yield started


def test_dashboards_and_alerts_have_data_after_a_load(running: Running, scraping: Prometheus) -> None:
    shown = {where: text for where, text in panels(WINDOW).items() if not named([text]) & NO_GPU}
    metrics = sorted(named([*panels(WINDOW).values(), *[rule["expr"] for rule in rules()]]) - NO_GPU)
    break_reranking(running)
    end = time.monotonic() + WITHIN_S
    for number in count():
        traffic(running, number)
        # A rate needs two scrapes of a counter, and a share needs a rate above 0: so the load goes on meanwhile.
        without = [name for name in metrics if not scraping.values(f"count({name})")]
        empty = [where for where, text in shown.items() if not scraping.values(text)]
        with_gaps = [name for name in GAUGES if not scraping.values(f"{share_of_scrapes(name)} > {MOST}")]
        if not (without or empty or with_gaps):
            break
        assert time.monotonic() < end, f"no data of {without}, in the panels {empty}, and at times of {with_gaps}"
    for text in panels(WINDOW).values():
        scraping.values(text)  # those of GPUs are queries, too
    loaded = [rule for group in scraping.ask("rules")["groups"] for rule in group["rules"]]
    assert [(rule["name"], rule["lastError"]) for rule in loaded if rule["health"] != "ok"] == []
    assert {rule["name"] for rule in loaded} == {rule.get("alert", rule.get("record")) for rule in rules()}
    targets = scraping.ask("targets")["activeTargets"]
    assert {(target["labels"]["job"], target["health"]) for target in targets} == {("rag", "up"), ("ray", "up")}
    assert_outcomes(scraping)


def break_reranking(running: Running) -> None:
    """Answers go without it while it hangs, and then it dies."""
    replica, *_ = replicas("reranking")
    replica.suspend()
    try:
        assert running.ask(ENGLISH, max_tokens=8)["degraded"] == ["reranking"]
    finally:
        replica.kill()


def share_of_scrapes(gauge: str) -> str:
    """In how many of the last minute's scrapes that came back the gauge was."""
    of = '{job="rag"}[1m]'
    return f"max(count_over_time({gauge}{of})) / max(sum_over_time(up{of}))"


def traffic(running: Running, number: int) -> None:
    """Questions that succeed, fail and are refused; documents that are indexed, and that cannot be read."""
    with running.client() as client, ThreadPoolExecutor(ASKERS) as askers:
        [*askers.map(lambda _: running.ask(QUESTION, max_tokens=8), range(ASKERS))]  # some share passes and searches
        late = client.post("/v1/query", json={"query": QUESTION, "stream": False}, headers={"X-Deadline-Ms": "1"})
        assert late.status_code in (503, 504), late.text
        assert client.post("/v1/query", json={"query": ""}).status_code == 422
        assert client.get("/v1/jobs", headers={"Authorization": "Bearer wrong"}).status_code == 401
        text = f"Rok broj {number} je petnaest dana."
        client.post("/v1/documents", json={"id": f"n-{number}", "text": text}).raise_for_status()
        files = [("files", (f"{number}.pdf", b"%PDF-1.7 and nothing of it"))]
        client.post("/v1/documents", files=files).raise_for_status()


def assert_outcomes(scraping: Prometheus) -> None:
    """What was done is what is counted."""
    there = {
        "ray_rag_questions_total": ("outcome", {"length", "deadline_exceeded"}),
        "ray_rag_requests_total": ("status", {"200", "202", "401", "422"}),
        "ray_rag_refusals_total": ("code", {"unauthenticated", "invalid_request", "deadline_exceeded"}),
        "ray_rag_documents_total": ("outcome", {"indexed", "failed"}),
        "ray_rag_degraded_total": ("stage", {"reranking"}),
        "ray_serve_deployment_status": ("deployment", {"embedding", "generation", "ingress"}),
    }
    for metric, (label, wanted) in there.items():
        found = scraping.ask("query", query=f'count by ({label}) ({metric}{{job="rag"}} > 0)')["result"]
        assert wanted <= {series["metric"].get(label) for series in found}, metric
