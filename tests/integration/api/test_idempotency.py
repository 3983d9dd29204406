"""Idempotency-Key: the same request twice is one."""

from __future__ import annotations

import asyncio
import tracemalloc
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from deployments.errors import StageUnavailable
from serve_app.platform.keys import Role
from tests.integration.api.conftest import Api

KEY = {"Idempotency-Key": "k1"}
CREATE = {"action": "create", "name": "z"}


async def create(api: Api, path: str = "/v1/keys", **body: Any) -> httpx.Response:
    return await api.client.post(path, json=body, headers=KEY)


def same(first: httpx.Response, again: httpx.Response) -> bool:
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"
    assert again.headers["x-request-id"] != first.headers["x-request-id"]
    kept = ("location", "content-type")
    return (again.status_code, again.content) == (first.status_code, first.content) and all(
        again.headers[name] == first.headers[name] for name in kept
    )


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/keys", {"name": "chat"}),
        ("/v1/collections", {"name": "zakoni"}),
        ("/v1/documents", {"text": "Članak 1."}),
        ("/v1/tenants", {"id": "acme"}),
    ],
)
async def test_a_repeated_request_gets_the_first_answer(api: Api, path: str, body: dict[str, Any]) -> None:
    if path == "/v1/tenants":
        api.client.headers.update(await api.key("platform"))
    first, again = await create(api, path, **body), await create(api, path, **body)
    assert first.status_code in (201, 202)
    assert same(first, again)


async def test_the_second_request_does_nothing(api: Api) -> None:
    for _ in range(2):
        await create(api, "/v1/documents", text="Članak 1.")
    assert len(api.stored_files()) == 1
    assert len(await api.stores.jobs.queue.claim("w", lease_s=30, limit=10)) == 1
    assert len(api.announced) == 1


async def test_a_tenant_that_is_suspended_since_gets_no_answer_again(api: Api) -> None:
    """Its own keys are refused everywhere; this is the platform's, which acts for it."""
    headers = KEY | {"X-Tenant-ID": "t"} | await api.key("platform")

    async def send() -> httpx.Response:
        return await api.client.post("/v1/keys", json={"name": "chat"}, headers=headers)

    assert (await send()).status_code == 201
    await api.stores.tenants.patch("t", suspended=True)
    refused = await send()
    assert (refused.status_code, refused.json()["code"]) == (403, "tenant_suspended")
    await api.stores.tenants.patch("t", suspended=False)
    assert (await send()).headers["idempotent-replayed"] == "true"


def rpc_call(number: int, method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/commands", {"id": "1", "command": "manage_collections", "params": {"tenant": "t", **CREATE}}),
        ("/v1/rpc", rpc_call(1, "manage_collections", tenant="t", **CREATE)),
        ("/v1/rpc", [rpc_call(1, "list_tenants"), rpc_call(2, "manage_collections", tenant="t", **CREATE)]),
        ("/v1/rpc", [{"no": "call"}, 7, rpc_call(3, "none"), rpc_call(2, "list_documents", tenant="t")]),
    ],
)
async def test_a_tenant_that_commands_name_and_that_is_suspended_since_gets_no_answer_again(
    api: Api, path: str, body: Any
) -> None:
    headers = KEY | await api.key("platform")
    first = await api.client.post(path, json=body, headers=headers)
    assert first.status_code == 200
    await api.stores.tenants.patch("t", suspended=True)
    refused = await api.client.post(path, json=body, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (403, "tenant_suspended")
    await api.stores.tenants.patch("t", suspended=False)
    again = await api.client.post(path, json=body, headers=headers)
    assert (again.content, again.headers["idempotent-replayed"]) == (first.content, "true")


@pytest.mark.parametrize(("role", "another"), [("platform", "nope"), ("admin", "other")])
async def test_a_batch_of_which_a_call_was_refused_for_its_tenant_is_answered_again(
    api: Api, role: Role, another: str
) -> None:
    await api.stores.tenants.ensure("other")
    headers = KEY | await api.key(role)
    calls = [rpc_call(1, "manage_collections", tenant="t", **CREATE), rpc_call(2, "list_documents", tenant=another)]
    first = await api.client.post("/v1/rpc", json=calls, headers=headers)
    assert ["error" in reply for reply in first.json()] == [False, True]
    again = await api.client.post("/v1/rpc", json=calls, headers=headers)
    assert (again.status_code, again.content) == (200, first.content)
    assert again.headers["idempotent-replayed"] == "true"


async def test_a_command_on_a_suspended_tenant_is_answered_again(api: Api) -> None:
    """The one that suspends it is the platform's own business."""
    headers = KEY | await api.key("platform")
    body = {"id": "1", "command": "update_tenant", "params": {"tenant": "t", "suspended": True}}
    first = await api.client.post("/v1/commands", json=body, headers=headers)
    assert first.json()["data"]["status"] == "suspended"
    again = await api.client.post("/v1/commands", json=body, headers=headers)
    assert (again.content, again.headers["idempotent-replayed"]) == (first.content, "true")


async def test_a_rotation_is_done_once(api: Api) -> None:
    key = (await api.client.post("/v1/keys", json={})).json()
    path = f"/v1/keys/{key['id']}/rotate"
    assert same(await create(api, path), await create(api, path))
    assert len(await api.stores.keys.list("t")) == 3


async def test_another_request_with_the_key_is_refused(api: Api) -> None:
    await create(api, name="chat")
    for answer in (
        await create(api, name="other"),
        await create(api, "/v1/collections", name="chat"),
        await api.client.post("/v1/keys?x=1", json={"name": "chat"}, headers=KEY),
        await api.client.post("/v1/keys", json={"name": "chat"}, headers=KEY | {"X-Tenant-ID": "t"}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_mismatch")
    assert len(await api.stores.keys.list("t")) == 2


async def test_a_multipart_request_is_the_same_with_another_boundary(api: Api) -> None:
    async def send(text: bytes) -> httpx.Response:
        return await api.client.post("/v1/documents", files=[("files", ("a.txt", text))], headers=KEY)

    first, again = await send(b"jedan"), await send(b"jedan")
    assert first.request.headers["content-type"] != again.request.headers["content-type"]
    assert same(first, again)
    other = await send(b"dva")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_mismatch")
    assert len(api.stored_files()) == 1


async def test_a_boundary_cannot_blow_up_what_is_compared(api: Api) -> None:
    tracemalloc.start()
    for boundary in ("", "a"):
        headers = KEY | {"Content-Type": f"multipart/form-data; boundary={boundary}"}
        answer = await api.client.post("/v1/documents", content=b"a" * 60_000, headers=headers)
        assert answer.status_code == 422
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


async def test_of_two_at_once_one_is_worked_on(api: Api) -> None:
    answers = await asyncio.gather(*(create(api, name="chat") for _ in range(5)))
    worked = [answer for answer in answers if answer.status_code == 201 and "idempotent-replayed" not in answer.headers]
    assert len(worked) == 1
    for answer in answers:
        if answer.status_code == 409:
            assert (answer.json()["code"], answer.json()["retryable"]) == ("request_in_progress", True)
            assert "retry-after" in answer.headers
        else:
            assert answer.content == worked[0].content
    assert len(await api.stores.keys.list("t")) == 2


async def test_while_the_first_is_being_worked_on_the_second_is_told_to_wait(
    api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, go_on = asyncio.Event(), asyncio.Event()
    plain = api.stores.blobs.write

    async def slow(tenant_id: str, data: bytes, key: str) -> Any:
        entered.set()
        await go_on.wait()
        return await plain(tenant_id, data, key)

    monkeypatch.setattr(api.stores.blobs, "write", slow)
    first = asyncio.create_task(create(api, "/v1/documents", text="a"))
    await entered.wait()
    waiting = await create(api, "/v1/documents", text="a")
    assert (waiting.status_code, waiting.json()["code"]) == (409, "request_in_progress")
    go_on.set()
    assert same(await first, await create(api, "/v1/documents", text="a"))


async def test_a_request_that_failed_is_not_remembered(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def full(tenant_id: str, data: bytes, key: str) -> Any:
        raise StageUnavailable("no space is left")

    with monkeypatch.context() as patch:
        patch.setattr(api.stores.blobs, "write", full)
        assert (await create(api, "/v1/documents", text="a")).status_code == 503
    answer = await create(api, "/v1/documents", text="a")
    assert answer.status_code == 202
    assert "idempotent-replayed" not in answer.headers


async def test_a_request_that_was_refused_may_be_mended_under_the_same_key(api: Api) -> None:
    assert (await create(api, role="owner")).status_code == 422
    assert (await create(api, role="query")).status_code == 201


async def test_an_answer_is_kept_for_a_day(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    first = await create(api, name="chat")
    now = datetime.now(UTC)
    monkeypatch.setattr(api.stores.idempotency, "clock", lambda: now + timedelta(hours=23, minutes=59))
    assert same(first, await create(api, name="chat"))
    monkeypatch.setattr(api.stores.idempotency, "clock", lambda: now + timedelta(hours=24, minutes=1))
    again = await create(api, name="chat")
    assert again.status_code == 201
    assert again.json()["id"] != first.json()["id"]


async def test_each_tenant_has_keys_of_its_own(api: Api) -> None:
    await api.stores.tenants.ensure("other")
    first = await create(api, name="chat")
    theirs = await api.client.post("/v1/keys", json={"name": "chat"}, headers=KEY | await api.key("admin", "other"))
    assert theirs.status_code == 201
    assert theirs.json()["id"] != first.json()["id"]


async def test_a_kept_secret_is_for_nobody_else(api: Api) -> None:
    first = await create(api, name="chat")
    answer = await api.client.post("/v1/keys", json={"name": "chat"}, headers=KEY | await api.key("admin"))
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_mismatch")
    assert first.json()["secret"].encode() not in (api.folder / "rag.db").read_bytes()
    assert first.json()["secret"].encode() not in (api.folder / "rag.db-wal").read_bytes()


async def test_a_key_that_ended_or_whose_tenant_is_suspended_gets_no_kept_answer(api: Api) -> None:
    platform, admin = await api.key("platform"), await api.key("admin")
    body, headers = {"name": "chat"}, KEY | admin
    assert (await api.client.post("/v1/keys", json=body, headers=headers)).status_code == 201
    await api.client.patch("/v1/tenants/t", json={"suspended": True}, headers=platform)
    refused = await api.client.post("/v1/keys", json=body, headers=headers)
    assert (refused.status_code, refused.json()["code"]) == (403, "tenant_suspended")
    await api.client.patch("/v1/tenants/t", json={"suspended": False}, headers=platform)
    *_, acting, _ = await api.stores.keys.list("t")
    await api.stores.keys.revoke("t", acting.id)
    assert (await api.client.post("/v1/keys", json=body, headers=headers)).status_code == 401


@pytest.mark.parametrize("key", ["", "x" * 256])
async def test_a_key_has_1_to_255_characters(api: Api, key: str) -> None:
    answer = await api.client.post("/v1/keys", json={}, headers={"Idempotency-Key": key})
    assert answer.status_code == 422
    assert "Idempotency-Key" in answer.json()["detail"]
    assert len(await api.stores.keys.list("t")) == 1


async def test_a_key_without_permission_is_refused_and_nothing_is_kept(api: Api) -> None:
    answer = await api.client.post("/v1/keys", json={}, headers=KEY | await api.key("query"))
    assert answer.status_code == 403
    assert (await create(api)).status_code == 201


async def test_a_request_sent_again_with_the_successor_of_a_rotated_key_gets_the_first_answer(api: Api) -> None:
    body = {"text": "Članak 1.", "user": "ana"}
    rotating = await api.key("admin")
    key_id = (await api.stores.keys.list("t"))[-1].id
    first = await api.client.post("/v1/documents", json=body, headers=KEY | rotating)
    rotated = await api.client.post(f"/v1/keys/{key_id}/rotate", json={"overlap_s": 0})
    successor = {"Authorization": f"Bearer {rotated.json()['secret']}"}
    assert same(first, await api.client.post("/v1/documents", json=body, headers=KEY | successor))
    assert len(api.announced) == 1
    of_another_user = await api.client.post("/v1/documents", json=body | {"user": "iva"}, headers=KEY | successor)
    assert (of_another_user.status_code, of_another_user.json()["code"]) == (422, "idempotency_mismatch")


async def test_a_key_of_another_role_gets_no_kept_answer(api: Api) -> None:
    assert (await create(api, "/v1/documents", text="a")).status_code == 202
    headers = KEY | await api.key("query")
    answer = await api.client.post("/v1/documents", json={"text": "a"}, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_mismatch")
