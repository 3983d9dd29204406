"""Which of a tenant's jobs come next in a list, the newest first."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from deployments.errors import InvalidRequest
from deployments.ingestion.base import DocumentState
from serve_app.platform.job_states import UNFINISHED, JobState
from serve_app.storage.declarative import of_tenant
from serve_app.storage.tables import Job, JobDocument, ended_badly

Place = tuple[datetime, str]
"""Where a job stands in the list: when it was made, and its id."""
_UNFINISHED: Final[Mapping[JobState, tuple[DocumentState, ...]]] = {"queued": ("queued",), "running": UNFINISHED}
_ENDED_BADLY: Final[Mapping[JobState, tuple[DocumentState, ...]]] = {
    "partial": ("failed", "cancelled"),
    "failed": ("failed",),
    "cancelled": ("cancelled",),
}
"""By a job's state, the states of which some document of it has one, unless the job reindexes. Nearly all jobs have
succeeded, so that of these none is looked for."""


async def candidates(
    session: AsyncSession, tenant_id: str, state: JobState | None, after: str, limit: int
) -> list[str]:
    """The ids of the next `limit` jobs after the job `after` that can have a state.

    Raises InvalidRequest for an `after` that no job has.
    """
    place = await _place(session, tenant_id, after) if after else None
    if state is not None and state in _ENDED_BADLY:
        return await _ended_badly(session, tenant_id, _ENDED_BADLY[state], place, limit)
    jobs = select(Job.id).where(of_tenant(Job, tenant_id))
    if place is not None:
        jobs = jobs.where(_comes_after(Job.created_at, Job.id, place))
    if state is not None and state in _UNFINISHED:
        jobs = jobs.where(_goes_on(tenant_id, _UNFINISHED[state]))
    return [*await session.scalars(jobs.order_by(Job.created_at.desc(), Job.id.desc()).limit(limit))]


async def _place(session: AsyncSession, tenant_id: str, job_id: str) -> Place:
    """Raises InvalidRequest."""
    at = await session.scalar(select(Job.created_at).where(of_tenant(Job, tenant_id), Job.id == job_id))
    if at is None:
        raise InvalidRequest(f"after: there is no job {job_id[:80]!r}; begin with the first page again", field="after")
    return at, job_id


def _comes_after(created_at: Any, id: Any, place: Place) -> ColumnElement[bool]:
    """The condition on older jobs, of which several may have come at once. Its first half bounds the index's scan."""
    at, job_id = place
    return and_(created_at <= at, or_(created_at < at, id < job_id))


async def _ended_badly(
    session: AsyncSession, tenant_id: str, states: tuple[DocumentState, ...], place: Place | None, limit: int
) -> list[str]:
    """The newest jobs of which a document is in one of the states, or that reindex."""
    row = JobDocument
    found: set[Place] = set()
    for state in states:
        places = select(row.job_created_at, row.job_id).where(of_tenant(row, tenant_id), ended_badly())
        places = places.where(row.job_created_at.is_not(None))  # a replica of a former release may still be at work
        if place is not None:
            places = places.where(_comes_after(row.job_created_at, row.job_id, place))
        newest = places.where(row.state == state).distinct().order_by(row.job_created_at.desc(), row.job_id.desc())
        newest = newest.with_hint(row, "INDEXED BY ix_job_documents_ended_badly", "sqlite")
        found |= {(at, id) for at, id in await session.execute(newest.limit(limit)) if at is not None}
    reindexing = select(Job.created_at, Job.id).where(of_tenant(Job, tenant_id), Job.reindex.is_not(None))
    if place is not None:
        reindexing = reindexing.where(_comes_after(Job.created_at, Job.id, place))
    # SQLite would rather read all jobs of the tenant: it knows nothing of what is in an index that is nearly empty.
    reindexing = reindexing.with_hint(Job, "INDEXED BY ix_jobs_tenant_id_reindexes", "sqlite")
    newest_reindexing = reindexing.order_by(Job.created_at.desc(), Job.id.desc()).limit(limit)
    found |= {(at, id) for at, id in await session.execute(newest_reindexing)}
    return [id for _, id in sorted(found, reverse=True)[:limit]]


def _goes_on(tenant_id: str, states: tuple[DocumentState, ...]) -> ColumnElement[bool]:
    """The condition on jobs of which a document is in one of the states, or that reindex."""
    row = JobDocument
    unfinished = select(row.job_id).where(of_tenant(row, tenant_id), row.state.in_(states))
    reindexing = select(Job.id).where(of_tenant(Job, tenant_id), Job.reindex.is_not(None))
    return Job.id.in_(unfinished.union_all(reindexing))
