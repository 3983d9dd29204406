"""Jobs: documents accepted together, and how far their indexing has come. Workers take them from job_queue.py."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import cast, get_args

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from deployments.errors import InvalidRequest, NotFound, RateLimited
from deployments.ingestion.base import METADATA_BYTES, DocumentState, RemovedBlob
from deployments.ingestion.bulk.base import ray_job
from serve_app.platform import (
    acceptance,
    claims,
    collections,
    documents,
    generations,
    job_lists,
    quotas,
    reindexing,
    retries,
    stored_blobs,
    turns,
    usage,
    webhooks,
)
from serve_app.platform.events import Event, Events
from serve_app.platform.job_queue import JobQueue
from serve_app.platform.job_states import BulkState, JobState, ReindexState, is_over, reindex_job_state
from serve_app.platform.new_document import NewDocument, checked, fingerprint_of
from serve_app.platform.new_job import new_job
from serve_app.platform.retries import Retried
from serve_app.platform.tenant_settings import require_open
from serve_app.platform.visibility import RETIRE_AFTER_S
from serve_app.storage import pagination
from serve_app.storage.database import Database, count_rows, insert
from serve_app.storage.declarative import of_tenant, utc_now
from serve_app.storage.pagination import Page
from serve_app.storage.tables import Job, JobDocument

MAX_WAITING = 10_000
"""Documents of one tenant that may wait to be indexed, unless the service is configured otherwise."""
ROOM_RETRY_S = 10.0
"""After how many seconds a caller whose documents found no room is told to try again."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A job's id, and its documents' ids in the order in which they were handed in.

    `unused_blobs` belong to documents that are live with the same content. The caller deletes these blobs.
    """

    id: str
    documents: tuple[str, ...]
    unused_blobs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class JobSummary:
    """A job as a whole. `counts`: its documents by state, every state named. `chunks`: those of the documents that are
    cut already; `chunks_done`: of these the ones in the index."""

    id: str
    state: JobState
    counts: Mapping[DocumentState, int]
    chunks: int
    chunks_done: int
    created_at: datetime
    updated_at: datetime

    @property
    def over(self) -> bool:
        return is_over(self.state)


@dataclass(frozen=True, slots=True)
class DocumentError:
    code: str
    detail: str | None


@dataclass(frozen=True, slots=True)
class DocumentProgress:
    """A document of a job. Of its `chunks`, the first `chunks_done` are in the index. `warnings` say what was left out
    of it, once it is indexed."""

    id: str
    state: DocumentState
    chunks: int
    chunks_done: int
    error: DocumentError | None
    warnings: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class BulkView:
    """The Ray Job that indexes a job's documents."""

    ray_job: str
    state: BulkState
    detail: str | None


@dataclass(frozen=True, slots=True)
class JobView:
    """A job with each of its documents. `counts`: its documents by state, every state named. `bulk` is None unless the
    job was asked for in bulk."""

    id: str
    state: JobState
    counts: Mapping[DocumentState, int]
    documents: Sequence[DocumentProgress]
    bulk: BulkView | None
    created_at: datetime
    updated_at: datetime

    @property
    def over(self) -> bool:
        return is_over(self.state)


class Jobs:
    """What callers do with jobs; `queue` is what workers do. `retire_after_s`: at least as long as a query may take.
    `keep_failed_s`: how long the bytes of failed documents are kept for a retry.
    `max_waiting`: how many documents of one tenant may wait to be indexed."""

    def __init__(
        self,
        database: Database,
        events: Events | None = None,
        *,
        retire_after_s: float = RETIRE_AFTER_S,
        keep_failed_s: float = RETIRE_AFTER_S,
        metadata_bytes: int = METADATA_BYTES,
        max_waiting: int = MAX_WAITING,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.database = database
        self.events = events or Events()
        self.retire_after_s = retire_after_s
        self.max_waiting = max_waiting
        self.clock = clock
        self.queue = JobQueue(
            database,
            self.events,
            retire_after_s=retire_after_s,
            keep_failed_s=keep_failed_s,
            metadata_bytes=metadata_bytes,
            clock=clock,
        )

    async def accept(self, tenant_id: str, new: Sequence[NewDocument], *, bulk: bool = False) -> Accepted:
        """Accept documents, all or none, durably. With `bulk`, a Ray Job of their own indexes them.

        A document whose latest version is live and the same is indexed at once. Raises InvalidRequest for an invalid
        document, an id given twice for different documents, or an id that belongs to another user. Raises
        QuotaExceeded, RateLimited if too many documents of the tenant wait, Conflict for a collection that is being
        deleted, and NotFound for an unknown tenant.
        """
        if not new:
            raise InvalidRequest("documents: none given", field="documents")
        new = [checked(document) for document in new]
        now = self.clock()
        async with self.database.transaction() as session:
            settings = await require_open(session, tenant_id, alone=True)
            ids = await acceptance.choose_ids(session, tenant_id, new)
            wanted = acceptance.by_id(ids, new)
            await collections.add(session, tenant_id, [document.collection for document in wanted.values()], now)
            sizes = await collections.chunk_sizes(
                session, tenant_id, {document.collection for document in wanted.values()}, kept=True
            )
            settled, added = await acceptance.lock_documents(session, tenant_id, wanted, now)
            found_in = await generations.in_state(session, tenant_id, "live")
            generation = found_in and found_in.embedder
            job = new_job(tenant_id, now)
            session.add(job)
            await session.flush()
            rows = []
            for document_id, document in wanted.items():
                cut = sizes[document.collection]
                fingerprint = fingerprint_of(document, cut)
                live = settled.get(document_id)
                # What has no vectors of the live generation's embedder is work again, although it is the same.
                has_vectors = live is not None and generation in (None, live.embedder)
                unchanged = live is not None and live.fingerprint == fingerprint and has_vectors
                rows.append(
                    {
                        **document.columns(),
                        "blob": live.blob if live is not None and unchanged else document.blob,
                        "tenant_id": tenant_id,
                        "job_id": job.id,
                        "job_created_at": now,
                        "document_id": document_id,
                        "version": live.version if live is not None and unchanged else "",
                        "fingerprint": fingerprint,
                        "chunk_tokens": cut.tokens,
                        "chunk_overlap": cut.overlap,
                        "warnings": live.warnings if live is not None and unchanged else [],
                        "state": "indexed" if unchanged else "queued",
                        "not_before": now,
                        "lane": turns.lane_of("", for_ray_job=bulk),
                        "updated_at": now,
                    }
                )
            queued = sum(row["state"] == "queued" for row in rows)
            if queued:
                await self._check_room(session, tenant_id, queued)
            await session.execute(insert(session, JobDocument), rows)
            new_bytes = [(row["document_id"], row["blob"], row["size"]) for row in rows if row["state"] == "queued"]
            await stored_blobs.adopt(session, tenant_id, new_bytes, now)
            await usage.add(session, tenant_id, documents=added)
            await quotas.check(session, tenant_id, settings.quotas)
            webhooks.expect(session, tenant_id, job.id, settings, now)
            if bulk and queued:
                job.bulk = "waiting"
                await session.flush()
            if queued:
                await turns.wake(session, tenant_id, turns.NEW, now, now)
        self.events.publish(Event("job.created", tenant_id, job.id, {"documents": len(rows)}))
        used = {row["blob"] for row in rows}
        return Accepted(
            id=job.id,
            documents=tuple(ids),
            unused_blobs=tuple(sorted({document.blob for document in new} - used)),
        )

    async def retry(self, tenant_id: str, job_id: str) -> Retried:
        """Queue a job's failed documents again, as they were handed in, in a job of their own.

        Those that were deleted, changed or handed in again since are left out, and those whose bytes are gone. Raises
        NotFound unless the tenant has the job, Conflict if nothing is left, QuotaExceeded, and RateLimited if too many
        documents of the tenant wait.
        """
        now = self.clock()
        async with self.database.transaction() as session:
            settings = await require_open(session, tenant_id, alone=True)
            failed = await session.scalar(select(Job).where(of_tenant(Job, tenant_id), Job.id == job_id))
            if failed is None:
                raise _missing(job_id)
            chosen = await retries.choose(session, failed, now)
            await self._check_room(session, tenant_id, len(chosen.rows))
            job = new_job(tenant_id, now)
            session.add(job)
            await session.flush()
            await retries.add_rows(session, job, chosen.rows, now)
            await quotas.check(session, tenant_id, settings.quotas)
            webhooks.expect(session, tenant_id, job.id, settings, now)
            await session.flush()
            await turns.wake(session, tenant_id, turns.NEW, now, now)
            retried = Retried(job.id, [(row.document_id, row.filename) for row in chosen.rows], chosen.left_out)
        details = {"documents": len(retried.documents), "retries": job_id}
        self.events.publish(Event("job.created", tenant_id, retried.id, details))
        return retried

    async def reserve(self, tenant_id: str, sizes: Mapping[str, int]) -> None:
        """Make room for an upload whose bytes are about to be written: their sizes, by their keys.

        The caller then writes them and calls `accept`, or `release`. What it leaves is removed after an hour. Raises
        QuotaExceeded if the tenant is over its quota already, RateLimited if it is for a while only, or if as many of
        its documents wait as may, and NotFound.
        """
        now = self.clock()
        async with self.database.transaction() as session:
            settings = await require_open(session, tenant_id, alone=True)
            await self._check_room(session, tenant_id, 1)
            is_full = await quotas.is_full(session, tenant_id, settings.quotas)
            if is_full:
                await stored_blobs.hurry(session, tenant_id, now)
            else:
                until = now + timedelta(seconds=stored_blobs.UPLOAD_S)
                await stored_blobs.reserve(session, tenant_id, sizes, until)
        if is_full:
            error = RateLimited(
                "documents: the tenant's quota of bytes is full while documents are being replaced and removed; send "
                "these again once that is done",
                field="documents",
            )
            error.retry_after_s = ROOM_RETRY_S
            raise error

    async def release(self, tenant_id: str, keys: Iterable[str]) -> None:
        """Forget bytes of an upload that came to nothing, once they are removed."""
        await self.queue.forget_blobs([RemovedBlob(tenant_id, key) for key in keys])

    async def _check_room(self, session: AsyncSession, tenant_id: str, new: int) -> None:
        """Raises RateLimited if the tenant may not have `new` more documents wait."""
        row = JobDocument
        handed_in = (turns.NEW, turns.NEW + turns.FOR_RAY_JOB)
        waits = (of_tenant(row, tenant_id), row.state == "queued", row.lane.in_(handed_in))
        some = select(row.sequence).where(*waits).limit(self.max_waiting)
        if new + await count_rows(session, some) <= self.max_waiting:
            return
        reindexing_job = select(Job.id).where(of_tenant(Job, tenant_id), Job.reindex == "in_place")
        waiting = await count_rows(session, some.where(row.job_id.not_in(reindexing_job)))
        if waiting + new > self.max_waiting:
            error = RateLimited(
                f"documents: {waiting} documents of the tenant wait to be indexed, and with {new} more they would be "
                f"more than {self.max_waiting} (api.max_waiting_documents); send them again once some are indexed",
                field="documents",
            )
            error.retry_after_s = ROOM_RETRY_S
            raise error

    async def view(self, tenant_id: str, job_id: str) -> JobView:
        """A job as it stands. Raises NotFound unless the tenant has it."""
        row = JobDocument
        async with self.database.session() as session:
            job = await session.scalar(select(Job).where(of_tenant(Job, tenant_id), Job.id == job_id))
            if job is None:
                raise _missing(job_id)
            rows = (
                await session.scalars(
                    select(row).where(of_tenant(row, tenant_id), row.job_id == job_id).order_by(row.sequence)
                )
            ).all()
        counts = Counter(row.state for row in rows)
        return JobView(
            id=job_id,
            state=reindex_job_state(set(counts), cast(ReindexState | None, job.reindex)),
            counts={state: counts[state] for state in get_args(DocumentState)},
            documents=[_progress(row) for row in rows],
            bulk=_bulk_view(job, self.clock()),
            created_at=job.created_at,
            updated_at=max((row.updated_at for row in rows), default=job.created_at),
        )

    async def summary(self, tenant_id: str, job_id: str) -> JobSummary:
        """Raises NotFound unless the tenant has the job."""
        async with self.database.session() as session:
            summaries = await _summaries(session, tenant_id, [job_id])
        if not summaries:
            raise _missing(job_id)
        return summaries[0]

    async def page(
        self,
        tenant_id: str,
        *,
        state: JobState | None = None,
        after: str = "",
        limit: int = 100,
        max_scanned: int = 10_000,
    ) -> Page[JobSummary]:
        """A tenant's jobs, the newest first, those before the job `after`; where a state is asked for, at most
        `max_scanned` jobs are looked at. Raises InvalidRequest for an `after` that no job has."""

        async def read(after: str, limit: int) -> Sequence[JobSummary]:
            async with self.database.session() as session:
                ids = await job_lists.candidates(session, tenant_id, state, after, limit)
                return await _summaries(session, tenant_id, ids)

        passes = (lambda job: job.state == state) if state else None
        return await pagination.page(read, passes, after=after, limit=limit, max_scanned=max_scanned)

    async def cancel(self, tenant_id: str, job_id: str) -> None:
        """End a job: what waits is cancelled, what a worker has is given up by it within a batch. What is indexed
        stays, but not what was written to a generation that is not live. Idempotent. Raises NotFound unless the tenant
        has it."""
        async with self.database.transaction() as session:
            this = (of_tenant(Job, tenant_id), Job.id == job_id)
            job = await session.scalar(select(Job).where(*this).with_for_update())
            if job is None:
                raise _missing(job_id)
            of_job = (of_tenant(JobDocument, tenant_id), JobDocument.job_id == job_id)
            now = self.clock()
            due = now + timedelta(seconds=self.retire_after_s)
            if job.bulk in ("waiting", "running"):  # its Ray Job has many documents at once, and is in no hurry
                await claims.end_ray_job(session, job, "its job was cancelled", now)
            await documents.cancel_versions(session, *of_job, due=due, now=now)
            if job.reindex in ("filling", "given_up"):
                await _give_up_generation(session, job, due)
        self.events.publish(Event("job.cancelled", tenant_id, job_id))


async def _give_up_generation(session: AsyncSession, job: Job, due: datetime) -> None:
    """Have what a job wrote to a generation removed, unless another job fills that by now."""
    job.reindex = "given_up"
    await session.flush()
    filled = await generations.in_state(session, job.tenant_id, "filling")
    taken_over = await session.scalar(reindexing.running_job(job.tenant_id, "filling"))
    if filled is not None and filled.name == job.generation and taken_over is None:
        await generations.retire(session, filled, due)


async def _summaries(session: AsyncSession, tenant_id: str, ids: Sequence[str]) -> list[JobSummary]:
    """Those of the jobs that the tenant has, the newest first."""
    if not ids:  # SQLite would read all rows of the tenant to find none
        return []
    columns = select(Job.id, Job.created_at, Job.reindex).where(of_tenant(Job, tenant_id), Job.id.in_(ids))
    jobs = sorted((await session.execute(columns)).all(), key=lambda job: (job.created_at, job.id), reverse=True)
    row = JobDocument
    by_state = await session.execute(
        select(
            row.job_id,
            row.state,
            func.count().label("documents"),
            func.sum(row.chunks).label("chunks"),
            func.sum(row.chunks_done).label("chunks_done"),
            func.max(row.updated_at).label("updated_at"),
        )
        .where(of_tenant(row, tenant_id), row.job_id.in_([job.id for job in jobs]))
        .group_by(row.job_id, row.state)
        # It would rather read all documents of the tenant.
        .with_hint(row, "INDEXED BY ix_job_documents_job_id_state_not_before_sequence", "sqlite")
    )
    parts = defaultdict(list)
    for part in by_state:
        parts[part.job_id].append(part)
    return [
        JobSummary(
            id=job.id,
            state=reindex_job_state({part.state for part in parts[job.id]}, job.reindex),
            counts=dict.fromkeys(get_args(DocumentState), 0) | {part.state: part.documents for part in parts[job.id]},
            chunks=sum(int(part.chunks) for part in parts[job.id]),
            chunks_done=sum(int(part.chunks_done) for part in parts[job.id]),
            created_at=job.created_at,
            updated_at=max((part.updated_at for part in parts[job.id]), default=job.created_at),
        )
        for job in jobs
    ]


def _missing(job_id: str) -> NotFound:
    return NotFound(f"job {job_id[:80]!r} does not exist")


def _progress(row: JobDocument) -> DocumentProgress:
    error = DocumentError(row.error_code, row.error_detail) if row.error_code else None
    state = cast(DocumentState, row.state)
    return DocumentProgress(row.document_id, state, row.chunks, row.chunks_done, error, tuple(row.warnings))


def _bulk_view(job: Job, now: datetime) -> BulkView | None:
    if job.bulk is None:
        return None
    run = ray_job(job.tenant_id, job.id)
    if job.bulk == "running" and job.bulk_until is not None and job.bulk_until <= now:
        return BulkView(run, "ended", "its Ray Job ended without a word")
    return BulkView(run, cast(BulkState, job.bulk), job.bulk_detail or None)
