"""Named sets of a tenant's documents."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.ext.asyncio import AsyncSession

from deployments.errors import Conflict, InvalidRequest, UnknownCollection
from deployments.ingestion.base import ChunkSizes
from serve_app.platform.events import Event, Events
from serve_app.platform.tenant_settings import require_open
from serve_app.storage.database import Database, chunks, insert
from serve_app.storage.tables import Collection, Document, of_tenant, utc_now

DEFAULT = "default"
"""The collection that every tenant has, and that a document goes to when none is named."""
_SERVICES_OWN = ChunkSizes()
_NAME = re.compile(r"[\w.-]{1,64}")


@dataclass(frozen=True, slots=True)
class CollectionView:
    """`documents` counts those that searches find, and `passages` theirs. `chunk_tokens` and `chunk_overlap` None are
    the service's own."""

    name: str
    description: str
    chunk_tokens: int | None
    chunk_overlap: int | None
    documents: int
    passages: int
    created_at: datetime
    updated_at: datetime


class Collections:
    def __init__(
        self, database: Database, events: Events | None = None, *, clock: Callable[[], datetime] = utc_now
    ) -> None:
        self.database = database
        self.events = events or Events()
        self.clock = clock

    async def create(
        self, tenant_id: str, name: str, description: str = "", sizes: ChunkSizes = _SERVICES_OWN
    ) -> CollectionView:
        """Raises InvalidRequest for a name or sizes outside the rule, Conflict if the name is taken."""
        name, now = checked_name(name), self.clock()
        _check_sizes(sizes)
        row = {
            "tenant_id": tenant_id,
            "name": name,
            "description": description,
            "chunk_tokens": sizes.tokens,
            "chunk_overlap": sizes.overlap,
            "created_at": now,
            "updated_at": now,
        }
        async with self.database.transaction() as session:
            await require_open(session, tenant_id)
            made = await session.scalar(
                insert(session, Collection).values(row).on_conflict_do_nothing().returning(Collection.name)
            )
        if made is None:
            raise Conflict(f"collection {name!r} exists; choose another name, or patch it")
        self.events.publish(Event("collection.created", tenant_id, name))
        return CollectionView(name, description, sizes.tokens, sizes.overlap, 0, 0, now, now)

    async def get(self, tenant_id: str, name: str) -> CollectionView:
        """Raises UnknownCollection."""
        views = await self._views(tenant_id, Collection.name == composed(name))
        if not views:
            raise UnknownCollection(f"collection {name[:80]!r} does not exist")
        return views[0]

    async def list(self, tenant_id: str, *, after: str = "", limit: int = 100) -> Sequence[CollectionView]:
        """A tenant's collections in the order of their names, those after the name `after`."""
        return await self._views(tenant_id, Collection.name > after, limit=limit)

    async def patch(self, tenant_id: str, name: str, change: Mapping[str, Any]) -> CollectionView:
        """Change what is given of `description`, `chunk_tokens` and `chunk_overlap`. Documents are cut anew when they
        are handed in again. Raises UnknownCollection, InvalidRequest."""
        async with self.database.transaction() as session:
            this = (of_tenant(Collection, tenant_id), Collection.name == composed(name))
            row = await session.scalar(select(Collection).where(*this).with_for_update())
            if row is not None:
                for field, value in change.items():
                    setattr(row, field, value)
                _check_sizes(ChunkSizes(row.chunk_tokens, row.chunk_overlap))
                row.updated_at = self.clock()
                await session.flush()
        view = await self.get(tenant_id, name)
        self.events.publish(Event("collection.updated", tenant_id, view.name))
        return view

    async def names(self, tenant_id: str) -> Sequence[str]:
        async with self.database.session() as session:
            names = await session.scalars(select(Collection.name).where(of_tenant(Collection, tenant_id)))
            return sorted({DEFAULT, *names})

    async def require(self, tenant_id: str, names: Iterable[str]) -> None:
        """Raises UnknownCollection, naming those of the tenant that exist, unless all the names do."""
        if wanted := set(names):
            existing = await self.names(tenant_id)
            if unknown := sorted(wanted.difference(existing)):
                raise UnknownCollection(
                    f"collections: there is no {', '.join(map(repr, unknown))}; there is {_listed(existing)}",
                    field="collections",
                )

    async def _views(
        self, tenant_id: str, *conditions: ColumnElement[bool], limit: int = 1
    ) -> Sequence[CollectionView]:
        this = Collection
        live = (
            of_tenant(Document, tenant_id),
            Document.collection == this.name,
            Document.version != "",
        )
        documents = select(func.count()).select_from(Document).where(*live).scalar_subquery()
        passages = select(func.coalesce(func.sum(Document.passages), 0)).where(*live).scalar_subquery()
        async with self.database.session() as session:
            rows = await session.execute(
                select(this, documents, passages)
                .where(of_tenant(this, tenant_id), *conditions)
                .order_by(this.name)
                .limit(limit)
            )
            return [
                CollectionView(
                    name=row.name,
                    description=row.description,
                    chunk_tokens=row.chunk_tokens,
                    chunk_overlap=row.chunk_overlap,
                    documents=int(count),
                    passages=int(passage_count),
                    created_at=row.created_at,
                    updated_at=row.updated_at,
                )
                for row, count, passage_count in rows
            ]


async def add(session: AsyncSession, tenant_id: str, names: Iterable[str], now: datetime) -> None:
    """Create collections unless they are there, in a fixed order so that two callers cannot deadlock."""
    rows = [{"tenant_id": tenant_id, "name": name, "created_at": now, "updated_at": now} for name in sorted(set(names))]
    await session.execute(insert(session, Collection).on_conflict_do_nothing(), rows)


async def chunk_sizes(session: AsyncSession, tenant_id: str, names: Set[str]) -> dict[str, ChunkSizes]:
    """How the documents of some collections are cut."""
    sizes: dict[str, ChunkSizes] = {}
    for batch in chunks(sorted(names)):
        rows = await session.execute(
            select(Collection.name, Collection.chunk_tokens, Collection.chunk_overlap).where(
                of_tenant(Collection, tenant_id), Collection.name.in_(batch)
            )
        )
        sizes |= {name: ChunkSizes(tokens, overlap) for name, tokens, overlap in rows}
    return sizes


def _check_sizes(sizes: ChunkSizes) -> None:
    if sizes.tokens is not None and sizes.overlap is not None and sizes.overlap >= sizes.tokens:
        raise InvalidRequest("chunk_overlap must be smaller than chunk_tokens", field="chunk_overlap")


def composed(name: str) -> str:
    """The form in which names are kept and compared."""
    return unicodedata.normalize("NFC", name)


def checked_name(name: str) -> str:
    """The name in composed form. Raises InvalidRequest unless it is 1 to 64 letters, digits, `_`, `.` or `-`."""
    kept = composed(name)
    if not _NAME.fullmatch(kept):
        raise InvalidRequest(
            f"collection {name[:80]!r}: use 1 to 64 letters, digits, '_', '.' or '-'", field="collection"
        )
    return kept


def check_deletable(name: str) -> str:
    """The name in composed form. Raises InvalidRequest for the default collection, which cannot be deleted."""
    kept = composed(name)
    if kept == DEFAULT:
        raise InvalidRequest(f"collection {kept!r} is where documents go by default; delete its documents instead")
    return kept


def _listed(names: Sequence[str], limit: int = 20) -> str:
    shown = ", ".join(map(repr, names[:limit]))
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
