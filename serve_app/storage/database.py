"""Connections and transactions of the database: SQLite on one machine, PostgreSQL in a cluster.

The stores use the same SQL on both.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager, nullcontext, suppress
from pathlib import Path
from typing import Any, Final, TypeVar, cast
from weakref import WeakKeyDictionary

from filelock import AsyncFileLock
from sqlalchemy import URL, Connection, Executable, Select, Table, exc, func, inspect, make_url, select, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.sqlite import Insert as SqliteInsert
from sqlalchemy.ext.asyncio import AsyncEngine, AsyncSession, create_async_engine
from sqlalchemy.pool import NullPool

from deployments.errors import InvalidRequest, Unavailable
from serve_app.storage import (
    job_changes,  # noqa: F401 - rows mark their jobs as changed
    sqlite,
)
from serve_app.storage.changes import Changes, OtherProcesses, Tell, marked
from serve_app.storage.config import StoreConfig
from serve_app.storage.declarative import Base
from serve_app.storage.postgresql_changes import CHANNEL, PostgresqlNotices
from serve_app.storage.sqlite_changes import SqliteFile
from serve_app.storage.write_queue import turn_to_write

SCHEMA: Final = "0023"
"""The revision of the newest migration. This code works with this revision of the schema only."""
_MIGRATION_LOCK: Final = 0x7261675F73657276
"""The key of the PostgreSQL advisory lock that a migration holds. Any number that no other application uses will do."""
_TRANSIENT_CLASSES: Final = ("08", "40", "53", "57")
"""Classes of SQLSTATE codes: the same statement may succeed later.

In order: connection lost, transaction rolled back in favour of another, out of resources, and operator intervention.
"""
_OWNER_ONLY: Final = 0o600
_LOCK_NOT_AVAILABLE: Final = "55P03"
_INVALID_TEXT: Final = "22021"
"""The SQLSTATE code for a text that cannot be encoded."""
_INVALID_TEXT_DETAIL: Final = "a text holds a NUL or an unpaired surrogate, which the database knows not; remove it"
_NOTIFY: Final = text(
    # PostgreSQL lets one transaction with a notification commit at a time. This one need not wait for the disk.
    "SELECT set_config('synchronous_commit', 'off', true), pg_notify(:channel, payload) "
    "FROM unnest(CAST(:payloads AS text[])) AS payload"
)
_LISTEN_REMEDY: Final = (
    "if store.url leads to a pooler in transaction mode, such as PgBouncer, set store.listen_url to an address of the "
    "server itself"
)
DialectInsert = postgresql.Insert | SqliteInsert
_T = TypeVar("_T")


class Database:
    """A configured database. An instance can be pickled and sent to a replica.

    It can be pickled because it creates its engines later: each event loop gets its own, on first use.

    `changes`: what its transactions marked as changed, told to those who wait, in other processes too.

    Its methods raise Unavailable if the database cannot be reached, takes longer than the timeout, or rolls a
    transaction back because of a deadlock. They raise InvalidRequest for a text that the database cannot store.
    """

    def __init__(self, config: StoreConfig) -> None:
        self.config = config
        self.changes = Changes(self._other_processes)
        self._engines: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncEngine] = WeakKeyDictionary()

    def __reduce__(self) -> tuple[type[Database], tuple[StoreConfig]]:
        return Database, (self.config,)

    @asynccontextmanager
    async def session(self) -> AsyncIterator[AsyncSession]:
        """A transaction for reading. It is always rolled back at the end of the block."""
        async with self._begin("DEFERRED") as session:
            yield session

    async def rows(self, statement: Executable) -> Sequence[Any]:
        """All rows that one statement reads, without a transaction around it.

        One statement sees one state of the database by itself. Beginning and ending a transaction would cost more than
        the statement.
        """
        no_transaction = {"sqlite_begin": None} if self.config.embedded else {"isolation_level": "AUTOCOMMIT"}
        with self._connection_errors(), self._statement_errors():
            async with self._engine().connect() as connection:
                await connection.execution_options(**no_transaction)
                return (await connection.execute(statement)).all()

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[AsyncSession]:
        """A transaction for writing. It is committed to disk at the end of the block, or rolled back if that raises."""
        async with self._turn_to_write(), self._begin("IMMEDIATE") as session:
            yield session
            await session.commit()
            changed = marked(session)
        self.changes.tell(changed)

    def _turn_to_write(self) -> AbstractAsyncContextManager[None]:
        """Wait for the writers that came before. PostgreSQL's do not exclude each other."""
        if not self.config.embedded:
            return nullcontext()
        return turn_to_write(self.config.url, self.config.timeout_s)

    @asynccontextmanager
    async def _begin(self, sqlite_mode: str) -> AsyncIterator[AsyncSession]:
        """Begin a transaction.

        `sqlite_mode`: DEFERRED, or IMMEDIATE to take the write lock now. PostgreSQL ignores it.
        """
        async with AsyncSession(self._engine(), expire_on_commit=False, autoflush=False) as session:
            with self._connection_errors():
                await session.connection(execution_options={"sqlite_begin": sqlite_mode})
            with self._statement_errors():
                yield session

    @contextmanager
    def _connection_errors(self) -> Iterator[None]:
        """Translate the errors of the block, which gets a connection and begins a transaction."""
        try:
            yield
        except OSError as error:  # asyncpg raises this if no server listens
            raise Unavailable("the database does not answer; try again", internal=str(error)) from error
        except exc.DBAPIError as error:
            raise _translate(error) from error
        except exc.TimeoutError as error:
            raise Unavailable(
                "all connections to the database are busy; try again, or raise store.pool_size"
            ) from error

    @contextmanager
    def _statement_errors(self) -> Iterator[None]:
        """Translate the errors of the block, which runs statements."""
        try:
            yield
        except exc.DBAPIError as error:
            raise _translate(error) from error
        except UnicodeEncodeError as error:  # SQLite's driver raises this itself
            raise InvalidRequest(_INVALID_TEXT_DETAIL) from error
        except TimeoutError as error:  # asyncpg raises this, and SQLAlchemy does not wrap it
            raise Unavailable(f"the database took longer than {self.config.timeout_s:g} s") from error

    async def migrate(self) -> None:
        """Upgrade the schema to the revision SCHEMA. Several processes may call this at once: they take turns.

        Raises Unavailable, and SchemaTooNew if a later release has migrated the database.
        """
        engine = create_engine(self.config, migrating=True)
        try:
            async with self._migration_lock(), engine.connect() as connection:
                await connection.execution_options(sqlite_begin="IMMEDIATE")
                async with connection.begin():
                    if not self.config.embedded:
                        await connection.execute(text(f"SELECT pg_advisory_xact_lock({_MIGRATION_LOCK})"))
                    await connection.run_sync(upgrade)
        except OSError as error:
            raise Unavailable("the database cannot be opened", internal=str(error)) from error
        except exc.DBAPIError as error:
            raise _translate(error) from error
        finally:
            await engine.dispose()

    def _migration_lock(self) -> AbstractAsyncContextManager[Any]:
        """A lock on a file beside the SQLite file. PostgreSQL needs none: `migrate` takes an advisory lock."""
        if not self.config.embedded:
            return nullcontext()
        self.config.path.parent.mkdir(parents=True, exist_ok=True)
        _for_its_owner_alone(self.config.path)
        return AsyncFileLock(f"{self.config.path}.migrate.lock")

    async def close(self) -> None:
        """Close the connections of the running event loop. Idempotent. The next use opens new ones."""
        await self.changes.close()
        engine = self._engines.pop(asyncio.get_running_loop(), None)
        if engine is not None:
            await engine.dispose()

    def _other_processes(self, wake: Tell, is_watched: asyncio.Event) -> OtherProcesses:
        if self.config.embedded:
            return SqliteFile(lambda: create_engine(self.config, migrating=True), wake, is_watched)
        direct = self.config.model_copy(update={"url": self.config.listen_url or self.config.url})
        return PostgresqlNotices(lambda: create_engine(direct, migrating=True), self._notify, wake, _LISTEN_REMEDY)

    async def _notify(self, payloads: Sequence[str]) -> None:
        await self.rows(_NOTIFY.bindparams(channel=CHANNEL, payloads=payloads))

    def _engine(self) -> AsyncEngine:
        loop = asyncio.get_running_loop()
        if loop not in self._engines:
            self._engines[loop] = create_engine(self.config)
        return self._engines[loop]


def insert(session: AsyncSession, model: type[Base]) -> DialectInsert:
    """An INSERT statement in the dialect of the session's database. Unlike SQLAlchemy's own, it has ON CONFLICT."""
    return _insert(session.get_bind().dialect.name, model)


def _insert(dialect: str, model: type[Base]) -> DialectInsert:
    table = cast(Table, model.__table__)
    return postgresql.insert(table) if dialect == "postgresql" else SqliteInsert(table)


class Upsert:
    """An INSERT of a model's rows that changes those that are there: `changes` makes what is set, of the statement.

    It is made once for each dialect. To make one at each call takes as long as to run it.
    """

    def __init__(
        self, model: type[Base], key: Sequence[str], changes: Callable[[DialectInsert], Mapping[str, Any]]
    ) -> None:
        self.model = model
        self.key = key
        self.changes = changes
        self._of_dialect: dict[str, DialectInsert] = {}

    @classmethod
    def adding(cls, model: type[Base], key: Sequence[str], counts: Sequence[str]) -> Upsert:
        """One that adds the rows' `counts` to those that are there."""
        return cls(model, key, lambda new: {name: getattr(model, name) + new.excluded[name] for name in counts})

    async def run(self, session: AsyncSession, rows: Sequence[Mapping[str, Any]]) -> None:
        """The rows are mappings of all columns that are written to their values."""
        dialect = session.get_bind().dialect.name
        statement = self._of_dialect.get(dialect)
        if statement is None:
            new = _insert(dialect, self.model)
            statement = new.on_conflict_do_update(index_elements=self.key, set_=self.changes(new))
            self._of_dialect[dialect] = statement
        await session.execute(statement, rows)


async def count_rows(session: AsyncSession, rows: Select[Any]) -> int:
    """How many rows a query finds. A limit of the query bounds what is counted, too."""
    return await session.scalar(select(func.count()).select_from(rows.subquery())) or 0


def chunks(items: Sequence[_T], size: int = 900) -> Iterator[Sequence[_T]]:
    """Pieces of a list, each short enough for the IN of one statement. SQLite may allow only 999 parameters."""
    for start in range(0, len(items), size):
        yield items[start : start + size]


def create_engine(config: StoreConfig, *, migrating: bool = False) -> AsyncEngine:
    """An engine whose connections have the settings that this code relies on.

    `migrating`: whether the engine is for a migration. It then has no pool. On PostgreSQL it has no limit on a
    statement's time. On SQLite it checks no foreign keys, because a migration changes a table by copying it
    and dropping the old one.
    """
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
                # PgBouncer may run each transaction on another server connection, so no prepared statement may be used
                # after its transaction. One with a name would also stay on the server: they get no names.
                "statement_cache_size": 0,
                "prepared_statement_cache_size": 0,
                "prepared_statement_name_func": lambda: "",
            },
        )
    url = URL.create("sqlite+aiosqlite", database=str(config.path))
    return sqlite.create_engine(url, migrating=migrating, connect_args={"timeout": config.timeout_s}, **pool)


def _for_its_owner_alone(path: Path) -> None:
    """Make the SQLite file if it is new, and let no other user read it. SQLite gives its journals the same mode.

    The mode of another owner's file cannot be changed, and stays.
    """
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, _OWNER_ONLY))
    for file in (path, *path.parent.glob(f"{path.name}-*")):
        with suppress(PermissionError, FileNotFoundError):
            file.chmod(_OWNER_ONLY)


def _postgresql_url(config: StoreConfig) -> URL:
    """The configured URL with asyncpg as the driver, and with the password from the environment."""
    url = make_url(config.url).set(drivername="postgresql+asyncpg", password=os.environ.get("RAG_DATABASE_PASSWORD"))
    if mode := url.query.get("sslmode"):  # providers' URLs have libpq's parameter; asyncpg's is `ssl`
        url = url.difference_update_query(["sslmode"]).update_query_dict({"ssl": mode})
    return url


def upgrade(connection: Connection) -> None:
    """Run the migrations that the database still needs, in the connection's transaction. Raises SchemaTooNew."""
    if inspect(connection).has_table("alembic_version"):
        revisions = connection.scalars(text("SELECT version_num FROM alembic_version")).all()
        if revisions == [SCHEMA]:
            return
    from serve_app.storage import migrations  # this import is slow, and most starts do not need it

    migrations.upgrade(connection)


def _translate(error: exc.DBAPIError) -> Exception:
    """The error to raise for a driver's error.

    Unavailable if a later attempt may succeed, and InvalidRequest for a text that the database cannot store. Any other
    error is a defect of this code, and is returned as it is.
    """
    transient = isinstance(error, exc.OperationalError | exc.InterfaceError) or error.connection_invalidated
    state = getattr(error.orig, "sqlstate", None) or ""
    if transient or state[:2] in _TRANSIENT_CLASSES or state == _LOCK_NOT_AVAILABLE:
        return Unavailable("the database is busy or gone; try again", internal=str(error.orig))
    if state == _INVALID_TEXT or any(isinstance(cause, UnicodeEncodeError) for cause in _causes(error)):
        return InvalidRequest(_INVALID_TEXT_DETAIL)
    return error


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    """The error, then its cause, then the cause of that, and so on."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
