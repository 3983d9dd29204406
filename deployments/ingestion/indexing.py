"""Indexes one document: parses it, cuts it into chunks, embeds them, and writes them to the index."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from deployments.errors import StageUnavailable
from deployments.ingestion.base import (
    BlobStore,
    DocumentTask,
    EmbedderPort,
    IndexedDocument,
    IndexPort,
    JobStore,
    Progress,
)
from deployments.ingestion.config import IngestionConfig
from deployments.ingestion.parsing import DocumentParser
from deployments.ingestion.passages import (
    DocumentPreparer,
    PreparedDocument,
    entries_without_vectors,
    index_entries,
)
from deployments.telemetry import spans, tracing
from deployments.types import EmbedderIdentity, IndexEntry, IndexGeneration


class DocumentIndexer:
    """Indexes documents. Of each it holds all chunks in memory, but only two batches of vectors."""

    def __init__(
        self,
        config: IngestionConfig,
        parser: DocumentParser,
        embedder: EmbedderPort,
        index: IndexPort,
        jobs: JobStore,
        blobs: BlobStore,
    ) -> None:
        self._config = config
        self._parser = parser
        self._embedder = embedder
        self._index = index
        self._jobs = jobs
        self._blobs = blobs
        self._preparer = DocumentPreparer(config)

    async def index(self, task: DocumentTask) -> IndexedDocument:
        """Index the document, and return what the job store is to record of it.

        Searches do not find its passages until the job store records it as finished. An attempt that fails half-way is
        continued by the next one after the last recorded batch. What was written after that batch is replaced, because
        the passages' ids are the same. Raises DocumentCancelled, LeaseLost, BadInput, Unavailable.
        """
        await self._jobs.progress(task, "parsing")
        with tracing.span(spans.FETCH):
            data = await self._blobs.read(task.blob)
        with tracing.span(spans.PARSE):
            document = await self._parser.parse(data, task.filename, task.media_type)
        await self._jobs.progress(task, "embedding")
        embedder = await self._embedder.describe()
        with tracing.span(spans.CHUNK):
            prepared = await asyncio.to_thread(self._preparer.prepare, task, document, embedder)
        generation = await generation_to_write(task, embedder.identity, self._jobs, self._index)
        document_frequency = await self._write(prepared, embedder.fingerprint, generation)
        return IndexedDocument(
            title=prepared.title,
            language=prepared.language,
            passages=len(prepared.chunks),
            document_frequency=document_frequency,
            embedder=embedder.fingerprint if generation.embedder == embedder.fingerprint else "",
            chunking=prepared.chunking,
            generation=generation.name,
            warnings=prepared.warnings,
            metadata=prepared.task.metadata,
        )

    async def _write(
        self, prepared: PreparedDocument, fingerprint: str, generation: IndexGeneration
    ) -> Mapping[int, int]:
        """Embed each batch while the one before is written. Returns term id → how many passages hold the term."""
        document_frequency: Counter[int] = Counter()
        writing: asyncio.Task[None] | None = None
        task = prepared.task
        progress = Progress(generation.name, len(prepared.chunks))
        chunks_written = prepared.chunks_written(generation)
        try:
            for batch in prepared.batches(self._config.embed_batch):
                texts, lexical = await asyncio.to_thread(prepared.encode, batch)
                for vector in lexical:
                    document_frequency.update(vector.keys())
                progress = replace(progress, done=progress.done + len(batch))
                if progress.done <= chunks_written:
                    continue
                if generation.embedder == fingerprint:
                    with tracing.span(spans.EMBED) as span:
                        span.set_attribute("rag.batch.size", len(texts))
                        embeddings = await self._embedder.embed_passages([embeddable.text for embeddable in texts])
                    entries = index_entries(texts, lexical, embeddings, fingerprint)
                else:
                    entries = entries_without_vectors(texts, lexical, generation)
                if writing is not None:
                    await writing
                writing = asyncio.create_task(self._store(task, generation, entries, progress))
            if writing is not None:
                await writing
        finally:
            if writing is not None and not writing.done():
                writing.cancel()
                await asyncio.wait([writing])
        return document_frequency

    async def _store(
        self, task: DocumentTask, generation: IndexGeneration, entries: Sequence[IndexEntry], progress: Progress
    ) -> None:
        with tracing.span(spans.INDEX) as span:
            span.set_attribute("rag.batch.size", len(entries))
            await self._index.upsert(generation, entries)
        await self._jobs.progress(task, "embedding", progress)


async def generation_to_write(
    task: DocumentTask, embedder: EmbedderIdentity, jobs: JobStore, index: IndexPort
) -> IndexGeneration:
    """The generation to write a document to, with its dimension.

    Raises EmbedderMismatch, NotFound, Unavailable.
    """
    generation = await jobs.begin_writing(task, embedder)
    if generation.dimension:
        return generation
    size = await index.measure(task.tenant_id, generation.name)  # a former release did not keep it
    if not size.dimension:
        raise StageUnavailable(
            "the index has nothing of the live generation, and another embedder made it; reindex: rag reindex"
        )
    return replace(generation, dimension=size.dimension)
