"""`rag bridge`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated, Literal

import typer

from rag.cli.errors import CliError
from rag.cli.service import DATA_DIR, Address, DataDir, Key, Url, locate

MAX_FRAME_BYTES = 64 * 1024 * 1024
MAX_IN_FLIGHT = 256
LEAST_FRAME_BYTES = 8192
"""Every error of the bridge's own fits in it."""

Framing = Annotated[
    Literal["frames", "lines"],
    typer.Option(help="frames: 4 bytes of big-endian length and JSON, Erlang's `packet: 4`. lines: a JSON a line."),
]
Socket = Annotated[Path | None, typer.Option(help="Take commands on this Unix socket instead of standard input.")]
ListenHttp = Annotated[Path | None, typer.Option(help="Serve the service's own HTTP on this Unix socket instead.")]
MaxFrameBytes = Annotated[
    int, typer.Option(min=LEAST_FRAME_BYTES, max=2**31 - 1, help="Bytes of the longest frame, either way.")
]
MaxInFlight = Annotated[int, typer.Option(min=1, help="Requests at once, over all connections.")]


def bridge(
    framing: Framing = "frames",
    socket: Socket = None,
    listen_http: ListenHttp = None,
    max_frame_bytes: MaxFrameBytes = MAX_FRAME_BYTES,
    max_in_flight: MaxInFlight = MAX_IN_FLIGHT,
    url: Url = None,
    key: Key = None,
    data_dir: DataDir = DATA_DIR,
) -> None:
    """Take commands from a parent process, such as an Erlang port, and forward them. Also: rag --mode service."""
    parent = os.getppid()  # first of all: from here on its death is seen
    if socket and listen_http:
        raise CliError("--socket and --listen-http exclude each other; start a bridge for each")
    fixed = Address(url, key) if url is not None else None  # a wrong one is told now, not with each command

    from rag.bridge.streams import take_over

    streams = take_over()  # before anything is imported that might print

    import asyncio

    from rag.bridge.run import Options, run
    from rag.bridge.sockets import CannotListen
    from rag.bridge.upstream import Unreachable

    async def find() -> Address:
        if fixed is not None:
            return fixed
        try:
            return await asyncio.to_thread(locate, None, key, data_dir)
        except CliError as error:
            raise Unreachable(str(error)) from None

    try:
        run(find, streams, parent, Options(framing, socket, listen_http, max_frame_bytes, max_in_flight))
    except CannotListen as error:
        raise CliError(str(error)) from None
