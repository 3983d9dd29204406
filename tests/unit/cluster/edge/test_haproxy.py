"""What HAProxy is told by Serve's template and by us; it breaks where a new Ray writes something else."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path

import httpx
import pytest
from ray.serve._private import controller, haproxy
from ray.serve.config import HTTPOptions

from cluster.edge.haproxy import NO_APPLICATION, ONE_REQUEST_EACH, REUSE, Api, error_page, install
from tests.support.service import free_port


def keeper(folder: Path, *servers: haproxy.ServerConfig, request_timeout_s: float | None = 130.5) -> Api:
    """Serve's keeper of a HAProxy in front of these replicas, on free ports, which would be the end of any request that
    is under way a second after a reload."""
    options = HTTPOptions(
        host="127.0.0.1", port=free_port(), keep_alive_timeout_s=7, request_timeout_s=request_timeout_s
    )
    settings = haproxy.HAProxyConfig(
        http_options=options,
        socket_path=str(folder / "a.sock"),
        server_state_base=str(folder),
        server_state_file=str(folder / "server-state"),
        metrics_enabled=False,
        metrics_port=free_port(),
        stats_port=free_port(),
        nbthread=1,
        hard_stop_after_s=1,
    )
    backend = haproxy.BackendConfig(name="rag", path_prefix="/", app_name="rag", servers=list(servers))
    return Api(settings, {"rag": backend} if servers else {}, str(folder / "haproxy.cfg"))


def written_by(api: Api) -> Path:
    api._generate_config_file_internal()
    return Path(api.config_file_path)


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[tuple[Api, str]]:
    """HAProxy in front of one replica, which breaks off what is posted to /lost; its keeper, and its URL."""

    async def replica(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError), closing(writer):
            while head := await reader.readuntil(b"\r\n\r\n"):
                if head.startswith(b"POST"):
                    await asyncio.sleep(2)
                if head.startswith(b"POST /lost"):
                    break
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")

    async with await asyncio.start_server(replica, "127.0.0.1", 0) as listening:
        api = keeper(folder, haproxy.ServerConfig("one", *listening.sockets[0].getsockname()))
        await api.start()
        try:
            yield api, f"http://127.0.0.1:{api.cfg.http_options.port}"
        finally:
            await api.stop()


@pytest.fixture(name="config")
def _config(tmp_path: Path) -> Path:
    """The configuration of a HAProxy in front of nothing yet, as Serve's keeper would have it written."""
    return written_by(keeper(tmp_path))


def test_serve_makes_its_keeper_with_our_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(haproxy, "HAProxyApi", haproxy.HAProxyApi)
    install()
    assert haproxy.HAProxyApi is Api
    assert controller.HAProxyManager is haproxy.HAProxyManager


def test_silence_has_an_end(config: Path) -> None:
    written = config.read_text()
    assert "timeout client 7s" in written
    assert "timeout http-request 7s" in written
    assert re.search(r"\n    bind 127\.0\.0\.1:\d+ tcp-ut 7s\n", written)


def test_no_request_is_held_for_much_longer_than_any_may_last(config: Path, tmp_path: Path) -> None:
    assert "timeout server 161s" in config.read_text()
    assert "timeout server" not in written_by(keeper(tmp_path, request_timeout_s=None)).read_text()


def test_what_a_reload_leaves_behind_stays_for_longer_than_any_request(config: Path, tmp_path: Path) -> None:
    assert "hard-stop-after 161s" in config.read_text()
    assert "hard-stop-after" not in written_by(keeper(tmp_path, request_timeout_s=None)).read_text()


async def test_an_answer_under_way_outlives_a_reload(tmp_path: Path) -> None:
    async with running(tmp_path) as (api, url), httpx.AsyncClient(base_url=url, trust_env=False) as client:
        asking = asyncio.create_task(client.post("/kept"))
        await asyncio.sleep(0.5)
        await api.reload()
        assert (await asking).status_code == 200


def test_a_connection_to_a_replica_is_for_one_request(tmp_path: Path) -> None:
    config = written_by(keeper(tmp_path, haproxy.ServerConfig("one", "127.0.0.1", 8001)))
    assert haproxy.HAPROXY_CONFIG_TEMPLATE.count(REUSE) == 1
    assert "http-reuse" not in config.read_text()
    assert config.read_text().count(ONE_REQUEST_EACH) == 1
    assert_accepted(config)


async def test_who_loses_the_replica_is_told_whatever_was_asked_before(tmp_path: Path) -> None:
    async with running(tmp_path) as (_, url), httpx.AsyncClient(base_url=url, trust_env=False) as client:
        for path, status in (("/", 200), ("/lost", 503), ("/", 200), ("/kept", 200), ("/lost", 503)):
            answer = await client.request("GET" if path == "/" else "POST", path)
            assert answer.status_code == status
        assert answer.headers["retry-after"] == "2"


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
    assert_accepted(config)


def assert_accepted(config: Path) -> None:
    checked = subprocess.run(
        [haproxy.get_haproxy_binary(), "-c", "-f", str(config)], capture_output=True, text=True, check=False
    )
    assert checked.returncode == 0, checked.stdout + checked.stderr
