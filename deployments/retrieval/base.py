"""The index interface, and the choice of a backend by its name. A backend is imported only when it is chosen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, assert_never

from deployments.retrieval.config import RetrievalConfig
from deployments.types import (
    Candidate,
    DocumentVersion,
    GenerationSize,
    IndexEntry,
    IndexGeneration,
    Passage,
    RetrievalRequest,
    VersionCopy,
)


class Index(Protocol):
    """Asynchronous and safe for concurrent callers; never blocks the loop."""

    async def open(self) -> None:
        """Connect. For a folder wait first until no other process has its lock. Raises StageUnavailable."""

    async def search(self, request: RetrievalRequest) -> list[Candidate]:
        """The best candidates in the request's scope, best first: at most `limit` of each half, dense and lexical.

        Only passages of the request's generation are found. Raises InvalidRequest.
        """
        ...

    async def upsert(self, generation: IndexGeneration, entries: Sequence[IndexEntry]) -> None:
        """Write passages into a generation; one with the same id is replaced.

        On return they are durable, and searches of that generation find them. Raises InvalidRequest, before anything
        is written.
        """
        ...

    async def read(
        self, tenant_id: str, document_id: str, version: str, *, generation: str = "", after: int = -1, limit: int
    ) -> list[Passage]:
        """The passages of a document's version at the `limit` positions after the position `after`, in order.

        Only those of `generation`; empty: of all. Positions count from 0 without gaps, so fewer than `limit` passages
        are the version's last ones.
        """
        ...

    async def copy(
        self, tenant_id: str, copy: VersionCopy, *, generation: str = "", after: int = -1, limit: int
    ) -> int:
        """Write the passages that `read` would give again, as version `copy.to`. Returns how many there are.

        Idempotent. Raises InvalidRequest if a passage is too large with the new metadata.
        """
        ...

    async def delete(self, tenant_id: str, document_id: str) -> int:
        """Remove the passages of all versions of a document, from every generation. Returns their number."""
        ...

    async def delete_versions(self, tenant_id: str, versions: Sequence[DocumentVersion]) -> int:
        """Remove the passages of these versions only, from every generation. Returns their number."""
        ...

    async def purge(self, tenant_id: str, *, collection: str = "", generation: str = "") -> int:
        """Remove all passages of a tenant, or those of one collection, of one generation, or of both.

        Returns their number.
        """
        ...

    async def measure(self, tenant_id: str, generation: str) -> GenerationSize:
        """How much the index has of a generation, for a tenant."""
        ...

    async def check(self) -> None:
        """Raises StageUnavailable if the store does not answer."""
        ...

    def close(self) -> None:
        """Release the connection or the folder's lock. Idempotent.

        Blocks for seconds at most. It is not async because a replica's `__del__` calls it.
        """
        ...


def create(config: RetrievalConfig) -> Index:
    """The configured backend, not open yet."""
    match config.backend:
        case "milvus" if config.own_databases:
            from deployments.retrieval.tenant_databases import TenantDatabases

            return TenantDatabases(config)
        case "milvus" if config.embedded:
            from deployments.retrieval.embedded.index import EmbeddedIndex

            return EmbeddedIndex(config)
        case "milvus":
            from deployments.retrieval.milvus import MilvusIndex

            return MilvusIndex(config)
        case "fake":
            from deployments.retrieval.fake import FakeIndex

            return FakeIndex(config)
        case _:
            assert_never(config.backend)
