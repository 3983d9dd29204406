from __future__ import annotations

import asyncio
from typing import Any

import pytest

from deployments.ingestion.base import DocumentTask
from deployments.ingestion.bulk.base import BulkJob
from serve_app.platform.bulk import BulkJobs
from serve_app.platform.documents import Documents
from serve_app.platform.jobs import BulkView, Jobs
from tests.support.storage import Clock, document, indexed

LEASE_S = 30.0


@pytest.fixture
def bulk(jobs: Jobs) -> BulkJobs:
    return BulkJobs(jobs.queue)


async def accept(jobs: Jobs, *ids: str, tenant: str = "a") -> BulkJob:
    return BulkJob(tenant, (await jobs.accept(tenant, [document(each) for each in ids], bulk=True)).id)


async def start(bulk: BulkJobs, most: int = 9) -> BulkJob | None:
    return await bulk.next(most=most, lease_s=LEASE_S)


async def claim(jobs: Jobs, job: BulkJob | None = None) -> list[DocumentTask]:
    """As the job's Ray Job, or as an ordinary worker."""
    name, job_id = (job.name, job.id) if job else ("worker", None)
    return await jobs.queue.claim(name, lease_s=LEASE_S, limit=10, job_id=job_id)


async def state(jobs: Jobs, job: BulkJob) -> Any:
    view = (await jobs.view(job.tenant_id, job.id)).bulk
    assert view is not None
    return view.state, view.detail


@pytest.mark.every_database
async def test_its_documents_are_for_its_ray_job_alone(jobs: Jobs, bulk: BulkJobs) -> None:
    job = await accept(jobs, "x", "y")
    await jobs.accept("a", [document("ordinary")])
    assert [task.document_id for task in await claim(jobs)] == ["ordinary"]
    assert await state(jobs, job) == ("waiting", None)
    assert await start(bulk) == job
    assert await claim(jobs) == []
    assert await bulk.waiting(job) == 2
    x, y = await claim(jobs, job)
    assert (x.document_id, y.document_id) == ("x", "y")
    assert await bulk.waiting(job) == 0
    await jobs.queue.finish(x, indexed({}))
    await jobs.queue.fail(y, "broken_document", "")
    await bulk.end(job)
    view = await jobs.view("a", job.id)
    assert view.state == "partial"
    assert view.bulk == BulkView(f"ingest-a-{job.id}", "ended", None)


async def test_a_job_that_nobody_asked_for_in_bulk_has_no_ray_job(jobs: Jobs, bulk: BulkJobs) -> None:
    job = await jobs.accept("a", [document("x")])
    assert (await jobs.view("a", job.id)).bulk is None
    assert await start(bulk) is None
    assert len(await claim(jobs)) == 1


async def test_what_is_indexed_as_it_is_needs_no_ray_job(jobs: Jobs, bulk: BulkJobs) -> None:
    await jobs.accept("a", [document("x")])
    (task,) = await claim(jobs)
    await jobs.queue.finish(task, indexed({}))
    again = await accept(jobs, "x")
    assert (await jobs.view("a", again.id)).bulk is None
    assert await start(bulk) is None


@pytest.mark.every_database
async def test_a_ray_job_claims_nothing_of_others(jobs: Jobs, bulk: BulkJobs) -> None:
    first, second = await accept(jobs, "x"), await accept(jobs, "y")
    await start(bulk)
    assert [task.document_id for task in await claim(jobs, first)] == ["x"]
    assert await claim(jobs, first) == []
    assert await bulk.waiting(second) == 1


@pytest.mark.every_database
async def test_only_so_many_run_and_those_that_waited_longest_first(jobs: Jobs, bulk: BulkJobs, clock: Clock) -> None:
    waiting = []
    for name, tenant in (("x", "b"), ("y", "a"), ("z", "b")):
        waiting.append(await accept(jobs, name, tenant=tenant))
        clock.advance(1)
    assert [await start(bulk, most=2) for _ in waiting] == [*waiting[:2], None]
    await bulk.end(waiting[1])
    assert await start(bulk, most=2) == waiting[2]


@pytest.mark.every_database
async def test_two_that_start_at_once_do_not_start_too_many(jobs: Jobs, bulk: BulkJobs) -> None:
    for name in "xyz":
        await accept(jobs, name)
    started = await asyncio.gather(*(start(bulk, most=2) for _ in range(4)))
    assert len({job.id for job in started if job}) == len([job for job in started if job]) == 2


@pytest.mark.every_database
async def test_a_silent_ray_job_loses_its_documents_to_the_workers(jobs: Jobs, bulk: BulkJobs, clock: Clock) -> None:
    job = await accept(jobs, "x", "y")
    await start(bulk)
    (lost, _) = await claim(jobs, job)
    clock.advance(LEASE_S - 1)
    assert await bulk.renew(job, lease_s=LEASE_S)
    clock.advance(LEASE_S - 1)
    assert await claim(jobs) == []
    assert await state(jobs, job) == ("running", None)
    clock.advance(2)
    assert await state(jobs, job) == ("ended", "its Ray Job ended without a word")
    taken = await claim(jobs)
    assert [(task.document_id, task.attempts) for task in taken] == [("x", 2), ("y", 2)]
    await jobs.queue.finish(lost, indexed({1: 1}))
    assert (await jobs.view("a", job.id)).counts["indexed"] == 0
    for task in taken:
        await jobs.queue.finish(task, indexed({1: 1}))
    assert (await jobs.view("a", job.id)).state == "succeeded"


async def test_a_silent_ray_job_makes_room_for_the_next(jobs: Jobs, bulk: BulkJobs, clock: Clock) -> None:
    first = await accept(jobs, "x")
    assert await start(bulk, most=1) == first
    clock.advance(1)
    second = await accept(jobs, "y")
    assert await start(bulk, most=1) is None
    clock.advance(LEASE_S)
    assert await start(bulk, most=1) == second


@pytest.mark.every_database
async def test_renewing_leaves_other_claims_alone(jobs: Jobs, bulk: BulkJobs, clock: Clock) -> None:
    job = await accept(jobs, "x")
    await start(bulk)
    await jobs.queue.claim("another", lease_s=LEASE_S, limit=1, job_id=job.id)
    clock.advance(LEASE_S - 1)
    assert await bulk.renew(job, lease_s=LEASE_S)
    clock.advance(2)
    assert len(await claim(jobs, job)) == 1


@pytest.mark.every_database
async def test_what_has_ended_puts_back_what_it_claimed(jobs: Jobs, bulk: BulkJobs) -> None:
    job = await accept(jobs, "x", "y")
    await start(bulk)
    x, _ = await claim(jobs, job)
    await jobs.queue.finish(x, indexed({}))
    await bulk.end(job, "it was stopped")
    assert await state(jobs, job) == ("ended", "it was stopped")
    await bulk.end(job, "twice")
    assert await state(jobs, job) == ("ended", "it was stopped")
    assert not await bulk.renew(job, lease_s=LEASE_S)
    assert [(task.document_id, task.attempts) for task in await claim(jobs)] == [("y", 2)]


@pytest.mark.every_database
async def test_a_cancelled_one_is_over_at_once_though_its_ray_job_has_documents(jobs: Jobs, bulk: BulkJobs) -> None:
    job = await accept(jobs, "x", "y", "z")
    await start(bulk)
    x, y, z = await claim(jobs, job)
    await jobs.queue.finish(x, indexed({}))
    await jobs.cancel("a", job.id)
    view = await jobs.view("a", job.id)
    assert view.state == "partial"
    assert (view.counts["indexed"], view.counts["cancelled"]) == (1, 2)
    assert view.bulk == BulkView(f"ingest-a-{job.id}", "ended", "its job was cancelled")
    # Its Ray Job is told so by all that it does from now on.
    assert not await bulk.renew(job, lease_s=LEASE_S)
    assert await claim(jobs, job) == []
    assert await claim(jobs) == []
    await jobs.queue.finish(y, indexed({1: 1}))
    await jobs.queue.fail(z, "broken_document", "")
    assert (await jobs.view("a", job.id)).counts["cancelled"] == 2


@pytest.mark.every_database
async def test_a_cancelled_one_that_waits_is_never_started(jobs: Jobs, bulk: BulkJobs) -> None:
    job = await accept(jobs, "x")
    await jobs.cancel("a", job.id)
    assert (await jobs.view("a", job.id)).state == "cancelled"
    assert await start(bulk) is None


async def test_an_ended_one_that_waits_no_more_is_the_workers(jobs: Jobs, bulk: BulkJobs) -> None:
    """The Ray Job could not be submitted."""
    job = await accept(jobs, "x")
    await start(bulk)
    await bulk.end(job, "no dashboard")
    assert [task.document_id for task in await claim(jobs)] == ["x"]


async def test_a_document_deleted_meanwhile_is_not_indexed(jobs: Jobs, bulk: BulkJobs) -> None:
    job = await accept(jobs, "x", "y")
    await start(bulk)
    await Documents(jobs.database).delete("a", "x")
    assert [task.document_id for task in await claim(jobs, job)] == ["y"]


async def test_another_tenants_job_is_not_found(jobs: Jobs, bulk: BulkJobs) -> None:
    job = await accept(jobs, "x")
    await start(bulk)
    others = BulkJob("b", job.id)
    assert not await bulk.renew(others, lease_s=LEASE_S)
    assert await bulk.waiting(others) == 0
    await bulk.end(others)
    assert await state(jobs, job) == ("running", None)
