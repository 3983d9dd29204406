"""A tenant's index is made again beside the live one: for another embedder or chunk size, or after it was lost."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from deployments.ingestion.worker import Worker
from deployments.types import IndexEntry, IndexGeneration
from tests.support.world import INGESTION, World, world

DOCUMENTS = 6
QUESTION = "rok za žalbu"


@pytest.fixture(params=["fake", "embedded"])
async def service(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path, index=request.param) as made:
        await fill(made, "acme")
        yield made


async def fill(service: World, tenant: str, documents: int = DOCUMENTS) -> None:
    await service.add_tenant(tenant)
    for number in range(documents):
        await service.put(tenant, id=f"d{number}", text=text(number))


def text(number: int) -> str:
    return "\n\n".join(f"## Članak {n}.\n\nRok za žalbu u predmetu {number} je {n} dana." for n in (1, 2, 3))


async def search(service: World, tenant: str = "acme", query: str = QUESTION) -> dict[str, Any]:
    answer = await service.call(tenant, "POST", "/v1/search", json={"query": query, "top_k": 50})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


async def found(service: World, tenant: str = "acme") -> list[str]:
    return sorted(result["document_id"] for result in (await search(service, tenant))["results"])


async def state(service: World, tenant: str = "acme") -> dict[str, Any]:
    answer = await service.call(tenant, "GET", "/v1/reindex")
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


async def reindex(service: World, tenant: str = "acme", **body: Any) -> str:
    answer = await service.call(tenant, "POST", "/v1/reindex", json=body)
    assert answer.status_code == 202, answer.text
    job_id: str = answer.json()["job_id"]
    return job_id


EVERYTHING = sorted([f"d{number}" for number in range(DOCUMENTS)] * 3)


async def test_another_embedder_takes_over_in_one_step_and_until_then_terms_answer(service: World) -> None:
    assert (await state(service))["behind"] == 0
    service.stages.change_embedder("other")
    behind = await state(service)
    assert (behind["documents"], behind["behind"], behind["embedder"]["model"]) == (DOCUMENTS, DOCUMENTS, "other")
    assert behind["live_embedder"] == "fakebagofwords1" != behind["embedder"]["fingerprint"]
    before = await search(service)
    assert before["degraded"] == ["index"]
    assert await found(service) == EVERYTHING

    service.held = True
    job = await reindex(service)
    service.resume()
    while (told := (await service.call("acme", "GET", f"/v1/jobs/{job}")).json())["state"] in ("queued", "running"):
        during = await search(service)
        assert sorted(result["document_id"] for result in during["results"]) == EVERYTHING
        await asyncio.sleep(0)
    assert told["state"] == "succeeded"
    assert told["counts"]["indexed"] == DOCUMENTS
    after = await search(service)
    assert after["degraded"] == []
    assert await found(service) == EVERYTHING
    assert all(result["scores"]["dense"] for result in after["results"])
    now = await state(service)
    assert (now["behind"], now["missing"], now["job_id"]) == (0, 0, None)
    assert now["live_embedder"] == now["embedder"]["fingerprint"]


async def test_a_question_without_terms_is_refused_until_the_switch(service: World) -> None:
    service.stages.change_embedder("other")
    answer = await service.call("acme", "POST", "/v1/search", json={"query": "?"})
    assert (answer.status_code, answer.json()["code"]) == (409, "embedder_mismatch")
    assert "rag reindex" in answer.json()["detail"]
    await service.settled("acme", await reindex(service))
    assert (await service.call("acme", "POST", "/v1/search", json={"query": "?"})).status_code == 200


async def test_a_generation_that_is_half_filled_is_never_searched(
    service: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After each write to the new generation a search finds the old one whole, and nothing of the new one."""
    service.stages.change_embedder("other")
    upsert, looks = service.stages.upsert, list[list[str]]()

    async def watched(generation: IndexGeneration, entries: list[IndexEntry]) -> None:
        await upsert(generation, entries)
        results = (await search(service))["results"]
        assert all(result["scores"]["dense"] is None for result in results)
        looks.append(sorted(result["document_id"] for result in results))

    monkeypatch.setattr(service.stages, "upsert", watched)
    await service.settled("acme", await reindex(service))
    assert looks == [EVERYTHING] * DOCUMENTS


async def test_documents_that_arrive_change_or_go_meanwhile_are_as_they_should_be_before_and_after(
    service: World,
) -> None:
    service.stages.change_embedder("other")
    service.held = True
    job = await reindex(service)
    for document in ({"id": "new", "text": text(90)}, {"id": "d0", "text": "Rok za žalbu je dan."}):
        (await service.call("acme", "POST", "/v1/documents", json=document)).raise_for_status()
    (await service.call("acme", "DELETE", "/v1/documents/d1")).raise_for_status()
    (await service.call("acme", "PATCH", "/v1/documents/d2", json={"metadata": {"year": 1}})).raise_for_status()
    service.resume()
    assert (await service.settled("acme", job))["state"] == "succeeded"
    expected = sorted([*(["d2", "d3", "d4", "d5", "new"] * 3), "d0"])
    assert await found(service) == expected
    results = (await search(service))["results"]
    assert {result["metadata"].get("year") for result in results if result["document_id"] == "d2"} == {1}
    assert all(result["scores"]["dense"] for result in results)
    assert (await state(service))["behind"] == 0


async def test_a_document_that_arrives_after_the_embedder_changed_is_found_at_once_by_its_terms(
    service: World,
) -> None:
    service.stages.change_embedder("other")
    await service.put("acme", id="new", text=text(7))
    assert (await found(service)).count("new") == 3
    assert (await state(service))["behind"] == DOCUMENTS + 1
    await service.settled("acme", await reindex(service))
    assert (await found(service)).count("new") == 3
    assert (await state(service))["behind"] == 0


async def test_a_tenant_without_documents_takes_the_embedder_that_runs(service: World) -> None:
    for number in range(DOCUMENTS):
        await service.call("acme", "DELETE", f"/v1/documents/d{number}")
    service.stages.change_embedder("other")
    await service.put("acme", id="new", text=text(7))
    assert (await search(service))["degraded"] == []
    assert (await state(service))["behind"] == 0
    assert (
        await service.call("empty", "POST", "/v1/reindex", json={}, key=await _new_tenant(service))
    ).status_code == 409


async def _new_tenant(service: World) -> str:
    await service.add_tenant("empty")
    return service.keys["empty"]


async def test_only_one_runs_and_the_second_is_told_which(service: World) -> None:
    service.held = True
    job = await reindex(service)
    answer = await service.call("acme", "POST", "/v1/reindex", json={})
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert job in answer.json()["detail"]
    assert (await state(service))["job_id"] == job
    service.resume()
    assert (await service.settled("acme", job))["state"] == "succeeded"
    await service.settled("acme", await reindex(service))
    assert await found(service) == EVERYTHING


async def test_other_tenants_are_not_touched(service: World) -> None:
    await fill(service, "other", 2)
    service.stages.change_embedder("other")
    await service.settled("acme", await reindex(service))
    assert (await search(service))["degraded"] == []
    assert (await search(service, "other"))["degraded"] == ["index"]
    assert await found(service, "other") == sorted(["d0", "d1"] * 3)
    assert (await state(service, "other"))["behind"] == 2


async def test_cancelled_it_leaves_all_as_it_was_and_removes_what_it_wrote(
    service: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.stages.change_embedder("other")
    upsert, written = service.stages.upsert, asyncio.Event()

    async def slow(generation: IndexGeneration, entries: list[IndexEntry]) -> None:
        await upsert(generation, entries)
        written.set()
        await asyncio.sleep(0.05)

    monkeypatch.setattr(service.stages, "upsert", slow)
    job = await reindex(service)
    await written.wait()
    cancelled = (await service.call("acme", "POST", f"/v1/jobs/{job}/cancel")).json()
    assert cancelled["state"] in ("running", "cancelled")
    assert (await service.settled("acme", job))["state"] == "cancelled"
    assert await found(service) == EVERYTHING
    assert (await search(service))["degraded"] == ["index"]
    monkeypatch.undo()
    await service.settled("acme", await reindex(service))
    assert (await search(service))["degraded"] == []
    assert await found(service) == EVERYTHING


async def test_after_a_kill_it_goes_on_where_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker is stopped without a word, as by SIGKILL; the next one takes over when its leases have run out."""
    quick = INGESTION.model_copy(update={"lease_s": 0.3, "poll_s": 0.1, "embed_batch": 1})
    async with world(tmp_path, index="fake", ingestion=quick) as service:
        await fill(service, "acme")
        service.stages.change_embedder("other")
        embed, count = service.stages.embed_passages, 0
        stopped = asyncio.Event()

        async def embed_some(texts: Any) -> Any:
            nonlocal count
            count += len(texts)
            if count == 8:
                service.worker.stop()
                stopped.set()
                await asyncio.sleep(60)
            return await embed(texts)

        monkeypatch.setattr(service.stages, "embed_passages", embed_some)
        job = await reindex(service)
        await stopped.wait()
        assert await found(service) == EVERYTHING
        stages = service.stages
        second = Worker(quick, stages, stages, service.stores.jobs.queue, service.stores.blobs, "second")
        second.start()
        try:
            assert (await service.settled("acme", job))["state"] == "succeeded"
        finally:
            await second.close()
        assert count <= DOCUMENTS * 3 + 2, "only passages that were under way are embedded again"
        assert await found(service) == EVERYTHING
        assert (await search(service))["degraded"] == []


async def test_a_document_that_fails_ends_it_without_a_switch_and_the_next_one_goes_on(service: World) -> None:
    service.stages.change_embedder("other")
    row = await service.services.documents.get(await _caller(service), "d3")
    data = await service.stores.blobs.read(row.blob)
    await service.stores.blobs.delete(row.blob)
    job = await service.settled("acme", await reindex(service))
    assert (job["state"], job["counts"]["failed"]) == ("failed", 1)
    assert (await search(service))["degraded"] == ["index"]
    assert await found(service) == EVERYTHING
    await service.put("acme", id="d3", text=data.decode() + "\n\nDopuna.")
    again = await service.settled("acme", await reindex(service))
    assert (again["state"], again["counts"]["indexed"]) == ("succeeded", 1), "the others are there already"
    assert set(await found(service)) == {f"d{number}" for number in range(DOCUMENTS)}
    assert (await search(service))["degraded"] == []


async def _caller(service: World) -> Any:
    principal = await service.services.access.authenticate(service.keys["acme"], "test")
    return await service.services.access.resolve(principal, None)


async def test_a_lost_index_is_told_and_filled_again(service: World) -> None:
    assert await service.stages.purge("acme") > 0
    assert await found(service) == []
    assert (await state(service))["missing"] == DOCUMENTS * 3
    await service.settled("acme", await reindex(service))
    assert await found(service) == EVERYTHING
    assert (await state(service))["missing"] == 0


async def test_the_old_generation_is_removed_once_no_search_needs_it(tmp_path: Path) -> None:
    from serve_app.config.args import ApiConfig

    limits = ApiConfig(key_cache_s=0, deadline_s=0.4, max_deadline_s=0.5)
    async with world(tmp_path, index="fake", limits=limits) as service:
        await fill(service, "acme", 2)
        service.stages.change_embedder("other")
        await service.settled("acme", await reindex(service))
        async with asyncio.timeout(20):
            while (await service.stages.measure("acme", "fakebagofwords1")).passages:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        assert await found(service) == sorted(["d0", "d1"] * 3)


async def test_one_collection_is_cut_anew_document_by_document(service: World) -> None:
    long = "\n\n".join(f"Rok za žalbu u predmetu {n} je {n} dana, osim ako zakon ne kaže drugo." for n in range(40))
    await service.put("acme", id="long", collection="zakoni", text=long)
    before = (await found(service)).count("long")
    body = {"chunk_tokens": 64, "chunk_overlap": 0}
    (await service.call("acme", "PATCH", "/v1/collections/zakoni", json=body)).raise_for_status()
    assert (await state(service))["behind"] == 1
    job = await service.settled("acme", await reindex(service, collection="zakoni"))
    assert (job["state"], job["counts"]["indexed"]) == ("succeeded", 1)
    assert (await found(service)).count("long") > before
    assert (await state(service))["behind"] == 0
    service.stages.change_embedder("other")
    answer = await service.call("acme", "POST", "/v1/reindex", json={"collection": "zakoni"})
    assert answer.status_code == 409
    assert "embedder" in answer.json()["detail"]
