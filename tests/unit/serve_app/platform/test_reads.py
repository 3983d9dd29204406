"""What lists and uploads read does not grow with what the tenant, or another one, has."""

from __future__ import annotations

from serve_app.platform.collections import Collections
from serve_app.platform.jobs import Jobs
from serve_app.platform.tenants import Tenants
from serve_app.storage.database import Database
from tests.support.query_plans import Recorded, recorded
from tests.support.storage import document, indexed


async def fill(jobs: Jobs) -> None:
    """Several jobs of two tenants, with documents in several collections, some of them live."""
    for number in range(4):
        for tenant in ("a", "b"):
            await jobs.accept(tenant, [document(f"{number}-{name}", collection=name) for name in ("x", "y")])
    for task in await jobs.queue.claim("w", lease_s=30, limit=8):
        await jobs.queue.finish(task, indexed({1: 1}))


def read(run: Recorded) -> list[str]:
    return [statement for statement, _ in run.statements if statement.startswith("SELECT")]


async def test_a_list_of_collections_reads_no_document(jobs: Jobs, database: Database) -> None:
    await fill(jobs)
    with recorded(database) as run:
        assert sum(each.documents for each in await Collections(database).list("a")) == 4
    assert read(run)
    assert not [statement for statement in read(run) if "FROM documents" in statement or "job_documents" in statement]
    assert not [plan for plan in await run.plans() if plan.startswith("SCAN") or "TEMP B-TREE" in plan]


async def test_a_list_of_jobs_reads_the_tenant_s_newest_ones_in_their_order(jobs: Jobs, database: Database) -> None:
    await fill(jobs)
    with recorded(database) as run:
        first = await jobs.page("a", limit=2)
        assert len((await jobs.page("a", after=first.next or "", limit=2)).rows) == 2
    of_jobs = [plan for plan in await run.plans() if " jobs " in plan and "(tenant_id=? AND id=?)" not in plan]
    assert any("ix_jobs_tenant_id_created_at_id (tenant_id=?" in plan for plan in of_jobs)
    assert not [plan for plan in await run.plans() if plan.startswith("SCAN job")]


async def test_an_upload_under_a_quota_adds_nothing_up(jobs: Jobs, database: Database) -> None:
    """What a tenant has is counted where it changes."""
    await Tenants(database).patch("a", settings={"quotas": {"documents": 100, "bytes": 10_000}})
    await fill(jobs)
    with recorded(database) as run:
        await jobs.reserve("a", {"blob of new": 3})
        await jobs.accept("a", [document("new", "new")])
    assert [statement for statement in read(run) if "tenant_usage" in statement]
    assert not [statement for statement in read(run) if "sum(" in statement.lower()]
    assert not [plan for plan in await run.plans() if plan.startswith(("SCAN documents", "SCAN stored_blobs"))]


async def test_an_upload_without_quotas_does_not_ask_what_there_is(jobs: Jobs, database: Database) -> None:
    await fill(jobs)
    with recorded(database) as run:
        await jobs.reserve("a", {"blob of new": 3})
        await jobs.accept("a", [document("new", "new")])
    assert not [statement for statement in read(run) if "tenant_usage" in statement]
