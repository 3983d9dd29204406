"""A Ray head node that belongs to this process: own temporary folder, loopback, token, and nothing left when it stops.

Its processes are children of this one, so they end with it. Another Ray on the machine is neither joined nor stopped.
"""

from __future__ import annotations

import logging
import os
import re
import secrets
import shutil
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from cluster import session_logs
from cluster.node_start import NODE_START_S, adapted_start
from cluster.ports import usual_or_free
from cluster.serve_imports import leave_pandas_out

# `ray` is imported inside the functions: its flags are read at import, so `set_flags` must come first.

LOGICAL_CPUS = 16
"""More than a small machine's cores: vLLM's placement group asks for whole CPUs and would wait for ever."""
OBJECT_STORE_BYTES = 256 * 1024 * 1024
FOLDER_PREFIX = "rag-"
LONGEST_TEMP_ROOT = 20
"""Socket paths of HAProxy have at most 97 characters, of which 77 follow the root. (Ray's are shorter.)"""

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
    # Serve's hooks: what stands in its HTTP servers, and how it keeps HAProxy, where that is switched on.
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "cluster.edge.http:middlewares",
    "RAY_SERVE_CONTROLLER_CALLBACK_IMPORT_PATH": "cluster.edge.haproxy:install",
    # Ray gives its parts 30 to 100 s to start, which a busy machine may need for each.
    "RAY_agent_register_timeout_ms": f"{1000 * NODE_START_S}",
    "RAY_gcs_server_port_wait_time_s": f"{NODE_START_S}",
    "RAY_DASHBOARD_STARTUP_TIMEOUT_S": f"{NODE_START_S}",
    # Ray's own choice for replicas is 15, which leaves ingestion next to nothing to stand back by.
    "RAY_worker_niceness": "0",
    # What each worker calls first.
    "__RAY_WORKER_PROCESS_SETUP_HOOK_ENV_VAR": "cluster.serve_imports.leave_pandas_out",
}
_QUARANTINE = "RAY_SERVE_PORT_QUARANTINE_S"
_FOR_LOAD = {
    "RAY_SERVE_ENABLE_HA_PROXY": "1",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
    _QUARANTINE: "1020",
}
"""HAProxy in place of Serve's own proxy, gRPC between deployments, and no separate threads for routers and replicas.
The last one is for requests of at most 960 s, see `cluster.edge.haproxy`. Dockerfile.gpu sets the same."""
_PORTS = {
    "RAY_SERVE_HAPROXY_STATS_PORT": 8404,
    "RAY_SERVE_HAPROXY_METRICS_PORT": 9101,
    "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": 8500,
}
DISCONNECT_S = 4.0
"""How long Ray may take to say good-bye to its node before the node's processes are ended, and after."""
_CORES_A_THREAD = 4
_KILLS = 3
"""How often `kill` looks for processes: one may have started another meanwhile."""
_FILES = {
    "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": "haproxy.cfg",
    "RAY_SERVE_HAPROXY_SOCKET_PATH": "a.sock",
    "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": "",
    "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": "server-state",
    "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": "m.sock",
    "VLLM_RPC_BASE_PATH": "",
}
"""HAProxy's files and vLLM's sockets, in the node's folder, which is removed with it. By default they are left behind
in /tmp. Serve adds a folder with the node's id to HAProxy's."""
_ERROR = re.compile(r"\[[^\]]* [EC] \d+ \d+\] ")
"""How a line begins that Ray's C++ processes log as an error, or as what ends them."""
_folders: dict[Path, Path] = {}
"""Of the nodes that this process owns; with each the data folder in which its logs are kept."""
_FOREIGN_VARIABLES = ("RAY_ADDRESS", "RAY_NAMESPACE", "RAY_AUTH_TOKEN", "RAY_JOB_CONFIG_JSON_ENV_VAR")
"""They would connect to another cluster, or use another cluster's token."""


def set_flags(*, haproxy: bool = False) -> None:
    """Export Ray's start-up flags to this process and all that Ray starts. Call before anything imports ray.

    `haproxy` puts it in front, set up for load; without, the environment decides. It listens on two ports more, on all
    interfaces, whatever the service's own host is: others than the usual ones where these are taken.
    """
    for name in _FOREIGN_VARIABLES:
        os.environ.pop(name, None)
    os.environ.update(_FLAGS)
    leave_pandas_out()
    if haproxy:
        os.environ.update({name: value for name, value in _FOR_LOAD.items() if name != _QUARANTINE})
        os.environ.setdefault(_QUARANTINE, _FOR_LOAD[_QUARANTINE])  # longer answers need a longer one
        os.environ.setdefault("RAY_SERVE_HAPROXY_NBTHREAD", str(max(1, (os.cpu_count() or 1) // _CORES_A_THREAD)))
        for name, usual in _PORTS.items():
            os.environ.setdefault(name, str(usual_or_free(usual, "")))


def read_or_make_secret(path: Path) -> str:
    """The secret kept in a file that only its owner may read; made on the first call."""
    if not path.exists():
        write_secret(path, secrets.token_hex(32))
    return path.read_text(encoding="ascii").strip()


def write_secret(path: Path, secret: str) -> None:
    """Replace a file whole with one that only its owner may read."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")  # named before it is made: see `owned_node`
    try:
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="ascii") as file:
            file.write(secret)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@dataclass(frozen=True, slots=True)
class OwnedNode:
    """A running head node, this process connected to it."""

    folder: Path
    processes: tuple[psutil.Process, ...]

    def start_dashboard(self) -> str:
        """Start Ray's dashboard, on loopback and behind the token, and return its address once it listens.

        Ray would start it first of all; its ten processes then compete with the replicas for what cores there are.
        """
        from ray._private import ray_constants, worker  # there is no public way to start it later

        node = worker._global_node
        node.kill_dashboard(check_alive=False)  # the stand-in that Ray starts without one
        where = ray_constants.KV_NAMESPACE_DASHBOARD
        node.get_gcs_client().internal_kv_del(ray_constants.DASHBOARD_ADDRESS.encode(), False, where)
        with _temporary_files_in(self.folder):
            node.start_api_server(include_dashboard=True, raise_on_failure=True)
        return f"http://{node._webui_url}"

    def last_error(self) -> str:
        """The last error in the log of Ray's raylet, the process that owns the node. Empty if there is none."""
        log = self.folder / "session_latest/logs/raylet.err"
        try:
            lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        except OSError:
            return ""
        errors = [line for line in lines if _ERROR.match(line)]
        return errors[-1].partition("(raylet) ")[2] if errors else ""

    def alive(self) -> bool:
        """Whether the processes without which there is no node still run."""
        return all(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in self.processes)


@contextmanager
def owned_node(token_file: Path, data_dir: Path) -> Iterator[OwnedNode]:
    """Start a node and connect to it; on leaving, end its processes, replicas included, and remove its folder.

    Its logs are kept in `data_dir`, as far as `session_logs` says.
    """
    import ray

    read_or_make_secret(token_file)
    os.environ["RAY_AUTH_TOKEN_PATH"] = str(token_file.resolve())
    # Named before it is made, so that an interrupt between the two leaves nothing.
    folder = Path(_temp_root()) / f"{FOLDER_PREFIX}{secrets.token_hex(4)}"
    try:
        _folders[folder] = data_dir
        folder.mkdir(mode=0o700)
        os.environ.update({name: str(folder / file) for name, file in _FILES.items()})
        with _temporary_files_in(folder), adapted_start():
            ray.init(
                address="local",
                num_cpus=max(LOGICAL_CPUS, os.cpu_count() or 1),
                object_store_memory=OBJECT_STORE_BYTES,
                include_dashboard=False,
                dashboard_host="127.0.0.1",
                log_to_driver=False,
                logging_level=logging.ERROR,
                namespace="serve",
                _temp_dir=str(folder),
            )
        processes = tuple(
            process for process in psutil.Process().children() if process.name() in ("gcs_server", "raylet")
        )
        yield OwnedNode(folder, processes)
    finally:
        descendants = psutil.Process().children(recursive=True)
        leaving = threading.Thread(target=ray.shutdown, daemon=True, name="ray shutdown")
        leaving.start()
        leaving.join(DISCONNECT_S)
        _end(descendants)
        leaving.join(DISCONNECT_S)
        _remove(folder, data_dir)
        _folders.pop(folder, None)


def kill() -> None:
    """End every process below this one at once, and remove the folders of its nodes; their logs are kept."""
    for _ in range(_KILLS):
        if not (children := psutil.Process().children(recursive=True)):
            break
        _end(children, grace_s=0)
    for folder, data_dir in list(_folders.items()):  # a copy: a late kill is called beside a stop
        _remove(folder, data_dir)


def _remove(folder: Path, data_dir: Path) -> None:
    """Keep an ended node's logs, as far as that can be done, and remove its folder."""
    try:
        with suppress(OSError):  # a full disk, or a folder that something else removes meanwhile
            session_logs.keep(folder, data_dir)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _temporary_files_in(folder: Path) -> Iterator[None]:
    """What is started in here has its temporary files in the node's folder, which is removed with the node.

    A process that is killed, as most are at the end, leaves its files behind. If the temporary folder's name was too
    long for the node, the files still go there: somebody has chosen that folder, perhaps for its size.
    """
    former = os.environ.get("TMPDIR")
    if folder.parent == Path(tempfile.gettempdir()):
        os.environ["TMPDIR"] = str(folder)
    try:
        yield
    finally:
        os.environ.pop("TMPDIR", None)
        if former is not None:
            os.environ["TMPDIR"] = former


def _temp_root() -> str:
    root = tempfile.gettempdir()
    return root if len(root) <= LONGEST_TEMP_ROOT else "/tmp"


def _end(processes: Sequence[psutil.Process], *, grace_s: float = 3.0) -> None:
    _, alive = psutil.wait_procs(processes, timeout=grace_s)
    for process in alive:
        with suppress(psutil.NoSuchProcess):
            process.kill()  # psutil compares start times: a reused id is not ours
    psutil.wait_procs(alive, timeout=3.0)
