from __future__ import annotations

from typing import Any

import httpx

from deployments.ingestion.base import DocumentTask, IndexedDocument
from tests.integration.api.conftest import Api

TEXT = {"id": "d", "text": "Rok za žalbu je 15 dana."}


async def fail(api: Api, *documents: dict[str, Any]) -> str:
    """The id of a job whose documents all failed."""
    for document in documents:
        answer = await api.client.post("/v1/documents", json=document)
        for task in await claim(api):
            await api.stores.jobs.queue.fail(task, "unavailable", "the stage is down")
    return str(answer.json()["job_id"])


async def claim(api: Api) -> list[DocumentTask]:
    return await api.stores.jobs.queue.claim("w", lease_s=30, limit=10)


async def retry(api: Api, job: str, headers: dict[str, str] | None = None) -> httpx.Response:
    return await api.client.post(f"/v1/jobs/{job}/retry", headers=headers)


async def test_a_failed_job_is_retried_and_its_documents_are_found(api: Api) -> None:
    job = await fail(api, TEXT)
    announced = len(api.announced)
    answer = await retry(api, job)
    assert answer.status_code == 202, answer.text
    made = answer.json()["job_id"]
    assert answer.headers["Location"] == f"/v1/jobs/{made}"
    assert answer.json() == {
        "job_id": made, "document_id": "d", "documents": [{"id": "d", "filename": ""}], "left_out": [],
    }  # fmt: skip
    assert len(api.announced) == announced + 1
    [task] = await claim(api)
    assert await api.stores.blobs.read(task.blob, 0, 100) == str(TEXT["text"]).encode()
    await api.stores.jobs.queue.finish(task, IndexedDocument("", "hr", 1, {}))
    assert (await api.client.get(f"/v1/jobs/{made}")).json()["state"] == "succeeded"
    assert (await api.client.get("/v1/documents/d")).json()["live"]


async def test_a_repeated_retry_gets_the_first_one_s_answer(api: Api) -> None:
    job = await fail(api, TEXT)
    first, again = [await retry(api, job, {"Idempotency-Key": "k"}) for _ in range(2)]
    assert (again.status_code, again.json(), again.headers["Location"]) == (
        202, first.json(), first.headers["Location"],
    )  # fmt: skip
    assert again.headers["Idempotent-Replayed"] == "true"
    assert len(await claim(api)) == 1
    refused = await retry(api, job)
    assert (refused.status_code, refused.json()["code"]) == (409, "conflict")
    assert "handed in again since" in refused.json()["detail"]


async def test_a_command_does_the_same(api: Api) -> None:
    job = await fail(api, TEXT)
    body = {"id": "1", "command": "retry_job", "params": {"job_id": job}}
    data = (await api.client.post("/v1/commands", json=body)).json()["data"]
    assert (data["document_id"], data["left_out"]) == ("d", [])
    assert [task.job_id for task in await claim(api)] == [data["job_id"]]


async def test_jobs_are_retried_by_their_tenant_s_admins(api: Api) -> None:
    job = await fail(api, TEXT)
    await api.stores.tenants.ensure("other")
    for headers, status in ((await api.key("query"), 403), (await api.key("admin", "other"), 404)):
        assert (await retry(api, job, headers)).status_code == status
    assert await claim(api) == []


async def test_a_retry_is_in_the_audit_log(api: Api) -> None:
    job = await fail(api, TEXT)
    made = (await retry(api, job)).json()["job_id"]
    await api.stores.events.drain()
    entries = (await api.client.get("/v1/audit")).json()["entries"]
    [entry] = [each for each in entries if each["subject"] == made]
    assert (entry["action"], entry["details"]) == ("job.created", {"documents": 1, "retries": job})
