"""The index as a whole: how many documents are behind."""

from __future__ import annotations

from deployments.errors import StageUnavailable
from deployments.ingestion.base import IndexedDocument
from tests.integration.api.conftest import Api


async def put(api: Api, id: str, embedder: str) -> None:
    (await api.client.post("/v1/documents", json={"id": id, "text": f"Tekst {id}."})).raise_for_status()
    [task] = await api.stores.jobs.queue.claim("w", lease_s=60, limit=1)
    await api.stores.jobs.queue.finish(task, IndexedDocument("", "hr", 2, {}, embedder))


async def test_it_tells_how_many_documents_are_behind_the_embedder_that_runs(api: Api) -> None:
    await put(api, "old", "another")
    await put(api, "new", "f")
    answer = await api.client.get("/v1/reindex")
    assert answer.json() == {
        "documents": 2, "passages": 4, "behind": 1, "missing": 0, "live_embedder": None, "job_id": None,
        "embedder": {"model": "org/embedder", "fingerprint": "f"},
    }  # fmt: skip


async def test_without_the_embedder_it_cannot_tell(api: Api) -> None:
    api.stages.failures["embedding"] = StageUnavailable("embedding has no replica")
    assert (await api.client.get("/v1/reindex")).status_code == 503


async def test_a_reindexing_is_a_job_with_a_row_for_each_live_document(api: Api) -> None:
    await put(api, "old", "another")
    await api.client.post("/v1/documents", json={"id": "not live", "text": "Tekst."})
    answer = await api.client.post("/v1/reindex", json={})
    assert answer.status_code == 202
    job_id = answer.json()["job_id"]
    assert answer.headers["Location"] == f"/v1/jobs/{job_id}"
    assert api.announced
    job = (await api.client.get(answer.headers["Location"])).json()
    assert (job["state"], [document["id"] for document in job["documents"]]) == ("queued", ["old"])
    second = await api.client.post("/v1/reindex", json={})
    assert (second.status_code, second.json()["code"]) == (409, "conflict")
    assert job_id in second.json()["detail"]
    cancelled = (await api.client.post(f"/v1/jobs/{job_id}/cancel")).json()
    assert cancelled["state"] == "cancelled"
    in_bulk = await api.client.post("/v1/reindex", json={"bulk": True})
    job = (await api.client.get(in_bulk.headers["Location"])).json()
    assert job["bulk"]["state"] == "waiting"


async def test_nothing_indexed_is_nothing_to_reindex_and_a_collection_must_be_there(api: Api) -> None:
    assert (await api.client.post("/v1/reindex", json={})).status_code == 409
    answer = await api.client.post("/v1/reindex", json={"collection": "none"})
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_collection")
