"""The HTTP edge on a real uvicorn, in front of applications that treat a request as Serve does."""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext, suppress

import pytest
import uvicorn
from ray.serve._private.http_util import _apply_middlewares
from starlette.datastructures import Headers
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn import config as uvicorn_config

from cluster.edge import http as edge
from cluster.edge.origins import MAX_ORIGINS, AllowedOrigins
from cluster.edge.refusal_cache import RefusalCache
from serve_app.api import answer_flow
from serve_app.api.answer_flow import PacedResponse
from serve_app.api.body_flow import EXTENSION, UNREQUESTED_BYTES

SILENCE_S = 1
MORE_S = 0.2
"""Time in which more would come than is allowed. On a slow machine less would come, so no test fails."""
MOST = 2**21
CHUNK = b"10000\r\n" + b"x" * 65536 + b"\r\n"
App = Callable[[Scope, Receive, Send], Awaitable[None]]


PIECE_BYTES = 16 * 1024
PIECES = 1_000
"""Of a large answer, each of PIECE_BYTES."""
IN_THE_KERNEL = 8 * 1024 * 1024
"""More than sockets, the server and the service keep of an answer together."""


@asynccontextmanager
async def served(app: App, silence_s: int = SILENCE_S) -> AsyncIterator[int]:
    """The port of a server like Serve's, with the edge in front of `app`."""
    listening = socket.create_server(("127.0.0.1", 0))
    behind: ASGIApp = app
    for middleware in edge.middlewares():
        behind = middleware.cls(behind, *middleware.args, **middleware.kwargs)
    config = uvicorn.Config(
        behind, http=edge.Connection, timeout_keep_alive=silence_s, lifespan="off", log_config=None, access_log=False
    )
    server = uvicorn.Server(config)
    server.capture_signals = nullcontext  # type: ignore[method-assign, assignment]
    task = asyncio.create_task(server.serve(sockets=[listening]))
    try:
        yield listening.getsockname()[1]
    finally:
        server.should_exit = server.force_exit = True
        await task
        listening.close()


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def head_of(reader: asyncio.StreamReader) -> tuple[int, Headers]:
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
    named = [line.partition(": ")[::2] for line in lines]
    return int(first.split()[1]), Headers(raw=[(name.lower().encode(), value.encode()) for name, value in named])


async def answer_of(port: int, *headers: str) -> tuple[int, Headers, bytes]:
    async with connected(port) as (reader, writer):
        writer.write("\r\n".join(("GET /v1/x HTTP/1.1", "Host: h", *headers, "", "")).encode())
        status, answered = await head_of(reader)
        return status, answered, await reader.readexactly(int(answered["content-length"]))


async def test_a_page_that_may_read_the_service_s_answers_may_read_the_edge_s() -> None:
    """It learns from the service's answers who may, and forgets it with one who no longer may."""
    allowed, away = True, False

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if away:
            return await PlainTextResponse("no replica", 503)(scope, receive, send)
        given = {"Access-Control-Allow-Origin": "https://chat.example", "Vary": "Origin"} if allowed else {}
        return await JSONResponse({}, headers=given)(scope, receive, send)

    async def origin_told(origin: str) -> str | None:
        status, headers, _ = await answer_of(port, f"Origin: {origin}")
        assert status == (503 if away else 200)
        return headers.get("access-control-allow-origin")

    async with served(app) as port:
        away = True
        assert await origin_told("https://chat.example") is None, "nothing is known yet"
        away = False
        assert await origin_told("https://chat.example") == "https://chat.example"
        assert await origin_told("https://evil.example") == "https://chat.example", "as the service says it"
        away = True
        assert await origin_told("https://chat.example") == "https://chat.example"
        assert await origin_told("https://evil.example") is None
        status, headers, _ = await answer_of(port)
        assert (status, "access-control-allow-origin" in headers) == (503, False)
        away = allowed = False
        assert await origin_told("https://chat.example") is None
        away = True
        assert await origin_told("https://chat.example") is None


def test_the_origins_that_are_remembered_are_bounded() -> None:
    origins = AllowedOrigins()
    for number in range(MAX_ORIGINS + 5):
        name = f"https://{number}.example"
        origins.learn(name, {"headers": [(b"access-control-allow-origin", name.encode())]})
    assert origins.headers("https://4.example") == {}
    assert origins.headers(f"https://{MAX_ORIGINS + 4}.example")
    assert len(origins._headers) == MAX_ORIGINS


class Pumping:
    """Takes all there is of the body as fast as it comes, as Serve does, and answers when `ready`.

    Before it asks for more, or answers, it takes over `unasked` bytes, or the whole body if that is less.
    """

    def __init__(self, *, unasked: int = 0, asks: bool = False, ready: asyncio.Event | None = None) -> None:
        self.unasked = unasked
        self.asks = asks
        self.ready = ready
        self.taken = 0
        self.took_unasked = asyncio.Event()
        self.took_most = asyncio.Event()
        self.ended = asyncio.Event()
        self.last: Message = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        pumping = asyncio.create_task(self._pump(receive))
        await self.took_unasked.wait()
        await asyncio.sleep(MORE_S)
        if self.asks:
            await send({"type": EXTENSION, "most": MOST})
        if self.ready is not None:
            await self.ready.wait()
        elif self.asks:
            await pumping
        pumping.cancel()
        await JSONResponse({"code": "unauthenticated"}, 401)(scope, receive, send)

    async def _pump(self, receive: Receive) -> None:
        while (last := await receive())["type"] == "http.request":
            self.taken += len(last["body"])
            if self.taken > self.unasked:
                self.took_unasked.set()
            if self.taken > MOST:
                self.took_most.set()
            if not last["more_body"]:
                break
        self.last = last
        self.took_unasked.set()
        self.ended.set()


async def until_closed(reader: asyncio.StreamReader) -> None:
    """Return once the server has closed the connection. What it sends is discarded."""
    with suppress(OSError):
        while await reader.read(65536):
            pass


async def push(writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while True:
            writer.write(CHUNK)
            await writer.drain()


def test_serve_gets_the_middlewares_and_uvicorn_the_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(uvicorn_config.HTTP_PROTOCOLS, "auto", "")
    outermost = _apply_middlewares(Pumping(), edge.middlewares())
    assert isinstance(outermost, edge.HttpEdge)
    assert isinstance(outermost.app, RefusalCache)
    config = uvicorn.Config(outermost)
    config.load()
    assert config.http_protocol_class is edge.Connection


@pytest.mark.parametrize("begun", [b"", b"GET /", b"POST /v1/query HTTP/1.1\r\nHost: h\r\nX-A: "])
async def test_a_client_that_does_not_end_a_request_s_head_is_disconnected(begun: bytes) -> None:
    async with served(Pumping()) as port:
        began = time.monotonic()
        async with connected(port) as (reader, writer):
            writer.write(begun)

            async def drip() -> None:
                with suppress(OSError):
                    while begun:
                        await asyncio.sleep(0.1)
                        writer.write(b"x")

            dripping = asyncio.create_task(drip())
            await until_closed(reader)  # while bytes still come
            assert time.monotonic() - began > SILENCE_S - 0.2
            dripping.cancel()


async def test_a_head_in_parts_within_its_time_is_answered_and_the_connection_is_used_again() -> None:
    async def slow(scope: Scope, receive: Receive, send: Send) -> None:
        await asyncio.sleep(SILENCE_S * 1.2)  # longer than a head may take; a slow machine cannot fail here
        await JSONResponse({}, 401)(scope, receive, send)

    async with served(slow) as port, connected(port) as (reader, writer):
        for _ in range(2):
            writer.write(b"GET /v1/x HTTP/1.1\r\n")
            await asyncio.sleep(SILENCE_S * 0.1)  # a part of its own
            writer.write(b"Host: h\r\n\r\n")
            status, headers = await head_of(reader)
            assert status == 401
            await reader.readexactly(int(headers["content-length"]))


async def test_a_client_that_reads_nothing_of_an_answer_is_disconnected() -> None:
    sent, gone = 0, asyncio.Event()

    async def endless(scope: Scope, receive: Receive, send: Send) -> None:
        nonlocal sent

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            gone.set()

        watching = asyncio.create_task(watch())
        await send({"type": "http.response.start", "status": 200, "headers": []})
        while not gone.is_set():
            await send({"type": "http.response.body", "body": b"x" * 8192, "more_body": True})
            await asyncio.sleep(0)  # after a hang-up `send` returns at once
            sent += 8192
        await watching

    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        async with served(endless) as port:
            await asyncio.to_thread(client.connect, ("127.0.0.1", port))
            client.sendall(b"GET /v1/x HTTP/1.1\r\nHost: h\r\n\r\n")
            await gone.wait()
    assert sent < 2**20


async def test_of_a_body_that_nobody_asks_for_little_is_let_in_and_the_answer_can_be_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(edge, "LINGER_S", 0.3)
    app = Pumping(unasked=UNREQUESTED_BYTES)
    async with served(app) as port, connected(port) as (reader, writer):
        writer.write(b"POST /v1/documents HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
        pushing = asyncio.create_task(push(writer))
        status, headers = await head_of(reader)
        assert status == 401
        assert await reader.readexactly(int(headers["content-length"]))
        await until_closed(reader)  # although the client goes on sending
        await pushing
    assert UNREQUESTED_BYTES < app.taken < 10 * UNREQUESTED_BYTES


async def test_of_a_body_over_its_limit_little_more_is_let_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(edge, "LINGER_S", 0.3)
    app = Pumping(unasked=UNREQUESTED_BYTES, asks=True, ready=asyncio.Event())
    async with served(app) as port, connected(port) as (reader, writer):
        writer.write(b"POST /v1/documents HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
        pushing = asyncio.create_task(push(writer))
        await app.took_most.wait()
        await asyncio.sleep(MORE_S)
        assert MOST < app.taken < MOST + 10 * UNREQUESTED_BYTES
        assert app.ready is not None
        app.ready.set()
        assert (await head_of(reader))[0] == 401
        await until_closed(reader)
        await pushing


async def test_a_body_that_is_asked_for_comes_whole() -> None:
    app = Pumping(unasked=UNREQUESTED_BYTES, asks=True)
    async with served(app) as port, connected(port) as (reader, writer):
        writer.write(b"POST /v1/documents HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(32):
            writer.write(CHUNK)
            await writer.drain()
        writer.write(b"0\r\n\r\n")
        assert (await head_of(reader))[0] == 401
    assert app.taken == 32 * 65536
    assert app.last["more_body"] is False


async def test_a_small_body_is_let_in_unasked_and_a_hang_up_is_told_before_anything_is_asked() -> None:
    app = Pumping(ready=asyncio.Event())
    async with served(app) as port:
        async with connected(port) as (_, writer):
            writer.write(b"POST /v1/query HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n{}")
            await app.took_unasked.wait()
        await app.ended.wait()
        assert (app.taken, app.last["type"]) == (2, "http.disconnect")
        assert app.ready is not None
        app.ready.set()


async def test_the_rest_of_a_small_body_may_come_after_the_answer() -> None:
    async with served(Pumping()) as port, connected(port) as (reader, writer):
        for _ in range(2):
            writer.write(b"POST /v1/query HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n{ ")
            status, headers = await head_of(reader)
            assert (status, await reader.readexactly(int(headers["content-length"]))) == (
                401,
                b'{"code":"unauthenticated"}',
            )
            writer.write(b" }")


@pytest.mark.parametrize(
    "header",
    [
        "X-Request-Timeout-Seconds: 0",
        "x-request-disconnect-disabled: ?1",
        "serve_multiplexed_model_id: acme-legal",
        "Serve-Multiplexed-Model-Id: acme-legal",
        "X-Session-ID: s",
        "x_session_id: s",
    ],
)
async def test_orders_to_serve_are_taken_out(header: str) -> None:
    seen: list[tuple[bytes, bytes]] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.extend(scope["headers"])
        await PlainTextResponse("")(scope, receive, send)

    async with served(app) as port:
        assert (await answer_of(port, header, "X-Deadline-Ms: 5"))[0] == 200
    assert seen == [(b"host", b"h"), (b"x-deadline-ms", b"5")]


@pytest.mark.parametrize(
    ("status", "headers", "told", "code"),
    [
        (404, {}, 503, "unavailable"),
        (503, {}, 503, "unavailable"),
        (503, {"Retry-After": "7"}, 503, "overloaded"),
        (429, {"Retry-After": "7"}, 503, "overloaded"),
        (408, {}, 504, "deadline_exceeded"),
    ],
)
async def test_what_serve_answers_becomes_a_problem(status: int, headers: dict[str, str], told: int, code: str) -> None:
    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("Serve's own words", status, headers)(scope, receive, send)

    async with served(serve) as port:
        sent = f"X-Request-ID: mine\r\ntraceparent: 00-{'a' * 32}-{'b' * 16}-01"
        got, answered, body = await answer_of(port, sent)
    problem = json.loads(body)
    assert (answered["traceparent"].split("-")[1], problem["trace_id"]) == ("a" * 32, "a" * 32)
    assert (got, problem["status"], problem["code"], problem["retryable"]) == (told, told, code, True)
    assert answered["content-type"] == "application/problem+json"
    assert answered.get("retry-after") == ("2" if told == 503 else None)
    assert answered["x-request-id"] == problem["request_id"] == "mine"


async def test_what_the_service_answers_passes(tmp_path: object) -> None:
    for status, kind in ((503, "application/problem+json"), (404, "application/json"), (200, "text/plain")):

        async def service(scope: Scope, receive: Receive, send: Send, status: int = status, kind: str = kind) -> None:
            await PlainTextResponse("{}", status, {"Retry-After": "9"}, media_type=kind)(scope, receive, send)

        async with served(service) as port:
            got, answered, body = await answer_of(port)
        assert (got, answered["retry-after"], body) == (status, "9", b"{}")


@pytest.mark.parametrize("ids", [(), ("serve",), ("mine", "serve"), ("same", "same")])
async def test_an_answer_has_one_request_id(ids: tuple[str, ...]) -> None:
    async def service(scope: Scope, receive: Receive, send: Send) -> None:
        answer = PlainTextResponse("{}", media_type="application/json")
        for request_id in ids:
            answer.headers.append("X-Request-ID", request_id)
        await answer(scope, receive, send)

    async with served(service) as port:
        assert (await answer_of(port))[1].getlist("x-request-id") == list(ids[:1])


async def test_no_answer_at_all_is_a_problem_too() -> None:
    async def dead(scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": EXTENSION, "most": MOST})

    async with served(dead) as port:
        status, headers, body = await answer_of(port)
    assert (status, headers["retry-after"], json.loads(body)["code"]) == (503, "2", "unavailable")


async def test_serve_s_own_paths_are_left_alone() -> None:
    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse("no", 503)(scope, receive, send)

    async with served(serve) as port, connected(port) as (reader, writer):
        writer.write(b"GET /-/healthz HTTP/1.1\r\nHost: h\r\n\r\n")
        status, headers = await head_of(reader)
        assert (status, await reader.readexactly(int(headers["content-length"]))) == (503, b"no")


class TakingAll:
    """Takes all that an application sends, at once, and receives all that there is, at once: as Serve does."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        sent, received = asyncio.Queue[Message](), asyncio.Queue[Message]()

        async def answer() -> None:
            await self.app(scope, received.get, sent.put)

        async def receive_all() -> None:
            while True:
                received.put_nowait(message := await receive())
                if message["type"] == "http.disconnect":
                    break

        receiving = asyncio.create_task(receive_all())
        answering = asyncio.create_task(answer())
        more = True
        while more:
            message = await sent.get()
            await send(message)
            more = message["type"] != "http.response.body" or message["more_body"]
        receiving.cancel()
        await answering


async def test_a_large_answer_waits_for_its_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_flow, "UNSENT_BYTES", 4 * PIECE_BYTES)
    made = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal made
        for number in range(PIECES):
            made += PIECE_BYTES
            yield bytes([number % 256]) * PIECE_BYTES

    async def service(scope: Scope, receive: Receive, send: Send) -> None:
        await PacedResponse(pieces(), headers={"Content-Length": str(PIECES * PIECE_BYTES)})(scope, receive, send)

    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 256 * 1024)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        async with served(TakingAll(service), silence_s=60) as port:
            await loop.sock_connect(client, ("127.0.0.1", port))
            for _ in range(2):  # the second answer comes by the same connection
                made, received = 0, bytearray()
                await loop.sock_sendall(client, b"GET /v1/x HTTP/1.1\r\nHost: h\r\n\r\n")
                while len(received) < 40 * PIECE_BYTES:
                    received += await loop.sock_recv(client, 65536)
                await asyncio.sleep(MORE_S)
                assert made < len(received) + IN_THE_KERNEL, "what the client has not read is not made yet"
                size = received.index(b"\r\n\r\n") + 4 + PIECES * PIECE_BYTES
                while len(received) < size:
                    received += await loop.sock_recv(client, 65536)
                assert received.endswith(b"".join(bytes([number % 256]) * PIECE_BYTES for number in range(PIECES)))


async def test_a_hang_up_refuses_no_other_request_of_the_tenant() -> None:
    answered: list[JSONResponse | None] = [JSONResponse({}), None]

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        """Says nothing to the first, as Serve does whose client is gone."""
        if (answer := answered.pop()) is not None:
            await answer(scope, receive, send)

    async with served(serve) as port:
        statuses = [(await answer_of(port, "Authorization: Bearer k"))[0] for _ in range(2)]
    assert statuses == [503, 200]


@pytest.mark.parametrize("response", [
    StreamingResponse(iter(["a" * 100_000, "b"]), media_type="text/event-stream"),
    PlainTextResponse("a" * 100_000 + "b"),
])  # fmt: skip
async def test_http_1_0_gets_no_chunks(response: StreamingResponse | PlainTextResponse) -> None:
    async with served(response) as port, connected(port) as (reader, writer):
        writer.write(b"GET /v1/x HTTP/1.0\r\nHost: h\r\n\r\n")
        status, headers = await head_of(reader)
        assert (status, headers["connection"], "transfer-encoding" in headers) == (200, "close", False)
        assert await reader.read(-1) == b"a" * 100_000 + b"b"
