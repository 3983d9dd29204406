"""An index that keeps chosen tenants in Milvus databases of their own."""

from __future__ import annotations

import asyncio
import hashlib
from collections import OrderedDict, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from deployments.errors import StageUnavailable
from deployments.retrieval.config import RetrievalConfig
from deployments.retrieval.milvus import MilvusIndex
from deployments.retrieval.validation import check_entries
from deployments.tasks import spawn_detached
from deployments.types import (
    Candidate,
    DocumentVersion,
    GenerationSize,
    IndexEntry,
    IndexGeneration,
    Passage,
    RetrievalRequest,
    VersionCopy,
)

T = TypeVar("T")


class _Own:
    """A tenant's own database, in use by `users` calls."""

    def __init__(self, config: RetrievalConfig) -> None:
        self.index = MilvusIndex(config, makes_database=True)
        self.users = 0


class TenantDatabases:
    """See `base.Index`. `retrieval.own_databases` names the tenants with databases of their own.

    Such a database is made when it is first needed, and dropped when its tenant is purged. All other tenants share
    `retrieval.database`. Of the tenants' databases, `retrieval.open_databases` stay connected: those that were used
    last, and any that are in use.
    """

    def __init__(self, config: RetrievalConfig) -> None:
        self._config = config
        self._shared = MilvusIndex(config)
        self._own: OrderedDict[str, _Own] = OrderedDict()
        """The least recently used first."""
        self._closing: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        await self._shared.open()

    async def search(self, request: RetrievalRequest) -> list[Candidate]:
        return await self._call(request.scope.tenant_id, lambda index: index.search(request))

    async def upsert(self, generation: IndexGeneration, entries: Sequence[IndexEntry]) -> None:
        check_entries(generation, entries)  # all entries, before the first is written
        by_tenant: defaultdict[str, list[IndexEntry]] = defaultdict(list)
        for entry in entries:
            by_tenant[entry.passage.tenant_id].append(entry)
        for tenant_id, of_tenant in by_tenant.items():
            await self._upsert(tenant_id, generation, of_tenant)

    async def _upsert(self, tenant_id: str, generation: IndexGeneration, entries: Sequence[IndexEntry]) -> None:
        await self._call(tenant_id, lambda index: index.upsert(generation, entries))

    async def read(
        self, tenant_id: str, document_id: str, version: str, *, generation: str = "", after: int = -1, limit: int
    ) -> list[Passage]:
        return await self._call(
            tenant_id,
            lambda index: index.read(tenant_id, document_id, version, generation=generation, after=after, limit=limit),
        )

    async def copy(
        self, tenant_id: str, copy: VersionCopy, *, generation: str = "", after: int = -1, limit: int
    ) -> int:
        return await self._call(
            tenant_id, lambda index: index.copy(tenant_id, copy, generation=generation, after=after, limit=limit)
        )

    async def delete(self, tenant_id: str, document_id: str) -> int:
        return await self._call(tenant_id, lambda index: index.delete(tenant_id, document_id))

    async def delete_versions(self, tenant_id: str, versions: Sequence[DocumentVersion]) -> int:
        return await self._call(tenant_id, lambda index: index.delete_versions(tenant_id, versions))

    async def purge(self, tenant_id: str, *, collection: str = "", generation: str = "") -> int:
        async def purge(index: MilvusIndex) -> int:
            removed = await index.purge(tenant_id, collection=collection, generation=generation)
            if not collection and not generation and index is not self._shared:
                await index.drop()
                self._forget(tenant_id, index)
            return removed

        return await self._call(tenant_id, purge)

    async def measure(self, tenant_id: str, generation: str) -> GenerationSize:
        return await self._call(tenant_id, lambda index: index.measure(tenant_id, generation))

    async def check(self) -> None:
        await self._shared.check()

    def close(self) -> None:
        for index in (self._shared, *(own.index for own in self._own.values())):
            index.close()

    async def _call(self, tenant_id: str, call: Callable[[MilvusIndex], Awaitable[T]]) -> T:
        """The call's result. If another replica dropped the tenant's database, it is made again and called once more.

        What this replica knows as loaded went with the database. Each engine has an error of its own for that.
        """
        async with self._index(tenant_id) as index:
            try:
                return await call(index)
            except StageUnavailable:
                if index is self._shared or await index.has_database():
                    raise
        self._forget(tenant_id, index)
        async with self._index(tenant_id) as index:
            return await call(index)

    @asynccontextmanager
    async def _index(self, tenant_id: str) -> AsyncIterator[MilvusIndex]:
        """The tenant's index, which stays open meanwhile."""
        chosen = self._config.own_databases
        if tenant_id not in chosen and "*" not in chosen:
            yield self._shared
            return
        own = self._own.get(tenant_id)
        if own is None:
            own = _Own(self._config.model_copy(update={"database": database_name(tenant_id)}))
            self._own[tenant_id] = own
        self._own.move_to_end(tenant_id)
        own.users += 1
        try:
            await own.index.open()
            yield own.index
        finally:
            own.users -= 1
            self._close_some()

    def _close_some(self) -> None:
        idle = [tenant_id for tenant_id, own in self._own.items() if not own.users]
        for tenant_id in idle[: max(0, len(self._own) - self._config.open_databases)]:
            self._forget(tenant_id, self._own[tenant_id].index)

    def _forget(self, tenant_id: str, index: MilvusIndex) -> None:
        """Close an index. Its threads end with it."""
        if tenant_id in self._own and self._own[tenant_id].index is index:
            del self._own[tenant_id]
            closing = spawn_detached(asyncio.to_thread(index.close))
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)


def database_name(tenant_id: str) -> str:
    """The tenant's database. Its name is a hash, because Milvus allows fewer characters than a tenant's id may have."""
    return f"tenant_{hashlib.blake2b(tenant_id.encode(), digest_size=16).hexdigest()}"
