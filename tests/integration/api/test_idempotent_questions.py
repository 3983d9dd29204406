"""Idempotency-Key on questions: a repeated job does not have its answer generated again."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest

from deployments.errors import StageUnavailable, Unavailable
from serve_app.api.app import create_app
from serve_app.commands.base import TenantCommand, tenant_commands
from serve_app.platform.daily_usage import Period
from serve_app.platform.idempotency import Claim
from tests.integration.api.conftest import LIMITS, Api
from tests.support.waiting import until

Asked = tuple[str, dict[str, Any]]
KEY = {"Idempotency-Key": "oban-1"}
TURNS = [{"role": "user", "content": "Koji je rok?"}]
QUERY: Asked = ("/v1/query", {"query": "Koji je rok?"})
COMMAND: Asked = ("/v1/commands", {"id": "7", "command": "query", "params": {"query": "Koji je rok?"}})
ROUTES: dict[str, Asked] = {
    "query": QUERY,
    "query, whole": (QUERY[0], QUERY[1] | {"stream": False}),
    "chat": ("/v1/chat/completions", {"model": "rag", "messages": TURNS, "stream": True}),
    "chat, whole": ("/v1/chat/completions", {"model": "rag", "messages": TURNS}),
    "responses": ("/v1/responses", {"model": "rag", "input": "Koji je rok?", "stream": True}),
    "responses, whole": ("/v1/responses", {"model": "rag", "input": "Koji je rok?"}),
    "completions": ("/v1/completions", {"model": "none", "prompt": "Rok je", "stream": True}),
    "completions, whole": ("/v1/completions", {"model": "none", "prompt": "Rok je"}),
    "command": COMMAND,
    "command, whole": (COMMAND[0], COMMAND[1] | {"params": {"query": "Koji je rok?", "stream": False}}),
    "rpc": ("/v1/rpc", {"jsonrpc": "2.0", "id": 1, "method": "query", "params": {"query": "Koji je rok?"}}),
}
STREAMED = {name: asked for name, asked in ROUTES.items() if "whole" not in name and name != "rpc"}
every_route = pytest.mark.parametrize(("path", "body"), ROUTES.values(), ids=ROUTES)
every_stream = pytest.mark.parametrize(("path", "body"), STREAMED.values(), ids=STREAMED)


async def ask(api: Api, path: str, body: dict[str, Any], headers: dict[str, str] = KEY) -> httpx.Response:
    return await api.client.post(path, json=body, headers=headers)


def is_kept(answer: httpx.Response) -> bool:
    return answer.status_code == 200 and answer.headers.get("idempotent-replayed") == "true"


def refusal(answer: httpx.Response) -> tuple[int, str]:
    body = answer.json()
    return answer.status_code, body["error"]["code"] if "error" in body else body["code"]


def generated(api: Api) -> int:
    return api.stages.asked.count("generation")


async def questions_of(api: Api, tenant: str = "t") -> int:
    await api.stores.events.drain()
    return sum(used.questions for used in (await api.stores.usage.page(tenant, "day", Period())).rows)


@every_route
async def test_a_repeated_question_gets_the_kept_answer_and_counts_once(
    api: Api, path: str, body: dict[str, Any]
) -> None:
    first, again = await ask(api, path, body), await ask(api, path, body)
    assert first.status_code == 200
    assert not is_kept(first)
    assert is_kept(again)
    assert again.content == first.content
    for name in ("content-type", "x-query-id", "cache-control"):
        assert again.headers.get(name) == first.headers.get(name)
    assert generated(api) == 1
    assert await questions_of(api) == 1


@every_route
async def test_another_body_with_the_key_is_refused(api: Api, path: str, body: dict[str, Any]) -> None:
    await ask(api, path, body)
    other = json.loads(json.dumps(body).replace("ok", "ok, molim"))
    of_openai = path not in ("/v1/query", "/v1/commands", "/v1/rpc")
    assert refusal(await ask(api, path, other)) == (400 if of_openai else 422, "idempotency_mismatch")
    assert generated(api) == 1


@every_stream
async def test_while_the_first_runs_its_repetition_is_told_to_wait(api: Api, path: str, body: dict[str, Any]) -> None:
    api.stages.gates["token"] = asyncio.Semaphore(1)
    first = asyncio.create_task(ask(api, path, body))
    await until(lambda: api.stages.gates["token"].locked())
    waiting = await ask(api, path, body)
    assert refusal(waiting) == (409, "request_in_progress")
    assert int(waiting.headers["retry-after"]) >= 1
    for _ in range(10):
        api.stages.gates["token"].release()
    assert (await first).status_code == 200
    assert is_kept(await ask(api, path, body))
    assert generated(api) == 1


@every_stream
async def test_a_stream_that_failed_frees_its_key(api: Api, path: str, body: dict[str, Any]) -> None:
    api.stages.failures["generation"] = StageUnavailable("generation is gone; try again")
    await ask(api, path, body)
    del api.stages.failures["generation"]
    again = await ask(api, path, body)
    assert again.status_code == 200
    assert not is_kept(again)
    assert is_kept(await ask(api, path, body))


@every_route
async def test_what_fails_before_the_first_byte_frees_its_key(api: Api, path: str, body: dict[str, Any]) -> None:
    stage = "generation" if path == "/v1/completions" else "embedding"
    api.stages.failures[stage] = StageUnavailable("it is gone; try again")
    api.stages.failures["retrieval"] = StageUnavailable("it is gone; try again")
    await ask(api, path, body)
    api.stages.failures.clear()
    again = await ask(api, path, body)
    assert again.status_code == 200
    assert not is_kept(again)


@every_stream
async def test_a_hang_up_frees_the_key(api: Api, path: str, body: dict[str, Any]) -> None:
    api.stages.delays["token"] = 30
    first = asyncio.create_task(ask(api, path, body))
    await until(lambda: "generation" in api.stages.asked)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    api.stages.delays.clear()

    while (again := await ask(api, path, body)).status_code == 409:  # noqa: ASYNC110 - no event tells that it is freed
        await asyncio.sleep(0.01)
    assert again.status_code == 200
    assert not is_kept(again)


async def test_whoever_has_read_the_last_event_may_ask_again_at_once(api: Api) -> None:
    """Also if the connection ends right then, before the stream's own end."""
    messages: list[dict[str, Any]] = []
    gone, body = asyncio.Event(), httpx.Request("POST", "/", json=QUERY[1]).content

    async def receive() -> dict[str, Any]:
        if not messages:
            messages.append({})
            return {"type": "http.request", "body": body, "more_body": False}
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if b'"type":"complete"' in message.get("body", b""):
            gone.set()
            await asyncio.sleep(60)  # until the service stops sending

    scope = {
        "type": "http",
        "method": "POST",
        "path": "/v1/query",
        "raw_path": b"/v1/query",
        "query_string": b"",
        "headers": [
            (b"authorization", api.client.headers["authorization"].encode()),
            (b"content-type", b"application/json"),
            (b"idempotency-key", b"oban-1"),
        ],
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "scheme": "http",
        "server": ("rag.test", 80),
        "client": ("127.0.0.1", 1),
        "root_path": "",
    }
    await create_app(api.services)(scope, receive, send)
    assert gone.is_set()
    assert is_kept(await ask(api, "/v1/query", QUERY[1]))


async def test_a_cancelled_answer_is_not_kept(api: Api) -> None:
    api.stages.ends_as = "cancelled"
    assert '"finish_reason":"cancelled"' in (await ask(api, *QUERY)).text
    api.stages.ends_as = "stop"
    again = await ask(api, *QUERY)
    assert '"finish_reason":"stop"' in again.text
    assert not is_kept(again)


async def test_heartbeats_are_not_kept(api: Api) -> None:
    api.stages.delays["generation"] = 0.3
    app = create_app(api.services_with(heartbeat_s=0.02))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://rag.test") as other:
        first = await other.post(QUERY[0], json=QUERY[1], headers={**api.client.headers, **KEY})
    assert ": ping" in first.text
    again = await ask(api, *QUERY)
    assert is_kept(again)
    assert again.text == first.text.replace(": ping\n\n", "")


@pytest.mark.parametrize(
    ("path", "body"), [ROUTES[name] for name in ("query, whole", "query", "command", "chat", "responses")]
)
async def test_each_user_of_a_tenant_has_keys_of_their_own(api: Api, path: str, body: dict[str, Any]) -> None:
    def of(user: str) -> dict[str, Any]:
        if path == "/v1/commands":
            return body | {"params": body["params"] | {"user": user}}
        return body | {"user": user}

    first = await ask(api, path, of("ana"))
    theirs = await ask(api, path, of("iva"))
    assert (first.status_code, theirs.status_code) == (200, 200)
    assert not is_kept(theirs)
    assert is_kept(await ask(api, path, of("ana")))
    assert (await ask(api, path, of("ana"))).content == first.content


@pytest.mark.parametrize(("path", "body"), [QUERY, ROUTES["command"]])
async def test_each_tenant_has_keys_of_its_own_also_where_the_platform_asks(
    api: Api, path: str, body: dict[str, Any]
) -> None:
    await api.stores.tenants.ensure("other")
    platform = await api.key("platform")

    async def of(tenant: str) -> httpx.Response:
        if path == "/v1/commands":
            named = body | {"params": body["params"] | {"tenant": tenant}}
            return await ask(api, path, named, KEY | platform)
        return await ask(api, path, body, KEY | platform | {"X-Tenant-ID": tenant})

    first, theirs = await of("t"), await of("other")
    assert (first.status_code, is_kept(theirs), theirs.status_code) == (200, False, 200)
    assert is_kept(await of("t"))
    await api.stores.tenants.patch("t", suspended=True)
    assert refusal(await of("t")) == (403, "tenant_suspended")
    assert is_kept(await of("other"))


@every_route
async def test_a_suspended_tenant_gets_no_kept_answer(api: Api, path: str, body: dict[str, Any]) -> None:
    await ask(api, path, body)
    await api.stores.tenants.patch("t", suspended=True)
    assert refusal(await ask(api, path, body)) == (403, "tenant_suspended")
    await api.stores.tenants.patch("t", suspended=False)
    assert is_kept(await ask(api, path, body))


@every_route
async def test_a_kept_answer_counts_against_the_rate(api: Api, path: str, body: dict[str, Any]) -> None:
    """Else a tenant could ask for kept answers without end."""
    await api.stores.tenants.patch("t", settings={"limits": {"requests_per_minute": 1}})
    assert (await ask(api, path, body)).status_code == 200
    assert (await ask(api, path, body)).status_code == 429


async def test_a_repetition_writes_nothing(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    await ask(api, *QUERY)
    await api.stores.events.drain()
    monkeypatch.setattr(api.stores.idempotency.database, "transaction", lambda: pytest.fail("it writes"))
    assert is_kept(await ask(api, *QUERY))


async def test_an_answer_is_kept_for_its_time(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    await ask(api, *QUERY)
    now = datetime.now(UTC)
    monkeypatch.setattr(api.stores.idempotency, "clock", lambda: now + timedelta(hours=23, minutes=59))
    assert is_kept(await ask(api, *QUERY))
    monkeypatch.setattr(api.stores.idempotency, "clock", lambda: now + timedelta(hours=24, minutes=1))
    assert not is_kept(await ask(api, *QUERY))


@pytest.mark.parametrize("name", ["query", "query, whole"])
async def test_an_answer_that_is_too_large_is_sent_and_not_kept(
    api: Api, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    path, body = ROUTES[name]
    whole = await ask(api, path, body, {})
    monkeypatch.setattr(api.stores.idempotency, "max_answer_bytes", len(whole.content) // 2)
    first = await ask(api, path, body)
    assert first.status_code == 200
    assert len(first.content) == pytest.approx(len(whole.content), rel=0.1)
    assert not is_kept(await ask(api, path, body))


async def test_an_answer_that_cannot_be_kept_is_sent_whole(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fails(claim: Claim, answer: object) -> None:
        raise Unavailable("the database is gone")

    monkeypatch.setattr(api.stores.idempotency, "keep", fails)
    assert '"type":"complete"' in (await ask(api, *QUERY)).text


async def test_a_question_without_a_key_is_not_looked_up(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    async def begin(*given: object, **named: object) -> None:
        raise AssertionError("looked up")

    monkeypatch.setattr(api.stores.idempotency, "begin", begin)
    for path, body in ROUTES.values():
        assert (await ask(api, path, body, {})).status_code == 200


@pytest.mark.parametrize("path", ["/v1/commands", "/v1/rpc"])
async def test_a_body_larger_than_a_question_is_not_parsed_once_more_for_its_key(
    api: Api, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    def parsed(body: bytes, most: int) -> list[TenantCommand]:
        assert len(body) <= LIMITS.max_query_body_bytes
        return []

    monkeypatch.setattr("serve_app.api.routes.commands.tenant_commands", parsed)
    documents = {"documents": [{"text": "a" * LIMITS.max_query_body_bytes}]}
    one = {"id": "1", "command": "process_documents", "params": documents}
    calls = [{"jsonrpc": "2.0", "id": 1, "method": "health", "params": {}}] * (LIMITS.max_query_body_bytes // 40)
    answer = await api.client.post(path, json=one if path == "/v1/commands" else calls, headers=KEY)
    assert answer.status_code == 200


def test_a_batch_of_too_many_calls_is_not_read() -> None:
    call = {"jsonrpc": "2.0", "id": 1, "method": "query", "params": {"query": "q"}}
    assert len(tenant_commands(json.dumps([call] * 3).encode(), 3)) == 3
    assert tenant_commands(json.dumps([call] * 4).encode(), 3) == []


async def test_no_text_of_an_answer_is_in_the_database(api: Api) -> None:
    first = await ask(api, *QUERY)
    assert "Rok je" in first.text
    assert is_kept(await ask(api, *QUERY))
    for name in ("rag.db", "rag.db-wal"):
        assert b"Rok je" not in (api.folder / name).read_bytes()
