"""Every place that confines something to a tenant, and the code without it.

The filters in SQL are found in the source: each call of `of_tenant` is one, known by its file and line. The others
are few and written down.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import sys
import textwrap
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

from sqlalchemy import ColumnElement, true

import serve_app.platform
from deployments.errors import InvalidRequest, NotFound
from deployments.ingestion import passages
from deployments.ingestion.base import DocumentTask, RemovedVersion
from deployments.retrieval import filter_expression, milvus, milvus_rows
from deployments.retrieval.embedded import store
from deployments.types import IndexEntry, VisibleVersions
from serve_app.platform import (
    document_ids,
    documents,
    failures,
    idempotency,
    jobs,
    retention,
    retries,
    stored_blobs,
    tenants,
    usage,
    visibility,
)
from serve_app.platform.keys import Principal
from serve_app.platform.retention_config import RetentionConfig
from serve_app.services.access import Access, AccessService
from serve_app.storage import declarative
from serve_app.storage.database import Database
from serve_app.storage.declarative import utc_now
from tests.support.storage import document

ROOT = Path(serve_app.__file__).parents[1]
MODULES = [
    importlib.import_module(f"{serve_app.platform.__name__}.{path.stem}")
    for path in sorted((ROOT / "serve_app" / "platform").glob("*.py"))
    if "of_tenant(" in path.read_text("utf-8")
]
"""Those with filters in SQL. `declarative.py`, which has the function, is in another room."""


@dataclass(frozen=True)
class Filter:
    """A call of `of_tenant`. `place` is file, function and the ordinal of the call in it: it outlives edits above."""

    place: str
    module: Any
    line: int

    @contextmanager
    def removed(self) -> Iterator[None]:
        def here_nothing(model: type[declarative.TenantOwned], tenant_id: str) -> ColumnElement[bool]:
            frame = sys._getframe(1)
            if frame.f_lineno == self.line:
                return true()
            return declarative.of_tenant(model, tenant_id)

        with mock.patch.object(self.module, "of_tenant", here_nothing):
            yield


def sql_filters() -> list[Filter]:
    found = []
    for module in MODULES:
        path = Path(module.__file__ or "")
        for function in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                calls = [
                    node
                    for node in ast.walk(function)
                    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "of_tenant"
                ]
                lines = sorted({call.lineno for call in calls})
                assert len(lines) == len(calls), f"{path.name}:{function.name}: one call of of_tenant a line"
                found += [
                    Filter(f"{path.stem}.{function.name}.{number}", module, line)
                    for number, line in enumerate(lines, 1)
                ]
    return found


@contextmanager
def _patched(target: Any, name: str, other: Any) -> Iterator[None]:
    with mock.patch.object(target, name, other):
        yield


def _any_tenant(expression: Callable[..., str]) -> Callable[..., str]:
    """A Milvus expression without its condition on the tenant, which is always the first."""

    def without(*args: Any, **kwargs: Any) -> str:
        _, _, rest = expression(*args, **kwargs).partition(" and ")
        return rest or 'tenant_id != ""'

    return without


_PASSAGE_ID, _ROW = passages.passage_id, milvus_rows.to_row


@contextmanager
def _passages_of_all_under_one_key() -> Iterator[None]:
    """Both the passage's id and its primary key hold the tenant; either alone keeps tenants apart."""

    def shared_id(task: DocumentTask, position: int) -> str:
        return _PASSAGE_ID(replace(task, tenant_id="any"), position)

    def shared_row(entry: IndexEntry) -> dict[str, Any]:
        return {**_ROW(entry), "pk": entry.passage.id[:32]}

    with mock.patch.object(passages, "passage_id", shared_id), mock.patch.object(milvus, "to_row", shared_row):
        yield


_OF_TENANT = "tenant_id = ?"


@contextmanager
def _store_of_any_tenant(method: str) -> Iterator[None]:
    """A method of the embedded index's store without its condition on the tenant."""
    source = textwrap.dedent(inspect.getsource(getattr(store.PassageStore, method)))
    assert source.count(_OF_TENANT) == 1, f"PassageStore.{method}: one condition on the tenant"
    namespace = dict(vars(store))
    exec(source.replace(_OF_TENANT, "? IS NOT NULL"), namespace)
    with mock.patch.object(store.PassageStore, method, namespace[method]):
        yield


@contextmanager
def _ids_of_all_replaced() -> Iterator[None]:
    """Both a passage's id and the condition hold the tenant; either alone keeps tenants apart."""

    def shared_id(task: DocumentTask, position: int) -> str:
        return _PASSAGE_ID(replace(task, tenant_id="any"), position)

    with mock.patch.object(passages, "passage_id", shared_id), _store_of_any_tenant("remove_ids"):
        yield


_DELETE = retention.Retention._delete


def _delete_of_all(self: retention.Retention, past: Any, tenants: Sequence[str] | None = None) -> AsyncIterator[int]:
    """What one tenant has kept long enough goes from all."""
    return _DELETE(self, past)


async def _access_by_name(service: AccessService, principal: Principal, named: str | None) -> Access:
    tenant = await service.tenants.active(named or principal.tenant_id)
    return Access(tenant, principal.role, principal.key_id)


def other_filters() -> dict[str, Callable[[], Any]]:
    """Name → a context in which it is gone."""
    found: dict[str, Callable[[], Any]] = {
        f"milvus.{name}": partial(_patched, milvus, name, _any_tenant(getattr(filter_expression, name)))
        for name in ("scope_expression", "document_expression", "window_expression", "tenant_expression")
    }
    found["milvus.primary_key"] = _passages_of_all_under_one_key
    found |= {
        f"embedded.{name}": partial(_store_of_any_tenant, name)
        for name in ("rows", "window", "entries", "remove_document", "remove_tenant")
    }
    found["embedded.remove_ids"] = _ids_of_all_replaced
    found["retention.these"] = partial(_patched, retention.Retention, "_delete", _delete_of_all)
    found["services.access"] = partial(_patched, AccessService, "resolve", _access_by_name)
    return found


_ONLY_WHEN = "decides when a document is indexed, and not what of it is found: test_turns.py"
IMPLIED = {
    "claims.of_job.1": "a job's id is drawn and belongs to one tenant",
    "claims.release.1": "a job's id is drawn and belongs to one tenant",
    "claims._next_due.1": _ONLY_WHEN,
    "turns.rejoin.1": _ONLY_WHEN,
    "turns.nudge.1": _ONLY_WHEN,
    "turns.set_due.1": _ONLY_WHEN,
    "job_queue._nudge_if_waited_for.1": _ONLY_WHEN,
    "job_lists.candidates.1": "the jobs that are listed are the tenant's",
    "job_lists._ended_badly.1": "the jobs that are listed are the tenant's",
    "job_lists._ended_badly.2": "the jobs that are listed are the tenant's",
    "job_lists._goes_on.1": "the jobs that are listed are the tenant's",
    "job_lists._goes_on.2": "the jobs that are listed are the tenant's",
    "jobs._check_room.2": "the documents that are counted are the tenant's",
    "bulk.waiting.1": "a job's id is drawn and belongs to one tenant",
    "bulk._is.1": "a job's id is drawn and belongs to one tenant",
    "claims.by_ray_job.1": "the worker's name holds the tenant, and the job's id is drawn",
    "generation_switch.settle.1": "a job's id is drawn and belongs to one tenant",
    "generation_switch._of_job.1": "a job's id is drawn and belongs to one tenant",
    "idempotency._claimed.1": "a claim is known by its moment as well, to the microsecond",
    "job_queue._held.1": "a claim is known by its job's id, which is drawn and belongs to one tenant",
    "jobs._summaries.2": "the jobs were found among the tenant's just before",
    "jobs.cancel.2": "the job was found among the tenant's just before",
    "retries.choose.1": "the job was found among the tenant's just before",
    "jobs.view.2": "the job was found among the tenant's just before",
    "job_queue.fail.1": "a job's id is drawn and belongs to one tenant",
    "keys.revoke.2": "the key was found among the tenant's just before",
    "webhooks._set.1": "a message's id is drawn and belongs to one tenant",
    "stored_blobs.hurry.1": "decides when bytes are removed that no document needs",
    "lexical_statistics._owned.1": "removes rows that have come to nothing, and no committed row has",
}
"""Filters that another condition implies; they stay, so that nobody has to think about it."""


SCENE_OF = {
    "collections.chunk_sizes.1": "collections",
    "collections.patch.1": "collections",
    "collections.names.1": "collections",
    "collections._views.1": "collections",
    "collections.move.1": "versions",
    "documents._locked.1": "metadata",
    "documents._conditions.1": "metadata",
    "documents._forget.1": "waiting",
    "documents._forget.2": "deletions",
    "documents.get.1": "looks",
    "documents._delete_some.1": "waiting",
    "documents._delete_some.2": "waiting",
    "documents._delete_some.3": "waiting",
    "collections.mark_deleted.1": "waiting",
    "idempotency.begin.1": "repetitions",
    "jobs._summaries.1": "looks",
    "job_lists._place.1": "looks",
    "acceptance.lock_documents.2": "versions",
    "acceptance.lock_documents.3": "waiting",
    "job_queue._check_chunks.1": "quotas",
    "jobs.view.1": "looks",
    "job_queue.finish.1": "versions",
    "jobs.cancel.1": "looks",
    "jobs.retry.1": "looks",
    "keys.rotate.1": "looks",
    "keys.list.1": "keys",
    "keys.revoke.1": "looks",
    "audit.list.1": "keys",
    "query_log.get.1": "looks",
    "query_log.page.1": "looks",
    "daily_usage.page.1": "looks",
    "lexical_statistics.query_weights.1": "versions",
    "lexical_statistics.query_weights.2": "versions",
    "generations._of.1": "reindexings",
    "generations.live_documents.1": "looks",
    "generations.refilled_in.1": "reindexings",
    "reindexing.running_job.1": "reindexings",
    "tenants._stop.1": "waiting",
    "tenants._settled.1": "waiting",
    "tenants._delete_some.1": "deletions",
    "embedded.entries": "metadata",
    "embedded.remove_document": "deletions",
    "embedded.remove_ids": "deletions",
    "embedded.remove_tenant": "deletions",
    "embedded.rows": "deletions",
    "embedded.window": "versions",
    "milvus.document_expression": "deletions",
    "milvus.primary_key": "deletions",
    "milvus.scope_expression": "deletions",
    "milvus.tenant_expression": "deletions",
    "milvus.window_expression": "versions",
    "retention.these": "sweeps",
    "services.access": "looks",
}
"""By filter, the scene (`scenario.py`) that fails without it."""


async def uploads_beside_others(database: Database) -> None:
    """Raises where one tenant's documents take another's room, or the automatic id of its file."""
    store = jobs.Jobs(database, max_waiting=2)
    for tenant in ("a", "b"):
        await tenants.Tenants(database).ensure(tenant)
    await store.accept("a", [document("c.pdf"), document("d.pdf")])
    own = document(filename="c.pdf").replaced(id=document_ids.of_file("", "default", "c.pdf"))
    assert (await store.accept("b", [own])).documents == ("c.pdf",)
    await _usage_beside_others(database)


async def _usage_beside_others(database: Database) -> None:
    """Raises where what one tenant has counts as another's, for documents and keys of the same names."""
    store = jobs.Jobs(database)
    for tenant in ("c", "d"):
        await tenants.Tenants(database).ensure(tenant)
    await store.accept("c", [document("1", "old", blob="one"), document("2", "old", blob="two")])
    await store.accept("d", [document("1", "other", blob="one")])
    await store.accept("c", [document("1", "newer", blob="three")])
    await store.reserve("c", {"four": 4})
    async with database.session() as session:
        assert await stored_blobs.passing(session, "c") == len("old") + 4
        assert await stored_blobs.passing(session, "d") == 0
        assert await usage.read(session, "d") == usage.Usage(1, len("other"))
        before = await usage.read(session, "c")
    deleted = await documents.Documents(database).delete("d", "1")
    assert deleted.blobs == ("one",)
    async with database.session() as session:
        assert await usage.read(session, "c") == before == usage.Usage(2, len("old" + "old" + "newer") + 4)
    await store.cancel("c", (await store.accept("c", [document("3", "gone", blob="five")])).id)
    await _retries_beside_others(database)
    await _failures_beside_others(database)
    await _kept_answers_beside_others(database)
    await _hidden_versions_beside_others(database)
    await tenants.Tenants(database).ensure("e")
    kept = retention.Retention(database, RetentionConfig(jobs_days=1e-9), idempotency_s=1)
    assert not any((await kept.state("e")).waiting.values())


async def _hidden_versions_beside_others(database: Database) -> None:
    """Raises where versions that one tenant's searches must not find decide what another's find, or when it is removed.

    Versions of all tenants have the same names."""
    for tenant in ("l", "m"):
        await tenants.Tenants(database).ensure(tenant)
    seen, now = visibility.Visibility(database), utc_now()
    async with database.transaction() as session:
        [first, second, third] = (await visibility.next_versions(session, {"l": 3}))["l"]
        await visibility.next_versions(session, {"m": 2})
        await visibility.hide(session, [RemovedVersion("l", "d", first), RemovedVersion("l", "d", third)])
        await visibility.hide(session, [RemovedVersion("m", "d", first)])
    assert await seen.visible_versions("l") == VisibleVersions(third, (first, third))
    assert await seen.visible_versions("m") == VisibleVersions(second, (first,))
    async with database.transaction() as session:
        with mock.patch.object(visibility, "MAX_HIDDEN", 2):
            assert await visibility.is_full(session, "l")
            assert not await visibility.is_full(session, "m")
        await visibility.schedule_removal(session, "l", [first], now)
        due = await visibility.list_removable(session, now, 10)
        assert [each for each in due if each.tenant_id in "lm"] == [RemovedVersion("l", "d", first)]
        await visibility.reveal(session, "l", first)
    assert await seen.visible_versions("m") == VisibleVersions(second, (first,))


async def _retries_beside_others(database: Database) -> None:
    """Raises where another tenant's documents of the same ids decide which failed ones can be worked on again."""
    store = jobs.Jobs(database)
    for tenant in ("f", "g"):
        await tenants.Tenants(database).ensure(tenant)
    job = await store.accept("f", [document("1", "f", blob="six"), document("2", "f", blob="seven")])
    for task in await store.queue.claim("w", lease_s=30, limit=10):
        if task.tenant_id == "f":
            await store.queue.fail(task, "broken_document", "broken")
    await documents.Documents(database).delete("f", "1")
    await store.accept("g", [document("1", "g", blob="six"), document("2", "g", blob="seven")])
    retried = await store.retry("f", job.id)
    assert [document_id for document_id, _ in retried.documents] == ["2"]
    assert retried.left_out == [retries.LeftOut("1", "deleted")]


async def _failures_beside_others(database: Database) -> None:
    """Raises where another tenant's failed documents, jobs or places in its list are told."""
    store = jobs.Jobs(database)
    for tenant in ("j", "k"):
        await tenants.Tenants(database).ensure(tenant)
    job = await store.accept("j", [document("1", "j")])
    for task in await store.queue.claim("w", lease_s=30, limit=10):
        await store.queue.fail(task, "broken_document", "broken")
    assert len((await failures.page(database, "j")).rows) == 1
    assert (await failures.page(database, "k")).rows == []
    for job_id, after in ((job.id, ""), (None, f"{job.id}:1")):
        try:
            await failures.page(database, "k", job_id=job_id, after=after)
        except (NotFound, InvalidRequest):
            continue
        raise AssertionError(f"{job_id or after} is another tenant's")


async def _kept_answers_beside_others(database: Database) -> None:
    """Raises where one tenant's kept answers take another's room, or are dropped for them."""
    kept = idempotency.Idempotency(database, lease_s=60, keep_s=60, max_tenant_bytes=5_000)
    for tenant in ("h", "i"):
        await tenants.Tenants(database).ensure(tenant)

    async def begin(tenant: str, key: str) -> idempotency.Claim | idempotency.Answer:
        return await kept.begin(tenant, key, "question", "secret", is_question=True)

    async def ask(tenant: str, *keys: str) -> None:
        for key in keys:
            begun = await begin(tenant, key)
            assert isinstance(begun, idempotency.Claim)
            await kept.keep(begun, idempotency.Answer(200, {}, b"x" * 1_000))

    await ask("i", "0", "1")
    await ask("h", "1", "2", "3")
    for tenant, key in (("i", "0"), ("h", "1"), ("h", "2"), ("h", "3")):
        assert isinstance(await begin(tenant, key), idempotency.Answer)
    await ask("h", "4")
    assert isinstance(await begin("i", "1"), idempotency.Answer)
    assert isinstance(await begin("h", "1"), idempotency.Claim)


CHECKED_HERE = (
    "acceptance.choose_ids.1",
    "jobs._check_room.1",
    "acceptance.lock_documents.1",
    "retries._lock.1",
    "retries._newest.1",
    "retention.state.1",
    "retention.state.2",
    "stored_blobs._are.1",
    "stored_blobs.passing.1",
    "stored_blobs.passing.2",
    "stored_blobs.passing.3",
    "stored_blobs.release_documents.1",
    "usage.read.1",
    "usage.subtract.1",
    "failures._conditions.1",
    "failures._conditions.2",
    "failures._place.1",
    "idempotency._make_room.1",
    "idempotency._make_room.2",
    "idempotency._make_room.3",
    "visibility._has.1",
    "visibility._is.1",
    "visibility._runs.1",
    "visibility.schedule_removal.1",
    "visibility.visible_versions.1",
)
"""Filters without which `uploads_beside_others` fails."""
ON_AN_ENGINE = [
    *(("embedded", scene) for scene in ("versions", "deletions", "metadata")),
    *(("milvus", scene) for scene in ("versions", "deletions")),
]
"""Runs on the embedded index and on a Milvus server: those of their own filters. All others are on the index that is a
fake."""


def filters_of(index: str, scene: str) -> list[str]:
    """The filters without which a scene on an index has to fail."""
    on_engines = ("embedded", "milvus")
    return [
        name
        for name, named in SCENE_OF.items()
        if named == scene and (name.partition(".")[0] if name.partition(".")[0] in on_engines else "fake") == index
    ]


@contextmanager
def without(name: str) -> Iterator[None]:
    """The code with one filter removed, by its name."""
    with ExitStack() as stack:
        for each in sql_filters():
            if each.place == name:
                stack.enter_context(each.removed())
                break
        else:
            stack.enter_context(other_filters()[name]())
        yield
