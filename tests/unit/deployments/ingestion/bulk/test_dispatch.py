from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable

import pytest

from deployments.ingestion.bulk.base import BulkJob
from deployments.ingestion.bulk.dispatch import Dispatcher
from deployments.ingestion.config import BulkConfig, IngestionConfig
from deployments.ingestion.fake import MemoryBulkJobs, MemoryJobStore
from tests.support.waiting import until

JOBS = [BulkJob("tenant", f"job_{number}") for number in range(3)]
Start = Callable[..., MemoryBulkJobs]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    running: list[Dispatcher] = []

    def make(submit: Callable[[BulkJob], None], bulk: MemoryBulkJobs | None = None, **limits: float) -> MemoryBulkJobs:
        bulk = bulk or MemoryBulkJobs(MemoryJobStore())
        bulk.queue += JOBS
        config = IngestionConfig(poll_s=0.02, bulk=BulkConfig.model_validate(limits))
        running.append(Dispatcher(config, bulk, submit))
        running[-1].start()
        return bulk

    yield make
    for dispatcher in running:
        dispatcher.stop()


class Asked(MemoryBulkJobs):
    """Counts how often it was asked for a job."""

    times = 0

    async def next(self, *, most: int, lease_s: float) -> BulkJob | None:
        self.times += 1
        return await super().next(most=most, lease_s=lease_s)


async def test_jobs_are_submitted_as_room_is_made(start: Start) -> None:
    submitted: list[BulkJob] = []
    bulk = Asked(MemoryJobStore())
    start(submitted.append, bulk=bulk, jobs=2)
    await until(lambda: bulk.times >= 5)  # two jobs, no more in that round, and two rounds more
    assert submitted == JOBS[:2]
    await bulk.end(JOBS[0])
    await until(lambda: submitted == JOBS)


async def test_one_that_cannot_be_submitted_has_ended_and_says_why(start: Start) -> None:
    def refuse(job: BulkJob) -> None:
        raise ConnectionError("10.0.0.7:8265 is off")

    bulk = start(refuse)
    await until(lambda: len(bulk.ended) == 3)
    assert set(bulk.ended.values()) == {"it could not be submitted as a Ray Job: ConnectionError"}


async def test_a_dashboard_that_does_not_answer_is_waited_for_so_long(start: Start) -> None:
    answers = threading.Event()
    bulk = start(lambda job: answers.wait(60), submit_s=0.01)
    await until(lambda: len(bulk.ended) == 3)
    answers.set()
    assert set(bulk.ended.values()) == {"it could not be submitted as a Ray Job: no answer within 0.01 s"}


async def test_a_store_that_does_not_answer_is_asked_again(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    class Flaky(MemoryBulkJobs):
        failures = 2

        async def next(self, *, most: int, lease_s: float) -> BulkJob | None:
            if self.failures:
                self.failures -= 1
                raise OSError("database is locked")
            return await super().next(most=most, lease_s=lease_s)

    submitted: list[BulkJob] = []
    start(submitted.append, bulk=Flaky(MemoryJobStore()))
    await until(lambda: submitted == JOBS[:2])
    assert caplog.text.count("were not looked for") == 2
