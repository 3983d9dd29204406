"""Jobs that were asked for in bulk: waiting for a Ray Job → running, as long as it renews → ended.

While a job waits or runs, `JobQueue.claim` hands its documents to its Ray Job only; afterwards to every worker. Tenants
take turns in starting them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import ColumnElement, Select, case, func, select

from deployments.ingestion.bulk.base import BulkJob
from serve_app.platform import claims, turns
from serve_app.platform.job_queue import JobQueue
from serve_app.storage.declarative import PLATFORM, of_tenant
from serve_app.storage.tables import IngestionTurn, Job, JobDocument, Tenant


class BulkJobs:
    """Implements the ingestion stage's BulkJobs, beside the job store that hands its documents out."""

    def __init__(self, queue: JobQueue) -> None:
        self.queue = queue

    async def next(self, *, most: int, lease_s: float) -> BulkJob | None:
        now = self.queue.clock()
        async with self.queue.database.transaction() as session:
            # The count is taken with the platform's row locked, or two replicas would both start the last one allowed.
            await session.execute(select(Tenant.id).where(Tenant.id == PLATFORM).with_for_update())
            running = select(Job.tenant_id).where(Job.bulk == "running", Job.bulk_until > now)
            tenants = (await session.scalars(running)).all()
            if len(tenants) >= most:
                return None
            job = await session.scalar(_next_job(tenants).with_for_update(of=Job, skip_locked=True))
            if job is None:
                return None
            job.bulk, job.bulk_until = "running", now + timedelta(seconds=lease_s)
            await session.flush()
            return BulkJob(job.tenant_id, job.id)

    async def renew(self, job: BulkJob, *, lease_s: float) -> bool:
        until = self.queue.clock() + timedelta(seconds=lease_s)
        async with self.queue.database.transaction() as session:
            row = await session.scalar(select(Job).where(*_is(job), Job.bulk == "running").with_for_update())
            if row is None:
                return False
            row.bulk_until = until
            # A row that another transaction has locked waits for the next renewal: a transaction that holds several
            # rows must not wait for one more.
            for document in await session.scalars(
                claims.by_ray_job(job.tenant_id, job.id).with_for_update(skip_locked=True)
            ):
                document.lease_until = until
            await session.flush()
        return True

    async def waiting(self, job: BulkJob) -> int:
        async with self.queue.database.session() as session:
            queued = select(func.count()).where(
                of_tenant(JobDocument, job.tenant_id), JobDocument.job_id == job.id, JobDocument.state == "queued"
            )
            return await session.scalar(queued) or 0

    async def end(self, job: BulkJob, detail: str = "") -> None:
        now = self.queue.clock()
        async with self.queue.database.transaction() as session:
            row = await session.scalar(select(Job).where(*_is(job), Job.bulk != "ended").with_for_update())
            if row is None:
                return
            await claims.end_ray_job(session, row, detail, now)

    async def close(self) -> None:
        await self.queue.events.drain()
        await self.queue.events.close()
        await self.queue.database.close()


def _is(job: BulkJob) -> tuple[ColumnElement[bool], ...]:
    return of_tenant(Job, job.tenant_id), Job.id == job.id


def _next_job(running: Sequence[str]) -> Select[Job]:
    """The waiting job of the active tenant with the fewest running jobs, then with the smallest turn, then the oldest.

    `running`: the tenants of the running jobs, one for each job.
    """
    jobs_of_tenant = [case(dict(Counter(running)), value=Job.tenant_id, else_=0)] if running else []
    is_turn = (IngestionTurn.tenant_id == Job.tenant_id) & (IngestionTurn.lane == turns.NEW)
    return (
        select(Job)
        .join(Tenant, Tenant.id == Job.tenant_id)
        .join(IngestionTurn, is_turn, isouter=True)
        .where(Job.bulk == "waiting", Tenant.status == "active")
        .order_by(*jobs_of_tenant, func.coalesce(IngestionTurn.turn, 0.0), Job.created_at, Job.id)
        .limit(1)
    )
