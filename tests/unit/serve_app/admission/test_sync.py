from __future__ import annotations

import asyncio
import logging
import time

import pytest

from deployments.errors import RateLimited
from serve_app.admission.config import AdmissionConfig
from serve_app.admission.limiter import Limiter
from serve_app.admission.protocol import AdmissionLimits, Grant, Report, rate_slice
from serve_app.admission.replica import ReplicaAdmission
from serve_app.admission.sync import LimiterSync, rest_s
from serve_app.query.deadline import Deadline
from tests.support.clock import Seconds

CONFIG = AdmissionConfig(most_ahead=0, exchange_s=0.002, idle_exchange_s=0.02)


class Replicas:
    """Replicas that share a limiter, which can be made silent."""

    def __init__(self, count: int, engines: int = 1) -> None:
        self.clock = Seconds()
        self.limiter = Limiter(CONFIG, self.clock)
        self.limiter_is_silent = False
        self.engines = engines
        self.engines_counted = False
        self.synced_after_count = asyncio.Event()
        self.admissions = [ReplicaAdmission(CONFIG, 8, self.clock) for _ in range(count)]
        self.syncs = [
            LimiterSync(admission, str(number), self._sync_limiter, self._count_engines, 8)
            for number, admission in enumerate(self.admissions)
        ]

    async def _sync_limiter(self, report: Report) -> Grant:
        if self.limiter_is_silent:
            raise ConnectionError("gone")
        if self.engines_counted:
            self.synced_after_count.set()
        return self.limiter.sync(report)

    async def _count_engines(self) -> int:
        self.engines_counted = True
        return self.engines

    async def sync(self, elapsed_s: float = 0.1) -> None:
        self.clock.now += elapsed_s
        for limiter_sync in self.syncs:
            await limiter_sync.sync(elapsed_s)


async def spend_all(admission: ReplicaAdmission, limits: AdmissionLimits) -> int:
    """Spend until the tenant is refused. Returns how many requests got through."""
    for count in range(1_000):
        try:
            await admission.count_request("a", limits)
        except RateLimited:
            return count
    raise AssertionError("the tenant is never refused")


async def test_the_first_slice_needs_no_grant() -> None:
    replicas, limits = Replicas(1), AdmissionLimits(requests_per_minute=100)
    assert await spend_all(replicas.admissions[0], limits) == rate_slice(100)


async def test_a_rate_holds_over_replicas_and_a_refusal_says_when_to_retry() -> None:
    replicas, limits = Replicas(2), AdmissionLimits(requests_per_minute=40)
    through = 0
    for _ in range(30):
        for admission in replicas.admissions:
            through += await spend_all(admission, limits)
        await replicas.sync(0)
    assert 40 <= through <= 40 + 2 * rate_slice(40)
    with pytest.raises(RateLimited) as refused:
        await replicas.admissions[0].count_request("a", limits)
    assert refused.value.retry_after_s == pytest.approx(1.5, abs=2 * rate_slice(40) * 1.5)
    status = replicas.admissions[0].rate_status("a")
    assert status is not None
    assert (status.limit, status.remaining) == (40, 0)
    assert 55 <= status.reset_s <= 60


async def test_a_request_waits_for_the_next_grant_before_it_is_refused() -> None:
    replicas, limits = Replicas(1), AdmissionLimits(requests_per_minute=20)
    await spend_all(replicas.admissions[0], limits)
    late = asyncio.create_task(replicas.admissions[0].count_request("a", limits))
    await asyncio.sleep(0)
    assert replicas.admissions[0].changed.is_set()
    await replicas.sync(0)
    status = await late
    assert status is not None
    assert status.remaining == 18


async def test_a_changed_limit_holds_from_the_next_request_on() -> None:
    admission = Replicas(1).admissions[0]
    await admission.count_request("a", AdmissionLimits(requests_per_minute=1_000))
    status = await admission.count_request("a", AdmissionLimits(requests_per_minute=10))
    assert status is not None
    assert status.limit == 10
    assert await admission.count_request("a", AdmissionLimits()) is None


async def test_without_the_limiter_rates_refill_by_equal_parts_and_slots_stay(
    caplog: pytest.LogCaptureFixture,
) -> None:
    replicas, limits = Replicas(2), AdmissionLimits(requests_per_minute=600)
    for _ in range(2):  # after the second round both know that there are two
        await replicas.sync()
    for admission in replicas.admissions:
        await spend_all(admission, limits)
    replicas.limiter_is_silent = True
    through = 0
    with caplog.at_level(logging.WARNING):
        for _ in range(100):
            await replicas.sync(0.1)
            through += await spend_all(replicas.admissions[0], limits)
    assert 40 <= through <= 60  # half of ten seconds of 600 a minute
    assert len(caplog.records) == 2  # one for each replica
    slots = [await replicas.admissions[0].acquire_slot("a", limits, Deadline(5)) for _ in range(4)]
    assert replicas.admissions[0].running == len(slots) == 4


async def test_requests_spent_without_the_limiter_are_reported_later() -> None:
    replicas, limits = Replicas(1), AdmissionLimits(requests_per_minute=60)
    replicas.limiter_is_silent = True
    await replicas.admissions[0].count_request("a", limits)
    await replicas.sync(0)
    await replicas.admissions[0].count_request("a", limits)
    replicas.limiter_is_silent = False
    await replicas.sync(0)
    status = replicas.admissions[0].rate_status("a")
    assert status is not None
    assert status.remaining == 58


async def test_it_syncs_by_itself_and_counts_the_engines() -> None:
    replicas = Replicas(1, engines=3)
    admission, limiter_sync = replicas.admissions[0], replicas.syncs[0]
    limiter_sync.start()
    limiter_sync.start()
    try:
        slots = [await admission.acquire_slot("a", AdmissionLimits(), Deadline(60)) for _ in range(3 * 8)]
        assert admission.running == len(slots) == 24
    finally:
        await limiter_sync.close()


async def test_a_failed_engine_count_leaves_the_last_one() -> None:
    replicas = Replicas(1, engines=0)
    replicas.syncs[0].start()
    try:
        await replicas.synced_after_count.wait()
        slots = [await replicas.admissions[0].acquire_slot("a", AdmissionLimits(), Deadline(60)) for _ in range(8)]
        assert replicas.admissions[0].running == len(slots) == 8
    finally:
        await replicas.syncs[0].close()


async def test_answers_in_preparation_are_measured_and_bounded_by_most_ahead() -> None:
    admission = ReplicaAdmission(AdmissionConfig(most_ahead=0.5), 8)
    assert admission.report("r", 8).slots == 9
    for preparing_s, slots in ((0.5, 11), (2.0, 12)):
        for _ in range(64):
            admission._slots.latency.record(preparing_s, preparing_s + 2)
        assert admission.report("r", 8).slots == slots


async def test_syncs_that_take_long_are_fewer() -> None:
    """With thousands of tenants one takes tens of milliseconds of the replica's event loop."""
    took_s, syncs = 0.05, 0
    admission = ReplicaAdmission(CONFIG, 8)
    limiter = Limiter(CONFIG)

    async def slow(report: Report) -> Grant:
        nonlocal syncs
        syncs += 1
        time.sleep(took_s)  # noqa: ASYNC251 - as a division does, it holds the loop up
        admission.changed.set()  # there is always more to tell
        return limiter.sync(report)

    async def one_engine() -> int:
        return 1

    limiter_sync = LimiterSync(admission, "r", slow, one_engine, 8)
    began = time.monotonic()
    limiter_sync.start()
    await asyncio.sleep(1.0)
    elapsed_s = time.monotonic() - began
    await limiter_sync.close()
    assert 1 <= syncs <= 1 + elapsed_s / (5 * took_s)


def test_the_rest_between_syncs_keeps_the_lease() -> None:
    config = AdmissionConfig()
    assert rest_s(0.0, config) == config.exchange_s / 4
    assert rest_s(0.05, config) == 0.2
    assert rest_s(60.0, config) == config.lease_s / 4
