from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from serve_app.services.repeated import Repeated


class Asked:
    """Counts its calls; each answers its number once `go` is set, or fails while `broken` is true."""

    def __init__(self) -> None:
        self.calls = 0
        self.broken = False
        self.go = asyncio.Event()
        self.now = 0.0

    async def __call__(self) -> int:
        self.calls += 1
        number = self.calls
        await self.go.wait()
        if self.broken:
            raise ValueError("broken")
        return number


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
def repeated(asked: Asked) -> Repeated[int]:
    return Repeated(asked, 2, lambda: asked.now)


async def test_callers_at_once_share_one_answer(asked: Asked, repeated: Repeated[int]) -> None:
    callers = [asyncio.create_task(repeated()) for _ in range(50)]
    await asyncio.sleep(0)
    asked.go.set()
    assert await asyncio.gather(*callers) == [1] * 50


async def test_an_answer_is_repeated_for_so_long_and_no_longer(asked: Asked, repeated: Repeated[int]) -> None:
    asked.go.set()
    answers = []
    for asked.now in (0, 1.9, 2, 3.9, 4):
        answers.append(await repeated())
    assert answers == [1, 1, 2, 2, 3]


async def test_a_failure_reaches_those_who_wait_and_is_not_kept(asked: Asked, repeated: Repeated[int]) -> None:
    asked.broken = True
    asked.go.set()
    found = await asyncio.gather(repeated(), repeated(), return_exceptions=True)
    assert [type(each) for each in found] == [ValueError, ValueError]
    asked.broken = False
    assert await repeated() == 2


async def test_who_leaves_takes_nothing_from_the_others(asked: Asked, repeated: Repeated[int]) -> None:
    leaving, staying = asyncio.create_task(repeated()), asyncio.create_task(repeated())
    await asyncio.sleep(0)
    leaving.cancel()
    with suppress(asyncio.CancelledError):
        await leaving
    asked.go.set()
    assert await staying == 1
