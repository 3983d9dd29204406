"""How the service says that it wants a request's body, to whoever stands in front and holds it back until then.

Serve's proxy hands on all that a client sends as fast as it comes, whether or not the service reads it, and what is not
read yet is kept in memory. So cluster/edge/http.py lets through no more than about UNASKED bytes before it is asked;
that it stands there, its extension of the ASGI scope tells.
"""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.types import Scope, Send

EXTENSION = "rag.body"
"""The extension's name, and the type of the message that asks."""
UNASKED = 64 * 1024


async def ask_for_body(scope: Scope, send: Send, most: int) -> None:
    """`most`: bytes after which no more is let in, so that a body over a limit is read a little beyond it only."""
    if EXTENSION in scope.get("extensions", {}) and may_be_held_back(scope):
        await send({"type": EXTENSION, "most": most})


def may_be_held_back(scope: Scope) -> bool:
    """Whether the body is larger than UNASKED, or may be."""
    headers = Headers(scope=scope)
    declared = headers.get("content-length", "")
    return int(declared) > UNASKED if declared.isdecimal() else "transfer-encoding" in headers
