from __future__ import annotations

import asyncio
import gc
from dataclasses import replace

import psutil
import pytest

from deployments.errors import StageUnavailable
from deployments.ingestion.base import DocumentTask
from deployments.ingestion.config import IngestionConfig
from deployments.ingestion.deployment import Ingestion
from deployments.ingestion.fake import FakeEmbedder, MemoryBlobStore, MemoryBulkJobs, MemoryIndex, MemoryJobStore
from deployments.types import StageStatus
from tests.support.waiting import until


class BrokenJobs(MemoryJobStore):
    async def claim(self, worker: str, *, lease_s: float, limit: int, job_id: str | None = None) -> list[DocumentTask]:
        raise OSError("database is locked")


def parsers() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "parsers.child" in " ".join(child.cmdline())]


class CountedJobs(MemoryJobStore):
    """Counts how often it was asked for work."""

    claims = 0

    async def claim(self, worker: str, *, lease_s: float, limit: int, job_id: str | None = None) -> list[DocumentTask]:
        self.claims += 1
        return await super().claim(worker, lease_s=lease_s, limit=limit, job_id=job_id)


async def test_a_document_goes_all_the_way_in(task: DocumentTask) -> None:
    blobs, index, jobs = MemoryBlobStore(), MemoryIndex(), CountedJobs()
    ingestion = Ingestion(
        IngestionConfig(poll_s=3600), FakeEmbedder(), index, jobs, MemoryBulkJobs(MemoryJobStore()), blobs
    )
    await ingestion.check_health()
    await until(lambda: jobs.claims == 1)  # the first round, which finds nothing
    blobs.blobs[task.blob] = "Članak 1.\n\nRok je 15 dana.".encode()
    record = jobs.submit(task)
    await ingestion.wake()
    await until(lambda: record.state == "indexed")
    assert len(index.entries) == 1
    assert await ingestion.status() == StageStatus(ready=True, engine="jobs")
    assert len(parsers()) == 1
    await ingestion.close()
    assert not parsers()
    with pytest.raises(StageUnavailable):
        await ingestion.check_health()


async def test_a_silent_job_store_shows_in_the_status_and_not_as_ill_health(caplog: pytest.LogCaptureFixture) -> None:
    ingestion = Ingestion(
        IngestionConfig(poll_s=0.01),
        FakeEmbedder(),
        MemoryIndex(),
        BrokenJobs(),
        MemoryBulkJobs(MemoryJobStore()),
        MemoryBlobStore(),
    )
    await ingestion.check_health()
    await until(lambda: ingestion._worker.trouble is not None)
    status = await ingestion.status()
    await ingestion.check_health()
    assert not status.ready
    assert status.detail == "the job store does not answer; the log of the ingestion stage has the details"
    assert "database is locked" in caplog.text
    await ingestion.close()


async def test_a_dropped_deployment_ends_its_worker(task: DocumentTask) -> None:
    blobs, jobs = MemoryBlobStore(), MemoryJobStore()
    ingestion = Ingestion(
        IngestionConfig(poll_s=0.01), FakeEmbedder(), MemoryIndex(), jobs, MemoryBulkJobs(MemoryJobStore()), blobs
    )
    blobs.blobs[task.blob] = b"Tekst"
    record = jobs.submit(task)
    await ingestion.wake()
    await until(lambda: record.state == "indexed")
    ingestion.__del__()
    await until(lambda: len(asyncio.all_tasks()) == 1)
    assert not parsers()


def test_it_can_be_made_and_dropped_without_a_loop() -> None:
    ingestion = Ingestion(
        IngestionConfig(),
        FakeEmbedder(),
        MemoryIndex(),
        MemoryJobStore(),
        MemoryBulkJobs(MemoryJobStore()),
        MemoryBlobStore(),
    )
    del ingestion
    gc.collect()


async def test_a_replica_reports_what_a_policy_scales_it_by(task: DocumentTask) -> None:
    now = 100.0
    jobs = MemoryJobStore(lambda: now)
    ingestion = Ingestion(
        IngestionConfig(), FakeEmbedder(), MemoryIndex(), jobs, MemoryBulkJobs(MemoryJobStore()), MemoryBlobStore()
    )
    empty = {"waiting_documents": 0.0, "oldest_waiting_s": 0.0, "active_documents": 0.0}
    assert await ingestion.record_autoscaling_stats() == empty
    jobs.submit(task)
    now += 30
    jobs.submit(replace(task, document_id="another"))
    now += 5
    assert await ingestion.record_autoscaling_stats() == empty | {"waiting_documents": 2.0, "oldest_waiting_s": 35.0}
    assert all(type(value) is float for value in empty.values())  # Serve switches off reports of other types
    await ingestion.close()
