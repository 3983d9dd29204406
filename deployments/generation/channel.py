"""An answer's pieces from the replica that generates them straight to the ingress that asked.

Serve still chooses the replica, counts the call, carries its errors and cancels it: the call lasts as long as the
answer. Only the pieces go past it, because each would cost several times what it costs here. The ingress listens
(`Inbox`), the replica connects (`Outbox`), once for all answers between the two.

A frame is its length (4 bytes), the answer's ticket (24) and the piece as JSON. A ticket is a random number and its
MAC, so that one whose reader has gone is still told from a made-up one: who sends those is let go. The other way go
bare tickets, of answers that nobody reads any longer: sooner there than Serve's cancellation of the call.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import secrets
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager, suppress
from dataclasses import astuple, dataclass
from typing import cast

from deployments.errors import StageUnavailable
from deployments.tasks import spawn_detached
from deployments.types import TextDelta, Usage

NUMBER_BYTES, MAC_BYTES = 8, 16
MAX_FRAME_BYTES = 2**20
"""A piece is one token, or what came in a fraction of a second."""
TICKET_BYTES = NUMBER_BYTES + MAC_BYTES
CONNECT_S = 5.0
_HEAD = struct.Struct(f">I{TICKET_BYTES}s")


@dataclass(frozen=True, slots=True)
class Address:
    """Where an answer is awaited, and its ticket there."""

    host: str
    port: int
    ticket: bytes


class Outbox:
    """A replica's connections to the ingresses that asked it."""

    def __init__(self) -> None:
        self._connections: dict[tuple[str, int], tuple[asyncio.StreamReader, asyncio.StreamWriter]] = {}
        self._connecting = asyncio.Lock()
        self._stops: dict[bytes, Callable[[], Awaitable[object]]] = {}
        self._beside = set[asyncio.Task[None]]()

    async def send(self, deltas: AsyncGenerator[TextDelta], to: Address, stop: Callable[[], Awaitable[object]]) -> None:
        """The answer's pieces as they come; `stop` is called when nobody reads them any longer. Closes `deltas`. Raises
        what they raise, and StageUnavailable if the ingress cannot be reached."""
        self._stops[to.ticket] = stop
        try:
            async with aclosing(deltas):
                with _reaching(to):
                    writer = await self._connection(to.host, to.port)
                async for delta in deltas:
                    with _reaching(to):
                        if writer.is_closing():  # uvloop's transports refuse to write then, not with an OSError
                            raise ConnectionResetError("connection lost")
                        writer.write(_frame(to.ticket, delta))
                        await writer.drain()
        finally:
            del self._stops[to.ticket]

    async def _connection(self, host: str, port: int) -> asyncio.StreamWriter:
        async with self._connecting:
            if (host, port) not in self._connections or _is_over(*self._connections[host, port]):
                async with asyncio.timeout(CONNECT_S):
                    made = await asyncio.open_connection(host, port)
                self._forget_what_is_over()
                self._connections[host, port] = made
                # In a context of its own: it outlives the request that is the first to need the connection.
                listening = spawn_detached(self._listen(made[0]))
                self._beside.add(listening)
                listening.add_done_callback(self._beside.discard)
            return self._connections[host, port][1]

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        try:
            while True:
                if (stop := self._stops.get(await reader.readexactly(TICKET_BYTES))) is not None:
                    with suppress(Exception):  # an engine that fails has its answers fail, too
                        await stop()
        except (asyncio.IncompleteReadError, OSError):
            return  # the connection is over; the next answer makes a new one

    def _forget_what_is_over(self) -> None:
        for address, ends in [*self._connections.items()]:
            if _is_over(*ends):
                del self._connections[address]
                ends[1].close()

    def close(self) -> None:
        for task in self._beside:
            task.cancel()
        for _, writer in self._connections.values():
            writer.close()


def _is_over(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    return writer.is_closing() or reader.at_eof()


@contextmanager
def _reaching(to: Address) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise StageUnavailable(
            f"generation cannot send to the ingress at {to.host}:{to.port} ({error or type(error).__name__}); the "
            "nodes of a cluster must reach each other on all ports"
        ) from None


class Inbox:
    """What an ingress awaits. It listens from the first answer on."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._server: asyncio.Server | None = None
        self._starting = asyncio.Lock()
        self._secret = secrets.token_bytes()
        self._answers: dict[bytes, Answer] = {}
        self._connections: set[asyncio.BaseTransport] = set()

    async def open(self) -> Answer:
        """Close it when nothing more is awaited."""
        async with self._starting:
            if self._server is None:
                loop = asyncio.get_running_loop()
                self._server = await loop.create_server(
                    lambda: _Reading(self._answers, self._connections, self._is_genuine), self._host, 0
                )
        number = secrets.token_bytes(NUMBER_BYTES)
        ticket = number + self._mac(number)
        port: int = self._server.sockets[0].getsockname()[1]
        self._answers[ticket] = answer = Answer(Address(self._host, port, ticket), self._answers)
        return answer

    def _mac(self, number: bytes) -> bytes:
        return hmac.digest(self._secret, number, "sha256")[:MAC_BYTES]

    def _is_genuine(self, ticket: bytes) -> bool:
        return hmac.compare_digest(ticket[NUMBER_BYTES:], self._mac(ticket[:NUMBER_BYTES]))

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for each in self._connections:
            each.close()


class Answer:
    """An answer's pieces as they come; those that came since the last was taken are one. What a reader leaves lying is
    no more than the answer's `max_tokens`."""

    def __init__(self, address: Address, answers: dict[bytes, Answer]) -> None:
        self.address = address
        self._answers = answers
        self._piece: TextDelta | None = None
        self._failure: Exception | None = None
        self._came: asyncio.Future[None] | None = None
        self._source: asyncio.WriteTransport | None = None

    def put(self, piece: TextDelta, source: asyncio.WriteTransport | None = None) -> None:
        """`source`: the way back to who sends it."""
        self._source = source
        before = self._piece
        self._piece = piece if before is None else TextDelta(before.text + piece.text, piece.finish_reason, piece.usage)
        self._wake()

    def fail(self, error: Exception) -> None:
        """Raised to the reader once there is nothing more to take."""
        self._failure = error
        self._wake()

    async def take(self) -> TextDelta:
        while (piece := self._piece) is None:
            if self._failure is not None:
                raise self._failure
            self._came = asyncio.get_running_loop().create_future()
            await self._came
        self._piece = None
        return piece

    def close(self, *, finished: bool = True) -> bool:
        """Not `finished`: who sends it is told to stop, now (then this is true) or at its first piece."""
        self._answers.pop(self.address.ticket, None)
        if finished or self._source is None or self._source.is_closing():
            return False
        self._source.write(self.address.ticket)
        return True

    def _wake(self) -> None:
        if self._came is not None and not self._came.done():
            self._came.set_result(None)


class _Reading(asyncio.Protocol):
    """One replica's connection."""

    def __init__(
        self,
        answers: dict[bytes, Answer],
        connections: set[asyncio.BaseTransport],
        is_genuine: Callable[[bytes], bool],
    ) -> None:
        self._answers = answers
        self._connections = connections
        self._is_genuine = is_genuine
        self._trusted = False
        self._unread = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is one by its methods alone
        self._connections.add(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._connections.discard(self._transport)

    def data_received(self, data: bytes) -> None:
        unread, at = self._unread, 0
        unread += data
        while len(unread) - at >= _HEAD.size:
            length, ticket = _HEAD.unpack_from(unread, at)
            self._trusted = self._trusted or self._is_genuine(ticket)
            if not self._trusted or length > MAX_FRAME_BYTES:
                self._transport.close()
                return
            if len(unread) - at < _HEAD.size + length:
                break
            at += _HEAD.size
            if (answer := self._answers.get(ticket)) is not None:
                answer.put(_piece(unread[at : at + length]), self._transport)
            elif not self._transport.is_closing():  # its reader has gone
                self._transport.write(ticket)
            at += length
        del unread[:at]


def _frame(ticket: bytes, delta: TextDelta) -> bytes:
    body = json.dumps([delta.text, delta.finish_reason, delta.usage and astuple(delta.usage)]).encode()
    return _HEAD.pack(len(body), ticket) + body


def _piece(body: bytes | bytearray) -> TextDelta:
    text, finish_reason, usage = json.loads(body)
    return TextDelta(text, finish_reason, usage and Usage(*usage))
