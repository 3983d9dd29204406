"""The real process over pipes, as an Erlang port has it."""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from rag.bridge import lifetime
from rag.bridge.forwarding import FIXED_ID
from tests.support.bridge import RAG, bridge, has_ended, until

SPELLINGS = [
    (RAG, "bridge"),
    (RAG, "--mode", "service"),
    (RAG, "--mode=service"),
    (sys.executable, "-m", "serve_app", "--mode", "service"),
]


@pytest.mark.parametrize("command", SPELLINGS, ids=["bridge", "mode", "mode=", "module"])
def test_there_and_back(upstream: Any, tmp_path: Path, command: tuple[str, ...]) -> None:
    with bridge(tmp_path, "--url", upstream.url, command=command) as port:
        port.write({"id": 7, "command": "stream", "params": {"chunks": 2}, "deadline_ms": 9000, "request_id": "r"})
        told = port.read_answer()
        assert [message["type"] for message in told] == ["sources", "chunk", "chunk", "complete"]
        assert {message["id"] for message in told} == {7}
        assert upstream.commands.headers["7"].items() >= {
            "authorization": "Bearer secret", "x-deadline-ms": "9000", "x-request-id": "r",
        }.items()  # fmt: skip
        port.write({"id": "k7", "command": "echo", "idempotency_key": "k"})
        assert port.read()["id"] == "k7"
        assert upstream.commands.headers[FIXED_ID]["idempotency-key"] == "k"
        port.send("8", "refuse")
        assert port.read() == {
            "type": "error", "query_id": "8", "id": "8", "error": "no", "code": "overloaded", "retryable": True,
            "status": 503, "request_id": "r1", "retry_after": 2,
        }  # fmt: skip
        port.end_input()
        assert port.wait() == 0
        assert (port.rest(), port.log()) == (b"", "")


def test_a_hundred_requests_at_once(upstream: Any, tmp_path: Path) -> None:
    with bridge(tmp_path, "--url", upstream.url) as port:
        for id in range(100):
            port.send(id, "stream", chunks=10, together=100)
        told: dict[int, list[dict[str, Any]]] = {id: [] for id in range(100)}
        order = []
        while sum(messages[-1]["type"] == "complete" for messages in told.values() if messages) < 100:
            message = port.read()
            told[message["id"]].append(message)
            order.append(message["id"])
        for messages in told.values():
            assert [message.get("content") for message in messages] == [None, *map(str, range(10)), None]
        assert order != sorted(order)


def test_five_megabytes_each_way_in_pieces(upstream: Any, tmp_path: Path) -> None:
    text = "".join(random.Random(5).choices('abcčćžš \\"\n', k=2_500_000))
    body = json.dumps({"id": 1, "command": "echo", "params": {"text": text}}, ensure_ascii=False).encode()
    frame = len(body).to_bytes(4, "big") + body
    with bridge(tmp_path, "--url", upstream.url) as port:

        def write() -> None:
            for at in range(0, len(frame), 99_991):
                port.write_raw(frame[at : at + 99_991])

        writing = threading.Thread(target=write)
        writing.start()
        [told] = port.read_answer()
        writing.join()
    assert told["data"] == {"text": text}


def test_what_is_no_request_does_not_end_the_session(upstream: Any, tmp_path: Path) -> None:
    with bridge(tmp_path, "--url", upstream.url, "--max-frame-bytes", "8192") as port:
        port.write(b"{half")
        port.write(b"")
        port.write({"id": 5, "command": "echo", "wrong": 1})
        port.write(b"x" * 3_000_000)
        port.send("ok", "echo")
        told = [port.read() for _ in range(5)]
        assert [(message["id"], message.get("code")) for message in told] == [
            (None, "bad_frame"), (None, "bad_frame"), (5, "bad_frame"), (None, "frame_too_large"), ("ok", None),
        ]  # fmt: skip
        port.send("big", "stream", chunks=1, pad=8192)
        assert [message.get("code") for message in port.read_answer()] == [None, "frame_too_large"]
        until(lambda: "big" in upstream.commands.closed or not upstream.commands.answering)
        port.write_raw(b"\0\0\1\0half")
        port.end_input()
        assert port.read()["error"] == "the input ended in the middle of a frame"
        assert port.wait() == 0


def test_requests_in_flight_are_bounded_and_cancel_needs_no_place(upstream: Any, tmp_path: Path) -> None:
    with bridge(tmp_path, "--url", upstream.url, "--max-in-flight", "2") as port:
        for id in ("a", "b"):
            port.send(id, "hang")
            assert port.read()["type"] == "sources"
        port.send("c", "echo")
        refused = port.read()
        assert (refused["id"], refused["code"], refused["retryable"]) == ("c", "overloaded", True)
        port.send("a", "echo")
        assert port.read()["code"] == "duplicate_id"
        port.send("x", "cancel", id="a")
        told = [port.read(), port.read()]
        assert [(message["id"], message.get("code"), message.get("data")) for message in told] == [
            ("a", "cancelled", None),
            ("x", None, {"id": "a", "state": "cancelled"}),
        ]
        until(lambda: upstream.commands.closed == ["a"])
        port.send("c", "echo")
        assert port.read()["type"] == "result"


def test_a_service_that_starts_later_is_found(upstream: Any, tmp_path: Path) -> None:
    with bridge(tmp_path, "--data-dir", str(tmp_path / "var"), env={**os.environ, "RAG_API_KEY": ""}) as port:
        port.send(1, "echo")
        told = port.read()
        assert (told["code"], told["retryable"]) == ("unreachable", True)
        assert f"no service runs from {tmp_path / 'var'}" in told["error"]
        (tmp_path / "var").mkdir()
        (tmp_path / "var/key").write_text("local")
        service = {"url": upstream.url, "key_file": str(tmp_path / "var/key"), "pid": os.getpid(), "ray_folder": "x"}
        (tmp_path / "var/service.json").write_text(json.dumps(service))
        port.send(2, "echo")
        assert port.read()["type"] == "result"
        assert upstream.commands.headers["2"]["authorization"] == "Bearer local"


def test_an_address_where_nobody_is_and_a_wrong_one(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with bridge(tmp_path, "--url", url) as port:
        port.send(1, "echo")
        told = port.read()
        assert (told["code"], told["status"]) == ("unreachable", None)
        assert url in told["error"]
    wrong = subprocess.run([RAG, "bridge", "--url", "nonsense"], capture_output=True, text=True)
    assert (wrong.returncode, wrong.stdout) == (1, "")
    assert "--url 'nonsense' is not an address" in wrong.stderr


STRAY = """
import builtins, ctypes, json, os, subprocess, sys
original = json.loads
def noisy(*given, **named):
    print("stray print")
    sys.stdout.flush()
    os.write(1, b"stray write\\n")
    ctypes.CDLL(None).puts(b"stray puts")
    ctypes.CDLL(None).fflush(None)
    subprocess.run(["sh", "-c", "echo stray child; cat"])
    return original(*given, **named)
json.loads = noisy
"""


def test_what_anything_prints_is_kept_out_of_the_frames(upstream: Any, tmp_path: Path) -> None:
    """A module that every Python process loads at its start prints when JSON is read, in four ways.

    The child process would also consume its standard input.
    """
    (tmp_path / "sitecustomize.py").write_text(STRAY)
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    with bridge(tmp_path, "--url", upstream.url, env=environment) as port:
        for id in range(3):
            port.send(id, "echo", n=id)
        told = sorted((port.read() for _ in range(3)), key=lambda message: message["id"])
        assert [message["data"] for message in told] == [{"n": 0}, {"n": 1}, {"n": 2}]
        port.end_input()
        assert port.wait() == 0
        assert port.rest() == b""
        for stray in ("stray print", "stray write", "stray puts", "stray child"):
            assert port.log().count(stray) >= 3


def test_the_end_of_the_input_lets_answers_finish(upstream: Any, tmp_path: Path) -> None:
    with bridge(tmp_path, "--url", upstream.url) as port:
        port.send("a", "stream", chunks=5, gap=0.1)
        port.end_input()
        assert [message["type"] for message in port.read_answer()] == ["sources", *["chunk"] * 5, "complete"]
        assert port.wait() == 0


def test_the_end_of_the_input_lets_a_slow_reader_finish(upstream: Any, tmp_path: Path) -> None:
    with bridge(tmp_path, "--url", upstream.url) as port:
        port.send("a", "echo", text="x" * 600_000)
        port.end_input()
        until(port.is_stuck)
        time.sleep(0.3)  # time in which it would end; a slow machine cannot fail here
        assert port.read()["data"] == {"text": "x" * 600_000}
        assert port.wait() == 0


@pytest.mark.parametrize("to", ["pipe", "file"])
def test_lines_from_a_shell_and_from_a_file(upstream: Any, tmp_path: Path, to: str) -> None:
    given = b'{"id": 1, "command": "echo", "params": {"a": "\xc4\x8d"}}\n{"id": 2, "command": "refuse"}'
    command = [RAG, "bridge", "--framing", "lines", "--url", upstream.url]
    if to == "pipe":
        output = subprocess.run(command, input=given, stdout=subprocess.PIPE, check=True).stdout
    else:
        (tmp_path / "in").write_bytes(given)
        with (tmp_path / "in").open("rb") as asked, (tmp_path / "out").open("wb") as told_to:
            subprocess.run(command, stdin=asked, stdout=told_to, check=True)
        output = (tmp_path / "out").read_bytes()
    told = {message["id"]: message for message in map(json.loads, output.splitlines())}
    assert told[1]["data"] == {"a": "č"}
    assert told[2]["code"] == "overloaded"


@pytest.mark.parametrize("busy", ["idle", "waiting", "writing"])
def test_a_reader_who_goes_ends_it_at_once(upstream: Any, tmp_path: Path, busy: str) -> None:
    with bridge(tmp_path, "--url", upstream.url) as port:
        port.send("first", "echo")
        port.read()
        if busy == "waiting":
            port.send("a", "hang")
            port.read()
        if busy == "writing":
            port.send("a", "stream", chunks=2000, pad=2000)
            until(port.is_stuck)
        assert port.process.stdout is not None
        port.process.stdout.close()
        assert port.wait() == 141
    if busy != "idle":
        until(lambda: upstream.commands.closed == ["a"])


def test_a_slow_reader_slows_the_service_down(upstream: Any, tmp_path: Path) -> None:
    with bridge(tmp_path, "--url", upstream.url) as port:
        port.send("a", "stream", chunks=400, pad=100_000)
        port.read()
        until(port.is_stuck)
        assert upstream.commands.chunks_once_it_stands() < 200  # what the buffers on the way hold, and no more
        port.send("c", "cancel", id="a")
        until(lambda: upstream.commands.closed == ["a"])  # though nothing is read
        last = port.read_answer()[-1]
        assert (last["id"], last["code"]) == ("a", "cancelled")
        assert port.read()["data"]["state"] == "cancelled"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_cleanly(upstream: Any, tmp_path: Path, number: signal.Signals) -> None:
    with bridge(tmp_path, "--url", upstream.url) as port:
        port.send("a", "hang")
        port.read()
        port.process.send_signal(number)
        assert port.read()["code"] == "cancelled"
        assert port.wait() == 0
        assert (port.rest(), port.log()) == (b"", "")
    until(lambda: upstream.commands.closed == ["a"])


def test_a_signal_ends_it_while_nobody_reads(upstream: Any, tmp_path: Path) -> None:
    with bridge(tmp_path, "--url", upstream.url) as port:
        port.send("a", "stream", chunks=40_000, pad=1000)
        until(port.is_stuck)
        port.process.terminate()
        assert port.wait() == 0


PARENT = """
import subprocess, sys, time
child = subprocess.Popen(sys.argv[2:], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
if sys.argv[1] == "talks":
    child.stdin.write(b"\\0\\0\\0\\1x")
    child.stdin.flush()
    child.stdout.read(4)
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.mark.parametrize("after_s", ["talks", 0, 0.05, 0.15, 0.25])
def test_it_does_not_outlive_its_parent(tmp_path: Path, after_s: str | float) -> None:
    """Killed once it talks to its child, or at any moment while that still starts."""
    command = [sys.executable, "-c", PARENT, str(after_s), RAG, "bridge", "--url", "http://127.0.0.1:1"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        if isinstance(after_s, float):
            time.sleep(after_s)
        parent.kill()
    until(lambda: has_ended(child))


def test_the_pipes_held_by_another_do_not_keep_it_alive(tmp_path: Path) -> None:
    """Only the parent's death tells: the test holds both pipes."""
    our_read, its_write = os.pipe()
    its_read, our_write = os.pipe()
    script = (
        "import subprocess, sys, time; child = subprocess.Popen(sys.argv[3:], stdin=int(sys.argv[1]), "
        "stdout=int(sys.argv[2])); print(child.pid, flush=True); time.sleep(60)"
    )
    child_command = [RAG, "bridge", "--url", "http://127.0.0.1:1"]
    command = [sys.executable, "-c", script, str(its_read), str(its_write), *child_command]
    with subprocess.Popen(command, stdout=subprocess.PIPE, pass_fds=(its_read, its_write)) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        os.write(our_write, b"\0\0\0\1x")
        assert len(os.read(our_read, 4)) == 4
        parent.kill()
    until(lambda: has_ended(child))
    for descriptor in (our_read, our_write, its_read, its_write):
        os.close(descriptor)


def test_a_parent_whose_thread_started_it_is_not_dead_when_that_ends(upstream: Any, tmp_path: Path) -> None:
    made: list[Any] = []
    context = bridge(tmp_path, "--url", upstream.url)
    starting = threading.Thread(target=lambda: made.append(context.__enter__()))
    starting.start()
    starting.join()
    try:
        port = made[0]
        port.send(1, "echo")
        assert port.read()["type"] == "result"
        time.sleep(2 * lifetime.PARENT_POLL_S)  # two looks at the parent; none of them may end it
        port.send(2, "echo")
        assert port.read()["type"] == "result"
    finally:
        context.__exit__(None, None, None)
