"""Debian's Prometheus as `rag up --prometheus` starts it, on a service and an exporter that a test plays."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from cluster import prometheus
from cluster.prometheus import PrometheusFailed, owned_prometheus

WITHIN_S = 60
SERVICE = "ray_rag_slots 8\n"
NODE = "ray_rag_slots 8\nray_object_store_memory 1\n"


class _Exporter(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        is_service = self.headers.get("Authorization") == "Bearer platform-key"
        body = (SERVICE if is_service else NODE).encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture
def exporter() -> Iterator[str]:
    """host:port. It answers as the service to who has the key, and as a node to others."""
    with ThreadingHTTPServer(("127.0.0.1", 0), _Exporter) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"127.0.0.1:{server.server_port}"
        server.shutdown()


def series(url: str, query: str) -> list[dict[str, str]]:
    with httpx.Client(trust_env=False) as http:
        found = http.get(f"{url}/api/v1/query", params={"query": query}).raise_for_status().json()["data"]["result"]
    return [each["metric"] for each in found]


def test_it_scrapes_each_series_once_with_the_rules_loaded_and_ends(tmp_path: Path, exporter: str) -> None:
    with owned_prometheus(tmp_path / "p", f"http://{exporter}", "platform-key", [exporter], every="1s") as url:
        end = time.monotonic() + WITHIN_S
        while not (series(url, "ray_object_store_memory") and series(url, "ray_rag_slots")):
            assert time.monotonic() < end
            time.sleep(0.1)
        assert [each["job"] for each in series(url, "ray_rag_slots")] == ["rag"]
        assert [each["job"] for each in series(url, "ray_object_store_memory")] == ["ray"]
        with httpx.Client(trust_env=False) as http:
            groups = http.get(f"{url}/api/v1/rules").json()["data"]["groups"]
        assert {group["name"] for group in groups} == {"rag-objectives", "rag-states", "rag-stages"}
        [process] = [each for each in psutil.Process().children() if each.name() == prometheus.PROGRAM]
    assert not process.is_running()
    assert (tmp_path / "p/key").stat().st_mode & 0o777 == 0o600


def test_it_ends_with_a_process_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, pathlib; from cluster.prometheus import owned_prometheus\n"
        "with owned_prometheus(pathlib.Path(sys.argv[1]), 'http://127.0.0.1:1', 'key', []) as url:\n"
        "    print(url, flush=True); sys.stdin.read()"
    )
    root = Path(prometheus.__file__).parents[1]
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=root
    ) as parent:
        assert parent.stdout
        assert parent.stdout.readline().startswith(b"http://127.0.0.1:")
        [child] = psutil.Process(parent.pid).children()
        parent.kill()
    psutil.wait_procs([child], timeout=WITHIN_S)
    assert not child.is_running()


def test_where_it_is_not_installed_a_person_is_told_how(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(os.environ, "PATH", str(tmp_path))
    with pytest.raises(PrometheusFailed, match="sudo apt install prometheus"):
        prometheus.installed()


def test_why_it_did_not_start_is_told(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file where its folder would be")
    with (
        pytest.raises(PrometheusFailed, match="did not start"),
        owned_prometheus(tmp_path, "http://127.0.0.1:1", "key", []),
    ):
        pass
