"""The bulk job, and the ports of bulk ingestion."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from deployments.ingestion.base import BlobStore, EmbedderPort, IndexPort, JobStore
from deployments.ingestion.config import IngestionConfig
from deployments.telemetry.config import TelemetryConfig


@dataclass(frozen=True, slots=True)
class BulkJob:
    """A job whose documents a Ray Job indexes."""

    tenant_id: str
    id: str

    @property
    def name(self) -> str:
        """The Ray Job's submission id. Its leases are held under this name too."""
        return ray_job(self.tenant_id, self.id)


def ray_job(tenant_id: str, job_id: str) -> str:
    return f"ingest-{tenant_id}-{job_id}"


class BulkJobs(Protocol):
    """Durable state of bulk jobs. Every call is one transaction.

    A bulk job waits for its Ray Job, then runs while the Ray Job renews its lease, then has ended. While it waits or
    runs, no worker can claim its documents; afterwards every worker can.
    """

    async def next(self, *, most: int, lease_s: float) -> BulkJob | None:
        """Start the job that has waited longest, with a lease of `lease_s` seconds.

        None if no job waits, or `most` jobs run already.
        """
        ...

    async def renew(self, job: BulkJob, *, lease_s: float) -> bool:
        """Prolong the job's lease and those of its claimed documents. False if the job does not run any longer."""
        ...

    async def waiting(self, job: BulkJob) -> int:
        """How many of the job's documents are not claimed."""
        ...

    async def end(self, job: BulkJob, detail: str = "") -> None:
        """End the job's run, and queue the documents it has claimed again. `detail` says what went wrong, if anything.

        Idempotent.
        """
        ...

    async def close(self) -> None:
        """Deliver this process's pending events, and close its connections."""
        ...


@dataclass(frozen=True, slots=True)
class BulkPorts:
    """All that a Ray Job works with; an ingestion replica gives them to it.

    `pinned`: the job store or the blobs are on the head node's disk, so only processes there may open them.
    """

    config: IngestionConfig
    embedder: EmbedderPort
    index: IndexPort
    jobs: JobStore
    bulk: BulkJobs
    blobs: BlobStore
    pinned: bool
    telemetry: TelemetryConfig | None = None
