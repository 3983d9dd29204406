"""What one process commits, others that use the database are told of. A process is a `Database` of its own here."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from uuid import uuid4

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from deployments.errors import Unavailable
from serve_app.storage import changes, postgresql_changes
from serve_app.storage.changes import Watch
from serve_app.storage.config import StoreConfig
from serve_app.storage.database import Database
from serve_app.storage.postgresql_changes import CHANNEL, PostgresqlNotices
from tests.support.postgresql import Servers
from tests.support.query_plans import recorded
from tests.support.waiting import BOUND_S, until

ON_POSTGRESQL = pytest.mark.parametrize("kind", ["postgresql"], indirect=True)
THROUGH_PGBOUNCER = pytest.mark.parametrize("kind", ["pgbouncer"], indirect=True)
DIRECTLY = pytest.mark.parametrize("kind", ["sqlite", "postgresql"], indirect=True)
NOT_TOLD_S = 0.5


@pytest.fixture
async def other(migrated: StoreConfig) -> AsyncIterator[Database]:
    """Another process's."""
    database = Database(migrated)
    yield database
    await database.close()


async def change(database: Database, *keys: str, commit: bool = True) -> None:
    """Commit a change of the keys, or raise RuntimeError before the commit."""
    async with database.transaction() as session:
        await session.execute(text("UPDATE tenants SET name = :name WHERE id = 'a'"), {"name": uuid4().hex})
        for key in keys:
            changes.mark(session, key)
        if not commit:
            raise RuntimeError("no commit")


async def heard(database: Database, wanted: bool = True) -> None:
    await until(lambda: database.changes.are_heard is wanted)


async def settled(watch: Watch) -> None:
    """Until nothing more is told of what was before."""
    while watch.told.is_set():
        await watch.changed(0)
        await asyncio.sleep(0.2)


async def was_told(watch: Watch, within_s: float = BOUND_S) -> bool:
    with suppress(TimeoutError):
        async with asyncio.timeout(within_s):
            await watch.told.wait()
    told = watch.told.is_set()
    watch.told.clear()
    return told


@DIRECTLY
async def test_what_another_process_commits_is_told(database: Database, other: Database) -> None:
    with database.changes.watch("job") as watch:
        await heard(database)
        await settled(watch)
        for _ in range(2):
            began = time.monotonic()
            await change(other, "job")
            assert await was_told(watch)
            assert time.monotonic() - began < BOUND_S / 2


@DIRECTLY
async def test_what_is_not_committed_is_not_told(database: Database, other: Database) -> None:
    with database.changes.watch("job") as watch:
        await heard(database)
        await settled(watch)
        for writer in (other, database):
            with pytest.raises(RuntimeError, match="no commit"):
                await change(writer, "job", commit=False)
        assert not await was_told(watch, NOT_TOLD_S)


@pytest.mark.every_database
async def test_the_same_process_is_told_at_once(database: Database, kind: str) -> None:
    with database.changes.watch("job") as watch, database.changes.watch("another") as another:
        if kind == "postgresql":
            await heard(database)  # all are told when it begins to listen
            await settled(another)
            await settled(watch)
        await change(database, "job")
        assert watch.told.is_set()
        assert not another.told.is_set() or kind != "postgresql"


@ON_POSTGRESQL
async def test_only_those_who_wait_for_what_changed_are_told(database: Database, other: Database) -> None:
    with database.changes.watch("job") as watch, database.changes.watch("another") as another:
        await heard(database)
        await settled(another)
        await settled(watch)
        await change(other, "job")
        assert await was_told(watch)
        assert not another.told.is_set()


@ON_POSTGRESQL
async def test_a_process_is_not_told_twice_of_its_own_changes(database: Database) -> None:
    with database.changes.watch("job") as watch:
        await heard(database)
        await settled(watch)
        await change(database, "job")
        assert await was_told(watch)
        assert not await was_told(watch, NOT_TOLD_S)


@ON_POSTGRESQL
async def test_many_changes_are_sent_together(database: Database, other: Database) -> None:
    keys = [f"job_{number:032x}" for number in range(1_000)]
    with database.changes.watch(keys[0]) as first, database.changes.watch(keys[-1]) as last:
        await heard(database)
        await settled(first)
        await settled(last)
        await change(other, "before")  # the first one is sent without a pause
        with recorded(other) as sent:
            for some in (keys[:300], keys[300:]):
                await change(other, *some)
            assert await was_told(first)
            assert await was_told(last)
    assert sum("pg_notify" in statement for statement, _ in sent.statements) <= 2


@ON_POSTGRESQL
async def test_of_more_changes_than_may_wait_everybody_is_told(
    database: Database, other: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql_changes, "MAX_GATHERED", 10)
    with database.changes.watch("not among them") as watch:
        await heard(database)
        await settled(watch)
        with recorded(other) as sent:
            await change(other, *(f"job_{number}" for number in range(11)))
            assert await was_told(watch)
    [payloads] = [parameters[1] for statement, parameters in sent.statements if "pg_notify" in statement]
    assert [payload.split()[1:] for payload in payloads] == [["*"]]


@ON_POSTGRESQL
async def test_what_is_told_last_is_sent_before_the_end(database: Database, other: Database) -> None:
    with database.changes.watch("job") as watch:
        await heard(database)
        await settled(watch)
        await change(other, "another")
        await change(other, "job")
        await other.close()
        assert await was_told(watch)


async def test_what_is_being_sent_at_the_end_is_sent_again() -> None:
    sent: list[list[str]] = []

    async def send(payloads: list[str]) -> None:
        sent.append(payloads)
        if len(sent) == 1:
            await asyncio.Event().wait()

    def connect() -> AsyncEngine:
        raise AssertionError("nobody listens here")

    notices = PostgresqlNotices(connect, send, lambda keys: None, "")
    notices.tell(["job"])
    await until(lambda: len(sent) == 1)
    notices.tell(["another"])
    await notices.close()
    assert [payload.split()[1:] for payload in sent[1]] == [["another", "job"]]


@ON_POSTGRESQL
async def test_while_no_probe_can_be_sent_changes_are_heard_all_the_same(
    database: Database, other: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(postgresql_changes, "PROBE_EVERY_S", 0.05)
    monkeypatch.setattr(postgresql_changes, "RETRY_S", 0.05)
    notify, is_exhausted, refused = Database._notify, True, 0

    async def send(self: Database, payloads: Sequence[str]) -> None:
        nonlocal refused
        if self is database and is_exhausted:
            refused += 1
            raise Unavailable("all connections to the database are busy")
        await notify(self, payloads)

    monkeypatch.setattr(Database, "_notify", send)
    with database.changes.watch("job") as watch:
        await until(lambda: refused >= 2)
        is_exhausted = False
        await heard(database)
        await settled(watch)
        is_exhausted, refused = True, 0
        await until(lambda: refused >= 2)
        assert database.changes.are_heard
        assert not watch.told.is_set()
        await change(other, "job")
        assert await was_told(watch)
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


@ON_POSTGRESQL
async def test_a_connection_that_ends_is_made_again_and_what_was_told_meanwhile_is_looked_for(
    database: Database, other: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(postgresql_changes, "RETRY_S", 1.0)
    with database.changes.watch("job") as watch:
        await heard(database)
        await settled(watch)
        async with other.transaction() as session:
            ended = await session.scalar(
                text(
                    "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity "
                    "WHERE query LIKE 'LISTEN%' AND datname = current_database()"
                )
            )
        assert ended == 1
        await heard(database, False)
        assert await was_told(watch), "those who wait look at once, as nothing is heard"
        await change(other, "job")  # nobody hears this
        await heard(database)
        assert await was_told(watch)
        await settled(watch)
        await change(other, "job")
        assert await was_told(watch)
    messages = [record.getMessage() for record in caplog.records]
    assert sum("are not heard" in message for message in messages) == 1, messages
    assert sum("are heard again" in message for message in messages) == 1


@THROUGH_PGBOUNCER
async def test_a_pooler_that_forwards_nothing_is_noticed_and_said_once(
    database: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(postgresql_changes, "PROBE_S", 0.3)
    monkeypatch.setattr(postgresql_changes, "RETRY_S", 0.1)
    with database.changes.watch("job") as watch:
        for _ in range(2):  # at each loss those who wait are woken
            assert await was_told(watch)
        assert not database.changes.are_heard
    [said] = [record for record in caplog.records if record.name == postgresql_changes.__name__]
    assert said.levelno == logging.WARNING
    assert "what is sent does not arrive" in said.getMessage()
    assert "set store.listen_url to an address of the server itself" in said.getMessage()


@THROUGH_PGBOUNCER
async def test_beside_a_pooler_the_server_itself_is_listened_to(
    migrated: StoreConfig, other: Database, servers: Servers
) -> None:
    name = migrated.url.partition("@/")[2].partition("?")[0]  # postgresql://USER@/DATABASE?…
    direct = servers.store(name, pooled=False).url
    database = Database(migrated.model_copy(update={"listen_url": direct}))
    try:
        with database.changes.watch("job") as watch:
            await heard(database)
            await settled(watch)
            await change(other, "job")  # through the pooler
            assert await was_told(watch)
    finally:
        await database.close()


@ON_POSTGRESQL
async def test_what_others_send_on_the_channel_does_no_harm(database: Database, other: Database) -> None:
    with database.changes.watch("job") as watch:
        await heard(database)
        await settled(watch)
        for payload in ("", " ", "x", "\n" * 100, "č" * 3_000):
            async with other.transaction() as session:
                await session.execute(text("SELECT pg_notify(:c, :p)"), {"c": CHANNEL, "p": payload})
        await change(other, "job")
        assert await was_told(watch)
        assert database.changes.are_heard


async def test_nobody_looks_at_the_file_while_nobody_waits(database: Database) -> None:
    with database.changes.watch("job"):
        await heard(database)
    await heard(database, False)
    with database.changes.watch("job"):
        await heard(database)


@pytest.mark.every_database
async def test_nothing_runs_after_the_end(database: Database) -> None:
    before = asyncio.all_tasks()
    with database.changes.watch("job"):
        await change(database, "job")
        assert asyncio.all_tasks() - before
    await database.close()
    assert asyncio.all_tasks() <= before
