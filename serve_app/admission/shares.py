"""How places are divided. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

K = TypeVar("K")


def max_min(total: float, demands: Mapping[K, float], weights: Mapping[K, float]) -> dict[K, float]:
    """Weighted max-min shares: nobody gets more than demanded, and what one leaves is the others' by their weights
    (Bertsekas and Gallager, "Data Networks", 1992, section 6.5.2). The sum is `total`, or all demands if that is less.
    """
    shares: dict[K, float] = {}
    open_ = dict(demands)
    left = total
    while open_:
        level = left / sum(weights[key] for key in open_)
        satisfied = [key for key, demand in open_.items() if demand <= level * weights[key]]
        if not satisfied:
            return {**shares, **{key: level * weights[key] for key in open_}}
        for key in satisfied:
            shares[key] = open_.pop(key)
            left -= shares[key]
    return shares


def whole(amounts: Mapping[K, float]) -> dict[K, int]:
    """The amounts rounded to whole numbers of the same sum, by the largest remainders; ties go to the first key."""
    rounded = {key: int(amount) for key, amount in amounts.items()}
    missing = round(sum(amounts.values())) - sum(rounded.values())
    by_remainder = sorted(amounts, key=lambda key: (rounded[key] - amounts[key], str(key)))
    return rounded | {key: rounded[key] + 1 for key in by_remainder[:missing]}
