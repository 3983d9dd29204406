from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Sequence

import numpy as np
import pytest

from deployments.embedding import deployment
from deployments.embedding.config import EmbeddingConfig
from deployments.embedding.deployment import Embedding
from deployments.embedding.fake import DIMENSION, FakeEmbedder
from deployments.errors import InvalidRequest, StageUnavailable
from deployments.inference.windows import Window
from deployments.late_interaction import max_sim
from deployments.types import Matrix, StageStatus, TextKind
from tests.support.models import embed


class Watched(FakeEmbedder):
    """Records what it is asked, on which thread, how nice that is; can be made to wait or to fail."""

    def __init__(self, config: EmbeddingConfig) -> None:
        super().__init__(config)
        self.calls: list[list[str]] = []
        self.threads: set[threading.Thread] = set()
        self.nice: set[int] = set()
        self.entered = threading.Semaphore(0)
        self.may_go = threading.Event()
        self.may_go.set()
        self.failure: Exception | None = None
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()

    def forward(self, windows: Sequence[Window], kind: TextKind) -> Matrix:
        self.calls.append([window.text for window in windows])
        self.threads.add(threading.current_thread())
        self.nice.add(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        with self._lock:
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        self.entered.release()
        assert self.may_go.wait(30)
        with self._lock:
            self._at_once -= 1
        if self.failure:
            raise self.failure
        return super().forward(windows, kind)


@pytest.fixture
def config() -> EmbeddingConfig:
    return EmbeddingConfig(backend="fake", batch_size=2, max_texts=6, max_text_characters=20)


@pytest.fixture
def watched(config: EmbeddingConfig, monkeypatch: pytest.MonkeyPatch) -> Watched:
    embedder = Watched(config)
    monkeypatch.setattr(deployment, "create", lambda _: embedder)
    return embedder


@pytest.fixture
def embedding(config: EmbeddingConfig, watched: Watched) -> Embedding:
    stage = Embedding(config)
    assert watched.calls == [["warm up"], ["warm up"]]
    watched.calls.clear()
    watched.threads.clear()
    watched.nice.clear()
    watched.entered = threading.Semaphore(0)
    return stage


async def test_vectors_come_in_the_order_of_the_texts_whatever_the_slices(
    embedding: Embedding, watched: Watched, config: EmbeddingConfig
) -> None:
    texts = ["five words fit here", "one", "two words", "čuvanje i rok", ""]
    found = await embedding.embed(texts, "passage")
    assert np.array_equal(found.vectors, embed(FakeEmbedder(config), texts))
    assert [len(call) for call in watched.calls] == [2, 2, 1]


async def test_token_vectors_come_where_they_are_asked_for(embedding: Embedding) -> None:
    passages = await embedding.embed(["one two three", "four"], "passage", with_tokens=True)
    assert [len(packed) for packed in passages.passage_tokens] == [3 * DIMENSION // 4, DIMENSION // 4]
    assert passages.question_tokens is None
    question = await embedding.embed(["one two"], "query", with_tokens=True)
    assert question.question_tokens is not None
    assert question.question_tokens.shape == (2, DIMENSION)
    assert max_sim(question.question_tokens, passages.passage_tokens)[0] > 0.5
    without = await embedding.embed(["one two"], "query")
    assert (without.question_tokens, without.passage_tokens) == (None, ())


@pytest.mark.usefixtures("watched")
async def test_an_index_without_a_use_for_token_vectors_gets_none(config: EmbeddingConfig) -> None:
    found = await Embedding(config, token_vectors=False).embed(["one two"], "passage", with_tokens=True)
    assert (found.question_tokens, found.passage_tokens) == (None, ())


async def test_a_pass_has_no_more_tokens_than_configured(watched: Watched) -> None:
    embedding = Embedding(EmbeddingConfig(backend="fake", batch_size=8, batch_tokens=4))
    watched.calls.clear()
    await embedding.embed(["one", "a b c", "two words", "and two"], "passage")
    assert watched.calls == [["one", "two words"], ["a b c"], ["and two"]]


async def test_the_model_runs_beside_the_event_loop(embedding: Embedding, watched: Watched) -> None:
    await embedding.embed(["one", "two", "three"], "query")
    assert len(watched.threads) == 1
    assert threading.current_thread() not in watched.threads


async def test_a_question_waits_for_no_passage(embedding: Embedding, watched: Watched) -> None:
    watched.may_go.clear()
    ingesting = asyncio.create_task(embedding.embed(["a", "b", "c", "d"], "passage"))
    await asyncio.to_thread(watched.entered.acquire)
    asking = asyncio.create_task(embedding.embed(["question"], "query"))
    await asyncio.to_thread(watched.entered.acquire)
    assert watched.calls == [["a", "b"], ["question"]]
    watched.may_go.set()
    await asyncio.gather(asking, ingesting)


async def test_sentences_are_compared_beside_questions_and_passages(
    embedding: Embedding, watched: Watched, config: EmbeddingConfig
) -> None:
    question, sentences = "two words", ["two words", "other", "one of two"]
    vectors = embed(FakeEmbedder(config), [question, *sentences])
    watched.may_go.clear()
    ingesting = asyncio.create_task(embedding.embed(["a"], "passage"))
    asking = asyncio.create_task(embedding.embed(["b"], "query"))
    for _ in range(2):
        await asyncio.to_thread(watched.entered.acquire)
    comparing = asyncio.create_task(embedding.similarities(question, sentences))
    await asyncio.to_thread(watched.entered.acquire)
    assert watched.calls[-1][0] in sentences
    watched.may_go.set()
    found = await comparing
    assert found.cosines == pytest.approx((vectors[1:] @ vectors[0]).tolist())
    assert found.model == "fake"
    await asyncio.gather(ingesting, asking)


@pytest.mark.skipif(sys.platform != "linux", reason="threads have a priority of their own on Linux only")
async def test_passages_stand_back_behind_questions(embedding: Embedding, watched: Watched) -> None:
    own = os.getpriority(os.PRIO_PROCESS, 0)
    watched.nice.clear()
    await embedding.embed(["question"], "query")
    assert watched.nice == {own}
    await embedding.embed(["passage"], "passage")
    assert watched.nice == {own, min(own + deployment.PASSAGE_NICENESS, 19)}


@pytest.mark.parametrize("concurrent_passes", [1, 3])
async def test_as_many_passes_run_at_once_as_the_embedder_gains_from(
    watched: Watched, config: EmbeddingConfig, concurrent_passes: int
) -> None:
    watched.concurrent_passes = concurrent_passes
    embedding = Embedding(config)
    watched.entered = threading.Semaphore(0)
    watched.may_go.clear()
    ingesting = asyncio.create_task(embedding.embed([str(number) for number in range(6)], "passage"))
    for _ in range(concurrent_passes):
        await asyncio.to_thread(watched.entered.acquire)
    watched.may_go.set()
    await ingesting
    assert watched.most_at_once == concurrent_passes


async def test_passages_whose_asker_is_gone_are_not_embedded_further(embedding: Embedding, watched: Watched) -> None:
    watched.may_go.clear()
    ingesting = asyncio.create_task(embedding.embed(["a", "b", "c", "d"], "passage"))
    await asyncio.to_thread(watched.entered.acquire)
    ingesting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ingesting
    watched.may_go.set()
    await embedding.embed(["next"], "passage")
    assert watched.calls == [["a", "b"], ["next"]]


async def test_no_texts_are_fine(embedding: Embedding, watched: Watched) -> None:
    assert (await embedding.embed([], "passage")).vectors.shape == (0, 64)
    assert watched.calls == []


@pytest.mark.parametrize(
    ("texts", "reason"),
    [
        (["x"] * 7, "texts: 7 given, at most 6"),
        (["x", "y" * 21], r"texts\[1\]: 21 characters, at most 20"),
        (["\udfff"], r"texts\[0\]: half of a surrogate pair"),
    ],
)
async def test_what_is_out_of_bounds_is_refused_before_any_work(
    embedding: Embedding, watched: Watched, texts: list[str], reason: str
) -> None:
    with pytest.raises(InvalidRequest, match=reason):
        await embedding.embed(texts, "passage")
    assert watched.calls == []


async def test_it_describes_itself(embedding: Embedding, watched: Watched) -> None:
    assert await embedding.describe() == watched.info
    assert await embedding.status() == StageStatus(ready=True, engine="fake", model="fake")


async def test_a_failure_is_unavailable_and_unhealthy_until_a_call_succeeds(
    embedding: Embedding, watched: Watched
) -> None:
    await embedding.check_health()
    assert watched.calls == [], "a healthy stage costs nothing"

    watched.failure = RuntimeError("CUDA error: device-side assert triggered")
    with pytest.raises(StageUnavailable, match=r"embedding\.model 'fake' failed; try again .*CUDA error"):
        await embedding.embed(["one"], "query")
    assert not (await embedding.status()).ready
    with pytest.raises(StageUnavailable):
        await embedding.check_health()

    watched.failure = None
    await embedding.check_health()
    assert (await embedding.status()).ready


async def test_tokens_are_the_embedder_s_own(embedding: Embedding) -> None:
    assert await embedding.count_tokens(["a b", "", "c"], "passage") == [2, 0, 1]
    with pytest.raises(InvalidRequest, match=r"texts\[1\]"):
        await embedding.count_tokens(["a", "b" * 21], "query")
