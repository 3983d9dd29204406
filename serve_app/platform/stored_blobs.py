"""Which bytes are in the blob store. Each upload there has a row, from before its first byte until after its last.

    reserved → a version's → released → (its bytes are removed, and then its row)
       └─────────────────────────↑ the upload was refused, or cut off

So a quota bounds what is stored, and what a crash leaves behind is found without a look into the store.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import ColumnElement, delete, exists, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from deployments.ingestion.base import RemovedBlob
from serve_app.platform import usage
from serve_app.storage.database import Upsert, chunks, insert
from serve_app.storage.declarative import of_tenant
from serve_app.storage.tables import Document, JobDocument, StoredBlob, is_unfinished

UPLOAD_S: Final = 3_600.0
"""How long the bytes of one upload may take to arrive in the store. Those of a longer one are removed."""
_KEPT: Final = Upsert(
    StoredBlob, ("tenant_id", "key"), lambda new: {"document_id": new.excluded.document_id, "due": None}
)


async def reserve(session: AsyncSession, tenant_id: str, sizes: Mapping[str, int], until: datetime) -> None:
    """Count bytes that are about to be written. `sizes` by key; they are removed at `until` unless they are adopted."""
    if sizes:
        rows = [{"tenant_id": tenant_id, "key": key, "size": size, "due": until} for key, size in sizes.items()]
        await session.execute(insert(session, StoredBlob), rows)
        await usage.add(session, tenant_id, bytes=sum(sizes.values()))


async def adopt(
    session: AsyncSession, tenant_id: str, documents: Iterable[tuple[str, str, int]], now: datetime
) -> None:
    """Keep bytes as those of documents' new versions: (document, key, size)."""
    by_key = {key: (document_id, size) for document_id, key, size in documents}
    there = await known(session, tenant_id, [*by_key])
    await reserve(session, tenant_id, {key: size for key, (_, size) in by_key.items() if key not in there}, now)
    rows: list[dict[str, Any]] = [
        {"tenant_id": tenant_id, "key": key, "document_id": document_id, "size": size, "due": None}
        for key, (document_id, size) in by_key.items()
    ]
    if rows:
        await _KEPT.run(session, rows)


async def known(session: AsyncSession, tenant_id: str, keys: Sequence[str]) -> set[str]:
    """Those of the keys that have a row."""
    there: set[str] = set()
    for batch in chunks(keys):
        there |= {*await session.scalars(select(StoredBlob.key).where(_are(tenant_id, batch)))}
    return there


async def kept_until(session: AsyncSession, tenant_id: str, keys: Sequence[str], until: datetime) -> set[str]:
    """Those of the keys whose bytes are not removed before `until`."""
    row = StoredBlob
    kept: set[str] = set()
    for batch in chunks(keys):
        stays = or_(row.due.is_(None), row.due > until)
        kept |= {*await session.scalars(select(row.key).where(_are(tenant_id, batch), stays))}
    return kept


async def release(session: AsyncSession, tenant_id: str, keys: Sequence[str], due: datetime) -> None:
    """Have bytes removed once `due` has passed, unless they are those of a live version. Idempotent."""
    row, document = StoredBlob, Document
    is_live = exists().where(
        document.tenant_id == row.tenant_id,
        document.id == row.document_id,
        document.version != "",
        document.blob == row.key,
    )
    for batch in chunks(keys):
        await session.execute(update(row).where(_are(tenant_id, batch), row.due.is_(None), ~is_live).values(due=due))


async def release_documents(session: AsyncSession, tenant_id: str, ids: Sequence[str], now: datetime) -> list[str]:
    """Have all bytes of deleted documents removed. Returns their keys."""
    theirs = (of_tenant(StoredBlob, tenant_id), StoredBlob.document_id.in_(ids))
    keys = await session.scalars(update(StoredBlob).where(*theirs).values(due=now).returning(StoredBlob.key))
    return [*keys]


async def hurry(session: AsyncSession, tenant_id: str, now: datetime) -> None:
    """Have bytes removed now that wait only for those who may still read them."""
    later = (of_tenant(StoredBlob, tenant_id), StoredBlob.document_id != "", StoredBlob.due > now)
    await session.execute(update(StoredBlob).where(*later).values(due=now))


async def passing(session: AsyncSession, tenant_id: str) -> int:
    """The bytes that a tenant has for a while only, all of its uploads being indexed.

    They are to be removed, or wait for an upload to be accepted, or are of a version that a newer one is to replace.
    """
    blob, row = StoredBlob, JobDocument
    unfinished = (of_tenant(row, tenant_id), is_unfinished(), row.generation == "")
    newest = select(row.document_id, func.max(row.sequence).label("sequence")).where(*unfinished)
    coming = newest.group_by(row.document_id).subquery()
    replaced = (
        select(func.sum(blob.size))
        .join(coming, coming.c.document_id == blob.document_id)
        .join(row, row.sequence == coming.c.sequence)
        .where(of_tenant(blob, tenant_id), blob.due.is_(None), blob.key != row.blob)
    )
    leaving = select(func.sum(blob.size)).where(of_tenant(blob, tenant_id), blob.due.is_not(None))
    return int(await session.scalar(replaced) or 0) + int(await session.scalar(leaving) or 0)


async def list_removable(session: AsyncSession, now: datetime, limit: int) -> list[RemovedBlob]:
    """Bytes that may go, the longest due first."""
    row = StoredBlob
    due = await session.execute(
        select(row.tenant_id, row.key).where(row.due <= now).order_by(row.due, row.key).limit(limit)
    )
    return [RemovedBlob(*columns) for columns in due]


async def forget(session: AsyncSession, blobs: Sequence[RemovedBlob]) -> None:
    """Drop the rows of bytes that are removed. Idempotent."""
    removed: Counter[str] = Counter()
    for tenant_id in sorted({blob.tenant_id for blob in blobs}):
        for batch in chunks(sorted(blob.key for blob in blobs if blob.tenant_id == tenant_id)):
            gone = delete(StoredBlob).where(_are(tenant_id, batch)).returning(StoredBlob.size)
            removed[tenant_id] += sum(await session.scalars(gone))
    for tenant_id, size in removed.items():
        if size:
            await usage.subtract(session, tenant_id, bytes=size)


def _are(tenant_id: str, keys: Sequence[str]) -> ColumnElement[bool]:
    return of_tenant(StoredBlob, tenant_id) & StoredBlob.key.in_(keys)
