"""The interfaces through which services call the stages outside a query. `serve_app/handles.py` implements them.

The interfaces that a query uses are in `serve_app/query/ports.py`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from deployments.types import (
    DocumentVersion,
    EmbedderIdentity,
    Embeddings,
    GenerationSize,
    Passage,
    StageStatus,
    TextKind,
    VersionCopy,
)

AskStages = Callable[[], Awaitable[Mapping[str, list[StageStatus]]]]
"""Asks every stage for its status. Returns stage name → statuses of the replicas that answered in time."""
ReadMetrics = Callable[[], Awaitable[str]]
"""The service's series from all nodes, in Prometheus' text format. Raises StageUnavailable if no node answers."""
AnnounceJob = Callable[[], None]
"""Tells the ingestion stage that a job waits. Returns at once. It is only a hint: ingestion also polls for jobs."""


class Passages(Protocol):
    """The passages in the index, without search. The methods do what those of `deployments.retrieval.base.Index` do."""

    async def read(
        self, tenant_id: str, document_id: str, version: str, *, generation: str = "", after: int = -1, limit: int
    ) -> list[Passage]:
        """At most `limit` passages of a document's version, in order, after the position `after`."""
        ...

    async def copy(
        self, tenant_id: str, copy: VersionCopy, *, generation: str = "", after: int = -1, limit: int
    ) -> int:
        """Write the passages that `read` would return again, as the version `copy.to`. Returns their number."""
        ...

    async def delete(self, tenant_id: str, document_id: str) -> int:
        """Remove the passages of all versions of a document. Returns their number."""
        ...

    async def delete_versions(self, tenant_id: str, versions: Sequence[DocumentVersion]) -> int:
        """Remove the passages of these versions only. Returns their number."""
        ...

    async def purge(self, tenant_id: str, *, collection: str = "") -> int:
        """Remove all passages of a tenant, or only those of `collection`. Returns their number."""
        ...

    async def measure(self, tenant_id: str, generation: str) -> GenerationSize:
        """How much the index has of a generation, for a tenant."""
        ...


class Inference(Protocol):
    """The embedder and the reranker, for routes that offer them outside a query."""

    async def embed(self, texts: Sequence[str], kind: TextKind) -> Embeddings:
        """The embeddings of the texts, in their order."""
        ...

    async def embedding_tokens(self, texts: Sequence[str], kind: TextKind) -> list[int]:
        """The number of the embedder's tokens in each text."""
        ...

    async def identify_embedder(self) -> EmbedderIdentity:
        """The embedder that runs now."""
        ...

    async def score(self, query: str, texts: Sequence[str]) -> list[float]:
        """The reranker's relevance of each text to the query, in [0, 1]."""
        ...

    async def embedder(self) -> str:
        """The embedder's model id. It may be a few seconds old."""
        ...

    async def reranker(self) -> str:
        """The reranker's model id. It may be a few seconds old."""
        ...
