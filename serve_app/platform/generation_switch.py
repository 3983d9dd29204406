"""The switch of a tenant's searches to a generation that was filled beside the live one: one transaction."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import datetime
from typing import Literal

from sqlalchemy import ColumnElement, Select, and_, delete, exists, select
from sqlalchemy.ext.asyncio import AsyncSession

from serve_app.platform import collections, generations, lexical_statistics, reindexing
from serve_app.platform.job_states import UNFINISHED
from serve_app.platform.tenant_settings import require_open
from serve_app.storage.database import chunks
from serve_app.storage.declarative import of_tenant
from serve_app.storage.tables import Document, Job, JobDocument, RefilledDocument

Outcome = Literal["switched", "given_up", "goes on"]
_BATCH = 200
"""Documents whose terms, which may be large, are in memory at once."""


async def complete_jobs(session: AsyncSession) -> list[tuple[str, str]]:
    """(tenant, job) of each job that fills a generation and has no unfinished document."""
    row = JobDocument
    unfinished = exists().where(row.job_id == Job.id, row.state.in_(UNFINISHED))
    found = await session.execute(select(Job.tenant_id, Job.id).where(Job.reindex == "filling", ~unfinished))
    return [(tenant_id, job_id) for tenant_id, job_id in found]


async def settle(session: AsyncSession, tenant_id: str, job_id: str, now: datetime, retired_at: datetime) -> Outcome:
    """Make a job's generation live if each live document is in it.

    Otherwise queue the documents that arrived or changed meanwhile, or give the job up if documents failed. Idempotent.
    Raises NotFound for a tenant that is being deleted.
    """
    await require_open(session, tenant_id, alone=True)
    this_job = (of_tenant(Job, tenant_id), Job.id == job_id, Job.reindex == "filling")
    job = await session.scalar(select(Job).where(*this_job).with_for_update())
    if job is None or await session.scalar(_unfinished(job)):
        return "goes on"
    missing = (await session.scalars(reindexing.missing(tenant_id, job.generation))).all()
    if not missing:
        await _switch(session, job, retired_at)
        return "switched"
    rows = {row.document_id: row for row in await session.scalars(select(JobDocument).where(_of_job(job)))}
    changed = [document for document in missing if not _failed(rows.get(document.id), document)]
    if not changed:
        job.reindex = "given_up"
        await session.flush()
        return "given_up"
    for document in changed:
        if document.id in rows:
            await session.delete(rows[document.id])
    await session.flush()
    await reindexing.add_rows(session, job, changed, now)
    return "goes on"


def _of_job(job: Job) -> ColumnElement[bool]:
    return and_(of_tenant(JobDocument, job.tenant_id), JobDocument.job_id == job.id)


def _unfinished(job: Job) -> Select[bool]:
    return select(exists().where(_of_job(job), JobDocument.state.in_(UNFINISHED)))


def _failed(row: JobDocument | None, document: Document) -> bool:
    """Whether the document's present version is one that failed."""
    return row is not None and row.state == "failed" and row.version == document.version


async def _switch(session: AsyncSession, job: Job, retired_at: datetime) -> None:
    filled = await generations.in_state(session, job.tenant_id, "filling")
    if filled is None or filled.name != job.generation:
        job.reindex = "given_up"
        await session.flush()
        return
    await _put_in_place(session, job, filled.embedder)
    live = await generations.in_state(session, job.tenant_id, "live")
    if live is not None:
        await generations.retire(session, live, retired_at)
    filled.state, job.reindex = "live", "switched"
    await session.execute(delete(RefilledDocument).where(generations.refilled_in(job.tenant_id, job.generation)))
    await session.flush()


async def _put_in_place(session: AsyncSession, job: Job, embedder: str) -> None:
    """Give documents and term statistics what the generation holds of them."""
    change: defaultdict[str, Counter[int]] = defaultdict(Counter)
    passages: Counter[str] = Counter()
    by_collection: Counter[str] = Counter()
    document, refilled = Document, RefilledDocument
    is_live = generations.live_documents(job.tenant_id)
    ids = (await session.scalars(select(document.id).where(is_live).order_by(document.id))).all()
    for batch in chunks(ids, _BATCH):
        pairs = await session.execute(
            select(document, refilled)
            .join_from(document, refilled, reindexing.is_document(refilled))
            .where(is_live, document.id.in_(batch), refilled.generation == job.generation)
        )
        rows = pairs.all()
        for old, new in rows:
            terms, former = lexical_statistics.unpack(new.terms), lexical_statistics.unpack(old.terms)
            change[old.owner].update(lexical_statistics.difference(terms, former))
            passages[old.owner] += new.passages - old.passages
            by_collection[old.collection] += new.passages - old.passages
            old.passages, old.terms, old.embedder, old.chunking = new.passages, new.terms, embedder, new.chunking
            old.warnings = new.warnings
        await session.flush()
        for row in rows:
            for each in row:
                session.expunge(each)
    sizes = {name: collections.Size(0, more) for name, more in by_collection.items()}
    await collections.move(session, job.tenant_id, {}, sizes)
    await _move_statistics(session, job.tenant_id, passages, change)


async def _move_statistics(
    session: AsyncSession, tenant_id: str, passages: Counter[str], change: dict[str, Counter[int]]
) -> None:
    for owner in sorted(change):
        terms = {term: by for term, by in change[owner].items() if by}
        await lexical_statistics.move(session, tenant_id, owner, passages=passages[owner], terms=terms)
