from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import asdict, replace
from datetime import timedelta
from pathlib import Path

import pytest

from deployments.errors import InvalidRequest
from serve_app.platform import actor
from serve_app.platform.actor import Actor
from serve_app.platform.audit import AuditLog, AuditRecord
from serve_app.platform.collections import Collections
from serve_app.platform.documents import Documents
from serve_app.platform.events import Event, Events
from serve_app.platform.jobs import Jobs
from serve_app.platform.keys import Keys
from serve_app.platform.tenants import Tenants
from serve_app.storage.blobs import Blobs
from serve_app.storage.config import BlobConfig
from serve_app.storage.database import Database
from serve_app.storage.declarative import PLATFORM, utc_now
from serve_app.storage.log_tables import MAX_SUBJECT
from tests.support.storage import Clock, EmptyIndex, delete_collection, document, indexed

CANARY = "tajna-riječ"


@pytest.fixture
def audit(database: Database) -> AuditLog:
    return AuditLog(database)


@pytest.fixture
async def events(database: Database, audit: AuditLog) -> AsyncIterator[Events]:
    events = Events((audit,))
    yield events
    await events.close()


async def told(events: Events, audit: AuditLog, tenant: str = "a") -> list[AuditRecord]:
    """The oldest first."""
    await events.drain()
    return [*reversed((await audit.list(tenant)).entries)]


async def test_the_audit_log_says_who_did_what_and_when(events: Events, audit: AuditLog, database: Database) -> None:
    async def request() -> str:
        actor.act_as(Actor("key_7", "admin", "request-1"))
        _, key = await Keys(database, events).create_key("a", "CI", "query")
        return key.id

    key_id = await asyncio.create_task(request())
    [entry] = await told(events, audit)
    assert replace(entry, at=entry.at) == AuditRecord(
        at=entry.at,
        actor="key_7",
        role="admin",
        request_id="request-1",
        action="key.created",
        subject=key_id,
        details={"role": "query"},
    )
    assert entry.at.utcoffset() == timedelta()


async def test_what_the_service_does_by_itself_is_the_systems(events: Events, audit: AuditLog) -> None:
    events.publish(Event("job.failed", "a", "job_1"))
    [entry] = await told(events, audit)
    assert (entry.actor, entry.role, entry.request_id) == ("system", "system", "")


async def test_every_change_is_in_the_audit_log(events: Events, audit: AuditLog, database: Database) -> None:
    keys, collections = Keys(database, events), Collections(database, events)
    jobs, tenants = Jobs(database, events), Tenants(database, events)
    await tenants.create("c")
    _, key = await keys.create_key("c", "CI")
    _, successor = await keys.rotate("c", key.id, overlap_s=60)
    await keys.revoke("c", successor.id)
    await collections.create("c", "zakoni")
    await collections.patch("c", "zakoni", {"description": "opis"})
    job = await jobs.accept("c", [document("d", collection="zakoni"), document("e", collection="zakoni")])
    for task in await jobs.queue.claim("w", lease_s=30, limit=2):
        await (
            jobs.queue.finish(task, indexed({}))
            if task.document_id == "d"
            else jobs.queue.fail(task, "broken_document", "x")
        )
    await Documents(database, events).delete("c", "d")
    await delete_collection(Documents(database, events), "c", "zakoni")
    await tenants.patch("c", name="C", settings={"default_language": "en"})
    await tenants.patch("c", suspended=True)
    await tenants.patch("c", suspended=False)
    assert [(entry.action, entry.subject) for entry in await told(events, audit, "c")] == [
        ("tenant.created", "c"),
        ("key.created", key.id),
        ("key.rotated", key.id),
        ("key.revoked", successor.id),
        ("collection.created", "zakoni"),
        ("collection.updated", "zakoni"),
        ("job.created", job.id),
        ("document.failed", "e"),
        ("document.deleted", "d"),
        ("collection.deleted", "zakoni"),
        ("tenant.updated", "c"),
        ("tenant.suspended", "c"),
        ("tenant.resumed", "c"),
    ]


async def test_a_job_of_which_nothing_came_is_in_the_audit_log(
    events: Events, audit: AuditLog, database: Database
) -> None:
    jobs = Jobs(database, events)
    job = await jobs.accept("a", [document("d")])
    [task] = await jobs.queue.claim("w", lease_s=30, limit=1)
    await jobs.queue.fail(task, "broken_document", "x")
    assert [(entry.action, entry.subject) for entry in await told(events, audit)] == [
        ("job.created", job.id),
        ("document.failed", "d"),
        ("job.failed", job.id),
    ]


async def test_no_content_is_in_the_audit_log(events: Events, audit: AuditLog, database: Database) -> None:
    jobs, tenants = Jobs(database, events), Tenants(database, events)
    await tenants.patch("a", name=CANARY, settings={"prompt_preamble": CANARY})
    await Collections(database, events).patch("a", "default", {"description": CANARY})
    secret, _ = await Keys(database, events).create_key("a", CANARY)
    await jobs.accept("a", [document("d", CANARY, title=CANARY, filename=CANARY, metadata={CANARY: CANARY})])
    [task] = await jobs.queue.claim("w", lease_s=30, limit=1)
    await jobs.queue.fail(task, "broken_document", f"the page says {CANARY}")
    entries = await told(events, audit)
    assert len(entries) == 6
    assert CANARY not in str(entries)
    assert secret not in str(entries)


async def test_the_audit_log_offers_nothing_but_adding_and_reading() -> None:
    public = {name for name in vars(AuditLog) if not name.startswith("_")}
    assert public == {"handle", "list", "name", "types"}


async def test_the_newest_entries_come_first_and_only_the_tenants_own(events: Events, audit: AuditLog) -> None:
    for n in range(5):
        events.publish(Event("key.created", "b" if n == 3 else "a", str(n)))
    await events.drain()
    assert [entry.subject for entry in (await audit.list("a", limit=2)).entries] == ["4", "2"]
    assert [entry.subject for entry in (await audit.list("b")).entries] == ["3"]


@pytest.mark.every_database
@pytest.mark.parametrize("limit", [1, 2, 3, 7])
async def test_pages_hold_each_entry_once_also_those_of_one_moment(events: Events, audit: AuditLog, limit: int) -> None:
    at = utc_now()
    for n, seconds in enumerate((0, 1, 1, 1, 1, 2, 2)):
        events.publish(Event("key.created", "a", str(n), at=at + timedelta(seconds=seconds)))
        events.publish(Event("key.created", "b", "of another", at=at + timedelta(seconds=seconds)))
    await events.drain()
    subjects, after = list[str](), ""
    while True:
        page = await audit.list("a", after=after, limit=limit)
        subjects += [entry.subject for entry in page.entries]
        if page.next is None:
            break
        after = page.next
    assert subjects == ["6", "5", "4", "3", "2", "1", "0"]


@pytest.mark.parametrize("after", ["x", "1", "1.", "-1.0", f"{10**16}.0", "1.1000000", "1.0\n"])
async def test_what_is_no_cursor_is_refused(audit: AuditLog, after: str) -> None:
    with pytest.raises(InvalidRequest, match=r"after: .* is not the `next` of a page"):
        await audit.list("a", after=after)


async def test_a_subject_too_long_is_cut(events: Events, audit: AuditLog) -> None:
    events.publish(Event("document.deleted", "a", "ž" * (MAX_SUBJECT + 1)))
    [entry] = await told(events, audit)
    assert entry.subject == "ž" * MAX_SUBJECT


@pytest.mark.every_database
async def test_what_happens_to_a_tenant_that_is_gone_is_the_platforms(
    events: Events, audit: AuditLog, database: Database, clock: Clock, tmp_path: Path
) -> None:
    tenants = Tenants(database, events, clock=clock)
    blobs = Blobs(BlobConfig(url=str(tmp_path / "blobs")))
    await tenants.patch("a", name="A")
    removed = await tenants.delete("a", EmptyIndex(), blobs, settle_s=0)
    events.publish(Event("key.revoked", "a", "k"))
    entries = await told(events, audit, PLATFORM)
    assert [(entry.action, entry.subject) for entry in entries] == [("tenant.deleted", "a"), ("key.revoked", "k")]
    assert entries[0].details == asdict(removed)
    assert (await audit.list("a")).entries == []
