"""What the service receives of a request: the client's messages, and what was sent on to the client meanwhile."""

from __future__ import annotations

import asyncio

from starlette.types import Message, Receive

from serve_app.api.answer_flow import SENT_ON


class Incoming:
    """The messages of one request, for one reader. `close` it once the request is over."""

    def __init__(self, receive: Receive) -> None:
        self._receive = receive
        self._has_whole_body = False
        self._waiting: asyncio.Future[Message] | None = None
        self._sent_bytes = 0
        self._has_news = asyncio.Event()

    async def next(self) -> Message:
        if not self._has_whole_body:  # what was sent on is told only to a service that has read the request
            message = await self._receive()
            self._has_whole_body = not message.get("more_body", False)
            return message
        if self._waiting is None:
            self._waiting = asyncio.ensure_future(self._receive())
            self._waiting.add_done_callback(lambda _: self._has_news.set())
        while not self._sent_bytes and not self._waiting.done():
            self._has_news.clear()
            await self._has_news.wait()
        if self._sent_bytes:
            told, self._sent_bytes = {"type": SENT_ON, "bytes": self._sent_bytes}, 0
            return told
        message, self._waiting = self._waiting.result(), None
        return message

    def tell_sent(self, size: int) -> None:
        """That `size` more bytes of the answer were sent on to the client."""
        self._sent_bytes += size
        self._has_news.set()

    def close(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
