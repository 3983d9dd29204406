"""Each test that asks for a database runs on SQLite and, through PgBouncer in transaction mode, on PostgreSQL.

Through PgBouncer a statement or a lock that outlives its transaction breaks; that could be in any test. PostgreSQL
without it lets more pass: the tests of the storage itself run there too (`storage/conftest.py`).
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from serve_app.platform.jobs import Jobs
from serve_app.platform.tenants import Tenants
from serve_app.storage.config import StoreConfig
from serve_app.storage.database import Database
from tests.support import postgresql
from tests.support.postgresql import Servers
from tests.support.storage import Clock


@pytest.fixture(scope="session")
def servers() -> Iterator[Servers]:
    with postgresql.running() as servers:
        yield servers


@pytest.fixture(scope="session")
def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    store = StoreConfig(url=f"sqlite:///{tmp_path_factory.mktemp('template') / 'rag.db'}")
    asyncio.run(_with_tenants(store))
    return store.path


@pytest.fixture(scope="session")
def migrated_template(servers: Servers) -> str:
    template = servers.create()
    asyncio.run(_with_tenants(servers.store(template, pooled=False)))
    return template


async def _with_tenants(store: StoreConfig) -> None:
    database = Database(store)
    await database.migrate()
    for tenant in ("a", "b"):
        await Tenants(database).ensure(tenant)
    await database.close()


@pytest.fixture(params=["sqlite", "pgbouncer"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def store(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StoreConfig]:
    """The configuration of an empty database."""
    if kind == "sqlite":
        yield StoreConfig(url=f"sqlite:///{tmp_path / 'rag.db'}")
        return
    servers: Servers = request.getfixturevalue("servers")
    name = servers.create()
    yield servers.store(name, pooled=kind == "pgbouncer")
    servers.drop(name)


@pytest.fixture
def migrated(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StoreConfig]:
    """That of a migrated one with the tenants `a` and `b`."""
    if kind == "sqlite":
        store = StoreConfig(url=f"sqlite:///{tmp_path / 'rag.db'}")
        shutil.copy(request.getfixturevalue("migrated_file"), store.path)
        yield store
        return
    servers: Servers = request.getfixturevalue("servers")
    name = servers.create(request.getfixturevalue("migrated_template"))
    yield servers.store(name, pooled=kind == "pgbouncer")
    servers.drop(name)


@pytest.fixture
async def database(migrated: StoreConfig) -> AsyncIterator[Database]:
    database = Database(migrated)
    yield database
    await database.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def jobs(database: Database, clock: Clock) -> Jobs:
    return Jobs(database, clock=clock)
