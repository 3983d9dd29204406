from __future__ import annotations

import asyncio
import logging

import pytest

from deployments.errors import RateLimited
from serve_app.admission.config import AdmissionConfig
from serve_app.admission.limiter import Limiter
from serve_app.admission.protocol import Grant, Report, Terms, slice_of
from serve_app.admission.replica import Gate
from serve_app.admission.sync import Exchange
from serve_app.query.deadline import Deadline
from tests.support.clock import Seconds

CONFIG = AdmissionConfig(most_ahead=0, exchange_s=0.02, idle_exchange_s=0.05)


class Side:
    """Replicas that share a limiter, which may be made silent."""

    def __init__(self, replicas: int, engines: int = 1) -> None:
        self.clock = Seconds()
        self.limiter = Limiter(CONFIG, self.clock)
        self.silent = False
        self.engines = engines
        self.gates = [Gate(CONFIG, 8, self.clock) for _ in range(replicas)]
        self.exchanges = [
            Exchange(gate, str(number), self._limit, self._count, 8) for number, gate in enumerate(self.gates)
        ]

    async def _limit(self, report: Report) -> Grant:
        if self.silent:
            raise ConnectionError("gone")
        return self.limiter.exchange(report)

    async def _count(self) -> int:
        return self.engines

    async def exchange(self, elapsed_s: float = 0.1) -> None:
        self.clock.now += elapsed_s
        for each in self.exchanges:
            await each.once(elapsed_s)


async def spent(gate: Gate, terms: Terms, most: int = 1_000) -> int:
    for count in range(most):
        try:
            await gate.spend("a", terms)
        except RateLimited:
            return count
    return most


async def test_a_first_slice_needs_no_word_of_the_limiter() -> None:
    side, terms = Side(1), Terms(requests_per_minute=100)
    assert await spent(side.gates[0], terms) == slice_of(100)


async def test_a_rate_holds_over_replicas_and_tells_when_to_come_again() -> None:
    side, terms = Side(2), Terms(requests_per_minute=40)
    through = 0
    for _ in range(30):
        for gate in side.gates:
            through += await spent(gate, terms)
        await side.exchange(0)
    assert 40 <= through <= 40 + 2 * slice_of(40)
    with pytest.raises(RateLimited) as refused:
        await side.gates[0].spend("a", terms)
    assert refused.value.retry_after_s == pytest.approx(1.5, abs=2 * slice_of(40) * 1.5)
    rate = side.gates[0].rate("a")
    assert rate is not None
    assert (rate.limit, rate.remaining) == (40, 0)
    assert 55 <= rate.reset_s <= 60


async def test_a_request_waits_for_the_next_grant_before_it_is_refused() -> None:
    side, terms = Side(1), Terms(requests_per_minute=20)
    await spent(side.gates[0], terms)
    late = asyncio.create_task(side.gates[0].spend("a", terms))
    await asyncio.sleep(0)
    assert side.gates[0].changed.is_set()
    await side.exchange(0)
    rate = await late
    assert rate is not None
    assert rate.remaining == 18


async def test_another_limit_holds_from_the_next_request_on() -> None:
    side = Side(1)
    await side.gates[0].spend("a", Terms(requests_per_minute=1_000))
    rate = await side.gates[0].spend("a", Terms(requests_per_minute=10))
    assert rate is not None
    assert rate.limit == 10
    assert await side.gates[0].spend("a", Terms()) is None


async def test_without_the_limiter_rates_go_on_at_an_equal_part_and_places_as_they_were(
    caplog: pytest.LogCaptureFixture,
) -> None:
    side, terms = Side(2), Terms(requests_per_minute=600)
    for _ in range(2):  # only then both know of two
        await side.exchange()
    for gate in side.gates:
        await spent(gate, terms)
    side.silent = True
    through = 0
    with caplog.at_level(logging.WARNING):
        for _ in range(100):
            await side.exchange(0.1)
            through += await spent(side.gates[0], terms)
    assert 40 <= through <= 60  # ten seconds of 600 a minute, halved
    assert len(caplog.records) == 2  # once for each replica
    held = [await side.gates[0].enter("a", terms, Deadline(5)) for _ in range(4)]
    assert side.gates[0].running == len(held) == 4


async def test_what_was_spent_meanwhile_is_told_afterwards() -> None:
    side, terms = Side(1), Terms(requests_per_minute=60)
    side.silent = True
    await side.gates[0].spend("a", terms)
    await side.exchange(0)
    await side.gates[0].spend("a", terms)
    side.silent = False
    await side.exchange(0)
    rate = side.gates[0].rate("a")
    assert rate is not None
    assert rate.remaining == 58


async def test_it_goes_on_by_itself_and_counts_the_engines() -> None:
    side = Side(1, engines=3)
    gate, exchange = side.gates[0], side.exchanges[0]
    exchange.start()
    exchange.start()
    try:
        async with asyncio.timeout(5):
            # Three engines of eight.
            places = [await gate.enter("a", Terms(), Deadline(5)) for _ in range(24)]
        assert gate.running == len(places) == 24
    finally:
        await exchange.close()


async def test_an_engine_count_that_fails_leaves_the_last() -> None:
    side = Side(1, engines=0)
    exchange = side.exchanges[0]
    exchange.start()
    try:
        await asyncio.sleep(0.1)
        for _ in range(8):
            await side.gates[0].enter("a", Terms(), Deadline(5))
    finally:
        await exchange.close()


async def test_as_many_are_ahead_as_are_measured_but_no_more_than_the_bound() -> None:
    gate = Gate(AdmissionConfig(most_ahead=0.5), 8)
    assert gate.report("r", 8).places == 9
    for before_s, places in ((0.5, 11), (2.0, 12)):
        for _ in range(64):
            gate._places.pace.add(before_s, before_s + 2)
        assert gate.report("r", 8).places == places
