"""The life of a query. Talks to ports only; the numbers are the steps of ARCHITECTURE.md."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from deployments.errors import StageUnavailable
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
from serve_app import prompt
from serve_app.citations import CitationScanner
from serve_app.deadline import Deadline, Stopwatch, together
from serve_app.messages import Chunk, Citation, Complete, Message, Source, Sources
from serve_app.ports import Embed, Generate, Lexical, Rerank, Retrieve, Visibility


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
    """Candidates best first, and what finding them took."""

    candidates: tuple[Candidate, ...]
    timings: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pipeline:
    embed: Embed
    lexical: Lexical
    visibility: Visibility
    retrieve: Retrieve
    rerank: Rerank
    generate: Generate
    context_tokens: int

    async def search(self, query: Query) -> Found:
        """Retrieval alone: what an answer would be made from."""
        watch = Stopwatch()
        return Found(await self._find(query, Deadline(query.deadline_s), watch), watch.timings)

    async def answer(self, query: Query) -> AsyncGenerator[Message]:
        """Sources, then the answer as it is generated, then what it took. Raises RagError at any point.

        Close it (`aclosing`) when the reader goes away: the engine is told, wherever the query is by then.
        """
        deadline, watch = Deadline(query.deadline_s), Stopwatch()
        finished = False
        try:
            candidates = await self._find(query, deadline, watch)  # steps 5 to 7
            with watch.stage("prompt"):  # step 8
                built = await prompt.build(
                    query.text,
                    query.language,
                    [candidate.passage for candidate in candidates],
                    budget=self.context_tokens - query.max_tokens,
                    count_tokens=self.generate.count_tokens,
                    preamble=query.preamble,
                    history=query.history,
                )
            status = await deadline.wait("generation", self.generate.status())
            shown = candidates[: len(built.passages)]
            watch.mark("sources")
            yield Sources(query.id, tuple(map(_source, shown)))  # step 9
            async with aclosing(self._generated(query, built, status, deadline, watch)) as messages:  # steps 10 and 11
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
        deadline, watch = Deadline(query.deadline_s), Stopwatch()
        finished = False
        try:
            status = await deadline.wait("generation", self.generate.status())
            built = prompt.Prompt(tuple(messages), ())
            async with aclosing(self._generated(query, built, status, deadline, watch)) as answer:
                async for message in answer:
                    finished = isinstance(message, Complete)
                    yield message
        finally:
            if not finished:
                self.generate.abort(query.scope.tenant_id, query.id)

    async def _find(self, query: Query, deadline: Deadline, watch: Stopwatch) -> tuple[Candidate, ...]:
        with watch.stage("embedding"):
            dense, lexical, seen = await together(
                deadline.wait("embedding", self.embed.embed_query(query.text)),
                deadline.wait("lexical", self.lexical.query_weights(query.text, query.language, query.scope)),
                deadline.wait("visibility", self.visibility.seen(query.scope.tenant_id)),
            )
        scope = replace(query.scope, seen=seen)
        request = RetrievalRequest(scope, dense, lexical, query.language, query.candidates)
        with watch.stage("retrieval"):
            candidates = await deadline.wait("retrieval", self.retrieve.retrieve(request))
        with watch.stage("reranking"):
            ranked = await deadline.wait("reranking", self.rerank.rerank(query.text, query.language, candidates))
        return tuple(ranked[: query.top_k])

    async def _generated(
        self, query: Query, built: prompt.Prompt, status: StageStatus, deadline: Deadline, watch: Stopwatch
    ) -> AsyncGenerator[Message]:
        """The answer as it is generated, with its citations, then what it took."""
        scanner = CitationScanner(len(built.passages))
        async with aclosing(self._stream(query, built, deadline)) as deltas:
            async for delta in deltas:
                if delta.text:
                    if "first_token" not in watch.timings:
                        watch.mark("first_token")
                    yield Chunk(query.id, delta.text)
                    for span in scanner.feed(delta.text):
                        ids = tuple(built.passages[number - 1].id for number in span.numbers)
                        yield Citation(query.id, ids, span.start, span.end)
        yield _complete(query, delta, status, watch)

    async def _stream(self, query: Query, built: prompt.Prompt, deadline: Deadline) -> AsyncGenerator[TextDelta]:
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
        async with aclosing(self.generate.generate(request)) as stream:
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


def _complete(query: Query, last: TextDelta, status: StageStatus, watch: Stopwatch) -> Complete:
    watch.mark("total")
    return Complete(
        query_id=query.id,
        usage=last.usage or Usage(),
        timings=watch.timings,
        finish_reason=last.finish_reason or "stop",
        engine=status.engine,
        model=query.model or status.model,
    )
