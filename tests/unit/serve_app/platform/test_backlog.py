from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import update

from deployments.ingestion.base import WaitingDocuments
from deployments.telemetry.metrics import BLOB_BYTES, DOCUMENTS_WAITING, INDEX_PASSAGES, INGESTION_LAG, WEBHOOKS_WAITING
from serve_app.platform import backlog
from serve_app.platform.bulk import BulkJobs
from serve_app.platform.jobs import Jobs
from serve_app.platform.tenants import Tenants
from serve_app.storage.database import Database
from serve_app.storage.tables import WebhookDelivery
from tests.support.recorder import RecordedMetrics
from tests.support.storage import Clock, document, indexed

pytestmark = pytest.mark.every_database


async def test_an_empty_service_has_nothing_waiting(database: Database, clock: Clock) -> None:
    recorder = RecordedMetrics()
    (await backlog.read(database, clock)).record(recorder)
    assert {labels["tenant_class"] for labels, _ in recorder.of(DOCUMENTS_WAITING)} == {"light", "normal", "heavy"}
    for metric in (DOCUMENTS_WAITING, INGESTION_LAG, INDEX_PASSAGES, BLOB_BYTES, WEBHOOKS_WAITING):
        assert {value for _, value in recorder.of(metric)} == {0}


async def test_documents_are_counted_by_their_tenant_s_class_and_the_oldest_one_says_the_lag(
    database: Database, jobs: Jobs, clock: Clock
) -> None:
    await Tenants(database).patch("b", settings={"weight": 4})
    await jobs.accept("a", [document("d", "text"), document("e", "texts")])
    clock.advance(40)
    await jobs.accept("b", [document("f")])
    [first] = await jobs.queue.claim("w", lease_s=30, limit=1)
    await jobs.queue.finish(first, indexed({1: 1}, passages=3))
    clock.advance(2)
    read = await backlog.read(database, clock)
    left = {"a": 42.0, "b": 2.0}
    assert read.waiting == {"light": 0, "normal": 2 - (first.tenant_id == "a"), "heavy": first.tenant_id != "b"}
    assert read.lag_s == left["a"]
    assert (read.documents, read.passages) == (3, 3)
    assert read.bytes == 4 + 5 + 4


async def test_documents_of_a_ray_job_wait_too_and_those_of_a_suspended_tenant_do_not(
    database: Database, jobs: Jobs, clock: Clock
) -> None:
    await jobs.accept("a", [document("d"), document("e")], bulk=True)
    clock.advance(7)
    assert (await backlog.read(database, clock)).waiting["normal"] == 2
    assert await BulkJobs(jobs.queue).next(most=1, lease_s=60)
    read = await backlog.read(database, clock)
    assert (read.waiting["normal"], read.lag_s) == (2, 7)
    await Tenants(database).patch("a", suspended=True)
    read = await backlog.read(database, clock)
    assert (read.waiting["normal"], read.lag_s) == (0, 0)


async def test_workers_are_told_of_what_they_may_claim_and_since_when(
    database: Database, jobs: Jobs, clock: Clock
) -> None:
    assert await jobs.queue.waiting_documents() == WaitingDocuments(0, 0.0)
    await jobs.accept("a", [document("d"), document("e")])
    clock.advance(40)
    await jobs.accept("b", [document("f")])
    await jobs.accept("b", [document("g")], bulk=True)  # a Ray Job's
    clock.advance(2)
    assert await jobs.queue.waiting_documents() == WaitingDocuments(3, 42.0)
    await jobs.queue.claim("w", lease_s=30, limit=1)
    assert (await jobs.queue.waiting_documents()).documents == 2
    await Tenants(database).patch("a", suspended=True)
    await Tenants(database).patch("b", suspended=True)
    assert await jobs.queue.waiting_documents() == WaitingDocuments(0, 0.0)


async def test_messages_are_counted_until_they_are_sent(database: Database, jobs: Jobs, clock: Clock) -> None:
    await Tenants(database).patch("a", settings={"webhook": {"url": "https://app.example/hooks"}})
    await jobs.accept("a", [document("d")])
    counts = []
    for state in ("expected", "waiting", "sending", "delivered", "failed"):
        async with database.transaction() as session:
            await session.execute(update(WebhookDelivery).values(state=state))
        counts.append((await backlog.read(database, clock)).webhooks)
    assert counts == [0, 1, 1, 0, 0]


async def test_a_message_that_is_to_be_sent_again_later_and_those_of_a_suspended_tenant_are_not_due(
    database: Database, jobs: Jobs, clock: Clock
) -> None:
    await Tenants(database).patch("a", settings={"webhook": {"url": "https://app.example/hooks"}})
    await jobs.accept("a", [document("d")])

    async def due_in(seconds: float, state: str = "waiting") -> int:
        async with database.transaction() as session:
            due = clock() + timedelta(seconds=seconds)
            await session.execute(update(WebhookDelivery).values(state=state, due=due))
        return (await backlog.read(database, clock)).webhooks

    assert await due_in(0) == 1
    assert await due_in(30) == 0
    clock.advance(30)
    assert (await backlog.read(database, clock)).webhooks == 1
    assert await due_in(30, "sending") == 1, "until then a sender has it"
    await Tenants(database).patch("a", suspended=True)
    assert await due_in(0) == 0
