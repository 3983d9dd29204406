from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any, Protocol

import httpx
import pytest
from typer.testing import CliRunner, Result

from rag.cli.main import app

Answer = httpx.Response | Callable[[httpx.Request], httpx.Response]
URL = "http://service.test"


class ScriptedService:
    """Answers what a test says, and remembers what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[tuple[str, str], Answer] = {}
        self.requests: list[httpx.Request] = []

    def __setitem__(self, route: str, answer: Answer) -> None:
        method, path = route.split()
        self.answers[method, path] = answer

    def handle(self, request: httpx.Request) -> httpx.Response:
        request.read()
        self.requests.append(request)
        answer = self.answers[request.method, request.url.path]
        return answer(request) if callable(answer) else answer

    def bodies(self) -> list[Any]:
        return [json.loads(request.content) for request in self.requests if request.content]


class Rag(Protocol):
    def __call__(self, *arguments: str, url: str | None = URL) -> Result: ...


class _Stream(httpx.SyncByteStream):
    def __init__(self, parts: Iterator[bytes]) -> None:
        self._parts = parts

    def __iter__(self) -> Iterator[bytes]:
        return self._parts


def sse(*messages: dict[str, Any] | bytes | BaseException, query_id: str = "q1") -> httpx.Response:
    """A stream of messages; bytes go as they are, an exception is raised in their place."""

    def parts() -> Iterator[bytes]:
        for number, message in enumerate(messages, 1):
            if isinstance(message, BaseException):
                raise message
            if isinstance(message, bytes):
                yield message
            else:
                data = json.dumps(message, ensure_ascii=False)
                yield f"id: {number}\nevent: {message['type']}\ndata: {data}\n\n".encode()

    headers = {"content-type": "text/event-stream", "X-Query-ID": query_id}
    return httpx.Response(200, headers=headers, stream=_Stream(parts()))


def problem(status: int, title: str, detail: str, **headers: str) -> httpx.Response:
    body = {"title": title, "detail": detail, "status": status, "code": "x", "retryable": status == 503}
    return httpx.Response(status, json=body, headers=headers)


@pytest.fixture(name="sse")
def _sse() -> Callable[..., httpx.Response]:
    return sse


@pytest.fixture(name="problem")
def _problem() -> Callable[..., httpx.Response]:
    return problem


@pytest.fixture(name="service")
def _service() -> ScriptedService:
    return ScriptedService()


@pytest.fixture(name="rag")
def _rag(service: ScriptedService, monkeypatch: pytest.MonkeyPatch) -> Rag:
    """Run a command against the scripted service."""
    monkeypatch.delenv("RAG_API_KEY", raising=False)
    monkeypatch.setenv("COLUMNS", "160")

    def run(*arguments: str, url: str | None = URL) -> Result:
        to = ["--url", url] if url else []
        transport = httpx.MockTransport(service.handle)
        return CliRunner().invoke(app, [*arguments, *to], obj=transport)

    return run


@pytest.fixture(name="waits")
def _waits(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds that the commands would have slept."""
    slept: list[float] = []
    monkeypatch.setattr("time.sleep", slept.append)
    return slept
