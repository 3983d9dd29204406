"""Steps 9 to 11 of a query: its sources, the answer as it is generated, and what it took."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from deployments.errors import StageUnavailable, Unavailable
from deployments.types import Candidate, GenerationRequest, StageStatus, TextDelta, Usage
from serve_app.query.answer_events import AnswerEvent, Chunk, Citation, Complete, Source, Sources
from serve_app.query.citations import CitationScanner
from serve_app.query.ports import Generator
from serve_app.query.prompt import Prompt
from serve_app.query.run import QueryRun


def sources_event(run: QueryRun, prompt: Prompt, candidates: Sequence[Candidate]) -> Sources:
    """The passages of the prompt, in the order of their numbers, each with its score."""
    run.stopwatch.mark("sources")
    by_passage_id = {candidate.passage.id: candidate for candidate in candidates}
    return Sources(run.query.id, tuple(_source(by_passage_id[passage.id]) for passage in prompt.passages))


async def stream_answer(run: QueryRun, prompt: Prompt, generators: Sequence[Generator]) -> AsyncGenerator[AnswerEvent]:
    """Chunks with their citations, then Complete. Raises Unavailable if none of the generators answers."""
    query_id, scanner = run.query.id, CitationScanner(len(prompt.passages))
    async with aclosing(_generate(run, prompt, generators)) as deltas:
        async for generated in deltas:
            delta, status = generated
            if delta.text:
                run.stopwatch.mark_once("first_token")
                yield Chunk(query_id, delta.text)
            for span in scanner.feed(delta.text) if delta.citations is None else delta.citations:
                passage_ids = tuple(prompt.passages[number - 1].id for number in span.numbers)
                yield Citation(query_id, passage_ids, span.start, span.end)
    run.is_complete = True
    yield _complete(run, delta, status)


async def _generate(
    run: QueryRun, prompt: Prompt, generators: Sequence[Generator]
) -> AsyncGenerator[tuple[TextDelta, StageStatus]]:
    """The deltas of the first generator that begins to answer, each with the generator's status."""
    has_begun = False
    for generator in generators:
        try:
            status = await run.deadline.wait("generation", generator.status())
            async with aclosing(_deltas(run, prompt, generator)) as deltas:
                async for delta in deltas:
                    has_begun = True
                    yield delta, status
            return
        except Unavailable as error:
            if has_begun or generator is generators[-1]:
                raise
            generator.abort(run.query.scope.tenant_id, run.query.id)
            run.degraded.record("generation", error)


async def _deltas(run: QueryRun, prompt: Prompt, generator: Generator) -> AsyncGenerator[TextDelta]:
    """One generator's deltas. The last one has a finish reason; raises StageUnavailable if there is none."""
    async with aclosing(generator.generate(_request(run, prompt))) as stream:
        async for delta in run.deadline.iterate("generation", stream, first_within=run.query.first_token_s):
            yield delta
            if delta.finish_reason is not None:
                return
    raise StageUnavailable("generation ended before it finished the answer; ask again")


def _request(run: QueryRun, prompt: Prompt) -> GenerationRequest:
    query = run.query
    return GenerationRequest(
        query_id=query.id,
        tenant_id=query.scope.tenant_id,
        language=query.language,
        question=query.text,
        messages=prompt.messages,
        passages=prompt.passages,
        max_tokens=query.max_tokens,
        temperature=query.temperature,
        seed=query.seed,
        model=query.model,
        stop=query.stop,
        top_p=query.top_p,
        presence_penalty=query.presence_penalty,
        frequency_penalty=query.frequency_penalty,
    )


def _source(candidate: Candidate) -> Source:
    passage = candidate.passage
    return Source(
        passage.id, passage.document_id, passage.title, passage.text, candidate.scores.final, passage.metadata
    )


def _complete(run: QueryRun, last: TextDelta, status: StageStatus) -> Complete:
    run.stopwatch.mark("total")
    is_fallback = "generation" in run.degraded.stages
    return Complete(
        query_id=run.query.id,
        usage=last.usage or Usage(),
        timings=run.stopwatch.timings,
        finish_reason=last.finish_reason or "stop",
        engine=status.engine,
        model=status.model if is_fallback else run.query.model or status.model,
        degraded=tuple(dict.fromkeys((*run.degraded.stages, *last.degraded))),
        confidence=last.confidence,
    )
