"""Which documents are behind, and jobs that make a tenant's whole index again beside the live one.

    filling ──▶ switched
       └──────▶ given_up: cancelled, or documents failed
    in_place: documents of one collection, each of which becomes a new version by itself

A job that fills a generation has a row for each live document, which keeps its version. What is to be told of a
document afterwards waits in `refilled_documents`; generation_switch.py puts it in place.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, exists, func, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from deployments.errors import Conflict
from deployments.ingestion.base import ChunkSizes, chunking
from deployments.types import EmbedderIdentity, IndexGeneration
from serve_app.platform import collections, generations, turns, webhooks
from serve_app.platform.events import Event, Events
from serve_app.platform.job_states import UNFINISHED, ReindexState
from serve_app.platform.new_document import fingerprint_of
from serve_app.platform.new_job import new_job
from serve_app.platform.tenant_settings import require_open
from serve_app.platform.visibility import RETIRE_AFTER_S
from serve_app.storage.database import Database, insert
from serve_app.storage.database import chunks as pieces
from serve_app.storage.declarative import of_tenant, utc_now
from serve_app.storage.tables import Collection, Document, Job, JobDocument, RefilledDocument, StoredGeneration

_ROWS = 100
"""Rows in one INSERT: each has some twenty parameters."""


@dataclass(frozen=True, slots=True)
class DocumentCounts:
    """A tenant's documents that searches find, and their passages.

    `behind`: those of them whose passages were made by another embedder, or cut otherwise, than they would be now.
    """

    documents: int
    passages: int
    behind: int


class Reindexing:
    """`default_sizes`: how documents are cut whose collection does not say otherwise. `retire_after_s`: at least as
    long as a query may take."""

    def __init__(
        self,
        database: Database,
        default_sizes: ChunkSizes,
        events: Events | None = None,
        *,
        retire_after_s: float = RETIRE_AFTER_S,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.database = database
        self.default_sizes = default_sizes
        self.events = events or Events()
        self.retire_after_s = retire_after_s
        self.clock = clock

    async def count(self, tenant_id: str, embedder: str) -> DocumentCounts:
        """`embedder`: the fingerprint of the one that runs."""
        document, collection = Document, Collection
        sizes = (collection.chunk_tokens, collection.chunk_overlap)
        how = (document.embedder, document.chunking, *sizes)
        of_collection = and_(collection.tenant_id == document.tenant_id, collection.name == document.collection)
        rows = await self.database.rows(
            select(*how, func.count().label("documents"), func.sum(document.passages).label("passages"))
            .join_from(document, collection, of_collection)
            .where(generations.live_documents(tenant_id))
            .group_by(*how)
        )
        documents = passages = behind = 0
        for row in rows:
            documents += row.documents
            passages += int(row.passages)
            now = self._chunking(row.chunk_tokens, row.chunk_overlap)
            # Documents of a former release do not know how they were cut.
            if row.embedder != embedder or row.chunking not in ("", now):
                behind += row.documents
        return DocumentCounts(documents, passages, behind)

    async def live(self, tenant_id: str) -> IndexGeneration | None:
        """The generation that searches look in; None while nothing is indexed."""
        async with self.database.session() as session:
            row = await generations.in_state(session, tenant_id, "live")
        return generations.as_value(row) if row is not None else None

    async def running(self, tenant_id: str) -> str | None:
        """The id of the job that reindexes now."""
        async with self.database.session() as session:
            return await session.scalar(running_job(tenant_id, "filling", "in_place"))

    async def start(
        self, tenant_id: str, embedder: EmbedderIdentity, *, collection: str | None = None, bulk: bool = False
    ) -> str:
        """A job that makes all live documents again, or those of a collection; its id.

        A job that ended without a switch is gone on with, if it was for the same embedder and the same chunk sizes.
        Raises Conflict while another one runs, if there is nothing to do, and for a collection alone after the embedder
        has changed; UnknownCollection, NotFound.
        """
        now = self.clock()
        async with self.database.transaction() as session:
            settings = await require_open(session, tenant_id, alone=True)
            if (running := await session.scalar(running_job(tenant_id, "filling", "in_place"))) is not None:
                raise Conflict(f"job {running} reindexes already; wait for it, or cancel it")
            job = new_job(tenant_id, now)
            if collection is None:
                generation = await self._generation_to_fill(session, tenant_id, embedder, now)
                job.reindex, job.generation = "filling", generation
                wanted = missing(tenant_id, generation)
            else:
                await self._check_collection(session, tenant_id, embedder)
                job.reindex = "in_place"
                wanted = _settled(tenant_id, collection)
            documents = (await session.scalars(wanted)).all()
            if not documents and not await _has_documents(session, tenant_id):
                raise Conflict("there is nothing to reindex: no document is indexed")
            if bulk and documents:
                job.bulk = "waiting"
            session.add(job)
            await session.flush()
            await add_rows(session, job, documents, now)
            webhooks.expect(session, tenant_id, job.id, settings, now)
            await session.flush()
        details = {"documents": len(documents), "reindex": job.reindex}
        self.events.publish(Event("job.created", tenant_id, job.id, details))
        return job.id

    async def _generation_to_fill(
        self, session: AsyncSession, tenant_id: str, embedder: EmbedderIdentity, now: datetime
    ) -> str:
        """The name of the generation to fill.

        It is the one that an earlier job left unfinished, if all in it is as it would be made now. Otherwise it is new.
        """
        begun = await generations.in_state(session, tenant_id, "filling")
        if begun is not None:
            if begun.embedder == embedder.fingerprint and await self._is_current(session, begun):
                return begun.name
            await generations.retire(session, begun, now + timedelta(seconds=self.retire_after_s))
        return (await generations.make(session, tenant_id, embedder, "filling")).name

    async def _is_current(self, session: AsyncSession, generation: StoredGeneration) -> bool:
        """Whether each document in the generation is cut as it would be now."""
        refilled, document, collection = RefilledDocument, Document, Collection
        rows = await session.execute(
            select(refilled.chunking, collection.chunk_tokens, collection.chunk_overlap)
            .join_from(refilled, document, is_document(refilled))
            .join(collection, and_(collection.tenant_id == document.tenant_id, collection.name == document.collection))
            .where(generations.refilled_in(generation.tenant_id, generation.name))
            .distinct()
        )
        return all(row.chunking == self._chunking(row.chunk_tokens, row.chunk_overlap) for row in rows)

    async def _check_collection(self, session: AsyncSession, tenant_id: str, embedder: EmbedderIdentity) -> None:
        live = await generations.in_state(session, tenant_id, "live")
        if live is not None and live.embedder != embedder.fingerprint:
            raise Conflict(
                "collection: the embedder has changed, so all documents must be reindexed together; leave it out",
                field="collection",
            )

    def _chunking(self, tokens: int | None, overlap: int | None) -> str:
        return chunking(ChunkSizes(tokens, overlap), self.default_sizes)


def missing(tenant_id: str, generation: str) -> Select[Document]:
    """The live documents whose present version is not in the generation yet."""
    refilled = RefilledDocument
    is_there = exists().where(
        is_document(refilled), refilled.generation == generation, refilled.version == Document.version
    )
    return select(Document).where(generations.live_documents(tenant_id), ~is_there).order_by(Document.id)


async def add_rows(session: AsyncSession, job: Job, documents: Sequence[Document], now: datetime) -> None:
    """Queue documents in a reindexing job."""
    names = {document.collection for document in documents}
    sizes = await collections.chunk_sizes(session, job.tenant_id, names)
    for batch in pieces(documents, _ROWS):
        rows = [_row(job, document, sizes[document.collection], now) for document in batch]
        await session.execute(insert(session, JobDocument), rows)
    if documents:
        await turns.wake(session, job.tenant_id, turns.lane_of(job.generation), now, now)


def _row(job: Job, document: Document, sizes: ChunkSizes, now: datetime) -> dict[str, Any]:
    """A document in a reindexing job. In a generation it keeps its version; in place it gets a new one when claimed."""
    fills = job.reindex == "filling"
    return {
        **document.columns(),
        "tenant_id": job.tenant_id,
        "job_id": job.id,
        "job_created_at": job.created_at,
        "document_id": document.id,
        "version": document.version if fills else "",
        "fingerprint": document.fingerprint if fills else fingerprint_of(document, sizes),
        "chunk_tokens": sizes.tokens,
        "chunk_overlap": sizes.overlap,
        "generation": job.generation,
        "lane": turns.lane_of(job.generation, for_ray_job=job.bulk in ("waiting", "running")),
        "state": "queued",
        "not_before": now,
        "updated_at": now,
    }


def is_document(refilled: type[RefilledDocument]) -> ColumnElement[bool]:
    return and_(refilled.tenant_id == Document.tenant_id, refilled.document_id == Document.id)


def _settled(tenant_id: str, collection: str) -> Select[Document]:
    """A collection's live documents of which no newer version is on its way."""
    row = JobDocument
    on_its_way = exists().where(
        row.tenant_id == Document.tenant_id, row.document_id == Document.id, row.state.in_(UNFINISHED)
    )
    of_collection = (generations.live_documents(tenant_id), Document.collection == collection)
    return select(Document).where(*of_collection, ~on_its_way).order_by(Document.id)


def running_job(tenant_id: str, *kinds: ReindexState) -> Select[str]:
    """The id of the tenant's job of one of these kinds that goes on: `filling`, or `in_place`."""
    row = JobDocument
    unfinished = exists().where(row.tenant_id == Job.tenant_id, row.job_id == Job.id, row.state.in_(UNFINISHED))
    goes_on = or_(Job.reindex == "filling", unfinished)
    return select(Job.id).where(of_tenant(Job, tenant_id), Job.reindex.in_(kinds), goes_on).limit(1)


async def _has_documents(session: AsyncSession, tenant_id: str) -> bool:
    return bool(await session.scalar(select(exists().where(generations.live_documents(tenant_id)))))
