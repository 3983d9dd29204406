"""The documents of a tenant's jobs that failed, and why: those handed in last come first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncSession

from deployments.errors import InvalidRequest, NotFound
from serve_app.platform.jobs import DocumentError
from serve_app.storage import pagination
from serve_app.storage.database import Database
from serve_app.storage.declarative import of_tenant
from serve_app.storage.pagination import Page
from serve_app.storage.tables import Job, JobDocument, has_failed


@dataclass(frozen=True, slots=True)
class FailedDocument:
    """One version of a document, as it was handed in with a job."""

    job_id: str
    document_id: str
    filename: str
    collection: str
    owner: str
    error: DocumentError
    failed_at: datetime

    @property
    def id(self) -> str:
        """Its place in the list. Numbers of rows would tell how much other tenants hand in."""
        return f"{self.job_id}:{self.document_id}"


async def page(
    database: Database,
    tenant_id: str,
    *,
    error: str | None = None,
    job_id: str | None = None,
    after: str = "",
    limit: int = 100,
) -> Page[FailedDocument]:
    """Those with an error's code, or of a job, after the place `after`.

    Raises NotFound unless the tenant has the job, and InvalidRequest for an `after` that is no place.
    """

    async def read(after: str, limit: int) -> Sequence[FailedDocument]:
        row = JobDocument
        columns = (row.job_id, row.document_id, row.filename, row.collection, row.owner)
        failed = select(*columns, row.error_code, row.error_detail, row.updated_at)
        async with database.session() as session:
            failed = failed.where(*await _conditions(session, tenant_id, error, job_id))
            if after:
                failed = failed.where(row.sequence < await _place(session, tenant_id, after))
            rows = await session.execute(failed.order_by(row.sequence.desc()).limit(limit))
            return [
                FailedDocument(job, id, filename, collection, owner, DocumentError(code or "", detail), at)
                for job, id, filename, collection, owner, code, detail, at in rows
            ]

    return await pagination.page(read, None, after=after, limit=limit, max_scanned=limit)


async def _conditions(
    session: AsyncSession, tenant_id: str, error: str | None, job_id: str | None
) -> list[ColumnElement[bool]]:
    row = JobDocument
    conditions = [of_tenant(row, tenant_id), has_failed()]
    if error is not None:
        conditions.append(row.error_code == error)
    if job_id is not None:
        if not await session.scalar(select(Job.id).where(of_tenant(Job, tenant_id), Job.id == job_id)):
            raise NotFound(f"job {job_id[:80]!r} does not exist")
        conditions.append(row.job_id == job_id)
    return conditions


async def _place(session: AsyncSession, tenant_id: str, after: str) -> int:
    """Raises InvalidRequest."""
    row = JobDocument
    job_id, _, document_id = after.partition(":")
    this = (of_tenant(row, tenant_id), row.job_id == job_id, row.document_id == document_id)
    sequence = await session.scalar(select(row.sequence).where(*this))
    if sequence is None:
        raise InvalidRequest(
            f"after: there is no document {after[:80]!r}; begin with the first page again", field="after"
        )
    return sequence
