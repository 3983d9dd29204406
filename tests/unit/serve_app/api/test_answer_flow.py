from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from starlette.types import Message, Scope

from serve_app.api import answer_flow
from serve_app.api.answer_flow import EXTENSION, SENT_ON, PacedResponse

TOLD: Scope = {"type": "http", "extensions": {EXTENSION: {}}}


class Client:
    """Takes all that is sent at once, as Serve does, and receives what a test puts into `incoming`."""

    def __init__(self, pieces: int, scope: Scope) -> None:
        self.made = 0
        self.pieces = pieces
        self.sent: list[Message] = []
        self.incoming: asyncio.Queue[Message] = asyncio.Queue()
        self.incoming.put_nowait({"type": "http.request", "body": b"", "more_body": False})
        response = PacedResponse(self._pieces(), headers={"Content-Length": str(10 * pieces)})
        self.answering = asyncio.ensure_future(response(scope, self.incoming.get, self._send))

    async def _pieces(self) -> AsyncIterator[bytes]:
        for _ in range(self.pieces):
            self.made += 1
            yield b"0123456789"

    async def _send(self, message: Message) -> None:
        self.sent.append(message)

    async def settle(self) -> None:
        """Let everything happen that can without more news."""
        for _ in range(200):
            await asyncio.sleep(0)

    def tell(self, size: int) -> None:
        self.incoming.put_nowait({"type": SENT_ON, "bytes": size})

    def body(self) -> bytes:
        return b"".join(message.get("body", b"") for message in self.sent)


@pytest.fixture(autouse=True)
def of_30_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answer_flow, "UNSENT_BYTES", 30)


async def test_no_more_is_made_than_may_be_kept_until_some_was_sent_on() -> None:
    client = Client(8, TOLD)
    await client.settle()
    assert [message["type"] for message in client.sent[:2]] == ["http.response.start", EXTENSION]
    assert client.made == 3
    client.tell(9)
    await client.settle()
    assert client.made == 4, "21 bytes were not sent on, then 31"
    client.tell(20)
    await client.settle()
    assert client.made == 6
    for _ in range(4):
        client.tell(10)
    await client.answering
    assert client.body() == b"0123456789" * 8
    assert [message["more_body"] for message in client.sent[2:]] == [True] * 8 + [False]


async def test_an_answer_that_is_whole_does_not_wait() -> None:
    client = Client(3, TOLD)
    await client.settle()
    client.tell(1)
    await client.answering
    assert client.sent[-1] == {"type": "http.response.body", "body": b"", "more_body": False}


async def test_a_hang_up_ends_the_wait() -> None:
    client = Client(8, TOLD)
    await client.settle()
    client.incoming.put_nowait({"type": "http.disconnect"})
    await client.answering
    assert client.made == 3


@pytest.mark.parametrize("spec_version", ["2.0", "2.3", "2.4"])
async def test_any_server_s_news_are_read(spec_version: str) -> None:
    client = Client(4, {**TOLD, "asgi": {"version": "3.0", "spec_version": spec_version}})
    await client.settle()
    client.tell(30)
    await client.answering
    assert client.made == 4


async def test_a_server_that_tells_nothing_is_not_waited_for() -> None:
    client = Client(8, {"type": "http"})
    await client.answering
    assert client.body() == b"0123456789" * 8
    assert EXTENSION not in [message["type"] for message in client.sent]


async def test_an_error_in_the_middle_is_raised() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"a"
        raise ConnectionResetError

    async def send(_: Message) -> None: ...

    with pytest.raises(ConnectionResetError):
        await PacedResponse(broken())(TOLD, asyncio.Event().wait, send)  # type: ignore[arg-type]
