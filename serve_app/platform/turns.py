"""Whose documents are indexed next. Tenants with waiting documents take turns, by their weights.

Each tenant has a row for each lane. `turn` is how much work of it has been begun, over its weight. A claim takes from
the tenant with the smallest one. A tenant that begins to wait starts where the others are: it gets no credit for the
time when it had nothing to index. This is start-time fair queueing.

`due` says when a claim is to look for documents of the tenant. None: nothing waits. It may be too early, and then the
claim corrects it. It must not be too late, so whatever makes a document claimable calls `wake` or `nudge`.

A transaction changes these rows after all others but the tenants' version counters, in the order of lane and tenant.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import BindParameter, ColumnElement, Select, and_, bindparam, case, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from serve_app.platform import visibility
from serve_app.storage.database import DialectInsert, Upsert
from serve_app.storage.declarative import of_tenant
from serve_app.storage.tables import IngestionTurn, Tenant

NEW: Final = 0
"""The lane of new documents and versions."""
AGAIN: Final = 1
"""The lane of documents that are written to another generation. They wait until no new document does."""
FOR_RAY_JOB: Final = 2
"""Added to a document's lane while only the Ray Job of its job may claim it."""
LANES: Final = (NEW, AGAIN)
RECHECK_S: Final = 5.0
"""When a claim looks again at a tenant whose waiting documents could not be claimed."""
BYTES_PER_UNIT: Final = 100_000
"""A document counts as one unit of work, and one more for so many bytes."""


def lane_of(generation: str, *, for_ray_job: bool = False) -> int:
    """`generation`: the one that a reindexing fills, empty for a document that is to become live."""
    return (AGAIN if generation else NEW) + (FOR_RAY_JOB if for_ray_job else 0)


def work(sizes: Iterable[int]) -> float:
    """The work that documents of these sizes in bytes are, in units."""
    return sum(1 + size / BYTES_PER_UNIT for size in sizes)


async def wake(session: AsyncSession, tenant_id: str, lane: int, at: datetime, now: datetime) -> None:
    """Have claims look for the tenant's documents from `at` on."""
    start = await _present_turn(session, lane, now)
    await _WOKEN.run(session, [{"tenant_id": tenant_id, "lane": lane, "turn": start, "due": at, "now": now}])


async def rejoin(session: AsyncSession, tenant_id: str, now: datetime) -> None:
    """Take away a suspended tenant's credit for the time of its suspension. To be called before it is active again."""
    row = IngestionTurn
    for lane in LANES:
        start = await _present_turn(session, lane, now)
        behind = (of_tenant(row, tenant_id), row.lane == lane, row.turn < start)
        await session.execute(update(row).where(*behind).values(turn=start))


async def nudge(session: AsyncSession, tenant_ids: Collection[str], now: datetime) -> None:
    """Have claims look again for documents of tenants whose documents could not be claimed."""
    row = IngestionTurn
    for tenant_id in sorted(set(tenant_ids)):
        await session.execute(update(row).where(of_tenant(row, tenant_id), row.due > now).values(due=now))


async def charge(session: AsyncSession, lane: int, shares: Mapping[str, float]) -> None:
    """Count work that has been begun: units over the weight, by tenant."""
    row = IngestionTurn
    if shares:
        these = (row.lane == lane, row.tenant_id.in_(sorted(shares)))
        added = case(dict(shares), value=row.tenant_id, else_=0.0)
        await session.execute(
            update(row).where(*these).values(turn=row.turn + added), execution_options={"synchronize_session": False}
        )


async def set_due(session: AsyncSession, tenant_id: str, lane: int, due: datetime | None) -> None:
    row = IngestionTurn
    await session.execute(update(row).where(of_tenant(row, tenant_id), row.lane == lane).values(due=due))


async def lock(session: AsyncSession, tenant_ids: Collection[str], lane: int) -> None:
    """Hold off `wake` until the transaction ends. What it was called for is then seen."""
    row = IngestionTurn
    if tenant_ids:
        these = select(row.turn).where(row.tenant_id.in_(sorted(tenant_ids)), row.lane == lane)
        await session.execute(these.order_by(row.tenant_id).with_for_update())


@dataclass(frozen=True, slots=True)
class WaitingTenant:
    """`is_full`: it has as many hidden versions as it may, so that none of its documents may be claimed."""

    id: str
    turn: float
    weight: float
    is_full: bool


async def next_tenants(
    session: AsyncSession, lane: int, now: datetime, *, without: Iterable[str], limit: int
) -> Sequence[WaitingTenant]:
    """The active tenants whose turn comes first. Suspended ones wait."""
    row = IngestionTurn
    found = await session.execute(
        _waiting(lane, now, row.tenant_id, row.turn, Tenant.settings, visibility.fills_up(row.tenant_id))
        .where(row.tenant_id.not_in([*without]))
        .limit(limit)
    )
    return [
        WaitingTenant(tenant_id, turn, float(settings.get("weight", 1.0)), bool(is_full))
        for tenant_id, turn, settings, is_full in found
    ]


async def _present_turn(session: AsyncSession, lane: int, now: datetime) -> float:
    """The smallest turn of those that wait. If none does, the largest of all."""
    waiting = await session.scalar(_SMALLEST_TURN, {"lane": lane, "now": now})
    if waiting is not None:
        return float(waiting)
    return float(await session.scalar(_LARGEST_TURN, {"lane": lane}) or 0.0)


def _waiting(lane: int | BindParameter[int], now: datetime | BindParameter[datetime], *columns: Any) -> Select[Any]:
    row = IngestionTurn
    is_active: ColumnElement[bool] = Tenant.status == "active"
    return (
        select(*columns)
        .join_from(row, Tenant, Tenant.id == row.tenant_id)
        .where(row.lane == lane, row.due <= now, is_active)
        .order_by(row.turn, row.tenant_id)
    )


def recheck(now: datetime) -> datetime:
    return now + timedelta(seconds=RECHECK_S)


def _woken(new: DialectInsert) -> dict[str, ColumnElement[Any]]:
    row = IngestionTurn
    now: BindParameter[datetime] = bindparam("now")
    turn, due = new.excluded.turn, new.excluded.due
    waits_already = and_(row.due.is_not(None), row.due <= now)
    return {
        "turn": case((or_(waits_already, row.turn > turn), row.turn), else_=turn),
        "due": case((or_(row.due.is_(None), row.due > due), due), else_=row.due),
    }


_WOKEN: Final = Upsert(IngestionTurn, ("tenant_id", "lane"), _woken)
_SMALLEST_TURN: Final = _waiting(bindparam("lane"), bindparam("now"), IngestionTurn.turn).limit(1)
"""Of those that wait."""
_LARGEST_TURN: Final = select(func.max(IngestionTurn.turn)).where(IngestionTurn.lane == bindparam("lane"))
