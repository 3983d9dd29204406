"""The Elixir client with real Elixir: by itself against a server that misbehaves, then against the running service
(`tests/e2e/service/test_vllm_graph.py` has it on vLLM)."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.elixir import RAG, against, mix, passed
from tests.support.service import Running, service

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("elixir")


def test_it_is_formatted(folder: Path) -> None:
    done = mix("format", "--check-formatted", folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_compiles_for_production_without_a_warning_and_without_any_dependency(folder: Path) -> None:
    done = mix("compile", "--warnings-as-errors", folder=folder / "prod", MIX_ENV="prod")
    assert done.returncode == 0, done.stdout + done.stderr


def test_by_itself_and_with_the_bridge(folder: Path) -> None:
    assert passed(mix("test", "--warnings-as-errors", folder=folder, RAG_TEST_BRIDGE=RAG)) > 100


def test_against_the_service_with_the_extractive_engine(folder: Path) -> None:
    with service(folder / "extractive", {"generation": {"engine": "extractive"}}) as running:
        assert passed(against(running, folder)) >= 14
        with listening(running, folder / "http.sock") as url:
            assert passed(against(running, folder, RAG_TEST_URL=url, RAG_TEST_BRIDGE="")) >= 7


@contextmanager
def listening(running: Running, path: Path) -> Iterator[str]:
    """`rag bridge` with the service's HTTP on a Unix socket; the address for the client."""
    command = [RAG, "bridge", "--listen-http", str(path), "--url", running.url]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as bridge:
        try:
            end = time.monotonic() + 30
            while not path.exists():
                assert bridge.poll() is None
                assert time.monotonic() < end
                time.sleep(0.05)
            yield f"unix:{path}"
        finally:
            bridge.terminate()
            assert bridge.wait(10) == 0
