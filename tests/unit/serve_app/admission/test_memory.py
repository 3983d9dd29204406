from __future__ import annotations

import math

import pytest

from serve_app.admission.memory import Memory


def test_it_comes_near_to_what_is_used() -> None:
    memory = Memory(10)
    for second in range(61):
        memory.add(float(second), {"a": 4})
    assert memory.mean("a") == pytest.approx(4, rel=0.01)


def test_how_often_it_is_told_changes_nothing() -> None:
    seldom, often = Memory(10), Memory(10)
    for step in range(101):
        often.add(step / 10, {"a": 4})
        if step % 50 == 0:
            seldom.add(step / 10, {"a": 4})
    assert seldom.mean("a") == pytest.approx(often.mean("a"))
    assert often.mean("a") == pytest.approx(4 * (1 - math.exp(-1)))


def test_who_has_nothing_is_forgotten() -> None:
    memory = Memory(10)
    memory.add(0, {"a": 4})
    memory.add(10, {"a": 4})
    memory.add(100, {})
    assert memory.mean("a") == 0
    assert not memory._means
