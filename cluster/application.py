"""Serve on a running Ray node: deploy a config file's application, follow it, take it down."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ray import serve
from ray.serve._private.api import _create_controller_and_proxy_refs
from ray.serve._private.client import ServeControllerClient
from ray.serve.config import gRPCOptions
from ray.serve.schema import ServeDeploySchema

from serve_app.app import compose
from serve_app.config.args import AppArgs

STARTED = "HEALTHY"


@dataclass(frozen=True, slots=True)
class Progress:
    """`deployments`: name → Serve's state, and what it says of it. `failure` is set when Serve has given up."""

    deployments: Mapping[str, tuple[str, str]]
    running: bool
    failure: str | None


class Application:
    def __init__(self, client: Any) -> None:
        self._client = client

    @classmethod
    def deploy(cls, raw: Mapping[str, Any]) -> Application:
        """Start Serve as the file says and hand it the file's application. Returns before the replicas are up."""
        logging.getLogger("ray.serve").setLevel(logging.WARNING)  # the terminal is for the caller
        config = ServeDeploySchema.model_validate(raw)
        # What `serve run FILE` does, without its wait for the HTTP proxies: they start while the application is built.
        controller, _ = _create_controller_and_proxy_refs(
            http_options=config.http_options.model_dump(),
            grpc_options=gRPCOptions(**config.grpc_options.model_dump()),
            global_logging_config=config.logging_config,
            global_tracing_config=config.tracing_config,
            controller_options=config.controller_options,
            proxy_location=config.proxy_location,
        )
        client = ServeControllerClient(controller)
        # Built here, not by a task of Serve's, which would first have to start a process and import everything.
        [application] = raw["applications"]
        scale = {
            deployment["name"]: {option: value for option, value in deployment.items() if option != "name"}
            for deployment in application.get("deployments", [])
        }
        target = serve.RunTarget(
            compose(AppArgs.model_validate(application.get("args", {})), scale),
            name=application.get("name", "default"),
            route_prefix=application.get("route_prefix", "/"),
            logging_config=application.get("logging_config"),
        )
        serve.run_many([target], wait_for_ingress_deployment_creation=False, wait_for_applications_running=False)
        return cls(client)

    def progress(self) -> Progress:
        """How far the start has come. (`serve.status` tells the same at fifty times the cost.)"""
        applications = self._client.list_serve_statuses()
        states = {
            deployment.name: (str(deployment.status.value), str(deployment.message))
            for application in applications
            for deployment in application.deployment_statuses
        }
        running = bool(applications) and all(deployed.app_status.status == "RUNNING" for deployed in applications)
        if not any(deployed.app_status.status == "DEPLOY_FAILED" for deployed in applications):
            return Progress(states, running, None)
        reasons = [deployed.app_status.message for deployed in applications]
        reasons += [message for state, message in states.values() if state in ("DEPLOY_FAILED", "UNHEALTHY")]
        return Progress(states, running, "\n".join(dict.fromkeys(filter(None, reasons))) or "Serve gives no reason")

    def shut_down(self, within_s: float) -> None:
        """Let the replicas finish and close their stores, but for no longer than `within_s`.

        Not serve.shutdown, which waits for 30 s: nobody may be waiting on Ray when the node is stopped next.
        """
        self._client.shutdown(timeout_s=within_s)
