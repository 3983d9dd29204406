"""How places are divided. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

K = TypeVar("K")


def max_min(
    total: float, demands: Mapping[K, float], weights: Mapping[K, float], had: Mapping[K, float] | None = None
) -> dict[K, float]:
    """Weighted max-min shares: nobody gets more than demanded, and what one leaves is the others' by their weights
    (Bertsekas and Gallager, "Data Networks", 1992, section 6.5.2). The sum is `total`, or all demands if that is less.

    What each `had` before counts with what it gets now: who had less for its weight is served before the others.
    """
    had = had or {}
    level = _level(total, demands, weights, had)
    return {key: min(max(0.0, level * weights[key] - had.get(key, 0.0)), demand) for key, demand in demands.items()}


def _level(total: float, demands: Mapping[K, float], weights: Mapping[K, float], had: Mapping[K, float]) -> float:
    """To which had and share of each, divided by its weight, are filled like vessels that stand on `had`."""
    opens = [(had.get(key, 0.0) / weights[key], weights[key]) for key in demands]
    closes = [((had.get(key, 0.0) + demand) / weights[key], -weights[key]) for key, demand in demands.items()]
    level = width = filled = 0.0
    for point, change in sorted(opens + closes):
        more = width * (point - level)
        if filled + more > total:
            return level + (total - filled) / width
        level, width, filled = point, width + change, filled + more
    return level


def whole(amounts: Mapping[K, float]) -> dict[K, int]:
    """The amounts rounded to whole numbers of the same sum, by the largest remainders; ties go to the first key."""
    rounded = {key: int(amount) for key, amount in amounts.items()}
    missing = round(sum(amounts.values())) - sum(rounded.values())
    by_remainder = sorted(amounts, key=lambda key: (rounded[key] - amounts[key], str(key)))
    return rounded | {key: rounded[key] + 1 for key in by_remainder[:missing]}
