from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Callable

import pytest
from ray.dashboard.modules.job.pydantic_models import JobType
from ray.job_submission import JobDetails, JobStatus

from deployments.ingestion.bulk.base import BulkJob
from deployments.ingestion.bulk.dispatch import Dispatcher, how_ended
from deployments.ingestion.config import BulkConfig, IngestionConfig
from deployments.ingestion.fake import MemoryBulkJobs, MemoryJobStore
from tests.support.waiting import until

JOBS = [BulkJob("tenant", f"job_{number}") for number in range(3)]
Start = Callable[..., MemoryBulkJobs]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    running: list[Dispatcher] = []

    def make(
        submit: Callable[[BulkJob], None],
        bulk: MemoryBulkJobs | None = None,
        look: Callable[[BulkJob], str | None] = lambda job: None,
        **limits: float,
    ) -> MemoryBulkJobs:
        bulk = bulk or MemoryBulkJobs(MemoryJobStore())
        bulk.queue += JOBS
        config = IngestionConfig(poll_s=0.02, bulk=BulkConfig.model_validate(limits))
        running.append(Dispatcher(config, bulk, submit, look))
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


async def test_a_ray_job_that_ends_before_its_run_leaves_the_documents_to_the_workers_at_once(start: Start) -> None:
    over: set[BulkJob] = set()
    submitted: list[BulkJob] = []
    bulk = start(submitted.append, look=lambda job: "its words" if job in over else None, jobs=2)
    await until(lambda: len(submitted) == 2)
    over.add(JOBS[1])
    await until(lambda: bulk.ended == {JOBS[1].id: "its words"})
    await until(lambda: submitted == JOBS)
    assert bulk.running == [JOBS[0], JOBS[2]]


async def test_a_run_that_ended_by_itself_keeps_its_own_words(start: Start) -> None:
    looked: list[BulkJob] = []

    def look(job: BulkJob) -> str | None:
        looked.append(job)
        return "other words" if job in ended else None

    ended: set[BulkJob] = set()
    bulk = start(lambda job: None, look=look, jobs=1)
    await until(lambda: JOBS[0] in looked)
    await bulk.end(JOBS[0], "its own words")
    ended.add(JOBS[0])
    await until(lambda: JOBS[1] in looked)
    assert bulk.ended == {JOBS[0].id: "its own words"}


async def test_a_ray_that_does_not_say_is_asked_again(start: Start, caplog: pytest.LogCaptureFixture) -> None:
    failures = iter([ConnectionError("10.0.0.7:8265 is off"), None, None])

    def look(job: BulkJob) -> str | None:
        if error := next(failures, None):
            raise error
        return "over"

    bulk = start(lambda job: None, look=look)
    await until(lambda: len(bulk.ended) == 3)
    assert caplog.text.count("did not say whether") == 1


TRACEBACK = """Job entrypoint command failed with exit code 1, last available logs:
Traceback (most recent call last):
  File "/opt/rag/deployments/ingestion/bulk/__main__.py", line 41, in main
    ray.init(address=arguments.address)
Error: this line is no traceback's last one
ray.exceptions.RaySystemError: no cluster at 10.0.0.7:6379
"""


@pytest.mark.parametrize(
    ("status", "message", "exit_code", "told"),
    [
        ("PENDING", None, None, None),
        ("RUNNING", "ValueError: not yet", None, None),
        ("FAILED", TRACEBACK, 1, "its Ray Job ended before its run did: RaySystemError"),
        ("FAILED", "KeyError", 1, "its Ray Job ended before its run did: KeyError"),
        ("FAILED", "killed at 10.0.0.7", -9, "its Ray Job ended before its run did: exit code -9"),
        ("STOPPED", None, None, "its Ray Job ended before its run did: it was stopped"),
        ("SUCCEEDED", "done", 0, "its Ray Job ended before its run did: exit code 0"),
    ],
)
def test_of_an_error_its_class_is_told(
    status: str, message: str | None, exit_code: int | None, told: str | None
) -> None:
    info = JobDetails(
        type=JobType.SUBMISSION, entrypoint="", status=JobStatus(status), message=message, driver_exit_code=exit_code
    )
    assert how_ended(info) == told


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
