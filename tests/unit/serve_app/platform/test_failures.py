from __future__ import annotations

import pytest

from deployments.errors import InvalidRequest, NotFound
from serve_app.platform import failures
from serve_app.platform.jobs import Jobs
from serve_app.platform.retention import Retention
from serve_app.platform.retention_config import RetentionConfig
from serve_app.storage.database import Database
from tests.support.query_plans import recorded
from tests.support.storage import Clock, document, indexed


async def end(jobs: Jobs, *codes: str, tenant: str = "a", prefix: str = "") -> str:
    """The id of a job whose documents fail with these codes, or are indexed where one is empty. Their ids are numbers
    and the codes."""
    ids = [f"{prefix}{number}{code}" for number, code in enumerate(codes)]
    job = await jobs.accept(tenant, [document(id, id, filename=f"{id}.pdf") for id in ids])
    for task in await jobs.queue.claim("w", lease_s=30, limit=len(ids)):
        code = codes[ids.index(task.document_id)]
        if code:
            await jobs.queue.fail(task, code, f"{task.document_id} is wrong")
        else:
            await jobs.queue.finish(task, indexed({}))
    return job.id


async def walk(database: Database, limit: int, error: str | None = None, job_id: str | None = None) -> list[str]:
    """The ids of all failed documents of tenant `a`, page by page."""
    found: list[str] = []
    after: str | None = ""
    while after is not None:
        page = await failures.page(database, "a", error=error, job_id=job_id, after=after, limit=limit)
        assert len(page.rows) <= limit
        found, after = [*found, *(failed.document_id for failed in page.rows)], page.next
    return found


@pytest.mark.every_database
@pytest.mark.parametrize("limit", [1, 2, 100])
async def test_failed_documents_are_listed_by_error_and_job_in_pages(
    jobs: Jobs, database: Database, limit: int
) -> None:
    first = await end(jobs, "broken_document", "", "quota_exceeded", "broken_document")
    await end(jobs, "broken_document", tenant="b", prefix="of b ")
    second = await end(jobs, "unreachable", "broken_document", prefix="x")
    broken = ["x1broken_document", "3broken_document", "0broken_document"]
    assert sorted(await walk(database, limit)) == sorted([*broken, "2quota_exceeded", "x0unreachable"])
    assert sorted(await walk(database, limit, error="broken_document")) == sorted(broken)
    assert await walk(database, limit, error="quota_exceeded") == ["2quota_exceeded"]
    assert await walk(database, limit, error="internal_error") == []
    assert sorted(await walk(database, limit, job_id=second)) == ["x0unreachable", "x1broken_document"]
    assert await walk(database, limit, error="quota_exceeded", job_id=first) == ["2quota_exceeded"]
    assert await walk(database, limit, error="quota_exceeded", job_id=second) == []


async def test_the_job_that_was_handed_in_last_comes_first(jobs: Jobs, database: Database) -> None:
    for number in range(3):
        await end(jobs, "unreachable", prefix=f"{number}-")
    assert await walk(database, 2) == ["2-0unreachable", "1-0unreachable", "0-0unreachable"]


async def test_a_failed_document_says_what_it_was_and_why(jobs: Jobs, database: Database, clock: Clock) -> None:
    job = await jobs.accept("a", [document("d", filename="scan.pdf", owner="ana", collection="zakoni")])
    [task] = await jobs.queue.claim("w", lease_s=30, limit=1)
    clock.advance(5)
    await jobs.queue.fail(task, "broken_document", "scan.pdf: no text in it")
    [failed] = (await failures.page(database, "a")).rows
    assert (failed.job_id, failed.document_id, failed.filename) == (job.id, "d", "scan.pdf")
    assert (failed.owner, failed.collection, failed.failed_at) == ("ana", "zakoni", clock())
    assert (failed.error.code, failed.error.detail) == ("broken_document", "scan.pdf: no text in it")


async def test_what_does_not_exist_is_refused(jobs: Jobs, database: Database) -> None:
    theirs = await end(jobs, "unreachable", tenant="b")
    for job_id in (theirs, "none"):
        with pytest.raises(NotFound, match="does not exist"):
            await failures.page(database, "a", job_id=job_id)
    for after in (f"{theirs}:0unreachable", "none:0", "none", ":"):
        with pytest.raises(InvalidRequest, match="after: there is no document"):
            await failures.page(database, "a", after=after)


async def test_failed_documents_go_with_their_job(jobs: Jobs, database: Database, clock: Clock) -> None:
    await end(jobs, "unreachable")
    clock.advance(2 * 86_400)
    retention = Retention(database, RetentionConfig(jobs_days=1), idempotency_s=60, clock=clock)
    async for _ in retention.expire(""):
        pass
    assert await walk(database, 10) == []


@pytest.mark.parametrize(
    ("error", "of_job", "index"),
    [
        (None, False, "ix_job_documents_failed (tenant_id=?"),
        ("unreachable", False, "ix_job_documents_failed_by_error (tenant_id=? AND error_code=?"),
        (None, True, "ix_job_documents_failed_by_job (job_id=?"),
    ],
)
async def test_no_page_reads_more_than_its_rows(
    jobs: Jobs, database: Database, error: str | None, of_job: bool, index: str
) -> None:
    job = await end(jobs, *["unreachable"] * 3)
    first = await failures.page(database, "a", limit=1)
    with recorded(database) as run:
        await failures.page(database, "a", error=error, job_id=job if of_job else None, after=first.next or "")
    plans = [plan for plan in await run.plans() if "job_documents" in plan and "document_id=?" not in plan]
    assert [index in plan for plan in plans] == [True]
    assert not [plan for plan in await run.plans() if "TEMP B-TREE" in plan]
