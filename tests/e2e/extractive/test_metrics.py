"""The service's metrics as Prometheus would read them, and its logs: what tells of a running service."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import pytest
import ray
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from deployments.telemetry.metrics import DEGRADED, FAILED_REQUESTS, METRICS, REFUSALS
from serve_app.storage.declarative import PLATFORM
from tests.support import configurations
from tests.support.service import Running, make_key

pytestmark = pytest.mark.timeout(900)
T = TypeVar("T")
SERVICE = configurations.extractive
WITHIN_S = 120
"""Ray exports every 10 s."""
WITHOUT_FAULTS = frozenset(METRICS) - {DEGRADED, FAILED_REQUESTS}
"""No stage fails here."""
BULK_JOB = ""
"""The deployment of what a bulk job counts: other tests of this service run such jobs."""


@pytest.fixture
def running(shared: configurations.Extractive) -> Running:
    return shared.running


def test_every_metric_has_series_after_some_work(running: Running) -> None:
    [document] = running.ingest([{"text": "Rok za žalbu je petnaest dana.", "collection": "metrics"}])
    assert document["state"] == "indexed"
    answer = running.ask("Koji je rok za žalbu?", collections=["metrics"])
    with ThreadPoolExecutor(8) as askers:  # some of them share passes and searches
        [*askers.map(lambda _: running.ask("Koji je rok za žalbu?", collections=["metrics"]), range(64))]
    with running.client() as client:
        assert client.get("/v1/jobs/none").status_code == 404
        key = asyncio.run(make_key(running.args, PLATFORM, "platform"))
        wanted = {metric.exported_name.removesuffix("_total") for metric in WITHOUT_FAULTS}
        end = time.monotonic() + WITHIN_S
        while True:
            answered = client.get("/metrics", headers={"Authorization": f"Bearer {key}"})
            text = answered.text
            series: dict[str, list[Sample]] = defaultdict(list)
            if answered.status_code != 503:  # a node's exporter may start after its replicas
                for family in text_string_to_metric_families(answered.raise_for_status().text):
                    series[family.name] += family.samples
            if wanted <= series.keys():
                break
            assert time.monotonic() < end, f"{answered.status_code}, not there: {wanted - series.keys()}"
            time.sleep(1)
    asked = [sample for sample in series["ray_rag_questions"] if sample.labels["outcome"] == answer["finish_reason"]]
    assert sum(sample.value for sample in asked) >= 1
    assert {sample.labels["deployment"] for sample in asked} == {"ingress"}
    indexed_by = {sample.labels["deployment"] for sample in series["ray_rag_documents"]}
    assert "ingestion" in indexed_by
    assert indexed_by <= {"ingestion", BULK_JOB}
    stages = {sample.labels["stage"] for sample in series["ray_rag_stage_seconds"]}
    assert {"embedding", "retrieval", "reranking", "prompt"} <= stages
    assert "not_found" in {sample.labels["code"] for sample in series[REFUSALS.exported_name.removesuffix("_total")]}
    assert "petnaest" not in text


def test_a_question_that_nobody_asked_is_answered_by_all_stages(running: Running) -> None:
    key = asyncio.run(make_key(running.args, PLATFORM, "platform"))
    with running.client() as client:
        answer = client.get("/v1/health/deep", headers={"Authorization": f"Bearer {key}"})
    assert (answer.status_code, answer.json()["healthy"]) == (200, True), answer.text
    assert answer.json()["stages"].keys() == {"database", "embedding", "retrieval", "reranking", "generation"}


def test_a_request_s_id_leads_to_its_line_in_the_log_and_to_its_query(running: Running) -> None:
    with running.client() as client:
        sent = {"query": "Koji je rok za žalbu?", "stream": False}
        answer = client.post("/v1/query", json=sent, headers={"X-Request-ID": "found-again"}).raise_for_status()
        query_id = answer.headers["X-Query-ID"]
        logged = waited_for(lambda: client.get(f"/v1/queries/{query_id}"), lambda got: got.status_code == 200).json()
    assert (logged["request_id"], logged["outcome"]) == ("found-again", answer.json()["finish_reason"])
    logs = Path(ray._private.worker._global_node.get_logs_dir_path())

    def lines() -> list[str]:
        texts = [path.read_text("utf-8") for path in logs.glob("serve/replica_rag_ingress_*.log")]
        return [line for text in texts for line in text.splitlines() if "rag_request_id=found-again" in line]

    [line] = waited_for(lines, bool)
    trace_id = answer.headers["traceparent"].split("-")[1]
    assert f"query_id={query_id} trace_id={trace_id} tenant=" in line
    assert "http_route=/v1/query http_method=POST http_status=200" in line


def waited_for(look: Callable[[], T], found: Callable[[T], bool]) -> T:
    end = time.monotonic() + WITHIN_S
    while not found(seen := look()):
        assert time.monotonic() < end, seen
        time.sleep(0.2)
    return seen
