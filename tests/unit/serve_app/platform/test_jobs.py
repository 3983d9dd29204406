from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace
from datetime import timedelta
from typing import Any, get_args

import pytest
from sqlalchemy import select

from deployments.errors import InvalidRequest, NotFound
from deployments.ingestion.base import (
    ChunkSizes,
    DocumentCancelled,
    DocumentTask,
    LeaseLost,
    Progress,
    RemovedBlob,
    RemovedVersion,
)
from deployments.telemetry import tracing
from deployments.types import EmbedderIdentity, VisibleVersions
from serve_app.platform.collections import Collections
from serve_app.platform.documents import Documents
from serve_app.platform.job_states import JobState
from serve_app.platform.jobs import DocumentError, DocumentProgress, Jobs, JobView
from serve_app.platform.reindexing import Reindexing
from serve_app.platform.visibility import MAX_RUNS, RETIRE_AFTER_S, Visibility, hide, next_versions
from serve_app.storage.database import Database
from serve_app.storage.tables import Document, LexicalTerm, LexicalTotal
from tests.support.storage import Clock, document, indexed
from tests.support.traces import kept_spans

LEASE_S = 30.0


async def claim(jobs: Jobs, worker: str = "w", limit: int = 10) -> list[DocumentTask]:
    return await jobs.queue.claim(worker, lease_s=LEASE_S, limit=limit)


async def claim_one(jobs: Jobs, worker: str = "w") -> DocumentTask:
    [task] = await claim(jobs, worker)
    return task


async def states(jobs: Jobs, job_id: str, tenant: str = "a") -> dict[str, str]:
    return {document.id: document.state for document in (await jobs.view(tenant, job_id)).documents}


async def live(database: Database, document_id: str) -> Document | None:
    async with database.session() as session:
        return await session.get(Document, ("a", document_id))


async def statistics(database: Database) -> tuple[dict[Any, int], dict[Any, int]]:
    async with database.session() as session:
        terms = (await session.scalars(select(LexicalTerm))).all()
        totals = (await session.scalars(select(LexicalTotal))).all()
    return (
        {(row.tenant_id, row.owner, row.term_id): row.passages for row in terms},
        {(row.tenant_id, row.owner): row.passages for row in totals},
    )


async def test_a_task_carries_what_was_accepted(jobs: Jobs) -> None:
    new = document(
        "d", owner="u", collection="zakoni", language="hr", title="Žalba", filename="ž.pdf", metadata={"godina": 2018}
    )
    job = await jobs.accept("a", [new])
    task = await claim_one(jobs)
    assert (task.job_id, task.tenant_id, task.document_id, task.attempts) == (job.id, "a", "d", 1)
    for name in ("owner", "collection", "language", "title", "filename", "media_type", "blob", "metadata"):
        assert getattr(task, name) == new.columns()[name]


async def test_a_task_carries_the_trace_of_the_request_that_made_its_job(jobs: Jobs) -> None:
    with kept_spans():
        with tracing.CurrentSpan(tracing.begin_trace("request", {})) as request:
            await jobs.accept("a", [document("d")])
        context = tracing.remote((await claim_one(jobs)).trace).get_span_context()
        assert (context.trace_id, context.span_id) == (
            request.get_span_context().trace_id,
            request.get_span_context().span_id,
        )
        assert context.trace_flags.sampled
    await jobs.accept("a", [document("e")])
    assert (await claim_one(jobs)).trace == {}


async def test_a_job_in_all_its_states(jobs: Jobs, clock: Clock) -> None:
    job = await jobs.accept("a", [document("x"), document("y"), document("z")])
    assert (await jobs.view("a", job.id)).state == "queued"
    x, y, z = await claim(jobs)
    clock.advance(5)
    await jobs.queue.progress(y, "embedding", Progress("f", chunks=9, done=4))
    await jobs.queue.finish(x, indexed({1: 1}))
    await jobs.queue.fail(z, "broken_document", "not a PDF")
    assert await jobs.view("a", job.id) == JobView(
        id=job.id,
        state="running",
        counts={"queued": 0, "parsing": 0, "embedding": 1, "indexed": 1, "failed": 1, "cancelled": 0},
        documents=[
            DocumentProgress("x", "indexed", 1, 1, None),
            DocumentProgress("y", "embedding", 9, 4, None),
            DocumentProgress("z", "failed", 0, 0, DocumentError("broken_document", "not a PDF")),
        ],
        bulk=None,
        created_at=clock() - timedelta(seconds=5),
        updated_at=clock(),
    )
    await jobs.queue.finish(y, indexed({1: 1}))
    assert (await jobs.view("a", job.id)).state == "partial"


@pytest.mark.parametrize(("ends", "state"), [("finish", "succeeded"), ("fail", "failed")])
async def test_a_job_that_ended_one_way(jobs: Jobs, ends: str, state: str) -> None:
    job = await jobs.accept("a", [document("x"), document("y")])
    for task in await claim(jobs):
        if ends == "finish":
            await jobs.queue.finish(task, indexed({}))
        else:
            await jobs.queue.fail(task, "broken_document", "")
    assert (await jobs.view("a", job.id)).state == state


async def test_a_job_is_its_tenants_alone(jobs: Jobs) -> None:
    job = await jobs.accept("a", [document("d")])
    for tenant, job_id in (("b", job.id), ("a", "job_unknown")):
        with pytest.raises(NotFound, match="does not exist"):
            await jobs.view(tenant, job_id)


@pytest.mark.every_database
async def test_each_document_is_claimed_once_by_workers_that_contend(jobs: Jobs, database: Database) -> None:
    documents = [document(f"d{n}") for n in range(40)]
    await jobs.accept("a", documents[:20])
    await jobs.accept("b", documents[20:])
    claimed: list[tuple[str, str]] = []

    async def work(name: str) -> None:
        mine = Jobs(Database(database.config))
        while tasks := await mine.queue.claim(name, lease_s=LEASE_S, limit=3):
            claimed.extend((task.tenant_id, task.document_id) for task in tasks)
            for task in tasks:
                await mine.queue.finish(task, indexed({1: 1, 2: 1}))
        await mine.database.close()

    await asyncio.gather(*(work(f"w{n}") for n in range(4)))
    assert Counter(claimed) == Counter([("a", f"d{n}") for n in range(20)] + [("b", f"d{n}") for n in range(20, 40)])
    terms, totals = await statistics(database)
    assert terms == {(tenant, "", term): 20 for tenant in ("a", "b") for term in (1, 2)}
    assert totals == {("a", ""): 20, ("b", ""): 20}


@pytest.mark.every_database
async def test_a_lost_lease_hands_the_document_on(jobs: Jobs, clock: Clock) -> None:
    job = await jobs.accept("a", [document("d")])
    first = await claim_one(jobs, "first")
    clock.advance(LEASE_S - 1)
    assert await claim(jobs, "second") == []
    clock.advance(1)
    second = await claim_one(jobs, "second")
    assert second == replace(first, attempts=2)

    with pytest.raises(LeaseLost):
        await jobs.queue.progress(first, "embedding")
    await jobs.queue.renew("first", [first], lease_s=1000)
    await jobs.queue.finish(first, indexed({1: 1}))
    await jobs.queue.fail(first, "broken_document", "")
    await jobs.queue.retry(first, after_s=0)
    assert await states(jobs, job.id) == {"d": "parsing"}, "the first worker's calls must change nothing any more"

    clock.advance(LEASE_S)
    assert (await claim_one(jobs, "third")).attempts == 3, "nor must they have renewed the lease"


async def test_the_next_worker_is_told_how_far_the_one_before_came(jobs: Jobs, clock: Clock) -> None:
    await jobs.accept("a", [document("d")])
    first = await claim_one(jobs)
    assert first.progress == Progress()
    so_far = Progress("f", chunks=9, done=4)
    await jobs.queue.progress(first, "embedding", so_far)
    await jobs.queue.progress(first, "embedding")
    clock.advance(LEASE_S)
    assert (await claim_one(jobs, "second")).progress == so_far


@pytest.mark.every_database
async def test_a_cancelled_job_ends_what_waits_and_what_is_worked_on(jobs: Jobs, clock: Clock) -> None:
    job = await jobs.accept("a", [document("done"), document("in work"), document("tried"), document("waiting")])
    done, in_work, tried = await jobs.queue.claim("w", lease_s=LEASE_S, limit=3)
    other = await jobs.accept("b", [document("waiting")])
    await jobs.queue.finish(done, indexed({1: 1}))
    await jobs.queue.retry(tried, after_s=60)
    for _ in range(2):
        await jobs.cancel("a", job.id)
    with pytest.raises(DocumentCancelled):
        await jobs.queue.progress(in_work, "embedding")
    with pytest.raises(DocumentCancelled):
        await jobs.queue.finish(in_work, indexed({1: 1}))
    await jobs.queue.fail(in_work, "cancelled", "")
    expected = {"done": "indexed", "in work": "cancelled", "tried": "cancelled", "waiting": "cancelled"}
    assert await states(jobs, job.id) == expected
    assert (await jobs.view("b", other.id)).state == "queued"
    clock.advance(RETIRE_AFTER_S)
    assert {each.version for each in await jobs.queue.list_removable(10)} == {in_work.version, tried.version}
    with pytest.raises(NotFound):
        await jobs.cancel("b", job.id)


@pytest.mark.every_database
async def test_searches_find_the_old_version_or_the_new(jobs: Jobs, database: Database, clock: Clock) -> None:
    visibility = Visibility(database)
    before = await visibility.visible_versions("a")
    await jobs.accept("a", [document("d", "one")])
    assert await visibility.visible_versions("a") == before == VisibleVersions("v000000000000000")
    old = await claim_one(jobs)
    assert old.version > before.newest, "a search that began before it was begun leaves it out"
    assert await visibility.visible_versions("a") == VisibleVersions(old.version, (old.version,)), (
        "its passages are not complete"
    )
    await jobs.queue.finish(old, indexed({1: 1}))
    assert await visibility.visible_versions("a") == VisibleVersions(old.version)
    await jobs.accept("a", [document("d", "two")])
    new = await claim_one(jobs)
    assert new.version > old.version
    assert await visibility.visible_versions("a") == VisibleVersions(new.version, (new.version,))
    await jobs.queue.finish(new, indexed({1: 1}))
    assert await visibility.visible_versions("a") == VisibleVersions(new.version, (old.version,))
    assert await visibility.visible_versions("b") == before

    assert await jobs.queue.list_removable(10) == [], "a search that began before must find the old version whole"
    clock.advance(RETIRE_AFTER_S)
    (gone,) = await jobs.queue.list_removable(10)
    assert gone == RemovedVersion("a", "d", old.version)
    assert await jobs.queue.list_removable_blobs(10) == [RemovedBlob("a", "blob of one")]
    await jobs.queue.forget_removed([gone, gone])
    assert await visibility.visible_versions("a") == VisibleVersions(new.version)
    await jobs.accept("a", [document("d", "one")])
    assert (await claim_one(jobs)).version > new.version, "what is removed late must not be this"


@pytest.mark.every_database
async def test_versions_are_named_in_the_order_in_which_they_are_begun_by_workers_that_contend(
    jobs: Jobs, database: Database
) -> None:
    for tenant in ("a", "b"):
        await jobs.accept(tenant, [document(f"d{n}") for n in range(20)])
    others = [Jobs(Database(database.config), clock=jobs.clock) for _ in range(3)]

    async def work(mine: Jobs, name: str) -> list[tuple[str, str]]:
        names = []
        while tasks := await claim(mine, name, limit=3):
            names += [(task.tenant_id, task.version) for task in tasks]
        await mine.database.close()
        return names

    seen: list[VisibleVersions] = []
    working = asyncio.gather(*(work(each, f"w{n}") for n, each in enumerate(others)))
    while not working.done():
        seen.append(await Visibility(database).visible_versions("a"))
        await asyncio.sleep(0)
    assert sorted(name for names in await working for name in names) == [
        (tenant, f"v{n:015d}") for tenant in ("a", "b") for n in range(1, 21)
    ]
    first = f"v{1:015d}"
    for each in seen:
        runs = [*((name, name) for name in each.hidden), *each.hidden_runs]
        assert runs == ([(first, each.newest)] if each.newest >= first else []), "none comes later"


@pytest.mark.every_database
async def test_a_failed_version_leaves_the_live_one_alone(jobs: Jobs, database: Database, clock: Clock) -> None:
    await jobs.accept("a", [document("d", "one")])
    live = await claim_one(jobs)
    await jobs.queue.finish(live, indexed({1: 1}))
    await jobs.accept("a", [document("d", "two")])
    failed = await claim_one(jobs)
    await jobs.queue.fail(failed, "broken_document", "")
    assert await Visibility(database).visible_versions("a") == VisibleVersions(failed.version, (failed.version,))
    clock.advance(RETIRE_AFTER_S)
    assert [each.version for each in await jobs.queue.list_removable(10)] == [failed.version]


@pytest.mark.every_database
async def test_hidden_versions_that_follow_each_other_are_named_as_a_run(database: Database) -> None:
    former = ["0a1b", "f3"]  # names of former releases
    numbers = [*range(8, 12), 13, 15, 16, *range(20, 4_000)]
    async with database.transaction() as session:
        await next_versions(session, {"a": 5_000})
        names = [*former, *(f"v{number:015d}" for number in numbers)]
        await hide(session, [RemovedVersion("a", f"d{name}", name) for name in names])
        await hide(session, [RemovedVersion("b", "d", f"v{number:015d}") for number in (12, 14, 17)])
    seen = await Visibility(database).visible_versions("a")
    assert seen.newest == f"v{5_000:015d}"
    assert seen.hidden == (*former, f"v{13:015d}")
    assert [(int(first[1:]), int(last[1:])) for first, last in seen.hidden_runs] == [(8, 11), (15, 16), (20, 3_999)]
    every = [*former, *(f"v{number:015d}" for number in range(1, 5_001))]
    assert [name for name in every if not seen.includes(name)] == names


async def test_a_search_leaves_out_few_runs_and_names_the_versions_of_others(database: Database) -> None:
    """Milvus cannot read a condition for each of many."""
    short = [number for first in range(1, 600, 3) for number in (first, first + 1)]
    long = [number for first in range(1_000, 1_000 + 10 * MAX_RUNS, 10) for number in range(first, first + 5)]
    names = [f"v{number:015d}" for number in [*short, *long]]
    async with database.transaction() as session:
        await next_versions(session, {"a": 2_000})
        await hide(session, [RemovedVersion("a", f"d{name}", name) for name in names])
    seen = await Visibility(database).visible_versions("a")
    assert [(int(first[1:]), int(last[1:])) for first, last in seen.hidden_runs] == [
        (first, first + 4) for first in long[::5]
    ]
    assert [*seen.hidden] == names[: len(short)]
    assert [name for number in range(1, 2_001) if not seen.includes(name := f"v{number:015d}")] == names


@pytest.mark.every_database
async def test_who_has_too_many_unseen_versions_waits_until_some_are_removed(
    jobs: Jobs, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve_app.platform.visibility.MAX_HIDDEN", 2)
    await jobs.accept("a", [document("d"), document("e")])
    await jobs.accept("b", [document("d")])
    for task in await claim(jobs):
        await jobs.queue.fail(task, "broken_document", "") if task.tenant_id == "a" else None
    await jobs.accept("a", [document("f")])
    await jobs.accept("b", [document("f")])
    assert [(task.tenant_id, task.document_id) for task in await claim(jobs)] == [("b", "f")]
    clock.advance(RETIRE_AFTER_S)
    await jobs.queue.forget_removed((await jobs.queue.list_removable(10))[:1])
    assert ("a", "f") in [(task.tenant_id, task.document_id) for task in await claim(jobs)]


@pytest.mark.every_database
async def test_a_renewed_lease_lasts(jobs: Jobs, clock: Clock) -> None:
    await jobs.accept("a", [document("d")])
    task = await claim_one(jobs)
    clock.advance(LEASE_S - 1)
    await jobs.queue.renew("w", [task], lease_s=LEASE_S)
    clock.advance(LEASE_S - 1)
    assert await claim(jobs, "other") == []


@pytest.mark.every_database
async def test_a_retry_waits_its_time(jobs: Jobs, clock: Clock) -> None:
    job = await jobs.accept("a", [document("d")])
    await jobs.queue.retry(await claim_one(jobs), after_s=60)
    assert await states(jobs, job.id) == {"d": "queued"}
    clock.advance(59)
    assert await claim(jobs) == []
    clock.advance(1)
    assert (await claim_one(jobs)).attempts == 2


@pytest.mark.every_database
async def test_finishing_twice_is_finishing_once(jobs: Jobs, database: Database) -> None:
    await jobs.accept("a", [document("d")])
    task = await claim_one(jobs)
    for _ in range(2):
        await jobs.queue.finish(task, indexed({1: 2}, passages=3))
    assert await statistics(database) == ({("a", "", 1): 2}, {("a", ""): 3})


async def test_a_finished_document_shows_its_live_version(jobs: Jobs, database: Database) -> None:
    await jobs.accept("a", [document("d", "one", title="", metadata={"n": 1})])
    await jobs.queue.finish(await claim_one(jobs), indexed({1: 1}, title="Naslov\0 \ud800"))
    await jobs.accept("a", [document("d", "two", collection="zakoni", metadata={"n": 2})])
    before = await live(database, "d")
    assert before is not None
    assert (before.blob, before.collection, before.metadata_, before.title) == (
        "blob of one",
        "default",
        {"n": 1},
        "Naslov ?",
    )
    task = await claim_one(jobs)
    await jobs.queue.finish(task, indexed({2: 1}, passages=4))
    after = await live(database, "d")
    assert after is not None
    assert (after.version, after.blob, after.collection, after.metadata_, after.passages, after.language) == (
        task.version,
        "blob of two",
        "zakoni",
        {"n": 2},
        4,
        "hr",
    )


async def test_a_failed_version_leaves_the_one_before_live(jobs: Jobs, database: Database) -> None:
    await jobs.accept("a", [document("d", "one")])
    await jobs.queue.finish(await claim_one(jobs), indexed({1: 1}))
    await jobs.accept("a", [document("d", "two")])
    await jobs.queue.fail(await claim_one(jobs), "broken_document", "bad\0 \ud800")
    row = await live(database, "d")
    assert row is not None
    assert row.blob == "blob of one"
    assert (await statistics(database))[0] == {("a", "", 1): 1}
    again = await jobs.accept("a", [document("d", "one")])
    assert await states(jobs, again.id) == {"d": "indexed"}


@pytest.mark.every_database
async def test_versions_of_a_document_are_worked_on_in_order(jobs: Jobs, database: Database, clock: Clock) -> None:
    old = await jobs.accept("a", [document("d", "one")])
    new = await jobs.accept("a", [document("d", "two"), document("e")])
    first, other = await claim(jobs)
    assert (first.blob, other.document_id) == ("blob of one", "e")
    assert await claim(jobs) == []
    await jobs.queue.retry(first, after_s=60)
    assert await claim(jobs) == [], "a version that waits for its next try keeps its place"
    await jobs.queue.renew("w", [other], lease_s=1000)
    clock.advance(60)
    first = await claim_one(jobs)
    await jobs.queue.finish(first, indexed({1: 1}))
    second = await claim_one(jobs)
    assert first.version != second.version
    assert second.blob == "blob of two"
    await jobs.queue.finish(second, indexed({2: 1}))
    await jobs.queue.finish(first, indexed({1: 1}))
    row = await live(database, "d")
    assert row is not None
    assert row.version == second.version
    assert (await statistics(database))[0] == {("a", "", 2): 1}
    assert await states(jobs, old.id) == {"d": "indexed"}
    assert await states(jobs, new.id) == {"d": "indexed", "e": "parsing"}


@pytest.mark.every_database
async def test_the_same_document_again_is_no_work(jobs: Jobs, database: Database) -> None:
    await jobs.accept("a", [document("d", title="T", metadata={"x": 1, "y": 2})])
    await jobs.queue.finish(await claim_one(jobs), indexed({1: 1}))
    same = document("d", title="T", metadata={"y": 2, "x": 1}).replaced(blob="another upload")
    again = await jobs.accept("a", [same])
    assert (await jobs.view("a", again.id)).state == "succeeded"
    assert again.unused_blobs == ("another upload",)
    assert await claim(jobs) == []
    assert (await Documents(database).delete("a", "d")).blobs == ("blob of text",), (
        "the job must not name a blob nobody keeps"
    )


@pytest.mark.parametrize(
    "change",
    [
        {"content_hash": "0" * 64},
        {"title": "other"},
        {"collection": "other"},
        {"language": "en"},
        {"filename": "other"},
        {"media_type": "text/html"},
        {"metadata": {"x": 1}},
    ],
    ids=lambda change: next(iter(change)),
)
async def test_any_change_is_a_new_version(jobs: Jobs, change: dict[str, Any]) -> None:
    await jobs.accept("a", [document("d")])
    await jobs.queue.finish(await claim_one(jobs), indexed({}))
    again = await jobs.accept("a", [document("d").replaced(**change)])
    assert again.unused_blobs == ()
    assert await states(jobs, again.id) == {"d": "queued"}


async def test_going_back_to_the_live_version_while_another_waits_is_work(jobs: Jobs, database: Database) -> None:
    await jobs.accept("a", [document("d", "one")])
    await jobs.queue.finish(await claim_one(jobs), indexed({}))
    await jobs.accept("a", [document("d", "two")])
    await jobs.accept("a", [document("d", "one")])
    for content in ("two", "one"):
        task = await claim_one(jobs)
        assert task.blob == f"blob of {content}"
        await jobs.queue.finish(task, indexed({}))
    row = await live(database, "d")
    assert row is not None
    assert row.blob == "blob of one"


async def test_a_document_that_never_became_live_shows_what_was_accepted_last(jobs: Jobs, database: Database) -> None:
    await jobs.accept("a", [document("d", "one")])
    await jobs.queue.fail(await claim_one(jobs), "broken_document", "")
    await jobs.accept("a", [document("d", "two", title="Drugi", metadata={"n": 2})])
    row = await live(database, "d")
    assert row is not None
    assert (row.version, row.title, row.blob, row.metadata_) == ("", "Drugi", "blob of two", {"n": 2})


async def test_ids_are_made_of_owner_name_and_content(jobs: Jobs) -> None:
    new = [
        document(content="x", filename="f"),
        document(content="x", filename="f"),
        document(content="y", filename="f"),
        document(content="x", filename="g"),
        document(content="x", filename="f", owner="u"),
    ]
    first, again, *others = (await jobs.accept("a", new)).documents
    assert first == again
    assert len({first, *others}) == 4
    assert (await jobs.accept("a", new[:1])).documents == (first,)


@pytest.mark.every_database
async def test_a_job_is_accepted_whole_or_not_at_all(jobs: Jobs, database: Database) -> None:
    await jobs.accept("a", [document("d", owner="ana")])
    await claim(jobs)
    with pytest.raises(InvalidRequest, match="'d' belongs to a document of another owner"):
        await jobs.accept("a", [document("e", collection="nova"), document("d", owner="ivo")])
    assert await live(database, "e") is None
    assert await claim(jobs) == []
    assert await Collections(database).names("a") == ["default"]


@pytest.mark.parametrize(
    ("new", "says"),
    [
        ([], "documents: none given"),
        ([document("d", "one"), document("d", "two")], "'d' is given to two different documents"),
        ([document("")], "use 1 to 256 characters"),
        ([document("x" * 257)], "use 1 to 256 characters"),
        ([document("a\nb")], "none of them a control character"),
        ([document("\ud800")], "none of them a control character"),
        ([document(collection="a b")], "collection 'a b'"),
        ([document(title="x" * 1001)], "title: 1001 characters"),
        ([document(title="a\0")], "title: holds a NUL"),
        ([document(owner="\udfff")], "owner: holds a NUL or an unpaired surrogate"),
        ([document(metadata={"x": ["\0"]})], "metadata: holds a NUL"),
        ([document(metadata={"\ud800": 1})], "metadata: holds a NUL or an unpaired surrogate"),
        ([document(metadata={"x": float("nan")})], "metadata: not a JSON object"),
    ],
)
async def test_documents_outside_the_rules_are_refused(jobs: Jobs, new: list[Any], says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        await jobs.accept("a", new)


@pytest.mark.every_database
async def test_odd_but_lawful_text_is_kept(jobs: Jobs) -> None:
    metadata = {"put": "C:\\u0000", "ključ 🔑": [True, None, 1.5, {"ž": "đ"}]}
    await jobs.accept("a", [document("čćšžđ 🔑/..", title="\u2028", metadata=metadata)])
    task = await claim_one(jobs)
    assert (task.document_id, task.title, task.metadata) == ("čćšžđ 🔑/..", "\u2028", metadata)


@pytest.mark.every_database
async def test_two_jobs_with_the_same_new_documents_do_not_deadlock(
    jobs: Jobs, database: Database, clock: Clock
) -> None:
    ids = [f"d{n}" for n in range(20)]

    async def accept(order: list[str]) -> None:
        mine = Jobs(Database(database.config), clock=clock)
        for round_ in range(3):
            await mine.accept("a", [document(each, str(round_), collection=f"c-{each}") for each in order])
        await mine.database.close()

    await asyncio.gather(accept(ids), accept(ids[::-1]))
    assert len(await claim(jobs, limit=100)) == 20


async def test_progress_goes_only_between_states_of_work(jobs: Jobs) -> None:
    await jobs.accept("a", [document("d")])
    task = await claim_one(jobs)
    with pytest.raises(ValueError, match="use finish, fail or retry"):
        await jobs.queue.progress(task, "indexed")


async def page(jobs: Jobs, **asked: Any) -> tuple[list[str], str | None]:
    found = await jobs.page("a", **asked)
    return [each.id for each in found.rows], found.next


async def test_jobs_come_newest_first_and_those_of_one_moment_each_once(jobs: Jobs, clock: Clock) -> None:
    together = sorted([(await jobs.accept("a", [document(name)])).id for name in ("x", "y", "z")], reverse=True)
    clock.advance(1)
    newest = (await jobs.accept("a", [document("w")])).id
    await jobs.accept("b", [document("w")])
    assert await page(jobs) == ([newest, *together], None)
    assert await page(jobs, limit=2) == ([newest, together[0]], together[0])
    assert await page(jobs, limit=2, after=together[0]) == (together[1:], together[2])
    assert await page(jobs, limit=2, after=together[2]) == ([], None)
    with pytest.raises(InvalidRequest, match="after"):
        await jobs.page("b", after=newest)


async def test_a_page_of_jobs_in_one_state_looks_at_a_bounded_number(jobs: Jobs, clock: Clock) -> None:
    first = await jobs.accept("a", [document("x")])
    [task] = await claim(jobs)
    await jobs.queue.finish(task, indexed({1: 1}))
    clock.advance(1)
    later = [(await jobs.accept("a", [document(name)])).id for name in ("y", "z")]
    assert await page(jobs, state="succeeded") == ([first.id], None)
    found, after = await page(jobs, state="succeeded", max_scanned=2)
    assert found == []
    assert after in later
    assert await page(jobs, state="succeeded", max_scanned=2, after=after) == ([first.id], None)


async def test_jobs_of_each_state_are_found_without_a_look_at_all_others(
    jobs: Jobs, database: Database, clock: Clock
) -> None:
    for name in ("indexed", "failed", "both", "waits"):
        await jobs.accept("a", [document(name), *([document("other")] if name == "both" else ())])
        clock.advance(1)
    for task in await claim(jobs, limit=4):
        if task.document_id in ("failed", "other"):
            await jobs.queue.fail(task, "broken_document", "broken")
        else:
            await jobs.queue.finish(task, indexed({}))
    await jobs.cancel("a", (await jobs.accept("a", [document("cancelled")])).id)
    await Reindexing(database, ChunkSizes(100, 10), clock=clock).start("a", EmbedderIdentity("m", "e", 3))
    await jobs.accept("b", [document("failed")])
    every = (await jobs.page("a")).rows
    states = [each.state for each in every]
    assert sorted(states) == ["cancelled", "failed", "partial", "queued", "queued", "succeeded"]
    for state in get_args(JobState):
        found = await jobs.page("a", state=state, max_scanned=6 if state == "succeeded" else 4)
        assert [each.id for each in found.rows] == [each.id for each in every if each.state == state]
    assert await page(jobs, state="running", max_scanned=3) == ([], None), "all others are not looked at"


@pytest.mark.every_database
async def test_a_summary_is_the_view_without_its_documents(jobs: Jobs, clock: Clock) -> None:
    job = await jobs.accept("a", [document("x"), document("y"), document("z")])
    x, y, _ = await claim(jobs)
    clock.advance(5)
    await jobs.queue.finish(x, indexed({1: 1}))
    clock.advance(5)
    await jobs.queue.fail(y, "broken_document", "not a PDF")
    summary, view = await jobs.summary("a", job.id), await jobs.view("a", job.id)
    assert (summary.id, summary.state, summary.counts) == (view.id, view.state, view.counts)
    assert (summary.created_at, summary.updated_at) == (view.created_at, view.updated_at)
    for tenant, missing in (("b", job.id), ("a", "job_0")):
        with pytest.raises(NotFound):
            await jobs.summary(tenant, missing)
