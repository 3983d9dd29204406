"""The databases that tests of the platform and its storage run on.

A test that asks for one runs on SQLite. One that is marked `every_database` runs on PostgreSQL too, directly and
through PgBouncer in transaction mode. Directly, more of it contends at once, because PgBouncer has few connections.
Through PgBouncer, a statement or a lock that outlives its transaction breaks. Marked are the tests of what databases do
differently:

- locks and claims, and workers that contend for them;
- inserts that meet an existing row;
- migrations, connections and errors: all of storage/test_database.py;
- sums (PostgreSQL's are decimals), the order of texts, odd characters, statements with thousands of parameters.

The SQL of the others is of the same kinds, so the marked ones cover it. On SQLite alone run

- rules on what may be handed in, which no database sees: test_jobs, test_collections, test_keys, test_tenants;
- what a row holds after plain reads and updates: views, listings, settings, patches of metadata, key rotation;
- the logs' content, and that they hold no secrets: test_audit, test_idempotency;
- one tenant's rows against another's: tests/integration/isolation finds a missing condition by the source.
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


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    chosen_by_test = any("kind" in mark.args[0] for mark in metafunc.definition.iter_markers("parametrize"))
    if "kind" in metafunc.fixturenames and not chosen_by_test:
        every = metafunc.definition.get_closest_marker("every_database") is not None
        kinds = ["sqlite", "postgresql", "pgbouncer"] if every else ["sqlite"]
        metafunc.parametrize("kind", kinds, indirect=True)


@pytest.fixture
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
