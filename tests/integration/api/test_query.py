from __future__ import annotations

import asyncio
import gzip
import json
from typing import Any

import httpx
import pytest

from deployments.errors import StageUnavailable
from deployments.types import Message
from serve_app.api.app import create_app
from tests.integration.api.conftest import LIMITS, Api
from tests.support.waiting import until


def events(body: str) -> list[dict[str, Any]]:
    found = []
    for block in body.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.splitlines() if not line.startswith(":"))
        if fields:
            data = json.loads(fields["data"])
            assert data["type"] == fields["event"]
            found.append(data | {"event_id": fields["id"]})
    return found


async def test_a_question_is_answered_as_a_stream_by_default(api: Api) -> None:
    answer = await api.client.post("/v1/query", json={"query": "Koji je rok za žalbu?"})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    messages = events(answer.text)
    assert [m["type"] for m in messages] == ["sources", "chunk", "chunk", "citation", "complete"]
    assert [m["event_id"] for m in messages] == ["1", "2", "3", "4", "5"]
    assert {m["query_id"] for m in messages} == {answer.headers["x-query-id"]}
    assert set(messages[0]["sources"][0]) == {"id", "document_id", "title", "text", "score", "metadata"}
    assert messages[-1]["engine"] == "fake"
    request = api.stages.requests[0]
    assert (request.tenant_id, request.language, request.max_tokens) == ("t", "hr", LIMITS.max_tokens)


async def test_the_same_as_one_json_object(api: Api) -> None:
    answer = (await api.client.post("/v1/query", json={"query": "Koji je rok?", "stream": False})).json()
    assert answer["answer"] == "Rok je 15 dana. [1]"
    assert answer["citations"] == [{"sources": ["p1"], "start": 0, "end": 15, "status": "unsupported"}]
    assert answer["grounding"] == {"supported": 0, "unsupported": 1, "uncited": 0, "unchecked": 0, "share": 0.0}
    assert [s["id"] for s in answer["sources"]] == ["p1", "p2", "p3", "p4", "p5"]
    assert (answer["finish_reason"], answer["degraded"], answer["model"]) == ("stop", [], "none")
    assert answer["confidence"] is None
    assert answer["usage"] == {"prompt_tokens": 10, "completion_tokens": 2, "cached_tokens": 0}


@pytest.mark.parametrize(
    ("body", "language"),
    [
        ({"query": "Koliko dugo se čuvaju dokumenti?"}, "hr"),
        ({"query": "How long are the documents kept?"}, "en"),
        ({"query": "How long are the documents kept?", "language": "hr"}, "hr"),
        ({"query": "GDPR 2018"}, "hr"),
    ],
)
async def test_the_language_is_the_caller_s_word_else_the_question_s_else_hr(
    api: Api, body: dict[str, Any], language: str
) -> None:
    await api.client.post("/v1/query", json=body)
    assert api.stages.requests[0].language == language


async def test_scope_is_made_of_the_key_s_tenant_and_the_request(api: Api) -> None:
    await api.stores.collections.create("t", "zakoni")
    body = {
        "query": "q",
        "user": "u1",
        "collections": ["zakoni", "zakoni"],
        "filter": "metadata.year >= 2018",
        "top_k": 2,
    }
    answer = await api.client.post("/v1/search", json=body)
    assert answer.status_code == 200
    scope = api.stages.retrievals[0].scope
    assert (scope.tenant_id, scope.user_id, scope.collections) == ("t", "u1", ("zakoni",))
    assert scope.filter is not None
    results = answer.json()["results"]
    assert [r["id"] for r in results] == ["p1", "p2"]
    assert set(results[0]["scores"]) == {"dense", "lexical", "fused", "rerank"}
    assert api.stages.requests == []


TURNS = [{"role": "user", "content": "Bok!"}, {"role": "assistant", "content": "Dobar dan."}]


async def test_the_conversation_so_far_stands_before_the_question(api: Api) -> None:
    answer = await api.client.post("/v1/query", json={"query": "Koji je rok?", "history": TURNS})
    assert answer.status_code == 200
    command = {"id": "1", "command": "query", "params": {"query": "Koji je rok?", "history": TURNS}}
    assert (await api.client.post("/v1/commands", json=command)).status_code == 200
    assert len(api.stages.requests) == 2
    for request in api.stages.requests:
        system, *history, question = request.messages
        assert (system.role, history) == ("system", [Message("user", "Bok!"), Message("assistant", "Dobar dan.")])
        assert question.content.endswith("Pitanje: Koji je rok?")
        assert request.question == "Koji je rok?"
    assert set(api.stages.questions) == {"Koji je rok?"}, "the conversation is not searched for"


@pytest.mark.parametrize(
    ("history", "field"),
    [
        ("Bok!", "history"),
        ([{"role": "system", "content": "a"}], "history.0.role"),
        ([{"role": "user"}], "history.0.content"),
        ([{"role": "user", "content": "\ud800"}], "history.0.content"),
        ([{"role": "user", "content": "a", "name": "b"}], "history.0.name"),
    ],
)
async def test_a_turn_is_the_user_s_or_the_assistant_s_text(api: Api, history: Any, field: str) -> None:
    answer = await api.client.post(
        "/v1/query",
        content=json.dumps({"query": "q", "history": history}),
        headers={"Content-Type": "application/json"},
    )
    assert answer.status_code == 422
    assert answer.json()["detail"].startswith(f"{field}: ")
    assert api.stages.asked == []


async def test_a_search_has_no_conversation(api: Api) -> None:
    answer = await api.client.post("/v1/search", json={"query": "q", "history": TURNS})
    assert (answer.status_code, answer.json()["detail"].partition(":")[0]) == (422, "history")


LONG = LIMITS.max_query_characters


@pytest.mark.parametrize("route", ["/v1/query", "/v1/search"])
@pytest.mark.parametrize(
    ("body", "status", "code", "names"),
    [
        ({}, 422, "invalid_request", "query"),
        ({"query": ""}, 422, "invalid_request", "query"),
        ({"query": " \n\t "}, 422, "invalid_request", "query"),
        ({"query": "a" * (LONG + 1)}, 422, "invalid_request", "query"),
        ({"query": "a\x00b"}, 422, "invalid_request", "query"),
        ({"query": 7}, 422, "invalid_request", "query"),
        ({"query": "q", "languag": "hr"}, 422, "invalid_request", "languag"),
        ({"query": "q", "language": "de"}, 422, "invalid_request", "language"),
        ({"query": "q", "tenant": "other"}, 422, "invalid_request", "tenant"),
        ({"query": "q", "top_k": 0}, 422, "invalid_request", "top_k"),
        ({"query": "q", "top_k": 51}, 422, "invalid_request", "top_k"),
        ({"query": "q", "user": ""}, 422, "invalid_request", "user"),
        ({"query": "q", "collections": ["nema"]}, 404, "unknown_collection", "nema"),
        ({"query": "q", "collections": [str(n) for n in range(51)]}, 422, "invalid_request", "collections"),
        ({"query": "q", "filter": "metadata.year >="}, 422, "invalid_filter", ""),
        ({"query": "q", "filter": "tenant_id == 'other'"}, 422, "invalid_filter", "tenant_id"),
        ({"query": "q", "filter": "metadata.a == '" + "x" * 2048 + "'"}, 422, "invalid_filter", ""),
    ],
)
async def test_bad_input_is_refused_before_any_stage_works(
    api: Api, route: str, body: dict[str, Any], status: int, code: str, names: str
) -> None:
    answer = await api.client.post(route, json=body)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code), problem
    assert answer.headers["content-type"] == "application/problem+json"
    assert names in problem["detail"]
    assert set(problem) == {"type", "title", "status", "detail", "code", "retryable", "request_id", "trace_id"}
    assert api.stages.asked == []


@pytest.mark.parametrize(
    "body",
    [b'{"query":"\xff\xfe"}', b'{"query":"\\ud800"}', b'{"query":', b"", b"\x00", '{"query":"čaj"}'.encode("cp1250")],
)
async def test_a_body_that_is_no_utf8_json_is_refused(api: Api, body: bytes) -> None:
    answer = await api.client.post("/v1/query", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == "application/problem+json"
    assert api.stages.asked == []


JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("body", "headers", "status", "detail"),
    [
        (b'{"query":', JSON, 422, "the body is not JSON: Expecting value at character 9"),
        (b"", JSON, 422, "the body is empty; send a JSON object"),
        (b"[1]", JSON, 422, "body: Input should be an object"),
        (b"\xff", JSON, 400, "the body is not JSON in UTF-8"),
        (b'{"query":"q"}', {}, 415, "Content-Type is missing; send application/json"),
        (b'{"query":"q"}', {"Content-Type": "text/plain"}, 415, "Content-Type is text/plain; send application/json"),
        (gzip.compress(b'{"query":"q"}', mtime=0), JSON | {"Content-Encoding": "gzip"}, 415,
         "Content-Encoding is gzip; send the body as it is, without this header"),
        (b'{"query":"q","collections":"x"}', JSON, 422, "collections: Input should be a list"),
        (b'{"query":"q","collections":[7]}', JSON, 422, "collections.0: Input should be a valid string"),
        (b'{"query":"q","top_k":"3"}', JSON, 422, "top_k: send a number, without quotes"),
        (b'{"query":"q","temperature":true}', JSON, 422, "temperature: send a number, without quotes"),
    ],
)  # fmt: skip
async def test_what_is_wrong_with_a_body_is_said_in_one_sentence(
    api: Api, body: bytes, headers: dict[str, str], status: int, detail: str
) -> None:
    answer = await api.client.post("/v1/query", content=body, headers=headers)
    assert (answer.status_code, answer.json()["detail"]) == (status, detail)
    assert api.stages.asked == []


@pytest.mark.parametrize("asked", [0, 4097, "many"])
async def test_max_tokens_has_its_bounds(api: Api, asked: object) -> None:
    answer = await api.client.post("/v1/query", json={"query": "q", "max_tokens": asked})
    assert answer.status_code == 422
    assert "max_tokens" in answer.json()["detail"]


@pytest.mark.parametrize("header", ["0", "-1", "1.5", "soon", "٣"])
async def test_a_deadline_that_is_no_number_is_refused(api: Api, header: str) -> None:
    answer = await api.client.post("/v1/query", json={"query": "q"}, headers=[(b"X-Deadline-Ms", header.encode())])
    assert answer.status_code == 422
    assert "X-Deadline-Ms" in answer.json()["detail"]


async def test_the_deadline_of_the_caller_is_kept(api: Api) -> None:
    api.stages.delays["retrieval"] = 30
    answer = await api.client.post("/v1/query", json={"query": "q", "stream": False}, headers={"X-Deadline-Ms": "50"})
    assert (answer.status_code, answer.json()["code"], answer.json()["retryable"]) == (504, "deadline_exceeded", True)


@pytest.mark.parametrize(
    "headers", [{"Authorization": ""}, {"Authorization": "Bearer rag_wrong_key"}, {"Authorization": "Basic dDp0"}]
)
@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/query"),
        ("POST", "/v1/search"),
        ("DELETE", "/v1/query/" + "0" * 32),
        ("POST", "/v1/documents"),
        ("GET", "/v1/jobs/x"),
    ],
)
async def test_every_route_of_v1_wants_a_key(api: Api, headers: dict[str, str], method: str, path: str) -> None:
    answer = await api.client.request(method, path, headers=headers, json={"query": "q"})
    assert (answer.status_code, answer.json()["code"]) == (401, "unauthenticated")
    assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("route", "body"),
    [
        ("/v1/query", {"query": "q", "stream": False}),
        ("/v1/query", {"query": "q", "stream": True}),
        ("/v1/commands", {"id": "1", "command": "query", "params": {"query": "q", "stream": True}}),
    ],
)
async def test_what_fails_before_the_first_byte_has_its_status(api: Api, route: str, body: dict[str, Any]) -> None:
    api.stages.failures["retrieval"] = StageUnavailable("retrieval is gone; try again")
    failed = await api.client.post(route, json=body)
    assert (failed.status_code, failed.headers["content-type"]) == (503, "application/problem+json")
    assert (failed.json()["code"], failed.json()["retryable"]) == ("stage_unavailable", True)
    assert "retry-after" in failed.headers


async def test_what_fails_later_is_the_stream_s_last_event(api: Api) -> None:
    api.stages.failures["generation"] = StageUnavailable("generation is gone; try again")
    stream = await api.client.post("/v1/query", json={"query": "q"})
    assert stream.status_code == 200
    sources, failed = events(stream.text)
    assert (sources["type"], failed["type"], failed["event_id"]) == ("sources", "error", "2")
    assert (failed["code"], failed["retryable"]) == ("stage_unavailable", True)


async def test_a_heartbeat_is_a_byte_so_what_fails_after_it_is_an_event(api: Api) -> None:
    api.stages.failures["retrieval"] = StageUnavailable("retrieval is gone; try again")
    api.stages.delays["retrieval"] = 0.2
    app = create_app(api.services_with(heartbeat_s=0.02))
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://rag.test") as other:
        stream = await other.post("/v1/query", json={"query": "q"}, headers=api.client.headers)
    assert stream.status_code == 200
    assert [(sent["type"], sent["event_id"]) for sent in events(stream.text)] == [("error", "1")]


@pytest.mark.parametrize("stream", [False, True])
async def test_an_answer_under_way_is_finished_when_its_tenant_is_suspended(api: Api, stream: bool) -> None:
    """It was admitted before, and has a deadline. The next question is refused."""
    api.stages.gates["token"] = asyncio.Semaphore(1)
    asked = asyncio.create_task(api.client.post("/v1/query", json={"query": "q", "stream": stream}))
    await until(lambda: api.stages.gates["token"].locked())
    await api.stores.tenants.patch("t", suspended=True)
    refused = await api.client.post("/v1/query", json={"query": "q"})
    assert (refused.status_code, refused.json()["code"]) == (403, "tenant_suspended")
    for _ in range(10):
        api.stages.gates["token"].release()
    answer = await asked
    assert answer.status_code == 200
    assert (events(answer.text)[-1]["type"] == "complete") if stream else ("15 dana" in answer.json()["answer"])


@pytest.mark.parametrize("stream", [False, True])
async def test_an_unexpected_error_says_nothing_of_the_inside(api: Api, stream: bool) -> None:
    api.stages.failures["retrieval"] = ZeroDivisionError("secret")  # type: ignore[assignment]
    answer = await api.client.post("/v1/query", json={"query": "q", "stream": stream})
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert "secret" not in answer.text


async def test_cancel_reaches_generation_under_the_caller_s_tenant(api: Api) -> None:
    answer = await api.client.delete("/v1/query/" + "a" * 32)
    assert answer.status_code == 202
    assert api.stages.aborted == [("t", "a" * 32)]
    assert (await api.client.delete("/v1/query/nonsense")).status_code == 422


async def test_a_client_that_goes_away_aborts_its_query(api: Api) -> None:
    api.stages.delays["token"] = 30
    task = asyncio.create_task(api.client.post("/v1/query", json={"query": "q"}))
    while "generation" not in api.stages.asked:  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(api.stages.aborted) == 1


async def test_a_query_key_may_ask_but_not_write(api: Api) -> None:
    key, _ = await api.stores.keys.create_key("t", "reader", role="query")
    reader = {"Authorization": f"Bearer {key}"}
    assert (await api.client.post("/v1/search", json={"query": "q"}, headers=reader)).status_code == 200
    refused = await api.client.post("/v1/documents", json={"text": "a"}, headers=reader)
    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")


async def test_request_ids_go_through_and_are_made(api: Api) -> None:
    given = await api.client.get("/healthz", headers={"X-Request-ID": "abc-1"})
    assert given.headers["x-request-id"] == "abc-1"
    made = await api.client.get("/healthz", headers=[(b"X-Request-ID", "bad id é".encode())])
    assert made.headers["x-request-id"] not in ("", "bad id")


async def test_each_half_of_retrieval_gives_as_many_candidates_as_configured_and_never_fewer_than_sources(
    api: Api,
) -> None:
    for body in ({}, {"top_k": LIMITS.max_top_k}):
        assert (await api.client.post("/v1/search", json={"query": "q", **body})).status_code == 200
    assert [request.limit for request in api.stages.retrievals] == [LIMITS.candidates, LIMITS.max_top_k]
