"""What stands in Serve's own HTTP server, before a request reaches the service: in the proxy, and with HAProxy or
direct ingress in the ingress replica. Serve calls `middlewares` there if RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH
names it, as `cluster.node` and Dockerfile.gpu do.

Who is silent for `http_options.keep_alive_timeout_s` is let go: who does not begin or end a request's head, and who
does not take what is sent to him. That is the connection's work. The rest is done to each request:

- headers that are orders to Serve are taken out;
- of a body, no more than about UNASKED bytes are let in before the service asks for it, which it does once it knows
  the key;
- an answer has one X-Request-ID, the service's;
- what Serve answers by itself, in plain text and by its own statuses, becomes a problem like all others, and so does no
  answer at all.
"""

from __future__ import annotations

import asyncio
import math
import socket
from typing import Any

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn import config as uvicorn_config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from cluster.edge.refusal_cache import Refusals
from deployments.errors import DeadlineExceeded, Overloaded, RagError, Unavailable
from serve_app.api.body_flow import EXTENSION, UNASKED, may_be_held_back
from serve_app.api.errors import problem_of
from serve_app.api.middleware import FOR_SERVE, REQUEST_ID

ORDERS = frozenset(name.encode() for name in (*FOR_SERVE, "serve-multiplexed-model-id", "x-session-id"))
"""Of no time limit, of not noticing a hang-up, of which replica to take. To Serve underscores are hyphens in some, so
they are in all."""
ID = REQUEST_ID.lower().encode()
OF_SERVE = ("/-/healthz", "/-/routes")
LINGER_S = 2.0
"""How long a connection stays whose request was answered while its body still came, for the answer to be read."""
GONE = "the replica that had the request is gone; it may have been worked on. Try again, with the same Idempotency-Key"
UNSENT_BYTES = 64 * 1024
"""What the kernel holds of an answer beyond what the client's own machine has room for."""


def middlewares() -> list[Middleware]:
    """Serve's callback, once in each process with an HTTP server of Serve's."""
    uvicorn_config.HTTP_PROTOCOLS["auto"] = f"{__name__}:{Connection.__name__}"
    return [Middleware(Refusals), Middleware(Door)]  # Serve puts each around those before it


class Connection(HttpToolsProtocol):
    """uvicorn's connection, with an end to each silence of its client."""

    _unwanted = 0
    """Bytes of a body that came after its request was answered."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        peer = transport.get_extra_info("socket")
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(self.timeout_keep_alive * 1000))
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        self._give_until(self.timeout_keep_alive)

    def data_received(self, data: bytes) -> None:
        # To uvicorn the first byte is the end of the wait, and there is none for the rest of a request's head.
        waiting, self.timeout_keep_alive_task = self.timeout_keep_alive_task, None
        super().data_received(data)
        if self.timeout_keep_alive_task is None and (self.cycle is None or self.cycle.response_complete):
            self.timeout_keep_alive_task = waiting
        elif waiting is not None:
            waiting.cancel()

    def on_message_begin(self) -> None:
        self._unwanted = 0
        super().on_message_begin()

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        # uvicorn would read on to the body's end, wherever that is, to throw it away.
        self._unwanted += len(body) if self.cycle.response_complete else 0
        if self._unwanted > UNASKED:
            self.flow.pause_reading()
            self._give_until(LINGER_S)

    def _give_until(self, seconds: float) -> None:
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)


class Door:
    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in OF_SERVE:
            return await self.app(scope, receive, send)
        headers = [(name, value) for name, value in scope["headers"] if _spelt(name) not in ORDERS]
        scope = {**scope, "headers": headers, "extensions": {**scope.get("extensions", {}), EXTENSION: {}}}
        asked = asyncio.Event()
        let_in, most, started = 0, UNASKED if may_be_held_back(scope) else math.inf, False
        refused: RagError | None = None

        async def held_back() -> Message:
            nonlocal let_in
            while let_in > most:
                asked.clear()
                await asked.wait()
            message = await receive()
            let_in += len(message.get("body", b""))
            return message

        async def passed_on(message: Message) -> None:
            nonlocal most, started, refused
            if message["type"] == EXTENSION:
                most = message["most"]
                asked.set()
            elif refused is None and (started or (refused := _of_serve(message)) is None):
                await send(message if started else _with_one_id(message))
                started = True

        await self.app(scope, held_back, passed_on)
        if not started:
            scope["request_id"] = request_id = Headers(scope=scope).get(REQUEST_ID)
            answer = problem_of(Request(scope), refused or Unavailable(GONE))
            if request_id:
                answer.headers[REQUEST_ID] = request_id
            await answer(scope, receive, send)
        return None


def _spelt(name: bytes) -> bytes:
    return name.lower().replace(b"_", b"-")


def _with_one_id(start: Message) -> Message:
    """Serve adds an X-Request-ID after the service's, and it is another where the caller's was not a good one."""
    ids = [header for header in start["headers"] if _spelt(header[0]) == ID]
    return {**start, "headers": [*(header for header in start["headers"] if header not in ids), *ids[:1]]}


def _of_serve(start: Message) -> RagError | None:
    """What Serve refuses, as an error of the service's; None for an answer of the service, which refuses in JSON."""
    headers = Headers(raw=start["headers"])
    if not headers.get("content-type", "").startswith("text/plain"):
        return None
    match start["status"]:
        case 408:
            return DeadlineExceeded(
                "no answer within http_options.request_timeout_s of the service's config; try again"
            )
        case 429 | 503 if "retry-after" in headers:
            return Overloaded("the service has too many requests at once; try again")
        case 404 | 429 | 503:
            return Unavailable("no replica of the service takes requests at the moment; try again")
        case _:
            return None
