"""The queue that workers take accepted documents from.

    queued → parsing → embedding → indexed | failed
       ↑________ retry, lease lost _|          cancelled: its job was, or its document deleted

Versions of one document are worked on strictly in the order in which they were accepted, one at a time. A claim is
known by its attempt's number. Once its lease ran out and another worker claimed the document, calls about it change
nothing. Times are the workers' own, so their clocks must agree to well within a lease.
Which versions searches find is in visibility.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, exists, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from deployments.errors import EmbedderMismatch, NotFound, QuotaExceeded, StageUnavailable
from deployments.ingestion.base import (
    ChunkSizes,
    DocumentCancelled,
    DocumentState,
    DocumentTask,
    IndexedDocument,
    LeaseLost,
    Progress,
    RemovedVersion,
    RetiredGeneration,
)
from deployments.types import EmbedderIdentity, IndexGeneration
from serve_app.platform import generation_switch, generations, lexical_statistics, visibility
from serve_app.platform.events import Event, Events
from serve_app.platform.job_states import IN_WORK, UNFINISHED, job_state
from serve_app.platform.tenant_settings import Quotas, require_open
from serve_app.platform.visibility import RETIRE_AFTER_S
from serve_app.storage.database import Database, insert
from serve_app.storage.tables import (
    Document,
    Job,
    JobDocument,
    LexicalTotal,
    RefilledDocument,
    Tenant,
    of_tenant,
    utc_now,
)

_TASK_COLUMNS = [field.name for field in fields(DocumentTask) if field.name in JobDocument.__mapper__.columns]
"""What a worker's task takes from its row under the same name."""
_MAX_TEXT = 2_000
"""Characters of a title or an error that are stored."""


class JobQueue:
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

    async def claim(self, worker: str, *, lease_s: float, limit: int, job_id: str | None = None) -> list[DocumentTask]:
        now = self.clock()
        async with self.database.transaction() as session:
            rows = (await session.scalars(_claimable(now, job_id, limit))).all()
            for row in rows:
                row.updated_at = now
                if row.given_up:  # the worker that was to notice is gone
                    row.state, row.lease_until = "cancelled", None
                    await visibility.schedule_removal(session, row.tenant_id, [row.version], self._retired_at(now))
                else:
                    row.state = "parsing"
                    row.worker = worker
                    row.attempts += 1
                    row.lease_until = now + timedelta(seconds=lease_s)
            claimed = [row for row in rows if not row.given_up]
            await _name_versions(session, [row for row in claimed if not row.version])
            # A version that is written to another generation is live, and so is not hidden.
            await visibility.hide(session, [_removed_version(row) for row in claimed if not row.generation])
            for row in rows:
                if row.given_up and row.generation:
                    await self._hide_unless_live(session, row)
            await session.flush()
            return [_task(row) for row in claimed]

    async def renew(self, worker: str, tasks: Sequence[DocumentTask], *, lease_s: float) -> None:
        lease_until = self.clock() + timedelta(seconds=lease_s)
        async with self.database.transaction() as session:
            for task in tasks:
                # A row that another transaction has locked waits for the next renewal: a transaction that holds
                # several rows must not wait for one more.
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
            values |= {"written_to": progress.generation, "chunks": progress.chunks, "chunks_done": progress.done}
        async with self.database.transaction() as session:
            change = update(JobDocument).where(*_held(task)).values(**values).returning(JobDocument.given_up)
            given_up = await session.scalar(change)
        if given_up is None:
            raise LeaseLost(f"document {task.document_id!r} is another worker's by now")
        if given_up:
            raise _given_up(task)

    async def begin_writing(self, task: DocumentTask, embedder: EmbedderIdentity) -> IndexGeneration:
        async with self.database.transaction() as session:
            await require_open(session, task.tenant_id, alone=True)
            if not task.generation:
                live = await generations.to_write(session, task.tenant_id, embedder, self._retired_at(self.clock()))
                await session.flush()
                return generations.as_value(live)
            filled = await generations.in_state(session, task.tenant_id, "filling")
        if filled is None or filled.name != task.generation:
            raise _given_up(task)
        if filled.embedder != embedder.fingerprint:
            raise EmbedderMismatch(
                f"the job reindexes for the embedder {filled.embedder}, and {embedder.fingerprint} runs by now; "
                "cancel it, and reindex again"
            )
        return generations.as_value(filled)

    async def finish(self, task: DocumentTask, indexed: IndexedDocument) -> None:
        """Raises DocumentCancelled, NotFound if the tenant was deleted meanwhile, and QuotaExceeded if it may not keep
        as many passages. Then call `fail`; the live version stays as it is."""
        if task.generation:
            await self._finish_refilling(task, indexed)
            return
        now = self.clock()
        async with self.database.transaction() as session:
            settings = await require_open(session, task.tenant_id, alone=True)
            await _check_generation(session, task.tenant_id, indexed.generation)
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
            added_passages = indexed.passages - document.passages
            await _check_chunks(session, task.tenant_id, settings.quotas, added_passages)
            terms = dict(indexed.document_frequency)
            await lexical_statistics.move(
                session,
                task.tenant_id,
                document.owner,
                passages=added_passages,
                terms=lexical_statistics.difference(terms, lexical_statistics.unpack(document.terms)),
            )
            if document.version and document.version != row.version:
                replaced = RemovedVersion(task.tenant_id, document.id, document.version, document.blob)
                await visibility.hide(session, [replaced], due=self._retired_at(now))
            await visibility.reveal(session, task.tenant_id, row.version)
            document.take_over(row)
            document.version, document.fingerprint = row.version, row.fingerprint
            document.title = _storable(indexed.title)
            document.language = indexed.language
            document.passages = indexed.passages
            document.terms = lexical_statistics.pack(terms)
            document.embedder, document.chunking = indexed.embedder, indexed.chunking
            document.updated_at = row.updated_at = now
            row.state, row.lease_until = "indexed", None
            row.chunks = row.chunks_done = indexed.passages
            await session.flush()
        self._publish_indexed(task, indexed)

    async def _finish_refilling(self, task: DocumentTask, indexed: IndexedDocument) -> None:
        """Record what the document's row and the statistics get once the generation is live. Raises DocumentCancelled,
        NotFound."""
        now = self.clock()
        async with self.database.transaction() as session:
            await require_open(session, task.tenant_id, alone=True)
            row = await session.scalar(select(JobDocument).where(*_held(task)).with_for_update())
            if row is None:
                return
            if row.given_up:
                raise _given_up(task)
            row.state, row.lease_until, row.updated_at = "indexed", None, now
            row.chunks = row.chunks_done = indexed.passages
            await self._hide_unless_live(session, row)
            key = {"tenant_id": task.tenant_id, "generation": task.generation, "document_id": task.document_id}
            told = {
                "version": task.version,
                "passages": indexed.passages,
                "terms": lexical_statistics.pack(dict(indexed.document_frequency)),
                "chunking": indexed.chunking,
            }
            await session.execute(
                insert(session, RefilledDocument)
                .values({**key, **told})
                .on_conflict_do_update(index_elements=list(key), set_=told)
            )
            await session.flush()
        self._publish_indexed(task, indexed)

    async def _hide_unless_live(self, session: AsyncSession, row: JobDocument) -> None:
        """Have a version removed that was replaced or deleted while it was written to another generation.

        It was removed before, perhaps too early for what was still being written.
        """
        document = await session.get(Document, (row.tenant_id, row.document_id)) if row.generation else None
        if row.generation and (document is None or document.version != row.version):
            version = RemovedVersion(row.tenant_id, row.document_id, row.version)
            await visibility.hide(session, [version], due=self._retired_at(self.clock()))

    def _publish_indexed(self, task: DocumentTask, indexed: IndexedDocument) -> None:
        details = {"job_id": task.job_id, "version": task.version, "passages": indexed.passages}
        self.events.publish(Event("document.indexed", task.tenant_id, task.document_id, details))

    async def switch_generations(self) -> bool:
        queued = False
        async with self.database.session() as session:
            complete = await generation_switch.complete_jobs(session)
        for tenant_id, job_id in complete:
            now = self.clock()
            try:
                async with self.database.transaction() as session:
                    outcome = await generation_switch.settle(session, tenant_id, job_id, now, self._retired_at(now))
            except NotFound:  # the tenant is being deleted
                continue
            queued |= outcome == "goes on"
            if outcome == "switched":
                self.events.publish(Event("index.switched", tenant_id, job_id))
            elif outcome == "given_up":
                self.events.publish(Event("job.failed", tenant_id, job_id))
        return queued

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
            await visibility.schedule_removal(session, task.tenant_id, [row.version], self._retired_at(now))
            await self._hide_unless_live(session, row)
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
        if job_state(states) == "failed":
            self.events.publish(Event("job.failed", task.tenant_id, task.job_id))

    async def retry(self, task: DocumentTask, *, after_s: float) -> None:
        now = self.clock()
        values = {"not_before": now + timedelta(seconds=after_s), "updated_at": now}
        queued = update(JobDocument).where(*_held(task)).values(state="queued", lease_until=None, **values)
        async with self.database.transaction() as session:
            await session.execute(queued)

    async def list_removable(self, limit: int) -> list[RemovedVersion]:
        async with self.database.session() as session:
            return await visibility.list_removable(session, self.clock(), limit)

    async def forget_removed(self, versions: Sequence[RemovedVersion]) -> None:
        async with self.database.transaction() as session:
            await visibility.forget(session, versions)

    async def list_retired(self, limit: int) -> list[RetiredGeneration]:
        async with self.database.session() as session:
            return await generations.list_removable(session, self.clock(), limit)

    async def forget_retired(self, retired: Sequence[RetiredGeneration]) -> None:
        async with self.database.transaction() as session:
            await generations.forget(session, retired)

    def _retired_at(self, now: datetime) -> datetime:
        return now + timedelta(seconds=self.retire_after_s)


def _claimable(now: datetime, job_id: str | None, limit: int) -> Select[JobDocument]:
    """The documents to claim next, locked: those of the job, or without one those that no Ray Job is for."""
    row, earlier = JobDocument, aliased(JobDocument)
    is_free = or_(
        (row.state == "queued") & (row.not_before <= now),
        row.state.in_(IN_WORK) & (row.lease_until <= now),
    )
    waits_for_earlier_version = exists().where(
        earlier.tenant_id == row.tenant_id,
        earlier.document_id == row.document_id,
        earlier.state.in_(UNFINISHED),
        earlier.sequence < row.sequence,
        earlier.generation == row.generation,  # a write to another generation does not conflict
    )
    tenant_is_deleted = exists().where(Tenant.id == row.tenant_id, Tenant.status == "deleting")
    is_for_ray_job = exists().where(
        Job.id == row.job_id, or_(Job.bulk == "waiting", (Job.bulk == "running") & (Job.bulk_until > now))
    )
    return (
        select(row)
        .where(
            is_free,
            ~is_for_ray_job if job_id is None else row.job_id == job_id,
            ~waits_for_earlier_version,
            ~tenant_is_deleted,
            row.tenant_id.not_in(visibility.full_tenants()),
        )
        .order_by(row.generation, row.sequence)  # new documents first, then those that are reindexed
        .limit(limit)
        .with_for_update(of=row, skip_locked=True)
    )


async def _name_versions(session: AsyncSession, rows: Sequence[JobDocument]) -> None:
    """Give rows their versions, in the order of the tenants, so that two workers cannot deadlock."""
    for tenant_id in sorted({row.tenant_id for row in rows}):
        tenant_rows = [row for row in rows if row.tenant_id == tenant_id]
        versions = await visibility.next_versions(session, tenant_id, len(tenant_rows))
        for row, version in zip(tenant_rows, versions, strict=True):
            row.version = version


async def _check_generation(session: AsyncSession, tenant_id: str, written_to: str) -> None:
    """Raises StageUnavailable if another generation is live than the one that a document was written to."""
    live = await generations.in_state(session, tenant_id, "live")
    if written_to and live is not None and live.name != written_to:
        raise StageUnavailable("another generation of the index became live while the document was written")


async def _check_chunks(session: AsyncSession, tenant_id: str, quotas: Quotas, added: int) -> None:
    """Raises QuotaExceeded if the tenant may not keep `added` more chunks."""
    if quotas.chunks is None or added <= 0:
        return
    kept = await session.scalar(select(func.sum(LexicalTotal.passages)).where(of_tenant(LexicalTotal, tenant_id)))
    total = int(kept or 0) + added
    if total > quotas.chunks:
        raise QuotaExceeded(
            f"the tenant would keep {total} chunks, its quota is {quotas.chunks}; delete some, or ask for more"
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
        **{name: getattr(row, name) for name in _TASK_COLUMNS},
        metadata=row.metadata_,
        progress=Progress(row.written_to, row.chunks, row.chunks_done),
        chunk_sizes=ChunkSizes(row.chunk_tokens, row.chunk_overlap),
    )


def _storable(text: str) -> str:
    """Text from a parser or an error, without what databases refuse."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()[:_MAX_TEXT]
