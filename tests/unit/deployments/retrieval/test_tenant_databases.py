"""Tenants with a Milvus database of their own, on a real server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import ValidationError
from pymilvus import MilvusClient

from deployments.retrieval.config import RetrievalConfig
from deployments.retrieval.tenant_databases import TenantDatabases, database_name


@pytest.fixture
async def index(lite_server: Any) -> AsyncIterator[TenantDatabases]:
    index = TenantDatabases(RetrievalConfig(uri=lite_server.uri, collection_prefix="own", own_databases=("acme",)))
    await index.open()
    yield index
    await asyncio.to_thread(index.close)


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
