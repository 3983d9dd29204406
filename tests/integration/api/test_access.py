"""Who may do what, for whom, and what a tenant's settings do to its requests."""

from __future__ import annotations

from typing import Any

import pytest

from serve_app.platform.keys import Role
from tests.integration.api.conftest import LIMITS, Api

FOR_THE_PLATFORM: list[tuple[str, str, Any]] = [
    ("POST", "/v1/tenants", {"id": "new"}),
    ("GET", "/v1/tenants", None),
    ("PATCH", "/v1/tenants/t", {"name": "T"}),
    ("DELETE", "/v1/tenants/t", None),
    ("GET", "/v1/health/deep", None),
]
FOR_ADMINS: list[tuple[str, str, Any]] = [
    ("POST", "/v1/documents", {"text": "a"}),
    ("DELETE", "/v1/documents/d", None),
    ("GET", "/v1/documents", None),
    ("GET", "/v1/documents/d", None),
    ("GET", "/v1/documents/d/chunks", None),
    ("GET", "/v1/documents/d/content", None),
    ("PATCH", "/v1/documents/d", {"metadata": {"year": 2018}}),
    ("POST", "/v1/documents/delete", {"collection": "default"}),
    ("GET", "/v1/reindex", None),
    ("POST", "/v1/reindex", {}),
    ("GET", "/v1/jobs", None),
    ("GET", "/v1/failures", None),
    ("POST", "/v1/jobs/j/cancel", None),
    ("POST", "/v1/jobs/j/retry", None),
    ("POST", "/v1/collections", {"name": "c"}),
    ("PATCH", "/v1/collections/default", {"description": "d"}),
    ("DELETE", "/v1/collections/c", None),
    ("POST", "/v1/keys", {}),
    ("GET", "/v1/keys", None),
    ("POST", "/v1/keys/k/rotate", {}),
    ("DELETE", "/v1/keys/k", None),
    ("GET", "/v1/audit", None),
    ("GET", "/v1/queries", None),
    ("GET", "/v1/usage", None),
    ("GET", "/v1/retention", None),
]
WITHOUT_A_TENANT = ("/v1/audit", "/v1/retention")
"""With a platform key that names no tenant, these tell of the platform."""
FOR_ALL: list[tuple[str, str, Any]] = [
    ("POST", "/v1/query", {"query": "q"}),
    ("POST", "/v1/search", {"query": "q"}),
    ("DELETE", "/v1/query/" + "0" * 32, None),
    ("GET", "/v1/queries/" + "0" * 32, None),
    ("GET", f"/v1/queries/{'0' * 32}/trace", None),
    ("GET", "/v1/jobs/j", None),
    ("GET", "/v1/jobs/j/events", None),
    ("GET", "/v1/collections", None),
    ("GET", "/v1/collections/default", None),
]
OF_OTHER_APIS: list[tuple[str, str, Any]] = [
    ("POST", "/v1/chat/completions", {"model": "rag", "messages": [{"role": "user", "content": "q"}]}),
    ("POST", "/v1/responses", {"model": "rag", "input": "q"}),
    ("POST", "/v1/completions", {"model": "none", "prompt": "q"}),
    ("POST", "/v1/embeddings", {"model": "org/embedder", "input": "a"}),
    ("GET", "/v1/models", None),
    ("GET", "/v1/models/rag", None),
    ("POST", "/v1/rerank", {"query": "q", "documents": ["a"]}),
    ("POST", "/v2/rerank", {"model": "org/reranker", "query": "q", "documents": ["a"]}),
]
"""For all, too; their refusals have another form, see compatible/test_errors.py."""
AS_COMMANDS: list[tuple[str, Any]] = [
    ("/v1/commands", {"id": "1", "command": "get_tenant", "params": {"tenant": "t"}}),
    ("/v1/commands", {"id": "1", "command": "health", "params": {}}),
    ("/v1/rpc", {"jsonrpc": "2.0", "id": 1, "method": "get_tenant", "params": {"tenant": "t"}}),
]
OF_A_TENANT = [*FOR_ADMINS, *FOR_ALL]
NEW_TENANT = ("POST", "/v1/tenants", {"id": "new"})
ONE_TENANT = ("GET", "/v1/tenants/t", None)


def told(error: Any) -> tuple[int, str]:
    return error.status_code, error.json()["code"]


async def test_every_route_of_v1_is_in_these_lists(api: Api) -> None:
    document = (await api.client.get("/openapi.json")).json()
    # The answers to HEAD have no body; test_document_content.py compares them with those to GET.
    shared = {("POST", "/v1/commands"), ("POST", "/v1/rpc"), ("HEAD", "/v1/documents/{document_id}/content")}
    routes = {
        (method.upper(), *path.split("/")[1:3], path.count("/"))
        for path, operations in document["paths"].items()
        for method in operations
        if path.startswith("/v") and (method.upper(), path) not in shared
    }
    listed = [*FOR_THE_PLATFORM, *OF_A_TENANT, ONE_TENANT, *OF_OTHER_APIS]
    assert {(method, *path.split("/")[1:3], path.count("/")) for method, path, _ in listed} == routes


@pytest.mark.parametrize("headers", [{"Authorization": ""}, {"Authorization": "Bearer rag_wrong_key"}])
@pytest.mark.parametrize(("method", "path", "body"), [*FOR_THE_PLATFORM, *OF_A_TENANT, ONE_TENANT])
async def test_no_route_answers_without_a_key(
    api: Api, headers: dict[str, str], method: str, path: str, body: Any
) -> None:
    answer = await api.client.request(method, path, json=body, headers=headers)
    assert told(answer) == (401, "unauthenticated")


@pytest.mark.parametrize("role", ["query", "admin"])
@pytest.mark.parametrize(("method", "path", "body"), FOR_THE_PLATFORM)
async def test_tenants_are_the_platform_s(api: Api, role: Role, method: str, path: str, body: Any) -> None:
    answer = await api.client.request(method, path, json=body, headers=await api.key(role))
    assert told(answer) == (403, "forbidden")
    assert [tenant.id for tenant in await api.stores.tenants.list()] == ["t"]


@pytest.mark.parametrize(("method", "path", "body"), FOR_ADMINS)
async def test_a_query_key_may_change_nothing(api: Api, method: str, path: str, body: Any) -> None:
    answer = await api.client.request(method, path, json=body, headers=await api.key("query"))
    assert told(answer) == (403, "forbidden")


@pytest.mark.parametrize("role", ["query", "admin"])
@pytest.mark.parametrize(("method", "path", "body"), [*FOR_ALL, *OF_OTHER_APIS])
async def test_any_key_of_the_tenant_may_ask(api: Api, role: Role, method: str, path: str, body: Any) -> None:
    answer = await api.client.request(method, path, json=body, headers=await api.key(role))
    assert answer.status_code in (200, 202, 404), answer.text


async def test_a_tenant_is_shown_to_its_admins_and_to_the_platform(api: Api) -> None:
    await api.stores.tenants.ensure("other")
    for role, tenant, status in [
        ("admin", "t", 200),
        ("platform", "", 200),
        ("query", "t", 403),
        ("admin", "other", 403),
    ]:
        answer = await api.client.get("/v1/tenants/t", headers=await api.key(role, tenant))  # type: ignore[arg-type]
        assert answer.status_code == status, (role, tenant)


@pytest.mark.parametrize(("method", "path", "body"), [each for each in OF_A_TENANT if each[1] not in WITHOUT_A_TENANT])
async def test_a_platform_key_must_name_a_tenant(api: Api, method: str, path: str, body: Any) -> None:
    answer = await api.client.request(method, path, json=body, headers=await api.key("platform"))
    assert told(answer) == (422, "invalid_request")
    assert "X-Tenant-ID" in answer.json()["detail"]


@pytest.mark.parametrize(("method", "path", "body"), OF_A_TENANT)
async def test_a_tenant_that_is_not_there_is_not_found(api: Api, method: str, path: str, body: Any) -> None:
    headers = await api.key("platform") | {"X-Tenant-ID": "nobody"}
    answer = await api.client.request(method, path, json=body, headers=headers)
    assert told(answer) == (404, "not_found")
    assert "nobody" in answer.json()["detail"]


@pytest.mark.parametrize("role", ["query", "admin"])
@pytest.mark.parametrize(("method", "path", "body"), OF_A_TENANT)
async def test_a_tenant_s_key_may_not_name_another(api: Api, role: Role, method: str, path: str, body: Any) -> None:
    await api.stores.tenants.ensure("other")
    headers = await api.key(role) | {"X-Tenant-ID": "other"}
    answer = await api.client.request(method, path, json=body, headers=headers)
    assert told(answer) == (403, "forbidden")


async def test_a_tenant_s_key_may_name_its_own(api: Api) -> None:
    answer = await api.client.get("/v1/collections", headers={"X-Tenant-ID": "t"})
    assert answer.status_code == 200


async def test_the_platform_s_own_rows_are_no_tenant(api: Api) -> None:
    platform = await api.key("platform")
    for method, path in [("GET", "/v1/tenants/_platform"), ("DELETE", "/v1/tenants/_platform")]:
        assert told(await api.client.request(method, path, headers=platform)) == (404, "not_found")
    answer = await api.client.get("/v1/keys", headers=platform | {"X-Tenant-ID": "_platform"})
    assert told(answer) == (404, "not_found")


async def test_a_platform_key_acts_in_the_tenant_that_it_names(api: Api) -> None:
    await api.stores.tenants.ensure("other")
    named = await api.key("platform") | {"X-Tenant-ID": "other"}
    assert (await api.client.post("/v1/collections", json={"name": "c"}, headers=named)).status_code == 201
    assert (await api.client.get("/v1/collections/c", headers=named)).status_code == 200
    assert told(await api.client.get("/v1/collections/c")) == (404, "unknown_collection")
    await api.client.post("/v1/query", json={"query": "q"}, headers=named)
    assert api.stages.requests[0].tenant_id == "other"


@pytest.mark.parametrize(("method", "path", "body"), OF_A_TENANT)
async def test_a_suspended_tenant_s_keys_are_refused_at_once(api: Api, method: str, path: str, body: Any) -> None:
    admin, platform = await api.key("admin"), await api.key("platform")
    await api.client.patch("/v1/tenants/t", json={"suspended": True}, headers=platform)
    assert told(await api.client.request(method, path, json=body, headers=admin)) == (403, "tenant_suspended")
    await api.client.patch("/v1/tenants/t", json={"suspended": False}, headers=platform)
    answer = await api.client.request(method, path, json=body, headers=admin)
    assert answer.status_code < 300 or answer.status_code in (404, 409), answer.text


@pytest.mark.parametrize("role", ["query", "admin"])
@pytest.mark.parametrize(
    ("method", "path", "body"),
    [*OF_OTHER_APIS, *FOR_THE_PLATFORM, ONE_TENANT, *(("POST", path, body) for path, body in AS_COMMANDS)],
)
async def test_a_suspended_tenant_s_keys_may_not_even_read(
    api: Api, role: Role, method: str, path: str, body: Any
) -> None:
    headers = await api.key(role)
    await api.stores.tenants.patch("t", suspended=True)
    answer = await api.client.request(method, path, json=body, headers=headers)
    assert answer.status_code == 403
    assert "tenant 't' is suspended; ask the platform to resume it" in answer.text


async def test_the_platform_still_reads_a_suspended_tenant_and_resumes_it(api: Api) -> None:
    platform = await api.key("platform")
    await api.stores.tenants.patch("t", suspended=True)
    answer = await api.client.get("/v1/tenants/t", headers=platform)
    assert (answer.status_code, answer.json()["status"]) == (200, "suspended")
    for command in ("get_tenant", "update_tenant"):
        sent = {"id": "1", "command": command, "params": {"tenant": "t"}}
        assert (await api.client.post("/v1/commands", json=sent, headers=platform)).status_code == 200
    await api.client.patch("/v1/tenants/t", json={"suspended": False}, headers=platform)
    assert (await api.client.get("/v1/tenants/t")).status_code == 200


async def change(api: Api, **settings: Any) -> None:
    answer = await api.client.patch("/v1/tenants/t", json={"settings": settings}, headers=await api.key("platform"))
    assert answer.status_code == 200, answer.text


async def test_the_tenant_s_language_is_for_questions_that_do_not_tell(api: Api) -> None:
    await change(api, default_language="en")
    await api.client.post("/v1/query", json={"query": "GDPR 2018"})
    await api.client.post("/v1/query", json={"query": "Koliko dugo se čuvaju dokumenti?"})
    await api.client.post("/v1/query", json={"query": "GDPR 2018", "language": "hr"})
    assert [request.language for request in api.stages.requests] == ["en", "hr", "hr"]


async def test_the_tenant_s_preamble_opens_the_system_message(api: Api) -> None:
    await change(api, prompt_preamble="You advise the members of a trade union.")
    await api.client.post("/v1/query", json={"query": "Koji je rok?"})
    first, *others = api.stages.requests[0].messages
    assert first.role == "system"
    assert first.content.startswith("You advise the members of a trade union.")
    assert not any("trade union" in message.content for message in others)


async def test_the_tenant_s_model_answers_and_is_named(api: Api) -> None:
    await change(api, model="legal")
    answer = await api.client.post("/v1/query", json={"query": "Koji je rok?", "stream": False})
    assert api.stages.requests[0].model == "legal"
    assert answer.json()["model"] == "legal"


async def test_a_model_that_is_not_deployed_cannot_be_chosen(api: Api) -> None:
    body = {"settings": {"model": "huge"}}
    answer = await api.client.patch("/v1/tenants/t", json=body, headers=await api.key("platform"))
    assert told(answer) == (422, "invalid_request")
    assert "'tiny', 'legal'" in answer.json()["detail"]


@pytest.mark.parametrize("field", ["max_tokens", "top_k"])
async def test_a_tenant_s_limit_narrows_what_may_be_asked(api: Api, field: str) -> None:
    await change(api, limits={field: 3})
    refused = await api.client.post("/v1/query", json={"query": "q", field: 4})
    assert told(refused) == (422, "invalid_request")
    assert field in refused.json()["detail"]
    for body in ({"query": "q"}, {"query": "q", field: 3}):
        assert (await api.client.post("/v1/query", json=body)).status_code == 200
    for request in api.stages.requests:
        assert (request.max_tokens if field == "max_tokens" else len(request.passages)) == 3


async def test_a_tenant_s_limit_does_not_widen_the_service_s(api: Api) -> None:
    await change(api, limits={"max_tokens": 100_000})
    answer = await api.client.post("/v1/query", json={"query": "q", "max_tokens": LIMITS.max_max_tokens + 1})
    assert told(answer) == (422, "invalid_request")


async def test_a_tenant_s_deadline_ends_a_query(api: Api) -> None:
    await change(api, limits={"deadline_s": 0.05})
    api.stages.delays["retrieval"] = 30
    answer = await api.client.post("/v1/query", json={"query": "q", "stream": False})
    assert told(answer) == (504, "deadline_exceeded")


async def test_what_is_kept_is_told_to_those_who_may_write(api: Api) -> None:
    state = (await api.client.get("/v1/retention")).json()
    assert (state["days"]["jobs"], state["waiting"]["jobs"], state["swept_at"], state["removed"]) == (90, 0, None, {})
    expected: list[tuple[Role, dict[str, int] | None]] = [("platform", {"uploads": 0, "versions": 0}), ("query", None)]
    for role, waiting in expected:
        answer = await api.client.get("/v1/retention", headers=await api.key(role))
        assert answer.status_code == (200 if waiting else 403)
        assert answer.json().get("waiting") == waiting


async def test_quotas_hold_over_http(api: Api) -> None:
    await change(api, quotas={"documents": 1})
    assert (await api.client.post("/v1/documents", json={"id": "a", "text": "a"})).status_code == 202
    refused = await api.client.post("/v1/documents", json={"id": "b", "text": "b"})
    assert told(refused) == (403, "quota_exceeded")
    assert len(api.stored_files()) == 1


async def audit(api: Api, headers: dict[str, str] | None = None, **params: Any) -> list[dict[str, Any]]:
    await api.stores.events.drain()
    answer = await api.client.get("/v1/audit", headers=headers, params=params)
    assert answer.status_code == 200, answer.text
    entries: list[dict[str, Any]] = answer.json()["entries"]
    return entries


async def test_the_audit_log_tells_who_did_what_newest_first(api: Api) -> None:
    await api.client.post("/v1/collections", json={"name": "zakoni"}, headers={"X-Request-ID": "first"})
    made = (await api.client.post("/v1/keys", json={"role": "admin"}, headers={"X-Request-ID": "second"})).json()
    acting = {"Authorization": f"Bearer {made['secret']}", "X-Request-ID": "third"}
    await api.client.delete("/v1/collections/zakoni", headers=acting)
    entries = await audit(api)
    assert [(entry["action"], entry["subject"], entry["request_id"]) for entry in entries[:3]] == [
        ("collection.deleted", "zakoni", "third"),
        ("key.created", made["id"], "second"),
        ("collection.created", "zakoni", "first"),
    ]
    assert (entries[0]["actor"], entries[0]["role"]) == (made["id"], "admin")
    assert made["secret"] not in str(entries)
    assert len(await audit(api, limit=2)) == 2
    first = (await api.client.get("/v1/audit", params={"limit": 2})).json()
    older = (await api.client.get("/v1/audit", params={"after": first["next"]})).json()
    assert [*first["entries"], *older["entries"]] == entries
    assert older["next"] is None
    assert (await api.client.get("/v1/audit", params={"limit": LIMITS.max_page + 1})).status_code == 422


async def test_each_tenant_has_a_log_of_its_own_and_so_has_the_platform(api: Api) -> None:
    platform = await api.key("platform")
    await api.client.post("/v1/tenants", json={"id": "other"}, headers=platform)
    await api.client.post("/v1/collections", json={"name": "mine"})
    named = platform | {"X-Tenant-ID": "other"}
    assert [entry["action"] for entry in await audit(api, named)] == ["tenant.created"]
    await api.client.delete("/v1/tenants/other", headers=platform)
    assert told(await api.client.get("/v1/audit", headers=named)) == (404, "not_found")
    last = (await audit(api, platform))[0]
    assert (last["action"], last["subject"], last["role"]) == ("tenant.deleted", "other", "platform")
    assert "tenant.created" not in {entry["action"] for entry in await audit(api)}
