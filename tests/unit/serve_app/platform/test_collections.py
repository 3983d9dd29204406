from __future__ import annotations

import asyncio
import re

import pytest

from deployments.errors import Conflict, InvalidRequest, NotFound, UnknownCollection
from deployments.ingestion.base import ChunkSizes
from serve_app.platform.collections import Collections, CollectionView
from serve_app.platform.documents import Documents
from serve_app.platform.jobs import Jobs
from serve_app.storage.database import Database
from tests.support.storage import Clock, document, indexed


@pytest.fixture
def collections(database: Database, clock: Clock) -> Collections:
    return Collections(database, clock=clock)


async def test_the_default_is_always_there(collections: Collections) -> None:
    await collections.require("a", ["default"])
    await collections.require("a", [])


@pytest.mark.every_database
async def test_ingesting_into_a_collection_makes_it(jobs: Jobs, collections: Collections) -> None:
    await jobs.accept("a", [document(collection="zakoni"), document(collection="zakoni", content="x")])
    await collections.require("a", ["zakoni", "default"])


async def test_an_unknown_one_is_named_beside_those_of_the_tenant(collections: Collections) -> None:
    await collections.create("a", "zakoni")
    await collections.create("b", "tajno")
    says = re.escape("collections: there is no 'tajno'; there is 'default', 'zakoni'")
    with pytest.raises(UnknownCollection, match=f"^{says}$"):
        await collections.require("a", ["zakoni", "tajno"])


async def test_not_all_of_many_are_listed(collections: Collections) -> None:
    for n in range(25):
        await collections.create("a", f"c{n}")
    with pytest.raises(UnknownCollection, match=r"and 6 more$"):
        await collections.require("a", ["x"])


@pytest.mark.parametrize("name", ["Žalbe_2018.hr-1", "x" * 64])
async def test_lawful_names(collections: Collections, name: str) -> None:
    await collections.create("a", name)
    with pytest.raises(Conflict, match="exists"):
        await collections.create("a", name)
    assert await collections.names("a") == sorted(["default", name])


@pytest.mark.parametrize("name", ["", "x" * 65, "a b", "a/b", "a\n", "a'b", "z\u030calbe"])
async def test_unlawful_names(collections: Collections, name: str) -> None:
    with pytest.raises(InvalidRequest, match="collection"):
        await collections.create("a", name)


async def test_collections_are_listed_page_by_page(collections: Collections) -> None:
    for name in ("zakoni", "akti", "žalbe"):
        await collections.create("a", name)
    await collections.create("b", "tajno")
    listed: list[str] = []
    while page := await collections.list("a", after=listed[-1] if listed else "", limit=2):
        assert len(page) <= 2
        listed += [each.name for each in page]
    assert listed == ["akti", "default", "zakoni", "žalbe"]


async def test_a_collection_is_as_it_was_created_and_patched(collections: Collections, clock: Clock) -> None:
    created_at = clock()
    made = await collections.create("a", "zakoni", "Narodne novine")
    assert made == CollectionView("zakoni", "Narodne novine", None, None, 0, 0, created_at, created_at)
    assert await collections.get("a", "zakoni") == made
    clock.advance(60)
    patched = await collections.patch("a", "zakoni", {"description": "novi opis"})
    assert patched == CollectionView("zakoni", "novi opis", None, None, 0, 0, created_at, clock())
    assert await collections.get("a", "zakoni") == patched


async def test_a_collection_s_documents_are_cut_by_its_sizes_and_again_when_those_change(
    collections: Collections, jobs: Jobs
) -> None:
    await collections.create("a", "zakoni", sizes=ChunkSizes(100, 10))
    await jobs.accept("a", [document("d", collection="zakoni"), document("e")])
    mine, other = await jobs.queue.claim("w", lease_s=30, limit=2)
    assert (mine.chunk_sizes, other.chunk_sizes) == (ChunkSizes(100, 10), ChunkSizes())
    for task in (mine, other):
        await jobs.queue.finish(task, indexed({1: 1}))
    again = [document("d", collection="zakoni"), document("e")]
    await jobs.accept("a", again)
    assert await jobs.queue.claim("w", lease_s=30, limit=2) == []
    changed = await collections.patch("a", "zakoni", {"chunk_tokens": 200, "chunk_overlap": None})
    assert (changed.chunk_tokens, changed.chunk_overlap) == (200, None)
    await jobs.accept("a", again)
    (task,) = await jobs.queue.claim("w", lease_s=30, limit=2)
    assert (task.document_id, task.chunk_sizes) == ("d", ChunkSizes(200, None))


async def test_an_overlap_as_large_as_its_chunk_is_refused(collections: Collections) -> None:
    with pytest.raises(InvalidRequest, match="chunk_overlap"):
        await collections.create("a", "zakoni", sizes=ChunkSizes(50, 50))
    await collections.create("a", "zakoni", sizes=ChunkSizes(50, 10))
    with pytest.raises(InvalidRequest, match="chunk_overlap"):
        await collections.patch("a", "zakoni", {"chunk_tokens": 10})
    assert (await collections.get("a", "zakoni")).chunk_tokens == 50


async def test_another_tenants_collection_is_unknown(collections: Collections) -> None:
    await collections.create("b", "tajno")
    for use in (collections.get("a", "tajno"), collections.patch("a", "tajno", {"description": "x"})):
        with pytest.raises(UnknownCollection, match="'tajno' does not exist"):
            await use
    assert (await collections.get("b", "tajno")).description == ""


@pytest.mark.every_database
async def test_documents_and_passages_are_counted_once_they_are_live(
    collections: Collections, jobs: Jobs, database: Database
) -> None:
    async def counts() -> dict[str, tuple[int, int]]:
        return {each.name: (each.documents, each.passages) for each in await collections.list("a")}

    await jobs.accept("b", [document("d", collection="zakoni")])
    await jobs.accept("a", [document("d", collection="zakoni"), document("e", collection="zakoni"), document("f")])
    assert await counts() == {"default": (0, 0), "zakoni": (0, 0)}
    for passages, task in enumerate(await jobs.queue.claim("w", lease_s=30, limit=10), start=1):
        await jobs.queue.finish(task, indexed({}, passages=passages))
    assert await counts() == {"default": (1, 4), "zakoni": (2, 4)}
    await jobs.accept("a", [document("e", "moved")])
    assert (await counts())["zakoni"] == (2, 4), "the live version is still there"
    for task in await jobs.queue.claim("w", lease_s=30, limit=1):
        await jobs.queue.finish(task, indexed({}, passages=10))
    assert await counts() == {"default": (2, 14), "zakoni": (1, 1)}
    await Documents(database).delete("a", "d")
    assert await counts() == {"default": (2, 14), "zakoni": (0, 0)}


@pytest.mark.every_database
async def test_of_two_who_create_the_same_one_does(collections: Collections) -> None:
    other = Collections(Database(collections.database.config))
    ends = await asyncio.gather(*(each.create("a", "nova") for each in (collections, other)), return_exceptions=True)
    assert sorted(type(end).__name__ for end in ends) == ["CollectionView", "Conflict"]
    await other.database.close()


async def test_a_tenant_that_is_not_there_gets_no_collection(collections: Collections) -> None:
    with pytest.raises(NotFound, match="'nobody' does not exist"):
        await collections.create("nobody", "nova")
