"""Scripted ports for pipeline and API tests: they record what they were asked and answer what they were told to."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from deployments.errors import RagError
from deployments.types import (
    Candidate,
    DocumentVersion,
    EmbedderIdentity,
    Embeddings,
    GenerationRequest,
    GenerationSize,
    IndexEntry,
    IndexGeneration,
    Language,
    Passage,
    RetrievalRequest,
    Scope,
    Scores,
    SparseVector,
    StageStatus,
    TextDelta,
    TextKind,
    ToolCallDelta,
    Usage,
    VersionCopy,
    VisibleVersions,
)
from serve_app.query.config import QueryConfig
from serve_app.query.pipeline import Pipeline
from serve_app.query.ports import Generator
from serve_app.query.prefix_cache import PromptPrefixCache
from serve_app.query.request import Query
from serve_app.query.statements import Statement, StatementReader


def passage(number: int, text: str = "", title: str = "") -> Passage:
    return Passage(
        id=f"p{number}",
        document_id=f"d{number}",
        version="v1",
        tenant_id="t",
        owner="",
        collection="default",
        language="hr",
        position=0,
        title=title or f"Naslov {number}",
        text=text or f"Tekst odlomka {number}.",
        metadata={"year": 2000 + number},
    )


def query(text: str = "Koji je rok?", **changes: object) -> Query:
    base = Query(
        id="0" * 32,
        text=text,
        language="hr",
        scope=Scope("t"),
        top_k=3,
        candidates=10,
        max_tokens=64,
        deadline_s=60,
        first_token_s=60,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


@dataclass
class Stages:
    """All ports at once. `delays` and `failures` are by stage name; `serving` is what generates. Where `gates` has
    `token`, each token waits until it may pass. `tool_calls` come after the answer's text where the request has tools.
    `texts` and `titles` are those of the first passages, `languages` the embedder's."""

    passages: int = 5
    ends_as: Literal["stop", "cancelled"] = "stop"
    answer: Sequence[str] = ("Rok je ", "15 dana. [1]")
    tool_calls: Sequence[ToolCallDelta] = ()
    delays: dict[str, float] = field(default_factory=dict)
    failures: dict[str, RagError] = field(default_factory=dict)
    gates: dict[str, asyncio.Semaphore] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    questions: list[str] = field(default_factory=list)
    texts: Sequence[str] = ()
    titles: Sequence[str] = ()
    aborted: list[tuple[str, str]] = field(default_factory=list)
    requests: list[GenerationRequest] = field(default_factory=list)
    retrievals: list[RetrievalRequest] = field(default_factory=list)
    embedded: list[tuple[list[str], TextKind]] = field(default_factory=list)
    scored: list[tuple[str, list[str]]] = field(default_factory=list)
    tokens_per_text: int | None = None
    languages: tuple[str, ...] = ()
    streams_closed: int = 0
    serving: StageStatus = field(default_factory=lambda: StageStatus(True, "fake", "none"))
    visible: VisibleVersions = field(default_factory=lambda: VisibleVersions("v9"))
    deleted: list[tuple[str, str]] = field(default_factory=list)
    stored: list[Passage] = field(default_factory=list)
    indexed_passages: int = 1_000_000

    async def _enter(self, stage: str) -> None:
        self.asked.append(stage)
        await asyncio.sleep(self.delays.get(stage, 0))
        if stage in self.failures:
            raise self.failures[stage]

    async def embed_query(self, text: str) -> Embeddings:
        self.questions.append(text)
        await self._enter("embedding")
        return Embeddings(np.ones((1, 2), np.float32), "f", self.languages)

    async def query_weights(self, text: str, language: Language, scope: Scope) -> SparseVector:
        await self._enter("lexical")
        return {1: 1.0}

    async def visible_versions(self, tenant_id: str) -> VisibleVersions:
        await self._enter("visibility")
        return self.visible

    async def retrieve(self, request: RetrievalRequest) -> list[Candidate]:
        self.retrievals.append(request)
        await self._enter("retrieval")
        texts, titles = dict(enumerate(self.texts, 1)), dict(enumerate(self.titles, 1))
        return [
            Candidate(passage(n, texts.get(n, ""), titles.get(n, "")), Scores(fused=1 / n))
            for n in range(1, self.passages + 1)
        ]

    async def rerank(self, query: str, language: Language, candidates: Sequence[Candidate]) -> list[Candidate]:
        await self._enter("reranking")
        return [replace(c, scores=replace(c.scores, rerank=c.scores.fused)) for c in candidates]

    async def embed(self, texts: Sequence[str], kind: TextKind) -> Embeddings:
        self.embedded.append((list(texts), kind))
        await self._enter("embedding")
        vectors = np.array([[len(text), 1, 2, 3] for text in texts], np.float32)
        return Embeddings(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), "f")

    async def embedding_tokens(self, texts: Sequence[str], kind: TextKind) -> list[int]:
        return [len(text.split()) for text in texts]

    async def score(self, query: str, texts: Sequence[str]) -> list[float]:
        self.scored.append((query, list(texts)))
        await self._enter("reranking")
        return [min(len(text) / 100, 1.0) for text in texts]

    async def embedder(self) -> str:
        return "org/embedder"

    async def identify_embedder(self) -> EmbedderIdentity:
        await self._enter("embedding")
        return EmbedderIdentity("org/embedder", "f", 2)

    async def reranker(self) -> str:
        return "org/reranker"

    async def upsert(self, generation: IndexGeneration, entries: Sequence[IndexEntry]) -> None:
        raise AssertionError("the ingress does not index")

    async def read(
        self, tenant_id: str, document_id: str, version: str, *, generation: str = "", after: int = -1, limit: int
    ) -> list[Passage]:
        await self._enter("read")
        return [
            each
            for each in self.stored
            if (each.tenant_id, each.document_id, each.version) == (tenant_id, document_id, version)
            and after < each.position <= after + limit
        ]

    async def copy(
        self, tenant_id: str, copy: VersionCopy, *, generation: str = "", after: int = -1, limit: int
    ) -> int:
        await self._enter("copy")
        found = await self.read(tenant_id, copy.document_id, copy.version, after=after, limit=limit)
        self.stored += [replace(each, version=copy.to, metadata={**copy.metadata}) for each in found]
        return len(found)

    async def delete_versions(self, tenant_id: str, versions: Sequence[DocumentVersion]) -> int:
        await self._enter("delete")
        gone = [each for each in self.stored if DocumentVersion(each.document_id, each.version) in versions]
        self.stored = [each for each in self.stored if each not in gone]
        return len(gone)

    async def delete(self, tenant_id: str, document_id: str) -> int:
        await self._enter("delete")
        self.deleted.append((tenant_id, document_id))
        return 1

    async def purge(self, tenant_id: str, *, collection: str = "", generation: str = "") -> int:
        await self._enter("purge")
        self.deleted.append((tenant_id, f"{collection}/*"))
        return 1

    async def measure(self, tenant_id: str, generation: str) -> GenerationSize:
        await self._enter("measure")
        return GenerationSize(self.indexed_passages, 2)

    async def generate(self, request: GenerationRequest) -> AsyncGenerator[TextDelta]:
        self.requests.append(request)
        try:
            await self._enter("generation")
            for count, text in enumerate(self.answer, 1):
                if "token" in self.gates:
                    await self.gates["token"].acquire()
                await asyncio.sleep(self.delays.get("token", 0))
                yield TextDelta(text, usage=Usage(10, count) if request.sampling.counted else None)
            for part in self.tool_calls if request.tools else ():
                yield TextDelta("", tool_calls=(part,))
            if "ending" in self.failures:
                raise self.failures["ending"]
            yield TextDelta("", self.ends_as, Usage(10, len(self.answer)))
        finally:
            self.streams_closed += 1

    def abort(self, tenant_id: str, query_id: str) -> None:
        self.aborted.append((tenant_id, query_id))

    async def count_tokens(self, texts: Sequence[str]) -> list[int]:
        await self._enter("count")
        return [self.tokens_per_text if self.tokens_per_text is not None else len(t.split()) for t in texts]

    async def status(self) -> StageStatus:
        return self.serving

    def pipeline(
        self,
        context_tokens: int = 100_000,
        *,
        embedding_s: float = 60,
        reranking_s: float = 60,
        fallback: Generator | None = None,
        prefixes: PromptPrefixCache | None = None,
        config: QueryConfig | None = None,
    ) -> Pipeline:
        return Pipeline(
            self,
            self,
            self,
            self,
            self,
            self,
            context_tokens,
            embedding_s,
            reranking_s,
            fallback,
            prefixes,
            config or QueryConfig(),
        )


def statements(answer: str, passages: int, language: Language) -> list[Statement]:
    """The statements of a whole answer from so many passages."""
    reader = StatementReader(passages, language)
    return [*reader.feed(answer), *reader.end()]
