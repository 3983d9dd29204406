"""What is removed because it has been kept long enough, by one replica at a time."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import asdict
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from deployments.errors import NotFound
from deployments.ingestion.base import ChunkSizes
from deployments.types import EmbedderIdentity
from serve_app.platform.audit import AuditLog
from serve_app.platform.events import Event
from serve_app.platform.idempotency import Idempotency
from serve_app.platform.jobs import Jobs
from serve_app.platform.keys import Keys
from serve_app.platform.query_log import QueryLog, QueryOutcome
from serve_app.platform.reindexing import Reindexing
from serve_app.platform.retention import Retention
from serve_app.platform.retention_config import RetentionConfig
from serve_app.platform.sweeps import LEASE_S, Sweeps
from serve_app.platform.tenants import Tenants
from serve_app.services.sweeper import Sweeper
from serve_app.storage.blobs import Blobs
from serve_app.storage.config import BlobConfig
from serve_app.storage.database import Database
from serve_app.storage.declarative import TenantOwned
from serve_app.storage.log_tables import AuditEntry, QueryLogEntry
from serve_app.storage.tables import ApiKey, IdempotentRequest, Job, JobDocument, WebhookDelivery
from tests.support.storage import Clock, document, indexed

DAY_S = 86_400.0
CONFIG = RetentionConfig(jobs_days=10, audit_days=20, queries_days=5, usage_days=6, keys_days=10)
WEBHOOK = {"url": "https://example.org/hook"}


@pytest.fixture
def retention(database: Database, clock: Clock) -> Retention:
    return Retention(database, CONFIG, idempotency_s=3_600, clock=clock)


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(BlobConfig(url=str(tmp_path / "blobs")))


@pytest.fixture
def sweeper(retention: Retention, blobs: Blobs) -> Sweeper:
    return Sweeper(retention, blobs, "replica")


async def count(database: Database, model: type[TenantOwned], tenant: str = "a") -> int:
    async with database.session() as session:
        found = select(func.count()).select_from(model).where(model.tenant_id == tenant)
        return await session.scalar(found) or 0


async def index_all(jobs: Jobs) -> None:
    while tasks := await jobs.queue.claim("w", lease_s=30, limit=100):
        for task in tasks:
            await jobs.queue.finish(task, indexed({}))


OUTCOME = asdict(QueryOutcome("", "hr", "ok", None, None, 1, 1, 0, 1, (), {}, ""))


@pytest.mark.every_database
async def test_what_has_been_kept_long_enough_is_removed(
    database: Database, jobs: Jobs, clock: Clock, sweeper: Sweeper
) -> None:
    keys = Keys(database, clock=clock)
    await jobs.accept("a", [document(f"d{n}") for n in range(150)])
    await index_all(jobs)
    _, ended = await keys.create_key("a", "ended", expires_at=clock() + timedelta(days=1))
    _, revoked = await keys.create_key("a", "revoked")
    await keys.revoke("a", revoked.id)
    await keys.create_key("a", "stays")
    await AuditLog(database).handle([Event("key.created", "a", ended.id, at=clock())])
    await QueryLog(database).handle([Event("query.completed", "a", "q", OUTCOME, at=clock())])
    await Idempotency(database, lease_s=5, keep_s=3_600, clock=clock).begin("a", "key", "print", "secret")
    models = (IdempotentRequest, QueryLogEntry, Job, JobDocument, ApiKey, AuditEntry)
    begin = clock()
    for day, left in (
        (0.01, (1, 1, 1, 150, 3, 1)),
        (0.2, (0, 1, 1, 150, 3, 1)),
        (4.9, (0, 1, 1, 150, 3, 1)),
        (5.1, (0, 0, 1, 150, 3, 1)),
        (9.9, (0, 0, 1, 150, 3, 1)),
        (10.1, (0, 0, 0, 0, 2, 1)),
        (10.9, (0, 0, 0, 0, 2, 1)),
        (11.1, (0, 0, 0, 0, 1, 1)),
        (19.9, (0, 0, 0, 0, 1, 1)),
        (20.1, (0, 0, 0, 0, 1, 0)),
    ):
        clock.now = begin + timedelta(days=day)
        await sweeper.sweep()
        assert tuple([await count(database, model) for model in models]) == left, day


async def test_what_goes_on_stays(database: Database, jobs: Jobs, clock: Clock, sweeper: Sweeper) -> None:
    await Tenants(database).patch("b", settings={"webhook": WEBHOOK})
    await jobs.accept("b", [document("told")])
    await index_all(jobs)
    await jobs.accept("a", [document("waits")])
    clock.advance(11 * DAY_S)
    await sweeper.sweep()
    assert (await count(database, Job, "a"), await count(database, Job, "b")) == (1, 1)
    await index_all(jobs)
    async with database.transaction() as session:
        await session.execute(update(WebhookDelivery).values(state="delivered"))
    clock.advance(DAY_S)
    await sweeper.sweep()
    assert (await count(database, Job, "a"), await count(database, Job, "b")) == (1, 0), "it ended a day ago"
    assert await count(database, WebhookDelivery, "b") == 0
    clock.advance(10 * DAY_S)
    await sweeper.sweep()
    assert await count(database, Job, "a") == 0


async def test_a_reindexing_that_waits_for_its_switch_stays(
    database: Database, jobs: Jobs, clock: Clock, sweeper: Sweeper
) -> None:
    await jobs.accept("a", [document("d")])
    await index_all(jobs)
    await Reindexing(database, ChunkSizes(100, 10), clock=clock).start("a", EmbedderIdentity("m", "e", 3))
    await index_all(jobs)
    clock.advance(11 * DAY_S)
    await sweeper.sweep()
    assert await count(database, Job) == 1


async def test_a_tenant_may_keep_its_own_longer(
    database: Database, jobs: Jobs, clock: Clock, sweeper: Sweeper, retention: Retention
) -> None:
    await Tenants(database).patch("b", settings={"retention": {"jobs_days": 30}})
    for tenant in ("a", "b"):
        await jobs.accept(tenant, [document("d")])
    await index_all(jobs)
    clock.advance(11 * DAY_S)
    state = await retention.state("a")
    assert (state.days["jobs"], state.waiting["jobs"], state.swept_at) == (10, 1, None)
    state = await retention.state("b")
    assert (state.days["jobs"], state.waiting["jobs"]) == (30, 0)
    await sweeper.sweep()
    assert (await count(database, Job, "a"), await count(database, Job, "b")) == (0, 1)
    state = await retention.service_state()
    assert (state.swept_at, state.removed) == (clock(), {"jobs": 1})
    assert (await retention.state("a")).removed == {}, "other tenants' would be told"
    with pytest.raises(NotFound):
        await retention.state("c")


@pytest.mark.every_database
async def test_bytes_without_a_row_are_removed(
    database: Database, jobs: Jobs, clock: Clock, sweeper: Sweeper, blobs: Blobs
) -> None:
    kept, lost = await blobs.write("a", b"kept"), await blobs.write("a", b"lost")
    await jobs.accept("a", [document("d", blob=kept.key)])
    await index_all(jobs)
    await sweeper.sweep()
    removable = await jobs.queue.list_removable_blobs(10)
    assert [blob.key for blob in removable] == [lost.key]
    await blobs.delete(lost.key)
    await jobs.queue.forget_blobs(removable)
    clock.advance(DAY_S)
    await sweeper.sweep()
    assert await jobs.queue.list_removable_blobs(10) == []


@pytest.mark.every_database
async def test_one_replica_at_a_time_has_a_round(database: Database, clock: Clock) -> None:
    replicas = [Sweeps(Database(database.config), str(n), clock=clock) for n in range(3)]
    claimed = await asyncio.gather(*(each.claim("rows", every_s=3_600) for each in replicas))
    assert sorted(claimed, key=str) == ["", None, None]
    first = replicas[claimed.index("")]
    other = next(each for each in replicas if each is not first)
    assert await first.go_on("rows", "a", Counter(jobs=2))
    clock.advance(LEASE_S - 1)
    assert await other.claim("rows", every_s=3_600) is None
    clock.advance(1)
    assert await other.claim("rows", every_s=3_600) == "a", "the first gave no sign"
    assert not await first.go_on("rows", "b", Counter())
    await first.end("rows", Counter())
    assert await other.go_on("rows", "b", Counter(jobs=1))
    await other.end("rows", Counter(keys=1))
    assert await first.claim("rows", every_s=3_600) is None
    clock.advance(3_600)
    assert await first.claim("rows", every_s=3_600) == ""
    for each in replicas:
        await each.database.close()
