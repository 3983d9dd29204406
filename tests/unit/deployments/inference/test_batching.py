from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from deployments.errors import Overloaded
from deployments.inference.batching import Batcher
from deployments.inference.packing import PassLimits
from deployments.stage_times import StageTimes
from deployments.telemetry.metrics import BATCH_FILL, QUEUE_SECONDS, SERVICE_SECONDS, SHARED_CALLS
from tests.support.recorder import RecordedMetrics
from tests.support.waiting import BOUND_S, until


@dataclass(frozen=True)
class Word:
    text: str

    @property
    def tokens(self) -> int:
        return len(self.text)


class Model:
    """Says words backwards, fails at "poison", and waits before each pass until it may go."""

    def __init__(self) -> None:
        self.passes: list[list[str]] = []
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        self.entered = threading.Semaphore(0)
        self.may_go = threading.Event()
        self.may_go.set()

    def forward(self, words: Sequence[Word]) -> Iterator[str]:
        with self._lock:
            self.passes.append([word.text for word in words])
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        self.entered.release()
        assert self.may_go.wait(30)
        with self._lock:
            self._at_once -= 1
        if any(word.text == "poison" for word in words):
            raise ValueError("poison")
        return (word.text[::-1] for word in words)


@pytest.fixture
def model() -> Model:
    return Model()


def batcher_of(model: Model, *, workers: int = 1, items: int = 4, max_waiting: int = 9) -> Batcher[Word, str]:
    threads = ThreadPoolExecutor(workers + 1)  # one more, so that not the threads bound the passes
    limits = PassLimits(items, 1_000)
    return Batcher("words", model.forward, threads, workers=workers, limits=limits, max_waiting=max_waiting)


def words(*texts: str) -> list[Word]:
    return [Word(text) for text in texts]


async def until_waiting(batcher: Batcher[Word, str], count: int) -> None:
    await until(lambda: len(batcher) == count)


async def test_results_are_in_the_order_of_the_items_whatever_the_passes(model: Model) -> None:
    found = await batcher_of(model, items=2).results(words("a" * 90, "bc", "d" * 80, "ef", "gh"))
    assert found == ["a" * 90, "cb", "d" * 80, "fe", "hg"]
    assert model.passes == [["d" * 80, "a" * 90], ["bc", "ef"], ["gh"]]


async def test_an_idle_model_begins_at_once_and_what_comes_meanwhile_shares_the_next_pass(model: Model) -> None:
    batcher = batcher_of(model)
    model.may_go.clear()
    calls = [asyncio.create_task(batcher.results(words("one")))]
    await asyncio.to_thread(model.entered.acquire)
    calls += [asyncio.create_task(batcher.results(words(text))) for text in ("two", "three")]
    await until_waiting(batcher, 2)
    model.may_go.set()
    assert await asyncio.gather(*calls) == [["eno"], ["owt"], ["eerht"]]
    assert model.passes == [["one"], ["two", "three"]]


async def test_as_many_passes_run_at_once_as_there_are_workers_and_share_the_work(model: Model) -> None:
    batcher = batcher_of(model, workers=2, items=9)
    model.may_go.clear()
    call = asyncio.create_task(batcher.results(words(*"abcdef")))
    for _ in range(2):
        await asyncio.to_thread(model.entered.acquire)
    model.may_go.set()
    assert await call == [*"abcdef"]
    assert model.most_at_once == 2
    assert sorted(len(batch) for batch in model.passes) == [3, 3]


async def test_a_failed_pass_fails_only_the_call_whose_item_it_was(model: Model) -> None:
    batcher = batcher_of(model)
    model.may_go.clear()
    first = asyncio.create_task(batcher.results(words("first")))
    await asyncio.to_thread(model.entered.acquire)
    good, bad = (asyncio.create_task(batcher.results(words(text, "word"))) for text in ("good", "poison"))
    await until_waiting(batcher, 4)
    model.may_go.set()
    assert await first == ["tsrif"]
    assert await good == ["doog", "drow"]
    with pytest.raises(ValueError, match="poison"):
        await bad
    assert batcher.failed == (model.passes[-1][-1] == "poison")
    await batcher.results(words("next"))
    assert not batcher.failed


async def test_what_a_call_that_is_gone_had_waiting_is_not_computed(model: Model) -> None:
    batcher = batcher_of(model, items=2)
    model.may_go.clear()
    gone = asyncio.create_task(batcher.results(words(*"abcd")))
    await asyncio.to_thread(model.entered.acquire)
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    assert len(batcher) == 0
    model.may_go.set()
    assert await batcher.results(words("e")) == ["e"]
    assert model.passes == [["a", "b"], ["e"]]


async def test_a_call_that_finds_too_many_waiting_is_refused(model: Model) -> None:
    batcher = batcher_of(model, items=1, max_waiting=1)
    model.may_go.clear()
    call = asyncio.create_task(batcher.results(words(*"abc")))
    await asyncio.to_thread(model.entered.acquire)
    with pytest.raises(Overloaded, match="words has 2 texts waiting"):
        await batcher.results(words("d"))
    model.may_go.set()
    assert await call == [*"abc"]
    assert await batcher.results(words("d")) == ["d"]


async def test_nothing_asked_is_nothing_computed(model: Model) -> None:
    assert await batcher_of(model).results([]) == []
    assert model.passes == []


async def test_what_comes_as_a_worker_ends_is_not_forgotten(model: Model) -> None:
    batcher = batcher_of(model)
    for _ in range(200):
        async with asyncio.timeout(BOUND_S):
            await batcher.results(words("one"))


async def test_what_a_call_waited_for_and_shared_is_recorded(model: Model) -> None:
    recorder = RecordedMetrics()
    limits = PassLimits(4, 1_000)
    batcher = Batcher[Word, str](
        "words",
        model.forward,
        ThreadPoolExecutor(2),
        workers=1,
        limits=limits,
        max_waiting=9,
        work="w",
        recorder=recorder,
    )
    times = StageTimes("words", recorder)

    async def call(*texts: str) -> None:
        with times.call("w"):
            await batcher.results(words(*texts))

    model.may_go.clear()
    began = time.perf_counter()
    calls = [asyncio.create_task(call("one"))]
    await until(lambda: len(model.passes) == 1)
    first_s = time.perf_counter() - began
    calls += [asyncio.create_task(call("two")), asyncio.create_task(call("six", "ten"))]
    await until_waiting(batcher, 3)
    await asyncio.sleep(first_s + 0.02)
    model.may_go.set()
    await asyncio.gather(*calls)
    assert [fill for _, fill in recorder.of(BATCH_FILL)] == [0.25, 0.75]
    waits = [seconds for _, seconds in recorder.of(QUEUE_SECONDS)]
    assert waits[0] <= first_s < min(waits[1:])
    assert len(recorder.of(SERVICE_SECONDS)) == 3
    assert recorder.of(SERVICE_SECONDS)[0][1] >= 0.02  # the first one held the model
    assert recorder.of(SHARED_CALLS) == [({"stage": "words", "work": "w"}, 1)] * 2
