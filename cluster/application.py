"""Serve on a running Ray node: deploy a config file's application, follow it, take it down."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ray import serve
from ray.serve._private.api import serve_start  # what `serve run FILE` calls; there is no public equivalent
from ray.serve.config import gRPCOptions
from ray.serve.schema import ServeDeploySchema

STARTED = "HEALTHY"


@dataclass(frozen=True, slots=True)
class Progress:
    """`deployments`: name → Serve's state, and what it says of it. `failure` is set when Serve has given up."""

    deployments: Mapping[str, tuple[str, str]]
    running: bool
    failure: str | None


def deploy(raw: Mapping[str, Any]) -> Callable[[float], object]:
    """Start Serve as the file says and hand it the file's application. Returns before the replicas are up.

    What it returns shuts Serve down: replicas get so many seconds to finish and close their stores.
    """
    logging.getLogger("ray.serve").setLevel(logging.WARNING)  # the terminal is for the caller
    config = ServeDeploySchema.model_validate(raw)
    client = serve_start(
        http_options=config.http_options.model_dump(),
        proxy_location=config.proxy_location,
        grpc_options=gRPCOptions(**config.grpc_options.model_dump()),
        controller_options=config.controller_options,
        global_logging_config=config.logging_config,
    )
    client.deploy_apps(config)
    # Not serve.shutdown, which waits for 30 s: and nobody may wait on Ray when the node is stopped next.
    shut_down: Callable[[float], object] = client.shutdown
    return shut_down


def progress() -> Progress:
    """How far the application's start has come."""
    applications = serve.status().applications.values()
    deployments = {
        name: (deployment.status.value, deployment.message)
        for application in applications
        for name, deployment in application.deployments.items()
    }
    running = bool(applications) and all(application.status.value == "RUNNING" for application in applications)
    failures = [a.message for a in applications if a.status.value == "DEPLOY_FAILED"]
    failures += [message for status, message in deployments.values() if status == "DEPLOY_FAILED" and failures]
    return Progress(deployments, running, "\n".join(dict.fromkeys(failures)) or None)
