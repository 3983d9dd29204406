from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from deployments.errors import StageUnavailable
from deployments.ingestion.base import IndexedDocument
from serve_app.commands.base import COMMANDS
from serve_app.platform.keys import Role
from serve_app.storage.declarative import PLATFORM
from tests.integration.api.conftest import LIMITS, Api
from tests.integration.api.test_query import events

QUERY_ID = "a" * 32


async def key(api: Api, role: Role, tenant: str = "t") -> dict[str, str]:
    secret, _ = await api.stores.keys.create_key(PLATFORM if role == "platform" else tenant, "k", role)
    return {"Authorization": f"Bearer {secret}"}


async def send(api: Api, command: str, headers: dict[str, str] | None = None, **params: Any) -> httpx.Response:
    body = {"id": "c1", "command": command, "params": params}
    return await api.client.post("/v1/commands", json=body, headers=headers)


def lines(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("application/x-ndjson")
    assert answer.text.endswith("\n")
    return [json.loads(line) for line in answer.text.splitlines()]


def only(answer: httpx.Response) -> dict[str, Any]:
    [line] = lines(answer)
    return line


async def data(api: Api, command: str, headers: dict[str, str] | None = None, **params: Any) -> dict[str, Any]:
    line = only(await send(api, command, headers, **params))
    assert (line["type"], line["query_id"], line["id"]) == ("result", "c1", "c1"), line
    found: dict[str, Any] = line["data"]
    return found


def refused(answer: httpx.Response, status: int, code: str, names: str = "") -> None:
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert names in answer.json()["detail"]


async def test_a_question_is_streamed_with_the_messages_of_the_query_route(api: Api) -> None:
    answer = await send(api, "query", query="Koji je rok za žalbu?")
    messages = lines(answer)
    assert {m.pop("id") for m in messages} == {"c1"}
    assert {m.pop("query_id") for m in messages} == {answer.headers["x-query-id"]}
    told = events((await api.client.post("/v1/query", json={"query": "Koji je rok za žalbu?"})).text)
    for message in told:
        del message["event_id"], message["query_id"]
    for both in (messages, told):
        both[-1]["timings"] = sorted(both[-1]["timings"])
    assert messages == told
    assert [m["type"] for m in messages] == ["sources", "chunk", "chunk", "citation", "complete"]


async def test_a_question_can_be_answered_whole(api: Api) -> None:
    found = await data(api, "query", query="Koji je rok?", stream=False, language="hr", user="u1", top_k=2)
    assert found["answer"] == "Rok je 15 dana. [1]"
    assert found["query_id"] != "c1"
    assert api.stages.retrievals[0].scope.user_id == "u1"


async def test_passages_are_found_without_an_answer(api: Api) -> None:
    found = await data(api, "search", query="Koji je rok?", top_k=2)
    assert [each["id"] for each in found["results"]] == ["p1", "p2"]
    assert api.stages.requests == []


async def test_a_query_is_cancelled_under_the_caller_s_tenant(api: Api) -> None:
    assert await data(api, "cancel_query", query_id=QUERY_ID) == {"query_id": QUERY_ID, "state": "cancelling"}
    assert api.stages.aborted == [("t", QUERY_ID)]


async def test_a_reader_that_goes_away_aborts_its_query(api: Api) -> None:
    api.stages.delays["token"] = 30
    task = asyncio.create_task(send(api, "query", query="q"))
    while "generation" not in api.stages.asked:  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(api.stages.aborted) == 1
    assert api.stages.streams_closed == 1


async def test_a_failure_in_a_stream_is_its_last_line(api: Api) -> None:
    api.stages.failures["generation"] = StageUnavailable("generation is gone")
    answer = await send(api, "query", query="q")
    [_, last] = lines(answer)
    assert last == {
        "type": "error", "query_id": answer.headers["x-query-id"], "error": "generation is gone",
        "code": "stage_unavailable", "retryable": True, "id": "c1",
    }  # fmt: skip


async def test_documents_are_taken_in_and_their_job_can_be_asked_for(api: Api) -> None:
    given = [{"id": "a", "text": "Članak 1.", "user": "u1", "language": "hr"}, {"id": "b", "text": "Članak 2."}]
    accepted = await data(api, "process_documents", tenant="t", documents=given)
    assert [each["id"] for each in accepted["documents"]] == ["a", "b"]
    job = await data(api, "get_job", job_id=accepted["job_id"])
    assert (job["state"], job["counts"]["queued"]) == ("queued", 2)
    assert len(api.announced) == 1


async def test_documents_are_taken_in_for_a_ray_job(api: Api) -> None:
    accepted = await data(api, "process_documents", documents=[{"text": "a"}], bulk=True)
    job = await data(api, "get_job", job_id=accepted["job_id"])
    assert job["bulk"] == {"ray_job": f"ingest-t-{job['id']}", "state": "waiting", "detail": None}


async def test_async_false_waits_until_the_job_is_done(api: Api) -> None:
    params: dict[str, Any] = {"documents": [{"id": "a", "text": "Članak 1."}], "async": False}
    waiting = asyncio.create_task(send(api, "process_documents", **params))
    while not api.announced:  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(0.01)
    tasks = await api.stores.jobs.queue.claim("w", lease_s=30, limit=10)
    await api.stores.jobs.queue.progress(tasks[0], "embedding")
    assert not waiting.done()
    await api.stores.jobs.queue.finish(tasks[0], IndexedDocument("", "hr", 1, {}))
    job = only(await waiting)["data"]
    assert (job["state"], job["documents"]) == (
        "succeeded",
        [{"id": "a", "state": "indexed", "chunks": 1, "chunks_done": 1, "error": None, "warnings": []}],
    )


async def test_async_false_waits_no_longer_than_the_deadline(api: Api) -> None:
    body = {"id": "c1", "command": "process_documents", "params": {"documents": [{"text": "a"}], "async": False}}
    answer = await api.client.post("/v1/commands", json=body, headers={"X-Deadline-Ms": "50"})
    assert only(answer)["data"]["state"] == "queued"


@pytest.mark.parametrize(
    ("documents", "names"),
    [
        ([], "documents"),
        ([{"text": "a"}, {"text": " "}], "documents.1.text"),
        ([{"text": "a"}, {"txt": "a"}], "documents.1.txt"),
        ([{"text": "a"}, {"uri": "file:///etc/hostname"}], "documents.1.uri"),
        ([{"text": "a"}, {}], "documents.1: send exactly one of text and uri"),
        ([{"text": "a"}] * (LIMITS.max_files + 1), str(LIMITS.max_files)),
        ([{"text": "a", "metadata": {"k": [1e300 * 10**9]}}], "documents.0.metadata"),
    ],
)
async def test_documents_that_cannot_be_taken_leave_no_trace(api: Api, documents: list[Any], names: str) -> None:
    body = json.dumps({"id": "c1", "command": "process_documents", "params": {"documents": documents}})
    answer = await api.client.post("/v1/commands", content=body, headers={"Content-Type": "application/json"})
    refused(answer, 422, "invalid_request", names)
    assert api.stored_files() == []


async def test_a_command_with_documents_has_the_documents_limit(api: Api) -> None:
    large = "a" * (LIMITS.max_query_body_bytes + 1)
    await data(api, "process_documents", documents=[{"text": large}])
    refused(await send(api, "process_documents", documents=[{"text": large * 2}]), 413, "document_too_large")


async def test_a_document_is_deleted(api: Api) -> None:
    await data(api, "process_documents", documents=[{"id": "a", "text": "a"}])
    assert await data(api, "delete_document", document_id="a") == {"id": "a", "deleted": True}
    assert set(api.stages.deleted) == {("t", "a")}
    line = only(await send(api, "delete_document", document_id="a"))
    assert (line["type"], line["code"], line["retryable"]) == ("error", "not_found", False)
    assert (line["query_id"], line["id"]) == ("c1", "c1")


async def test_an_empty_user_deletes_nothing(api: Api) -> None:
    await data(api, "process_documents", documents=[{"id": "a", "text": "a"}])
    refused(await send(api, "delete_documents", user=""), 422, "invalid_request")
    assert await data(api, "delete_documents", user="", all=True) == {"deleted": 1, "more": False}


async def test_the_platform_manages_tenants(api: Api) -> None:
    platform = await key(api, "platform")
    made = await data(api, "create_tenant", platform, tenant="acme", name="Acme", settings={"default_language": "en"})
    assert (made["id"], made["status"], made["settings"]["default_language"]) == ("acme", "active", "en")
    assert only(await send(api, "create_tenant", platform, tenant="acme"))["code"] == "conflict"
    assert await data(api, "get_tenant", platform, tenant="acme") == made
    page = await data(api, "list_tenants", platform, limit=1)
    assert [each["id"] for each in page["tenants"]] == ["acme"]
    assert page["next"] == "acme"
    assert [each["id"] for each in (await data(api, "list_tenants", platform, after="acme"))["tenants"]] == ["t"]
    assert (await data(api, "update_tenant", platform, tenant="acme", suspended=True))["status"] == "suspended"
    assert (await data(api, "get_tenant", platform, tenant="acme"))["status"] == "suspended"
    refused(await send(api, "search", platform, tenant="acme", query="q"), 403, "tenant_suspended")
    gone = await data(api, "delete_tenant", platform, tenant="acme")
    assert (gone["id"], gone["removed"]["collections"]) == ("acme", 1)
    assert only(await send(api, "get_tenant", platform, tenant="acme"))["code"] == "not_found"


async def test_collections_are_managed(api: Api) -> None:
    async def manage(action: str, **params: Any) -> dict[str, Any]:
        return await data(api, "manage_collections", action=action, **params)

    made = await manage("create", name="zakoni", description="NN")
    assert await manage("get", name="zakoni") == made
    assert (await manage("update", name="zakoni", description="x"))["description"] == "x"
    assert [each["name"] for each in (await manage("list"))["collections"]] == ["default", "zakoni"]
    assert (await manage("list", limit=1))["next"] == "default"
    assert await manage("delete", name="zakoni") == {"name": "zakoni", "removed": {"documents": 0, "passages": 0}}


async def test_keys_are_managed(api: Api) -> None:
    made = await data(api, "manage_keys", action="create", name="reader", role="query")
    next_one = await data(api, "manage_keys", action="rotate", key_id=made["id"], overlap_s=0)
    assert (next_one["name"], next_one["role"]) == ("reader", "query")
    reader = {"Authorization": f"Bearer {next_one['secret']}"}
    await data(api, "search", reader, query="q")
    assert await data(api, "manage_keys", action="revoke", key_id=next_one["id"]) == {
        "id": next_one["id"], "revoked": True,
    }  # fmt: skip
    refused(await send(api, "search", reader, query="q"), 401, "unauthenticated")
    listed = (await data(api, "manage_keys", action="list"))["keys"]
    assert {made["id"], next_one["id"]} < {each["id"] for each in listed}
    assert not any("secret" in each for each in listed)


async def test_health_is_what_readyz_says(api: Api) -> None:
    assert await data(api, "health", await key(api, "query")) == (await api.client.get("/readyz")).json()


FOR_ADMINS: list[tuple[str, dict[str, Any]]] = [
    ("process_documents", {"documents": [{"text": "a"}]}),
    ("list_documents", {}),
    ("get_document", {"document_id": "d"}),
    ("update_document", {"document_id": "d", "metadata": {}}),
    ("delete_documents", {"collection": "default"}),
    ("get_index", {}),
    ("reindex", {}),
    ("list_jobs", {}),
    ("list_failures", {}),
    ("cancel_job", {"job_id": "none"}),
    ("retry_job", {"job_id": "none"}),
    ("delete_document", {"document_id": "d"}),
    ("manage_collections", {"action": "create", "name": "c"}),
    ("manage_collections", {"action": "update", "name": "default", "description": "x"}),
    ("manage_collections", {"action": "delete", "name": "c"}),
    ("manage_keys", {"action": "create"}),
    ("manage_keys", {"action": "list"}),
    ("manage_keys", {"action": "rotate", "key_id": "k"}),
    ("manage_keys", {"action": "revoke", "key_id": "k"}),
    ("get_tenant", {"tenant": "t"}),
]
FOR_QUERIES: list[tuple[str, dict[str, Any]]] = [
    ("query", {"query": "q", "stream": False}),
    ("search", {"query": "q"}),
    ("cancel_query", {"query_id": QUERY_ID}),
    ("get_job", {"job_id": "none"}),
    ("manage_collections", {"action": "list"}),
    ("manage_collections", {"action": "get", "name": "default"}),
]
FOR_THE_PLATFORM: list[tuple[str, dict[str, Any]]] = [
    ("create_tenant", {"tenant": "new"}),
    ("list_tenants", {}),
    ("update_tenant", {"tenant": "t", "name": "x"}),
    ("delete_tenant", {"tenant": "t"}),
    ("get_tenant", {"tenant": "other"}),
]
FOR_ANYONE: list[tuple[str, dict[str, Any]]] = [("health", {})]


def test_every_command_is_in_these_lists() -> None:
    def told(found: list[tuple[str, dict[str, Any]]]) -> Iterator[tuple[str, str | None]]:
        for verb, params in found:
            yield verb, params.get("action")

    listed = {*told(FOR_ADMINS), *told(FOR_QUERIES), *told(FOR_THE_PLATFORM), *told(FOR_ANYONE)}
    there = set()
    for verb, classes in COMMANDS.items():
        for each in classes:
            action = each.model_fields.get("action")
            there.add((verb, action.annotation.__args__[0] if action and action.annotation else None))
    assert listed == there


@pytest.mark.parametrize(("command", "params"), FOR_ADMINS)
async def test_a_query_key_may_not_change_anything(api: Api, command: str, params: dict[str, Any]) -> None:
    refused(await send(api, command, await key(api, "query"), **params), 403, "forbidden")


@pytest.mark.parametrize(("command", "params"), FOR_QUERIES + FOR_ANYONE)
async def test_a_query_key_may_ask(api: Api, command: str, params: dict[str, Any]) -> None:
    lines(await send(api, command, await key(api, "query"), **params))


@pytest.mark.parametrize(("command", "params"), FOR_THE_PLATFORM)
@pytest.mark.parametrize("role", ["query", "admin"])
async def test_tenants_are_the_platform_s_to_manage(api: Api, role: Role, command: str, params: dict[str, Any]) -> None:
    refused(await send(api, command, await key(api, role), **params), 403, "forbidden")


OF_A_TENANT = [each for each in FOR_ADMINS if each[0] != "get_tenant"] + FOR_QUERIES


@pytest.mark.parametrize(("command", "params"), OF_A_TENANT)
async def test_a_platform_key_names_the_tenant(api: Api, command: str, params: dict[str, Any]) -> None:
    platform = await key(api, "platform")
    refused(await send(api, command, platform, **params), 422, "invalid_request", "tenant")
    refused(await send(api, command, platform, tenant="nobody", **params), 404, "not_found", "nobody")
    lines(await send(api, command, platform, tenant="t", **params))


@pytest.mark.parametrize(("command", "params"), OF_A_TENANT)
async def test_another_tenant_is_refused(api: Api, command: str, params: dict[str, Any]) -> None:
    await api.stores.tenants.ensure("other")
    refused(await send(api, command, tenant="other", **params), 403, "forbidden")
    assert api.stages.asked == []


async def test_a_command_acts_in_the_tenant_that_the_platform_named(api: Api) -> None:
    await api.stores.tenants.ensure("other")
    await data(api, "search", await key(api, "platform"), tenant="other", query="q")
    assert api.stages.retrievals[0].scope.tenant_id == "other"


@pytest.mark.parametrize(
    ("body", "names"),
    [
        ({}, "command"),
        ({"id": "1", "command": "frobnicate", "params": {}}, "process_documents"),
        ({"id": "1", "command": "query"}, "params"),
        ({"id": 1, "command": "health", "params": {}}, "id"),
        ({"id": "", "command": "health", "params": {}}, "id"),
        ({"command": "health", "params": {}}, "id"),
        ({"id": "1", "command": "health", "params": {}, "more": 1}, "more"),
        ({"id": "1", "command": "health", "params": []}, "params"),
        ({"id": "1", "command": "query", "params": {"query": "q", "top_k": 0}}, "top_k"),
        ({"id": "1", "command": "query", "params": {"query": " "}}, "query"),
        ({"id": "1", "command": "search", "params": {"query": " "}}, "query"),
        ({"id": "1", "command": "search", "params": {"query": "q", "languag": "hr"}}, "languag"),
        ({"id": "1", "command": "cancel_query", "params": {"query_id": "x"}}, "query_id"),
        ({"id": "1", "command": "manage_keys", "params": {}}, "action"),
        ({"id": "1", "command": "manage_keys", "params": {"action": "lend"}}, "rotate"),
        ({"id": "1", "command": "manage_keys", "params": {"action": "list", "role": "admin"}}, "role"),
        (
            {"id": "1", "command": "manage_keys", "params": {"action": "rotate", "key_id": "k", "overlap_s": 1e9}},
            "overl",
        ),
        ({"id": "1", "command": "manage_collections", "params": {"action": "list", "limit": 10**6}}, "limit"),
    ],
)
async def test_a_malformed_command_is_a_problem(api: Api, body: dict[str, Any], names: str) -> None:
    refused(await api.client.post("/v1/commands", json=body), 422, "invalid_request", names)
    assert api.stages.asked == []


async def test_a_stream_that_cannot_begin_is_refused_as_the_query_route_does(api: Api) -> None:
    refused(await send(api, "query", query="q", collections=["nema"]), 404, "unknown_collection", "nema")
    whole = only(await send(api, "query", query="q", collections=["nema"], stream=False))
    assert (whole["type"], whole["code"]) == ("error", "unknown_collection")


async def test_commands_want_a_key(api: Api) -> None:
    refused(await send(api, "health", {"Authorization": ""}), 401, "unauthenticated")


async def test_the_deadline_of_the_caller_is_kept(api: Api) -> None:
    api.stages.delays["retrieval"] = 30
    body = {"id": "c1", "command": "search", "params": {"query": "q"}}
    line = only(await api.client.post("/v1/commands", json=body, headers={"X-Deadline-Ms": "50"}))
    assert (line["code"], line["retryable"]) == ("deadline_exceeded", True)


async def test_a_repeated_command_with_its_idempotency_key_is_done_once(api: Api) -> None:
    once = {"Idempotency-Key": "k1"}
    first = await send(api, "manage_keys", once, action="create", name="n")
    again = await send(api, "manage_keys", once, action="create", name="n")
    assert lines(first) == lines(again)
    assert again.headers["idempotent-replayed"] == "true"
    assert len(await api.stores.keys.list("t")) == 2


async def test_a_failed_command_may_be_repeated_with_its_idempotency_key(api: Api) -> None:
    once = {"Idempotency-Key": "k1"}
    api.stages.failures["retrieval"] = StageUnavailable("retrieval is gone")
    assert only(await send(api, "search", once, query="q"))["type"] == "error"
    del api.stages.failures["retrieval"]
    assert only(await send(api, "search", once, query="q"))["type"] == "result"
