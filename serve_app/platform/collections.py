"""Named sets of a tenant's documents."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from deployments.errors import Conflict, InvalidRequest, UnknownCollection
from deployments.ingestion.base import ChunkSizes
from serve_app.platform.events import Event, Events
from serve_app.platform.tenant_settings import require_open
from serve_app.storage.database import Database, chunks, insert
from serve_app.storage.declarative import of_tenant, utc_now
from serve_app.storage.tables import Collection, Document

DEFAULT = "default"
"""The collection that every tenant has, and that a document goes to when none is named."""
_SERVICES_OWN = ChunkSizes()
_IS_KEPT = Collection.deleting_since.is_(None)
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


@dataclass(frozen=True, slots=True)
class Size:
    """Live documents, and their passages; of a change, how many more there are."""

    documents: int = 0
    passages: int = 0

    def __add__(self, other: Size) -> Size:
        return Size(self.documents + other.documents, self.passages + other.passages)

    def __neg__(self) -> Size:
        return Size(-self.documents, -self.passages)


def sizes(documents: Iterable[Document]) -> dict[str, Size]:
    """Those of the documents that are live, by collection."""
    found: dict[str, Size] = {}
    for document in documents:
        if document.version:
            found[document.collection] = found.get(document.collection, Size()) + Size(1, document.passages)
    return found


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
        check_name(name)
        now = self.clock()
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
            raise Conflict(f"collection {name!r} exists, or is being deleted; choose another name, or patch it")
        self.events.publish(Event("collection.created", tenant_id, name))
        return CollectionView(name, description, sizes.tokens, sizes.overlap, 0, 0, now, now)

    async def get(self, tenant_id: str, name: str) -> CollectionView:
        """Raises UnknownCollection."""
        views = await self._views(tenant_id, Collection.name == name)
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
            this = (of_tenant(Collection, tenant_id), Collection.name == name, _IS_KEPT)
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
            names = await session.scalars(select(Collection.name).where(of_tenant(Collection, tenant_id), _IS_KEPT))
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
        row = Collection
        async with self.database.session() as session:
            rows = await session.scalars(
                select(row).where(of_tenant(row, tenant_id), _IS_KEPT, *conditions).order_by(row.name).limit(limit)
            )
            return [_view(row) for row in rows]


def _view(row: Collection) -> CollectionView:
    return CollectionView(**{field.name: getattr(row, field.name) for field in fields(CollectionView)})


async def add(session: AsyncSession, tenant_id: str, names: Iterable[str], now: datetime) -> None:
    """Create collections unless they are there, in a fixed order so that two callers cannot deadlock."""
    rows = [{"tenant_id": tenant_id, "name": name, "created_at": now, "updated_at": now} for name in sorted(set(names))]
    await session.execute(insert(session, Collection).on_conflict_do_nothing(), rows)


async def move(session: AsyncSession, tenant_id: str, before: Mapping[str, Size], after: Mapping[str, Size]) -> None:
    """Count documents that became live, were replaced or deleted: their collections' sizes before and after."""
    row = Collection
    for name in sorted({*before, *after}):  # in one order, so that two callers cannot deadlock
        by = after.get(name, Size()) + -before.get(name, Size())
        if by != Size():
            more = {"documents": row.documents + by.documents, "passages": row.passages + by.passages}
            await session.execute(update(row).where(of_tenant(row, tenant_id), row.name == name).values(more))


async def mark_deleted(session: AsyncSession, tenant_id: str, name: str, now: datetime) -> None:
    """From now on no list has the collection, and it takes no document. Idempotent. Raises UnknownCollection."""
    this = (of_tenant(Collection, tenant_id), Collection.name == name)
    mark = update(Collection).where(*this).values(deleting_since=now).returning(Collection.name)
    if await session.scalar(mark) is None:
        raise UnknownCollection(f"collection {name[:80]!r} does not exist")


async def is_kept(session: AsyncSession, tenant_id: str, name: str) -> bool:
    """Whether the collection exists and is not being deleted."""
    collection = await session.get(Collection, (tenant_id, name))
    return collection is not None and collection.deleting_since is None


async def chunk_sizes(
    session: AsyncSession, tenant_id: str, names: Set[str], *, kept: bool = False
) -> dict[str, ChunkSizes]:
    """How the documents of some collections are cut. With `kept`, raises Conflict for one that is being deleted."""
    sizes: dict[str, ChunkSizes] = {}
    for batch in chunks(sorted(names)):
        wanted = select(Collection).where(of_tenant(Collection, tenant_id), Collection.name.in_(batch))
        for row in await session.scalars(wanted):
            if kept and row.deleting_since is not None:
                raise Conflict(
                    f"collection: {row.name!r} is being deleted; try again later, or choose another one",
                    field="collection",
                )
            sizes[row.name] = ChunkSizes(row.chunk_tokens, row.chunk_overlap)
    return sizes


def _check_sizes(sizes: ChunkSizes) -> None:
    if sizes.tokens is not None and sizes.overlap is not None and sizes.overlap >= sizes.tokens:
        raise InvalidRequest("chunk_overlap must be smaller than chunk_tokens", field="chunk_overlap")


def check_name(name: str) -> None:
    """Raises InvalidRequest unless it is 1 to 64 letters, digits, `_`, `.` or `-`."""
    if not _NAME.fullmatch(name):
        raise InvalidRequest(
            f"collection {name[:80]!r}: use 1 to 64 letters, digits, '_', '.' or '-'", field="collection"
        )


def check_deletable(name: str) -> None:
    """Raises Conflict for the default collection, which cannot be deleted."""
    if name == DEFAULT:
        raise Conflict(f"collection {name!r} is where documents go by default; delete its documents instead")


def _listed(names: Sequence[str], limit: int = 20) -> str:
    shown = ", ".join(map(repr, names[:limit]))
    return shown if len(names) <= limit else f"{shown} and {len(names) - limit} more"
