"""Front matter is metadata of its document: found by filters, changed by patches, and kept by a reindexing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from serve_app.config.args import ApiConfig
from tests.support.world import World, world

TEXT = "---\ntitle: O vodi\nyear: 1999\nauthor: Ana\n---\nRok za žalbu je 15 dana."
LIMITS = ApiConfig(key_cache_s=0, max_metadata_bytes=100)


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path, limits=LIMITS) as made:
        await made.add_tenant("acme")
        yield made


async def shown(service: World) -> dict[str, Any]:
    document: dict[str, Any] = (await service.call("acme", "GET", "/v1/documents/d")).json()
    return document


async def found(service: World, filter: str) -> int:
    body = {"query": "rok za žalbu", "filter": filter}
    return len((await service.call("acme", "POST", "/v1/search", json=body)).json()["results"])


async def test_it_is_found_by_filters_and_what_was_handed_in_wins(service: World) -> None:
    await service.put("acme", id="d", text=TEXT, metadata={"year": 2026})
    document = await shown(service)
    assert document["title"] == "O vodi"
    assert document["metadata"] == {"title": "O vodi", "year": 2026, "author": "Ana"}
    assert await found(service, "metadata.author == 'Ana' and metadata.year == 2026") == 1
    assert await found(service, "metadata.year == 1999") == 0
    listed = await service.call("acme", "GET", "/v1/documents", params={"filter": "metadata.author == 'Ana'"})
    assert [each["id"] for each in listed.json()["documents"]] == ["d"]


async def test_a_title_that_was_handed_in_wins(service: World) -> None:
    await service.put("acme", id="d", text=TEXT, title="Moj")
    assert (await shown(service))["title"] == "Moj"


async def test_the_same_document_handed_in_again_is_no_work(service: World) -> None:
    await service.put("acme", id="d", text=TEXT)
    before = await shown(service)
    await service.put("acme", id="d", text=TEXT)
    assert await shown(service) == before


async def test_the_limit_of_metadata_holds_with_it(service: World) -> None:
    await service.put("acme", id="d", text=TEXT, metadata={"note": "n" * 60})
    document = await shown(service)
    assert document["metadata"] == {"note": "n" * 60, "title": "O vodi"}
    assert document["warnings"] == ["2 fields of the front matter that metadata cannot hold"]


@pytest.mark.parametrize("body", [{}, {"collection": "default"}])
async def test_what_a_patch_changed_and_removed_stays_so_when_it_is_reindexed(
    service: World, body: dict[str, Any]
) -> None:
    await service.put("acme", id="d", text=TEXT)
    patch = {"metadata": {"author": None, "year": 2000}}
    (await service.call("acme", "PATCH", "/v1/documents/d", json=patch)).raise_for_status()
    metadata = {"title": "O vodi", "year": 2000}
    assert (await shown(service))["metadata"] == metadata
    job = await service.call("acme", "POST", "/v1/reindex", json=body)
    assert (await service.settled("acme", job.json()["job_id"]))["state"] == "succeeded"
    assert (await shown(service))["metadata"] == metadata
    assert await found(service, "metadata.year == 2000") == 1
    assert await found(service, "metadata.author == 'Ana'") == 0
