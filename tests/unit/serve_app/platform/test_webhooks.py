from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from sqlalchemy import select

from deployments.ingestion.base import DocumentTask
from serve_app.outbound.config import ReachConfig, WebhookConfig
from serve_app.outbound.delivery_store import Delivery
from serve_app.outbound.http import Http
from serve_app.outbound.webhooks import WebhookSender
from serve_app.platform.documents import Documents
from serve_app.platform.events import Event, Events, SingleEventSubscriber
from serve_app.platform.jobs import Jobs
from serve_app.platform.tenants import Tenants
from serve_app.platform.webhooks import Webhooks
from serve_app.schemas.jobs import job_as_json
from serve_app.storage.blobs import Blobs
from serve_app.storage.config import BlobConfig, StoreConfig
from serve_app.storage.database import Database
from serve_app.storage.tables import WebhookDelivery
from tests.support.site import answer, serving
from tests.support.storage import Clock, EmptyIndex, document, indexed

LEASE_S = 30.0
SECRET = "whsec_" + base64.b64encode(b"k" * 32).decode()
HOOK = {"url": "https://app.example/hooks", "secret": SECRET}


class Told(SingleEventSubscriber):
    name = "the test"
    types = frozenset({"webhook.failed"})

    def __init__(self) -> None:
        self.events: list[Event] = []

    async def handle(self, events: Sequence[Event]) -> None:
        self.events += events


@pytest.fixture
async def webhooks(database: Database, jobs: Jobs, clock: Clock) -> AsyncIterator[Webhooks]:
    """Those of a database whose tenants `a` and `b` both have one."""
    for tenant in ("a", "b"):
        await Tenants(database).patch(tenant, settings={"webhook": HOOK})
    events = Events((Told(),))
    yield Webhooks(database, jobs.view, job_as_json, events, clock=clock)
    await events.close()


async def claim(webhooks: Webhooks, limit: int = 10) -> list[Delivery]:
    return [*await webhooks.claim(lease_s=LEASE_S, limit=limit)]


async def work(jobs: Jobs) -> list[DocumentTask]:
    return await jobs.queue.claim("w", lease_s=LEASE_S, limit=10)


async def ended(jobs: Jobs, tenant: str = "a", *ids: str) -> str:
    """A job that has ended."""
    job = await jobs.accept(tenant, [document(each) for each in ids or ("d",)])
    for task in await work(jobs):
        await jobs.queue.finish(task, indexed({}))
    return job.id


async def rows(database: Database) -> list[tuple[str, str, int]]:
    async with database.session() as session:
        found = await session.scalars(select(WebhookDelivery).order_by(WebhookDelivery.due))
        return [(each.tenant_id, each.state, each.attempts) for each in found]


async def test_messages_of_a_suspended_tenant_wait_until_it_is_resumed(
    webhooks: Webhooks, jobs: Jobs, database: Database, clock: Clock
) -> None:
    await ended(jobs, "a")
    [sent] = await claim(webhooks)
    await webhooks.retry(sent, "its receiver answered 500", after_s=1)
    await ended(jobs, "b")
    await Tenants(database).patch("a", suspended=True)
    clock.advance(86_400)
    assert [message.tenant_id for message in await claim(webhooks)] == ["b"]
    await Tenants(database).patch("a", suspended=False)
    [again] = await claim(webhooks)
    assert (again.id, again.attempts) == (sent.id, 2), "the time of the suspension is no try"


@pytest.mark.every_database
async def test_a_job_is_told_of_once_all_its_documents_are_done_with(webhooks: Webhooks, jobs: Jobs) -> None:
    job = await jobs.accept("a", [document("d1"), document("d2", "other")])
    assert await claim(webhooks) == []
    first, second = await work(jobs)
    await jobs.queue.finish(first, indexed({}))
    assert await claim(webhooks) == []
    await jobs.queue.fail(second, "broken_document", "no text in it")
    [delivery] = await claim(webhooks)
    assert (delivery.tenant_id, delivery.job_id, delivery.attempts) == ("a", job.id, 1)
    assert (delivery.url, delivery.secret) == (HOOK["url"], HOOK["secret"])
    assert SECRET not in repr(delivery)
    message = await webhooks.message(delivery, documents=1)
    assert (message["type"], message["data"]["state"]) == ("job.completed", "partial")
    assert [each["id"] for each in message["data"]["documents"]] == ["d1"]
    assert message["data"]["counts"] == (await jobs.view("a", job.id)).counts
    assert await claim(webhooks) == []


async def test_each_way_to_end_is_told(webhooks: Webhooks, jobs: Jobs, database: Database, clock: Clock) -> None:
    async def told() -> str:
        [delivery] = await claim(webhooks)
        await webhooks.delivered(delivery, keep_s=60)
        state: str = (await webhooks.message(delivery, documents=1))["data"]["state"]
        return state

    await ended(jobs)
    assert await told() == "succeeded"
    await jobs.accept("a", [document("d")])  # as it is live already
    assert await told() == "succeeded"
    await jobs.accept("a", [document("e")])
    await Documents(database).delete("a", "e")
    assert await told() == "cancelled"
    cancelled = await jobs.accept("a", [document("f")])
    await work(jobs)
    await jobs.cancel("a", cancelled.id)
    assert await claim(webhooks) == []
    clock.advance(LEASE_S + 1)  # its worker is gone
    await work(jobs)
    assert await told() == "cancelled"


async def test_only_jobs_accepted_while_there_is_a_webhook_are_told_of(
    jobs: Jobs, database: Database, clock: Clock
) -> None:
    webhooks, tenants = Webhooks(database, jobs.view, job_as_json, clock=clock), Tenants(database)
    await ended(jobs)
    await tenants.patch("a", settings={"webhook": HOOK})
    assert await claim(webhooks) == []
    await ended(jobs)
    await tenants.patch("a", settings={"webhook": None})
    assert await claim(webhooks) == []
    assert await rows(database) == []


@pytest.mark.every_database
async def test_a_receiver_that_lets_wait_holds_up_its_own_tenant_only(
    webhooks: Webhooks, jobs: Jobs, clock: Clock
) -> None:
    first, second, other = await ended(jobs), await ended(jobs), await ended(jobs, "b")
    claimed = await claim(webhooks)
    assert {each.job_id for each in claimed} == {first, other} or {each.job_id for each in claimed} == {second, other}
    assert await claim(webhooks) == []
    for each in claimed:
        await webhooks.retry(each, "slow", after_s=60)
    [next_one] = await claim(webhooks)
    assert next_one.tenant_id == "a"
    assert next_one.job_id not in {each.job_id for each in claimed}
    await webhooks.delivered(next_one, keep_s=60)
    assert await claim(webhooks) == []
    clock.advance(60)
    assert {(each.id, each.attempts) for each in await claim(webhooks)} == {(each.id, 2) for each in claimed}


@pytest.mark.every_database
async def test_a_lost_lease_hands_the_message_on(
    webhooks: Webhooks, jobs: Jobs, database: Database, clock: Clock
) -> None:
    await ended(jobs)
    [lost] = await claim(webhooks)
    clock.advance(LEASE_S)
    [taken] = await claim(webhooks)
    assert (taken.id, taken.attempts) == (lost.id, 2)
    await webhooks.failed(lost, "late", keep_s=60)
    assert await rows(database) == [("a", "sending", 2)]
    await webhooks.delivered(taken, keep_s=60)
    assert await rows(database) == [("a", "delivered", 2)]


async def test_what_came_of_a_message_is_kept_for_a_while(
    webhooks: Webhooks, jobs: Jobs, database: Database, clock: Clock
) -> None:
    await ended(jobs)
    await ended(jobs, "b")
    await jobs.accept("a", [document("waits")])
    for delivery in await claim(webhooks):
        if delivery.tenant_id == "a":
            await webhooks.delivered(delivery, keep_s=60)
        else:
            await webhooks.failed(delivery, "its receiver answered 410", keep_s=60)
    await webhooks.forget()
    assert len(await rows(database)) == 3
    clock.advance(60)
    await webhooks.forget()
    assert await rows(database) == [("a", "expected", 0)]
    await webhooks.events.drain()
    [told] = [event for each in webhooks.events.subscribers if isinstance(each, Told) for event in each.events]
    assert (told.type, told.tenant_id, told.details["problem"]) == ("webhook.failed", "b", "its receiver answered 410")


async def test_a_deleted_tenant_s_messages_are_gone(
    webhooks: Webhooks, jobs: Jobs, database: Database, clock: Clock, tmp_path: Path
) -> None:
    await ended(jobs)
    await ended(jobs, "b")
    claimed = {each.tenant_id: each for each in await claim(webhooks)}
    blobs = Blobs(BlobConfig(url=str(tmp_path / "blobs")))
    await Tenants(database).delete("a", EmptyIndex(), blobs, settle_s=1)
    await webhooks.retry(claimed["a"], "late", after_s=0)
    assert await rows(database) == [("b", "sending", 1)]


@pytest.mark.every_database
async def test_two_senders_tell_of_each_job_once(migrated: StoreConfig) -> None:
    databases = [Database(migrated) for _ in range(3)]
    async with serving() as site:
        site.replies["/hook"] = answer(b"")
        config = WebhookConfig(
            web=ReachConfig(allow_http=True, ports=(site.port,), networks=("127.0.0.1/32",)), poll_s=0.01
        )
        hook = {"url": site.url("/hook"), "secret": SECRET}
        jobs = Jobs(databases[0])
        for tenant in ("a", "b"):
            await Tenants(databases[0]).patch(tenant, settings={"webhook": hook})
        told = [await ended(jobs, tenant) for tenant in ("a", "b") for _ in range(4)]
        senders = [
            WebhookSender(config, Webhooks(database, Jobs(database).view, job_as_json), Http(config.web))
            for database in databases[1:]
        ]
        for sender in senders:
            sender.start()
        async with asyncio.timeout(30):
            while True:
                if {state for _, state, _ in await rows(databases[0])} == {"delivered"}:
                    break
                await asyncio.sleep(0.02)
        for sender in senders:
            await sender.close()
    assert len(site.asked) == len({asked.headers["webhook-id"] for asked in site.asked}) == len(told)
    for database in databases:
        await database.close()
