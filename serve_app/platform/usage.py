"""How much a tenant has, counted where it changes, so that no upload has to count all of it.

A transaction changes a tenant's row of `tenant_usage` after the rows that it counts, and before its turns.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncSession

from serve_app.storage.database import Upsert
from serve_app.storage.declarative import of_tenant
from serve_app.storage.tables import TenantUsage

_ADDED: Final = Upsert.adding(TenantUsage, ("tenant_id",), ("documents", "bytes"))


@dataclass(frozen=True, slots=True)
class Usage:
    """`documents`, also those that are not indexed yet; `bytes` in the blob store."""

    documents: int = 0
    bytes: int = 0


async def read(session: AsyncSession, tenant_id: str) -> Usage:
    row = await session.scalar(select(TenantUsage).where(of_tenant(TenantUsage, tenant_id)))
    return Usage(row.documents, row.bytes) if row is not None else Usage()


async def add(session: AsyncSession, tenant_id: str, *, documents: int = 0, bytes: int = 0) -> None:
    """Count what was added to a tenant that is locked against its deletion."""
    await _ADDED.run(session, [{"tenant_id": tenant_id, "documents": documents, "bytes": bytes}])


async def subtract(session: AsyncSession, tenant_id: str, *, documents: int = 0, bytes: int = 0) -> None:
    """Count what was removed. Its tenant may be gone by now."""
    row = TenantUsage
    less = {"documents": row.documents - documents, "bytes": row.bytes - bytes}
    await session.execute(update(row).where(of_tenant(row, tenant_id)).values(less))
