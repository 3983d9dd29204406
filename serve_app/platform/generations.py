"""A tenant's generations of the index: the one that searches look in, and one that may be filled beside it.

    filling → live → retired → (its passages are removed, and it is forgotten)
       └────────────────↑ cancelled

A search reads the live one in the same statement as the visible versions (visibility.py). A retired one's passages stay
for the searches that began before.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from itertools import count

from sqlalchemy import ColumnElement, and_, delete, exists, select
from sqlalchemy.ext.asyncio import AsyncSession

from deployments.ingestion.base import RetiredGeneration
from deployments.types import EmbedderIdentity, IndexGeneration
from serve_app.storage.declarative import of_tenant
from serve_app.storage.tables import Document, RefilledDocument, StoredGeneration


def _of(tenant_id: str) -> ColumnElement[bool]:
    return of_tenant(StoredGeneration, tenant_id)


def live_documents(tenant_id: str) -> ColumnElement[bool]:
    """The condition on a tenant's documents that searches find."""
    return and_(of_tenant(Document, tenant_id), Document.version != "")


def refilled_in(tenant_id: str, generation: str) -> ColumnElement[bool]:
    """The condition on what waits for a generation to become live."""
    return and_(of_tenant(RefilledDocument, tenant_id), RefilledDocument.generation == generation)


async def in_state(session: AsyncSession, tenant_id: str, state: str) -> StoredGeneration | None:
    """The tenant's generation that is live, or that is being filled: there is one of each at most."""
    generation = StoredGeneration
    return await session.scalar(select(generation).where(_of(tenant_id), generation.state == state))


async def make(session: AsyncSession, tenant_id: str, embedder: EmbedderIdentity, state: str) -> StoredGeneration:
    """A new generation: the embedder's fingerprint is its name, with a number behind it where the tenant has that."""
    generation = StoredGeneration
    taken = set(await session.scalars(select(generation.name).where(_of(tenant_id))))
    names = (embedder.fingerprint if number == 1 else f"{embedder.fingerprint}g{number}" for number in count(1))
    name = next(name for name in names if name not in taken)
    row = generation(
        tenant_id=tenant_id, name=name, embedder=embedder.fingerprint, dimension=embedder.dimension, state=state
    )
    session.add(row)
    await session.flush()
    return row


async def to_write(
    session: AsyncSession, tenant_id: str, embedder: EmbedderIdentity, retired_at: datetime
) -> StoredGeneration:
    """The live generation, for a document that is to be found. Made where there is none, and made anew for another
    embedder where no document is live. The tenant is locked alone."""
    live = await in_state(session, tenant_id, "live")
    if live is None:
        return await make(session, tenant_id, embedder, "live")
    if live.embedder == embedder.fingerprint:
        live.dimension = live.dimension or embedder.dimension
    elif not await session.scalar(select(exists().where(live_documents(tenant_id)))):
        await retire(session, live, retired_at)
        return await make(session, tenant_id, embedder, "live")
    return live


async def retire(session: AsyncSession, generation: StoredGeneration, due: datetime) -> None:
    """Have a generation's passages removed once `due` has passed."""
    generation.state, generation.due = "retired", due
    await session.execute(delete(RefilledDocument).where(refilled_in(generation.tenant_id, generation.name)))
    await session.flush()


async def list_removable(session: AsyncSession, now: datetime, limit: int) -> list[RetiredGeneration]:
    """Retired generations whose passages may go, the longest due first."""
    row = StoredGeneration
    due = await session.execute(
        select(row.tenant_id, row.name).where(row.state == "retired", row.due <= now).order_by(row.due).limit(limit)
    )
    return [RetiredGeneration(*columns) for columns in due]


async def forget(session: AsyncSession, generations: Sequence[RetiredGeneration]) -> None:
    """Drop generations whose passages are gone. Idempotent."""
    row = StoredGeneration
    for generation in generations:
        is_retired = (row.name == generation.name, row.state == "retired")
        await session.execute(delete(row).where(_of(generation.tenant_id), *is_retired))


def as_value(row: StoredGeneration) -> IndexGeneration:
    return IndexGeneration(row.name, row.embedder, row.dimension)
