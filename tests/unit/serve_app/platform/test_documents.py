from __future__ import annotations

import asyncio
import unicodedata
from contextlib import suppress

import pytest
from sqlalchemy import func, select

from deployments.errors import InvalidRequest, NotFound, UnknownCollection
from deployments.ingestion.base import GivenUp
from serve_app.platform.collections import Collections
from serve_app.platform.database import Database
from serve_app.platform.documents import Documents
from serve_app.platform.jobs import RETIRE_AFTER_S, Jobs
from serve_app.platform.models import Document, LexicalTerm, LexicalTotal
from tests.support.storage import Clock, document, indexed


@pytest.fixture
def documents(database: Database, clock: Clock) -> Documents:
    return Documents(database, clock=clock)


async def rows(database: Database) -> list[int | None]:
    async with database.session() as session:
        return [
            await session.scalar(select(func.count()).select_from(model))
            for model in (Document, LexicalTerm, LexicalTotal)
        ]


async def test_a_deleted_document_leaves_no_statistics(jobs: Jobs, documents: Documents, database: Database) -> None:
    await jobs.accept("a", [document("d", "one")])
    [task] = await jobs.claim("w", lease_s=30, limit=1)
    await jobs.finish(task, indexed({1: 2, 2**32 - 1: 1}, passages=2))
    await jobs.accept("a", [document("d", "two")])
    assert await documents.delete("a", "d") == ["blob of one", "blob of two"]
    assert await rows(database) == [0, 0, 0]
    assert await jobs.claim("w", lease_s=30, limit=1) == []


async def test_a_queued_version_is_cancelled(jobs: Jobs, documents: Documents) -> None:
    job = await jobs.accept("a", [document("d")])
    await documents.delete("a", "d")
    assert (await jobs.view("a", job.id))["state"] == "cancelled"


async def test_a_version_in_work_does_not_come_back(jobs: Jobs, documents: Documents, database: Database) -> None:
    """Nor does it when the document is handed in again before its worker notices."""
    old = await jobs.accept("a", [document("d", "one")])
    [task] = await jobs.claim("w", lease_s=30, limit=1)
    await documents.delete("a", "d")
    await jobs.accept("a", [document("d", "two")])
    assert await jobs.claim("w", lease_s=30, limit=1) == [], "the first worker may still be writing passages"
    with pytest.raises(GivenUp, match="was deleted"):
        await jobs.finish(task, indexed({1: 1}))
    await jobs.fail(task, "not_found", "it was deleted")
    assert (await jobs.view("a", old.id))["documents"] == [
        {"id": "d", "state": "cancelled", "chunks": 0, "chunks_done": 0, "error": None}
    ]
    assert await rows(database) == [1, 0, 0]
    [task] = await jobs.claim("w", lease_s=30, limit=1)
    assert task.blob == "blob of two"


async def test_a_version_in_work_whose_worker_died_is_cleared_up_by_the_next(
    jobs: Jobs, documents: Documents, clock: Clock
) -> None:
    await jobs.accept("a", [document("d", "one")])
    [live] = await jobs.claim("w", lease_s=30, limit=1)
    await jobs.finish(live, indexed({1: 1}))
    job = await jobs.accept("a", [document("d", "two")])
    [lost] = await jobs.claim("w", lease_s=30, limit=1)
    await documents.delete("a", "d")
    clock.advance(30)
    assert await jobs.claim("other", lease_s=30, limit=1) == []
    assert (await jobs.view("a", job.id))["state"] == "cancelled"
    clock.advance(RETIRE_AFTER_S)
    assert {each.version for each in await jobs.removable(10)} == {live.version, lost.version}


async def test_another_tenants_document_is_not_there(jobs: Jobs, documents: Documents, database: Database) -> None:
    await jobs.accept("a", [document("d")])
    with pytest.raises(NotFound):
        await documents.delete("b", "d")
    assert await rows(database) == [1, 0, 0]


async def test_a_deleted_collection_takes_its_documents_and_statistics_with_it(
    jobs: Jobs, documents: Documents, database: Database
) -> None:
    mine = [document("d", "one", collection="zakoni"), document("e", "two", collection="zakoni", owner="ana")]
    await jobs.accept("a", mine)
    await jobs.accept("b", [document("d", "three", collection="zakoni")])
    await jobs.accept("a", [document("f", "four")])
    for task in await jobs.claim("w", lease_s=30, limit=10):
        await jobs.finish(task, indexed({1: 1}))
    assert await documents.delete_collection("a", "zakoni") == (
        {"documents": 2, "passages": 2},
        ["blob of one", "blob of two"],
    )
    assert await Collections(database).names("a") == ["default"]
    assert await Collections(database).names("b") == ["default", "zakoni"]
    async with database.session() as session:
        left = await session.execute(select(Document.tenant_id, Document.id).order_by(Document.tenant_id))
        assert [tuple(row) for row in left] == [("a", "f"), ("b", "d")]
        totals = await session.execute(select(LexicalTotal.tenant_id, LexicalTotal.owner, LexicalTotal.passages))
        assert sorted(tuple(row) for row in totals) == [("a", "", 1), ("b", "", 1)]


async def test_a_deleted_collections_versions_on_their_way_are_given_up(
    jobs: Jobs, documents: Documents, database: Database
) -> None:
    new = [document("d", "one", collection="zakoni"), document("e", "two", collection="zakoni")]
    job = await jobs.accept("a", new)
    [task] = await jobs.claim("w", lease_s=30, limit=1)
    others = await jobs.accept("b", new)
    assert await documents.delete_collection("a", "zakoni") == (
        {"documents": 2, "passages": 0},
        ["blob of one", "blob of two"],
    )
    assert (await jobs.view("b", others.id))["state"] == "queued"
    with pytest.raises(GivenUp, match="was deleted"):
        await jobs.finish(task, indexed({1: 1}))
    await jobs.fail(task, "not_found", "")
    assert (await jobs.view("a", job.id))["state"] == "cancelled"
    assert await rows(database) == [2, 0, 0]


async def test_a_document_on_its_way_into_a_deleted_collection_stays_where_it_is(
    jobs: Jobs, documents: Documents, database: Database
) -> None:
    await jobs.accept("a", [document("d", "one"), document("e", "two")])
    for task in await jobs.claim("w", lease_s=30, limit=2):
        await jobs.finish(task, indexed({1: 1}))
    moved = [document("d", "one", collection="zakoni"), document("e", "two", collection="zakoni")]
    job = await jobs.accept("a", moved)
    [task] = await jobs.claim("w", lease_s=30, limit=1)
    assert await documents.delete_collection("a", "zakoni") == ({"documents": 0, "passages": 0}, [])
    with pytest.raises(GivenUp):
        await jobs.finish(task, indexed({1: 1}))
    await jobs.fail(task, "not_found", "")
    assert (await jobs.view("a", job.id))["state"] == "cancelled"
    async with database.session() as session:
        assert set(await session.scalars(select(Document.collection))) == {"default"}


async def test_what_is_handed_in_while_its_collection_is_deleted_is_kept_or_goes_with_it(
    jobs: Jobs, documents: Documents, database: Database
) -> None:
    other = Jobs(Database(database.config), clock=jobs.clock)

    async def hand_in() -> None:
        for n in range(20):
            await other.accept("a", [document(f"d{n}", collection="zakoni")])
        await other.database.close()

    handing_in = asyncio.create_task(hand_in())
    gone = 0
    while not handing_in.done():
        with suppress(UnknownCollection):
            gone += (await documents.delete_collection("a", "zakoni"))[0]["documents"]
    await handing_in
    assert (await rows(database))[0] == 20 - gone


@pytest.mark.parametrize("name", ["žalbe", unicodedata.normalize("NFD", "žalbe")])
async def test_a_collection_is_deleted_under_either_form_of_its_name(
    documents: Documents, database: Database, name: str
) -> None:
    await Collections(database).create("a", "žalbe")
    assert await documents.delete_collection("a", name) == ({"documents": 0, "passages": 0}, [])


async def test_what_is_no_collection_of_the_tenant_cannot_be_deleted(documents: Documents, database: Database) -> None:
    await Collections(database).create("b", "tajno")
    with pytest.raises(UnknownCollection, match="'tajno' does not exist"):
        await documents.delete_collection("a", "tajno")
    assert await Collections(database).names("b") == ["default", "tajno"]


async def test_the_default_collection_stays(documents: Documents) -> None:
    with pytest.raises(InvalidRequest, match="delete its documents instead"):
        await documents.delete_collection("a", "default")


async def test_deletions_and_a_workers_renewals_at_once_do_not_deadlock(
    jobs: Jobs, documents: Documents, database: Database
) -> None:
    ids = [f"d{n}" for n in range(15)]
    await jobs.accept("a", [document(each, collection="zakoni") for each in ids])
    tasks = await jobs.claim("w", lease_s=30, limit=15)
    other = Jobs(Database(database.config), clock=jobs.clock)

    async def renew() -> None:
        for _ in range(10):
            await other.renew("w", tasks[::-1], lease_s=30)
        await other.database.close()

    renewing = asyncio.create_task(renew())
    for each in ids[::2]:
        await documents.delete("a", each)
    assert (await documents.delete_collection("a", "zakoni"))[0]["documents"] == len(ids[1::2])
    await renewing
