from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from starlette.responses import JSONResponse, PlainTextResponse, Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from cluster.edge import refusal_cache
from cluster.edge.refusal_cache import TTL_S, RefusalCache
from serve_app.api.refusals import HEADER, OF_CALLER
from tests.support.clock import Seconds

MARKED = {"Retry-After": "1", HEADER: OF_CALLER}


def refusal(status: int = 429, **more: Any) -> Response:
    return JSONResponse({"status": status, "request_id": "first"} | more, status, MARKED)


@dataclass
class Service:
    """Answers what it is told to, and counts how often it is asked."""

    answer: Response = field(default_factory=refusal)
    asked: int = 0
    clock: Seconds = field(default_factory=Seconds)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.asked += 1
        await self.answer(scope, receive, send)

    def __post_init__(self) -> None:
        transport = httpx.ASGITransport(RefusalCache(self, self.clock))
        self.client = httpx.AsyncClient(transport=transport, base_url="http://s", headers={"Authorization": "Bearer k"})

    async def ask(self, path: str = "/v1/query", **headers: str) -> httpx.Response:
        return await self.client.post(path, headers=headers)


async def test_a_refusal_is_repeated_for_a_moment() -> None:
    service = Service()
    first, second = await service.ask(), await service.ask()
    assert service.asked == 1
    assert (second.status_code, second.headers["retry-after"]) == (429, "1")
    assert second.headers["content-type"] == first.headers["content-type"]
    service.clock.now += TTL_S
    await service.ask()
    assert service.asked == 2


async def test_each_refusal_has_the_id_of_its_own_request() -> None:
    service = Service()
    await service.ask()
    second, third = await service.ask(**{"X-Request-ID": "mine"}), await service.ask(**{"X-Request-ID": "not good"})
    assert second.headers["x-request-id"] == second.json()["request_id"] == "mine"
    assert third.headers["x-request-id"] == third.json()["request_id"] not in ("first", "mine", "not good")


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/v1/search", {}),
        ("/v1/query", {"Authorization": "Bearer another"}),
        ("/v1/query", {"X-Tenant-ID": "t"}),
        ("/v1/query", {"X-Deadline-Ms": "60000"}),
    ],
)
async def test_others_are_not_refused_with_it(path: str, headers: dict[str, str]) -> None:
    service = Service()
    await service.ask()
    service.answer = JSONResponse({})
    assert (await service.ask(path, **headers)).status_code == 200


@pytest.mark.parametrize(
    "answer",
    [
        JSONResponse({}),
        JSONResponse({}, 429, {HEADER: OF_CALLER}),
        JSONResponse({}, 429, {"Retry-After": "1"}),
        JSONResponse({}, 429, MARKED | {HEADER: "another"}),
        JSONResponse({}, 401, MARKED),
        JSONResponse({}, 503, MARKED),
        PlainTextResponse("no", 429, MARKED),
        JSONResponse({"long": "x" * refusal_cache.MAX_BODY_BYTES}, 429, MARKED),
    ],
)
async def test_no_other_answer_is_repeated(answer: Response) -> None:
    service = Service(answer)
    await service.ask()
    await service.ask()
    assert service.asked == 2


async def test_a_stream_is_not_repeated() -> None:
    async def parts() -> Any:
        yield b"{"
        yield b"}"

    service = Service()
    for _ in range(2):
        service.answer = StreamingResponse(parts(), 429, {**MARKED, "Content-Type": "application/json"})
        assert (await service.ask()).content == b"{}"
    assert service.asked == 2


async def test_a_request_without_a_key_is_not_cached() -> None:
    service = Service()
    del service.client.headers["Authorization"]
    await service.ask()
    await service.ask()
    assert service.asked == 2


async def test_the_number_of_callers_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusal_cache, "MAX_CALLERS", 2)
    service = Service()
    for number in (1, 2, 3, 2, 3, 1):
        await service.ask(**{"X-Tenant-ID": str(number)})
    assert service.asked == 4


@pytest.mark.parametrize("status", [200, 429])
async def test_the_services_mark_is_removed(status: int) -> None:
    service = Service(JSONResponse({}, status, MARKED))
    for answer in (await service.ask(), await service.ask()):
        assert answer.status_code == status
        assert HEADER.lower() not in answer.headers


async def test_each_refusal_is_in_the_trace_of_its_own_request() -> None:
    service = Service(refusal(trace_id="first"))
    await service.ask()
    second = await service.ask(traceparent=f"00-{'a' * 32}-{'b' * 16}-01")
    third = await service.ask()
    assert second.headers["traceparent"].startswith(f"00-{'a' * 32}-")
    assert second.json()["trace_id"] == "a" * 32
    assert third.json()["trace_id"] == third.headers["traceparent"].split("-")[1] not in ("first", "a" * 32)
