from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest

from rag.bridge.forwarding import Forwarder
from rag.bridge.messages import Message, Request
from rag.bridge.upstream import SILENCE_S, Unreachable, Upstream
from serve_app.config.args import ApiConfig
from tests.support.waiting import BOUND_S

BOUND = 1000
URL = "http://service.test"
Handler = Callable[[httpx.Request], Coroutine[None, None, httpx.Response]]
REQUEST = Request(7, "query", {"query": "č"}, {"X-Deadline-Ms": "5"})


@dataclass(frozen=True)
class At:
    handle: Handler
    url: str = URL

    def options(self) -> Mapping[str, Any]:
        transport = httpx.MockTransport(self.handle)
        return {"base_url": self.url, "headers": {"Authorization": "Bearer k"}, "transport": transport}


def at(handle: Handler) -> Callable[[], Coroutine[None, None, At]]:
    async def locate() -> At:
        return found

    found = At(handle)
    return locate


class Parts(httpx.AsyncByteStream):
    """Bytes as they come; an exception is raised in its place. Knows whether it was read to its end and closed."""

    def __init__(self, *parts: bytes | Exception) -> None:
        self.parts = parts
        self.ended = self.closed = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for part in self.parts:
            await asyncio.sleep(0)
            if isinstance(part, Exception):
                raise part
            yield part
        self.ended = True

    async def aclose(self) -> None:
        self.closed = True


def lines(*messages: dict[str, Any]) -> list[bytes]:
    return [json.dumps(message, ensure_ascii=False).encode() + b"\n" for message in messages]


async def ask(handle: Handler, request: Request = REQUEST) -> list[Message]:
    upstream = Upstream(at(handle), 4)
    try:
        return [message async for message in Forwarder(upstream, BOUND).answer(request)]
    finally:
        await upstream.close()


async def ask_for(*parts: bytes | Exception, status: int = 200, **headers: str) -> list[Message]:
    async def handle(request: httpx.Request) -> httpx.Response:
        return httpx.Response(status, stream=Parts(*parts), headers=headers)

    return await ask(handle)


async def only(*parts: bytes | Exception, status: int = 200, **headers: str) -> Message:
    [message] = await ask_for(*parts, status=status, **headers)
    return message


async def test_a_command_is_posted_with_its_id_as_text_and_its_headers() -> None:
    came: list[httpx.Request] = []

    async def handle(request: httpx.Request) -> httpx.Response:
        came.append(request)
        return httpx.Response(200, stream=Parts(*lines({"type": "result", "query_id": "7", "data": {}, "id": "7"})))

    assert await ask(handle) == [{"type": "result", "query_id": 7, "data": {}, "id": 7}]
    assert (came[0].method, str(came[0].url)) == ("POST", f"{URL}/v1/commands")
    assert json.loads(came[0].content) == {"id": "7", "command": "query", "params": {"query": "č"}}
    assert {name: came[0].headers[name] for name in ("authorization", "content-type", "x-deadline-ms")} == {
        "authorization": "Bearer k", "content-type": "application/json", "x-deadline-ms": "5",
    }  # fmt: skip


async def test_the_same_command_under_one_idempotency_key_is_the_same_request_whatever_its_id() -> None:
    came: list[bytes] = []

    async def handle(request: httpx.Request) -> httpx.Response:
        came.append(request.content)
        id = json.loads(request.content)["id"]
        return httpx.Response(200, stream=Parts(*lines({"type": "result", "query_id": id, "data": {}, "id": id})))

    for id in ("first", 2):
        request = Request(id, "process_documents", {"documents": []}, {"Idempotency-Key": "k"})
        assert await ask(handle, request) == [{"type": "result", "query_id": id, "data": {}, "id": id}]
    assert came[0] == came[1]


async def test_messages_come_out_before_the_answer_has_ended() -> None:
    reading = asyncio.Event()

    async def parts() -> AsyncIterator[bytes]:
        yield lines({"type": "chunk", "content": "a"})[0][:5]
        yield lines({"type": "chunk", "content": "a"})[0][5:]
        await reading.wait()
        yield lines({"type": "complete"})[0]

    async def handle(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, content=parts())

    async with asyncio.timeout(BOUND_S):
        answer = Forwarder(Upstream(at(handle), 1), BOUND).answer(REQUEST)
        assert await anext(answer) == {"type": "chunk", "content": "a", "id": 7}
        reading.set()
        assert [message["type"] async for message in answer] == ["complete"]


async def test_an_answer_is_read_to_its_end_but_told_no_further_than_its_last_message() -> None:
    stream = Parts(*lines({"type": "complete"}, {"type": "chunk"}, {"type": "error"}))

    async def handle(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=stream)

    assert [message["type"] for message in await ask(handle)] == ["complete"]
    assert (stream.ended, stream.closed) == (True, True)


async def test_a_reader_who_leaves_hangs_up() -> None:
    stream = Parts(*lines({"type": "chunk"}, {"type": "complete"}))

    async def handle(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=stream)

    answer = Forwarder(Upstream(at(handle), 1), BOUND).answer(REQUEST)
    await anext(answer)
    await answer.aclose()
    assert (stream.ended, stream.closed) == (False, True)


async def test_a_refusal_keeps_what_the_service_says() -> None:
    problem = {"title": "T", "detail": "later", "code": "overloaded", "retryable": True, "request_id": "r1"}
    told = await only(json.dumps(problem).encode(), status=503, **{"Retry-After": "2"})
    assert told == {
        "type": "error", "query_id": 7, "id": 7, "error": "later", "code": "overloaded", "retryable": True,
        "status": 503, "request_id": "r1", "retry_after": 2,
    }  # fmt: skip


@pytest.mark.parametrize(
    "body", [b"<html>", b"[]", b"", b"x" * 2 * BOUND, b'{"detail": 5, "code": [], "retryable": 1}']
)
@pytest.mark.parametrize(("status", "retryable"), [(502, True), (404, False), (301, False), (599, False)])
async def test_a_refusal_by_something_else(body: bytes, status: int, retryable: bool) -> None:
    told = await only(body, status=status, **{"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT", "X-Request-ID": "h1"})
    assert (told["code"], told["retryable"], told["status"]) == (f"http_{status}", retryable, status)
    assert told["error"].startswith(f"the service answered {status}")
    assert (told["request_id"], told["retry_after"]) == ("h1", None)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (httpx.ConnectError("refused"), "unreachable"),
        (httpx.ConnectTimeout("slow"), "unreachable"),
        (httpx.ReadTimeout("silent"), "timeout"),
        (httpx.PoolTimeout("full"), "timeout"),
        (httpx.WriteError("reset"), "connection_lost"),
        (httpx.RemoteProtocolError(""), "connection_lost"),
    ],
)
async def test_a_service_that_cannot_be_spoken_to(error: Exception, code: str) -> None:
    async def handle(request: httpx.Request) -> httpx.Response:
        raise error

    [told] = await ask(handle)
    assert (told["code"], told["retryable"], told["status"], told["id"]) == (code, True, None, 7)


async def test_without_a_service_the_reason_is_told() -> None:
    async def nowhere() -> At:
        raise Unreachable("no service runs from var")

    [told] = [message async for message in Forwarder(Upstream(nowhere, 1), BOUND).answer(REQUEST)]
    assert (told["code"], told["error"], told["retryable"]) == ("unreachable", "no service runs from var", True)


@pytest.mark.parametrize(
    "end", [[], [httpx.ReadError("reset")], [httpx.RemoteProtocolError("cut")], [b'{"type": "com']]
)
async def test_an_answer_without_an_end_is_told(end: list[bytes | Exception]) -> None:
    *before, told = await ask_for(*lines({"type": "chunk"}), *end)
    assert before == [{"type": "chunk", "id": 7}]
    assert (told["type"], told["code"], told["retryable"]) == ("error", "connection_lost", True)


async def test_empty_lines_are_the_service_s_heartbeat() -> None:
    [result] = lines({"type": "result", "query_id": "7", "data": {}})
    messages = await ask_for(
        b"\n", b"\n\n" + lines({"type": "chunk", "query_id": "q", "content": "a"})[0], b"\n", result
    )
    assert [message["type"] for message in messages] == ["chunk", "result"]


@pytest.mark.parametrize(
    "line", [b"<html>\n", b"[]\n", b"{}\n", b'{"type": 1}\n', b" \n", b"\xff\n", b"[" * 900 + b"\n"]
)
async def test_what_is_not_the_service_is_told_apart(line: bytes) -> None:
    told = await only(line)
    assert (told["code"], told["retryable"]) == ("bad_answer", False)


async def test_a_message_over_the_bound_ends_the_answer() -> None:
    *before, told = await ask_for(
        *lines({"type": "chunk"}), b"x" * BOUND, b"x" * 10, b"\n", *lines({"type": "complete"})
    )
    assert before == [{"type": "chunk", "id": 7}]
    assert (told["code"], told["retryable"]) == ("frame_too_large", False)


async def test_a_message_that_never_ends_is_not_read_for_ever() -> None:
    class Endless(Parts):
        async def __aiter__(self) -> AsyncIterator[bytes]:
            while True:
                yield b"x" * 100

    stream = Endless()

    async def handle(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=stream)

    [told] = await ask(handle)
    assert told["code"] == "frame_too_large"
    assert stream.closed


async def test_a_last_line_without_a_newline_counts() -> None:
    assert await only(lines({"type": "complete"})[0][:-1]) == {"type": "complete", "id": 7}


async def test_half_a_surrogate_pair_goes_both_ways() -> None:
    async def handle(request: httpx.Request) -> httpx.Response:
        query = json.loads(request.content)["params"]["q"]
        return httpx.Response(200, stream=Parts(json.dumps({"type": "result", "data": query}).encode()))

    assert (await ask(handle, Request("a", "x", {"q": "č\ud800"}, {})))[0]["data"] == "č\ud800"


def test_the_longest_deadline_is_waited_for() -> None:
    assert ApiConfig().max_deadline_s < SILENCE_S


@dataclass
class Moving:
    places: list[At] = field(default_factory=list)
    asked: int = 0

    async def __call__(self) -> At:
        self.asked += 1
        return self.places[-1]


async def test_the_service_is_looked_for_with_each_request_and_a_client_is_made_for_each_place() -> None:
    async def handle(request: httpx.Request) -> httpx.Response:
        return httpx.Response(200)

    where = Moving([At(handle)])
    upstream = Upstream(where, 1)
    first, same = await asyncio.gather(upstream.client(), upstream.client())
    assert first is same
    where.places.append(At(handle, "http://other.test"))
    other = await upstream.client()
    assert other is not first
    assert (str(other.base_url), where.asked) == ("http://other.test", 3)
    await upstream.close()
    assert first.is_closed
    assert other.is_closed


async def test_silence_has_a_bound() -> None:
    hung_up = asyncio.Event()

    async def never(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        hung_up.set()

    @dataclass(frozen=True)
    class There:
        url: str

        def options(self) -> Mapping[str, Any]:
            return {"base_url": self.url, "trust_env": False}

    async def there() -> There:
        return There(url)

    server = await asyncio.start_server(never, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    upstream = Upstream(there, 1, silence_s=0.05)
    async with server, asyncio.timeout(BOUND_S):
        [told] = [message async for message in Forwarder(upstream, BOUND).answer(REQUEST)]
        await upstream.close()
        await hung_up.wait()
    assert (told["code"], told["retryable"]) == ("timeout", True)
