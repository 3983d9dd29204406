"""One replica's slots in generation, and the queue for them."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from deployments.errors import Overloaded, RateLimited, Unavailable
from serve_app.admission.config import AdmissionConfig
from serve_app.admission.latency import AnswerLatency
from serve_app.admission.protocol import AdmissionLimits, TenantGrant
from serve_app.query.deadline import Deadline

_USABLE_DEADLINE = 0.9
"""The share of a deadline that may be planned for. The rest covers the unforeseen and the way back to the client."""


class Slot:
    """One answer's slot. Freed by `release`, or when the object is collected, so that none is lost with an answer that
    never began."""

    def __init__(self, mark_generating: Callable[[], None], free: Callable[[bool], None]) -> None:
        self.mark_generating = mark_generating
        """To be called when preparation is over and generation begins."""
        self._free: Callable[[bool], None] | None = free
        self._loop = asyncio.get_running_loop()

    def release(self, *, answered: bool) -> None:
        """Free the slot. Idempotent. Only an answer that was completed (`answered`) counts in the latency."""
        free, self._free = self._free, None
        if free is not None:
            free(answered)

    def __del__(self) -> None:
        if self._free is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._free, False)  # objects are collected in any thread


class Slots:
    """Hands out slots, fairly among the tenants that wait.

    The tenant that uses the least of its share is next; its questions are served in order of arrival. So the length of
    one tenant's queue delays no other tenant. `changed` is set when a tenant begins to wait: the limiter should know.
    """

    def __init__(
        self, config: AdmissionConfig, count: int, changed: asyncio.Event, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._config = config
        self.count = count
        self._changed = changed
        self._clock = clock
        self._tenants: dict[str, _TenantQueue] = {}
        self.latency = AnswerLatency()
        self.running = 0
        self.waiting = 0

    async def acquire(self, tenant_id: str, limits: AdmissionLimits, deadline: Deadline) -> Slot:
        """Wait for a slot, at most 90 % of the deadline minus the p90 answer time.

        Raises RateLimited when the tenant's own queue is full or too long for the deadline, Overloaded when the
        service as a whole has too much to do.
        """
        tenant = self._tenants.setdefault(tenant_id, _TenantQueue(limits))
        tenant.limits = limits
        if tenant.waiters or self.running >= self.count or not tenant.may_run_more():
            await self._wait(tenant, deadline)
        else:
            self._occupy(tenant)
        started_at = generating_at = self._clock()

        def mark_generating() -> None:
            nonlocal generating_at
            generating_at = self._clock()

        def free(answered: bool) -> None:
            if answered:
                self.latency.record(generating_at - started_at, self._clock() - started_at)
            self._free(tenant)

        return Slot(mark_generating, free)

    def loads(self) -> dict[str, tuple[AdmissionLimits, int, int]]:
        """Per tenant that has any: its limits, slots in use, questions waiting."""
        self._tenants = {key: tenant for key, tenant in self._tenants.items() if tenant.running or tenant.waiters}
        return {key: (tenant.limits, tenant.running, len(tenant.waiters)) for key, tenant in self._tenants.items()}

    def apply(self, count: int, grants: Mapping[str, TenantGrant]) -> None:
        """Use the limiter's division from now on. Slots in use beyond it are kept, and not handed out again."""
        self.count = count
        for tenant_id, tenant in self._tenants.items():
            grant = grants.get(tenant_id)
            tenant.share, tenant.max_running = (grant.share, grant.max_running) if grant else (0.0, None)
        self._hand_out()

    async def _wait(self, tenant: _TenantQueue, deadline: Deadline) -> None:
        if not tenant.waiters:  # only the first one changes what the limiter should know at once
            self._changed.set()
        # RateLimited if the tenant's own questions are in the way, Overloaded otherwise.
        error_type = RateLimited if tenant.waiters else Overloaded
        if len(tenant.waiters) >= self._config.max_waiting:
            raise self._refusal(tenant, RateLimited, f"{len(tenant.waiters)} questions of this tenant wait already")
        if self.waiting >= self._config.max_waiting_in_all:
            raise self._refusal(tenant, Overloaded, "too many questions wait already")
        max_wait_s = min(self._config.max_wait_s, _USABLE_DEADLINE * deadline.remaining() - self.latency.p90_s)
        if self._expected_wait_s(tenant) > max_wait_s:
            raise self._refusal(
                tenant, error_type, "a place in generation would come too late for this question's deadline"
            )
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        tenant.waiters.append(waiter)
        self.waiting += 1
        try:
            async with asyncio.timeout(max_wait_s):
                await waiter
        except BaseException as error:
            if waiter.done() and not waiter.cancelled():  # it got a slot just as the wait ended
                self._free(tenant)
            elif waiter in tenant.waiters:
                tenant.waiters.remove(waiter)
                self.waiting -= 1
            if isinstance(error, TimeoutError):
                raise self._refusal(tenant, error_type, f"no place in generation within {max_wait_s:.1f} s") from None
            raise

    def _occupy(self, tenant: _TenantQueue) -> None:
        tenant.running += 1
        self.running += 1

    def _free(self, tenant: _TenantQueue) -> None:
        tenant.running -= 1
        self.running -= 1
        self._hand_out()

    def _hand_out(self) -> None:
        """Give free slots to waiting questions."""
        while self.running < self.count:
            candidates = [tenant for tenant in self._tenants.values() if tenant.waiters and tenant.may_run_more()]
            if not candidates:
                return
            tenant = min(candidates, key=lambda tenant: (tenant.running / self._share(tenant), tenant.running))
            waiter = tenant.waiters.popleft()
            self.waiting -= 1
            if not waiter.done():
                self._occupy(tenant)
                waiter.set_result(None)

    def _share(self, tenant: _TenantQueue) -> float:
        """The granted share; before the first grant, the share by weight."""
        if tenant.share > 0:
            return tenant.share
        return self.count * tenant.limits.weight / sum(other.limits.weight for other in self._tenants.values())

    def _expected_wait_s(self, tenant: _TenantQueue) -> float:
        """The wait of a question that joins the tenant's queue now."""
        return (len(tenant.waiters) + 1) * self.latency.median_s / max(1.0, self._share(tenant))

    def _refusal(self, tenant: _TenantQueue, error_type: type[Unavailable], reason: str) -> Unavailable:
        refusal = error_type(f"{reason}; try again later")
        refusal.retry_after_s = max(1.0, self._expected_wait_s(tenant))
        return refusal


@dataclass(slots=True)
class _TenantQueue:
    """`share` and `max_running` come from the limiter; see TenantGrant."""

    limits: AdmissionLimits
    running: int = 0
    waiters: deque[asyncio.Future[None]] = field(default_factory=deque)
    share: float = 0.0
    max_running: int | None = None

    def may_run_more(self) -> bool:
        max_running = self.limits.concurrent if self.max_running is None else self.max_running
        return max_running is None or self.running < max_running
