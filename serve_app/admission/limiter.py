"""The one place that sees all ingress replicas: divides places in generation, and what is left of tenants' rates."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass, field
from typing import Any

from serve_app.admission.config import AdmissionConfig
from serve_app.admission.fair_share import max_min, whole
from serve_app.admission.memory import Memory
from serve_app.admission.protocol import Grant, Report, TenantGrant, TenantLoad, Terms, slice_of

_REPAID_S = 1.0
"""What a tenant had more than another over the memory is weighed against what they get in so many seconds."""
_SURE = 0.25
"""Of the places, the part that is divided whatever was before."""
_LEAST = 1e-6
_FULL_AGAIN_S = 120
"""A bucket that was overdrawn by no more than its slices is full after so long."""


class Limiter:
    """Knows only what replicas report, so that a new one, but for its memory, is as good as the old after one report of
    each.

    Places are divided among tenants by weighted max-min over what they run and wait for: a quarter of them as if
    nothing had been before, so that nobody is without, and the rest with what each had in the last `memory_s`, so that
    a tenant which keeps to its share on the whole may ask in bursts beside one that never stops. Whoever wants more
    than that leaves `kept_back` of them free while others are about, who would else wait until an answer ends. Each
    tenant's are divided among replicas by what it has there, and what nobody may have equally, so that an idle one
    answers at once. A replica that has not reported for `lease_s` has none.
    """

    def __init__(self, config: AdmissionConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._clock = clock
        self._reports: dict[str, tuple[float, Report]] = {}
        self._buckets: dict[str, _Bucket] = {}
        self._memory = Memory(config.memory_s)

    def exchange(self, report: Report) -> Grant:
        """Take a replica's report and return what it may spend until its next."""
        now = self._clock()
        self._memory.add(now, {tenant_id: tenant.running for tenant_id, tenant in self._tenants().items()})
        self._reports[report.replica] = now, report
        self._reports = {name: held for name, held in self._reports.items() if now - held[0] <= self._config.lease_s}
        tenants = self._tenants()
        shares, short = self._shares(report.places, tenants)
        places = dict.fromkeys(self._reports, (report.places - sum(shares.values())) / len(self._reports))
        for tenant_id, tenant in tenants.items():
            for replica in tenant.loads:
                places[replica] += shares[tenant_id] * tenant.part(replica)
        grants = {}
        for tenant_id in report.tenants:
            tenant, part = tenants[tenant_id], tenants[tenant_id].part(report.replica)
            most: float | None = tenant.terms.concurrent
            if tenant_id in short:
                most = shares[tenant_id] if most is None else min(most, shares[tenant_id])
            grants[tenant_id] = TenantGrant(
                shares[tenant_id] * part,
                None if most is None else max(1, round(most * part)),
                *self._allowance(tenant_id, tenant, report.replica, now),
            )
        self._buckets = {key: each for key, each in self._buckets.items() if now - each.at < _FULL_AGAIN_S}
        return Grant(max(1, whole(places)[report.replica]), len(self._reports), grants)

    def _shares(self, places: int, tenants: Mapping[str, _Tenant]) -> tuple[dict[str, float], Set[str]]:
        """Each tenant's part of the places, and those that are held to it because others may come at any time."""
        weights = {tenant_id: tenant.terms.weight for tenant_id, tenant in tenants.items()}
        demands = {tenant_id: tenant.demand for tenant_id, tenant in tenants.items()}
        sure = max_min(places * _SURE, demands, weights)
        had = {tenant_id: self._memory.mean(tenant_id) * self._config.memory_s / _REPAID_S for tenant_id in tenants}
        rest = {tenant_id: demand - sure[tenant_id] for tenant_id, demand in demands.items()}
        repaid = max_min(places - sum(sure.values()), rest, weights, had)
        shares = {tenant_id: sure[tenant_id] + repaid[tenant_id] for tenant_id in tenants}
        short = {tenant_id for tenant_id in tenants if shares[tenant_id] < demands[tenant_id] - _LEAST}
        if not short or not (tenants.keys() | self._memory.tenants) - short:
            return shares, set()
        left = max(0.0, 1 - self._config.kept_back * places / sum(shares[tenant_id] for tenant_id in short))
        return {key: share * left if key in short else share for key, share in shares.items()}, short

    def _tenants(self) -> dict[str, _Tenant]:
        loads: dict[str, dict[str, TenantLoad]] = {}
        for replica, (_, report) in self._reports.items():
            for tenant_id, load in report.tenants.items():
                loads.setdefault(tenant_id, {})[replica] = load
        return {tenant_id: _Tenant(at, sum(map(_places, at.values()))) for tenant_id, at in loads.items()}

    def _allowance(self, tenant_id: str, tenant: _Tenant, replica: str, now: float) -> tuple[int, float]:
        """What the replica may spend of the tenant's rate, and what is left of it in all."""
        load = tenant.loads[replica]
        if (rate := load.terms.requests_per_minute) is None:
            return 0, 0.0
        bucket = self._buckets.setdefault(tenant_id, _Bucket(float(rate), now))
        bucket.spend(load.spent, rate, now)
        held_by_others = sum(bucket.held.get(name, 0) for name in tenant.loads if name != replica)
        free = math.floor(bucket.level) - held_by_others
        bucket.held[replica] = max(0, min(max(slice_of(rate), load.wanted), free))
        return bucket.held[replica], bucket.level


class LimiterActor(Limiter):
    """For replicas that share one. Its config comes as plain data: Serve makes that of the models it is handed."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(AdmissionConfig.model_validate(config))


class LocalLimiter:
    """For a replica that is alone."""

    def __init__(self, config: AdmissionConfig) -> None:
        self._limiter = Limiter(config)

    async def exchange(self, report: Report) -> Grant:
        return self._limiter.exchange(report)


@dataclass(slots=True)
class _Bucket:
    """A tenant's rate: full it holds a minute's requests. Below 0 it is overdrawn by what replicas spent unasked.
    `held`: what each replica was granted last, and may have spent already."""

    level: float
    at: float
    held: dict[str, int] = field(default_factory=dict)

    def spend(self, requests: int, requests_per_minute: int, now: float) -> None:
        refilled = self.level + requests_per_minute / 60 * (now - self.at)
        self.level, self.at = min(requests_per_minute, refilled) - requests, now


@dataclass(frozen=True, slots=True)
class _Tenant:
    """What the replicas have of one tenant; `wanted`: places, in all of them together."""

    loads: Mapping[str, TenantLoad]
    wanted: int

    @property
    def terms(self) -> Terms:
        return next(iter(self.loads.values())).terms

    @property
    def running(self) -> int:
        return sum(load.running for load in self.loads.values())

    @property
    def demand(self) -> float:
        return self.wanted if self.terms.concurrent is None else min(self.wanted, self.terms.concurrent)

    def part(self, replica: str) -> float:
        """The replica's part of it, equal ones where nothing runs or waits."""
        return _places(self.loads[replica]) / self.wanted if self.wanted else 1 / len(self.loads)


def _places(load: TenantLoad) -> int:
    return load.running + load.waiting
