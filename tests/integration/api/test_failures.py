"""GET /v1/failures and the command of the same meaning."""

from __future__ import annotations

from typing import Any

import pytest

from tests.integration.api.conftest import Api


async def fail(api: Api, code: str, **document: Any) -> str:
    """The id of a job whose document failed."""
    answer = await api.client.post("/v1/documents", json={"text": "a", **document})
    for task in await api.stores.jobs.queue.claim("w", lease_s=30, limit=10):
        await api.stores.jobs.queue.fail(task, code, f"{task.document_id}: it is wrong")
    return str(answer.json()["job_id"])


async def test_failed_documents_are_found_by_their_error(api: Api) -> None:
    broken = await fail(api, "broken_document", id="d", user="ana")
    away = await fail(api, "unreachable", id="e")
    answer = (await api.client.get("/v1/failures", params={"error": "broken_document"})).json()
    [failed] = answer["failures"]
    assert answer["next"] is None
    assert failed.pop("failed_at").endswith("+00:00")
    assert failed == {
        "job_id": broken,
        "id": "d",
        "filename": "",
        "collection": "default",
        "user": "ana",
        "error": {"code": "broken_document", "detail": "d: it is wrong"},
    }
    everything = (await api.client.get("/v1/failures")).json()["failures"]
    assert [each["id"] for each in everything] == ["e", "d"]
    of_job = (await api.client.get("/v1/failures", params={"job_id": away})).json()["failures"]
    assert [each["id"] for each in of_job] == ["e"]


async def test_a_long_list_has_pages(api: Api) -> None:
    for number in range(3):
        await fail(api, "broken_document", id=f"dokument {number} / đ:č")
    found: list[str] = []
    after: str | None = ""
    while after is not None:
        page = (await api.client.get("/v1/failures", params={"limit": 1, "after": after})).json()
        found += [each["id"] for each in page["failures"]]
        after = page["next"]
    assert found == [f"dokument {number} / đ:č" for number in (2, 1, 0)]


@pytest.mark.parametrize(
    ("params", "status", "field"),
    [
        ({"error": "broken"}, 422, "error"),
        ({"error": ""}, 422, "error"),
        ({"after": "none:d"}, 422, "after"),
        ({"after": "x" * 322}, 422, "after"),
        ({"limit": 0}, 422, "limit"),
        ({"job_id": "job_none"}, 404, "job 'job_none' does not exist"),
        ({"job_id": "x" * 65}, 422, "job_id"),
    ],
)
async def test_what_is_wrong_is_named(api: Api, params: dict[str, Any], status: int, field: str) -> None:
    await fail(api, "broken_document")
    refused = await api.client.get("/v1/failures", params=params)
    assert refused.status_code == status
    assert field in refused.json()["detail"]


async def test_another_tenant_s_failures_are_not_told(api: Api) -> None:
    job = await fail(api, "broken_document", id="d")
    await api.stores.tenants.ensure("other")
    theirs = await api.key("admin", "other")
    assert (await api.client.get("/v1/failures", headers=theirs)).json() == {"failures": [], "next": None}
    for params in ({"job_id": job}, {"after": f"{job}:d"}):
        assert (await api.client.get("/v1/failures", params=params, headers=theirs)).status_code in (404, 422)
    assert (await api.client.get("/v1/failures", headers=await api.key("query"))).status_code == 403


async def test_the_command_says_the_same(api: Api) -> None:
    job = await fail(api, "broken_document", id="d")
    told = (await api.client.get("/v1/failures")).json()
    for params in ({}, {"error": "broken_document"}, {"job_id": job}):
        body = {"id": "1", "command": "list_failures", "params": params}
        assert (await api.client.post("/v1/commands", json=body)).json()["data"] == told
