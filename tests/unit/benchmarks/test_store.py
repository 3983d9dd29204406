"""The store's benchmark runs: its rows are made by SQL of its own, which must fit the tables as they are."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.store import run
from benchmarks.store_rows import Size
from serve_app.storage.config import StoreConfig
from tests.support import postgresql

SIZE = Size(documents=600, tenants=6, large=200, folder=20)


@pytest.fixture(params=["sqlite", "postgresql"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StoreConfig]:
    if request.param == "sqlite":
        yield StoreConfig(url=f"sqlite:///{tmp_path / 'rag.db'}")
    else:
        with postgresql.running() as servers:
            yield servers.store(servers.create(), pooled=False)


async def test_each_operation_is_measured_and_none_fails(store: StoreConfig) -> None:
    entries = await run(store, SIZE, calls=4, rate=200, only=())
    assert len(entries) == 17
    assert [entry for entry in entries if entry["failed"]] == []
    alone = [entry for entry in entries if "seconds" not in entry]
    assert any(entry["steps" if store.embedded else "rows_read"] for entry in alone)
