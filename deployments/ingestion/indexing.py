"""One document's way into the index."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

from tokenizers import Tokenizer

from deployments.errors import StageUnavailable
from deployments.ingestion.base import (
    BlobStore,
    Chunk,
    DocumentTask,
    EmbedderPort,
    IndexedDocument,
    IndexPort,
    JobStore,
    ParsedDocument,
    Progress,
)
from deployments.ingestion.chunking import chunk
from deployments.ingestion.config import IngestionConfig
from deployments.ingestion.parsing import DocumentParser
from deployments.ingestion.passages import EmbeddableText, chunk_size, load_tokenizer, passages
from deployments.lexical import detect_language, encode_passage
from deployments.types import EmbedderInfo, IndexEntry, Language, SparseVector

_LANGUAGE_CHARACTERS = 20_000
"""How much of a document its language is judged by."""


@dataclass(frozen=True, slots=True)
class _Prepared:
    """A document cut into chunks for one embedder."""

    title: str
    language: Language
    chunks: Sequence[Chunk]
    tokenizer: Tokenizer


class DocumentIndexer:
    """Parses, chunks, embeds and writes a document. Its chunks are held whole, its vectors two batches at a time."""

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
        self._tokenizer: tuple[str, Tokenizer] | None = None

    async def index(self, task: DocumentTask) -> IndexedDocument:
        """Nothing is written before the document is parsed, and no search finds what is written before the job store
        says that it is finished. A try that ends half-way is gone on with by the next, after the last batch that was
        recorded; what was written after that is replaced, because its passages' ids are the same.

        Raises GivenUp, LeaseLost."""
        await self._jobs.progress(task, "parsing")
        document = await self._parser.parse(await self._blobs.read(task.blob), task.filename, task.media_type)
        await self._jobs.progress(task, "embedding")
        embedder = await self._embedder.describe()
        prepared = await asyncio.to_thread(self._prepare, task, document, embedder)
        document_frequency = await self._write(task, prepared, embedder)
        return IndexedDocument(prepared.title, prepared.language, len(prepared.chunks), document_frequency)

    def _prepare(self, task: DocumentTask, document: ParsedDocument, embedder: EmbedderInfo) -> _Prepared:
        if self._tokenizer is None or self._tokenizer[0] != embedder.tokenizer_json:
            self._tokenizer = (embedder.tokenizer_json, load_tokenizer(embedder))
        tokenizer = self._tokenizer[1]
        size = chunk_size(embedder, tokenizer, self._config.chunk_tokens)
        return _Prepared(
            title=task.title or document.title or PurePath(task.filename).stem or task.document_id,
            language=task.language or detect_language(document.text[:_LANGUAGE_CHARACTERS]),
            chunks=chunk(document, tokenizer, chunk_tokens=size, overlap=self._config.chunk_overlap),
            tokenizer=tokenizer,
        )

    async def _write(self, task: DocumentTask, prepared: _Prepared, embedder: EmbedderInfo) -> Mapping[int, int]:
        """Embed batch after batch, each while the one before is written. Returns term id → passages that hold it."""
        document_frequency: Counter[int] = Counter()
        writing: asyncio.Task[None] | None = None
        progress = Progress(embedder.fingerprint, len(prepared.chunks))
        written = task.progress.done if replace(task.progress, done=0) == progress else 0
        try:
            for batch in self._batches(prepared.chunks):
                texts, lexical = await asyncio.to_thread(_encode, task, prepared, batch, embedder.max_tokens)
                for vector in lexical:
                    document_frequency.update(vector.keys())
                progress = replace(progress, done=progress.done + len(batch))
                if progress.done <= written:
                    continue
                entries = await self._embed(embedder, texts, lexical)
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

    def _batches(self, chunks: Sequence[Chunk]) -> Iterator[Sequence[Chunk]]:
        size = self._config.embed_batch
        return (chunks[start : start + size] for start in range(0, len(chunks), size))

    async def _embed(
        self, embedder: EmbedderInfo, texts: Sequence[EmbeddableText], lexical: Sequence[SparseVector]
    ) -> list[IndexEntry]:
        embeddings = await self._embedder.embed_passages([each.text for each in texts])
        if embeddings.fingerprint != embedder.fingerprint:
            raise StageUnavailable("the embedding model changed while the document was embedded")
        return [
            IndexEntry(each.passage, dense, sparse)
            for each, dense, sparse in zip(texts, embeddings.vectors, lexical, strict=True)
        ]


def _encode(
    task: DocumentTask, prepared: _Prepared, batch: Sequence[Chunk], max_tokens: int
) -> tuple[list[EmbeddableText], list[dict[int, float]]]:
    texts = passages(task, prepared.title, prepared.language, batch, prepared.tokenizer, max_tokens)
    return texts, [encode_passage(each.text, prepared.language) for each in texts]
