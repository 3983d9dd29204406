"""`rag bridge` as a process, and small services for it to forward to."""

from __future__ import annotations

import asyncio
import json
import os
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route
from starlette.types import ASGIApp

RAG = str(Path(sys.executable).with_name("rag"))
WAIT_S = 60


def until(true: Callable[[], bool], within_s: float = WAIT_S) -> None:
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.01)


def has_ended(pid: int) -> bool:
    """Also where nobody has asked yet how."""
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True


@contextmanager
def served(app: ASGIApp) -> Iterator[str]:
    """An application on a port of its own, in a thread; its address."""
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None, timeout_graceful_shutdown=1))
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        until(lambda: server.started)
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


@dataclass
class Commands:
    """POST /v1/commands as a test's command asks for; `closed` are the ids whose reader went away before the end."""

    started: list[str] = field(default_factory=list)
    closed: list[str] = field(default_factory=list)
    headers: dict[str, Mapping[str, str]] = field(default_factory=dict)
    chunks: int = 0
    answering: int = 0
    most_at_once: int = 0

    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/v1/commands", self.command, methods=["POST"]),
                Route("/nothing", self.nothing),
                Route("/hang", self.hang),
                Route("/drip", self.drip),
                Route("/broken", self.broken),
                Route("/{path:path}", self.mirror, methods=["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"]),
            ]
        )

    async def command(self, request: Request) -> Response:
        asked = await request.json()
        id, params = asked["id"], asked["params"]
        self.headers[id] = dict(request.headers)
        if asked["command"] == "refuse":
            problem = {"detail": "no", "code": "overloaded", "retryable": True, "request_id": "r1"}
            return JSONResponse(problem, 503, {"Retry-After": "2"}, media_type="application/problem+json")
        if asked["command"] == "echo":
            return Response(line(type="result", query_id=id, data=params, id=id), media_type="application/x-ndjson")
        return StreamingResponse(self._lines(id, asked["command"], params), media_type="application/x-ndjson")

    async def _lines(self, id: str, command: str, params: Mapping[str, Any]) -> AsyncIterator[bytes]:
        self.started.append(id)
        self.answering += 1
        self.most_at_once = max(self.most_at_once, self.answering)
        ended = False
        try:
            while self.most_at_once < params.get("together", 0):  # noqa: ASYNC110 - there is no event to wait for
                await asyncio.sleep(0.01)
            yield line(type="sources", query_id="q", sources=[], id=id)
            for number in range(params.get("chunks", 0)):
                await asyncio.sleep(params.get("gap", 0))
                self.chunks += 1
                yield line(type="chunk", query_id="q", content=f"{number}" + "č" * params.get("pad", 0), id=id)
            if command == "hang":
                await asyncio.sleep(3600)
            if command == "stream":
                yield line(type="complete", query_id="q", id=id)
            ended = True
        finally:
            self.answering -= 1
            if not ended:
                self.closed.append(id)

    def chunks_once_it_stands(self) -> int:
        """How many chunks were sent by the time that no more are: none within a second.

        On a slow machine it may be fewer.
        """
        sent = -1
        while sent < self.chunks:
            sent = self.chunks
            time.sleep(1)
        return sent

    async def mirror(self, request: Request) -> Response:
        """What came: for the proxy's tests."""
        body = b"".join([chunk async for chunk in request.stream()])
        told = {
            "method": request.method,
            "target": f"{request.scope['raw_path'].decode()}?{request.scope['query_string'].decode()}",
            "headers": [[name.decode(), value.decode()] for name, value in request.scope["headers"]],
            "body": len(body),
        }
        answer = JSONResponse(told, 207)
        answer.raw_headers += [
            (b"set-cookie", b"a=1"),
            (b"set-cookie", b"b=2"),
            (b"x-hop", b"1"),
            (b"connection", b"x-hop"),
        ]
        return answer

    async def nothing(self, request: Request) -> Response:
        return Response(status_code=204)

    async def hang(self, request: Request) -> Response:
        """Nothing at all, not even the head of an answer, until the caller goes."""
        self.started.append("/hang")
        while not await request.is_disconnected():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.01)
        self.closed.append("/hang")
        return Response()

    async def drip(self, request: Request) -> Response:
        """An event, and nothing more until the caller goes."""

        async def events() -> AsyncIterator[bytes]:
            try:
                yield b"id: 1\nevent: chunk\ndata: {}\n\n"
                await asyncio.sleep(3600)
            finally:
                self.closed.append("/drip")

        return StreamingResponse(events(), media_type="text/event-stream")

    async def broken(self, request: Request) -> Response:
        """An answer that is shorter than it says."""

        async def parts() -> AsyncIterator[bytes]:
            yield b"half"
            raise ConnectionAbortedError

        return StreamingResponse(parts(), headers={"Content-Length": "100"})


def line(**message: Any) -> bytes:
    return json.dumps(message, ensure_ascii=False).encode() + b"\n"


@dataclass
class Bridge:
    """`--framing frames` over pipes; a test's end is the parent's."""

    process: subprocess.Popen[bytes]
    errors: Path

    def send(self, id: object, command: str, /, **params: Any) -> None:
        self.write({"id": id, "command": command, "params": params})

    def write(self, message: object) -> None:
        self.write_frame(message if isinstance(message, bytes) else json.dumps(message, ensure_ascii=False).encode())

    def write_frame(self, body: bytes) -> None:
        self.write_raw(len(body).to_bytes(4, "big") + body)

    def write_raw(self, data: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(data)
        self.process.stdin.flush()

    def read(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self._exactly(int.from_bytes(self._exactly(4), "big")))
        return message

    def read_answer(self) -> list[dict[str, Any]]:
        """The messages up to a terminal one."""
        messages = [self.read()]
        while messages[-1]["type"] not in ("result", "complete", "error"):
            messages.append(self.read())
        return messages

    def end_input(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()

    def wait(self, within_s: float = WAIT_S) -> int:
        return self.process.wait(within_s)

    def rest(self) -> bytes:
        assert self.process.stdout is not None
        return self.process.stdout.read()

    def is_stuck(self) -> bool:
        """The pipe to the parent is full. It has a number of places for writes, and short writes fill a place each, so
        its bytes do not tell."""
        assert self.process.stdout is not None
        other_end = os.open(f"/proc/self/fd/{self.process.stdout.fileno()}", os.O_WRONLY | os.O_NONBLOCK)
        try:
            return not select.select([], [other_end], [], 0)[1]
        finally:
            os.close(other_end)

    def log(self) -> str:
        return self.errors.read_text(errors="replace")

    def _exactly(self, count: int) -> bytes:
        assert self.process.stdout is not None
        data = bytearray()
        while len(data) < count:
            readable, _, _ = select.select([self.process.stdout], [], [], WAIT_S)
            assert readable, f"nothing came in time; stderr: {self.log()}"
            chunk = os.read(self.process.stdout.fileno(), count - len(data))
            assert chunk, f"the output ended; stderr: {self.log()}"
            data += chunk
        return bytes(data)


@contextmanager
def bridge(
    folder: Path, *arguments: str, command: tuple[str, ...] = (RAG, "bridge"), **options: Any
) -> Iterator[Bridge]:
    """Killed if the test leaves it running; its children, of which it has none, would fail the test."""
    errors = folder / "stderr"
    with errors.open("ab") as log:
        process = subprocess.Popen(
            [*command, *arguments],
            **{
                "stdin": subprocess.PIPE,
                "stdout": subprocess.PIPE,
                "stderr": log,
                "bufsize": 0,
                "env": {**os.environ, "RAG_API_KEY": "secret"},
                **options,
            },
        )
    try:
        yield Bridge(process, errors)
    finally:
        children = psutil.Process(process.pid).children() if process.poll() is None else []
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()
        assert children == []
