"""The Elixir client against the running service (`tests/e2e/vllm/test_graph.py` has it on vLLM)."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support import configurations
from tests.support.elixir import RAG, against, guide_project, guide_session, mix_in, passed
from tests.support.service import Running

pytestmark = pytest.mark.timeout(900)
SERVICE = configurations.extractive


def test_against_the_service_with_the_extractive_engine(
    shared: configurations.Extractive, elixir_folder: Path, tmp_path: Path
) -> None:
    running = shared.running
    assert passed(against(running, elixir_folder)) >= 14
    with listening(running, tmp_path / "http.sock") as url:
        assert passed(against(running, elixir_folder, RAG_TEST_URL=url, RAG_TEST_BRIDGE="")) >= 7


def test_the_guide_s_first_steps_in_a_fresh_project(shared: configurations.Extractive, tmp_path: Path) -> None:
    running = shared.running
    running.ingest([{"id": "rok", "text": "Dokumenti se čuvaju pet godina.", "language": "hr"}])
    project = guide_project(tmp_path)
    told = {"RAG_URL": running.url, "RAG_API_KEY": running.key}
    script = guide_session() + "\nIO.puts(inspect({RagClient.health(MyApp.Rag), answer.text}, printable_limit: 9_000))"
    done = mix_in(project, "do", "deps.get,", "run", "-e", script, folder=tmp_path / "mix", **told)
    assert done.returncode == 0, done.stdout + done.stderr
    assert '{{:ok, %{"ready" => true' in done.stdout
    assert "pet godina" in done.stdout


@contextmanager
def listening(running: Running, path: Path) -> Iterator[str]:
    """`rag bridge` with the service's HTTP on a Unix socket; the address for the client."""
    command = [RAG, "bridge", "--listen-http", str(path), "--url", running.url]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as bridge:
        try:
            end = time.monotonic() + 120
            while not path.exists():
                assert bridge.poll() is None
                assert time.monotonic() < end
                time.sleep(0.05)
            yield f"unix:{path}"
        finally:
            bridge.terminate()
            assert bridge.wait(60) == 0
