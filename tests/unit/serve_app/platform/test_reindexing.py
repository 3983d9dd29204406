from __future__ import annotations

import pytest

from deployments.ingestion.base import PREPARATION, ChunkSizes, chunking
from serve_app.platform.collections import Collections
from serve_app.platform.jobs import Jobs
from serve_app.platform.reindexing import DocumentCounts, Reindexing
from serve_app.storage.database import Database
from tests.support.storage import document, indexed

SIZES = ChunkSizes(220, 32)
NOW = chunking(ChunkSizes(), SIZES)


@pytest.fixture
def reindexing(database: Database) -> Reindexing:
    return Reindexing(database, SIZES)


async def put(
    jobs: Jobs,
    id: str,
    embedder: str = "e1",
    chunking: str = NOW,
    *,
    tenant: str = "a",
    collection: str = "default",
    passages: int = 1,
) -> None:
    await jobs.accept(tenant, [document(id, collection=collection)])
    [task] = await jobs.queue.claim("w", lease_s=30, limit=1)
    await jobs.queue.finish(task, indexed({1: 1}, passages, embedder=embedder, chunking=chunking))


def test_a_chunking_names_sizes_and_the_revision_of_the_code() -> None:
    assert chunking(ChunkSizes(), SIZES) == f"220/32/{PREPARATION}"
    assert chunking(ChunkSizes(100, 0), SIZES) == f"100/0/{PREPARATION}"


@pytest.mark.every_database
async def test_documents_of_another_embedder_or_chunking_are_behind(
    jobs: Jobs, database: Database, reindexing: Reindexing
) -> None:
    await put(jobs, "same", passages=3)
    await put(jobs, "other embedder", "e2")
    await put(jobs, "cut otherwise", chunking="100/0/1")
    await put(jobs, "of a former release", chunking="")
    await put(jobs, "another tenant's", "e2", tenant="b")
    await jobs.accept("a", [document("not live yet")])
    assert await reindexing.count("a", "e1") == DocumentCounts(documents=4, passages=6, behind=2)
    assert await reindexing.count("a", "e2") == DocumentCounts(documents=4, passages=6, behind=3)
    assert await reindexing.count("b", "e1") == DocumentCounts(documents=1, passages=1, behind=1)


async def test_a_collection_that_is_cut_otherwise_leaves_its_documents_behind(
    jobs: Jobs, database: Database, reindexing: Reindexing
) -> None:
    await put(jobs, "d", collection="zakoni")
    await put(jobs, "e")
    assert (await reindexing.count("a", "e1")).behind == 0
    await Collections(database).patch("a", "zakoni", {"chunk_tokens": 100})
    assert (await reindexing.count("a", "e1")).behind == 1


async def test_a_tenant_without_documents_has_none_behind(reindexing: Reindexing) -> None:
    assert await reindexing.count("a", "e1") == DocumentCounts(0, 0, 0)
