"""Where a config file names a deployment, and how many replicas it may have."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ARGS = "applications.0.args"
_AUTO_MAX_REPLICAS = 100
"""Serve's maximum for `num_replicas: auto` without max_replicas."""


def deployment_path(name: str) -> str:
    return f"applications.0.deployments.{name}"


def max_replicas(deployment: Mapping[str, Any]) -> int:
    """The number of replicas that a deployment may grow to."""
    scaling = deployment.get("autoscaling_config") or {}
    replicas = deployment.get("num_replicas")
    if replicas == "auto":
        return int(scaling.get("max_replicas") or _AUTO_MAX_REPLICAS)
    return int(scaling.get("max_replicas") or replicas or 1)
