"""How the service requests a body from the HTTP edge, which holds large bodies back until then.

Serve's proxy passes on a client's bytes as fast as they come, also if the service does not read them. It keeps the
unread part in memory. So cluster/edge/http.py lets only about UNREQUESTED_BYTES of a body through before the service
requests the rest. An extension of the ASGI scope says that the edge is there.
"""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import Scope, Send

EXTENSION = "rag.body"
"""The extension's name, and the type of the message that requests the body."""
UNREQUESTED_BYTES = 64 * 1024


async def request_body(scope: Scope, send: Send, most: int) -> None:
    """`most`: bytes after which the edge lets no more in, so that a body over its limit is hardly read past it."""
    if EXTENSION in scope.get("extensions", {}) and may_be_held_back(scope):
        await send({"type": EXTENSION, "most": most})


def may_be_held_back(scope: Scope) -> bool:
    """Whether the body is larger than UNREQUESTED_BYTES, or may be."""
    headers = Headers(scope=scope)
    declared = headers.get("content-length", "")
    return int(declared) > UNREQUESTED_BYTES if declared.isdecimal() else "transfer-encoding" in headers
