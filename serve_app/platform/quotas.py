"""What a tenant may store. Its newest versions count, and for a while also what they replace is stored."""

from __future__ import annotations

from sqlalchemy.ext.asyncio import AsyncSession

from deployments.errors import QuotaExceeded
from serve_app.platform import stored_blobs, usage
from serve_app.platform.tenant_settings import Quotas


async def check(session: AsyncSession, tenant_id: str, quotas: Quotas) -> None:
    """Called after the rows of an upload's documents were made. Raises QuotaExceeded."""
    if quotas.documents is None and quotas.bytes is None:
        return
    used = await usage.read(session, tenant_id)
    if quotas.documents is not None and used.documents > quotas.documents:
        raise _over("documents", used.documents, quotas.documents)
    if quotas.bytes is not None and used.bytes > quotas.bytes:
        await _check_newest(session, tenant_id, used.bytes, quotas.bytes)


async def is_full(session: AsyncSession, tenant_id: str, quotas: Quotas) -> bool:
    """Whether what is stored exceeds the quota for a while. Raises QuotaExceeded if it is not for a while only."""
    if quotas.bytes is None:
        return False
    used = (await usage.read(session, tenant_id)).bytes
    if used > quotas.bytes:
        await _check_newest(session, tenant_id, used, quotas.bytes)
    return used > quotas.bytes


async def _check_newest(session: AsyncSession, tenant_id: str, used: int, quota: int) -> None:
    """Raises QuotaExceeded unless the tenant keeps to its quota once its newest versions are live."""
    kept = used - await stored_blobs.passing(session, tenant_id)
    if kept > quota:
        raise _over("bytes", kept, quota)


def _over(name: str, kept: int, quota: int) -> QuotaExceeded:
    return QuotaExceeded(
        f"documents: the tenant would keep {kept} {name}, its quota is {quota}; delete some, or ask for more",
        field="documents",
    )
