"""Ingestion's ports in memory, for tests: deterministic, without files or network."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from deployments.errors import NotFound
from deployments.ingestion.base import (
    DocumentCancelled,
    DocumentState,
    DocumentTask,
    IndexedDocument,
    LeaseLost,
    Progress,
    RemovedBlob,
    RemovedVersion,
    RetiredGeneration,
    WaitingDocuments,
)
from deployments.ingestion.bulk.base import BulkJob
from deployments.types import (
    DocumentVersion,
    EmbedderIdentity,
    EmbedderInfo,
    Embeddings,
    GenerationSize,
    IndexEntry,
    IndexGeneration,
    Matrix,
)


class MemoryBlobStore:
    """`blobs`: key → bytes."""

    def __init__(self) -> None:
        self.blobs: dict[str, bytes] = {}

    async def read(self, key: str) -> bytes:
        if key not in self.blobs:
            raise NotFound(f"there is no blob {key!r}")
        return self.blobs[key]

    async def delete(self, key: str) -> None:
        self.blobs.pop(key, None)


@dataclass(slots=True)
class JobRecord:
    """What the store knows of one document. `history` holds its states, oldest first."""

    task: DocumentTask
    state: DocumentState
    history: list[DocumentState]
    worker: str = ""
    lease_until: float = 0.0
    not_before: float = 0.0
    cancelled: bool = False
    error: tuple[str, str] | None = None
    indexed: IndexedDocument | None = None
    queued_at: float = 0.0


class MemoryJobStore:
    """`clock` gives seconds. Tests pass one of their own, so that they decide when leases run out."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.records: dict[tuple[str, str], JobRecord] = {}
        self._clock = clock
        self.removable_versions: list[RemovedVersion] = []
        self.removable_blobs: list[RemovedBlob] = []
        self.retired: list[RetiredGeneration] = []
        self.live: IndexGeneration | None = None

    def submit(self, task: DocumentTask) -> JobRecord:
        record = JobRecord(task=task, state="queued", history=["queued"], queued_at=self._clock())
        self.records[task.job_id, task.document_id] = record
        return record

    async def claim(self, worker: str, *, lease_s: float, limit: int, job_id: str | None = None) -> list[DocumentTask]:
        now = self._clock()
        records = [record for record in self.records.values() if job_id in (None, record.task.job_id)]
        free = [record for record in records if self._is_free(record, now)][:limit]
        for record in free:
            record.task = replace(record.task, attempts=record.task.attempts + 1)
            record.worker, record.lease_until = worker, now + lease_s
        return [record.task for record in free]

    async def waiting_documents(self) -> WaitingDocuments:
        """The oldest has waited since it could first be claimed."""
        now = self._clock()
        since = [max(r.not_before, r.lease_until, r.queued_at) for r in self.records.values() if self._is_free(r, now)]
        return WaitingDocuments(len(since), max([now - each for each in since], default=0.0))

    def waiting(self, job_id: str) -> int:
        now = self._clock()
        return sum(record.task.job_id == job_id and self._is_free(record, now) for record in self.records.values())

    @staticmethod
    def _is_free(record: JobRecord, now: float) -> bool:
        unfinished = record.state in ("queued", "parsing", "embedding")
        return unfinished and record.not_before <= now and record.lease_until <= now

    async def renew(self, worker: str, tasks: Sequence[DocumentTask], *, lease_s: float) -> None:
        for task in tasks:
            record = self._record(task)
            if record.worker == worker:
                record.lease_until = self._clock() + lease_s

    async def progress(self, task: DocumentTask, state: DocumentState, progress: Progress | None = None) -> None:
        record = self._record(task)
        if record.task.attempts != task.attempts:
            raise LeaseLost("another worker has it")
        if record.cancelled:
            raise DocumentCancelled("its job was cancelled")
        if progress is not None:
            record.task = replace(record.task, progress=progress)
        self._enter(record, state)

    async def begin_writing(self, task: DocumentTask, embedder: EmbedderIdentity) -> IndexGeneration:
        if task.generation:
            return IndexGeneration(task.generation, embedder.fingerprint, embedder.dimension)
        self.live = self.live or IndexGeneration(embedder.fingerprint, embedder.fingerprint, embedder.dimension)
        return self.live

    async def switch_generations(self) -> bool:
        return False

    async def finish(self, task: DocumentTask, indexed: IndexedDocument) -> None:
        record = self._record(task)
        for other in self.records.values():
            is_same_document = (other.task.tenant_id, other.task.document_id) == (task.tenant_id, task.document_id)
            if is_same_document and other.state == "indexed" and other.task.version != task.version:
                self._release(other.task)
        record.indexed = indexed
        self._enter(record, "indexed")

    async def fail(self, task: DocumentTask, code: str, detail: str) -> None:
        record = self._record(task)
        record.error = None if record.cancelled else (code, detail)
        self._enter(record, "cancelled" if record.cancelled else "failed")
        self._release(task)

    async def retry(self, task: DocumentTask, *, after_s: float) -> None:
        record = self._record(task)
        record.not_before, record.lease_until = self._clock() + after_s, 0.0
        self._enter(record, "queued")

    async def list_removable(self, limit: int) -> list[RemovedVersion]:
        return self.removable_versions[:limit]

    async def forget_removed(self, versions: Sequence[RemovedVersion]) -> None:
        self.removable_versions = [version for version in self.removable_versions if version not in versions]

    async def list_removable_blobs(self, limit: int) -> list[RemovedBlob]:
        return self.removable_blobs[:limit]

    async def forget_blobs(self, blobs: Sequence[RemovedBlob]) -> None:
        self.removable_blobs = [blob for blob in self.removable_blobs if blob not in blobs]

    async def list_retired(self, limit: int) -> list[RetiredGeneration]:
        return self.retired[:limit]

    async def forget_retired(self, generations: Sequence[RetiredGeneration]) -> None:
        self.retired = [generation for generation in self.retired if generation not in generations]

    def _release(self, task: DocumentTask) -> None:
        self.removable_versions.append(RemovedVersion(task.tenant_id, task.document_id, task.version))
        self.removable_blobs.append(RemovedBlob(task.tenant_id, task.blob))

    def _record(self, task: DocumentTask) -> JobRecord:
        return self.records[task.job_id, task.document_id]

    @staticmethod
    def _enter(record: JobRecord, state: DocumentState) -> None:
        if state != record.state:
            record.history.append(state)
        record.state = state


class MemoryBulkJobs:
    """`running`: jobs that a Ray Job runs now. `ended`: job id → what went wrong, empty if nothing did. `is_closed`:
    whether `close` was the last call."""

    def __init__(self, jobs: MemoryJobStore) -> None:
        self._jobs = jobs
        self.queue: list[BulkJob] = []
        self.running: list[BulkJob] = []
        self.ended: dict[str, str] = {}
        self.is_closed = False

    async def next(self, *, most: int, lease_s: float) -> BulkJob | None:
        if not self.queue or len(self.running) >= most:
            return None
        self.running.append(self.queue.pop(0))
        return self.running[-1]

    async def renew(self, job: BulkJob, *, lease_s: float) -> bool:
        return job in self.running

    async def waiting(self, job: BulkJob) -> int:
        return self._jobs.waiting(job.id)

    async def end(self, job: BulkJob, detail: str = "") -> None:
        self.is_closed = False
        if job in self.running:
            self.running.remove(job)
            self.ended[job.id] = detail

    async def close(self) -> None:
        self.is_closed = True


class FakeEmbedder:
    """Random vectors, seeded by the text. Its tokenizer counts words, runs of punctuation, and two special tokens."""

    def __init__(self, *, max_tokens: int = 256, dimension: int = 8, fingerprint: str = "fake-embedder") -> None:
        self.info = EmbedderInfo(
            model="fake",
            fingerprint=fingerprint,
            dimension=dimension,
            max_tokens=max_tokens,
            tokenizer_json=word_tokenizer().to_str(),
        )
        self.batches: list[list[str]] = []

    async def describe(self) -> EmbedderInfo:
        return self.info

    async def embed_passages(self, texts: Sequence[str]) -> Embeddings:
        self.batches.append(list(texts))
        return Embeddings(vectors=self._vectors(texts), fingerprint=self.info.fingerprint)

    def _vectors(self, texts: Sequence[str]) -> Matrix:
        seeds = (int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") for text in texts)
        rows = [np.random.default_rng(seed).standard_normal(self.info.dimension) for seed in seeds]
        vectors = np.asarray(rows, dtype=np.float32).reshape(len(rows), self.info.dimension)
        unit: Matrix = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        return unit


def word_tokenizer() -> Tokenizer:
    """A tokenizer of words and runs of punctuation, which puts a text between [CLS] and [SEP]."""
    tokenizer = Tokenizer(models.WordLevel({"[UNK]": 0, "[CLS]": 1, "[SEP]": 2}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    return tokenizer


class MemoryIndex:
    """`entries` by passage id, of all generations. `largest_upsert`: the most entries in one call. `dimensions`: by
    generation. `purged`: (tenant, generation) of each call."""

    def __init__(self) -> None:
        self.entries: dict[str, IndexEntry] = {}
        self.largest_upsert = 0
        self.dimensions: dict[str, int] = {}
        self.purged: list[tuple[str, str]] = []

    async def upsert(self, generation: IndexGeneration, entries: Sequence[IndexEntry]) -> None:
        self.largest_upsert = max(self.largest_upsert, len(entries))
        self.dimensions[generation.name] = generation.dimension
        self.entries.update({entry.passage.id: entry for entry in entries})

    async def measure(self, tenant_id: str, generation: str) -> GenerationSize:
        passages = [entry for entry in self.entries.values() if entry.passage.tenant_id == tenant_id]
        return GenerationSize(len(passages), self.dimensions.get(generation, 0))

    async def purge(self, tenant_id: str, *, collection: str = "", generation: str = "") -> int:
        self.purged.append((tenant_id, generation))
        return 0

    async def delete_versions(self, tenant_id: str, versions: Sequence[DocumentVersion]) -> int:
        removed = [
            passage_id
            for passage_id, entry in self.entries.items()
            if entry.passage.tenant_id == tenant_id
            and DocumentVersion(entry.passage.document_id, entry.passage.version) in versions
        ]
        for passage_id in removed:
            del self.entries[passage_id]
        return len(removed)
