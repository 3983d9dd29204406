"""The HTTP edge: middleware and a connection class inside Serve's own HTTP server.

It runs in the proxy; with HAProxy or direct ingress, in the ingress replica. Serve calls `middlewares` if
RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH names it, as `cluster.node` and Dockerfile.gpu do.

The connection ends when the client is silent for `http_options.keep_alive_timeout_s`: it does not finish a request's
head, or does not read what is sent to it. The middleware treats each request:

- Headers that control Serve are removed.
- Only about the first UNREQUESTED_BYTES of a body are let in. The rest follows when the service asks for it, once it
  knows the key.
- The service is told how much of an answer was sent on, if it asks. So it can wait for a slow client.
- An answer has one X-Request-ID, the service's.
- Serve's own answers, in plain text and with Serve's statuses, become problems. So does a missing answer. Pages of
  other origins may read them as the service's answers.
"""

from __future__ import annotations

import asyncio
import math
import socket
import sys
import time
from typing import Any

from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn import config as uvicorn_config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from cluster.edge.incoming import Incoming
from cluster.edge.origins import AllowedOrigins
from cluster.edge.refusal_cache import RefusalCache
from deployments.errors import DeadlineExceeded, Overloaded, RagError, Unavailable
from serve_app.api import answer_flow, trace_context
from serve_app.api.body_flow import EXTENSION, UNREQUESTED_BYTES, may_be_held_back
from serve_app.api.errors import problem_of
from serve_app.api.middleware import REQUEST_ID_HEADER, SERVE_HEADERS

SERVE_CONTROL_HEADERS = frozenset(
    name.encode() for name in (*SERVE_HEADERS, "serve-multiplexed-model-id", "x-session-id")
)
"""They switch off Serve's time limit or its notice of hang-ups, or choose the replica. In some of them Serve takes
underscores for hyphens, so all are compared with hyphens."""
SERVE_PATHS = ("/-/healthz", "/-/routes")
LINGER_S = 2.0
"""How long a connection stays open, for the answer to be read, when the request's body still comes after it."""
REPLICA_LOST = (
    "the replica that had the request is gone; it may have been worked on. Try again, with the same Idempotency-Key"
)
MAX_UNSENT_BYTES = 64 * 1024
"""What the kernel holds of an answer beyond what the client's machine has room for."""
MAX_DECLARED_BYTES = 2**62
_RAW_REQUEST_ID_HEADER = REQUEST_ID_HEADER.lower().encode()


def middlewares() -> list[Middleware]:
    """Serve's callback, once in each process with an HTTP server of Serve's."""
    uvicorn_config.HTTP_PROTOCOLS["auto"] = f"{__name__}:{Connection.__name__}"
    return [Middleware(RefusalCache), Middleware(HttpEdge)]  # Serve wraps each around those before it


class CloseDelimited(RequestResponseCycle):
    """An answer in HTTP/1.0. It has no chunks, so the end of the connection ends a body of unknown length."""

    async def send(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            if "content-length" not in Headers(raw=message["headers"]):
                self.chunked_encoding = False
                self.expected_content_length = sys.maxsize
        elif self.expected_content_length > MAX_DECLARED_BYTES and not message.get("more_body", False):
            self.expected_content_length = len(message.get("body", b""))
        await super().send(message)


class Connection(HttpToolsProtocol):
    """uvicorn's connection, which also ends when its client is silent within a request."""

    _unwanted_bytes = 0
    """Bytes of a body that came after its request was answered."""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        peer = transport.get_extra_info("socket")
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(self.timeout_keep_alive * 1000))
        peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, MAX_UNSENT_BYTES)
        self._close_after(self.timeout_keep_alive)

    def data_received(self, data: bytes) -> None:
        # uvicorn ends its timer at a request's first byte and has none for the rest of the head. Keep it until then.
        timer, self.timeout_keep_alive_task = self.timeout_keep_alive_task, None
        super().data_received(data)
        if self.timeout_keep_alive_task is None and (self.cycle is None or self.cycle.response_complete):
            self.timeout_keep_alive_task = timer
        elif timer is not None:
            timer.cancel()

    def on_message_begin(self) -> None:
        self._unwanted_bytes = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        super().on_headers_complete()
        if self.scope["http_version"] == "1.0" and self.cycle is not None:
            self.cycle.__class__ = CloseDelimited  # its task has not begun

    def on_body(self, body: bytes) -> None:
        super().on_body(body)
        # uvicorn would read on to the end of the body, however long it is, to discard it.
        self._unwanted_bytes += len(body) if self.cycle.response_complete else 0
        if self._unwanted_bytes > UNREQUESTED_BYTES:
            self.flow.pause_reading()
            self._close_after(LINGER_S)

    def _close_after(self, seconds: float) -> None:
        self._unset_keepalive_if_required()
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)


class HttpEdge:
    """ASGI middleware: what the module's docstring lists for each request."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._origins = AllowedOrigins()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in SERVE_PATHS:
            return await self.app(scope, receive, send)
        origin = Headers(scope=scope).get("origin")
        headers = [(name, value) for name, value in scope["headers"] if _normalized(name) not in SERVE_CONTROL_HEADERS]
        extensions = {
            **scope.get("extensions", {}),
            EXTENSION: {},
            answer_flow.EXTENSION: {},
            trace_context.ARRIVAL: {"at_ns": time.time_ns()},
        }
        scope = {**scope, "headers": headers, "extensions": extensions}
        incoming, tells_what_was_sent = Incoming(receive), False
        body_wanted = asyncio.Event()
        received_bytes = 0
        max_bytes = UNREQUESTED_BYTES if may_be_held_back(scope) else math.inf
        has_started = False
        serve_error: RagError | None = None

        async def receive_when_wanted() -> Message:
            nonlocal received_bytes
            while received_bytes > max_bytes:
                body_wanted.clear()
                await body_wanted.wait()
            message = await incoming.next()
            received_bytes += len(message.get("body", b""))
            return message

        async def send_unless_serves_own(message: Message) -> None:
            nonlocal max_bytes, tells_what_was_sent, has_started, serve_error
            if message["type"] == EXTENSION:
                max_bytes = message["most"]
                body_wanted.set()
            elif message["type"] == answer_flow.EXTENSION:
                tells_what_was_sent = True
            elif serve_error is None and (has_started or (serve_error := _serve_error(message)) is None):
                if not has_started:
                    self._origins.learn(origin, message)
                    message = _with_one_request_id(message)
                await send(message)
                has_started = True
                if tells_what_was_sent and (size := len(message.get("body", b""))):
                    incoming.tell_sent(size)

        try:
            await self.app(scope, receive_when_wanted, send_unless_serves_own)
        finally:
            incoming.close()
        if not has_started:
            scope["request_id"] = request_id = Headers(scope=scope).get(REQUEST_ID_HEADER)
            trace_context.begin(scope)
            problem = problem_of(Request(scope), serve_error or Unavailable(REPLICA_LOST))
            if request_id:
                problem.headers[REQUEST_ID_HEADER] = request_id
            problem.headers.update(self._origins.headers(origin))
            await problem(scope, receive, send)
        return None


def _normalized(header_name: bytes) -> bytes:
    return header_name.lower().replace(b"_", b"-")


def _with_one_request_id(start: Message) -> Message:
    """Keep the first X-Request-ID, the service's. Serve adds one, which differs if the caller's was not valid."""
    ids = [header for header in start["headers"] if _normalized(header[0]) == _RAW_REQUEST_ID_HEADER]
    return {**start, "headers": [*(header for header in start["headers"] if header not in ids), *ids[:1]]}


def _serve_error(start: Message) -> RagError | None:
    """Serve's own refusal, as an error of the service; None for the service's answers, which refuse in JSON."""
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
