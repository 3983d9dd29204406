"""What ingestion is handed: an embedder, an index, a job store and the uploaded bytes, all as ports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:  # the parsing process imports this module and stays light without numpy
    from deployments.types import EmbedderInfo, Embeddings, IndexEntry, Language

DocumentState = Literal["queued", "parsing", "embedding", "indexed", "failed", "cancelled"]


@dataclass(frozen=True, slots=True)
class DocumentTask:
    """One accepted document to index. `blob` names its bytes in the blob store; `language` None is detected.

    `attempts` counts the times it was claimed, this one included, so that one that its worker died of
    counts too. `live_version` is the version that searches are to find until this one is finished, empty for none:
    a worker that gives this one up removes the passages of every version but that.
    """

    job_id: str
    tenant_id: str
    document_id: str
    version: str
    owner: str
    collection: str
    language: Language | None
    title: str
    filename: str
    media_type: str
    blob: str
    attempts: int = 0
    metadata: Mapping[str, Any] = field(default_factory=dict)
    live_version: str = ""


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """A document as Markdown: headings as `#`, tables as pipes, paragraphs by blank lines, NFC.

    `title` is what the document says of itself, empty if it says nothing.
    """

    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a document's text. `headings` is the path of headings above it."""

    position: int
    text: str
    headings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class IndexedDocument:
    """What the job store records of a finished document.

    `document_frequency`: term id → how many of its passages hold the term.
    """

    title: str
    language: Language
    passages: int
    document_frequency: Mapping[int, int]


class EmbedderPort(Protocol):
    async def describe(self) -> EmbedderInfo: ...

    async def embed_passages(self, texts: Sequence[str]) -> Embeddings: ...


class IndexPort(Protocol):
    async def upsert(self, embedder: EmbedderInfo, entries: Sequence[IndexEntry]) -> None: ...

    async def delete(self, tenant_id: str, document_id: str, *, keep_version: str = "") -> int: ...


class BlobStore(Protocol):
    async def read(self, key: str) -> bytes: ...


class JobStore(Protocol):
    """Durable job state. Every call is one transaction."""

    async def claim(self, worker: str, *, lease_s: float, limit: int) -> list[DocumentTask]:
        """Take queued documents, and those whose worker's lease ran out; each is handed to one worker only.

        Claiming counts as an attempt."""
        ...

    async def renew(self, worker: str, tasks: Sequence[DocumentTask], *, lease_s: float) -> None: ...

    async def progress(self, task: DocumentTask, state: DocumentState) -> None: ...

    async def finish(self, task: DocumentTask, indexed: IndexedDocument) -> None:
        """Mark the version live, move its tenant's and owner's lexical statistics from the version before to it.

        Raises NotFound if the document was deleted meanwhile."""
        ...

    async def fail(self, task: DocumentTask, code: str, detail: str) -> None: ...

    async def retry(self, task: DocumentTask, *, after_s: float) -> None:
        """Put a document back in the queue, not to be claimed again before `after_s` seconds."""
        ...
