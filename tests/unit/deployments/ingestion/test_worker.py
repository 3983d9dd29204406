from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextvars import ContextVar
from dataclasses import replace

import numpy as np
import pytest

from deployments.errors import EmbedderMismatch, StageUnavailable
from deployments.ingestion.base import (
    PREPARATION,
    ChunkSizes,
    DocumentState,
    DocumentTask,
    IndexedDocument,
    ParsedDocument,
    Progress,
)
from deployments.ingestion.config import IngestionConfig
from deployments.ingestion.fake import FakeEmbedder, JobRecord, MemoryBlobStore, MemoryIndex, MemoryJobStore
from deployments.ingestion.parsing import DocumentParser
from deployments.ingestion.worker import Worker
from deployments.lexical import encode_passage
from deployments.types import EmbedderInfo, Embeddings, IndexEntry, IndexGeneration
from tests.support.clock import Seconds
from tests.support.waiting import until

ACT = "Zakon o žalbi\n\nČlanak 1.\n\nRok za žalbu je 15 dana.\n\nČlanak 2.\n\nO žalbi odlučuje ministarstvo."


class PlainParser(DocumentParser):
    """Parses in place: the process is tested elsewhere."""

    async def parse(self, data: bytes, filename: str, media_type: str) -> ParsedDocument:
        from deployments.ingestion.parsers import Limits, parse

        return parse(data, filename, media_type, Limits(1_000_000, 100, 100))


class Bench:
    """A worker among fakes, and what a test may do to them."""

    def __init__(self, **settings: object) -> None:
        defaults: dict[str, object] = {"poll_s": 0.02, "retry_delay_s": 0.0, "lease_s": 30.0, "remove_every_s": 0.02}
        self.config = IngestionConfig.model_validate(defaults | settings)
        self.blobs, self.index = MemoryBlobStore(), MemoryIndex()
        self.jobs, self.embedder = MemoryJobStore(), FakeEmbedder()
        self.parser: DocumentParser = PlainParser(self.config)
        self.workers: list[Worker] = []

    def submit(self, task: DocumentTask, text: str | bytes = ACT) -> JobRecord:
        self.blobs.blobs[task.blob] = text if isinstance(text, bytes) else text.encode()
        return self.jobs.submit(task)

    def start(self, name: str = "worker") -> Worker:
        worker = Worker(self.config, self.embedder, self.index, self.jobs, self.blobs, name, self.parser)
        self.workers.append(worker)
        worker.start()
        return worker

    @staticmethod
    async def until(condition: Callable[[], bool]) -> None:
        await until(condition)

    async def done(self, *records: JobRecord) -> None:
        await self.until(lambda: all(record.state in ("indexed", "failed", "cancelled") for record in records))


MakeBench = Callable[..., Bench]


@pytest.fixture
async def make_bench() -> AsyncIterator[MakeBench]:
    benches: list[Bench] = []

    def make(**settings: object) -> Bench:
        benches.append(Bench(**settings))
        return benches[-1]

    yield make
    for bench in benches:
        for worker in bench.workers:
            await worker.close()


async def test_a_document_becomes_passages_and_statistics(make_bench: MakeBench, task: DocumentTask) -> None:
    bench = make_bench()
    record = bench.submit(task)
    bench.start()
    await bench.done(record)
    assert record.history == ["queued", "parsing", "embedding", "indexed"]
    entries = sorted(bench.index.entries.values(), key=lambda entry: entry.passage.position)
    assert [entry.passage.text for entry in entries] == [
        "# Zakon o žalbi\n\n## Članak 1.\n\nRok za žalbu je 15 dana.",
        "## Članak 2.\n\nO žalbi odlučuje ministarstvo.",
    ]
    assert {(entry.passage.title, entry.passage.language) for entry in entries} == {("Zakon o žalbi", "hr")}
    embedded = "Zakon o žalbi › Članak 2.\n## Članak 2.\n\nO žalbi odlučuje ministarstvo."
    assert embedded in bench.embedder.batches[0]
    vector = (await bench.embedder.embed_passages([embedded])).vectors[0]
    assert np.array_equal(entries[1].dense, vector)
    assert entries[1].lexical == encode_passage(embedded, "hr")
    frequency: dict[int, int] = {}
    for entry in entries:
        for term in entry.lexical:
            frequency[term] = frequency.get(term, 0) + 1
    assert record.indexed == IndexedDocument(
        "Zakon o žalbi",
        "hr",
        2,
        frequency,
        "fake-embedder",
        f"400/32/{PREPARATION}",
        "fake-embedder",
        metadata=task.metadata,
    )
    assert 2 in frequency.values()


FRONT_MATTER = "---\ntitle: Svoj\nyear: 1999\nauthor: Ana\n---\nRok za žalbu je 15 dana."


async def test_front_matter_becomes_metadata_and_what_was_handed_in_wins(
    make_bench: MakeBench, task: DocumentTask
) -> None:
    bench = make_bench()
    record = bench.submit(
        replace(task, filename="a.md", media_type="text/markdown", metadata_bytes=1_000), FRONT_MATTER
    )
    bench.start()
    await bench.done(record)
    [passage] = [entry.passage for entry in bench.index.entries.values()]
    assert (passage.title, passage.text) == ("Svoj", "Rok za žalbu je 15 dana.")
    metadata = {"title": "Svoj", "year": 2024, "author": "Ana"}
    assert {key: passage.metadata[key] for key in metadata} == metadata
    assert record.indexed is not None
    assert record.indexed.metadata == metadata


async def test_fields_of_the_front_matter_that_do_not_fit_are_counted(
    make_bench: MakeBench, task: DocumentTask
) -> None:
    bench = make_bench()
    text = FRONT_MATTER.replace("year", "weight: .nan\nyear")
    record = bench.submit(replace(task, filename="a.md", media_type="text/markdown", metadata_bytes=40), text)
    bench.start()
    await bench.done(record)
    assert record.indexed is not None
    assert record.indexed.metadata == {"year": 2024, "title": "Svoj"}
    assert record.indexed.warnings == ("2 fields of the front matter that metadata cannot hold",)


async def test_what_was_left_out_is_recorded_in_words(make_bench: MakeBench, task: DocumentTask) -> None:
    bench = make_bench()
    page = replace(task, filename="a.html", media_type="text/html")
    record = bench.submit(page, "<p>Tekst.</p><img src=a.png><img src=b.png>")
    bench.start()
    await bench.done(record)
    assert record.indexed is not None
    assert record.indexed.warnings == ("2 pictures without text",)


@pytest.mark.parametrize(
    ("title", "text", "filename", "expected"),
    [
        ("Moj naslov", "# Naslov\n\nTekst", "a.md", "Moj naslov"),
        ("", "# Naslov\n\nTekst", "a.md", "Naslov"),
        ("", "Tekst", "mapa/zakon o radu.md", "zakon o radu"),
        ("", "Tekst", "", "doc"),
    ],
)
async def test_the_title_is_the_callers_the_documents_or_the_files(
    make_bench: MakeBench, task: DocumentTask, title: str, text: str, filename: str, expected: str
) -> None:
    bench = make_bench()
    record = bench.submit(replace(task, title=title, filename=filename, media_type="text/markdown"), text)
    bench.start()
    await bench.done(record)
    assert record.indexed is not None
    assert record.indexed.title == expected


async def test_the_language_is_the_callers_or_detected(make_bench: MakeBench, task: DocumentTask) -> None:
    bench = make_bench()
    english = "The deadline for an appeal is fifteen days from the day on which the decision was delivered."
    detected = bench.submit(replace(task, document_id="a", blob="a"), english)
    given = bench.submit(replace(task, document_id="b", blob="b", language="hr"), english)
    bench.start()
    await bench.done(detected, given)
    assert [record.indexed and record.indexed.language for record in (detected, given)] == ["en", "hr"]


async def test_a_new_version_replaces_the_old_one(make_bench: MakeBench, task: DocumentTask) -> None:
    bench = make_bench()
    bench.start()
    await bench.done(bench.submit(task))
    other = bench.submit(replace(task, document_id="other"))
    second = bench.submit(replace(task, job_id="second", version="v2"), "Članak 1.\n\nRok je 30 dana.")
    await bench.done(other, second)
    await bench.until(lambda: not bench.jobs.removable_versions)
    versions = {(entry.passage.document_id, entry.passage.version) for entry in bench.index.entries.values()}
    assert versions == {("doc", "v2"), ("other", "v1")}


async def test_batches_are_bounded_and_complete(make_bench: MakeBench, task: DocumentTask) -> None:
    bench = make_bench(embed_batch=4)
    record = bench.submit(task, "\n\n".join(f"Članak {n}.\n\nTekst {n}." for n in range(30)))
    bench.start()
    await bench.done(record)
    assert [len(batch) for batch in bench.embedder.batches] == [4] * 7 + [2]
    assert bench.index.largest_upsert == 4
    assert len(bench.index.entries) == 30


@pytest.mark.parametrize(
    ("filename", "data", "code"),
    [
        ("a.bin", b"\0\1", "unsupported_document"),
        ("a.txt", b"", "broken_document"),
        ("a.md", b" \n", "broken_document"),
        ("a.pdf", b"%PDF-1.7", "broken_document"),
        ("a.txt", b"a" * 1_000_001, "document_too_large"),
    ],
)
async def test_bad_input_fails_at_once_and_writes_nothing(
    make_bench: MakeBench, task: DocumentTask, filename: str, data: bytes, code: str
) -> None:
    bench = make_bench()
    record = bench.submit(replace(task, filename=filename, media_type=""), data)
    bench.start()
    await bench.done(record)
    assert record.error is not None
    assert record.error[0] == code
    assert record.task.attempts == 1
    assert not bench.index.entries


async def test_a_bad_document_does_not_hold_up_the_others(make_bench: MakeBench, task: DocumentTask) -> None:
    bench = make_bench(concurrent_documents=1)
    bad = bench.submit(replace(task, document_id="bad", blob="bad", filename="a.bin", media_type=""), b"\0")
    good = bench.submit(task)
    bench.start()
    await bench.done(bad, good)
    assert (bad.state, good.state) == ("failed", "indexed")


async def test_the_work_does_not_run_in_the_context_of_the_call_that_started_it(
    make_bench: MakeBench, task: DocumentTask
) -> None:
    request: ContextVar[str] = ContextVar("request", default="none")
    seen: set[str] = set()

    class Recording(FakeEmbedder):
        async def embed_passages(self, texts: Sequence[str]) -> Embeddings:
            seen.add(request.get())
            return await super().embed_passages(texts)

    bench = make_bench()
    bench.embedder = Recording()
    record = bench.submit(task)
    request.set("a request")
    bench.start()
    await bench.done(record)
    assert seen == {"none"}


class FailingEmbedder(FakeEmbedder):
    """Fails so many times, with that error."""

    def __init__(self, times: int, error: Exception) -> None:
        super().__init__()
        self.times, self.error = times, error

    async def embed_passages(self, texts: Sequence[str]) -> Embeddings:
        if self.times:
            self.times -= 1
            raise self.error
        return await super().embed_passages(texts)


async def test_what_is_unavailable_is_tried_again(make_bench: MakeBench, task: DocumentTask) -> None:
    bench = make_bench()
    bench.embedder = FailingEmbedder(3, StageUnavailable("no embedder"))
    record = bench.submit(task)
    bench.start()
    await bench.done(record)
    assert record.state == "indexed"
    assert record.task.attempts == 4


async def test_tries_are_bounded(make_bench: MakeBench, task: DocumentTask) -> None:
    bench = make_bench(max_attempts=3)
    bench.embedder = FailingEmbedder(1000, StageUnavailable("no embedder"))
    record = bench.submit(task)
    bench.start()
    await bench.done(record)
    assert record.error == ("stage_unavailable", "given up after 3 tries; the last: no embedder")
    assert record.task.attempts == 3


async def test_the_wait_before_a_try_doubles(make_bench: MakeBench, task: DocumentTask) -> None:
    waits: list[float] = []

    class RecordingJobs(MemoryJobStore):
        async def retry(self, task: DocumentTask, *, after_s: float) -> None:
            waits.append(after_s)
            await super().retry(task, after_s=0)

    bench = make_bench(retry_delay_s=10.0, max_attempts=6)
    bench.jobs = RecordingJobs()
    bench.embedder = FailingEmbedder(1000, StageUnavailable("no embedder"))
    record = bench.submit(task)
    bench.start()
    await bench.done(record)
    assert waits == [10, 20, 40, 60, 60]


async def test_a_document_whose_workers_all_died_is_given_up(make_bench: MakeBench, task: DocumentTask) -> None:
    bench = make_bench(max_attempts=3)
    record = bench.submit(replace(task, attempts=3))
    bench.start()
    await bench.done(record)
    assert record.error is not None
    assert "worker ended" in record.error[1]


async def test_bad_input_from_a_stage_is_final(make_bench: MakeBench, task: DocumentTask) -> None:
    bench = make_bench()
    bench.embedder = FailingEmbedder(1000, EmbedderMismatch("another model made this index"))
    record = bench.submit(task)
    bench.start()
    await bench.done(record)
    assert record.error == ("embedder_mismatch", "another model made this index")


async def test_a_defect_is_an_internal_error_and_is_logged(
    make_bench: MakeBench, task: DocumentTask, caplog: pytest.LogCaptureFixture
) -> None:
    bench = make_bench()
    bench.embedder = FailingEmbedder(1, ZeroDivisionError("secret detail"))
    record = bench.submit(task)
    bench.start()
    await bench.done(record)
    assert record.error is not None
    assert record.error[0] == "internal_error"
    assert "secret" not in record.error[1]
    assert "secret detail" in caplog.text


async def test_a_failing_write_is_tried_again(make_bench: MakeBench, task: DocumentTask) -> None:
    class FailingIndex(MemoryIndex):
        calls = 0

        async def upsert(self, generation: IndexGeneration, entries: Sequence[IndexEntry]) -> None:
            self.calls += 1
            if self.calls == 2:
                raise StageUnavailable("no index")
            await super().upsert(generation, entries)

    bench = make_bench(embed_batch=1)
    bench.index = FailingIndex()
    record = bench.submit(task, "\n\n".join(f"Članak {n}.\n\nTekst {n}." for n in range(6)))
    bench.start()
    await bench.done(record)
    assert (record.state, record.task.attempts, len(bench.index.entries)) == ("indexed", 2, 6)


async def test_an_embedder_that_changes_under_a_document_starts_it_again(
    make_bench: MakeBench, task: DocumentTask
) -> None:
    bench = make_bench()
    record = bench.submit(task)
    old = bench.embedder.info
    new = replace(old, fingerprint="new")
    answers = iter([old, new])

    class Changing(FakeEmbedder):
        async def describe(self) -> EmbedderInfo:
            return next(answers)

        async def embed_passages(self, texts: Sequence[str]) -> Embeddings:
            return replace(await super().embed_passages(texts), fingerprint="new")

    bench.embedder = Changing()
    bench.start()
    await bench.done(record)
    assert (record.state, record.task.attempts) == ("indexed", 2)


class Gate(FakeEmbedder):
    """Holds every embedding until it is opened."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = asyncio.Event()
        self.waiting = 0
        self.most_waiting = 0

    async def embed_passages(self, texts: Sequence[str]) -> Embeddings:
        self.waiting += 1
        self.most_waiting = max(self.waiting, self.most_waiting)
        await self.opened.wait()
        self.waiting -= 1
        return await super().embed_passages(texts)


async def test_no_more_documents_at_once_than_configured(make_bench: MakeBench, task: DocumentTask) -> None:
    bench = make_bench(concurrent_documents=3)
    gate = bench.embedder = Gate()
    records = [bench.submit(replace(task, document_id=str(n))) for n in range(8)]
    worker = bench.start()
    await bench.until(lambda: gate.waiting == 3)
    worker.wake()
    for _ in range(50):  # rounds of the loop, enough for one of the worker's
        await asyncio.sleep(0)
    assert worker.active == 3
    gate.opened.set()
    await bench.done(*records)
    assert gate.most_waiting == 3
    assert {record.task.attempts for record in records} == {1}


async def test_a_wake_up_starts_a_round_at_once(make_bench: MakeBench, task: DocumentTask) -> None:
    class CountedJobs(MemoryJobStore):
        claims = 0

        async def claim(
            self, worker: str, *, lease_s: float, limit: int, job_id: str | None = None
        ) -> list[DocumentTask]:
            self.claims += 1
            return await super().claim(worker, lease_s=lease_s, limit=limit)

    bench = make_bench(poll_s=3600)
    bench.jobs = jobs = CountedJobs()
    worker = bench.start()
    await bench.until(lambda: jobs.claims == 1)  # the first round, which finds nothing
    record = bench.submit(task)
    worker.wake()
    await bench.done(record)
    assert record.state == "indexed"


async def test_leases_are_renewed_while_a_document_is_worked_on(make_bench: MakeBench, task: DocumentTask) -> None:
    bench = make_bench(lease_s=0.03)
    clock = Seconds()
    bench.jobs = MemoryJobStore(clock)
    gate = bench.embedder = Gate()
    record = bench.submit(task)
    bench.start("first")
    await bench.until(lambda: gate.waiting == 1)
    bench.start("second")
    for _ in range(3):
        clock.now += 0.02
        await bench.until(lambda: record.lease_until == clock.now + 0.03)
    assert (record.worker, record.task.attempts) == ("first", 1)
    gate.opened.set()
    await bench.done(record)


async def test_an_expired_lease_hands_the_document_to_another_worker(make_bench: MakeBench, task: DocumentTask) -> None:
    bench = make_bench()
    clock = Seconds()
    bench.jobs = MemoryJobStore(clock)
    record = bench.submit(task)
    assert await bench.jobs.claim("dead", lease_s=30, limit=1)
    clock.now += 30
    bench.start()
    await bench.done(record)
    assert (record.worker, record.task.attempts) == ("worker", 2)


async def test_closing_puts_claimed_documents_back(make_bench: MakeBench, task: DocumentTask) -> None:
    bench = make_bench()
    gate = bench.embedder = Gate()
    record = bench.submit(task)
    worker = bench.start("first")
    await bench.until(lambda: gate.waiting == 1)
    await worker.close()
    assert record.state == "queued"
    assert worker.active == 0
    with pytest.raises(StageUnavailable):
        worker.check()
    gate.opened.set()
    bench.parser = PlainParser(bench.config)
    bench.start("second")
    await bench.done(record)
    assert (record.state, record.worker) == ("indexed", "second")


async def test_a_job_store_that_does_not_answer_is_asked_again(
    make_bench: MakeBench, task: DocumentTask, caplog: pytest.LogCaptureFixture
) -> None:
    class FlakyJobs(MemoryJobStore):
        failures = 3

        async def claim(
            self, worker: str, *, lease_s: float, limit: int, job_id: str | None = None
        ) -> list[DocumentTask]:
            if self.failures:
                self.failures -= 1
                raise OSError("database is locked")
            return await super().claim(worker, lease_s=lease_s, limit=limit)

    bench = make_bench()
    bench.jobs = FlakyJobs()
    record = bench.submit(task)
    worker = bench.start()
    await bench.until(lambda: worker.trouble is not None)
    await bench.done(record)
    assert (record.state, worker.trouble) == ("indexed", None)
    assert caplog.text.count("handed out no work") == 1


@pytest.mark.parametrize("broken", ["progress", "finish", "fail", "renew"])
async def test_a_job_store_that_fails_in_the_middle_does_not_end_the_worker(
    make_bench: MakeBench, task: DocumentTask, broken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = make_bench(lease_s=0.06)
    clock = Seconds()
    bench.jobs = MemoryJobStore(clock)
    gate = Gate()
    original: Callable[..., Awaitable[None]] = getattr(bench.jobs, broken)
    calls = 0

    async def failing(*args: object, **kwargs: object) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            if broken == "fail":
                clock.now += 1  # what was not recorded is claimed again once its lease has run out
            raise StageUnavailable("the store restarts")
        await original(*args, **kwargs)
        gate.opened.set()

    monkeypatch.setattr(bench.jobs, broken, failing)
    if broken == "renew":
        bench.embedder = gate
    filename = "a.bin" if broken == "fail" else "a.txt"
    record = bench.submit(replace(task, filename=filename, media_type=""), b"\0" if broken == "fail" else ACT)
    worker = bench.start()
    await bench.done(record)
    worker.check()
    expected: DocumentState = "failed" if broken == "fail" else "indexed"
    assert record.state == expected
    assert calls >= 1


async def test_a_document_is_cut_by_its_collection_s_sizes(make_bench: MakeBench, task: DocumentTask) -> None:
    words = " ".join(f"riječ{n}" for n in range(400))
    for sizes, chunks in ((ChunkSizes(), 2), (ChunkSizes(50, 0), 8), (ChunkSizes(50, 25), 15)):
        bench = make_bench()
        record = bench.submit(replace(task, chunk_sizes=sizes), words)
        bench.start()
        await bench.done(record)
        assert record.indexed is not None
        assert record.indexed.passages == chunks


THIRTY = "\n\n".join(f"Članak {n}.\n\nTekst {n}." for n in range(30))


async def test_the_next_try_goes_on_after_the_last_finished_batch(make_bench: MakeBench, task: DocumentTask) -> None:
    bench = make_bench(embed_batch=4)
    embed = bench.embedder.embed_passages

    async def fails_at_the_fifth(texts: Sequence[str]) -> Embeddings:
        if len(bench.embedder.batches) == 4:
            bench.embedder.embed_passages = embed  # type: ignore[method-assign]
            raise StageUnavailable("embedding is gone")
        return await embed(texts)

    bench.embedder.embed_passages = fails_at_the_fifth  # type: ignore[method-assign]
    record = bench.submit(task, THIRTY)
    bench.start()
    await bench.done(record)
    assert record.task.attempts == 2
    texts = [text for batch in bench.embedder.batches for text in batch]
    assert len(set(texts)) == 30
    assert len(texts) <= 34, "at most the batch that was being written is embedded again"
    whole = make_bench(embed_batch=4)
    other = whole.submit(task, THIRTY)
    whole.start()
    await whole.done(other)
    assert record.indexed == other.indexed, "the statistics count the chunks of both tries"
    assert bench.index.entries.keys() == whole.index.entries.keys()


@pytest.mark.parametrize("changed", [{"generation": "another"}, {"chunks": 31}])
async def test_what_was_written_to_another_generation_or_cut_otherwise_is_not_gone_on_with(
    make_bench: MakeBench, task: DocumentTask, changed: dict[str, object]
) -> None:
    bench = make_bench(embed_batch=4)
    so_far = replace(Progress(bench.embedder.info.fingerprint, chunks=30, done=8), **changed)  # type: ignore[arg-type]
    record = bench.submit(replace(task, progress=so_far), THIRTY)
    bench.start()
    await bench.done(record)
    assert len(bench.index.entries) == 30


@pytest.mark.parametrize(("ending", "state"), [("cancelled", "cancelled"), ("lease lost", "embedding")])
async def test_a_worker_stops_within_a_batch_when_its_claim_ends(
    make_bench: MakeBench, task: DocumentTask, ending: str, state: DocumentState
) -> None:
    bench = make_bench(embed_batch=1, concurrent_documents=1)
    embed = bench.embedder.embed_passages

    async def meanwhile(texts: Sequence[str]) -> Embeddings:
        if len(bench.embedder.batches) == 3:
            record.cancelled = ending == "cancelled"
            if ending == "lease lost":
                record.task, record.lease_until = replace(record.task, attempts=9), float("inf")
        return await embed(texts)

    bench.embedder.embed_passages = meanwhile  # type: ignore[method-assign]
    record = bench.submit(task, THIRTY)
    worker = bench.start()
    await bench.until(lambda: len(bench.embedder.batches) > 3 and worker.active == 0)
    assert len(bench.embedder.batches) <= 6
    assert record.state == state
    await bench.until(lambda: not bench.jobs.removable_versions)
    assert bool(bench.index.entries) == (ending == "lease lost"), "what another worker has is not this one's to remove"


async def test_what_a_failed_document_left_in_the_index_is_taken_back(
    make_bench: MakeBench, task: DocumentTask
) -> None:
    bench = make_bench(max_attempts=1, embed_batch=1)
    live = bench.submit(task)
    bench.start()
    await bench.done(live)
    before = set(bench.index.entries)
    embed, calls = bench.embedder.embed_passages, 0

    async def fails_at_the_second(texts: Sequence[str]) -> Embeddings:
        nonlocal calls
        calls += 1
        if calls > 1:
            raise StageUnavailable("embedding is gone")
        return await embed(texts)

    bench.embedder.embed_passages = fails_at_the_second  # type: ignore[method-assign]
    changed = bench.submit(
        replace(task, job_id="job-2", version="v2", blob="blob-2"),
        ACT + "\n\nČlanak 3.\n\nNovo.",
    )
    await bench.done(changed)
    assert changed.state == "failed"
    assert calls > 1
    await bench.until(lambda: not bench.jobs.removable_versions)
    assert set(bench.index.entries) == before
    assert set(bench.blobs.blobs) == {task.blob}
