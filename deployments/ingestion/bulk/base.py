"""What bulk ingestion is handed, and what it hands on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from deployments.ingestion.base import BlobStore, EmbedderPort, IndexPort, JobStore
from deployments.ingestion.config import IngestionConfig


@dataclass(frozen=True, slots=True)
class BulkJob:
    """A job whose documents a Ray Job is to index."""

    tenant_id: str
    id: str

    @property
    def name(self) -> str:
        """The Ray Job's submission id, and the worker that its leases are held under."""
        return ray_job(self.tenant_id, self.id)


def ray_job(tenant_id: str, job_id: str) -> str:
    return f"ingest-{tenant_id}-{job_id}"


class BulkJobs(Protocol):
    """Durable state of the jobs that were asked for in bulk. Every call is one transaction.

    A bulk job waits for its Ray Job, is run by it as long as that renews, and then has ended. While it waits or runs
    its documents are handed to nobody else; afterwards, to whoever claims.
    """

    async def next(self, *, most: int, lease_s: float) -> BulkJob | None:
        """The one that has waited longest, now run for `lease_s` seconds. None if none waits or `most` are run."""
        ...

    async def renew(self, job: BulkJob, *, lease_s: float) -> bool:
        """Prolong the run and the leases of the documents it has claimed. False if the job is no longer run."""
        ...

    async def waiting(self, job: BulkJob) -> int:
        """Documents of the job that nobody has claimed."""
        ...

    async def end(self, job: BulkJob, detail: str = "") -> None:
        """The run is over, and documents it has claimed are queued again. `detail` says what went wrong, if anything
        did. Twice is once."""
        ...

    async def close(self) -> None:
        """Hand on what this process has to tell of, and let go of its connections."""
        ...


@dataclass(frozen=True, slots=True)
class BulkPorts:
    """All that a Ray Job works with, asked of an ingestion replica. `pinned`: the job store or the bytes are on the
    head node's disk, so only processes there may open them."""

    config: IngestionConfig
    embedder: EmbedderPort
    index: IndexPort
    jobs: JobStore
    bulk: BulkJobs
    blobs: BlobStore
    pinned: bool
