from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import pytest

from deployments.errors import (
    DeadlineExceeded,
    EmbedderMismatch,
    InvalidRequest,
    Overloaded,
    PromptTooLong,
    RagError,
    StageUnavailable,
)
from deployments.filters import parse
from deployments.generation.config import GenerationConfig
from deployments.types import (
    Candidate,
    CitedSpan,
    GenerationRequest,
    IndexGeneration,
    Scope,
    Scores,
    TextDelta,
    Usage,
    VisibleVersions,
)
from deployments.types import Message as ChatMessage
from serve_app.query.answer_events import AnswerEvent, Chunk, Citation, Complete, Grounding, Sources
from serve_app.query.answering import WITHHELD
from serve_app.query.config import PromptConfig, QueryConfig
from serve_app.query.fallback import Extractive
from serve_app.query.grounding import AnswerCheck
from serve_app.query.prefix_cache import PromptPrefixCache
from serve_app.query.prompt import system_part
from tests.support.pipeline import Stages, passage, query

LIVE = IndexGeneration("g2", "f", 2)


async def collect(stages: Stages, **changes: object) -> list[AnswerEvent]:
    async with aclosing(stages.pipeline().answer(query(**changes))) as messages:  # type: ignore[arg-type]
        return [message async for message in messages]


async def test_an_answer_is_sources_then_chunks_with_citations_then_complete() -> None:
    stages = Stages()
    messages = await collect(stages)
    assert [type(m) for m in messages] == [Sources, Chunk, Chunk, Citation, Complete]
    sources, first, second, citation, complete = messages
    assert isinstance(sources, Sources)
    assert [s.id for s in sources.sources] == ["p1", "p2", "p3"]  # top_k
    assert isinstance(first, Chunk)
    assert isinstance(second, Chunk)
    answer = first.content + second.content
    assert isinstance(citation, Citation)
    assert citation.sources == ("p1",)
    assert answer[citation.start : citation.end] == "Rok je 15 dana."
    assert isinstance(complete, Complete)
    assert (complete.finish_reason, complete.engine, complete.usage.completion_tokens) == ("stop", "fake", 2)
    assert set(complete.timings) == {
        "embedding", "retrieval", "reranking", "sections", "prompt", "sources", "first_token", "total",
    }  # fmt: skip
    assert stages.aborted == []


async def test_an_engine_s_own_citations_confidence_and_omissions_are_told() -> None:
    stages = Stages(answer=())

    async def quoting(request: GenerationRequest) -> AsyncGenerator[TextDelta]:
        yield TextDelta("Čl. 5. Zakona. Vrijedi: [2]", citations=(CitedSpan((2,), 0, 14),))
        yield TextDelta("", "no_answer", Usage(1, 4), (), 0.25, ("embedding",))

    stages.generate = quoting  # type: ignore[method-assign]
    _, _, citation, complete = await collect(stages)
    assert citation == Citation("0" * 32, ("p2",), 0, 14, "unsupported")
    assert isinstance(complete, Complete)
    assert (complete.confidence, complete.degraded, complete.finish_reason) == (0.25, ("embedding",), "no_answer")


async def test_embedding_and_the_lexical_half_run_at_the_same_time() -> None:
    stages = Stages()
    started = asyncio.Event()

    async def lexical_waits_for_embedding(*_: object) -> dict[int, float]:
        await started.wait()
        return {}

    async def embedding_starts(text: str) -> object:
        started.set()
        return await Stages.embed_query(stages, text)

    stages.query_weights = lexical_waits_for_embedding  # type: ignore[method-assign, assignment]
    stages.embed_query = embedding_starts  # type: ignore[method-assign, assignment]
    complete = (await collect(stages))[-1]
    assert isinstance(complete, Complete)
    assert complete.degraded == ()


@pytest.mark.parametrize("stage", ["embedding", "retrieval", "generation"])
async def test_a_stage_that_fails_ends_the_answer_and_generation_hears_of_what_it_has(stage: str) -> None:
    stages = Stages(failures={stage: StageUnavailable(f"{stage} is gone")})
    with pytest.raises(StageUnavailable, match=f"{stage} is gone"):
        await collect(stages)
    assert stages.aborted == ([("t", "0" * 32)] if stage == "generation" else [])


@pytest.mark.parametrize("stage", ["embedding", "retrieval", "generation"])
async def test_a_stage_that_outlasts_the_deadline_is_named(stage: str) -> None:
    stages = Stages(delays={stage: 30})
    with pytest.raises(DeadlineExceeded, match=stage):
        await collect(stages, deadline_s=0.05)
    assert stages.aborted == ([("t", "0" * 32)] if stage == "generation" else [])


@pytest.mark.parametrize("stage", ["lexical", "reranking"])
@pytest.mark.parametrize("error", [StageUnavailable("gone"), Overloaded("full")])
async def test_an_answer_says_which_stage_it_goes_without(stage: str, error: RagError) -> None:
    stages = Stages(failures={stage: error})
    sources, *_, complete = await collect(stages)
    assert isinstance(complete, Complete)
    assert complete.degraded == (stage,)
    assert isinstance(sources, Sources)
    assert [source.id for source in sources.sources] == ["p1", "p2", "p3"]
    assert stages.retrievals[0].lexical == ({} if stage == "lexical" else {1: 1.0})
    found = await stages.pipeline().search(query())
    assert found.degraded == (stage,)
    assert all((candidate.scores.rerank is None) is (stage == "reranking") for candidate in found.candidates)


@pytest.mark.parametrize("late", [False, True])
async def test_without_its_vector_a_question_is_found_by_its_terms(late: bool) -> None:
    stages = Stages(visible=VisibleVersions("v9", generation=LIVE))
    pipeline = stages.pipeline(embedding_s=0.05)
    if late:
        stages.delays["embedding"] = 30
    else:
        stages.failures["embedding"] = Overloaded("full")
    async with aclosing(pipeline.answer(query())) as messages:
        *_, complete = [message async for message in messages]
    assert isinstance(complete, Complete)
    assert complete.degraded == ("embedding",)
    [request] = stages.retrievals
    assert (len(request.dense.vectors), request.generation) == (0, "g2")


@pytest.mark.parametrize(("embedder", "vectors"), [("f", 1), ("another", 0)])
async def test_the_live_generation_is_searched_and_by_terms_alone_if_another_embedder_made_it(
    embedder: str, vectors: int
) -> None:
    stages = Stages(visible=VisibleVersions("v9", generation=replace(LIVE, embedder=embedder)))
    found = await stages.pipeline().search(query())
    [request] = stages.retrievals
    assert (len(request.dense.vectors), request.generation) == (vectors, "g2")
    assert found.degraded == (() if vectors else ("index",))


async def test_without_terms_another_embedder_s_generation_cannot_be_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    stages = Stages(visible=VisibleVersions("v9", generation=replace(LIVE, embedder="another")))

    async def no_terms(*asked: object) -> dict[int, float]:
        return {}

    monkeypatch.setattr(stages, "query_weights", no_terms)
    with pytest.raises(EmbedderMismatch, match=r"(?s)another.* f runs.*rag reindex"):
        await stages.pipeline().search(query())
    assert stages.retrievals == []


async def test_with_neither_vector_nor_terms_there_is_nothing_to_search_by() -> None:
    stages = Stages()
    pipeline = stages.pipeline()
    await pipeline.search(query())
    stages.failures = {"embedding": StageUnavailable("gone"), "lexical": StageUnavailable("gone too")}
    with pytest.raises(StageUnavailable, match=r"gone$"):
        await pipeline.search(query())
    assert len(stages.retrievals) == 1


async def test_term_weights_that_are_late_leave_the_vector() -> None:
    found = await Stages(delays={"lexical": 30}).pipeline(embedding_s=0.05).search(query())
    assert found.degraded == ("lexical",)


@pytest.mark.parametrize(("reranking_s", "deadline_s"), [(0.05, 30), (30, 0.5)])
async def test_reranking_that_is_late_leaves_the_fused_order_and_time_for_the_answer(
    reranking_s: float, deadline_s: float
) -> None:
    pipeline = Stages(delays={"reranking": 30}).pipeline(reranking_s=reranking_s)
    async with aclosing(pipeline.answer(query(deadline_s=deadline_s))) as messages:
        *_, complete = [message async for message in messages]
    assert isinstance(complete, Complete)
    assert complete.degraded == ("reranking",)


@pytest.mark.parametrize("stage", ["embedding", "lexical", "reranking"])
async def test_a_caller_s_mistake_is_not_made_up_for(stage: str) -> None:
    stages = Stages()
    pipeline = stages.pipeline()
    await pipeline.search(query())
    stages.failures = {stage: InvalidRequest("query is too long")}
    with pytest.raises(InvalidRequest):
        await pipeline.search(query())


@pytest.mark.parametrize(
    ("failures", "delays", "first_token_s"),
    [
        ({"generation": StageUnavailable("gone")}, {}, 60),
        ({"generation": Overloaded("full")}, {}, 60),
        ({}, {"token": 30}, 1),
    ],
)
async def test_where_generation_does_not_begin_the_fallback_answers_from_the_passages(
    failures: dict[str, RagError], delays: dict[str, float], first_token_s: float
) -> None:
    stages = Stages(failures=failures, delays=delays)
    pipeline = stages.pipeline(fallback=Extractive(GenerationConfig()))
    async with aclosing(
        pipeline.answer(query("tekst odlomka", first_token_s=first_token_s, model="adapter"))
    ) as messages:
        sources, chunk, *_, complete = [message async for message in messages]
    assert isinstance(sources, Sources)
    assert isinstance(chunk, Chunk)
    assert chunk.content.endswith("[1]")
    assert isinstance(complete, Complete)
    assert (complete.engine, complete.model, complete.degraded) == ("extractive", None, ("generation",))
    assert stages.aborted == [("t", "0" * 32)]


@pytest.mark.parametrize("failure", [StageUnavailable("gone"), Overloaded("full"), None])
async def test_the_fallback_also_answers_where_a_long_prompt_cannot_be_counted(failure: RagError | None) -> None:
    """None: counting does not end. The room is for a few passages, so that they must be counted."""
    stages = Stages(
        texts=["Rok za žalbu je 15 dana. " * 20] * 3,
        failures={"count": failure} if failure else {},
        delays={} if failure else {"count": 30},
    )
    pipeline = stages.pipeline(context_tokens=1_000, fallback=Extractive(GenerationConfig()))
    async with aclosing(pipeline.answer(query("Koji je rok za žalbu?", first_token_s=0.5))) as messages:
        sources, *_, complete = [message async for message in messages]
    assert isinstance(sources, Sources)
    assert len(sources.sources) == 3
    assert isinstance(complete, Complete)
    assert (complete.engine, complete.degraded) == ("extractive", ("generation",))
    assert (stages.asked.count("generation"), stages.aborted) == (0, [])


async def test_a_question_without_a_slot_asks_generation_for_nothing() -> None:
    stages = Stages(texts=["Rok za žalbu je 15 dana. " * 20] * 3, failures={"count": StageUnavailable("gone")})
    pipeline = stages.pipeline(context_tokens=1_000, fallback=Extractive(GenerationConfig()))
    async with aclosing(pipeline.answer(query("Koji je rok?"), no_slot=Overloaded("full"))) as messages:
        *_, complete = [message async for message in messages]
    assert isinstance(complete, Complete)
    assert complete.engine == "extractive"
    assert not {"count", "generation"} & set(stages.asked)
    assert stages.aborted == []


async def test_a_prompt_that_cannot_be_counted_is_an_error_in_time_where_there_is_no_fallback() -> None:
    stages = Stages(texts=["Rok za žalbu je 15 dana. " * 40] * 3, delays={"count": 30})
    with pytest.raises(DeadlineExceeded, match=r"generation took longer than the 0.1 s .*api\.first_token_s"):
        async with aclosing(stages.pipeline(context_tokens=1_000).answer(query(first_token_s=0.1))) as messages:
            await anext(messages)


async def test_the_fallback_does_not_go_on_with_what_another_began() -> None:
    stages = Stages(failures={"ending": StageUnavailable("gone")})
    async with aclosing(stages.pipeline(fallback=Extractive(GenerationConfig())).answer(query())) as messages:
        for _ in range(3):  # sources and two chunks
            await anext(messages)
        with pytest.raises(StageUnavailable, match="gone"):
            await anext(messages)


async def test_the_fallback_answers_no_chat() -> None:
    pipeline = Stages(failures={"generation": StageUnavailable("gone")}).pipeline(
        fallback=Extractive(GenerationConfig())
    )
    with pytest.raises(StageUnavailable, match="gone"):
        async with aclosing(pipeline.chat(query(), CONVERSATION)) as messages:
            await anext(messages)


async def test_the_first_token_has_a_limit_of_its_own() -> None:
    stages = Stages(delays={"token": 30})
    with pytest.raises(DeadlineExceeded, match="generation"):
        await collect(stages, first_token_s=0.05)


async def test_a_stream_that_ends_without_finishing_is_an_error_not_an_answer() -> None:
    stages = Stages()

    async def broken(request: object) -> AsyncGenerator[TextDelta]:
        yield TextDelta("pola")

    stages.generate = broken  # type: ignore[method-assign]
    with pytest.raises(StageUnavailable, match="before it finished"):
        await collect(stages)


@pytest.mark.parametrize("after", [0, 1, 2])
async def test_a_reader_that_leaves_aborts_the_query_and_closes_the_stream(after: int) -> None:
    stages = Stages(answer=["a "] * 100)
    answer = stages.pipeline().answer(query())
    for _ in range(after):
        await anext(answer)
    await answer.aclose()
    # Generation is asked after the sources; before, it has nothing to stop.
    assert stages.aborted == ([("t", "0" * 32)] if after > 1 else [])
    assert stages.streams_closed == (1 if after > 1 else 0)


@pytest.mark.parametrize("stage", ["embedding", "retrieval", "reranking", "generation"])
async def test_cancelling_in_any_stage_ends_the_query_and_aborts_it_where_it_was_sent(stage: str) -> None:
    stages = Stages(delays={stage: 30})
    task = asyncio.create_task(collect(stages))
    while stage not in stages.asked:  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert stages.aborted == ([("t", "0" * 32)] if stage == "generation" else [])


async def test_passages_that_do_not_fit_the_context_are_neither_prompted_nor_shown() -> None:
    stages = Stages(tokens_per_text=100)
    # 64 for the answer, 64 for the template, 2 x 100 for system and question: room for one passage of 100.
    async with aclosing(stages.pipeline(context_tokens=64 + 64 + 200 + 150).answer(query())) as messages:
        sources = await anext(messages)
    assert isinstance(sources, Sources)
    assert [s.id for s in sources.sources] == ["p1"]


def article_in_parts(stages: Stages) -> None:
    """All passages that are found are of one article."""
    parts = [
        replace(
            passage(n, f"Stavak {n}."),
            document_id="d",
            position=n - 1,
            metadata={"characters": [20 * n, 20 * n + 9], "section": [0, stages.passages - 1]},
        )
        for n in range(1, stages.passages + 1)
    ]
    stages.stored = parts

    async def retrieve(request: object) -> list[Candidate]:
        return [Candidate(part, Scores(fused=1.0)) for part in parts]

    stages.retrieve = retrieve  # type: ignore[method-assign]


async def test_an_article_that_was_cut_is_one_source() -> None:
    stages = Stages(passages=4)
    article_in_parts(stages)
    async with aclosing(stages.pipeline().answer(query())) as messages:
        sources = await anext(messages)
    assert isinstance(sources, Sources)
    assert [source.text for source in sources.sources] == ["\n\n".join(f"Stavak {n}." for n in range(1, 5))]
    assert len((await stages.pipeline().search(query())).candidates) == 3, "a search finds passages"


async def test_a_whole_article_has_no_passage_that_the_filter_excludes() -> None:
    stages = Stages(passages=4)
    article_in_parts(stages)
    stages.stored = [
        replace(part, metadata={**part.metadata, "page": 1 + part.position // 3}) for part in stages.stored
    ]
    for filter, texts in (("metadata.page == 1", 3), ("metadata.page <= 2", 1)):
        scope = Scope("t", filter=parse(filter))
        async with aclosing(stages.pipeline().answer(query(scope=scope))) as messages:
            sources = await anext(messages)
        assert isinstance(sources, Sources)
        assert len(sources.sources) == texts
        assert ("Stavak 4." in "".join(source.text for source in sources.sources)) is (texts == 1)


@pytest.mark.parametrize(
    ("changes", "config"),
    [
        ({"failures": {"read": StageUnavailable("retrieval is down")}}, {}),
        ({"delays": {"read": 30.0}}, {"sections_s": 0.05}),
    ],
)
async def test_an_article_that_cannot_be_read_stays_in_parts_and_the_answer_says_so(
    changes: dict[str, Any], config: dict[str, Any]
) -> None:
    stages = Stages(passages=4, **changes)
    article_in_parts(stages)
    async with aclosing(stages.pipeline(config=QueryConfig.model_validate(config)).answer(query())) as answer:
        sources, *_, complete = [message async for message in answer]
    assert isinstance(sources, Sources)
    assert [source.text for source in sources.sources] == ["Stavak 1.", "Stavak 2.", "Stavak 3."]
    assert isinstance(complete, Complete)
    assert complete.degraded == ("sections",)


async def test_a_prompt_begins_as_the_one_before_and_its_numbers_are_those_of_the_sources() -> None:
    stages = Stages(answer=["Rok je 15 dana. [2]", " A žalba 8. [3]"])
    pipeline = stages.pipeline(prefixes=PromptPrefixCache(PromptConfig()))

    async def ask(*ranked: int, **changes: Any) -> tuple[list[str], list[tuple[str, ...]]]:
        async def retrieve(request: object) -> list[Candidate]:
            return [Candidate(passage(n), Scores(fused=1 / at)) for at, n in enumerate(ranked, 1)]

        stages.retrieve = retrieve  # type: ignore[method-assign]
        async with aclosing(pipeline.answer(query(**changes))) as answer:
            sources, *rest = [message async for message in answer]
        assert isinstance(sources, Sources)
        return [s.id for s in sources.sources], [m.sources for m in rest if isinstance(m, Citation)]

    assert await ask(1, 2, 3) == (["p1", "p2", "p3"], [("p2",), ("p3",)])
    assert await ask(1, 4, 2, 9) == (["p1", "p2", "p4"], [("p2",), ("p4",)])
    assert await ask(1, 4, 2, language="en") == (["p1", "p4", "p2"], [("p4",), ("p2",)])
    assert await ask(1, 4, 2, scope=Scope("other")) == (["p1", "p4", "p2"], [("p4",), ("p2",)])
    assert await ask(1, 4, 2, model="adapter") == (["p1", "p4", "p2"], [("p4",), ("p2",)])
    first, second = (request.messages for request in stages.requests[:2])
    assert first[0] == second[0]
    assert second[1].content.startswith(first[1].content.partition('<passage number="3"')[0])
    assert [p.id for p in stages.requests[1].passages] == ["p1", "p2", "p4"]


async def test_sources_keep_their_own_scores_in_another_order() -> None:
    stages, known = Stages(passages=3), PromptPrefixCache(PromptConfig())
    known.arrange("t", ("", system_part("hr")), [passage(1), passage(3)])
    async with aclosing(stages.pipeline(prefixes=known).answer(query())) as answer:
        sources = await anext(answer)
    assert isinstance(sources, Sources)
    assert [(s.id, s.score) for s in sources.sources] == [("p1", 1), ("p3", 1 / 3), ("p2", 1 / 2)]


async def test_a_question_larger_than_the_context_is_refused() -> None:
    stages = Stages(tokens_per_text=1000)
    with pytest.raises(PromptTooLong, match="query"):
        async with aclosing(stages.pipeline(context_tokens=500).answer(query())) as messages:
            await anext(messages)


async def test_search_reranks_and_cuts_to_top_k() -> None:
    found = await Stages().pipeline().search(query(top_k=2))
    assert [c.passage.id for c in found.candidates] == ["p1", "p2"]
    assert set(found.timings) == {"embedding", "retrieval", "reranking"}


async def test_an_unexpected_error_of_one_half_cancels_the_other() -> None:
    stages = Stages(delays={"lexical": 30}, failures={"embedding": RagError("x")})
    with pytest.raises(RagError):
        await asyncio.wait_for(stages.pipeline().search(query()), 20)  # sooner than the other half would end


async def test_a_question_s_history_and_sampling_reach_the_engine() -> None:
    stages = Stages()
    turns = (ChatMessage("user", "Bok!"), ChatMessage("assistant", "Dobar dan."))
    sampling = {"stop": ("\n",), "top_p": 0.5, "presence_penalty": 1.0, "frequency_penalty": -1.0, "seed": 7}
    await collect(stages, history=turns, **sampling)
    (request,) = stages.requests
    assert request.messages[1:3] == turns
    assert {name: getattr(request, name) for name in sampling} == sampling


CONVERSATION = (ChatMessage("system", "Be brief."), ChatMessage("user", "Koji je rok? [1]"))


async def test_a_chat_is_the_model_s_answer_to_the_messages_as_they_are() -> None:
    stages = Stages()
    async with aclosing(stages.pipeline().chat(query(), CONVERSATION)) as messages:
        said = [message async for message in messages]
    assert [type(message) for message in said] == [Chunk, Chunk, Complete]
    assert stages.asked == ["generation"]
    assert (stages.requests[0].messages, stages.requests[0].passages) == (CONVERSATION, ())
    assert stages.aborted == []


@pytest.mark.parametrize("after", [1, 2])
async def test_a_reader_that_leaves_aborts_a_chat(after: int) -> None:
    stages = Stages(answer=["a "] * 100)
    answer = stages.pipeline().chat(query(), CONVERSATION)
    for _ in range(after):
        await anext(answer)
    await answer.aclose()
    assert (stages.aborted, stages.streams_closed) == ([("t", "0" * 32)], 1)


async def test_a_reader_that_leaves_at_the_end_aborts_nothing() -> None:
    stages = Stages()
    for answer in (stages.pipeline().chat(query(), CONVERSATION), stages.pipeline().answer(query())):
        while not isinstance(await anext(answer), Complete):
            pass
        await answer.aclose()
    assert stages.aborted == []


PLAIN, RESTORED, WRITTEN = "Koji je rok za zalbu?", "Koji je rok za žalbu?", "Rok za žalbu je 15 dana."


async def test_a_question_without_diacritics_is_searched_for_again_as_the_passages_write_it() -> None:
    stages = Stages(texts=[WRITTEN])
    await stages.pipeline().search(query(PLAIN))
    assert stages.questions == [PLAIN, RESTORED]
    assert len(stages.retrievals) == 2
    assert stages.retrievals[0].lexical == stages.retrievals[1].lexical


@pytest.mark.parametrize(
    ("text", "language", "languages", "written"),
    [
        (RESTORED, "hr", (), WRITTEN),
        (PLAIN, "hr", (), "Tekst."),
        (PLAIN, "hr", ("en",), WRITTEN),
        (PLAIN, "en", (), WRITTEN),
    ],
)
async def test_other_questions_are_searched_for_once(
    text: str, language: str, languages: tuple[str, ...], written: str
) -> None:
    stages = Stages(texts=[written], languages=languages)
    await stages.pipeline().search(query(text, language=language))
    assert stages.questions == [text]
    assert len(stages.retrievals) == 1


async def test_where_the_second_embedding_fails_the_first_search_stands() -> None:
    stages = Stages(texts=[WRITTEN])
    pipeline = stages.pipeline()
    embed_query = stages.embed_query

    async def fails_at_the_second(text: str) -> object:
        if stages.questions:
            raise StageUnavailable("gone")
        return await embed_query(text)

    stages.embed_query = fails_at_the_second  # type: ignore[method-assign, assignment]
    found = await pipeline.search(query(PLAIN))
    assert found.degraded == ("embedding",)
    assert len(found.candidates) == 3
    assert len(stages.retrievals) == 1


GROUNDED = ("Tekst odlomka prvog. [1] ", "Rok je 90 dana [2]. ", "Sve ostalo određuje ministar svojim pravilnikom.")


async def checked(unsupported: str, answer: Sequence[str] = GROUNDED, **settings: object) -> list[AnswerEvent]:
    stages = Stages(answer=answer, texts=("Tekst odlomka prvog.", "Rok je 15 dana."))
    config = QueryConfig.model_validate({"unsupported": unsupported, **settings})
    async with aclosing(stages.pipeline(config=config).answer(query())) as messages:
        return [message async for message in messages]


async def test_each_statement_is_supported_unsupported_or_uncited() -> None:
    messages = await checked("mark")
    answer = "".join(message.content for message in messages if isinstance(message, Chunk))
    citations = [message for message in messages if isinstance(message, Citation)]
    assert [(each.sources, each.status, answer[each.start : each.end]) for each in citations] == [
        (("p1",), "supported", "Tekst odlomka prvog."),
        (("p2",), "unsupported", "Rok je 90 dana"),
        ((), "uncited", "Sve ostalo određuje ministar svojim pravilnikom."),
    ]
    complete = messages[-1]
    assert isinstance(complete, Complete)
    assert complete.grounding == Grounding(supported=1, unsupported=1, uncited=1, unchecked=0, share=0.333)
    assert (complete.finish_reason, answer) == ("stop", "".join(GROUNDED))


async def test_what_is_kept_is_not_checked() -> None:
    messages = await checked("keep")
    citations = [message for message in messages if isinstance(message, Citation)]
    assert [(each.sources, each.status) for each in citations] == [(("p1",), None), (("p2",), None)]
    complete = messages[-1]
    assert isinstance(complete, Complete)
    assert complete.grounding is None


async def test_an_answer_with_too_little_support_is_refused_before_any_of_it_is_sent() -> None:
    sources, chunk, complete = await checked("refuse")
    assert isinstance(sources, Sources)
    assert len(sources.sources) == 3
    assert chunk == Chunk("0" * 32, WITHHELD["hr"])
    assert isinstance(complete, Complete)
    assert complete.finish_reason == "no_answer"
    assert complete.grounding is not None
    assert (complete.grounding.share, complete.grounding.unsupported) == (0.333, 1)


@pytest.mark.parametrize("answer", [GROUNDED, ("Odlomci ne sadrže odgovor.",)])
async def test_an_answer_with_enough_support_or_without_statements_is_sent_whole(answer: Sequence[str]) -> None:
    messages = await checked("refuse", answer, supported_from=0.3)
    text = "".join(message.content for message in messages if isinstance(message, Chunk))
    complete = messages[-1]
    assert isinstance(complete, Complete)
    assert (text, complete.finish_reason) == ("".join(answer), "stop")
    assert "first_token" in complete.timings


async def test_the_check_leaves_the_loop_free(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AnswerCheck, "_judge", lambda *_: time.sleep(0.2))
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.create_task(tick())
    await checked("mark")
    ticking.cancel()
    assert ticks >= 10


async def test_a_raw_model_s_answer_has_nothing_to_be_checked_by() -> None:
    async with aclosing(Stages().pipeline().chat(query(), [ChatMessage("user", "Bok")])) as messages:
        *_, complete = [message async for message in messages]
    assert isinstance(complete, Complete)
    assert complete.grounding is None
