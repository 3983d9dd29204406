"""Which replica this process is."""

from __future__ import annotations

from ray import serve
from ray.serve.exceptions import RayServeException


def replica_id() -> str:
    """The id that Serve gave it, unique within its deployment; empty outside of a replica."""
    try:
        return str(serve.get_replica_context().replica_id.unique_id)
    except RayServeException:
        return ""
