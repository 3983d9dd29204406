"""The run of a bulk job with its stages in this process, one after the other, as Ray Data would chain them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from deployments.errors import BrokenDocument, StageUnavailable, Unavailable
from deployments.ingestion.base import (
    ChunkSizes,
    DocumentTask,
    IndexedDocument,
    ParsedDocument,
    Progress,
    chunking,
)
from deployments.ingestion.bulk.base import BulkJob, BulkPorts
from deployments.ingestion.bulk.runner import BulkJobLost, Runner
from deployments.ingestion.bulk.stages import COLUMN, ChunkBatch, Embed, Insert, Parse, from_row
from deployments.ingestion.config import IngestionConfig
from deployments.ingestion.fake import (
    FakeEmbedder,
    JobRecord,
    MemoryBlobStore,
    MemoryBulkJobs,
    MemoryIndex,
    MemoryJobStore,
)
from deployments.ingestion.parsing import DocumentParser
from deployments.types import Embeddings

JOB = BulkJob("tenant", "job")
CUT = chunking(ChunkSizes(), IngestionConfig().chunk_sizes)


@pytest.fixture(autouse=True)
def _parse_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process is tested elsewhere."""

    async def parse(self: DocumentParser, data: bytes, filename: str, media_type: str) -> ParsedDocument:
        from deployments.ingestion.parsers import Limits, parse

        return parse(data, filename, media_type, Limits(1_000_000, 100, 100))

    monkeypatch.setattr(DocumentParser, "parse", parse)


class Bench:
    def __init__(self, task: DocumentTask, **settings: object) -> None:
        self.config = IngestionConfig.model_validate({"retry_delay_s": 0, "embed_batch": 2, **settings})
        self.blobs, self.index = MemoryBlobStore(), MemoryIndex()
        self.jobs, self.embedder = MemoryJobStore(), FakeEmbedder()
        self.bulk = MemoryBulkJobs(self.jobs)
        self.bulk.running.append(JOB)
        self.task = task

    @property
    def ports(self) -> BulkPorts:
        return BulkPorts(self.config, self.embedder, self.index, self.jobs, self.bulk, self.blobs, pinned=True)

    def submit(self, name: str, text: str = "Tekst.", **fields: Any) -> JobRecord:
        self.blobs.blobs[name] = text.encode()
        return self.jobs.submit(replace(self.task, document_id=name, blob=name, **fields))

    def run(self, pipeline: Any = None) -> None:
        Runner(self.ports, JOB, pipeline or in_this_process).run()


@pytest.fixture
def bench(task: DocumentTask) -> Bench:
    return Bench(task)


def in_this_process(ports: BulkPorts, job: BulkJob, documents: int) -> Iterator[ChunkBatch]:
    async def through() -> list[ChunkBatch]:
        parse, embed, insert = Parse(ports, job), Embed(ports), Insert(ports)
        found = []
        for ticket in range(documents):
            async for parsed in parse({"ticket": [ticket]}):
                async for embedded in embed(parsed):
                    async for inserted in insert(embedded):
                        found += [from_row(cell) for cell in inserted[COLUMN]]
        return found

    yield from asyncio.run(through())


SECTIONS = "\n\n".join(f"# Članak {number}.\n\nTekst broj {number}." for number in range(5))


def test_documents_become_passages_and_statistics(bench: Bench) -> None:
    long, short = bench.submit("long", SECTIONS), bench.submit("short")
    bench.run()
    assert (long.state, short.state) == ("indexed", "indexed")
    assert long.indexed is not None
    assert long.indexed.passages == 5
    found = [entry for entry in bench.index.entries.values() if entry.passage.document_id == "long"]
    assert len(found) == 5
    assert bench.index.largest_upsert == 2
    frequency: dict[int, int] = {}
    for entry in found:
        for term in entry.lexical:
            frequency[term] = frequency.get(term, 0) + 1
    assert long.indexed == IndexedDocument(
        "Članak 0.", "hr", 5, frequency, "fake-embedder", CUT, "fake-embedder", metadata=bench.task.metadata
    )
    assert bench.bulk.ended == {"job": ""}


def test_what_was_left_out_is_recorded_in_words(bench: Bench) -> None:
    text = f"<img src=a.png>{'<h2>Članak</h2><p>Tekst.</p>' * 5}"
    record = bench.submit("page", text, filename="a.html", media_type="text/html")
    bench.run()
    assert record.indexed is not None
    assert record.indexed.warnings == ("1 picture without text",)


def test_front_matter_becomes_metadata(bench: Bench) -> None:
    text = "---\nyear: 1999\nauthor: Ana\n---\n# Prvo\n\nTekst.\n\n# Drugo\n\nTekst.\n\n# Treće\n\nTekst."
    record = bench.submit("d", text, filename="d.md", media_type="text/markdown", metadata_bytes=1_000)
    bench.run()
    assert record.indexed is not None
    assert record.indexed.metadata == {"year": 2024, "author": "Ana"}
    assert {entry.passage.metadata["author"] for entry in bench.index.entries.values()} == {"Ana"}


def test_a_broken_document_fails_and_no_other(bench: Bench) -> None:
    broken, whole = bench.submit("broken", "  "), bench.submit("whole")
    bench.run()
    assert broken.state == "failed"
    assert broken.error is not None
    assert broken.error[0] == BrokenDocument.code
    assert whole.state == "indexed"


def test_one_that_took_each_of_its_workers_down_fails(task: DocumentTask) -> None:
    bench = Bench(task, max_attempts=2)
    record = bench.submit("deadly", attempts=2)
    bench.run()
    assert record.error is not None
    assert record.error[1].endswith("its worker ended each time before it was done")


def test_an_embedder_that_is_away_for_a_moment_is_waited_for(bench: Bench) -> None:
    class Away(FakeEmbedder):
        calls = 0

        async def embed_passages(self, texts: Any) -> Embeddings:
            self.calls += 1
            if self.calls < 3:
                raise StageUnavailable("embedding lost its replica")
            return await super().embed_passages(texts)

    bench.embedder = Away()
    record = bench.submit("d")
    bench.run()
    assert record.state == "indexed"


def test_one_whose_embedder_stays_away_is_left_to_the_workers(task: DocumentTask) -> None:
    class Gone(FakeEmbedder):
        async def embed_passages(self, texts: Any) -> Embeddings:
            raise StageUnavailable("embedding lost its replica")

    bench = Bench(task, max_attempts=2)
    bench.embedder = Gone()
    record = bench.submit("d", SECTIONS)
    bench.run()
    assert record.state == "queued"
    assert bench.index.entries == {}


def test_a_changed_embedder_does_not_mix_vectors(bench: Bench) -> None:
    record = bench.submit("d")

    def changes_before_embedding(ports: BulkPorts, job: BulkJob, documents: int) -> Iterator[ChunkBatch]:
        async def through() -> list[ChunkBatch]:
            parsed = [row async for row in Parse(ports, job)({"ticket": [0]})]
            changed = replace(ports, embedder=FakeEmbedder(fingerprint="another"))
            return [from_row(cell) for row in parsed async for done in Embed(changed)(row) for cell in done[COLUMN]]

        yield from asyncio.run(through())

    bench.run(changes_before_embedding)
    assert record.state == "queued"
    assert bench.index.entries == {}


def test_batches_may_come_in_any_order_and_twice(bench: Bench) -> None:
    record = bench.submit("d", SECTIONS)
    bench.run(lambda *given: [batch for batch in reversed([*in_this_process(*given)]) for _ in range(2)])
    assert record.state == "indexed"
    assert record.history.count("indexed") == 1


def test_a_document_is_gone_on_with_where_an_earlier_try_ended(bench: Bench) -> None:
    record = bench.submit("d", SECTIONS, progress=Progress(bench.embedder.info.fingerprint, chunks=5, done=4))
    bench.run()
    assert record.indexed is not None
    assert record.indexed.passages == 5
    assert sum(record.indexed.document_frequency.values()) > len(record.indexed.document_frequency)
    assert [len(batch) for batch in bench.embedder.batches] == [1]


def test_progress_is_what_has_no_gap_before_it(bench: Bench) -> None:
    record = bench.submit("d", SECTIONS)
    seen = []

    def last_first(*given: Any) -> Iterator[ChunkBatch]:
        for batch in reversed([*in_this_process(*given)]):
            yield batch
            seen.append(record.task.progress.done)

    bench.run(last_first)
    assert seen[:2] == [0, 0]
    assert record.state == "indexed"


def test_a_document_cancelled_meanwhile_is_recorded_with_its_last_batch(bench: Bench) -> None:
    record = bench.submit("d", SECTIONS)

    def cancelled_meanwhile(*given: Any) -> Iterator[ChunkBatch]:
        first, *others = in_this_process(*given)
        record.cancelled = True
        yield first
        assert record.state != "cancelled"
        yield from others

    bench.run(cancelled_meanwhile)
    assert record.state == "cancelled"
    assert [version.document_id for version in bench.jobs.removable_versions] == ["d"]


def test_a_document_of_which_a_batch_is_missing_is_not_live(bench: Bench) -> None:
    record = bench.submit("d", SECTIONS)
    bench.run(lambda *given: [*in_this_process(*given)][1:])
    assert record.state == "embedding"


def test_an_error_between_batches_ends_the_document(bench: Bench) -> None:
    record = bench.submit("d", SECTIONS)

    def breaks(*given: Any) -> list[ChunkBatch]:
        first, *_ = in_this_process(*given)
        return [ChunkBatch(first.task, number=1, total=2, error=BrokenDocument("no more of it")), first]

    bench.run(breaks)
    assert record.error == ("broken_document", "no more of it")


def test_a_job_that_is_no_longer_run_is_left_alone(bench: Bench) -> None:
    bench.bulk.running.clear()
    record = bench.submit("d")
    with pytest.raises(BulkJobLost):
        bench.run()
    assert record.state == "queued"


def test_a_job_that_ends_meanwhile_is_not_gone_on_with(task: DocumentTask) -> None:
    bench = Bench(task, lease_s=0.03)
    records = [bench.submit(name) for name in ("a", "b")]

    def slowly(*given: Any) -> Iterator[ChunkBatch]:
        first, second = in_this_process(*given)
        yield first
        bench.bulk.running.clear()
        bound = time.monotonic() + 60
        while time.monotonic() < bound:
            yield first  # again, which changes nothing, until the run has seen that its job ended
            time.sleep(0.005)
        yield second

    with pytest.raises(BulkJobLost):
        bench.run(slowly)
    assert [record.state for record in records] == ["indexed", "queued"]


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (RuntimeError("10.0.0.7 is gone"), "it failed: RuntimeError"),
        (BulkJobLost("the job ended"), "it failed: the job ended"),
        (SystemExit(15), "it was stopped"),
    ],
)
def test_what_ends_a_run_is_told(bench: Bench, error: BaseException, detail: str) -> None:
    def fails(*given: Any) -> Iterator[ChunkBatch]:
        yield from in_this_process(*given)
        raise error

    record = bench.submit("d")
    with pytest.raises(type(error)):
        bench.run(fails)
    assert record.state == "indexed"
    assert bench.bulk.ended == {"job": detail}
    assert bench.bulk.is_closed, "what it changed is told before its loop ends"


def test_a_run_whose_end_is_not_recorded_still_tells_what_it_changed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def unavailable(job: BulkJob, detail: str = "") -> None:
        raise Unavailable("the database is busy or gone")

    monkeypatch.setattr(bench.bulk, "end", unavailable)
    record = bench.submit("d")
    with pytest.raises(Unavailable):
        bench.run()
    assert record.state == "indexed"
    assert bench.bulk.is_closed
