"""Jobs: documents accepted together, and the queue that workers take them from.

    accept → queued → parsing → embedding → indexed | failed
                ↑________ retry, lease lost _|          cancelled: its job was, or its document deleted

Versions of one document are worked on strictly in the order in which they were accepted, one at a time. A claim is
known by its attempt's number: once the lease ran out and another worker claimed the document, every call about the
former claim changes nothing. Times are the workers' own, so their clocks must agree to well within a lease.
Which versions searches find is in unseen.py.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from typing import Any, Literal, get_args
from uuid import uuid4

from sqlalchemy import ColumnElement, and_, exists, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from deployments.errors import InvalidRequest, NotFound, QuotaExceeded
from deployments.ingestion.base import (
    ChunkSizes,
    DocumentCancelled,
    DocumentState,
    DocumentTask,
    IndexedDocument,
    LeaseLost,
    Progress,
    RemovedVersion,
)
from deployments.ingestion.bulk.base import ray_job
from serve_app.platform import collections, documents, webhooks
from serve_app.platform import lexical_statistics as statistics
from serve_app.platform import visibility as unseen
from serve_app.platform.documents import IN_WORK
from serve_app.platform.events import Event, Events
from serve_app.platform.new_document import NewDocument, checked, fingerprint_of
from serve_app.platform.tenant_settings import Quotas, require_open
from serve_app.platform.visibility import RETIRE_AFTER_S
from serve_app.storage import pagination as scanning
from serve_app.storage.database import Database, chunks, insert
from serve_app.storage.pagination import Page
from serve_app.storage.tables import Document, Job, JobDocument, LexicalTotal, Tenant, of_tenant, utc_now

JobState = Literal["queued", "running", "succeeded", "partial", "failed", "cancelled"]
BulkState = Literal["waiting", "running", "ended"]
_UNFINISHED = ("queued", *IN_WORK)
_OF_TASK = [field.name for field in fields(DocumentTask) if field.name in JobDocument.__mapper__.columns]
"""What a worker's task takes from its row under the same name."""


@dataclass(frozen=True, slots=True)
class Accepted:
    """A job's id, its documents' ids in the order they were handed in, and the blobs it had no use for, because
    their documents are live as they are: the caller deletes those."""

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
        return self.state not in ("queued", "running")


class Jobs:
    """Implements the ingestion stage's JobStore. `retire_after_s`: at least as long as a query may take."""

    def __init__(
        self,
        database: Database,
        events: Events | None = None,
        *,
        retire_after_s: float = RETIRE_AFTER_S,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.database = database
        self.events = events or Events()
        self.retire_after_s = retire_after_s
        self.clock = clock

    async def accept(self, tenant_id: str, new: Sequence[NewDocument], *, bulk: bool = False) -> Accepted:
        """Take documents in, all or none, durably; with `bulk`, for a Ray Job of their own to index.

        A document whose latest version is live and the same is indexed at once. Raises InvalidRequest for a
        document outside the rules, an id given twice for different documents, or one that belongs to someone else,
        QuotaExceeded, and NotFound for a tenant that is not there.
        """
        if not new:
            raise InvalidRequest("documents: none given")
        given = [checked(document) for document in new]
        wanted: dict[str, NewDocument] = {}
        for document_id, document in given:
            first = wanted.setdefault(document_id, document)
            if fingerprint_of(first) != fingerprint_of(document):
                raise InvalidRequest(f"id {document_id!r} is given to two different documents of this request")
        job_id, now = f"job_{uuid4().hex}", self.clock()
        async with self.database.transaction() as session:
            settings = await require_open(session, tenant_id, alone=True)
            await collections.add(session, tenant_id, [document.collection for document in wanted.values()], now)
            sizes = await collections.chunk_sizes(session, tenant_id, {each.collection for each in wanted.values()})
            settled = await _lock_documents(session, tenant_id, wanted, now)
            job = Job(tenant_id=tenant_id, id=job_id, created_at=now)
            session.add(job)
            await session.flush()
            rows = []
            for document_id, document in wanted.items():
                cut = sizes[document.collection]
                fingerprint = fingerprint_of(document, cut)
                live = settled.get(document_id)
                unchanged = live is not None and live.fingerprint == fingerprint
                rows.append(
                    {
                        **document.columns(),
                        "blob": live.blob if live is not None and unchanged else document.blob,
                        "tenant_id": tenant_id,
                        "job_id": job_id,
                        "document_id": document_id,
                        "version": live.version if live is not None and unchanged else "",
                        "fingerprint": fingerprint,
                        "chunk_tokens": cut.tokens,
                        "chunk_overlap": cut.overlap,
                        "state": "indexed" if unchanged else "queued",
                        "not_before": now,
                        "updated_at": now,
                    }
                )
            await session.execute(insert(session, JobDocument), rows)
            await _check_quotas(session, tenant_id, settings.quotas)
            webhooks.expect(session, tenant_id, job_id, settings, now)
            if bulk and any(row["state"] == "queued" for row in rows):
                job.bulk = "waiting"
                await session.flush()
        self.events.publish(Event("job.created", tenant_id, job_id, {"documents": len(rows)}))
        used = {row["blob"] for row in rows}
        return Accepted(
            id=job_id,
            documents=tuple(document_id for document_id, _ in given),
            unused_blobs=tuple(sorted({document.blob for document in new} - used)),
        )

    async def view(self, tenant_id: str, job_id: str) -> dict[str, Any]:
        """A job as it stands, ready for JSON. Raises NotFound unless the tenant has it.

        Its `state` is `queued` or `running` while documents wait or are worked on; then `succeeded` if all of them
        are indexed, `partial` if some are, `failed` or `cancelled` if none is. `counts` has every state. `bulk` is None
        unless the job was asked for in bulk.
        """
        row = JobDocument
        async with self.database.session() as session:
            job = await session.scalar(select(Job).where(of_tenant(Job, tenant_id), Job.id == job_id))
            if job is None:
                raise NotFound(f"job {job_id[:80]!r} does not exist")
            rows = (
                await session.scalars(
                    select(row).where(of_tenant(row, tenant_id), row.job_id == job_id).order_by(row.sequence)
                )
            ).all()
        counts = Counter(each.state for each in rows)
        return {
            "id": job_id,
            "state": _job_state(set(counts)),
            "counts": {state: counts[state] for state in get_args(DocumentState)},
            "documents": [
                {
                    "id": each.document_id,
                    "state": each.state,
                    "chunks": each.chunks,
                    "chunks_done": each.chunks_done,
                    "error": {"code": each.error_code, "detail": each.error_detail} if each.error_code else None,
                }
                for each in rows
            ],
            "bulk": _bulk_view(job, self.clock()),
            "created_at": job.created_at.isoformat(),
            "updated_at": max(each.updated_at for each in rows).isoformat(),
        }

    async def summary(self, tenant_id: str, job_id: str) -> JobSummary:
        """Raises NotFound unless the tenant has the job."""
        async with self.database.session() as session:
            found = await _summaries(session, tenant_id, Job.id == job_id)
        if not found:
            raise NotFound(f"job {job_id[:80]!r} does not exist")
        return found[0]

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
                conditions = [await _before(session, tenant_id, after)] if after else []
                return await _summaries(session, tenant_id, *conditions, limit=limit)

        passes = (lambda job: job.state == state) if state else None
        return await scanning.page(read, passes, after=after, limit=limit, max_scanned=max_scanned)

    async def claim(self, worker: str, *, lease_s: float, limit: int, job_id: str | None = None) -> list[DocumentTask]:
        now = self.clock()
        row, earlier = JobDocument, aliased(JobDocument)
        free = or_(
            (row.state == "queued") & (row.not_before <= now),
            row.state.in_(IN_WORK) & (row.lease_until <= now),
        )
        behind_another = exists().where(
            earlier.tenant_id == row.tenant_id,
            earlier.document_id == row.document_id,
            earlier.state.in_(_UNFINISHED),
            earlier.sequence < row.sequence,
        )
        being_deleted = exists().where(Tenant.id == row.tenant_id, Tenant.status == "deleting")
        for_a_ray_job = exists().where(
            Job.id == row.job_id, or_(Job.bulk == "waiting", (Job.bulk == "running") & (Job.bulk_until > now))
        )
        mine = ~for_a_ray_job if job_id is None else row.job_id == job_id
        next_ones = (
            select(row)
            .where(free, mine, ~behind_another, ~being_deleted, row.tenant_id.not_in(unseen.full_tenants()))
            .order_by(row.sequence)
            .limit(limit)
            .with_for_update(of=row, skip_locked=True)
        )
        async with self.database.transaction() as session:
            found = (await session.scalars(next_ones)).all()
            for each in found:
                each.updated_at = now
                if each.given_up:  # the worker that was to notice is gone
                    each.state, each.lease_until = "cancelled", None
                    await unseen.give_up(session, each.tenant_id, [each.version], self._retired_at(now))
                else:
                    each.state = "parsing"
                    each.worker = worker
                    each.attempts += 1
                    each.lease_until = now + timedelta(seconds=lease_s)
            claimed = [each for each in found if not each.given_up]
            await _name_versions(session, [each for each in claimed if not each.version])
            await unseen.hide(session, [_removed_version(each) for each in claimed])
            await session.flush()
            return [_task(each) for each in claimed]

    async def renew(self, worker: str, tasks: Sequence[DocumentTask], *, lease_s: float) -> None:
        lease_until = self.clock() + timedelta(seconds=lease_s)
        async with self.database.transaction() as session:
            for task in tasks:
                # A row that somebody else is changing waits for the next renewal: whoever holds several rows must not
                # wait for one more.
                row = await session.scalar(
                    select(JobDocument)
                    .where(*_held(task), JobDocument.worker == worker)
                    .with_for_update(skip_locked=True)
                )
                if row is not None:
                    row.lease_until = lease_until
            await session.flush()

    async def progress(self, task: DocumentTask, state: DocumentState, progress: Progress | None = None) -> None:
        if state not in IN_WORK:
            raise ValueError(f"progress to {state!r}: use finish, fail or retry")
        values: dict[str, Any] = {"state": state, "updated_at": self.clock()}
        if progress is not None:
            values |= {"embedder": progress.embedder, "chunks": progress.chunks, "chunks_done": progress.done}
        async with self.database.transaction() as session:
            change = update(JobDocument).where(*_held(task)).values(**values).returning(JobDocument.given_up)
            given_up = await session.scalar(change)
        if given_up is None:
            raise LeaseLost(f"document {task.document_id!r} is another worker's by now")
        if given_up:
            raise _given_up(task)

    async def finish(self, task: DocumentTask, indexed: IndexedDocument) -> None:
        """Raises DocumentCancelled, NotFound if the tenant was deleted meanwhile, QuotaExceeded if it may not keep as
        many passages: then call `fail`. The live version stays as it is."""
        now = self.clock()
        async with self.database.transaction() as session:
            settings = await require_open(session, task.tenant_id, alone=True)
            document = await session.scalar(  # locked before the task's row, the order that `Documents.delete` keeps
                select(Document)
                .where(of_tenant(Document, task.tenant_id), Document.id == task.document_id)
                .with_for_update()
            )
            row = await session.scalar(select(JobDocument).where(*_held(task)).with_for_update())
            if row is None:
                return
            if document is None or row.given_up:
                raise _given_up(task)
            await _check_chunks(session, task.tenant_id, settings.quotas, indexed.passages - document.passages)
            terms = dict(indexed.document_frequency)
            await statistics.move(
                session,
                task.tenant_id,
                document.owner,
                passages=indexed.passages - document.passages,
                terms=statistics.difference(terms, statistics.unpack(document.terms)),
            )
            if document.version and document.version != row.version:
                before = RemovedVersion(task.tenant_id, document.id, document.version, document.blob)
                await unseen.hide(session, [before], due=self._retired_at(now))
            await unseen.reveal(session, task.tenant_id, row.version)
            document.take_over(row)
            document.version, document.fingerprint = row.version, row.fingerprint
            document.title = _storable(indexed.title)
            document.language = indexed.language
            document.passages = indexed.passages
            document.terms = statistics.pack(terms)
            document.updated_at = row.updated_at = now
            row.state, row.lease_until = "indexed", None
            row.chunks = row.chunks_done = indexed.passages
            await session.flush()
        details = {"job_id": task.job_id, "version": task.version, "passages": indexed.passages}
        self.events.publish(Event("document.indexed", task.tenant_id, task.document_id, details))

    async def fail(self, task: DocumentTask, code: str, detail: str) -> None:
        now = self.clock()
        async with self.database.transaction() as session:
            row = await session.scalar(select(JobDocument).where(*_held(task)).with_for_update())
            if row is None:
                return
            row.state, row.lease_until, row.updated_at = "failed", None, now
            row.error_code, row.error_detail = code, _storable(detail)
            if row.given_up:
                row.state, row.error_code, row.error_detail = "cancelled", None, None
            await unseen.give_up(session, task.tenant_id, [row.version], self._retired_at(now))
            await session.flush()
            states = set(
                await session.scalars(
                    select(JobDocument.state).where(
                        of_tenant(JobDocument, task.tenant_id), JobDocument.job_id == task.job_id
                    )
                )
            )
            given_up = row.given_up
        if not given_up:
            details = {"job_id": task.job_id, "code": code}
            self.events.publish(Event("document.failed", task.tenant_id, task.document_id, details))
        if _job_state(states) == "failed":
            self.events.publish(Event("job.failed", task.tenant_id, task.job_id))

    async def retry(self, task: DocumentTask, *, after_s: float) -> None:
        now = self.clock()
        values = {"not_before": now + timedelta(seconds=after_s), "updated_at": now}
        queued = update(JobDocument).where(*_held(task)).values(state="queued", lease_until=None, **values)
        async with self.database.transaction() as session:
            await session.execute(queued)

    async def cancel(self, tenant_id: str, job_id: str) -> None:
        """End a job: what waits is cancelled, what a worker has is given up by it within a batch. What is indexed
        stays. Twice is once. Raises NotFound unless the tenant has it."""
        async with self.database.transaction() as session:
            found = select(Job.id).where(of_tenant(Job, tenant_id), Job.id == job_id)
            if await session.scalar(found) is None:
                raise NotFound(f"job {job_id[:80]!r} does not exist")
            of_job = (of_tenant(JobDocument, tenant_id), JobDocument.job_id == job_id)
            await documents.give_up(session, *of_job, due=self._retired_at(self.clock()))
        self.events.publish(Event("job.cancelled", tenant_id, job_id))

    async def removable(self, limit: int) -> list[RemovedVersion]:
        async with self.database.session() as session:
            return await unseen.removable(session, self.clock(), limit)

    async def removed(self, versions: Sequence[RemovedVersion]) -> None:
        async with self.database.transaction() as session:
            await unseen.removed(session, versions)

    def _retired_at(self, now: datetime) -> datetime:
        return now + timedelta(seconds=self.retire_after_s)


async def _name_versions(session: AsyncSession, rows: Sequence[JobDocument]) -> None:
    """In the order of the tenants, so that two workers cannot deadlock."""
    for tenant_id in sorted({row.tenant_id for row in rows}):
        its = [row for row in rows if row.tenant_id == tenant_id]
        for row, version in zip(its, await unseen.begin(session, tenant_id, len(its)), strict=True):
            row.version = version


async def _summaries(
    session: AsyncSession, tenant_id: str, *conditions: ColumnElement[bool], limit: int = 1
) -> list[JobSummary]:
    """The newest jobs for which the conditions hold."""
    jobs = (
        await session.execute(
            select(Job.id, Job.created_at)
            .where(of_tenant(Job, tenant_id), *conditions)
            .order_by(Job.created_at.desc(), Job.id.desc())
            .limit(limit)
        )
    ).all()
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
    )
    parts = defaultdict(list)
    for part in by_state:
        parts[part.job_id].append(part)
    return [
        JobSummary(
            id=job.id,
            state=_job_state({part.state for part in parts[job.id]}),
            counts=dict.fromkeys(get_args(DocumentState), 0) | {part.state: part.documents for part in parts[job.id]},
            chunks=sum(int(part.chunks) for part in parts[job.id]),
            chunks_done=sum(int(part.chunks_done) for part in parts[job.id]),
            created_at=job.created_at,
            updated_at=max(part.updated_at for part in parts[job.id]),
        )
        for job in jobs
    ]


async def _before(session: AsyncSession, tenant_id: str, job_id: str) -> ColumnElement[bool]:
    """The condition on jobs older than this one, of which several may have come at once. Raises InvalidRequest."""
    at = await session.scalar(select(Job.created_at).where(of_tenant(Job, tenant_id), Job.id == job_id))
    if at is None:
        raise InvalidRequest(f"after: there is no job {job_id[:80]!r}; begin with the first page again")
    return or_(Job.created_at < at, and_(Job.created_at == at, Job.id < job_id))


async def _lock_documents(
    session: AsyncSession, tenant_id: str, wanted: Mapping[str, NewDocument], now: datetime
) -> dict[str, Document]:
    """Make and lock the documents' rows, in the order of their ids so that two callers cannot deadlock.

    Returns those that have a live version and no later one on its way.
    """
    ids = sorted(wanted)
    await session.execute(
        insert(session, Document).on_conflict_do_nothing(),
        [
            {**wanted[each].columns(), "tenant_id": tenant_id, "id": each, "created_at": now, "updated_at": now}
            for each in ids
        ],
    )
    settled: dict[str, Document] = {}
    for some in chunks(ids):
        found = await session.scalars(
            select(Document)
            .where(of_tenant(Document, tenant_id), Document.id.in_(some))
            .order_by(Document.id)
            .with_for_update()
        )
        for document in found:
            new = wanted[document.id]
            if document.owner != new.owner:
                raise InvalidRequest(f"id {document.id!r} belongs to a document of another owner; choose another id")
            if document.version:
                settled[document.id] = document
            else:
                document.take_over(new)
                document.updated_at = now
        waiting = await session.scalars(
            select(JobDocument.document_id).where(
                of_tenant(JobDocument, tenant_id),
                JobDocument.document_id.in_(some),
                JobDocument.state.in_(_UNFINISHED),
            )
        )
        for document_id in waiting:
            settled.pop(document_id, None)
    await session.flush()
    return settled


async def _check_quotas(session: AsyncSession, tenant_id: str, quotas: Quotas) -> None:
    """After the documents' and the job's rows were made: whether the tenant may keep as many, and as large ones once
    the newest versions on their way are live."""
    if quotas.documents is None and quotas.bytes is None:
        return
    coming = (
        select(JobDocument.size)
        .where(
            JobDocument.tenant_id == Document.tenant_id,
            JobDocument.document_id == Document.id,
            JobDocument.state.in_(_UNFINISHED),
        )
        .order_by(JobDocument.sequence.desc())
        .limit(1)
        .scalar_subquery()
    )
    sizes = func.coalesce(coming, Document.size)
    found = await session.execute(
        select(func.count(), func.coalesce(func.sum(sizes), 0)).where(of_tenant(Document, tenant_id))
    )
    documents, size = found.one()
    for name, used, most in (("documents", documents, quotas.documents), ("bytes", size, quotas.bytes)):
        if most is not None and used > most:
            raise QuotaExceeded(
                f"documents: the tenant would keep {used} {name}, its quota is {most}; delete some, or ask for more"
            )


async def _check_chunks(session: AsyncSession, tenant_id: str, quotas: Quotas, more: int) -> None:
    if quotas.chunks is None or more <= 0:
        return
    kept = await session.scalar(select(func.sum(LexicalTotal.passages)).where(of_tenant(LexicalTotal, tenant_id)))
    would = int(kept or 0) + more
    if would > quotas.chunks:
        raise QuotaExceeded(
            f"the tenant would keep {would} chunks, its quota is {quotas.chunks}; delete some, or ask for more"
        )


def _held(task: DocumentTask) -> tuple[ColumnElement[bool], ...]:
    """The conditions on the task's row as long as this claim of it stands."""
    return (
        of_tenant(JobDocument, task.tenant_id),
        JobDocument.job_id == task.job_id,
        JobDocument.document_id == task.document_id,
        JobDocument.attempts == task.attempts,
        JobDocument.state.in_(IN_WORK),
    )


def _given_up(task: DocumentTask) -> DocumentCancelled:
    return DocumentCancelled(f"document {task.document_id!r} was deleted, or its job cancelled")


def _removed_version(row: JobDocument) -> RemovedVersion:
    return RemovedVersion(row.tenant_id, row.document_id, row.version, row.blob)


def _task(row: JobDocument) -> DocumentTask:
    return DocumentTask(
        **{name: getattr(row, name) for name in _OF_TASK},
        metadata=row.metadata_,
        progress=Progress(row.embedder, row.chunks, row.chunks_done),
        chunk_sizes=ChunkSizes(row.chunk_tokens, row.chunk_overlap),
    )


def _job_state(present: Set[str]) -> JobState:
    if present & set(_UNFINISHED):
        return "queued" if present == {"queued"} else "running"
    if "indexed" in present:
        return "succeeded" if present == {"indexed"} else "partial"
    return "failed" if "failed" in present else "cancelled"


def _bulk_view(job: Job, now: datetime) -> dict[str, Any] | None:
    if job.bulk is None:
        return None
    silent = job.bulk == "running" and job.bulk_until is not None and job.bulk_until <= now
    return {
        "ray_job": ray_job(job.tenant_id, job.id),
        "state": "ended" if silent else job.bulk,
        "detail": "its Ray Job ended without a word" if silent else job.bulk_detail or None,
    }


def _storable(text: str, most: int = 2_000) -> str:
    """Text from a parser or an error, without what databases refuse."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()[:most]
