"""A service of the benchmark's own: an empty data folder, a free port, and everything gone afterwards."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import httpx
import psutil

from cluster import node
from tests.support.service import free_port, haproxy_flags

PREFIX = "rag-bench-"
N = TypeVar("N", int, float)
RAG = str(Path(sys.executable).with_name("rag"))


@dataclass(frozen=True, slots=True)
class Service:
    """A started `rag up`. `started` is time.monotonic() just before its process was made."""

    process: subprocess.Popen[bytes]
    data_dir: Path
    port: int
    started: float

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def key(self) -> str | None:
        path = self.data_dir / "key"
        return path.read_text().strip() if path.exists() else None

    def client(self, timeout_s: float = 60, key: str | None = None) -> httpx.Client:
        """`key`: left out, that of the local tenant."""
        return httpx.Client(
            base_url=self.url,
            headers={"Authorization": f"Bearer {key or self.key()}"},
            timeout=timeout_s,
            trust_env=False,
            event_hooks={"response": [_show_failure]},
        )

    def wait_ready(self, timeout_s: float = 180) -> None:
        """Until every stage is ready and the shipped corpus, if any, is indexed (service.json is written last)."""
        end = time.monotonic() + timeout_s
        while not (self.data_dir / "service.json").exists():
            if self.process.poll() is not None or time.monotonic() > end:
                log = (self.data_dir / "up.log").read_text(errors="replace")  # it is removed with the folder
                raise RuntimeError(f"the service did not start:\n{log}")
            time.sleep(0.1)

    def rss_mb(self) -> float:
        """Memory of the whole process tree, shared pages counted once (PSS), in MiB."""
        root = psutil.Process(self.process.pid)
        return pss_mb([root, *root.children(recursive=True)])


def _show_failure(response: httpx.Response) -> None:
    """Print why a request failed in the service: the exception that httpx raises has only the status."""
    if response.is_server_error:
        print(f"{response.request.method} {response.url}: {response.read().decode(errors='replace')}", flush=True)


def ordinary_environment() -> dict[str, str]:
    """This process's, without the switch that makes Python compile every module anew in every process."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


@contextmanager
def running(
    *arguments: str, environment: dict[str, str] | None = None, data_dir: Path | None = None
) -> Iterator[Service]:
    """`rag up` with `arguments` on an empty data folder, or the given one, stopped with SIGINT as a person would."""
    with tempfile.TemporaryDirectory(prefix=PREFIX) as folder:
        port = free_port()
        data_dir = data_dir or Path(folder) / "var"
        data_dir.mkdir(exist_ok=True)
        (data_dir / "service.json").unlink(missing_ok=True)
        with (data_dir / "up.log").open("wb") as log:
            started = time.monotonic()
            process = subprocess.Popen(
                [RAG, "up", "--data-dir", str(data_dir), "--port", str(port), *arguments],
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment or ordinary_environment(),
            )
            try:
                yield Service(process, data_dir, port, started)
            finally:
                process.send_signal(signal.SIGINT)
                try:
                    process.wait(60)
                except subprocess.TimeoutExpired:
                    process.kill()


@contextmanager
def ray_folder(*, haproxy: bool = False) -> Iterator[Path]:
    """For a benchmark that starts Ray in its own process: flags and token are set, so call it before anything imports
    ray. The folder is removed afterwards. `haproxy`: as a cluster is set up for load, and not a laptop."""
    if haproxy:
        os.environ |= haproxy_flags()
    node.set_flags(haproxy=haproxy)
    with tempfile.TemporaryDirectory(prefix=PREFIX) as name:
        token = Path(name) / "ray-token"
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(token)
        node.read_or_make_secret(token)
        yield Path(name)


@contextmanager
def watched(look: Callable[[], N], every_s: float) -> Iterator[list[N]]:
    """What `look` finds, at once and then every so many seconds until the block ends."""
    seen, over = [look()], threading.Event()

    def go_on() -> None:
        while not over.wait(every_s):
            seen.append(look())

    looking = threading.Thread(target=go_on)
    looking.start()
    try:
        yield seen
    finally:
        over.set()
        looking.join()


def pss_mb(processes: Iterable[psutil.Process]) -> float:
    """Memory of processes together, shared pages counted once, in MiB; of those that have ended, none."""
    total = 0
    for process in processes:
        try:
            total += process.memory_full_info().pss
        except psutil.Error:
            continue
    return total / 2**20


def report(figures: Mapping[str, object]) -> None:
    """The last output line."""
    print(json.dumps(figures, ensure_ascii=False), flush=True)


def rag(service: Service, *arguments: str) -> Sequence[str]:
    """A client command against the service; its output lines."""
    command = [RAG, *arguments, "--url", service.url]
    environment = {"RAG_API_KEY": service.key() or "", "PATH": "/usr/bin:/bin", "HOME": str(service.data_dir)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"rag {arguments[0]} failed:\n{done.stdout}\n{done.stderr}")
    return done.stdout.splitlines()
