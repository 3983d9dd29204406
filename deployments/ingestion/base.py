"""The values of ingestion, and its ports: what it needs of the embedder, the index, the job store and the blobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from deployments.ingestion.omissions import Omission

if TYPE_CHECKING:  # the parsing process imports this module, and must not import numpy
    from deployments.types import (
        DocumentVersion,
        EmbedderIdentity,
        EmbedderInfo,
        Embeddings,
        GenerationSize,
        IndexEntry,
        IndexGeneration,
        Language,
    )

METADATA_BYTES = 16_384
"""Metadata of one document, as JSON in UTF-8, unless the service is configured otherwise."""

DocumentState = Literal["queued", "parsing", "embedding", "indexed", "failed", "cancelled"]
"""The state of a document in a job.

`queued`: it waits for a worker. `parsing` and `embedding`: a worker has claimed it. The other three states are final.
"""


class DocumentCancelled(Exception):
    """A document was deleted, or its job cancelled, while a worker indexed it."""


class LeaseLost(Exception):
    """A worker's lease of a document ran out, so another worker may have claimed it."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a document is indexed: the first `done` of its `chunks` chunks, in a generation (its name)."""

    generation: str = ""
    chunks: int = 0
    done: int = 0


@dataclass(frozen=True, slots=True)
class ChunkSizes:
    """A chunk's length and its overlap with the chunk before, in the embedder's tokens. None: the service's default."""

    tokens: int | None = None
    overlap: int | None = None


PREPARATION = 9
"""Revision of the code that makes passages of a document. Raise it where documents should be made again because of a
change: those of an earlier revision are then told as behind."""


def chunking(sizes: ChunkSizes, default: ChunkSizes) -> str:
    """How a document is cut, as `tokens/overlap/revision`. `default` has both sizes."""
    tokens = sizes.tokens or default.tokens
    overlap = default.overlap if sizes.overlap is None else sizes.overlap
    return f"{tokens}/{overlap}/{PREPARATION}"


@dataclass(frozen=True, slots=True)
class DocumentTask:
    """One document to index. `blob` names its bytes in the blob store. `language` None: to be detected.

    `version` is new with each acceptance, and searches find its passages once it is finished. `attempts` counts the
    claims, this one included, so an attempt that killed its worker counts too. `progress` is what earlier attempts did.

    `generation` names the one that a reindexing fills: the version is live already, and is written there again. Empty:
    the version is new, and goes to the live generation.

    The fields that stand in the document itself are added to its `metadata` up to `metadata_bytes`. 0: none is added,
    because the metadata are those that the document has already.

    `trace`: the headers of the request that handed it in (`deployments.telemetry.tracing`), empty if it has none.
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
    generation: str = ""
    metadata_bytes: int = 0
    trace: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RetiredGeneration:
    """A tenant's generation of the index whose passages are to be removed."""

    tenant_id: str
    name: str


@dataclass(frozen=True, slots=True)
class RemovedVersion:
    """A version whose passages are to be removed."""

    tenant_id: str
    document_id: str
    version: str


@dataclass(frozen=True, slots=True)
class RemovedBlob:
    """Bytes that are to be removed from the blob store."""

    tenant_id: str
    key: str


MAX_NAME_CHARACTERS = 512
"""Longest title of a document and longest heading of a passage. What is longer is text that was only marked as one."""


def short_name(name: str) -> str:
    """A title or heading, cut if it is too long for the index or a prompt. The text itself keeps all of it."""
    return name if len(name) <= MAX_NAME_CHARACTERS else f"{name[: MAX_NAME_CHARACTERS - 1]}…"


@dataclass(frozen=True, slots=True)
class ParsedDocument:
    """A document as Markdown in Unicode NFC: headings with `#`, tables with pipes, blank lines between paragraphs.

    `title` is the document's own, empty if it has none. `pages` holds (offset in the text, page number from 1) for the
    beginning of each page, in order; empty for a document without pages. `left_out` counts what the text does not have
    of the document. `metadata` are the fields that stand in it, as JSON.
    """

    title: str
    text: str
    pages: tuple[tuple[int, int], ...] = ()
    left_out: Mapping[Omission, int] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Chunk:
    """A part of a document's text. `position` counts from 0 in the document.

    `headings` are those above it, outermost first. `page` is the page that it begins on, None if there are no pages.
    `characters`: its first character in the document's text, and the one after its last. A header that was put above
    a table's part is not among them. `section` is all the text under these headings where that was cut into several
    chunks, and `of_section` are the positions of the first and the last of these. Both are empty where the chunk is the
    whole section, and for sections longer than an article.
    """

    position: int
    text: str
    headings: tuple[str, ...]
    page: int | None = None
    characters: tuple[int, ...] = ()
    section: str = ""
    of_section: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class IndexedDocument:
    """What the job store records of a finished document. `passages` is their number.

    `document_frequency`: term id → how many of its passages hold the term. `embedder` is the fingerprint of what made
    its vectors, and `chunking` how it was cut; both empty where that is not known. `generation` is the one that it was
    written to. `warnings` say what was left out of it. `metadata` None: as it was handed in.
    """

    title: str
    language: Language
    passages: int
    document_frequency: Mapping[int, int]
    embedder: str = ""
    chunking: str = ""
    generation: str = ""
    warnings: Sequence[str] = ()
    metadata: Mapping[str, Any] | None = None


WAITING_DOCUMENTS, OLDEST_WAITING_S, ACTIVE_DOCUMENTS = "waiting_documents", "oldest_waiting_s", "active_documents"
"""The names of what a replica reports for autoscaling."""


@dataclass(frozen=True, slots=True)
class WaitingDocuments:
    """Documents that a worker could claim now, and how many seconds the oldest of them has been waiting."""

    documents: int
    oldest_s: float


class EmbedderPort(Protocol):
    """The embedding stage."""

    async def describe(self) -> EmbedderInfo: ...

    async def embed_passages(self, texts: Sequence[str]) -> Embeddings: ...


class IndexPort(Protocol):
    """The retrieval stage's index; see `deployments/retrieval/base.py`."""

    async def upsert(self, generation: IndexGeneration, entries: Sequence[IndexEntry]) -> None: ...

    async def measure(self, tenant_id: str, generation: str) -> GenerationSize: ...

    async def delete_versions(self, tenant_id: str, versions: Sequence[DocumentVersion]) -> int: ...

    async def purge(self, tenant_id: str, *, collection: str = "", generation: str = "") -> int: ...


class BlobStore(Protocol):
    """The bytes of uploaded documents, by key."""

    async def read(self, key: str) -> bytes: ...

    async def delete(self, key: str) -> None: ...


class JobStore(Protocol):
    """Durable job state. Every call is one transaction."""

    async def claim(self, worker: str, *, lease_s: float, limit: int, job_id: str | None = None) -> list[DocumentTask]:
        """Claim at most `limit` documents for `lease_s` seconds: queued ones, and those whose lease ran out.

        Each is given to one worker only, and each claim counts as an attempt. With `job_id`, only that job's
        documents; without, none of a job that waits for its Ray Job or is run by it.
        """
        ...

    async def waiting_documents(self) -> WaitingDocuments:
        """What waits for all workers together. Documents of Ray Jobs and of suspended tenants do not."""
        ...

    async def renew(self, worker: str, tasks: Sequence[DocumentTask], *, lease_s: float) -> None:
        """Prolong the worker's leases of these documents to `lease_s` seconds from now."""
        ...

    async def progress(self, task: DocumentTask, state: DocumentState, progress: Progress | None = None) -> None:
        """Record a document's state, and its progress unless that is None.

        Raises DocumentCancelled when it was deleted or its job cancelled, LeaseLost when another worker has it.
        """
        ...

    async def begin_writing(self, task: DocumentTask, embedder: EmbedderIdentity) -> IndexGeneration:
        """The generation to write the document to: the live one, or the one that its job fills.

        If the live one is another embedder's, the document has no vectors there. Raises EmbedderMismatch for a job that
        fills another embedder's generation, and NotFound.
        """
        ...

    async def finish(self, task: DocumentTask, indexed: IndexedDocument) -> None:
        """Have searches find this version instead of the one before, and update the lexical statistics likewise.

        All in one transaction. For a job that fills a generation, record the document for the switch instead. Raises
        DocumentCancelled if the document was deleted or its job cancelled meanwhile, StageUnavailable if another
        generation is live by now.
        """
        ...

    async def switch_generations(self) -> bool:
        """Make each generation live that is complete, and end the jobs that cannot complete theirs.

        Returns whether documents were queued that arrived or changed meanwhile.
        """
        ...

    async def fail(self, task: DocumentTask, code: str, detail: str) -> None:
        """End a document as failed, or as cancelled if it was deleted or its job cancelled. Its passages become
        removable."""
        ...

    async def retry(self, task: DocumentTask, *, after_s: float) -> None:
        """Put a document back into the queue. It can be claimed again after `after_s` seconds."""
        ...

    async def list_removable(self, limit: int) -> list[RemovedVersion]:
        """At most `limit` versions that no search may find any longer: replaced, failed, or of deleted documents."""
        ...

    async def forget_removed(self, versions: Sequence[RemovedVersion]) -> None:
        """Forget versions that `list_removable` returned, once their passages are removed. Idempotent."""
        ...

    async def list_removable_blobs(self, limit: int) -> list[RemovedBlob]:
        """At most `limit` uploads that no document needs any longer: replaced, failed, cancelled, deleted, refused."""
        ...

    async def forget_blobs(self, blobs: Sequence[RemovedBlob]) -> None:
        """Forget bytes that `list_removable_blobs` returned, once they are removed. Idempotent."""
        ...

    async def list_retired(self, limit: int) -> list[RetiredGeneration]:
        """At most `limit` generations in which no search looks any longer."""
        ...

    async def forget_retired(self, generations: Sequence[RetiredGeneration]) -> None:
        """Forget generations that `list_retired` returned, once their passages are removed. Idempotent."""
        ...
