from __future__ import annotations

import base64
from typing import Any

import pytest

from deployments.errors import StageUnavailable
from deployments.ingestion.base import IndexedDocument
from tests.integration.api.conftest import LIMITS, Api

NO_LIMITS: dict[str, int | None] = dict.fromkeys(
    ("max_tokens", "top_k", "deadline_s", "requests_per_minute", "concurrent")
)
DEFAULTS = {
    "default_language": None,
    "prompt_preamble": "",
    "model": None,
    "limits": NO_LIMITS,
    "weight": 1.0,
    "quotas": {"documents": None, "bytes": None, "chunks": None},
    "retention": dict.fromkeys(("jobs_days", "audit_days", "queries_days", "usage_days", "keys_days")),
    "webhook": None,
}
HIDDEN = "whsec_********"


@pytest.fixture
async def platform(api: Api) -> dict[str, str]:
    """Makes the platform's key the client's own."""
    headers = await api.key("platform")
    api.client.headers.update(headers)
    return headers


async def test_a_tenant_is_made_shown_changed_and_listed(api: Api, platform: dict[str, str]) -> None:
    settings = {"default_language": "en", "limits": {"top_k": 4}}
    made = await api.client.post("/v1/tenants", json={"id": "acme", "name": "Acme", "settings": settings})
    assert (made.status_code, made.headers["location"]) == (201, "/v1/tenants/acme")
    tenant = made.json()
    assert (tenant["id"], tenant["name"], tenant["status"]) == ("acme", "Acme", "active")
    assert tenant["settings"] == DEFAULTS | {
        "default_language": "en",
        "limits": NO_LIMITS | {"top_k": 4},
    }
    assert (await api.client.get("/v1/tenants/acme")).json() == tenant
    patch = {"name": "Acme d.o.o.", "settings": {"default_language": None, "limits": {"max_tokens": 9}}}
    changed = (await api.client.patch("/v1/tenants/acme", json=patch)).json()
    assert changed["name"] == "Acme d.o.o."
    assert changed["settings"] == DEFAULTS | {"limits": NO_LIMITS | {"max_tokens": 9, "top_k": 4}}
    assert (await api.client.get("/v1/tenants")).json() == {
        "tenants": [changed, (await api.client.get("/v1/tenants/t")).json()],
        "next": None,
    }


async def test_a_webhook_s_secret_is_shown_once(api: Api, platform: dict[str, str]) -> None:
    async def patch(**webhook: Any) -> dict[str, Any]:
        answer = await api.client.patch("/v1/tenants/acme", json={"settings": {"webhook": webhook}})
        shown: dict[str, Any] = answer.json()["settings"]["webhook"]
        return shown

    async def kept() -> str | None:
        settings = (await api.stores.tenants.get("acme")).settings
        return settings.webhook.secret if settings.webhook else None

    body = {"id": "acme", "settings": {"webhook": {"url": "https://app.example/hooks"}}}
    made = (await api.client.post("/v1/tenants", json=body)).json()["settings"]["webhook"]
    assert len(base64.b64decode(made["secret"].removeprefix("whsec_"))) == 32
    assert made["secret"] == await kept()
    for path in ("/v1/tenants/acme", "/v1/tenants"):
        answer = (await api.client.get(path)).text
        assert HIDDEN in answer
        assert made["secret"] not in answer
    assert await patch(url="https://app.example/other") == {"url": "https://app.example/other", "secret": HIDDEN}
    assert await patch(secret=HIDDEN) == {"url": "https://app.example/other", "secret": HIDDEN}
    assert await kept() == made["secret"]
    renewed = await patch(secret=None)
    assert renewed["secret"] not in (HIDDEN, made["secret"])
    own = "whsec_" + base64.b64encode(b"k" * 24).decode()
    assert (await patch(secret=own))["secret"] == own == await kept()
    renamed = await api.client.patch("/v1/tenants/acme", json={"name": "Acme"})
    assert renamed.json()["settings"]["webhook"]["secret"] == HIDDEN
    assert own not in repr(await api.stores.tenants.get("acme"))


async def test_a_new_tenant_has_an_empty_default_collection(api: Api, platform: dict[str, str]) -> None:
    await api.client.post("/v1/tenants", json={"id": "acme"})
    answer = await api.client.get("/v1/collections", headers={"X-Tenant-ID": "acme"})
    assert [(c["name"], c["documents"]) for c in answer.json()["collections"]] == [("default", 0)]


async def test_tenants_come_in_pages(api: Api, platform: dict[str, str]) -> None:
    for name in ("a", "b", "c", "d"):
        await api.stores.tenants.ensure(name)
    seen, after = list[str](), ""
    for _ in range(4):
        page = (await api.client.get("/v1/tenants", params={"limit": 2, "after": after})).json()
        seen += [tenant["id"] for tenant in page["tenants"]]
        if page["next"] is None:
            break
        after = page["next"]
    assert seen == ["a", "b", "c", "d", "t"]


@pytest.mark.parametrize("params", [{"limit": 0}, {"limit": LIMITS.max_page + 1}, {"limit": "x"}, {"after": "a" * 65}])
async def test_a_page_has_its_bounds(api: Api, platform: dict[str, str], params: dict[str, Any]) -> None:
    answer = await api.client.get("/v1/tenants", params=params)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert next(iter(params)) in answer.json()["detail"]


@pytest.mark.parametrize(
    ("body", "status", "names"),
    [
        ({}, 422, "id"),
        ({"id": ""}, 422, "tenant"),
        ({"id": "a b"}, 422, "a b"),
        ({"id": "_platform"}, 422, "_platform"),
        ({"id": "a/b"}, 422, "a/b"),
        ({"id": "x" * 65}, 422, "id"),
        ({"id": "t"}, 409, "exists"),
        ({"id": "a", "nam": "A"}, 422, "nam"),
        ({"id": "a", "name": "a\x00"}, 422, "name"),
        ({"id": "a", "settings": {"colour": "red"}}, 422, "settings.colour"),
        ({"id": "a", "settings": {"limits": {"top_k": 0}}}, 422, "settings.limits.top_k"),
        ({"id": "a", "settings": {"model": "huge"}}, 422, "settings.model"),
    ],
)
async def test_a_bad_tenant_is_refused(
    api: Api, platform: dict[str, str], body: dict[str, Any], status: int, names: str
) -> None:
    answer = await api.client.post("/v1/tenants", json=body)
    assert answer.status_code == status, answer.text
    assert names in answer.json()["detail"]
    assert [tenant.id for tenant in await api.stores.tenants.list()] == ["t"]


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ({"colour": "red"}, "settings.colour"),
        ({"limits": 3}, "settings.limits"),
        ({"quotas": {"documents": -1}}, "settings.quotas.documents"),
        ({"webhook": {}}, "settings.webhook.url"),
        ({"webhook": {"url": "ftp://app.example/"}}, "settings.webhook.url"),
        ({"webhook": {"url": "http://app.example/"}}, "settings.webhook.url"),
        ({"webhook": {"url": "https://user:secret@app.example/"}}, "settings.webhook.url"),
        ({"webhook": {"url": "https://app.example/", "secret": "whsec_c2hvcnQ="}}, "settings.webhook.secret"),
        ({"webhook": {"url": "https://app.example/", "secret": "whsec_" + "A" * 41}}, "settings.webhook.secret"),
        ({"webhook": {"url": "https://app.example/", "secret": HIDDEN}}, "settings.webhook.secret"),
        ({"prompt_preamble": "x" * 4_001}, "settings.prompt_preamble"),
    ],
)
async def test_a_bad_setting_changes_nothing(
    api: Api, platform: dict[str, str], settings: dict[str, Any], names: str
) -> None:
    answer = await api.client.patch("/v1/tenants/t", json={"name": "new", "settings": settings})
    assert answer.status_code == 422
    assert names in answer.json()["detail"]
    assert (await api.stores.tenants.get("t")).name == "t"


async def test_deleting_a_tenant_reports_what_it_removed(api: Api, platform: dict[str, str]) -> None:
    await api.stores.tenants.ensure("other")
    named = {"X-Tenant-ID": "other"}
    await api.client.post("/v1/collections", json={"name": "c"}, headers=named)
    first = {"id": "a", "text": "dva", "collection": "c"}
    for body in (first, {"id": "b", "text": "tri!"}):
        assert (await api.client.post("/v1/documents", json=body, headers=named)).status_code == 202
    [task] = await api.stores.jobs.queue.claim("w", lease_s=30, limit=1)
    await api.stores.jobs.queue.finish(task, IndexedDocument("", "hr", 1, {}))
    theirs = await api.key("admin", "other")
    await api.client.post("/v1/documents", json={"id": "mine", "text": "a"}, headers={"X-Tenant-ID": "t"})
    answer = await api.client.delete("/v1/tenants/other")
    assert (answer.status_code, answer.json()["id"]) == (200, "other")
    removed = answer.json()["removed"]
    assert {**removed, "passages": 0} == {
        "passages": 0, "documents": 2, "blobs": 2, "bytes": 7, "keys": 1, "jobs": 2, "collections": 2,
    }  # fmt: skip
    assert ("other", "/*") in api.stages.deleted
    assert len(api.stored_files()) == 1
    assert (await api.client.get("/v1/tenants/other")).status_code == 404
    assert (await api.client.get("/v1/collections", headers=theirs)).status_code == 401
    assert (await api.client.delete("/v1/tenants/other")).status_code == 404


async def test_a_deletion_that_the_index_could_not_do_is_taken_up_again(api: Api, platform: dict[str, str]) -> None:
    theirs = await api.key("admin")
    api.stages.failures["purge"] = StageUnavailable("retrieval is gone; try again")
    failed = await api.client.delete("/v1/tenants/t")
    assert (failed.status_code, failed.json()["code"]) == (503, "stage_unavailable")
    assert (await api.client.get("/v1/tenants/t")).json()["status"] == "deleting"
    assert (await api.client.get("/v1/collections", headers=theirs)).status_code == 404
    assert (await api.client.patch("/v1/tenants/t", json={"suspended": False})).status_code == 404
    del api.stages.failures["purge"]
    assert (await api.client.delete("/v1/tenants/t")).status_code == 200
    assert (await api.client.get("/v1/tenants/t")).status_code == 404


async def test_suspending_twice_is_once_and_the_state_is_shown(api: Api, platform: dict[str, str]) -> None:
    for suspended, status in [(True, "suspended"), (True, "suspended"), (False, "active")]:
        answer = await api.client.patch("/v1/tenants/t", json={"suspended": suspended})
        assert answer.json()["status"] == status
    await api.stores.events.drain()
    log = await api.client.get("/v1/audit", headers={"X-Tenant-ID": "t"})
    actions = [entry["action"] for entry in log.json()["entries"] if entry["action"].startswith("tenant.")]
    assert actions == ["tenant.resumed", "tenant.suspended"]
