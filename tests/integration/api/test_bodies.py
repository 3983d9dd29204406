"""What is read of a body, when, and for whom: the application called as a server calls it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from starlette.types import ASGIApp, Message

from serve_app.api.app import create_app
from serve_app.api.body_flow import EXTENSION, UNREQUESTED_BYTES
from serve_app.api.middleware import SERVE_HEADERS
from tests.integration.api.conftest import LIMITS, Api
from tests.support.waiting import BOUND_S

CHUNKED = {"transfer-encoding": "chunked"}
CARRIERS = ["/v1/query", "/v1/documents", "/v1/commands", "/v1/rpc"]


@dataclass
class Caller:
    """One request to an ASGI application. A body that ends in None never ends."""

    app: ASGIApp
    parts: Iterable[bytes | None] = ()
    received: int = 0
    asked: list[int] = field(default_factory=list)
    """How much had been received each time that the application asked for the body."""
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""

    async def send(
        self,
        path: str,
        headers: Mapping[str, str],
        *,
        method: str = "POST",
        extensions: Mapping[str, Any] | None = None,
    ) -> Any:
        sent = {"content-type": "application/json", **headers}
        scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(name.encode(), value.encode()) for name, value in sent.items()],
            "server": ("rag.test", 80),
            "extensions": dict(extensions or {}),
        }
        coming = iter(self.parts)

        async def receive() -> Message:
            part = next(coming, b"")
            if part is None:
                await asyncio.sleep(3600)
            self.received += 1
            return {"type": "http.request", "body": part, "more_body": part != b""}

        async def answered(message: Message) -> None:
            if message["type"] == EXTENSION:
                self.asked.append(self.received)
            elif message["type"] == "http.response.start":
                self.status = message["status"]
                self.headers = {name.decode(): value.decode() for name, value in message["headers"]}
            else:
                self.body += message["body"]

        async with asyncio.timeout(BOUND_S):
            await self.app(scope, receive, answered)
        return json.loads(self.body) if "json" in self.headers["content-type"] else None


def app_of(api: Api, **limits: Any) -> ASGIApp:
    return create_app(api.services_with(**limits))


def key_of(api: Api) -> dict[str, str]:
    return {"authorization": api.client.headers["authorization"]}


@pytest.mark.parametrize("key", [{}, {"authorization": "Bearer rag_wrong"}, {"authorization": "Basic cmFnOnJhZw=="}])
@pytest.mark.parametrize("path", CARRIERS)
async def test_without_a_key_nothing_of_a_body_is_received(api: Api, path: str, key: dict[str, str]) -> None:
    caller = Caller(app_of(api), [None])
    problem = await caller.send(path, {**CHUNKED, **key})
    assert (caller.status, problem["code"], caller.received) == (401, "unauthenticated", 0)
    assert caller.headers["content-type"] == "application/problem+json"
    assert caller.headers["www-authenticate"] == "Bearer"
    assert problem["request_id"] == caller.headers["x-request-id"]


@pytest.mark.parametrize(("method", "path", "status"), [("POST", "/v1/nothing", 404), ("PUT", "/v1/query", 405)])
async def test_what_no_route_takes_is_told_without_a_key_and_without_reading(
    api: Api, method: str, path: str, status: int
) -> None:
    caller = Caller(app_of(api), [None])
    await caller.send(path, CHUNKED, method=method)
    assert (caller.status, caller.received) == (status, 0)


@pytest.mark.parametrize("path", CARRIERS)
async def test_a_body_that_never_ends_is_given_up(api: Api, path: str) -> None:
    caller = Caller(app_of(api, max_body_s=0.1), [b"{", b" ", None])
    problem = await caller.send(path, key_of(api))
    assert (caller.status, problem["code"], caller.received) == (408, "body_too_slow", 2)
    assert "0.1 s" in problem["detail"]


async def test_the_time_of_a_body_is_not_the_time_of_its_answer(api: Api) -> None:
    api.stages.delays["retrieval"] = 0.3
    caller = Caller(app_of(api, max_body_s=0.1), [b'{"query": "q"}', b"", None])
    await caller.send("/v1/query", key_of(api))
    assert caller.status == 200
    assert b"complete" in caller.body


@pytest.mark.parametrize(
    ("told", "asks"),
    [
        ({"content-length": str(UNREQUESTED_BYTES)}, 0),
        ({"content-length": str(UNREQUESTED_BYTES + 1)}, 1),
        (CHUNKED, 1),
    ],
)
async def test_a_body_that_is_held_back_is_asked_for_once_before_it_is_read(
    api: Api, told: dict[str, str], asks: int
) -> None:
    app = app_of(api, max_body_bytes=10 * UNREQUESTED_BYTES)
    for extensions, times in (({EXTENSION: {}}, asks), (None, 0)):
        caller = Caller(app, [b'{"text": "a"', b"}"])
        await caller.send("/v1/documents", {**key_of(api), **told}, extensions=extensions)
        assert caller.status == 202
        assert caller.asked == [0] * times


@pytest.mark.parametrize("name", SERVE_HEADERS)
async def test_what_is_for_serve_is_refused(api: Api, name: str) -> None:
    caller = Caller(app_of(api), [None])
    problem = await caller.send("/v1/query", {**key_of(api), name: "0"})
    assert (caller.status, problem["code"], caller.received) == (400, "bad_input", 0)
    assert name in problem["detail"]


def asking(size: int) -> bytes:
    return json.dumps({"text": "a" * size}).encode()


@pytest.mark.parametrize("path", ["/v1/documents", "/v1/commands", "/v1/rpc"])
async def test_a_query_key_sends_no_more_than_a_question_needs(api: Api, path: str) -> None:
    for role, status in (("query", 413), ("admin", 422 if path == "/v1/commands" else None)):
        key = {name.lower(): value for name, value in (await api.key(role)).items()}  # type: ignore[arg-type]
        caller = Caller(app_of(api), [asking(LIMITS.max_query_body_bytes), None])
        told = {"content-length": str(LIMITS.max_query_body_bytes + 11)}
        if role == "admin":
            caller.parts = [asking(LIMITS.max_query_body_bytes)]
        await caller.send(path, {**key, **told})
        assert caller.status == status or (status is None and caller.status in (200, 202)), caller.body
        assert caller.received == 0 or role == "admin"


async def test_json_is_bounded_below_what_files_may_have(api: Api) -> None:
    app = app_of(api, max_body_bytes=64 * 1024, max_json_bytes=2_000)
    caller = Caller(app, [asking(2_000)])
    problem = await caller.send("/v1/documents", {**key_of(api), "content-length": "2011"})
    assert (caller.status, problem["detail"]) == (413, "body is limited to 2000 bytes; send less at once")
    api.client._transport = httpx.ASGITransport(app)
    form = await api.client.post("/v1/documents", files=[("files", ("a.txt", b"a" * 3_000))])
    assert form.status_code == 202, form.text


MANY = b'{"query":"rok","collections":[' + b"{}," * 4_000 + b"{}]}"


@pytest.mark.parametrize("path", ["/v1/query", "/v1/documents", "/v1/commands", "/v1/rpc", "/v1/embeddings"])
@pytest.mark.parametrize("kind", ["application/json", "multipart/form-data; boundary=b"])
async def test_what_holds_many_values_is_refused_before_it_is_parsed(api: Api, path: str, kind: str) -> None:
    if path == "/v1/documents" and kind != "application/json":
        return  # a form, of which no JSON is parsed
    app = app_of(api, max_json_values=4_000)
    caller = Caller(app, [MANY[:100], MANY[100:]])
    problem = await caller.send(path, {**key_of(api), **CHUNKED, "content-type": kind})
    assert caller.status == 413, caller.body
    assert "the body has more than 4000 JSON values; send less at once" in json.dumps(problem)


async def test_a_counted_body_reaches_the_route_whole(api: Api) -> None:
    body = b'{"text": "' + "žalba ".encode() * 10 + b'"}'
    caller = Caller(app_of(api), [body[:15], body[15:20], body[20:]])
    await caller.send("/v1/documents", {**key_of(api), **CHUNKED})
    assert caller.status == 202
    [stored] = api.stored_files()
    assert stored.read_bytes() == b"\xc5\xbealba " * 10


async def test_an_error_names_a_few_fields_of_many(api: Api) -> None:
    answer = await api.client.post("/v1/query", json={"query": "q"} | {f"x{n}": 1 for n in range(1_000)})
    assert answer.status_code == 422
    assert answer.json()["detail"].endswith("and 980 more")
    assert len(answer.content) < 5_000
