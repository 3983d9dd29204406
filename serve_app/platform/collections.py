"""Named sets of a tenant's documents."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from deployments.errors import InvalidRequest, UnknownCollection
from serve_app.platform.database import Database, insert
from serve_app.platform.models import Collection, of_tenant, utc_now

DEFAULT = "default"
"""The collection that every tenant has, and that a document goes to when none is named."""
_NAME = re.compile(r"[\w.-]{1,64}")


class Collections:
    def __init__(self, database: Database) -> None:
        self.database = database

    async def ensure(self, tenant_id: str, name: str) -> None:
        """Create a collection unless it is there. Raises InvalidRequest for a name outside the rule."""
        async with self.database.transaction() as session:
            await add(session, tenant_id, [checked_name(name)], utc_now())

    async def names(self, tenant_id: str) -> list[str]:
        async with self.database.session() as session:
            found = await session.scalars(select(Collection.name).where(of_tenant(Collection, tenant_id)))
            return sorted({DEFAULT, *found})

    async def require(self, tenant_id: str, names: Iterable[str]) -> None:
        """Raises UnknownCollection, naming those of the tenant that exist, unless all the names do."""
        if wanted := set(names):
            existing = await self.names(tenant_id)
            if unknown := sorted(wanted.difference(existing)):
                raise UnknownCollection(
                    f"collections: there is no {', '.join(map(repr, unknown))}; there is {_listed(existing)}"
                )


async def add(session: AsyncSession, tenant_id: str, names: Iterable[str], now: datetime) -> None:
    """Create collections unless they are there, in a fixed order so that two callers cannot deadlock."""
    rows = [{"tenant_id": tenant_id, "name": name, "created_at": now} for name in sorted(set(names))]
    await session.execute(insert(session, Collection).on_conflict_do_nothing(), rows)


def checked_name(name: str) -> str:
    """The name in composed form. Raises InvalidRequest unless it is 1 to 64 letters, digits, `_`, `.` or `-`."""
    composed = unicodedata.normalize("NFC", name)
    if not _NAME.fullmatch(composed):
        raise InvalidRequest(f"collection {name[:80]!r}: use 1 to 64 letters, digits, '_', '.' or '-'")
    return composed


def _listed(names: list[str], most: int = 20) -> str:
    shown = ", ".join(map(repr, names[:most]))
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
