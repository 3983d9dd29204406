"""HAProxy's configuration by Serve's template and by us. These tests fail when a new Ray changes the template."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from pathlib import Path

import httpx
import pytest
import uvicorn
from ray.serve._private import controller, haproxy
from ray.serve.config import HTTPOptions
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from cluster import node
from cluster.edge import haproxy as edge
from cluster.edge.haproxy import (
    CLIENT_ADDRESS,
    NO_APPLICATION,
    ONE_REQUEST_PER_CONNECTION,
    QUARANTINE,
    REUSE_CONNECTIONS,
    EdgeHAProxyApi,
    error_page,
    install,
    quarantine_s,
)
from serve_app.config.file import load
from tests.support.config_files import ROOT
from tests.support.service import free_port
from tests.support.waiting import until

CLIENT = "127.0.0.2"


def haproxy_api(
    folder: Path, *servers: haproxy.ServerConfig, request_timeout_s: float | None = 130.5
) -> EdgeHAProxyApi:
    """Serve's control of a HAProxy in front of these replicas, on free ports. By Serve's own settings it would end any
    request a second after a reload."""
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
    return EdgeHAProxyApi(settings, {"rag": backend} if servers else {}, str(folder / "haproxy.cfg"))


def written_by(api: EdgeHAProxyApi) -> Path:
    api._generate_config_file_internal()
    return Path(api.config_file_path)


class Replica:
    """Breaks off what is posted to /lost, and answers what is posted to /kept when it may."""

    def __init__(self) -> None:
        self.asked_to_keep = asyncio.Event()
        self.may_answer = asyncio.Event()

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError), closing(writer):
            while head := await reader.readuntil(b"\r\n\r\n"):
                if head.startswith(b"POST /lost"):
                    break
                if head.startswith(b"POST /kept"):
                    self.asked_to_keep.set()
                    await self.may_answer.wait()
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")


@asynccontextmanager
async def running(folder: Path, replica: Replica) -> AsyncIterator[tuple[EdgeHAProxyApi, str]]:
    """HAProxy in front of one replica: Serve's control of it, and its URL."""
    async with (
        await asyncio.start_server(replica, "127.0.0.1", 0) as listening,
        in_front_of(folder, *listening.sockets[0].getsockname()) as started,
    ):
        yield started


@asynccontextmanager
async def in_front_of(folder: Path, host: str, port: int) -> AsyncIterator[tuple[EdgeHAProxyApi, str]]:
    api = haproxy_api(folder, haproxy.ServerConfig("one", host, port))
    await api.start()
    try:
        yield api, f"http://127.0.0.1:{api.cfg.http_options.port}"
    finally:
        await api.stop()


@asynccontextmanager
async def uvicorn_replica() -> AsyncIterator[int]:
    """A replica's HTTP server with the settings that Serve gives it: its port. It answers with the client's address,
    by which unknown keys are limited."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await PlainTextResponse(scope["client"][0])(scope, receive, send)

    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        config = uvicorn.Config(app, lifespan="off", access_log=False, log_level=None, log_config=None)
        server = uvicorn.Server(config)
        server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            await until(lambda: server.started)
            yield listening.getsockname()[1]
        finally:
            server.should_exit = True
            await serving


@pytest.mark.parametrize(
    ("trusted", "seen"),
    [
        (None, CLIENT),  # HAProxy and replica on one machine
        ("127.0.0.0/30,10.0.0.0/8", "8.8.8.8"),  # CLIENT is a load balancer before HAProxy, too
        ("10.0.0.0/8", "127.0.0.1"),  # HAProxy of another machine that is not named: all of its clients are one
        ("10.0.0.0/8,127.0.0.1", CLIENT),
    ],
)
async def test_a_replica_counts_the_client_and_not_haproxy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trusted: str | None, seen: str
) -> None:
    """What a client says of itself is not believed, unless it is a load balancer that is named."""
    if trusted is None:
        monkeypatch.delenv("FORWARDED_ALLOW_IPS", raising=False)
    else:
        monkeypatch.setenv("FORWARDED_ALLOW_IPS", trusted)
    transport = httpx.AsyncHTTPTransport(local_address=CLIENT)
    async with (
        uvicorn_replica() as port,
        in_front_of(tmp_path, "127.0.0.1", port) as (_, url),
        httpx.AsyncClient(base_url=url, trust_env=False, transport=transport) as client,
    ):
        assert (await client.get("/", headers={"X-Forwarded-For": "8.8.8.8"})).text == seen


@pytest.fixture(name="config")
def _config(tmp_path: Path) -> Path:
    """The configuration of a HAProxy in front of nothing yet, as Serve has it written."""
    return written_by(haproxy_api(tmp_path))


def test_serve_controls_haproxy_with_our_class(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(haproxy, "HAProxyApi", haproxy.HAProxyApi)
    install()
    assert haproxy.HAProxyApi is EdgeHAProxyApi
    assert controller.HAProxyManager is haproxy.HAProxyManager


def test_silent_clients_have_a_time_limit(config: Path) -> None:
    written = config.read_text()
    assert "timeout client 7s" in written
    assert "timeout http-request 7s" in written
    assert re.search(r"\n    bind 127\.0\.0\.1:\d+ tcp-ut 7s\n", written)


def test_a_connection_ends_soon_after_the_longest_request(config: Path, tmp_path: Path) -> None:
    assert "timeout server 161s" in config.read_text()
    assert "timeout server" not in written_by(haproxy_api(tmp_path, request_timeout_s=None)).read_text()


def test_the_old_haproxy_stays_for_longer_than_any_request_after_a_reload(config: Path, tmp_path: Path) -> None:
    assert "hard-stop-after 161s" in config.read_text()
    assert "hard-stop-after" not in written_by(haproxy_api(tmp_path, request_timeout_s=None)).read_text()


def test_a_stopped_replica_s_port_stays_unused_for_as_long_as_the_old_haproxy_may_send_to_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    needed = quarantine_s(130.5)
    assert needed == 161 + 30  # hard-stop-after, and the margin that Serve's own default adds to it
    for given, warned in ((needed - 1, True), (needed, False)):
        monkeypatch.setattr(edge, "RAY_SERVE_PORT_QUARANTINE_S", float(given))
        caplog.clear()
        haproxy_api(tmp_path)
        assert [QUARANTINE in record.message for record in caplog.records] == [True] * warned


@pytest.mark.parametrize("file", ["cluster/local.yaml", "cluster/single_host.yaml", "serve_config.yaml"])
def test_rag_up_and_the_image_keep_ports_unused_long_enough_for_the_files_that_come_with_the_project(file: str) -> None:
    needed = quarantine_s(load(ROOT / file).raw["http_options"]["request_timeout_s"])
    image = re.search(rf"{QUARANTINE}=(\d+)", (ROOT / "Dockerfile.gpu").read_text())
    assert image is not None
    assert int(image[1]) == int(node._FOR_LOAD[QUARANTINE]) >= needed


async def test_an_answer_under_way_outlives_a_reload(tmp_path: Path) -> None:
    replica = Replica()
    async with running(tmp_path, replica) as (api, url), httpx.AsyncClient(base_url=url, trust_env=False) as client:
        asking = asyncio.create_task(client.post("/kept"))
        await replica.asked_to_keep.wait()
        await api.reload()
        # Longer than `hard_stop_after_s`, after which Serve's own settings would end it;
        # a slow machine cannot fail here.
        await asyncio.sleep(1.5)
        replica.may_answer.set()
        assert (await asking).status_code == 200


def test_a_connection_to_a_replica_is_for_one_request_and_tells_the_client_s_address(tmp_path: Path) -> None:
    config = written_by(haproxy_api(tmp_path, haproxy.ServerConfig("one", "127.0.0.1", 8001)))
    assert haproxy.HAPROXY_CONFIG_TEMPLATE.count(REUSE_CONNECTIONS) == 1
    assert "http-reuse" not in config.read_text()
    assert config.read_text().count(ONE_REQUEST_PER_CONNECTION + CLIENT_ADDRESS) == 1
    assert_accepted(config)


async def test_a_lost_replica_is_a_503_whatever_was_asked_before(tmp_path: Path) -> None:
    replica = Replica()
    replica.may_answer.set()
    async with running(tmp_path, replica) as (_, url), httpx.AsyncClient(base_url=url, trust_env=False) as client:
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
