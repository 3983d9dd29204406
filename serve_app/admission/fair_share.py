"""How slots are divided among tenants: weighted max-min fairness that takes recent use into account. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from typing import TypeVar

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
    used = recent_use or {}
    level = _water_level(total, demands, weights, used)
    return {key: min(max(0.0, level * weights[key] - used.get(key, 0.0)), demand) for key, demand in demands.items()}


def _water_level(
    total: float, demands: Mapping[Key, float], weights: Mapping[Key, float], used: Mapping[Key, float]
) -> float:
    """The level of water filling: each key is a vessel of width `weight` whose floor is its recent use."""
    floors = [(used.get(key, 0.0) / weights[key], weights[key]) for key in demands]
    rims = [((used.get(key, 0.0) + demand) / weights[key], -weights[key]) for key, demand in demands.items()]
    level = width = filled = 0.0
    for next_level, width_change in sorted(floors + rims):
        added = width * (next_level - level)
        if filled + added > total:
            return level + (total - filled) / width
        level, width, filled = next_level, width + width_change, filled + added
    return level


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
