"""What services need of the stages beside the pipeline. `handles.py` adapts deployments to these."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Protocol

from deployments.types import DocumentVersion, Embeddings, Passage, StageStatus, TextKind, VersionCopy

AskStages = Callable[[], Awaitable[Mapping[str, list[StageStatus]]]]
"""Asks every stage for the status of its replicas, by the stage's name."""
AnnounceJob = Callable[[], None]
"""Tells ingestion that a job waits."""


class Passages(Protocol):
    """The index without its search: passages are read, copied and removed."""

    async def read(
        self, tenant_id: str, document_id: str, version: str, *, after: int = -1, limit: int
    ) -> list[Passage]: ...

    async def copy(self, tenant_id: str, copy: VersionCopy, *, after: int = -1, limit: int) -> int: ...

    async def delete(self, tenant_id: str, document_id: str) -> int: ...

    async def delete_versions(self, tenant_id: str, versions: Sequence[DocumentVersion]) -> int: ...

    async def purge(self, tenant_id: str, *, collection: str = "") -> int: ...


class Inference(Protocol):
    """The embedder and the reranker by themselves, outside a query."""

    async def embed(self, texts: Sequence[str], kind: TextKind) -> Embeddings: ...

    async def embedding_tokens(self, texts: Sequence[str], kind: TextKind) -> list[int]:
        """Tokens of each text, as the embedder reads it."""
        ...

    async def score(self, query: str, texts: Sequence[str]) -> list[float]:
        """The reranker's relevance of each text to the query, in [0, 1]."""
        ...

    async def embedder(self) -> str:
        """The embedder's model id, as the stage reported it last."""
        ...

    async def reranker(self) -> str:
        """The reranker's model id, as the stage reported it last."""
        ...
