"""Generation's handle on a stage in this process, which stands for a replica behind Serve."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Generator
from contextlib import aclosing
from typing import Any

import pytest
from ray.exceptions import RayTaskError

from deployments.errors import InvalidRequest, RagError
from deployments.generation.channel import Address
from deployments.generation.config import GenerationConfig
from deployments.generation.deployment import Generation
from deployments.reranking.config import RerankingConfig
from deployments.telemetry.metrics import CALL_SECONDS
from deployments.types import Candidate, GenerationLoad, GenerationRequest, Scores
from serve_app import handles
from serve_app.handles import GenerationHandle, RerankingHandle, translate
from tests.support.pipeline import passage
from tests.support.recorder import RecordedMetrics
from tests.support.waiting import BOUND_S, until

QUERY = ("t", "q")
WORDS = "jedan dva tri četiri pet šest sedam osam devet deset"
REQUEST = GenerationRequest("q", "t", "hr", WORDS, (), (), max_tokens=100)


class Call:
    """What Serve gives for a call."""

    def __init__(self, task: asyncio.Task[None]) -> None:
        self.task = task
        self.cancelled = False

    def __await__(self) -> Generator[Any, None, None]:
        return self.task.__await__()

    def cancel(self) -> None:
        self.cancelled = True
        self.task.cancel()


class Serve:
    """A deployment's handle, and that of its method `send`: one replica, the calls to it and what all were told."""

    def __init__(self, word_ms: float) -> None:
        self.stage = Generation(GenerationConfig(engine="fake", fake_delay_ms=word_ms))
        self.send = self
        self.calls: list[Call] = []
        self.broadcasts: list[tuple[str, ...]] = []

    def remote(self, request: GenerationRequest, to: Address) -> Call:
        self.calls.append(Call(asyncio.create_task(self.stage.send(request, to))))
        return self.calls[-1]

    def broadcast(self, *what: str) -> Serve:
        self.broadcasts.append(what)
        return self

    async def results_async(self, *, return_exceptions: bool) -> list[bool]:
        return [await self.stage.abort(*QUERY)]

    async def reaches(self, load: GenerationLoad) -> None:
        async with asyncio.timeout(BOUND_S):
            while await self.stage.load() != load:  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0.005)

    async def emptied(self) -> None:
        await self.reaches(GenerationLoad(0, 0))
        await asyncio.wait({self.calls[-1].task}, timeout=BOUND_S)


@pytest.fixture
async def serve(request: pytest.FixtureRequest) -> AsyncIterator[Serve]:
    """Its parameter is the milliseconds that a word takes."""
    serve = Serve(word_ms=getattr(request, "param", 200))
    yield serve
    serve.stage._outbox.close()
    await until(lambda: not serve.stage._outbox._listeners)


@pytest.fixture
async def handle(serve: Serve) -> AsyncIterator[GenerationHandle]:
    handle: GenerationHandle = GenerationHandle(serve, "127.0.0.1")
    yield handle
    handle._inbox.close()
    await until(lambda: not handle._inbox._connections)


async def test_a_replica_that_sends_is_told_on_the_answer_s_connection_alone(
    serve: Serve, handle: GenerationHandle
) -> None:
    async with aclosing(handle.generate(REQUEST)) as answer:
        assert (await anext(answer)).text == "jedan"
    handle.abort(*QUERY)  # as the pipeline does after every answer that did not end by itself
    await serve.emptied()
    assert (serve.broadcasts, serve.calls[0].cancelled) == ([], False)
    await until(lambda: not handle._aborted)  # what was told is forgotten with its call
    handle.abort(*QUERY)
    await until(lambda: serve.broadcasts == [("abort", *QUERY)])


@pytest.mark.parametrize("serve", [3_600_000], indirect=True)
async def test_before_the_first_piece_all_replicas_are_told(serve: Serve, handle: GenerationHandle) -> None:
    answer = handle.generate(REQUEST)
    first = asyncio.ensure_future(anext(answer))
    await serve.reaches(GenerationLoad(1, 0))
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    handle.abort(*QUERY)
    await serve.emptied()
    assert (serve.broadcasts, serve.calls[0].cancelled) == ([("abort", *QUERY)], True)


async def test_a_query_that_somebody_reads_is_ended_by_its_id(serve: Serve, handle: GenerationHandle) -> None:
    async with aclosing(handle.generate(REQUEST)) as answer:
        assert (await anext(answer)).text == "jedan"
        handle.abort(*QUERY)
        assert [delta.finish_reason async for delta in answer][-1] == "cancelled"
    await serve.emptied()
    assert not serve.calls[0].cancelled


class Broken:
    """A handle whose calls end in an error that neither Ray nor a stage raises."""

    def __init__(self) -> None:
        self.send = self

    def remote(self, request: GenerationRequest, to: Address) -> Call:
        async def fail() -> None:
            raise ConnectionResetError("10.0.0.7: reset")

        return Call(asyncio.create_task(fail()))


async def test_adapters_are_asked_for_by_the_id_that_ray_finds_their_folder_by() -> None:
    class Options:
        def __init__(self) -> None:
            self.asked: list[str] = []

        def options(self, *, multiplexed_model_id: str) -> Options:
            self.asked.append(multiplexed_model_id)
            return self

    handle = Options()
    GenerationHandle(handle, "127.0.0.1", adapters=("legal",))
    assert handle.asked == ["lora:legal"]


async def test_any_error_of_its_call_ends_an_answer() -> None:
    handle: GenerationHandle = GenerationHandle(Broken(), "127.0.0.1")
    answer = handle.generate(REQUEST)
    async with asyncio.timeout(10):
        with pytest.raises(RagError, match="generation failed unexpectedly") as told:
            await anext(answer)
    assert "10.0.0.7" not in str(told.value)
    handle._inbox.close()


def test_a_replica_s_error_arrives_with_its_field() -> None:
    raised = InvalidRequest("messages do not fit the chat template", field="messages")
    remote = RayTaskError("send", "a traceback", raised).as_instanceof_cause()
    arrived = translate("generation", remote)
    assert type(arrived) is InvalidRequest
    assert (arrived.message, arrived.field) == (raised.message, "messages")


async def test_a_reranker_without_weight_is_not_called() -> None:
    class Handle:
        def __getattr__(self, name: str) -> object:
            raise AssertionError(f"{name} is called")

    handle = RerankingHandle(Handle(), RerankingConfig(languages=("en",), weight=0.3, weight_other=0.0))
    candidates = [Candidate(passage(1), Scores(fused=0.5))]
    assert await handle.rerank("Koji je rok?", "hr", candidates) == candidates
    with pytest.raises(AssertionError, match="rerank is called"):
        await handle.rerank("What is the deadline?", "en", candidates)


async def test_calls_are_timed_as_their_callers_see_them(
    serve: Serve, handle: GenerationHandle, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = RecordedMetrics()
    monkeypatch.setattr(handles, "RECORDER", recorder)

    async def response() -> str:
        await asyncio.sleep(0.01)
        return "found"

    assert await handles.call("retrieval", response(), "search") == "found"
    assert await handles.call("retrieval", response()) == "found"  # the replica does not record it either
    async with aclosing(handle.generate(REQUEST)) as answer:
        for _ in range(2):
            await anext(answer)
    await serve.emptied()
    [(search, search_s), (first_text, first_text_s)] = recorder.of(CALL_SECONDS)
    assert search == {"stage": "retrieval", "work": "search"}
    assert search_s >= 0.008
    assert first_text == {"stage": "generation", "work": "first_text"}
    assert first_text_s >= 0.1


async def test_a_call_that_fails_is_not_timed(monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = RecordedMetrics()
    monkeypatch.setattr(handles, "RECORDER", recorder)

    async def response() -> None:
        raise InvalidRequest("no")

    with pytest.raises(InvalidRequest):
        await handles.call("retrieval", response(), "search")
    assert not recorder.values
