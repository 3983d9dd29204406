"""What is left of tenants' rates in one replica."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from deployments.errors import RateLimited
from serve_app.admission.protocol import TenantGrant, slice_of

_KEEP_S = 60.0
"""How long an allowance without requests is remembered."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A tenant's rate as it stands: `remaining` of `limit` requests a minute, all of them again in `reset_s`."""

    limit: int
    remaining: int
    reset_s: int


class Rates:
    """A request is counted here and reported afterwards. A tenant that is new here has a slice at once, on credit."""

    def __init__(self, wait_s: float, changed: asyncio.Event, clock: Callable[[], float] = time.monotonic) -> None:
        """`changed` is set when the limiter should be asked for more; so long as `wait_s` a request waits for it."""
        self._wait_s = wait_s
        self._changed = changed
        self._clock = clock
        self._accounts: dict[str, _Account] = {}
        self._granted = asyncio.Event()

    async def spend(self, tenant_id: str, requests_per_minute: int) -> Rate:
        """Count one request. Raises RateLimited.

        One that finds the slice spent waits for the next grant, together with all others that do.
        """
        account = self._accounts.get(tenant_id)
        if account is None:
            account = _Account(requests_per_minute, slice_of(requests_per_minute), requests_per_minute)
            self._accounts[tenant_id] = account
        account.limit, account.used = requests_per_minute, self._clock()
        if account.allowance < 1:
            await self._grant_for(account)
        if account.allowance < 1:
            refused = RateLimited(
                f"{requests_per_minute} requests a minute are this tenant's limit "
                "(settings.limits.requests_per_minute); wait as long as Retry-After says"
            )
            refused.retry_after_s = (1 - min(0.0, account.level)) * 60 / requests_per_minute
            raise refused
        account.allowance -= 1
        account.level -= 1
        account.spent += 1
        if 2 * account.allowance < slice_of(requests_per_minute):
            self._changed.set()
        return account.rate()

    async def _grant_for(self, account: _Account) -> None:
        account.wanted += 1
        self._changed.set()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._wait_s):
                    await self._granted.wait()
        finally:
            account.wanted -= 1

    def rate(self, tenant_id: str) -> Rate | None:
        account = self._accounts.get(tenant_id)
        return None if account is None else account.rate()

    def take_report(self) -> dict[str, tuple[int, int]]:
        """Of each tenant: requests spent since the last report, and waiting for an allowance."""
        now = self._clock()
        self._accounts = {
            key: each for key, each in self._accounts.items() if each.spent or each.wanted or now - each.used < _KEEP_S
        }
        report = {key: (each.spent, each.wanted) for key, each in self._accounts.items()}
        for account in self._accounts.values():
            account.reported, account.spent = account.spent, 0
        return report

    def apply(self, tenant_id: str, grant: TenantGrant) -> None:
        """The answer to the last report; what was spent meanwhile is taken off."""
        if (account := self._accounts.get(tenant_id)) is not None:
            account.allowance = grant.allowance - account.spent
            account.level = grant.level - account.spent
            account.reported = 0

    def go_on(self, elapsed_s: float, replicas: int) -> None:
        """There was no answer: the report is made again, and the rate refilled by this replica's equal part."""
        for account in self._accounts.values():
            account.spent, account.reported = account.spent + account.reported, 0
            refilled = account.allowance + account.limit / 60 * elapsed_s / replicas
            account.allowance = max(account.allowance, min(refilled, slice_of(account.limit)))

    def wake(self) -> None:
        """Let those look again who wait for an allowance."""
        self._granted.set()
        self._granted = asyncio.Event()


@dataclass(slots=True)
class _Account:
    """`level`: what is left in all replicas together, as far as is known here."""

    limit: int
    allowance: float
    level: float
    used: float = 0.0
    spent: int = 0
    reported: int = 0
    wanted: int = 0

    def rate(self) -> Rate:
        left = max(0, math.floor(self.level))
        return Rate(self.limit, left, math.ceil((self.limit - left) * 60 / self.limit))
