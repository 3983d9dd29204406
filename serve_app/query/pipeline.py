"""The life of a query. Talks to ports only; the numbers are the steps of ARCHITECTURE.md."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from deployments.errors import Overloaded, StageUnavailable, Unavailable
from deployments.types import (
    Candidate,
    GenerationRequest,
    Language,
    RetrievalRequest,
    Scope,
    StageStatus,
    TextDelta,
    Usage,
)
from deployments.types import Message as ChatMessage
from serve_app.query import prompt
from serve_app.query.answer_events import Chunk, Citation, Complete, Message, Source, Sources
from serve_app.query.citations import CitationScanner
from serve_app.query.deadline import Deadline, Stopwatch, together
from serve_app.query.degradation import Degraded, LastEmbedder
from serve_app.query.ports import Embed, Generate, Lexical, Rerank, Retrieve, Visibility
from serve_app.query.prefix_cache import Prefixes


@dataclass(frozen=True, slots=True)
class Query:
    """One question, validated and authenticated: whatever reaches the pipeline may be worked on.

    `preamble` goes before the system part, `history` after it; `model` empty takes the deployment's own. The answer
    ends before the first of `stop` that it would hold.
    """

    id: str
    text: str
    language: Language
    scope: Scope
    top_k: int
    candidates: int
    max_tokens: int
    deadline_s: float
    first_token_s: float
    temperature: float = 0.0
    seed: int | None = None
    preamble: str = ""
    model: str = ""
    history: tuple[ChatMessage, ...] = ()
    stop: tuple[str, ...] = ()
    top_p: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0


@dataclass(frozen=True, slots=True)
class Found:
    """Candidates best first, what finding them took, and the stages that it went without."""

    candidates: tuple[Candidate, ...]
    timings: Mapping[str, float] = field(default_factory=dict)
    degraded: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Pipeline:
    """`embedding_s`, `reranking_s`: how long a question waits for its vector and its term weights, and for its
    reranking, unless half of what is left of its deadline is less.
    `fallback`: what answers from the passages where generation does not, if anything does. `prefixes`: what prompts
    began with, for an engine that caches that."""

    embed: Embed
    lexical: Lexical
    visibility: Visibility
    retrieve: Retrieve
    rerank: Rerank
    generate: Generate
    context_tokens: int
    embedding_s: float
    reranking_s: float
    fallback: Generate | None = None
    prefixes: Prefixes | None = None
    embedder: LastEmbedder = field(default_factory=LastEmbedder)

    async def search(self, query: Query) -> Found:
        """Retrieval alone: what an answer would be made from."""
        watch, degraded = Stopwatch(), Degraded()
        candidates = await self._find(query, Deadline(query.deadline_s), watch, degraded)
        return Found(candidates, watch.timings, degraded.stages)

    async def answer(self, query: Query, *, full: Overloaded | None = None) -> AsyncGenerator[Message]:
        """Sources, then the answer as it is generated, then what it took. Raises RagError at any point. `full`: why
        generation is not to be asked, where there is a fallback.

        Close it (`aclosing`) when the reader goes away: the engine is told, wherever the query is by then.
        """
        deadline, watch, degraded = Deadline(query.deadline_s), Stopwatch(), Degraded()
        engines = [engine for engine in (self.generate, self.fallback) if engine is not None]
        if full is not None:
            degraded.note("generation", full)
            engines.remove(self.generate)
        finished = False
        try:
            candidates = await self._find(query, deadline, watch, degraded)  # steps 5 to 7
            with watch.stage("prompt"):  # step 8
                built = await prompt.build(
                    query.text,
                    query.language,
                    [candidate.passage for candidate in candidates],
                    budget=self.context_tokens - query.max_tokens,
                    count_tokens=self.generate.count_tokens,
                    preamble=query.preamble,
                    history=query.history,
                    arrange=self._arranged(query),
                )
            of_passage = {candidate.passage.id: candidate for candidate in candidates}
            shown = [of_passage[passage.id] for passage in built.passages]
            watch.mark("sources")
            yield Sources(query.id, tuple(map(_source, shown)))  # step 9
            answer = self._generated(query, built, engines, deadline, watch, degraded)  # steps 10 and 11
            async with aclosing(answer) as messages:
                async for message in messages:
                    finished = isinstance(message, Complete)
                    yield message
        finally:
            if not finished:
                self.generate.abort(query.scope.tenant_id, query.id)

    async def chat(self, query: Query, messages: Sequence[ChatMessage]) -> AsyncGenerator[Message]:
        """The model's answer to the messages as they are: nothing is looked for, and there are no sources.

        Raises and is to be closed as `answer`.
        """
        deadline, watch, degraded = Deadline(query.deadline_s), Stopwatch(), Degraded()
        finished = False
        try:
            built = prompt.Prompt(tuple(messages), ())
            async with aclosing(self._generated(query, built, (self.generate,), deadline, watch, degraded)) as answer:
                async for message in answer:
                    finished = isinstance(message, Complete)
                    yield message
        finally:
            if not finished:
                self.generate.abort(query.scope.tenant_id, query.id)

    async def _find(
        self, query: Query, deadline: Deadline, watch: Stopwatch, degraded: Degraded
    ) -> tuple[Candidate, ...]:
        with watch.stage("embedding"):
            vector = self.embedder.embed(self.embed, query.text)
            weights = self.lexical.query_weights(query.text, query.language, query.scope)
            most = min(self.embedding_s, deadline.remaining() / 2)
            dense, lexical, visible = await together(
                degraded.or_instead(
                    "embedding",
                    deadline.wait("embedding", vector, at_most=most),
                    instead=self.embedder.without_vector,
                ),
                degraded.or_instead("lexical", deadline.wait("lexical", weights, at_most=most), instead={}),
                deadline.wait("visibility", self.visibility.visible_versions(query.scope.tenant_id)),
            )
        if dense is None or not (len(dense.vectors) or lexical):
            raise degraded.errors["embedding"]
        scope = replace(query.scope, visible=visible)
        request = RetrievalRequest(scope, dense, lexical, query.language, query.candidates)
        with watch.stage("retrieval"):
            candidates = await deadline.wait("retrieval", self.retrieve.retrieve(request))
        with watch.stage("reranking"):
            reranked = self.rerank.rerank(query.text, query.language, candidates)
            most = min(self.reranking_s, deadline.remaining() / 2)
            ranked = await degraded.or_instead(
                "reranking", deadline.wait("reranking", reranked, at_most=most), instead=candidates
            )
        return tuple(ranked[: query.top_k])

    def _arranged(self, query: Query) -> prompt.Arrange:
        if (prefixes := self.prefixes) is None:
            return prompt.by_rank
        # Each adapter has a cache of its own.
        return lambda system, passages: prefixes.arrange(query.scope.tenant_id, (query.model, system), passages)

    async def _generated(
        self,
        query: Query,
        built: prompt.Prompt,
        engines: Sequence[Generate],
        deadline: Deadline,
        watch: Stopwatch,
        degraded: Degraded,
    ) -> AsyncGenerator[Message]:
        """The answer as it is generated, with its citations, then what it took."""
        scanner = CitationScanner(len(built.passages))
        async with aclosing(self._deltas(query, built, engines, deadline, degraded)) as deltas:
            async for last in deltas:
                if text := last[0].text:
                    if "first_token" not in watch.timings:
                        watch.mark("first_token")
                    yield Chunk(query.id, text)
                    for span in scanner.feed(text):
                        ids = tuple(built.passages[number - 1].id for number in span.numbers)
                        yield Citation(query.id, ids, span.start, span.end)
        yield _complete(query, *last, watch, degraded)

    async def _deltas(
        self,
        query: Query,
        built: prompt.Prompt,
        engines: Sequence[Generate],
        deadline: Deadline,
        degraded: Degraded,
    ) -> AsyncGenerator[tuple[TextDelta, StageStatus]]:
        """The answer's pieces, and what serves them: the first engine that begins."""
        begun = False
        for engine in engines:
            try:
                status = await deadline.wait("generation", engine.status())
                async with aclosing(_stream(engine, query, built, deadline)) as deltas:
                    async for delta in deltas:
                        begun = True
                        yield delta, status
                return
            except Unavailable as error:
                if begun or engine is engines[-1]:
                    raise
                engine.abort(query.scope.tenant_id, query.id)
                degraded.note("generation", error)


async def _stream(
    engine: Generate, query: Query, built: prompt.Prompt, deadline: Deadline
) -> AsyncGenerator[TextDelta]:
    request = GenerationRequest(
        query_id=query.id,
        tenant_id=query.scope.tenant_id,
        language=query.language,
        question=query.text,
        messages=built.messages,
        passages=built.passages,
        max_tokens=query.max_tokens,
        temperature=query.temperature,
        seed=query.seed,
        model=query.model,
        stop=query.stop,
        top_p=query.top_p,
        presence_penalty=query.presence_penalty,
        frequency_penalty=query.frequency_penalty,
    )
    async with aclosing(engine.generate(request)) as stream:
        async for delta in deadline.iterate("generation", stream, first_within=query.first_token_s):
            yield delta
            if delta.finish_reason is not None:
                return
    raise StageUnavailable("generation ended before it finished the answer; ask again")


def _source(candidate: Candidate) -> Source:
    passage = candidate.passage
    return Source(
        passage.id, passage.document_id, passage.title, passage.text, candidate.scores.final, passage.metadata
    )


def _complete(query: Query, last: TextDelta, status: StageStatus, watch: Stopwatch, degraded: Degraded) -> Complete:
    watch.mark("total")
    return Complete(
        query_id=query.id,
        usage=last.usage or Usage(),
        timings=watch.timings,
        finish_reason=last.finish_reason or "stop",
        engine=status.engine,
        model=status.model if "generation" in degraded.stages else query.model or status.model,
        degraded=degraded.stages,
    )
