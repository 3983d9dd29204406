"""What HAProxy is told by Serve's template and by us; it breaks where a new Ray writes something else."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest
from ray.serve._private import controller, haproxy
from ray.serve.config import HTTPOptions

from cluster.haproxy import NO_APPLICATION, Api, error_page, install


@pytest.fixture(name="config")
def _config(tmp_path: Path) -> Path:
    """The configuration of a HAProxy in front of nothing yet, as Serve's keeper would have it written."""
    path = tmp_path / "haproxy.cfg"
    options = HTTPOptions(host="127.0.0.1", port=8000, keep_alive_timeout_s=7)
    settings = haproxy.HAProxyConfig(
        http_options=options,
        socket_path=str(tmp_path / "admin.sock"),
        server_state_base=str(tmp_path),
        server_state_file=str(tmp_path / "server-state"),
    )
    Api(settings, config_file_path=str(path))._generate_config_file_internal()
    return path


def test_serve_makes_its_keeper_with_our_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(haproxy, "HAProxyApi", haproxy.HAProxyApi)
    install()
    assert haproxy.HAProxyApi is Api
    assert controller.HAProxyManager is haproxy.HAProxyManager


def test_silence_has_an_end(config: Path) -> None:
    written = config.read_text()
    assert "timeout client 7s" in written
    assert "timeout http-request 7s" in written
    assert "\n    bind 127.0.0.1:8000 tcp-ut 7s\n" in written


def test_haproxy_says_503_with_retry_after_and_never_500(config: Path) -> None:
    written = config.read_text()
    assert haproxy.HAPROXY_CONFIG_TEMPLATE.count(NO_APPLICATION) == 1
    assert "status 404" not in written
    assert "backend default_backend\n    http-request deny deny_status 503\n" in written
    [page] = {line.split()[2] for line in written.splitlines() if line.strip().startswith("errorfile ")}
    assert [f"errorfile {status} {page}" in written for status in (502, 503, 504)] == [True] * 3
    assert Path(page).read_bytes() == error_page()


def test_the_page_is_a_problem() -> None:
    head, _, body = error_page().partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 503 ")
    assert b"\r\nRetry-After: 2\r\n" in head
    assert f"\r\nContent-Length: {len(body)}\r\n".encode() in head
    problem = json.loads(body)
    assert (problem["status"], problem["code"], problem["retryable"]) == (503, "unavailable", True)


def test_haproxy_itself_accepts_it(config: Path) -> None:
    checked = subprocess.run(
        [haproxy.get_haproxy_binary(), "-c", "-f", str(config)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
