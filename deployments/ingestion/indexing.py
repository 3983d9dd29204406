"""Indexes one document: parses it, cuts it into chunks, embeds them, and writes them to the index."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

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
from deployments.ingestion.passages import DocumentPreparer, PreparedDocument, index_entries
from deployments.types import EmbedderInfo, IndexEntry


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
        document = await self._parser.parse(await self._blobs.read(task.blob), task.filename, task.media_type)
        await self._jobs.progress(task, "embedding")
        embedder = await self._embedder.describe()
        prepared = await asyncio.to_thread(self._preparer.prepare, task, document, embedder)
        document_frequency = await self._write(prepared, embedder)
        return IndexedDocument(
            title=prepared.title,
            language=prepared.language,
            passages=len(prepared.chunks),
            document_frequency=document_frequency,
            embedder=embedder.fingerprint,
            chunking=prepared.chunking,
        )

    async def _write(self, prepared: PreparedDocument, embedder: EmbedderInfo) -> Mapping[int, int]:
        """Embed each batch while the one before is written. Returns term id → how many passages hold the term."""
        document_frequency: Counter[int] = Counter()
        writing: asyncio.Task[None] | None = None
        task = prepared.task
        progress = Progress(embedder.fingerprint, len(prepared.chunks))
        chunks_written = prepared.chunks_written(embedder)
        try:
            for batch in prepared.batches(self._config.embed_batch):
                texts, lexical = await asyncio.to_thread(prepared.encode, batch)
                for vector in lexical:
                    document_frequency.update(vector.keys())
                progress = replace(progress, done=progress.done + len(batch))
                if progress.done <= chunks_written:
                    continue
                embeddings = await self._embedder.embed_passages([embeddable.text for embeddable in texts])
                entries = index_entries(texts, lexical, embeddings, embedder.fingerprint)
                if writing is not None:
                    await writing
                writing = asyncio.create_task(self._store(task, embedder, entries, progress))
            if writing is not None:
                await writing
        finally:
            if writing is not None and not writing.done():
                writing.cancel()
                await asyncio.wait([writing])
        return document_frequency

    async def _store(
        self, task: DocumentTask, embedder: EmbedderInfo, entries: Sequence[IndexEntry], progress: Progress
    ) -> None:
        await self._index.upsert(embedder, entries)
        await self._jobs.progress(task, "embedding", progress)
