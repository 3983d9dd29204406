"""The limiter sees all ingress replicas. It divides slots in generation, and tenants' rates, among them."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field
from typing import Any

from serve_app.admission.config import AdmissionConfig
from serve_app.admission.fair_share import RecentUse, max_min, round_keeping_sum
from serve_app.admission.protocol import AdmissionLimits, Grant, Report, TenantGrant, TenantLoad, rate_slice

_REPAYMENT_S = 1.0
"""Recent use, in slot-seconds over the memory, is weighed against the slots that a tenant gets in this time."""
_GUARANTEED = 0.25
"""The share of slots that is divided without regard to recent use."""
_TOLERANCE = 1e-6
_BUCKET_FULL_S = 120
"""After this long, a bucket that was overdrawn by its slices only is full again and can be dropped."""


class Limiter:
    """Keeps no state but the replicas' reports, the rates' levels and recent use.

    So a new limiter equals the old one after one report of each replica, except for recent use and rates, which start
    afresh.

    Slots are divided among tenants by weighted max-min over what they run and wait for. A quarter is divided without
    regard to recent use, so that every tenant gets some. The rest takes the use of the last `memory_s` into account: a
    tenant that stays below its share on average may burst beside one that never stops. Tenants above their share leave
    `kept_back` of the slots free while other tenants are active. A tenant's slots are divided among replicas by its
    load there. Unused slots are divided equally, so that an idle replica can answer at once. A replica that has not
    reported for `lease_s` gets none.
    """

    def __init__(self, config: AdmissionConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._clock = clock
        self._reports: dict[str, tuple[float, Report]] = {}
        self._reported: Mapping[str, _Tenant] = {}
        """What the last reports said."""
        self._buckets: dict[str, _Bucket] = {}
        self._recent_use = RecentUse(config.memory_s)

    def sync(self, report: Report) -> Grant:
        """Take a replica's report; return what it may spend until its next one."""
        now = self._clock()
        self._recent_use.record(now, {tenant_id: tenant.running for tenant_id, tenant in self._reported.items()})
        self._reports[report.replica] = now, report
        self._reports = {
            replica: (reported_at, last)
            for replica, (reported_at, last) in self._reports.items()
            if now - reported_at <= self._config.lease_s
        }
        tenants = self._reported = self._tenants()
        shares, capped = self._shares(report.slots, tenants)
        slots = dict.fromkeys(self._reports, (report.slots - sum(shares.values())) / len(self._reports))
        for tenant_id, tenant in tenants.items():
            for replica in tenant.loads:
                slots[replica] += shares[tenant_id] * tenant.fraction(replica)
        grants = {}
        for tenant_id in report.tenants:
            tenant, fraction = tenants[tenant_id], tenants[tenant_id].fraction(report.replica)
            max_running: float | None = tenant.limits.concurrent
            if tenant_id in capped:
                max_running = shares[tenant_id] if max_running is None else min(max_running, shares[tenant_id])
            grants[tenant_id] = TenantGrant(
                shares[tenant_id] * fraction,
                None if max_running is None else max(1, round(max_running * fraction)),
                *self._allowance(tenant_id, tenant, report.replica, now),
            )
        self._buckets = {
            tenant_id: bucket for tenant_id, bucket in self._buckets.items() if now - bucket.updated_at < _BUCKET_FULL_S
        }
        return Grant(max(1, round_keeping_sum(slots)[report.replica]), len(self._reports), grants)

    def _shares(self, slots: int, tenants: Mapping[str, _Tenant]) -> tuple[dict[str, float], Set[str]]:
        """Each tenant's share of the slots, and the tenants that may not exceed theirs.

        Those are the tenants that want more than their share while others are active: others may come at any time.
        """
        weights = {tenant_id: tenant.limits.weight for tenant_id, tenant in tenants.items()}
        demands = {tenant_id: tenant.demand for tenant_id, tenant in tenants.items()}
        guaranteed = max_min(slots * _GUARANTEED, demands, weights)
        unmet = {tenant_id: demand - guaranteed[tenant_id] for tenant_id, demand in demands.items()}
        used = {
            tenant_id: self._recent_use.mean(tenant_id) * self._config.memory_s / _REPAYMENT_S for tenant_id in tenants
        }
        balanced = max_min(slots - sum(guaranteed.values()), unmet, weights, used)
        shares = {tenant_id: guaranteed[tenant_id] + balanced[tenant_id] for tenant_id in tenants}
        above = {tenant_id for tenant_id in tenants if shares[tenant_id] < demands[tenant_id] - _TOLERANCE}
        others_active = bool((tenants.keys() | self._recent_use.tenants) - above)
        if not above or not others_active:
            return shares, set()
        reserved = self._config.kept_back * slots
        factor = max(0.0, 1 - reserved / sum(shares[tenant_id] for tenant_id in above))
        return {key: share * factor if key in above else share for key, share in shares.items()}, above

    def _tenants(self) -> dict[str, _Tenant]:
        loads: dict[str, dict[str, TenantLoad]] = {}
        for replica, (_, report) in self._reports.items():
            for tenant_id, load in report.tenants.items():
                loads.setdefault(tenant_id, {})[replica] = load
        return {tenant_id: _Tenant(by_replica) for tenant_id, by_replica in loads.items()}

    def _allowance(self, tenant_id: str, tenant: _Tenant, replica: str, now: float) -> tuple[int, float]:
        """How many requests the replica may spend of the tenant's rate, and how many are left of it in all."""
        load = tenant.loads[replica]
        if (rate := load.limits.requests_per_minute) is None:
            return 0, 0.0
        bucket = self._buckets.setdefault(tenant_id, _Bucket(float(rate), now))
        bucket.spend(load.spent, rate, now)
        granted_to_others = sum(bucket.granted.get(other, 0) for other in tenant.loads if other != replica)
        free = math.floor(bucket.level) - granted_to_others
        bucket.granted[replica] = max(0, min(max(rate_slice(rate), load.wanted), free))
        return bucket.granted[replica], bucket.level


class LimiterActor(Limiter):
    """The limiter that several replicas share. Its config is plain data, because Serve turns models into that."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(AdmissionConfig.model_validate(config))


class LocalLimiter:
    """The limiter of a single replica."""

    def __init__(self, config: AdmissionConfig) -> None:
        self._limiter = Limiter(config)

    async def sync(self, report: Report) -> Grant:
        return self._limiter.sync(report)


@dataclass(slots=True)
class _Bucket:
    """A tenant's token bucket; a full one holds a minute's requests. Replicas can overdraw it, to below 0.

    `granted`: what each replica was granted last, and may have spent since.
    """

    level: float
    updated_at: float
    granted: dict[str, int] = field(default_factory=dict)

    def spend(self, requests: int, requests_per_minute: int, now: float) -> None:
        refilled = self.level + requests_per_minute / 60 * (now - self.updated_at)
        self.level, self.updated_at = min(requests_per_minute, refilled) - requests, now


@dataclass(slots=True)
class _Tenant:
    """One tenant's loads by replica, and their sums: there may be thousands of tenants. `wanted_slots`: what it runs
    and waits for in all replicas."""

    loads: Mapping[str, TenantLoad]
    limits: AdmissionLimits = field(init=False)
    running: int = field(init=False)
    wanted_slots: int = field(init=False)
    demand: float = field(init=False)

    def __post_init__(self) -> None:
        self.limits = next(iter(self.loads.values())).limits
        self.running = sum([load.running for load in self.loads.values()])
        self.wanted_slots = self.running + sum([load.waiting for load in self.loads.values()])
        limit = self.limits.concurrent
        self.demand = self.wanted_slots if limit is None else min(self.wanted_slots, limit)

    def fraction(self, replica: str) -> float:
        """The replica's part of the tenant's load. Without load, an equal part."""
        return _wanted_slots(self.loads[replica]) / self.wanted_slots if self.wanted_slots else 1 / len(self.loads)


def _wanted_slots(load: TenantLoad) -> int:
    return load.running + load.waiting
