"""Secrets that are no keys: remembered for a moment, and counted by the address that they come from."""

from __future__ import annotations

import asyncio
import ipaddress
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from weakref import WeakValueDictionary

from cachetools import TTLCache

from deployments.errors import RateLimited

UNKNOWN_KEYS_PER_MINUTE = 60
UNKNOWN_KEY_CACHE_S = 2.0
LOOKUPS_AT_ONCE = 4
"""Lookups at the same time of secrets from one address that were not valid here before; others wait."""
MAX_UNKNOWN_KEYS = 10_000
"""Beyond it, the oldest is looked up again."""
MAX_ADDRESSES = 10_000
"""Beyond it, the address that was seen first begins anew."""
_MINUTE_S = 60.0
_IPV6_SITE_BITS = 64
"""One client has at least so large a network, and may take any address of it."""


class UnknownKeys:
    """One replica's. An address may try `per_minute` unknown secrets in a minute; each is remembered for `cache_s`.

    Remembering cannot refuse a new key: a secret is known to nobody before its key is in the database, and a key that
    has ended never works again.
    """

    def __init__(self, per_minute: int, cache_s: float, timer: Callable[[], float] = time.monotonic) -> None:
        self._per_minute = per_minute
        self._timer = timer
        self._digests: TTLCache[str, None] = TTLCache(MAX_UNKNOWN_KEYS, cache_s, timer)
        self._tries: TTLCache[str, _Tries] = TTLCache(MAX_ADDRESSES, _MINUTE_S, timer)
        self._lookups: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()

    def __contains__(self, digest: str) -> bool:
        return digest in self._digests

    @asynccontextmanager
    async def lookup(self, address: str) -> AsyncIterator[None]:
        """Around the lookup of a secret that may be unknown; some wait for others of the same address.

        Raises RateLimited if the address has tried too many.
        """
        client = _client(address)
        async with self._lookups.setdefault(client, asyncio.Semaphore(LOOKUPS_AT_ONCE)):
            tries = self._tries.get(client)
            over = 0.0 if tries is None else tries.count_at(self._timer(), self._per_minute) + 1 - self._per_minute
            if over > 0:
                refusal = RateLimited("too many unknown keys came from your address; wait as long as Retry-After says")
                refusal.retry_after_s = over * _MINUTE_S / self._per_minute
                raise refusal
            yield

    def count(self, address: str) -> None:
        """A secret from the address was unknown."""
        now, client = self._timer(), _client(address)
        tries = self._tries.get(client) or _Tries(0.0, now)
        self._tries[client] = _Tries(tries.count_at(now, self._per_minute) + 1, now)

    def add(self, digest: str) -> None:
        self._digests[digest] = None

    def discard(self, digest: str) -> None:
        """It is a key now."""
        self._digests.pop(digest, None)


@dataclass(frozen=True, slots=True)
class _Tries:
    """A leaky bucket, which held `count` tries at the time `at`."""

    count: float
    at: float

    def count_at(self, now: float, per_minute: int) -> float:
        return max(0.0, self.count - (now - self.at) * per_minute / _MINUTE_S)


def _client(address: str) -> str:
    """The address, or the network of an IPv6 address. Callers without an address count as one."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    return str(ipaddress.ip_network((parsed, _IPV6_SITE_BITS), strict=False)) if parsed.version == 6 else address
