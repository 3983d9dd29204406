from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

import pytest

from deployments.retrieval.coalescing import Coalescing
from deployments.stage_times import StageTimes
from deployments.telemetry.metrics import QUEUE_SECONDS, SHARED_CALLS
from tests.support.recorder import RecordedMetrics


class Store:
    """Answers `key:question` when told to go on, and keeps what each call held. Fails a call that holds `bad`."""

    def __init__(self, *, max_questions: int = 32, max_calls: int = 1) -> None:
        self.calls: list[tuple[str, list[str]]] = []
        self.coalescing: Coalescing[str, str, str] = Coalescing(
            self._call, max_questions=max_questions, max_calls=max_calls
        )
        self._under_way: list[asyncio.Event] = []

    async def _call(self, key: str, questions: Sequence[str]) -> list[str]:
        self.calls.append((key, list(questions)))
        self._under_way.append(end := asyncio.Event())
        await end.wait()
        if "bad" in questions:
            raise ValueError("bad")
        return [f"{key}:{question}" for question in questions]

    async def ask(self, key: str, *questions: str) -> list[asyncio.Task[str]]:
        """Asked, and out if nothing holds them."""
        tasks = [asyncio.create_task(self.coalescing.ask(key, question)) for question in questions]
        await settle()
        return tasks

    async def end(self) -> None:
        """The oldest call under way."""
        self._under_way.pop(0).set()
        await settle()


async def settle() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def answers(tasks: Sequence[asyncio.Task[str]]) -> list[str]:
    return await asyncio.wait_for(asyncio.gather(*tasks), 60)


async def test_a_lone_question_goes_out_at_once() -> None:
    store = Store()
    asked = await store.ask("a", "1")
    assert store.calls == [("a", ["1"])]
    await store.end()
    assert await answers(asked) == ["a:1"]


async def test_what_comes_during_a_call_goes_out_together_after_it() -> None:
    store = Store()
    asked = await store.ask("a", "1")
    asked += await store.ask("a", "2")
    asked += await store.ask("a", "3")
    assert store.calls == [("a", ["1"])]
    await store.end()
    assert store.calls[1:] == [("a", ["2", "3"])]
    await store.end()
    assert await answers(asked) == ["a:1", "a:2", "a:3"]


async def test_keys_never_share_a_call() -> None:
    store = Store()
    asked = await store.ask("a", "1")
    asked += [*await store.ask("b", "2"), *await store.ask("a", "3"), *await store.ask("b", "4")]
    for _ in range(3):
        await store.end()
    assert store.calls == [("a", ["1"]), ("b", ["2", "4"]), ("a", ["3"])]
    assert await answers(asked) == ["a:1", "b:2", "a:3", "b:4"]


async def test_a_call_holds_no_more_than_max_questions_and_keys_take_turns() -> None:
    store = Store(max_questions=2)
    await store.ask("a", "1", "2", "3", "4", "5")
    await store.ask("b", "6")
    for _ in range(3):
        await store.end()
    assert store.calls == [("a", ["1", "2"]), ("a", ["3", "4"]), ("b", ["6"]), ("a", ["5"])]


@pytest.mark.parametrize("max_calls", [1, 2, 3])
async def test_as_many_calls_as_allowed_are_under_way(max_calls: int) -> None:
    store = Store(max_calls=max_calls)
    for key in "abcd":
        await store.ask(key, "1")
    assert len(store.calls) == max_calls


async def test_who_is_cancelled_while_waiting_is_left_out() -> None:
    store = Store()
    first = await store.ask("a", "1")
    gone, stays = await store.ask("a", "2", "3")
    (alone,) = await store.ask("b", "4")
    gone.cancel()
    alone.cancel()
    await store.end()
    assert store.calls[1:] == [("a", ["3"])]
    await store.end()
    assert await answers([*first, stays]) == ["a:1", "a:3"]
    assert len(store.calls) == 2


async def test_who_is_cancelled_during_a_call_takes_no_answer_from_the_others() -> None:
    store = Store()
    gone, stays = await store.ask("a", "1", "2")
    gone.cancel()
    await store.end()
    assert await answers([stays]) == ["a:2"]


async def test_a_failed_call_fails_only_those_in_it() -> None:
    store = Store()
    failing = await store.ask("a", "bad", "1")
    after = await store.ask("a", "2")
    await store.end()
    await store.end()
    assert [repr(task.exception()) for task in failing] == ["ValueError('bad')"] * 2
    assert await answers(after) == ["a:2"]


async def test_too_few_answers_are_an_error() -> None:
    async def forgetful(key: str, questions: Sequence[str]) -> list[str]:
        return []

    coalescing: Coalescing[str, str, str] = Coalescing(forgetful, max_questions=1, max_calls=1)
    with pytest.raises(ValueError, match="zip"):
        await coalescing.ask("a", "1")


async def test_what_a_question_waited_and_whether_it_shared_its_call_is_recorded() -> None:
    store, recorder = Store(), RecordedMetrics()
    times = StageTimes("retrieval", recorder)

    async def search(question: str) -> str:
        with times.call("search"):
            return await store.coalescing.ask("a", question)

    asked, began = [], time.perf_counter()
    for question in ("1", "2", "3"):
        asked.append(asyncio.create_task(search(question)))
        await settle()
    asking_s = time.perf_counter() - began
    await asyncio.sleep(asking_s + 0.02)
    await store.end()
    await store.end()
    await answers(asked)
    waits = [seconds for _, seconds in recorder.of(QUEUE_SECONDS)]
    assert waits[0] <= asking_s < min(waits[1:])
    assert recorder.of(SHARED_CALLS) == [({"stage": "retrieval", "work": "search"}, 1)] * 2
