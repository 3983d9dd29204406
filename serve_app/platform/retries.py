"""Failed documents of a job that are handed in again as they were kept: which of them can be, and their new rows.

A retry is a job of its own. The first job stays as it ended, and so does the message that told of its end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal, get_args

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import defer

from deployments.errors import Conflict
from serve_app.platform import collections, stored_blobs, turns
from serve_app.platform.new_document import fingerprint_of
from serve_app.storage.database import chunks, insert
from serve_app.storage.declarative import of_tenant
from serve_app.storage.tables import Document, Job, JobDocument

Reason = Literal["deleted", "replaced", "bytes_removed"]
"""Why a failed document cannot be worked on again as it was: it was deleted since, it was changed or handed in again
since, or its bytes are no longer kept."""
BYTES_MARGIN_S: Final = 60.0
"""How long the bytes must still be kept. A worker whose clock is ahead may be removing those that are due sooner."""


@dataclass(frozen=True, slots=True)
class LeftOut:
    id: str
    reason: Reason


@dataclass(frozen=True, slots=True)
class Retried:
    """The job of a retry, its documents as (id, file name), and the failed ones that it leaves out."""

    id: str
    documents: Sequence[tuple[str, str]]
    left_out: Sequence[LeftOut]


@dataclass(frozen=True, slots=True)
class Chosen:
    """Rows of a job's failed documents that can be worked on again, and the documents that cannot."""

    rows: Sequence[JobDocument]
    left_out: Sequence[LeftOut]


async def choose(session: AsyncSession, job: Job, now: datetime) -> Chosen:
    """Look at the failed documents of a job, and lock those that are there. Their tenant is locked already.

    Raises Conflict if none can be worked on again, and for a job that reindexes.
    """
    if job.reindex is not None:
        raise Conflict(f"job {job.id} reindexes and cannot be retried; send POST /v1/reindex, which goes on with it")
    row = JobDocument
    of_job = (of_tenant(row, job.tenant_id), row.job_id == job.id, row.state == "failed")
    failed = (await session.scalars(select(row).where(*of_job).order_by(row.sequence))).all()
    if not failed:
        raise Conflict(f"no document of job {job.id} failed, so there is nothing to retry")
    documents = await _lock(session, job.tenant_id, sorted(each.document_id for each in failed))
    newest = await _newest(session, job.tenant_id, [*documents])
    until = now + timedelta(seconds=BYTES_MARGIN_S)
    stored = await stored_blobs.kept_until(session, job.tenant_id, [each.blob for each in failed], until)
    rows, left_out = [], []
    for each in failed:
        reason = _why_not(each, documents, newest, stored)
        if reason is None:
            rows.append(each)
            if not documents[each.document_id].version:  # it is shown as it was handed in last
                documents[each.document_id].take_over(each)
        else:
            left_out.append(LeftOut(each.document_id, reason))
    await session.flush()
    if not rows:
        raise Conflict(_refusal(job.id, left_out))
    return Chosen(rows, left_out)


async def add_rows(session: AsyncSession, job: Job, failed: Sequence[JobDocument], now: datetime) -> None:
    """Queue failed documents in the job of their retry. They are cut as their collections say now. Raises Conflict for
    a collection that is being deleted."""
    names = {each.collection for each in failed}
    await collections.add(session, job.tenant_id, names, now)
    sizes = await collections.chunk_sizes(session, job.tenant_id, names, kept=True)
    rows: list[dict[str, Any]] = [
        {
            **each.columns(),
            "tenant_id": job.tenant_id,
            "job_id": job.id,
            "job_created_at": job.created_at,
            "document_id": each.document_id,
            "version": "",
            "fingerprint": fingerprint_of(each, sizes[each.collection]),
            "chunk_tokens": sizes[each.collection].tokens,
            "chunk_overlap": sizes[each.collection].overlap,
            "state": "queued",
            "not_before": now,
            "lane": turns.NEW,
            "updated_at": now,
        }
        for each in failed
    ]
    await session.execute(insert(session, JobDocument), rows)
    await stored_blobs.adopt(session, job.tenant_id, [(each.document_id, each.blob, each.size) for each in failed], now)


async def _lock(session: AsyncSession, tenant_id: str, ids: Sequence[str]) -> dict[str, Document]:
    """Those of the documents that are there, in the order of their ids so that two callers cannot deadlock."""
    found: dict[str, Document] = {}
    for batch in chunks(ids):
        locked = await session.scalars(
            select(Document)
            .options(defer(Document.terms, raiseload=True))
            .where(of_tenant(Document, tenant_id), Document.id.in_(batch))
            .order_by(Document.id)
            .with_for_update()
        )
        found |= {document.id: document for document in locked}
    return found


async def _newest(session: AsyncSession, tenant_id: str, ids: Sequence[str]) -> dict[str, int]:
    """By document, the version of it that was handed in last and not cancelled. A reindexing hands in none."""
    row = JobDocument
    newest: dict[str, int] = {}
    for batch in chunks(ids):
        accepted = (of_tenant(row, tenant_id), row.document_id.in_(batch), row.state != "cancelled")
        found = await session.execute(
            select(row.document_id, func.max(row.sequence).label("sequence"))
            .join_from(row, Job, Job.id == row.job_id)
            .where(*accepted, Job.reindex.is_(None))
            .group_by(row.document_id)
        )
        newest |= {each.document_id: each.sequence for each in found}
    return newest


def _why_not(
    row: JobDocument, documents: Mapping[str, Document], newest: Mapping[str, int], stored: set[str]
) -> Reason | None:
    document = documents.get(row.document_id)
    if document is None:
        return "deleted"
    is_changed = document.owner != row.owner or (document.version and document.updated_at > row.updated_at)
    if is_changed or newest[row.document_id] > row.sequence:
        return "replaced"
    return None if row.blob in stored else "bytes_removed"


def _refusal(job_id: str, left_out: Sequence[LeftOut]) -> str:
    counts = Counter(each.reason for each in left_out)
    said = {
        "deleted": "deleted since",
        "replaced": "changed or handed in again since",
        "bytes_removed": "whose bytes are no longer kept (retention.failed_bytes_days)",
    }
    told = ", ".join(f"{counts[reason]} {said[reason]}" for reason in get_args(Reason) if counts[reason])
    return f"job {job_id} has no failed document that can be worked on again: {told}; hand in what is still wanted"
