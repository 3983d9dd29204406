"""The queue that workers take accepted documents from.

    queued → parsing → embedding → indexed | failed
       ↑________ retry, lease lost _|          cancelled: its job was, or its document deleted

Versions of one document are worked on strictly in the order in which they were accepted, one at a time. A claim is
known by its attempt's number. Once its lease ran out and another worker claimed the document, calls about it change
nothing. Times are the workers' own, so their clocks must agree to well within a lease.
Which versions searches find is in visibility.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, exists, func, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from deployments.errors import EmbedderMismatch, NotFound, QuotaExceeded, StageUnavailable
from deployments.ingestion.base import (
    METADATA_BYTES,
    ChunkSizes,
    DocumentCancelled,
    DocumentState,
    DocumentTask,
    IndexedDocument,
    LeaseLost,
    Progress,
    RemovedBlob,
    RemovedVersion,
    RetiredGeneration,
    WaitingDocuments,
)
from deployments.types import EmbedderIdentity, IndexGeneration
from serve_app.platform import (
    backlog,
    claims,
    collections,
    generation_switch,
    generations,
    lexical_statistics,
    stored_blobs,
    turns,
    visibility,
)
from serve_app.platform.events import Event, Events
from serve_app.platform.job_states import IN_WORK, job_state
from serve_app.platform.tenant_settings import Quotas, require_open
from serve_app.platform.visibility import RETIRE_AFTER_S
from serve_app.storage import changes
from serve_app.storage.database import Database, insert
from serve_app.storage.declarative import of_tenant, utc_now
from serve_app.storage.tables import Document, Job, JobDocument, LexicalTotal, RefilledDocument

_TASK_COLUMNS = [field.name for field in fields(DocumentTask) if field.name in JobDocument.__mapper__.columns]
"""What a worker's task takes from its row under the same name."""
_MAX_TEXT = 2_000
"""Characters of a title or an error that are stored."""


class JobQueue:
    """Implements the ingestion stage's JobStore. `retire_after_s`: at least as long as a query may take.
    `keep_failed_s`: how long the bytes of a failed version are kept, at least as long as that.
    `metadata_bytes`: what a document's metadata may take with its own fields."""

    def __init__(
        self,
        database: Database,
        events: Events | None = None,
        *,
        retire_after_s: float = RETIRE_AFTER_S,
        keep_failed_s: float = RETIRE_AFTER_S,
        metadata_bytes: int = METADATA_BYTES,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.database = database
        self.events = events or Events()
        self.retire_after_s = retire_after_s
        self.keep_failed_s = max(keep_failed_s, retire_after_s)
        self.metadata_bytes = metadata_bytes
        self.clock = clock

    async def claim(self, worker: str, *, lease_s: float, limit: int, job_id: str | None = None) -> list[DocumentTask]:
        now = self.clock()
        await claims.release_lapsed(self.database, now)
        async with self.database.transaction() as session:
            if job_id is None:
                rows = await claims.in_turn(session, now, limit)
            else:
                rows = await claims.of_job(session, now, job_id, limit)
            for row in rows:
                row.updated_at = now
                if row.given_up:  # the worker that was to notice is gone
                    row.state, row.lease_until = "cancelled", None
                    await visibility.schedule_removal(session, row.tenant_id, [row.version], self._retired_at(now))
                    await stored_blobs.release(session, row.tenant_id, [row.blob], now)
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
            jobs = await _jobs_of(session, claimed)
            return [_task(row, jobs[row.job_id], self.metadata_bytes) for row in claimed]

    async def waiting_documents(self) -> WaitingDocuments:
        return await backlog.waiting_for_workers(self.database, self.clock())

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
            changes.mark(session, task.job_id)
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
            if (
                document is None
                or row.given_up
                or not await collections.is_kept(session, task.tenant_id, row.collection)
            ):
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
                replaced = RemovedVersion(task.tenant_id, document.id, document.version)
                await visibility.hide(session, [replaced], due=self._retired_at(now))
            await visibility.reveal(session, task.tenant_id, row.version)
            former = document.blob if document.version else row.blob
            made_again = bool(document.version) and (await _jobs_of(session, [row]))[row.job_id].makes_again
            before = collections.sizes([document])
            document.take_over(row)
            document.version, document.fingerprint = row.version, row.fingerprint
            if indexed.metadata is not None:
                document.metadata_ = dict(indexed.metadata)
            document.title = _storable(indexed.title)
            document.language = indexed.language
            document.passages = indexed.passages
            document.terms = lexical_statistics.pack(terms)
            document.embedder, document.chunking = indexed.embedder, indexed.chunking
            document.warnings = row.warnings = [*indexed.warnings]
            row.updated_at = now
            if not made_again:
                document.updated_at = now
            row.state, row.lease_until = "indexed", None
            row.chunks = row.chunks_done = indexed.passages
            await session.flush()
            await collections.move(session, task.tenant_id, before, collections.sizes([document]))
            if former != document.blob:
                await stored_blobs.release(session, task.tenant_id, [former], self._retired_at(now))
            await _nudge_if_waited_for(session, row, now)
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
            row.warnings = [*indexed.warnings]
            await self._hide_unless_live(session, row)
            key = {"tenant_id": task.tenant_id, "generation": task.generation, "document_id": task.document_id}
            told = {
                "version": task.version,
                "passages": indexed.passages,
                "terms": lexical_statistics.pack(dict(indexed.document_frequency)),
                "chunking": indexed.chunking,
                "warnings": row.warnings,
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
            due = now if row.given_up else now + timedelta(seconds=self.keep_failed_s)
            await stored_blobs.release(session, task.tenant_id, [row.blob], due)
            await _nudge_if_waited_for(session, row, now)
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
        async with self.database.transaction() as session:
            row = await session.scalar(select(JobDocument).where(*_held(task)).with_for_update())
            if row is None:
                return
            row.state, row.lease_until, row.updated_at = "queued", None, now
            if after_s:  # otherwise it keeps its place in the queue
                row.not_before = now + timedelta(seconds=after_s)
            row.lane %= turns.FOR_RAY_JOB  # its Ray Job may be over
            await session.flush()
            await turns.wake(session, row.tenant_id, row.lane, row.not_before, now)

    async def list_removable(self, limit: int) -> list[RemovedVersion]:
        async with self.database.session() as session:
            return await visibility.list_removable(session, self.clock(), limit)

    async def forget_removed(self, versions: Sequence[RemovedVersion], blobs: Sequence[RemovedBlob] = ()) -> None:
        if versions or blobs:
            async with self.database.transaction() as session:
                await stored_blobs.forget(session, blobs)
                await visibility.forget(session, versions)
                # Documents of a tenant that had too many hidden versions can be claimed again.
                await turns.nudge(session, {version.tenant_id for version in versions}, self.clock())

    async def list_removable_blobs(self, limit: int) -> list[RemovedBlob]:
        async with self.database.session() as session:
            return await stored_blobs.list_removable(session, self.clock(), limit)

    async def forget_blobs(self, blobs: Sequence[RemovedBlob]) -> None:
        await self.forget_removed([], blobs)

    async def list_retired(self, limit: int) -> list[RetiredGeneration]:
        async with self.database.session() as session:
            return await generations.list_removable(session, self.clock(), limit)

    async def forget_retired(self, retired: Sequence[RetiredGeneration]) -> None:
        async with self.database.transaction() as session:
            await generations.forget(session, retired)

    def _retired_at(self, now: datetime) -> datetime:
        return now + timedelta(seconds=self.retire_after_s)


async def _nudge_if_waited_for(session: AsyncSession, row: JobDocument, now: datetime) -> None:
    """Have the next version of a document claimed that waited for this one."""
    later = JobDocument
    waits = exists().where(
        of_tenant(later, row.tenant_id), later.document_id == row.document_id, later.state == "queued"
    )
    if await session.scalar(select(waits)):
        await turns.nudge(session, [row.tenant_id], now)


async def _name_versions(session: AsyncSession, rows: Sequence[JobDocument]) -> None:
    """Give rows their versions."""
    versions = await visibility.next_versions(session, Counter(row.tenant_id for row in rows))
    for row in rows:
        row.version = versions[row.tenant_id].pop(0)


class _JobOfTask(NamedTuple):
    """What a task takes of its job. One that `makes_again` keeps the metadata that its documents have, changed ones
    too."""

    makes_again: bool
    trace: Mapping[str, str]


async def _jobs_of(session: AsyncSession, rows: Sequence[JobDocument]) -> Mapping[str, _JobOfTask]:
    """The rows' jobs by their ids."""
    ids = {row.job_id for row in rows}
    found = await session.execute(select(Job.id, Job.reindex, Job.trace).where(Job.id.in_(ids)))
    return {id: _JobOfTask(reindex is not None, trace) for id, reindex, trace in found}


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
    return RemovedVersion(row.tenant_id, row.document_id, row.version)


def _task(row: JobDocument, job: _JobOfTask, metadata_bytes: int) -> DocumentTask:
    return DocumentTask(
        **{name: getattr(row, name) for name in _TASK_COLUMNS},
        metadata=row.metadata_,
        progress=Progress(row.written_to, row.chunks, row.chunks_done),
        chunk_sizes=ChunkSizes(row.chunk_tokens, row.chunk_overlap),
        metadata_bytes=0 if job.makes_again else metadata_bytes,
        trace=job.trace,
    )


def _storable(text: str) -> str:
    """Text from a parser or an error, without what databases refuse."""
    return text.replace("\0", "").encode("utf-8", "replace").decode()[:_MAX_TEXT]
