"""What an index is, and the lazy way from a backend's name to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, assert_never

from deployments.retrieval.config import RetrievalConfig
from deployments.types import (
    Candidate,
    DocumentVersion,
    EmbedderInfo,
    IndexEntry,
    Passage,
    RetrievalRequest,
    VersionCopy,
)


class Index(Protocol):
    """Asynchronous and safe for concurrent callers; never blocks the loop."""

    async def open(self) -> None:
        """Connect; on a milvus-lite folder, wait for the predecessor's lock. Raises StageUnavailable."""

    async def search(self, request: RetrievalRequest) -> list[Candidate]:
        """The fused candidates of both halves inside the scope, best first, at most 2 x limit.

        Raises EmbedderMismatch when all passages that the asker may see were indexed by another embedder.
        """
        ...

    async def upsert(self, embedder: EmbedderInfo, entries: Sequence[IndexEntry]) -> None:
        """Write passages (same id replaces). Durable and visible to searches on return."""
        ...

    async def read(
        self, tenant_id: str, document_id: str, version: str, *, after: int = -1, limit: int
    ) -> list[Passage]:
        """The passages of a document's version at the `limit` positions that follow the position `after`, in order.

        Positions count from 0 without gaps, so fewer than `limit` passages are the version's last ones."""
        ...

    async def copy(self, tenant_id: str, copy: VersionCopy, *, after: int = -1, limit: int) -> int:
        """Write the passages that `read` would give once more, as the version `copy.to`; returns how many there were.
        Twice is once. Raises InvalidRequest where they do not fit with the new metadata."""
        ...

    async def delete(self, tenant_id: str, document_id: str) -> int:
        """Remove a document's passages, of all its versions, from every embedder's collection; returns how many were
        removed."""
        ...

    async def delete_versions(self, tenant_id: str, versions: Sequence[DocumentVersion]) -> int:
        """Remove the passages of some versions of documents and of no others, as `delete` does."""
        ...

    async def purge(self, tenant_id: str, *, collection: str = "") -> int:
        """Remove every passage of a tenant, or of one of its collections, from every embedder's collection; returns
        how many were removed."""
        ...

    async def check(self) -> None:
        """Raises StageUnavailable if the store does not answer."""
        ...

    def close(self) -> None:
        """Release the connection and a milvus-lite folder's lock. Idempotent. Called where nothing can be awaited (a
        replica's `__del__`), so it blocks, for seconds at most."""
        ...


def create(config: RetrievalConfig) -> Index:
    match config.backend:
        case "milvus" if config.own_databases:
            from deployments.retrieval.tenant_databases import TenantDatabases

            return TenantDatabases(config)
        case "milvus":
            from deployments.retrieval.milvus import MilvusIndex

            return MilvusIndex(config)
        case "fake":
            from deployments.retrieval.fake import FakeIndex

            return FakeIndex(config)
        case _:
            assert_never(config.backend)
