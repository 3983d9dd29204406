"""A replica's door: what it was granted of rates and of places in generation, and what it has to report."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable

from serve_app.admission.config import AdmissionConfig
from serve_app.admission.protocol import Grant, Report, TenantLoad, Terms
from serve_app.admission.rate_limits import Rate, Rates
from serve_app.admission.slots import Place, Places
from serve_app.query.deadline import Deadline


class Gate:
    """Never asks anybody: it spends what `apply` brought last. `changed` is set when a report should not wait."""

    def __init__(self, config: AdmissionConfig, slots: int, clock: Callable[[], float] = time.monotonic) -> None:
        """`slots`: places until the first grant."""
        self.config = config
        self.changed = asyncio.Event()
        self._terms: dict[str, Terms] = {}
        self._rates = Rates(2 * config.exchange_s, self.changed, clock)
        self._places = Places(config, slots, self.changed, clock)
        self._replicas = 1

    async def spend(self, tenant_id: str, terms: Terms) -> Rate | None:
        """Count a request against the tenant's rate; None where it has none. Raises RateLimited."""
        if (limit := terms.requests_per_minute) is None:
            return None
        self._terms[tenant_id] = terms
        return await self._rates.spend(tenant_id, limit)

    def rate(self, tenant_id: str) -> Rate | None:
        return self._rates.rate(tenant_id)

    async def enter(self, tenant_id: str, terms: Terms, deadline: Deadline) -> Place:
        """A place in generation. Raises RateLimited, Overloaded: see Places.enter."""
        return await self._places.enter(tenant_id, terms, deadline)

    @property
    def running(self) -> int:
        return self._places.running

    @property
    def waiting(self) -> int:
        return self._places.waiting

    def report(self, replica: str, slots: int) -> Report:
        """What to tell the limiter. To be followed by `apply`, or by `go_on` where it did not answer.

        `slots`: how many answers generation takes at once; while they are generated others are on their way to it.
        """
        spent, places = self._rates.take_report(), self._places.loads()
        self._terms = {key: terms for key, terms in self._terms.items() if key in spent}
        loads = {}
        for tenant_id in spent.keys() | places.keys():
            terms, running, waiting = places.get(tenant_id) or (self._terms[tenant_id], 0, 0)
            loads[tenant_id] = TenantLoad(terms, running, waiting, *spent.get(tenant_id, (0, 0)))
        ahead = min(self._places.pace.ahead, self.config.most_ahead)
        return Report(replica, math.ceil(slots * (1 + ahead)), loads)

    def apply(self, grant: Grant) -> None:
        self._replicas = grant.replicas
        for tenant_id, granted in grant.tenants.items():
            self._rates.apply(tenant_id, granted)
        self._rates.wake()
        self._places.apply(grant.places, grant.tenants)

    def go_on(self, elapsed_s: float) -> None:
        """No limiter answered for so long: places stay as they are, rates go on at this replica's equal part."""
        self._rates.go_on(elapsed_s, self._replicas)
        self._rates.wake()
