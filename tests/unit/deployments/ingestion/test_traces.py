"""A document's trace: one for each attempt, linked to the request that handed the document in."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from deployments.errors import BrokenDocument, StageUnavailable
from deployments.ingestion.base import DocumentCancelled, DocumentTask, IndexedDocument, LeaseLost, ParsedDocument
from deployments.ingestion.bulk.base import BulkJob, BulkPorts
from deployments.ingestion.bulk.runner import Runner
from deployments.ingestion.config import IngestionConfig
from deployments.ingestion.document_trace import document_span
from deployments.ingestion.fake import (
    FakeEmbedder,
    MemoryBlobStore,
    MemoryBulkJobs,
    MemoryIndex,
    MemoryJobStore,
)
from deployments.ingestion.outcomes import OutcomeRecorder
from deployments.ingestion.parsing import DocumentParser
from deployments.ingestion.worker import Worker
from deployments.telemetry import spans, tracing
from tests.support.traces import KeptSpans, kept_spans, trace_id
from tests.support.waiting import until
from tests.unit.deployments.ingestion.bulk.test_runner import in_this_process

SECTIONS = "\n\n".join(f"# Članak {number}.\n\nTajni tekst {number}." for number in range(5))
REQUEST = {"traceparent": f"00-{'4' * 32}-{'5' * 16}-01"}
ENDED = ("indexed", "failed")


@pytest.fixture(autouse=True)
def _parse_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process is tested elsewhere."""

    async def parse(self: DocumentParser, data: bytes, filename: str, media_type: str) -> ParsedDocument:
        from deployments.ingestion.parsers import Limits, parse

        return parse(data, filename, media_type, Limits(1_000_000, 100, 100))

    monkeypatch.setattr(DocumentParser, "parse", parse)


@pytest.fixture
def kept() -> Iterator[KeptSpans]:
    with kept_spans() as made:
        yield made


class Bench:
    def __init__(self) -> None:
        self.config = IngestionConfig(retry_delay_s=0, embed_batch=2, poll_s=0.02, max_attempts=2)
        self.blobs, self.index = MemoryBlobStore(), MemoryIndex()
        self.jobs, self.embedder = MemoryJobStore(), FakeEmbedder()

    async def indexed(self, task: DocumentTask) -> str:
        """The state in which the document ended."""
        self.blobs.blobs[task.blob] = SECTIONS.encode()
        record = self.jobs.submit(task)
        worker = Worker(self.config, self.embedder, self.index, self.jobs, self.blobs, "worker")
        worker.start()
        try:
            await until(lambda: record.state in ENDED)
            await until(lambda: worker.active == 0)
        finally:
            await worker.close()
        return record.state


def links(span: ReadableSpan) -> list[str]:
    return [f"{link.context.trace_id:032x}-{link.context.span_id:016x}" for link in span.links]


async def test_a_document_s_trace_has_each_step(kept: KeptSpans, task: DocumentTask) -> None:
    assert await Bench().indexed(replace(task, trace=REQUEST)) == "indexed"
    document = kept.one(spans.DOCUMENT)
    assert links(document) == [f"{'4' * 32}-{'5' * 16}"]
    assert document.parent is None
    assert trace_id(document) != "4" * 32
    children = kept.children(document)
    assert children[:3] == [spans.FETCH, spans.PARSE, spans.CHUNK]
    assert sorted(children[3:-1]) == sorted([spans.EMBED, spans.INDEX] * 3)
    assert children[-1] == spans.PUBLISH
    attributes = document.attributes or {}
    assert (attributes["rag.document_id"], attributes["rag.job_id"], attributes["rag.attempt"]) == ("doc", "job", 1)
    assert "ajni" not in "".join(span.to_json() for span in kept.all)


async def test_the_ratio_decides_where_no_request_handed_it_in(task: DocumentTask) -> None:
    with kept_spans(ratio=0) as kept:
        await Bench().indexed(replace(task, trace={}))
        assert kept.all == []
        await Bench().indexed(replace(task, trace=REQUEST))
        assert kept.named(spans.DOCUMENT)


async def test_what_a_request_that_is_not_sampled_handed_in_is_not_traced(kept: KeptSpans, task: DocumentTask) -> None:
    await Bench().indexed(replace(task, trace={"traceparent": f"00-{'4' * 32}-{'5' * 16}-00"}))
    assert kept.all == []
    await Bench().indexed(replace(task, trace={}))
    assert kept.named(spans.DOCUMENT)


async def test_a_document_that_fails_says_where(
    kept: KeptSpans, task: DocumentTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def parse(self: DocumentParser, data: bytes, filename: str, media_type: str) -> ParsedDocument:
        raise BrokenDocument("secret words")

    monkeypatch.setattr(DocumentParser, "parse", parse)
    assert await Bench().indexed(task) == "failed"
    parsing = kept.one(spans.PARSE)
    assert (parsing.status.status_code, (parsing.attributes or {})["error.type"]) == (
        StatusCode.ERROR,
        BrokenDocument.code,
    )
    document = kept.one(spans.DOCUMENT)
    assert kept.children(document) == [spans.FETCH, spans.PARSE, spans.PUBLISH]
    assert (document.status.status_code, (document.attributes or {})["error.type"]) == (
        StatusCode.ERROR,
        BrokenDocument.code,
    )


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (BrokenDocument("secret"), {"error.type": BrokenDocument.code}),
        (StageUnavailable("secret"), {"error.type": StageUnavailable.code}),
        (ValueError("secret"), {"error.type": "ValueError"}),
        (DocumentCancelled("secret"), {"rag.cancelled": True}),
        (LeaseLost("secret"), {}),
    ],
)
async def test_each_end_of_an_attempt_is_told(
    kept: KeptSpans, task: DocumentTask, error: Exception, told: dict[str, object]
) -> None:
    async def index() -> IndexedDocument:
        raise error

    jobs = MemoryJobStore()
    jobs.submit(task)
    [claimed] = await jobs.claim("worker", lease_s=30, limit=1)
    with document_span(claimed):
        await OutcomeRecorder(IngestionConfig(), jobs).index_and_record(claimed, index)
    document = kept.one(spans.DOCUMENT)
    names = ("error.type", "rag.cancelled")
    assert {name: value for name, value in (document.attributes or {}).items() if name in names} == told
    assert (document.status.status_code is StatusCode.ERROR) == ("error.type" in told)
    assert "secret" not in "".join(span.to_json() for span in kept.all)


async def test_each_attempt_is_a_trace(kept: KeptSpans, task: DocumentTask, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = Bench()

    async def upsert(*_: object) -> None:
        raise StageUnavailable("away")

    monkeypatch.setattr(bench.index, "upsert", upsert)
    assert await bench.indexed(replace(task, trace=REQUEST)) == "failed"
    attempts = kept.named(spans.DOCUMENT)
    assert [(each.attributes or {})["rag.attempt"] for each in attempts] == [1, 2]
    assert len({trace_id(each) for each in attempts}) == 2
    assert all(span.status.status_code is StatusCode.ERROR for span in kept.named(spans.INDEX))


def test_a_document_of_a_bulk_job_has_one_trace_over_all_operators(kept: KeptSpans, task: DocumentTask) -> None:
    bench, job = Bench(), BulkJob("tenant", "job")
    bulk = MemoryBulkJobs(bench.jobs)
    bulk.running.append(job)
    bench.blobs.blobs[task.blob] = SECTIONS.encode()
    bench.jobs.submit(replace(task, trace=REQUEST))
    ports = BulkPorts(bench.config, bench.embedder, bench.index, bench.jobs, bulk, bench.blobs, pinned=True)
    Runner(ports, job, in_this_process).run()
    document = kept.one(spans.DOCUMENT)
    assert links(document) == [f"{'4' * 32}-{'5' * 16}"]
    assert sorted(kept.children(document)) == sorted(
        [spans.FETCH, spans.PARSE, spans.CHUNK, *[spans.EMBED, spans.INDEX] * 3, spans.PUBLISH]
    )


@pytest.mark.parametrize("broken", ["", "parse", "upsert"])
def test_a_bulk_job_s_spans_are_exported_before_a_batch_leaves_an_actor(
    task: DocumentTask, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ray kills the actors at once when the last batch has arrived."""

    async def fail(*_: object) -> object:
        raise BrokenDocument("broken")

    bench, exporter = Bench(), InMemorySpanExporter()
    bench.blobs.blobs[task.blob] = SECTIONS.encode()
    bench.jobs.submit(replace(task, trace=REQUEST))
    if broken:
        monkeypatch.setattr(
            *{"parse": (DocumentParser, "parse", fail), "upsert": (bench.index, "upsert", fail)}[broken]
        )
    ports = BulkPorts(
        bench.config, bench.embedder, bench.index, bench.jobs, MemoryBulkJobs(bench.jobs), bench.blobs, pinned=True
    )
    tracing.use(BatchSpanProcessor(exporter, schedule_delay_millis=3_600_000), "test")
    try:
        [*in_this_process(ports, BulkJob("tenant", "job"), 1)]
        exported = [span.name for span in exporter.get_finished_spans()]
    finally:
        tracing.stop()
    assert spans.DOCUMENT in exported
    assert (spans.EMBED in exported, spans.INDEX in exported) == (broken != "parse",) * 2


def test_without_an_exporter_a_document_has_no_trace(task: DocumentTask) -> None:
    with document_span(replace(task, trace=REQUEST)) as span:
        assert not span.is_recording()
        assert tracing.headers() == {}
