"""How those who follow a job hear of it. A replica is a `Database` of its own here, with what is built on it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing

import pytest

from deployments.errors import NotFound, RateLimited, TenantSuspended, Unavailable
from deployments.ingestion.base import DocumentTask, Progress
from serve_app.platform.jobs import Jobs, JobSummary
from serve_app.platform.tenants import Tenants
from serve_app.services import job_progress
from serve_app.services.job_progress import JobProgress
from serve_app.storage import changes
from serve_app.storage.config import StoreConfig
from serve_app.storage.database import Database
from tests.support.query_plans import recorded
from tests.support.storage import document, indexed
from tests.support.waiting import BOUND_S, until

NEVER_S = 10 * BOUND_S
SOON_S = BOUND_S / 2
"""Far less than the polls of these tests, and enough for a busy machine."""


@pytest.fixture
async def worker(migrated: StoreConfig) -> AsyncIterator[Jobs]:
    """The jobs as another process has them."""
    database = Database(migrated)
    yield Jobs(database)
    await database.close()


@pytest.fixture
def here(database: Database) -> Jobs:
    return Jobs(database)


@pytest.fixture(autouse=True)
def no_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_progress, "SAFETY_S", NEVER_S)


def progress_of(jobs: Jobs, *, poll_s: float = NEVER_S, max_streams: int = 100) -> JobProgress:
    tenants = Tenants(jobs.database, cache_s=0)
    return JobProgress(jobs, tenants.active, poll_s=poll_s, max_streams=max_streams)


def count_reads(jobs: Jobs, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The ids of the jobs that are read from now on."""
    asked: list[str] = []
    summary = jobs.summary

    async def counted(tenant_id: str, job_id: str) -> JobSummary:
        asked.append(job_id)
        return await summary(tenant_id, job_id)

    monkeypatch.setattr(jobs, "summary", counted)
    return asked


async def claimed(jobs: Jobs) -> DocumentTask:
    [task] = await jobs.queue.claim("w", lease_s=30, limit=1)
    return task


@pytest.mark.every_database
async def test_each_change_that_another_replica_makes_is_heard(here: Jobs, worker: Jobs) -> None:
    """The change and whom it is told: no poll helps."""
    if "port=6432" in here.database.config.url:
        pytest.skip("nothing is heard through PgBouncer: see storage/test_changes.py")
    job = (await here.accept("a", [document("x")])).id
    states = progress_of(here).states("a", job, BOUND_S)
    assert (await anext(states)).state == "queued"
    await until(lambda: here.database.changes.are_heard)
    task = None

    async def claim() -> None:
        nonlocal task
        task = await claimed(worker)

    def on_task(act: Callable[[DocumentTask], Awaitable[object]]) -> Callable[[], Awaitable[object]]:
        def run() -> Awaitable[object]:
            assert task is not None
            return act(task)

        return run

    queue = worker.queue
    steps: list[tuple[Callable[[], Awaitable[object]], str, int]] = [
        (claim, "parsing", 0),
        (on_task(lambda task: queue.progress(task, "embedding", Progress("", 4, 1))), "embedding", 1),
        (on_task(lambda task: queue.progress(task, "embedding", Progress("", 4, 3))), "embedding", 3),
        (on_task(lambda task: queue.retry(task, after_s=0)), "queued", 3),
        (claim, "parsing", 3),
        (on_task(lambda task: queue.finish(task, indexed({}, passages=4))), "indexed", 4),
    ]
    async with aclosing(states):
        for act, state, done in steps:
            await act()
            async with asyncio.timeout(SOON_S):
                while (seen := await anext(states)).chunks_done != done or not seen.counts[state]:  # type: ignore[index]
                    pass
        assert seen.state == "succeeded"
        with pytest.raises(StopAsyncIteration):
            await anext(states)


@pytest.mark.parametrize("end", ["fail", "cancel"])
async def test_a_bad_end_is_heard(here: Jobs, worker: Jobs, end: str) -> None:
    job = (await here.accept("a", [document("x")])).id
    states = progress_of(here).states("a", job, BOUND_S)
    await anext(states)
    if end == "cancel":
        await worker.cancel("a", job)
    else:
        await worker.queue.fail(await claimed(worker), "broken_document", "no text in it")
    async with aclosing(states), asyncio.timeout(SOON_S):
        seen = [state.state async for state in states]
    assert seen[-1] == {"fail": "failed", "cancel": "cancelled"}[end]


async def test_a_renewed_lease_is_no_change(here: Jobs) -> None:
    await here.accept("a", [document("x")])
    task = await claimed(here)
    told: list[object] = []
    here.database.changes.tell = lambda keys: told.extend(keys)  # type: ignore[method-assign]
    await here.queue.renew("w", [task], lease_s=60)
    assert told == []
    await here.queue.fail(task, "broken_document", "")
    assert told == [task.job_id]


async def test_a_job_is_read_once_for_all_who_follow_it(here: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_progress, "EMBEDDED_REST_S", 0.01)
    job = (await here.accept("a", [document("x")])).id
    asked = count_reads(here, monkeypatch)
    progress = progress_of(here)

    seen: list[list[str]] = [[] for _ in range(50)]

    async def follow(told: list[str]) -> None:
        async with aclosing(progress.states("a", job, BOUND_S)) as states:
            async for state in states:
                told.append(state.state)  # noqa: PERF401 - each as it comes

    following = [asyncio.create_task(follow(told)) for told in seen]
    await until(lambda: seen == [["queued"]] * 50)
    task = await claimed(here)
    await until(lambda: seen == [["queued", "running"]] * 50)
    await here.queue.finish(task, indexed({}))
    await asyncio.gather(*following)
    assert seen == [["queued", "running", "succeeded"]] * 50
    assert len(asked) <= 8, "at most twice a change: SQLite's look at the file does not know its own commits"
    assert not progress._followed


async def test_a_job_that_does_not_change_is_not_read_again(here: Jobs) -> None:
    job = (await here.accept("a", [document("x")])).id

    async def follow() -> None:
        async for _ in progress_of(here).states("a", job, 2 * BOUND_S):
            pass

    following = asyncio.create_task(follow())
    quiet_s = 2 * job_progress.EMBEDDED_REST_S
    async with asyncio.timeout(BOUND_S):
        while True:  # what the first look at the file finds is read once more
            with recorded(here.database) as run:
                await asyncio.sleep(quiet_s)
            if not run.statements:
                break
    following.cancel()
    await asyncio.wait([following])


async def test_changes_that_follow_each_other_are_read_together_at_most_once_a_second(
    here: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = count_reads(here, monkeypatch)
    job = (await here.accept("a", [document("x")])).id
    began = time.monotonic()
    states = progress_of(here).states("a", job, BOUND_S)
    await anext(states)
    task = await claimed(here)
    for done in range(1, 50):
        await here.queue.progress(task, "embedding", Progress("", 50, done))
    async with aclosing(states):
        while (await anext(states)).chunks_done < 49:
            pass
    assert len(asked) <= 1 + (time.monotonic() - began) / job_progress.EMBEDDED_REST_S


@pytest.mark.parametrize(
    ("read_s", "safety_s", "at_least_s", "below_s"), [(0.3, NEVER_S, 3.0, BOUND_S), (1.0, 0.05, 0.05, 8.0)]
)
async def test_a_reader_rests_ten_times_as_long_as_a_read_took_but_not_beyond_the_next_look(
    here: Jobs, monkeypatch: pytest.MonkeyPatch, read_s: float, safety_s: float, at_least_s: float, below_s: float
) -> None:
    reads: list[tuple[float, float]] = []
    summary = here.summary

    async def slow(tenant_id: str, job_id: str) -> JobSummary:
        began = time.monotonic()
        await asyncio.sleep(read_s)
        found = await summary(tenant_id, job_id)
        reads.append((began, time.monotonic()))
        return found

    monkeypatch.setattr(job_progress, "SAFETY_S", safety_s)
    monkeypatch.setattr(here, "summary", slow)
    job = (await here.accept("a", [document("x")])).id

    async def follow() -> None:
        async for _ in progress_of(here).states("a", job, BOUND_S):
            pass

    following = asyncio.create_task(follow())
    await until(lambda: len(reads) == 1)
    await here.cancel("a", job)
    await following
    (_, ended), (began, _) = reads
    assert at_least_s <= began - ended < below_s


@pytest.mark.parametrize("kind", ["pgbouncer"], indirect=True)
async def test_where_nothing_is_heard_jobs_are_polled(here: Jobs, worker: Jobs) -> None:
    job = (await here.accept("a", [document("x")])).id
    states = progress_of(here, poll_s=0.1).states("a", job, BOUND_S)
    await anext(states)
    await worker.cancel("a", job)
    async with aclosing(states), asyncio.timeout(SOON_S):
        assert (await anext(states)).state == "cancelled"


async def test_what_was_told_and_got_lost_is_found_after_a_while(here: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_progress, "SAFETY_S", 0.3)
    monkeypatch.setattr(changes.Changes, "tell", lambda self, keys: None)
    monkeypatch.setattr(changes._OfLoop, "wake", lambda self, keys: None)
    job = (await here.accept("a", [document("x")])).id
    states = progress_of(here).states("a", job, BOUND_S)
    await anext(states)
    await until(lambda: here.database.changes.are_heard)
    await here.cancel("a", job)
    async with aclosing(states), asyncio.timeout(SOON_S):
        assert (await anext(states)).state == "cancelled"


async def test_a_suspended_tenant_s_jobs_are_told_no_more(here: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(job_progress, "SAFETY_S", 0.1)
    job = (await here.accept("a", [document("x")])).id
    states = progress_of(here).states("a", job, BOUND_S)
    await anext(states)
    await Tenants(here.database).patch("a", suspended=True)
    async with aclosing(states), asyncio.timeout(SOON_S):
        with pytest.raises(TenantSuspended):
            await anext(states)


async def test_what_cannot_be_read_is_told_to_all(here: Jobs, monkeypatch: pytest.MonkeyPatch) -> None:
    progress = progress_of(here)
    with pytest.raises(NotFound):
        await anext(progress.states("a", "job_0", 1))
    job = (await here.accept("a", [document("x")])).id
    both = [progress.states("a", job, BOUND_S) for _ in range(2)]
    for states in both:
        await anext(states)

    async def gone(tenant_id: str, job_id: str) -> JobSummary:
        raise Unavailable("the database is busy or gone")

    with monkeypatch.context() as patched:
        patched.setattr(here, "summary", gone)
        await here.cancel("a", job)
        for states in both:
            with pytest.raises(Unavailable):
                await anext(states)
    again = progress.states("a", job, BOUND_S)
    assert (await anext(again)).over, "a new reader begins"
    await again.aclose()


async def test_following_ends_in_time_and_leaves_nothing(here: Jobs) -> None:
    job = (await here.accept("a", [document("x")])).id
    progress = progress_of(here)
    async for _ in progress.states("a", job, 0.1):  # starts what looks at the file, which stays
        pass
    before, began = asyncio.all_tasks(), time.monotonic()
    assert [state.state async for state in progress.states("a", job, 0.3)] == ["queued"]
    assert 0.3 <= time.monotonic() - began < SOON_S
    assert asyncio.all_tasks() <= before
    assert not progress._followed


def test_a_tenant_has_a_bounded_number_of_streams_and_others_their_own(here: Jobs) -> None:
    progress = progress_of(here, max_streams=2)
    with progress.streaming("a"), progress.streaming("a"), progress.streaming("b"):
        with pytest.raises(RateLimited, match=r"follows 2 jobs at once already \(api.max_job_streams\)") as refused:
            progress.check_room("a")
        assert refused.value.retry_after_s
        with pytest.raises(RateLimited), progress.streaming("a"):
            pass
        progress.check_room("b")
    progress.check_room("a")
    assert not progress._streams
