"""The index as a whole: how much of it was made as it would be made now."""

from __future__ import annotations

from dataclasses import dataclass

from deployments.types import EmbedderIdentity
from serve_app.platform.reindexing import DocumentCounts, Reindexing
from serve_app.services.access import Access
from serve_app.services.ports import Inference


@dataclass(frozen=True, slots=True)
class IndexState:
    """`embedder`: the one that runs."""

    embedder: EmbedderIdentity
    counts: DocumentCounts


@dataclass(frozen=True, slots=True)
class ReindexService:
    store: Reindexing
    inference: Inference

    async def state(self, caller: Access) -> IndexState:
        """How many of the tenant's documents are behind. Raises StageUnavailable if the embedder does not answer."""
        embedder = await self.inference.identify_embedder()
        return IndexState(embedder, await self.store.count(caller.tenant_id, embedder.fingerprint))
