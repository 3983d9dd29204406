"""Which version of a document searches find while it is replaced, and that they find nothing of a deleted one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deployments.errors import StageUnavailable
from deployments.types import Candidate, RetrievalRequest
from tests.support.editions import delete_one_by_one, editions, replace_beside_searches, text
from tests.support.world import World, world

ROUNDS = 5


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        await made.add_tenant("acme")
        yield made


async def test_searches_beside_replacements_find_the_old_version_or_the_new(service: World) -> None:
    """`make bench NAME=versions` does two hundred rounds."""
    assert await replace_beside_searches(service, ROUNDS) >= ROUNDS


async def test_a_search_that_is_overtaken_by_replacements_finds_what_was_there_when_it_began(
    service: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its reading what is to be found and its searching, a document is replaced twice and another is new."""
    await service.put("acme", id="d", text=text(0))
    retrieve = service.stages.retrieve

    async def overtaken(request: RetrievalRequest) -> list[Candidate]:
        with monkeypatch.context() as undone:
            undone.setattr(service.stages, "retrieve", retrieve)
            for number in (1, 2):
                await service.put("acme", id="d", text=text(number))
            await service.put("acme", id="e", text=text(3))
        return await retrieve(request)

    monkeypatch.setattr(service.stages, "retrieve", overtaken)
    assert await editions(service) == ["0"] * 3
    monkeypatch.undo()
    assert sorted(await editions(service)) == ["2"] * 3 + ["3"] * 3


async def test_nothing_is_found_of_documents_once_they_are_deleted(service: World) -> None:
    await delete_one_by_one(service, turns=1)


async def test_a_document_deleted_while_the_index_is_down_is_not_found_when_it_is_back(
    service: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await service.put("acme", id="d", text=text(1))

    async def down(tenant_id: str, document_id: str) -> int:
        raise StageUnavailable("Milvus restarts")

    with monkeypatch.context() as broken:
        broken.setattr(service.stages, "delete", down)
        assert (await service.call("acme", "DELETE", "/v1/documents/d")).status_code == 204
    assert await editions(service) == []
    assert (await service.call("acme", "DELETE", "/v1/documents/d")).status_code == 404
    async with asyncio.timeout(20):
        while await service.stores.jobs.queue.list_removable(1):  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.01)
    assert await service.stages.delete("acme", "d") == 0, "the worker removed what was left"
