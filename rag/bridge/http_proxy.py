"""The service's own HTTP on a Unix socket: a reverse proxy that adds the bridge's key and delays nothing."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager

import httpx
import uvicorn
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from rag.bridge import lifetime
from rag.bridge.session import STOP_TIMEOUT_S, Capacity
from rag.bridge.sockets import Listener
from rag.bridge.upstream import Unreachable, Upstream, explain

logger = logging.getLogger(__name__)
RETRY_AFTER_S = 2
STATUS = {"overloaded": 503, "unreachable": 503, "timeout": 504, "connection_lost": 502, "bad_request": 400}
_TITLES = {
    "overloaded": "Too many requests at once",
    "unreachable": "Temporarily unavailable",
    "timeout": "The service is silent",
    "connection_lost": "The connection to the service broke off",
    "bad_request": "Bad request",
}
_HOP_BY_HOP_HEADERS = frozenset(
    {
        "connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection", "te", "trailer",
        "transfer-encoding", "upgrade",
    }
)  # fmt: skip
_SINGLE_HOP_HEADERS = frozenset({"host", "expect"})
"""httpx sets its own `host`; uvicorn has answered `expect` already."""


class _ClientGone(Exception):
    pass


class Proxy:
    """An ASGI application."""

    def __init__(self, upstream: Upstream, capacity: Capacity) -> None:
        self._upstream = upstream
        self._capacity = capacity

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        if not self._capacity.try_acquire():
            detail = f"{self._capacity.limit} requests are in flight (--max-in-flight); wait for one to end"
            await _problem(scope, "overloaded", detail)(scope, receive, send)
            return
        body = _Body(scope, receive)
        try:
            await lifetime.run_unless(self._forward(scope, body, receive, send), body.client_gone())
        finally:
            self._capacity.release()

    async def _forward(self, scope: Scope, body: _Body, receive: Receive, send: Send) -> None:
        try:
            client = await self._upstream.client()
        except Unreachable as error:
            return await _problem(scope, "unreachable", str(error))(scope, receive, send)
        try:
            request = _request(client, scope, body)
        except httpx.InvalidURL as error:
            return await _problem(scope, "bad_request", str(error))(scope, receive, send)
        try:
            response = await client.send(request, stream=True)
        except _ClientGone:
            return None
        except httpx.TransportError as error:
            code, detail = explain(error, client.base_url)
            return await _problem(scope, code, detail)(scope, receive, send)
        try:
            headers = list(_end_to_end(response.headers.raw))
            await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
            async for chunk in response.aiter_raw():
                await send({"type": "http.response.body", "body": chunk, "more_body": True})
            await send({"type": "http.response.body"})
        except httpx.TransportError as error:
            # The client must not take this for the end: uvicorn hangs up on a response that was not completed.
            logger.warning("%s", explain(error, client.base_url)[1])
        finally:
            await response.aclose()
        return None


class _Body:
    """The request's body, then the client's disconnect. Both come from `receive`."""

    def __init__(self, scope: Scope, receive: Receive) -> None:
        self._receive = receive
        self._all_read = asyncio.Event()
        headers = Headers(scope=scope)
        self.empty = headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers
        if self.empty:
            self._all_read.set()

    async def chunks(self) -> AsyncGenerator[bytes]:
        try:
            more = True
            while more:
                message = await self._receive()
                if message["type"] == "http.disconnect":
                    raise _ClientGone
                more = message.get("more_body", False)
                if chunk := message.get("body"):
                    yield chunk
        finally:
            self._all_read.set()

    async def client_gone(self) -> None:
        await self._all_read.wait()
        while (await self._receive())["type"] != "http.disconnect":
            pass


class _Server(uvicorn.Server):
    """Leaves signals to the bridge; uvicorn would raise them again at its end."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(listener: Listener, proxy: Proxy, stop: asyncio.Event) -> None:
    """Until `stop` is set; what is not answered soon after is hung up on."""
    server = _Server(
        uvicorn.Config(
            proxy,
            http="h11",
            loop="asyncio",
            ws="none",
            lifespan="off",
            interface="asgi3",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,  # those of the service are passed on
            date_header=False,
            timeout_graceful_shutdown=STOP_TIMEOUT_S,
        )
    )
    serving = asyncio.create_task(server.serve(sockets=[listener.socket]))
    await stop.wait()
    server.should_exit = True
    await serving


def _request(client: httpx.AsyncClient, scope: Scope, body: _Body) -> httpx.Request:
    """Built without the client, which would add headers of its own and others' cookies. Raises httpx.InvalidURL."""
    path: bytes = scope["raw_path"]
    if not path.startswith(b"/"):
        raise httpx.InvalidURL("the request's target is not a path")
    query: bytes = scope["query_string"]
    target = client.base_url.raw_path.rstrip(b"/") + path + (b"?" + query if query else b"")
    end_to_end = _end_to_end(scope["headers"])
    headers = [(name, value) for name, value in end_to_end if name.decode() not in _SINGLE_HOP_HEADERS]
    names = {name for name, _ in headers}
    if b"authorization" not in names and "Authorization" in client.headers:
        headers.append((b"authorization", client.headers["Authorization"].encode()))
    return httpx.Request(
        scope["method"],
        client.base_url.copy_with(raw_path=target),
        headers=headers,
        content=None if body.empty else body.chunks(),
        extensions={"timeout": client.timeout.as_dict()},
    )


def _end_to_end(headers: list[tuple[bytes, bytes]]) -> Iterator[tuple[bytes, bytes]]:
    """The headers that are not hop-by-hop, with names in lower case."""
    given = [(name.lower(), value) for name, value in headers]
    connection = ",".join(value.decode("latin-1") for name, value in given if name == b"connection")
    named = {name.strip().lower() for name in connection.split(",")}
    chunked = any(name == b"transfer-encoding" for name, _ in given)
    for name, value in given:
        text = name.decode("latin-1")
        if text not in _HOP_BY_HOP_HEADERS and text not in named and not (chunked and text == "content-length"):
            yield name, value


def _problem(scope: Scope, code: str, detail: str) -> JSONResponse:
    """A problem in the form of the service's own."""
    status = STATUS[code]
    request = Request(scope)
    body = {
        "type": f"{request.base_url}errors/{code.replace('_', '-')}",
        "title": _TITLES[code],
        "status": status,
        "detail": detail,
        "code": code,
        "retryable": code != "bad_request",
        "request_id": request.headers.get("X-Request-ID"),
    }
    headers = {"Retry-After": str(RETRY_AFTER_S)} if status == 503 else None
    return JSONResponse(body, status, headers, media_type="application/problem+json")
