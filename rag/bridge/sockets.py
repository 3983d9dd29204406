"""A session for each connection to a Unix socket."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from rag.bridge import lifetime
from rag.bridge.session import MAX_UNWRITTEN_BYTES, READ_BYTES, Output, ReaderGone, Session

MAX_CONNECTIONS = 64
HANG_UP_POLL_S = 0.1
_PROBE_S = 1


class CannotListen(Exception):
    """The path cannot be listened on."""


class Listener:
    """A listening socket that only this user may open."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        temporary = path.with_name(f".{os.getpid():x}")
        before = os.umask(0o177)
        try:
            self.socket.bind(str(temporary))
            self.socket.listen()
            temporary.replace(path)  # so that the path never exists without a listener
        except OSError:
            self.socket.close()
            temporary.unlink(missing_ok=True)
            raise
        finally:
            os.umask(before)
        self._file = _identity(path)

    def remove(self) -> None:
        """Remove the file, unless another process has replaced it."""
        with suppress(OSError):
            if _identity(self.path) == self._file:
                self.path.unlink()

    def exit_now(self) -> None:
        """Exit at once: the parent is gone."""
        self.remove()
        os._exit(1)


@contextmanager
def listening(path: Path) -> Iterator[Listener]:
    """Listen at `path`; the socket file of a killed process is replaced. Raises CannotListen."""
    try:
        _refuse_if_in_use(path)
        listener = Listener(path)
    except OSError as error:
        raise CannotListen(f"{path} cannot be listened on: {error.strerror or error}") from None
    try:
        yield listener
    finally:
        listener.remove()
        listener.socket.close()


async def serve(listener: Listener, session: Callable[[Output], Session], stop: asyncio.Event) -> None:
    """Serve connections until `stop` is set."""
    connections: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        talk = session(_StreamOutput(writer))
        if len(connections) >= MAX_CONNECTIONS:
            await talk.refuse("overloaded", f"{MAX_CONNECTIONS} connections are open; wait for one to end")
            writer.close()
            return
        connections.add(task)
        try:
            await _talk(talk, reader, writer)
        except asyncio.CancelledError:
            pass  # below; Python 3.11 would log it as an error
        finally:
            connections.discard(task)
            writer.transport.abort()

    server = await asyncio.start_unix_server(connected, sock=listener.socket)
    await stop.wait()
    server.close()
    for task in connections:
        task.cancel()
    if connections:
        await asyncio.wait(connections)


class _StreamOutput:
    def __init__(self, writer: asyncio.StreamWriter) -> None:
        writer.transport.set_write_buffer_limits(MAX_UNWRITTEN_BYTES)
        self._writer = writer
        self._lock = asyncio.Lock()

    async def send(self, frame: bytes) -> None:
        async with self._lock:
            try:
                await self._writer.drain()
            except OSError:
                raise ReaderGone from None
            self._writer.write(frame)


async def _talk(session: Session, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Run a session until the client has its answers, or is gone."""
    ended = asyncio.Event()
    with suppress(ReaderGone):
        if await lifetime.run_unless(session.run(_chunks(reader, ended)), _hung_up(writer, ended)):
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()


async def _chunks(reader: asyncio.StreamReader, ended: asyncio.Event) -> AsyncGenerator[bytes]:
    with suppress(OSError):
        while chunk := await reader.read(READ_BYTES):
            yield chunk
    ended.set()


async def _hung_up(writer: asyncio.StreamWriter, ended: asyncio.Event) -> None:
    """Wait until the client closes the connection. After the end of its input only polling shows that."""
    await ended.wait()
    descriptor = writer.get_extra_info("socket").fileno()
    while descriptor >= 0 and not lifetime.hung_up(descriptor):  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(HANG_UP_POLL_S)


def _refuse_if_in_use(path: Path) -> None:
    """Raises CannotListen unless the path is free or holds a socket without a listener; OSError."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_S)
        try:
            probe.connect(str(path))
        except FileNotFoundError:
            return
        except ConnectionRefusedError:
            if stat.S_ISSOCK(path.lstat().st_mode):
                return
            raise CannotListen(f"{path} exists and is not a socket; name another path") from None
        except TimeoutError:
            pass  # there is a listener, which is busy
    raise CannotListen(f"another process listens on {path}; stop that one, or name another path")


def _identity(path: Path) -> tuple[int, int]:
    found = path.lstat()
    return found.st_dev, found.st_ino
