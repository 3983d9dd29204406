"""Documents as they are kept: reading them, changing their metadata, removing them."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

from sqlalchemy import ColumnElement, Select, delete, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import defer

from deployments import filters
from deployments.errors import Conflict, NotFound, Overloaded, Unavailable
from deployments.filters import Filter
from deployments.ingestion.base import RemovedVersion
from deployments.types import VersionCopy
from serve_app.platform import collections, generations, lexical_statistics, stored_blobs, usage, visibility
from serve_app.platform.document_ids import digest
from serve_app.platform.events import Event, Events
from serve_app.platform.filter_sql import may_pass
from serve_app.platform.job_states import IN_WORK
from serve_app.platform.new_document import canonical, check_metadata
from serve_app.platform.tenant_settings import require_open
from serve_app.storage import changes, pagination
from serve_app.storage.batches import Pace
from serve_app.storage.database import Database, chunks
from serve_app.storage.declarative import of_tenant, utc_now
from serve_app.storage.merge_patch import apply_merge_patch
from serve_app.storage.pagination import Page
from serve_app.storage.tables import Collection, Document, JobDocument, is_unfinished

MAX_DELETED = 200
"""Documents that one transaction deletes: their terms are in memory at once."""
REWRITE_S = 300.0
"""How long it may take to write a document's passages once more."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which documents of a tenant are meant: all that is given must hold. `owner` empty means documents of the whole
    tenant, and `live` those that searches find."""

    collection: str | None = None
    owner: str | None = None
    live: bool | None = None
    filter: Filter | None = None


@dataclass(frozen=True, slots=True)
class DeletedVersions:
    """What is deleted in SQL, and is still in the index and the blob store.

    `versions`: one of each document, the live one; `version` is empty where the document never became live. `passages`
    counts theirs.
    """

    versions: tuple[RemovedVersion, ...] = ()
    blobs: tuple[str, ...] = ()
    passages: int = 0


@dataclass(frozen=True, slots=True)
class Rewriting:
    """A live document whose `passages` passages are to be written once more, with other metadata, in the live
    `generation` of the index. No search finds the new version until it is put in place, which it must be before
    `until`."""

    copy: VersionCopy
    generation: str
    passages: int
    until: datetime


class Documents:
    """`retire_after_s`: at least as long as a query may take."""

    def __init__(
        self,
        database: Database,
        events: Events | None = None,
        *,
        retire_after_s: float = visibility.RETIRE_AFTER_S,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.database = database
        self.events = events or Events()
        self.retire_after_s = retire_after_s
        self.clock = clock

    async def get(self, tenant_id: str, document_id: str, *, reader: str | None = None) -> Document:
        """`reader`: the user who is shown it, empty for nobody, None for an admin. Raises NotFound, also for another
        user's private document."""
        async with self.database.session() as session:
            document = await session.scalar(_shown().where(of_tenant(Document, tenant_id), Document.id == document_id))
        if document is None or (reader is not None and document.owner not in ("", reader)):
            raise _missing(document_id)
        return document

    async def live_generation(self, tenant_id: str) -> str:
        """The generation of the index that has the documents' passages; empty if none is known."""
        async with self.database.session() as session:
            return await _live_generation(session, tenant_id)

    async def page(
        self, tenant_id: str, chosen: Selection, *, after: str = "", limit: int = 100, max_scanned: int = 10_000
    ) -> Page[Document]:
        """A tenant's documents in the order of their ids, those after the id `after`. A filter is evaluated on at most
        `max_scanned` documents a page."""
        conditions, passes, end = _conditions(tenant_id, chosen), None, None
        # SQLAlchemy would keep the statement of each filter, which may be megabytes.
        kept: dict[str, Any] = {} if chosen.filter is None else {"compiled_cache": None}
        async with self.database.session() as session:
            if chosen.filter is not None:
                ids = select(Document.id).where(*conditions, Document.id > after).order_by(Document.id)
                end = await session.scalar(ids.offset(max_scanned - 1).limit(1))
                if end is not None:
                    conditions.append(Document.id <= end)
                # The database leaves out most of what the filter refuses. The rest is evaluated here.
                conditions.append(may_pass(chosen.filter, embedded=self.database.config.embedded))
                passes = partial(_passes, chosen.filter)

            async def read(after: str, limit: int) -> Sequence[Document]:
                rows = _shown().where(*conditions, Document.id > after).order_by(Document.id).limit(limit)
                return (await session.scalars(rows, execution_options=kept)).all()

            page = await pagination.page(read, passes, after=after, limit=limit, max_scanned=max_scanned)
        return page if page.next is not None else Page(page.rows, end)

    async def begin_rewriting(
        self, tenant_id: str, document_id: str, change: Mapping[str, Any], check: Callable[[dict[str, Any]], None]
    ) -> Rewriting | None:
        """What is to be written so that the document has metadata changed by a JSON merge patch; None if the patch
        changes nothing. `check` may refuse the result.

        Raises NotFound, InvalidRequest, Conflict for a document that no search finds yet, Overloaded.
        """
        now = self.clock()
        async with self.database.transaction() as session:
            await require_open(session, tenant_id)
            document = await _locked(session, tenant_id, document_id)
            if not document.version:
                raise Conflict(
                    f"document {document_id[:80]!r} is not indexed yet; wait for its job, or hand it in again"
                )
            metadata = apply_merge_patch(document.metadata_, change)
            check(metadata)
            check_metadata(metadata)
            if metadata == document.metadata_:
                return None
            if await visibility.is_full(session, tenant_id):
                raise Overloaded("the tenant has replaced as many documents as can be removed; try again shortly")
            [to] = (await visibility.next_versions(session, {tenant_id: 1}))[tenant_id]
            copy = VersionCopy(document_id, document.version, to, metadata, tuple(document.metadata_))
            # Should this come to nothing, what was written of it is removed. Long after `until`, since some of it may
            # still be on its way to the index when nobody waits for it any more.
            due = now + timedelta(seconds=2 * REWRITE_S)
            await visibility.hide(session, [RemovedVersion(tenant_id, document_id, to)], due=due)
            until = now + timedelta(seconds=REWRITE_S)
            return Rewriting(copy, await _live_generation(session, tenant_id), document.passages, until)

    async def finish_rewriting(self, tenant_id: str, work: Rewriting) -> None:
        """Make the new version the one that searches find. Its content is then another than what was handed in, so
        that the document as it was handed in is real work again.

        Raises NotFound if the document was deleted meanwhile, Conflict if it was replaced, Unavailable if it is late.
        """
        copy, now = work.copy, self.clock()
        async with self.database.transaction() as session:
            await require_open(session, tenant_id, alone=True)  # not beside a switch of generations
            document = await _locked(session, tenant_id, copy.document_id)
            if document.version != copy.version:
                raise Conflict(f"document {document.id[:80]!r} was replaced meanwhile; look at it and try again")
            if await _live_generation(session, tenant_id) != work.generation:
                raise Unavailable("the documents were reindexed meanwhile; try again")
            if now >= work.until:
                raise Unavailable(f"document {document.id[:80]!r} was not rewritten in {REWRITE_S:g} s; try again")
            old = RemovedVersion(tenant_id, document.id, document.version)
            await visibility.hide(session, [old], due=now + timedelta(seconds=self.retire_after_s))
            await visibility.reveal(session, tenant_id, copy.to)
            document.version, document.metadata_, document.updated_at = copy.to, dict(copy.metadata), now
            document.fingerprint = digest(document.fingerprint, canonical(copy.metadata))
            await session.flush()
        self.events.publish(Event("document.updated", tenant_id, copy.document_id, {"passages": work.passages}))

    async def delete(self, tenant_id: str, document_id: str) -> DeletedVersions:
        """Forget a document and its part in the statistics; no search that begins later finds it.

        The caller deletes its blobs, and removes its passages from the index.

        Versions still queued are cancelled. One that a worker is at ends with DocumentCancelled. Raises NotFound unless
        the tenant has the document, and Overloaded.
        """
        async with self.database.transaction() as session:
            await require_open(session, tenant_id, alone=True)
            await visibility.require_room_for_deleted(session, tenant_id)
            document = await _locked(session, tenant_id, document_id)
            blobs = await _forget(session, tenant_id, [document], self.clock())
        self.events.publish(Event("document.deleted", tenant_id, document_id))
        return DeletedVersions((_removed(document),), tuple(blobs), document.passages)

    async def delete_chosen(self, tenant_id: str, chosen: Selection, ids: Sequence[str]) -> DeletedVersions:
        """Delete those of the documents with these ids that are still chosen, as `delete` does. Raises Overloaded."""
        async with self.database.transaction() as session:
            await require_open(session, tenant_id, alone=True)
            await visibility.require_room_for_deleted(session, tenant_id)
            conditions = (*_conditions(tenant_id, chosen), Document.id.in_(ids))
            locked = await session.scalars(select(Document).where(*conditions).order_by(Document.id).with_for_update())
            documents = [document for document in locked if chosen.filter is None or _passes(chosen.filter, document)]
            blobs = await _forget(session, tenant_id, documents, self.clock())
        for document in documents:
            self.events.publish(Event("document.deleted", tenant_id, document.id))
        return _deleted(documents, blobs)

    async def delete_collection(self, tenant_id: str, name: str) -> AsyncGenerator[DeletedVersions]:
        """Forget a collection with all its documents, as `delete` does.

        It is marked first, and then its documents go in batches, each committed by itself. The caller deletes a batch's
        blobs and passages before it takes the next one. If this is cut off, the same call goes on where it stopped.

        A version on its way into it, of a document that is live in another one, is given up. Raises
        UnknownCollection, Conflict for the default one, and Overloaded.
        """
        collections.check_deletable(name)
        async with self.database.transaction() as session:
            await require_open(session, tenant_id, alone=True)
            await collections.mark_deleted(session, tenant_id, name, self.clock())
        pace, documents, after = Pace(MAX_DELETED), 0, ""
        while True:
            async with self.database.transaction() as session:
                await require_open(session, tenant_id, alone=True)
                with pace.timed():
                    batch = await self._delete_some(session, tenant_id, name, after, pace.size)
            await pace.rest()
            if batch is None:
                break
            documents += len(batch.versions)
            after = batch.versions[-1].document_id if batch.versions else after
            yield batch
        self.events.publish(Event("collection.deleted", tenant_id, name, {"documents": documents}))

    async def _delete_some(
        self, session: AsyncSession, tenant_id: str, name: str, after: str, limit: int
    ) -> DeletedVersions | None:
        """Give up versions on their way into a collection, or else delete its documents after the id `after`.

        At most `limit` of them; None once there was nothing, and the collection is gone itself.
        """
        now, row = self.clock(), JobDocument
        on_its_way = (of_tenant(row, tenant_id), row.collection == name, is_unfinished(), row.given_up.is_(False))
        if coming := (await session.scalars(select(row.sequence).where(*on_its_way).limit(limit))).all():
            await cancel_versions(session, row.sequence.in_(coming), due=now, now=now)
            return DeletedVersions()
        of_collection = (of_tenant(Document, tenant_id), Document.collection == name, Document.id > after)
        chosen = select(Document).where(*of_collection).order_by(Document.id).limit(limit)
        await visibility.require_room_for_deleted(session, tenant_id)
        if documents := (await session.scalars(chosen.with_for_update())).all():
            return _deleted(documents, await _forget(session, tenant_id, documents, now))
        await session.execute(delete(Collection).where(of_tenant(Collection, tenant_id), Collection.name == name))
        return None


def _shown() -> Select[Document]:
    """Documents without their terms, which may be large."""
    return select(Document).options(defer(Document.terms, raiseload=True))


async def _locked(session: AsyncSession, tenant_id: str, document_id: str) -> Document:
    """Raises NotFound."""
    document = await session.scalar(
        select(Document).where(of_tenant(Document, tenant_id), Document.id == document_id).with_for_update()
    )
    if document is None:
        raise _missing(document_id)
    return document


async def _live_generation(session: AsyncSession, tenant_id: str) -> str:
    """Its name; empty if none is known."""
    live = await generations.in_state(session, tenant_id, "live")
    return live.name if live is not None else ""


def _missing(document_id: str) -> NotFound:
    return NotFound(f"document {document_id[:80]!r} does not exist")


def _conditions(tenant_id: str, chosen: Selection) -> list[ColumnElement[bool]]:
    """What can be told of a selection in SQL: all but its filter."""
    conditions = [of_tenant(Document, tenant_id)]
    if chosen.collection is not None:
        conditions.append(Document.collection == chosen.collection)
    if chosen.owner is not None:
        conditions.append(Document.owner == chosen.owner)
    if chosen.live is not None:
        conditions.append(Document.version != "" if chosen.live else Document.version == "")
    return conditions


def _passes(filter: Filter, document: Document) -> bool:
    return filters.matches(
        filter,
        document_id=document.id,
        language=document.language,
        collection=document.collection,
        metadata=document.metadata_,
    )


async def _forget(session: AsyncSession, tenant_id: str, documents: Sequence[Document], now: datetime) -> list[str]:
    """Cancel or mark what is on its way of these documents, hide them, take them out of the statistics, remove their
    rows."""
    blobs: list[str] = []
    for ids in chunks([document.id for document in documents]):
        versions = (of_tenant(JobDocument, tenant_id), JobDocument.document_id.in_(ids))
        await cancel_versions(session, *versions, due=now, now=now)
        await session.execute(delete(Document).where(of_tenant(Document, tenant_id), Document.id.in_(ids)))
        blobs += await stored_blobs.release_documents(session, tenant_id, ids, now)
    live = [document for document in documents if document.version]
    await visibility.hide(session, [_removed(document) for document in live], due=now)
    for owner in sorted({document.owner for document in live}):
        owned = [document for document in live if document.owner == owner]
        terms: Counter[int] = Counter()
        for document in owned:
            terms.subtract(lexical_statistics.unpack(document.terms))
        passages = sum(document.passages for document in owned)
        await lexical_statistics.move(session, tenant_id, owner, passages=-passages, terms=terms)
    await collections.move(session, tenant_id, collections.sizes(documents), {})
    await usage.subtract(session, tenant_id, documents=len(documents))
    return sorted(blobs)


def _deleted(documents: Sequence[Document], blobs: Sequence[str]) -> DeletedVersions:
    versions = tuple(_removed(document) for document in documents)
    return DeletedVersions(versions, tuple(blobs), sum(document.passages for document in documents))


def _removed(document: Document) -> RemovedVersion:
    return RemovedVersion(document.tenant_id, document.id, document.version)


async def cancel_versions(session: AsyncSession, *versions: ColumnElement[bool], due: datetime, now: datetime) -> None:
    """Cancel one tenant's versions that wait, and mark those that a worker has. Passages of the former may be removed
    once `due` has passed, their bytes now."""
    cancelled = await session.execute(
        update(JobDocument)
        .where(*versions, JobDocument.state == "queued")
        .values(state="cancelled")
        .returning(JobDocument.tenant_id, JobDocument.job_id, JobDocument.version, JobDocument.blob)
    )
    rows = cancelled.all()
    for job_id in {row.job_id for row in rows}:
        changes.mark(session, job_id)
    for tenant_id in {row.tenant_id for row in rows}:
        versions_of = [row.version for row in rows if row.tenant_id == tenant_id and row.version]
        await visibility.schedule_removal(session, tenant_id, versions_of, due)
        await stored_blobs.release(session, tenant_id, [row.blob for row in rows if row.tenant_id == tenant_id], now)
    await session.execute(update(JobDocument).where(*versions, JobDocument.state.in_(IN_WORK)).values(given_up=True))
