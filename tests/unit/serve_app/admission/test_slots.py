from __future__ import annotations

import asyncio
import gc
from collections.abc import Sequence

import pytest

from deployments.errors import Overloaded, RateLimited
from serve_app.admission.config import AdmissionConfig
from serve_app.admission.protocol import TenantGrant, Terms
from serve_app.admission.slots import Place, Places
from serve_app.query.deadline import Deadline
from tests.support.clock import Seconds

TERMS = Terms()


class Door:
    def __init__(self, count: int = 2, **limits: float) -> None:
        self.clock = Seconds()
        self.changed = asyncio.Event()
        self.places = Places(AdmissionConfig.model_validate(limits), count, self.changed, self.clock)
        self.order: list[str] = []
        self.held: list[Place] = []

    async def enter(self, tenant: str, terms: Terms = TERMS, deadline_s: float = 5) -> Place:
        place = await self.places.enter(tenant, terms, Deadline(deadline_s))
        self.order.append(tenant)
        self.held.append(place)
        return place

    def queue(self, tenants: str, terms: Terms = TERMS, deadline_s: float = 5) -> list[asyncio.Task[Place]]:
        return [asyncio.create_task(self.enter(tenant, terms, deadline_s)) for tenant in tenants]

    async def settle(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)

    async def let_one_go(self) -> None:
        self.held.pop(0).release(answered=False)
        await self.settle()

    async def answered(self, seconds: float, times: int = 8) -> None:
        """So many answers that took so long, one after the other."""
        for _ in range(times):
            place = await self.places.enter("before", TERMS, Deadline(5))
            self.clock.now += seconds
            place.release(answered=True)


async def ended(tasks: Sequence[asyncio.Task[Place]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_no_more_than_there_are_and_the_next_when_one_leaves() -> None:
    door = Door(2)
    tasks = door.queue("aaa")
    await door.settle()
    assert (door.places.running, door.places.waiting) == (2, 1)
    await door.let_one_go()
    assert (door.places.running, door.places.waiting) == (2, 0)
    await ended(tasks)


async def test_who_has_less_goes_first_however_many_another_sends() -> None:
    door = Door(2)
    tasks = door.queue("aaaaaaaaaa")
    await door.settle()
    tasks += door.queue("b")
    await door.settle()
    await door.let_one_go()
    assert door.order == ["a", "a", "b"]
    await ended(tasks)


async def test_a_tenants_own_questions_keep_their_order() -> None:
    door, order = Door(1), list[int]()

    async def ask(number: int) -> None:
        await door.enter("a")
        order.append(number)

    tasks = [asyncio.create_task(ask(number)) for number in range(4)]
    for _ in range(4):
        await door.settle()
        await door.let_one_go()
    await asyncio.gather(*tasks)
    assert order == [0, 1, 2, 3]


async def test_shares_of_the_limiter_decide_where_others_wait_too() -> None:
    door = Door(4)
    first = door.queue("abab")
    await door.settle()
    tasks = [*first, *door.queue("aaaabbbb")]
    await door.settle()
    door.places.apply(4, {"a": TenantGrant(share=1), "b": TenantGrant(share=3)})
    for _ in range(4):
        await door.let_one_go()
    assert sorted(door.order[4:]) == ["a", "b", "b", "b"]
    await ended(tasks)


async def test_fewer_places_take_nothing_away_and_are_kept_afterwards() -> None:
    door = Door(3)
    tasks = door.queue("aaaa")
    await door.settle()
    door.places.apply(1, {})
    await door.let_one_go()
    await door.let_one_go()
    assert (door.places.running, door.places.waiting) == (1, 1)
    door.places.apply(2, {})
    await door.settle()
    assert (door.places.running, door.places.waiting) == (2, 0)
    await ended(tasks)


async def test_a_tenants_own_limit_holds_beside_free_places() -> None:
    door = Door(8)
    tasks = door.queue("aaaa", Terms(concurrent=2))
    await door.settle()
    assert (door.places.running, door.places.waiting) == (2, 2)
    await door.let_one_go()
    assert (door.places.running, door.places.waiting) == (2, 1)
    tasks += door.queue("b")
    await door.settle()
    assert door.places.running == 3
    await ended(tasks)


async def test_a_full_queue_of_a_tenant_is_its_own_affair() -> None:
    door = Door(1, max_waiting=2)
    tasks = door.queue("aaa")
    await door.settle()
    with pytest.raises(RateLimited, match="2 questions of this tenant wait"):
        await door.enter("a")
    tasks += door.queue("b")
    await door.settle()
    assert door.places.waiting == 3
    await ended(tasks)


async def test_a_full_queue_of_the_replica_is_everybodys() -> None:
    door = Door(1, max_waiting_in_all=2)
    tasks = door.queue("abc")
    await door.settle()
    with pytest.raises(Overloaded) as refused:
        await door.enter("d")
    assert refused.value.retry_after_s is not None
    await ended(tasks)


async def test_what_cannot_be_answered_in_time_does_not_wait() -> None:
    door = Door(1)
    await door.answered(2.0)
    tasks = door.queue("a", deadline_s=30)
    await door.settle()
    with pytest.raises(Overloaded) as alone:
        await asyncio.wait_for(door.enter("a", deadline_s=3.5), 0.1)
    assert alone.value.retry_after_s == pytest.approx(2.0)
    tasks += door.queue("a", deadline_s=30)
    await door.settle()
    with pytest.raises(RateLimited):  # behind the tenant's own
        await asyncio.wait_for(door.enter("a", deadline_s=3.5), 0.1)
    await ended(tasks)


async def test_a_wait_ends_while_there_is_time_to_say_so() -> None:
    door = Door(1, max_wait_s=0.05)
    tasks = door.queue("a")
    await door.settle()
    with pytest.raises(Overloaded, match=r"within 0\.1 s|within 0\.0 s"):
        await door.enter("a")
    assert (door.places.running, door.places.waiting) == (1, 0)
    await ended(tasks)


async def test_who_goes_away_leaves_the_queue() -> None:
    door = Door(1)
    tasks = door.queue("aab")
    await door.settle()
    await ended(tasks[1:2])
    assert door.places.waiting == 1
    await door.let_one_go()
    assert door.order == ["a", "b"]
    await ended(tasks)


async def test_who_goes_away_as_the_turn_comes_gives_it_on() -> None:
    door = Door(1)
    tasks = door.queue("aab")
    await door.settle()
    door.held.pop(0).release(answered=False)  # the turn of the next is set, and its task has not run yet
    await ended([task for task in tasks[1:] if not task.done()][:1])
    await door.settle()
    assert door.places.running == 1
    await ended(tasks)


async def test_a_place_that_nobody_holds_is_free_again() -> None:
    door = Door(1)
    await door.enter("a")
    door.held.clear()
    gc.collect()
    await door.settle()
    assert door.places.running == 0


async def test_released_twice_is_released_once() -> None:
    door = Door(2)
    place = await door.enter("a")
    await door.enter("a")
    place.release(answered=False)
    place.release(answered=False)
    assert door.places.running == 1


async def test_a_queue_is_told_of_at_once() -> None:
    door = Door(1)
    tasks = door.queue("a")
    await door.settle()
    assert not door.changed.is_set()
    tasks += door.queue("a")
    await door.settle()
    assert door.changed.is_set()
    await ended(tasks)


async def test_a_wait_behind_its_own_is_the_tenants_doing_even_if_it_ends_alone() -> None:
    door = Door(1)
    await door.enter("a")
    first = door.queue("a")
    await door.settle()
    second = door.queue("a", deadline_s=0.2)
    await door.settle()
    await ended(first)
    with pytest.raises(RateLimited, match="no place"):
        await second[0]


async def test_a_question_waits_no_longer_than_leaves_time_for_a_long_answer() -> None:
    door = Door(1)
    await door.answered(1.0, 20)
    await door.answered(3.0, 4)
    await door.enter("a")
    with pytest.raises(Overloaded, match=r"within 1\.[01] s"):
        await door.enter("a", deadline_s=4.5)


async def test_what_comes_before_generation_is_known_apart() -> None:
    door = Door(1)
    for _ in range(8):
        place = await door.places.enter("a", TERMS, Deadline(5))
        door.clock.now += 0.5
        place.generating()
        door.clock.now += 2
        place.release(answered=True)
    assert door.places.pace.ahead == pytest.approx(0.1 + 0.25)


async def test_tenants_without_work_are_forgotten() -> None:
    door = Door(2)
    place = await door.enter("a")
    assert door.places.loads() == {"a": (TERMS, 1, 0)}
    place.release(answered=False)
    assert door.places.loads() == {}


async def test_what_broke_off_tells_nothing_of_how_long_answers_take() -> None:
    door = Door(1)
    for _ in range(20):
        place = await door.enter("a")
        door.clock.now += 60
        place.release(answered=False)
    tasks = door.queue("ab", deadline_s=3)
    await door.settle()
    assert door.places.waiting == 1
    await ended(tasks)
