"""How the service tells the HTTP edge that a refusal may be repeated, and for which requests.

A refusal costs Serve far more than it costs the service, so cluster/edge/refusal_cache.py repeats some. Only the
service knows whom a refusal concerns: a command names its tenant in the body, which the edge does not read. So the edge
repeats what carries HEADER, and removes it. An extension of the ASGI scope says that the edge is there.
"""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

EXTENSION = "rag.refusal"
HEADER = "RAG-Refusal-For"
OF_CALLER = "caller"
"""The header's value: the refusal is for all requests with the same method, path and CALLER_HEADERS."""
CALLER_HEADERS = ("authorization", "x-tenant-id", "x-deadline-ms", "origin")
"""`origin`: a browser shows an answer only to the page whose origin it names."""
_REPEATABLE = "repeatable_refusal"
"""Where a request's scope says that a 429 would be for all requests of its caller to its route."""
_STATUS = 429


def let_refusal_be_repeated(scope: Scope) -> None:
    """Say that a 429 depends on nothing but the request's method, path and CALLER_HEADERS."""
    scope[_REPEATABLE] = True


class RepeatableRefusals:
    """ASGI middleware. Marks a 429 that may be repeated, if the edge is there to remove the mark."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] == _STATUS and scope.get(_REPEATABLE):
                MutableHeaders(scope=message)[HEADER] = OF_CALLER
            await send(message)

        await self.app(scope, receive, send_marked if EXTENSION in scope.get("extensions", {}) else send)
