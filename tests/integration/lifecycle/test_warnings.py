"""What was left out of a document is told with it and with its job, for as long as that version is found."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.world import World, world

PICTURE = f"![](data:image/png;base64,{'iVBORw0KGgo' * 60})"
TEXT = f"Rok za žalbu je 15 dana. {PICTURE} {PICTURE}"
WARNINGS = ["2 pictures without text"]


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path, index="fake") as made:
        await made.add_tenant("acme")
        yield made


async def of_document(service: World) -> Any:
    shown = (await service.call("acme", "GET", "/v1/documents/d")).json()
    [listed] = (await service.call("acme", "GET", "/v1/documents")).json()["documents"]
    assert listed["warnings"] == shown["warnings"]
    return shown["warnings"]


async def of_job(service: World, method: str, path: str, body: dict[str, Any]) -> Any:
    accepted = await service.call("acme", method, path, json=body)
    assert accepted.status_code == 202, accepted.text
    job = await service.settled("acme", accepted.json()["job_id"])
    assert job["state"] == "succeeded"
    return [document["warnings"] for document in job["documents"]]


async def put(service: World, text: str) -> Any:
    return await of_job(service, "POST", "/v1/documents", {"id": "d", "text": text})


async def test_a_document_and_its_job_tell_it(service: World) -> None:
    assert await put(service, TEXT) == [WARNINGS]
    assert await of_document(service) == WARNINGS


async def test_the_same_document_handed_in_again_tells_it_again(service: World) -> None:
    await put(service, TEXT)
    assert await put(service, TEXT) == [WARNINGS]
    assert await of_document(service) == WARNINGS


async def test_it_is_told_of_the_version_that_is_found(service: World) -> None:
    await put(service, TEXT)
    service.held = True
    await service.call("acme", "POST", "/v1/documents", json={"id": "d", "text": "Rok je 30 dana."})
    assert await of_document(service) == WARNINGS
    service.resume()
    assert await put(service, "Rok je 8 dana.") == [[]]
    assert await of_document(service) == []


async def test_changed_metadata_changes_nothing_of_it(service: World) -> None:
    await put(service, TEXT)
    (await service.call("acme", "PATCH", "/v1/documents/d", json={"metadata": {"a": 1}})).raise_for_status()
    assert await of_document(service) == WARNINGS


@pytest.mark.parametrize("body", [{}, {"collection": "default"}])
async def test_a_reindexing_tells_it_anew(
    service: World, body: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deployments.ingestion.omissions.warnings", lambda left_out: ("as a former release said",))
    await put(service, TEXT)
    assert await of_document(service) == ["as a former release said"]
    monkeypatch.undo()
    assert await of_job(service, "POST", "/v1/reindex", body) == [WARNINGS]
    while (await service.call("acme", "GET", "/v1/reindex")).json()["job_id"]:
        pass
    assert await of_document(service) == WARNINGS
