"""Tenants take turns in the indexing of their documents."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import or_, select

from deployments.errors import RateLimited
from deployments.ingestion.base import ChunkSizes, DocumentTask
from deployments.types import EmbedderIdentity
from serve_app.platform import claims, turns
from serve_app.platform.bulk import BulkJobs
from serve_app.platform.jobs import ROOM_RETRY_S, Jobs
from serve_app.platform.reindexing import Reindexing
from serve_app.platform.tenants import Tenants
from serve_app.storage.database import Database
from serve_app.storage.tables import IngestionTurn, JobDocument
from tests.support.query_plans import recorded
from tests.support.storage import Clock, document, indexed

LEASE_S = 30.0


async def accept(jobs: Jobs, tenant: str, count: int, *, name: str = "d", content: str = "text") -> None:
    await jobs.accept(tenant, [document(f"{name}{number}", content) for number in range(count)])


async def claim(jobs: Jobs, limit: int = 1) -> list[DocumentTask]:
    return await jobs.queue.claim("w", lease_s=LEASE_S, limit=limit)


async def claim_each(jobs: Jobs, count: int) -> str:
    """The tenants of so many claims, one after the other."""
    return "".join([task.tenant_id for _ in range(count) for task in await claim(jobs)])


async def due(database: Database, tenant: str) -> Any:
    rows = await database.rows(select(IngestionTurn.due).where(IngestionTurn.tenant_id == tenant))
    return rows[0].due


@pytest.mark.every_database
@pytest.mark.parametrize("limit", [1, 4])
async def test_a_tenant_does_not_wait_for_another_ones_queue(jobs: Jobs, limit: int) -> None:
    await accept(jobs, "a", 100)
    await claim(jobs, limit)
    await accept(jobs, "b", 10)
    claimed: list[str] = []
    while claimed.count("b") < 10:
        claimed += [task.tenant_id for task in await claim(jobs, limit)]
    assert len(claimed) <= 20 + limit


@pytest.mark.every_database
async def test_a_tenant_alone_gets_all(jobs: Jobs) -> None:
    await accept(jobs, "a", 10)
    assert [task.document_id for task in await claim(jobs, 6)] == [f"d{number}" for number in range(6)]
    assert len(await claim(jobs, 6)) == 4


@pytest.mark.every_database
async def test_a_weight_is_a_share(jobs: Jobs, database: Database) -> None:
    await Tenants(database).patch("a", settings={"weight": 3})
    await accept(jobs, "a", 40)
    await accept(jobs, "b", 40)
    assert Counter(await claim_each(jobs, 40)) == {"a": 30, "b": 10}


async def test_a_large_document_counts_as_more(jobs: Jobs) -> None:
    await accept(jobs, "a", 20, content="x" * (turns.BYTES_PER_UNIT * 2))
    await accept(jobs, "b", 20)
    assert Counter(await claim_each(jobs, 16)) == {"a": 4, "b": 12}


async def test_a_tenant_that_had_nothing_to_index_gets_no_credit(jobs: Jobs) -> None:
    await accept(jobs, "b", 1)
    await accept(jobs, "a", 60)
    await claim_each(jobs, 31)
    await accept(jobs, "b", 10, name="e")
    assert Counter(await claim_each(jobs, 10)) == {"a": 5, "b": 5}


@pytest.mark.every_database
async def test_documents_of_a_suspended_tenant_wait(jobs: Jobs, database: Database) -> None:
    tenants = Tenants(database)
    await accept(jobs, "a", 20)
    await accept(jobs, "b", 20)
    await tenants.patch("a", suspended=True)
    assert await claim_each(jobs, 10) == "b" * 10
    await tenants.patch("a", suspended=False)
    assert Counter(await claim_each(jobs, 10)) == {"a": 5, "b": 5}


async def test_a_ray_job_of_a_suspended_tenant_waits(jobs: Jobs, database: Database) -> None:
    bulk = BulkJobs(jobs.queue)
    started = await jobs.accept("a", [document("d")], bulk=True)
    assert await bulk.next(most=9, lease_s=LEASE_S) is not None
    await jobs.accept("a", [document("e")], bulk=True)
    await Tenants(database).patch("a", suspended=True)
    assert await bulk.next(most=9, lease_s=LEASE_S) is None
    assert await jobs.queue.claim("w", lease_s=LEASE_S, limit=1, job_id=started.id) == []


@pytest.mark.every_database
async def test_ray_jobs_are_started_by_turns(jobs: Jobs, clock: Clock) -> None:
    bulk = BulkJobs(jobs.queue)
    for tenant in "aaab":
        await jobs.accept(tenant, [document(f"d{clock.elapsed_s}")], bulk=True)
        clock.advance(1)
    started = [await bulk.next(most=3, lease_s=LEASE_S) for _ in range(3)]
    assert [job.tenant_id for job in started if job] == ["a", "b", "a"]


@pytest.mark.every_database
async def test_what_a_ray_job_indexes_counts(jobs: Jobs) -> None:
    bulk = BulkJobs(jobs.queue)
    job = await jobs.accept("a", [document(f"bulk{number}") for number in range(10)], bulk=True)
    assert await bulk.next(most=9, lease_s=LEASE_S) is not None
    await accept(jobs, "b", 20)
    assert len(await jobs.queue.claim("ray job", lease_s=LEASE_S, limit=10, job_id=job.id)) == 10
    await accept(jobs, "a", 20)
    assert await claim_each(jobs, 8) == "b" * 8


@pytest.mark.every_database
async def test_new_documents_come_before_those_that_are_indexed_again(jobs: Jobs, database: Database) -> None:
    await accept(jobs, "a", 2)
    for task in await claim(jobs, 2):
        generation = await jobs.queue.begin_writing(task, EmbedderIdentity("m", "e1", 3))
        await jobs.queue.finish(task, replace(indexed({}), embedder="e1", generation=generation.name))
    await Reindexing(database, ChunkSizes(100, 10), clock=jobs.clock).start("a", EmbedderIdentity("m", "e2", 3))
    await accept(jobs, "b", 2)
    tasks = await claim(jobs, 4)
    assert [(task.tenant_id, bool(task.generation)) for task in tasks] == [
        ("b", False), ("b", False), ("a", True), ("a", True),
    ]  # fmt: skip


@pytest.mark.every_database
async def test_a_worker_that_stops_leaves_its_document_at_the_front(jobs: Jobs) -> None:
    await accept(jobs, "a", 5)
    [first] = await claim(jobs)
    await jobs.queue.retry(first, after_s=0)
    assert [task.document_id for task in await claim(jobs)] == ["d0"]


@pytest.mark.every_database
@pytest.mark.parametrize("ends", ["finish", "fail"])
async def test_a_version_is_claimed_once_the_one_before_it_has_ended(jobs: Jobs, ends: str) -> None:
    await jobs.accept("a", [document("d", "one")])
    [first] = await claim(jobs)
    await jobs.accept("a", [document("d", "two")])
    assert await claim(jobs) == []
    if ends == "finish":
        await jobs.queue.finish(first, indexed({}))
    else:
        await jobs.queue.fail(first, "broken_document", "")
    assert len(await claim(jobs)) == 1


@pytest.mark.every_database
async def test_a_tenant_without_documents_is_not_looked_at(jobs: Jobs, database: Database, clock: Clock) -> None:
    await accept(jobs, "a", 1)
    [task] = await claim(jobs)
    assert await claim(jobs) == []
    assert await due(database, "a") == clock() + timedelta(seconds=LEASE_S)
    await jobs.queue.finish(task, indexed({}))
    clock.advance(LEASE_S)
    assert await claim(jobs) == []
    assert await due(database, "a") is None


async def test_what_nobody_told_of_is_found_a_little_later(jobs: Jobs, database: Database, clock: Clock) -> None:
    """A hidden version was forgotten by a release that wakes nobody, for example."""
    await jobs.accept("a", [document("d", "one")])
    [first] = await claim(jobs)
    await jobs.accept("a", [document("d", "two")])
    assert await claim(jobs) == []
    assert await due(database, "a") == clock() + timedelta(seconds=turns.RECHECK_S)
    assert first.attempts == 1


@pytest.mark.every_database
async def test_no_document_is_missed_that_comes_while_its_tenant_is_found_to_have_none(jobs: Jobs) -> None:
    claimed: list[str] = []

    async def hand_in(name: str) -> None:
        mine = Jobs(Database(jobs.database.config))
        for number in range(8):
            await mine.accept("a", [document(f"{name}{number}")])
        await mine.database.close()

    async def work() -> None:
        mine = Jobs(Database(jobs.database.config))
        while len(claimed) < 24:
            claimed.extend(task.document_id for task in await claim(mine))
        await mine.database.close()

    async with asyncio.timeout(60):
        await asyncio.gather(*(hand_in(name) for name in "xyz"), work(), work())
    assert len(set(claimed)) == len(claimed) == 24


async def test_a_claim_scans_no_queue(jobs: Jobs, database: Database) -> None:
    for tenant in "ab":
        await accept(jobs, tenant, 50)
    with recorded(database) as run:
        assert len(await claim(jobs, 4)) == 4
    plans = await run.plans()
    assert any("ix_job_documents_tenant_id_state_lane" in plan for plan in plans)
    assert any("ix_ingestion_turns_waiting" in plan for plan in plans)
    tables = ("job_documents", "ingestion_turns", "tenants", "unseen_versions")
    assert not [plan for plan in plans for table in tables if plan.startswith(f"SCAN {table}")]


async def test_a_claim_takes_the_same_number_of_statements_for_any_number_of_tenants(
    jobs: Jobs, database: Database
) -> None:
    """All writers of a SQLite file wait for one claim."""
    tenants = ["a", "b", *(f"t{number}" for number in range(6))]
    for tenant in tenants:
        await Tenants(database).ensure(tenant)
        await accept(jobs, tenant, 6)
    counts: list[int] = []
    for limit in (1, 8, 16):
        with recorded(database) as run:
            claimed = await claim(jobs, limit)
        counts.append(len(run.statements))
        assert Counter(task.tenant_id for task in claimed).most_common(1)[0][1] <= 2
        assert len(claimed) == limit
    assert counts[0] == counts[1] == counts[2] <= 13


@pytest.mark.every_database
async def test_a_claim_passes_over_documents_that_another_one_has(jobs: Jobs, database: Database) -> None:
    """On SQLite claims come one after the other."""
    await accept(jobs, "a", 6)
    await accept(jobs, "b", 6)
    others = [Jobs(Database(database.config), clock=jobs.clock) for _ in range(3)]
    claimed = await asyncio.gather(*(claim(each, 4) for each in others))
    for each in others:
        await each.database.close()
    assert [len(tasks) for tasks in claimed] == [4, 4, 4]
    assert len({(task.tenant_id, task.document_id) for tasks in claimed for task in tasks}) == 12


@pytest.mark.every_database
@pytest.mark.parametrize("limit", [1, 4])
async def test_claims_of_the_same_moment_take_each_document_once(jobs: Jobs, database: Database, limit: int) -> None:
    await accept(jobs, "a", 6 * limit)
    await accept(jobs, "b", 6 * limit)
    others = [Jobs(Database(database.config), clock=jobs.clock) for _ in range(6)]
    claimed: list[DocumentTask] = []
    for _ in range(2):
        tasks = await asyncio.gather(*(claim(each, limit) for each in others))
        assert [len(each) for each in tasks] == [limit] * 6, "none gives up while documents wait"
        claimed += [task for each in tasks for task in each]
    for each in others:
        await each.database.close()
    assert len({(task.tenant_id, task.document_id) for task in claimed}) == len(claimed) == 12 * limit


@pytest.mark.parametrize("kind", ["postgresql", "pgbouncer"], indirect=True)
async def test_a_claim_beside_many_others_takes_few_statements_and_no_more_than_it_needs(
    jobs: Jobs, database: Database
) -> None:
    await accept(jobs, "a", 60)
    await accept(jobs, "b", 60)
    other = Database(database.config)
    row = JobDocument
    async with other.transaction() as theirs:
        fronts = select(row).where(row.document_id.in_([f"d{number}" for number in range(50)]))
        assert len((await theirs.scalars(fronts.with_for_update())).all()) == 100
        async with database.transaction() as session:
            with recorded(database) as run:
                [mine] = await claims.in_turn(session, jobs.clock(), 1)
            left = (await theirs.scalars(select(row).with_for_update(skip_locked=True))).all()
    await other.close()
    assert (mine.tenant_id, mine.document_id) == ("a", "d50"), "the first in turn that is free"
    assert len(left) == 119, "it locks what it takes"
    assert len(run.statements) <= 40


@pytest.mark.parametrize("kind", ["postgresql"], indirect=True)
async def test_a_tenant_whose_candidates_are_left_does_not_wait(jobs: Jobs, database: Database) -> None:
    """The third round has all that is free for candidates, and takes one of them."""
    await accept(jobs, "a", 3)
    await accept(jobs, "b", 3)
    other, row = Database(database.config), JobDocument
    async with other.transaction() as theirs:
        first = or_(row.document_id == "d0", (row.document_id == "d1") & (row.tenant_id == "a"))
        assert len((await theirs.scalars(select(row).where(first).with_for_update())).all()) == 3
        tasks = [*await claim(jobs), *await claim(jobs)]
    await other.close()
    assert [(task.tenant_id, task.document_id) for task in tasks] == [("a", "d2"), ("b", "d1")]


@pytest.mark.every_database
async def test_only_so_many_documents_of_a_tenant_wait(database: Database, clock: Clock) -> None:
    jobs = Jobs(database, clock=clock, max_waiting=3)
    await accept(jobs, "a", 2)
    with pytest.raises(RateLimited, match=r"2 documents of the tenant wait.*more than 3") as refused:
        await accept(jobs, "a", 2, name="e")
    assert refused.value.retry_after_s == ROOM_RETRY_S
    await accept(jobs, "a", 1, name="e")
    with pytest.raises(RateLimited):
        await jobs.reserve("a", {})
    await accept(jobs, "b", 3)
    [task] = [task for task in await claim(jobs, 2) if task.tenant_id == "a"]
    await jobs.queue.finish(task, indexed({}))
    await jobs.reserve("a", {})
    await accept(jobs, "a", 1)  # the same again: nothing more waits


async def test_documents_that_are_indexed_again_take_no_room(database: Database, clock: Clock) -> None:
    jobs = Jobs(database, clock=clock, max_waiting=2)
    await accept(jobs, "a", 2)
    for task in await claim(jobs, 2):
        await jobs.queue.finish(task, indexed({}))
    await Reindexing(database, ChunkSizes(100, 10), clock=clock).start(
        "a", EmbedderIdentity("m", "e", 3), collection="default"
    )
    await accept(jobs, "a", 2, name="e")
