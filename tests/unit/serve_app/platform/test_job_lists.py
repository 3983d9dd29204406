from __future__ import annotations

import pytest

from serve_app.platform.job_states import JobState
from serve_app.platform.jobs import Jobs
from serve_app.storage.database import Database
from tests.support.query_plans import recorded
from tests.support.storage import Clock, document, indexed


async def end(jobs: Jobs, *names: str, tenant: str = "a") -> str:
    """The id of a job whose documents end as their names begin."""
    job = await jobs.accept(tenant, [document(name, name) for name in names])
    for task in await jobs.queue.claim("w", lease_s=30, limit=10):
        if task.document_id.startswith("failed"):
            await jobs.queue.fail(task, "broken_document", "broken")
        else:
            await jobs.queue.finish(task, indexed({}))
    return job.id


async def walk(jobs: Jobs, state: JobState, *, limit: int) -> list[str]:
    """All jobs of tenant `a` in a state, page by page."""
    found: list[str] = []
    after: str | None = ""
    while after is not None:
        page = await jobs.page("a", state=state, after=after, limit=limit)
        found, after = [*found, *(job.id for job in page.rows)], page.next
    return found


@pytest.mark.every_database
@pytest.mark.parametrize("limit", [1, 2, 100])
async def test_jobs_that_ended_badly_are_listed_in_pages(jobs: Jobs, clock: Clock, limit: int) -> None:
    failed, partial, cancelled = list[str](), list[str](), list[str]()
    for number in range(4):
        failed.append(await end(jobs, f"failed {number}", f"failed too {number}"))
        await end(jobs, f"good {number}")
        clock.advance(number % 2)  # some jobs are of one moment
        partial.append(await end(jobs, f"good too {number}", f"failed also {number}"))
        job = await jobs.accept("a", [document(f"cancelled {number}")])
        await jobs.cancel("a", job.id)
        cancelled.append(job.id)
    await end(jobs, "failed elsewhere", tenant="b")
    order = [job.id for job in (await jobs.page("a")).rows]
    ended: dict[JobState, list[str]] = {"failed": failed, "partial": partial, "cancelled": cancelled}
    for state, ids in ended.items():
        assert await walk(jobs, state, limit=limit) == sorted(ids, key=order.index)


async def test_jobs_that_ended_badly_are_found_without_a_scan(jobs: Jobs, database: Database, clock: Clock) -> None:
    for number in range(3):
        failed = await end(jobs, f"failed {number}")
        clock.advance(1)
    with recorded(database) as run:
        assert len((await jobs.page("a", state="failed", after=failed)).rows) == 2
    plans = await run.plans()
    of_jobs = [plan for plan in plans if " jobs " in plan]
    assert any("COVERING INDEX ix_job_documents_ended_badly" in plan and "job_created_at<?" in plan for plan in plans)
    assert any("ix_jobs_tenant_id_reindexes" in plan and "created_at<?" in plan for plan in of_jobs)
    assert not [plan for plan in plans if plan.startswith("SCAN job")]
    walks = [plan for plan in of_jobs if "ix_jobs_tenant_id_created_at_id" in plan]
    assert not walks, "no job is looked at but those that may have failed"
    with recorded(database) as run:
        assert (await jobs.page("b", state="failed")).rows == []
    read = [statement for statement, _ in run.statements if statement.startswith("SELECT")]
    assert len(read) == 2, "where no job may have failed, none is read"


async def test_documents_of_listed_jobs_are_found_by_their_jobs(jobs: Jobs, database: Database) -> None:
    """SQLite is told so: among many documents it would read all of the tenant's. SQLAlchemy drops hints for SQLite."""
    await end(jobs, "good")
    with recorded(database) as run:
        await jobs.page("a")
    hints = [statement for statement, _ in run.statements if "FROM job_documents INDEXED BY ix_" in statement]
    assert len(hints) == 1
    assert any("ix_job_documents_job_id_state_not_before_sequence (job_id=?" in plan for plan in await run.plans())
