"""Tenants' rate limits in one replica."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

from deployments.errors import RateLimited
from serve_app.admission.protocol import TenantGrant, rate_slice

_KEEP_IDLE_S = 60.0
"""How long the account of a tenant without requests is kept."""


@dataclass(frozen=True, slots=True)
class RateLimitStatus:
    """`remaining` of `limit` requests a minute are left; in `reset_s` all of them are."""

    limit: int
    remaining: int
    reset_s: int


class RateLimits:
    """Counts requests here and reports them to the limiter afterwards.

    A tenant without a grant gets one slice of its rate at once, on credit.
    """

    def __init__(self, wait_s: float, changed: asyncio.Event, clock: Callable[[], float] = time.monotonic) -> None:
        """A request waits for more allowance at most `wait_s`. `changed` is set when the limiter should be asked."""
        self._wait_s = wait_s
        self._changed = changed
        self._clock = clock
        self._accounts: dict[str, _Account] = {}
        self._granted = asyncio.Event()

    async def count_request(self, tenant_id: str, requests_per_minute: int) -> RateLimitStatus:
        """Count one request. Without allowance it first waits for the next grant. Raises RateLimited."""
        account = self._accounts.get(tenant_id)
        if account is None:
            account = _Account(requests_per_minute, rate_slice(requests_per_minute), requests_per_minute)
            self._accounts[tenant_id] = account
        account.limit, account.used_at = requests_per_minute, self._clock()
        if account.allowance < 1:
            await self._wait_for_grant(account)
        if account.allowance < 1:
            refusal = RateLimited(
                f"{requests_per_minute} requests a minute are this tenant's limit "
                "(settings.limits.requests_per_minute); wait as long as Retry-After says"
            )
            refusal.retry_after_s = (1 - min(0.0, account.remaining)) * 60 / requests_per_minute
            raise refusal
        account.allowance -= 1
        account.remaining -= 1
        account.spent += 1
        if 2 * account.allowance < rate_slice(requests_per_minute):
            self._changed.set()
        return account.status()

    async def _wait_for_grant(self, account: _Account) -> None:
        account.wanted += 1
        self._changed.set()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(self._wait_s):
                    await self._granted.wait()
        finally:
            account.wanted -= 1

    def status(self, tenant_id: str) -> RateLimitStatus | None:
        account = self._accounts.get(tenant_id)
        return None if account is None else account.status()

    def take_report(self) -> dict[str, tuple[int, int]]:
        """Per tenant: requests spent since the last report, and requests that wait for allowance."""
        now = self._clock()
        self._accounts = {
            tenant_id: account
            for tenant_id, account in self._accounts.items()
            if account.spent or account.wanted or now - account.used_at < _KEEP_IDLE_S
        }
        report = {tenant_id: (account.spent, account.wanted) for tenant_id, account in self._accounts.items()}
        for account in self._accounts.values():
            account.reported, account.spent = account.spent, 0
        return report

    def apply(self, tenant_id: str, grant: TenantGrant) -> None:
        """The limiter's answer to the last report. Requests spent since that report are subtracted."""
        if (account := self._accounts.get(tenant_id)) is not None:
            account.allowance = grant.allowance - account.spent
            account.remaining = grant.remaining - account.spent
            account.reported = 0

    def continue_without_grant(self, elapsed_s: float, replicas: int) -> None:
        """The limiter did not answer: put the report back, and refill each rate by this replica's equal part."""
        for account in self._accounts.values():
            account.spent, account.reported = account.spent + account.reported, 0
            refilled = account.allowance + account.limit / 60 * elapsed_s / replicas
            account.allowance = max(account.allowance, min(refilled, rate_slice(account.limit)))

    def wake(self) -> None:
        """Let the requests that wait for allowance look again."""
        self._granted.set()
        self._granted = asyncio.Event()


@dataclass(slots=True)
class _Account:
    """`remaining`: the rest of the limit in all replicas together, as far as this replica knows.

    TenantLoad and TenantGrant describe the other fields.
    """

    limit: int
    allowance: float
    remaining: float
    used_at: float = 0.0
    spent: int = 0
    reported: int = 0
    wanted: int = 0

    def status(self) -> RateLimitStatus:
        remaining = max(0, math.floor(self.remaining))
        return RateLimitStatus(self.limit, remaining, math.ceil((self.limit - remaining) * 60 / self.limit))
