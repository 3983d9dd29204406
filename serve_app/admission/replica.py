"""Admission in one ingress replica: spends the grant of rates and of slots, and reports what was spent."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable

from serve_app.admission.config import AdmissionConfig
from serve_app.admission.protocol import AdmissionLimits, Grant, Report, TenantLoad
from serve_app.admission.rate_limits import RateLimits, RateLimitStatus
from serve_app.admission.slots import Slot, Slots
from serve_app.query.deadline import Deadline


class ReplicaAdmission:
    """Decides locally, by the last grant. `changed` is set when the next report should be sent at once."""

    def __init__(
        self, config: AdmissionConfig, initial_slots: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        """`initial_slots`: the slots before the first grant."""
        self.config = config
        self.changed = asyncio.Event()
        self._limits: dict[str, AdmissionLimits] = {}
        self._rates = RateLimits(2 * config.exchange_s, self.changed, clock)
        self._slots = Slots(config, initial_slots, self.changed, clock)
        self._replicas = 1

    async def count_request(self, tenant_id: str, limits: AdmissionLimits) -> RateLimitStatus | None:
        """Count a request against the tenant's rate limit. Returns None if it has no limit. Raises RateLimited."""
        if (limit := limits.requests_per_minute) is None:
            return None
        self._limits[tenant_id] = limits
        return await self._rates.count_request(tenant_id, limit)

    def rate_status(self, tenant_id: str) -> RateLimitStatus | None:
        return self._rates.status(tenant_id)

    async def acquire_slot(self, tenant_id: str, limits: AdmissionLimits, deadline: Deadline) -> Slot:
        """Wait for a slot in generation. Raises RateLimited, Overloaded: see Slots.acquire."""
        return await self._slots.acquire(tenant_id, limits, deadline)

    @property
    def slots(self) -> int:
        """Those that may be in use at once."""
        return self._slots.count

    @property
    def running(self) -> int:
        return self._slots.running

    @property
    def waiting(self) -> int:
        return self._slots.waiting

    def report(self, replica: str, engine_slots: int) -> Report:
        """What to tell the limiter. Follow it by `apply`, or by `continue_without_grant` if there was no answer.

        `engine_slots`: how many answers generation produces at once. More may be under way, because others are being
        prepared meanwhile.
        """
        rates, slots = self._rates.take_report(), self._slots.loads()
        self._limits = {tenant_id: limits for tenant_id, limits in self._limits.items() if tenant_id in rates}
        loads = {}
        for tenant_id in rates.keys() | slots.keys():
            limits, running, waiting = slots.get(tenant_id) or (self._limits[tenant_id], 0, 0)
            spent, wanted = rates.get(tenant_id, (0, 0))
            loads[tenant_id] = TenantLoad(limits, running, waiting, spent, wanted)
        ahead = min(self._slots.latency.preparing_ratio, self.config.most_ahead)
        return Report(replica, math.ceil(engine_slots * (1 + ahead)), loads)

    def apply(self, grant: Grant) -> None:
        self._replicas = grant.replicas
        for tenant_id, tenant_grant in grant.tenants.items():
            self._rates.apply(tenant_id, tenant_grant)
        self._rates.wake()
        self._slots.apply(grant.slots, grant.tenants)

    def continue_without_grant(self, elapsed_s: float) -> None:
        """The limiter did not answer for `elapsed_s`. Slots stay; rates refill by this replica's equal part."""
        self._rates.continue_without_grant(elapsed_s, self._replicas)
        self._rates.wake()
