"""SQLite behind SQLAlchemy, made quick: a connection's thread is visited once for a statement, and writers wait little.

All statements of a transaction come before the next writer's. So the time between two of them counts for everybody.
"""

from __future__ import annotations

import sqlite3
import time
from collections import deque
from typing import Any, Final, NamedTuple, cast

import aiosqlite
from sqlalchemy import URL, Connection, FromClause, event
from sqlalchemy.dialects.sqlite.aiosqlite import (
    AsyncAdapt_aiosqlite_connection,
    AsyncAdapt_aiosqlite_cursor,
    AsyncAdapt_aiosqlite_dbapi,
)
from sqlalchemy.dialects.sqlite.base import SQLiteCompiler
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine

_POLL_S: Final = 0.002
"""Between two attempts to get the write lock from another process. SQLite's own pauses grow to 100 ms."""
_BEGIN_WRITING: Final = "BEGIN IMMEDIATE"
_PRIMARY_CODE: Final = 0xFF
"""The part of an error's code that says BUSY. The rest says why, such as that another process recovers the file."""


def create_engine(url: URL, *, migrating: bool, **options: Any) -> AsyncEngine:
    """An engine for a SQLite file. `migrating`: see `database.create_engine`."""
    engine = create_async_engine(url, module=_Dbapi(aiosqlite, sqlite3), **options)
    engine.dialect.statement_compiler = _Compiler

    @event.listens_for(engine.sync_engine, "connect")
    def connect(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # otherwise sqlite3 begins deferred transactions by itself
        cursor = connection.cursor()
        # The switch to WAL fails at once beside another connection. A migration makes it, because it holds a lock.
        if migrating:
            cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")  # some builds' default, NORMAL, loses commits in a power cut
        cursor.execute(f"PRAGMA foreign_keys = {'OFF' if migrating else 'ON'}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Connection) -> None:
        # A transaction that reads and then writes must hold the write lock from its start. Otherwise its first write
        # fails if another connection has written since the read, and SQLite does not wait for the timeout.
        if mode := connection.get_execution_options().get("sqlite_begin", "DEFERRED"):
            connection.exec_driver_sql(f"BEGIN {mode}")

    return engine


class _Compiler(SQLiteCompiler):
    """Writes hints, such as INDEXED BY, behind the names of tables. SQLAlchemy drops those for SQLite."""

    def get_from_hint_text(self, table: FromClause, text: str | None) -> str | None:
        return text


class _Outcome(NamedTuple):
    """What DB-API's cursor tells after a statement, and its rows. `description` is None where it gives none."""

    description: Any = None
    rowcount: int = -1
    lastrowid: int | None = None
    rows: tuple[Any, ...] = ()


def _run(connection: sqlite3.Connection, statement: str, parameters: Any, many: bool) -> _Outcome:
    """Runs in the connection's thread."""
    if statement == _BEGIN_WRITING:
        _begin_writing(connection)
        return _Outcome()
    cursor = connection.cursor()
    try:
        if many:
            cursor.executemany(statement, parameters)
        else:
            cursor.execute(statement, parameters if parameters is not None else ())
        rows = tuple(cursor.fetchall()) if cursor.description else ()
        return _Outcome(cursor.description, cursor.rowcount, cursor.lastrowid, rows)
    finally:
        cursor.close()


def _begin_writing(connection: sqlite3.Connection) -> None:
    """Take the write lock. Raises sqlite3.OperationalError if other processes hold it for longer than the timeout."""
    [timeout_ms] = connection.execute("PRAGMA busy_timeout").fetchone()
    until = time.monotonic() + timeout_ms / 1_000
    connection.execute("PRAGMA busy_timeout = 0")
    try:
        while True:
            try:
                connection.execute(_BEGIN_WRITING)
                return
            except sqlite3.OperationalError as error:
                busy = error.sqlite_errorcode & _PRIMARY_CODE == sqlite3.SQLITE_BUSY
                if not busy or time.monotonic() >= until:
                    raise
            time.sleep(_POLL_S)
    finally:
        connection.execute(f"PRAGMA busy_timeout = {timeout_ms}")


class _Cursor(AsyncAdapt_aiosqlite_cursor):
    """Hands a statement to the connection's thread and gets all its rows back.

    SQLAlchemy's own cursor does so four times: to make a cursor, to run the statement, for its rows, and to close it.
    Each time may take longer than the statement, since the thread and the event loop share Python's lock.
    """

    __slots__ = ()

    def _make_new_cursor(self, connection: Any) -> Any:
        return _Outcome()

    def _aenter_cursor(self, cursor: Any) -> Any:
        return cursor

    async def _execute_async(self, operation: Any, parameters: Any) -> None:
        await self._visit(operation, parameters, many=False)

    async def _executemany_async(self, operation: Any, seq_of_parameters: Any) -> None:
        await self._visit(operation, seq_of_parameters, many=True)

    async def _visit(self, statement: str, parameters: Any, *, many: bool) -> None:
        async with self._adapt_connection._execute_mutex:
            driver = cast(aiosqlite.Connection, self._connection)
            run: Any = driver._execute  # aiosqlite has no type for it
            outcome: _Outcome = await run(_run, driver._conn, statement, parameters, many)
        self._cursor = cast(Any, outcome)
        self._rows = deque(outcome.rows)

    async def _async_soft_close(self) -> None:
        """It is closed already."""

    def close(self) -> None:
        self._rows.clear()


class _Connection(AsyncAdapt_aiosqlite_connection):
    __slots__ = ()
    _cursor_cls = _Cursor


class _Dbapi(AsyncAdapt_aiosqlite_dbapi):
    def connect(self, *arguments: Any, **options: Any) -> _Connection:
        made = super().connect(*arguments, **options)
        return _Connection(self, made._connection)
