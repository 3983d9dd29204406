from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from deployments.errors import InvalidRequest, StageUnavailable
from deployments.retrieval.config import RetrievalConfig
from deployments.retrieval.deployment import Retrieval
from deployments.retrieval.embedded.folder import IndexFolder
from deployments.types import DocumentVersion, IndexEntry, IndexGeneration, RetrievalRequest, StageStatus, VersionCopy
from tests.support.waiting import until

Entry = Callable[..., IndexEntry]
Request = Callable[..., RetrievalRequest]


async def test_passages_go_in_are_found_and_go(generation: IndexGeneration, entry: Entry, request_for: Request) -> None:
    retrieval = Retrieval(RetrievalConfig(backend="fake"))
    await retrieval.upsert(generation, [entry("a", version="v1"), entry("b", document_id="doc-a", version="v2")])
    assert len(await retrieval.search(request_for())) == 2
    assert await retrieval.delete_versions("t", [DocumentVersion("doc-a", "v2")]) == 1
    assert await retrieval.delete("t", "doc-a") == 1
    assert await retrieval.search(request_for()) == []


async def test_too_many_passages_at_once_are_refused(generation: IndexGeneration, entry: Entry) -> None:
    retrieval = Retrieval(RetrievalConfig(backend="fake", max_entries=2))
    await retrieval.upsert(generation, [entry("a"), entry("b")])
    with pytest.raises(InvalidRequest, match="max_entries"):
        await retrieval.upsert(generation, [entry("a"), entry("b"), entry("c")])
    assert len(await retrieval.read("t", "doc-a", "v1", "", -1, 2)) == 1
    with pytest.raises(InvalidRequest, match="max_entries"):
        await retrieval.read("t", "doc-a", "v1", "", -1, 3)
    copy = VersionCopy("doc-a", "v1", "v2", {}, ())
    assert await retrieval.copy("t", copy, "", -1, 2) == 1
    with pytest.raises(InvalidRequest, match="max_entries"):
        await retrieval.copy("t", copy, "", -1, 3)


async def test_a_replacement_is_healthy_while_its_predecessor_holds_the_folder(
    tmp_path: Path, generation: IndexGeneration, entry: Entry, request_for: Request, lock_attempts: list[str]
) -> None:
    config = RetrievalConfig(uri=str(tmp_path / "index"))
    old = Retrieval(config)
    await old.upsert(generation, [entry("a")])
    new = Retrieval(config)
    waiting = asyncio.ensure_future(new.search(request_for()))
    for attempts in range(2, 5):
        await until(lambda: len(lock_attempts) >= attempts)  # noqa: B023 - awaited in the same round
        await new.check_health()
    assert await new.status() == StageStatus(False, "embedded", detail="opening the index")
    assert not waiting.done()
    assert len(await old.search(request_for())) == 1
    old.__del__()
    assert len(await waiting) == 1
    await new.check_health()
    assert await new.status() == StageStatus(True, "embedded")
    new.__del__()


async def test_a_caller_that_gives_up_does_not_end_the_wait_of_others(
    tmp_path: Path, request_for: Request, lock_attempts: list[str]
) -> None:
    holder = IndexFolder(str(tmp_path / "index"))
    assert holder.try_lock()
    retrieval = Retrieval(RetrievalConfig(uri=str(tmp_path / "index")))
    first, second = (asyncio.ensure_future(retrieval.search(request_for())) for _ in range(2))
    await until(lambda: len(lock_attempts) >= 2)
    first.cancel()
    await asyncio.sleep(0)
    holder.release()
    assert await second == []
    retrieval.__del__()


async def test_a_folder_that_stays_locked_makes_the_replica_unhealthy_until_it_is_free(
    tmp_path: Path, request_for: Request
) -> None:
    holder = IndexFolder(str(tmp_path / "index"))
    assert holder.try_lock()
    retrieval = Retrieval(RetrievalConfig(uri=str(tmp_path / "index"), lock_timeout_s=0.2))
    with pytest.raises(StageUnavailable, match="locked"):
        await retrieval.search(request_for())
    with pytest.raises(StageUnavailable, match="locked"):
        await retrieval.check_health()
    status = await retrieval.status()
    assert not status.ready
    assert "locked" in (status.detail or "")
    holder.release()
    assert await retrieval.search(request_for()) == []
    await retrieval.check_health()
    retrieval.__del__()


async def test_a_server_that_is_away_is_told_by_status_and_not_by_health(
    request_for: Request, caplog: pytest.LogCaptureFixture
) -> None:
    retrieval = Retrieval(RetrievalConfig(uri="http://127.0.0.1:1", timeout_s=2))
    with pytest.raises(StageUnavailable):
        await retrieval.search(request_for())
    await retrieval.check_health()
    status = await retrieval.status()
    assert (status.ready, status.engine) == (False, "milvus")
    assert status.detail == "the index failed; try again", "addresses are for the log"
    assert "http://127.0.0.1:1" in caplog.text
    retrieval.__del__()


async def test_construction_touches_nothing(tmp_path: Path) -> None:
    retrieval = Retrieval(RetrievalConfig(uri=str(tmp_path / "index")))
    assert not (tmp_path / "index").exists()
    retrieval.__del__()
    retrieval.__del__()
