from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence

import pytest

from deployments.errors import Overloaded, RateLimited
from serve_app.admission.config import AdmissionConfig
from serve_app.admission.protocol import AdmissionLimits, TenantGrant
from serve_app.admission.slots import Slot, Slots
from serve_app.query.deadline import Deadline
from tests.support.clock import Seconds

LIMITS = AdmissionLimits()


class Bench:
    """Slots on a fake clock, and who got one, in order."""

    def __init__(self, count: int = 2, **config: float) -> None:
        self.clock = Seconds()
        self.changed = asyncio.Event()
        self.slots = Slots(AdmissionConfig.model_validate(config), count, self.changed, self.clock)
        self.order: list[str] = []
        self.held: list[Slot] = []

    def deadline(self, seconds: float) -> Deadline:
        return Deadline(seconds, self.clock)

    async def acquire(self, tenant: str, limits: AdmissionLimits = LIMITS, deadline_s: float = 5) -> Slot:
        slot = await self.slots.acquire(tenant, limits, self.deadline(deadline_s))
        self.order.append(tenant)
        self.held.append(slot)
        return slot

    def queue(self, tenants: str, limits: AdmissionLimits = LIMITS, deadline_s: float = 5) -> list[asyncio.Task[Slot]]:
        """One task for each letter, which names the tenant."""
        return [asyncio.create_task(self.acquire(tenant, limits, deadline_s)) for tenant in tenants]

    async def settle(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)

    async def release_one(self) -> None:
        self.held.pop(0).release(answered=False)
        await self.settle()

    async def refused_at_once(self, tenant: str, deadline_s: float) -> BaseException | None:
        """The error of a question that must not wait."""
        [task] = self.queue(tenant, deadline_s=deadline_s)
        await self.settle()
        assert task.done()
        return task.exception()

    async def answer(self, seconds: float, times: int = 8) -> None:
        """Complete some answers, one after the other."""
        for _ in range(times):
            slot = await self.slots.acquire("before", LIMITS, self.deadline(5))
            self.clock.now += seconds
            slot.release(answered=True)


async def ended(tasks: Sequence[asyncio.Task[Slot]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_a_question_waits_until_a_slot_is_free() -> None:
    bench = Bench(2)
    tasks = bench.queue("aaa")
    await bench.settle()
    assert (bench.slots.running, bench.slots.waiting) == (2, 1)
    await bench.release_one()
    assert (bench.slots.running, bench.slots.waiting) == (2, 0)
    await ended(tasks)


async def test_the_tenant_with_fewer_slots_is_next_however_long_the_other_queue_is() -> None:
    bench = Bench(2)
    tasks = bench.queue("aaaaaaaaaa")
    await bench.settle()
    tasks += bench.queue("b")
    await bench.settle()
    await bench.release_one()
    assert bench.order == ["a", "a", "b"]
    await ended(tasks)


async def test_a_tenants_own_questions_keep_their_order() -> None:
    bench, order = Bench(1), list[int]()

    async def ask(number: int) -> None:
        await bench.acquire("a")
        order.append(number)

    tasks = [asyncio.create_task(ask(number)) for number in range(4)]
    for _ in range(4):
        await bench.settle()
        await bench.release_one()
    await asyncio.gather(*tasks)
    assert order == [0, 1, 2, 3]


async def test_the_limiters_shares_decide_between_tenants_that_wait() -> None:
    bench = Bench(4)
    first = bench.queue("abab")
    await bench.settle()
    tasks = [*first, *bench.queue("aaaabbbb")]
    await bench.settle()
    bench.slots.apply(4, {"a": TenantGrant(share=1), "b": TenantGrant(share=3)})
    for _ in range(4):
        await bench.release_one()
    assert sorted(bench.order[4:]) == ["a", "b", "b", "b"]
    await ended(tasks)


async def test_fewer_slots_interrupt_no_answer_and_hold_afterwards() -> None:
    bench = Bench(3)
    tasks = bench.queue("aaaa")
    await bench.settle()
    bench.slots.apply(1, {})
    await bench.release_one()
    await bench.release_one()
    assert (bench.slots.running, bench.slots.waiting) == (1, 1)
    bench.slots.apply(2, {})
    await bench.settle()
    assert (bench.slots.running, bench.slots.waiting) == (2, 0)
    await ended(tasks)


async def test_a_tenants_own_limit_holds_while_slots_are_free() -> None:
    bench = Bench(8)
    tasks = bench.queue("aaaa", AdmissionLimits(concurrent=2))
    await bench.settle()
    assert (bench.slots.running, bench.slots.waiting) == (2, 2)
    await bench.release_one()
    assert (bench.slots.running, bench.slots.waiting) == (2, 1)
    tasks += bench.queue("b")
    await bench.settle()
    assert bench.slots.running == 3
    await ended(tasks)


async def test_a_tenants_full_queue_refuses_that_tenant_only() -> None:
    bench = Bench(1, max_waiting=2)
    tasks = bench.queue("aaa")
    await bench.settle()
    with pytest.raises(RateLimited, match="2 questions of this tenant wait"):
        await bench.acquire("a")
    tasks += bench.queue("b")
    await bench.settle()
    assert bench.slots.waiting == 3
    await ended(tasks)


async def test_the_replicas_full_queue_refuses_every_tenant() -> None:
    bench = Bench(1, max_waiting_in_all=2)
    tasks = bench.queue("abc")
    await bench.settle()
    with pytest.raises(Overloaded) as refused:
        await bench.acquire("d")
    assert refused.value.retry_after_s is not None
    await ended(tasks)


async def test_a_question_that_cannot_be_answered_in_time_is_refused_at_once() -> None:
    bench = Bench(1)
    await bench.answer(2.0)
    tasks = bench.queue("a", deadline_s=30)
    await bench.settle()
    alone = await bench.refused_at_once("a", deadline_s=3.5)
    assert isinstance(alone, Overloaded)
    assert alone.retry_after_s == pytest.approx(2.0)
    tasks += bench.queue("a", deadline_s=30)
    await bench.settle()
    behind_its_own = await bench.refused_at_once("a", deadline_s=3.5)
    assert isinstance(behind_its_own, RateLimited)
    await ended(tasks)


async def test_a_wait_ends_after_max_wait() -> None:
    bench = Bench(1, max_wait_s=0.05)
    tasks = bench.queue("a")
    await bench.settle()
    with pytest.raises(Overloaded, match=r"within 0\.1 s"):
        await bench.acquire("a")
    assert (bench.slots.running, bench.slots.waiting) == (1, 0)
    await ended(tasks)


async def test_a_cancelled_question_leaves_the_queue() -> None:
    bench = Bench(1)
    tasks = bench.queue("aab")
    await bench.settle()
    await ended(tasks[1:2])
    assert bench.slots.waiting == 1
    await bench.release_one()
    assert bench.order == ["a", "b"]
    await ended(tasks)


async def test_a_question_cancelled_as_it_gets_a_slot_passes_it_on() -> None:
    bench = Bench(1)
    tasks = bench.queue("aab")
    await bench.settle()
    bench.held.pop(0).release(answered=False)  # the next question has the slot, and its task has not run yet
    await ended([task for task in tasks[1:] if not task.done()][:1])
    await bench.settle()
    assert bench.slots.running == 1
    await ended(tasks)


async def test_a_collected_slot_is_freed() -> None:
    bench = Bench(1)
    await bench.acquire("a")
    bench.held.clear()
    gc.collect()
    await bench.settle()
    assert bench.slots.running == 0


async def test_release_is_idempotent() -> None:
    bench = Bench(2)
    slot = await bench.acquire("a")
    await bench.acquire("a")
    slot.release(answered=False)
    slot.release(answered=False)
    assert bench.slots.running == 1


async def test_the_first_question_that_waits_is_reported_at_once() -> None:
    bench = Bench(1)
    tasks = bench.queue("a")
    await bench.settle()
    assert not bench.changed.is_set()
    tasks += bench.queue("a")
    await bench.settle()
    assert bench.changed.is_set()
    await ended(tasks)


async def test_a_wait_that_began_behind_the_tenants_own_questions_ends_as_rate_limited() -> None:
    bench = Bench(1)
    await bench.acquire("a")
    first = bench.queue("a")
    await bench.settle()
    second = bench.queue("a", deadline_s=0.2)
    await bench.settle()
    await ended(first)
    with pytest.raises(RateLimited, match="no place"):
        await second[0]


async def test_a_wait_leaves_time_for_an_answer_of_p90_length() -> None:
    bench = Bench(1)
    await bench.answer(0.1, 20)
    await bench.answer(3.0, 4)
    await bench.acquire("a")
    with pytest.raises(Overloaded, match=r"within 0\.2 s"):  # 90 % of the deadline minus 3 s
        await bench.acquire("a", deadline_s=3.55)


async def test_time_before_generation_is_measured_apart() -> None:
    bench = Bench(1)
    for _ in range(8):
        slot = await bench.slots.acquire("a", LIMITS, bench.deadline(5))
        bench.clock.now += 0.5
        slot.mark_generating()
        bench.clock.now += 2
        slot.release(answered=True)
    assert bench.slots.latency.preparing_ratio == pytest.approx(0.1 + 0.25)


async def test_tenants_without_load_are_forgotten() -> None:
    bench = Bench(2)
    slot = await bench.acquire("a")
    assert bench.slots.loads() == {"a": (LIMITS, 1, 0)}
    slot.release(answered=False)
    assert bench.slots.loads() == {}


async def test_an_incomplete_answer_does_not_count_in_the_latency() -> None:
    bench = Bench(1)
    for _ in range(20):
        slot = await bench.acquire("a")
        bench.clock.now += 60
        slot.release(answered=False)
    tasks = bench.queue("ab", deadline_s=3)
    await bench.settle()
    assert bench.slots.waiting == 1
    await ended(tasks)
