"""What ends a wait: the deadline, or a limit of the service's. The error's advice must fit the one that did."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import pytest

from deployments.errors import DeadlineExceeded
from serve_app.query.deadline import Deadline
from serve_app.query.run import QueryRun
from tests.support.pipeline import query

A_MOMENT = 0.01
LONG = 60.0


async def never() -> None:
    await asyncio.Event().wait()


async def no_items() -> AsyncGenerator[None]:
    await never()
    yield


async def test_whoever_comes_too_late_for_its_deadline_is_told_to_send_a_larger_one() -> None:
    with pytest.raises(DeadlineExceeded, match=r"^retrieval did not finish .* send a larger X-Deadline-Ms$"):
        await Deadline(A_MOMENT).wait("retrieval", never(), at_most=LONG)


async def test_a_limit_of_the_services_is_named_and_no_larger_deadline_is_asked_for() -> None:
    with pytest.raises(DeadlineExceeded) as raised:
        await Deadline(LONG).wait("reranking", never(), at_most=A_MOMENT)
    assert str(raised.value) == "reranking took longer than the 0.01 s that the service waits; try again later"


async def test_the_limit_of_the_first_item_is_the_services() -> None:
    told = r"took longer than the 0\.01 s that the service waits \(api\.first_token_s\)"
    with pytest.raises(DeadlineExceeded, match=told):
        await anext(Deadline(LONG).iterate("generation", no_items(), first_within=A_MOMENT))


@pytest.mark.parametrize(
    ("deadline_s", "at_most", "advice"), [(A_MOMENT, LONG, "X-Deadline-Ms"), (LONG, A_MOMENT, "0.01 s")]
)
async def test_a_stage_that_can_be_done_without_says_which_limit_it_met(
    deadline_s: float, at_most: float, advice: str
) -> None:
    run = QueryRun(query(deadline_s=deadline_s))
    await run.wait_or("embedding", never(), fallback=None, at_most=at_most)
    assert advice in str(run.degraded.errors["embedding"])
