"""Which version of a document searches find while it is replaced, and that they find nothing of a deleted one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from deployments.errors import StageUnavailable
from deployments.types import Candidate, RetrievalRequest
from tests.support.world import World, world

ROUNDS = 200


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        await made.add_tenant("acme")
        yield made


def text(number: int) -> str:
    """Three chunks, each of which names the version and is found by the same question."""
    return "\n\n".join(f"## Članak {n}.\n\nRok za žalbu u izdanju {number} je {n} dana." for n in (1, 2, 3))


async def editions(service: World) -> list[str]:
    """The editions that a search finds, one for each chunk."""
    answer = await service.call("acme", "POST", "/v1/search", json={"query": "rok za žalbu", "top_k": 50})
    assert answer.status_code == 200, answer.text
    return [each["text"].split("izdanju ")[1].split(" ")[0] for each in answer.json()["results"]]


async def test_searches_beside_200_replacements_find_the_old_version_or_the_new(service: World) -> None:
    await service.put("acme", id="d", text=text(0))
    replaced = asyncio.Event()
    seen: list[list[str]] = []

    async def ask() -> None:
        while not replaced.is_set():
            seen.append(await editions(service))
            await asyncio.sleep(0.01)

    asking = asyncio.create_task(ask())
    for number in range(1, ROUNDS + 1):
        await service.put("acme", id="d", text=text(number))
        assert await editions(service) == [str(number)] * 3
    replaced.set()
    await asking
    assert len(seen) > ROUNDS / 2, "the searches were to go on all the time"
    assert [found for found in seen if len(found) != 3 or len(set(found)) != 1] == []
    assert len({found[0] for found in seen}) > 20, "the searches were to meet many replacements"


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


async def test_nothing_is_found_of_200_documents_once_they_are_deleted(service: World) -> None:
    for turn in range(20):
        ids = [f"{turn}-{n}" for n in range(10)]
        documents = [{"id": each, "text": f"## Članak 1.\n\nRok za žalbu u izdanju {each} je 8 dana."} for each in ids]
        params = {"tenant": "acme", "documents": documents}
        command = {"id": "1", "command": "process_documents", "params": {**params, "async": False}}
        (await service.call("acme", "POST", "/v1/commands", json=command)).raise_for_status()
        assert sorted(await editions(service)) == sorted(ids)
        for left, each in zip(range(9, -1, -1), ids, strict=True):
            answer = await service.call("acme", "DELETE", f"/v1/documents/{each}")
            assert answer.status_code == 204
            found = await editions(service)
            assert (each in found, len(found)) == (False, left)


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
        while await service.services.jobs.removable(1):  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.01)
    assert await service.stages.delete("acme", "d") == 0, "the worker removed what was left"
