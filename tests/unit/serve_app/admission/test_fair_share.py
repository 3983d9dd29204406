from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.admission.fair_share import RecentUse, max_min, round_keeping_sum

DEMANDS = st.dictionaries(st.integers(0, 20), st.integers(0, 50), min_size=1)


def even(demands: dict[str, float]) -> dict[str, float]:
    return dict.fromkeys(demands, 1.0)


def test_unused_shares_go_to_the_others() -> None:
    demands: dict[str, float] = {"a": 100, "b": 1, "c": 3}
    assert max_min(8, demands, even(demands)) == {"a": 4, "b": 1, "c": 3}


def test_every_demand_is_met_when_there_is_enough() -> None:
    demands: dict[str, float] = {"a": 2, "b": 1}
    assert max_min(8, demands, even(demands)) == demands


def test_shares_are_proportional_to_weights() -> None:
    assert max_min(8, {"a": 100, "b": 100}, {"a": 3, "b": 1}) == {"a": 6, "b": 2}


def test_less_recent_use_is_served_first() -> None:
    demands: dict[str, float] = {"a": 100, "b": 100, "c": 1}
    assert max_min(8, demands, even(demands), {"a": 5, "b": 2}) == {"a": 2, "b": 5, "c": 1}


def test_much_more_recent_use_gets_nothing_yet() -> None:
    demands: dict[str, float] = {"a": 100, "b": 100}
    assert max_min(8, demands, even(demands), {"a": 50}) == {"a": 0, "b": 8}


def test_no_demand_gets_no_share() -> None:
    assert max_min(8, {}, {}) == {}
    assert max_min(8, {"a": 0}, {"a": 1}) == {"a": 0}


@given(DEMANDS, st.integers(0, 100), st.data())
def test_shares_are_complete_and_max_min_fair(demands: dict[int, int], total: int, data: st.DataObject) -> None:
    weights = {key: data.draw(st.sampled_from([0.5, 1.0, 3.0])) for key in demands}
    used = {key: float(data.draw(st.integers(0, 9))) for key in demands}
    shares = max_min(total, demands, weights, used)
    assert shares.keys() == demands.keys()
    assert sum(shares.values()) == pytest.approx(min(total, sum(demands.values())))
    assert all(shares[key] <= demands[key] + 1e-9 for key in demands)
    levels = {key: (used[key] + shares[key]) / weights[key] for key in demands}
    unmet = [levels[key] for key in demands if shares[key] < demands[key] - 1e-9]
    if unmet:  # no key that got a share stands above one whose demand is not met
        assert max((levels[key] for key in demands if shares[key] > 1e-9), default=0.0) <= min(unmet) + 1e-6


@given(st.dictionaries(st.integers(0, 20), st.floats(0, 50), min_size=1))
def test_rounding_keeps_the_sum_and_changes_no_amount_by_more_than_one(amounts: dict[int, float]) -> None:
    rounded = round_keeping_sum(amounts)
    assert sum(rounded.values()) == round(sum(amounts.values()))
    assert all(abs(rounded[key] - amounts[key]) <= 1 for key in amounts)


def test_recent_use_approaches_the_slots_in_use() -> None:
    recent_use = RecentUse(10)
    for second in range(61):
        recent_use.record(float(second), {"a": 4})
    assert recent_use.mean("a") == pytest.approx(4, rel=0.01)


def test_recent_use_does_not_depend_on_how_often_it_is_recorded() -> None:
    seldom, often = RecentUse(10), RecentUse(10)
    for step in range(101):
        often.record(step / 10, {"a": 4})
        if step % 50 == 0:
            seldom.record(step / 10, {"a": 4})
    assert seldom.mean("a") == pytest.approx(often.mean("a"))
    assert often.mean("a") == pytest.approx(4 * (1 - math.exp(-1)))


def test_a_tenant_without_recent_use_is_forgotten() -> None:
    recent_use = RecentUse(10)
    recent_use.record(0, {"a": 4})
    recent_use.record(10, {"a": 4})
    assert recent_use.tenants == {"a"}
    recent_use.record(100, {})
    assert recent_use.mean("a") == 0
    assert not recent_use.tenants
