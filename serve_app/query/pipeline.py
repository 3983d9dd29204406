"""The life of a query: the numbers are the steps of ARCHITECTURE.md. It talks to ports only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from deployments import diacritics
from deployments.errors import EmbedderMismatch, Overloaded, StageUnavailable, Unavailable
from deployments.filters import Filter, matches
from deployments.telemetry import spans, tracing
from deployments.types import Candidate, Embeddings, IndexGeneration, Message, Passage, RetrievalRequest
from serve_app.query.answer_events import AnswerEvent
from serve_app.query.answering import sources_event, stream_answer
from serve_app.query.config import QueryConfig
from serve_app.query.deadline import gather_three
from serve_app.query.ports import Embedder, Generator, Lexical, Reranker, Retriever, Visibility
from serve_app.query.prefix_cache import PromptPrefixCache
from serve_app.query.prompt import Arrange, Prompt, build_prompt, by_rank
from serve_app.query.request import Query, SearchResult
from serve_app.query.run import QueryRun
from serve_app.query.sections import Section, with_whole_sections

_TEXTS_TO_RESTORE_BY = 20
"""Candidates by whose texts diacritics are restored."""


@dataclass(frozen=True, slots=True)
class Pipeline:
    """Steps 5 to 11. What comes before them is the ingress's.

    `embedding_s` bounds the wait for the question's vector and for its lexical weights, `reranking_s` the wait for the
    reranker. `fallback` answers from the passages where the generator does not. `prefixes` remembers what prompts began
    with, for an engine that has a prefix cache. `config`: what sources are made of, and how answers are held against
    them.
    """

    embedder: Embedder
    lexical: Lexical
    visibility: Visibility
    retriever: Retriever
    reranker: Reranker
    generator: Generator
    context_tokens: int
    embedding_s: float
    reranking_s: float
    fallback: Generator | None = None
    prefixes: PromptPrefixCache | None = None
    config: QueryConfig = field(default_factory=QueryConfig)

    async def answer(self, query: Query, *, no_slot: Overloaded | None = None) -> AsyncGenerator[AnswerEvent]:
        """Sources, then the answer as it is generated, then what it took. Raises RagError at any point.

        `no_slot`: why the query has no slot in generation; the fallback then answers it. Close the generator
        (`aclosing`) when the client goes away: that aborts the query in every stage.
        """
        run = QueryRun(query)
        generators = self._generators(run, no_slot)
        try:
            request = await self._embed(run)  # 5: vector, lexical weights and visible versions, at the same time
            candidates = await self._retrieve(run, request)  # 6
            candidates = await self._rerank(run, candidates)  # 7: the best order, and whole sections
            candidates = await self._take_whole_sections(run, request, candidates)
            prompt = await self._build_prompt(run, candidates, generators)  # 8
            yield sources_event(run, prompt, candidates)  # 9
            async with aclosing(stream_answer(run, prompt, generators, self.config)) as events:  # 10, 11
                async for event in events:
                    yield event
        finally:
            self._abort_unless_complete(run)

    async def search(self, query: Query) -> SearchResult:
        """Steps 5 to 7: the best passages, each by itself."""
        run = QueryRun(query)
        request = await self._embed(run)
        candidates = await self._retrieve(run, request)
        candidates = await self._rerank(run, candidates)
        return SearchResult(tuple(candidates[: query.top_k]), run.stopwatch.timings, run.degraded.stages)

    def chat(self, query: Query, messages: Sequence[Message]) -> AsyncGenerator[AnswerEvent]:
        """Steps 10 and 11: the model's answer to the messages as they are, without passages or sources.

        Raises and is to be closed like `answer`.
        """
        return self._from_model(query, Prompt(tuple(messages), ()))

    def complete(self, query: Query) -> AsyncGenerator[AnswerEvent]:
        """As `chat`, with the query's text for the model to continue."""
        return self._from_model(query, Prompt((), (), query.text))

    async def _from_model(self, query: Query, prompt: Prompt) -> AsyncGenerator[AnswerEvent]:
        run = QueryRun(query)
        try:
            async with aclosing(stream_answer(run, prompt, [self.generator])) as events:
                async for event in events:
                    yield event
        finally:
            self._abort_unless_complete(run)

    async def _embed(self, run: QueryRun) -> RetrievalRequest:
        query = run.query
        vector = self.embedder.embed_query(query.text)
        weights = self.lexical.query_weights(query.text, query.language, query.scope)
        visible_versions = self.visibility.visible_versions(query.scope.tenant_id)
        with run.stopwatch.stage("embedding"):
            dense, lexical, visible = await gather_three(
                run.wait_or("embedding", vector, fallback=None, at_most=self.embedding_s),
                run.wait_or("lexical", weights, fallback={}, at_most=self.embedding_s),
                run.wait("visibility", visible_versions),
            )
        if dense is None and (visible.generation is None or not lexical):
            raise run.degraded.errors["embedding"]
        dense = _comparable(run, dense, visible.generation)
        if not (len(dense.vectors) or lexical):
            raise EmbedderMismatch(
                f"the question has no terms, and {run.degraded.errors['index'].message}: rag reindex"
            )
        return RetrievalRequest(replace(query.scope, visible=visible), dense, lexical, query.language, query.candidates)

    async def _retrieve(self, run: QueryRun, request: RetrievalRequest) -> list[Candidate]:
        """The candidates. Those of a Croatian question without diacritics tell how it is written, and it is searched
        for once more by the vector of that."""
        with run.stopwatch.stage("retrieval"):
            candidates = await run.wait("retrieval", self._search(run.query.text, request))
            restored = await self._with_diacritics(run.query, request, candidates)
            if restored == run.query.text:
                return candidates
            vector = self.embedder.embed_query(restored)
            dense = await run.wait_or("embedding", vector, fallback=None, at_most=self.embedding_s)
            if dense is None or dense.fingerprint != request.dense.fingerprint:
                return candidates
            return await run.wait("retrieval", self._search(restored, replace(request, dense=dense)))

    async def _search(self, question: str, request: RetrievalRequest) -> list[Candidate]:
        """`question`: as the span of the search has it, if it may."""
        if tracing.keeps_content():
            tracing.current().set_attribute("gen_ai.retrieval.query.text", question)
        return await self.retriever.retrieve(request)

    async def _with_diacritics(self, query: Query, request: RetrievalRequest, candidates: Sequence[Candidate]) -> str:
        """The question as the first candidates write its words; as it is where the embedder would make no use of it."""
        known = request.dense.languages
        embeds = len(request.dense.vectors) and (not known or query.language in known)
        if query.language != "hr" or not embeds or not diacritics.is_plain(query.text):
            return query.text
        texts = [candidate.passage.text for candidate in candidates[:_TEXTS_TO_RESTORE_BY]]
        return await asyncio.to_thread(diacritics.restore, query.text, texts)

    async def _rerank(self, run: QueryRun, candidates: list[Candidate]) -> list[Candidate]:
        """All candidates; in the order of retrieval if the reranker does not answer in time."""
        with run.stopwatch.stage("reranking"):
            reranking = self.reranker.rerank(run.query.text, run.query.language, candidates)
            return await run.wait_or("reranking", reranking, fallback=candidates, at_most=self.reranking_s)

    async def _take_whole_sections(
        self, run: QueryRun, request: RetrievalRequest, candidates: list[Candidate]
    ) -> list[Candidate]:
        """The best `top_k`, with whole sections in place of their parts; the parts if they cannot be read in time."""
        query = run.query

        async def read(section: Section) -> Sequence[Passage]:
            passages = await self.retriever.read(
                query.scope.tenant_id,
                section.document_id,
                section.version,
                generation=request.generation,
                after=section.first - 1,
                limit=section.last - section.first + 1,
            )
            # A filter may name what differs between a section's passages, such as their page.
            return [passage for passage in passages if _passes(query.scope.filter, passage)]

        with run.stopwatch.stage("sections"):
            whole = with_whole_sections(
                candidates, read, limit=query.top_k, max_characters=self.config.max_section_characters
            )
            return await run.wait_or(
                "sections", whole, fallback=candidates[: query.top_k], at_most=self.config.sections_s
            )

    async def _build_prompt(
        self, run: QueryRun, candidates: Sequence[Candidate], generators: list[Generator]
    ) -> Prompt:
        query = run.query
        with run.stopwatch.stage("prompt"), tracing.span(spans.PROMPT):
            return await build_prompt(
                query.text,
                query.language,
                [candidate.passage for candidate in candidates],
                budget=self.context_tokens - query.max_tokens,
                count_tokens=partial(_count_tokens, run, generators),
                preamble=query.preamble,
                history=query.history,
                arrange=self._arrangement(query),
            )

    def _arrangement(self, query: Query) -> Arrange:
        if (prefixes := self.prefixes) is None:
            return by_rank
        # Each adapter has a prefix cache of its own.
        return lambda system, passages: prefixes.arrange(query.scope.tenant_id, (query.model, system), passages)

    def _generators(self, run: QueryRun, no_slot: Overloaded | None) -> list[Generator]:
        """What may generate the answer, in the order in which it is tried."""
        if no_slot is not None:
            run.degraded.record("generation", no_slot)
            return [self.fallback] if self.fallback is not None else []
        return [self.generator] if self.fallback is None else [self.generator, self.fallback]

    def _abort_unless_complete(self, run: QueryRun) -> None:
        """An abort may go to every replica of generation, so only a query that was sent there is aborted."""
        if run.asked is not None and not run.is_complete:
            run.asked.abort(run.query.scope.tenant_id, run.query.id)


async def _count_tokens(run: QueryRun, generators: list[Generator], texts: Sequence[str]) -> list[int]:
    """Tokens of each text, by the generator that is to answer.

    One that is down, full or late leaves its place to the next, and is not asked for the answer either.
    """
    while True:
        generator, *others = generators
        counting = run.deadline.wait(
            "generation",
            generator.count_tokens(texts),
            at_most=run.query.first_token_s,
            share=0.5 if others else 1.0,
            setting="api.first_token_s",
        )
        try:
            return await counting
        except Unavailable as error:
            if not others:
                raise
            run.degraded.record("generation", error)
            generators.remove(generator)


def _passes(filter: Filter | None, passage: Passage) -> bool:
    return filter is None or matches(
        filter,
        document_id=passage.document_id,
        language=passage.language,
        collection=passage.collection,
        metadata=passage.metadata,
    )


def _comparable(run: QueryRun, dense: Embeddings | None, live: IndexGeneration | None) -> Embeddings:
    """The question's vector, or none if the embedder failed, or is another than the live generation's."""
    if dense is None:
        return Embeddings(np.zeros((0, 0), np.float32), live.embedder if live is not None else "")
    if live is None or live.embedder == dense.fingerprint:
        return dense
    reason = f"the documents were indexed by the embedder {live.embedder}, and {dense.fingerprint} runs; reindex them"
    run.degraded.record("index", StageUnavailable(reason))
    return replace(dense, vectors=dense.vectors[:0])
