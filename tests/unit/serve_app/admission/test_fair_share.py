from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve_app.admission.fair_share import max_min, whole

DEMANDS = st.dictionaries(st.integers(0, 20), st.integers(0, 50), min_size=1)


def even(demands: dict[str, float]) -> dict[str, float]:
    return dict.fromkeys(demands, 1.0)


def test_what_one_leaves_is_the_others() -> None:
    demands: dict[str, float] = {"a": 100, "b": 1, "c": 3}
    assert max_min(8, demands, even(demands)) == {"a": 4, "b": 1, "c": 3}


def test_enough_for_all_gives_all_what_they_want() -> None:
    demands: dict[str, float] = {"a": 2, "b": 1}
    assert max_min(8, demands, even(demands)) == demands


def test_weights_divide_what_is_short() -> None:
    assert max_min(8, {"a": 100, "b": 100}, {"a": 3, "b": 1}) == {"a": 6, "b": 2}


def test_who_had_less_is_filled_first() -> None:
    demands: dict[str, float] = {"a": 100, "b": 100, "c": 1}
    assert max_min(8, demands, even(demands), {"a": 5, "b": 2}) == {"a": 2, "b": 5, "c": 1}


def test_who_had_much_more_gets_nothing_yet() -> None:
    demands: dict[str, float] = {"a": 100, "b": 100}
    assert max_min(8, demands, even(demands), {"a": 50}) == {"a": 0, "b": 8}


def test_nobody_asks() -> None:
    assert max_min(8, {}, {}) == {}
    assert max_min(8, {"a": 0}, {"a": 1}) == {"a": 0}


@given(DEMANDS, st.integers(0, 100), st.data())
def test_nothing_is_lost_and_nobody_gets_more_than_he_wants(
    demands: dict[int, int], total: int, data: st.DataObject
) -> None:
    weights = {key: data.draw(st.sampled_from([0.5, 1.0, 3.0])) for key in demands}
    had = {key: float(data.draw(st.integers(0, 9))) for key in demands}
    shares = max_min(total, demands, weights, had)
    assert shares.keys() == demands.keys()
    assert sum(shares.values()) == pytest.approx(min(total, sum(demands.values())))
    assert all(shares[key] <= demands[key] + 1e-9 for key in demands)
    levels = {key: (had[key] + shares[key]) / weights[key] for key in demands}
    short = [levels[key] for key in demands if shares[key] < demands[key] - 1e-9]
    if short:  # nobody who got anything has, with what he had, more for his weight than one who is short
        assert max((levels[key] for key in demands if shares[key] > 1e-9), default=0.0) <= min(short) + 1e-6


@given(st.dictionaries(st.integers(0, 20), st.floats(0, 50), min_size=1))
def test_rounding_keeps_the_sum_and_moves_nobody_by_one(amounts: dict[int, float]) -> None:
    rounded = whole(amounts)
    assert sum(rounded.values()) == round(sum(amounts.values()))
    assert all(abs(rounded[key] - amounts[key]) <= 1 for key in amounts)
