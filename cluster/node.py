"""A Ray head node that belongs to this process: own temporary folder, loopback, token, and nothing left when it stops.

Its processes are children of this one, so they end with it. Another Ray on the machine is neither joined nor stopped.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import psutil

# `ray` is imported inside the functions: its flags are read at import, so `set_flags` must come first.

LOGICAL_CPUS = 16
"""More than the cores of a small machine: vLLM's placement group asks for whole CPUs and would wait for ever."""
OBJECT_STORE_BYTES = 256 * 1024 * 1024
LONGEST_TEMP_ROOT = 32
"""A socket's path may have 107 characters, and Ray's own part of it takes some 70."""

_FLAGS = {
    "RAY_AUTH_MODE": "token",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Ray takes the machine's own address unless it believes to be on a desktop system; so its ports are loopback's.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # Idle workers, one a logical CPU, would compete with the replicas for the first seconds.
    "RAY_enable_worker_prestart": "0",
    "RAY_prestart_worker_first_driver": "0",
    # Else serve.shutdown waits 30 s for load balancers that are not there.
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "0",
    "RAY_SERVE_PROXY_MIN_DRAINING_PERIOD_S": "1",
    "RAY_SERVE_LOG_TO_STDERR": "0",
}
_NOT_OURS = ("RAY_ADDRESS", "RAY_NAMESPACE", "RAY_AUTH_TOKEN", "RAY_JOB_CONFIG_JSON_ENV_VAR")
"""They would lead to another cluster, or unlock this one with another's token."""


def set_flags() -> None:
    """Export Ray's start-up flags to this process and all that Ray starts. Call before anything imports ray."""
    for name in _NOT_OURS:
        os.environ.pop(name, None)
    os.environ.update(_FLAGS)


def read_or_make_secret(path: Path) -> str:
    """The secret kept in a file that only its owner may read; made on the first call."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
    path.chmod(0o600)
    return path.read_text(encoding="ascii").strip()


@dataclass(frozen=True, slots=True)
class OwnedNode:
    """A running head node, this process connected to it. `dashboard_url` listens on loopback and asks for `token`."""

    dashboard_url: str
    token: str
    folder: Path

    @classmethod
    def start(cls, token_file: Path) -> OwnedNode:
        """Start a node and connect to it. Raises what Ray raises; nothing is left running then."""
        token = read_or_make_secret(token_file)
        os.environ["RAY_AUTH_TOKEN_PATH"] = str(token_file.resolve())
        folder = Path(tempfile.mkdtemp(prefix="rag-", dir=_temp_root()))
        import ray

        try:
            context = ray.init(
                address="local",
                num_cpus=max(LOGICAL_CPUS, os.cpu_count() or 1),
                object_store_memory=OBJECT_STORE_BYTES,
                include_dashboard=True,
                dashboard_host="127.0.0.1",
                log_to_driver=False,
                logging_level=logging.ERROR,
                namespace="serve",
                _temp_dir=str(folder),
            )
        except BaseException:
            _end(folder)
            raise
        return cls(f"http://{context.dashboard_url}", token, folder)

    def stop(self) -> None:
        """End the node's processes, those of its replicas included, and remove its folder."""
        _end(self.folder)


def _temp_root() -> str:
    root = tempfile.gettempdir()
    return root if len(root) <= LONGEST_TEMP_ROOT else "/tmp"


def _end(folder: Path, *, grace_s: float = 3.0) -> None:
    import ray

    mine = psutil.Process().children(recursive=True)
    ray.shutdown()
    _, alive = psutil.wait_procs(mine, timeout=grace_s)
    for process in alive:
        process.kill()  # psutil compares start times: a reused id is not ours
    psutil.wait_procs(alive, timeout=grace_s)
    shutil.rmtree(folder, ignore_errors=True)
