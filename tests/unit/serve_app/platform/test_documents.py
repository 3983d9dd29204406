from __future__ import annotations

import pytest
from sqlalchemy import func, select

from deployments.errors import NotFound
from serve_app.platform.database import Database
from serve_app.platform.documents import Documents
from serve_app.platform.jobs import Jobs
from serve_app.platform.models import Document, LexicalTerm, LexicalTotal
from tests.support.storage import Clock, document, indexed


@pytest.fixture
def documents(database: Database) -> Documents:
    return Documents(database)


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
    with pytest.raises(NotFound, match="was deleted while it was indexed"):
        await jobs.finish(task, indexed({1: 1}))
    await jobs.fail(task, "not_found", "it was deleted")
    assert (await jobs.view("a", old.id))["documents"] == [{"id": "d", "state": "cancelled", "error": None}]
    assert await rows(database) == [1, 0, 0]
    [task] = await jobs.claim("w", lease_s=30, limit=1)
    assert (task.blob, task.live_version) == ("blob of two", "")


async def test_a_version_in_work_whose_worker_died_is_cleared_up_by_the_next(
    jobs: Jobs, documents: Documents, clock: Clock
) -> None:
    await jobs.accept("a", [document("d", "one")])
    [task] = await jobs.claim("w", lease_s=30, limit=1)
    await jobs.finish(task, indexed({1: 1}))
    await jobs.accept("a", [document("d", "two")])
    await jobs.claim("w", lease_s=30, limit=1)
    await documents.delete("a", "d")
    clock.advance(30)
    [task] = await jobs.claim("other", lease_s=30, limit=1)
    assert (task.blob, task.live_version) == ("blob of two", "")
    with pytest.raises(NotFound):
        await jobs.finish(task, indexed({1: 1}))


async def test_another_tenants_document_is_not_there(jobs: Jobs, documents: Documents, database: Database) -> None:
    await jobs.accept("a", [document("d")])
    with pytest.raises(NotFound):
        await documents.delete("b", "d")
    assert await rows(database) == [1, 0, 0]
