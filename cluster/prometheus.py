"""A Prometheus that belongs to this process: the one that is installed, set up as `observability/` says."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import yaml

from cluster.node import write_secret
from cluster.ports import usual_or_free

PROGRAM = "prometheus"
USUAL_PORT = 9090
_OBSERVABILITY = Path(__file__).with_name("observability")
_START_S, _STOP_S, _POLL_S = 60.0, 10.0, 0.1


class PrometheusFailed(Exception):
    """Why it is not there or did not start, in a sentence that a person can act on."""


def installed() -> str:
    """The program's path. Raises PrometheusFailed."""
    if (found := shutil.which(PROGRAM)) is None:
        raise PrometheusFailed("Prometheus is not installed: sudo apt install prometheus")
    return found


@contextmanager
def owned_prometheus(
    folder: Path, service: str, platform_key: str, nodes: Sequence[str], *, every: str = ""
) -> Iterator[str]:
    """Start it with its data in `folder`, and give its URL; it listens on loopback, and ends with the block.

    It scrapes the service at the URL `service` as the shipped file says, and as the job `ray` the exporters at `nodes`
    (host:port of each), which have the cluster's own series. `every`: how often, in Prometheus' notation; left out, as
    shipped. Raises PrometheusFailed.
    """
    program = installed()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    write_secret(folder / "key", platform_key)
    config = yaml.safe_dump(_config(service, folder / "key", nodes, every))
    (folder / "prometheus.yaml").write_text(config, "utf-8")
    port = usual_or_free(USUAL_PORT)
    command = [
        program,
        f"--config.file={folder / 'prometheus.yaml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    log = folder / "prometheus.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, preexec_fn=_end_with_parent)
    try:
        _wait(process, url := f"http://127.0.0.1:{port}", log)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _config(service: str, key_file: Path, nodes: Sequence[str], every: str) -> dict[str, Any]:
    from deployments.ray_metrics import SERIES  # imports ray

    config: dict[str, Any] = yaml.safe_load((_OBSERVABILITY / "prometheus.yaml").read_text("utf-8"))
    config["rule_files"] = [str(_OBSERVABILITY / name) for name in config["rule_files"]]
    if every:
        config["global"] = {"scrape_interval": every, "evaluation_interval": every}
    parts = urlsplit(service)
    [job] = config["scrape_configs"]
    job |= {"scheme": parts.scheme, "static_configs": [{"targets": [parts.netloc]}]}
    job["authorization"] = {"credentials_file": str(key_file)}
    # What the service itself shows comes from there alone, so that a sum has each series once.
    shown = {"source_labels": ["__name__"], "regex": f"({'|'.join(SERIES)}).*", "action": "drop"}
    ray = {"job_name": "ray", "static_configs": [{"targets": [*nodes]}], "metric_relabel_configs": [shown]}
    config["scrape_configs"].append(ray)
    return config


def _end_with_parent() -> None:
    """Also where the parent is killed, and can end nobody."""
    from ray._private import utils

    if utils.detect_fate_sharing_support_linux():
        utils.set_kill_on_parent_death_linux()


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    end = time.monotonic() + _START_S
    with httpx.Client(trust_env=False) as http:
        while time.monotonic() < end and process.poll() is None:
            with suppress(httpx.HTTPError):
                if http.get(f"{url}/-/ready").is_success:
                    return
            time.sleep(_POLL_S)
    said = log.read_text("utf-8", errors="replace").strip().splitlines()
    raise PrometheusFailed(f"Prometheus did not start: {said[-1] if said else 'it says nothing'}; see {log}")
