"""Steps 9 to 11 of a query: its sources, the answer as it is generated, and what it took."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace

from deployments.errors import StageUnavailable, Unavailable
from deployments.types import Candidate, GenerationRequest, Language, StageStatus, TextDelta, Usage
from serve_app.query.answer_events import AnswerEvent, Chunk, Citation, Complete, Source, Sources
from serve_app.query.config import QueryConfig
from serve_app.query.grounding import AnswerCheck, AnswerReader
from serve_app.query.ports import Generator
from serve_app.query.prompt import Prompt
from serve_app.query.run import QueryRun
from serve_app.query.statements import Statement


def sources_event(run: QueryRun, prompt: Prompt, candidates: Sequence[Candidate]) -> Sources:
    """The passages of the prompt, in the order of their numbers, each with its score."""
    run.stopwatch.mark("sources")
    by_passage_id = {candidate.passage.id: candidate for candidate in candidates}
    return Sources(run.query.id, tuple(_source(by_passage_id[passage.id]) for passage in prompt.passages))


WITHHELD: Mapping[Language, str] = {
    "hr": "Odgovor nije prikazan jer ga izvori nedovoljno potkrepljuju.",
    "en": "The answer is not shown because its sources do not support enough of it.",
}


async def stream_answer(
    run: QueryRun, prompt: Prompt, generators: Sequence[Generator], config: QueryConfig | None = None
) -> AsyncGenerator[AnswerEvent]:
    """Chunks with their citations, then Complete. Raises Unavailable if none of the generators answers.

    By `config` statements are checked against their passages; None is for an answer that has none. An answer that may
    be refused is sent once it is whole.
    """
    query, held = run.query, list[AnswerEvent]()
    check: AnswerCheck | None = None
    if config is not None and config.unsupported != "keep":
        check = AnswerCheck(prompt.passages, query.text, query.language, config)
    is_held = check is not None and check.may_refuse
    async with aclosing(_statements(run, prompt, generators)) as generated:
        async for each in generated:
            delta, status, statements = each
            events: list[AnswerEvent] = [Chunk(query.id, delta.text)] if delta.text else []
            if events and not is_held:
                run.stopwatch.mark_once("first_token")
                yield events.pop()
            for statement in statements:
                events += await _citations(run, prompt, check, statement)
            if is_held:
                held += events
                continue
            for event in events:
                yield event
    is_refused = check is not None and check.is_refused
    if is_held:
        run.stopwatch.mark_once("first_token")
        for event in [Chunk(query.id, WITHHELD[query.language])] if is_refused else held:
            yield event
    run.is_complete = True
    complete = _complete(run, delta, status)
    if check is not None:
        complete = replace(complete, grounding=check.grounding)
    if is_refused and complete.finish_reason != "cancelled":
        complete = replace(complete, finish_reason="no_answer")
    yield complete


async def _statements(
    run: QueryRun, prompt: Prompt, generators: Sequence[Generator]
) -> AsyncGenerator[tuple[TextDelta, StageStatus, Sequence[Statement]]]:
    """The deltas, each with the statements that end in it."""
    reader = AnswerReader(len(prompt.passages), run.query.language)
    async with aclosing(_generate(run, prompt, generators)) as deltas:
        async for delta, status in deltas:
            statements = [*reader.feed(delta)]
            if delta.finish_reason is not None:
                statements += reader.end()
            yield delta, status, statements


async def _citations(
    run: QueryRun, prompt: Prompt, check: AnswerCheck | None, statement: Statement
) -> list[AnswerEvent]:
    """One for each of a statement's markers; one without sources for a statement that needs one and has none."""
    status = await check.judge(statement) if check is not None else None
    cited = statement.citations or (((),) if status == "uncited" else ())
    return [
        Citation(
            run.query.id,
            tuple(prompt.passages[number - 1].id for number in numbers),
            statement.start,
            statement.end,
            status,
        )
        for numbers in cited
    ]


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
