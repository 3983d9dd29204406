from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rag.bridge import sockets
from rag.bridge.sockets import CannotListen, listening
from tests.support.bridge import RAG, WAIT_S, Bridge, bridge, has_ended, until


class Client:
    """`--framing lines` over a Unix socket."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(WAIT_S)
        self.socket.connect(str(path))
        self.file = self.socket.makefile("rb")

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def send(self, id: object, command: str, /, **params: Any) -> None:
        self.socket.sendall(json.dumps({"id": id, "command": command, "params": params}).encode() + b"\n")

    def read(self) -> dict[str, Any]:
        message: dict[str, Any] = json.loads(self.file.readline())
        return message

    def close(self) -> None:
        self.file.close()
        self.socket.close()


@contextmanager
def listener(folder: Path, *arguments: str, stdin: int = subprocess.PIPE) -> Iterator[tuple[Bridge, Path]]:
    path = folder / "s"
    with bridge(folder, "--socket", str(path), "--framing", "lines", *arguments, stdin=stdin) as process:
        until(path.exists)
        yield process, path


def test_only_its_user_may_open_it_and_its_file_goes_with_it(upstream: Any, tmp_path: Path) -> None:
    with listener(tmp_path, "--url", upstream.url) as (process, path):
        found = path.stat().st_mode
        assert (stat.S_ISSOCK(found), stat.S_IMODE(found)) == (True, 0o600)
        with Client(path) as client:
            client.send("a", "stream", chunks=1)
            assert [client.read()["type"] for _ in range(3)] == ["sources", "chunk", "complete"]
        process.process.terminate()
        assert process.wait() == 0
        assert not path.exists()
        assert (process.rest(), process.log()) == (b"", "")


def test_a_client_who_goes_takes_only_its_own_requests_along(upstream: Any, tmp_path: Path) -> None:
    with listener(tmp_path, "--url", upstream.url) as (_, path), Client(path) as other:
        gone = Client(path)
        for client, id in ((gone, "1"), (other, "1")):
            client.send(id, "hang")
            assert client.read()["id"] == "1"
        gone.send("2", "stream", chunks=100_000, pad=100)
        until(lambda: "2" in upstream.commands.started)
        gone.close()
        until(lambda: sorted(upstream.commands.closed) == ["1", "2"])
        other.send("c", "cancel", id="1")
        assert [other.read().get("code"), other.read()["data"]] == ["cancelled", {"id": "1", "state": "cancelled"}]


def test_a_slow_client_slows_the_service_down(upstream: Any, tmp_path: Path) -> None:
    with listener(tmp_path, "--url", upstream.url) as (_, path), Client(path) as client:
        client.send("a", "stream", chunks=400, pad=100_000)
        client.read()
        assert 0 < upstream.commands.chunks_once_it_stands() < 200  # 200 kB each


def test_a_client_who_only_ends_what_it_sends_gets_its_answers(upstream: Any, tmp_path: Path) -> None:
    with listener(tmp_path, "--url", upstream.url) as (_, path), Client(path) as client:
        client.send("a", "stream", chunks=3, gap=0.1)
        client.socket.shutdown(socket.SHUT_WR)
        assert len(client.file.readlines()) == 5
    assert upstream.commands.closed == []


def test_a_client_who_goes_after_it_ended_what_it_sends_is_noticed(upstream: Any, tmp_path: Path) -> None:
    with listener(tmp_path, "--url", upstream.url) as (_, path), Client(path) as client:
        client.send("a", "hang")
        client.socket.shutdown(socket.SHUT_WR)
        assert client.read()["id"] == "a"
        client.close()
        until(lambda: upstream.commands.closed == ["a"])


def test_places_are_shared_and_connections_bounded(upstream: Any, tmp_path: Path) -> None:
    with listener(tmp_path, "--url", upstream.url, "--max-in-flight", "1") as (_, path):
        clients = [Client(path) for _ in range(sockets.MAX_CONNECTIONS)]
        clients[0].send("a", "hang")
        assert clients[0].read()["id"] == "a"
        clients[-1].send("b", "echo")
        assert clients[-1].read()["code"] == "overloaded"
        with Client(path) as one_more:
            told = one_more.read()
            assert (told["id"], told["code"], told["retryable"]) == (None, "overloaded", True)
            assert one_more.file.read() == b""
        clients[0].close()
        until(lambda: upstream.commands.closed == ["a"])
        clients[-1].send("b", "echo")
        assert clients[-1].read()["type"] == "result"
        for client in clients:
            client.close()


@pytest.mark.parametrize("end", ["input", "signal"])
def test_whoever_is_connected_when_it_stops_is_told(upstream: Any, tmp_path: Path, end: str) -> None:
    with listener(tmp_path, "--url", upstream.url) as (process, path), Client(path) as client:
        client.send("a", "hang")
        client.read()
        if end == "input":
            process.end_input()
        else:
            process.process.terminate()
        assert client.read()["code"] == "cancelled"
        assert client.file.read() == b""
        assert process.wait() == 0
        assert not path.exists()


def test_input_that_nobody_holds_does_not_end_it(upstream: Any, tmp_path: Path) -> None:
    with listener(tmp_path, "--url", upstream.url, stdin=subprocess.DEVNULL) as (process, path), Client(path) as client:
        time.sleep(0.2)  # time in which it would end; a slow machine cannot fail here
        client.send("a", "echo")
        assert client.read()["type"] == "result"
        assert process.process.poll() is None


def test_it_does_not_outlive_its_parent_and_leaves_no_file(tmp_path: Path) -> None:
    path = tmp_path / "s"
    script = (
        "import subprocess, sys, time; child = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL); "
        "print(child.pid, flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", script, RAG, "bridge", "--url", "http://127.0.0.1:1", "--socket", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        until(path.exists)
        with Client(path):
            parent.kill()
            until(lambda: has_ended(child))
    assert not path.exists()


def test_what_a_killed_process_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with listener(tmp_path, "--url", "http://127.0.0.1:1") as (process, _):
        process.process.kill()
        process.wait()
    assert path.exists()
    with listening(path), Client(path):
        pass
    assert not path.exists()


def test_a_living_one_is_not_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with listening(path):
        refused = subprocess.run([RAG, "bridge", "--socket", str(path)], capture_output=True, text=True)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert refused.stderr == f"Error: another process listens on {path}; stop that one, or name another path\n"
        with Client(path):
            pass


def test_a_file_of_another_kind_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_text("mine")
    with pytest.raises(CannotListen, match="is not a socket"), listening(path):
        pass
    assert path.read_text() == "mine"


@pytest.mark.parametrize("path", ["missing/s", "x" * 200])
def test_a_path_that_cannot_be_one(tmp_path: Path, path: str) -> None:
    with pytest.raises(CannotListen, match="cannot be listened on"), listening(tmp_path / path):
        pass


def test_the_file_of_a_successor_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with listening(path) as first:
        os.unlink(path)
        with listening(path):
            first.remove()
            assert path.exists()


def test_the_two_sockets_exclude_each_other() -> None:
    refused = subprocess.run([RAG, "bridge", "--socket", "a", "--listen-http", "b"], capture_output=True, text=True)
    assert refused.returncode == 1
    assert "exclude each other" in refused.stderr
