from __future__ import annotations

from typing import Any

import pytest

from deployments.ingestion.base import IndexedDocument
from tests.integration.api.conftest import LIMITS, Api


async def index(api: Api, **body: Any) -> None:
    assert (await api.client.post("/v1/documents", json=body)).status_code == 202
    [task] = await api.stores.jobs.queue.claim("w", lease_s=30, limit=1)
    await api.stores.jobs.queue.finish(task, IndexedDocument("", "hr", 3, {}))


async def test_a_collection_is_made_shown_and_changed(api: Api) -> None:
    made = await api.client.post("/v1/collections", json={"name": "zakoni", "description": "Zakoni RH"})
    assert (made.status_code, made.headers["location"]) == (201, "/v1/collections/zakoni")
    collection = made.json()
    assert (collection["name"], collection["description"]) == ("zakoni", "Zakoni RH")
    assert (collection["documents"], collection["passages"]) == (0, 0)
    assert (await api.client.get(made.headers["location"])).json() == collection
    changed = (await api.client.patch("/v1/collections/zakoni", json={"description": "Stari"})).json()
    assert changed["description"] == "Stari"
    sizes = {"chunk_tokens": 128, "chunk_overlap": 0}
    changed = (await api.client.patch("/v1/collections/zakoni", json=sizes)).json()
    assert (changed["description"], changed["chunk_tokens"], changed["chunk_overlap"]) == ("Stari", 128, 0)
    assert (await api.client.patch("/v1/collections/zakoni", json={})).status_code == 422
    assert changed["updated_at"] > changed["created_at"]


async def test_a_collection_counts_what_searches_find(api: Api) -> None:
    await index(api, id="a", text="a", collection="zakoni")
    await index(api, id="b", text="b", collection="zakoni")
    await api.client.post("/v1/documents", json={"id": "c", "text": "c", "collection": "zakoni"})
    found = (await api.client.get("/v1/collections/zakoni")).json()
    assert (found["documents"], found["passages"]) == (2, 6)


async def test_a_name_in_letters_of_any_language_goes_through_a_path_however_it_is_composed(api: Api) -> None:
    made = await api.client.post("/v1/collections", json={"name": "općine"})
    assert made.status_code == 201
    assert (await api.client.get("/v1/collections/op%C4%87ine")).json() == made.json()
    assert (await api.client.get("/v1/collections/opc%CC%81ine")).json() == made.json()
    assert (await api.client.post("/v1/collections", json={"name": "opc\u0301ine"})).status_code == 409
    assert (await api.client.delete("/v1/collections/opc%CC%81ine")).status_code == 200
    assert (await api.client.get("/v1/collections/op%C4%87ine")).status_code == 404


async def test_collections_come_in_pages(api: Api) -> None:
    for name in ("d1", "d2", "a"):
        await api.client.post("/v1/collections", json={"name": name})
    first = (await api.client.get("/v1/collections", params={"limit": 3})).json()
    assert [c["name"] for c in first["collections"]] == ["a", "d1", "d2"]
    rest = (await api.client.get("/v1/collections", params={"limit": 3, "after": first["next"]})).json()
    assert ([c["name"] for c in rest["collections"]], rest["next"]) == (["default"], None)
    assert (await api.client.get("/v1/collections", params={"limit": LIMITS.max_page + 1})).status_code == 422


@pytest.mark.parametrize(
    ("body", "status", "names"),
    [
        ({}, 422, "name"),
        ({"name": ""}, 422, "collection"),
        ({"name": "a b"}, 422, "a b"),
        ({"name": "a/b"}, 422, "a/b"),
        ({"name": "a\x00"}, 422, "name"),
        ({"name": "x" * 65}, 422, "name"),
        ({"name": "c", "description": "x" * 2_001}, 422, "description"),
        ({"name": "c", "chunk_tokens": 5}, 422, "chunk_tokens"),
        ({"name": "c", "chunk_tokens": 64, "chunk_overlap": 64}, 422, "chunk_overlap"),
        ({"name": "c", "tenant": "other"}, 422, "tenant"),
        ({"name": "default"}, 409, "default"),
    ],
)
async def test_a_bad_collection_is_refused(api: Api, body: dict[str, Any], status: int, names: str) -> None:
    answer = await api.client.post("/v1/collections", json=body)
    assert answer.status_code == status, answer.text
    assert names in answer.json()["detail"]
    assert await api.stores.collections.names("t") == ["default"]


async def test_deleting_a_collection_takes_its_documents_and_says_how_many(api: Api) -> None:
    await index(api, id="a", text="a", collection="zakoni")
    await index(api, id="b", text="b", collection="zakoni")
    await index(api, id="c", text="c")
    answer = await api.client.delete("/v1/collections/zakoni")
    assert answer.status_code == 200
    assert (answer.json()["name"], answer.json()["removed"]["documents"]) == ("zakoni", 2)
    assert answer.json()["removed"]["passages"] > 0
    assert set(api.stages.deleted) == {("t", "zakoni/*")}
    assert len(api.stored_files()) == 1
    for method in ("GET", "DELETE"):
        again = await api.client.request(method, "/v1/collections/zakoni")
        assert (again.status_code, again.json()["code"]) == (404, "unknown_collection")
    asked = await api.client.post("/v1/search", json={"query": "q", "collections": ["zakoni"]})
    assert (asked.status_code, asked.json()["code"]) == (404, "unknown_collection")


async def test_the_default_collection_stays_with_all_that_is_in_it(api: Api) -> None:
    await index(api, id="a", text="a")
    answer = await api.client.delete("/v1/collections/default")
    assert (answer.status_code, answer.json()["code"]) == (409, "conflict")
    assert api.stages.deleted == []
    assert (await api.client.get("/v1/collections/default")).json()["documents"] == 1


async def test_collections_of_another_tenant_are_not_found(api: Api) -> None:
    await api.client.post("/v1/collections", json={"name": "zakoni"})
    await api.stores.tenants.ensure("other")
    theirs = await api.key("admin", "other")
    for method, body in [("GET", None), ("PATCH", {"description": "x"}), ("DELETE", None)]:
        answer = await api.client.request(method, "/v1/collections/zakoni", json=body, headers=theirs)
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_collection")
    assert (await api.client.post("/v1/collections", json={"name": "zakoni"}, headers=theirs)).status_code == 201
    assert (await api.client.get("/v1/collections/zakoni")).json()["description"] == ""
