"""How the service sends a large answer only as fast as the client reads it.

Serve takes all that the service sends, at once, and keeps the unread part in memory. So the service asks the HTTP edge
to tell it how much was sent on to the client, and stops while too much is not. The edge is cluster/edge/http.py; an
extension of the ASGI scope says that it is there. Without it, a large answer is in memory until it is read.
"""

from __future__ import annotations

import asyncio
from typing import Any

from starlette.responses import StreamingResponse
from starlette.types import Message, Receive, Scope, Send

EXTENSION = "rag.answer"
"""The extension's name, and the type of the message that asks to be told, after the answer's start."""
SENT_ON = "rag.answer.sent_on"
"""The type of what is then received: `bytes` more of the body are on their way to the client."""
UNSENT_BYTES = 2 * 1024 * 1024
"""How much of one answer is kept for its client before the service waits; one piece more at most."""


class PacedResponse(StreamingResponse):
    """A streamed answer whose next piece is made once the client has room for it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._unsent_bytes = 0
        self._sent_on = asyncio.Event()
        self._is_told = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._is_told = EXTENSION in scope.get("extensions", {})
        # For servers of version 2.4, starlette does not read what is received.
        await super().__call__({**scope, "asgi": {**scope.get("asgi", {}), "spec_version": "2.3"}}, receive, send)

    async def listen_for_disconnect(self, receive: Receive) -> None:
        while (message := await receive())["type"] != "http.disconnect":
            if message["type"] == SENT_ON:
                self._unsent_bytes -= message["bytes"]
                self._sent_on.set()

    async def stream_response(self, send: Send) -> None:
        async def send_when_there_is_room(message: Message) -> None:
            await send(message)
            if message["type"] == "http.response.start":
                if self._is_told:
                    await send({"type": EXTENSION})
                return
            self._unsent_bytes += len(message["body"])
            while self._is_told and message["more_body"] and self._unsent_bytes >= UNSENT_BYTES:
                self._sent_on.clear()
                await self._sent_on.wait()

        await super().stream_response(send_when_there_is_room)
