from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from typing import Any

import pytest

from rag.bridge.framing import LINES
from rag.bridge.messages import Message, Request, result
from rag.bridge.session import Capacity, ReaderGone, Session, SessionLimits
from tests.support.waiting import BOUND_S

BOUND = 10_000


class Backend:
    """Each request says in its params what its answer is; `closed` are those that were hung up on before their end."""

    def __init__(self) -> None:
        self.started: list[object] = []
        self.closed: list[object] = []
        self.sent: list[object] = []
        self.go = asyncio.Event()

    async def answer(self, request: Request) -> AsyncGenerator[Message]:
        self.started.append(request.id)
        ended = False
        try:
            for number in range(request.params.get("chunks", 0)):
                await asyncio.sleep(0)
                self.sent.append(request.id)
                pad = "x" * request.params.get("pad", 0)
                yield {"type": "chunk", "content": f"{number}{pad}", "id": request.id}
            match request.command:
                case "wait":
                    await self.go.wait()
                case "fail":
                    raise ValueError("broken")
                case "stop":
                    ended = True
                    return
            yield result(request.id, request.params)
            if request.command == "linger":
                await self.go.wait()
            ended = True
        finally:
            if not ended:
                self.closed.append(request.id)


class Reader:
    """An output whose reader takes frames while `open` is set, and may go. `hung_up_on`: what the backend had seen
    closed when each frame came."""

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.hung_up_on: list[list[object]] = []
        self.frames: list[bytes] = []
        self.open = asyncio.Event()
        self.open.set()
        self.gone = False

    async def send(self, frame: bytes) -> None:
        await self.open.wait()
        if self.gone:
            raise ReaderGone
        self.frames.append(frame)
        self.hung_up_on.append(list(self.backend.closed))

    @property
    def messages(self) -> list[dict[str, Any]]:
        return [json.loads(frame) for frame in self.frames]

    def of(self, id: object) -> list[dict[str, Any]]:
        return [message for message in self.messages if message["id"] == id]


class Talk:
    """A session whose input a test writes."""

    def __init__(self, limit: int = 100, capacity: Capacity | None = None) -> None:
        self.backend, self.capacity = Backend(), capacity or Capacity(limit)
        self.reader = Reader(self.backend)
        self.session = Session(self.backend.answer, LINES, self.reader, SessionLimits(BOUND, self.capacity))
        self._input: asyncio.Queue[bytes] = asyncio.Queue()
        self.task = asyncio.create_task(self.session.run(self._chunks()))

    async def _chunks(self) -> AsyncIterator[bytes]:
        while chunk := await self._input.get():
            yield chunk

    def send(self, id: object, command: str, /, **params: Any) -> None:
        self.write(json.dumps({"id": id, "command": command, "params": params}).encode() + b"\n")

    def write(self, data: bytes) -> None:
        self._input.put_nowait(data)

    async def end(self) -> None:
        self.write(b"")
        async with asyncio.timeout(BOUND_S):
            await self.task
        assert self.capacity.used == 0

    async def settled(self) -> None:
        """Once nothing more happens by itself."""
        for _ in range(200):
            await asyncio.sleep(0)


async def test_answers_interleave_and_each_keeps_its_order_and_its_id() -> None:
    talk = Talk()
    for id in (1, "1", "b"):
        talk.send(id, "query", chunks=20)
    await talk.end()
    for id in (1, "1", "b"):
        told = talk.reader.of(id)
        assert {type(message["id"]) for message in told} == {type(id)}
        assert [message.get("content") for message in told] == [*map(str, range(20)), None]
        assert told[-1]["type"] == "result"
    order = [message["id"] for message in talk.reader.messages]
    assert order != sorted(order, key=[1, "1", "b"].index)


async def test_the_end_of_the_input_is_not_the_end_of_the_answers() -> None:
    talk = Talk()
    talk.send("a", "wait")
    talk.write(b"")
    await talk.settled()
    assert not talk.task.done()
    talk.backend.go.set()
    await talk.end()
    assert talk.reader.messages == [result("a", {})]


async def test_what_is_no_request_is_answered_and_the_session_goes_on() -> None:
    talk = Talk()
    talk.write(b'x\n\n{"id": 5}\n' + b"y" * (BOUND + 1) + b"\n")
    talk.send("a", "query")
    talk.write(b'{"id": "b", "comma')
    await talk.end()
    told = [(message["id"], message.get("code")) for message in talk.reader.messages]
    errors = [(None, "bad_frame"), (None, "bad_frame"), (5, "bad_frame"), (None, "frame_too_large")]
    assert told[:4] == errors
    assert sorted(told[4:], key=str) == [("a", None), (None, "bad_frame")]


async def test_an_id_is_free_again_once_its_terminal_message_is_out() -> None:
    talk = Talk(limit=1)
    talk.send("a", "linger")
    await talk.settled()
    talk.send("a", "query")
    await talk.settled()
    assert [message["type"] for message in talk.reader.of("a")] == ["result", "result"]
    talk.backend.go.set()
    await talk.end()
    assert talk.backend.closed == []


async def test_an_id_that_is_in_flight_is_refused_without_touching_the_first() -> None:
    talk = Talk()
    for command in ("wait", "query", "cancel"):
        talk.send("a", command, id="a")
    talk.send(97, "wait")
    talk.send("97", "query")
    await talk.settled()
    [refused, cancel, other] = talk.reader.messages
    for told in (refused, cancel):
        assert (told["id"], told["query_id"], told["code"]) == (None, None, "duplicate_id")
        assert "'a'" in told["error"]
    assert other["id"] == "97"
    talk.backend.go.set()
    await talk.end()
    assert [message["type"] for message in talk.reader.of("a")] == ["result"]


async def test_requests_in_flight_are_bounded_over_all_sessions() -> None:
    capacity = Capacity(3)
    talk, other = Talk(capacity=capacity), Talk(capacity=capacity)
    other.send("x", "wait")
    await talk.settled()
    for id in range(4):
        talk.send(id, "wait")
    await talk.settled()
    assert [(told["id"], told["code"], told["retryable"]) for told in talk.reader.messages] == [
        (2, "overloaded", True),
        (3, "overloaded", True),
    ]
    talk.send("c", "cancel", id=0)  # needs no place
    talk.send(4, "wait")
    await talk.settled()
    assert talk.backend.started == [0, 1, 4]
    for each in (talk, other):
        each.backend.go.set()
        each.write(b"")
        await each.task
    assert capacity.used == 0


async def test_cancel_hangs_up_and_tells_both() -> None:
    talk = Talk()
    talk.send(7, "wait", chunks=1)
    talk.send("8", "wait")
    await talk.settled()
    talk.send("c1", "cancel", id=7)
    await talk.settled()
    assert talk.backend.closed == [7]
    assert talk.reader.hung_up_on[-2:] == [[7], [7]]  # before anything was told
    [_, cancelled] = talk.reader.of(7)
    assert (cancelled["type"], cancelled["code"], cancelled["retryable"]) == ("error", "cancelled", False)
    assert talk.reader.messages[-1] == {
        "type": "result", "id": "c1", "query_id": "c1", "data": {"id": 7, "state": "cancelled"}
    }  # fmt: skip
    talk.send("c2", "cancel", id=7)
    talk.send("c3", "cancel", id=8)
    talk.backend.go.set()
    await talk.end()
    assert [talk.reader.of(id)[0]["data"]["state"] for id in ("c2", "c3")] == ["unknown", "unknown"]
    assert [message["type"] for message in talk.reader.of("8")] == ["result"]


async def test_cancel_right_after_its_request() -> None:
    talk = Talk()
    requests = [{"id": "a", "command": "wait"}, {"id": "c", "command": "cancel", "params": {"id": "a"}}]
    talk.write("".join(f"{json.dumps(request)}\n" for request in requests).encode())
    await talk.end()
    assert [(message["id"], message["type"]) for message in talk.reader.messages] == [("a", "error"), ("c", "result")]
    assert talk.backend.started == []


async def test_what_has_its_terminal_message_out_can_no_longer_be_cancelled() -> None:
    talk = Talk()
    talk.send("a", "linger")
    await talk.settled()
    talk.send("c", "cancel", id="a")
    await talk.settled()
    talk.backend.go.set()
    await talk.end()
    assert talk.reader.of("c")[0]["data"]["state"] == "unknown"
    assert [message["type"] for message in talk.reader.of("a")] == ["result"]


@pytest.mark.parametrize("params", [{}, {"id": None}, {"id": 1.5}, {"id": "a", "why": "x"}, {"query_id": "a"}])
async def test_a_cancel_that_names_no_request(params: dict[str, Any]) -> None:
    talk = Talk()
    talk.send("c", "cancel", **params)
    await talk.end()
    [told] = talk.reader.messages
    assert (told["id"], told["code"]) == ("c", "bad_frame")


@pytest.mark.parametrize("command", ["fail", "stop"])
async def test_whatever_goes_wrong_there_is_a_terminal_message(command: str, caplog: pytest.LogCaptureFixture) -> None:
    talk = Talk()
    talk.send("a", command, chunks=1)
    await talk.end()
    assert [message.get("code") for message in talk.reader.of("a")] == [None, "internal_error"]
    assert "request 'a' failed" in caplog.text


async def test_a_message_over_the_bound_is_the_last() -> None:
    talk = Talk()
    talk.send("a", "query", chunks=3, pad=BOUND)
    await talk.end()
    assert [message.get("code") for message in talk.reader.of("a")] == ["frame_too_large"]


async def test_a_slow_reader_slows_the_service_down_and_the_input() -> None:
    talk = Talk()
    talk.reader.open.clear()
    for id in ("a", "b"):
        talk.send(id, "query", chunks=50)
    await talk.settled()
    assert talk.backend.sent == ["a", "b"]
    talk.write(b"x\n")
    talk.send("c", "query")
    await talk.settled()
    assert talk.backend.started == ["a", "b"]  # the answer to x is not taken, so nothing more is read
    talk.reader.open.set()
    await talk.end()
    assert [len(talk.reader.of(id)) for id in ("a", "b", "c", None)] == [51, 51, 1, 1]


async def test_cancel_hangs_up_while_the_reader_takes_nothing() -> None:
    talk = Talk()
    talk.reader.open.clear()
    talk.send("a", "query", chunks=50)
    await talk.settled()
    talk.send("c", "cancel", id="a")
    await talk.settled()
    assert talk.backend.closed == ["a"]
    talk.reader.open.set()
    await talk.end()
    assert [(message["id"], message["type"]) for message in talk.reader.messages] == [("a", "error"), ("c", "result")]


async def test_a_reader_who_has_gone_hangs_up_on_everything() -> None:
    talk = Talk()
    talk.send("a", "wait")
    talk.send("b", "wait")
    await talk.settled()
    talk.reader.gone = True
    talk.write(b"x\n")
    with pytest.raises(ReaderGone):
        await talk.task
    assert sorted(map(str, talk.backend.closed)) == ["a", "b"]
    assert talk.capacity.used == 0


async def test_a_session_that_is_stopped_tells_what_it_leaves() -> None:
    talk = Talk()
    for id in ("a", 2):
        talk.send(id, "wait", chunks=1)
    talk.send("done", "query")
    await talk.settled()
    talk.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await talk.task
    assert sorted(map(str, talk.backend.closed)) == ["2", "a"]
    for id in ("a", 2):
        assert [message.get("code") for message in talk.reader.of(id)] == [None, "cancelled"]
    assert [len(closed) for closed in talk.reader.hung_up_on[-2:]] == [2, 2]  # before anything was told
    assert len(talk.reader.of("done")) == 1
    assert talk.capacity.used == 0


async def test_a_session_that_is_stopped_does_not_wait_for_its_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rag.bridge.session.STOP_TIMEOUT_S", 0.01)
    talk = Talk()
    talk.send("a", "wait")
    await talk.settled()
    talk.reader.open.clear()
    talk.task.cancel()
    async with asyncio.timeout(BOUND_S):
        with suppress(asyncio.CancelledError):
            await talk.task
    assert talk.backend.closed == ["a"]


async def test_a_hundred_requests_have_a_hundred_ends() -> None:
    talk = Talk()
    for id in range(100):
        talk.send(id, "query", chunks=id % 7)
    await talk.end()
    for id in range(100):
        assert [message["type"] for message in talk.reader.of(id)] == ["chunk"] * (id % 7) + ["result"]
