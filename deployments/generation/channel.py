"""Sends an answer's text deltas from the generating replica straight to the ingress that asked.

Serve still chooses the replica, counts the call, carries its errors and cancels it; the call lasts as long as the
answer. Only the deltas bypass Serve, where each would cost several times as much. The ingress listens (`Inbox`). Each
replica connects to it once (`Outbox`), and all answers between the two share the connection.

From replica to ingress go frames: length of the delta (4 bytes), the answer's ticket (24 bytes), the delta as JSON. A
ticket is a random number and its MAC. So the ingress can tell an answer that is no longer read from a forged ticket,
and closes the connection only for the latter. From ingress to replica go bare tickets, of answers that are no longer
read. They arrive sooner than Serve's cancellation of the call.
"""

from __future__ import annotations

import asyncio
import hmac
import json
import secrets
import struct
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Sequence
from contextlib import aclosing, contextmanager, suppress
from dataclasses import astuple, dataclass
from typing import cast

from deployments.errors import StageUnavailable
from deployments.generation import channel_tls, peers
from deployments.tasks import spawn_detached
from deployments.types import CitedSpan, TextDelta, ToolCallDelta, Usage

NUMBER_BYTES, MAC_BYTES = 8, 16
MAX_DELTA_BYTES = 2**20
"""Far more than a delta needs: it holds one token, or the text of a fraction of a second."""
TICKET_BYTES = NUMBER_BYTES + MAC_BYTES
CONNECT_S = 5.0
ANY_PORT = (0,)
"""The kernel chooses a free one."""
LOST = "generation lost its connection to the ingress; ask again"
_HEAD = struct.Struct(f">I{TICKET_BYTES}s")


@dataclass(frozen=True, slots=True)
class Address:
    """Where the ingress awaits an answer, and the answer's ticket there."""

    host: str
    port: int
    ticket: bytes


class Outbox:
    """A replica's side: its connections to the ingresses that ask it."""

    def __init__(self) -> None:
        self._connections: dict[tuple[str, int], tuple[asyncio.StreamReader, asyncio.StreamWriter]] = {}
        self._attempts: dict[tuple[str, int], asyncio.Task[asyncio.StreamWriter]] = {}
        self._stops: dict[bytes, Callable[[], Awaitable[object]]] = {}
        self._listeners = set[asyncio.Task[None]]()

    async def send(self, deltas: AsyncGenerator[TextDelta], to: Address, stop: Callable[[], Awaitable[object]]) -> None:
        """Send the answer's deltas as they come, and close `deltas`. Calls `stop` when the ingress no longer reads.

        Raises what `deltas` raises, and StageUnavailable if the ingress cannot be reached.
        """
        self._stops[to.ticket] = stop
        try:
            async with aclosing(deltas):
                with _ingress_errors(to):
                    writer = await self._connection(to.host, to.port)
                async for delta in deltas:
                    with _ingress_errors(to):
                        if writer.is_closing():  # uvloop would raise another error than OSError on writing
                            raise ConnectionResetError("connection lost")
                        writer.write(_frame(to.ticket, delta))
                        await writer.drain()
        finally:
            del self._stops[to.ticket]

    async def _connection(self, host: str, port: int) -> asyncio.StreamWriter:
        """The connection to an ingress, made anew if there is none or it has ended.

        Answers that need the same one share an attempt, and wait for no other ingress.
        """
        address = host, port
        if address in self._connections and not _has_ended(*self._connections[address]):
            return self._connections[address][1]
        if (attempt := self._attempts.get(address)) is None:
            # Detached: it goes on for the others when the answer that began it is cancelled.
            attempt = self._attempts[address] = spawn_detached(self._connect(host, port))
            attempt.add_done_callback(lambda done: self._forget_attempt(address, done))
        return await asyncio.shield(attempt)

    async def _connect(self, host: str, port: int) -> asyncio.StreamWriter:
        async with asyncio.timeout(CONNECT_S):
            reader, writer = await asyncio.open_connection(host, port, ssl=channel_tls.client_context())
        peers.watch(writer.transport)
        self._close_ended_connections()
        self._connections[host, port] = reader, writer
        listener = spawn_detached(self._listen(reader))
        self._listeners.add(listener)
        listener.add_done_callback(self._listeners.discard)
        return writer

    def _forget_attempt(self, address: tuple[str, int], done: asyncio.Task[asyncio.StreamWriter]) -> None:
        del self._attempts[address]
        if not done.cancelled():
            done.exception()  # read, so that it is not logged where all answers that waited are gone

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        """Stop the answers whose tickets come back."""
        try:
            while True:
                ticket = await reader.readexactly(TICKET_BYTES)
                if (stop := self._stops.get(ticket)) is not None:
                    with suppress(Exception):  # an engine that fails here fails its answers, too
                        await stop()
        except (asyncio.IncompleteReadError, OSError):
            return  # the connection has ended; the next answer makes a new one

    def _close_ended_connections(self) -> None:
        for address, (reader, writer) in [*self._connections.items()]:
            if _has_ended(reader, writer):
                del self._connections[address]
                writer.close()

    def close(self) -> None:
        for task in (*self._attempts.values(), *self._listeners):
            task.cancel()
        for _, writer in self._connections.values():
            writer.close()


def _has_ended(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    return writer.is_closing() or reader.at_eof()


@contextmanager
def _ingress_errors(to: Address) -> Iterator[None]:
    """Turns a failure of the connection into StageUnavailable. What operators may read of it names the ingress."""
    try:
        yield
    except OSError as error:
        raise StageUnavailable(
            "generation cannot send to the ingress; the nodes of a cluster must reach each other on all ports",
            internal=f"{to.host}:{to.port}: {error or type(error).__name__}",
        ) from None


class Inbox:
    """An ingress' side: listens for answers, from the first `open` on, at the first of `ports` that is free."""

    def __init__(self, host: str, ports: Sequence[int] = ANY_PORT) -> None:
        self._host = host
        self._ports = ports
        self._server: asyncio.Server | None = None
        self._starting = asyncio.Lock()
        self._secret = secrets.token_bytes()
        self._answers: dict[bytes, Answer] = {}
        self._connections: set[asyncio.BaseTransport] = set()

    async def open(self) -> Answer:
        """A new answer to await. The caller closes it. Raises StageUnavailable if no port is free."""
        async with self._starting:
            if self._server is None:
                self._server = await self._listen()
        number = secrets.token_bytes(NUMBER_BYTES)
        ticket = number + self._mac(number)
        port: int = self._server.sockets[0].getsockname()[1]
        self._answers[ticket] = answer = Answer(Address(self._host, port, ticket), self._answers)
        return answer

    async def _listen(self) -> asyncio.Server:
        loop, reason, tls = asyncio.get_running_loop(), "", channel_tls.server_context()
        for port in self._ports:
            try:
                return await loop.create_server(
                    lambda: _ReplicaConnection(self._answers, self._connections, self._is_genuine),
                    self._host,
                    port,
                    ssl=tls,
                )
            except OSError as error:
                reason = str(error)
        raise StageUnavailable(
            "the ingress cannot receive answers: no port is free for them; see api.answer_ports",
            internal=f"{self._host}, ports {self._ports[0]} to {self._ports[-1]}: {reason}",
        )

    def _mac(self, number: bytes) -> bytes:
        return hmac.digest(self._secret, number, "sha256")[:MAC_BYTES]

    def _is_genuine(self, ticket: bytes) -> bool:
        return hmac.compare_digest(ticket[NUMBER_BYTES:], self._mac(ticket[:NUMBER_BYTES]))

    def close(self) -> None:
        if self._server is not None:
            self._server.close()
        for connection in self._connections:
            connection.close()


class Answer:
    """An answer's deltas as they arrive. Those that arrived since the last `take` are joined into one.

    What waits to be taken is bounded by the answer's `max_tokens`.
    """

    def __init__(self, address: Address, answers: dict[bytes, Answer]) -> None:
        self.address = address
        self._answers = answers
        self._delta: TextDelta | None = None
        self._failure: Exception | None = None
        self._arrived: asyncio.Future[None] | None = None
        self._sender: asyncio.WriteTransport | None = None

    def put(self, delta: TextDelta, sender: asyncio.WriteTransport | None = None) -> None:
        """Add a delta. `sender` is the connection that it came by."""
        self._sender = sender
        self._delta = self._delta.joined(delta) if self._delta is not None else delta
        self._wake()

    def fail(self, error: Exception) -> None:
        """Have `take` raise this error once all deltas have been taken."""
        self._failure = error
        self._wake()

    def lose(self, sender: asyncio.BaseTransport) -> None:
        """The connection `sender` has ended. What came by it cannot go on."""
        if self._sender is sender:
            self.fail(StageUnavailable(LOST))

    async def take(self) -> TextDelta:
        """Wait for the next delta. Raises what `fail` was given."""
        while (delta := self._delta) is None:
            if self._failure is not None:
                raise self._failure
            self._arrived = asyncio.get_running_loop().create_future()
            await self._arrived
        self._delta = None
        return delta

    def close(self, *, finished: bool = True) -> bool:
        """Await nothing more. An answer that has not `finished` is stopped at its replica.

        Returns whether the replica was told. Before the answer's first delta it cannot be, and is told at that delta.
        """
        self._answers.pop(self.address.ticket, None)
        if finished or self._sender is None or self._sender.is_closing():
            return False
        self._sender.write(self.address.ticket)
        return True

    def _wake(self) -> None:
        if self._arrived is not None and not self._arrived.done():
            self._arrived.set_result(None)


class _ReplicaConnection(asyncio.Protocol):
    """Takes a replica's frames apart and puts the deltas into their answers."""

    def __init__(
        self,
        answers: dict[bytes, Answer],
        connections: set[asyncio.BaseTransport],
        is_genuine: Callable[[bytes], bool],
    ) -> None:
        self._answers = answers
        self._connections = connections
        self._is_genuine = is_genuine
        self._is_trusted = False
        self._unread = bytearray()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's has its methods, but is no subclass
        self._connections.add(transport)
        peers.watch(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._connections.discard(self._transport)
        for answer in self._answers.values():
            answer.lose(self._transport)

    def data_received(self, data: bytes) -> None:
        unread, start = self._unread, 0
        unread += data
        while len(unread) - start >= _HEAD.size:
            length, ticket = _HEAD.unpack_from(unread, start)
            self._is_trusted = self._is_trusted or self._is_genuine(ticket)
            if not self._is_trusted or length > MAX_DELTA_BYTES:
                self._transport.close()
                return
            if len(unread) - start < _HEAD.size + length:
                break
            start += _HEAD.size
            if (answer := self._answers.get(ticket)) is not None:
                answer.put(_decode(unread[start : start + length]), self._transport)
            elif not self._transport.is_closing():  # the answer is no longer read
                self._transport.write(ticket)
            start += length
        del unread[:start]


def _frame(ticket: bytes, delta: TextDelta) -> bytes:
    body = json.dumps(astuple(delta) if _has_more_than_text(delta) else [delta.text]).encode()
    return _HEAD.pack(len(body), ticket) + body


def _has_more_than_text(delta: TextDelta) -> bool:
    return delta != TextDelta(delta.text)


def _decode(body: bytes | bytearray) -> TextDelta:
    text, *more = json.loads(body)
    if not more:
        return TextDelta(text)
    finish_reason, usage, citations, confidence, degraded, tool_calls = more
    return TextDelta(
        text,
        finish_reason,
        usage and Usage(*usage),
        None if citations is None else tuple(CitedSpan(tuple(numbers), *span) for numbers, *span in citations),
        confidence,
        tuple(degraded),
        tuple(ToolCallDelta(*call) for call in tool_calls),
    )
