"""What the pipeline needs of the stages. `handles.py` adapts deployments to these; tests hand in fakes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from deployments.types import (
    Candidate,
    Embeddings,
    GenerationRequest,
    Language,
    Passage,
    RetrievalRequest,
    Scope,
    SparseVector,
    StageStatus,
    TextDelta,
    VisibleVersions,
)


class Embedder(Protocol):
    async def embed_query(self, text: str) -> Embeddings:
        """One question → vectors of shape (1, dimension)."""
        ...


class Lexical(Protocol):
    async def query_weights(self, text: str, language: Language, scope: Scope) -> SparseVector:
        """A question's terms, weighted by their IDF among the passages that the scope may see, and no others."""
        ...


class Visibility(Protocol):
    async def visible_versions(self, tenant_id: str) -> VisibleVersions:
        """The versions of the tenant's documents that a search may find if it begins now."""
        ...


class Retriever(Protocol):
    async def retrieve(self, request: RetrievalRequest) -> list[Candidate]:
        """Fused candidates inside the scope, best first."""
        ...

    async def read(
        self, tenant_id: str, document_id: str, version: str, *, generation: str = "", after: int = -1, limit: int
    ) -> list[Passage]:
        """The passages of a document's version at the `limit` positions after the position `after`, in order."""
        ...


class Reranker(Protocol):
    async def rerank(self, query: str, language: Language, candidates: Sequence[Candidate]) -> list[Candidate]:
        """The same candidates with rerank scores, best first."""
        ...


class Generator(Protocol):
    def generate(self, request: GenerationRequest) -> AsyncGenerator[TextDelta]: ...

    def abort(self, tenant_id: str, query_id: str) -> None:
        """End a query in the replica that has it, or when it arrives there.

        Never waits and never raises: it is called while the caller's own task is being cancelled.
        """
        ...

    async def count_tokens(self, texts: Sequence[str]) -> list[int]: ...

    async def status(self) -> StageStatus:
        """The engine and the model that serve. The value may be some seconds old."""
        ...
