"""SIGKILL each stage's replica: open streams end, and the service answers again."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.recovery import RECOVERY_S, is_retryable, until_answered, until_end
from tests.support.service import STAGES, Running, kill, service

QUESTION = "How long does an appeal take?"
LONG = " ".join([QUESTION] * 20)
DOCUMENT = {"id": "d", "title": "Appeals", "language": "en", "text": "An appeal takes 15 days from delivery."}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Real MiniLM, milvus-lite and SQLite; generation is the fake at 40 ms a word, so that streams stay open."""
    args = {"generation": {"engine": "fake", "fake_delay_ms": 40}}
    health = {"health_check_period_s": 1, "health_check_timeout_s": 10}
    with service(tmp_path_factory.mktemp("service"), args, **dict.fromkeys(STAGES, health)) as started:
        assert [d["state"] for d in started.ingest([DOCUMENT])] == ["indexed"]
        yield started


async def test_killing_generation_ends_its_open_streams_with_a_retryable_error(running: Running) -> None:
    opened = [asyncio.Event() for _ in range(3)]
    streams = [asyncio.create_task(until_end(running, LONG, each)) for each in opened]
    await asyncio.gather(*(asyncio.wait_for(each.wait(), 30) for each in opened))
    kill("generation")
    for last in await asyncio.wait_for(asyncio.gather(*streams), 20):
        assert is_retryable(last), last
    await until_answered(running, QUESTION)


@pytest.mark.parametrize("stage", ["embedding", "retrieval", "reranking"])
async def test_a_query_in_a_stage_that_is_killed_ends_retryably_and_the_next_is_answered(
    running: Running, stage: str
) -> None:
    async def ask_again_and_again() -> list[dict[str, Any]]:
        return [await until_end(running, LONG, asyncio.Event()) for _ in range(2)]

    asking = [asyncio.create_task(ask_again_and_again()) for _ in range(4)]
    await asyncio.sleep(0.3)
    kill(stage)
    lasts = [last for each in await asyncio.wait_for(asyncio.gather(*asking), 150) for last in each]
    assert len(lasts) == 8
    for last in lasts:
        assert last["type"] in ("complete", "error"), last
        assert last["type"] == "complete" or is_retryable(last), last
    await until_answered(running, QUESTION)


async def test_documents_go_in_again_after_ingestion_is_killed(running: Running) -> None:
    kill("ingestion")
    began = time.monotonic()
    states = await asyncio.to_thread(running.ingest, [DOCUMENT | {"id": "after", "text": "Another appeal."}])
    assert [s["state"] for s in states] == ["indexed"]
    assert time.monotonic() - began < 2 * RECOVERY_S
    await until_answered(running, QUESTION)


async def test_the_service_answers_again_after_the_ingress_is_killed(running: Running) -> None:
    kill("ingress")
    await until_answered(running, QUESTION)
