from __future__ import annotations

import gc
import importlib
import io
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from rich.console import Console

from rag.cli import up
from rag.cli.errors import CliError
from rag.cli.service import Service
from rag.cli.signals import Signals
from rag.cli.stages import stage
from serve_app.config.args import AppArgs


@pytest.fixture(name="console")
def _console() -> Console:
    return Console(file=io.StringIO(), width=200)


def said(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def raw(host: str = "127.0.0.1", **options: Any) -> dict[str, Any]:
    return {"http_options": {"host": host, **options}, "applications": []}


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


# --- Ports.


def test_a_free_port_is_taken_as_it_is(console: Console) -> None:
    port = free_port()
    config, url = up._on_free_port(raw(port=port), None, console)
    assert (config["http_options"]["port"], url) == (port, f"http://127.0.0.1:{port}")
    assert said(console) == ""


def test_another_port_is_taken_where_one_is_in_use_and_it_is_said(console: Console) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        given = raw(port=port)
        config, url = up._on_free_port(given, None, console)
    other = config["http_options"]["port"]
    assert other != port
    assert url.endswith(f":{other}")
    assert f"Port {port} is in use; taking {other}." in said(console)
    assert given["http_options"]["port"] == port


def test_a_port_that_was_asked_for_is_not_replaced(console: Console) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(CliError, match=r"--port \d+ is in use"):
        up._on_free_port(raw(port=1), taken.getsockname()[1], console)
    port = free_port()
    assert up._on_free_port(raw(port=1), port, console)[0]["http_options"]["port"] == port


def test_a_service_on_all_interfaces_is_reached_on_loopback(console: Console) -> None:
    port = free_port()
    assert up._on_free_port(raw("0.0.0.0", port=port), None, console)[1] == f"http://127.0.0.1:{port}"


# --- Models.


def args(tmp_path: Path, **embedding: Any) -> AppArgs:
    return AppArgs.model_validate({"data_dir": str(tmp_path), "embedding": embedding})


def test_the_bundled_models_are_here(tmp_path: Path) -> None:
    assert up._check_models(args(tmp_path)) == "multilingual-e5-small, all-MiniLM-L6-v2"


@pytest.mark.parametrize("stage_name", ["embedding", "reranking"])
def test_a_model_that_is_not_here_is_told_before_anything_starts(tmp_path: Path, stage_name: str) -> None:
    with pytest.raises(CliError, match=f"{stage_name}.model .*rag models pull"):
        up._check_models(AppArgs.model_validate({"data_dir": str(tmp_path), stage_name: {"model": "nobody/nothing-x"}}))


def test_an_index_of_an_earlier_release_is_kept_aside(tmp_path: Path) -> None:
    assert up._set_former_index_aside(args(tmp_path)) is None
    (tmp_path / "milvus.db").mkdir()
    (tmp_path / "milvus.db" / "collection").touch()
    kept = up._set_former_index_aside(args(tmp_path))
    assert kept is not None
    assert [path.name for path in kept.iterdir()] == ["collection"]
    assert not (tmp_path / "milvus.db").exists()
    assert up._set_former_index_aside(args(tmp_path)) == kept, "a start that was broken off is gone on with"


def test_a_document_that_cannot_be_indexed_again_is_no_reason_not_to_start(
    tmp_path: Path, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise CliError("1 documents failed: [scan] has no text")

    monkeypatch.setattr("rag.cli.reindex.fill_lost_index", fail)
    (tmp_path / "key").write_text("rag_k")
    up._replace_former_index(tmp_path, "http://127.0.0.1:1", tmp_path / "key", console)
    assert "[scan] has no text" in said(console)
    up._replace_former_index(tmp_path, "http://127.0.0.1:1", None, console)
    assert "`rag reindex`" in said(console), "without a local key, who has one is told what to do"


def test_a_folder_of_something_else_in_the_index_s_place_is_told(tmp_path: Path) -> None:
    index = Path(args(tmp_path).resolved().retrieval.uri)
    index.mkdir()
    (index / "collections").touch()
    with pytest.raises(CliError, match=r"no index that this release reads.*`rag reindex`"):
        up._check_models(args(tmp_path))


def test_another_embedder_is_no_reason_not_to_start(tmp_path: Path) -> None:
    (tmp_path / "models.json").write_text('{"embedding": {"backend": "fake"}}')  # as former releases kept it
    assert "MiniLM" in up._check_models(args(tmp_path))


# --- Stages and signals.


def test_the_corpus_waits_until_the_service_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """HAProxy listens only after the ingress is up, and at first it has no replica to ask."""
    calls: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        calls.append(request.url.path)
        if len(calls) == 1:
            raise httpx.ConnectError("nobody listens")
        return httpx.Response(503 if len(calls) == 2 else 200)

    def send(service: Service, documents: Sequence[Any], fields: object) -> list[Any]:
        calls.append("sent")
        return []

    client = httpx.Client
    transport = {"transport": httpx.MockTransport(answer)}
    monkeypatch.setattr("httpx.Client", lambda **given: client(**(given | transport)))
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    monkeypatch.setattr("rag.cli.ingest.send", send)
    key_file = tmp_path / "key"
    key_file.write_text("rag_key")
    count, failed = up._ingest_corpus("http://127.0.0.1:1", key_file, 60, threading.Event())
    assert (calls, failed) == (["/healthz"] * 3 + ["sent"] * 2, [])
    assert count > 0


def test_a_stage_ends_in_a_line(console: Console) -> None:
    with stage(console, "Work") as running:
        running.now("[half] done")
        running.line("one [x] thing")
        running.result = "all [y] done"
    line, last = [line.strip() for line in said(console).splitlines() if "thing" in line or "✓" in line]
    assert line == "one [x] thing"
    assert last.startswith("✓ Work  all [y] done")


def test_a_log_says_what_a_slow_stage_is_doing(console: Console, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 0.0, 59.0, 60.0, 60.0, 61.0, 62.0])
    monkeypatch.setattr("rag.cli.stages.time.monotonic", lambda: next(clock))
    with stage(console, "Deployments") as running:
        running.now("waiting for embedding")
        running.now("waiting for reranking")
        running.now("waiting for generation")
    assert said(console).splitlines() == ["    waiting for reranking", "✓ Deployments   62.0 s"]


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (CliError("as it is"), "as it is"),
        (RuntimeError("why"), "Work: why"),
        (TimeoutError(), "Work: TimeoutError"),
    ],
)
def test_a_stage_that_fails_is_named(console: Console, error: Exception, told: str) -> None:
    with pytest.raises(CliError) as raised, stage(console, "Work"):
        raise error
    assert str(raised.value) == told
    assert "✗ Work" in said(console)


def test_an_interrupted_stage_stays_an_interrupt(console: Console) -> None:
    with pytest.raises(KeyboardInterrupt), stage(console, "Work"):
        raise KeyboardInterrupt


@pytest.fixture(name="forced")
def _forced(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What ended at once: the children, and this process with its exit code."""
    forced: list[Any] = []
    monkeypatch.setattr("os._exit", forced.append)
    return forced


@pytest.fixture(name="signals")
def _signals(forced: list[Any]) -> Iterator[Signals]:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield Signals(lambda: forced.append("children"), stop_s=3600)
    for number, handler in before.items():
        signal.signal(number, handler)


def handle(number: signal.Signals) -> None:
    """Call the handler as Python does: a real signal may meet the process of the test runner anywhere."""
    handler = signal.getsignal(number)
    assert callable(handler)
    handler(number, None)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_interrupts_and_one_while_stopping_ends_at_once(
    signals: Signals, forced: list[Any], number: signal.Signals
) -> None:
    signals.check()
    with pytest.raises(KeyboardInterrupt):
        handle(number)
    assert forced == []
    signals.stopping()
    with suppress(KeyboardInterrupt):  # only here, where the process does not end
        handle(number)
    assert forced == ["children", 128 + number]


def test_a_second_signal_ends_at_once_although_the_stop_has_not_begun(signals: Signals, forced: list[Any]) -> None:
    """The first one may have met the start of a node, which first ends what it has started."""
    signals.when_killed(lambda: forced.append("files"))
    with pytest.raises(KeyboardInterrupt):
        handle(signal.SIGINT)
    with suppress(KeyboardInterrupt):  # only here, where the process does not end
        handle(signal.SIGINT)
    assert forced == ["children", "files", 128 + signal.SIGINT]


def test_a_kill_ends_this_process_although_something_cannot_be_removed(
    signals: Signals, forced: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise PermissionError("not yours")

    signals.when_killed(fail)
    signals.when_killed(lambda: forced.append("files"))
    signals.stopping()
    with suppress(KeyboardInterrupt):  # only here, where the process does not end
        handle(signal.SIGTERM)
    assert forced == ["children", "files", 128 + signal.SIGTERM]
    assert "PermissionError: not yours" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_an_interrupt_that_python_drops_is_raised_at_the_next_check(signals: Signals) -> None:
    class Interrupted:
        def __del__(self) -> None:
            handle(signal.SIGINT)

    Interrupted()
    gc.collect()
    with pytest.raises(KeyboardInterrupt):
        signals.check()


def test_an_import_is_not_interrupted(signals: Signals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "interrupted.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nwhole = True")

    def wait() -> None:
        assert importlib.import_module("interrupted").whole
        time.sleep(60)  # the interrupt comes once the import is over

    with pytest.raises(KeyboardInterrupt):
        wait()
    assert sys.modules["interrupted"].whole


HANGS = """
import os, signal, sys, threading, time
from rag.cli.signals import Signals
Signals(lambda: print("children", flush=True), stop_s=0.1)
try:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)
finally:
    time.sleep(60)
"""


def test_a_stop_that_hangs_is_killed_after_its_time() -> None:
    done = subprocess.run([sys.executable, "-c", HANGS], capture_output=True, text=True, timeout=50, check=False)
    assert (done.returncode, done.stdout) == (128 + signal.SIGINT, "children\n"), done.stderr


def test_the_wait_for_http_ends_when_the_service_is_stopped() -> None:
    stopped = threading.Event()
    stopped.set()
    up._wait_for_http(f"http://127.0.0.1:{free_port()}", 3600, stopped)


def test_the_help_of_every_command_can_be_read(rag: Any) -> None:
    for command in (["up"], ["ask"], ["search"], ["ingest"], ["status"], ["models", "pull"], ["keys", "create"]):
        result = rag(*command, "--help", url=None)
        assert result.exit_code == 0
        assert "Usage:" in result.stdout
