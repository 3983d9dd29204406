"""One replica's places in generation, and the queue for them."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from deployments.errors import Overloaded, RateLimited, Unavailable
from serve_app.admission.config import AdmissionConfig
from serve_app.admission.latency import Pace
from serve_app.admission.protocol import TenantGrant, Terms
from serve_app.query.deadline import Deadline

_OF_DEADLINE = 0.9
"""As much of a deadline may be planned away; the rest is for what nobody foresees, the way back to the caller too."""


class Place:
    """Given back by `release`, or when nobody holds it any more: an answer that was never begun holds none."""

    def __init__(self, generating: Callable[[], None], give_back: Callable[[bool], None]) -> None:
        self.generating = generating
        """To be called when everything before generation is done."""
        self._give_back: Callable[[bool], None] | None = give_back
        self._loop = asyncio.get_running_loop()

    def release(self, *, answered: bool) -> None:
        """Twice is once. Of an answer that came to its end, it is remembered how long it took."""
        give_back, self._give_back = self._give_back, None
        if give_back is not None:
            give_back(answered)

    def __del__(self) -> None:
        if self._give_back is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._give_back, False)  # garbage is collected in any thread


class Places:
    """Among tenants that wait, the one that uses the least of its share goes first, and its questions in the order in
    which they came: how many a tenant sends moves nobody else's. `changed` is set when the limiter should hear of a
    tenant that waits."""

    def __init__(
        self, config: AdmissionConfig, count: int, changed: asyncio.Event, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._config = config
        self._count = count
        self._changed = changed
        self._clock = clock
        self._tenants: dict[str, _Tenant] = {}
        self.pace = Pace()
        self.running = 0
        self.waiting = 0

    async def enter(self, tenant_id: str, terms: Terms, deadline: Deadline) -> Place:
        """A place, waited for no longer than leaves time for an answer.

        Raises RateLimited where the tenant's own queue is full, or too long for the deadline; Overloaded where the
        service as a whole has too much to do.
        """
        tenant = self._tenants.setdefault(tenant_id, _Tenant(terms))
        tenant.terms = terms
        if tenant.turns or self.running >= self._count or not tenant.may_have_more():
            await self._wait(tenant, deadline)
        else:
            self._take(tenant)
        began = ready = self._clock()

        def generating() -> None:
            nonlocal ready
            ready = self._clock()

        def leave(answered: bool) -> None:
            if answered:
                self.pace.add(ready - began, self._clock() - began)
            self._leave(tenant)

        return Place(generating, leave)

    def loads(self) -> dict[str, tuple[Terms, int, int]]:
        """Of each tenant that has any: what holds for it, places in use, questions waiting."""
        self._tenants = {key: each for key, each in self._tenants.items() if each.running or each.turns}
        return {key: (each.terms, each.running, len(each.turns)) for key, each in self._tenants.items()}

    def apply(self, count: int, grants: Mapping[str, TenantGrant]) -> None:
        """The limiter's division. Places in use beyond it are not taken away, only not handed out again."""
        self._count = count
        for tenant_id, tenant in self._tenants.items():
            grant = grants.get(tenant_id)
            tenant.share, tenant.most = (grant.share, grant.most) if grant else (0.0, None)
        self._hand_out()

    async def _wait(self, tenant: _Tenant, deadline: Deadline) -> None:
        if not tenant.turns:  # further ones change nothing that the limiter should know at once
            self._changed.set()
        whose = RateLimited if tenant.turns else Overloaded  # its own questions wait before this one, or none do
        if len(tenant.turns) >= self._config.max_waiting:
            raise self._refusal(tenant, RateLimited, f"{len(tenant.turns)} questions of this tenant wait already")
        if self.waiting >= self._config.max_waiting_in_all:
            raise self._refusal(tenant, Overloaded, "too many questions wait already")
        patience = min(self._config.max_wait_s, _OF_DEADLINE * deadline.remaining() - self.pace.long_s)
        if self._expected_s(tenant) > patience:
            raise self._refusal(tenant, whose, "a place in generation would come too late for this question's deadline")
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        tenant.turns.append(turn)
        self.waiting += 1
        try:
            async with asyncio.timeout(patience):
                await turn
        except BaseException as error:
            if turn.done() and not turn.cancelled():  # its turn came as the wait ended
                self._leave(tenant)
            elif turn in tenant.turns:
                tenant.turns.remove(turn)
                self.waiting -= 1
            if isinstance(error, TimeoutError):
                raise self._refusal(tenant, whose, f"no place in generation within {patience:.1f} s") from None
            raise

    def _take(self, tenant: _Tenant) -> None:
        tenant.running += 1
        self.running += 1

    def _leave(self, tenant: _Tenant) -> None:
        tenant.running -= 1
        self.running -= 1
        self._hand_out()

    def _hand_out(self) -> None:
        while self.running < self._count:
            waiting = [each for each in self._tenants.values() if each.turns and each.may_have_more()]
            if not waiting:
                return
            tenant = min(waiting, key=lambda each: (each.running / self._share(each), each.running))
            turn = tenant.turns.popleft()
            self.waiting -= 1
            if not turn.done():
                self._take(tenant)
                turn.set_result(None)

    def _share(self, tenant: _Tenant) -> float:
        """As granted; until then by weight alone."""
        if tenant.share > 0:
            return tenant.share
        return self._count * tenant.terms.weight / sum(each.terms.weight for each in self._tenants.values())

    def _expected_s(self, tenant: _Tenant) -> float:
        """The wait of a question that joins the tenant's queue now."""
        return (len(tenant.turns) + 1) * self.pace.usual_s / max(1.0, self._share(tenant))

    def _refusal(self, tenant: _Tenant, kind: type[Unavailable], why: str) -> Unavailable:
        refused = kind(f"{why}; try again later")
        refused.retry_after_s = max(1.0, self._expected_s(tenant))
        return refused


@dataclass(slots=True)
class _Tenant:
    """`share` and `most` as granted: of the replica's places, what is the tenant's if others want them too, and how
    many it may have at all."""

    terms: Terms
    running: int = 0
    turns: deque[asyncio.Future[None]] = field(default_factory=deque)
    share: float = 0.0
    most: int | None = None

    def may_have_more(self) -> bool:
        most = self.terms.concurrent if self.most is None else self.most
        return most is None or self.running < most
