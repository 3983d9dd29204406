from __future__ import annotations

import json
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from rag.bridge import http_proxy
from tests.support.bridge import WAIT_S, Bridge, bridge, until


@contextmanager
def proxy(folder: Path, *arguments: str, **options: Any) -> Iterator[tuple[Bridge, Path, httpx.Client]]:
    path = folder / "s"
    with bridge(folder, "--listen-http", str(path), *arguments, **options) as process:
        until(path.exists)
        transport = httpx.HTTPTransport(uds=str(path))
        with httpx.Client(transport=transport, base_url="http://local", timeout=WAIT_S) as client:
            yield process, path, client


def raw(path: Path, data: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(WAIT_S)
        client.connect(str(path))
        client.sendall(data)
        answer = bytearray()
        while chunk := client.recv(65536):
            answer += chunk
        return bytes(answer)


def test_a_request_goes_through_as_it_is(upstream: Any, tmp_path: Path) -> None:
    with proxy(tmp_path, "--url", upstream.url) as (_, path, client):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        sent = {
            "X-Tenant-ID": "acme",
            "X-Hop": "1",
            "Connection": "keep-alive, x-hop",
            "TE": "trailers",
            "Accept": "a/b",
        }
        answer = client.request("PUT", "/v1/a%2Fb/%C4%8D?x=1&x=%20", content=b"body", headers=sent)
        told = answer.json()
        assert (answer.status_code, told["method"], told["target"]) == (207, "PUT", "/v1/a%2Fb/%C4%8D?x=1&x=%20")
        assert told["body"] == 4
        headers = dict(told["headers"])
        assert headers["authorization"] == "Bearer secret"
        assert (headers["x-tenant-id"], headers["accept"], headers["content-length"]) == ("acme", "a/b", "4")
        assert headers["host"] == upstream.url.removeprefix("http://")
        assert not headers.keys() & {"x-hop", "te", "connection", "transfer-encoding"}
        assert answer.headers.get_list("set-cookie") == ["a=1", "b=2"]
        assert "x-hop" not in answer.headers
        assert len(answer.headers.get_list("date")) == 1
        again = dict(client.get("/", headers={"Authorization": "Bearer mine", "Cookie": "c=3"}).json()["headers"])
        assert (again["authorization"], again["cookie"]) == ("Bearer mine", "c=3")
        with httpx.Client(transport=httpx.HTTPTransport(uds=str(path))) as other:
            assert "cookie" not in dict(other.get("http://x/").json()["headers"])
        assert client.head("/x").status_code == 207
        assert client.options("/x").json()["method"] == "OPTIONS"


def test_bodies_are_streamed_both_ways(upstream: Any, tmp_path: Path) -> None:
    def parts() -> Iterator[bytes]:
        for _ in range(50):
            yield b"x" * 100_000

    with proxy(tmp_path, "--url", upstream.url) as (_, _, client):
        told = client.post("/upload", content=parts()).json()
        assert told["body"] == 5_000_000
        assert dict(told["headers"])["transfer-encoding"] == "chunked"
        assert client.post("/upload", content=b"y" * 5_000_000).json()["body"] == 5_000_000
        echo = {"id": "1", "command": "echo", "params": {"text": "č" * 2_000_000}}
        assert client.post("/v1/commands", json=echo).json()["data"] == echo["params"]
        assert client.post("/empty", content=b"").json()["body"] == 0
        assert client.get("/nothing").status_code == 204


def test_a_body_with_two_lengths_is_as_long_as_its_chunks_say(upstream: Any, tmp_path: Path) -> None:
    lengths = b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n"
    head = b"POST /upload HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + lengths + b"\r\n"
    with proxy(tmp_path, "--url", upstream.url) as (_, path, _):
        told = json.loads(raw(path, head + b"5\r\nhello\r\n0\r\n\r\n").partition(b"\r\n\r\n")[2])
        assert told["body"] == 5
        assert "content-length" not in dict(told["headers"])


def test_events_come_one_by_one_and_a_client_who_leaves_is_noticed(upstream: Any, tmp_path: Path) -> None:
    with proxy(tmp_path, "--url", upstream.url) as (_, _, client):
        with client.stream("GET", "/drip") as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            parts = answer.iter_raw()
            assert next(parts) == b"id: 1\nevent: chunk\ndata: {}\n\n"
            assert upstream.commands.closed == []
        until(lambda: upstream.commands.closed == ["/drip"])


@pytest.mark.parametrize("body", ["", "x" * 100])
def test_a_client_who_leaves_before_anything_is_answered_is_noticed(upstream: Any, tmp_path: Path, body: str) -> None:
    with proxy(tmp_path, "--url", upstream.url) as (_, path, _):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            client.sendall(f"GET /hang HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
            until(lambda: upstream.commands.started == ["/hang"])
        until(lambda: upstream.commands.closed == ["/hang"])


def test_a_client_who_leaves_in_the_middle_of_its_body_is_noticed(upstream: Any, tmp_path: Path) -> None:
    with proxy(tmp_path, "--url", upstream.url, "--max-in-flight", "1") as (process, path, client):
        with socket.socket(socket.AF_UNIX) as leaving:
            leaving.connect(str(path))
            leaving.sendall(b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nhalf")
            until(lambda: client.get("/x").status_code == 503)
        until(lambda: client.get("/x").status_code == 207)
        assert process.log() == ""


def test_an_answer_that_breaks_off_is_not_made_whole(upstream: Any, tmp_path: Path) -> None:
    with proxy(tmp_path, "--url", upstream.url) as (process, _, client):
        with pytest.raises(httpx.RemoteProtocolError):
            client.get("/broken")
        assert "broke off" in process.log()
        assert client.get("/x").status_code == 207


def test_without_a_service_it_is_unavailable_in_the_service_s_own_words(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with proxy(tmp_path, "--url", url) as (_, _, client):
        for answer in (
            client.get("/v1/jobs", headers={"X-Request-ID": "r7"}),
            client.post("/v1/query", content=b"x" * 1_000_000, headers={"X-Request-ID": "r7"}),
        ):
            assert (answer.status_code, answer.headers["retry-after"]) == (503, str(http_proxy.RETRY_AFTER_S))
            assert answer.headers["content-type"] == "application/problem+json"
            told = answer.json()
            assert url in told.pop("detail")
            assert told == {
                "type": "http://local/errors/unreachable", "title": "Temporarily unavailable", "status": 503,
                "code": "unreachable", "retryable": True, "request_id": "r7",
            }  # fmt: skip


def test_a_service_that_starts_later_is_found(upstream: Any, tmp_path: Path) -> None:
    with proxy(tmp_path, "--data-dir", str(tmp_path)) as (_, _, client):
        assert client.get("/x").json()["code"] == "unreachable"
        service = {"url": upstream.url, "key_file": None, "pid": os.getpid(), "ray_folder": "x"}
        (tmp_path / "service.json").write_text(json.dumps(service))
        assert client.get("/x").status_code == 207


def test_requests_in_flight_are_bounded(upstream: Any, tmp_path: Path) -> None:
    with proxy(tmp_path, "--url", upstream.url, "--max-in-flight", "1") as (_, _, client):
        with client.stream("GET", "/drip") as answer:
            parts = answer.iter_raw()
            next(parts)
            refused = client.get("/x")
            assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
            assert refused.headers["retry-after"] == str(http_proxy.RETRY_AFTER_S)
        until(lambda: client.get("/x").status_code == 207)


def test_a_target_that_is_no_path(upstream: Any, tmp_path: Path) -> None:
    with proxy(tmp_path, "--url", upstream.url) as (process, path, _):
        answer = raw(path, b"OPTIONS * HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b'"code":"bad_request"' in answer
        assert process.log() == ""


@pytest.mark.parametrize("end", ["input", "signal"])
def test_it_stops_soon_whatever_is_in_flight(upstream: Any, tmp_path: Path, end: str) -> None:
    with proxy(tmp_path, "--url", upstream.url) as (process, path, client), client.stream("GET", "/drip") as answer:
        parts = answer.iter_raw()
        next(parts)
        if end == "input":
            process.end_input()
        else:
            process.process.terminate()
        assert process.wait() == 0
        assert not path.exists()
        assert process.rest() == b""
    until(lambda: upstream.commands.closed == ["/drip"])
