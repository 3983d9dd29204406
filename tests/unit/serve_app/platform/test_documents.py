from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import pytest
from sqlalchemy import func, select

from deployments.errors import Conflict, NotFound, Overloaded, Unavailable, UnknownCollection
from deployments.filters import parse
from deployments.ingestion.base import DocumentCancelled, RemovedVersion
from serve_app.platform.collections import Collections
from serve_app.platform.documents import REWRITE_S, Documents, Rewriting, Selection
from serve_app.platform.jobs import DocumentProgress, Jobs
from serve_app.platform.visibility import RETIRE_AFTER_S, Visibility
from serve_app.storage import pagination
from serve_app.storage.database import Database
from serve_app.storage.tables import Document, LexicalTerm, LexicalTotal
from tests.support.storage import Clock, delete_collection, document, indexed


@pytest.fixture
def documents(database: Database, clock: Clock) -> Documents:
    return Documents(database, clock=clock)


async def rows(database: Database) -> list[int | None]:
    async with database.session() as session:
        return [
            await session.scalar(select(func.count()).select_from(model))
            for model in (Document, LexicalTerm, LexicalTotal)
        ]


def row(document: Document) -> dict[str, Any]:
    """All that is kept of a document but its terms, which no reading of it loads."""
    return {name: getattr(document, name) for name, _ in Document.__mapper__.columns.items() if name != "terms"}


@pytest.mark.every_database
async def test_a_deleted_document_leaves_no_statistics(jobs: Jobs, documents: Documents, database: Database) -> None:
    await jobs.accept("a", [document("d", "one")])
    [task] = await jobs.queue.claim("w", lease_s=30, limit=1)
    await jobs.queue.finish(task, indexed({1: 2, 2**32 - 1: 1}, passages=2))
    await jobs.accept("a", [document("d", "two")])
    assert (await documents.delete("a", "d")).blobs == ("blob of one", "blob of two")
    assert await rows(database) == [0, 0, 0]
    assert await jobs.queue.claim("w", lease_s=30, limit=1) == []


async def test_a_queued_version_is_cancelled(jobs: Jobs, documents: Documents) -> None:
    job = await jobs.accept("a", [document("d")])
    await documents.delete("a", "d")
    assert (await jobs.view("a", job.id)).state == "cancelled"


@pytest.mark.every_database
async def test_a_version_in_work_does_not_come_back(jobs: Jobs, documents: Documents, database: Database) -> None:
    """Nor does it when the document is handed in again before its worker notices."""
    old = await jobs.accept("a", [document("d", "one")])
    [task] = await jobs.queue.claim("w", lease_s=30, limit=1)
    await documents.delete("a", "d")
    await jobs.accept("a", [document("d", "two")])
    assert await jobs.queue.claim("w", lease_s=30, limit=1) == [], "the first worker may still be writing passages"
    with pytest.raises(DocumentCancelled, match="was deleted"):
        await jobs.queue.finish(task, indexed({1: 1}))
    await jobs.queue.fail(task, "not_found", "it was deleted")
    assert (await jobs.view("a", old.id)).documents == [
        DocumentProgress("d", "cancelled", chunks=0, chunks_done=0, error=None)
    ]
    assert await rows(database) == [1, 0, 0]
    [task] = await jobs.queue.claim("w", lease_s=30, limit=1)
    assert task.blob == "blob of two"


@pytest.mark.every_database
async def test_a_version_in_work_whose_worker_died_is_cleared_up_by_the_next(
    jobs: Jobs, documents: Documents, clock: Clock
) -> None:
    await jobs.accept("a", [document("d", "one")])
    [live] = await jobs.queue.claim("w", lease_s=30, limit=1)
    await jobs.queue.finish(live, indexed({1: 1}))
    job = await jobs.accept("a", [document("d", "two")])
    [lost] = await jobs.queue.claim("w", lease_s=30, limit=1)
    await documents.delete("a", "d")
    clock.advance(30)
    assert await jobs.queue.claim("other", lease_s=30, limit=1) == []
    assert (await jobs.view("a", job.id)).state == "cancelled"
    clock.advance(RETIRE_AFTER_S)
    assert {each.version for each in await jobs.queue.list_removable(10)} == {live.version, lost.version}


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
    for task in await jobs.queue.claim("w", lease_s=30, limit=10):
        await jobs.queue.finish(task, indexed({1: 1}))
    assert await delete_collection(documents, "a", "zakoni") == (
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
    [task] = await jobs.queue.claim("w", lease_s=30, limit=1)
    others = await jobs.accept("b", new)
    assert await delete_collection(documents, "a", "zakoni") == (
        {"documents": 2, "passages": 0},
        ["blob of one", "blob of two"],
    )
    assert (await jobs.view("b", others.id)).state == "queued"
    with pytest.raises(DocumentCancelled, match="was deleted"):
        await jobs.queue.finish(task, indexed({1: 1}))
    await jobs.queue.fail(task, "not_found", "")
    assert (await jobs.view("a", job.id)).state == "cancelled"
    assert await rows(database) == [2, 0, 0]


async def test_a_document_on_its_way_into_a_deleted_collection_stays_where_it_is(
    jobs: Jobs, documents: Documents, database: Database
) -> None:
    await jobs.accept("a", [document("d", "one"), document("e", "two")])
    for task in await jobs.queue.claim("w", lease_s=30, limit=2):
        await jobs.queue.finish(task, indexed({1: 1}))
    moved = [document("d", "one", collection="zakoni"), document("e", "two", collection="zakoni")]
    job = await jobs.accept("a", moved)
    [task] = await jobs.queue.claim("w", lease_s=30, limit=1)
    assert await delete_collection(documents, "a", "zakoni") == ({"documents": 0, "passages": 0}, [])
    with pytest.raises(DocumentCancelled):
        await jobs.queue.finish(task, indexed({1: 1}))
    await jobs.queue.fail(task, "not_found", "")
    assert (await jobs.view("a", job.id)).state == "cancelled"
    async with database.session() as session:
        assert set(await session.scalars(select(Document.collection))) == {"default"}


@pytest.mark.every_database
async def test_what_is_handed_in_while_its_collection_is_deleted_is_kept_or_goes_with_it(
    jobs: Jobs, documents: Documents, database: Database
) -> None:
    other = Jobs(Database(database.config), clock=jobs.clock)

    async def hand_in() -> None:
        for n in range(20):
            with suppress(Conflict):  # the collection is being deleted
                await other.accept("a", [document(f"d{n}", collection="zakoni")])
                accepted.append(n)
        await other.database.close()

    accepted: list[int] = []
    handing_in = asyncio.create_task(hand_in())
    gone = 0
    while not handing_in.done():
        with suppress(UnknownCollection):
            gone += (await delete_collection(documents, "a", "zakoni"))[0]["documents"]
    await handing_in
    assert (await rows(database))[0] == len(accepted) - gone


@pytest.mark.every_database
async def test_a_deletion_of_a_collection_that_is_cut_off_goes_on_where_it_stopped(
    jobs: Jobs, documents: Documents, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve_app.platform.documents.MAX_DELETED", 2)
    await jobs.accept("a", [document(f"d{n}", f"text {n}", collection="zakoni") for n in range(5)])
    for task in await jobs.queue.claim("w", lease_s=30, limit=5):
        await jobs.queue.finish(task, indexed({1: 1}))
    async for batch in documents.delete_collection("a", "zakoni"):
        assert len(batch.versions) == 2
        break
    assert await rows(database) == [3, 1, 1], "what was deleted is committed"
    assert await Collections(database).names("a") == ["default"]
    assert [each.name for each in await Collections(database).list("a")] == ["default"]
    with pytest.raises(UnknownCollection):
        await Collections(database).get("a", "zakoni")
    with pytest.raises(UnknownCollection):
        await Collections(database).patch("a", "zakoni", {"description": "new"})
    with pytest.raises(Conflict, match="being deleted"):
        await Collections(database).create("a", "zakoni")
    with pytest.raises(Conflict, match="'zakoni' is being deleted; try again later"):
        await jobs.accept("a", [document("new", collection="zakoni")])
    assert (await delete_collection(documents, "a", "zakoni"))[0] == {"documents": 3, "passages": 3}
    assert await rows(database) == [0, 0, 0]
    await jobs.accept("a", [document("new", collection="zakoni")])
    assert await Collections(database).names("a") == ["default", "zakoni"]


async def test_a_version_that_is_finished_while_its_collection_is_deleted_is_given_up(
    jobs: Jobs, documents: Documents, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve_app.platform.documents.MAX_DELETED", 1)
    await jobs.accept("a", [document(f"d{n}", collection="zakoni") for n in range(3)])
    tasks = await jobs.queue.claim("w", lease_s=30, limit=3)
    async for _ in documents.delete_collection("a", "zakoni"):
        break
    for task in tasks:
        with pytest.raises(DocumentCancelled):
            await jobs.queue.finish(task, indexed({1: 1}))
    await delete_collection(documents, "a", "zakoni")
    assert await rows(database) == [0, 0, 0]


async def test_what_is_no_collection_of_the_tenant_cannot_be_deleted(documents: Documents, database: Database) -> None:
    await Collections(database).create("b", "tajno")
    with pytest.raises(UnknownCollection, match="'tajno' does not exist"):
        await delete_collection(documents, "a", "tajno")
    assert await Collections(database).names("b") == ["default", "tajno"]


async def test_the_default_collection_stays(documents: Documents) -> None:
    with pytest.raises(Conflict, match="delete its documents instead"):
        await delete_collection(documents, "a", "default")


@pytest.mark.every_database
async def test_deletions_and_a_workers_renewals_at_once_do_not_deadlock(
    jobs: Jobs, documents: Documents, database: Database
) -> None:
    ids = [f"d{n}" for n in range(15)]
    await jobs.accept("a", [document(each, collection="zakoni") for each in ids])
    tasks = await jobs.queue.claim("w", lease_s=30, limit=15)
    other = Jobs(Database(database.config), clock=jobs.clock)

    async def renew() -> None:
        for _ in range(10):
            await other.queue.renew("w", tasks[::-1], lease_s=30)
        await other.database.close()

    renewing = asyncio.create_task(renew())
    for each in ids[::2]:
        await documents.delete("a", each)
    assert (await delete_collection(documents, "a", "zakoni"))[0]["documents"] == len(ids[1::2])
    await renewing


async def put(jobs: Jobs, tenant: str, id: str, *, live: bool = True, **fields: Any) -> None:
    await jobs.accept(tenant, [document(id, id, **fields)])
    [task] = await jobs.queue.claim("w", lease_s=30, limit=1)
    if live:
        await jobs.queue.finish(task, indexed({1: 1}, passages=3))
    else:
        await jobs.queue.fail(task, "broken_document", "no text in it")


async def ids(documents: Documents, *, filter: str = "", after: str = "", limit: int = 10, **chosen: Any) -> Any:
    """The ids of a page, and the `after` of the next one."""
    selection = Selection(**chosen, filter=parse(filter) if filter else None)
    page = await documents.page("a", selection, after=after, limit=limit)
    return [each.id for each in page.rows], page.next


async def test_a_document_is_shown_as_it_is_live(jobs: Jobs, documents: Documents, clock: Clock) -> None:
    await put(jobs, "a", "d", collection="zakoni", filename="d.pdf", media_type="application/pdf", metadata={"n": 1})
    shown = await documents.get("a", "d")
    assert (shown.title, shown.collection, shown.language, shown.owner) == ("Naslov", "zakoni", "hr", "")
    assert (shown.filename, shown.media_type, shown.size, shown.passages) == ("d.pdf", "application/pdf", 1, 3)
    assert (shown.metadata_, shown.created_at, shown.updated_at) == ({"n": 1}, clock.now, clock.now)
    assert shown.version
    for tenant, missing in (("b", "d"), ("a", "e")):
        with pytest.raises(NotFound, match=missing):
            await documents.get(tenant, missing)


async def test_documents_are_chosen_by_all_that_is_given(jobs: Jobs, documents: Documents) -> None:
    await put(jobs, "a", "1", collection="zakoni", metadata={"year": 2018})
    await put(jobs, "a", "2", collection="zakoni", metadata={"year": 2020}, owner="u")
    await put(jobs, "a", "3", metadata={"year": 2020})
    await put(jobs, "a", "4", metadata={"year": 2020}, live=False)
    await put(jobs, "b", "5", collection="zakoni", metadata={"year": 2020})
    assert await ids(documents) == (["1", "2", "3", "4"], None)
    assert await ids(documents, collection="zakoni") == (["1", "2"], None)
    assert await ids(documents, owner="u") == (["2"], None)
    assert await ids(documents, owner="") == (["1", "3", "4"], None)
    assert await ids(documents, live=True) == (["1", "2", "3"], None)
    assert await ids(documents, live=False) == (["4"], None)
    assert await ids(documents, filter="metadata.year > 2018 and collection == 'default'") == (["3", "4"], None)
    assert await ids(documents, filter="metadata.year > 2018", owner="", live=True) == (["3"], None)
    assert await ids(documents, filter="language != 'en'") == (["1", "2", "3"], None), "4's is not known"


@pytest.mark.every_database
@pytest.mark.parametrize("filter", ["", "metadata.n >= 0"])
async def test_documents_come_in_pages(jobs: Jobs, documents: Documents, filter: str) -> None:
    for number in range(5):
        await put(jobs, "a", f"d{number}", metadata={"n": number})
    assert await ids(documents, filter=filter, limit=2) == (["d0", "d1"], "d1")
    assert await ids(documents, filter=filter, limit=2, after="d1") == (["d2", "d3"], "d3")
    assert await ids(documents, filter=filter, limit=2, after="d3") == (["d4"], None)
    assert await ids(documents, filter=filter, limit=2, after="d4") == ([], None)


@pytest.mark.parametrize("batch", [1, 2, 3, 10])
async def test_a_page_looks_at_a_bounded_number_of_rows(
    jobs: Jobs, documents: Documents, batch: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pagination, "BATCH", batch)
    for number in range(7):
        await put(jobs, "a", f"d{number}", metadata={"n": number})
    rare, found, after = Selection(filter=parse("metadata.n in [2, 6]")), [], ""
    for _ in range(10):
        page = await documents.page("a", rare, after=after, limit=5, max_scanned=3)
        found.append([each.id for each in page.rows])
        if page.next is None:
            break
        after = page.next
    assert found == [["d2"], [], ["d6"]]


async def begin(documents: Documents, change: dict[str, Any]) -> Rewriting:
    work = await documents.begin_rewriting("a", "d", change, lambda metadata: None)
    assert work is not None
    return work


@pytest.mark.every_database
async def test_a_rewritten_version_takes_the_live_one_s_place_with_its_bytes(
    jobs: Jobs, documents: Documents, database: Database, clock: Clock
) -> None:
    await put(jobs, "a", "d", metadata={"n": 1, "m": {"x": 1}})
    live = await documents.get("a", "d")
    work = await begin(documents, {"n": None, "m": {"y": 2}})
    assert (work.passages, work.copy.version, work.copy.replaces) == (3, live.version, ("n", "m"))
    assert (await Visibility(database).visible_versions("a")).hidden == (work.copy.to,)
    clock.advance(5)
    await documents.finish_rewriting("a", work)
    changed = await documents.get("a", "d")
    assert (changed.version, changed.metadata_) == (work.copy.to, {"m": {"x": 1, "y": 2}})
    assert (changed.passages, changed.updated_at) == (3, clock.now)
    assert (await Visibility(database).visible_versions("a")).hidden == (live.version,)
    clock.advance(RETIRE_AFTER_S)
    assert await jobs.queue.list_removable(10) == [RemovedVersion("a", "d", live.version)], "its bytes stay"
    assert (await documents.delete("a", "d")).blobs == ("blob of d",)


async def test_a_rewriting_that_takes_too_long_is_not_put_in_place_and_its_passages_go(
    jobs: Jobs, documents: Documents, clock: Clock
) -> None:
    await put(jobs, "a", "d")
    live = row(await documents.get("a", "d"))
    work = await begin(documents, {"n": 1})
    clock.advance(REWRITE_S)
    with pytest.raises(Unavailable, match="try again"):
        await documents.finish_rewriting("a", work)
    assert await jobs.queue.list_removable(10) == [], "some of them may be on their way"
    clock.advance(REWRITE_S)
    assert await jobs.queue.list_removable(10) == [RemovedVersion("a", "d", work.copy.to)]
    assert row(await documents.get("a", "d")) == live


@pytest.mark.every_database
async def test_of_two_rewritings_at_once_the_first_to_finish_wins(jobs: Jobs, documents: Documents) -> None:
    await put(jobs, "a", "d")
    first, second = await begin(documents, {"n": 1}), await begin(documents, {"n": 2})
    await documents.finish_rewriting("a", second)
    with pytest.raises(Conflict, match="replaced meanwhile"):
        await documents.finish_rewriting("a", first)
    assert (await documents.get("a", "d")).metadata_ == {"n": 2}


async def test_no_document_is_rewritten_while_too_many_versions_wait_to_be_removed(
    jobs: Jobs, documents: Documents, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve_app.platform.visibility.MAX_HIDDEN", 2)
    await put(jobs, "a", "d")
    for number in range(2):
        await begin(documents, {"n": number})
    with pytest.raises(Overloaded):
        await begin(documents, {"n": 3})


async def test_no_document_is_deleted_while_too_many_deleted_ones_are_in_the_index(
    jobs: Jobs, documents: Documents, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So what a search has to leave out is bounded, however long the index does not answer."""
    monkeypatch.setattr("serve_app.platform.visibility.MAX_WITH_DELETED", 2)
    for document_id in "abcd":
        await put(jobs, "a", document_id)
    gone = [version for name in "ab" for version in (await documents.delete("a", name)).versions]
    with pytest.raises(Overloaded, match="removed from the index"):
        await documents.delete("a", "c")
    with pytest.raises(Overloaded):
        await documents.delete_chosen("a", Selection(), ["c"])
    await jobs.queue.forget_removed(gone[:1])
    await documents.delete("a", "c")
    assert [each.id for each in (await documents.page("a", Selection())).rows] == ["d"]


async def test_a_collection_is_not_deleted_further_while_too_many_of_its_documents_are_in_the_index(
    jobs: Jobs, documents: Documents, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve_app.platform.visibility.MAX_WITH_DELETED", 5)
    monkeypatch.setattr("serve_app.platform.documents.MAX_DELETED", 3)
    for number in range(9):
        await put(jobs, "a", f"d{number}", collection="upute")
    deleted: list[RemovedVersion] = []

    async def delete() -> None:
        async for batch in documents.delete_collection("a", "upute"):
            deleted.extend(batch.versions)

    with pytest.raises(Overloaded):
        await delete()
    assert len(deleted) == 6, "a batch more than the bound at most"
    await jobs.queue.forget_removed(deleted)
    async for batch in documents.delete_collection("a", "upute"):
        await jobs.queue.forget_removed(batch.versions)
    assert (await documents.page("a", Selection())).rows == []


@pytest.mark.every_database
async def test_documents_that_changed_since_they_were_chosen_are_not_deleted(jobs: Jobs, documents: Documents) -> None:
    await put(jobs, "a", "d", metadata={"n": 1})
    await put(jobs, "a", "e", metadata={"n": 2})
    chosen = Selection(filter=parse("metadata.n == 1"))
    deleted = await documents.delete_chosen("a", chosen, ["d", "e", "f"])
    assert ([each.document_id for each in deleted.versions], deleted.blobs) == (["d"], ("blob of d",))
    assert await ids(documents) == (["e"], None)
