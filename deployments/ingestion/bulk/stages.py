"""The operators of the bulk pipeline: parse, embed, insert.

A row holds one pickled `ChunkBatch`, so Ray Data sees plain bytes. An error of a document travels in its batch, and
the runner records it.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from deployments.errors import RagError, Unavailable
from deployments.ingestion.base import DocumentTask, EmbedderPort
from deployments.ingestion.bulk.base import BulkJob, BulkPorts
from deployments.ingestion.config import IngestionConfig
from deployments.ingestion.document_trace import document_span
from deployments.ingestion.indexing import generation_to_write
from deployments.ingestion.parsing import DocumentParser
from deployments.ingestion.passages import (
    DocumentPreparer,
    EmbeddableText,
    PreparedDocument,
    entries_without_vectors,
    index_entries,
)
from deployments.telemetry import spans, tracing
from deployments.telemetry.tracing import TraceHeaders
from deployments.types import EmbedderInfo, IndexEntry, IndexGeneration, Language, SparseVector

logger = logging.getLogger(__name__)
T = TypeVar("T")
Rows = Mapping[str, Any]
"""Some rows of the data set: column → its values."""
COLUMN = "batch"


_NO_GENERATION = IndexGeneration("", "", 0)
"""Of a batch that could not be read."""


@dataclass(frozen=True, slots=True)
class ChunkBatch:
    """Batch `number` (from 0) of the `total` batches of a document; it has `chunks` chunks.

    They are in `texts` until they are embedded, then in `entries` until they are inserted into `generation`. Both are
    empty if an earlier attempt has inserted them. `fingerprint` is that of the embedder that runs. `passages` counts
    those of the whole document. `document_frequency`: term id → passages of this batch that hold the term. A batch with
    an `error` goes through the rest of the pipeline unchanged. If its `total` is smaller than that of the batches
    before it, it is the document's last: the rest could not be read. `trace`: the headers of the document's span.
    """

    task: DocumentTask
    number: int = 0
    total: int = 1
    title: str = ""
    language: Language = "hr"
    passages: int = 0
    chunks: int = 0
    fingerprint: str = ""
    generation: IndexGeneration = _NO_GENERATION
    chunking: str = ""
    warnings: Sequence[str] = ()
    document_frequency: Mapping[int, int] = field(default_factory=dict)
    texts: Sequence[EmbeddableText] = ()
    lexical: Sequence[SparseVector] = ()
    entries: Sequence[IndexEntry] = ()
    error: RagError | None = None
    trace: TraceHeaders = field(default_factory=dict)

    @property
    def has_vectors(self) -> bool:
        """Whether the embedder that runs made the generation; the batch has terms alone otherwise."""
        return self.generation.embedder == self.fingerprint


def to_rows(batch: ChunkBatch) -> dict[str, list[bytes]]:
    return {COLUMN: [pickle.dumps(batch, protocol=5)]}


def from_row(cell: bytes) -> ChunkBatch:
    batch: ChunkBatch = pickle.loads(cell)
    return batch


class Parse:
    """For each ticket claims the job's next free document, if there is one, and gives its batches of texts."""

    def __init__(self, ports: BulkPorts, job: BulkJob) -> None:
        tracing.start(ports.telemetry, "ingestion")
        self._ports = ports
        self._job = job
        self._parser = DocumentParser(ports.config)
        self._preparer = DocumentPreparer(ports.config)
        self._embedder = _Embedder(ports)

    async def __call__(self, tickets: Rows) -> AsyncIterator[dict[str, list[bytes]]]:
        config = self._ports.config

        def claim() -> Awaitable[list[DocumentTask]]:
            return self._ports.jobs.claim(self._job.name, lease_s=config.lease_s, limit=1, job_id=self._job.id)

        for task in await with_retries(config, claim):
            given = 0
            trace: TraceHeaders = {}
            try:
                with document_span(task) as span:
                    trace = tracing.headers(span)
                    prepared, embedder = await self._prepare(task)
                await _export_spans(trace)
                async for batch in self._batches(prepared, embedder):
                    yield to_rows(replace(batch, trace=trace))
                    given += 1
            except Exception as error:
                failed = ChunkBatch(task, number=given, total=given + 1, error=_picklable(task, error), trace=trace)
                await _export_spans(trace)
                yield to_rows(failed)

    async def _prepare(self, task: DocumentTask) -> tuple[PreparedDocument, EmbedderInfo]:
        ports = self._ports
        with tracing.span(spans.FETCH):
            data = await with_retries(ports.config, lambda: ports.blobs.read(task.blob))
        with tracing.span(spans.PARSE):
            document = await self._parser.parse(data, task.filename, task.media_type)
        embedder = await self._embedder.describe()
        with tracing.span(spans.CHUNK):
            return await asyncio.to_thread(self._preparer.prepare, task, document, embedder), embedder

    async def _batches(self, prepared: PreparedDocument, embedder: EmbedderInfo) -> AsyncIterator[ChunkBatch]:
        ports, task = self._ports, prepared.task
        chunk_batches = prepared.batches(ports.config.embed_batch)
        generation = await with_retries(
            ports.config, lambda: generation_to_write(task, embedder.identity, ports.jobs, ports.index)
        )
        chunks_written = prepared.chunks_written(generation)
        for number, chunks in enumerate(chunk_batches):
            texts, lexical = await asyncio.to_thread(prepared.encode, chunks)
            batch = ChunkBatch(
                task=prepared.task,
                number=number,
                total=len(chunk_batches),
                title=prepared.title,
                language=prepared.language,
                passages=len(prepared.chunks),
                chunks=len(chunks),
                fingerprint=embedder.fingerprint,
                generation=generation,
                chunking=prepared.chunking,
                warnings=prepared.warnings,
                document_frequency=Counter(term for vector in lexical for term in vector),
            )
            chunks_written -= len(chunks)
            yield batch if chunks_written >= 0 else replace(batch, texts=texts, lexical=lexical)


class Embed:
    """Replaces each batch's texts by index entries."""

    def __init__(self, ports: BulkPorts) -> None:
        tracing.start(ports.telemetry, "ingestion")
        self._ports = ports

    async def __call__(self, rows: Rows) -> AsyncIterator[dict[str, list[bytes]]]:
        for cell in rows[COLUMN]:
            yield to_rows(await _unless_failed(from_row(cell), self._embed))

    async def _embed(self, batch: ChunkBatch) -> ChunkBatch:
        if not batch.texts:
            return batch
        if not batch.has_vectors:
            entries = entries_without_vectors(batch.texts, batch.lexical, batch.generation)
            return replace(batch, texts=(), lexical=(), entries=entries)
        ports, texts = self._ports, [embeddable.text for embeddable in batch.texts]
        with _span(spans.EMBED, batch):
            embeddings = await with_retries(ports.config, lambda: ports.embedder.embed_passages(texts))
        entries = index_entries(batch.texts, batch.lexical, embeddings, batch.fingerprint)
        return replace(batch, texts=(), lexical=(), entries=entries)


class Insert:
    """Writes each batch's entries to the index."""

    def __init__(self, ports: BulkPorts) -> None:
        tracing.start(ports.telemetry, "ingestion")
        self._ports = ports

    async def __call__(self, rows: Rows) -> AsyncIterator[dict[str, list[bytes]]]:
        for cell in rows[COLUMN]:
            yield to_rows(await _unless_failed(from_row(cell), self._insert))

    async def _insert(self, batch: ChunkBatch) -> ChunkBatch:
        if not batch.entries:
            return batch
        ports = self._ports
        with _span(spans.INDEX, batch):
            await with_retries(ports.config, lambda: ports.index.upsert(batch.generation, batch.entries))
        return replace(batch, entries=())


def _span(name: str, batch: ChunkBatch) -> tracing.CurrentSpan:
    span = tracing.begin(name, parent=tracing.remote(batch.trace))
    span.set_attribute("rag.batch.size", batch.chunks)
    return tracing.CurrentSpan(span)


class _Embedder:
    """Caches the embedder's description, which is large: it holds a tokenizer."""

    def __init__(self, ports: BulkPorts) -> None:
        self._config: IngestionConfig = ports.config
        self._port: EmbedderPort = ports.embedder
        self._known: EmbedderInfo | None = None

    async def describe(self) -> EmbedderInfo:
        if self._known is None:
            self._known = await with_retries(self._config, self._port.describe)
        return self._known


async def with_retries(config: IngestionConfig, call: Callable[[], Awaitable[T]]) -> T:
    """Repeat a call that raises Unavailable, as often and with the same pauses as a document is tried."""
    for attempt in range(1, config.max_attempts):
        try:
            return await call()
        except Unavailable as error:
            delay_s = config.retry_after(attempt)
            logger.warning("trying again in %g s: %s", delay_s, error.message)
        await asyncio.sleep(delay_s)
    return await call()


async def _export_spans(trace: TraceHeaders) -> None:
    """Before a batch leaves an actor. Ray kills the actors when the job's last batch has arrived."""
    if trace:
        await tracing.export_now()


async def _unless_failed(batch: ChunkBatch, stage: Callable[[ChunkBatch], Awaitable[ChunkBatch]]) -> ChunkBatch:
    """The batch after the stage, whose spans are exported. One that has an error stays as it is, and an error of the
    stage is put into it."""
    if batch.error is not None:
        return batch
    try:
        done = await stage(batch)
    except Exception as error:
        done = replace(batch, texts=(), lexical=(), entries=(), error=_picklable(batch.task, error))
    await _export_spans(batch.trace)
    return done


def _picklable(task: DocumentTask, error: Exception) -> RagError:
    """The error if it can be pickled, else a short one in its place; then this actor's log has the error in full."""
    if isinstance(error, RagError):
        return error
    logger.error("document %s of tenant %s failed", task.document_id, task.tenant_id, exc_info=error)
    return RagError(f"an unexpected error: {type(error).__name__}")
