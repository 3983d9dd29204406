"""The Elixir client with real Elixir: by itself against a server that misbehaves, then against the running service."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from deployments.types import GenerationLoad
from serve_app.platform.models import PLATFORM
from tests.support.elixir import mix
from tests.support.service import Running, engine_load, make_key, service

pytestmark = pytest.mark.timeout(600)
RAG = str(Path(sys.executable).with_name("rag"))
SETTLED_S = 2.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("elixir")


def passed(done: subprocess.CompletedProcess[str]) -> int:
    """How many tests passed. Fails unless all that were not excluded did."""
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-20_000:]
    found = re.search(r"^(\d+) tests?, (\d+) failures?(?:, (\d+) excluded)?$", output, re.MULTILINE)
    assert found, output[-20_000:]
    assert found[2] == "0", output[-20_000:]
    return int(found[1]) - int(found[3] or 0)


def test_it_is_formatted(folder: Path) -> None:
    done = mix("format", "--check-formatted", folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr


def test_it_compiles_for_production_without_a_warning_and_without_any_dependency(folder: Path) -> None:
    done = mix("compile", "--warnings-as-errors", folder=folder / "prod", MIX_ENV="prod")
    assert done.returncode == 0, done.stdout + done.stderr


def test_by_itself_and_with_the_bridge(folder: Path) -> None:
    assert passed(mix("test", "--warnings-as-errors", folder=folder, RAG_TEST_BRIDGE=RAG)) > 100


@pytest.mark.service
def test_against_the_service_with_the_extractive_engine(folder: Path) -> None:
    with service(folder / "extractive", {"generation": {"engine": "extractive"}}) as running:
        assert passed(against(running, folder)) >= 14
        with listening(running, folder / "http.sock") as url:
            assert passed(against(running, folder, RAG_TEST_URL=url, RAG_TEST_BRIDGE="")) >= 7


@pytest.mark.service
def test_against_the_service_with_vllm(folder: Path) -> None:
    from tests.support.tiny_model import make_tiny_model

    generation = {
        "engine": "vllm",
        "model": str(make_tiny_model(folder / "tiny", context_tokens=16_384)),
        "context_tokens": 16_384,
        "max_num_seqs": 16,
        "engine_kwargs": {"enforce_eager": True},
    }
    with service(folder / "vllm", {"generation": generation}) as running:
        assert passed(against(running, folder, RAG_TEST_VLLM="1")) >= 16
        # Among them were answers of 4,000 tokens whose readers went away.
        time.sleep(SETTLED_S)
        assert asyncio.run(engine_load()) == GenerationLoad(0, 0)


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


def against(running: Running, folder: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    key = asyncio.run(make_key(running.args, PLATFORM, "platform"))
    told = {"RAG_TEST_URL": running.url, "RAG_TEST_KEY": key, "RAG_TEST_BRIDGE": RAG, **environment}
    return mix("test", "test/service_test.exs", folder=folder, **told)
