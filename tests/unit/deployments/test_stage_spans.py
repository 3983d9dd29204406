"""Spans in a stage's replica: of calls, of what calls share, and of vLLM's own times."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import pytest
from opentelemetry.trace import Span, SpanKind, StatusCode

from deployments.errors import StageUnavailable
from deployments.generation.engine_times import trace_engine_times
from deployments.inference.batching import Batcher
from deployments.inference.packing import PassLimits
from deployments.retrieval.coalescing import Coalescing
from deployments.telemetry import spans, tracing
from deployments.telemetry.stage_spans import brought, traced
from tests.support.traces import KeptSpans, kept_spans, span_id, trace_id
from tests.support.waiting import BOUND_S, until


@pytest.fixture
def kept() -> Iterator[KeptSpans]:
    with kept_spans() as made:
        yield made


def begin_root(name: str = "request") -> Span:
    return tracing.begin_trace(name, {})


class Stage:
    @traced(spans.SEARCH)
    async def search(self, question: str, *, fails: bool = False) -> str:
        await asyncio.sleep(0)
        with tracing.span(spans.QUEUE):
            if fails:
                raise StageUnavailable(f"secret {question}")
        return question


async def test_a_call_that_brings_a_trace_is_a_span_below_its_caller_s(kept: KeptSpans) -> None:
    with tracing.CurrentSpan(begin_root()):
        arguments: dict[str, Any] = dict(brought())
    assert await Stage().search("x", **arguments) == "x"
    call, root = kept.one(spans.SEARCH), kept.one("request")
    assert call.parent is not None
    assert (trace_id(call), call.parent.span_id, call.kind) == (trace_id(root), span_id(root), SpanKind.SERVER)
    assert kept.children(call) == [spans.QUEUE]


async def test_a_call_without_a_trace_is_none(kept: KeptSpans) -> None:
    assert brought() == {}
    untyped: Any = Stage().search
    await untyped("x")
    await untyped("x", trace={"traceparent": "nonsense"})
    await untyped("x", trace={"traceparent": f"00-{'1' * 32}-{'2' * 16}-00"})
    assert kept.all == []


async def test_a_call_that_fails_has_the_error_s_code_and_not_its_words(kept: KeptSpans) -> None:
    with tracing.CurrentSpan(begin_root()):
        arguments: dict[str, Any] = dict(brought())
    with pytest.raises(StageUnavailable):
        await Stage().search("words", fails=True, **arguments)
    call = kept.one(spans.SEARCH)
    assert (call.status.status_code, (call.attributes or {})["error.type"]) == (StatusCode.ERROR, "stage_unavailable")
    assert "words" not in "".join(span.to_json() for span in kept.all)


@dataclass(frozen=True)
class Text:
    tokens: int
    fails: bool = False


class Gate:
    """Holds a model's passes back until it is opened."""

    def __init__(self) -> None:
        self.opened_ns = 0
        self._is_open = threading.Event()

    def open(self) -> None:
        self.opened_ns = time.time_ns()
        self._is_open.set()

    def wait(self) -> None:
        assert self._is_open.wait(BOUND_S)


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def batcher(gate: Gate) -> Iterator[Batcher[Text, int]]:
    def forward(texts: list[Text]) -> list[int]:
        gate.wait()
        if any(text.fails for text in texts):
            raise RuntimeError("secret")
        return [text.tokens for text in texts]

    with ThreadPoolExecutor(1) as threads:
        yield Batcher("test", forward, threads, workers=1, limits=PassLimits(8, 1_000), max_waiting=100)


def linked(span: object) -> set[int]:
    return {link.context.span_id for link in span.links}  # type: ignore[attr-defined]


async def calls_of(batcher: Batcher[Text, int], gate: Gate, *texts: Sequence[Text]) -> list[object]:
    """The calls at once, each in a trace of its own, after one that keeps the worker busy until all of them wait."""

    async def call(name: str, given: Sequence[Text]) -> list[int]:
        with tracing.CurrentSpan(begin_root(name)):
            return await batcher.results(given)

    busy = asyncio.create_task(batcher.results([Text(1)]))
    await asyncio.sleep(0)
    tasks = [asyncio.create_task(call(f"call {number}", given)) for number, given in enumerate(texts)]
    await until(lambda: len(batcher) == sum(map(len, texts)))
    gate.open()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    await busy
    return list(results)


async def test_a_shared_pass_links_to_every_call(kept: KeptSpans, batcher: Batcher[Text, int], gate: Gate) -> None:
    assert await calls_of(batcher, gate, [Text(1)], [Text(2), Text(3)]) == [[1], [2, 3]]
    first, second, shared = kept.one("call 0"), kept.one("call 1"), kept.one(spans.PASS)
    assert linked(shared) == {span_id(first), span_id(second)}
    assert linked(first) == linked(second) == {span_id(shared)}
    assert shared.parent is not None
    assert shared.parent.span_id == span_id(first)
    assert ((shared.attributes or {})["rag.batch.size"], (shared.attributes or {})["rag.batch.calls"]) == (3, 2)
    for call in (first, second):
        [wait] = [span for span in kept.named(spans.QUEUE) if span.parent and span.parent.span_id == span_id(call)]
        assert (call.start_time or 0) <= (wait.start_time or 0) < (wait.end_time or 0) <= (shared.start_time or 0)
        assert (wait.start_time or 0) <= gate.opened_ns <= (wait.end_time or 0)


async def test_a_pass_that_fails_is_told_and_made_again_for_each_call(
    kept: KeptSpans, batcher: Batcher[Text, int], gate: Gate
) -> None:
    ended = await calls_of(batcher, gate, [Text(1)], [Text(2, fails=True)])
    assert ended[0] == [1]
    assert isinstance(ended[1], RuntimeError)
    passes = sorted(kept.named(spans.PASS), key=lambda span: span.start_time or 0)
    assert [span.status.status_code for span in passes] == [StatusCode.ERROR, StatusCode.UNSET, StatusCode.ERROR]
    assert "secret" not in "".join(span.to_json() for span in kept.all)


async def test_calls_outside_of_a_trace_make_no_span(kept: KeptSpans, batcher: Batcher[Text, int], gate: Gate) -> None:
    gate.open()
    await asyncio.gather(batcher.results([Text(1)]), batcher.results([Text(1)]))
    assert kept.all == []


@pytest.mark.parametrize("fails", [False, True])
async def test_a_shared_search_links_to_every_call(kept: KeptSpans, fails: bool) -> None:
    async def search(key: str, questions: Sequence[int]) -> list[int]:
        with tracing.span(spans.READ):
            if fails:
                raise StageUnavailable("away")
            return [-question for question in questions]

    together = Coalescing(search, max_questions=8, max_calls=1)

    async def ask(question: int) -> int:
        with tracing.CurrentSpan(begin_root(f"call {question}")):
            return await together.ask("key", question)

    answers = await asyncio.gather(ask(1), ask(2), return_exceptions=True)
    assert fails or list(answers) == [-1, -2]
    shared, calls = kept.one(spans.INDEX_CALL), [kept.one("call 1"), kept.one("call 2")]
    assert linked(shared) == {span_id(call) for call in calls}
    assert all(linked(call) == {span_id(shared)} for call in calls)
    assert (shared.status.status_code is StatusCode.ERROR) == fails
    assert kept.children(shared) == [spans.READ]


@dataclass
class Times:
    queued_ts: float
    scheduled_ts: float
    first_token_ts: float
    last_token_ts: float


def test_vllm_s_own_times_become_spans(kept: KeptSpans) -> None:
    before = time.time()
    now = time.monotonic()
    with tracing.CurrentSpan(begin_root()):
        trace_engine_times(Times(now - 1.0, now - 0.7, now - 0.5, now - 0.1))
        trace_engine_times(None)
    after = time.time()
    root = kept.one("request")
    assert kept.children(root) == [spans.QUEUE, spans.PREFILL, spans.DECODE]
    took = [((span.end_time or 0) - (span.start_time or 0)) / 1e9 for span in map(kept.one, kept.children(root))]
    assert took == pytest.approx([0.3, 0.2, 0.4], abs=0.001)
    # Two clocks are read one after the other, and between that this process may have had no core.
    slack = after - before + 0.001
    assert before - slack <= (kept.one(spans.DECODE).end_time or 0) / 1e9 + 0.1 <= after + slack


def test_what_vllm_did_not_reach_has_no_span(kept: KeptSpans) -> None:
    now = time.monotonic()
    with tracing.CurrentSpan(begin_root()):
        trace_engine_times(Times(now - 1.0, now - 0.5, 0.0, 0.0))
    assert kept.children(kept.one("request")) == [spans.QUEUE]


def test_without_a_trace_vllm_s_times_are_none(kept: KeptSpans) -> None:
    now = time.monotonic()
    trace_engine_times(Times(now - 1.0, now - 0.7, now - 0.5, now - 0.1))
    assert kept.all == []
