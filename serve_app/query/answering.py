"""Steps 9 to 11 of a query: its sources, the answer as it is generated, and what it took."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace

from deployments.errors import StageUnavailable, Unavailable
from deployments.telemetry.tracing import TraceHeaders
from deployments.types import Candidate, GenerationRequest, Language, StageStatus, TextDelta, Usage
from serve_app.query.answer_events import AnswerEvent, Chunk, Citation, Complete, RawChunk, Source, Sources
from serve_app.query.config import QueryConfig
from serve_app.query.generation_trace import GenerationTrace
from serve_app.query.grounding import AnswerCheck, AnswerReader
from serve_app.query.ports import Generator
from serve_app.query.prompt import Prompt
from serve_app.query.run import QueryRun
from serve_app.query.statements import Statement

WITHHELD: Mapping[Language, str] = {
    "hr": "Odgovor nije prikazan jer ga izvori nedovoljno potkrepljuju.",
    "en": "The answer is not shown because its sources do not support enough of it.",
}
"""What is sent in place of an answer that is refused."""


def sources_event(run: QueryRun, prompt: Prompt, candidates: Sequence[Candidate]) -> Sources:
    """The passages of the prompt, in the order of their numbers, each with its score."""
    run.stopwatch.mark("sources")
    by_passage_id = {candidate.passage.id: candidate for candidate in candidates}
    return Sources(run.query.id, tuple(_source(by_passage_id[passage.id]) for passage in prompt.passages))


def stream_answer(
    run: QueryRun, prompt: Prompt, generators: Sequence[Generator], config: QueryConfig | None = None
) -> AsyncGenerator[AnswerEvent]:
    """Chunks with their citations, then Complete. Raises Unavailable if none of the generators answers.

    By `config` statements are checked against their passages; None is for an answer that has none. An answer that may
    be refused is sent once it is whole.
    """
    if config is None or config.unsupported == "keep":
        return _answer(run, prompt, generators, None)
    check = AnswerCheck(prompt.passages, run.query.text, run.query.language, config)
    answer = _answer(run, prompt, generators, check)
    return _held_until_whole(run, answer, check) if check.may_refuse else answer


async def _answer(
    run: QueryRun, prompt: Prompt, generators: Sequence[Generator], check: AnswerCheck | None
) -> AsyncGenerator[AnswerEvent]:
    """The events as they come. Text does not wait for the check of its statements."""
    async with aclosing(_statements(run, prompt, generators)) as generated:
        async for delta, status, statements in generated:
            if delta.text or delta.tool_calls:
                run.stopwatch.mark_once("first_token")
                yield _chunk(run, delta)
            for statement in statements:
                for citation in await _citations(run, prompt, check, statement):
                    yield citation
            last = delta, status
    run.is_complete = True
    yield _complete(run, *last, check)


async def _held_until_whole(
    run: QueryRun, answer: AsyncGenerator[AnswerEvent], check: AnswerCheck
) -> AsyncGenerator[AnswerEvent]:
    """The answer's events once it has ended, or a notice in their place if too little of it is supported."""
    held: list[AnswerEvent] = []
    async with aclosing(answer) as events:
        async for event in events:
            if not isinstance(event, Complete):
                held.append(event)
                continue
            notice = [Chunk(run.query.id, WITHHELD[run.query.language])]
            run.stopwatch.mark("first_token")  # the first that the client gets
            for shown in notice if check.is_refused else held:
                yield shown
            run.stopwatch.mark("total")
            is_cancelled = event.finish_reason == "cancelled"
            finish_reason = "no_answer" if check.is_refused and not is_cancelled else event.finish_reason
            yield replace(event, timings=run.stopwatch.timings, finish_reason=finish_reason)


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
            async with aclosing(_deltas(run, prompt, generator, status)) as deltas:
                async for delta in deltas:
                    has_begun = True
                    yield delta, status
            return
        except Unavailable as error:
            if has_begun or generator is generators[-1]:
                raise
            if run.asked is generator:
                generator.abort(run.query.scope.tenant_id, run.query.id)
            run.degraded.record("generation", error)


async def _deltas(
    run: QueryRun, prompt: Prompt, generator: Generator, status: StageStatus
) -> AsyncGenerator[TextDelta]:
    """One generator's deltas. The last one has a finish reason; raises StageUnavailable if there is none."""
    run.asked = generator
    trace = GenerationTrace(run.query, prompt, status)
    try:
        async with aclosing(generator.generate(_request(run, prompt, trace.headers))) as stream:
            async for generated in run.deadline.iterate("generation", stream, first_within=run.query.first_token_s):
                delta = _returnable(generated)
                trace.add(delta)
                yield delta
                if delta.finish_reason is not None:
                    return
        raise StageUnavailable("generation ended before it finished the answer; ask again")
    except BaseException as error:
        trace.error = error
        raise
    finally:
        trace.end()


def _returnable(delta: TextDelta) -> TextDelta:
    """Without U+0000, which no request may have: clients send answers back, and PostgreSQL keeps no such text."""
    return replace(delta, text=delta.text.replace("\0", "")) if "\0" in delta.text else delta


def _request(run: QueryRun, prompt: Prompt, trace: TraceHeaders) -> GenerationRequest:
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
        sampling=query.sampling,
        continued=prompt.continued,
        trace=trace,
        tools=query.tools,
    )


def _chunk(run: QueryRun, delta: TextDelta) -> Chunk:
    usage = delta.usage if run.query.sampling.counted else None
    if usage is not None or delta.tool_calls:
        return RawChunk(run.query.id, delta.text, usage, delta.tool_calls)
    return Chunk(run.query.id, delta.text)


def _source(candidate: Candidate) -> Source:
    passage = candidate.passage
    return Source(
        passage.id, passage.document_id, passage.title, passage.text, candidate.scores.final, passage.metadata
    )


def _complete(run: QueryRun, last: TextDelta, status: StageStatus, check: AnswerCheck | None) -> Complete:
    """By the answer's last delta, and the status of the generator that gave it."""
    run.stopwatch.mark("total")
    is_fallback = "generation" in run.degraded.stages
    return Complete(
        query_id=run.query.id,
        usage=last.usage or Usage(),
        timings=run.stopwatch.timings,
        finish_reason=last.finish_reason or "stop",
        engine=status.engine,
        model=status.model if is_fallback else run.query.model or status.model,  # the fallback has no adapters
        degraded=tuple(dict.fromkeys((*run.degraded.stages, *last.degraded))),
        confidence=last.confidence,
        grounding=check.grounding if check is not None else None,
    )
