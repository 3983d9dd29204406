"""Which metadata searches find while a document's is changed, and that chosen documents are gone once deleted."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.world import World, world

PATCHES = 5
TEXT = "\n\n".join(f"## Članak {n}.\n\nRok za žalbu je {n} dana." for n in (1, 2, 3))


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        await made.add_tenant("acme")
        yield made


async def found(service: World, **asked: Any) -> list[dict[str, Any]]:
    body = {"query": "rok za žalbu", "top_k": 50, **asked}
    answer = await service.call("acme", "POST", "/v1/search", json=body)
    assert answer.status_code == 200, answer.text
    results: list[dict[str, Any]] = answer.json()["results"]
    return results


async def patch(service: World, document: str, **metadata: Any) -> None:
    body = {"metadata": metadata}
    (await service.call("acme", "PATCH", f"/v1/documents/{document}", json=body)).raise_for_status()


async def test_searches_beside_patches_find_the_old_metadata_or_the_new(service: World) -> None:
    await service.put("acme", id="d", text=TEXT, metadata={"edition": 0})
    for number in range(1, PATCHES + 1):
        patching = asyncio.create_task(patch(service, "d", edition=number))
        while not patching.done():
            seen = [result["metadata"]["edition"] for result in await found(service)]
            assert seen in ([number - 1] * 3, [number] * 3)
        await patching
        results = await found(service, filter=f"metadata.edition == {number}")
        headings = sorted(result["metadata"]["headings"] for result in results)
        assert headings == [["Članak 1."], ["Članak 2."], ["Članak 3."]]
        assert await found(service, filter=f"metadata.edition == {number - 1}") == []
    shown = (await service.call("acme", "GET", "/v1/documents/d/chunks")).json()["chunks"]
    assert [each["position"] for each in shown] == [0, 1, 2]
    assert {each["metadata"]["edition"] for each in shown} == {PATCHES}


async def test_a_newer_version_brings_its_own_metadata_and_the_same_file_again_is_work_after_a_patch(
    service: World,
) -> None:
    await service.put("acme", id="d", text=TEXT, metadata={"edition": 0})
    await patch(service, "d", edition=1)
    await service.put("acme", id="d", text=TEXT, metadata={"edition": 0})
    assert {each["metadata"]["edition"] for each in await found(service)} == {0}


async def test_nothing_is_found_of_chosen_documents_once_they_are_deleted(service: World) -> None:
    for number in range(8):
        await service.put("acme", id=f"d{number}", text=TEXT, metadata={"even": number % 2 == 0})
    body = {"filter": "metadata.even == true"}
    answer = await service.call("acme", "POST", "/v1/documents/delete", json=body)
    assert answer.json() == {"deleted": 4, "more": False}
    assert {each["document_id"] for each in await found(service)} == {"d1", "d3", "d5", "d7"}
    listed = (await service.call("acme", "GET", "/v1/documents")).json()["documents"]
    assert [each["id"] for each in listed] == ["d1", "d3", "d5", "d7"]


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ("metadata.date == '2026-03-29T00:30:00Z'", {"zagreb", "utc"}),
        ("metadata.date > '2026-03-29T00:30:00Z'", {"later"}),
        ("metadata.date >= '2026-03-29' and metadata.date < '2026-03-30'", {"zagreb", "utc", "later"}),
        ("metadata.tags == 'b'", {"utc", "later"}),
        ("""metadata."broj telefona".ured in ['1']""", {"zagreb"}),
    ],
)
async def test_searches_lists_and_deletions_choose_the_same_documents(
    service: World, filter: str, expected: set[str]
) -> None:
    await service.put("acme", id="zagreb", text=TEXT, metadata={
        "date": "2026-03-29T02:30:00+02:00", "tags": ["a"], "broj telefona": {"ured": "1"},
    })  # fmt: skip
    await service.put("acme", id="utc", text=TEXT, metadata={"date": "2026-03-29T00:30:00Z", "tags": ["a", "b"]})
    await service.put("acme", id="later", text=TEXT, metadata={"date": "2026-03-29T02:31:00+02:00", "tags": "b"})
    await service.put("acme", id="none", text=TEXT)
    assert {each["document_id"] for each in await found(service, filter=filter)} == expected
    listed = (await service.call("acme", "GET", "/v1/documents", params={"filter": filter})).json()["documents"]
    assert {each["id"] for each in listed} == expected
    answer = await service.call("acme", "POST", "/v1/documents/delete", json={"filter": filter})
    assert answer.json()["deleted"] == len(expected)
    listed = (await service.call("acme", "GET", "/v1/documents")).json()["documents"]
    assert {each["id"] for each in listed} == {"zagreb", "utc", "later", "none"} - expected
