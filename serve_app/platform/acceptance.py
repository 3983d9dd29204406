"""The documents of an upload: which ids they get, and their rows, made and locked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.ext.asyncio import AsyncSession

from deployments.errors import InvalidRequest
from serve_app.platform.document_ids import AutomaticId, Place
from serve_app.platform.job_states import UNFINISHED
from serve_app.platform.new_document import NewDocument, fingerprint_of
from serve_app.storage.database import chunks, insert
from serve_app.storage.declarative import of_tenant
from serve_app.storage.tables import Document, JobDocument


async def choose_ids(session: AsyncSession, tenant_id: str, new: Sequence[NewDocument]) -> list[str]:
    """The documents' ids, in their order: their callers', or the automatic ones that are theirs or free."""
    automatic = [document.id for document in new if isinstance(document.id, AutomaticId)]
    possible = sorted({id for each in automatic for id in each.all()})
    taken: dict[str, Place] = {}
    for batch in chunks(possible):
        rows = await session.execute(
            select(Document.id, Document.owner, Document.collection, Document.filename).where(
                of_tenant(Document, tenant_id), Document.id.in_(batch)
            )
        )
        taken |= {id: (owner, collection, filename) for id, owner, collection, filename in rows}
    return [
        document.id.choose((document.owner, document.collection, document.filename), taken)
        if isinstance(document.id, AutomaticId)
        else str(document.id)
        for document in new
    ]


def by_id(ids: Sequence[str], new: Sequence[NewDocument]) -> dict[str, NewDocument]:
    """Raises InvalidRequest for an id that two different documents have."""
    wanted: dict[str, NewDocument] = {}
    for document_id, document in zip(ids, new, strict=True):
        first = wanted.setdefault(document_id, document)
        if fingerprint_of(first) != fingerprint_of(document):
            raise InvalidRequest(f"id {document_id!r} is given to two different documents of this request", field="id")
    return wanted


async def lock_documents(
    session: AsyncSession, tenant_id: str, wanted: Mapping[str, NewDocument], now: datetime
) -> tuple[dict[str, Document], int]:
    """Make and lock the documents' rows, in the order of their ids so that two callers cannot deadlock.

    Returns those that have a live version and no later one on its way, and how many are new.
    """
    ids = sorted(wanted)
    known = 0
    for batch in chunks(ids):
        there = select(func.count()).select_from(Document)
        known += await session.scalar(there.where(of_tenant(Document, tenant_id), Document.id.in_(batch))) or 0
    await session.execute(
        insert(session, Document).on_conflict_do_nothing(),
        [
            {**wanted[id].columns(), "tenant_id": tenant_id, "id": id, "created_at": now, "updated_at": now}
            for id in ids
        ],
    )
    settled: dict[str, Document] = {}
    for batch in chunks(ids):
        locked = await session.scalars(
            select(Document)
            .where(of_tenant(Document, tenant_id), Document.id.in_(batch))
            .order_by(Document.id)
            .with_for_update()
        )
        for document in locked:
            new = wanted[document.id]
            if document.owner != new.owner:
                raise InvalidRequest(
                    f"id {document.id!r} belongs to a document of another owner; choose another id", field="id"
                )
            if document.version:
                settled[document.id] = document
            else:
                document.take_over(new)
                document.updated_at = now
        waiting = await session.scalars(
            select(JobDocument.document_id).where(
                of_tenant(JobDocument, tenant_id),
                JobDocument.document_id.in_(batch),
                JobDocument.state.in_(UNFINISHED),
                JobDocument.generation == "",
            )
        )
        for document_id in waiting:
            settled.pop(document_id, None)
    await session.flush()
    return settled, len(ids) - known
