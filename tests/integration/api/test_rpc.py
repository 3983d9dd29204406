from __future__ import annotations

import asyncio
import json
from typing import Any

import httpx
import pytest

from deployments.errors import StageUnavailable
from serve_app.commands.rpc import AT_ONCE
from tests.integration.api.conftest import LIMITS, Api
from tests.support.waiting import BOUND_S


def call(method: str, id: object = 1, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method, "params": params, "id": id}


def notification(method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "method": method, "params": params}


async def send(api: Api, body: object, **headers: str) -> httpx.Response:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    return await api.client.post("/v1/rpc", content=content, headers={"Content-Type": "application/json", **headers})


async def reply(api: Api, body: object) -> Any:
    answer = await send(api, body)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    return answer.json()


def codes(replies: list[dict[str, Any]]) -> list[int | None]:
    return [each["error"]["code"] if "error" in each else None for each in replies]


@pytest.mark.parametrize("id", ["a", 7, -1.5, None, ""])
async def test_a_call_has_its_result_under_its_id(api: Api, id: object) -> None:
    answer = await reply(api, call("cancel_query", id, query_id="a" * 32))
    assert answer == {"jsonrpc": "2.0", "result": {"query_id": "a" * 32, "state": "cancelling"}, "id": id}


async def test_params_may_be_left_out(api: Api) -> None:
    assert (await reply(api, {"jsonrpc": "2.0", "method": "health", "id": 1}))["result"]["ready"] is True


async def test_a_question_is_answered_whole(api: Api) -> None:
    for params in ({}, {"stream": False}):
        answer = await reply(api, call("query", query="Koji je rok?", **params))
        assert answer["result"]["answer"] == "Rok je 15 dana. [1]"


async def test_a_stream_is_refused_and_told_where_to_go(api: Api) -> None:
    answer = await reply(api, call("query", query="q", stream=True))
    assert answer["error"]["code"] == -32602
    assert "/v1/commands" in answer["error"]["message"]
    assert api.stages.asked == []


@pytest.mark.parametrize(
    "body", [b"", b"{", b'{"jsonrpc":"2.0","method":"\xff"}', b'["\\ud800"]', b"[NaN]", b"[" * 5_000]
)
async def test_what_is_no_json_is_a_parse_error(api: Api, body: bytes) -> None:
    answer = await reply(api, body)
    assert (answer["error"]["code"], answer["id"]) == (-32700, None)


@pytest.mark.parametrize(
    "body",
    [
        [], {}, 1, "health", None, {"jsonrpc": "2.0", "method": 1, "params": "bar"},
        {"jsonrpc": "1.0", "method": "health", "id": 1}, {"method": "health", "id": 1}, {"jsonrpc": "2.0", "id": 1},
        call("health") | {"params": "x"}, call("health") | {"params": None},
        call("health", True), call("health", {}), call("health", [1]),
    ],
)  # fmt: skip
async def test_what_is_no_call_is_an_invalid_request(api: Api, body: object) -> None:
    answer = await reply(api, body)
    assert (answer["error"]["code"], answer["id"]) == (-32600, None)


async def test_an_id_that_json_cannot_give_back_is_an_invalid_request(api: Api) -> None:
    answer = await reply(api, b'{"jsonrpc":"2.0","method":"health","id":1e999}')
    assert answer["error"]["code"] == -32600


async def test_an_unknown_method_is_told_with_those_there_are(api: Api) -> None:
    answer = await reply(api, call("frobnicate", "x"))
    assert (answer["error"]["code"], answer["id"]) == (-32601, "x")
    assert "process_documents" in answer["error"]["message"]


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (call("search"), "query"),
        (call("search", query="q", languag="hr"), "languag"),
        (call("search", query=" "), "query"),
        (call("search", query="q", filter="tenant_id == 'x'"), "tenant_id"),
        (call("manage_keys", action="lend"), "rotate"),
        (call("search") | {"params": ["q"]}, "by name"),
        (call("search") | {"params": []}, "by name"),
    ],
)
async def test_wrong_params_are_named(api: Api, body: dict[str, Any], names: str) -> None:
    answer = await reply(api, body)
    assert (answer["error"]["code"], answer["id"]) == (-32602, 1)
    assert names in answer["error"]["message"]
    assert api.stages.asked == []


@pytest.mark.parametrize(
    ("body", "data"),
    [
        (call("get_job", job_id="none"), {"code": "not_found", "status": 404, "retryable": False}),
        (call("create_tenant", tenant="x"), {"code": "forbidden", "status": 403, "retryable": False}),
        (call("search", query="q", tenant="other"), {"code": "forbidden", "status": 403, "retryable": False}),
        (call("search", query="q"), {"code": "stage_unavailable", "status": 503, "retryable": True}),
    ],
)
async def test_our_own_errors_say_what_a_problem_says(api: Api, body: dict[str, Any], data: dict[str, Any]) -> None:
    api.stages.failures["retrieval"] = StageUnavailable("retrieval is gone")
    answer = await reply(api, body)
    assert (answer["error"]["code"], answer["error"]["data"]) == (-32000, data)


async def test_an_unexpected_error_says_nothing_of_the_inside(api: Api) -> None:
    api.stages.failures["retrieval"] = ZeroDivisionError("secret")  # type: ignore[assignment]
    answer = await send(api, call("search", query="q"))
    assert answer.json()["error"]["code"] == -32603
    assert "secret" not in answer.text


async def test_a_batch_is_answered_in_its_order(api: Api) -> None:
    api.stages.delays["retrieval"] = 0.05
    answers = await reply(
        api,
        [
            call("search", 1, query="q"),
            notification("cancel_query", query_id="b" * 32),
            call("get_job", 2, job_id="none"),
            {"foo": "boo"},
            call("frobnicate", 3),
            call("search", 4),
            call("health", "5"),
        ],
    )
    assert [each["id"] for each in answers] == [1, 2, None, 3, 4, "5"]
    assert codes(answers) == [None, -32000, -32600, -32601, -32602, None]
    assert api.stages.aborted == [("t", "b" * 32)]


async def test_calls_of_a_batch_run_side_by_side_a_few_at_a_time(api: Api) -> None:
    together, most = 0, 0

    async def status() -> dict[str, Any]:
        nonlocal together, most
        together += 1
        most = max(most, together)
        await asyncio.sleep(0)
        together -= 1
        return {}

    object.__setattr__(api.services, "ask_stages", status)
    assert len(await reply(api, [call("health", n) for n in range(3 * AT_ONCE)])) == 3 * AT_ONCE
    assert most == AT_ONCE


async def test_calls_of_a_batch_share_the_deadline(api: Api) -> None:
    api.stages.delays["retrieval"] = 3600
    batch = [call("search", n, query="q") for n in range(2 * AT_ONCE)]
    async with asyncio.timeout(BOUND_S):
        answer = await send(api, batch, **{"X-Deadline-Ms": "50"})
    assert {each["error"]["data"]["code"] for each in answer.json()} == {"deadline_exceeded"}


async def test_a_batch_has_its_bounds(api: Api) -> None:
    answer = await reply(api, [call("health", n) for n in range(LIMITS.max_batch + 1)])
    assert (answer["error"]["code"], answer["id"]) == (-32600, None)
    assert str(LIMITS.max_batch) in answer["error"]["message"]
    assert codes(await reply(api, [1])) == [-32600]


@pytest.mark.parametrize(
    "body",
    [
        notification("cancel_query", query_id="b" * 32),
        [notification("cancel_query", query_id="b" * 32), notification("frobnicate"), notification("search")],
    ],
)
async def test_notifications_are_done_and_not_answered(api: Api, body: object) -> None:
    answer = await send(api, body)
    assert (answer.status_code, answer.content) == (204, b"")
    assert api.stages.aborted == [("t", "b" * 32)]


async def test_calls_want_a_key(api: Api) -> None:
    answer = await send(api, call("health"), Authorization="")
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")


async def test_a_body_may_be_as_large_as_documents_are(api: Api) -> None:
    large = "a" * (LIMITS.max_query_body_bytes + 1)
    assert "result" in await reply(api, call("process_documents", documents=[{"text": large}]))
    answer = await send(api, call("process_documents", documents=[{"text": large * 2}]))
    assert (answer.status_code, answer.json()["code"]) == (413, "document_too_large")


async def test_a_repeated_call_with_its_idempotency_key_is_done_once(api: Api) -> None:
    body, once = call("create_tenant", tenant="x"), {"Idempotency-Key": "k1"}
    assert "error" in (await send(api, body, **once)).json()
    made = call("manage_keys", action="create", name="n")
    assert "error" not in (first := (await send(api, made, **once)).json())
    again = await send(api, made, **once)
    assert (again.json(), again.headers["idempotent-replayed"]) == (first, "true")
    assert len(await api.stores.keys.list("t")) == 2
