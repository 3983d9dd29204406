from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
import trustme

from cluster.ports import free_ports
from deployments.errors import StageUnavailable
from deployments.generation import channel, peers
from deployments.generation.channel import Address, Answer, Inbox, Outbox
from deployments.types import CitedSpan, TextDelta, Usage
from tests.support.waiting import until

HOST = "127.0.0.1"
LAST = TextDelta("kraj", "length", Usage(5, 3, 2))


@pytest.fixture
async def inbox() -> AsyncIterator[Inbox]:
    inbox = Inbox(HOST)
    yield inbox
    inbox.close()
    await until(lambda: not inbox._connections)


@pytest.fixture
async def outbox(inbox: Inbox) -> AsyncIterator[Outbox]:
    outbox = Outbox()
    yield outbox
    outbox.close()


class Stream:
    """Gives each delta when it is released, and knows whether it was closed."""

    def __init__(self, *deltas: TextDelta) -> None:
        self._deltas = deltas
        self.go = asyncio.Semaphore(0)
        self.closed = False
        self.stopped = asyncio.Event()

    async def stop(self) -> None:
        self.stopped.set()

    async def deltas(self) -> AsyncGenerator[TextDelta]:
        try:
            for delta in self._deltas:
                await self.go.acquire()
                yield delta
        finally:
            self.closed = True

    def release(self, count: int) -> None:
        for _ in range(count):
            self.go.release()


async def taken(answer: Answer) -> TextDelta:
    async with asyncio.timeout(60):
        return await answer.take()


def has_ended(answer: Answer) -> bool:
    """Whether the answer's last delta has arrived."""
    return answer._delta is not None and answer._delta.finish_reason is not None


async def until_tickets_are_read(inbox: Inbox, outbox: Outbox) -> None:
    """Tickets come in order: once that of an answer closed now was read, all before it were too."""
    answer, stream = await inbox.open(), Stream(TextDelta("a"), LAST)
    sending = asyncio.create_task(outbox.send(stream.deltas(), answer.address, stream.stop))
    stream.release(1)
    await taken(answer)
    answer.close(finished=False)
    async with asyncio.timeout(60):
        await stream.stopped.wait()
    stream.release(1)
    await sending


async def test_deltas_arrive_as_they_come_and_the_last_as_it_was(inbox: Inbox, outbox: Outbox) -> None:
    answer = await inbox.open()
    quoted = TextDelta("a [1]", citations=(CitedSpan((1,), 0, 1),))
    end = TextDelta("", "no_answer", Usage(5, 3), (), 0.25, ("embedding",))
    stream = Stream(TextDelta("čšž "), TextDelta("🦊\n"), quoted, end)
    sending = asyncio.create_task(outbox.send(stream.deltas(), answer.address, stream.stop))
    for expected in (TextDelta("čšž "), TextDelta("🦊\n"), quoted, end):
        stream.release(1)
        assert await taken(answer) == expected
    await sending
    assert stream.closed


async def test_what_came_before_it_was_taken_is_one_delta(inbox: Inbox, outbox: Outbox) -> None:
    answer = await inbox.open()
    stream = Stream(TextDelta("a"), TextDelta("b"), LAST)
    stream.release(3)
    await outbox.send(stream.deltas(), answer.address, stream.stop)
    await until(lambda: has_ended(answer))
    assert await taken(answer) == replace(LAST, text="abkraj")


async def test_answers_share_a_connection_and_stay_apart(
    inbox: Inbox, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    connect = asyncio.open_connection

    async def counted(host: str, port: int, **_: object) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        opened.append(port)
        return await connect(host, port)

    monkeypatch.setattr(asyncio, "open_connection", counted)
    answers = [await inbox.open() for _ in range(20)]
    streams = [Stream(TextDelta(f"{number}" * 5_000), replace(LAST, text="!")) for number in range(20)]
    sending = [
        asyncio.create_task(outbox.send(stream.deltas(), answer.address, stream.stop))
        for stream, answer in zip(streams, answers, strict=True)
    ]
    for stream in streams:
        stream.release(2)
    await asyncio.gather(*sending)
    await until(lambda: all(map(has_ended, answers)))
    texts = [(await taken(answer)).text for answer in answers]
    assert texts == [f"{number}" * 5_000 + "!" for number in range(20)]
    assert len(opened) == 1


async def test_an_answer_that_is_closed_takes_nothing_more_and_harms_no_other(inbox: Inbox, outbox: Outbox) -> None:
    gone, answer = await inbox.open(), await inbox.open()
    first, second = Stream(TextDelta("a"), LAST), Stream(LAST)
    sending = asyncio.create_task(outbox.send(first.deltas(), gone.address, first.stop))
    first.release(1)
    assert (await taken(gone)).text == "a"
    gone.close()
    first.release(1)
    await sending
    second.release(1)
    await outbox.send(second.deltas(), answer.address, second.stop)
    assert await taken(answer) == LAST


async def test_the_replica_of_an_answer_that_is_no_longer_read_is_told_at_once(inbox: Inbox, outbox: Outbox) -> None:
    gone, finished, read = [await inbox.open() for _ in range(3)]
    streams = {answer: Stream(TextDelta("a"), LAST) for answer in (gone, finished, read)}
    sending = [
        asyncio.create_task(outbox.send(stream.deltas(), answer.address, stream.stop))
        for answer, stream in streams.items()
    ]
    for answer, stream in streams.items():
        stream.release(1)
        assert (await taken(answer)).text == "a"
    gone.close(finished=False)
    finished.close()
    async with asyncio.timeout(60):
        await streams[gone].stopped.wait()
    await until_tickets_are_read(inbox, outbox)
    assert not streams[read].stopped.is_set()
    assert not streams[finished].stopped.is_set()
    for stream in streams.values():
        stream.release(1)
    await asyncio.gather(*sending)
    assert await taken(read) == LAST


async def test_a_replica_that_sends_the_first_delta_of_a_closed_answer_is_told(inbox: Inbox, outbox: Outbox) -> None:
    answer = await inbox.open()
    answer.close(finished=False)
    stream = Stream(TextDelta("a"), LAST)
    sending = asyncio.create_task(outbox.send(stream.deltas(), answer.address, stream.stop))
    await until_tickets_are_read(inbox, outbox)
    assert not stream.stopped.is_set()
    stream.release(1)
    async with asyncio.timeout(60):
        await stream.stopped.wait()
    stream.release(1)
    await sending


async def test_an_engine_that_cannot_stop_one_answer_still_stops_others(inbox: Inbox, outbox: Outbox) -> None:
    async def broken() -> None:
        raise StageUnavailable("dead")

    first, second = await inbox.open(), await inbox.open()
    stream, other = Stream(TextDelta("a"), LAST), Stream(TextDelta("a"), LAST)
    sending = [
        asyncio.create_task(outbox.send(stream.deltas(), first.address, broken)),
        asyncio.create_task(outbox.send(other.deltas(), second.address, other.stop)),
    ]
    for answer, source in ((first, stream), (second, other)):
        source.release(2)
        await taken(answer)
        answer.close(finished=False)
    await asyncio.gather(*sending)
    again = await inbox.open()
    last = Stream(TextDelta("a"), LAST)
    sending = [asyncio.create_task(outbox.send(last.deltas(), again.address, last.stop))]
    last.release(1)
    await taken(again)
    again.close(finished=False)
    async with asyncio.timeout(60):
        await last.stopped.wait()
    last.release(1)
    await asyncio.gather(*sending)


async def test_a_failure_is_raised_after_what_came_before_it(inbox: Inbox) -> None:
    answer = await inbox.open()
    answer.put(TextDelta("a"))
    answer.fail(StageUnavailable("gone"))
    assert await taken(answer) == TextDelta("a")
    with pytest.raises(StageUnavailable, match="gone"):
        await taken(answer)


@pytest.mark.parametrize("sent", [b"x" * 28, b"\xff" * 28, b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"])
async def test_a_connection_without_a_genuine_ticket_is_closed(inbox: Inbox, sent: bytes) -> None:
    answer = await inbox.open()
    reader, writer = await asyncio.open_connection(HOST, answer.address.port)
    writer.write(sent)
    async with asyncio.timeout(60):
        assert await reader.read() == b""
    writer.close()


async def test_a_delta_that_is_too_large_ends_the_connection(inbox: Inbox) -> None:
    answer = await inbox.open()
    reader, writer = await asyncio.open_connection(HOST, answer.address.port)
    writer.write((channel.MAX_DELTA_BYTES + 1).to_bytes(4, "big") + answer.address.ticket)
    async with asyncio.timeout(60):
        assert await reader.read() == b""
    writer.close()


async def test_a_frame_may_come_in_any_parts(inbox: Inbox) -> None:
    answer = await inbox.open()
    _, writer = await asyncio.open_connection(HOST, answer.address.port)
    for byte in channel._frame(answer.address.ticket, LAST):
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0)
    assert await taken(answer) == LAST
    writer.close()


async def test_an_ingress_that_cannot_be_reached_is_named_and_the_engine_stopped(inbox: Inbox, outbox: Outbox) -> None:
    answer = await inbox.open()
    inbox.close()
    stream = Stream(LAST)
    stream.release(1)
    with pytest.raises(StageUnavailable, match=f"cannot send to the ingress.*{HOST}:{answer.address.port}") as told:
        await outbox.send(stream.deltas(), answer.address, stream.stop)
    assert HOST not in told.value.message


async def test_an_ingress_that_is_gone_stops_the_engine_and_the_next_is_connected_to(
    inbox: Inbox, outbox: Outbox
) -> None:
    answer = await inbox.open()
    stream = Stream(*[TextDelta("a")] * 1_000)
    sending = asyncio.create_task(outbox.send(stream.deltas(), answer.address, stream.stop))
    stream.release(1)
    await taken(answer)
    (((_, writer),),) = [outbox._connections.values()]
    writer.transport.abort()
    await until(writer.is_closing)
    stream.release(1_000)
    with pytest.raises(StageUnavailable):
        await sending
    assert stream.closed
    next_answer, again = await inbox.open(), Stream(LAST)
    again.release(1)
    await outbox.send(again.deltas(), next_answer.address, again.stop)
    assert (await taken(next_answer)) == LAST


async def test_an_answer_whose_reader_left_first_leaves_the_connection_to_the_next(
    inbox: Inbox, outbox: Outbox
) -> None:
    gone, answer = await inbox.open(), await inbox.open()
    gone.close()
    for destination in (gone, answer):
        stream = Stream(LAST)
        stream.release(1)
        await outbox.send(stream.deltas(), destination.address, stream.stop)
    assert await taken(answer) == LAST


async def test_an_ingress_that_ended_is_connected_to_anew(inbox: Inbox, outbox: Outbox) -> None:
    first = await inbox.open()
    for answer in (first, await inbox.open()):
        stream = Stream(LAST)
        stream.release(1)
        await outbox.send(stream.deltas(), answer.address, stream.stop)
        assert await taken(answer) == LAST
        for connection in inbox._connections:
            connection.close()
        await until(lambda: all(channel._has_ended(*ends) for ends in outbox._connections.values()))
    assert len(outbox._connections) == 1


async def test_an_ingress_that_does_not_answer_holds_up_no_other(
    inbox: Inbox, outbox: Outbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    connect, attempts = asyncio.open_connection, list[str]()

    async def dead_host_hangs(host: str, port: int, **_: object) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        attempts.append(host)
        if host == HOST:
            return await connect(host, port)
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(asyncio, "open_connection", dead_host_hangs)
    monkeypatch.setattr(channel, "CONNECT_S", 10.0)
    answer, stream, dead = await inbox.open(), Stream(LAST), Stream(LAST)
    unreachable = [replace((await inbox.open()).address, host="dead") for _ in range(4)]
    hung = [asyncio.create_task(outbox.send(dead.deltas(), address, dead.stop)) for address in unreachable]
    await until(lambda: "dead" in attempts)
    stream.release(1)
    await outbox.send(stream.deltas(), answer.address, stream.stop)
    assert await taken(answer) == LAST
    assert not any(task.done() for task in hung)
    hung[0].cancel()  # it began the attempt, which goes on for the others
    failed = await asyncio.gather(*hung[1:], return_exceptions=True)
    assert [type(error) for error in failed] == [StageUnavailable] * 3
    assert attempts == ["dead", HOST]
    assert not outbox._attempts


async def test_an_ingress_that_takes_nothing_is_given_up(outbox: Outbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "LOST_AFTER_S", 1)
    held = list[asyncio.StreamWriter]()

    async def never_read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        held.append(writer)
        writer.transport.pause_reading()  # type: ignore[attr-defined]

    async with await asyncio.start_server(never_read, HOST) as server:
        address = Address(HOST, server.sockets[0].getsockname()[1], b"t" * channel.TICKET_BYTES)
        stream = Stream(*[TextDelta("a" * 2**19)] * 100)
        stream.release(100)
        async with asyncio.timeout(30):
            with pytest.raises(StageUnavailable, match="cannot send to the ingress"):
                await outbox.send(stream.deltas(), address, stream.stop)
        for writer in held:
            writer.transport.abort()
    assert stream.closed


async def test_both_ends_notice_that_the_other_s_node_is_gone(inbox: Inbox, outbox: Outbox) -> None:
    answer, stream = await inbox.open(), Stream(LAST)
    stream.release(1)
    await outbox.send(stream.deltas(), answer.address, stream.stop)
    await taken(answer)
    (((_, writer),), (accepted,)) = [*outbox._connections.values()], [*inbox._connections]
    for transport in (writer.transport, accepted):
        end = transport.get_extra_info("socket")
        assert end.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert end.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 1000 * peers.LOST_AFTER_S
        idle, every, probes = (
            end.getsockopt(socket.IPPROTO_TCP, option)
            for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        )
        assert idle + every * probes == peers.LOST_AFTER_S


async def test_an_answer_fails_at_once_when_its_connection_ends(inbox: Inbox, outbox: Outbox) -> None:
    cut, unsent = await inbox.open(), await inbox.open()
    stream = Stream(TextDelta("a"), LAST)
    sending = asyncio.create_task(outbox.send(stream.deltas(), cut.address, stream.stop))
    stream.release(1)
    await taken(cut)
    waiting = asyncio.create_task(unsent.take())  # it may still come by another connection
    (((_, writer),),) = [outbox._connections.values()]
    writer.transport.abort()
    with pytest.raises(StageUnavailable, match="lost its connection"):
        await taken(cut)
    assert not waiting.done()
    waiting.cancel()
    stream.release(1)
    with pytest.raises(StageUnavailable):
        await sending


async def test_an_ingress_listens_at_the_first_free_port_of_its_range(outbox: Outbox) -> None:
    (first, second) = sorted(free_ports(2))
    inboxes = [Inbox(HOST, (first, second)) for _ in range(3)]
    for inbox, port in zip(inboxes, (first, second), strict=False):
        answer, stream = await inbox.open(), Stream(LAST)
        assert answer.address.port == port
        stream.release(1)
        await outbox.send(stream.deltas(), answer.address, stream.stop)
        assert await taken(answer) == LAST
    with pytest.raises(StageUnavailable, match=rf"no port is free.*api\.answer_ports.*{first} to {second}: .*in use"):
        await inboxes[2].open()
    for inbox in inboxes:
        inbox.close()
    await until(lambda: not any(inbox._connections for inbox in inboxes))


@pytest.fixture
def authority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> trustme.CA:
    """Ray's authority, and this node's certificate for its address."""
    authority = trustme.CA()
    use_certificate(authority, HOST, tmp_path, monkeypatch)
    monkeypatch.setenv("RAY_USE_TLS", "1")
    return authority


def use_certificate(authority: trustme.CA, name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    certificate = authority.issue_cert(name)
    certificate.private_key_pem.write_to_path(str(folder / "key"))
    certificate.cert_chain_pems[0].write_to_path(str(folder / "cert"))
    authority.cert_pem.write_to_path(str(folder / "ca"))
    for variable, file in (("SERVER_CERT", "cert"), ("SERVER_KEY", "key"), ("CA_CERT", "ca")):
        monkeypatch.setenv(f"RAY_TLS_{variable}", str(folder / file))


async def test_answers_are_encrypted_where_ray_is(authority: trustme.CA, inbox: Inbox, outbox: Outbox) -> None:
    answer, stream = await inbox.open(), Stream(TextDelta("čšž"), LAST)
    stream.release(2)
    await outbox.send(stream.deltas(), answer.address, stream.stop)
    await until(lambda: has_ended(answer))
    assert (await taken(answer)).text == "čšžkraj"
    (((_, writer),),) = [outbox._connections.values()]
    assert writer.get_extra_info("cipher")
    # In plain text nothing is taken, not even a genuine ticket.
    plain = await inbox.open()
    reader, plain_writer = await asyncio.open_connection(HOST, plain.address.port)
    plain_writer.write(channel._frame(plain.address.ticket, LAST))
    async with asyncio.timeout(60):
        with suppress(ConnectionError):
            await reader.read()
    plain_writer.close()
    assert not has_ended(plain)


@pytest.mark.parametrize("stranger", ["authority", "address"])
async def test_a_peer_of_another_authority_or_address_is_refused(
    authority: trustme.CA,
    inbox: Inbox,
    outbox: Outbox,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    stranger: str,
) -> None:
    if stranger == "address":
        use_certificate(authority, "10.1.2.3", tmp_path, monkeypatch)
    answer, stream = await inbox.open(), Stream(LAST)
    if stranger == "authority":  # of the replica's own
        use_certificate(trustme.CA(), HOST, tmp_path, monkeypatch)
    stream.release(1)
    with pytest.raises(StageUnavailable, match="cannot send to the ingress"):
        await outbox.send(stream.deltas(), answer.address, stream.stop)
    assert not has_ended(answer)


async def test_tls_that_is_not_set_up_is_named(
    authority: trustme.CA, inbox: Inbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("RAY_TLS_SERVER_KEY")
    with pytest.raises(StageUnavailable, match="RAY_USE_TLS needs 'RAY_TLS_SERVER_KEY'"):
        await inbox.open()
    monkeypatch.setenv("RAY_TLS_SERVER_KEY", "/nowhere")
    with pytest.raises(StageUnavailable, match=r"RAY_TLS_\*: .*No such file"):
        await inbox.open()
