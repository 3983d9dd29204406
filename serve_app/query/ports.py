"""What the pipeline needs of the stages. `handles.py` adapts deployments to these; tests hand in fakes."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from typing import Protocol

from deployments.types import (
    Candidate,
    Embeddings,
    GenerationRequest,
    Language,
    RetrievalRequest,
    Scope,
    SparseVector,
    StageStatus,
    TextDelta,
    VisibleVersions,
)


class Embed(Protocol):
    async def embed_query(self, text: str) -> Embeddings:
        """One question → vectors of shape (1, dimension)."""
        ...


class Lexical(Protocol):
    async def query_weights(self, text: str, language: Language, scope: Scope) -> SparseVector:
        """A question's terms weighted by their IDF among the passages that the scope may see, and no others."""
        ...


class Visibility(Protocol):
    async def visible_versions(self, tenant_id: str) -> VisibleVersions:
        """The versions of the tenant's documents that a search begun now is to find."""
        ...


class Retrieve(Protocol):
    async def retrieve(self, request: RetrievalRequest) -> list[Candidate]:
        """Fused candidates inside the scope, best first."""
        ...


class Rerank(Protocol):
    async def rerank(self, query: str, language: Language, candidates: Sequence[Candidate]) -> list[Candidate]:
        """The same candidates with rerank scores, best first."""
        ...


class Generate(Protocol):
    def generate(self, request: GenerationRequest) -> AsyncGenerator[TextDelta]: ...

    def abort(self, tenant_id: str, query_id: str) -> None:
        """End a query in whichever replica holds it, or as soon as it gets there. Never waits, never raises:
        it is called when the caller's own task is being cancelled."""
        ...

    async def count_tokens(self, texts: Sequence[str]) -> list[int]: ...

    async def status(self) -> StageStatus:
        """Which engine and model serve; a value remembered from the last time the stage was asked."""
        ...
