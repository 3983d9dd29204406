"""The operators of the pipeline. What goes wrong with a document travels on in its rows: the runner records it.

A row holds one pickled `Piece`, so Ray Data sees plain bytes.
"""

from __future__ import annotations

import asyncio
import logging
import pickle
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar

from deployments.errors import RagError, StageUnavailable, Unavailable
from deployments.ingestion.base import DocumentTask, EmbedderPort
from deployments.ingestion.bulk.base import BulkJob, BulkPorts
from deployments.ingestion.config import IngestionConfig
from deployments.ingestion.parsing import DocumentParser
from deployments.ingestion.passages import DocumentPreparer, EmbeddableText, index_entries
from deployments.types import EmbedderInfo, IndexEntry, Language, SparseVector

logger = logging.getLogger(__name__)
T = TypeVar("T")
Rows = Mapping[str, Any]
"""One batch, column by column."""
COLUMN = "piece"


@dataclass(frozen=True, slots=True)
class Piece:
    """The `number`th of the `of` pieces of a document: `chunks` of it, as `texts` until they are embedded, as `entries`
    until they are inserted, and as neither when an earlier try has inserted them.

    `passages` counts those of the whole document, `terms` term id → passages of this piece that hold it. A piece with
    an `error` is taken through the rest of the pipeline as it is. One that says of fewer pieces than those before it
    is the last: its document could not be read on.
    """

    task: DocumentTask
    number: int = 0
    of: int = 1
    title: str = ""
    language: Language = "hr"
    passages: int = 0
    chunks: int = 0
    fingerprint: str = ""
    terms: Mapping[int, int] = field(default_factory=dict)
    texts: Sequence[EmbeddableText] = ()
    lexical: Sequence[SparseVector] = ()
    entries: Sequence[IndexEntry] = ()
    error: RagError | None = None


def to_rows(piece: Piece) -> dict[str, list[bytes]]:
    return {COLUMN: [pickle.dumps(piece, protocol=5)]}


def from_row(cell: bytes) -> Piece:
    piece: Piece = pickle.loads(cell)
    return piece


class Parse:
    """A ticket in; out the pieces of whichever document of the job was free next, none if none was."""

    def __init__(self, ports: BulkPorts, job: BulkJob) -> None:
        self._ports = ports
        self._job = job
        self._parser = DocumentParser(ports.config)
        self._preparer = DocumentPreparer(ports.config)
        self._embedder = _Embedder(ports)

    async def __call__(self, tickets: Rows) -> AsyncIterator[dict[str, list[bytes]]]:
        config = self._ports.config

        def claim() -> Awaitable[list[DocumentTask]]:
            return self._ports.jobs.claim(self._job.name, lease_s=config.lease_s, limit=1, job_id=self._job.id)

        for task in await patiently(config, claim):
            made = 0
            try:
                async for piece in self._pieces(task):
                    yield to_rows(piece)
                    made += 1
            except Exception as error:
                yield to_rows(Piece(task, number=made, of=made + 1, error=_reportable(task, error)))

    async def _pieces(self, task: DocumentTask) -> AsyncIterator[Piece]:
        ports = self._ports
        data = await patiently(ports.config, lambda: ports.blobs.read(task.blob))
        document = await self._parser.parse(data, task.filename, task.media_type)
        embedder = await self._embedder.describe()
        prepared = await asyncio.to_thread(self._preparer.prepare, task, document, embedder)
        batches = prepared.batches(ports.config.embed_batch)
        written = prepared.chunks_written(embedder)
        for number, batch in enumerate(batches):
            texts, lexical = await asyncio.to_thread(prepared.encode, batch)
            piece = Piece(
                task=task,
                number=number,
                of=len(batches),
                title=prepared.title,
                language=prepared.language,
                passages=len(prepared.chunks),
                chunks=len(batch),
                fingerprint=embedder.fingerprint,
                terms=Counter(term for vector in lexical for term in vector),
            )
            written -= len(batch)
            yield piece if written >= 0 else replace(piece, texts=texts, lexical=lexical)


class Embed:
    def __init__(self, ports: BulkPorts) -> None:
        self._ports = ports

    async def __call__(self, rows: Rows) -> AsyncIterator[dict[str, list[bytes]]]:
        for cell in rows[COLUMN]:
            yield to_rows(await _onwards(from_row(cell), self._embed))

    async def _embed(self, piece: Piece) -> Piece:
        if not piece.texts:
            return piece
        ports, texts = self._ports, [embeddable.text for embeddable in piece.texts]
        embeddings = await patiently(ports.config, lambda: ports.embedder.embed_passages(texts))
        embedded = index_entries(piece.texts, piece.lexical, embeddings, piece.fingerprint)
        return replace(piece, texts=(), lexical=(), entries=embedded)


class Insert:
    def __init__(self, ports: BulkPorts) -> None:
        self._ports = ports
        self._embedder = _Embedder(ports)

    async def __call__(self, rows: Rows) -> AsyncIterator[dict[str, list[bytes]]]:
        for cell in rows[COLUMN]:
            yield to_rows(await _onwards(from_row(cell), self._insert))

    async def _insert(self, piece: Piece) -> Piece:
        if not piece.entries:
            return piece
        ports, embedder = self._ports, await self._embedder.describe(piece.fingerprint)
        await patiently(ports.config, lambda: ports.index.upsert(embedder, piece.entries))
        return replace(piece, entries=())


class _Embedder:
    """The embedder's description, kept: it holds a whole tokenizer."""

    def __init__(self, ports: BulkPorts) -> None:
        self._config: IngestionConfig = ports.config
        self._port: EmbedderPort = ports.embedder
        self._known: EmbedderInfo | None = None

    async def describe(self, fingerprint: str | None = None) -> EmbedderInfo:
        """Asked again if it is not the one that is meant. Raises StageUnavailable if it is still not."""
        if self._known is None or (fingerprint is not None and self._known.fingerprint != fingerprint):
            self._known = await patiently(self._config, self._port.describe)
        if fingerprint is not None and self._known.fingerprint != fingerprint:
            raise StageUnavailable("the embedding model changed while the document was embedded")
        return self._known


async def patiently(config: IngestionConfig, call: Callable[[], Awaitable[T]]) -> T:
    """Call until it is not Unavailable, as often and with the same waits as a document is tried."""
    for attempt in range(1, config.max_attempts):
        try:
            return await call()
        except Unavailable as error:
            delay_s = config.retry_after(attempt)
            logger.warning("trying again in %g s: %s", delay_s, error.message)
        await asyncio.sleep(delay_s)
    return await call()


async def _onwards(piece: Piece, stage: Callable[[Piece], Awaitable[Piece]]) -> Piece:
    if piece.error is not None:
        return piece
    try:
        return await stage(piece)
    except Exception as error:
        return replace(piece, texts=(), lexical=(), entries=(), error=_reportable(piece.task, error))


def _reportable(task: DocumentTask, error: Exception) -> RagError:
    """An error that survives pickling; the log of this actor has the others whole."""
    if isinstance(error, RagError):
        return error
    logger.error("document %s of tenant %s failed", task.document_id, task.tenant_id, exc_info=error)
    return RagError(f"an unexpected error: {type(error).__name__}")
