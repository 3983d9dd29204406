"""What ingestion is handed: an embedder, an index, a job store and the uploaded bytes, all as ports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

if TYPE_CHECKING:  # the parsing process imports this module and stays light without numpy
    from deployments.types import DocumentVersion, EmbedderInfo, Embeddings, IndexEntry, Language

DocumentState = Literal["queued", "parsing", "embedding", "indexed", "failed", "cancelled"]


class GivenUp(Exception):
    """A document was deleted, or its job cancelled, while a worker had it."""


class LeaseLost(Exception):
    """A worker's claim of a document stands no longer: its lease ran out, and another may have it."""


@dataclass(frozen=True, slots=True)
class Progress:
    """The first `done` of a document's `chunks` are in the index, embedded by the embedder with that fingerprint."""

    embedder: str = ""
    chunks: int = 0
    done: int = 0


@dataclass(frozen=True, slots=True)
class ChunkSizes:
    """In the embedder's tokens; None takes the service's own."""

    tokens: int | None = None
    overlap: int | None = None


@dataclass(frozen=True, slots=True)
class DocumentTask:
    """One accepted document to index. `blob` names its bytes in the blob store; `language` None is detected.

    `version` is this acceptance's own: no other has it, and searches find its passages once it is finished.
    `attempts` counts the times it was claimed, this one included, so that one that its worker died of
    counts too. `progress` is how far the claims before this one have come.
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
    progress: Progress = Progress()
    chunk_sizes: ChunkSizes = ChunkSizes()


@dataclass(frozen=True, slots=True)
class RemovedVersion:
    """A version whose passages, and the bytes it was made from, are to go. `blob` empty: there are none."""

    tenant_id: str
    document_id: str
    version: str
    blob: str = ""


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """A document as Markdown: headings as `#`, tables as pipes, paragraphs by blank lines, NFC.

    `title` is what the document says of itself, empty if it says nothing. `pages` are (offset in the text, number from
    1) of each page's beginning, in order; empty for a document without pages.
    """

    title: str
    text: str
    pages: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of a document's text. `headings` is the path of headings above it, `page` the one it begins on, None
    for a document without pages."""

    position: int
    text: str
    headings: tuple[str, ...]
    page: int | None = None


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

    async def delete_versions(self, tenant_id: str, versions: Sequence[DocumentVersion]) -> int: ...


class BlobStore(Protocol):
    async def read(self, key: str) -> bytes: ...

    async def delete(self, key: str) -> None: ...


class JobStore(Protocol):
    """Durable job state. Every call is one transaction."""

    async def claim(self, worker: str, *, lease_s: float, limit: int, job_id: str | None = None) -> list[DocumentTask]:
        """Take queued documents, and those whose worker's lease ran out; each is handed to one worker only.

        With `job_id`, only that job's; without, none of a job that a Ray Job is at or waited for. Claiming counts as
        an attempt."""
        ...

    async def renew(self, worker: str, tasks: Sequence[DocumentTask], *, lease_s: float) -> None: ...

    async def progress(self, task: DocumentTask, state: DocumentState, progress: Progress | None = None) -> None:
        """Record where a document stands; `progress` None leaves what is known of it.

        Raises GivenUp when its document was deleted or its job cancelled, LeaseLost when another worker has it."""
        ...

    async def finish(self, task: DocumentTask, indexed: IndexedDocument) -> None:
        """Make the version the one that searches find instead of the one before, and move its tenant's and owner's
        lexical statistics from that to it, in one transaction.

        Raises GivenUp if the document was deleted or its job cancelled meanwhile."""
        ...

    async def fail(self, task: DocumentTask, code: str, detail: str) -> None:
        """End it as failed, or as cancelled if it was given up; what was written of it becomes removable."""
        ...

    async def retry(self, task: DocumentTask, *, after_s: float) -> None:
        """Put a document back in the queue, not to be claimed again before `after_s` seconds."""
        ...

    async def removable(self, limit: int) -> list[RemovedVersion]:
        """Versions that no search is to find any longer: replaced ones, failed ones, those of deleted documents."""
        ...

    async def removed(self, versions: Sequence[RemovedVersion]) -> None:
        """Forget versions that `removable` named, and whose passages are gone. Twice is once."""
        ...
