"""Runs the bridge process: standard streams, a Unix socket, or an HTTP proxy."""

from __future__ import annotations

import asyncio
import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rag.bridge import lifetime, stdio
from rag.bridge.forwarding import Forwarder
from rag.bridge.framing import FRAMES, LINES
from rag.bridge.session import Capacity, Output, Session, SessionLimits
from rag.bridge.streams import Streams
from rag.bridge.upstream import Locate, Upstream


@dataclass(frozen=True, slots=True)
class Options:
    """`socket` or `listen_http`, or neither for standard input and output."""

    framing: Literal["frames", "lines"]
    socket: Path | None
    listen_http: Path | None
    max_frame_bytes: int
    max_in_flight: int


def run(locate: Locate, streams: Streams, parent: int, options: Options) -> None:
    """`parent` is the process that this one must not outlive. Raises CannotListen."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="rag bridge: %(levelname)s %(message)s")
    asyncio.run(_run(locate, streams, parent, options))


async def _run(locate: Locate, streams: Streams, parent: int, options: Options) -> None:
    stop = lifetime.stop_signal()
    upstream = Upstream(locate, options.max_in_flight)
    capacity = Capacity(options.max_in_flight)
    forwarder = Forwarder(upstream, options.max_frame_bytes)
    framing = FRAMES if options.framing == "frames" else LINES

    def session(output: Output) -> Session:
        return Session(forwarder.answer, framing, output, SessionLimits(options.max_frame_bytes, capacity))

    try:
        if options.socket is None and options.listen_http is None:
            lifetime.watch_parent(parent, stdio.exit_without_reader)
            await stdio.serve(streams, session, stop)
            return
        lifetime.watch_input(streams.input, stop)
        if options.socket is not None:
            from rag.bridge import sockets

            with sockets.listening(options.socket) as listener:
                lifetime.watch_parent(parent, listener.exit_now)
                await sockets.serve(listener, session, stop)
        elif options.listen_http is not None:
            from rag.bridge import http_proxy, sockets

            with sockets.listening(options.listen_http) as listener:
                lifetime.watch_parent(parent, listener.exit_now)
                await http_proxy.serve(listener, http_proxy.Proxy(upstream, capacity), stop)
    finally:
        await upstream.close()
