"""An index that keeps chosen tenants in Milvus databases of their own."""

from __future__ import annotations

import asyncio
import hashlib
from collections import defaultdict
from collections.abc import Sequence

from deployments.retrieval.config import RetrievalConfig
from deployments.retrieval.milvus import MilvusIndex
from deployments.retrieval.validation import check_entries
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


class TenantDatabases:
    """See `base.Index`. `retrieval.own_databases` names the tenants with databases of their own.

    Such a database is made when it is first needed, and dropped when its tenant is purged. All other tenants share
    `retrieval.database`.
    """

    def __init__(self, config: RetrievalConfig) -> None:
        self._config = config
        self._shared = MilvusIndex(config)
        self._own: dict[str, MilvusIndex] = {}
        self._opening: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def open(self) -> None:
        await self._shared.open()

    async def search(self, request: RetrievalRequest) -> list[Candidate]:
        return await (await self._index(request.scope.tenant_id)).search(request)

    async def upsert(self, generation: IndexGeneration, entries: Sequence[IndexEntry]) -> None:
        check_entries(generation, entries)  # all entries, before the first is written
        by_tenant: defaultdict[str, list[IndexEntry]] = defaultdict(list)
        for entry in entries:
            by_tenant[entry.passage.tenant_id].append(entry)
        for tenant_id, of_tenant in by_tenant.items():
            await (await self._index(tenant_id)).upsert(generation, of_tenant)

    async def read(
        self, tenant_id: str, document_id: str, version: str, *, generation: str = "", after: int = -1, limit: int
    ) -> list[Passage]:
        index = await self._index(tenant_id)
        return await index.read(tenant_id, document_id, version, generation=generation, after=after, limit=limit)

    async def copy(
        self, tenant_id: str, copy: VersionCopy, *, generation: str = "", after: int = -1, limit: int
    ) -> int:
        index = await self._index(tenant_id)
        return await index.copy(tenant_id, copy, generation=generation, after=after, limit=limit)

    async def delete(self, tenant_id: str, document_id: str) -> int:
        return await (await self._index(tenant_id)).delete(tenant_id, document_id)

    async def delete_versions(self, tenant_id: str, versions: Sequence[DocumentVersion]) -> int:
        return await (await self._index(tenant_id)).delete_versions(tenant_id, versions)

    async def purge(self, tenant_id: str, *, collection: str = "", generation: str = "") -> int:
        index = await self._index(tenant_id)
        removed = await index.purge(tenant_id, collection=collection, generation=generation)
        if not collection and not generation and index is not self._shared:
            del self._own[tenant_id]
            await index.drop()
            await asyncio.to_thread(index.close)
        return removed

    async def measure(self, tenant_id: str, generation: str) -> GenerationSize:
        return await (await self._index(tenant_id)).measure(tenant_id, generation)

    async def check(self) -> None:
        await self._shared.check()

    def close(self) -> None:
        for index in (self._shared, *self._own.values()):
            index.close()

    async def _index(self, tenant_id: str) -> MilvusIndex:
        chosen = self._config.own_databases
        if tenant_id not in chosen and "*" not in chosen:
            return self._shared
        async with self._opening[tenant_id]:
            if tenant_id not in self._own:
                config = self._config.model_copy(update={"database": database_name(tenant_id)})
                index = MilvusIndex(config, makes_database=True)
                await index.open()
                self._own[tenant_id] = index
        return self._own[tenant_id]


def database_name(tenant_id: str) -> str:
    """The tenant's database. Its name is a hash, because Milvus allows fewer characters than a tenant's id may have."""
    return f"tenant_{hashlib.blake2b(tenant_id.encode(), digest_size=16).hexdigest()}"
