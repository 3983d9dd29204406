"""The index as a whole: how much of it was made as it would be made now, and making it again."""

from __future__ import annotations

from dataclasses import dataclass

from deployments.types import EmbedderIdentity, IndexGeneration
from serve_app.platform.collections import Collections
from serve_app.platform.reindexing import DocumentCounts, Reindexing
from serve_app.services.access import Access
from serve_app.services.ports import AnnounceJob, Inference, Passages


@dataclass(frozen=True, slots=True)
class IndexState:
    """`embedder`: the one that runs. `live`: what searches look in; None while nothing is indexed. `missing`: passages
    of live documents that the index does not have. `job_id`: that of the job that reindexes now."""

    embedder: EmbedderIdentity
    live: IndexGeneration | None
    counts: DocumentCounts
    missing: int
    job_id: str | None


@dataclass(frozen=True, slots=True)
class ReindexService:
    store: Reindexing
    collections: Collections
    inference: Inference
    passages: Passages
    announce_job: AnnounceJob

    async def state(self, caller: Access) -> IndexState:
        """How much of the tenant's index is behind. Raises StageUnavailable if the embedder or the index does not
        answer."""
        tenant_id = caller.tenant_id
        embedder = await self.inference.identify_embedder()
        counts, live = await self.store.count(tenant_id, embedder.fingerprint), await self.store.live(tenant_id)
        missing = 0
        if live is not None:
            size = await self.passages.measure(tenant_id, live.name)
            missing = max(0, counts.passages - size.passages)
        return IndexState(embedder, live, counts, missing, await self.store.running(tenant_id))

    async def start(self, caller: Access, *, collection: str | None, bulk: bool) -> str:
        """Make the tenant's whole index again with the embedder that runs, beside the live one; the job's id.

        With a collection, make its documents again in the live one. Raises Conflict, UnknownCollection,
        StageUnavailable.
        """
        await self.collections.require(caller.tenant_id, filter(None, [collection]))
        embedder = await self.inference.identify_embedder()
        job_id = await self.store.start(caller.tenant_id, embedder, collection=collection, bulk=bulk)
        self.announce_job()
        return job_id
