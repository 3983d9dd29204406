"""`rag up`: a Ray node, the application of a config file, the documents that come with it; and all of it down again."""

from __future__ import annotations

import asyncio
import copy
import json
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from importlib.resources import as_file, files
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any

import httpx
import typer
from rich.console import Console
from rich.table import Table

from serve_app.cli.errors import CliError
from serve_app.cli.service import Service
from serve_app.cli.service_file import KEY, MODELS, RAY_TOKEN, RunningService, owned
from serve_app.cli.stages import Stage, stage

if TYPE_CHECKING:
    from cluster.node import OwnedNode
    from serve_app.config import AppArgs
    from serve_app.config_file import ConfigFile

LOCAL_CONFIG = Path(__file__).parents[2] / "cluster" / "local.yaml"
TENANT = "default"
CORPUS_COLLECTION = "rag-docs"
SHUTDOWN_S = 5.0
"""Replicas get this long to finish and close their stores, before their processes are ended."""
POLL_S = 0.25
LOOPBACK = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def up(
    config: Annotated[Path, typer.Option(help="Config file to start from.")] = LOCAL_CONFIG,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="HTTP port instead of the file's.")] = None,
    data_dir: Annotated[Path | None, typer.Option(help="Data folder instead of the file's.")] = None,
    corpus: Annotated[bool, typer.Option(help="Index the documents about this service.")] = True,
    start_timeout: Annotated[float, typer.Option(min=1, help="Seconds that the deployments may take to start.")] = 1800,
) -> None:
    """Start the service on this machine and keep it until Ctrl-C."""
    console = Console()
    from cluster import node as ray_node

    ray_node.set_flags()  # before anything imports ray
    with stage(console, "Configuration") as running:
        file = _checked(config, data_dir)
        running.result = f"{config}"
    with interruptible() as signals, owned(file.args.data_path), ExitStack() as stopping:
        http_port, note = _http_port(file.raw["http_options"], port)
        if note:
            console.print(note, style="yellow")
        raw = _to_deploy(file, http_port)
        with stage(console, "Models") as running:
            running.result = _models(file.args)
        stopping.callback(signals.stopping)
        with stage(console, "Ray node") as running:
            node = ray_node.OwnedNode.start(file.args.data_path / RAY_TOKEN)
            signals.install()  # ray.init puts its own handler on SIGTERM
            stopping.callback(node.stop)
            signals.on_force = node.kill
            running.result = node.dashboard_url
        with stage(console, "Database and key") as running:
            key_file = _key(file.args)
            running.result = str(key_file) if key_file else file.args.store.url
        host = file.raw["http_options"]["host"]
        url = f"http://{_bracketed(LOOPBACK.get(host, host))}:{http_port}"
        with stage(console, "Deployments") as running:
            _deploy(raw, running, stopping, start_timeout)
        with stage(console, "HTTP") as running:
            ready = _ready(url, start_timeout)
            running.result = url
        RunningService(url, str(key_file) if key_file else None, os.getpid(), str(node.folder)).write(file.args.data_path)
        _remember_models(file.args)
        if corpus and key_file:
            with stage(console, "Documents about this service") as running:
                running.result = _ingest_corpus(url, key_file, running)
        _final_screen(console, url, key_file, node, file.args.data_path / RAY_TOKEN, ready)
        with suppress(KeyboardInterrupt):
            _wait(node)
        console.print("\nStopping …")
    console.print("Stopped.")


# --- Signals.


class Interruptible:
    """Ctrl-C and SIGTERM interrupt what runs, once; a second one, while things are being stopped, ends them at once."""

    def __init__(self) -> None:
        self.on_force = lambda: None
        self._stopping = False

    def install(self) -> None:
        signal.signal(signal.SIGINT, self._handle)
        signal.signal(signal.SIGTERM, self._handle)

    def stopping(self) -> None:
        self._stopping = False

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._stopping:
            self.on_force()
            os._exit(130)
        self._stopping = True
        raise KeyboardInterrupt
