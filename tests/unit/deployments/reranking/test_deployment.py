from __future__ import annotations

import asyncio
import threading
from collections.abc import Sequence
from dataclasses import replace

import pytest

from deployments.errors import InvalidRequest, Overloaded, StageUnavailable
from deployments.reranking import deployment
from deployments.reranking.config import RerankingConfig
from deployments.reranking.deployment import Reranking
from deployments.reranking.fake import FakeReranker, Pair
from deployments.types import Candidate, Passage, Scores, StageStatus
from tests.support.waiting import until


class Watched(FakeReranker):
    """Records what it is asked, on which thread; can be made to wait or to fail."""

    def __init__(self, config: RerankingConfig) -> None:
        super().__init__(config)
        self.calls: list[list[str]] = []
        self.threads: set[threading.Thread] = set()
        self.entered = threading.Semaphore(0)
        self.may_go = threading.Event()
        self.may_go.set()
        self.failure: Exception | None = None

    def forward(self, items: Sequence[Pair]) -> list[float]:
        self.calls.append([pair.text for pair in items])
        self.threads.add(threading.current_thread())
        self.entered.release()
        assert self.may_go.wait(30)
        if self.failure:
            raise self.failure
        return super().forward(items)


@pytest.fixture
def config() -> RerankingConfig:
    return RerankingConfig(
        backend="fake", batch_size=2, max_candidates=3, weight=0.5, weight_other=0.0, languages=("en",),
        max_query_characters=30, max_text_characters=30,
    )  # fmt: skip


@pytest.fixture
def watched(config: RerankingConfig, monkeypatch: pytest.MonkeyPatch) -> Watched:
    reranker = Watched(config)
    monkeypatch.setattr(deployment, "create", lambda _: reranker)
    return reranker


@pytest.fixture
def reranking(config: RerankingConfig, watched: Watched) -> Reranking:
    stage = Reranking(config)
    assert watched.calls == [["warm up"]]
    watched.calls.clear()
    watched.threads.clear()
    watched.entered = threading.Semaphore(0)
    return stage


def candidate(text: str, fused: float = 0.5, title: str = "") -> Candidate:
    return Candidate(Passage(text, "d", "1", "t", "", "c", "en", 0, title, text), Scores(fused=fused))


def ids(candidates: Sequence[Candidate]) -> list[str]:
    return [reranked.passage.id for reranked in candidates]


async def test_the_first_are_reordered_and_the_rest_stay_behind(reranking: Reranking) -> None:
    given = [candidate("dog"), candidate("a rok"), candidate("rok za"), candidate("rok za žalbu"), candidate("rok")]
    found = await reranking.rerank("rok za žalbu", "en", given)
    assert ids(found) == ["rok za", "a rok", "dog", "rok za žalbu", "rok"]
    assert [reranked.scores.rerank for reranked in found] == [
        pytest.approx(0.5 * 2 / 3 + 0.25),
        pytest.approx(0.5 * 1 / 3 + 0.25),
        pytest.approx(0.25),
        None,
        None,
    ]
    assert given[0].scores.rerank is None, "candidates are never changed in place"


async def test_texts_are_scored_in_batches_of_like_length(reranking: Reranking, watched: Watched) -> None:
    await reranking.rerank("dog", "en", [candidate("a long text about it"), candidate("dog"), candidate("a dog")])
    assert watched.calls == [["a dog", "a long text about it"], ["dog"]]


async def test_the_title_is_read_above_the_text(reranking: Reranking, watched: Watched) -> None:
    found = await reranking.rerank("appeal", "en", [candidate("ten days"), candidate("two days", title="Appeal")])
    assert ids(found) == ["two days", "ten days"]
    assert watched.calls == [["ten days", "Appeal\ntwo days"]]


@pytest.mark.parametrize(
    ("languages", "weight", "expected"),
    [
        (("en",), 1.0, ["a", "dog"]),
        (("hr", "en"), 1.0, ["dog", "a"]),
        ((), 1.0, ["dog", "a"]),
        (("hr",), 0.0, ["a", "dog"]),
    ],
)
async def test_the_weight_is_that_of_the_language(
    config: RerankingConfig, languages: tuple[str, ...], weight: float, expected: list[str]
) -> None:
    changed = config.model_copy(update={"languages": languages, "weight": weight})
    found = await Reranking(changed).rerank("dog", "hr", [candidate("a", 0.6), candidate("dog", 0.5)])
    assert ids(found) == expected


async def test_a_reranker_without_weight_reads_nothing(reranking: Reranking, watched: Watched) -> None:
    given = [candidate("a", 0.6), candidate("dog", 0.5)]
    assert await reranking.rerank("dog", "hr", given) == given
    assert watched.calls == []


async def test_nothing_to_rerank_is_fine(reranking: Reranking, watched: Watched) -> None:
    assert await reranking.rerank("a query", "en", []) == []
    assert watched.calls == []


@pytest.mark.parametrize(
    ("query", "text", "reason"),
    [
        ("q" * 31, "text", "query: 31 characters, at most 30"),
        ("q\ud800", "text", "query: half of a surrogate pair"),
        ("query", "t" * 31, r"candidates\[1\]: 31 characters, at most 30"),
    ],
)
async def test_what_is_out_of_bounds_is_refused_before_any_work(
    reranking: Reranking, watched: Watched, query: str, text: str, reason: str
) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        await reranking.rerank(query, "en", [candidate("fine"), candidate(text)])
    assert watched.calls == []


async def test_the_model_runs_beside_the_event_loop(reranking: Reranking, watched: Watched) -> None:
    await reranking.rerank("dog", "en", [candidate("dog")])
    assert len(watched.threads) == 1
    assert threading.current_thread() not in watched.threads


async def test_a_question_whose_asker_is_gone_stops_after_its_batch(reranking: Reranking, watched: Watched) -> None:
    watched.may_go.clear()
    asking = asyncio.create_task(reranking.rerank("dog", "en", [candidate("a"), candidate("b"), candidate("c")]))
    await asyncio.to_thread(watched.entered.acquire)
    asking.cancel()
    watched.may_go.set()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await reranking.rerank("dog", "en", [candidate("next")])
    assert watched.calls == [["a", "b"], ["next"]]


async def test_concurrent_questions_share_passes(reranking: Reranking, watched: Watched) -> None:
    watched.may_go.clear()
    first = asyncio.create_task(reranking.score("dog", ["a"]))
    await asyncio.to_thread(watched.entered.acquire)
    others = [asyncio.create_task(reranking.score(query, ["dog"])) for query in ("dog", "cat")]
    await until(lambda: len(reranking._batcher) == 2)
    watched.may_go.set()
    assert await asyncio.gather(first, *others) == [[0.0], [1.0], [0.0]]
    assert watched.calls == [["a"], ["dog", "dog"]]


async def test_too_many_texts_that_wait_are_refused(config: RerankingConfig, watched: Watched) -> None:
    reranking = Reranking(config.model_copy(update={"max_waiting": 1}))
    watched.may_go.clear()
    asking = asyncio.create_task(reranking.score("dog", ["a", "b", "c", "d"]))
    await asyncio.to_thread(watched.entered.acquire)
    with pytest.raises(Overloaded, match="reranking has 2 texts waiting"):
        await reranking.score("dog", ["e"])
    watched.may_go.set()
    assert await asking == [0.0] * 4


async def test_a_failure_is_unavailable_and_unhealthy_until_a_call_succeeds(
    reranking: Reranking, watched: Watched
) -> None:
    await reranking.check_health()
    assert watched.calls == [], "a healthy stage costs nothing"
    assert await reranking.status() == StageStatus(ready=True, engine="fake", model="fake")

    watched.failure = RuntimeError("CUDA error: device-side assert triggered")
    with pytest.raises(StageUnavailable, match=r"reranking\.model 'fake' failed; try again .*CUDA error"):
        await reranking.rerank("dog", "en", [candidate("dog")])
    assert await reranking.status() == replace(
        StageStatus(ready=False, engine="fake", model="fake"), detail="the last call failed"
    )
    with pytest.raises(StageUnavailable):
        await reranking.check_health()

    watched.failure = None
    await reranking.check_health()
    assert (await reranking.status()).ready


async def test_scores_are_the_reranker_s_own_in_the_order_of_the_texts(reranking: Reranking, watched: Watched) -> None:
    texts = ["rok", "rok za žalbu i još nešto", "ništa", "rok žalbu", "žalbu"]
    assert await reranking.score("rok žalbu", texts) == [0.5, 1.0, 0.0, 1.0, 0.5]
    assert len(texts) > reranking._config.max_candidates
    assert [len(call) for call in watched.calls] == [2, 2, 1]
    assert await reranking.score("rok", []) == []


@pytest.mark.parametrize(
    ("query", "texts", "field"), [("q" * 31, ["a"], "query"), ("q", ["a", "b" * 31], r"texts\[1\]")]
)
async def test_what_is_too_long_to_score_is_refused(
    reranking: Reranking, watched: Watched, query: str, texts: list[str], field: str
) -> None:
    with pytest.raises(InvalidRequest, match=field):
        await reranking.score(query, texts)
    assert watched.calls == []
