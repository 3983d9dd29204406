"""The ingress hears of hang-ups, however Serve tells of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from ray.exceptions import TaskCancelledError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.types import Message

from serve_app.ingress import DisconnectOnCancel
from tests.support.waiting import BOUND_S


async def test_a_cancelled_call_for_messages_is_a_hang_up(caplog: pytest.LogCaptureFixture) -> None:
    closed = asyncio.Event()
    hung_up = asyncio.Event()

    async def words() -> AsyncIterator[bytes]:
        try:
            yield b"word"
            await asyncio.sleep(60)
        finally:
            closed.set()

    async def answer(request: Request) -> StreamingResponse:
        await request.body()
        return StreamingResponse(words())

    app = Starlette()
    app.add_route("/", answer)
    app.add_middleware(DisconnectOnCancel)
    came: list[Message] = [{"type": "http.request", "body": b""}]

    async def receive() -> Message:
        if came:
            return came.pop()
        await hung_up.wait()
        raise TaskCancelledError

    async def send(message: Message) -> None:
        if message.get("body"):
            hung_up.set()

    scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": b"", "asgi": {}}
    async with asyncio.timeout(BOUND_S):
        await app(scope, receive, send)
    assert closed.is_set()
    assert caplog.records == []
