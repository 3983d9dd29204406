"""How slots are divided among tenants: weighted max-min fairness that takes recent use into account. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Key = TypeVar("Key")

_NEGLIGIBLE_SLOTS = 0.01


def max_min(
    total: float,
    demands: Mapping[Key, float],
    weights: Mapping[Key, float],
    recent_use: Mapping[Key, float] | None = None,
) -> dict[Key, float]:
    """Weighted max-min shares of `total` (Bertsekas and Gallager, "Data Networks", 1992, section 6.5.2).

    No share exceeds its demand. What one key leaves unused is divided among the others by weight. The shares add up to
    `total`, or to the sum of all demands if that is less. `recent_use` counts as already received: a key with less of
    it, for its weight, is served first.
    """
    used, wanted, widths = (
        np.fromiter((amounts.get(key, 0.0) for key in demands), np.float64, len(demands))
        for amounts in (recent_use or {}, demands, weights)
    )
    level = _water_level(total, wanted, widths, used)
    shares = np.minimum(np.maximum(0.0, level * widths - used), wanted)
    return dict(zip(demands, shares.tolist(), strict=True))


def _water_level(
    total: float, demands: NDArray[np.float64], weights: NDArray[np.float64], used: NDArray[np.float64]
) -> float:
    """The level of water filling: each key is a vessel of width `weight` whose floor is its recent use.

    Arrays of one value a key: thousands of tenants are divided for many times a second.
    """
    levels = np.concatenate((used / weights, (used + demands) / weights))
    order = np.argsort(levels, kind="stable")  # of a vessel, its floor before its rim
    levels = levels[order]
    width_after = np.cumsum(np.concatenate((weights, -weights))[order])
    added = np.diff(levels) * width_after[:-1]
    filled = np.cumsum(added)
    full = int(np.searchsorted(filled, total, side="right"))
    if full == len(filled):
        return float(levels[-1]) if len(levels) else 0.0
    before = float(filled[full - 1]) if full else 0.0
    return float(levels[full] + (total - before) / width_after[full])


def round_keeping_sum(amounts: Mapping[Key, float]) -> dict[Key, int]:
    """Whole numbers with the same sum, by the method of largest remainders. A tie goes to the first key."""
    rounded = {key: int(amount) for key, amount in amounts.items()}
    missing = round(sum(amounts.values())) - sum(rounded.values())
    by_remainder = sorted(amounts, key=lambda key: (rounded[key] - amounts[key], str(key)))
    return rounded | {key: rounded[key] + 1 for key in by_remainder[:missing]}


class RecentUse:
    """Each tenant's mean number of slots: an exponential moving average with a time constant of `memory_s`."""

    def __init__(self, memory_s: float) -> None:
        self._memory_s = memory_s
        self._means: dict[str, float] = {}
        self._updated_at: float | None = None

    def record(self, now: float, running: Mapping[str, int]) -> None:
        """The slots that tenants have held since the last call."""
        elapsed_s = 0.0 if self._updated_at is None else now - self._updated_at
        self._updated_at = now
        gain = 1 - math.exp(-elapsed_s / self._memory_s)
        means = {
            tenant_id: self.mean(tenant_id) + gain * (running.get(tenant_id, 0) - self.mean(tenant_id))
            for tenant_id in self._means.keys() | running.keys()
        }
        self._means = {tenant_id: mean for tenant_id, mean in means.items() if mean > _NEGLIGIBLE_SLOTS}

    @property
    def tenants(self) -> Set[str]:
        """Tenants that held slots recently."""
        return self._means.keys()

    def mean(self, tenant_id: str) -> float:
        return self._means.get(tenant_id, 0.0)
