"""Writers of a SQLite file wait in order and hold nothing meanwhile; a statement is one visit to its thread."""

from __future__ import annotations

import asyncio
import gc
import sqlite3
import time
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import aiosqlite
import pytest
from sqlalchemy import select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from deployments.errors import Unavailable
from serve_app.storage.config import StoreConfig
from serve_app.storage.database import Database
from serve_app.storage.tables import Tenant
from tests.support.waiting import BOUND_S


@contextmanager
def another_process_writes(store: StoreConfig) -> Iterator[None]:
    """A connection that knows nothing of the queue in this process."""
    with closing(sqlite3.connect(store.path, isolation_level=None, check_same_thread=False)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


async def write(session: AsyncSession, name: str) -> None:
    await session.execute(update(Tenant).where(Tenant.id == "a").values(name=name))


async def test_writers_take_turns_in_their_order(database: Database, migrated: StoreConfig) -> None:
    """Those of several instances too."""
    done: list[int] = []
    second = Database(migrated)

    async def writer(number: int) -> None:
        async with (database, second)[number % 2].transaction() as session:
            await write(session, str(number))
            await asyncio.sleep(0.001 * (number % 3))
        done.append(number)

    async with asyncio.timeout(BOUND_S):
        await asyncio.gather(*map(writer, range(20)))
    assert done == [*range(20)]
    await second.close()


async def test_writers_that_wait_take_no_connection_from_readers(migrated: StoreConfig) -> None:
    database = Database(migrated.model_copy(update={"pool_size": 2}))

    async def writer() -> None:
        async with database.transaction() as session:
            await write(session, "later")

    async with database.transaction() as session:
        await write(session, "now")
        waiting = [asyncio.create_task(writer()) for _ in range(5)]
        await asyncio.sleep(0)
        async with asyncio.timeout(BOUND_S):
            assert await database.rows(select(Tenant.name).where(Tenant.id == "a")) == [("a",)]
    await asyncio.gather(*waiting)
    await database.close()


async def test_a_cancelled_writer_leaves_the_queue(database: Database) -> None:
    async def writer() -> None:
        async with database.transaction() as session:
            await write(session, "never")

    async with database.transaction() as session:
        waiting = asyncio.create_task(writer())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await write(session, "now")
    async with asyncio.timeout(BOUND_S), database.transaction() as session:
        assert await session.scalar(select(Tenant.name).where(Tenant.id == "a")) == "now"


async def test_one_that_has_its_turn_when_it_is_cancelled_hands_it_on(database: Database) -> None:
    async def writer() -> None:
        async with database.transaction() as session:
            await write(session, "never")

    async with asyncio.timeout(BOUND_S):
        async with database.transaction():
            waiting = asyncio.create_task(writer())
            await asyncio.sleep(0)
        waiting.cancel()  # it was handed its turn, and has not run since
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await rename(database)


async def test_writers_that_take_too_long_make_others_unavailable(migrated: StoreConfig) -> None:
    database = Database(migrated.model_copy(update={"timeout_s": 0.2}))
    async with database.transaction(), asyncio.timeout(BOUND_S):
        with pytest.raises(Unavailable, match=r"took longer than 0\.2 s"):
            await rename(database)
    await rename(database)
    await database.close()


async def test_time_in_which_nobody_can_go_on_is_no_part_of_a_wait(migrated: StoreConfig) -> None:
    """The event loop stands still, as that of a process that gets no processor, while a writer has its turn."""
    database = Database(migrated.model_copy(update={"timeout_s": 0.2}))
    async with database.transaction() as session:
        waiting = asyncio.create_task(rename(database))
        await asyncio.sleep(0)
        time.sleep(0.5)  # noqa: ASYNC251
        await write(session, "now")
    async with asyncio.timeout(BOUND_S):
        await waiting
    await database.close()


def test_an_event_loop_that_writers_waited_in_can_be_collected(migrated: StoreConfig) -> None:
    async def contend() -> weakref.ref[asyncio.AbstractEventLoop]:
        database = Database(migrated)
        await asyncio.gather(*(rename(database) for _ in range(3)))
        await database.close()
        return weakref.ref(asyncio.get_running_loop())

    loop = asyncio.run(contend())
    gc.collect()
    assert loop() is None


async def test_the_end_of_another_process_s_transaction_is_noticed_soon(
    database: Database, migrated: StoreConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite's own pauses grow to 100 ms."""
    pauses: list[float] = []
    sleep, looked = time.sleep, asyncio.Event()
    loop = asyncio.get_running_loop()

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        loop.call_soon_threadsafe(looked.set)
        sleep(seconds)

    monkeypatch.setattr(time, "sleep", pause)
    async with asyncio.timeout(BOUND_S):
        with another_process_writes(migrated):
            waiting = asyncio.create_task(rename(database))
            await looked.wait()
        await waiting
    assert max(pauses) < 0.01


async def rename(database: Database) -> None:
    async with database.transaction() as session:
        await write(session, "then")


async def test_another_process_that_writes_for_too_long_is_unavailable(migrated: StoreConfig) -> None:
    database = Database(migrated.model_copy(update={"timeout_s": 0.2}))
    with another_process_writes(migrated), pytest.raises(Unavailable, match="busy"):
        async with database.transaction():
            pass
    async with database.transaction() as session:
        assert await session.scalar(text("PRAGMA busy_timeout")) == 200, "as it was"
    await database.close()


async def test_a_statement_is_one_visit_to_its_connection_s_thread(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    visits: Counter[str] = Counter()
    execute: Callable[..., Any] = aiosqlite.Connection._execute

    async def counted(self: aiosqlite.Connection, function: Any, *arguments: Any, **options: Any) -> Any:
        visits["all"] += 1
        return await execute(self, function, *arguments, **options)

    async with database.transaction() as session:
        monkeypatch.setattr(aiosqlite.Connection, "_execute", counted)
        assert (await session.scalars(select(Tenant.id).order_by(Tenant.id))).all()[-2:] == ["a", "b"]
        assert visits["all"] == 1
        await write(session, "now")
        changed = update(Tenant).where(Tenant.id == "a").values(name="then").returning(Tenant.name)
        assert await session.scalar(changed) == "then"
        assert visits["all"] == 3
