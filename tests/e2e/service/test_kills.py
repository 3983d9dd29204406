"""SIGKILL each stage's replica: open streams end, and the service answers again."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.support import configurations
from tests.support.recovery import is_retryable, until_answered, until_end
from tests.support.service import Running, kill

QUESTION = "How long does an appeal take?"
PATIENCE_S = 600
"""How fast a replica is back is the benchmark's to say (`make bench NAME=recovery`): here it has to be."""
LONG = " ".join([QUESTION] * 20)
SERVICE = configurations.recovering
pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def running(shared: Running) -> Running:
    return shared


async def test_killing_generation_ends_its_open_streams_with_a_retryable_error(running: Running) -> None:
    opened = [asyncio.Event() for _ in range(3)]
    streams = [asyncio.create_task(until_end(running, LONG, each)) for each in opened]
    await asyncio.gather(*(asyncio.wait_for(each.wait(), PATIENCE_S) for each in opened))
    kill("generation")
    for last in await asyncio.wait_for(asyncio.gather(*streams), PATIENCE_S):
        assert is_retryable(last), last
    await until_answered(running, QUESTION)


@pytest.mark.parametrize("stage", ["embedding", "retrieval", "reranking"])
async def test_a_query_in_a_stage_that_is_killed_ends_retryably_and_the_next_is_answered(
    running: Running, stage: str
) -> None:
    async def ask_again_and_again() -> list[dict[str, Any]]:
        return [await until_end(running, LONG, asyncio.Event()) for _ in range(2)]

    asking = [asyncio.create_task(ask_again_and_again()) for _ in range(4)]
    await asyncio.sleep(0.3)  # any moment will do: an answer is whole or ends retryably
    kill(stage)
    lasts = [last for each in await asyncio.wait_for(asyncio.gather(*asking), PATIENCE_S) for last in each]
    assert len(lasts) == 8
    for last in lasts:
        assert last["type"] in ("complete", "error"), last
        assert last["type"] == "complete" or is_retryable(last), last
    await until_answered(running, QUESTION)


async def test_documents_go_in_again_after_ingestion_is_killed(running: Running) -> None:
    kill("ingestion")
    states = await asyncio.to_thread(
        running.ingest, [configurations.APPEAL | {"id": "after", "text": "Another appeal."}]
    )
    assert [s["state"] for s in states] == ["indexed"]
    await until_answered(running, QUESTION)


async def test_the_service_answers_again_after_the_ingress_is_killed(running: Running) -> None:
    kill("ingress")
    await until_answered(running, QUESTION)
