"""A replica's last spans. Serve awaits `__del__` and then kills the process, so nothing else exports them."""

from __future__ import annotations

import asyncio
import gc
import inspect
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from deployments.embedding.config import EmbeddingConfig
from deployments.embedding.deployment import Embedding
from deployments.generation.config import GenerationConfig
from deployments.generation.deployment import Generation
from deployments.ingestion.config import IngestionConfig
from deployments.ingestion.deployment import Ingestion
from deployments.ingestion.fake import FakeEmbedder, MemoryBlobStore, MemoryBulkJobs, MemoryIndex, MemoryJobStore
from deployments.reranking.config import RerankingConfig
from deployments.reranking.deployment import Reranking
from deployments.retrieval.config import RetrievalConfig
from deployments.retrieval.deployment import Retrieval
from deployments.telemetry import tracing
from deployments.telemetry.exporters import FILE, FileExporter
from serve_app.ingress import _Ingress
from tests.support.waiting import BOUND_S

NEVER_MS = 3_600_000


def ingestion() -> Ingestion:
    jobs = MemoryJobStore()
    return Ingestion(IngestionConfig(), FakeEmbedder(), MemoryIndex(), jobs, MemoryBulkJobs(jobs), MemoryBlobStore())


DEPLOYMENTS: dict[str, Callable[[], object]] = {
    "embedding": lambda: Embedding(EmbeddingConfig(backend="fake")),
    "generation": lambda: Generation(GenerationConfig(engine="fake")),
    "reranking": lambda: Reranking(RerankingConfig(backend="fake")),
    "retrieval": lambda: Retrieval(RetrievalConfig(backend="fake")),
    "ingestion": ingestion,
    # It needs a cluster to be made. This is its end after a constructor that failed.
    "ingress": lambda: SimpleNamespace(__del__=partial(_Ingress.__del__, SimpleNamespace())),  # type: ignore[arg-type]
}


async def end_as_serve_does(deployment: Any) -> None:
    result = deployment.__del__()
    if inspect.iscoroutine(result):
        await result


@pytest.fixture(autouse=True)
def _no_traces_before_and_after() -> Iterator[None]:
    gc.collect()  # deployments that other tests dropped must not be collected while this process plays a replica
    yield
    tracing.stop()


@pytest.mark.parametrize("name", DEPLOYMENTS)
async def test_the_last_spans_of_a_replica_are_exported(tmp_path: Path, name: str) -> None:
    exporter = FileExporter(tmp_path, 1_000_000, 1)
    tracing.use(BatchSpanProcessor(exporter, 512, NEVER_MS), name, replica="replica")
    deployment = DEPLOYMENTS[name]()
    tracing.end(tracing.begin_trace("last", {}))
    assert not (tmp_path / FILE).exists()
    await end_as_serve_does(deployment)
    assert '"name":"last"' in (tmp_path / FILE).read_text("utf-8")
    await end_as_serve_does(deployment)


async def test_a_deployment_that_is_dropped_outside_of_serve_ends_no_traces() -> None:
    tracing.use(BatchSpanProcessor(FileExporter(Path("unused"), 1, 1), 512, NEVER_MS), "test")
    assert DEPLOYMENTS["embedding"]().__del__() is None  # type: ignore[attr-defined]
    assert tracing.begin_trace("x", {}).is_recording()


class Stuck(SpanExporter):
    """A collector that does not answer."""

    def __init__(self) -> None:
        self.may_go = threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.may_go.wait(BOUND_S)
        return SpanExportResult.FAILURE


async def test_a_collector_that_does_not_answer_holds_no_replica_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tracing, "_LAST_EXPORT_S", 0.05)
    exporter, deployment = Stuck(), DEPLOYMENTS["generation"]()
    tracing.use(BatchSpanProcessor(exporter, 512, NEVER_MS), "test", replica="replica")
    tracing.end(tracing.begin_trace("last", {}))
    try:
        async with asyncio.timeout(BOUND_S / 2):  # which a loop that is blocked would not meet
            await end_as_serve_does(deployment)
        assert "the last spans were not exported within 0.05 s" in caplog.text
    finally:
        exporter.may_go.set()


async def test_work_that_exports_its_spans_does_not_wait_for_a_collector_that_does_not_answer() -> None:
    exporter = Stuck()
    tracing.use(BatchSpanProcessor(exporter, 512, NEVER_MS), "test")
    tracing.end(tracing.begin_trace("last", {}))
    try:
        async with asyncio.timeout(BOUND_S / 2):
            await tracing.export_now()
    finally:
        exporter.may_go.set()


async def test_a_collector_that_does_not_answer_takes_one_thread_and_one_wait() -> None:
    """Other threads are the process's, for its work. One that is stuck exports later spans, too."""
    exporter = Stuck()
    tracing.use(BatchSpanProcessor(exporter, 512, NEVER_MS), "test")
    threads = threading.active_count()
    try:
        tracing.end(tracing.begin_trace("first", {}))
        await tracing.export_now()
        began = time.monotonic()
        for _ in range(10):
            tracing.end(tracing.begin_trace("next", {}))
            await tracing.export_now()
        assert time.monotonic() - began < 1
        assert threading.active_count() == threads + 1
    finally:
        exporter.may_go.set()
