from __future__ import annotations

import pytest

from deployments.generation.tombstones import Tombstones
from tests.support.clock import Seconds


@pytest.fixture
def clock() -> Seconds:
    return Seconds(100.0)


def test_serves_once(clock: Seconds) -> None:
    tombstones = Tombstones(30, 10, clock)
    tombstones.add("t", "q")
    assert tombstones.take("t", "q")
    assert not tombstones.take("t", "q")


def test_is_the_tenants_own(clock: Seconds) -> None:
    tombstones = Tombstones(30, 10, clock)
    tombstones.add("t", "q")
    assert not tombstones.take("other", "q")
    assert not tombstones.take("t", "other")
    assert tombstones.take("t", "q")


@pytest.mark.parametrize(("later", "taken"), [(29.9, True), (30.0, False), (31.0, False)])
def test_expires(clock: Seconds, later: float, taken: bool) -> None:
    tombstones = Tombstones(30, 10, clock)
    tombstones.add("t", "q")
    clock.now += later
    assert tombstones.take("t", "q") is taken


def test_the_same_abort_lives_anew(clock: Seconds) -> None:
    tombstones = Tombstones(30, 10, clock)
    tombstones.add("t", "q")
    clock.now += 20
    tombstones.add("t", "q")
    clock.now += 20
    assert len(tombstones) == 1
    assert tombstones.take("t", "q")


def test_expired_ones_make_room(clock: Seconds) -> None:
    tombstones = Tombstones(30, 10, clock)
    tombstones.add("t", "old")
    clock.now += 15
    tombstones.add("t", "young")
    clock.now += 15
    tombstones.add("t", "new")
    assert len(tombstones) == 2
    assert tombstones.take("t", "young")


def test_beyond_its_capacity_the_oldest_is_forgotten(clock: Seconds) -> None:
    tombstones = Tombstones(30, 3, clock)
    for number in range(5):
        tombstones.add("t", str(number))
    assert len(tombstones) == 3
    assert [number for number in range(5) if tombstones.take("t", str(number))] == [2, 3, 4]
