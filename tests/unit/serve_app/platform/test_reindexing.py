from __future__ import annotations

import pytest

from deployments.ingestion.base import PREPARATION, ChunkSizes, RemovedBlob, RemovedVersion, chunking
from deployments.types import EmbedderIdentity
from serve_app.platform.collections import Collections
from serve_app.platform.jobs import Jobs
from serve_app.platform.reindexing import DocumentCounts, Reindexing
from serve_app.platform.visibility import RETIRE_AFTER_S
from serve_app.storage.database import Database
from tests.support.storage import Clock, document, indexed

SIZES = ChunkSizes(220, 32)
NOW = chunking(ChunkSizes(), SIZES)
EMBEDDER = EmbedderIdentity("model", "e1", 8)


@pytest.fixture
def reindexing(database: Database, clock: Clock) -> Reindexing:
    return Reindexing(database, SIZES, clock=clock)


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


@pytest.mark.every_database
async def test_a_document_made_again_in_place_keeps_its_bytes(jobs: Jobs, reindexing: Reindexing, clock: Clock) -> None:
    await put(jobs, "d", collection="zakoni")
    await reindexing.start("a", EMBEDDER, collection="zakoni")
    [task] = await jobs.queue.claim("w", lease_s=30, limit=1)
    await jobs.queue.finish(task, indexed({1: 1}, 1, embedder="e1", chunking=NOW))
    clock.advance(RETIRE_AFTER_S)
    [former] = await jobs.queue.list_removable(10)
    assert former.document_id == "d"
    assert await jobs.queue.list_removable_blobs(10) == []
    assert former.version != task.version
    await jobs.queue.forget_removed([former])

    await jobs.accept("a", [document("d", "other content", collection="zakoni")])
    [replacing] = await jobs.queue.claim("w", lease_s=30, limit=1)
    await jobs.queue.finish(replacing, indexed({1: 1}, 1, embedder="e1", chunking=NOW))
    clock.advance(RETIRE_AFTER_S)
    assert await jobs.queue.list_removable(10) == [RemovedVersion("a", "d", task.version)]
    assert await jobs.queue.list_removable_blobs(10) == [RemovedBlob("a", task.blob)]


async def test_a_document_that_cannot_be_made_again_in_place_keeps_its_bytes(
    jobs: Jobs, reindexing: Reindexing, clock: Clock
) -> None:
    await put(jobs, "d", collection="zakoni")
    await reindexing.start("a", EMBEDDER, collection="zakoni")
    [task] = await jobs.queue.claim("w", lease_s=30, limit=1)
    await jobs.queue.fail(task, "broken_document", "cut off")
    clock.advance(RETIRE_AFTER_S)
    assert await jobs.queue.list_removable(10) == [RemovedVersion("a", "d", task.version)]


async def test_a_switch_counts_the_passages_of_collections_anew(
    jobs: Jobs, database: Database, reindexing: Reindexing
) -> None:
    await put(jobs, "d", passages=3, collection="zakoni")
    await put(jobs, "e", passages=1)
    await reindexing.start("a", EmbedderIdentity("other", "e2", 8))
    for task in await jobs.queue.claim("w", lease_s=30, limit=10):
        await jobs.queue.finish(task, indexed({1: 1}, 5, embedder="e2", chunking=NOW))
    await jobs.queue.switch_generations()
    listed = {each.name: (each.documents, each.passages) for each in await Collections(database).list("a")}
    assert listed == {"default": (1, 5), "zakoni": (1, 5)}
