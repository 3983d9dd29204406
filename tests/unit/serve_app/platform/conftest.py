"""A migrated database for each test: SQLite, and PostgreSQL too where RAG_TEST_POSTGRESQL names a server
(postgresql://USER@HOST:PORT/DATABASE) on which databases may be made and dropped."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import text

from serve_app.platform.config import StoreConfig
from serve_app.platform.database import Database, create_engine
from serve_app.platform.jobs import Jobs
from serve_app.platform.tenants import Tenants
from tests.support.storage import Clock

POSTGRESQL = os.environ.get("RAG_TEST_POSTGRESQL")


@pytest.fixture(params=["sqlite", *(["postgresql"] if POSTGRESQL else [])])
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[StoreConfig]:
    """The configuration of an empty database."""
    if request.param == "sqlite":
        yield StoreConfig(url=f"sqlite:///{tmp_path / 'rag.db'}")
        return
    assert POSTGRESQL is not None
    name = f"test_{uuid4().hex}"
    engine = create_engine(StoreConfig(url=POSTGRESQL), migrating=True)
    async with engine.connect() as server:
        await server.execution_options(isolation_level="AUTOCOMMIT")
        await server.execute(text(f"CREATE DATABASE {name}"))
        yield StoreConfig(url=f"{POSTGRESQL.rpartition('/')[0]}/{name}")
        await server.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    await engine.dispose()


@pytest.fixture
async def database(store: StoreConfig) -> AsyncIterator[Database]:
    """A migrated one with the tenants `a` and `b`."""
    database = Database(store)
    await database.migrate()
    for tenant in ("a", "b"):
        await Tenants(database).ensure(tenant)
    yield database
    await database.close()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def jobs(database: Database, clock: Clock) -> Jobs:
    return Jobs(database, clock=clock)
