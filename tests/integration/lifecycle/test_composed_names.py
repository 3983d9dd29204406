"""A service whose database and index hold names in NFD, after the migration that composes them."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from serve_app.platform.new_document import NewDocument
from tests.support.composing import compose_names, decomposed
from tests.support.waiting import BOUND_S
from tests.support.world import World, world

ID, GRAD = "mape/čitaj", "Šibenik"
TEXT = "\n\n".join(f"## Članak {n}.\n\nRok za žalbu je {n} dana." for n in (1, 2, 3))


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        await made.add_tenant("acme")
        yield made


async def put_as_a_former_release(service: World, id: str, metadata: dict[str, Any]) -> None:
    data = TEXT.encode()
    blob = await service.stores.blobs.write("acme", data)
    new = NewDocument(
        id=id,
        content_hash=hashlib.sha256(data).hexdigest(),
        blob=blob.key,
        size=len(data),
        media_type="text/markdown",
        metadata=metadata,
    )
    accepted = await service.stores.jobs.accept("acme", [new])
    service.announce()
    assert (await service.settled("acme", accepted.id))["state"] == "succeeded"


async def found(service: World, **asked: Any) -> list[tuple[str, Any]]:
    """(document, metadata) of each passage."""
    answer = await service.call("acme", "POST", "/v1/search", json={"query": "rok za žalbu", "top_k": 50, **asked})
    return [(each["document_id"], each["metadata"].get("grad")) for each in answer.raise_for_status().json()["results"]]


async def migrate(service: World) -> None:
    """Migrate, and wait until what is queued by that is indexed."""
    await compose_names(service.stores.documents.database)
    newest = (await service.call("acme", "GET", "/v1/jobs", params={"limit": 1})).json()["jobs"][0]
    service.announce()
    assert (await service.settled("acme", newest["id"]))["state"] == "succeeded"


async def test_searches_filters_and_paths_find_a_document_under_its_composed_name(service: World) -> None:
    await put_as_a_former_release(service, decomposed(ID), {"grad": decomposed(GRAD)})
    await service.put("acme", id="other", text=TEXT)
    await migrate(service)
    of_both = [("other", None)] * 3 + [(ID, GRAD)] * 3
    assert sorted(await found(service), key=str) == sorted(of_both, key=str)
    assert await found(service, filter=f'metadata.grad == "{GRAD}"') == [(ID, GRAD)] * 3
    assert await found(service, filter=f'document_id == "{ID}"') == [(ID, GRAD)] * 3
    chunks = (await service.call("acme", "GET", f"/v1/documents/{quote(ID)}/chunks")).json()["chunks"]
    assert [each["position"] for each in chunks] == [0, 1, 2]
    changed = await service.call("acme", "PATCH", f"/v1/documents/{quote(ID)}", json={"metadata": {"grad": "Zadar"}})
    assert changed.status_code == 200
    assert await found(service, filter='metadata.grad == "Zadar"') == [(ID, "Zadar")] * 3


@pytest.mark.parametrize("when", ["before", "after"])
async def test_nothing_of_a_composed_document_comes_back_after_its_deletion(service: World, when: str) -> None:
    """`when`: the document is deleted before or after it was indexed again."""
    await put_as_a_former_release(service, decomposed(ID), {})
    if when == "after":
        await migrate(service)
    else:
        await compose_names(service.stores.documents.database)
    assert (await service.call("acme", "DELETE", f"/v1/documents/{quote(ID)}")).status_code == 204
    generation = await service.stores.documents.live_generation("acme")
    async with asyncio.timeout(BOUND_S):
        while (await service.stages.measure("acme", generation)).passages:  # noqa: ASYNC110 - no event tells
            await asyncio.sleep(0.05)
    assert await found(service) == []
