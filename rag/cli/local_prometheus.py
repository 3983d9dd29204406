"""`rag up --prometheus`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rag.cli.errors import CliError

if TYPE_CHECKING:
    from serve_app.config.args import AppArgs

FOLDER = "prometheus"
"""In the data folder: what Prometheus has scraped, its configuration, and its key of the platform."""
HOST = "RAY_PROMETHEUS_HOST"
"""Where Ray's dashboard looks for Prometheus. Its panes need a Grafana besides."""


def check_installed() -> None:
    """Raises CliError where it is not."""
    from cluster.prometheus import PrometheusFailed, installed

    try:
        installed()
    except PrometheusFailed as error:
        raise CliError(f"{error}, or leave --prometheus out") from None


@contextmanager
def local_prometheus(args: AppArgs, url: str) -> Iterator[str]:
    """Start it on the service at `url` and on the Ray node that this process is connected to, and give its URL. Ray's
    dashboard, if it starts later, knows it."""
    import ray

    from cluster.prometheus import PrometheusFailed, owned_prometheus
    from rag.cli.keys import local_key

    folder = args.data_path / FOLDER
    folder.mkdir(mode=0o700, exist_ok=True)
    asyncio.run(local_key(args.resolved().store, folder / "key", of_platform=True))
    key = (folder / "key").read_text(encoding="ascii").strip()
    nodes = [f"{node['NodeManagerAddress']}:{node['MetricsExportPort']}" for node in ray.nodes() if node["Alive"]]
    try:
        with owned_prometheus(folder, url, key, nodes) as at:
            os.environ[HOST] = at
            yield at
    except PrometheusFailed as error:
        raise CliError(str(error)) from None
