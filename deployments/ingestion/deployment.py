"""The ingestion stage as a deployment: a worker that asks the job store for documents, and may be woken."""

from __future__ import annotations

import logging
import uuid

from deployments.ingestion.base import BlobStore, EmbedderPort, IndexPort, JobStore
from deployments.ingestion.config import IngestionConfig
from deployments.ingestion.worker import Worker
from deployments.ownership import refuse_company
from deployments.types import StageStatus

logger = logging.getLogger(__name__)


class Ingestion:
    """Takes ports, not handles. Its worker starts with the first call, which Serve's health check makes before the
    replica counts as running."""

    def __init__(
        self,
        config: IngestionConfig,
        embedder: EmbedderPort,
        index: IndexPort,
        jobs: JobStore,
        blobs: BlobStore,
        owned: str = "",
    ) -> None:
        refuse_company(owned)
        self._worker = Worker(config, embedder, index, jobs, blobs, name=f"ingestion-{uuid.uuid4().hex[:12]}")

    async def wake(self) -> None:
        """There is a new job: ask for it now."""
        self._worker.start()
        self._worker.wake()

    async def status(self) -> StageStatus:
        self._worker.start()
        return StageStatus(ready=self._worker.trouble is None, engine="jobs", detail=self._worker.trouble)

    async def check_health(self) -> None:
        """Raises StageUnavailable when the worker has ended. A job store that does not answer is no reason to
        replace the replica: it shows in `status`."""
        self._worker.start()
        self._worker.check()

    async def close(self) -> None:
        await self._worker.close()

    def __del__(self) -> None:
        # Serve calls this when it stops a replica; a failed constructor leaves no worker.
        worker = getattr(self, "_worker", None)
        if worker is not None:
            worker.stop()
