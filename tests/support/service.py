"""The service as its users meet it: an owned Ray node, the application deployed from a Serve config, HTTP in front."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import httpx
import psutil

from cluster.ports import free_ports
from deployments.types import GenerationLoad
from serve_app.config.args import AppArgs
from serve_app.platform.keys import Keys, Role
from serve_app.platform.tenants import Tenants
from serve_app.storage.database import Database
from serve_app.storage.declarative import PLATFORM
from tests.support import postgresql
from tests.support.starting import node_of_this_process

T = TypeVar("T")
STAGES = ("embedding", "retrieval", "reranking", "generation", "ingestion", "ingress")
BOUNDS = {"max_ongoing_requests": 64, "max_queued_requests": 128}


@dataclass(frozen=True, slots=True)
class Running:
    url: str
    key: str
    args: AppArgs

    @property
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.key}"}

    def client(self, timeout_s: float = 60) -> httpx.Client:
        return httpx.Client(base_url=self.url, headers=self.headers, timeout=timeout_s, trust_env=False)

    def ingest(self, documents: Sequence[Mapping[str, Any]], timeout_s: float = 300) -> list[dict[str, Any]]:
        """Hand in documents and wait until each is indexed or failed; their final states."""
        with self.client() as client:
            jobs = [
                client.post("/v1/documents", json=document).raise_for_status().headers["location"]
                for document in documents
            ]
            states: list[dict[str, Any]] = []
            for job in jobs:
                end = time.monotonic() + timeout_s
                while (view := client.get(job).raise_for_status().json())["state"] in ("queued", "running"):
                    assert time.monotonic() < end, f"not indexed in time: {view}"
                    time.sleep(0.1)
                states += view["documents"]
            return states

    def ask(self, query: str, **fields: Any) -> dict[str, Any]:
        with self.client() as client:
            answer: dict[str, Any] = client.post("/v1/query", json={"query": query, "stream": False, **fields}).json()
            return answer

    @asynccontextmanager
    async def stream(self, query: str, **fields: Any) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        """The messages of an answer. If it fails before its first one, the problem is its last."""
        async with (
            httpx.AsyncClient(base_url=self.url, headers=self.headers, timeout=60, trust_env=False) as client,
            client.stream("POST", "/v1/query", json={"query": query, **fields}) as response,
        ):
            if response.status_code != 200:
                await response.aread()
                assert response.status_code in (503, 504), response.text

            async def messages() -> AsyncIterator[dict[str, Any]]:
                if response.status_code != 200:
                    yield response.json() | {"type": "error"}
                    return
                async for line in response.aiter_lines():
                    if line.startswith("data: "):
                        yield json.loads(line[6:])

            yield messages()

    def wait_ready(self, timeout_s: float) -> dict[str, Any]:
        end, answer = time.monotonic() + timeout_s, ""
        with self.client(timeout_s=10) as client:
            while time.monotonic() < end:
                try:
                    response = client.get("/readyz")
                except httpx.HTTPError as error:
                    answer = repr(error)
                else:
                    answer = response.text
                    if response.status_code == 200:
                        ready: dict[str, Any] = response.json()
                        return ready
                time.sleep(0.2)
        raise AssertionError(f"not ready within {timeout_s} s: {answer}")


def free_port() -> int:
    """A port that stays free until Serve takes it, seconds later."""
    [port] = free_ports(1)
    return port


def haproxy_flags() -> dict[str, str]:
    """Of an environment in which Serve has HAProxy in front, beside other such services."""
    return {
        "RAY_SERVE_ENABLE_HA_PROXY": "1",
        "RAY_SERVE_HAPROXY_NBTHREAD": "1",
        "RAY_SERVE_HAPROXY_STATS_PORT": str(free_port()),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port()),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(free_port()),
    }


def answers(
    processes: Iterable[psutil.Process], ask: Callable[[psutil.Process], T]
) -> Iterator[tuple[psutil.Process, T]]:
    """Processes and what each answers; those that have ended meanwhile are left out."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            yield process, ask(process)


def commands() -> Iterator[tuple[psutil.Process, list[str]]]:
    """The descendants of this process with their commands."""
    return answers(psutil.Process().children(recursive=True), psutil.Process.cmdline)


def processes(title: str) -> list[psutil.Process]:
    """The descendants of this process whose title has these words."""
    return [process for process, words in commands() if title in " ".join(words)]


def replicas(stage: str) -> list[psutil.Process]:
    """The processes of a stage's replicas on this machine that are descendants of this one."""
    return processes(f"ServeReplica:rag:{stage}")


def kill(stage: str) -> None:
    """SIGKILL every replica of a stage."""
    victims = replicas(stage)
    assert victims, f"{stage} has no replica to kill"
    for victim in victims:
        os.kill(victim.pid, signal.SIGKILL)


async def engine_load() -> GenerationLoad:
    """What the one generation replica is working on, asked of it."""
    from ray import serve

    load: GenerationLoad = await serve.get_deployment_handle("generation", "rag").load.remote()
    return load


def app_config(args: Mapping[str, Any], port: int, scale: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """A Serve config as in the shipped files; `scale` overrides a deployment's options by name."""
    return {
        "proxy_location": "HeadOnly",
        "http_options": {"host": "127.0.0.1", "port": port},
        "applications": [
            {
                "name": "rag",
                "route_prefix": "/",
                "import_path": "serve_app.app:build_app",
                "args": dict(args),
                "deployments": [{"name": stage, **BOUNDS, **scale.get(stage, {})} for stage in STAGES],
            }
        ],
    }


@contextmanager
def deployed(config: dict[str, Any], *, ready_within_s: float = 600) -> Iterator[Running]:
    """Deploy a config on the Ray that this process is connected to, with a key for tenant `default`."""
    from ray import serve
    from ray.serve._private.api import serve_start
    from ray.serve.schema import ServeDeploySchema

    args = AppArgs.model_validate(config["applications"][0]["args"]).resolved()
    key = asyncio.run(make_key(args))
    client = serve_start(http_options=config["http_options"])
    try:
        client.deploy_apps(ServeDeploySchema.model_validate(config))
        running = Running(f"http://127.0.0.1:{config['http_options']['port']}", key, args)
        running.wait_ready(ready_within_s)
        yield running
    finally:
        serve.shutdown()


@contextmanager
def service(folder: Path, args: Mapping[str, Any], **scale: Mapping[str, Any]) -> Iterator[Running]:
    """A node of its own and the application on it, everything under `folder`."""
    config = app_config({"data_dir": str(folder / "var"), **args}, free_port(), scale)
    with node_of_this_process(), deployed(config) as running:
        yield running


def on_fakes(slots: int, word_ms: int) -> dict[str, Any]:
    """Arguments of stages without models and stores, and an engine that takes so long for a word."""
    return {
        "embedding": {"backend": "fake"},
        "retrieval": {"backend": "fake"},
        "reranking": {"backend": "fake"},
        "generation": {"engine": "fake", "fake_delay_ms": word_ms, "max_num_seqs": slots},
    }


@contextmanager
def two_ingress_replicas(folder: Path, **args: Any) -> Iterator[Running]:
    """A service whose ingress replicas share PostgreSQL and a limiter. It keeps no documents."""
    with postgresql.running() as servers:
        args |= {
            "store": {"url": servers.store(servers.create(), pooled=False).url},
            "blobs": {"url": "s3://nothing-is-kept/here"},
        }
        with service(folder, args, ingress={"num_replicas": 2, "max_ongoing_requests": 512}) as running:
            yield running


async def make_key(args: AppArgs, tenant_id: str = "default", role: Role = "admin") -> str:
    """A new key of a tenant, which is made if need be, or with role `platform` of PLATFORM."""
    database = Database(args.store)
    await database.migrate()
    keys = Keys(database)
    if tenant_id != PLATFORM:
        await Tenants(database).ensure(tenant_id)
    secret, _ = await keys.create_key(tenant_id, "test", role)
    await database.close()
    return secret
