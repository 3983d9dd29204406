from __future__ import annotations

from collections.abc import Sequence

import pytest
from sqlalchemy import delete

from deployments.errors import Conflict, NotFound, QuotaExceeded, RateLimited
from deployments.ingestion.base import ChunkSizes, DocumentTask
from deployments.types import EmbedderIdentity
from serve_app.platform.documents import Documents
from serve_app.platform.jobs import Jobs
from serve_app.platform.new_document import NewDocument
from serve_app.platform.reindexing import Reindexing
from serve_app.platform.retries import BYTES_MARGIN_S, LeftOut
from serve_app.platform.tenants import Tenants
from serve_app.storage.database import Database
from serve_app.storage.tables import Job, JobDocument
from tests.support.storage import Clock, delete_collection, document, indexed

KEPT_S = 3_600.0


@pytest.fixture
def jobs(database: Database, clock: Clock) -> Jobs:
    return Jobs(database, keep_failed_s=KEPT_S, clock=clock)


async def failed(jobs: Jobs, *new: NewDocument, tenant: str = "a") -> str:
    """The id of a job all of whose documents failed."""
    job = await jobs.accept(tenant, new)
    for task in await claim(jobs):
        await jobs.queue.fail(task, "broken_document", "broken")
    return job.id


async def claim(jobs: Jobs) -> list[DocumentTask]:
    return await jobs.queue.claim("w", lease_s=30, limit=10)


async def accept_and_index(jobs: Jobs, content: str) -> None:
    """Have the document "d" live with this content."""
    await jobs.accept("a", [document("d", content)])
    [task] = await claim(jobs)
    await jobs.queue.finish(task, indexed({1: 1}))


async def removable(jobs: Jobs) -> list[str]:
    return [blob.key for blob in await jobs.queue.list_removable_blobs(10)]


def ids(documents: Sequence[tuple[str, str]]) -> list[str]:
    return [id for id, _ in documents]


@pytest.mark.every_database
async def test_failed_documents_are_worked_on_again_in_a_job_of_their_own(jobs: Jobs, clock: Clock) -> None:
    job = await jobs.accept("a", [document("good"), document("bad", "bad", filename="bad.pdf", owner="ana")])
    good, bad = await claim(jobs)
    await jobs.queue.finish(good, indexed({1: 1}))
    await jobs.queue.fail(bad, "unavailable", "the stage is down")
    clock.advance(KEPT_S / 2)
    retried = await jobs.retry("a", job.id)
    assert (retried.documents, retried.left_out) == ([("bad", "bad.pdf")], [])
    [task] = await claim(jobs)
    assert (task.job_id, task.document_id, task.owner, task.blob) == (retried.id, "bad", "ana", bad.blob)
    assert (task.attempts, task.progress.done) == (1, 0)
    clock.advance(2 * KEPT_S)
    assert await removable(jobs) == [], "its bytes are needed again"
    [task] = await claim(jobs)  # its lease ran out
    await jobs.queue.finish(task, indexed({1: 1}))
    assert (await jobs.view("a", retried.id)).state == "succeeded"
    assert (await jobs.view("a", job.id)).state == "partial", "the first job stays as it ended"
    with pytest.raises(Conflict, match="1 changed or handed in again since"):
        await jobs.retry("a", job.id)


async def test_a_retry_is_refused_while_one_is_under_way_or_where_nothing_failed(jobs: Jobs) -> None:
    job = await failed(jobs, document("d"))
    retried = await jobs.retry("a", job)
    with pytest.raises(Conflict, match="1 changed or handed in again since"):
        await jobs.retry("a", job)
    with pytest.raises(Conflict, match=f"no document of job {retried.id} failed"):
        await jobs.retry("a", retried.id)
    for tenant, missing in (("a", "job_0"), ("b", job)):
        with pytest.raises(NotFound):
            await jobs.retry(tenant, missing)


async def test_a_retry_can_be_retried_itself(jobs: Jobs) -> None:
    first = await failed(jobs, document("d"))
    second = await jobs.retry("a", first)
    [task] = await claim(jobs)
    await jobs.queue.fail(task, "broken_document", "broken")
    assert ids((await jobs.retry("a", second.id)).documents) == ["d"]


async def test_what_was_deleted_or_handed_in_again_is_left_out(jobs: Jobs, database: Database, clock: Clock) -> None:
    job = await failed(jobs, *(document(name, name) for name in ("deleted", "newer", "cancelled", "same")))
    documents = Documents(database, clock=clock)
    await documents.delete("a", "deleted")
    await jobs.accept("a", [document("newer", "newer text")])
    await jobs.cancel("a", (await jobs.accept("a", [document("cancelled", "cancelled text")])).id)
    retried = await jobs.retry("a", job)
    assert ids(retried.documents) == ["cancelled", "same"]
    assert retried.left_out == [LeftOut("deleted", "deleted"), LeftOut("newer", "replaced")]
    assert (await documents.get("a", "cancelled")).blob == "blob of cancelled", "it is shown as it is worked on"


async def test_a_live_document_that_was_changed_since_is_left_alone(
    jobs: Jobs, database: Database, clock: Clock
) -> None:
    """Also if the job that changed it is not kept any more."""
    job = await failed(jobs, document("d", "first"))
    clock.advance(1)
    later = await jobs.accept("a", [document("d", "second")])
    [task] = await claim(jobs)
    await jobs.queue.finish(task, indexed({1: 1}))
    async with database.transaction() as session:
        await session.execute(delete(JobDocument).where(JobDocument.job_id == later.id))
        await session.execute(delete(Job).where(Job.id == later.id))
    with pytest.raises(Conflict, match="1 changed or handed in again since"):
        await jobs.retry("a", job)


async def test_a_retry_needs_the_bytes_and_they_are_kept_for_a_while(jobs: Jobs, clock: Clock) -> None:
    job = await failed(jobs, document("d"))
    clock.advance(KEPT_S - BYTES_MARGIN_S)
    assert await removable(jobs) == []
    with pytest.raises(Conflict, match=r"1 whose bytes are no longer kept \(retention.failed_bytes_days\)"):
        await jobs.retry("a", job)  # a worker whose clock is ahead may be removing them
    clock.advance(BYTES_MARGIN_S)
    assert await removable(jobs) == ["blob of text"]


async def test_bytes_of_failed_documents_make_room_in_a_full_quota(jobs: Jobs, database: Database) -> None:
    await Tenants(database).patch("a", settings={"quotas": {"bytes": 5}})
    job = await failed(jobs, document("d", "12345"))
    await jobs.accept("a", [document("e", "abcde")])  # d's bytes are there for a while only
    with pytest.raises(QuotaExceeded, match="would keep 10 bytes, its quota is 5"):
        await jobs.retry("a", job)
    with pytest.raises(RateLimited, match="quota of bytes is full"):
        await jobs.reserve("a", {"f": 1})
    assert await removable(jobs) == ["blob of 12345"]
    with pytest.raises(Conflict, match="bytes are no longer kept"):
        await jobs.retry("a", job)


async def test_retried_documents_wait_within_the_tenant_s_bound(database: Database, clock: Clock) -> None:
    jobs = Jobs(database, keep_failed_s=KEPT_S, max_waiting=2, clock=clock)
    job = await failed(jobs, document("1", "1"), document("2", "2"))
    await jobs.accept("a", [document("3", "3")])
    with pytest.raises(RateLimited, match="max_waiting_documents"):
        await jobs.retry("a", job)
    [task] = await claim(jobs)
    await jobs.queue.finish(task, indexed({1: 1}))
    assert ids((await jobs.retry("a", job)).documents) == ["1", "2"]


async def test_a_deleted_collection_s_documents_are_deleted_ones(jobs: Jobs, database: Database, clock: Clock) -> None:
    job = await failed(jobs, document("d", collection="upute"))
    await delete_collection(Documents(database, clock=clock), "a", "upute")
    with pytest.raises(Conflict, match="1 deleted since"):
        await jobs.retry("a", job)


@pytest.mark.parametrize("is_over", [False, True])
async def test_a_reindexing_that_began_since_is_no_change_of_a_document(
    jobs: Jobs, database: Database, clock: Clock, is_over: bool
) -> None:
    """It has a row of each live document, later than the one that failed."""
    await accept_and_index(jobs, "first")
    job = await failed(jobs, document("d", "second"))
    clock.advance(1)
    reindexed = await Reindexing(database, ChunkSizes(), clock=clock).start("a", EmbedderIdentity("m", "e5", 3))
    if is_over:
        [task] = await claim(jobs)
        await jobs.queue.finish(task, indexed({1: 1}, embedder="e5"))
        await jobs.queue.switch_generations()
    assert ((await jobs.view("a", reindexed)).state == "succeeded") is is_over
    assert ids((await jobs.retry("a", job)).documents) == ["d"]


async def test_a_document_that_is_made_again_in_place_is_not_changed(
    jobs: Jobs, database: Database, clock: Clock
) -> None:
    await accept_and_index(jobs, "first")
    before = await Documents(database).get("a", "d")
    job = await failed(jobs, document("d", "second"))
    clock.advance(1)
    await Reindexing(database, ChunkSizes(), clock=clock).start("a", EmbedderIdentity("m", "", 3), collection="default")
    [task] = await claim(jobs)
    await jobs.queue.finish(task, indexed({1: 1}))
    after = await Documents(database).get("a", "d")
    assert (after.version, after.updated_at) == (task.version, before.updated_at)
    assert after.version != before.version
    assert ids((await jobs.retry("a", job)).documents) == ["d"]
    [task] = await claim(jobs)
    await jobs.queue.finish(task, indexed({1: 1}))
    assert (await Documents(database).get("a", "d")).updated_at == clock.now


async def test_a_job_that_reindexes_is_gone_on_with_by_reindexing(jobs: Jobs, database: Database, clock: Clock) -> None:
    await jobs.accept("a", [document("d")])
    [task] = await claim(jobs)
    await jobs.queue.finish(task, indexed({1: 1}))
    job = await Reindexing(database, ChunkSizes(), clock=clock).start("a", EmbedderIdentity("m", "e5", 3))
    with pytest.raises(Conflict, match="POST /v1/reindex"):
        await jobs.retry("a", job)
