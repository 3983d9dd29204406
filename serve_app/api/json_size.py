"""How many values a body in JSON has, told before it is parsed.

Parsing holds Python's interpreter lock until it ends, in any thread: ten megabytes of empty objects stop the whole
replica for half a second, and take a quarter of a gigabyte. A few long texts of the same size take milliseconds. So
what may be parsed is bounded by its values as well as by its bytes. Counting takes a few milliseconds a megabyte, and
gives the lock back between its steps.
"""

from __future__ import annotations

from anyio import to_thread
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.errors import DocumentTooLarge, InvalidRequest, RagError
from serve_app.api.authentication import PRINCIPAL
from serve_app.api.body_flow import may_be_held_back
from serve_app.api.errors import problem_of

FORMS_AT = "/v1/documents"
"""The only path that takes a form, whose files are not parsed."""
_QUOTES_OF_VALUE = 4
"""Of a member of an object: its key's and its value's."""


class JsonSize:
    """ASGI middleware. Refuses a body in JSON of more than `most` values before it is parsed.

    Only a body that may be larger than UNREQUESTED_BYTES is counted, of a request whose key was checked. It is then
    read whole first.
    """

    def __init__(self, app: ASGIApp, most: int) -> None:
        self.app = app
        self.most = most

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if PRINCIPAL not in scope or not may_be_held_back(scope) or is_form(scope):
            return await self.app(scope, receive, send)
        pieces: list[bytes] = []
        while (message := await receive())["type"] == "http.request":
            pieces.append(message.get("body", b""))
            if not message.get("more_body", False):
                break
        else:
            return None  # the client is gone
        body = b"".join(pieces)
        pieces.clear()
        if (problem := await to_thread.run_sync(explain, body, self.most)) is not None:
            return await problem_of(Request(scope), problem)(scope, receive, send)
        whole: Message | None = {"type": "http.request", "body": body, "more_body": False}
        del body

        async def receive_whole() -> Message:
            nonlocal whole
            if whole is None:
                return await receive()
            message, whole = whole, None
            return message

        return await self.app(scope, receive_whole, send)


def is_form(scope: Scope) -> bool:
    kind = Headers(scope=scope).get("content-type", "").split(";")[0].strip().lower()
    return bool(scope["path"] == FORMS_AT and kind == "multipart/form-data")


def explain(body: bytes, most: int) -> RagError | None:
    """The error of a body that must not be parsed; None for one that may be, whether it is JSON or not."""
    if b"\0" in body:
        # JSON has none in UTF-8. In UTF-16 and UTF-32, which the parser would also take, values cannot be counted so.
        return InvalidRequest("the body must be JSON in UTF-8, and holds a zero byte")
    text = body.replace(b"\\\\", b"").replace(b'\\"', b"")  # the remaining quotes delimit texts
    if text.count(b'"') <= _QUOTES_OF_VALUE * most:
        outside = b"".join(text.split(b'"')[::2])
        if 1 + outside.count(b",") + outside.count(b"[") + outside.count(b"{") <= most:
            return None
    return DocumentTooLarge(f"the body has more than {most} JSON values; send less at once")
