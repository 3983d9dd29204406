"""Tenants with a Milvus database of their own, on a real server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from pydantic import ValidationError
from pymilvus import MilvusClient

from deployments.errors import StageUnavailable
from deployments.retrieval.config import RetrievalConfig
from deployments.retrieval.tenant_databases import TenantDatabases, database_name
from deployments.types import DocumentVersion, GenerationSize
from tests.support.waiting import until


def config_of(server: Any) -> RetrievalConfig:
    return RetrievalConfig(uri=server.uri, collection_prefix="own", own_databases=("acme", "reborn"))


@asynccontextmanager
async def replica(lite_server: Any) -> AsyncIterator[TenantDatabases]:
    index = TenantDatabases(config_of(lite_server))
    await index.open()
    yield index
    await asyncio.to_thread(index.close)


@pytest.fixture
async def index(lite_server: Any) -> AsyncIterator[TenantDatabases]:
    async with replica(lite_server) as index:
        yield index


async def test_a_chosen_tenant_s_passages_lie_in_its_own_database_and_go_with_it(
    index: TenantDatabases, lite_server: Any, generation: Any, entry: Any, request_for: Any
) -> None:
    for tenant in ("acme", "other"):
        await index.upsert(generation, [entry("p", tenant_id=tenant, document_id="d")])
    client = MilvusClient(uri=lite_server.uri)
    try:
        own = database_name("acme")
        assert own in client.list_databases()
        assert client.query("own_f1", filter="", output_fields=["tenant_id"], limit=10)[0]["tenant_id"] == "other"
        client.use_database(own)
        (row,) = client.query("own_f1", filter="", output_fields=["tenant_id"], limit=10)
        assert row["tenant_id"] == "acme"

        assert await index.purge("acme") == 1
        assert own not in client.list_databases()
    finally:
        client.close()
    assert await index.search(request_for(tenant_id="acme")) == []
    assert len(await index.search(request_for(tenant_id="other"))) == 1


async def test_many_who_come_first_at_once_make_one_database(
    index: TenantDatabases, generation: Any, entry: Any, request_for: Any
) -> None:
    await asyncio.gather(
        *(index.upsert(generation, [entry(f"p{n}", tenant_id="acme", document_id="d")]) for n in range(4))
    )
    assert len(await index.search(request_for(tenant_id="acme"))) == 4


async def test_writers_at_once_on_a_milvus_lite_server_lose_nothing(
    index: TenantDatabases, generation: Any, entry: Any, request_for: Any
) -> None:
    for turn in range(4):
        entries = [entry(f"p{turn}-{n}", tenant_id="writers", document_id="d") for n in range(12)]
        await asyncio.gather(*(index.upsert(generation, [written]) for written in entries))
    assert len(await index.search(request_for(tenant_id="writers", limit=100))) == 48


def test_the_embedded_index_has_no_databases() -> None:
    with pytest.raises(ValidationError, match="own_databases needs a Milvus server"):
        RetrievalConfig(own_databases=("acme",))


@pytest.fixture
async def other_replica(lite_server: Any) -> AsyncIterator[TenantDatabases]:
    async with replica(lite_server) as index:
        yield index


@pytest.mark.parametrize("first", ["search", "upsert", "read", "measure", "delete", "delete_versions", "purge"])
async def test_a_database_that_another_replica_purged_is_empty_and_can_be_written_again(
    index: TenantDatabases, other_replica: TenantDatabases, generation: Any, entry: Any, request_for: Any, first: str
) -> None:
    """Whatever a replica does first that still knows the database as loaded."""
    await index.upsert(generation, [entry("p", tenant_id="reborn", document_id="d")])
    assert len(await other_replica.search(request_for(tenant_id="reborn"))) == 1
    assert await index.purge("reborn") == 1
    again = [entry("again", tenant_id="reborn", document_id="d")]
    calls: dict[str, Callable[[], Awaitable[object]]] = {
        "search": lambda: other_replica.search(request_for(tenant_id="reborn")),
        "upsert": lambda: other_replica.upsert(generation, again),
        "read": lambda: other_replica.read("reborn", "d", "v1", limit=3),
        "measure": lambda: other_replica.measure("reborn", generation.name),
        "delete": lambda: other_replica.delete("reborn", "d"),
        "delete_versions": lambda: other_replica.delete_versions("reborn", [DocumentVersion("d", "v1")]),
        "purge": lambda: other_replica.purge("reborn"),
    }
    assert await calls[first]() in ([], None, 0, GenerationSize(0, 0))
    await other_replica.upsert(generation, again)
    assert len(await index.search(request_for(tenant_id="reborn"))) == 1
    assert len(await other_replica.search(request_for(tenant_id="reborn"))) == 1
    await index.purge("reborn")


async def test_only_so_many_databases_stay_open(
    lite_server: Any, generation: Any, entry: Any, request_for: Any
) -> None:
    config = RetrievalConfig(
        uri=lite_server.uri, collection_prefix="many", own_databases=("*",), open_databases=2, threads=2
    )
    index = TenantDatabases(config)
    await index.open()
    tenants = [f"many-{number}" for number in range(5)]
    try:
        for tenant in tenants:
            await index.upsert(generation, [entry("p", tenant_id=tenant, document_id="d")])
        assert [*index._own] == tenants[-2:]
        await until(lambda: not index._closing)
        assert sum(thread.name.startswith("milvus") for thread in threading.enumerate()) <= 3 * config.threads
        found = await asyncio.gather(*(index.search(request_for(tenant_id=tenant)) for tenant in tenants))
        assert [len(each) for each in found] == [1] * 5, "those in use are not closed"
        assert len(index._own) == 2
        for tenant in tenants:
            assert await index.purge(tenant) == 1
        assert not index._own
    finally:
        await asyncio.to_thread(index.close)


async def test_a_server_that_does_not_answer_is_not_taken_for_a_purged_database(
    index: TenantDatabases, generation: Any, entry: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await index.upsert(generation, [entry("p", tenant_id="reborn", document_id="d")])
    own = index._own["reborn"].index

    async def fails(*given: Any, **named: Any) -> Any:
        raise StageUnavailable("the index failed; try again")

    with monkeypatch.context() as patched:
        patched.setattr(own, "read", fails)
        with pytest.raises(StageUnavailable):
            await index.read("reborn", "d", "v1", limit=3)
    assert index._own["reborn"].index is own
    assert await index.purge("reborn") == 1
