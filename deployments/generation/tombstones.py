"""The memory of aborts that came before their request."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable


class Tombstones:
    """Remembers which queries were aborted before they arrived: each for `lifetime_s` seconds, at most
    `capacity` of them (the oldest is forgotten first). Keys hold the tenant, so no tenant can end another's query.
    """

    def __init__(self, lifetime_s: float, capacity: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._lifetime_s = lifetime_s
        self._capacity = capacity
        self._clock = clock
        self._expiry: OrderedDict[tuple[str, str], float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._expiry)

    def add(self, tenant_id: str, query_id: str) -> None:
        """Remember an abort; the same one again starts its lifetime anew."""
        now = self._clock()
        self._forget_expired(now)
        key = (tenant_id, query_id)
        self._expiry.pop(key, None)
        while len(self._expiry) >= self._capacity:
            self._expiry.popitem(last=False)
        self._expiry[key] = now + self._lifetime_s

    def take(self, tenant_id: str, query_id: str) -> bool:
        """Whether the query was aborted in advance. A tombstone serves once."""
        expiry = self._expiry.pop((tenant_id, query_id), None)
        return expiry is not None and self._clock() < expiry

    def _forget_expired(self, now: float) -> None:
        # One lifetime for all, so the order of insertion is the order of expiry.
        while self._expiry and next(iter(self._expiry.values())) <= now:
            self._expiry.popitem(last=False)
