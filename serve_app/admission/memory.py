"""How many places tenants had lately."""

from __future__ import annotations

import math
from collections.abc import Mapping, Set

_NOTHING = 0.01


class Memory:
    """The mean of each tenant's places over the last seconds, older ones counted less and less."""

    def __init__(self, memory_s: float) -> None:
        self._memory_s = memory_s
        self._means: dict[str, float] = {}
        self._until: float | None = None

    def add(self, now: float, running: Mapping[str, int]) -> None:
        """What tenants have had in use since the last call."""
        since = 0.0 if self._until is None else now - self._until
        self._until = now
        new = 1 - math.exp(-since / self._memory_s)
        means = {
            key: self.mean(key) + new * (running.get(key, 0) - self.mean(key))
            for key in self._means.keys() | running.keys()
        }
        self._means = {key: mean for key, mean in means.items() if mean > _NOTHING}

    @property
    def tenants(self) -> Set[str]:
        """Who had any."""
        return self._means.keys()

    def mean(self, tenant_id: str) -> float:
        return self._means.get(tenant_id, 0.0)
