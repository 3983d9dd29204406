"""Which documents a claim takes. Each is locked, so that no other claim takes it too.

No statement here reads more of a queue than its first documents: `_WINDOW` rows of one tenant.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import ColumnElement, Select, exists, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from serve_app.platform import turns, visibility
from serve_app.platform.job_states import IN_WORK, UNFINISHED
from serve_app.storage.database import Database
from serve_app.storage.declarative import of_tenant
from serve_app.storage.tables import Job, JobDocument, Tenant

_WINDOW = 256
"""Rows at the front of a tenant's queue that one claim looks at. Those of them that wait for an earlier version of
their document are passed over."""
_MAX_TENANTS_WITHOUT_WORK = 50
"""Tenants that one claim may find to have nothing to claim."""


async def of_job(session: AsyncSession, now: datetime, job_id: str, limit: int) -> list[JobDocument]:
    """For the Ray Job of one job. Its work counts as its tenant's."""
    tenant = await session.scalar(
        select(Tenant).join(Job, Job.tenant_id == Tenant.id).where(Job.id == job_id, Tenant.status == "active")
    )
    if tenant is None or await visibility.is_full(session, tenant.id):
        return []
    of_this = (of_tenant(JobDocument, tenant.id), JobDocument.job_id == job_id)
    rows = [*await session.scalars(_expired(now, of_this).limit(limit))]
    if len(rows) < limit:
        rows += await session.scalars(_queued(now, of_this).limit(limit - len(rows)))
    weight = float(tenant.settings.get("weight", 1.0))
    for lane in turns.LANES:
        if units := turns.work(row.size for row in rows if row.lane % turns.FOR_RAY_JOB == lane):
            await turns.charge(session, tenant.id, lane, units, weight)
    return rows


async def in_turn(session: AsyncSession, now: datetime, limit: int) -> list[JobDocument]:
    """For the workers, of all tenants by their turns. New documents come before those that are indexed again."""
    rows: list[JobDocument] = []
    for lane in turns.LANES:
        if len(rows) < limit:
            rows += await _Turns(session, lane, now, limit - len(rows)).claim()
    return rows


async def release_lapsed(database: Database, now: datetime) -> None:
    """Leave the documents of one Ray Job that gave no sign for too long to the workers."""
    lapsed = (Job.bulk == "running", Job.bulk_until <= now)
    if not await database.rows(select(Job.id).where(*lapsed).limit(1)):
        return
    async with database.transaction() as session:
        job = await session.scalar(select(Job).where(*lapsed).limit(1).with_for_update(skip_locked=True))
        if job is not None:
            job.bulk, job.bulk_until, job.bulk_detail = "ended", None, "its Ray Job ended without a word"
            await session.flush()
            await release(session, job, now)


async def release(session: AsyncSession, job: Job, now: datetime) -> None:
    """Leave a job's documents to the workers. Its Ray Job has ended."""
    row = JobDocument
    waiting = (
        of_tenant(row, job.tenant_id),
        row.job_id == job.id,
        row.state == "queued",
        row.lane >= turns.FOR_RAY_JOB,
    )
    await session.execute(update(row).where(*waiting).values(lane=row.lane - turns.FOR_RAY_JOB))
    await turns.wake(session, job.tenant_id, turns.lane_of(job.generation), now, now)


class _Turns:
    """One claim in one lane."""

    def __init__(self, session: AsyncSession, lane: int, now: datetime, limit: int) -> None:
        self.session = session
        self.lane = lane
        self.now = now
        self.limit = limit
        self.rows: list[JobDocument] = []
        self.weights: dict[str, float] = {}
        self.without_work: set[str] = set()

    async def claim(self) -> list[JobDocument]:
        while len(self.rows) < self.limit and len(self.without_work) <= _MAX_TENANTS_WITHOUT_WORK:
            most = self.limit + 8
            tenants = await turns.next_tenants(self.session, self.lane, self.now, without=self.without_work, limit=most)
            if not tenants:
                break
            await self._take(tenants, only=len(tenants) == 1)
        await self._settle()
        return self.rows

    async def _take(self, tenants: Sequence[tuple[str, float, float]], *, only: bool) -> None:
        """Take one document after the other, each of the tenant whose turn it is by then."""
        queue = [(turn, tenant_id, weight) for tenant_id, turn, weight in tenants]
        heapq.heapify(queue)
        while queue and len(self.rows) < self.limit:
            turn, tenant_id, weight = heapq.heappop(queue)
            wanted = self.limit - len(self.rows) if only else 1
            taken = await self._documents(tenant_id, wanted)
            self.rows += taken
            if taken:
                self.weights[tenant_id] = weight
                turn += turns.work(row.size for row in taken) / weight
            if len(taken) == wanted:
                heapq.heappush(queue, (turn, tenant_id, weight))
            else:
                self.without_work.add(tenant_id)

    async def _documents(self, tenant_id: str, limit: int) -> list[JobDocument]:
        if tenant_id not in self.weights and await visibility.is_full(self.session, tenant_id):
            return []
        of_lane = (of_tenant(JobDocument, tenant_id), JobDocument.sequence.not_in([row.sequence for row in self.rows]))
        both = (self.lane, self.lane + turns.FOR_RAY_JOB)
        expired = _expired(self.now, (*of_lane, JobDocument.lane.in_(both), ~_is_for_ray_job(self.now)))
        rows = [*await self.session.scalars(expired.limit(limit))]
        if len(rows) < limit:
            queued = _queued(self.now, (*of_lane, JobDocument.lane == self.lane))
            rows += await self.session.scalars(queued.limit(limit - len(rows)))
        return rows

    async def _settle(self) -> None:
        """Count the work that was taken, and correct when tenants without any are looked at again."""
        for tenant_id in sorted({*self.weights, *self.without_work}):
            await turns.lock(self.session, tenant_id, self.lane)
            units = turns.work(row.size for row in self.rows if row.tenant_id == tenant_id)
            if units:
                await turns.charge(self.session, tenant_id, self.lane, units, self.weights[tenant_id])
            else:
                due = await self._next_due(tenant_id)
                await turns.set_due(self.session, tenant_id, self.lane, due)

    async def _next_due(self, tenant_id: str) -> datetime | None:
        """When a document of the tenant may be claimed; None if it has none in this lane."""
        row, of_this = JobDocument, of_tenant(JobDocument, tenant_id)
        both = (self.lane, self.lane + turns.FOR_RAY_JOB)
        lease = await self.session.scalar(
            select(func.min(row.lease_until)).where(
                of_this, row.state.in_(IN_WORK), row.lane.in_(both), ~_is_for_ray_job(self.now)
            )
        )
        queued = await self.session.scalar(
            select(row.not_before)
            .where(of_this, row.state == "queued", row.lane == self.lane)
            .order_by(row.not_before)
            .limit(1)
        )
        again = turns.recheck(self.now)
        times = [again if time <= self.now else time for time in (lease, queued) if time is not None]
        return min(times, default=None)


def _expired(now: datetime, conditions: Iterable[ColumnElement[bool]]) -> Select[JobDocument]:
    """Documents whose worker is gone. There are few in work, so they need no window."""
    row = JobDocument
    return (
        select(row)
        .where(*conditions, row.state.in_(IN_WORK), row.lease_until <= now)
        .order_by(row.sequence)
        .with_for_update(of=row, skip_locked=True)
    )


def _queued(now: datetime, conditions: Sequence[ColumnElement[bool]]) -> Select[JobDocument]:
    """Documents that wait, the longest waiting first."""
    row, earlier = JobDocument, aliased(JobDocument)
    waits = (*conditions, row.state == "queued", row.not_before <= now)
    front = select(row.sequence).where(*waits).order_by(row.not_before, row.sequence).limit(_WINDOW)
    waits_for_earlier_version = exists().where(
        earlier.tenant_id == row.tenant_id,
        earlier.document_id == row.document_id,
        earlier.state.in_(UNFINISHED),
        earlier.sequence < row.sequence,
        earlier.generation == row.generation,  # a write to another generation does not conflict
    )
    return (
        select(row)
        .where(*waits, row.sequence.in_(front), ~waits_for_earlier_version)
        .order_by(row.not_before, row.sequence)
        .with_for_update(of=row, skip_locked=True)
    )


def _is_for_ray_job(now: datetime) -> ColumnElement[bool]:
    return exists().where(
        Job.id == JobDocument.job_id, or_(Job.bulk == "waiting", (Job.bulk == "running") & (Job.bulk_until > now))
    )
