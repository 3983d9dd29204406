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
        "documents": 2, "passages": 4, "behind": 1, "embedder": {"model": "org/embedder", "fingerprint": "f"},
    }  # fmt: skip


async def test_without_the_embedder_it_cannot_tell(api: Api) -> None:
    api.stages.failures["embedding"] = StageUnavailable("embedding has no replica")
    assert (await api.client.get("/v1/reindex")).status_code == 503
