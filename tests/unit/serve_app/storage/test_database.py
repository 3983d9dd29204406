from __future__ import annotations

import asyncio
import os
import pickle
import subprocess
import sys
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import ColumnElement, Connection, column, func, insert, select, table, text
from sqlalchemy.exc import IntegrityError, StatementError
from sqlalchemy.ext.asyncio import AsyncSession

from deployments.errors import InvalidRequest, NotFound, Unavailable
from serve_app.platform.collections import Collections
from serve_app.platform.tenant_settings import Settings
from serve_app.platform.tenants import Tenants
from serve_app.storage.config import StoreConfig
from serve_app.storage.database import SCHEMA, Database, DialectInsert, Upsert, create_engine
from serve_app.storage.declarative import Base, of_tenant, utc_now
from serve_app.storage.migrations import SchemaTooNew, configuration
from serve_app.storage.tables import Collection, Document, StoredGeneration, Tenant, TenantUsage
from tests.support.waiting import BOUND_S


@pytest.fixture
async def sqlite(tmp_path: Path) -> AsyncIterator[Database]:
    database = Database(StoreConfig(url=f"sqlite:///{tmp_path / 'rag.db'}", timeout_s=0.2))
    await database.migrate()
    yield database
    await database.close()


async def test_no_other_user_reads_the_file(tmp_path: Path) -> None:
    """Nor its journals; also if an earlier release made the file for all to read."""
    for former in (None, 0o644):
        path = tmp_path / f"{former}/rag.db"
        if former is not None:
            path.parent.mkdir()
            path.touch(former)
        database = Database(StoreConfig(url=f"sqlite:///{path}"))
        await database.migrate()
        async with database.transaction() as session:
            session.add(tenant("acme"))
        modes = {each.name: each.stat().st_mode & 0o777 for each in path.parent.glob("rag.db*")}
        assert {"rag.db", "rag.db-wal"} <= modes.keys()
        assert {mode for name, mode in modes.items() if not name.endswith(".lock")} == {0o600}
        await database.close()


pytestmark = pytest.mark.every_database
ON_A_SERVER = pytest.mark.parametrize("kind", ["postgresql", "pgbouncer"], indirect=True)


async def lock(session: AsyncSession, tenant_id: str) -> Tenant:
    row = await session.scalar(select(Tenant).where(Tenant.id == tenant_id).with_for_update())
    assert row is not None
    return row


async def rename(database: Database, tenant_id: str, name: str) -> None:
    async with database.transaction() as session:
        (await lock(session, tenant_id)).name = name


def tenant(tenant_id: str, at: datetime | None = None) -> Tenant:
    at = at or utc_now()
    return Tenant(id=tenant_id, name=tenant_id, status="active", settings={}, created_at=at, updated_at=at)


async def add_tenant(database: Database, tenant_id: str, created_at: datetime | None = None) -> None:
    async with database.transaction() as session:
        session.add(tenant(tenant_id, created_at))


def test_the_schema_expected_is_the_newest_migrations() -> None:
    assert ScriptDirectory.from_config(configuration()).get_current_head() == SCHEMA


async def test_what_an_earlier_release_wrote_is_kept(store: StoreConfig) -> None:
    """The tables that 0002 changes hold rows."""
    engine = create_engine(store, migrating=True)

    def first_release(connection: Connection) -> None:
        alembic = configuration()
        alembic.attributes["connection"] = connection
        command.upgrade(alembic, "0001")
        connection.execute(text("INSERT INTO tenants (id, name, created_at) VALUES ('t', 'T', '2026-01-01')"))
        connection.execute(
            text("INSERT INTO collections (tenant_id, name, created_at) VALUES ('t', 'zakoni', '2026-01-01')")
        )

    async with engine.begin() as connection:
        await connection.run_sync(first_release)
    await engine.dispose()
    database = Database(store)
    await database.migrate()
    view = await Tenants(database).active("t")
    assert (view.name, view.settings) == ("T", Settings())
    assert await Collections(database).names("t") == ["default", "zakoni"]
    await database.close()


async def test_documents_of_an_earlier_release_learn_their_embedder_from_their_last_job(store: StoreConfig) -> None:
    engine = create_engine(store, migrating=True)

    def release_before(connection: Connection) -> None:
        alembic = configuration()
        alembic.attributes["connection"] = connection
        command.upgrade(alembic, "0006")
        at = {"created_at": datetime(2026, 1, 1, tzinfo=UTC), "updated_at": datetime(2026, 1, 1, tzinfo=UTC)}
        of_document = {
            "tenant_id": "t", "content_hash": "", "owner": "", "collection": "default", "title": "", "filename": "",
            "media_type": "", "metadata": "{}", "blob": "", "size": 0, "fingerprint": "",
            "updated_at": at["updated_at"],
        }  # fmt: skip

        def add(table_name: str, **values: object) -> None:
            connection.execute(insert(table(table_name, *map(column, values))).values(**values))

        add("tenants", id="t", name="T", status="active", settings="{}", **at)
        add("collections", tenant_id="t", name="default", description="", **at)
        add("jobs", tenant_id="t", id="j1", bulk_detail="", created_at=at["created_at"])
        add("jobs", tenant_id="t", id="j2", bulk_detail="", created_at=at["created_at"])
        for id, version in (("d", "v20"), ("patched", "v4"), ("never live", "")):
            document = of_document | {"id": id, "version": version, "passages": len(version), "terms": b"", **at}
            add("documents", **document)
        for sequence, (job, id, version, state, embedder) in enumerate(
            (
                ("j1", "d", "v1", "indexed", "e1"),
                ("j1", "patched", "v3", "indexed", "e1"),
                ("j2", "d", "v20", "indexed", "e2"),
                ("j2", "never live", "v5", "failed", "e2"),
                ("j2", "patched", "v3", "indexed", ""),
            )
        ):
            row = of_document | {"sequence": sequence + 1, "job_id": job, "document_id": id, "version": version}
            row |= {"state": state, "attempts": 1, "not_before": at["created_at"], "given_up": False}
            add("job_documents", **row, embedder=embedder, chunks=1, chunks_done=1)

    async with engine.begin() as connection:
        await connection.run_sync(release_before)
    await engine.dispose()
    database = Database(store)
    await database.migrate()
    told = (Document.id, Document.embedder, Document.chunking, Document.warnings)
    rows = await database.rows(select(*told).order_by(Document.id))
    assert [tuple(row) for row in rows] == [("d", "e2", "", []), ("never live", "", "", []), ("patched", "e1", "", [])]
    generations = await database.rows(select(StoredGeneration.name, StoredGeneration.dimension, StoredGeneration.state))
    assert [tuple(row) for row in generations] == [("e2", 0, "live")], "that of most passages"
    await database.close()


async def test_the_migrations_make_what_the_models_say(database: Database) -> None:
    def differences(connection: Connection) -> object:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        return compare_metadata(context, Base.metadata)

    async with database.session() as session:
        assert await (await session.connection()).run_sync(differences) == []


async def test_several_starting_at_once_migrate_once(store: StoreConfig) -> None:
    starting = [Database(store) for _ in range(4)]
    await asyncio.gather(*(database.migrate() for database in starting))
    await starting[0].migrate()
    async with starting[0].session() as session:
        assert (await session.scalars(text("SELECT version_num FROM alembic_version"))).all() == [SCHEMA]
    await starting[0].close()


def test_several_processes_starting_at_once_migrate_once(tmp_path: Path) -> None:
    script = (
        "import asyncio, sys; from serve_app.storage.config import StoreConfig;"
        "from serve_app.storage.database import Database;"
        "asyncio.run(Database(StoreConfig(url=sys.argv[1])).migrate())"
    )
    url = f"sqlite:///{tmp_path / 'folder' / 'rag.db'}"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    starting = [subprocess.Popen([sys.executable, "-c", script, url], env=environment) for _ in range(2)]
    assert [process.wait() for process in starting] == [0, 0]


async def test_a_database_of_a_later_release_is_refused(database: Database) -> None:
    async with database.transaction() as session:
        await session.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(SchemaTooNew, match=r"revision 9999.*later"):
        await database.migrate()


async def test_sqlite_is_durable_and_checks_foreign_keys(sqlite: Database) -> None:
    async with sqlite.session() as session:
        settings = [
            await session.scalar(text(f"PRAGMA {name}")) for name in ("journal_mode", "synchronous", "foreign_keys")
        ]
    assert settings == ["wal", 2, 1]


async def test_a_row_of_an_unknown_tenant_is_refused(database: Database) -> None:
    with pytest.raises(IntegrityError):
        async with database.transaction() as session:
            session.add(Collection(tenant_id="nobody", name="c", created_at=utc_now()))


async def test_reading_and_then_writing_never_collides(database: Database) -> None:
    """Lost updates or `database is locked` would show if a transaction began without the write lock."""
    await add_tenant(database, "counter")

    async def count(other: Database) -> None:
        for _ in range(10):
            async with other.transaction() as session:
                row = await session.scalar(select(Tenant).where(Tenant.id == "counter").with_for_update())
                assert row is not None
                row.name = str(int(row.name.removeprefix("counter") or 0) + 1)
        await other.close()

    await asyncio.gather(*(count(Database(database.config)) for _ in range(4)))
    async with database.session() as session:
        assert await session.scalar(select(Tenant.name).where(Tenant.id == "counter")) == "40"


async def test_a_failed_block_leaves_nothing(database: Database) -> None:
    async def fail() -> None:
        async with database.transaction() as session:
            session.add(tenant("t"))
            await session.flush()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    async with database.session() as session:
        session.add(tenant("u"))
        await session.flush()
    async with database.session() as session:
        assert await session.scalar(select(func.count()).where(Tenant.id.in_(["t", "u"]))) == 0


async def test_a_lock_held_too_long_is_unavailable(migrated: StoreConfig) -> None:
    database = Database(migrated.model_copy(update={"timeout_s": 0.2}))
    async with database.transaction() as session:
        await lock(session, "a")
        with pytest.raises(Unavailable, match=r"locked|took longer than 0\.2 s"):
            async with database.transaction() as other:
                await lock(other, "a")
    await rename(database, "a", "free again")
    await database.close()


async def test_a_pool_in_use_is_unavailable(store: StoreConfig) -> None:
    database = Database(store.model_copy(update={"pool_size": 1, "timeout_s": 0.2}))
    await database.migrate()
    async with database.session():
        with pytest.raises(Unavailable, match="pool_size"):
            async with database.session():
                pass
        with pytest.raises(Unavailable, match="pool_size"):
            await database.rows(select(Tenant.id))
    await database.close()


async def test_a_server_that_does_not_answer_is_unavailable() -> None:
    database = Database(StoreConfig(url="postgresql://rag@127.0.0.1:1/rag", timeout_s=1))
    with pytest.raises(Unavailable):
        async with database.session():
            pass
    with pytest.raises(Unavailable):
        await database.rows(select(Tenant.id))
    with pytest.raises(Unavailable):
        await database.migrate()
    await database.close()


async def test_one_statement_reads_what_was_committed_and_leaves_its_connection_as_it_was(store: StoreConfig) -> None:
    database = Database(store.model_copy(update={"pool_size": 2}))
    await database.migrate()
    named = select(Tenant.id).where(Tenant.id.in_(["new", "never"]))
    async with database.transaction() as session:
        session.add(tenant("new"))
        await session.flush()
        assert await database.rows(named) == []
    assert await database.rows(named) == [("new",)]
    for _ in range(2):  # on the connection that read
        async with database.transaction() as session:
            session.add(tenant("never"))
            await session.flush()
            await session.rollback()
    assert await database.rows(named) == [("new",)]
    await database.close()


async def test_a_reader_of_one_statement_is_told_what_is_wrong(database: Database) -> None:
    with pytest.raises(InvalidRequest, match="unpaired surrogate"):
        await database.rows(select(Tenant.id).where(Tenant.id == "\ud800"))


async def until_waiting(database: Database) -> None:
    """Return once a statement waits for a lock."""
    if database.config.embedded:  # its thread does not tell that it waits; a slow machine cannot fail here
        await asyncio.sleep(0.1)
        return
    waiting = text("SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'")
    async with asyncio.timeout(BOUND_S):
        while not await database.rows(waiting):  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.005)


async def test_a_cancelled_writer_leaves_no_lock(migrated: StoreConfig) -> None:
    # SQLite's thread cannot be cancelled: it waits to the end of the timeout.
    database = Database(migrated.model_copy(update={"timeout_s": 1 if migrated.embedded else BOUND_S}))
    async with database.transaction() as session:
        await lock(session, "a")
        writer = asyncio.create_task(rename(database, "a", "never"))
        await until_waiting(database)
        writer.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writer
    await rename(database, "a", "free again")
    await database.close()


@ON_A_SERVER
async def test_of_two_that_wait_for_each_other_one_is_told_to_come_again(database: Database) -> None:
    both = asyncio.Barrier(2)

    async def cross(first: str, second: str) -> None:
        async with database.transaction() as session:
            await lock(session, first)
            await both.wait()
            await lock(session, second)

    ends = await asyncio.gather(cross("a", "b"), cross("b", "a"), return_exceptions=True)
    assert sorted(type(end).__name__ for end in ends) == ["NoneType", "Unavailable"]


@ON_A_SERVER
async def test_a_connection_that_the_server_ends_is_unavailable_and_the_next_one_works(
    database: Database, migrated: StoreConfig
) -> None:
    other = Database(migrated)

    async def ended_midway() -> None:
        async with database.transaction() as session:
            victim = await session.scalar(text("SELECT pg_backend_pid()"))
            async with other.session() as executioner:
                await executioner.execute(text(f"SELECT pg_terminate_backend({victim}, 5000)"))
            await lock(session, "a")

    with pytest.raises(Unavailable):
        await ended_midway()
    await rename(database, "a", "free again")
    await other.close()


@pytest.mark.parametrize("kind", ["pgbouncer"], indirect=True)
async def test_pgbouncer_shares_few_connections_and_no_statement_outlives_its_transaction(
    database: Database, migrated: StoreConfig
) -> None:
    callers = [database, *(Database(migrated) for _ in range(7))]

    async def call(caller: Database) -> None:
        for n in range(5):
            await rename(caller, "a", str(n))

    await asyncio.gather(*map(call, callers))
    servers = set()
    for caller in callers:
        async with caller.session() as session:
            servers.add(await session.scalar(text("SELECT pg_backend_pid()")))
            kept = "SELECT name FROM pg_prepared_statements WHERE name != ''"
            assert (await session.scalars(text(kept))).all() == []
    assert len(servers) <= 3
    for caller in callers:
        await caller.close()


@pytest.mark.parametrize("name", ["a\0", "\ud800"])
async def test_a_text_that_no_database_holds_is_never_our_failure(database: Database, name: str) -> None:
    """SQLite finds nothing under a NUL, PostgreSQL refuses it."""
    with pytest.raises((NotFound, InvalidRequest)):
        await Tenants(database).get(name)


async def test_it_travels_to_a_replica_after_use(database: Database) -> None:
    copy = pickle.loads(pickle.dumps(database))
    await add_tenant(copy, "t")
    await copy.close()
    async with database.session() as session:
        assert await session.get(Tenant, "t") is not None


def test_each_event_loop_has_its_own_connections(tmp_path: Path) -> None:
    database = Database(StoreConfig(url=f"sqlite:///{tmp_path / 'rag.db'}"))

    async def use(tenant: str) -> None:
        await database.migrate()
        await add_tenant(database, tenant)
        await database.close()

    asyncio.run(use("t"))
    asyncio.run(use("u"))


async def test_times_are_kept_in_utc_and_naive_ones_refused(database: Database) -> None:
    await add_tenant(database, "t", datetime(2026, 1, 1, 2, tzinfo=timezone(timedelta(hours=2))))
    async with database.session() as session:
        created_at = await session.scalar(select(Tenant.created_at).where(Tenant.id == "t"))
    assert created_at == datetime(2026, 1, 1, tzinfo=UTC)
    assert created_at is not None
    assert created_at.utcoffset() == timedelta()
    with pytest.raises(StatementError, match="naive"):
        await add_tenant(database, "u", datetime(2026, 1, 1))  # noqa: DTZ001


async def test_an_upsert_is_made_once_and_adds_to_rows_that_are_there(database: Database) -> None:
    made = []

    def added(new: DialectInsert) -> dict[str, ColumnElement[int]]:
        made.append(new)
        return {"documents": TenantUsage.documents + new.excluded.documents}

    upsert = Upsert(TenantUsage, ("tenant_id",), added)
    for rows in ([("a", 1)], [("a", 2), ("b", 5)], [("b", 1), ("b", 1)]):
        async with database.transaction() as session:
            await upsert.run(session, [{"tenant_id": id, "documents": more, "bytes": 0} for id, more in rows])
    async with database.session() as session:
        for id, documents in (("a", 3), ("b", 7)):
            assert await session.scalar(select(TenantUsage.documents).where(of_tenant(TenantUsage, id))) == documents
    assert len(made) == 1


def test_no_query_is_confined_to_an_empty_tenant() -> None:
    with pytest.raises(ValueError, match="tenant_id is empty"):
        of_tenant(Collection, "")


async def test_the_password_comes_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAG_DATABASE_PASSWORD", "hunter2")
    engine = create_engine(StoreConfig(url="postgresql://rag@db/rag?sslmode=require"))
    assert engine.url.password == "hunter2"
    assert dict(engine.url.query) == {"ssl": "require"}
    assert "hunter2" not in str(engine.url)
