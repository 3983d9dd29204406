from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import asdict
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select

from deployments.errors import Conflict, InvalidRequest, NotFound, QuotaExceeded, TenantSuspended, Unavailable
from deployments.ingestion.base import DocumentTask
from serve_app.platform import tenants as tenants_module
from serve_app.platform.audit import AuditLog
from serve_app.platform.collections import Collections
from serve_app.platform.documents import Documents
from serve_app.platform.events import Event, Events
from serve_app.platform.idempotency import Claim, Idempotency
from serve_app.platform.jobs import Jobs
from serve_app.platform.keys import Keys
from serve_app.platform.new_document import NewDocument
from serve_app.platform.query_log import QueryLog, QueryOutcome
from serve_app.platform.tenant_settings import Limits, Quotas, Settings, require_open
from serve_app.platform.tenants import Removed, Tenants, TenantView
from serve_app.storage.blobs import Blobs
from serve_app.storage.config import BlobConfig, StoreConfig
from serve_app.storage.database import Database
from serve_app.storage.declarative import PLATFORM, TenantOwned
from serve_app.storage.tables import Document, Job, LexicalTotal, RefilledDocument, StoredGeneration
from tests.support.storage import Clock, EmptyIndex, delete_collection, document, indexed

LEASE_S = 30.0
SECRET = f"rag_00000000_{'s' * 43}"


class Index:
    """Counts the passages of each tenant, and can be held up or broken on its next purge."""

    def __init__(self) -> None:
        self.passages = {"a": 7, "b": 5}
        self.before: Callable[[], Any] | None = None

    async def purge(self, tenant_id: str, *, collection: str = "") -> int:
        if self.before is not None:
            before, self.before = self.before, None
            await before()
        return self.passages.pop(tenant_id, 0)


@pytest.fixture
def tenants(database: Database, clock: Clock) -> Tenants:
    return Tenants(database, clock=clock, timer=clock.monotonic, models=("Qwen/Qwen3-8B",))


@pytest.fixture
def blobs(tmp_path: Path) -> Blobs:
    return Blobs(BlobConfig(url=str(tmp_path / "blobs")))


@pytest.fixture
def index() -> Index:
    return Index()


def elsewhere(jobs: Jobs, *, timeout_s: float = 10.0) -> Jobs:
    """Those of another replica."""
    config: StoreConfig = jobs.database.config.model_copy(update={"timeout_s": timeout_s})
    return Jobs(Database(config), clock=jobs.clock)


async def claim_one(jobs: Jobs) -> DocumentTask:
    [task] = await jobs.queue.claim("w", lease_s=LEASE_S, limit=1)
    return task


async def owned_rows(database: Database, tenant: str) -> dict[str, int]:
    """How many rows each table holds of a tenant."""
    async with database.session() as session:
        return {
            model.__tablename__: await session.scalar(
                select(func.count()).select_from(model).where(model.tenant_id == tenant)
            )
            or 0
            for model in TenantOwned.__subclasses__()
        }


async def fill(database: Database, tenant: str) -> None:
    """Something in every table."""
    jobs, events = Jobs(database), Events((AuditLog(database), QueryLog(database)))
    await Tenants(database).patch(tenant, settings={"webhook": {"url": "https://app.example/hooks"}})
    await Keys(database, events).create_key(tenant, "CI")
    await Collections(database, events).create(tenant, "zakoni")
    await jobs.accept(tenant, [document("d", collection="zakoni"), document("e", "longer text", owner="ana")])
    for task in await jobs.queue.claim("w", lease_s=LEASE_S, limit=2):
        await jobs.queue.finish(task, indexed({1: 1}))
    await jobs.accept(tenant, [document("d", "other text", collection="zakoni")])
    for task in await jobs.queue.claim("w", lease_s=LEASE_S, limit=2):
        await jobs.queue.finish(task, indexed({1: 1}))
    assert isinstance(await Idempotency(database, lease_s=60, keep_s=60).begin(tenant, "k", "r", SECRET), Claim)
    of_refill = {"tenant_id": tenant, "document_id": "d", "version": "v", "passages": 1, "terms": b"", "chunking": "c"}
    async with database.transaction() as session:
        session.add(StoredGeneration(tenant_id=tenant, name="g", embedder="e", dimension=4, state="filling"))
        session.add(RefilledDocument(generation="g", **of_refill))
    outcome = QueryOutcome("u", "hr", "stop", "vllm", "tiny", 1, 1, 0, 1, (), {}, "")
    events.publish(Event("query.completed", tenant, f"query of {tenant}", asdict(outcome)))
    await events.drain()
    await events.close()


# --- Creating and reading


async def test_a_tenant_is_kept_as_it_was_created(tenants: Tenants, clock: Clock) -> None:
    settings = Settings(
        default_language="en", model="Qwen/Qwen3-8B", limits=Limits(top_k=3), quotas=Quotas(documents=10)
    )
    made = await tenants.create("acme.hr-1", "Acme", settings)
    assert made == TenantView("acme.hr-1", "Acme", "active", settings, clock(), clock())
    assert await tenants.get("acme.hr-1") == await tenants.active("acme.hr-1") == made
    assert [each.name for each in await Collections(tenants.database).list("acme.hr-1")] == ["default"]


async def test_a_tenant_without_a_name_has_its_ids(tenants: Tenants) -> None:
    assert (await tenants.create("c")).name == "c"


@pytest.mark.every_database
async def test_an_id_is_taken_once(tenants: Tenants) -> None:
    await tenants.patch("a", name="the first")
    with pytest.raises(Conflict, match="'a' exists; choose another id"):
        await tenants.create("a", "the second")
    await tenants.ensure("a", "the third")
    assert (await tenants.get("a")).name == "the first"


@pytest.mark.every_database
async def test_of_two_who_create_the_same_one_does(tenants: Tenants) -> None:
    other = Tenants(Database(tenants.database.config))
    ends = await asyncio.gather(tenants.create("c"), other.create("c"), return_exceptions=True)
    assert sorted(type(end).__name__ for end in ends) == ["Conflict", "TenantView"]
    await other.database.close()


@pytest.mark.parametrize("tenant", ["", ".a", "a/b", "č", "x" * 65, PLATFORM])
async def test_an_unlawful_id_is_refused(tenants: Tenants, tenant: str) -> None:
    with pytest.raises(InvalidRequest, match="use 1 to 64 of"):
        await tenants.create(tenant)


@pytest.mark.parametrize("tenant", ["nobody", PLATFORM])
async def test_what_is_no_tenant_is_not_found(tenants: Tenants, tenant: str, blobs: Blobs) -> None:
    for use in (
        tenants.get(tenant),
        tenants.active(tenant),
        tenants.patch(tenant, name="x"),
        tenants.delete(tenant, EmptyIndex(), blobs, settle_s=0),
    ):
        with pytest.raises(NotFound, match="does not exist"):
            await use


@pytest.mark.every_database
async def test_tenants_are_listed_page_by_page(tenants: Tenants) -> None:
    for tenant in ("e", "c", "d"):
        await tenants.create(tenant)
    listed: list[str] = []
    while page := await tenants.list(after=listed[-1] if listed else "", limit=2):
        assert len(page) <= 2
        listed += [each.id for each in page]
    assert listed == ["a", "b", "c", "d", "e"]


# --- Settings


async def test_settings_are_merged_key_by_key(tenants: Tenants, clock: Clock) -> None:
    created_at = clock()
    await tenants.create("c", settings=Settings(default_language="en", quotas=Quotas(documents=10, chunks=5)))
    clock.advance(60)
    view = await tenants.patch("c", settings={"quotas": {"documents": 20}, "prompt_preamble": "Kratko."})
    expected = Settings(default_language="en", prompt_preamble="Kratko.", quotas=Quotas(documents=20, chunks=5))
    assert view == TenantView("c", "c", "active", expected, created_at, clock())
    assert await tenants.get("c") == view


async def test_null_resets_a_setting_and_what_lies_under_it(tenants: Tenants) -> None:
    settings = Settings(default_language="en", limits=Limits(top_k=3), quotas=Quotas(documents=10, chunks=5))
    await tenants.create("c", settings=settings)
    view = await tenants.patch("c", settings={"default_language": None, "limits": None, "quotas": {"chunks": None}})
    assert view.settings == Settings(quotas=Quotas(documents=10))


async def test_a_patch_of_the_name_leaves_the_settings(tenants: Tenants) -> None:
    await tenants.patch("a", settings={"quotas": {"documents": 1}})
    assert (await tenants.patch("a", name="A")).settings.quotas.documents == 1


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"quotas": {"documents": -1}}, "settings.quotas.documents: Input should be greater than or equal to 0"),
        ({"quotas": 3}, "settings.quotas: "),
        ({"limits": {"top_k": 0}}, "settings.limits.top_k: "),
        ({"limits": {"tpo_k": 1}}, "settings.limits.tpo_k: there is no such field; leave it out"),
        ({"default_language": "de"}, "settings.default_language: "),
        ({"prompt_preamble": "x" * 4_001}, "settings.prompt_preamble: "),
        ({"model": "gpt-5"}, "settings.model: 'gpt-5' is not deployed; there is 'Qwen/Qwen3-8B'"),
    ],
)
async def test_settings_that_cannot_be_are_refused_whole(tenants: Tenants, settings: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidRequest, match=f"^{says}"):
        await tenants.patch("a", name="new", settings={"quotas": {"chunks": 1}, **settings})
    view = await tenants.get("a")
    assert (view.name, view.settings) == ("a", Settings())


async def test_a_tenant_cannot_begin_with_a_model_that_is_not_deployed(tenants: Tenants) -> None:
    with pytest.raises(InvalidRequest, match="'gpt-5' is not deployed"):
        await tenants.create("c", settings=Settings(model="gpt-5"))
    with pytest.raises(InvalidRequest, match="there is none to choose from"):
        await Tenants(tenants.database).create("c", settings=Settings(model="gpt-5"))
    with pytest.raises(NotFound):
        await tenants.get("c")


@pytest.mark.every_database
async def test_patches_at_once_are_all_kept(tenants: Tenants) -> None:
    names = ("documents", "bytes", "chunks")
    others = [Tenants(Database(tenants.database.config)) for _ in names]
    await asyncio.gather(
        *(other.patch("a", settings={"quotas": {name: 1}}) for other, name in zip(others, names, strict=True))
    )
    assert (await tenants.get("a")).settings.quotas == Quotas(documents=1, bytes=1, chunks=1)
    for other in others:
        await other.database.close()


# --- Suspending


async def test_a_suspended_tenant_may_not_work_until_it_is_resumed(tenants: Tenants) -> None:
    await tenants.active("a")
    assert (await tenants.patch("a", suspended=True)).status == "suspended"
    with pytest.raises(TenantSuspended, match="ask the platform to resume it"):
        await tenants.active("a")
    assert (await tenants.get("a")).status == "suspended"
    await tenants.patch("a", suspended=False)
    assert (await tenants.active("a")).status == "active"


async def test_another_replica_notices_a_suspension_within_five_seconds(tenants: Tenants, clock: Clock) -> None:
    other = Tenants(Database(tenants.database.config), clock=clock, timer=clock.monotonic)
    await other.active("a")
    await tenants.patch("a", suspended=True)
    clock.advance(4.9)
    assert (await other.active("a")).status == "active", "it is remembered, so that not every request asks"
    clock.advance(0.1)
    with pytest.raises(TenantSuspended):
        await other.active("a")
    await tenants.patch("a", suspended=False)
    assert (await other.active("a")).status == "active", "a refusal is not remembered"
    await other.database.close()


async def test_a_clock_set_back_does_not_prolong_what_is_remembered(tenants: Tenants, clock: Clock) -> None:
    other = Tenants(Database(tenants.database.config), clock=clock, timer=clock.monotonic)
    await other.active("a")
    await tenants.patch("a", suspended=True)
    clock.set_back(60)
    clock.advance(5)
    with pytest.raises(TenantSuspended):
        await other.active("a")
    await other.database.close()


async def test_the_cache_of_active_tenants_is_bounded(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("serve_app.platform.tenants.MAX_CACHED_TENANTS", 1)
    tenants = Tenants(database)
    for tenant in ("a", "b"):
        await tenants.active(tenant)
    assert [*tenants._active] == ["b"]


# --- Deleting


@pytest.mark.every_database
async def test_a_deleted_tenant_leaves_no_row_and_its_removal_is_counted(
    tenants: Tenants, database: Database, blobs: Blobs, index: Index
) -> None:
    for tenant in ("a", "b"):
        await fill(database, tenant)
        await blobs.write(tenant, b"12345")
        await blobs.write(tenant, b"678")
    before = await owned_rows(database, "b")
    assert all((await owned_rows(database, "a")).values()), "each table must hold something to remove"
    removed = await tenants.delete("a", index, blobs, settle_s=0)
    assert removed == Removed(passages=7, documents=2, blobs=2, bytes=8, keys=1, jobs=2, collections=2)
    assert not any((await owned_rows(database, "a")).values())
    with pytest.raises(NotFound):
        await tenants.get("a")
    assert await owned_rows(database, "b") == before
    assert index.passages == {"b": 5}
    assert await blobs.delete_tenant("a") == (0, 0)
    assert await blobs.delete_tenant("b") == (2, 8)


async def test_a_deleted_tenants_key_is_no_key(tenants: Tenants, blobs: Blobs, clock: Clock) -> None:
    keys = Keys(tenants.database, clock=clock, timer=clock.monotonic)
    secret, _ = await keys.create_key("a", "CI")
    await keys.authenticate(secret)
    await tenants.active("a")
    await tenants.delete("a", EmptyIndex(), blobs, settle_s=0)
    with pytest.raises(NotFound):
        await tenants.active("a")


async def test_a_tenant_created_anew_has_nothing_of_the_one_before(
    tenants: Tenants, database: Database, blobs: Blobs
) -> None:
    await fill(database, "a")
    await tenants.delete("a", EmptyIndex(), blobs, settle_s=0)
    await tenants.create("a")
    assert {name for name, rows in (await owned_rows(database, "a")).items() if rows} == {"collections"}


async def test_a_document_that_waits_is_not_waited_for(tenants: Tenants, jobs: Jobs, blobs: Blobs) -> None:
    await jobs.accept("a", [document("d")])
    assert (await tenants.delete("a", EmptyIndex(), blobs, settle_s=0)).documents == 1
    assert await jobs.queue.claim("w", lease_s=LEASE_S, limit=1) == []


async def test_a_workers_document_is_waited_for_and_given_up_by_it(
    tenants: Tenants, jobs: Jobs, blobs: Blobs, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve_app.platform.tenants._POLL_S", 0.01)
    job = await jobs.accept("a", [document("d")])
    task = await claim_one(jobs)
    with pytest.raises(Unavailable):
        await tenants.delete("a", index, blobs, settle_s=0)
    seen = []

    async def look() -> None:
        seen.append((await jobs.view("a", job.id)).state)

    index.before = look
    deleting = asyncio.create_task(tenants.delete("a", index, blobs, settle_s=60))
    with pytest.raises(NotFound):
        await jobs.queue.finish(task, indexed({1: 1}))
    await jobs.queue.fail(task, "not_found", "")
    assert (await deleting).documents == 1
    assert seen == ["cancelled"], "the passages are removed once nobody writes any more"


@pytest.mark.every_database
async def test_a_worker_that_takes_too_long_is_unavailable_and_the_next_call_goes_on(
    tenants: Tenants, jobs: Jobs, blobs: Blobs, index: Index, clock: Clock
) -> None:
    await jobs.accept("a", [document("d")])
    await claim_one(jobs)
    with pytest.raises(Unavailable, match=r"1 documents of tenant 'a' .* after 0 s.*delete it again"):
        await tenants.delete("a", index, blobs, settle_s=0)
    assert index.passages == {"a": 7, "b": 5}, "the worker's passages would come after"
    assert (await tenants.get("a")).status == "deleting"
    clock.advance(LEASE_S)
    removed = await tenants.delete("a", index, blobs, settle_s=0)
    assert (removed.documents, removed.passages) == (1, 7)


@pytest.mark.every_database
async def test_a_dead_workers_document_is_not_handed_to_another(
    tenants: Tenants, jobs: Jobs, blobs: Blobs, clock: Clock
) -> None:
    await jobs.accept("a", [document("d")])
    await claim_one(jobs)
    with pytest.raises(Unavailable):
        await tenants.delete("a", EmptyIndex(), blobs, settle_s=0)
    clock.advance(LEASE_S)
    assert await jobs.queue.claim("other", lease_s=LEASE_S, limit=1) == []


async def test_a_deletion_that_failed_halfway_goes_on(
    tenants: Tenants, database: Database, blobs: Blobs, index: Index
) -> None:
    async def fail() -> None:
        raise Unavailable("the index does not answer")

    await fill(database, "a")
    index.before = fail
    with pytest.raises(Unavailable):
        await tenants.delete("a", index, blobs, settle_s=0)
    assert (await tenants.delete("a", index, blobs, settle_s=0)).documents == 2


@pytest.mark.every_database
async def test_nothing_is_accepted_from_a_tenant_being_deleted(
    tenants: Tenants, jobs: Jobs, database: Database, blobs: Blobs, index: Index
) -> None:
    _, key = await Keys(database).create_key("a", "CI")
    await fill(database, "a")
    tried: list[bool] = []

    async def everything() -> None:
        tried.append(True)
        refused = [
            jobs.accept("a", [document("new")]),
            Collections(database).create("a", "nova"),
            Keys(database).create_key("a", "new"),
            Keys(database).rotate("a", key.id, overlap_s=0),
            Idempotency(database, lease_s=60, keep_s=60).begin("a", "new", "r", SECRET),
            Documents(database).delete("a", "d"),
            delete_collection(Documents(database), "a", "zakoni"),
            tenants.patch("a", name="saved"),
            tenants.patch("a", suspended=False),
            tenants.active("a"),
        ]
        for each in refused:
            with pytest.raises(NotFound):
                await each
        with pytest.raises(Conflict):
            await tenants.create("a")

    index.before = everything
    await tenants.delete("a", index, blobs, settle_s=0)
    assert tried
    assert not any((await owned_rows(database, "a")).values())
    with pytest.raises(NotFound):
        await jobs.accept("a", [document("late")])


@pytest.mark.every_database
async def test_uploads_and_logs_while_a_tenant_is_deleted_leave_nothing(
    tenants: Tenants, jobs: Jobs, database: Database, blobs: Blobs
) -> None:
    """A call that comes too late gets NotFound, and no worse error."""
    events = Events((AuditLog(database), QueryLog(database)))
    others = [elsewhere(jobs) for _ in range(3)]
    begun = asyncio.Event()

    async def upload(name: str, mine: Jobs) -> int:
        for n in range(1_000):
            try:
                await mine.accept("a", [document(f"{name}{n}")])
            except NotFound:
                return n
            events.publish(Event("key.created", "a", "k"))
            begun.set()
        raise AssertionError("the tenant is still there")

    uploads = [asyncio.create_task(upload(str(n), mine)) for n, mine in enumerate(others)]
    await begun.wait()
    removed = await tenants.delete("a", EmptyIndex(), blobs, settle_s=0)
    assert removed.documents == removed.jobs == sum(await asyncio.gather(*uploads))
    await events.drain()
    await events.close()
    assert not any((await owned_rows(database, "a")).values())
    for mine in others:
        await mine.database.close()


# --- Quotas


@pytest.mark.every_database
@pytest.mark.parametrize(
    ("quota", "says"),
    [
        ({"documents": 2}, "the tenant would keep 3 documents, its quota is 2"),
        ({"bytes": 11}, "the tenant would keep 12 bytes, its quota is 11"),
    ],
)
async def test_a_job_over_a_quota_is_refused_whole(
    tenants: Tenants, jobs: Jobs, database: Database, quota: dict[str, int], says: str
) -> None:
    await tenants.patch("a", settings={"quotas": quota})
    await jobs.accept("a", [document("d", "1234"), document("e", "5678")])
    with pytest.raises(QuotaExceeded, match=says):
        await jobs.accept("a", [document("f", "9012", collection="nova")])
    await jobs.accept("a", [document("d", "4321")])
    await jobs.accept("b", [document("f", "9012")])
    assert await Collections(database).names("a") == ["default"]
    assert (await owned_rows(database, "a"))["jobs"] == 2


async def test_what_is_deleted_makes_room(tenants: Tenants, jobs: Jobs, database: Database) -> None:
    await tenants.patch("a", settings={"quotas": {"documents": 1, "bytes": 4, "chunks": 2}})
    for name in ("d", "e"):
        await jobs.accept("a", [document(name, "1234")])
        await jobs.queue.finish(await claim_one(jobs), indexed({1: 1}, passages=2))
        await Documents(database).delete("a", name)


async def test_the_chunk_quota_counts_what_a_new_version_replaces(tenants: Tenants, jobs: Jobs) -> None:
    await tenants.patch("a", settings={"quotas": {"chunks": 3}})
    await jobs.accept("a", [document("d", "one")])
    await jobs.queue.finish(await claim_one(jobs), indexed({1: 1}, passages=3))
    await jobs.accept("a", [document("d", "two", title="new")])
    task = await claim_one(jobs)
    with pytest.raises(QuotaExceeded, match="the tenant would keep 4 chunks, its quota is 3"):
        await jobs.queue.finish(task, indexed({1: 1}, passages=4))
    await jobs.queue.finish(task, indexed({1: 1}, passages=2))


@pytest.mark.every_database
@pytest.mark.parametrize(("quota", "kept"), [({"documents": 5}, 5), ({"bytes": 23}, 5)])
async def test_document_and_byte_quotas_are_exact_when_many_hand_in_at_once(
    tenants: Tenants, jobs: Jobs, database: Database, quota: dict[str, int], kept: int
) -> None:
    await tenants.patch("a", settings={"quotas": quota})
    others = [elsewhere(jobs) for _ in range(4)]

    async def hand_in(name: str, mine: Jobs) -> int:
        done = 0
        for n in range(3):
            try:
                await mine.accept("a", [document(f"{name}{n}", "1234", blob=f"{name}{n}")])
                done += 1
            except QuotaExceeded:
                pass
        await mine.database.close()
        return done

    accepted = await asyncio.gather(*(hand_in(str(n), mine) for n, mine in enumerate(others)))
    assert sum(accepted) == kept
    async with database.session() as session:
        assert await session.scalar(select(func.count()).select_from(Document)) == kept
        assert await session.scalar(select(func.count()).select_from(Job)) == kept


@pytest.mark.every_database
async def test_the_chunk_quota_is_exact_when_many_finish_at_once(
    tenants: Tenants, jobs: Jobs, database: Database
) -> None:
    await tenants.patch("a", settings={"quotas": {"chunks": 7}})
    await jobs.accept("a", [document(f"d{n}", owner=f"user {n}") for n in range(6)])
    tasks = await jobs.queue.claim("w", lease_s=LEASE_S, limit=6)
    others = [elsewhere(jobs) for _ in tasks]
    ends = await asyncio.gather(
        *(mine.queue.finish(task, indexed({1: 1}, passages=2)) for mine, task in zip(others, tasks, strict=True)),
        return_exceptions=True,
    )
    assert sorted(type(end).__name__ for end in ends) == [*3 * ["NoneType"], *3 * ["QuotaExceeded"]]
    async with database.session() as session:
        assert await session.scalar(select(func.sum(LexicalTotal.passages))) == 6
    for mine in others:
        await mine.database.close()


async def test_a_refusal_leaves_the_size_of_what_is_there(tenants: Tenants, jobs: Jobs, database: Database) -> None:
    await tenants.patch("a", settings={"quotas": {"bytes": 4}})
    small: NewDocument = document("d", "1234")
    await jobs.accept("a", [small])
    with pytest.raises(QuotaExceeded):
        await jobs.accept("a", [small.replaced(size=5, content_hash="0" * 64, blob="larger")])
    async with database.session() as session:
        assert await session.scalar(select(Document.size)) == 4


@pytest.mark.parametrize("kind", ["postgresql", "pgbouncer"], indirect=True)
async def test_one_tenants_documents_hold_up_neither_anothers_nor_its_own_logs(jobs: Jobs, database: Database) -> None:
    """SQLite has one writer at a time; PostgreSQL must not."""
    mine = elsewhere(jobs, timeout_s=0.5)
    async with database.transaction() as session:
        await require_open(session, "a", alone=True)
        await mine.accept("b", [document("d")])
        await AuditLog(mine.database).handle([Event("key.created", "a", "k")])
        with pytest.raises(Unavailable):
            await mine.accept("a", [document("d")])
    await mine.accept("a", [document("d")])
    await mine.database.close()


@pytest.mark.every_database
async def test_a_tenants_rows_go_in_batches_that_are_committed(
    tenants: Tenants, jobs: Jobs, database: Database, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deletion that is cut off goes on where it stopped."""
    await jobs.accept("a", [document(f"d{n}", f"text {n}") for n in range(5)])
    before = await owned_rows(database, "a")
    monkeypatch.setattr("serve_app.platform.tenants._MAX_ROWS", 2)
    delete_some, calls = tenants_module._delete_some, count(1)

    async def cut_off(*arguments: Any) -> int:
        if next(calls) == 6:
            raise Unavailable("the database does not answer")
        return await delete_some(*arguments)

    monkeypatch.setattr("serve_app.platform.tenants._delete_some", cut_off)
    with pytest.raises(Unavailable):
        await tenants.delete("a", Index(), blobs, settle_s=0)
    halfway = await owned_rows(database, "a")
    assert 0 < sum(halfway.values()) < sum(before.values())
    await tenants.delete("a", Index(), blobs, settle_s=0)
    assert not any((await owned_rows(database, "a")).values())
