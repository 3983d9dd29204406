"""The ingestion stage as a deployment: a worker that indexes queued documents, and a dispatcher of bulk jobs."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Coroutine
from typing import Any

from deployments.ingestion.base import (
    ACTIVE_DOCUMENTS,
    OLDEST_WAITING_S,
    WAITING_DOCUMENTS,
    BlobStore,
    EmbedderPort,
    IndexPort,
    JobStore,
)
from deployments.ingestion.bulk.base import BulkJobs, BulkPorts
from deployments.ingestion.bulk.dispatch import Dispatcher, look, submit
from deployments.ingestion.config import IngestionConfig
from deployments.ingestion.worker import Worker
from deployments.replica import replica_id
from deployments.single_replica import require_single_replica
from deployments.telemetry import tracing
from deployments.telemetry.config import TelemetryConfig
from deployments.types import StageStatus

logger = logging.getLogger(__name__)


class Ingestion:
    """Takes ports, not Serve handles. Worker and dispatcher start with the first call.

    That call is Serve's health check, which comes before the replica counts as running.
    """

    def __init__(
        self,
        config: IngestionConfig,
        embedder: EmbedderPort,
        index: IndexPort,
        jobs: JobStore,
        bulk: BulkJobs,
        blobs: BlobStore,
        owned: str = "",
        *,
        telemetry: TelemetryConfig | None = None,
    ) -> None:
        require_single_replica(owned)
        tracing.start(telemetry, "ingestion", replica=replica_id())
        self._ports = BulkPorts(config, embedder, index, jobs, bulk, blobs, pinned=bool(owned), telemetry=telemetry)
        self._jobs = jobs
        self._dispatcher = Dispatcher(config, bulk, submit, look)
        self._worker = Worker(config, embedder, index, jobs, blobs, name=f"ingestion-{uuid.uuid4().hex[:12]}")

    async def wake(self) -> None:
        """Have worker and dispatcher look for a new job now, without waiting for their next poll."""
        self._start()
        self._worker.wake()
        self._dispatcher.wake()

    async def bulk_ports(self) -> BulkPorts:
        """The ports that a Ray Job of bulk ingestion works with."""
        return self._ports

    async def status(self) -> StageStatus:
        self._start()
        return StageStatus(ready=self._worker.trouble is None, engine="jobs", detail=self._worker.trouble)

    async def record_autoscaling_stats(self) -> dict[str, float]:
        """Serve's hook: what a policy in `cluster/autoscaling/` goes by. Raises what the job store raises, and Serve
        then goes by what was reported before."""
        waiting = await self._jobs.waiting_documents()
        return {
            WAITING_DOCUMENTS: float(waiting.documents),
            OLDEST_WAITING_S: waiting.oldest_s,
            ACTIVE_DOCUMENTS: float(self._worker.active),
        }

    async def check_health(self) -> None:
        """Raises StageUnavailable when the worker has ended.

        A job store that does not answer is no reason to replace the replica; `status` reports it.
        """
        self._start()
        self._worker.check()

    def _start(self) -> None:
        self._worker.start()
        self._dispatcher.start()

    async def close(self) -> None:
        self._dispatcher.stop()
        await self._worker.close()

    def __del__(self) -> Coroutine[Any, Any, None] | None:
        # Serve calls this when it stops a replica. After a failed constructor the two may be missing.
        for background in (getattr(self, "_dispatcher", None), getattr(self, "_worker", None)):
            if background is not None:
                background.stop()
        return tracing.end_of_replica()
