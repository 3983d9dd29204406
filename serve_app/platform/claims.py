"""Which documents a claim takes. Each is locked, so that no other claim takes it too.

No statement here reads more of a queue than its first documents: `_WINDOW` rows of one tenant.
"""

from __future__ import annotations

import heapq
from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    CompoundSelect,
    Integer,
    Select,
    and_,
    bindparam,
    case,
    exists,
    func,
    or_,
    select,
    union_all,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from deployments.ingestion.bulk.base import ray_job
from serve_app.platform import turns, visibility
from serve_app.platform.job_states import IN_WORK, UNFINISHED
from serve_app.platform.turns import WaitingTenant
from serve_app.storage.database import Database
from serve_app.storage.declarative import of_tenant
from serve_app.storage.tables import Job, JobDocument, Tenant

_WINDOW = 256
"""Rows at the front of a tenant's queue that one claim looks at. Those of them that wait for an earlier version of
their document are passed over."""
_MAX_TENANTS_WITHOUT_WORK = 50
"""Tenants that one claim may find to have nothing to claim."""
_MAX_PASSED = 256
"""Documents that one claim may find to be another one's by now."""
_MAX_OFFERS = 32
"""Tenants that are asked at once, documents that each offers, and those that are chosen of them."""


async def of_job(session: AsyncSession, now: datetime, job_id: str, limit: int) -> list[JobDocument]:
    """For the Ray Job of one job. Its work counts as its tenant's."""
    tenant = await session.scalar(
        select(Tenant).join(Job, Job.tenant_id == Tenant.id).where(Job.id == job_id, Tenant.status == "active")
    )
    if tenant is None or await visibility.is_full(session, tenant.id):
        return []
    of_this = (of_tenant(JobDocument, tenant.id), JobDocument.job_id == job_id)
    rows = [*await session.scalars(_locked(_expired(now, of_this).limit(limit)))]
    if len(rows) < limit:
        rows += await session.scalars(_locked(_queued(now, of_this).limit(limit - len(rows))))
    weight = float(tenant.settings.get("weight", 1.0))
    for lane in turns.LANES:
        units = turns.work(row.size for row in rows if row.lane % turns.FOR_RAY_JOB == lane)
        await turns.charge(session, lane, {tenant.id: units / weight} if units else {})
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


async def end_ray_job(session: AsyncSession, job: Job, detail: str, now: datetime) -> None:
    """End the run of a job's Ray Job, which may not know it yet, and queue again what it has claimed.

    A document whose row is locked stays claimed: a transaction that holds several rows must not wait for one more.
    """
    job.bulk, job.bulk_until, job.bulk_detail = "ended", None, detail[:2_000]
    claimed = by_ray_job(job.tenant_id, job.id).with_for_update(skip_locked=True)
    for document in await session.scalars(claimed):
        document.state, document.lease_until, document.updated_at = "queued", None, now
    await session.flush()
    await release(session, job, now)


def by_ray_job(tenant_id: str, job_id: str) -> Select[JobDocument]:
    """The documents that a job's Ray Job has claimed."""
    return select(JobDocument).where(
        of_tenant(JobDocument, tenant_id),
        JobDocument.job_id == job_id,
        JobDocument.worker == ray_job(tenant_id, job_id),
        JobDocument.state.in_(IN_WORK),
    )


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
    """One claim in one lane.

    A round asks for the next tenants, for what each of them offers, and for the documents that were chosen of it. These
    are a few statements for any number of documents: all writers of a SQLite file wait for one claim. Claims of the
    same moment on PostgreSQL choose the same documents. One that gets too few has more candidates in its next round,
    so that it needs few rounds. It locks no more than it takes, so others pass over no document that it leaves.
    """

    def __init__(self, session: AsyncSession, lane: int, now: datetime, limit: int) -> None:
        self.session = session
        self.lane = lane
        self.now = now
        self.limit = limit
        self.rows: list[JobDocument] = []
        self.shares: dict[str, float] = {}
        """The work that was taken, over the weight, by tenant."""
        self.without_work: set[str] = set()
        self.passed: set[int] = set()
        """Documents that another claim has locked."""

    async def claim(self) -> list[JobDocument]:
        while (
            len(self.rows) < self.limit
            and len(self.without_work) <= _MAX_TENANTS_WITHOUT_WORK
            and len(self.passed) <= _MAX_PASSED
        ):
            missing = min(self.limit - len(self.rows), _MAX_OFFERS)
            candidates = min(max(missing, 2 * (len(self.passed) + len(self.without_work))), _MAX_OFFERS)
            tenants = await turns.next_tenants(
                self.session, self.lane, self.now, without=self.without_work, limit=candidates
            )
            if not tenants:
                break
            await self._take(tenants, missing, candidates)
        await self._settle()
        return self.rows

    async def _take(self, tenants: Sequence[WaitingTenant], missing: int, candidates: int) -> None:
        """Choose one candidate after the other, each of the tenant whose turn it is by then. Take the first `missing`
        of them that no other claim has."""
        offers = await self._offers([tenant.id for tenant in tenants if not tenant.is_full], candidates)
        queue = [(each.turn + self.shares.get(each.id, 0.0), each.id, each.weight) for each in tenants]
        heapq.heapify(queue)
        chosen: dict[int, float] = {}
        had_all: dict[str, int] = {}
        """Tenants without any further document, and how many were chosen by then."""
        while queue and len(chosen) < candidates:
            turn, tenant_id, weight = heapq.heappop(queue)
            if not offers[tenant_id]:
                had_all[tenant_id] = len(chosen)
                continue
            sequence, size = offers[tenant_id].popleft()
            chosen[sequence] = turns.work([size]) / weight
            heapq.heappush(queue, (turn + chosen[sequence], tenant_id, weight))
        rows = await self._lock(chosen, missing)
        order = [*chosen]
        looked_at = len(order) if len(rows) < missing else order.index(rows[-1].sequence) + 1
        self.passed |= {*order[:looked_at]} - {row.sequence for row in rows}
        self.without_work |= {tenant_id for tenant_id, count in had_all.items() if count <= looked_at}
        for row in rows:
            self.shares[row.tenant_id] = self.shares.get(row.tenant_id, 0.0) + chosen[row.sequence]
        self.rows += rows

    async def _offers(self, tenants: Sequence[str], wanted: int) -> Mapping[str, deque[tuple[int, int]]]:
        """Of each tenant the first documents that it waits for, at most `wanted`: (sequence, size)."""
        offers: Mapping[str, deque[tuple[int, int]]] = defaultdict(deque)
        if not tenants:
            return offers
        columns = (JobDocument.tenant_id, JobDocument.sequence, JobDocument.size, JobDocument.not_before)
        passed = [*self.passed, *(row.sequence for row in self.rows)]
        free = JobDocument.sequence.not_in(passed)
        both = (self.lane, self.lane + turns.FOR_RAY_JOB)
        of_tenants = (JobDocument.tenant_id.in_(tenants), JobDocument.lane.in_(both), free, ~_is_for_ray_job(self.now))
        expired = _expired(self.now, of_tenants).with_only_columns(*columns).limit(wanted * len(tenants))
        for tenant_id, sequence, size, _ in await self.session.execute(expired):
            offers[tenant_id].append((sequence, size))
        given = {"lane": self.lane, "now": self.now, "wanted": wanted, "passed": passed}
        given |= {_nth_tenant(number): tenant_id for number, tenant_id in enumerate(tenants)}
        queued = (await self.session.execute(_fronts(len(tenants)), given)).all()
        for tenant_id, sequence, size, _ in sorted(queued, key=lambda each: (each.not_before, each.sequence)):
            offers[tenant_id].append((sequence, size))
        return offers

    async def _lock(self, chosen: Mapping[int, object], most: int) -> list[JobDocument]:
        """The first of the chosen documents that no other claim has, in their order."""
        row = JobDocument
        waits = and_(row.state == "queued", row.lane == self.lane, row.not_before <= self.now)
        of_chosen = select(row).where(row.sequence.in_([*chosen]), or_(waits, _is_expired(self.now)))
        place = {sequence: number for number, sequence in enumerate(chosen)}
        if len(chosen) > most:
            of_chosen = of_chosen.order_by(case(place, value=row.sequence)).limit(most)
        locked = await self.session.scalars(_locked(of_chosen))
        return sorted(locked, key=lambda each: place[each.sequence])

    async def _settle(self) -> None:
        """Count the work that was taken, and correct when tenants without any are looked at again."""
        await turns.lock(self.session, {*self.shares, *self.without_work}, self.lane)
        await turns.charge(self.session, self.lane, self.shares)
        for tenant_id in sorted(self.without_work - self.shares.keys()):
            await turns.set_due(self.session, tenant_id, self.lane, await self._next_due(tenant_id))

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
    return select(row).where(*conditions, _is_expired(now)).order_by(row.sequence)


def _is_expired(now: datetime) -> ColumnElement[bool]:
    return and_(JobDocument.state.in_(IN_WORK), JobDocument.lease_until <= now)


@lru_cache(maxsize=_MAX_OFFERS)
def _fronts(tenants: int) -> CompoundSelect[Any]:
    """What so many tenants wait for: of each the first `wanted` documents of `lane`, without those in `passed`.

    Made once for each number of tenants. To make it again took most of a claim's time.
    """
    row = JobDocument
    wanted: BindParameter[int] = bindparam("wanted", type_=Integer)
    free = row.sequence.not_in(bindparam("passed", expanding=True))
    fronts = [
        _queued(
            bindparam("now"), (row.tenant_id == bindparam(_nth_tenant(number)), row.lane == bindparam("lane"), free)
        )
        .with_only_columns(row.tenant_id, row.sequence, row.size, row.not_before)
        .limit(wanted)
        .subquery()
        for number in range(tenants)
    ]
    return union_all(*(select(front) for front in fronts))


def _nth_tenant(number: int) -> str:
    """The name of the parameter."""
    return f"tenant_{number}"


def _queued(now: datetime | BindParameter[Any], conditions: Sequence[ColumnElement[bool]]) -> Select[JobDocument]:
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
    )


def _locked(rows: Select[JobDocument]) -> Select[JobDocument]:
    """Without those that another claim has."""
    return rows.with_for_update(of=JobDocument, skip_locked=True)


def _is_for_ray_job(now: datetime) -> ColumnElement[bool]:
    return exists().where(
        Job.id == JobDocument.job_id, or_(Job.bulk == "waiting", (Job.bulk == "running") & (Job.bulk_until > now))
    )
