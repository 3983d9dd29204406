"""What a database holds in NFD becomes NFC, and what the index has of it is replaced."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from deployments.ingestion.base import ChunkSizes, Progress, RemovedVersion
from deployments.types import EmbedderIdentity
from serve_app.platform.collections import Collections
from serve_app.platform.documents import Documents
from serve_app.platform.jobs import Jobs
from serve_app.platform.reindexing import Reindexing
from serve_app.platform.visibility import RETIRE_AFTER_S
from serve_app.storage.database import Database
from serve_app.storage.tables import Document, JobDocument, LexicalTerm, LexicalTotal
from tests.support.composing import compose_names, decomposed
from tests.support.storage import Clock, document, indexed

pytestmark = pytest.mark.every_database
ID, OWNER, TITLE, FILENAME = "mape/čitaj.md", "đuro č", "Šume", "čitaj.md"
METADATA = {"općina": "Šibenik", "list": ["ž", {"ć": "ž"}], "year": 2018}
_EMBEDDER = EmbedderIdentity("model", "e1", 8)


def in_nfd(value: Any) -> Any:
    if isinstance(value, dict):
        return {decomposed(key): in_nfd(each) for key, each in value.items()}
    if isinstance(value, list):
        return [in_nfd(each) for each in value]
    return decomposed(value) if isinstance(value, str) else value


@pytest.fixture
def clock() -> Clock:
    """Ahead of the moment at which the migration runs, so that what it queues is due."""
    clock = Clock()
    clock.advance(timedelta(days=365 * 100).total_seconds())
    return clock


async def put(jobs: Jobs, id: str, content: str = "text", *, terms: Sequence[int] = (1,), **fields: Any) -> str:
    """Hand a document in and index it; its version."""
    await jobs.accept("a", [document(id, content, **fields)])
    return await index_next(jobs, terms)


async def index_next(jobs: Jobs, terms: Sequence[int] = (1,)) -> str:
    [task] = await jobs.queue.claim("w", lease_s=30, limit=1)
    await jobs.queue.finish(task, indexed(dict.fromkeys(terms, 1), title=task.title, embedder="e1"))
    return task.version


async def all_documents(database: Database) -> list[Document]:
    async with database.session() as session:
        return list(await session.scalars(select(Document).order_by(Document.id)))


async def test_a_document_is_composed_and_indexed_again(jobs: Jobs, database: Database, clock: Clock) -> None:
    await Collections(database).create("a", "zakoni")
    await Collections(database).patch("a", "zakoni", {"chunk_tokens": 50})
    given = {"owner": OWNER, "title": TITLE, "filename": FILENAME, "metadata": METADATA}
    former = await put(jobs, decomposed(ID), collection="zakoni", language="hr", **in_nfd(given))
    await compose_names(database)

    [row] = await all_documents(database)
    assert (row.id, row.owner, row.title, row.filename, row.metadata_) == (ID, OWNER, TITLE, FILENAME, METADATA)
    assert await jobs.queue.list_removable(10) == [RemovedVersion("a", decomposed(ID), former)]
    assert row.version > former, "the index has nothing of it"
    [task] = await jobs.queue.claim("w", lease_s=30, limit=10)
    assert (task.document_id, task.owner, task.title, task.filename) == (ID, OWNER, TITLE, FILENAME)
    assert (task.metadata, task.collection, task.language, task.blob) == (METADATA, "zakoni", "hr", row.blob)
    assert (task.chunk_sizes.tokens, task.generation) == (50, "")
    assert task.version > row.version
    assert await Reindexing(database, task.chunk_sizes).running("a") == task.job_id
    await jobs.queue.finish(task, indexed({2: 1}, embedder="e1"))
    clock.advance(RETIRE_AFTER_S)
    assert await jobs.queue.list_removable_blobs(10) == [], "its bytes stay"


async def test_what_is_composed_already_stays_as_it_is(jobs: Jobs, database: Database) -> None:
    await put(jobs, ID, owner=OWNER, title=TITLE, filename=FILENAME, metadata=METADATA)
    [before] = await all_documents(database)
    await compose_names(database)
    [after] = await all_documents(database)
    assert after.fields() == before.fields()
    assert (after.id, after.version) == (before.id, before.version)
    assert await jobs.queue.list_removable(10) == []
    assert await jobs.queue.claim("w", lease_s=30, limit=10) == []


@pytest.mark.parametrize("field", ["owner", "title", "filename", "metadata"])
async def test_a_document_with_one_field_in_another_form_is_indexed_again(
    jobs: Jobs, database: Database, field: str
) -> None:
    given: dict[str, Any] = {field: {"x": [decomposed("č")]} if field == "metadata" else decomposed("č")}
    await put(jobs, "d", **given)
    await compose_names(database)
    [task] = await jobs.queue.claim("w", lease_s=30, limit=10)
    assert getattr(task, field) == ({"x": ["č"]} if field == "metadata" else "č")


async def test_two_documents_of_one_name_both_stay(
    jobs: Jobs, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    mixed = decomposed("č") + "č"
    await put(jobs, "čč", "of Windows")
    await put(jobs, decomposed("čč"), "of macOS")
    await put(jobs, mixed, "of both")
    with caplog.at_level(logging.WARNING):
        await compose_names(database)
    rows = {row.id: row.blob for row in await all_documents(database)}
    assert rows.keys() == {"čč", "čč (2)", "čč (3)"}
    assert rows["čč"] == "blob of of Windows"
    assert {task.document_id for task in await jobs.queue.claim("w", lease_s=30, limit=10)} == {"čč (2)", "čč (3)"}
    assert caplog.text.count("delete the one that is not needed") == 2


async def test_a_number_behind_a_long_id_fits(jobs: Jobs, database: Database) -> None:
    longest = "x" * 254 + "č"
    for id in (longest, decomposed(longest)):
        await jobs.accept("a", [document(id)])
    await compose_names(database)
    assert {row.id for row in await all_documents(database)} == {longest, "x" * 248 + " (2)"}


async def test_a_version_that_is_being_written_begins_again(jobs: Jobs, database: Database, clock: Clock) -> None:
    await jobs.accept("a", [document(decomposed(ID), metadata=in_nfd(METADATA))])
    [task] = await jobs.queue.claim("w", lease_s=30, limit=1)
    await jobs.queue.progress(task, "embedding", Progress("e1", chunks=9, done=4))
    await compose_names(database)
    assert await jobs.queue.list_removable(10) == [RemovedVersion("a", decomposed(ID), task.version)]
    [again] = await jobs.queue.claim("w", lease_s=30, limit=10)
    assert (again.document_id, again.metadata, again.progress) == (ID, METADATA, Progress())
    assert (again.version > task.version, again.attempts) == (True, 2)
    [row] = await all_documents(database)
    assert (row.id, row.version) == (ID, "")


async def test_a_newer_version_that_waits_is_the_one_that_is_indexed(jobs: Jobs, database: Database) -> None:
    await put(jobs, decomposed(ID), "old")
    await jobs.accept("a", [document(decomposed(ID), "new")])
    await compose_names(database)
    [task] = await jobs.queue.claim("w", lease_s=30, limit=10)
    assert (task.document_id, task.blob) == (ID, "blob of new")


async def test_a_generation_that_is_being_filled_gets_the_new_version(
    jobs: Jobs, database: Database, clock: Clock
) -> None:
    former = await put(jobs, decomposed(ID))
    await put(jobs, "other")
    filling = await Reindexing(database, ChunkSizes(400, 50), clock=clock).start("a", _EMBEDDER)
    await compose_names(database)
    assert await jobs.queue.list_removable(10) == [RemovedVersion("a", decomposed(ID), former)]
    tasks = await jobs.queue.claim("w", lease_s=30, limit=10)
    assert {(task.document_id, bool(task.generation)) for task in tasks} == {(ID, False), ("other", True)}
    for task in tasks:
        await jobs.queue.finish(task, indexed({1: 1}, embedder="e1"))
    await jobs.queue.switch_generations()
    [task] = await jobs.queue.claim("w", lease_s=30, limit=10)
    assert (task.job_id, task.document_id, bool(task.generation)) == (filling, ID, True)
    await jobs.queue.finish(task, indexed({1: 1}, embedder="e1"))
    await jobs.queue.switch_generations()
    assert (await jobs.view("a", filling)).state == "succeeded"


async def test_what_is_counted_for_two_forms_of_an_owner_adds_up(jobs: Jobs, database: Database) -> None:
    await put(jobs, "a", terms=(1, 2), owner=OWNER)
    await put(jobs, "b", terms=(2, 3), owner=decomposed(OWNER))
    await put(jobs, "c", terms=(4,), owner=decomposed("š"))
    await compose_names(database)
    totals = await database.rows(select(LexicalTotal.owner, LexicalTotal.passages))
    assert set(map(tuple, totals)) == {(OWNER, 2), ("š", 1)}
    terms = await database.rows(select(LexicalTerm.owner, LexicalTerm.term_id, LexicalTerm.passages))
    assert set(map(tuple, terms)) == {(OWNER, 1, 1), (OWNER, 2, 2), (OWNER, 3, 1), ("š", 4, 1)}


async def test_a_composed_document_is_replaced_patched_and_deleted_like_any_other(
    jobs: Jobs, database: Database, clock: Clock
) -> None:
    former = await put(jobs, decomposed(ID), terms=(1, 2))
    await compose_names(database)
    await index_next(jobs, terms=(3,))
    totals = await database.rows(select(LexicalTotal.passages))
    terms = await database.rows(select(LexicalTerm.term_id))
    assert (totals[0][0], [row[0] for row in terms]) == (1, [3])
    await Documents(database, clock=clock).delete("a", ID)
    clock.advance(RETIRE_AFTER_S)
    removed = await jobs.queue.list_removable(10)
    assert RemovedVersion("a", decomposed(ID), former) in removed
    assert await database.rows(select(LexicalTotal.passages)) == []


async def test_jobs_that_are_over_show_what_documents_are_called_now(jobs: Jobs, database: Database) -> None:
    await put(jobs, decomposed(ID))
    await compose_names(database)
    rows = await database.rows(select(JobDocument.document_id, JobDocument.state).order_by(JobDocument.sequence))
    assert list(map(tuple, rows)) == [(ID, "indexed"), (ID, "queued")]
