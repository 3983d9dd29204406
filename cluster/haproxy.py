"""Kept for configurations whose RAY_SERVE_CONTROLLER_CALLBACK_IMPORT_PATH names it: see `cluster.edge.haproxy`."""

from __future__ import annotations

from cluster.edge.haproxy import install

__all__ = ["install"]
