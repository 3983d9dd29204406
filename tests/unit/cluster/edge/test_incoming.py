from __future__ import annotations

import asyncio

import pytest
from starlette.types import Message

from cluster.edge.incoming import Incoming
from serve_app.api.answer_flow import SENT_ON

WHOLE: Message = {"type": "http.request", "body": b"", "more_body": False}
GONE: Message = {"type": "http.disconnect"}


@pytest.fixture
def client() -> asyncio.Queue[Message]:
    return asyncio.Queue()


@pytest.fixture
async def incoming(client: asyncio.Queue[Message]) -> Incoming:
    """Of a request that was read."""
    made = Incoming(client.get)
    client.put_nowait(WHOLE)
    assert await made.next() == WHOLE
    return made


async def test_a_body_comes_before_any_news(client: asyncio.Queue[Message]) -> None:
    incoming = Incoming(client.get)
    incoming.tell_sent(5)
    part: Message = {"type": "http.request", "body": b"a", "more_body": True}
    for message in (part, part, WHOLE):
        client.put_nowait(message)
    assert [await incoming.next() for _ in range(3)] == [part, part, WHOLE]
    assert await incoming.next() == {"type": SENT_ON, "bytes": 5}
    incoming.close()


async def test_news_end_a_wait_and_are_put_together(incoming: Incoming) -> None:
    waiting = asyncio.ensure_future(incoming.next())
    await asyncio.sleep(0)
    incoming.tell_sent(5)
    incoming.tell_sent(7)
    assert await waiting == {"type": SENT_ON, "bytes": 12}
    incoming.tell_sent(1)
    assert await incoming.next() == {"type": SENT_ON, "bytes": 1}
    incoming.close()


async def test_a_hang_up_is_told_beside_news(client: asyncio.Queue[Message], incoming: Incoming) -> None:
    waiting = asyncio.ensure_future(incoming.next())
    await asyncio.sleep(0)
    incoming.tell_sent(5)
    client.put_nowait(GONE)
    client.put_nowait(GONE)
    assert await waiting == {"type": SENT_ON, "bytes": 5}
    assert await incoming.next() == GONE
    assert await incoming.next() == GONE, "as a server says it again and again"


async def test_a_wait_that_was_given_up_loses_nothing(client: asyncio.Queue[Message], incoming: Incoming) -> None:
    waiting = asyncio.ensure_future(incoming.next())
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    client.put_nowait(GONE)
    assert await incoming.next() == GONE


async def test_nobody_waits_for_the_client_once_the_request_is_over(incoming: Incoming) -> None:
    before = asyncio.all_tasks()
    waiting = asyncio.ensure_future(incoming.next())
    await asyncio.sleep(0)
    waiting.cancel()
    incoming.close()
    await asyncio.wait(asyncio.all_tasks() - before)
    assert asyncio.all_tasks() == before
