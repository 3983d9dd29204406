"""Connections and transactions: SQLite for one machine, PostgreSQL for a cluster, the same SQL on both."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext
from typing import Any, Final, TypeVar, cast
from weakref import WeakKeyDictionary

from filelock import AsyncFileLock
from sqlalchemy import URL, Connection, Executable, Table, event, exc, inspect, make_url, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.pool import NullPool

from deployments.errors import InvalidRequest, Unavailable
from serve_app.storage.config import StoreConfig
from serve_app.storage.tables import Base

SCHEMA: Final = "0006"
"""The revision of the newest migration: what this code works on."""
_MIGRATION_LOCK: Final = 0x7261675F73657276
"""PostgreSQL's advisory lock held by whoever migrates: any constant that no other application uses."""


_TRANSIENT_CLASSES: Final = ("08", "40", "53", "57")
"""SQLSTATE classes: connection lost, rolled back for another's sake, out of resources, an operator stepped in."""
_LOCK_NOT_AVAILABLE: Final = "55P03"
_BAD_TEXT: Final = "22021"
_UNSTORABLE: Final = "a text holds a NUL or an unpaired surrogate, which the database knows not; remove it"
_T = TypeVar("_T")


class Database:
    """A configured database. Engines are made on first use, one for each event loop, so that an instance may be
    pickled into a replica.

    Raises Unavailable where the database cannot be reached, is locked beyond the timeout, or gives up on a deadlock,
    and InvalidRequest for a text that it cannot hold.
    """

    def __init__(self, config: StoreConfig) -> None:
        self.config = config
        self._engines: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncEngine] = WeakKeyDictionary()

    def __reduce__(self) -> tuple[type[Database], tuple[StoreConfig]]:
        return Database, (self.config,)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncSession]:
        """For reading: one transaction, always rolled back."""
        async with self._begin("DEFERRED") as session:
            yield session

    async def rows(self, statement: Executable) -> Sequence[Any]:
        """All that one statement reads. It is of one moment by itself, so it needs no transaction, whose beginning and
        end would cost more than the statement."""
        alone = {"sqlite_begin": None} if self.config.embedded else {"isolation_level": "AUTOCOMMIT"}
        with self._connecting(), self._executing():
            async with self._engine().connect() as connection:
                await connection.execution_options(**alone)
                return (await connection.execute(statement)).all()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """For writing: committed, and durable, when the block ends; rolled back if it raises."""
        async with self._begin("IMMEDIATE") as session:
            yield session
            await session.commit()

    @asynccontextmanager
    async def _begin(self, mode: str) -> AsyncIterator[AsyncSession]:
        async with AsyncSession(self._engine(), expire_on_commit=False, autoflush=False) as session:
            with self._connecting():
                await session.connection(execution_options={"sqlite_begin": mode})
            with self._executing():
                yield session

    @contextmanager
    def _connecting(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:  # asyncpg's way of saying that nobody listens
            raise Unavailable(f"the database does not answer: {error}") from error
        except exc.DBAPIError as error:
            raise _mapped(error) from error
        except exc.TimeoutError as error:
            raise Unavailable(
                "all connections to the database are busy; try again, or raise store.pool_size"
            ) from error

    @contextmanager
    def _executing(self) -> Iterator[None]:
        try:
            yield
        except exc.DBAPIError as error:
            raise _mapped(error) from error
        except UnicodeEncodeError as error:  # SQLite's driver says so itself
            raise InvalidRequest(_UNSTORABLE) from error
        except TimeoutError as error:  # asyncpg's, which SQLAlchemy lets through
            raise Unavailable(f"the database took longer than {self.config.timeout_s:g} s") from error

    async def migrate(self) -> None:
        """Bring the schema up to this code's, whoever else is doing so at the same moment. Raises SchemaTooNew."""
        engine = create_engine(self.config, migrating=True)
        try:
            async with self._migration_lock(), engine.connect() as connection:
                await connection.execution_options(sqlite_begin="IMMEDIATE")
                async with connection.begin():
                    if not self.config.embedded:
                        await connection.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"))
                    await connection.run_sync(upgrade)
        except OSError as error:
            raise Unavailable(f"the database cannot be opened: {error}") from error
        except exc.DBAPIError as error:
            raise _mapped(error) from error
        finally:
            await engine.dispose()

    def _migration_lock(self) -> AbstractAsyncContextManager[Any]:
        if not self.config.embedded:
            return nullcontext()
        self.config.path.parent.mkdir(parents=True, exist_ok=True)
        return AsyncFileLock(f"{self.config.path}.migrate.lock")

    async def close(self) -> None:
        """Close this event loop's connections. Idempotent; the next use opens new ones."""
        engine = self._engines.pop(asyncio.get_running_loop(), None)
        if engine is not None:
            await engine.dispose()

    def _engine(self) -> AsyncEngine:
        loop = asyncio.get_running_loop()
        if loop not in self._engines:
            self._engines[loop] = create_engine(self.config)
        return self._engines[loop]


def insert(session: AsyncSession, model: type[Base]) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that knows ON CONFLICT, in the dialect of the session's database."""
    table = cast(Table, model.__table__)
    if session.get_bind().dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)


def chunks(items: Sequence[_T], size: int = 900) -> Iterator[Sequence[_T]]:
    """Pieces of a list small enough for one statement's IN: SQLite may be built for 999 parameters."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def create_engine(config: StoreConfig, *, migrating: bool = False) -> AsyncEngine:
    """An engine whose connections are set up as this code expects. One that migrates keeps no pool and checks no
    foreign keys, because SQLite changes a table by dropping its old form."""
    pool: dict[str, Any] = (
        {"poolclass": NullPool}
        if migrating
        else {"pool_size": config.pool_size, "max_overflow": 0, "pool_timeout": config.timeout_s}
    )
    if not config.embedded:
        return create_async_engine(
            _postgresql_url(config),
            **pool,
            **({} if migrating else {"pool_pre_ping": True}),
            connect_args={
                "timeout": config.timeout_s,
                "command_timeout": None if migrating else config.timeout_s,
                # PgBouncer hands each transaction another server connection: no statement may outlive its transaction.
                # One with a name would, and heap up on the server, so statements have none.
                "statement_cache_size": 0,
                "prepared_statement_cache_size": 0,
                "prepared_statement_name_func": lambda: "",
            },
        )
    url = URL.create("sqlite+aiosqlite", database=str(config.path))
    engine = create_async_engine(url, **pool, connect_args={"timeout": config.timeout_s})

    @event.listens_for(engine.sync_engine, "connect")
    def connect(connection: Any, record: Any) -> None:
        connection.isolation_level = None  # else sqlite3 begins transactions by itself, and deferred
        cursor = connection.cursor()
        if migrating:  # a switch to WAL fails at once beside another connection: only under the migration's lock
            cursor.execute("PRAGMA journal_mode = WAL")
        cursor.execute("PRAGMA synchronous = FULL")  # NORMAL, some builds' default, loses commits with the power
        cursor.execute(f"PRAGMA foreign_keys = {'OFF' if migrating else 'ON'}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def begin(connection: Connection) -> None:
        # A transaction that reads and then writes must hold the write lock from its start: upgrading a read lock
        # fails at once, whatever the timeout, when another connection wrote in between.
        if mode := connection.get_execution_options().get("sqlite_begin", "DEFERRED"):
            connection.exec_driver_sql(f"BEGIN {mode}")

    return engine


def _postgresql_url(config: StoreConfig) -> URL:
    url = make_url(config.url).set(drivername="postgresql+asyncpg", password=os.environ.get("RAG_DATABASE_PASSWORD"))
    if mode := url.query.get("sslmode"):  # libpq's spelling, in which providers hand out their URLs
        url = url.difference_update_query(["sslmode"]).update_query_dict({"ssl": mode})
    return url


def upgrade(connection: Connection) -> None:
    """Run every migration that the connection's database has not seen, inside its transaction."""
    if inspect(connection).has_table("alembic_version"):
        revisions = connection.scalars(text("SELECT version_num FROM alembic_version")).all()
        if revisions == [SCHEMA]:
            return
    from serve_app.storage import migrations  # a third of a second, which the usual start need not spend

    migrations.upgrade(connection)


def _mapped(error: exc.DBAPIError) -> Exception:
    """What a driver's error means to callers: come again, mend the text, or, for a defect of ours, the error itself."""
    transient = isinstance(error, exc.OperationalError | exc.InterfaceError) or error.connection_invalidated
    state = getattr(error.orig, "sqlstate", None) or ""
    if transient or state[:2] in _TRANSIENT_CLASSES or state == _LOCK_NOT_AVAILABLE:
        return Unavailable(f"the database is busy or gone: {error.orig}")
    if state == _BAD_TEXT or any(isinstance(cause, UnicodeEncodeError) for cause in _causes(error)):
        return InvalidRequest(_UNSTORABLE)
    return error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
